// Streams, events and graphs.
#include <stdlib.h>

#include "cuda_backend.h"

// ---- streams

tern_status cuda_stream_create(device *d, stream **out, tern_error *err)
{
    tern_status status = cuda_enter(d, err);
    if (status != TERN_OK) return status;
    stream *s = calloc(1, sizeof *s);
    if (s == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a stream");
    s->device = d;
    status = cuda_check(d, cudaStreamCreateWithFlags(&s->handle, cudaStreamNonBlocking), "creating a stream", err);
    if (status == TERN_OK) status = cuda_staging_create(d, CUDA_STREAM_SLOT, &s->staging, err);
    if (status != TERN_OK) {
        cuda_stream_destroy(s);
        return status;
    }
    *out = s;
    return TERN_OK;
}

void cuda_stream_destroy(stream *s)
{
    if (s == NULL) return;
    cudaSetDevice(s->device->index);
    if (s->handle != NULL) {
        if (s->is_capturing) {
            cudaGraph_t unused = NULL;
            if (cudaStreamEndCapture(s->handle, &unused) == cudaSuccess) cudaGraphDestroy(unused);
        }
        cudaStreamSynchronize(s->handle); // its staging may be on its way
    }
    cuda_staging_destroy(&s->staging);
    if (s->handle != NULL) cudaStreamDestroy(s->handle);
    cudaGetLastError();
    free(s);
}

tern_status cuda_stream_sync(stream *s, tern_error *err)
{
    tern_status status = cuda_enter(s->device, err);
    if (status != TERN_OK) return status;
    return cuda_check_deferred(s, cudaStreamSynchronize(s->handle), "waiting for the stream", err);
}

tern_status cuda_stream_wait(stream *s, event *e, tern_error *err)
{
    tern_status status = cuda_enter(s->device, err);
    if (status != TERN_OK || !e->is_recorded) return status;
    return cuda_check_deferred(s, cudaStreamWaitEvent(s->handle, e->handle, 0), "waiting for an event", err);
}

tern_status cuda_stream_follow_uploads(stream *s, tern_error *err)
{
    device *d = s->device;
    if (s->n_uploads == d->n_uploads) return TERN_OK;
    if (s->is_capturing)
        return error_set(err, TERN_BAD_STATE, "%s: weights were uploaded while a graph is captured", d->name);
    tern_status status = cuda_check(d, cudaStreamWaitEvent(s->handle, d->uploaded, 0), "waiting for uploads", err);
    if (status == TERN_OK) s->n_uploads = d->n_uploads;
    return status;
}

// ---- events

tern_status cuda_event_create(device *d, event **out, tern_error *err)
{
    tern_status status = cuda_enter(d, err);
    if (status != TERN_OK) return status;
    event *e = calloc(1, sizeof *e);
    if (e == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for an event");
    e->device = d;
    status = cuda_check(d, cudaEventCreateWithFlags(&e->handle, cudaEventDefault), "creating an event", err);
    if (status != TERN_OK) {
        free(e);
        return status;
    }
    *out = e;
    return TERN_OK;
}

void cuda_event_destroy(event *e)
{
    if (e == NULL) return;
    cudaSetDevice(e->device->index);
    cudaEventDestroy(e->handle);
    cudaGetLastError();
    free(e);
}

tern_status cuda_event_record(stream *s, event *e, tern_error *err)
{
    tern_status status = cuda_enter(s->device, err);
    if (status == TERN_OK)
        status = cuda_check_deferred(s, cudaEventRecord(e->handle, s->handle), "recording an event", err);
    e->is_recorded |= status == TERN_OK;
    return status;
}

tern_status cuda_event_elapsed_ns(event *from, event *to, uint64_t *out, tern_error *err)
{
    if (!from->is_recorded || !to->is_recorded)
        return error_set(err, TERN_BAD_STATE, "event_elapsed_ns: the %s event was never recorded",
                         from->is_recorded ? "second" : "first");
    device *d = to->device;
    tern_status status = cuda_enter(d, err);
    float ms = 0.0f;
    if (status == TERN_OK) status = cuda_check(d, cudaEventSynchronize(to->handle), "waiting for an event", err);
    if (status == TERN_OK)
        status = cuda_check(d, cudaEventElapsedTime(&ms, from->handle, to->handle), "reading events", err);
    if (status == TERN_OK) *out = ms > 0.0f ? (uint64_t)((double)ms * 1e6) : 0;
    return status;
}

// ---- graphs

tern_status cuda_graph_begin(stream *s, tern_error *err)
{
    tern_status status = cuda_enter(s->device, err);
    if (status != TERN_OK) return status;
    if (s->is_capturing) return error_set(err, TERN_BAD_STATE, "graph_begin: the stream is being captured already");
    status = cuda_stream_follow_uploads(s, err);
    if (status != TERN_OK) return status;
    cudaError_t e = cudaStreamBeginCapture(s->handle, cudaStreamCaptureModeThreadLocal);
    status = cuda_check_deferred(s, e, "starting to capture a graph", err);
    s->is_capturing = status == TERN_OK;
    return status;
}

tern_status cuda_graph_end(stream *s, graph **out, tern_error *err)
{
    device *d = s->device;
    tern_status status = cuda_enter(d, err);
    if (status != TERN_OK) return status;
    if (!s->is_capturing) return error_set(err, TERN_BAD_STATE, "graph_end: nothing is being captured");
    s->is_capturing = false;
    cudaGraph_t captured = NULL;
    status = cuda_check(d, cudaStreamEndCapture(s->handle, &captured), "capturing a graph", err);
    if (status != TERN_OK) return status;
    graph *g = calloc(1, sizeof *g);
    if (g == NULL)
        status = error_set(err, TERN_HOST_MEMORY, "no memory for a graph");
    else
        status = cuda_check(d, cudaGraphInstantiate(&g->exec, captured, 0), "instantiating a graph", err);
    cudaGraphDestroy(captured);
    if (status != TERN_OK) {
        free(g);
        return status;
    }
    g->device = d;
    *out = g;
    return TERN_OK;
}

tern_status cuda_graph_launch(stream *s, graph *g, tern_error *err)
{
    tern_status status = cuda_enter(s->device, err);
    if (status == TERN_OK) status = cuda_stream_follow_uploads(s, err);
    if (status != TERN_OK) return status;
    s->last = (cuda_launch_record){"of a graph", 0, 0, 0, 0};
    return cuda_check_deferred(s, cudaGraphLaunch(g->exec, s->handle), "launching a graph", err);
}

void cuda_graph_destroy(graph *g)
{
    if (g == NULL) return;
    cudaSetDevice(g->device->index);
    cudaGraphExecDestroy(g->exec);
    cudaGetLastError();
    free(g);
}
