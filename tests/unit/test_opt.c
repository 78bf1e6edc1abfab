// The command line: parsing, ranges, suggestions, and that help, man page and completions name every option.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "opt.h"

typedef struct parsed {
    opt_values values;
    opt_hint hint;
    tern_error err;
    tern_status status;
} parsed;

enum { MAX_ARGUMENTS = 16 };

// Parses the arguments up to the first NULL.
static parsed parse(command_id command, const char *const arguments[MAX_ARGUMENTS])
{
    static const char *kept[MAX_ARGUMENTS]; // opt_values points into it
    parsed p = {0};
    int n = 0;
    while (n < MAX_ARGUMENTS && arguments[n]) {
        kept[n] = arguments[n];
        n++;
    }
    p.status = opt_parse(command, n, kept, &p.values, &p.hint, &p.err);
    return p;
}

#define PARSE(command, ...) parse(command, (const char *const[MAX_ARGUMENTS]){__VA_ARGS__})

static void assert_refused(parsed p, const char *message, const char *hint)
{
    if (p.status != TERN_INVALID_ARGUMENT) fail_msg("expected INVALID_ARGUMENT, got %s", tern_status_name(p.status));
    if (!strstr(p.err.message, message)) fail_msg("message '%s' lacks '%s'", p.err.message, message);
    if (!strstr(p.hint.text, hint)) fail_msg("hint '%s' lacks '%s'", p.hint.text, hint);
    opt_free(&p.values);
}

static void test_values_and_defaults(void **state)
{
    (void)state;
    parsed p = PARSE(COMMAND_RUN, "dir", "-n", "5", "--temp=0.5", "-dev", "cpu", "-p", "-x", "--ids");
    assert_int_equal(p.status, TERN_OK);
    const opt_value *v = p.values.values;
    assert_int_equal(v[OPT_PREDICT].integer, 5);
    assert_true(v[OPT_TEMP].real == 0.5);
    assert_string_equal(v[OPT_DEVICE].text, "cpu");
    assert_string_equal(v[OPT_PROMPT].text, "-x"); // what follows an option is its value, whatever it looks like
    assert_int_equal(p.values.n_operands, 1);
    assert_string_equal(p.values.operands[0], "dir");
    opt_free(&p.values);

    p = PARSE(COMMAND_RUN, NULL);
    v = p.values.values;
    assert_int_equal(p.status, TERN_OK);
    assert_false(v[OPT_PREDICT].given);
    assert_int_equal(v[OPT_PREDICT].integer, -1);
    assert_int_equal(v[OPT_BATCH].integer, 512);
    assert_int_equal(v[OPT_TOP_K].integer, 40);
    assert_true(v[OPT_TOP_P].real == 0.95 && v[OPT_MIN_P].real == 0.05 && v[OPT_TEMP].real == 0.8);
    assert_string_equal(v[OPT_DEVICE].text, "auto");
    opt_free(&p.values);

    p = PARSE(COMMAND_PPL, "-c", "256", "-c", "128", "--", "-m");
    assert_int_equal(p.status, TERN_OK);
    assert_int_equal(p.values.values[OPT_CTX].integer, 128); // the last wins
    assert_string_equal(p.values.operands[0], "-m");         // after -- everything is an operand
    opt_free(&p.values);
}

