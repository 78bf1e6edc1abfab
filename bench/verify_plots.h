// The plots of a claims report.
#ifndef TERN_BENCH_VERIFY_PLOTS_H
#define TERN_BENCH_VERIFY_PLOTS_H

#include "plot.h"
#include "verify_run.h"

enum { VERIFY_N_DEVICE_PLOTS = 4 };

// Planned memory by model size, both twins.
tern_status verify_memory_plot(const verify *v, plot *out, tern_error *err);
// Of one device: latency by size, throughput by batch, share of bandwidth, context curve.
void verify_device_plots(const verify *v, size_t dev, plot out[VERIFY_N_DEVICE_PLOTS]);

#endif
