// Plans for cards that are not here, against the formulas they must follow.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tern.h"

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        tern_error err_ = {0};                                                                                         \
        tern_error *err = &err_;                                                                                       \
        if ((call) != TERN_OK) fail_msg("%s: %s", tern_status_name(err_.status), err_.message);                        \
    } while (0)

static tern_engine *engine;

static tern_model *open_shape(const char *name)
{
    tern_model *model = NULL;
    CHECK(tern_model_open(engine, name, NULL, &model, err));
    return model;
}

static tern_plan plan_for(const tern_model *model, const char *card, uint32_t n_ctx, tern_kv_type kv,
                          tern_weights weights)
{
    tern_plan_options options;
    tern_plan plan;
    tern_plan_options_init(&options);
    options.card = card;
    options.n_ctx = n_ctx;
    options.kv_k = options.kv_v = kv;
    options.weights = weights;
    options.n_streamed = 0;
    options.layout = TERN_LAYOUT_T64;
    options.is_estimate = true;
    CHECK(tern_plan_make(model, &options, &plan, err));
    return plan;
}

// Two bits a weight, in granules of 64 columns.
static uint64_t t64(uint64_t rows, uint64_t cols) { return rows * ((cols + 63) / 64) * 16; }

static void assert_within(uint64_t got, uint64_t expected, double share)
{
    double off = ((double)got - (double)expected) / (double)expected;
    if (off > share || off < -share)
        fail_msg("%llu bytes, expected %llu", (unsigned long long)got, (unsigned long long)expected);
}

static void a_70b_shape_follows_the_formulas(void **state)
{
    (void)state;
    tern_model *model = open_shape("synthetic:70b");
    const uint64_t layer = t64(8192 + 2 * 1024, 8192) + t64(8192, 8192) + t64(2 * 28672, 8192) + t64(8192, 28672);
    tern_plan plan = plan_for(model, "rtx4090", 8192, TERN_KV_INT8, TERN_WEIGHTS_STORED);
    assert_string_equal(plan.device, "rtx4090");
    assert_within(plan.bytes_ternary, 80 * layer, 0.01);
    assert_int_equal(plan.bytes_dense, 0);
    assert_within(plan.bytes_head, 128256ull * 8192 * 2, 0.01); // F16
    assert_int_equal(plan.bytes_kv, 80ull * 2 * 8 * (128 + 4) * 8192);
    assert_within(plan.bytes_per_token, 80 * layer + 128256ull * 8192 * 2, 0.01);
    assert_int_equal(plan.bytes_head_per_token, plan.bytes_head);
    assert_int_equal(plan.bytes_link_per_token + plan.bytes_cpu_per_token, 0);
    assert_int_equal(plan.memory_budget, 24ull << 30);
    // The embedding, of which a token reads one row, leaves the card's memory to the rest.
    assert_int_equal(plan.embedding, TERN_EMBEDDING_HOST);
    assert_int_equal(plan.bytes_embedding, 0);
    assert_within(plan.pinned.embedding, 128256ull * 8192 * 2, 0.01);
    assert_int_equal(plan.pinned.total, plan.pinned.embedding);
    assert_true(plan.bytes_total <= plan.memory_budget); // it fits 24 GiB in two bits
    assert_true(plan.n_ctx_max > 8192 && plan.n_ctx_max % 64 == 0);
    tern_plan f16 = plan_for(model, "rtx4090", 8192, TERN_KV_F16, TERN_WEIGHTS_STORED);
    assert_int_equal(f16.bytes_kv, 80ull * 2 * 8 * 128 * 2 * 8192);
    tern_plan int4 = plan_for(model, "rtx4090", 8192, TERN_KV_INT4, TERN_WEIGHTS_STORED);
    assert_within(int4.bytes_kv, 80ull * 2 * 8 * (128 / 2 + 128 / 16) * 8192, 0.01);
    // The largest context is the last that fits.
    tern_plan largest = plan_for(model, "rtx4090", plan.n_ctx_max, TERN_KV_INT8, TERN_WEIGHTS_STORED);
    tern_plan beyond = plan_for(model, "rtx4090", plan.n_ctx_max + 64, TERN_KV_INT8, TERN_WEIGHTS_STORED);
    assert_true(largest.bytes_total <= largest.memory_budget && beyond.bytes_total > beyond.memory_budget);
    tern_plan twin = plan_for(model, "h200", 2048, TERN_KV_F16, TERN_WEIGHTS_F16);
    assert_int_equal(twin.bytes_ternary, 0);
    assert_within(twin.bytes_dense, 68451041280ull * 2, 0.01); // two bytes a weight
    assert_true(twin.uses_blas);
    tern_model_close(model);
}

