// What the files of `tern chat` share.
#ifndef TERN_CLI_CHAT_STATE_H
#define TERN_CLI_CHAT_STATE_H

#include "chat.h"
#include "chat_input.h"
#include "conversation.h"

typedef struct chat_turn_stats {
    size_t n_prompt, n_reused; // tokens of the conversation before the reply; those already in the KV cache
    size_t n_reply;
    uint64_t ns_prompt, ns_reply; // wall times; sampling and output included in the second
} chat_turn_stats;

typedef struct chat_state {
    const opt_values *options;
    cli_session s;
    char model_name[128];
    const tern_tokenizer *tokenizer;
    tern_chat_format format;
    const char *format_reason;
    tern_chat *chat;
    const char **stop_texts; // those of the format and of -r
    size_t n_stop_texts;
    char *first_message; // -p or -f, NULL without
    size_t n_first_message;
    cli_sampling sampling;
    tern_detokenizer *detokenizer;
    chat_input *input;

    conversation log;
    tern_sampler *sampler; // one per conversation
    size_t n_accepted;     // tokens of this conversation that the sampler has been told
    chat_turn_stats turn;  // the last one

    // The reply under way.
    tern_tokens ids;
    char *text;
    size_t n_text, text_capacity;
    char last_shown; // last byte written, for the line end after a reply
} chat_state;

// chat_reply.c

// Adds a message, generates and shows the reply, adds that. A reply that was stopped or failed half way stays as far as
// it came; if there is none the message is taken back. CANCELLED after Ctrl-C.
tern_status chat_say(chat_state *c, const char *text, size_t n, tern_error *err);
// A new conversation for the sampler: the KV cache keeps what it has, the penalties forget.
tern_status chat_begin(chat_state *c, tern_error *err);

// chat_command.c

// True if the message is a command: one line, "/name" and perhaps an argument.
bool chat_is_command(const char *text, size_t n);
// *leave is set by /quit.
tern_status chat_command(chat_state *c, const char *text, size_t n, bool *leave, tern_error *err);

#endif
