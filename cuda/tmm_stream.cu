// Ternary products for up to 8 columns of activations, bound by memory: tmm_*_m8_sm80 on tensor cores and the dp4a
// forms, for both layouts. Tiles of weights follow each other in memory, row group after row group; a block takes a
// consecutive share of them and each of its warps a consecutive part of that, so that nothing but the end of a share
// ever waits. Activations are staged in shared memory once. Whenever a warp leaves a row group it adds its exact sums
// to the block's; at the end the block scales and writes the row groups it has, and combines those it shares with its
// neighbours.
//
// The weights of several tiles (DEPTH) are under way per warp, the first of them before the wait for the preceding
// kernel.
#include "tmm_device.cuh"

#define THREADS 256
#define COLUMNS 8
#define SUMS    (TMM_TILE_ROWS * COLUMNS) // sums of a row group: [row][column]

namespace
{

// What a lane reads of a tile: its granule of rows g and g + 8.
struct tile_part {
    uint4 low, high;
};

// A lane's position in the stream of tiles: where its granule of row g stands if the tile has four granules a row.
struct cursor {
    const uint8_t *at;
    uint32_t tile;
};

__device__ __forceinline__ tile_part next_part(const tmm_args &a, cursor &c, uint32_t g, uint32_t t)
{
    tile_part part;
    bool is_last = ++c.tile == a.n_tiles;
    uint32_t n = a.n_granules % TMM_TILE_GRANULES;
    if (is_last && n != 0) {
        const uint8_t *tile = c.at - tmm_granule_offset(TMM_TILE_GRANULES, g, t);
        part.low = part.high = make_uint4(0, 0, 0, 0);
        if (t < n) {
            part.low = ld_global_nc_v4(tile + tmm_granule_offset(n, g, t));
            part.high = ld_global_nc_v4(tile + tmm_granule_offset(n, g + 8, t));
        }
        c.at += tmm_granule_offset(n, TMM_TILE_ROWS, 0);
    } else {
        part.low = ld_global_nc_v4(c.at);
        part.high = ld_global_nc_v4(c.at + TMM_TILE_BYTES / 2);
        c.at += TMM_TILE_BYTES;
    }
    if (is_last) c.tile = 0;
    return part;
}

// Where a lane finds N columns of activations, in 16-byte chunks q of its granule of a tile. The columns are `column`
// and the following ones; those that are not there repeat others, and are not used. First in shared memory, [column]
// [tile][chunk place].
template <ternary_layout L, int N> struct staged_x {
    static constexpr uint32_t PLACES = L == TERNARY_T80 ? 1 : 4; // T80: chunks follow each other
    const uint8_t *tiles;
    uint32_t columns[N], places[PLACES]; // bytes from there; the places of even columns, if `column` is even

    __device__ __forceinline__ staged_x(const tmm_args &a, const uint8_t *shared, uint32_t column, uint32_t t)
        : tiles(shared)
    {
#pragma unroll
        for (uint32_t c = 0; c < N; c++) { // neighbours differ in parity, also where they repeat
            uint32_t n = a.n_columns, is_there = column + c < n;
            uint32_t from = is_there || n == 1 ? column + c : n - 1 - ((n - 1 - column - c) & 1);
            columns[c] = min(from, n - 1) * tmm_column_stride(L, a.n_tiles);
            keep_in_register(columns[c]);
        }
#pragma unroll
        for (uint32_t q = 0; q < PLACES; q++) {
            places[q] = 16 * tmm_chunk_place(L, min(column, a.n_columns - 1), packed<L>::CHUNKS * t + q);
            keep_in_register(places[q]);
        }
    }
    __device__ __forceinline__ uint4 chunk(const tmm_args &, int c, uint32_t tile, int q) const
    {
        uint32_t place = L == TERNARY_T80 ? places[0] + 16 * q : places[(q ^ (c & 1)) % PLACES];
        return ld_v4(tiles + columns[c] + tile * packed<L>::TILE_COLUMNS + place);
    }
};

// From global memory, for rows that shared memory does not hold. Behind a row's end, where weights are zero, any
// granule will do.
template <ternary_layout L, int N> struct direct_x {
    uint32_t t;

    __device__ __forceinline__ direct_x(const tmm_args &, const uint8_t *, uint32_t, uint32_t t_) : t(t_) {}
    __device__ __forceinline__ uint4 chunk(const tmm_args &a, int c, uint32_t tile, int q) const
    {
        uint32_t granule = min(tile * TMM_TILE_GRANULES + t, a.n_granules - 1);
        const int8_t *column = tmm_column(a, min((uint32_t)c, a.n_columns - 1));
        return ld_v4(column + 16 * (packed<L>::CHUNKS * (size_t)granule + q));
    }
};

// Sums of a row group on tensor cores.
template <ternary_layout L> struct mma_sums;

// Field m of the weights stays at its place, so that plane m holds 4^m times its sum; |plane| < 2^31 for all K up to
// TERNARY_MAX_COLUMNS.
template <> struct mma_sums<TERNARY_T64> {
    static constexpr uint32_t DEPTH = 4;
    static constexpr int COLUMNS_READ = 1; // by a lane
    int plane[4][4];

    static __device__ __forceinline__ uint32_t first_column(uint32_t g) { return g; }

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int i = 0; i < 16; i++) plane[i / 4][i % 4] = 0;
    }
    template <typename X>
    __device__ __forceinline__ void add(const tmm_args &a, const X &x, const tile_part &w, uint32_t tile)
    {
#pragma unroll
        for (int q = 0; q < 4; q++) {
            uint4 b = x.chunk(a, 0, tile, q);
            int j = q / 2 * 2, m = q % 2 * 2;
            unsigned w0 = tmm_word(w.low, j), w1 = tmm_word(w.low, j + 1);
            unsigned h0 = tmm_word(w.high, j), h1 = tmm_word(w.high, j + 1);
            mma_u8s8_m16n8k32(plane[m], tmm_field(w0, m), tmm_field(h0, m), tmm_field(w1, m), tmm_field(h1, m), b.x,
                              b.y);
            m++;
            mma_u8s8_m16n8k32(plane[m], tmm_field(w0, m), tmm_field(h0, m), tmm_field(w1, m), tmm_field(h1, m), b.z,
                              b.w);
        }
    }
    __device__ __forceinline__ int total(int i) const
    {
        return plane[0][i] + (plane[1][i] >> 2) + (plane[2][i] >> 4) + (plane[3][i] >> 6);
    }
};

