// Checks the values of index operands, which are host memory here: ids, positions, block tables. So that a mistake of
// the session is named instead of corrupting memory.
#include "check.h"
#include "cpu.h"

typedef unsigned long long ull; // for printf

static tern_status check_embed(const op *o, tern_error *err)
{
    const op_embed *a = &o->embed;
    const int32_t *ids = cpu_at(a->ids);
    for (uint32_t m = 0; m < o->m; m++)
        if (ids[m] < 0 || (uint32_t)ids[m] >= a->table->n_rows)
            return error_set(err, TERN_INVALID_ARGUMENT, "embed: ids[%u] is %d, the table has %u rows", m, ids[m],
                             a->table->n_rows);
    return TERN_OK;
}

static tern_status check_rescore(const op *o, tern_error *err)
{
    const op_rescore *a = &o->rescore;
    const int32_t *ids = cpu_at(a->ids);
    for (uint32_t m = 0; m < o->m; m++)
        for (uint32_t j = 0; j < a->k; j++, ids++)
            if (*ids < 0 || (uint32_t)*ids >= a->w->n_rows)
                return error_set(err, TERN_INVALID_ARGUMENT, "rescore: ids[%u][%u] is %d, the weights have %u rows", m,
                                 j, *ids, a->w->n_rows);
    return TERN_OK;
}

// That each row's position and the blocks it uses exist: its own block for rope_kv, all up to it for attention.
static tern_status check_kv(const op *o, const kv_rows *rows, const kv_cache *cache, tern_error *err)
{
    const char *name = op_kind_name(o->kind);
    const int32_t *row_table = cpu_at(rows->row_table), *row_position = cpu_at(rows->row_position);
    const int32_t *tables = cpu_at(rows->tables);
    uint64_t n_entries = (rows->tables.buffer->n_bytes - rows->tables.offset) / sizeof(int32_t);
    for (uint32_t m = 0; m < o->m; m++) {
        if (row_position[m] < 0 || (uint32_t)row_position[m] / KV_BLOCK >= rows->table_ld)
            return error_set(err, TERN_INVALID_ARGUMENT, "%s: row %u has position %d, its table has %u blocks of 64",
                             name, m, row_position[m], rows->table_ld);
        uint32_t last = (uint32_t)row_position[m] / KV_BLOCK, first = o->kind == OP_ROPE_KV ? last : 0;
        uint64_t base = (uint64_t)(uint32_t)row_table[m] * rows->table_ld;
        if (row_table[m] < 0 || base + last >= n_entries)
            return error_set(err, TERN_INVALID_ARGUMENT,
                             "%s: row %u uses table %d, operand tables has %llu entries in all", name, m, row_table[m],
                             (ull)n_entries);
        for (uint64_t b = first; b <= last; b++)
            if (tables[base + b] < 0 || (uint32_t)tables[base + b] >= cache->n_blocks)
                return error_set(err, TERN_INVALID_ARGUMENT,
                                 "%s: row %u: entry %llu of table %d is block %d, the cache has %u", name, m, (ull)b,
                                 row_table[m], tables[base + b], cache->n_blocks);
    }
    return TERN_OK;
}

// The rotary table must reach the last position.
static tern_status check_rope_kv(const op *o, tern_error *err)
{
    const op_rope_kv *a = &o->rope_kv;
    tern_status status = check_kv(o, &a->rows, &a->cache, err);
    if (status != TERN_OK) return status;
    const int32_t *row_position = cpu_at(a->rows.row_position);
    int32_t last = 0;
    for (uint32_t m = 0; m < o->m; m++)
        if (row_position[m] > last) last = row_position[m];
    uint64_t n_bytes = ((uint64_t)last + 1) * a->n_dims * sizeof(float);
    if (check_range(a->rope.offset, n_bytes, a->rope.buffer->n_bytes)) return TERN_OK;
    return error_set(err, TERN_INVALID_ARGUMENT,
                     "rope_kv: operand rope takes %llu bytes from offset %llu, its buffer has %llu", (ull)n_bytes,
                     (ull)a->rope.offset, (ull)a->rope.buffer->n_bytes);
}

static tern_status check_gather(const op *o, tern_error *err)
{
    const op_gather *a = &o->gather;
    const int32_t *index = cpu_at(a->index);
    uint64_t n_bytes = a->x.buffer->n_bytes - a->x.offset;
    for (uint32_t m = 0; m < o->m; m++)
        if (index[m] < 0 || ((uint64_t)index[m] * a->ld_x + a->n) * sizeof(float) > n_bytes)
            return error_set(err, TERN_INVALID_ARGUMENT,
                             "gather: index[%u] is %d, which lies outside operand x of %llu bytes", m, index[m],
                             (ull)n_bytes);
    return TERN_OK;
}

static tern_status check_advance(const op *o, tern_error *err)
{
    const int32_t *position = cpu_at(o->advance.position);
    for (uint32_t m = 0; m < o->m; m++)
        if (position[m] < 0)
            return error_set(err, TERN_INVALID_ARGUMENT, "advance: position[%u] is %d, expected at least 0", m,
                             position[m]);
    return TERN_OK;
}

tern_status cpu_check_indices(const op *o, tern_error *err)
{
    switch (o->kind) {
    case OP_EMBED: return check_embed(o, err);
    case OP_ROPE_KV: return check_rope_kv(o, err);
    case OP_ATTENTION: return check_kv(o, &o->attention.rows, &o->attention.cache, err);
    case OP_GATHER: return check_gather(o, err);
    case OP_RESCORE: return check_rescore(o, err);
    case OP_ADVANCE: return check_advance(o, err);
    default: return TERN_OK;
    }
}
