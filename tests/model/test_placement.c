// Models spread over places: layers on the CPU before those of a device, layers streamed from pinned memory, the
// embedding on the host, both layouts. Every placement has the bits of the plain model, and takes what its plan says.
#include "fixtures.h"
#include "poison.h"
#include "support.h"

#include <unistd.h>

#define STORIES TERN_SOURCE_DIR "/models/stories"
#define N_IDS   70 // past a KV block of 64

#define AUTO TERN_LAYERS_AUTO
#define ALL  TERN_LAYERS_ALL

static const placement placements[] = {
    {.n_gpu_layers = ALL, .n_streamed = 0, .embedding = TERN_EMBEDDING_HOST},
    {.n_gpu_layers = ALL, .n_streamed = 0, .layout = TERN_LAYOUT_T80},
    {.n_gpu_layers = 1, .n_streamed = AUTO},
    {.n_gpu_layers = 4, .n_streamed = 0},
    {.n_gpu_layers = 0, .n_streamed = 0},
    {.n_gpu_layers = ALL, .n_streamed = 1},
    {.n_gpu_layers = ALL, .n_streamed = 2},
    {.n_gpu_layers = ALL, .n_streamed = 5},
    {.n_gpu_layers = AUTO, .n_streamed = 99, .layout = TERN_LAYOUT_T80},
    {.n_gpu_layers = 5, .n_streamed = 3, .embedding = TERN_EMBEDDING_HOST},
};
#define N_PLACEMENTS (sizeof placements / sizeof placements[0])

#define MAX_DEVICES 8
static char devices[MAX_DEVICES][32] = {"cpu", "cpuref"};
static size_t n_devices = 2;

static int list_devices(void **state)
{
    (void)state;
    return add_devices(devices, MAX_DEVICES, &n_devices);
}

static setup on(const char *device, tern_kv_type kv, const placement *place)
{
    return (setup){
        .device = device, .kv = kv, .n_batch = 64, .n_threads = 1, .cache_dir = TERN_TEST_CACHE, .place = place};
}

// The counters of the device against the plan, with the session there.
static void check_memory(const running *r, const char *what)
{
    uint64_t planned = 0, now = 0, peak = 0;
    tern_model_memory(r->model, &planned, &now, &peak);
    assert_true(planned > 0 && now > 0 && peak >= now);
    uint64_t off = planned > now ? planned - now : now - planned;
    if (off > planned / 50 || peak > planned)
        fail_msg("%s: %llu bytes planned, %llu there, %llu at most", what, (unsigned long long)planned,
                 (unsigned long long)now, (unsigned long long)peak);
}

static void check_placement(const char *path, setup s, const tern_token *ids, size_t n, const matrix *expected,
                            bool is_planned_exactly)
{
    static const size_t batches[] = {64, 7};
    running r = start(path, s);
    char what[1200];
    snprintf(what, sizeof what, "%s on %s, %u layers on the CPU, %u streamed", path, s.device, r.plan.n_layers_cpu,
             r.plan.n_layers_streamed);
    assert_int_equal(r.plan.n_layers_cpu + r.plan.n_layers_device + r.plan.n_layers_streamed, r.info.n_layers);
    if (is_planned_exactly) check_memory(&r, what);
    for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
        matrix got = all_logits(&r, ids, n, batches[b]);
        assert_same_bits(&got, expected, what);
        free(got.values);
    }
    stop(&r);
}

static void check_placements(const char *path, tern_kv_type kv, size_t first, size_t step)
{
    tern_token ids[N_IDS];
    for (size_t i = 0; i < N_IDS; i++) ids[i] = (tern_token)((i * 2654435761u + 12345) % 500);
    running plain = start(path, on("cpu", kv, NULL));
    matrix expected = all_logits(&plain, ids, N_IDS, 64);
    check_memory(&plain, path);
    stop(&plain);
    for (size_t d = 0; d < n_devices; d++) {
        bool is_slow = strcmp(devices[d], "cpuref") == 0;
        matrix some = {expected.values, is_slow ? 5 : N_IDS, expected.n_cols};
        for (size_t p = first; p < N_PLACEMENTS; p += step)
            check_placement(path, on(devices[d], kv, &placements[p]), ids, some.n_rows, &some, true);
    }
    free(expected.values);
}

static void stories(void **state)
{
    (void)state;
    check_placements(STORIES, TERN_KV_INT8, 0, 1);
}

static void synthetic(void **state)
{
    (void)state;
    check_placements("synthetic:tiny,seed=3", TERN_KV_F16, 1, 2);
}

