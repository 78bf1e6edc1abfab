// The KV cache: blocks of 64 positions, addressed through block tables, one layout on every backend.
//
// A layer's cache is n_blocks blocks. A block holds, for each KV head in turn, K then V of 64 positions:
//   f32, f16   K d-major [head_dim][64] (scores of 64 positions advance together along d), V position-major
//              [64][head_dim]
//   int8       K and V position-major [64][head_dim] codes, followed by 64 fp32 scales, one per position
//   int4       K and V position-major [64][head_dim / 2] bytes, value d in the low (d even) or high four bits of byte
//              d / 2 as code + 8, followed by fp16 scales [groups][64]: groups of 32 values (the last may be shorter)
//              have one for each position
// Position p of a sequence lives in block table[p / 64], slot p % 64. Each part is padded to 64 bytes.
// Plain functions in the common subset of C11, CUDA C and OpenCL C; offsets and sizes in bytes.
#ifndef TERN_COMMON_KV_H
#define TERN_COMMON_KV_H

#include "scalar.h"

#define KV_BLOCK 64

#define KV_F32  0
#define KV_F16  1
#define KV_INT8 2
#define KV_INT4 3

#define KV_INT4_GROUP 32 // values of a head that share a scale

// Stored as codes with scales.
SCALAR_FN int kv_is_integer(int type) { return type == KV_INT8 || type == KV_INT4; }

// Groups of an int4 head.
SCALAR_FN int kv_int4_groups(int head_dim) { return (head_dim + KV_INT4_GROUP - 1) / KV_INT4_GROUP; }

// Bytes of K (or V) of one head in one block.
SCALAR_FN int kv_part_bytes(int type, int head_dim)
{
    // Multiples of 64 because a block has 64 positions and heads are even.
    if (type == KV_INT4) return KV_BLOCK / 2 * head_dim + KV_BLOCK * 2 * kv_int4_groups(head_dim);
    if (type == KV_INT8) return KV_BLOCK * head_dim + KV_BLOCK * 4;
    return KV_BLOCK * head_dim * (type == KV_F32 ? 4 : 2);
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

// Element index of (slot, d) inside K and inside V of a head, for types of whole bytes.
SCALAR_FN int kv_k_index(int type, int head_dim, int slot, int d)
{
    return type == KV_INT8 ? slot * head_dim + d : d * KV_BLOCK + slot;
}

SCALAR_FN int kv_v_index(int head_dim, int slot, int d) { return slot * head_dim + d; }

// Of an int4 part: the byte of (slot, d), and where the scales begin and their index, in halves, of (slot, group).
SCALAR_FN int kv_int4_byte(int head_dim, int slot, int d) { return slot * (head_dim / 2) + d / 2; }
SCALAR_FN int kv_int4_scales(int head_dim) { return KV_BLOCK / 2 * head_dim; }
SCALAR_FN int kv_int4_scale_index(int slot, int group) { return group * KV_BLOCK + slot; }

#endif
