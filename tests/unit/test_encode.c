// The ternary encodings of GGUF: against published byte vectors, against the readers, and what each type refuses.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encode.h"
#include "half.h"
#include "matrix.h"
#include "rng.h"

static void assert_ok(tern_status status, const tern_error *err)
{
    if (status != TERN_OK) fail_msg("%s: %s", tern_status_name(status), err->message);
}

static void parse_hex(const char *hex, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++, hex += 2) {
        while (*hex == ' ') hex++;
        unsigned byte;
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        out[i] = (uint8_t)byte;
    }
}

static void set_code(uint8_t *row, uint32_t column, uint32_t code)
{
    row[column / 4] = (uint8_t)((row[column / 4] & ~(3u << (2 * (column % 4)))) | code << (2 * (column % 4)));
}

static uint8_t *random_rows(uint32_t n_rows, uint32_t n_cols, uint64_t seed)
{
    size_t stride = ternary_row_bytes(n_cols);
    uint8_t *rows = calloc(n_rows, stride);
    for (uint32_t r = 0; r < n_rows; r++) {
        for (uint32_t c = 0; c < n_cols; c++)
            set_code(rows + r * stride, c, (uint32_t)(rng_u64(seed, (uint64_t)r * n_cols + c) % 3));
        ternary_pad_row(rows + r * stride, n_cols);
    }
    return rows;
}

// The whole tensor through the encoder, exactly sized so that a write too far is seen by the sanitizers.
static uint8_t *encode(encode_type type, uint32_t n_rows, uint32_t n_cols, const ternary_scale *scale,
                       const uint8_t *rows, size_t *n_bytes)
{
    tern_error err = {0};
    encoder e;
    assert_null(encode_refusal(type, n_rows, n_cols, scale));
    assert_ok(encoder_init(&e, type, n_cols, scale, &err), &err);
    uint64_t expected;
    assert_true(encode_tensor_bytes(type, n_rows, n_cols, &expected));
    uint8_t *out = malloc((size_t)expected), *piece = malloc(encoder_room(&e));
    size_t n = 0;
    for (uint32_t r = 0; r <= n_rows; r++) {
        const uint8_t *row = rows + r * ternary_row_bytes(n_cols);
        size_t done = r < n_rows ? encoder_row(&e, row, r, piece) : encoder_finish(&e, piece);
        assert_true(done <= encoder_room(&e) && n + done <= expected);
        memcpy(out + n, piece, done);
        n += done;
    }
    assert_int_equal(n, expected);
    encoder_free(&e);
    free(piece);
    *n_bytes = n;
    return out;
}

// FORMATS.md 2.16: codes 0, 1, 2, 0, 1, 2, ... with scale 0.5, as the formats' own quantisers write them.
static const char tq1_vector[] = "456ccf456ccf456ccf456ccf456ccf456ccf456ccf456ccf456ccf456ccf456c"
                                 "94bb3194bb3194bb3194bb3194bb31943092bb300038";
static const char tq2_vector[] = "1861861861861861861861861861861861861861861861861861861861861861"
                                 "86186186186186186186186186186186186186186186186186186186186186180038";
static const char i2s_vector[] = "24499224499224499224499224499224499224499224499224499224499224490000003f";

static void check_vector(encode_type type, uint32_t n_cols, const char *hex, size_t n)
{
    uint8_t row[64], expected[80];
    for (uint32_t c = 0; c < n_cols; c++) set_code(row, c, c % 3);
    parse_hex(hex, expected, n);
    ternary_scale scale;
    assert_int_equal(ternary_scale_tensor(0.5f, n_cols, &scale, NULL), TERN_OK);
    size_t n_bytes;
    uint8_t *bytes = encode(type, 1, n_cols, &scale, row, &n_bytes);
    assert_true(n_bytes >= n);
    assert_memory_equal(bytes, expected, n);
    for (size_t i = n; i < n_bytes; i++) assert_int_equal(bytes[i], 0);
    free(bytes);
    ternary_scale_free(&scale);
}

static void test_vectors(void **state)
{
    (void)state;
    check_vector(ENCODE_TQ1_0, 256, tq1_vector, 54);
    check_vector(ENCODE_TQ2_0, 256, tq2_vector, 66);
    check_vector(ENCODE_I2_S, 128, i2s_vector, 36);
    check_vector(ENCODE_F16, 6, "00b80000003800b800000038", 12);
}

