// Every ternary encoding against published vectors and small matrices worked by hand, and the errors of each.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "build_gguf.h"
#include "half.h"
#include "matrix.h"

// One matrix over given bytes. The tensor lives as long as the fixture.
typedef struct fixture {
    tensor weights, scale;
    matrix_source m;
} fixture;

static void make(fixture *f, matrix_encoding encoding, uint32_t rows, uint32_t cols, const uint8_t *data, size_t n)
{
    memset(f, 0, sizeof *f);
    f->weights.data = data;
    f->weights.n_bytes = n;
    snprintf(f->m.name, sizeof f->m.name, "the.matrix");
    f->m.encoding = encoding;
    f->m.n_rows = rows;
    f->m.n_cols = cols;
    f->m.weights = &f->weights;
    f->m.scale = &f->scale;
}

static ternary_scale scale_of(const fixture *f)
{
    ternary_scale scale = {0};
    tern_error err = {0};
    if (matrix_scale(&f->m, &scale, &err) != TERN_OK) fail_msg("%s", err.message);
    return scale;
}

// Reads one row and checks that its padding is code 1.
static void read_row(const fixture *f, const ternary_scale *scale, uint32_t row, uint8_t *codes)
{
    tern_error err = {0};
    size_t n = ternary_row_bytes(f->m.n_cols);
    uint8_t *packed = malloc(n);
    memset(packed, 0xff, n);
    if (matrix_read_rows(&f->m, scale, row, 1, packed, &err) != TERN_OK) fail_msg("%s", err.message);
    for (uint32_t c = 0; c < f->m.n_cols; c++) codes[c] = (uint8_t)ternary_code(packed, c);
    for (uint32_t c = f->m.n_cols; c < ternary_padded(f->m.n_cols); c++) assert_int_equal(ternary_code(packed, c), 1);
    free(packed);
}

static void expect_scale_refused(const fixture *f, const char *text)
{
    ternary_scale scale = {0};
    tern_error err = {0};
    assert_int_equal(matrix_scale(&f->m, &scale, &err), TERN_MALFORMED);
    assert_non_null(strstr(err.message, "the.matrix"));
    if (strstr(err.message, text) == NULL) fail_msg("%s", err.message);
    assert_null(scale.values);
}

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    for (; *hex != 0; hex++) {
        if (*hex == ' ') continue;
        unsigned v;
        assert_int_equal(sscanf(hex, "%2x", &v), 1);
        out[n++] = (uint8_t)v;
        hex++;
    }
    return n;
}

// Element i of the published vectors is 0.5 * (i mod 3 - 1).
static void expect_vector(matrix_encoding encoding, uint32_t n_cols, const char *hex)
{
    uint8_t data[128], codes[256];
    fixture f;
    size_t n = from_hex(hex, data);
    make(&f, encoding, 1, n_cols, data, n);
    ternary_scale scale = scale_of(&f);
    assert_int_equal((int)(scale.n_sets * scale.n_groups), 1);
    assert_true(scale.values[0] == 0.5f);
    read_row(&f, &scale, 0, codes);
    for (uint32_t c = 0; c < n_cols; c++) assert_int_equal(codes[c], c % 3);
    ternary_scale_free(&scale);
}

static void vector_tq1_0(void **state)
{
    (void)state;
    expect_vector(MATRIX_TQ1_0, 256,
                  "456ccf456ccf456ccf456ccf456ccf45 6ccf456ccf456ccf456ccf456ccf456c"
                  "94bb3194bb3194bb3194bb3194bb3194 3092bb30 0038");
}

static void vector_tq2_0(void **state)
{
    (void)state;
    expect_vector(MATRIX_TQ2_0, 256,
                  "18618618618618618618618618618618 61861861861861861861861861861861"
                  "86186186186186186186186186186186 18618618618618618618618618618618 0038");
}

static void vector_i2_s(void **state)
{
    (void)state;
    expect_vector(MATRIX_I2_S, 128, "24499224499224499224499224499224 49922449922449922449922449922449 0000003f");
}

static void vector_i2_s_64(void **state)
{
    (void)state;
    uint8_t data[64], codes[128];
    size_t n = from_hex("18618618618618618618618618618618 61861861861861861861861861861861 0000003f", data);
    fixture f;
    make(&f, MATRIX_I2_S, 1, 128, data, n);
    f.m.i2s_layout = TERN_I2S_64;
    ternary_scale scale = scale_of(&f);
    assert_true(scale.values[0] == 0.5f);
    read_row(&f, &scale, 0, codes);
    for (uint32_t c = 0; c < 128; c++) assert_int_equal(codes[c], c % 3);
    ternary_scale_free(&scale);
}

