// Products alone; see kernel_bench.h.
#include "kernel_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "op_time.h"
#include "report_json.h"
#include "selftest.h"
#include "stats.h"
#include "tern.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CHAIN_NS     2e6 // a sample holds executions for about so long, at most CHAIN_MAX
#define CHAIN_MAX    20
#define BUDGET_NS    4e9 // what all samples of one product may take; at least MIN_REPEATS are made
#define MIN_REPEATS  3
#define BOUND_MARGIN 1.05

static const struct {
    const char *geometry, *matrix;
    uint32_t n, k;
} matrices[] = {
    {"2b4t", "qkv", 3840, 2560},    {"2b4t", "o", 2560, 2560},    {"2b4t", "gate-up", 13824, 2560},
    {"2b4t", "down", 2560, 6912},   {"8b", "qkv", 6144, 4096},    {"8b", "o", 4096, 4096},
    {"8b", "gate-up", 28672, 4096}, {"8b", "down", 4096, 14336},  {"70b", "qkv", 10240, 8192},
    {"70b", "o", 8192, 8192},       {"70b", "gate", 28672, 8192}, {"70b", "down", 8192, 28672},
};
static const uint32_t m_sweep[] = {1, 8, 32, 64, 512};

// One product on the device, being timed.
typedef struct contender {
    op_case c;
    op_timer *timer;
    kernel_row row;
} contender;

typedef struct kernel_bench {
    const kernel_options *options;
    op_runner runner;
    probe peaks;
    char refusal[160]; // why no row is valid; "": nothing against them
    kernel_rows rows;
} kernel_bench;

static tern_status self_test(kernel_bench *b, backend_list backends, const char *device_name, tern_error *err)
{
    const selftest_options o = {.level = LEVEL_QUICK,
                                .is_short = true,
                                .filter = "_mm ", // the products
                                .n_threads = b->options->n_threads};
    selftest_result result = {0};
    if (!b->options->is_checked) {
        snprintf(b->refusal, sizeof b->refusal, "not checked");
        return TERN_OK;
    }
    tern_status status = selftest_run(backends, device_name, &o, NULL, NULL, &result, err);
    if (status == TERN_OK && result.failed > 0)
        snprintf(b->refusal, sizeof b->refusal, "%zu of %zu products differ from the reference", result.failed,
                 result.failed + result.passed);
    return status;
}

static void product_name(size_t i, uint32_t m, char *out, size_t n_bytes)
{
    snprintf(out, n_bytes, "%s %s M=%u ", matrices[i].geometry, matrices[i].matrix, m);
}

static bool is_chosen(const kernel_bench *b, size_t i, uint32_t m)
{
    char name[64];
    product_name(i, m, name, sizeof name);
    return b->options->filter == NULL || strstr(name, b->options->filter) != NULL;
}

// ---- one shape

