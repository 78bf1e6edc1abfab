// Accuracy on the made-up questions of tests/samples, against scores computed choice by choice without shared prefixes:
// one evaluation of the whole text, every row's logits.
#include <math.h>

#include "eval.h"
#include "perplexity.h"
#include "support.h"

static char *read_text(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, TERN_SOURCE_DIR "/tests/samples/%s", name);
    FILE *f = fopen(path, "rb");
    if (f == NULL) fail_msg("cannot open %s", path);
    char *text = calloc(1, 1 << 16);
    assert_true(fread(text, 1, (1 << 16) - 1, f) > 0);
    fclose(f);
    return text;
}

// ln p of everything after the context.
static double score_alone(running *r, const eval_choice *choice)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(r->model);
    char text[2048];
    tern_tokens context = {0}, all = {0};
    size_t n = (size_t)snprintf(text, sizeof text, "%s%s", choice->context, choice->continuation);
    CHECK(tern_tokenizer_encode(tokenizer, text, strlen(choice->context), TERN_TOKENIZE_ADD_BOS, &context, err));
    CHECK(tern_tokenizer_encode(tokenizer, text, n, TERN_TOKENIZE_ADD_BOS, &all, err));
    assert_true(context.n < all.n && context.n >= 2); // BOS and the text
    tern_row rows[256];
    assert_true(all.n <= 256);
    for (size_t i = 0; i < all.n; i++) rows[i] = (tern_row){.token = all.ids[i], .wants_logits = true};
    CHECK(tern_session_trim(r->session, 0, 0, err));
    CHECK(tern_session_eval(r->session, rows, all.n, err));
    double score = 0;
    for (size_t i = 0; i + 1 < all.n; i++) {
        const float *logits;
        CHECK(tern_session_logits(r->session, i, &logits, err));
        if (i + 1 >= context.n) score -= perplexity_nll(logits, r->info.n_vocab, all.ids[i + 1]);
    }
    tern_tokens_free(&context);
    tern_tokens_free(&all);
    return score;
}

typedef struct expected {
    running *alone;
    const eval_items *items;
    size_t n_correct, n_correct_norm;
} expected;

static bool check_item(void *user, const eval_result *so_far, size_t n_items, const double *scores)
{
    expected *e = user;
    assert_int_equal(n_items, e->items->n);
    const eval_item *item = &e->items->items[so_far->n - 1];
    uint32_t best = 0, best_norm = 0;
    double alone[EVAL_MAX_CHOICES];
    for (uint32_t c = 0; c < item->n_choices; c++) {
        alone[c] = score_alone(e->alone, &item->choices[c]);
        if (alone[c] != scores[c]) fail_msg("choice %u: %.17g, alone %.17g", c, scores[c], alone[c]);
        if (alone[c] > alone[best]) best = c;
        if (alone[c] / item->choices[c].length > alone[best_norm] / item->choices[best_norm].length) best_norm = c;
    }
    e->n_correct += best == item->answer;
    e->n_correct_norm += best_norm == item->answer;
    return true;
}

static void check_task(const char *task_name, const char *file, const char *labels_file, uint32_t n_batch)
{
    const eval_task *task;
    eval_items items = {0};
    eval_encoded encoded = {0};
    char *text = read_text(file), *labels = labels_file != NULL ? read_text(labels_file) : NULL;
    CHECK(eval_task_find(task_name, &task, err));
    CHECK(eval_items_parse(task, file, text, strlen(text), labels, 0, &items, err));
    setup s = {.kv = TERN_KV_INT8, .n_batch = n_batch, .n_ctx = 256, .n_threads = 2};
    running r = start(TERN_SOURCE_DIR "/models/stories", s);
    s.n_batch = 256;
    running alone = start(TERN_SOURCE_DIR "/models/stories", s);
    CHECK(eval_encode(tern_model_tokenizer(r.model), &items, &encoded, err));
    expected e = {.alone = &alone, .items = &items};
    eval_options o = {.n_vocab = r.info.n_vocab, .n_ctx = 256, .n_batch = n_batch, .on_item = check_item, .user = &e};
    eval_result result;
    CHECK(eval_run(r.session, &items, &encoded, &o, &result, err));
    assert_int_equal(result.n, items.n);
    assert_int_equal(result.n_correct, e.n_correct);
    assert_int_equal(result.n_correct_norm, e.n_correct_norm);
    assert_true(result.acc == (double)e.n_correct / (double)items.n);
    assert_true(result.n_evaluated < result.n_tokens); // prefixes were shared
    assert_int_equal(tern_session_length(r.session, 0), 0);
    eval_encoded_free(&encoded);
    eval_items_free(&items);
    stop(&alone);
    stop(&r);
    free(text);
    free(labels);
}

static void arc(void **state)
{
    (void)state;
    check_task("arc-easy", "arc.jsonl", NULL, 64);
    check_task("arc-challenge", "arc.jsonl", NULL, 3); // batches end anywhere
}

static void winogrande(void **state)
{
    (void)state;
    check_task("winogrande", "winogrande.jsonl", NULL, 64);
}

static void hellaswag(void **state)
{
    (void)state;
    check_task("hellaswag", "hellaswag.jsonl", NULL, 64);
}

static void piqa(void **state)
{
    (void)state;
    check_task("piqa", "piqa.jsonl", "piqa-labels.lst", 64);
}

// A context of 16 positions: choices lose their beginning, and all is scored that still fits.
static void short_context(void **state)
{
    (void)state;
    const eval_task *task;
    eval_items items = {0};
    eval_encoded encoded = {0};
    char *text = read_text("arc.jsonl");
    CHECK(eval_task_find("arc-easy", &task, err));
    CHECK(eval_items_parse(task, "arc", text, strlen(text), NULL, 1, &items, err));
    running r = start(TERN_SOURCE_DIR "/models/stories", (setup){.n_batch = 16, .n_ctx = 16});
    CHECK(eval_encode(tern_model_tokenizer(r.model), &items, &encoded, err));
    assert_true(encoded.longest > 17);
    eval_options o = {.n_vocab = r.info.n_vocab, .n_ctx = 16, .n_batch = 16};
    eval_result result;
    CHECK(eval_run(r.session, &items, &encoded, &o, &result, err));
    assert_int_equal(result.n_truncated, 3);
    assert_int_equal(result.n_tokens, 3 * 17);
    eval_encoded_free(&encoded);
    eval_items_free(&items);
    stop(&r);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arc),  cmocka_unit_test(winogrande),    cmocka_unit_test(hellaswag),
        cmocka_unit_test(piqa), cmocka_unit_test(short_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
