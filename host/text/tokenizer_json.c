// tokenizer.json of the Hugging Face tokenizers library (FORMATS.md 6.5). What would change the ids and is not
// implemented is refused by name.
#include <string.h>

#include "tokenizer_json.h"

#define MAX_JSON_BYTES ((size_t)64 << 20)

// Integers are read as doubles: tokenizer_config.json says model_max_length 1000000000000000019884624838656, which
// jansson would refuse as an integer; ids are exact either way.
static tern_status load(const char *text, const char *name, json_t **out, tern_error *err)
{
    size_t n = strlen(text);
    if (n > MAX_JSON_BYTES)
        return error_set(err, TERN_LIMIT, "%s has %zu bytes; the limit is %zu", name, n, MAX_JSON_BYTES);
    json_error_t error;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
    if (root == NULL) {
        enum json_error_code code = json_error_code(&error);
        // Where an allocation fails, jansson mostly reports an error without a place.
        tern_status status = code == json_error_out_of_memory || error.line < 0 ? TERN_HOST_MEMORY
                             : code == json_error_stack_overflow                ? TERN_LIMIT // nested too deep
                                                                                : TERN_MALFORMED;
        return error_set(err, status, "%s, line %d: %s", name, error.line, error.text);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return error_set(err, TERN_MALFORMED, "%s is not a JSON object", name);
    }
    *out = root;
    return TERN_OK;
}

static bool read_id(const json_t *value, uint32_t *out)
{
    double number = json_is_real(value) ? json_real_value(value) : -1.0;
    if (!(number >= 0.0 && number <= (double)UINT32_MAX) || (double)(uint32_t)number != number) return false;
    *out = (uint32_t)number;
    return true;
}

// --------------------------------------------------------------------------------------------------- tokens and merges

static tern_status count_tokens(json_t *vocab, const json_t *added, uint32_t n_vocab, uint32_t *out, tern_error *err)
{
    uint32_t id, n_tokens = 0;
    const char *text;
    json_t *value;
    json_object_foreach(vocab, text, value)
    {
        if (!read_id(value, &id)) return error_set(err, TERN_MALFORMED, "token \"%.64s\" has no valid id", text);
        if (id >= n_vocab)
            return error_set(err, TERN_MALFORMED, "token \"%.64s\" has id %u, but the model has %u rows", text, id,
                             n_vocab);
        if (id >= n_tokens) n_tokens = id + 1;
    }
    size_t i;
    json_array_foreach(added, i, value)
    {
        text = json_string_value(json_object_get(value, "content"));
        if (text == NULL || !read_id(json_object_get(value, "id"), &id))
            return error_set(err, TERN_MALFORMED, "entry %zu of \"added_tokens\" lacks a content or a valid id", i);
        if (id >= n_vocab)
            return error_set(err, TERN_MALFORMED, "added token \"%.64s\" has id %u, but the model has %u rows", text,
                             id, n_vocab);
        if (id >= n_tokens) n_tokens = id + 1;
    }
    *out = n_tokens;
    return TERN_OK;
}

static tern_status add_special(tern_tokenizer *tokenizer, const json_t *vocab, const json_t *entry, tern_error *err)
{
    const json_t *content = json_object_get(entry, "content");
    const char *text = json_string_value(content);
    uint32_t id = 0, vocab_id = 0;
    read_id(json_object_get(entry, "id"), &id); // count_tokens saw that it is one
    token_type type = json_is_true(json_object_get(entry, "special")) ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
    const json_t *in_vocab = json_object_get(vocab, text);
    if (in_vocab != NULL) {
        if (!read_id(in_vocab, &vocab_id) || vocab_id != id)
            return error_set(err, TERN_MALFORMED, "added token \"%.64s\" has id %u, but %u in the vocabulary", text, id,
                             vocab_id);
        if (json_string_length(content) == 0) return error_set(err, TERN_MALFORMED, "added token %u is empty", id);
        vocab_retype(&tokenizer->vocab, id, type);
    } else {
        tern_status status = vocab_set(&tokenizer->vocab, id, text, json_string_length(content), type, err);
        if (status != TERN_OK) return status;
    }
    vocab_token *token = &tokenizer->vocab.tokens[id];
    token->strips_left = json_is_true(json_object_get(entry, "lstrip"));
    token->strips_right = json_is_true(json_object_get(entry, "rstrip"));
    token->is_single_word = json_is_true(json_object_get(entry, "single_word"));
    token->is_normalized = json_is_true(json_object_get(entry, "normalized"));
    return TERN_OK;
}

