// The GGUF parser against every class of broken file it must name, and against damage of every byte of a good one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "build_gguf.h"
#include "hparams.h"

static tern_status parse(const bytes *b, gguf_file *file, tern_error *err)
{
    // An exact copy, so that reading one byte too far is seen by the sanitizer.
    uint8_t *copy = malloc(b->n + 1);
    assert_non_null(copy);
    uint8_t *exact = realloc(copy, b->n > 0 ? b->n : 1);
    if (b->n > 0) memcpy(exact, b->data, b->n);
    tern_status status = gguf_parse(exact, b->n, file, err);
    if (status == TERN_OK) {
        hparams hp;
        tern_error ignored = {0};
        (void)hparams_from_gguf(file, &hp, &ignored);
    }
    gguf_free(file);
    free(exact);
    return status;
}

static void expect_refusal(bytes *b, tern_status expected, const char *text)
{
    gguf_file file;
    tern_error err = {0};
    tern_status status = parse(b, &file, &err);
    if (status != expected || strstr(err.message, text) == NULL)
        fail_msg("got %s: \"%s\", expected %s with \"%s\"", tern_status_name(status), err.message,
                 tern_status_name(expected), text);
    assert_int_equal(err.status, status);
    free(b->data);
}

// One named test: statements that build the file `b`, and the refusal they must meet.
#define REFUSES(name, expected, text, ...)                                                                             \
    static void name(void **state)                                                                                     \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        bytes b = {0};                                                                                                 \
        __VA_ARGS__                                                                                                    \
        expect_refusal(&b, TERN_##expected, text);                                                                     \
    }

static const uint64_t shape[4] = {4, 4, 4, 4};

REFUSES(header_empty_file, MALFORMED, "does not begin", )
REFUSES(header_bad_magic, MALFORMED, "does not begin", put(&b, "GGML", 4); put_fill(&b, 0, 20);)
REFUSES(header_version_0, MALFORMED, "version 0", put_header(&b, 0, 0, 0);)
REFUSES(header_version_1, UNSUPPORTED, "version 1;", put_header(&b, 1, 0, 0);)
REFUSES(header_version_future, UNSUPPORTED, "version 4;", put_header(&b, 4, 0, 0);)
REFUSES(header_byte_swapped, UNSUPPORTED, "big-endian", put_header(&b, 0x03000000u, 0, 0);)
REFUSES(header_bad_tensor_count, MALFORMED, "tensors, but only", put_header(&b, 3, UINT64_MAX, 0);)
REFUSES(header_bad_value_count, MALFORMED, "metadata keys, but only", put_header(&b, 3, 0, UINT64_MAX / 8);)
REFUSES(header_too_many_values, LIMIT, "at most 65536", put_header(&b, 3, 0, 70000); put_fill(&b, 0, 14 * 70000);)

REFUSES(key_bad_length, MALFORMED, "runs over the end", put_header(&b, 3, 0, 1); put_u64(&b, UINT64_MAX);
        put_fill(&b, 0, 32);)
REFUSES(key_empty, MALFORMED, "empty metadata key", put_header(&b, 3, 0, 1); put_key_u32(&b, "", 1);)
REFUSES(key_too_long, LIMIT, "metadata key of", put_header(&b, 3, 0, 1); put_u64(&b, 70000); put_fill(&b, 'a', 70100);)
REFUSES(key_bad_type, MALFORMED, "type 13 does not exist", put_header(&b, 3, 0, 1); put_key(&b, "a", 13);
        put_fill(&b, 0, 9);)
REFUSES(key_negative_type, MALFORMED, "does not exist", put_header(&b, 3, 0, 1); put_key(&b, "a", UINT32_MAX);
        put_fill(&b, 0, 9);)
REFUSES(key_duplicate, MALFORMED, "key twice: occurs twice", put_header(&b, 3, 0, 2); put_key_u32(&b, "twice", 1);
        put_key_u32(&b, "twice", 1);)
REFUSES(value_cut_off, MALFORMED, "key wide: its value", put_header(&b, 3, 0, 1); put_key(&b, "wide", 10);
        put_u32(&b, 0);)
