// Runs op cases on a device through the backend table alone, and judges what came back.
//
// Every operand gets a buffer of its own with guard bytes before and behind; outputs start as NaN; weights go up in
// blocks of uneven height and come down again in other blocks. A case passes if the reference's bits came out, guards,
// gaps between rows and inputs are untouched, and the flag word agrees. Of an op without defined bits the reference
// runs the one it stands for, and the difference must be within the stated error.
#ifndef TERN_BENCH_OP_RUN_H
#define TERN_BENCH_OP_RUN_H

#include "backend.h"
#include "op_data.h"

typedef enum op_verdict { VERDICT_PASSED, VERDICT_FAILED, VERDICT_SKIPPED } op_verdict;

typedef struct op_outcome {
    op_verdict verdict;
    char text[256];     // why it failed or was skipped; "" for a pass
    uint64_t ns;        // wall time of the case, reference included where it ran
    double error_share; // of the tolerance of an op without defined bits, the largest that was needed
} op_outcome;

// An open device with a stream.
typedef struct op_runner {
    const backend *backend;
    device *device;
    stream *stream;
    device_facts facts;
} op_runner;

// On failure *out is untouched. op_runner_close accepts a zeroed runner.
tern_status op_runner_open(const backend *b, size_t index, uint32_t n_threads, op_runner *out, tern_error *err);
void op_runner_close(op_runner *runner);

// What one execution left in memory: every region with its guards.
typedef struct op_image {
    uint8_t *regions[OP_REGIONS_MAX]; // owned
    uint32_t flag;
    bool is_skipped;  // the device does not support the op: nothing ran
    char reason[200]; // why not
} op_image;

// Executes the case. A failure of a backend call, a failed weights round trip or a touched guard, gap or input is
// returned as a status with the reason in err (INTERNAL for the last three). *out is filled on TERN_OK only.
tern_status op_execute(op_runner *runner, const op_data *data, op_image *out, tern_error *err);
void op_image_free(op_image *image);

// The parts of an execution, for op_time. The weights of the case, uploaded; and one buffer per region (buffers[]
// starts NULL; the caller destroys what is there, also on failure) with its contents, their views set in *o.
tern_status op_weights_create(op_runner *runner, const op_data *data, weights **out, tern_error *err);
tern_status op_buffers_create(op_runner *runner, const op_data *data, buffer **buffers, op *o, tern_error *err);

// Whether the reference's image means anything: magnitude where the recipe has some, no element left unwritten, the
// flag as the recipe demands. And whether the subject's image has the same bits, or is as near as the op must be. Both
// fill `out` with passed or failed.
void op_check_reference(const op_data *data, const op_image *image, op_outcome *out);
void op_compare(const op_data *data, const op_image *reference, const op_image *subject, op_outcome *out);

// All of it for one case: the reference once, then each subject. The outcome is the first failure, else skipped if any
// subject skipped. Only a failure to make the case itself (HOST_MEMORY) is returned.
tern_status op_case_run(const op_case *c, op_runner *reference, op_runner *const *subjects, size_t n_subjects,
                        op_outcome *out, tern_error *err);

#endif
