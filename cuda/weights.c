// Weight matrices on the device. Ternary: T64 or T80 (common/ternary.h), rows padded to 16, packed from canonical rows
// by a kernel; then the scales, one row of them for every row of the matrix. Dense: the stored rows, each at a multiple
// of 16 bytes, so that kernels can load 16 bytes at a time. One allocation holds both.
//
// Uploads run on a stream of their own, in pieces that are staged while the one before travels; every other stream is
// ordered after them when it next enqueues something.
#include <stdlib.h>

#include "check.h"
#include "cuda_backend.h"
#include "usage.h"

#define ROW_ALIGNMENT 16u
#define READ_PADDING  64u // readable bytes after the last one of a matrix

typedef unsigned long long ull; // for printf

// ---- description

// Where things stand inside the allocation.
typedef struct weights_layout {
    uint64_t matrix, row_bytes, scales_at, n_scales, total;
} weights_layout;

static uint32_t count_groups(const weights_desc *desc)
{
    return desc->is_ternary && desc->scale != NULL ? desc->scale->n_groups : 1;
}

static tern_status lay_out(const weights_desc *desc, weights_layout *out, tern_error *err)
{
    uint64_t unused;
    tern_status status = weights_check(desc, &unused, err);
    if (status != TERN_OK) return status;
    weights_layout l = {0};
    if (desc->is_ternary) {
        l.row_bytes = ternary_row_bytes(desc->n_cols);
        l.matrix = ternary_packed_bytes(desc->layout, desc->n_rows, desc->n_cols);
        l.n_scales = (uint64_t)cuda_padded_rows(desc->n_rows) * count_groups(desc);
    } else {
        l.row_bytes = (dense_row_bytes(desc->type, desc->n_cols) + ROW_ALIGNMENT - 1) & ~(uint64_t)(ROW_ALIGNMENT - 1);
        l.matrix = desc->n_rows * l.row_bytes; // below 2^31 * 2^34
    }
    if (!check_align(l.matrix + READ_PADDING, CUDA_ALIGNMENT, &l.scales_at))
        return error_set(err, TERN_DEVICE_MEMORY, "weights: %u rows of %u columns are too large", desc->n_rows,
                         desc->n_cols);
    l.total = l.scales_at + l.n_scales * sizeof(float);
    if (l.total > SIZE_MAX / 2)
        return error_set(err, TERN_DEVICE_MEMORY, "weights: %u rows of %u columns are too large", desc->n_rows,
                         desc->n_cols);
    *out = l;
    return TERN_OK;
}

tern_status cuda_weights_bytes(device *d, const weights_desc *desc, uint64_t *out, tern_error *err)
{
    (void)d;
    weights_layout l = {0};
    tern_status status = lay_out(desc, &l, err);
    if (status == TERN_OK) *out = l.total;
    return status;
}

void cuda_weights_shape(const weights *w, weights_desc *out)
{
    *out = (weights_desc){.n_rows = w->n_rows,
                          .n_cols = w->n_cols,
                          .is_ternary = w->is_ternary,
                          .layout = w->layout,
                          .type = w->type,
                          .place = w->place};
}

// ---- pieces of an upload

// Sends `n_bytes` of `from` to where the matrix lives, on the device or on the host, on the upload stream.
static tern_status send(device *d, void *to, const void *from, size_t n_bytes, tern_error *err)
{
    uint8_t *slot;
    tern_status status = cuda_staging_take(d, &d->upload_staging, &slot, err);
    if (status != TERN_OK) return status;
    memcpy(slot, from, n_bytes);
    cudaError_t e = cudaMemcpyAsync(to, slot, n_bytes, cudaMemcpyDefault, d->upload->handle);
    status = cuda_check(d, e, "uploading weights", err);
    return status == TERN_OK ? cuda_staging_sent(d, &d->upload_staging, d->upload->handle, err) : status;
}

// Everything uploaded so far is what other streams will wait for.
static tern_status mark_uploaded(device *d, tern_error *err)
{
    tern_status status = cuda_check(d, cudaEventRecord(d->uploaded, d->upload->handle), "recording an upload", err);
    if (status == TERN_OK) d->n_uploads++;
    return status;
}

