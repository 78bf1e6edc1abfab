// The model benchmark over the tiny synthetic model: what a run gives back, what makes a row valid or not, groups that
// do not fit beside each other, and the forms of a report.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "bench_check.h"
#include "bench_peak.h"
#include "cpu.h"
#include "error.h"
#include "kernel_bench.h"
#include "model_bench.h"
#include "scratch.h"
#include "stats.h"

static tern_engine *engine;

static int open_engine(void **state)
{
    return make_scratch(state) != 0 || tern_engine_open(NULL, &engine, NULL) != TERN_OK;
}

static int close_engine(void **state)
{
    tern_engine_close(engine);
    return drop_scratch(state);
}

static bench_config tiny(uint32_t n_prompt, uint32_t n_gen, uint32_t n_depth)
{
    bench_config c;
    bench_config_init(&c);
    c.model = "synthetic:tiny";
    c.device = "cpu";
    c.n_threads = 1;
    c.n_batch = 64;
    c.test = (bench_test){n_prompt, n_gen, n_depth};
    return c;
}

static bench_options quick(void)
{
    bench_options o;
    bench_options_init(&o);
    o.engine = engine;
    o.n_repeats = 3;
    o.is_checked = false;
    o.has_peaks = false;
    o.energy_window_s = 0.0;
    return o;
}

static bench_rows run(const bench_config *configs, size_t n, const bench_options *o)
{
    bench_rows rows;
    tern_error err = {0};
    if (bench_run(configs, n, o, &rows, &err) != TERN_OK) fail_msg("%s", err.message);
    assert_int_equal(rows.n, n);
    return rows;
}

static void assert_near(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-9 * fabs(expected) + 1e-12)) fail_msg("%.12g, expected %.12g", value, expected);
}

// ---- rows

// Everything printed follows from the samples that are kept.
static void test_samples_reproduce_means(void **state)
{
    (void)state;
    bench_options o = quick();
    bench_config configs[] = {tiny(70, 0, 0), tiny(0, 5, 100), tiny(6, 3, 0), tiny(0, 4, 0)};
    configs[3].n_seq = 3;
    bench_rows rows = run(configs, 4, &o);
    static const double n_tokens[] = {70, 5, 9, 12};
    for (size_t i = 0; i < 4; i++) {
        const bench_row *r = &rows.items[i];
        stats ns, ts;
        double speeds[3];
        assert_int_equal(r->n_samples, 3);
        for (int k = 0; k < 3; k++) speeds[k] = n_tokens[i] * 1e9 / (double)r->samples_ns[k];
        assert_int_equal(stats_of_ns(r->samples_ns, 3, &ns, NULL), TERN_OK);
        assert_int_equal(stats_of(speeds, 3, &ts, NULL), TERN_OK);
        assert_near(r->avg_ns, ns.mean), assert_near(r->stddev_ns, ns.sd), assert_near(r->median_ns, ns.median);
        assert_near(r->min_ns, ns.min), assert_near(r->max_ns, ns.max);
        assert_near(r->avg_ts, ts.mean), assert_near(r->stddev_ts, ts.sd), assert_near(r->median_ts, ts.median);
        assert_near(r->gbps, (double)(r->bytes_weights + r->bytes_kv) / ns.mean);
        assert_true((r->n_macs > 0) == (configs[i].test.n_gen == 0));
        assert_near(r->gmacs, (double)r->n_macs / ns.mean);
        assert_int_equal(r->n_token_ns, 3 * configs[i].test.n_gen);
        assert_true((r->token.p50 > 0) == (configs[i].test.n_gen > 0));
        assert_true(r->token.p50 <= r->token.p90 && r->token.p90 <= r->token.p99);
        for (size_t k = 0; k < r->n_token_ns; k++) assert_true(r->token_ns[k] > 0);
        assert_true((r->ttft_ns > 0) == (configs[i].test.n_prompt > 0));
        assert_true(r->is_synthetic && r->is_interleaved && r->is_stable && !r->is_valid);
        assert_string_equal(r->reason, "not checked");
        assert_string_equal(r->weights, "t64");
    }
    // Five single tokens read the weights five times, four steps of three sequences four times.
    assert_int_equal(rows.items[1].bytes_weights % 5, 0);
    assert_int_equal(rows.items[3].bytes_weights, rows.items[1].bytes_weights / 5 * 4);
    // KV cache: 101 to 105 positions, and three times 1 to 4.
    assert_true(rows.items[1].bytes_kv > 0);
    assert_int_equal(rows.items[1].bytes_kv / (101 + 102 + 103 + 104 + 105),
                     rows.items[3].bytes_kv / (3 * (1 + 2 + 3 + 4)));
    bench_rows_free(&rows);
}