// With P_m the number of the first m + 1 digits, digit m is P_m - 3 P_(m-1). The products of P_m with the activations
// of digit m, and with those of digit m + 1, are summed apart: what saves the subtraction costs a second mma with the
// same operand. |sum| < 2^31 for every row that fits shared memory: 358 / 5 * 127 a column, up to 236,000 columns.
template <> struct mma_sums<TERNARY_T80> {
    static constexpr uint32_t DEPTH = 4;
    static constexpr int COLUMNS_READ = 1;
    int own[4], next[4];

    static __device__ __forceinline__ uint32_t first_column(uint32_t g) { return g; }

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int i = 0; i < 4; i++) own[i] = next[i] = 0;
    }
    template <typename X>
    __device__ __forceinline__ void add(const tmm_args &a, const X &x, const tile_part &w, uint32_t tile)
    {
        word_codes<TERNARY_T80> words[4];
        uint4 b = x.chunk(a, 0, tile, 0);
#pragma unroll
        for (int s = 0; s < 10; s++) { // activations of step s are half s % 2 of chunk s / 2
            if (s % 5 == 0) {
                int j = s / 5 * 2;
                words[0].load(tmm_word(w.low, j));
                words[1].load(tmm_word(w.high, j));
                words[2].load(tmm_word(w.low, j + 1));
                words[3].load(tmm_word(w.high, j + 1));
            }
            unsigned p[4];
#pragma unroll
            for (int i = 0; i < 4; i++) p[i] = words[i].next_number();
            mma_u8s8_m16n8k32(own, p[0], p[1], p[2], p[3], s % 2 == 0 ? b.x : b.z, s % 2 == 0 ? b.y : b.w);
            if (s % 2 == 1 && s < 9) b = x.chunk(a, 0, tile, s / 2 + 1);
            if (s % 5 < 4)
                mma_u8s8_m16n8k32(next, p[0], p[1], p[2], p[3], s % 2 == 1 ? b.x : b.z, s % 2 == 1 ? b.y : b.w);
        }
    }
    __device__ __forceinline__ int total(int i) const { return own[i] - 3 * next[i]; }
};

