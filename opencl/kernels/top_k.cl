// The k largest values of a row (ops.h, top_k), exactly: every value and its index make one 64-bit key whose order is
// that of the result, keys are distinct, and a radix select finds the k-th largest. Long rows go in pieces: each
// work-group of 256 lanes keeps the best k keys of its piece (dimension 0; dimension 1 is the row), then one more picks
// among the kept ones.

// Larger values first; NaN after everything; then the lower index.
static ulong key_of(float value, uint index)
{
    float x = value + 0.0f; // -0 becomes +0
    uint bits = scalar_as_u32(x);
    uint rank = x != x ? 0u : (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return (ulong)rank << 32 | (uint)~index;
}

// Element i of the input: of a row of floats that begins at index first, or of a list of keys.
static ulong key_at(const __global float *x, const __global ulong *keys, uint i, uint first)
{
    return keys != 0 ? keys[i] : key_of(x[i], first + i);
}

// The best min(k, n) of n keys, descending, zeros behind them up to k, into best[256].
static void select_keys(const __global float *x, const __global ulong *keys, uint n, uint first, uint k,
                        __local ulong *best, __local uint *counts, __local uint *choice)
{
    uint lane = get_local_id(0);
    uint left = min(k, n);
    ulong prefix = 0, mask = 0;
    for (int shift = 56; shift >= 0; shift -= 8) {
        counts[lane] = 0;
        BARRIER();
        for (uint i = lane; i < n; i += 256) {
            ulong key = key_at(x, keys, i, first);
            if ((key & mask) == prefix) atomic_inc(counts + (uint)(key >> shift & 255));
        }
        BARRIER();
        if (lane == 0) { // from the largest digit down to the one that holds the last wanted key
            uint digit = 255, above = 0;
            while (above + counts[digit] < left) above += counts[digit--];
            choice[0] = digit;
            choice[1] = left - above;
            choice[2] = counts[digit] == left - above; // all of them are wanted
        }
        BARRIER();
        prefix |= (ulong)choice[0] << shift;
        mask |= (ulong)255 << shift;
        left = choice[1];
        bool is_done = choice[2] != 0;
        BARRIER();
        if (is_done) break;
    }
    best[lane] = 0;
    if (lane == 0) choice[0] = 0;
    BARRIER();
    for (uint i = lane; i < n; i += 256) {
        ulong key = key_at(x, keys, i, first);
        if ((key & mask) >= prefix) best[atomic_inc(choice)] = key;
    }
    BARRIER();
    for (uint size = 2; size <= 256; size <<= 1) // bitonic sort, descending
        for (uint distance = size >> 1; distance > 0; distance >>= 1) {
            uint other = lane ^ distance;
            ulong mine = best[lane], theirs = best[other];
            bool wants_larger = ((lane & size) == 0) == (lane < other);
            BARRIER();
            best[lane] = wants_larger == (theirs > mine) ? theirs : mine;
            BARRIER();
        }
}

static void write_best(const __local ulong *best, const __global float *row, __global int *ids, __global float *values,
                       uint k)
{
    uint lane = get_local_id(0);
    if (lane >= k) return;
    uint index = ~(uint)best[lane];
    ids[lane] = (int)index;
    values[lane] = row[index] + 0.0f;
}

// One piece is the whole row: the result. Several: keys[row][piece][k].
__kernel GROUP(256) void top_k(const __global float *x, ulong x_at, __global int *ids, ulong ids_at,
                               __global float *values, ulong values_at, uint n, uint ld_x, uint k, uint piece,
                               __global ulong *keys)
{
    __local ulong best[256];
    __local uint counts[256], choice[3];
    size_t m = get_group_id(1);
    const __global float *row = x + x_at + m * ld_x;
    uint first = (uint)get_group_id(0) * piece, n_pieces = (uint)get_num_groups(0);
    select_keys(row + first, 0, min(piece, n - first), first, k, best, counts, choice);
    if (n_pieces == 1)
        write_best(best, row, ids + ids_at + m * k, values + values_at + m * k, k);
    else if (get_local_id(0) < k)
        keys[(m * n_pieces + get_group_id(0)) * k + get_local_id(0)] = best[get_local_id(0)];
}

__kernel GROUP(256) void top_k_merge(const __global float *x, ulong x_at, __global int *ids, ulong ids_at,
                                     __global float *values, ulong values_at, uint ld_x, uint k, uint n_pieces,
                                     const __global ulong *keys)
{
    __local ulong best[256];
    __local uint counts[256], choice[3];
    size_t m = get_group_id(0);
    select_keys(x, keys + m * n_pieces * k, n_pieces * k, 0, k, best, counts, choice);
    write_best(best, x + x_at + m * ld_x, ids + ids_at + m * k, values + values_at + m * k, k);
}
