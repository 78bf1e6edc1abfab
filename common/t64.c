// T64, the packed device layout of ternary matrices (ternary.h): canonical rows in, canonical rows out.
//
// A canonical byte holds four consecutive columns 4q .. 4q+3. In a granule these four stand in one field of one word,
// one per byte: word 2*(q/8) + q%2, field (q%8)/2. So packing moves whole canonical bytes: spread to four bytes, shift,
// or.
#include <string.h>

#include "ternary.h"

#define GRANULE_BYTES 16u

static uint32_t row_granules(uint32_t n_cols) { return ternary_granules(TERNARY_T64, n_cols); }

uint64_t t64_bytes(uint32_t n_rows, uint32_t n_cols) { return ternary_packed_bytes(TERNARY_T64, n_rows, n_cols); }

void t64_init(uint8_t *packed, uint32_t n_rows, uint32_t n_cols)
{
    memset(packed, ternary_zero_byte(TERNARY_T64), (size_t)t64_bytes(n_rows, n_cols));
}

size_t t64_granule_offset(uint32_t n_cols, uint32_t row, uint32_t granule)
{
    return ternary_granule_offset(row_granules(n_cols), row, granule);
}

int t64_code(const uint8_t *packed, uint32_t n_cols, uint32_t row, uint32_t column)
{
    uint32_t c = column % TERNARY_GRANULE;
    uint32_t word = 2 * (c / 32) + c / 4 % 2, byte = c % 4, field = c % 32 / 8;
    const uint8_t *granule = packed + t64_granule_offset(n_cols, row, column / TERNARY_GRANULE);
    return granule[4 * word + byte] >> (2 * field) & 3;
}

static void pack_granule(uint8_t *granule, const uint8_t *row)
{
    uint32_t words[4] = {0};
    for (uint32_t q = 0; q < 16; q++) {
        uint32_t x = row[q];
        uint32_t spread = (x | x << 6 | x << 12 | x << 18) & 0x03030303u;
        words[2 * (q / 8) + q % 2] |= spread << (2 * (q % 8 / 2));
    }
    for (uint32_t i = 0; i < GRANULE_BYTES; i++) granule[i] = (uint8_t)(words[i / 4] >> (8 * (i % 4)));
}

static void unpack_granule(const uint8_t *granule, uint8_t *row)
{
    uint32_t words[4] = {0};
    for (uint32_t i = 0; i < GRANULE_BYTES; i++) words[i / 4] |= (uint32_t)granule[i] << (8 * (i % 4));
    for (uint32_t q = 0; q < 16; q++) {
        uint32_t spread = words[2 * (q / 8) + q % 2] >> (2 * (q % 8 / 2)) & 0x03030303u;
        row[q] = (uint8_t)(spread | spread >> 6 | spread >> 12 | spread >> 18);
    }
}

void t64_pack_rows(uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first, uint32_t count,
                   const uint8_t *rows)
{
    (void)n_rows; // the offset of a row does not depend on how many there are
    for (uint32_t r = 0; r < count; r++) {
        const uint8_t *row = rows + r * ternary_row_bytes(n_cols);
        for (uint32_t g = 0; g < row_granules(n_cols); g++)
            pack_granule(packed + t64_granule_offset(n_cols, first + r, g), row + 16 * (size_t)g);
    }
}

void t64_unpack_rows(const uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first, uint32_t count,
                     uint8_t *rows)
{
    (void)n_rows;
    for (uint32_t r = 0; r < count; r++) {
        uint8_t *row = rows + r * ternary_row_bytes(n_cols);
        for (uint32_t g = 0; g < row_granules(n_cols); g++)
            unpack_granule(packed + t64_granule_offset(n_cols, first + r, g), row + 16 * (size_t)g);
    }
}