static tern_status read_tokens(tern_tokenizer *tokenizer, json_t *vocab, const json_t *added, uint32_t n_vocab,
                               tern_error *err)
{
    uint32_t n_tokens = 0, id = 0;
    tern_status status = count_tokens(vocab, added, n_vocab, &n_tokens, err);
    vocab_spelling spelling = tokenizer->vocab.spelling;
    if (status == TERN_OK) status = vocab_create(n_tokens, spelling, &tokenizer->vocab, err);
    if (status != TERN_OK) return status;
    const char *text;
    json_t *value;
    json_object_foreach(vocab, text, value)
    {
        uint8_t byte;
        bool is_byte = spelling == VOCAB_PIECES && vocab_byte(text, strlen(text), &byte);
        read_id(value, &id);
        status = vocab_set(&tokenizer->vocab, id, text, strlen(text), is_byte ? TOKEN_BYTE : TOKEN_NORMAL, err);
        if (status != TERN_OK) return status;
    }
    size_t i;
    json_array_foreach(added, i, value)
    {
        status = add_special(tokenizer, vocab, value, err);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

static bool find_text(const tern_tokenizer *tokenizer, const char *text, uint32_t *out)
{
    for (uint32_t id = 0; id < tokenizer->vocab.n_tokens; id++) {
        const char *candidate = tokenizer->vocab.tokens[id].text;
        if (candidate == NULL || strcmp(candidate, text) != 0) continue;
        *out = id;
        return true;
    }
    return false;
}

// "left right" (older files; pieces contain no space) or ["left", "right"].
static tern_status read_merges(tern_tokenizer *tokenizer, const json_t *merges, tern_error *err)
{
    tern_status status = bpe_create(&tokenizer->vocab, json_array_size(merges), (uint32_t)tokenizer->unknown,
                                    &tokenizer->bpe, err);
    if (status != TERN_OK) return status;
    size_t i;
    json_t *merge;
    json_array_foreach(merges, i, merge)
    {
        const char *left, *right, *space = NULL;
        if (json_is_string(merge)) {
            left = json_string_value(merge);
            space = strchr(left, ' ');
            right = space == NULL ? NULL : space + 1;
        } else {
            left = json_array_size(merge) == 2 ? json_string_value(json_array_get(merge, 0)) : NULL;
            right = json_array_size(merge) == 2 ? json_string_value(json_array_get(merge, 1)) : NULL;
        }
        if (left == NULL || right == NULL)
            return error_set(err, TERN_MALFORMED, "merge %zu is not a pair of pieces", i);
        size_t n_left = space != NULL ? (size_t)(space - left) : strlen(left);
        status = bpe_add_merge(&tokenizer->bpe, &tokenizer->vocab, left, n_left, right, strlen(right), err);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

// What stands for text that no pieces spell. Of a byte-level vocabulary every text is spelled.
static tern_status read_unknown(tern_tokenizer *tokenizer, const json_t *model, tern_error *err)
{
    const json_t *name = json_object_get(model, "unk_token");
    uint32_t id;
    if (is_absent(name) || tokenizer->vocab.spelling == VOCAB_BYTE_LEVEL) return TERN_OK;
    const char *text = json_string_value(name);
    if (text == NULL || !find_text(tokenizer, text, &id))
        return error_set(err, TERN_MALFORMED, "\"model.unk_token\" (\"%.64s\") is not in the vocabulary",
                         text == NULL ? "" : text);
    vocab_retype(&tokenizer->vocab, id, TOKEN_UNKNOWN);
    tokenizer->unknown = (tern_token)id;
    return TERN_OK;
}

// ------------------------------------------------------------------------------------------------ beginning and end

// TemplateProcessing says what surrounds one text: nothing, or BOS in front.
static tern_status read_template(tern_tokenizer *tokenizer, const json_t *template, tern_error *err)
{
    const json_t *single = json_object_get(template, "single");
    const char *name = NULL;
    size_t i, n_texts = 0;
    json_t *piece;
    if (!json_is_array(single))
        return error_set(err, TERN_MALFORMED, "post_processor TemplateProcessing has no \"single\"");
    json_array_foreach(single, i, piece)
    {
        const char *special = json_string_value(json_object_get(json_object_get(piece, "SpecialToken"), "id"));
        bool is_text = json_object_get(piece, "Sequence") != NULL;
        if (is_text == (special != NULL))
            return error_set(err, TERN_MALFORMED, "step %zu of the post_processor is neither text nor token", i);
        n_texts += is_text;
        if (special == NULL) continue;
        if (name != NULL || n_texts > 0)
            return error_set(err, TERN_UNSUPPORTED,
                             "the post_processor adds \"%.64s\"; only one token in front is supported", special);
        name = special;
    }
    if (n_texts != 1) return error_set(err, TERN_MALFORMED, "the post_processor uses the text %zu times", n_texts);
    if (name == NULL) return TERN_OK;
    const json_t *ids = json_object_get(json_object_get(json_object_get(template, "special_tokens"), name), "ids");
    uint32_t id;
    if (json_array_size(ids) != 1 || !read_id(json_array_get(ids, 0), &id) || id >= tokenizer->vocab.n_tokens)
        return error_set(err, TERN_MALFORMED, "the post_processor's token \"%.64s\" has no valid id", name);
    tokenizer->bos = (tern_token)id;
    tokenizer->add_bos = true;
    return TERN_OK;
}

static tern_status read_post_processor(tern_tokenizer *tokenizer, const json_t *value, tern_error *err)
{
    if (is_absent(value) || is_type(value, "ByteLevel")) return TERN_OK; // ByteLevel only moves offsets
    if (is_type(value, "TemplateProcessing")) return read_template(tokenizer, value, err);
    if (!is_type(value, "Sequence"))
        return error_set(err, TERN_UNSUPPORTED, "post_processor \"%.64s\" is not supported", type_of(value));
    size_t i;
    json_t *step;
    json_array_foreach(json_object_get(value, "processors"), i, step)
    {
        if (is_type(step, "Sequence"))
            return error_set(err, TERN_UNSUPPORTED, "a post_processor Sequence within another");
        tern_status status = read_post_processor(tokenizer, step, err);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

// The id of a token that tokenizer_config.json names by text or as an object with a content; -1 if it names none.
static tern_status find_named(const tern_tokenizer *tokenizer, const json_t *config, const char *key, tern_token *out,
                              tern_error *err)
{
    const json_t *value = json_object_get(config, key);
    const char *text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    if (is_absent(value)) return TERN_OK;
    if (text == NULL) return error_set(err, TERN_MALFORMED, "tokenizer_config.json: \"%s\" is not a token", key);
    uint32_t id;
    if (find_text(tokenizer, text, &id)) {
        *out = (tern_token)id;
        return TERN_OK;
    }
    return error_set(err, TERN_MALFORMED, "tokenizer_config.json: \"%s\" is \"%.64s\", which is not in the vocabulary",
                     key, text);
}

static tern_status read_config(tern_tokenizer *tokenizer, const json_t *config, tern_error *err)
{
    tern_token bos = -1;
    tern_status status = find_named(tokenizer, config, "bos_token", &bos, err);
    if (status == TERN_OK) status = find_named(tokenizer, config, "eos_token", &tokenizer->eos, err);
    // A pad token is never needed to run a model; Hugging Face would add a missing one behind the vocabulary.
    if (status == TERN_OK) (void)find_named(tokenizer, config, "pad_token", &tokenizer->pad, NULL);
    if (status != TERN_OK || tokenizer->add_bos) return status; // the template knows best which token it adds
    tokenizer->bos = bos;
    tokenizer->add_bos = json_is_true(json_object_get(config, "add_bos_token"));
    return TERN_OK;
}

// eos_token_id: one id or several.
static tern_status read_generation_config(tern_tokenizer *tokenizer, const json_t *config, tern_error *err)
{
    const json_t *value = json_object_get(config, "eos_token_id");
    size_t n = json_is_array(value) ? json_array_size(value) : is_absent(value) ? 0 : 1;
    for (size_t i = 0; i < n; i++) {
        uint32_t id;
        if (!read_id(json_is_array(value) ? json_array_get(value, i) : value, &id) || id >= tokenizer->vocab.n_tokens)
            return error_set(err, TERN_MALFORMED, "generation_config.json: \"eos_token_id\" holds no id below %u",
                             tokenizer->vocab.n_tokens);
        tokenizer_protect(tokenizer, id);
        tokenizer->vocab.tokens[id].is_stop = true;
        if (tokenizer->eos < 0) tokenizer->eos = (tern_token)id;
    }
    return TERN_OK;
}

// -------------------------------------------------------------------------------------------------------- the whole

static tern_status build(tern_tokenizer *tokenizer, const json_t *root, const json_t *config, const json_t *generation,
                         uint32_t n_vocab, tern_error *err)
{
    const json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    tern_status status = tokenizer_json_read_kind(tokenizer, root, err);
    if (status == TERN_OK && !is_absent(added) && !json_is_array(added))
        status = error_set(err, TERN_MALFORMED, "\"added_tokens\" is not a list");
    if (status == TERN_OK) status = read_tokens(tokenizer, json_object_get(model, "vocab"), added, n_vocab, err);
    if (status == TERN_OK) status = read_unknown(tokenizer, model, err);
    if (status == TERN_OK) status = read_post_processor(tokenizer, json_object_get(root, "post_processor"), err);
    if (status == TERN_OK) status = read_config(tokenizer, config, err);
    if (status == TERN_OK) status = read_generation_config(tokenizer, generation, err);
    if (status != TERN_OK) return status;

    if (tokenizer->bos >= 0) tokenizer_protect(tokenizer, (uint32_t)tokenizer->bos);
    if (tokenizer->eos >= 0) tokenizer_protect(tokenizer, (uint32_t)tokenizer->eos);
    tokenizer_mark_stops_by_name(tokenizer);
    status = vocab_finish(&tokenizer->vocab, err);
    if (status == TERN_OK) status = read_merges(tokenizer, json_object_get(model, "merges"), err);
    tokenizer->bpe.ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    tokenizer->bpe.fuses_unknown = json_is_true(json_object_get(model, "fuse_unk"));
    if (status == TERN_OK) status = tokenizer_finish(tokenizer, err);
    return status;
}

tern_status tokenizer_from_json(const char *tokenizer_json, const char *tokenizer_config_json,
                                const char *generation_config_json, uint32_t n_vocab, tern_tokenizer **out,
                                tern_error *err)
{
    json_t *root = NULL, *config = NULL, *generation = NULL;
    tern_tokenizer *tokenizer = NULL;
    tern_status status = load(tokenizer_json, "tokenizer.json", &root, err);
    if (status == TERN_OK && tokenizer_config_json != NULL)
        status = load(tokenizer_config_json, "tokenizer_config.json", &config, err);
    if (status == TERN_OK && generation_config_json != NULL)
        status = load(generation_config_json, "generation_config.json", &generation, err);
    if (status == TERN_OK) status = tokenizer_create(&tokenizer, err);
    if (status == TERN_OK) {
        status = build(tokenizer, root, config, generation, n_vocab, err);
        if (status != TERN_OK) error_prefix(err, "tokenizer");
    }
    json_decref(root);
    json_decref(config);
    json_decref(generation);
    if (status == TERN_OK)
        *out = tokenizer;
    else
        tokenizer_free(tokenizer);
    return status;
}
