// One turn of a conversation.
#include <stdlib.h>
#include <string.h>

#include "chat_state.h"
#include "check.h"
#include "clock.h"

tern_status chat_begin(chat_state *c, tern_error *err)
{
    tern_sampler *fresh = NULL;
    tern_status status = tern_sampler_create(&c->sampling.options, &fresh, err);
    if (status != TERN_OK) return status;
    tern_sampler_free(c->sampler);
    c->sampler = fresh;
    c->sampling.options.seed++; // asked again in the next conversation, a question may get another answer
    c->n_accepted = 0;
    c->turn = (chat_turn_stats){0};
    return TERN_OK;
}

// ---------------------------------------------------------------------------------------------------------- showing

static tern_status remember(chat_state *c, const char *text, size_t n, tern_error *err)
{
    uint64_t capacity;
    size_t size;
    if (!check_add(c->n_text, n, &capacity) || !check_add(capacity, capacity / 2 + 256, &capacity) ||
        !check_size(capacity, &size))
        return error_set(err, TERN_LIMIT, "the reply is too long");
    if (c->n_text + n > c->text_capacity) {
        char *larger = realloc(c->text, size);
        if (!larger) return error_set(err, TERN_HOST_MEMORY, "no memory for a reply of %zu bytes", c->n_text + n);
        c->text = larger;
        c->text_capacity = size;
    }
    memcpy(c->text + c->n_text, text, n);
    c->n_text += n;
    return TERN_OK;
}

// Writes a piece of the reply. A terminal gets no control characters: a model is not to move the cursor.
static tern_status show(chat_state *c, const char *text, size_t n, tern_error *err)
{
    if (n == 0) return TERN_OK;
    tern_status status = remember(c, text, n, err);
    if (status != TERN_OK) return status;
    c->last_shown = text[n - 1];
    if (!cli_stdout_is_terminal()) return cli_write(text, n, err);
    char *visible = malloc(n);
    if (!visible) return error_set(err, TERN_HOST_MEMORY, "no memory for a piece of %zu bytes", n);
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)text[i];
        visible[i] = (byte < 32 && byte != '\n' && byte != '\t') || byte == 127 ? '?' : text[i];
    }
    status = cli_write(visible, n, err);
    free(visible);
    return status;
}

// What the detokeniser and the stopper still keep back, and the end of the line. `err` may hold an earlier failure.
static tern_status end_reply(chat_state *c, chat_stopper *stopper, tern_error *err)
{
    const char *text;
    size_t n;
    tern_status status = tern_detokenizer_finish(c->detokenizer, &text, &n, err);
    if (status == TERN_OK) status = chat_stopper_push(stopper, text, n, &text, &n, err);
    if (status == TERN_OK) status = show(c, text, n, err);
    chat_stopper_finish(stopper, &text, &n);
    if (status == TERN_OK) status = show(c, text, n, err);
    if (status == TERN_OK && c->last_shown != '\n') status = cli_write("\n", 1, err);
    return status;
}

// -------------------------------------------------------------------------------------------------------- generating

typedef struct reply_taker {
    chat_state *chat;
    chat_stopper *stopper;
    tern_status status;
    tern_error *err;
} reply_taker;

static bool take(void *user, tern_token id)
{
    reply_taker *t = user;
    chat_state *c = t->chat;
    const char *text;
    size_t n;
    if (tern_chat_is_stop(c->chat, id)) return false;
    t->status = tern_tokens_append(&c->ids, id, t->err);
    if (t->status == TERN_OK) t->status = tern_detokenizer_push(c->detokenizer, id, &text, &n, t->err);
    if (t->status == TERN_OK) t->status = chat_stopper_push(t->stopper, text, n, &text, &n, t->err);
    if (t->status == TERN_OK) t->status = show(c, text, n, t->err);
    return t->status == TERN_OK && !t->stopper->is_stopped;
}

