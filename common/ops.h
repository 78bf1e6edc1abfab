// The operations a backend performs: a small closed set, each with one meaning, bit for bit, on every backend.
//
// M is rows (tokens) throughout. Vectors are fp32 rows unless stated; `ld` are row strides in elements. Definitions
// name functions of scalar.h; ARCHITECTURE.md ("Numbers") gives the reasons. No op mixes rows, so results do not depend
// on how rows are batched. Inputs and outputs do not overlap unless an op says so.
//
// Reductions, in the one order every backend keeps:
//   dot64(a, b, n)   64 accumulators from +0; element i goes to accumulator i % 64 by fma(a_i, b_i, acc), i ascending;
//   then the
//                    tree acc[j] += acc[j + 32] for j < 32, then + 16, 8, 4, 2, 1.
//   sumsq256(x, n)   256 accumulators, acc = fma(x_i, x_i, acc), tree from 128 down.
//   groups(v, d, G)  G products v_g * d_g in 8 contiguous parts, part p = [p*G/8, (p+1)*G/8), each a chain acc =
//   fma(v_g, d_g,
//                    acc) from +0 (an empty part is +0); result ((p0+p1)+(p2+p3))+((p4+p5)+(p6+p7)).
//   integer sums and maxima need no order.
//
// Errors of value: an op that meets a non-finite sum of squares, absmax or logit, or a |K| or |V| >= 65520 to be stored
// as f16 or >= 458640 (7 * 65520) as int4, lowers the 32-bit flag word to its own `place` (atomic minimum; the word
// starts at UINT32_MAX). What it then writes is unspecified. dense_mm and int_mm check their outputs only where
// `check_finite` is set (the head); rescore and dense_top_k always do.
#ifndef TERN_COMMON_OPS_H
#define TERN_COMMON_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kv.h"

typedef struct buffer buffer;   // device memory, made by a backend
typedef struct weights weights; // a matrix [n_rows, n_cols] in the device's own layout, made by a backend

// Bytes of a buffer from an offset on. fp32 and int32 operands are aligned to 4 bytes only (a product may write in the
// middle of a row); int8 codes and KV blocks to 64.
typedef struct view {
    buffer *buffer; // NULL: not given
    size_t offset;
} view;

#define TOP_K_MAX 256 // values a row that top_k finds and rescore takes

typedef enum op_kind {
    OP_EMBED,
    OP_NORM,
    OP_HEAD_NORM,
    OP_NORM_QUANT,
    OP_QUANT,
    OP_QUANT2,
    OP_TERNARY_MM,
    OP_DENSE_MM,
    OP_ROPE_KV,
    OP_ATTENTION,
    OP_GATE,
    OP_RESIDUAL,
    OP_GATHER,
    OP_TOP_K,
    OP_INT_MM,
    OP_RESCORE,
    OP_ADVANCE,
    OP_DENSE_TOP_K,
    // Without defined bits, for whom asks for them by name:
    OP_BLAS_MM,        // baselines
    OP_BLAS_INT_MM,    // what integer products are measured beside
    OP_FAST_ATTENTION, // attention of prompts within a stated error
    OP_N_KINDS
} op_kind;

// Whether every backend gives an op the same bits.
static inline bool op_has_defined_bits(op_kind kind) { return kind < OP_BLAS_MM; }
// Whether every backend takes it.
static inline bool op_is_everywhere(op_kind kind) { return kind < OP_DENSE_TOP_K; }

// Quantised rows. codes: int8, `ld` per row, those behind the row's length 0. ld is a multiple of 64 and covers the
// granules of the weights: the length rounded up to 64 for T64, to QUANTIZED_STEP for T80. quantized_ld does for both,
// and is what the engine makes. scale: fp32 [M]. sum: int32 [M], the sum of the row's codes. The `lo` views belong to
// two-term quantisation and are not given otherwise.
typedef struct quantized {
    view codes, scale, sum;
    view lo_codes, lo_scale, lo_sum;
    uint32_t ld;
} quantized;

#define QUANTIZED_STEP 320u // whole granules of every layout (64 and 80 columns), and a whole tile of T80
static inline uint32_t quantized_ld(uint32_t n) { return (n + QUANTIZED_STEP - 1) / QUANTIZED_STEP * QUANTIZED_STEP; }

// y[m] = row ids[m] of the table, dequantised; a ternary row is scale * trit, one of INT8 or INT4 code * scale. ids:
// int32 [M], validated by the caller.
typedef struct op_embed {
    const weights *table;
    view ids, y;
    uint32_t ld_y;
} op_embed;

