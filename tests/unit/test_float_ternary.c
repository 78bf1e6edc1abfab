// Float tensors with ternary values: which are recognised, with which scales, and which stay floats.
#include <math.h>
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

typedef float (*scale_at)(uint32_t row, uint32_t column);

// A matrix of +-scale and zeros in one of the three float types.
typedef struct fixture {
    tensor weights;
    matrix_source m;
    uint8_t *bytes;
    int8_t *trits;
} fixture;

static void store(const fixture *f, size_t i, float value)
{
    uint32_t bits = f->m.dense == DENSE_F16 ? half_from_float(value) : bf16_from_float(value);
    if (f->m.dense == DENSE_F32) {
        memcpy(f->bytes + 4 * i, &value, 4);
    } else {
        f->bytes[2 * i] = (uint8_t)bits;
        f->bytes[2 * i + 1] = (uint8_t)(bits >> 8);
    }
}

static fixture make(dense_type type, uint32_t rows, uint32_t cols, scale_at scale)
{
    fixture f = {.m = {.name = "the.matrix", .n_rows = rows, .n_cols = cols, .dense = type}};
    size_t n = (size_t)rows * cols;
    f.bytes = calloc(n, 4);
    f.trits = calloc(n, 1);
    assert_true(f.bytes != NULL && f.trits != NULL);
    for (size_t i = 0; i < n; i++) {
        f.trits[i] = (int8_t)((int)(rng_u64(7, i) % 3) - 1);
        store(&f, i, scale((uint32_t)(i / cols), (uint32_t)(i % cols)) * (float)f.trits[i]);
        if (f.trits[i] == 0 && i % 2 == 0) store(&f, i, -0.0f);
    }
    f.weights.data = f.bytes;
    f.weights.n_bytes = n * (type == DENSE_F32 ? 4 : 2);
    return f;
}

static void release(fixture *f)
{
    free(f->bytes);
    free(f->trits);
}

// Recognises, reads back and compares every weight; returns the descriptor.
static ternary_scale expect_recognised(fixture *f, scale_at expected)
{
    bool is_ternary = false;
    ternary_scale found = {0}, scale = {0};
    tern_error err = {0};
    f->m.weights = &f->weights;
    assert_int_equal(matrix_find_ternary(&f->m, &is_ternary, &found, &err), TERN_OK);
    assert_true(is_ternary);
    f->m.encoding = MATRIX_FLOAT;
    f->m.found = &found;
    if (matrix_scale(&f->m, &scale, &err) != TERN_OK) fail_msg("%s", err.message);
    assert_true(ternary_scale_equal(&found, &scale));
    assert_int_equal(matrix_scale_bound(&f->m).group == 0, found.n_groups == 1);
    ternary_scale_free(&scale);
    size_t row_bytes = ternary_row_bytes(f->m.n_cols);
    uint8_t *rows = malloc(row_bytes * f->m.n_rows);
    if (matrix_read_rows(&f->m, &found, 0, f->m.n_rows, rows, &err) != TERN_OK) fail_msg("%s", err.message);
    for (uint32_t r = 0; r < f->m.n_rows; r++)
        for (uint32_t c = 0; c < f->m.n_cols; c++) {
            int trit = f->trits[(size_t)r * f->m.n_cols + c];
            if (ternary_code(rows + r * row_bytes, c) - 1 != trit) fail_msg("row %u column %u", r, c);
            size_t at = (size_t)ternary_scale_set(&found, r) * found.n_groups + c / found.group;
            if (trit != 0 && found.values[at] != expected(r, c)) fail_msg("scale of row %u column %u", r, c);
        }
    free(rows);
    return found;
}

static float one_scale(uint32_t row, uint32_t column)
{
    (void)row, (void)column;
    return 0.0625f;
}
static float two_row_ranges(uint32_t row, uint32_t column)
{
    (void)column;
    return row < 48 ? 0.25f : 0.3125f;
}
static float by_row(uint32_t row, uint32_t column)
{
    (void)column;
    return 0.25f + (float)row * 0x1p-7f;
}
static float three_column_ranges(uint32_t row, uint32_t column)
{
    (void)row;
    return 0.5f + (float)(column / 256) * 0.125f;
}
static float groups_of_128(uint32_t row, uint32_t column)
{
    return 0.25f + (float)((row * 7 + column / 128) % 64) * 0x1p-7f;
}
static float groups_of_64(uint32_t row, uint32_t column)
{
    return 0.25f + (float)((row * 5 + column / 64) % 64) * 0x1p-7f;
}
static float groups_of_256(uint32_t row, uint32_t column)
{
    return 0.25f + (float)((row * 5 + column / 256) % 64) * 0x1p-7f;
}

