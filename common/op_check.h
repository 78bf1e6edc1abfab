// What every backend asks of an op before running it: shapes it can take, and operands that are there.
#ifndef TERN_COMMON_OP_CHECK_H
#define TERN_COMMON_OP_CHECK_H

#include "backend.h"
#include "error.h"

#define OP_MAX_HEAD_DIM 1024 // kernels keep a head's values on the stack or in local memory

// How the checks look into a backend's own buffers and weights.
typedef struct operand_access {
    size_t (*buffer_bytes)(const buffer *b);
    const device *(*weights_device)(const weights *w);
    void (*weights_shape)(const weights *w, weights_desc *out);
    uint32_t (*weights_groups)(const weights *w); // scales along the columns of a ternary matrix
} operand_access;

// NULL, or a static sentence for users on why no backend takes an op of these shapes.
const char *op_refusal(const operand_access *access, const op *o);

// Of backends whose dense_mm is bound by memory and not by instructions.
#define OP_DENSE_TOP_K_REFUSAL "dense_mm and top_k after each other are as fast here, and give the same"

// That every operand is given, aligned and inside its buffer. INVALID_ARGUMENT names op and operand.
tern_status op_check_operands(const operand_access *access, const device *d, const op *o, tern_error *err);

// Shape and scale descriptor of a matrix: INVALID_ARGUMENT, or DEVICE_UNSUPPORTED for more ternary columns than 32-bit
// sums hold. With a scale, *scale_bytes is what its values and row ranges take.
tern_status weights_check(const weights_desc *desc, uint64_t *scale_bytes, tern_error *err);

// That `from`, a matrix on the host, can be copied into the slot of `to`: both of one device, described alike and
// taking as many bytes. INVALID_ARGUMENT.
tern_status weights_check_copy(const weights_desc *to, const weights_desc *from, bool is_alike, tern_error *err);

// That rows [first, first + count) of a matrix exist and, where canonical rows of a ternary one are given, that none
// holds code 3. `rows` is NULL for a download. INVALID_ARGUMENT.
tern_status weights_check_rows(const weights_desc *shape, uint32_t first, uint32_t count, const uint8_t *rows,
                               tern_error *err);

#endif
