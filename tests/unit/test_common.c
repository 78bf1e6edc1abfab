// The rooms' common language: error records, checked sizes, half floats, scalar functions, random numbers, the device
// registry.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "check.h"
#include "error.h"
#include "half.h"
#include "registry.h"
#include "rng.h"

#define SEED 20240u

static float random_float_bits(uint64_t counter) { return scalar_as_float((uint32_t)rng_u64(SEED, counter)); }

// ---- errors

static void test_error_keeps_first_cause(void **state)
{
    (void)state;
    tern_error err = {0};
    assert_int_equal(error_set(&err, TERN_MALFORMED, "tensor %s has %d dims", "w", 9), TERN_MALFORMED);
    assert_int_equal(error_set(&err, TERN_LIMIT, "second"), TERN_LIMIT);
    assert_int_equal(err.status, TERN_MALFORMED);
    assert_string_equal(err.message, "tensor w has 9 dims");
    error_prefix(&err, "model %s", "a.gguf");
    assert_string_equal(err.message, "model a.gguf: tensor w has 9 dims");
    error_clear(&err);
    assert_int_equal(err.status, TERN_OK);
    assert_string_equal(err.message, "");
    error_prefix(&err, "ignored");
    assert_string_equal(err.message, "");
    assert_int_equal(error_set(NULL, TERN_IO, "x"), TERN_IO);
    error_prefix(NULL, "x");
    error_clear(NULL);
}

static void expect_message(const char *from, const char *expected)
{
    tern_error err = {0};
    error_set(&err, TERN_MALFORMED, "%s", from);
    assert_string_equal(err.message, expected);
}

