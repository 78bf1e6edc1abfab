// Attention over the KV cache (ops.h). One work-group of 64 lanes for a head of a row: lane j scores position j of a
// block of 64; then lane d sums dimensions d, d + 64, ... of V. Dimension 0 is the head, 1 the row, 2 the split: either
// one split walks all groups of four blocks, or split g does group g alone and leaves its state for attention_merge.
// Follows rope_kv.cl, which has kv_part.

#define ATTENTION_FLOOR  0x1p-100f
#define BLOCKS_PER_GROUP 4
#define GROUPS_MAX       (HEAD_DIM_MAX / KV_INT4_GROUP) // of values of a head that share scales

// The state of some positions: x their maximum score, y the sum of their weights; the weighted sum of V lies in local
// memory.
typedef float2 state;

// Folds what follows (next, with its sums next_o) into s. Each lane folds its own dimensions.
static state merge(state s, __local float *o, state next, const __local float *next_o, uint head_dim)
{
    float m = next.x > s.x ? next.x : s.x;
    float al = scalar_exp(s.x - m), be = scalar_exp(next.x - m);
    for (uint d = get_local_id(0); d < head_dim; d += 64) o[d] = scalar_fma(o[d], al, next_o[d] * be);
    return (state)(m, scalar_fma(s.y, al, next.y * be));
}

static void copy_own(__local float *to, const __local float *from, uint head_dim)
{
    for (uint d = get_local_id(0); d < head_dim; d += 64) to[d] = from[d];
}

// Two-term quantisation with the floor, from absmax as bits: the scales a and b of the terms, and the codes of a value.
static float2 floor_scales(uint largest)
{
    float m = scalar_as_float(largest);
    float c = m >= ATTENTION_FLOOR ? m : ATTENTION_FLOOR;
    float a = scalar_div(c, 127.0f);
    return (float2)(a, scalar_div(a, 254.0f));
}

static char2 floor_codes(float x, uint largest, float2 terms)
{
    float m = scalar_as_float(largest);
    float c = m >= ATTENTION_FLOOR ? m : ATTENTION_FLOOR;
    int hi = scalar_code(x * scalar_div(127.0f, c));
    int lo = scalar_code(scalar_fma(-(float)hi, terms.x, x) * scalar_div(254.0f, terms.x));
    return (char2)((char)hi, (char)lo);
}

typedef struct query {
    const __local float *q;      // f32, f16 K
    const __local char *hi, *lo; // int8 and int4 K; see int4_order
    float2 terms;
    float scale; // 1 / sqrt(head_dim)
} query;

// Where the code of value i of the query stands for int4 K: four bits of a word are its values 0, 2, 4, 6 (low) and 1,
// 3, 5, 7 (high). Rows that are no whole words are read value by value.
static uint int4_order(uint i, uint head_dim) { return head_dim % 8 == 0 ? i / 8 * 8 + i % 2 * 4 + i % 8 / 2 : i; }

static int int4_at(const __global uchar *part, uint slot, uint d, uint head_dim)
{
    int byte = part[kv_int4_byte((int)head_dim, (int)slot, (int)d)];
    return (d % 2 == 0 ? byte & 15 : byte >> 4) - INT4_BIAS;
}

