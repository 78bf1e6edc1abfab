// The runtime of the shim: memory with guards, streams whose work waits until somebody waits for it, events, graphs,
// sticky errors, and allocation failures on demand. One device unless a test says otherwise; one thread of the host.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <vector>

#include "shim.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, n)   ((void)(at), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(at, n) ((void)(at), (void)(n))
#endif

typedef std::function<void()> task;

struct cudaStream {
    std::deque<task> work;
    uint64_t n_queued, n_done; // tasks so far
    bool is_capturing;
    std::vector<task> captured;
};

struct cudaEvent {
    cudaStream *stream;
    uint64_t after; // done when this many tasks of the stream are
    bool is_recorded;
    std::chrono::steady_clock::time_point time;
};

struct cudaGraph {
    std::vector<task> work;
};

struct cudaGraphExec {
    std::vector<task> work;
};

namespace
{

const size_t guard = 256;
const unsigned char guard_byte = 0xa7;
const size_t memory_total = (size_t)8 << 30;

struct allocation {
    unsigned char *base;
    size_t n_bytes;
};

std::map<void *, allocation> allocations;
std::map<const void *, int> allowed_shared;
size_t memory_used;
long n_live, n_allocated, fail_in = -1;
int n_devices = 1, capability = 80, n_sms = 4;
bool must_hang_up;
cudaError_t last_error, sticky;
uint64_t n_launches;

cudaError_t answer(cudaError_t e)
{
    if (sticky != cudaSuccess) e = sticky;
    if (e != cudaSuccess) last_error = e;
    return e;
}

// Counts an allocation; false when it is the one that must fail.
bool may_allocate()
{
    n_allocated++;
    if (fail_in < 0) return true;
    return fail_in-- != 0;
}

void run_all(cudaStream *s, uint64_t until = UINT64_MAX)
{
    while (!s->work.empty() && s->n_done < until) {
        task t = std::move(s->work.front());
        s->work.pop_front();
        if (sticky == cudaSuccess) t();
        s->n_done++;
    }
}

std::vector<cudaStream *> streams;

void run_everything()
{
    for (cudaStream *s : streams) run_all(s);
}

cudaError_t enqueue(cudaStream *s, task t)
{
    if (sticky != cudaSuccess) return answer(sticky);
    if (s == nullptr) return answer(cudaErrorInvalidResourceHandle);
    if (s->is_capturing) {
        s->captured.push_back(std::move(t));
        return cudaSuccess;
    }
    s->work.push_back(std::move(t));
    s->n_queued++;
    return cudaSuccess;
}

} // namespace

// ---- what tests ask

void shim_fail_after(long n) { fail_in = n; }
long shim_live() { return n_live; }
long shim_allocations() { return n_allocated; }
void shim_set_capability(int cc) { capability = cc; }
void shim_set_sms(int n) { n_sms = n; }
void shim_set_devices(int n) { n_devices = n; }
void shim_hang_up() { must_hang_up = true; }
uint64_t shim_launches() { return n_launches; }

void shim_reset()
{
    sticky = last_error = cudaSuccess;
    must_hang_up = false;
}

// ---- errors, devices

cudaError_t cudaDeviceReset()
{
    shim_reset();
    return cudaSuccess;
}

const char *cudaGetErrorName(cudaError_t e)
{
    switch (e) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInitializationError: return "cudaErrorInitializationError";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorNoKernelImageForDevice: return "cudaErrorNoKernelImageForDevice";
    case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorMisalignedAddress: return "cudaErrorMisalignedAddress";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
    }
    return "an error unknown to the shim";
}

const char *cudaGetErrorString(cudaError_t e) { return cudaGetErrorName(e); }

cudaError_t cudaGetLastError()
{
    cudaError_t e = last_error;
    last_error = sticky;
    return e;
}

cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = n_devices < 0 ? 0 : 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *n)
{
    if (n_devices < 0) return answer(cudaErrorInsufficientDriver);
    *n = n_devices;
    return n_devices == 0 ? answer(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *out, int device)
{
    if (device < 0 || device >= n_devices) return answer(cudaErrorInvalidValue);
    *out = cudaDeviceProp();
    std::snprintf(out->name, sizeof out->name, "Shim of sm_%d", capability);
    out->totalGlobalMem = memory_total;
    out->major = capability / 10;
    out->minor = capability % 10;
    out->multiProcessorCount = n_sms;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *out, cudaDeviceAttr attribute, int device)
{
    if (device < 0 || device >= n_devices) return answer(cudaErrorInvalidValue);
    switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerBlock: *out = 48 << 10; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *out = (capability == 75 ? 64 : capability == 90 ? 227 : 99) << 10;
        break;
    case cudaDevAttrMultiProcessorCount: *out = n_sms; break;
    case cudaDevAttrComputeCapabilityMajor: *out = capability / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *out = capability % 10; break;
    case cudaDevAttrL2CacheSize: *out = 4 << 20; break;
    case cudaDevAttrClockRate: *out = 1000000; break;
    case cudaDevAttrMemoryClockRate: *out = 1000000; break;
    case cudaDevAttrGlobalMemoryBusWidth: *out = 128; break;
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *out, int size, int device)
{
    std::snprintf(out, (size_t)size, "0000:%02x:00.0", device);
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return answer(device < n_devices ? cudaSuccess : cudaErrorInvalidValue); }

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    *total = memory_total;
    *available = memory_total - memory_used;
    return answer(cudaSuccess);
}

// ---- memory

static cudaError_t allocate(void **out, size_t n_bytes)
{
    if (sticky != cudaSuccess) return answer(sticky);
    if (n_bytes == 0) return answer(cudaErrorInvalidValue);
    void *base = nullptr;
    if (n_bytes > memory_total - memory_used || !may_allocate() ||
        posix_memalign(&base, guard, n_bytes + 2 * guard) != 0)
        return answer(cudaErrorMemoryAllocation);
    unsigned char *p = static_cast<unsigned char *>(base);
    std::memset(p, guard_byte, guard);
    std::memset(p + guard + n_bytes, guard_byte, guard);
    std::memset(p + guard, 0xff, n_bytes);
    ASAN_POISON_MEMORY_REGION(p, guard);
    ASAN_POISON_MEMORY_REGION(p + guard + n_bytes, guard);
    allocations[p + guard] = {p, n_bytes};
    memory_used += n_bytes;
    n_live++;
    *out = p + guard;
    return cudaSuccess;
}

// Whatever the device still does may use the memory, so that is done first, as cudaFree does.
static cudaError_t release(void *p)
{
    if (p == nullptr) return cudaSuccess;
    run_everything();
    auto at = allocations.find(p);
    if (at == allocations.end()) return answer(cudaErrorInvalidValue);
    allocation a = at->second;
    ASAN_UNPOISON_MEMORY_REGION(a.base, a.n_bytes + 2 * guard);
    for (size_t i = 0; i < guard; i++)
        if (a.base[i] != guard_byte || a.base[guard + a.n_bytes + i] != guard_byte) {
            std::fprintf(stderr, "shim: an allocation of %zu bytes was written outside its bounds\n", a.n_bytes);
            std::abort();
        }
    std::free(a.base);
    memory_used -= a.n_bytes;
    n_live--;
    allocations.erase(at);
    return answer(cudaSuccess);
}

cudaError_t cudaMalloc(void **out, size_t n_bytes) { return allocate(out, n_bytes); }
cudaError_t cudaFree(void *p) { return release(p); }
cudaError_t cudaHostAlloc(void **out, size_t n_bytes, unsigned) { return allocate(out, n_bytes); }
cudaError_t cudaFreeHost(void *p) { return release(p); }

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n_bytes, cudaMemcpyKind, cudaStream_t stream)
{
    return enqueue(stream, [=] { std::memcpy(to, from, n_bytes); });
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind, cudaStream_t stream)
{
    if (to_pitch < width || from_pitch < width) return answer(cudaErrorInvalidValue);
    return enqueue(stream, [=] {
        for (size_t i = 0; i < height; i++)
            std::memcpy(static_cast<char *>(to) + i * to_pitch, static_cast<const char *>(from) + i * from_pitch,
                        width);
    });
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t n_bytes, cudaStream_t stream)
{
    return enqueue(stream, [=] { std::memset(to, byte, n_bytes); });
}

// ---- streams, events

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
    if (sticky != cudaSuccess || !may_allocate()) return answer(cudaErrorMemoryAllocation);
    *out = new cudaStream();
    streams.push_back(*out);
    n_live++;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    run_all(stream);
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == stream) streams.erase(streams.begin() + (std::ptrdiff_t)i--);
    delete stream;
    n_live--;
    return answer(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (stream->is_capturing) return answer(cudaErrorStreamCaptureUnsupported);
    run_all(stream);
    return answer(cudaSuccess);
}