// ---- create, destroy

// The scales of rows in a row-for-row form: a row's set copied to it, padded rows 0.
static tern_status send_scales(weights *w, const ternary_scale *scale, tern_error *err)
{
    device *d = w->device;
    size_t row_bytes = (size_t)w->n_groups * sizeof(float);
    uint32_t n_rows = cuda_padded_rows(w->n_rows), step = (uint32_t)(CUDA_UPLOAD_SLOT / row_bytes);
    float *rows = malloc((step < n_rows ? step : n_rows) * row_bytes);
    if (rows == NULL) return error_set(err, TERN_HOST_MEMORY, "weights: no memory for scales");
    tern_status status = TERN_OK;
    for (uint32_t first = 0; first < n_rows && status == TERN_OK; first += step) {
        uint32_t count = n_rows - first < step ? n_rows - first : step;
        for (uint32_t r = 0; r < count; r++) {
            float *to = rows + (size_t)r * w->n_groups;
            if (first + r < w->n_rows)
                memcpy(to, scale->values + (size_t)ternary_scale_set(scale, first + r) * w->n_groups, row_bytes);
            else
                memset(to, 0, row_bytes);
        }
        status = send(d, w->scales + (size_t)first * w->n_groups, rows, count * row_bytes, err);
    }
    free(rows);
    return status;
}

static tern_status find_room(weights *w, const buffer *slot, tern_error *err)
{
    device *d = w->device;
    void *data = NULL;
    tern_status status = TERN_OK;
    switch (w->place) {
    case WEIGHTS_ON_HOST: // one address for host and device
        status = cuda_check(d, cudaHostAlloc(&data, w->all_bytes, cudaHostAllocMapped), "allocating pinned memory",
                            err);
        if (status == TERN_OK)
            d->usage.host += w->all_bytes;
        else
            error_prefix(err, "%llu bytes", (ull)w->all_bytes);
        break;
    case WEIGHTS_IN_SLOT:
        if (slot->n_bytes < w->all_bytes)
            return error_set(err, TERN_INVALID_ARGUMENT, "weights: %llu bytes do not fit a slot of %llu",
                             (ull)w->all_bytes, (ull)slot->n_bytes);
        data = slot->data;
        break;
    default: status = cuda_memory_create(d, w->all_bytes, "allocating weights", &data, err);
    }
    w->data = data;
    return status;
}

// The matrix as zeros, and its scales.
static tern_status fill(weights *w, size_t n_bytes, const ternary_scale *scale, tern_error *err)
{
    device *d = w->device;
    const int byte = w->is_ternary ? ternary_zero_byte(w->layout) : 0;
    tern_status status = TERN_OK;
    if (w->place == WEIGHTS_ON_HOST)
        memset(w->data, byte, n_bytes);
    else
        status = cuda_check(d, cudaMemsetAsync(w->data, byte, n_bytes, d->upload->handle), "clearing weights", err);
    if (status == TERN_OK && w->is_ternary) status = send_scales(w, scale, err);
    return status == TERN_OK ? mark_uploaded(d, err) : status;
}

tern_status cuda_weights_create(device *d, const weights_desc *desc, weights **out, tern_error *err)
{
    if (desc->is_ternary && (desc->scale == NULL || desc->scale->values == NULL))
        return error_set(err, TERN_INVALID_ARGUMENT, "weights: a ternary matrix is created with its scale");
    weights_layout l = {0};
    tern_status status = lay_out(desc, &l, err);
    if (status == TERN_OK) status = cuda_enter(d, err);
    if (status != TERN_OK) return status;

    weights *w = calloc(1, sizeof *w);
    if (w == NULL) return error_set(err, TERN_HOST_MEMORY, "weights: no memory for a descriptor");
    *w = (weights){.device = d,
                   .n_rows = desc->n_rows,
                   .n_cols = desc->n_cols,
                   .is_ternary = desc->is_ternary,
                   .layout = desc->layout,
                   .type = desc->is_ternary ? DENSE_F32 : desc->type,
                   .n_bytes = (size_t)l.matrix,
                   .row_bytes = (size_t)l.row_bytes,
                   .n_groups = count_groups(desc),
                   .group = desc->is_ternary ? desc->scale->group : desc->n_cols,
                   .place = desc->place,
                   .all_bytes = (size_t)l.total};
    status = find_room(w, desc->slot, err);
    if (status != TERN_OK) {
        free(w);
        return status;
    }
    w->scales = (float *)(void *)(w->data + l.scales_at);
    if (w->place != WEIGHTS_IN_SLOT) status = fill(w, (size_t)l.scales_at, desc->scale, err);
    if (status != TERN_OK) {
        cuda_weights_destroy(w);
        return status;
    }
    *out = w;
    return TERN_OK;
}

