// Multiple-choice files: what becomes context and continuation, what counts as a choice's length, broken lines.
#include "eval_task.h"
#include "scratch.h"

static eval_items parsed(const char *task_name, const char *text, const char *labels)
{
    const eval_task *task;
    tern_error err = {0};
    assert_ok(eval_task_find(task_name, &task, &err), &err);
    eval_items items = {0};
    assert_ok(eval_items_parse(task, "file", text, strlen(text), labels, 0, &items, &err), &err);
    return items;
}

static void check_choice(const eval_item *item, uint32_t c, const char *context, const char *continuation,
                         uint32_t length)
{
    assert_true(c < item->n_choices);
    assert_string_equal(item->choices[c].context, context);
    assert_string_equal(item->choices[c].continuation, continuation);
    assert_int_equal(item->choices[c].length, length);
}

static void test_arc(void **state)
{
    (void)state;
    eval_items items = parsed("arc-easy",
                              "{\"question\":{\"stem\":\"Why?\",\"choices\":[{\"text\":\"caf\\u00e9\",\"label\":\"A\"},"
                              "{\"text\":\"no\",\"label\":\"B\"}]},\"answerKey\":\"B\"}\n\n"
                              "{\"question\":\"Who?\",\"choices\":{\"text\":[\"I\",\"you\",\"he\"],\"label\":"
                              "[\"1\",\"2\",\"3\"]},\"answerKey\":\"1\"}\r\n",
                              NULL);
    assert_int_equal(items.n, 2);
    assert_int_equal(items.items[0].answer, 1);
    check_choice(&items.items[0], 0, "Question: Why?\nAnswer:", " caf\xc3\xa9", 4);
    check_choice(&items.items[0], 1, "Question: Why?\nAnswer:", " no", 2);
    assert_int_equal(items.items[1].line, 3);
    assert_int_equal(items.items[1].answer, 0);
    check_choice(&items.items[1], 2, "Question: Who?\nAnswer:", " he", 2);
    eval_items_free(&items);
}

static void test_winogrande(void **state)
{
    (void)state;
    eval_items items = parsed("winogrande",
                              "{\"sentence\":\"Tom saw Ann and _ waved. \",\"option1\":\"Tom\",\"option2\":\"Ann \","
                              "\"answer\":\"2\"}",
                              NULL);
    assert_int_equal(items.n, 1);
    assert_int_equal(items.items[0].answer, 1);
    check_choice(&items.items[0], 0, "Tom saw Ann and Tom", " waved.", 6);
    check_choice(&items.items[0], 1, "Tom saw Ann and Ann", "  waved.", 6); // the space at its end moves over
    eval_items_free(&items);
}

static void test_hellaswag(void **state)
{
    (void)state;
    static const char *cleaned[][2] = {
        {"  a  b ", "a b"},
        {"a   b", "a  b"},                                // pairs of spaces, once
        {"do it [title] now [step] go", "do it. now go"}, // what is removed leaves pairs, too
        {"x [y", "x [y"},
        {"[a]b[c]", "b"},
    };
    for (size_t i = 0; i < sizeof cleaned / sizeof *cleaned; i++) {
        char *text = eval_clean_hellaswag(cleaned[i][0]);
        assert_string_equal(text, cleaned[i][1]);
        free(text);
    }
    eval_items items = parsed("hellaswag",
                              "{\"activity_label\":\"Running\",\"ctx_a\":\"A man runs.\",\"ctx_b\":\"the Dog\","
                              "\"endings\":[\"barks.\",\" sits [x]. \",\"a\",\"b\"],\"label\":\"3\"}\n"
                              "{\"activity_label\":\"Tea\",\"ctx_a\":\"[header] Tea [title] Boil.\",\"ctx_b\":\"\","
                              "\"endings\":[\"Pour.\",\"Wait.\"],\"label\":0}",
                              NULL);
    assert_int_equal(items.n, 2);
    assert_int_equal(items.items[0].answer, 3);
    check_choice(&items.items[0], 0, "Running: A man runs. The dog", " barks.", 6);
    check_choice(&items.items[0], 1, "Running: A man runs. The dog", " sits .", 6);
    check_choice(&items.items[1], 1, "Tea: Tea. Boil.", " Wait.", 5);
    eval_items_free(&items);
}

static void test_piqa(void **state)
{
    (void)state;
    const char *line = "{\"goal\":\"Warm?\",\"sol1\":\"Coat\",\"sol2\":\"Ice\"}\n";
    eval_items items = parsed("piqa", line, "1\n");
    assert_int_equal(items.items[0].answer, 1);
    check_choice(&items.items[0], 0, "Question: Warm?\nAnswer:", " Coat", 4);
    eval_items_free(&items);
    items = parsed("piqa", "{\"goal\":\"Warm?\",\"sol1\":\"Coat\",\"sol2\":\"Ice\",\"label\":1}", NULL);
    assert_int_equal(items.items[0].answer, 1);
    eval_items_free(&items);
}

