// Every ternary encoding of files against writers made for this test straight from the formats' definitions, element by
// element: decoding what they wrote gives the codes and scales that went in.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "half.h"
#include "matrix.h"
#include "rng.h"

enum { ROWS = 12, COLS = 768, MAX_BYTES = ROWS * COLS * 4 };

// Codes and the scale of each row and group of `group` columns.
typedef struct content {
    uint8_t codes[ROWS][COLS];
    float scales[ROWS][COLS / 64];
    uint32_t group;
    uint8_t bytes[MAX_BYTES];
    size_t n_bytes;
} content;

static void put_field(uint8_t *byte, unsigned code, unsigned shift) { *byte = (uint8_t)(*byte | code << shift); }

static void put_half(uint8_t *at, float value)
{
    uint32_t bits = half_from_float(value);
    at[0] = (uint8_t)bits;
    at[1] = (uint8_t)(bits >> 8);
}

// Digits t[0..n), the first the most significant of five: ceil(256 * v / 243) (FORMATS.md 2.7).
static uint8_t base3_byte(const uint8_t *t, unsigned n, unsigned stride)
{
    static const unsigned power[5] = {81, 27, 9, 3, 1};
    unsigned v = 0;
    for (unsigned i = 0; i < n; i++) v += t[i * stride] * power[i];
    return (uint8_t)((v * 256 + 242) / 243);
}

// The same with the first digit the least significant (FORMATS.md 2.12).
static uint8_t base3_low_byte(const uint8_t *t, unsigned n, unsigned stride)
{
    static const unsigned power[5] = {1, 3, 9, 27, 81};
    unsigned v = 0;
    for (unsigned i = 0; i < n; i++) v += t[i * stride] * power[i];
    return (uint8_t)((v * 256 + 242) / 243);
}

static void write_tq1(const uint8_t *t, float d, uint8_t *out)
{
    for (int m = 0; m < 32; m++) out[m] = base3_byte(t + m, 5, 32);
    for (int m = 0; m < 16; m++) out[32 + m] = base3_byte(t + 160 + m, 5, 16);
    for (int j = 0; j < 4; j++) out[48 + j] = base3_byte(t + 240 + j, 4, 4);
    put_half(out + 52, d);
}

static void write_tq2(const uint8_t *t, float d, uint8_t *out)
{
    for (unsigned e = 0; e < 256; e++) put_field(&out[32 * (e / 128) + e % 32], t[e], 2 * (e % 128 / 32));
    put_half(out + 64, d);
}

static void write_q2(const uint8_t *t, float d, unsigned n, uint8_t *out)
{
    put_half(out, d);
    for (unsigned e = 0; e < n; e++) put_field(&out[2 + e / 4], t[e], 2 * (e % 4));
}

static void write_ptq1(const uint8_t *t, float d, uint8_t *out)
{
    for (int m = 0; m < 16; m++) out[m] = base3_byte(t + m, 5, 16);
    for (int m = 0; m < 8; m++) out[16 + m] = base3_byte(t + 80 + m, 5, 8);
    for (int h = 0; h < 2; h++) out[24 + h] = base3_byte(t + 120 + h, 4, 2);
    put_half(out + 26, d);
}

static void write_iq1_bn(const uint8_t *t, uint8_t *out)
{
    for (unsigned g = 0; g < 4; g++)
        for (unsigned k = 0; k < 3; k++) out[3 * g + k] = base3_low_byte(t + 16 * g + 5 * k, 5, 1);
    out[12] = base3_low_byte(t + 15, 4, 16);
}

static void write_iq2_bn(const uint8_t *t, uint8_t *out)
{
    for (unsigned e = 0; e < 64; e++) put_field(&out[e % 16], t[e], 2 * (e / 16));
}

static uint8_t *grow(content *c, size_t n)
{
    uint8_t *at = c->bytes + c->n_bytes;
    c->n_bytes += n;
    assert_true(c->n_bytes <= MAX_BYTES);
    return at;
}

static void write_row_of_blocks(content *c, matrix_encoding encoding, uint32_t r)
{
    for (uint32_t col = 0; col < COLS; col += c->group) {
        const uint8_t *t = &c->codes[r][col];
        float d = c->scales[r][col / c->group];
        if (encoding == MATRIX_TQ1_0) write_tq1(t, d, grow(c, 54));
        if (encoding == MATRIX_TQ2_0) write_tq2(t, d, grow(c, 66));
        if (encoding == MATRIX_Q2_0_64) write_q2(t, d, 64, grow(c, 18));
        if (encoding == MATRIX_Q2_0_128) write_q2(t, d, 128, grow(c, 34));
        if (encoding == MATRIX_PTQ1_0) write_ptq1(t, d, grow(c, 28));
    }
}

