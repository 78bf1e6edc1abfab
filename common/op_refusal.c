// Which shapes the ops take, one question per op kind, answered with a sentence for users; the same on every backend.
#include "op_check.h"

#define ROWS_TOO_SHORT "a row stride is smaller than the row"
#define ROWS_TOO_LONG  "rows are too long"

static bool is_kv_type(int type) { return type == KV_F32 || type == KV_F16 || kv_is_integer(type); }

// Rows of n values, at a stride.
static const char *refuse_rows(uint32_t n, uint32_t ld)
{
    if (n == 0) return "rows must have at least one value";
    if (n > INT32_MAX / 2) return ROWS_TOO_LONG;
    return ld < n ? ROWS_TOO_SHORT : NULL;
}

static const char *refuse_quantized(uint32_t n, uint32_t ld)
{
    if (n > TERNARY_MAX_COLUMNS) return "quantised rows are longer than 32-bit sums allow (528416)";
    if (ld % TERNARY_GRANULE != 0) return "the stride of quantised rows must be a multiple of 64";
    if (ld > INT32_MAX / 2) return ROWS_TOO_LONG;
    return ld < ternary_padded(n) ? "the stride of quantised rows must be at least their length rounded up to 64"
                                  : NULL;
}

static const char *refuse_eps(float eps) { return eps > 0.0f ? NULL : "the norm's epsilon must be above 0"; }

static weights_desc shape_of(const operand_access *access, const weights *w)
{
    weights_desc shape;
    access->weights_shape(w, &shape);
    return shape;
}

static const char *first_of(const char *a, const char *b) { return a != NULL ? a : b; }

static const char *refuse_embed(const operand_access *access, const op_embed *a)
{
    if (a->table == NULL) return "the embedding table is missing";
    return refuse_rows(shape_of(access, a->table).n_cols, a->ld_y);
}

static const char *refuse_norm(const op_norm *a)
{
    return first_of(first_of(refuse_rows(a->n, a->ld_x), refuse_rows(a->n, a->ld_y)), refuse_eps(a->eps));
}

static const char *refuse_head_norm(const op_head_norm *a)
{
    if (a->n_heads == 0 || a->head_dim == 0) return "there must be at least one head of at least one value";
    if ((uint64_t)a->n_heads * a->head_dim > a->ld_x) return ROWS_TOO_SHORT;
    return refuse_eps(a->eps);
}

static const char *refuse_norm_quant(const op_norm_quant *a)
{
    return first_of(first_of(refuse_rows(a->n, a->ld_x), refuse_quantized(a->n, a->y.ld)), refuse_eps(a->eps));
}

static const char *refuse_quant(const op_quant *a)
{
    return first_of(refuse_rows(a->n, a->ld_x), refuse_quantized(a->n, a->y.ld));
}

static const char *refuse_ternary_mm(const operand_access *access, const op_ternary_mm *a)
{
    if (a->w == NULL) return "the weights are missing";
    weights_desc w = shape_of(access, a->w);
    if (!w.is_ternary) return "ternary_mm takes ternary weights; dense ones go through dense_mm";
    if (w.layout == TERNARY_T80 && a->x.ld < quantized_ld(w.n_cols))
        return "T80 takes quantised rows whose stride is at least their length rounded up to 320";
    bool gates = epilogue_gates(a->epilogue);
    if (gates && w.n_rows % (2 * GATED_TURN) != 0)
        return "a gated product takes gate and up by turns of 8 rows: whole tiles of 16 rows";
    if (gates && access->weights_groups(a->w) > 1) return "a gated product takes one scale along the columns";
    return first_of(refuse_quantized(w.n_cols, a->x.ld), refuse_rows(gates ? w.n_rows / 2 : w.n_rows, a->ld_y));
}

static const char *refuse_dense_mm(const operand_access *access, const op_dense_mm *a)
{
    if (a->w == NULL) return "the weights are missing";
    weights_desc w = shape_of(access, a->w);
    if (!w.is_ternary && dense_is_integer(w.type))
        return "dense_mm takes no INT8 or INT4 weights; they go through int_mm";
    return first_of(refuse_rows(w.n_cols, a->ld_x), refuse_rows(w.n_rows, a->ld_y));
}

