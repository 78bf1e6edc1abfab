// Ternary products for many columns: blocks of 128 rows x 8, 32, 64 or 128 columns, tmm_t64_128x*_sm80. A step is one
// tile of K (256 columns) of the 8 row groups and of the activations; both come through a ring of stages in shared
// memory (cp.async), weights are decoded in registers on their way to the tensor cores, and int32 sums stay in
// registers over all of K. Neighbouring blocks take neighbouring token blocks of the same rows, so that the
// second-level cache serves the weights once. Where there are too few items for the device, blocks share them along K.
#include "tmm_device.cuh"

#define GROUPS 8 // row groups of a block

namespace
{

// Warps stand warps_n side by side along the columns; each has `groups` row groups x `tiles_n` column tiles of 8.
template <int warps_n, int groups, int tiles_n, int stages> struct block_shape {
    static constexpr int WARPS_N = warps_n, WARP_GROUPS = groups, TILES_N = tiles_n, STAGES = stages;
    static constexpr uint32_t THREADS = GROUPS / groups * warps_n * 32;
    static constexpr uint32_t COLUMNS = warps_n * tiles_n * 8;
    static constexpr uint32_t STAGE_W = GROUPS * TMM_TILE_BYTES, STAGE_X = COLUMNS * TMM_TILE_COLUMNS;
    static constexpr uint32_t STAGE = STAGE_W + STAGE_X;
    static constexpr int SUMS = groups * tiles_n * 4; // of a lane
};
typedef block_shape<1, 1, 1, 4> shape_8;
typedef block_shape<2, 2, 2, 4> shape_32;
typedef block_shape<2, 2, 4, 3> shape_64;
typedef block_shape<4, 2, 4, 2> shape_128;

struct item {
    uint32_t group, column; // the first ones
};

// What a thread copies of every step of an item: some 16-byte chunks of weights and of activations, always the same
// ones of a tile. Rows and columns that are not there repeat the last one; their sums are not used.
template <typename S> struct copier {
    static constexpr uint32_t N_W = GROUPS * 64 / S::THREADS, N_X = (S::COLUMNS * 16 + S::THREADS - 1) / S::THREADS;
    const uint8_t *w[N_W]; // row groups
    const int8_t *x[N_X];  // the thread's chunk of columns
    uint32_t x_place;      // in a stage; the next columns are S::THREADS * 16 bytes further on each

    __device__ __forceinline__ copier(const tmm_args &a, item at)
    {
        uint32_t i = threadIdx.x, last_group = (a.n_rows - 1) / TMM_TILE_ROWS;
#pragma unroll
        for (uint32_t k = 0; k < N_W; k++)
            w[k] = a.w + tmm_tile_offset(a.n_granules, min(at.group + (i + k * S::THREADS) / 64, last_group), 0);
#pragma unroll
        for (uint32_t k = 0; k < N_X; k++)
            x[k] = tmm_column(a, min(at.column + (i + k * S::THREADS) / 16, a.n_columns - 1)) + 16 * (i % 16);
        x_place = S::STAGE_W + i / 16 * TMM_TILE_COLUMNS + 16 * tmm_chunk_place(i / 16, i % 16);
        keep_in_register(x_place);
    }

    // In the stage every tile has four granules a row; those behind the end of the rows are zeros.
    __device__ __forceinline__ void copy_weights(const tmm_args &a, uint8_t *stage, uint32_t tile) const
    {
        uint32_t i = threadIdx.x, n = tmm_tile_granules(a.n_granules, tile), t = i % 4;
        size_t from = (size_t)tile * TMM_TILE_BYTES + tmm_granule_offset(n, i % 64 / 4, t < n ? t : 0);
#pragma unroll
        for (uint32_t k = 0; k < N_W; k++)
            cp_async_16_or_zero(stage + 16 * i + k * S::THREADS * 16, w[k] + from, t < n);
    }
    __device__ __forceinline__ void copy_x(const tmm_args &a, uint8_t *stage, uint32_t tile) const
    {
        bool is_there = tile * TMM_TILE_GRANULES + threadIdx.x % 16 / 4 < a.n_granules;
        size_t from = is_there ? (size_t)tile * TMM_TILE_COLUMNS : 0;
        const int8_t *any = a.codes[0]; // a valid address where nothing is read
#pragma unroll
        for (uint32_t k = 0; k < N_X; k++)
            if (S::COLUMNS * 16 >= S::THREADS || threadIdx.x < S::COLUMNS * 16)
                cp_async_16_or_zero(stage + x_place + k * S::THREADS * 16, is_there ? x[k] + from : any, is_there);
    }
};

// Where a lane finds its operands in a stage.
template <typename S> struct reader {
    uint32_t w, x[4]; // chunks 4 t + q of its first column

    __device__ __forceinline__ reader()
    {
        uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
        w = warp / S::WARPS_N * S::WARP_GROUPS * TMM_TILE_BYTES + tmm_granule_offset(TMM_TILE_GRANULES, g, t);
        keep_in_register(w);
#pragma unroll
        for (uint32_t q = 0; q < 4; q++) {
            x[q] = S::STAGE_W + (warp % S::WARPS_N * S::TILES_N * 8 + g) * TMM_TILE_COLUMNS +
                   16 * tmm_chunk_place(g, 4 * t + q);
            keep_in_register(x[q]);
        }
    }
};

// Adds the products of one stage.
template <typename S>
__device__ __forceinline__ void multiply(const uint8_t *stage, const reader<S> &from,
                                         int (&sums)[S::WARP_GROUPS][S::TILES_N][4])
{
#pragma unroll
    for (uint32_t q = 0; q < 4; q++) {
        int m = (int)q % 2 * 2;
        unsigned fields[2][S::WARP_GROUPS][4];
#pragma unroll
        for (uint32_t r = 0; r < S::WARP_GROUPS; r++) { // words 2 (q / 2) and the next of the lane's granules
            const uint8_t *at = stage + from.w + r * TMM_TILE_BYTES + 8 * (q / 2);
            uint2 low = ld_v2(at), high = ld_v2(at + TMM_TILE_BYTES / 2);
#pragma unroll
            for (int f = 0; f < 2; f++) {
                fields[f][r][0] = tmm_codes(low.x, m + f);
                fields[f][r][1] = tmm_codes(high.x, m + f);
                fields[f][r][2] = tmm_codes(low.y, m + f);
                fields[f][r][3] = tmm_codes(high.y, m + f);
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < S::TILES_N; i++) {
            uint4 b = ld_v4(stage + from.x[q] + i * 8 * TMM_TILE_COLUMNS);
#pragma unroll
            for (int f = 0; f < 2; f++)
#pragma unroll
                for (int r = 0; r < S::WARP_GROUPS; r++)
                    mma_u8s8_m16n8k32(sums[r][i], fields[f][r][0], fields[f][r][1], fields[f][r][2], fields[f][r][3],
                                      f == 0 ? b.x : b.z, f == 0 ? b.y : b.w);
        }
    }
}

// The products of tiles [first, end) of an item.
template <typename S>
__device__ __forceinline__ void multiply_tiles(const tmm_args &a, uint8_t *ring, item at, uint32_t first, uint32_t end,
                                               int (&sums)[S::WARP_GROUPS][S::TILES_N][4])
{
    constexpr uint32_t AHEAD = S::STAGES - 1;
    copier<S> copy(a, at);
    reader<S> from;
#pragma unroll
    for (int i = 0; i < S::SUMS; i++) sums[i / 4 / S::TILES_N][i / 4 % S::TILES_N][i % 4] = 0;
    __syncthreads(); // the ring may still be read
    for (uint32_t i = 0; i < AHEAD && first + i < end; i++) copy.copy_weights(a, ring + i * S::STAGE, first + i);
    griddep_wait();
    for (uint32_t i = 0; i < AHEAD; i++) {
        if (first + i < end) copy.copy_x(a, ring + i * S::STAGE, first + i);
        cp_async_commit();
    }
    uint32_t now = 0, next = AHEAD * S::STAGE; // stages, by their offsets
    for (uint32_t tile = first; tile < end; tile++) {
        cp_async_wait<S::STAGES - 2>();
        __syncthreads();
        if (tile + AHEAD < end) {
            copy.copy_weights(a, ring + next, tile + AHEAD);
            copy.copy_x(a, ring + next, tile + AHEAD);
        }
        cp_async_commit();
        multiply<S>(ring + now, from, sums);
        next = now;
        now = now + S::STAGE == S::STAGES * S::STAGE ? 0 : now + S::STAGE;
    }
}

template <typename S>
__device__ __forceinline__ void write_item(const tmm_args &a, item at, const int (&sums)[S::WARP_GROUPS][S::TILES_N][4])
{
    uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
    uint32_t first_row = (at.group + warp / S::WARPS_N * S::WARP_GROUPS) * TMM_TILE_ROWS + g;
    uint32_t first_column = at.column + warp % S::WARPS_N * S::TILES_N * 8 + 2 * t;
#pragma unroll
    for (int r = 0; r < S::WARP_GROUPS; r++)
#pragma unroll
        for (int i = 0; i < S::TILES_N; i++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                uint32_t row = first_row + (uint32_t)r * TMM_TILE_ROWS + 8 * (uint32_t)h;
                uint32_t column = first_column + (uint32_t)i * 8;
                const int *sum = sums[r][i] + 2 * h;
                if (a.terms == 2) { // both terms of a token stand side by side
                    if (column < a.n_columns) tmm_finish(a, row, column / 2, sum[0], sum[1]);
                    continue;
                }
                if (column < a.n_columns) tmm_finish(a, row, column, sum[0], 0);
                if (column + 1 < a.n_columns) tmm_finish(a, row, column + 1, sum[1], 0);
            }
}

// An item that other blocks have steps of, too: whether this block is the last one and now has all sums.
template <typename S>
__device__ __forceinline__ bool combine(const tmm_args &a, uint32_t index, int (&sums)[S::WARP_GROUPS][S::TILES_N][4],
                                        unsigned *flag)
{
    uint32_t owner = tmm_split_owner(&a.split, index * a.n_tiles);
    uint32_t last = tmm_split_owner(&a.split, (index + 1) * a.n_tiles - 1);
    int *slot = tmm_slot(a, blockIdx.x, owner, S::SUMS * S::THREADS) + threadIdx.x;
#pragma unroll
    for (int i = 0; i < S::SUMS; i++) slot[i * S::THREADS] = sums[i / 4 / S::TILES_N][i / 4 % S::TILES_N][i % 4];
    if (!tmm_arrive(a, owner, last, flag)) return false;
    for (uint32_t block = owner; block <= last; block++) {
        if (block == blockIdx.x) continue;
        slot = tmm_slot(a, block, owner, S::SUMS * S::THREADS) + threadIdx.x;
#pragma unroll
        for (int i = 0; i < S::SUMS; i++)
            sums[i / 4 / S::TILES_N][i / 4 % S::TILES_N][i % 4] += ld_global_cg_s32(slot + i * S::THREADS);
    }
    return true;
}

template <typename S> __device__ __forceinline__ void block_product(const tmm_args &a)
{
    SHARED_DYNAMIC(ring); // the stages, then one word
    unsigned *flag = reinterpret_cast<unsigned *>(ring + S::STAGES * S::STAGE);
    uint32_t end = tmm_split_begin(&a.split, blockIdx.x + 1);
    uint32_t column_blocks = (a.n_columns + S::COLUMNS - 1) / S::COLUMNS;
    int sums[S::WARP_GROUPS][S::TILES_N][4];
    for (uint32_t step = tmm_split_begin(&a.split, blockIdx.x); step < end;) {
        uint32_t index = step / a.n_tiles, first = step % a.n_tiles;
        uint32_t last = min(a.n_tiles, first + (end - step));
        item at = {index / column_blocks * GROUPS, index % column_blocks * S::COLUMNS};
        multiply_tiles<S>(a, ring, at, first, last, sums);
        if (last - first == a.n_tiles || combine<S>(a, index, sums, flag)) write_item<S>(a, at, sums);
        step += last - first;
    }
    griddep_launch();
}

} // namespace

#if TMM_HAS_MMA
#define BLOCK_BODY(shape) block_product<shape>(a)
#else
#define BLOCK_BODY(shape)
#endif
#define BLOCK_KERNEL(n, per_sm)                                                                                        \
    __global__ void __launch_bounds__(shape_##n::THREADS, per_sm) tmm_t64_128x##n##_sm80(tmm_args a)                   \
    {                                                                                                                  \
        BLOCK_BODY(shape_##n);                                                                                         \
    }
BLOCK_KERNEL(8, 2)
BLOCK_KERNEL(32, 2)
BLOCK_KERNEL(64, 2)
BLOCK_KERNEL(128, 1)

uint32_t tmm_block_columns(tmm_kernel kernel)
{
    return kernel == TMM_BLOCK_8 ? 8 : kernel == TMM_BLOCK_32 ? 32 : kernel == TMM_BLOCK_64 ? 64 : 128;
}

template <typename S>
static tern_status launch(stream *s, const tmm_args *a, const char *name, void (*kernel)(tmm_args), tern_error *err)
{
    return cuda_launch(s, name, kernel, dim3(a->split.n_shares), dim3(S::THREADS), S::STAGES * S::STAGE + 16, err, *a);
}

tern_status tmm_launch_block(stream *s, const tmm_args *a, tmm_kernel kernel, tern_error *err)
{
    switch (kernel) {
    case TMM_BLOCK_8: return launch<shape_8>(s, a, "tmm_t64_128x8_sm80", tmm_t64_128x8_sm80, err);
    case TMM_BLOCK_32: return launch<shape_32>(s, a, "tmm_t64_128x32_sm80", tmm_t64_128x32_sm80, err);
    case TMM_BLOCK_64: return launch<shape_64>(s, a, "tmm_t64_128x64_sm80", tmm_t64_128x64_sm80, err);
    default: return launch<shape_128>(s, a, "tmm_t64_128x128_sm80", tmm_t64_128x128_sm80, err);
    }
}
