// What the AVX-512 files share.
#ifndef TERN_CPU_KERNELS_AVX512_H
#define TERN_CPU_KERNELS_AVX512_H

#include "kernels.h"

// kernels_avx512_dense.c: entries of the table.
void cpu_avx512_dense_to_float(dense_type type, const uint8_t *row, uint32_t n, float *out);
void cpu_avx512_dense_dot(dense_type type, const uint8_t *row, const float *x, uint32_t n, float acc[64]);

// kernels_avx512_groups.c: an entry of the table.
void cpu_avx512_ternary_columns(const ternary_stretch *s, uint32_t n_x, int32_t *sums);

#endif
