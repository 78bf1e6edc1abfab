#include "step.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "layer_stream.h"

// Places inside a layer, in the order of work; the flag word reports layer << 8 | place.
typedef enum step_place {
    PLACE_EMBED,
    PLACE_ATTN_NORM,
    PLACE_QKV,
    PLACE_QK_NORM,
    PLACE_ROPE_KV,
    PLACE_ATTENTION,
    PLACE_ATTN_SUB_NORM,
    PLACE_O,
    PLACE_ATTN_RESIDUAL,
    PLACE_FFN_NORM,
    PLACE_GATE_UP,
    PLACE_GATE,
    PLACE_FFN_SUB_NORM,
    PLACE_DOWN,
    PLACE_FFN_RESIDUAL,
    PLACE_OUTPUT_NORM,
    PLACE_HEAD,
    PLACE_RESCORE,
    PLACE_TOP,
    PLACE_COUNT
} step_place;

static const char *const place_names[PLACE_COUNT] = {
    "embedding",
    "attn_norm",
    "qkv",
    "q and k norm",
    "rope and KV store",
    "attention",
    "attn_sub_norm",
    "attn_output",
    "attention residual",
    "ffn_norm",
    "gate_up",
    "activation",
    "ffn_sub_norm",
    "ffn_down",
    "ffn residual",
    "output_norm",
    "head",
    "rescoring",
    "top",
};

void step_place_name(const hparams *hp, uint32_t place, char *out, size_t n)
{
    uint32_t layer = place >> 8, where = place & 255;
    const char *name = where < PLACE_COUNT ? place_names[where] : "unknown place";
    if (where == PLACE_EMBED || layer >= hp->n_layers)
        snprintf(out, n, "%s", name);
    else
        snprintf(out, n, "layer %u, %s", layer, name);
}

// ---------------------------------------------------------------------------------------------------------- workspace

typedef struct layout {
    buffer *buffer;
    uint64_t offset;
    bool overflow;
} layout;

// The next `rows` x `cols` elements of `size` bytes, on a 64-byte boundary.
static view take(layout *l, uint64_t rows, uint64_t cols, uint64_t size)
{
    view v = {l->buffer, (size_t)l->offset};
    uint64_t n, end;
    if (!check_mul(rows, cols, &n) || !check_mul(n, size, &n) || !check_add(l->offset, n, &end) ||
        !check_align(end, 64, &end) || end > SIZE_MAX / 2)
        l->overflow = true;
    else
        l->offset = end;
    return v;
}

static uint32_t q_dim(const hparams *hp) { return hp->n_heads * hp->head_dim; }
static uint32_t kv_dim(const hparams *hp) { return hp->n_kv_heads * hp->head_dim; }
static uint32_t qkv_dim(const hparams *hp) { return q_dim(hp) + 2 * kv_dim(hp); }

static uint32_t widest_input(const hparams *hp)
{
    uint32_t n = hp->n_embd > hp->n_ff ? hp->n_embd : hp->n_ff;
    return n > q_dim(hp) ? n : q_dim(hp);
}

