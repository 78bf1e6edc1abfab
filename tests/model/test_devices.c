// Whole models on every device that is neither the CPU nor its reference: the CPU's bits, in every logit of every
// fixture and of the story model, in generated text and in perplexity.
#include "fixtures.h"
#include "greedy.h"
#include "perplexity.h"
#include "support.h"

#define STORIES TERN_SOURCE_DIR "/models/stories"
#define N_LONG  300 // over KV blocks (64) and a group of them (256)

#define N_OTHERS 4 // tests beside those of fixtures

#define MAX_DEVICES 16
static char devices[MAX_DEVICES][32];
static size_t n_devices;

static int list_devices(void **state)
{
    (void)state;
    return add_devices(devices, MAX_DEVICES, &n_devices);
}

static void need_devices(void)
{
    if (n_devices > 0) return;
    printf("SKIPPED: there is no device but the CPU\n");
    skip();
}

static setup on(const char *device, tern_kv_type kv)
{
    return (setup){.device = device, .kv = kv, .n_batch = 64, .n_threads = 2, .cache_dir = TERN_TEST_CACHE};
}

// Loads the model on each device and evaluates the tokens 1, 7 and 64 at a time.
static void compare_with_cpu(const char *path, setup s, const tern_token *ids, size_t n, const char *what)
{
    running cpu = start(path, s);
    matrix expected = all_logits(&cpu, ids, n, 64);
    stop(&cpu);
    for (size_t d = 0; d < n_devices; d++) {
        s.device = devices[d];
        running r = start(path, s);
        static const size_t batches[] = {64, 7, 1};
        for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
            char text[128];
            snprintf(text, sizeof text, "%s on %s, %zu tokens at a time", what, devices[d], batches[b]);
            matrix got = all_logits(&r, ids, n, batches[b]);
            assert_same_bits(&got, &expected, text);
            free(got.values);
        }
        stop(&r);
    }
    free(expected.values);
}

static void check_fixture(void **state)
{
    const fixture *f = *state;
    char part[512], path[1024], json_path[1024];
    need_devices();
    snprintf(part, sizeof part, "fixtures/%s/%s", f->name, f->file);
    data_path(part, path, sizeof path);
    snprintf(json_path, sizeof json_path, "%s/fixtures/%s/expected.json", data_root(), f->name);
    json_t *json = read_json(json_path);
    id_list tokens = json_ids(json, "tokens");
    json_decref(json);
    setup s = on("cpu", TERN_KV_F32);
    compare_with_cpu(path, s, tokens.ids, tokens.n, f->act);
    s.act = TERN_ACT_F32;
    if (f->is_weight_only) compare_with_cpu(path, s, tokens.ids, tokens.n, "f32 activations");
}

static void stories_for_all_kv_types(void **state)
{
    (void)state;
    need_devices();
    tern_token ids[N_LONG];
    for (size_t i = 0; i < N_LONG; i++) ids[i] = (tern_token)((i * 2654435761u + 12345) % 4093);
    for (int kv = TERN_KV_F32; kv <= TERN_KV_INT8; kv++) {
        static const char *const names[] = {"KV f32", "KV f16", "KV int8"};
        setup s = on("cpu", (tern_kv_type)kv);
        s.n_ctx = N_LONG + 20;
        compare_with_cpu(STORIES, s, ids, N_LONG, names[kv - TERN_KV_F32]);
    }
}

// Greedy, then drawn: the sampler sees the same logits.
static generated_text generate(const char *device, float temperature)
{
    running r = start(STORIES, on(device, TERN_KV_INT8));
    generated_text t = {.n = 0};
    tern_sampler *sampler;
    tern_sampler_options o;
    size_t generated = 0;
    tern_sampler_options_init(&o);
    o.temperature = temperature;
    o.seed = 7;
    CHECK(tern_sampler_create(&o, &sampler, err));
    CHECK(tern_generate(r.session, sampler, "Once upon a time", 80, collect, &t, &generated, err));
    assert_true(generated > 0);
    tern_sampler_free(sampler);
    stop(&r);
    return t;
}