// Adds a warp's sums to the block's: those of mma_sums lie as tensor cores leave them.
template <ternary_layout L>
__device__ __forceinline__ void flush(mma_sums<L> &from, const tmm_args &a, int *sums, uint32_t g, uint32_t t)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint32_t column = 2 * t + (uint32_t)i % 2;
        if (column < a.n_columns) atomicAdd(&sums[(g + (uint32_t)i / 2 * 8) * COLUMNS + column], from.total(i));
    }
    from.clear();
}

// The same by dp4a for N columns: a lane keeps the sums of its own granules. One and two columns of T64 use four planes
// as above; more of them share the cost of shifting.
template <ternary_layout L, int N> struct dp4a_sums {
    static constexpr int PLANES = N <= 2 && L == TERNARY_T64 ? 4 : 1;
    static constexpr uint32_t DEPTH = N <= 4 ? 4 : L == TERNARY_T80 ? 1 : 2; // registers allow no more
    static constexpr int COLUMNS_READ = N;
    int plane[PLANES][2][N];

    static __device__ __forceinline__ uint32_t first_column(uint32_t) { return 0; }

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int i = 0; i < PLANES * 2 * N; i++) plane[i / (2 * N)][i / N % 2][i % N] = 0;
    }
    template <typename X>
    __device__ __forceinline__ void add(const tmm_args &a, const X &x, const tile_part &w, uint32_t tile)
    {
        constexpr int FIELDS = packed<L>::FIELDS;
        word_codes<L> words[2][2]; // [row half][word of the granule's half]
#pragma unroll
        for (int q = 0; q < (int)packed<L>::CHUNKS; q++) {
            unsigned f[2][4]; // [row half][field and word, as the bytes of b]
#pragma unroll
            for (int i = 0; i < 8; i++) {
                int s = 2 * q + i / 4, m = s % FIELDS, h = i / 2 % 2, odd = i % 2;
                unsigned word = tmm_word(h == 0 ? w.low : w.high, s / FIELDS * 2 + odd);
                if (m == 0) words[h][odd].load(word);
                f[h][i / 4 * 2 + odd] = PLANES == 4 ? tmm_field(word, m) : words[h][odd].next(m);
            }
#pragma unroll
            for (int c = 0; c < N; c++) {
                uint4 b = x.chunk(a, c, tile, q);
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    int &even = plane[2 * q % FIELDS % PLANES][h][c], &odd = plane[(2 * q + 1) % FIELDS % PLANES][h][c];
                    even = dp4a_u32s32(f[h][1], (int)b.y, dp4a_u32s32(f[h][0], (int)b.x, even));
                    odd = dp4a_u32s32(f[h][3], (int)b.w, dp4a_u32s32(f[h][2], (int)b.z, odd));
                }
            }
        }
    }
};

template <ternary_layout L, int N>
__device__ __forceinline__ void flush(dp4a_sums<L, N> &from, const tmm_args &a, int *sums, uint32_t g, uint32_t t)
{
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
        for (int c = 0; c < N; c++) {
            int sum = from.plane[0][h][c];
#pragma unroll
            for (int m = 1; m < dp4a_sums<L, N>::PLANES; m++) sum += from.plane[m][h][c] >> (2 * m);
            sum += __shfl_xor_sync(FULL_WARP, sum, 1);
            sum += __shfl_xor_sync(FULL_WARP, sum, 2);
            if (t == 0 && (uint32_t)c < a.n_columns)
                atomicAdd(&sums[(g + 8 * (uint32_t)h) * COLUMNS + (uint32_t)c], sum);
        }
    from.clear();
}

template <ternary_layout L> __device__ void stage_x(const tmm_args &a, uint8_t *shared)
{
    constexpr uint32_t N = packed<L>::TILE_CHUNKS;
    for (uint32_t c = 0; c < a.n_columns; c++) {
        const int8_t *column = tmm_column(a, c);
        uint8_t *to = shared + (size_t)c * tmm_column_stride(L, a.n_tiles);
        for (uint32_t i = threadIdx.x; i < a.n_tiles * N; i += blockDim.x)
            tmm_copy_chunk<L>(a, to + 16 * (i / N * N + tmm_chunk_place(L, c, i % N)), column, i / N, i % N);
    }
    cp_async_commit();
}

