// The part of the backend contract that placement is made of: matrices on the host, and matrices that take turns in a
// slot, copied beside the ops and ordered by events alone. For each form of weights; the same for every backend.
#ifndef TERN_TESTS_SLOTS_H
#define TERN_TESTS_SLOTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "op_run.h"

#define SLOT_ROWS  33u
#define SLOT_COLS  130u
#define SLOT_TURNS 6u

typedef struct slot_test {
    op_runner *runner;
    weights_desc desc;
    size_t row_bytes;
    buffer *ids, *values;
    float *got, *expected[2]; // the two matrices as floats
    uint8_t *rows[2], *back;
} slot_test;

static inline void slot_fill(const slot_test *t, uint8_t *rows, uint32_t seed)
{
    for (uint32_t r = 0; r < SLOT_ROWS; r++) {
        uint8_t *row = rows + r * t->row_bytes;
        memset(row, 0, t->row_bytes);
        for (uint32_t c = 0; c < SLOT_COLS; c++) {
            uint32_t trit = (r * 7 + c * 5 + seed) % 3;
            if (t->desc.is_ternary)
                row[c / 4] = (uint8_t)(row[c / 4] | trit << (2 * (c % 4)));
            else
                row[2 * c + 1] = (uint8_t)(0x3c + trit); // F16: 1, 1.25 or 1.5
        }
        if (t->desc.is_ternary) ternary_pad_row(row, SLOT_COLS);
    }
}

// All rows of a matrix by the op that dequantises them, enqueued behind what the stream was told to wait for.
static inline void slot_expect(slot_test *t, const weights *w, const float *expected)
{
    const backend *b = t->runner->backend;
    stream *s = t->runner->stream;
    size_t n_bytes = SLOT_ROWS * SLOT_COLS * sizeof(float);
    const op o = {.kind = OP_EMBED,
                  .m = SLOT_ROWS,
                  .embed = {.table = w, .ids = {t->ids, 0}, .y = {t->values, 0}, .ld_y = SLOT_COLS}};
    assert_int_equal(b->buffer_fill(s, (view){t->values, 0}, 0xff, n_bytes, NULL), TERN_OK);
    assert_int_equal(b->enqueue(s, &o, NULL), TERN_OK);
    assert_int_equal(b->buffer_read(s, (view){t->values, 0}, t->got, n_bytes, NULL), TERN_OK);
    if (expected != NULL) assert_memory_equal(t->got, expected, n_bytes);
}

static inline weights *slot_create(const slot_test *t, weights_place place, buffer *slot, const uint8_t *rows)
{
    const backend *b = t->runner->backend;
    weights_desc desc = t->desc;
    weights *w = NULL;
    tern_error err = {0};
    desc.place = place;
    desc.slot = slot;
    if (b->weights_create(t->runner->device, &desc, &w, &err) != TERN_OK) fail_msg("%s", err.message);
    if (rows != NULL && b->weights_upload_rows(w, 0, SLOT_ROWS, rows, &err) != TERN_OK) fail_msg("%s", err.message);
    return w;
}

