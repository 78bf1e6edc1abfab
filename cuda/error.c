// CUDA's errors as statuses. The first one that leaves the device unusable (a sticky error) marks it lost.
#include "cuda_backend.h"

#include <stdio.h>

// Errors after which the context answers nothing else until the process ends.
static bool is_sticky(cudaError_t e) { return e >= cudaErrorIllegalAddress && e < cudaErrorStreamCaptureUnsupported; }

static tern_status status_of(cudaError_t e)
{
    if (is_sticky(e)) return TERN_DEVICE_LOST;
    switch (e) {
    case cudaErrorMemoryAllocation: return TERN_DEVICE_MEMORY;
    case cudaErrorNoKernelImageForDevice: return TERN_DEVICE_UNSUPPORTED;
    case cudaErrorInvalidConfiguration:
    case cudaErrorInvalidValue: return TERN_KERNEL_LAUNCH;
    default: return TERN_INTERNAL;
    }
}

// Notes the loss of the device and forgets the error, which the runtime would otherwise report again later.
static tern_status note(device *d, cudaError_t e)
{
    tern_status status = status_of(e);
    if (status == TERN_DEVICE_LOST) d->is_lost = true;
    cudaGetLastError();
    return status;
}

tern_status cuda_check(device *d, cudaError_t e, const char *what, tern_error *err)
{
    if (e == cudaSuccess) return TERN_OK;
    tern_status status = note(d, e);
    if (status == TERN_KERNEL_LAUNCH) status = TERN_INTERNAL; // not a launch
    return error_set(err, status, "%s: %s: %s (%s)", d->name, what, cudaGetErrorString(e), cudaGetErrorName(e));
}

tern_status cuda_enter(device *d, tern_error *err)
{
    if (d->is_lost)
        return error_set(err, TERN_DEVICE_LOST, "%s: an earlier error stopped the device; it must be opened again",
                         d->name);
    return cuda_check(d, cudaSetDevice(d->index), "selecting the device", err);
}

static void describe(char *out, size_t n_bytes, const char *kernel, unsigned x, unsigned y, unsigned z,
                     unsigned n_threads)
{
    snprintf(out, n_bytes, "%s, grid (%u, %u, %u) of %u threads", kernel, x, y, z, n_threads);
}

tern_status cuda_launched(stream *s, const char *kernel, unsigned x, unsigned y, unsigned z, unsigned n_threads)
{
    s->last = (cuda_launch_record){kernel, x, y, z, n_threads};
    return TERN_OK;
}

tern_status cuda_launch_failed(stream *s, const char *kernel, unsigned x, unsigned y, unsigned z, unsigned n_threads,
                               cudaError_t e, tern_error *err)
{
    char text[160];
    describe(text, sizeof text, kernel, x, y, z, n_threads);
    return error_set(err, note(s->device, e), "%s: kernel %s: %s (%s)", s->device->name, text, cudaGetErrorString(e),
                     cudaGetErrorName(e));
}

tern_status cuda_check_deferred(stream *s, cudaError_t e, const char *what, tern_error *err)
{
    if (e == cudaSuccess) return TERN_OK;
    char text[160] = "none";
    if (s->last.kernel != NULL)
        describe(text, sizeof text, s->last.kernel, s->last.x, s->last.y, s->last.z, s->last.n_threads);
    return error_set(err, note(s->device, e), "%s: %s: %s (%s); the last kernel enqueued: %s", s->device->name, what,
                     cudaGetErrorString(e), cudaGetErrorName(e), text);
}
