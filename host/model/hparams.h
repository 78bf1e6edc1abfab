// Validated hyper-parameters of a model: what the graph needs to know, from GGUF keys or config.json.
#ifndef TERN_MODEL_HPARAMS_H
#define TERN_MODEL_HPARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "gguf.h"

typedef enum activation { ACTIVATION_RELU2, ACTIVATION_SILU } activation;
typedef enum rope_style { ROPE_HALF_SPLIT, ROPE_ADJACENT } rope_style;
typedef enum rope_scaling {
    ROPE_SCALING_NONE,
    ROPE_SCALING_LINEAR,
    ROPE_SCALING_LLAMA3,
    ROPE_SCALING_YARN
} rope_scaling;

// How activations enter ternary products: as one int8 term (what BitNet models are trained with), as two int8 terms (15
// bits, for weight-only models, through the same integer products), or as floats.
typedef enum act_quant { ACT_QUANT_INT8, ACT_QUANT_INT8X2, ACT_QUANT_F32 } act_quant;

typedef struct rope_params {
    rope_style style;
    double theta;    // > 0
    uint32_t n_dims; // rotated dimensions of a head, even, <= head_dim
    rope_scaling scaling;
    double factor;                            // linear, llama3, yarn
    double original_context;                  // llama3, yarn
    double low_freq_factor, high_freq_factor; // llama3
    double beta_fast, beta_slow;              // yarn: 32 and 1 unless the file says otherwise
    double attn_factor;                       // yarn: cos and sin are multiplied by attn_factor * (1 + 0.1 ln factor)
    const float
        *freq_divisors; // n_dims / 2 divisors of the frequencies (rope_freqs.weight), or NULL; owned by the model
} rope_params;

typedef struct hparams {
    char architecture[32];
    uint32_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab, n_ctx_train;
    float norm_eps; // fp32 of the file's value, > 0
    activation act;
    act_quant quant;
    char act_quant_reason[128]; // why, in words, for `tern info`
    rope_params rope;
    bool is_tied;          // decided by the presence of the head tensor in GGUF, by tie_word_embeddings in config.json
    bool has_sub_norm;     // attn_sub_norm and ffn_sub_norm
    bool has_qk_norm;      // a norm over each head of q and of k, before RoPE (qwen3)
    bool has_linear_norm;  // every ternary linear norms its own input right before quantisation (use_rms_norm)
    float linear_norm_eps; // of those norms

    // Hugging Face only: how ternary linears are stored (FORMATS.md 3.4).
    bool hf_is_bitnet; // quantization_config.quant_method is "bitnet", or a 1bitLLM config
    bool hf_divide;    // linear_class "bitlinear": y = acc / (act_scale * weight_scale)
    bool hf_online;    // float master weights, ternarised at load
} hparams;

// Range checks and cross-checks (heads divide, head_dim even, no zero, caps: LIMIT) shared by both sources.
tern_status hparams_validate(const hparams *hp, tern_error *err);

tern_status hparams_from_gguf(const gguf_file *file, hparams *out, tern_error *err);
// `json`: the text of config.json.
tern_status hparams_from_config(const char *json, size_t n_bytes, hparams *out, tern_error *err);

#endif
