// Inner loops for NEON, which every aarch64 processor has. Entries not here are those of the portable table, whose
// loops the compiler turns into vectors by itself, since an fma is an instruction of the base architecture there.
#if defined(__aarch64__)
#include "kernels_neon_int.h"
#include "kernels_neon_ternary.h"

// ---- dense: the 64 accumulators of dot64 are sixteen registers ----

// Elements i .. i + 3 of a row of F32, F16 or BF16.
INLINE float32x4_t dense4(const dense_type type, const uint8_t *row, uint32_t i)
{
    if (type == DENSE_F32) return vreinterpretq_f32_u8(vld1q_u8(row + 4 * (size_t)i));
    if (type == DENSE_F16) return half4(row + 2 * (size_t)i);
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(row + 2 * (size_t)i)), 16));
}

INLINE void dense_dot_type(const dense_type type, const uint8_t *row, const float *x, uint32_t n, float acc[64])
{
    float32x4_t a[16];
    UNROLL for (int j = 0; j < 16; j++) a[j] = vld1q_f32(acc + 4 * j);
    uint32_t i = 0;
    for (; i + 64 <= n; i += 64)
        UNROLL for (uint32_t j = 0; j < 16; j++)
            a[j] = vfmaq_f32(a[j], dense4(type, row, i + 4 * j), vld1q_f32(x + i + 4 * j));
    UNROLL for (int j = 0; j < 16; j++) vst1q_f32(acc + 4 * j, a[j]);
    if (i == n) return;
    float tail[64];
    dense_row_to_float(type, row + dense_column_offset(type, i), n - i, tail);
    for (uint32_t j = 0; j < n - i; j++) acc[j] = scalar_fma(tail[j], x[i + j], acc[j]);
}

// Block 0 meets accumulators 0 to 31, block 1 the others, and so on.
static void q8_0_dot(const uint8_t *row, const float *x, uint32_t n, float acc[64])
{
    for (uint32_t i = 0; i < n; i += 32, row += 34) {
        float32x4_t d = vdupq_n_f32(half_to_float((uint32_t)row[0] | (uint32_t)row[1] << 8));
        float *a = acc + i % 64;
        UNROLL for (uint32_t j = 0; j < 32; j += 8)
        {
            int16x8_t q = vmovl_s8(vreinterpret_s8_u8(vld1_u8(row + 2 + j)));
            float32x4_t e0 = vmulq_f32(d, vcvtq_f32_s32(vmovl_s16(vget_low_s16(q))));
            float32x4_t e1 = vmulq_f32(d, vcvtq_f32_s32(vmovl_s16(vget_high_s16(q))));
            vst1q_f32(a + j, vfmaq_f32(vld1q_f32(a + j), e0, vld1q_f32(x + i + j)));
            vst1q_f32(a + j + 4, vfmaq_f32(vld1q_f32(a + j + 4), e1, vld1q_f32(x + i + j + 4)));
        }
    }
}

static void dense_dot(dense_type type, const uint8_t *row, const float *x, uint32_t n, float acc[64])
{
    float chunk[256]; // a multiple of every block
    switch (type) {
    case DENSE_F32: dense_dot_type(DENSE_F32, row, x, n, acc); break;
    case DENSE_F16: dense_dot_type(DENSE_F16, row, x, n, acc); break;
    case DENSE_BF16: dense_dot_type(DENSE_BF16, row, x, n, acc); break;
    case DENSE_Q8_0: q8_0_dot(row, x, n, acc); break;
    default:
        for (uint32_t i = 0; i < n; i += 256) {
            uint32_t count = n - i < 256 ? n - i : 256;
            dense_row_to_float(type, row + dense_column_offset(type, i), count, chunk);
            dense_dot_type(DENSE_F32, (const uint8_t *)chunk, x + i, count, acc);
        }
        break;
    }
}

