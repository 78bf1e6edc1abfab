#include "rope.h"

#include <string.h>

#define LN2_HIGH    0x1.62e42fefa39efp-1
#define LN2_LOW     0x1.abc9e3b39803fp-56
#define TWO_OVER_PI 0x1.45f306dc9c883p-1
// pi/2 in three doubles, each the rounded remainder of the ones before.
#define HALF_PI_1   0x1.921fb54442d18p+0
#define HALF_PI_2   0x1.1a62633145c07p-54
#define HALF_PI_3   -0x1.f1976b7ed8fbcp-110

static double fma_double(double a, double b, double c) { return __builtin_fma(a, b, c); }

// Horner over coefficients from the highest degree down.
static double polynomial(const double *coefficients, int n, double x)
{
    double p = coefficients[0];
    for (int i = 1; i < n; i++) p = fma_double(p, x, coefficients[i]);
    return p;
}

double rope_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 0x1.6a09e667f3bcdp+0) { // sqrt 2: keep m near 1, so that the series is short
        m *= 0.5;
        exponent++;
    }
    // log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172: the terms fall by s^2 < 0.0295.
    static const double series[] = {1.0 / 25, 1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15,
                                    1.0 / 13, 1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3};
    double s = (m - 1.0) / (m + 1.0);
    double s2 = s * s;
    double tail = polynomial(series, 12, s2);
    double log_m = fma_double(2.0 * s, s2 * tail, 2.0 * s);
    return fma_double(exponent, LN2_HIGH, fma_double(exponent, LN2_LOW, log_m));
}

double rope_exp(double x)
{
    static const double series[] = {1.0 / 6227020800.0,
                                    1.0 / 479001600.0,
                                    1.0 / 39916800.0,
                                    1.0 / 3628800.0,
                                    1.0 / 362880.0,
                                    1.0 / 40320.0,
                                    1.0 / 5040.0,
                                    1.0 / 720.0,
                                    1.0 / 120.0,
                                    1.0 / 24.0,
                                    1.0 / 6.0,
                                    0.5,
                                    1.0,
                                    1.0};
    double n = __builtin_rint(x * 0x1.71547652b82fep+0);
    double r = fma_double(-n, LN2_LOW, fma_double(-n, LN2_HIGH, x));
    double p = polynomial(series, 14, r);
    uint64_t bits = (uint64_t)((int64_t)n + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

void rope_sin_cos(double x, double *sine, double *cosine)
{
    static const double sin_series[] = {-1.0 / 121645100408832000.0,
                                        1.0 / 355687428096000.0,
                                        -1.0 / 1307674368000.0,
                                        1.0 / 6227020800.0,
                                        -1.0 / 39916800.0,
                                        1.0 / 362880.0,
                                        -1.0 / 5040.0,
                                        1.0 / 120.0,
                                        -1.0 / 6.0};
    static const double cos_series[] = {1.0 / 2432902008176640000.0,
                                        -1.0 / 6402373705728000.0,
                                        1.0 / 20922789888000.0,
                                        -1.0 / 87178291200.0,
                                        1.0 / 479001600.0,
                                        -1.0 / 3628800.0,
                                        1.0 / 40320.0,
                                        -1.0 / 720.0,
                                        1.0 / 24.0,
                                        -0.5,
                                        1.0};
    double n = __builtin_rint(x * TWO_OVER_PI);
    double r = fma_double(-n, HALF_PI_3, fma_double(-n, HALF_PI_2, fma_double(-n, HALF_PI_1, x)));
    double r2 = r * r;
    double s = fma_double(r * r2, polynomial(sin_series, 9, r2), r);
    double c = polynomial(cos_series, 11, r2);
    switch ((int64_t)n & 3) {
    case 0: *sine = s, *cosine = c; break;
    case 1: *sine = c, *cosine = -s; break;
    case 2: *sine = -s, *cosine = -c; break;
    default: *sine = -c, *cosine = s; break;
    }
}

// The Llama 3.1 rule: long wavelengths are divided by `factor`, short ones kept, those between blended.
static double llama3_frequency(const rope_params *rope, double frequency)
{
    double wavelength = 0x1.921fb54442d18p+2 / frequency; // 2 pi / frequency
    if (wavelength < rope->original_context / rope->high_freq_factor) return frequency;
    if (wavelength > rope->original_context / rope->low_freq_factor) return frequency / rope->factor;
    double smooth = (rope->original_context / wavelength - rope->low_freq_factor) /
                    (rope->high_freq_factor - rope->low_freq_factor);
    return (1.0 - smooth) * (frequency / rope->factor) + smooth * frequency;
}

// YaRN (Peng et al. 2023) blends kept and divided frequencies by how often a pair turns within the original context.
typedef struct yarn {
    double low, high; // pair indices between which the blend runs
    double scale;     // of cos and sin
} yarn;

// The pair index at which a frequency turns `rotations` times within the original context.
static double yarn_pair(const rope_params *rope, double log_theta, double rotations)
{
    return rope->n_dims * rope_log(rope->original_context / (rotations * 0x1.921fb54442d18p+2)) / (2.0 * log_theta);
}

static yarn yarn_make(const rope_params *rope, double log_theta)
{
    double low = __builtin_floor(yarn_pair(rope, log_theta, rope->beta_fast));
    double high = __builtin_ceil(yarn_pair(rope, log_theta, rope->beta_slow));
    return (yarn){.low = low > 0 ? low : 0,
                  .high = high < rope->n_dims - 1 ? high : rope->n_dims - 1,
                  .scale = rope->attn_factor * (1.0 + 0.1 * rope_log(rope->factor))};
}

static double yarn_frequency(const rope_params *rope, const yarn *y, uint32_t pair, double frequency)
{
    double width = y->high - y->low > 0.001 ? y->high - y->low : 0.001;
    double ramp = (pair - y->low) / width;
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    return frequency / rope->factor * ramp + frequency * (1.0 - ramp);
}

void rope_table(const rope_params *rope, uint32_t n_positions, float *out)
{
    uint32_t n_pairs = rope->n_dims / 2;
    double log_theta = rope_log(rope->theta);
    yarn y = {.scale = 1.0};
    if (rope->scaling == ROPE_SCALING_YARN) y = yarn_make(rope, log_theta);
    for (uint32_t i = 0; i < n_pairs; i++) {
        double frequency = rope_exp(-(2.0 * i / rope->n_dims) * log_theta);
        if (rope->freq_divisors != NULL) frequency /= (double)rope->freq_divisors[i];
        if (rope->scaling == ROPE_SCALING_LINEAR) frequency /= rope->factor;
        if (rope->scaling == ROPE_SCALING_LLAMA3) frequency = llama3_frequency(rope, frequency);
        if (rope->scaling == ROPE_SCALING_YARN) frequency = yarn_frequency(rope, &y, i, frequency);
        for (uint32_t p = 0; p < n_positions; p++) {
            double s, c;
            rope_sin_cos(p * frequency, &s, &c);
            float *pair = out + (size_t)p * rope->n_dims + 2 * i;
            pair[0] = (float)(c * y.scale);
            pair[1] = (float)(s * y.scale);
        }
    }
}
