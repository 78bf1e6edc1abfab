// Rotation of q and k by position, and storing k and v (ops.h, rope_kv). One work-group of 64 lanes a head: dimension 0
// counts the heads of q, k and v, dimension 1 the rows. The cache's layout is that of common/kv.h.

#define HEAD_DIM_MAX 1024

// Where the K (or V) part of a head begins, in bytes: block from the row's table, then head.
static size_t kv_part(const __global int *table, uint position, uint head, uint n_kv_heads, uint head_dim, int k_type,
                      int v_type, bool is_v)
{
    size_t block = (size_t)table[position / KV_BLOCK];
    size_t at = block * (size_t)kv_block_bytes(k_type, v_type, (int)n_kv_heads, (int)head_dim) +
                head * (size_t)kv_head_bytes(k_type, v_type, (int)head_dim);
    return is_v ? at + (size_t)kv_part_bytes(k_type, (int)head_dim) : at;
}

// The int4 form: a lane a group.
static void store_int4(__global uchar *part, uint slot, uint head_dim, const __local float *x,
                       volatile __global uint *flag, uint place)
{
    __global ushort *scales = (__global ushort *)(part + kv_int4_scales((int)head_dim));
    for (uint g = get_local_id(0); g < (uint)kv_int4_groups((int)head_dim); g += 64) {
        uint first = g * KV_INT4_GROUP, end = min(first + KV_INT4_GROUP, head_dim), largest = 0;
        for (uint i = first; i < end; i++) largest = max(largest, scalar_magnitude(x[i]));
        uint bits = int4_scale(scalar_as_float(largest));
        float d = half_to_float(bits);
        scales[kv_int4_scale_index((int)slot, (int)g)] = (ushort)bits;
        for (uint i = first; i < end; i += 2)
            part[kv_int4_byte((int)head_dim, (int)slot, (int)i)] = (uchar)((int4_code(x[i], d) + INT4_BIAS) |
                                                                           (int4_code(x[i + 1], d) + INT4_BIAS) << 4);
        if (!int4_scale_is_finite(bits)) raise_flag(flag, place);
    }
}

// Stores a head's values (local memory) in a slot of a part; raises the flag for what cannot be stored as a finite
// number.
static void store(__global uchar *part, int type, bool is_k, uint slot, uint head_dim, const __local float *x,
                  __local uint *lanes, volatile __global uint *flag, uint place)
{
    uint lane = get_local_id(0), largest = 0;
    if (type == KV_INT4) {
        store_int4(part, slot, head_dim, x, flag, place);
        return;
    }
    for (uint i = lane; i < head_dim; i += 64) largest = max(largest, scalar_magnitude(x[i]));
    float m = scalar_as_float(max_lanes(largest, lanes, 64));
    if (type == KV_INT8) {
        bool is_small = !(m >= SCALAR_QUANT_FLOOR);
        float multiplier = is_small ? SCALAR_QUANT_SMALL : scalar_div(127.0f, m);
        for (uint i = lane; i < head_dim; i += 64)
            part[(size_t)kv_v_index((int)head_dim, (int)slot, (int)i)] = (uchar)(char)scalar_code(x[i] * multiplier);
        if (lane != 0) return;
        __global float *scales = (__global float *)(part + KV_BLOCK * head_dim);
        scales[slot] = scalar_div(is_small ? SCALAR_QUANT_FLOOR : m, 127.0f);
        if (!scalar_is_finite(m)) raise_flag(flag, place);
        return;
    }
    for (uint i = lane; i < head_dim; i += 64) {
        int at = is_k ? kv_k_index(type, (int)head_dim, (int)slot, (int)i)
                      : kv_v_index((int)head_dim, (int)slot, (int)i);
        if (type == KV_F32)
            ((__global float *)part)[at] = x[i];
        else
            ((__global ushort *)part)[at] = (ushort)half_from_float(x[i]);
    }
    if (lane == 0 && type == KV_F16 && !(m < 65520.0f)) raise_flag(flag, place); // NaN too
}

__kernel GROUP(64) void rope_kv(__global float *x, ulong x_at, const __global float *rope, ulong rope_at,
                                const __global int *row_table, ulong row_table_at, const __global int *row_position,
                                ulong row_position_at, const __global int *tables, ulong tables_at, uint table_ld,
                                __global uchar *cache, ulong cache_at, uint n_heads, uint n_kv_heads, uint head_dim,
                                int k_type, int v_type, uint n_dims, uint ld_x, uint adjacent,
                                volatile __global uint *flag, ulong flag_at, uint place)
{
    __local float values[HEAD_DIM_MAX];
    __local uint lanes[64];
    uint lane = get_local_id(0), h = (uint)get_group_id(0);
    size_t m = get_group_id(1);
    bool is_q = h < n_heads, is_v = h >= n_heads + n_kv_heads;
    uint position = (uint)row_position[row_position_at + m];
    __global float *head = x + x_at + m * ld_x + (size_t)h * head_dim;
    for (uint i = lane; i < head_dim; i += 64) values[i] = head[i];
    BARRIER();
    const __global float *cos_sin = rope + rope_at + (size_t)position * n_dims;
    for (uint i = lane; i < n_dims / 2 && !is_v; i += 64) {
        uint i0 = adjacent ? 2 * i : i, i1 = adjacent ? 2 * i + 1 : i + n_dims / 2;
        float c = cos_sin[2 * i], s = cos_sin[2 * i + 1], x0 = values[i0], x1 = values[i1];
        values[i0] = head[i0] = scalar_fma(x0, c, -(x1 * s));
        values[i1] = head[i1] = scalar_fma(x1, c, x0 * s);
    }
    if (is_q) return; // the whole work-group
    BARRIER();
    const __global int *table = tables + tables_at + (size_t)row_table[row_table_at + m] * table_ld;
    uint kv_head = is_v ? h - n_heads - n_kv_heads : h - n_heads;
    store(cache + cache_at + kv_part(table, position, kv_head, n_kv_heads, head_dim, k_type, v_type, is_v),
          is_v ? v_type : k_type, !is_v, position % KV_BLOCK, head_dim, values, lanes, flag + flag_at, place);
}
