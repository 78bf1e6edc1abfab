// Timing a loaded model; see model_bench.h. How rows are written is in model_bench_report.c.
#include "model_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "error.h"
#include "rng.h"
#include "stats.h"

void model_bench_options_init(model_bench_options *options)
{
    *options = (model_bench_options){.n_repeats = 5, .n_warmup = 1, .model_filename = ""};
}

void model_bench_test_name(const model_bench_test *test, char *out, size_t n_bytes)
{
    char pp[24] = "", tg[24] = "", depth[24] = "";
    if (test->n_prompt > 0) snprintf(pp, sizeof pp, "pp%u", test->n_prompt);
    if (test->n_gen > 0) snprintf(tg, sizeof tg, "%stg%u", test->n_prompt > 0 ? "+" : "", test->n_gen);
    if (test->n_depth > 0) snprintf(depth, sizeof depth, " @ d%u", test->n_depth);
    snprintf(out, n_bytes, "%s%s%s", pp, tg, depth);
}

uint64_t model_bench_test_context(const model_bench_test *test)
{
    return (uint64_t)test->n_prompt + test->n_gen + test->n_depth;
}

// What a run needs at hand.
typedef struct bench_run {
    tern_session *session;
    tern_row *rows; // n_batch of them
    uint32_t n_batch, n_vocab;
    uint64_t seed, n_tokens; // n_tokens: ids drawn so far
} bench_run;

static tern_token draw_token(bench_run *b) { return (tern_token)(rng_u64(b->seed, b->n_tokens++) % b->n_vocab); }

// Evaluates n random tokens in batches; only the last row of all wants logits, as in a real prompt.
static tern_status prefill(bench_run *b, uint32_t n, tern_error *err)
{
    tern_status status = TERN_OK;
    while (n > 0 && status == TERN_OK) {
        uint32_t count = n < b->n_batch ? n : b->n_batch;
        for (uint32_t i = 0; i < count; i++)
            b->rows[i] = (tern_row){.sequence = 0, .token = draw_token(b), .wants_logits = n - i == 1};
        status = tern_session_eval(b->session, b->rows, count, err);
        n -= count;
    }
    return status;
}

static tern_status decode(bench_run *b, uint32_t n, tern_error *err)
{
    tern_status status = TERN_OK;
    for (uint32_t i = 0; i < n && status == TERN_OK; i++) {
        tern_row row = {.sequence = 0, .token = draw_token(b), .wants_logits = true};
        status = tern_session_eval(b->session, &row, 1, err);
    }
    return status;
}

// One sample on a context of n_depth tokens, which stay from sample to sample.
static tern_status run_once(bench_run *b, const model_bench_test *test, uint64_t *ns, tern_error *err)
{
    tern_status status = tern_session_trim(b->session, 0, test->n_depth, err);
    uint64_t start = clock_ns();
    if (status == TERN_OK) status = prefill(b, test->n_prompt, err);
    if (status == TERN_OK) status = decode(b, test->n_gen, err);
    *ns = clock_ns() - start;
    return status;
}

static tern_status run_samples(bench_run *b, const model_bench_test *test, const model_bench_options *options,
                               model_bench_row *row, tern_error *err)
{
    tern_session_stats before, after;
    uint64_t ns;
    tern_status status = tern_session_trim(b->session, 0, 0, err);
    if (status == TERN_OK) status = prefill(b, test->n_depth, err);
    for (uint32_t i = 0; i < options->n_warmup && status == TERN_OK; i++) status = run_once(b, test, &ns, err);
    tern_session_get_stats(b->session, &before);
    for (uint32_t i = 0; i < options->n_repeats && status == TERN_OK; i++) {
        status = run_once(b, test, &ns, err);
        if (status == TERN_OK) row->samples_ns[row->n_samples++] = ns > 0 ? ns : 1;
    }
    tern_session_get_stats(b->session, &after);
    row->bytes_weights = (after.bytes_weights - before.bytes_weights) / options->n_repeats;
    return status;
}

void model_bench_set_peak(model_bench_row *row, double peak_gbps)
{
    row->peak_gbps = peak_gbps;
    row->pct_peak_bw = peak_gbps > 0.0 ? 100.0 * row->gbps / peak_gbps : 0.0;
}

