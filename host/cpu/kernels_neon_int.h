// Integer products for NEON with INT8 and INT4 rows (dense.h) and with integer K (kv.h), included by one file for all
// aarch64 processors and by one for those with dot products (kernels_neon.h).
#ifndef TERN_CPU_KERNELS_NEON_INT_H
#define TERN_CPU_KERNELS_NEON_INT_H

#include "kernels_neon.h"

static void int8_sums(const int8_t *row, const int8_t *const *x, const int32_t *x_sum, uint32_t n_x, uint32_t n,
                      int32_t *sums)
{
    (void)x_sum;
    for (uint32_t i = 0; i < n_x; i += 2) {
        int32x4_t acc[4]; // two for each column
        UNROLL for (int j = 0; j < 4; j++) acc[j] = vdupq_n_s32(0);
        for (uint32_t c = 0; c < n; c += 32) UNROLL for (uint32_t half = 0; half < 2; half++)
            {
                int8x16_t w = vld1q_s8(row + c + 16 * half);
                acc[half] = dot16(acc[half], w, vld1q_s8(x[i] + c + 16 * half));
                acc[2 + half] = dot16(acc[2 + half], w, vld1q_s8(x[i + 1] + c + 16 * half));
            }
        sums[i] = vaddvq_s32(vaddq_s32(acc[0], acc[1]));
        sums[i + 1] = vaddvq_s32(vaddq_s32(acc[2], acc[3]));
    }
}

// ---- INT4: stored codes are code + 8 ----

INLINE int8x16_t low_nibbles(uint8x16_t w) { return vreinterpretq_s8_u8(vandq_u8(w, vdupq_n_u8(15))); }
INLINE int8x16_t high_nibbles(uint8x16_t w) { return vreinterpretq_s8_u8(vshrq_n_u8(w, 4)); }

// Four partial sums of a group of 64 stored codes, column c and column 32 + c in one byte, times activations.
INLINE int32x4_t group_sum(uint8x16_t w0, uint8x16_t w1, const int8_t *x)
{
    int32x4_t sum = dot16(vdupq_n_s32(0), low_nibbles(w0), vld1q_s8(x));
    sum = dot16(sum, low_nibbles(w1), vld1q_s8(x + 16));
    sum = dot16(sum, high_nibbles(w0), vld1q_s8(x + 32));
    return dot16(sum, high_nibbles(w1), vld1q_s8(x + 48));
}

static void int4_bias(const int8_t *x, uint32_t n_groups, int32_t *out)
{
    const uint8x16_t eights = vdupq_n_u8(0x88);
    for (uint32_t g = 0; g < n_groups; g++) out[g] = vaddvq_s32(group_sum(eights, eights, x + 64 * (size_t)g));
}

// Four parts stand in four lanes.
static void int4_parts(const int4_span *span, const uint32_t first[8], uint32_t n_steps, float parts[8])
{
    const float32x4_t a = vdupq_n_f32(span->a), b = vdupq_n_f32(span->b);
    for (uint32_t p = 0; p < 8; p += 4) {
        float32x4_t acc = vld1q_f32(parts + p);
        for (uint32_t s = 0; s < n_steps; s++) {
            int32x4_t h[4], l[4];
            int32_t bias_hi[4], bias_lo[4];
            float d[4];
            UNROLL for (uint32_t i = 0; i < 4; i++)
            {
                size_t g = (size_t)first[p + i] + s;
                uint8x16_t w0 = vld1q_u8(span->row + 32 * g), w1 = vld1q_u8(span->row + 32 * g + 16);
                h[i] = group_sum(w0, w1, span->hi + 64 * g);
                l[i] = group_sum(w0, w1, span->lo + 64 * g);
                bias_hi[i] = span->bias_hi[g];
                bias_lo[i] = span->bias_lo[g];
                d[i] = span->d[g];
            }
            int32x4_t sum_hi = vsubq_s32(sum_lanes4(h), vld1q_s32(bias_hi));
            int32x4_t sum_lo = vsubq_s32(sum_lanes4(l), vld1q_s32(bias_lo));
            acc = vfmaq_f32(acc, two_terms4(sum_hi, a, sum_lo, b), vld1q_f32(d));
        }
        vst1q_f32(parts + p, acc);
    }
}

// ---- attention: four positions at a time ----

INLINE int8x16_t narrow16(const int16_t *x)
{
    return vcombine_s8(vmovn_s16(vld1q_s16(x)), vmovn_s16(vld1q_s16(x + 8)));
}