// The device says no to kinds it does not have: then there is no contender, and no failure.
static tern_status open_contender(kernel_bench *b, size_t i, uint32_t m, op_kind kind, ternary_layout layout,
                                  contender *out, tern_error *err)
{
    const device_facts *facts = &b->runner.facts;
    tern_error local = {0};
    bool is_blas = kind >= OP_BLAS_MM;
    out->c = (op_case){.kind = kind,
                       .m = m,
                       .n = matrices[i].n,
                       .k = matrices[i].k,
                       .is_ternary = kind == OP_TERNARY_MM,
                       .layout = layout,
                       .dense = kind == OP_BLAS_INT_MM                           ? DENSE_INT8
                                : kind == OP_BLAS_MM && facts->blas_name != NULL ? facts->blas_type
                                                                                 : DENSE_F16,
                       .n_terms = 1,
                       .n_macs = (uint64_t)m * matrices[i].n * matrices[i].k};
    product_name(i, m, out->c.name, sizeof out->c.name);
    tern_status status = op_timer_open(&b->runner, &out->c, &out->timer, &local);
    if (status == TERN_DEVICE_UNSUPPORTED) return TERN_OK;
    if (status != TERN_OK) return error_set(err, status, "%s: %s", out->c.name, local.message);
    op_timing timing;
    op_timer_facts(out->timer, &timing);
    out->row = (kernel_row){.kind = kind,
                            .m = m,
                            .n = out->c.n,
                            .k = out->c.k,
                            .n_copies = timing.n_copies,
                            .bytes_moved = timing.bytes_moved,
                            .n_macs = out->c.n_macs};
    snprintf(out->row.geometry, sizeof out->row.geometry, "%s", matrices[i].geometry);
    snprintf(out->row.matrix, sizeof out->row.matrix, "%s", matrices[i].matrix);
    snprintf(out->row.device, sizeof out->row.device, "%s", facts->name);
    snprintf(out->row.description, sizeof out->row.description, "%s", facts->description);
    if (kind == OP_TERNARY_MM)
        snprintf(out->row.weights, sizeof out->row.weights, layout == TERNARY_T80 ? "t80" : "t64");
    else
        snprintf(out->row.weights, sizeof out->row.weights, "%s%s%.18s%s", dense_formats[out->c.dense].name,
                 is_blas ? " (" : "", is_blas ? facts->blas_name : "", is_blas ? ")" : "");
    out->row.samples_ns = calloc(b->options->n_repeats, sizeof *out->row.samples_ns);
    return out->row.samples_ns != NULL ? TERN_OK : error_set(err, TERN_HOST_MEMORY, "no memory for samples");
}

// The warm-up: two discarded executions, the second of which says how many make a sample and how many samples to take.
static tern_status warm_up(kernel_bench *b, contender *c, size_t *n_repeats, tern_error *err)
{
    uint64_t ns = 0;
    tern_status status = op_timer_sample(c->timer, 1, &ns, err);
    if (status == TERN_OK) status = op_timer_sample(c->timer, 1, &ns, err);
    double chain = ns > 0 ? CHAIN_NS / (double)ns : CHAIN_MAX;
    c->row.n_chain = chain < 1.0 ? 1 : chain > CHAIN_MAX ? CHAIN_MAX : (size_t)chain;
    double affordable = BUDGET_NS / ((double)ns * (double)c->row.n_chain + 1.0);
    size_t n = affordable < MIN_REPEATS ? MIN_REPEATS : b->options->n_repeats;
    if (affordable >= MIN_REPEATS && affordable < (double)n) n = (size_t)affordable;
    if (n > b->options->n_repeats) n = b->options->n_repeats;
    if (n < *n_repeats) *n_repeats = n;
    return status;
}

static tern_status summarise(kernel_row *row, tern_error *err)
{
    stats s = {0};
    tern_status status = stats_of_ns(row->samples_ns, row->n_samples, &s, err);
    if (status != TERN_OK) return status;
    row->median_ns = s.median, row->mean_ns = s.mean, row->sd_ns = s.sd;
    row->min_ns = s.min, row->max_ns = s.max;
    row->gbps = (double)row->bytes_moved / s.median;
    row->gmacs = (double)row->n_macs / s.median;
    return TERN_OK;
}

