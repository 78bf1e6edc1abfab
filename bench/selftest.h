// The self-test: every op case of a level on one device, compared bit for bit with the reference device (fast
// attention: within its stated error, where the device has it). What `tern selftest` runs on a user's machine and what
// the conformance tests run in a build; the cases are those of op_cases.h.
#ifndef TERN_BENCH_SELFTEST_H
#define TERN_BENCH_SELFTEST_H

#include "op_run.h"
#include "registry.h"

typedef struct selftest_options {
    op_case_level level; // cases up to this size; LEVEL_TEST takes well under a minute on two cores
    const char *filter;  // only cases whose name contains this; NULL: all
    bool is_short;       // of those only cases with plain random inputs: every op, no corner values
    uint32_t n_threads;  // CPU devices; 0: all this process may use
} selftest_options;

typedef struct selftest_result {
    char device[32]; // the device's name and description
    char description[128];
    size_t passed, failed, skipped; // skipped: the device said it does not support the case
    uint64_t ns;                    // wall time of the run
} selftest_result;

// Called after each case. `outcome->text` says why it failed or was skipped ("" for a pass), `outcome->ns` how long it
// took. Return false to stop the run (CANCELLED, with the counters so far in *out).
typedef bool (*selftest_callback)(void *user, const op_case *c, const op_outcome *outcome);

// Opens the device `device_name` ("auto" or a name) and the reference "cpuref" of the same list, runs the cases, closes
// both. TERN_OK also when cases fail: *out says. NOT_FOUND if the filter leaves no case. `on_case` may be NULL.
tern_status selftest_run(backend_list backends, const char *device_name, const selftest_options *options,
                         selftest_callback on_case, void *user, selftest_result *out, tern_error *err);

// "passed", "FAILED", "skipped".
const char *selftest_verdict_name(op_verdict verdict);
// The result as one line of text, "cpu: 412 passed, 0 failed, 3 skipped in 8.1 s", and as a JSON object (malloc'd, to
// be freed by the caller; HOST_MEMORY).
void selftest_summary(const selftest_result *result, char *out, size_t n_bytes);
tern_status selftest_json(const selftest_result *result, char **out, tern_error *err);

#endif