// ss = sumsq256(x); r = scalar_rms_factor(ss, n, eps); y_i = (x_i * r) * g_i. x and y may be the same.
typedef struct op_norm {
    view x, g, y; // g: fp32 [n]
    uint32_t n, ld_x, ld_y;
    float eps;
} op_norm;

// norm over each of n_heads spans of head_dim values of a row, in place, one g of head_dim values for all heads.
typedef struct op_head_norm {
    view x, g;
    uint32_t n_heads, head_dim, ld_x;
    float eps;
} op_head_norm;

// Norm and quantisation as one primitive: r as in norm; t_i = x_i * g_i; m' = absmax t; m = r * m'.
// If m >= 1e-5: code_i = scalar_code(t_i * (127 / m')), a = m / 127. Else code_i = scalar_code((t_i * r) * 12700000),
// a = 1e-5 / 127. (fp32 operations throughout.)
typedef struct op_norm_quant {
    view x, g;
    quantized y; // one term
    uint32_t n, ld_x;
    float eps;
} op_norm_quant;

// quant: m = absmax x; if m >= 1e-5: code_i = scalar_code(x_i * (127 / m)), a = m / 127; else code_i =
// scalar_code(x_i * 12700000), a = 1e-5 / 127.
// quant2: hi and a as quant; e_i = fma(-(float)hi_i, a, x_i); lo_i = scalar_code(e_i * (254 / a)); b = a / 254.
typedef struct op_quant {
    view x;
    quantized y; // two terms for OP_QUANT2
    uint32_t n, ld_x;
} op_quant;

// What becomes of a product p[m, r].
typedef enum mm_epilogue {
    EPILOGUE_STORE, // y[m, r] = p[m, r]
    EPILOGUE_ADD,   // y[m, r] = y[m, r] + p[m, r], as OP_RESIDUAL would do it afterwards
    EPILOGUE_RELU2, // y[m, r] = gate(p[m, gated_row(r, 0)], p[m, gated_row(r, 1)]), r < half of the rows, as OP_GATE
    EPILOGUE_SILU   // would do it afterwards; w holds gate and up by turns
} mm_epilogue;

// A matrix whose product is gated holds rows of gate and of up by turns, so that a tile of 16 rows (ternary.h), and in
// it one thread of a tensor core's product, has both: 8 rows of gate, then the same 8 of up. Its rows fill whole tiles.
#define GATED_TURN 8u
// Where row r of gate (which 0) or of up (which 1) stands.
static inline uint32_t gated_row(uint32_t r, uint32_t which)
{
    return (r / GATED_TURN * 2 + which) * GATED_TURN + r % GATED_TURN;
}

static inline bool epilogue_gates(mm_epilogue e) { return e == EPILOGUE_RELU2 || e == EPILOGUE_SILU; }

// The product p[m, r] of row r of w with row m of x, from exact int32 sums over all of K, goes through the epilogue.
// One scale along K: scalar_ternary(sum, a, scale), or scalar_ternary2 with two-term x.
// Several, which no epilogue gates: groups(v, d, G) with d_g the group scales and v_g = (float)sum_g * a, or
// fma((float)hi_g, a, (float)lo_g * b).
typedef struct op_ternary_mm {
    const weights *w;
    quantized x;
    view y;
    uint32_t ld_y;
    mm_epilogue epilogue;
} op_ternary_mm;

// y[m, r] = dot64(row r of w dequantised to fp32, x[m], K). Also for ternary w: rows are scale * trit. Not for INT8 and
// INT4, which int_mm multiplies.
// OP_BLAS_MM: the same product of F32 or F16 weights by the device's BLAS library, whose order of sums nobody defines.
// A kind of its own, used only where it was asked for, so that it cannot pass for the product with defined bits.
typedef struct op_dense_mm {
    const weights *w;
    view x, y;
    uint32_t ld_x, ld_y;
    bool check_finite;
} op_dense_mm;

// y[m, r] = the product of row r of INT8 or INT4 w with row m of two-term x, from exact int32 sums; w's codes and
// scales as in dense.h. hi and lo: sums of code * x code over all of K (INT8), or over each group of 64 columns (INT4).
//   INT8   scalar_ternary2(hi, lo, a, b, w) = fma((float)hi, a * w, (float)lo * (b * w))
//   INT4   groups(v, d, K / 64) with v_g = fma((float)hi_g, a, (float)lo_g * b)
typedef struct op_int_mm {
    const weights *w;
    quantized x; // two terms
    view y;
    uint32_t ld_y;
    bool check_finite;
} op_int_mm;

// OP_BLAS_INT_MM: int32 y[m, r] = the sum of code * x code over K, of INT8 w without its scales and the first term of
// x, by the device's BLAS library: no model is made of it, benchmarks show it as what int8 products could cost.