static void write_row_bn(content *c, matrix_encoding encoding, uint32_t r)
{
    if (encoding == MATRIX_IQ1_BN)
        put_half(grow(c, 2), c->scales[r][0]);
    else
        memcpy(grow(c, 4), &c->scales[r][0], 4);
    for (uint32_t col = 0; col < COLS; col += 64) {
        if (encoding == MATRIX_IQ1_BN)
            write_iq1_bn(&c->codes[r][col], grow(c, 13));
        else
            write_iq2_bn(&c->codes[r][col], grow(c, 16));
    }
}

// FORMATS.md 2.13: rows r .. r+3.
static void write_rows_r4(content *c, uint32_t r)
{
    for (uint32_t k = 0; k < 4; k++) memcpy(grow(c, 4), &c->scales[r + k][0], 4);
    for (uint32_t col = 0; col < COLS; col += 64) {
        uint8_t *out = grow(c, 64);
        for (unsigned k = 0; k < 4; k++)
            for (unsigned e = 0; e < 64; e++) {
                unsigned l = e / 16, part = e % 16 / 4, i = e % 4;
                put_field(&out[4 * k + i + 16 * l], c->codes[r + k][col + e], 2 * part);
            }
    }
}

static void write_i2s(content *c, tern_i2s_layout layout)
{
    uint8_t *out = grow(c, ROWS * COLS / 4 + 32);
    unsigned stride = layout == TERN_I2S_128 ? 32 : 16;
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t col = 0; col < COLS; col++) {
            uint32_t at = r * COLS + col;
            if (layout == TERN_I2S_ROW4)
                put_field(&out[r / 4 * COLS + col], c->codes[r][col], 6 - 2 * (r % 4));
            else
                put_field(&out[at / (4 * stride) * stride + at % stride], c->codes[r][col],
                          6 - 2 * (at % (4 * stride) / stride));
        }
    memcpy(out + ROWS * COLS / 4, &c->scales[0][0], 4);
}

static void write_all(content *c, matrix_encoding encoding, tern_i2s_layout layout)
{
    if (encoding == MATRIX_I2_S) write_i2s(c, layout);
    for (uint32_t r = 0; r < ROWS; r++) {
        if (encoding == MATRIX_IQ2_BN_R4 && r % 4 == 0) write_rows_r4(c, r);
        if (encoding == MATRIX_IQ1_BN || encoding == MATRIX_IQ2_BN) write_row_bn(c, encoding, r);
        write_row_of_blocks(c, encoding, r);
    }
}

// Random codes; scales that fp16 holds, different unless `is_uniform`; one group of zeros.
static content *make_content(uint32_t group, bool is_uniform, uint64_t seed)
{
    content *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->group = group;
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t g = 0; g < COLS / group; g++) {
            uint64_t random = rng_u64(seed, 100000 + r * 16 + g);
            c->scales[r][g] = is_uniform ? 0.375f : half_to_float(0x3000 + (uint32_t)(random % 1000));
        }
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t col = 0; col < COLS; col++) c->codes[r][col] = (uint8_t)(rng_u64(seed, r * COLS + col) % 3);
    return c;
}

static void expect_content(const content *c, matrix_encoding encoding, tern_i2s_layout layout, bool is_uniform)
{
    tensor weights = {.data = c->bytes, .n_bytes = c->n_bytes};
    matrix_source m = {.name = "the.matrix",
                       .n_rows = ROWS,
                       .n_cols = COLS,
                       .encoding = encoding,
                       .weights = &weights,
                       .i2s_layout = layout};
    ternary_scale scale = {0};
    tern_error err = {0};
    if (matrix_scale(&m, &scale, &err) != TERN_OK) fail_msg("%s", err.message);
    assert_int_equal(scale.n_sets, is_uniform ? 1 : ROWS);
    size_t row_bytes = ternary_row_bytes(COLS);
    uint8_t *rows = malloc(row_bytes * ROWS);
    if (matrix_read_rows(&m, &scale, 0, ROWS, rows, &err) != TERN_OK) fail_msg("%s", err.message);
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t col = 0; col < COLS; col++) {
            size_t at = (size_t)ternary_scale_set(&scale, r) * scale.n_groups + col / scale.group;
            if (ternary_code(rows + r * row_bytes, col) != c->codes[r][col])
                fail_msg("encoding %d: row %u column %u", (int)encoding, r, col);
            assert_true(scale.values[at] == c->scales[r][col / c->group]);
        }
    free(rows);
    ternary_scale_free(&scale);
}

static void round_trip(matrix_encoding encoding, tern_i2s_layout layout, uint32_t group, bool only_uniform)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        bool is_uniform = only_uniform || seed % 2 == 0;
        content *c = make_content(group, is_uniform, seed);
        write_all(c, encoding, layout);
        expect_content(c, encoding, layout, is_uniform);
        free(c);
    }
}