// ---- a head that int4 rows screen

#define N_RANKED 40 // tokens that top-k sampling takes by default

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

// At least 256 logits of each row have the bits of the stored head, its best 40 among them, and no other logit is above
// those.
static void check_screened(const matrix *screened, const matrix *stored, const char *what)
{
    assert_int_equal(screened->n_rows, stored->n_rows);
    size_t n = stored->n_cols;
    assert_true(n >= 256);
    float *sorted = malloc(n * sizeof *sorted);
    for (size_t r = 0; r < stored->n_rows; r++) {
        const float *got = screened->values + r * n, *exact = stored->values + r * n;
        memcpy(sorted, exact, n * sizeof *sorted);
        qsort(sorted, n, sizeof *sorted, descending);
        float least = sorted[N_RANKED - 1];
        size_t n_exact = 0, n_wrong = 0;
        for (size_t i = 0; i < n; i++) {
            bool is_exact = memcmp(&got[i], &exact[i], sizeof(float)) == 0;
            n_exact += is_exact;
            n_wrong += !is_exact && (exact[i] >= least || got[i] >= least);
        }
        if (n_exact < 256 || n_wrong > 0)
            fail_msg("%s, row %zu: %zu logits as stored, %zu of the best 40 are not", what, r, n_exact, n_wrong);
    }
    free(sorted);
}

// On the CPU against the stored head, then everywhere against the CPU; planned bytes against those counted.
static void check_screening(const char *path, const tern_token *ids, size_t n, const placement *spread, size_t n_spread,
                            bool is_planned_exactly)
{
    setup s = on("cpu", TERN_KV_INT8, NULL);
    running r = start(path, s);
    matrix stored = all_logits(&r, ids, n, 64);
    stop(&r);
    s.head = TERN_HEAD_SCREEN;
    r = start(path, s);
    matrix screened = all_logits(&r, ids, n, 64);
    if (is_planned_exactly) check_memory(&r, path);
    stop(&r);
    check_screened(&screened, &stored, path);
    for (size_t d = 0; d < n_devices; d++)
        for (size_t p = 0; p < n_spread; p++) {
            bool is_slow = strcmp(devices[d], "cpuref") == 0;
            if (is_slow && !is_planned_exactly) continue;
            matrix some = {screened.values, is_slow ? 5 : n, screened.n_cols};
            s.device = devices[d];
            s.place = &spread[p];
            check_placement(path, s, ids, some.n_rows, &some, is_planned_exactly);
        }
    free(stored.values);
    free(screened.values);
}

static void screened_stories(void **state)
{
    (void)state;
    tern_token ids[N_IDS];
    for (size_t i = 0; i < N_IDS; i++) ids[i] = (tern_token)((i * 2654435761u + 12345) % 500);
    static const placement everywhere[] = {{.n_gpu_layers = ALL},
                                           {.n_gpu_layers = ALL, .embedding = TERN_EMBEDDING_HOST},
                                           {.n_gpu_layers = ALL, .n_streamed = 1},
                                           {.n_gpu_layers = 1},
                                           {.n_gpu_layers = 0}};
    const size_t n = sizeof everywhere / sizeof everywhere[0];
    check_screening(STORIES, ids, N_IDS, everywhere, n, true);
    check_screening("synthetic:tiny,seed=3", ids, 20, everywhere, n, true);
}

// Those whose head is ternary, or not of whole groups of 64 columns, are refused.
static bool can_be_screened(const char *path)
{
    tern_engine *engine = NULL;
    tern_model *model = NULL;
    tern_plan_options options;
    tern_plan plan;
    tern_error cause = {0};
    tern_plan_options_init(&options);
    options.device = "cpu";
    options.head = TERN_HEAD_SCREEN;
    CHECK(tern_engine_open(NULL, &engine, err));
    CHECK(tern_model_open(engine, path, NULL, &model, err));
    tern_status status = tern_plan_make(model, &options, &plan, &cause);
    bool is_known = strstr(cause.message, " is ternary, no more bytes") != NULL ||
                    strstr(cause.message, "a multiple of 64 columns") != NULL;
    if (status != TERN_OK && (status != TERN_UNSUPPORTED || !is_known)) fail_msg("%s: %s", path, cause.message);
    tern_model_close(model);
    tern_engine_close(engine);
    return status == TERN_OK;
}

