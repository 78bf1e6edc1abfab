// Shared by the tests of tokenizers: checks of encoding and decoding, and the real tokenizers of the shared data
// against the Hugging Face library's ids.
#ifndef TERN_TESTS_TEXT_FIXTURE_H
#define TERN_TESTS_TEXT_FIXTURE_H

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "normalizer.h"
#include "tokenizer.h"
#include "unicode.h"

static inline tern_status open_json(const json_t *root, const char *config, const char *generation, uint32_t n_vocab,
                             tern_tokenizer **out, tern_error *err)
{
    char *text = json_dumps(root, 0);
    assert_non_null(text);
    tern_status status = tokenizer_from_json(text, config, generation, n_vocab, out, err);
    free(text);
    return status;
}

static inline void assert_ids(const tern_tokens *tokens, const tern_token *expected, size_t n)
{
    for (size_t i = 0; i < n && i < tokens->n; i++)
        if (tokens->ids[i] != expected[i]) fail_msg("token %zu is %d, expected %d", i, tokens->ids[i], expected[i]);
    assert_int_equal(tokens->n, n);
}

static inline void check_encode(const tern_tokenizer *tokenizer, const char *text, size_t n, int flags, const tern_token *expected,
                         size_t n_expected)
{
    tern_tokens tokens = {0};
    tern_error err = {0};
    assert_int_equal(tern_tokenizer_encode(tokenizer, text, n, flags, &tokens, &err), TERN_OK);
    assert_ids(&tokens, expected, n_expected);
    tern_tokens_free(&tokens);
}

#define CHECK_ENCODE(tokenizer, text, flags, ...)                                                                       \
    do {                                                                                                               \
        const tern_token ids_[] = {__VA_ARGS__};                                                                       \
        check_encode(tokenizer, text, sizeof text - 1, flags, ids_, sizeof ids_ / sizeof *ids_);                       \
    } while (0)

static inline void append(text_buffer *buffer, const char *text, size_t n)
{
    if (buffer->capacity - buffer->n < n + 1) {
        buffer->capacity = 2 * (buffer->capacity + n + 64);
        buffer->data = realloc(buffer->data, buffer->capacity);
        assert_non_null(buffer->data);
    }
    memcpy(buffer->data + buffer->n, text, n);
    buffer->n += n;
}

// Decodes one by one; every piece must be valid UTF-8 by itself.
static inline text_buffer decode(const tern_tokenizer *tokenizer, bool show_special, const tern_token *ids, size_t n)
{
    tern_detokenizer *detokenizer = NULL;
    tern_error err = {0};
    text_buffer buffer = {0};
    const char *text;
    size_t n_text, bad;
    assert_int_equal(tern_detokenizer_create(tokenizer, show_special, &detokenizer, &err), TERN_OK);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(tern_detokenizer_push(detokenizer, ids[i], &text, &n_text, &err), TERN_OK);
        assert_true(utf8_validate(text, n_text, &bad));
        append(&buffer, text, n_text);
    }
    assert_int_equal(tern_detokenizer_finish(detokenizer, &text, &n_text, &err), TERN_OK);
    append(&buffer, text, n_text);
    tern_detokenizer_free(detokenizer);
    return buffer;
}

static inline void check_decode(const tern_tokenizer *tokenizer, bool show_special, const tern_token *ids, size_t n,
                         const char *expected, size_t n_expected)
{
    text_buffer text = decode(tokenizer, show_special, ids, n);
    assert_int_equal(text.n, n_expected);
    if (n_expected > 0) assert_memory_equal(text.data, expected, n_expected);
    free(text.data);
}

#define CHECK_DECODE(tokenizer, show, text, ...)                                                                        \
    do {                                                                                                               \
        const tern_token ids_[] = {__VA_ARGS__};                                                                       \
        check_decode(tokenizer, show, ids_, sizeof ids_ / sizeof *ids_, text, sizeof text - 1);                        \
    } while (0)

static inline double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline void check_giant(const tern_tokenizer *t, const char *unit, const char *tail)
{
    text_buffer text = {0};
    while (text.n < 1000000) append(&text, unit, strlen(unit));
    append(&text, tail, strlen(tail));
    tern_tokens tokens = {0};
    tern_error err = {0};
    double start = seconds();
    assert_int_equal(tern_tokenizer_encode(t, text.data, text.n, TERN_TOKENIZE_PARSE_SPECIAL, &tokens, &err), TERN_OK);
    assert_true(seconds() - start < 10.0); // milliseconds, unless something is quadratic; sanitizers are slow
    check_decode(t, true, tokens.ids, tokens.n, text.data, text.n);
    tern_tokens_free(&tokens);
    free(text.data);
}

// Without `composes` text that NFC would change is left out.
static inline void check_giants(const tern_tokenizer *t, bool composes)
{
    static const char *const units[] = {"a", " ", "7", "\n", " \n", "\xe4\xb8\xad", "!", "'", "ab", "\xc2\xa0", "<|", "\r", "a\xcc\x81"};
    for (size_t i = 0; i < sizeof units / sizeof *units - !composes; i++) {
        check_giant(t, units[i], "");
        check_giant(t, units[i], "x");
    }
}