// y[m, ids[m, j]] = dot64(row ids[m, j] of w dequantised to fp32, x[m], K) for j < k: the bits that dense_mm gives
// where it takes such weights. Every other y keeps its value, and an id may be named twice. ids: int32 [M, k],
// validated by the caller. k <= TOP_K_MAX.
typedef struct op_rescore {
    const weights *w;
    view x, ids, y;
    uint32_t ld_x, ld_y, k;
} op_rescore;

// Where rows stand: row m belongs to block table row_table[m] (int32 [M]) and has position row_position[m] (int32 [M]).
// tables: int32 [n_tables, table_ld], block indices into the layer's cache.
typedef struct kv_rows {
    view row_table, row_position, tables;
    uint32_t table_ld;
} kv_rows;

// A layer's KV cache: n_blocks blocks of kv_block_bytes at `blocks`.
typedef struct kv_cache {
    view blocks;
    uint32_t n_blocks, n_kv_heads, head_dim;
    int k_type, v_type; // KV_*
} kv_cache;

// Rotates q and k of each row in place by the row's position, then stores k and v in the cache.
// x: row m holds q (n_heads * head_dim), k and v (n_kv_heads * head_dim each) at columns 0, q_dim, q_dim + kv_dim.
// rope: fp32 [n_positions][n_dims], pair i's cos at 2i and sin at 2i + 1; head dimensions from n_dims on pass
// unchanged. Pairs: (i, i + n_dims/2), or (2i, 2i+1) when `adjacent`. x0' = fma(x0, c, -(x1 * s)), x1' = fma(x1, c, x0
// * s). Stored: f32; f16 (nearest even); int8: per position and head, quant of the head_dim values; int4: per position,
// head and group of 32 values (the last group may be shorter) scale and codes of int4.h.
typedef struct op_rope_kv {
    view x, rope;
    kv_rows rows;
    kv_cache cache;
    uint32_t n_heads, n_dims, ld_x;
    bool adjacent;
} op_rope_kv;

// y[m, h*head_dim ..] = attention of head h of row m over positions 0 .. position(m) of its table, in blocks of 64.
// K and V are read in stored form (those of the current step too). KV head = h / (n_heads / n_kv_heads).
// Scores of a block, scale = (float)(1.0 / sqrt((double)head_dim)):
//   f32, f16   s_j = scale * (chain s = fma(q_d, k_jd, s) from +0, ascending d)
//   int8       (hi, lo, a, b) = quant2 of the head's q with the floor 2^-100 instead of 1e-5;
//              s_j = fma((float)(hi . k_j), a * ak_j, (float)(lo . k_j) * (b * ak_j)) * scale, dots exact
//   int4       hi, lo, a, b as for int8; per group g of 32 values t_g = fma((float)(hi . k_j)_g, a, (float)(lo . k_j)_g
//   *
//              b), dots exact; s_j = scale * (chain s = fma(t_g, ak_jg, s) from +0, ascending g)
// Block state: m = max_j s_j over present positions; p_j = scalar_exp(s_j - m), absent ones +0; l = the 64-lane tree of
// dot64 over p; o_d by V type:
//   f32, f16   chain o = fma(p_j, v_jd, o) from +0, ascending j
//   int8       w_j = p_j * av_j; (hi, lo, a, b) = quant2 of w (floor 2^-100) over the 64 positions;
//              o_d = fma((float)(sum_j hi_j v_jd), a, (float)(sum_j lo_j v_jd) * b), sums exact
//   int4       as int8 for each group g of 32 values on its own, with w_j = p_j * av_jg
// Merge of (M, L, O) with the next (m, l, o): M' = max(M, m); al = scalar_exp(M - M'); be = scalar_exp(m - M');
// L = fma(L, al, l * be); O_d = fma(O_d, al, o_d * be). Four consecutive blocks are a group (256 positions): its state
// starts as a copy of its first block, the others fold in, ascending; the result starts as a copy of group 0, the other
// groups fold in, ascending. y_d = O_d / L. quant2 with the floor f: m = absmax; c = m >= f ? m : f; hi_i =
// scalar_code(x_i * (127 / c)), a = c / 127; lo as in op_quant.
typedef struct op_attention {
    view q, y;
    kv_rows rows;
    kv_cache cache;
    uint32_t n_heads, ld_q, ld_y;
} op_attention;

