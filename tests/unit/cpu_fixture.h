// A device of the CPU backend for tests: buffers made from arrays, outputs that start as NaN, everything freed at the
// end.
#ifndef TERN_TEST_CPU_FIXTURE_H
#define TERN_TEST_CPU_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend.h"
#include "cpu.h"
#include "rng.h"

#define FIXTURE_REFERENCE 1 // device index of "cpuref"
#define FIXTURE_MAX       2048

typedef struct fixture {
    device *device;
    stream *stream;
    buffer *buffers[FIXTURE_MAX];
    weights *weights[FIXTURE_MAX];
    size_t n_buffers, n_weights;
    view flag;
    uint64_t counter; // of the random numbers
} fixture;

// An output: every byte 0xff, so every float NaN.
static inline view fixture_room(fixture *f, size_t n_bytes)
{
    assert_true(f->n_buffers < FIXTURE_MAX);
    view v = {0};
    assert_int_equal(cpu_backend.buffer_create(f->device, n_bytes, &v.buffer, NULL), TERN_OK);
    f->buffers[f->n_buffers++] = v.buffer;
    assert_int_equal(cpu_backend.buffer_fill(f->stream, v, 0xff, n_bytes, NULL), TERN_OK);
    return v;
}

static inline view fixture_put(fixture *f, const void *data, size_t n_bytes)
{
    view v = fixture_room(f, n_bytes);
    assert_int_equal(cpu_backend.buffer_write(f->stream, v, data, n_bytes, NULL), TERN_OK);
    return v;
}

#define PUT_FLOATS(f, ...) fixture_put(f, (const float[]){__VA_ARGS__}, sizeof((const float[]){__VA_ARGS__}))
#define PUT_INTS(f, ...)   fixture_put(f, (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}))

static inline const float *fixture_floats(view v) { return (const float *)(const void *)(v.buffer->data + v.offset); }
static inline const int32_t *fixture_ints(view v) { return (const int32_t *)(const void *)(v.buffer->data + v.offset); }
static inline const int8_t *fixture_codes(view v) { return (const int8_t *)(v.buffer->data + v.offset); }

// Roughly normal, unit variance.
static inline float fixture_random(fixture *f)
{
    float sum = 0;
    for (int i = 0; i < 12; i++) sum += rng_unit(99, f->counter++);
    return sum - 6.0f;
}

static inline view fixture_random_floats(fixture *f, size_t n)
{
    view v = fixture_room(f, n * sizeof(float));
    float *x = (float *)(void *)v.buffer->data;
    for (size_t i = 0; i < n; i++) x[i] = fixture_random(f);
    return v;
}

static inline quantized fixture_quantized(fixture *f, uint32_t m, uint32_t n, bool is_two_term)
{
    uint32_t ld = quantized_ld(n);
    quantized q = {.ld = ld};
    q.codes = fixture_room(f, (size_t)m * ld);
    q.scale = fixture_room(f, m * sizeof(float));
    q.sum = fixture_room(f, m * sizeof(int32_t));
    if (!is_two_term) return q;
    q.lo_codes = fixture_room(f, (size_t)m * ld);
    q.lo_scale = fixture_room(f, m * sizeof(float));
    q.lo_sum = fixture_room(f, m * sizeof(int32_t));
    return q;
}

// Weights from stored or canonical rows; `scale` is freed.
static inline weights *fixture_weights(fixture *f, weights_desc desc, ternary_scale *scale, const uint8_t *rows)
{
    weights *w = NULL;
    desc.scale = scale;
    assert_true(f->n_weights < FIXTURE_MAX);
    assert_int_equal(cpu_backend.weights_create(f->device, &desc, &w, NULL), TERN_OK);
    f->weights[f->n_weights++] = w;
    assert_int_equal(cpu_backend.weights_upload_rows(w, 0, desc.n_rows, rows, NULL), TERN_OK);
    ternary_scale_free(scale);
    return w;
}

// Canonical rows of random codes; the caller frees them.
static inline uint8_t *fixture_random_ternary(fixture *f, uint32_t n_rows, uint32_t n_cols)
{
    uint8_t *rows = calloc(n_rows, ternary_row_bytes(n_cols));
    assert_non_null(rows);
    for (uint32_t r = 0; r < n_rows; r++) {
        uint8_t *row = rows + r * ternary_row_bytes(n_cols);
        for (uint32_t c = 0; c < n_cols; c++)
            row[c / 4] = (uint8_t)(row[c / 4] | rng_u64(7, f->counter++) % 3 << (2 * (c % 4)));
        ternary_pad_row(row, n_cols);
    }
    return rows;
}

// Runs an op with the flag word reset; returns the flag word.
static inline uint32_t fixture_run(fixture *f, op o)
{
    tern_error err = {0};
    o.flag = f->flag;
    assert_int_equal(cpu_backend.buffer_fill(f->stream, f->flag, 0xff, 4, NULL), TERN_OK);
    if (cpu_backend.enqueue(f->stream, &o, &err) != TERN_OK) fail_msg("%s", err.message);
    uint32_t flag;
    assert_int_equal(cpu_backend.buffer_read(f->stream, f->flag, &flag, 4, NULL), TERN_OK);
    return flag;
}

static inline int fixture_setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    *state = f;
    if (f == NULL || cpu_backend.device_open(FIXTURE_REFERENCE, NULL, &f->device, NULL) != TERN_OK) return -1;
    if (cpu_backend.stream_create(f->device, &f->stream, NULL) != TERN_OK) return -1;
    f->flag = fixture_room(f, 4);
    return 0;
}

static inline int fixture_teardown(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < f->n_weights; i++) cpu_backend.weights_destroy(f->weights[i]);
    for (size_t i = 0; i < f->n_buffers; i++) cpu_backend.buffer_destroy(f->buffers[i]);
    cpu_backend.stream_destroy(f->stream);
    cpu_backend.device_close(f->device);
    free(f);
    return 0;
}

#endif
