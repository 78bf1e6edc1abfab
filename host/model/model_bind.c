// From tensor names to the places of a model (formats.md 1.9, 3.8): presence, shape and type of each, and a refusal of
// every tensor that has no place, because a tensor left out would change the arithmetic without a word.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_internal.h"

const layer_slot layer_slots[N_LAYER_SLOTS] = {
    {"attn_norm", "input_layernorm", NULL, offsetof(layer_source, attn_norm), false, false, WIDTH_EMBD, WIDTH_EMBD},
    {"attn_sub_norm", "self_attn.attn_sub_norm", "self_attn.inner_attn_ln", offsetof(layer_source, attn_sub_norm),
     false, true, WIDTH_ATTN, WIDTH_ATTN},
    {"ffn_norm", "post_attention_layernorm", NULL, offsetof(layer_source, ffn_norm), false, false, WIDTH_EMBD,
     WIDTH_EMBD},
    {"ffn_sub_norm", "mlp.ffn_sub_norm", "mlp.ffn_layernorm", offsetof(layer_source, ffn_sub_norm), false, true,
     WIDTH_FF, WIDTH_FF},
    {"attn_q", "self_attn.q_proj", NULL, offsetof(layer_source, q), true, false, WIDTH_ATTN, WIDTH_EMBD},
    {"attn_k", "self_attn.k_proj", NULL, offsetof(layer_source, k), true, false, WIDTH_KV, WIDTH_EMBD},
    {"attn_v", "self_attn.v_proj", NULL, offsetof(layer_source, v), true, false, WIDTH_KV, WIDTH_EMBD},
    {"attn_output", "self_attn.o_proj", NULL, offsetof(layer_source, o), true, false, WIDTH_EMBD, WIDTH_ATTN},
    {"ffn_gate", "mlp.gate_proj", NULL, offsetof(layer_source, gate), true, false, WIDTH_FF, WIDTH_EMBD},
    {"ffn_up", "mlp.up_proj", NULL, offsetof(layer_source, up), true, false, WIDTH_FF, WIDTH_EMBD},
    {"ffn_down", "mlp.down_proj", NULL, offsetof(layer_source, down), true, false, WIDTH_EMBD, WIDTH_FF},
};

uint32_t layer_width_of(const hparams *hp, layer_width width)
{
    switch (width) {
    case WIDTH_EMBD: return hp->n_embd;
    case WIDTH_ATTN: return hp->n_heads * hp->head_dim;
    case WIDTH_KV: return hp->n_kv_heads * hp->head_dim;
    case WIDTH_FF: return hp->n_ff;
    }
    return 0;
}

typedef struct binder {
    const hparams *hp;
    const tensor_set *set;
    bool *is_used; // one per tensor
    bool is_gguf;
} binder;

static const tensor *take(binder *b, const char *name)
{
    const tensor *t = tensor_set_find(b->set, name);
    if (t != NULL) b->is_used[t - b->set->items] = true;
    return t;
}

static tern_status missing(const char *name, tern_error *err)
{
    return error_set(err, TERN_MALFORMED, "%s: the tensor is missing", name);
}

// "[2560, 6912]": out-features first, as frameworks print shapes.
static void print_shape(const tensor *t, char *out, size_t n)
{
    size_t at = (size_t)snprintf(out, n, "[");
    for (uint32_t i = t->n_dims; i > 0 && at < n; i--)
        at += (size_t)snprintf(out + at, n - at, "%llu%s", (unsigned long long)t->dims[i - 1], i > 1 ? ", " : "");
    if (at < n) snprintf(out + at, n - at, "]");
}

static tern_status check_shape(const tensor *t, uint32_t rows, uint32_t cols, tern_error *err)
{
    if (t->dims[0] == cols && t->dims[1] == rows && t->dims[2] == 1 && t->dims[3] == 1) return TERN_OK;
    char shape[100];
    print_shape(t, shape, sizeof shape);
    return error_set(err, TERN_MALFORMED, "%s: expected [%u, %u], file has %s", t->name, rows, cols, shape);
}

static tern_status bind_norm(const tensor *t, uint32_t n, tensor_ref *out, tern_error *err)
{
    if (t->dims[0] != n || t->dims[1] != 1 || t->dims[2] != 1 || t->dims[3] != 1) {
        char shape[100];
        print_shape(t, shape, sizeof shape);
        return error_set(err, TERN_MALFORMED, "%s: expected [%u], file has %s", t->name, n, shape);
    }
    if (t->type != TENSOR_F32 && t->type != TENSOR_F16 && t->type != TENSOR_BF16)
        return error_set(err, TERN_UNSUPPORTED, "%s: type %s; norms are supported in F32, F16 and BF16", t->name,
                         t->type_name);
    out->tensor = t;
    return TERN_OK;
}

