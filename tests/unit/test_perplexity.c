// What `tern ppl` and `tern logits` are made of besides the engine: the loss of a row, chunk counting, SHA-256, .npy.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "npy.h"
#include "perplexity.h"
#include "sha256.h"

static void test_nll(void **state)
{
    (void)state;
    const float even[4] = {3, 3, 3, 3}, far[3] = {1000, 0, -1000}, minus[2] = {-INFINITY, 2};
    assert_true(fabs(perplexity_nll(even, 4, 2) - log(4)) < 1e-15);
    assert_true(perplexity_nll(far, 3, 0) == 0); // no overflow
    assert_true(perplexity_nll(far, 3, 2) == 2000);
    assert_true(perplexity_nll(minus, 2, 1) == 0);
    const float two[2] = {0, 1};
    assert_true(fabs(perplexity_nll(two, 2, 0) - log(1 + exp(1))) < 1e-15);
}

static void test_chunks(void **state)
{
    (void)state;
    perplexity_options o = {.n_ctx = 256, .n_batch = 64};
    assert_int_equal(perplexity_n_chunks(&o, 141257), 551);
    assert_int_equal(perplexity_n_chunks(&o, 255), 0);
    o.max_chunks = 3;
    assert_int_equal(perplexity_n_chunks(&o, 141257), 3);
    assert_int_equal(perplexity_n_chunks(&o, 600), 2);
    perplexity_result result = {.n_chunks = 77};
    tern_error err = {0};
    assert_int_equal(perplexity_measure(NULL, (tern_token[]){1, 2, 3}, 3, &o, &result, &err), TERN_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "3 tokens"));
    assert_int_equal(result.n_chunks, 77); // untouched
}

// The examples of FIPS 180-4, fed in uneven pieces.
static void test_sha256(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t repeats;
        const char *expected;
    } cases[] = {
        {"", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"aaaaaaaaaa", 100000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sha256 hash;
        char out[65];
        sha256_init(&hash);
        for (size_t k = 0; k < cases[i].repeats; k++) sha256_update(&hash, cases[i].text, strlen(cases[i].text));
        sha256_finish(&hash, out);
        assert_string_equal(out, cases[i].expected);
    }
}

static void test_npy(void **state)
{
    (void)state;
    char *data = NULL;
    size_t n = 0;
    FILE *file = open_memstream(&data, &n);
    const float row[3] = {1.0f, -2.5f, 0x1p-149f};
    assert_int_equal(npy_write_header(file, 1, 3, NULL), TERN_OK);
    assert_int_equal(npy_write_row(file, row, 3, NULL), TERN_OK);
    fclose(file);
    assert_int_equal(n, 128 + sizeof row);
    assert_memory_equal(data, "\x93NUMPY\x01\x00\x76\x00", 10);
    const char *head = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }";
    assert_memory_equal(data + 10, head, strlen(head));
    assert_int_equal(data[127], '\n');
    for (size_t i = 10 + strlen(head); i < 127; i++) assert_int_equal(data[i], ' ');
    assert_memory_equal(data + 128, row, sizeof row);
    free(data);

    file = fopen("/dev/full", "wb");
    if (!file) return;
    setvbuf(file, NULL, _IONBF, 0);
    tern_error err = {0};
    assert_int_equal(npy_write_header(file, 1, 3, &err), TERN_IO);
    assert_non_null(strstr(err.message, "No space left"));
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nll),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_npy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
