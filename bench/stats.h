// Statistics of repeated measurements.
#ifndef TERN_BENCH_STATS_H
#define TERN_BENCH_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "tern_status.h"

typedef struct stats {
    size_t n;
    double mean, sd; // sd: of the sample (n - 1); 0 for n = 1
    double median, min, max;
    double ci95_low, ci95_high; // Student's t interval of the mean; both the mean for n = 1
} stats;

// n >= 1 (INVALID_ARGUMENT), all finite. The values are not changed. HOST_MEMORY.
tern_status stats_of(const double *values, size_t n, stats *out, tern_error *err);
tern_status stats_of_ns(const uint64_t *values, size_t n, stats *out, tern_error *err);

// Percentile q (0..100) of ascending values, linear between the two nearest ranks. n >= 1.
double stats_percentile(const double *ascending, size_t n, double q);
// Two-sided 95 % quantile of Student's t with n_free >= 1 degrees of freedom, within 0.001 of the true value.
double stats_t95(size_t n_free);

#endif
