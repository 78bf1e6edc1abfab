// The bundled story model end to end: expected logits, the same bits however it is stored or run, sessions that can be
// trimmed, cancelled and interleaved, and sampling that a seed repeats.
#include <math.h>
#include <pthread.h>
#include <unistd.h>

#include "convert.h"
#include "greedy.h"
#include "model.h"
#include "support.h"

#define STORIES  TERN_SOURCE_DIR "/models/stories"
#define EXPECTED TERN_SOURCE_DIR "/tests/data/stories/"

// A sequence long enough to cross KV blocks (64) and groups (256 is the context): deterministic ids.
#define N_LONG 200
static void long_sequence(tern_token *ids)
{
    for (size_t i = 0; i < N_LONG; i++) ids[i] = (tern_token)((i * 2654435761u + 12345) % 4093);
    ids[0] = 4093;
}

static void logits_as_expected(void **state)
{
    (void)state;
    running r = start(STORIES, (setup){.kv = TERN_KV_F32});
    json_t *json = read_json(EXPECTED "expected.json");
    matrix expected = read_npy(EXPECTED "logits.npy");
    id_list tokens = json_ids(json, "tokens");
    matrix got = all_logits(&r, tokens.ids, tokens.n, 512);
    for (size_t row = 0; row < got.n_rows; row++) {
        double difference = 0, norm = 0;
        for (size_t i = 0; i < got.n_cols; i++) {
            double e = (double)expected.values[row * got.n_cols + i], d = (double)got.values[row * got.n_cols + i] - e;
            difference += d * d;
            norm += e * e;
        }
        if (!(sqrt(difference / norm) < 1e-5)) fail_msg("row %zu is off by %g", row, sqrt(difference / norm));
    }
    id_list prompt = json_ids(json, "prompt"), greedy = json_ids(json, "greedy");
    CHECK(tern_session_sync(r.session, 0, prompt.ids, prompt.n, NULL, err));
    for (size_t i = 0; i < greedy.n; i++) {
        tern_token id;
        float logit;
        CHECK(tern_session_top(r.session, 0, 1, &id, &logit, err));
        if (greedy.margins[i] > 0.2) assert_int_equal(id, greedy.ids[i]);
        tern_row row = {.token = greedy.ids[i], .wants_logits = true};
        CHECK(tern_session_eval(r.session, &row, 1, err));
    }
    json_decref(json);
    free(got.values);
    free(expected.values);
    stop(&r);
}

// Reference against fast, 1 against 2 threads, chunks of 1, 7, 64 and all at once: for every KV type.
static void same_bits_however_it_runs(void **state)
{
    (void)state;
    tern_token ids[N_LONG];
    long_sequence(ids);
    for (int kv = TERN_KV_F32; kv <= TERN_KV_INT4; kv++) {
        running reference = start(STORIES, (setup){.kv = (tern_kv_type)kv, .device = "cpuref"});
        matrix expected = all_logits(&reference, ids, N_LONG, 512);
        stop(&reference);
        const setup setups[] = {{.n_threads = 1},
                                {.n_threads = 2},
                                {.n_threads = 2, .n_batch = 1},
                                {.n_batch = 7},
                                {.n_threads = 3, .n_batch = 64}};
        for (size_t i = 0; i < sizeof setups / sizeof *setups; i++) {
            setup s = setups[i];
            s.kv = (tern_kv_type)kv;
            running r = start(STORIES, s);
            matrix got = all_logits(&r, ids, N_LONG, s.n_batch != 0 ? s.n_batch : N_LONG);
            char what[64];
            snprintf(what, sizeof what, "KV type %d, setup %zu", kv, i);
            assert_same_bits(&got, &expected, what);
            free(got.values);
            stop(&r);
        }
        free(expected.values);
    }
}