tern_status step_layout(const hparams *hp, const step_shape *shape, buffer *workspace, step_buffers *out,
                        tern_error *err)
{
    layout l = {.buffer = workspace};
    uint64_t m = shape->n_batch;
    step_buffers b = {0};
    b.ids = b.inputs = take(&l, m, 1, 4);
    b.row_table = take(&l, m, 1, 4);
    b.row_position = take(&l, m, 1, 4);
    b.out_index = take(&l, m, 1, 4);
    b.tables = take(&l, shape->n_tables, shape->table_ld, 4);
    b.input_bytes = (size_t)l.offset;
    b.flag = take(&l, 1, 1, 4);
    b.top_ids = take(&l, TOP_K_MAX, 1, 4);
    b.top_values = take(&l, TOP_K_MAX, 1, 4);
    b.result_bytes = (size_t)l.offset - b.flag.offset;
    b.log = take(&l, STEP_LOG, 2, 4);
    b.hidden = take(&l, m, hp->n_embd, 4);
    b.normed = take(&l, m, widest_input(hp), 4);
    b.codes_ld = quantized_ld(widest_input(hp));
    b.codes = take(&l, m, b.codes_ld, 1);
    b.scale = take(&l, m, 1, 4);
    b.sum = take(&l, m, 1, 4);
    b.own_normed = take(&l, hp->has_linear_norm ? m : 0, widest_input(hp), 4);
    b.lo_codes = take(&l, m, b.codes_ld, 1);
    b.lo_scale = take(&l, m, 1, 4);
    b.lo_sum = take(&l, m, 1, 4);
    b.qkv = take(&l, m, qkv_dim(hp), 4);
    b.attention = take(&l, m, q_dim(hp), 4);
    b.gate_up = take(&l, shape->gates_apart ? m : 0, 2 * (uint64_t)hp->n_ff, 4);
    b.gated = take(&l, m, hp->n_ff, 4);
    b.projected = take(&l, m, hp->n_embd, 4);
    b.out_hidden = take(&l, shape->n_logits > 0 ? m : 0, hp->n_embd, 4);
    b.logits = take(&l, shape->n_logits, hp->n_vocab, 4);
    b.best_ids = take(&l, shape->n_logits, shape->n_best, 4);
    b.best_values = take(&l, shape->n_logits, shape->n_best, 4);
    if (l.overflow)
        return error_set(err, TERN_LIMIT, "the workspace of %u rows at a time is too large; use a smaller batch (-b)",
                         shape->n_batch);
    b.n_bytes = (size_t)l.offset;
    *out = b;
    return TERN_OK;
}

uint32_t step_logit_rows(const hparams *hp, uint32_t n_batch)
{
    uint64_t rows = ((uint64_t)64 << 20) / ((uint64_t)hp->n_vocab * 4);
    if (rows < 1) rows = 1;
    return rows < n_batch ? (uint32_t)rows : n_batch;
}

// ---------------------------------------------------------------------------------------------------------------- ops

static tern_status enqueue(const step *s, op *o, tern_error *err)
{
    o->flag = s->buffers.flag;
    tern_status status = s->r->backend->enqueue(s->r->stream, o, err);
    if (status != TERN_OK) {
        char place[64];
        step_place_name(s->hp, o->place, place, sizeof place);
        error_prefix(err, "%s (%s)", place, op_kind_name(o->kind));
    }
    return status;
}

static op make_op(op_kind kind, uint32_t m, uint32_t layer, step_place place)
{
    return (op){.kind = kind, .m = m, .place = layer << 8 | (uint32_t)place};
}

// The input of a product: quantised for the integer one, fp32 for the dense one.
typedef struct operand {
    quantized q;
    view x;
    uint32_t ld_x;
} operand;

typedef enum operand_form { FORM_INT8, FORM_INT8X2, FORM_FLOAT, FORM_COUNT } operand_form;

// INT8 and INT4 weights, of which products are exact sums whatever the model's activation mode.
static bool is_integer(const linear *w, uint32_t part)
{
    return !w->is_ternary[part] && dense_is_integer(w->type[part]);
}

// How the input of a part enters its product, by its weights and the model's activation mode.
static operand_form form_of(const linear *w, uint32_t part, act_quant quant)
{
    if (is_integer(w, part)) return FORM_INT8X2;
    if (!w->is_ternary[part] || quant == ACT_QUANT_F32) return FORM_FLOAT;
    return quant == ACT_QUANT_INT8X2 ? FORM_INT8X2 : FORM_INT8;
}

// Where an input comes from: rows x [m, n], through the norm g when it is given.
typedef struct source_rows {
    view x, g;
    uint32_t n, ld_x;
    float eps;
    view normed; // fp32 result of the norm, where one is needed
} source_rows;

