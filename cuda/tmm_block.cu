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

template <typename S>
__device__ __forceinline__ void copy_weights(const tmm_args &a, uint8_t *stage, uint32_t first_group, uint32_t tile)
{
    uint32_t n_chunks = TMM_TILE_ROWS * tmm_tile_granules(a.n_granules, tile);
    uint32_t last_group = (a.n_rows - 1) / TMM_TILE_ROWS;
    for (uint32_t i = threadIdx.x; i < GROUPS * 64; i += S::THREADS) {
        uint32_t group = min(first_group + i / 64, last_group); // beyond the last: repeated, not used
        if (i % 64 < n_chunks)
            cp_async_16(stage + 16 * i, a.w + tmm_tile_offset(a.n_granules, group, tile) + 16 * (i % 64));
    }
}

template <typename S>
__device__ __forceinline__ void copy_x(const tmm_args &a, uint8_t *stage, uint32_t first_column, uint32_t tile)
{
    for (uint32_t i = threadIdx.x; i < S::COLUMNS * 16; i += S::THREADS) {
        uint32_t c = i / 16, column = min(first_column + c, a.n_columns - 1); // beyond the last: repeated, not used
        tmm_copy_chunk(a, stage + 16 * (c * 16 + tmm_chunk_place(c, i % 16)), tmm_column(a, column), tile, i % 16);
    }
}

// Adds the products of one stage.
template <typename S>
__device__ __forceinline__ void multiply(const uint8_t *w, const uint8_t *x, uint32_t n,
                                         int (&sums)[S::WARP_GROUPS][S::TILES_N][4])
{
    uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
    w += warp / S::WARPS_N * S::WARP_GROUPS * TMM_TILE_BYTES;
    x += warp % S::WARPS_N * S::TILES_N * 8 * TMM_TILE_COLUMNS;

#pragma unroll
    for (int q = 0; q < 4; q++) {
        int m = q % 2 * 2;
        unsigned fields[2][S::WARP_GROUPS][4];
#pragma unroll
        for (int r = 0; r < S::WARP_GROUPS; r++) {
            // Words 2 (q / 2) and the next of this lane's granules; beyond the end of the rows, zeros.
            const uint8_t *at = w + (uint32_t)r * TMM_TILE_BYTES + tmm_granule_offset(n, g, t) + 8 * (q / 2);
            uint2 low = t < n ? ld_v2(at) : make_uint2(0, 0);
            uint2 high = t < n ? ld_v2(at + 8 * TMM_GRANULE_BYTES * n) : make_uint2(0, 0);
#pragma unroll
            for (int f = 0; f < 2; f++) {
                fields[f][r][0] = tmm_codes(low.x, m + f);
                fields[f][r][1] = tmm_codes(high.x, m + f);
                fields[f][r][2] = tmm_codes(low.y, m + f);
                fields[f][r][3] = tmm_codes(high.y, m + f);
            }
        }
#pragma unroll
        for (int i = 0; i < S::TILES_N; i++) {
            uint4 b = ld_v4(x + ((uint32_t)i * 8 + g) * TMM_TILE_COLUMNS +
                            16 * tmm_chunk_place(g, 4 * t + (uint32_t)q));
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
#pragma unroll
    for (int i = 0; i < S::SUMS; i++) sums[i / 4 / S::TILES_N][i / 4 % S::TILES_N][i % 4] = 0;
    __syncthreads(); // the ring may still be read
    for (uint32_t i = 0; i < AHEAD && first + i < end; i++)
        copy_weights<S>(a, ring + i * S::STAGE, at.group, first + i);
    griddep_wait();
    for (uint32_t i = 0; i < AHEAD; i++) {
        if (first + i < end) copy_x<S>(a, ring + i * S::STAGE + S::STAGE_W, at.column, first + i);
        cp_async_commit();
    }
    for (uint32_t i = 0; i < end - first; i++) {
        uint32_t ahead = i + AHEAD, tile = first + ahead;
        cp_async_wait<S::STAGES - 2>();
        __syncthreads();
        if (tile < end) {
            uint8_t *stage = ring + ahead % S::STAGES * S::STAGE;
            copy_weights<S>(a, stage, at.group, tile);
            copy_x<S>(a, stage + S::STAGE_W, at.column, tile);
        }
        cp_async_commit();
        const uint8_t *stage = ring + i % S::STAGES * S::STAGE;
        multiply<S>(stage, stage + S::STAGE_W, tmm_tile_granules(a.n_granules, first + i), sums);
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
