// The functions of libOpenCL behind counters: what was created and not released, and one call that fails on demand.
#ifndef TERN_TESTS_OPENCL_WATCH_H
#define TERN_TESTS_OPENCL_WATCH_H

#include "support.h"

typedef enum watched {
    WATCH_CONTEXT,
    WATCH_QUEUE,
    WATCH_BUFFER,
    WATCH_SOURCE,
    WATCH_BINARY,
    WATCH_BUILD,
    WATCH_KERNEL,
    WATCH_ARGUMENT,
    WATCH_FILL,
    WATCH_WRITE,
    WATCH_READ,
    WATCH_MAP,
    WATCH_LAUNCH,
    WATCH_FINISH,
    WATCH_WAIT,
    WATCH_MARKER,
    WATCH_COPY,
    WATCH_BARRIER,
    WATCH_COUNT
} watched;

static opencl_api real;                       // the functions themselves
static size_t calls[WATCH_COUNT];             // of each since watch_begin
static long live[WATCH_COUNT], live_events;   // created, not yet released
static watched fault_in;                      // which call fails,
static size_t fault_at;                       // the how manieth of it (0: none),
static cl_int fault_code;                     // and with what
static bool fails_from_then_on, log_is_given; // every later one too; builds that fail have a log

static bool must_fail(watched what)
{
    calls[what]++;
    return fault_at != 0 && what == fault_in &&
           (calls[what] == fault_at || (fails_from_then_on && calls[what] > fault_at));
}

static inline bool fault_happened(void) { return fault_at != 0 && calls[fault_in] >= fault_at; }

#define CREATED(what, call)                                                                                            \
    if (must_fail(what)) {                                                                                             \
        if (code != NULL) *code = fault_code;                                                                          \
        return NULL;                                                                                                   \
    }                                                                                                                  \
    void *created = (call);                                                                                            \
    live[what] += created != NULL;                                                                                     \
    return created

static cl_context create_context(const cl_context_properties *properties, cl_uint n, const cl_device_id *ids,
                                 void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *user,
                                 cl_int *code)
{
    CREATED(WATCH_CONTEXT, real.clCreateContext(properties, n, ids, notify, user, code));
}

static cl_command_queue create_queue(cl_context c, cl_device_id id, cl_command_queue_properties p, cl_int *code)
{
    CREATED(WATCH_QUEUE, real.clCreateCommandQueue(c, id, p, code));
}

static cl_mem create_buffer(cl_context c, cl_mem_flags flags, size_t n_bytes, void *host, cl_int *code)
{
    CREATED(WATCH_BUFFER, real.clCreateBuffer(c, flags, n_bytes, host, code));
}

static cl_program create_source(cl_context c, cl_uint n, const char **text, const size_t *lengths, cl_int *code)
{
    CREATED(WATCH_SOURCE, real.clCreateProgramWithSource(c, n, text, lengths, code));
}

static cl_program create_binary(cl_context c, cl_uint n, const cl_device_id *ids, const size_t *lengths,
                                const unsigned char **binaries, cl_int *status, cl_int *code)
{
    CREATED(WATCH_BINARY, real.clCreateProgramWithBinary(c, n, ids, lengths, binaries, status, code));
}

static cl_kernel create_kernel(cl_program p, const char *name, cl_int *code)
{
    CREATED(WATCH_KERNEL, real.clCreateKernel(p, name, code));
}

#define RELEASE(name, function, type, counter)                                                                         \
    static cl_int name(type x)                                                                                         \
    {                                                                                                                  \
        (counter)--;                                                                                                   \
        return real.function(x);                                                                                       \
    }
RELEASE(release_context, clReleaseContext, cl_context, live[WATCH_CONTEXT])
RELEASE(release_queue, clReleaseCommandQueue, cl_command_queue, live[WATCH_QUEUE])
RELEASE(release_buffer, clReleaseMemObject, cl_mem, live[WATCH_BUFFER])
RELEASE(release_program, clReleaseProgram, cl_program, live[WATCH_SOURCE]) // and those made of binaries
RELEASE(release_kernel, clReleaseKernel, cl_kernel, live[WATCH_KERNEL])
RELEASE(release_event, clReleaseEvent, cl_event, live_events)

static cl_int build(cl_program p, cl_uint n, const cl_device_id *ids, const char *options,
                    void(CL_CALLBACK *notify)(cl_program, void *), void *user)
{
    return must_fail(WATCH_BUILD) ? fault_code : real.clBuildProgram(p, n, ids, options, notify, user);
}

static cl_int build_info(cl_program p, cl_device_id id, cl_program_build_info what, size_t n, void *out, size_t *n_out)
{
    static const char log[] = "input.cl:7:1: error: the test\nforbids it";
    if (!log_is_given) return real.clGetProgramBuildInfo(p, id, what, n, out, n_out);
    if (n_out != NULL) *n_out = sizeof log;
    if (out != NULL) memcpy(out, log, n < sizeof log ? n : sizeof log);
    return CL_SUCCESS;
}

static cl_int set_argument(cl_kernel k, cl_uint i, size_t n, const void *x)
{
    return must_fail(WATCH_ARGUMENT) ? fault_code : real.clSetKernelArg(k, i, n, x);
}

// Commands that may give an event.
static cl_int counted(cl_int code, const cl_event *done)
{
    live_events += code == CL_SUCCESS && done != NULL;
    return code;
}

static cl_int fill(cl_command_queue q, cl_mem m, const void *pattern, size_t n_pattern, size_t at, size_t n,
                   cl_uint n_wait, const cl_event *wait, cl_event *done)
{
    if (must_fail(WATCH_FILL)) return fault_code;
    return counted(real.clEnqueueFillBuffer(q, m, pattern, n_pattern, at, n, n_wait, wait, done), done);
}

