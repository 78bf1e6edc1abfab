// Hyper-parameters from GGUF metadata (FORMATS.md 1.5 to 1.7, 5.3).
#include <stdio.h>
#include <string.h>

#include "hparams_common.h"

// An architecture we know: what its name alone decides (FORMATS.md 1.6).
typedef struct gguf_architecture {
    const char *name;
    rope_style rope;
    bool has_sub_norm;
    bool is_always_relu2;
    bool has_qk_norm;
} gguf_architecture;

static const gguf_architecture architectures[] = {
    {"bitnet-b1.58", ROPE_HALF_SPLIT, true, true, false}, {"bitnet-25", ROPE_HALF_SPLIT, true, true, false},
    {"bitnet", ROPE_HALF_SPLIT, true, false, false},      {"llama", ROPE_ADJACENT, false, false, false},
    {"qwen3", ROPE_HALF_SPLIT, false, false, true},
};

// Keys that change the arithmetic and are not implemented; the value that means "off" is accepted.
static const struct {
    const char *suffix;
    double off;
} foreign_keys[] = {
    {"expert_count", 0},
    {"attention.sliding_window", 0},
    {"attention.clamp_kqv", 0},
    {"attention.max_alibi_bias", 0},
    {"attention.scale", 0},
    {"attention.causal", 1},
    {"attn_logit_softcapping", 0},
    {"final_logit_softcapping", 0},
    {"logit_scale", 1},
    {"residual_scale", 1},
    {"embedding_scale", 1},
    {"use_parallel_residual", 0},
    {"pooling_type", 0},
    {"rope.scaling.yarn_log_multiplier", 0},
    {"rope.scaling.yarn_ext_factor", 1},
};

typedef struct reader {
    const gguf_file *file;
    const gguf_architecture *arch;
    char key[96]; // the last key asked for
} reader;

static const char *arch_key(reader *r, const char *suffix)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch->name, suffix);
    return r->key;
}

static bool string_is(gguf_string s, const char *text) { return s.n == strlen(text) && memcmp(s.data, text, s.n) == 0; }

static tern_status missing_key(const char *key, tern_error *err)
{
    return error_set(err, TERN_MALFORMED, "key %s: missing", key);
}

static tern_status require_u32(reader *r, const char *suffix, uint32_t *out, tern_error *err)
{
    tern_status status = gguf_get_u32(r->file, arch_key(r, suffix), out, err);
    return status == TERN_NOT_FOUND ? missing_key(r->key, err) : status;
}

static tern_status optional_u32(reader *r, const char *suffix, uint32_t *out, tern_error *err)
{
    tern_status status = gguf_get_u32(r->file, arch_key(r, suffix), out, err);
    return status == TERN_NOT_FOUND ? TERN_OK : status;
}

static tern_status optional_f32(reader *r, const char *suffix, double *out, tern_error *err)
{
    float value = 0.0f;
    tern_status status = gguf_get_f32(r->file, arch_key(r, suffix), &value, err);
    if (status == TERN_OK) *out = value;
    return status == TERN_NOT_FOUND ? TERN_OK : status;
}

// A number that may be given once or once per layer; per layer only when all are equal. NOT_FOUND when absent.
static tern_status uniform_u32(reader *r, const char *suffix, uint32_t n_layers, uint32_t *out, tern_error *err)
{
    const gguf_value *v = gguf_find(r->file, arch_key(r, suffix));
    if (v == NULL) return TERN_NOT_FOUND;
    if (v->type != GGUF_ARRAY) return gguf_get_u32(r->file, r->key, out, err);
    if (v->element_type != GGUF_U32 && v->element_type != GGUF_I32)
        return error_set(err, TERN_MALFORMED, "key %s: the elements of the array are not 32-bit integers", r->key);
    if (v->count != n_layers)
        return error_set(err, TERN_MALFORMED, "key %s: %llu values for %u layers", r->key, (unsigned long long)v->count,
                         n_layers);
    uint32_t first = 0;
    for (uint64_t i = 0; i < v->count; i++) {
        uint32_t value;
        memcpy(&value, v->data + 4 * i, sizeof value);
        if (v->element_type == GGUF_I32 && value > INT32_MAX)
            return error_set(err, TERN_MALFORMED, "key %s: a value is negative", r->key);
        if (i == 0) first = value;
        if (value != first)
            return error_set(err, TERN_UNSUPPORTED,
                             "key %s: layers differ (%u and %u); only equal layers are supported", r->key, first,
                             value);
    }
    *out = first;
    return TERN_OK;
}

