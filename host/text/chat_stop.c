// Stop texts in a reply that arrives in pieces.
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "check.h"
#include "error.h"

void chat_stopper_init(chat_stopper *stopper, const char *const *texts, size_t n_texts)
{
    *stopper = (chat_stopper){.texts = texts, .n_texts = n_texts};
}

void chat_stopper_free(chat_stopper *stopper)
{
    free(stopper->held);
    *stopper = (chat_stopper){0};
}

// Drops what the last call handed out, so that the text kept back stands at the front again.
static void drop_out(chat_stopper *stopper)
{
    memmove(stopper->held, stopper->held + stopper->n_out, stopper->n_held);
    stopper->n_out = 0;
}

static tern_status append(chat_stopper *stopper, const char *text, size_t n, tern_error *err)
{
    uint64_t capacity;
    size_t size;
    if (!check_add(stopper->n_held, n, &capacity) || !check_add(capacity, capacity / 2 + 64, &capacity) ||
        !check_size(capacity, &size))
        return error_set(err, TERN_HOST_MEMORY, "a piece of %zu bytes is too large", n);
    if (stopper->capacity < stopper->n_held + n) {
        char *held = realloc(stopper->held, size);
        if (held == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a piece of text of %zu bytes", n);
        stopper->held = held;
        stopper->capacity = size;
    }
    memcpy(stopper->held + stopper->n_held, text, n);
    stopper->n_held += n;
    return TERN_OK;
}

// True if a stop text, or the beginning of one that the end of the text cuts off, stands at `at`.
static bool may_stop_at(const chat_stopper *stopper, size_t at, bool *is_whole)
{
    size_t rest = stopper->n_held - at;
    bool found = false;
    for (size_t i = 0; i < stopper->n_texts; i++) {
        size_t n = strlen(stopper->texts[i]);
        if (memcmp(stopper->held + at, stopper->texts[i], n < rest ? n : rest) != 0) continue;
        found = true;
        *is_whole |= n <= rest;
    }
    return found;
}

tern_status chat_stopper_push(chat_stopper *stopper, const char *text, size_t n, const char **out, size_t *n_out,
                              tern_error *err)
{
    size_t at = 0;
    bool is_whole = false;
    if (stopper->n_out > 0) drop_out(stopper);
    if (!stopper->is_stopped && n > 0) {
        tern_status status = append(stopper, text, n, err);
        if (status != TERN_OK) return status;
        while (at < stopper->n_held && !may_stop_at(stopper, at, &is_whole)) at++;
    }
    *out = stopper->held != NULL ? stopper->held : "";
    *n_out = stopper->n_out = at;
    stopper->n_held -= at;
    if (is_whole) {
        stopper->is_stopped = true;
        stopper->n_held = 0;
    }
    return TERN_OK;
}

void chat_stopper_finish(chat_stopper *stopper, const char **out, size_t *n_out)
{
    size_t at = 0;
    bool is_whole = false;
    if (stopper->n_out > 0) drop_out(stopper);
    // A whole stop text may stand behind what was only the beginning of another: "ba" in "abab " held for "abab c".
    while (at < stopper->n_held && !(may_stop_at(stopper, at, &is_whole) && is_whole)) at++;
    stopper->is_stopped |= is_whole;
    *out = stopper->held != NULL ? stopper->held : "";
    *n_out = stopper->n_out = at;
    stopper->n_held = 0;
}
