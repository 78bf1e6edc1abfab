// Checks the operands of an op before it runs: given, aligned, inside its buffer. An op costs far more than this, and a
// mistake of the planner or the step is named here instead of corrupting memory; all tests run through it. The values
// of index operands are not looked at: they lie on the device.
#include "check.h"
#include "op_check.h"

#define CODES_ALIGNMENT 64u // int8 codes and KV blocks; fp32 and int32 operands are aligned to their element

typedef unsigned long long ull; // for printf

typedef struct checker {
    const operand_access *access;
    const device *device;
    const op *o;
    tern_error *err;
} checker;

// n_bytes at v, whose offset must be a multiple of `alignment`.
static tern_status check_bytes(checker c, const char *operand, view v, uint64_t n_bytes, uint64_t alignment)
{
    const char *name = op_kind_name(c.o->kind);
    if (v.buffer == NULL) return error_set(c.err, TERN_INVALID_ARGUMENT, "%s: operand %s is not given", name, operand);
    if (v.offset % alignment != 0)
        return error_set(c.err, TERN_INVALID_ARGUMENT,
                         "%s: operand %s stands at offset %llu, expected a multiple of %llu", name, operand,
                         (ull)v.offset, (ull)alignment);
    uint64_t size = c.access->buffer_bytes(v.buffer);
    if (!check_range(v.offset, n_bytes, size))
        return error_set(c.err, TERN_INVALID_ARGUMENT,
                         "%s: operand %s takes %llu bytes from offset %llu, its buffer has %llu", name, operand,
                         (ull)n_bytes, (ull)v.offset, (ull)size);
    return TERN_OK;
}

// n_rows rows of n elements, `ld` elements apart. Arguments are below 2^32, elements at most 4 bytes.
static tern_status check_rows(checker c, const char *operand, view v, uint64_t n_rows, uint64_t ld, uint64_t n,
                              uint64_t element)
{
    uint64_t n_bytes;
    if (!check_mul((n_rows - 1) * ld + n, element, &n_bytes)) n_bytes = UINT64_MAX;
    return check_bytes(c, operand, v, n_bytes, element == 1 ? CODES_ALIGNMENT : element);
}

static tern_status check_floats(checker c, const char *operand, view v, uint64_t ld, uint64_t n)
{
    return check_rows(c, operand, v, c.o->m, ld, n, sizeof(float));
}

// One value of 4 bytes per row of the op, or one row of n values.
static tern_status check_vector(checker c, const char *operand, view v, uint64_t n)
{
    return check_rows(c, operand, v, 1, n, n, 4);
}

static tern_status check_flag(checker c)
{
    return check_bytes(c, "flag", c.o->flag, sizeof(uint32_t), sizeof(uint32_t));
}

static tern_status check_weights(checker c, const weights *w)
{
    if (c.access->weights_device(w) == c.device) return TERN_OK;
    return error_set(c.err, TERN_INVALID_ARGUMENT, "%s: the weights belong to another device", op_kind_name(c.o->kind));
}

static weights_desc shape_of(checker c, const weights *w)
{
    weights_desc shape;
    c.access->weights_shape(w, &shape);
    return shape;
}

static tern_status check_quantized(checker c, const quantized *q, bool is_two_term)
{
    uint32_t m = c.o->m;
    tern_status s = check_rows(c, "codes", q->codes, m, q->ld, q->ld, 1);
    if (s == TERN_OK) s = check_vector(c, "scale", q->scale, m);
    if (s == TERN_OK) s = check_vector(c, "sum", q->sum, m);
    if (!is_two_term) return s;
    if (s == TERN_OK) s = check_rows(c, "lo_codes", q->lo_codes, m, q->ld, q->ld, 1);
    if (s == TERN_OK) s = check_vector(c, "lo_scale", q->lo_scale, m);
    if (s == TERN_OK) s = check_vector(c, "lo_sum", q->lo_sum, m);
    return s;
}

// ---- op kinds

static tern_status check_embed(checker c, const op_embed *a)
{
    tern_status s = check_weights(c, a->table);
    if (s == TERN_OK) s = check_vector(c, "ids", a->ids, c.o->m);
    return s == TERN_OK ? check_floats(c, "y", a->y, a->ld_y, shape_of(c, a->table).n_cols) : s;
}

static tern_status check_norm(checker c, const op_norm *a)
{
    tern_status s = check_flag(c);
    if (s == TERN_OK) s = check_floats(c, "x", a->x, a->ld_x, a->n);
    if (s == TERN_OK) s = check_vector(c, "g", a->g, a->n);
    if (s == TERN_OK) s = check_floats(c, "y", a->y, a->ld_y, a->n);
    return s;
}

