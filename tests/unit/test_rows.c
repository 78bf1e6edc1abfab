// Matrix rows: canonical ternary rows, their scales, the packed layouts, dense rows.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dense.h"
#include "rng.h"
#include "scalar.h"
#include "ternary.h"

#define SEED 20240u

// ---- ternary rows

static uint8_t *random_rows(uint32_t n_rows, uint32_t n_cols)
{
    uint8_t *rows = calloc(n_rows, ternary_row_bytes(n_cols));
    assert_non_null(rows);
    for (uint32_t r = 0; r < n_rows; r++) {
        uint8_t *row = rows + r * ternary_row_bytes(n_cols);
        for (uint32_t c = 0; c < n_cols; c++)
            row[c / 4] = (uint8_t)(row[c / 4] | rng_u64(SEED + n_cols, (uint64_t)r * n_cols + c) % 3 << (2 * (c % 4)));
        ternary_pad_row(row, n_cols);
    }
    return rows;
}

static void test_canonical_rows(void **state)
{
    (void)state;
    for (uint32_t n_cols = 1; n_cols <= 200; n_cols++) {
        assert_int_equal(ternary_row_bytes(n_cols), (n_cols + 63) / 64 * 16);
        uint8_t *row = random_rows(1, n_cols);
        uint64_t zeros = 0;
        for (uint32_t c = 0; c < n_cols; c++) zeros += ternary_code(row, c) == 1;
        assert_true(ternary_row_zeros(row, n_cols) == zeros);
        for (uint32_t c = n_cols; c < ternary_padded(n_cols); c++) assert_int_equal(ternary_code(row, c), 1);
        assert_true(ternary_row_is_valid(row, n_cols));
        uint32_t bad = n_cols - 1 - n_cols / 3;
        row[bad / 4] = (uint8_t)(row[bad / 4] | 3 << (2 * (bad % 4)));
        assert_false(ternary_row_is_valid(row, n_cols));
        free(row);
    }
    // Padding overwrites what was there and nothing else.
    uint8_t row[17];
    memset(row, 0xff, sizeof row);
    ternary_pad_row(row, 62);
    for (uint32_t c = 0; c < 62; c++) assert_int_equal(ternary_code(row, c), 3);
    assert_int_equal(row[15], 0x5f);
    assert_int_equal(row[16], 0xff);
}

