// Fast op: ternary_mm with several scales along K. Sums of a group are 16 rows side by side, in a vector's lanes, so
// that nothing is added across lanes and the chains of groups() advance 16 rows at a time. A worker walks blocks of
// rows, up to 8 activation columns (tokens, or their terms) at a time, group by group.
#include <string.h>

#include "fast.h"

#define BLOCK_GROUPS 4u // row groups that share the sums of activations
#define PARTS        8u // of groups(), see ops.h

typedef struct product {
    const cpu_kernels *kernels;
    const op *o;
    const weights *w;
    uint32_t n_granules, terms, n_columns; // n_columns = M * terms: column c is term c % terms of token c / terms
    uint32_t group_granules;               // granules per scale group
} product;

// Up to 8 columns from `column` on.
typedef struct columns {
    uint32_t column, n; // n_x of the kernel is 1, 2, 4 or 8 and at least n
    uint32_t n_x;
    const int8_t *codes[TERNARY_MAX_X]; // columns beyond the last repeat it
    int32_t sum[TERNARY_MAX_X];         // of the codes of the group at hand
} columns;

// Chains of one row group: [token][part][row].
typedef float chains[TERNARY_MAX_X][PARTS][TERNARY_ROWS];

static const int8_t *column_codes(const product *p, uint32_t column)
{
    const quantized *x = &p->o->ternary_mm.x;
    const int8_t *codes = cpu_at(column % p->terms == 0 ? x->codes : x->lo_codes);
    return codes + (size_t)(column / p->terms) * x->ld;
}

static void find_columns(const product *p, uint32_t column, columns *out)
{
    uint32_t left = p->n_columns - column;
    out->column = column;
    out->n_x = left >= 5 ? 8 : left >= 3 ? 4 : left;
    out->n = left < out->n_x ? left : out->n_x;
    for (uint32_t i = 0; i < out->n_x; i++) out->codes[i] = column_codes(p, column + (i < out->n ? i : out->n - 1));
}

// The part whose share [part * G / 8, (part + 1) * G / 8) holds group g.
static uint32_t part_of(const product *p, uint32_t g)
{
    return (uint32_t)((PARTS * ((uint64_t)g + 1) - 1) / p->w->scale.n_groups);
}

// The scales of each row of row group `group`; rows beyond the last take those of the last.
static void find_scales(const product *p, uint32_t group, const float *out[TERNARY_ROWS])
{
    const ternary_scale *scale = &p->w->scale;
    for (uint32_t r = 0; r < TERNARY_ROWS; r++) {
        uint32_t row = group * TERNARY_ROWS + r, last = p->w->n_rows - 1;
        out[r] = scale->values + (size_t)ternary_scale_set(scale, row < last ? row : last) * scale->n_groups;
    }
}

static void add_group(const product *p, const columns *x, uint32_t group, uint32_t g, const float d[TERNARY_ROWS],
                      chains t)
{
    const quantized *q = &p->o->ternary_mm.x;
    int32_t sums[TERNARY_MAX_X * TERNARY_ROWS] = {0};
    ternary_stretch stretch = {
        .group = p->w->data + (size_t)group * TERNARY_ROWS * p->n_granules * 16,
        .n_granules = p->n_granules,
        .first = g * p->group_granules,
        .end = g == p->w->scale.n_groups - 1 ? p->n_granules : (g + 1) * p->group_granules,
        .x = x->codes,
    };
    p->kernels->ternary_columns(&stretch, x->n_x, sums);
    for (uint32_t i = 0; i < x->n; i += p->terms) {
        uint32_t m = (x->column + i) / p->terms;
        bool two = p->terms == 2;
        p->kernels->ternary_fold(sums + i * TERNARY_ROWS, x->sum[i], ((const float *)cpu_at(q->scale))[m],
                                 two ? sums + (i + 1) * TERNARY_ROWS : NULL, two ? x->sum[i + 1] : 0,
                                 two ? ((const float *)cpu_at(q->lo_scale))[m] : 0.0f, d, t[i][part_of(p, g)]);
    }
}

static void finish(const product *p, const columns *x, uint32_t group, chains t)
{
    const op_ternary_mm *a = &p->o->ternary_mm;
    uint32_t row = group * TERNARY_ROWS, n_rows = p->w->n_rows - row < TERNARY_ROWS ? p->w->n_rows - row : TERNARY_ROWS;
    for (uint32_t i = 0; i < x->n; i += p->terms) {
        float *y = fast_row_out(a->y, a->ld_y, (x->column + i) / p->terms) + row;
        for (uint32_t r = 0; r < n_rows; r++) {
            float value = ((t[i][0][r] + t[i][1][r]) + (t[i][2][r] + t[i][3][r])) +
                          ((t[i][4][r] + t[i][5][r]) + (t[i][6][r] + t[i][7][r]));
            y[r] = a->epilogue == EPILOGUE_ADD ? y[r] + value : value;
        }
    }
}

