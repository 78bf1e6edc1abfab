// Greedy generation, in which the device goes from token to token by itself, against the host's loop on the CPU: the
// same tokens, logits, lengths and errors.
#ifndef TERN_TESTS_GREEDY_H
#define TERN_TESTS_GREEDY_H

#include "poison.h"
#include "support.h"

#define GREEDY_MAX 128

static const tern_token greedy_prompt[] = {4093, 3281, 589, 258, 540};
#define N_GREEDY_PROMPT (sizeof greedy_prompt / sizeof greedy_prompt[0])

typedef struct greedy_ids {
    tern_token ids[GREEDY_MAX];
    size_t n;
    size_t refused_at;     // calls after which no more are wanted; 0: never
    tern_session *cancels; // from the first token on; NULL: nothing
} greedy_ids;

static inline bool greedy_take(void *user, tern_token id)
{
    greedy_ids *g = user;
    assert_true(g->n < GREEDY_MAX);
    g->ids[g->n++] = id;
    if (g->cancels != NULL) tern_session_cancel(g->cancels);
    return g->n != g->refused_at;
}

// What tern_generate_tokens says it does, by evaluating and asking for the best token.
static inline tern_status greedy_by_host(running *r, size_t n, greedy_ids *out, tern_error *err)
{
    float logit;
    tern_row row = {.wants_logits = true};
    tern_status status = tern_session_sync(r->session, 0, greedy_prompt, N_GREEDY_PROMPT, NULL, err);
    for (size_t i = 0; i < n && status == TERN_OK; i++) {
        status = tern_session_top(r->session, 0, 1, &row.token, &logit, err);
        if (status == TERN_OK && (!greedy_take(out, row.token) || i + 1 == n)) break;
        if (status == TERN_OK) status = tern_session_eval(r->session, &row, 1, err);
    }
    return status;
}

static inline tern_status greedy_by_device(running *r, size_t n, greedy_ids *out, tern_error *cause)
{
    tern_sampler *sampler;
    tern_sampler_options o;
    tern_sampler_options_init(&o);
    o.temperature = 0;
    CHECK(tern_sampler_create(&o, &sampler, err));
    tern_status status = tern_session_sync(r->session, 0, greedy_prompt, N_GREEDY_PROMPT, NULL, cause);
    if (status == TERN_OK) status = tern_generate_tokens(r->session, sampler, 0, n, greedy_take, out, cause);
    tern_sampler_free(sampler);
    return status;
}

static inline void greedy_same_ids(const greedy_ids *got, const greedy_ids *expected, const char *what)
{
    for (size_t i = 0; i < got->n && i < expected->n; i++)
        if (got->ids[i] != expected->ids[i])
            fail_msg("%s: token %zu is %d, expected %d", what, i, got->ids[i], expected->ids[i]);
    if (got->n != expected->n) fail_msg("%s: %zu tokens, expected %zu", what, got->n, expected->n);
}

// The sequences hold the same, and one more token gives the same logits.
static inline void greedy_same_state(running *got, running *expected, tern_token next, const char *what)
{
    const tern_row row = {.token = next, .wants_logits = true};
    running *both[] = {got, expected};
    matrix logits[2];
    assert_int_equal(tern_session_length(got->session, 0), tern_session_length(expected->session, 0));
    for (int i = 0; i < 2; i++) {
        const float *values;
        CHECK(tern_session_eval(both[i]->session, &row, 1, err));
        CHECK(tern_session_logits(both[i]->session, 0, &values, err));
        logits[i] = (matrix){.values = (float *)(uintptr_t)values, .n_rows = 1, .n_cols = both[i]->info.n_vocab};
    }
    assert_same_bits(&logits[0], &logits[1], what);
}

// One run each way; whatever ends it, it ends both alike. Returns how it ended.
static inline tern_status greedy_compare(running *device, running *cpu, size_t n, size_t refused_at, const char *what)
{
    greedy_ids got = {.refused_at = refused_at}, expected = {.refused_at = refused_at};
    tern_error got_err = {0}, expected_err = {0};
    tern_status status = greedy_by_host(cpu, n, &expected, &expected_err);
    assert_int_equal(greedy_by_device(device, n, &got, &got_err), status);
    greedy_same_ids(&got, &expected, what);
    assert_string_equal(got_err.message, expected_err.message);
    assert_int_equal(tern_session_length(device->session, 0), tern_session_length(cpu->session, 0));
    if (status == TERN_OK && refused_at == 0) { // all that was wanted was evaluated: the last logits are there
        const float *values[2];
        CHECK(tern_session_logits(device->session, 0, &values[0], err));
        CHECK(tern_session_logits(cpu->session, 0, &values[1], err));
        assert_memory_equal(values[0], values[1], device->info.n_vocab * sizeof(float));
    }
    return status;
}

// The story model placed as s says, over the end of a KV block, with stops, a full context and a request to cancel.
static inline void greedy_check(setup s, size_t n_tokens, const char *what)
{
    s.n_ctx = 80;
    setup host = {.kv = s.kv, .n_ctx = s.n_ctx};
    const char *path = TERN_SOURCE_DIR "/models/stories";
    running device = start(path, s), cpu = start(path, host);
    assert_int_equal(greedy_compare(&device, &cpu, n_tokens, 0, what), TERN_OK);
    greedy_same_state(&device, &cpu, 5, what);
    for (size_t refused_at = 1; refused_at < 7; refused_at += 2) {
        assert_int_equal(greedy_compare(&device, &cpu, n_tokens, refused_at, what), TERN_OK);
        greedy_same_state(&device, &cpu, 5, what);
    }
    greedy_ids cancelled = {.cancels = device.session};
    assert_int_equal(greedy_by_device(&device, n_tokens, &cancelled, NULL), TERN_CANCELLED);
    assert_true(cancelled.n >= 1 && cancelled.n < 5);
    assert_int_equal(greedy_compare(&device, &cpu, 4, 0, what), TERN_OK); // the request was for that run
    stop(&device);
    stop(&cpu);

    host.n_ctx = s.n_ctx = 21;
    device = start(path, s), cpu = start(path, host);
    for (size_t i = 0; i < 2; i++) assert_int_equal(greedy_compare(&device, &cpu, 60, 0, what), TERN_CONTEXT_FULL);
    stop(&device);
    stop(&cpu);
}

// A token of which the embedding overflows in the first norm, and which is chosen as soon as one value of the last
// hidden row is positive.
static inline void greedy_numeric_check(setup s, const char *what)
{
    const poison row = {.tensor = "model.embed_tokens.weight", .element = 4000 * 256 + 18, .value = 0x6010}; // 4.2e19
    char directory[] = "/tmp/tern-greedy.XXXXXX";
    assert_non_null(mkdtemp(directory));
    write_poisoned(directory, &row, 1);
    running device = start(directory, s), cpu = start(directory, (setup){.kv = s.kv});
    assert_int_equal(greedy_compare(&device, &cpu, 100, 0, what), TERN_NUMERIC);
    assert_true(tern_session_length(cpu.session, 0) > N_GREEDY_PROMPT + 1); // not at once
    greedy_same_state(&device, &cpu, 5, what);
    stop(&device);
    stop(&cpu);
    remove_poisoned(directory);
}

#endif
