// Whole models on the CUDA backend, executed by the shim: all logits have the bits that the CPU computes, for the
// bundled story model with every KV type and several batchings, and for every fixture.
#include "fixtures.h"
#include "greedy.h"

#include "cuda_runtime_api.h"

#define STORIES TERN_SOURCE_DIR "/models/stories"

#if defined(__SANITIZE_ADDRESS__)
#define N_PROMPT  66 // past a KV block of 64
#define N_FIXTURE 4
#define STEP      5 // of the fixtures: all take minutes
#else
#define N_PROMPT  140
#define N_FIXTURE 12 // all tokens of many
#define STEP      1
#endif
#define N_WHOLE 256 // the story model's context

// Every token of every fixture and of a whole context: scripts/shim_models.sh.
static bool is_whole(void) { return getenv("TERN_SHIM_WHOLE") != NULL; }

// Logits of `ids` on the CPU and on the shim's device, in batches of n_batch.
static void check_equal(const char *path, setup s, const tern_token *ids, size_t n, size_t n_batch, const char *what)
{
    s.device = "cpu";
    s.n_threads = 2;
    running cpu = start(path, s);
    matrix expected = all_logits(&cpu, ids, n, 512);
    stop(&cpu);
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
#if !defined(__SANITIZE_ADDRESS__)
    check_equal(STORIES, (setup){.kv = TERN_KV_F32}, ids, N_PROMPT, 512, "f32 KV, one batch");
    check_equal(STORIES, (setup){.kv = TERN_KV_INT8}, ids, N_PROMPT, 512, "int8 KV, one batch");
    check_equal(STORIES, (setup){.kv = TERN_KV_INT8}, ids, N_PROMPT, 33, "int8 KV, batches of 33");
#endif
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
    greedy_check(s, 12, "graphs");
    greedy_numeric_check(s, "graphs");
    s.is_eager = true;
    greedy_check(s, 6, "op by op");
    s.place = &streamed;
    greedy_check(s, 6, "streamed layers");
    s.place = &half;
    greedy_check(s, 6, "two devices");
    assert_int_equal(shim_live(), 0);
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

#define N_OTHERS 5 // tests beside those of fixtures

int main(void)
{
    struct CMUnitTest tests[N_OTHERS + N_FIXTURES] = {
        T(spread_models), T(memory_is_as_planned), T(every_allocation_fails_once), T(stories), T(stories_greedy),
    };
    size_t n = N_OTHERS;
    for (size_t i = 0; i < N_FIXTURES; i += STEP)
        tests[n++] = (struct CMUnitTest){
            .name = fixtures[i].name, .test_func = check_fixture, .initial_state = (void *)(uintptr_t)&fixtures[i]};
    if (STEP > 1) print_message("every %dth of %zu fixtures\n", STEP, (size_t)N_FIXTURES);
    return _cmocka_run_group_tests("shim models", tests, n, NULL, NULL);
}
