// What NVIDIA's management library says of a running GPU: energy, power, clock, and why the clock is held back. Opened
// at run time; works for every backend that drives such a GPU.
#ifndef TERN_BENCH_GPU_SENSOR_H
#define TERN_BENCH_GPU_SENSOR_H

#include "energy.h"

typedef struct gpu_sensor gpu_sensor;

// The GPU whose name stands in a device's description. `library`: NULL for the installed one. NOT_FOUND where the
// library is not there or no GPU, or more than one, fits.
tern_status gpu_sensor_open(const char *library, const char *description, gpu_sensor **out, tern_error *err);
void gpu_sensor_close(gpu_sensor *sensor); // accepts NULL

uint32_t gpu_sensor_clock(gpu_sensor *sensor);    // of the SMs now, in MHz; 0: not known
uint64_t gpu_sensor_throttle(gpu_sensor *sensor); // why the clock is held back now, as NVML's bits; 0: nothing known
// "sw_power_cap+hw_thermal"; being idle or set to fixed clocks is no reason.
void gpu_sensor_throttle_text(uint64_t bits, char *out, size_t n_bytes);
// The energy counter; the sensor must outlive it. NOT_FOUND where this GPU has none.
tern_status gpu_sensor_energy(gpu_sensor *sensor, energy_sensor *out, tern_error *err);

#endif
