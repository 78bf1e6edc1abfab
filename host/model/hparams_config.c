// Hyper-parameters from a Hugging Face config.json (FORMATS.md 3.2, 3.4).
#include <stdio.h>
#include <string.h>

#include "hparams_common.h"
#include "json_read.h"
#include "rope.h"

static tern_status require_u32(const json_t *config, const char *key, uint32_t *out, tern_error *err)
{
    tern_status status = json_read_u32(config, key, out, err);
    return status == TERN_NOT_FOUND ? error_set(err, TERN_MALFORMED, "\"%s\": missing", key) : status;
}

static tern_status optional_u32(const json_t *config, const char *key, uint32_t *out, tern_error *err)
{
    tern_status status = json_read_u32(config, key, out, err);
    return status == TERN_NOT_FOUND ? TERN_OK : status;
}

static tern_status optional_double(const json_t *config, const char *key, double *out, tern_error *err)
{
    tern_status status = json_read_double(config, key, out, err);
    return status == TERN_NOT_FOUND ? TERN_OK : status;
}

static tern_status optional_bool(const json_t *config, const char *key, bool *out, tern_error *err)
{
    tern_status status = json_read_bool(config, key, out, err);
    return status == TERN_NOT_FOUND ? TERN_OK : status;
}

static tern_status optional_string(const json_t *config, const char *key, const char **out, tern_error *err)
{
    tern_status status = json_read_string(config, key, out, err);
    return status == TERN_NOT_FOUND ? TERN_OK : status;
}

static tern_status refuse_if_true(const json_t *object, const char *key, const char *why, tern_error *err)
{
    bool value = false;
    tern_status status = optional_bool(object, key, &value, err);
    if (status == TERN_OK && value) status = error_set(err, TERN_UNSUPPORTED, "\"%s\": true: %s", key, why);
    return status;
}

// The 1bitLLM checkpoints call themselves "llama" but have sub-norms and float master weights.
static bool is_1bitllm(const json_t *config)
{
    const char *architecture = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    return json_object_get(config, "weight_bits") != NULL ||
           (architecture != NULL && strcmp(architecture, "BitnetForCausalLM") == 0);
}

static tern_status read_1bitllm(const json_t *config, hparams *hp, tern_error *err)
{
    uint32_t weight_bits = 1, input_bits = 8;
    tern_status status = optional_u32(config, "weight_bits", &weight_bits, err);
    if (status == TERN_OK) status = optional_u32(config, "input_bits", &input_bits, err);
    if (status != TERN_OK) return status;
    if (weight_bits != 1)
        return error_set(err, TERN_UNSUPPORTED, "\"weight_bits\": %u is not supported, 1 is", weight_bits);
    if (input_bits != 8)
        return error_set(err, TERN_UNSUPPORTED, "\"input_bits\": %u is not supported, 8 is", input_bits);
    hp->hf_is_bitnet = true;
    hp->hf_online = true;
    snprintf(hp->act_quant_reason, sizeof hp->act_quant_reason, "config.json: input_bits 8");
    return TERN_OK;
}

static tern_status read_model_type(const json_t *config, hparams *hp, tern_error *err)
{
    const char *type = "";
    tern_status status = json_read_string(config, "model_type", &type, err);
    if (status == TERN_NOT_FOUND) return error_set(err, TERN_MALFORMED, "\"model_type\": missing");
    if (status != TERN_OK) return status;
    bool is_bitnet = strcmp(type, "bitnet") == 0, is_qwen3 = strcmp(type, "qwen3") == 0;
    if (!is_bitnet && !is_qwen3 && strcmp(type, "llama") != 0)
        return hparams_unsupported_architecture("model_type", type, err);
    bool is_old = !is_qwen3 && is_1bitllm(config);
    hp->has_sub_norm = is_bitnet || is_old;
    hp->has_qk_norm = is_qwen3;
    snprintf(hp->architecture, sizeof hp->architecture, "%s", hp->has_sub_norm ? "bitnet" : type);
    hp->act = is_bitnet ? ACTIVATION_RELU2 : ACTIVATION_SILU;
    hp->quant = ACT_QUANT_INT8;
    hp->rope.style = ROPE_HALF_SPLIT;
    hp->rope.theta = is_bitnet ? 500000.0 : 10000.0;
    return is_old ? read_1bitllm(config, hp, err) : TERN_OK;
}