static tern_status summarise(model_bench_row *row, tern_error *err)
{
    double n_tokens = (double)row->test.n_prompt + (double)row->test.n_gen;
    double *speeds = malloc(row->n_samples * sizeof *speeds);
    if (speeds == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %u speeds", row->n_samples);
    for (uint32_t i = 0; i < row->n_samples; i++) speeds[i] = n_tokens * 1e9 / (double)row->samples_ns[i];
    stats ns = {0}, ts = {0};
    tern_status status = stats_of_ns(row->samples_ns, row->n_samples, &ns, err);
    if (status == TERN_OK) status = stats_of(speeds, row->n_samples, &ts, err);
    free(speeds);
    if (status != TERN_OK) return status;
    row->avg_ns = ns.mean;
    row->stddev_ns = ns.sd;
    row->avg_ts = ts.mean;
    row->stddev_ts = ts.sd;
    row->gbps = (double)row->bytes_weights / ns.mean; // bytes per ns: 1e9 bytes per second
    return TERN_OK;
}

static void describe_model(model_bench_row *row, const tern_model *model, const tern_plan *plan)
{
    tern_model_info info;
    tern_model_get_info(model, &info);
    bool is_twin = plan->weights == TERN_WEIGHTS_F16;
    snprintf(row->weights, sizeof row->weights, "%s", is_twin ? "f16" : info.is_ternary ? "t64" : "dense");
    if (is_twin && strstr(plan->products, "F32 weights") != NULL) snprintf(row->weights, sizeof row->weights, "f32");
    snprintf(row->products, sizeof row->products, "%s", plan->products);
    // A synthetic model is called so wherever its numbers go.
    bool says_so = strncmp(info.name, "synthetic", 9) == 0;
    static const char *const heads[] = {
        [TERN_HEAD_F16] = ", f16 head", [TERN_HEAD_INT8] = ", int8 head", [TERN_HEAD_INT4] = ", int4 head"};
    snprintf(row->model_type, sizeof row->model_type, "%s%s %s%s", info.name,
             info.is_synthetic && !says_so ? " (synthetic)" : "", row->weights,
             plan->head != TERN_HEAD_STORED ? heads[plan->head] : "");
    row->is_synthetic = info.is_synthetic;
    row->model_n_params = info.n_params;
    row->model_size = plan->bytes_ternary + plan->bytes_dense + plan->bytes_embedding + plan->bytes_head +
                      plan->bytes_norms;
    row->n_gpu_layers = strcmp(row->backend, "CPU") == 0 ? 0 : info.n_layers;
}

static void describe_device(model_bench_row *row, const tern_engine *engine, const tern_plan *plan)
{
    snprintf(row->device, sizeof row->device, "%s", plan->device);
    for (size_t i = 0; i < tern_engine_device_count(engine); i++) {
        tern_device_info info;
        if (tern_engine_device_info(engine, i, &info, NULL) != TERN_OK) continue;
        if (strcmp(info.name, "cpu") == 0) snprintf(row->cpu_info, sizeof row->cpu_info, "%s", info.description);
        if (strcmp(info.name, plan->device) != 0) continue;
        for (size_t c = 0; info.backend[c] != 0; c++) // llama-bench writes backends in capitals
            row->backend[c] = (char)(info.backend[c] >= 'a' && info.backend[c] <= 'z' ? info.backend[c] - 32
                                                                                      : info.backend[c]);
        if (strcmp(row->backend, "CPU") != 0) snprintf(row->gpu_info, sizeof row->gpu_info, "%s", info.description);
    }
}

static void note_time(model_bench_row *row)
{
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) != NULL) strftime(row->test_time, sizeof row->test_time, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static tern_status check_test(const model_bench_test *test, const tern_plan *plan, const model_bench_options *options,
                              tern_error *err)
{
    if (test->n_prompt == 0 && test->n_gen == 0)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "bench: a test of no tokens; ask for a prompt (-p) or for generation (-n)");
    if (options->n_repeats == 0) return error_set(err, TERN_INVALID_ARGUMENT, "bench: at least one repeat is needed");
    if (model_bench_test_context(test) > plan->n_ctx)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "bench: the test needs %llu positions, the plan has %u; use a larger -c",
                         (unsigned long long)model_bench_test_context(test), plan->n_ctx);
    return TERN_OK;
}

tern_status model_bench_run(const tern_engine *engine, const tern_model *model, const tern_plan *plan,
                            tern_session *session, const model_bench_test *test, const model_bench_options *options,
                            model_bench_row *out, tern_error *err)
{
    tern_status status = check_test(test, plan, options, err);
    if (status != TERN_OK) return status;
    tern_model_info info;
    tern_model_get_info(model, &info);
    const tern_tokenizer *tokenizer = tern_model_tokenizer(model);
    bench_run run = {.session = session,
                     .n_batch = plan->n_batch,
                     .seed = options->seed,
                     .n_vocab = tokenizer != NULL ? tern_tokenizer_n_tokens(tokenizer) : info.n_vocab};
    model_bench_row row = {.test = *test,
                           .n_batch = plan->n_batch,
                           .n_threads = plan->n_threads,
                           .type_k = plan->kv_k,
                           .type_v = plan->kv_v};
    snprintf(row.model_filename, sizeof row.model_filename, "%s",
             options->model_filename != NULL ? options->model_filename : "");
    describe_device(&row, engine, plan);
    describe_model(&row, model, plan);
    note_time(&row);

    run.rows = calloc(plan->n_batch, sizeof *run.rows);
    row.samples_ns = calloc(options->n_repeats, sizeof *row.samples_ns);
    if (run.rows == NULL || row.samples_ns == NULL)
        status = error_set(err, TERN_HOST_MEMORY, "no memory for a bench of %u repeats", options->n_repeats);
    if (status == TERN_OK) status = run_samples(&run, test, options, &row, err);
    if (status == TERN_OK) status = summarise(&row, err);
    tern_status emptied = tern_session_trim(session, 0, 0, status == TERN_OK ? err : NULL);
    if (status == TERN_OK) status = emptied;
    free(run.rows);
    if (status != TERN_OK) {
        model_bench_row_free(&row);
        return status;
    }
    *out = row;
    return TERN_OK;
}

void model_bench_row_free(model_bench_row *row)
{
    free(row->samples_ns);
    *row = (model_bench_row){0};
}
