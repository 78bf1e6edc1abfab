// Inner loops for AVX-512 with VNNI: the integer products. The rest is in kernels_avx512_dense.c or stays with the AVX2
// loops. Compiled with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c and entered only through
// cpu_kernels_select.
//
// vpdpbusd multiplies four unsigned with four signed bytes and adds them to an int32 lane, exactly. Ternary codes 0..2
// are the unsigned operand as they come out of the mask, so that one instruction does 64 multiply-adds and nothing ever
// has to be flushed.
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "kernels_avx2.h"
#include "kernels_avx512.h"

// ---- ternary ----
//
// A register holds the four granules of one row in one tile. Activations stand in quads of granules, 256 bytes (T80:
// 320): byte 64*m + 16*q + b belongs to field m of byte b of granule q of the quad; missing granules of the last quad
// are zeros.

static void t80_order(const int8_t *x, uint32_t n_granules, int8_t *out) { cpu_t80_order(x, n_granules, 4, out); }

static void t64_order(const int8_t *x, uint32_t n_granules, int8_t *out)
{
    // Of the 8-byte pieces of two granules, pieces 4*h + m of granule q are field m, half h: field m takes pieces m,
    // 4 + m, 8 + m, 12 + m; each index register gives two fields of a pair of granules.
    const __m512i fields01 = _mm512_setr_epi64(0, 4, 8, 12, 1, 5, 9, 13),
                  fields23 = _mm512_setr_epi64(2, 6, 10, 14, 3, 7, 11, 15);
    for (uint32_t g = 0; g < n_granules; g += 4) {
        __m512i granule[4];
        for (uint32_t q = 0; q < 4; q++)
            granule[q] = g + q < n_granules ? _mm512_loadu_si512(x + 64 * (size_t)(g + q)) : _mm512_setzero_si512();
        __m512i low01 = _mm512_permutex2var_epi64(granule[0], fields01, granule[1]);
        __m512i low23 = _mm512_permutex2var_epi64(granule[0], fields23, granule[1]);
        __m512i high01 = _mm512_permutex2var_epi64(granule[2], fields01, granule[3]);
        __m512i high23 = _mm512_permutex2var_epi64(granule[2], fields23, granule[3]);
        int8_t *to = out + 64 * (size_t)g;
        _mm512_storeu_si512(to, _mm512_shuffle_i64x2(low01, high01, 0x44));
        _mm512_storeu_si512(to + 64, _mm512_shuffle_i64x2(low01, high01, 0xee));
        _mm512_storeu_si512(to + 128, _mm512_shuffle_i64x2(low23, high23, 0x44));
        _mm512_storeu_si512(to + 192, _mm512_shuffle_i64x2(low23, high23, 0xee));
    }
}

// Sums of the 16 lanes of each of 16 registers, in their order.
INLINE __m512i sum_lanes16(const __m512i a[16])
{
    __m512i b[8], c[4];
    // Each step adds pairs of lanes and brings two registers into one: first within 128 bits, where lane i of c[j] ends
    // as a part of register 4*j + i, then across them.
    UNROLL for (int i = 0; i < 8; i++) b[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]),
                                                               _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]));
    UNROLL for (int i = 0; i < 4; i++) c[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(b[2 * i], b[2 * i + 1]),
                                                               _mm512_unpackhi_epi64(b[2 * i], b[2 * i + 1]));
    __m512i d0 = _mm512_add_epi32(_mm512_shuffle_i32x4(c[0], c[1], 0x88), _mm512_shuffle_i32x4(c[0], c[1], 0xdd));
    __m512i d1 = _mm512_add_epi32(_mm512_shuffle_i32x4(c[2], c[3], 0x88), _mm512_shuffle_i32x4(c[2], c[3], 0xdd));
    return _mm512_add_epi32(_mm512_shuffle_i32x4(d0, d1, 0x88), _mm512_shuffle_i32x4(d0, d1, 0xdd));
}

// The codes of a field, which is a constant where this is used, and the register for the next field. T80: see decode in
// kernels_avx2.c; bytes are here as they are.
INLINE __m512i next_field(const ternary_layout layout, __m512i *w)
{
    __m512i before = *w;
    if (layout == TERNARY_T64) {
        *w = _mm512_srli_epi16(before, 2);
        return _mm512_and_si512(before, _mm512_set1_epi8(3));
    }
    *w = _mm512_add_epi8(_mm512_add_epi8(before, before), before);
    const __m512i one = _mm512_set1_epi8(1);
    __m512i code = _mm512_maskz_mov_epi8(_mm512_cmpgt_epu8_mask(before, _mm512_set1_epi8(85)), one);
    return _mm512_mask_add_epi8(code, _mm512_cmpgt_epu8_mask(before, _mm512_set1_epi8((char)170)), code, one);
}

