// The keys of a converted GGUF file (FORMATS.md 1.5, 1.7, 1.8).
#include "convert_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_internal.h"

static void add_hparams(const hparams *hp, const char *architecture, gguf_writer *w)
{
    char key[96];
#define KEY(suffix) (snprintf(key, sizeof key, "%s.%s", architecture, suffix), key)
    gguf_writer_add_u32(w, KEY("vocab_size"), hp->n_vocab);
    gguf_writer_add_u32(w, KEY("context_length"), hp->n_ctx_train);
    gguf_writer_add_u32(w, KEY("embedding_length"), hp->n_embd);
    gguf_writer_add_u32(w, KEY("block_count"), hp->n_layers);
    gguf_writer_add_u32(w, KEY("feed_forward_length"), hp->n_ff);
    gguf_writer_add_u32(w, KEY("attention.head_count"), hp->n_heads);
    gguf_writer_add_u32(w, KEY("attention.head_count_kv"), hp->n_kv_heads);
    gguf_writer_add_u32(w, KEY("attention.key_length"), hp->head_dim);
    gguf_writer_add_u32(w, KEY("attention.value_length"), hp->head_dim);
    gguf_writer_add_f32(w, KEY("attention.layer_norm_rms_epsilon"), hp->norm_eps);
    gguf_writer_add_u32(w, KEY("rope.dimension_count"), hp->rope.n_dims);
    gguf_writer_add_f32(w, KEY("rope.freq_base"), (float)hp->rope.theta);
    if (hp->has_sub_norm)
        gguf_writer_add_string(w, KEY("hidden_activation"), hp->act == ACTIVATION_RELU2 ? "relu2" : "silu");
#undef KEY
}

// Llama 3 scaling is not among the keys: it becomes a tensor.
static tern_status add_rope_scaling(const rope_params *rope, const char *architecture, gguf_writer *w, tern_error *err)
{
    char key[96];
#define KEY(suffix) (snprintf(key, sizeof key, "%s.rope.scaling.%s", architecture, suffix), key)
    bool is_yarn = rope->scaling == ROPE_SCALING_YARN;
    if (!is_yarn && rope->scaling != ROPE_SCALING_LINEAR) return TERN_OK;
    gguf_writer_add_string(w, KEY("type"), is_yarn ? "yarn" : "linear");
    gguf_writer_add_f32(w, KEY("factor"), (float)rope->factor);
    if (!is_yarn) return TERN_OK;
    double context = rope->original_context;
    if (!(context >= 1.0 && context <= 4294967295.0) || context != (double)(uint32_t)context)
        return error_set(err, TERN_UNSUPPORTED,
                         "yarn from an original context of %g positions: GGUF keeps a whole number", context);
    gguf_writer_add_u32(w, KEY("original_context_length"), (uint32_t)context);
    if (rope->beta_fast != 32.0) gguf_writer_add_f32(w, KEY("yarn_beta_fast"), (float)rope->beta_fast);
    if (rope->beta_slow != 1.0) gguf_writer_add_f32(w, KEY("yarn_beta_slow"), (float)rope->beta_slow);
    if (rope->attn_factor != 1.0) gguf_writer_add_f32(w, KEY("attn_factor"), (float)rope->attn_factor);
#undef KEY
    return TERN_OK;
}

// The token list, filled up to the model's rows: readers of the llama.cpp family take its length for the number of
// rows.
static tern_status add_token_list(const tokenizer_export *e, uint32_t n_vocab, gguf_writer *w, tern_error *err)
{
    enum { PAD_ROOM = 20 }; // "[PAD4294967295]"
    uint32_t n_pads = n_vocab > e->n_tokens ? n_vocab - e->n_tokens : 0;
    size_t n = (size_t)e->n_tokens + n_pads;
    const char **tokens = malloc((n + 1) * sizeof *tokens);
    int32_t *types = malloc((n + 1) * sizeof *types);
    float *scores = malloc((n + 1) * sizeof *scores);
    char *pads = malloc((size_t)n_pads * PAD_ROOM + 1);
    tern_status status = TERN_OK;
    if (tokens == NULL || types == NULL || scores == NULL || pads == NULL) {
        status = error_set(err, TERN_HOST_MEMORY, "no memory for a list of %zu tokens", n);
    } else {
        memcpy(tokens, e->tokens, e->n_tokens * sizeof *tokens);
        memcpy(types, e->token_types, e->n_tokens * sizeof *types);
        if (e->scores != NULL) memcpy(scores, e->scores, e->n_tokens * sizeof *scores);
        for (uint32_t i = 0; i < n_pads; i++) {
            char *pad = pads + (size_t)i * PAD_ROOM;
            snprintf(pad, PAD_ROOM, "[PAD%u]", e->n_tokens + i);
            tokens[e->n_tokens + i] = pad;
            types[e->n_tokens + i] = 5; // unused
            scores[e->n_tokens + i] = -10000.0f;
        }
        gguf_writer_add_strings(w, "tokenizer.ggml.tokens", tokens, n);
        gguf_writer_add_i32s(w, "tokenizer.ggml.token_type", types, n);
        if (e->scores != NULL) gguf_writer_add_f32s(w, "tokenizer.ggml.scores", scores, n);
    }
    free(tokens);
    free(types);
    free(scores);
    free(pads);
    return status;
}