static tern_status read_sizes(const json_t *config, hparams *hp, tern_error *err)
{
    double eps = hp->has_qk_norm ? 1e-6 : 1e-5;
    tern_status status = require_u32(config, "hidden_size", &hp->n_embd, err);
    if (status == TERN_OK) status = require_u32(config, "intermediate_size", &hp->n_ff, err);
    if (status == TERN_OK) status = require_u32(config, "num_hidden_layers", &hp->n_layers, err);
    if (status == TERN_OK) status = require_u32(config, "num_attention_heads", &hp->n_heads, err);
    if (status == TERN_OK) status = require_u32(config, "vocab_size", &hp->n_vocab, err);
    if (status == TERN_OK) status = require_u32(config, "max_position_embeddings", &hp->n_ctx_train, err);
    if (status != TERN_OK) return status;
    if (hp->n_heads == 0) return error_set(err, TERN_MALFORMED, "\"num_attention_heads\": 0");
    hp->n_kv_heads = hp->n_heads;
    hp->head_dim = hp->has_qk_norm ? 128 : hp->n_embd / hp->n_heads; // the default of the qwen3 configuration
    status = optional_u32(config, "num_key_value_heads", &hp->n_kv_heads, err);
    if (status == TERN_OK) status = optional_u32(config, "head_dim", &hp->head_dim, err);
    if (status == TERN_OK) status = optional_double(config, "rms_norm_eps", &eps, err);
    if (status == TERN_OK) status = optional_bool(config, "tie_word_embeddings", &hp->is_tied, err);
    hp->norm_eps = eps > 0 && eps < 1 ? (float)eps : 0.0f; // 0 is refused by hparams_validate
    return status;
}

static tern_status read_activation(const json_t *config, hparams *hp, tern_error *err)
{
    const char *name = NULL;
    tern_status status = optional_string(config, "hidden_act", &name, err);
    if (status != TERN_OK || name == NULL) return status;
    if (strcmp(name, "relu2") == 0)
        hp->act = ACTIVATION_RELU2;
    else if (strcmp(name, "silu") == 0 || strcmp(name, "swish") == 0)
        hp->act = ACTIVATION_SILU;
    else
        return error_set(err, TERN_UNSUPPORTED, "\"hidden_act\": \"%.60s\" is not supported; relu2 and silu are", name);
    return TERN_OK;
}

static tern_status read_llama3_scaling(const json_t *object, rope_params *rope, tern_error *err)
{
    tern_status status = json_read_double(object, "low_freq_factor", &rope->low_freq_factor, err);
    if (status == TERN_OK) status = json_read_double(object, "high_freq_factor", &rope->high_freq_factor, err);
    if (status == TERN_OK)
        status = json_read_double(object, "original_max_position_embeddings", &rope->original_context, err);
    if (status == TERN_NOT_FOUND)
        status = error_set(
            err, TERN_MALFORMED,
            "llama3 RoPE scaling: low_freq_factor, high_freq_factor or original_max_position_embeddings is missing");
    return status;
}

static tern_status read_yarn(const json_t *object, const char *where, rope_params *rope, tern_error *err)
{
    static const char *const unknown[] = {"mscale", "mscale_all_dim"};
    rope->beta_fast = 32.0;
    rope->beta_slow = 1.0;
    rope->attn_factor = 1.0;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        const json_t *value = json_object_get(object, unknown[i]);
        if (value != NULL && !json_is_null(value))
            return error_set(err, TERN_UNSUPPORTED, "\"%s\": \"%s\" of yarn is not supported", where, unknown[i]);
    }
    bool truncate = true;
    double attention_factor = 0.0;
    tern_status status = optional_bool(object, "truncate", &truncate, err);
    if (status == TERN_OK && !truncate)
        status = error_set(err, TERN_UNSUPPORTED, "\"%s\": yarn without \"truncate\" is not supported", where);
    if (status == TERN_OK) status = optional_double(object, "attention_factor", &attention_factor, err);
    if (status == TERN_OK && attention_factor != 0.0 && rope->factor > 0) // given, it replaces the whole multiplier
        rope->attn_factor = attention_factor / (1.0 + 0.1 * rope_log(rope->factor));
    if (status == TERN_OK) status = optional_double(object, "beta_fast", &rope->beta_fast, err);
    if (status == TERN_OK) status = optional_double(object, "beta_slow", &rope->beta_slow, err);
    if (status == TERN_OK)
        status = optional_double(object, "original_max_position_embeddings", &rope->original_context, err);
    return status;
}

