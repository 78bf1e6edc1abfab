// One weight matrix of a model file as a source of rows, whatever its encoding: the single place where foreign bit
// fields become canonical rows (common/ternary.h). Dense matrices keep their stored blocks.
#ifndef TERN_MODEL_MATRIX_H
#define TERN_MODEL_MATRIX_H

#include "dense.h"
#include "tensor.h"
#include "tern.h"
#include "ternary.h"

// Where a matrix's trits come from.
typedef enum matrix_encoding {
    MATRIX_DENSE,     // not ternary: rows of `dense` type, as stored
    MATRIX_I2_S,      // FORMATS.md 2.9; scale in the tail
    MATRIX_TQ1_0,     // 2.7
    MATRIX_TQ2_0,     // 2.8
    MATRIX_HF_PACKED, // 3.3; scale tensor beside it, multiplied or divided
    MATRIX_HF_MASTER, // 3.5; float weights ternarised by the absmean rule
    MATRIX_SYNTHETIC, // counter-based random trits
    MATRIX_Q2_0_64,   // 2.11: a scale per row and 64 columns
    MATRIX_Q2_0_128,  // PQ2_0 and the older Q2_0: per row and 128 columns
    MATRIX_PTQ1_0,    // 2.11: per row and 128 columns
    MATRIX_IQ1_BN,    // 2.12: a scale per row
    MATRIX_IQ2_BN,    // 2.13: a scale per row
    MATRIX_IQ2_BN_R4, // 2.13: four rows interleaved
    MATRIX_FLOAT,     // 2.14: floats that are 0 or +-scale; `found` holds the scales
} matrix_encoding;

// A tensor of the file, or a generated vector of ones (synthetic norms).
typedef struct tensor_ref {
    const tensor *tensor; // NULL: absent, or generated when is_ones
    bool is_ones;
} tensor_ref;

typedef struct matrix_source {
    char name[96];           // for messages: the tensor's name in the file
    uint32_t n_rows, n_cols; // N out-features, K in-features
    matrix_encoding encoding;
    dense_type dense;           // stored element type of dense and of master matrices
    const tensor *weights;      // NULL when synthetic (ternary or dense F16)
    const tensor *scale;        // HF packed: the weight_scale tensor
    bool divide;                // HF packed: w = 1/scale
    uint64_t seed;              // synthetic
    tern_i2s_layout i2s_layout; // I2_S
    const ternary_scale *found; // MATRIX_FLOAT: what matrix_find_ternary found; owned by the model
    uint64_t n_bytes;           // as stored
    tensor_ref input_norm;      // the linear's own norm over its input [n_cols] (hp.has_linear_norm), or absent
} matrix_source;

static inline bool matrix_is_ternary(const matrix_source *m) { return m->encoding != MATRIX_DENSE; }

// The finest scales a ternary matrix may turn out to have, known without reading it: what planning counts with. Reading
// may find fewer (matrix_scale), never more.
typedef struct scale_bound {
    bool per_row;
    uint32_t group;    // columns per scale; 0: one scale along all of K
    uint32_t n_ranges; // ranges of rows with a scale each, at most MATRIX_MAX_RANGES (more are kept as one per row); 1
                       // for a tensor-wide scale
} scale_bound;
#define MATRIX_MAX_RANGES 64
scale_bound matrix_scale_bound(const matrix_source *m);

// Whether the values of a dense F32, F16 or BF16 matrix are exactly 0 or +-s, where s is one number for the tensor, per
// row, per range of rows, per equal range of columns, or per row and group of 64, 128 or 256 columns; if so, *out is
// the scale descriptor. Reads the whole matrix when it is ternary and a few bytes when it is not. HOST_MEMORY is the
// only error.
tern_status matrix_find_ternary(const matrix_source *m, bool *is_ternary, ternary_scale *out, tern_error *err);

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