static tern_status check_head_norm(checker c, const op_head_norm *a)
{
    tern_status s = check_flag(c);
    if (s == TERN_OK) s = check_floats(c, "x", a->x, a->ld_x, (uint64_t)a->n_heads * a->head_dim);
    if (s == TERN_OK) s = check_vector(c, "g", a->g, a->head_dim);
    return s;
}

static tern_status check_norm_quant(checker c, const op_norm_quant *a)
{
    tern_status s = check_flag(c);
    if (s == TERN_OK) s = check_floats(c, "x", a->x, a->ld_x, a->n);
    if (s == TERN_OK) s = check_vector(c, "g", a->g, a->n);
    if (s == TERN_OK) s = check_quantized(c, &a->y, false);
    return s;
}

static tern_status check_quant(checker c, const op_quant *a)
{
    tern_status s = check_flag(c);
    if (s == TERN_OK) s = check_floats(c, "x", a->x, a->ld_x, a->n);
    if (s == TERN_OK) s = check_quantized(c, &a->y, c.o->kind == OP_QUANT2);
    return s;
}

static tern_status check_ternary_mm(checker c, const op_ternary_mm *a)
{
    tern_status s = check_weights(c, a->w);
    uint32_t n_rows = shape_of(c, a->w).n_rows;
    if (s == TERN_OK) s = check_quantized(c, &a->x, a->x.lo_codes.buffer != NULL);
    if (s == TERN_OK) s = check_floats(c, "y", a->y, a->ld_y, epilogue_gates(a->epilogue) ? n_rows / 2 : n_rows);
    return s;
}

static tern_status check_dense_mm(checker c, const op_dense_mm *a)
{
    tern_status s = check_weights(c, a->w);
    if (s == TERN_OK && a->check_finite) s = check_flag(c);
    if (s == TERN_OK) s = check_floats(c, "x", a->x, a->ld_x, shape_of(c, a->w).n_cols);
    if (s == TERN_OK) s = check_floats(c, "y", a->y, a->ld_y, shape_of(c, a->w).n_rows);
    return s;
}

static tern_status check_int_mm(checker c, const op_int_mm *a)
{
    tern_status s = check_weights(c, a->w);
    if (s == TERN_OK && a->check_finite) s = check_flag(c);
    if (s == TERN_OK) s = check_quantized(c, &a->x, c.o->kind == OP_INT_MM);
    return s == TERN_OK ? check_floats(c, "y", a->y, a->ld_y, shape_of(c, a->w).n_rows) : s;
}

static tern_status check_rescore(checker c, const op_rescore *a)
{
    tern_status s = check_weights(c, a->w);
    if (s == TERN_OK) s = check_flag(c);
    if (s == TERN_OK) s = check_floats(c, "x", a->x, a->ld_x, shape_of(c, a->w).n_cols);
    if (s == TERN_OK) s = check_floats(c, "ids", a->ids, a->k, a->k);
    return s == TERN_OK ? check_floats(c, "y", a->y, a->ld_y, shape_of(c, a->w).n_rows) : s;
}

static tern_status check_kv(checker c, const kv_rows *rows, const kv_cache *cache)
{
    uint64_t block_bytes = (uint64_t)kv_block_bytes(cache->k_type, cache->v_type, (int)cache->n_kv_heads,
                                                    (int)cache->head_dim);
    tern_status s = check_bytes(c, "cache", cache->blocks, cache->n_blocks * block_bytes, CODES_ALIGNMENT);
    if (s == TERN_OK) s = check_vector(c, "row_table", rows->row_table, c.o->m);
    if (s == TERN_OK) s = check_vector(c, "row_position", rows->row_position, c.o->m);
    return s == TERN_OK ? check_vector(c, "tables", rows->tables, rows->table_ld) : s;
}

static tern_status check_rope_kv(checker c, const op_rope_kv *a)
{
    uint64_t width = ((uint64_t)a->n_heads + 2 * (uint64_t)a->cache.n_kv_heads) * a->cache.head_dim;
    tern_status s = TERN_OK;
    if (a->cache.k_type != KV_F32 || a->cache.v_type != KV_F32) s = check_flag(c);
    if (s == TERN_OK) s = check_floats(c, "x", a->x, a->ld_x, width);
    if (s == TERN_OK) s = check_kv(c, &a->rows, &a->cache);
    return s == TERN_OK ? check_vector(c, "rope", a->rope, a->n_dims) : s;
}