static void stories_are_the_same(void **state)
{
    (void)state;
    need_devices();
    for (int drawn = 0; drawn < 2; drawn++) {
        generated_text expected = generate("cpu", drawn ? 0.8f : 0.0f);
        for (size_t d = 0; d < n_devices; d++) {
            generated_text got = generate(devices[d], drawn ? 0.8f : 0.0f);
            if (got.n != expected.n || memcmp(got.bytes, expected.bytes, got.n) != 0)
                fail_msg("%s: \"%.*s\" against \"%.*s\"", devices[d], (int)got.n, got.bytes, (int)expected.n,
                         expected.bytes);
        }
    }
}

// The device goes from token to token by itself, with recorded steps and without, with layers that visit it, and as
// one of two devices.
static void greedy_generation_equals_the_hosts_loop(void **state)
{
    (void)state;
    static const placement streamed = {.n_gpu_layers = TERN_LAYERS_ALL, .n_streamed = 4}, half = {.n_gpu_layers = 3};
    need_devices();
    for (size_t d = 0; d < n_devices; d++) {
        setup s = on(devices[d], TERN_KV_INT8);
        greedy_check(s, 70, devices[d]);
        greedy_numeric_check(s, devices[d]);
        s.is_eager = true;
        greedy_check(s, 9, "op by op");
        s.place = &streamed;
        greedy_check(s, 9, "streamed layers");
        s.place = &half;
        greedy_check(s, 9, "two devices");
    }
}

static perplexity_result measure(const char *device, const char *bytes, size_t n_bytes)
{
    setup s = on(device, TERN_KV_F16);
    s.n_ctx = 128;
    running r = start(STORIES, s);
    const tern_tokenizer *tokenizer = tern_model_tokenizer(r.model);
    tern_tokens tokens = {0};
    CHECK(tern_tokenizer_encode(tokenizer, bytes, n_bytes, TERN_TOKENIZE_ADD_BOS, &tokens, err));
    perplexity_result result = {0};
    const perplexity_options options = {.n_ctx = 128,
                                        .n_batch = 64,
                                        .max_chunks = 4,
                                        .bos = tern_tokenizer_adds_bos(tokenizer) ? tern_tokenizer_bos(tokenizer) : -1,
                                        .n_vocab = r.info.n_vocab};
    CHECK(perplexity_measure(r.session, tokens.ids, tokens.n, &options, &result, err));
    tern_tokens_free(&tokens);
    stop(&r);
    return result;
}

static void perplexity_is_the_same(void **state)
{
    (void)state;
    char path[1024], excerpt[8192];
    need_devices();
    FILE *f = fopen(data_path("text/stories-valid.txt", path, sizeof path), "rb");
    assert_non_null(f);
    size_t n = fread(excerpt, 1, sizeof excerpt, f);
    fclose(f);
    perplexity_result expected = measure("cpu", excerpt, n);
    assert_true(expected.n_chunks == 4 && expected.perplexity > 1);
    for (size_t d = 0; d < n_devices; d++) {
        perplexity_result got = measure(devices[d], excerpt, n);
        printf("perplexity of %zu tokens: %.10f on the CPU, %.10f on %s\n", got.n_scored, expected.perplexity,
               got.perplexity, devices[d]);
        assert_memory_equal(&got.nll, &expected.nll, sizeof got.nll);
        assert_memory_equal(&got.perplexity, &expected.perplexity, sizeof got.perplexity);
        assert_memory_equal(&got.error, &expected.error, sizeof got.error);
    }
}

int main(void)
{
    struct CMUnitTest tests[N_FIXTURES + N_OTHERS] = {
        cmocka_unit_test(stories_are_the_same),
        cmocka_unit_test(greedy_generation_equals_the_hosts_loop),
        cmocka_unit_test(perplexity_is_the_same),
        cmocka_unit_test(stories_for_all_kv_types),
    };
    for (size_t i = 0; i < N_FIXTURES; i++)
        tests[N_OTHERS + i] = (struct CMUnitTest){
            .name = fixtures[i].name, .test_func = check_fixture, .initial_state = (void *)(uintptr_t)&fixtures[i]};
    return _cmocka_run_group_tests("devices", tests, N_FIXTURES + N_OTHERS, list_devices, NULL);
}
