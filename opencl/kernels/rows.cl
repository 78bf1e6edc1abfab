// Ops on rows without weights or reductions: gate, residual, gather, advance; filling, and conversion for fp16 BLAS.
// One item an element; dimension 1 is the row.

__kernel GROUP(64) void gate(const __global float *x, ulong x_at, __global float *y, ulong y_at, uint n, uint ld_x,
                             uint ld_y, uint is_silu)
{
    uint i = (uint)get_global_id(0);
    size_t m = get_global_id(1);
    if (i >= n) return;
    x += x_at + m * ld_x;
    float g = x[i], u = x[n + i];
    y[y_at + m * ld_y + i] = is_silu ? scalar_gate_silu(g, u) : scalar_gate_relu2(g, u);
}

__kernel GROUP(64) void residual(__global float *h, ulong h_at, const __global float *y, ulong y_at, uint n, uint ld_h,
                                 uint ld_y)
{
    uint i = (uint)get_global_id(0);
    size_t m = get_global_id(1);
    if (i < n) h[h_at + m * ld_h + i] += y[y_at + m * ld_y + i];
}

// Bits, not floats: a NaN keeps its payload.
__kernel GROUP(64) void gather(const __global uint *x, ulong x_at, const __global int *index, ulong index_at,
                               __global uint *y, ulong y_at, uint n, uint ld_x, uint ld_y)
{
    uint i = (uint)get_global_id(0);
    size_t m = get_global_id(1);
    if (i < n) y[y_at + m * ld_y + i] = x[x_at + (size_t)index[index_at + m] * ld_x + i];
}

// An item a row.
__kernel GROUP(64) void advance(const __global int *chosen, ulong chosen_at, __global int *ids, ulong ids_at,
                                __global int *position, ulong position_at, __global int *log, ulong log_at,
                                const __global uint *flag, ulong flag_at, uint ld_chosen, uint n_ids, uint n_log,
                                uint n_rows)
{
    size_t m = get_global_id(0);
    if (m >= n_rows) return;
    uint p = (uint)position[position_at + m];
    __global int *entry = log + log_at + 2 * (m * n_log + p % n_log);
    int c = chosen[chosen_at + m * ld_chosen];
    entry[0] = ids[ids_at + m] = (uint)c < n_ids ? c : 0;
    entry[1] = (int)flag[flag_at];
    position[position_at + m] = (int)(p + 1);
}

// 16 bytes an item.
__kernel GROUP(64) void fill(__global uchar *to, ulong to_at, ulong n_bytes, uint byte)
{
    ulong begin = 16 * (ulong)get_global_id(0), end = min(begin + 16, n_bytes);
    for (ulong i = begin; i < end; i++) to[to_at + i] = (uchar)byte;
}

// Rows of fp32 to dense rows of fp16, and back.
__kernel GROUP(64) void to_half(const __global float *x, ulong x_at, __global ushort *y, ulong y_at, uint n, uint ld_x)
{
    uint i = (uint)get_global_id(0);
    size_t m = get_global_id(1);
    if (i < n) y[y_at + m * n + i] = (ushort)half_from_float(x[x_at + m * ld_x + i]);
}

__kernel GROUP(64) void from_half(const __global ushort *x, ulong x_at, __global float *y, ulong y_at, uint n,
                                  uint ld_y)
{
    uint i = (uint)get_global_id(0);
    size_t m = get_global_id(1);
    if (i < n) y[y_at + m * ld_y + i] = half_to_float(x[x_at + m * n + i]);
}
