// Times an op case on a device by its own events. Weights rotate over distinct copies of more than 64 MiB in all, so
// that no cache holds them from one repeat to the next.
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

// n_warmup untimed repeats, then n_repeats samples. DEVICE_UNSUPPORTED with the reason where the device says no.
tern_status op_time(op_runner *runner, const op_case *c, size_t n_warmup, size_t n_repeats, op_timing *out,
                    tern_error *err);
void op_timing_free(op_timing *timing);

#endif
