// Ids to text, piece by piece. The bytes of all tokens form one stream that is read as UTF-8 the lossy way: each
// maximal invalid part becomes one U+FFFD. So pushing ids one by one gives what decoding them at once would give.
// (Hugging Face's ByteFallback replaces all bytes of a run of byte tokens with a fault in it, which nobody can know
// before its end.)
#include <stdlib.h>
#include <string.h>

#include "tokenizer_build.h"
#include "unicode.h"

#define REPLACEMENT "\xef\xbf\xbd"

struct tern_detokenizer {
    const tern_tokenizer *tokenizer;
    bool show_special;
    bool at_start;    // no text came out yet
    size_t n_pending; // < 4: the incomplete sequence at the front of `bytes`
    char *bytes;      // pending, then the new token
    char *text;       // what the last call returned
};

tern_status tern_detokenizer_create(const tern_tokenizer *tokenizer, bool show_special, tern_detokenizer **out,
                                    tern_error *err)
{
    if (tokenizer == NULL || out == NULL)
        return error_set(err, TERN_INVALID_ARGUMENT, "a detokenizer needs a tokenizer");
    // Room for the longest token from the start, so that push cannot run out of memory. Each byte may become three.
    size_t n = (size_t)tokenizer->vocab.max_bytes + 4;
    tern_detokenizer *detokenizer = calloc(1, sizeof *detokenizer);
    if (detokenizer != NULL) {
        detokenizer->tokenizer = tokenizer;
        detokenizer->show_special = show_special;
        detokenizer->at_start = true;
        detokenizer->bytes = malloc(n);
        detokenizer->text = malloc(3 * n);
    }
    if (detokenizer == NULL || detokenizer->bytes == NULL || detokenizer->text == NULL) {
        tern_detokenizer_free(detokenizer);
        return error_set(err, TERN_HOST_MEMORY, "no memory for a detokenizer");
    }
    *out = detokenizer;
    return TERN_OK;
}

void tern_detokenizer_free(tern_detokenizer *detokenizer)
{
    if (detokenizer == NULL) return;
    free(detokenizer->bytes);
    free(detokenizer->text);
    free(detokenizer);
}

tern_status tern_detokenizer_push(tern_detokenizer *detokenizer, tern_token id, const char **text, size_t *n_bytes,
                                  tern_error *err)
{
    if (detokenizer == NULL || text == NULL || n_bytes == NULL)
        return error_set(err, TERN_INVALID_ARGUMENT, "push needs a detokenizer and a place for the text");
    const vocab_table *vocab = &detokenizer->tokenizer->vocab;
    if (id < 0 || (uint32_t)id >= vocab->n_tokens)
        return error_set(err, TERN_INVALID_ARGUMENT, "token %d is outside the tokenizer's %u", id, vocab->n_tokens);
    const vocab_token *token = &vocab->tokens[id];
    size_t n = detokenizer->n_pending;
    if (detokenizer->show_special || !vocab_is_hidden(token)) {
        memcpy(detokenizer->bytes + n, token->bytes, token->n_bytes);
        n += token->n_bytes;
    }
    size_t n_text = 0, at = 0;
    while (at < n) {
        utf8_step step = utf8_next(detokenizer->bytes + at, n - at);
        if (step.kind == UTF8_INCOMPLETE) break;
        const char *from = step.kind == UTF8_VALID ? detokenizer->bytes + at : REPLACEMENT;
        size_t count = step.kind == UTF8_VALID ? step.n : sizeof REPLACEMENT - 1;
        memcpy(detokenizer->text + n_text, from, count);
        n_text += count;
        at += step.n;
    }
    detokenizer->n_pending = n - at;
    memmove(detokenizer->bytes, detokenizer->bytes + at, n - at);
    // The space that encoding put in front of the text.
    bool drops_space = detokenizer->at_start && detokenizer->tokenizer->strips_space && n_text > 0 &&
                       detokenizer->text[0] == ' ';
    if (n_text > 0) detokenizer->at_start = false;
    *text = detokenizer->text + drops_space;
    *n_bytes = n_text - drops_space;
    return TERN_OK;
}

tern_status tern_detokenizer_finish(tern_detokenizer *detokenizer, const char **text, size_t *n_bytes, tern_error *err)
{
    if (detokenizer == NULL || text == NULL || n_bytes == NULL)
        return error_set(err, TERN_INVALID_ARGUMENT, "finish needs a detokenizer and a place for the text");
    memcpy(detokenizer->text, REPLACEMENT, sizeof REPLACEMENT - 1);
    *text = detokenizer->text;
    *n_bytes = detokenizer->n_pending > 0 ? sizeof REPLACEMENT - 1 : 0;
    detokenizer->n_pending = 0;
    detokenizer->at_start = true;
    return TERN_OK;
}
