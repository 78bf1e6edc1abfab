// Weight matrices on the CPU. Ternary: T64, the layout of every backend. Dense: the stored rows, one after the other.
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "cpu.h"

// ---- description

static tern_status check_scale(const weights_desc *desc, tern_error *err)
{
    const ternary_scale *s = desc->scale;
    if (s->n_sets == 0 || s->group == 0)
        return error_set(err, TERN_INVALID_ARGUMENT, "weights: the scale has %u sets of groups of %u columns",
                         s->n_sets, s->group);
    uint32_t n_groups = desc->n_cols / s->group + (desc->n_cols % s->group != 0);
    if (s->n_groups != n_groups)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "weights: the scale has %u groups of %u columns, %u columns make %u", s->n_groups, s->group,
                         desc->n_cols, n_groups);
    if (s->set_begin == NULL) {
        if (s->n_sets == 1 || s->n_sets == desc->n_rows) return TERN_OK;
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "weights: the scale has %u sets without row ranges, expected 1 or %u", s->n_sets,
                         desc->n_rows);
    }
    for (uint32_t i = 0; i < s->n_sets; i++)
        if (i == 0 ? s->set_begin[0] != 0 : s->set_begin[i] <= s->set_begin[i - 1] || s->set_begin[i] >= desc->n_rows)
            return error_set(err, TERN_INVALID_ARGUMENT,
                             "weights: scale set %u begins at row %u of %u; sets begin at 0 and "
                             "ascend",
                             i, s->set_begin[i], desc->n_rows);
    return TERN_OK;
}

// Bytes of the matrix itself, padding included, and of its scales.
static tern_status measure(const weights_desc *desc, uint64_t *matrix, uint64_t *scales, tern_error *err)
{
    if (desc->n_rows == 0 || desc->n_cols == 0 || desc->n_rows > INT32_MAX || desc->n_cols > INT32_MAX)
        return error_set(err, TERN_INVALID_ARGUMENT, "weights: a matrix of %u rows and %u columns", desc->n_rows,
                         desc->n_cols);
    *scales = 0;
    if (desc->is_ternary) {
        if (desc->n_cols > TERNARY_MAX_COLUMNS)
            return error_set(err, TERN_DEVICE_UNSUPPORTED,
                             "weights: %u ternary columns, at most %u are summed exactly in 32 bits", desc->n_cols,
                             TERNARY_MAX_COLUMNS);
        uint64_t n_sets = 1, n_groups = 1;
        if (desc->scale != NULL) {
            tern_status status = check_scale(desc, err);
            if (status != TERN_OK) return status;
            n_sets = desc->scale->n_sets;
            n_groups = desc->scale->n_groups;
            if (desc->scale->set_begin != NULL) *scales += n_sets * sizeof(uint32_t);
        }
        *scales += n_sets * n_groups * sizeof(float); // below 2^31 * 2^20 * 4
        *matrix = t64_bytes(desc->n_rows, desc->n_cols) + CPU_WEIGHTS_PADDING;
    } else {
        if ((unsigned)desc->type >= DENSE_N_TYPES)
            return error_set(err, TERN_INVALID_ARGUMENT, "weights: dense type %d does not exist", (int)desc->type);
        const dense_format *format = &dense_formats[desc->type];
        if (desc->n_cols % format->block != 0)
            return error_set(err, TERN_INVALID_ARGUMENT, "weights: %u columns are not whole blocks of %s (%u)",
                             desc->n_cols, format->name, format->block);
        *matrix = (uint64_t)desc->n_rows * dense_row_bytes(desc->type, desc->n_cols) + CPU_WEIGHTS_PADDING;
    }
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
    if (w->is_ternary)
        t64_init(w->data, w->n_rows, w->n_cols);
    else
        memset(w->data, 0, w->n_bytes);
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

static tern_status check_rows(const weights *w, uint32_t first, uint32_t count, tern_error *err)
{
    if (check_range(first, count, w->n_rows)) return TERN_OK;
    return error_set(err, TERN_INVALID_ARGUMENT, "weights: rows %u to %llu of a matrix of %u", first,
                     (unsigned long long)first + count, w->n_rows);
}

tern_status cpu_weights_upload_rows(weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err)
{
    tern_status status = check_rows(w, first, count, err);
    if (status != TERN_OK) return status;
    if (!w->is_ternary) {
        memcpy(w->data + first * w->row_bytes, rows, count * w->row_bytes);
        return TERN_OK;
    }
    for (uint32_t r = 0; r < count; r++)
        if (!ternary_row_is_valid(rows + r * w->row_bytes, ternary_padded(w->n_cols)))
            return error_set(err, TERN_INVALID_ARGUMENT, "weights: row %u holds code 3; codes are 0, 1 and 2",
                             first + r);
    t64_pack_rows(w->data, w->n_rows, w->n_cols, first, count, rows);
    return TERN_OK;
}

tern_status cpu_weights_download_rows(weights *w, uint32_t first, uint32_t count, uint8_t *rows, tern_error *err)
{
    tern_status status = check_rows(w, first, count, err);
    if (status != TERN_OK) return status;
    if (w->is_ternary)
        t64_unpack_rows(w->data, w->n_rows, w->n_cols, first, count, rows);
    else
        memcpy(rows, w->data + first * w->row_bytes, count * w->row_bytes);
    return TERN_OK;
}

void cpu_weights_shape(const weights *w, weights_desc *out)
{
    *out = (weights_desc){w->n_rows, w->n_cols, w->is_ternary, w->type, NULL};
}