static tern_status check_attention(checker c, const op_attention *a)
{
    uint64_t width = (uint64_t)a->n_heads * a->cache.head_dim;
    tern_status s = TERN_OK;
    if (kv_is_integer(a->cache.k_type) || kv_is_integer(a->cache.v_type)) s = check_flag(c);
    if (s == TERN_OK) s = check_floats(c, "q", a->q, a->ld_q, width);
    if (s == TERN_OK) s = check_floats(c, "y", a->y, a->ld_y, width);
    if (s == TERN_OK) s = check_kv(c, &a->rows, &a->cache);
    return s;
}

static tern_status check_gate(checker c, const op_gate *a)
{
    tern_status s = check_floats(c, "x", a->x, a->ld_x, 2 * (uint64_t)a->n);
    if (s == TERN_OK) s = check_floats(c, "y", a->y, a->ld_y, a->n);
    return s;
}

static tern_status check_residual(checker c, const op_residual *a)
{
    tern_status s = check_floats(c, "h", a->h, a->ld_h, a->n);
    if (s == TERN_OK) s = check_floats(c, "y", a->y, a->ld_y, a->n);
    return s;
}

static tern_status check_gather(checker c, const op_gather *a)
{
    tern_status s = check_vector(c, "index", a->index, c.o->m);
    if (s == TERN_OK) s = check_floats(c, "y", a->y, a->ld_y, a->n);
    return s == TERN_OK ? check_vector(c, "x", a->x, a->n) : s;
}

static tern_status check_top_k(checker c, const op_top_k *a)
{
    tern_status s = check_floats(c, "x", a->x, a->ld_x, a->n);
    if (s == TERN_OK) s = check_floats(c, "ids", a->ids, a->k, a->k);
    if (s == TERN_OK) s = check_floats(c, "values", a->values, a->k, a->k);
    return s;
}

static tern_status check_dense_top_k(checker c, const op_dense_top_k *a)
{
    tern_status s = check_weights(c, a->w);
    if (s == TERN_OK) s = check_flag(c);
    if (s == TERN_OK) s = check_floats(c, "x", a->x, a->ld_x, shape_of(c, a->w).n_cols);
    if (s == TERN_OK) s = check_floats(c, "ids", a->ids, a->k, a->k);
    return s == TERN_OK ? check_floats(c, "values", a->values, a->k, a->k) : s;
}

static tern_status check_advance(checker c, const op_advance *a)
{
    tern_status s = check_flag(c);
    if (s == TERN_OK) s = check_floats(c, "chosen", a->chosen, a->ld_chosen, 1);
    if (s == TERN_OK) s = check_vector(c, "ids", a->ids, c.o->m);
    if (s == TERN_OK) s = check_vector(c, "position", a->position, c.o->m);
    return s == TERN_OK ? check_floats(c, "log", a->log, 2 * (uint64_t)a->n_log, 2 * (uint64_t)a->n_log) : s;
}

tern_status op_check_operands(const operand_access *access, const device *d, const op *o, tern_error *err)
{
    checker c = {access, d, o, err};
    switch (o->kind) {
    case OP_EMBED: return check_embed(c, &o->embed);
    case OP_NORM: return check_norm(c, &o->norm);
    case OP_HEAD_NORM: return check_head_norm(c, &o->head_norm);
    case OP_NORM_QUANT: return check_norm_quant(c, &o->norm_quant);
    case OP_QUANT:
    case OP_QUANT2: return check_quant(c, &o->quant);
    case OP_TERNARY_MM: return check_ternary_mm(c, &o->ternary_mm);
    case OP_DENSE_MM:
    case OP_BLAS_MM: return check_dense_mm(c, &o->dense_mm);
    case OP_ROPE_KV: return check_rope_kv(c, &o->rope_kv);
    case OP_ATTENTION:
    case OP_FAST_ATTENTION: return check_attention(c, &o->attention);
    case OP_GATE: return check_gate(c, &o->gate);
    case OP_RESIDUAL: return check_residual(c, &o->residual);
    case OP_GATHER: return check_gather(c, &o->gather);
    case OP_TOP_K: return check_top_k(c, &o->top_k);
    case OP_INT_MM: return check_int_mm(c, &o->int_mm);
    case OP_RESCORE: return check_rescore(c, &o->rescore);
    case OP_BLAS_INT_MM: return check_int_mm(c, &o->int_mm);
    case OP_ADVANCE: return check_advance(c, &o->advance);
    case OP_DENSE_TOP_K: return check_dense_top_k(c, &o->dense_top_k);
    case OP_N_KINDS: break;
    }
    return error_set(err, TERN_INTERNAL, "op kind %d does not exist", (int)o->kind);
}
