// What NVIDIA's management library knows of a device: free memory without creating a context, driver, clocks.
#ifndef TERN_CUDA_NVML_H
#define TERN_CUDA_NVML_H

#include <stdbool.h>
#include <stdint.h>

typedef struct nvml_facts {
    uint64_t memory_total, memory_free; // bytes
    unsigned sm_mhz, memory_mhz;        // highest clocks; 0: unknown
    char driver[32];                    // "580.95.05"; "": unknown
} nvml_facts;

// False where the library or the device is not found; *out is then untouched.
bool nvml_read(const char *pci_bus_id, nvml_facts *out);

#endif