static void scores_int8(const int16_t *hi, const int16_t *lo, float a, float b, const int8_t *k, uint32_t head_dim,
                        float scale, float s[64])
{
    const float *scales = (const float *)(const void *)(k + 64 * (size_t)head_dim);
    for (uint32_t j = 0; j < 64; j += 4) {
        const int8_t *row = k + (size_t)j * head_dim;
        int32x4_t h[4], l[4];
        UNROLL for (int i = 0; i < 4; i++) h[i] = l[i] = vdupq_n_s32(0);
        uint32_t d = 0;
        for (; d + 16 <= head_dim; d += 16) {
            const int8x16_t q_hi = narrow16(hi + d), q_lo = narrow16(lo + d);
            UNROLL for (uint32_t i = 0; i < 4; i++)
            {
                int8x16_t codes = vld1q_s8(row + (size_t)i * head_dim + d);
                h[i] = dot16(h[i], codes, q_hi);
                l[i] = dot16(l[i], codes, q_lo);
            }
        }
        int32_t rest_hi[4] = {0}, rest_lo[4] = {0};
        for (; d < head_dim; d++)
            for (uint32_t i = 0; i < 4; i++) {
                rest_hi[i] += hi[d] * row[(size_t)i * head_dim + d];
                rest_lo[i] += lo[d] * row[(size_t)i * head_dim + d];
            }
        const int32x4_t sum_hi = vaddq_s32(sum_lanes4(h), vld1q_s32(rest_hi)),
                        sum_lo = vaddq_s32(sum_lanes4(l), vld1q_s32(rest_lo));
        const float32x4_t ak = vld1q_f32(scales + j);
        float32x4_t sum = two_terms4(sum_hi, vmulq_n_f32(ak, a), sum_lo, vmulq_n_f32(ak, b));
        vst1q_f32(s + j, vmulq_n_f32(sum, scale));
    }
}

// The sums of a group of n values of four positions: whole groups in registers, a short one value by value.
INLINE void int4_sums4(const uint8_t *row, size_t stride, const int8_t *hi, const int8_t *lo, uint32_t n,
                       int32x4_t *sum_hi, int32x4_t *sum_lo)
{
    if (n == KV_INT4_GROUP) {
        const int8x16_t bias = vdupq_n_s8(INT4_BIAS);
        const int8x16_t h0 = vld1q_s8(hi), h1 = vld1q_s8(hi + 16), l0 = vld1q_s8(lo), l1 = vld1q_s8(lo + 16);
        int32x4_t h[4], l[4];
        UNROLL for (uint32_t i = 0; i < 4; i++)
        {
            uint8x16_t w = vld1q_u8(row + i * stride);
            int8x16_t even = vsubq_s8(low_nibbles(w), bias), odd = vsubq_s8(high_nibbles(w), bias);
            int8x16_t v0 = vzip1q_s8(even, odd), v1 = vzip2q_s8(even, odd);
            h[i] = dot16(dot16(vdupq_n_s32(0), v0, h0), v1, h1);
            l[i] = dot16(dot16(vdupq_n_s32(0), v0, l0), v1, l1);
        }
        *sum_hi = sum_lanes4(h);
        *sum_lo = sum_lanes4(l);
        return;
    }
    int32_t h[4] = {0}, l[4] = {0};
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t d = 0; d < n; d++) {
            h[i] += hi[d] * int4_at(row + i * stride, d);
            l[i] += lo[d] * int4_at(row + i * stride, d);
        }
    *sum_hi = vld1q_s32(h);
    *sum_lo = vld1q_s32(l);
}

static void scores_int4(const int8_t *hi, const int8_t *lo, float a, float b, const uint8_t *k, uint32_t head_dim,
                        float scale, float s[64])
{
    const uint16_t *scales = (const uint16_t *)(const void *)(k + kv_int4_scales((int)head_dim));
    const size_t stride = head_dim / 2;
    for (uint32_t j = 0; j < 64; j += 4) {
        float32x4_t chain = vdupq_n_f32(0.0f);
        for (uint32_t d = 0; d < head_dim; d += KV_INT4_GROUP) {
            uint32_t n = head_dim - d < KV_INT4_GROUP ? head_dim - d : KV_INT4_GROUP;
            int32x4_t sum_hi, sum_lo;
            int4_sums4(k + j * stride + d / 2, stride, hi + d, lo + d, n, &sum_hi, &sum_lo);
            float32x4_t sum = two_terms4(sum_hi, vdupq_n_f32(a), sum_lo, vdupq_n_f32(b));
            chain = vfmaq_f32(chain, sum, half4(scales + kv_int4_scale_index((int)j, (int)(d / KV_INT4_GROUP))));
        }
        vst1q_f32(s + j, vmulq_n_f32(chain, scale));
    }
}

INLINE void put_integer_loops(cpu_kernels *k)
{
    k->int8_sums = int8_sums;
    k->int4_bias = int4_bias;
    k->int4_parts = int4_parts;
    k->scores_int8 = scores_int8;
    k->scores_int4 = scores_int4;
}

#endif
