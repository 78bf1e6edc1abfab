// Rows of the model benchmark as JSON, JSON lines, CSV and markdown; see model_bench.h.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_bench.h"
#include "report.h"

static const char *kv_name(tern_kv_type type)
{
    static const char *const names[] = {"f32", "f16", "int8", "int4"};
    return names[type];
}

// ------------------------------------------------------------------------------------------------ JSON and CSV

static json_t *samples_ns_json(const model_bench_row *row)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < row->n_samples; i++)
        json_array_append_new(array, json_integer((json_int_t)row->samples_ns[i]));
    return array;
}

static json_t *samples_ts_json(const model_bench_row *row)
{
    json_t *array = json_array();
    double n_tokens = (double)row->test.n_prompt + (double)row->test.n_gen;
    for (uint32_t i = 0; i < row->n_samples; i++)
        json_array_append_new(array, json_real(n_tokens * 1e9 / (double)row->samples_ns[i]));
    return array;
}

// llama-bench's names in its order, then ours. NULL when memory is out.
static json_t *row_json(const model_bench_row *r)
{
    json_t *o = json_pack(
        "{s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:I, s:I, s:I, s:I}", "build_commit",
        tern_build_commit(), "build_number", 0, "cpu_info", r->cpu_info, "gpu_info", r->gpu_info, "backends",
        r->backend, "model_filename", r->model_filename, "model_type", r->model_type, "model_size",
        (json_int_t)r->model_size, "model_n_params", (json_int_t)r->model_n_params, "n_batch", (json_int_t)r->n_batch,
        "n_ubatch", (json_int_t)r->n_batch, "n_threads", (json_int_t)r->n_threads, "type_k", kv_name(r->type_k),
        "type_v", kv_name(r->type_v), "n_gpu_layers", (json_int_t)r->n_gpu_layers, "n_prompt",
        (json_int_t)r->test.n_prompt, "n_gen", (json_int_t)r->test.n_gen, "n_depth", (json_int_t)r->test.n_depth);
    json_t *more = json_pack(
        "{s:s, s:f, s:f, s:f, s:f, s:o, s:o, s:f, s:f, s:f, s:b, s:s, s:s, s:s, s:I}", "test_time", r->test_time,
        "avg_ns", r->avg_ns, "stddev_ns", r->stddev_ns, "avg_ts", r->avg_ts, "stddev_ts", r->stddev_ts, "samples_ns",
        samples_ns_json(r), "samples_ts", samples_ts_json(r), "gbps", r->gbps, "peak_gbps", r->peak_gbps, "pct_peak_bw",
        r->pct_peak_bw, "synthetic_weights", (int)r->is_synthetic, "weights", r->weights, "products", r->products,
        "device", r->device, "bytes_weights", (json_int_t)r->bytes_weights);
    if (o == NULL || more == NULL || json_object_update(o, more) != 0) {
        json_decref(o);
        o = NULL;
    }
    json_decref(more);
    return o;
}

#define REAL_DIGITS JSON_REAL_PRECISION(12)

// Renders with `flags`; a NULL value or text means that memory is out.
static void add_json(report *r, json_t *value, size_t flags)
{
    char *text = value != NULL ? json_dumps(value, flags | REAL_DIGITS) : NULL;
    if (text == NULL)
        r->is_out_of_memory = true;
    else
        report_add(r, "%s\n", text);
    free(text);
    json_decref(value);
}

tern_status model_bench_json(const model_bench_row *rows, size_t n, char **out, tern_error *err)
{
    report r = {0};
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(array, row_json(&rows[i])) != 0) r.is_out_of_memory = true;
    add_json(&r, array, JSON_INDENT(2));
    return report_take(&r, out, err);
}

tern_status model_bench_jsonl(const model_bench_row *rows, size_t n, char **out, tern_error *err)
{
    report r = {0};
    for (size_t i = 0; i < n; i++) add_json(&r, row_json(&rows[i]), JSON_COMPACT);
    return report_take(&r, out, err);
}

static void add_csv_value(report *r, json_t *value)
{
    if (json_is_string(value)) {
        report_add_csv(r, json_string_value(value));
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | REAL_DIGITS);
    if (text == NULL)
        r->is_out_of_memory = true;
    else
        report_add(r, "%s", text);
    free(text);
}

// The JSON fields but the samples, in the same order.
tern_status model_bench_csv(const model_bench_row *rows, size_t n, char **out, tern_error *err)
{
    report r = {0};
    for (size_t i = 0; i < n; i++) {
        json_t *object = row_json(&rows[i]), *value;
        const char *key, *separator = "";
        if (object == NULL) r.is_out_of_memory = true;
        for (int is_header = i == 0; is_header >= 0; is_header--, separator = "") {
            json_object_foreach(object, key, value)
            {
                if (json_is_array(value)) continue;
                report_add(&r, "%s", separator);
                separator = ",";
                if (is_header)
                    report_add_csv(&r, key);
                else
                    add_csv_value(&r, value);
            }
            report_add(&r, "\n");
        }
        json_decref(object);
    }
    return report_take(&r, out, err);
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
    COLUMN_TEST,
    COLUMN_SPEED,
    COLUMN_GBPS,
    COLUMN_PCT_BW,
    N_COLUMNS
} column;

