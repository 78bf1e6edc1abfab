// Runs lists of configurations, interleaved; see model_bench.h. What a loaded model and a run are is in
// bench_instance.c, what makes a row valid in bench_check.c, how rows are written in model_bench_report.c.
#include "model_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench_check.h"
#include "bench_instance.h"
#include "bench_monitor.h"
#include "bench_peak.h"
#include "error.h"
#include "stats.h"

void bench_options_init(bench_options *options)
{
    *options = (bench_options){
        .n_repeats = 5, .n_warmup = 1, .energy_window_s = 5.0, .is_checked = true, .has_peaks = true};
}

void bench_config_init(bench_config *config)
{
    *config = (bench_config){.device = "auto",
                             .n_gpu_layers = TERN_LAYERS_AUTO,
                             .n_streamed = TERN_LAYERS_AUTO,
                             .kv_k = TERN_KV_INT8,
                             .kv_v = TERN_KV_INT8,
                             .n_batch = 512,
                             .n_seq = 1};
}

void bench_test_name(const bench_test *test, char *out, size_t n_bytes)
{
    char pp[24] = "", tg[24] = "", depth[24] = "";
    if (test->n_prompt > 0) snprintf(pp, sizeof pp, "pp%u", test->n_prompt);
    if (test->n_gen > 0) snprintf(tg, sizeof tg, "%stg%u", test->n_prompt > 0 ? "+" : "", test->n_gen);
    if (test->n_depth > 0) snprintf(depth, sizeof depth, " @ d%u", test->n_depth);
    snprintf(out, n_bytes, "%s%s%s", pp, tg, depth);
}

uint64_t bench_test_context(const bench_test *test, uint32_t n_seq)
{
    return ((uint64_t)test->n_prompt + test->n_gen + test->n_depth) * n_seq;
}

// A whole run under way.
typedef struct bench {
    const bench_config *configs;
    size_t n;
    const bench_options *options;
    bench_instance *instances;
    size_t n_instances;
    size_t *instance_of; // of each configuration
    uint32_t n_groups;
    bench_peaks peaks;
    bench_checks checks;
    bench_monitors monitors;
    uint64_t *throttle_bits; // of each configuration
    bench_row *rows;         // of each configuration
    uint64_t n_done, n_work; // runs, for the progress
} bench;

static void note(const bench *b, const char *text)
{
    if (b->options->note != NULL) b->options->note(b->options->user, text);
}

static tern_status show(bench *b, const char *what, tern_error *err)
{
    double share = b->n_work > 0 ? (double)b->n_done / (double)b->n_work : 0.0;
    if (b->options->progress != NULL && !b->options->progress(b->options->user, share, what))
        return error_set(err, TERN_CANCELLED, "bench: interrupted");
    return TERN_OK;
}

// ---- instances and groups

static tern_status check_config(const bench_config *c, tern_error *err)
{
    const bench_test *t = &c->test;
    if (t->n_prompt == 0 && t->n_gen == 0)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "bench: a test of no tokens; ask for a prompt (-p) or for generation (-n)");
    if (c->n_seq == 0 || c->n_seq > BENCH_MAX_SEQ || c->n_seq > c->n_batch)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "bench: %u sequences at once; expected 1 to %d and at most the batch (-b) of %u", c->n_seq,
                         BENCH_MAX_SEQ, c->n_batch);
    return TERN_OK;
}

static void free_instances(bench *b)
{
    for (size_t i = 0; i < b->n_instances; i++) bench_instance_free(&b->instances[i]);
    b->n_instances = 0;
}

// Gives every configuration its instance; `is_split`: one for each depth.
static tern_status assign(bench *b, bool is_split, tern_error *err)
{
    tern_status status = TERN_OK;
    free_instances(b);
    for (size_t i = 0; i < b->n && status == TERN_OK; i++) {
        size_t k = 0;
        while (k < b->n_instances && !bench_instance_serves(&b->instances[k], &b->configs[i])) k++;
        if (k == b->n_instances)
            b->instances[b->n_instances++] = (bench_instance){
                .config = &b->configs[i], .is_split = is_split, .only_depth = b->configs[i].test.n_depth};
        status = bench_instance_add(&b->instances[k], &b->configs[i], err);
        b->instance_of[i] = k;
    }
    return status;
}

