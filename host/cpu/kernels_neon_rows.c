// Inner loops for NEON: rows of floats, and attention but for the products that kernels_neon_int.h has. Entered through
// cpu_kernels_refine_neon.
#if defined(__aarch64__)
#include "kernels_neon.h"

// ---- rows ----

static float tree64(const float acc[64])
{
    float32x4_t a[16];
    UNROLL for (int j = 0; j < 16; j++) a[j] = vld1q_f32(acc + 4 * j);
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; j++) a[j] = vaddq_f32(a[j], a[j + half]);
    float32x2_t t = vadd_f32(vget_low_f32(a[0]), vget_high_f32(a[0]));
    return vget_lane_f32(t, 0) + vget_lane_f32(t, 1);
}

static float sumsq256(const float *x, uint32_t n)
{
    float acc[256] = {0};
    for (uint32_t part = 0; part < 256; part += 64) { // sixteen registers at a time
        float32x4_t a[16];
        UNROLL for (int j = 0; j < 16; j++) a[j] = vdupq_n_f32(0.0f);
        for (uint32_t i = part; i + 64 <= n; i += 256) UNROLL for (uint32_t j = 0; j < 16; j++)
            {
                float32x4_t v = vld1q_f32(x + i + 4 * j);
                a[j] = vfmaq_f32(a[j], v, v);
            }
        UNROLL for (uint32_t j = 0; j < 16; j++) vst1q_f32(acc + part + 4 * j, a[j]);
    }
    for (uint32_t i = n / 64 * 64; i < n; i++) acc[i % 256] = scalar_fma(x[i], x[i], acc[i % 256]);
    for (uint32_t half = 128; half >= 64; half /= 2)
        for (uint32_t j = 0; j < half; j++) acc[j] += acc[j + half];
    return tree64(acc);
}

// scalar_code of four values: maxnm takes the number where one operand is NaN, which gives -127.
INLINE int32x4_t code4(float32x4_t x)
{
    float32x4_t r = vmaxnmq_f32(vrndnq_f32(x), vdupq_n_f32(-127.0f));
    return vcvtq_s32_f32(vminnmq_f32(r, vdupq_n_f32(127.0f)));
}

// The codes of eight values and, added to `sum`, their sum.
INLINE int32x4_t store_codes(float32x4_t x0, float32x4_t x1, int32x4_t sum, int8_t *out)
{
    int16x8_t codes = vcombine_s16(vmovn_s32(code4(x0)), vmovn_s32(code4(x1)));
    vst1_s8(out, vmovn_s16(codes));
    return vpadalq_s16(sum, codes);
}

static int32_t codes(const float *x, float multiplier, uint32_t n, int8_t *out)
{
    int32x4_t sum = vdupq_n_s32(0);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8)
        sum = store_codes(vmulq_n_f32(vld1q_f32(x + i), multiplier), vmulq_n_f32(vld1q_f32(x + i + 4), multiplier), sum,
                          out + i);
    int32_t total = vaddvq_s32(sum);
    for (; i < n; i++) total += out[i] = (int8_t)scalar_code(x[i] * multiplier);
    return total;
}

static int32_t codes_product(const float *x, const float *g, float multiplier, uint32_t n, int8_t *out)
{
    int32x4_t sum = vdupq_n_s32(0);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        float32x4_t t0 = vmulq_f32(vld1q_f32(x + i), vld1q_f32(g + i)),
                    t1 = vmulq_f32(vld1q_f32(x + i + 4), vld1q_f32(g + i + 4));
        sum = store_codes(vmulq_n_f32(t0, multiplier), vmulq_n_f32(t1, multiplier), sum, out + i);
    }
    int32_t total = vaddvq_s32(sum);
    for (; i < n; i++) total += out[i] = (int8_t)scalar_code((x[i] * g[i]) * multiplier);
    return total;
}

static int32_t codes_rest(const float *x, const int8_t *hi, float a, float multiplier, uint32_t n, int8_t *out)
{
    int32x4_t sum = vdupq_n_s32(0);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        int16x8_t h = vmovl_s8(vld1_s8(hi + i));
        float32x4_t h0 = vcvtq_f32_s32(vmovl_s16(vget_low_s16(h))), h1 = vcvtq_f32_s32(vmovl_s16(vget_high_s16(h)));
        float32x4_t e0 = vfmsq_f32(vld1q_f32(x + i), h0, vdupq_n_f32(a)),
                    e1 = vfmsq_f32(vld1q_f32(x + i + 4), h1, vdupq_n_f32(a));
        sum = store_codes(vmulq_n_f32(e0, multiplier), vmulq_n_f32(e1, multiplier), sum, out + i);
    }
    int32_t total = vaddvq_s32(sum);
    for (; i < n; i++) total += out[i] = (int8_t)scalar_code(scalar_fma(-(float)hi[i], a, x[i]) * multiplier);
    return total;
}

