// Inner loops for AVX2 over dense blocks as stored: to floats, and as operands of dot64 without a way of floats through
// memory. Elements are those of dense.c, bit for bit. Compiled and entered as kernels_avx2.c.
//
// Codes of a block are taken apart into signed bytes in memory, from where a load widens eight at a time. Widening
// registers takes constants, for which the eight sums of dot64 leave no room: they were spilled (bench/NOTES.md).
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "kernels_avx2.h"

// ---- what becomes of elements ----

// Either floats in memory, or dot64 with x: accumulator j in lane j % 8 of acc[j / 8].
typedef struct sink {
    float *out; // both move on with the row
    const float *x;
    __m256 acc[8];
} sink;

// Elements i .. i + 7 from where the sink is; i is a constant where this is used.
INLINE void take(sink *s, const bool dots, const int i, __m256 e)
{
    if (dots)
        s->acc[i % 64 / 8] = _mm256_fmadd_ps(e, _mm256_loadu_ps(s->x + i), s->acc[i % 64 / 8]);
    else
        _mm256_storeu_ps(s->out + i, e);
}

INLINE void move_on(sink *s, const bool dots, const int n)
{
    if (dots)
        s->x += n;
    else
        s->out += n;
}

// Eight codes in memory as floats.
INLINE __m256 floats8(const void *codes)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)codes)));
}

// ---- the encodings ----

// A broadcast or a widening from memory is a load and little else; without this gcc takes the register that it stored
// apart by shuffles.
#define READ_FROM_MEMORY(array) __asm__ volatile("" : "+m"(array))

// 32 codes times d, an fp16 as stored.
INLINE void scaled(const uint8_t *half, const void *codes, sink *s, const bool dots, const int i)
{
    uint16_t bits;
    memcpy(&bits, half, sizeof bits);
    __m256 d = _mm256_cvtph_ps(_mm_set1_epi16((short)bits));
    UNROLL for (int r = 0; r < 32; r += 8) take(s, dots, i + r, _mm256_mul_ps(d, floats8((const int8_t *)codes + r)));
}

INLINE void q8_0(const uint8_t *block, sink *s, const bool dots, const int i) { scaled(block, block + 2, s, dots, i); }

INLINE void q4_0(const uint8_t *block, sink *s, const bool dots, const int i)
{
    __m128i pairs = _mm_loadu_si128((const __m128i *)(block + 2));
    __m256i codes = _mm256_inserti128_si256(_mm256_castsi128_si256(pairs), _mm_srli_epi16(pairs, 4), 1);
    _Alignas(32) int8_t stored[32];
    _mm256_store_si256((__m256i *)stored,
                       _mm256_sub_epi8(_mm256_and_si256(codes, _mm256_set1_epi8(15)), _mm256_set1_epi8(8)));
    READ_FROM_MEMORY(stored);
    scaled(block, stored, s, dots, i);
}

INLINE __m256i bytes8(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)); }

void cpu_k45_scales(const uint8_t *block, float factor[8], float low[8])
{
    uint32_t word[3], packed[4]; // 6-bit scales, then minima
    memcpy(word, block + 4, sizeof word);
    packed[0] = word[0] & 0x3f3f3f3f;
    packed[1] = (word[2] & 0x0f0f0f0f) | (word[0] >> 6 & 0x03030303) << 4;
    packed[2] = word[1] & 0x3f3f3f3f;
    packed[3] = (word[2] >> 4 & 0x0f0f0f0f) | (word[1] >> 6 & 0x03030303) << 4;
    const uint8_t *bytes = (const uint8_t *)packed;
    __m256 d = _mm256_set1_ps(load_half(block)), dmin = _mm256_set1_ps(load_half(block + 2));
    __m256 minima = _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(bytes8(bytes + 8)));
    _mm256_storeu_ps(factor, _mm256_mul_ps(d, _mm256_cvtepi32_ps(bytes8(bytes))));
    _mm256_storeu_ps(low, _mm256_xor_ps(minima, _mm256_set1_ps(-0.0f)));
}

// Q4_K, and Q5_K where every code has a fifth bit, bit j of qh.
INLINE void k45(const uint8_t *block, const bool is_q5, sink *s, const bool dots)
{
    float factor[8], low[8];
    _Alignas(32) int8_t codes[256];
    cpu_k45_scales(block, factor, low);
    READ_FROM_MEMORY(factor);
    READ_FROM_MEMORY(low);
    const __m256i fifteen = _mm256_set1_epi8(15), sixteen = _mm256_set1_epi8(16);
    const __m256i *qs = (const __m256i *)(block + (is_q5 ? 48 : 16)), *qh = (const __m256i *)(block + 16);
    UNROLL for (int j = 0; j < 8; j++)
    {
        __m256i code = _mm256_loadu_si256(qs + j / 2);
        code = _mm256_and_si256(j % 2 == 0 ? code : _mm256_srli_epi16(code, 4), fifteen);
        if (is_q5) {
            __m256i fifth = _mm256_loadu_si256(qh);
            fifth = j < 4 ? _mm256_slli_epi16(fifth, 4 - j) : _mm256_srli_epi16(fifth, j - 4);
            code = _mm256_or_si256(code, _mm256_and_si256(fifth, sixteen));
        }
        _mm256_store_si256((__m256i *)codes + j, code);
    }
    READ_FROM_MEMORY(codes);
    UNROLL for (int i = 0; i < 256; i += 8)
    {
        __m256 scale = _mm256_set1_ps(factor[i / 32]), minimum = _mm256_set1_ps(low[i / 32]);
        take(s, dots, i, _mm256_fmadd_ps(scale, floats8(codes + i), minimum));
    }
}

