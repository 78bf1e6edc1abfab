// The host side of the CUDA backend, executed by the shim: graphs, errors that name their kernel, a device that is
// lost, memory that runs out at every place, machines without a driver.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_backend.h"
#include "slots.h"

#define N 300u

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        tern_error check_err = {0};                                                                                    \
        tern_status check_status = (call);                                                                             \
        if (check_status != TERN_OK) fail_msg("%s: %s", tern_status_name(check_status), check_err.message);            \
    } while (0)

static const backend *const b = &cuda_backend;

typedef struct bench {
    device *device;
    stream *stream;
    buffer *memory;
} bench;

static bench open_bench(void)
{
    bench t = {0};
    CHECK(b->device_open(0, NULL, &t.device, &check_err));
    CHECK(b->stream_create(t.device, &t.stream, &check_err));
    CHECK(b->buffer_create(t.device, 1 << 20, &t.memory, &check_err));
    return t;
}

static void close_bench(bench *t)
{
    b->buffer_destroy(t->memory);
    b->stream_destroy(t->stream);
    b->device_close(t->device);
    *t = (bench){0};
    assert_int_equal(shim_live(), 0);
}

static view at(const bench *t, size_t offset) { return (view){t->memory, offset}; }

// h (at 0) += y (at 4096), N values in one row.
static op residual_op(const bench *t)
{
    op o = {.kind = OP_RESIDUAL, .m = 1, .flag = at(t, 8192)};
    o.residual = (op_residual){.h = at(t, 0), .y = at(t, 4096), .n = N, .ld_h = N, .ld_y = N};
    return o;
}

static void put_floats(const bench *t, size_t offset, float first, float step)
{
    float values[N];
    for (uint32_t i = 0; i < N; i++) values[i] = first + step * (float)i;
    CHECK(b->buffer_write(t->stream, at(t, offset), values, sizeof values, &check_err));
}

static float get_float(const bench *t, size_t offset)
{
    float value;
    CHECK(b->buffer_read(t->stream, at(t, offset), &value, sizeof value, &check_err));
    return value;
}

// ------------------------------------------------------------------------------------------------ graphs

static void test_graph_equals_eager(void **state)
{
    (void)state;
    bench t = open_bench();
    graph *g = NULL;
    op o = residual_op(&t);
    put_floats(&t, 0, 1.0f, 0.0f);
    put_floats(&t, 4096, 0.5f, 0.0f);
    CHECK(b->graph_begin(t.stream, &check_err));
    CHECK(b->enqueue(t.stream, &o, &check_err));
    CHECK(b->enqueue(t.stream, &o, &check_err));
    CHECK(b->graph_end(t.stream, &g, &check_err));
    assert_true(get_float(&t, 0) == 1.0f); // capturing runs nothing
    CHECK(b->graph_launch(t.stream, g, &check_err));
    assert_true(get_float(&t, 0) == 2.0f);
    put_floats(&t, 4096, 2.0f, 0.0f); // a replay reads what is there now
    CHECK(b->graph_launch(t.stream, g, &check_err));
    CHECK(b->graph_launch(t.stream, g, &check_err));
    assert_true(get_float(&t, 0) == 10.0f);
    CHECK(b->enqueue(t.stream, &o, &check_err));
    assert_true(get_float(&t, 4 * (N - 1)) == 12.0f);
    b->graph_destroy(g);
    close_bench(&t);
}

static void test_capture_refuses_what_waits(void **state)
{
    (void)state;
    bench t = open_bench();
    tern_error err = {0};
    graph *g = NULL;
    float value = 0;
    assert_int_equal(b->graph_end(t.stream, &g, &err), TERN_BAD_STATE);
    CHECK(b->graph_begin(t.stream, &check_err));
    assert_int_equal(b->graph_begin(t.stream, NULL), TERN_BAD_STATE);
    assert_int_equal(b->buffer_write(t.stream, at(&t, 0), &value, 4, NULL), TERN_BAD_STATE);
    assert_int_equal(b->buffer_read(t.stream, at(&t, 0), &value, 4, NULL), TERN_BAD_STATE);
    CHECK(b->buffer_fill(t.stream, at(&t, 0), 0, 4, &check_err));
    b->stream_destroy(t.stream); // in the middle of a capture
    t.stream = NULL;
    close_bench(&t);
}

