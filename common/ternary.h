// Canonical ternary rows: the one form between every file encoding and every device layout.
//
// Row: K codes of 2 bits, code = trit + 1 (0, 1, 2), column c in bits 2*(c%4) of byte c/4; K is padded with code 1
// (trit 0) to a multiple of 64, the granule of the device layouts. Code 3 never occurs.
//
// Scale descriptor: along the rows one set of scales for the whole tensor, per row range, or per row; along the columns
// one scale, or one per group of `group` consecutive columns (the last group may be short). The weight of row r, column
// c is trit * values[set(r) * n_groups + c / group].
//
// T64, the packed layout (2 bits a weight): a granule is 16 bytes = 64 consecutive columns of one row; its word j
// (0..3), byte b, field m (bits 2m) holds column 32*(j/2) + 8*m + 4*(j%2) + b, so that word & (0x03030303 << 2m) is
// four consecutive columns: a dp4a operand or a tensor-core register, without shuffles. A tile is 16 rows x 4 granules
// = 1,024 bytes: rows 0-7 first, then rows 8-15; within each half, row g's granule t stands at 16 * (n*g + t), n the
// granules per row in this tile (4; the last tile of a row group may hold fewer). Tiles of a row group follow each
// other along K; row groups follow along N. Rows are padded to 16 with code 1.
//
// T80, the dense packed layout (1.6 bits a weight), for matrices with one scale along K: a granule is 16 bytes = 80
// consecutive columns of one row; word j, byte b holds five codes m = 0..4, columns 40*(j/2) + 8*m + 4*(j%2) + b. With
// v the number whose base-3 digits are these codes, the first one most significant, the byte is q = ceil(256 v / 243).
// Then (q * 3^n) >> 8 is the number of the first n digits, for n up to 5 and in 16 bits; and the low byte of q * 3^n is
// what is left of q: the next digit is 0 below 86, 1 below 171, else 2. Tiles are those of T64 with granules of 80
// columns; columns behind K, which may lie behind the canonical row's end too, have code 1.
#ifndef TERN_COMMON_TERNARY_H
#define TERN_COMMON_TERNARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define TERNARY_GRANULE 64u // columns
#define TERNARY_MAX_COLUMNS                                                                                            \
    528416u // |sum of code * activation| < 2^31 up to here (codes <= 2, activations <= 127, and -127*K)

typedef enum ternary_layout { TERNARY_T64, TERNARY_T80, TERNARY_N_LAYOUTS } ternary_layout; // the packed ones

#define T80_GRANULE 80u // columns

typedef struct ternary_scale {
    uint32_t n_sets;     // 1: tensor; n_rows: per row; otherwise row ranges
    uint32_t *set_begin; // row ranges: first row of each set, ascending, set_begin[0] = 0; NULL for tensor and per row
    uint32_t group;      // columns per group; >= K when there is one scale along K
    uint32_t n_groups;   // ceil(K / group)
    float *values;       // n_sets * n_groups, owned
} ternary_scale;

static inline uint32_t ternary_padded(uint32_t n_cols)
{
    return (n_cols + TERNARY_GRANULE - 1) / TERNARY_GRANULE * TERNARY_GRANULE;
}
static inline size_t ternary_row_bytes(uint32_t n_cols) { return ternary_padded(n_cols) / 4; }

static inline int ternary_code(const uint8_t *row, uint32_t column)
{
    return row[column / 4] >> (2 * (column % 4)) & 3;
}

// A tensor-wide scale. HOST_MEMORY.
tern_status ternary_scale_tensor(float value, uint32_t n_cols, ternary_scale *out, tern_error *err);
// Zeroed values of the given shape, to be filled. group 0 means one scale along K.
tern_status ternary_scale_create(uint32_t n_sets, bool has_ranges, uint32_t group, uint32_t n_cols, ternary_scale *out,
                                 tern_error *err);
void ternary_scale_free(ternary_scale *scale);
uint32_t ternary_scale_set(const ternary_scale *scale, uint32_t row); // the set a row uses
bool ternary_scale_equal(const ternary_scale *a, const ternary_scale *b);

// Writes code 1 into the columns from n_cols to the padded end.
void ternary_pad_row(uint8_t *row, uint32_t n_cols);
// True if no field of the row is 3.
bool ternary_row_is_valid(const uint8_t *row, uint32_t n_cols);
// Zero trits among the first n_cols columns.
uint64_t ternary_row_zeros(const uint8_t *row, uint32_t n_cols);

// Bytes of a packed matrix, and packing of rows [first, first + count) of it from and to canonical rows. Row padding is
// written by the _init functions (every code 1). first need not be a multiple of 16. The packed buffer has no alignment
// demand.
uint64_t t64_bytes(uint32_t n_rows, uint32_t n_cols);
void t64_init(uint8_t *packed, uint32_t n_rows, uint32_t n_cols);
void t64_pack_rows(uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first, uint32_t count,
                   const uint8_t *rows);
void t64_unpack_rows(const uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first, uint32_t count,
                     uint8_t *rows);
// Byte offset of granule `granule` (column granule * 64) of row `row`.
size_t t64_granule_offset(uint32_t n_cols, uint32_t row, uint32_t granule);
// Code of one element: obvious and slow.
int t64_code(const uint8_t *packed, uint32_t n_cols, uint32_t row, uint32_t column);

// The same of T80.
uint64_t t80_bytes(uint32_t n_rows, uint32_t n_cols);
void t80_init(uint8_t *packed, uint32_t n_rows, uint32_t n_cols);
void t80_pack_rows(uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first, uint32_t count,
                   const uint8_t *rows);
void t80_unpack_rows(const uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first, uint32_t count,
                     uint8_t *rows);
size_t t80_granule_offset(uint32_t n_cols, uint32_t row, uint32_t granule);
int t80_code(const uint8_t *packed, uint32_t n_cols, uint32_t row, uint32_t column);

// ---- by layout (packed.c)

// Columns of a granule, and granules of a row.
static inline uint32_t ternary_granule(ternary_layout layout)
{
    return layout == TERNARY_T80 ? T80_GRANULE : TERNARY_GRANULE;
}
static inline uint32_t ternary_granules(ternary_layout layout, uint32_t n_cols)
{
    return (n_cols + ternary_granule(layout) - 1) / ternary_granule(layout);
}
// Where a granule stands in a matrix of n_granules a row: the same in both layouts.
size_t ternary_granule_offset(uint32_t n_granules, uint32_t row, uint32_t granule);
uint64_t ternary_packed_bytes(ternary_layout layout, uint32_t n_rows, uint32_t n_cols);
// The byte of four or five codes 1.
uint8_t ternary_zero_byte(ternary_layout layout);
void ternary_pack_rows(ternary_layout layout, uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first,
                       uint32_t count, const uint8_t *rows);
void ternary_unpack_rows(ternary_layout layout, const uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first,
                         uint32_t count, uint8_t *rows);

#endif
