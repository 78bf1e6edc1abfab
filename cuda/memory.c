// Buffers, and the pinned staging through which all copies between host and device go: so a caller's memory may be
// reused as soon as a write returns, and the copy itself is asynchronous.
#include <stdlib.h>

#include "check.h"
#include "cuda_backend.h"
#include "usage.h"

typedef unsigned long long ull; // for printf

// ---- memory

tern_status cuda_memory_create(device *d, size_t n_bytes, const char *what, void **out, tern_error *err)
{
    tern_status status = cuda_check(d, cudaMalloc(out, n_bytes), what, err);
    if (status == TERN_OK)
        usage_take(&d->usage, n_bytes);
    else
        error_prefix(err, "%llu bytes", (ull)n_bytes);
    return status;
}

// cudaFree waits for what may still use the memory.
void cuda_memory_destroy(device *d, void *data, size_t n_bytes)
{
    if (data == NULL) return;
    cudaFree(data);
    usage_give(&d->usage, n_bytes);
}

// ---- staging

void cuda_staging_destroy(cuda_staging *staging)
{
    for (int i = 0; i < CUDA_STAGING_SLOTS; i++)
        if (staging->done[i] != NULL) cudaEventDestroy(staging->done[i]);
    cudaFreeHost(staging->data);
    *staging = (cuda_staging){0};
}

tern_status cuda_staging_create(device *d, size_t slot_bytes, cuda_staging *out, tern_error *err)
{
    cuda_staging staging = {.slot_bytes = slot_bytes};
    void *data = NULL;
    cudaError_t e = cudaHostAlloc(&data, CUDA_STAGING_SLOTS * slot_bytes, cudaHostAllocDefault);
    staging.data = data;
    for (int i = 0; i < CUDA_STAGING_SLOTS && e == cudaSuccess; i++)
        e = cudaEventCreateWithFlags(&staging.done[i], cudaEventDisableTiming);
    if (e == cudaSuccess) {
        *out = staging;
        return TERN_OK;
    }
    cuda_staging_destroy(&staging);
    return cuda_check(d, e, "allocating pinned memory", err);
}

tern_status cuda_staging_take(device *d, cuda_staging *staging, uint8_t **out, tern_error *err)
{
    unsigned slot = staging->next;
    if (staging->is_busy[slot]) {
        tern_status status = cuda_check(d, cudaEventSynchronize(staging->done[slot]), "waiting for a copy", err);
        if (status != TERN_OK) return status;
        staging->is_busy[slot] = false;
    }
    *out = staging->data + slot * staging->slot_bytes;
    return TERN_OK;
}

tern_status cuda_staging_sent(device *d, cuda_staging *staging, cudaStream_t on, tern_error *err)
{
    unsigned slot = staging->next;
    tern_status status = cuda_check(d, cudaEventRecord(staging->done[slot], on), "recording a copy", err);
    staging->is_busy[slot] = status == TERN_OK;
    staging->next = (slot + 1) % CUDA_STAGING_SLOTS;
    return status;
}

// ---- buffers

tern_status cuda_buffer_create(device *d, size_t n_bytes, buffer **out, tern_error *err)
{
    if (n_bytes == 0) return error_set(err, TERN_INVALID_ARGUMENT, "a buffer of 0 bytes");
    tern_status status = cuda_enter(d, err);
    if (status != TERN_OK) return status;
    buffer *b = calloc(1, sizeof *b);
    if (b == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a buffer's descriptor");
    void *data = NULL;
    status = cuda_memory_create(d, n_bytes, "allocating a buffer", &data, err);
    if (status != TERN_OK) {
        free(b);
        return status;
    }
    *b = (buffer){.device = d, .data = data, .n_bytes = n_bytes};
    *out = b;
    return TERN_OK;
}

void cuda_buffer_destroy(buffer *b)
{
    if (b == NULL) return;
    cudaSetDevice(b->device->index);
    cuda_memory_destroy(b->device, b->data, b->n_bytes);
    cudaGetLastError(); // of a lost device
    free(b);
}

// What write, read and fill ask first.
static tern_status begin(stream *s, const char *what, view v, size_t n_bytes, tern_error *err)
{
    if (v.buffer == NULL) return error_set(err, TERN_INVALID_ARGUMENT, "%s: no buffer is given", what);
    if (!check_range(v.offset, n_bytes, v.buffer->n_bytes))
        return error_set(err, TERN_INVALID_ARGUMENT, "%s: %llu bytes at offset %llu, the buffer has %llu", what,
                         (ull)n_bytes, (ull)v.offset, (ull)v.buffer->n_bytes);
    return cuda_enter(s->device, err);
}

static tern_status refuse_capture(const stream *s, const char *what, tern_error *err)
{
    if (!s->is_capturing) return TERN_OK;
    return error_set(err, TERN_BAD_STATE, "%s: not while a graph is captured", what);
}

tern_status cuda_buffer_write(stream *s, view to, const void *from, size_t n_bytes, tern_error *err)
{
    tern_status status = begin(s, "buffer_write", to, n_bytes, err);
    if (status == TERN_OK) status = refuse_capture(s, "buffer_write", err);
    const uint8_t *bytes = from;
    for (size_t done = 0; done < n_bytes && status == TERN_OK;) {
        size_t n = n_bytes - done < s->staging.slot_bytes ? n_bytes - done : s->staging.slot_bytes;
        uint8_t *slot;
        status = cuda_staging_take(s->device, &s->staging, &slot, err);
        if (status != TERN_OK) return status;
        memcpy(slot, bytes + done, n);
        cudaError_t e = cudaMemcpyAsync(cuda_at(to) + done, slot, n, cudaMemcpyHostToDevice, s->handle);
        status = cuda_check_deferred(s, e, "writing a buffer", err);
        if (status == TERN_OK) status = cuda_staging_sent(s->device, &s->staging, s->handle, err);
        done += n;
    }
    return status;
}

// Waits for each slot: the bytes must be there on return.
tern_status cuda_buffer_read(stream *s, view from, void *to, size_t n_bytes, tern_error *err)
{
    tern_status status = begin(s, "buffer_read", from, n_bytes, err);
    if (status == TERN_OK) status = refuse_capture(s, "buffer_read", err);
    uint8_t *bytes = to;
    for (size_t done = 0; done < n_bytes && status == TERN_OK;) {
        size_t n = n_bytes - done < s->staging.slot_bytes ? n_bytes - done : s->staging.slot_bytes;
        uint8_t *slot;
        status = cuda_staging_take(s->device, &s->staging, &slot, err);
        if (status != TERN_OK) return status;
        cudaError_t e = cudaMemcpyAsync(slot, cuda_at(from) + done, n, cudaMemcpyDeviceToHost, s->handle);
        if (e == cudaSuccess) e = cudaStreamSynchronize(s->handle);
        status = cuda_check_deferred(s, e, "reading a buffer", err);
        if (status == TERN_OK) memcpy(bytes + done, slot, n);
        done += n;
    }
    return status;
}

tern_status cuda_buffer_fill(stream *s, view to, uint8_t byte, size_t n_bytes, tern_error *err)
{
    tern_status status = begin(s, "buffer_fill", to, n_bytes, err);
    if (status != TERN_OK || n_bytes == 0) return status;
    cudaError_t e = cudaMemsetAsync(cuda_at(to), byte, n_bytes, s->handle);
    return cuda_check_deferred(s, e, "filling a buffer", err);
}
