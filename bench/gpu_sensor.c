// NVML, as far as a benchmark needs it; see gpu_sensor.h.
#include "gpu_sensor.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

#define NVML_SUCCESS       0
#define NVML_NO_PERMISSION 4
#define NVML_CLOCK_SM      1

struct gpu_sensor {
    void *library, *device;
    // The functions used, as the library declares them.
    int (*init)(void);
    int (*shutdown)(void);
    int (*count)(unsigned *out);
    int (*by_index)(unsigned index, void **device);
    int (*name)(void *device, char *out, unsigned n_bytes);
    int (*energy)(void *device, unsigned long long *millijoules);
    int (*power)(void *device, unsigned *milliwatts);
    int (*clock)(void *device, int clock, unsigned *mhz);
    int (*throttle)(void *device, unsigned long long *reasons);
};

// `function` points to a function pointer, which POSIX lets hold what dlsym returns.
static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    *(void **)function = symbol;
    return symbol != NULL;
}

static bool find_all(gpu_sensor *s)
{
    bool has_throttle = find(s->library, "nvmlDeviceGetCurrentClocksEventReasons", &s->throttle) ||
                        find(s->library, "nvmlDeviceGetCurrentClocksThrottleReasons", &s->throttle);
    return has_throttle && find(s->library, "nvmlInit_v2", &s->init) &&
           find(s->library, "nvmlShutdown", &s->shutdown) && find(s->library, "nvmlDeviceGetCount_v2", &s->count) &&
           find(s->library, "nvmlDeviceGetHandleByIndex_v2", &s->by_index) &&
           find(s->library, "nvmlDeviceGetName", &s->name) &&
           find(s->library, "nvmlDeviceGetTotalEnergyConsumption", &s->energy) &&
           find(s->library, "nvmlDeviceGetPowerUsage", &s->power) &&
           find(s->library, "nvmlDeviceGetClockInfo", &s->clock);
}

// The one GPU whose name the description has, the longest such name (A100, not A10). Two of the same name cannot be
// told apart by it.
static tern_status find_device(gpu_sensor *s, const char *description, tern_error *err)
{
    unsigned n = 0, n_found = 0;
    size_t longest = 0;
    if (s->count(&n) != NVML_SUCCESS) n = 0;
    for (unsigned i = 0; i < n; i++) {
        void *device;
        char name[96] = "";
        if (s->by_index(i, &device) != NVML_SUCCESS || s->name(device, name, sizeof name) != NVML_SUCCESS) continue;
        name[sizeof name - 1] = 0;
        if (name[0] == 0 || strstr(description, name) == NULL) continue;
        if (strlen(name) < longest) continue;
        n_found = strlen(name) > longest ? 1 : n_found + 1;
        longest = strlen(name);
        s->device = device;
    }
    if (n_found == 1) return TERN_OK;
    return error_set(err, TERN_NOT_FOUND, "no energy and clocks: NVML knows %u GPUs called as in '%.80s', not one",
                     n_found, description);
}

tern_status gpu_sensor_open(const char *library, const char *description, gpu_sensor **out, tern_error *err)
{
    gpu_sensor *s = calloc(1, sizeof *s);
    if (s == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a GPU's sensors");
    tern_status status = TERN_OK;
    s->library = dlopen(library != NULL ? library : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (s->library == NULL || !find_all(s) || s->init() != NVML_SUCCESS) {
        s->shutdown = NULL;
        status = error_set(err, TERN_NOT_FOUND, "no energy and clocks of the GPU: NVML is not there or does not start");
    }
    if (status == TERN_OK) status = find_device(s, description, err);
    if (status != TERN_OK) {
        gpu_sensor_close(s);
        return status;
    }
    *out = s;
    return TERN_OK;
}

void gpu_sensor_close(gpu_sensor *s)
{
    if (s == NULL) return;
    if (s->shutdown != NULL) s->shutdown();
    if (s->library != NULL) dlclose(s->library);
    free(s);
}

uint32_t gpu_sensor_clock(gpu_sensor *s)
{
    unsigned mhz = 0;
    return s->clock(s->device, NVML_CLOCK_SM, &mhz) == NVML_SUCCESS ? mhz : 0;
}

uint64_t gpu_sensor_throttle(gpu_sensor *s)
{
    unsigned long long bits = 0;
    return s->throttle(s->device, &bits) == NVML_SUCCESS ? bits : 0;
}

void gpu_sensor_throttle_text(uint64_t bits, char *out, size_t n_bytes)
{
    static const struct {
        uint64_t bit;
        const char *name;
    } reasons[] = {{0x4, "sw_power_cap"}, {0x8, "hw_slowdown"},     {0x10, "sync_boost"},     {0x20, "sw_thermal"},
                   {0x40, "hw_thermal"},  {0x80, "hw_power_brake"}, {0x100, "display_clocks"}};
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0] && n < n_bytes; i++)
        if (bits & reasons[i].bit)
            n += (size_t)snprintf(out + n, n_bytes - n, "%s%s", n > 0 ? "+" : "", reasons[i].name);
}

// ---- energy

static tern_status read_energy(void *state, uint64_t *out, tern_error *err)
{
    gpu_sensor *s = state;
    unsigned long long millijoules = 0;
    int code = s->energy(s->device, &millijoules);
    if (code != NVML_SUCCESS)
        return error_set(err, TERN_IO, "the GPU's energy counter: NVML error %d%s", code,
                         code == NVML_NO_PERMISSION ? " (no permission)" : "");
    *out = millijoules * 1000;
    return TERN_OK;
}

static bool read_power(void *state, double *out)
{
    gpu_sensor *s = state;
    unsigned milliwatts = 0;
    if (s->power(s->device, &milliwatts) != NVML_SUCCESS) return false;
    *out = (double)milliwatts * 1e-3;
    return true;
}

tern_status gpu_sensor_energy(gpu_sensor *s, energy_sensor *out, tern_error *err)
{
    uint64_t now;
    tern_status status = read_energy(s, &now, err);
    if (status != TERN_OK) return status;
    *out = (energy_sensor){.name = "NVML total energy", .state = s, .read_uj = read_energy, .read_w = read_power};
    return TERN_OK;
}
