// Ternary products for up to 8 columns of activations, bound by memory: tmm_t64_m8_sm80 on tensor cores and the dp4a
// forms. Tiles of weights follow each other in memory, row group after row group; a block takes a consecutive share of
// them and each of its warps a consecutive part of that, so that nothing but the end of a share ever waits. Activations
// are staged in shared memory once. Whenever a warp leaves a row group it adds its exact sums to the block's; at the
// end the block scales and writes the row groups it has, and combines those it shares with its neighbours.
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

// Where a lane finds N columns of activations, in 16-byte chunks q = 0..3 of its granule of a tile. The columns are
// `column` and the following ones; those that are not there repeat others, and are not used. First in shared memory,
// [column][tile][chunk place].
template <int N> struct staged_x {
    const uint8_t *tiles;
    uint32_t columns[N], places[4]; // bytes from there; the places of even columns, if `column` is even

    __device__ __forceinline__ staged_x(const tmm_args &a, const uint8_t *shared, uint32_t column, uint32_t t)
        : tiles(shared)
    {
#pragma unroll
        for (uint32_t c = 0; c < N; c++) { // neighbours differ in parity, also where they repeat
            uint32_t n = a.n_columns, is_there = column + c < n;
            uint32_t from = is_there || n == 1 ? column + c : n - 1 - ((n - 1 - column - c) & 1);
            columns[c] = min(from, n - 1) * a.n_tiles * TMM_TILE_COLUMNS;
            keep_in_register(columns[c]);
        }
#pragma unroll
        for (uint32_t q = 0; q < 4; q++) {
            places[q] = 16 * tmm_chunk_place(min(column, a.n_columns - 1), 4 * t + q);
            keep_in_register(places[q]);
        }
    }
    __device__ __forceinline__ uint4 chunk(const tmm_args &, int c, uint32_t tile, int q) const
    {
        return ld_v4(tiles + columns[c] + tile * TMM_TILE_COLUMNS + places[q ^ (c & 1)]);
    }
};

// From global memory, for rows that shared memory does not hold. Behind a row's end, where weights are zero, any
// granule will do.
template <int N> struct direct_x {
    uint32_t t;

    __device__ __forceinline__ direct_x(const tmm_args &, const uint8_t *, uint32_t, uint32_t t_) : t(t_) {}
    __device__ __forceinline__ uint4 chunk(const tmm_args &a, int c, uint32_t tile, int q) const
    {
        uint32_t granule = min(tile * TMM_TILE_GRANULES + t, a.n_granules - 1);
        const int8_t *column = tmm_column(a, min((uint32_t)c, a.n_columns - 1));
        return ld_v4(column + (size_t)granule * TERNARY_GRANULE + 16 * q);
    }
};

// Sums of a row group on tensor cores. Field m of the weights stays at its place, so that plane m holds 4^m times its
// sum; |plane| < 2^31 for all K up to TERNARY_MAX_COLUMNS.
struct mma_sums {
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
    __device__ __forceinline__ void flush(const tmm_args &a, int *sums, uint32_t g, uint32_t t)
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t column = 2 * t + (uint32_t)i % 2;
            int sum = plane[0][i] + (plane[1][i] >> 2) + (plane[2][i] >> 4) + (plane[3][i] >> 6);
            if (column < a.n_columns) atomicAdd(&sums[(g + (uint32_t)i / 2 * 8) * COLUMNS + column], sum);
        }
        clear();
    }
};

// The same by dp4a for N columns: a lane keeps the sums of its own granules. One and two columns use four planes as
// above; more of them share the cost of shifting.
template <int N> struct dp4a_sums {
    static constexpr int PLANES = N <= 2 ? 4 : 1;
    static constexpr uint32_t DEPTH = N <= 4 ? 4 : 2;
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
#pragma unroll
        for (int q = 0; q < 4; q++) {
            int j = q / 2 * 2, m = q % 2 * 2;
            unsigned f[2][4]; // [row half][field and word, as the bytes of b]
#pragma unroll
            for (int i = 0; i < 8; i++) {
                unsigned word = tmm_word(i < 4 ? w.low : w.high, j + i % 2);
                int field = m + i % 4 / 2;
                f[i / 4][i % 4] = PLANES == 4 ? tmm_field(word, field) : tmm_codes(word, field);
            }
#pragma unroll
            for (int c = 0; c < N; c++) {
                uint4 b = x.chunk(a, c, tile, q);
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    int &even = plane[m % PLANES][h][c], &odd = plane[(m + 1) % PLANES][h][c];
                    even = dp4a_u32s32(f[h][1], (int)b.y, dp4a_u32s32(f[h][0], (int)b.x, even));
                    odd = dp4a_u32s32(f[h][3], (int)b.w, dp4a_u32s32(f[h][2], (int)b.z, odd));
                }
            }
        }
    }
    __device__ __forceinline__ void flush(const tmm_args &a, int *sums, uint32_t g, uint32_t t)
    {
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int c = 0; c < N; c++) {
                int sum = plane[0][h][c];
#pragma unroll
                for (int m = 1; m < PLANES; m++) sum += plane[m][h][c] >> (2 * m);
                sum += __shfl_xor_sync(FULL_WARP, sum, 1);
                sum += __shfl_xor_sync(FULL_WARP, sum, 2);
                if (t == 0 && (uint32_t)c < a.n_columns)
                    atomicAdd(&sums[(g + 8 * (uint32_t)h) * COLUMNS + (uint32_t)c], sum);
            }
        clear();
    }
};