static float score_int4(query q, const __global uchar *k, uint slot, uint head_dim)
{
    const __global ushort *scales = (const __global ushort *)(k + kv_int4_scales((int)head_dim));
    float s = 0.0f;
    for (uint first = 0; first < head_dim; first += KV_INT4_GROUP) {
        uint end = min(first + KV_INT4_GROUP, head_dim);
        int hi = 0, lo = 0;
        if (head_dim % 8 == 0)
            for (uint i = first; i < end; i += 8) {
                uint word = *(const __global uint *)(k + kv_int4_byte((int)head_dim, (int)slot, (int)i));
                uint even = int4_signed_codes(word), odd = int4_signed_codes(word >> 4);
                const __local uint *q_hi = (const __local uint *)(q.hi + i), *q_lo = (const __local uint *)(q.lo + i);
                hi = dot_ss(odd, q_hi[1], dot_ss(even, q_hi[0], hi));
                lo = dot_ss(odd, q_lo[1], dot_ss(even, q_lo[0], lo));
            }
        else
            for (uint i = first; i < end; i++) {
                hi += int4_at(k, slot, i, head_dim) * q.hi[i];
                lo += int4_at(k, slot, i, head_dim) * q.lo[i];
            }
        float ak = load_half(scales + kv_int4_scale_index((int)slot, (int)(first / KV_INT4_GROUP)));
        s = scalar_fma(scalar_fma((float)hi, q.terms.x, (float)lo * q.terms.y), ak, s);
    }
    return q.scale * s;
}

static float score(query q, const __global uchar *k, int type, uint slot, uint head_dim)
{
    if (type == KV_INT4) return score_int4(q, k, slot, head_dim);
    if (type == KV_INT8) {
        const __global char *codes = (const __global char *)k + slot * head_dim;
        float ak = ((const __global float *)(k + KV_BLOCK * head_dim))[slot];
        int hi = 0, lo = 0;
        uint i = 0;
        if (head_dim % 4 == 0) // rows of codes then begin on words
            for (; i < head_dim; i += 4) {
                uint word = *(const __global uint *)(codes + i);
                hi = dot_ss(word, *(const __local uint *)(q.hi + i), hi);
                lo = dot_ss(word, *(const __local uint *)(q.lo + i), lo);
            }
        for (; i < head_dim; i++) {
            hi += codes[i] * q.hi[i];
            lo += codes[i] * q.lo[i];
        }
        return scalar_fma((float)hi, q.terms.x * ak, (float)lo * (q.terms.y * ak)) * q.scale;
    }
    float s = 0.0f;
    for (uint d = 0; d < head_dim; d++) {
        uint at = d * KV_BLOCK + slot;
        float x = type == KV_F32 ? ((const __global float *)k)[at] : load_half((const __global ushort *)k + at);
        s = scalar_fma(q.q[d], x, s);
    }
    return q.scale * s;
}

// Local memory of a work-group besides the sums of V.
typedef struct scratch {
    __local float *p;      // [64]
    __local uint *lanes;   // [64]
    __local char *hi, *lo; // [group][64]; int8 V has one group
    __local float2 *terms; // [group]
} scratch;

