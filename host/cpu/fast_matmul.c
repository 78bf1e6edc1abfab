// Fast op: ternary_mm. Rows of w are shared out by row groups of 16; each worker walks blocks of BLOCK_ROWS rows, and
// within a block up to 8 activation columns (tokens, or their terms) at a time against pieces of K small enough that
// the columns, put into the layout's order on the stack, stay in the first-level cache while the block's rows pass over
// them. So for one token the weights stream through once, and for many tokens each decoded weight serves 8 columns and
// each block of weights all of M from the second-level cache.
#include <string.h>

#include "fast.h"

#define BLOCK_ROWS   64u
#define BLOCK_GROUPS (BLOCK_ROWS / TERNARY_ROWS)
#define X_BYTES      16384u // activations in the layout's order held at a time, all columns together
#define PARTS        8u     // of the sum over groups, see groups() in ops.h

typedef struct product {
    const cpu_kernels *kernels;
    const op *o;
    const weights *w;
    uint32_t granule, n_granules; // columns of a granule, granules of a row
    uint32_t terms, n_columns;    // n_columns = M * terms: column c is term c % terms of token c / terms
    uint32_t group_granules;      // granules per scale group
} product;

// What a worker has at hand.
typedef struct working_set {
    // n_x columns from `column` on, granules [first, end) of them; columns beyond the last are zeros.
    uint32_t column, n_x, first, end;
    size_t x_stride;
    _Alignas(64) int8_t x[X_BYTES];
    int32_t
        granule_sum[X_BYTES / 64]; // of column i, granule g: [i * (end - first) + g - first]; only with several groups

    uint32_t row, n_rows; // the block
    const float *row_scale[BLOCK_ROWS];
    int32_t sums[BLOCK_ROWS * TERNARY_MAX_X];        // [row][column], of codes times activations
    float parts[BLOCK_ROWS * TERNARY_MAX_X * PARTS]; // [row][token][part]
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
            memset(s->granule_sum + i * count, 0, count * sizeof(int32_t));
            continue;
        }
        const int8_t *codes = column_codes(p, column + i) + p->granule * (size_t)first;
        p->kernels->ternary_order[p->w->layout](codes, count, to);
        for (uint32_t g = 0; p->group_granules < p->n_granules && g < count; g++) {
            int32_t sum = 0;
            for (uint32_t c = 0; c < 64; c++) sum += codes[64 * (size_t)g + c];
            s->granule_sum[i * count + g] = sum;
        }
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

// ---- one scale along K ----

static void finish_plain(const product *p, working_set *s)
{
    const op_ternary_mm *a = &p->o->ternary_mm;
    for (uint32_t i = 0; i < s->n_x && s->column + i < p->n_columns; i += p->terms) {
        uint32_t m = (s->column + i) / p->terms;
        float *y = fast_row_out(a->y, a->ld_y, m) + s->row;
        float scale = ((const float *)cpu_at(a->x.scale))[m];
        int32_t sum = column_sum(p, s->column + i);
        if (p->terms == 1) {
            for (uint32_t r = 0; r < s->n_rows; r++)
                y[r] = scalar_ternary(s->sums[r * s->n_x + i] - sum, scale, *s->row_scale[r]);
            continue;
        }
        float lo_scale = ((const float *)cpu_at(a->x.lo_scale))[m];
        int32_t lo_sum = column_sum(p, s->column + i + 1);
        for (uint32_t r = 0; r < s->n_rows; r++) {
            const int32_t *sums = s->sums + r * s->n_x + i;
            y[r] = scalar_ternary2(sums[0] - sum, sums[1] - lo_sum, scale, lo_scale, *s->row_scale[r]);
        }
    }
}

static void multiply_plain(const product *p, working_set *s, uint32_t column, uint32_t n_x)
{
    memset(s->sums, 0, sizeof s->sums);
    for (uint32_t first = 0; first < p->n_granules; first = s->end) {
        load_columns(p, s, column, n_x, first);
        for (uint32_t g = 0; g * TERNARY_ROWS < s->n_rows; g++) add_products(p, s, g, s->first, s->end);
    }
    finish_plain(p, s);
}

// ---- several groups along K: T64 alone ----

// Takes the activation sums of a stretch off the sums of row group `group`, which count codes 0..2 for trits -1..1.
static void subtract_sums(working_set *s, uint32_t group, uint32_t first, uint32_t end)
{
    int32_t *sums = s->sums + group * TERNARY_ROWS * s->n_x;
    for (uint32_t i = 0; i < s->n_x; i++) {
        int32_t sum = 0;
        for (uint32_t g = first; g < end; g++) sum += s->granule_sum[i * (s->end - s->first) + g - s->first];
        for (uint32_t r = 0; r < TERNARY_ROWS; r++) sums[r * s->n_x + i] -= sum;
    }
}

// Scale group `scale_group` is complete for row group `group`: its step of the chain of part `part`.
static void fold_group(const product *p, working_set *s, uint32_t group, uint32_t scale_group, uint32_t part)
{
    const op_ternary_mm *a = &p->o->ternary_mm;
    for (uint32_t r = group * TERNARY_ROWS; r < (group + 1) * TERNARY_ROWS && r < s->n_rows; r++) {
        int32_t *sums = s->sums + r * s->n_x;
        float d = s->row_scale[r][scale_group];
        for (uint32_t i = 0; i < s->n_x && s->column + i < p->n_columns; i += p->terms) {
            uint32_t m = (s->column + i) / p->terms;
            float v = (float)sums[i];
            if (p->terms == 1)
                v = v * ((const float *)cpu_at(a->x.scale))[m];
            else
                v = scalar_fma(v, ((const float *)cpu_at(a->x.scale))[m],
                               (float)sums[i + 1] * ((const float *)cpu_at(a->x.lo_scale))[m]);
            float *chain = s->parts + (r * TERNARY_MAX_X + i) * PARTS + part;
            *chain = scalar_fma(v, d, *chain);
        }
    }
    memset(s->sums + group * TERNARY_ROWS * s->n_x, 0, TERNARY_ROWS * s->n_x * sizeof(int32_t));
}