// ------------------------------------------------------------------------------------------------ copies, events

static void test_copies_and_events(void **state)
{
    (void)state;
    bench t = open_bench();
    event *from = NULL, *to = NULL;
    uint64_t ns = 0;
    tern_error err = {0};
    size_t n_bytes = 5 * CUDA_STREAM_SLOT / 2 + 3; // through several slots of staging
    buffer *large = NULL;
    uint8_t *bytes = malloc(n_bytes), *back = malloc(n_bytes);
    for (size_t i = 0; i < n_bytes; i++) bytes[i] = (uint8_t)(i * 7 + i / 1000);
    CHECK(b->buffer_create(t.device, n_bytes + 1, &large, &check_err));
    CHECK(b->event_create(t.device, &from, &check_err));
    CHECK(b->event_create(t.device, &to, &check_err));
    assert_int_equal(b->event_elapsed_ns(from, to, &ns, &err), TERN_BAD_STATE);
    CHECK(b->event_record(t.stream, from, &check_err));
    CHECK(b->buffer_write(t.stream, (view){large, 1}, bytes, n_bytes, &check_err));
    memset(bytes, 0, n_bytes); // the caller's memory is his again
    CHECK(b->event_record(t.stream, to, &check_err));
    CHECK(b->event_elapsed_ns(from, to, &ns, &check_err));
    CHECK(b->buffer_read(t.stream, (view){large, 1}, back, n_bytes, &check_err));
    for (size_t i = 0; i < n_bytes; i++)
        if (back[i] != (uint8_t)(i * 7 + i / 1000)) fail_msg("byte %zu came back as %u", i, back[i]);
    err = (tern_error){0};
    assert_int_equal(b->buffer_write(t.stream, (view){large, 2}, bytes, n_bytes, &err), TERN_INVALID_ARGUMENT);
    b->event_destroy(from);
    b->event_destroy(to);
    b->buffer_destroy(large);
    free(bytes);
    free(back);
    close_bench(&t);
}

// ------------------------------------------------------------------------------------------------ errors

// Matrices on the host and in slots; nothing but events orders copies and ops, which the shim does as late as it can.
static void test_matrices_take_turns_in_a_slot(void **state)
{
    (void)state;
    op_runner r = {0};
    tern_error err = {0};
    if (op_runner_open(&cuda_backend, 0, 1, &r, &err) != TERN_OK) fail_msg("%s", err.message);
    check_slots(&r);
    op_runner_close(&r);
    assert_int_equal(shim_live(), 0);
}

static void test_lost_device(void **state)
{
    (void)state;
    bench t = open_bench();
    tern_error err = {0};
    op o = residual_op(&t);
    float value = 7.0f;
    shim_hang_up();
    assert_int_equal(b->enqueue(t.stream, &o, &err), TERN_OK); // the error shows when somebody waits
    assert_int_equal(b->buffer_read(t.stream, at(&t, 0), &value, 4, &err), TERN_DEVICE_LOST);
    assert_non_null(strstr(err.message, "cuda0"));
    assert_non_null(strstr(err.message, "residual, grid (2, 1, 1) of 256 threads"));
    assert_true(value == 7.0f);
    // Whatever comes now is refused in the same way, and everything can be destroyed.
    buffer *more = NULL;
    graph *g = NULL;
    err = (tern_error){0};
    assert_int_equal(b->enqueue(t.stream, &o, &err), TERN_DEVICE_LOST);
    assert_non_null(strstr(err.message, "must be opened again"));
    assert_int_equal(b->buffer_create(t.device, 64, &more, NULL), TERN_DEVICE_LOST);
    assert_int_equal(b->buffer_fill(t.stream, at(&t, 0), 0, 4, NULL), TERN_DEVICE_LOST);
    assert_int_equal(b->stream_sync(t.stream, NULL), TERN_DEVICE_LOST);
    assert_int_equal(b->graph_begin(t.stream, NULL), TERN_DEVICE_LOST);
    assert_int_equal(b->graph_launch(t.stream, g, NULL), TERN_DEVICE_LOST);
    close_bench(&t);
    t = open_bench(); // a device that is opened again works
    o = residual_op(&t);
    CHECK(b->enqueue(t.stream, &o, &check_err));
    CHECK(b->stream_sync(t.stream, &check_err));
    close_bench(&t);
}