// What gate and up give is stored only where their product cannot gate by itself: in a float twin.
static void gate_and_up_are_stored_only_apart(void **state)
{
    (void)state;
    tern_model *model = open_shape("synthetic:70b");
    tern_plan packed = plan_for(model, "h200", 2048, TERN_KV_F16, TERN_WEIGHTS_STORED);
    tern_plan twin = plan_for(model, "h200", 2048, TERN_KV_F16, TERN_WEIGHTS_F16);
    assert_false(packed.gates_apart);
    assert_true(twin.gates_apart);
    assert_int_equal(packed.n_batch, twin.n_batch);
    assert_int_equal(twin.bytes_workspace - packed.bytes_workspace, 2ull * 28672 * sizeof(float) * twin.n_batch);
    tern_model_close(model);
}

// 1.6 bits a weight: 80 columns in 16 bytes, rows of tiles of four granules.
static void the_tighter_layout_follows_its_formula(void **state)
{
    (void)state;
    tern_model *model = open_shape("synthetic:70b");
    tern_plan_options options;
    tern_plan t80 = {0}, automatic = {0};
    tern_plan_options_init(&options);
    options.card = "rtx4090";
    options.layout = TERN_LAYOUT_T80;
    options.n_streamed = 0;
    CHECK(tern_plan_make(model, &options, &t80, err));
    const uint64_t columns_8192 = (8192 + 79) / 80 * 16, columns_28672 = (28672 + 79) / 80 * 16;
    const uint64_t layer = (8192 + 2 * 1024 + 8192 + 2 * 28672) * columns_8192 + 8192 * columns_28672;
    assert_within(t80.bytes_ternary, 80 * layer, 0.01);
    assert_false(t80.is_layout_mixed);
    // Chosen where two bits a weight do not fit and 1.6 do.
    options.card = "rtx4060ti-16";
    options.layout = TERN_LAYOUT_AUTO;
    options.n_ctx = 1024;
    CHECK(tern_plan_make(model, &options, &automatic, err));
    assert_int_equal(automatic.layout, TERN_LAYOUT_T80);
    assert_int_equal(automatic.n_layers_device, 80);
    assert_non_null(strstr(automatic.reasons, "two bits a weight do not fit"));
    tern_error cause = {0};
    options.layout = TERN_LAYOUT_T64;
    assert_int_equal(tern_plan_make(model, &options, &automatic, &cause), TERN_BUDGET);
    assert_non_null(strstr(cause.message, "--layout t80"));
    tern_model_close(model);
}

// The embedding and the head as something else than they are stored; on the CPU, which adds a few bytes a matrix.
static void a_head_takes_what_its_type_takes(void **state)
{
    (void)state;
    tern_model *model = open_shape("synthetic:2b4t");
    tern_plan_options options;
    tern_plan plan = {0};
    tern_error cause = {0};
    tern_plan_options_init(&options);
    options.device = "cpu";
    options.n_ctx = 64;
    options.is_estimate = true;
    const uint64_t row_bytes[] = {
        [TERN_HEAD_F16] = 2 * 2560, [TERN_HEAD_INT8] = 2560 + 4, [TERN_HEAD_INT4] = 2560 / 2 + 80};
    for (int head = TERN_HEAD_F16; head <= TERN_HEAD_INT4; head++) {
        options.head = (tern_head)head;
        CHECK(tern_plan_make(model, &options, &plan, err));
        assert_int_equal(plan.bytes_embedding, 128256 * row_bytes[head] + 64);
        assert_int_equal(plan.head, head);
    }
    options.weights = TERN_WEIGHTS_F16;
    assert_int_equal(tern_plan_make(model, &options, &plan, &cause), TERN_INVALID_ARGUMENT);
    options.weights = TERN_WEIGHTS_STORED;
    options.head = (tern_head)5;
    assert_int_equal(tern_plan_make(model, &options, &plan, &cause), TERN_INVALID_ARGUMENT);
    tern_model_close(model);
}

