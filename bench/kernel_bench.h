// Products alone, at the shapes of known models: the ternary product of each matrix and, taking turns with it, the FP16
// product of the same shape (the device's BLAS where it has one, else dense_mm) and cuBLAS' int8 product. Weights come
// from copies larger than any cache. Shares refer to the device's rates as probe.h measures them in the same process.
#ifndef TERN_BENCH_KERNEL_BENCH_H
#define TERN_BENCH_KERNEL_BENCH_H

#include "ops.h"
#include "probe.h"
#include "report.h"

typedef struct kernel_options {
    const char *filter; // only products whose name ("70b down M=1 ") contains this; NULL: all
    uint32_t n_threads; // CPU devices; 0: all this process may use
    uint32_t n_repeats; // samples of each; fewer where a product takes long
    bool is_checked;    // self-test the device first
    bool (*progress)(void *user, double share, const char *what); // false cancels; may be NULL
    void *user;
} kernel_options;

typedef struct kernel_row {
    char geometry[8], matrix[16], device[32], description[128];
    op_kind kind;
    char weights[32]; // "t64", "F16", "F32 (CLBlast Sgemm)"
    uint32_t m, n, k;
    uint64_t *samples_ns; // n_samples, owned; each the mean of n_chain executions
    size_t n_samples, n_chain, n_copies;
    uint64_t bytes_moved, n_macs; // at the least, of one execution
    double median_ns, mean_ns, sd_ns, min_ns, max_ns;
    double gbps, gmacs;                                       // over the median
    double peak_gbps, peak_gmacs, pct_peak_bw, pct_peak_int8; // 0: not known
    char peak_source[96], peak_int8_source[96];
    double speedup; // a ternary row: median of the float product over its own; 0: not measured
    bool is_valid;
    char reason[160];
} kernel_row;

typedef struct kernel_rows {
    kernel_row *items;
    size_t n;
} kernel_rows;

// NOT_FOUND if the filter leaves nothing. Free *out in every case: rows that were complete are in it after a failure.
tern_status kernel_bench_run(backend_list backends, const char *device_name, const kernel_options *options,
                             kernel_rows *out, tern_error *err);
void kernel_rows_free(kernel_rows *rows);
tern_status kernel_rows_text(const kernel_rows *rows, bench_format format, char **out, tern_error *err);

#endif