static tern_status keep_row(kernel_bench *b, contender *c, tern_error *err)
{
    kernel_row *larger = realloc(b->rows.items, (b->rows.n + 1) * sizeof *larger);
    if (larger == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a row");
    b->rows.items = larger;
    b->rows.items[b->rows.n++] = c->row;
    c->row.samples_ns = NULL;
    return TERN_OK;
}

// Both ternary layouts, their float twin and, where the device's BLAS has it, the int8 product of the shape, in turns.
enum { T64, T80, FLOAT, INT8, N_CONTENDERS };

static tern_status open_all(kernel_bench *b, size_t i, uint32_t m, contender *all, tern_error *err)
{
    tern_status status = open_contender(b, i, m, OP_TERNARY_MM, TERNARY_T64, &all[T64], err);
    if (status == TERN_OK) status = open_contender(b, i, m, OP_TERNARY_MM, TERNARY_T80, &all[T80], err);
    if (status == TERN_OK) status = open_contender(b, i, m, OP_BLAS_MM, TERNARY_T64, &all[FLOAT], err);
    if (status == TERN_OK && all[FLOAT].timer == NULL)
        status = open_contender(b, i, m, OP_DENSE_MM, TERNARY_T64, &all[FLOAT], err);
    if (status == TERN_OK && all[FLOAT].row.kind == OP_BLAS_MM)
        status = open_contender(b, i, m, OP_BLAS_INT_MM, TERNARY_T64, &all[INT8], err);
    return status;
}

static tern_status keep_rows(kernel_bench *b, contender *all, tern_error *err)
{
    tern_status status = TERN_OK;
    double float_ns = 0.0;
    for (int k = N_CONTENDERS - 1; k >= 0 && status == TERN_OK; k--) {
        if (all[k].timer == NULL) continue;
        status = summarise(&all[k].row, err);
        if (k == FLOAT) float_ns = all[k].row.median_ns;
        if (k < FLOAT) all[k].row.speedup = float_ns / all[k].row.median_ns;
    }
    for (int k = 0; k < N_CONTENDERS && status == TERN_OK; k++)
        if (all[k].timer != NULL) status = keep_row(b, &all[k], err);
    return status;
}

static tern_status time_shape(kernel_bench *b, size_t i, uint32_t m, tern_error *err)
{
    contender all[N_CONTENDERS] = {0};
    size_t n_repeats = b->options->n_repeats;
    tern_status status = open_all(b, i, m, all, err);
    for (int k = 0; k < N_CONTENDERS && status == TERN_OK; k++)
        if (all[k].timer != NULL) status = warm_up(b, &all[k], &n_repeats, err);
    for (size_t r = 0; r < n_repeats && status == TERN_OK; r++)
        for (int k = 0; k < N_CONTENDERS && status == TERN_OK; k++) {
            kernel_row *row = &all[k].row;
            if (all[k].timer == NULL) continue;
            status = op_timer_sample(all[k].timer, row->n_chain, &row->samples_ns[row->n_samples], err);
            row->n_samples += status == TERN_OK;
        }
    if (status == TERN_OK) status = keep_rows(b, all, err);
    for (int k = 0; k < N_CONTENDERS; k++) {
        op_timer_close(all[k].timer);
        free(all[k].row.samples_ns);
    }
    return status;
}

// ---- all shapes

static void better(probe_rate *known, const probe_rate *seen)
{
    if (seen->best > known->best) *known = *seen;
}

// Other load on the machine lowers what one look sees: it is looked before and after, and the best counts.
static tern_status look(kernel_bench *b, backend_list backends, const char *device_name, tern_error *err)
{
    probe seen = {0};
    tern_status status = probe_run(backends, device_name, b->options->n_threads, PROBE_READ | PROBE_INT8, &seen, err);
    better(&b->peaks.read, &seen.read);
    better(&b->peaks.int8, &seen.int8);
    return status;
}

// Shares and validity, from the final peaks.
static void judge(const kernel_bench *b, kernel_row *row)
{
    row->peak_gbps = b->peaks.read.best;
    row->peak_gmacs = b->peaks.int8.best;
    snprintf(row->peak_source, sizeof row->peak_source, "%s", b->peaks.read.source);
    snprintf(row->peak_int8_source, sizeof row->peak_int8_source, "%s", b->peaks.int8.source);
    if (row->peak_gbps > 0.0) row->pct_peak_bw = 100.0 * row->gbps / row->peak_gbps;
    if (row->peak_gmacs > 0.0 && row->kind == OP_TERNARY_MM) row->pct_peak_int8 = 100.0 * row->gmacs / row->peak_gmacs;
    row->is_valid = b->refusal[0] == 0;
    snprintf(row->reason, sizeof row->reason, "%s", b->refusal);
    double fastest = (double)row->bytes_moved / row->min_ns;
    if (row->is_valid && row->peak_gbps > 0.0 && fastest > BOUND_MARGIN * row->peak_gbps) {
        row->is_valid = false;
        snprintf(row->reason, sizeof row->reason,
                 "beats the bound: %.2f GB/s in its fastest sample, measured read bandwidth is %.2f", fastest,
                 row->peak_gbps);
    }
}

static tern_status run_shapes(kernel_bench *b, tern_error *err)
{
    tern_status status = TERN_OK;
    size_t n_chosen = 0, n_done = 0;
    for (size_t i = 0; i < COUNT(matrices); i++)
        for (size_t m = 0; m < COUNT(m_sweep); m++) n_chosen += is_chosen(b, i, m_sweep[m]);
    if (n_chosen == 0)
        return error_set(err, TERN_NOT_FOUND, "no product is called '%.60s'; names are like '70b down M=1 '",
                         b->options->filter);
    for (size_t i = 0; i < COUNT(matrices) && status == TERN_OK; i++)
        for (size_t m = 0; m < COUNT(m_sweep) && status == TERN_OK; m++) {
            char name[64];
            if (!is_chosen(b, i, m_sweep[m])) continue;
            product_name(i, m_sweep[m], name, sizeof name);
            if (b->options->progress != NULL &&
                !b->options->progress(b->options->user, (double)n_done++ / (double)n_chosen, name))
                status = error_set(err, TERN_CANCELLED, "kernels: interrupted");
            if (status == TERN_OK) status = time_shape(b, i, m_sweep[m], err);
        }
    return status;
}

tern_status kernel_bench_run(backend_list backends, const char *device_name, const kernel_options *options,
                             kernel_rows *out, tern_error *err)
{
    kernel_bench b = {.options = options};
    device_ref ref;
    *out = (kernel_rows){0};
    if (options->n_repeats == 0) return error_set(err, TERN_INVALID_ARGUMENT, "kernels: at least one repeat is needed");
    tern_status status = registry_find(backends, device_name, &ref, err);
    if (status == TERN_OK) status = self_test(&b, backends, device_name, err);
    if (status == TERN_OK) status = look(&b, backends, device_name, err);
    if (status == TERN_OK) status = op_runner_open(ref.backend, ref.index, options->n_threads, &b.runner, err);
    if (status == TERN_OK) status = run_shapes(&b, err);
    op_runner_close(&b.runner);
    if (status == TERN_OK) status = look(&b, backends, device_name, err);
    for (size_t i = 0; i < b.rows.n; i++) judge(&b, &b.rows.items[i]);
    *out = b.rows;
    return status;
}

void kernel_rows_free(kernel_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++) free(rows->items[i].samples_ns);
    free(rows->items);
    *rows = (kernel_rows){0};
}

