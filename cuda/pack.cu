// Packed layouts from canonical rows and back, and the probe of the device's arithmetic.
//
// A canonical byte holds four consecutive columns; in a granule these stand in one field of one word, one per byte
// (common/t64.c, common/t80.c). So a thread moves one granule: 16 or 20 canonical bytes, spread and joined.
#include "launch.cuh"
#include "scalar_probe.h"

#define PACK_THREADS 256

namespace
{

// Granules per row, and where granule `g` of row `row` stands (ternary.h).
__device__ __forceinline__ size_t granule_offset(uint32_t n_granules, uint32_t row, uint32_t g)
{
    uint32_t tile = g / 4, in_tile = min(n_granules - tile * 4, 4u);
    size_t row_group = (size_t)(row / 16) * 16 * n_granules;
    return 16 * (row_group + (size_t)tile * 64 + row % 16 / 8 * 8 * in_tile + in_tile * (row % 8) + g % 4);
}

__global__ void __launch_bounds__(PACK_THREADS)
    t64_pack(uint8_t *packed, const uint8_t *rows, uint32_t n_granules, uint32_t first, uint32_t count)
{
    griddep_wait();
    size_t i = (size_t)blockIdx.x * PACK_THREADS + threadIdx.x;
    if (i >= (size_t)count * n_granules) return;
    uint32_t row = (uint32_t)(i / n_granules), g = (uint32_t)(i % n_granules);
    uint4 canonical = ld_v4(rows + 16 * i);
    const uint32_t from[4] = {canonical.x, canonical.y, canonical.z, canonical.w};
    uint32_t words[4] = {0, 0, 0, 0};
#pragma unroll
    for (int q = 0; q < 16; q++) {
        uint32_t x = from[q / 4] >> (8 * (q % 4)) & 255;
        uint32_t spread = (x | x << 6 | x << 12 | x << 18) & 0x03030303u;
        words[2 * (q / 8) + q % 2] |= spread << (2 * (q % 8 / 2));
    }
    *reinterpret_cast<uint4 *>(packed + granule_offset(n_granules, first + row, g)) = make_uint4(words[0], words[1],
                                                                                                 words[2], words[3]);
}

__global__ void __launch_bounds__(PACK_THREADS)
    t64_unpack(uint8_t *rows, const uint8_t *packed, uint32_t n_granules, uint32_t first, uint32_t count)
{
    griddep_wait();
    size_t i = (size_t)blockIdx.x * PACK_THREADS + threadIdx.x;
    if (i >= (size_t)count * n_granules) return;
    uint32_t row = (uint32_t)(i / n_granules), g = (uint32_t)(i % n_granules);
    uint4 granule = ld_v4(packed + granule_offset(n_granules, first + row, g));
    const uint32_t words[4] = {granule.x, granule.y, granule.z, granule.w};
    uint32_t to[4] = {0, 0, 0, 0};
#pragma unroll
    for (int q = 0; q < 16; q++) {
        uint32_t spread = words[2 * (q / 8) + q % 2] >> (2 * (q % 8 / 2)) & 0x03030303u;
        to[q / 4] |= ((spread | spread >> 6 | spread >> 12 | spread >> 18) & 255) << (8 * (q % 4));
    }
    *reinterpret_cast<uint4 *>(rows + 16 * i) = make_uint4(to[0], to[1], to[2], to[3]);
}

// A granule is 20 canonical bytes, five words. Of the last one the canonical row may hold fewer (`row_words` ends it),
// or end behind it: those columns have code 1.
#define ALL_ONE 0x55555555u

__global__ void __launch_bounds__(PACK_THREADS) t80_pack(uint8_t *packed, const uint8_t *rows, uint32_t n_granules,
                                                         uint32_t first, uint32_t count, uint32_t row_words)
{
    griddep_wait();
    size_t i = (size_t)blockIdx.x * PACK_THREADS + threadIdx.x;
    if (i >= (size_t)count * n_granules) return;
    uint32_t row = (uint32_t)(i / n_granules), g = (uint32_t)(i % n_granules);
    const uint32_t *canonical = reinterpret_cast<const uint32_t *>(rows) + (size_t)row * row_words + 5 * g;
    uint32_t from[5], words[4] = {0, 0, 0, 0};
#pragma unroll
    for (uint32_t k = 0; k < 5; k++) from[k] = 5 * g + k < row_words ? canonical[k] : ALL_ONE;
#pragma unroll
    for (int q = 0; q < 20; q++) {
        uint32_t x = from[q / 4] >> (8 * (q % 4)) & 255;
        uint32_t spread = (x | x << 6 | x << 12 | x << 18) & 0x03030303u;
        words[2 * (q / 10) + q % 2] = words[2 * (q / 10) + q % 2] * 3 + spread;
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint32_t shares = 0; // ceil(256 v / 243)
#pragma unroll
        for (int b = 0; b < 32; b += 8) shares |= (256 * (words[j] >> b & 255) + 242) / 243 << b;
        words[j] = shares;
    }
    *reinterpret_cast<uint4 *>(packed + granule_offset(n_granules, first + row, g)) = make_uint4(words[0], words[1],
                                                                                                 words[2], words[3]);
}

__global__ void __launch_bounds__(PACK_THREADS) t80_unpack(uint8_t *rows, const uint8_t *packed, uint32_t n_granules,
                                                           uint32_t first, uint32_t count, uint32_t row_words)
{
    griddep_wait();
    size_t i = (size_t)blockIdx.x * PACK_THREADS + threadIdx.x;
    if (i >= (size_t)count * n_granules) return;
    uint32_t row = (uint32_t)(i / n_granules), g = (uint32_t)(i % n_granules);
    uint4 granule = ld_v4(packed + granule_offset(n_granules, first + row, g));
    const uint32_t words[4] = {granule.x, granule.y, granule.z, granule.w};
    uint32_t even[4], odd[4], to[5] = {0, 0, 0, 0, 0};
#pragma unroll
    for (int q = 0; q < 20; q++) {
        int j = 2 * (q / 10) + q % 2;
        even[j] = ((q % 10 < 2 ? words[j] : even[j]) & 0x00ff00ffu) * 3;
        odd[j] = ((q % 10 < 2 ? words[j] >> 8 : odd[j]) & 0x00ff00ffu) * 3;
        uint32_t spread = __byte_perm(even[j], odd[j], 0x7351);
        to[q / 4] |= ((spread | spread >> 6 | spread >> 12 | spread >> 18) & 255) << (8 * (q % 4));
    }
    uint32_t *canonical = reinterpret_cast<uint32_t *>(rows) + (size_t)row * row_words;
#pragma unroll
    for (uint32_t k = 0; k < 5; k++)
        if (5 * g + k < row_words) canonical[5 * g + k] = to[k];
    for (uint32_t k = 5 * n_granules; g + 1 == n_granules && k < row_words; k++) canonical[k] = ALL_ONE;
}

__global__ void __launch_bounds__(PACK_THREADS) scalar_probe(unsigned *sum)
{
    griddep_wait();
    atomicAdd(sum, (unsigned)scalar_probe_value(blockIdx.x * PACK_THREADS + threadIdx.x));
}

unsigned blocks(size_t n) { return (unsigned)((n + PACK_THREADS - 1) / PACK_THREADS); }

} // namespace

