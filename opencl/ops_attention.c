// Launches of rope_kv, attention and top-k.
#include <math.h>

#include "opencl.h"

#define GROUP_POSITIONS 256u  // positions of a group of blocks, ops.h
#define SPLIT_ROWS      64u   // work-groups (heads times rows) below which a device is not busy without splitting
#define TOP_K_PIECE     4096u // values of a row that one work-group looks at

static void arg_rows(launch *l, const kv_rows *rows)
{
    launch_at(l, rows->row_table, sizeof(int32_t));
    launch_at(l, rows->row_position, sizeof(int32_t));
    launch_at(l, rows->tables, sizeof(int32_t));
    launch_u32(l, rows->table_ld);
}

static void arg_cache(launch *l, const kv_cache *cache, uint32_t n_heads)
{
    launch_at(l, cache->blocks, 1);
    launch_u32(l, n_heads);
    launch_u32(l, cache->n_kv_heads);
    launch_u32(l, cache->head_dim);
    launch_i32(l, cache->k_type);
    launch_i32(l, cache->v_type);
}

tern_status opencl_rope_kv(device *d, const op *o, tern_error *err)
{
    const op_rope_kv *a = &o->rope_kv;
    launch l = launch_begin(d, KERNEL_ROPE_KV);
    launch_at(&l, a->x, sizeof(float));
    launch_at(&l, a->rope, sizeof(float));
    arg_rows(&l, &a->rows);
    arg_cache(&l, &a->cache, a->n_heads);
    launch_u32(&l, a->n_dims);
    launch_u32(&l, a->ld_x);
    launch_u32(&l, a->adjacent);
    launch_flag(&l, o);
    return launch_end(&l, (size_t)a->n_heads + 2 * a->cache.n_kv_heads, o->m, 1, 64, err);
}

// Groups of positions go to work-groups of their own where rows are few and their states fit the scratch memory. The
// count follows from the block tables' length, not from positions, so that a recorded graph serves every position.
static uint32_t count_splits(const op *o)
{
    const op_attention *a = &o->attention;
    uint64_t n_groups = ((uint64_t)a->rows.table_ld * KV_BLOCK + GROUP_POSITIONS - 1) / GROUP_POSITIONS;
    uint64_t n_rows = (uint64_t)o->m * a->n_heads, state_bytes = (a->cache.head_dim + 2) * sizeof(float);
    if (n_groups == 1 || n_rows > SPLIT_ROWS || n_groups > OPENCL_SCRATCH_BYTES / state_bytes / n_rows) return 1;
    return (uint32_t)n_groups;
}

tern_status opencl_attention(device *d, const op *o, tern_error *err)
{
    const op_attention *a = &o->attention;
    uint32_t hd = a->cache.head_dim, n_splits = count_splits(o);
    launch l = launch_begin(d, KERNEL_ATTENTION);
    launch_at(&l, a->q, sizeof(float));
    launch_at(&l, a->y, sizeof(float));
    arg_rows(&l, &a->rows);
    arg_cache(&l, &a->cache, a->n_heads);
    launch_f32(&l, (float)(1.0 / sqrt((double)hd)));
    launch_u32(&l, a->ld_q);
    launch_u32(&l, a->ld_y);
    launch_flag(&l, o);
    launch_mem(&l, d->scratch);
    launch_local(&l, 4 * (size_t)hd * sizeof(float));
    tern_status status = launch_end(&l, a->n_heads, o->m, n_splits, 64, err);
    if (status != TERN_OK || n_splits == 1) return status;

    l = launch_begin(d, KERNEL_ATTENTION_MERGE);
    launch_at(&l, a->y, sizeof(float));
    launch_at(&l, a->rows.row_position, sizeof(int32_t));
    launch_u32(&l, n_splits);
    launch_u32(&l, a->n_heads);
    launch_u32(&l, hd);
    launch_u32(&l, a->ld_y);
    launch_mem(&l, d->scratch);
    return launch_end(&l, a->n_heads, o->m, 1, 64, err);
}

tern_status opencl_top_k(device *d, const op *o, tern_error *err)
{
    const op_top_k *a = &o->top_k;
    uint32_t piece = TOP_K_PIECE, n_pieces = (a->n + piece - 1) / piece;
    if ((uint64_t)o->m * n_pieces * a->k * sizeof(uint64_t) > OPENCL_SCRATCH_BYTES) { // one work-group for all of a row
        piece = a->n;
        n_pieces = 1;
    }
    launch l = launch_begin(d, KERNEL_TOP_K);
    launch_at(&l, a->x, sizeof(float));
    launch_at(&l, a->ids, sizeof(int32_t));
    launch_at(&l, a->values, sizeof(float));
    launch_u32(&l, a->n);
    launch_u32(&l, a->ld_x);
    launch_u32(&l, a->k);
    launch_u32(&l, piece);
    launch_mem(&l, d->scratch);
    tern_status status = launch_end(&l, n_pieces, o->m, 1, 256, err);
    if (status != TERN_OK || n_pieces == 1) return status;

    l = launch_begin(d, KERNEL_TOP_K_MERGE);
    launch_at(&l, a->x, sizeof(float));
    launch_at(&l, a->ids, sizeof(int32_t));
    launch_at(&l, a->values, sizeof(float));
    launch_u32(&l, a->ld_x);
    launch_u32(&l, a->k);
    launch_u32(&l, n_pieces);
    launch_mem(&l, d->scratch);
    return launch_end(&l, o->m, 1, 1, 256, err);
}
