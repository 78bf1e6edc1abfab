// What the packed layouts of ternary matrices share (ternary.h): where granules stand, and the way from a layout to its
// functions.
#include "ternary.h"

#define TILE_ROWS     16u
#define TILE_GRANULES 4u
#define GRANULE_BYTES 16u

size_t ternary_granule_offset(uint32_t n_granules, uint32_t row, uint32_t granule)
{
    uint32_t tile = granule / TILE_GRANULES;
    uint32_t in_tile = n_granules - tile * TILE_GRANULES; // granules per row in this tile
    if (in_tile > TILE_GRANULES) in_tile = TILE_GRANULES;

    size_t row_group = (size_t)(row / TILE_ROWS) * TILE_ROWS * n_granules * GRANULE_BYTES;
    size_t tile_start = (size_t)tile * TILE_ROWS * TILE_GRANULES * GRANULE_BYTES;
    size_t half = (size_t)(row % TILE_ROWS / 8) * 8 * in_tile * GRANULE_BYTES;
    return row_group + tile_start + half + GRANULE_BYTES * (size_t)(in_tile * (row % 8) + granule % TILE_GRANULES);
}

uint64_t ternary_packed_bytes(ternary_layout layout, uint32_t n_rows, uint32_t n_cols)
{
    uint64_t row_groups = ((uint64_t)n_rows + TILE_ROWS - 1) / TILE_ROWS;
    return row_groups * TILE_ROWS * ternary_granules(layout, n_cols) * GRANULE_BYTES;
}

// T80: 11111 in base 3 is 121, ceil(256 * 121 / 243) = 128.
uint8_t ternary_zero_byte(ternary_layout layout) { return layout == TERNARY_T80 ? 0x80 : 0x55; }

void ternary_pack_rows(ternary_layout layout, uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first,
                       uint32_t count, const uint8_t *rows)
{
    (layout == TERNARY_T80 ? t80_pack_rows : t64_pack_rows)(packed, n_rows, n_cols, first, count, rows);
}

void ternary_unpack_rows(ternary_layout layout, const uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first,
                         uint32_t count, uint8_t *rows)
{
    (layout == TERNARY_T80 ? t80_unpack_rows : t64_unpack_rows)(packed, n_rows, n_cols, first, count, rows);
}
