// Rows go to a device by several threads: the same bytes as by one, the first failure of the file, progress that only
// grows, and one thread at a time where the device cannot take more.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cpu.h"
#include "upload.h"

#define N_ROWS   12000u // several blocks
#define N_COLS   1024u
#define N_PACKED ((size_t)N_ROWS * N_COLS / 4)

static uint8_t *packed;
static tensor weights_tensor;
static matrix_source source;
static device *cpu;

static int make_source(void **state)
{
    (void)state;
    const float scale = 0.75f;
    packed = malloc(N_PACKED + sizeof scale);
    if (packed == NULL) return -1;
    uint32_t x = 1;
    for (size_t i = 0; i < N_PACKED; i++) { // codes 0, 1, 2 in every field
        packed[i] = 0;
        for (int k = 0; k < 4; k++) {
            x = x * 1664525u + 1013904223u;
            packed[i] = (uint8_t)(packed[i] | (x >> 24) % 3 << (2 * k));
        }
    }
    memcpy(packed + N_PACKED, &scale, sizeof scale);
    weights_tensor = (tensor){.type = TENSOR_I2_S, .data = packed, .n_bytes = N_PACKED + sizeof scale};
    source = (matrix_source){.name = "blk.0.ffn_up.weight",
                             .n_rows = N_ROWS,
                             .n_cols = N_COLS,
                             .encoding = MATRIX_I2_S,
                             .weights = &weights_tensor,
                             .n_bytes = N_PACKED + sizeof scale};
    return cpu_backend.device_open(0, &(device_options){.n_threads = 1}, &cpu, NULL) != TERN_OK;
}

static int free_source(void **state)
{
    (void)state;
    cpu_backend.device_close(cpu);
    free(packed);
    return 0;
}

typedef struct outcome {
    tern_status status;
    tern_error err;
    uint64_t done, last;
    bool is_monotone;
} outcome;

typedef struct watcher {
    uint64_t last, cancel_at;
    bool is_monotone;
} watcher;

static bool watch(void *user, uint64_t done, uint64_t total)
{
    watcher *w = user;
    w->is_monotone = w->is_monotone && done >= w->last && done <= total;
    w->last = done;
    return done < w->cancel_at;
}

// Uploads the source with so many threads; *image, if asked for, gets a copy of what the device then holds.
static outcome upload(const backend *b, bool is_in_memory, uint32_t n_threads, dense_type held, uint64_t cancel_at,
                      uint8_t **image, uint64_t *n_bytes)
{
    outcome o = {0};
    ternary_scale scale;
    weights *w = NULL;
    uploader *u = NULL;
    watcher watched = {.cancel_at = cancel_at, .is_monotone = true};
    load_progress progress = {.report = watch, .user = &watched, .total = source.n_bytes};
    assert_int_equal(matrix_scale(&source, &scale, NULL), TERN_OK);
    const weights_desc desc = {.n_rows = N_ROWS,
                               .n_cols = N_COLS,
                               .is_ternary = held == DENSE_N_TYPES,
                               .type = held == DENSE_N_TYPES ? DENSE_F32 : held,
                               .scale = held == DENSE_N_TYPES ? &scale : NULL};
    assert_int_equal(b->weights_create(cpu, &desc, &w, NULL), TERN_OK);
    assert_int_equal(uploader_create(b, is_in_memory, n_threads, N_COLS, &progress, &u, NULL), TERN_OK);
    o.status = upload_rows(u, &(upload_source){&source, &scale}, 1, held, w, 0, &o.err);
    o.done = progress.done;
    o.last = watched.last;
    o.is_monotone = watched.is_monotone;
    if (image != NULL) {
        assert_int_equal(b->weights_bytes(NULL, &desc, n_bytes, NULL), TERN_OK);
        *image = malloc((size_t)*n_bytes);
        memcpy(*image, b->weights_image(w), (size_t)*n_bytes);
    }
    uploader_free(u);
    b->weights_destroy(w);
    ternary_scale_free(&scale);
    return o;
}

