// A library that stands for NVML in tests: two GPUs, whose energy counter and clock follow environment variables, so
// that a test decides what the sensors show. Built as a module and opened by its path.
#include <stdio.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

static const char *const names[] = {"NVIDIA Fake 10", "NVIDIA Fake 100 Ti"};
static unsigned long long energy;

static unsigned long long setting(const char *name, unsigned long long otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

EXPORT int nvmlInit_v2(void);
EXPORT int nvmlShutdown(void);
EXPORT int nvmlDeviceGetCount_v2(unsigned *out);
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
EXPORT int nvmlDeviceGetName(void *device, char *out, unsigned n_bytes);
EXPORT int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules);
EXPORT int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts);
EXPORT int nvmlDeviceGetClockInfo(void *device, int clock, unsigned *mhz);
EXPORT int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons);

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }

int nvmlDeviceGetCount_v2(unsigned *out)
{
    *out = 2;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    static char handles[2];
    if (index > 1) return 2;
    *device = &handles[index];
    handles[index] = (char)index;
    return 0;
}

int nvmlDeviceGetName(void *device, char *out, unsigned n_bytes)
{
    snprintf(out, n_bytes, "%s", names[(int)*(const char *)device]);
    return 0;
}

// FAKE_NVML_ERROR: fails with it. Else every reading is FAKE_NVML_STEP millijoules further.
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules)
{
    int error = (int)setting("FAKE_NVML_ERROR", 0);
    (void)device;
    energy += setting("FAKE_NVML_STEP", 5000);
    *millijoules = energy;
    return error;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts)
{
    (void)device;
    *milliwatts = 250000;
    return 0;
}

int nvmlDeviceGetClockInfo(void *device, int clock, unsigned *mhz)
{
    (void)device;
    *mhz = clock == 1 ? 1755 : 0;
    return 0;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons)
{
    (void)device;
    *reasons = setting("FAKE_NVML_THROTTLE", 0x1); // idle
    return 0;
}