// rope_scaling, or the scaling part of rope_parameters. rope->original_context is yarn's default.
static tern_status read_rope_object(const json_t *object, const char *where, rope_params *rope, tern_error *err)
{
    const char *type = NULL;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) if (json_is_object(value)) return error_set(
        err, TERN_UNSUPPORTED, "\"%s\": RoPE parameters per kind of layer (\"%.60s\") are not supported", where, key);
    tern_status status = optional_string(object, "rope_type", &type, err);
    if (status == TERN_OK && type == NULL) status = optional_string(object, "type", &type, err);
    if (status == TERN_OK) status = optional_double(object, "rope_theta", &rope->theta, err);
    double partial = 1.0;
    if (status == TERN_OK) status = optional_double(object, "partial_rotary_factor", &partial, err);
    if (status != TERN_OK) return status;
    if (partial != 1.0)
        return error_set(err, TERN_UNSUPPORTED, "\"partial_rotary_factor\": %g is not supported", partial);
    if (type == NULL || strcmp(type, "default") == 0 || strcmp(type, "none") == 0) return TERN_OK;
    if (strcmp(type, "linear") == 0)
        rope->scaling = ROPE_SCALING_LINEAR;
    else if (strcmp(type, "llama3") == 0)
        rope->scaling = ROPE_SCALING_LLAMA3;
    else if (strcmp(type, "yarn") == 0)
        rope->scaling = ROPE_SCALING_YARN;
    else
        return error_set(err, TERN_UNSUPPORTED,
                         "\"%s\": rope_type \"%.60s\" is not supported; linear, llama3 and yarn are", where, type);
    status = json_read_double(object, "factor", &rope->factor, err);
    if (status == TERN_NOT_FOUND) status = error_set(err, TERN_MALFORMED, "\"%s\": \"factor\" is missing", where);
    if (status == TERN_OK && rope->scaling == ROPE_SCALING_LLAMA3) status = read_llama3_scaling(object, rope, err);
    if (status == TERN_OK && rope->scaling == ROPE_SCALING_YARN) status = read_yarn(object, where, rope, err);
    return status;
}

static tern_status read_rope(const json_t *config, hparams *hp, tern_error *err)
{
    static const char *const objects[] = {"rope_scaling", "rope_parameters"};
    double partial = 1.0;
    hp->rope.n_dims = hp->head_dim;
    hp->rope.original_context = hp->n_ctx_train;
    tern_status status = optional_double(config, "rope_theta", &hp->rope.theta, err);
    if (status == TERN_OK) status = optional_double(config, "partial_rotary_factor", &partial, err);
    if (status == TERN_OK && partial != 1.0)
        status = error_set(err, TERN_UNSUPPORTED, "\"partial_rotary_factor\": %g is not supported", partial);
    for (size_t i = 0; i < 2 && status == TERN_OK; i++) {
        const json_t *object = json_object_get(config, objects[i]);
        if (object == NULL || json_is_null(object)) continue;
        if (!json_is_object(object)) return error_set(err, TERN_MALFORMED, "\"%s\": an object is expected", objects[i]);
        status = read_rope_object(object, objects[i], &hp->rope, err);
    }
    return status;
}

// The head and the embedding are never converted; anything else on the list mixes float and ternary linears.
static tern_status check_not_converted(const json_t *quantization, tern_error *err)
{
    const json_t *list = json_object_get(quantization, "modules_to_not_convert");
    if (list == NULL || json_is_null(list)) return TERN_OK;
    if (!json_is_array(list)) return error_set(err, TERN_MALFORMED, "\"modules_to_not_convert\": a list is expected");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name == NULL)
            return error_set(err, TERN_MALFORMED, "\"modules_to_not_convert\": a list of strings is expected");
        if (strcmp(name, "lm_head") != 0 && strcmp(name, "embed_tokens") != 0 &&
            strcmp(name, "model.embed_tokens") != 0)
            return error_set(err, TERN_UNSUPPORTED,
                             "\"modules_to_not_convert\": \"%.60s\" is not supported, only lm_head", name);
    }
    return TERN_OK;
}

