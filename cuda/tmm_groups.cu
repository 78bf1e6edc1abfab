// Ternary products whose weights have several scales along K. The sum over groups keeps the order of groups() (ops.h):
// eight parts of consecutive groups, each one chain of fma; so a block of eight warps takes a row group, a warp a part.
//
// tmm_t64_groups_m*_sm80: groups that consist of granules. T64 spreads the four granules of a tile over the lanes of a
// tensor-core operand, which would add them up. Here a lane 4g + t takes word t of the same granule instead, so that
// two mma sum one granule; the bytes in memory are the same. tmm_t64_ragged takes groups of any size, and devices
// without these instructions, element by element.
#include "tmm_device.cuh"

#define PARTS   8
#define THREADS (PARTS * 32)

// The first group of a part.
static __device__ __forceinline__ uint32_t part_begin(uint32_t part, uint32_t n_groups)
{
    return (uint32_t)((uint64_t)part * n_groups / PARTS);
}

// A group's v (ops.h) from its sums.
static __device__ __forceinline__ float group_value(const tmm_args &a, uint32_t token, int hi, int lo)
{
    float v = (float)hi;
    return a.terms == 1 ? v * a.scales[0][token] : scalar_fma(v, a.scales[0][token], (float)lo * a.scales[1][token]);
}

namespace
{

// Four codes 0, 1, 2 as trits: no byte carries into the next.
__device__ __forceinline__ unsigned trits(unsigned word, int m)
{
    return (tmm_codes(word, m) + 0x7f7f7f7fu) ^ 0x80808080u;
}

// Adds the products of one granule: a lane has word t of the granule's rows g and g + 8.
template <int TILES_N>
__device__ __forceinline__ void add_granule(const tmm_args &a, uint32_t granule, uint32_t g, uint32_t t, uint32_t group,
                                            const int8_t *const (&columns)[TILES_N], int (&sums)[TILES_N][4])
{
    uint32_t tile = granule / TMM_TILE_GRANULES, n = tmm_tile_granules(a.n_granules, tile);
    const uint8_t *at = a.w + tmm_tile_offset(a.n_granules, group, tile) +
                        tmm_granule_offset(n, g, granule % TMM_TILE_GRANULES) + 4 * t;
    unsigned low = ld_u32(at), high = ld_u32(at + 8 * TMM_GRANULE_BYTES * n);
    size_t x = (size_t)granule * TERNARY_GRANULE + 32 * (t / 2) + 4 * (t % 2); // of field 0; field m: 8 m further
#pragma unroll
    for (int m = 0; m < 4; m += 2)
#pragma unroll
        for (int i = 0; i < TILES_N; i++)
            mma_s8s8_m16n8k32(sums[i], trits(low, m), trits(high, m), trits(low, m + 1), trits(high, m + 1),
                              ld_u32(columns[i] + x + 8 * m), ld_u32(columns[i] + x + 8 * m + 8));
}

template <int TILES_N> __device__ __forceinline__ void groups_product(const tmm_args &a)
{
    SHARED_ARRAY(float, parts, PARTS *TMM_TILE_ROWS *TILES_N * 8); // [part][column][row]
    griddep_wait();
    uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, part = threadIdx.x / 32;
    uint32_t group = blockIdx.x, first_column = blockIdx.y * TILES_N * 8, group_granules = a.group / TERNARY_GRANULE;
    const int8_t *columns[TILES_N];
    float chain[TILES_N][4];
#pragma unroll
    for (int i = 0; i < TILES_N; i++) { // columns that are not there repeat the last one, and are not used
        columns[i] = tmm_column(a, min(first_column + 8 * (uint32_t)i + g, a.n_columns - 1));
#pragma unroll
        for (int j = 0; j < 4; j++) chain[i][j] = 0.0f;
    }
    const float *scale = a.w_scale + (size_t)(group * TMM_TILE_ROWS + g) * a.n_groups; // of row g; row g + 8: below
    for (uint32_t k = part_begin(part, a.n_groups); k < part_begin(part + 1, a.n_groups); k++) {
        int sums[TILES_N][4];
#pragma unroll
        for (int i = 0; i < 4 * TILES_N; i++) sums[i / 4][i % 4] = 0;
        uint32_t end = min((k + 1) * group_granules, a.n_granules);
        for (uint32_t granule = k * group_granules; granule < end; granule++)
            add_granule<TILES_N>(a, granule, g, t, group, columns, sums);
#pragma unroll
        for (int i = 0; i < TILES_N; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) { // with two terms the even columns carry the chain
                uint32_t column = min(first_column + 8 * (uint32_t)i + 2 * t + (uint32_t)j % 2, a.n_columns - 1);
                if (a.terms == 2 && j % 2 == 1) continue;
                float v = group_value(a, column >> (a.terms - 1), sums[i][j], sums[i][j | 1]);
                chain[i][j] = scalar_fma(v, scale[(size_t)(j / 2) * 8 * a.n_groups + k], chain[i][j]);
            }
    }
    griddep_launch();
#pragma unroll
    for (int i = 0; i < TILES_N; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            parts[((part * TILES_N + (uint32_t)i) * 8 + 2 * t + (uint32_t)j % 2) * TMM_TILE_ROWS + g +
                  (uint32_t)j / 2 * 8] = chain[i][j];
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < TILES_N * 8 * TMM_TILE_ROWS; i += THREADS) {
        uint32_t row = group * TMM_TILE_ROWS + i % TMM_TILE_ROWS, column = first_column + i / TMM_TILE_ROWS;
        if (row >= a.n_rows || column >= a.n_columns || column % a.terms != 0) continue;
        const float *p = parts + i;
        constexpr int STEP = TILES_N * 8 * TMM_TILE_ROWS;
        tmm_put(a, row, column / a.terms,
                ((p[0] + p[STEP]) + (p[2 * STEP] + p[3 * STEP])) +
                    ((p[4 * STEP] + p[5 * STEP]) + (p[6 * STEP] + p[7 * STEP])));
    }
}

// The code of one element.
__device__ __forceinline__ int element(const tmm_args &a, uint32_t row, uint32_t column)
{
    uint32_t granule = column / TERNARY_GRANULE, c = column % TERNARY_GRANULE, tile = granule / TMM_TILE_GRANULES;
    uint32_t n = tmm_tile_granules(a.n_granules, tile);
    const uint8_t *at = a.w + tmm_tile_offset(a.n_granules, row / TMM_TILE_ROWS, tile) +
                        tmm_granule_offset(n, row % TMM_TILE_ROWS, granule % TMM_TILE_GRANULES) +
                        4 * (2 * (c / 32) + c / 4 % 2) + c % 4;
    return *at >> (2 * (c % 32 / 8)) & 3;
}

} // namespace

