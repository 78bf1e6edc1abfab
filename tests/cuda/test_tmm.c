// Ternary products on CUDA, executed by the shim: every case of the op list with every kernel that can take it, once
// with whole items and once with items shared between blocks, bit for bit against the reference. The choice of kernels
// that a device makes is tested with all ops in test_cuda_conformance.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "op_run.h"
#include "tmm.h"

// Checked code takes ten times as long: small cases, and of those every other one.
#if defined(__SANITIZE_ADDRESS__)
#define MAX_MACS (1u << 17)
#define STRIDE   2u
#else
#define MAX_MACS (1u << 20)
#define STRIDE   1u
#endif
#define MAX_M 65

extern const backend cpu_backend; // its header has its own structs of the same names

static const char *const kernel_names[TMM_N_KERNELS] = {"stream mma", "stream dp4a", "block 8", "block 32", "block 64",
                                                        "block 128",  "wgmma",       "groups",  "ragged"};

typedef enum sabotage {
    SABOTAGE_NONE,
    SABOTAGE_STALE_COUNTER,
    SABOTAGE_SHORT_ROWS,
    SABOTAGE_OTHER_EPILOGUE,
    SABOTAGE_LOSE_ROW,
    SABOTAGE_N
} sabotage;

static tmm_kernel forced_kernel;
static tmm_tuning forced_tuning;
static sabotage active;

static tern_status enqueue_forced(stream *s, const op *o, tern_error *err)
{
    op broken = *o;
    weights w = *o->ternary_mm.w;
    broken.ternary_mm.w = &w;
    if (active == SABOTAGE_STALE_COUNTER) s->device->counters[0] = 1; // as if a kernel had not reset its own
    if (active == SABOTAGE_SHORT_ROWS) w.n_cols -= TERNARY_GRANULE;
    if (active == SABOTAGE_OTHER_EPILOGUE) broken.ternary_mm.epilogue = (mm_epilogue)(o->ternary_mm.epilogue ^ 1);
    if (active == SABOTAGE_LOSE_ROW) w.n_rows -= epilogue_gates(o->ternary_mm.epilogue) ? 2 * GATED_TURN : 1;
    tern_status status = cuda_stream_follow_uploads(s, err);
    return status == TERN_OK ? tmm_enqueue(s, &broken, forced_kernel, &forced_tuning, err) : status;
}

static bool takes(tmm_kernel kernel, const op_case *c)
{
    bool has_groups = c->group != 0 && c->group < c->k;
    if (kernel == TMM_GROUPS) return has_groups && c->group % TERNARY_GRANULE == 0;
    if (kernel == TMM_RAGGED) return has_groups;
    if (kernel == TMM_BLOCK_WGMMA && c->layout != TERNARY_T64) return false;
    return !has_groups && (kernel != TMM_STREAM_MMA || c->m * c->n_terms <= 8);
}

// Sharing where it can be, or nowhere.
static tmm_tuning tuning_for(int capability, bool is_shared)
{
    tmm_tuning t = *tmm_tuning_for(capability);
    for (int i = 0; i < TMM_N_BLOCKS; i++) {
        t.block_step_ns[i] = 1000;
        t.block_blocks_per_sm[i] = 3; // 12 blocks: more than most items, so that they are cut
    }
    t.stream_step_ns = 1000;
    t.stream_blocks_per_sm = 3;
    t.combine_ns = is_shared ? 0 : 1000000000;
    return t;
}

static op_runner open_device(const backend *b, size_t index)
{
    op_runner runner = {0};
    tern_error err = {0};
    if (op_runner_open(b, index, 1, &runner, &err) != TERN_OK) fail_msg("%s", err.message);
    return runner;
}

