// Reference ops: rotation and KV append, attention.
#include <math.h>

#include "int4.h"
#include "reference.h"

#define HEAD_DIM_MAX     OP_MAX_HEAD_DIM
#define BLOCKS_PER_GROUP 4 // blocks folded into one state before groups are folded

// Where K or V of one head of one block lies, laid out as kv.h says.
typedef struct kv_part {
    uint8_t *data;
    int type, head_dim;
} kv_part;

static kv_part head_k(const kv_cache *c, int32_t block, uint32_t head)
{
    int hd = (int)c->head_dim;
    size_t block_bytes = (size_t)kv_block_bytes(c->k_type, c->v_type, (int)c->n_kv_heads, hd);
    size_t head_bytes = (size_t)kv_head_bytes(c->k_type, c->v_type, hd);
    uint8_t *data = (uint8_t *)cpu_at(c->blocks) + (size_t)block * block_bytes + head * head_bytes;
    return (kv_part){data, c->k_type, hd};
}

static kv_part head_v(const kv_cache *c, int32_t block, uint32_t head)
{
    kv_part k = head_k(c, block, head);
    return (kv_part){k.data + kv_part_bytes(c->k_type, k.head_dim), c->v_type, k.head_dim};
}

static float *part_scales(kv_part p) { return (float *)(p.data + KV_BLOCK * p.head_dim); }
static uint16_t *part_halves(kv_part p) { return (uint16_t *)(p.data + kv_int4_scales(p.head_dim)); }

// Values that share a scale in an int8 or int4 part: of a head all, or group by group.
static int part_group(kv_part p) { return p.type == KV_INT8 ? p.head_dim : KV_INT4_GROUP; }

static float part_scale(kv_part p, int slot, int group)
{
    return p.type == KV_INT8 ? part_scales(p)[slot] : half_to_float(part_halves(p)[kv_int4_scale_index(slot, group)]);
}

static int part_code(kv_part p, int slot, int d)
{
    if (p.type == KV_INT8) return (int8_t)p.data[slot * p.head_dim + d];
    int byte = p.data[kv_int4_byte(p.head_dim, slot, d)];
    return (d % 2 == 0 ? byte & 15 : byte >> 4) - INT4_BIAS;
}

// A stored element of an f32 or f16 part.
static float part_value(kv_part p, int index)
{
    return p.type == KV_F32 ? ((const float *)p.data)[index] : half_to_float(((const uint16_t *)p.data)[index]);
}

static int32_t table_block(const kv_rows *rows, uint32_t m, int32_t block)
{
    int32_t table = ((const int32_t *)cpu_at(rows->row_table))[m];
    return ((const int32_t *)cpu_at(rows->tables))[(size_t)table * rows->table_ld + (size_t)block];
}

// ---- rope_kv

static void rotate(float *head, const float *cos_sin, uint32_t n_dims, bool adjacent)
{
    for (uint32_t i = 0; i < n_dims / 2; i++) {
        uint32_t i0 = adjacent ? 2 * i : i, i1 = adjacent ? 2 * i + 1 : i + n_dims / 2;
        float c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
        float x0 = head[i0], x1 = head[i1];
        head[i0] = scalar_fma(x0, c, -(x1 * s));
        head[i1] = scalar_fma(x1, c, x0 * s);
    }
}

// Stores the head_dim values x in a slot of an int4 part; false if one of the scales is not finite.
static bool store_int4(kv_part p, int slot, const float *x)
{
    bool fits = true;
    for (int first = 0; first < p.head_dim; first += KV_INT4_GROUP) {
        int n = p.head_dim - first < KV_INT4_GROUP ? p.head_dim - first : KV_INT4_GROUP;
        scalar_u32 bits = int4_scale(reference_absmax(x + first, (uint32_t)n));
        float d = half_to_float(bits);
        part_halves(p)[kv_int4_scale_index(slot, first / KV_INT4_GROUP)] = (uint16_t)bits;
        for (int i = first; i < first + n; i += 2)
            p.data[kv_int4_byte(p.head_dim, slot, i)] = (uint8_t)((int4_code(x[i], d) + INT4_BIAS) |
                                                                  (int4_code(x[i + 1], d) + INT4_BIAS) << 4);
        fits = fits && int4_scale_is_finite(bits);
    }
    return fits;
}

