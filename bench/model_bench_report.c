// Rows of the model benchmark as JSON, JSON lines, CSV, SQL and markdown; see model_bench.h.
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_bench.h"
#include "report_json.h"

// ------------------------------------------------------------------------------------------------ fields

static json_t *times_json(const uint64_t *ns, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(array, json_integer((json_int_t)ns[i]));
    return array;
}

static json_t *samples_ts_json(const bench_row *row)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < row->n_samples; i++)
        json_array_append_new(array, json_real(bench_row_tokens(row) * 1e9 / (double)row->samples_ns[i]));
    return array;
}

static bool has_energy(const bench_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].energy.source[0] != 0) return true;
    return false;
}

// llama-bench's names in its order.
static void set_llama_fields(json_t *o, const bench_row *r)
{
    report_set_text(o, "build_commit", tern_build_commit());
    report_set_count(o, "build_number", 0);
    report_set_text(o, "cpu_info", r->cpu_info);
    report_set_text(o, "gpu_info", r->gpu_info);
    report_set_text(o, "backends", r->backend);
    report_set_text(o, "model_filename", r->model_filename);
    report_set_text(o, "model_type", r->model_type);
    report_set_count(o, "model_size", r->model_size);
    report_set_count(o, "model_n_params", r->model_n_params);
    report_set_count(o, "n_batch", r->n_batch);
    report_set_count(o, "n_ubatch", r->n_batch);
    report_set_count(o, "n_threads", r->n_threads);
    report_set_text(o, "type_k", tern_kv_type_name(r->type_k));
    report_set_text(o, "type_v", tern_kv_type_name(r->type_v));
    report_set_count(o, "n_gpu_layers", r->n_gpu_layers);
    report_set_count(o, "n_prompt", r->test.n_prompt);
    report_set_count(o, "n_gen", r->test.n_gen);
    report_set_count(o, "n_depth", r->test.n_depth);
    report_set_text(o, "test_time", r->test_time);
    report_set_real(o, "avg_ns", r->avg_ns);
    report_set_real(o, "stddev_ns", r->stddev_ns);
    report_set_real(o, "avg_ts", r->avg_ts);
    report_set_real(o, "stddev_ts", r->stddev_ts);
    json_object_set_new(o, "samples_ns", times_json(r->samples_ns, r->n_samples));
    json_object_set_new(o, "samples_ts", samples_ts_json(r));
}

static void set_energy_fields(json_t *o, const bench_energy *e)
{
    report_set_real(o, "joules", e->joules);
    report_set_real(o, "joules_net", e->joules_net);
    report_set_real(o, "j_per_token", e->j_per_token);
    report_set_real(o, "net_j_per_token", e->net_j_per_token);
    report_set_real(o, "idle_w", e->idle_w);
    report_set_real(o, "sampled_w", e->sampled_w);
    report_set_real(o, "energy_window_s", e->window_s);
    report_set_text(o, "energy_source", e->source);
}

static void set_own_fields(json_t *o, const bench_row *r)
{
    char hash[20];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)r->logits_hash);
    report_set_real(o, "median_ns", r->median_ns);
    report_set_real(o, "min_ns", r->min_ns);
    report_set_real(o, "max_ns", r->max_ns);
    report_set_real(o, "median_ts", r->median_ts);
    report_set_real(o, "min_ts", r->min_ts);
    report_set_real(o, "max_ts", r->max_ts);
    report_set_count(o, "n_seq", r->n_seq);
    report_set_real(o, "ttft_ns", r->ttft_ns);
    report_set_real(o, "token_p50_ns", r->token.p50);
    report_set_real(o, "token_p90_ns", r->token.p90);
    report_set_real(o, "token_p99_ns", r->token.p99);
    report_set_real(o, "gbps", r->gbps);
    report_set_real(o, "peak_gbps", r->peak_gbps);
    report_set_real(o, "pct_peak_bw", r->pct_peak_bw);
    report_set_real(o, "typical_gbps", r->typical_gbps);
    report_set_real(o, "pct_typical_bw", r->pct_typical_bw);
    report_set_text(o, "peak_source", r->peak_source);
    report_set_count(o, "n_macs", r->n_macs);
    report_set_real(o, "gmacs", r->gmacs);
    report_set_real(o, "peak_gmacs", r->peak_gmacs);
    report_set_real(o, "pct_peak_int8", r->pct_peak_int8);
    report_set_real(o, "typical_gmacs", r->typical_gmacs);
    report_set_real(o, "pct_typical_int8", r->pct_typical_int8);
    report_set_text(o, "peak_int8_source", r->peak_int8_source);
    report_set_count(o, "bytes_weights", r->bytes_weights);
    report_set_count(o, "bytes_kv", r->bytes_kv);
    report_set_count(o, "vram_planned_bytes", r->vram_planned_bytes);
    report_set_count(o, "vram_peak_bytes", r->vram_peak_bytes);
    report_set_text(o, "vram_source", r->vram_source);
    report_set_count(o, "memory_used_bytes", r->memory_used_bytes);
    report_set_text(o, "memory_source", r->memory_source);
    report_set_count(o, "clock_sm_mhz", r->clock_sm_mhz);
    report_set_text(o, "throttle_reasons", r->throttle_reasons);
    report_set_text(o, "fallback_ops", r->fallback_ops);
    json_object_set_new(o, "synthetic_weights", json_boolean(r->is_synthetic));
    report_set_text(o, "weights", r->weights);
    report_set_text(o, "head", r->head);
    report_set_count(o, "n_layers_streamed", r->n_layers_streamed);
    report_set_text(o, "products", r->products);
    json_object_set_new(o, "fast_attention", json_boolean(r->fast_attention));
    report_set_text(o, "attention", r->attention);
    report_set_text(o, "device", r->device);
    json_object_set_new(o, "eager", json_boolean(r->is_eager));
    report_set_text(o, "order", r->is_interleaved ? "interleaved" : "sequential");
    report_set_count(o, "group", r->group);
    report_set_text(o, "logits_hash", hash);
    json_object_set_new(o, "valid", json_boolean(r->is_valid));
    report_set_text(o, "reason", r->reason);
}

