// Every op case of the quick and test levels on the CPU device with one and two threads, and with the portable inner
// loops that other machines use, bit for bit against the reference; and proof that the comparison notices: a device
// sabotaged in each way kernels usually fail must not pass.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "half.h"
#include "kernels.h"
#include "op_time.h"
#include "selftest.h"

static const backend *const cpu_only[] = {&cpu_backend, NULL};

static op_runner open_named(const char *name, uint32_t n_threads)
{
    device_ref ref;
    op_runner runner = {0};
    tern_error err = {0};
    assert_int_equal(registry_find(cpu_only, name, &ref, &err), TERN_OK);
    assert_int_equal(op_runner_open(ref.backend, ref.index, n_threads, &runner, &err), TERN_OK);
    return runner;
}

static op_case *list_cases(size_t *n)
{
    op_case *cases = NULL;
    tern_error err = {0};
    assert_int_equal(op_cases_list(&cases, n, &err), TERN_OK);
    return cases;
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

// ------------------------------------------------------------------------------------------------ the list itself

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const op_case *)a)->name, ((const op_case *)b)->name);
}

static void test_list_is_sound(void **state)
{
    (void)state;
    size_t n, per_kind[OP_N_KINDS] = {0}, per_recipe[RECIPE_N] = {0};
    op_case *cases = list_cases(&n);
    for (size_t i = 0; i < n; i++) {
        assert_true(cases[i].m >= 1);
        assert_true(strlen(cases[i].name) + 1 < sizeof cases[i].name); // not cut
        if (cases[i].level == LEVEL_QUICK) per_kind[cases[i].kind]++;
        per_recipe[cases[i].recipe]++;
        assert_int_equal(cases[i].level == LEVEL_FULL, cases[i].n_macs > 1u << 26);
    }
    for (int kind = 0; kind < OP_N_KINDS; kind++)
        if (kind == OP_BLAS_MM || kind == OP_BLAS_INT_MM)
            assert_int_equal(per_kind[kind], 0); // neither defined bits nor a stated error
        else
            assert_true(per_kind[kind] >= 10);
    for (int recipe = 0; recipe < RECIPE_N; recipe++) assert_true(per_recipe[recipe] >= 5);
    qsort(cases, n, sizeof *cases, compare_names);
    for (size_t i = 1; i < n; i++)
        if (strcmp(cases[i - 1].name, cases[i].name) == 0) fail_msg("two cases are called \"%s\"", cases[i].name);
    free(cases);
}

static void test_rows_are_placed_as_the_cases_say(void **state)
{
    (void)state;
    op_case c = {.rows = ROWS_MIXED, .first = 60};
    static const uint32_t tables[] = {0, 1, 1, 1, 2, 2, 3, 3, 3, 3, 3, 4};
    static const uint32_t positions[] = {60, 121, 122, 123, 182, 183, 243, 244, 245, 246, 247, 304};
    for (uint32_t m = 0; m < 12; m++) {
        assert_int_equal(op_case_table(&c, m), tables[m]);
        assert_int_equal(op_case_position(&c, m), positions[m]);
    }
}

// ------------------------------------------------------------------------------------------------ conformance

static void test_cpu_equals_reference(void **state)
{
    (void)state;
    op_runner reference = open_named("cpuref", 1), one = open_named("cpu", 1), two = open_named("cpu", 2);
    op_runner *subjects[2 + CPU_MAX_KERNELS] = {&one, &two}, others[CPU_MAX_KERNELS];
    const cpu_kernels *tables[CPU_MAX_KERNELS];
    size_t n_others = cpu_kernels_list(tables) - 1; // the best table is that of the first two
    for (size_t t = 0; t < n_others; t++) {
        others[t] = open_named("cpu", 2);
        others[t].device->kernels = tables[t];
        snprintf(others[t].facts.name, sizeof others[t].facts.name, "cpu (%s)", tables[t]->name);
        subjects[2 + t] = &others[t];
    }
    size_t n, n_run = 0, n_failed = 0, n_skipped = 0;
    op_case *cases = list_cases(&n);
    for (size_t i = 0; i < n; i++) {
        op_outcome outcome;
        tern_error err = {0};
        if (cases[i].level > LEVEL_TEST || !op_has_defined_bits(cases[i].kind)) continue;
        n_run++;
        assert_int_equal(op_case_run(&cases[i], &reference, subjects, 2 + n_others, &outcome, &err), TERN_OK);
        if (outcome.verdict == VERDICT_PASSED) continue;
        n_failed += outcome.verdict == VERDICT_FAILED;
        n_skipped += outcome.verdict == VERDICT_SKIPPED;
        print_message("%s: %s: %s\n", selftest_verdict_name(outcome.verdict), cases[i].name, outcome.text);
    }
    free(cases);
    op_runner_close(&reference);
    op_runner_close(&one);
    op_runner_close(&two);
    for (size_t t = 0; t < n_others; t++) op_runner_close(&others[t]);
    print_message("%zu cases, %zu failed, %zu skipped\n", n_run, n_failed, n_skipped);
    assert_true(n_run > 600);
    assert_int_equal(n_failed, 0);
    assert_int_equal(n_skipped, 0); // the CPU has every op at every shape of the list
}

