// Failures of every call to the driver, at every place where the backend makes it: each ends in a clear status, nothing
// crashes, and nothing is left behind.
#include "scratch.h"
#include "watch.h"

// ---- one device's life, from opening to closing

typedef struct life {
    opencl_traits traits;
    op_data *data;
    bool is_timed; // with events around the op
} life;

static tern_status time_op(op_runner *runner, tern_error *err)
{
    event *from = NULL, *to = NULL;
    uint64_t ns = 0;
    tern_status status = opencl_backend.event_create(runner->device, &from, err);
    if (status == TERN_OK) status = opencl_backend.event_create(runner->device, &to, err);
    if (status == TERN_OK) status = opencl_backend.event_record(runner->stream, from, err);
    if (status == TERN_OK) status = opencl_backend.event_record(runner->stream, to, err);
    if (status == TERN_OK) status = opencl_backend.event_elapsed_ns(from, to, &ns, err);
    opencl_backend.event_destroy(from);
    opencl_backend.event_destroy(to);
    return status;
}

// Open, matrix, buffers, an op, its result, close. The first failure.
static tern_status live_once(const life *l, tern_error *err)
{
    op_runner runner = {.backend = &opencl_backend};
    op_image image = {0};
    tern_status status = opencl_device_open_as(0, &l->traits, scratch, &runner.device, err);
    if (status != TERN_OK) return status;
    status = opencl_backend.stream_create(runner.device, &runner.stream, err);
    if (status == TERN_OK) status = op_execute(&runner, l->data, &image, err);
    if (status == TERN_OK) assert_false(image.is_skipped);
    op_image_free(&image);
    if (status == TERN_OK && l->is_timed) status = time_op(&runner, err);
    op_runner_close(&runner);
    return status;
}

static life make_life(void)
{
    static op_case c;
    tern_error err = {0};
    life l = {.traits = plain_traits(), .is_timed = true};
    c = find_case("ternary_mm M=3 N=37 K=200 tensor 1-term");
    assert_int_equal(op_data_create(&c, &l.data, &err), TERN_OK);
    if (live_once(&l, &err) != TERN_OK) fail_msg("%s", err.message); // fills the cache
    return l;
}

// What a failure may say.
typedef struct expectation {
    watched what;
    cl_int code;
    tern_status status, other; // either
    const char *text;          // in the message
    bool may_be_survived;      // where nothing depends on the call
} expectation;

static bool fault_is_rare(watched what)
{
    return what != WATCH_ARGUMENT && what != WATCH_KERNEL && what != WATCH_LAUNCH && what != WATCH_FILL &&
           what != WATCH_BUFFER;
}

