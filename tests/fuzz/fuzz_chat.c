// Conversations of any bytes, in every chat format: text that is not UTF-8 is refused, special tokens spelled in a
// message never act as special, and stop texts are found wherever the reply is cut into pieces. Input: tokenizer,
// format and flags, then messages with a NUL between.
#include "chat.h"
#include "fuzz.h"
#include "text_cases.h"
#include "unicode.h"

#define MAX_MESSAGES 8

static size_t count_hidden(const tern_tokenizer *tokenizer, const tern_tokens *tokens)
{
    size_t n = 0;
    for (size_t i = 0; i < tokens->n; i++) n += text_is_control(tokenizer, tokens->ids[i]);
    return n;
}

static void encode(const tern_tokenizer *tokenizer, const tern_chat *chat, tern_chat_message *messages, size_t n,
                   bool begin_reply)
{
    tern_tokens tokens = {0}, empty = {0};
    tern_error err = {0};
    bool is_valid = true;
    size_t bad;
    for (size_t i = 0; i < n; i++) is_valid = is_valid && utf8_validate(messages[i].content, messages[i].n_bytes, &bad);
    tern_status status = tern_chat_encode(chat, messages, n, begin_reply, &tokens, &err);
    require_answer(status, &err);
    REQUIRE(status == (is_valid ? TERN_OK : TERN_MALFORMED));
    if (!is_valid) REQUIRE(tokens.n == 0);
    for (size_t i = 0; i < n; i++) messages[i].n_bytes = 0;
    REQUIRE(tern_chat_encode(chat, messages, n, begin_reply, &empty, NULL) == TERN_OK);
    if (is_valid) REQUIRE(count_hidden(tokenizer, &tokens) == count_hidden(tokenizer, &empty));
    tern_tokens_free(&tokens);
    tern_tokens_free(&empty);
}

// What comes through when `text` is pushed in pieces of n_piece bytes; the caller frees it.
static char *stop_at(const char *const *texts, size_t n_texts, const char *text, size_t n, size_t n_piece,
                     size_t *n_out)
{
    chat_stopper stopper;
    char *joined = malloc(n + 1);
    const char *out = NULL;
    size_t n_new = 0;
    REQUIRE(joined != NULL);
    *n_out = 0;
    chat_stopper_init(&stopper, texts, n_texts);
    for (size_t at = 0; at < n && !stopper.is_stopped; at += n_piece) {
        size_t count = n - at < n_piece ? n - at : n_piece;
        REQUIRE(chat_stopper_push(&stopper, text + at, count, &out, &n_new, NULL) == TERN_OK);
        REQUIRE(n_new <= n - *n_out);
        if (n_new > 0) memcpy(joined + *n_out, out, n_new);
        *n_out += n_new;
    }
    n_new = 0;
    if (!stopper.is_stopped) chat_stopper_finish(&stopper, &out, &n_new);
    REQUIRE(n_new <= n - *n_out);
    if (n_new > 0) memcpy(joined + *n_out, out, n_new);
    *n_out += n_new;
    chat_stopper_free(&stopper);
    return joined;
}

static void stop(const char *text, size_t n)
{
    static const char *const texts[] = {"abab c", "ba", "User:", "\n\n"};
    size_t n_whole, n_cut;
    char *whole = stop_at(texts, 4, text, n, n + 1, &n_whole);
    for (size_t n_piece = 1; n_piece < 6; n_piece++) {
        char *cut = stop_at(texts, 4, text, n, n_piece, &n_cut);
        REQUIRE(n_cut == n_whole && memcmp(cut, whole, n_cut) == 0);
        free(cut);
    }
    for (size_t i = 0; i < 4; i++) REQUIRE(memmem(whole, n_whole, texts[i], strlen(texts[i])) == NULL);
    free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    const tern_tokenizer *tokenizer = text_tokenizer(data[0]);
    tern_chat *chat = NULL;
    tern_error err = {0};
    tern_status status = tern_chat_create(tokenizer, (tern_chat_format)(data[1] % 5), &chat, &err);
    bool begin_reply = (data[1] & 0x80) != 0;
    require_answer(status, &err);
    data += 2;
    size -= 2;
    tern_chat_message messages[MAX_MESSAGES] = {{0}};
    const uint8_t *part;
    size_t n = 0, n_part;
    while (n < MAX_MESSAGES && next_part(&data, &size, &part, &n_part)) {
        messages[n].role = (tern_chat_role)((n + 1) % 3);
        messages[n].content = copy_text(part, n_part);
        messages[n].n_bytes = n_part;
        stop(messages[n].content, n_part);
        n++;
    }
    if (status == TERN_OK) encode(tokenizer, chat, messages, n, begin_reply);
    for (size_t i = 0; i < n; i++) free((void *)(uintptr_t)messages[i].content);
    tern_chat_free(chat);
    return 0;
}