static void test_error_replaces_hostile_bytes(void **state)
{
    (void)state;
    expect_message("a\033[31mb\nc\x7f", "a?[31mb?c?");
    expect_message("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
                   "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
    expect_message("\xff\xc0\xaf\x80", "????");
    expect_message("cut \xe2\x82", "cut ??");
    expect_message("\xe0\x80\xaf", "???");      // overlong
    expect_message("\xed\xa0\x80", "???");      // surrogate
    expect_message("\xf4\x90\x80\x80", "????"); // above U+10FFFF
    expect_message("\xf0\x80\x80\xaf", "????"); // overlong
    expect_message("\xc2\x9b"
                   "31m",
                   "??31m");                            // U+009B, a one-character escape introducer
    expect_message("\xe2\x80\xaexe", "\xe2\x80\xaexe"); // other characters pass
}

static void test_error_cuts_long_text(void **state)
{
    (void)state;
    char text[3000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    tern_error err = {0};
    error_set(&err, TERN_IO, "%s", text);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    error_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);

    // A character cut in half at the end is replaced, not left broken.
    memset(text, 'x', sizeof err.message);
    memcpy(text + sizeof err.message - 3, "\xe2\x82\xac", 4);
    tern_error cut = {0};
    error_set(&cut, TERN_IO, "%s", text);
    assert_string_equal(cut.message + sizeof cut.message - 4, "x??");
}

static void test_status_names(void **state)
{
    (void)state;
#define X(name, number, sentence)                                                                                      \
    assert_int_equal(TERN_##name, number);                                                                             \
    assert_string_equal(tern_status_name(TERN_##name), #name);                                                         \
    assert_string_equal(tern_status_meaning(TERN_##name), sentence);
    TERN_STATUS_LIST(X)
#undef X
    assert_string_equal(tern_status_name((tern_status)9999), "UNKNOWN");
    assert_string_equal(tern_status_meaning((tern_status)9999), "UNKNOWN");
}

// ---- checked sizes

static void test_check(void **state)
{
    (void)state;
    uint64_t out = 7;
    assert_true(check_add(UINT64_MAX - 1, 1, &out));
    assert_true(out == UINT64_MAX);
    assert_false(check_add(UINT64_MAX, 1, &out));
    assert_true(out == UINT64_MAX); // untouched
    assert_true(check_mul(UINT64_MAX, 0, &out) && out == 0);
    assert_true(check_mul(0, UINT64_MAX, &out) && out == 0);
    assert_true(check_mul(UINT64_MAX, 1, &out) && out == UINT64_MAX);
    assert_true(check_mul(1ull << 32, (1ull << 32) - 1, &out) && out == 0xffffffff00000000u);
    assert_false(check_mul(1ull << 32, 1ull << 32, &out));
    assert_true(check_align(0, 64, &out) && out == 0);
    assert_true(check_align(1, 64, &out) && out == 64);
    assert_true(check_align(64, 64, &out) && out == 64);
    assert_true(check_align(UINT64_MAX - 63, 64, &out) && out == UINT64_MAX - 63);
    assert_false(check_align(UINT64_MAX - 62, 64, &out));
    assert_true(check_range(0, 0, 0));
    assert_true(check_range(10, 0, 10));
    assert_true(check_range(3, 7, 10));
    assert_false(check_range(3, 8, 10));
    assert_false(check_range(11, 0, 10));
    assert_false(check_range(UINT64_MAX, 2, 10));
    assert_false(check_range(2, UINT64_MAX, 10));
    size_t size = 5;
    assert_true(check_size(SIZE_MAX / 2, &size) && size == SIZE_MAX / 2);
    assert_false(check_size((uint64_t)(SIZE_MAX / 2) + 1, &size));
    assert_true(size == SIZE_MAX / 2);
}

// ---- half floats

// The value of binary16 bits by the formula of the standard, in double.
static double half_value(uint32_t h)
{
    int exponent = (int)(h >> 10 & 31), mantissa = (int)(h & 1023);
    double magnitude = exponent == 0    ? ldexp(mantissa, -24)
                       : exponent == 31 ? (mantissa == 0 ? INFINITY : NAN)
                                        : ldexp(1024 + mantissa, exponent - 25);
    return h & 0x8000 ? -magnitude : magnitude;
}

// Nearest-even binary16 of x, in double: the spacing at |x| is 2^-24 below 2^-14, else 2^(exponent - 10).
static uint32_t half_nearest(float x)
{
    uint32_t sign = signbit(x) ? 0x8000 : 0;
    double magnitude = fabs((double)x);
    if (isinf(x)) return sign | 0x7c00;
    int exponent = -14;
    if (magnitude >= 0x1p-14) exponent = ilogb(magnitude);
    double units = nearbyint(ldexp(magnitude, 10 - exponent)); // exact but for this one rounding
    double rounded = ldexp(units, exponent - 10);
    if (rounded >= 65536.0) return sign | 0x7c00;
    if (rounded < 0x1p-14) return sign | (uint32_t)ldexp(rounded, 24);
    exponent = ilogb(rounded);
    return sign | (uint32_t)((exponent + 15) * 1024 + (int)ldexp(rounded, 10 - exponent) - 1024);
}

static uint32_t bf16_nearest(float x)
{
    uint32_t sign = signbit(x) ? 0x8000 : 0;
    double magnitude = fabs((double)x);
    if (isinf(x)) return sign | 0x7f80;
    int exponent = -126;
    if (magnitude >= 0x1p-126) exponent = ilogb(magnitude);
    double rounded = ldexp(nearbyint(ldexp(magnitude, 7 - exponent)), exponent - 7);
    if (rounded >= 0x1p128) return sign | 0x7f80;
    if (rounded < 0x1p-126) return sign | (uint32_t)ldexp(rounded, 133);
    exponent = ilogb(rounded);
    return sign | (uint32_t)((exponent + 127) * 128 + (int)ldexp(rounded, 7 - exponent) - 128);
}

static void test_half_all_values(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float x = half_to_float(h);
        double expected = half_value(h);
        if (isnan(expected)) {
            assert_true(isnan(x));
            assert_int_equal(half_from_float(x) & 0x7e00, 0x7e00);
            continue;
        }
        assert_true((double)x == expected && !signbit(x) == !signbit(expected));
        assert_int_equal(half_from_float(x), h);
    }
}

static void test_bf16_all_values(void **state)
{
    (void)state;
    for (uint32_t b = 0; b < 0x10000; b++) {
        float x = bf16_to_float(b);
        int exponent = (int)(b >> 7 & 255), mantissa = (int)(b & 127);
        if (exponent == 255 && mantissa != 0) {
            assert_true(isnan(x));
            float back = bf16_to_float(bf16_from_float(x));
            assert_true(isnan(back));
            continue;
        }
        double expected = exponent == 255 ? INFINITY
                          : exponent == 0 ? ldexp(mantissa, -133)
                                          : ldexp(128 + mantissa, exponent - 134);
        assert_true((double)x == (b & 0x8000 ? -expected : expected));
        assert_int_equal(bf16_from_float(x), b);
    }
}

static void check_short_conversions(float x)
{
    if (isnan(x)) {
        assert_true(isnan(half_to_float(half_from_float(x))));
        assert_true(isnan(bf16_to_float(bf16_from_float(x))));
        return;
    }
    if (half_from_float(x) != half_nearest(x))
        fail_msg("half_from_float(%a) = %x, expected %x", (double)x, half_from_float(x), half_nearest(x));
    if (bf16_from_float(x) != bf16_nearest(x))
        fail_msg("bf16_from_float(%a) = %x, expected %x", (double)x, bf16_from_float(x), bf16_nearest(x));
}

static void test_short_floats_round_to_nearest_even(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 1u << 21; i++) check_short_conversions(random_float_bits(i));
    // Uniform exponents of fp16's range, where most random bit patterns are not.
    for (uint64_t i = 0; i < 1u << 20; i++) {
        uint32_t bits = (uint32_t)rng_u64(SEED + 1, i);
        uint32_t exponent = 127 - 27 + (bits >> 24) % 45;
        check_short_conversions(scalar_as_float((bits & 0x807fffffu) | exponent << 23));
    }
    // Around every half-way point between neighbours: the tie, and one ulp to either side.
    for (uint32_t h = 0; h < 0x7c00; h++)
        for (int step = -1; step <= 1; step++) {
            float upper = h == 0x7bff ? 65536.0f : half_to_float(h + 1);
            float tie = (float)(((double)half_to_float(h) + (double)upper) / 2);
            float x = scalar_as_float(scalar_as_u32(tie) + (uint32_t)step);
            check_short_conversions(x);
            check_short_conversions(-x);
        }
    for (uint32_t b = 0; b < 0x7f80; b++)
        for (uint32_t low = 0x7fff; low <= 0x8001; low++) check_short_conversions(scalar_as_float(b << 16 | low));
    assert_int_equal(half_from_float(65519.996f), 0x7bff);
    assert_int_equal(half_from_float(65520.0f), 0x7c00);
    assert_int_equal(half_from_float(0x1p-25f), 0);
    assert_int_equal(half_from_float(0x1.000002p-25f), 1);
    assert_int_equal(half_from_float(-0.0f), 0x8000);
    assert_int_equal(bf16_from_float(0x1.fffffep127f), 0x7f80);
}

// ---- scalar functions

// Distance of scalar_exp(x) from e^x in units of the last place of the result's binade.
static double exp_error_ulp(float x)
{
    double exact = exp((double)x);
    int exponent = ilogb(exact);
    return fabs((double)scalar_exp(x) - exact) / ldexp(1.0, exponent - 23);
}

static void test_exp_within_one_ulp(void **state)
{
    (void)state;
    double worst = 0;
    for (uint64_t i = 0; i < (1u << 22) + (1u << 20); i++) {
        // Most samples uniform over the range of finite normal results; some small and tiny.
        float x = i < 1u << 22 ? -87.33f + 176.05f * rng_unit(SEED, i)
                               : (rng_unit(SEED, i) - 0.5f) * ldexpf(1.0f, -(int)(i % 30));
        double e = exp_error_ulp(x);
        if (e > worst) worst = e;
        if (e >= 1.0) fail_msg("exp(%a) is off by %g ulp", (double)x, e);
    }
    assert_true(worst > 0.5); // the measure works: no float function is better than half an ulp everywhere
    print_message("worst exp error %.3f ulp\n", worst);
}

static void test_exp_special_values(void **state)
{
    (void)state;
    assert_true(scalar_exp(0.0f) == 1.0f && scalar_exp(-0.0f) == 1.0f);
    assert_true(isnan(scalar_exp(NAN)));
    assert_true(scalar_exp(INFINITY) == INFINITY);
    float below = scalar_exp(-INFINITY);
    assert_true(below == 0.0f && !signbit(below));
    float top = 0x1.62e42ep+6f, bottom = -0x1.5d51ecp+6f;
    assert_true(isfinite(scalar_exp(top)) && exp_error_ulp(top) < 1.0);
    assert_true(scalar_exp(nextafterf(top, INFINITY)) == INFINITY);
    assert_true(scalar_exp(bottom) >= 0x1p-126f && exp_error_ulp(bottom) < 1.0); // never subnormal
    assert_true(scalar_exp(nextafterf(bottom, -INFINITY)) == 0.0f);
}

static void assert_same_float(const char *what, float a, float b, float expected, float got)
{
    if (expected != expected ? got != got : scalar_as_u32(expected) == scalar_as_u32(got)) return;
    fail_msg("%s of %a and %a: expected %a, got %a", what, (double)a, (double)b, (double)expected, (double)got);
}

// Division and square root by integer arithmetic against the processor's.
static void test_soft_division_and_root(void **state)
{
    (void)state;
    static const uint32_t special[] = {0,          1,          2,          0x00400000, 0x007fffff, 0x00800000,
                                       0x00800001, 0x00ffffff, 0x33800000, 0x3f7fffff, 0x3f800000, 0x3f800001,
                                       0x40490fdb, 0x7effffff, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000};
    enum { N_SPECIAL = sizeof special / sizeof special[0] };
    for (uint32_t i = 0; i < N_SPECIAL * N_SPECIAL * 4; i++) {
        float a = scalar_as_float(special[i / 4 % N_SPECIAL] | (i & 1) << 31);
        float b = scalar_as_float(special[i / 4 / N_SPECIAL] | (i & 2) << 30);
        assert_same_float("quotient", a, b, a / b, scalar_soft_div(a, b));
        assert_same_float("root", a, a, sqrtf(a), scalar_soft_sqrt(a));
    }
    for (uint64_t i = 0; i < 2000000; i++) {
        uint64_t r = rng_u64(2026, i);
        float a = scalar_as_float((uint32_t)r), b = scalar_as_float((uint32_t)(r >> 32));
        if (i % 3 == 0) a = scalar_as_float((uint32_t)r & 0x00ffffff); // subnormal quotients
        if (i % 3 == 0) b = scalar_as_float(((uint32_t)(r >> 32) & 0x007fffff) | 0x3f800000);
        assert_same_float("quotient", a, b, a / b, scalar_soft_div(a, b));
        assert_same_float("root", fabsf(a), 0, sqrtf(fabsf(a)), scalar_soft_sqrt(fabsf(a)));
    }
}

static void test_scalar_code(void **state)
{
    (void)state;
    const struct {
        float x;
        int code;
    } cases[] = {{0.5f, 0},    {1.5f, 2},     {2.5f, 2},      {-0.5f, 0},      {-1.5f, -2},
                 {3.49f, 3},   {127.4f, 127}, {127.6f, 127},  {-127.6f, -127}, {-1e30f, -127},
                 {1e30f, 127}, {NAN, -127},   {INFINITY, 127}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(scalar_code(cases[i].x), cases[i].code);
    assert_true(scalar_magnitude(NAN) > scalar_magnitude(INFINITY));
    assert_true(scalar_magnitude(-INFINITY) > scalar_magnitude(3e38f));
    assert_true(scalar_is_finite(-3e38f) && !scalar_is_finite(-INFINITY) && !scalar_is_finite(NAN));
    assert_true(scalar_relu(-1.0f) == 0.0f && scalar_relu(2.0f) == 2.0f);
}

// ---- random numbers

static void test_rng_is_stable(void **state)
{
    (void)state;
    // SplitMix64 with seed 0: the published first outputs.
    assert_true(rng_u64(0, 0) == 0xe220a8397b1dcdafu);
    assert_true(rng_u64(0, 1) == 0x6e789e6aa1b965f4u);
    assert_true(rng_u64(0, 2) == 0x06c45d188009454fu);
    assert_true(rng_unit(0, 0) == (float)(0xe220a8397b1dcdafu >> 40) * 0x1p-24f);
    double mean = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        double unit = rng_unit_double(5, i);
        assert_true(unit >= 0 && unit < 1 && rng_unit(5, i) < 1.0f);
        mean += unit / 100000;
    }
    assert_true(fabs(mean - 0.5) < 0.005); // 5 standard deviations
}

// ---- registry

static size_t two_devices(const char **note)
{
    *note = "";
    return 2;
}

static size_t no_devices(const char **note)
{
    *note = "fake: no driver";
    return 0;
}

static tern_status describe(size_t index, device_facts *out, tern_error *err)
{
    (void)err;
    *out = (device_facts){.is_chosen_only_by_name = index == 0};
    strcpy(out->name, index == 0 ? "slow" : "quick");
    return TERN_OK;
}

static void test_registry(void **state)
{
    (void)state;
    const backend absent = {.name = "absent", .api_version = BACKEND_API_VERSION, .device_count = no_devices};
    const backend present = {.name = "present",
                             .api_version = BACKEND_API_VERSION,
                             .device_count = two_devices,
                             .device_describe = describe};
    const backend *list[] = {&absent, &present, NULL};
    device_ref ref = {0};
    tern_error err = {0};
    assert_int_equal(registry_find(list, "auto", &ref, &err), TERN_OK);
    assert_true(ref.backend == &present && ref.index == 1); // never the reference by itself
    assert_int_equal(registry_find(list, "slow", &ref, &err), TERN_OK);
    assert_true(ref.index == 0);
    assert_int_equal(registry_find(list, "cuda7", &ref, &err), TERN_NO_DEVICE);
    assert_true(ref.backend == &present && ref.index == 0);
    assert_non_null(strstr(err.message, "slow, quick"));
    assert_non_null(strstr(err.message, "no driver"));
    const backend *none[] = {NULL};
    error_clear(&err);
    assert_int_equal(registry_find(none, "auto", &ref, &err), TERN_NO_DEVICE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_keeps_first_cause),
        cmocka_unit_test(test_error_replaces_hostile_bytes),
        cmocka_unit_test(test_error_cuts_long_text),
        cmocka_unit_test(test_status_names),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_half_all_values),
        cmocka_unit_test(test_bf16_all_values),
        cmocka_unit_test(test_short_floats_round_to_nearest_even),
        cmocka_unit_test(test_exp_within_one_ulp),
        cmocka_unit_test(test_exp_special_values),
        cmocka_unit_test(test_soft_division_and_root),
        cmocka_unit_test(test_scalar_code),
        cmocka_unit_test(test_rng_is_stable),
        cmocka_unit_test(test_registry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
