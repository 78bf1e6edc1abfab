// Weight matrices on the CPU. Ternary: T64 or T80, the layouts of every backend. Dense: the stored rows, one after the
// other.
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "cpu.h"
#include "op_check.h"

// ---- description

// Bytes of the matrix itself, padding included, and of its scales.
static tern_status measure(const weights_desc *desc, uint64_t *matrix, uint64_t *scales, tern_error *err)
{
    tern_status status = weights_check(desc, scales, err);
    if (status != TERN_OK) return status;
    *matrix = CPU_WEIGHTS_PADDING + (desc->is_ternary
                                         ? ternary_packed_bytes(desc->layout, desc->n_rows, desc->n_cols)
                                         : (uint64_t)desc->n_rows * dense_row_bytes(desc->type, desc->n_cols));
    size_t unused;
    if (!check_size(*matrix, &unused) || !check_size(*scales, &unused))
        return error_set(err, TERN_DEVICE_MEMORY, "weights: %u rows of %u columns do not fit the address space",
                         desc->n_rows, desc->n_cols);
    return TERN_OK;
}

tern_status cpu_weights_bytes(device *d, const weights_desc *desc, uint64_t *out, tern_error *err)
{
    (void)d;
    uint64_t matrix = 0, scales = 0;
    tern_status status = measure(desc, &matrix, &scales, err);
    if (status == TERN_OK) *out = matrix + scales;
    return status;
}

// ---- scratch

// Working memory the reference ops need for a matrix: the canonical form of a ternary row, then the row in fp32, or the
// sums of its groups in fp32 and its trits.
static uint64_t reference_scratch_bytes(const weights_desc *desc)
{
    uint64_t row = (uint64_t)desc->n_cols * sizeof(float);
    if (!desc->is_ternary) return row;
    uint64_t sums = (uint64_t)desc->scale->n_groups * sizeof(float) + desc->n_cols;
    return ternary_row_bytes(desc->n_cols) + (row > sums ? row : sums);
}

// Makes the device's scratch large enough for ops with this matrix. Contents do not survive between ops.
static tern_status reserve_scratch(device *d, const weights_desc *desc, tern_error *err)
{
    uint64_t n_bytes = d->is_reference ? reference_scratch_bytes(desc) : 0;
    if (n_bytes <= d->scratch_bytes) return TERN_OK;
    uint8_t *scratch;
    tern_status status = machine_allocate((size_t)n_bytes, "working memory", &scratch, err);
    if (status != TERN_OK) return status;
    free(d->scratch);
    d->scratch = scratch;
    d->scratch_bytes = (size_t)n_bytes;
    return TERN_OK;
}

// ---- create, destroy

static tern_status copy_scale(const weights_desc *desc, ternary_scale *out, tern_error *err)
{
    const ternary_scale *from = desc->scale;
    uint32_t group = from->n_groups == 1 ? 0 : from->group;
    tern_status status = ternary_scale_create(from->n_sets, from->set_begin != NULL, group, desc->n_cols, out, err);
    if (status != TERN_OK) return status;
    memcpy(out->values, from->values, (size_t)from->n_sets * from->n_groups * sizeof(float));
    if (from->set_begin != NULL) memcpy(out->set_begin, from->set_begin, from->n_sets * sizeof(uint32_t));
    return TERN_OK;
}

tern_status cpu_weights_create(device *d, const weights_desc *desc, weights **out, tern_error *err)
{
    uint64_t matrix = 0, scales = 0;
    if (desc->is_ternary && (desc->scale == NULL || desc->scale->values == NULL))
        return error_set(err, TERN_INVALID_ARGUMENT, "weights: a ternary matrix is created with its scale");
    tern_status status = measure(desc, &matrix, &scales, err);
    if (status != TERN_OK) return status;

    weights *w = calloc(1, sizeof *w);
    if (w == NULL) return error_set(err, TERN_HOST_MEMORY, "weights: no memory for a descriptor");
    w->device = d;
    w->n_rows = desc->n_rows;
    w->n_cols = desc->n_cols;
    w->is_ternary = desc->is_ternary;
    w->layout = desc->layout;
    w->type = desc->is_ternary ? DENSE_F32 : desc->type;
    w->n_bytes = (size_t)matrix - CPU_WEIGHTS_PADDING;
    w->row_bytes = desc->is_ternary ? ternary_row_bytes(desc->n_cols) : dense_row_bytes(desc->type, desc->n_cols);
    status = reserve_scratch(d, desc, err);
    if (status == TERN_OK && desc->is_ternary) status = copy_scale(desc, &w->scale, err);
    if (status == TERN_OK) status = machine_allocate((size_t)matrix, "a weight matrix", &w->data, err);
    if (status != TERN_OK) {
        cpu_weights_destroy(w);
        return status;
    }
    memset(w->data + w->n_bytes, 0, CPU_WEIGHTS_PADDING);
    memset(w->data, w->is_ternary ? ternary_zero_byte(w->layout) : 0, w->n_bytes);
    *out = w;
    return TERN_OK;
}

void cpu_weights_destroy(weights *w)
{
    if (w == NULL) return;
    ternary_scale_free(&w->scale);
    free(w->data);
    free(w);
}

// ---- rows

static tern_status check_rows(const weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err)
{
    weights_desc shape;
    cpu_weights_shape(w, &shape);
    return weights_check_rows(&shape, first, count, rows, err);
}

tern_status cpu_weights_upload_rows(weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err)
{
    tern_status status = check_rows(w, first, count, rows, err);
    if (status != TERN_OK) return status;
    if (!w->is_ternary) {
        memcpy(w->data + first * w->row_bytes, rows, count * w->row_bytes);
        return TERN_OK;
    }
    ternary_pack_rows(w->layout, w->data, w->n_rows, w->n_cols, first, count, rows);
    return TERN_OK;
}

tern_status cpu_weights_download_rows(weights *w, uint32_t first, uint32_t count, uint8_t *rows, tern_error *err)
{
    tern_status status = check_rows(w, first, count, NULL, err);
    if (status != TERN_OK) return status;
    if (w->is_ternary)
        ternary_unpack_rows(w->layout, w->data, w->n_rows, w->n_cols, first, count, rows);
    else
        memcpy(rows, w->data + first * w->row_bytes, count * w->row_bytes);
    return TERN_OK;
}

void cpu_weights_shape(const weights *w, weights_desc *out)
{
    *out = (weights_desc){
        .n_rows = w->n_rows, .n_cols = w->n_cols, .is_ternary = w->is_ternary, .layout = w->layout, .type = w->type};
}