// Uploads and downloads come in pieces of CUDA_UPLOAD_SLOT, so the number of granules is small.
tern_status cuda_pack_rows(stream *s, weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err)
{
    uint32_t n_granules = ternary_granules(w->layout, w->n_cols), row_words = (uint32_t)w->row_bytes / 4;
    dim3 grid(blocks((size_t)count * n_granules)), block(PACK_THREADS);
    if (w->layout == TERNARY_T80)
        return cuda_launch(s, "t80_pack", t80_pack, grid, block, 0, err, w->data, rows, n_granules, first, count,
                           row_words);
    return cuda_launch(s, "t64_pack", t64_pack, grid, block, 0, err, w->data, rows, n_granules, first, count);
}

tern_status cuda_unpack_rows(stream *s, const weights *w, uint32_t first, uint32_t count, uint8_t *rows,
                             tern_error *err)
{
    uint32_t n_granules = ternary_granules(w->layout, w->n_cols), row_words = (uint32_t)w->row_bytes / 4;
    dim3 grid(blocks((size_t)count * n_granules)), block(PACK_THREADS);
    const uint8_t *packed = w->data;
    if (w->layout == TERNARY_T80)
        return cuda_launch(s, "t80_unpack", t80_unpack, grid, block, 0, err, rows, packed, n_granules, first, count,
                           row_words);
    return cuda_launch(s, "t64_unpack", t64_unpack, grid, block, 0, err, rows, packed, n_granules, first, count);
}

tern_status cuda_probe(stream *s, unsigned *sum, tern_error *err)
{
    return cuda_launch(s, "scalar_probe", scalar_probe, dim3(SCALAR_PROBE_N / PACK_THREADS), dim3(PACK_THREADS), 0, err,
                       sum);
}

cudaError_t cuda_code_check(void)
{
    cudaFuncAttributes attributes;
    return cudaFuncGetAttributes(&attributes, scalar_probe);
}