static void run_kernel(tmm_kernel kernel, int capability, bool is_shared, size_t min_run)
{
    backend forced = cuda_backend;
    forced.enqueue = enqueue_forced;
    shim_set_capability(capability);
    op_runner reference = open_device(&cpu_backend, 1), subject = open_device(&forced, 0);
    op_runner *const subjects[] = {&subject};
    forced_kernel = kernel;
    forced_tuning = tuning_for(capability, is_shared);

    op_case *cases = NULL;
    size_t n = 0, n_run = 0, n_failed = 0;
    tern_error err = {0};
    assert_int_equal(op_cases_list(&cases, &n, &err), TERN_OK);
    uint64_t launches = shim_launches();
    for (size_t i = 0; i < n; i += STRIDE) {
        op_outcome outcome;
        if (cases[i].kind != OP_TERNARY_MM || cases[i].n_macs > MAX_MACS || cases[i].m > MAX_M ||
            !takes(kernel, &cases[i]))
            continue;
        assert_int_equal(op_case_run(&cases[i], &reference, subjects, 1, &outcome, &err), TERN_OK);
        n_run += outcome.verdict == VERDICT_PASSED;
        n_failed += outcome.verdict == VERDICT_FAILED;
        if (outcome.verdict == VERDICT_FAILED) print_message("FAILED: %s: %s\n", cases[i].name, outcome.text);
    }
    free(cases);
    launches = shim_launches() - launches;
    op_runner_close(&reference);
    op_runner_close(&subject);
    print_message("%s, sm_%d, %s: %zu cases\n", kernel_names[kernel], capability, is_shared ? "shared" : "whole",
                  n_run);
    assert_int_equal(n_failed, 0);
    assert_true(n_run >= min_run / STRIDE && launches >= n_run);
}

static void test_stream_mma(void **state)
{
    (void)state;
    run_kernel(TMM_STREAM_MMA, 80, false, 50);
    run_kernel(TMM_STREAM_MMA, 90, true, 50);
}

static void test_stream_dp4a(void **state)
{
    (void)state;
    run_kernel(TMM_STREAM_DP4A, 75, false, 100);
    run_kernel(TMM_STREAM_DP4A, 75, true, 100);
}

static void test_blocks(void **state)
{
    (void)state;
    for (tmm_kernel kernel = TMM_BLOCK_8; kernel <= TMM_BLOCK_128; kernel++) {
        run_kernel(kernel, 80, false, 100);
        run_kernel(kernel, 80, true, 100);
    }
}

static void test_groups(void **state)
{
    (void)state;
    run_kernel(TMM_GROUPS, 80, false, 30);
    run_kernel(TMM_RAGGED, 75, false, 30);
}

// One case of a shape that the list has no room for, on the kernel that takes it.
static void run_shape(tmm_kernel kernel, int capability, op_case c)
{
    backend forced = cuda_backend;
    forced.enqueue = enqueue_forced;
    shim_set_capability(capability);
    op_runner reference = open_device(&cpu_backend, 1), subject = open_device(&forced, 0);
    op_runner *const subjects[] = {&subject};
    op_outcome outcome;
    tern_error err = {0};
    forced_kernel = kernel;
    forced_tuning = tuning_for(capability, true);
    assert_int_equal(op_case_run(&c, &reference, subjects, 1, &outcome, &err), TERN_OK);
    if (outcome.verdict != VERDICT_PASSED) fail_msg("%s, N=%u K=%u: %s", kernel_names[kernel], c.n, c.k, outcome.text);
    op_runner_close(&reference);
    op_runner_close(&subject);
}

// The list above; and on both sides of the edges of its tiles of 128 rows, 128 columns, 256 columns of K (two panels of
// 128 bytes of a column).
static void test_wgmma(void **state)
{
    (void)state;
    run_kernel(TMM_BLOCK_WGMMA, 90, false, 60);
    run_kernel(TMM_BLOCK_WGMMA, 90, true, 60);
    static const struct {
        uint32_t m, n, k, n_terms;
    } shapes[] = {
        {64, 129, 127, 1}, {65, 127, 125, 1}, {128, 16, 511, 1}, {129, 15, 513, 1}, {257, 17, 192, 1}, {64, 1, 4100, 1},
        {64, 130, 59, 2},  {65, 31, 257, 2},  {129, 3, 1025, 2}, {257, 1, 70, 2},   {100, 257, 40, 1},
    };
    op_case c = {.kind = OP_TERNARY_MM, .is_ternary = true, .scale = SCALE_ROWS, .gap = 16};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        c.m = shapes[i].m, c.n = shapes[i].n, c.k = shapes[i].k, c.n_terms = shapes[i].n_terms;
        run_shape(TMM_BLOCK_WGMMA, 90, c);
    }
    // The largest sums.
    c = (op_case){.kind = OP_TERNARY_MM, .recipe = RECIPE_EXTREME, .is_ternary = true, .n_terms = 2};
    c.m = 1, c.n = 3, c.k = 70000;
    run_shape(TMM_BLOCK_WGMMA, 90, c);
}