static inline const char *data_directory(void)
{
    const char *directory = getenv("TERN_TEST_DATA");
#ifdef TERN_TEST_DATA_DEFAULT
    if (directory == NULL || directory[0] == 0) directory = TERN_TEST_DATA_DEFAULT;
#endif
    return directory;
}

// The contents of a data file; skips the test if it is not there.
static inline char *read_data(const char *name, size_t *n)
{
    char path[1024];
    const char *directory = data_directory();
    FILE *file = NULL;
    if (directory != NULL) {
        snprintf(path, sizeof path, "%s/%s", directory, name);
        file = fopen(path, "rb");
    }
    if (file == NULL) {
        print_message("skipped: no %s under TERN_TEST_DATA (%s)\n", name, directory == NULL ? "not set" : directory);
        skip();
    }
    text_buffer buffer = {0};
    char block[65536];
    for (size_t count; (count = fread(block, 1, sizeof block, file)) > 0;) append(&buffer, block, count);
    fclose(file);
    append(&buffer, "", 1);
    *n = buffer.n - 1;
    return buffer.data;
}

static inline tern_tokenizer *open_data(const char *name, uint32_t n_vocab)
{
    char path[1024];
    size_t n;
    snprintf(path, sizeof path, "%s/tokenizer.json", name);
    free(read_data(path, &n)); // skips
    snprintf(path, sizeof path, "%s/%s", data_directory(), name);
    tern_tokenizer *t = NULL;
    tern_error err = {0};
    tern_status status = tokenizer_from_directory(path, n_vocab, &t, &err);
    if (status != TERN_OK) print_error("%s\n", err.message);
    assert_int_equal(status, TERN_OK);
    return t;
}

static inline void check_line(const tern_tokenizer *t, const json_t *line, const char *key, int flags)
{
    const json_t *text = json_object_get(line, "text"), *ids = json_object_get(line, key);
    size_t n = json_array_size(ids);
    tern_token *expected = malloc((n + 1) * sizeof *expected);
    for (size_t i = 0; i < n; i++) expected[i] = (tern_token)json_integer_value(json_array_get(ids, i));
    check_encode(t, json_string_value(text), json_string_length(text), flags, expected, n);
    const json_t *decoded = json_object_get(line, "decoded");
    if (decoded == NULL) decoded = text;
    // `decoded` is of "ids"; pieces decode special tokens otherwise (a space follows them).
    if (strcmp(key, "ids") == 0) check_decode(t, true, expected, n, json_string_value(decoded), json_string_length(decoded));
    free(expected);
}

// Lines that `wants` accepts (NULL: all); returns their number.
static inline size_t check_lines(const tern_tokenizer *t, const char *name, bool (*wants)(const char *text))
{
    char path[256];
    size_t n, n_lines = 0;
    snprintf(path, sizeof path, "fixtures/tokens/%s.jsonl", name);
    char *text = read_data(path, &n), *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (line[0] == 0) continue;
        json_t *object = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(object);
        if (wants == NULL || wants(json_string_value(json_object_get(object, "text")))) {
            check_line(t, object, "ids", 0);
            check_line(t, object, json_object_get(object, "ids_special") != NULL ? "ids_special" : "ids", TERN_TOKENIZE_PARSE_SPECIAL);
            n_lines++;
        }
        json_decref(object);
    }
    free(text);
    return n_lines;
}

// The first 400,000 characters of a text against a little-endian uint32 .npy of version 1.
static inline void check_text(const tern_tokenizer *t, const char *name, const char *text_name, const char *text_file)
{
    char path[256];
    size_t n_text, n_npy, end = 0;
    snprintf(path, sizeof path, "text/%s", text_file);
    char *text = read_data(path, &n_text);
    snprintf(path, sizeof path, "fixtures/tokens/%s.%s.npy", name, text_name);
    char *npy = read_data(path, &n_npy);
    for (size_t n_characters = 0; end < n_text; end++)
        if (((unsigned char)text[end] & 0xc0) != 0x80 && n_characters++ == 400000) break;
    size_t header = 10 + (unsigned char)npy[8] + 256 * (size_t)(unsigned char)npy[9];
    assert_true(n_npy > header && memcmp(npy, "\x93NUMPY\1", 7) == 0 && strstr(npy + 10, "'<u4'") != NULL);
    size_t n = (n_npy - header) / 4;
    tern_token *expected = malloc(n * sizeof *expected);
    memcpy(expected, npy + header, n * sizeof *expected);
    double start = seconds();
    check_encode(t, text, end, 0, expected, n);
    print_message("%s %s: %zu tokens, %.1f MB/s\n", name, text_name, n, (double)end / (seconds() - start) / 1e6);
    check_decode(t, false, expected, n, text, end);
    free(expected);
    free(npy);
    free(text);
}

#endif