static void test_kv_types(void **state)
{
    (void)state;
    static const struct {
        const char *k, *v;
        int64_t expect_k, expect_v;
    } cases[] = {
        {"f32", NULL, 0, 0}, {"f16", "f32", 1, 0}, {"q8_0", NULL, 2, 2}, {NULL, "f16", 2, 1}, {NULL, NULL, 2, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *arguments[MAX_ARGUMENTS] = {NULL};
        int n = 0;
        if (cases[i].k) arguments[n++] = "-ctk", arguments[n++] = cases[i].k;
        if (cases[i].v) arguments[n++] = "--cache-type-v", arguments[n++] = cases[i].v;
        parsed p = parse(COMMAND_RUN, arguments);
        assert_int_equal(p.status, TERN_OK);
        assert_int_equal(p.values.values[OPT_KV_K].integer, cases[i].expect_k);
        assert_int_equal(p.values.values[OPT_KV_V].integer, cases[i].expect_v);
        opt_free(&p.values);
    }
    assert_refused(PARSE(COMMAND_RUN, "-ctk", "q5_0"),
                   "-ctk: q5_0 is not supported yet; there are f32, f16, int8 or int4", "");
    assert_refused(PARSE(COMMAND_RUN, "-ctv", "iq4_nl"), "-ctv: iq4_nl is not supported yet", "");
    assert_refused(PARSE(COMMAND_RUN, "-ctv", "f64"), "-ctv takes f32, f16, int8 or int4, not 'f64'", "");
    assert_refused(PARSE(COMMAND_RUN, "-ctv", "q8"), "not 'q8'", ""); // no prefixes
}

// Counts that may be words: what the table's order makes of them.
static void test_counts_and_words(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
        opt_id id;
        int64_t expected;
    } cases[] = {
        {"-ngl", "auto", OPT_GPU_LAYERS, -1},       {"-ngl", "all", OPT_GPU_LAYERS, -2},
        {"--n-gpu-layers", "0", OPT_GPU_LAYERS, 0}, {"--gpu-layers", "99", OPT_GPU_LAYERS, 99},
        {"--stream", "auto", OPT_STREAM, -1},       {"--stream", "none", OPT_STREAM, -2},
        {"--stream", "7", OPT_STREAM, 7},           {"--layout", "t80", OPT_LAYOUT, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        parsed p = PARSE(COMMAND_LOGITS, cases[i].name, cases[i].text);
        assert_int_equal(p.status, TERN_OK);
        assert_int_equal(p.values.values[cases[i].id].integer, cases[i].expected);
        opt_free(&p.values);
    }
    parsed p = PARSE(COMMAND_RUN, NULL);
    assert_int_equal(p.values.values[OPT_GPU_LAYERS].integer, -1);
    assert_int_equal(p.values.values[OPT_STREAM].integer, -1);
    opt_free(&p.values);
    assert_refused(PARSE(COMMAND_RUN, "-ngl", "some"), "auto or all, not 'some'", "");
    assert_refused(PARSE(COMMAND_RUN, "-ngl", "-1"), "not '-1'", "");
    assert_refused(PARSE(COMMAND_RUN, "--stream", "all"), "auto or none, not 'all'", "");
}

static void test_ranges(void **state)
{
    (void)state;
    assert_refused(PARSE(COMMAND_RUN, "--temp", "-1"), "--temp takes a number from 0 to 100, not '-1'", "");
    assert_refused(PARSE(COMMAND_RUN, "--temp", "nan"), "not 'nan'", "");
    assert_refused(PARSE(COMMAND_RUN, "--temp", "inf"), "not 'inf'", "");
    assert_refused(PARSE(COMMAND_RUN, "--temp", ""), "not ''", "");
    assert_refused(PARSE(COMMAND_RUN, "--temp", "1x"), "not '1x'", "");
    assert_refused(PARSE(COMMAND_RUN, "-n", "-2"), "-n takes a whole number from -1 to 2147483647, not '-2'", "");
    assert_refused(PARSE(COMMAND_RUN, "-n", "99999999999999999999"), "not '99999999999999999999'", "");
    assert_refused(PARSE(COMMAND_RUN, "-n", "1.5"), "not '1.5'", "");
    assert_refused(PARSE(COMMAND_RUN, "-n", " 1"), "not ' 1'", "");
    assert_refused(PARSE(COMMAND_RUN, "-b", "0"), "-b takes a whole number from 1 to 65536, not '0'", "");
    assert_refused(PARSE(COMMAND_RUN, "--ids=yes"), "--ids takes no value", "");
    assert_refused(PARSE(COMMAND_RUN, "-n"), "-n needs a value: a whole number from -1", "");
    assert_refused(PARSE(COMMAND_RUN, "-m="), "-m takes a path, not an empty text", "");
    assert_refused(PARSE(COMMAND_LOGITS, "--tokens", "1,x"), "entry 2 is 'x'", "");
    assert_refused(PARSE(COMMAND_CONVERT, "--type", "q4_k"), "--type takes i2_s, tq1_0, tq2_0 or f16, not 'q4_k'", "");
}

static void test_unknown(void **state)
{
    (void)state;
    assert_refused(PARSE(COMMAND_RUN, "--tmep", "1"), "unknown option '--tmep' for `tern run`", "did you mean --temp?");
    assert_refused(PARSE(COMMAND_RUN, "--ctk", "f16"), "unknown option '--ctk'", "did you mean -ctk?");
    assert_refused(PARSE(COMMAND_RUN, "--repeat-penality=1"), "unknown option '--repeat-penality'",
                   "did you mean --repeat-penalty?");
    assert_refused(PARSE(COMMAND_INFO, "--temp", "1"), "unknown option '--temp' for `tern info`",
                   "belongs to `tern run`");
    assert_refused(PARSE(COMMAND_RUN, "--zzzzzzzzzzzz"), "unknown option", "tern help run");
    assert_refused(PARSE(COMMAND_RUN, "a", "b"), "unexpected argument 'b'", "-p");
    command_id command = COMMAND_N;
    opt_hint hint = {""};
    assert_false(opt_find_command("tokenise", &command, &hint));
    assert_string_equal(hint.text, "did you mean `tern tokenize`?");
    assert_false(opt_find_command("frobnicate", &command, &hint));
    assert_string_equal(hint.text, "`tern help` lists the commands");
    assert_true(opt_find_command("ppl", &command, &hint));
    assert_int_equal(command, COMMAND_PPL);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"1", 1},       {"24GiB", 24ull << 30},   {"24G", 24ull << 30}, {"24gb", 24ull << 30},
                {"1.5K", 1536}, {"800MiB", 800ull << 20}, {"2T", 2ull << 40},   {"512B", 512}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        opt_value value = {0};
        assert_int_equal(opt_parse_size("--vram", good[i].text, &value, NULL), TERN_OK);
        assert_false(value.is_percent);
        assert_int_equal(value.bytes, good[i].bytes);
    }
    opt_value value = {0};
    assert_int_equal(opt_parse_size("--vram", "90%", &value, NULL), TERN_OK);
    assert_true(value.is_percent && value.real == 90);
    static const char *const bad[] = {"",    "G",     "-1",  "0",   "101%",         "0%",  "1Q",
                                      "1 G", "1GiBx", "nan", "inf", "99999999999T", "1%%", "0.1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tern_error err = {0};
        if (opt_parse_size("--vram", bad[i], &value, &err) != TERN_INVALID_ARGUMENT)
            fail_msg("size '%s' was accepted", bad[i]);
        assert_non_null(strstr(err.message, "--vram"));
    }
}

