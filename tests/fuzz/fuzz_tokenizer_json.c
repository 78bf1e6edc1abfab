// tokenizer.json, tokenizer_config.json and generation_config.json to a tokenizer, and one text through it. Input: the
// three texts with a NUL between them, the last two optional. A byte 1 stands for the entries `"!": 0, ...` of the
// byte-level alphabet (256 tokens that every such vocabulary must have), a byte 2 for `"<0x00>": 0, ...`, those of
// SentencePiece: so inputs stay short and mutations meet what matters.
#include "fuzz.h"
#include "text_cases.h"

#define N_VOCAB 1024u

static void append(char **text, size_t *n, const char *more, size_t n_more)
{
    *text = realloc(*text, *n + n_more + 1);
    REQUIRE(*text != NULL);
    memcpy(*text + *n, more, n_more);
    *n += n_more;
    (*text)[*n] = 0;
}

static char *expand(const uint8_t *data, size_t size)
{
    size_t n = 0, from = 0;
    char *text = copy_text(NULL, 0);
    int n_expanded = 0;
    for (size_t i = 0; i < size; i++) {
        if ((data[i] != 1 && data[i] != 2) || n_expanded == 2) continue;
        append(&text, &n, (const char *)data + from, i - from);
        const char *alphabet = data[i] == 1 ? text_byte_level_alphabet() : text_byte_tokens();
        append(&text, &n, alphabet, strlen(alphabet));
        from = i + 1;
        n_expanded++;
    }
    append(&text, &n, (const char *)data + from, size - from);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *texts[3] = {NULL, NULL, NULL};
    const uint8_t *part;
    size_t n_part;
    for (size_t i = 0; i < 3 && next_part(&data, &size, &part, &n_part); i++) texts[i] = expand(part, n_part);
    if (texts[0] == NULL) texts[0] = copy_text(NULL, 0);
    tern_tokenizer *tokenizer = NULL;
    tern_error err = {0};
    tern_status status = tokenizer_from_json(texts[0], texts[1], texts[2], N_VOCAB, &tokenizer, &err);
    require_answer(status, &err);
    REQUIRE((status == TERN_OK) == (tokenizer != NULL));
    if (status == TERN_OK) text_exercise(tokenizer);
    tokenizer_free(tokenizer);
    for (size_t i = 0; i < 3; i++) free(texts[i]);
    return 0;
}
