// Dense matrix rows as stored in files and on devices: blocks of a few encodings, dequantised to fp32 exactly as
// FORMATS.md 2.2 to 2.6 define (all products fit 24 bits; the minimum of Q4_K and Q5_K is one rounding, see
// dense_row_to_float).
//
// INT8 and INT4 are found in no file: embeddings and heads are turned into them when a model is loaded (FORMATS.md
// 2.18). Rows of whole groups of 64 columns, codes first, then the scales:
//   INT8   int8 code[K]; fp32 w.         value = code * w; code and w by quant of ops.h over the row
//   INT4   u8 q[K / 2]; fp16 d[K / 64].  Byte i of a group's 32 holds column i in its low and column 32 + i in its high
//                                        four bits, as code + 8; value = code * d; code and d by int4.h over the group
// Products with them are exact integer sums (int_mm in ops.h).
#ifndef TERN_COMMON_DENSE_H
#define TERN_COMMON_DENSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum dense_type {
    DENSE_F32,
    DENSE_F16,
    DENSE_BF16,
    DENSE_Q8_0,
    DENSE_Q4_0,
    DENSE_Q4_K,
    DENSE_Q5_K,
    DENSE_Q6_K,
    DENSE_INT8,
    DENSE_INT4,
    DENSE_N_TYPES
} dense_type;

#define DENSE_N_FILE_TYPES        DENSE_INT8 // those before it are found in files
#define DENSE_GROUP               64u        // columns of a group of INT4, and what rows of INT8 are a multiple of
// Of INT8 and INT4; |sum of code * activation| < 2^31 up to here for INT8: 127 * 127 * K.
#define DENSE_INTEGER_MAX_COLUMNS 133120u

// Made by the engine, multiplied as integers.
static inline bool dense_is_integer(dense_type type) { return type == DENSE_INT8 || type == DENSE_INT4; }

typedef struct dense_format {
    const char *name; // "Q8_0"
    uint32_t block;   // elements per block; K must be a multiple of it
    uint32_t block_bytes;
    uint32_t tail_bytes, tail_block_bytes; // behind the blocks: of the row, and for each block
} dense_format;

extern const dense_format dense_formats[DENSE_N_TYPES];

static inline size_t dense_row_bytes(dense_type type, uint32_t n_cols)
{
    const dense_format *f = &dense_formats[type];
    return (size_t)(n_cols / f->block) * (f->block_bytes + f->tail_block_bytes) + f->tail_bytes;
}

// Where column `column`, a multiple of the block, begins in a row (INT8 and INT4: its code).
static inline size_t dense_column_offset(dense_type type, uint32_t column)
{
    return (size_t)(column / dense_formats[type].block) * dense_formats[type].block_bytes;
}

// Dequantises n_cols elements (a multiple of the block) starting at a block boundary; of INT8 and INT4 whole rows.
// `row` has no alignment demand.
void dense_row_to_float(dense_type type, const uint8_t *row, uint32_t n_cols, float *out);

// Groups [first, first + n) of an INT8 or INT4 row of n_cols columns: the scale of each.
void dense_group_scales(dense_type type, const uint8_t *row, uint32_t n_cols, uint32_t first, uint32_t n, float *out);
// The code of a column of such a row: obvious and slow.
int dense_code(dense_type type, const uint8_t *row, uint32_t column);

// Makes an INT8 or INT4 row of n_cols values, a multiple of 64. False if a value is not finite, or too large for the
// fp16 scale; what `row` then holds is undefined.
bool dense_quantize_row(dense_type type, const float *x, uint32_t n_cols, uint8_t *row);

#endif
