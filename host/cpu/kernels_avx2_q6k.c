// Rows of Q6_K, the usual head of published models, as operands of dot64 for one token: the same bits as
// kernels_avx2_dense.c in fewer instructions, since this loop has less time per byte than the memory leaves for it.
// Compiled and entered as kernels_avx2.c.
//
// An element is s * (q - 32), s = d * scale with at most 18 significant bits, q of six: exact in a float. It needs no
// conversion of integers. The byte 0xc0 | q as the third of a word, the others zero, is the float
//
//     t = 2^-133 * (192 + q),        and    fma(S, t, C) = 2^-28 * s * (q - 32),  S = 2^105 * s,  C = -224 * 2^-133 * S
//
// exactly, because every factor and the result have few bits and no exponent leaves its range (|s| < 2^23). The 2^28 is
// in x, where it is exact as well, as long as |x| < 2^99. Two things can differ from the definition, and both leave a
// trace in the sums: a product that is -0 there may be +0 here, which only a sum that ends as a zero can show; and an
// infinite d gives NaN here in every sum. So a row with a zero or a NaN among its 64 sums is done again as defined.
//
// A shuffle stays within the lanes of a register, so one makes of 32 codes elements 4k .. 4k+3 and 16+4k .. 16+4k+3:
// the order of x here, and of the sums until they are stored. The scales of both lanes are then the same for all k.
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels_avx2.h"

#define BLOCK          210u // bytes of 256 elements
#define X_UNIT         0x1p28f
#define X_LIMIT        0x1p99f
#define FACTOR_UNIT    0x1p105f
#define BIAS           (-0x1.cp-126f) // -224 * 2^-133
// One and a half pages: a stream of rows that are mapped from a file stops hardware prefetchers at each page.
#define PREFETCH_AHEAD 6144u

bool cpu_avx2_q6k_operand(const float *x, uint32_t n, float *out)
{
    const __m256 limit = _mm256_set1_ps(X_LIMIT), sign = _mm256_set1_ps(-0.0f);
    __m256 is_in_range = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    for (uint32_t i = 0; i < n; i += 32) UNROLL for (uint32_t k = 0; k < 4; k++)
        {
            __m256 both = _mm256_setr_m128(_mm_loadu_ps(x + i + 4 * k), _mm_loadu_ps(x + i + 16 + 4 * k));
            is_in_range = _mm256_and_ps(is_in_range, _mm256_cmp_ps(_mm256_andnot_ps(sign, both), limit, _CMP_LT_OQ));
            _mm256_storeu_ps(out + i + 8 * k, _mm256_mul_ps(both, _mm256_set1_ps(X_UNIT)));
        }
    return _mm256_movemask_ps(is_in_range) == 255;
}

// sum[4 * h + k]: of the 32 sums of half h those of shuffle k.
INLINE void block_dot(const uint8_t *block, const float *x, __m256 sum[8])
{
    _Alignas(32) float factor[16]; // S of each 16 elements
    const __m256 d = _mm256_set1_ps(load_half(block + 208) * FACTOR_UNIT);
    for (int j = 0; j < 16; j += 8) {
        __m256i scales = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(block + 192 + j)));
        _mm256_storeu_ps(factor + j, _mm256_mul_ps(d, _mm256_cvtepi32_ps(scales)));
    }
    __asm__ volatile("" : "+m"(factor)); // else gcc takes the registers apart by shuffles instead of broadcasting
    const __m256i low_ones = _mm256_set1_epi8((char)0xf0), high_ones = _mm256_set1_epi8((char)0xcf);
    const __m256i each_lane = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    UNROLL for (int half = 0; half < 2; half++) UNROLL for (int span = 0; span < 4; span++)
    {
        const __m256i ql = _mm256_loadu_si256((const __m256i *)(block + 64 * half + 32 * (span % 2)));
        const __m256i qh = _mm256_loadu_si256((const __m256i *)(block + 128 + 32 * half));
        __m256i low = span < 2 ? ql : _mm256_srli_epi16(ql, 4), high = qh;
        if (span < 2) high = _mm256_slli_epi16(qh, 4 - 2 * span);
        if (span == 3) high = _mm256_srli_epi16(qh, 2);
        const __m256i codes = _mm256_and_si256(_mm256_or_si256(low, low_ones), _mm256_or_si256(high, high_ones));
        const double *two = (const double *)(const void *)(factor + 8 * half + 2 * span);
        const __m256 s = _mm256_permutevar_ps(_mm256_castpd_ps(_mm256_broadcast_sd(two)), each_lane);
        const __m256 bias = _mm256_mul_ps(s, _mm256_set1_ps(BIAS));
        UNROLL for (int k = 0; k < 4; k++)
        {
            const __m256i third = _mm256_add_epi8(_mm256_set1_epi32(4 * k << 16),
                                                  _mm256_setr_epi32((int)0x8000ffff, (int)0x8001ffff, (int)0x8002ffff,
                                                                    (int)0x8003ffff, (int)0x8000ffff, (int)0x8001ffff,
                                                                    (int)0x8002ffff, (int)0x8003ffff));
            __m256 t = _mm256_castsi256_ps(_mm256_shuffle_epi8(codes, third));
            __m256 *to = &sum[4 * (span % 2) + k];
            *to = _mm256_fmadd_ps(_mm256_fmadd_ps(s, t, bias), _mm256_loadu_ps(x + 128 * half + 32 * span + 8 * k),
                                  *to);
        }
    }
}

void cpu_avx2_q6k_dot(const uint8_t *row, const float *x, const float *operand, uint32_t n, float acc[64])
{
    __m256 sum[8];
    UNROLL for (int j = 0; j < 8; j++) sum[j] = _mm256_setzero_ps();
    const uint8_t *block = row;
    for (uint32_t i = 0; i < n; i += 256, block += BLOCK) {
        UNROLL for (uint32_t line = 0; line < BLOCK; line += 64)
            _mm_prefetch((const char *)block + PREFETCH_AHEAD + line, _MM_HINT_T0);
        block_dot(block, operand + i, sum);
    }
    __m256 is_suspect = _mm256_setzero_ps(); // zero or NaN
    UNROLL for (int j = 0; j < 8; j++)
        is_suspect = _mm256_or_ps(is_suspect, _mm256_cmp_ps(sum[j], _mm256_setzero_ps(), _CMP_EQ_UQ));
    if (_mm256_movemask_ps(is_suspect) != 0) {
        memset(acc, 0, 64 * sizeof *acc);
        cpu_avx2_blocks_dot(DENSE_Q6_K, row, x, n, acc);
        return;
    }
    UNROLL for (int h = 0; h < 2; h++) UNROLL for (int j = 0; j < 2; j++)
    {
        __m256 even = sum[4 * h + 2 * j], odd = sum[4 * h + 2 * j + 1];
        _mm256_storeu_ps(acc + 32 * h + 8 * j, _mm256_permute2f128_ps(even, odd, 0x20));
        _mm256_storeu_ps(acc + 32 * h + 16 + 8 * j, _mm256_permute2f128_ps(even, odd, 0x31));
    }
}
#else
typedef int kernels_avx2_q6k_empty; // ISO C wants a declaration in every file
#endif
