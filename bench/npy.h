// NumPy's .npy format, version 1.0: float32 matrices in C order, written row by row.
#ifndef TERN_BENCH_NPY_H
#define TERN_BENCH_NPY_H

#include <stdint.h>
#include <stdio.h>

#include "tern_status.h"

// The header of a [n_rows, n_cols] matrix; then n_rows times npy_write_row. IO names the system's reason.
tern_status npy_write_header(FILE *file, uint64_t n_rows, uint64_t n_cols, tern_error *err);
tern_status npy_write_row(FILE *file, const float *row, size_t n_cols, tern_error *err);

#endif