REFUSES(string_bad_length, MALFORMED, "key text: its value", put_header(&b, 3, 0, 1); put_key(&b, "text", 8);
        put_u64(&b, 1ull << 62);)
REFUSES(array_bad_count, MALFORMED, "array of", put_header(&b, 3, 0, 1); put_key(&b, "list", 9); put_u32(&b, 10);
        put_u64(&b, (1ull << 61) + 1); put_fill(&b, 0, 64);)
REFUSES(array_bad_type, MALFORMED, "element type 77", put_header(&b, 3, 0, 1); put_key(&b, "list", 9); put_u32(&b, 77);
        put_u64(&b, 1); put_fill(&b, 0, 64);)
REFUSES(array_nested, UNSUPPORTED, "arrays of arrays", put_header(&b, 3, 0, 1); put_key(&b, "list", 9); put_u32(&b, 9);
        put_u64(&b, 1ull << 60); put_fill(&b, 9, 64);)
REFUSES(array_string_overrun, MALFORMED, "string of the array", put_header(&b, 3, 0, 1); put_key(&b, "list", 9);
        put_u32(&b, 8); put_u64(&b, 2); put_string(&b, "ok"); put_u64(&b, 1000); put_fill(&b, 0, 10);)
REFUSES(alignment_zero, MALFORMED, "general.alignment: 0", put_header(&b, 3, 0, 1);
        put_key_u32(&b, "general.alignment", 0);)
REFUSES(alignment_not_power, MALFORMED, "general.alignment: 48", put_header(&b, 3, 0, 1);
        put_key_u32(&b, "general.alignment", 48);)
REFUSES(alignment_huge, MALFORMED, "general.alignment: 2147483648", put_header(&b, 3, 0, 1);
        put_key_u32(&b, "general.alignment", 1u << 31);)
REFUSES(alignment_small, MALFORMED, "general.alignment: 4", put_header(&b, 3, 0, 1);
        put_key_u32(&b, "general.alignment", 4);)
REFUSES(alignment_wrong_type, MALFORMED, "type u64, expected u32", put_header(&b, 3, 0, 1);
        put_key(&b, "general.alignment", 10); put_u64(&b, 32);)

REFUSES(tensor_bad_name_length, MALFORMED, "name of tensor 0", put_header(&b, 3, 1, 0); put_u64(&b, UINT64_MAX - 3);
        put_fill(&b, 0, 64);)
REFUSES(tensor_empty_name, MALFORMED, "empty or holds", put_header(&b, 3, 1, 0); put_tensor(&b, "", 2, shape, 0, 0);)
REFUSES(tensor_nul_in_name, MALFORMED, "empty or holds", put_header(&b, 3, 1, 0); put_u64(&b, 3); put(&b, "a\0b", 3);
        put_u32(&b, 1); put_u64(&b, 4); put_u32(&b, 0); put_u64(&b, 0); put_fill(&b, 0, 64);)
REFUSES(tensor_long_name, LIMIT, "name of 300 bytes", put_header(&b, 3, 1, 0); put_u64(&b, 300);
        put_fill(&b, 'n', 400);)
REFUSES(tensor_no_dims, MALFORMED, "0 dimensions", put_header(&b, 3, 1, 0); put_tensor(&b, "t", 0, shape, 0, 0);
        put_fill(&b, 0, 64);)
REFUSES(tensor_five_dims, MALFORMED, "5 dimensions", put_header(&b, 3, 1, 0); put_string(&b, "t"); put_u32(&b, 5);
        put_fill(&b, 1, 64);)
REFUSES(tensor_zero_dim, MALFORMED, "dimension 1 is 0", put_header(&b, 3, 1, 0);
        put_tensor(&b, "t", 2, (const uint64_t[]){4, 0}, 0, 0); put_fill(&b, 0, 64);)
REFUSES(tensor_negative_dim, MALFORMED, "dimension 0", put_header(&b, 3, 1, 0);
        put_tensor(&b, "t", 1, (const uint64_t[]){UINT64_MAX}, 0, 0); put_fill(&b, 0, 64);)