// The same for a head and embedding of every form. The float ops have no part in it beyond F16.
static void heads_have_the_same_bits_however_they_run(void **state)
{
    (void)state;
    tern_token ids[70];
    for (size_t i = 0; i < 70; i++) ids[i] = (tern_token)((i * 7919 + 5) % 4093);
    for (int head = TERN_HEAD_F16; head <= TERN_HEAD_SCREEN; head++) {
        const setup base = {.kv = TERN_KV_INT8, .head = (tern_head)head};
        setup setups[] = {base, base, base, base};
        setups[0].device = "cpuref";
        setups[2].n_threads = 2;
        setups[3].n_batch = 1;
        matrix expected = {0};
        for (size_t i = 0; i < sizeof setups / sizeof *setups; i++) {
            running r = start(STORIES, setups[i]);
            assert_int_equal(r.plan.head, head);
            matrix got = all_logits(&r, ids, 70, setups[i].n_batch != 0 ? setups[i].n_batch : 70);
            char what[64];
            snprintf(what, sizeof what, "head %d, setup %zu", head, i);
            if (i > 0) assert_same_bits(&got, &expected, what);
            if (i > 0) free(got.values);
            if (i == 0) expected = got;
            stop(&r);
        }
        free(expected.values);
    }
}

static matrix logits_of(const char *path)
{
    tern_token ids[N_LONG];
    long_sequence(ids);
    running r = start(path, (setup){.kv = TERN_KV_INT8, .n_threads = 2});
    matrix m = all_logits(&r, ids, N_LONG, 512);
    stop(&r);
    return m;
}

static void master_gives_the_bits_of_packed(void **state)
{
    (void)state;
    char path[512];
    data_path("models/stories-master", path, sizeof path);
    matrix packed = logits_of(STORIES), master = logits_of(path);
    assert_same_bits(&packed, &master, "master against packed");
    free(packed.values);
    free(master.values);
}

// I2_S keeps the f32 scale, so its bits are the same; the TQ types round it to f16, so their logits move a little.
static void conversions_keep_the_model(void **state)
{
    (void)state;
    matrix packed = logits_of(STORIES);
    char path[] = "/tmp/tern-test-XXXXXX";
    assert_non_null(mkdtemp(path));
    char out[64];
    snprintf(out, sizeof out, "%s/converted.gguf", path);
    const struct {
        encode_type type;
        bool is_exact;
    } cases[] = {{ENCODE_I2_S, true}, {ENCODE_TQ1_0, false}, {ENCODE_TQ2_0, false}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        model_source *source = NULL;
        CHECK(model_open(STORIES, NULL, &source, err));
        const convert_options options = {.type = cases[c].type, .verify = true};
        CHECK(model_convert(source, out, &options, NULL, err));
        model_free(source);
        matrix converted = logits_of(out);
        if (cases[c].is_exact) {
            assert_same_bits(&converted, &packed, "I2_S against packed");
        } else {
            // Quantised activations amplify the 2^-11 rounding of the scale; agreement in direction is what remains.
            double dot = 0, a2 = 0, b2 = 0;
            for (size_t i = 0; i < packed.n_rows * packed.n_cols; i++) {
                dot += (double)packed.values[i] * (double)converted.values[i];
                a2 += (double)packed.values[i] * (double)packed.values[i];
                b2 += (double)converted.values[i] * (double)converted.values[i];
            }
            if (!(dot / sqrt(a2 * b2) > 0.999)) fail_msg("conversion %zu: cosine %.6f", c, dot / sqrt(a2 * b2));
        }
        free(converted.values);
    }
    unlink(out);
    rmdir(path);
    free(packed.values);
}