// One tile of `rows` rows for n_x columns: each row's codes serve all columns, each column's activations all rows.
INLINE void add_tile(const ternary_layout layout, const uint8_t *at, size_t row_stride, __mmask16 present,
                     const int8_t *x, size_t x_stride, const uint32_t rows, const uint32_t n_x, __m512i acc[16])
{
    const int fields = layout == TERNARY_T80 ? 5 : 4;
    __m512i xm[5]; // of a single column
    UNROLL for (int m = 0; n_x == 1 && m < fields; m++) xm[m] = _mm512_loadu_si512(x + 64 * m);
    UNROLL for (uint32_t r = 0; n_x == 1 && r < rows; r++)
    {
        __m512i w = _mm512_maskz_loadu_epi32(present, at + r * row_stride);
        UNROLL for (int m = 0; m < fields; m++) acc[r] = _mm512_dpbusd_epi32(acc[r], next_field(layout, &w), xm[m]);
    }
    if (n_x == 1) return;
    __m512i w[16];
    UNROLL for (uint32_t r = 0; r < rows; r++) w[r] = _mm512_maskz_loadu_epi32(present, at + r * row_stride);
    UNROLL for (int m = 0; m < fields; m++)
    {
        __m512i code[16];
        UNROLL for (uint32_t r = 0; r < rows; r++) code[r] = next_field(layout, &w[r]);
        UNROLL for (uint32_t c = 0; c < n_x; c++)
        {
            __m512i xc = _mm512_loadu_si512(x + c * x_stride + 64 * m);
            UNROLL for (uint32_t r = 0; r < rows; r++)
                acc[r * n_x + c] = _mm512_dpbusd_epi32(acc[r * n_x + c], code[r], xc);
        }
    }
}

// 16 (row, column) sums advance together: `rows` rows by `n_x` columns, rows * n_x = 16.
INLINE void sums_16(const ternary_layout layout, const ternary_span *span, uint32_t row, const uint32_t rows,
                    const uint32_t n_x, int32_t *sums)
{
    const uint32_t quad = 4 * ternary_granule(layout); // bytes of activations
    __m512i acc[16];
    UNROLL for (int i = 0; i < 16; i++) acc[i] = _mm512_setzero_si512();
    uint32_t tile = span->first / 4, last = (span->end - 1) / 4;
    const int8_t *x = span->x + quad * (size_t)(tile - span->x_first / 4);
    for (; tile <= last; tile++, x += quad) {
        uint32_t in_tile = span->n_granules - 4 * tile; // granules per row in this tile
        if (in_tile > 4) in_tile = 4;
        // Four lanes a granule; codes of granules that the last tile lacks read as 0, which adds nothing.
        __mmask16 present = (__mmask16)(0xffffu >> (16 - 4 * in_tile));
        const uint8_t *at = span->group + 1024 * (size_t)tile + 16 * (size_t)(in_tile * row);
        add_tile(layout, at, 16 * (size_t)in_tile, present, x, span->x_stride, rows, n_x, acc);
    }
    int32_t total[16];
    _mm512_storeu_si512(total, sum_lanes16(acc));
    for (uint32_t c = 0; c < n_x; c++)
        for (uint32_t r = 0; r < rows; r++) sums[TERNARY_ROWS * c + row + r] += total[r * n_x + c];
}

INLINE void layout_sums(const ternary_layout layout, const ternary_span *span, uint32_t n_x, int32_t *sums)
{
    switch (n_x) {
    case 1: sums_16(layout, span, 0, 16, 1, sums); break;
    case 2:
        for (uint32_t r = 0; r < TERNARY_ROWS; r += 8) sums_16(layout, span, r, 8, 2, sums);
        break;
    case 4:
        for (uint32_t r = 0; r < TERNARY_ROWS; r += 4) sums_16(layout, span, r, 4, 4, sums);
        break;
    default:
        for (uint32_t r = 0; r < TERNARY_ROWS; r += 2) sums_16(layout, span, r, 2, 8, sums);
        break;
    }
}

static void t64_sums(const ternary_span *span, uint32_t n_x, int32_t *sums)
{
    layout_sums(TERNARY_T64, span, n_x, sums);
}
static void t80_sums(const ternary_span *span, uint32_t n_x, int32_t *sums)
{
    layout_sums(TERNARY_T80, span, n_x, sums);
}