// scalar_exp of four values, operation by operation; lanes outside its range are replaced at the end.
INLINE float32x4_t exp4(float32x4_t x)
{
    const float32x4_t magic = vdupq_n_f32(0x1.8p23f), one = vdupq_n_f32(1.0f);
    float32x4_t n = vsubq_f32(vfmaq_f32(magic, x, vdupq_n_f32(0x1.715476p0f)), magic);
    float32x4_t r = vfmaq_f32(vfmaq_f32(x, n, vdupq_n_f32(-0x1.62e4p-1f)), n, vdupq_n_f32(-0x1.7f7d1cp-20f));
    float32x4_t p = vdupq_n_f32(0x1.6d113cp-10f);
    p = vfmaq_f32(vdupq_n_f32(0x1.120ba2p-7f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.55551ap-5f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.5554dcp-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0.5f), p, r);
    p = vfmaq_f32(one, p, r);
    p = vfmaq_f32(one, p, r);
    int32x4_t k = vcvtq_s32_f32(n), half = vshrq_n_s32(k, 1), bias = vdupq_n_s32(127);
    float32x4_t a = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
    float32x4_t b = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vsubq_s32(k, half), bias), 23));
    float32x4_t y = vmulq_f32(vmulq_f32(p, a), b);
    y = vbslq_f32(vcltq_f32(x, vdupq_n_f32(-0x1.5d51ecp+6f)), vdupq_n_f32(0.0f), y);
    y = vbslq_f32(vcgtq_f32(x, vdupq_n_f32(0x1.62e42ep+6f)), vdupq_n_f32(__builtin_inff()), y);
    return vbslq_f32(vceqq_f32(x, x), y, x); // NaN is not equal to itself
}

static void gate_silu(const float *g, const float *u, uint32_t n, float *y)
{
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t x = vld1q_f32(g + i);
        float32x4_t silu = vdivq_f32(x, vaddq_f32(vdupq_n_f32(1.0f), exp4(vnegq_f32(x))));
        vst1q_f32(y + i, vmulq_f32(silu, vld1q_f32(u + i)));
    }
    for (; i < n; i++) y[i] = scalar_gate_silu(g[i], u[i]);
}

// ---- attention ----

INLINE float32x4_t kv4(const bool is_f16, const void *data, size_t i)
{
    return is_f16 ? half4((const uint16_t *)data + i) : vld1q_f32((const float *)data + i);
}

INLINE void scores_type(const bool is_f16, const float *q, const void *k, uint32_t head_dim, float scale, float s[64])
{
    float32x4_t a[16];
    UNROLL for (int j = 0; j < 16; j++) a[j] = vdupq_n_f32(0.0f);
    for (uint32_t d = 0; d < head_dim; d++)
        UNROLL for (uint32_t j = 0; j < 16; j++) a[j] = vfmaq_n_f32(a[j], kv4(is_f16, k, 64 * (size_t)d + 4 * j), q[d]);
    UNROLL for (int j = 0; j < 16; j++) vst1q_f32(s + 4 * j, vmulq_n_f32(a[j], scale));
}

static void scores(int k_type, const float *q, const void *k, uint32_t head_dim, float scale, float s[64])
{
    if (k_type == KV_F16)
        scores_type(true, q, k, head_dim, scale, s);
    else
        scores_type(false, q, k, head_dim, scale, s);
}

static void softmax(const float s[64], float max, uint32_t n_present, float p[64])
{
    static const uint32_t lanes[4] = {0, 1, 2, 3};
    for (uint32_t j = 0; j < 64; j += 4) {
        float32x4_t e = exp4(vsubq_f32(vld1q_f32(s + j), vdupq_n_f32(max)));
        uint32x4_t present = vcltq_u32(vaddq_u32(vdupq_n_u32(j), vld1q_u32(lanes)), vdupq_n_u32(n_present));
        vst1q_f32(p + j, vbslq_f32(present, e, vdupq_n_f32(0.0f)));
    }
}

// `registers` * 4 outputs of a head from d0 on.
INLINE void values_part(const bool is_f16, const int registers, const float *p, const void *v, uint32_t n_present,
                        uint32_t head_dim, uint32_t d0, float *o)
{
    float32x4_t a[16];
    UNROLL for (int r = 0; r < registers; r++) a[r] = vdupq_n_f32(0.0f);
    for (uint32_t j = 0; j < n_present; j++)
        UNROLL for (int r = 0; r < registers; r++)
            a[r] = vfmaq_n_f32(a[r], kv4(is_f16, v, (size_t)j * head_dim + d0 + 4 * (size_t)r), p[j]);
    UNROLL for (int r = 0; r < registers; r++) vst1q_f32(o + d0 + 4 * r, a[r]);
}

