// Fast ops: norms and quantisation of activations, rows shared out among the team.
#include <string.h>

#include "fast.h"

typedef struct row_job {
    const device *d;
    const op *o;
    void (*row)(const device *d, const op *o, uint32_t m);
} row_job;

static void run_rows(void *context, uint32_t begin, uint32_t end)
{
    const row_job *job = context;
    for (uint32_t m = begin; m < end; m++) job->row(job->d, job->o, m);
}

static void each_row(const device *d, const op *o, uint32_t n, void (*row)(const device *d, const op *o, uint32_t m))
{
    row_job job = {d, o, row};
    team_run(d->team, o->m, fast_grain(n), run_rows, &job);
}

static void norm_row(const device *d, const op *o, uint32_t m)
{
    const op_norm *a = &o->norm;
    const float *x = fast_row(a->x, a->ld_x, m);
    float ss = d->kernels->sumsq256(x, a->n);
    if (!scalar_is_finite(ss)) cpu_flag(o);
    d->kernels->norm(x, scalar_rms_factor(ss, (int)a->n, a->eps), cpu_at(a->g), a->n, fast_row_out(a->y, a->ld_y, m));
}

void fast_norm(const device *d, const op *o) { each_row(d, o, o->norm.n, norm_row); }

static void head_norm_row(const device *d, const op *o, uint32_t m)
{
    const op_head_norm *a = &o->head_norm;
    float *x = fast_row_out(a->x, a->ld_x, m);
    for (uint32_t h = 0; h < a->n_heads; h++, x += a->head_dim) {
        float ss = d->kernels->sumsq256(x, a->head_dim);
        if (!scalar_is_finite(ss)) cpu_flag(o);
        d->kernels->norm(x, scalar_rms_factor(ss, (int)a->head_dim, a->eps), cpu_at(a->g), a->head_dim, x);
    }
}

void fast_head_norm(const device *d, const op *o)
{
    each_row(d, o, o->head_norm.n_heads * o->head_norm.head_dim, head_norm_row);
}

float fast_quant_row(const cpu_kernels *k, const float *x, uint32_t n, int8_t *codes, float *scale, int32_t *sum)
{
    float m = scalar_as_float(k->absmax(x, n));
    bool is_small = !(m >= SCALAR_QUANT_FLOOR);
    *sum = k->codes(x, is_small ? SCALAR_QUANT_SMALL : scalar_div(127.0f, m), n, codes);
    *scale = scalar_div(is_small ? SCALAR_QUANT_FLOOR : m, 127.0f);
    return m;
}

// A row of codes inside its operand, its padding zeroed.
static int8_t *codes_row(const quantized *y, view codes, uint32_t m, uint32_t n)
{
    int8_t *row = (int8_t *)cpu_at(codes) + (size_t)m * y->ld;
    memset(row + n, 0, y->ld - n);
    return row;
}

static void quant_row(const device *d, const op *o, uint32_t m)
{
    const op_quant *a = &o->quant;
    float *scale = (float *)cpu_at(a->y.scale) + m;
    int32_t *sum = (int32_t *)cpu_at(a->y.sum) + m;
    const float *x = fast_row(a->x, a->ld_x, m);
    int8_t *hi = codes_row(&a->y, a->y.codes, m, a->n);
    if (!scalar_is_finite(fast_quant_row(d->kernels, x, a->n, hi, scale, sum))) cpu_flag(o);
    if (o->kind == OP_QUANT) return;

    int8_t *lo = codes_row(&a->y, a->y.lo_codes, m, a->n);
    ((int32_t *)cpu_at(a->y.lo_sum))[m] = d->kernels->codes_rest(x, hi, *scale, scalar_div(254.0f, *scale), a->n, lo);
    ((float *)cpu_at(a->y.lo_scale))[m] = scalar_div(*scale, 254.0f);
}

void fast_quant(const device *d, const op *o) { each_row(d, o, o->quant.n, quant_row); }

void fast_quant2(const device *d, const op *o) { each_row(d, o, o->quant.n, quant_row); }

static void norm_quant_row(const device *d, const op *o, uint32_t m)
{
    const op_norm_quant *a = &o->norm_quant;
    const float *x = fast_row(a->x, a->ld_x, m), *g = cpu_at(a->g);
    int8_t *codes = codes_row(&a->y, a->y.codes, m, a->n);
    float ss = d->kernels->sumsq256(x, a->n);
    float r = scalar_rms_factor(ss, (int)a->n, a->eps);
    float absmax = scalar_as_float(d->kernels->absmax_product(x, g, a->n));
    if (!scalar_is_finite(ss) || !scalar_is_finite(absmax)) cpu_flag(o);

    float max = r * absmax, scale;
    int32_t sum = 0;
    if (max >= SCALAR_QUANT_FLOOR) {
        sum = d->kernels->codes_product(x, g, scalar_div(127.0f, absmax), a->n, codes);
        scale = scalar_div(max, 127.0f);
    } else { // rare: a row of almost nothing
        for (uint32_t i = 0; i < a->n; i++)
            sum += codes[i] = (int8_t)scalar_code(((x[i] * g[i]) * r) * SCALAR_QUANT_SMALL);
        scale = scalar_div(SCALAR_QUANT_FLOOR, 127.0f);
    }
    ((float *)cpu_at(a->y.scale))[m] = scale;
    ((int32_t *)cpu_at(a->y.sum))[m] = sum;
}

void fast_norm_quant(const device *d, const op *o) { each_row(d, o, o->norm_quant.n, norm_quant_row); }
