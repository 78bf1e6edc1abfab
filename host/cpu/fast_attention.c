// Fast ops: rope_kv and attention. Attention is shared out by (a few rows, a few query heads that read the same KV
// head). Each row and head is one chain of merges in the order ops.h gives, so sharing changes no bit.
#include <math.h>
#include <string.h>

#include "fast.h"
#include "int4.h"

#define BLOCKS_PER_GROUP 4
#define MOST_TOGETHER    16u // heads of rows that pass over K and V together: of size 128 they keep 50 KiB beside 16
#define ITEMS_PER_THREAD 4u

// ---- the cache ----

// K and V of one head in one block.
typedef struct kv_head {
    uint8_t *k, *v;
} kv_head;

static kv_head find_head(const kv_cache *c, const kv_rows *rows, uint32_t m, uint32_t block, uint32_t head)
{
    int32_t table = ((const int32_t *)cpu_at(rows->row_table))[m];
    int32_t index = ((const int32_t *)cpu_at(rows->tables))[(size_t)table * rows->table_ld + block];
    int hd = (int)c->head_dim;
    uint8_t *k = (uint8_t *)cpu_at(c->blocks) +
                 (size_t)index * (size_t)kv_block_bytes(c->k_type, c->v_type, (int)c->n_kv_heads, hd) +
                 head * (size_t)kv_head_bytes(c->k_type, c->v_type, hd);
    return (kv_head){k, k + kv_part_bytes(c->k_type, hd)};
}

static float *part_scales(uint8_t *part, uint32_t head_dim)
{
    return (float *)(void *)(part + (size_t)KV_BLOCK * head_dim);
}

static uint16_t *part_halves(uint8_t *part, uint32_t head_dim)
{
    return (uint16_t *)(void *)(part + kv_int4_scales((int)head_dim));
}

// ---- rope_kv ----

static bool store_int4(const cpu_kernels *k, uint8_t *part, uint32_t head_dim, uint32_t slot, const float *x)
{
    uint8_t *to = part + kv_int4_byte((int)head_dim, (int)slot, 0);
    bool fits = true;
    for (uint32_t first = 0; first < head_dim; first += KV_INT4_GROUP) {
        uint32_t n = head_dim - first < KV_INT4_GROUP ? head_dim - first : KV_INT4_GROUP;
        scalar_u32 bits = int4_scale(scalar_as_float(k->absmax(x + first, n)));
        float d = half_to_float(bits);
        part_halves(part, head_dim)[kv_int4_scale_index((int)slot, (int)(first / KV_INT4_GROUP))] = (uint16_t)bits;
        for (uint32_t i = first; i < first + n; i += 2)
            to[i / 2] = (uint8_t)((int4_code(x[i], d) + INT4_BIAS) | (int4_code(x[i + 1], d) + INT4_BIAS) << 4);
        fits = fits && int4_scale_is_finite(bits);
    }
    return fits;
}

// Writes head_dim values into a slot of a part; false if one of them cannot be stored as a finite number.
static bool store(const cpu_kernels *k, int type, bool is_k, uint8_t *part, uint32_t head_dim, uint32_t slot,
                  const float *x)
{
    if (type == KV_INT4) return store_int4(k, part, head_dim, slot, x);
    if (type == KV_INT8) {
        int32_t sum; // not stored
        int8_t *codes = (int8_t *)part + (size_t)slot * head_dim;
        return scalar_is_finite(fast_quant_row(k, x, head_dim, codes, part_scales(part, head_dim) + slot, &sum));
    }
    size_t first = is_k ? slot : (size_t)slot * head_dim, step = is_k ? KV_BLOCK : 1;
    if (type == KV_F32) {
        float *to = (float *)(void *)part + first;
        for (uint32_t i = 0; i < head_dim; i++) to[i * step] = x[i];
        return true;
    }
    uint16_t *to = (uint16_t *)(void *)part + first;
    for (uint32_t i = 0; i < head_dim; i++) to[i * step] = (uint16_t)half_from_float(x[i]);
    return scalar_as_float(k->absmax(x, head_dim)) < 65520.0f; // false for NaN too
}