static const struct {
    const char *title;
    int width;
    bool is_left;
} columns[N_COLUMNS] = {
    [COLUMN_MODEL] = {"model", 30, true},     [COLUMN_SIZE] = {"size", 10, false},
    [COLUMN_PARAMS] = {"params", 10, false},  [COLUMN_BACKEND] = {"backend", 10, true},
    [COLUMN_NGL] = {"ngl", 3, false},         [COLUMN_THREADS] = {"threads", 7, false},
    [COLUMN_N_BATCH] = {"n_batch", 7, false}, [COLUMN_TYPE_K] = {"type_k", 6, false},
    [COLUMN_TYPE_V] = {"type_v", 6, false},   [COLUMN_TEST] = {"test", 15, false},
    [COLUMN_SPEED] = {"t/s", 20, false},      [COLUMN_GBPS] = {"GB/s", 8, false},
    [COLUMN_PCT_BW] = {"% BW", 6, false},
};

static void column_text(const model_bench_row *r, column c, char *out, size_t n_bytes)
{
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
    case COLUMN_TYPE_K: snprintf(out, n_bytes, "%s", kv_name(r->type_k)); break;
    case COLUMN_TYPE_V: snprintf(out, n_bytes, "%s", kv_name(r->type_v)); break;
    case COLUMN_TEST: model_bench_test_name(&r->test, out, n_bytes); break;
    case COLUMN_SPEED: snprintf(out, n_bytes, "%.2f \xc2\xb1 %.2f", r->avg_ts, r->stddev_ts); break; // plus-minus
    case COLUMN_GBPS: snprintf(out, n_bytes, "%.2f", r->gbps); break;
    case COLUMN_PCT_BW:
        if (r->pct_peak_bw > 0.0)
            snprintf(out, n_bytes, "%.1f", r->pct_peak_bw);
        else
            snprintf(out, n_bytes, "-");
        break;
    default: out[0] = 0; break;
    }
}

// As in llama-bench: threads or ngl by backend, and some columns only if their value varies between rows.
static bool is_shown(const model_bench_row *rows, size_t n, column c)
{
    bool any_cpu = false, any_gpu = false, varies = false;
    char first[200], text[200];
    for (size_t i = 0; i < n; i++) {
        bool is_cpu = strcmp(rows[i].backend, "CPU") == 0;
        any_cpu |= is_cpu;
        any_gpu |= !is_cpu;
        column_text(&rows[0], c, first, sizeof first);
        column_text(&rows[i], c, text, sizeof text);
        varies |= strcmp(first, text) != 0;
    }
    if (c == COLUMN_THREADS) return any_cpu;
    if (c == COLUMN_NGL) return any_gpu;
    return c == COLUMN_N_BATCH || c == COLUMN_TYPE_K || c == COLUMN_TYPE_V ? varies : true;
}

// A cell padded to the column's width, counted in characters.
static void add_padded(report *r, column c, const char *text)
{
    int n = 0;
    for (const char *p = text; *p != 0; p++) n += (*p & 0xc0) != 0x80;
    int pad = columns[c].width > n ? columns[c].width - n : 0;
    report_add(r, "| %*s", columns[c].is_left ? 0 : pad, "");
    report_add_cell(r, text);
    report_add(r, "%*s ", columns[c].is_left ? pad : 0, "");
}

tern_status model_bench_markdown(const model_bench_row *rows, size_t n, char **out, tern_error *err)
{
    report r = {0};
    bool shown[N_COLUMNS];
    static const char dashes[] = "------------------------------";
    for (int c = 0; c < N_COLUMNS; c++) shown[c] = is_shown(rows, n, (column)c);
    for (int c = 0; c < N_COLUMNS; c++)
        if (shown[c]) add_padded(&r, (column)c, columns[c].title);
    report_add(&r, "|\n");
    for (int c = 0; c < N_COLUMNS; c++)
        if (shown[c])
            report_add(&r, "| %.*s%s ", columns[c].width - !columns[c].is_left, dashes, columns[c].is_left ? "" : ":");
    report_add(&r, "|\n");
    for (size_t i = 0; i < n; i++) {
        for (int c = 0; c < N_COLUMNS; c++) {
            char text[200];
            column_text(&rows[i], (column)c, text, sizeof text);
            if (shown[c]) add_padded(&r, (column)c, text);
        }
        report_add(&r, "|\n");
    }
    report_add(&r, "\nbuild: %s\n", tern_build_commit());
    return report_take(&r, out, err);
}