static void test_refusals(void **state)
{
    (void)state;
    bench t = open_bench();
    tern_error err = {0};
    op o = residual_op(&t);
    o.residual.n = N + 1;
    assert_int_equal(b->enqueue(t.stream, &o, &err), TERN_DEVICE_UNSUPPORTED);
    assert_non_null(strstr(err.message, "residual on cuda0: a row stride"));
    o = residual_op(&t);
    o.residual.y = (view){0};
    err = (tern_error){0};
    assert_int_equal(b->enqueue(t.stream, &o, &err), TERN_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "operand y is not given"));

    weights *w = NULL;
    const char *reason = NULL;
    const weights_desc desc = {.n_rows = 4, .n_cols = 64, .type = DENSE_F16};
    CHECK(b->weights_create(t.device, &desc, &w, &check_err));
    op mm = {.kind = OP_BLAS_MM, .m = 1, .flag = at(&t, 8192)};
    mm.dense_mm = (op_dense_mm){.w = w, .x = at(&t, 0), .y = at(&t, 4096), .ld_x = 64, .ld_y = 4};
    assert_false(b->supports(t.device, &mm, &reason)); // this build's cuBLAS does not exist
    assert_non_null(strstr(reason, "was not found"));
    op best = {.kind = OP_DENSE_TOP_K, .m = 1, .dense_top_k = {.w = w, .n = 4, .ld_x = 64, .k = 1}};
    assert_false(b->supports(t.device, &best, &reason));
    assert_non_null(strstr(reason, "dense_mm and top_k"));
    b->weights_destroy(w);
    const weights_desc int8 = {.n_rows = 4, .n_cols = 64, .type = DENSE_INT8};
    CHECK(b->weights_create(t.device, &int8, &w, &check_err));
    mm = (op){.kind = OP_BLAS_INT_MM, .m = 1};
    mm.int_mm = (op_int_mm){.w = w, .x.ld = 64, .ld_y = 4};
    assert_false(b->supports(t.device, &mm, &reason));
    assert_non_null(strstr(reason, "was not found"));
    mm.int_mm.check_finite = true;
    assert_false(b->supports(t.device, &mm, &reason));
    assert_non_null(strstr(reason, "finite"));
    b->weights_destroy(w);
    err = (tern_error){0};
    device *d = NULL;
    assert_int_equal(b->device_open(1, NULL, &d, &err), TERN_NO_DEVICE);
    close_bench(&t);
}

