// The CPU backend's table: devices "cpu" and "cpuref". Memory is host memory, streams run each op to its end when it is
// enqueued, so everything on a stream is done when a call returns.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "cpu.h"
#include "fpenv.h"
#include "kernels.h"
#include "op_check.h"
#include "scalar_probe.h"
#include "team.h"
#include "usage.h"

#define DEVICE_FAST      0
#define DEVICE_REFERENCE 1
#define N_DEVICES        2
#define MAX_THREADS      1024

struct event {
    bool is_recorded;
    uint64_t ns;
};

typedef unsigned long long ull; // for printf

// ---- devices

static size_t device_count(const char **note)
{
    *note = "";
    return N_DEVICES;
}

static tern_status check_index(size_t index, tern_error *err)
{
    if (index < N_DEVICES) return TERN_OK;
    return error_set(err, TERN_NO_DEVICE, "CPU device %llu does not exist, there are %d", (ull)index, N_DEVICES);
}

static tern_status device_describe(size_t index, device_facts *out, tern_error *err)
{
    tern_status status = check_index(index, err);
    if (status != TERN_OK) return status;
    device_facts facts = {.is_reference = index == DEVICE_REFERENCE,
                          .is_chosen_only_by_name = index == DEVICE_REFERENCE,
                          .is_in_memory = true};
    char name[80];
    machine_cpu_name(name, sizeof name);
    if (facts.is_reference) {
        facts.n_threads = 1;
        snprintf(facts.name, sizeof facts.name, "cpuref");
        snprintf(facts.description, sizeof facts.description, "%s, 1 thread, reference", name);
        snprintf(facts.note, sizeof facts.note, "slow and obvious by design: what other devices are compared with");
    } else {
        int n_threads = machine_threads();
        facts.n_threads = (uint32_t)n_threads;
        snprintf(facts.name, sizeof facts.name, "cpu");
        snprintf(facts.description, sizeof facts.description, "%s, %d thread%s, %s", name, n_threads,
                 n_threads == 1 ? "" : "s", cpu_kernels_select()->name);
    }
    machine_memory(&facts.memory_total, &facts.memory_free);
    *out = facts;
    return TERN_OK;
}

static void device_close(device *d)
{
    if (d == NULL) return;
    team_destroy(d->team);
    free(d->scratch);
    free(d);
}

