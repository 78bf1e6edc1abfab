// The CUDA backend, executed by the shim, on every op case that it can run in reasonable time, bit for bit against the
// reference, as a device of each generation; and proof that this notices broken kernels.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_backend.h"
#include "selftest.h"

// Of the error that fast attention may have, what it needs here: at most 9.4 %.
#define MAX_ERROR_SHARE 0.15

#if defined(__SANITIZE_ADDRESS__)
#define MAX_MACS (1u << 20)
#define MAX_M    65
#else
#define MAX_MACS (1u << 24)
#define MAX_M    512
#endif

extern const backend cpu_backend; // its header has its own structs of the same names

static op_runner open_reference(void)
{
    op_runner runner = {0};
    tern_error err = {0};
    assert_int_equal(op_runner_open(&cpu_backend, 1, 1, &runner, &err), TERN_OK);
    assert_string_equal(runner.facts.name, "cpuref");
    return runner;
}

static op_runner open_device(const backend *b)
{
    op_runner runner = {0};
    tern_error err = {0};
    if (op_runner_open(b, 0, 1, &runner, &err) != TERN_OK) fail_msg("%s", err.message);
    return runner;
}

static op_case *list_cases(size_t *n)
{
    op_case *cases = NULL;
    tern_error err = {0};
    assert_int_equal(op_cases_list(&cases, n, &err), TERN_OK);
    return cases;
}

static bool is_small(const op_case *c, uint64_t max_macs) { return c->m <= MAX_M && c->n_macs <= max_macs; }

// Runs the cases of all kinds, or of one; every `stride`-th of them.
static void check_cases(int capability, uint64_t max_macs, int only, size_t stride)
{
    shim_set_capability(capability);
    op_runner reference = open_reference(), subject = open_device(&cuda_backend);
    op_runner *const subjects[] = {&subject};
    const char *filter = getenv("TERN_SHIM_CASE"); // to look at some cases alone
    size_t n, n_run = 0, n_failed = 0;
    op_case *cases = list_cases(&n);
    for (size_t i = 0; i < n; i += stride) {
        op_outcome outcome;
        tern_error err = {0};
        if (cases[i].kind == OP_DENSE_TOP_K || !is_small(&cases[i], max_macs) ||
            (only >= 0 && (int)cases[i].kind != only))
            continue;
        if (filter != NULL && strstr(cases[i].name, filter) == NULL) continue;
        n_run++;
        assert_int_equal(op_case_run(&cases[i], &reference, subjects, 1, &outcome, &err), TERN_OK);
        if (getenv("TERN_SHIM_TIMES") != NULL)
            print_message("%8.1f ms %5.1f %% of the error allowed  %s\n", (double)outcome.ns / 1e6,
                          100 * outcome.error_share, cases[i].name);
        if (outcome.error_share > MAX_ERROR_SHARE) {
            outcome.verdict = VERDICT_FAILED;
            snprintf(outcome.text, sizeof outcome.text, "needs %.1f %% of its error", 100 * outcome.error_share);
        }
        if (outcome.verdict == VERDICT_PASSED) continue;
        n_failed++;
        if (n_failed <= 20)
            print_message("%s: %s: %s\n", selftest_verdict_name(outcome.verdict), cases[i].name, outcome.text);
    }
    free(cases);
    op_runner_close(&subject);
    op_runner_close(&reference);
    print_message("sm_%d: %zu cases, %zu failed or skipped\n", capability, n_run, n_failed);
    assert_true(n_run > 0 || filter != NULL);
    assert_int_equal(n_failed, 0);
    assert_int_equal(shim_live(), 0);
}

static void test_every_op_equals_reference(void **state)
{
    (void)state;
    check_cases(80, MAX_MACS, -1, 1);
}

// What depends on the generation are the ternary products and the attention of prompts.
static void test_other_generations(void **state)
{
    (void)state;
    check_cases(75, MAX_MACS / 8, OP_TERNARY_MM, 1);
    check_cases(75, MAX_MACS / 4, OP_ATTENTION, 3);
    check_cases(90, MAX_MACS / 8, OP_TERNARY_MM, 1);
    check_cases(120, MAX_MACS / 8, -1, 7);
}

// A wide device spreads the groups of attention over blocks, and ternary products over more of them.
static void test_wide_device(void **state)
{
    (void)state;
    shim_set_sms(64);
    check_cases(80, MAX_MACS, OP_ATTENTION, 1);
    check_cases(80, MAX_MACS, OP_FAST_ATTENTION, 1);
    check_cases(80, MAX_MACS / 8, OP_TERNARY_MM, 3);
    shim_set_sms(4);
}

// ------------------------------------------------------------------------------------------------ sabotage

// What a broken kernel would do: each is an enqueue of the real backend with something wrong.
typedef enum sabotage {
    SABOTAGE_NONE,
    SABOTAGE_SKIP,
    SABOTAGE_DROP_LAST_ROW,
    SABOTAGE_SHORT_ROWS,
    SABOTAGE_WRONG_EPS,
    SABOTAGE_WRONG_PLACE,
    SABOTAGE_LAST_POSITION,
    SABOTAGE_LARGER_SCORES,
    SABOTAGE_N
} sabotage;

