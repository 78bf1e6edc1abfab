// What a device can do at the most, measured: the denominators of every share in a report. On the CPU by loops of our
// own; elsewhere through the backend's ops, whose best rate is then called what it is.
#ifndef TERN_BENCH_PROBE_H
#define TERN_BENCH_PROBE_H

#include "registry.h"
#include "report.h"

enum { PROBE_READ = 1, PROBE_COPY = 2, PROBE_INT8 = 4, PROBE_ALL = 7 };

typedef struct probe_rate {
    double best, median; // 1e9 bytes, or 1e9 multiply-adds, per second; 0: not measured
    char source[96];     // how: "own loop, 2 threads, 512 MiB", "dense_mm F32, 1024 MiB"
} probe_rate;

typedef struct probe {
    char device[32], description[128];
    uint32_t n_threads;
    probe_rate read, copy, int8; // copy: bytes read and bytes written both count
} probe;

// Measures what `what` asks for (PROBE_*) on the device of that name. NO_DEVICE, HOST_MEMORY, DEVICE_MEMORY.
tern_status probe_run(backend_list backends, const char *device_name, uint32_t n_threads, int what, probe *out,
                      tern_error *err);

tern_status probe_text(const probe *probes, size_t n, bench_format format, char **out, tern_error *err);

#endif
