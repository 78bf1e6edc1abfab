// tern bench: speed of models, in llama-bench's terms.
#include <stdlib.h>
#include <string.h>

#include "bandwidth.h"
#include "cli.h"
#include "model_bench.h"

typedef struct bench {
    const opt_values *options;
    char **models;
    size_t n_models;
    model_bench_test *tests;
    size_t n_tests;
    model_bench_row *rows;
    size_t n_rows;
    double peak_gbps;
} bench;

// "a.gguf,b.gguf" into its parts. In "synthetic:2b,seed=7" the comma belongs to the model.
static tern_status add_models(bench *b, const char *list, tern_error *err)
{
    while (*list) {
        size_t n = strcspn(list, ",");
        while (strncmp(list + n, ",seed=", 6) == 0) n += 1 + strcspn(list + n + 1, ",");
        char **larger = realloc(b->models, (b->n_models + 1) * sizeof *larger);
        if (larger) b->models = larger;
        char *model = larger ? strndup(list, n) : NULL;
        if (!model) return error_set(err, TERN_HOST_MEMORY, "out of memory for the list of models");
        b->models[b->n_models++] = model;
        list += n + (list[n] == ',');
    }
    return TERN_OK;
}

static tern_status collect_models(bench *b, tern_error *err)
{
    tern_status status = TERN_OK;
    for (size_t i = 0; i < b->options->n_operands && status == TERN_OK; i++)
        status = add_models(b, b->options->operands[i], err);
    const char *text;
    for (size_t i = 0; status == TERN_OK && (text = opt_nth(b->options, OPT_MODEL, i)); i++)
        status = add_models(b, text, err);
    if (status == TERN_OK && b->n_models == 0)
        status = error_set(err, TERN_INVALID_ARGUMENT, "no model: give one or more, as operands or with -m");
    return status;
}

static tern_status add_test(bench *b, int32_t n_prompt, int32_t n_gen, int32_t n_depth, tern_error *err)
{
    if (n_prompt == 0 && n_gen == 0) return TERN_OK;
    model_bench_test *larger = realloc(b->tests, (b->n_tests + 1) * sizeof *larger);
    if (!larger) return error_set(err, TERN_HOST_MEMORY, "out of memory for the list of tests");
    b->tests = larger;
    b->tests[b->n_tests++] = (model_bench_test){(uint32_t)n_prompt, (uint32_t)n_gen, (uint32_t)n_depth};
    return TERN_OK;
}

// All -p, then all -n, then all -pg, at one depth.
static tern_status add_tests_at(bench *b, int32_t depth, tern_error *err)
{
    static const opt_id lists[2] = {OPT_BENCH_PROMPT, OPT_BENCH_GEN};
    tern_status status = TERN_OK;
    int32_t *items;
    size_t n;
    for (int k = 0; k < 2 && status == TERN_OK; k++) {
        status = opt_parse_list("-p", b->options->values[lists[k]].text, INT32_MAX, &items, &n, err);
        if (status != TERN_OK) return status;
        for (size_t i = 0; i < n && status == TERN_OK; i++)
            status = add_test(b, k ? 0 : items[i], k ? items[i] : 0, depth, err);
        free(items);
    }
    const char *text;
    for (size_t i = 0; status == TERN_OK && (text = opt_nth(b->options, OPT_BENCH_BOTH, i)); i++) {
        status = opt_parse_list("-pg", text, INT32_MAX, &items, &n, err);
        if (status != TERN_OK) return status;
        status = n == 2 ? add_test(b, items[0], items[1], depth, err)
                        : error_set(err, TERN_INVALID_ARGUMENT, "-pg takes two numbers, PP,TG, not '%.60s'", text);
        free(items);
    }
    return status;
}

static tern_status collect_tests(bench *b, tern_error *err)
{
    int32_t *depths;
    size_t n;
    tern_status status = opt_parse_list("-d", b->options->values[OPT_DEPTH].text, INT32_MAX, &depths, &n, err);
    if (status != TERN_OK) return status;
    for (size_t i = 0; i < n && status == TERN_OK; i++) status = add_tests_at(b, depths[i], err);
    free(depths);
    if (status == TERN_OK && b->n_tests == 0)
        status = error_set(err, TERN_INVALID_ARGUMENT, "no tests: -p and -n are both 0");
    return status;
}

