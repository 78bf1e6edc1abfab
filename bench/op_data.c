// Operands of op cases; see op_data.h.
#include "op_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "error.h"
#include "op_fill.h"
#include "rng.h"

#define SEED_X       1001u
#define SEED_Y       1002u
#define SEED_G       1003u
#define SEED_WEIGHTS 1004u
#define SEED_IDS     1005u
#define SEED_K       1006u
#define SEED_V       1007u
#define AT(field)    offsetof(op, field)

// A region of n_rows rows of `width` elements, `ld` apart; all 0xff. NULL when memory is out: err then says so.
static op_region *add_region(op_data *d, const char *name, op_region_role role, op_element element, size_t view_at,
                             uint32_t n_rows, size_t width, size_t ld, tern_error *err)
{
    size_t element_bytes = element == ELEMENT_F32 || element == ELEMENT_I32 ? 4 : 1;
    uint64_t rows_bytes, n_bytes;
    op_region r = {.name = name,
                   .role = role,
                   .element = element,
                   .view_at = {view_at, OP_NO_VIEW},
                   .n_rows = n_rows,
                   .width = width * element_bytes,
                   .stride = ld * element_bytes};
    if (!check_mul(n_rows - 1, r.stride, &rows_bytes) || !check_add(rows_bytes, r.width, &n_bytes) ||
        !check_size(n_bytes, &r.n_bytes) || d->n_regions == OP_REGIONS_MAX || (r.before = malloc(r.n_bytes)) == NULL) {
        error_set(err, TERN_HOST_MEMORY, "no memory for operand %s of %s", name, d->c->name);
        return NULL;
    }
    memset(r.before, 0xff, r.n_bytes);
    d->regions[d->n_regions] = r;
    return &d->regions[d->n_regions++];
}

static tern_status add_output(op_data *d, const char *name, op_element element, size_t view_at, size_t width, size_t ld,
                              tern_error *err)
{
    return add_region(d, name, REGION_OUTPUT, element, view_at, d->c->m, width, ld, err) ? TERN_OK : TERN_HOST_MEMORY;
}

static void put_float(op_region *r, uint32_t row, uint32_t column, float x)
{
    memcpy(r->before + row * r->stride + (size_t)column * 4, &x, 4);
}

static void put_int(op_region *r, uint32_t row, uint32_t column, int32_t x)
{
    memcpy(r->before + row * r->stride + (size_t)column * 4, &x, 4);
}

// Rows of floats by the case's recipe, with the one bad value of the recipes that raise in the middle.
static op_region *add_floats(op_data *d, const char *name, op_region_role role, size_t view_at, uint32_t n_rows,
                             uint32_t width, uint32_t ld, uint64_t seed, tern_error *err)
{
    op_region *r = add_region(d, name, role, ELEMENT_F32, view_at, n_rows, width, ld, err);
    if (r == NULL) return NULL;
    for (uint32_t row = 0; row < n_rows; row++)
        for (uint32_t i = 0; i < width; i++) put_float(r, row, i, fill_value(d->c->recipe, seed, row, i, width));
    if (op_recipe_raises(d->c->recipe))
        put_float(r, n_rows / 2, width / 2, d->c->recipe == RECIPE_NAN ? NAN : -INFINITY);
    return r;
}

// A norm's weights: around 1, with both signs.
static tern_status add_gains(op_data *d, size_t view_at, uint32_t n, tern_error *err)
{
    op_region *r = add_region(d, "g", REGION_INPUT, ELEMENT_F32, view_at, 1, n, n, err);
    if (r == NULL) return TERN_HOST_MEMORY;
    for (uint32_t i = 0; i < n; i++) put_float(r, 0, i, (0.5f + rng_unit(SEED_G, i)) * (i % 7 == 3 ? -1.0f : 1.0f));
    return TERN_OK;
}

// Random indices below `limit`, n a row, the last and the first among them.
static tern_status add_indices(op_data *d, const char *name, size_t view_at, uint32_t n, uint32_t limit,
                               tern_error *err)
{
    op_region *r = add_region(d, name, REGION_INPUT, ELEMENT_I32, view_at, d->c->m, n, n, err);
    if (r == NULL) return TERN_HOST_MEMORY;
    for (uint32_t i = 0; i < d->c->m * n; i++)
        put_int(r, i / n, i % n, i == 0 ? (int32_t)limit - 1 : i == 2 ? 0 : (int32_t)(rng_u64(SEED_IDS, i) % limit));
    return TERN_OK;
}