REFUSES(tensor_product_overflow, MALFORMED, "product of its dimensions", put_header(&b, 3, 1, 0);
        put_tensor(&b, "t", 4, (const uint64_t[]){1 << 20, 1 << 20, 1 << 20, 1 << 20}, 0, 0); put_fill(&b, 0, 64);)
REFUSES(tensor_bytes_overflow, MALFORMED, "size in bytes", put_header(&b, 3, 1, 0);
        put_tensor(&b, "t", 2, (const uint64_t[]){1ull << 32, 1ull << 30}, 28, 0); put_fill(&b, 0, 64);)
REFUSES(tensor_too_large, MALFORMED, "cut off or broken", put_header(&b, 3, 1, 0);
        put_tensor(&b, "t", 1, (const uint64_t[]){1ull << 50}, 0, 0); put_fill(&b, 0, 64);)
REFUSES(tensor_bad_block, MALFORMED, "blocks of 256", put_header(&b, 3, 1, 0);
        put_tensor(&b, "t", 1, (const uint64_t[]){128}, 35, 0); put_fill(&b, 0, 640);)
REFUSES(tensor_i2s_not_whole, MALFORMED, "I2_S with 6 elements", put_header(&b, 3, 1, 0);
        put_tensor(&b, "t", 1, (const uint64_t[]){6}, 36, 0); put_fill(&b, 0, 640);)
REFUSES(tensor_bad_type, UNSUPPORTED, "tensor t: type id 9999", put_header(&b, 3, 1, 0);
        put_tensor(&b, "t", 2, shape, 9999, 0); put_fill(&b, 0, 64);)
REFUSES(tensor_negative_type, UNSUPPORTED, "tensor t: type id 4294967295", put_header(&b, 3, 1, 0);
        put_tensor(&b, "t", 2, shape, UINT32_MAX, 0); put_fill(&b, 0, 64);)
REFUSES(tensor_bad_offset, MALFORMED, "offset 8", put_header(&b, 3, 1, 0); put_tensor(&b, "t", 2, shape, 0, 8);
        put_fill(&b, 0, 256);)
REFUSES(tensor_inconsistent_alignment, MALFORMED, "multiple of the alignment 64", put_header(&b, 3, 1, 1);
        put_key_u32(&b, "general.alignment", 64); put_tensor(&b, "t", 2, shape, 0, 32); put_fill(&b, 0, 512);)
REFUSES(tensor_offset_beyond_file, MALFORMED, "cut off or broken", put_header(&b, 3, 1, 0);
        put_tensor(&b, "t", 2, shape, 0, UINT64_MAX - 31); put_fill(&b, 0, 256);)
REFUSES(tensor_duplicate_name, MALFORMED, "tensor t: the name occurs twice", put_header(&b, 3, 2, 0);
        put_tensor(&b, "t", 2, shape, 0, 0); put_tensor(&b, "t", 2, shape, 0, 64); put_fill(&b, 0, 512);)
REFUSES(tensor_overlap, MALFORMED, "overlaps u", put_header(&b, 3, 2, 0); put_tensor(&b, "t", 2, shape, 0, 0);
        put_tensor(&b, "u", 2, shape, 0, 32); put_fill(&b, 0, 512);)
REFUSES(tensor_same_place_unsized, MALFORMED, "overlaps", put_header(&b, 3, 2, 0); put_tensor(&b, "t", 2, shape, 42, 0);
        put_tensor(&b, "u", 2, shape, 42, 0); put_fill(&b, 0, 512);)
REFUSES(data_missing, MALFORMED, "tensor data would begin", put_header(&b, 3, 1, 0);
        put_tensor(&b, "t", 2, shape, 0, 0);)
REFUSES(data_too_short, MALFORMED, "cut off or broken", put_header(&b, 3, 1, 0); put_tensor(&b, "t", 2, shape, 0, 0);
        put_align(&b, 32); put_fill(&b, 0, 63);)