// The roof that decode speed is held against, for the device whose memory this is. Other load on the machine lowers
// what one look sees, so it is measured before every test and after the last, and the best counts.
static tern_status measure_peak(bench *b, const tern_device_info *device, tern_error *err)
{
    if (strcmp(device->backend, "cpu") != 0) return TERN_OK;
    bandwidth result;
    tern_status status = bandwidth_measure_read((uint32_t)b->options->values[OPT_THREADS].integer, 0, 5, &result, err);
    if (status == TERN_OK && result.best_gbps > b->peak_gbps) b->peak_gbps = result.best_gbps;
    return status;
}

static tern_status bench_model(bench *b, const char *path, tern_error *err)
{
    cli_session s = {0};
    uint64_t n_ctx = 0;
    for (size_t i = 0; i < b->n_tests; i++) {
        uint64_t n = model_bench_test_context(&b->tests[i]);
        if (n > n_ctx) n_ctx = n;
    }
    tern_status status = cli_model_open(&s, b->options, path, err);
    if (status == TERN_OK)
        status = cli_session_load(&s, b->options, (uint32_t)n_ctx, (uint32_t)b->options->values[OPT_BATCH].integer,
                                  err);
    model_bench_options o;
    model_bench_options_init(&o);
    o.n_repeats = (uint32_t)b->options->values[OPT_REPEATS].integer;
    o.model_filename = path;
    cli_progress progress;
    cli_progress_begin(&progress, b->options, path);
    for (size_t i = 0; i < b->n_tests && status == TERN_OK; i++) {
        char name[64];
        model_bench_test_name(&b->tests[i], name, sizeof name);
        cli_progress_show(&progress, (double)i / (double)b->n_tests, name);
        status = measure_peak(b, &s.device, err);
        if (status == TERN_OK)
            status = model_bench_run(s.engine, s.model, &s.plan, s.session, &b->tests[i], &o, &b->rows[b->n_rows], err);
        b->n_rows += status == TERN_OK;
    }
    if (status == TERN_OK) status = measure_peak(b, &s.device, err);
    cli_progress_end(&progress);
    cli_session_close(&s);
    if (status != TERN_OK && status != TERN_CANCELLED) error_prefix(err, "%s", path);
    return status;
}

static tern_status print_rows(const bench *b, tern_error *err)
{
    static tern_status (*const forms[])(const model_bench_row *, size_t, char **, tern_error *) = {
        model_bench_markdown, model_bench_json, model_bench_jsonl, model_bench_csv}; // in the order of -o's choices
    for (size_t i = 0; i < b->n_rows; i++) model_bench_set_peak(&b->rows[i], b->peak_gbps);
    char *text = NULL;
    tern_status status = forms[b->options->values[OPT_OUTPUT].integer](b->rows, b->n_rows, &text, err);
    size_t n = status == TERN_OK ? strlen(text) : 0;
    if (status == TERN_OK) status = cli_write(text, n, err);
    if (status == TERN_OK && n > 0 && text[n - 1] != '\n') status = cli_write("\n", 1, err);
    free(text);
    return status;
}

int cmd_bench(const opt_values *options)
{
    bench b = {.options = options};
    tern_error err = {0};
    interrupt_install();
    tern_status status = collect_models(&b, &err);
    if (status == TERN_OK) status = collect_tests(&b, &err);
    if (status == TERN_OK) b.rows = calloc(b.n_models * b.n_tests, sizeof *b.rows);
    if (status == TERN_OK && !b.rows) status = error_set(&err, TERN_HOST_MEMORY, "out of memory for the results");
    for (size_t i = 0; i < b.n_models && status == TERN_OK; i++) status = bench_model(&b, b.models[i], &err);
    if (b.n_rows > 0) { // after a failure or Ctrl-C too: what was measured is worth keeping
        tern_error print_err = {0};
        tern_status print_status = print_rows(&b, &print_err);
        if (status == TERN_OK) {
            status = print_status;
            err = print_err;
        }
    }
    int code = status == TERN_OK ? EXIT_CODE_OK : cli_fail(&err, NULL);
    for (size_t i = 0; i < b.n_rows; i++) model_bench_row_free(&b.rows[i]);
    for (size_t i = 0; i < b.n_models; i++) free(b.models[i]);
    free(b.rows);
    free(b.models);
    free(b.tests);
    return cli_finish(code);
}
