// Text to ids: tokens are cut out of the raw text, the rest is normalised, more tokens are cut out of that, and what
// remains is split into words.
#include <stdlib.h>
#include <string.h>

#include "tokenizer_build.h"
#include "unicode.h"

// Positions in a word are 32 bits wide, and NFC can make text three times as long.
#define MAX_TEXT_BYTES ((size_t)1 << 30)

// What one call works with.
typedef struct encoding {
    const tern_tokenizer *tokenizer;
    splitter_run *run; // byte-level only
    bpe_work work;
    text_buffer normalized, mapped;
    const special_set *raw_set, *normalized_set;
    bool begins_with_bos; // one was added, and nothing is behind it yet
    tern_tokens *out;
} encoding;

// The end of the word at `at` < n in text whose spaces are mapped. With `joins_words` all of it is one word. Otherwise
// words begin at the spaces, at each or at the first of several: where no merge crosses that place, cutting there
// changes nothing but the time it takes.
static size_t piece_word_end(const tern_tokenizer *tokenizer, const char *text, size_t n, size_t at)
{
    bool splits = tokenizer->metaspace.splits;
    if (tokenizer->bpe.joins_words && !splits) return n;
    for (size_t end = at + 1; end < n; end++) {
        const char *space = memchr(text + end, ' ', n - end);
        if (space == NULL) return n;
        end = (size_t)(space - text);
        if (splits || text[end - 1] != ' ') return end;
    }
    return n;
}

static tern_status encode_pieces(encoding *encoder, const char *text, size_t n, bool is_first, tern_error *err)
{
    const tern_tokenizer *tokenizer = encoder->tokenizer;
    tern_status status = TERN_OK;
    if (tokenizer->metaspace.is_used) {
        text_buffer *mapped = &encoder->mapped;
        space_prefix prefix = tokenizer->metaspace.prefix;
        bool has_space = text[0] == ' ' || (n >= 3 && memcmp(text, VOCAB_SPACE, 3) == 0);
        mapped->n = 0;
        if (!has_space && (prefix == PREFIX_MISSING || (prefix == PREFIX_FIRST && is_first)))
            status = text_buffer_append(mapped, " ", 1, err);
        if (status == TERN_OK) status = normalizer_map_spaces(text, n, mapped, err);
        text = mapped->data;
        n = mapped->n;
    }
    for (size_t at = 0, end; at < n && status == TERN_OK; at = end) {
        end = piece_word_end(tokenizer, text, n, at);
        status = bpe_encode(&tokenizer->bpe, &tokenizer->vocab, text + at, end - at, &encoder->work, encoder->out, err);
    }
    return status;
}

// Normalised text without tokens to cut out. Words never reach across its ends. `is_first`: the whole text begins here.
static tern_status encode_words(encoding *encoder, const char *text, size_t n, bool is_first, tern_error *err)
{
    const tern_tokenizer *tokenizer = encoder->tokenizer;
    if (n == 0) return TERN_OK;
    encoder->begins_with_bos = false;
    if (tokenizer->vocab.spelling == VOCAB_PIECES) return encode_pieces(encoder, text, n, is_first, err);
    tern_status status = TERN_OK;
    for (size_t at = 0, end; at < n && status == TERN_OK; at = end) {
        status = splitter_next(encoder->run, text, n, at, &end, err);
        if (status == TERN_OK)
            status = bpe_encode(&tokenizer->bpe, &tokenizer->vocab, text + at, end - at, &encoder->work, encoder->out,
                                err);
        else
            end = n;
    }
    return status;
}

static tern_status append_special(encoding *encoder, uint32_t id, tern_error *err)
{
    // A template may have written BOS itself; a second one makes models worse.
    bool is_second_bos = encoder->begins_with_bos && (tern_token)id == encoder->tokenizer->bos;
    encoder->begins_with_bos = false;
    return is_second_bos ? TERN_OK : tern_tokens_append(encoder->out, (tern_token)id, err);
}

// Raw text without raw tokens to cut out.
static tern_status encode_fragment(encoding *encoder, const char *text, size_t n, bool is_first, tern_error *err)
{
    const tern_tokenizer *tokenizer = encoder->tokenizer;
    special_match match;
    size_t at = 0;
    tern_status status = normalizer_apply(&tokenizer->normalizer, text, n, &encoder->normalized, &text, &n, err);
    while (status == TERN_OK && special_set_find(encoder->normalized_set, &tokenizer->vocab, text, at, n, &match)) {
        status = encode_words(encoder, text + at, match.start - at, is_first && at == 0, err);
        if (status == TERN_OK) status = append_special(encoder, match.id, err);
        at = match.end;
    }
    return status == TERN_OK ? encode_words(encoder, text + at, n - at, is_first && at == 0, err) : status;
}

static tern_status encode_text(encoding *encoder, const char *text, size_t n, tern_error *err)
{
    special_match match;
    size_t at = 0;
    tern_status status = TERN_OK;
    while (status == TERN_OK && special_set_find(encoder->raw_set, &encoder->tokenizer->vocab, text, at, n, &match)) {
        status = encode_fragment(encoder, text + at, match.start - at, at == 0, err);
        if (status == TERN_OK) status = append_special(encoder, match.id, err);
        at = match.end;
    }
    return status == TERN_OK ? encode_fragment(encoder, text + at, n - at, at == 0, err) : status;
}

tern_status tern_tokenizer_encode(const tern_tokenizer *tokenizer, const char *text, size_t n_bytes, int flags,
                                  tern_tokens *out, tern_error *err)
{
    const int known = TERN_TOKENIZE_ADD_BOS | TERN_TOKENIZE_PARSE_SPECIAL;
    if (tokenizer == NULL || out == NULL || (text == NULL && n_bytes > 0))
        return error_set(err, TERN_INVALID_ARGUMENT, "encode needs a tokenizer, a text and a place for the tokens");
    if ((flags & ~known) != 0)
        return error_set(err, TERN_INVALID_ARGUMENT, "unknown tokenizer flags 0x%x", (unsigned)flags);
    if (n_bytes > MAX_TEXT_BYTES)
        return error_set(err, TERN_LIMIT, "the text has %zu bytes; the limit is %zu", n_bytes, MAX_TEXT_BYTES);
    if (text == NULL) text = "";
    size_t bad;
    if (!utf8_validate(text, n_bytes, &bad))
        return error_set(err, TERN_MALFORMED, "the text is not UTF-8: byte 0x%02x at offset %zu",
                         (unsigned char)text[bad], bad);

    int parses_special = (flags & TERN_TOKENIZE_PARSE_SPECIAL) != 0;
    encoding encoder = {.tokenizer = tokenizer,
                        .out = out,
                        .raw_set = &tokenizer->raw[parses_special],
                        .normalized_set = &tokenizer->normalized[parses_special]};
    size_t n_before = out->n;
    tern_status status = TERN_OK;
    if (tokenizer->splitter != NULL) status = splitter_run_create(tokenizer->splitter, &encoder.run, err);
    if (status == TERN_OK && (flags & TERN_TOKENIZE_ADD_BOS) != 0 && tokenizer->add_bos) {
        encoder.begins_with_bos = true;
        status = tern_tokens_append(out, tokenizer->bos, err);
    }
    if (status == TERN_OK) status = encode_text(&encoder, text, n_bytes, err);
    if (status != TERN_OK) out->n = n_before;
    splitter_run_free(encoder.run);
    bpe_work_free(&encoder.work);
    text_buffer_free(&encoder.normalized);
    text_buffer_free(&encoder.mapped);
    return status;
}