// Rows wider than shared memory holds, also at the largest sums there can be: planes of dp4a next to 2^31.
static void test_wide_rows(void **state)
{
    (void)state;
    op_case c = {.kind = OP_TERNARY_MM, .recipe = RECIPE_EXTREME, .m = 1, .n = 3, .is_ternary = true, .n_terms = 1};
    c.k = 70000;
    run_shape(TMM_STREAM_DP4A, 75, c);
    run_shape(TMM_BLOCK_8, 80, c);
    c.n_terms = 2;
    run_shape(TMM_STREAM_DP4A, 75, c);
    c.n_terms = 1;
    c.k = TERNARY_MAX_COLUMNS;
    run_shape(TMM_STREAM_DP4A, 75, c);
    c.layout = TERNARY_T80;
    run_shape(TMM_STREAM_DP4A, 75, c);
    run_shape(TMM_BLOCK_8, 80, c);
    c.k = 70000;
    c.n_terms = 2;
    run_shape(TMM_STREAM_DP4A, 75, c);
    // Groups of columns that are not whole granules.
    c = (op_case){.kind = OP_TERNARY_MM, .m = 3, .n = 37, .k = 331, .is_ternary = true, .n_terms = 2};
    c.scale = SCALE_ROWS;
    c.group = 40;
    run_shape(TMM_RAGGED, 75, c);
}

// Kernels broken on purpose do not pass: each way on a kernel that shares items (so that counters matter).
static void check_sabotage(op_case c)
{
    static const tmm_kernel kernels[] = {TMM_STREAM_MMA, TMM_STREAM_DP4A, TMM_BLOCK_32};
    backend forced = cuda_backend;
    forced.enqueue = enqueue_forced;
    shim_set_capability(80);
    forced_tuning = tuning_for(80, true);
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++)
        for (active = SABOTAGE_NONE; active < SABOTAGE_N; active++) {
            op_runner reference = open_device(&cpu_backend, 1), subject = open_device(&forced, 0);
            op_runner *const subjects[] = {&subject};
            op_outcome outcome;
            tern_error err = {0};
            forced_kernel = kernels[i];
            assert_int_equal(op_case_run(&c, &reference, subjects, 1, &outcome, &err), TERN_OK);
            if (active == SABOTAGE_NONE) {
                assert_int_equal(outcome.verdict, VERDICT_PASSED);
            } else if (outcome.verdict != VERDICT_FAILED || strstr(outcome.text, "elements differ") == NULL) {
                fail_msg("sabotage %d of %s: %s", (int)active, kernel_names[kernels[i]], outcome.text);
            }
            op_runner_close(&reference);
            op_runner_close(&subject);
        }
    active = SABOTAGE_NONE;
}

static void test_sabotage_is_noticed(void **state)
{
    (void)state;
    op_case c = {.kind = OP_TERNARY_MM, .m = 3, .n = 37, .k = 1100, .is_ternary = true, .n_terms = 1};
    check_sabotage(c);
    c.n = 64;
    c.epilogue = EPILOGUE_RELU2;
    check_sabotage(c);
}

