// Weight matrices: one buffer each, packed (common/ternary.h) or the stored rows, followed by the scales. Canonical
// rows are packed and unpacked on the device.
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "opencl.h"

#define PADDING 64u // readable bytes after the matrix

// Where the parts of a matrix lie, in bytes.
typedef struct layout {
    uint64_t scale_at, begin_at, n_bytes;
} layout;

static tern_status lay_out(const weights_desc *desc, layout *out, tern_error *err)
{
    uint64_t scale_bytes = 0, matrix, end;
    tern_status status = weights_check(desc, &scale_bytes, err);
    if (status != TERN_OK) return status;
    matrix = desc->is_ternary ? ternary_packed_bytes(desc->layout, desc->n_rows, desc->n_cols)
                              : (uint64_t)desc->n_rows * dense_row_bytes(desc->type, desc->n_cols);
    uint64_t ranges = desc->scale != NULL && desc->scale->set_begin != NULL ? 4 * (uint64_t)desc->scale->n_sets : 0;
    size_t unused;
    if (!check_align(matrix + PADDING, 64, &out->scale_at) || !check_add(out->scale_at, scale_bytes, &end) ||
        !check_size(end, &unused))
        return error_set(err, TERN_DEVICE_MEMORY, "weights: %u rows of %u columns do not fit the address space",
                         desc->n_rows, desc->n_cols);
    out->begin_at = end - ranges;
    out->n_bytes = end;
    return TERN_OK;
}

tern_status opencl_weights_bytes(device *d, const weights_desc *desc, uint64_t *out, tern_error *err)
{
    (void)d;
    layout l = {0};
    tern_status status = lay_out(desc, &l, err);
    if (status == TERN_OK) *out = l.n_bytes;
    return status;
}

static tern_status fill_matrix(const weights *w, tern_error *err)
{
    device *d = w->device;
    const cl_uchar byte = w->shape.is_ternary ? ternary_zero_byte(w->shape.layout) : 0;
    cl_int code = cl.clEnqueueFillBuffer(d->queue, w->mem, &byte, 1, 0, w->scale_at, 0, NULL, NULL);
    return code == CL_SUCCESS ? TERN_OK : opencl_error(d, code, TERN_INTERNAL, "filling a matrix", err);
}

static tern_status write_scales(const weights *w, const ternary_scale *scale, tern_error *err)
{
    device *d = w->device;
    size_t n_values = (size_t)scale->n_sets * scale->n_groups * sizeof(float);
    cl_int code = cl.clEnqueueWriteBuffer(d->queue, w->mem, CL_TRUE, w->scale_at, n_values, scale->values, 0, NULL,
                                          NULL);
    if (code == CL_SUCCESS && scale->set_begin != NULL)
        code = cl.clEnqueueWriteBuffer(d->queue, w->mem, CL_TRUE, w->begin_at, 4 * (size_t)scale->n_sets,
                                       scale->set_begin, 0, NULL, NULL);
    return code == CL_SUCCESS ? TERN_OK : opencl_error(d, code, TERN_INTERNAL, "writing scales", err);
}

static tern_status find_room(weights *w, const buffer *slot, tern_error *err)
{
    switch (w->shape.place) {
    case WEIGHTS_ON_HOST: return opencl_pinned_create(w->device, w->n_bytes, "a weight matrix", &w->mem, err);
    case WEIGHTS_IN_SLOT:
        if (slot->n_bytes < w->n_bytes)
            return error_set(err, TERN_INVALID_ARGUMENT, "weights: %zu bytes do not fit a slot of %zu", w->n_bytes,
                             slot->n_bytes);
        w->mem = slot->mem;
        return TERN_OK;
    default: return opencl_mem_create(w->device, w->n_bytes, "a weight matrix", &w->mem, err);
    }
}

