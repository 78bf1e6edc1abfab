// Divergence between two runs: rows, the base file, broken base files, the statistics.
#include <math.h>

#include "kl.h"
#include "scratch.h"

enum { N_VOCAB = 5 };

static kl_row encoded(const float *logits, uint16_t *codes)
{
    kl_row row = {.codes = codes};
    tern_error err = {0};
    if (kl_encode(logits, N_VOCAB, 1.25, &row, &err) != TERN_OK) fail_msg("%s", err.message);
    return row;
}

static double exact_divergence(const float *p, const float *q)
{
    double sum_p = 0, sum_q = 0, d = 0;
    for (int i = 0; i < N_VOCAB; i++) {
        sum_p += exp((double)p[i]);
        sum_q += exp((double)q[i]);
    }
    for (int i = 0; i < N_VOCAB; i++)
        d += exp((double)p[i]) / sum_p * (((double)p[i] - log(sum_p)) - ((double)q[i] - log(sum_q)));
    return d;
}

static void test_rows(void **state)
{
    (void)state;
    const float a[N_VOCAB] = {1, 4, -2, 4, 0.5f}, b[N_VOCAB] = {1.5f, 3, -2, 4.25f, 0}, flat[N_VOCAB] = {7, 7, 7, 7, 7};
    uint16_t codes[3][N_VOCAB];
    kl_row ra = encoded(a, codes[0]), rb = encoded(b, codes[1]), rf = encoded(flat, codes[2]);
    assert_int_equal(ra.top, 1); // the lower of two equals
    assert_int_equal(rb.top, 3);
    assert_true(ra.nll == 1.25f);
    assert_int_equal(ra.codes[1], 0);
    assert_int_equal(ra.codes[2], 65535);
    assert_true(rf.step == 0);
    assert_true(kl_divergence(&ra, &ra, N_VOCAB) == 0);
    assert_true(fabs(kl_divergence(&ra, &rb, N_VOCAB) - exact_divergence(a, b)) < 2e-4);
    assert_true(fabs(kl_divergence(&rf, &rb, N_VOCAB) - exact_divergence(flat, b)) < 2e-4);
    assert_true(kl_divergence(&ra, &rb, N_VOCAB) > 0.1);

    const float far[N_VOCAB] = {0, -1000, 1, 2, 3}, broken[N_VOCAB] = {0, 1, NAN, 2, 3};
    kl_row row = encoded(far, codes[0]);
    assert_int_equal(row.codes[1], 65535);
    assert_true(fabs((double)row.step * 65535 - KL_RANGE) < 1e-3);
    tern_error err = {0};
    assert_int_equal(kl_encode(broken, N_VOCAB, 0, &row, &err), TERN_NUMERIC);
    assert_non_null(strstr(err.message, "token 2"));
}

// Two runs whose divergences are known: tokens 0 and 1 equal, token 2 different.
static void test_statistics(void **state)
{
    (void)state;
    uint16_t base_codes[N_VOCAB] = {0, 100, 200, 300, 400}, other_codes[N_VOCAB] = {100, 0, 200, 300, 400};
    kl_row base = {.nll = 2, .step = 0.01f, .top = 0, .codes = base_codes};
    kl_row same = {.nll = 2.5f, .step = 0.01f, .top = 0, .codes = base_codes};
    kl_row other = {.nll = 2, .step = 0.01f, .top = 1, .codes = other_codes};
    kl_compare c = {0};
    assert_int_equal(kl_compare_add(&c, &base, &same, N_VOCAB, NULL), TERN_OK);
    assert_int_equal(kl_compare_add(&c, &base, &base, N_VOCAB, NULL), TERN_OK);
    assert_int_equal(kl_compare_add(&c, &base, &other, N_VOCAB, NULL), TERN_OK);
    kl_result r = kl_compare_finish(&c);
    // p = softmax(0, -1, -2, -3, -4), q swaps its first two: sum of p ln(p / q) = p0 - p1.
    double sum = 1 + exp(-1) + exp(-2) + exp(-3) + exp(-4), d = (1 - exp(-1)) / sum;
    assert_int_equal(r.n, 3);
    assert_true(fabs(r.mean - d / 3) < 1e-7);
    assert_true(fabs(r.error - d / 3) < 1e-7); // sd of {0, 0, d} is d / sqrt 3
    assert_true(r.median == 0);
    assert_true(fabs(r.max - d) < 1e-7);
    assert_true(fabs(r.p99 - 0.98 * d) < 1e-7);
    assert_true(fabs(r.same_top - 2.0 / 3) < 1e-12);
    assert_true(fabs(r.same_top_error - 1.0 / 3) < 1e-12);
    assert_true(fabs(r.base_perplexity - exp(2)) < 1e-6);
    assert_true(fabs(r.ppl_ratio - exp(0.5 / 3)) < 1e-7);
    assert_true(fabs(r.ppl_ratio_error - exp(0.5 / 3) * 0.5 / 3) < 1e-7);
    kl_compare_free(&c);
}

