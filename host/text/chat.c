// Conversations as token sequences.
//
// A conversation is a row of markers (tokens of the vocabulary) with plain text between them. All text between two
// markers is encoded at once and never parsed for special tokens: that gives the ids which the whole text with its
// special tokens parsed would give ("User: " and "Hi" meet as in "User: Hi"), except that what users write stays text.
#include "chat.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "error.h"
#include "tokenizer.h"
#include "unicode.h"
#include "vocab.h"

enum { MAX_MARKERS = 3 };

typedef struct format_spec {
    const char *name;
    bool begins_with_bos; // always; otherwise as the tokenizer says
    bool trims;           // white space around a message is dropped
    const char *markers[MAX_MARKERS];
} format_spec;

static const format_spec formats[] = {
    [TERN_CHAT_PLAIN] = {"plain", false, false, {NULL}},
    [TERN_CHAT_BITNET] = {"bitnet", true, true, {"<|eot_id|>"}},
    [TERN_CHAT_LLAMA3] = {"llama3", true, true, {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}},
    [TERN_CHAT_FALCON3] = {"falcon3", false, false, {"<|system|>", "<|user|>", "<|assistant|>"}},
    [TERN_CHAT_CHATML] = {"chatml", false, false, {"<|im_start|>", "<|im_end|>"}},
};

enum { N_FORMATS = sizeof formats / sizeof *formats };

static const char *const role_names[] = {"system", "user", "assistant"};

struct tern_chat {
    const tern_tokenizer *tokenizer;
    tern_chat_format format;
    const format_spec *spec;
    tern_token bos, eos;                 // -1 if none
    tern_token marker_ids[MAX_MARKERS];  // -1: not in the vocabulary
    const char *stop_texts[MAX_MARKERS]; // the markers with id -1
    size_t n_stop_texts;
    // Tokens that end a turn or mark one and that the file declares user-defined: the tokenizer would find them in any
    // text.
    const char **loose;
    size_t n_loose;
};

const char *tern_chat_format_name(tern_chat_format format)
{
    return (unsigned)format < N_FORMATS ? formats[format].name : NULL;
}

tern_status tern_chat_format_find(const char *name, tern_chat_format *out, tern_error *err)
{
    for (int i = 0; i < N_FORMATS; i++)
        if (name != NULL && strcmp(formats[i].name, name) == 0) {
            *out = (tern_chat_format)i;
            return TERN_OK;
        }
    return error_set(err, TERN_NOT_FOUND, "no chat format '%.40s'; there are plain, bitnet, llama3, falcon3 and chatml",
                     name != NULL ? name : "");
}

// ------------------------------------------------------------------------------------------------- choice by model

static bool is_special(const tokenizer_export *vocab, tern_token id)
{
    int32_t type = vocab->token_types[id];
    return type == TOKEN_CONTROL || type == TOKEN_UNKNOWN || type == TOKEN_USER_DEFINED;
}

static bool token_is(const tokenizer_export *vocab, uint32_t id, const char *text)
{
    return id < vocab->n_tokens && strcmp(vocab->tokens[id], text) == 0;
}

// The special token with this text, -1 if there is none.
static tern_token find_special(const tokenizer_export *vocab, const char *text)
{
    for (uint32_t id = 0; id < vocab->n_tokens; id++)
        if (vocab->tokens[id][0] == text[0] && strcmp(vocab->tokens[id], text) == 0 &&
            is_special(vocab, (tern_token)id))
            return (tern_token)id;
    return -1;
}

static bool has_word(const char *name, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = name; *at != 0; at++) {
        bool starts = at == name || !isalnum((unsigned char)at[-1]);
        size_t i = 0;
        while (i < n && tolower((unsigned char)at[i]) == word[i]) i++;
        if (starts && i == n && !isalnum((unsigned char)at[n])) return true;
    }
    return false;
}