static void vector_q2_0(void **state)
{
    (void)state;
    expect_vector(MATRIX_Q2_0_64, 64, "0038 24499224499224499224499224499224");
    expect_vector(MATRIX_Q2_0_128, 128, "0038 24499224499224499224499224499224 49922449922449922449922449922449");
}

static void vector_ptq1_0(void **state)
{
    (void)state;
    expect_vector(MATRIX_PTQ1_0, 128, "3194bb3194bb3194bb3194bb3194bb31 cf456ccf456ccf45 436c 0038");
}

static void vector_iq_bn(void **state)
{
    (void)state;
    expect_vector(MATRIX_IQ2_BN, 64, "0000003f 24499224499224499224499224499224");
    expect_vector(MATRIX_IQ1_BN, 64, "0038 6c45cfcf6c4545cf6c6c45cf 17");
}

static void vector_hf_packed(void **state)
{
    (void)state;
    static const uint8_t data[4] = {0xa1, 0x18, 0x90, 0x0a};
    static const int trits[8][2] = {{0, -1}, {-1, 1}, {-1, 1}, {-1, 1}, {1, 0}, {0, -1}, {1, -1}, {1, -1}};
    static const float stored = 0.25f;
    fixture f;
    make(&f, MATRIX_HF_PACKED, 8, 2, data, 4);
    f.scale = (tensor){.type = TENSOR_F32, .data = (const uint8_t *)&stored, .n_bytes = 4};
    for (int divide = 0; divide < 2; divide++) {
        f.m.divide = divide;
        ternary_scale scale = scale_of(&f);
        assert_true(scale.values[0] == (divide ? 4.0f : 0.25f));
        for (uint32_t r = 0; r < 8; r++) {
            uint8_t codes[2];
            read_row(&f, &scale, r, codes);
            for (int c = 0; c < 2; c++) assert_int_equal(codes[c] - 1, trits[r][c]);
        }
        ternary_scale_free(&scale);
    }
}

static void hf_packed_rows_not_a_multiple_of_4(void **state)
{
    (void)state;
    // 6 rows: stride 2, so rows 0, 2, 4 are fields 0, 1, 2 of packed row 0.
    static const uint8_t data[2] = {0x24, 0x16};
    static const int expected[6] = {0, 2, 1, 1, 2, 1};
    static const float stored = 1.0f;
    fixture f;
    make(&f, MATRIX_HF_PACKED, 6, 1, data, 2);
    f.scale = (tensor){.type = TENSOR_F32, .data = (const uint8_t *)&stored, .n_bytes = 4};
    for (uint32_t r = 0; r < 6; r++) {
        uint8_t code;
        read_row(&f, NULL, r, &code);
        assert_int_equal(code, expected[r]);
    }
}

static void hf_scales_out_of_range_are_refused(void **state)
{
    (void)state;
    static const uint8_t data[1] = {0};
    static const uint32_t bits[] = {0u, 0x80000000u, 0xbf800000u, 0x7f800000u, 0x7fc00000u};
    fixture f;
    make(&f, MATRIX_HF_PACKED, 4, 1, data, 1);
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        f.scale = (tensor){.type = TENSOR_F32, .data = (const uint8_t *)&bits[i], .n_bytes = 4};
        expect_scale_refused(&f, "weight_scale is");
    }
    const uint32_t tiny = 1; // the smallest subnormal: its inverse is infinite
    f.scale = (tensor){.type = TENSOR_F32, .data = (const uint8_t *)&tiny, .n_bytes = 4};
    f.m.divide = true;
    expect_scale_refused(&f, "scale 0 is inf");
}

// K = 96: groups of 128 straddle rows.
static void i2_s_groups_straddle_rows(void **state)
{
    (void)state;
    enum { ROWS = 4, COLS = 96, N = ROWS * COLS };
    uint8_t data[N / 4 + 32] = {0};
    const float one = 1.0f;
    for (unsigned i = 0; i < N; i++) {
        unsigned code = (i * 7 + i / 5) % 3, group = i / 128, at = i % 128;
        data[group * 32 + at % 32] = (uint8_t)(data[group * 32 + at % 32] | code << (6 - 2 * (at / 32)));
    }
    memcpy(data + N / 4, &one, 4);
    fixture f;
    make(&f, MATRIX_I2_S, ROWS, COLS, data, sizeof data);
    for (uint32_t r = 0; r < ROWS; r++) {
        uint8_t codes[COLS];
        read_row(&f, NULL, r, codes);
        for (unsigned c = 0; c < COLS; c++) assert_int_equal(codes[c], ((r * COLS + c) * 7 + (r * COLS + c) / 5) % 3);
    }
}