// ------------------------------------------------------------------------------------------------ sabotage

typedef enum sabotage {
    SABOTAGE_NONE,
    SABOTAGE_SKIP_OP,
    SABOTAGE_FLIP_FIRST_BIT,
    SABOTAGE_FLIP_LAST_BIT,
    SABOTAGE_WRITE_PAST_END,
    SABOTAGE_WRITE_BEFORE_START,
    SABOTAGE_WRITE_IN_GAP,
    SABOTAGE_DROP_LAST_ROW,
    SABOTAGE_IGNORE_K_TAIL,
    SABOTAGE_CHANGE_INPUT,
    SABOTAGE_HIDE_FLAG,
    SABOTAGE_WRONG_PLACE,
    SABOTAGE_RAISE_FLAG,
    SABOTAGE_LOSE_WEIGHT_ROW,
    SABOTAGE_FLIP_WEIGHT_BIT,
    SABOTAGE_FAIL,
    SABOTAGE_REFUSE
} sabotage;

static sabotage active;

// The rows an op writes and the first input it reads, for the kinds the sabotage cases use.
typedef struct op_ends {
    view output, input;
    size_t width, stride; // bytes
} op_ends;

static op_ends ends_of(const op *o)
{
    switch (o->kind) {
    case OP_TERNARY_MM: {
        weights_desc shape;
        cpu_backend.weights_shape(o->ternary_mm.w, &shape);
        uint32_t width = epilogue_gates(o->ternary_mm.epilogue) ? shape.n_rows / 2 : shape.n_rows;
        return (op_ends){o->ternary_mm.y, o->ternary_mm.x.codes, 4u * width, 4u * o->ternary_mm.ld_y};
    }
    case OP_NORM_QUANT:
        return (op_ends){o->norm_quant.y.codes, o->norm_quant.x, o->norm_quant.y.ld, o->norm_quant.y.ld};
    case OP_ROPE_KV: {
        size_t width = 4u * (o->rope_kv.n_heads + 2 * o->rope_kv.cache.n_kv_heads) * o->rope_kv.cache.head_dim;
        return (op_ends){o->rope_kv.x, o->rope_kv.rope, width, 4u * o->rope_kv.ld_x};
    }
    case OP_ATTENTION: {
        size_t width = 4u * o->attention.n_heads * o->attention.cache.head_dim;
        return (op_ends){o->attention.y, o->attention.q, width, 4u * o->attention.ld_y};
    }
    case OP_RESIDUAL: return (op_ends){o->residual.h, o->residual.y, 4u * o->residual.n, 4u * o->residual.ld_h};
    default: fail_msg("op %s has no place among the sabotage cases", op_kind_name(o->kind)); return (op_ends){0};
    }
}

static void flip(view at, ptrdiff_t offset)
{
    at.offset = (size_t)((ptrdiff_t)at.offset + offset);
    *(uint8_t *)cpu_at(at) ^= 1;
}