// The state of one block of which the first n positions are present; its sums go to o.
static state attend_block(query q, const __global uchar *k, const __global uchar *v, int k_type, int v_type, uint n,
                          uint head_dim, scratch local_, __local float *o, volatile __global uint *flag, uint place)
{
    uint j = get_local_id(0);
    bool is_present = j < n;
    float s = is_present ? score(q, k, k_type, j, head_dim) : 0.0f;
    __local float *lanes = (__local float *)local_.lanes;

    local_.p[j] = s;
    BARRIER();
    if (j == 0) { // in order, as a NaN decides by its place
        float m = local_.p[0];
        for (uint i = 1; i < n; i++) m = local_.p[i] > m ? local_.p[i] : m;
        lanes[0] = m;
    }
    BARRIER();
    float largest_score = lanes[0];
    BARRIER();

    float p = is_present ? scalar_exp(s - largest_score) : 0.0f;
    local_.p[j] = p;
    state out = (state)(largest_score, sum_floats(p, lanes, 64));

    if (!kv_is_integer(v_type)) {
        for (uint d = j; d < head_dim; d += 64) {
            float sum = 0.0f;
            for (uint i = 0; i < n; i++) {
                uint at = i * head_dim + d;
                float x = v_type == KV_F32 ? ((const __global float *)v)[at]
                                           : load_half((const __global ushort *)v + at);
                sum = scalar_fma(local_.p[i], x, sum);
            }
            o[d] = sum;
        }
        BARRIER();
        return out;
    }
    // Weights times the scales of each group, quantised; then the sums.
    bool is_int8 = v_type == KV_INT8;
    uint group = is_int8 ? head_dim : KV_INT4_GROUP;
    for (uint g = 0; g * group < head_dim; g++) {
        float scale = is_int8 ? ((const __global float *)(v + KV_BLOCK * head_dim))[j]
                              : load_half((const __global ushort *)(v + kv_int4_scales((int)head_dim)) +
                                          kv_int4_scale_index((int)j, (int)g));
        float w = is_present ? p * scale : 0.0f;
        uint largest = max_lanes(scalar_magnitude(w), local_.lanes, 64);
        if (j == 0 && !scalar_is_finite(scalar_as_float(largest))) raise_flag(flag, place);
        float2 terms = floor_scales(largest);
        char2 codes = floor_codes(w, largest, terms);
        local_.hi[64 * g + j] = codes.x;
        local_.lo[64 * g + j] = codes.y;
        if (j == 0) local_.terms[g] = terms;
    }
    BARRIER();
    for (uint d = j; d < head_dim; d += 64) {
        uint g = d / group;
        int hi = 0, lo = 0;
        for (uint i = 0; i < n; i++) {
            int x = is_int8 ? ((const __global char *)v)[i * head_dim + d] : int4_at(v, i, d, head_dim);
            hi += local_.hi[64 * g + i] * x;
            lo += local_.lo[64 * g + i] * x;
        }
        o[d] = scalar_fma((float)hi, local_.terms[g].x, (float)lo * local_.terms[g].y);
    }
    BARRIER();
    return out;
}

