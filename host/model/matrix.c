// Matrices as row sources: dispatch over encodings, and the checks that hold for all of them.
#include "matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "matrix_encodings.h"

scale_bound matrix_scale_bound(const matrix_source *m)
{
    const ternary_scale *found = m->found;
    switch (m->encoding) {
    case MATRIX_TQ1_0:
    case MATRIX_TQ2_0: return (scale_bound){.per_row = true, .group = 256, .n_ranges = 1};
    case MATRIX_Q2_0_64: return (scale_bound){.per_row = true, .group = 64, .n_ranges = 1};
    case MATRIX_Q2_0_128:
    case MATRIX_PTQ1_0: return (scale_bound){.per_row = true, .group = 128, .n_ranges = 1};
    case MATRIX_IQ1_BN:
    case MATRIX_IQ2_BN:
    case MATRIX_IQ2_BN_R4: return (scale_bound){.per_row = true, .n_ranges = 1};
    case MATRIX_FLOAT:
        return (scale_bound){.per_row = found->n_sets > 1 && found->set_begin == NULL,
                             .group = found->n_groups == 1 ? 0 : found->group,
                             .n_ranges = found->set_begin != NULL ? found->n_sets : 1};
    default: return (scale_bound){.n_ranges = 1};
    }
}

static tern_status check_values(const matrix_source *m, const ternary_scale *scale, tern_error *err)
{
    size_t n = (size_t)scale->n_sets * scale->n_groups;
    for (size_t i = 0; i < n; i++)
        if (!(isfinite(scale->values[i]) && scale->values[i] >= 0.0f))
            return error_set(err, TERN_MALFORMED, "%s: scale %zu is %g, expected a finite number, 0 or more", m->name,
                             i, (double)scale->values[i]);
    return TERN_OK;
}

tern_status matrix_scale(const matrix_source *m, ternary_scale *out, tern_error *err)
{
    ternary_scale scale = {0};
    tern_status status = TERN_INTERNAL;
    switch (m->encoding) {
    case MATRIX_DENSE: return error_set(err, TERN_INVALID_ARGUMENT, "%s: a dense matrix has no ternary scale", m->name);
    case MATRIX_I2_S: status = i2s_scale(m, &scale, err); break;
    case MATRIX_TQ1_0:
    case MATRIX_TQ2_0:
    case MATRIX_Q2_0_64:
    case MATRIX_Q2_0_128:
    case MATRIX_PTQ1_0: status = blocks_scale(m, &scale, err); break;
    case MATRIX_IQ1_BN:
    case MATRIX_IQ2_BN:
    case MATRIX_IQ2_BN_R4: status = bn_scale(m, &scale, err); break;
    case MATRIX_FLOAT: status = float_scale(m, &scale, err); break;
    case MATRIX_HF_PACKED: status = hf_packed_scale(m, &scale, err); break;
    case MATRIX_HF_MASTER: status = hf_master_scale(m, &scale, err); break;
    case MATRIX_SYNTHETIC: status = synthetic_scale(m, &scale, err); break;
    }
    if (status == TERN_OK) status = check_values(m, &scale, err);
    if (status != TERN_OK) {
        ternary_scale_free(&scale);
        return status;
    }
    *out = scale;
    return TERN_OK;
}

static void read_dense_row(const matrix_source *m, uint32_t row, size_t row_bytes, uint8_t *out)
{
    if (m->weights == NULL)
        synthetic_dense_row(m, row, out);
    else
        memcpy(out, m->weights->data + (size_t)row * row_bytes, row_bytes);
}

static void read_ternary_row(const matrix_source *m, const ternary_scale *scale, uint32_t row, float *scratch,
                             uint8_t *out)
{
    switch (m->encoding) {
    case MATRIX_DENSE: break;
    case MATRIX_I2_S: i2s_row(m, row, out); break;
    case MATRIX_TQ1_0:
    case MATRIX_TQ2_0:
    case MATRIX_Q2_0_64:
    case MATRIX_Q2_0_128:
    case MATRIX_PTQ1_0: blocks_row(m, row, out); break;
    case MATRIX_IQ1_BN:
    case MATRIX_IQ2_BN:
    case MATRIX_IQ2_BN_R4: bn_row(m, row, out); break;
    case MATRIX_FLOAT: float_row(m, row, out); break;
    case MATRIX_HF_PACKED: hf_packed_row(m, row, out); break;
    case MATRIX_HF_MASTER: hf_master_row(m, scale->values[0], row, scratch, out); break;
    case MATRIX_SYNTHETIC: synthetic_row(m, row, out); break;
    }
}

// In Q2_0 code 3 is a legal weight of twice the scale; nowhere else has it a meaning.
static tern_status refuse_code_3(const matrix_source *m, uint32_t row, tern_error *err)
{
    if (m->encoding == MATRIX_Q2_0_64 || m->encoding == MATRIX_Q2_0_128)
        return error_set(err, TERN_UNSUPPORTED, "%s: row %u holds code 3, the weight +2: the tensor is not ternary",
                         m->name, row);
    return error_set(err, TERN_MALFORMED, "%s: row %u holds code 3, which is not a trit", m->name, row);
}

tern_status matrix_read_rows(const matrix_source *m, const ternary_scale *scale, uint32_t first, uint32_t count,
                             uint8_t *out, tern_error *err)
{
    if (first > m->n_rows || count > m->n_rows - first)
        return error_set(err, TERN_INVALID_ARGUMENT, "%s: rows %u + %u of %u", m->name, first, count, m->n_rows);
    if (m->encoding == MATRIX_DENSE) {
        size_t row_bytes = dense_row_bytes(m->dense, m->n_cols);
        for (uint32_t i = 0; i < count; i++) read_dense_row(m, first + i, row_bytes, out + i * row_bytes);
        return TERN_OK;
    }
    float *scratch = NULL;
    if (m->encoding == MATRIX_HF_MASTER) {
        if (scale == NULL) return error_set(err, TERN_INVALID_ARGUMENT, "%s: master weights need their scale", m->name);
        scratch = malloc((size_t)m->n_cols * sizeof *scratch);
        if (scratch == NULL) return error_set(err, TERN_HOST_MEMORY, "%s: no memory for a row", m->name);
    }
    tern_status status = TERN_OK;
    size_t row_bytes = ternary_row_bytes(m->n_cols);
    for (uint32_t i = 0; i < count && status == TERN_OK; i++) {
        uint8_t *row = out + i * row_bytes;
        read_ternary_row(m, scale, first + i, scratch, row);
        ternary_pad_row(row, m->n_cols);
        if (!ternary_row_is_valid(row, m->n_cols)) status = refuse_code_3(m, first + i, err);
    }
    free(scratch);
    return status;
}
