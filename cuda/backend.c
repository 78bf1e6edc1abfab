// The CUDA backend's table: devices "cuda0", "cuda1", ... Ops go to the kernels of the .cu files; memory, streams and
// weights have files of their own.
#include <stdio.h>
#include <stdlib.h>

#include "cuda_backend.h"
#include "nvml.h"
#include "scalar_probe.h"

typedef unsigned long long ull; // for printf

// ---- discovery

static void describe_absence(cudaError_t e, char *out, size_t n_bytes)
{
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (e == cudaErrorNoDevice)
        snprintf(out, n_bytes, "cuda: the NVIDIA driver sees no GPU");
    else if (driver == 0)
        snprintf(out, n_bytes, "cuda: no NVIDIA driver (%s)", cudaGetErrorString(e));
    else if (e == cudaErrorInsufficientDriver)
        snprintf(out, n_bytes, "cuda: the NVIDIA driver supports CUDA %d.%d, this build needs %d.%d", driver / 1000,
                 driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    else
        snprintf(out, n_bytes, "cuda: %s", cudaGetErrorString(e));
}

static size_t device_count(const char **note)
{
    static char absence[200];
    int n = 0;
    cudaError_t e = cudaGetDeviceCount(&n);
    *note = "";
    if (e == cudaSuccess && n > 0) return (size_t)n;
    cudaGetLastError();
    describe_absence(e == cudaSuccess ? cudaErrorNoDevice : e, absence, sizeof absence);
    *note = absence;
    return 0;
}

static tern_status check_index(size_t index, tern_error *err)
{
    const char *note;
    size_t n = device_count(&note);
    if (index < n) return TERN_OK;
    return error_set(err, TERN_NO_DEVICE, "CUDA device %llu does not exist, there are %llu", (ull)index, (ull)n);
}

static tern_status device_describe(size_t index, device_facts *out, tern_error *err)
{
    tern_status status = check_index(index, err);
    if (status != TERN_OK) return status;
    struct cudaDeviceProp p;
    cudaError_t e = cudaGetDeviceProperties(&p, (int)index);
    char bus[32] = "";
    if (e == cudaSuccess) e = cudaDeviceGetPCIBusId(bus, sizeof bus, (int)index);
    if (e != cudaSuccess) {
        cudaGetLastError();
        return error_set(err, TERN_INTERNAL, "cuda%d: reading its properties: %s", (int)index, cudaGetErrorString(e));
    }
    // cuBLAS is opened when it is needed (it is large); where it is missing, a float twin is refused at load.
    device_facts facts = {.memory_total = p.totalGlobalMem,
                          .memory_free = p.totalGlobalMem,
                          .blas_name = "cuBLAS GemmEx",
                          .blas_type = DENSE_F16};
    facts.has_fast_attention = cuda_has_fast_attention(10 * p.major + p.minor);
    facts.bytes_open = CUDA_SCRATCH_BYTES + CUDA_UPLOAD_SLOT + CUDA_COUNTERS * sizeof(unsigned);
    facts.bytes_context = CUDA_CONTEXT_BYTES;
    snprintf(facts.name, sizeof facts.name, "cuda%d", (int)index);
    nvml_facts more = {0};
    if (nvml_read(bus, &more)) {
        facts.memory_total = more.memory_total;
        facts.memory_free = more.memory_free;
        snprintf(facts.description, sizeof facts.description, "%.60s, sm_%d%d, %d SMs, %u MHz, driver %s", p.name,
                 p.major, p.minor, p.multiProcessorCount, more.sm_mhz, more.driver);
    } else {
        snprintf(facts.description, sizeof facts.description, "%.60s, sm_%d%d, %d SMs", p.name, p.major, p.minor,
                 p.multiProcessorCount);
        snprintf(facts.note, sizeof facts.note, "memory that others use is not known: NVML is not there");
    }
    *out = facts;
    return TERN_OK;
}

// ---- devices

static void device_close(device *d)
{
    if (d == NULL) return;
    cudaSetDevice(d->index);
    cuda_stream_destroy(d->upload);
    cuda_staging_destroy(&d->upload_staging);
    if (d->uploaded != NULL) cudaEventDestroy(d->uploaded);
    cuda_blas_close(d);
    cudaFree(d->upload_rows);
    cudaFree(d->scratch);
    cudaFree(d->counters);
    if (d->is_lost) cudaDeviceReset(); // nothing on it works any more; a later open starts anew
    cudaGetLastError();
    free(d);
}

static tern_status read_attributes(device *d, tern_error *err)
{
    int major = 0, minor = 0;
    cudaError_t e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, d->index);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, d->index);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&d->n_sms, cudaDevAttrMultiProcessorCount, d->index);
    if (e == cudaSuccess)
        e = cudaDeviceGetAttribute(&d->shared_per_block, cudaDevAttrMaxSharedMemoryPerBlockOptin, d->index);
    d->capability = 10 * major + minor;
    return cuda_check(d, e, "reading its properties", err);
}

