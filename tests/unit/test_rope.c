// The rotary table and the double functions behind it, against long double libm and independently written formulas.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rng.h"
#include "rope.h"
#include "scalar_probe.h"

static void functions_are_within_two_ulp(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 200000; i++) {
        double unit = rng_unit_double(1, i);
        double x = 1e-6 + 1e7 * unit * unit;
        long double truth = logl((long double)x);
        assert_true(fabsl((long double)rope_log(x) - truth) <= 4.5e-16L * fmaxl(1.0L, fabsl(truth)));
        double e = 40.0 * unit - 30.0;
        truth = expl((long double)e);
        assert_true(fabsl((long double)rope_exp(e) - truth) <= 4.5e-16L * truth);
        double angle = 2e6 * unit, s, c;
        rope_sin_cos(angle, &s, &c);
        assert_true(fabsl((long double)s - sinl((long double)angle)) < 4.5e-16L);
        assert_true(fabsl((long double)c - cosl((long double)angle)) < 4.5e-16L);
    }
    double s, c;
    rope_sin_cos(0.0, &s, &c);
    assert_true(s == 0.0 && c == 1.0);
    assert_true(rope_log(1.0) == 0.0 && rope_exp(0.0) == 1.0);
}

// The frequency of a pair by each scaling's published rule.
static long double expected_frequency(const rope_params *r, uint32_t pair)
{
    const long double pi = acosl(-1.0L);
    long double f = powl((long double)r->theta, -2.0L * pair / r->n_dims);
    if (r->freq_divisors != NULL) f /= (long double)r->freq_divisors[pair];
    if (r->scaling == ROPE_SCALING_LINEAR) return f / (long double)r->factor;
    if (r->scaling == ROPE_SCALING_LLAMA3) {
        long double low = (long double)(r->original_context / r->low_freq_factor), wave = 2 * pi / f;
        long double high = (long double)(r->original_context / r->high_freq_factor);
        if (wave < high) return f;
        if (wave > low) return f / (long double)r->factor;
        long double smooth = ((long double)r->original_context / wave - (long double)r->low_freq_factor) /
                             (long double)(r->high_freq_factor - r->low_freq_factor);
        return (1 - smooth) * f / (long double)r->factor + smooth * f;
    }
    if (r->scaling == ROPE_SCALING_YARN) {
        long double n = r->n_dims, log_theta = logl((long double)r->theta), context = (long double)r->original_context;
        long double low = floorl(n * logl(context / ((long double)r->beta_fast * 2 * pi)) / (2 * log_theta));
        long double high = ceill(n * logl(context / ((long double)r->beta_slow * 2 * pi)) / (2 * log_theta));
        low = fmaxl(low, 0);
        high = fminl(high, n - 1);
        long double ramp = fminl(1, fmaxl(0, (pair - low) / fmaxl(0.001L, high - low)));
        return f / (long double)r->factor * ramp + f * (1 - ramp);
    }
    return f;
}

static void check_table(const rope_params *r, long double scale)
{
    const uint32_t n = 3000;
    float *table = malloc((size_t)n * r->n_dims * sizeof *table);
    assert_non_null(table);
    rope_table(r, n, table);
    for (uint32_t p = 0; p < n; p += 37)
        for (uint32_t i = 0; i < r->n_dims / 2; i++) {
            long double angle = p * expected_frequency(r, i);
            const float *pair = table + (size_t)p * r->n_dims + 2 * i;
            // Half an ulp of fp32 below 1 (times a scale below 2), and the error of the double angle.
            assert_true(fabsl((long double)pair[0] - cosl(angle) * scale) < 1.3e-7L);
            assert_true(fabsl((long double)pair[1] - sinl(angle) * scale) < 1.3e-7L);
        }
    free(table);
}

static void tables_follow_each_scaling(void **state)
{
    (void)state;
    float divisors[48];
    for (int i = 0; i < 48; i++) divisors[i] = 1.0f + (float)i / 8.0f;
    rope_params r = {.theta = 500000.0, .n_dims = 128};
    check_table(&r, 1);
    r = (rope_params){.theta = 10000.0, .n_dims = 96, .scaling = ROPE_SCALING_LINEAR, .factor = 4.0};
    check_table(&r, 1);
    r = (rope_params){.theta = 10000.0, .n_dims = 96, .freq_divisors = divisors};
    check_table(&r, 1);
    r = (rope_params){.theta = 500000.0,
                      .n_dims = 64,
                      .scaling = ROPE_SCALING_LLAMA3,
                      .factor = 8.0,
                      .low_freq_factor = 1.0,
                      .high_freq_factor = 4.0,
                      .original_context = 256};
    check_table(&r, 1);
    r = (rope_params){.theta = 1000000.0,
                      .n_dims = 128,
                      .scaling = ROPE_SCALING_YARN,
                      .factor = 4.0,
                      .original_context = 512,
                      .beta_fast = 32,
                      .beta_slow = 1,
                      .attn_factor = 1.1};
    check_table(&r, 1.1L * (1 + 0.1L * logl(4.0L)));
}

static void probe_gives_the_defined_bits(void **state)
{
    (void)state;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < SCALAR_PROBE_N; i++) sum += scalar_probe_value(i);
    assert_int_equal(sum, SCALAR_PROBE_SUM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_within_two_ulp),
        cmocka_unit_test(tables_follow_each_scaling),
        cmocka_unit_test(probe_gives_the_defined_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