// `partial`: [row][head][group][head_dim + 2], used with more than one split. `work`: 4 * head_dim floats.
__kernel GROUP(64) void attention(const __global float *q, ulong q_at, __global float *y, ulong y_at,
                                  const __global int *row_table, ulong row_table_at, const __global int *row_position,
                                  ulong row_position_at, const __global int *tables, ulong tables_at, uint table_ld,
                                  const __global uchar *cache, ulong cache_at, uint n_heads, uint n_kv_heads,
                                  uint head_dim, int k_type, int v_type, float scale, uint ld_q, uint ld_y,
                                  volatile __global uint *flag, ulong flag_at, uint place, __global float *partial,
                                  __local float *work)
{
    __local float *values = work, *block_o = work + head_dim, *group_o = work + 2 * head_dim;
    __local float *result_o = work + 3 * head_dim;
    __local float p[64];
    __local uint lanes[64], q_hi[HEAD_DIM_MAX / 4], q_lo[HEAD_DIM_MAX / 4]; // words, for their alignment
    __local char w_hi[64 * GROUPS_MAX], w_lo[64 * GROUPS_MAX];
    __local float2 w_terms[GROUPS_MAX];
    uint lane = get_local_id(0), h = (uint)get_group_id(0), n_splits = (uint)get_num_groups(2);
    size_t m = get_group_id(1);
    uint position = (uint)row_position[row_position_at + m], last_block = position / KV_BLOCK;
    uint first = n_splits == 1 ? 0 : (uint)get_group_id(2) * BLOCKS_PER_GROUP;
    if (first > last_block) return; // the whole work-group
    uint end = n_splits == 1 ? last_block + 1 : min(first + BLOCKS_PER_GROUP, last_block + 1);

    const __global float *head = q + q_at + m * ld_q + (size_t)h * head_dim;
    query query_;
    query_.q = values;
    query_.hi = (const __local char *)q_hi;
    query_.lo = (const __local char *)q_lo;
    query_.scale = scale;
    query_.terms = (float2)(0.0f, 0.0f);
    uint largest = 0;
    for (uint i = lane; i < head_dim; i += 64) {
        values[i] = head[i];
        largest = max(largest, scalar_magnitude(head[i]));
    }
    largest = max_lanes(largest, lanes, 64);
    if (kv_is_integer(k_type)) {
        if (lane == 0 && !scalar_is_finite(scalar_as_float(largest))) raise_flag(flag + flag_at, place);
        query_.terms = floor_scales(largest);
        for (uint i = lane; i < head_dim; i += 64) {
            char2 codes = floor_codes(values[i], largest, query_.terms);
            uint at = k_type == KV_INT4 ? int4_order(i, head_dim) : i;
            ((__local char *)q_hi)[at] = codes.x;
            ((__local char *)q_lo)[at] = codes.y;
        }
        BARRIER();
    }

    scratch local_;
    local_.p = p;
    local_.lanes = lanes;
    local_.hi = w_hi;
    local_.lo = w_lo;
    local_.terms = w_terms;
    const __global int *table = tables + tables_at + (size_t)row_table[row_table_at + m] * table_ld;
    uint kv_head = h / (n_heads / n_kv_heads);
    state group = (state)(0.0f, 0.0f), result = group;
    for (uint b = first; b < end; b++) {
        uint n = b < last_block ? KV_BLOCK : position % KV_BLOCK + 1;
        const __global uchar *k = cache + cache_at +
                                  kv_part(table, b * KV_BLOCK, kv_head, n_kv_heads, head_dim, k_type, v_type, false);
        const __global uchar *v = k + kv_part_bytes(k_type, (int)head_dim);
        state block = attend_block(query_, k, v, k_type, v_type, n, head_dim, local_, block_o, flag + flag_at, place);
        if (b % BLOCKS_PER_GROUP == 0) {
            group = block;
            copy_own(group_o, block_o, head_dim);
        } else
            group = merge(group, group_o, block, block_o, head_dim);
        if (b + 1 != end && b % BLOCKS_PER_GROUP != BLOCKS_PER_GROUP - 1) continue;
        if (b - first < BLOCKS_PER_GROUP) {
            result = group;
            copy_own(result_o, group_o, head_dim);
        } else
            result = merge(result, result_o, group, group_o, head_dim);
    }
    if (n_splits == 1) {
        __global float *out = y + y_at + m * ld_y + (size_t)h * head_dim;
        for (uint d = lane; d < head_dim; d += 64) out[d] = scalar_div(result_o[d], result.y);
        return;
    }
    __global float *out = partial + ((m * n_heads + h) * n_splits + get_group_id(2)) * (head_dim + 2);
    for (uint d = lane; d < head_dim; d += 64) out[2 + d] = result_o[d];
    if (lane == 0) {
        out[0] = result.x;
        out[1] = result.y;
    }
}

// Folds the states of the groups, ascending. Dimension 0 is the head, 1 the row.
__kernel GROUP(64) void attention_merge(__global float *y, ulong y_at, const __global int *row_position,
                                        ulong row_position_at, uint n_splits, uint n_heads, uint head_dim, uint ld_y,
                                        const __global float *partial)
{
    uint lane = get_local_id(0), h = (uint)get_group_id(0);
    size_t m = get_group_id(1);
    uint n = (uint)row_position[row_position_at + m] / (KV_BLOCK * BLOCKS_PER_GROUP) + 1;
    const __global float *in = partial + (m * n_heads + h) * n_splits * (head_dim + 2);
    for (uint d = lane; d < head_dim; d += 64) {
        float max_score = in[0], l = in[1], o = in[2 + d];
        for (uint g = 1; g < n; g++) {
            const __global float *next = in + g * (head_dim + 2);
            float new_max = next[0] > max_score ? next[0] : max_score;
            float al = scalar_exp(max_score - new_max), be = scalar_exp(next[0] - new_max);
            l = scalar_fma(l, al, next[1] * be);
            o = scalar_fma(o, al, next[2 + d] * be);
            max_score = new_max;
        }
        y[y_at + m * ld_y + (size_t)h * head_dim + d] = scalar_div(o, l);
    }
}