INLINE void to_float_type(const dense_type type, const uint8_t *row, uint32_t n, float *out)
{
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(out + i, dense4(type, row, i));
    dense_row_to_float(type, row + dense_column_offset(type, i), n - i, out + i); // fewer than 4
}

static void dense_to_float(dense_type type, const uint8_t *row, uint32_t n, float *out)
{
    switch (type) {
    case DENSE_F16: to_float_type(DENSE_F16, row, n, out); break;
    case DENSE_BF16: to_float_type(DENSE_BF16, row, n, out); break;
    default: dense_row_to_float(type, row, n, out); break;
    }
}

// Four lanes of the 64 accumulators at a time, for all eight pairs.
static void dense_tile(const float *rows, size_t row_stride, const float *x, size_t x_stride, uint32_t n, float *acc)
{
    for (uint32_t j = 0; j < 64; j += 4) {
        float32x4_t a[8];
        UNROLL for (int p = 0; p < 8; p++) a[p] = vld1q_f32(acc + 64 * p + j);
        for (size_t i = j; i + 4 <= n; i += 64) {
            float32x4_t x0 = vld1q_f32(x + i), x1 = vld1q_f32(x + x_stride + i);
            UNROLL for (uint32_t r = 0; r < 4; r++)
            {
                float32x4_t w = vld1q_f32(rows + r * row_stride + i);
                a[r] = vfmaq_f32(a[r], w, x0);
                a[4 + r] = vfmaq_f32(a[4 + r], w, x1);
            }
        }
        UNROLL for (int p = 0; p < 8; p++) vst1q_f32(acc + 64 * p + j, a[p]);
    }
    for (uint32_t i = n / 4 * 4; i < n; i++)
        for (uint32_t p = 0; p < 8; p++) {
            float *a = acc + 64 * p + i % 64;
            *a = scalar_fma(rows[p % 4 * row_stride + i], x[p / 4 * x_stride + i], *a);
        }
}

// ---- attention ----

// Eight outputs at a time: products of two positions fit int16.
static void values_int8(const int8_t hi[64], const int8_t lo[64], float a, float b, const int8_t *v, uint32_t head_dim,
                        float *o)
{
    uint32_t d = 0;
    for (; d + 8 <= head_dim; d += 8) {
        int32x4_t h0 = vdupq_n_s32(0), h1 = h0, l0 = h0, l1 = h0;
        for (uint32_t j = 0; j < 64; j += 2) {
            int8x8_t v0 = vld1_s8(v + (size_t)j * head_dim + d), v1 = vld1_s8(v + (size_t)(j + 1) * head_dim + d);
            int16x8_t h = vmlal_s8(vmull_s8(v0, vdup_n_s8(hi[j])), v1, vdup_n_s8(hi[j + 1]));
            int16x8_t l = vmlal_s8(vmull_s8(v0, vdup_n_s8(lo[j])), v1, vdup_n_s8(lo[j + 1]));
            h0 = vaddw_s16(h0, vget_low_s16(h));
            h1 = vaddw_s16(h1, vget_high_s16(h));
            l0 = vaddw_s16(l0, vget_low_s16(l));
            l1 = vaddw_s16(l1, vget_high_s16(l));
        }
        const float32x4_t va = vdupq_n_f32(a), vb = vdupq_n_f32(b);
        vst1q_f32(o + d, two_terms4(h0, va, l0, vb));
        vst1q_f32(o + d + 4, two_terms4(h1, va, l1, vb));
    }
    cpu_values_int8_rest(hi, lo, a, b, v, head_dim, d, o);
}

void cpu_kernels_refine_neon(cpu_kernels *k)
{
    k->name = "neon";
    put_ternary_loops(k);
    put_integer_loops(k);
    cpu_neon_put_rows(k);
    k->dense_to_float = dense_to_float;
    k->dense_dot = dense_dot;
    k->dense_tile = dense_tile;
    k->values_int8 = values_int8;
}
#else
typedef int kernels_neon_empty; // ISO C wants a declaration in every file
#endif