__device__ void stage_x(const tmm_args &a, uint8_t *shared)
{
    uint32_t n_chunks = a.n_tiles * 16;
    for (uint32_t c = 0; c < a.n_columns; c++) {
        const int8_t *column = tmm_column(a, c);
        for (uint32_t i = threadIdx.x; i < n_chunks; i += blockDim.x)
            tmm_copy_chunk(a, shared + (size_t)16 * (c * n_chunks + i / 16 * 16 + tmm_chunk_place(c, i % 16)), column,
                           i / 16, i % 16);
    }
    cp_async_commit();
}

// Writes the outputs of the row groups [first, end), whose sums begin at `sums`.
__device__ void write_groups(const tmm_args &a, const int *sums, uint32_t first, uint32_t end)
{
    uint32_t n_rows = (end - first) * TMM_TILE_ROWS;
    for (uint32_t i = threadIdx.x; i < n_rows * a.n_tokens; i += blockDim.x) {
        uint32_t row = i % n_rows, token = i / n_rows;
        const int *sum = sums + row * COLUMNS + token * a.terms;
        tmm_finish(a, first * TMM_TILE_ROWS + row, token, sum[0], sum[a.terms - 1]);
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
template <typename SUM, template <int> class X>
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

    uint8_t *x_end = shared + (is_staged ? (size_t)a.n_columns * a.n_tiles * TMM_TILE_COLUMNS : 0);
    unsigned *flag = reinterpret_cast<unsigned *>(x_end);
    int *sums = reinterpret_cast<int *>(x_end + 16);
    if (is_staged) stage_x(a, shared);
    for (uint32_t i = threadIdx.x; i < (end_group - first_group) * SUMS; i += blockDim.x) sums[i] = 0;
    cp_async_wait<0>();
    __syncthreads();

    X<SUM::COLUMNS_READ> x(a, shared, SUM::first_column(g), t);
    SUM sum;
    sum.clear();
    for (uint32_t step = from; step < to; step += DEPTH) {
#pragma unroll
        for (uint32_t i = 0; i < DEPTH; i++) {
            if (step + i >= to) break;
            sum.add(a, x, parts[i], tile);
            if (step + i + DEPTH < to) parts[i] = next_part(a, ahead, g, t);
            if (++tile == a.n_tiles || step + i + 1 == to) {
                sum.flush(a, sums + (group - first_group) * SUMS, g, t);
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

__global__ void __launch_bounds__(THREADS, 2) tmm_t64_m8_sm80(tmm_args a)
{
#if TMM_HAS_MMA
    stream_product<mma_sums, staged_x>(a, true);
#endif
}

#define DP4A_KERNELS(n)                                                                                                \
    __global__ void __launch_bounds__(THREADS, 2) tmm_t64_m##n##_dp4a(tmm_args a)                                      \
    {                                                                                                                  \
        stream_product<dp4a_sums<n>, staged_x>(a, true);                                                               \
    }
DP4A_KERNELS(1)
DP4A_KERNELS(2)
DP4A_KERNELS(4)
DP4A_KERNELS(8)

// Rows of activations too long for shared memory.
__global__ void __launch_bounds__(THREADS, 2) tmm_t64_m2_dp4a_direct(tmm_args a)
{
    stream_product<dp4a_sums<2>, direct_x>(a, false);
}

size_t tmm_stream_shared(const tmm_args *a, bool is_staged)
{
    size_t x = is_staged ? (size_t)a->n_columns * a->n_tiles * TMM_TILE_COLUMNS : 0;
    return x + 16 + (size_t)tmm_split_spans(&a->split, a->n_tiles) * SUMS * sizeof(int);
}

tern_status tmm_launch_mma(stream *s, const tmm_args *a, tern_error *err)
{
    return cuda_launch(s, "tmm_t64_m8_sm80", tmm_t64_m8_sm80, dim3(a->split.n_shares), dim3(THREADS),
                       tmm_stream_shared(a, true), err, *a);
}

tern_status tmm_launch_dp4a(stream *s, const tmm_args *a, bool is_staged, tern_error *err)
{
    static const struct {
        uint32_t columns;
        const char *name;
        void (*kernel)(tmm_args);
    } forms[] = {{1, "tmm_t64_m1_dp4a", tmm_t64_m1_dp4a},
                 {2, "tmm_t64_m2_dp4a", tmm_t64_m2_dp4a},
                 {4, "tmm_t64_m4_dp4a", tmm_t64_m4_dp4a},
                 {8, "tmm_t64_m8_dp4a", tmm_t64_m8_dp4a}};
    size_t shared = tmm_stream_shared(a, is_staged);
    if (!is_staged)
        return cuda_launch(s, "tmm_t64_m2_dp4a_direct", tmm_t64_m2_dp4a_direct, dim3(a->split.n_shares), dim3(THREADS),
                           shared, err, *a);
    size_t i = 0;
    while (forms[i].columns < a->n_columns) i++;
    return cuda_launch(s, forms[i].name, forms[i].kernel, dim3(a->split.n_shares), dim3(THREADS), shared, err, *a);
}
