// Reference ops: norms and quantisation of activations.
#include "reference.h"

// ---- norms

void reference_norm(const device *d, const op *o)
{
    (void)d;
    const op_norm *a = &o->norm;
    const float *g = cpu_at(a->g);
    for (uint32_t m = 0; m < o->m; m++) {
        const float *x = (const float *)cpu_at(a->x) + (size_t)m * a->ld_x;
        float *y = (float *)cpu_at(a->y) + (size_t)m * a->ld_y;
        float ss = reference_sumsq256(x, a->n);
        if (!scalar_is_finite(ss)) cpu_flag(o);
        float r = scalar_rms_factor(ss, (int)a->n, a->eps);
        for (uint32_t i = 0; i < a->n; i++) y[i] = (x[i] * r) * g[i];
    }
}

void reference_head_norm(const device *d, const op *o)
{
    (void)d;
    const op_head_norm *a = &o->head_norm;
    const float *g = cpu_at(a->g);
    for (uint32_t m = 0; m < o->m; m++)
        for (uint32_t h = 0; h < a->n_heads; h++) {
            float *x = (float *)cpu_at(a->x) + (size_t)m * a->ld_x + (size_t)h * a->head_dim;
            float ss = reference_sumsq256(x, a->head_dim);
            if (!scalar_is_finite(ss)) cpu_flag(o);
            float r = scalar_rms_factor(ss, (int)a->head_dim, a->eps);
            for (uint32_t i = 0; i < a->head_dim; i++) x[i] = (x[i] * r) * g[i];
        }
}

// ---- quantisation

float reference_quant(const float *x, uint32_t n, int8_t *codes, float *scale)
{
    float m = reference_absmax(x, n);
    bool is_small = !(m >= SCALAR_QUANT_FLOOR);
    float multiplier = is_small ? SCALAR_QUANT_SMALL : scalar_div(127.0f, m);
    for (uint32_t i = 0; i < n; i++) codes[i] = (int8_t)scalar_code(x[i] * multiplier);
    *scale = scalar_div(is_small ? SCALAR_QUANT_FLOOR : m, 127.0f);
    return m;
}

// The second term: what hi * a leaves of x, in units of a / 254.
static void quantize_rest(const float *x, uint32_t n, const int8_t *hi, float a, int8_t *lo, float *lo_scale)
{
    float multiplier = scalar_div(254.0f, a);
    for (uint32_t i = 0; i < n; i++) {
        float rest = scalar_fma(-(float)hi[i], a, x[i]);
        lo[i] = (int8_t)scalar_code(rest * multiplier);
    }
    *lo_scale = scalar_div(a, 254.0f);
}

float reference_quant2(const float *x, uint32_t n, int8_t *hi, float *hi_scale, int8_t *lo, float *lo_scale)
{
    float m = reference_quant(x, n, hi, hi_scale);
    quantize_rest(x, n, hi, *hi_scale, lo, lo_scale);
    return m;
}

float reference_quant2_floor(const float *x, uint32_t n, float floor, int8_t *hi, float *hi_scale, int8_t *lo,
                             float *lo_scale)
{
    float m = reference_absmax(x, n);
    float c = m >= floor ? m : floor;
    float multiplier = scalar_div(127.0f, c);
    for (uint32_t i = 0; i < n; i++) hi[i] = (int8_t)scalar_code(x[i] * multiplier);
    *hi_scale = scalar_div(c, 127.0f);
    quantize_rest(x, n, hi, *hi_scale, lo, lo_scale);
    return m;
}

// Completes a row of codes: zeros up to the row's stride, and the sum.
static int32_t finish_codes(int8_t *codes, uint32_t n, uint32_t ld)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += codes[i];
    for (uint32_t i = n; i < ld; i++) codes[i] = 0;
    return sum;
}

void reference_quant_op(const device *d, const op *o)
{
    (void)d;
    const op_quant *a = &o->quant;
    float *scale = cpu_at(a->y.scale);
    int32_t *sum = cpu_at(a->y.sum);
    for (uint32_t m = 0; m < o->m; m++) {
        const float *x = (const float *)cpu_at(a->x) + (size_t)m * a->ld_x;
        int8_t *codes = (int8_t *)cpu_at(a->y.codes) + (size_t)m * a->y.ld;
        if (!scalar_is_finite(reference_quant(x, a->n, codes, &scale[m]))) cpu_flag(o);
        sum[m] = finish_codes(codes, a->n, a->y.ld);
    }
}

void reference_quant2_op(const device *d, const op *o)
{
    (void)d;
    const op_quant *a = &o->quant;
    float *hi_scale = cpu_at(a->y.scale), *lo_scale = cpu_at(a->y.lo_scale);
    int32_t *hi_sum = cpu_at(a->y.sum), *lo_sum = cpu_at(a->y.lo_sum);
    for (uint32_t m = 0; m < o->m; m++) {
        const float *x = (const float *)cpu_at(a->x) + (size_t)m * a->ld_x;
        int8_t *hi = (int8_t *)cpu_at(a->y.codes) + (size_t)m * a->y.ld;
        int8_t *lo = (int8_t *)cpu_at(a->y.lo_codes) + (size_t)m * a->y.ld;
        if (!scalar_is_finite(reference_quant2(x, a->n, hi, &hi_scale[m], lo, &lo_scale[m]))) cpu_flag(o);
        hi_sum[m] = finish_codes(hi, a->n, a->y.ld);
        lo_sum[m] = finish_codes(lo, a->n, a->y.ld);
    }
}

void reference_norm_quant(const device *d, const op *o)
{
    (void)d;
    const op_norm_quant *a = &o->norm_quant;
    const float *g = cpu_at(a->g);
    float *scale = cpu_at(a->y.scale);
    int32_t *sum = cpu_at(a->y.sum);
    for (uint32_t row = 0; row < o->m; row++) {
        const float *x = (const float *)cpu_at(a->x) + (size_t)row * a->ld_x;
        int8_t *codes = (int8_t *)cpu_at(a->y.codes) + (size_t)row * a->y.ld;

        float ss = reference_sumsq256(x, a->n);
        float r = scalar_rms_factor(ss, (int)a->n, a->eps);
        scalar_u32 max = 0; // absmax of t_i = x_i * g_i
        for (uint32_t i = 0; i < a->n; i++) {
            scalar_u32 magnitude = scalar_magnitude(x[i] * g[i]);
            if (magnitude > max) max = magnitude;
        }
        float absmax = scalar_as_float(max);
        if (!scalar_is_finite(ss) || !scalar_is_finite(absmax)) cpu_flag(o);

        float m = r * absmax;
        if (m >= SCALAR_QUANT_FLOOR) {
            float multiplier = scalar_div(127.0f, absmax); // r cancels
            for (uint32_t i = 0; i < a->n; i++) codes[i] = (int8_t)scalar_code((x[i] * g[i]) * multiplier);
            scale[row] = scalar_div(m, 127.0f);
        } else {
            for (uint32_t i = 0; i < a->n; i++)
                codes[i] = (int8_t)scalar_code(((x[i] * g[i]) * r) * SCALAR_QUANT_SMALL);
            scale[row] = scalar_div(SCALAR_QUANT_FLOOR, 127.0f);
        }
        sum[row] = finish_codes(codes, a->n, a->y.ld);
    }
}
