// Inner loop for AVX-512 VNNI: ternary products with a scale per group of columns. The sixteen rows of a row group
// stand in a register's lanes, each activation is four bytes broadcast from memory, and vpdpbusd adds without a need to
// flush. Compiled and entered as kernels_avx512.c.
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "kernels_avx2.h"
#include "kernels_avx512.h"

// Word j of a granule of sixteen rows `stride` bytes apart, row r in lane r of word[j].
INLINE void load_words(const uint8_t *at, size_t stride, __m512i word[4])
{
    __m512i row[4]; // r, r + 4, r + 8, r + 12
    UNROLL for (uint32_t r = 0; r < 4; r++)
    {
        row[r] = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(at + r * stride)));
        row[r] = _mm512_inserti32x4(row[r], _mm_loadu_si128((const __m128i *)(at + (r + 4) * stride)), 1);
        row[r] = _mm512_inserti32x4(row[r], _mm_loadu_si128((const __m128i *)(at + (r + 8) * stride)), 2);
        row[r] = _mm512_inserti32x4(row[r], _mm_loadu_si128((const __m128i *)(at + (r + 12) * stride)), 3);
    }
    __m512i low01 = _mm512_unpacklo_epi32(row[0], row[1]), high01 = _mm512_unpackhi_epi32(row[0], row[1]);
    __m512i low23 = _mm512_unpacklo_epi32(row[2], row[3]), high23 = _mm512_unpackhi_epi32(row[2], row[3]);
    word[0] = _mm512_unpacklo_epi64(low01, low23);
    word[1] = _mm512_unpackhi_epi64(low01, low23);
    word[2] = _mm512_unpacklo_epi64(high01, high23);
    word[3] = _mm512_unpackhi_epi64(high01, high23);
}

INLINE __m512i codes_of_field(__m512i word, const int m)
{
    __m512i low = m == 0   ? word
                  : m == 1 ? _mm512_srli_epi16(word, 2)
                  : m == 2 ? _mm512_srli_epi16(word, 4)
                           : _mm512_srli_epi16(word, 6);
    return _mm512_and_si512(low, _mm512_set1_epi8(3));
}

INLINE void columns_of(const ternary_stretch *s, const uint32_t n_x, int32_t *sums)
{
    const int8_t *x[8];
    __m512i acc[8];
    UNROLL for (uint32_t c = 0; c < n_x; c++)
    {
        x[c] = s->x[c];
        acc[c] = _mm512_loadu_si512(sums + TERNARY_ROWS * c);
    }
    for (uint32_t g = s->first; g < s->end; g++) {
        uint32_t in_tile = s->n_granules - g / 4 * 4; // granules per row in this tile
        if (in_tile > 4) in_tile = 4;
        __m512i word[4];
        load_words(s->group + 1024 * (size_t)(g / 4) + 16 * (size_t)(g % 4), 16 * (size_t)in_tile, word);
        UNROLL for (int j = 0; j < 4; j++) UNROLL for (int m = 0; m < 4; m++)
        {
            __m512i code = codes_of_field(word[j], m);
            UNROLL for (uint32_t c = 0; c < n_x; c++)
            {
                int32_t four;
                memcpy(&four, x[c] + 64 * (size_t)g + 32 * (j / 2) + 8 * m + 4 * (j % 2), sizeof four);
                acc[c] = _mm512_dpbusd_epi32(acc[c], code, _mm512_set1_epi32(four));
            }
        }
    }
    UNROLL for (uint32_t c = 0; c < n_x; c++) _mm512_storeu_si512(sums + TERNARY_ROWS * c, acc[c]);
}

void cpu_avx512_ternary_columns(const ternary_stretch *s, uint32_t n_x, int32_t *sums)
{
    switch (n_x) {
    case 1: columns_of(s, 1, sums); break;
    case 2: columns_of(s, 2, sums); break;
    case 4: columns_of(s, 4, sums); break;
    default: columns_of(s, 8, sums); break;
    }
}
#else
typedef int kernels_avx512_groups_empty; // ISO C wants a declaration in every file
#endif
