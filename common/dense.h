// Dense matrix rows as stored in files and on devices: blocks of a few encodings, dequantised to fp32 exactly as
// FORMATS.md 2.2 to 2.6 define (all products fit 24 bits; the minimum of Q4_K and Q5_K is one rounding, see
// dense_row_to_float).
#ifndef TERN_COMMON_DENSE_H
#define TERN_COMMON_DENSE_H

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
    DENSE_N_TYPES
} dense_type;

typedef struct dense_format {
    const char *name; // "Q8_0"
    uint32_t block;   // elements per block; K must be a multiple of it
    uint32_t block_bytes;
} dense_format;

extern const dense_format dense_formats[DENSE_N_TYPES];

static inline size_t dense_row_bytes(dense_type type, uint32_t n_cols)
{
    return (size_t)(n_cols / dense_formats[type].block) * dense_formats[type].block_bytes;
}

// Dequantises n_cols elements (a multiple of the block) starting at a block boundary. `row` has no alignment demand.
void dense_row_to_float(dense_type type, const uint8_t *row, uint32_t n_cols, float *out);

#endif
