#include "tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tokenizer_build.h"
#include "unicode.h"

#define MAX_TEXT_BYTES ((size_t)1 << 30) // positions in a word are 32 bits wide

tern_status tokenizer_create(tern_tokenizer **out, tern_error *err)
{
    tern_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (tokenizer == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a tokenizer");
    tokenizer->bos = tokenizer->eos = tokenizer->pad = -1;
    *out = tokenizer;
    return TERN_OK;
}

void tokenizer_free(tern_tokenizer *tokenizer)
{
    if (tokenizer == NULL) return;
    special_set_free(&tokenizer->user_defined);
    special_set_free(&tokenizer->special);
    splitter_free(tokenizer->splitter);
    bpe_free(&tokenizer->bpe);
    vocab_free(&tokenizer->vocab);
    free(tokenizer->texts);
    free(tokenizer->types);
    free(tokenizer->merges);
    free(tokenizer->merge_texts);
    free(tokenizer);
}

void tokenizer_protect(tern_tokenizer *tokenizer, uint32_t id)
{
    vocab_token *token = &tokenizer->vocab.tokens[id];
    if (token->text != NULL && token->type == TOKEN_NORMAL && token->n_bytes > 1)
        vocab_retype(&tokenizer->vocab, id, TOKEN_CONTROL);
}

void tokenizer_mark_stops_by_name(tern_tokenizer *tokenizer)
{
    // Files often name only one of several ends (gotcha 7: eos is <|end_of_text|> while chats end with <|eot_id|>).
    static const char *const names[] = {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<EOT>",
                                        "<|end_of_text|>"};
    for (uint32_t id = 0; id < tokenizer->vocab.n_tokens; id++) {
        vocab_token *token = &tokenizer->vocab.tokens[id];
        if (token->text == NULL || token->text[0] != '<' || token->type == TOKEN_UNUSED) continue;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            if (strcmp(token->text, names[i]) != 0) continue;
            token->is_stop = true;
            tokenizer_protect(tokenizer, id);
        }
    }
}

static tern_status build_export(tern_tokenizer *tokenizer, tern_error *err)
{
    const vocab_table *vocab = &tokenizer->vocab;
    const bpe_model *bpe = &tokenizer->bpe;
    size_t n_text = 1;
    for (uint32_t i = 0; i < bpe->n_merges; i++)
        n_text += (size_t)vocab->tokens[bpe->merges[i].left].n_text + vocab->tokens[bpe->merges[i].right].n_text + 2;
    tokenizer->texts = malloc(vocab->n_tokens * sizeof *tokenizer->texts);
    tokenizer->types = malloc(vocab->n_tokens * sizeof *tokenizer->types);
    tokenizer->merges = malloc((bpe->n_merges + (size_t)1) * sizeof *tokenizer->merges);
    tokenizer->merge_texts = malloc(n_text);
    if (tokenizer->texts == NULL || tokenizer->types == NULL || tokenizer->merges == NULL ||
        tokenizer->merge_texts == NULL)
        return error_set(err, TERN_HOST_MEMORY, "no memory for a tokenizer");
    for (uint32_t id = 0; id < vocab->n_tokens; id++) {
        tokenizer->texts[id] = vocab->tokens[id].text;
        tokenizer->types[id] = vocab->tokens[id].type;
    }
    char *p = tokenizer->merge_texts;
    for (uint32_t i = 0; i < bpe->n_merges; i++) {
        const vocab_token *left = &vocab->tokens[bpe->merges[i].left], *right = &vocab->tokens[bpe->merges[i].right];
        tokenizer->merges[i] = p;
        memcpy(p, left->text, left->n_text);
        p[left->n_text] = ' ';
        memcpy(p + left->n_text + 1, right->text, right->n_text + (size_t)1); // with its NUL
        p += (size_t)left->n_text + right->n_text + 2;
    }
    return TERN_OK;
}

tern_status tokenizer_finish(tern_tokenizer *tokenizer, tern_error *err)
{
    if (tokenizer->add_bos && tokenizer->bos < 0)
        return error_set(err, TERN_MALFORMED, "the tokenizer adds a BOS token but names none");
    if (tokenizer->eos >= 0) tokenizer->vocab.tokens[tokenizer->eos].is_stop = true;
    snprintf(tokenizer->description, sizeof tokenizer->description, "byte-level BPE (%s), %u tokens",
             tokenizer->family->name,
             tokenizer->vocab.n_tokens);
    tern_status status = splitter_create(tokenizer->family, &tokenizer->splitter, err);
    if (status == TERN_OK) status = special_set_create(&tokenizer->vocab, false, &tokenizer->user_defined, err);
    if (status == TERN_OK) status = special_set_create(&tokenizer->vocab, true, &tokenizer->special, err);
    if (status == TERN_OK) status = build_export(tokenizer, err);
    return status;
}

const char *tokenizer_description(const tern_tokenizer *tokenizer)
{
    return tokenizer->description;
}

void tokenizer_get_export(const tern_tokenizer *tokenizer, tokenizer_export *out)
{
    *out = (tokenizer_export){
        .model = "gpt2",
        .pre = tokenizer->family->pre,
        .n_tokens = tokenizer->vocab.n_tokens,
        .tokens = tokenizer->texts,
        .token_types = tokenizer->types,
        .n_merges = tokenizer->bpe.n_merges,
        .merges = tokenizer->merges,
        .bos = tokenizer->bos,
        .eos = tokenizer->eos,
        .pad = tokenizer->pad,
        .add_bos = tokenizer->add_bos,
    };
}

