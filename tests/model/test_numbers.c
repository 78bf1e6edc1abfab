// Perplexity of the bundled model on held-out text, against figures computed independently (chunks of 256, the whole
// file).
#include <math.h>

#include "perplexity.h"
#include "support.h"

static char *read_text(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) fail_msg("cannot open %s", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*n + 1);
    assert_int_equal(fread(text, 1, *n, f), *n);
    fclose(f);
    return text;
}

static void check_perplexity(const char *model, const char *path, tern_kv_type kv)
{
    char file[1024], text_file[1024];
    data_path("models/numbers.json", file, sizeof file);
    json_t *json = read_json(file);
    const json_t *expected = json_object_get(json_object_get(json, model), "c256");
    data_path("text/stories-valid.txt", text_file, sizeof text_file);
    size_t n_bytes;
    char *text = read_text(text_file, &n_bytes);
    running r = start(path, (setup){.kv = kv, .n_batch = 256, .n_ctx = 256, .n_threads = 2});
    const tern_tokenizer *tokenizer = tern_model_tokenizer(r.model);
    tern_tokens tokens = {0};
    CHECK(tern_tokenizer_encode(tokenizer, text, n_bytes, TERN_TOKENIZE_ADD_BOS, &tokens, err));
    assert_int_equal(tokens.n, json_integer_value(json_object_get(json, "tokens_with_bos")));
    perplexity_options options = {
        .n_ctx = 256, .n_batch = 256, .bos = tern_tokenizer_bos(tokenizer), .n_vocab = r.info.n_vocab};
    perplexity_result result;
    CHECK(perplexity_measure(r.session, tokens.ids, tokens.n, &options, &result, err));
    double truth = json_number_value(json_object_get(expected, "ppl"));
    printf("%-14s perplexity %.4f +- %.4f, expected %.4f (%+.4f %%)\n", model, result.perplexity, result.error, truth,
           100 * (result.perplexity / truth - 1));
    assert_int_equal(result.n_chunks, json_integer_value(json_object_get(expected, "chunks")));
    assert_int_equal(result.n_scored, json_integer_value(json_object_get(expected, "scored")));
    assert_true(fabs(result.perplexity / truth - 1) < 0.0005);
    assert_true(fabs(result.error / json_number_value(json_object_get(expected, "stderr")) - 1) < 0.01);
    tern_tokens_free(&tokens);
    stop(&r);
    free(text);
    json_decref(json);
}

static void stories(void **state)
{
    (void)state;
    check_perplexity("stories", TERN_SOURCE_DIR "/models/stories", TERN_KV_F32);
}

static void stories_int8_kv(void **state)
{
    (void)state;
    check_perplexity("stories", TERN_SOURCE_DIR "/models/stories", TERN_KV_INT8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories),
        cmocka_unit_test(stories_int8_kv),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
