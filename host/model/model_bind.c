// From tensor names to the places of a model (FORMATS.md 1.9, 3.8): presence, shape and type of each, and a refusal of
// every tensor that has no place, because a tensor left out would change the arithmetic without a word.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_types.h"
#include "model_internal.h"

#define NORM(field, gguf, hf, hf_old, kind, width)                                                                     \
    {                                                                                                                  \
        gguf, hf, hf_old, offsetof(layer_source, field), kind, width, width                                            \
    }
#define LINEAR(field, gguf, hf, rows, cols)                                                                            \
    {                                                                                                                  \
        gguf, hf, NULL, offsetof(layer_source, field), SLOT_MATRIX, rows, cols                                         \
    }

const layer_slot layer_slots[N_LAYER_SLOTS] = {
    NORM(attn_norm, "attn_norm", "input_layernorm", NULL, SLOT_NORM, WIDTH_EMBD),
    NORM(attn_sub_norm, "attn_sub_norm", "self_attn.attn_sub_norm", "self_attn.inner_attn_ln", SLOT_SUB_NORM,
         WIDTH_ATTN),
    NORM(ffn_norm, "ffn_norm", "post_attention_layernorm", NULL, SLOT_NORM, WIDTH_EMBD),
    NORM(ffn_sub_norm, "ffn_sub_norm", "mlp.ffn_sub_norm", "mlp.ffn_layernorm", SLOT_SUB_NORM, WIDTH_FF),
    LINEAR(q, "attn_q", "self_attn.q_proj", WIDTH_ATTN, WIDTH_EMBD),
    LINEAR(k, "attn_k", "self_attn.k_proj", WIDTH_KV, WIDTH_EMBD),
    LINEAR(v, "attn_v", "self_attn.v_proj", WIDTH_KV, WIDTH_EMBD),
    LINEAR(o, "attn_output", "self_attn.o_proj", WIDTH_EMBD, WIDTH_ATTN),
    LINEAR(gate, "ffn_gate", "mlp.gate_proj", WIDTH_FF, WIDTH_EMBD),
    LINEAR(up, "ffn_up", "mlp.up_proj", WIDTH_FF, WIDTH_EMBD),
    LINEAR(down, "ffn_down", "mlp.down_proj", WIDTH_EMBD, WIDTH_FF),
    NORM(q_norm, "attn_q_norm", "self_attn.q_norm", NULL, SLOT_HEAD_NORM, WIDTH_HEAD),
    NORM(k_norm, "attn_k_norm", "self_attn.k_norm", NULL, SLOT_HEAD_NORM, WIDTH_HEAD),
};

uint32_t layer_width_of(const hparams *hp, layer_width width)
{
    switch (width) {
    case WIDTH_EMBD: return hp->n_embd;
    case WIDTH_ATTN: return hp->n_heads * hp->head_dim;
    case WIDTH_KV: return hp->n_kv_heads * hp->head_dim;
    case WIDTH_FF: return hp->n_ff;
    case WIDTH_HEAD: return hp->head_dim;
    }
    return 0;
}

bool layer_has_slot(const hparams *hp, const layer_slot *slot)
{
    return slot->kind == SLOT_SUB_NORM ? hp->has_sub_norm : slot->kind == SLOT_HEAD_NORM ? hp->has_qk_norm : true;
}

typedef struct binder {
    const hparams *hp;
    const tensor_set *set;
    bool *is_used; // one per tensor
    bool is_gguf;
    tern_i2s_layout i2s_layout;
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
    case TENSOR_Q5_K: *out = DENSE_Q5_K; return true;
    case TENSOR_Q6_K: *out = DENSE_Q6_K; return true;
    default: return false;
    }
}

static tern_status refuse_type(const tensor *t, const char *supported, tern_error *err)
{
    const char *advice = gguf_tensor_type_advice(t->type_name);
    return error_set(err, TERN_UNSUPPORTED, "%s: type %s is not supported; %s", t->name, t->type_name,
                     advice[0] != 0 ? advice : supported);
}

static tern_status bind_dense(const tensor *t, matrix_source *out, tern_error *err)
{
    if (!find_dense_type(t->type, &out->dense))
        return refuse_type(t, "F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q5_K and Q6_K are supported here", err);
    out->encoding = MATRIX_DENSE;
    return check_shape(t, out->n_rows, out->n_cols, err);
}

static bool find_ternary_encoding(tensor_type type, matrix_encoding *out)
{
    switch (type) {
    case TENSOR_I2_S: *out = MATRIX_I2_S; return true;
    case TENSOR_TQ1_0: *out = MATRIX_TQ1_0; return true;
    case TENSOR_TQ2_0: *out = MATRIX_TQ2_0; return true;
    case TENSOR_Q2_0_64: *out = MATRIX_Q2_0_64; return true;
    case TENSOR_Q2_0_128: *out = MATRIX_Q2_0_128; return true;
    case TENSOR_PTQ1_0: *out = MATRIX_PTQ1_0; return true;
    case TENSOR_IQ1_BN: *out = MATRIX_IQ1_BN; return true;
    case TENSOR_IQ2_BN: *out = MATRIX_IQ2_BN; return true;
    case TENSOR_IQ2_BN_R4: *out = MATRIX_IQ2_BN_R4; return true;
    default: return false;
    }
}

