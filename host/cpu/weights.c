// Weight matrices on the CPU. Ternary: T64 or T80, the layouts of every backend. Dense: the stored rows, one after the
// other.
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "cpu.h"
#include "op_check.h"
#include "usage.h"

// ---- description

// Where the parts of a matrix lie, in bytes.
typedef struct layout {
    uint64_t matrix, scale_at, begin_at, total;
} layout;

static tern_status lay_out(const weights_desc *desc, layout *out, tern_error *err)
{
    uint64_t scales = 0;
    tern_status status = weights_check(desc, &scales, err);
    if (status != TERN_OK) return status;
    layout l = {.matrix = desc->is_ternary ? ternary_packed_bytes(desc->layout, desc->n_rows, desc->n_cols)
                                           : (uint64_t)desc->n_rows * dense_row_bytes(desc->type, desc->n_cols)};
    uint64_t ranges = desc->scale != NULL && desc->scale->set_begin != NULL ? 4 * (uint64_t)desc->scale->n_sets : 0;
    size_t unused;
    if (!check_align(l.matrix + CPU_WEIGHTS_PADDING, 64, &l.scale_at) || !check_add(l.scale_at, scales, &l.total) ||
        !check_size(l.total, &unused))
        return error_set(err, TERN_DEVICE_MEMORY, "weights: %u rows of %u columns do not fit the address space",
                         desc->n_rows, desc->n_cols);
    l.begin_at = l.total - ranges;
    *out = l;
    return TERN_OK;
}

tern_status cpu_weights_bytes(device *d, const weights_desc *desc, uint64_t *out, tern_error *err)
{
    (void)d;
    layout l = {0};
    tern_status status = lay_out(desc, &l, err);
    if (status == TERN_OK) *out = l.total;
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

// The arrays of the scale where the layout puts them.
static ternary_scale scale_in(const weights *w, const layout *l, const ternary_scale *shape)
{
    ternary_scale scale = {.n_sets = shape->n_sets, .n_groups = shape->n_groups};
    scale.group = shape->n_groups == 1 ? w->n_cols : shape->group;
    scale.values = (float *)(void *)(w->data + l->scale_at);
    if (shape->set_begin != NULL) scale.set_begin = (uint32_t *)(void *)(w->data + l->begin_at);
    return scale;
}

// No bits are left to chance: rows that are never uploaded are zeros.
static void fill(weights *w, const layout *l, const ternary_scale *scale)
{
    memset(w->data, w->is_ternary ? ternary_zero_byte(w->layout) : 0, w->n_bytes);
    memset(w->data + w->n_bytes, 0, (size_t)l->scale_at - w->n_bytes);
    if (!w->is_ternary) return;
    memcpy(w->scale.values, scale->values, (size_t)scale->n_sets * scale->n_groups * sizeof(float));
    if (scale->set_begin != NULL) memcpy(w->scale.set_begin, scale->set_begin, scale->n_sets * sizeof(uint32_t));
}

static tern_status find_room(weights *w, const weights_desc *desc, tern_error *err)
{
    device *d = w->device;
    if (desc->place == WEIGHTS_IN_SLOT) {
        if (desc->slot->n_bytes < w->all_bytes)
            return error_set(err, TERN_INVALID_ARGUMENT, "weights: %zu bytes do not fit a slot of %zu", w->all_bytes,
                             desc->slot->n_bytes);
        w->data = desc->slot->data;
        return TERN_OK;
    }
    if (desc->image != NULL) {
        w->data = (uint8_t *)(uintptr_t)desc->image;
        w->has_image = true;
        usage_take(&d->usage, w->all_bytes);
        return TERN_OK;
    }
    tern_status status = machine_allocate(w->all_bytes, "a weight matrix", &w->data, err);
    if (status != TERN_OK) return status;
    if (desc->place == WEIGHTS_ON_HOST)
        d->usage.host += w->all_bytes;
    else
        usage_take(&d->usage, w->all_bytes);
    return TERN_OK;
}

tern_status cpu_weights_create(device *d, const weights_desc *desc, weights **out, tern_error *err)
{
    layout l = {0};
    if (desc->is_ternary && (desc->scale == NULL || (desc->scale->values == NULL && desc->image == NULL)))
        return error_set(err, TERN_INVALID_ARGUMENT, "weights: a ternary matrix is created with its scale");
    tern_status status = lay_out(desc, &l, err);
    if (status != TERN_OK) return status;

    weights *w = calloc(1, sizeof *w);
    if (w == NULL) return error_set(err, TERN_HOST_MEMORY, "weights: no memory for a descriptor");
    w->device = d;
    w->n_rows = desc->n_rows;
    w->n_cols = desc->n_cols;
    w->is_ternary = desc->is_ternary;
    w->layout = desc->layout;
    w->type = desc->is_ternary ? DENSE_F32 : desc->type;
    w->place = desc->place;
    w->n_bytes = (size_t)l.matrix;
    w->row_bytes = desc->is_ternary ? ternary_row_bytes(desc->n_cols) : dense_row_bytes(desc->type, desc->n_cols);
    w->all_bytes = (size_t)l.total;
    status = reserve_scratch(d, desc, err);
    if (status == TERN_OK) status = find_room(w, desc, err);
    if (status != TERN_OK) {
        free(w);
        return status;
    }
    if (w->is_ternary) w->scale = scale_in(w, &l, desc->scale);
    if (w->place != WEIGHTS_IN_SLOT && !w->has_image) fill(w, &l, desc->scale);
    *out = w;
    return TERN_OK;
}

void cpu_weights_destroy(weights *w)
{
    if (w == NULL) return;
    if (w->place == WEIGHTS_ON_HOST) w->device->usage.host -= w->all_bytes;
    if (w->place == WEIGHTS_ON_DEVICE) usage_give(&w->device->usage, w->all_bytes);
    if (w->place != WEIGHTS_IN_SLOT && !w->has_image) free(w->data);
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
    if (status == TERN_OK && w->has_image)
        status = error_set(err, TERN_INVALID_ARGUMENT, "weights: an image is only read, no rows are uploaded to it");
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
    *out = (weights_desc){.n_rows = w->n_rows,
                          .n_cols = w->n_cols,
                          .is_ternary = w->is_ternary,
                          .layout = w->layout,
                          .type = w->type,
                          .place = w->place};
}

const uint8_t *cpu_weights_image(const weights *w) { return w->data; }

tern_status cpu_weights_copy(stream *s, weights *to, const weights *from, tern_error *err)
{
    weights_desc shapes[2];
    cpu_weights_shape(to, &shapes[0]);
    cpu_weights_shape(from, &shapes[1]);
    bool is_alike = to->device == s->device && from->device == s->device && to->all_bytes == from->all_bytes;
    tern_status status = weights_check_copy(&shapes[0], &shapes[1], is_alike, err);
    if (status == TERN_OK) memcpy(to->data, from->data, to->all_bytes);
    return status;
}