static void test_scales(void **state)
{
    (void)state;
    ternary_scale a, b, c;
    tern_error err = {0};
    assert_int_equal(ternary_scale_tensor(0.25f, 100, &a, &err), TERN_OK);
    assert_int_equal(a.n_sets, 1);
    assert_int_equal(a.n_groups, 1);
    assert_true(a.group >= 100 && a.values[0] == 0.25f && ternary_scale_set(&a, 99) == 0);

    assert_int_equal(ternary_scale_create(3, true, 64, 130, &b, &err), TERN_OK);
    assert_int_equal(b.n_groups, 3);
    for (int i = 0; i < 9; i++) assert_true(b.values[i] == 0.0f);
    b.set_begin[1] = 5;
    b.set_begin[2] = 6;
    const uint32_t expected[] = {0, 0, 0, 0, 0, 1, 2, 2, 2};
    for (uint32_t r = 0; r < 9; r++) assert_int_equal(ternary_scale_set(&b, r), expected[r]);

    assert_int_equal(ternary_scale_create(7, false, 0, 130, &c, &err), TERN_OK);
    for (uint32_t r = 0; r < 7; r++) assert_int_equal(ternary_scale_set(&c, r), r);
    assert_true(ternary_scale_equal(&a, &a) && ternary_scale_equal(&b, &b));
    assert_false(ternary_scale_equal(&a, &b));
    ternary_scale_free(&a);
    assert_int_equal(ternary_scale_tensor(0.5f, 100, &a, &err), TERN_OK);
    ternary_scale d;
    assert_int_equal(ternary_scale_tensor(0.25f, 100, &d, &err), TERN_OK);
    assert_false(ternary_scale_equal(&a, &d));
    d.values[0] = 0.5f;
    assert_true(ternary_scale_equal(&a, &d));

    ternary_scale untouched = {.n_sets = 77};
    assert_int_equal(ternary_scale_create(0, false, 0, 1, &untouched, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(untouched.n_sets, 77);
    ternary_scale_free(&a);
    ternary_scale_free(&b);
    ternary_scale_free(&c);
    ternary_scale_free(&d);
    ternary_scale_free(NULL);
}

// ---- T64 and T80

// One layout as the tests see it.
typedef struct packed_layout {
    uint32_t granule, fields; // columns of a granule, codes of a byte
    uint64_t (*bytes)(uint32_t n_rows, uint32_t n_cols);
    void (*init)(uint8_t *packed, uint32_t n_rows, uint32_t n_cols);
    void (*pack)(uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first, uint32_t count,
                 const uint8_t *rows);
    void (*unpack)(const uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first, uint32_t count,
                   uint8_t *rows);
    size_t (*offset)(uint32_t n_cols, uint32_t row, uint32_t granule);
    int (*code)(const uint8_t *packed, uint32_t n_cols, uint32_t row, uint32_t column);
} packed_layout;

static const packed_layout layouts[TERNARY_N_LAYOUTS] = {
    {64, 4, t64_bytes, t64_init, t64_pack_rows, t64_unpack_rows, t64_granule_offset, t64_code},
    {80, 5, t80_bytes, t80_init, t80_pack_rows, t80_unpack_rows, t80_granule_offset, t80_code},
};

// The layout as common/ternary.h states it: every element, by its own place in the stream of granules of a row group.
static size_t expected_granule(uint32_t n_granules, uint32_t row, uint32_t granule)
{
    size_t at = 0; // walks the stream: row groups, tiles along K, halves, rows, granules
    for (uint32_t group = 0;; group++)
        for (uint32_t tile = 0; tile * 4 < n_granules; tile++)
            for (uint32_t half = 0; half < 2; half++)
                for (uint32_t g = 0; g < 8; g++)
                    for (uint32_t t = 0; t < 4 && tile * 4 + t < n_granules; t++) {
                        if (row == 16 * group + 8 * half + g && granule == 4 * tile + t) return at;
                        at += 16;
                    }
}

// Code m of a byte: a field of two bits, or the digit of the base-3 number v that q = ceil(256 v / 243) stands for.
static int expected_code(const packed_layout *l, uint8_t byte, uint32_t m)
{
    if (l->fields == 4) return byte >> (2 * m) & 3;
    uint32_t v = byte * 243u / 256, power = 1;
    for (uint32_t i = m; i < 4; i++) power *= 3;
    assert_int_equal(byte, (256 * v + 242) / 243);
    return (int)(v / power % 3);
}

// Columns from n_cols on are padding, and not all of them are in canonical rows.
static int canonical_code(const uint8_t *row, uint32_t n_cols, uint32_t column)
{
    return column < n_cols ? ternary_code(row, column) : 1;
}

static void check_layout(const packed_layout *l, uint32_t n_rows, uint32_t n_cols)
{
    uint32_t n_granules = (n_cols + l->granule - 1) / l->granule;
    size_t n_bytes = (size_t)l->bytes(n_rows, n_cols), row_bytes = ternary_row_bytes(n_cols);
    assert_int_equal(n_bytes, (size_t)(n_rows + 15) / 16 * 16 * n_granules * 16);
    uint8_t *rows = random_rows(n_rows, n_cols), *back = malloc(n_rows * row_bytes), *packed = malloc(n_bytes);
    uint8_t *pieces = malloc(n_bytes);
    assert_true(back != NULL && packed != NULL && pieces != NULL);
    l->init(packed, n_rows, n_cols);
    l->init(pieces, n_rows, n_cols);
    l->pack(packed, n_rows, n_cols, 0, n_rows, rows);

    for (uint32_t r = 0; r < n_rows; r++)
        for (uint32_t g = 0; g < n_granules; g++) {
            assert_int_equal(l->offset(n_cols, r, g), expected_granule(n_granules, r, g));
            const uint8_t *granule = packed + expected_granule(n_granules, r, g);
            for (uint32_t j = 0; j < 4; j++)
                for (uint32_t b = 0; b < 4; b++)
                    for (uint32_t m = 0; m < l->fields; m++) {
                        uint32_t column = l->granule * g + l->granule / 2 * (j / 2) + 8 * m + 4 * (j % 2) + b;
                        int code = expected_code(l, granule[4 * j + b], m);
                        assert_int_equal(code, canonical_code(rows + r * row_bytes, n_cols, column));
                        assert_int_equal(code, l->code(packed, n_cols, r, column));
                    }
        }
    for (uint32_t r = n_rows; r < (n_rows + 15) / 16 * 16; r++)
        for (uint32_t c = 0; c < n_cols; c++) assert_int_equal(l->code(packed, n_cols, r, c), 1);

    l->unpack(packed, n_rows, n_cols, 0, n_rows, back);
    assert_true(memcmp(back, rows, n_rows * row_bytes) == 0);
    for (uint32_t first = 0; first < n_rows; first += 5) { // pieces at odd rows give the same bytes
        uint32_t count = n_rows - first < 5 ? n_rows - first : 5;
        l->pack(pieces, n_rows, n_cols, first, count, rows + first * row_bytes);
        memset(back, 0xee, n_rows * row_bytes);
        l->unpack(packed, n_rows, n_cols, first, count, back);
        assert_true(memcmp(back, rows + first * row_bytes, count * row_bytes) == 0);
    }
    assert_true(memcmp(pieces, packed, n_bytes) == 0);
    free(rows);
    free(back);
    free(packed);
    free(pieces);
}

static void test_packed_layouts(void **state)
{
    (void)state;
    const uint32_t n_rows[] = {1, 2, 7, 8, 9, 15, 16, 17, 33},
                   n_cols[] = {1,   3,   40,  63,  64,  65,  79,  80,  81,  128, 160, 161, 192,
                               200, 240, 256, 257, 319, 320, 321, 400, 448, 576, 640, 641, 1000};
    for (size_t l = 0; l < TERNARY_N_LAYOUTS; l++)
        for (size_t r = 0; r < sizeof n_rows / sizeof n_rows[0]; r++)
            for (size_t c = 0; c < sizeof n_cols / sizeof n_cols[0]; c++)
                check_layout(&layouts[l], n_rows[r], n_cols[c]);
    assert_true(t64_bytes(UINT32_MAX, TERNARY_MAX_COLUMNS) == 268435456ull * 16 * 8257 * 16); // no 32-bit wrap
    assert_true(t80_bytes(UINT32_MAX, TERNARY_MAX_COLUMNS) == 268435456ull * 16 * 6606 * 16);
}

// All 243 numbers of five digits, and the bytes of one row: columns 0, 8, 16, 24, 32 are byte 0 of the first word.
static void test_t80_bytes(void **state)
{
    (void)state;
    uint8_t row[32], packed[16 * 16];
    for (uint32_t v = 0; v < 243; v++) {
        memset(row, 0x55, sizeof row); // codes 1
        for (uint32_t m = 0, rest = v; m < 5; m++, rest /= 3) {
            uint32_t column = 32 - 8 * m; // the last digit first
            row[column / 4] = (uint8_t)((row[column / 4] & ~3u) | rest % 3);
        }
        t80_init(packed, 1, 80);
        t80_pack_rows(packed, 1, 80, 0, 1, row);
        assert_int_equal(packed[0], (256 * v + 242) / 243);
        for (uint32_t i = 1; i < sizeof packed; i++) assert_int_equal(packed[i], 128); // five codes 1
        for (uint32_t n = 0; n <= 5; n++) { // what kernels take digits apart by
            uint32_t power = n == 0 ? 1 : n == 1 ? 3 : n == 2 ? 9 : n == 3 ? 27 : n == 4 ? 81 : 243;
            uint32_t shifted = packed[0] * power, left = shifted & 255;
            assert_true(shifted < 65536);
            assert_int_equal(shifted >> 8, v / (243 / power));
            if (n < 5) assert_int_equal((left > 85) + (left > 170), v / (81 / power) % 3);
        }
    }
    memset(row, 0, sizeof row);
    row[6] = 1; // column 24: digit 3 of byte 0, with column 32 the number 00012 = 5
    row[8] = 2;
    for (uint32_t m = 0; m < 5; m++) row[10 + 2 * m] = 0xaa; // columns 40..43, 48..51, ...: 22222 = 242
    t80_pack_rows(packed, 1, 80, 0, 1, row);
    static const uint8_t expected[16] = {6, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0}; // ceil(256 v / 243)
    assert_memory_equal(packed, expected, 16);
}

// ---- dense rows

static void expect_floats(dense_type type, const uint8_t *row, uint32_t n, const float *expected)
{
    float out[512];
    dense_row_to_float(type, row, n, out);
    for (uint32_t i = 0; i < n; i++)
        if (scalar_as_u32(out[i]) != scalar_as_u32(expected[i]))
            fail_msg("%s element %u is %a, expected %a", dense_formats[type].name, i, (double)out[i],
                     (double)expected[i]);
}

static void test_dense_plain(void **state)
{
    (void)state;
    const uint8_t f32[] = {0, 0, 0, 0x3f, 0, 0, 0, 0xc0, 1, 0, 0, 0};
    expect_floats(DENSE_F32, f32, 3, (const float[]){0.5f, -2.0f, 0x1p-149f});
    const uint8_t f16[] = {0x00, 0x38, 0x00, 0xc0, 0x01, 0x00};
    expect_floats(DENSE_F16, f16, 3, (const float[]){0.5f, -2.0f, 0x1p-24f});
    const uint8_t bf16[] = {0x00, 0x3f, 0x00, 0xc0, 0x01, 0x00};
    expect_floats(DENSE_BF16, bf16, 3, (const float[]){0.5f, -2.0f, 0x1p-133f});
    assert_int_equal(dense_row_bytes(DENSE_Q6_K, 512), 420);
    assert_int_equal(dense_row_bytes(DENSE_Q4_K, 512), 288);
    assert_int_equal(dense_row_bytes(DENSE_Q8_0, 64), 68);
    assert_int_equal(dense_row_bytes(DENSE_Q4_0, 64), 36);
    assert_int_equal(dense_row_bytes(DENSE_F16, 3), 6);
}

static void test_dense_q8_0_q4_0(void **state)
{
    (void)state;
    uint8_t q8[68] = {[0] = 0x00, [1] = 0x38, [34] = 0x00, [35] = 0xc0}; // d = 0.5, then d = -2
    float expected[64];
    for (int i = 0; i < 32; i++) {
        q8[2 + i] = (uint8_t)(i * 8 - 128);
        q8[36 + i] = (uint8_t)(127 - i);
        expected[i] = 0.5f * (float)(i * 8 - 128);
        expected[32 + i] = -2.0f * (float)(127 - i);
    }
    expect_floats(DENSE_Q8_0, q8, 64, expected);

    uint8_t q4[18] = {0x00, 0x38};
    for (int i = 0; i < 16; i++) {
        q4[2 + i] = (uint8_t)(i | (15 - i) << 4);
        expected[i] = 0.5f * (float)(i - 8);
        expected[16 + i] = 0.5f * (float)(7 - i);
    }
    expect_floats(DENSE_Q4_0, q4, 32, expected);
}

// Blocks built from chosen scales, minimums and quants, so that packing here and unpacking there are written
// independently.
static void test_dense_q4_k(void **state)
{
    (void)state;
    const uint32_t scale[8] = {1, 63, 17, 40, 33, 62, 5, 48}, minimum[8] = {0, 63, 32, 7, 50, 15, 16, 61};
    uint8_t block[144] = {0x01, 0x2c, 0xff, 0x2f}; // d = 0.0625 * (1 + 2^-10), dmin = 0.125 * (1 - 2^-11)
    const double d = 0.0625 * (1 + 0x1p-10), dmin = 0.125 * (1 - 0x1p-11);
    for (int j = 0; j < 4; j++) { // bytes 0-3: scales 0-3 and high bits of scales 4-7; 4-7 minimums; 8-11 low nibbles
        block[4 + j] = (uint8_t)(scale[j] | scale[j + 4] >> 4 << 6);
        block[8 + j] = (uint8_t)(minimum[j] | minimum[j + 4] >> 4 << 6);
        block[12 + j] = (uint8_t)((scale[j + 4] & 15) | (minimum[j + 4] & 15) << 4);
    }
    float expected[256];
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t j = i / 32, q = (i * 7 + j) % 16;
        block[16 + 32 * (j / 2) + i % 32] |= (uint8_t)(j % 2 == 0 ? q : q << 4);
        // Exact in double (22 and 17 bits), so this is the one rounding of the definition.
        expected[i] = (float)(d * scale[j] * q - dmin * minimum[j]);
    }
    expect_floats(DENSE_Q4_K, block, 256, expected);
}

// As Q4_K with 32 bytes of high bits in front of the nibbles.
static void test_dense_q5_k(void **state)
{
    (void)state;
    const uint32_t scale[8] = {63, 1, 40, 17, 5, 62, 48, 33}, minimum[8] = {63, 0, 7, 32, 16, 50, 61, 15};
    uint8_t block[176] = {0x01, 0x2c, 0xff, 0x2f}; // d = 0.0625 * (1 + 2^-10), dmin = 0.125 * (1 - 2^-11)
    const double d = 0.0625 * (1 + 0x1p-10), dmin = 0.125 * (1 - 0x1p-11);
    for (int j = 0; j < 4; j++) {
        block[4 + j] = (uint8_t)(scale[j] | scale[j + 4] >> 4 << 6);
        block[8 + j] = (uint8_t)(minimum[j] | minimum[j + 4] >> 4 << 6);
        block[12 + j] = (uint8_t)((scale[j + 4] & 15) | (minimum[j + 4] & 15) << 4);
    }
    float expected[256];
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t j = i / 32, q = (i * 11 + j) % 32;
        block[16 + i % 32] |= (uint8_t)(q >> 4 << j);
        block[48 + 32 * (j / 2) + i % 32] |= (uint8_t)(j % 2 == 0 ? q & 15 : (q & 15) << 4);
        expected[i] = (float)(d * scale[j] * q - dmin * minimum[j]);
    }
    expect_floats(DENSE_Q5_K, block, 256, expected);
}

