// I2_S in the 128/32 layout (formats.md 2.9): the matrix flattened row by row in groups of 128 elements, each 32 bytes;
// byte p holds elements p, p+32, p+64, p+96 from bits 7:6 downward. One fp32 scale directly after the packed bytes.
// Where K is no multiple of 128, groups straddle rows and the flat index counts.
#include <string.h>

#include "matrix_encodings.h"

static size_t packed_bytes(const matrix_source *m) { return (size_t)m->n_rows * m->n_cols / 4; }

static bool is_all_zero(const matrix_source *m)
{
    const uint8_t *p = m->weights->data;
    for (size_t i = 0, n = packed_bytes(m); i < n; i++)
        if (p[i] != 0x55) return false;
    return true;
}

tern_status i2s_scale(const matrix_source *m, ternary_scale *out, tern_error *err)
{
    float value;
    memcpy(&value, m->weights->data + packed_bytes(m), sizeof value);
    if (value == 0.0f && !is_all_zero(m))
        return error_set(err, TERN_MALFORMED, "%s: the scale is 0 although there are nonzero trits", m->name);
    return ternary_scale_tensor(value, m->n_cols, out, err);
}

void i2s_row(const matrix_source *m, uint32_t row, uint8_t *out)
{
    const uint8_t *data = m->weights->data;
    size_t at = (size_t)row * m->n_cols;
    if (m->n_cols % I2S_GROUP == 0) {
        const uint8_t *in = data + at / 4;
        for (uint32_t g = 0; g < m->n_cols / I2S_GROUP; g++, in += 32, out += 32)
            for (unsigned part = 0; part < 4; part++)
                for (unsigned j = 0; j < 8; j++) out[8 * part + j] = gather_codes(load_word(in + 4 * j), 6 - 2 * part);
        return;
    }
    memset(out, 0, (m->n_cols + 3) / 4);
    for (uint32_t c = 0; c < m->n_cols; c++, at++) {
        unsigned part = (unsigned)(at % I2S_GROUP / 32);
        unsigned code = data[at / I2S_GROUP * 32 + at % 32] >> (6 - 2 * part) & 3;
        out[c / 4] = (uint8_t)(out[c / 4] | code << (2 * (c % 4)));
    }
}