static void test_base3_constants(void **state)
{
    (void)state;
    const uint8_t packed[3] = {0x00, 0x55, 0xaa}, qs[3] = {0x00, 0x80, 0xff}, qh[3] = {0x00, 0x7f, 0xfd};
    ternary_scale scale;
    assert_int_equal(ternary_scale_tensor(1.0f, 256, &scale, NULL), TERN_OK);
    for (int code = 0; code < 3; code++) {
        uint8_t row[64];
        memset(row, packed[code], sizeof row);
        size_t n;
        uint8_t *bytes = encode(ENCODE_TQ1_0, 1, 256, &scale, row, &n);
        for (size_t i = 0; i < 48; i++) assert_int_equal(bytes[i], qs[code]);
        for (size_t i = 48; i < 52; i++) assert_int_equal(bytes[i], qh[code]);
        assert_int_equal(bytes[52] | bytes[53] << 8, 0x3c00); // a block of zeros keeps its scale
        free(bytes);
    }
    ternary_scale_free(&scale);
}

// I2_S groups run over row ends: any row length whose total is a multiple of 128.
static void test_i2s_straddling(void **state)
{
    (void)state;
    const uint32_t shapes[][2] = {{4, 96}, {128, 1}, {32, 100}, {2, 448}, {8, 688}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        uint32_t n_rows = shapes[s][0], n_cols = shapes[s][1];
        uint8_t *rows = random_rows(n_rows, n_cols, 7 + s);
        ternary_scale scale;
        assert_int_equal(ternary_scale_tensor(0.1f, n_cols, &scale, NULL), TERN_OK);
        size_t n;
        uint8_t *bytes = encode(ENCODE_I2_S, n_rows, n_cols, &scale, rows, &n);
        for (uint32_t i = 0; i < n_rows * n_cols; i++) {
            int code = ternary_code(rows + i / n_cols * ternary_row_bytes(n_cols), i % n_cols);
            uint32_t within = i % 128;
            assert_int_equal(bytes[i / 128 * 32 + within % 32] >> (6 - 2 * (within / 32)) & 3, code);
        }
        float stored;
        memcpy(&stored, bytes + n - 32, sizeof stored);
        assert_true(stored == 0.1f);
        free(bytes);
        free(rows);
        ternary_scale_free(&scale);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    ternary_scale one, rows, groups;
    assert_int_equal(ternary_scale_tensor(0.5f, 512, &one, NULL), TERN_OK);
    assert_int_equal(ternary_scale_create(4, false, 0, 512, &rows, NULL), TERN_OK);
    assert_int_equal(ternary_scale_create(1, false, 128, 512, &groups, NULL), TERN_OK);
    for (uint32_t i = 0; i < 4; i++) rows.values[i] = groups.values[i] = (float)(i + 1);
    for (int type = 0; type < ENCODE_N_TYPES; type++) {
        bool is_tq = type == ENCODE_TQ1_0 || type == ENCODE_TQ2_0;
        assert_null(encode_refusal((encode_type)type, 4, 512, &one));
        assert_int_equal(encode_refusal((encode_type)type, 4, 512, &rows) != NULL, type == ENCODE_I2_S);
        assert_int_equal(encode_refusal((encode_type)type, 4, 512, &groups) != NULL, type != ENCODE_F16);
        assert_int_equal(encode_refusal((encode_type)type, 4, 480, &one) != NULL, is_tq);
        assert_int_equal(encode_refusal((encode_type)type, 3, 480, &one) != NULL, type != ENCODE_F16);
    }
    groups.values[1] = groups.values[0];
    groups.values[3] = groups.values[2];
    assert_null(encode_refusal(ENCODE_TQ2_0, 4, 512, &groups));
    const struct {
        float value;
        bool fits;
    } halves[] = {{65504.0f, true}, {70000.0f, false}, {1e-4f, true}, {1.5e-6f, false}, {0x1p-24f, true}, {0.0f, true}};
    for (size_t i = 0; i < sizeof halves / sizeof halves[0]; i++) {
        one.values[0] = halves[i].value;
        assert_int_equal(encode_refusal(ENCODE_F16, 4, 512, &one) == NULL, halves[i].fits);
        assert_int_equal(encode_refusal(ENCODE_TQ1_0, 4, 512, &one) == NULL, halves[i].fits);
        assert_null(encode_refusal(ENCODE_I2_S, 4, 512, &one));
    }
    ternary_scale_free(&one);
    ternary_scale_free(&rows);
    ternary_scale_free(&groups);
    encode_type type = ENCODE_F16;
    assert_true(encode_type_find("tq2_0", &type) && type == ENCODE_TQ2_0);
    assert_false(encode_type_find("q8_0", &type));
}

// Scales per row and per column block come out where they belong.
static void test_scale_sets(void **state)
{
    (void)state;
    ternary_scale scale;
    assert_int_equal(ternary_scale_create(3, false, 256, 512, &scale, NULL), TERN_OK);
    for (uint32_t i = 0; i < 6; i++) scale.values[i] = 0.25f * (float)(i + 1);
    uint8_t *rows = random_rows(3, 512, 3);
    size_t n;
    uint8_t *tq = encode(ENCODE_TQ2_0, 3, 512, &scale, rows, &n);
    for (uint32_t i = 0; i < 6; i++)
        assert_true(half_to_float((uint32_t)(tq[66 * i + 64] | tq[66 * i + 65] << 8)) == scale.values[i]);
    uint8_t *f16 = encode(ENCODE_F16, 3, 512, &scale, rows, &n);
    for (uint32_t i = 0; i < 3 * 512; i++) {
        int trit = ternary_code(rows + i / 512 * 128, i % 512) - 1;
        float value = half_to_float((uint32_t)(f16[2 * i] | f16[2 * i + 1] << 8));
        assert_true(value == (float)trit * scale.values[i / 256]);
    }
    free(f16);
    free(tq);
    free(rows);
    ternary_scale_free(&scale);
}

// Scales of zero go with any other: their weights are zero.
static void test_zero_scales(void **state)
{
    (void)state;
    ternary_scale scale;
    uint8_t rows[3 * 64];
    memset(rows, 0x55, sizeof rows);
    for (uint32_t c = 0; c < 128; c++) set_code(rows + 64, 128 + c, c % 3); // row 1, second group
    assert_int_equal(ternary_scale_create(3, false, 128, 256, &scale, NULL), TERN_OK);
    scale.values[3] = 0.25f;
    size_t n;
    uint8_t *i2s = encode(ENCODE_I2_S, 3, 256, &scale, rows, &n);
    const uint8_t quarter[4] = {0, 0, 0x80, 0x3e};
    assert_memory_equal(i2s + n - 32, quarter, 4);
    uint8_t *tq = encode(ENCODE_TQ2_0, 3, 256, &scale, rows, &n);
    for (uint32_t r = 0; r < 3; r++) assert_int_equal(tq[66 * r + 64] | tq[66 * r + 65] << 8, r == 1 ? 0x3400 : 0);
    scale.values[2] = 0.5f;
    assert_non_null(encode_refusal(ENCODE_I2_S, 3, 256, &scale));
    assert_non_null(encode_refusal(ENCODE_TQ1_0, 3, 256, &scale));
    free(tq);
    free(i2s);
    ternary_scale_free(&scale);
}

// What the encoders write, the matrix reader gives back.
static void test_round_trip(void **state)
{
    (void)state;
    const struct {
        encode_type type;
        matrix_encoding encoding;
        tensor_type stored;
        uint32_t n_rows, n_cols;
    } cases[] = {
        {ENCODE_I2_S, MATRIX_I2_S, TENSOR_I2_S, 7, 384},
        {ENCODE_I2_S, MATRIX_I2_S, TENSOR_I2_S, 1, 128},
        {ENCODE_TQ1_0, MATRIX_TQ1_0, TENSOR_TQ1_0, 5, 768},
        {ENCODE_TQ2_0, MATRIX_TQ2_0, TENSOR_TQ2_0, 6, 512},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t n_rows = cases[i].n_rows, n_cols = cases[i].n_cols;
        tern_error err = {0};
        ternary_scale scale, read_scale;
        assert_int_equal(ternary_scale_tensor(0.09375f, n_cols, &scale, NULL), TERN_OK);
        uint8_t *rows = random_rows(n_rows, n_cols, 100 + i);
        size_t n;
        uint8_t *bytes = encode(cases[i].type, n_rows, n_cols, &scale, rows, &n);
        tensor t = {.name = "t",
                    .type = cases[i].stored,
                    .type_name = encode_formats[cases[i].type].name,
                    .n_dims = 2,
                    .dims = {n_cols, n_rows, 1, 1},
                    .data = bytes,
                    .n_bytes = n};
        matrix_source m = {.name = "t",
                           .n_rows = n_rows,
                           .n_cols = n_cols,
                           .encoding = cases[i].encoding,
                           .weights = &t,
                           .n_bytes = n};
        size_t row_bytes = ternary_row_bytes(n_cols);
        uint8_t *back = calloc(n_rows, row_bytes);
        assert_ok(matrix_scale(&m, &read_scale, &err), &err);
        assert_ok(matrix_read_rows(&m, &read_scale, 0, n_rows, back, &err), &err);
        assert_memory_equal(back, rows, n_rows * row_bytes);
        assert_true(ternary_scale_equal(&scale, &read_scale));
        free(back);
        free(bytes);
        free(rows);
        ternary_scale_free(&scale);
        ternary_scale_free(&read_scale);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),        cmocka_unit_test(test_base3_constants),
        cmocka_unit_test(test_i2s_straddling), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_scale_sets),     cmocka_unit_test(test_zero_scales),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