static sabotage active;

// Attention whose rows do not see their last position, or whose queries are 1/16 longer.
static tern_status enqueue_attention(stream *s, const op *o, tern_error *err)
{
    int32_t *positions = (int32_t *)(void *)cuda_at(o->attention.rows.row_position), saved_positions[64];
    float *q = (float *)(void *)cuda_at(o->attention.q), saved_q[1024];
    size_t n = (size_t)(o->m - 1) * o->attention.ld_q + (size_t)o->attention.n_heads * o->attention.cache.head_dim;
    assert_true(o->m <= 64 && n <= 1024);
    tern_status status = cuda_backend.stream_sync(s, err); // what comes before is done: operands may be changed
    memcpy(saved_positions, positions, o->m * sizeof *positions);
    memcpy(saved_q, q, n * sizeof *q);
    for (uint32_t m = 0; m < o->m && active == SABOTAGE_LAST_POSITION; m++) positions[m] -= positions[m] > 0;
    for (size_t i = 0; i < n && active == SABOTAGE_LARGER_SCORES; i++) q[i] *= 1.0625f;
    if (status == TERN_OK) status = cuda_backend.enqueue(s, o, err);
    if (status == TERN_OK) status = cuda_backend.stream_sync(s, err);
    memcpy(positions, saved_positions, o->m * sizeof *positions);
    memcpy(q, saved_q, n * sizeof *q);
    return status;
}

static tern_status sabotaged_enqueue(stream *s, const op *o, tern_error *err)
{
    op broken = *o;
    if (active == SABOTAGE_SKIP) return TERN_OK;
    if (active == SABOTAGE_DROP_LAST_ROW) broken.m--;
    if (active == SABOTAGE_SHORT_ROWS) broken.norm.n--;
    if (active == SABOTAGE_WRONG_EPS) broken.norm.eps *= 1.5f;
    if (active == SABOTAGE_WRONG_PLACE) broken.place++;
    if (active >= SABOTAGE_LAST_POSITION) return enqueue_attention(s, &broken, err);
    return cuda_backend.enqueue(s, &broken, err);
}

static op_case find_case(const char *text)
{
    size_t n;
    op_case *cases = list_cases(&n), found = {0};
    for (size_t i = 0; i < n && found.m == 0; i++)
        if (strstr(cases[i].name, text) != NULL) found = cases[i];
    free(cases);
    if (found.m == 0) fail_msg("no op case contains \"%s\"", text);
    return found;
}

static op_outcome run_sabotaged(const char *text, sabotage what)
{
    backend broken = cuda_backend;
    broken.enqueue = sabotaged_enqueue;
    op_runner reference = open_reference(), subject = open_device(&broken);
    op_runner *const subjects[] = {&subject};
    op_case c = find_case(text);
    op_outcome outcome;
    tern_error err = {0};
    active = what;
    assert_int_equal(op_case_run(&c, &reference, subjects, 1, &outcome, &err), TERN_OK);
    op_runner_close(&subject);
    op_runner_close(&reference);
    return outcome;
}

static void test_sabotage_is_noticed(void **state)
{
    (void)state;
    shim_set_capability(80);
    assert_int_equal(run_sabotaged("norm M=3 N=65", SABOTAGE_NONE).verdict, VERDICT_PASSED);
    for (int s = SABOTAGE_SKIP; s <= SABOTAGE_WRONG_EPS; s++)
        assert_int_equal(run_sabotaged("norm M=3 N=65", (sabotage)s).verdict, VERDICT_FAILED);
    assert_int_equal(run_sabotaged("norm_quant M=1 N=70 nan", SABOTAGE_NONE).verdict, VERDICT_PASSED);
    assert_int_equal(run_sabotaged("norm_quant M=1 N=70 nan", SABOTAGE_WRONG_PLACE).verdict, VERDICT_FAILED);
}

// The error that fast attention may have hides no kernel that does something else.
static void test_sabotage_of_fast_attention_is_noticed(void **state)
{
    (void)state;
    static const sabotage all[] = {SABOTAGE_SKIP, SABOTAGE_DROP_LAST_ROW, SABOTAGE_LAST_POSITION,
                                   SABOTAGE_LARGER_SCORES};
    static const char c[] = "fast_attention M=16 H=1/1 D=8 k=f16 v=f16 prefill+0";
    shim_set_capability(80);
    assert_int_equal(run_sabotaged(c, SABOTAGE_NONE).verdict, VERDICT_PASSED);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        assert_int_equal(run_sabotaged(c, all[i]).verdict, VERDICT_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sabotage_is_noticed),
        cmocka_unit_test(test_sabotage_of_fast_attention_is_noticed),
        cmocka_unit_test(test_every_op_equals_reference),
        cmocka_unit_test(test_other_generations),
        cmocka_unit_test(test_wide_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
