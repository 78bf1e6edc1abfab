// Generation: the loop over sampler and session, and tern_generate, the convenience over them and the tokenizer.
#include <stddef.h>

#include "session.h"

// Gives a chosen token away; the sampler hears of those that are wanted.
typedef struct taker {
    tern_sampler *sampler;
    tern_token_callback on_token;
    void *user;
    tern_status status; // the sampler's
    tern_error *err;
} taker;

static bool take(void *user, tern_token id)
{
    taker *t = user;
    if (!t->on_token(t->user, id)) return false;
    t->status = tern_sampler_accept(t->sampler, id, t->err);
    return t->status == TERN_OK;
}

tern_status tern_generate_tokens(tern_session *session, tern_sampler *sampler, uint32_t sequence, size_t n,
                                 tern_token_callback on_token, void *user, tern_error *err)
{
    taker t = {.sampler = sampler, .on_token = on_token, .user = user, .err = err};
    for (size_t i = 0; i < n; i++) {
        tern_token id;
        tern_status status = tern_sampler_sample(sampler, session, 0, &id, err);
        if (status != TERN_OK || !take(&t, id) || i + 1 == n) return status == TERN_OK ? t.status : status;
        if (sampler_is_greedy(sampler)) {
            status = session_decode_greedy(session, sequence, id, n - 1, take, &t, err);
            return status == TERN_OK ? t.status : status;
        }
        const tern_row row = {.sequence = sequence, .token = id, .wants_logits = true};
        status = tern_session_eval(session, &row, 1, err);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

// Text made of tokens as they come.
typedef struct text_sink {
    const tern_tokenizer *tokenizer;
    tern_detokenizer *detokenizer;
    tern_text_callback on_text;
    void *user;
    size_t n_tokens;
    tern_status status;
    tern_error *err;
} text_sink;

static bool deliver(const text_sink *t, const char *text, size_t n)
{
    return n == 0 || t->on_text == NULL || t->on_text(t->user, text, n);
}

static bool show(void *user, tern_token id)
{
    text_sink *t = user;
    const char *text;
    size_t n;
    if (tern_tokenizer_is_stop(t->tokenizer, id)) return false;
    t->n_tokens++;
    t->status = tern_detokenizer_push(t->detokenizer, id, &text, &n, t->err);
    return t->status == TERN_OK && deliver(t, text, n);
}

tern_status tern_generate(tern_session *session, tern_sampler *sampler, const char *prompt, size_t n_tokens,
                          tern_text_callback on_text, void *user, size_t *n_generated, tern_error *err)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(session_model(session));
    if (tokenizer == NULL)
        return error_set(err, TERN_UNSUPPORTED, "this model has no tokenizer; evaluate token ids instead");
    size_t prompt_bytes = 0;
    while (prompt[prompt_bytes] != 0) prompt_bytes++;
    tern_tokens tokens = {0};
    text_sink sink = {.tokenizer = tokenizer, .on_text = on_text, .user = user, .err = err};
    tern_status status = tern_tokenizer_encode(tokenizer, prompt, prompt_bytes, TERN_TOKENIZE_ADD_BOS, &tokens, err);
    if (status == TERN_OK) status = tern_detokenizer_create(tokenizer, false, &sink.detokenizer, err);
    if (status == TERN_OK) status = tern_session_sync(session, 0, tokens.ids, tokens.n, NULL, err);
    for (size_t i = 0; i < tokens.n && status == TERN_OK; i++) {
        const char *text; // of the prompt: passed over, so that the reply continues it as one text
        size_t n;
        status = tern_detokenizer_push(sink.detokenizer, tokens.ids[i], &text, &n, err);
        if (status == TERN_OK) status = tern_sampler_accept(sampler, tokens.ids[i], err);
    }
    if (status == TERN_OK) status = tern_generate_tokens(session, sampler, 0, n_tokens, show, &sink, err);
    if (status == TERN_OK) status = sink.status;
    if (status == TERN_OK) {
        const char *text;
        size_t n;
        status = tern_detokenizer_finish(sink.detokenizer, &text, &n, err);
        if (status == TERN_OK) deliver(&sink, text, n);
    }
    tern_detokenizer_free(sink.detokenizer);
    tern_tokens_free(&tokens);
    if (n_generated != NULL) *n_generated = sink.n_tokens;
    return status;
}
