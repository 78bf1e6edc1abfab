// The op cases: one definition of each, for self-test, conformance tests and kernel timing alike.
//
// A case names an op, its shapes and types, and a recipe for its inputs; op_data.h makes the inputs (from common/rng.h,
// so the same everywhere), op_run.h runs them on a device. Shapes follow one rule: every M around the sizes kernels
// switch at, N and K one off every tile edge, the smallest legal values, and the shapes of real models.
#ifndef TERN_BENCH_OP_CASES_H
#define TERN_BENCH_OP_CASES_H

#include "dense.h"
#include "ops.h"
#include "tern_status.h"
#include "ternary.h"

typedef enum op_recipe {
    RECIPE_RANDOM,   // non-uniform: rows and columns of different magnitude
    RECIPE_ZEROS,    // all zero
    RECIPE_OUTLIER,  // one value 1000 times the others per row
    RECIPE_EXTREME,  // the largest sums: all codes +-127 and all weight codes 2; for float ops wide ranges (exp, merge)
    RECIPE_DENORMAL, // subnormal scales or values
    RECIPE_SMALL,    // values around 1e-6: the quantisers' floor
    RECIPE_TIES,     // few distinct values, +0 and -0
    RECIPE_NAN,      // one NaN: must raise the flag
    RECIPE_INF,      // one infinity, or a value too large for f16: must raise the flag
    RECIPE_N
} op_recipe;

typedef enum op_scale { SCALE_TENSOR, SCALE_RANGES, SCALE_ROWS } op_scale;

// How rows meet block tables.
typedef enum op_rows {
    ROWS_DECODE,  // each row its own sequence, positions on both sides of the 64 and 256 boundaries
    ROWS_PREFILL, // one sequence, consecutive positions from `first`
    ROWS_MIXED,   // several sequences, runs of one to several rows each, from `first` on
    ROWS_PROMPTS  // two sequences: half of the rows, rounded up, and the rest, each as in prefill
} op_rows;

typedef enum op_case_level {
    LEVEL_QUICK, // <= 2^22 multiply-adds
    LEVEL_TEST,  // <= 2^26
    LEVEL_FULL   // larger
} op_case_level;

typedef struct op_case {
    op_kind kind;
    op_recipe recipe;
    uint32_t m;             // rows
    uint32_t n;             // width of row ops; out-features (or table rows) of ops with weights
    uint32_t k;             // in-features of ops with weights; k of top_k
    uint32_t gap;           // elements between rows that nobody may write (a multiple of 16)
    bool is_ternary;        // weights
    ternary_layout layout;  // of ternary weights
    dense_type dense;       // weights otherwise
    op_scale scale;         // of ternary weights
    uint32_t group;         // columns per scale; 0: one scale along K
    uint32_t n_terms;       // ternary_mm: 1 or 2
    mm_epilogue epilogue;   // ternary_mm; a gated one has n / 2 outputs
    uint32_t n_best;        // rescore: ids a row; dense_top_k: the best it finds
    bool in_place;          // norm: x and y are the same
    bool is_silu, adjacent; // gate; rope_kv
    uint32_t n_heads, n_kv_heads, head_dim, n_dims;
    int k_type, v_type; // KV_*
    op_rows rows;
    uint32_t first;      // first position of prefill and mixed rows
    uint64_t n_macs;     // filled by op_cases_list
    op_case_level level; // filled by op_cases_list
    char name[112];      // filled by op_cases_list: unique, "ternary_mm M=5 N=48 K=2560 row g128 2-term outlier"
} op_case;

// All cases, in a fixed order; free(*out) by the caller. HOST_MEMORY.
tern_status op_cases_list(op_case **out, size_t *n, tern_error *err);

// Position of row `row` and the table it belongs to.
uint32_t op_case_position(const op_case *c, uint32_t row);
uint32_t op_case_table(const op_case *c, uint32_t row);

const char *op_recipe_name(op_recipe recipe);   // "random"
const char *op_level_name(op_case_level level); // "quick"
bool op_recipe_raises(op_recipe recipe);        // the op must lower the flag word

#endif