// All fields of a row. jansson's setters fail only when memory is out: then a field is missing, which is seen by count.
static json_t *row_json(const bench_row *r, bool with_energy)
{
    json_t *o = json_object();
    set_llama_fields(o, r);
    set_own_fields(o, r);
    if (with_energy) set_energy_fields(o, &r->energy);
    size_t n_expected = 25 + 48 + (with_energy ? 8 : 0);
    if (json_object_size(o) == n_expected) return o;
    json_decref(o);
    return NULL;
}

// ------------------------------------------------------------------------------------------------ markdown

typedef enum column {
    COLUMN_MODEL,
    COLUMN_SIZE,
    COLUMN_PARAMS,
    COLUMN_BACKEND,
    COLUMN_NGL,
    COLUMN_THREADS,
    COLUMN_N_BATCH,
    COLUMN_TYPE_K,
    COLUMN_TYPE_V,
    COLUMN_N_SEQ,
    COLUMN_TEST,
    COLUMN_SPEED,
    COLUMN_GBPS,
    COLUMN_PCT_BW,
    COLUMN_PCT_INT8,
    COLUMN_LATENCY,
    COLUMN_JOULES,
    COLUMN_VALID,
    N_COLUMNS
} column;

static const struct {
    const char *title;
    int width; // at the least
    bool is_left;
} columns[N_COLUMNS] = {
    [COLUMN_MODEL] = {"model", 30, true},      [COLUMN_SIZE] = {"size", 10, false},
    [COLUMN_PARAMS] = {"params", 10, false},   [COLUMN_BACKEND] = {"backend", 10, true},
    [COLUMN_NGL] = {"ngl", 3, false},          [COLUMN_THREADS] = {"threads", 7, false},
    [COLUMN_N_BATCH] = {"n_batch", 7, false},  [COLUMN_TYPE_K] = {"type_k", 6, false},
    [COLUMN_TYPE_V] = {"type_v", 6, false},    [COLUMN_N_SEQ] = {"np", 3, false},
    [COLUMN_TEST] = {"test", 15, false},       [COLUMN_SPEED] = {"t/s", 20, false},
    [COLUMN_GBPS] = {"GB/s", 8, false},        [COLUMN_PCT_BW] = {"% BW", 13, false},
    [COLUMN_PCT_INT8] = {"% int8", 13, false}, [COLUMN_LATENCY] = {"ms p50 / p99", 15, false},
    [COLUMN_JOULES] = {"J/token", 8, false},   [COLUMN_VALID] = {"valid", 5, true},
};

#define CELL_BYTES 200

// Two numbers beside each other, or nothing where the first is not known.
static void pair_text(double first, double second, int n_digits, char *out, size_t n_bytes)
{
    if (first > 0.0)
        snprintf(out, n_bytes, "%.*f / %.*f", n_digits, first, n_digits, second);
    else
        snprintf(out, n_bytes, "-");
}