// The product without the last column: as if a kernel stopped before the tail.
static tern_status enqueue_without_tail(stream *s, const op *o, tern_error *err)
{
    const op_ternary_mm *a = &o->ternary_mm;
    weights_desc shape;
    cpu_backend.weights_shape(a->w, &shape);
    int8_t *codes = cpu_at(a->x.codes), *saved = malloc(o->m);
    int32_t *sum = cpu_at(a->x.sum);
    assert_non_null(saved);
    for (uint32_t m = 0; m < o->m; m++) {
        int8_t *last = codes + (size_t)m * a->x.ld + shape.n_cols - 1;
        saved[m] = *last;
        sum[m] -= *last;
        *last = 0;
    }
    tern_status status = cpu_backend.enqueue(s, o, err);
    for (uint32_t m = 0; m < o->m; m++) {
        codes[(size_t)m * a->x.ld + shape.n_cols - 1] = saved[m];
        sum[m] += saved[m];
    }
    free(saved);
    return status;
}

static tern_status sabotaged_enqueue(stream *s, const op *o, tern_error *err)
{
    op_ends ends = ends_of(o);
    ptrdiff_t end = (ptrdiff_t)((o->m - 1) * ends.stride + ends.width);
    uint32_t *flag = cpu_at(o->flag);
    op part = *o;
    if (active == SABOTAGE_SKIP_OP) return TERN_OK;
    if (active == SABOTAGE_FAIL) return TERN_KERNEL_LAUNCH;
    if (active == SABOTAGE_DROP_LAST_ROW) part.m--;
    if (active == SABOTAGE_WRONG_PLACE) part.place++;
    tern_status status = active == SABOTAGE_IGNORE_K_TAIL ? enqueue_without_tail(s, o, err)
                                                          : cpu_backend.enqueue(s, &part, err);
    if (active == SABOTAGE_FLIP_FIRST_BIT) flip(ends.output, 0);
    if (active == SABOTAGE_FLIP_LAST_BIT) flip(ends.output, end - 1);
    if (active == SABOTAGE_WRITE_PAST_END) flip(ends.output, end);
    if (active == SABOTAGE_WRITE_BEFORE_START) flip(ends.output, -1);
    if (active == SABOTAGE_WRITE_IN_GAP) flip(ends.output, (ptrdiff_t)ends.width);
    if (active == SABOTAGE_CHANGE_INPUT) flip(ends.input, 0);
    if (active == SABOTAGE_HIDE_FLAG) *flag = UINT32_MAX;
    if (active == SABOTAGE_RAISE_FLAG) *flag = 0;
    return status;
}

static bool sabotaged_supports(device *d, const op *o, const char **reason)
{
    if (active != SABOTAGE_REFUSE) return cpu_backend.supports(d, o, reason);
    *reason = "not today";
    return false;
}

static tern_status sabotaged_upload(weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err)
{
    weights_desc shape;
    cpu_backend.weights_shape(w, &shape);
    if (active == SABOTAGE_LOSE_WEIGHT_ROW && first + count == shape.n_rows) count--;
    if (active != SABOTAGE_FLIP_WEIGHT_BIT || first > 0)
        return cpu_backend.weights_upload_rows(w, first, count, rows, err);
    size_t n_bytes = count * ternary_row_bytes(shape.n_cols);
    uint8_t *copy = malloc(n_bytes);
    assert_non_null(copy);
    memcpy(copy, rows, n_bytes);
    copy[0] = (uint8_t)((copy[0] & 0xfc) | ((copy[0] & 3) == 0 ? 1 : 0)); // another trit
    tern_status status = cpu_backend.weights_upload_rows(w, first, count, copy, err);
    free(copy);
    return status;
}

// A case on a changed CPU backend, against the reference.
static op_outcome run_on(const backend *changed, const op_case *c)
{
    device_ref ref;
    op_runner reference = open_named("cpuref", 1), subject = {0};
    op_runner *const subjects[] = {&subject};
    op_outcome outcome;
    tern_error err = {0};
    assert_int_equal(registry_find(cpu_only, "cpuref", &ref, &err), TERN_OK);
    assert_int_equal(op_runner_open(changed, ref.index, 1, &subject, &err), TERN_OK);
    assert_int_equal(op_case_run(c, &reference, subjects, 1, &outcome, &err), TERN_OK);
    op_runner_close(&subject);
    op_runner_close(&reference);
    return outcome;
}