// Several sequences in one batch give what each gives alone.
static void sequences_do_not_touch_each_other(void **state)
{
    (void)state;
    tern_token ids[3][70];
    for (size_t s = 0; s < 3; s++)
        for (size_t i = 0; i < 70; i++) ids[s][i] = (tern_token)((i * 7919 + s * 104729) % 4093);
    running solo = start(STORIES, (setup){.kv = TERN_KV_INT8});
    matrix alone[3];
    for (size_t s = 0; s < 3; s++) alone[s] = all_logits(&solo, ids[s], 70, 512);
    stop(&solo);
    running crowd = start(STORIES, (setup){.kv = TERN_KV_INT8, .n_sequences = 3, .n_threads = 2});
    for (size_t i = 0; i < 70; i++) {
        tern_row rows[3];
        for (uint32_t s = 0; s < 3; s++)
            rows[s] = (tern_row){.sequence = 2 - s, .token = ids[2 - s][i], .wants_logits = true};
        CHECK(tern_session_eval(crowd.session, rows, 3, err));
        assert_int_equal(tern_session_n_logits(crowd.session), 3);
        for (size_t s = 0; s < 3; s++) {
            const float *row;
            CHECK(tern_session_logits(crowd.session, s, &row, err));
            assert_memory_equal(row, alone[2 - s].values + i * alone[0].n_cols, alone[0].n_cols * sizeof(float));
        }
    }
    for (size_t s = 0; s < 3; s++) free(alone[s].values);
    stop(&crowd);
}

static void sync_reuses_the_common_prefix(void **state)
{
    (void)state;
    tern_token a[N_LONG], b[N_LONG];
    long_sequence(a);
    memcpy(b, a, sizeof b);
    for (size_t i = 130; i < N_LONG; i++) b[i] = (tern_token)(4092 - a[i] % 4000);
    running r = start(STORIES, (setup){.kv = TERN_KV_F16, .n_batch = 48});
    size_t reused = 99;
    const float *row;
    float *fresh = malloc(r.info.n_vocab * sizeof *fresh);
    CHECK(tern_session_sync(r.session, 0, b, N_LONG, &reused, err));
    assert_int_equal(reused, 0);
    CHECK(tern_session_logits(r.session, 0, &row, err));
    memcpy(fresh, row, r.info.n_vocab * sizeof *fresh);
    CHECK(tern_session_trim(r.session, 0, 0, err));
    CHECK(tern_session_sync(r.session, 0, a, N_LONG, &reused, err));
    CHECK(tern_session_sync(r.session, 0, b, N_LONG, &reused, err));
    assert_int_equal(reused, 130);
    CHECK(tern_session_logits(r.session, 0, &row, err));
    assert_memory_equal(row, fresh, r.info.n_vocab * sizeof *fresh);
    CHECK(tern_session_sync(r.session, 0, b, N_LONG, &reused, err));
    assert_int_equal(reused, N_LONG - 1);
    assert_int_equal(tern_session_length(r.session, 0), N_LONG);
    free(fresh);
    stop(&r);
}

