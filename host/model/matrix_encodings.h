// The decoders behind matrix.h, one family per file. Each *_scale makes the scale descriptor; each *_row writes the
// n_cols codes of one canonical row. Padding and the search for code 3 are matrix.c's.
#ifndef TERN_MODEL_MATRIX_ENCODINGS_H
#define TERN_MODEL_MATRIX_ENCODINGS_H

#include "matrix.h"

tern_status i2s_scale(const matrix_source *m, ternary_scale *out, tern_error *err);
void i2s_row(const matrix_source *m, uint32_t row, uint8_t *out);

// TQ1_0, TQ2_0, Q2_0, PQ2_0, PTQ1_0: a tensor scale when all nonzero block scales are equal, else one per row and
// block. Blocks with scale zero become code 1, whatever they hold.
tern_status blocks_scale(const matrix_source *m, ternary_scale *out, tern_error *err);
void blocks_row(const matrix_source *m, uint32_t row, uint8_t *out);

// IQ1_BN, IQ2_BN, IQ2_BN_R4: a tensor scale when all nonzero row scales are equal, else one per row. Rows with scale
// zero become code 1.
tern_status bn_scale(const matrix_source *m, ternary_scale *out, tern_error *err);
void bn_row(const matrix_source *m, uint32_t row, uint8_t *out);

// A copy of m->found; codes by sign.
tern_status float_scale(const matrix_source *m, ternary_scale *out, tern_error *err);
void float_row(const matrix_source *m, uint32_t row, uint8_t *out);

tern_status hf_packed_scale(const matrix_source *m, ternary_scale *out, tern_error *err);
void hf_packed_row(const matrix_source *m, uint32_t row, uint8_t *out);

// Float master weights. `scratch` holds n_cols floats.
tern_status hf_master_scale(const matrix_source *m, ternary_scale *out, tern_error *err);
void hf_master_row(const matrix_source *m, float scale, uint32_t row, float *scratch, uint8_t *out);

tern_status synthetic_scale(const matrix_source *m, ternary_scale *out, tern_error *err);
void synthetic_row(const matrix_source *m, uint32_t row, uint8_t *out);
void synthetic_dense_row(const matrix_source *m, uint32_t row, uint8_t *out); // F16

static inline uint32_t load_word(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

// The codes of four bytes, `shift` bits up in each, as one canonical byte.
static inline uint8_t gather_codes(uint32_t word, unsigned shift)
{
    uint32_t x = word >> shift & 0x03030303u;
    return (uint8_t)(x | x >> 6 | x >> 12 | x >> 18);
}

// Four codes, one a byte, as one canonical byte.
static inline uint8_t join_codes(const uint8_t *codes)
{
    return (uint8_t)(codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6);
}

#endif