static void check_sabotage(sabotage what, const char *case_text, op_verdict expected, const char *expected_text)
{
    backend broken = cpu_backend;
    broken.enqueue = sabotaged_enqueue;
    broken.supports = sabotaged_supports;
    broken.weights_upload_rows = sabotaged_upload;
    op_case c = find_case(case_text);
    active = what;
    op_outcome outcome = run_on(&broken, &c);
    if (outcome.verdict != expected || strstr(outcome.text, expected_text) == NULL)
        fail_msg("sabotage %d on %s: %s \"%s\", expected %s with \"%s\"", (int)what, c.name,
                 selftest_verdict_name(outcome.verdict), outcome.text, selftest_verdict_name(expected), expected_text);
}

static void test_sabotage_is_noticed(void **state)
{
    (void)state;
    static const char *const cases[] = {"ternary_mm M=3 N=53 K=712 ranges g128 2-term", "norm_quant M=3 N=65",
                                        "rope_kv M=9", "attention M=6 H=4/2 D=64", "residual M=3 N=65"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool is_norm_quant = strncmp(cases[i], "norm_quant", 10) == 0;
        check_sabotage(SABOTAGE_NONE, cases[i], VERDICT_PASSED, "");
        check_sabotage(SABOTAGE_SKIP_OP, cases[i], VERDICT_FAILED, "elements differ");
        check_sabotage(SABOTAGE_FLIP_FIRST_BIT, cases[i], VERDICT_FAILED, is_norm_quant ? "codes[0][0]" : "[0][0]");
        check_sabotage(SABOTAGE_FLIP_LAST_BIT, cases[i], VERDICT_FAILED, "1 of ");
        check_sabotage(SABOTAGE_WRITE_PAST_END, cases[i], VERDICT_FAILED, "wrote 1 bytes past the end");
        check_sabotage(SABOTAGE_WRITE_BEFORE_START, cases[i], VERDICT_FAILED, "wrote 1 bytes before the start");
        check_sabotage(SABOTAGE_DROP_LAST_ROW, cases[i], VERDICT_FAILED, "elements differ");
        check_sabotage(SABOTAGE_CHANGE_INPUT, cases[i], VERDICT_FAILED, "changed input");
        check_sabotage(SABOTAGE_RAISE_FLAG, cases[i], VERDICT_FAILED, "flag word");
        check_sabotage(SABOTAGE_FAIL, cases[i], VERDICT_FAILED, "");
        check_sabotage(SABOTAGE_REFUSE, cases[i], VERDICT_SKIPPED, "not today");
    }
    check_sabotage(SABOTAGE_WRITE_IN_GAP, cases[0], VERDICT_FAILED, "wrote between rows");
    check_sabotage(SABOTAGE_LOSE_WEIGHT_ROW, cases[0], VERDICT_FAILED, "came back changed");
    check_sabotage(SABOTAGE_FLIP_WEIGHT_BIT, cases[0], VERDICT_FAILED, "came back changed");
    check_sabotage(SABOTAGE_IGNORE_K_TAIL, "ternary_mm M=2 N=21 K=65 ", VERDICT_FAILED, "elements differ");
    check_sabotage(SABOTAGE_IGNORE_K_TAIL, "ternary_mm M=1 N=2560 K=6912 ", VERDICT_FAILED, "elements differ");
    check_sabotage(SABOTAGE_HIDE_FLAG, "norm_quant M=1 N=70 nan", VERDICT_FAILED, "flag word");
    check_sabotage(SABOTAGE_WRONG_PLACE, "norm_quant M=1 N=70 inf", VERDICT_FAILED, "flag word");
}

// ------------------------------------------------------------------------------------------------ tolerances

// Attention that passes for fast attention, with one element moved by a share of what it may be off.
static struct {
    const op_data *data;
    uint32_t row, column;
    double share; // NaN: the element becomes NaN
} move;

static bool fast_supports(device *d, const op *o, const char **reason)
{
    (void)d, (void)o, (void)reason;
    return true;
}