tern_status opencl_weights_create(device *d, const weights_desc *desc, weights **out, tern_error *err)
{
    layout l = {0};
    tern_status status = opencl_check_lost(d, err);
    if (status != TERN_OK) return status;
    if (desc->is_ternary && (desc->scale == NULL || desc->scale->values == NULL))
        return error_set(err, TERN_INVALID_ARGUMENT, "weights: a ternary matrix is created with its scale");
    status = lay_out(desc, &l, err);
    if (status == TERN_OK) status = opencl_dense_kernels(d, opencl_dense_kind(desc), err);
    if (status == TERN_OK && desc->is_ternary && desc->layout == TERNARY_T80) status = opencl_t80_kernels(d, err);
    if (status != TERN_OK) return status;
    weights *w = calloc(1, sizeof *w);
    if (w == NULL) return error_set(err, TERN_HOST_MEMORY, "weights: no memory for a descriptor");
    w->device = d;
    w->shape = *desc;
    d->n_uploads++;
    w->shape.scale = NULL;
    w->shape.slot = NULL;
    if (desc->is_ternary) w->shape.type = DENSE_F32;
    w->n_bytes = (size_t)l.n_bytes;
    w->row_bytes = desc->is_ternary ? ternary_row_bytes(desc->n_cols) : dense_row_bytes(desc->type, desc->n_cols);
    w->scale_at = (size_t)l.scale_at;
    w->begin_at = (size_t)l.begin_at;
    w->n_sets = w->n_groups = 1;
    w->group = desc->n_cols;
    if (desc->is_ternary) {
        w->n_sets = desc->scale->n_sets;
        w->n_groups = desc->scale->n_groups;
        w->group = desc->scale->group;
        w->has_ranges = desc->scale->set_begin != NULL;
    }
    status = find_room(w, desc->slot, err);
    bool is_filled = desc->place != WEIGHTS_IN_SLOT;
    if (status == TERN_OK && is_filled) status = fill_matrix(w, err);
    if (status == TERN_OK && is_filled && desc->is_ternary) status = write_scales(w, desc->scale, err);
    if (status != TERN_OK) {
        opencl_weights_destroy(w);
        return status;
    }
    *out = w;
    return TERN_OK;
}

void opencl_weights_destroy(weights *w)
{
    if (w == NULL) return;
    if (w->shape.place == WEIGHTS_ON_DEVICE) opencl_mem_destroy(w->device, w->mem, w->n_bytes);
    if (w->shape.place == WEIGHTS_ON_HOST) opencl_pinned_destroy(w->device, w->mem, w->n_bytes);
    free(w);
}

void opencl_weights_shape(const weights *w, weights_desc *out) { *out = w->shape; }

const uint8_t *opencl_weights_image(const weights *w)
{
    (void)w;
    return NULL;
}

// Orders a queue of its own after all uploads so far, which the device's queue does.
static tern_status follow_uploads(stream *s, tern_error *err)
{
    device *d = s->device;
    if (s->queue == d->queue || s->n_uploads == d->n_uploads) return TERN_OK;
    cl_event uploaded;
    cl_int code = cl.clEnqueueMarkerWithWaitList(d->queue, 0, NULL, &uploaded);
    if (code == CL_SUCCESS) {
        code = cl.clFlush(d->queue);
        if (code == CL_SUCCESS) code = cl.clEnqueueBarrierWithWaitList(s->queue, 1, &uploaded, NULL);
        cl.clReleaseEvent(uploaded);
    }
    if (code != CL_SUCCESS) return opencl_error(d, code, TERN_INTERNAL, "waiting for uploads", err);
    s->n_uploads = d->n_uploads;
    return TERN_OK;
}

tern_status opencl_weights_copy(stream *s, weights *to, const weights *from, tern_error *err)
{
    device *d = s->device;
    bool is_alike = to->device == d && from->device == d && to->n_bytes == from->n_bytes;
    tern_status status = opencl_check_lost(d, err);
    if (status == TERN_OK) status = weights_check_copy(&to->shape, &from->shape, is_alike, err);
    if (status == TERN_OK) status = follow_uploads(s, err);
    if (status != TERN_OK) return status;
    cl_int code = cl.clEnqueueCopyBuffer(s->queue, from->mem, to->mem, 0, 0, from->n_bytes, 0, NULL, NULL);
    return code == CL_SUCCESS ? TERN_OK : opencl_error(d, code, TERN_INTERNAL, "copying weights from the host", err);
}

// ---- rows

static tern_status check_rows(const weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err)
{
    tern_status status = opencl_check_lost(w->device, err);
    return status == TERN_OK ? weights_check_rows(&w->shape, first, count, rows, err) : status;
}

