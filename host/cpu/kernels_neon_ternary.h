// Ternary products for NEON, included by one file per set of instructions (kernels_neon.h).
//
// A block of 8 or 32 (row, column) sums advances together, granule by granule and field by field: the bytes of a field
// of the activations are loaded once for all rows of the block, the codes of a field of the weights made once for all
// its columns. T64 and T80 differ in how a code is taken out of a byte and in how many there are.
#ifndef TERN_CPU_KERNELS_NEON_TERNARY_H
#define TERN_CPU_KERNELS_NEON_TERNARY_H

#include "kernels_neon.h"

INLINE uint32_t fields_of(const ternary_layout layout) { return layout == TERNARY_T80 ? 5 : 4; }

// The next code of each of sixteen bytes. A byte of T80 is below 86 if it is 0, below 171 if it is 1, and what is left
// after it is three times the byte modulo 256.
INLINE int8x16_t take_code(const ternary_layout layout, uint8x16_t *w)
{
    if (layout == TERNARY_T64) {
        int8x16_t code = vreinterpretq_s8_u8(vandq_u8(*w, vdupq_n_u8(3)));
        *w = vshrq_n_u8(*w, 2);
        return code;
    }
    uint8x16_t minus = vaddq_u8(vcgtq_u8(*w, vdupq_n_u8(85)), vcgtq_u8(*w, vdupq_n_u8(170)));
    *w = vaddq_u8(vaddq_u8(*w, *w), *w);
    return vnegq_s8(vreinterpretq_s8_u8(minus));
}

// The sixteen activations that field m of a granule meets, from columns in their natural order.
INLINE int8x16_t natural_field(const ternary_layout layout, const int8_t *x, uint32_t m)
{
    return vcombine_s8(vld1_s8(x + 8 * m), vld1_s8(x + 8 * (fields_of(layout) + m)));
}

// The order of these tables: granule by granule, field by field.
INLINE void order(const ternary_layout layout, const int8_t *x, uint32_t n_granules, int8_t *out)
{
    for (uint32_t g = 0; g < n_granules; g++, x += ternary_granule(layout), out += ternary_granule(layout))
        UNROLL for (uint32_t m = 0; m < fields_of(layout); m++) vst1q_s8(out + 16 * m, natural_field(layout, x, m));
}

static void t64_order(const int8_t *x, uint32_t n_granules, int8_t *out) { order(TERNARY_T64, x, n_granules, out); }
static void t80_order(const int8_t *x, uint32_t n_granules, int8_t *out) { order(TERNARY_T80, x, n_granules, out); }

// Granules [first, end) of a row group and the columns they meet, from granule `first` on.
typedef struct passage {
    const uint8_t *group;
    uint32_t n_granules, first, end;
    const int8_t *x[TERNARY_MAX_X];
} passage;

// Field m of a granule of a column in the order of these tables, or else in the natural one.
INLINE int8x16_t field_at(const ternary_layout layout, const bool is_ordered, const int8_t *x, uint32_t m)
{
    return is_ordered ? vld1q_s8(x + 16 * m) : natural_field(layout, x, m);
}

// Where granule g of row 0 stands, and the bytes from there to that of the next row.
INLINE const uint8_t *granule_of(const passage *s, uint32_t g, size_t *stride)
{
    uint32_t in_tile = s->n_granules - g / 4 * 4; // granules per row in this tile
    if (in_tile > 4) in_tile = 4;
    *stride = 16 * in_tile;
    return s->group + 1024 * (size_t)(g / 4) + 16 * (g % 4);
}