// Screened: the int4 rows beside the stored ones, of which a token reads 256, wherever those lie.
static void a_screened_head_is_both(void **state)
{
    (void)state;
    tern_model *tied = open_shape("synthetic:2b4t"), *untied = open_shape("synthetic:70b");
    tern_plan_options options;
    tern_plan plan = {0}, stored = {0};
    tern_error cause = {0};
    tern_plan_options_init(&options);
    options.device = "cpu";
    options.n_ctx = 64;
    options.n_batch = 8;
    options.is_estimate = true;
    CHECK(tern_plan_make(tied, &options, &stored, err));
    options.head = TERN_HEAD_SCREEN;
    CHECK(tern_plan_make(tied, &options, &plan, err));
    const uint64_t int4 = 128256 * (2560 / 2 + 80) + 64;
    assert_int_equal(plan.bytes_embedding, 128256ull * 2 * 2560 + 64);
    assert_int_equal(plan.bytes_head, int4);
    assert_int_equal(plan.bytes_head_per_token, int4 + 256 * 2 * 2560);
    assert_int_equal(plan.bytes_workspace, stored.bytes_workspace + 8 * 256 * 8); // an id and a logit each
    assert_int_equal(plan.bytes_total, stored.bytes_total + int4 + 8 * 256 * 8);
    assert_int_equal(plan.bytes_per_token - plan.bytes_head_per_token, plan.bytes_ternary + plan.bytes_norms);
    assert_non_null(strstr(plan.reasons, "256 tokens"));
    assert_non_null(strstr(plan.reasons, "which are the embedding"));
    options.weights = TERN_WEIGHTS_F16;
    assert_int_equal(tern_plan_make(tied, &options, &plan, &cause), TERN_INVALID_ARGUMENT);
    options.weights = TERN_WEIGHTS_STORED;
    // A tied table on the host is read over the link.
    options.card = "rtx4090";
    options.embedding = TERN_EMBEDDING_HOST;
    CHECK(tern_plan_make(tied, &options, &plan, err));
    assert_int_equal(plan.bytes_embedding + plan.pinned.head, 0);
    assert_within(plan.pinned.embedding, 128256ull * 2 * 2560, 0.01);
    assert_within(plan.bytes_head, int4, 0.01);
    assert_int_equal(plan.bytes_link_per_token, 256 * 2 * 2560);

    // Rows of their own lie where the embedding lies, and in host memory if that is the CPU's.
    const uint64_t own = 128256ull * 2 * 8192, own_int4 = 128256ull * (8192 / 2 + 256), best = 256 * 2 * 8192;
    options.embedding = TERN_EMBEDDING_AUTO;
    CHECK(tern_plan_make(untied, &options, &plan, err));
    assert_within(plan.bytes_head, own_int4, 0.01);
    assert_within(plan.pinned.head, own, 0.01);
    assert_int_equal(plan.bytes_link_per_token, best);
    assert_int_equal(plan.bytes_head_per_token, plan.bytes_head + best);
    assert_int_equal(plan.pinned.total, plan.pinned.head + plan.pinned.embedding);
    assert_non_null(strstr(plan.reasons, "in pinned host memory. 80 layers"));
    options.n_gpu_layers = 40;
    CHECK(tern_plan_make(untied, &options, &plan, err));
    assert_within(plan.pinned.head, own, 0.01);
    assert_within(plan.cpu.embedding, own, 0.01);
    assert_int_equal(plan.cpu.head, 0);
    options.n_gpu_layers = 0;
    CHECK(tern_plan_make(untied, &options, &plan, err));
    assert_within(plan.cpu.head, own + own_int4, 0.01);
    assert_int_equal(plan.pinned.total + plan.bytes_link_per_token, 0);
    assert_int_equal(plan.bytes_cpu_per_token, plan.bytes_per_token);
    options.n_gpu_layers = TERN_LAYERS_ALL;
    options.embedding = TERN_EMBEDDING_DEVICE;
    CHECK(tern_plan_make(untied, &options, &plan, err));
    assert_within(plan.bytes_head, own + own_int4, 0.01);
    assert_int_equal(plan.pinned.total + plan.bytes_link_per_token, 0);
    // What would fit with the tables on the host.
    options.card = "rtx4060ti-16";
    options.layout = TERN_LAYOUT_T80;
    options.n_streamed = 0;
    options.is_estimate = false;
    cause = (tern_error){0};
    assert_int_equal(tern_plan_make(untied, &options, &plan, &cause), TERN_BUDGET);
    assert_non_null(strstr(cause.message, "--embedding host"));
    options.embedding = TERN_EMBEDDING_HOST;
    CHECK(tern_plan_make(untied, &options, &plan, err));
    tern_model_close(tied);
    tern_model_close(untied);
}