static void test_twins_and_groups(void **state)
{
    (void)state;
    bench_options o = quick();
    bench_config configs[] = {tiny(8, 0, 0), tiny(8, 0, 0), tiny(8, 0, 0)};
    configs[1].weights = TERN_WEIGHTS_F16;
    configs[2].n_threads = 2;
    configs[2].layout = TERN_LAYOUT_T80;
    bench_rows rows = run(configs, 3, &o);
    uint64_t planned = rows.items[0].vram_planned_bytes, hash = rows.items[0].logits_hash;
    assert_string_equal(rows.items[1].weights, "f16");
    assert_true(rows.items[1].model_size > rows.items[0].model_size);
    assert_true(rows.items[1].logits_hash != hash); // float activations: other bits
    assert_true(rows.items[2].logits_hash == hash); // another number of threads and another layout: the same
    assert_string_equal(rows.items[2].weights, "t80");
    assert_true(rows.items[2].model_size < rows.items[0].model_size);
    for (size_t i = 0; i < 3; i++) {
        assert_true(rows.items[i].vram_peak_bytes > 0);
        assert_true(rows.items[i].vram_peak_bytes <= rows.items[i].vram_planned_bytes);
        assert_string_equal(rows.items[i].fallback_ops, "");
    }
    assert_true(rows.items[2].is_interleaved && rows.items[2].group == 0);
    uint64_t all = planned + rows.items[1].vram_planned_bytes + rows.items[2].vram_planned_bytes;
    bench_rows_free(&rows);

    o.memory = all - 1; // the third does not fit beside the others
    rows = run(configs, 3, &o);
    assert_false(rows.items[0].is_interleaved);
    assert_int_equal(rows.items[1].group, 0);
    assert_int_equal(rows.items[2].group, 1);
    assert_int_equal(rows.items[2].n_samples, 3);
    assert_true(rows.items[2].logits_hash == hash);
    bench_rows_free(&rows);
}

// Contexts of several depths share a session where they fit together, and have one each where they do not.
static void test_depths_that_do_not_fit(void **state)
{
    (void)state;
    bench_options o = quick();
    bench_config configs[] = {tiny(0, 2, 0), tiny(0, 2, 256), tiny(0, 2, 512)};
    for (int i = 0; i < 3; i++) configs[i].layout = TERN_LAYOUT_T64; // else smaller weights would make room
    bench_rows rows = run(configs, 3, &o);
    uint64_t together = rows.items[0].vram_planned_bytes;
    assert_int_equal(rows.items[2].vram_planned_bytes, together);
    bench_rows_free(&rows);
    o.memory = together - 1;
    rows = run(configs, 3, &o);
    assert_true(rows.items[2].vram_planned_bytes < together);
    assert_true(rows.items[0].vram_planned_bytes < rows.items[2].vram_planned_bytes);
    assert_false(rows.items[0].is_interleaved);
    bench_rows_free(&rows);
    o.memory = 1000;
    tern_error err = {0};
    assert_int_equal(bench_run(configs, 3, &o, &rows, &err), TERN_BUDGET);
    assert_int_equal(rows.n, 0);
    assert_non_null(strstr(err.message, "synthetic:tiny: the model needs"));
    bench_rows_free(&rows);
}

static void test_refusals(void **state)
{
    (void)state;
    bench_options o = quick();
    bench_rows rows;
    tern_error err = {0};
    bench_config c = tiny(0, 0, 5);
    assert_int_equal(bench_run(&c, 1, &o, &rows, &err), TERN_INVALID_ARGUMENT);
    c = tiny(0, 5, 0);
    c.n_seq = 65;
    assert_int_equal(bench_run(&c, 1, &o, &rows, NULL), TERN_INVALID_ARGUMENT);
    c.n_seq = 5, c.n_batch = 4;
    assert_int_equal(bench_run(&c, 1, &o, &rows, NULL), TERN_INVALID_ARGUMENT);
    c = tiny(0, 5, 0);
    c.device = "gpu9";
    assert_int_equal(bench_run(&c, 1, &o, &rows, NULL), TERN_NO_DEVICE);
    assert_int_equal(bench_run(&c, 0, &o, &rows, NULL), TERN_INVALID_ARGUMENT);
}

