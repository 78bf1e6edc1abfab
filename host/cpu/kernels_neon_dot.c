// The integer inner loops for processors with NEON dot products. Compiled with -march=armv8.2-a+dotprod and entered
// only through cpu_kernels_select.
#if defined(__aarch64__)
#include "kernels_neon_int.h"
#include "kernels_neon_ternary.h"

// The values of four positions from v on, 16 of each, side by side: four bytes of register i belong to value 4 * i + j.
INLINE void transpose(const int8_t *v, uint32_t head_dim, int8x16_t out[4])
{
    int8x16_t v0 = vld1q_s8(v), v1 = vld1q_s8(v + head_dim), v2 = vld1q_s8(v + 2 * (size_t)head_dim),
              v3 = vld1q_s8(v + 3 * (size_t)head_dim);
    int8x16x2_t even = vzipq_s8(v0, v2), odd = vzipq_s8(v1, v3);
    int8x16x2_t low = vzipq_s8(even.val[0], odd.val[0]), high = vzipq_s8(even.val[1], odd.val[1]);
    out[0] = low.val[0];
    out[1] = low.val[1];
    out[2] = high.val[0];
    out[3] = high.val[1];
}

INLINE int8x16_t weights4(const int8_t *w)
{
    int32_t four;
    memcpy(&four, w, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

// Sixteen outputs at a time, four positions a step.
static void values_int8(const int8_t hi[64], const int8_t lo[64], float a, float b, const int8_t *v, uint32_t head_dim,
                        float *o)
{
    const float32x4_t va = vdupq_n_f32(a), vb = vdupq_n_f32(b);
    uint32_t d = 0;
    for (; d + 16 <= head_dim; d += 16) {
        int32x4_t h[4], l[4];
        UNROLL for (int i = 0; i < 4; i++) h[i] = l[i] = vdupq_n_s32(0);
        for (uint32_t j = 0; j < 64; j += 4) {
            const int8x16_t w_hi = weights4(hi + j), w_lo = weights4(lo + j);
            int8x16_t values[4];
            transpose(v + (size_t)j * head_dim + d, head_dim, values);
            UNROLL for (int i = 0; i < 4; i++)
            {
                h[i] = vdotq_s32(h[i], values[i], w_hi);
                l[i] = vdotq_s32(l[i], values[i], w_lo);
            }
        }
        UNROLL for (int i = 0; i < 4; i++) vst1q_f32(o + d + 4 * i, two_terms4(h[i], va, l[i], vb));
    }
    cpu_values_int8_rest(hi, lo, a, b, v, head_dim, d, o);
}

void cpu_kernels_refine_neon_dot(cpu_kernels *k)
{
    k->name = "neon-dotprod";
    put_ternary_loops(k);
    put_integer_loops(k);
    k->values_int8 = values_int8;
}
#else
typedef int kernels_neon_dot_empty; // ISO C wants a declaration in every file
#endif
