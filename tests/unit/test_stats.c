// Statistics against values worked out by hand or taken from tables, report text, and the bench's rows as text.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bandwidth.h"
#include "model_bench.h"
#include "report.h"
#include "stats.h"

// cmocka compares floats in single precision only.
#define assert_near(a, b, tolerance) assert_true(fabs((a) - (b)) <= (tolerance))

static void test_known_values(void **state)
{
    (void)state;
    const double values[] = {9, 2, 4, 4, 5, 4, 7, 5};
    stats s;
    assert_int_equal(stats_of(values, 8, &s, NULL), TERN_OK);
    assert_int_equal(s.n, 8);
    assert_near(s.mean, 5.0, 1e-12);
    assert_near(s.sd, 2.138089935299395, 1e-12); // sqrt(32 / 7)
    assert_near(s.median, 4.5, 1e-12);
    assert_near(s.min, 2.0, 0.0);
    assert_near(s.max, 9.0, 0.0);
    assert_near(s.ci95_high - s.mean, 2.364624251 * 2.138089935 / 2.828427125, 2e-4);
    assert_near(s.mean - s.ci95_low, s.ci95_high - s.mean, 1e-12);
    assert_near(values[0], 9.0, 0.0); // not sorted in place
}

static void test_single_and_none(void **state)
{
    (void)state;
    const uint64_t one = 1000;
    stats s = {.n = 77};
    tern_error err = {0};
    assert_int_equal(stats_of_ns(&one, 1, &s, &err), TERN_OK);
    assert_near(s.mean, 1000.0, 0.0);
    assert_near(s.sd, 0.0, 0.0);
    assert_near(s.ci95_low, 1000.0, 0.0);
    s.n = 77;
    assert_int_equal(stats_of(NULL, 0, &s, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(s.n, 77);
    assert_int_equal(err.status, TERN_INVALID_ARGUMENT);
    err = (tern_error){0};
    assert_int_equal(stats_of_ns(NULL, 0, &s, &err), TERN_INVALID_ARGUMENT);
}

static void test_percentiles(void **state)
{
    (void)state;
    const double values[] = {10, 20, 30, 40, 50};
    assert_near(stats_percentile(values, 5, 0), 10.0, 0.0);
    assert_near(stats_percentile(values, 5, 100), 50.0, 0.0);
    assert_near(stats_percentile(values, 5, 50), 30.0, 1e-12);
    assert_near(stats_percentile(values, 5, 90), 46.0, 1e-12);
    assert_near(stats_percentile(values, 1, 99), 10.0, 0.0);
}

static void test_student_quantiles(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        double t;
    } known[] = {{1, 12.7062}, {2, 4.3027},  {4, 2.7764},  {9, 2.2622},   {20, 2.0860},
                 {21, 2.0796}, {30, 2.0423}, {60, 2.0003}, {120, 1.9799}, {1000000, 1.95996}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) assert_near(stats_t95(known[i].n), known[i].t, 1e-3);
}

static void test_report_text(void **state)
{
    (void)state;
    report r = {0};
    char *text = NULL;
    report_add_csv(&r, "plain");
    report_add_csv(&r, "a,\"b\"");
    report_add_cell(&r, "x|y\nz");
    for (int i = 0; i < 1000; i++) report_add(&r, "%d", i % 10);
    assert_int_equal(report_take(&r, &text, NULL), TERN_OK);
    assert_int_equal(strncmp(text, "plain\"a,\"\"b\"\"\"x\\|y z0123456789", 30), 0);
    assert_int_equal(strlen(text), 5 + 9 + 6 + 1000);
    free(text);
    assert_int_equal(report_take(&r, &text, NULL), TERN_OK);
    assert_string_equal(text, "");
    free(text);
}

static bench_row example_row(uint64_t *samples)
{
    samples[0] = 100000000;
    samples[1] = 200000000;
    bench_row row = {.test = {.n_gen = 2, .n_depth = 64},
                     .model_filename = "a,b.gguf",
                     .model_type = "tiny (synthetic) t64",
                     .backend = "CPU",
                     .device = "cpu",
                     .cpu_info = "CPU \"X\"",
                     .test_time = "2026-01-31T12:00:00Z",
                     .model_size = 3u << 29,
                     .model_n_params = 2410000000,
                     .n_batch = 512,
                     .n_threads = 2,
                     .n_seq = 1,
                     .weights = "t64",
                     .type_k = TERN_KV_INT8,
                     .type_v = TERN_KV_F16,
                     .is_synthetic = true,
                     .samples_ns = samples,
                     .n_samples = 2,
                     .avg_ns = 1.5e8,
                     .avg_ts = 15,
                     .stddev_ts = 7.0710678,
                     .gbps = 12.5,
                     .pct_peak_bw = 50,
                     .pct_typical_bw = 80};
    return row;
}

static void test_bench_rows(void **state)
{
    (void)state;
    uint64_t samples[2];
    bench_row rows[2] = {example_row(samples), example_row(samples)};
    rows[1].test = (bench_test){.n_prompt = 512, .n_gen = 128};
    rows[1].pct_peak_bw = 0;
    snprintf(rows[1].reason, sizeof rows[1].reason, "no reason to trust it");
    char *text = NULL;
    assert_int_equal(bench_rows_text(rows, 2, BENCH_MD, &text, NULL), TERN_OK);
    assert_non_null(strstr(text, "| model                          |       size |     params | backend    | threads |  "
                                 "          test |                  t/s |"));
    assert_non_null(strstr(text, "| ------------------------------ | ---------: | ---------: | ---------- | ------: | "
                                 "--------------: | -------------------: |"));
    assert_non_null(strstr(text, "|   1.50 GiB |     2.41 B | CPU        |       2 |       tg2 @ d64 |         15.00 "
                                 "\xc2\xb1 7.07 |    12.50 |   50.0 / 80.0 |"));
    assert_non_null(strstr(text, "|     pp512+tg128 |"));
    assert_non_null(strstr(text, "|             - | NO    |\n"));
    assert_non_null(strstr(text, "NOT VALID: no reason to trust it\n"));
    assert_non_null(strstr(text, "\n\nbuild: "));
    assert_null(strstr(text, "type_k")); // does not vary
    free(text);

    assert_int_equal(bench_rows_text(rows, 2, BENCH_JSON, &text, NULL), TERN_OK);
    json_t *array = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(array), 2);
    json_t *first = json_array_get(array, 0);
    static const char *const names[] = {"build_commit",   "build_number",   "cpu_info",     "gpu_info",
                                        "backends",       "model_filename", "model_type",   "model_size",
                                        "model_n_params", "n_batch",        "n_ubatch",     "n_threads",
                                        "type_k",         "type_v",         "n_gpu_layers", "n_prompt",
                                        "n_gen",          "n_depth",        "test_time",    "avg_ns",
                                        "stddev_ns",      "avg_ts",         "stddev_ts",    "samples_ns",
                                        "samples_ts",     "gbps",           "pct_peak_bw",  "synthetic_weights",
                                        "weights",        "device"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (json_object_get(first, names[i]) == NULL) fail_msg("no field %s", names[i]);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(first, "samples_ns"), 1)), 200000000);
    assert_near(json_real_value(json_array_get(json_object_get(first, "samples_ts"), 0)), 20.0, 1e-9);
    assert_true(json_is_true(json_object_get(first, "synthetic_weights")));
    assert_string_equal(json_string_value(json_object_get(first, "type_v")), "f16");
    json_decref(array);
    free(text);

    assert_int_equal(bench_rows_text(rows, 2, BENCH_CSV, &text, NULL), TERN_OK);
    assert_int_equal(strncmp(text, "build_commit,build_number,", 26), 0);
    assert_non_null(strstr(text, "\"CPU \"\"X\"\"\",,CPU,\"a,b.gguf\","));
    free(text);
    assert_int_equal(bench_rows_text(rows, 2, BENCH_JSONL, &text, NULL), TERN_OK);
    assert_non_null(strchr(strchr(text, '\n') + 1, '\n'));
    free(text);
}

static void test_bandwidth_measures(void **state)
{
    (void)state;
    for (uint32_t n_threads = 1; n_threads <= 2; n_threads++) {
        bandwidth b = {0};
        assert_int_equal(bandwidth_measure_read(n_threads, (1 << 20) + 1, 3, &b, NULL), TERN_OK);
        assert_int_equal(b.n_bytes, (1 << 20) + 16384); // whole steps
        assert_true(b.best_gbps > 0 && b.median_gbps > 0 && b.best_gbps >= b.median_gbps);
        // Every byte, all 0x5a, was read once per repeat, four times with the warm-up.
        assert_true(b.checksum == 4 * (((1 << 20) + 16384) / 8) * 0x5a5a5a5a5a5a5a5au);
    }
    bandwidth untouched = {.n_repeats = 9};
    assert_int_equal(bandwidth_measure_read(1, 0, 0, &untouched, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(untouched.n_repeats, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),       cmocka_unit_test(test_single_and_none),
        cmocka_unit_test(test_percentiles),        cmocka_unit_test(test_student_quantiles),
        cmocka_unit_test(test_report_text),        cmocka_unit_test(test_bench_rows),
        cmocka_unit_test(test_bandwidth_measures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