// Stops after more than half of the runs. Loading reports shares of its own.
static bool stop_late(void *user, double share, const char *what)
{
    ++*(int *)user;
    return strncmp(what, "loading", 7) == 0 || share < 0.6;
}

static void test_cancelled_run_keeps_rows(void **state)
{
    (void)state;
    int n_calls = 0;
    bench_options o = quick();
    o.n_warmup = 0;
    o.progress = stop_late;
    o.user = &n_calls;
    bench_config configs[] = {tiny(4, 0, 0), tiny(0, 4, 0)};
    bench_rows rows;
    assert_int_equal(bench_run(configs, 2, &o, &rows, NULL), TERN_CANCELLED);
    assert_true(n_calls > 4);
    assert_int_equal(rows.n, 2);
    for (size_t i = 0; i < rows.n; i++) {
        assert_int_equal(rows.items[i].n_samples, 2); // four of six runs, taken in turns
        assert_false(rows.items[i].is_valid);
        assert_string_equal(rows.items[i].reason, "the run ended early, after 2 of 3 samples");
    }
    bench_rows_free(&rows);
}

// ---- validity

static tern_status enqueue_but_residual(stream *s, const op *o, tern_error *err)
{
    if (o->kind == OP_RESIDUAL) return TERN_OK; // a kernel that is never launched is very fast
    return cpu_backend.enqueue(s, o, err);
}

static size_t one_device(const char **note)
{
    *note = "";
    return 1;
}

static void test_broken_op_makes_rows_invalid(void **state)
{
    (void)state;
    backend broken = cpu_backend;
    broken.enqueue = enqueue_but_residual;
    broken.device_count = one_device; // "cpu"; the reference is the real one's
    const backend *const backends[] = {&broken, &cpu_backend, NULL};
    bench_options o = quick();
    o.is_checked = true;
    bench_config configs[] = {tiny(4, 0, 0), tiny(0, 4, 0)};
    bench_rows rows = run(configs, 2, &o);
    assert_true(rows.items[0].is_valid && rows.items[1].is_valid);
    assert_string_equal(rows.items[0].reason, "");
    bench_rows_free(&rows);
    o.backends = backends;
    rows = run(configs, 2, &o);
    for (size_t i = 0; i < 2; i++) {
        assert_false(rows.items[i].is_valid);
        assert_non_null(strstr(rows.items[i].reason, "op cases differ from the reference, first residual"));
    }
    bench_rows_free(&rows);
}

// A row of 1 GB a sample whose fastest sample took so many ms, on a device that reads 10 GB/s.
static bench_row bound_row(double ms, uint64_t model_size)
{
    bench_row r = {.bytes_weights = 900000000,
                   .bytes_kv = 100000000,
                   .min_ns = ms * 1e6,
                   .peak_gbps = 10.0,
                   .model_size = model_size,
                   .is_stable = true};
    snprintf(r.backend, sizeof r.backend, "CPU");
    return r;
}

// Of the best read what the mean makes, of the median read what the median makes: of tokens, or with a prompt of
// samples.
static void test_shares_of_bandwidth(void **state)
{
    (void)state;
    bench_peak cpu = {.device = "cpu",
                      .n_threads = 2,
                      .read = {.best = 20.0},
                      .int8 = {.best = 100.0, .source = "a loop"},
                      .read_median_sum = 30.0,
                      .int8_median_sum = 240.0,
                      .n_looks = 3};
    const bench_peaks peaks = {&cpu, 1};
    bench_row r = {.device = "cpu",
                   .n_threads = 2,
                   .test = {.n_gen = 4},
                   .bytes_weights = 7000000000,
                   .bytes_kv = 1000000000,
                   .n_samples = 3,
                   .n_token_ns = 12,
                   .token = {.p50 = 0.25e9},
                   .median_ns = 1.25e9,
                   .gbps = 5.0};
    bench_peaks_apply(&peaks, &r);
    assert_near(r.pct_peak_bw, 25.0);
    assert_near(r.typical_gbps, 10.0);
    assert_near(r.pct_typical_bw, 80.0);
    assert_true(r.pct_peak_int8 == 0.0 && r.peak_gmacs == 0.0); // nothing multiplied as a prompt
    r.test.n_prompt = 9;
    r.n_macs = 75000000000, r.gmacs = 55.0;
    bench_peaks_apply(&peaks, &r);
    assert_near(r.pct_typical_bw, 64.0);
    assert_near(r.pct_peak_int8, 55.0);
    assert_near(r.pct_typical_int8, 75.0);
    assert_string_equal(r.peak_int8_source, "a loop");
    r = (bench_row){.device = "cpu", .n_threads = 1, .gbps = 5.0};
    bench_peaks_apply(&peaks, &r);
    assert_true(r.peak_gbps == 0.0 && r.pct_typical_bw == 0.0);
}