static void test_lists_and_biases(void **state)
{
    (void)state;
    int32_t *ids = NULL;
    size_t n = 0;
    assert_int_equal(opt_parse_list("--tokens", "1, 2,2147483647", INT32_MAX, &ids, &n, NULL), TERN_OK);
    assert_int_equal(n, 3);
    assert_int_equal(ids[0] + ids[1], 3);
    assert_int_equal(ids[2], INT32_MAX);
    free(ids);
    static const char *const bad[] = {"",   ",",   "1,",         ",1",  "1,,2",
                                      "-1", "1;2", "2147483648", "1 2", "9999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (opt_parse_list("--tokens", bad[i], INT32_MAX, &ids, &n, NULL) != TERN_INVALID_ARGUMENT)
            fail_msg("list '%s' was accepted", bad[i]);

    int32_t id;
    float bias;
    assert_int_equal(opt_parse_bias("-l", "15043+1.5", &id, &bias, NULL), TERN_OK);
    assert_int_equal(id, 15043);
    assert_true(bias == 1.5f);
    assert_int_equal(opt_parse_bias("-l", "7-inf", &id, &bias, NULL), TERN_OK);
    assert_true(id == 7 && bias == -INFINITY);
    static const char *const bad_bias[] = {"",      "7",     "+1",  "-7+1", "7+",          "7+x",
                                           "7+inf", "7+nan", "a+1", "7 +1", "2147483648+1"};
    for (size_t i = 0; i < sizeof bad_bias / sizeof *bad_bias; i++)
        if (opt_parse_bias("-l", bad_bias[i], &id, &bias, NULL) != TERN_INVALID_ARGUMENT)
            fail_msg("bias '%s' was accepted", bad_bias[i]);

    parsed p = PARSE(COMMAND_RUN, "-l", "1+1", "--logit-bias", "2-1");
    assert_int_equal(p.status, TERN_OK);
    assert_string_equal(opt_nth(&p.values, OPT_LOGIT_BIAS, 0), "1+1");
    assert_string_equal(opt_nth(&p.values, OPT_LOGIT_BIAS, 1), "2-1");
    assert_null(opt_nth(&p.values, OPT_LOGIT_BIAS, 2));
    opt_free(&p.values);
}

static void assert_sweep(const char *text, size_t n_expected, const int32_t *expected)
{
    int32_t *items;
    size_t n;
    tern_error err = {0};
    if (opt_parse_sweep("-p", text, 1048576, &items, &n, &err) != TERN_OK) fail_msg("'%s': %s", text, err.message);
    if (n != n_expected || memcmp(items, expected, n * sizeof *items) != 0) fail_msg("'%s' gave other numbers", text);
    free(items);
}

#define SWEEP(text, ...)                                                                                               \
    assert_sweep(text, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t), (const int32_t[]){__VA_ARGS__})