static tern_chat_format guess(const char *architecture, const char *name, const tern_tokenizer *tokenizer,
                              const char **reason)
{
    *reason = "the model has no tokenizer";
    if (tokenizer == NULL) return TERN_CHAT_PLAIN;
    tokenizer_export vocab;
    tokenizer_get_export(tokenizer, &vocab);
    *reason = "the model's name says that it is a base model";
    if (has_word(name, "base")) return TERN_CHAT_PLAIN;
    bool is_llama3 = token_is(&vocab, 128000, "<|begin_of_text|>") && token_is(&vocab, 128009, "<|eot_id|>");
    *reason = "a BitNet model with the Llama 3 vocabulary";
    if (is_llama3 && strncmp(architecture, "bitnet", 6) == 0) return TERN_CHAT_BITNET;
    *reason = "the vocabulary has <|im_start|> and <|im_end|>";
    if (find_special(&vocab, "<|im_start|>") >= 0 && find_special(&vocab, "<|im_end|>") >= 0) return TERN_CHAT_CHATML;
    *reason = "the Llama 3 vocabulary";
    if (is_llama3 && token_is(&vocab, 128006, "<|start_header_id|>") && token_is(&vocab, 128007, "<|end_header_id|>"))
        return TERN_CHAT_LLAMA3;
    *reason = "the Falcon 3 vocabulary";
    if (strcmp(architecture, "llama") == 0 && token_is(&vocab, 11, "<|endoftext|>") && vocab.eos == 11)
        return TERN_CHAT_FALCON3;
    *reason = "taken for a base model, because no format is known for its vocabulary";
    return TERN_CHAT_PLAIN;
}

tern_chat_format chat_format_guess(const char *architecture, const char *name, const tern_tokenizer *tokenizer,
                                   const char **reason)
{
    const char *ignored;
    return guess(architecture, name, tokenizer, reason != NULL ? reason : &ignored);
}

// ------------------------------------------------------------------------------------------------------------ object

static bool is_marker(const tern_chat *chat, tern_token id)
{
    for (int i = 0; i < MAX_MARKERS; i++)
        if (chat->marker_ids[i] == id && id >= 0) return true;
    return false;
}