static tern_status plan_all(bench *b, tern_error *err)
{
    tern_status status = TERN_OK;
    for (size_t i = 0; i < b->n_instances && status == TERN_OK; i++) {
        status = bench_instance_plan(&b->instances[i], b->options, err);
        if (status != TERN_OK) error_prefix(err, "%s", b->instances[i].config->model);
    }
    return status;
}

// What an instance takes of a device's memory. The host's is taken by the CPU's models and by what others keep there.
static uint64_t takes(const bench_instance *in, const tern_device_info *of)
{
    bool is_host = strcmp(of->backend, "cpu") == 0, is_here = strcmp(in->device.name, of->name) == 0;
    bool is_cpu = strcmp(in->device.backend, "cpu") == 0;
    return (is_here || (is_host && is_cpu) ? in->plan.bytes_total : 0) +
           (is_host ? in->plan.pinned.total + in->plan.cpu.total : 0);
}

// Whether instances [first, last] stand side by side on a device.
static bool fits(const bench *b, size_t first, size_t last, const tern_device_info *of)
{
    uint64_t sum = 0, limit = of->memory_free;
    if (b->options->memory > 0 && b->options->memory < limit) limit = b->options->memory;
    for (size_t i = first; i <= last; i++) sum += takes(&b->instances[i], of);
    return sum <= limit;
}

// Instances in order, as many side by side as the memory of their devices and of the host holds.
static void group(bench *b)
{
    tern_device_info host = {0};
    bool has_host = false;
    for (size_t i = 0; i < tern_engine_device_count(b->options->engine) && !has_host; i++)
        has_host = tern_engine_device_info(b->options->engine, i, &host, NULL) == TERN_OK &&
                   strcmp(host.backend, "cpu") == 0;
    for (size_t i = 0, first = 0; i < b->n_instances; i++) {
        bool is_beside = fits(b, first, i, &b->instances[i].device) && (!has_host || fits(b, first, i, &host));
        if (i > first && !is_beside) {
            first = i;
            b->n_groups++;
        }
        b->instances[i].group = b->n_groups;
    }
    b->n_groups += b->n_instances > 0;
    if (b->n_groups > 1)
        note(b, "the models do not fit beside each other: they are measured one after the other, not interleaved");
}

// ---- rows

static uint64_t place_weights(const tern_place_bytes *p)
{
    return p->ternary + p->dense + p->embedding + p->head + p->norms;
}

static void describe_model(bench_row *row, const bench_instance *from)
{
    const tern_plan *plan = &from->plan;
    const tern_model_info *info = &from->info;
    bool is_twin = plan->weights == TERN_WEIGHTS_F16;
    snprintf(row->weights, sizeof row->weights, "%s",
             is_twin                           ? "f16"
             : !info->is_ternary               ? "dense"
             : plan->layout == TERN_LAYOUT_T80 ? "t80"
                                               : "t64");
    if (is_twin && strstr(plan->products, "F32 weights") != NULL) snprintf(row->weights, sizeof row->weights, "f32");
    snprintf(row->products, sizeof row->products, "%s", plan->products);
    // A synthetic model is called so wherever its numbers go.
    bool says_so = strncmp(info->name, "synthetic", 9) == 0;
    bool names_head = plan->head != TERN_HEAD_STORED;
    snprintf(row->head, sizeof row->head, "%s", tern_head_name(plan->head));
    row->fast_attention = plan->fast_attention;
    snprintf(row->attention, sizeof row->attention, "%s", plan->attention);
    snprintf(row->model_type, sizeof row->model_type, "%s%s %s%s%s%s%s", info->name,
             info->is_synthetic && !says_so ? " (synthetic)" : "", row->weights, names_head ? ", " : "",
             names_head ? row->head : "", names_head ? " head" : "", plan->fast_attention ? ", fast attention" : "");
    row->is_synthetic = info->is_synthetic;
    row->model_n_params = info->n_params;
    row->model_size = plan->bytes_ternary + plan->bytes_dense + plan->bytes_embedding + plan->bytes_head +
                      plan->bytes_norms + place_weights(&plan->pinned) + place_weights(&plan->cpu);
    bool is_cpu = strcmp(row->backend, "CPU") == 0;
    row->n_gpu_layers = is_cpu ? 0 : plan->n_layers_device + plan->n_layers_streamed;
    row->n_layers_streamed = plan->n_layers_streamed;
    if (!is_cpu && plan->n_layers_cpu > 0)
        snprintf(row->fallback_ops, sizeof row->fallback_ops, "%u of %u layers on the CPU", plan->n_layers_cpu,
                 info->n_layers);
    row->n_batch = from->config->n_batch; // as asked for; a plan of few positions needs less
    row->n_threads = plan->n_threads;
    row->type_k = plan->kv_k;
    row->type_v = plan->kv_v;
    row->vram_planned_bytes = plan->bytes_total;
}