static cl_int write_bytes(cl_command_queue q, cl_mem m, cl_bool blocks, size_t at, size_t n, const void *from,
                          cl_uint n_wait, const cl_event *wait, cl_event *done)
{
    if (must_fail(WATCH_WRITE)) return fault_code;
    return counted(real.clEnqueueWriteBuffer(q, m, blocks, at, n, from, n_wait, wait, done), done);
}

static cl_int read_bytes(cl_command_queue q, cl_mem m, cl_bool blocks, size_t at, size_t n, void *to, cl_uint n_wait,
                         const cl_event *wait, cl_event *done)
{
    if (must_fail(WATCH_READ)) return fault_code;
    return counted(real.clEnqueueReadBuffer(q, m, blocks, at, n, to, n_wait, wait, done), done);
}

static void *map(cl_command_queue q, cl_mem m, cl_bool blocks, cl_map_flags flags, size_t at, size_t n, cl_uint n_wait,
                 const cl_event *wait, cl_event *done, cl_int *code)
{
    CREATED(WATCH_MAP, real.clEnqueueMapBuffer(q, m, blocks, flags, at, n, n_wait, wait, done, code));
}

static cl_int unmap(cl_command_queue q, cl_mem m, void *host, cl_uint n_wait, const cl_event *wait, cl_event *done)
{
    live[WATCH_MAP]--;
    return real.clEnqueueUnmapMemObject(q, m, host, n_wait, wait, done);
}

static cl_int launch_kernel(cl_command_queue q, cl_kernel k, cl_uint n_dims, const size_t *offset, const size_t *global,
                            const size_t *local, cl_uint n_wait, const cl_event *wait, cl_event *done)
{
    if (must_fail(WATCH_LAUNCH)) return fault_code;
    return counted(real.clEnqueueNDRangeKernel(q, k, n_dims, offset, global, local, n_wait, wait, done), done);
}

static cl_int marker(cl_command_queue q, cl_uint n_wait, const cl_event *wait, cl_event *done)
{
    if (must_fail(WATCH_MARKER)) return fault_code;
    return counted(real.clEnqueueMarkerWithWaitList(q, n_wait, wait, done), done);
}

static cl_int copy(cl_command_queue q, cl_mem from, cl_mem to, size_t from_at, size_t to_at, size_t n, cl_uint n_wait,
                   const cl_event *wait, cl_event *done)
{
    if (must_fail(WATCH_COPY)) return fault_code;
    return counted(real.clEnqueueCopyBuffer(q, from, to, from_at, to_at, n, n_wait, wait, done), done);
}

static cl_int barrier(cl_command_queue q, cl_uint n_wait, const cl_event *wait, cl_event *done)
{
    if (must_fail(WATCH_BARRIER)) return fault_code;
    return counted(real.clEnqueueBarrierWithWaitList(q, n_wait, wait, done), done);
}

static cl_int finish(cl_command_queue q) { return must_fail(WATCH_FINISH) ? fault_code : real.clFinish(q); }

static cl_int wait_for(cl_uint n, const cl_event *events)
{
    return must_fail(WATCH_WAIT) ? fault_code : real.clWaitForEvents(n, events);
}

static void watch_begin(void)
{
    memset(calls, 0, sizeof calls);
    memset(live, 0, sizeof live);
    live_events = 0;
    fault_at = 0;
    fails_from_then_on = log_is_given = false;
    if (real.clFinish == NULL) real = cl;
    cl.clCreateContext = create_context;
    cl.clReleaseContext = release_context;
    cl.clCreateCommandQueue = create_queue;
    cl.clReleaseCommandQueue = release_queue;
    cl.clCreateBuffer = create_buffer;
    cl.clReleaseMemObject = release_buffer;
    cl.clCreateProgramWithSource = create_source;
    cl.clCreateProgramWithBinary = create_binary;
    cl.clReleaseProgram = release_program;
    cl.clBuildProgram = build;
    cl.clGetProgramBuildInfo = build_info;
    cl.clCreateKernel = create_kernel;
    cl.clReleaseKernel = release_kernel;
    cl.clSetKernelArg = set_argument;
    cl.clEnqueueFillBuffer = fill;
    cl.clEnqueueWriteBuffer = write_bytes;
    cl.clEnqueueReadBuffer = read_bytes;
    cl.clEnqueueMapBuffer = map;
    cl.clEnqueueUnmapMemObject = unmap;
    cl.clEnqueueNDRangeKernel = launch_kernel;
    cl.clEnqueueMarkerWithWaitList = marker;
    cl.clEnqueueCopyBuffer = copy;
    cl.clEnqueueBarrierWithWaitList = barrier;
    cl.clFinish = finish;
    cl.clWaitForEvents = wait_for;
    cl.clReleaseEvent = release_event;
}

// From now on the n-th call of a function fails.
static void watch_fault(watched what, size_t n, cl_int code)
{
    fault_in = what;
    fault_at = calls[what] + n;
    fault_code = code;
}

static void watch_end(void)
{
    if (real.clFinish != NULL) cl = real;
}

// Nothing that was created since watch_begin is left.
static void assert_nothing_left(void)
{
    live[WATCH_SOURCE] += live[WATCH_BINARY];
    live[WATCH_BINARY] = 0;
    for (int what = 0; what < WATCH_COUNT; what++)
        if (live[what] != 0) fail_msg("%ld objects of kind %d are left behind", live[what], what);
    if (live_events != 0) fail_msg("%ld events are left behind", live_events);
}

static int end_watch(void **state)
{
    (void)state;
    watch_end();
    return 0;
}

#endif
