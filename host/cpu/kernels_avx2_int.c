// Inner loops for AVX2: integer products with INT8 and INT4 rows (dense.h). Compiled and entered as kernels_avx2.c.
#if defined(__x86_64__)
#include "kernels_avx2.h"

INLINE __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

INLINE int32_t sum_lanes(__m256i a)
{
    __m128i t = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
}

// maddubs wants an unsigned operand: the magnitude of the weights, their sign moved to the activations. Activations are
// within 127 and weights within 128, so that a pair is at most 2 * 128 * 127 = 32,512: nothing saturates.
INLINE void int8_pair(const int8_t *row, const int8_t *x0, const int8_t *x1, uint32_t n, int32_t *sums)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum0 = _mm256_setzero_si256(), sum1 = sum0;
    for (uint32_t c = 0; c < n; c += 32) {
        __m256i w = load(row + c), magnitude = _mm256_abs_epi8(w);
        __m256i p0 = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(load(x0 + c), w));
        __m256i p1 = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(load(x1 + c), w));
        sum0 = _mm256_add_epi32(sum0, _mm256_madd_epi16(p0, ones));
        sum1 = _mm256_add_epi32(sum1, _mm256_madd_epi16(p1, ones));
    }
    sums[0] = sum_lanes(sum0);
    sums[1] = sum_lanes(sum1);
}

void cpu_avx2_int8_sums(const int8_t *row, const int8_t *const *x, const int32_t *x_sum, uint32_t n_x, uint32_t n,
                        int32_t *sums)
{
    (void)x_sum;
    for (uint32_t i = 0; i < n_x; i += 2) int8_pair(row, x[i], x[i + 1], n, sums + i);
}

// Sums of the eight lanes of each of eight registers, in their order.
INLINE __m256i sum_lanes8(const __m256i a[8])
{
    __m256i low = _mm256_hadd_epi32(_mm256_hadd_epi32(a[0], a[1]), _mm256_hadd_epi32(a[2], a[3]));
    __m256i high = _mm256_hadd_epi32(_mm256_hadd_epi32(a[4], a[5]), _mm256_hadd_epi32(a[6], a[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
}

// Eight partial sums of 64 unsigned codes of up to 15 times activations: a lane of int16 gets four products, at most
// 4 * 15 * 127 = 7,620.
INLINE __m256i group_sum(__m256i low, __m256i high, const int8_t *x)
{
    __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(low, load(x)), _mm256_maddubs_epi16(high, load(x + 32)));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

void cpu_avx2_int4_bias(const int8_t *x, uint32_t n_groups, int32_t *out)
{
    const __m256i eight = _mm256_set1_epi8(8);
    for (uint32_t g = 0; g < n_groups; g++) out[g] = sum_lanes(group_sum(eight, eight, x + 64 * (size_t)g));
}

void cpu_avx2_int4_groups(const uint8_t *row, const int8_t *hi, const int8_t *lo, uint32_t n_groups,
                          const int32_t *bias_hi, const int32_t *bias_lo, float a, float b, float *v)
{
    const __m256i mask = _mm256_set1_epi8(15);
    for (uint32_t g = 0; g < n_groups; g += 8) {
        uint32_t n = n_groups - g < 8 ? n_groups - g : 8;
        __m256i h[8], l[8];
        UNROLL for (uint32_t i = 0; i < 8; i++)
        {
            if (i >= n) {
                h[i] = l[i] = _mm256_setzero_si256();
                continue;
            }
            size_t at = g + i;
            __m256i w = load(row + 32 * at), low = _mm256_and_si256(w, mask),
                    high = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
            h[i] = group_sum(low, high, hi + 64 * at);
            l[i] = group_sum(low, high, lo + 64 * at);
        }
        __m256i sum_h = sum_lanes8(h), sum_l = sum_lanes8(l);
        if (n == 8) {
            sum_h = _mm256_sub_epi32(sum_h, load(bias_hi + g));
            sum_l = _mm256_sub_epi32(sum_l, load(bias_lo + g));
            __m256 rest = _mm256_mul_ps(_mm256_cvtepi32_ps(sum_l), _mm256_set1_ps(b));
            _mm256_storeu_ps(v + g, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum_h), _mm256_set1_ps(a), rest));
            continue;
        }
        int32_t sums_h[8], sums_l[8];
        _mm256_storeu_si256((__m256i *)sums_h, sum_h);
        _mm256_storeu_si256((__m256i *)sums_l, sum_l);
        for (uint32_t i = 0; i < n; i++)
            v[g + i] = scalar_fma((float)(sums_h[i] - bias_hi[g + i]), a, (float)(sums_l[i] - bias_lo[g + i]) * b);
    }
}
#else
typedef int kernels_avx2_int_empty; // ISO C wants a declaration in every file
#endif
