// Devices of all platforms: GPUs and accelerators first, CPUs after them, in the order the platforms list them.
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "opencl.h"

#define MAX_DEVICES   32
#define MAX_PLATFORMS 16

// AMD: free device memory in KiB, two numbers.
#ifndef CL_DEVICE_GLOBAL_FREE_MEMORY_AMD
#define CL_DEVICE_GLOBAL_FREE_MEMORY_AMD 0x4039
#endif

static opencl_device devices[MAX_DEVICES];
static size_t n_devices;
static const char *note = "";
static pthread_once_t once = PTHREAD_ONCE_INIT;

// Some devices answer to every type.
static bool is_known(cl_device_id id)
{
    for (size_t i = 0; i < n_devices; i++)
        if (devices[i].id == id) return true;
    return false;
}

static void add_devices(cl_platform_id platform, cl_device_type type, bool is_gpu)
{
    cl_device_id ids[MAX_DEVICES];
    cl_uint n = 0;
    if (cl.clGetDeviceIDs(platform, type, MAX_DEVICES, ids, &n) != CL_SUCCESS) return;
    for (cl_uint i = 0; i < n && i < MAX_DEVICES && n_devices < MAX_DEVICES; i++)
        if (!is_known(ids[i])) devices[n_devices++] = (opencl_device){platform, ids[i], is_gpu};
}

static void discover(void)
{
    const char *failure = opencl_load();
    if (failure != NULL) {
        note = failure;
        return;
    }
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint n = 0;
    cl_int code = cl.clGetPlatformIDs(MAX_PLATFORMS, platforms, &n);
    if (n > MAX_PLATFORMS) n = MAX_PLATFORMS;
    if (code != CL_SUCCESS || n == 0) {
        note = "opencl: no driver is installed (no platform answers)";
        return;
    }
    for (cl_uint i = 0; i < n; i++) add_devices(platforms[i], CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_ACCELERATOR, true);
    for (cl_uint i = 0; i < n; i++) add_devices(platforms[i], CL_DEVICE_TYPE_CPU, false);
    if (n_devices == 0) note = "opencl: the installed drivers offer no device";
}

size_t opencl_device_count(const char **out)
{
    pthread_once(&once, discover);
    *out = note;
    return n_devices;
}

tern_status opencl_device_at(size_t index, opencl_device *out, tern_error *err)
{
    const char *why;
    size_t n = opencl_device_count(&why);
    if (index >= n)
        return error_set(err, TERN_NO_DEVICE, "opencl%zu does not exist, there are %zu OpenCL devices%s%s", index, n,
                         why[0] != 0 ? ": " : "", why);
    *out = devices[index];
    return TERN_OK;
}

static uint64_t free_memory(cl_device_id id, uint64_t total)
{
    size_t kib[2] = {0};
    if (opencl_has_extension(id, "cl_amd_device_attribute_query") &&
        cl.clGetDeviceInfo(id, CL_DEVICE_GLOBAL_FREE_MEMORY_AMD, sizeof kib, kib, NULL) == CL_SUCCESS && kib[0] != 0)
        return (uint64_t)kib[0] << 10;
    return total; // OpenCL has no question for it
}

tern_status opencl_device_describe(size_t index, device_facts *out, tern_error *err)
{
    opencl_device d;
    tern_status status = opencl_device_at(index, &d, err);
    if (status != TERN_OK) return status;
    char name[80], platform[40], version[24], offers[160];
    cl_ulong total = 0, max_alloc = 0;
    cl_uint units = 0;
    opencl_traits traits;
    opencl_device_text(d.id, CL_DEVICE_NAME, name, sizeof name);
    opencl_device_text(d.id, CL_DEVICE_VERSION, version, sizeof version);
    opencl_platform_text(d.platform, CL_PLATFORM_NAME, platform, sizeof platform);
    if (cl.clGetDeviceInfo(d.id, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof total, &total, NULL) != CL_SUCCESS ||
        cl.clGetDeviceInfo(d.id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof max_alloc, &max_alloc, NULL) != CL_SUCCESS)
        return error_set(err, TERN_NO_DEVICE, "opencl%zu does not say how much memory it has", index);
    cl.clGetDeviceInfo(d.id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL);
    bool has_half = opencl_has_extension(d.id, "cl_khr_fp16"); // what Hgemm needs
    opencl_traits_query(&d, &traits);
    opencl_traits_describe(&traits, offers, sizeof offers);

    device_facts facts = {.memory_total = total,
                          .memory_free = free_memory(d.id, total),
                          .is_chosen_only_by_name = !d.is_gpu,
                          .blas_type = has_half ? DENSE_F16 : DENSE_F32,
                          .bytes_open = OPENCL_SCRATCH_BYTES + OPENCL_N_STAGING * OPENCL_STAGING_BYTES};
    if (opencl_blas_load() != NULL) facts.blas_name = has_half ? "CLBlast Hgemm" : "CLBlast Sgemm";
    snprintf(facts.name, sizeof facts.name, "opencl%zu", index);
    snprintf(facts.description, sizeof facts.description, "%.60s, %u compute units, %.30s", name, units, platform);
    version[10] = 0; // "OpenCL 3.0"
    snprintf(facts.note, sizeof facts.note, "%s; %s; largest buffer %llu MiB%s", version, offers,
             (unsigned long long)(max_alloc >> 20), d.is_gpu ? "" : "; a CPU: never chosen by itself");
    *out = facts;
    return TERN_OK;
}
