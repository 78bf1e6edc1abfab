// What the AVX2 files, and those of AVX-512, share.
#ifndef TERN_CPU_KERNELS_AVX2_H
#define TERN_CPU_KERNELS_AVX2_H

#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "kernels.h"

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

// kernels_avx2_dense.c. The types in blocks of 32 and 256, n whole blocks: to floats, and dot64 as dense_dot has it.
void cpu_avx2_blocks_to_float(dense_type type, const uint8_t *row, uint32_t n, float *out);
void cpu_avx2_blocks_dot(dense_type type, const uint8_t *row, const float *x, uint32_t n, float acc[64]);
// Of a block of Q4_K or Q5_K: an element is fma(factor[j], code, low[j]) in sub-block j.
void cpu_k45_scales(const uint8_t *block, float factor[8], float low[8]);

#endif