static void test_bounds_and_logits(void **state)
{
    (void)state;
    bench_check passed = {.device = "cpu", .n_passed = 9};
    const bench_checks checks = {&passed, 1};
    bench_options o = {.is_checked = true};
    bench_config config = tiny(0, 1, 0), twin = config;
    float logits[4] = {1, 2, 3, 4}, close[4] = {1.1f, 2, 2.9f, 4}, other[4] = {4, -3, 2, -1};
    bench_instance a = {.config = &config, .logits = logits, .logits_hash = 1, .info = {.n_vocab = 4}}, b = a;
    snprintf(a.device.name, sizeof a.device.name, "cpu");
    b.config = &twin;
    b.device = a.device;
    bench_instance all[2] = {a, b};
    const struct {
        double ms;
        uint64_t size;
        bool is_valid;
    } cases[] = {{101, 1u << 30, true}, {96, 1u << 30, true}, {94, 1u << 30, false}, {94, 1000, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bench_row r = bound_row(cases[i].ms, cases[i].size);
        bench_checks_judge(&checks, &o, &r, &all[0], all, 1);
        assert_int_equal(r.is_valid, cases[i].is_valid);
        assert_true(cases[i].is_valid || strstr(r.reason, "beats the bound: 10.64 GB/s") != NULL);
    }
    bench_row r = bound_row(94, 1000);
    bench_checks_judge(&checks, &o, &r, &all[0], all, 1);
    assert_non_null(strstr(r.reason, "remark: the weights fit the last-level cache"));

    r = bound_row(101, 1u << 30); // the same model elsewhere gave other bits
    all[1].logits_hash = 2;
    bench_checks_judge(&checks, &o, &r, &all[0], all, 2);
    assert_false(r.is_valid);
    assert_non_null(strstr(r.reason, "differ from those of the same model"));
    r = bound_row(101, 1u << 30); // its float twin is similar, or is not
    all[0].plan.weights = TERN_WEIGHTS_F16;
    all[1].logits = close;
    bench_checks_judge(&checks, &o, &r, &all[0], all, 2);
    assert_true(r.is_valid);
    all[1].logits = other;
    bench_checks_judge(&checks, &o, &r, &all[0], all, 2);
    assert_false(r.is_valid);
    assert_non_null(strstr(r.reason, "cosine"));
    r = bound_row(101, 1u << 30);
    r.is_stable = false;
    bench_checks_judge(&checks, &o, &r, &all[0], all, 1);
    assert_false(r.is_valid);
    r = bound_row(101, 1u << 30);
    passed.n_passed = 0;
    bench_checks_judge(&checks, &o, &r, &all[0], all, 1);
    assert_string_equal(r.reason, "no op case ran on the device");
}

// ---- energy in rows

typedef struct note_list {
    int n;
    char last[300];
} note_list;

static void keep_note(void *user, const char *text)
{
    note_list *notes = user;
    notes->n++;
    snprintf(notes->last, sizeof notes->last, "%s", text);
}

static void test_energy_columns(void **state)
{
    (void)state;
    note_list notes = {0};
    bench_options o = quick();
    o.energy_window_s = 0.01;
    o.rapl_path = "/nonexistent";
    o.note = keep_note;
    o.user = &notes;
    bench_config configs[] = {tiny(4, 0, 0), tiny(0, 4, 0)};
    bench_rows rows = run(configs, 2, &o);
    assert_int_equal(notes.n, 1); // once, not for each row
    assert_non_null(strstr(notes.last, "no /nonexistent"));
    char *text = NULL;
    assert_int_equal(bench_rows_text(rows.items, 2, BENCH_JSON, &text, NULL), TERN_OK);
    assert_null(strstr(text, "joules"));
    free(text);
    snprintf(rows.items[1].energy.source, sizeof rows.items[1].energy.source, "RAPL package");
    rows.items[1].energy.j_per_token = 0.125;
    assert_int_equal(bench_rows_text(rows.items, 2, BENCH_MD, &text, NULL), TERN_OK);
    assert_non_null(strstr(text, "|  J/token |"));
    assert_non_null(strstr(text, "|    0.125 |"));
    free(text);
    bench_rows_free(&rows);
}

// A counter that moves: the kernel's record of this thread's nanoseconds, read as microjoules.
static void test_energy_is_measured(void **state)
{
    (void)state;
    static const char moving[] = "/proc/self/schedstat";
    if (access(moving, R_OK) != 0) {
        printf("SKIPPED: no %s\n", moving);
        skip();
    }
    char zone[300], file[400];
    snprintf(zone, sizeof zone, "%s", scratch_path("intel-rapl:0"));
    assert_int_equal(mkdir(zone, 0700), 0);
    snprintf(file, sizeof file, "%s/name", zone);
    write_file(file, "package-0\n", 10);
    snprintf(file, sizeof file, "%s/max_energy_range_uj", zone);
    write_file(file, "0\n", 2); // never wraps
    snprintf(file, sizeof file, "%s/energy_uj", zone);
    assert_int_equal(symlink(moving, file), 0);
    bench_options o = quick();
    o.energy_window_s = 0.02;
    o.rapl_path = scratch;
    bench_config c = tiny(3, 2, 0);
    bench_rows rows = run(&c, 1, &o);
    const bench_energy *e = &rows.items[0].energy;
    assert_string_equal(e->source, "RAPL package");
    assert_true(e->window_s >= 0.02 && e->joules > 0 && e->idle_w > 0 && e->joules_net < e->joules);
    assert_near(e->j_per_token, e->joules / 5);
    assert_near(e->net_j_per_token, e->joules_net / 5);
    bench_rows_free(&rows);
    assert_int_equal(unlink(file), 0);
    write_file(file, "77\n", 3); // one that stands still measures nothing
    note_list notes = {0};
    o.note = keep_note;
    o.user = &notes;
    rows = run(&c, 1, &o);
    assert_string_equal(rows.items[0].energy.source, "");
    assert_int_equal(notes.n, 1);
    assert_non_null(strstr(notes.last, "did not move"));
    bench_rows_free(&rows);
}

// ---- forms

static size_t width_of(const char *line)
{
    size_t n = 0;
    for (; *line != 0 && *line != '\n'; line++) n += (*line & 0xc0) != 0x80;
    return n;
}

static void test_forms(void **state)
{
    (void)state;
    bench_options o = quick();
    bench_config configs[] = {tiny(4, 0, 0), tiny(0, 2, 64), tiny(0, 2, 64)};
    configs[2].weights = TERN_WEIGHTS_F16;
    configs[2].n_seq = 2;
    bench_rows rows = run(configs, 3, &o);
    snprintf(rows.items[0].model_type, sizeof rows.items[0].model_type,
             "a model whose name is longer than the column, with a | in it");
    snprintf(rows.items[0].gpu_info, sizeof rows.items[0].gpu_info, "it's");
    snprintf(rows.items[1].throttle_reasons, sizeof rows.items[1].throttle_reasons, "sw_power_cap");
    snprintf(rows.items[1].fallback_ops, sizeof rows.items[1].fallback_ops, "3 of 9 layers on the CPU");
    char *text = NULL;
    assert_int_equal(bench_rows_text(rows.items, 3, BENCH_MD, &text, NULL), TERN_OK);
    size_t n_lines = 0, width = width_of(text);
    for (const char *line = text; line != NULL && *line == '|'; line = strchr(line, '\n') + 1, n_lines++)
        assert_int_equal(width_of(line), width);
    assert_int_equal(n_lines, 2 + 3);
    assert_non_null(strstr(text, "|  np |"));
    assert_non_null(strstr(text, "tg2 @ d64: 3 of 9 layers on the CPU\n"));
    assert_non_null(strstr(text, "the clock was held back: sw_power_cap\n"));
    free(text);

    static const char *const names[] = {
        "build_commit", "build_number",   "cpu_info",   "gpu_info",  "backends",  "model_filename", "model_type",
        "model_size",   "model_n_params", "n_batch",    "n_ubatch",  "n_threads", "type_k",         "type_v",
        "n_gpu_layers", "n_prompt",       "n_gen",      "n_depth",   "test_time", "avg_ns",         "stddev_ns",
        "avg_ts",       "stddev_ts",      "samples_ns", "samples_ts"};
    assert_int_equal(bench_rows_text(rows.items, 3, BENCH_JSON, &text, NULL), TERN_OK);
    json_t *array = json_loads(text, 0, NULL), *value;
    assert_int_equal(json_array_size(array), 3);
    for (size_t i = 0; i < 3; i++) {
        const char *key;
        size_t k = 0;
        json_object_foreach(json_array_get(array, i), key, value) // llama-bench's names come first, in its order
        {
            if (k < sizeof names / sizeof names[0]) assert_string_equal(key, names[k]);
            k++;
        }
        assert_int_equal(k, 25 + 48);
    }
    json_decref(array);
    free(text);
    assert_int_equal(bench_rows_text(rows.items, 3, BENCH_SQL, &text, NULL), TERN_OK);
    assert_int_equal(strncmp(text, "CREATE TABLE IF NOT EXISTS llama_bench (\n  \"build_commit\" TEXT,\n", 60), 0);
    assert_non_null(strstr(text, "'it''s'"));
    assert_null(strstr(text, "samples"));
    free(text);
    assert_int_equal(bench_rows_text(rows.items, 3, BENCH_CSV, &text, NULL), TERN_OK);
    size_t n_ends = 0;
    for (const char *c = text; *c != 0; c++) n_ends += *c == '\n';
    assert_int_equal(n_ends, 4);
    free(text);
    bench_rows_free(&rows);
}

// ---- kernels

static void test_kernels(void **state)
{
    (void)state;
    const backend *const backends[] = {&cpu_backend, NULL};
    const kernel_options o = {.filter = "2b4t o M=1 ", .n_threads = 1, .n_repeats = 2};
    kernel_rows rows;
    tern_error err = {0};
    if (kernel_bench_run(backends, "cpu", &o, &rows, &err) != TERN_OK) fail_msg("%s", err.message);
    assert_int_equal(rows.n, 3);
    static const char *const expected[] = {"t64", "t80", "F16"};
    for (size_t i = 0; i < 3; i++) {
        const kernel_row *r = &rows.items[i];
        assert_string_equal(r->weights, expected[i]);
        assert_true(r->m == 1 && r->n == 2560 && r->k == 2560 && r->n_samples == 2 && r->n_copies >= 2);
        assert_near(r->gbps, (double)r->bytes_moved / r->median_ns);
        assert_near(r->pct_peak_bw, 100.0 * r->gbps / r->peak_gbps);
        assert_true(r->peak_source[0] != 0 && r->peak_int8_source[0] != 0);
        assert_false(r->is_valid); // not checked
        if (i < 2) assert_near(r->speedup, rows.items[2].median_ns / r->median_ns);
    }
    assert_true(rows.items[1].bytes_moved < rows.items[0].bytes_moved); // 1.6 bits a weight against 2
    char *text = NULL;
    assert_int_equal(kernel_rows_text(&rows, BENCH_JSON, &text, NULL), TERN_OK);
    json_t *array = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(array), 3);
    json_decref(array);
    free(text);
    assert_int_equal(kernel_rows_text(&rows, BENCH_MD, &text, NULL), TERN_OK);
    size_t width = width_of(text);
    for (const char *line = text; *line == '|'; line = strchr(line, '\n') + 1) assert_int_equal(width_of(line), width);
    free(text);
    kernel_rows_free(&rows);
    const kernel_options none = {.filter = "no such", .n_threads = 1, .n_repeats = 2};
    assert_int_equal(kernel_bench_run(backends, "cpu", &none, &rows, NULL), TERN_NOT_FOUND);
    kernel_rows_free(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_reproduce_means),
        cmocka_unit_test(test_twins_and_groups),
        cmocka_unit_test(test_depths_that_do_not_fit),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_cancelled_run_keeps_rows),
        cmocka_unit_test(test_broken_op_makes_rows_invalid),
        cmocka_unit_test(test_shares_of_bandwidth),
        cmocka_unit_test(test_bounds_and_logits),
        cmocka_unit_test(test_energy_columns),
        cmocka_unit_test(test_energy_is_measured),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_kernels),
    };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
