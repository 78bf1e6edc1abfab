// The values of op cases: recipes to numbers, by counter from common/rng.h, the same on every machine.
#ifndef TERN_BENCH_OP_FILL_H
#define TERN_BENCH_OP_FILL_H

#include "op_cases.h"
#include "ternary.h"

// Element (row, column) of a float operand of n_columns; `seed` tells operands of one case apart.
float fill_value(op_recipe recipe, uint64_t seed, uint32_t row, uint32_t column, uint32_t n_columns);
// The same for int8 codes, in [-127, 127].
int fill_code(op_recipe recipe, uint64_t seed, uint32_t row, uint32_t column, uint32_t n_columns);
// A positive scale.
float fill_scale(op_recipe recipe, uint64_t seed, uint32_t i);

// Scales of the case's ternary weights [n_rows, n_cols]. HOST_MEMORY.
tern_status fill_ternary_scale(const op_case *c, uint32_t n_rows, uint32_t n_cols, ternary_scale *out, tern_error *err);
// One canonical row, and one stored dense row.
void fill_ternary_row(op_recipe recipe, uint64_t seed, uint32_t row, uint32_t n_cols, uint8_t *out);
void fill_dense_row(op_recipe recipe, dense_type type, uint64_t seed, uint32_t row, uint32_t n_cols, uint8_t *out);

// Stores position `slot` of one KV head in a block's K or V part (kv.h): row `row` of head_dim values.
void fill_kv_slot(op_recipe recipe, uint64_t seed, int type, bool is_k, int head_dim, int slot, uint32_t row,
                  uint8_t *part);

#endif
