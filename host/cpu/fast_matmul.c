// Fast op: ternary_mm; with one scale along K here, with several in fast_groups.c. Rows of w are shared out by row
// groups of 16; each worker walks blocks of BLOCK_ROWS rows, and within a block up to 8 activation columns (tokens, or
// their terms) at a time against pieces of K small enough that the columns, put into the layout's order on the stack,
// stay in the first-level cache while the block's rows pass over them. So for one token the weights stream through
// once, and for many tokens each decoded weight serves 8 columns and each block of weights all of M from the
// second-level cache.
#include <string.h>

#include "fast.h"

#define BLOCK_ROWS   64u
#define BLOCK_GROUPS (BLOCK_ROWS / TERNARY_ROWS)
#define X_BYTES      16384u // activations in the layout's order held at a time, all columns together

typedef struct product {
    const cpu_kernels *kernels;
    const op *o;
    const weights *w;
    uint32_t granule, n_granules; // columns of a granule, granules of a row
    uint32_t terms, n_columns;    // n_columns = M * terms: column c is term c % terms of token c / terms
} product;

// What a worker has at hand.
typedef struct working_set {
    // n_x columns from `column` on, granules [first, end) of them; columns beyond the last are zeros.
    uint32_t column, n_x, first, end;
    size_t x_stride;
    _Alignas(64) int8_t x[X_BYTES];

    uint32_t row, n_rows; // the block
    const float *row_scale[BLOCK_ROWS];
    int32_t sums[BLOCK_ROWS * TERNARY_MAX_X]; // [row][column], of codes times activations
} working_set;

static const int8_t *column_codes(const product *p, uint32_t column)
{
    const quantized *x = &p->o->ternary_mm.x;
    const int8_t *codes = cpu_at(column % p->terms == 0 ? x->codes : x->lo_codes);
    return codes + (size_t)(column / p->terms) * x->ld;
}

static int32_t column_sum(const product *p, uint32_t column)
{
    const quantized *x = &p->o->ternary_mm.x;
    return ((const int32_t *)cpu_at(column % p->terms == 0 ? x->sum : x->lo_sum))[column / p->terms];
}

// The kernels take 1, 2, 4 or 8 columns; 3 and 7 are cheaper with a column of zeros than in two passes.
static uint32_t columns_at_once(uint32_t left) { return left >= 7 ? 8 : left >= 3 ? 4 : left; }

// Whole quads of granules (kernels.h).
static uint32_t granules_at_once(const product *p, uint32_t n_x) { return X_BYTES / p->granule / n_x / 4 * 4; }

static void load_columns(const product *p, working_set *s, uint32_t column, uint32_t n_x, uint32_t first)
{
    if (s->n_x == n_x && s->column == column && s->first == first) return;
    uint32_t most = granules_at_once(p, n_x), count = p->n_granules - first < most ? p->n_granules - first : most;
    s->column = column;
    s->n_x = n_x;
    s->first = first;
    s->end = first + count;
    s->x_stride = (size_t)most * p->granule;
    for (uint32_t i = 0; i < n_x; i++) {
        int8_t *to = s->x + i * s->x_stride;
        if (column + i >= p->n_columns) {
            memset(to, 0, s->x_stride);
            continue;
        }
        const int8_t *codes = column_codes(p, column + i) + p->granule * (size_t)first;
        p->kernels->ternary_order[p->w->layout](codes, count, to);
    }
}

// Adds the products of granules [first, end), all held in s->x, for row group `group` of the block.
static void add_products(const product *p, working_set *s, uint32_t group, uint32_t first, uint32_t end)
{
    size_t group_bytes = (size_t)TERNARY_ROWS * p->n_granules * 16;
    ternary_span span = {
        .group = p->w->data + (s->row / TERNARY_ROWS + group) * group_bytes,
        .n_granules = p->n_granules,
        .first = first,
        .end = end,
        .x = s->x,
        .x_first = s->first,
        .x_stride = s->x_stride,
    };
    p->kernels->ternary_sums[p->w->layout](&span, s->n_x, s->sums + group * TERNARY_ROWS * s->n_x);
}

static void finish(const product *p, working_set *s)
{
    const op_ternary_mm *a = &p->o->ternary_mm;
    for (uint32_t i = 0; i < s->n_x && s->column + i < p->n_columns; i += p->terms) {
        uint32_t m = (s->column + i) / p->terms;
        float *y = fast_row_out(a->y, a->ld_y, m) + s->row;
        float scale = ((const float *)cpu_at(a->x.scale))[m];
        int32_t sum = column_sum(p, s->column + i);
        if (p->terms == 1) {
            for (uint32_t r = 0; r < s->n_rows; r++) {
                float value = scalar_ternary(s->sums[r * s->n_x + i] - sum, scale, *s->row_scale[r]);
                y[r] = a->adds ? y[r] + value : value;
            }
            continue;
        }
        float lo_scale = ((const float *)cpu_at(a->x.lo_scale))[m];
        int32_t lo_sum = column_sum(p, s->column + i + 1);
        for (uint32_t r = 0; r < s->n_rows; r++) {
            const int32_t *sums = s->sums + r * s->n_x + i;
            float value = scalar_ternary2(sums[0] - sum, sums[1] - lo_sum, scale, lo_scale, *s->row_scale[r]);
            y[r] = a->adds ? y[r] + value : value;
        }
    }
}

static void multiply_columns(const product *p, working_set *s, uint32_t column, uint32_t n_x)
{
    memset(s->sums, 0, sizeof s->sums);
    for (uint32_t first = 0; first < p->n_granules; first = s->end) {
        load_columns(p, s, column, n_x, first);
        for (uint32_t g = 0; g * TERNARY_ROWS < s->n_rows; g++) add_products(p, s, g, s->first, s->end);
    }
    finish(p, s);
}

// ---- the op ----

// Row groups [begin, end).
static void multiply_rows(void *context, uint32_t begin, uint32_t end)
{
    const product *p = context;
    const ternary_scale *scale = &p->w->scale;
    working_set s;
    s.n_x = 0; // nothing loaded
    for (uint32_t group = begin; group < end; group += BLOCK_GROUPS) {
        uint32_t row_end = (group + BLOCK_GROUPS < end ? group + BLOCK_GROUPS : end) * TERNARY_ROWS;
        if (row_end > p->w->n_rows) row_end = p->w->n_rows;
        s.row = group * TERNARY_ROWS;
        s.n_rows = row_end - s.row;
        for (uint32_t r = 0; r < s.n_rows; r++) s.row_scale[r] = scale->values + ternary_scale_set(scale, s.row + r);
        for (uint32_t column = 0; column < p->n_columns;) {
            uint32_t n_x = columns_at_once(p->n_columns - column);
            multiply_columns(p, &s, column, n_x);
            column += n_x;
        }
    }
}

void fast_ternary_mm(const device *d, const op *o)
{
    const weights *w = o->ternary_mm.w;
    if (w->scale.n_groups > 1) {
        fast_ternary_groups(d, o);
        return;
    }
    product p = {
        .kernels = d->kernels,
        .o = o,
        .w = w,
        .granule = ternary_granule(w->layout),
        .n_granules = ternary_granules(w->layout, w->n_cols),
        .terms = o->ternary_mm.x.lo_codes.buffer != NULL ? 2 : 1,
    };
    p.n_columns = o->m * p.terms;
    team_run(d->team, (w->n_rows + TERNARY_ROWS - 1) / TERNARY_ROWS, BLOCK_GROUPS, multiply_rows, &p);
}