// A GPU that the program was not compiled for is told so here, once, and not by the first kernel.
static tern_status check_code(device *d, tern_error *err)
{
    cudaError_t e = cuda_code_check();
    if (e == cudaSuccess) return TERN_OK;
    if (e != cudaErrorNoKernelImageForDevice) return cuda_check(d, e, "looking for its code", err);
    cudaGetLastError();
    return error_set(err, TERN_DEVICE_UNSUPPORTED,
                     "%s is an sm_%d; this build has code for %s. Build again with -DTERN_CUDA_ARCHITECTURES=%d",
                     d->name, d->capability, TERN_CUDA_CODE, d->capability);
}

static tern_status allocate(device *d, size_t n_bytes, void **out, tern_error *err)
{
    return cuda_memory_create(d, n_bytes, "allocating working memory", out, err);
}

static tern_status make_parts(device *d, tern_error *err)
{
    void *scratch = NULL, *rows = NULL, *counters = NULL;
    tern_status status = cuda_stream_create(d, &d->upload, err);
    if (status == TERN_OK) status = cuda_staging_create(d, CUDA_UPLOAD_SLOT, &d->upload_staging, err);
    if (status == TERN_OK)
        status = cuda_check(d, cudaEventCreateWithFlags(&d->uploaded, cudaEventDisableTiming), "creating an event",
                            err);
    if (status == TERN_OK) status = allocate(d, CUDA_SCRATCH_BYTES, &scratch, err);
    d->scratch = scratch;
    if (status == TERN_OK) status = allocate(d, CUDA_UPLOAD_SLOT, &rows, err);
    d->upload_rows = rows;
    if (status == TERN_OK) status = allocate(d, CUDA_COUNTERS * sizeof(unsigned), &counters, err);
    d->counters = counters;
    if (status != TERN_OK) return status;
    d->scratch_bytes = CUDA_SCRATCH_BYTES;
    cudaError_t e = cudaMemsetAsync(d->counters, 0, CUDA_COUNTERS * sizeof(unsigned), d->upload->handle);
    if (e == cudaSuccess) e = cudaStreamSynchronize(d->upload->handle);
    return cuda_check(d, e, "clearing working memory", err);
}