static void code_3_is_refused_with_matrix_and_row(void **state)
{
    (void)state;
    uint8_t data[4 * 32 + 32], rows[4 * 32];
    const float one = 1.0f;
    memset(data, 0x55, sizeof data);
    memcpy(data + 128, &one, 4);
    data[2 * 32 + 5] = 0x57;
    fixture f;
    make(&f, MATRIX_I2_S, 4, 128, data, sizeof data);
    tern_error err = {0};
    assert_int_equal(matrix_read_rows(&f.m, NULL, 0, 2, rows, &err), TERN_OK);
    assert_int_equal(matrix_read_rows(&f.m, NULL, 0, 4, rows, &err), TERN_MALFORMED);
    assert_non_null(strstr(err.message, "the.matrix: row 2"));
    error_clear(&err);
    assert_int_equal(matrix_read_rows(&f.m, NULL, 3, 2, rows, &err), TERN_INVALID_ARGUMENT);
}

static void i2_s_scales_are_checked(void **state)
{
    (void)state;
    uint8_t data[64] = {0};
    const float zero = 0.0f, negative = -1.0f;
    const uint32_t nan = 0x7fc00000u;
    fixture f;
    make(&f, MATRIX_I2_S, 1, 128, data, sizeof data);
    memset(data, 0x55, 64);
    memcpy(data + 32, &zero, 4);
    ternary_scale scale = scale_of(&f); // a matrix of zeros may have scale 0
    assert_true(scale.values[0] == 0.0f);
    ternary_scale_free(&scale);
    data[7] = 0x56;
    expect_scale_refused(&f, "scale is 0 although");
    memcpy(data + 32, &negative, 4);
    expect_scale_refused(&f, "scale 0 is -1");
    memcpy(data + 32, &nan, 4);
    expect_scale_refused(&f, "scale 0 is");
}

// Two rows of two TQ2_0 blocks, all codes 2, with the given fp16 scales.
static void make_tq2(fixture *f, uint8_t *data, const uint16_t *scales)
{
    for (int b = 0; b < 4; b++) {
        memset(data + 66 * b, 0xaa, 64);
        data[66 * b + 64] = (uint8_t)scales[b];
        data[66 * b + 65] = (uint8_t)(scales[b] >> 8);
    }
    make(f, MATRIX_TQ2_0, 2, 512, data, 4 * 66);
}

static void tq_scales_merge_when_equal(void **state)
{
    (void)state;
    uint8_t data[4 * 66], codes[512];
    fixture f;
    make_tq2(&f, data, (const uint16_t[]){0x3800, 0, 0x8000, 0x3800}); // 0.5, 0, -0, 0.5
    memset(data + 66, 0xff, 64);                                       // code 3 where the scale is zero: weight zero
    ternary_scale scale = scale_of(&f);
    assert_true(scale.n_sets == 1 && scale.n_groups == 1 && scale.values[0] == 0.5f);
    read_row(&f, &scale, 0, codes);
    assert_true(codes[0] == 2 && codes[255] == 2 && codes[256] == 1 && codes[511] == 1);
    read_row(&f, &scale, 1, codes);
    assert_true(codes[0] == 1 && codes[256] == 2);
    ternary_scale_free(&scale);
}

static void tq_scales_stay_apart_when_different(void **state)
{
    (void)state;
    uint8_t data[4 * 66], codes[512];
    fixture f;
    make_tq2(&f, data, (const uint16_t[]){0x3800, 0, 0x3c00, 0x3801});
    ternary_scale scale = scale_of(&f);
    assert_true(scale.n_sets == 2 && scale.n_groups == 2 && scale.group == 256 && scale.set_begin == NULL);
    const float expected[4] = {0.5f, 0.0f, 1.0f, half_to_float(0x3801)};
    assert_memory_equal(scale.values, expected, sizeof expected);
    read_row(&f, &scale, 0, codes);
    assert_true(codes[0] == 2 && codes[256] == 1);
    ternary_scale_free(&scale);
}