INLINE void q6_k(const uint8_t *block, sink *s, const bool dots)
{
    float scale[16];
    _Alignas(32) int8_t codes[256];
    __m256 d = _mm256_set1_ps(load_half(block + 208));
    for (int j = 0; j < 16; j += 8) {
        __m256i integers = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(block + 192 + j)));
        _mm256_storeu_ps(scale + j, _mm256_mul_ps(d, _mm256_cvtepi32_ps(integers)));
    }
    READ_FROM_MEMORY(scale);
    const __m256i low_bits = _mm256_set1_epi8(15), high_bits = _mm256_set1_epi8(0x30);
    UNROLL for (int half = 0; half < 2; half++) UNROLL for (int span = 0; span < 4; span++)
    {
        __m256i ql = _mm256_loadu_si256((const __m256i *)(block + 64 * half + 32 * (span % 2)));
        __m256i qh = _mm256_loadu_si256((const __m256i *)(block + 128 + 32 * half));
        __m256i low = _mm256_and_si256(span < 2 ? ql : _mm256_srli_epi16(ql, 4), low_bits);
        __m256i high = _mm256_and_si256(span < 3 ? _mm256_slli_epi16(qh, 4 - 2 * span) : _mm256_srli_epi16(qh, 2),
                                        high_bits);
        _mm256_store_si256((__m256i *)codes + 4 * half + span,
                           _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32)));
    }
    READ_FROM_MEMORY(codes);
    UNROLL for (int i = 0; i < 256; i += 8)
        take(s, dots, i, _mm256_mul_ps(_mm256_set1_ps(scale[i / 16]), floats8(codes + i)));
}

// ---- rows ----

INLINE void walk(const dense_type type, const uint8_t *row, uint32_t n, sink *s, const bool dots)
{
    if (type == DENSE_Q8_0) {
        for (; n >= 64; n -= 64, row += 68, move_on(s, dots, 64)) {
            q8_0(row, s, dots, 0);
            q8_0(row + 34, s, dots, 32);
        }
        if (n > 0) q8_0(row, s, dots, 0);
    } else if (type == DENSE_Q4_0) {
        for (; n >= 64; n -= 64, row += 36, move_on(s, dots, 64)) {
            q4_0(row, s, dots, 0);
            q4_0(row + 18, s, dots, 32);
        }
        if (n > 0) q4_0(row, s, dots, 0);
    } else if (type == DENSE_Q6_K) {
        for (; n > 0; n -= 256, row += 210, move_on(s, dots, 256)) q6_k(row, s, dots);
    } else {
        for (; n > 0; n -= 256, row += type == DENSE_Q4_K ? 144 : 176, move_on(s, dots, 256))
            k45(row, type == DENSE_Q5_K, s, dots);
    }
}

INLINE void walk_type(dense_type type, const uint8_t *row, uint32_t n, sink *s, const bool dots)
{
    switch (type) {
    case DENSE_Q8_0: walk(DENSE_Q8_0, row, n, s, dots); break;
    case DENSE_Q4_0: walk(DENSE_Q4_0, row, n, s, dots); break;
    case DENSE_Q4_K: walk(DENSE_Q4_K, row, n, s, dots); break;
    case DENSE_Q5_K: walk(DENSE_Q5_K, row, n, s, dots); break;
    default: walk(DENSE_Q6_K, row, n, s, dots); break;
    }
}

void cpu_avx2_blocks_to_float(dense_type type, const uint8_t *row, uint32_t n, float *out)
{
    sink s = {.out = out};
    walk_type(type, row, n, &s, false);
}

void cpu_avx2_blocks_dot(dense_type type, const uint8_t *row, const float *x, uint32_t n, float acc[64])
{
    sink s = {.x = x};
    UNROLL for (int j = 0; j < 8; j++) s.acc[j] = _mm256_loadu_ps(acc + 8 * j);
    walk_type(type, row, n, &s, true);
    UNROLL for (int j = 0; j < 8; j++) _mm256_storeu_ps(acc + 8 * j, s.acc[j]);
}
#else
typedef int kernels_avx2_dense_empty; // ISO C wants a declaration in every file
#endif