// What is not described alike is refused, and so is a slot that is too small or missing.
static inline void slot_refusals(const slot_test *t, stream *copies, buffer *slot, weights *const home[2],
                                 weights *const visitor[2])
{
    const backend *b = t->runner->backend;
    weights_desc desc = t->desc;
    ternary_scale fewer = {0};
    weights *none = NULL;
    assert_int_equal(b->weights_copy(copies, home[0], home[1], NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(b->weights_copy(copies, visitor[0], visitor[1], NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(b->weights_copy(copies, home[0], visitor[0], NULL), TERN_INVALID_ARGUMENT);
    desc.place = WEIGHTS_ON_HOST;
    desc.n_rows -= 1;
    if (desc.is_ternary) {
        fewer = *desc.scale;
        if (fewer.n_sets == SLOT_ROWS) fewer.n_sets--;
        desc.scale = &fewer;
    }
    weights *shorter = NULL;
    assert_int_equal(b->weights_create(t->runner->device, &desc, &shorter, NULL), TERN_OK);
    assert_int_equal(b->weights_copy(copies, visitor[0], shorter, NULL), TERN_INVALID_ARGUMENT);
    b->weights_destroy(shorter);
    desc.place = WEIGHTS_IN_SLOT;
    desc.n_rows = 64;
    desc.slot = slot;
    assert_int_equal(b->weights_create(t->runner->device, &desc, &none, NULL), TERN_INVALID_ARGUMENT);
    desc.n_rows = SLOT_ROWS;
    desc.slot = NULL;
    assert_int_equal(b->weights_create(t->runner->device, &desc, &none, NULL), TERN_INVALID_ARGUMENT);
    assert_null(none);
}

static inline void slot_turns(slot_test *t)
{
    const backend *b = t->runner->backend;
    device *d = t->runner->device;
    tern_error err = {0};
    uint64_t bytes = 0;
    size_t n_bytes = SLOT_ROWS * t->row_bytes;
    device_usage before, between, after;
    buffer *slot = NULL;
    weights *home[2], *visitor[2];
    stream *copies = NULL;
    event *copied = NULL, *used = NULL;
    b->device_allocated(d, &before);
    if (b->weights_bytes(NULL, &t->desc, &bytes, &err) != TERN_OK) fail_msg("%s", err.message);
    assert_int_equal(b->buffer_create(d, (size_t)bytes, &slot, &err), TERN_OK);
    assert_int_equal(b->copy_stream_create(d, &copies, &err), TERN_OK);
    assert_int_equal(b->event_create(d, &copied, &err), TERN_OK);
    assert_int_equal(b->event_create(d, &used, &err), TERN_OK);
    assert_int_equal(b->stream_wait(t->runner->stream, copied, &err), TERN_OK); // never recorded: nothing to wait for
    for (uint32_t i = 0; i < 2; i++) {
        home[i] = slot_create(t, WEIGHTS_ON_HOST, NULL, t->rows[i]);
        visitor[i] = slot_create(t, WEIGHTS_IN_SLOT, slot, NULL);
    }
    b->device_allocated(d, &between);
    assert_int_equal(between.now, before.now + bytes); // the slot
    assert_int_equal(between.host, before.host + 2 * bytes);
    for (uint32_t i = 0; i < 2; i++) slot_expect(t, home[i], t->expected[i]); // as they lie on the host
    for (uint32_t i = 0; i < SLOT_TURNS; i++) {
        assert_int_equal(b->stream_wait(copies, used, &err), TERN_OK);
        assert_int_equal(b->weights_copy(copies, visitor[i % 2], home[i % 2], &err), TERN_OK);
        assert_int_equal(b->event_record(copies, copied, &err), TERN_OK);
        assert_int_equal(b->stream_wait(t->runner->stream, copied, &err), TERN_OK);
        slot_expect(t, visitor[i % 2], t->expected[i % 2]);
        assert_int_equal(b->event_record(t->runner->stream, used, &err), TERN_OK);
        assert_int_equal(b->weights_download_rows(visitor[i % 2], 0, SLOT_ROWS, t->back, &err), TERN_OK);
        assert_memory_equal(t->back, t->rows[i % 2], n_bytes);
    }
    slot_refusals(t, copies, slot, home, visitor);
    for (int i = 0; i < 2; i++) {
        b->weights_destroy(visitor[i]);
        b->weights_destroy(home[i]);
    }
    b->event_destroy(used);
    b->event_destroy(copied);
    b->stream_destroy(copies);
    b->buffer_destroy(slot);
    b->device_allocated(d, &after);
    assert_true(after.now == before.now && after.host == before.host && after.peak >= between.now);
}

// One form of weights; the matrices' floats come from weights of the same rows on the device.
static inline void slot_check(op_runner *runner, weights_desc desc)
{
    const backend *b = runner->backend;
    slot_test t = {.runner = runner, .desc = desc};
    int32_t ids[SLOT_ROWS];
    size_t n_values = SLOT_ROWS * SLOT_COLS * sizeof(float);
    t.row_bytes = desc.is_ternary ? ternary_row_bytes(SLOT_COLS) : dense_row_bytes(desc.type, SLOT_COLS);
    for (uint32_t i = 0; i < SLOT_ROWS; i++) ids[i] = (int32_t)i;
    assert_int_equal(b->buffer_create(runner->device, sizeof ids, &t.ids, NULL), TERN_OK);
    assert_int_equal(b->buffer_create(runner->device, n_values, &t.values, NULL), TERN_OK);
    assert_int_equal(b->buffer_write(runner->stream, (view){t.ids, 0}, ids, sizeof ids, NULL), TERN_OK);
    t.got = malloc(n_values);
    t.back = malloc(SLOT_ROWS * t.row_bytes);
    for (uint32_t i = 0; i < 2; i++) {
        t.rows[i] = malloc(SLOT_ROWS * t.row_bytes);
        t.expected[i] = malloc(n_values);
        slot_fill(&t, t.rows[i], i);
        weights *w = slot_create(&t, WEIGHTS_ON_DEVICE, NULL, t.rows[i]);
        slot_expect(&t, w, NULL);
        memcpy(t.expected[i], t.got, n_values);
        b->weights_destroy(w);
    }
    assert_true(memcmp(t.expected[0], t.expected[1], n_values) != 0);
    slot_turns(&t);
    for (uint32_t i = 0; i < 2; i++) {
        free(t.rows[i]);
        free(t.expected[i]);
    }
    free(t.got);
    free(t.back);
    b->buffer_destroy(t.ids);
    b->buffer_destroy(t.values);
}

static inline void check_slots(op_runner *runner)
{
    float values[SLOT_ROWS * 3];
    for (uint32_t i = 0; i < SLOT_ROWS * 3; i++) values[i] = 0.5f + (float)i / 64.0f;
    const ternary_scale tensor = {.n_sets = 1, .group = SLOT_COLS, .n_groups = 1, .values = values};
    const ternary_scale groups = {.n_sets = SLOT_ROWS, .group = 64, .n_groups = 3, .values = values};
    const weights_desc base = {.n_rows = SLOT_ROWS, .n_cols = SLOT_COLS, .is_ternary = true, .scale = &tensor};
    weights_desc desc = base;
    slot_check(runner, desc);
    desc.layout = TERNARY_T80;
    slot_check(runner, desc);
    desc = base;
    desc.scale = &groups;
    slot_check(runner, desc);
    slot_check(runner, (weights_desc){.n_rows = SLOT_ROWS, .n_cols = SLOT_COLS, .type = DENSE_F16});
}

#endif
