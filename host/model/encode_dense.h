// Rows of floats to the dense block types of GGUF files (FORMATS.md 2.2, 2.3, 2.6), for the converter. The inverse,
// dense_row_to_float, is in common/dense.h.
//
//   F16   nearest even.
//   Q8_0  the format's own definition: d = amax / 127, q = x * (1 / d) rounded half away from zero, d kept as fp16.
//   Q6_K  of each 16 elements the scale with the least squared error among some twenty; then, with that scale in the
//         8 bits the block has for it, the least squared error again. The same bytes on every machine.
#ifndef TERN_MODEL_ENCODE_DENSE_H
#define TERN_MODEL_ENCODE_DENSE_H

#include <stdbool.h>

#include "dense.h"

// Number of the type in a GGUF file.
extern const uint32_t encode_dense_ids[DENSE_N_TYPES];

// Why `type` cannot hold rows of this width, as the end of a sentence ("needs ..."); NULL if it can. Only the three
// types above are written.
const char *encode_dense_refusal(dense_type type, uint32_t n_cols);

// Encodes one row into dense_row_bytes(type, n_cols) bytes. False if a value is not finite, or too large for fp16 (of a
// block type: for its scale); what `out` then holds is undefined. The row must be one that encode_dense_refusal
// accepts.
bool encode_dense_row(dense_type type, const float *values, uint32_t n_cols, uint8_t *out);

#endif