// Fast attention by architecture, KV types and head size, as the description of the device and `supports` say it.
static void test_fast_attention_is_refused(void **state)
{
    (void)state;
    static const struct {
        int capability, k_type, v_type;
        uint32_t head_dim;
        const char *refusal; // NULL: runs
    } cases[] = {{80, KV_F16, KV_F16, 64, NULL},
                 {86, KV_F16, KV_F16, 8, NULL},
                 {120, KV_F16, KV_F16, 128, NULL},
                 {75, KV_F16, KV_F16, 64, "sm_80 or later"},
                 {80, KV_INT8, KV_INT8, 64, "f16 K and V"},
                 {80, KV_F16, KV_F32, 64, "f16 K and V"},
                 {80, KV_F16, KV_F16, 100, "multiples of 8, up to 128"},
                 {80, KV_F16, KV_F16, 136, "multiples of 8, up to 128"},
                 {80, KV_F16, KV_F16, 0, "head dimensions"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        shim_set_capability(cases[i].capability);
        bench t = open_bench();
        device_facts facts;
        CHECK(b->device_describe(0, &facts, &check_err));
        assert_int_equal(facts.has_fast_attention, cases[i].capability >= 80);
        uint32_t width = 4 * cases[i].head_dim;
        op o = {.kind = OP_FAST_ATTENTION, .m = 16};
        o.attention = (op_attention){.rows.table_ld = 1, .n_heads = 4, .ld_q = width, .ld_y = width};
        o.attention.cache = (kv_cache){.n_blocks = 1,
                                       .n_kv_heads = 2,
                                       .head_dim = cases[i].head_dim,
                                       .k_type = cases[i].k_type,
                                       .v_type = cases[i].v_type};
        const char *reason = NULL;
        assert_int_equal(b->supports(t.device, &o, &reason), cases[i].refusal == NULL);
        if (cases[i].refusal != NULL) assert_non_null(strstr(reason, cases[i].refusal));
        close_bench(&t);
    }
    shim_set_capability(80);
}

static void test_rows_are_checked(void **state)
{
    (void)state;
    bench t = open_bench();
    tern_error err = {0};
    ternary_scale scale = {0};
    weights *w = NULL;
    uint8_t rows[2 * 16] = {0};
    rows[16 + 5] = 3 << 4; // code 3 in the second row
    CHECK(ternary_scale_tensor(1.0f, 64, &scale, &check_err));
    const weights_desc desc = {.n_rows = 4, .n_cols = 64, .is_ternary = true, .scale = &scale};
    CHECK(b->weights_create(t.device, &desc, &w, &check_err));
    assert_int_equal(b->weights_upload_rows(w, 2, 2, rows, &err), TERN_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "row 3 holds code 3"));
    err = (tern_error){0};
    assert_int_equal(b->weights_upload_rows(w, 3, 2, rows, &err), TERN_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "rows 3 to 5 of a matrix of 4"));
    assert_int_equal(b->weights_download_rows(w, 4, 1, rows, NULL), TERN_INVALID_ARGUMENT);
    b->weights_destroy(w);
    ternary_scale_free(&scale);
    close_bench(&t);
}

// What every destroy function must take.
static void test_destroy_nothing(void **state)
{
    (void)state;
    b->device_close(NULL);
    b->buffer_destroy(NULL);
    b->stream_destroy(NULL);
    b->event_destroy(NULL);
    b->weights_destroy(NULL);
    b->graph_destroy(NULL);
}

// ------------------------------------------------------------------------------------------------ memory