// Packs or unpacks `count` rows from `first` on, between the staging area and the matrix.
static tern_status repack(const weights *w, bool is_packing, cl_mem rows, uint32_t first, uint32_t count,
                          tern_error *err)
{
    static const opencl_kernel kernels[TERNARY_N_LAYOUTS][2] = {{KERNEL_T64_UNPACK, KERNEL_T64_PACK},
                                                                {KERNEL_T80_UNPACK, KERNEL_T80_PACK}};
    launch l = launch_begin(w->device, kernels[w->shape.layout][is_packing]);
    uint32_t n_granules = ternary_granules(w->shape.layout, w->shape.n_cols);
    launch_mem(&l, is_packing ? rows : w->mem);
    launch_mem(&l, is_packing ? w->mem : rows);
    launch_u32(&l, n_granules);
    launch_u32(&l, first);
    if (w->shape.layout == TERNARY_T80) launch_u32(&l, (uint32_t)w->row_bytes);
    return launch_end(&l, ((size_t)n_granules + 63) / 64, count, 1, 64, err);
}

// Rows that go through the staging area at a time.
static tern_status rows_at_once(const weights *w, uint32_t *out, tern_error *err)
{
    *out = (uint32_t)(OPENCL_STAGING_BYTES / w->row_bytes);
    if (*out != 0) return TERN_OK;
    return error_set(err, TERN_DEVICE_UNSUPPORTED, "weights: a row of %zu bytes is over the staging area of %zu",
                     w->row_bytes, OPENCL_STAGING_BYTES);
}

static tern_status upload_some(weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err)
{
    device *d = w->device;
    opencl_staging *s = NULL;
    size_t n_bytes = count * w->row_bytes;
    tern_status status = opencl_staging_take(d, &s, err);
    if (status != TERN_OK) return status;
    memcpy(s->host, rows, n_bytes);
    cl_mem to = w->shape.is_ternary ? s->device : w->mem;
    size_t at = w->shape.is_ternary ? 0 : first * w->row_bytes;
    cl_int code = cl.clEnqueueWriteBuffer(d->queue, to, CL_FALSE, at, n_bytes, s->host, 0, NULL, &s->done);
    if (code != CL_SUCCESS) return opencl_error(d, code, TERN_INTERNAL, "uploading weights", err);
    return w->shape.is_ternary ? repack(w, true, s->device, first, count, err) : TERN_OK;
}

tern_status opencl_weights_upload_rows(weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err)
{
    uint32_t step = 0;
    tern_status status = check_rows(w, first, count, rows, err);
    if (status == TERN_OK) status = rows_at_once(w, &step, err);
    if (status != TERN_OK) return status;
    w->device->n_uploads++;
    for (uint32_t r = 0; r < count && status == TERN_OK; r += step)
        status = upload_some(w, first + r, count - r < step ? count - r : step, rows + r * w->row_bytes, err);
    return status;
}

static tern_status download_some(const weights *w, uint32_t first, uint32_t count, uint8_t *rows, tern_error *err)
{
    device *d = w->device;
    opencl_staging *s = NULL;
    tern_status status = opencl_staging_take(d, &s, err);
    if (status == TERN_OK && w->shape.is_ternary) status = repack(w, false, s->device, first, count, err);
    if (status != TERN_OK) return status;
    cl_mem from = w->shape.is_ternary ? s->device : w->mem;
    size_t at = w->shape.is_ternary ? 0 : first * w->row_bytes;
    cl_int code = cl.clEnqueueReadBuffer(d->queue, from, CL_TRUE, at, count * w->row_bytes, rows, 0, NULL, NULL);
    return code == CL_SUCCESS ? TERN_OK : opencl_error(d, code, TERN_DEVICE_LOST, "downloading weights", err);
}

tern_status opencl_weights_download_rows(weights *w, uint32_t first, uint32_t count, uint8_t *rows, tern_error *err)
{
    uint32_t step = 0;
    tern_status status = check_rows(w, first, count, NULL, err);
    if (status == TERN_OK) status = rows_at_once(w, &step, err);
    for (uint32_t r = 0; r < count && status == TERN_OK; r += step)
        status = download_some(w, first + r, count - r < step ? count - r : step, rows + r * w->row_bytes, err);
    return status;
}