#if TMM_HAS_MMA
#define GROUPS_BODY(n) groups_product<n>(a)
#else
#define GROUPS_BODY(n)
#endif
__global__ void __launch_bounds__(THREADS, 2) tmm_t64_groups_m8_sm80(tmm_args a) { GROUPS_BODY(1); }
__global__ void __launch_bounds__(THREADS, 2) tmm_t64_groups_m32_sm80(tmm_args a) { GROUPS_BODY(4); }

// Eight neighbouring threads take a row and token, one part each.
__global__ void __launch_bounds__(THREADS) tmm_t64_ragged(tmm_args a)
{
    griddep_wait();
    uint32_t part = threadIdx.x % PARTS, row = blockIdx.x * (THREADS / PARTS) + threadIdx.x / PARTS;
    uint32_t token = blockIdx.y + blockIdx.z * gridDim.y;
    bool is_there = row < a.n_rows && token < a.n_tokens;
    float chain = 0.0f;
    for (uint32_t k = part_begin(part, a.n_groups); is_there && k < part_begin(part + 1, a.n_groups); k++) {
        const int8_t *x = a.codes[0] + (size_t)token * a.ld_x;
        const int8_t *x_lo = a.terms == 2 ? a.codes[1] + (size_t)token * a.ld_x : x;
        uint32_t first = k * a.group, end = a.n_cols - first > a.group ? first + a.group : a.n_cols;
        int hi = 0, lo = 0;
        for (uint32_t column = first; column < end; column++) {
            int trit = element(a, row, column) - 1;
            hi += trit * x[column];
            lo += trit * x_lo[column];
        }
        chain = scalar_fma(group_value(a, token, hi, lo), a.w_scale[(size_t)row * a.n_groups + k], chain);
    }
    griddep_launch();
    for (int i = 1; i < PARTS; i *= 2) chain += __shfl_xor_sync(FULL_WARP, chain, i); // the tree of groups()
    if (is_there && part == 0) tmm_put(a, row, token, chain);
}

tern_status tmm_launch_groups(stream *s, const tmm_args *a, tern_error *err)
{
    unsigned row_groups = ceil_div(a->n_rows, TMM_TILE_ROWS);
    if (a->n_columns <= 8)
        return cuda_launch(s, "tmm_t64_groups_m8_sm80", tmm_t64_groups_m8_sm80, dim3(row_groups), dim3(THREADS), 0, err,
                           *a);
    return cuda_launch(s, "tmm_t64_groups_m32_sm80", tmm_t64_groups_m32_sm80,
                       dim3(row_groups, ceil_div(a->n_columns, 32)), dim3(THREADS), 0, err, *a);
}

tern_status tmm_launch_ragged(stream *s, const tmm_args *a, tern_error *err)
{
    unsigned y = a->n_tokens < 32768 ? a->n_tokens : 32768; // the most blocks along y are 65,535
    return cuda_launch(s, "tmm_t64_ragged", tmm_t64_ragged,
                       dim3(ceil_div(a->n_rows, THREADS / PARTS), y, ceil_div(a->n_tokens, y)), dim3(THREADS), 0, err,
                       *a);
}