static void what_does_not_fit_is_refused_or_shown(void **state)
{
    (void)state;
    tern_model *model = open_shape("synthetic:70b");
    tern_plan_options options;
    tern_plan plan = {0};
    tern_error cause = {0};
    tern_plan_options_init(&options);
    options.card = "rtx3060";
    options.n_streamed = 0;
    options.layout = TERN_LAYOUT_T64;
    assert_int_equal(tern_plan_make(model, &options, &plan, &cause), TERN_BUDGET);
    assert_non_null(strstr(cause.message, "rtx3060"));
    assert_non_null(strstr(cause.message, "--stream ")); // the nearest plan that fits
    options.is_estimate = true;
    CHECK(tern_plan_make(model, &options, &plan, err));
    assert_true(plan.bytes_total > plan.memory_budget);
    assert_int_equal(plan.n_ctx_max, 0);
    // A plan for a card that is not here cannot be loaded.
    assert_int_equal(tern_model_load(model, &plan, NULL, NULL, NULL), TERN_NO_DEVICE);
    cause = (tern_error){0};
    options.card = "voodoo2";
    assert_int_equal(tern_plan_make(model, &options, &plan, &cause), TERN_NOT_FOUND);
    assert_non_null(strstr(cause.message, "rtx4090"));
    tern_model_close(model);
}

static uint64_t device_sum(const tern_plan *p)
{
    return p->bytes_ternary + p->bytes_dense + p->bytes_embedding + p->bytes_head + p->bytes_norms + p->bytes_rope +
           p->bytes_kv + p->bytes_workspace + p->bytes_slots + p->bytes_device + p->bytes_context;
}

// What the device does not hold visits it; the fewest layers that make the rest fit.
static void layers_that_do_not_fit_are_streamed(void **state)
{
    (void)state;
    tern_model *model = open_shape("synthetic:70b");
    const uint64_t layer = t64(8192 + 2 * 1024, 8192) + t64(8192, 8192) + t64(2 * 28672, 8192) + t64(8192, 28672);
    tern_plan_options options;
    tern_plan plan = {0}, fewer = {0}, explicit_plan = {0};
    tern_plan_options_init(&options);
    options.card = "rtx3060";
    options.layout = TERN_LAYOUT_T64;
    CHECK(tern_plan_make(model, &options, &plan, err));
    uint32_t n = plan.n_layers_streamed;
    assert_true(n > 2 && plan.n_layers_device + n == 80 && plan.n_layers_cpu == 0);
    assert_int_equal(plan.bytes_total, device_sum(&plan));
    assert_true(plan.bytes_total <= plan.memory_budget);
    assert_within(plan.pinned.ternary, n * layer, 0.01);
    assert_within(plan.bytes_ternary, (80 - n) * layer, 0.01);
    assert_within(plan.bytes_slots, 2 * layer, 0.01);
    assert_int_equal(plan.bytes_link_per_token, plan.pinned.ternary);
    assert_within(plan.bytes_per_token, 80 * layer + 128256ull * 8192 * 2, 0.01); // they are read all the same
    assert_non_null(strstr(plan.reasons, "pinned host memory"));
    options.n_streamed = (int32_t)n;
    CHECK(tern_plan_make(model, &options, &explicit_plan, err));
    assert_int_equal(explicit_plan.bytes_total, plan.bytes_total);
    options.n_streamed = (int32_t)n - 1;
    options.is_estimate = true;
    CHECK(tern_plan_make(model, &options, &fewer, err));
    assert_true(fewer.bytes_total > fewer.memory_budget);
    // A float twin larger than the card can be measured.
    tern_plan twin = {0};
    options.card = "h100";
    options.weights = TERN_WEIGHTS_F16;
    options.n_streamed = TERN_LAYERS_AUTO;
    options.is_estimate = false;
    CHECK(tern_plan_make(model, &options, &twin, err));
    assert_true(twin.n_layers_streamed > 0 && twin.bytes_total <= twin.memory_budget);
    tern_model_close(model);
}