// Row groups [begin, end), at most BLOCK_GROUPS.
static void multiply_block(const product *p, uint32_t begin, uint32_t end, uint32_t column, columns *x)
{
    chains t[BLOCK_GROUPS];
    const float *scales[BLOCK_GROUPS][TERNARY_ROWS];
    find_columns(p, column, x);
    memset(t, 0, sizeof t);
    for (uint32_t group = begin; group < end; group++) find_scales(p, group, scales[group - begin]);
    for (uint32_t g = 0; g < p->w->scale.n_groups; g++) {
        uint32_t first = g * p->group_granules * TERNARY_GRANULE, n = p->group_granules * TERNARY_GRANULE;
        if (g == p->w->scale.n_groups - 1) n = p->n_granules * TERNARY_GRANULE - first;
        for (uint32_t i = 0; i < x->n; i++) x->sum[i] = p->kernels->sum_codes(x->codes[i] + first, n);
        for (uint32_t group = begin; group < end; group++) {
            float d[TERNARY_ROWS];
            for (uint32_t r = 0; r < TERNARY_ROWS; r++) d[r] = scales[group - begin][r][g];
            add_group(p, x, group, g, d, t[group - begin]);
        }
    }
    for (uint32_t group = begin; group < end; group++) finish(p, x, group, t[group - begin]);
}

static void multiply_groups(void *context, uint32_t begin, uint32_t end)
{
    const product *p = context;
    columns x;
    for (uint32_t group = begin; group < end; group += BLOCK_GROUPS)
        for (uint32_t column = 0; column < p->n_columns; column += x.n)
            multiply_block(p, group, group + BLOCK_GROUPS < end ? group + BLOCK_GROUPS : end, column, &x);
}

// ---- groups that do not end on granules: element by element, no known model has them at a size that matters ----

static float ragged_element(const product *p, uint32_t row, uint32_t m)
{
    const op_ternary_mm *a = &p->o->ternary_mm;
    const ternary_scale *scale = &p->w->scale;
    const float *d = scale->values + (size_t)ternary_scale_set(scale, row) * scale->n_groups;
    const int8_t *hi = column_codes(p, m * p->terms), *lo = p->terms == 2 ? column_codes(p, m * 2 + 1) : NULL;
    float t[PARTS] = {0}, x_scale = ((const float *)cpu_at(a->x.scale))[m];
    for (uint32_t g = 0; g < scale->n_groups; g++) {
        uint32_t first = g * scale->group;
        uint32_t end = p->w->n_cols - first > scale->group ? first + scale->group : p->w->n_cols;
        int32_t hi_sum = 0, lo_sum = 0;
        for (uint32_t c = first; c < end; c++) {
            int trit = t64_code(p->w->data, p->w->n_cols, row, c) - 1;
            hi_sum += trit * hi[c];
            if (lo != NULL) lo_sum += trit * lo[c];
        }
        float v = (float)hi_sum;
        v = lo == NULL ? v * x_scale
                       : scalar_fma(v, x_scale, (float)lo_sum * ((const float *)cpu_at(a->x.lo_scale))[m]);
        float *chain = &t[part_of(p, g)];
        *chain = scalar_fma(v, d[g], *chain);
    }
    return ((t[0] + t[1]) + (t[2] + t[3])) + ((t[4] + t[5]) + (t[6] + t[7]));
}

static void multiply_ragged(void *context, uint32_t begin, uint32_t end)
{
    const product *p = context;
    const op_ternary_mm *a = &p->o->ternary_mm;
    for (uint32_t row = begin * TERNARY_ROWS; row < end * TERNARY_ROWS && row < p->w->n_rows; row++)
        for (uint32_t m = 0; m < p->o->m; m++) {
            float value = ragged_element(p, row, m), *y = fast_row_out(a->y, a->ld_y, m) + row;
            *y = a->epilogue == EPILOGUE_ADD ? *y + value : value;
        }
}

void fast_ternary_groups(const device *d, const op *o)
{
    const weights *w = o->ternary_mm.w;
    product p = {
        .kernels = d->kernels,
        .o = o,
        .w = w,
        .n_granules = ternary_padded(w->n_cols) / TERNARY_GRANULE,
        .terms = o->ternary_mm.x.lo_codes.buffer != NULL ? 2 : 1,
        .group_granules = w->scale.group / TERNARY_GRANULE,
    };
    p.n_columns = o->m * p.terms;
    team_fn multiply = w->scale.group % TERNARY_GRANULE == 0 ? multiply_groups : multiply_ragged;
    team_run(d->team, (w->n_rows + TERNARY_ROWS - 1) / TERNARY_ROWS, BLOCK_GROUPS, multiply, &p);
}