// Writes the outputs of the row groups [first, end), whose sums begin at `sums`.
__device__ void write_groups(const tmm_args &a, const int *sums, uint32_t first, uint32_t end)
{
    uint32_t n_pairs = (end - first) * (TMM_TILE_ROWS / 2), lo = a.terms - 1;
    for (uint32_t i = threadIdx.x; i < n_pairs * a.n_tokens; i += blockDim.x) {
        uint32_t row = i % n_pairs / 8 * TMM_TILE_ROWS + i % 8, token = i / n_pairs;
        const int *upper = sums + row * COLUMNS + token * a.terms, *lower = upper + 8 * COLUMNS;
        row += first * TMM_TILE_ROWS;
        if (row >= a.n_rows) continue;
        tmm_pair p = tmm_products(a, row, token, {upper[0], upper[lo]}, {lower[0], lower[lo]});
        if (tmm_gates(a))
            tmm_put_gated(a, first * GATED_TURN + i % n_pairs, token, p);
        else
            tmm_put_pair(a, row, token, p);
    }
}

// A row group that other blocks have steps of, too.
__device__ void combine_group(const tmm_args &a, int *sums, uint32_t group, unsigned *flag)
{
    uint32_t owner = tmm_split_owner(&a.split, group * a.n_tiles);
    uint32_t last = tmm_split_owner(&a.split, (group + 1) * a.n_tiles - 1);
    for (uint32_t i = threadIdx.x; i < SUMS; i += blockDim.x) tmm_slot(a, blockIdx.x, owner, SUMS)[i] = sums[i];
    if (!tmm_arrive(a, owner, last, flag)) return;
    for (uint32_t i = threadIdx.x; i < SUMS; i += blockDim.x)
        for (uint32_t block = owner; block <= last; block++)
            if (block != blockIdx.x) sums[i] += ld_global_cg_s32(tmm_slot(a, block, owner, SUMS) + i);
    __syncthreads();
    write_groups(a, sums, group, group + 1);
}

// A block's whole work. Shared memory: activations, then one word, then the sums of every row group it touches.
template <ternary_layout L, typename SUM, template <ternary_layout, int> class X>
__device__ __forceinline__ void stream_product(const tmm_args &a, bool is_staged)
{
    SHARED_DYNAMIC(shared);
    constexpr uint32_t DEPTH = SUM::DEPTH;
    uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    uint32_t begin = tmm_split_begin(&a.split, blockIdx.x), end = tmm_split_begin(&a.split, blockIdx.x + 1);
    uint32_t warp = threadIdx.x / 32, n_warps = blockDim.x / 32, n_steps = end - begin;
    uint32_t from = begin + n_steps / n_warps * warp + min(warp, n_steps % n_warps);
    uint32_t to = from + n_steps / n_warps + (warp < n_steps % n_warps);
    uint32_t first_group = begin / a.n_tiles, end_group = (end - 1) / a.n_tiles + 1;

    uint32_t group = from / a.n_tiles, tile = from % a.n_tiles;
    cursor ahead = {a.w + tmm_tile_offset(a.n_granules, group, tile) + tmm_granule_offset(TMM_TILE_GRANULES, g, t),
                    tile};
    tile_part parts[DEPTH];
#pragma unroll
    for (uint32_t i = 0; i < DEPTH; i++)
        if (from + i < to) parts[i] = next_part(a, ahead, g, t);
    griddep_wait();

    uint8_t *x_end = shared + (is_staged ? (size_t)a.n_columns * tmm_column_stride(L, a.n_tiles) : 0);
    unsigned *flag = reinterpret_cast<unsigned *>(x_end);
    int *sums = reinterpret_cast<int *>(x_end + 16);
    if (is_staged) stage_x<L>(a, shared);
    for (uint32_t i = threadIdx.x; i < (end_group - first_group) * SUMS; i += blockDim.x) sums[i] = 0;
    cp_async_wait<0>();
    __syncthreads();

    X<L, SUM::COLUMNS_READ> x(a, shared, SUM::first_column(g), t);
    SUM sum;
    sum.clear();
    for (uint32_t step = from; step < to; step += DEPTH) {
#pragma unroll
        for (uint32_t i = 0; i < DEPTH; i++) {
            if (step + i >= to) break;
            sum.add(a, x, parts[i], tile);
            if (step + i + DEPTH < to) parts[i] = next_part(a, ahead, g, t);
            if (++tile == a.n_tiles || step + i + 1 == to) {
                flush(sum, a, sums + (group - first_group) * SUMS, g, t);
                group++;
                tile = 0;
            }
        }
    }
    griddep_launch();
    __syncthreads();

    uint32_t first_whole = (begin + a.n_tiles - 1) / a.n_tiles, end_whole = end / a.n_tiles;
    if (first_whole < end_whole) write_groups(a, sums + (first_whole - first_group) * SUMS, first_whole, end_whole);
    if (first_group < first_whole) combine_group(a, sums, first_group, flag);
    if (end_whole < end_group && end_whole >= first_whole)
        combine_group(a, sums + (end_whole - first_group) * SUMS, end_whole, flag);
}

} // namespace