static void test_choice(void **state)
{
    (void)state;
    static const struct {
        int capability, shared;
        uint32_t n_columns, n_cols, group, n_groups;
        tmm_kernel expected;
    } products[] = {
        {75, 64 << 10, 1, 8192, 0, 1, TMM_STREAM_DP4A}, {75, 64 << 10, 512, 8192, 0, 1, TMM_STREAM_DP4A},
        {75, 64 << 10, 1, 8192, 128, 64, TMM_RAGGED},   {86, 99 << 10, 1, 28672, 0, 1, TMM_STREAM_MMA},
        {86, 99 << 10, 2, 28672, 0, 1, TMM_STREAM_MMA}, {86, 99 << 10, 8, 28672, 0, 1, TMM_BLOCK_8},
        {86, 99 << 10, 8, 8192, 0, 1, TMM_STREAM_MMA},  {90, 227 << 10, 7, 28672, 0, 1, TMM_STREAM_MMA},
        {80, 163 << 10, 9, 2560, 0, 1, TMM_BLOCK_32},   {80, 163 << 10, 33, 2560, 0, 1, TMM_BLOCK_64},
        {80, 163 << 10, 65, 2560, 0, 1, TMM_BLOCK_128}, {120, 99 << 10, 4096, 2560, 0, 1, TMM_BLOCK_128},
        {89, 99 << 10, 1, 4096, 128, 32, TMM_GROUPS},   {89, 99 << 10, 1, 4096, 96, 43, TMM_RAGGED},
        {90, 227 << 10, 1, 528416, 0, 1, TMM_BLOCK_8},  {90, 227 << 10, 2048, 2560, 0, 1, TMM_BLOCK_128},
    };
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) {
        device d = {.capability = products[i].capability, .shared_per_block = products[i].shared};
        weights w = {.n_cols = products[i].n_cols, .group = products[i].group, .n_groups = products[i].n_groups};
        const tmm_tuning *tuning = tmm_tuning_for(d.capability);
        assert_int_equal(tmm_choose(&d, tuning, &w, products[i].n_columns), products[i].expected);
    }
    // wgmma where a tuning asks for it, and only there.
    tmm_tuning tuning = *tmm_tuning_for(90);
    device hopper = {.capability = 90, .shared_per_block = 227 << 10}, other = {.capability = 100};
    weights w = {.n_cols = 2560, .n_groups = 1}, t80 = {.n_cols = 2560, .n_groups = 1, .layout = TERNARY_T80};
    tuning.wgmma_from = 64;
    assert_int_equal(tmm_choose(&hopper, &tuning, &w, 64), TMM_BLOCK_WGMMA);
    assert_int_equal(tmm_choose(&hopper, &tuning, &w, 63), TMM_BLOCK_64);
    assert_int_equal(tmm_choose(&hopper, &tuning, &t80, 512), TMM_BLOCK_128);
    assert_int_equal(tmm_choose(&other, &tuning, &w, 512), TMM_BLOCK_128);
    tuning.wgmma_from = 0;
    assert_int_equal(tmm_choose(&hopper, &tuning, &w, 512), TMM_BLOCK_128);
    static const int known[] = {75, 80, 86, 87, 89, 90, 100, 120, 121};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const tmm_tuning *t = tmm_tuning_for(known[i]);
        assert_true(t->capability <= known[i] && t->stream_step_ns > 0);
        for (int form = 0; form < TMM_N_BLOCKS - (t->capability != 90) && known[i] >= 80; form++)
            assert_true(t->block_step_ns[form] > 0 && t->block_blocks_per_sm[form] > 0);
    }
}

static void expect_refusal(tmm_kernel kernel, int capability, const op_case *c)
{
    backend forced = cuda_backend;
    forced.enqueue = enqueue_forced;
    shim_set_capability(capability);
    op_runner reference = open_device(&cpu_backend, 1), subject = open_device(&forced, 0);
    op_runner *const subjects[] = {&subject};
    op_outcome outcome;
    tern_error err = {0};
    forced_kernel = kernel;
    forced_tuning = tuning_for(capability, false);
    assert_int_equal(op_case_run(c, &reference, subjects, 1, &outcome, &err), TERN_OK);
    assert_int_equal(outcome.verdict, VERDICT_FAILED);
    assert_non_null(strstr(outcome.text, "does not take"));
    op_runner_close(&reference);
    op_runner_close(&subject);
    shim_set_capability(80);
}

// A product that a kernel cannot take is refused, not computed wrongly.
static void test_refusals(void **state)
{
    (void)state;
    op_case c = {.kind = OP_TERNARY_MM, .m = 9, .n = 37, .k = 331, .is_ternary = true, .n_terms = 1};
    for (tmm_kernel kernel = TMM_STREAM_MMA; kernel <= TMM_GROUPS; kernel++)
        if (kernel != TMM_STREAM_DP4A) expect_refusal(kernel, 75, &c);
    expect_refusal(TMM_BLOCK_WGMMA, 80, &c);
    expect_refusal(TMM_BLOCK_WGMMA, 100, &c);
    c.layout = TERNARY_T80;
    expect_refusal(TMM_BLOCK_WGMMA, 90, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_mma),
        cmocka_unit_test(test_stream_dp4a),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_wgmma),
        cmocka_unit_test(test_wide_rows),
        cmocka_unit_test(test_sabotage_is_noticed),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
