// Running op cases and judging the results; see op_run.h.
#include "op_run.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"

#define GUARD      256u  // bytes before and behind every operand; keeps the operand at 64-byte alignment
#define GUARD_BYTE 0xfdu // as a float -4.2e37, as a code -3: reading it shows, too

static const uint32_t upload_steps[] = {1, 3, 16, 5, 17, 64, 2, 31}; // rows per upload; downloads use them backwards

tern_status op_runner_open(const backend *b, size_t index, uint32_t n_threads, op_runner *out, tern_error *err)
{
    op_runner r = {.backend = b};
    device_options options = {.n_threads = n_threads};
    tern_status status = b->device_describe(index, &r.facts, err);
    if (status == TERN_OK) status = b->device_open(index, &options, &r.device, err);
    if (status != TERN_OK) return status;
    status = b->stream_create(r.device, &r.stream, err);
    if (status != TERN_OK) {
        b->device_close(r.device);
        return status;
    }
    *out = r;
    return TERN_OK;
}

void op_runner_close(op_runner *runner)
{
    if (runner->backend == NULL) return;
    runner->backend->stream_destroy(runner->stream);
    runner->backend->device_close(runner->device);
    *runner = (op_runner){0};
}

void op_image_free(op_image *image)
{
    for (size_t i = 0; i < OP_REGIONS_MAX; i++) free(image->regions[i]);
    *image = (op_image){0};
}

// ------------------------------------------------------------------------------------------------ weights

static uint32_t step_rows(size_t i, uint32_t first, uint32_t n_rows)
{
    size_t n_steps = sizeof upload_steps / sizeof upload_steps[0];
    uint32_t rows = upload_steps[i % n_steps] * (i < n_steps ? 1 : 64); // large matrices in larger blocks after a while
    return rows < n_rows - first ? rows : n_rows - first;
}

tern_status op_weights_create(op_runner *runner, const op_data *d, weights **out, tern_error *err)
{
    const backend *b = runner->backend;
    const weights_desc desc = {.n_rows = d->n_weight_rows,
                               .n_cols = d->n_weight_cols,
                               .is_ternary = d->c->is_ternary,
                               .layout = d->c->layout,
                               .type = d->c->dense,
                               .scale = d->c->is_ternary ? &d->scale : NULL};
    weights *w = NULL;
    tern_status status = b->weights_create(runner->device, &desc, &w, err);
    uint32_t first = 0;
    for (size_t i = 0; status == TERN_OK && first < desc.n_rows; i++) {
        uint32_t count = step_rows(i, first, desc.n_rows);
        status = b->weights_upload_rows(w, first, count, d->weight_rows + first * d->weight_row_bytes, err);
        first += count;
    }
    if (status != TERN_OK) {
        b->weights_destroy(w);
        return status;
    }
    *out = w;
    return TERN_OK;
}