INLINE void values_type(const bool is_f16, const float *p, const void *v, uint32_t n_present, uint32_t head_dim,
                        float *o)
{
    uint32_t d = 0;
    for (; d + 64 <= head_dim; d += 64) values_part(is_f16, 16, p, v, n_present, head_dim, d, o);
    for (; d + 4 <= head_dim; d += 4) values_part(is_f16, 1, p, v, n_present, head_dim, d, o);
    cpu_values_rest(is_f16, p, v, n_present, head_dim, d, o);
}

static void values(int v_type, const float *p, const void *v, uint32_t n_present, uint32_t head_dim, float *o)
{
    if (v_type == KV_F16)
        values_type(true, p, v, n_present, head_dim, o);
    else
        values_type(false, p, v, n_present, head_dim, o);
}

// Sixteen outputs at a time. Codes are within -8..7 and weights within 127, so that the products of 32 positions fit
// int16: 32 * 8 * 127 = 32,512.
#define POSITIONS_A_FLUSH 32u

INLINE int8x16_t nibbles16(const uint8_t *p)
{
    uint8x8_t w = vld1_u8(p), even = vand_u8(w, vdup_n_u8(15)), odd = vshr_n_u8(w, 4);
    uint8x16_t stored = vcombine_u8(vzip1_u8(even, odd), vzip2_u8(even, odd));
    return vsubq_s8(vreinterpretq_s8_u8(stored), vdupq_n_s8(INT4_BIAS));
}

static void values_int4(const int8_t hi[64], const int8_t lo[64], float a, float b, const uint8_t *v, uint32_t head_dim,
                        uint32_t n, float *o)
{
    const float32x4_t va = vdupq_n_f32(a), vb = vdupq_n_f32(b);
    const size_t stride = head_dim / 2;
    uint32_t d = 0;
    for (; d + 16 <= n; d += 16) {
        int32x4_t h[4], l[4];
        UNROLL for (int i = 0; i < 4; i++) h[i] = l[i] = vdupq_n_s32(0);
        for (uint32_t flush = 0; flush < 64; flush += POSITIONS_A_FLUSH) {
            int16x8_t h0 = vdupq_n_s16(0), h1 = h0, l0 = h0, l1 = h0;
            for (uint32_t j = flush; j < flush + POSITIONS_A_FLUSH; j++) {
                int8x16_t codes16 = nibbles16(v + j * stride + d / 2);
                int8x8_t w_hi = vdup_n_s8(hi[j]), w_lo = vdup_n_s8(lo[j]);
                h0 = vmlal_s8(h0, vget_low_s8(codes16), w_hi);
                h1 = vmlal_s8(h1, vget_high_s8(codes16), w_hi);
                l0 = vmlal_s8(l0, vget_low_s8(codes16), w_lo);
                l1 = vmlal_s8(l1, vget_high_s8(codes16), w_lo);
            }
            h[0] = vaddw_s16(h[0], vget_low_s16(h0));
            h[1] = vaddw_s16(h[1], vget_high_s16(h0));
            h[2] = vaddw_s16(h[2], vget_low_s16(h1));
            h[3] = vaddw_s16(h[3], vget_high_s16(h1));
            l[0] = vaddw_s16(l[0], vget_low_s16(l0));
            l[1] = vaddw_s16(l[1], vget_high_s16(l0));
            l[2] = vaddw_s16(l[2], vget_low_s16(l1));
            l[3] = vaddw_s16(l[3], vget_high_s16(l1));
        }
        UNROLL for (int i = 0; i < 4; i++) vst1q_f32(o + d + 4 * i, two_terms4(h[i], va, l[i], vb));
    }
    for (; d < n; d++) {
        int32_t sum_hi = 0, sum_lo = 0;
        for (uint32_t j = 0; j < 64; j++) {
            int32_t code = int4_at(v + j * stride, d);
            sum_hi += hi[j] * code;
            sum_lo += lo[j] * code;
        }
        o[d] = scalar_fma((float)sum_hi, a, (float)sum_lo * b);
    }
}

void cpu_neon_put_rows(cpu_kernels *k)
{
    k->tree64 = tree64;
    k->sumsq256 = sumsq256;
    k->codes = codes;
    k->codes_product = codes_product;
    k->codes_rest = codes_rest;
    k->gate_silu = gate_silu;
    k->scores = scores;
    k->softmax = softmax;
    k->values = values;
    k->values_int4 = values_int4;
}
#else
typedef int kernels_neon_rows_empty; // ISO C wants a declaration in every file
#endif