static tern_status make_operand(const step *s, uint32_t m, uint32_t layer, step_place place, const source_rows *from,
                                operand_form form, operand *out, tern_error *err)
{
    const step_buffers *b = &s->buffers;
    bool has_norm = from->g.buffer != NULL;
    *out = (operand){.x = from->x, .ld_x = from->ld_x};
    out->q = (quantized){.codes = b->codes, .scale = b->scale, .sum = b->sum, .ld = quantized_ld(from->n)};
    op o = make_op(OP_QUANT, m, layer, place);
    if (form == FORM_INT8 && has_norm) {
        o.kind = OP_NORM_QUANT;
        o.norm_quant = (op_norm_quant){
            .x = from->x, .g = from->g, .y = out->q, .n = from->n, .ld_x = from->ld_x, .eps = from->eps};
        return enqueue(s, &o, err);
    }
    if (has_norm) {
        op norm = make_op(OP_NORM, m, layer, place);
        norm.norm = (op_norm){.x = from->x,
                              .g = from->g,
                              .y = from->normed,
                              .n = from->n,
                              .ld_x = from->ld_x,
                              .ld_y = from->n,
                              .eps = from->eps};
        tern_status status = enqueue(s, &norm, err);
        if (status != TERN_OK) return status;
        out->x = from->normed;
        out->ld_x = from->n;
    }
    if (form == FORM_FLOAT) return TERN_OK;
    if (form == FORM_INT8X2) {
        o.kind = OP_QUANT2;
        out->q.lo_codes = b->lo_codes;
        out->q.lo_scale = b->lo_scale;
        out->q.lo_sum = b->lo_sum;
    }
    o.quant = (op_quant){.x = out->x, .y = out->q, .n = from->n, .ld_x = out->ld_x};
    return enqueue(s, &o, err);
}

static tern_status product(const step *s, uint32_t m, uint32_t layer, step_place place, const linear *matrix,
                           uint32_t part, operand_form form, const operand *x, view y, uint32_t ld_y,
                           mm_epilogue epilogue, tern_error *err)
{
    bool uses_blas = s->r->uses_blas;
    const weights *w = matrix->part[part];
    op o = make_op(is_integer(matrix, part) ? OP_INT_MM
                   : form != FORM_FLOAT     ? OP_TERNARY_MM
                   : uses_blas              ? OP_BLAS_MM
                                            : OP_DENSE_MM,
                   m, layer, place);
    if (o.kind == OP_INT_MM)
        o.int_mm = (op_int_mm){.w = w, .x = x->q, .y = y, .ld_y = ld_y, .check_finite = place == PLACE_HEAD};
    else if (form == FORM_FLOAT)
        o.dense_mm = (op_dense_mm){.w = w,
                                   .x = x->x,
                                   .y = y,
                                   .ld_x = x->ld_x,
                                   .ld_y = ld_y,
                                   .check_finite = place == PLACE_HEAD && !uses_blas};
    else
        o.ternary_mm = (op_ternary_mm){.w = w, .x = x->q, .y = y, .ld_y = ld_y, .epilogue = epilogue};
    return enqueue(s, &o, err);
}

