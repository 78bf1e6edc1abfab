// Graphs through cl_khr_command_buffer, where the device offers it: a step's kernels recorded once, enqueued by one
// call.
#include <stdlib.h>

#include "opencl.h"

// The entry points, with the parts of their signatures that all versions of the extension share (the properties of a
// kernel command, whose type changed, are never given).
struct opencl_commands {
    cl_command_buffer_khr(CL_API_CALL *create)(cl_uint, const cl_command_queue *, const void *, cl_int *);
    cl_int(CL_API_CALL *finalize)(cl_command_buffer_khr);
    cl_int(CL_API_CALL *release)(cl_command_buffer_khr);
    cl_int(CL_API_CALL *enqueue)(cl_uint, cl_command_queue *, cl_command_buffer_khr, cl_uint, const cl_event *,
                                 cl_event *);
    cl_int(CL_API_CALL *kernel)(cl_command_buffer_khr, cl_command_queue, const void *, cl_kernel, cl_uint,
                                const size_t *, const size_t *, const size_t *, cl_uint, const cl_sync_point_khr *,
                                cl_sync_point_khr *, void *);
};

struct graph {
    device *device;
    cl_command_buffer_khr commands;
    bool can_overlap;       // may be launched again before its last launch is done
    cl_event launched;      // otherwise: the last launch
    cl_sync_point_khr last; // every command waits for the one before
    bool has_last;
    cl_kernel *kernels; // one a call
    size_t n_kernels, capacity;
};

const opencl_commands *opencl_commands_load(const opencl_device *from)
{
    static opencl_commands
        commands; // the same entry points for all devices of a platform; a failed load is tried again
    cl_platform_id p = from->platform;
    opencl_commands c;
    *(void **)&c.create = cl.clGetExtensionFunctionAddressForPlatform(p, "clCreateCommandBufferKHR");
    *(void **)&c.finalize = cl.clGetExtensionFunctionAddressForPlatform(p, "clFinalizeCommandBufferKHR");
    *(void **)&c.release = cl.clGetExtensionFunctionAddressForPlatform(p, "clReleaseCommandBufferKHR");
    *(void **)&c.enqueue = cl.clGetExtensionFunctionAddressForPlatform(p, "clEnqueueCommandBufferKHR");
    *(void **)&c.kernel = cl.clGetExtensionFunctionAddressForPlatform(p, "clCommandNDRangeKernelKHR");
    if (c.create == NULL || c.finalize == NULL || c.release == NULL || c.enqueue == NULL || c.kernel == NULL)
        return NULL;
    commands = c;
    return &commands;
}

// A recorded call should keep the arguments its kernel had then, but PoCL 3.1 looks at them when the call runs. So each
// call gets a kernel object of its own.
cl_int opencl_graph_own_kernel(graph *g, cl_kernel kernel, cl_kernel *out)
{
    char name[64];
    cl_program program;
    if (g->n_kernels == g->capacity) {
        size_t capacity = g->capacity == 0 ? 256 : 2 * g->capacity;
        cl_kernel *kernels = realloc(g->kernels, capacity * sizeof(cl_kernel));
        if (kernels == NULL) return CL_OUT_OF_HOST_MEMORY;
        g->kernels = kernels;
        g->capacity = capacity;
    }
    cl_int code = cl.clGetKernelInfo(kernel, CL_KERNEL_FUNCTION_NAME, sizeof name, name, NULL);
    if (code == CL_SUCCESS) code = cl.clGetKernelInfo(kernel, CL_KERNEL_PROGRAM, sizeof program, &program, NULL);
    if (code != CL_SUCCESS) return code;
    *out = cl.clCreateKernel(program, name, &code);
    if (*out != NULL) g->kernels[g->n_kernels++] = *out;
    return code;
}

cl_int opencl_graph_add_kernel(graph *g, cl_kernel kernel, const size_t global[3], const size_t local[3])
{
    cl_sync_point_khr point;
    cl_int code = g->device->commands->kernel(g->commands, NULL, NULL, kernel, 3, NULL, global, local, g->has_last,
                                              g->has_last ? &g->last : NULL, &point, NULL);
    g->last = point;
    g->has_last = code == CL_SUCCESS;
    return code;
}

static bool can_overlap(const device *d)
{
    cl_bitfield capabilities = 0;
    cl.clGetDeviceInfo(d->cl_device.id, CL_DEVICE_COMMAND_BUFFER_CAPABILITIES_KHR, sizeof capabilities, &capabilities,
                       NULL);
    return (capabilities & CL_COMMAND_BUFFER_CAPABILITY_SIMULTANEOUS_USE_KHR) != 0;
}

tern_status opencl_graph_begin(stream *s, tern_error *err)
{
    device *d = s->device;
    if (d->commands == NULL)
        return error_set(err, TERN_DEVICE_UNSUPPORTED, "%s has no cl_khr_command_buffer; enqueue the ops each time",
                         d->name);
    if (d->recording != NULL) return error_set(err, TERN_BAD_STATE, "%s records a graph already", d->name);
    tern_status status = opencl_check_lost(d, err);
    if (status != TERN_OK) return status;
    graph *g = calloc(1, sizeof *g);
    if (g == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a graph");
    cl_int code;
    const cl_ulong overlapping[] = {CL_COMMAND_BUFFER_FLAGS_KHR, CL_COMMAND_BUFFER_SIMULTANEOUS_USE_KHR, 0};
    g->device = d;
    g->can_overlap = can_overlap(d);
    g->commands = d->commands->create(1, &d->queue, g->can_overlap ? overlapping : NULL, &code);
    if (g->commands == NULL) {
        free(g);
        return opencl_error(d, code, TERN_DEVICE_UNSUPPORTED, "creating a command buffer", err);
    }
    d->recording = g;
    return TERN_OK;
}

tern_status opencl_graph_end(stream *s, graph **out, tern_error *err)
{
    device *d = s->device;
    graph *g = d->recording;
    if (g == NULL) return error_set(err, TERN_BAD_STATE, "%s records no graph", d->name);
    d->recording = NULL;
    cl_int code = d->commands->finalize(g->commands);
    if (code != CL_SUCCESS) {
        opencl_graph_destroy(g);
        return opencl_error(d, code, TERN_KERNEL_LAUNCH, "finishing a command buffer", err);
    }
    *out = g;
    return TERN_OK;
}

tern_status opencl_graph_launch(stream *s, graph *g, tern_error *err)
{
    device *d = s->device;
    tern_status status = opencl_check_lost(d, err);
    if (status != TERN_OK) return status;
    cl_int code = CL_SUCCESS;
    if (g->launched != NULL) {
        code = cl.clWaitForEvents(1, &g->launched);
        cl.clReleaseEvent(g->launched);
        g->launched = NULL;
        if (code != CL_SUCCESS) return opencl_error(d, code, TERN_DEVICE_LOST, "waiting for a command buffer", err);
    }
    code = d->commands->enqueue(1, &d->queue, g->commands, 0, NULL, g->can_overlap ? NULL : &g->launched);
    return code == CL_SUCCESS ? TERN_OK : opencl_error(d, code, TERN_KERNEL_LAUNCH, "enqueueing a command buffer", err);
}

void opencl_graph_destroy(graph *g)
{
    if (g == NULL) return;
    if (g->launched != NULL) cl.clReleaseEvent(g->launched);
    g->device->commands->release(g->commands);
    for (size_t i = 0; i < g->n_kernels; i++) cl.clReleaseKernel(g->kernels[i]);
    free(g->kernels);
    free(g);
}
