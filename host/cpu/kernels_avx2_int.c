// Inner loops for AVX2: integer products with INT8 and INT4 rows (dense.h) and with int4 K and V (kv.h). Compiled and
// entered as kernels_avx2.c.
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

// The eight lanes are the eight parts.
void cpu_avx2_int4_parts(const int4_span *span, const uint32_t first[8], uint32_t n_steps, float parts[8])
{
    const __m256i mask = _mm256_set1_epi8(15), at_first = load(first);
    const __m256 a = _mm256_set1_ps(span->a), b = _mm256_set1_ps(span->b);
    __m256 acc = _mm256_loadu_ps(parts);
    for (uint32_t s = 0; s < n_steps; s++) {
        __m256i h[8], l[8];
        UNROLL for (uint32_t p = 0; p < 8; p++)
        {
            size_t g = first[p] + s;
            __m256i w = load(span->row + 32 * g), low = _mm256_and_si256(w, mask),
                    high = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
            h[p] = group_sum(low, high, span->hi + 64 * g);
            l[p] = group_sum(low, high, span->lo + 64 * g);
        }
        __m256i sum_h = _mm256_sub_epi32(sum_lanes8(h), _mm256_i32gather_epi32(span->bias_hi + s, at_first, 4));
        __m256i sum_l = _mm256_sub_epi32(sum_lanes8(l), _mm256_i32gather_epi32(span->bias_lo + s, at_first, 4));
        __m256 v = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum_h), a, _mm256_mul_ps(_mm256_cvtepi32_ps(sum_l), b));
        acc = _mm256_fmadd_ps(v, _mm256_i32gather_ps(span->d + s, at_first, 4), acc);
    }
    _mm256_storeu_ps(parts, acc);
}

// ---- attention over int4 ----

// 32 stored values of one position, in their order, as code + 8.
INLINE __m256i nibbles32(const uint8_t *p)
{
    __m128i w = _mm_loadu_si128((const __m128i *)p), mask = _mm_set1_epi8(15);
    __m128i even = _mm_and_si128(w, mask), odd = _mm_and_si128(_mm_srli_epi16(w, 4), mask);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi8(even, odd)), _mm_unpackhi_epi8(even, odd),
                                   1);
}

INLINE int32_t int4_at(const uint8_t *row, uint32_t d) { return d % 2 == 0 ? row[d / 2] & 15 : row[d / 2] >> 4; }

// The sums of one group of n values for eight positions: whole groups in registers, a short one value by value.
INLINE void group_sums8(const uint8_t *k, size_t stride, const int8_t *hi, const int8_t *lo, uint32_t n,
                        __m256i *sum_hi, __m256i *sum_lo)
{
    const __m256i ones = _mm256_set1_epi16(1);
    if (n == KV_INT4_GROUP) {
        __m256i h[8], l[8], q_hi = load(hi), q_lo = load(lo);
        UNROLL for (uint32_t j = 0; j < 8; j++)
        {
            __m256i w = nibbles32(k + j * stride);
            h[j] = _mm256_madd_epi16(_mm256_maddubs_epi16(w, q_hi), ones); // at most 2 * 15 * 127 a lane of int16
            l[j] = _mm256_madd_epi16(_mm256_maddubs_epi16(w, q_lo), ones);
        }
        *sum_hi = sum_lanes8(h);
        *sum_lo = sum_lanes8(l);
        return;
    }
    int32_t sums[2][8] = {{0}};
    for (uint32_t j = 0; j < 8; j++)
        for (uint32_t d = 0; d < n; d++) {
            sums[0][j] += hi[d] * int4_at(k + j * stride, d);
            sums[1][j] += lo[d] * int4_at(k + j * stride, d);
        }
    *sum_hi = load(sums[0]);
    *sum_lo = load(sums[1]);
}

void cpu_avx2_scores_int4(const int8_t *hi, const int8_t *lo, float a, float b, const uint8_t *k, uint32_t head_dim,
                          float scale, float s[64])
{
    const uint16_t *scales = (const uint16_t *)(const void *)(k + kv_int4_scales((int)head_dim));
    size_t stride = head_dim / 2;
    for (uint32_t j = 0; j < 64; j += 8) _mm256_storeu_ps(s + j, _mm256_setzero_ps());
    for (uint32_t first = 0; first < head_dim; first += KV_INT4_GROUP) {
        uint32_t n = head_dim - first < KV_INT4_GROUP ? head_dim - first : KV_INT4_GROUP;
        int32_t bias_hi = 0, bias_lo = 0; // what codes stored as code + 8 add
        for (uint32_t d = first; d < first + n; d++) {
            bias_hi += 8 * hi[d];
            bias_lo += 8 * lo[d];
        }
        for (uint32_t j = 0; j < 64; j += 8) {
            __m256i sum_hi, sum_lo;
            group_sums8(k + j * stride + first / 2, stride, hi + first, lo + first, n, &sum_hi, &sum_lo);
            sum_hi = _mm256_sub_epi32(sum_hi, _mm256_set1_epi32(bias_hi));
            sum_lo = _mm256_sub_epi32(sum_lo, _mm256_set1_epi32(bias_lo));
            __m256 low = _mm256_mul_ps(_mm256_cvtepi32_ps(sum_lo), _mm256_set1_ps(b));
            __m256 t = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum_hi), _mm256_set1_ps(a), low);
            const uint16_t *at = scales + KV_BLOCK * (first / KV_INT4_GROUP) + j;
            __m256 ak = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)at));
            _mm256_storeu_ps(s + j, _mm256_fmadd_ps(t, ak, _mm256_loadu_ps(s + j)));
        }
    }
    for (uint32_t j = 0; j < 64; j += 8)
        _mm256_storeu_ps(s + j, _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_loadu_ps(s + j)));
}

