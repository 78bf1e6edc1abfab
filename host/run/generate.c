// tern_generate: the convenience over tokenizer, session and sampler.
#include <stddef.h>

#include "session.h"

static bool deliver(tern_text_callback on_text, void *user, const char *text, size_t n)
{
    return n == 0 || on_text == NULL || on_text(user, text, n);
}

// One token: sampled, shown, evaluated. *more becomes false at a stop token or when the callback asks to stop.
static tern_status one_token(tern_session *session, tern_sampler *sampler, tern_detokenizer *detokenizer,
                             const tern_tokenizer *tokenizer, tern_text_callback on_text, void *user, bool is_last,
                             bool *more, size_t *n_generated, tern_error *err)
{
    tern_token id;
    const char *text;
    size_t n;
    tern_status status = tern_sampler_sample(sampler, session, 0, &id, err);
    if (status != TERN_OK) return status;
    if (tern_tokenizer_is_stop(tokenizer, id)) {
        *more = false;
        return TERN_OK;
    }
    ++*n_generated;
    status = tern_sampler_accept(sampler, id, err);
    if (status == TERN_OK) status = tern_detokenizer_push(detokenizer, id, &text, &n, err);
    if (status != TERN_OK) return status;
    *more = deliver(on_text, user, text, n);
    if (!*more || is_last) return TERN_OK;
    tern_row row = {.sequence = 0, .token = id, .wants_logits = true};
    return tern_session_eval(session, &row, 1, err);
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
    tern_detokenizer *detokenizer = NULL;
    size_t count = 0;
    tern_status status = tern_tokenizer_encode(tokenizer, prompt, prompt_bytes, TERN_TOKENIZE_ADD_BOS, &tokens, err);
    if (status == TERN_OK) status = tern_detokenizer_create(tokenizer, false, &detokenizer, err);
    if (status == TERN_OK) status = tern_session_sync(session, 0, tokens.ids, tokens.n, NULL, err);
    for (size_t i = 0; i < tokens.n && status == TERN_OK; i++) {
        const char *text; // of the prompt: passed over, so that the reply continues it as one text
        size_t n;
        status = tern_detokenizer_push(detokenizer, tokens.ids[i], &text, &n, err);
        if (status == TERN_OK) status = tern_sampler_accept(sampler, tokens.ids[i], err);
    }
    bool more = true;
    for (size_t i = 0; i < n_tokens && more && status == TERN_OK; i++)
        status = one_token(session, sampler, detokenizer, tokenizer, on_text, user, i + 1 == n_tokens, &more, &count,
                           err);
    if (status == TERN_OK) {
        const char *text;
        size_t n;
        status = tern_detokenizer_finish(detokenizer, &text, &n, err);
        if (status == TERN_OK) deliver(on_text, user, text, n);
    }
    tern_detokenizer_free(detokenizer);
    tern_tokens_free(&tokens);
    if (n_generated != NULL) *n_generated = count;
    return status;
}