void cuda_weights_destroy(weights *w)
{
    if (w == NULL) return;
    device *d = w->device;
    cudaSetDevice(d->index);
    if (w->place == WEIGHTS_ON_DEVICE) cuda_memory_destroy(d, w->data, w->all_bytes);
    if (w->place == WEIGHTS_ON_HOST) {
        cudaFreeHost(w->data);
        d->usage.host -= w->all_bytes;
    }
    cudaGetLastError();
    free(w);
}

const uint8_t *cuda_weights_image(const weights *w)
{
    (void)w;
    return NULL;
}

tern_status cuda_weights_copy(stream *s, weights *to, const weights *from, tern_error *err)
{
    device *d = s->device;
    weights_desc shapes[2];
    cuda_weights_shape(to, &shapes[0]);
    cuda_weights_shape(from, &shapes[1]);
    bool is_alike = to->device == d && from->device == d && to->all_bytes == from->all_bytes;
    tern_status status = weights_check_copy(&shapes[0], &shapes[1], is_alike, err);
    if (status == TERN_OK) status = cuda_enter(d, err);
    if (status == TERN_OK) status = cuda_stream_follow_uploads(s, err);
    if (status != TERN_OK) return status;
    cudaError_t e = cudaMemcpyAsync(to->data, from->data, from->all_bytes, cudaMemcpyHostToDevice, s->handle);
    return cuda_check_deferred(s, e, "copying weights from the host", err);
}

// ---- rows

static tern_status begin_rows(const weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err)
{
    weights_desc shape;
    cuda_weights_shape(w, &shape);
    tern_status status = weights_check_rows(&shape, first, count, rows, err);
    return status == TERN_OK ? cuda_enter(w->device, err) : status;
}

// Bytes of a row on the host side.
static size_t stored_row_bytes(const weights *w)
{
    return w->is_ternary ? w->row_bytes : dense_row_bytes(w->type, w->n_cols);
}

// Rows that fit a slot of staging at the device's stride; a row longer than that is one of F32 with over a million
// columns, which goes in parts.
static uint32_t rows_per_slot(const weights *w) { return (uint32_t)(CUDA_UPLOAD_SLOT / w->row_bytes); }

static tern_status upload_long_row(weights *w, uint32_t row, const uint8_t *from, tern_error *err)
{
    size_t n_bytes = stored_row_bytes(w);
    tern_status status = TERN_OK;
    for (size_t done = 0; done < n_bytes && status == TERN_OK; done += CUDA_UPLOAD_SLOT) {
        size_t n = n_bytes - done < CUDA_UPLOAD_SLOT ? n_bytes - done : CUDA_UPLOAD_SLOT;
        status = send(w->device, w->data + row * w->row_bytes + done, from + done, n, err);
    }
    return status;
}