typedef struct attention_job {
    const cpu_kernels *kernels;
    const op *o;
    uint32_t rows, heads; // attention only: of an item
} attention_job;

static void rope_kv_row(const cpu_kernels *kernels, const op *o, uint32_t m)
{
    const op_rope_kv *a = &o->rope_kv;
    const kv_cache *c = &a->cache;
    uint32_t hd = c->head_dim, position = (uint32_t)((const int32_t *)cpu_at(a->rows.row_position))[m];
    const float *cos_sin = (const float *)cpu_at(a->rope) + (size_t)position * a->n_dims;
    float *q = fast_row_out(a->x, a->ld_x, m), *k = q + (size_t)a->n_heads * hd, *v = k + (size_t)c->n_kv_heads * hd;

    for (uint32_t h = 0; h < a->n_heads + c->n_kv_heads; h++)
        kernels->rotate(q + (size_t)h * hd, cos_sin, a->n_dims, a->adjacent);
    for (uint32_t h = 0; h < c->n_kv_heads; h++) {
        kv_head head = find_head(c, &a->rows, m, position / KV_BLOCK, h);
        bool k_fits = store(kernels, c->k_type, true, head.k, hd, position % KV_BLOCK, k + (size_t)h * hd);
        bool v_fits = store(kernels, c->v_type, false, head.v, hd, position % KV_BLOCK, v + (size_t)h * hd);
        if (!k_fits || !v_fits) cpu_flag(o);
    }
}

static void rope_kv_rows(void *context, uint32_t begin, uint32_t end)
{
    const attention_job *job = context;
    for (uint32_t m = begin; m < end; m++) rope_kv_row(job->kernels, job->o, m);
}

void fast_rope_kv(const device *d, const op *o)
{
    const op_rope_kv *a = &o->rope_kv;
    attention_job job = {.kernels = d->kernels, .o = o};
    team_run(d->team, o->m, fast_grain((a->n_heads + 2 * a->cache.n_kv_heads) * a->cache.head_dim), rope_kv_rows, &job);
}

// ---- attention ----

typedef struct state {
    float m, l;
    float o[OP_MAX_HEAD_DIM];
} state;

typedef struct query {
    const float *q;
    float scale; // 1 / sqrt(head_dim)
    float a, b;  // int8 and int4 K: the scales of the two terms
    int8_t hi[OP_MAX_HEAD_DIM], lo[OP_MAX_HEAD_DIM];
    int16_t wide_hi[OP_MAX_HEAD_DIM], wide_lo[OP_MAX_HEAD_DIM]; // int8 K
} query;

// quant2 with the floor of attention; returns absmax.
static float quantize2(const cpu_kernels *k, const float *x, uint32_t n, int8_t *hi, float *a, int8_t *lo, float *b)
{
    float max = scalar_as_float(k->absmax(x, n)), c = max >= 0x1p-100f ? max : 0x1p-100f;
    k->codes(x, scalar_div(127.0f, c), n, hi);
    *a = scalar_div(c, 127.0f);
    k->codes_rest(x, hi, *a, scalar_div(254.0f, *a), n, lo);
    *b = scalar_div(*a, 254.0f);
    return max;
}

static bool prepare_query(const cpu_kernels *k, const float *q, int k_type, uint32_t head_dim, query *out)
{
    out->q = q;
    out->scale = (float)(1.0 / sqrt((double)head_dim));
    if (!kv_is_integer(k_type)) return true;
    float max = quantize2(k, q, head_dim, out->hi, &out->a, out->lo, &out->b);
    for (uint32_t i = 0; k_type == KV_INT8 && i < head_dim; i++) {
        out->wide_hi[i] = out->hi[i];
        out->wide_lo[i] = out->lo[i];
    }
    return scalar_is_finite(max);
}

