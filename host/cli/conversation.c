#include "conversation.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

static const char *const role_names[] = {"system", "user", "assistant"};

void conversation_truncate(conversation *c, size_t n)
{
    while (c->n > n) {
        c->n--;
        free(c->turns[c->n].content);
        free(c->turns[c->n].ids);
    }
}

void conversation_free(conversation *c)
{
    conversation_truncate(c, 0);
    free(c->turns);
    *c = (conversation){0};
}

tern_status conversation_add(conversation *c, tern_chat_role role, const char *content, size_t n_bytes,
                             const tern_token *ids, size_t n_ids, tern_error *err)
{
    if (c->n == c->capacity) {
        size_t capacity = c->capacity + c->capacity / 2 + 16;
        chat_turn *turns = realloc(c->turns, capacity * sizeof *turns);
        if (!turns) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu messages", capacity);
        c->turns = turns;
        c->capacity = capacity;
    }
    chat_turn turn = {.role = role, .n_bytes = n_bytes, .n_ids = n_ids};
    turn.content = malloc(n_bytes + 1);
    turn.ids = ids ? malloc((n_ids + 1) * sizeof *ids) : NULL;
    if (!turn.content || (ids && !turn.ids)) {
        free(turn.content);
        free(turn.ids);
        return error_set(err, TERN_HOST_MEMORY, "no memory for a message of %zu bytes", n_bytes);
    }
    if (n_bytes > 0) memcpy(turn.content, content, n_bytes);
    turn.content[n_bytes] = 0;
    if (n_ids > 0 && ids) memcpy(turn.ids, ids, n_ids * sizeof *ids);
    c->turns[c->n++] = turn;
    return TERN_OK;
}

tern_status conversation_encode(const conversation *c, const tern_chat *chat, tern_tokens *out, tern_error *err)
{
    tern_chat_message *messages = calloc(c->n + 1, sizeof *messages);
    if (!messages) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu messages", c->n);
    for (size_t i = 0; i < c->n; i++)
        messages[i] = (tern_chat_message){.role = c->turns[i].role,
                                          .content = c->turns[i].content,
                                          .n_bytes = c->turns[i].n_bytes,
                                          .ids = c->turns[i].ids,
                                          .n_ids = c->turns[i].n_ids};
    tern_status status = tern_chat_encode(chat, messages, c->n, true, out, err);
    free(messages);
    return status;
}

// ------------------------------------------------------------------------------------------------------------ to JSON

tern_status conversation_to_json(const conversation *c, const char *model, tern_chat_format format, char **out,
                                 tern_error *err)
{
    json_t *messages = json_array();
    bool ok = messages != NULL;
    for (size_t i = 0; i < c->n && ok; i++) {
        json_t *message = json_object();
        json_t *content = json_stringn(c->turns[i].content, c->turns[i].n_bytes);
        ok = json_object_set_new(message, "role", json_string(role_names[c->turns[i].role])) == 0 &&
             json_object_set_new(message, "content", content) == 0;
        ok = json_array_append_new(messages, message) == 0 && ok;
    }
    json_t *name = json_string(model);
    if (!name) name = json_string("unnamed"); // a name that is not UTF-8
    json_t *document = json_pack("{s:i, s:o, s:s, s:o}", "tern_chat", 1, "model", name, "format",
                                 tern_chat_format_name(format), "messages", messages);
    char *text = ok && document ? json_dumps(document, JSON_INDENT(2)) : NULL;
    json_decref(document);
    if (!text) return error_set(err, TERN_HOST_MEMORY, "no memory to write down %zu messages", c->n);
    *out = text;
    return TERN_OK;
}

// ---------------------------------------------------------------------------------------------------------- from JSON

static tern_status malformed(tern_error *err, const char *what) { return error_set(err, TERN_MALFORMED, "%s", what); }

