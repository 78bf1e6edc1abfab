// Upper bounds of dot64 for rows of Q6_K (fast_best.c has the reasons, kernels.h the operand): integer sums of codes
// take half the instructions of the products in fp32, so that rows pass at the speed of memory. Compiled and entered
// as kernels_avx2.c.
//
// A block holds 16 sub-blocks of 16 elements; its halves have their codes apart. Sub-blocks j and j + 8 stand in the
// lanes of one register, so that one shuffle of the 16 scales makes the scales of both. The largest sums: a pair of
// products 2 * 63 * 127 = 16,002 in an int16; times a scale of -128, two pairs, eight sub-blocks: 3.3e7, and 32 times
// the sum of the codes with their scales 1.7e7, in an int32; margins 2 * 128 * 32,001 = 8.2e6.
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels_avx2.h"

#define BLOCK          210u // bytes of 256 elements
// Rows from places far apart are streams that hardware prefetches by itself; this helps over the beginnings of pages.
#define PREFETCH_AHEAD 1024u

// The 16 bytes at p, and those at `apart` from it in the other lane.
INLINE __m256i load_halves(const uint8_t *p, uint32_t apart)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p)),
                                   _mm_loadu_si128((const __m128i *)(p + apart)), 1);
}

INLINE void add_block(const uint8_t *block, const q6k_screen *x, uint32_t b, __m256 *sum, __m256 *margin)
{
    const __m256i four_bits = _mm256_set1_epi8(0x0f), two_bits = _mm256_set1_epi8(0x30);
    const __m256i scales = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(block + 192)));
    const __m256i less = _mm256_madd_epi16(scales, _mm256_load_si256((const __m256i *)x->less[b]));
    const __m256i most = _mm256_madd_epi16(_mm256_abs_epi16(scales), _mm256_load_si256((const __m256i *)x->margin[b]));
    const __m256i qh[2] = {load_halves(block + 128, 32), load_halves(block + 144, 32)};
    __m256i products = _mm256_slli_epi32(less, 5); // 32 is what a code of 0 stands for
    UNROLL for (int t = 0; t < 4; t++)
    {
        const __m256i ql = load_halves(block + 16 * t, 64);
        UNROLL for (int high = 0; high < 2; high++)
        {
            const int span = 2 * high + t / 2, j = 2 * span + t % 2;
            const __m256i low = high ? _mm256_srli_epi16(ql, 4) : ql;
            __m256i upper = qh[t % 2];
            if (span < 2) upper = _mm256_slli_epi16(upper, 4 - 2 * span);
            if (span == 3) upper = _mm256_srli_epi16(upper, 2);
            const __m256i codes = _mm256_or_si256(_mm256_and_si256(low, four_bits), _mm256_and_si256(upper, two_bits));
            const __m256i pairs = _mm256_maddubs_epi16(codes,
                                                       _mm256_load_si256((const __m256i *)(x->codes[b] + 32 * j)));
            const __m256i scale = _mm256_shuffle_epi8(scales, _mm256_set1_epi16((short)((2 * j + 1) << 8 | 2 * j)));
            products = _mm256_add_epi32(products, _mm256_madd_epi16(scale, pairs));
        }
    }
    const __m256 d = _mm256_set1_ps(load_half(block + 208));
    const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), d);
    *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), _mm256_mul_ps(d, _mm256_load_ps(x->scale[b])), *sum);
    *margin = _mm256_fmadd_ps(_mm256_cvtepi32_ps(most), magnitude, *margin);
}

INLINE float sum_lanes(__m256 a)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

void cpu_avx2_q6k_upper(const uint8_t *const rows[DENSE_ROWS], const q6k_screen *x, uint32_t n, float upper[DENSE_ROWS])
{
    __m256 sum[DENSE_ROWS], margin[DENSE_ROWS];
    for (uint32_t r = 0; r < DENSE_ROWS; r++) sum[r] = margin[r] = _mm256_setzero_ps();
    for (uint32_t b = 0; b < n / 256; b++)
        for (uint32_t r = 0; r < DENSE_ROWS; r++) {
            const uint8_t *block = rows[r] + BLOCK * (size_t)b;
            UNROLL for (uint32_t line = 0; line < BLOCK; line += 64)
                _mm_prefetch((const char *)block + PREFETCH_AHEAD + line, _MM_HINT_T0);
            add_block(block, x, b, &sum[r], &margin[r]);
        }
    for (uint32_t r = 0; r < DENSE_ROWS; r++)
        upper[r] = sum_lanes(sum[r]) + (sum_lanes(margin[r]) * x->margin_unit + x->slack);
}
#else
typedef int kernels_avx2_screen_empty; // ISO C wants a declaration in every file
#endif
