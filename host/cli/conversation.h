// A conversation as chat keeps it: messages in order, and its form as a file.
//
// The file is a JSON object: {"tern_chat": 1, "model": NAME, "format": NAME, "messages": [{"role": ROLE, "content":
// TEXT}, ...]}. At most one system message, and that first; then user and assistant take turns, ending with assistant.
#ifndef TERN_CLI_CONVERSATION_H
#define TERN_CLI_CONVERSATION_H

#include "tern.h"

#define CONVERSATION_MAX_BYTES    ((size_t)16 << 20) // of a file
#define CONVERSATION_MAX_MESSAGES 100000u

typedef struct chat_turn {
    tern_chat_role role;
    char *content;
    size_t n_bytes;
    tern_token *ids; // what the model generated, NULL if not known
    size_t n_ids;
} chat_turn;

typedef struct conversation {
    chat_turn *turns;
    size_t n, capacity;
} conversation;

void conversation_free(conversation *c);
// Copies what it is given; `ids` may be NULL. HOST_MEMORY.
tern_status conversation_add(conversation *c, tern_chat_role role, const char *content, size_t n_bytes,
                             const tern_token *ids, size_t n_ids, tern_error *err);
void conversation_truncate(conversation *c, size_t n);
// The ids of all of it and the beginning of a reply.
tern_status conversation_encode(const conversation *c, const tern_chat *chat, tern_tokens *out, tern_error *err);

// The file's text, to be freed.
tern_status conversation_to_json(const conversation *c, const char *model, tern_chat_format format, char **out,
                                 tern_error *err);

typedef struct conversation_origin {
    char model[128];
    tern_chat_format format;
} conversation_origin;

// MALFORMED or LIMIT names the place; *out and *origin are then untouched. *out starts empty.
tern_status conversation_from_json(const char *text, size_t n_bytes, conversation *out, conversation_origin *origin,
                                   tern_error *err);

#endif
