// Sensors during a benchmark; see bench_monitor.h.
#include "bench_monitor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

static void note(const bench_options *options, const char *text)
{
    if (options->note != NULL) options->note(options->user, text);
}

static void open_sensors(bench_monitor *m, const bench_options *options, const tern_device_info *info)
{
    tern_error err = {0};
    tern_status status;
    if (strcmp(info->backend, "cpu") == 0) {
        status = energy_open_rapl(options->rapl_path, &m->energy, &err);
    } else {
        status = gpu_sensor_open(options->nvml_path, info->description, &m->gpu, &err);
        if (status == TERN_OK) status = gpu_sensor_energy(m->gpu, &m->energy, &err);
    }
    if (status != TERN_OK && options->energy_window_s > 0.0) note(options, err.message);
}

tern_status bench_monitors_open(bench_monitors *monitors, const bench_options *options, const tern_device_info *info,
                                bench_monitor **out, tern_error *err)
{
    for (size_t i = 0; i < monitors->n; i++)
        if (strcmp(monitors->items[i].device, info->name) == 0) {
            *out = &monitors->items[i];
            return TERN_OK;
        }
    bench_monitor *larger = realloc(monitors->items, (monitors->n + 1) * sizeof *larger);
    if (larger == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for sensors");
    monitors->items = larger;
    bench_monitor *m = &monitors->items[monitors->n++];
    *m = (bench_monitor){0};
    snprintf(m->device, sizeof m->device, "%s", info->name);
    open_sensors(m, options, info);
    *out = m;
    return TERN_OK;
}

void bench_monitors_close(bench_monitors *monitors)
{
    for (size_t i = 0; i < monitors->n; i++) {
        energy_sensor_close(&monitors->items[i].energy);
        gpu_sensor_close(monitors->items[i].gpu);
    }
    free(monitors->items);
    *monitors = (bench_monitors){0};
}

void bench_monitor_sample(bench_monitor *m, bench_row *row, uint64_t *throttle_bits)
{
    if (m->gpu == NULL) return;
    row->clocks_mhz[row->n_samples - 1] = gpu_sensor_clock(m->gpu);
    *throttle_bits |= gpu_sensor_throttle(m->gpu);
    gpu_sensor_throttle_text(*throttle_bits, row->throttle_reasons, sizeof row->throttle_reasons);
}

// A sensor that fails is not asked again.
static void give_up(bench_monitor *m, const bench_options *options, const tern_error *why)
{
    note(options, why->message);
    energy_sensor_close(&m->energy);
}

tern_status bench_monitor_idle(bench_monitor *m, const bench_options *options, tern_error *err)
{
    (void)err;
    energy_window window = {0};
    tern_error local = {0};
    if (m->energy.read_uj == NULL || options->energy_window_s <= 0.0) return TERN_OK;
    if (energy_measure_idle(&m->energy, options->energy_window_s, &window, &local) == TERN_OK)
        m->idle_w = window.joules / window.seconds;
    else
        give_up(m, options, &local);
    return TERN_OK;
}

typedef struct energy_run {
    bench_instance *on;
    const bench_config *config;
    uint64_t *token_ns;
} energy_run;

static tern_status run_test(void *user, tern_error *err)
{
    energy_run *run = user;
    bench_sample sample;
    return bench_instance_run(run->on, run->config, run->token_ns, &sample, err);
}

tern_status bench_monitor_energy(bench_monitor *m, const bench_options *options, bench_instance *on,
                                 const bench_config *config, bench_row *row, tern_error *err)
{
    energy_window w = {0};
    tern_error local = {0};
    if (m->energy.read_uj == NULL || options->energy_window_s <= 0.0) return TERN_OK;
    energy_run run = {.on = on, .config = config};
    run.token_ns = calloc((size_t)config->test.n_gen + 1, sizeof *run.token_ns);
    if (run.token_ns == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for times");
    tern_status status = energy_measure(&m->energy, options->energy_window_s, run_test, &run, &w, &local);
    free(run.token_ns);
    if (status == TERN_IO || status == TERN_NUMERIC) {
        give_up(m, options, &local);
        return TERN_OK;
    }
    if (status != TERN_OK) return error_set(err, status, "%s", local.message);
    double n = (double)w.n_runs, net = w.joules - m->idle_w * w.seconds;
    row->energy = (bench_energy){.window_s = w.seconds,
                                 .joules = w.joules / n,
                                 .joules_net = net / n,
                                 .idle_w = m->idle_w,
                                 .sampled_w = w.sampled_w,
                                 .j_per_token = w.joules / n / bench_row_tokens(row),
                                 .net_j_per_token = net / n / bench_row_tokens(row)};
    snprintf(row->energy.source, sizeof row->energy.source, "%s", m->energy.name);
    return TERN_OK;
}