// Stores the head_dim values x in a slot; false if one cannot be stored as a finite number. is_k says which layout.
static bool store(kv_part p, int slot, bool is_k, const float *x)
{
    float max = reference_absmax(x, (uint32_t)p.head_dim);
    if (p.type == KV_INT4) return store_int4(p, slot, x);
    if (p.type == KV_INT8) {
        int8_t *codes = (int8_t *)p.data + slot * p.head_dim;
        reference_quant(x, (uint32_t)p.head_dim, codes, &part_scales(p)[slot]);
        return scalar_is_finite(max);
    }
    for (int i = 0; i < p.head_dim; i++) {
        int index = is_k ? kv_k_index(p.type, p.head_dim, slot, i) : kv_v_index(p.head_dim, slot, i);
        if (p.type == KV_F32)
            ((float *)p.data)[index] = x[i];
        else
            ((uint16_t *)p.data)[index] = (uint16_t)half_from_float(x[i]);
    }
    return p.type == KV_F32 || max < 65520.0f; // false for NaN too
}

void reference_rope_kv(const device *d, const op *o)
{
    (void)d;
    const op_rope_kv *a = &o->rope_kv;
    uint32_t hd = a->cache.head_dim, n_kv = a->cache.n_kv_heads;
    for (uint32_t m = 0; m < o->m; m++) {
        float *q = (float *)cpu_at(a->x) + (size_t)m * a->ld_x;
        float *k = q + (size_t)a->n_heads * hd, *v = k + (size_t)n_kv * hd;
        int32_t position = ((const int32_t *)cpu_at(a->rows.row_position))[m];
        const float *cos_sin = (const float *)cpu_at(a->rope) + (size_t)position * a->n_dims;
        int32_t block = table_block(&a->rows, m, position / KV_BLOCK);
        int slot = position % KV_BLOCK;

        for (uint32_t h = 0; h < a->n_heads; h++) rotate(q + (size_t)h * hd, cos_sin, a->n_dims, a->adjacent);
        for (uint32_t h = 0; h < n_kv; h++) {
            rotate(k + (size_t)h * hd, cos_sin, a->n_dims, a->adjacent);
            bool k_fits = store(head_k(&a->cache, block, h), slot, true, k + (size_t)h * hd);
            bool v_fits = store(head_v(&a->cache, block, h), slot, false, v + (size_t)h * hd);
            if (!k_fits || !v_fits) cpu_flag(o);
        }
    }
}

// ---- attention

// One head's query; with int8 or int4 K also its two-term form.
typedef struct query {
    const float *q;
    int8_t hi[HEAD_DIM_MAX], lo[HEAD_DIM_MAX];
    float a, b;
    float scale; // 1 / sqrt(head_dim)
} query;

// A softmax-weighted sum over some positions: maximum score, sum of weights, weighted sum of V.
typedef struct attention_state {
    float m, l;
    float o[HEAD_DIM_MAX];
} attention_state;

static float score_int4(const query *q, kv_part k, int slot)
{
    float s = 0.0f;
    for (int first = 0; first < k.head_dim; first += KV_INT4_GROUP) {
        int32_t hi = 0, lo = 0;
        for (int i = first; i < first + KV_INT4_GROUP && i < k.head_dim; i++) {
            hi += q->hi[i] * part_code(k, slot, i);
            lo += q->lo[i] * part_code(k, slot, i);
        }
        float t = scalar_fma((float)hi, q->a, (float)lo * q->b);
        s = scalar_fma(t, part_scale(k, slot, first / KV_INT4_GROUP), s);
    }
    return q->scale * s;
}

static float score(const query *q, kv_part k, int slot)
{
    if (k.type == KV_INT4) return score_int4(q, k, slot);
    if (k.type == KV_INT8) {
        const int8_t *codes = (const int8_t *)k.data + slot * k.head_dim;
        float ak = part_scales(k)[slot];
        int32_t hi = 0, lo = 0;
        for (int i = 0; i < k.head_dim; i++) {
            hi += q->hi[i] * codes[i];
            lo += q->lo[i] * codes[i];
        }
        return scalar_fma((float)hi, q->a * ak, (float)lo * (q->b * ak)) * q->scale;
    }
    float s = 0.0f;
    for (int i = 0; i < k.head_dim; i++)
        s = scalar_fma(q->q[i], part_value(k, kv_k_index(k.type, k.head_dim, slot, i)), s);
    return q->scale * s;
}