// The weighted sum of int8 or int4 V: for values that share scales, the weights with those of the positions, quantised,
// times codes. False if a weight is not finite.
static bool integer_values(const cpu_kernels *k, const kv_cache *c, uint8_t *v, const float *p, uint32_t n, float *o)
{
    uint32_t hd = c->head_dim, group = c->v_type == KV_INT8 ? hd : KV_INT4_GROUP;
    bool is_finite = true;
    for (uint32_t first = 0; first < hd; first += group) {
        float w[KV_BLOCK] = {0}, scales[KV_BLOCK], a, b;
        const float *av = scales;
        int8_t hi[KV_BLOCK], lo[KV_BLOCK];
        if (c->v_type == KV_INT8)
            av = part_scales(v, hd);
        else
            k->dense_to_float(DENSE_F16, (const uint8_t *)(part_halves(v, hd) + KV_BLOCK * (first / group)), KV_BLOCK,
                              scales);
        for (uint32_t j = 0; j < n; j++) w[j] = p[j] * av[j];
        is_finite &= scalar_is_finite(quantize2(k, w, KV_BLOCK, hi, &a, lo, &b));
        if (c->v_type == KV_INT8)
            k->values_int8(hi, lo, a, b, (const int8_t *)v, hd, o);
        else
            k->values_int4(hi, lo, a, b, v + first / 2, hd, hd - first < group ? hd - first : group, o + first);
    }
    return is_finite;
}

// The state of one block, of which the first n positions are present; false if a weight is not finite.
static bool attend_block(const cpu_kernels *k, const kv_cache *c, const query *q, kv_head head, uint32_t n, state *out)
{
    uint32_t hd = c->head_dim;
    float s[KV_BLOCK], p[KV_BLOCK];
    if (c->k_type == KV_INT8)
        k->scores_int8(q->wide_hi, q->wide_lo, q->a, q->b, (const int8_t *)head.k, hd, q->scale, s);
    else if (c->k_type == KV_INT4)
        k->scores_int4(q->hi, q->lo, q->a, q->b, head.k, hd, q->scale, s);
    else
        k->scores(c->k_type, q->q, head.k, hd, q->scale, s);

    out->m = s[0];
    for (uint32_t j = 1; j < n; j++)
        if (s[j] > out->m) out->m = s[j];
    k->softmax(s, out->m, n, p);
    out->l = k->tree64(p);
    if (kv_is_integer(c->v_type)) return integer_values(k, c, head.v, p, n, out->o);
    k->values(c->v_type, p, head.v, n, hd, out->o);
    return true;
}

// Folds the state of the positions that follow into s.
static void fold(const cpu_kernels *k, state *s, const state *next, uint32_t head_dim)
{
    float m = next->m > s->m ? next->m : s->m;
    float al = scalar_exp(s->m - m), be = scalar_exp(next->m - m);
    s->m = m;
    s->l = scalar_fma(s->l, al, next->l * be);
    k->merge(s->o, al, next->o, be, head_dim);
}

static void copy_state(state *to, const state *from, uint32_t head_dim)
{
    to->m = from->m;
    to->l = from->l;
    memcpy(to->o, from->o, head_dim * sizeof(float));
}

// A query head of a row on its way through the blocks.
typedef struct walk {
    query q;
    uint32_t m, head, position;
    bool is_finite;
    state group, result;
} walk;

static void start(const cpu_kernels *k, const op *o, uint32_t m, uint32_t head, walk *w)
{
    const op_attention *a = &o->attention;
    uint32_t hd = a->cache.head_dim;
    w->m = m;
    w->head = head;
    w->position = (uint32_t)((const int32_t *)cpu_at(a->rows.row_position))[m];
    w->is_finite = prepare_query(k, fast_row(a->q, a->ld_q, m) + (size_t)head * hd, a->cache.k_type, hd, &w->q);
}