static tern_status read_sizes(reader *r, hparams *hp, tern_error *err)
{
    tern_status status = require_u32(r, "block_count", &hp->n_layers, err);
    if (status == TERN_OK) status = require_u32(r, "context_length", &hp->n_ctx_train, err);
    if (status == TERN_OK) status = require_u32(r, "embedding_length", &hp->n_embd, err);
    if (status == TERN_OK) {
        status = uniform_u32(r, "feed_forward_length", hp->n_layers, &hp->n_ff, err);
        if (status == TERN_NOT_FOUND) status = missing_key(r->key, err);
    }
    if (status == TERN_OK) {
        status = uniform_u32(r, "attention.head_count", hp->n_layers, &hp->n_heads, err);
        if (status == TERN_NOT_FOUND) status = missing_key(r->key, err);
    }
    if (status != TERN_OK) return status;
    if (hp->n_heads == 0) return error_set(err, TERN_MALFORMED, "key %s: 0", r->key);
    hp->n_kv_heads = hp->n_heads;
    status = uniform_u32(r, "attention.head_count_kv", hp->n_layers, &hp->n_kv_heads, err);
    if (status != TERN_OK && status != TERN_NOT_FOUND) return status;
    hp->head_dim = hp->n_embd / hp->n_heads;
    status = optional_u32(r, "attention.key_length", &hp->head_dim, err);
    uint32_t value_length = hp->head_dim;
    if (status == TERN_OK) status = optional_u32(r, "attention.value_length", &value_length, err);
    if (status == TERN_OK && value_length != hp->head_dim)
        status = error_set(err, TERN_UNSUPPORTED, "key %s: %u, other than the key length %u", r->key, value_length,
                           hp->head_dim);
    if (status != TERN_OK) return status;
    status = gguf_get_f32(r->file, arch_key(r, "attention.layer_norm_rms_epsilon"), &hp->norm_eps, err);
    return status == TERN_NOT_FOUND ? missing_key(r->key, err) : status;
}

// The vocabulary: its own key, else the token list, else the rows of the embedding.
static tern_status read_vocabulary(reader *r, hparams *hp, tern_error *err)
{
    tern_status status = gguf_get_u32(r->file, arch_key(r, "vocab_size"), &hp->n_vocab, err);
    if (status != TERN_NOT_FOUND) return status;
    const gguf_value *tokens = gguf_find(r->file, "tokenizer.ggml.tokens");
    const tensor *embedding = tensor_set_find(&r->file->tensors, "token_embd.weight");
    uint64_t n = tokens != NULL && tokens->type == GGUF_ARRAY ? tokens->count
                 : embedding != NULL                          ? embedding->dims[1]
                                                              : 0;
    if (n == 0) return missing_key(r->key, err);
    if (n > UINT32_MAX) return error_set(err, TERN_LIMIT, "a vocabulary of %llu tokens", (unsigned long long)n);
    hp->n_vocab = (uint32_t)n;
    return TERN_OK;
}

// Keys that writers have given two names.
static tern_status optional_either(reader *r, const char *suffix, const char *other, double *out, tern_error *err)
{
    tern_status status = optional_f32(r, suffix, out, err);
    return status == TERN_OK ? optional_f32(r, other, out, err) : status;
}