static void layers_go_to_the_cpu_only_when_asked(void **state)
{
    (void)state;
    tern_model *model = open_shape("synthetic:70b-v32k");
    tern_plan_options options;
    tern_plan all = {0}, half = {0}, none = {0};
    tern_plan_options_init(&options);
    options.card = "rtx4090";
    CHECK(tern_plan_make(model, &options, &all, err));
    assert_within(all.bytes_head, 32000ull * 8192 * 2, 0.01);
    assert_int_equal(all.n_layers_device, 80);
    options.n_gpu_layers = 40;
    CHECK(tern_plan_make(model, &options, &half, err));
    assert_true(half.n_layers_cpu == 40 && half.n_layers_device == 40 && half.n_layers_streamed == 0);
    assert_int_equal(half.bytes_total, device_sum(&half));
    assert_within(half.bytes_ternary + half.cpu.ternary, all.bytes_ternary, 0.001); // scales as each backend keeps them
    assert_int_equal(half.bytes_kv + half.cpu.kv, all.bytes_kv);
    assert_int_equal(half.bytes_head, all.bytes_head); // with the last layers
    assert_within(half.cpu.embedding, all.pinned.embedding, 0.001);
    assert_within(half.bytes_per_token, all.bytes_per_token, 0.001);
    assert_true(half.bytes_cpu_per_token > 0 && half.bytes_cpu_per_token < half.bytes_per_token);
    options.n_gpu_layers = 0;
    CHECK(tern_plan_make(model, &options, &none, err));
    assert_int_equal(none.n_layers_cpu, 80);
    assert_int_equal(none.bytes_total, 0);
    assert_int_equal(none.bytes_cpu_per_token, none.bytes_per_token);
    for (int32_t n = 80; n < 100; n++) { // llama.cpp's users write -ngl 99
        options.n_gpu_layers = n;
        tern_plan plan = {0};
        CHECK(tern_plan_make(model, &options, &plan, err));
        assert_memory_equal(&plan.bytes_total, &all.bytes_total, sizeof plan.bytes_total);
    }
    options.n_gpu_layers = -3;
    assert_int_equal(tern_plan_make(model, &options, &none, NULL), TERN_INVALID_ARGUMENT);
    tern_model_close(model);
}

static tern_status plan_fast(const tern_model *model, const char *card, tern_kv_type k, tern_kv_type v,
                             int32_t n_gpu_layers, tern_plan *out, tern_error *err)
{
    tern_plan_options options;
    tern_plan_options_init(&options);
    options.card = card;
    options.n_ctx = 2048;
    options.kv_k = k;
    options.kv_v = v;
    options.n_gpu_layers = n_gpu_layers;
    options.fast_attention = true;
    return tern_plan_make(model, &options, out, err);
}