// OP_FAST_ATTENTION: the same attention over f16 K and V, with both products in fp16 on tensor cores: no defined bits,
// but a stated error. It concerns the rows of windows: FAST_ATTENTION_WINDOW rows from a multiple of that on, of which
// at least half exist and which all belong to one table. The others have the bits of OP_ATTENTION.
//   q is rounded to fp16, after a power of two brought the head's values below 2^15; sums of q_d k_jd are fp32;
//   weights p_j = e^(s_j - the largest score so far) are rounded to fp16, times 2^15; sums of p_j v_jd over a block,
//   their merge with those of blocks before, and the sum of the rounded p_j are fp32. No order is defined, and
//   exponentials may be off by 2^-22.
// Of a row that sees n positions, with A = max_j scale * sum_d |q_d k_jd| (where |q_d| counts as 2^-29 of the head's
// largest at least) and V_d = max_j |v_jd| over them:
//   |y_d - exact y_d| <= FAST_ATTENTION_TOLERANCE * (1 + A) * V_d * max(1, n / 2^16)
// Errors e_j of at most E in the scores move y_d by at most E * V_d: its derivative is sum_j w_j e_j (v_jd - y_d), and
// values lie V_d from their mean at most, on average. Rounding q is such an error of 2^-11 A, and rounding p one of
// 2^-11; what fp16 loses below its normal numbers is 2^-40 of the largest q, and 2^-40 of the largest p for each
// position. That is half of the tolerance. The other half is for fp32, here and in OP_ATTENTION: for sums over a head,
// 2^-14 A (tensor cores cut off instead of rounding), for the 2^10 merges of 2^16 positions by approximate exponentials
// 2^-12 + 2^-13, for the merges of OP_ATTENTION 2^-14.
#define FAST_ATTENTION_WINDOW    16u
#define FAST_ATTENTION_TOLERANCE 0x1p-10f
static inline bool fast_attention_takes(uint32_t head_dim) { return head_dim % 8 == 0 && head_dim <= 128; }

// y_i = gate(x_i, x_{n+i}), i < n: row m of x holds the gate projection, then the up projection, n values each.
typedef struct op_gate {
    view x, y;
    uint32_t n, ld_x, ld_y;
    bool is_silu; // else relu2
} op_gate;

// h_i = h_i + y_i.
typedef struct op_residual {
    view h, y;
    uint32_t n, ld_h, ld_y;
} op_residual;

// y[m] = x[index[m]], index int32 [M].
typedef struct op_gather {
    view x, index, y;
    uint32_t n, ld_x, ld_y;
} op_gather;

// The k largest of the first n values of each row, over x + 0.0f: larger first, then the lower index. ids: int32 [M,
// k]; values: fp32 [M, k]. k <= TOP_K_MAX and k <= n.
typedef struct op_top_k {
    view x, ids, values;
    uint32_t n, ld_x, k;
} op_top_k;

// dense_mm with check_finite, then top_k of the first n of each row's products, w->n_rows >= n: the same ids, values
// and flag. Products are not stored, so a device may leave one out that it knows to be none of the best and finite;
// those that gain nothing by it refuse the op.
typedef struct op_dense_top_k {
    const weights *w;
    view x, ids, values;
    uint32_t n, ld_x, k;
} op_dense_top_k;

// Makes the inputs of the next step from what this one chose, so that steps follow each other without the host. Row m:
// c = chosen[m * ld_chosen], or 0 if that is not below n_ids; p = position[m]; then ids[m] = c, position[m] = p + 1,
// and the pair (c, the flag word as it is) goes to entry p % n_log of the row's log. All int32; log: [M][n_log][2].
typedef struct op_advance {
    view chosen, ids, position, log;
    uint32_t ld_chosen, n_ids, n_log;
} op_advance;

typedef struct op {
    op_kind kind;
    uint32_t m;     // rows, >= 1
    uint32_t place; // what a NUMERIC failure reports: layer << 8 | position in the layer's list of ops
    view flag;      // the step's flag word (uint32)
    union {
        op_embed embed;
        op_norm norm;
        op_head_norm head_norm;
        op_norm_quant norm_quant;
        op_quant quant; // OP_QUANT and OP_QUANT2
        op_ternary_mm ternary_mm;
        op_dense_mm dense_mm; // OP_DENSE_MM and OP_BLAS_MM
        op_rope_kv rope_kv;
        op_attention attention; // OP_ATTENTION and OP_FAST_ATTENTION
        op_gate gate;
        op_residual residual;
        op_gather gather;
        op_top_k top_k;
        op_int_mm int_mm; // OP_INT_MM and OP_BLAS_INT_MM
        op_rescore rescore;
        op_advance advance;
        op_dense_top_k dense_top_k;
    };
} op;

const char *op_kind_name(op_kind kind); // "ternary_mm"

#endif