// ---- attention over int8 ----
//
// Cache codes become the unsigned operand by flipping their sign bit, which adds 128; 128 times the sum of the other
// operand comes off again.

INLINE __m512i biased(__m512i codes) { return _mm512_xor_si512(codes, _mm512_set1_epi8((char)0x80)); }

// Codes [d, d + 64) of a widened term; those from head_dim on are 0.
INLINE __m512i narrow(const int16_t *term, uint32_t d, uint32_t head_dim)
{
    uint32_t n = head_dim - d < 64 ? head_dim - d : 64;
    __mmask64 present = ~(__mmask64)0 >> (64 - n);
    __m512i low = _mm512_maskz_loadu_epi16((__mmask32)present, term + d);
    __m512i high = n > 32 ? _mm512_maskz_loadu_epi16((__mmask32)(present >> 32), term + d + 32)
                          : _mm512_setzero_si512();
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(low)), _mm512_cvtepi16_epi8(high), 1);
}

static void scores_int8(const int16_t *hi, const int16_t *lo, float a, float b, const int8_t *k, uint32_t head_dim,
                        float scale, float s[64])
{
    const float *ak = (const float *)(const void *)(k + 64 * (size_t)head_dim);
    int32_t sum_hi[64] = {0}, sum_lo[64] = {0};
    for (uint32_t d = 0; d < head_dim; d += 64) {
        uint32_t n = head_dim - d < 64 ? head_dim - d : 64;
        __mmask64 present = ~(__mmask64)0 >> (64 - n);
        const __m512i h = narrow(hi, d, head_dim), l = narrow(lo, d, head_dim);
        // The accumulators start with what the bias will add too much: each lane its own four codes times -128.
        const __m512i ones = _mm512_set1_epi8(1), zero = _mm512_setzero_si512();
        const __m512i start_h = _mm512_slli_epi32(_mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, ones, h)), 7);
        const __m512i start_l = _mm512_slli_epi32(_mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, ones, l)), 7);
        for (uint32_t j = 0; j < 64; j += 16) {
            __m512i ah[16], al[16];
            UNROLL for (uint32_t i = 0; i < 16; i++)
            {
                __m512i kj = biased(_mm512_maskz_loadu_epi8(present, k + (size_t)(j + i) * head_dim + d));
                ah[i] = _mm512_dpbusd_epi32(start_h, kj, h);
                al[i] = _mm512_dpbusd_epi32(start_l, kj, l);
            }
            _mm512_storeu_si512(sum_hi + j, _mm512_add_epi32(_mm512_loadu_si512(sum_hi + j), sum_lanes16(ah)));
            _mm512_storeu_si512(sum_lo + j, _mm512_add_epi32(_mm512_loadu_si512(sum_lo + j), sum_lanes16(al)));
        }
    }
    for (uint32_t j = 0; j < 64; j += 16) {
        __m512 akj = _mm512_loadu_ps(ak + j);
        __m512 low = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sum_lo + j)),
                                   _mm512_mul_ps(_mm512_set1_ps(b), akj));
        __m512 sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sum_hi + j)),
                                     _mm512_mul_ps(_mm512_set1_ps(a), akj), low);
        _mm512_storeu_ps(s + j, _mm512_mul_ps(sum, _mm512_set1_ps(scale)));
    }
}

// The four bytes of each dword are those of four positions of one output: outputs 16*p + 4*i .. + 3 stand in 128-bit
// part p of quad[i].
INLINE void interleave4(const int8_t *v, uint32_t head_dim, __mmask64 present, __m512i quad[4])
{
    __m512i row[4];
    UNROLL for (uint32_t i = 0; i < 4; i++) row[i] = biased(_mm512_maskz_loadu_epi8(present, v + i * (size_t)head_dim));
    __m512i low01 = _mm512_unpacklo_epi8(row[0], row[1]), high01 = _mm512_unpackhi_epi8(row[0], row[1]);
    __m512i low23 = _mm512_unpacklo_epi8(row[2], row[3]), high23 = _mm512_unpackhi_epi8(row[2], row[3]);
    quad[0] = _mm512_unpacklo_epi16(low01, low23);
    quad[1] = _mm512_unpackhi_epi16(low01, low23);
    quad[2] = _mm512_unpacklo_epi16(high01, high23);
    quad[3] = _mm512_unpackhi_epi16(high01, high23);
}

INLINE __m512i four_codes(const int8_t *at)
{
    int32_t word;
    memcpy(&word, at, sizeof word);
    return _mm512_set1_epi32(word);
}