static tern_status add_weights(op_data *d, size_t weights_at, uint32_t n_rows, uint32_t n_cols, tern_error *err)
{
    const op_case *c = d->c;
    uint64_t n_bytes;
    size_t size;
    d->has_weights = true;
    d->weights_at = weights_at;
    d->n_weight_rows = n_rows;
    d->n_weight_cols = n_cols;
    d->weight_row_bytes = c->is_ternary ? ternary_row_bytes(n_cols) : dense_row_bytes(c->dense, n_cols);
    if (!check_mul(n_rows, d->weight_row_bytes, &n_bytes) || !check_size(n_bytes, &size) ||
        (d->weight_rows = malloc(size)) == NULL)
        return error_set(err, TERN_HOST_MEMORY, "no memory for the weights of %s", c->name);
    for (uint32_t row = 0; row < n_rows; row++) {
        uint8_t *to = d->weight_rows + row * d->weight_row_bytes;
        if (c->is_ternary)
            fill_ternary_row(c->recipe, SEED_WEIGHTS, row, n_cols, to);
        else
            fill_dense_row(c->recipe, c->dense, SEED_WEIGHTS, row, n_cols, to);
    }
    return c->is_ternary ? fill_ternary_scale(c, n_rows, n_cols, &d->scale, err) : TERN_OK;
}

// ------------------------------------------------------------------------------------------------ quantised rows

// One term of quantised rows: as input random codes with their true sums, as output nothing yet.
static tern_status add_term(op_data *d, size_t at_codes, size_t at_scale, size_t at_sum, bool is_input, bool is_lo,
                            uint32_t n, tern_error *err)
{
    const op_case *c = d->c;
    uint32_t ld = quantized_ld(n);
    op_region_role role = is_input ? REGION_INPUT : REGION_OUTPUT;
    op_region *codes = add_region(d, is_lo ? "lo_codes" : "codes", role, ELEMENT_I8, at_codes, c->m, ld, ld, err);
    op_region *scale = add_region(d, is_lo ? "lo_scale" : "scale", role, ELEMENT_F32, at_scale, c->m, 1, 1, err);
    op_region *sum = add_region(d, is_lo ? "lo_sum" : "sum", role, ELEMENT_I32, at_sum, c->m, 1, 1, err);
    if (codes == NULL || scale == NULL || sum == NULL) return TERN_HOST_MEMORY;
    for (uint32_t row = 0; is_input && row < c->m; row++) {
        int32_t total = 0;
        for (uint32_t i = 0; i < ld; i++) {
            int code = i < n ? fill_code(c->recipe, is_lo ? SEED_Y : SEED_X, row, i, n) : 0;
            codes->before[row * codes->stride + i] = (uint8_t)(int8_t)code;
            total += code;
        }
        put_float(scale, row, 0, fill_scale(RECIPE_RANDOM, SEED_X, row) / (is_lo ? 254.0f : 1.0f));
        put_int(sum, row, 0, total);
    }
    return TERN_OK;
}

static tern_status add_quantized(op_data *d, size_t at, bool is_input, uint32_t n_terms, uint32_t n, tern_error *err)
{
    tern_status status = add_term(d, at + offsetof(quantized, codes), at + offsetof(quantized, scale),
                                  at + offsetof(quantized, sum), is_input, false, n, err);
    if (status != TERN_OK || n_terms == 1) return status;
    return add_term(d, at + offsetof(quantized, lo_codes), at + offsetof(quantized, lo_scale),
                    at + offsetof(quantized, lo_sum), is_input, true, n, err);
}

// ------------------------------------------------------------------------------------------------ caches