static void decode_tq1_0(void **state)
{
    (void)state;
    round_trip(MATRIX_TQ1_0, 0, 256, false);
}
static void decode_tq2_0(void **state)
{
    (void)state;
    round_trip(MATRIX_TQ2_0, 0, 256, false);
}
static void decode_q2_0_groups_of_64(void **state)
{
    (void)state;
    round_trip(MATRIX_Q2_0_64, 0, 64, false);
}
static void decode_q2_0_groups_of_128(void **state)
{
    (void)state;
    round_trip(MATRIX_Q2_0_128, 0, 128, false);
}
static void decode_ptq1_0(void **state)
{
    (void)state;
    round_trip(MATRIX_PTQ1_0, 0, 128, false);
}
static void decode_iq1_bn(void **state)
{
    (void)state;
    round_trip(MATRIX_IQ1_BN, 0, COLS, false);
}
static void decode_iq2_bn(void **state)
{
    (void)state;
    round_trip(MATRIX_IQ2_BN, 0, COLS, false);
}
static void decode_iq2_bn_r4(void **state)
{
    (void)state;
    round_trip(MATRIX_IQ2_BN_R4, 0, COLS, false);
}
static void decode_i2_s_128(void **state)
{
    (void)state;
    round_trip(MATRIX_I2_S, TERN_I2S_128, COLS, true);
}
static void decode_i2_s_64(void **state)
{
    (void)state;
    round_trip(MATRIX_I2_S, TERN_I2S_64, COLS, true);
}
static void decode_i2_s_row4(void **state)
{
    (void)state;
    round_trip(MATRIX_I2_S, TERN_I2S_ROW4, COLS, true);
}

// Weights under a zero scale are zero, whatever their codes say, and do not split the tensor scale.
static void zero_scales_make_zero_rows(void **state)
{
    (void)state;
    static const matrix_encoding encodings[] = {MATRIX_IQ1_BN, MATRIX_IQ2_BN, MATRIX_IQ2_BN_R4};
    for (size_t i = 0; i < 3; i++) {
        content *c = make_content(COLS, true, 9);
        c->scales[5][0] = 0.0f;
        write_all(c, encodings[i], TERN_I2S_128);
        for (uint32_t col = 0; col < COLS; col++) c->codes[5][col] = 1;
        c->scales[5][0] = c->scales[0][0];
        expect_content(c, encodings[i], TERN_I2S_128, true);
        free(c);
    }
}

static void code_3_is_answered_by_its_meaning(void **state)
{
    (void)state;
    static const struct {
        matrix_encoding encoding;
        uint32_t group;
        tern_status status;
        const char *text;
    } cases[] = {
        {MATRIX_Q2_0_64, 64, TERN_UNSUPPORTED, "the weight +2"},
        {MATRIX_Q2_0_128, 128, TERN_UNSUPPORTED, "the weight +2"},
        {MATRIX_TQ2_0, 256, TERN_MALFORMED, "code 3, which is not a trit"},
        {MATRIX_IQ2_BN, COLS, TERN_MALFORMED, "code 3, which is not a trit"},
        {MATRIX_IQ2_BN_R4, COLS, TERN_MALFORMED, "code 3, which is not a trit"},
        {MATRIX_I2_S, COLS, TERN_MALFORMED, "code 3, which is not a trit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        content *c = make_content(cases[i].group, true, 3);
        c->codes[7][321] = 3;
        write_all(c, cases[i].encoding, TERN_I2S_128);
        tensor weights = {.data = c->bytes, .n_bytes = c->n_bytes};
        matrix_source m = {
            .name = "the.matrix", .n_rows = ROWS, .n_cols = COLS, .encoding = cases[i].encoding, .weights = &weights};
        uint8_t *rows = malloc(ternary_row_bytes(COLS) * ROWS);
        tern_error err = {0};
        assert_int_equal(matrix_read_rows(&m, NULL, 0, ROWS, rows, &err), cases[i].status);
        assert_non_null(strstr(err.message, "the.matrix: row 7"));
        if (strstr(err.message, cases[i].text) == NULL) fail_msg("%s", err.message);
        free(rows);
        free(c);
    }
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(decode_tq1_0),
        T(decode_tq2_0),
        T(decode_q2_0_groups_of_64),
        T(decode_q2_0_groups_of_128),
        T(decode_ptq1_0),
        T(decode_iq1_bn),
        T(decode_iq2_bn),
        T(decode_iq2_bn_r4),
        T(decode_i2_s_128),
        T(decode_i2_s_64),
        T(decode_i2_s_row4),
        T(zero_scales_make_zero_rows),
        T(code_3_is_answered_by_its_meaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
