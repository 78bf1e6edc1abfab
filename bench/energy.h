// Energy of what runs: counters of energy read before and after a window in which a test is repeated. Counters move
// only every 20 to 100 ms, so windows are seconds long.
#ifndef TERN_BENCH_ENERGY_H
#define TERN_BENCH_ENERGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tern_status.h"

// A counter. read_uj gives microjoules since some start and never runs backwards: implementations take care of counters
// that wrap. read_w: power now, as a cross-check; false where it is not known. `close` frees the state.
typedef struct energy_sensor {
    char name[64]; // "NVML total energy", "RAPL package x2"; "" for no sensor
    void *state;
    tern_status (*read_uj)(void *state, uint64_t *out, tern_error *err);
    bool (*read_w)(void *state, double *out);
    void (*close)(void *state);
} energy_sensor;

void energy_sensor_close(energy_sensor *sensor); // accepts a zeroed one

// The CPU packages' RAPL counters below `path` (NULL: /sys/class/powercap). NOT_FOUND where there are none; IO where
// they may not be read, with the file's name.
tern_status energy_open_rapl(const char *path, energy_sensor *out, tern_error *err);

// What a counter that wraps after `range` gained between two readings; `range` 0: it never wraps. False if it ran
// backwards without wrapping.
bool energy_delta(uint64_t before, uint64_t after, uint64_t range, uint64_t *out);

typedef struct energy_window {
    double seconds, joules;
    double sampled_w; // mean of the power readings taken meanwhile; 0: none
    size_t n_runs;
} energy_window;

// Repeats `run` until the window is at least min_seconds long (at least once) and reads the counter around it.
// NUMERIC if the counter did not move: a sensor that shows nothing measures nothing.
tern_status energy_measure(energy_sensor *sensor, double min_seconds, tern_status (*run)(void *user, tern_error *err),
                           void *user, energy_window *out, tern_error *err);
// The same with nothing running.
tern_status energy_measure_idle(energy_sensor *sensor, double min_seconds, energy_window *out, tern_error *err);

#endif
