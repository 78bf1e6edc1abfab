// The KV cache: blocks of 64 positions, addressed through block tables, one layout on every backend.
//
// A layer's cache is n_blocks blocks. A block holds, for each KV head in turn, K then V of 64 positions:
//   f32, f16   K d-major [head_dim][64] (scores of 64 positions advance together along d), V position-major
//   [64][head_dim] int8       K and V position-major [64][head_dim] codes, followed by 64 fp32 scales, one per position
// Position p of a sequence lives in block table[p / 64], slot p % 64. Each part is padded to 64 bytes.
// Plain functions in the common subset of C11, CUDA C and OpenCL C; offsets and sizes in bytes.
#ifndef TERN_COMMON_KV_H
#define TERN_COMMON_KV_H

#include "scalar.h"

#define KV_BLOCK 64

#define KV_F32  0
#define KV_F16  1
#define KV_INT8 2

// Element size of the stored values.
SCALAR_FN int kv_element_bytes(int type) { return type == KV_F32 ? 4 : type == KV_F16 ? 2 : 1; }

// Bytes of K (or V) of one head in one block.
SCALAR_FN int kv_part_bytes(int type, int head_dim)
{
    int bytes = KV_BLOCK * head_dim * kv_element_bytes(type);
    return type == KV_INT8 ? bytes + KV_BLOCK * 4 : bytes; // multiples of 64 because a block has 64 positions
}

// Bytes of one head's K and V in one block, and of a whole block.
SCALAR_FN int kv_head_bytes(int k_type, int v_type, int head_dim)
{
    return kv_part_bytes(k_type, head_dim) + kv_part_bytes(v_type, head_dim);
}

SCALAR_FN int kv_block_bytes(int k_type, int v_type, int n_kv_heads, int head_dim)
{
    return n_kv_heads * kv_head_bytes(k_type, v_type, head_dim);
}

// Element index of (slot, d) inside K and inside V of a head.
SCALAR_FN int kv_k_index(int type, int head_dim, int slot, int d)
{
    return type == KV_INT8 ? slot * head_dim + d : d * KV_BLOCK + slot;
}

SCALAR_FN int kv_v_index(int head_dim, int slot, int d) { return slot * head_dim + d; }

#endif