static tern_status fast_enqueue(stream *s, const op *o, tern_error *err)
{
    double tolerances[1024];
    op exact = *o;
    exact.kind = OP_ATTENTION;
    tern_status status = cpu_backend.enqueue(s, &exact, err);
    float *y = (float *)cpu_at(o->attention.y) + (size_t)move.row * o->attention.ld_y + move.column;
    assert_true(o->attention.n_heads * o->attention.cache.head_dim <= 1024);
    op_data_tolerances(move.data, move.row, tolerances);
    if (tolerances[move.column] > 0)
        *y += (float)(move.share * tolerances[move.column]);
    else if (move.share > 0)
        flip(o->attention.y, (ptrdiff_t)(4 * ((size_t)move.row * o->attention.ld_y + move.column)));
    return status;
}

static op_outcome run_moved(const char *case_text, uint32_t row, uint32_t column, double share)
{
    backend fast = cpu_backend;
    fast.enqueue = fast_enqueue;
    fast.supports = fast_supports;
    op_data *data = NULL;
    tern_error err = {0};
    op_case c = find_case(case_text);
    assert_int_equal(op_data_create(&c, &data, &err), TERN_OK);
    move.data = data;
    move.row = row;
    move.column = column;
    move.share = share;
    op_outcome outcome = run_on(&fast, &c);
    op_data_free(data);
    return outcome;
}

static void check_moved(const char *case_text, uint32_t row, uint32_t column)
{
    op_outcome outcome = run_moved(case_text, row, column, 0);
    assert_int_equal(outcome.verdict, VERDICT_PASSED);
    assert_true(outcome.error_share >= 0 && outcome.error_share <= 0); // it is attention
    outcome = run_moved(case_text, row, column, 0.9);
    assert_int_equal(outcome.verdict, VERDICT_PASSED);
    assert_true(outcome.error_share > 0.89 && outcome.error_share < 0.91);
    static const double beyond[] = {1.1, -1.1, 1000, NAN};
    for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
        outcome = run_moved(case_text, row, column, beyond[i]);
        assert_int_equal(outcome.verdict, VERDICT_FAILED);
        assert_non_null(strstr(outcome.text, "1 of "));
    }
}

// What fast attention may be off is what ops.h says, computed from the operands, and nothing outside windows.
static void test_tolerances(void **state)
{
    (void)state;
    check_moved("fast_attention M=16 H=4/1 D=104 k=f16 v=f16 prefill+63", 0, 0);
    check_moved("fast_attention M=16 H=4/1 D=104 k=f16 v=f16 prefill+63", 15, 4 * 104 - 1);
    check_moved("fast_attention M=24 H=5/1 D=128 k=f16 v=f16 prompts+120", 17, 300); // a window of 8 rows
    // The first window holds rows of two prompts, the rows of a batch of decoding have tables of their own, and 7 rows
    // are no window: any other bit is wrong.
    assert_int_equal(run_moved("fast_attention M=24 H=5/1 D=128 k=f16 v=f16 prompts+120", 3, 5, 1).verdict,
                     VERDICT_FAILED);
    assert_int_equal(run_moved("fast_attention M=40 H=4/2 D=64 k=f16 v=f16 decode", 20, 5, 1).verdict, VERDICT_FAILED);
    assert_int_equal(run_moved("fast_attention M=7 H=4/1 D=64", 2, 5, 1).verdict, VERDICT_FAILED);

    // One position is seen: y is its v, whatever q is, and A = scale * sum |q_d k_d|.
    op_case c = find_case("fast_attention M=8 H=5/1 D=104 k=f16 v=f16 prompts+0");
    c.rows = ROWS_PREFILL;
    op_data *data = NULL;
    tern_error err = {0};
    double tolerances[1024], a = 0;
    assert_int_equal(op_data_create(&c, &data, &err), TERN_OK);
    op_data_tolerances(data, 0, tolerances);
    const float *q = (const float *)(const void *)data->regions[0].before;
    const uint16_t *cache = NULL;
    const int32_t *tables = NULL;
    for (size_t i = 0; i < data->n_regions; i++) {
        if (strcmp(data->regions[i].name, "cache") == 0)
            cache = (const uint16_t *)(const void *)data->regions[i].before;
        if (strcmp(data->regions[i].name, "tables") == 0)
            tables = (const int32_t *)(const void *)data->regions[i].before;
    }
    assert_string_equal(data->regions[0].name, "q");
    const uint16_t *k = cache + (size_t)tables[0] * 64 * 2 * 104, *v = k + 64 * 104;
    for (int d = 0; d < 104; d++) a += fabs((double)q[d] * (double)half_to_float(k[64 * d])) / sqrt(104);
    for (int d = 0; d < 104; d++) {
        double expected = 0x1p-10 * (1 + a) * fabs((double)half_to_float(v[d]));
        assert_true(tolerances[d] > expected * 0.999999 && tolerances[d] < expected * 1.000001);
    }
    op_data_free(data);
}