static void context_ends_with_a_status(void **state)
{
    (void)state;
    running r = start(STORIES, (setup){.n_ctx = 100, .n_sequences = 2});
    tern_error cause = {0};
    tern_row row = {.token = 5, .wants_logits = false};
    for (size_t i = 0; i < 100; i++) CHECK(tern_session_eval(r.session, &row, 1, err));
    assert_int_equal(tern_session_eval(r.session, &row, 1, &cause), TERN_CONTEXT_FULL);
    assert_non_null(strstr(cause.message, "100"));
    assert_int_equal(tern_session_length(r.session, 0), 100);
    row.sequence = 1; // one spare block remains for the second sequence
    for (size_t i = 0; i < 64; i++) CHECK(tern_session_eval(r.session, &row, 1, err));
    cause = (tern_error){0};
    assert_int_equal(tern_session_eval(r.session, &row, 1, &cause), TERN_CONTEXT_FULL);
    CHECK(tern_session_trim(r.session, 0, 64, err));
    CHECK(tern_session_eval(r.session, &row, 1, err));
    stop(&r);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    running r = start(STORIES, (setup){.n_batch = 4});
    tern_row rows[5] = {{.token = 1}, {.token = 1}, {.token = 1}, {.token = 1}, {.token = 1}};
    const float *logits;
    tern_token id;
    float value;
    assert_int_equal(tern_session_eval(r.session, rows, 5, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_session_eval(r.session, rows, 0, NULL), TERN_INVALID_ARGUMENT);
    rows[0].token = (tern_token)r.info.n_vocab;
    assert_int_equal(tern_session_eval(r.session, rows, 1, NULL), TERN_INVALID_ARGUMENT);
    rows[0].token = -1;
    assert_int_equal(tern_session_eval(r.session, rows, 1, NULL), TERN_INVALID_ARGUMENT);
    rows[0] = (tern_row){.token = 1, .sequence = 1};
    assert_int_equal(tern_session_eval(r.session, rows, 1, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_session_logits(r.session, 0, &logits, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_session_top(r.session, 0, 257, &id, &value, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_session_trim(r.session, 0, 1, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_session_length(r.session, 0), 0);
    stop(&r);
}

static void cancel_ends_the_next_evaluation_once(void **state)
{
    (void)state;
    tern_token ids[N_LONG];
    long_sequence(ids);
    running r = start(STORIES, (setup){.n_batch = 50});
    matrix expected = all_logits(&r, ids, 60, 50);
    CHECK(tern_session_trim(r.session, 0, 0, err));
    tern_session_cancel(r.session);
    assert_int_equal(tern_session_sync(r.session, 0, ids, 60, NULL, NULL), TERN_CANCELLED);
    assert_int_equal(tern_session_length(r.session, 0), 0);
    matrix again = all_logits(&r, ids, 60, 50); // the request is used up, and nothing was left behind
    assert_same_bits(&again, &expected, "after a cancelled evaluation");
    tern_session_cancel(r.session);
    tern_session_clear_cancel(r.session);
    CHECK(tern_session_sync(r.session, 0, ids, 60, NULL, err));
    free(expected.values);
    free(again.values);
    stop(&r);
}

static void a_budget_too_small_says_what_would_fit(void **state)
{
    (void)state;
    tern_engine *engine;
    tern_model *model;
    CHECK(tern_engine_open(NULL, &engine, err));
    CHECK(tern_model_open(engine, STORIES, NULL, &model, err));
    tern_plan_options options;
    tern_plan_options_init(&options);
    options.n_ctx = 100000;
    options.n_batch = 16;
    options.memory_budget = 24 << 20;
    options.n_streamed = 0; // a larger context would fit by streaming
    tern_plan plan;
    tern_error cause = {0};
    assert_int_equal(tern_plan_make(model, &options, &plan, &cause), TERN_BUDGET);
    const char *advice = strstr(cause.message, "-c ");
    assert_non_null(advice);
    options.n_ctx = (uint32_t)strtoul(advice + 3, NULL, 10);
    CHECK(tern_plan_make(model, &options, &plan, err)); // the advice holds
    assert_true(plan.bytes_total <= plan.memory_budget);
    options.n_ctx += 64;
    assert_int_equal(tern_plan_make(model, &options, &plan, NULL), TERN_BUDGET); // and is the best there is
    options.memory_budget = 4096;
    cause = (tern_error){0};
    assert_int_equal(tern_plan_make(model, &options, &plan, &cause), TERN_BUDGET);
    options.device = "cuda7";
    cause = (tern_error){0};
    assert_int_equal(tern_plan_make(model, &options, &plan, &cause), TERN_NO_DEVICE);
    assert_non_null(strstr(cause.message, "cpu"));
    // A plan of another model, or one changed by hand, is not loaded.
    options.device = "cpu";
    options.n_ctx = 100;
    options.memory_budget = 0;
    CHECK(tern_plan_make(model, &options, &plan, err));
    tern_plan other = plan;
    other.n_sequences = 0;
    assert_int_equal(tern_model_load(model, &other, NULL, NULL, NULL), TERN_INVALID_ARGUMENT);
    other = plan;
    other.n_ctx = 4000;
    assert_int_equal(tern_model_load(model, &other, NULL, NULL, NULL), TERN_INVALID_ARGUMENT);
    CHECK(tern_model_load(model, &plan, NULL, NULL, err));
    assert_int_equal(tern_model_load(model, &plan, NULL, NULL, NULL), TERN_BAD_STATE);
    tern_model_close(model);
    tern_engine_close(engine);
}

static generated_text generate(running *r, tern_sampler_options options, size_t n)
{
    generated_text t = {.n = 0};
    tern_sampler *sampler;
    size_t generated = 0;
    CHECK(tern_sampler_create(&options, &sampler, err));
    CHECK(tern_generate(r->session, sampler, "Once upon a time", n, collect, &t, &generated, err));
    assert_true(generated > 0 && generated <= n);
    tern_sampler_free(sampler);
    return t;
}

static bool same_text(const generated_text *a, const generated_text *b)
{
    return a->n == b->n && memcmp(a->bytes, b->bytes, a->n) == 0;
}

static void sampling_repeats_by_seed(void **state)
{
    (void)state;
    running r = start(STORIES, (setup){.kv = TERN_KV_INT8});
    running other = start(STORIES, (setup){.kv = TERN_KV_INT8, .n_threads = 2, .n_batch = 3});
    tern_sampler_options o;
    tern_sampler_options_init(&o);
    o.seed = 7;
    generated_text a = generate(&r, o, 60), b = generate(&other, o, 60);
    assert_true(same_text(&a, &b));
    o.seed = 8;
    generated_text c = generate(&r, o, 60);
    assert_false(same_text(&a, &c));
    o.repeat_penalty = 1.3f; // takes the whole row instead of the top 40
    generated_text d = generate(&r, o, 60), e = generate(&other, o, 60);
    assert_true(same_text(&d, &e));
    assert_false(same_text(&c, &d));
    o = (tern_sampler_options){0};
    tern_sampler_options_init(&o);
    o.top_k = 0; // the whole vocabulary
    generated_text f = generate(&r, o, 40), g = generate(&other, o, 40);
    assert_true(same_text(&f, &g));
    o.temperature = 0;
    generated_text h = generate(&r, o, 40);
    o.seed = 99;
    generated_text i = generate(&r, o, 40);
    assert_true(same_text(&h, &i)); // greedy does not draw
    stop(&r);
    stop(&other);
}

static void greedy_generation_equals_the_hosts_loop(void **state)
{
    (void)state;
    for (int kv = TERN_KV_F32; kv <= TERN_KV_INT4; kv++) greedy_check((setup){.kv = (tern_kv_type)kv}, 70, "cpu");
    greedy_numeric_check((setup){.kv = TERN_KV_INT8}, "cpu");
}

static size_t ids_of_best(const float *logits, size_t n, size_t k, tern_token *ids)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        size_t at = kept;
        while (at > 0 && logits[i] > logits[ids[at - 1]]) at--;
        if (at == k) continue;
        if (kept < k) kept++;
        memmove(ids + at + 1, ids + at, (kept - 1 - at) * sizeof *ids);
        ids[at] = (tern_token)i;
    }
    return kept;
}

// Who asks for the best ids again and again gets them without logits; they are those of the logits, which come when
// they are asked for, before or after, and more ids than last time, too.
static void best_check(setup s, const char *what)
{
    enum { FEW = 3, MORE = 40 };
    running chooses = start(STORIES, s), knows = start(STORIES, s);
    tern_row row = {.token = 4093, .wants_logits = true};
    for (int i = 0; i < 8; i++) {
        const float *logits, *late;
        tern_token expected[MORE], ids[MORE];
        float values[MORE];
        CHECK(tern_session_eval(knows.session, &row, 1, err));
        CHECK(tern_session_eval(chooses.session, &row, 1, err));
        CHECK(tern_session_logits(knows.session, 0, &logits, err));
        assert_int_equal(ids_of_best(logits, knows.info.n_vocab, MORE, expected), MORE);
        size_t k = i == 3 ? MORE : FEW;
        CHECK(tern_session_top(chooses.session, 0, k, ids, values, err));
        if (memcmp(ids, expected, k * sizeof *ids) != 0) fail_msg("%s: other ids at %d", what, i);
        for (size_t j = 0; j < k; j++) assert_memory_equal(&values[j], &logits[expected[j]], sizeof values[j]);
        if (i == 5) {
            CHECK(tern_session_logits(chooses.session, 0, &late, err));
            assert_memory_equal(late, logits, knows.info.n_vocab * sizeof *logits);
            CHECK(tern_session_top(chooses.session, 0, MORE, ids, values, err));
            assert_memory_equal(ids, expected, sizeof ids);
        }
        row.token = ids[0];
    }
    stop(&chooses);
    stop(&knows);
}

static void best_ids_are_those_of_the_logits(void **state)
{
    (void)state;
    for (int head = TERN_HEAD_STORED; head <= TERN_HEAD_SCREEN; head++) {
        best_check((setup){.kv = TERN_KV_INT8, .head = (tern_head)head}, tern_head_name((tern_head)head));
        if (head <= TERN_HEAD_F16)
            best_check((setup){.kv = TERN_KV_INT8, .head = (tern_head)head, .device = "cpuref"}, "cpuref");
    }
}

static void logit_bias_forbids_and_forces(void **state)
{
    (void)state;
    running r = start(STORIES, (setup){.kv = TERN_KV_INT8});
    tern_token prompt[] = {4093, 3281}, best, id;
    float logit;
    CHECK(tern_session_sync(r.session, 0, prompt, 2, NULL, err));
    CHECK(tern_session_top(r.session, 0, 1, &best, &logit, err));
    tern_logit_bias bias[] = {{best, -INFINITY}, {17, 1000}};
    tern_sampler_options o;
    tern_sampler_options_init(&o);
    o.temperature = 0;
    o.bias = bias;
    for (o.n_bias = 1; o.n_bias <= 2; o.n_bias++) {
        tern_sampler *sampler;
        CHECK(tern_sampler_create(&o, &sampler, err));
        CHECK(tern_sampler_sample(sampler, r.session, 0, &id, err));
        assert_int_not_equal(id, best);
        if (o.n_bias == 2) assert_int_equal(id, 17);
        tern_sampler_free(sampler);
    }
    o.temperature = -1;
    tern_sampler *none = NULL;
    tern_sampler_options blank = {.top_k = 1}; // never initialised
    assert_int_equal(tern_sampler_create(&blank, &none, NULL), TERN_INVALID_ARGUMENT);
    tern_sampler_options older; // a caller that knows only the first fields
    tern_sampler_options_init(&older);
    older.size = offsetof(tern_sampler_options, top_p);
    older.top_p = 9; // beyond its size: not looked at
    tern_sampler *young;
    CHECK(tern_sampler_create(&older, &young, err));
    tern_sampler_free(young);
    assert_int_equal(tern_sampler_create(&o, &none, NULL), TERN_INVALID_ARGUMENT);
    assert_null(none);
    stop(&r);
}

// The largest relative L2 distance of a row.
static double worst_row(const matrix *a, const matrix *b)
{
    double worst = 0;
    for (size_t r = 0; r < a->n_rows; r++) {
        double difference = 0, norm = 0;
        for (size_t i = r * a->n_cols; i < (r + 1) * a->n_cols; i++) {
            difference += ((double)a->values[i] - (double)b->values[i]) * ((double)a->values[i] - (double)b->values[i]);
            norm += (double)b->values[i] * (double)b->values[i];
        }
        if (sqrt(difference / norm) > worst) worst = sqrt(difference / norm);
    }
    return worst;
}

static bool device_exists(const char *name)
{
    tern_engine *engine;
    bool found = false;
    CHECK(tern_engine_open(NULL, &engine, err));
    for (size_t i = 0; i < tern_engine_device_count(engine); i++) {
        tern_device_info info;
        found |= tern_engine_device_info(engine, i, &info, NULL) == TERN_OK && strcmp(info.name, name) == 0;
    }
    tern_engine_close(engine);
    return found;
}

// The twin is the model with float activations and its weights rounded to fp16, however products are computed.
static void a_float_twin_is_close_to_float_activations(void **state)
{
    (void)state;
    tern_token ids[N_LONG];
    long_sequence(ids);
    running exact = start(STORIES, (setup){.act = TERN_ACT_F32});
    running twin = start(STORIES, (setup){.weights = TERN_WEIGHTS_F16});
    assert_string_equal(exact.plan.products, "as defined");
    assert_string_equal(twin.plan.products, "dot64, F16 weights");
    assert_false(twin.plan.uses_blas);
    assert_int_equal(twin.plan.bytes_ternary, 0);
    assert_true(twin.plan.bytes_dense > 7 * exact.plan.bytes_ternary); // 16 bits for 2
    matrix a = all_logits(&exact, ids, N_LONG, 512), b = all_logits(&twin, ids, N_LONG, 512);
    double distance = worst_row(&b, &a);
    printf("twin on the CPU: worst row %.2e\n", distance);
    assert_true(distance > 0 && distance < 1e-2);
    if (device_exists("opencl0")) {
        running other = start(STORIES, (setup){.weights = TERN_WEIGHTS_F16, .device = "opencl0"});
        matrix c = all_logits(&other, ids, N_LONG, 64);
        distance = worst_row(&c, &b);
        printf("twin on OpenCL (%s) against the CPU's: worst row %.2e\n", other.plan.products, distance);
        assert_true(distance < 1e-2);
        free(c.values);
        stop(&other);
    }
    free(a.values);
    free(b.values);
    stop(&exact);
    stop(&twin);
}

static void *cancel_later(void *session)
{
    usleep(20000);
    tern_session_cancel(session);
    return NULL;
}

// A prefill long enough to be under way when another thread cancels it.
static void cancel_from_another_thread(void **state)
{
    (void)state;
    running r = start("synthetic:tiny", (setup){.device = "cpuref", .n_batch = 64, .n_ctx = 4096});
    tern_token *ids = malloc(4000 * sizeof *ids);
    for (size_t i = 0; i < 4000; i++) ids[i] = (tern_token)(i * 31 % r.info.n_vocab);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_later, r.session), 0);
    tern_status status = tern_session_sync(r.session, 0, ids, 4000, NULL, NULL);
    pthread_join(thread, NULL);
    assert_int_equal(status, TERN_CANCELLED);
    size_t length = tern_session_length(r.session, 0);
    assert_true(length < 4000 && length % 64 == 0); // whole chunks remain
    free(ids);
    stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_as_expected),
        cmocka_unit_test(same_bits_however_it_runs),
        cmocka_unit_test(heads_have_the_same_bits_however_they_run),
        cmocka_unit_test(master_gives_the_bits_of_packed),
        cmocka_unit_test(conversions_keep_the_model),
        cmocka_unit_test(sequences_do_not_touch_each_other),
        cmocka_unit_test(sync_reuses_the_common_prefix),
        cmocka_unit_test(context_ends_with_a_status),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(cancel_ends_the_next_evaluation_once),
        cmocka_unit_test(cancel_from_another_thread),
        cmocka_unit_test(a_budget_too_small_says_what_would_fit),
        cmocka_unit_test(a_float_twin_is_close_to_float_activations),
        cmocka_unit_test(sampling_repeats_by_seed),
        cmocka_unit_test(greedy_generation_equals_the_hosts_loop),
        cmocka_unit_test(best_ids_are_those_of_the_logits),
        cmocka_unit_test(logit_bias_forbids_and_forces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
