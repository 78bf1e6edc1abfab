// The operands of an op case in host memory, before any device: bytes of every buffer the op reads or writes, the rows
// of its weights, and the op itself with the places where views belong.
#ifndef TERN_BENCH_OP_DATA_H
#define TERN_BENCH_OP_DATA_H

#include "op_cases.h"
#include "ternary.h"

#define OP_REGIONS_MAX 12
#define OP_NO_VIEW     SIZE_MAX

typedef enum op_region_role { REGION_INPUT, REGION_OUTPUT, REGION_IN_PLACE } op_region_role;
typedef enum op_element { ELEMENT_F32, ELEMENT_I32, ELEMENT_I8, ELEMENT_BYTES } op_element;

// One buffer. Rows of `width` bytes at `stride`; the bytes between them belong to nobody. Outputs start as 0xff (NaN).
typedef struct op_region {
    const char *name; // "x", "y.codes"
    op_region_role role;
    op_element element;
    size_t view_at[2]; // offsetof(op, the view); second: another view of the same bytes, or OP_NO_VIEW
    uint32_t n_rows;
    size_t width, stride, n_bytes;
    uint8_t *before; // contents before the op, n_bytes, owned
} op_region;

typedef struct op_data {
    const op_case *c; // borrowed
    op op;            // views and weights not set
    op_region regions[OP_REGIONS_MAX];
    size_t n_regions, flag; // flag: index of the flag word's region
    bool has_weights;
    size_t weights_at; // offsetof(op, the weights)
    uint32_t n_weight_rows, n_weight_cols;
    ternary_scale scale;  // ternary weights
    uint8_t *weight_rows; // canonical or stored rows, owned
    size_t weight_row_bytes;
    uint64_t bytes_kv; // bytes of KV cache the op must touch at the least
} op_data;

tern_status op_data_create(const op_case *c, op_data **out, tern_error *err);
void op_data_free(op_data *data);

// op_tolerance.c: how far a row of OP_FAST_ATTENTION's y may be from that of OP_ATTENTION, as ops.h says; 0 for rows
// that have its bits. out: [n_heads * head_dim].
void op_data_tolerances(const op_data *data, uint32_t row, double *out);

#endif