static void finish_groups(const product *p, working_set *s)
{
    const op_ternary_mm *a = &p->o->ternary_mm;
    for (uint32_t i = 0; i < s->n_x && s->column + i < p->n_columns; i += p->terms)
        for (uint32_t r = 0; r < s->n_rows; r++) {
            const float *t = s->parts + (r * TERNARY_MAX_X + i) * PARTS;
            fast_row_out(a->y, a->ld_y, (s->column + i) / p->terms)[s->row + r] = ((t[0] + t[1]) + (t[2] + t[3])) +
                                                                                  ((t[4] + t[5]) + (t[6] + t[7]));
        }
}

static void multiply_groups(const product *p, working_set *s, uint32_t column, uint32_t n_x)
{
    uint32_t n_groups = p->w->scale.n_groups;
    memset(s->sums, 0, sizeof s->sums);
    memset(s->parts, 0, sizeof s->parts);
    for (uint32_t first = 0; first < p->n_granules; first = s->end) {
        load_columns(p, s, column, n_x, first);
        for (uint32_t g = 0; g * TERNARY_ROWS < s->n_rows; g++)
            for (uint32_t at = s->first; at < s->end;) {
                uint32_t scale_group = at / p->group_granules;
                uint32_t end = scale_group == n_groups - 1 ? p->n_granules : (scale_group + 1) * p->group_granules;
                uint32_t stop = end < s->end ? end : s->end;
                add_products(p, s, g, at, stop);
                subtract_sums(s, g, at, stop);
                // The part whose share [part * G / 8, (part + 1) * G / 8) holds the group.
                uint32_t part = (uint32_t)((PARTS * ((uint64_t)scale_group + 1) - 1) / n_groups);
                if (stop == end) fold_group(p, s, g, scale_group, part);
                at = stop;
            }
    }
    finish_groups(p, s);
}

// Groups that do not end on granules: element by element, since no known model has them at a size that matters.
static void multiply_ragged(const product *p, working_set *s, uint32_t column, uint32_t n_x)
{
    const op_ternary_mm *a = &p->o->ternary_mm;
    const ternary_scale *scale = &p->w->scale;
    for (uint32_t i = 0; i < n_x && column + i < p->n_columns; i += p->terms) {
        uint32_t m = (column + i) / p->terms;
        const int8_t *hi = column_codes(p, column + i), *lo = p->terms == 2 ? column_codes(p, column + i + 1) : NULL;
        for (uint32_t r = 0; r < s->n_rows; r++) {
            float t[PARTS] = {0};
            for (uint32_t g = 0; g < scale->n_groups; g++) {
                uint32_t first = g * scale->group;
                uint32_t end = p->w->n_cols - first > scale->group ? first + scale->group : p->w->n_cols;
                int32_t hi_sum = 0, lo_sum = 0;
                for (uint32_t c = first; c < end; c++) {
                    int trit = t64_code(p->w->data, p->w->n_cols, s->row + r, c) - 1;
                    hi_sum += trit * hi[c];
                    if (lo != NULL) lo_sum += trit * lo[c];
                }
                float v = (float)hi_sum, x_scale = ((const float *)cpu_at(a->x.scale))[m];
                v = lo == NULL ? v * x_scale
                               : scalar_fma(v, x_scale, (float)lo_sum * ((const float *)cpu_at(a->x.lo_scale))[m]);
                float *chain = &t[(PARTS * ((uint64_t)g + 1) - 1) / scale->n_groups];
                *chain = scalar_fma(v, s->row_scale[r][g], *chain);
            }
            fast_row_out(a->y, a->ld_y, m)[s->row + r] = ((t[0] + t[1]) + (t[2] + t[3])) +
                                                         ((t[4] + t[5]) + (t[6] + t[7]));
        }
    }
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
        for (uint32_t r = 0; r < s.n_rows; r++)
            s.row_scale[r] = scale->values + (size_t)ternary_scale_set(scale, s.row + r) * scale->n_groups;
        for (uint32_t column = 0; column < p->n_columns;) {
            uint32_t n_x = columns_at_once(p->n_columns - column);
            if (scale->n_groups == 1)
                multiply_plain(p, &s, column, n_x);
            else if (scale->group % TERNARY_GRANULE == 0)
                multiply_groups(p, &s, column, n_x);
            else
                multiply_ragged(p, &s, column, n_x);
            column += n_x;
        }
    }
}

void fast_ternary_mm(const device *d, const op *o)
{
    const weights *w = o->ternary_mm.w;
    product p = {
        .kernels = d->kernels,
        .o = o,
        .w = w,
        .granule = ternary_granule(w->layout),
        .n_granules = ternary_granules(w->layout, w->n_cols),
        .terms = o->ternary_mm.x.lo_codes.buffer != NULL ? 2 : 1,
    };
    p.n_columns = o->m * p.terms;
    p.group_granules = w->scale.n_groups == 1 ? p.n_granules : w->scale.group / TERNARY_GRANULE;
    team_run(d->team, (w->n_rows + TERNARY_ROWS - 1) / TERNARY_ROWS, BLOCK_GROUPS, multiply_rows, &p);
}