static void column_text(const bench_row *r, column c, char *out, size_t n_bytes)
{
    out[0] = 0;
    switch (c) {
    case COLUMN_MODEL: snprintf(out, n_bytes, "%s", r->model_type); break;
    case COLUMN_SIZE:
        if (r->model_size >= 1u << 30)
            snprintf(out, n_bytes, "%.2f GiB", (double)r->model_size / 0x1p30);
        else
            snprintf(out, n_bytes, "%.2f MiB", (double)r->model_size / 0x1p20);
        break;
    case COLUMN_PARAMS:
        if (r->model_n_params >= 1000000000u)
            snprintf(out, n_bytes, "%.2f B", (double)r->model_n_params * 1e-9);
        else
            snprintf(out, n_bytes, "%.2f M", (double)r->model_n_params * 1e-6);
        break;
    case COLUMN_BACKEND: snprintf(out, n_bytes, "%s", r->backend); break;
    case COLUMN_NGL: snprintf(out, n_bytes, "%u", r->n_gpu_layers); break;
    case COLUMN_THREADS: snprintf(out, n_bytes, "%u", r->n_threads); break;
    case COLUMN_N_BATCH: snprintf(out, n_bytes, "%u", r->n_batch); break;
    case COLUMN_TYPE_K: snprintf(out, n_bytes, "%s", tern_kv_type_name(r->type_k)); break;
    case COLUMN_TYPE_V: snprintf(out, n_bytes, "%s", tern_kv_type_name(r->type_v)); break;
    case COLUMN_N_SEQ: snprintf(out, n_bytes, "%u", r->n_seq); break;
    case COLUMN_TEST: bench_test_name(&r->test, out, n_bytes); break;
    case COLUMN_SPEED: snprintf(out, n_bytes, "%.2f \xc2\xb1 %.2f", r->avg_ts, r->stddev_ts); break; // plus-minus
    case COLUMN_GBPS: snprintf(out, n_bytes, "%.2f", r->gbps); break;
    case COLUMN_PCT_BW: pair_text(r->pct_peak_bw, r->pct_typical_bw, 1, out, n_bytes); break;
    case COLUMN_PCT_INT8: pair_text(r->pct_peak_int8, r->pct_typical_int8, 1, out, n_bytes); break;
    case COLUMN_LATENCY: pair_text(r->token.p50 * 1e-6, r->token.p99 * 1e-6, 2, out, n_bytes); break;
    case COLUMN_JOULES:
        if (r->energy.source[0] != 0)
            snprintf(out, n_bytes, "%.4g", r->energy.j_per_token);
        else
            snprintf(out, n_bytes, "-");
        break;
    case COLUMN_VALID: snprintf(out, n_bytes, "%s", r->is_valid ? "yes" : "NO"); break;
    case N_COLUMNS: break;
    }
}

// As in llama-bench: threads or ngl by backend, and some columns only if their value varies between rows.
static bool is_shown(const bench_row *rows, size_t n, column c)
{
    bool any_cpu = false, any_gpu = false, varies = false, any_invalid = false, any_gen = false, any_int8 = false;
    char first[CELL_BYTES], text[CELL_BYTES];
    for (size_t i = 0; i < n; i++) {
        bool is_cpu = strcmp(rows[i].backend, "CPU") == 0;
        any_cpu |= is_cpu;
        any_gpu |= !is_cpu;
        any_invalid |= !rows[i].is_valid;
        any_gen |= rows[i].token.p50 > 0.0;
        any_int8 |= rows[i].pct_peak_int8 > 0.0;
        column_text(&rows[0], c, first, sizeof first);
        column_text(&rows[i], c, text, sizeof text);
        varies |= strcmp(first, text) != 0;
    }
    if (c == COLUMN_THREADS) return any_cpu;
    if (c == COLUMN_NGL) return any_gpu;
    if (c == COLUMN_PCT_INT8) return any_int8;
    if (c == COLUMN_LATENCY) return any_gen;
    if (c == COLUMN_JOULES) return has_energy(rows, n);
    if (c == COLUMN_VALID) return any_invalid;
    if (c == COLUMN_N_SEQ) return varies || (n > 0 && rows[0].n_seq > 1);
    return c == COLUMN_N_BATCH || c == COLUMN_TYPE_K || c == COLUMN_TYPE_V ? varies : true;
}

static int n_characters(const char *text)
{
    int n = 0;
    for (const char *p = text; *p != 0; p++) n += ((*p & 0xc0) != 0x80) + (*p == '|'); // which is escaped
    return n;
}