// A file of one chunk of four tokens, which scores one row.
static size_t write_base(const char *path)
{
    tern_token tokens[4] = {1, 2, 0, 4};
    uint16_t codes[N_VOCAB] = {9, 8, 7, 0, 65535};
    kl_header header = {.model = "m", .n_vocab = N_VOCAB, .n_ctx = 4, .n_chunks = 1, .bos = 3, .tokens = tokens};
    memset(header.text_sha256, 'a', 64);
    kl_row row = {.nll = 1.5f, .step = 0.25f, .top = 3, .codes = codes};
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(kl_write_header(file, &header, NULL), TERN_OK);
    assert_int_equal(kl_write_row(file, &row, N_VOCAB, NULL), TERN_OK);
    size_t n = (size_t)ftell(file);
    fclose(file);
    return n;
}

static tern_status read_base(const char *path, kl_header *header, kl_row *row, tern_error *err)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    tern_status status = kl_read_header(file, header, err);
    if (status == TERN_OK) status = kl_read_row(file, header, row, err);
    fclose(file);
    return status;
}

static void test_file(void **state)
{
    (void)state;
    const char *path = scratch_path("base");
    assert_int_equal(write_base(path), 8 + 64 + 128 + 16 + 16 + 12 + 12);
    kl_header h = {0};
    uint16_t codes[N_VOCAB];
    kl_row row = {.codes = codes};
    tern_error err = {0};
    if (read_base(path, &h, &row, &err) != TERN_OK) fail_msg("%s", err.message);
    assert_string_equal(h.model, "m");
    assert_int_equal(strlen(h.text_sha256), 64);
    assert_int_equal(h.n_vocab, N_VOCAB);
    assert_int_equal(h.bos, 3);
    assert_int_equal(h.tokens[3], 4);
    assert_int_equal(row.codes[4], 65535);
    assert_true(row.nll == 1.5f && row.step == 0.25f && row.top == 3);
    kl_header_free(&h);
}

// Every length but the right one, and damage where the header and the row are checked.
static void test_broken_files(void **state)
{
    (void)state;
    const char *path = scratch_path("base");
    size_t n = write_base(path);
    unsigned char good[512], bad[512];
    FILE *file = fopen(path, "rb");
    assert_int_equal(fread(good, 1, sizeof good, file), n);
    fclose(file);
    uint16_t codes[N_VOCAB];
    kl_row row = {.codes = codes};
    for (size_t length = 0; length <= n + 1; length++) {
        if (length == n) continue;
        memcpy(bad, good, sizeof bad);
        write_file(path, bad, length);
        kl_header h = {0};
        tern_error err = {0};
        assert_int_equal(read_base(path, &h, &row, &err), TERN_MALFORMED);
        assert_null(h.tokens);
    }
    static const struct {
        size_t at;
        uint32_t value;
        const char *says;
    } damages[] = {
        {0, 0, "no base file"},
        {200, 0, "damaged"},
        {200, 1u << 30, "damaged"},
        {204, 3, "damaged"},
        {208, 0, "damaged"},
        {208, 0xffffffff, "header"},
        {212, 5, "BOS 5"},
        {216, 5, "token 0"},
        {228, 0xffffffff, "token 3"},
        {232, 0x7fc00000, "damaged"},
        {236, 5, "top 5"},
        {240, 0x7fc00000, "damaged"},
        {240, 0xbf800000, "damaged"},
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        memcpy(bad, good, n);
        memcpy(bad + damages[i].at, &damages[i].value, 4);
        write_file(path, bad, n);
        kl_header h = {0};
        tern_error err = {0};
        assert_int_equal(read_base(path, &h, &row, &err), TERN_MALFORMED);
        if (strstr(err.message, damages[i].says) == NULL) fail_msg("damage %zu: %s", i, err.message);
        kl_header_free(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_broken_files),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