static tern_status decode(chat_state *c, chat_stopper *stopper, tern_error *err)
{
    int64_t limit = c->options->values[OPT_PREDICT].integer;
    // What the sampler chooses last needs no position.
    size_t room = c->s.plan.n_ctx - tern_session_length(c->s.session, 0) + 1;
    size_t n = limit >= 0 && (uint64_t)limit < room ? (size_t)limit : room;
    reply_taker taker = {.chat = c, .stopper = stopper, .err = err};
    tern_status status = tern_generate_tokens(c->s.session, c->sampler, 0, n, take, &taker, err);
    if (status == TERN_OK) status = taker.status;
    if (status == TERN_OK && c->ids.n == n && (int64_t)n != limit && !stopper->is_stopped)
        cli_warn(c->options, "the reply was cut: the context of %u positions is full (/reset, or a larger -c)",
                 c->s.plan.n_ctx);
    return status;
}

static tern_status read_conversation(chat_state *c, const tern_tokens *prompt, tern_error *err)
{
    if (prompt->n > c->s.plan.n_ctx)
        return error_set(err, TERN_CONTEXT_FULL,
                         "with this message the conversation has %zu tokens, but the context has %u positions: the "
                         "message was not added; /reset begins anew, a larger -c holds more",
                         prompt->n, c->s.plan.n_ctx);
    uint64_t start = clock_ns();
    c->turn = (chat_turn_stats){.n_prompt = prompt->n};
    tern_status status = tern_session_sync(c->s.session, 0, prompt->ids, prompt->n, &c->turn.n_reused, err);
    c->turn.ns_prompt = clock_ns() - start;
    for (size_t i = c->n_accepted; i < prompt->n && status == TERN_OK; i++)
        status = tern_sampler_accept(c->sampler, prompt->ids[i], err);
    return status;
}

// The reply to the conversation as it stands; what came of it is in c->text and c->ids, also after a failure.
static tern_status reply(chat_state *c, chat_stopper *stopper, tern_error *err)
{
    tern_tokens prompt = {0};
    tern_status status = conversation_encode(&c->log, c->chat, &prompt, err);
    if (status == TERN_OK && prompt.n == 0) status = error_set(err, TERN_INVALID_ARGUMENT, "the conversation is empty");
    if (status == TERN_OK) status = read_conversation(c, &prompt, err);
    if (status == TERN_OK) {
        uint64_t start = clock_ns();
        status = decode(c, stopper, err);
        tern_error end_err = {0}; // after a Ctrl-C too: what was generated is shown to its end
        tern_status end_status = cli_stdout_closed() ? TERN_OK : end_reply(c, stopper, &end_err);
        if (status == TERN_OK && end_status != TERN_OK) {
            status = end_status;
            if (err) *err = end_err;
        }
        c->turn.ns_reply = clock_ns() - start;
        c->turn.n_reply = c->ids.n;
        c->n_accepted = prompt.n + c->ids.n;
    }
    tern_tokens_free(&prompt);
    return status;
}

tern_status chat_say(chat_state *c, const char *text, size_t n, tern_error *err)
{
    size_t n_before = c->log.n;
    tern_status status = conversation_add(&c->log, TERN_CHAT_USER, text, n, NULL, 0, err);
    if (status != TERN_OK) return status;
    chat_stopper stopper;
    chat_stopper_init(&stopper, c->stop_texts, c->n_stop_texts);
    c->ids.n = 0;
    c->n_text = 0;
    c->last_shown = '\n';
    interrupt_hold(false);
    interrupt_watch(c->s.session);
    status = reply(c, &stopper, err);
    interrupt_watch(NULL);
    tern_session_clear_cancel(c->s.session); // a Ctrl-C after the last evaluation must not end the next turn

    bool has_reply = status == TERN_OK || c->ids.n > 0;
    if (has_reply) { // a stop text cuts the text in the middle of the ids: then these do not stand for it
        tern_error add_err = {0};
        tern_status added = conversation_add(&c->log, TERN_CHAT_ASSISTANT, c->text, c->n_text,
                                             stopper.is_stopped ? NULL : c->ids.ids, c->ids.n, &add_err);
        has_reply = added == TERN_OK;
        if (status == TERN_OK && !has_reply) {
            status = added;
            if (err) *err = add_err;
        }
    }
    if (!has_reply) conversation_truncate(&c->log, n_before);
    chat_stopper_free(&stopper);
    return status;
}