// Multiply-adds of a row with the layers' ternary matrices: without embedding and head, should those be ternary.
static uint64_t ternary_macs(const tern_model_info *info)
{
    uint64_t n = info->n_params_ternary, table = (uint64_t)info->n_vocab * info->n_embd;
    if (n > 0 && info->n_params_embedding == 0) n -= table;
    if (n > 0 && !info->is_tied && info->n_params_head == 0) n -= table;
    uint64_t n_terms = strcmp(info->act_quant, "int8") == 0 ? 1 : strcmp(info->act_quant, "int8x2") == 0 ? 2 : 0;
    return n * n_terms;
}

static void describe_device(bench_row *row, const tern_engine *engine, const tern_device_info *from)
{
    snprintf(row->device, sizeof row->device, "%s", from->name);
    for (size_t c = 0; from->backend[c] != 0; c++) // llama-bench writes backends in capitals
        row->backend[c] = (char)(from->backend[c] >= 'a' && from->backend[c] <= 'z' ? from->backend[c] - 32
                                                                                    : from->backend[c]);
    if (strcmp(row->backend, "CPU") != 0) snprintf(row->gpu_info, sizeof row->gpu_info, "%s", from->description);
    for (size_t i = 0; i < tern_engine_device_count(engine); i++) {
        tern_device_info info;
        if (tern_engine_device_info(engine, i, &info, NULL) == TERN_OK && strcmp(info.name, "cpu") == 0)
            snprintf(row->cpu_info, sizeof row->cpu_info, "%s", info.description);
    }
}

static tern_status prepare_row(bench *b, size_t i, tern_error *err)
{
    const bench_config *c = &b->configs[i];
    const bench_instance *from = &b->instances[b->instance_of[i]];
    bench_row *row = &b->rows[i];
    *row = (bench_row){
        .config = i, .test = c->test, .n_seq = c->n_seq, .group = from->group, .is_interleaved = b->n_groups == 1};
    row->is_eager = b->options->is_eager;
    if (c->test.n_gen == 0 && from->plan.weights != TERN_WEIGHTS_F16)
        row->n_macs = ternary_macs(&from->info) * c->test.n_prompt * c->n_seq;
    snprintf(row->model_filename, sizeof row->model_filename, "%s", c->model);
    error_make_printable(row->model_filename); // it may have been cut, or never have been text
    describe_device(row, b->options->engine, &from->device);
    describe_model(row, from);
    row->samples_ns = calloc(b->options->n_repeats, sizeof *row->samples_ns);
    row->prompt_ns = calloc(b->options->n_repeats, sizeof *row->prompt_ns);
    row->token_ns = calloc((size_t)b->options->n_repeats * c->test.n_gen + 1, sizeof *row->token_ns);
    row->clocks_mhz = calloc(b->options->n_repeats, sizeof *row->clocks_mhz);
    if (row->samples_ns == NULL || row->prompt_ns == NULL || row->token_ns == NULL || row->clocks_mhz == NULL)
        return error_set(err, TERN_HOST_MEMORY, "no memory for the samples of a test");
    return TERN_OK;
}

static double median_of(const uint64_t *values, size_t n)
{
    stats s = {0};
    return n > 0 && stats_of_ns(values, n, &s, NULL) == TERN_OK ? s.median : 0.0;
}

static uint32_t median_clock(const bench_row *row)
{
    uint64_t clocks[64];
    size_t n = row->n_samples < 64 ? row->n_samples : 64; // so many say enough
    for (size_t i = 0; i < n; i++) clocks[i] = row->clocks_mhz[i];
    return (uint32_t)median_of(clocks, n);
}