static void test_dense_q6_k(void **state)
{
    (void)state;
    uint8_t block[210] = {[208] = 0xff, [209] = 0xab}; // d = -2047 / 2^15: all mantissa bits set
    const double d = -2047.0 / 32768;
    float expected[256];
    for (int i = 0; i < 16; i++) block[192 + i] = (uint8_t)(i == 3 ? -128 : i * 17 - 120);
    for (int i = 0; i < 256; i++) {
        int q = (i * 11 + i / 64) % 64, half = i / 128, span = i % 128 / 32, l = i % 32;
        block[64 * half + 32 * (span % 2) + l] |= (uint8_t)((q & 15) << (span >= 2 ? 4 : 0));
        block[128 + 32 * half + l] |= (uint8_t)((q >> 4) << (2 * span));
        int scale = (int8_t)block[192 + i / 16];
        expected[i] = (float)(d * scale * (q - 32));
    }
    expect_floats(DENSE_Q6_K, block, 256, expected);
}

// Rows quantised by hand: layout, rounding, the smallest rows, and values that do not fit.
static void test_dense_int8(void **state)
{
    (void)state;
    float x[64] = {[0] = 12.7f, [1] = -6.35f, [2] = 0.05f, [3] = 0.15f, [63] = -12.7f}, w, back[64];
    uint8_t row[68];
    assert_int_equal(dense_row_bytes(DENSE_INT8, 64), 68);
    assert_int_equal(dense_row_bytes(DENSE_INT8, 128), 132);
    assert_true(dense_quantize_row(DENSE_INT8, x, 64, row));
    memcpy(&w, row + 64, 4);
    assert_true(w == 12.7f / 127.0f);
    const int8_t codes[4] = {127, -64, 0, 2}; // 63.5 and 1.5 as fp32 has them: to even, and a little above
    for (int i = 0; i < 4; i++) assert_int_equal((int8_t)row[i], codes[i]);
    assert_int_equal((int8_t)row[63], -127);
    for (uint32_t i = 0; i < 64; i++) {
        back[i] = (float)(int8_t)row[i] * w;
        assert_int_equal(dense_code(DENSE_INT8, row, i), (int8_t)row[i]);
    }
    expect_floats(DENSE_INT8, row, 64, back);
    memset(x, 0, sizeof x);
    assert_true(dense_quantize_row(DENSE_INT8, x, 64, row)); // zeros keep a scale above 0
    memcpy(&w, row + 64, 4);
    assert_true(w == 1e-5f / 127.0f && row[0] == 0);
    x[5] = INFINITY;
    assert_false(dense_quantize_row(DENSE_INT8, x, 64, row));
    x[5] = NAN;
    assert_false(dense_quantize_row(DENSE_INT8, x, 64, row));
}