// y [m, ld_y] = w of x [m, ld_x], through the norm g when it is given; the parts of w side by side. Each form of the
// input that some part needs is made once, except where every part has a norm of its own. An epilogue but STORE only
// where every product is ternary.
static tern_status apply_linear(const step *s, uint32_t m, uint32_t layer, step_place in, step_place out, view x,
                                uint32_t ld_x, view g, const linear *w, act_quant quant, view y, uint32_t ld_y,
                                mm_epilogue epilogue, tern_error *err)
{
    source_rows from = {
        .x = x, .g = g, .n = w->n_cols, .ld_x = ld_x, .eps = s->hp->norm_eps, .normed = s->buffers.normed};
    operand operands[FORM_COUNT];
    bool made[FORM_COUNT] = {false};
    tern_status status = TERN_OK;
    for (uint32_t i = 0; i < w->n_parts && status == TERN_OK; i++) {
        operand_form form = form_of(w, i, quant);
        if (w->norm[i].buffer != NULL) {
            if (!made[FORM_FLOAT])
                status = make_operand(s, m, layer, in, &from, FORM_FLOAT, &operands[FORM_FLOAT], err);
            made[FORM_FLOAT] = true;
            source_rows own = {.x = operands[FORM_FLOAT].x,
                               .g = w->norm[i],
                               .n = w->n_cols,
                               .ld_x = operands[FORM_FLOAT].ld_x,
                               .eps = s->hp->linear_norm_eps,
                               .normed = s->buffers.own_normed};
            operand input;
            if (status == TERN_OK) status = make_operand(s, m, layer, in, &own, form, &input, err);
            if (status == TERN_OK) status = product(s, m, layer, out, w, i, form, &input, y, ld_y, epilogue, err);
        } else {
            if (!made[form]) status = make_operand(s, m, layer, in, &from, form, &operands[form], err);
            made[form] = true;
            if (status == TERN_OK)
                status = product(s, m, layer, out, w, i, form, &operands[form], y, ld_y, epilogue, err);
        }
        y.offset += (size_t)w->n_rows[i] * sizeof(float);
    }
    return status;
}

// The norm of each head of q, then of k, in place.
static tern_status norm_heads(const step *s, uint32_t m, uint32_t layer, tern_error *err)
{
    const hparams *hp = s->hp;
    const resident_layer *w = &s->r->layers[layer - s->r->first_layer];
    op o = make_op(OP_HEAD_NORM, m, layer, PLACE_QK_NORM);
    o.head_norm = (op_head_norm){.x = s->buffers.qkv,
                                 .g = w->q_norm,
                                 .n_heads = hp->n_heads,
                                 .head_dim = hp->head_dim,
                                 .ld_x = qkv_dim(hp),
                                 .eps = hp->norm_eps};
    tern_status status = enqueue(s, &o, err);
    o.head_norm.x.offset += (size_t)q_dim(hp) * sizeof(float);
    o.head_norm.g = w->k_norm;
    o.head_norm.n_heads = hp->n_kv_heads;
    return status == TERN_OK ? enqueue(s, &o, err) : status;
}

static bool is_all_ternary(const linear *w, act_quant quant)
{
    for (uint32_t i = 0; i < w->n_parts; i++)
        if (is_integer(w, i) || form_of(w, i, quant) == FORM_FLOAT) return false;
    return true;
}

// hidden += w of x, through the norm g when it is given: the product adds by itself, or its result is added.
static tern_status apply_to_hidden(const step *s, uint32_t m, uint32_t layer, step_place in, step_place out,
                                   step_place residual, view x, view g, const linear *w, tern_error *err)
{
    const step_buffers *b = &s->buffers;
    uint32_t n = s->hp->n_embd;
    bool adds = is_all_ternary(w, s->hp->quant);
    tern_status status = apply_linear(s, m, layer, in, out, x, w->n_cols, g, w, s->hp->quant,
                                      adds ? b->hidden : b->projected, n, adds ? EPILOGUE_ADD : EPILOGUE_STORE, err);
    if (status != TERN_OK || adds) return status;
    op o = make_op(OP_RESIDUAL, m, layer, residual);
    o.residual = (op_residual){.h = b->hidden, .y = b->projected, .n = n, .ld_h = n, .ld_y = n};
    return enqueue(s, &o, err);
}

static kv_cache layer_cache(const step *s, uint32_t layer)
{
    return (kv_cache){.blocks = {s->kv[layer - s->r->first_layer], 0},
                      .n_blocks = s->shape.n_blocks,
                      .n_kv_heads = s->hp->n_kv_heads,
                      .head_dim = s->hp->head_dim,
                      .k_type = s->shape.k_type,
                      .v_type = s->shape.v_type};
}

static kv_rows step_rows(const step *s)
{
    const step_buffers *b = &s->buffers;
    return (kv_rows){
        .row_table = b->row_table, .row_position = b->row_position, .tables = b->tables, .table_ld = s->shape.table_ld};
}