#define PIQA_LINE "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":0}\n"

static void test_broken(void **state)
{
    (void)state;
    static const struct {
        const char *task, *text, *labels, *says;
    } cases[] = {
        {"piqa", PIQA_LINE "{\"goal\":\n", NULL, "file, line 2: not JSON"},
        {"piqa", PIQA_LINE "\n[1]\n", NULL, "file, line 3: not a JSON object"},
        {"piqa", "{\"goal\":\"g\",\"sol1\":\"a\",\"label\":0}", NULL, "line 1: \"sol2\" is missing"},
        {"piqa", "{\"goal\":1,\"sol1\":\"a\",\"sol2\":\"b\",\"label\":0}", NULL, "\"goal\" is not a text"},
        {"piqa", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":2}", NULL,
         "\"label\" is '2', expected 0 to 1"},
        {"piqa", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\"}", NULL, "not published"},
        {"piqa", PIQA_LINE PIQA_LINE, "0\n", "line 2: there is no answer"},
        {"piqa", "{\"goal\":\"g\",\"goal\":\"h\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":1}", NULL, "duplicate"},
        {"piqa", "\n \n", NULL, "file holds no line"},
        {"winogrande", "{\"sentence\":\"no gap\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"1\"}", NULL,
         "no gap"},
        {"winogrande", "{\"sentence\":\"_ x\",\"option1\":\" \",\"option2\":\"b\",\"answer\":\"1\"}", NULL, "empty"},
        {"winogrande", "{\"sentence\":\"_ x\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"0\"}", NULL, "1 to 2"},
        {"arc-easy",
         "{\"question\":{\"stem\":\"s\",\"choices\":[{\"text\":\"a\",\"label\":\"A\"},{\"text\":\"b\","
         "\"label\":\"B\"}]},\"answerKey\":\"C\"}",
         NULL, "'C', which no choice has"},
        {"arc-easy", "{\"question\":\"s\",\"choices\":{\"text\":[\"a\",\"b\"],\"label\":[\"A\"]},\"answerKey\":\"A\"}",
         NULL, "no list"},
        {"arc-easy",
         "{\"question\":{\"stem\":\"s\",\"choices\":[{\"text\":\"a\"},{\"text\":\"b\"}]},"
         "\"answerKey\":\"A\"}",
         NULL, "choice 1 lacks"},
        {"arc-easy", "{\"question\":7,\"answerKey\":\"A\"}", NULL, "\"stem\" is missing"},
        {"hellaswag", "{\"activity_label\":\"a\",\"ctx_a\":\"b\",\"ctx_b\":\"c\",\"endings\":[\"x\",3],\"label\":0}",
         NULL, "ending 2 is not a text"},
        {"hellaswag", "{\"activity_label\":\"a\",\"ctx_a\":\"b\",\"ctx_b\":\"c\",\"endings\":[],\"label\":0}", NULL,
         "\"endings\" is no list"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const eval_task *task;
        tern_error err = {0};
        assert_ok(eval_task_find(cases[i].task, &task, &err), &err);
        eval_items items = {.n = 99};
        tern_status status = eval_items_parse(task, "file", cases[i].text, strlen(cases[i].text), cases[i].labels, 0,
                                              &items, &err);
        if (status != TERN_MALFORMED || strstr(err.message, cases[i].says) == NULL)
            fail_msg("case %zu: %s: %s", i, tern_status_name(status), err.message);
        assert_int_equal(items.n, 99); // untouched
    }
    const eval_task *task;
    tern_error err = {0};
    assert_int_equal(eval_task_find("mmlu", &task, &err), TERN_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "arc-easy, arc-challenge, winogrande, hellaswag, piqa"));
}

// A limit stops before a broken line is looked at.
static void test_limit(void **state)
{
    (void)state;
    const eval_task *task;
    eval_items items = {0};
    assert_int_equal(eval_task_find("piqa", &task, NULL), TERN_OK);
    const char *text = PIQA_LINE PIQA_LINE "broken";
    assert_int_equal(eval_items_parse(task, "file", text, strlen(text), NULL, 2, &items, NULL), TERN_OK);
    assert_int_equal(items.n, 2);
    eval_items_free(&items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arc),  cmocka_unit_test(test_winogrande), cmocka_unit_test(test_hellaswag),
        cmocka_unit_test(test_piqa), cmocka_unit_test(test_broken),     cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
