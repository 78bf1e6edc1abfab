// Rows of floats as F16, Q8_0 and Q6_K: known bytes, error bounds through the decoder, what is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encode_dense.h"
#include "half.h"
#include "rng.h"

#define N_COLS 2560u

// Sums of four uniform numbers in (-1, 1) times `size`: bell-shaped, as trained weights are.
static void fill(float *x, uint32_t n, float size, uint64_t seed)
{
    for (uint32_t i = 0; i < n; i++) {
        float sum = 0.0f;
        for (uint32_t k = 0; k < 4; k++) sum += (float)(rng_u64(seed, 4 * (uint64_t)i + k) >> 40) * 0x1p-23f - 1.0f;
        x[i] = sum * 0.25f * size;
    }
}

static float load_half(const uint8_t *p) { return half_to_float(p[0] | (uint32_t)p[1] << 8); }

static void test_q8_0_vector(void **state)
{
    (void)state;
    // d = 127 / 127 = 1: the codes are the values, rounded half away from zero.
    const float values[] = {127.0f, -127.0f, 0.5f, -0.5f, 0.49999997f, 1.5f, -2.5f, 126.5f, 0.0f, -0.25f};
    const int codes[] = {127, -127, 1, -1, 0, 2, -3, 127, 0, 0};
    float x[32] = {0};
    uint8_t block[34];
    memcpy(x, values, sizeof values);
    assert_true(encode_dense_row(DENSE_Q8_0, x, 32, block));
    assert_int_equal(block[0] | block[1] << 8, 0x3c00);
    for (size_t i = 0; i < 32; i++) assert_int_equal((int8_t)block[2 + i], i < 10 ? codes[i] : 0);

    // The reciprocal is that of d before its rounding: 1 / 3 of 127 steps of d = 0.3 / 127.
    for (size_t i = 0; i < 32; i++) x[i] = i % 2 == 0 ? 0.3f : -0.1f;
    assert_true(encode_dense_row(DENSE_Q8_0, x, 32, block));
    assert_int_equal(block[0] | block[1] << 8, 0x18d6); // fp16 of 0.3 / 127
    for (size_t i = 0; i < 32; i++) assert_int_equal((int8_t)block[2 + i], i % 2 == 0 ? 127 : -42);

    memset(x, 0, sizeof x);
    memset(block, 0xff, sizeof block);
    assert_true(encode_dense_row(DENSE_Q8_0, x, 32, block));
    for (size_t i = 0; i < 34; i++) assert_int_equal(block[i], 0);
    x[3] = 1e-44f; // a subnormal: nothing overflows, and the block decodes to zero
    assert_true(encode_dense_row(DENSE_Q8_0, x, 32, block));
    assert_int_equal(block[0] | block[1], 0);
}

static void test_q8_0_error(void **state)
{
    (void)state;
    static float x[N_COLS], y[N_COLS];
    static uint8_t row[N_COLS / 32 * 34];
    const float sizes[] = {1.0f, 0.02f, 300.0f};
    for (uint64_t s = 0; s < 3; s++) {
        fill(x, N_COLS, sizes[s], s);
        assert_true(encode_dense_row(DENSE_Q8_0, x, N_COLS, row));
        dense_row_to_float(DENSE_Q8_0, row, N_COLS, y);
        for (uint32_t b = 0; b < N_COLS; b += 32) {
            float amax = 0.0f;
            for (uint32_t i = b; i < b + 32; i++) amax = fmaxf(amax, fabsf(x[i]));
            float d = amax / 127.0f, stored = load_half(row + b / 32 * 34);
            float bound = 0.5001f * d + 127.0f * fabsf(stored - d); // half a step, and the rounding of d
            assert_true(fabsf(stored - d) <= fmaxf(d * 0x1p-11f, 0x1p-25f));
            for (uint32_t i = b; i < b + 32; i++) assert_true(fabsf(x[i] - y[i]) <= bound);
        }
    }
}

static double squared_error(const float *x, const float *y, uint32_t n)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) sum += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return sum;
}

// What Q6_K gives without any search: every 16 elements with the exact scale amax / 32 at code -32.
static double plain_error(const float *x, uint32_t n)
{
    double sum = 0.0;
    for (uint32_t b = 0; b < n; b += 16) {
        float extreme = 0.0f;
        for (uint32_t i = b; i < b + 16; i++)
            if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
        float scale = extreme / -32.0f;
        for (uint32_t i = b; i < b + 16; i++) {
            double q = scale == 0.0f ? 0.0 : fmax(-32.0, fmin(31.0, rint((double)x[i] / (double)scale)));
            double difference = (double)x[i] - q * (double)scale;
            sum += difference * difference;
        }
    }
    return sum;
}