static op attention_op(const step *s, uint32_t m, uint32_t layer)
{
    const hparams *hp = s->hp;
    bool is_fast = s->fast_attention && m >= FAST_ATTENTION_WINDOW;
    op o = make_op(is_fast ? OP_FAST_ATTENTION : OP_ATTENTION, m, layer, PLACE_ATTENTION);
    o.attention = (op_attention){.q = s->buffers.qkv,
                                 .y = s->buffers.attention,
                                 .rows = step_rows(s),
                                 .cache = layer_cache(s, layer),
                                 .n_heads = hp->n_heads,
                                 .ld_q = qkv_dim(hp),
                                 .ld_y = q_dim(hp)};
    return o;
}

tern_status step_check(const step *s, tern_error *err)
{
    const char *reason = "";
    if (!s->fast_attention) return TERN_OK;
    op o = attention_op(s, FAST_ATTENTION_WINDOW, s->r->first_layer);
    if (s->r->backend->supports(s->r->device, &o, &reason)) return TERN_OK;
    return error_set(err, TERN_DEVICE_UNSUPPORTED, "%s: %s", op_kind_name(o.kind), reason);
}

// h += W_o [sub_norm] attention(rope(W_qkv norm(h)))
static tern_status attention_half(const step *s, uint32_t m, uint32_t layer, tern_error *err)
{
    const hparams *hp = s->hp;
    const step_buffers *b = &s->buffers;
    const resident_layer *w = &s->r->layers[layer - s->r->first_layer];
    tern_status status = apply_linear(s, m, layer, PLACE_ATTN_NORM, PLACE_QKV, b->hidden, hp->n_embd, w->attn_norm,
                                      &w->qkv, hp->quant, b->qkv, qkv_dim(hp), EPILOGUE_STORE, err);
    if (status == TERN_OK && hp->has_qk_norm) status = norm_heads(s, m, layer, err);
    if (status == TERN_OK) {
        op o = make_op(OP_ROPE_KV, m, layer, PLACE_ROPE_KV);
        o.rope_kv = (op_rope_kv){.x = b->qkv,
                                 .rope = {s->r->rope, 0},
                                 .rows = step_rows(s),
                                 .cache = layer_cache(s, layer),
                                 .n_heads = hp->n_heads,
                                 .n_dims = hp->rope.n_dims,
                                 .ld_x = qkv_dim(hp),
                                 .adjacent = hp->rope.style == ROPE_ADJACENT};
        status = enqueue(s, &o, err);
    }
    if (status == TERN_OK) {
        op o = attention_op(s, m, layer);
        status = enqueue(s, &o, err);
    }
    if (status == TERN_OK)
        status = apply_to_hidden(s, m, layer, PLACE_ATTN_SUB_NORM, PLACE_O, PLACE_ATTN_RESIDUAL, b->attention,
                                 w->attn_sub_norm, &w->o, err);
    return status;
}

// gated = gate(W_gate_up norm(h)): the product gates by itself where its rows are by turns.
static tern_status gate_up(const step *s, uint32_t m, uint32_t layer, const resident_layer *w, tern_error *err)
{
    const hparams *hp = s->hp;
    const step_buffers *b = &s->buffers;
    bool is_silu = hp->act == ACTIVATION_SILU;
    mm_epilogue epilogue = is_silu ? EPILOGUE_SILU : EPILOGUE_RELU2;
    if (w->gate_up.is_by_turns)
        return apply_linear(s, m, layer, PLACE_FFN_NORM, PLACE_GATE_UP, b->hidden, hp->n_embd, w->ffn_norm, &w->gate_up,
                            hp->quant, b->gated, hp->n_ff, epilogue, err);
    tern_status status = apply_linear(s, m, layer, PLACE_FFN_NORM, PLACE_GATE_UP, b->hidden, hp->n_embd, w->ffn_norm,
                                      &w->gate_up, hp->quant, b->gate_up, 2 * hp->n_ff, EPILOGUE_STORE, err);
    if (status != TERN_OK) return status;
    op o = make_op(OP_GATE, m, layer, PLACE_GATE);
    o.gate = (op_gate){
        .x = b->gate_up, .y = b->gated, .n = hp->n_ff, .ld_x = 2 * hp->n_ff, .ld_y = hp->n_ff, .is_silu = is_silu};
    return enqueue(s, &o, err);
}