#if TMM_HAS_MMA
#define MMA_BODY(layout) stream_product<layout, mma_sums<layout>, staged_x>(a, true)
#else
#define MMA_BODY(layout)
#endif
#define MMA_KERNEL(name, layout)                                                                                       \
    __global__ void __launch_bounds__(THREADS, 2) tmm_##name##_m8_sm80(tmm_args a) { MMA_BODY(layout); }
MMA_KERNEL(t64, TERNARY_T64)
MMA_KERNEL(t80, TERNARY_T80)

#define DP4A_KERNEL(name, layout, n)                                                                                   \
    __global__ void __launch_bounds__(THREADS, 2) tmm_##name##_m##n##_dp4a(tmm_args a)                                 \
    {                                                                                                                  \
        stream_product<layout, dp4a_sums<layout, n>, staged_x>(a, true);                                               \
    }
// The last one: rows of activations too long for shared memory.
#define DP4A_KERNELS(name, layout)                                                                                     \
    DP4A_KERNEL(name, layout, 1)                                                                                       \
    DP4A_KERNEL(name, layout, 2)                                                                                       \
    DP4A_KERNEL(name, layout, 4)                                                                                       \
    DP4A_KERNEL(name, layout, 8)                                                                                       \
    __global__ void __launch_bounds__(THREADS, 2) tmm_##name##_m2_dp4a_direct(tmm_args a)                              \
    {                                                                                                                  \
        stream_product<layout, dp4a_sums<layout, 2>, direct_x>(a, false);                                              \
    }
DP4A_KERNELS(t64, TERNARY_T64)
DP4A_KERNELS(t80, TERNARY_T80)

size_t tmm_stream_shared(const tmm_args *a, bool is_staged)
{
    size_t x = is_staged ? (size_t)a->n_columns * tmm_column_stride(a->layout, a->n_tiles) : 0;
    return x + 16 + (size_t)tmm_split_spans(&a->split, a->n_tiles) * SUMS * sizeof(int);
}

tern_status tmm_launch_mma(stream *s, const tmm_args *a, tern_error *err)
{
    bool is_t80 = a->layout == TERNARY_T80;
    return cuda_launch(s, is_t80 ? "tmm_t80_m8_sm80" : "tmm_t64_m8_sm80", is_t80 ? tmm_t80_m8_sm80 : tmm_t64_m8_sm80,
                       dim3(a->split.n_shares), dim3(THREADS), tmm_stream_shared(a, true), err, *a);
}

tern_status tmm_launch_dp4a(stream *s, const tmm_args *a, bool is_staged, tern_error *err)
{
    struct form {
        uint32_t columns;
        const char *name;
        void (*kernel)(tmm_args);
    };
    static const form forms[TERNARY_N_LAYOUTS][5] = {{{1, "tmm_t64_m1_dp4a", tmm_t64_m1_dp4a},
                                                      {2, "tmm_t64_m2_dp4a", tmm_t64_m2_dp4a},
                                                      {4, "tmm_t64_m4_dp4a", tmm_t64_m4_dp4a},
                                                      {8, "tmm_t64_m8_dp4a", tmm_t64_m8_dp4a},
                                                      {2, "tmm_t64_m2_dp4a_direct", tmm_t64_m2_dp4a_direct}},
                                                     {{1, "tmm_t80_m1_dp4a", tmm_t80_m1_dp4a},
                                                      {2, "tmm_t80_m2_dp4a", tmm_t80_m2_dp4a},
                                                      {4, "tmm_t80_m4_dp4a", tmm_t80_m4_dp4a},
                                                      {8, "tmm_t80_m8_dp4a", tmm_t80_m8_dp4a},
                                                      {2, "tmm_t80_m2_dp4a_direct", tmm_t80_m2_dp4a_direct}}};
    const form *of = forms[a->layout];
    size_t i = is_staged ? 0 : 4;
    while (of[i].columns < a->n_columns) i++;
    return cuda_launch(s, of[i].name, of[i].kernel, dim3(a->split.n_shares), dim3(THREADS),
                       tmm_stream_shared(a, is_staged), err, *a);
}