static void every_truncation_is_refused(void **state)
{
    (void)state;
    tiny_model m;
    bytes b = {0};
    gguf_file file;
    tiny_default(&m);
    tiny_write(&m, &b);
    tern_error whole = {0};
    assert_int_equal(parse(&b, &file, &whole), TERN_OK);
    for (size_t n = 0; n < b.n; n++) {
        bytes cut = {b.data, n, n};
        tern_error err = {0};
        tern_status status = parse(&cut, &file, &err);
        if (status != TERN_MALFORMED || err.message[0] == 0)
            fail_msg("%zu of %zu bytes: %s", n, b.n, tern_status_name(status));
    }
    free(b.data);
}

// Every other value of every header byte: a status, no crash, no leak, and a message exactly when it failed.
static void every_changed_byte_ends_in_a_status(void **state)
{
    (void)state;
    tiny_model m;
    bytes b = {0};
    tiny_default(&m);
    size_t header = tiny_write(&m, &b), n_refused = 0;
    for (size_t i = 0; i < header; i++) {
        uint8_t old = b.data[i];
        for (unsigned v = 1; v < 256; v++) {
            gguf_file file;
            hparams hp;
            tern_error err = {0};
            b.data[i] = (uint8_t)(old ^ v);
            tern_status status = gguf_parse(b.data, b.n, &file, &err);
            if (status == TERN_OK) status = hparams_from_gguf(&file, &hp, &err);
            gguf_free(&file);
            assert_int_equal(status, err.status);
            assert_true((status == TERN_OK) == (err.message[0] == 0));
            n_refused += status != TERN_OK;
        }
        b.data[i] = old;
    }
    assert_true(n_refused > header); // most changes are seen
    free(b.data);
}

static void getters_keep_absent_and_wrong_apart(void **state)
{
    (void)state;
    bytes b = {0};
    gguf_file file;
    tern_error err = {0};
    uint32_t u = 7;
    float f = 7;
    bool t = false;
    gguf_string s;
    put_header(&b, 3, 0, 8);
    put_key(&b, "i8", 1), put_fill(&b, 0xff, 1);
    put_key(&b, "u16", 2), put(&b, "\x34\x12", 2);
    put_key(&b, "u64", 10), put_u64(&b, 1ull << 32);
    put_key(&b, "i64", 11), put_u64(&b, 5);
    put_key(&b, "f64", 12), put_u64(&b, 0x3ff8000000000000u);
    put_key(&b, "nan", 6), put_u32(&b, 0x7fc00000u);
    put_key(&b, "bool", 7), put_fill(&b, 2, 1);
    put_key(&b, "text", 8), put_string(&b, "hello");
    assert_int_equal(gguf_parse(b.data, b.n, &file, &err), TERN_OK);
    assert_int_equal(gguf_get_u32(&file, "none", &u, &err), TERN_NOT_FOUND);
    assert_int_equal(err.status, TERN_OK);
    assert_int_equal(u, 7);
    assert_int_equal(gguf_get_u32(&file, "u16", &u, &err), TERN_OK);
    assert_int_equal(u, 0x1234);
    assert_int_equal(gguf_get_u32(&file, "i64", &u, &err), TERN_OK);
    assert_int_equal(u, 5);
    assert_int_equal(gguf_get_f32(&file, "f64", &f, &err), TERN_OK);
    assert_true(f == 1.5f);
    assert_int_equal(gguf_get_string(&file, "text", &s, &err), TERN_OK);
    assert_true(s.n == 5 && memcmp(s.data, "hello", 5) == 0);
    assert_int_equal(gguf_get_u32(&file, "i8", &u, NULL), TERN_MALFORMED);
    assert_int_equal(gguf_get_u32(&file, "u64", &u, NULL), TERN_MALFORMED);
    assert_int_equal(gguf_get_u32(&file, "text", &u, NULL), TERN_MALFORMED);
    assert_int_equal(gguf_get_f32(&file, "nan", &f, NULL), TERN_MALFORMED);
    assert_int_equal(gguf_get_f32(&file, "i64", &f, NULL), TERN_MALFORMED);
    assert_int_equal(gguf_get_bool(&file, "bool", &t, NULL), TERN_MALFORMED);
    assert_int_equal(gguf_get_string(&file, "u16", &s, NULL), TERN_MALFORMED);
    assert_int_equal(gguf_array_strings(&file, "text", &s, 1, NULL), TERN_MALFORMED);
    gguf_free(&file);
    free(b.data);
}