static tern_status add_tokenizer(const tern_tokenizer *tokenizer, uint32_t n_vocab, gguf_writer *w, tern_error *err)
{
    tokenizer_export e;
    tokenizer_get_export(tokenizer, &e);
    gguf_writer_add_string(w, "tokenizer.ggml.model", e.model);
    gguf_writer_add_string(w, "tokenizer.ggml.pre", e.pre);
    tern_status status = add_token_list(&e, n_vocab, w, err);
    if (status != TERN_OK) return status;
    if (e.scores == NULL) gguf_writer_add_strings(w, "tokenizer.ggml.merges", e.merges, e.n_merges);
    if (e.bos >= 0) gguf_writer_add_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)e.bos);
    if (e.eos >= 0) gguf_writer_add_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)e.eos);
    if (e.pad >= 0) gguf_writer_add_u32(w, "tokenizer.ggml.padding_token_id", (uint32_t)e.pad);
    gguf_writer_add_bool(w, "tokenizer.ggml.add_bos_token", e.add_bos);
    if (e.scores == NULL) return TERN_OK;
    if (e.unknown >= 0) gguf_writer_add_u32(w, "tokenizer.ggml.unknown_token_id", (uint32_t)e.unknown);
    gguf_writer_add_bool(w, "tokenizer.ggml.add_space_prefix", e.add_space_prefix);
    return TERN_OK;
}

// True for a key that add_tokenizer answers for, or that means nothing to the kind of tokenizer (merges of pieces,
// scores of byte-level tokens, whose number would have to follow that of the tokens).
static bool is_interpreted(gguf_string key, bool is_pieces)
{
    static const char *const names[] = {"model", "pre", "tokens", "token_type", "scores", "merges", "bos_token_id",
                                        "eos_token_id", "padding_token_id", "add_bos_token",
                                        // of pieces only:
                                        "unknown_token_id", "add_space_prefix"};
    static const char prefix[] = "tokenizer.ggml.";
    const size_t n_prefix = sizeof prefix - 1, n_names = sizeof names / sizeof names[0] - (is_pieces ? 0 : 2);
    if (key.n < n_prefix || memcmp(key.data, prefix, n_prefix) != 0) return false;
    const char *name = key.data + n_prefix;
    size_t n = key.n - n_prefix;
    for (size_t i = 0; i < n_names; i++)
        if (n == strlen(names[i]) && memcmp(name, names[i], n) == 0) return true;
    return false;
}

// Copies the tokenizer.* keys of a GGUF source; returns how many.
static size_t carry_over(const gguf_file *file, const tern_tokenizer *tokenizer, gguf_writer *w)
{
    tokenizer_export e = {0};
    if (tokenizer != NULL) tokenizer_get_export(tokenizer, &e);
    static const char prefix[] = "tokenizer.";
    size_t n = 0;
    for (size_t i = 0; i < file->n_values; i++) {
        const gguf_value *value = &file->values[i];
        if (value->key.n < sizeof prefix - 1 || memcmp(value->key.data, prefix, sizeof prefix - 1) != 0) continue;
        if (tokenizer != NULL && is_interpreted(value->key, e.scores != NULL)) continue;
        gguf_writer_add_value(w, value);
        n++;
    }
    return n;
}

tern_status convert_add_keys(const model_source *model, encode_type type, const char *architecture, gguf_writer *w,
                             tern_error *err)
{
    const gguf_file *file = &model->files->gguf; // empty for other containers
    bool is_gguf = file->n_values > 0;
    if (model->tokenizer == NULL && !is_gguf && !model->is_synthetic)
        return error_set(err, TERN_UNSUPPORTED,
                         "the tokenizer cannot be written: %s; a tokenizer.json that this build reads is needed",
                         model->tokenizer_note);
    gguf_writer_add_string(w, "general.architecture", architecture);
    gguf_writer_add_string(w, "general.type", "model");
    gguf_writer_add_string(w, "general.name", model->name);
    if (model->is_synthetic) gguf_writer_add_bool(w, SYNTHETIC_KEY, true); // random weights stay labelled as such
    gguf_writer_add_u32(w, "general.file_type", encode_formats[type].file_type);
    gguf_writer_add_u32(w, "general.quantization_version", 2);
    gguf_writer_add_u32(w, "general.alignment", GGUF_WRITE_ALIGNMENT);
    add_hparams(&model->hp, architecture, w);

    tern_status status = add_rope_scaling(&model->hp.rope, architecture, w, err);
    if (status == TERN_OK && model->tokenizer != NULL)
        status = add_tokenizer(model->tokenizer, model->hp.n_vocab, w, err);
    if (status != TERN_OK) return status;
    size_t n_carried = is_gguf ? carry_over(file, model->tokenizer, w) : 0;
    if (model->tokenizer == NULL && n_carried == 0) gguf_writer_add_string(w, "tokenizer.ggml.model", "no_vocab");
    return status;
}