static tern_status device_open(size_t index, const device_options *options, device **out, tern_error *err)
{
    tern_status status = check_index(index, err);
    if (status != TERN_OK) return status;
    uint32_t n_threads = options == NULL ? 0 : options->n_threads;
    if (n_threads > MAX_THREADS)
        return error_set(err, TERN_INVALID_ARGUMENT, "%u threads asked for, at most %d are used", n_threads,
                         MAX_THREADS);
    device *d = calloc(1, sizeof *d);
    if (d == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a CPU device");
    d->is_reference = index == DEVICE_REFERENCE;
    d->n_threads = 1;
    if (!d->is_reference) {
        d->n_threads = n_threads != 0 ? (int)n_threads : machine_threads();
        if (d->n_threads > MAX_THREADS) d->n_threads = MAX_THREADS;
        d->kernels = cpu_kernels_select();
        status = team_create((uint32_t)d->n_threads, &d->team, err);
        if (status != TERN_OK) {
            device_close(d);
            return status;
        }
    }
    *out = d;
    return TERN_OK;
}

// Whether this build computes the defined bits: compilers and their flags can spoil that.
static tern_status device_probe(device *d, bool *is_reproducible, tern_error *err)
{
    (void)d, (void)err;
    fp_env env = fp_env_enter();
    scalar_u32 sum = 0;
    for (scalar_u32 i = 0; i < SCALAR_PROBE_N; i++) sum += scalar_probe_value(i);
    fp_env_leave(env);
    *is_reproducible = sum == SCALAR_PROBE_SUM;
    return TERN_OK;
}

static tern_status device_memory(device *d, uint64_t *total, uint64_t *available, tern_error *err)
{
    (void)d, (void)err;
    machine_memory(total, available);
    return TERN_OK;
}

static void device_allocated(const device *d, device_usage *out) { *out = d->usage; }

static size_t buffer_bytes(const buffer *b) { return b->n_bytes; }
static const device *weights_device(const weights *w) { return w->device; }
static uint32_t weights_groups(const weights *w) { return w->scale.n_groups; }
static const operand_access operands = {buffer_bytes, weights_device, cpu_weights_shape, weights_groups};

static const char *refuse(const op *o)
{
    if (o->kind == OP_BLAS_MM || o->kind == OP_BLAS_INT_MM) return "there is no BLAS library behind the CPU backend";
    if (o->kind == OP_FAST_ATTENTION) return "fast attention is for tensor cores, which the CPU has not";
    return op_refusal(&operands, o);
}

static bool supports(device *d, const op *o, const char **reason)
{
    (void)d;
    const char *refusal = refuse(o);
    if (refusal != NULL) *reason = refusal;
    return refusal == NULL;
}

// ---- buffers

static tern_status buffer_create(device *d, size_t n_bytes, buffer **out, tern_error *err)
{
    if (n_bytes == 0) return error_set(err, TERN_INVALID_ARGUMENT, "a buffer of 0 bytes");
    buffer *b = calloc(1, sizeof *b);
    if (b == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a buffer's descriptor");
    tern_status status = machine_allocate(n_bytes, "a buffer", &b->data, err);
    if (status != TERN_OK) {
        free(b);
        return status;
    }
    b->device = d;
    b->n_bytes = n_bytes;
    usage_take(&d->usage, n_bytes);
    *out = b;
    return TERN_OK;
}

static void buffer_destroy(buffer *b)
{
    if (b == NULL) return;
    usage_give(&b->device->usage, b->n_bytes);
    free(b->data);
    free(b);
}

static tern_status check_view(const char *what, view v, size_t n_bytes, tern_error *err)
{
    if (v.buffer == NULL) return error_set(err, TERN_INVALID_ARGUMENT, "%s: no buffer is given", what);
    if (check_range(v.offset, n_bytes, v.buffer->n_bytes)) return TERN_OK;
    return error_set(err, TERN_INVALID_ARGUMENT, "%s: %llu bytes at offset %llu, the buffer has %llu", what,
                     (ull)n_bytes, (ull)v.offset, (ull)v.buffer->n_bytes);
}

static tern_status buffer_write(stream *s, view to, const void *from, size_t n_bytes, tern_error *err)
{
    (void)s;
    tern_status status = check_view("buffer_write", to, n_bytes, err);
    if (status == TERN_OK && n_bytes != 0) memcpy(cpu_at(to), from, n_bytes);
    return status;
}

static tern_status buffer_read(stream *s, view from, void *to, size_t n_bytes, tern_error *err)
{
    (void)s;
    tern_status status = check_view("buffer_read", from, n_bytes, err);
    if (status == TERN_OK && n_bytes != 0) memcpy(to, cpu_at(from), n_bytes);
    return status;
}

static tern_status buffer_fill(stream *s, view to, uint8_t byte, size_t n_bytes, tern_error *err)
{
    (void)s;
    tern_status status = check_view("buffer_fill", to, n_bytes, err);
    if (status == TERN_OK) memset(cpu_at(to), byte, n_bytes);
    return status;
}

// ---- streams, events

static tern_status stream_create(device *d, stream **out, tern_error *err)
{
    stream *s = calloc(1, sizeof *s);
    if (s == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a stream");
    s->device = d;
    *out = s;
    return TERN_OK;
}

static void stream_destroy(stream *s) { free(s); }

static tern_status stream_sync(stream *s, tern_error *err)
{
    (void)s, (void)err;
    return TERN_OK;
}

// Whatever an event stands for is over.
static tern_status stream_wait(stream *s, event *e, tern_error *err)
{
    (void)s, (void)e, (void)err;
    return TERN_OK;
}

static tern_status event_create(device *d, event **out, tern_error *err)
{
    (void)d;
    event *e = calloc(1, sizeof *e);
    if (e == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for an event");
    *out = e;
    return TERN_OK;
}

static void event_destroy(event *e) { free(e); }

static tern_status event_record(stream *s, event *e, tern_error *err)
{
    (void)s, (void)err;
    e->ns = clock_ns();
    e->is_recorded = true;
    return TERN_OK;
}

static tern_status event_elapsed_ns(event *from, event *to, uint64_t *out, tern_error *err)
{
    if (!from->is_recorded || !to->is_recorded)
        return error_set(err, TERN_BAD_STATE, "event_elapsed_ns: the %s event was never recorded",
                         from->is_recorded ? "second" : "first");
    *out = to->ns > from->ns ? to->ns - from->ns : 0;
    return TERN_OK;
}

// ---- ops, graphs

static tern_status enqueue(stream *s, const op *o, tern_error *err)
{
    const device *d = s->device;
    const char *refusal = refuse(o);
    if (refusal != NULL)
        return error_set(err, TERN_DEVICE_UNSUPPORTED, "%s on %s: %s", op_kind_name(o->kind),
                         d->is_reference ? "cpuref" : "cpu", refusal);
    tern_status status = op_check_operands(&operands, d, o, err);
    if (status == TERN_OK) status = cpu_check_indices(o, err);
    if (status != TERN_OK) return status;
    fp_env env = fp_env_enter();
    (d->is_reference ? cpu_reference_ops : cpu_fast_ops)[o->kind](d, o);
    fp_env_leave(env);
    return TERN_OK;
}

static tern_status no_graphs(tern_error *err)
{
    return error_set(err, TERN_DEVICE_UNSUPPORTED, "the CPU has no graphs; enqueue the ops each time");
}

static tern_status graph_begin(stream *s, tern_error *err)
{
    (void)s;
    return no_graphs(err);
}

static tern_status graph_end(stream *s, graph **out, tern_error *err)
{
    (void)s, (void)out;
    return no_graphs(err);
}

static tern_status graph_launch(stream *s, graph *g, tern_error *err)
{
    (void)s, (void)g;
    return no_graphs(err);
}

static void graph_destroy(graph *g) { (void)g; }

const backend cpu_backend = {
    .name = "cpu",
    .api_version = BACKEND_API_VERSION,
    .is_synchronous = true,
    .device_count = device_count,
    .device_describe = device_describe,
    .device_open = device_open,
    .device_close = device_close,
    .device_probe = device_probe,
    .device_memory = device_memory,
    .device_allocated = device_allocated,
    .supports = supports,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_write = buffer_write,
    .buffer_read = buffer_read,
    .buffer_fill = buffer_fill,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .stream_sync = stream_sync,
    .copy_stream_create = stream_create,
    .stream_wait = stream_wait,
    .event_create = event_create,
    .event_destroy = event_destroy,
    .event_record = event_record,
    .event_elapsed_ns = event_elapsed_ns,
    .weights_bytes = cpu_weights_bytes,
    .weights_create = cpu_weights_create,
    .weights_destroy = cpu_weights_destroy,
    .weights_upload_rows = cpu_weights_upload_rows,
    .weights_download_rows = cpu_weights_download_rows,
    .weights_shape = cpu_weights_shape,
    .weights_image = cpu_weights_image,
    .weights_copy = cpu_weights_copy,
    .enqueue = enqueue,
    .graph_begin = graph_begin,
    .graph_end = graph_end,
    .graph_launch = graph_launch,
    .graph_destroy = graph_destroy,
};
