// Inner loops for AVX-512 over dense blocks as stored: to floats, and as operands of dot64. The sixteen lanes of a
// register are the sixteen elements that share a scale in Q6_K and half of those that do in Q4_0, Q4_K and Q5_K, so
// that no scale is gathered. Compiled and entered as kernels_avx512.c.
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "kernels_avx2.h"
#include "kernels_avx512.h"

INLINE __m512i bytes16(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); }

// ---- what becomes of elements ----

// Either floats in memory, or dot64 with x: accumulator j in lane j % 16 of acc[j / 16].
typedef struct sink {
    float *out; // both move on with the row
    const float *x;
    __m512 acc[4];
} sink;

// Elements i .. i + 15 from where the sink is; i is a constant where this is used.
INLINE void take(sink *s, const bool dots, const int i, __m512 e)
{
    if (dots)
        s->acc[i % 64 / 16] = _mm512_fmadd_ps(e, _mm512_loadu_ps(s->x + i), s->acc[i % 64 / 16]);
    else
        _mm512_storeu_ps(s->out + i, e);
}

INLINE void move_on(sink *s, const bool dots, const int n)
{
    if (dots)
        s->x += n;
    else
        s->out += n;
}

// ---- the encodings, element by element as dense.c defines them ----

INLINE void q4_0(const uint8_t *block, sink *s, const bool dots, const int i)
{
    const __m512 d = _mm512_set1_ps(load_half(block));
    const __m512i eight = _mm512_set1_epi32(8);
    __m512i q = bytes16(block + 2);
    __m512i low = _mm512_sub_epi32(_mm512_and_si512(q, _mm512_set1_epi32(15)), eight);
    __m512i high = _mm512_sub_epi32(_mm512_srli_epi32(q, 4), eight);
    take(s, dots, i, _mm512_mul_ps(d, _mm512_cvtepi32_ps(low)));
    take(s, dots, i + 16, _mm512_mul_ps(d, _mm512_cvtepi32_ps(high)));
}

// Q4_K, and Q5_K where every code has a fifth bit.
INLINE void k45(const uint8_t *block, const bool is_q5, sink *s, const bool dots)
{
    float factor[8], low[8];
    cpu_k45_scales(block, factor, low);
    const uint8_t *qs = block + (is_q5 ? 48 : 16), *qh = block + 16;
    UNROLL for (uint32_t j = 0; j < 8; j++) UNROLL for (uint32_t i = 0; i < 32; i += 16)
    {
        __m512i q = bytes16(qs + 32 * (j / 2) + i);
        q = j % 2 == 0 ? _mm512_and_si512(q, _mm512_set1_epi32(15)) : _mm512_srli_epi32(q, 4);
        if (is_q5) {
            __m512i fifth = j < 4 ? _mm512_slli_epi32(bytes16(qh + i), 4 - j)
                                  : _mm512_srli_epi32(bytes16(qh + i), j - 4);
            q = _mm512_or_si512(q, _mm512_and_si512(fifth, _mm512_set1_epi32(16)));
        }
        take(s, dots, (int)(32 * j + i),
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

INLINE void q6_k(const uint8_t *block, sink *s, const bool dots)
{
    _Alignas(64) int8_t codes[256];
    float scale[16];
    q6_k_unpack(block, codes, scale);
    UNROLL for (int i = 0; i < 256; i += 16)
    {
        __m512i code = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(codes + i)));
        take(s, dots, i, _mm512_mul_ps(_mm512_set1_ps(scale[i / 16]), _mm512_cvtepi32_ps(code)));
    }
}

// ---- rows ----

INLINE void walk(dense_type type, const uint8_t *row, uint32_t n, sink *s, const bool dots)
{
    switch (type) {
    case DENSE_Q4_0:
        for (; n >= 64; n -= 64, row += 36, move_on(s, dots, 64)) {
            q4_0(row, s, dots, 0);
            q4_0(row + 18, s, dots, 32);
        }
        if (n > 0) q4_0(row, s, dots, 0);
        break;
    case DENSE_Q4_K:
        for (; n > 0; n -= 256, row += 144, move_on(s, dots, 256)) k45(row, false, s, dots);
        break;
    case DENSE_Q5_K:
        for (; n > 0; n -= 256, row += 176, move_on(s, dots, 256)) k45(row, true, s, dots);
        break;
    default: // Q6_K
        for (; n > 0; n -= 256, row += 210, move_on(s, dots, 256)) q6_k(row, s, dots);
        break;
    }
}

// Of the others, F32 gained less than 5 % from wider registers (bench/NOTES.md).
static bool is_better_here(dense_type type)
{
    return type == DENSE_Q4_0 || type == DENSE_Q4_K || type == DENSE_Q5_K || type == DENSE_Q6_K;
}

void cpu_avx512_dense_to_float(dense_type type, const uint8_t *row, uint32_t n, float *out)
{
    sink s = {.out = out};
    if (is_better_here(type))
        walk(type, row, n, &s, false);
    else
        cpu_kernels_avx2.dense_to_float(type, row, n, out);
}

void cpu_avx512_dense_dot(dense_type type, const uint8_t *row, const float *x, uint32_t n, float acc[64])
{
    if (!is_better_here(type)) {
        cpu_kernels_avx2.dense_dot(type, row, x, n, acc);
        return;
    }
    sink s = {.x = x};
    UNROLL for (int j = 0; j < 4; j++) s.acc[j] = _mm512_loadu_ps(acc + 16 * j);
    walk(type, row, n, &s, true);
    UNROLL for (int j = 0; j < 4; j++) _mm512_storeu_ps(acc + 16 * j, s.acc[j]);
}
#else
typedef int kernels_avx512_dense_empty; // ISO C wants a declaration in every file
#endif