// Block b, which is not behind the row's position: blocks come in ascending order.
static void pass_block(const cpu_kernels *k, const op_attention *a, walk *w, uint32_t kv, uint32_t b)
{
    uint32_t hd = a->cache.head_dim, last = w->position / KV_BLOCK;
    uint32_t n = b < last ? KV_BLOCK : w->position % KV_BLOCK + 1, in_group = b % BLOCKS_PER_GROUP;
    state block;
    w->is_finite &= attend_block(k, &a->cache, &w->q, find_head(&a->cache, &a->rows, w->m, b, kv), n, &block);
    if (in_group == 0)
        copy_state(&w->group, &block, hd);
    else
        fold(k, &w->group, &block, hd);
    if (b != last && in_group != BLOCKS_PER_GROUP - 1) return;
    if (b < BLOCKS_PER_GROUP)
        copy_state(&w->result, &w->group, hd);
    else
        fold(k, &w->result, &w->group, hd);
}

// Query heads [head, head + n_heads), which read one KV head, of rows [begin, end), block by block: all but the first
// find K and V in the cache, also those of other rows where the rows are of one sequence.
static void attend_rows(const cpu_kernels *k, const op *o, uint32_t begin, uint32_t end, uint32_t head,
                        uint32_t n_heads)
{
    const op_attention *a = &o->attention;
    uint32_t hd = a->cache.head_dim, kv = head / (a->n_heads / a->cache.n_kv_heads), n_blocks = 0;
    walk walks[MOST_TOGETHER], *walks_end = walks + (size_t)(end - begin) * n_heads;
    for (walk *w = walks; w < walks_end; w++) {
        uint32_t i = (uint32_t)(w - walks);
        start(k, o, begin + i / n_heads, head + i % n_heads, w);
        if (w->position / KV_BLOCK + 1 > n_blocks) n_blocks = w->position / KV_BLOCK + 1;
    }
    for (uint32_t b = 0; b < n_blocks; b++)
        for (walk *w = walks; w < walks_end; w++)
            if (b <= w->position / KV_BLOCK) pass_block(k, a, w, kv, b);
    for (const walk *w = walks; w < walks_end; w++) {
        if (!w->is_finite) cpu_flag(o);
        float *y = fast_row_out(a->y, a->ld_y, w->m) + (size_t)w->head * hd;
        for (uint32_t i = 0; i < hd; i++) y[i] = scalar_div(w->result.o[i], w->result.l);
    }
}

// Items are `heads` query heads of `rows` rows, those of the first rows first.
static void attend(void *context, uint32_t begin, uint32_t end)
{
    const attention_job *job = context;
    uint32_t per_rows = job->o->attention.n_heads / job->heads;
    for (uint32_t item = begin; item < end; item++) {
        uint32_t first = item / per_rows * job->rows, last = first + job->rows;
        attend_rows(job->kernels, job->o, first, last < job->o->m ? last : job->o->m, item % per_rows * job->heads,
                    job->heads);
    }
}

void fast_attention(const device *d, const op *o)
{
    // As many together as leave every thread several items: rows first, then heads.
    const op_attention *a = &o->attention;
    uint32_t most = o->m * a->n_heads / (ITEMS_PER_THREAD * (uint32_t)d->n_threads);
    most = most < 1 ? 1 : most < MOST_TOGETHER ? most : MOST_TOGETHER;
    uint32_t rows = o->m < most ? o->m : most, heads = most / rows, group = a->n_heads / a->cache.n_kv_heads;
    if (heads > group) heads = group;
    while (group % heads != 0) heads--;
    attention_job job = {d->kernels, o, rows, heads};
    team_run(d->team, (o->m + rows - 1) / rows * (a->n_heads / heads), 1, attend, &job);
}
