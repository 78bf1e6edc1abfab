// libOpenCL, opened at run time.
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#include "opencl.h"

opencl_api cl;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *failure; // why there is no OpenCL, or NULL

static void load(void)
{
    static const char *const names[] = {"libOpenCL.so.1", "libOpenCL.so"};
    static char text[128];
    void *library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && library == NULL; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        failure = "opencl: libOpenCL.so.1 is not installed";
        return;
    }
    // Never closed: drivers do not survive it.
#define X(name)                                                                                                        \
    *(void **)&cl.name = dlsym(library, #name);                                                                        \
    if (cl.name == NULL && failure == NULL) {                                                                          \
        snprintf(text, sizeof text, "opencl: libOpenCL has no %s; OpenCL 1.2 is needed", #name);                       \
        failure = text;                                                                                                \
    }
    OPENCL_FUNCTIONS(X)
#undef X
}

const char *opencl_load(void)
{
    pthread_once(&once, load);
    return failure;
}

const char *opencl_code_name(cl_int code)
{
    switch (code) {
#define NAME(x)                                                                                                        \
    case x: return #x;
        NAME(CL_SUCCESS)
        NAME(CL_DEVICE_NOT_FOUND)
        NAME(CL_DEVICE_NOT_AVAILABLE)
        NAME(CL_COMPILER_NOT_AVAILABLE)
        NAME(CL_MEM_OBJECT_ALLOCATION_FAILURE)
        NAME(CL_OUT_OF_RESOURCES)
        NAME(CL_OUT_OF_HOST_MEMORY)
        NAME(CL_PROFILING_INFO_NOT_AVAILABLE)
        NAME(CL_BUILD_PROGRAM_FAILURE)
        NAME(CL_MAP_FAILURE)
        NAME(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST)
        NAME(CL_INVALID_VALUE)
        NAME(CL_INVALID_PLATFORM)
        NAME(CL_INVALID_DEVICE)
        NAME(CL_INVALID_CONTEXT)
        NAME(CL_INVALID_QUEUE_PROPERTIES)
        NAME(CL_INVALID_COMMAND_QUEUE)
        NAME(CL_INVALID_MEM_OBJECT)
        NAME(CL_INVALID_BINARY)
        NAME(CL_INVALID_BUILD_OPTIONS)
        NAME(CL_INVALID_PROGRAM)
        NAME(CL_INVALID_PROGRAM_EXECUTABLE)
        NAME(CL_INVALID_KERNEL_NAME)
        NAME(CL_INVALID_KERNEL)
        NAME(CL_INVALID_ARG_INDEX)
        NAME(CL_INVALID_ARG_VALUE)
        NAME(CL_INVALID_ARG_SIZE)
        NAME(CL_INVALID_KERNEL_ARGS)
        NAME(CL_INVALID_WORK_DIMENSION)
        NAME(CL_INVALID_WORK_GROUP_SIZE)
        NAME(CL_INVALID_WORK_ITEM_SIZE)
        NAME(CL_INVALID_GLOBAL_OFFSET)
        NAME(CL_INVALID_EVENT)
        NAME(CL_INVALID_OPERATION)
        NAME(CL_INVALID_BUFFER_SIZE)
        NAME(CL_INVALID_GLOBAL_WORK_SIZE)
        NAME(CL_PLATFORM_NOT_FOUND_KHR)
#undef NAME
    }
    return "an unknown OpenCL error";
}

tern_status opencl_error(device *d, cl_int code, tern_status otherwise, const char *what, tern_error *err)
{
    tern_status status = otherwise;
    if (code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_INVALID_BUFFER_SIZE) status = TERN_DEVICE_MEMORY;
    if (code == CL_OUT_OF_HOST_MEMORY) status = TERN_HOST_MEMORY;
    if (code == CL_OUT_OF_RESOURCES && otherwise == TERN_INTERNAL) status = TERN_DEVICE_MEMORY;
    // Also what drivers report when a kernel failed while it ran; some have numbers of their own below -1999.
    if (code == CL_DEVICE_NOT_AVAILABLE || code == CL_INVALID_COMMAND_QUEUE || code == CL_INVALID_CONTEXT ||
        code == CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST || code < -1999)
        status = TERN_DEVICE_LOST;
    if (status == TERN_DEVICE_LOST && d != NULL) d->is_lost = true;
    return error_set(err, status, "%s%s%s: %s (%d)", d != NULL ? d->name : "", d != NULL ? ", " : "", what,
                     opencl_code_name(code), (int)code);
}
