// One weight matrix of a model file as a source of rows, whatever its encoding: the single place where foreign bit
// fields become canonical rows (common/ternary.h). Dense matrices keep their stored blocks.
#ifndef TERN_MODEL_MATRIX_H
#define TERN_MODEL_MATRIX_H

#include "dense.h"
#include "tensor.h"
#include "ternary.h"

// Where a matrix's trits come from.
typedef enum matrix_encoding {
    MATRIX_DENSE,       // not ternary: rows of `dense` type, as stored
    MATRIX_I2_S,        // formats.md 2.9, 128/32 layout; scale in the tail
    MATRIX_TQ1_0,       // 2.7
    MATRIX_TQ2_0,       // 2.8
    MATRIX_HF_PACKED,   // 3.3; scale tensor beside it, multiplied or divided
    MATRIX_HF_MASTER,   // 3.5; float weights ternarised by the absmean rule
    MATRIX_SYNTHETIC,   // counter-based random trits
    // Next (formats.md 2.11 to 2.14): Q2_0, PQ2_0, PTQ1_0, IQ1_BN, IQ2_BN, ternary-valued F16/BF16.
} matrix_encoding;

// A tensor of the file, or a generated vector of ones (synthetic norms).
typedef struct tensor_ref {
    const tensor *tensor; // NULL: absent, or generated when is_ones
    bool is_ones;
} tensor_ref;

typedef struct matrix_source {
    char name[96];            // for messages: the tensor's name in the file
    uint32_t n_rows, n_cols;  // N out-features, K in-features
    matrix_encoding encoding;
    dense_type dense;         // stored element type of dense and of master matrices
    const tensor *weights;    // NULL when synthetic (ternary or dense F16)
    const tensor *scale;      // HF packed: the weight_scale tensor
    bool divide;              // HF packed: w = 1/scale
    uint64_t seed;            // synthetic
    uint64_t n_bytes;         // as stored
    tensor_ref input_norm;    // the linear's own norm over its input [n_cols] (hp.has_linear_norm), or absent
} matrix_source;

static inline bool matrix_is_ternary(const matrix_source *m) { return m->encoding != MATRIX_DENSE; }

// The scale descriptor of a ternary matrix. Scans the matrix where the encoding demands it (TQ blocks, master weights).
// Values are finite and > 0 (or 0 for an all-zero matrix or group); otherwise MALFORMED naming the matrix. Free with
// ternary_scale_free.
tern_status matrix_scale(const matrix_source *m, ternary_scale *out, tern_error *err);

// Rows [first, first + count): canonical rows for a ternary matrix (ternary_row_bytes each; `scale` is what
// matrix_scale gave, needed by master weights), stored blocks for a dense one (dense_row_bytes each). MALFORMED for a
// code out of range; what `out` then holds is undefined.
tern_status matrix_read_rows(const matrix_source *m, const ternary_scale *scale, uint32_t first, uint32_t count,
                             uint8_t *out, tern_error *err);

#endif
