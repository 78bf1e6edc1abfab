// The ternary products of AVX2, compiled twice: by kernels_avx2.c, and by kernels_avx_vnni.c, which defines
// TERNARY_BY_VNNI. Activations are in the order of the AVX2 table: granule by pair, field m of both beside each other.
#ifndef TERN_CPU_KERNELS_AVX2_TERNARY_H
#define TERN_CPU_KERNELS_AVX2_TERNARY_H

#include <immintrin.h>
#include <string.h>

#include "kernels_avx2.h"

// Sums of the eight lanes of each of eight registers, in their order.
INLINE __m256i sum_lanes8(const __m256i a[8])
{
    __m256i low = _mm256_hadd_epi32(_mm256_hadd_epi32(a[0], a[1]), _mm256_hadd_epi32(a[2], a[3]));
    __m256i high = _mm256_hadd_epi32(_mm256_hadd_epi32(a[4], a[5]), _mm256_hadd_epi32(a[6], a[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
}

// How products of codes and activations are added up: by AVX-VNNI four at a time to an int32 lane, else two at a time
// to an int16 one. Those are widened after tiles_per_flush tiles (2,048 or 1,920 columns). Worst case, all codes 2 and
// all activations -127 or 127: one maddubs lane is at most 2 * 2 * 127 = 508, a tile adds eight (T80: ten) of them, 8 *
// 8 * 508 = 32,512 and 6 * 10 * 508 = 30,480 <= 32,767: nothing wraps, and maddubs itself cannot saturate.
#if defined(TERNARY_BY_VNNI)
INLINE __m256i add_products(__m256i acc, __m256i code, __m256i x) { return ADD_PRODUCTS_VNNI(acc, code, x); }
INLINE __m256i widen(__m256i acc) { return acc; }
#else
INLINE __m256i add_products(__m256i acc, __m256i code, __m256i x)
{
    return _mm256_add_epi16(acc, _mm256_maddubs_epi16(code, x));
}
INLINE __m256i widen(__m256i acc) { return _mm256_madd_epi16(acc, _mm256_set1_epi16(1)); }
#endif

INLINE uint32_t tiles_per_flush(const ternary_layout layout) { return layout == TERNARY_T80 ? 6 : 8; }

// A sum is finished as far as it goes before the next row begins. Without this gcc reorders the additions of several
// rows and keeps their products instead, in registers it does not have.
#define FINISH(sum) __asm__("" : "+x"(sum))

// The codes of 32 bytes, field by field: 4 of T64, 5 of T80. A T80 byte y is kept 128 less than it is, as a signed one:
// its digit is 0 below 86 - 128, 1 below 171 - 128, else 2, and what is left is 3 y mod 256 as before, because 3 * 128
// is 128 mod 256.
INLINE void decode(const ternary_layout layout, __m256i w, __m256i code[5])
{
    if (layout == TERNARY_T64) {
        const __m256i mask = _mm256_set1_epi8(3);
        code[0] = _mm256_and_si256(w, mask);
        code[1] = _mm256_and_si256(_mm256_srli_epi16(w, 2), mask);
        code[2] = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
        code[3] = _mm256_and_si256(_mm256_srli_epi16(w, 6), mask);
        return;
    }
    __m256i y = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
    UNROLL for (int m = 0; m < 5; m++)
    {
        __m256i minus = _mm256_add_epi8(_mm256_cmpgt_epi8(y, _mm256_set1_epi8(85 - 128)),
                                        _mm256_cmpgt_epi8(y, _mm256_set1_epi8(170 - 128)));
        code[m] = _mm256_sub_epi8(_mm256_setzero_si256(), minus);
        y = _mm256_add_epi8(_mm256_add_epi8(y, y), y);
    }
}

#define TILE_BYTES 1024u

// Weights are asked for this many bytes before they are read, front to back: reading rows of several tiles is no order
// that hardware prefetchers follow, and bursts of requests cost more than an even flow (bench/NOTES.md). Past the end
// of the matrix this does nothing.
#define AHEAD 4096u

// One tile, `rows` rows of it from `at` on, for n_x columns: a row's codes are decoded once for all its columns. A line
// of `next` is asked for with each row.
INLINE void add_tile(const ternary_layout layout, const uint8_t *at, const uint8_t *next, const int8_t *x,
                     size_t x_stride, const uint32_t rows, const uint32_t n_x, __m256i acc[8])
{
    const uint32_t fields = layout == TERNARY_T80 ? 5 : 4;
    UNROLL for (uint32_t pair = 0; pair < 2; pair++) UNROLL for (uint32_t r = 0; r < rows; r++)
    {
        if (pair == 0) _mm_prefetch((const char *)next + 64 * r, _MM_HINT_T0);
        __m256i code[5];
        decode(layout, _mm256_loadu_si256((const __m256i *)(at + 64 * r + 32 * pair)), code);
        UNROLL for (uint32_t c = 0; c < n_x; c++)
        {
            const __m256i *xm = (const __m256i *)(x + c * x_stride) + fields * pair;
            __m256i *sum = &acc[r * n_x + c];
            UNROLL for (uint32_t m = 0; m < fields; m++) *sum = add_products(*sum, code[m], _mm256_loadu_si256(xm + m));
            FINISH(*sum);
        }
    }
}

// The sums of n_tiles whole tiles, at most tiles_per_flush, become wide[16 * column + row], or are added to what it
// has. Eight (row, column) sums advance together: `rows` rows by `n_x` columns, rows * n_x = 8.
INLINE void add_tiles(const ternary_layout layout, const uint8_t *tiles, uint32_t n_tiles, const int8_t *x,
                      size_t x_stride, const uint32_t n_x, bool adds, __m256i *wide)
{
    const uint32_t rows = 8 / n_x, quad = 4 * ternary_granule(layout);
    const uint8_t *next = tiles + AHEAD;
    for (uint32_t row = 0; row < TERNARY_ROWS; row += rows) {
        __m256i acc[8];
        UNROLL for (int i = 0; i < 8; i++) acc[i] = _mm256_setzero_si256();
        const uint8_t *at = tiles + 64 * (size_t)row, *end = at + TILE_BYTES * (size_t)n_tiles;
        for (const int8_t *xt = x; at < end; at += TILE_BYTES, xt += quad, next += 64 * rows)
            add_tile(layout, at, next, xt, x_stride, rows, n_x, acc);
        UNROLL for (uint32_t i = 0; i < 8; i++)
        {
            __m256i *to = wide + TERNARY_ROWS * (i % n_x) + row + i / n_x;
            *to = adds ? _mm256_add_epi32(*to, widen(acc[i])) : widen(acc[i]);
        }
    }
}

INLINE void sums_of(const ternary_layout layout, const ternary_span *span, const uint32_t n_x, int32_t *sums)
{
    const uint32_t quad = 4 * ternary_granule(layout), most = tiles_per_flush(layout);
    __m256i wide[TERNARY_ROWS * TERNARY_MAX_X];
    bool adds = false;
    const uint8_t *group = span->group;
    uint32_t tile = span->first / 4, whole = span->end / 4;
    const int8_t *x = span->x + quad * (size_t)(tile - span->x_first / 4);
    while (tile < whole) {
        uint32_t n_tiles = whole - tile < most ? whole - tile : most;
        add_tiles(layout, group + TILE_BYTES * (size_t)tile, n_tiles, x, span->x_stride, n_x, adds, wide);
        adds = true;
        tile += n_tiles;
        x += quad * (size_t)n_tiles;
    }
    if (span->end % 4 != 0) { // the last tile of the row group, made whole: codes 0 add nothing
        _Alignas(32) uint8_t last[TILE_BYTES] = {0};
        const uint32_t bytes = 16 * (span->end % 4);
        for (uint32_t r = 0; r < TERNARY_ROWS; r++)
            memcpy(last + 64 * r, group + TILE_BYTES * (size_t)whole + bytes * (size_t)r, bytes);
        add_tiles(layout, last, 1, x, span->x_stride, n_x, adds, wide);
    }
    for (uint32_t i = 0; i < TERNARY_ROWS * n_x; i += 8) {
        __m256i *to = (__m256i *)(sums + i);
        _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), sum_lanes8(wide + i)));
    }
}

INLINE void layout_sums(const ternary_layout layout, const ternary_span *span, uint32_t n_x, int32_t *sums)
{
    switch (n_x) {
    case 1: sums_of(layout, span, 1, sums); break;
    case 2: sums_of(layout, span, 2, sums); break;
    case 4: sums_of(layout, span, 4, sums); break;
    default: sums_of(layout, span, 8, sums); break;
    }
}

static void ternary_sums_t64(const ternary_span *span, uint32_t n_x, int32_t *sums)
{
    layout_sums(TERNARY_T64, span, n_x, sums);
}
static void ternary_sums_t80(const ternary_span *span, uint32_t n_x, int32_t *sums)
{
    layout_sums(TERNARY_T80, span, n_x, sums);
}

#endif