static tern_status read_origin(const json_t *root, conversation_origin *out, tern_error *err)
{
    const json_t *version = json_object_get(root, "tern_chat"), *model = json_object_get(root, "model");
    const json_t *format = json_object_get(root, "format");
    if (!json_is_integer(version)) return malformed(err, "no conversation of tern chat: \"tern_chat\": 1 is expected");
    if (json_integer_value(version) != 1)
        return error_set(err, TERN_UNSUPPORTED, "\"tern_chat\" is %lld; this version reads 1",
                         (long long)json_integer_value(version));
    if (!json_is_string(model) || json_string_length(model) >= sizeof out->model ||
        strlen(json_string_value(model)) != json_string_length(model))
        return error_set(err, TERN_MALFORMED, "\"model\" must be a name of less than %zu bytes", sizeof out->model);
    if (!json_is_string(format)) return malformed(err, "\"format\" must be the name of a chat format");
    if (tern_chat_format_find(json_string_value(format), &out->format, NULL) != TERN_OK)
        return error_set(err, TERN_MALFORMED, "\"format\" is '%.40s', which is no chat format",
                         json_string_value(format));
    memcpy(out->model, json_string_value(model), json_string_length(model) + 1);
    return TERN_OK;
}

static bool find_role(const char *name, tern_chat_role *out)
{
    for (int i = 0; i < (int)(sizeof role_names / sizeof *role_names); i++)
        if (strcmp(role_names[i], name) == 0) {
            *out = (tern_chat_role)i;
            return true;
        }
    return false;
}

// Message i of a file in which `previous` came before (SYSTEM also at the beginning).
static tern_status read_message(const json_t *message, size_t i, tern_chat_role previous, conversation *out,
                                tern_error *err)
{
    const json_t *role_name = json_object_get(message, "role"), *content = json_object_get(message, "content");
    tern_chat_role role;
    if (!json_is_object(message) || json_object_size(message) != 2 || !json_is_string(role_name) ||
        !json_is_string(content))
        return error_set(err, TERN_MALFORMED, "message %zu must be {\"role\": text, \"content\": text} and no more", i);
    if (!find_role(json_string_value(role_name), &role))
        return error_set(err, TERN_MALFORMED, "message %zu: role '%.40s', expected system, user or assistant", i,
                         json_string_value(role_name));
    bool follows = role == TERN_CHAT_SYSTEM      ? i == 0
                   : role == TERN_CHAT_ASSISTANT ? previous == TERN_CHAT_USER
                                                 : previous != TERN_CHAT_USER;
    if (!follows)
        return error_set(err, TERN_MALFORMED,
                         "message %zu is from %s, out of turn: an optional system message, then user and assistant", i,
                         role_names[role]);
    return conversation_add(out, role, json_string_value(content), json_string_length(content), NULL, 0, err);
}

static tern_status read_messages(const json_t *root, conversation *out, tern_error *err)
{
    const json_t *messages = json_object_get(root, "messages");
    if (!json_is_array(messages)) return malformed(err, "\"messages\" must be a list");
    size_t n = json_array_size(messages);
    if (n > CONVERSATION_MAX_MESSAGES)
        return error_set(err, TERN_LIMIT, "%zu messages; the limit is %u", n, CONVERSATION_MAX_MESSAGES);
    tern_chat_role previous = TERN_CHAT_SYSTEM;
    for (size_t i = 0; i < n; i++) {
        tern_status status = read_message(json_array_get(messages, i), i, previous, out, err);
        if (status != TERN_OK) return status;
        previous = out->turns[i].role;
    }
    if (previous == TERN_CHAT_USER) return malformed(err, "the last message is from user and has no reply");
    return TERN_OK;
}

tern_status conversation_from_json(const char *text, size_t n_bytes, conversation *out, conversation_origin *origin,
                                   tern_error *err)
{
    if (n_bytes > CONVERSATION_MAX_BYTES)
        return error_set(err, TERN_LIMIT, "%zu bytes; the limit is %zu", n_bytes, CONVERSATION_MAX_BYTES);
    json_error_t detail;
    json_t *root = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &detail);
    if (!root) return error_set(err, TERN_MALFORMED, "not JSON: %s (line %d)", detail.text, detail.line);
    conversation read = {0};
    conversation_origin from = {0};
    tern_status status = json_is_object(root) ? TERN_OK : malformed(err, "a JSON object is expected");
    if (status == TERN_OK) status = read_origin(root, &from, err);
    if (status == TERN_OK) status = read_messages(root, &read, err);
    json_decref(root);
    if (status != TERN_OK) {
        conversation_free(&read);
        return status;
    }
    *out = read;
    *origin = from;
    return TERN_OK;
}
