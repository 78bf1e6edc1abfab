// Where things stand in a ternary product: shares of work, tiles of packed weights (common/ternary.h), activations in
// shared memory. Plain functions that the host's tests run, too.
//
// Work is counted in steps: one tile of weights (16 rows, 256 or 320 columns of K) against all columns a block holds,
// or, in products for many tokens, a stack of 8 such tiles. Steps run along K first, so that an output item (a row
// group, or a block of rows and tokens) is n_tiles consecutive steps.
#ifndef TERN_CUDA_TMM_INDEX_H
#define TERN_CUDA_TMM_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "ternary.h"

#if defined(__CUDACC__)
#define TMM_FN static __host__ __device__ __forceinline__
#else
#define TMM_FN static inline
#endif

#define TMM_TILE_ROWS     16u
#define TMM_TILE_GRANULES 4u
#define TMM_GRANULE_BYTES 16u
#define TMM_TILE_BYTES    1024u

// Steps in n_shares consecutive shares of nearly equal size, in multiples of `unit`: the first `extra` shares have
// share + 1 units, the others `share`. Every share has at least one.
typedef struct tmm_split {
    uint32_t n_shares, share, extra, unit;
} tmm_split;

TMM_FN tmm_split tmm_split_make(uint32_t n_units, uint32_t unit, uint32_t n_shares)
{
    uint32_t n = n_shares < n_units ? n_shares : n_units;
    tmm_split s = {n, n_units / n, n_units % n, unit};
    return s;
}

// The first step of share i; of i = n_shares: the number of steps.
TMM_FN uint32_t tmm_split_begin(const tmm_split *s, uint32_t i)
{
    return s->unit * (i * s->share + (i < s->extra ? i : s->extra));
}

// The share that holds a step.
TMM_FN uint32_t tmm_split_owner(const tmm_split *s, uint32_t step)
{
    uint32_t at = step / s->unit, large = s->extra * (s->share + 1);
    return at < large ? at / (s->share + 1) : s->extra + (at - large) / s->share;
}

// How many items of n_tiles steps the largest share may touch.
TMM_FN uint32_t tmm_split_spans(const tmm_split *s, uint32_t n_tiles)
{
    uint32_t steps = s->unit * (s->share + (s->extra > 0));
    return s->unit % n_tiles == 0 ? steps / n_tiles : (steps + n_tiles - 2) / n_tiles + 1;
}

// Byte offset of a tile: of row group `group` (16 rows), tiles counted along K. n_granules: granules of a row.
TMM_FN size_t tmm_tile_offset(uint32_t n_granules, uint32_t group, uint32_t tile)
{
    return (size_t)group * TMM_TILE_ROWS * TMM_GRANULE_BYTES * n_granules + (size_t)tile * TMM_TILE_BYTES;
}

// Granules per row in a tile: 4, fewer in the last tile of a row group.
TMM_FN uint32_t tmm_tile_granules(uint32_t n_granules, uint32_t tile)
{
    uint32_t left = n_granules - tile * TMM_TILE_GRANULES;
    return left < TMM_TILE_GRANULES ? left : TMM_TILE_GRANULES;
}

// Byte offset inside a tile of `n` granules per row: granule t of row g < 8; row g + 8 stands 128 * n further on.
TMM_FN uint32_t tmm_granule_offset(uint32_t n, uint32_t g, uint32_t t) { return TMM_GRANULE_BYTES * (n * g + t); }

TMM_FN uint32_t tmm_tile_columns(ternary_layout layout) { return layout == TERNARY_T80 ? 320 : 256; }

// Activations in shared memory: of each column of activations 16 (T80: 20) chunks of 16 bytes per tile. A lane 4g + t
// reads chunk 4t + q (5t + q) of column g, and the eight lanes that are served at once must find eight different groups
// of banks. Chunks of T64 change places for that. Those of T80 stay: 0, 5, 10, 15 are four different groups, and the
// next column has the other four if it stands an odd multiple of 64 bytes further on. Returns the place of a chunk.
TMM_FN uint32_t tmm_chunk_place(ternary_layout layout, uint32_t column, uint32_t chunk)
{
    return layout == TERNARY_T80 ? chunk : chunk ^ (chunk >> 3 << 1) ^ (column & 1);
}

// Bytes from one whole column of activations to the next.
TMM_FN uint32_t tmm_column_stride(ternary_layout layout, uint32_t n_tiles)
{
    return n_tiles * tmm_tile_columns(layout) + (layout == TERNARY_T80 && n_tiles % 2 == 0 ? 64 : 0);
}

#endif
