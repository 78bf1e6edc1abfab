// The reference ops: the definitions of ops.h as loops, one thread, no intrinsics. Every kernel on every backend is
// compared with these bit for bit, so they are written to be read. What several of them share is here.
#ifndef TERN_CPU_REFERENCE_H
#define TERN_CPU_REFERENCE_H

#include "cpu.h"
#include "half.h"
#include "scalar.h"

// ---- reductions, in the order of ops.h

// Folds `lanes` (a power of two) accumulators in place: acc[j] += acc[j + lanes/2], and so on; returns acc[0].
float reference_tree(float *acc, uint32_t lanes);
float reference_dot64(const float *a, const float *b, uint32_t n);
float reference_sumsq256(const float *x, uint32_t n);
float reference_groups(const float *v, const float *d, uint32_t n_groups);

// The largest magnitude; NaN counts as larger than infinity.
float reference_absmax(const float *x, uint32_t n);

// ---- quantisation

// quant and quant2 of ops.h over n values; return absmax, which the caller checks for being finite.
float reference_quant(const float *x, uint32_t n, int8_t *codes, float *scale);
float reference_quant2(const float *x, uint32_t n, int8_t *hi, float *hi_scale, int8_t *lo, float *lo_scale);

// quant2 with a floor under absmax instead of the switch to a fixed scale (int8 attention).
#define REFERENCE_ATTENTION_FLOOR 0x1p-100f
float reference_quant2_floor(const float *x, uint32_t n, float floor, int8_t *hi, float *hi_scale, int8_t *lo,
                             float *lo_scale);

// ---- weights

// Row r as fp32: dequantised, or scale * trit.
void reference_weight_row(const device *d, const weights *w, uint32_t r, float *out);
// Row r of ternary weights as -1, 0, 1.
void reference_weight_trits(const device *d, const weights *w, uint32_t r, int8_t *out);
// Working memory beside what these two use: n_cols floats, or a float per group and n_cols bytes. See weights.c.
float *reference_scratch(const device *d, const weights *w);

// top_k step by step: value x of index i comes after those of all lower indices; the best k so far are kept in order.
// reference_rows.c. A value is placed after its equals, which have lower indices.
void reference_keep_best(float x, uint32_t i, uint32_t k, int32_t *ids, float *values);

// ---- the ops

void reference_embed(const device *d, const op *o);
void reference_norm(const device *d, const op *o);
void reference_head_norm(const device *d, const op *o);
void reference_norm_quant(const device *d, const op *o);
void reference_quant_op(const device *d, const op *o);
void reference_quant2_op(const device *d, const op *o);
void reference_ternary_mm(const device *d, const op *o);
void reference_dense_mm(const device *d, const op *o);
void reference_int_mm(const device *d, const op *o);
void reference_rescore(const device *d, const op *o);
void reference_rope_kv(const device *d, const op *o);
void reference_attention(const device *d, const op *o);
void reference_gate(const device *d, const op *o);
void reference_residual(const device *d, const op *o);
void reference_gather(const device *d, const op *o);
void reference_top_k(const device *d, const op *o);
void reference_dense_top_k(const device *d, const op *o);
void reference_advance(const device *d, const op *o);

#endif
