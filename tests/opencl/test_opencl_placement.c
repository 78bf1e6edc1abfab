// The parts of the contract that placement is made of (matrices on the host and in slots, copies beside the ops), and
// whole models of which one call fails: every allocation, and the calls that streaming makes.
#include "scratch.h"
#include "slots.h"
#include "tern.h"
#include "watch.h"

static void test_matrices_take_turns_in_a_slot(void **state)
{
    (void)state;
    need_device();
    op_runner r = open_subject(NULL, scratch, "slots");
    check_slots(&r);
    op_runner_close(&r);
}

// ---- models

static tern_status live_once(float *logit, tern_error *err)
{
    tern_engine *engine = NULL;
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_plan plan;
    tern_plan_options options;
    tern_engine_options engine_options;
    tern_engine_options_init(&engine_options);
    engine_options.cache_dir = scratch;
    tern_plan_options_init(&options);
    options.device = "opencl0";
    options.n_ctx = 64;
    options.n_batch = 2;
    options.n_streamed = 2;
    options.embedding = TERN_EMBEDDING_HOST;
    tern_status status = tern_engine_open(&engine_options, &engine, err);
    if (status == TERN_OK) status = tern_model_open(engine, "synthetic:tiny", NULL, &model, err);
    if (status == TERN_OK) status = tern_plan_make(model, &options, &plan, err);
    if (status == TERN_OK) status = tern_model_load(model, &plan, NULL, NULL, err);
    if (status == TERN_OK) status = tern_session_create(model, &session, err);
    const tern_row rows[] = {{.token = 1}, {.token = 2, .wants_logits = true}};
    tern_token id;
    if (status == TERN_OK) status = tern_session_eval(session, rows, 2, err);
    if (status == TERN_OK) status = tern_session_top(session, 0, 1, &id, logit, err);
    tern_session_free(session);
    tern_model_close(model);
    tern_engine_close(engine);
    return status;
}

static void test_models_survive_failing_calls(void **state)
{
    (void)state;
    need_device();
    static const struct {
        watched what;
        cl_int code;
        tern_status status;
        size_t step; // which ones are tried: there are many, all alike
    } faults[] = {
        {WATCH_BUFFER, CL_MEM_OBJECT_ALLOCATION_FAILURE, TERN_DEVICE_MEMORY, 1},
        {WATCH_QUEUE, CL_OUT_OF_HOST_MEMORY, TERN_HOST_MEMORY, 1},
        {WATCH_COPY, CL_OUT_OF_RESOURCES, TERN_DEVICE_MEMORY, 3},
        {WATCH_BARRIER, CL_OUT_OF_HOST_MEMORY, TERN_HOST_MEMORY, 2},
    };
    float expected = 0, logit = 0;
    tern_error err = {0};
    if (live_once(&expected, &err) != TERN_OK) fail_msg("%s", err.message); // fills the cache
    size_t n_faults = 0;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        bool happened = true;
        for (size_t n = 1; happened; n += faults[i].step) {
            err = (tern_error){0};
            watch_begin();
            watch_fault(faults[i].what, n, faults[i].code);
            tern_status status = live_once(&logit, &err);
            happened = fault_happened();
            watch_end();
            assert_nothing_left();
            bool is_clear = happened ? status == faults[i].status && err.message[0] != 0
                                     : status == TERN_OK && logit == expected;
            if (!is_clear)
                fail_msg("call %zu of kind %d: %s, \"%s\"", n, (int)faults[i].what, tern_status_name(status),
                         err.message);
            n_faults += happened;
        }
    }
    print_message("%zu failing calls\n", n_faults);
    assert_true(n_faults > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrices_take_turns_in_a_slot),
        cmocka_unit_test_teardown(test_models_survive_failing_calls, end_watch),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