static void test_dense_int4(void **state)
{
    (void)state;
    float x[128] = {[0] = 7.0f, [1] = -3.5f, [31] = 0.49f, [32] = -7.0f, [63] = 2.5f, [64] = 0.0007f};
    uint8_t row[68];
    assert_int_equal(dense_row_bytes(DENSE_INT4, 128), 68);
    assert_true(dense_quantize_row(DENSE_INT4, x, 128, row));
    assert_int_equal(row[0], 15 | 1 << 4); // columns 0 and 32
    assert_int_equal(row[1], 4 | 8 << 4);  // -3.5 to even
    assert_int_equal(row[31], 8 | 10 << 4);
    assert_int_equal(row[64] | row[65] << 8, 0x3c00); // d = 1
    assert_int_equal(dense_code(DENSE_INT4, row, 64), 7);
    assert_int_equal(dense_code(DENSE_INT4, row, 65), 0);
    float expected[128] = {[0] = 7.0f, [1] = -4.0f, [32] = -7.0f, [63] = 2.0f, [64] = 7.0f * 0x1.a38p-14f};
    expect_floats(DENSE_INT4, row, 128, expected);
    for (int i = 0; i < 128; i++) x[i] = 1e-9f * (float)i; // below the smallest scale: zeros
    assert_true(dense_quantize_row(DENSE_INT4, x, 128, row));
    for (int i = 0; i < 64; i++) assert_int_equal(row[i], 0x88);
    x[99] = 65520.0f * 7.0f;
    assert_false(dense_quantize_row(DENSE_INT4, x, 128, row));
    x[99] = NAN;
    assert_false(dense_quantize_row(DENSE_INT4, x, 128, row));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical_rows), cmocka_unit_test(test_scales),
        cmocka_unit_test(test_packed_layouts), cmocka_unit_test(test_t80_bytes),
        cmocka_unit_test(test_dense_plain),    cmocka_unit_test(test_dense_q8_0_q4_0),
        cmocka_unit_test(test_dense_q4_k),     cmocka_unit_test(test_dense_q5_k),
        cmocka_unit_test(test_dense_q6_k),
        cmocka_unit_test(test_dense_int8),
        cmocka_unit_test(test_dense_int4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
