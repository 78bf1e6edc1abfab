// Claims and verdicts: the data file, the arithmetic of intervals and thresholds, and that no speed is valid without a
// self-test that passed.
#include <math.h>

#include "claims.h"
#include "scratch.h"
#include "verify_run.h"

static const claim_part at_least_2 = {.label = "p", .measure = "m", .unit = "x", .threshold = 2};
static const claim_part at_most_2 = {.label = "p", .measure = "m", .unit = "GB", .threshold = 2, .is_at_most = true};

static void test_parts(void **state)
{
    (void)state;
    assert_int_equal(claim_measured(&at_least_2, 2.5, 2.1, 2.9).verdict, CLAIM_CONFIRMED);
    assert_int_equal(claim_measured(&at_least_2, 2.5, 2.0, 3.0).verdict, CLAIM_CONFIRMED);
    assert_int_equal(claim_measured(&at_least_2, 2.5, 1.9, 3.1).verdict, CLAIM_NOT_DECIDED);
    assert_int_equal(claim_measured(&at_least_2, 1.9, 1.5, 2.3).verdict, CLAIM_NOT_DECIDED);
    assert_int_equal(claim_measured(&at_least_2, 1.5, 1.1, 1.9).verdict, CLAIM_REFUTED);
    assert_int_equal(claim_measured(&at_most_2, 1.5, 1.1, 1.9).verdict, CLAIM_CONFIRMED);
    assert_int_equal(claim_measured(&at_most_2, 2.5, 1.9, 3.1).verdict, CLAIM_NOT_DECIDED);
    assert_int_equal(claim_measured(&at_most_2, 2.5, 2.1, 2.9).verdict, CLAIM_REFUTED);
    assert_int_equal(claim_measured(&at_least_2, NAN, NAN, NAN).verdict, CLAIM_NOT_DECIDED);
    assert_int_equal(claim_measured(&at_least_2, 3, 0, INFINITY).verdict, CLAIM_NOT_DECIDED); // a single sample

    claim_outcome computed = claim_computed(&at_least_2, 2);
    assert_int_equal(computed.verdict, CLAIM_CONFIRMED);
    assert_true(computed.is_computed && computed.has_value && computed.low == computed.high);
    assert_int_equal(claim_computed(&at_least_2, 2 * (1 - 1e-15)).verdict, CLAIM_CONFIRMED); // rounding
    assert_int_equal(claim_computed(&at_least_2, 1.999).verdict, CLAIM_REFUTED);
    assert_int_equal(claim_untestable("no %s", "sensor").verdict, CLAIM_NOT_TESTABLE);
    assert_string_equal(claim_untestable("no %s", "sensor").detail, "no sensor");
    assert_false(claim_invalid("broken").has_value);
}

static verdict of(size_t n, const verdict *parts)
{
    claim_outcome outcomes[4] = {0};
    for (size_t i = 0; i < n; i++) outcomes[i].verdict = parts[i];
    return claim_verdict(outcomes, n);
}

static void test_claims(void **state)
{
    (void)state;
    const verdict c = CLAIM_CONFIRMED, r = CLAIM_REFUTED, d = CLAIM_NOT_DECIDED, t = CLAIM_NOT_TESTABLE,
                  x = CLAIM_INVALID;
    assert_int_equal(of(2, (verdict[]){c, c}), CLAIM_CONFIRMED);
    assert_int_equal(of(2, (verdict[]){c, t}), CLAIM_CONFIRMED_IN_PART);
    assert_int_equal(of(2, (verdict[]){c, x}), CLAIM_CONFIRMED_IN_PART);
    assert_int_equal(of(4, (verdict[]){c, d, r, t}), CLAIM_REFUTED);
    assert_int_equal(of(3, (verdict[]){c, d, t}), CLAIM_NOT_DECIDED);
    assert_int_equal(of(2, (verdict[]){t, t}), CLAIM_NOT_TESTABLE);
    assert_int_equal(of(2, (verdict[]){t, x}), CLAIM_INVALID);
    assert_string_equal(claim_verdict_name(CLAIM_NOT_DECIDED), "not decided");
}