static void test_every_call_may_fail(void **state)
{
    (void)state;
    need_device();
    static const expectation expectations[] = {
        {WATCH_CONTEXT, CL_OUT_OF_HOST_MEMORY, TERN_HOST_MEMORY, TERN_OK, "creating a context", false},
        {WATCH_CONTEXT, CL_DEVICE_NOT_AVAILABLE, TERN_DEVICE_LOST, TERN_OK, "CL_DEVICE_NOT_AVAILABLE", false},
        {WATCH_CONTEXT, CL_INVALID_VALUE, TERN_NO_DEVICE, TERN_OK, "creating a context", false},
        {WATCH_QUEUE, CL_OUT_OF_HOST_MEMORY, TERN_HOST_MEMORY, TERN_OK, "creating a queue", false},
        {WATCH_QUEUE, CL_OUT_OF_RESOURCES, TERN_NO_DEVICE, TERN_OK, "creating a queue", false},
        {WATCH_BUFFER, CL_MEM_OBJECT_ALLOCATION_FAILURE, TERN_DEVICE_MEMORY, TERN_OK, "memory", false},
        {WATCH_BUFFER, CL_OUT_OF_HOST_MEMORY, TERN_HOST_MEMORY, TERN_OK, "CL_OUT_OF_HOST_MEMORY", false},
        {WATCH_BUFFER, CL_OUT_OF_RESOURCES, TERN_DEVICE_MEMORY, TERN_HOST_MEMORY, "CL_OUT_OF_RESOURCES", false},
        {WATCH_FILL, CL_MEM_OBJECT_ALLOCATION_FAILURE, TERN_DEVICE_MEMORY, TERN_OK, "CL_MEM_OBJECT_ALLOCATION_FAILURE",
         false},
        {WATCH_WRITE, CL_MEM_OBJECT_ALLOCATION_FAILURE, TERN_DEVICE_MEMORY, TERN_OK, "CL_MEM_OBJECT_ALLOCATION_FAILURE",
         false},
        {WATCH_WRITE, CL_OUT_OF_RESOURCES, TERN_DEVICE_MEMORY, TERN_OK, "CL_OUT_OF_RESOURCES", false},
        {WATCH_WRITE, CL_INVALID_COMMAND_QUEUE, TERN_DEVICE_LOST, TERN_OK, "CL_INVALID_COMMAND_QUEUE", false},
        {WATCH_READ, CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, TERN_DEVICE_LOST, TERN_OK, "CL_EXEC_STATUS", false},
        {WATCH_READ, -9999, TERN_DEVICE_LOST, TERN_OK, "-9999", false},
        {WATCH_MAP, CL_MAP_FAILURE, TERN_HOST_MEMORY, TERN_OK, "pinned host memory", false},
        {WATCH_SOURCE, CL_OUT_OF_HOST_MEMORY, TERN_HOST_MEMORY, TERN_OK, "creating a program", false},
        {WATCH_BINARY, CL_INVALID_BINARY, TERN_OK, TERN_OK, "", true},
        {WATCH_BUILD, CL_BUILD_PROGRAM_FAILURE, TERN_OK, TERN_OK, "", true}, // of a binary: built from source
        {WATCH_KERNEL, CL_INVALID_KERNEL_NAME, TERN_KERNEL_BUILD, TERN_OK, "CL_INVALID_KERNEL_NAME", false},
        {WATCH_KERNEL, CL_OUT_OF_HOST_MEMORY, TERN_HOST_MEMORY, TERN_OK, "CL_OUT_OF_HOST_MEMORY", false},
        {WATCH_ARGUMENT, CL_INVALID_ARG_SIZE, TERN_KERNEL_LAUNCH, TERN_OK, "kernel ", false},
        {WATCH_LAUNCH, CL_INVALID_WORK_GROUP_SIZE, TERN_KERNEL_LAUNCH, TERN_OK, " work-groups of ", false},
        {WATCH_LAUNCH, CL_OUT_OF_RESOURCES, TERN_KERNEL_LAUNCH, TERN_OK, " work-groups of ", false},
        {WATCH_LAUNCH, CL_DEVICE_NOT_AVAILABLE, TERN_DEVICE_LOST, TERN_OK, "CL_DEVICE_NOT_AVAILABLE", false},
        {WATCH_FINISH, CL_OUT_OF_RESOURCES, TERN_DEVICE_LOST, TERN_OK, "waiting for the device", true}, // or closing
        {WATCH_WAIT, CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, TERN_DEVICE_LOST, TERN_OK, "waiting for", false},
        {WATCH_MARKER, CL_OUT_OF_HOST_MEMORY, TERN_HOST_MEMORY, TERN_OK, "recording an event", false},
    };
    life l = make_life();
    size_t n_faults = 0;
    for (size_t i = 0; i < sizeof expectations / sizeof expectations[0]; i++) {
        const expectation *e = &expectations[i];
        size_t n = 1;
        for (bool happened = true; happened; n++) {
            tern_error err = {0};
            watch_begin();
            watch_fault(e->what, n, e->code);
            tern_status status = live_once(&l, &err);
            happened = fault_happened();
            watch_end();
            assert_nothing_left();
            bool is_expected = !happened || e->may_be_survived ? status == TERN_OK : false;
            if (happened && !is_expected)
                is_expected = status != TERN_OK && (status == e->status || status == e->other) &&
                              strstr(err.message, e->text) != NULL;
            if (!is_expected)
                fail_msg("call %zu of kind %d failing with %d: %s, \"%s\"", n, (int)e->what, (int)e->code,
                         tern_status_name(status), err.message);
            n_faults += happened;
            if (n > 3 && n % 7 != 0 && !fault_is_rare(e->what)) n += 4; // there are many, all alike
        }
        if (n <= 2 && e->what != WATCH_SOURCE) fail_msg("no call of kind %d was made", (int)e->what);
    }
    print_message("%zu failing calls\n", n_faults);
    assert_true(n_faults > 100);
    op_data_free(l.data);
}