static void tq_scales_out_of_range_are_refused(void **state)
{
    (void)state;
    uint8_t data[4 * 66];
    fixture f;
    make_tq2(&f, data, (const uint16_t[]){0x3800, 0x3800, 0x7e00, 0x3800}); // NaN
    expect_scale_refused(&f, "scale 2 is");
    make_tq2(&f, data, (const uint16_t[]){0x7e00, 0x3800, 0x3800, 0x3800});
    expect_scale_refused(&f, "scale 0 is");
    make_tq2(&f, data, (const uint16_t[]){0xb800, 0xb800, 0xb800, 0xb800}); // -0.5
    expect_scale_refused(&f, "scale 0 is -0.5");
    make_tq2(&f, data, (const uint16_t[]){0x3800, 0x3800, 0x3800, 0x7c00}); // inf
    expect_scale_refused(&f, "scale 3 is inf");
}

static void masters_follow_the_absmean_rule(void **state)
{
    (void)state;
    // mean |W| = 1: W * s is W; ties at 0.5 round to even (0), 1.5 clamps.
    const float w[8] = {0.5f, -0.5f, 0.75f, -0.75f, 1.5f, -2.0f, 0.0f, 2.0f};
    const uint8_t expected[8] = {1, 1, 2, 0, 2, 0, 1, 2};
    uint8_t codes[8];
    fixture f;
    make(&f, MATRIX_HF_MASTER, 1, 8, (const uint8_t *)w, sizeof w);
    f.m.dense = DENSE_F32;
    ternary_scale scale = scale_of(&f);
    assert_true(scale.values[0] == 1.0f);
    read_row(&f, &scale, 0, codes);
    assert_memory_equal(codes, expected, 8);
    ternary_scale_free(&scale);

    const float zeros[8] = {0};
    make(&f, MATRIX_HF_MASTER, 1, 8, (const uint8_t *)zeros, sizeof zeros);
    scale = scale_of(&f);
    assert_true(scale.values[0] == 1e-5f);
    read_row(&f, &scale, 0, codes);
    for (int c = 0; c < 8; c++) assert_int_equal(codes[c], 1);
    ternary_scale_free(&scale);

    const uint32_t nan[8] = {0x7fc00000u};
    make(&f, MATRIX_HF_MASTER, 1, 8, (const uint8_t *)nan, sizeof nan);
    expect_scale_refused(&f, "not finite");
}

static void synthetic_rows_are_balanced_and_repeatable(void **state)
{
    (void)state;
    enum { ROWS = 64, COLS = 100 };
    fixture f;
    make(&f, MATRIX_SYNTHETIC, ROWS, COLS, NULL, 0);
    f.m.weights = NULL;
    f.m.seed = 42;
    ternary_scale scale = scale_of(&f);
    unsigned count[4] = {0};
    uint8_t codes[COLS], again[COLS];
    for (uint32_t r = 0; r < ROWS; r++) {
        read_row(&f, &scale, r, codes);
        for (int c = 0; c < COLS; c++) count[codes[c]]++;
    }
    read_row(&f, &scale, ROWS - 1, again);
    assert_memory_equal(codes, again, COLS);
    // 6,400 draws: standard deviations 35 (of 1,600) and 40 (of 3,200); the seed is fixed, so this cannot flicker.
    assert_in_range(count[0], 1430, 1770);
    assert_in_range(count[1], 3000, 3400);
    assert_in_range(count[2], 1430, 1770);
    f.m.seed = 43;
    read_row(&f, &scale, ROWS - 1, again);
    assert_memory_not_equal(codes, again, COLS);
    ternary_scale_free(&scale);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(vector_tq1_0),
        T(vector_tq2_0),
        T(vector_i2_s),
        T(vector_i2_s_64),
        T(vector_q2_0),
        T(vector_ptq1_0),
        T(vector_iq_bn),
        T(vector_hf_packed),
        T(hf_packed_rows_not_a_multiple_of_4),
        T(hf_scales_out_of_range_are_refused),
        T(i2_s_groups_straddle_rows),
        T(code_3_is_refused_with_matrix_and_row),
        T(i2_s_scales_are_checked),
        T(tq_scales_merge_when_equal),
        T(tq_scales_stay_apart_when_different),
        T(tq_scales_out_of_range_are_refused),
        T(masters_follow_the_absmean_rule),
        T(synthetic_rows_are_balanced_and_repeatable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
