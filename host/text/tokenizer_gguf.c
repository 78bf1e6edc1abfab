// The tokenizer.ggml.* keys of a GGUF file (FORMATS.md 1.8, 6.2 to 6.4).
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer_build.h"

#define KEY(name) "tokenizer.ggml." name

static bool equals(gguf_string string, const char *text)
{
    return string.n == strlen(text) && memcmp(string.data, text, string.n) == 0;
}

static int shown(gguf_string string) { return string.n > 64 ? 64 : (int)string.n; }

static tern_status read_model(const gguf_file *file, vocab_spelling *out, tern_error *err)
{
    gguf_string model;
    tern_status status = gguf_get_string(file, KEY("model"), &model, err);
    if (status == TERN_NOT_FOUND && gguf_find(file, KEY("tokens")) != NULL)
        return error_set(err, TERN_MALFORMED, "the file has tokens but no " KEY("model"));
    if (status == TERN_NOT_FOUND || (status == TERN_OK && equals(model, "no_vocab")))
        return error_set(err, TERN_NOT_FOUND, "the file has no tokenizer");
    if (status != TERN_OK) return status;
    if (!equals(model, "gpt2") && !equals(model, "llama"))
        return error_set(err, TERN_UNSUPPORTED, KEY("model") " \"%.*s\" is not supported, only gpt2 and llama",
                         shown(model), model.data);
    *out = equals(model, "llama") ? VOCAB_PIECES : VOCAB_BYTE_LEVEL;
    return TERN_OK;
}

// Token types, or NULL if the file has none: then all are normal.
static tern_status read_types(const gguf_file *file, uint32_t n_tokens, const uint8_t **out, tern_error *err)
{
    *out = NULL;
    const gguf_value *value = gguf_find(file, KEY("token_type"));
    if (value == NULL) return TERN_OK;
    if (value->type != GGUF_ARRAY || value->element_type != GGUF_I32 || value->count != n_tokens ||
        value->n_bytes != (size_t)n_tokens * sizeof(int32_t))
        return error_set(err, TERN_MALFORMED, KEY("token_type") " is not a list of %u int32", n_tokens);
    *out = value->data;
    return TERN_OK;
}