// h += W_down [sub_norm] gate(W_gate_up norm(h))
static tern_status ffn_half(const step *s, uint32_t m, uint32_t layer, tern_error *err)
{
    const step_buffers *b = &s->buffers;
    const resident_layer *w = &s->r->layers[layer - s->r->first_layer];
    tern_status status = gate_up(s, m, layer, w, err);
    if (status == TERN_OK)
        status = apply_to_hidden(s, m, layer, PLACE_FFN_SUB_NORM, PLACE_DOWN, PLACE_FFN_RESIDUAL, b->gated,
                                 w->ffn_sub_norm, &w->down, err);
    return status;
}

static tern_status embed(const step *s, uint32_t m, tern_error *err)
{
    op o = make_op(OP_EMBED, m, 0, PLACE_EMBED);
    o.embed = (op_embed){
        .table = s->r->embedding, .ids = s->buffers.ids, .y = s->buffers.hidden, .ld_y = s->hp->n_embd};
    return enqueue(s, &o, err);
}

// Layer i of the resident.
static tern_status layer_ops(const step *s, uint32_t m, uint32_t i, tern_error *err)
{
    if (s->cancel != NULL && __atomic_load_n(s->cancel, __ATOMIC_RELAXED))
        return error_set(err, TERN_CANCELLED, "evaluation was cancelled");
    uint32_t layer = s->r->first_layer + i;
    tern_status status = layer_stream_before(s->r, i, err);
    if (status == TERN_OK) status = attention_half(s, m, layer, err);
    if (status == TERN_OK) status = ffn_half(s, m, layer, err);
    return status == TERN_OK ? layer_stream_after(s->r, i, err) : status;
}

tern_status step_layers(const step *s, uint32_t m, uint32_t n_out, tern_error *err)
{
    const hparams *hp = s->hp;
    const step_buffers *b = &s->buffers;
    tern_status status = s->r->backend->buffer_fill(s->r->stream, b->flag, 0xff, 4, err);
    if (status == TERN_OK && s->r->embedding != NULL) status = embed(s, m, err);
    if (status != TERN_OK) return status;
    status = layer_stream_begin(s->r, err);
    for (uint32_t i = 0; i < s->r->n_layers && status == TERN_OK; i++) status = layer_ops(s, m, i, err);
    layer_stream_end(s->r);
    if (status == TERN_OK && n_out > 0) {
        op o = make_op(OP_GATHER, n_out, hp->n_layers, PLACE_OUTPUT_NORM);
        o.gather = (op_gather){.x = b->hidden,
                               .index = b->out_index,
                               .y = b->out_hidden,
                               .n = hp->n_embd,
                               .ld_x = hp->n_embd,
                               .ld_y = hp->n_embd};
        status = enqueue(s, &o, err);
    }
    return status;
}

// Gives the best logits of n rows, chosen by those of the int4 head, the values of the stored head. Its input is what
// the int4 head's was made of: the normed rows.
static tern_status rescore_best(const step *s, uint32_t n, tern_error *err)
{
    const hparams *hp = s->hp;
    const step_buffers *b = &s->buffers;
    uint32_t k = s->shape.n_best < s->n_valid ? s->shape.n_best : s->n_valid;
    op top = make_op(OP_TOP_K, n, hp->n_layers, PLACE_RESCORE);
    top.top_k = (op_top_k){
        .x = b->logits, .ids = b->best_ids, .values = b->best_values, .n = s->n_valid, .ld_x = hp->n_vocab, .k = k};
    op o = make_op(OP_RESCORE, n, hp->n_layers, PLACE_RESCORE);
    o.rescore = (op_rescore){.w = s->r->stored_head,
                             .x = b->normed,
                             .ids = b->best_ids,
                             .y = b->logits,
                             .ld_x = hp->n_embd,
                             .ld_y = hp->n_vocab,
                             .k = k};
    tern_status status = enqueue(s, &top, err);
    return status == TERN_OK ? enqueue(s, &o, err) : status;
}

