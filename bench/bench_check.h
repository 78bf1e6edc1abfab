// What makes a row of the model benchmark valid: the device computes the reference's bits, the model's logits are the
// same before and after the timing and on every configuration that must give the same, and no bound was beaten.
#ifndef TERN_BENCH_BENCH_CHECK_H
#define TERN_BENCH_BENCH_CHECK_H

#include "bench_instance.h"

typedef struct bench_check {
    char device[32];
    uint32_t n_threads;
    size_t n_passed, n_failed;
    char failure[160]; // the first one
} bench_check;

typedef struct bench_checks {
    bench_check *items;
    size_t n;
} bench_checks;

// Runs the short self-test on the device unless it was run before. TERN_OK also when cases fail.
tern_status bench_checks_device(bench_checks *checks, const bench_options *options, const char *device_name,
                                uint32_t n_threads, tern_error *err);
void bench_checks_free(bench_checks *checks);

// Decides on the row, whose instance is `from`; the others serve for comparison.
void bench_checks_judge(const bench_checks *checks, const bench_options *options, bench_row *row,
                        const bench_instance *from, const bench_instance *all, size_t n);
// Makes the row invalid; the first reason is kept.
void bench_row_refuse(bench_row *row, const char *format, ...) TERN_PRINTF(2, 3);

#endif
