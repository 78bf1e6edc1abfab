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
#define UNROLL _Pragma("GCC unroll 16")
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
void cpu_avx2_int4_groups(const uint8_t *row, const int8_t *hi, const int8_t *lo, uint32_t n_groups,
                          const int32_t *bias_hi, const int32_t *bias_lo, float a, float b, float *v);

// kernels_avx2_dense.c. Q4_0, Q4_K and Q5_K to floats; n whole blocks.
void cpu_avx2_blocks_to_float(dense_type type, const uint8_t *row, uint32_t n, float *out);
// Of a block of Q4_K or Q5_K: an element is fma(factor[j], code, low[j]) in sub-block j.
void cpu_k45_scales(const uint8_t *block, float factor[8], float low[8]);

#endif