// An array of strings; the caller frees *out. NOT_FOUND if it is absent.
static tern_status read_strings(const gguf_file *file, const char *key, uint64_t max, gguf_string **out, size_t *n,
                                tern_error *err)
{
    const gguf_value *value = gguf_find(file, key);
    if (value == NULL) return TERN_NOT_FOUND;
    if (value->type != GGUF_ARRAY || value->element_type != GGUF_STRING)
        return error_set(err, TERN_MALFORMED, "%s is not a list of strings", key);
    if (value->count > max)
        return error_set(err, TERN_LIMIT, "%s has %llu entries; the limit is %llu", key,
                         (unsigned long long)value->count, (unsigned long long)max);
    size_t count = (size_t)value->count; // below max, so it is safe to multiply
    gguf_string *strings = malloc((count > 0 ? count : 1) * sizeof *strings);
    if (strings == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu strings of %s", count, key);
    tern_status status = gguf_array_strings(file, key, strings, count, err);
    if (status != TERN_OK) {
        free(strings);
        return status;
    }
    *out = strings;
    *n = count;
    return TERN_OK;
}

// Of pieces: finite, one for each token. What makes their merges.
static tern_status read_scores(tern_tokenizer *tokenizer, const gguf_file *file, tern_error *err)
{
    const gguf_value *value = gguf_find(file, KEY("scores"));
    uint32_t n = tokenizer->vocab.n_tokens;
    if (value == NULL)
        return error_set(err, TERN_MALFORMED, KEY("scores") " is missing, which " KEY("model") " llama needs");
    if (value->type != GGUF_ARRAY || value->element_type != GGUF_F32 || value->count != n ||
        value->n_bytes != (size_t)n * sizeof(float))
        return error_set(err, TERN_MALFORMED, KEY("scores") " is not a list of %u float32", n);
    tokenizer->scores = malloc((size_t)n * sizeof(float));
    if (tokenizer->scores == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %u scores", n);
    memcpy(tokenizer->scores, value->data, value->n_bytes);
    for (uint32_t id = 0; id < n; id++)
        if (!isfinite(tokenizer->scores[id]))
            return error_set(err, TERN_MALFORMED, KEY("scores") " of token %u is not a finite number", id);
    tokenizer->is_scored = true;
    return TERN_OK;
}

static tern_status set_tokens(tern_tokenizer *tokenizer, const gguf_string *strings, const uint8_t *types,
                              tern_error *err)
{
    bool is_pieces = tokenizer->vocab.spelling == VOCAB_PIECES;
    for (uint32_t id = 0; id < tokenizer->vocab.n_tokens; id++) {
        int32_t type = TOKEN_NORMAL;
        if (types != NULL) memcpy(&type, types + (size_t)id * sizeof type, sizeof type); // the file does not align it
        if (type < TOKEN_UNDEFINED || type > TOKEN_BYTE)
            return error_set(err, TERN_MALFORMED, "token %u has type %d, which does not exist", id, type);
        uint8_t byte;
        if (types == NULL && is_pieces && vocab_byte(strings[id].data, strings[id].n, &byte)) type = TOKEN_BYTE;
        if (type == TOKEN_BYTE && !is_pieces)
            return error_set(err, TERN_UNSUPPORTED, "token %u is a byte token in a byte-level vocabulary", id);
        tern_status status = vocab_set(&tokenizer->vocab, id, strings[id].data, strings[id].n, (token_type)type, err);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

static tern_status read_tokens(tern_tokenizer *tokenizer, const gguf_file *file, vocab_spelling spelling,
                               uint32_t n_vocab, tern_error *err)
{
    gguf_string *strings = NULL;
    size_t n = 0;
    const uint8_t *types = NULL;
    tern_status status = read_strings(file, KEY("tokens"), VOCAB_MAX_TOKENS, &strings, &n, err);
    if (status == TERN_NOT_FOUND) return error_set(err, TERN_MALFORMED, KEY("tokens") " is missing");
    if (status == TERN_OK && n > n_vocab)
        status = error_set(err, TERN_MALFORMED, KEY("tokens") " has %zu entries, but the model has %u rows", n,
                           n_vocab);
    if (status == TERN_OK) status = vocab_create((uint32_t)n, spelling, &tokenizer->vocab, err);
    if (status == TERN_OK) status = read_types(file, tokenizer->vocab.n_tokens, &types, err);
    if (status == TERN_OK) status = set_tokens(tokenizer, strings, types, err);
    free(strings);
    return status;
}

static tern_status read_merges(tern_tokenizer *tokenizer, const gguf_file *file, tern_error *err)
{
    gguf_string *strings = NULL;
    size_t n = 0;
    tern_status status = read_strings(file, KEY("merges"), BPE_MAX_MERGES, &strings, &n, err);
    if (status == TERN_NOT_FOUND) return error_set(err, TERN_MALFORMED, KEY("merges") " is missing");
    if (status == TERN_OK) status = bpe_create(&tokenizer->vocab, n, BPE_NO_TOKEN, &tokenizer->bpe, err);
    for (size_t i = 0; status == TERN_OK && i < n; i++) {
        const gguf_string merge = strings[i];
        const char *space = merge.n < 2 ? NULL : memchr(merge.data + 1, ' ', merge.n - 1); // a half is not empty
        if (space == NULL) {
            status = error_set(err, TERN_MALFORMED, "merge %zu (\"%.*s\") is not a pair of pieces", i, shown(merge),
                               merge.data);
            break;
        }
        size_t n_left = (size_t)(space - merge.data);
        status = bpe_add_merge(&tokenizer->bpe, &tokenizer->vocab, merge.data, n_left, space + 1, merge.n - n_left - 1,
                               err);
    }
    free(strings);
    return status;
}

static bool has_token(const tern_tokenizer *tokenizer, uint32_t id, const char *text)
{
    return id < tokenizer->vocab.n_tokens && strcmp(tokenizer->vocab.tokens[id].text, text) == 0;
}

// Files without a splitter name (Microsoft's own among them) or with "default" (a converter that did not know): by what
// is known of the model. Guessing wrong works, only worse, so "default" is not taken to mean GPT-2.
static tern_status choose_family(tern_tokenizer *tokenizer, const gguf_file *file, const char *architecture,
                                 tern_error *err)
{
    gguf_string pre = {"", 0};
    tern_status status = gguf_get_string(file, KEY("pre"), &pre, err);
    if (status != TERN_OK && status != TERN_NOT_FOUND) return status;
    bool is_default = equals(pre, "default");
    if (pre.n > 0 && !is_default) {
        tokenizer->family = splitter_by_pre(pre.data, pre.n);
    } else if (strcmp(architecture, "bitnet-b1.58") == 0 || strcmp(architecture, "bitnet-25") == 0 ||
               (tokenizer->vocab.n_tokens == 128256 && has_token(tokenizer, 128000, "<|begin_of_text|>"))) {
        tokenizer->family = &splitter_llama3;
    } else if (has_token(tokenizer, 151644, "<|im_start|>")) {
        tokenizer->family = &splitter_qwen2;
    } else if (!is_default) {
        tokenizer->family = &splitter_gpt2;
    }
    if (tokenizer->family == NULL)
        return error_set(err, TERN_UNSUPPORTED, KEY("pre") " \"%.*s\" is not supported", shown(pre), pre.data);
    return TERN_OK;
}

// *out stays as it is if the key is absent.
static tern_status read_special(tern_tokenizer *tokenizer, const gguf_file *file, const char *key, tern_token *out,
                                tern_error *err)
{
    uint32_t id;
    tern_status status = gguf_get_u32(file, key, &id, err);
    if (status == TERN_NOT_FOUND) return TERN_OK;
    if (status != TERN_OK) return status;
    if (id >= tokenizer->vocab.n_tokens)
        return error_set(err, TERN_MALFORMED, "%s is %u, but there are %u tokens", key, id, tokenizer->vocab.n_tokens);
    *out = (tern_token)id;
    return TERN_OK;
}

static tern_status read_specials(tern_tokenizer *tokenizer, const gguf_file *file, tern_error *err)
{
    tern_token eot = -1;
    bool add_eos = false, is_pieces = tokenizer->vocab.spelling == VOCAB_PIECES;
    // What the SentencePiece library gives these roles by default.
    if (is_pieces && tokenizer->vocab.n_tokens > 2) {
        tokenizer->unknown = 0;
        tokenizer->bos = 1;
        tokenizer->eos = 2;
    }
    tern_status status = read_special(tokenizer, file, KEY("bos_token_id"), &tokenizer->bos, err);
    if (status == TERN_OK) status = read_special(tokenizer, file, KEY("eos_token_id"), &tokenizer->eos, err);
    if (status == TERN_OK) status = read_special(tokenizer, file, KEY("eot_token_id"), &eot, err);
    if (status == TERN_OK) status = read_special(tokenizer, file, KEY("padding_token_id"), &tokenizer->pad, err);
    if (status == TERN_OK && is_pieces)
        status = read_special(tokenizer, file, KEY("unknown_token_id"), &tokenizer->unknown, err);
    if (status != TERN_OK) return status;
    // Not the padding token: files that need none name an ordinary one ("!").
    const tern_token roles[] = {tokenizer->bos, tokenizer->eos, eot, tokenizer->unknown};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (roles[i] >= 0) tokenizer_protect(tokenizer, (uint32_t)roles[i]);
    if (eot >= 0) tokenizer->vocab.tokens[eot].is_stop = true;
    tokenizer_mark_stops_by_name(tokenizer);

    status = gguf_get_bool(file, KEY("add_eos_token"), &add_eos, err);
    if (status != TERN_OK && status != TERN_NOT_FOUND) return status;
    if (add_eos)
        return error_set(err, TERN_UNSUPPORTED,
                         KEY("add_eos_token") " is true: an end after every prompt is not supported");
    status = gguf_get_bool(file, KEY("add_bos_token"), &tokenizer->add_bos, err);
    if (status == TERN_NOT_FOUND) {
        tokenizer->add_bos = (is_pieces || tokenizer->family->forces_bos) && tokenizer->bos >= 0;
        status = TERN_OK;
    }
    return status;
}

// How pieces meet text.
static tern_status read_spaces(tern_tokenizer *tokenizer, const gguf_file *file, tern_error *err)
{
    bool adds_prefix = true, removes = false;
    tern_status status = gguf_get_bool(file, KEY("add_space_prefix"), &adds_prefix, err);
    if (status == TERN_OK || status == TERN_NOT_FOUND)
        status = gguf_get_bool(file, KEY("remove_extra_whitespaces"), &removes, err);
    if (status != TERN_OK && status != TERN_NOT_FOUND) return status;
    if (removes)
        return error_set(err, TERN_UNSUPPORTED, KEY("remove_extra_whitespaces") " is true, which is not supported");
    tokenizer->normalizer = (text_normalizer){.maps_spaces = true, .prepends_space = adds_prefix};
    tokenizer->strips_space = adds_prefix;
    return TERN_OK;
}

static tern_status finish_pieces(tern_tokenizer *tokenizer, const gguf_file *file, tern_error *err)
{
    tern_status status = read_spaces(tokenizer, file, err);
    if (status == TERN_OK) status = read_scores(tokenizer, file, err);
    if (status == TERN_OK)
        status = bpe_create_scored(&tokenizer->vocab, tokenizer->scores, (uint32_t)tokenizer->unknown, &tokenizer->bpe,
                                   err);
    tokenizer->bpe.fuses_unknown = true;
    return status;
}

tern_status tokenizer_from_gguf(const gguf_file *file, const char *architecture, uint32_t n_vocab, tern_tokenizer **out,
                                tern_error *err)
{
    tern_tokenizer *tokenizer = NULL;
    vocab_spelling spelling = VOCAB_BYTE_LEVEL;
    tern_status status = read_model(file, &spelling, err);
    if (status == TERN_OK) status = tokenizer_create(&tokenizer, err);
    if (status == TERN_OK) status = read_tokens(tokenizer, file, spelling, n_vocab, err);
    if (status == TERN_OK && spelling == VOCAB_BYTE_LEVEL) status = choose_family(tokenizer, file, architecture, err);
    if (status == TERN_OK) status = read_specials(tokenizer, file, err);
    if (status == TERN_OK) status = vocab_finish(&tokenizer->vocab, err);
    if (status == TERN_OK && spelling == VOCAB_PIECES) {
        status = finish_pieces(tokenizer, file, err);
    } else if (status == TERN_OK) {
        status = read_merges(tokenizer, file, err);
        tokenizer->bpe.ignore_merges = tokenizer->family->ignores_merges;
    }
    if (status == TERN_OK) status = tokenizer_finish(tokenizer, err);
    if (status == TERN_OK)
        *out = tokenizer;
    else
        tokenizer_free(tokenizer);
    return status;
}
