// Device memory, and moving bytes to and from it.
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "opencl.h"
#include "usage.h"

#ifndef CL_MEM_ALLOW_UNRESTRICTED_SIZE_INTEL
#define CL_MEM_ALLOW_UNRESTRICTED_SIZE_INTEL (1 << 23)
#endif
#define MIB(n) ((unsigned long long)(((n) + (1u << 20) - 1) >> 20))

typedef unsigned long long ull; // for printf

// The memory is filled once: drivers give it out on first use, and a lack of it should show now, not in the middle of a
// run.
static tern_status create(device *d, uint64_t n_bytes, cl_mem_flags place, const char *what, cl_mem *out,
                          tern_error *err)
{
    bool is_large = n_bytes > d->max_alloc;
    if (is_large && !d->traits.is_intel_large)
        return error_set(err, TERN_DEVICE_MEMORY,
                         "%s: %s takes %llu bytes (%llu MiB), the largest buffer of this device is %llu MiB: use fewer "
                         "positions (-c), or a smaller type",
                         d->name, what, (ull)n_bytes, MIB(n_bytes), MIB(d->max_alloc));
    cl_int code;
    cl_mem_flags flags = CL_MEM_READ_WRITE | place | (is_large ? CL_MEM_ALLOW_UNRESTRICTED_SIZE_INTEL : 0);
    cl_mem mem = cl.clCreateBuffer(d->context, flags, (size_t)n_bytes, NULL, &code);
    const cl_uchar zero = 0;
    if (mem != NULL) {
        code = cl.clEnqueueFillBuffer(d->queue, mem, &zero, 1, 0, (size_t)n_bytes, 0, NULL, NULL);
        if (code == CL_SUCCESS) {
            *out = mem;
            return TERN_OK;
        }
        cl.clReleaseMemObject(mem);
    }
    error_set(err, code == CL_OUT_OF_HOST_MEMORY ? TERN_HOST_MEMORY : TERN_DEVICE_MEMORY,
              "%s: no memory for %s of %llu bytes (%llu MiB; %llu MiB are taken, the device has %llu): %s (%d)",
              d->name, what, (ull)n_bytes, MIB(n_bytes), MIB(d->usage.now), MIB(d->memory_total),
              opencl_code_name(code), (int)code);
    return code == CL_OUT_OF_HOST_MEMORY ? TERN_HOST_MEMORY : TERN_DEVICE_MEMORY;
}

tern_status opencl_mem_create(device *d, uint64_t n_bytes, const char *what, cl_mem *out, tern_error *err)
{
    tern_status status = create(d, n_bytes, 0, what, out, err);
    if (status == TERN_OK) usage_take(&d->usage, n_bytes);
    return status;
}

void opencl_mem_destroy(device *d, cl_mem mem, uint64_t n_bytes)
{
    if (mem == NULL) return;
    cl.clReleaseMemObject(mem);
    usage_give(&d->usage, n_bytes);
}

tern_status opencl_pinned_create(device *d, uint64_t n_bytes, const char *what, cl_mem *out, tern_error *err)
{
    tern_status status = create(d, n_bytes, CL_MEM_ALLOC_HOST_PTR, what, out, err);
    if (status == TERN_OK) d->usage.host += n_bytes;
    return status;
}

void opencl_pinned_destroy(device *d, cl_mem mem, uint64_t n_bytes)
{
    if (mem == NULL) return;
    cl.clReleaseMemObject(mem);
    d->usage.host -= n_bytes;
}