// Matrices of many forms: stacked or apart, dense, scales per row and per group; slots must take each.
static void check_fixture(void **state)
{
    const fixture *f = *state;
    static const placement spread[] = {{.n_gpu_layers = 1, .n_streamed = 1},
                                       {.n_gpu_layers = ALL, .n_streamed = 99, .embedding = TERN_EMBEDDING_HOST}};
    char part[512], path[1024], json_path[1024];
    snprintf(part, sizeof part, "fixtures/%s/%s", f->name, f->file);
    data_path(part, path, sizeof path);
    snprintf(json_path, sizeof json_path, "%s/fixtures/%s/expected.json", data_root(), f->name);
    json_t *json = read_json(json_path);
    id_list tokens = json_ids(json, "tokens");
    json_decref(json);
    running plain = start(path, on("cpu", TERN_KV_INT8, NULL));
    matrix expected = all_logits(&plain, tokens.ids, tokens.n, 64);
    stop(&plain);
    for (size_t d = 0; d < n_devices; d++)
        for (size_t p = 0; p < sizeof spread / sizeof spread[0]; p++) {
            if (strcmp(devices[d], "cpuref") == 0) continue;
            // Scales are planned for at their finest, so memory is not compared.
            check_placement(path, on(devices[d], TERN_KV_INT8, &spread[p]), tokens.ids, tokens.n, &expected, false);
        }
    free(expected.values);
    if (can_be_screened(path)) // few rows: vocabularies go up to 128,256
        check_screening(path, tokens.ids, tokens.n < 12 ? tokens.n : 12, spread, sizeof spread / sizeof spread[0],
                        false);
}

// Text chosen by the device's top k, where steps are recorded and where they are not; with the stored head, then with
// it screened.
static void greedy_text(void **state)
{
    (void)state;
    tern_token expected[20];
    static const placement spread[] = {
        {.n_gpu_layers = ALL}, {.n_gpu_layers = 3}, {.n_gpu_layers = ALL, .n_streamed = 3}};
    for (size_t d = 0; d < n_devices; d++)
        for (size_t p = 0; p < 2 * sizeof spread / sizeof spread[0]; p++) {
            if (strcmp(devices[d], "cpuref") == 0) continue;
            setup s = on(devices[d], TERN_KV_INT8, &spread[p / 2]);
            if (p % 2 == 1) s.head = TERN_HEAD_SCREEN;
            running r = start(STORIES, s);
            tern_token ids[20];
            tern_row row = {.token = 1, .wants_logits = true};
            for (size_t i = 0; i < 20; i++) {
                float logits[3];
                tern_token top[3];
                CHECK(tern_session_eval(r.session, &row, 1, err));
                CHECK(tern_session_top(r.session, 0, 3, top, logits, err));
                row.token = ids[i] = top[0];
            }
            if (d == 0 && p == 0) memcpy(expected, ids, sizeof ids);
            assert_memory_equal(ids, expected, sizeof ids);
            stop(&r);
        }
}

// A budget under what the model takes: layers are streamed as far as must be, and no further allocation happens.
static void a_small_budget_streams(void **state)
{
    (void)state;
    tern_token ids[20];
    for (size_t i = 0; i < 20; i++) ids[i] = (tern_token)(i * 7 % 500);
    for (size_t d = 0; d < n_devices; d++) {
        if (strcmp(devices[d], "cpuref") == 0) continue;
        setup s = on(devices[d], TERN_KV_INT8, NULL);
        s.n_batch = 8;
        s.n_ctx = 64;
        running plain = start(STORIES, s);
        matrix expected = all_logits(&plain, ids, 20, 8);
        const tern_plan all = plain.plan;
        stop(&plain);
        const placement tight = {.n_gpu_layers = AUTO,
                                 .n_streamed = AUTO,
                                 .layout = TERN_LAYOUT_T64,
                                 .budget = all.bytes_total - all.bytes_ternary / all.n_layers_device / 2};
        s.place = &tight;
        running r = start(STORIES, s);
        assert_true(r.plan.n_layers_streamed >= 3 && r.plan.bytes_total <= tight.budget);
        assert_non_null(strstr(r.plan.reasons, "does not hold them all"));
        matrix got = all_logits(&r, ids, 20, 8);
        assert_same_bits(&got, &expected, devices[d]);
        check_memory(&r, devices[d]);
        stop(&r);
        free(got.values);
        free(expected.values);
    }
}

