// The sensors of the devices that a benchmark uses: clocks during the samples, energy in windows of their own.
#ifndef TERN_BENCH_BENCH_MONITOR_H
#define TERN_BENCH_BENCH_MONITOR_H

#include "bench_instance.h"
#include "gpu_sensor.h"

typedef struct bench_monitor {
    char device[32];
    gpu_sensor *gpu; // NULL: none
    energy_sensor energy;
    double idle_w; // with models loaded and nothing running; 0: not measured
} bench_monitor;

typedef struct bench_monitors {
    bench_monitor *items;
    size_t n;
} bench_monitors;

// The monitor of a device, opened when it is first asked for; then missing sensors are said through options->note,
// once. HOST_MEMORY alone is a failure.
tern_status bench_monitors_open(bench_monitors *monitors, const bench_options *options, const tern_device_info *info,
                                bench_monitor **out, tern_error *err);
void bench_monitors_close(bench_monitors *monitors);

// Adds what the clocks do now to the row; called after every sample.
void bench_monitor_sample(bench_monitor *monitor, bench_row *row, uint64_t *throttle_bits);
// Power of the idle device, over a window.
tern_status bench_monitor_idle(bench_monitor *monitor, const bench_options *options, tern_error *err);
// Repeats the row's test for a window and fills row->energy. A sensor that fails leaves it empty and is said once.
tern_status bench_monitor_energy(bench_monitor *monitor, const bench_options *options, bench_instance *on,
                                 const bench_config *config, bench_row *row, tern_error *err);

#endif