// ---- reports

static json_t *row_json(const kernel_row *r)
{
    json_t *o = json_object(), *samples = json_array();
    for (size_t i = 0; i < r->n_samples; i++)
        json_array_append_new(samples, json_integer((json_int_t)r->samples_ns[i]));
    report_set_text(o, "build_commit", tern_build_commit());
    report_set_text(o, "device", r->device);
    report_set_text(o, "description", r->description);
    report_set_text(o, "geometry", r->geometry);
    report_set_text(o, "matrix", r->matrix);
    report_set_text(o, "op", op_kind_name(r->kind));
    report_set_text(o, "weights", r->weights);
    report_set_count(o, "m", r->m);
    report_set_count(o, "n", r->n);
    report_set_count(o, "k", r->k);
    report_set_real(o, "us", r->median_ns / 1e3);
    report_set_real(o, "us_mean", r->mean_ns / 1e3);
    report_set_real(o, "us_sd", r->sd_ns / 1e3);
    report_set_real(o, "us_min", r->min_ns / 1e3);
    report_set_real(o, "us_max", r->max_ns / 1e3);
    report_set_real(o, "gbps", r->gbps);
    report_set_real(o, "peak_gbps", r->peak_gbps);
    report_set_real(o, "pct_peak_bw", r->pct_peak_bw);
    report_set_text(o, "peak_source", r->peak_source);
    report_set_real(o, "gmacs", r->gmacs);
    report_set_real(o, "peak_gmacs", r->peak_gmacs);
    report_set_real(o, "pct_peak_int8", r->pct_peak_int8);
    report_set_text(o, "peak_int8_source", r->peak_int8_source);
    report_set_real(o, "speedup_over_float", r->speedup);
    report_set_count(o, "bytes", r->bytes_moved);
    report_set_count(o, "copies", r->n_copies);
    report_set_count(o, "chain", r->n_chain);
    report_set_text(o, "weights_cache", "cold");
    json_object_set_new(o, "valid", json_boolean(r->is_valid));
    report_set_text(o, "reason", r->reason);
    json_object_set_new(o, "samples_ns", samples);
    return o;
}