// Ranges as llama-bench writes them, and lists of choices.
static void test_sweeps(void **state)
{
    (void)state;
    SWEEP("512", 512);
    SWEEP("0,2k,8K", 0, 2048, 8192);
    SWEEP("128-1024*2", 128, 256, 512, 1024);
    SWEEP("1-9+4, 3", 1, 5, 9, 3);
    SWEEP("1-8+4", 1, 5);
    SWEEP("2-4", 2, 3, 4);
    SWEEP("7-7*2", 7);
    static const char *const bad[] = {"",
                                      "x",
                                      ",",
                                      "1,",
                                      "4-2",
                                      "0-8*2",
                                      "1-8*1",
                                      "1-8+0",
                                      "1-8/2",
                                      "1--2",
                                      "-1",
                                      "1-",
                                      "1-8*",
                                      "1 2",
                                      "2m",
                                      "1025k",
                                      "0-1000000",
                                      "1048577",
                                      "99999999999999999999",
                                      "1-8+4+4"};
    int32_t *items;
    size_t n;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (opt_parse_sweep("-p", bad[i], 1048576, &items, &n, NULL) != TERN_INVALID_ARGUMENT)
            fail_msg("sweep '%s' was accepted", bad[i]);

    const opt_spec *spec = opt_find(COMMAND_BENCH, "-ctk", 4);
    assert_int_equal(opt_parse_choices(spec, "-ctk", "int8,f32,q8_0", &items, &n, NULL), TERN_OK);
    assert_true(n == 3 && items[0] == 2 && items[1] == 0 && items[2] == 2);
    free(items);
    tern_error err = {0};
    assert_int_equal(opt_parse_choices(spec, "-ctk", "f16,", &items, &n, &err), TERN_INVALID_ARGUMENT);
    error_clear(&err);
    assert_int_equal(opt_parse_choices(spec, "-ctk", "f16,q4_0", &items, &n, &err), TERN_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "not supported yet"));

    parsed p = PARSE(COMMAND_BENCH, "m", "-t", "1,2", "-np", "1-8*2", "--weights", "stored,f16", "-ctk", "f16,int8");
    assert_int_equal(p.status, TERN_OK);
    assert_string_equal(p.values.values[OPT_PARALLEL].text, "1-8*2");
    assert_false(p.values.values[OPT_KV_V].given);
    opt_free(&p.values);
    p = PARSE(COMMAND_RUN, "m", "-t", "1,2"); // elsewhere a number is one number
    assert_int_equal(p.status, TERN_INVALID_ARGUMENT);
    opt_free(&p.values);
}

