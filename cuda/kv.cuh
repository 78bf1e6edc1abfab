// The KV cache as kernels see it; layout in common/kv.h. Offsets of blocks are 64-bit: a cache may pass 4 GiB.
#ifndef TERN_CUDA_KV_CUH
#define TERN_CUDA_KV_CUH

#include "int4.h"
#include "kv.h"
#include "launch.cuh"

struct kv_args {
    const int32_t *row_table, *row_position, *tables;
    uint8_t *blocks;
    uint32_t table_ld;
    uint32_t block_bytes, head_bytes, k_bytes; // of a block, of a head in it, of the head's K
    int head_dim;
    int k_type, v_type;
};

static inline kv_args kv_of(const kv_rows *rows, const kv_cache *c)
{
    int hd = (int)c->head_dim;
    return {(const int32_t *)cuda_at(rows->row_table),
            (const int32_t *)cuda_at(rows->row_position),
            (const int32_t *)cuda_at(rows->tables),
            cuda_at(c->blocks),
            rows->table_ld,
            (uint32_t)kv_block_bytes(c->k_type, c->v_type, (int)c->n_kv_heads, hd),
            (uint32_t)kv_head_bytes(c->k_type, c->v_type, hd),
            (uint32_t)kv_part_bytes(c->k_type, hd),
            hd,
            c->k_type,
            c->v_type};
}

// K of a head in the block that entry `index` of a table names; V follows at k_bytes.
static __device__ __forceinline__ uint8_t *kv_head_at(const kv_args &a, const int32_t *table, uint32_t index,
                                                      uint32_t head)
{
    return a.blocks + (size_t)(uint32_t)table[index] * a.block_bytes + (size_t)head * a.head_bytes;
}

static __device__ __forceinline__ const int32_t *kv_table(const kv_args &a, uint32_t row)
{
    return a.tables + (size_t)(uint32_t)a.row_table[row] * a.table_ld;
}

// The scales behind a head's int8 codes.
static __device__ __forceinline__ float *kv_scales(uint8_t *part, int head_dim)
{
    return (float *)(part + KV_BLOCK * head_dim);
}

// The fp16 scales behind a head's int4 codes.
static __device__ __forceinline__ uint16_t *kv_halves(uint8_t *part, int head_dim)
{
    return (uint16_t *)(part + kv_int4_scales(head_dim));
}

static __device__ __forceinline__ unsigned warp_max(unsigned value)
{
#pragma unroll
    for (int half = 16; half > 0; half /= 2) value = max(value, __shfl_xor_sync(FULL_WARP, value, half));
    return value;
}

#endif
