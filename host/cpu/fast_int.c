// Fast op: int_mm. Blocks of rows small enough for the first-level cache meet one token after the other, so that the
// weights stream from memory once whatever M is. A kernel takes one row and the two terms of up to four tokens.
#include "fast.h"

#define BLOCK_ROWS 16u
#define MAX_TOKENS (INT_MAX_X / 2)
#define PIECE      128u // groups of INT4 summed at a time
#define PARTS      8u   // of the sum over groups, see groups() in ops.h

typedef struct product {
    const cpu_kernels *kernels;
    const op *o;
    const weights *w;
} product;

// The terms of tokens [m, m + n): columns hi and lo of each, from column `first` on.
typedef struct token_columns {
    const int8_t *x[INT_MAX_X];
    int32_t sum[INT_MAX_X]; // of the whole columns
} token_columns;

static token_columns columns_of(const product *p, uint32_t m, uint32_t n, uint32_t first)
{
    const quantized *x = &p->o->int_mm.x;
    token_columns t;
    for (uint32_t i = 0; i < n; i++) {
        t.x[2 * i] = (const int8_t *)cpu_at(x->codes) + (size_t)(m + i) * x->ld + first;
        t.x[2 * i + 1] = (const int8_t *)cpu_at(x->lo_codes) + (size_t)(m + i) * x->ld + first;
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
    token_columns t = columns_of(p, m, n, 0);
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

// Continues the chains of the parts over groups [first, first + n): each part's own groups in ascending order.
static void fold_groups(const float *v, const float *d, uint32_t first, uint32_t n, uint32_t n_groups, float *parts)
{
    for (uint32_t part = 0; part < PARTS; part++) {
        uint32_t begin = (uint32_t)((uint64_t)part * n_groups / PARTS);
        uint32_t end = (uint32_t)((uint64_t)(part + 1) * n_groups / PARTS);
        if (begin < first) begin = first;
        if (end > first + n) end = first + n;
        for (uint32_t g = begin; g < end; g++) parts[part] = scalar_fma(v[g - first], d[g - first], parts[part]);
    }
}

static void int4_block(const product *p, uint32_t begin, uint32_t end, uint32_t m)
{
    const weights *w = p->w;
    uint32_t n_groups = w->n_cols / DENSE_GROUP;
    float parts[BLOCK_ROWS][PARTS] = {{0}}, a = hi_scale(p, m), b = lo_scale(p, m);
    for (uint32_t first = 0; first < n_groups; first += PIECE) {
        uint32_t n = n_groups - first < PIECE ? n_groups - first : PIECE;
        token_columns t = columns_of(p, m, 1, first * DENSE_GROUP);
        int32_t bias[2 * PIECE]; // what codes stored as code + 8 add: 8 times the sum of a group's activations
        for (uint32_t i = 0; i < 2; i++) p->kernels->int4_bias(t.x[i], n, bias + i * PIECE);
        for (uint32_t r = begin; r < end; r++) {
            const uint8_t *row = w->data + r * w->row_bytes;
            const uint8_t *scales = row + dense_column_offset(DENSE_INT4, w->n_cols) + 2 * (size_t)first;
            float v[PIECE], d[PIECE];
            p->kernels->dense_to_float(DENSE_F16, scales, n, d);
            p->kernels->int4_groups(row + 32 * (size_t)first, t.x[0], t.x[1], n, bias, bias + PIECE, a, b, v);
            fold_groups(v, d, first, n, n_groups, parts[r - begin]);
        }
    }
    for (uint32_t r = begin; r < end; r++) {
        const float *s = parts[r - begin];
        store(p, r, m, ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])));
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
