// Whole models on the CUDA backend, executed by the shim: all logits have the bits that the CPU computes, for the
// bundled story model with every KV type and several batchings, and for every fixture.
#include "fixtures.h"
#include "greedy.h"

#include <math.h>

#include "cuda_runtime_api.h"
#include "model_bench.h"

#define STORIES TERN_SOURCE_DIR "/models/stories"

#define N_PROMPT  140
#define N_FIXTURE 8
#define N_GREEDY  5
#define N_WHOLE   256 // the story model's context

// Every token of every fixture and of a whole context: scripts/shim_models.sh.
static bool is_whole(void) { return getenv("TERN_SHIM_WHOLE") != NULL; }

static matrix cpu_logits(const char *path, setup s, const tern_token *ids, size_t n)
{
    s.device = "cpu";
    s.n_threads = 2;
    s.fast_attention = false; // the other device's affair
    running cpu = start(path, s);
    matrix logits = all_logits(&cpu, ids, n, 512);
    stop(&cpu);
    return logits;
}

// Logits of `ids` on the CPU and on the shim's device, in batches of n_batch.
static void check_equal(const char *path, setup s, const tern_token *ids, size_t n, size_t n_batch, const char *what)
{
    matrix expected = cpu_logits(path, s, ids, n);
    s.device = "cuda0";
    uint64_t n_launches = shim_launches();
    running cuda = start(path, s);
    matrix got = all_logits(&cuda, ids, n, n_batch);
    assert_true(shim_launches() > n_launches + n / n_batch);
    assert_same_bits(&got, &expected, what);
    stop(&cuda);
    free(got.values);
    free(expected.values);
    assert_int_equal(shim_live(), 0);
}

static void stories(void **state)
{
    (void)state;
    tern_token ids[N_WHOLE];
    for (size_t i = 0; i < N_WHOLE; i++) ids[i] = (tern_token)((i * 2654435761u + 12345) % 4093);
    ids[0] = 4093;
    for (int kv = TERN_KV_F32; kv <= TERN_KV_INT4 && is_whole(); kv++)
        check_equal(STORIES, (setup){.kv = (tern_kv_type)kv}, ids, N_WHOLE, 128, "the whole context");
    check_equal(STORIES, (setup){.kv = TERN_KV_F16}, ids, N_PROMPT, 9, "f16 KV, batches of 9");
    check_equal(STORIES, (setup){.kv = TERN_KV_INT8}, ids, 6, 1, "int8 KV, a token at a time");
    check_equal(STORIES, (setup){.kv = TERN_KV_INT8, .is_eager = true}, ids, 6, 1, "the same without graphs");
    check_equal(STORIES, (setup){.kv = TERN_KV_INT8, .act = TERN_ACT_F32}, ids, 6, 4, "fp32 activations");
    check_equal(STORIES, (setup){.kv = TERN_KV_INT8}, ids, N_PROMPT, 512, "int8 KV, one batch");
    if (is_whole()) check_equal(STORIES, (setup){.kv = TERN_KV_INT8}, ids, N_WHOLE, 33, "int8 KV, batches of 33");
    shim_set_sms(64); // the groups of attention are spread
    check_equal(STORIES, (setup){.kv = TERN_KV_INT8}, ids, N_PROMPT, 45, "a wide device");
    shim_set_sms(4);
    shim_set_capability(75);
    check_equal(STORIES, (setup){.kv = TERN_KV_INT8}, ids, 20, 7, "sm_75");
    shim_set_capability(80);
}