// `count` rows at most rows_per_slot, from the host's form into the device's.
static tern_status upload_piece(weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err)
{
    device *d = w->device;
    size_t host_bytes = stored_row_bytes(w);
    if (w->is_ternary) {
        tern_status status = send(d, d->upload_rows, rows, count * host_bytes, err);
        return status == TERN_OK ? cuda_pack_rows(d->upload, w, first, count, d->upload_rows, err) : status;
    }
    uint8_t *slot;
    tern_status status = cuda_staging_take(d, &d->upload_staging, &slot, err);
    if (status != TERN_OK) return status;
    memcpy(slot, rows, count * host_bytes);
    cudaError_t e = cudaMemcpy2DAsync(w->data + first * w->row_bytes, w->row_bytes, slot, host_bytes, host_bytes, count,
                                      cudaMemcpyDefault, d->upload->handle);
    status = cuda_check(d, e, "uploading weights", err);
    return status == TERN_OK ? cuda_staging_sent(d, &d->upload_staging, d->upload->handle, err) : status;
}

tern_status cuda_weights_upload_rows(weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err)
{
    tern_status status = begin_rows(w, first, count, rows, err);
    uint32_t step = rows_per_slot(w);
    size_t host_bytes = stored_row_bytes(w);
    for (uint32_t done = 0; done < count && status == TERN_OK;) {
        uint32_t n = step == 0 ? 1 : count - done < step ? count - done : step;
        const uint8_t *from = rows + done * host_bytes;
        status = step == 0 ? upload_long_row(w, first + done, from, err) : upload_piece(w, first + done, n, from, err);
        done += n;
    }
    return status == TERN_OK && count > 0 ? mark_uploaded(w->device, err) : status;
}

// One piece back, through the same memory; waits.
static tern_status download_piece(weights *w, uint32_t first, uint32_t count, uint8_t *rows, tern_error *err)
{
    device *d = w->device;
    size_t host_bytes = stored_row_bytes(w);
    uint8_t *slot;
    tern_status status = cuda_staging_take(d, &d->upload_staging, &slot, err);
    if (status == TERN_OK && w->is_ternary) status = cuda_unpack_rows(d->upload, w, first, count, d->upload_rows, err);
    if (status != TERN_OK) return status;
    const uint8_t *from = w->is_ternary ? d->upload_rows : w->data + first * w->row_bytes;
    cudaError_t e = cudaMemcpy2DAsync(slot, host_bytes, from, w->row_bytes, host_bytes, count, cudaMemcpyDefault,
                                      d->upload->handle);
    if (e == cudaSuccess) e = cudaStreamSynchronize(d->upload->handle);
    status = cuda_check_deferred(d->upload, e, "downloading weights", err);
    if (status == TERN_OK) memcpy(rows, slot, count * host_bytes);
    return status;
}

static tern_status download_long_row(weights *w, uint32_t row, uint8_t *to, tern_error *err)
{
    device *d = w->device;
    size_t n_bytes = stored_row_bytes(w);
    tern_status status = TERN_OK;
    for (size_t done = 0; done < n_bytes && status == TERN_OK; done += CUDA_UPLOAD_SLOT) {
        size_t n = n_bytes - done < CUDA_UPLOAD_SLOT ? n_bytes - done : CUDA_UPLOAD_SLOT;
        uint8_t *slot;
        status = cuda_staging_take(d, &d->upload_staging, &slot, err);
        if (status != TERN_OK) return status;
        const uint8_t *from = w->data + row * w->row_bytes + done;
        cudaError_t e = cudaMemcpyAsync(slot, from, n, cudaMemcpyDefault, d->upload->handle);
        if (e == cudaSuccess) e = cudaStreamSynchronize(d->upload->handle);
        status = cuda_check_deferred(d->upload, e, "downloading weights", err);
        if (status == TERN_OK) memcpy(to + done, slot, n);
    }
    return status;
}

tern_status cuda_weights_download_rows(weights *w, uint32_t first, uint32_t count, uint8_t *rows, tern_error *err)
{
    tern_status status = begin_rows(w, first, count, NULL, err);
    uint32_t step = rows_per_slot(w);
    size_t host_bytes = stored_row_bytes(w);
    for (uint32_t done = 0; done < count && status == TERN_OK;) {
        uint32_t n = step == 0 ? 1 : count - done < step ? count - done : step;
        uint8_t *to = rows + done * host_bytes;
        status = step == 0 ? download_long_row(w, first + done, to, err) : download_piece(w, first + done, n, to, err);
        done += n;
    }
    return status;
}