static bool find_dense_type(tensor_type type, dense_type *out)
{
    switch (type) {
    case TENSOR_F32: *out = DENSE_F32; return true;
    case TENSOR_F16: *out = DENSE_F16; return true;
    case TENSOR_BF16: *out = DENSE_BF16; return true;
    case TENSOR_Q8_0: *out = DENSE_Q8_0; return true;
    case TENSOR_Q4_0: *out = DENSE_Q4_0; return true;
    case TENSOR_Q4_K: *out = DENSE_Q4_K; return true;
    case TENSOR_Q6_K: *out = DENSE_Q6_K; return true;
    default: return false;
    }
}

static tern_status bind_dense(const tensor *t, matrix_source *out, tern_error *err)
{
    if (!find_dense_type(t->type, &out->dense))
        return error_set(err, TERN_UNSUPPORTED,
                         "%s: type %s is not supported here; F32, F16, BF16, Q8_0, Q4_0, Q4_K and Q6_K are", t->name,
                         t->type_name);
    out->encoding = MATRIX_DENSE;
    return check_shape(t, out->n_rows, out->n_cols, err);
}

static tern_status bind_gguf_linear(const tensor *t, matrix_source *out, tern_error *err)
{
    if (t->type == TENSOR_OTHER || t->type == TENSOR_U8)
        return error_set(
            err, TERN_UNSUPPORTED,
            "%s: type %s is not supported; I2_S, TQ1_0, TQ2_0, F32, F16, BF16, Q8_0, Q4_0, Q4_K and Q6_K are", t->name,
            t->type_name);
    if (!tensor_type_is_ternary(t->type)) return bind_dense(t, out, err);
    out->encoding = t->type == TENSOR_I2_S ? MATRIX_I2_S : t->type == TENSOR_TQ1_0 ? MATRIX_TQ1_0 : MATRIX_TQ2_0;
    if (t->type == TENSOR_I2_S && (uint64_t)out->n_rows * out->n_cols % 128 != 0)
        return error_set(err, TERN_UNSUPPORTED, "%s: I2_S with %llu elements, which is no multiple of its group of 128",
                         t->name, (unsigned long long)out->n_rows * out->n_cols);
    return check_shape(t, out->n_rows, out->n_cols, err);
}

// Packed weights with their scale beside them.
static tern_status bind_packed(binder *b, const tensor *t, matrix_source *out, tern_error *err)
{
    char name[300];
    if (!b->hp->hf_is_bitnet || b->hp->hf_online)
        return error_set(
            err, TERN_UNSUPPORTED,
            "%s: packed U8 weights, but config.json does not say quant_method bitnet, quantization_mode offline",
            t->name);
    snprintf(name, sizeof name, "%s_scale", t->name);
    out->scale = take(b, name);
    if (out->scale == NULL) return missing(name, err);
    uint64_t n_scales = out->scale->dims[0] * out->scale->dims[1] * out->scale->dims[2] * out->scale->dims[3];
    if (n_scales != 1 || out->scale->n_dims > 2) {
        char shape[100];
        print_shape(out->scale, shape, sizeof shape);
        return error_set(err, TERN_UNSUPPORTED, "%s: expected [1], file has %s", name, shape);
    }
    if (out->scale->type != TENSOR_F32 && out->scale->type != TENSOR_F16 && out->scale->type != TENSOR_BF16)
        return error_set(err, TERN_UNSUPPORTED, "%s: type %s; F32, F16 and BF16 are supported", name,
                         out->scale->type_name);
    out->encoding = MATRIX_HF_PACKED;
    out->divide = b->hp->hf_divide;
    return check_shape(t, out->n_rows / 4 + (out->n_rows % 4 != 0), out->n_cols, err);
}

static tern_status bind_hf_linear(binder *b, const tensor *t, matrix_source *out, tern_error *err)
{
    if (t->type == TENSOR_U8) return bind_packed(b, t, out, err);
    tern_status status = bind_dense(t, out, err);
    if (status == TERN_OK && b->hp->hf_online) out->encoding = MATRIX_HF_MASTER;
    return status;
}

static tern_status bind_matrix(binder *b, const char *name, uint32_t rows, uint32_t cols, bool is_linear,
                               matrix_source *out, tern_error *err)
{
    const tensor *t = take(b, name);
    if (t == NULL) return missing(name, err);
    matrix_source m = {.n_rows = rows, .n_cols = cols, .weights = t, .n_bytes = t->n_bytes};
    snprintf(m.name, sizeof m.name, "%s", name);
    tern_status status = !is_linear   ? bind_dense(t, &m, err)
                         : b->is_gguf ? bind_gguf_linear(t, &m, err)
                                      : bind_hf_linear(b, t, &m, err);
    if (status == TERN_OK) *out = m;
    return status;
}

static void layer_name(const binder *b, uint32_t layer, const char *part, char *out, size_t n)
{
    snprintf(out, n, b->is_gguf ? "blk.%u.%s.weight" : "model.layers.%u.%s.weight", layer, part);
}

