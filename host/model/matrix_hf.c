// Hugging Face bitnet weights: packed uint8 (FORMATS.md 3.3, 3.4) and float masters (3.5).
#include <math.h>
#include <stdlib.h>

#include "matrix_encodings.h"
#include "scalar.h"

// With P = ceil(N/4), weight row i*P + p is field i of packed row p: packing runs along the out dimension, in strides
// of P.
void hf_packed_row(const matrix_source *m, uint32_t row, uint8_t *out)
{
    uint32_t stride = m->n_rows / 4 + (m->n_rows % 4 != 0);
    unsigned shift = 2 * (row / stride);
    const uint8_t *in = m->weights->data + (size_t)(row % stride) * m->n_cols;
    uint32_t whole = m->n_cols / 4;
    for (uint32_t j = 0; j < whole; j++) out[j] = gather_codes(load_word(in + 4 * (size_t)j), shift);
    if (m->n_cols % 4 == 0) return;
    out[whole] = 0;
    for (uint32_t c = whole * 4; c < m->n_cols; c++)
        out[whole] = (uint8_t)(out[whole] | (in[c] >> shift & 3) << (2 * (c % 4)));
}

tern_status hf_packed_scale(const matrix_source *m, ternary_scale *out, tern_error *err)
{
    float value = 0.0f;
    if (!tensor_to_floats(m->scale, 1, &value))
        return error_set(err, TERN_MALFORMED, "%s: its weight_scale is no float", m->name);
    if (!(isfinite(value) && value > 0.0f))
        return error_set(err, TERN_MALFORMED, "%s: weight_scale is %g, expected a finite number over 0", m->name,
                         (double)value);
    return ternary_scale_tensor(m->divide ? scalar_div(1.0f, value) : value, m->n_cols, out, err);
}

// mean |W| in double: each row in 8 interleaved sums, rows in order, so that the result does not depend on the machine.
tern_status hf_master_scale(const matrix_source *m, ternary_scale *out, tern_error *err)
{
    float *row = malloc(((size_t)m->n_cols + 1) * sizeof *row);
    if (row == NULL) return error_set(err, TERN_HOST_MEMORY, "%s: no memory for a row", m->name);
    size_t row_bytes = dense_row_bytes(m->dense, m->n_cols);
    double total = 0.0;
    for (uint32_t r = 0; r < m->n_rows; r++) {
        double lane[8] = {0};
        dense_row_to_float(m->dense, m->weights->data + r * row_bytes, m->n_cols, row);
        uint32_t whole = m->n_cols / 8 * 8;
        for (uint32_t c = 0; c < whole; c += 8)
            for (uint32_t i = 0; i < 8; i++) lane[i] += (double)fabsf(row[c + i]);
        for (uint32_t c = whole; c < m->n_cols; c++) lane[c % 8] += (double)fabsf(row[c]);
        total += ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    }
    free(row);
    if (!isfinite(total)) return error_set(err, TERN_MALFORMED, "%s: a weight is not finite", m->name);
    float mean = (float)(total / ((double)m->n_rows * m->n_cols));
    return ternary_scale_tensor(mean > 1e-5f ? mean : 1e-5f, m->n_cols, out, err);
}

// clamp(rint(w * s), -1, 1) + 1, without the rounding: rint is at least 1 exactly above 0.5 (the tie itself goes to 0).
static inline unsigned master_code(float w, float inverse)
{
    float t = w * inverse;
    return 1u + (t > 0.5f) - (t < -0.5f);
}

void hf_master_row(const matrix_source *m, float scale, uint32_t row, float *scratch, uint8_t *out)
{
    float inverse = scalar_div(1.0f, scale);
    size_t row_bytes = dense_row_bytes(m->dense, m->n_cols);
    dense_row_to_float(m->dense, m->weights->data + row * row_bytes, m->n_cols, scratch);
    uint32_t whole = m->n_cols / 4;
    for (uint32_t j = 0; j < whole; j++) {
        const float *w = scratch + 4 * (size_t)j;
        out[j] = (uint8_t)(master_code(w[0], inverse) | master_code(w[1], inverse) << 2 |
                           master_code(w[2], inverse) << 4 | master_code(w[3], inverse) << 6);
    }
    if (m->n_cols % 4 == 0) return;
    out[whole] = 0;
    for (uint32_t c = whole * 4; c < m->n_cols; c++)
        out[whole] = (uint8_t)(out[whole] | master_code(scratch[c], inverse) << (2 * (c % 4)));
}