static void add_markdown(report *r, const kernel_rows *rows)
{
    report_add(r,
               "| model | matrix  |    M |     N |     K | weights                  |           us |   GB/s |  %% BW | "
               " GMAC/s | %% int8 | vs float | valid |\n"
               "| ----- | ------- | ---: | ----: | ----: | ------------------------ | -----------: | -----: | ----: | "
               "------: | -----: | -------: | ----- |\n");
    for (size_t i = 0; i < rows->n; i++) {
        const kernel_row *row = &rows->items[i];
        char int8[16] = "-", speedup[16] = "-";
        if (row->pct_peak_int8 > 0.0) snprintf(int8, sizeof int8, "%.1f", row->pct_peak_int8);
        if (row->speedup > 0.0) snprintf(speedup, sizeof speedup, "%.2fx", row->speedup);
        report_add(r, "| %-5s | %-7s | %4u | %5u | %5u | %-24s | %12.1f | %6.2f | %5.1f | %7.1f | %6s | %8s | %-5s |\n",
                   row->geometry, row->matrix, row->m, row->n, row->k, row->weights, row->median_ns / 1e3, row->gbps,
                   row->pct_peak_bw, row->gmacs, int8, speedup, row->is_valid ? "yes" : "NO");
    }
    const kernel_row *first = rows->n > 0 ? &rows->items[0] : NULL;
    if (first == NULL) return;
    report_add(r, "\nmedians; weights from copies larger than any cache; vs float: its time over the ternary one's\n");
    report_add(r, "%% BW: of %.2f GB/s (%s)\n", first->peak_gbps, first->peak_source);
    report_add(r, "%% int8: of %.1f GMAC/s (%s)\n", first->peak_gmacs, first->peak_int8_source);
    for (size_t i = 0; i < rows->n; i++)
        if (rows->items[i].reason[0] != 0)
            report_add(r, "%s %s M=%u %s: NOT VALID: %s\n", rows->items[i].geometry, rows->items[i].matrix,
                       rows->items[i].m, rows->items[i].weights, rows->items[i].reason);
    report_add(r, "device: %s (%s)\nbuild: %s\n", first->device, first->description, tern_build_commit());
}

tern_status kernel_rows_text(const kernel_rows *rows, bench_format format, char **out, tern_error *err)
{
    if (format == BENCH_MD) {
        report r = {0};
        add_markdown(&r, rows);
        return report_take(&r, out, err);
    }
    json_t *array = json_array();
    for (size_t i = 0; i < rows->n; i++) json_array_append_new(array, row_json(&rows->items[i]));
    return report_objects(array, rows->n, format, "kernels", out, err);
}
