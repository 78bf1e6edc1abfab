// Ternary products for many columns: blocks of 128 rows x 8, 32, 64 or 128 columns, tmm_*_128x*_sm80. A step is one
// tile of K (256 columns, T80: 320) of the 8 row groups and of the activations; both come through a ring of stages in
// shared memory (cp.async), weights are decoded in registers on their way to the tensor cores, and int32 sums stay in
// registers over all of K. Neighbouring blocks take neighbouring token blocks of the same rows, so that the
// second-level cache serves the weights once. Where there are too few items for the device, blocks share them along K.
//
// tmm_t64_128x128_sm90a does the same by wgmma: two warp groups, each with 64 rows and all columns, whose tensor cores
// read activations from shared memory themselves while their threads decode the next weights.
#include "tmm_device.cuh"

#define GROUPS 8 // row groups of a block

namespace
{

// Warps stand warps_n side by side along the columns; each has `groups` row groups x `tiles_n` column tiles of 8.
template <ternary_layout L, int warps_n, int groups, int tiles_n, int stages> struct block_shape {
    static constexpr ternary_layout LAYOUT = L;
    static constexpr int WARPS_N = warps_n, WARP_GROUPS = groups, TILES_N = tiles_n, STAGES = stages;
    static constexpr uint32_t THREADS = GROUPS / groups * warps_n * 32;
    static constexpr uint32_t COLUMNS = warps_n * tiles_n * 8;
    static constexpr uint32_t STAGE_W = GROUPS * TMM_TILE_BYTES, STAGE_X = COLUMNS * packed<L>::TILE_COLUMNS;
    static constexpr uint32_t STAGE = STAGE_W + STAGE_X;
    static constexpr int SUMS = groups * tiles_n * 4; // of a lane

    // What shape_wgmma has otherwise.
    static constexpr bool IS_WGMMA = false;
    static constexpr int AHEAD = STAGES - 1;                         // steps whose copies are under way
    static constexpr uint32_t ALIGNMENT = 16;                        // of the ring
    static constexpr uint32_t COLUMN_STEP = packed<L>::TILE_COLUMNS; // bytes from a column of a stage to the next
    // Where chunk i of tiles of weights stands in a stage, and a chunk of a column of activations.
    static __device__ __forceinline__ uint32_t w_place(uint32_t i) { return 16 * i; }
    static __device__ __forceinline__ uint32_t x_place(uint32_t column, uint32_t chunk)
    {
        return column * COLUMN_STEP + 16 * tmm_chunk_place(L, column, chunk);
    }
};
template <ternary_layout L> using shape_8 = block_shape<L, 1, 1, 1, 4>;
template <ternary_layout L> using shape_32 = block_shape<L, 2, 2, 2, 4>;
template <ternary_layout L> using shape_64 = block_shape<L, 2, 2, 4, 3>;
// T80 is dearer to decode and keeps more in registers: a warp takes one row group, which half as many warps decode.
template <ternary_layout L>
using shape_128 = block_shape<L, L == TERNARY_T80 ? 2 : 4, L == TERNARY_T80 ? 1 : 2, L == TERNARY_T80 ? 8 : 4, 2>;

// By wgmma, whose fragments of 64 rows are those of four warps of this form. The products of a step may still be under
// way in the next one, so a stage is filled again a step later.
//
// The tensor cores take activations in their order along K: words of a fragment of A are columns 4t..4t+3 and 16+4t..
// of 32. Lane t finds them in word t % 2 of half a granule, as fields t / 2 and t / 2 + 2. So a lane reads words of
// all four granules of its rows, and they change places in the stage by their row, that banks serve eight rows at once.
template <ternary_layout L> struct shape_wgmma : block_shape<L, 1, 1, WGMMA_COLUMNS / 8, 4> {
    typedef block_shape<L, 1, 1, WGMMA_COLUMNS / 8, 4> base;
    static constexpr bool IS_WGMMA = true;
    static constexpr int AHEAD = base::STAGES - 2;
    static constexpr uint32_t ALIGNMENT = WGMMA_ALIGNMENT, COLUMN_STEP = WGMMA_ROW_BYTES;
    static constexpr uint32_t PANEL = WGMMA_COLUMNS * WGMMA_ROW_BYTES; // 128 bytes along K of all columns
    static constexpr uint32_t PANELS = base::STAGE_X / PANEL;
    static __device__ __forceinline__ uint32_t w_place(uint32_t i) { return 16 * (i ^ (i >> 3 & 3)); }
    static __device__ __forceinline__ uint32_t x_place(uint32_t column, uint32_t chunk)
    {
        return chunk / 8 * PANEL + column * COLUMN_STEP + 16 * (chunk % 8 ^ column % 8);
    }
};

struct item {
    uint32_t group, column; // the first ones
};

// What a thread copies of every step of an item: some 16-byte chunks of weights, and of activations the same chunk of
// every X_STEP-th column, always the same ones of a tile. X_STEP is even, so that these columns are the same term of
// tokens. Row groups that are not there repeat the last one, columns that are not there are zeros; their sums are not
// used.
template <typename S> struct copier {
    typedef packed<S::LAYOUT> P;
    static constexpr uint32_t X_STEP = S::THREADS / P::TILE_CHUNKS / 2 * 2, N_X = (S::COLUMNS + X_STEP - 1) / X_STEP;
    static constexpr uint32_t N_W = GROUPS * 64 / S::THREADS;
    const uint8_t *w[N_W]; // row groups
    const int8_t *x;       // the thread's chunk of its first column
    uint32_t x_place;      // in a stage
    uint32_t n_x;          // columns that are there, counted in X_STEP
    bool has_x;

    __device__ __forceinline__ copier(const tmm_args &a, item at)
    {
        uint32_t i = threadIdx.x, last_group = (a.n_rows - 1) / TMM_TILE_ROWS, column = i / P::TILE_CHUNKS;
#pragma unroll
        for (uint32_t k = 0; k < N_W; k++)
            w[k] = a.w + tmm_tile_offset(a.n_granules, min(at.group + (i + k * S::THREADS) / 64, last_group), 0);
        x = tmm_column(a, min(at.column + column, a.n_columns - 1)) + 16 * (i % P::TILE_CHUNKS);
        x_place = S::STAGE_W + S::x_place(column, i % P::TILE_CHUNKS);
        keep_in_register(x_place);
        uint32_t end = min(a.n_columns - at.column, S::COLUMNS);
        n_x = column < end ? (end - column - 1) / X_STEP + 1 : 0;
        has_x = i < X_STEP * P::TILE_CHUNKS;
    }

    // In the stage every tile has four granules a row; those behind the end of the rows are zeros.
    __device__ __forceinline__ void copy_weights(const tmm_args &a, uint8_t *stage, uint32_t tile) const
    {
        uint32_t i = threadIdx.x, n = tmm_tile_granules(a.n_granules, tile), t = i % 4;
        size_t from = (size_t)tile * TMM_TILE_BYTES + tmm_granule_offset(n, i % 64 / 4, t < n ? t : 0);
#pragma unroll
        for (uint32_t k = 0; k < N_W; k++)
            cp_async_16_or_zero(stage + S::w_place(i) + k * S::THREADS * 16, w[k] + from, t < n);
    }
    __device__ __forceinline__ void copy_x(const tmm_args &a, uint8_t *stage, uint32_t tile) const
    {
        uint32_t granule = tile * TMM_TILE_GRANULES + threadIdx.x % P::TILE_CHUNKS / P::CHUNKS;
        uint32_t n = granule < a.n_granules ? n_x : 0;
        const int8_t *from = n > 0 ? x + (size_t)tile * P::TILE_COLUMNS : a.codes[0]; // else any valid address
#pragma unroll
        for (uint32_t k = 0; k < N_X; k++) {
            if (has_x && (k * X_STEP + X_STEP <= S::COLUMNS || threadIdx.x / P::TILE_CHUNKS < S::COLUMNS - k * X_STEP))
                cp_async_16_or_zero(stage + x_place + k * X_STEP * S::COLUMN_STEP, from, k < n);
            if (k + 1 < n) from += (size_t)a.ld_x * X_STEP >> (a.terms - 1);
        }
    }
};

// Where a lane finds its operands in a stage.
template <typename S> struct reader {
    static constexpr uint32_t PLACES = S::LAYOUT == TERNARY_T80 ? 1 : 4; // T80: chunks follow each other
    uint32_t w, x[PLACES];                                               // chunks q of its granule of its first column

    __device__ __forceinline__ reader()
    {
        typedef packed<S::LAYOUT> P;
        uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
        w = warp / S::WARPS_N * S::WARP_GROUPS * TMM_TILE_BYTES + tmm_granule_offset(TMM_TILE_GRANULES, g, t);
        keep_in_register(w);
#pragma unroll
        for (uint32_t q = 0; q < PLACES; q++) {
            x[q] = S::STAGE_W + (warp % S::WARPS_N * S::TILES_N * 8 + g) * P::TILE_COLUMNS +
                   16 * tmm_chunk_place(S::LAYOUT, g, P::CHUNKS * t + q);
            keep_in_register(x[q]);
        }
    }
    __device__ __forceinline__ uint32_t chunk(uint32_t q) const { return PLACES == 1 ? x[0] + 16 * q : x[q % PLACES]; }
};

// Adds the products of one stage.
template <typename S>
__device__ __forceinline__ void multiply(const uint8_t *stage, reader<S> &from,
                                         int (&sums)[S::WARP_GROUPS][S::TILES_N][4])
{
    typedef packed<S::LAYOUT> P;
    word_codes<S::LAYOUT> words[S::WARP_GROUPS][4]; // two of row g and two of row g + 8, as operands want them
#pragma unroll
    for (uint32_t q = 0; q < P::CHUNKS; q++) {
        unsigned fields[2][S::WARP_GROUPS][4];
#pragma unroll
        for (uint32_t f = 0; f < 2; f++) {
            uint32_t half = (2 * q + f) / P::FIELDS, m = (2 * q + f) % P::FIELDS;
#pragma unroll
            for (uint32_t r = 0; r < S::WARP_GROUPS; r++) {
                if (m == 0) {
                    const uint8_t *at = stage + from.w + r * TMM_TILE_BYTES + 8 * half;
                    uint2 low = ld_v2(at), high = ld_v2(at + TMM_TILE_BYTES / 2);
                    words[r][0].load(low.x);
                    words[r][1].load(high.x);
                    words[r][2].load(low.y);
                    words[r][3].load(high.y);
                }
#pragma unroll
                for (int i = 0; i < 4; i++) fields[f][r][i] = words[r][i].next((int)m);
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < S::TILES_N; i++) {
            uint4 b = ld_v4(stage + from.chunk(q) + i * 8 * P::TILE_COLUMNS);
#pragma unroll
            for (int f = 0; f < 2; f++)
#pragma unroll
                for (int r = 0; r < S::WARP_GROUPS; r++)
                    mma_u8s8_m16n8k32(sums[r][i], fields[f][r][0], fields[f][r][1], fields[f][r][2], fields[f][r][3],
                                      f == 0 ? b.x : b.z, f == 0 ? b.y : b.w);
        }
    }
}

// The same by wgmma. Of four sets of fragments three are read by products under way while one is decoded, so that the
// tensor cores have work while the threads meet at a barrier and send copies on their way.
template <ternary_layout L> struct reader<shape_wgmma<L>> {
    uint32_t w, shift; // the lane's word of the first granule of row g in a stage; of its fields in a word
    unsigned fragments[4][4];

    __device__ __forceinline__ reader()
    {
        uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
        w = threadIdx.x / 32 * TMM_TILE_BYTES + shape_wgmma<L>::w_place(TMM_TILE_GRANULES * g) + 4 * (t % 2);
        shift = 2 * (t / 2);
        keep_in_register(w);
    }
};

template <ternary_layout L>
__device__ __forceinline__ void multiply(const uint8_t *stage, reader<shape_wgmma<L>> &from,
                                         int (&sums)[1][WGMMA_COLUMNS / 8][4])
{
    typedef shape_wgmma<L> S;
    constexpr uint32_t STEPS = S::PANELS * WGMMA_ROW_BYTES / WGMMA_K_BYTES; // half a granule each
    uint64_t x = wgmma_operand(shared_address(stage + S::STAGE_W));
    unsigned words[STEPS][2];
#pragma unroll
    for (uint32_t i = 0; i < STEPS; i++) {
        const uint8_t *at = stage + (from.w ^ TMM_GRANULE_BYTES * (i / 2)) + 8 * (i % 2);
        words[i][0] = ld_u32(at);
        words[i][1] = ld_u32(at + TMM_TILE_BYTES / 2);
    }
#pragma unroll
    for (uint32_t i = 0; i < STEPS; i++) {
        unsigned low = words[i][0] >> from.shift, high = words[i][1] >> from.shift;
        unsigned(&a)[4] = from.fragments[i % 4];
        a[0] = tmm_codes(low, 0);
        a[1] = tmm_codes(high, 0);
        a[2] = tmm_codes(low, 2);
        a[3] = tmm_codes(high, 2);
        wgmma_fence();
        wgmma_u8s8_m64n128k32(sums[0], a, x + (i / 4 * S::PANEL + i % 4 * WGMMA_K_BYTES) / 16);
        wgmma_commit();
        wgmma_wait<3>();
    }
}

template <typename S> __device__ __forceinline__ uint32_t next_stage(uint32_t stage)
{
    return stage + S::STAGE == S::STAGES * S::STAGE ? 0 : stage + S::STAGE;
}

// The products of tiles [first, end) of an item.
template <typename S>
__device__ __forceinline__ void multiply_tiles(const tmm_args &a, uint8_t *ring, item at, uint32_t first, uint32_t end,
                                               int (&sums)[S::WARP_GROUPS][S::TILES_N][4])
{
    constexpr uint32_t AHEAD = S::AHEAD;
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
        cp_async_wait<S::AHEAD - 1>();
        if (S::IS_WGMMA) fence_proxy_async();
        __syncthreads();
        if (tile + AHEAD < end) {
            copy.copy_weights(a, ring + next, tile + AHEAD);
            copy.copy_x(a, ring + next, tile + AHEAD);
        }
        cp_async_commit();
        multiply(ring + now, from, sums);
        next = AHEAD == S::STAGES - 1 ? now : next_stage<S>(next);
        now = next_stage<S>(now);
    }
    if (S::IS_WGMMA) wgmma_wait<0>();
}

// Gate and up of an item's tokens in shared memory, in the ring's place: [token][output], GATED_LD so that the lanes of
// a tensor core's product find different banks.
#define GATED_OUTPUTS (GROUPS * GATED_TURN)
#define GATED_LD      (GATED_OUTPUTS + 2)

template <typename S>
__device__ __forceinline__ void write_item(const tmm_args &a, uint8_t *ring, item at,
                                           const int (&sums)[S::WARP_GROUPS][S::TILES_N][4])
{
    static_assert(S::COLUMNS * GATED_LD * sizeof(tmm_pair) <= S::STAGES * S::STAGE, "the ring has room");
    tmm_pair *pairs = reinterpret_cast<tmm_pair *>(ring);
    uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32, lo = a.terms - 1;
    uint32_t warp_group = warp / S::WARPS_N * S::WARP_GROUPS, first_token = at.column >> lo;
    uint32_t n_columns = min(a.n_columns - at.column, S::COLUMNS);
    if (tmm_gates(a)) __syncthreads(); // the ring may still be read
#pragma unroll
    for (int r = 0; r < S::WARP_GROUPS; r++)
#pragma unroll
        for (int i = 0; i < S::TILES_N; i++)
#pragma unroll
            for (int c = 0; c < 2; c++) { // of two columns in row g, then in row g + 8
                const int *sum = sums[r][i];
                uint32_t row = (at.group + warp_group + (uint32_t)r) * TMM_TILE_ROWS + g;
                uint32_t column = (warp % S::WARPS_N * S::TILES_N + (uint32_t)i) * 8 + 2 * t + (uint32_t)c;
                if (row >= a.n_rows || column >= n_columns || (c == 1 && lo == 1)) continue;
                uint32_t token = column >> lo; // both its terms stand side by side
                tmm_pair p = tmm_products(a, row, first_token + token, {sum[c], sum[1]}, {sum[c + 2], sum[3]});
                if (tmm_gates(a))
                    pairs[token * GATED_LD + (warp_group + (uint32_t)r) * GATED_TURN + g] = p;
                else
                    tmm_put_pair(a, row, first_token + token, p);
            }
    if (!tmm_gates(a)) return;
    __syncthreads();
    uint32_t n_outputs = min(a.n_rows / 2 - at.group * GATED_TURN, (uint32_t)GATED_OUTPUTS);
    for (uint32_t i = threadIdx.x; i < GATED_OUTPUTS * (n_columns >> lo); i += S::THREADS) {
        uint32_t output = i % GATED_OUTPUTS, token = i / GATED_OUTPUTS;
        if (output < n_outputs)
            tmm_put_gated(a, at.group * GATED_TURN + output, first_token + token, pairs[token * GATED_LD + output]);
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
    SHARED_DYNAMIC(shared); // the stages, then one word
    uint8_t *ring = S::ALIGNMENT > 16 ? shared + -shared_address(shared) % S::ALIGNMENT : shared;
    unsigned *flag = reinterpret_cast<unsigned *>(ring + S::STAGES * S::STAGE);
    uint32_t end = tmm_split_begin(&a.split, blockIdx.x + 1);
    uint32_t column_blocks = (a.n_columns + S::COLUMNS - 1) / S::COLUMNS;
    int sums[S::WARP_GROUPS][S::TILES_N][4];
    for (uint32_t step = tmm_split_begin(&a.split, blockIdx.x); step < end;) {
        uint32_t index = step / a.n_tiles, first = step % a.n_tiles;
        uint32_t last = min(a.n_tiles, first + (end - step));
        item at = {index / column_blocks * GROUPS, index % column_blocks * S::COLUMNS};
        multiply_tiles<S>(a, ring, at, first, last, sums);
        if (last - first == a.n_tiles || combine<S>(a, index, sums, flag)) write_item<S>(a, ring, at, sums);
        step += last - first;
    }
    griddep_launch();
}

} // namespace

#if TMM_HAS_MMA
#define BLOCK_BODY(...) block_product<__VA_ARGS__>(a)
#else
#define BLOCK_BODY(...)
#endif
#if PTX_HAS_WGMMA
#define WGMMA_BODY(...) block_product<__VA_ARGS__>(a)
#else
#define WGMMA_BODY(...)
#endif
#define BLOCK_KERNEL(name, layout, n, per_sm)                                                                          \
    __global__ void __launch_bounds__(shape_##n<layout>::THREADS, per_sm) tmm_##name##_128x##n##_sm80(tmm_args a)      \
    {                                                                                                                  \
        BLOCK_BODY(shape_##n<layout>);                                                                                 \
    }
#define BLOCK_KERNELS(name, layout)                                                                                    \
    BLOCK_KERNEL(name, layout, 8, 2)                                                                                   \
    BLOCK_KERNEL(name, layout, 32, 2)                                                                                  \
    BLOCK_KERNEL(name, layout, 64, 2)                                                                                  \
    BLOCK_KERNEL(name, layout, 128, 1)
BLOCK_KERNELS(t64, TERNARY_T64)
BLOCK_KERNELS(t80, TERNARY_T80)

__global__ void __launch_bounds__(shape_wgmma<TERNARY_T64>::THREADS, 1) tmm_t64_128x128_sm90a(tmm_args a)
{
    WGMMA_BODY(shape_wgmma<TERNARY_T64>);
}

uint32_t tmm_block_columns(tmm_kernel kernel)
{
    return kernel == TMM_BLOCK_8 ? 8 : kernel == TMM_BLOCK_32 ? 32 : kernel == TMM_BLOCK_64 ? 64 : 128;
}

template <typename S>
static tern_status launch(stream *s, const tmm_args *a, const char *name, void (*kernel)(tmm_args), tern_error *err)
{
    return cuda_launch(s, name, kernel, dim3(a->split.n_shares), dim3(S::THREADS), S::STAGES * S::STAGE + S::ALIGNMENT,
                       err, *a);
}

#define LAUNCH(name, layout, n)                                                                                        \
    launch<shape_##n<layout>>(s, a, "tmm_" #name "_128x" #n "_sm80", tmm_##name##_128x##n##_sm80, err)
#define LAUNCH_LAYOUT(n) (a->layout == TERNARY_T80 ? LAUNCH(t80, TERNARY_T80, n) : LAUNCH(t64, TERNARY_T64, n))

tern_status tmm_launch_block(stream *s, const tmm_args *a, tmm_kernel kernel, tern_error *err)
{
    switch (kernel) {
    case TMM_BLOCK_8: return LAUNCH_LAYOUT(8);
    case TMM_BLOCK_32: return LAUNCH_LAYOUT(32);
    case TMM_BLOCK_64: return LAUNCH_LAYOUT(64);
    case TMM_BLOCK_WGMMA:
        return launch<shape_wgmma<TERNARY_T64>>(s, a, "tmm_t64_128x128_sm90a", tmm_t64_128x128_sm90a, err);
    default: return LAUNCH_LAYOUT(128);
    }
}
