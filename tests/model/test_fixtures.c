// Independent expected results: every fixture that this version opens, as close as its README asks. The int8 models' token
// sequences keep every activation away from rounding ties, so a correct engine with f32 KV is within about 1e-6.
#include <math.h>

#include "support.h"

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void compare(const char *name, const matrix *got, const matrix *expected)
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
        if (!(errors[r] < 1e-4)) fail_msg("%s: row %zu is off by %g (relative L2), expected < 1e-4", name, r, errors[r]);
        size_t best = argmax(e, got->n_cols), mine = argmax(g, got->n_cols);
        if (best != mine && e[best] - e[mine] > 1e-4 * sqrt(norm)) fail_msg("%s: row %zu has top token %zu, expected %zu", name, r, mine, best);
    }
    qsort(errors, got->n_rows, sizeof *errors, by_value);
    double median = errors[got->n_rows / 2];
    printf("%-24s worst row %.2e, median %.2e\n", name, worst, median);
    if (!(median < 1e-5)) fail_msg("%s: the median row is off by %g, expected < 1e-5", name, median);
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

static void check_fixture(const char *name, const char *file)
{
    char path[1024], part[512];
    snprintf(part, sizeof part, "fixtures/%s/%s", name, file);
    data_path(part, path, sizeof path);
    running r = start(path, (setup){.kv = TERN_KV_F32});
    snprintf(part, sizeof part, "%s/fixtures/%s/expected.json", data_root(), name);
    json_t *json = read_json(part);
    snprintf(part, sizeof part, "%s/fixtures/%s/logits.npy", data_root(), name);
    matrix expected = read_npy(part);
    id_list tokens = json_ids(json, "tokens");
    matrix got = all_logits(&r, tokens.ids, tokens.n, 512);
    compare(name, &got, &expected);
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

#define FIXTURE(function, name, file) \
    static void function(void **state) { (void)state; check_fixture(name, file); }
FIXTURE(hf_bitnet_packed, "hf-bitnet-packed", "")
FIXTURE(hf_bitnet_master, "hf-bitnet-master", "")
FIXTURE(hf_1bitllm, "hf-1bitllm", "")
FIXTURE(hf_llama_bitlinear, "hf-llama-bitlinear", "")
FIXTURE(hf_llama_dense, "hf-llama-dense", "")
FIXTURE(gguf_bitnet_i2s_f16, "gguf-bitnet-i2s-f16", "model.gguf")
FIXTURE(gguf_bitnet_tq2_q6k, "gguf-bitnet-tq2-q6k", "model.gguf")
FIXTURE(gguf_bitnet_tq1_q4k, "gguf-bitnet-tq1-q4k", "model.gguf")
FIXTURE(gguf_llama_i2s, "gguf-llama-i2s", "model.gguf")
FIXTURE(gguf_llama_tq2, "gguf-llama-tq2", "model.gguf")

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hf_bitnet_packed),    cmocka_unit_test(hf_bitnet_master),    cmocka_unit_test(hf_1bitllm),
        cmocka_unit_test(hf_llama_bitlinear),  cmocka_unit_test(hf_llama_dense),      cmocka_unit_test(gguf_bitnet_i2s_f16),
        cmocka_unit_test(gguf_bitnet_tq2_q6k), cmocka_unit_test(gguf_bitnet_tq1_q4k), cmocka_unit_test(gguf_llama_i2s),
        cmocka_unit_test(gguf_llama_tq2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
