// Memory in use on a device; see bench_memory.h.
#include "bench_memory.h"

#include <stdio.h>
#include <string.h>

// The process's anonymous memory in bytes, 0 where the system does not say.
static uint64_t process_bytes(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    if (status == NULL) return 0;
    while (fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "RssAnon: %llu kB", &kib) == 1) break;
    fclose(status);
    return kib * 1024u;
}

uint64_t bench_memory_used(const tern_engine *engine, const tern_device_info *device, const char **source)
{
    const char *unused;
    if (source == NULL) source = &unused;
    *source = "process";
    if (strcmp(device->backend, "cpu") == 0) return process_bytes();
    *source = "device";
    for (size_t i = 0; i < tern_engine_device_count(engine); i++) {
        tern_device_info now;
        if (tern_engine_device_info(engine, i, &now, NULL) != TERN_OK || strcmp(now.name, device->name) != 0) continue;
        return now.memory_total > now.memory_free ? now.memory_total - now.memory_free : 0;
    }
    return 0;
}