// Block tables in which only blocks that rows use (all up to the position, or only its own) are real; every other entry
// names a block of NaN. Real blocks are scattered by a random permutation.
static tern_status add_tables(op_data *d, size_t at, bool all_blocks, kv_rows *rows, uint32_t *n_blocks,
                              tern_error *err)
{
    const op_case *c = d->c;
    uint32_t n_tables = op_case_table(c, c->m - 1) + 1, last = 0, n_used = 0;
    for (uint32_t m = 0; m < c->m; m++)
        if (op_case_position(c, m) > last) last = op_case_position(c, m);
    uint32_t ld = last / KV_BLOCK + 3;
    op_region *table = add_region(d, "row_table", REGION_INPUT, ELEMENT_I32, at + offsetof(kv_rows, row_table), c->m, 1,
                                  1, err);
    op_region *position = add_region(d, "row_position", REGION_INPUT, ELEMENT_I32, at + offsetof(kv_rows, row_position),
                                     c->m, 1, 1, err);
    op_region *tables = add_region(d, "tables", REGION_INPUT, ELEMENT_I32, at + offsetof(kv_rows, tables), n_tables, ld,
                                   ld, err);
    if (table == NULL || position == NULL || tables == NULL) return TERN_HOST_MEMORY;

    int32_t *entries = (int32_t *)(void *)tables->before; // malloc'd: aligned; all -1 so far
    for (uint32_t m = 0; m < c->m; m++) {
        uint32_t t = op_case_table(c, m), p = op_case_position(c, m);
        put_int(table, m, 0, (int32_t)t);
        put_int(position, m, 0, (int32_t)p);
        for (uint32_t b = all_blocks ? 0 : p / KV_BLOCK; b <= p / KV_BLOCK; b++)
            if (entries[t * ld + b] < 0) entries[t * ld + b] = (int32_t)n_used++;
    }
    uint32_t *shuffled = malloc(n_used * sizeof *shuffled);
    if (shuffled == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for the block tables of %s", c->name);
    for (uint32_t i = 0; i < n_used; i++) {
        uint32_t j = (uint32_t)(rng_u64(SEED_IDS, i) % (i + 1));
        shuffled[i] = shuffled[j];
        shuffled[j] = i;
    }
    for (size_t i = 0; i < (size_t)n_tables * ld; i++)
        entries[i] = entries[i] < 0 ? (int32_t)n_used : (int32_t)shuffled[entries[i]];
    free(shuffled);
    rows->table_ld = ld;
    *n_blocks = n_used + 1;
    return TERN_OK;
}

static op_region *add_cache(op_data *d, size_t at, op_region_role role, kv_cache *cache, uint32_t n_blocks,
                            tern_error *err)
{
    const op_case *c = d->c;
    *cache = (kv_cache){.n_blocks = n_blocks,
                        .n_kv_heads = c->n_kv_heads,
                        .head_dim = c->head_dim,
                        .k_type = c->k_type,
                        .v_type = c->v_type};
    size_t block_bytes = (size_t)kv_block_bytes(c->k_type, c->v_type, (int)c->n_kv_heads, (int)c->head_dim);
    return add_region(d, "cache", role, ELEMENT_BYTES, at + offsetof(kv_cache, blocks), n_blocks, block_bytes,
                      block_bytes, err);
}

// Fills positions 0 .. the last of each table; slots beyond stay NaN.
static void fill_cache(op_data *d, const op_region *cache, const op_region *tables, uint32_t table_ld)
{
    const op_case *c = d->c;
    int head_dim = (int)c->head_dim;
    size_t k_bytes = (size_t)kv_part_bytes(c->k_type, head_dim);
    size_t head_bytes = (size_t)kv_head_bytes(c->k_type, c->v_type, head_dim);
    const int32_t *entries = (const int32_t *)(const void *)tables->before;
    for (uint32_t m = 0; m < c->m; m++) { // rows of a table stand together, positions ascending
        uint32_t t = op_case_table(c, m);
        bool is_first = m == 0 || op_case_table(c, m - 1) != t;
        for (uint32_t p = is_first ? 0 : op_case_position(c, m); p <= op_case_position(c, m); p++)
            for (uint32_t h = 0; h < c->n_kv_heads; h++) {
                uint8_t *block = cache->before + (size_t)entries[t * table_ld + p / KV_BLOCK] * cache->stride;
                uint8_t *k = block + h * head_bytes, *v = k + k_bytes;
                uint32_t row = (t * 4096 + p) * c->n_kv_heads + h;
                int slot = (int)(p % KV_BLOCK);
                fill_kv_slot(c->recipe, SEED_K, c->k_type, true, head_dim, slot, row, k);
                fill_kv_slot(c->recipe, SEED_V, c->v_type, false, head_dim, slot, row, v);
                d->bytes_kv += head_bytes / KV_BLOCK;
            }
    }
}

// ------------------------------------------------------------------------------------------------ the ops

static tern_status make_embed(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    d->op.embed.ld_y = c->k + c->gap;
    tern_status status = add_weights(d, AT(embed.table), c->n, c->k, err);
    if (status == TERN_OK) status = add_indices(d, "ids", AT(embed.ids), 1, c->n, err);
    return status == TERN_OK ? add_output(d, "y", ELEMENT_F32, AT(embed.y), c->k, d->op.embed.ld_y, err) : status;
}

static tern_status make_norm(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    op_norm *o = &d->op.norm;
    *o = (op_norm){.n = c->n, .ld_x = c->n + c->gap, .ld_y = c->n + (c->in_place ? c->gap : 2 * c->gap), .eps = 1e-5f};
    op_region *x = add_floats(d, "x", c->in_place ? REGION_IN_PLACE : REGION_INPUT, AT(norm.x), c->m, c->n, o->ld_x,
                              SEED_X, err);
    if (x == NULL) return TERN_HOST_MEMORY;
    if (c->in_place) x->view_at[1] = AT(norm.y);
    tern_status status = add_gains(d, AT(norm.g), c->n, err);
    return status == TERN_OK && !c->in_place ? add_output(d, "y", ELEMENT_F32, AT(norm.y), c->n, o->ld_y, err) : status;
}

static tern_status make_head_norm(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    uint32_t width = c->n_heads * c->head_dim;
    d->op.head_norm = (op_head_norm){
        .n_heads = c->n_heads, .head_dim = c->head_dim, .ld_x = width + c->gap, .eps = 1e-6f};
    if (!add_floats(d, "x", REGION_IN_PLACE, AT(head_norm.x), c->m, width, width + c->gap, SEED_X, err))
        return TERN_HOST_MEMORY;
    return add_gains(d, AT(head_norm.g), c->head_dim, err);
}

static tern_status make_norm_quant(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    d->op.norm_quant = (op_norm_quant){.n = c->n, .ld_x = c->n + c->gap, .eps = 1e-5f, .y.ld = quantized_ld(c->n)};
    // eps above the mean square makes the row's own size come through: the floor of the quantiser is then reached.
    if (c->recipe == RECIPE_SMALL) d->op.norm_quant.eps = 1.0f;
    if (!add_floats(d, "x", REGION_INPUT, AT(norm_quant.x), c->m, c->n, c->n + c->gap, SEED_X, err))
        return TERN_HOST_MEMORY;
    tern_status status = add_gains(d, AT(norm_quant.g), c->n, err);
    return status == TERN_OK ? add_quantized(d, AT(norm_quant.y), false, 1, c->n, err) : status;
}

static tern_status make_quant(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    d->op.quant = (op_quant){.n = c->n, .ld_x = c->n + c->gap, .y.ld = quantized_ld(c->n)};
    if (!add_floats(d, "x", REGION_INPUT, AT(quant.x), c->m, c->n, c->n + c->gap, SEED_X, err)) return TERN_HOST_MEMORY;
    return add_quantized(d, AT(quant.y), false, c->kind == OP_QUANT2 ? 2 : 1, c->n, err);
}

static tern_status make_ternary_mm(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    uint32_t n = epilogue_gates(c->epilogue) ? c->n / 2 : c->n, ld = n + c->gap;
    d->op.ternary_mm = (op_ternary_mm){.ld_y = ld, .x.ld = quantized_ld(c->k), .epilogue = c->epilogue};
    tern_status status = add_weights(d, AT(ternary_mm.w), c->n, c->k, err);
    if (status == TERN_OK) status = add_quantized(d, AT(ternary_mm.x), true, c->n_terms, c->k, err);
    if (status != TERN_OK || c->epilogue != EPILOGUE_ADD)
        return status == TERN_OK ? add_output(d, "y", ELEMENT_F32, AT(ternary_mm.y), n, ld, err) : status;
    return add_floats(d, "y", REGION_IN_PLACE, AT(ternary_mm.y), c->m, n, ld, SEED_Y, err) ? TERN_OK : TERN_HOST_MEMORY;
}

static tern_status make_dense_mm(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    bool check = c->kind == OP_DENSE_MM && (op_recipe_raises(c->recipe) || c->m % 2 == 0);
    d->op.dense_mm = (op_dense_mm){.ld_x = c->k + c->gap, .ld_y = c->n + c->gap, .check_finite = check};
    tern_status status = add_weights(d, AT(dense_mm.w), c->n, c->k, err);
    if (status != TERN_OK) return status;
    if (!add_floats(d, "x", REGION_INPUT, AT(dense_mm.x), c->m, c->k, c->k + c->gap, SEED_X, err))
        return TERN_HOST_MEMORY;
    return add_output(d, "y", ELEMENT_F32, AT(dense_mm.y), c->n, c->n + c->gap, err);
}

static tern_status make_int_mm(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    bool check = op_recipe_raises(c->recipe) || c->m % 2 == 0;
    d->op.int_mm = (op_int_mm){.ld_y = c->n + c->gap, .x.ld = quantized_ld(c->k), .check_finite = check};
    tern_status status = add_weights(d, AT(int_mm.w), c->n, c->k, err);
    size_t scale = d->n_regions + 1; // behind the codes
    bool is_blas = c->kind == OP_BLAS_INT_MM;
    if (is_blas) d->op.int_mm.check_finite = false;
    if (status == TERN_OK) status = add_quantized(d, AT(int_mm.x), true, is_blas ? 1 : 2, c->k, err);
    if (status == TERN_OK && op_recipe_raises(c->recipe))
        put_float(&d->regions[scale], c->m / 2, 0, c->recipe == RECIPE_NAN ? NAN : INFINITY);
    op_element element = is_blas ? ELEMENT_I32 : ELEMENT_F32;
    return status == TERN_OK ? add_output(d, "y", element, AT(int_mm.y), c->n, c->n + c->gap, err) : status;
}

static tern_status make_rescore(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    d->op.rescore = (op_rescore){.ld_x = c->k + 2 * c->gap, .ld_y = c->n + c->gap, .k = c->n_best};
    tern_status status = add_weights(d, AT(rescore.w), c->n, c->k, err);
    if (status == TERN_OK) status = add_indices(d, "ids", AT(rescore.ids), c->n_best, c->n, err);
    if (status != TERN_OK) return status;
    bool ok = add_floats(d, "x", REGION_INPUT, AT(rescore.x), c->m, c->k, d->op.rescore.ld_x, SEED_X, err) &&
              add_floats(d, "y", REGION_IN_PLACE, AT(rescore.y), c->m, c->n, d->op.rescore.ld_y, SEED_Y, err);
    return ok ? TERN_OK : TERN_HOST_MEMORY;
}

static tern_status make_rope_kv(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    op_rope_kv *o = &d->op.rope_kv;
    uint32_t q_dim = c->n_heads * c->head_dim, kv_dim = c->n_kv_heads * c->head_dim;
    uint32_t width = q_dim + 2 * kv_dim, last = 0, n_blocks;
    *o = (op_rope_kv){.n_heads = c->n_heads, .n_dims = c->n_dims, .ld_x = width + c->gap, .adjacent = c->adjacent};
    op_region *x = add_floats(d, "x", REGION_IN_PLACE, AT(rope_kv.x), c->m, width, width + c->gap, SEED_X, err);
    if (x == NULL) return TERN_HOST_MEMORY;
    if (op_recipe_raises(c->recipe)) { // the bad value goes into what is stored: NaN into K, the infinite one into V
        put_float(x, c->m / 2, width / 2, 0.5f);
        if (c->recipe == RECIPE_NAN) put_float(x, c->m / 2, q_dim + kv_dim / 2, NAN);
        if (c->recipe == RECIPE_INF) put_float(x, c->m / 2, width - 1, c->v_type == KV_F16 ? -65520.0f : -INFINITY);
    }
    for (uint32_t m = 0; m < c->m; m++)
        if (op_case_position(c, m) > last) last = op_case_position(c, m);
    op_region *rope = add_region(d, "rope", REGION_INPUT, ELEMENT_F32, AT(rope_kv.rope), last + 1, c->n_dims, c->n_dims,
                                 err);
    if (rope == NULL) return TERN_HOST_MEMORY;
    for (uint32_t p = 0; p <= last; p++) // any numbers in [-1, 1) do as cosines and sines
        for (uint32_t i = 0; i < c->n_dims; i++)
            put_float(rope, p, i, 2.0f * rng_unit(SEED_G, (uint64_t)p * c->n_dims + i) - 1.0f);
    tern_status status = add_tables(d, AT(rope_kv.rows), false, &o->rows, &n_blocks, err);
    if (status != TERN_OK) return status;
    d->bytes_kv = (uint64_t)c->m *
                  (uint64_t)kv_block_bytes(c->k_type, c->v_type, (int)c->n_kv_heads, (int)c->head_dim) / KV_BLOCK;
    return add_cache(d, AT(rope_kv.cache), REGION_IN_PLACE, &o->cache, n_blocks, err) ? TERN_OK : TERN_HOST_MEMORY;
}

static tern_status make_attention(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    op_attention *o = &d->op.attention;
    uint32_t width = c->n_heads * c->head_dim, n_blocks;
    *o = (op_attention){.n_heads = c->n_heads, .ld_q = width + 2 * c->gap, .ld_y = width + c->gap};
    if (!add_floats(d, "q", REGION_INPUT, AT(attention.q), c->m, width, o->ld_q, SEED_X, err)) return TERN_HOST_MEMORY;
    tern_status status = add_tables(d, AT(attention.rows), true, &o->rows, &n_blocks, err);
    if (status != TERN_OK) return status;
    const op_region *tables = &d->regions[d->n_regions - 1];
    const op_region *cache = add_cache(d, AT(attention.cache), REGION_INPUT, &o->cache, n_blocks, err);
    if (cache == NULL) return TERN_HOST_MEMORY;
    fill_cache(d, cache, tables, o->rows.table_ld);
    return add_output(d, "y", ELEMENT_F32, AT(attention.y), width, o->ld_y, err);
}

static tern_status make_gate(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    d->op.gate = (op_gate){.n = c->n, .ld_x = 2 * c->n + c->gap, .ld_y = c->n + c->gap, .is_silu = c->is_silu};
    if (!add_floats(d, "x", REGION_INPUT, AT(gate.x), c->m, 2 * c->n, d->op.gate.ld_x, SEED_X, err))
        return TERN_HOST_MEMORY;
    return add_output(d, "y", ELEMENT_F32, AT(gate.y), c->n, d->op.gate.ld_y, err);
}

static tern_status make_residual(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    op_residual *o = &d->op.residual;
    *o = (op_residual){.n = c->n, .ld_h = c->n + c->gap, .ld_y = c->n + 2 * c->gap};
    bool ok = add_floats(d, "h", REGION_IN_PLACE, AT(residual.h), c->m, c->n, o->ld_h, SEED_X, err) &&
              add_floats(d, "y", REGION_INPUT, AT(residual.y), c->m, c->n, o->ld_y, SEED_Y, err);
    return ok ? TERN_OK : TERN_HOST_MEMORY;
}

static tern_status make_gather(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    uint32_t n_rows = c->m + 3;
    d->op.gather = (op_gather){.n = c->n, .ld_x = c->n + c->gap, .ld_y = c->n + 2 * c->gap};
    if (!add_floats(d, "x", REGION_INPUT, AT(gather.x), n_rows, c->n, c->n + c->gap, SEED_X, err))
        return TERN_HOST_MEMORY;
    tern_status status = add_indices(d, "index", AT(gather.index), 1, n_rows, err);
    return status == TERN_OK ? add_output(d, "y", ELEMENT_F32, AT(gather.y), c->n, c->n + 2 * c->gap, err) : status;
}

static tern_status make_top_k(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    d->op.top_k = (op_top_k){.n = c->n, .ld_x = c->n + c->gap, .k = c->k};
    if (!add_floats(d, "x", REGION_INPUT, AT(top_k.x), c->m, c->n, c->n + c->gap, SEED_X, err)) return TERN_HOST_MEMORY;
    tern_status status = add_output(d, "ids", ELEMENT_I32, AT(top_k.ids), c->k, c->k, err);
    return status == TERN_OK ? add_output(d, "values", ELEMENT_F32, AT(top_k.values), c->k, c->k, err) : status;
}

// The last rows cannot be chosen: a sixteenth of them, like a vocabulary that is padded.
static tern_status make_dense_top_k(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    uint32_t k = c->n_best, n = c->n - c->n / 16;
    d->op.dense_top_k = (op_dense_top_k){.n = n, .ld_x = c->k + c->gap, .k = k};
    tern_status status = add_weights(d, AT(dense_top_k.w), c->n, c->k, err);
    if (status != TERN_OK) return status;
    if (!add_floats(d, "x", REGION_INPUT, AT(dense_top_k.x), c->m, c->k, c->k + c->gap, SEED_X, err))
        return TERN_HOST_MEMORY;
    status = add_output(d, "ids", ELEMENT_I32, AT(dense_top_k.ids), k, k, err);
    return status == TERN_OK ? add_output(d, "values", ELEMENT_F32, AT(dense_top_k.values), k, k, err) : status;
}

// chosen: some ids lie outside the vocabulary; positions on both sides of where the log begins again.
static tern_status make_advance(op_data *d, tern_error *err)
{
    const op_case *c = d->c;
    uint32_t n_ids = 1000;
    d->op.advance = (op_advance){.ld_chosen = c->k, .n_ids = n_ids, .n_log = c->n};
    op_region *chosen = add_region(d, "chosen", REGION_INPUT, ELEMENT_I32, AT(advance.chosen), c->m, 1, c->k, err);
    op_region *position = add_region(d, "position", REGION_IN_PLACE, ELEMENT_I32, AT(advance.position), c->m, 1, 1,
                                     err);
    if (chosen == NULL || position == NULL) return TERN_HOST_MEMORY;
    for (uint32_t m = 0; m < c->m; m++) {
        int32_t id = (int32_t)(1 + rng_u64(SEED_IDS, m) % (n_ids - 1));
        put_int(chosen, m, 0, m % 5 == 2 ? -id : m % 5 == 3 ? id + (int32_t)n_ids - 1 : id);
        put_int(position, m, 0, (int32_t)(rng_u64(SEED_X, m) % (3 * c->n)));
    }
    tern_status status = add_output(d, "ids", ELEMENT_I32, AT(advance.ids), 1, 1, err);
    return status == TERN_OK ? add_output(d, "log", ELEMENT_I32, AT(advance.log), 2 * c->n, 2 * c->n, err) : status;
}

tern_status op_data_create(const op_case *c, op_data **out, tern_error *err)
{
    static tern_status (*const make[OP_N_KINDS])(op_data *, tern_error *) = {
        [OP_EMBED] = make_embed,
        [OP_NORM] = make_norm,
        [OP_HEAD_NORM] = make_head_norm,
        [OP_NORM_QUANT] = make_norm_quant,
        [OP_QUANT] = make_quant,
        [OP_QUANT2] = make_quant,
        [OP_TERNARY_MM] = make_ternary_mm,
        [OP_DENSE_MM] = make_dense_mm,
        [OP_ROPE_KV] = make_rope_kv,
        [OP_ATTENTION] = make_attention,
        [OP_GATE] = make_gate,
        [OP_RESIDUAL] = make_residual,
        [OP_GATHER] = make_gather,
        [OP_TOP_K] = make_top_k,
        [OP_BLAS_MM] = make_dense_mm,
        [OP_INT_MM] = make_int_mm,
        [OP_RESCORE] = make_rescore,
        [OP_ADVANCE] = make_advance,
        [OP_DENSE_TOP_K] = make_dense_top_k,
        [OP_BLAS_INT_MM] = make_int_mm,
        [OP_FAST_ATTENTION] = make_attention,
    };
    op_data *d = calloc(1, sizeof *d);
    if (d == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for op case %s", c->name);
    d->c = c;
    d->op.kind = c->kind;
    d->op.m = c->m;
    d->op.place = 0x0300u + (uint32_t)c->kind;
    tern_status status = make[c->kind](d, err);
    if (status == TERN_OK && add_region(d, "flag", REGION_IN_PLACE, ELEMENT_I32, AT(flag), 1, 1, 1, err) == NULL)
        status = TERN_HOST_MEMORY;
    if (status != TERN_OK) {
        op_data_free(d);
        return status;
    }
    // UINT32_MAX; in larger batches an earlier op has raised it already, and its place must stay.
    d->flag = d->n_regions - 1;
    if (op_recipe_raises(c->recipe) && c->m >= 4) put_int(&d->regions[d->flag], 0, 0, (int32_t)d->op.place - 1);
    *out = d;
    return TERN_OK;
}

void op_data_free(op_data *data)
{
    if (data == NULL) return;
    for (size_t i = 0; i < data->n_regions; i++) free(data->regions[i].before);
    if (data->scale.values != NULL) ternary_scale_free(&data->scale);
    free(data->weight_rows);
    free(data);
}