static void test_same_bytes_by_any_number_of_threads(void **state)
{
    (void)state;
    const dense_type forms[] = {DENSE_N_TYPES, DENSE_INT8, DENSE_INT4, DENSE_F16, DENSE_F32};
    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
        uint8_t *expected, *image;
        uint64_t n_expected, n;
        outcome o = upload(&cpu_backend, true, 1, forms[f], UINT64_MAX, &expected, &n_expected);
        assert_int_equal(o.status, TERN_OK);
        const uint32_t threads[] = {2, 3, 8};
        for (size_t i = 0; i < 3; i++) {
            o = upload(&cpu_backend, true, threads[i], forms[f], UINT64_MAX, &image, &n);
            assert_int_equal(o.status, TERN_OK);
            assert_true(o.is_monotone);
            assert_int_equal(o.done, source.n_bytes);
            assert_int_equal(o.last, source.n_bytes);
            assert_int_equal(n, n_expected);
            assert_memory_equal(image, expected, n);
            free(image);
        }
        free(expected);
    }
}

// Code 3 in two rows: the earlier one is named, whichever thread meets its own first.
static void test_the_first_failure_is_told(void **state)
{
    (void)state;
    const uint32_t bad[] = {11990, 7001, 3100};
    uint8_t *bytes[3], kept[3];
    for (int i = 0; i < 3; i++) {
        bytes[i] = packed + (size_t)bad[i] * N_COLS / 4 + 17;
        kept[i] = *bytes[i];
        *bytes[i] = 0xff;
        char expected[64];
        snprintf(expected, sizeof expected, "row %u holds code 3", bad[i]);
        for (uint32_t n_threads = 1; n_threads <= 4; n_threads++)
            for (int again = 0; again < 8; again++) {
                outcome o = upload(&cpu_backend, true, n_threads, DENSE_N_TYPES, UINT64_MAX, NULL, NULL);
                assert_int_equal(o.status, TERN_MALFORMED);
                if (strstr(o.err.message, expected) == NULL) fail_msg("%u threads: %s", n_threads, o.err.message);
                assert_true(o.is_monotone);
            }
    }
    for (int i = 0; i < 3; i++) *bytes[i] = kept[i];
}

static void test_cancelling(void **state)
{
    (void)state;
    for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
        const uint64_t cancel_at[] = {0, source.n_bytes / 3, source.n_bytes};
        for (size_t i = 0; i < 3; i++) {
            outcome o = upload(&cpu_backend, true, n_threads, DENSE_N_TYPES, cancel_at[i], NULL, NULL);
            assert_int_equal(o.status, TERN_CANCELLED);
            assert_true(o.err.message[0] != 0);
        }
    }
}

static int n_inside, n_most;

static tern_status upload_alone(weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err)
{
    int n = __atomic_add_fetch(&n_inside, 1, __ATOMIC_SEQ_CST);
    if (n > n_most) n_most = n;
    usleep(200);
    tern_status status = cpu_backend.weights_upload_rows(w, first, count, rows, err);
    __atomic_sub_fetch(&n_inside, 1, __ATOMIC_SEQ_CST);
    return status;
}

static void test_a_device_of_its_own_memory_sees_one_thread(void **state)
{
    (void)state;
    backend apart = cpu_backend;
    uint8_t *image, *expected;
    uint64_t n;
    apart.weights_upload_rows = upload_alone;
    assert_int_equal(upload(&cpu_backend, true, 1, DENSE_N_TYPES, UINT64_MAX, &expected, &n).status, TERN_OK);
    assert_int_equal(upload(&apart, false, 4, DENSE_N_TYPES, UINT64_MAX, &image, &n).status, TERN_OK);
    assert_int_equal(n_most, 1);
    assert_memory_equal(image, expected, n);
    free(image);
    free(expected);
}

