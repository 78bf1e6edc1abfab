// Fast ops: dense_mm and rescore. One token: each row's stored bytes go straight into dot64, so that the weights stream
// from memory; only ternary rows are dequantised first. More: four rows at a time are dequantised into a stack buffer
// and meet up to TOKENS rows of x in tiles of 4 x 2.
#include <string.h>

#include "fast.h"

#define PIECE      1024u         // columns of a row dequantised at a time: a multiple of 64 and of every block
#define STRIDE     (PIECE + 16u) // of the dequantised rows: a power of two would put all four into the same cache sets
#define ROWS       4u            // of a tile
#define FEW_TOKENS 4u            // below it, plain floats are faster row by row (bench/NOTES.md); blocks only for one
#define TOKENS     32u           // x rows per pass over the weights: 4 x 32 sets of 64 accumulators
#define GRAIN      8u            // rows that make a chunk of work, whole tiles

typedef struct product {
    const cpu_kernels *kernels;
    const op *o;
    const weights *w;
} product;

static bool is_plain(const weights *w)
{
    return !w->is_ternary && (w->type == DENSE_F32 || w->type == DENSE_F16 || w->type == DENSE_BF16);
}

// The codes of a granule in the order of its columns.
static void granule_codes(ternary_layout layout, const uint8_t *granule, uint8_t *codes)
{
    const uint32_t fields = layout == TERNARY_T80 ? 5 : 4;
    for (uint32_t b = 0; b < 16; b++) {
        uint8_t *to = codes + 8 * fields * (b / 8) + b % 8;
        uint32_t rest = granule[b];
        for (uint32_t m = 0; m < fields; m++) {
            rest = layout == TERNARY_T80 ? 3 * (rest & 255) : rest;
            to[8 * m] = (uint8_t)(layout == TERNARY_T80 ? rest >> 8 : rest >> 2 * m & 3);
        }
    }
}

static void ternary_floats(const weights *w, uint32_t r, uint32_t first, uint32_t n, float *out)
{
    const float *d = w->scale.values + (size_t)ternary_scale_set(&w->scale, r) * w->scale.n_groups;
    const uint32_t granule = ternary_granule(w->layout), n_granules = ternary_granules(w->layout, w->n_cols);
    uint8_t codes[T80_GRANULE];
    for (uint32_t c = first; c < first + n;) { // a first granule may be entered in its middle
        uint32_t begin = c / granule * granule, end = first + n - begin < granule ? first + n : begin + granule;
        granule_codes(w->layout, w->data + ternary_granule_offset(n_granules, r, c / granule), codes);
        for (; c < end; c++) out[c - first] = d[c / w->scale.group] * (float)((int)codes[c - begin] - 1);
    }
}

void fast_weight_floats(const cpu_kernels *k, const weights *w, uint32_t r, uint32_t first, uint32_t n, float *out)
{
    if (w->is_ternary)
        ternary_floats(w, r, first, n, out);
    else if (dense_is_integer(w->type))
        fast_integer_floats(w, r, first, n, out);
    else
        k->dense_to_float(w->type, w->data + r * w->row_bytes + dense_column_offset(w->type, first), n, out);
}

static void store(const product *p, uint32_t row, uint32_t m, float value)
{
    const op_dense_mm *a = &p->o->dense_mm;
    if (a->check_finite && !scalar_is_finite(value)) cpu_flag(p->o);
    fast_row_out(a->y, a->ld_y, m)[row] = value;
}

// ---- one token ----

const float *fast_dense_operand(const cpu_kernels *k, const weights *w, const float *x, float out[DENSE_OPERAND])
{
    bool has_form = !w->is_ternary && w->type == DENSE_Q6_K && k->q6k_operand != NULL && w->n_cols <= DENSE_OPERAND;
    return has_form && k->q6k_operand(x, w->n_cols, out) ? out : NULL;
}

// dot64 of one row. Kernels take the blocks of files; other rows are dequantised first. `operand`: of
// fast_dense_operand, or NULL.
static float dot_row(const cpu_kernels *k, const weights *w, uint32_t row, const float *x, const float *operand)
{
    float acc[64] = {0};
    if (operand != NULL) {
        k->q6k_dot(w->data + row * w->row_bytes, x, operand, w->n_cols, acc);
    } else if (!w->is_ternary && !dense_is_integer(w->type)) {
        k->dense_dot(w->type, w->data + row * w->row_bytes, x, w->n_cols, acc);
    } else {
        float piece[PIECE];
        for (uint32_t c = 0; c < w->n_cols; c += PIECE) {
            uint32_t n = w->n_cols - c < PIECE ? w->n_cols - c : PIECE;
            fast_weight_floats(k, w, row, c, n, piece);
            k->dense_dot(DENSE_F32, (const uint8_t *)piece, x + c, n, acc);
        }
    }
    return k->tree64(acc);
}

