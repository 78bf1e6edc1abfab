// T64 from canonical rows and back, and the probe of the device's arithmetic.
//
// A canonical byte holds four consecutive columns; in a granule these stand in one field of one word, one per byte
// (common/t64.c). So a thread moves one granule: 16 canonical bytes, spread, shifted and joined.
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

__global__ void __launch_bounds__(PACK_THREADS) scalar_probe(unsigned *sum)
{
    griddep_wait();
    atomicAdd(sum, (unsigned)scalar_probe_value(blockIdx.x * PACK_THREADS + threadIdx.x));
}

unsigned blocks(size_t n) { return (unsigned)((n + PACK_THREADS - 1) / PACK_THREADS); }

} // namespace

// Uploads and downloads come in pieces of CUDA_UPLOAD_SLOT, so the number of granules is small.
tern_status cuda_t64_pack(stream *s, weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err)
{
    uint32_t n_granules = ternary_padded(w->n_cols) / TERNARY_GRANULE;
    return cuda_launch(s, "t64_pack", t64_pack, dim3(blocks((size_t)count * n_granules)), dim3(PACK_THREADS), 0, err,
                       w->data, rows, n_granules, first, count);
}

tern_status cuda_t64_unpack(stream *s, const weights *w, uint32_t first, uint32_t count, uint8_t *rows, tern_error *err)
{
    uint32_t n_granules = ternary_padded(w->n_cols) / TERNARY_GRANULE;
    return cuda_launch(s, "t64_unpack", t64_unpack, dim3(blocks((size_t)count * n_granules)), dim3(PACK_THREADS), 0,
                       err, rows, w->data, n_granules, first, count);
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
