// Statistics of repeated measurements; see stats.h.
#include "stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "error.h"

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double stats_percentile(const double *ascending, size_t n, double q)
{
    double rank = q / 100.0 * (double)(n - 1);
    if (!(rank > 0.0)) return ascending[0];
    size_t below = (size_t)rank;
    if (below + 1 >= n) return ascending[n - 1];
    double part = rank - (double)below;
    return ascending[below] + part * (ascending[below + 1] - ascending[below]);
}

double stats_t95(size_t n_free)
{
    static const double table[] = {12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
                                   2.2010,  2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860};
    if (n_free == 0) return INFINITY;
    if (n_free <= sizeof table / sizeof table[0]) return table[n_free - 1];
    // Cornish-Fisher expansion around the normal quantile (Abramowitz and Stegun 26.7.5), below 1e-5 off from here on.
    double z = 1.959963985, v = (double)n_free;
    double z3 = z * z * z, z5 = z3 * z * z;
    return z + (z3 + z) / (4.0 * v) + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * v * v);
}

tern_status stats_of(const double *values, size_t n, stats *out, tern_error *err)
{
    if (n == 0) return error_set(err, TERN_INVALID_ARGUMENT, "statistics of no values");
    uint64_t n_bytes;
    double *sorted = check_mul(n, sizeof *sorted, &n_bytes) ? malloc((size_t)n_bytes) : NULL;
    if (sorted == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for statistics of %zu values", n);
    memcpy(sorted, values, (size_t)n_bytes);
    qsort(sorted, n, sizeof *sorted, compare_double);

    stats s = {.n = n, .min = sorted[0], .max = sorted[n - 1], .median = stats_percentile(sorted, n, 50.0)};
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < n; i++) sum += sorted[i];
    s.mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += (sorted[i] - s.mean) * (sorted[i] - s.mean);
    if (n > 1) s.sd = sqrt(squares / (double)(n - 1));
    double half_width = n > 1 ? stats_t95(n - 1) * s.sd / sqrt((double)n) : 0.0;
    s.ci95_low = s.mean - half_width;
    s.ci95_high = s.mean + half_width;
    free(sorted);
    *out = s;
    return TERN_OK;
}

tern_status stats_of_ns(const uint64_t *values, size_t n, stats *out, tern_error *err)
{
    uint64_t n_bytes;
    double *copy = n > 0 && check_mul(n, sizeof *copy, &n_bytes) ? malloc((size_t)n_bytes) : NULL;
    if (n > 0 && copy == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for statistics of %zu values", n);
    for (size_t i = 0; i < n; i++) copy[i] = (double)values[i];
    tern_status status = stats_of(copy, n, out, err);
    free(copy);
    return status;
}