// The smaller layout, where only that fits.
static void a_small_budget_packs_tighter(void **state)
{
    (void)state;
    const tern_token ids[] = {1, 2, 3, 4, 5, 6, 7};
    placement place = {.n_gpu_layers = ALL, .layout = TERN_LAYOUT_T64};
    setup s = on("cpu", TERN_KV_INT8, &place);
    running loose = start("synthetic:tiny", s);
    matrix expected = all_logits(&loose, ids, 7, 7);
    stop(&loose);
    place.layout = TERN_LAYOUT_T80;
    running tight = start("synthetic:tiny", s);
    stop(&tight);
    assert_true(tight.plan.bytes_total < loose.plan.bytes_total);
    place = (placement){.n_gpu_layers = AUTO, .n_streamed = AUTO, .budget = tight.plan.bytes_total};
    running r = start("synthetic:tiny", s);
    assert_int_equal(r.plan.layout, TERN_LAYOUT_T80);
    assert_int_equal(r.plan.n_layers_streamed, 0);
    assert_non_null(strstr(r.plan.reasons, "two bits a weight do not fit"));
    matrix got = all_logits(&r, ids, 7, 7);
    assert_same_bits(&got, &expected, "T80");
    stop(&r);
    free(got.values);
    free(expected.values);
}

// ---- values that are not finite

// The lowest place is named, whichever device it was met on.
static void overflow_is_named_alike(void **state)
{
    (void)state;
    static const struct {
        int layers[2];
        size_t n;
        const char *place;
    } cases[] = {{{1}, 1, "layer 1, "}, {{5}, 1, "layer 5, "}, {{5, 0}, 2, "layer 0, "}};
    static const placement spread[] = {
        {.n_gpu_layers = ALL}, {.n_gpu_layers = 3}, {.n_gpu_layers = ALL, .n_streamed = 6}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        char directory[] = "/tmp/tern-placement.XXXXXX";
        assert_non_null(mkdtemp(directory));
        poison norms[2]; // before attention
        for (size_t l = 0; l < cases[c].n; l++) {
            norms[l] = (poison){.value = 0x7f7f}; // 3.39e38
            snprintf(norms[l].tensor, sizeof norms[l].tensor, "model.layers.%d.input_layernorm.weight",
                     cases[c].layers[l]);
        }
        write_poisoned(directory, norms, cases[c].n);
        char expected[sizeof(tern_error)] = "";
        for (size_t p = 0; p < sizeof spread / sizeof spread[0]; p++) {
            running r = start(directory, on("cpu", TERN_KV_INT8, &spread[p]));
            const tern_row row = {.token = 1, .wants_logits = true};
            tern_error cause = {0};
            assert_int_equal(tern_session_eval(r.session, &row, 1, &cause), TERN_NUMERIC);
            if (p == 0) snprintf(expected, sizeof expected, "%s", cause.message);
            assert_string_equal(cause.message, expected);
            if (strstr(cause.message, cases[c].place) == NULL) fail_msg("\"%s\"", cause.message);
            stop(&r);
        }
        remove_poisoned(directory);
    }
}

// ---- the process's memory

static void the_process_grows_as_planned(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); // its own memory beside every allocation
#endif
    uint64_t before = resident_bytes();
    if (before == 0) skip();
    const placement t64 = {.n_gpu_layers = ALL, .layout = TERN_LAYOUT_T64};
    setup s = on("cpu", TERN_KV_INT8, &t64);
    s.n_ctx = 1024;
    running r = start("synthetic:700m", s);
    uint64_t grown = resident_bytes() - before;
    printf("%llu MiB planned, %llu MiB grown\n", (unsigned long long)r.plan.bytes_total >> 20,
           (unsigned long long)grown >> 20);
    assert_true(r.plan.bytes_total > (uint64_t)200 << 20);
    assert_true(grown <= r.plan.bytes_total + r.plan.bytes_total / 50 + ((uint64_t)32 << 20));
    check_memory(&r, "synthetic:700m");
    stop(&r);
}

int main(void)
{
    struct CMUnitTest tests[N_FIXTURES + 8] = {
        cmocka_unit_test(the_process_grows_as_planned), // first: nothing freed before is there to be used again
        cmocka_unit_test(stories),
        cmocka_unit_test(synthetic),
        cmocka_unit_test(screened_stories),
        cmocka_unit_test(greedy_text),
        cmocka_unit_test(a_small_budget_streams),
        cmocka_unit_test(a_small_budget_packs_tighter),
        cmocka_unit_test(overflow_is_named_alike),
    };
    for (size_t i = 0; i < N_FIXTURES; i++)
        tests[8 + i] = (struct CMUnitTest){
            .name = fixtures[i].name, .test_func = check_fixture, .initial_state = (void *)(uintptr_t)&fixtures[i]};
    return _cmocka_run_group_tests("placement", tests, N_FIXTURES + 8, list_devices, NULL);
}