// The products of one granule for one sum on their way into its four lanes. Without dot products they are kept as int16
// within the granule: a lane gets ten products (T64: eight) of at most 2 * 127.
#if defined(__ARM_FEATURE_DOTPROD)
typedef int32x4_t products;
INLINE products products_begin(int32x4_t sum) { return sum; }
INLINE products products_add(products p, int8x16_t a, int8x16_t b) { return vdotq_s32(p, a, b); }
INLINE int32x4_t products_end(int32x4_t sum, products p)
{
    (void)sum;
    return p;
}
#else
typedef int16x8_t products;
INLINE products products_begin(int32x4_t sum)
{
    (void)sum;
    return vdupq_n_s16(0);
}
INLINE products products_add(products p, int8x16_t a, int8x16_t b)
{
    return vmlal_s8(vmlal_s8(p, vget_low_s8(a), vget_low_s8(b)), vget_high_s8(a), vget_high_s8(b));
}
INLINE int32x4_t products_end(int32x4_t sum, products p) { return vpadalq_s16(sum, p); }
#endif

// 8 / n_x rows from `row` on by n_x columns.
INLINE void add_block(const ternary_layout layout, const bool is_ordered, const passage *s, uint32_t row,
                      const uint32_t n_x, int32_t *sums)
{
    const uint32_t rows = 8 / n_x, fields = fields_of(layout);
    int32x4_t acc[8];
    UNROLL for (int i = 0; i < 8; i++) acc[i] = vdupq_n_s32(0);
    size_t stride, at_x = 0;
    for (uint32_t g = s->first; g < s->end; g++, at_x += ternary_granule(layout)) {
        const uint8_t *at = granule_of(s, g, &stride) + row * stride;
        uint8x16_t w[8];
        products p[8];
        UNROLL for (uint32_t r = 0; r < rows; r++) w[r] = vld1q_u8(at + r * stride);
        UNROLL for (int i = 0; i < 8; i++) p[i] = products_begin(acc[i]);
        UNROLL for (uint32_t m = 0; m < fields; m++)
        {
            int8x16_t x[8];
            UNROLL for (uint32_t c = 0; c < n_x; c++) x[c] = field_at(layout, is_ordered, s->x[c] + at_x, m);
            UNROLL for (uint32_t r = 0; r < rows; r++)
            {
                int8x16_t code = take_code(layout, &w[r]);
                UNROLL for (uint32_t c = 0; c < n_x; c++) p[r * n_x + c] = products_add(p[r * n_x + c], code, x[c]);
            }
        }
        UNROLL for (int i = 0; i < 8; i++) acc[i] = products_end(acc[i], p[i]);
    }
    UNROLL for (uint32_t i = 0; i < 8; i++) sums[TERNARY_ROWS * (i % n_x) + row + i / n_x] += vaddvq_s32(acc[i]);
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
// Eight bytes of two rows or columns, and the eight activations that bytes 8 * half .. of field m meet, of two columns.
INLINE uint8x16_t bytes_of_two(const void *a, const void *b) { return vcombine_u8(vld1_u8(a), vld1_u8(b)); }

INLINE int8x16_t half_field(const ternary_layout layout, const bool is_ordered, const int8_t *x0, const int8_t *x1,
                            uint32_t m, uint32_t half)
{
    const uint32_t at = is_ordered ? 16 * m + 8 * half : 8 * (fields_of(layout) * half + m);
    return vreinterpretq_s8_u8(bytes_of_two(x0 + at, x1 + at));
}

// The same for n_x >= 2 by matrix products of two rows and two columns, 8 bytes of each: 32 / n_x rows. The four lanes
// of a register are sums of their own: row 0 and column 0, row 0 and column 1, row 1 and column 0, row 1 and column 1.
INLINE void add_block_by_pairs(const ternary_layout layout, const bool is_ordered, const passage *s, uint32_t row,
                               const uint32_t n_x, int32_t *sums)
{
    const uint32_t row_pairs = 16 / n_x, column_pairs = n_x / 2, fields = fields_of(layout);
    int32x4_t acc[8];
    UNROLL for (int i = 0; i < 8; i++) acc[i] = vdupq_n_s32(0);
    size_t stride, at_x = 0;
    for (uint32_t g = s->first; g < s->end; g++, at_x += ternary_granule(layout)) {
        const uint8_t *at = granule_of(s, g, &stride) + row * stride;
        UNROLL for (uint32_t half = 0; half < 2; half++)
        {
            uint8x16_t w[8];
            UNROLL for (uint32_t r = 0; r < row_pairs; r++)
            {
                const uint8_t *two = at + 2 * r * stride + 8 * half;
                w[r] = bytes_of_two(two, two + stride);
            }
            UNROLL for (uint32_t m = 0; m < fields; m++)
            {
                int8x16_t x[4];
                UNROLL for (uint32_t c = 0; c < column_pairs; c++)
                    x[c] = half_field(layout, is_ordered, s->x[2 * c] + at_x, s->x[2 * c + 1] + at_x, m, half);
                UNROLL for (uint32_t r = 0; r < row_pairs; r++)
                {
                    int8x16_t code = take_code(layout, &w[r]);
                    UNROLL for (uint32_t c = 0; c < column_pairs; c++)
                        acc[r * column_pairs + c] = vmmlaq_s32(acc[r * column_pairs + c], code, x[c]);
                }
            }
        }
    }
    UNROLL for (uint32_t i = 0; i < 8; i++)
    {
        int32_t *to = sums + TERNARY_ROWS * (i % column_pairs * 2) + row + i / column_pairs * 2;
        to[0] += vgetq_lane_s32(acc[i], 0);
        to[TERNARY_ROWS] += vgetq_lane_s32(acc[i], 1);
        to[1] += vgetq_lane_s32(acc[i], 2);
        to[TERNARY_ROWS + 1] += vgetq_lane_s32(acc[i], 3);
    }
}
#endif

INLINE void add_rows(const ternary_layout layout, const bool is_ordered, const passage *s, const uint32_t n_x,
                     int32_t *sums)
{
#if defined(__ARM_FEATURE_MATMUL_INT8)
    if (n_x > 1) {
        for (uint32_t row = 0; row < TERNARY_ROWS; row += 32 / n_x)
            add_block_by_pairs(layout, is_ordered, s, row, n_x, sums);
        return;
    }
#endif
    for (uint32_t row = 0; row < TERNARY_ROWS; row += 8 / n_x) add_block(layout, is_ordered, s, row, n_x, sums);
}

INLINE void add_passage(const ternary_layout layout, const bool is_ordered, const passage *s, uint32_t n_x,
                        int32_t *sums)
{
    switch (n_x) {
    case 1: add_rows(layout, is_ordered, s, 1, sums); break;
    case 2: add_rows(layout, is_ordered, s, 2, sums); break;
    case 4: add_rows(layout, is_ordered, s, 4, sums); break;
    default: add_rows(layout, is_ordered, s, 8, sums); break;
    }
}

INLINE void sums_of(const ternary_layout layout, const ternary_span *span, uint32_t n_x, int32_t *sums)
{
    passage s = {.group = span->group, .n_granules = span->n_granules, .first = span->first, .end = span->end};
    const int8_t *x = span->x + ternary_granule(layout) * (size_t)(span->first - span->x_first);
    for (uint32_t c = 0; c < n_x; c++) s.x[c] = x + c * span->x_stride;
    add_passage(layout, true, &s, n_x, sums);
}

static void t64_sums(const ternary_span *span, uint32_t n_x, int32_t *sums) { sums_of(TERNARY_T64, span, n_x, sums); }
static void t80_sums(const ternary_span *span, uint32_t n_x, int32_t *sums) { sums_of(TERNARY_T80, span, n_x, sums); }

static void ternary_columns(const ternary_stretch *stretch, uint32_t n_x, int32_t *sums)
{
    passage s = {
        .group = stretch->group, .n_granules = stretch->n_granules, .first = stretch->first, .end = stretch->end};
    for (uint32_t c = 0; c < n_x; c++) s.x[c] = stretch->x[c] + TERNARY_GRANULE * (size_t)s.first;
    add_passage(TERNARY_T64, false, &s, n_x, sums);
}

INLINE void put_ternary_loops(cpu_kernels *k)
{
    k->ternary_order[TERNARY_T64] = t64_order;
    k->ternary_order[TERNARY_T80] = t80_order;
    k->ternary_sums[TERNARY_T64] = t64_sums;
    k->ternary_sums[TERNARY_T80] = t80_sums;
    k->ternary_columns = ternary_columns;
}

#endif