// The table itself: defaults parse for every command, no name means two things, help is there.
static void test_table(void **state)
{
    (void)state;
    for (int command = 0; command < COMMAND_N; command++) {
        parsed p = parse((command_id)command, (const char *const[MAX_ARGUMENTS]){NULL});
        if (p.status != TERN_OK) fail_msg("defaults of %s: %s", opt_commands[command].name, p.err.message);
        opt_free(&p.values);
        assert_non_null(opt_commands[command].description);
        assert_non_null(opt_commands[command].example);
        for (size_t i = 0; i < opt_table_size; i++) {
            const char *names = opt_table[i].names, *at;
            size_t n;
            if (!(opt_table[i].commands >> command & 1)) continue;
            while ((at = opt_item(&names, ' ', &n)))
                if (opt_find((command_id)command, at, n) != &opt_table[i])
                    fail_msg("%.*s means two things in %s", (int)n, at, opt_commands[command].name);
        }
    }
    for (size_t i = 0; i < opt_table_size; i++) {
        assert_true(opt_table[i].help && *opt_table[i].help);
        assert_true((opt_table[i].kind == OPT_SWITCH) == (opt_table[i].value == NULL));
    }
}

// What a printer writes, as one string.
static char *capture(void (*print)(FILE *, const void *), const void *argument)
{
    char *text = NULL;
    size_t n = 0;
    FILE *file = open_memstream(&text, &n);
    assert_non_null(file);
    print(file, argument);
    fclose(file);
    return text;
}

static void print_help(FILE *to, const void *command) { opt_print_help(to, *(const command_id *)command); }
static void print_man(FILE *to, const void *version) { opt_print_man(to, version); }
static void print_completion(FILE *to, const void *shell) { assert_true(opt_print_completion(to, shell)); }
static void print_overview(FILE *to, const void *unused)
{
    (void)unused;
    opt_print_overview(to);
}

static void assert_contains(const char *where, const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("%s lacks '%s'", where, part);
}

// The name as a shell or roff writes it.
static void written_name(const char *kind, const char *name, size_t n, char *out)
{
    size_t length = 0;
    if (strcmp(kind, "man") == 0) {
        for (size_t i = 0; i < n; i++) {
            if (name[i] == '-') out[length++] = '\\';
            out[length++] = name[i];
        }
        out[length] = 0;
    } else if (strcmp(kind, "fish") == 0) {
        const char *form = name[1] == '-' ? "-l" : n == 2 ? "-s" : "-o";
        size_t skip = name[1] == '-' ? 2 : 1;
        snprintf(out, 100, " %s %.*s ", form, (int)(n - skip), name + skip);
    } else {
        snprintf(out, 100, "%.*s", (int)n, name);
    }
}

static void assert_names(const char *kind, const char *text, command_id command)
{
    for (size_t i = 0; i < opt_table_size; i++) {
        const char *names = opt_table[i].names, *at;
        size_t n;
        char name[100];
        if (!(opt_table[i].commands >> command & 1)) continue;
        while ((at = opt_item(&names, ' ', &n))) {
            written_name(kind, at, n, name);
            assert_contains(kind, text, name);
        }
    }
}

static void test_pages_are_complete(void **state)
{
    (void)state;
    char *pages[5] = {capture(print_overview, NULL), capture(print_man, "1.2.3"), capture(print_completion, "bash"),
                      capture(print_completion, "zsh"), capture(print_completion, "fish")};
    static const char *const kinds[5] = {"overview", "man", "bash", "zsh", "fish"};
    assert_contains("man", pages[1], "1.2.3");
    for (int command = 0; command < COMMAND_N; command++) {
        char *help = capture(print_help, &(command_id){(command_id)command});
        assert_names("help", help, (command_id)command);
        assert_contains("help", help, opt_commands[command].example);
        free(help);
        for (int k = 0; k < 5; k++) {
            assert_contains(kinds[k], pages[k], opt_commands[command].name);
            if (k > 0) assert_names(kinds[k], pages[k], (command_id)command);
        }
    }
    for (size_t i = 0; i < opt_n_exit_codes; i++) assert_contains("overview", pages[0], opt_exit_codes[i].meaning);
    for (int k = 0; k < 5; k++) free(pages[k]);
    assert_false(opt_print_completion(stderr, "csh"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_and_defaults),
        cmocka_unit_test(test_kv_types),
        cmocka_unit_test(test_counts_and_words),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_lists_and_biases),
        cmocka_unit_test(test_sweeps),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_pages_are_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