static void large_vocabulary_parses(void **state)
{
    (void)state;
    bytes b = {0};
    const uint32_t n = 300000;
    put_header(&b, 3, 0, 1);
    put_key(&b, "tokenizer.ggml.tokens", 9);
    put_u32(&b, 8);
    put_u64(&b, n);
    for (uint32_t i = 0; i < n; i++) {
        char text[16];
        snprintf(text, sizeof text, "t%u", i);
        put_string(&b, text);
    }
    gguf_file file;
    tern_error err = {0};
    gguf_string *tokens = calloc(n, sizeof *tokens);
    assert_int_equal(gguf_parse(b.data, b.n, &file, &err), TERN_OK);
    assert_int_equal(gguf_array_strings(&file, "tokenizer.ggml.tokens", tokens, n, &err), TERN_OK);
    assert_true(tokens[n - 1].n == 7 && memcmp(tokens[n - 1].data, "t299999", 7) == 0);
    assert_int_equal(gguf_array_strings(&file, "tokenizer.ggml.tokens", tokens, n - 1, NULL), TERN_MALFORMED);
    free(tokens);
    gguf_free(&file);
    free(b.data);
}

// 20,000 tensors (with names that share a long prefix) are placed in linear time and found again.
static void many_tensors_are_found(void **state)
{
    (void)state;
    bytes b = {0};
    const uint64_t n = 20000, dims[1] = {8};
    char name[40];
    put_header(&b, 2, n, 0);
    for (uint64_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "a.long.common.prefix.%llu", (unsigned long long)i);
        put_tensor(&b, name, 1, dims, 0, (n - 1 - i) * 32);
    }
    put_align(&b, 32);
    put_fill(&b, 0, n * 32);
    gguf_file file;
    tern_error err = {0};
    assert_int_equal(gguf_parse(b.data, b.n, &file, &err), TERN_OK);
    const tensor *t = tensor_set_find(&file.tensors, "a.long.common.prefix.19999");
    assert_non_null(t);
    assert_ptr_equal(t->data, b.data + file.data_offset);
    assert_null(tensor_set_find(&file.tensors, "a.long.common.prefix.20000"));
    gguf_free(&file);
    free(b.data);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(header_empty_file),
        T(header_bad_magic),
        T(header_version_0),
        T(header_version_1),
        T(header_version_future),
        T(header_byte_swapped),
        T(header_bad_tensor_count),
        T(header_bad_value_count),
        T(header_too_many_values),
        T(key_bad_length),
        T(key_empty),
        T(key_too_long),
        T(key_bad_type),
        T(key_negative_type),
        T(key_duplicate),
        T(value_cut_off),
        T(string_bad_length),
        T(array_bad_count),
        T(array_bad_type),
        T(array_nested),
        T(array_string_overrun),
        T(alignment_zero),
        T(alignment_not_power),
        T(alignment_huge),
        T(alignment_small),
        T(alignment_wrong_type),
        T(tensor_bad_name_length),
        T(tensor_empty_name),
        T(tensor_nul_in_name),
        T(tensor_long_name),
        T(tensor_no_dims),
        T(tensor_five_dims),
        T(tensor_zero_dim),
        T(tensor_negative_dim),
        T(tensor_product_overflow),
        T(tensor_bytes_overflow),
        T(tensor_too_large),
        T(tensor_bad_block),
        T(tensor_i2s_not_whole),
        T(tensor_bad_type),
        T(tensor_negative_type),
        T(tensor_bad_offset),
        T(tensor_inconsistent_alignment),
        T(tensor_offset_beyond_file),
        T(tensor_duplicate_name),
        T(tensor_overlap),
        T(tensor_same_place_unsized),
        T(data_missing),
        T(data_too_short),
        T(every_truncation_is_refused),
        T(every_changed_byte_ends_in_a_status),
        T(getters_keep_absent_and_wrong_apart),
        T(large_vocabulary_parses),
        T(many_tensors_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