// Opens everything there is to open, runs an op, closes. Returns the first failure.
static tern_status use_everything(tern_error *err)
{
    bench t = {0};
    event *e = NULL;
    graph *g = NULL;
    weights *w = NULL, *dense = NULL;
    uint8_t rows[16 * 33] = {0}, back[sizeof rows] = {0};
    ternary_scale scale = {0};
    const weights_desc ternary = {.n_rows = 33, .n_cols = 64, .is_ternary = true, .scale = &scale};
    const weights_desc f16 = {.n_rows = 3, .n_cols = 64, .type = DENSE_F16};
    tern_status status = ternary_scale_tensor(0.5f, 64, &scale, err);
    if (status == TERN_OK) status = b->device_open(0, NULL, &t.device, err);
    if (status == TERN_OK) status = b->stream_create(t.device, &t.stream, err);
    if (status == TERN_OK) status = b->buffer_create(t.device, 1 << 20, &t.memory, err);
    if (status == TERN_OK) status = b->event_create(t.device, &e, err);
    if (status == TERN_OK) status = b->weights_create(t.device, &ternary, &w, err);
    if (status == TERN_OK) status = b->weights_create(t.device, &f16, &dense, err);
    if (status == TERN_OK) status = b->weights_upload_rows(w, 0, 33, rows, err);
    if (status == TERN_OK) status = b->weights_download_rows(w, 0, 33, back, err);
    if (status == TERN_OK) status = b->graph_begin(t.stream, err);
    if (status == TERN_OK) {
        op o = residual_op(&t);
        status = b->enqueue(t.stream, &o, err);
    }
    if (status == TERN_OK) status = b->graph_end(t.stream, &g, err);
    if (status == TERN_OK) status = b->graph_launch(t.stream, g, err);
    if (status == TERN_OK) status = b->event_record(t.stream, e, err);
    if (status == TERN_OK) status = b->stream_sync(t.stream, err);
    if (status == TERN_OK) assert_memory_equal(rows, back, sizeof rows);
    ternary_scale_free(&scale);
    b->graph_destroy(g);
    b->weights_destroy(dense);
    b->weights_destroy(w);
    b->event_destroy(e);
    b->buffer_destroy(t.memory);
    b->stream_destroy(t.stream);
    b->device_close(t.device);
    return status;
}

static void test_every_allocation_can_fail(void **state)
{
    (void)state;
    long before = shim_allocations();
    CHECK(use_everything(&check_err));
    long n = shim_allocations() - before;
    assert_true(n > 15);
    for (long i = 0; i < n; i++) {
        tern_error err = {0};
        shim_fail_after(i);
        assert_int_equal(use_everything(&err), TERN_DEVICE_MEMORY);
        assert_true(err.message[0] != 0);
        assert_int_equal(shim_live(), 0);
    }
    shim_fail_after(n); // behind the last one
    CHECK(use_everything(&check_err));
    shim_fail_after(-1);
}

// ------------------------------------------------------------------------------------------------ discovery

static void test_discovery(void **state)
{
    (void)state;
    const char *note = NULL;
    device_facts facts;
    tern_error err = {0};
    shim_set_devices(-1);
    assert_int_equal(b->device_count(&note), 0);
    assert_non_null(strstr(note, "cuda: no NVIDIA driver ("));
    assert_int_equal(b->device_describe(0, &facts, &err), TERN_NO_DEVICE);
    shim_set_devices(0);
    assert_int_equal(b->device_count(&note), 0);
    assert_non_null(strstr(note, "sees no GPU"));
    shim_set_devices(2);
    assert_int_equal(b->device_count(&note), 2);
    assert_string_equal(note, "");
    CHECK(b->device_describe(1, &facts, &check_err));
    assert_string_equal(facts.name, "cuda1");
    assert_non_null(strstr(facts.description, "sm_80, 4 SMs"));
    assert_true(facts.memory_total > 0 && facts.memory_free <= facts.memory_total);
    assert_true(facts.bytes_open >= CUDA_SCRATCH_BYTES && !facts.is_reference);
    shim_set_devices(1);

    bench t = open_bench();
    uint64_t total = 0, available = 0;
    bool is_reproducible = false;
    CHECK(b->device_memory(t.device, &total, &available, &check_err));
    assert_true(available < total);
    CHECK(b->device_probe(t.device, &is_reproducible, &check_err));
    assert_true(is_reproducible);
    close_bench(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_discovery),
        cmocka_unit_test(test_graph_equals_eager),
        cmocka_unit_test(test_capture_refuses_what_waits),
        cmocka_unit_test(test_copies_and_events),
        cmocka_unit_test(test_matrices_take_turns_in_a_slot),
        cmocka_unit_test(test_lost_device),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_fast_attention_is_refused),
        cmocka_unit_test(test_rows_are_checked),
        cmocka_unit_test(test_destroy_nothing),
        cmocka_unit_test(test_every_allocation_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