static void every_kind_of_scale_is_found(void **state)
{
    (void)state;
    static const struct {
        scale_at scale;
        uint32_t rows, cols, n_sets, n_groups;
        bool has_ranges;
    } cases[] = {
        {one_scale, 96, 768, 1, 1, false},      {one_scale, 5, 100, 1, 1, false},
        {two_row_ranges, 96, 768, 2, 1, true},  {two_row_ranges, 96, 70, 2, 1, true},
        {by_row, 96, 768, 96, 1, false},        {three_column_ranges, 96, 768, 1, 3, false},
        {groups_of_128, 40, 768, 40, 6, false}, {groups_of_64, 40, 768, 40, 12, false},
        {groups_of_256, 40, 768, 40, 3, false}, {groups_of_64, 40, 200, 40, 4, false},
    };
    static const dense_type types[] = {DENSE_F16, DENSE_BF16, DENSE_F32};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t t = 0; t < 3; t++) {
            fixture f = make(types[t], cases[i].rows, cases[i].cols, cases[i].scale);
            ternary_scale found = expect_recognised(&f, cases[i].scale);
            assert_int_equal(found.n_sets, cases[i].n_sets);
            assert_int_equal(found.n_groups, cases[i].n_groups);
            assert_int_equal(found.set_begin != NULL, cases[i].has_ranges);
            if (cases[i].has_ranges) assert_int_equal(found.set_begin[1], 48);
            ternary_scale_free(&found);
            release(&f);
        }
}

// Rows without a weight belong to their neighbours' range.
static void rows_of_zeros_split_no_range(void **state)
{
    (void)state;
    fixture f = make(DENSE_F16, 96, 128, two_row_ranges);
    static const uint32_t zero_rows[] = {0, 1, 20, 48, 95};
    for (size_t i = 0; i < 5; i++)
        for (uint32_t c = 0; c < 128; c++) {
            store(&f, (size_t)zero_rows[i] * 128 + c, 0.0f);
            f.trits[zero_rows[i] * 128 + c] = 0;
        }
    ternary_scale found = expect_recognised(&f, two_row_ranges);
    assert_int_equal(found.n_sets, 2);
    assert_int_equal(found.set_begin[1], 49);
    ternary_scale_free(&found);
    release(&f);
}

static void expect_floats(fixture *f)
{
    bool is_ternary = true;
    ternary_scale found = {0};
    tern_error err = {0};
    f->m.weights = &f->weights;
    assert_int_equal(matrix_find_ternary(&f->m, &is_ternary, &found, &err), TERN_OK);
    assert_false(is_ternary);
    assert_null(found.values);
    release(f);
}

static float gaussian_like(uint32_t row, uint32_t column) { return rng_unit(3, (uint64_t)row * 100000 + column); }

static void other_floats_stay_floats(void **state)
{
    (void)state;
    static const dense_type types[] = {DENSE_F16, DENSE_BF16, DENSE_F32};
    for (size_t t = 0; t < 3; t++) {
        fixture f = make(types[t], 32, 256, gaussian_like);
        expect_floats(&f);
        f = make(types[t], 32, 256, one_scale); // one value off by one bit, in the last row
        f.trits[0] = 0;
        size_t last = (size_t)32 * 256 - 1, element = types[t] == DENSE_F32 ? 4 : 2;
        store(&f, last, 0.0625f);
        store(&f, last - 1, 0.0625f);
        f.bytes[last * element] ^= 1;
        expect_floats(&f);
        f = make(types[t], 32, 256, one_scale);
        store(&f, 1000, NAN);
        expect_floats(&f);
        f = make(types[t], 32, 256, one_scale);
        memset(f.bytes, 0, (size_t)32 * 256 * element);
        expect_floats(&f); // zeros say nothing
        f = make(types[t], 32, 48, one_scale);
        expect_floats(&f); // rows too short to tell
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_scale_is_found),
        cmocka_unit_test(rows_of_zeros_split_no_range),
        cmocka_unit_test(other_floats_stay_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