// The 32 values of two positions side by side as pairs: products of a pair with its two weights fit int16, and those of
// PAIRS_A_FLUSH pairs do: 8 * 2 * 15 * 127 = 30,480.
#define PAIRS_A_FLUSH 8u

INLINE __m256i weight_pair(const int8_t *w)
{
    return _mm256_set1_epi16((int16_t)((uint16_t)(uint8_t)w[0] | (uint16_t)((uint16_t)(uint8_t)w[1] << 8)));
}

// Adds the 16 int16 lanes to two registers of int32 in their order.
INLINE void widen(__m256i lanes, __m256i *first, __m256i *second)
{
    *first = _mm256_add_epi32(*first, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(lanes)));
    *second = _mm256_add_epi32(*second, _mm256_cvtepi16_epi32(_mm256_extracti128_si256(lanes, 1)));
}

INLINE void store8(float *o, __m256i hi, __m256i lo, int32_t bias_hi, int32_t bias_lo, float a, float b)
{
    __m256 h = _mm256_cvtepi32_ps(_mm256_sub_epi32(hi, _mm256_set1_epi32(bias_hi)));
    __m256 l = _mm256_cvtepi32_ps(_mm256_sub_epi32(lo, _mm256_set1_epi32(bias_lo)));
    _mm256_storeu_ps(o, _mm256_fmadd_ps(h, _mm256_set1_ps(a), _mm256_mul_ps(l, _mm256_set1_ps(b))));
}

void cpu_avx2_values_int4(const int8_t hi[64], const int8_t lo[64], float a, float b, const uint8_t *v,
                          uint32_t head_dim, uint32_t n, float *o)
{
    size_t stride = head_dim / 2;
    int32_t bias_hi = 0, bias_lo = 0;
    for (uint32_t j = 0; j < 64; j++) {
        bias_hi += 8 * hi[j];
        bias_lo += 8 * lo[j];
    }
    uint32_t d = 0;
    for (; d + 32 <= n; d += 32) {
        __m256i h[4], l[4]; // values 0-7, 8-15, 16-23, 24-31
        UNROLL for (int i = 0; i < 4; i++) h[i] = l[i] = _mm256_setzero_si256();
        for (uint32_t flush = 0; flush < 64; flush += 2 * PAIRS_A_FLUSH) {
            // low: values 0-7 and 16-23, high: 8-15 and 24-31, as unpacking within 128 bits leaves them
            __m256i low_h = _mm256_setzero_si256(), high_h = low_h, low_l = low_h, high_l = low_h;
            for (uint32_t j = flush; j < flush + 2 * PAIRS_A_FLUSH; j += 2) {
                __m256i first = nibbles32(v + j * stride + d / 2), second = nibbles32(v + (j + 1) * stride + d / 2);
                __m256i low = _mm256_unpacklo_epi8(first, second), high = _mm256_unpackhi_epi8(first, second);
                __m256i w_hi = weight_pair(hi + j), w_lo = weight_pair(lo + j);
                low_h = _mm256_add_epi16(low_h, _mm256_maddubs_epi16(low, w_hi));
                high_h = _mm256_add_epi16(high_h, _mm256_maddubs_epi16(high, w_hi));
                low_l = _mm256_add_epi16(low_l, _mm256_maddubs_epi16(low, w_lo));
                high_l = _mm256_add_epi16(high_l, _mm256_maddubs_epi16(high, w_lo));
            }
            widen(low_h, &h[0], &h[2]);
            widen(high_h, &h[1], &h[3]);
            widen(low_l, &l[0], &l[2]);
            widen(high_l, &l[1], &l[3]);
        }
        UNROLL for (int i = 0; i < 4; i++) store8(o + d + 8 * i, h[i], l[i], bias_hi, bias_lo, a, b);
    }
    for (; d < n; d++) {
        int32_t sum_hi = -bias_hi, sum_lo = -bias_lo;
        for (uint32_t j = 0; j < 64; j++) {
            sum_hi += hi[j] * int4_at(v + j * stride, d);
            sum_lo += lo[j] * int4_at(v + j * stride, d);
        }
        o[d] = scalar_fma((float)sum_hi, a, (float)sum_lo * b);
    }
}
#else
typedef int kernels_avx2_int_empty; // ISO C wants a declaration in every file
#endif
