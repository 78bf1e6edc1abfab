// Any bytes as text through fixed tokenizers: invalid UTF-8 is refused, valid text comes back from its tokens byte for
// byte, and what a stream of tokens shows is the text. The first input byte chooses the tokenizer and the flags.
#include "fuzz.h"
#include "text_cases.h"
#include "unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const tern_tokenizer *tokenizer = text_tokenizer(data[0] >> 2);
    int flags = data[0] & (TERN_TOKENIZE_ADD_BOS | TERN_TOKENIZE_PARSE_SPECIAL);
    size_t n = size - 1, bad = 0;
    char *text = copy_text(data + 1, n);
    tern_tokens tokens = {0};
    tern_error err = {0};
    REQUIRE(tern_tokens_append(&tokens, 7, NULL) == TERN_OK); // what was there before stays
    tern_status status = tern_tokenizer_encode(tokenizer, text, n, flags, &tokens, &err);
    require_answer(status, &err);
    bool is_valid = utf8_validate(text, n, &bad);
    REQUIRE(status == (is_valid ? TERN_OK : TERN_MALFORMED));
    REQUIRE(tokens.n >= 1 && tokens.ids[0] == 7);
    if (!is_valid) REQUIRE(tokens.n == 1);
    if (is_valid) {
        size_t first = 1;
        tern_token bos = tern_tokenizer_bos(tokenizer);
        bool writes_bos = (flags & TERN_TOKENIZE_PARSE_SPECIAL) != 0 && text_starts_with_bos(tokenizer, text, n);
        if ((flags & TERN_TOKENIZE_ADD_BOS) != 0 && tern_tokenizer_adds_bos(tokenizer) && !writes_bos) {
            REQUIRE(tokens.n >= 2 && tokens.ids[1] == bos);
            first = 2;
        }
        for (size_t i = first; i < tokens.n && (flags & TERN_TOKENIZE_PARSE_SPECIAL) == 0; i++)
            REQUIRE(!text_is_control(tokenizer, tokens.ids[i]));
        text_require_decodes(tokenizer, text_is_exact(data[0] >> 2), tokens.ids + first, tokens.n - first, text, n);
    }
    tern_tokens_free(&tokens);
    free(text);
    return 0;
}
