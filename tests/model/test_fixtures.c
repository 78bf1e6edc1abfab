// Independent expected results: every fixture that this version opens, as close as its README asks. The int8 models'
// token sequences keep every activation away from rounding ties, so a correct engine with f32 KV is within about 1e-6.
#include <math.h>

#include "fixtures.h"
#include "support.h"

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

typedef struct closeness {
    double worst, median; // relative L2 error of the worst and of the median row
} closeness;

static const closeness exact = {1e-4, 1e-5}, two_terms = {1e-3, 5e-4};

static void compare(const char *name, const char *act, const matrix *got, const matrix *expected, closeness limit)
{
    assert_int_equal(got->n_rows, expected->n_rows);
    assert_int_equal(got->n_cols, expected->n_cols);
    double errors[512], worst = 0;
    for (size_t r = 0; r < got->n_rows; r++) {
        double difference = 0, norm = 0, mean = 0, variance = 0;
        const float *g = got->values + r * got->n_cols, *e = expected->values + r * got->n_cols;
        for (size_t i = 0; i < got->n_cols; i++) {
            difference += ((double)g[i] - (double)e[i]) * ((double)g[i] - (double)e[i]);
            norm += (double)e[i] * (double)e[i];
            mean += (double)e[i];
        }
        mean /= (double)got->n_cols;
        for (size_t i = 0; i < got->n_cols; i++) variance += ((double)e[i] - mean) * ((double)e[i] - mean);
        assert_true(variance / (double)got->n_cols > 0.01); // the reference has something to compare
        errors[r] = sqrt(difference / norm);
        if (errors[r] > worst) worst = errors[r];
        if (!(errors[r] < limit.worst))
            fail_msg("%s: row %zu is off by %g (relative L2), expected < %g", name, r, errors[r], limit.worst);
        size_t best = argmax(e, got->n_cols), mine = argmax(g, got->n_cols);
        if (best != mine && e[best] - e[mine] > limit.worst * sqrt(norm))
            fail_msg("%s: row %zu has top token %zu, expected %zu", name, r, mine, best);
    }
    qsort(errors, got->n_rows, sizeof *errors, by_value);
    double median = errors[got->n_rows / 2];
    printf("%-24s %-7s worst row %.2e, median %.2e\n", name, act, worst, median);
    if (!(median < limit.median))
        fail_msg("%s: the median row is off by %g, expected < %g", name, median, limit.median);
}

static void check_greedy(running *r, const json_t *json, const char *name)
{
    id_list tokens = json_ids(json, "tokens"), greedy = json_ids(json, "greedy");
    size_t prompt = (size_t)json_integer_value(json_object_get(json, "prompt_length")), compared = 0;
    CHECK(tern_session_sync(r->session, 0, tokens.ids, prompt, NULL, err));
    for (size_t i = 0; i < greedy.n; i++) {
        tern_token id;
        float logit;
        CHECK(tern_session_top(r->session, 0, 1, &id, &logit, err));
        if (greedy.margins[i] > 0.2) {
            compared++;
            if (id != greedy.ids[i]) fail_msg("%s: greedy token %zu is %d, expected %d", name, i, id, greedy.ids[i]);
        }
        tern_row row = {.token = greedy.ids[i], .wants_logits = true};
        CHECK(tern_session_eval(r->session, &row, 1, err));
    }
    assert_true(compared > 0);
}

static matrix expected_logits(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/fixtures/%s/logits.npy", data_root(), name);
    return read_npy(path);
}

static json_t *expected_json(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/fixtures/%s/expected.json", data_root(), name);
    return read_json(path);
}

// `act`: what the model's activations must be by default.
static void check_fixture(const char *name, const char *file, const char *act, closeness limit)
{
    char path[1024], part[512];
    snprintf(part, sizeof part, "fixtures/%s/%s", name, file);
    data_path(part, path, sizeof path);
    running r = start(path, (setup){.kv = TERN_KV_F32});
    assert_string_equal(r.info.act_quant, act);
    json_t *json = expected_json(name);
    matrix expected = expected_logits(name);
    id_list tokens = json_ids(json, "tokens");
    matrix got = all_logits(&r, tokens.ids, tokens.n, 512);
    compare(name, act, &got, &expected, limit);
    check_greedy(&r, json, name);

    // The reference ops and another batching give the same bits.
    matrix again = all_logits(&r, tokens.ids, tokens.n, 7);
    assert_same_bits(&got, &again, "batches of 7");
    running reference = start(path, (setup){.kv = TERN_KV_F32, .device = "cpuref"});
    matrix obvious = all_logits(&reference, tokens.ids, tokens.n, 512);
    assert_same_bits(&got, &obvious, "reference ops");
    stop(&reference);
    free(obvious.values);
    free(again.values);
    free(got.values);
    free(expected.values);
    json_decref(json);
    stop(&r);
}

// A weight-only model with float activations is as close as a dense one.
static void check_float_activations(const char *name, const char *file)
{
    char path[1024], part[512];
    snprintf(part, sizeof part, "fixtures/%s/%s", name, file);
    data_path(part, path, sizeof path);
    running r = start(path, (setup){.kv = TERN_KV_F32, .act = TERN_ACT_F32});
    assert_string_equal(r.info.act_quant, "f32");
    json_t *json = expected_json(name);
    matrix expected = expected_logits(name);
    id_list tokens = json_ids(json, "tokens");
    matrix got = all_logits(&r, tokens.ids, tokens.n, 512);
    compare(name, "f32", &got, &expected, exact);
    free(got.values);
    free(expected.values);
    json_decref(json);
    stop(&r);
}

static void check(void **state)
{
    const fixture *f = *state;
    check_fixture(f->name, f->file, f->act, f->is_weight_only ? two_terms : exact);
    if (f->is_weight_only) check_float_activations(f->name, f->file);
}

int main(void)
{
    struct CMUnitTest tests[N_FIXTURES] = {0};
    for (size_t i = 0; i < N_FIXTURES; i++)
        tests[i] = (struct CMUnitTest){
            .name = fixtures[i].name, .test_func = check, .initial_state = (void *)(uintptr_t)&fixtures[i]};
    return _cmocka_run_group_tests("fixtures", tests, N_FIXTURES, NULL, NULL);
}