// o_d = sum over slots of p_j * v_jd; the sums with int8 and int4 V are exact, those of values that share a scale with
// the same quantised weights. Returns false if the weights are not finite.
static bool weighted_sum(const float *p, int n, kv_part v, float *o)
{
    if (!kv_is_integer(v.type)) {
        for (int i = 0; i < v.head_dim; i++) {
            o[i] = 0.0f;
            for (int j = 0; j < n; j++) o[i] = scalar_fma(p[j], part_value(v, kv_v_index(v.head_dim, j, i)), o[i]);
        }
        return true;
    }
    bool is_finite = true;
    for (int first = 0; first < v.head_dim; first += part_group(v)) {
        float w[KV_BLOCK], a, b;
        int8_t hi[KV_BLOCK], lo[KV_BLOCK];
        for (int j = 0; j < n; j++) w[j] = p[j] * part_scale(v, j, first / part_group(v));
        float max = reference_quant2_floor(w, (uint32_t)n, REFERENCE_ATTENTION_FLOOR, hi, &a, lo, &b);
        for (int i = first; i < first + part_group(v) && i < v.head_dim; i++) {
            int32_t hi_sum = 0, lo_sum = 0;
            for (int j = 0; j < n; j++) {
                hi_sum += hi[j] * part_code(v, j, i);
                lo_sum += lo[j] * part_code(v, j, i);
            }
            o[i] = scalar_fma((float)hi_sum, a, (float)lo_sum * b);
        }
        is_finite &= scalar_is_finite(max);
    }
    return is_finite;
}

// The state of one block, of which the first n positions are present. Returns false if a weight is not finite.
static bool attend_block(const query *q, kv_part k, kv_part v, int n, attention_state *out)
{
    float s[KV_BLOCK], p[KV_BLOCK] = {0}, lanes[KV_BLOCK];
    out->m = s[0] = score(q, k, 0);
    for (int j = 1; j < n; j++) {
        s[j] = score(q, k, j);
        if (s[j] > out->m) out->m = s[j];
    }
    for (int j = 0; j < n; j++) p[j] = scalar_exp(s[j] - out->m);
    for (int j = 0; j < KV_BLOCK; j++) lanes[j] = p[j];
    out->l = reference_tree(lanes, KV_BLOCK);
    return weighted_sum(p, n, v, out->o);
}

// Folds the state of the positions that follow into `s`.
static void merge(attention_state *s, const attention_state *next, uint32_t head_dim)
{
    float m = next->m > s->m ? next->m : s->m;
    float al = scalar_exp(s->m - m), be = scalar_exp(next->m - m);
    s->m = m;
    s->l = scalar_fma(s->l, al, next->l * be);
    for (uint32_t i = 0; i < head_dim; i++) s->o[i] = scalar_fma(s->o[i], al, next->o[i] * be);
}

static void attend_head(const op *o, uint32_t row, uint32_t head, const float *q_values, float *y)
{
    const kv_cache *cache = &o->attention.cache;
    const kv_rows *rows = &o->attention.rows;
    uint32_t hd = cache->head_dim, kv_head = head / (o->attention.n_heads / cache->n_kv_heads);
    int32_t position = ((const int32_t *)cpu_at(rows->row_position))[row];
    int32_t last_block = position / KV_BLOCK;
    bool is_finite = true;

    query q = {.q = q_values, .scale = (float)(1.0 / sqrt((double)hd))};
    if (kv_is_integer(cache->k_type)) {
        float max = reference_quant2_floor(q_values, hd, REFERENCE_ATTENTION_FLOOR, q.hi, &q.a, q.lo, &q.b);
        is_finite = scalar_is_finite(max);
    }

    attention_state block, group, result;
    for (int32_t b = 0; b <= last_block; b++) {
        int32_t index = table_block(rows, row, b);
        int n = b < last_block ? KV_BLOCK : position % KV_BLOCK + 1;
        is_finite &= attend_block(&q, head_k(cache, index, kv_head), head_v(cache, index, kv_head), n, &block);
        if (b % BLOCKS_PER_GROUP == 0)
            group = block;
        else
            merge(&group, &block, hd);
        bool is_group_end = b == last_block || b % BLOCKS_PER_GROUP == BLOCKS_PER_GROUP - 1;
        if (is_group_end && b < BLOCKS_PER_GROUP)
            result = group;
        else if (is_group_end)
            merge(&result, &group, hd);
    }
    if (!is_finite) cpu_flag(o);
    for (uint32_t i = 0; i < hd; i++) y[i] = scalar_div(result.o[i], result.l);
}

void reference_attention(const device *d, const op *o)
{
    (void)d;
    const op_attention *a = &o->attention;
    for (uint32_t m = 0; m < o->m; m++)
        for (uint32_t h = 0; h < a->n_heads; h++) {
            const float *q = (const float *)cpu_at(a->q) + (size_t)m * a->ld_q + (size_t)h * a->cache.head_dim;
            float *y = (float *)cpu_at(a->y) + (size_t)m * a->ld_y + (size_t)h * a->cache.head_dim;
            attend_head(o, m, h, q, y);
        }
}
