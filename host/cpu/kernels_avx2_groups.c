// Inner loops for AVX2: ternary products with a scale per group of columns. Eight rows stand in a register's lanes, so
// that sums of a group are there without adding across lanes. Compiled and entered as kernels_avx2.c.
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "kernels_avx2.h"
#include "scalar.h"

// Word j of a granule of eight rows `stride` bytes apart, row r in lane r of word[j].
INLINE void load_words(const uint8_t *at, size_t stride, __m256i word[4])
{
    __m256i row[4]; // r and r + 4
    UNROLL for (uint32_t r = 0; r < 4; r++)
    {
        __m256i low = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(at + r * stride)));
        row[r] = _mm256_inserti128_si256(low, _mm_loadu_si128((const __m128i *)(at + (r + 4) * stride)), 1);
    }
    __m256i low01 = _mm256_unpacklo_epi32(row[0], row[1]), high01 = _mm256_unpackhi_epi32(row[0], row[1]);
    __m256i low23 = _mm256_unpacklo_epi32(row[2], row[3]), high23 = _mm256_unpackhi_epi32(row[2], row[3]);
    word[0] = _mm256_unpacklo_epi64(low01, low23);
    word[1] = _mm256_unpackhi_epi64(low01, low23);
    word[2] = _mm256_unpacklo_epi64(high01, high23);
    word[3] = _mm256_unpackhi_epi64(high01, high23);
}

INLINE __m256i codes_of_field(__m256i word, const int m)
{
    __m256i low = m == 0 ? word : _mm256_srli_epi16(word, 2 * m);
    return _mm256_and_si256(low, _mm256_set1_epi8(3));
}

INLINE __m256i four_codes(const int8_t *at)
{
    int32_t bits;
    memcpy(&bits, at, sizeof bits);
    return _mm256_set1_epi32(bits);
}

// Without this gcc makes trees of the additions of many fields, for which it then lacks registers.
#define ADD_NOW(sum) __asm__("" : "+x"(sum))

// int16 lanes take 16 products a granule, each at most 2 * 2 * 127 = 508: 4 granules are 32,512 <= 32,767.
#define GRANULES_PER_FLUSH 4u

// Rows 8 * half .. of the group for `halves` halves, n_x columns; halves * n_x <= 8.
INLINE void columns_of(const ternary_stretch *s, const uint32_t half, const uint32_t halves, const uint32_t n_x,
                       int32_t *sums)
{
    const int8_t *x[8];
    UNROLL for (uint32_t c = 0; c < n_x; c++) x[c] = s->x[c];
    for (uint32_t g = s->first; g < s->end;) {
        uint32_t flush = s->end - g < GRANULES_PER_FLUSH ? s->end : g + GRANULES_PER_FLUSH;
        __m256i acc[8];
        UNROLL for (int i = 0; i < 8; i++) acc[i] = _mm256_setzero_si256();
        for (; g < flush; g++) {
            uint32_t in_tile = s->n_granules - g / 4 * 4; // granules per row in this tile
            if (in_tile > 4) in_tile = 4;
            size_t stride = 16 * (size_t)in_tile;
            const uint8_t *at = s->group + 1024 * (size_t)(g / 4) + 16 * (size_t)(g % 4) + 8 * half * stride;
            __m256i word[2][4];
            UNROLL for (uint32_t h = 0; h < halves; h++) load_words(at + 8 * h * stride, stride, word[h]);
            UNROLL for (int j = 0; j < 4; j++) UNROLL for (int m = 0; m < 4; m++)
            {
                __m256i code[2];
                UNROLL for (uint32_t h = 0; h < halves; h++) code[h] = codes_of_field(word[h][j], m);
                UNROLL for (uint32_t c = 0; c < n_x; c++)
                {
                    __m256i four = four_codes(x[c] + 64 * (size_t)g + 32 * (j / 2) + 8 * m + 4 * (j % 2));
                    UNROLL for (uint32_t h = 0; h < halves; h++)
                    {
                        acc[h * n_x + c] = _mm256_add_epi16(acc[h * n_x + c], _mm256_maddubs_epi16(code[h], four));
                        ADD_NOW(acc[h * n_x + c]);
                    }
                }
            }
        }
        UNROLL for (uint32_t h = 0; h < halves; h++) UNROLL for (uint32_t c = 0; c < n_x; c++)
        {
            __m256i *to = (__m256i *)(sums + TERNARY_ROWS * c + 8 * (half + h));
            __m256i wide = _mm256_madd_epi16(acc[h * n_x + c], _mm256_set1_epi16(1));
            _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), wide));
        }
    }
}

void cpu_avx2_ternary_columns(const ternary_stretch *s, uint32_t n_x, int32_t *sums)
{
    switch (n_x) {
    case 1: columns_of(s, 0, 2, 1, sums); break;
    case 2: columns_of(s, 0, 2, 2, sums); break;
    case 4: columns_of(s, 0, 2, 4, sums); break;
    default:
        columns_of(s, 0, 1, 8, sums);
        columns_of(s, 1, 1, 8, sums);
        break;
    }
}

INLINE __m256 less(const int32_t *sums, int32_t x_sum)
{
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_loadu_si256((const __m256i *)sums), _mm256_set1_epi32(x_sum)));
}

void cpu_avx2_ternary_fold(const int32_t *hi, int32_t hi_sum, float a, const int32_t *lo, int32_t lo_sum, float b,
                           const float d[TERNARY_ROWS], float chain[TERNARY_ROWS])
{
    for (uint32_t r = 0; r < TERNARY_ROWS; r += 8) {
        __m256 v = less(hi + r, hi_sum);
        if (lo == NULL)
            v = _mm256_mul_ps(v, _mm256_set1_ps(a));
        else
            v = _mm256_fmadd_ps(v, _mm256_set1_ps(a), _mm256_mul_ps(less(lo + r, lo_sum), _mm256_set1_ps(b)));
        _mm256_storeu_ps(chain + r, _mm256_fmadd_ps(v, _mm256_loadu_ps(d + r), _mm256_loadu_ps(chain + r)));
    }
}

int32_t cpu_avx2_sum_codes(const int8_t *x, uint32_t n)
{
    __m256i total = _mm256_setzero_si256(); // of codes + 128
    for (uint32_t i = 0; i < n; i += 32) {
        __m256i above = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(x + i)), _mm256_set1_epi8((char)0x80));
        total = _mm256_add_epi64(total, _mm256_sad_epu8(above, _mm256_setzero_si256()));
    }
    __m128i half = _mm_add_epi64(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
    half = _mm_add_epi64(half, _mm_unpackhi_epi64(half, half));
    return _mm_cvtsi128_si32(half) - 128 * (int32_t)n;
}
#else
typedef int kernels_avx2_groups_empty; // ISO C wants a declaration in every file
#endif