static tern_status collect_loose(tern_chat *chat, const tokenizer_export *vocab, tern_error *err)
{
    for (int pass = 0; pass < 2; pass++) { // counts, then fills
        chat->n_loose = 0;
        for (uint32_t i = 0; i < vocab->n_tokens; i++) {
            tern_token id = (tern_token)i;
            if (vocab->token_types[i] != TOKEN_USER_DEFINED || !tern_chat_is_stop(chat, id) ||
                strlen(vocab->tokens[i]) < 2)
                continue;
            if (pass == 1) chat->loose[chat->n_loose] = vocab->tokens[i];
            chat->n_loose++;
        }
        if (pass == 0) chat->loose = calloc(chat->n_loose + 1, sizeof *chat->loose);
        if (chat->loose == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a chat format");
    }
    return TERN_OK;
}

tern_status tern_chat_create(const tern_tokenizer *tokenizer, tern_chat_format format, tern_chat **out, tern_error *err)
{
    if (tokenizer == NULL || (unsigned)format >= N_FORMATS)
        return error_set(err, TERN_INVALID_ARGUMENT, "a chat needs a tokenizer and a format from 0 to %d, not %d",
                         N_FORMATS - 1, (int)format);
    tern_chat *chat = calloc(1, sizeof *chat);
    if (chat == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a chat format");
    tokenizer_export vocab;
    tokenizer_get_export(tokenizer, &vocab);
    chat->tokenizer = tokenizer;
    chat->format = format;
    chat->spec = &formats[format];
    chat->bos = vocab.bos;
    chat->eos = vocab.eos;
    for (int i = 0; i < MAX_MARKERS; i++) {
        const char *marker = chat->spec->markers[i];
        chat->marker_ids[i] = marker != NULL ? find_special(&vocab, marker) : -1;
        if (marker != NULL && chat->marker_ids[i] < 0) chat->stop_texts[chat->n_stop_texts++] = marker;
    }
    tern_status status = collect_loose(chat, &vocab, err);
    if (status != TERN_OK) {
        tern_chat_free(chat);
        return status;
    }
    *out = chat;
    return TERN_OK;
}

void tern_chat_free(tern_chat *chat)
{
    if (chat == NULL) return;
    free(chat->loose);
    free(chat);
}

bool tern_chat_is_stop(const tern_chat *chat, tern_token id)
{
    return tern_tokenizer_is_stop(chat->tokenizer, id) || is_marker(chat, id);
}

const char *const *tern_chat_stop_texts(const tern_chat *chat, size_t *n)
{
    *n = chat->n_stop_texts;
    return chat->stop_texts;
}

// ---------------------------------------------------------------------------------------------------------- encoding

// Collects plain text until a marker or generated ids end it. The first failure stays in `status`.
typedef struct writer {
    const tern_chat *chat;
    tern_tokens *out;
    char *text;
    size_t n, capacity;
    char last; // last byte of the conversation, 0 at the start or after a marker
    tern_status status;
    tern_error *err;
} writer;

static void put_bytes(writer *w, const char *text, size_t n)
{
    uint64_t wanted, capacity;
    size_t size;
    if (w->status != TERN_OK || n == 0) return;
    if (!check_add(w->n, n, &wanted) || !check_add(wanted, wanted / 2 + 256, &capacity) ||
        !check_size(capacity, &size)) {
        w->status = error_set(w->err, TERN_LIMIT, "the conversation is too long");
        return;
    }
    if (wanted > w->capacity) {
        char *larger = realloc(w->text, size);
        if (larger == NULL) {
            w->status = error_set(w->err, TERN_HOST_MEMORY, "no memory for a text of %zu bytes", (size_t)wanted);
            return;
        }
        w->text = larger;
        w->capacity = size;
    }
    memcpy(w->text + w->n, text, n);
    w->n += n;
    w->last = text[n - 1];
}

static void put(writer *w, const char *text) { put_bytes(w, text, strlen(text)); }

// Length of the loose token at the front of the text, 0 if there is none.
static size_t loose_here(const tern_chat *chat, const char *text, size_t n)
{
    for (size_t i = 0; i < chat->n_loose; i++) {
        size_t length = strlen(chat->loose[i]);
        if (length <= n && memcmp(text, chat->loose[i], length) == 0) return length;
    }
    return 0;
}

// Encodes the collected text. Where it spells a loose token it is cut after that spelling's first character, which
// makes the tokenizer read it as text.
static void flush(writer *w)
{
    size_t from = 0;
    for (size_t at = 0; at < w->n && w->status == TERN_OK && w->chat->n_loose > 0; at++) {
        if (loose_here(w->chat, w->text + at, w->n - at) == 0) continue;
        size_t end = at + utf8_next(w->text + at, w->n - at).n;
        w->status = tern_tokenizer_encode(w->chat->tokenizer, w->text + from, end - from, 0, w->out, w->err);
        from = end;
    }
    if (w->status == TERN_OK && from < w->n)
        w->status = tern_tokenizer_encode(w->chat->tokenizer, w->text + from, w->n - from, 0, w->out, w->err);
    w->n = 0;
}

static void put_id(writer *w, tern_token id)
{
    flush(w);
    if (w->status == TERN_OK) w->status = tern_tokens_append(w->out, id, w->err);
    w->last = 0;
}

static void put_marker(writer *w, const char *text)
{
    for (int i = 0; i < MAX_MARKERS; i++) {
        const char *marker = w->chat->spec->markers[i];
        if (marker == NULL || strcmp(marker, text) != 0 || w->chat->marker_ids[i] < 0) continue;
        put_id(w, w->chat->marker_ids[i]);
        return;
    }
    put(w, text);
}

static void put_content(writer *w, const tern_chat_message *message)
{
    if (message->ids != NULL) {
        flush(w);
        for (size_t i = 0; i < message->n_ids && w->status == TERN_OK; i++)
            w->status = tern_tokens_append(w->out, message->ids[i], w->err);
        if (message->n_bytes > 0) w->last = message->content[message->n_bytes - 1];
        return;
    }
    const char *text = message->content;
    size_t n = message->n_bytes, space;
    if (w->chat->spec->trims) {
        while (n > 0 && (space = utf8_space_at_start(text, n)) > 0) text += space, n -= space;
        while (n > 0 && (space = utf8_space_at_end(text, n)) > 0) n -= space;
    }
    put_bytes(w, text, n);
}

// What stands before a message's content; for a reply also what makes the model begin one.
static void begin_message(writer *w, tern_chat_role role)
{
    const char *name = role_names[role];
    char text[] = "<|assistant|>";
    switch (w->chat->format) {
    case TERN_CHAT_PLAIN: // a reply continues the text; whatever follows it begins on a line of its own
        if (role != TERN_CHAT_ASSISTANT && w->last != 0 && w->last != '\n') put(w, "\n");
        break;
    case TERN_CHAT_BITNET:
        text[0] = (char)(name[0] - 'a' + 'A');
        put_bytes(w, text, 1);
        put(w, name + 1);
        put(w, ": ");
        break;
    case TERN_CHAT_LLAMA3:
        put_marker(w, "<|start_header_id|>");
        put(w, name);
        put_marker(w, "<|end_header_id|>");
        put(w, "\n\n");
        break;
    case TERN_CHAT_FALCON3:
        put_marker(w, w->chat->spec->markers[role]); // in the order of the roles
        put(w, "\n");
        break;
    case TERN_CHAT_CHATML:
        put_marker(w, "<|im_start|>");
        put(w, name);
        put(w, "\n");
        break;
    }
}

static void end_message(writer *w, tern_chat_role role)
{
    switch (w->chat->format) {
    case TERN_CHAT_PLAIN: break;
    case TERN_CHAT_BITNET:
    case TERN_CHAT_LLAMA3: put_marker(w, "<|eot_id|>"); break;
    case TERN_CHAT_FALCON3:
        if (role == TERN_CHAT_ASSISTANT && w->chat->eos >= 0) put_id(w, w->chat->eos);
        put(w, "\n");
        break;
    case TERN_CHAT_CHATML:
        put_marker(w, "<|im_end|>");
        put(w, "\n");
        break;
    }
}

static tern_status check_message(const tern_chat_message *message, size_t index, tern_error *err)
{
    size_t bad;
    if ((unsigned)message->role > TERN_CHAT_ASSISTANT)
        return error_set(err, TERN_INVALID_ARGUMENT, "message %zu has role %d, expected 0 to 2", index,
                         (int)message->role);
    if (message->content == NULL && message->n_bytes > 0)
        return error_set(err, TERN_INVALID_ARGUMENT, "message %zu has no content", index);
    if (message->ids != NULL && message->role != TERN_CHAT_ASSISTANT)
        return error_set(err, TERN_INVALID_ARGUMENT, "message %zu has ids but is no reply", index);
    if (message->n_bytes > 0 && !utf8_validate(message->content, message->n_bytes, &bad))
        return error_set(err, TERN_MALFORMED, "message %zu is not UTF-8: byte 0x%02x at offset %zu", index,
                         (unsigned char)message->content[bad], bad);
    return TERN_OK;
}

tern_status tern_chat_encode(const tern_chat *chat, const tern_chat_message *messages, size_t n_messages,
                             bool begin_reply, tern_tokens *out, tern_error *err)
{
    if (chat == NULL || out == NULL || (messages == NULL && n_messages > 0))
        return error_set(err, TERN_INVALID_ARGUMENT, "a conversation needs a format, messages and a place for ids");
    for (size_t i = 0; i < n_messages; i++) {
        tern_status status = check_message(&messages[i], i, err);
        if (status != TERN_OK) return status;
    }
    size_t n_before = out->n;
    writer w = {.chat = chat, .out = out, .err = err};
    if (chat->bos >= 0 && (chat->spec->begins_with_bos || tern_tokenizer_adds_bos(chat->tokenizer)))
        put_id(&w, chat->bos);
    for (size_t i = 0; i < n_messages && w.status == TERN_OK; i++) {
        begin_message(&w, messages[i].role);
        put_content(&w, &messages[i]);
        end_message(&w, messages[i].role);
    }
    if (begin_reply) begin_message(&w, TERN_CHAT_ASSISTANT);
    flush(&w);
    free(w.text);
    if (w.status != TERN_OK) out->n = n_before;
    return w.status;
}
