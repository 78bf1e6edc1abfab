// What a converted file will hold: every tensor, where it stands in a model and how it is made. The writer and the
// verifier both walk this list.
#ifndef TERN_MODEL_CONVERT_PLAN_H
#define TERN_MODEL_CONVERT_PLAN_H

#include "convert.h"
#include "model_internal.h"

typedef enum convert_action {
    CONVERT_VECTOR, // norm, written as fp32
    CONVERT_VALUES, // fp32 values made by the plan
    CONVERT_COPY,   // dense rows as stored
    CONVERT_FLOATS, // rows as floats, encoded anew as `dense`
    CONVERT_TRITS,  // ternary rows, encoded as `trits`
} convert_action;

typedef struct convert_tensor {
    char name[64];
    convert_action action;
    const layer_slot *slot; // its place in layer `layer`; NULL: in the model, at `offset`
    uint32_t layer;
    size_t offset;
    const matrix_source *matrix; // in the source; NULL for vectors
    const tensor_ref *vector;    // in the source; NULL for matrices and values
    const float *values;
    dense_type dense;        // CONVERT_COPY and CONVERT_FLOATS: type in the file
    encode_type trits;       // CONVERT_TRITS: type in the file
    ternary_scale scale;     // of a ternary matrix, once convert_plan_check has read it
    uint32_t n_rows, n_cols; // n_rows 1 for vectors
    uint32_t n_head_rows;    // rows of a head to be put in adjacent-pair order; 0: rows stay
    uint64_t n_bytes;
} convert_tensor;

typedef struct convert_plan {
    encode_type type;
    const char *architecture;
    convert_tensor *tensors; // owned
    size_t n_tensors;
    uint64_t n_bytes;     // of all of them
    float *freq_divisors; // [rope.n_dims / 2] or NULL; owned
} convert_plan;

// Lists the tensors; reads no weights. UNSUPPORTED when no GGUF architecture has the model's graph, or a head type does
// not fit. Free after a failure too.
tern_status convert_plan_make(const model_source *model, const convert_options *options, convert_plan *out,
                              tern_error *err);
void convert_plan_free(convert_plan *plan);

// Reads the scale of a ternary tensor, which may take a pass over it, and refuses what its type cannot hold.
tern_status convert_plan_check(convert_tensor *t, tern_error *err);

// The matrix_source or tensor_ref of `t` in a model of the same shape.
const void *convert_place(const model_source *model, const convert_tensor *t);

// Source row of row `row` of the file. `n_rotated`: rope.n_dims of the source.
uint32_t convert_source_row(const convert_tensor *t, uint32_t n_rotated, uint32_t row);

// The weights of one source row, as matrix_read_rows gave it. `scale_row`: its number in the source.
void convert_row_floats(const convert_tensor *t, uint32_t scale_row, const uint8_t *row, float *out);

// Bytes of a row as matrix_read_rows gives it.
size_t convert_read_bytes(const convert_tensor *t);

// Whether any linear is ternary.
bool convert_has_ternary(const model_source *model);

// The activations that GGUF lets a reader assume for the written file.
act_quant convert_assumed_quant(const convert_plan *plan, const model_source *model);

#endif
