// Inner loops for AVX2: blocks of four and five bits to floats, element by element as dense.c defines them. Compiled
// and entered as kernels_avx2.c.
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "kernels_avx2.h"

INLINE __m256i bytes8(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)); }

static void q4_0_to_float(const uint8_t *block, float *out)
{
    const __m256 d = _mm256_set1_ps(load_half(block));
    const __m256i eight = _mm256_set1_epi32(8);
    for (uint32_t i = 0; i < 16; i += 8) {
        __m256i q = bytes8(block + 2 + i);
        __m256i low = _mm256_sub_epi32(_mm256_and_si256(q, _mm256_set1_epi32(15)), eight);
        __m256i high = _mm256_sub_epi32(_mm256_srli_epi32(q, 4), eight);
        _mm256_storeu_ps(out + i, _mm256_mul_ps(d, _mm256_cvtepi32_ps(low)));
        _mm256_storeu_ps(out + 16 + i, _mm256_mul_ps(d, _mm256_cvtepi32_ps(high)));
    }
}

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

// Q4_K, and Q5_K where qh gives every code a fifth bit.
static void k45_to_float(const uint8_t *block, const uint8_t *qh, const uint8_t *qs, float *out)
{
    float factor[8], low[8];
    cpu_k45_scales(block, factor, low);
    for (uint32_t j = 0; j < 8; j++)
        for (uint32_t i = 0; i < 32; i += 8) {
            __m256i q = bytes8(qs + 32 * (j / 2) + i);
            q = j % 2 == 0 ? _mm256_and_si256(q, _mm256_set1_epi32(15)) : _mm256_srli_epi32(q, 4);
            if (qh != NULL) {
                __m256i bit = _mm256_and_si256(_mm256_srl_epi32(bytes8(qh + i), _mm_cvtsi32_si128((int)j)),
                                               _mm256_set1_epi32(1));
                q = _mm256_or_si256(q, _mm256_slli_epi32(bit, 4));
            }
            _mm256_storeu_ps(out + 32 * j + i,
                             _mm256_fmadd_ps(_mm256_set1_ps(factor[j]), _mm256_cvtepi32_ps(q), _mm256_set1_ps(low[j])));
        }
}

void cpu_avx2_blocks_to_float(dense_type type, const uint8_t *row, uint32_t n, float *out)
{
    switch (type) {
    case DENSE_Q4_0:
        for (uint32_t i = 0; i + 32 <= n; i += 32, row += 18) q4_0_to_float(row, out + i);
        break;
    case DENSE_Q4_K:
        for (uint32_t i = 0; i + 256 <= n; i += 256, row += 144) k45_to_float(row, NULL, row + 16, out + i);
        break;
    default: // Q5_K
        for (uint32_t i = 0; i + 256 <= n; i += 256, row += 176) k45_to_float(row, row + 16, row + 48, out + i);
        break;
    }
}
#else
typedef int kernels_avx2_dense_empty; // ISO C wants a declaration in every file
#endif
