// Inner loops for AVX-512: dense blocks to floats, and dot64 over Q6_K as stored. The sixteen lanes of a register are
// the sixteen elements that share a scale in Q6_K and half of those that do in Q4_0, Q4_K and Q5_K, so that no scale is
// gathered. Compiled and entered as kernels_avx512.c.
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "kernels_avx2.h"
#include "kernels_avx512.h"

INLINE __m512i bytes16(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); }

// ---- blocks, element by element as dense.c defines them ----

static void q4_0_to_float(const uint8_t *block, float *out)
{
    const __m512 d = _mm512_set1_ps(load_half(block));
    const __m512i eight = _mm512_set1_epi32(8);
    __m512i q = bytes16(block + 2);
    __m512i low = _mm512_sub_epi32(_mm512_and_si512(q, _mm512_set1_epi32(15)), eight);
    __m512i high = _mm512_sub_epi32(_mm512_srli_epi32(q, 4), eight);
    _mm512_storeu_ps(out, _mm512_mul_ps(d, _mm512_cvtepi32_ps(low)));
    _mm512_storeu_ps(out + 16, _mm512_mul_ps(d, _mm512_cvtepi32_ps(high)));
}

// Q4_K, and Q5_K where qh gives every code a fifth bit.
INLINE void k45_to_float(const uint8_t *block, const uint8_t *qh, const uint8_t *qs, float *out)
{
    float factor[8], low[8];
    cpu_k45_scales(block, factor, low);
    for (uint32_t j = 0; j < 8; j++)
        for (uint32_t i = 0; i < 32; i += 16) {
            __m512i q = bytes16(qs + 32 * (j / 2) + i);
            q = j % 2 == 0 ? _mm512_and_si512(q, _mm512_set1_epi32(15)) : _mm512_srli_epi32(q, 4);
            if (qh != NULL) {
                __m512i bit = _mm512_and_si512(_mm512_srl_epi32(bytes16(qh + i), _mm_cvtsi32_si128((int)j)),
                                               _mm512_set1_epi32(1));
                q = _mm512_or_si512(q, _mm512_slli_epi32(bit, 4));
            }
            _mm512_storeu_ps(out + 32 * j + i,
                             _mm512_fmadd_ps(_mm512_set1_ps(factor[j]), _mm512_cvtepi32_ps(q), _mm512_set1_ps(low[j])));
        }
}

// Codes -32..31 and scales, each times d.
INLINE void q6_k_unpack(const uint8_t *block, int8_t codes[256], float scale[16])
{
    __m512i integers = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(block + 192)));
    _mm512_storeu_ps(scale, _mm512_mul_ps(_mm512_set1_ps(load_half(block + 208)), _mm512_cvtepi32_ps(integers)));
    // The two spans of a register take their high bits from the same bytes, two bits apart.
    const __m512i shift = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
    const __m512i three = _mm512_set1_epi8(3), fifteen = _mm512_set1_epi8(15);
    for (uint32_t half = 0; half < 2; half++) {
        __m512i ql = _mm512_loadu_si512(block + 64 * half);
        __m512i qh = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(block + 128 + 32 * half)));
        qh = _mm512_srlv_epi16(qh, shift);
        for (uint32_t pair = 0; pair < 2; pair++) { // spans 0 and 1, then 2 and 3
            __m512i low = _mm512_and_si512(pair == 0 ? ql : _mm512_srli_epi16(ql, 4), fifteen);
            __m512i high = _mm512_and_si512(pair == 0 ? qh : _mm512_srli_epi16(qh, 4), three);
            __m512i code = _mm512_or_si512(low, _mm512_slli_epi16(high, 4));
            _mm512_storeu_si512(codes + 128 * half + 64 * pair, _mm512_sub_epi8(code, _mm512_set1_epi8(32)));
        }
    }
}

INLINE __m512 q6_k_values(const int8_t *codes, const float *scale, uint32_t i)
{
    __m512i code = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(codes + i)));
    return _mm512_mul_ps(_mm512_set1_ps(scale[i / 16]), _mm512_cvtepi32_ps(code));
}

static void q6_k_to_float(const uint8_t *block, float *out)
{
    _Alignas(64) int8_t codes[256];
    float scale[16];
    q6_k_unpack(block, codes, scale);
    for (uint32_t i = 0; i < 256; i += 16) _mm512_storeu_ps(out + i, q6_k_values(codes, scale, i));
}

// ---- dot64 ----

// Accumulators 16*j .. 16*j + 15 are register j.
static void q6_k_dot(const uint8_t *row, const float *x, uint32_t n, float acc[64])
{
    __m512 a0 = _mm512_loadu_ps(acc), a1 = _mm512_loadu_ps(acc + 16), a2 = _mm512_loadu_ps(acc + 32),
           a3 = _mm512_loadu_ps(acc + 48);
    for (; n >= 256; n -= 256, row += 210, x += 256) {
        _Alignas(64) int8_t codes[256];
        float scale[16];
        q6_k_unpack(row, codes, scale);
        for (uint32_t i = 0; i < 256; i += 64) {
            a0 = _mm512_fmadd_ps(q6_k_values(codes, scale, i), _mm512_loadu_ps(x + i), a0);
            a1 = _mm512_fmadd_ps(q6_k_values(codes, scale, i + 16), _mm512_loadu_ps(x + i + 16), a1);
            a2 = _mm512_fmadd_ps(q6_k_values(codes, scale, i + 32), _mm512_loadu_ps(x + i + 32), a2);
            a3 = _mm512_fmadd_ps(q6_k_values(codes, scale, i + 48), _mm512_loadu_ps(x + i + 48), a3);
        }
    }
    _mm512_storeu_ps(acc, a0);
    _mm512_storeu_ps(acc + 16, a1);
    _mm512_storeu_ps(acc + 32, a2);
    _mm512_storeu_ps(acc + 48, a3);
}

void cpu_avx512_dense_dot(dense_type type, const uint8_t *row, const float *x, uint32_t n, float acc[64])
{
    if (type == DENSE_Q6_K)
        q6_k_dot(row, x, n, acc);
    else
        cpu_kernels_avx2.dense_dot(type, row, x, n, acc);
}

// ---- to floats ----

void cpu_avx512_dense_to_float(dense_type type, const uint8_t *row, uint32_t n, float *out)
{
    switch (type) {
    case DENSE_Q4_0:
        for (uint32_t i = 0; i + 32 <= n; i += 32, row += 18) q4_0_to_float(row, out + i);
        break;
    case DENSE_Q4_K:
        for (uint32_t i = 0; i + 256 <= n; i += 256, row += 144) k45_to_float(row, NULL, row + 16, out + i);
        break;
    case DENSE_Q5_K:
        for (uint32_t i = 0; i + 256 <= n; i += 256, row += 176) k45_to_float(row, row + 16, row + 48, out + i);
        break;
    case DENSE_Q6_K:
        for (uint32_t i = 0; i + 256 <= n; i += 256, row += 210) q6_k_to_float(row, out + i);
        break;
    default: cpu_kernels_avx2.dense_to_float(type, row, n, out); break;
    }
}
#else
typedef int kernels_avx512_dense_empty; // ISO C wants a declaration in every file
#endif