static tern_status bind_slot(binder *b, uint32_t index, const layer_slot *slot, layer_source *layer, tern_error *err)
{
    char name[96];
    layer_name(b, index, b->is_gguf ? slot->gguf : slot->hf, name, sizeof name);
    if (!b->is_gguf && slot->hf_old != NULL && tensor_set_find(b->set, name) == NULL)
        layer_name(b, index, slot->hf_old, name, sizeof name);
    uint32_t rows = layer_width_of(b->hp, slot->rows);
    void *place = (char *)layer + slot->offset;
    if (slot->is_matrix) return bind_matrix(b, name, rows, layer_width_of(b->hp, slot->cols), true, place, err);
    if (slot->is_sub_norm && !b->hp->has_sub_norm) return TERN_OK;
    const tensor *t = take(b, name);
    if (t == NULL) return missing(name, err);
    return bind_norm(t, rows, place, err);
}

static bool ends_with(const char *text, const char *ending)
{
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}

// Tensors without a place: tables that follow from the hyper-parameters are ignored, everything else is refused.
static tern_status refuse_unused(const binder *b, tern_error *err)
{
    for (size_t i = 0; i < b->set->n; i++) {
        const char *name = b->set->items[i].name;
        if (b->is_used[i] || ends_with(name, "rotary_emb.inv_freq")) continue;
        return error_set(
            err, TERN_UNSUPPORTED,
            "%s: this build has no place for the tensor in a %s model; leaving it out could change the results", name,
            b->hp->architecture);
    }
    return TERN_OK;
}

// "I2_S x210, F16 x1, F32 x121": ternary types first, then in file order.
static void print_formats(const tensor_set *set, char *out, size_t n)
{
    size_t at = 0;
    out[0] = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < set->n; i++) {
            const char *type = set->items[i].type_name;
            bool is_packed = tensor_type_is_ternary(set->items[i].type) || set->items[i].type == TENSOR_U8;
            if (is_packed != (pass == 0)) continue;
            size_t count = 0;
            bool is_first = true;
            for (size_t j = 0; j < set->n; j++) {
                if (strcmp(set->items[j].type_name, type) != 0) continue;
                if (j < i) {
                    is_first = false;
                    break;
                }
                count++;
            }
            if (is_first && at < n)
                at += (size_t)snprintf(out + at, n - at, "%s%s x%zu", at > 0 ? ", " : "", type, count);
        }
}

static tern_status bind_all(binder *b, model_source *m, tern_error *err)
{
    const hparams *hp = &m->hp;
    const char *norm_name = b->is_gguf ? "output_norm.weight" : "model.norm.weight";
    tern_status status = bind_matrix(b, b->is_gguf ? "token_embd.weight" : "model.embed_tokens.weight", hp->n_vocab,
                                     hp->n_embd, false, &m->embedding, err);
    if (status != TERN_OK) return status;
    if (hp->is_tied) {
        m->head = m->embedding;
        take(b, "lm_head.weight"); // a tied checkpoint may carry a copy
    } else {
        status = bind_matrix(b, b->is_gguf ? "output.weight" : "lm_head.weight", hp->n_vocab, hp->n_embd, false,
                             &m->head, err);
        if (status != TERN_OK) return status;
    }
    const tensor *norm = take(b, norm_name);
    if (norm == NULL) return missing(norm_name, err);
    status = bind_norm(norm, hp->n_embd, &m->output_norm, err);
    for (uint32_t l = 0; l < hp->n_layers && status == TERN_OK; l++)
        for (size_t s = 0; s < N_LAYER_SLOTS && status == TERN_OK; s++)
            status = bind_slot(b, l, &layer_slots[s], &m->layers[l], err);
    if (status == TERN_OK && b->is_gguf) take(b, "rope_freqs.weight"); // read by the opener
    return status == TERN_OK ? refuse_unused(b, err) : status;
}

static bool has_ternary(const model_source *m)
{
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        for (size_t s = 0; s < N_LAYER_SLOTS; s++)
            if (layer_slots[s].is_matrix &&
                matrix_is_ternary(
                    (const matrix_source *)(const void *)((const char *)&m->layers[l] + layer_slots[s].offset)))
                return true;
    return false;
}

tern_status model_bind(model_source *m, const tensor_set *set, bool is_gguf, tern_error *err)
{
    // A layer has more tensors than one, so the count of layers is bounded by what the file holds before memory is
    // taken.
    if (m->hp.n_layers > set->n)
        return error_set(err, TERN_MALFORMED, "%u layers, but the file has only %zu tensors", m->hp.n_layers, set->n);
    binder b = {.hp = &m->hp, .set = set, .is_gguf = is_gguf};
    b.is_used = calloc(set->n + 1, sizeof *b.is_used);
    m->layers = calloc(m->hp.n_layers, sizeof *m->layers);
    tern_status status = b.is_used == NULL || m->layers == NULL
                             ? error_set(err, TERN_HOST_MEMORY, "no memory for the layers")
                             : bind_all(&b, m, err);
    free(b.is_used);
    if (status != TERN_OK) return status;
    print_formats(set, m->formats, sizeof m->formats);
    if (!has_ternary(m))
        snprintf(m->hp.act_quant_reason, sizeof m->hp.act_quant_reason, "no linear layer is stored as trits");
    return TERN_OK;
}