// Layers on the CPU before those of the device, and layers that visit the device: the shim runs a copy only when
// something waits for it, and device memory starts as NaN, so an order that events do not give shows.
static void spread_models(void **state)
{
    (void)state;
    static const placement places[] = {
        {.n_gpu_layers = TERN_LAYERS_ALL, .n_streamed = 5, .embedding = TERN_EMBEDDING_HOST},
        {.n_gpu_layers = 4, .n_streamed = 3},
        {.n_gpu_layers = 2},
        {.n_gpu_layers = TERN_LAYERS_ALL, .n_streamed = 1},
    };
    tern_token ids[9];
    for (size_t i = 0; i < 9; i++) ids[i] = (tern_token)(i * 37 % 500);
    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++)
        check_equal(STORIES, (setup){.kv = TERN_KV_INT8, .n_ctx = 64, .place = &places[p]}, ids, 9, p == 0 ? 1 : 4,
                    "spread");
    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) // p = 0: the stored rows on the host
        check_equal(STORIES, (setup){.kv = TERN_KV_INT8, .n_ctx = 64, .head = TERN_HEAD_SCREEN, .place = &places[p]},
                    ids, 9, p == 0 ? 1 : 4, "spread, with a screened head");
}

// What the backend holds is what was planned.
static void memory_is_as_planned(void **state)
{
    (void)state;
    static const placement places[] = {
        {.n_gpu_layers = TERN_LAYERS_ALL}, {.n_gpu_layers = 3}, {.n_gpu_layers = TERN_LAYERS_ALL, .n_streamed = 4}};
    for (size_t p = 0; p < 2 * sizeof places / sizeof places[0]; p++) {
        setup s = {.kv = TERN_KV_INT8, .device = "cuda0", .place = &places[p / 2]};
        if (p % 2 == 1) s.head = TERN_HEAD_SCREEN;
        running r = start(STORIES, s);
        uint64_t planned, now, peak;
        tern_model_memory(r.model, &planned, &now, &peak);
        uint64_t off = planned > now ? planned - now : now - planned;
        if (off > planned / 50 || peak > planned + planned / 50)
            fail_msg("%llu planned, %llu there, %llu at most", (unsigned long long)planned, (unsigned long long)now,
                     (unsigned long long)peak);
        stop(&r);
    }
}

// Opens, loads and evaluates the tiny model with some of it on the host; the first failure.
static tern_status live_once(tern_error *err)
{
    tern_engine *engine = NULL;
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_plan plan;
    tern_plan_options options;
    tern_plan_options_init(&options);
    options.device = "cuda0";
    options.n_ctx = 64;
    options.n_batch = 1;
    options.n_streamed = 2;
    options.embedding = TERN_EMBEDDING_HOST;
    tern_status status = tern_engine_open(NULL, &engine, err);
    if (status == TERN_OK) status = tern_model_open(engine, "synthetic:tiny", NULL, &model, err);
    if (status == TERN_OK) status = tern_plan_make(model, &options, &plan, err);
    if (status == TERN_OK) status = tern_model_load(model, &plan, NULL, NULL, err);
    if (status == TERN_OK) status = tern_session_create(model, &session, err);
    const tern_row row = {.token = 1, .wants_logits = true};
    if (status == TERN_OK) status = tern_session_eval(session, &row, 1, err);
    tern_session_free(session);
    tern_model_close(model);
    tern_engine_close(engine);
    return status;
}

// Each allocation of the runtime fails once: a clear status, and nothing is left.
static void every_allocation_fails_once(void **state)
{
    (void)state;
    tern_error err = {0};
    long before = shim_allocations();
    if (live_once(&err) != TERN_OK) fail_msg("%s", err.message);
    long n = shim_allocations() - before;
    assert_true(n > 30);
    for (long i = 0; i < n; i++) {
        err = (tern_error){0};
        shim_fail_after(i);
        tern_status status = live_once(&err);
        shim_fail_after(-1);
        assert_int_equal(shim_live(), 0);
        if (status == TERN_OK || status == TERN_DEVICE_LOST || err.message[0] == 0)
            fail_msg("allocation %ld of %ld failing: %s, \"%s\"", i, n, tern_status_name(status), err.message);
    }
    if (live_once(&err) != TERN_OK) fail_msg("%s", err.message);
}