// The message names the kernel and its grid; the compiler's own words reach the user as one line.
static void test_messages_name_the_kernel(void **state)
{
    (void)state;
    need_device();
    life l = make_life();
    tern_error err = {0};
    watch_begin();
    watch_fault(WATCH_LAUNCH, 2, CL_INVALID_WORK_GROUP_SIZE); // after the probe: the first pack
    assert_int_equal(live_once(&l, &err), TERN_KERNEL_LAUNCH);
    watch_end();
    if (strstr(err.message, "kernel t64_pack of ") == NULL) fail_msg("\"%s\"", err.message);

    op_runner runner = {.backend = &opencl_backend};
    err = (tern_error){0};
    watch_begin();
    log_is_given = fails_from_then_on = true;
    watch_fault(WATCH_BUILD, 1, CL_BUILD_PROGRAM_FAILURE);
    assert_int_equal(opencl_device_open_as(0, &l.traits, NULL, &runner.device, &err), TERN_KERNEL_BUILD);
    watch_end();
    assert_nothing_left();
    if (strstr(err.message, "kernels did not build (CL_BUILD_PROGRAM_FAILURE)") == NULL ||
        strstr(err.message, "error: the test forbids it") == NULL)
        fail_msg("\"%s\"", err.message);
    op_data_free(l.data);
}

// A fast path that fails in any way is left, and what it had made is released.
static void test_fast_path_that_fails_is_left(void **state)
{
    (void)state;
    need_device();
    static const watched where[] = {WATCH_BUILD, WATCH_KERNEL, WATCH_LAUNCH, WATCH_READ, WATCH_WRITE};
    for (size_t i = 0; i < sizeof where / sizeof where[0]; i++) {
        opencl_traits traits = plain_traits();
        device *d = NULL;
        tern_error err = {0};
        traits.dot = OPENCL_DOT_SIGNED;
        watch_begin();
        watch_fault(where[i], where[i] == WATCH_KERNEL ? 3 : 2, CL_DEVICE_NOT_AVAILABLE); // plain code is tried first
        if (opencl_device_open_as(0, &traits, NULL, &d, &err) != TERN_OK) fail_msg("%s", err.message);
        assert_int_equal(d->traits.dot, OPENCL_DOT_PLAIN);
        assert_int_equal(opencl_check_lost(d, &err), TERN_OK);
        opencl_device_close(d);
        watch_end();
        assert_nothing_left();
    }
}

// ---- a device that lost its driver

static void test_a_lost_device_says_so(void **state)
{
    (void)state;
    need_device();
    op_runner r = open_subject(NULL, scratch, "lost");
    tern_error err = {0};
    buffer *b = NULL, *other = NULL;
    weights *w = NULL, *more = NULL;
    event *e = NULL;
    graph *g = NULL;
    uint8_t bytes[256] = {0};
    float value = 1;
    ternary_scale scale = {.n_sets = 1, .group = 64, .n_groups = 1, .values = &value};
    const weights_desc desc = {.n_rows = 4, .n_cols = 64, .is_ternary = true, .scale = &scale};
    assert_int_equal(opencl_buffer_create(r.device, sizeof bytes, &b, &err), TERN_OK);
    assert_int_equal(opencl_weights_create(r.device, &desc, &w, &err), TERN_OK);
    assert_int_equal(opencl_backend.event_create(r.device, &e, &err), TERN_OK);
    op o = {.kind = OP_RESIDUAL, .m = 1, .flag = {b, 0}};
    o.residual = (op_residual){.h = {b, 64}, .y = {b, 128}, .n = 8, .ld_h = 8, .ld_y = 8};

    watch_begin();
    watch_fault(WATCH_READ, 1, CL_DEVICE_NOT_AVAILABLE);
    assert_int_equal(opencl_buffer_read(r.stream, (view){b, 0}, bytes, 4, &err), TERN_DEVICE_LOST);
    assert_non_null(strstr(err.message, "CL_DEVICE_NOT_AVAILABLE"));
    watch_end();

#define LOST(call)                                                                                                     \
    do {                                                                                                               \
        error_clear(&err);                                                                                             \
        assert_int_equal(call, TERN_DEVICE_LOST);                                                                      \
        assert_non_null(strstr(err.message, "must be opened again"));                                                  \
    } while (0)
    LOST(opencl_buffer_create(r.device, 64, &other, &err));
    LOST(opencl_buffer_write(r.stream, (view){b, 0}, bytes, 4, &err));
    LOST(opencl_buffer_read(r.stream, (view){b, 0}, bytes, 4, &err));
    LOST(opencl_buffer_fill(r.stream, (view){b, 0}, 0, 4, &err));
    LOST(opencl_weights_create(r.device, &desc, &more, &err));
    LOST(opencl_weights_upload_rows(w, 0, 1, bytes, &err));
    LOST(opencl_weights_download_rows(w, 0, 1, bytes, &err));
    LOST(opencl_backend.stream_sync(r.stream, &err));
    LOST(opencl_backend.event_record(r.stream, e, &err));
    LOST(opencl_backend.enqueue(r.stream, &o, &err));
    if (r.device->commands != NULL) LOST(opencl_graph_begin(r.stream, &err));
#undef LOST
    assert_true(other == NULL && more == NULL && g == NULL);
    opencl_backend.event_destroy(e);
    opencl_weights_destroy(w);
    opencl_buffer_destroy(b);
    op_runner_close(&r);
}