static tern_status read_quantization(const json_t *config, hparams *hp, tern_error *err)
{
    const json_t *q = json_object_get(config, "quantization_config");
    const char *method = NULL, *linear = "bitlinear", *mode = "offline";
    if (q == NULL || json_is_null(q)) return TERN_OK;
    if (!json_is_object(q)) return error_set(err, TERN_MALFORMED, "\"quantization_config\": an object is expected");
    tern_status status = optional_string(q, "quant_method", &method, err);
    if (status == TERN_OK) status = optional_string(q, "linear_class", &linear, err);
    if (status == TERN_OK) status = optional_string(q, "quantization_mode", &mode, err);
    if (status != TERN_OK) return status;
    if (method == NULL || strcmp(method, "bitnet") != 0)
        return error_set(err, TERN_UNSUPPORTED,
                         "\"quantization_config\": quant_method \"%.60s\" is not supported; bitnet is",
                         method == NULL ? "" : method);
    bool is_auto = strcmp(linear, "autobitlinear") == 0, is_online = strcmp(mode, "online") == 0;
    if (!is_auto && strcmp(linear, "bitlinear") != 0)
        return error_set(err, TERN_UNSUPPORTED,
                         "\"linear_class\": \"%.60s\" is not supported; bitlinear and autobitlinear are", linear);
    if ((!is_online && strcmp(mode, "offline") != 0) || (is_online && !is_auto))
        return error_set(err, TERN_UNSUPPORTED,
                         "\"quantization_mode\": \"%.60s\" is not supported with linear_class %s", mode, linear);
    double eps = 1e-6;
    status = optional_bool(q, "use_rms_norm", &hp->has_linear_norm, err);
    if (status == TERN_OK) status = optional_double(q, "rms_norm_eps", &eps, err);
    hp->linear_norm_eps = eps > 0 && eps < 1 ? (float)eps : 0.0f; // 0 is refused by hparams_validate
    if (status == TERN_OK && is_online) status = check_not_converted(q, err);
    if (status != TERN_OK) return status;
    hp->hf_is_bitnet = true;
    hp->hf_online = is_online;
    hp->hf_divide = !is_auto;
    snprintf(hp->act_quant_reason, sizeof hp->act_quant_reason, "config.json: quant_method bitnet (%s, %s)", linear,
             mode);
    return TERN_OK;
}

static tern_status refuse_sliding_window(const json_t *config, tern_error *err)
{
    static const char why[] = "attention over a sliding window is not supported";
    tern_status status = refuse_if_true(config, "use_sliding_window", why, err);
    const json_t *types = json_object_get(config, "layer_types");
    for (size_t i = 0; i < json_array_size(types) && status == TERN_OK; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type == NULL || strcmp(type, "full_attention") != 0)
            status = error_set(err, TERN_UNSUPPORTED, "\"layer_types\": \"%.60s\" is not supported, full_attention is",
                               type == NULL ? "" : type);
    }
    return status;
}

tern_status hparams_from_config(const char *json, size_t n_bytes, hparams *out, tern_error *err)
{
    json_t *config = NULL;
    hparams hp = {0};
    tern_status status = json_read_object(json, n_bytes, "config.json", &config, err);
    if (status != TERN_OK) return status;
    status = read_model_type(config, &hp, err);
    if (status == TERN_OK) status = read_sizes(config, &hp, err);
    if (status == TERN_OK) status = read_activation(config, &hp, err);
    if (status == TERN_OK) status = read_rope(config, &hp, err);
    if (status == TERN_OK) status = refuse_if_true(config, "attention_bias", "biases are not supported", err);
    if (status == TERN_OK) status = refuse_if_true(config, "mlp_bias", "biases are not supported", err);
    if (status == TERN_OK) status = refuse_sliding_window(config, err);
    if (status == TERN_OK) status = read_quantization(config, &hp, err);
    if (status == TERN_OK) status = hparams_validate(&hp, err);
    json_decref(config);
    if (status != TERN_OK) return status;
    *out = hp;
    return TERN_OK;
}
