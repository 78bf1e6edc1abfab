// IQ1_BN, IQ2_BN and IQ2_BN_R4 (FORMATS.md 2.12, 2.13): rows of blocks of 64 elements behind one scale of the row.
#include <string.h>

#include "half.h"
#include "matrix_encodings.h"

#define BLOCK 64u

static size_t row_bytes(const matrix_source *m)
{
    return m->encoding == MATRIX_IQ1_BN ? 2 + (size_t)m->n_cols / BLOCK * 13 : 4 + (size_t)m->n_cols / BLOCK * 16;
}

static float row_scale(const matrix_source *m, uint32_t row)
{
    const uint8_t *data = m->weights->data;
    if (m->encoding == MATRIX_IQ1_BN) {
        const uint8_t *p = data + row * row_bytes(m);
        return half_to_float(p[0] | (uint32_t)p[1] << 8);
    }
    // Interleaved rows have their four scales in front of the four.
    bool is_r4 = m->encoding == MATRIX_IQ2_BN_R4;
    const uint8_t *p = is_r4 ? data + row / 4 * 4 * row_bytes(m) + 4 * (row % 4) : data + row * row_bytes(m);
    float value;
    memcpy(&value, p, sizeof value);
    return value;
}

tern_status bn_scale(const matrix_source *m, ternary_scale *out, tern_error *err)
{
    float common = 0.0f;
    bool is_common = true;
    for (uint32_t r = 0; r < m->n_rows && is_common; r++) {
        float d = row_scale(m, r);
        if (d == 0.0f) continue;
        if (common == 0.0f) common = d;
        is_common = d == common; // false for NaN too, which the caller's check of all values then finds
    }
    if (is_common) return ternary_scale_tensor(common, m->n_cols, out, err);
    tern_status status = ternary_scale_create(m->n_rows, false, 0, m->n_cols, out, err);
    for (uint32_t r = 0; r < m->n_rows && status == TERN_OK; r++) {
        float d = row_scale(m, r);
        out->values[r] = d == 0.0f ? 0.0f : d; // no negative zero
    }
    return status;
}

// Digit j of a byte, the least significant first: of ceil(256 * index / 243), wrapping in 8 bits on purpose.
static uint8_t low_digit(uint8_t byte, unsigned j)
{
    static const uint8_t power[5] = {81, 27, 9, 3, 1};
    unsigned v = (byte * power[j]) & 0xffu;
    return (uint8_t)((v + (v >> 1)) >> 7);
}

// u8 ql[12]; u8 extra: four groups of 16 elements, each three bytes of five and one digit of `extra`.
static void decode_iq1(const uint8_t *block, uint8_t *out)
{
    uint8_t codes[BLOCK];
    for (unsigned g = 0; g < 4; g++) {
        for (unsigned k = 0; k < 3; k++)
            for (unsigned j = 0; j < 5; j++) codes[16 * g + 5 * k + j] = low_digit(block[3 * g + k], j);
        codes[16 * g + 15] = low_digit(block[12], g);
    }
    for (unsigned i = 0; i < BLOCK / 4; i++) out[i] = join_codes(codes + 4 * i);
}

// Byte j holds elements j, j+16, j+32, j+48, from the low bits up.
static void decode_iq2(const uint8_t *block, uint8_t *out)
{
    for (unsigned part = 0; part < 4; part++)
        for (unsigned i = 0; i < 4; i++) out[4 * part + i] = gather_codes(load_word(block + 4 * i), 2 * part);
}

// 64 bytes for 64 columns of four rows; byte 4k + i + 16l holds columns 16l + i, + 4, + 8, + 12 of row k, from the low
// bits up.
static void decode_iq2_r4(const uint8_t *block, unsigned k, uint8_t *out)
{
    for (unsigned l = 0; l < 4; l++)
        for (unsigned part = 0; part < 4; part++)
            out[4 * l + part] = gather_codes(load_word(block + 4 * k + 16 * l), 2 * part);
}

void bn_row(const matrix_source *m, uint32_t row, uint8_t *out)
{
    uint32_t n_blocks = m->n_cols / BLOCK;
    const uint8_t *data = m->weights->data;
    if (row_scale(m, row) == 0.0f) {
        memset(out, 0x55, (size_t)n_blocks * BLOCK / 4); // its weights are zero whatever the codes say
        return;
    }
    const uint8_t *one = data + row * row_bytes(m), *four = data + row / 4 * 4 * row_bytes(m) + 16;
    for (uint32_t b = 0; b < n_blocks; b++, out += BLOCK / 4) {
        if (m->encoding == MATRIX_IQ1_BN)
            decode_iq1(one + 2 + 13 * (size_t)b, out);
        else if (m->encoding == MATRIX_IQ2_BN)
            decode_iq2(one + 4 + 16 * (size_t)b, out);
        else
            decode_iq2_r4(four + 64 * (size_t)b, row % 4, out);
    }
}
