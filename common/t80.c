// T80, the packed device layout of 1.6 bits a weight (ternary.h): canonical rows in, canonical rows out.
//
// As in T64, the four columns of a canonical byte stand in one place of one word, one per byte: byte q = 0..19 of a
// granule's 80 columns is digit (q%10)/2 of word 2*(q/10) + q%2. So a word's four bytes are made and taken apart at
// once; no digit or number of five digits leaves its byte.
#include <string.h>

#include "ternary.h"

#define GRANULE_BYTES     16u
#define CANONICAL_BYTES   20u   // of a granule
#define CANONICAL_ALL_ONE 0x55u // four columns of code 1

static uint32_t row_granules(uint32_t n_cols) { return ternary_granules(TERNARY_T80, n_cols); }

uint64_t t80_bytes(uint32_t n_rows, uint32_t n_cols) { return ternary_packed_bytes(TERNARY_T80, n_rows, n_cols); }

void t80_init(uint8_t *packed, uint32_t n_rows, uint32_t n_cols)
{
    memset(packed, ternary_zero_byte(TERNARY_T80), (size_t)t80_bytes(n_rows, n_cols));
}

size_t t80_granule_offset(uint32_t n_cols, uint32_t row, uint32_t granule)
{
    return ternary_granule_offset(row_granules(n_cols), row, granule);
}

int t80_code(const uint8_t *packed, uint32_t n_cols, uint32_t row, uint32_t column)
{
    uint32_t c = column % T80_GRANULE;
    uint32_t word = 2 * (c / 40) + c / 4 % 2, byte = c % 4, digit = c % 40 / 8;
    uint32_t rest = packed[t80_granule_offset(n_cols, row, column / T80_GRANULE) + 4 * word + byte];
    for (uint32_t m = 0; m < digit; m++) rest = rest * 3 % 256;
    return (int)(rest * 3 / 256);
}

// Of the canonical row only `n_bytes` from here on exist; what lies behind them has code 1.
static void pack_granule(uint8_t *granule, const uint8_t *row, size_t n_bytes)
{
    uint32_t words[4] = {0};
    for (uint32_t q = 0; q < CANONICAL_BYTES; q++) {
        uint32_t x = q < n_bytes ? row[q] : CANONICAL_ALL_ONE;
        uint32_t spread = (x | x << 6 | x << 12 | x << 18) & 0x03030303u;
        uint32_t *word = &words[2 * (q / 10) + q % 2];
        *word = *word * 3 + spread;
    }
    for (uint32_t i = 0; i < GRANULE_BYTES; i++) {
        uint32_t v = words[i / 4] >> (8 * (i % 4)) & 255;
        granule[i] = (uint8_t)((256 * v + 242) / 243);
    }
}

static void unpack_granule(const uint8_t *granule, uint8_t *row, size_t n_bytes)
{
    uint32_t even[4] = {0}, odd[4] = {0}; // bytes 0, 2 and 1, 3 of each word in 16 bits each
    for (uint32_t i = 0; i < GRANULE_BYTES; i++)
        (i % 2 ? odd : even)[i / 4] |= (uint32_t)granule[i] << (8 * (i % 4 / 2 * 2));
    for (uint32_t q = 0; q < CANONICAL_BYTES; q++) {
        uint32_t word = 2 * (q / 10) + q % 2;
        even[word] *= 3;
        odd[word] *= 3;
        uint32_t spread = (even[word] >> 8 & 0x00ff00ffu) | (odd[word] & 0xff00ff00u);
        even[word] &= 0x00ff00ffu;
        odd[word] &= 0x00ff00ffu;
        if (q < n_bytes) row[q] = (uint8_t)(spread | spread >> 6 | spread >> 12 | spread >> 18);
    }
}

// Canonical bytes from granule g on.
static size_t bytes_left(uint32_t n_cols, uint32_t g)
{
    return ternary_row_bytes(n_cols) - CANONICAL_BYTES * (size_t)g;
}

void t80_pack_rows(uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first, uint32_t count,
                   const uint8_t *rows)
{
    (void)n_rows; // the offset of a row does not depend on how many there are
    for (uint32_t r = 0; r < count; r++) {
        const uint8_t *row = rows + r * ternary_row_bytes(n_cols);
        for (uint32_t g = 0; g < row_granules(n_cols); g++)
            pack_granule(packed + t80_granule_offset(n_cols, first + r, g), row + CANONICAL_BYTES * (size_t)g,
                         bytes_left(n_cols, g));
    }
}

void t80_unpack_rows(const uint8_t *packed, uint32_t n_rows, uint32_t n_cols, uint32_t first, uint32_t count,
                     uint8_t *rows)
{
    (void)n_rows;
    for (uint32_t r = 0; r < count; r++) {
        uint8_t *row = rows + r * ternary_row_bytes(n_cols);
        for (uint32_t g = 0; g < row_granules(n_cols); g++)
            unpack_granule(packed + t80_granule_offset(n_cols, first + r, g), row + CANONICAL_BYTES * (size_t)g,
                           bytes_left(n_cols, g));
        // Canonical rows go to a multiple of 64 columns, granules perhaps not as far.
        ternary_pad_row(row, n_cols);
    }
}