static int compare_ns(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// p50, p90 and p99 of the times between tokens.
static tern_status summarise_latency(bench_row *row, tern_error *err)
{
    if (row->n_token_ns == 0) return TERN_OK;
    double *values = malloc(row->n_token_ns * sizeof *values);
    if (values == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu times", row->n_token_ns);
    uint64_t *sorted = malloc(row->n_token_ns * sizeof *sorted);
    if (sorted != NULL) {
        memcpy(sorted, row->token_ns, row->n_token_ns * sizeof *sorted);
        qsort(sorted, row->n_token_ns, sizeof *sorted, compare_ns);
        for (size_t i = 0; i < row->n_token_ns; i++) values[i] = (double)sorted[i];
        row->token = (bench_latency){stats_percentile(values, row->n_token_ns, 50.0),
                                     stats_percentile(values, row->n_token_ns, 90.0),
                                     stats_percentile(values, row->n_token_ns, 99.0)};
    }
    free(values);
    free(sorted);
    return sorted != NULL ? TERN_OK : error_set(err, TERN_HOST_MEMORY, "no memory for %zu times", row->n_token_ns);
}

double bench_row_tokens(const bench_row *row)
{
    return ((double)row->test.n_prompt + (double)row->test.n_gen) * (double)row->n_seq;
}

static tern_status summarise(bench_row *row, tern_error *err)
{
    double n_tokens = bench_row_tokens(row);
    stats ns = {0}, ts = {0};
    double *speeds = malloc(row->n_samples * sizeof *speeds);
    if (speeds == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %u speeds", row->n_samples);
    for (uint32_t i = 0; i < row->n_samples; i++) speeds[i] = n_tokens * 1e9 / (double)row->samples_ns[i];
    tern_status status = stats_of_ns(row->samples_ns, row->n_samples, &ns, err);
    if (status == TERN_OK) status = stats_of(speeds, row->n_samples, &ts, err);
    free(speeds);
    if (status == TERN_OK) status = summarise_latency(row, err);
    if (status != TERN_OK) return status;
    row->avg_ns = ns.mean, row->stddev_ns = ns.sd, row->median_ns = ns.median;
    row->min_ns = ns.min, row->max_ns = ns.max;
    row->avg_ts = ts.mean, row->stddev_ts = ts.sd, row->median_ts = ts.median;
    row->min_ts = ts.min, row->max_ts = ts.max;
    row->gbps = (double)(row->bytes_weights + row->bytes_kv) / ns.mean; // bytes per ns: 1e9 bytes per second
    row->gmacs = (double)row->n_macs / ns.mean;
    row->clock_sm_mhz = median_clock(row);
    if (row->test.n_prompt > 0 && row->n_seq == 1) row->ttft_ns = median_of(row->prompt_ns, row->n_samples);
    return TERN_OK;
}

static void note_time(bench_row *row)
{
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) != NULL) strftime(row->test_time, sizeof row->test_time, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

// ---- running

// One run of configuration i; the first n_warmup of each are discarded.
static tern_status run_one(bench *b, size_t i, bool is_warmup, tern_error *err)
{
    const bench_config *c = &b->configs[i];
    bench_instance *on = &b->instances[b->instance_of[i]];
    bench_row *row = &b->rows[i];
    char name[64], what[200];
    bench_test_name(&c->test, name, sizeof name);
    snprintf(what, sizeof what, "%.80s %.8s %s%s", on->info.name, row->weights, name, is_warmup ? " warm-up" : "");
    tern_status status = show(b, what, err);
    if (status != TERN_OK) return status;
    if (b->options->watch != NULL) b->options->watch(b->options->user, on->session);
    bench_sample sample = {0};
    status = bench_instance_run(on, c, row->token_ns + row->n_token_ns, &sample, err);
    if (status != TERN_OK) {
        if (status != TERN_CANCELLED) error_prefix(err, "%s", c->model);
        return status;
    }
    b->n_done++;
    if (is_warmup) return status;
    if (row->n_samples == 0) note_time(row);
    row->samples_ns[row->n_samples] = sample.ns;
    row->prompt_ns[row->n_samples++] = sample.prompt_ns;
    row->n_token_ns += c->test.n_gen;
    row->bytes_weights = sample.bytes_weights;
    row->bytes_kv = sample.bytes_kv;
    bench_monitor *monitor = NULL;
    status = bench_monitors_open(&b->monitors, b->options, &on->device, &monitor, err);
    if (status == TERN_OK) bench_monitor_sample(monitor, row, &b->throttle_bits[i]);
    return status;
}

static bool is_in_group(const bench *b, size_t i, uint32_t g) { return b->instances[b->instance_of[i]].group == g; }

// Bandwidth of the devices of a group. Other load on the machine lowers what one look sees, so it is measured several
// times around the tests, and the best counts.
static tern_status measure_peaks(bench *b, uint32_t g, bool is_loaded, tern_error *err)
{
    tern_status status = b->options->has_peaks ? show(b, "read bandwidth", err) : TERN_OK;
    for (size_t i = 0; i < b->n_instances && status == TERN_OK && b->options->has_peaks; i++) {
        const bench_instance *in = &b->instances[i];
        size_t k = 0; // an earlier one of the group on the same device
        while (k < i && (b->instances[k].group != g || b->instances[k].plan.n_threads != in->plan.n_threads ||
                         strcmp(b->instances[k].device.name, in->device.name) != 0))
            k++;
        if (in->group == g && k == i)
            status = bench_peaks_measure(&b->peaks, in->device.name, in->plan.n_threads, is_loaded, err);
    }
    return status;
}

// All runs of a loaded group, in rounds: every test once, then every test again.
static tern_status run_rounds(bench *b, uint32_t g, tern_error *err)
{
    tern_status status = TERN_OK;
    uint32_t n_rounds = b->options->n_warmup + b->options->n_repeats;
    for (uint32_t r = 0; r < n_rounds && status == TERN_OK; r++) {
        for (size_t i = 0; i < b->n && status == TERN_OK; i++)
            if (is_in_group(b, i, g)) status = run_one(b, i, r < b->options->n_warmup, err);
        if (status == TERN_OK && r >= b->options->n_warmup) status = measure_peaks(b, g, true, err);
    }
    return status;
}

// Windows for the energy counters, where there are some: the idle device first, then every test.
static tern_status measure_energy(bench *b, uint32_t g, tern_error *err)
{
    tern_status status = TERN_OK;
    bench_monitor *monitor = NULL;
    for (size_t i = 0; i < b->n && status == TERN_OK; i++) {
        bench_instance *on = &b->instances[b->instance_of[i]];
        if (!is_in_group(b, i, g) || b->options->energy_window_s <= 0.0) continue;
        status = bench_monitors_open(&b->monitors, b->options, &on->device, &monitor, err);
        if (status == TERN_OK) status = show(b, "energy", err);
        if (status == TERN_OK && monitor->idle_w <= 0.0) status = bench_monitor_idle(monitor, b->options, err);
        if (status == TERN_OK) status = bench_monitor_energy(monitor, b->options, on, &b->configs[i], &b->rows[i], err);
    }
    return status;
}

// After the rounds: what the model took, and whether the bits that come out are still those of before.
static tern_status close_group(bench *b, uint32_t g, tern_error *err)
{
    tern_status status = TERN_OK;
    for (size_t k = 0; k < b->n_instances && status == TERN_OK; k++) {
        bench_instance *in = &b->instances[k];
        uint64_t hash = 0;
        if (in->group != g) continue;
        tern_model_memory(in->model, &in->planned, NULL, &in->peak);
        status = bench_instance_logits(in, false, &hash, err);
        for (size_t i = 0; i < b->n && status == TERN_OK; i++) {
            if (b->instance_of[i] != k) continue;
            b->rows[i].logits_hash = in->logits_hash;
            b->rows[i].is_stable = hash == in->logits_hash;
        }
    }
    return status;
}

static tern_status run_group(bench *b, uint32_t g, tern_error *err)
{
    tern_status status = measure_peaks(b, g, false, err);
    for (size_t k = 0; k < b->n_instances && status == TERN_OK; k++) {
        if (b->instances[k].group != g) continue;
        status = bench_instance_load(&b->instances[k], b->options, err);
        if (status != TERN_OK && status != TERN_CANCELLED) error_prefix(err, "%s", b->instances[k].config->model);
    }
    if (status == TERN_OK) status = run_rounds(b, g, err);
    if (status == TERN_OK) status = measure_energy(b, g, err);
    if (status == TERN_OK) status = close_group(b, g, err);
    if (b->options->watch != NULL) b->options->watch(b->options->user, NULL);
    for (size_t k = 0; k < b->n_instances; k++)
        if (b->instances[k].group == g) bench_instance_unload(&b->instances[k]);
    return status;
}

static tern_status run_all(bench *b, tern_error *err)
{
    tern_status status = TERN_OK;
    for (size_t i = 0; i < b->n && status == TERN_OK; i++) status = check_config(&b->configs[i], err);
    if (status == TERN_OK) status = assign(b, false, err);
    if (status == TERN_OK) status = plan_all(b, err);
    if (status == TERN_BUDGET) { // perhaps all depths together are too much; alone they may fit
        tern_error again = {0};
        status = assign(b, true, &again);
        if (status == TERN_OK) status = plan_all(b, &again);
        if (status == TERN_OK && err != NULL) error_clear(err);
    }
    if (status != TERN_OK) return status;
    group(b);
    b->n_work = (uint64_t)b->n * (b->options->n_warmup + b->options->n_repeats);
    for (size_t i = 0; i < b->n && status == TERN_OK; i++) status = prepare_row(b, i, err);
    for (size_t k = 0; k < b->n_instances && status == TERN_OK && b->options->is_checked; k++) {
        const bench_instance *in = &b->instances[k];
        status = show(b, "self-test", err);
        if (status == TERN_OK)
            status = bench_checks_device(&b->checks, b->options, in->device.name, in->plan.n_threads, err);
    }
    for (uint32_t g = 0; g < b->n_groups && status == TERN_OK; g++) status = run_group(b, g, err);
    return status;
}

// Rows with samples, summarised and judged; the others are dropped.
static tern_status finish(bench *b, bool is_complete, bench_rows *out, tern_error *err)
{
    tern_status status = TERN_OK;
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) {
        bench_row *row = &b->rows[i];
        const bench_instance *from = &b->instances[b->instance_of[i]];
        if (row->n_samples > 0 && status == TERN_OK) status = summarise(row, err);
        if (row->n_samples == 0 || status != TERN_OK) {
            bench_row_free(row);
            continue;
        }
        bench_peaks_apply(&b->peaks, row);
        if (from->planned > 0) row->vram_planned_bytes = from->planned;
        row->vram_peak_bytes = from->peak > 0 ? from->peak : from->memory_used;
        snprintf(row->vram_source, sizeof row->vram_source, "%s", from->peak > 0 ? "backend" : from->memory_source);
        row->memory_used_bytes = from->memory_used;
        snprintf(row->memory_source, sizeof row->memory_source, "%s", from->memory_source);
        if (is_complete) bench_checks_judge(&b->checks, b->options, row, from, b->instances, b->n_instances);
        if (!is_complete)
            bench_row_refuse(row, "the run ended early, after %u of %u samples", row->n_samples, b->options->n_repeats);
        b->rows[n++] = *row;
    }
    if (n == 0) free(b->rows);
    *out = (bench_rows){n > 0 ? b->rows : NULL, n};
    return status;
}

tern_status bench_run(const bench_config *configs, size_t n, const bench_options *options, bench_rows *out,
                      tern_error *err)
{
    *out = (bench_rows){0};
    if (n == 0 || options->n_repeats == 0)
        return error_set(err, TERN_INVALID_ARGUMENT, "bench: nothing to do: %zu configurations, %u repeats", n,
                         options->n_repeats);
    bench b = {.configs = configs, .n = n, .options = options};
    b.instances = calloc(n, sizeof *b.instances);
    b.instance_of = calloc(n, sizeof *b.instance_of);
    b.rows = calloc(n, sizeof *b.rows);
    b.throttle_bits = calloc(n, sizeof *b.throttle_bits);
    tern_status status = TERN_OK;
    if (b.instances == NULL || b.instance_of == NULL || b.rows == NULL || b.throttle_bits == NULL) {
        free(b.rows);
        status = error_set(err, TERN_HOST_MEMORY, "no memory for a bench of %zu configurations", n);
    } else {
        status = run_all(&b, err);
        tern_error finish_err = {0};
        tern_status finished = finish(&b, status == TERN_OK, out, &finish_err);
        if (status == TERN_OK && finished != TERN_OK) status = error_set(err, finished, "%s", finish_err.message);
        free_instances(&b);
    }
    bench_peaks_free(&b.peaks);
    bench_checks_free(&b.checks);
    bench_monitors_close(&b.monitors);
    free(b.throttle_bits);
    free(b.instances);
    free(b.instance_of);
    return status;
}

void bench_row_free(bench_row *row)
{
    free(row->samples_ns);
    free(row->prompt_ns);
    free(row->token_ns);
    free(row->clocks_mhz);
    *row = (bench_row){0};
}

void bench_rows_free(bench_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++) bench_row_free(&rows->items[i]);
    free(rows->items);
    *rows = (bench_rows){0};
}