static tern_status read_yarn(reader *r, double factor, uint32_t n_ctx, rope_params *rope, tern_error *err)
{
    uint32_t original = n_ctx;
    rope->scaling = ROPE_SCALING_YARN;
    rope->factor = factor;
    rope->beta_fast = 32.0;
    rope->beta_slow = 1.0;
    rope->attn_factor = 1.0;
    if (factor == 0.0) return missing_key(arch_key(r, "rope.scaling.factor"), err);
    tern_status status = optional_u32(r, "rope.scaling.original_context_length", &original, err);
    rope->original_context = original;
    if (status == TERN_OK)
        status = optional_either(r, "rope.scaling.beta_fast", "rope.scaling.yarn_beta_fast", &rope->beta_fast, err);
    if (status == TERN_OK)
        status = optional_either(r, "rope.scaling.beta_slow", "rope.scaling.yarn_beta_slow", &rope->beta_slow, err);
    if (status == TERN_OK)
        status = optional_either(r, "rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor", &rope->attn_factor,
                                 err);
    return status;
}

// A factor for attention is defined by yarn alone.
static tern_status refuse_attn_factor(reader *r, tern_error *err)
{
    double value = 1.0;
    tern_status status = optional_f32(r, "rope.scaling.attn_factor", &value, err);
    if (status == TERN_OK && value != 1.0)
        status = error_set(err, TERN_UNSUPPORTED, "key %s: %g is supported with rope.scaling.type yarn only", r->key,
                           value);
    return status;
}

static tern_status read_rope_scaling(reader *r, uint32_t n_ctx, rope_params *rope, tern_error *err)
{
    double factor = 0.0;
    gguf_string type = {"", 0};
    tern_status status = optional_f32(r, "rope.scale_linear", &factor, err); // very old files
    if (status == TERN_OK) status = optional_f32(r, "rope.scaling.factor", &factor, err);
    if (status != TERN_OK) return status;
    status = gguf_get_string(r->file, arch_key(r, "rope.scaling.type"), &type, err);
    if (status != TERN_OK && status != TERN_NOT_FOUND) return status;
    if (status == TERN_OK && string_is(type, "yarn")) return read_yarn(r, factor, n_ctx, rope, err);
    tern_status refused = refuse_attn_factor(r, err);
    if (refused != TERN_OK) return refused;
    if (status == TERN_OK && string_is(type, "none")) return TERN_OK;
    if (status == TERN_OK && !string_is(type, "linear"))
        return error_set(err, TERN_UNSUPPORTED, "key %s: \"%.*s\" is not supported (none, linear and yarn are)",
                         arch_key(r, "rope.scaling.type"), (int)(type.n < 60 ? type.n : 60), type.data);
    if (factor == 0.0 || factor == 1.0) return TERN_OK; // a factor without a type means linear
    rope->scaling = ROPE_SCALING_LINEAR;
    rope->factor = factor;
    return TERN_OK;
}

static tern_status read_rope(reader *r, hparams *hp, tern_error *err)
{
    hp->rope.style = r->arch->rope;
    hp->rope.theta = 10000.0;
    hp->rope.n_dims = hp->head_dim;
    tern_status status = optional_f32(r, "rope.freq_base", &hp->rope.theta, err);
    if (status == TERN_OK) status = optional_u32(r, "rope.dimension_count", &hp->rope.n_dims, err);
    return status == TERN_OK ? read_rope_scaling(r, hp->n_ctx_train, &hp->rope, err) : status;
}

// FORMATS.md 5.3. An architecture `bitnet` without the key is read from its geometry: the 2B-4T model and everything
// with grouped-query attention or the Llama 3 vocabulary uses relu^2, the 1bitLLM models SiLU.
static tern_status read_activation(reader *r, hparams *hp, tern_error *err)
{
    bool is_llama = !r->arch->has_sub_norm;
    gguf_string name = {"", 0};
    tern_status status = gguf_get_string(r->file, arch_key(r, "hidden_activation"), &name, err);
    if (status == TERN_NOT_FOUND) {
        bool is_2b = hp->n_layers == 30 && hp->n_embd == 2560 && hp->n_ff == 6912;
        bool is_relu2 = r->arch->is_always_relu2 ||
                        (!is_llama && (hp->n_kv_heads < hp->n_heads || is_2b || hp->n_vocab == 128256));
        hp->act = is_relu2 ? ACTIVATION_RELU2 : ACTIVATION_SILU;
        return TERN_OK;
    }
    if (status != TERN_OK) return status;
    bool is_relu2 = string_is(name, "relu2") || string_is(name, "relu_squared");
    if ((!is_relu2 && !string_is(name, "silu")) || (is_relu2 && is_llama) || (!is_relu2 && r->arch->is_always_relu2))
        return error_set(err, TERN_UNSUPPORTED, "key %s: \"%.*s\" is not supported for this architecture", r->key,
                         (int)(name.n < 60 ? name.n : 60), name.data);
    hp->act = is_relu2 ? ACTIVATION_RELU2 : ACTIVATION_SILU;
    return TERN_OK;
}

