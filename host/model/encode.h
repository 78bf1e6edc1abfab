// Canonical ternary rows (common/ternary.h) to the tensor encodings of GGUF files: the inverse of matrix.h's readers,
// for the converter. Layouts: FORMATS.md 2.2 (F16), 2.7 (TQ1_0), 2.8 (TQ2_0), 2.9 (I2_S, 128/32).
//
// What a type can hold:
//   I2_S   one fp32 scale for the whole matrix, exact; n_rows * n_cols a multiple of 128. Where n_cols is not one,
//          groups straddle rows: right by the format, but engines with row kernels cannot multiply by it.
//   TQ1_0  n_cols a multiple of 256, one scale per 256 columns of a row, rounded to fp16. A block of zeros keeps its
//   TQ2_0  scale (the format's own quantiser writes 0 there, which would lose it).
//   F16    any shape and scale; a weight is trit * scale in fp16.
// A scale of zero goes with any other, because the codes under it are 1 (weight zero), as the readers make them.
// A scale that fp16 cannot give within half a unit of its 11 bits (too large, or deep in the subnormals) is refused.
#ifndef TERN_MODEL_ENCODE_H
#define TERN_MODEL_ENCODE_H

#include "ternary.h"

typedef enum encode_type { ENCODE_I2_S, ENCODE_TQ1_0, ENCODE_TQ2_0, ENCODE_F16, ENCODE_N_TYPES } encode_type;

typedef struct encode_format {
    const char *name;   // "I2_S"
    uint32_t tensor_id; // type number of a tensor in a GGUF file
    uint32_t file_type; // general.file_type (FORMATS.md 1.5)
} encode_format;

extern const encode_format encode_formats[ENCODE_N_TYPES];

// The type of that name, upper or lower case; false if there is none.
bool encode_type_find(const char *name, encode_type *out);

// Why `type` cannot hold a matrix of this shape and scale, as the end of a sentence ("needs ..."); NULL if it can.
const char *encode_refusal(encode_type type, uint32_t n_rows, uint32_t n_cols, const ternary_scale *scale);

// Bytes of the encoded tensor; false on overflow.
bool encode_tensor_bytes(encode_type type, uint32_t n_rows, uint32_t n_cols, uint64_t *out);

// One matrix on its way out, row by row from the first to the last, then encoder_finish. Bytes leave as soon as they
// are complete, so that memory stays at a few rows.
typedef struct encoder {
    encode_type type;
    uint32_t n_cols;
    const ternary_scale *scale; // borrowed
    uint8_t *codes;             // one code a byte: those of an unfinished I2_S group, then the row at hand
    size_t n_pending;           // codes of the unfinished I2_S group, < 128
} encoder;

// The matrix must be one that encode_refusal accepts. HOST_MEMORY. Free with encoder_free, also after a failure.
tern_status encoder_init(encoder *e, encode_type type, uint32_t n_cols, const ternary_scale *scale, tern_error *err);
void encoder_free(encoder *e);

// Room that one call of encoder_row or encoder_finish may need in `out`.
size_t encoder_room(const encoder *e);

// Encodes the next row of the tensor; returns the bytes written. `scale_row` is the row of `scale` that holds for it
// (not the running number where rows are permuted).
size_t encoder_row(encoder *e, const uint8_t *row, uint32_t scale_row, uint8_t *out);

// What follows the last row (the I2_S tail); returns the bytes written.
size_t encoder_finish(encoder *e, uint8_t *out);

#endif
