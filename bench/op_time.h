// Times an op case on a device by its own events. Weights rotate over distinct copies of more than 256 MiB in all, so
// that no cache holds them from one execution to the next (the largest of a GPU today has 126 MB).
#ifndef TERN_BENCH_OP_TIME_H
#define TERN_BENCH_OP_TIME_H

#include "op_run.h"

typedef struct op_timing {
    uint64_t *samples_ns; // n_samples, owned
    size_t n_samples;
    size_t n_copies;        // of the weights; 0 without weights
    uint64_t bytes_weights; // read by each repeat, in the device's layout
    uint64_t bytes_moved;   // weights, KV cache, inputs and outputs: what must move at the least
    uint64_t n_macs;
} op_timing;

// A case made ready on a device, so that several can take turns. DEVICE_UNSUPPORTED with the reason where the device
// says no. A sample is the mean of n_chain executions, one enqueued behind the other: 1 for the time of a single one,
// more for its share of a busy stream, which is what a step of a model is. The case must live as long.
typedef struct op_timer op_timer;
tern_status op_timer_open(op_runner *runner, const op_case *c, op_timer **out, tern_error *err);
tern_status op_timer_sample(op_timer *timer, size_t n_chain, uint64_t *ns, tern_error *err);
void op_timer_facts(const op_timer *timer, op_timing *out); // without samples
void op_timer_close(op_timer *timer);                       // accepts NULL

// n_warmup untimed repeats, then n_repeats samples.
tern_status op_time_chained(op_runner *runner, const op_case *c, size_t n_warmup, size_t n_repeats, size_t n_chain,
                            op_timing *out, tern_error *err);
// The same with n_chain = 1.
tern_status op_time(op_runner *runner, const op_case *c, size_t n_warmup, size_t n_repeats, op_timing *out,
                    tern_error *err);
void op_timing_free(op_timing *timing);

#endif