static const char *refuse_int_mm(const operand_access *access, const op_int_mm *a)
{
    if (a->w == NULL) return "the weights are missing";
    weights_desc w = shape_of(access, a->w);
    if (w.is_ternary || !dense_is_integer(w.type)) return "int_mm takes INT8 or INT4 weights";
    return first_of(refuse_quantized(w.n_cols, a->x.ld), refuse_rows(w.n_rows, a->ld_y));
}

static const char *refuse_rescore(const operand_access *access, const op_rescore *a, uint32_t m)
{
    if (a->w == NULL) return "the weights are missing";
    if (a->k == 0 || a->k > TOP_K_MAX) return "rescore takes between 1 and 256 ids a row";
    if ((uint64_t)m * a->k > INT32_MAX) return "rescore takes at most 2147483647 ids";
    weights_desc w = shape_of(access, a->w);
    return first_of(refuse_rows(w.n_cols, a->ld_x), refuse_rows(w.n_rows, a->ld_y));
}

static const char *refuse_blas_mm(const operand_access *access, const op_dense_mm *a)
{
    const char *reason = refuse_dense_mm(access, a);
    if (reason != NULL) return reason;
    weights_desc w = shape_of(access, a->w);
    if (w.is_ternary || (w.type != DENSE_F32 && w.type != DENSE_F16)) return "BLAS takes F32 or F16 weights";
    return a->check_finite ? "BLAS does not check its results for being finite" : NULL;
}

static const char *refuse_blas_int_mm(const operand_access *access, const op_int_mm *a)
{
    const char *reason = refuse_int_mm(access, a);
    if (reason != NULL) return reason;
    if (shape_of(access, a->w).type != DENSE_INT8) return "BLAS takes INT8 weights for integer products";
    return a->check_finite ? "BLAS does not check its results for being finite" : NULL;
}

static const char *refuse_cache(const kv_cache *c, uint32_t n_heads)
{
    if (!is_kv_type(c->k_type) || !is_kv_type(c->v_type)) return "the KV type is not one of f32, f16, int8, int4";
    if (c->head_dim == 0 || c->head_dim % 2 != 0) return "head dimensions must be even";
    if (c->head_dim > OP_MAX_HEAD_DIM) return "head dimensions above 1024 are not supported";
    if (c->n_kv_heads == 0 || n_heads == 0 || n_heads % c->n_kv_heads != 0)
        return "the number of heads must be a multiple of the number of KV heads";
    uint64_t head_bytes = (uint64_t)kv_head_bytes(c->k_type, c->v_type, (int)c->head_dim);
    if (c->n_kv_heads > INT32_MAX / head_bytes) return "a KV block is larger than 2 GiB";
    if (c->n_blocks == 0 || c->n_blocks > INT32_MAX) return "the KV cache must have between 1 and 2^31 - 1 blocks";
    return NULL;
}

static const char *refuse_rope_kv(const op_rope_kv *a)
{
    const char *reason = refuse_cache(&a->cache, a->n_heads);
    if (reason != NULL) return reason;
    if (a->n_dims < 2 || a->n_dims % 2 != 0 || a->n_dims > a->cache.head_dim)
        return "rotated dimensions must be even and at most the head dimension";
    if (a->rows.table_ld == 0) return "block tables must have at least one entry";
    uint64_t width = ((uint64_t)a->n_heads + 2 * (uint64_t)a->cache.n_kv_heads) * a->cache.head_dim;
    return a->ld_x < width ? ROWS_TOO_SHORT : NULL;
}

static const char *refuse_attention(const op_attention *a)
{
    const char *reason = refuse_cache(&a->cache, a->n_heads);
    if (reason != NULL) return reason;
    if (a->rows.table_ld == 0) return "block tables must have at least one entry";
    uint64_t width = (uint64_t)a->n_heads * a->cache.head_dim;
    return a->ld_q < width || a->ld_y < width ? ROWS_TOO_SHORT : NULL;
}