// Gate and up by turns, also where a block of rows ends within a turn: rows so wide that a room holds ten.
static void test_rows_by_turns(void **state)
{
    (void)state;
    enum { N = 24, K = 98304 };
    const size_t row_bytes = ternary_row_bytes(K);
    matrix_source gate = source, up = source;
    tensor moved = weights_tensor;
    ternary_scale scale;
    weights *w = NULL;
    uploader *u = NULL;
    watcher watched = {.cancel_at = UINT64_MAX, .is_monotone = true};
    load_progress progress = {.report = watch, .user = &watched, .total = 2 * N * row_bytes};
    gate.n_rows = up.n_rows = N;
    gate.n_cols = up.n_cols = K;
    gate.n_bytes = up.n_bytes = N * row_bytes;
    moved.data += N * row_bytes; // other rows
    up.weights = &moved;
    assert_true(2 * N * row_bytes <= N_PACKED);
    assert_int_equal(ternary_scale_tensor(0.75f, K, &scale, NULL), TERN_OK);
    const upload_source sources[] = {{&gate, &scale}, {&up, &scale}};
    const weights_desc desc = {.n_rows = 2 * N, .n_cols = K, .is_ternary = true, .scale = &scale};
    assert_int_equal(cpu_backend.weights_create(cpu, &desc, &w, NULL), TERN_OK);
    assert_int_equal(uploader_create(&cpu_backend, true, 3, 64, &progress, &u, NULL), TERN_OK);
    assert_int_equal(upload_rows(u, sources, 2, DENSE_N_TYPES, w, 0, NULL), TERN_OK);
    assert_int_equal(watched.last, 2 * N * row_bytes);
    assert_true(watched.is_monotone);
    uploader_free(u);

    uint8_t *expected = malloc(row_bytes), *got = malloc(row_bytes);
    for (uint32_t r = 0; r < 2 * N; r++) {
        const upload_source *from = &sources[r / N];
        assert_int_equal(matrix_read_rows(from->matrix, from->scale, r % N, 1, expected, NULL), TERN_OK);
        assert_int_equal(cpu_backend.weights_download_rows(w, gated_row(r % N, r / N), 1, got, NULL), TERN_OK);
        assert_memory_equal(got, expected, row_bytes);
    }
    free(expected);
    free(got);
    cpu_backend.weights_destroy(w);
    ternary_scale_free(&scale);
}

// A matrix used where it is mapped: nothing is copied, and the progress is told.
static void test_rows_in_place(void **state)
{
    (void)state;
    static float rows[500][64];
    tensor t = {.type = TENSOR_F32, .data = (const uint8_t *)rows, .n_bytes = sizeof rows};
    matrix_source dense = {.name = "output.weight", .n_rows = 500, .n_cols = 64, .weights = &t};
    dense.encoding = MATRIX_DENSE;
    dense.dense = DENSE_F32;
    dense.n_bytes = sizeof rows;
    watcher watched = {.cancel_at = UINT64_MAX, .is_monotone = true};
    load_progress progress = {.report = watch, .user = &watched, .total = sizeof rows};
    uploader *u = NULL;
    weights *w = NULL;
    device_usage before, during, after;
    assert_int_equal(uploader_create(&cpu_backend, true, 2, 64, &progress, &u, NULL), TERN_OK);
    assert_int_equal(upload_rows(u, &(upload_source){.matrix = &dense}, 1, DENSE_N_TYPES, NULL, 0, NULL), TERN_OK);
    assert_int_equal(watched.last, sizeof rows);
    uploader_free(u);

    uint8_t *mapped = aligned_alloc(64, sizeof rows + 64);
    memset(mapped, 7, sizeof rows + 64);
    const weights_desc desc = {.n_rows = 500, .n_cols = 64, .type = DENSE_F32, .image = mapped};
    uint64_t n_bytes;
    assert_int_equal(cpu_backend.weights_bytes(NULL, &desc, &n_bytes, NULL), TERN_OK);
    assert_true(n_bytes <= sizeof rows + 64);
    cpu_backend.device_allocated(cpu, &before);
    assert_int_equal(cpu_backend.weights_create(cpu, &desc, &w, NULL), TERN_OK);
    cpu_backend.device_allocated(cpu, &during);
    assert_int_equal(during.now - before.now, n_bytes); // mapped or not, it is memory the plan counts
    assert_ptr_equal(cpu_backend.weights_image(w), mapped);
    assert_int_equal(cpu_backend.weights_upload_rows(w, 0, 1, mapped, NULL), TERN_INVALID_ARGUMENT);
    cpu_backend.weights_destroy(w);
    cpu_backend.device_allocated(cpu, &after);
    assert_int_equal(after.now, before.now);
    assert_int_equal(mapped[0], 7);
    free(mapped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes_by_any_number_of_threads),
        cmocka_unit_test(test_the_first_failure_is_told),
        cmocka_unit_test(test_cancelling),
        cmocka_unit_test(test_a_device_of_its_own_memory_sees_one_thread),
        cmocka_unit_test(test_rows_by_turns),
        cmocka_unit_test(test_rows_in_place),
    };
    return cmocka_run_group_tests(tests, make_source, free_source);
}