static void refuse_fast(const tern_model *model, const char *card, tern_kv_type k, tern_kv_type v, int32_t n_gpu_layers,
                        tern_status expected, const char *part)
{
    tern_error err = {0};
    tern_plan plan = {0};
    assert_int_equal(plan_fast(model, card, k, v, n_gpu_layers, &plan, &err), expected);
    if (strstr(err.message, part) == NULL) fail_msg("\"%s\" lacks \"%s\"", err.message, part);
    assert_string_equal(plan.device, ""); // untouched
}

// What it cannot do without is refused; a head it does not take leaves it off, and the plan says so.
static void fast_attention_is_planned_or_refused(void **state)
{
    (void)state;
    tern_model *model = open_shape("synthetic:2b4t"), *odd = open_shape("synthetic:3b");
    tern_plan plan = {0}, exact = plan_for(model, "h200", 2048, TERN_KV_F16, TERN_WEIGHTS_STORED);
    CHECK(plan_fast(model, "h200", TERN_KV_F16, TERN_KV_F16, TERN_LAYERS_AUTO, &plan, err));
    assert_true(plan.fast_attention);
    assert_non_null(strstr(plan.attention, "not bit-equal"));
    assert_non_null(strstr(plan.reasons, plan.attention));
    assert_false(exact.fast_attention);
    assert_string_equal(exact.attention, "as defined");
    assert_int_equal(plan.bytes_total, exact.bytes_total); // it takes nothing
    CHECK(plan_fast(odd, "rtx3090", TERN_KV_F16, TERN_KV_F16, TERN_LAYERS_ALL, &plan, err));
    assert_false(plan.fast_attention);
    assert_non_null(strstr(plan.attention, "as defined: fast attention takes heads of multiples of 8 up to 128 values, not of 100"));
    assert_non_null(strstr(plan.reasons, plan.attention));

    refuse_fast(model, "rtx2080ti", TERN_KV_F16, TERN_KV_F16, TERN_LAYERS_AUTO, TERN_DEVICE_UNSUPPORTED,
                "rtx2080ti does not run fast attention");
    refuse_fast(model, "rx7900xtx", TERN_KV_F16, TERN_KV_F16, TERN_LAYERS_AUTO, TERN_DEVICE_UNSUPPORTED, "NVIDIA");
    refuse_fast(model, "h200", TERN_KV_INT8, TERN_KV_INT8, TERN_LAYERS_AUTO, TERN_INVALID_ARGUMENT,
                "not int8 and int8: add -ctk f16 -ctv f16");
    refuse_fast(model, "h200", TERN_KV_F16, TERN_KV_F32, TERN_LAYERS_AUTO, TERN_INVALID_ARGUMENT, "not f16 and f32");
    refuse_fast(model, "h200", TERN_KV_F16, TERN_KV_F16, 10, TERN_INVALID_ARGUMENT, "-ngl 10 puts 20 of 30 layers");
    tern_model_close(odd);
    tern_model_close(model);
}

static void cards_have_names_of_their_own(void **state)
{
    (void)state;
    assert_true(tern_card_count() > 10);
    assert_null(tern_card_at(tern_card_count()));
    for (size_t i = 0; i < tern_card_count(); i++) {
        const tern_card *card = tern_card_at(i);
        assert_ptr_equal(tern_card_find(card->name), card);
        assert_true(card->memory >= 8ull << 30 && card->gbps > 100 && card->int8_tops >= 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_70b_shape_follows_the_formulas),
        cmocka_unit_test(gate_and_up_are_stored_only_apart),
        cmocka_unit_test(the_tighter_layout_follows_its_formula),
        cmocka_unit_test(a_head_takes_what_its_type_takes),
        cmocka_unit_test(a_screened_head_is_both),
        cmocka_unit_test(what_does_not_fit_is_refused_or_shown),
        cmocka_unit_test(layers_that_do_not_fit_are_streamed),
        cmocka_unit_test(layers_go_to_the_cpu_only_when_asked),
        cmocka_unit_test(fast_attention_is_planned_or_refused),
        cmocka_unit_test(cards_have_names_of_their_own),
    };
    CHECK(tern_engine_open(NULL, &engine, err));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tern_engine_close(engine);
    return failed;
}