// Greedy text: the device goes from token to token by itself. The shim does a step only when somebody waits for it.
static void stories_greedy(void **state)
{
    (void)state;
    static const placement streamed = {.n_gpu_layers = TERN_LAYERS_ALL, .n_streamed = 4}, half = {.n_gpu_layers = 3};
    setup s = {.kv = TERN_KV_INT8, .device = "cuda0", .n_batch = 4};
    greedy_check(s, 2 * N_GREEDY, "graphs");
    greedy_numeric_check(s, "graphs");
    assert_int_equal(shim_live(), 0);
    s.is_eager = true;
    greedy_check(s, N_GREEDY, "op by op");
    s.place = &streamed;
    greedy_check(s, N_GREEDY, "streamed layers");
    s.place = &half;
    greedy_check(s, N_GREEDY, "two devices");
    assert_int_equal(shim_live(), 0);
}

// Root mean square of the difference over that of the logits.
static double relative_error(const matrix *got, const matrix *expected)
{
    double off = 0, size = 0;
    assert_int_equal(got->n_rows, expected->n_rows);
    for (size_t i = 0; i < expected->n_rows * expected->n_cols; i++) {
        double x = expected->values[i], d = got->values[i] - x;
        off += d * d;
        size += x * x;
    }
    return sqrt(off / size);
}

// With fast attention on the shim's device against the CPU, both over an f16 KV cache: not the same bits, but near; and
// the same bits where no step has a whole window of rows.
static void check_fast(const char *path, setup s, const tern_token *ids, size_t n, size_t n_batch, double most,
                       const char *what)
{
    s.kv = TERN_KV_F16;
    matrix expected = cpu_logits(path, s, ids, n);
    s.device = "cuda0";
    s.fast_attention = true;
    running cuda = start(path, s);
    assert_true(cuda.plan.fast_attention);
    matrix got = all_logits(&cuda, ids, n, n_batch);
    stop(&cuda);
    double error = relative_error(&got, &expected);
    print_message("%s: relative error %.2g\n", what, error);
    if (n_batch < 16)
        assert_same_bits(&got, &expected, what);
    else if (!(error > 0 && error <= most))
        fail_msg("%s: the logits' relative error is %g, expected at most %g and not 0", what, error, most);
    free(got.values);
    free(expected.values);
}

// Float activations carry the error of fp16 on as it is; int8 activations flip codes at ties, which moves logits by
// some percent whatever the first difference was (ARCHITECTURE.md, "Numbers").
#define MOST_FLOAT 1e-3
#define MOST_INT8  0.1

static void fast_attention(void **state)
{
    (void)state;
    tern_token ids[N_WHOLE];
    for (size_t i = 0; i < N_WHOLE; i++) ids[i] = (tern_token)((i * 2654435761u + 12345) % 4093);
    ids[0] = 4093;
    setup floats = {.act = TERN_ACT_F32};
    check_fast(STORIES, floats, ids, 66, 512, MOST_FLOAT, "stories, float activations");
    check_fast(STORIES, (setup){0}, ids, 66, 33, MOST_INT8, "stories, batches of 33");
    if (is_whole()) check_fast(STORIES, (setup){0}, ids, N_WHOLE, 512, MOST_INT8, "stories, the whole context");
    check_fast(STORIES, (setup){0}, ids, 20, 15, 0, "stories, batches without windows");
}

// Fixtures with heads of every size; one has heads that fast attention does not take, and the plan says so.
static void fast_attention_of_fixtures(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        bool is_taken;
    } cases[] = {{"fixtures/hf-llama-dense", true},       // heads of 32
                 {"fixtures/hf-bitnet-packed", true},     // 96
                 {"fixtures/bonsai-unpacked", true},      // 128
                 {"fixtures/hf-1bitllm", false},          // 100
                 {"fixtures/hf-llama-bitlinear", false}}; // 256
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[1024];
        data_path(cases[i].path, path, sizeof path);
        tern_token ids[24];
        setup s = {.kv = TERN_KV_F16, .device = "cuda0", .fast_attention = true};
        running r = start(path, s);
        assert_int_equal(r.plan.fast_attention, cases[i].is_taken);
        assert_int_equal(strncmp(r.plan.attention, "as defined", 10) == 0, !cases[i].is_taken);
        for (size_t k = 0; k < 24; k++) ids[k] = (tern_token)(k * 37 % r.info.n_vocab);
        stop(&r);
        if (cases[i].is_taken)
            check_fast(path, (setup){.act = TERN_ACT_F32}, ids, 24, 24, MOST_FLOAT, cases[i].path);
        else
            check_equal(path, (setup){.kv = TERN_KV_F16, .fast_attention = true}, ids, 24, 24, cases[i].path);
    }
}