// ------------------------------------------------------------------------------------------------ self-test and timing

typedef struct tally {
    size_t n, stop_after;
} tally;

static bool count_case(void *user, const op_case *c, const op_outcome *outcome)
{
    tally *t = user;
    assert_non_null(strstr(c->name, "head_norm"));
    assert_int_equal(outcome->verdict, VERDICT_PASSED);
    return ++t->n != t->stop_after;
}

static void test_selftest_counts_and_stops(void **state)
{
    (void)state;
    selftest_options options = {.level = LEVEL_QUICK, .filter = "head_norm", .n_threads = 2};
    selftest_result result = {0};
    tally t = {0};
    tern_error err = {0};
    assert_int_equal(selftest_run(cpu_only, "auto", &options, count_case, &t, &result, &err), TERN_OK);
    assert_string_equal(result.device, "cpu");
    assert_true(t.n >= 20);
    assert_int_equal(result.passed, t.n);
    assert_int_equal(result.failed + result.skipped, 0);

    char line[128], *json = NULL;
    selftest_summary(&result, line, sizeof line);
    assert_non_null(strstr(line, " passed, 0 failed, 0 skipped in "));
    assert_int_equal(selftest_json(&result, &json, &err), TERN_OK);
    assert_non_null(strstr(json, "\"failed\":0"));
    free(json);

    t = (tally){.stop_after = 3};
    assert_int_equal(selftest_run(cpu_only, "cpu", &options, count_case, &t, &result, &err), TERN_CANCELLED);
    assert_int_equal(result.passed, 3);
    err = (tern_error){0};
    options.filter = "no such case";
    assert_int_equal(selftest_run(cpu_only, "cpu", &options, NULL, NULL, &result, &err), TERN_NOT_FOUND);
    err = (tern_error){0};
    assert_int_equal(selftest_run(cpu_only, "cuda7", &options, NULL, NULL, &result, &err), TERN_NO_DEVICE);
}

static void test_timing_rotates_weights(void **state)
{
    (void)state;
    op_runner cpu = open_named("cpu", 2);
    op_timing timing = {0};
    tern_error err = {0};
    op_case c = find_case("ternary_mm M=1 N=2560 K=2560 tensor 1-term");
    assert_int_equal(op_time(&cpu, &c, 1, 5, &timing, &err), TERN_OK);
    assert_int_equal(timing.n_samples, 5);
    assert_true(timing.bytes_weights >= 2560u * 2560u / 4u);
    assert_true(timing.n_copies * timing.bytes_weights > 64u << 20);
    assert_true(timing.bytes_moved >= timing.bytes_weights + 2560u + 4u * 2560u);
    assert_int_equal(timing.n_macs, 2560u * 2560u);
    for (size_t i = 0; i < timing.n_samples; i++) assert_true(timing.samples_ns[i] > 0);
    op_timing_free(&timing);

    c = find_case("residual M=3 N=65");
    assert_int_equal(op_time(&cpu, &c, 0, 2, &timing, &err), TERN_OK);
    assert_int_equal(timing.n_copies, 0);
    assert_int_equal(timing.bytes_moved, 4u + 4u + 3u * 3u * 65u * 4u); // h twice, y once, the flag word twice
    op_timing_free(&timing);
    assert_int_equal(op_time(&cpu, &c, 0, 0, &timing, &err), TERN_INVALID_ARGUMENT);
    op_runner_close(&cpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_is_sound),
        cmocka_unit_test(test_rows_are_placed_as_the_cases_say),
        cmocka_unit_test(test_sabotage_is_noticed),
        cmocka_unit_test(test_tolerances),
        cmocka_unit_test(test_selftest_counts_and_stops),
        cmocka_unit_test(test_timing_rotates_weights),
        cmocka_unit_test(test_cpu_equals_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
