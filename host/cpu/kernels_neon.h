// What the inner loops for NEON share. Those of integer products are compiled once per set of instructions, from
// headers: kernels_neon_ternary.h by kernels_neon.c for every aarch64 processor, by kernels_neon_dot.c for those with
// the dot product instructions and by kernels_neon_i8mm.c for those with the 8-bit matrix product, kernels_neon_int.h
// by the first two.
//
// Equal to the reference under emulation; never run on hardware, so no choice here rests on a measured time.
#ifndef TERN_CPU_KERNELS_NEON_H
#define TERN_CPU_KERNELS_NEON_H

#include <arm_neon.h>

#include "int4.h"
#include "kernels.h"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

// Adds sixteen products to four lanes; without dot products |a * b| summed over two must fit int16, as those of codes
// in -128..127 and -127..127 do.
INLINE int32x4_t dot16(int32x4_t acc, int8x16_t a, int8x16_t b)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(acc, a, b);
#else
    return vpadalq_s16(acc, vmlal_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), vget_high_s8(a), vget_high_s8(b)));
#endif
}

// Sums of the four lanes of each of four registers, in their order.
INLINE int32x4_t sum_lanes4(const int32x4_t a[4]) { return vpaddq_s32(vpaddq_s32(a[0], a[1]), vpaddq_s32(a[2], a[3])); }

// hi * a + lo * b of four sums, as the reference rounds it.
INLINE float32x4_t two_terms4(int32x4_t hi, float32x4_t a, int32x4_t lo, float32x4_t b)
{
    return vfmaq_f32(vmulq_f32(vcvtq_f32_s32(lo), b), vcvtq_f32_s32(hi), a);
}

// Value d of a position of an int4 block.
INLINE int32_t int4_at(const uint8_t *row, uint32_t d)
{
    return (d % 2 == 0 ? row[d / 2] & 15 : row[d / 2] >> 4) - INT4_BIAS;
}

INLINE float32x4_t half4(const void *p) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }

// kernels_neon_rows.c: puts its loops into a table.
void cpu_neon_put_rows(cpu_kernels *k);

#endif