tern_status opencl_buffer_create(device *d, size_t n_bytes, buffer **out, tern_error *err)
{
    tern_status status = opencl_check_lost(d, err);
    if (status != TERN_OK) return status;
    if (n_bytes == 0) return error_set(err, TERN_INVALID_ARGUMENT, "a buffer of 0 bytes");
    buffer *b = calloc(1, sizeof *b);
    if (b == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a buffer's descriptor");
    *b = (buffer){.device = d, .n_bytes = n_bytes};
    status = opencl_mem_create(d, n_bytes, "a buffer", &b->mem, err);
    if (status != TERN_OK) {
        free(b);
        return status;
    }
    *out = b;
    return TERN_OK;
}

void opencl_buffer_destroy(buffer *b)
{
    if (b == NULL) return;
    opencl_mem_destroy(b->device, b->mem, b->n_bytes);
    free(b);
}

tern_status opencl_staging_take(device *d, opencl_staging **out, tern_error *err)
{
    opencl_staging *s = &d->staging[d->next_staging];
    if (s->done != NULL) {
        cl_int code = cl.clWaitForEvents(1, &s->done);
        cl.clReleaseEvent(s->done);
        s->done = NULL;
        if (code != CL_SUCCESS) return opencl_error(d, code, TERN_DEVICE_LOST, "waiting for an upload", err);
    }
    d->next_staging = (d->next_staging + 1) % OPENCL_N_STAGING;
    *out = s;
    return TERN_OK;
}

static tern_status check_view(const stream *s, const char *what, view v, size_t n_bytes, tern_error *err)
{
    tern_status status = opencl_check_lost(s->device, err);
    if (status != TERN_OK) return status;
    if (v.buffer == NULL) return error_set(err, TERN_INVALID_ARGUMENT, "%s: no buffer is given", what);
    if (check_range(v.offset, n_bytes, v.buffer->n_bytes)) return TERN_OK;
    return error_set(err, TERN_INVALID_ARGUMENT, "%s: %llu bytes at offset %llu, the buffer has %llu", what,
                     (ull)n_bytes, (ull)v.offset, (ull)v.buffer->n_bytes);
}

static tern_status refuse_recording(const device *d, const char *what, tern_error *err)
{
    if (d->recording == NULL) return TERN_OK;
    return error_set(err, TERN_BAD_STATE, "%s while a graph is recorded on %s", what, d->name);
}

// Through pinned memory, so that the call returns as soon as the bytes are copied there.
tern_status opencl_buffer_write(stream *s, view to, const void *from, size_t n_bytes, tern_error *err)
{
    device *d = s->device;
    tern_status status = check_view(s, "buffer_write", to, n_bytes, err);
    if (status == TERN_OK) status = refuse_recording(d, "buffer_write", err);
    for (size_t done = 0, n; status == TERN_OK && done < n_bytes; done += n) {
        opencl_staging *staging = NULL;
        n = n_bytes - done < OPENCL_STAGING_BYTES ? n_bytes - done : OPENCL_STAGING_BYTES;
        status = opencl_staging_take(d, &staging, err);
        if (status != TERN_OK) return status;
        memcpy(staging->host, (const uint8_t *)from + done, n);
        cl_int code = cl.clEnqueueWriteBuffer(d->queue, to.buffer->mem, CL_FALSE, to.offset + done, n, staging->host, 0,
                                              NULL, &staging->done);
        if (code != CL_SUCCESS) return opencl_error(d, code, TERN_INTERNAL, "writing to a buffer", err);
    }
    return status;
}

tern_status opencl_buffer_read(stream *s, view from, void *to, size_t n_bytes, tern_error *err)
{
    device *d = s->device;
    tern_status status = check_view(s, "buffer_read", from, n_bytes, err);
    if (status == TERN_OK) status = refuse_recording(d, "buffer_read", err);
    if (status != TERN_OK || n_bytes == 0) return status;
    cl_int code = cl.clEnqueueReadBuffer(s->queue, from.buffer->mem, CL_TRUE, from.offset, n_bytes, to, 0, NULL, NULL);
    // An error of an earlier kernel shows here.
    return code == CL_SUCCESS ? TERN_OK : opencl_error(d, code, TERN_DEVICE_LOST, "reading from a buffer", err);
}

// By a kernel, so that a graph can hold it.
tern_status opencl_buffer_fill(stream *s, view to, uint8_t byte, size_t n_bytes, tern_error *err)
{
    tern_status status = check_view(s, "buffer_fill", to, n_bytes, err);
    if (status != TERN_OK || n_bytes == 0) return status;
    launch l = launch_begin(s->device, KERNEL_FILL);
    launch_at(&l, to, 1);
    launch_u64(&l, n_bytes);
    launch_u32(&l, byte);
    return launch_end(&l, (n_bytes + 64 * 16 - 1) / (64 * 16), 1, 1, 64, err);
}