static void values_int8(const int8_t hi[64], const int8_t lo[64], float a, float b, const int8_t *v, uint32_t head_dim,
                        float *o)
{
    int32_t total_hi = 0, total_lo = 0;
    for (uint32_t j = 0; j < 64; j++) {
        total_hi += hi[j];
        total_lo += lo[j];
    }
    for (uint32_t d = 0; d < head_dim; d += 64) {
        uint32_t n = head_dim - d < 64 ? head_dim - d : 64;
        __mmask64 present = ~(__mmask64)0 >> (64 - n);
        __m512i sum_hi[4], sum_lo[4];
        UNROLL for (int i = 0; i < 4; i++)
        {
            sum_hi[i] = _mm512_set1_epi32(-128 * total_hi);
            sum_lo[i] = _mm512_set1_epi32(-128 * total_lo);
        }
        for (uint32_t j = 0; j < 64; j += 4) {
            __m512i quad[4], h = four_codes(hi + j), l = four_codes(lo + j);
            interleave4(v + (size_t)j * head_dim + d, head_dim, present, quad);
            UNROLL for (int i = 0; i < 4; i++)
            {
                sum_hi[i] = _mm512_dpbusd_epi32(sum_hi[i], quad[i], h);
                sum_lo[i] = _mm512_dpbusd_epi32(sum_lo[i], quad[i], l);
            }
        }
        // Part p of register i is outputs 16*p + 4*i on: through memory, in their order.
        _Alignas(64) float out[64];
        UNROLL for (int i = 0; i < 4; i++)
        {
            __m512 low = _mm512_mul_ps(_mm512_cvtepi32_ps(sum_lo[i]), _mm512_set1_ps(b));
            __m512 sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum_hi[i]), _mm512_set1_ps(a), low);
            _mm_store_ps(out + 4 * i, _mm512_extractf32x4_ps(sum, 0));
            _mm_store_ps(out + 16 + 4 * i, _mm512_extractf32x4_ps(sum, 1));
            _mm_store_ps(out + 32 + 4 * i, _mm512_extractf32x4_ps(sum, 2));
            _mm_store_ps(out + 48 + 4 * i, _mm512_extractf32x4_ps(sum, 3));
        }
        memcpy(o + d, out, n * sizeof(float));
    }
}

// ---- rows of INT8

// `n_x` columns, a constant where this is used: one load of the weights, biased as above, serves all of them.
INLINE void int8_columns(const int8_t *row, const int8_t *const *x, const int32_t *x_sum, const uint32_t n_x,
                         uint32_t n, int32_t *sums)
{
    __m512i acc[INT_MAX_X];
    UNROLL for (uint32_t i = 0; i < n_x; i++) acc[i] = _mm512_setzero_si512();
    for (uint32_t c = 0; c < n; c += 64) {
        __m512i w = biased(_mm512_loadu_si512(row + c));
        UNROLL for (uint32_t i = 0; i < n_x; i++) acc[i] = _mm512_dpbusd_epi32(acc[i], w, _mm512_loadu_si512(x[i] + c));
    }
    // Modulo 2^32, in which the difference is exact.
    UNROLL for (uint32_t i = 0; i < n_x; i++)
        sums[i] = (int32_t)((uint32_t)_mm512_reduce_add_epi32(acc[i]) - 128u * (uint32_t)x_sum[i]);
}

static void int8_sums(const int8_t *row, const int8_t *const *x, const int32_t *x_sum, uint32_t n_x, uint32_t n,
                      int32_t *sums)
{
    switch (n_x) {
    case 2: int8_columns(row, x, x_sum, 2, n, sums); break;
    case 4: int8_columns(row, x, x_sum, 4, n, sums); break;
    case 6: int8_columns(row, x, x_sum, 6, n, sums); break;
    default: int8_columns(row, x, x_sum, 8, n, sums); break;
    }
}

void cpu_kernels_refine_avx512(cpu_kernels *k)
{
    k->name = "avx512-vnni";
    k->ternary_order[TERNARY_T64] = t64_order;
    k->ternary_order[TERNARY_T80] = t80_order;
    k->ternary_sums[TERNARY_T64] = t64_sums;
    k->ternary_sums[TERNARY_T80] = t80_sums;
    k->ternary_columns = cpu_avx512_ternary_columns;
    k->dense_to_float = cpu_avx512_dense_to_float;
    k->dense_dot = cpu_avx512_dense_dot;
    k->q6k_operand = NULL;
    k->q6k_dot = NULL;
    k->int8_sums = int8_sums;
    k->scores_int8 = scores_int8;
    k->values_int8 = values_int8;
}
#else
typedef int kernels_avx512_empty; // ISO C wants a declaration in every file
#endif