// Heads were not trained on int8 inputs: a ternary one takes two terms at least.
static act_quant head_quant(const hparams *hp) { return hp->quant == ACT_QUANT_INT8 ? ACT_QUANT_INT8X2 : hp->quant; }

tern_status step_head(const step *s, uint32_t first, uint32_t n, tern_error *err)
{
    const hparams *hp = s->hp;
    view rows = s->buffers.out_hidden;
    rows.offset += (size_t)first * hp->n_embd * sizeof(float);
    tern_status status = apply_linear(s, n, hp->n_layers, PLACE_OUTPUT_NORM, PLACE_HEAD, rows, hp->n_embd,
                                      s->r->output_norm, &s->r->head, head_quant(hp), s->buffers.logits, hp->n_vocab,
                                      EPILOGUE_STORE, err);
    return status == TERN_OK && s->r->stored_head != NULL ? rescore_best(s, n, err) : status;
}

static op best_op(const step *s, uint32_t k)
{
    op o = make_op(OP_DENSE_TOP_K, 1, s->hp->n_layers, PLACE_HEAD);
    o.dense_top_k = (op_dense_top_k){.w = s->r->head.part[0],
                                     .ids = s->buffers.top_ids,
                                     .values = s->buffers.top_values,
                                     .n = s->n_valid,
                                     .ld_x = s->hp->n_embd,
                                     .k = k};
    return o;
}

bool step_has_best(const step *s)
{
    const resident *r = s->r;
    const linear *head = &r->head;
    const char *reason;
    if (r->uses_blas || r->stored_head != NULL || head->n_parts != 1 || head->norm[0].buffer != NULL) return false;
    if (form_of(head, 0, head_quant(s->hp)) != FORM_FLOAT) return false;
    op o = best_op(s, 1);
    return r->backend->supports(r->device, &o, &reason);
}

tern_status step_best(const step *s, uint32_t k, tern_error *err)
{
    const hparams *hp = s->hp;
    const source_rows from = {.x = s->buffers.out_hidden,
                              .g = s->r->output_norm,
                              .n = hp->n_embd,
                              .ld_x = hp->n_embd,
                              .eps = hp->norm_eps,
                              .normed = s->buffers.normed};
    operand x;
    tern_status status = make_operand(s, 1, hp->n_layers, PLACE_OUTPUT_NORM, &from, FORM_FLOAT, &x, err);
    if (status != TERN_OK) return status;
    op o = best_op(s, k);
    o.dense_top_k.x = x.x;
    return enqueue(s, &o, err);
}

tern_status step_top(const step *s, uint32_t row, uint32_t k, tern_error *err)
{
    const step_buffers *b = &s->buffers;
    view logits = b->logits;
    logits.offset += (size_t)row * s->hp->n_vocab * sizeof(float);
    op o = make_op(OP_TOP_K, 1, s->hp->n_layers, PLACE_TOP);
    o.top_k = (op_top_k){
        .x = logits, .ids = b->top_ids, .values = b->top_values, .n = s->n_valid, .ld_x = s->hp->n_vocab, .k = k};
    return enqueue(s, &o, err);
}

tern_status step_advance(const step *s, tern_error *err)
{
    const step_buffers *b = &s->buffers;
    op o = make_op(OP_ADVANCE, 1, s->hp->n_layers, PLACE_TOP);
    o.advance = (op_advance){.chosen = b->top_ids,
                             .ids = b->ids,
                             .position = b->row_position,
                             .log = b->log,
                             .ld_chosen = 1,
                             .n_ids = s->n_valid,
                             .n_log = STEP_LOG};
    return enqueue(s, &o, err);
}