// Downloads from the last rows to the first and compares; then asks for the shape.
static tern_status check_round_trip(op_runner *runner, const op_data *d, weights *w, tern_error *err)
{
    const backend *b = runner->backend;
    weights_desc shape = {0};
    uint64_t n_bytes = 0;
    uint8_t *rows = malloc((size_t)(64 * 64) * d->weight_row_bytes);
    if (rows == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory to read weights back");
    tern_status status = TERN_OK;
    uint32_t end = d->n_weight_rows;
    for (size_t i = 0; status == TERN_OK && end > 0; i++) {
        uint32_t count = step_rows(i, 0, end), first = end - count;
        memset(rows, 0xff, count * d->weight_row_bytes);
        status = b->weights_download_rows(w, first, count, rows, err);
        if (status == TERN_OK &&
            memcmp(rows, d->weight_rows + first * d->weight_row_bytes, count * d->weight_row_bytes) != 0)
            status = error_set(err, TERN_INTERNAL, "weights: rows %u to %u came back changed", first, end - 1);
        end = first;
    }
    free(rows);
    if (status != TERN_OK) return status;

    b->weights_shape(w, &shape);
    if (shape.n_rows != d->n_weight_rows || shape.n_cols != d->n_weight_cols || shape.is_ternary != d->c->is_ternary ||
        (shape.is_ternary ? shape.layout != d->c->layout : shape.type != d->c->dense))
        return error_set(err, TERN_INTERNAL, "weights: the shape came back as [%u, %u], expected [%u, %u]",
                         shape.n_rows, shape.n_cols, d->n_weight_rows, d->n_weight_cols);
    const weights_desc desc = {.n_rows = shape.n_rows,
                               .n_cols = shape.n_cols,
                               .is_ternary = shape.is_ternary,
                               .layout = shape.layout,
                               .type = shape.type,
                               .scale = d->c->is_ternary ? &d->scale : NULL};
    status = b->weights_bytes(runner->device, &desc, &n_bytes, err);
    if (status == TERN_OK && n_bytes < (uint64_t)d->n_weight_rows * d->n_weight_cols / 8)
        status = error_set(err, TERN_INTERNAL, "weights: %llu bytes cannot hold [%u, %u]", (unsigned long long)n_bytes,
                           shape.n_rows, shape.n_cols);
    return status;
}

// ------------------------------------------------------------------------------------------------ execution

tern_status op_buffers_create(op_runner *runner, const op_data *d, buffer **buffers, op *o, tern_error *err)
{
    const backend *b = runner->backend;
    tern_status status = TERN_OK;
    for (size_t i = 0; i < d->n_regions && status == TERN_OK; i++) {
        const op_region *r = &d->regions[i];
        status = b->buffer_create(runner->device, r->n_bytes + 2 * GUARD, &buffers[i], err);
        if (status != TERN_OK) break;
        view all = {buffers[i], 0}, inner = {buffers[i], GUARD};
        for (size_t v = 0; v < 2; v++)
            if (r->view_at[v] != OP_NO_VIEW) memcpy((uint8_t *)o + r->view_at[v], &inner, sizeof inner);
        status = b->buffer_fill(runner->stream, all, GUARD_BYTE, r->n_bytes + 2 * GUARD, err);
        if (status == TERN_OK) status = b->buffer_write(runner->stream, inner, r->before, r->n_bytes, err);
    }
    return status;
}

// Guards, gaps between rows, and inputs as a whole must be as they were.
static tern_status check_untouched(const op_region *r, const uint8_t *image, tern_error *err)
{
    for (size_t i = 0; i < GUARD; i++) {
        if (image[i] != GUARD_BYTE)
            return error_set(err, TERN_INTERNAL, "wrote %zu bytes before the start of %s", GUARD - i, r->name);
        if (image[GUARD + r->n_bytes + i] != GUARD_BYTE)
            return error_set(err, TERN_INTERNAL, "wrote %zu bytes past the end of %s", i + 1, r->name);
    }
    const uint8_t *payload = image + GUARD;
    if (r->role == REGION_INPUT) {
        for (size_t i = 0; i < r->n_bytes; i++)
            if (payload[i] != r->before[i])
                return error_set(err, TERN_INTERNAL, "changed input %s at byte %zu", r->name, i);
        return TERN_OK;
    }
    for (uint32_t row = 0; row + 1 < r->n_rows; row++) {
        size_t at = row * r->stride + r->width, n = r->stride - r->width;
        if (n > 0 && memcmp(payload + at, r->before + at, n) != 0)
            return error_set(err, TERN_INTERNAL, "wrote between rows %u and %u of %s", row, row + 1, r->name);
    }
    return TERN_OK;
}

static tern_status read_image(op_runner *runner, const op_data *d, buffer *const *buffers, op_image *image,
                              tern_error *err)
{
    tern_status status = TERN_OK;
    for (size_t i = 0; i < d->n_regions && status == TERN_OK; i++) {
        const op_region *r = &d->regions[i];
        size_t n_bytes = r->n_bytes + 2 * GUARD;
        image->regions[i] = malloc(n_bytes);
        if (image->regions[i] == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory to read %s back", r->name);
        status = runner->backend->buffer_read(runner->stream, (view){buffers[i], 0}, image->regions[i], n_bytes, err);
        if (status == TERN_OK) status = check_untouched(r, image->regions[i], err);
    }
    if (status == TERN_OK) memcpy(&image->flag, image->regions[d->flag] + GUARD, sizeof image->flag);
    return status;
}

static void note_skip(op_image *image, const char *reason)
{
    image->is_skipped = true;
    snprintf(image->reason, sizeof image->reason, "%.199s",
             reason != NULL && reason[0] != 0 ? reason : "no reason given");
}

tern_status op_execute(op_runner *runner, const op_data *data, op_image *out, tern_error *err)
{
    const backend *b = runner->backend;
    buffer *buffers[OP_REGIONS_MAX] = {0};
    weights *w = NULL;
    op o = data->op;
    op_image image = {0};
    const char *reason = NULL;
    tern_error local = {0};
    tern_status status = data->has_weights ? op_weights_create(runner, data, &w, &local) : TERN_OK;
    if (status == TERN_DEVICE_UNSUPPORTED) {
        note_skip(&image, local.message);
        status = TERN_OK;
        goto done;
    }
    if (status == TERN_OK && data->has_weights) status = check_round_trip(runner, data, w, &local);
    if (status != TERN_OK) goto done;
    if (data->has_weights) memcpy((uint8_t *)&o + data->weights_at, &w, sizeof w);
    if (!b->supports(runner->device, &o, &reason)) {
        note_skip(&image, reason);
        goto done;
    }
    status = op_buffers_create(runner, data, buffers, &o, &local);
    if (status == TERN_OK) status = b->enqueue(runner->stream, &o, &local);
    if (status == TERN_OK) status = b->stream_sync(runner->stream, &local);
    if (status == TERN_OK) status = read_image(runner, data, buffers, &image, &local);
done:
    for (size_t i = 0; i < OP_REGIONS_MAX; i++) b->buffer_destroy(buffers[i]);
    b->weights_destroy(w);
    if (status != TERN_OK) {
        op_image_free(&image);
        return error_set(err, status, "%s", local.message);
    }
    *out = image;
    return TERN_OK;
}

// ------------------------------------------------------------------------------------------------ verdicts

static void fail(op_outcome *out, const char *format, ...) TERN_PRINTF(2, 3);
static void fail(op_outcome *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(out->text, sizeof out->text, format, args);
    va_end(args);
    out->verdict = VERDICT_FAILED;
}

static size_t element_bytes(const op_region *r)
{
    return r->element == ELEMENT_F32 || r->element == ELEMENT_I32 ? 4 : 1;
}

// The element at `at` for a message: floats as bits and value.
static void describe_element(const op_region *r, const uint8_t *at, char *out, size_t n_bytes)
{
    uint32_t bits = 0;
    float value;
    memcpy(&bits, at, element_bytes(r));
    memcpy(&value, &bits, sizeof value);
    if (r->element == ELEMENT_F32)
        snprintf(out, n_bytes, "0x%08x (%.9g)", bits, (double)value);
    else if (r->element == ELEMENT_I32)
        snprintf(out, n_bytes, "%d", (int32_t)bits);
    else if (r->element == ELEMENT_I8)
        snprintf(out, n_bytes, "%d", (int8_t)bits);
    else
        snprintf(out, n_bytes, "0x%02x", bits);
}

static float float_at(const uint8_t *at)
{
    float x;
    memcpy(&x, at, sizeof x);
    return x;
}

// y of fast attention: no element further from that of attention than it may be; NaN never is near enough.
static void compare_within(const op_data *data, const op_region *r, const uint8_t *expected, const uint8_t *actual,
                           op_outcome *out)
{
    size_t n_columns = r->width / sizeof(float), n_beyond = 0;
    double *tolerances = malloc(n_columns * sizeof *tolerances), worst = 0.0;
    char first[128] = "";
    if (tolerances == NULL) {
        fail(out, "no memory for the tolerances of %s", r->name);
        return;
    }
    for (uint32_t row = 0; row < r->n_rows; row++) {
        op_data_tolerances(data, row, tolerances);
        for (size_t i = 0; i < n_columns; i++) {
            size_t at = row * r->stride + i * sizeof(float);
            float want = float_at(expected + at), got = float_at(actual + at);
            double off = fabs((double)got - (double)want);
            if (off <= tolerances[i] && (tolerances[i] > 0.0 || memcmp(expected + at, actual + at, sizeof want) == 0)) {
                worst = tolerances[i] > 0.0 && off / tolerances[i] > worst ? off / tolerances[i] : worst;
                continue;
            }
            if (n_beyond++ == 0)
                snprintf(first, sizeof first, "%s[%u][%zu]: expected %.9g within %.3g, got %.9g", r->name, row, i,
                         (double)want, tolerances[i], (double)got);
        }
    }
    free(tolerances);
    out->error_share = worst;
    if (n_beyond > 0) fail(out, "%s; %zu of %zu elements are too far off", first, n_beyond, r->n_rows * n_columns);
}

static void compare_region(const op_region *r, const uint8_t *expected, const uint8_t *actual, op_outcome *out)
{
    if (memcmp(expected, actual, r->n_bytes) == 0) return;
    size_t step = element_bytes(r), n_different = 0, n = 0;
    char want[48] = "", got[48] = "";
    uint32_t first_row = 0;
    size_t first_column = 0;
    for (uint32_t row = 0; row < r->n_rows; row++)
        for (size_t i = 0; i < r->width; i += step, n++) {
            size_t at = row * r->stride + i;
            if (memcmp(expected + at, actual + at, step) == 0) continue;
            if (n_different++ > 0) continue;
            first_row = row;
            first_column = i / step;
            describe_element(r, expected + at, want, sizeof want);
            describe_element(r, actual + at, got, sizeof got);
        }
    fail(out, "%s[%u][%zu]: expected %s, got %s; %zu of %zu elements differ", r->name, first_row, first_column, want,
         got, n_different, n);
}

void op_compare(const op_data *data, const op_image *reference, const op_image *subject, op_outcome *out)
{
    out->verdict = VERDICT_PASSED;
    out->text[0] = 0;
    if (reference->flag != subject->flag) {
        fail(out, "flag word: expected 0x%x, got 0x%x", reference->flag, subject->flag);
        return;
    }
    if (reference->flag != UINT32_MAX) return; // what else was written is unspecified (ops.h)
    for (size_t i = 0; i < data->n_regions && out->verdict == VERDICT_PASSED; i++) {
        const op_region *r = &data->regions[i];
        const uint8_t *expected = reference->regions[i] + GUARD, *actual = subject->regions[i] + GUARD;
        if (r->role == REGION_OUTPUT && !op_has_defined_bits(data->op.kind))
            compare_within(data, r, expected, actual, out);
        else if (r->role != REGION_INPUT)
            compare_region(r, expected, actual, out);
    }
}

// Counts of an image's region: elements that are not zero, and floats still 0xffffffff.
static void count_elements(const op_region *r, const uint8_t *payload, size_t *n_nonzero, size_t *n_unwritten)
{
    size_t step = element_bytes(r);
    *n_nonzero = *n_unwritten = 0;
    for (uint32_t row = 0; row < r->n_rows; row++)
        for (size_t i = 0; i < r->width; i += step) {
            uint32_t bits = 0;
            memcpy(&bits, payload + row * r->stride + i, step);
            *n_nonzero += r->element == ELEMENT_F32 ? (bits & 0x7fffffffu) != 0 : bits != 0;
            *n_unwritten += r->element == ELEMENT_F32 && bits == UINT32_MAX;
        }
}

// Recipes whose results are far from zero in every operand.
static bool has_magnitude(op_recipe recipe)
{
    return recipe == RECIPE_RANDOM || recipe == RECIPE_OUTLIER || recipe == RECIPE_EXTREME;
}

void op_check_reference(const op_data *data, const op_image *image, op_outcome *out)
{
    uint32_t before;
    memcpy(&before, data->regions[data->flag].before, sizeof before);
    uint32_t place = op_recipe_raises(data->c->recipe) && data->op.place < before ? data->op.place : before;
    out->verdict = VERDICT_PASSED;
    out->text[0] = 0;
    if (image->flag != place) {
        fail(out, "reference: flag word 0x%x, the inputs demand 0x%x", image->flag, place);
        return;
    }
    if (place != UINT32_MAX || data->c->recipe == RECIPE_ZEROS) return;
    for (size_t i = 0; i < data->n_regions; i++) {
        const op_region *r = &data->regions[i];
        const uint8_t *payload = image->regions[i] + GUARD;
        size_t n_nonzero, n_unwritten;
        if (i == data->flag || r->role == REGION_INPUT) continue;
        if (memcmp(payload, r->before, r->n_bytes) == 0) {
            fail(out, "reference: left %s as it was", r->name);
            return;
        }
        if (r->element == ELEMENT_BYTES) continue;
        count_elements(r, payload, &n_nonzero, &n_unwritten);
        if (n_unwritten > 0) {
            fail(out, "reference: left %zu elements of %s unwritten", n_unwritten, r->name);
            return;
        }
        if (n_nonzero == 0 && r->element == ELEMENT_F32 && has_magnitude(data->c->recipe) &&
            r->n_rows * r->width > 16) {
            fail(out, "reference: %s is all zero", r->name);
            return;
        }
    }
}

tern_status op_case_run(const op_case *c, op_runner *reference, op_runner *const *subjects, size_t n_subjects,
                        op_outcome *out, tern_error *err)
{
    uint64_t start = clock_ns();
    op_outcome outcome = {.verdict = VERDICT_PASSED};
    op_image expected = {0};
    tern_error local = {0};
    op_data *data = NULL;
    tern_status status = op_data_create(c, &data, err);
    if (status != TERN_OK) return status;
    if (c->kind == OP_FAST_ATTENTION) data->op.kind = OP_ATTENTION; // what it stands for
    if (op_execute(reference, data, &expected, &local) != TERN_OK)
        fail(&outcome, "reference: %.230s", local.message);
    else if (expected.is_skipped)
        fail(&outcome, "reference: cannot run it: %s", expected.reason);
    else
        op_check_reference(data, &expected, &outcome);
    data->op.kind = c->kind;

    char skipped[sizeof outcome.text] = "";
    for (size_t i = 0; i < n_subjects && outcome.verdict == VERDICT_PASSED; i++) {
        op_image actual = {0};
        error_clear(&local);
        if (op_execute(subjects[i], data, &actual, &local) != TERN_OK)
            fail(&outcome, "%s: %.200s", subjects[i]->facts.name, local.message);
        else if (actual.is_skipped)
            snprintf(skipped, sizeof skipped, "%s: %s", subjects[i]->facts.name, actual.reason);
        else
            op_compare(data, &expected, &actual, &outcome);
        op_image_free(&actual);
    }
    if (outcome.verdict == VERDICT_PASSED && skipped[0] != 0) {
        outcome.verdict = VERDICT_SKIPPED;
        memcpy(outcome.text, skipped, sizeof skipped);
    }
    op_image_free(&expected);
    op_data_free(data);
    outcome.ns = clock_ns() - start;
    *out = outcome;
    return TERN_OK;
}