// Rows of plain floats are read from DENSE_ROWS places at once: hardware prefetches more streams further ahead than
// one.
void fast_dense_token(const dense_token *t, uint32_t begin, uint32_t end)
{
    const weights *w = t->w;
    const uint32_t n = is_plain(w) && t->kernels->dense_dots != NULL ? (end - begin) / DENSE_ROWS : 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *rows[DENSE_ROWS];
        float acc[DENSE_ROWS][64];
        for (uint32_t r = 0; r < DENSE_ROWS; r++) rows[r] = w->data + (begin + r * n + i) * w->row_bytes;
        t->kernels->dense_dots(w->type, rows, t->x, w->n_cols, acc);
        for (uint32_t r = 0; r < DENSE_ROWS; r++) t->put(t->context, begin + r * n + i, t->kernels->tree64(acc[r]));
    }
    for (uint32_t row = begin + DENSE_ROWS * n; row < end; row++)
        t->put(t->context, row, dot_row(t->kernels, w, row, t->x, t->operand));
}

typedef struct stored_row {
    const product *p;
    uint32_t m;
} stored_row;

static void store_product(void *context, uint32_t row, float value)
{
    const stored_row *y = context;
    store(y->p, row, y->m, value);
}

static void multiply_token(const product *p, uint32_t begin, uint32_t end, uint32_t m)
{
    const float *x = fast_row(p->o->dense_mm.x, p->o->dense_mm.ld_x, m);
    float operand[DENSE_OPERAND];
    stored_row y = {p, m};
    const dense_token t = {p->kernels, p->w, x, fast_dense_operand(p->kernels, p->w, x, operand), store_product, &y};
    fast_dense_token(&t, begin, end);
}

// ---- many ----

static uint32_t fewest_for_tiles(const weights *w) { return is_plain(w) ? FEW_TOKENS : 2; }

static void tile_rows(const product *p, uint32_t row, uint32_t m0, uint32_t n_tokens)
{
    const op_dense_mm *a = &p->o->dense_mm;
    float rows[ROWS * STRIDE], acc[TOKENS * ROWS * 64]; // acc: [token][row][64]
    memset(acc, 0, n_tokens * ROWS * 64 * sizeof(float));
    for (uint32_t c = 0; c < p->w->n_cols; c += PIECE) {
        uint32_t n = p->w->n_cols - c < PIECE ? p->w->n_cols - c : PIECE;
        for (uint32_t r = 0; r < ROWS; r++) fast_weight_floats(p->kernels, p->w, row + r, c, n, rows + r * STRIDE);
        for (uint32_t t = 0; t + 2 <= n_tokens; t += 2)
            p->kernels->dense_tile(rows, STRIDE, fast_row(a->x, a->ld_x, m0 + t) + c, a->ld_x, n, acc + t * ROWS * 64);
        if (n_tokens % 2 == 1)
            for (uint32_t r = 0; r < ROWS; r++)
                p->kernels->dense_dot(DENSE_F32, (const uint8_t *)(rows + r * STRIDE),
                                      fast_row(a->x, a->ld_x, m0 + n_tokens - 1) + c, n,
                                      acc + ((n_tokens - 1) * ROWS + r) * 64);
    }
    for (uint32_t t = 0; t < n_tokens; t++)
        for (uint32_t r = 0; r < ROWS; r++) store(p, row + r, m0 + t, p->kernels->tree64(acc + (t * ROWS + r) * 64));
}

static void multiply_rows(void *context, uint32_t begin, uint32_t end)
{
    const product *p = context;
    for (uint32_t m = 0; m < p->o->m; m += TOKENS) {
        uint32_t n_tokens = p->o->m - m < TOKENS ? p->o->m - m : TOKENS;
        if (n_tokens == 1) {
            multiply_token(p, begin, end, m);
            continue;
        }
        uint32_t row = begin;
        for (; n_tokens >= fewest_for_tiles(p->w) && row + ROWS <= end; row += ROWS) tile_rows(p, row, m, n_tokens);
        for (; row < end; row++)
            for (uint32_t t = 0; t < n_tokens; t++)
                store(p, row, m + t,
                      dot_row(p->kernels, p->w, row, fast_row(p->o->dense_mm.x, p->o->dense_mm.ld_x, m + t), NULL));
    }
}

void fast_dense_mm(const device *d, const op *o)
{
    product p = {d->kernels, o, o->dense_mm.w};
    team_run(d->team, p.w->n_rows, GRAIN, multiply_rows, &p);
}

// ---- some rows of each token ----

// Items count ids: k of row 0, then k of row 1, ...
static void rescore_ids(void *context, uint32_t begin, uint32_t end)
{
    const product *p = context;
    const op_rescore *a = &p->o->rescore;
    const int32_t *ids = cpu_at(a->ids);
    for (uint32_t i = begin; i < end; i++) {
        uint32_t m = i / a->k, id = (uint32_t)ids[i];
        float value = dot_row(p->kernels, p->w, id, fast_row(a->x, a->ld_x, m), NULL);
        if (!scalar_is_finite(value)) cpu_flag(p->o);
        __atomic_store(&fast_row_out(a->y, a->ld_y, m)[id], &value, __ATOMIC_RELAXED); // another worker may have it too
    }
}

void fast_rescore(const device *d, const op *o)
{
    product p = {d->kernels, o, o->rescore.w};
    team_run(d->team, o->m * o->rescore.k, GRAIN, rescore_ids, &p);
}