cudaError_t cudaDeviceSynchronize()
{
    run_everything();
    return answer(cudaSuccess);
}

static void wait_for(cudaEvent *e)
{
    for (cudaStream *s : streams) // a stream that is gone is done
        if (s == e->stream) run_all(s, e->after);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    if (stream->is_capturing) return answer(cudaErrorStreamCaptureUnsupported); // the event is none of the capture's
    cudaEvent then = *event;                                                    // as recorded now
    return enqueue(stream, [then]() mutable {
        if (then.is_recorded) wait_for(&then);
    });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned)
{
    if (sticky != cudaSuccess || !may_allocate()) return answer(cudaErrorMemoryAllocation);
    *out = new cudaEvent();
    n_live++;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    run_everything(); // tasks may name it
    delete event;
    n_live--;
    return answer(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    if (stream->is_capturing) return answer(cudaErrorStreamCaptureUnsupported);
    cudaError_t e = enqueue(stream, [event] { event->time = std::chrono::steady_clock::now(); });
    if (e != cudaSuccess) return e;
    event->stream = stream;
    event->after = stream->n_queued;
    event->is_recorded = true;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    if (event->is_recorded) wait_for(event);
    return answer(cudaSuccess);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    if (!from->is_recorded || !to->is_recorded) return answer(cudaErrorInvalidResourceHandle);
    *ms = std::chrono::duration<float, std::milli>(to->time - from->time).count();
    return answer(cudaSuccess);
}

// ---- graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    if (sticky != cudaSuccess) return answer(sticky);
    if (stream->is_capturing) return answer(cudaErrorStreamCaptureUnsupported);
    stream->is_capturing = true;
    stream->captured.clear();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    *out = nullptr;
    if (!stream->is_capturing) return answer(cudaErrorInvalidValue);
    stream->is_capturing = false;
    if (sticky != cudaSuccess || !may_allocate()) return answer(cudaErrorMemoryAllocation);
    *out = new cudaGraph{std::move(stream->captured)};
    n_live++;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long)
{
    if (sticky != cudaSuccess || !may_allocate()) return answer(cudaErrorMemoryAllocation);
    *out = new cudaGraphExec{graph->work};
    n_live++;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    std::vector<task> work = exec->work;
    return enqueue(stream, [work] {
        for (const task &t : work) t();
    });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    n_live--;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    n_live--;
    return answer(cudaSuccess);
}

// ---- kernels

cudaError_t shim_allow_shared(const void *kernel, int n_bytes)
{
    int most = 0;
    cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0);
    if (n_bytes < 0 || n_bytes > most) return answer(cudaErrorInvalidValue);
    allowed_shared[kernel] = n_bytes;
    return cudaSuccess;
}

cudaError_t shim_launch(const cudaLaunchConfig_t *c, const void *kernel, std::function<void()> thread)
{
    uint64_t n_threads = (uint64_t)c->blockDim.x * c->blockDim.y * c->blockDim.z;
    uint64_t n_blocks = (uint64_t)c->gridDim.x * c->gridDim.y * c->gridDim.z;
    auto allowed = allowed_shared.find(kernel);
    size_t most = allowed == allowed_shared.end() ? 48u << 10 : (size_t)allowed->second;
    if (n_threads == 0 || n_threads > 1024 || n_threads % 32 != 0 || n_blocks == 0 || c->gridDim.x > 0x7fffffffu ||
        c->gridDim.y > 65535 || c->gridDim.z > 65535)
        return answer(cudaErrorInvalidConfiguration);
    if (c->dynamicSmemBytes > std::max<size_t>(most, 48u << 10)) return answer(cudaErrorInvalidValue);
    dim3 grid = c->gridDim, block = c->blockDim;
    size_t shared_bytes = c->dynamicSmemBytes;
    return enqueue(c->stream, [grid, block, shared_bytes, thread] {
        if (sticky != cudaSuccess) return;
        n_launches++;
        if (must_hang_up)
            sticky = cudaErrorIllegalAddress;
        else if (!shim_execute(grid, block, shared_bytes, thread))
            sticky = cudaErrorLaunchFailure;
        must_hang_up = false;
    });
}