static void test_q6_k_error(void **state)
{
    (void)state;
    static float x[N_COLS], y[N_COLS], zero[N_COLS];
    static uint8_t row[N_COLS / 256 * 210];
    // The step of a block is an fp16 subnormal below about 0.25 / 32 / 127 = 2^-14: coarser, but it stays in use.
    const struct {
        float size;
        double bound; // of the relative error, root mean square
    } cases[] = {{1.0f, 0.02}, {300.0f, 0.02}, {0.02f, 0.02}, {1e-4f, 0.03}, {1e-6f, 0.6}};
    for (uint64_t s = 0; s < sizeof cases / sizeof cases[0]; s++) {
        fill(x, N_COLS, cases[s].size, 10 + s);
        assert_true(encode_dense_row(DENSE_Q6_K, x, N_COLS, row));
        dense_row_to_float(DENSE_Q6_K, row, N_COLS, y);
        double error = squared_error(x, y, N_COLS), size = squared_error(x, zero, N_COLS);
        assert_true(error <= cases[s].bound * cases[s].bound * size);
        if (cases[s].size > 0.01f) assert_true(error < plain_error(x, N_COLS)); // the search pays
        for (uint32_t b = 0; b < N_COLS; b += 256) assert_true(load_half(row + b / 256 * 210 + 208) > 0.0f);
    }
}

// Values that are whole multiples of a scale, with both ends in use, come back exactly: every position of the packing.
static void test_q6_k_exact(void **state)
{
    (void)state;
    float x[256], y[256];
    uint8_t block[210];
    for (uint64_t seed = 0; seed < 20; seed++) {
        for (uint32_t i = 0; i < 256; i++) {
            int q = (int)(rng_u64(seed, i) % 64) - 32;
            if (i % 16 == 0) q = -32;
            int scale = i / 16 == 0 ? 127 : (int)(rng_u64(seed + 100, i / 16) % 127) + 1;
            x[i] = 0x1p-9f * (float)(scale * q);
        }
        assert_true(encode_dense_row(DENSE_Q6_K, x, 256, block));
        dense_row_to_float(DENSE_Q6_K, block, 256, y);
        assert_memory_equal(x, y, sizeof x);
    }
    memset(x, 0, sizeof x);
    assert_true(encode_dense_row(DENSE_Q6_K, x, 256, block));
    dense_row_to_float(DENSE_Q6_K, block, 256, y);
    assert_memory_equal(x, y, sizeof x); // plus zero
}

static void test_f16(void **state)
{
    (void)state;
    const float x[] = {1.0f, -0.0f, 65504.0f, 1.0f / 3.0f, 0x1p-24f};
    const unsigned bits[] = {0x3c00, 0x8000, 0x7bff, 0x3555, 0x0001};
    uint8_t row[10];
    assert_true(encode_dense_row(DENSE_F16, x, 5, row));
    for (size_t i = 0; i < 5; i++) assert_int_equal(row[2 * i] | row[2 * i + 1] << 8, bits[i]);
}

static void test_refusals(void **state)
{
    (void)state;
    static const dense_type types[] = {DENSE_F16, DENSE_Q8_0, DENSE_Q6_K};
    const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f};
    float x[256] = {0};
    uint8_t row[512];
    for (size_t t = 0; t < 3; t++)
        for (size_t b = 0; b < 4; b++) {
            x[77] = bad[b];
            assert_false(encode_dense_row(types[t], x, 256, row));
        }
    x[77] = 1e6f; // beyond fp16, but not beyond a block of these
    assert_false(encode_dense_row(DENSE_F16, x, 256, row));
    assert_true(encode_dense_row(DENSE_Q8_0, x, 256, row));
    assert_true(encode_dense_row(DENSE_Q6_K, x, 256, row));
    assert_null(encode_dense_refusal(DENSE_F16, 3));
    assert_null(encode_dense_refusal(DENSE_Q8_0, 96));
    assert_non_null(strstr(encode_dense_refusal(DENSE_Q8_0, 100), "32"));
    assert_null(encode_dense_refusal(DENSE_Q6_K, 512));
    assert_non_null(strstr(encode_dense_refusal(DENSE_Q6_K, 384), "256"));
    assert_non_null(encode_dense_refusal(DENSE_Q4_K, 256));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_q8_0_vector), cmocka_unit_test(test_q8_0_error), cmocka_unit_test(test_q6_k_error),
        cmocka_unit_test(test_q6_k_exact),  cmocka_unit_test(test_f16),        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
