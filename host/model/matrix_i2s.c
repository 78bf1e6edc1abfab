// I2_S (FORMATS.md 2.9): two-bit codes, then one fp32 scale directly after them. Three packings, chosen by the user
// because nothing in a file tells them apart:
//   128: the matrix flattened row by row in groups of 128 elements, each 32 bytes; byte p holds elements p, p+32, p+64,
//   p+96 from
//        bits 7:6 downward
//   64:  groups of 64 elements, each 16 bytes: p, p+16, p+32, p+48
//   row4: byte (r/4)*K + c holds column c of rows r .. r+3 from bits 7:6 downward
// Where K is no multiple of the group, groups straddle rows and the flat index counts.
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

// Groups of 4 * stride elements in stride bytes.
static void grouped_row(const matrix_source *m, uint32_t row, uint32_t stride, uint8_t *out)
{
    const uint8_t *data = m->weights->data;
    size_t at = (size_t)row * m->n_cols;
    uint32_t group = 4 * stride;
    if (m->n_cols % group == 0) {
        const uint8_t *in = data + at / 4;
        for (uint32_t g = 0; g < m->n_cols / group; g++, in += stride, out += stride)
            for (unsigned part = 0; part < 4; part++)
                for (unsigned j = 0; j < stride / 4; j++)
                    out[stride / 4 * part + j] = gather_codes(load_word(in + 4 * j), 6 - 2 * part);
        return;
    }
    memset(out, 0, (m->n_cols + 3) / 4);
    for (uint32_t c = 0; c < m->n_cols; c++, at++) {
        unsigned part = (unsigned)(at % group / stride);
        unsigned code = data[at / group * stride + at % stride] >> (6 - 2 * part) & 3;
        out[c / 4] = (uint8_t)(out[c / 4] | code << (2 * (c % 4)));
    }
}

static void row4_row(const matrix_source *m, uint32_t row, uint8_t *out)
{
    const uint8_t *in = m->weights->data + (size_t)(row / 4) * m->n_cols;
    unsigned shift = 6 - 2 * (row % 4);
    memset(out, 0, (m->n_cols + 3) / 4);
    for (uint32_t c = 0; c < m->n_cols; c++) out[c / 4] = (uint8_t)(out[c / 4] | (in[c] >> shift & 3) << (2 * (c % 4)));
}

void i2s_row(const matrix_source *m, uint32_t row, uint8_t *out)
{
    switch (m->i2s_layout) {
    case TERN_I2S_128: grouped_row(m, row, 32, out); break;
    case TERN_I2S_64: grouped_row(m, row, 16, out); break;
    case TERN_I2S_ROW4: row4_row(m, row, out); break;
    }
}