static tern_status device_open(size_t index, const device_options *options, device **out, tern_error *err)
{
    (void)options; // threads are the CPU's
    tern_status status = check_index(index, err);
    if (status != TERN_OK) return status;
    device *d = calloc(1, sizeof *d);
    if (d == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a CUDA device");
    d->index = (int)index;
    snprintf(d->name, sizeof d->name, "cuda%d", d->index);
    status = cuda_enter(d, err);
    if (status == TERN_OK) status = read_attributes(d, err);
    if (status == TERN_OK) status = check_code(d, err);
    if (status == TERN_OK) status = make_parts(d, err);
    if (status != TERN_OK) {
        device_close(d);
        return status;
    }
    *out = d;
    return TERN_OK;
}

static tern_status device_probe(device *d, bool *is_reproducible, tern_error *err)
{
    stream *s = d->upload;
    unsigned sum = 0, *on_device = (unsigned *)(void *)d->upload_rows; // free while nothing is uploaded
    tern_status status = cuda_enter(d, err);
    if (status == TERN_OK)
        status = cuda_check(d, cudaMemsetAsync(on_device, 0, sizeof sum, s->handle), "clearing the probe", err);
    if (status == TERN_OK) status = cuda_probe(s, on_device, err);
    if (status != TERN_OK) return status;
    uint8_t *slot;
    status = cuda_staging_take(d, &d->upload_staging, &slot, err);
    if (status != TERN_OK) return status;
    cudaError_t e = cudaMemcpyAsync(slot, on_device, sizeof sum, cudaMemcpyDeviceToHost, s->handle);
    if (e == cudaSuccess) e = cudaStreamSynchronize(s->handle);
    status = cuda_check_deferred(s, e, "probing its arithmetic", err);
    if (status != TERN_OK) return status;
    memcpy(&sum, slot, sizeof sum);
    *is_reproducible = sum == SCALAR_PROBE_SUM;
    return TERN_OK;
}

static tern_status device_memory(device *d, uint64_t *total, uint64_t *available, tern_error *err)
{
    size_t free_bytes, total_bytes;
    tern_status status = cuda_enter(d, err);
    if (status == TERN_OK) status = cuda_check(d, cudaMemGetInfo(&free_bytes, &total_bytes), "asking for memory", err);
    if (status != TERN_OK) return status;
    *total = total_bytes;
    *available = free_bytes;
    return TERN_OK;
}

static void device_allocated(const device *d, device_usage *out) { *out = d->usage; }

// ---- ops

static size_t buffer_bytes(const buffer *b) { return b->n_bytes; }
static const device *weights_device(const weights *w) { return w->device; }
static uint32_t weights_groups(const weights *w) { return w->n_groups; }
static const operand_access operands = {buffer_bytes, weights_device, cuda_weights_shape, weights_groups};

static const char *refuse(device *d, const op *o)
{
    const char *reason = op_refusal(&operands, o);
    if (reason != NULL) return reason;
    if (o->kind == OP_BLAS_MM || o->kind == OP_BLAS_INT_MM) return cuda_blas_refusal(d, o);
    if (o->kind == OP_DENSE_TOP_K) return OP_DENSE_TOP_K_REFUSAL;
    if (o->kind == OP_FAST_ATTENTION && !cuda_has_fast_attention(d->capability))
        return "fast attention needs the tensor cores of sm_80 or later";
    return NULL;
}

static bool supports(device *d, const op *o, const char **reason)
{
    const char *refusal = refuse(d, o);
    if (refusal != NULL) *reason = refusal;
    return refusal == NULL;
}

static tern_status enqueue(stream *s, const op *o, tern_error *err)
{
    static tern_status (*const launchers[OP_N_KINDS])(stream *, const op *, tern_error *) = {
        [OP_EMBED] = cuda_embed,
        [OP_NORM] = cuda_norm,
        [OP_HEAD_NORM] = cuda_head_norm,
        [OP_NORM_QUANT] = cuda_norm_quant,
        [OP_QUANT] = cuda_quant,
        [OP_QUANT2] = cuda_quant,
        [OP_TERNARY_MM] = cuda_ternary_mm,
        [OP_DENSE_MM] = cuda_dense_mm,
        [OP_ROPE_KV] = cuda_rope_kv,
        [OP_ATTENTION] = cuda_attention,
        [OP_GATE] = cuda_gate,
        [OP_RESIDUAL] = cuda_residual,
        [OP_GATHER] = cuda_gather,
        [OP_TOP_K] = cuda_top_k,
        [OP_BLAS_MM] = cuda_blas_mm,
        [OP_INT_MM] = cuda_int_mm,
        [OP_RESCORE] = cuda_rescore,
        [OP_ADVANCE] = cuda_advance,
        [OP_BLAS_INT_MM] = cuda_blas_int_mm,
        [OP_FAST_ATTENTION] = cuda_attention,
    };
    device *d = s->device;
    const char *refusal = refuse(d, o);
    if (refusal != NULL)
        return error_set(err, TERN_DEVICE_UNSUPPORTED, "%s on %s: %s", op_kind_name(o->kind), d->name, refusal);
    tern_status status = op_check_operands(&operands, d, o, err);
    if (status == TERN_OK) status = cuda_enter(d, err);
    if (status == TERN_OK) status = cuda_stream_follow_uploads(s, err);
    return status == TERN_OK ? launchers[o->kind](s, o, err) : status;
}

const backend cuda_backend = {
    .name = "cuda",
    .api_version = BACKEND_API_VERSION,
    .device_count = device_count,
    .device_describe = device_describe,
    .device_open = device_open,
    .device_close = device_close,
    .device_probe = device_probe,
    .device_memory = device_memory,
    .device_allocated = device_allocated,
    .supports = supports,
    .buffer_create = cuda_buffer_create,
    .buffer_destroy = cuda_buffer_destroy,
    .buffer_write = cuda_buffer_write,
    .buffer_read = cuda_buffer_read,
    .buffer_fill = cuda_buffer_fill,
    .stream_create = cuda_stream_create,
    .stream_destroy = cuda_stream_destroy,
    .stream_sync = cuda_stream_sync,
    .copy_stream_create = cuda_stream_create,
    .stream_wait = cuda_stream_wait,
    .event_create = cuda_event_create,
    .event_destroy = cuda_event_destroy,
    .event_record = cuda_event_record,
    .event_elapsed_ns = cuda_event_elapsed_ns,
    .weights_bytes = cuda_weights_bytes,
    .weights_create = cuda_weights_create,
    .weights_destroy = cuda_weights_destroy,
    .weights_upload_rows = cuda_weights_upload_rows,
    .weights_download_rows = cuda_weights_download_rows,
    .weights_shape = cuda_weights_shape,
    .weights_image = cuda_weights_image,
    .weights_copy = cuda_weights_copy,
    .enqueue = enqueue,
    .graph_begin = cuda_graph_begin,
    .graph_end = cuda_graph_end,
    .graph_launch = cuda_graph_launch,
    .graph_destroy = cuda_graph_destroy,
};