static const char *refuse_fast_attention(const op_attention *a)
{
    if (a->cache.k_type != KV_F16 || a->cache.v_type != KV_F16) return "fast attention takes f16 K and V";
    if (!fast_attention_takes(a->cache.head_dim))
        return "fast attention takes head dimensions that are multiples of 8, up to 128";
    return refuse_attention(a);
}

static const char *refuse_gate(const op_gate *a)
{
    const char *reason = refuse_rows(a->n, a->ld_y);
    if (reason != NULL) return reason;
    return a->ld_x < 2 * (uint64_t)a->n ? ROWS_TOO_SHORT : NULL;
}

static const char *refuse_best(uint32_t k, uint32_t n)
{
    if (k == 0 || k > TOP_K_MAX) return "top_k returns between 1 and 256 values";
    return k > n ? "top_k asks for more values than there are" : NULL;
}

static const char *refuse_top_k(const op_top_k *a)
{
    return first_of(refuse_best(a->k, a->n), refuse_rows(a->n, a->ld_x));
}

static const char *refuse_dense_top_k(const operand_access *access, const op_dense_top_k *a)
{
    if (a->w == NULL) return "the weights are missing";
    weights_desc w = shape_of(access, a->w);
    if (!w.is_ternary && dense_is_integer(w.type)) return "dense_top_k takes no INT8 or INT4 weights";
    if (a->n > w.n_rows) return "dense_top_k chooses among no more rows than the weights have";
    return first_of(refuse_best(a->k, a->n), refuse_rows(w.n_cols, a->ld_x));
}

static const char *refuse_advance(const op_advance *a)
{
    if (a->n_ids == 0 || a->n_ids > INT32_MAX) return "advance needs a vocabulary of at least one id";
    if (a->ld_chosen == 0) return ROWS_TOO_SHORT;
    return refuse_rows(a->n_log, a->n_log);
}

const char *op_refusal(const operand_access *access, const op *o)
{
    if (o->m == 0 || o->m > INT32_MAX) return "an op works on at least one row";
    switch (o->kind) {
    case OP_EMBED: return refuse_embed(access, &o->embed);
    case OP_NORM: return refuse_norm(&o->norm);
    case OP_HEAD_NORM: return refuse_head_norm(&o->head_norm);
    case OP_NORM_QUANT: return refuse_norm_quant(&o->norm_quant);
    case OP_QUANT:
    case OP_QUANT2: return refuse_quant(&o->quant);
    case OP_TERNARY_MM: return refuse_ternary_mm(access, &o->ternary_mm);
    case OP_DENSE_MM: return refuse_dense_mm(access, &o->dense_mm);
    case OP_ROPE_KV: return refuse_rope_kv(&o->rope_kv);
    case OP_ATTENTION: return refuse_attention(&o->attention);
    case OP_GATE: return refuse_gate(&o->gate);
    case OP_RESIDUAL:
        return first_of(refuse_rows(o->residual.n, o->residual.ld_h), refuse_rows(o->residual.n, o->residual.ld_y));
    case OP_GATHER: return first_of(refuse_rows(o->gather.n, o->gather.ld_x), refuse_rows(o->gather.n, o->gather.ld_y));
    case OP_TOP_K: return refuse_top_k(&o->top_k);
    case OP_INT_MM: return refuse_int_mm(access, &o->int_mm);
    case OP_RESCORE: return refuse_rescore(access, &o->rescore, o->m);
    case OP_ADVANCE: return refuse_advance(&o->advance);
    case OP_DENSE_TOP_K: return refuse_dense_top_k(access, &o->dense_top_k);
    case OP_BLAS_MM: return refuse_blas_mm(access, &o->dense_mm);
    case OP_BLAS_INT_MM: return refuse_blas_int_mm(access, &o->int_mm);
    case OP_FAST_ATTENTION: return refuse_fast_attention(&o->attention);
    case OP_N_KINDS: break;
    }
    return "there is no such op";
}