// What one call to tern_tokenizer_encode works with.
typedef struct encoding {
    const tern_tokenizer *tokenizer;
    splitter_run *run;
    bpe_work work;
    tern_tokens *out;
} encoding;

// Text without special tokens. Words never reach across its ends.
static tern_status encode_fragment(encoding *encoder, const char *text, size_t n, tern_error *err)
{
    size_t at = 0;
    while (at < n) {
        size_t end;
        tern_status status = splitter_next(encoder->run, text, n, at, &end, err);
        if (status == TERN_OK)
            status = bpe_encode(&encoder->tokenizer->bpe, &encoder->tokenizer->vocab, text + at, end - at, &encoder->work,
                                encoder->out, err);
        if (status != TERN_OK) return status;
        at = end;
    }
    return TERN_OK;
}

static tern_status encode_text(encoding *encoder, const char *text, size_t n, bool parse_special, tern_error *err)
{
    const tern_tokenizer *tokenizer = encoder->tokenizer;
    const special_set *set = parse_special ? &tokenizer->special : &tokenizer->user_defined;
    tern_status status = TERN_OK;
    size_t at = 0;
    special_match match;
    while (status == TERN_OK && special_set_find(set, &tokenizer->vocab, text, at, n, &match)) {
        status = encode_fragment(encoder, text + at, match.start - at, err);
        if (status == TERN_OK) status = tern_tokens_append(encoder->out, (tern_token)match.id, err);
        at = match.end;
    }
    return status == TERN_OK ? encode_fragment(encoder, text + at, n - at, err) : status;
}

tern_status tern_tokenizer_encode(const tern_tokenizer *tokenizer, const char *text, size_t n_bytes, int flags,
                                  tern_tokens *out, tern_error *err)
{
    const int known = TERN_TOKENIZE_ADD_BOS | TERN_TOKENIZE_PARSE_SPECIAL;
    if (tokenizer == NULL || out == NULL || (text == NULL && n_bytes > 0))
        return error_set(err, TERN_INVALID_ARGUMENT, "encode needs a tokenizer, a text and a place for the tokens");
    if ((flags & ~known) != 0) return error_set(err, TERN_INVALID_ARGUMENT, "unknown tokenizer flags 0x%x",
                                                (unsigned)flags);
    if (n_bytes > MAX_TEXT_BYTES)
        return error_set(err, TERN_LIMIT, "the text has %zu bytes; the limit is %zu", n_bytes, MAX_TEXT_BYTES);
    if (text == NULL) text = "";
    size_t bad;
    if (!utf8_validate(text, n_bytes, &bad))
        return error_set(err, TERN_MALFORMED, "the text is not UTF-8: byte 0x%02x at offset %zu",
                         (unsigned char)text[bad], bad);

    encoding encoder = {.tokenizer = tokenizer, .out = out};
    size_t n_before = out->n;
    bool parse_special = (flags & TERN_TOKENIZE_PARSE_SPECIAL) != 0;
    bool add_bos = (flags & TERN_TOKENIZE_ADD_BOS) != 0 && tokenizer->add_bos;
    special_match first;
    // A template may have written BOS itself; a second one makes models worse.
    if (add_bos && parse_special && special_set_find(&tokenizer->special, &tokenizer->vocab, text, 0, n_bytes, &first) &&
        first.start == 0 && (tern_token)first.id == tokenizer->bos)
        add_bos = false;
    tern_status status = splitter_run_create(tokenizer->splitter, &encoder.run, err);
    if (status == TERN_OK && add_bos) status = tern_tokens_append(out, tokenizer->bos, err);
    if (status == TERN_OK) status = encode_text(&encoder, text, n_bytes, parse_special, err);
    if (status != TERN_OK) out->n = n_before;
    splitter_run_free(encoder.run);
    bpe_work_free(&encoder.work);
    return status;
}

void tern_tokens_free(tern_tokens *tokens)
{
    if (tokens == NULL) return;
    free(tokens->ids);
    *tokens = (tern_tokens){0};
}

tern_status tern_tokens_append(tern_tokens *tokens, tern_token id, tern_error *err)
{
    if (tokens->n == tokens->capacity) {
        uint64_t capacity, bytes;
        size_t size;
        if (!check_add(tokens->capacity, tokens->capacity / 2 + 64, &capacity) ||
            !check_mul(capacity, sizeof *tokens->ids, &bytes) || !check_size(bytes, &size))
            return error_set(err, TERN_HOST_MEMORY, "too many tokens");
        tern_token *ids = realloc(tokens->ids, size);
        if (ids == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu tokens", (size_t)capacity);
        tokens->ids = ids;
        tokens->capacity = (size_t)capacity;
    }
    tokens->ids[tokens->n++] = id;
    return TERN_OK;
}

uint32_t tern_tokenizer_n_tokens(const tern_tokenizer *tokenizer)
{
    return tokenizer->vocab.n_tokens;
}

tern_token tern_tokenizer_bos(const tern_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

bool tern_tokenizer_adds_bos(const tern_tokenizer *tokenizer)
{
    return tokenizer->add_bos;
}

bool tern_tokenizer_is_stop(const tern_tokenizer *tokenizer, tern_token id)
{
    return id >= 0 && (uint32_t)id < tokenizer->vocab.n_tokens && tokenizer->vocab.tokens[id].is_stop;
}
