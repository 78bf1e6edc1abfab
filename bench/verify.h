// The claims report (`tern verify`): checks the claims of claims.h on devices of this machine and writes a folder that
// a sceptic can judge by: the report as markdown and as one HTML page, the environment, every sample, hashes.
//
// Everything measured comes after a self-test of the device in the same process; without a passing one no measured part
// has a verdict. Rows of both twins are interleaved by the model benchmark. What is computed from plans or operation
// counts is called so.
#ifndef TERN_BENCH_VERIFY_H
#define TERN_BENCH_VERIFY_H

#include "claims.h"
#include "model_bench.h"

enum { VERIFY_MAX_DEVICES = 4 };

typedef struct verify_options {
    tern_engine *engine;
    const char *devices[VERIFY_MAX_DEVICES]; // names; at least one
    size_t n_devices;
    const char *out;    // folder to make; nothing may have its name
    bool is_quick;      // 3 repeats, small shapes, no energy: indicative
    const char *shapes; // synthetic shapes to measure, comma separated; NULL: by size of the device
    uint32_t n_threads; // 0: all this process may use
    // A ternary model, a float model of the same kind, and a text for quality; NULL where there is none.
    const char *model, *float_model, *text;
    const char *command;   // how this run was started, for the report
    backend_list backends; // whose devices the self-test opens; NULL: the engine's own (tests give others)
    bool (*progress)(void *user, double share, const char *what); // false cancels. May be NULL.
    void (*watch)(void *user, tern_session *session);
    void (*note)(void *user, const char *text);
    void *user;
} verify_options;

typedef struct verify_summary {
    size_t n_claims, n_confirmed, n_in_part, n_refuted, n_not_decided, n_not_testable, n_invalid; // on the first device
    bool is_valid; // every device passed its self-test
} verify_summary;

// INVALID_ARGUMENT when `out` exists or a shape is not known. On failure no folder is left.
tern_status verify_run(const verify_options *options, verify_summary *out, tern_error *err);

#endif
