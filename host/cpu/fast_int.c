// Fast op: int_mm. Blocks of rows small enough for the first-level cache meet one token after the other, so that the
// weights stream from memory once whatever M is. A kernel takes one row and the two terms of up to four tokens.
#include <string.h>

#include "fast.h"

#define BLOCK_ROWS 16u
#define MAX_TOKENS (INT_MAX_X / 2)
#define MAX_GROUPS (DENSE_INTEGER_MAX_COLUMNS / DENSE_GROUP)
#define PARTS      8u // of the sum over groups, see groups() in ops.h

typedef struct product {
    const cpu_kernels *kernels;
    const op *o;
    const weights *w;
} product;

// The terms of tokens [m, m + n): columns hi and lo of each.
typedef struct token_columns {
    const int8_t *x[INT_MAX_X];
    int32_t sum[INT_MAX_X]; // of the whole columns
} token_columns;

static token_columns columns_of(const product *p, uint32_t m, uint32_t n)
{
    const quantized *x = &p->o->int_mm.x;
    token_columns t;
    for (uint32_t i = 0; i < n; i++) {
        t.x[2 * i] = (const int8_t *)cpu_at(x->codes) + (size_t)(m + i) * x->ld;
        t.x[2 * i + 1] = (const int8_t *)cpu_at(x->lo_codes) + (size_t)(m + i) * x->ld;
        t.sum[2 * i] = ((const int32_t *)cpu_at(x->sum))[m + i];
        t.sum[2 * i + 1] = ((const int32_t *)cpu_at(x->lo_sum))[m + i];
    }
    return t;
}

static void store(const product *p, uint32_t row, uint32_t m, float value)
{
    const op_int_mm *a = &p->o->int_mm;
    if (a->check_finite && !scalar_is_finite(value)) cpu_flag(p->o);
    fast_row_out(a->y, a->ld_y, m)[row] = value;
}

static float hi_scale(const product *p, uint32_t m) { return ((const float *)cpu_at(p->o->int_mm.x.scale))[m]; }
static float lo_scale(const product *p, uint32_t m) { return ((const float *)cpu_at(p->o->int_mm.x.lo_scale))[m]; }

static void int8_block(const product *p, uint32_t begin, uint32_t end, uint32_t m, uint32_t n)
{
    const weights *w = p->w;
    token_columns t = columns_of(p, m, n);
    for (uint32_t r = begin; r < end; r++) {
        const uint8_t *row = w->data + r * w->row_bytes;
        int32_t sums[INT_MAX_X];
        float scale;
        p->kernels->int8_sums((const int8_t *)row, t.x, t.sum, 2 * n, w->n_cols, sums);
        dense_group_scales(DENSE_INT8, row, w->n_cols, 0, 1, &scale);
        for (uint32_t i = 0; i < n; i++)
            store(p, r, m + i,
                  scalar_ternary2(sums[2 * i], sums[2 * i + 1], hi_scale(p, m + i), lo_scale(p, m + i), scale));
    }
}

// The groups of INT4 as groups() walks them: part p from first[p] on, n_steps of every part, then one more of those
// that `has_rest` names.
typedef struct parts_plan {
    uint32_t first[PARTS], rest[PARTS];
    bool has_rest[PARTS], any_rest;
    uint32_t n_steps;
} parts_plan;

static parts_plan plan_parts(uint32_t n_groups)
{
    parts_plan plan = {.n_steps = n_groups / PARTS};
    for (uint32_t p = 0; p < PARTS; p++) {
        uint32_t end = (p + 1) * n_groups / PARTS;
        plan.first[p] = p * n_groups / PARTS;
        plan.has_rest[p] = end - plan.first[p] > plan.n_steps;
        plan.rest[p] = plan.has_rest[p] ? end - 1 : 0; // any group does for a part that takes none
        plan.any_rest |= plan.has_rest[p];
    }
    return plan;
}

static void int4_block(const product *p, uint32_t begin, uint32_t end, uint32_t m)
{
    const weights *w = p->w;
    uint32_t n_groups = w->n_cols / DENSE_GROUP;
    parts_plan plan = plan_parts(n_groups);
    token_columns t = columns_of(p, m, 1);
    float d[MAX_GROUPS];
    int32_t bias[2][MAX_GROUPS];
    int4_span span = {.d = d, .hi = t.x[0], .lo = t.x[1], .bias_hi = bias[0], .bias_lo = bias[1]};
    span.a = hi_scale(p, m);
    span.b = lo_scale(p, m);
    for (uint32_t i = 0; i < 2; i++) p->kernels->int4_bias(t.x[i], n_groups, bias[i]);
    for (uint32_t r = begin; r < end; r++) {
        float parts[PARTS] = {0}, last[PARTS];
        span.row = w->data + r * w->row_bytes;
        p->kernels->dense_to_float(DENSE_F16, span.row + dense_column_offset(DENSE_INT4, w->n_cols), n_groups, d);
        p->kernels->int4_parts(&span, plan.first, plan.n_steps, parts);
        if (plan.any_rest) {
            memcpy(last, parts, sizeof last);
            p->kernels->int4_parts(&span, plan.rest, 1, last);
            for (uint32_t i = 0; i < PARTS; i++) parts[i] = plan.has_rest[i] ? last[i] : parts[i];
        }
        store(p, r, m,
              ((parts[0] + parts[1]) + (parts[2] + parts[3])) + ((parts[4] + parts[5]) + (parts[6] + parts[7])));
    }
}

static void multiply_rows(void *context, uint32_t begin, uint32_t end)
{
    const product *p = context;
    for (uint32_t r = begin; r < end; r += BLOCK_ROWS) {
        uint32_t stop = end - r < BLOCK_ROWS ? end : r + BLOCK_ROWS;
        if (p->w->type == DENSE_INT8)
            for (uint32_t m = 0; m < p->o->m; m += MAX_TOKENS)
                int8_block(p, r, stop, m, p->o->m - m < MAX_TOKENS ? p->o->m - m : MAX_TOKENS);
        else
            for (uint32_t m = 0; m < p->o->m; m++) int4_block(p, r, stop, m);
    }
}

void fast_int_mm(const device *d, const op *o)
{
    product p = {d->kernels, o, o->int_mm.w};
    team_run(d->team, p.w->n_rows, BLOCK_ROWS, multiply_rows, &p);
}

void fast_integer_floats(const weights *w, uint32_t r, uint32_t first, uint32_t n, float *out)
{
    const uint8_t *row = w->data + r * w->row_bytes;
    for (uint32_t c = 0; c < n; c += DENSE_GROUP) {
        float scale;
        dense_group_scales(w->type, row, w->n_cols, (first + c) / DENSE_GROUP, 1, &scale);
        for (uint32_t i = 0; i < DENSE_GROUP; i++) out[c + i] = (float)dense_code(w->type, row, first + c + i) * scale;
    }
}