// ---- memory

static void test_buffers_over_the_limit_are_refused(void **state)
{
    (void)state;
    need_device();
    op_runner r = open_subject(NULL, scratch, "memory");
    tern_error err = {0};
    buffer *b = NULL;
    uint64_t total, before, after;
    assert_int_equal(opencl_backend.device_memory(r.device, &total, &before, &err), TERN_OK);
    r.device->traits.is_intel_large = false;
    assert_int_equal(opencl_buffer_create(r.device, (size_t)r.device->max_alloc + 1, &b, &err), TERN_DEVICE_MEMORY);
    r.device->max_alloc = 3 << 20;
    error_clear(&err);
    assert_int_equal(opencl_buffer_create(r.device, (4 << 20) + 5, &b, &err), TERN_DEVICE_MEMORY);
    if (strstr(err.message, "4194309 bytes (5 MiB)") == NULL || strstr(err.message, "of this device is 3 MiB") == NULL)
        fail_msg("\"%s\"", err.message);
    const weights_desc desc = {.n_rows = 1024, .n_cols = 1024, .type = DENSE_F32};
    weights *w = NULL;
    error_clear(&err);
    assert_int_equal(opencl_weights_create(r.device, &desc, &w, &err), TERN_DEVICE_MEMORY);
    assert_non_null(strstr(err.message, "a weight matrix"));
    assert_true(b == NULL && w == NULL);
    assert_int_equal(opencl_buffer_create(r.device, 0, &b, NULL), TERN_INVALID_ARGUMENT);

    watch_begin(); // what the driver refuses is said with the sizes, and nothing stays counted as taken
    watch_fault(WATCH_BUFFER, 1, CL_MEM_OBJECT_ALLOCATION_FAILURE);
    error_clear(&err);
    assert_int_equal(opencl_buffer_create(r.device, 1 << 20, &b, &err), TERN_DEVICE_MEMORY);
    assert_non_null(strstr(err.message, "1048576 bytes (1 MiB;"));
    watch_end();
    assert_int_equal(opencl_backend.device_memory(r.device, &total, &after, &err), TERN_OK);
    assert_true(after == before);
    op_runner_close(&r);
}

// Kernels for a type of weights that fail again and again do not pile up.
static void test_failing_again_and_again(void **state)
{
    (void)state;
    need_device();
    op_runner r = open_subject(NULL, scratch, "stubborn");
    const weights_desc desc = {.n_rows = 4, .n_cols = 64, .type = DENSE_F16};
    weights *w = NULL;
    for (int i = 0; i < 40; i++) {
        watch_begin();
        watch_fault(WATCH_KERNEL, 1 + (size_t)i % DENSE_KERNEL_COUNT, CL_OUT_OF_RESOURCES);
        assert_int_not_equal(opencl_weights_create(r.device, &desc, &w, NULL), TERN_OK);
        watch_end();
        assert_true(r.device->n_programs <= sizeof r.device->programs / sizeof r.device->programs[0]);
        assert_nothing_left();
    }
    tern_error err = {0};
    if (opencl_weights_create(r.device, &desc, &w, &err) != TERN_OK) fail_msg("%s", err.message); // and works later
    opencl_weights_destroy(w);
    op_runner_close(&r);
}

static void test_devices_that_do_not_exist(void **state)
{
    (void)state;
    const char *note;
    size_t n = opencl_device_count(&note);
    tern_error err = {0};
    device *d = NULL;
    device_facts facts;
    assert_int_equal(opencl_device_open(n, NULL, &d, &err), TERN_NO_DEVICE);
    assert_non_null(strstr(err.message, "does not exist"));
    assert_int_equal(opencl_device_describe(n, &facts, NULL), TERN_NO_DEVICE);
    assert_null(d);
    opencl_device_close(NULL);
    opencl_buffer_destroy(NULL);
    opencl_weights_destroy(NULL);
    opencl_graph_destroy(NULL);
}

#define T(name) cmocka_unit_test_teardown(name, end_watch)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(test_every_call_may_fail),
        T(test_messages_name_the_kernel),
        T(test_fast_path_that_fails_is_left),
        T(test_a_lost_device_says_so),
        T(test_buffers_over_the_limit_are_refused),
        T(test_failing_again_and_again),
        T(test_devices_that_do_not_exist),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
