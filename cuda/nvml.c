// NVML, opened at run time and closed again: no build or start depends on it.
#include "nvml.h"

#include <dlfcn.h>
#include <stdio.h>

#define NVML_SUCCESS      0
#define NVML_CLOCK_SM     1
#define NVML_CLOCK_MEMORY 2

typedef struct nvml_memory {
    unsigned long long total, free, used;
} nvml_memory;

// The functions used, as the library declares them.
typedef struct nvml {
    int (*init)(void);
    int (*shutdown)(void);
    int (*handle)(const char *pci_bus_id, void **device);
    int (*memory)(void *device, nvml_memory *out);
    int (*max_clock)(void *device, int clock, unsigned *mhz);
    int (*driver)(char *out, unsigned n_bytes);
} nvml;

// `function` points to a function pointer, which POSIX lets hold what dlsym returns.
static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    *(void **)function = symbol;
    return symbol != NULL;
}

static bool find_all(void *library, nvml *out)
{
    return find(library, "nvmlInit_v2", &out->init) && find(library, "nvmlShutdown", &out->shutdown) &&
           find(library, "nvmlDeviceGetHandleByPciBusId_v2", &out->handle) &&
           find(library, "nvmlDeviceGetMemoryInfo", &out->memory) &&
           find(library, "nvmlDeviceGetMaxClockInfo", &out->max_clock) &&
           find(library, "nvmlSystemGetDriverVersion", &out->driver);
}

static bool read_device(const nvml *n, const char *pci_bus_id, nvml_facts *out)
{
    void *device;
    nvml_memory memory;
    if (n->handle(pci_bus_id, &device) != NVML_SUCCESS || n->memory(device, &memory) != NVML_SUCCESS) return false;
    nvml_facts facts = {.memory_total = memory.total, .memory_free = memory.free};
    if (n->max_clock(device, NVML_CLOCK_SM, &facts.sm_mhz) != NVML_SUCCESS) facts.sm_mhz = 0;
    if (n->max_clock(device, NVML_CLOCK_MEMORY, &facts.memory_mhz) != NVML_SUCCESS) facts.memory_mhz = 0;
    if (n->driver(facts.driver, sizeof facts.driver) != NVML_SUCCESS) facts.driver[0] = 0;
    *out = facts;
    return true;
}

bool nvml_read(const char *pci_bus_id, nvml_facts *out)
{
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return false;
    nvml n;
    bool is_read = false;
    if (find_all(library, &n) && n.init() == NVML_SUCCESS) {
        is_read = read_device(&n, pci_bus_id, out);
        n.shutdown();
    }
    dlclose(library);
    return is_read;
}