// A cell padded to the width, counted in characters.
static void add_padded(report *r, int width, bool is_left, const char *text)
{
    int n = n_characters(text), pad = width > n ? width - n : 0;
    report_add(r, "| %*s", is_left ? 0 : pad, "");
    report_add_cell(r, text);
    report_add(r, "%*s ", is_left ? pad : 0, "");
}

// Whether a rate, the double at this offset of a row, is known and no earlier row has the same.
static bool is_new_peak(const bench_row *rows, size_t i, size_t offset)
{
    double peak, earlier;
    memcpy(&peak, (const char *)&rows[i] + offset, sizeof peak);
    for (size_t k = 0; k < i; k++) {
        memcpy(&earlier, (const char *)&rows[k] + offset, sizeof earlier);
        if (!(earlier < peak || earlier > peak)) return false;
    }
    return peak > 0.0;
}

// What the table has no room for: where layers ran, throttling, why rows are not valid, and the denominators.
static void add_remarks(report *r, const bench_row *rows, size_t n)
{
    char name[64];
    for (size_t i = 0; i < n; i++) {
        const bench_row *row = &rows[i];
        bench_test_name(&row->test, name, sizeof name);
        if (row->fallback_ops[0] != 0) report_add(r, "%s %s: %s\n", row->model_type, name, row->fallback_ops);
        if (row->n_layers_streamed > 0)
            report_add(r, "%s %s: %u layers streamed from host memory\n", row->model_type, name,
                       row->n_layers_streamed);
        if (row->throttle_reasons[0] != 0)
            report_add(r, "%s %s: the clock was held back: %s\n", row->model_type, name, row->throttle_reasons);
        if (row->reason[0] != 0)
            report_add(r, "%s %s: %s%s\n", row->model_type, name, row->is_valid ? "" : "NOT VALID: ", row->reason);
    }
    for (size_t i = 0; i < n; i++)
        if (is_new_peak(rows, i, offsetof(bench_row, peak_gbps)))
            report_add(r, "%% BW: of %.2f GB/s, the best, and %.2f GB/s, the median read of %s (%s)\n",
                       rows[i].peak_gbps, rows[i].typical_gbps, rows[i].device, rows[i].peak_source);
    for (size_t i = 0; i < n; i++)
        if (is_new_peak(rows, i, offsetof(bench_row, peak_gmacs)))
            report_add(r, "%% int8: of %.1f GMAC/s, the best, and %.1f GMAC/s, the median rate of %s (%s)\n",
                       rows[i].peak_gmacs, rows[i].typical_gmacs, rows[i].device, rows[i].peak_int8_source);
    if (n > 0 && !rows[0].is_interleaved) report_add(r, "models measured one after the other, not interleaved\n");
}

static void add_markdown(report *r, const bench_row *rows, size_t n)
{
    int widths[N_COLUMNS];
    char text[CELL_BYTES];
    for (int c = 0; c < N_COLUMNS; c++) {
        widths[c] = is_shown(rows, n, (column)c) ? columns[c].width : 0; // 0: not shown
        for (size_t i = 0; i < n && widths[c] > 0; i++) {
            column_text(&rows[i], (column)c, text, sizeof text);
            if (n_characters(text) > widths[c]) widths[c] = n_characters(text);
        }
    }
    for (int c = 0; c < N_COLUMNS; c++)
        if (widths[c] > 0) add_padded(r, widths[c], columns[c].is_left, columns[c].title);
    report_add(r, "|\n");
    for (int c = 0; c < N_COLUMNS; c++) {
        if (widths[c] == 0) continue;
        report_add(r, "| ");
        for (int i = !columns[c].is_left; i < widths[c]; i++) report_add(r, "-");
        report_add(r, "%s ", columns[c].is_left ? "" : ":");
    }
    report_add(r, "|\n");
    for (size_t i = 0; i < n; i++) {
        for (int c = 0; c < N_COLUMNS; c++) {
            column_text(&rows[i], (column)c, text, sizeof text);
            if (widths[c] > 0) add_padded(r, widths[c], columns[c].is_left, text);
        }
        report_add(r, "|\n");
    }
    report_add(r, "\n");
    add_remarks(r, rows, n);
    report_add(r, "\nbuild: %s\n", tern_build_commit());
}

tern_status bench_rows_text(const bench_row *rows, size_t n, bench_format format, char **out, tern_error *err)
{
    if (format == BENCH_MD) {
        report r = {0};
        add_markdown(&r, rows, n);
        return report_take(&r, out, err);
    }
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(array, row_json(&rows[i], has_energy(rows, n)));
    return report_objects(array, n, format, "llama_bench", out, err);
}
