#include "tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tokenizer_build.h"

tern_status tokenizer_create(tern_tokenizer **out, tern_error *err)
{
    tern_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (tokenizer == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a tokenizer");
    tokenizer->bos = tokenizer->eos = tokenizer->pad = tokenizer->unknown = -1;
    *out = tokenizer;
    return TERN_OK;
}

void tokenizer_free(tern_tokenizer *tokenizer)
{
    if (tokenizer == NULL) return;
    for (int i = 0; i < 2; i++) {
        special_set_free(&tokenizer->raw[i]);
        special_set_free(&tokenizer->normalized[i]);
    }
    splitter_free(tokenizer->splitter);
    bpe_free(&tokenizer->bpe);
    vocab_free(&tokenizer->vocab);
    free(tokenizer->scores);
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
    static const char *const names[] = {"<|eot_id|>",    "<|im_end|>", "<|end|>",        "<end_of_turn>",
                                        "<|endoftext|>", "<EOT>",      "<|end_of_text|>"};
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

// Merges as "left right".
static tern_status export_merges(tern_tokenizer *tokenizer, tern_error *err)
{
    const vocab_table *vocab = &tokenizer->vocab;
    const bpe_model *bpe = &tokenizer->bpe;
    size_t n_text = 1;
    for (uint32_t i = 0; i < bpe->n_merges; i++)
        n_text += (size_t)vocab->tokens[bpe->merges[i].left].n_text + vocab->tokens[bpe->merges[i].right].n_text + 2;
    tokenizer->merges = malloc((bpe->n_merges + (size_t)1) * sizeof *tokenizer->merges);
    tokenizer->merge_texts = malloc(n_text);
    if (tokenizer->merges == NULL || tokenizer->merge_texts == NULL)
        return error_set(err, TERN_HOST_MEMORY, "no memory for a tokenizer");
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

// Scores that put the merges in their order: what a merge makes scores its rank, negated; what no merge makes, lower.
static tern_status export_scores(tern_tokenizer *tokenizer, tern_error *err)
{
    const vocab_table *vocab = &tokenizer->vocab;
    const bpe_model *bpe = &tokenizer->bpe;
    if (tokenizer->scores != NULL) return TERN_OK;
    tokenizer->scores = malloc(vocab->n_tokens * sizeof *tokenizer->scores);
    if (tokenizer->scores == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a tokenizer");
    for (uint32_t id = 0; id < vocab->n_tokens; id++)
        tokenizer->scores[id] = vocab->tokens[id].is_word ? -(float)bpe->n_merges - 1.0f : 0.0f;
    for (uint32_t i = bpe->n_merges; i-- > 0;) tokenizer->scores[bpe->merges[i].result] = -(float)i;
    bpe_model scored;
    tern_status status = bpe_create_scored(vocab, tokenizer->scores, bpe->unknown, &scored, NULL);
    tokenizer->is_scored = status == TERN_OK && scored.n_merges == bpe->n_merges;
    for (uint32_t i = 0; i < bpe->n_merges && tokenizer->is_scored; i++)
        tokenizer->is_scored = scored.merges[i].left == bpe->merges[i].left &&
                               scored.merges[i].right == bpe->merges[i].right;
    bpe_free(&scored);
    if (status == TERN_HOST_MEMORY) return error_set(err, status, "no memory for a tokenizer");
    return TERN_OK; // a vocabulary that scores cannot describe is no fault of its own
}

static tern_status build_export(tern_tokenizer *tokenizer, tern_error *err)
{
    const vocab_table *vocab = &tokenizer->vocab;
    tokenizer->texts = malloc(vocab->n_tokens * sizeof *tokenizer->texts);
    tokenizer->types = malloc(vocab->n_tokens * sizeof *tokenizer->types);
    if (tokenizer->texts == NULL || tokenizer->types == NULL)
        return error_set(err, TERN_HOST_MEMORY, "no memory for a tokenizer");
    for (uint32_t id = 0; id < vocab->n_tokens; id++) {
        tokenizer->texts[id] = vocab->tokens[id].text;
        tokenizer->types[id] = vocab->tokens[id].type;
    }
    return vocab->spelling == VOCAB_PIECES ? export_scores(tokenizer, err) : export_merges(tokenizer, err);
}

tern_status tokenizer_finish(tern_tokenizer *tokenizer, tern_error *err)
{
    const vocab_table *vocab = &tokenizer->vocab;
    if (tokenizer->add_bos && tokenizer->bos < 0)
        return error_set(err, TERN_MALFORMED, "the tokenizer adds a BOS token but names none");
    if (tokenizer->eos >= 0) vocab->tokens[tokenizer->eos].is_stop = true;
    tokenizer->n_used = vocab->n_tokens;
    while (tokenizer->n_used > 1 && vocab->tokens[tokenizer->n_used - 1].type == TOKEN_UNUSED) tokenizer->n_used--;
    tern_status status = TERN_OK;
    if (vocab->spelling == VOCAB_PIECES) {
        snprintf(tokenizer->description, sizeof tokenizer->description, "SentencePiece-style BPE, %u tokens",
                 tokenizer->n_used);
    } else {
        snprintf(tokenizer->description, sizeof tokenizer->description, "byte-level BPE (%s), %u tokens",
                 tokenizer->family->name, tokenizer->n_used);
        status = splitter_create(tokenizer->family, &tokenizer->splitter, err);
    }
    for (int i = 0; i < 2 && status == TERN_OK; i++) {
        special_kind raw = {.with_control = i == 1}, normalized = {i == 1, &tokenizer->normalizer};
        status = special_set_create(vocab, raw, &tokenizer->raw[i], err);
        if (status == TERN_OK) status = special_set_create(vocab, normalized, &tokenizer->normalized[i], err);
    }
    if (status == TERN_OK) status = build_export(tokenizer, err);
    return status;
}

const char *tokenizer_description(const tern_tokenizer *tokenizer) { return tokenizer->description; }

// What the keys of a GGUF file cannot say of this tokenizer; NULL: nothing is lost.
static const char *find_loss(const tern_tokenizer *tokenizer)
{
    if (tokenizer->normalizer.nfc) return "text is no longer brought to NFC";
    if (tokenizer->vocab.spelling == VOCAB_PIECES && !tokenizer->is_scored)
        return "its merges are not in an order that scores can give";
    bool adds_space = tokenizer->normalizer.prepends_space || tokenizer->metaspace.prefix != PREFIX_NONE;
    if (adds_space != tokenizer->strips_space) return "the space that text begins with is decoded otherwise";
    if (tokenizer->metaspace.splits) return "merges may now reach across spaces";
    if (tokenizer->metaspace.prefix != PREFIX_NONE)
        return "a space is put before every stretch between special tokens, also where there is one";
    for (uint32_t id = 0; id < tokenizer->vocab.n_tokens; id++) {
        const vocab_token *token = &tokenizer->vocab.tokens[id];
        if (token->strips_left || token->strips_right || token->is_single_word)
            return "special tokens no longer look at the white space and words beside them";
    }
    return NULL;
}

void tokenizer_get_export(const tern_tokenizer *tokenizer, tokenizer_export *out)
{
    bool is_pieces = tokenizer->vocab.spelling == VOCAB_PIECES;
    *out = (tokenizer_export){
        .model = is_pieces ? "llama" : "gpt2",
        .pre = is_pieces ? "default" : tokenizer->family->pre,
        .n_tokens = tokenizer->vocab.n_tokens,
        .tokens = tokenizer->texts,
        .token_types = tokenizer->types,
        .scores = tokenizer->scores,
        .n_merges = is_pieces ? 0 : tokenizer->bpe.n_merges,
        .merges = tokenizer->merges,
        .bos = tokenizer->bos,
        .eos = tokenizer->eos,
        .pad = tokenizer->pad,
        .unknown = tokenizer->unknown,
        .add_bos = tokenizer->add_bos,
        .add_space_prefix = tokenizer->normalizer.prepends_space || tokenizer->metaspace.prefix != PREFIX_NONE,
        .loss = find_loss(tokenizer),
    };
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

uint32_t tern_tokenizer_n_tokens(const tern_tokenizer *tokenizer) { return tokenizer->n_used; }

tern_token tern_tokenizer_bos(const tern_tokenizer *tokenizer) { return tokenizer->bos; }

bool tern_tokenizer_adds_bos(const tern_tokenizer *tokenizer) { return tokenizer->add_bos; }

bool tern_tokenizer_is_stop(const tern_tokenizer *tokenizer, tern_token id)
{
    return id >= 0 && (uint32_t)id < tokenizer->vocab.n_tokens && tokenizer->vocab.tokens[id].is_stop;
}