// Rows of a benchmark with and without: models of their own, and named wherever a row goes.
static void fast_attention_is_named_in_rows(void **state)
{
    (void)state;
    bench_config configs[2];
    bench_options options;
    bench_rows rows = {0};
    tern_engine *engine = NULL;
    char *text = NULL;
    CHECK(tern_engine_open(NULL, &engine, err));
    bench_options_init(&options);
    options.engine = engine;
    options.n_repeats = 1;
    options.n_warmup = 0;
    options.energy_window_s = 0;
    options.is_checked = options.has_peaks = false;
    for (size_t i = 0; i < 2; i++) {
        bench_config_init(&configs[i]);
        configs[i].model = STORIES;
        configs[i].device = "cuda0";
        configs[i].kv_k = configs[i].kv_v = TERN_KV_F16;
        configs[i].test.n_prompt = 16;
        configs[i].fast_attention = i == 1;
    }
    CHECK(bench_run(configs, 2, &options, &rows, err));
    assert_int_equal(rows.n, 2);
    assert_false(rows.items[0].fast_attention);
    assert_true(rows.items[1].fast_attention);
    assert_string_equal(rows.items[0].attention, "as defined");
    assert_non_null(strstr(rows.items[1].attention, "not bit-equal"));
    assert_null(strstr(rows.items[0].model_type, "fast attention"));
    assert_non_null(strstr(rows.items[1].model_type, ", fast attention"));
    CHECK(bench_rows_text(&rows.items[1], 1, BENCH_JSON, &text, err));
    assert_non_null(strstr(text, "\"fast_attention\": true"));
    free(text);
    CHECK(bench_rows_text(&rows.items[1], 1, BENCH_MD, &text, err));
    assert_non_null(strstr(text, ", fast attention"));
    free(text);
    bench_rows_free(&rows);
    tern_engine_close(engine);
}

static void check_fixture(void **state)
{
    const fixture *f = *state;
    char path[1024], part[512], json_path[1024];
    snprintf(part, sizeof part, "fixtures/%s/%s", f->name, f->file);
    data_path(part, path, sizeof path);
    snprintf(json_path, sizeof json_path, "%s/fixtures/%s/expected.json", data_root(), f->name);
    json_t *json = read_json(json_path);
    id_list tokens = json_ids(json, "tokens");
    json_decref(json);
    size_t n = tokens.n < N_FIXTURE || is_whole() ? tokens.n : N_FIXTURE, n_few = n < 5 ? n : 5;
    check_equal(path, (setup){.kv = TERN_KV_INT8}, tokens.ids, n, 512, f->name);
    check_equal(path, (setup){.kv = TERN_KV_F16}, tokens.ids, n_few, 1, f->name);
    if (f->is_weight_only)
        check_equal(path, (setup){.kv = TERN_KV_INT4, .act = TERN_ACT_F32}, tokens.ids, n_few, 512, "f32 activations");
}

#define T(name) cmocka_unit_test(name)

#define N_OTHERS 8 // tests beside those of fixtures

int main(void)
{
    struct CMUnitTest tests[N_OTHERS + N_FIXTURES] = {
        T(spread_models),  T(memory_is_as_planned), T(every_allocation_fails_once), T(stories),
        T(stories_greedy), T(fast_attention),       T(fast_attention_of_fixtures),  T(fast_attention_is_named_in_rows),
    };
    size_t n = N_OTHERS;
    for (size_t i = 0; i < N_FIXTURES; i++)
        tests[n++] = (struct CMUnitTest){
            .name = fixtures[i].name, .test_func = check_fixture, .initial_state = (void *)(uintptr_t)&fixtures[i]};
    return _cmocka_run_group_tests("shim models", tests, n, NULL, NULL);
}
