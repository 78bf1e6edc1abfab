// The integer inner loops for NEON, compiled twice: by kernels_neon.c for every aarch64 processor and by
// kernels_neon_dot.c for those with the dot product instructions. Only dot16 differs.
#ifndef TERN_CPU_KERNELS_NEON_H
#define TERN_CPU_KERNELS_NEON_H

#include <arm_neon.h>

#include "kernels.h"
#include "scalar.h"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

// Adds sixteen products to four lanes; without dot products |a * b| summed over two must fit int16, as those of codes
// in -127..127 do.
INLINE int32x4_t dot16(int32x4_t acc, int8x16_t a, int8x16_t b)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(acc, a, b);
#else
    return vpadalq_s16(acc, vmlal_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), vget_high_s8(a), vget_high_s8(b)));
#endif
}

INLINE int8x16_t codes_of_field(uint8x16_t w, const int m)
{
    uint8x16_t low = m == 0 ? w : m == 1 ? vshrq_n_u8(w, 2) : m == 2 ? vshrq_n_u8(w, 4) : vshrq_n_u8(w, 6);
    return vreinterpretq_s8_u8(m == 3 ? low : vandq_u8(low, vdupq_n_u8(3)));
}

INLINE const uint8_t *granule_of(const uint8_t *group, uint32_t n_granules, uint32_t row, uint32_t g)
{
    uint32_t in_tile = n_granules - g / 4 * 4; // granules per row in this tile
    if (in_tile > 4) in_tile = 4;
    return group + 1024 * (size_t)(g / 4) + 16 * (size_t)(in_tile * row + g % 4);
}

// Eight (row, column) sums advance together. Activations are in the order of the portable table.
INLINE void sums_8(const ternary_span *span, uint32_t row, const uint32_t rows, const uint32_t n_x, int32_t *sums)
{
    int32x4_t acc[8];
    UNROLL for (int i = 0; i < 8; i++) acc[i] = vdupq_n_s32(0);
    for (uint32_t g = span->first; g < span->end; g++) {
        const int8_t *x = span->x + 128 * (size_t)((g - span->x_first) / 2) + 16 * (g % 2);
        UNROLL for (uint32_t r = 0; r < rows; r++)
        {
            uint8x16_t w = vld1q_u8(granule_of(span->group, span->n_granules, row + r, g));
            UNROLL for (int m = 0; m < 4; m++) UNROLL for (uint32_t c = 0; c < n_x; c++) acc[r * n_x + c] = dot16(
                acc[r * n_x + c], codes_of_field(w, m), vld1q_s8(x + c * span->x_stride + 32 * m));
        }
    }
    UNROLL for (uint32_t i = 0; i < 8; i++) sums[TERNARY_ROWS * (i % n_x) + row + i / n_x] += vaddvq_s32(acc[i]);
}

static void ternary_sums(const ternary_span *span, uint32_t n_x, int32_t *sums)
{
    switch (n_x) {
    case 1:
        for (uint32_t r = 0; r < TERNARY_ROWS; r += 8) sums_8(span, r, 8, 1, sums);
        break;
    case 2:
        for (uint32_t r = 0; r < TERNARY_ROWS; r += 4) sums_8(span, r, 4, 2, sums);
        break;
    case 4:
        for (uint32_t r = 0; r < TERNARY_ROWS; r += 2) sums_8(span, r, 2, 4, sums);
        break;
    default:
        for (uint32_t r = 0; r < TERNARY_ROWS; r++) sums_8(span, r, 1, 8, sums);
        break;
    }
}

// The sixteen activations of field m, from columns in their natural order.
INLINE int8x16_t field_of(const int8_t *x, const int m)
{
    return vcombine_s8(vld1_s8(x + 8 * m), vld1_s8(x + 32 + 8 * m));
}

static void ternary_columns(const ternary_stretch *s, uint32_t n_x, int32_t *sums)
{
    for (uint32_t c = 0; c < n_x; c++)
        for (uint32_t row = 0; row < TERNARY_ROWS; row += 8) {
            int32x4_t acc[8];
            UNROLL for (int i = 0; i < 8; i++) acc[i] = vdupq_n_s32(0);
            for (uint32_t g = s->first; g < s->end; g++) {
                const int8_t *x = s->x[c] + 64 * (size_t)g;
                int8x16_t xm[4];
                UNROLL for (int m = 0; m < 4; m++) xm[m] = field_of(x, m);
                UNROLL for (uint32_t r = 0; r < 8; r++)
                {
                    uint8x16_t w = vld1q_u8(granule_of(s->group, s->n_granules, row + r, g));
                    UNROLL for (int m = 0; m < 4; m++) acc[r] = dot16(acc[r], codes_of_field(w, m), xm[m]);
                }
            }
            UNROLL for (uint32_t r = 0; r < 8; r++) sums[TERNARY_ROWS * c + row + r] += vaddvq_s32(acc[r]);
        }
}

static void scores_int8(const int16_t *hi, const int16_t *lo, float a, float b, const int8_t *k, uint32_t head_dim,
                        float scale, float s[64])
{
    const float *ak = (const float *)(const void *)(k + 64 * (size_t)head_dim);
    for (uint32_t j = 0; j < 64; j++) {
        const int8_t *row = k + (size_t)j * head_dim;
        int32x4_t acc_hi = vdupq_n_s32(0), acc_lo = acc_hi;
        uint32_t d = 0;
        for (; d + 16 <= head_dim; d += 16) {
            int8x16_t kd = vld1q_s8(row + d);
            int8x16_t h = vcombine_s8(vmovn_s16(vld1q_s16(hi + d)), vmovn_s16(vld1q_s16(hi + d + 8)));
            int8x16_t l = vcombine_s8(vmovn_s16(vld1q_s16(lo + d)), vmovn_s16(vld1q_s16(lo + d + 8)));
            acc_hi = dot16(acc_hi, kd, h);
            acc_lo = dot16(acc_lo, kd, l);
        }
        int32_t sum_hi = vaddvq_s32(acc_hi), sum_lo = vaddvq_s32(acc_lo);
        for (; d < head_dim; d++) {
            sum_hi += hi[d] * row[d];
            sum_lo += lo[d] * row[d];
        }
        s[j] = scalar_fma((float)sum_hi, a * ak[j], (float)sum_lo * (b * ak[j])) * scale;
    }
}

INLINE void put_integer_loops(cpu_kernels *k)
{
    k->ternary_sums[TERNARY_T64] = ternary_sums;
    k->ternary_columns = ternary_columns;
    k->scores_int8 = scores_int8;
}

#endif