// Pairs that are made up: ratios 2, 2, 2 leave no doubt; 1, 2, 4 leave much; order within a pair decides the sign.
static void test_ratio(void **state)
{
    (void)state;
    const double a[3] = {2, 4, 8}, b[3] = {1, 2, 4}, c[3] = {2, 2, 2};
    claim_ratio r = claim_ratio_of(a, b, 3);
    assert_true(fabs(r.value - 2) < 1e-12 && fabs(r.low - 2) < 1e-12 && fabs(r.high - 2) < 1e-12);
    assert_true(fabs(claim_ratio_of(b, a, 3).value - 0.5) < 1e-12);
    r = claim_ratio_of(a, c, 3); // ln of 1, 2, 4: mean ln 2, sd ln 2, t(2) = 4.3027
    double half = 4.3027 * log(2) / sqrt(3);
    assert_true(fabs(r.value - 2) < 1e-12);
    assert_true(fabs(log(r.low) - (log(2) - half)) < 1e-3 && fabs(log(r.high) - (log(2) + half)) < 1e-3);
    r = claim_ratio_of(a, b, 1);
    assert_true(r.value == 2 && r.low == 0 && isinf(r.high));
}

// The claims of the program: every id that the documentation lists, each with parts and thresholds.
static void test_data(void **state)
{
    (void)state;
    static const char *const ids[] = {"mem-7b",       "mem-scale",  "mem-paper", "lat-24",        "lat-paper",
                                      "thr-27",       "thr-70b",    "energy-94", "energy-714",    "fit-70b",
                                      "fit-7b-phone", "ppl",        "tasks",     "quality-scale", "cpu-tok",
                                      "cpu-ratio",    "cpu-energy", "lossless",  "train-24",      "convert"};
    claims c = {0};
    tern_error err = {0};
    assert_ok(claims_load((const char *)claims_json, &c, &err), &err);
    for (size_t k = 0; k < sizeof ids / sizeof *ids; k++) {
        size_t n = 0;
        for (size_t i = 0; i < c.n; i++) n += strcmp(c.items[i].id, ids[k]) == 0;
        if (n != 1) fail_msg("%s: %zu claims", ids[k], n);
    }
    assert_true(fabs(claims_picojoules(&c, "7", "int8_add") - 0.007) < 1e-12);
    assert_true(isnan(claims_picojoules(&c, "5", "int8_add")));
    assert_true(strlen(claims_text(&c, "energy", "source")) > 20);
    claims_free(&c);

    static const struct {
        const char *text, *says;
    } broken[] = {
        {"{", "line 1"},
        {"{\"version\":2,\"claims\":[]}", "version 2"},
        {"{\"version\":1,\"claims\":[]}", "no claims"},
        {"{\"version\":1,\"claims\":[{\"id\":\"a\"}]}", "claim 1 (a): \"source\" is missing"},
        {"{\"version\":1,\"claims\":[{\"id\":\"a\",\"source\":\"O\",\"topic\":\"t\",\"statement\":\"s\",\"how\":\"h\","
         "\"parts\":[{\"label\":\"l\",\"measure\":\"m\",\"unit\":\"x\"}]}]}",
         "needs one threshold"},
        {"{\"version\":1,\"claims\":[{\"id\":\"a\",\"source\":\"O\",\"topic\":\"t\",\"statement\":\"s\",\"how\":\"h\","
         "\"parts\":[{\"label\":\"l\",\"measure\":\"untestable\"}]}]}",
         "gives no reason"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        memset(&err, 0, sizeof err);
        assert_int_equal(claims_load(broken[i].text, &c, &err), TERN_MALFORMED);
        if (strstr(err.message, broken[i].says) == NULL) fail_msg("case %zu: %s", i, err.message);
    }
}

// Rows of made-up samples on a device whose self-test passed or failed.
static verdict judged(tern_engine *engine, size_t n_failed, bool is_valid_row, const char *measure, double *value)
{
    static uint64_t ternary_ns[3] = {100, 101, 99}, fp16_ns[3] = {300, 303, 297};
    verify_options options = {.engine = engine, .devices = {"cpu"}, .n_devices = 1, .is_quick = true};
    verify v = {.options = &options};
    claim_part part = {.label = "p", .measure = measure, .unit = "x", .shape = "tiny", .threshold = 2, .n_ctx = 64};
    claim item = {.id = "a", .parts = &part, .n_parts = 1};
    v.claims = (claims){.items = &item, .n = 1};
    snprintf(v.devices[0].info.name, sizeof v.devices[0].info.name, "cpu");
    snprintf(v.devices[0].info.backend, sizeof v.devices[0].info.backend, "cpu");
    v.devices[0].selftest = (selftest_result){.passed = 10, .failed = n_failed};
    verify_row rows[2] = {{.shape = "tiny"}, {.shape = "tiny", .is_twin = true}};
    for (int i = 0; i < 2; i++) {
        bench_row *row = &rows[i].row;
        *row = (bench_row){.test = verify_decode_test(&v, 0, 0), .n_seq = 1, .n_samples = 3, .is_valid = is_valid_row};
        row->samples_ns = i ? fp16_ns : ternary_ns;
        snprintf(row->reason, sizeof row->reason, "made up");
    }
    v.rows = rows;
    v.n_rows = 2;
    tern_error err = {0};
    assert_ok(verify_judge(&v, &err), &err);
    claim_outcome outcome = *verify_outcomes(&v, 0, 0);
    free(v.outcomes);
    *value = outcome.value;
    return outcome.verdict;
}

static void test_selftest_decides(void **state)
{
    (void)state;
    double value;
    tern_engine_options options;
    tern_engine *engine = NULL;
    tern_engine_options_init(&options);
    assert_int_equal(tern_engine_open(&options, &engine, NULL), TERN_OK);
    assert_int_equal(judged(engine, 0, true, "latency_ratio", &value), CLAIM_CONFIRMED);
    assert_true(fabs(value - 3) < 1e-9);
    assert_int_equal(judged(engine, 1, true, "latency_ratio", &value), CLAIM_INVALID);
    assert_int_equal(judged(engine, 0, false, "latency_ratio", &value), CLAIM_INVALID);
    assert_int_equal(judged(engine, 0, true, "throughput_ratio", &value), CLAIM_NOT_TESTABLE); // no such rows
    assert_int_equal(judged(engine, 1, true, "memory_ratio", &value), CLAIM_REFUTED); // computed: needs no device
    assert_int_equal(judged(engine, 0, true, "no_such_measure", &value), CLAIM_NOT_TESTABLE);
    tern_engine_close(engine);
}

// Plans that claims compare hold everything on the device, also what is larger than any card.
static void test_plans(void **state)
{
    (void)state;
    tern_engine_options options;
    tern_engine *engine = NULL;
    tern_error err = {0};
    tern_engine_options_init(&options);
    assert_int_equal(tern_engine_open(&options, &engine, NULL), TERN_OK);
    verify_options o = {.engine = engine};
    verify v = {.options = &o};
    uint64_t fp16, ternary;
    assert_ok(verify_plan_bytes(&v, "100b", TERN_WEIGHTS_F16, 512, 1, "f16", NULL, &fp16, &err), &err);
    assert_ok(verify_plan_bytes(&v, "100b", TERN_WEIGHTS_STORED, 512, 1, "f16", NULL, &ternary, &err), &err);
    assert_in_range(fp16, 195000000000, 215000000000);
    assert_in_range(ternary, 20000000000, 32000000000);
    uint32_t n_fp16, n_ternary;
    assert_ok(verify_largest_batch(&v, "70b", TERN_WEIGHTS_F16, 512, 160000000000, 4096, &n_fp16, &err), &err);
    assert_ok(verify_largest_batch(&v, "70b", TERN_WEIGHTS_STORED, 512, 160000000000, 4096, &n_ternary, &err), &err);
    assert_true(n_fp16 > 10 && n_ternary > 5 * n_fp16);
    assert_ok(verify_largest_batch(&v, "70b", TERN_WEIGHTS_F16, 512, 100000000000, 4096, &n_fp16, &err), &err);
    assert_int_equal(n_fp16, 0);
    tern_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts), cmocka_unit_test(test_claims),           cmocka_unit_test(test_ratio),
        cmocka_unit_test(test_data),  cmocka_unit_test(test_selftest_decides), cmocka_unit_test(test_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
