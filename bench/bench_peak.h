// Measured rates that shares of rows refer to, by device and number of threads: the best read of several looks, which
// bounds every row, and their mean median, which is what reading got while the rows were measured; of CPUs the same of
// int8 products.
#ifndef TERN_BENCH_BENCH_PEAK_H
#define TERN_BENCH_BENCH_PEAK_H

#include "model_bench.h"
#include "probe.h"

typedef struct bench_peak {
    char device[32];
    uint32_t n_threads;
    probe_rate read, int8; // the looks with the best rates
    double read_median_sum, int8_median_sum;
    uint32_t n_looks;
} bench_peak;

typedef struct bench_peaks {
    bench_peak *items;
    size_t n;
} bench_peaks;

// Looks at a device. `is_loaded`: models stand on it; devices whose probe needs much of their memory are then passed
// over.
tern_status bench_peaks_measure(bench_peaks *peaks, const char *device_name, uint32_t n_threads, bool is_loaded,
                                tern_error *err);
// Sets the row's peaks, their sources and the shares.
void bench_peaks_apply(const bench_peaks *peaks, bench_row *row);
void bench_peaks_free(bench_peaks *peaks);

#endif
