// Any ids through the streaming detokeniser: each piece is valid UTF-8, pieces joined are the lossy reading of all
// bytes at once, ids outside the vocabulary are refused and change nothing. Input: a byte of choices, then 16-bit ids.
#include "fuzz.h"
#include "text_cases.h"
#include "unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const tern_tokenizer *tokenizer = text_tokenizer(data[0] >> 2);
    bool show_special = (data[0] & 1) != 0;
    size_t n = (size - 1) / 2 < 4096 ? (size - 1) / 2 : 4096, n_ids = 0;
    tern_token *ids = calloc(n + 1, sizeof *ids);
    REQUIRE(ids != NULL);
    tern_detokenizer *stream = NULL;
    REQUIRE(tern_detokenizer_create(tokenizer, show_special, &stream, NULL) == TERN_OK);
    for (size_t i = 0; i < n; i++) {
        tern_token id = (int16_t)(data[1 + 2 * i] | data[2 + 2 * i] << 8);
        const char *text;
        size_t n_text;
        tern_error err = {0};
        tern_status status = tern_detokenizer_push(stream, id, &text, &n_text, &err);
        require_answer(status, &err);
        bool is_known = id >= 0 && (uint32_t)id < tern_tokenizer_n_tokens(tokenizer);
        REQUIRE(status == (is_known ? TERN_OK : TERN_INVALID_ARGUMENT));
        if (is_known) ids[n_ids++] = id;
    }
    tern_detokenizer_free(stream);
    size_t n_joined = 0, bad;
    char *joined = text_stream(tokenizer, ids, n_ids, show_special, &n_joined);
    REQUIRE(utf8_validate(joined, n_joined, &bad));
    text_require_lossy(tokenizer, ids, n_ids, show_special, joined, n_joined);
    free(joined);
    free(ids);
    return 0;
}
