// The OpenCL backend's table. One in-order queue a device serves all its streams, so everything happens in the order it
// was asked for; only streams for copies have a queue of their own.
#include <stdlib.h>

#include "opencl.h"

struct event {
    device *device;
    cl_event marker;
    cl_command_queue queue; // that the marker is in
};

static tern_status device_memory(device *d, uint64_t *total, uint64_t *available, tern_error *err)
{
    (void)err;
    *total = d->memory_total;
    *available = d->memory_total > d->usage.now ? d->memory_total - d->usage.now : 0;
    return TERN_OK;
}

static void device_allocated(const device *d, device_usage *out) { *out = d->usage; }

// ---- capability

static size_t buffer_bytes(const buffer *b) { return b->n_bytes; }
static const device *weights_device(const weights *w) { return w->device; }
static uint32_t weights_groups(const weights *w) { return w->n_groups; }
static const operand_access operands = {buffer_bytes, weights_device, opencl_weights_shape, weights_groups};

static const char *refuse(const device *d, const op *o)
{
    const char *reason = op_refusal(&operands, o);
    if (reason == NULL && o->kind == OP_BLAS_INT_MM) return "the OpenCL BLAS has no integer products";
    if (o->kind == OP_DENSE_TOP_K) return OP_DENSE_TOP_K_REFUSAL;
    if (o->kind == OP_FAST_ATTENTION) return "fast attention is for tensor cores, which OpenCL does not reach";
    return reason == NULL && o->kind == OP_BLAS_MM ? opencl_blas_refusal(d, o->dense_mm.w) : reason;
}

static bool supports(device *d, const op *o, const char **reason)
{
    const char *refusal = refuse(d, o);
    if (refusal != NULL) *reason = refusal;
    return refusal == NULL;
}

// ---- streams, events

