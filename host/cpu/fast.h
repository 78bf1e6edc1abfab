// The fast ops: drivers that divide an op among the team and cut it into pieces for the kernels. Each gives the bits of
// the reference op of the same name, for every team size. None allocates: working memory is fixed-size buffers on the
// stack.
#ifndef TERN_CPU_FAST_H
#define TERN_CPU_FAST_H

#include "cpu.h"
#include "kernels.h"
#include "scalar.h"
#include "team.h"

// Elements of an elementwise op that make a chunk of work.
#define FAST_GRAIN 16384u

static inline const float *fast_row(view v, uint32_t ld, uint32_t m)
{
    return (const float *)cpu_at(v) + (size_t)m * ld;
}
static inline float *fast_row_out(view v, uint32_t ld, uint32_t m) { return (float *)cpu_at(v) + (size_t)m * ld; }

// How many rows of n elements make a chunk of work.
static inline uint32_t fast_grain(uint32_t n) { return n < FAST_GRAIN ? (FAST_GRAIN + n - 1) / n : 1; }

// fast_dense.c: elements [first, first + n) of row r as floats; first and n are multiples of 256, or n ends the row.
void fast_weight_floats(const cpu_kernels *k, const weights *w, uint32_t r, uint32_t first, uint32_t n, float *out);

// fast_dense.c: products of rows of w for one token, each as dense_mm defines it. `put` is told of every one, in any
// order.
#define DENSE_OPERAND (256u * SCREEN_BLOCKS) // columns, at most, of a row whose x is put into another form
typedef struct dense_token {
    const cpu_kernels *kernels;
    const weights *w;
    const float *x;       // [n_cols]
    const float *operand; // of fast_dense_operand
    void (*put)(void *context, uint32_t row, float product);
    void *context;
} dense_token;
// The form of x that suits rows of w, in `out`; NULL: there is none.
const float *fast_dense_operand(const cpu_kernels *k, const weights *w, const float *x, float out[DENSE_OPERAND]);
void fast_dense_token(const dense_token *t, uint32_t begin, uint32_t end);

// fast_best.c: what q6k_upper needs of x, n a multiple of 256 and at most 256 * SCREEN_BLOCKS. False where values of x
// do not allow a bound.
bool fast_screen_operand(const cpu_kernels *k, const float *x, uint32_t n, q6k_screen *out);

// fast_rows.c: keeps x, value of index i, if it is one of the k best of what came before, in any order of indices.
void fast_keep_best(float x, uint32_t i, uint32_t k, uint32_t *kept, int32_t *ids, float *values);

// fast_int.c: fast_weight_floats of INT8 and INT4 rows; first and n are multiples of 64.
void fast_integer_floats(const weights *w, uint32_t r, uint32_t first, uint32_t n, float *out);

// fast_norm.c: quant over n values of one row, the sum of codes included; returns absmax.
float fast_quant_row(const cpu_kernels *k, const float *x, uint32_t n, int8_t *codes, float *scale, int32_t *sum);

void fast_embed(const device *d, const op *o);
void fast_norm(const device *d, const op *o);
void fast_head_norm(const device *d, const op *o);
void fast_norm_quant(const device *d, const op *o);
void fast_quant(const device *d, const op *o);
void fast_quant2(const device *d, const op *o);
void fast_ternary_mm(const device *d, const op *o);
void fast_ternary_groups(const device *d, const op *o); // fast_groups.c: ternary_mm with several scales along K
void fast_dense_mm(const device *d, const op *o);
void fast_int_mm(const device *d, const op *o);
void fast_rescore(const device *d, const op *o);
void fast_rope_kv(const device *d, const op *o);
void fast_attention(const device *d, const op *o);
void fast_gate(const device *d, const op *o);
void fast_residual(const device *d, const op *o);
void fast_gather(const device *d, const op *o);
void fast_top_k(const device *d, const op *o);
void fast_dense_top_k(const device *d, const op *o);

#endif
