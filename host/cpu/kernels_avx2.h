// What the AVX2 files, and those of AVX-512, share.
#ifndef TERN_CPU_KERNELS_AVX2_H
#define TERN_CPU_KERNELS_AVX2_H

#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "kernels.h"
#include "scalar.h"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#if defined(__F16C__)
// An fp16 of a block, as stored.
INLINE float load_half(const uint8_t *p)
{
    uint16_t bits;
    memcpy(&bits, p, sizeof bits);
    return _cvtsh_ss(bits);
}
#endif

// kernels_avx2_int.c: entries of the table.
void cpu_avx2_int8_sums(const int8_t *row, const int8_t *const *x, const int32_t *x_sum, uint32_t n_x, uint32_t n,
                        int32_t *sums);
void cpu_avx2_int4_bias(const int8_t *x, uint32_t n_groups, int32_t *out);
void cpu_avx2_int4_parts(const int4_span *span, const uint32_t first[8], uint32_t n_steps, float parts[8]);
void cpu_avx2_scores_int4(const int8_t *hi, const int8_t *lo, float a, float b, const uint8_t *k, uint32_t head_dim,
                          float scale, float s[64]);
void cpu_avx2_values_int4(const int8_t hi[64], const int8_t lo[64], float a, float b, const uint8_t *v,
                          uint32_t head_dim, uint32_t n, float *o);

// kernels_avx2_dense.c. The types in blocks of 32 and 256, n whole blocks: to floats, and dot64 as dense_dot has it.
void cpu_avx2_blocks_to_float(dense_type type, const uint8_t *row, uint32_t n, float *out);
void cpu_avx2_blocks_dot(dense_type type, const uint8_t *row, const float *x, uint32_t n, float acc[64]);
// Of a block of Q4_K or Q5_K: an element is fma(factor[j], code, low[j]) in sub-block j.
void cpu_k45_scales(const uint8_t *block, float factor[8], float low[8]);

// kernels_avx2_q6k.c: entries of the table.
bool cpu_avx2_q6k_operand(const float *x, uint32_t n, float *out);
void cpu_avx2_q6k_dot(const uint8_t *row, const float *x, const float *operand, uint32_t n, float acc[64]);

// kernels_avx2_screen.c: an entry of the table.
void cpu_avx2_q6k_upper(const uint8_t *const rows[DENSE_ROWS], const q6k_screen *x, uint32_t n,
                        float upper[DENSE_ROWS]);

// kernels_avx2_groups.c: entries of the table.
void cpu_avx2_ternary_columns(const ternary_stretch *s, uint32_t n_x, int32_t *sums);
void cpu_avx2_ternary_fold(const int32_t *hi, int32_t hi_sum, float a, const int32_t *lo, int32_t lo_sum, float b,
                           const float d[TERNARY_ROWS], float chain[TERNARY_ROWS]);
int32_t cpu_avx2_sum_codes(const int8_t *x, uint32_t n);

#endif