// Each packing of I2_S needs whole groups.
static tern_status check_i2s(const tensor *t, const matrix_source *m, tern_error *err)
{
    bool is_row4 = m->i2s_layout == TERN_I2S_ROW4;
    uint64_t unit = is_row4 ? 4 : m->i2s_layout == TERN_I2S_64 ? 64 : 128;
    uint64_t n = is_row4 ? m->n_rows : (uint64_t)m->n_rows * m->n_cols;
    if (n % unit == 0) return TERN_OK;
    return error_set(err, TERN_UNSUPPORTED, "%s: I2_S with %llu %s, which is no multiple of %s %llu", t->name,
                     (unsigned long long)n, is_row4 ? "rows" : "elements", is_row4 ? "the interleaved" : "its group of",
                     (unsigned long long)unit);
}

static tern_status bind_gguf_linear(const binder *b, const tensor *t, matrix_source *out, tern_error *err)
{
    if (t->type == TENSOR_OTHER || t->type == TENSOR_U8)
        return refuse_type(
            t,
            "ternary linears in I2_S, TQ1_0, TQ2_0, Q2_0, PQ2_0, PTQ1_0, IQ1_BN, IQ2_BN and IQ2_BN_R4 are, and "
            "floats in F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q5_K and Q6_K",
            err);
    if (!find_ternary_encoding(t->type, &out->encoding)) return bind_dense(t, out, err);
    out->i2s_layout = b->i2s_layout;
    tern_status status = out->encoding == MATRIX_I2_S ? check_i2s(t, out, err) : TERN_OK;
    return status == TERN_OK ? check_shape(t, out->n_rows, out->n_cols, err) : status;
}

// Embedding and head are dense, except that the Bonsai family stores them like its linears.
static tern_status bind_table(const tensor *t, matrix_source *out, tern_error *err)
{
    bool is_grouped = t->type == TENSOR_Q2_0_64 || t->type == TENSOR_Q2_0_128 || t->type == TENSOR_PTQ1_0;
    if (!is_grouped || !find_ternary_encoding(t->type, &out->encoding)) return bind_dense(t, out, err);
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

// The norm that a linear with use_rms_norm has over its own input.
static tern_status bind_input_norm(binder *b, const char *weight_name, matrix_source *m, tern_error *err)
{
    char name[300];
    int n = (int)(strlen(weight_name) - strlen(".weight"));
    snprintf(name, sizeof name, "%.*s.rms_norm.weight", n, weight_name);
    const tensor *t = take(b, name);
    return t == NULL ? missing(name, err) : bind_norm(t, m->n_cols, &m->input_norm, err);
}

static tern_status bind_matrix(binder *b, const char *name, uint32_t rows, uint32_t cols, bool is_linear,
                               matrix_source *out, tern_error *err)
{
    const tensor *t = take(b, name);
    if (t == NULL) return missing(name, err);
    matrix_source m = {.n_rows = rows, .n_cols = cols, .weights = t, .n_bytes = t->n_bytes};
    snprintf(m.name, sizeof m.name, "%s", name);
    tern_status status = !is_linear   ? bind_table(t, &m, err)
                         : b->is_gguf ? bind_gguf_linear(b, t, &m, err)
                                      : bind_hf_linear(b, t, &m, err);
    if (status == TERN_OK && is_linear && b->hp->has_linear_norm) status = bind_input_norm(b, name, &m, err);
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
    if (slot->kind == SLOT_MATRIX)
        return bind_matrix(b, name, rows, layer_width_of(b->hp, slot->cols), true, layer_matrix(layer, slot), err);
    if (!layer_has_slot(b->hp, slot)) return TERN_OK;
    const tensor *t = take(b, name);
    if (t == NULL) return missing(name, err);
    return bind_norm(t, rows, (tensor_ref *)(void *)((char *)layer + slot->offset), err);
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
        if (strstr(name, "norm_in") != NULL)
            return error_set(
                err, TERN_UNSUPPORTED,
                "%s: embedding models with a norm before every linear (BitNet-embedding) are not supported", name);
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

tern_status model_bind(model_source *m, const tensor_set *set, bool is_gguf, const tern_model_options *options,
                       tern_error *err)
{
    // A layer has more tensors than one, so the count of layers is bounded by what the file holds before memory is
    // taken.
    if (m->hp.n_layers > set->n)
        return error_set(err, TERN_MALFORMED, "%u layers, but the file has only %zu tensors", m->hp.n_layers, set->n);
    binder b = {.hp = &m->hp, .set = set, .is_gguf = is_gguf, .i2s_layout = options->i2s_layout};
    b.is_used = calloc(set->n + 1, sizeof *b.is_used);
    m->layers = calloc(m->hp.n_layers, sizeof *m->layers);
    tern_status status = b.is_used == NULL || m->layers == NULL
                             ? error_set(err, TERN_HOST_MEMORY, "no memory for the layers")
                             : bind_all(&b, m, err);
    free(b.is_used);
    if (status == TERN_OK) status = model_find_ternary(m, err);
    if (status != TERN_OK) return status;
    print_formats(set, m->formats, sizeof m->formats);
    size_t at = strlen(m->formats);
    if (m->files->n_found > 0)
        snprintf(m->formats + at, sizeof m->formats - at, "; %zu of the float tensors have ternary values",
                 m->files->n_found);
    model_choose_act_quant(m, options->act);
    return TERN_OK;
}