// A scalar number or bool as a double; false for anything else.
static bool scalar_number(const gguf_file *file, const char *key, double *out)
{
    uint32_t u;
    float f;
    bool b;
    if (gguf_get_u32(file, key, &u, NULL) == TERN_OK)
        *out = u;
    else if (gguf_get_f32(file, key, &f, NULL) == TERN_OK)
        *out = (double)f;
    else if (gguf_get_bool(file, key, &b, NULL) == TERN_OK)
        *out = b;
    else
        return false;
    return true;
}

static bool contains(gguf_string s, const char *part) { return memmem(s.data, s.n, part, strlen(part)) != NULL; }

static tern_status refuse_foreign_keys(reader *r, tern_error *err)
{
    for (size_t i = 0; i < r->file->n_values; i++) {
        const gguf_string key = r->file->values[i].key;
        if (contains(key, ".hadamard."))
            return error_set(err, TERN_UNSUPPORTED,
                             "key %.*s: models in a rotated (Hadamard) basis are not supported; the Ternary-Bonsai "
                             "1.7B, 4B and 8B files have none",
                             (int)(key.n < 120 ? key.n : 120), key.data);
    }
    for (size_t i = 0; i < sizeof foreign_keys / sizeof *foreign_keys; i++) {
        double value;
        const char *key = arch_key(r, foreign_keys[i].suffix);
        if (gguf_find(r->file, key) == NULL) continue;
        if (!scalar_number(r->file, key, &value) || value != foreign_keys[i].off)
            return error_set(err, TERN_UNSUPPORTED, "key %s: it changes the arithmetic in a way that is not supported",
                             key);
    }
    return TERN_OK;
}

static tern_status find_architecture(reader *r, tern_error *err)
{
    gguf_string name = {"", 0};
    tern_status status = gguf_get_string(r->file, "general.architecture", &name, err);
    if (status == TERN_NOT_FOUND) return missing_key("general.architecture", err);
    if (status != TERN_OK) return status;
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (string_is(name, architectures[i].name)) r->arch = &architectures[i];
    if (r->arch != NULL) return TERN_OK;
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)(name.n < 60 ? name.n : 60), name.data);
    return hparams_unsupported_architecture("architecture", text, err);
}

tern_status hparams_from_gguf(const gguf_file *file, hparams *out, tern_error *err)
{
    reader r = {.file = file};
    hparams hp = {0};
    tern_status status = find_architecture(&r, err);
    if (status != TERN_OK) return status;
    snprintf(hp.architecture, sizeof hp.architecture, "%s", r.arch->name);
    hp.has_sub_norm = r.arch->has_sub_norm;
    hp.has_qk_norm = r.arch->has_qk_norm;
    hp.quant = ACT_QUANT_INT8; // model_choose_act_quant decides, from the types of the linears
    hp.is_tied = tensor_set_find(&file->tensors, "output.weight") == NULL;
    status = refuse_foreign_keys(&r, err);
    if (status == TERN_OK) status = read_sizes(&r, &hp, err);
    if (status == TERN_OK) status = read_vocabulary(&r, &hp, err);
    if (status == TERN_OK) status = read_rope(&r, &hp, err);
    if (status == TERN_OK) status = read_activation(&r, &hp, err);
    if (status == TERN_OK) status = hparams_validate(&hp, err);
    if (status != TERN_OK) return status;
    if (hp.has_sub_norm)
        snprintf(hp.act_quant_reason, sizeof hp.act_quant_reason,
                 "models of architecture %s are trained with int8 activations", hp.architecture);
    *out = hp;
    return TERN_OK;
}