static tern_status stream_create(device *d, stream **out, tern_error *err)
{
    stream *s = calloc(1, sizeof *s);
    if (s == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a stream");
    s->device = d;
    s->queue = d->queue;
    *out = s;
    return TERN_OK;
}

static tern_status copy_stream_create(device *d, stream **out, tern_error *err)
{
    cl_int code;
    tern_status status = opencl_check_lost(d, err);
    stream *s = NULL;
    if (status == TERN_OK) status = stream_create(d, &s, err);
    if (status != TERN_OK) return status;
    s->queue = cl.clCreateCommandQueue(d->context, d->cl_device.id, CL_QUEUE_PROFILING_ENABLE, &code);
    if (s->queue == NULL) {
        free(s);
        return opencl_error(d, code, TERN_NO_DEVICE, "creating a queue", err);
    }
    *out = s;
    return TERN_OK;
}

static void stream_destroy(stream *s)
{
    if (s == NULL) return;
    if (s->queue != s->device->queue) {
        cl.clFinish(s->queue);
        cl.clReleaseCommandQueue(s->queue);
    }
    free(s);
}

static tern_status stream_sync(stream *s, tern_error *err)
{
    tern_status status = opencl_check_lost(s->device, err);
    if (status != TERN_OK) return status;
    cl_int code = cl.clFinish(s->queue);
    return code == CL_SUCCESS ? TERN_OK
                              : opencl_error(s->device, code, TERN_DEVICE_LOST, "waiting for the device", err);
}

// Commands of another queue that are waited for must have been handed to the device.
static tern_status stream_wait(stream *s, event *e, tern_error *err)
{
    device *d = s->device;
    tern_status status = opencl_check_lost(d, err);
    if (status != TERN_OK || e->marker == NULL) return status;
    cl_int code = cl.clFlush(e->queue);
    if (code == CL_SUCCESS) code = cl.clEnqueueBarrierWithWaitList(s->queue, 1, &e->marker, NULL);
    return code == CL_SUCCESS ? TERN_OK : opencl_error(d, code, TERN_INTERNAL, "waiting for an event", err);
}

static void release_marker(event *e)
{
    if (e->marker != NULL) cl.clReleaseEvent(e->marker);
    e->marker = NULL;
}

static tern_status event_create(device *d, event **out, tern_error *err)
{
    event *e = calloc(1, sizeof *e);
    if (e == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for an event");
    e->device = d;
    *out = e;
    return TERN_OK;
}

static void event_destroy(event *e)
{
    if (e == NULL) return;
    release_marker(e);
    free(e);
}

static tern_status event_record(stream *s, event *e, tern_error *err)
{
    tern_status status = opencl_check_lost(s->device, err);
    if (status != TERN_OK) return status;
    release_marker(e);
    cl_int code = cl.clEnqueueMarkerWithWaitList(s->queue, 0, NULL, &e->marker);
    e->queue = s->queue;
    return code == CL_SUCCESS ? TERN_OK : opencl_error(s->device, code, TERN_INTERNAL, "recording an event", err);
}

static tern_status event_elapsed_ns(event *from, event *to, uint64_t *out, tern_error *err)
{
    if (from->marker == NULL || to->marker == NULL)
        return error_set(err, TERN_BAD_STATE, "event_elapsed_ns: the %s event was never recorded",
                         from->marker != NULL ? "second" : "first");
    const cl_event both[] = {from->marker, to->marker};
    cl_ulong begin = 0, end = 0;
    cl_int code = cl.clWaitForEvents(2, both);
    if (code != CL_SUCCESS) return opencl_error(to->device, code, TERN_DEVICE_LOST, "waiting for an event", err);
    code = cl.clGetEventProfilingInfo(from->marker, CL_PROFILING_COMMAND_END, sizeof begin, &begin, NULL);
    if (code == CL_SUCCESS)
        code = cl.clGetEventProfilingInfo(to->marker, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL);
    if (code != CL_SUCCESS) return opencl_error(to->device, code, TERN_INTERNAL, "reading an event's time", err);
    *out = end > begin ? end - begin : 0;
    return TERN_OK;
}

// ---- ops

static tern_status enqueue(stream *s, const op *o, tern_error *err)
{
    device *d = s->device;
    tern_status status = opencl_check_lost(d, err);
    if (status != TERN_OK) return status;
    const char *refusal = refuse(d, o);
    if (refusal != NULL)
        return error_set(err, TERN_DEVICE_UNSUPPORTED, "%s on %s: %s", op_kind_name(o->kind), d->name, refusal);
    status = op_check_operands(&operands, d, o, err);
    return status == TERN_OK ? opencl_ops[o->kind](d, o, err) : status;
}

const backend opencl_backend = {
    .name = "opencl",
    .api_version = BACKEND_API_VERSION,
    .device_count = opencl_device_count,
    .device_describe = opencl_device_describe,
    .device_open = opencl_device_open,
    .device_close = opencl_device_close,
    .device_probe = opencl_device_probe,
    .device_memory = device_memory,
    .device_allocated = device_allocated,
    .supports = supports,
    .buffer_create = opencl_buffer_create,
    .buffer_destroy = opencl_buffer_destroy,
    .buffer_write = opencl_buffer_write,
    .buffer_read = opencl_buffer_read,
    .buffer_fill = opencl_buffer_fill,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .stream_sync = stream_sync,
    .copy_stream_create = copy_stream_create,
    .stream_wait = stream_wait,
    .event_create = event_create,
    .event_destroy = event_destroy,
    .event_record = event_record,
    .event_elapsed_ns = event_elapsed_ns,
    .weights_bytes = opencl_weights_bytes,
    .weights_create = opencl_weights_create,
    .weights_destroy = opencl_weights_destroy,
    .weights_upload_rows = opencl_weights_upload_rows,
    .weights_download_rows = opencl_weights_download_rows,
    .weights_shape = opencl_weights_shape,
    .weights_image = opencl_weights_image,
    .weights_copy = opencl_weights_copy,
    .enqueue = enqueue,
    .graph_begin = opencl_graph_begin,
    .graph_end = opencl_graph_end,
    .graph_launch = opencl_graph_launch,
    .graph_destroy = opencl_graph_destroy,
};
