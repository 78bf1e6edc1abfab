// The parts of the contract that placement is made of (matrices on the host and in slots, copies beside the ops), and
// whole models of which one call fails: every allocation, and the calls that streaming makes.
#include "scratch.h"
#include "tern.h"
#include "watch.h"

#define N_ROWS 33u
#define N_COLS 130u

// ---- matrices in all places

static void fill_rows(uint8_t *rows, uint32_t seed)
{
    size_t row_bytes = ternary_row_bytes(N_COLS);
    for (uint32_t r = 0; r < N_ROWS; r++) {
        uint8_t *row = rows + r * row_bytes;
        memset(row, 0, row_bytes);
        for (uint32_t c = 0; c < N_COLS; c++)
            row[c / 4] = (uint8_t)(row[c / 4] | ((r * 7 + c * 5 + seed) % 3) << (2 * (c % 4)));
        ternary_pad_row(row, N_COLS);
    }
}

static void test_matrices_take_turns_in_a_slot(void **state)
{
    (void)state;
    need_device();
    op_runner r = open_subject(NULL, scratch, "slots");
    tern_error err = {0};
    size_t n_bytes = N_ROWS * ternary_row_bytes(N_COLS);
    uint8_t *rows[2] = {malloc(n_bytes), malloc(n_bytes)}, *back = malloc(n_bytes);
    float value = 0.5f;
    ternary_scale scale = {.n_sets = 1, .group = N_COLS, .n_groups = 1, .values = &value};
    weights_desc desc = {.n_rows = N_ROWS, .n_cols = N_COLS, .is_ternary = true, .scale = &scale};
    uint64_t bytes = 0;
    device_usage before, between, after;
    buffer *slot = NULL;
    weights *home[2] = {NULL, NULL}, *visitor[2] = {NULL, NULL};
    stream *copies = NULL;
    event *copied = NULL;
    opencl_backend.device_allocated(r.device, &before);
    assert_int_equal(opencl_backend.weights_bytes(NULL, &desc, &bytes, &err), TERN_OK);
    assert_int_equal(opencl_backend.buffer_create(r.device, (size_t)bytes, &slot, &err), TERN_OK);
    assert_int_equal(opencl_backend.copy_stream_create(r.device, &copies, &err), TERN_OK);
    assert_int_equal(opencl_backend.event_create(r.device, &copied, &err), TERN_OK);
    assert_int_equal(opencl_backend.stream_wait(r.stream, copied, &err),
                     TERN_OK); // never recorded: nothing to wait for
    for (uint32_t i = 0; i < 2; i++) {
        fill_rows(rows[i], i);
        desc.place = WEIGHTS_ON_HOST;
        desc.slot = NULL;
        assert_int_equal(opencl_backend.weights_create(r.device, &desc, &home[i], &err), TERN_OK);
        assert_int_equal(opencl_backend.weights_upload_rows(home[i], 0, N_ROWS, rows[i], &err), TERN_OK);
        desc.place = WEIGHTS_IN_SLOT;
        desc.slot = slot;
        assert_int_equal(opencl_backend.weights_create(r.device, &desc, &visitor[i], &err), TERN_OK);
    }
    opencl_backend.device_allocated(r.device, &between);
    assert_int_equal(between.now, before.now + bytes);
    assert_int_equal(between.host, before.host + 2 * bytes);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(opencl_backend.weights_copy(copies, visitor[i % 2], home[i % 2], &err), TERN_OK);
        assert_int_equal(opencl_backend.event_record(copies, copied, &err), TERN_OK);
        assert_int_equal(opencl_backend.stream_wait(r.stream, copied, &err), TERN_OK);
        assert_int_equal(opencl_backend.weights_download_rows(visitor[i % 2], 0, N_ROWS, back, &err), TERN_OK);
        assert_memory_equal(back, rows[i % 2], n_bytes);
    }
    // What is not described alike is refused, and so is a slot that is too small.
    assert_int_equal(opencl_backend.weights_copy(copies, home[0], home[1], NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(opencl_backend.weights_copy(copies, visitor[0], visitor[1], NULL), TERN_INVALID_ARGUMENT);
    weights *none = NULL;
    desc.n_rows = 64;
    assert_int_equal(opencl_backend.weights_create(r.device, &desc, &none, NULL), TERN_INVALID_ARGUMENT);
    desc.slot = NULL;
    assert_int_equal(opencl_backend.weights_create(r.device, &desc, &none, NULL), TERN_INVALID_ARGUMENT);
    for (int i = 0; i < 2; i++) {
        opencl_backend.weights_destroy(visitor[i]);
        opencl_backend.weights_destroy(home[i]);
        free(rows[i]);
    }
    free(back);
    opencl_backend.event_destroy(copied);
    opencl_backend.stream_destroy(copies);
    opencl_backend.buffer_destroy(slot);
    opencl_backend.device_allocated(r.device, &after);
    assert_true(after.now == before.now && after.host == before.host && after.peak >= between.now);
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
