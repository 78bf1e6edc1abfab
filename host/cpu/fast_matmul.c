// Fast op: ternary_mm; with one scale along K here, with several in fast_groups.c. Rows of w are shared out by row
// groups of 16; each worker walks blocks of up to BLOCK_ROWS rows, and within a block up to 8 activation columns
// (tokens, or their terms) at a time against pieces of K small enough that the columns, put into the layout's order on
// the stack, stay in the first-level cache while the block's rows pass over them. So for one token the weights stream
// through once, and for many tokens each decoded weight serves 8 columns and each block of weights all of M from the
// second-level cache.
#include <string.h>

#include "fast.h"

#define BLOCK_GROUPS 16u // the more, the rarer are activations put into order; these weights fit a second-level cache
#define BLOCK_ROWS   (BLOCK_GROUPS * TERNARY_ROWS)
#define GRAIN_GROUPS 4u     // a chunk of work is a multiple
#define LINE         64u    // bytes that come from memory together
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
    float row_scale[BLOCK_ROWS];
    int32_t sums[BLOCK_ROWS * TERNARY_MAX_X]; // [group][column][row of the group], of codes times activations
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

// What becomes of the products of n rows of a row group, the first of them row r; y: the token's row.
static void put(const product *p, const float *products, uint32_t r, uint32_t n, float *y)
{
    switch (p->o->ternary_mm.epilogue) {
    case EPILOGUE_STORE: memcpy(y + r, products, n * sizeof *y); return;
    case EPILOGUE_ADD:
        for (uint32_t i = 0; i < n; i++) y[r + i] = y[r + i] + products[i];
        return;
    case EPILOGUE_RELU2: p->kernels->gate_relu2(products, products + GATED_TURN, GATED_TURN, y + r / 2); return;
    case EPILOGUE_SILU: p->kernels->gate_silu(products, products + GATED_TURN, GATED_TURN, y + r / 2); return;
    }
}

// The sums of a token for the rows of the block: those of its first term, then those of its second behind them.
static void finish_token(const product *p, const working_set *s, uint32_t column, float *y)
{
    const op_ternary_mm *a = &p->o->ternary_mm;
    const uint32_t m = (s->column + column) / p->terms;
    const float scale = ((const float *)cpu_at(a->x.scale))[m];
    const int32_t sum = column_sum(p, s->column + column);
    const bool has_two = p->terms == 2;
    const float lo_scale = has_two ? ((const float *)cpu_at(a->x.lo_scale))[m] : 0.0f;
    const int32_t lo_sum = has_two ? column_sum(p, s->column + column + 1) : 0;
    for (uint32_t r = 0; r < s->n_rows; r += TERNARY_ROWS) {
        const int32_t *hi = s->sums + r * s->n_x + TERNARY_ROWS * column, *lo = hi + TERNARY_ROWS;
        const float *w = s->row_scale + r;
        uint32_t n = s->n_rows - r < TERNARY_ROWS ? s->n_rows - r : TERNARY_ROWS;
        float values[TERNARY_ROWS];
        if (!has_two)
            for (uint32_t i = 0; i < n; i++) values[i] = scalar_ternary(hi[i] - sum, scale, w[i]);
        else
            for (uint32_t i = 0; i < n; i++)
                values[i] = scalar_ternary2(hi[i] - sum, lo[i] - lo_sum, scale, lo_scale, w[i]);
        put(p, values, s->row + r, n, y);
    }
}

static void finish(const product *p, const working_set *s)
{
    const op_ternary_mm *a = &p->o->ternary_mm;
    for (uint32_t i = 0; i < s->n_x && s->column + i < p->n_columns; i += p->terms)
        finish_token(p, s, i, fast_row_out(a->y, a->ld_y, (s->column + i) / p->terms));
}

static const float *scale_of(const product *p, uint32_t row)
{
    return p->w->scale.values + ternary_scale_set(&p->w->scale, row);
}

// What many tokens share does not stay in the second-level cache, so the codes that come next and the outputs of row
// group `group` are asked for while that group is multiplied: each group asks for its share of the codes.
static void ask_ahead(const product *p, const working_set *s, uint32_t group, uint32_t n_groups)
{
    const op_ternary_mm *a = &p->o->ternary_mm;
    const bool is_last = s->end == p->n_granules;
    const uint32_t column = is_last ? s->column + s->n_x : s->column, first = is_last ? 0 : s->end;
    const size_t most = (size_t)(p->n_granules - first) * p->granule, n = s->x_stride < most ? s->x_stride : most;
    for (uint32_t c = column; c < column + s->n_x && c < p->n_columns; c++) {
        const int8_t *codes = column_codes(p, c) + p->granule * (size_t)first;
        for (size_t i = n * group / n_groups; i < n * (group + 1) / n_groups; i += LINE) __builtin_prefetch(codes + i);
    }
    const uint32_t row = s->row + group * TERNARY_ROWS, at = epilogue_gates(a->epilogue) ? row / 2 : row;
    for (uint32_t c = s->column; is_last && c < s->column + s->n_x && c < p->n_columns; c += p->terms)
        __builtin_prefetch(fast_row_out(a->y, a->ld_y, c / p->terms) + at, 1);
}

// Scales that each row has of its own come from memory while the block is multiplied.
static void ask_for_scales(const product *p, const working_set *s)
{
    for (uint32_t r = 0; r < s->n_rows; r += TERNARY_ROWS) __builtin_prefetch(scale_of(p, s->row + r));
}

static void multiply_columns(const product *p, working_set *s, uint32_t column, uint32_t n_x)
{
    uint32_t n_groups = (s->n_rows + TERNARY_ROWS - 1) / TERNARY_ROWS;
    memset(s->sums, 0, n_groups * TERNARY_ROWS * n_x * sizeof *s->sums);
    for (uint32_t first = 0; first < p->n_granules; first = s->end) {
        load_columns(p, s, column, n_x, first);
        for (uint32_t g = 0; g < n_groups; g++) {
            if (p->n_columns > 1) ask_ahead(p, s, g, n_groups);
            add_products(p, s, g, s->first, s->end);
        }
    }
    for (uint32_t r = 0; column == 0 && r < s->n_rows; r++) s->row_scale[r] = *scale_of(p, s->row + r);
    finish(p, s);
}

// ---- the op ----

// Row groups [begin, end).
static void multiply_rows(void *context, uint32_t begin, uint32_t end)
{
    const product *p = context;
    working_set s;
    s.n_x = 0; // nothing loaded
    for (uint32_t group = begin; group < end; group += BLOCK_GROUPS) {
        uint32_t row_end = (group + BLOCK_GROUPS < end ? group + BLOCK_GROUPS : end) * TERNARY_ROWS;
        if (row_end > p->w->n_rows) row_end = p->w->n_rows;
        s.row = group * TERNARY_ROWS;
        s.n_rows = row_end - s.row;
        ask_for_scales(p, &s);
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
    team_run(d->team, (w->n_rows + TERNARY_ROWS - 1) / TERNARY_ROWS, GRAIN_GROUPS, multiply_rows, &p);
}
