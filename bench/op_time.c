// Timing of op cases; see op_time.h.
#include "op_time.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "error.h"

#define ROTATION_BYTES (256u << 20) // distinct weights between two uses of the same copy
#define MAX_COPIES     4096u

struct op_timer {
    op_runner *runner;
    op_timing facts;
    size_t n_samples; // taken so far: the copies go round from sample to sample
    op_data *data;
    op o;
    buffer *buffers[OP_REGIONS_MAX];
    weights **copies;
    size_t n_copies;
    event *from, *to;
};

static tern_status create_copies(op_timer *s, uint64_t bytes_weights, tern_error *err)
{
    uint64_t wanted = bytes_weights > 0 ? ROTATION_BYTES / bytes_weights + 2 : 2;
    size_t n = wanted < MAX_COPIES ? (size_t)wanted : MAX_COPIES;
    s->copies = calloc(n, sizeof(weights *));
    if (s->copies == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu copies of weights", n);
    tern_status status = TERN_OK;
    for (; s->n_copies < n && status == TERN_OK; s->n_copies++)
        status = op_weights_create(s->runner, s->data, &s->copies[s->n_copies], err);
    return status;
}

void op_timer_close(op_timer *s)
{
    if (s == NULL) return;
    const backend *b = s->runner->backend;
    b->event_destroy(s->from);
    b->event_destroy(s->to);
    for (size_t i = 0; i < OP_REGIONS_MAX; i++) b->buffer_destroy(s->buffers[i]);
    for (size_t i = 0; i < s->n_copies; i++) b->weights_destroy(s->copies[i]);
    free(s->copies);
    op_data_free(s->data);
    free(s);
}

// Bytes of the buffers that an execution reads or writes; the KV cache counts what the rows reach, an embedding table
// the rows it gives, rescore those it takes.
static uint64_t operand_bytes(const op_data *d)
{
    uint64_t n = d->bytes_kv;
    for (size_t i = 0; i < d->n_regions; i++) {
        const op_region *r = &d->regions[i];
        if (r->element != ELEMENT_BYTES) n += (uint64_t)r->n_rows * r->width * (r->role == REGION_IN_PLACE ? 2 : 1);
    }
    return n;
}

static tern_status prepare(op_timer *s, const op_case *c, tern_error *err)
{
    op_runner *runner = s->runner;
    const backend *b = runner->backend;
    op_timing *facts = &s->facts;
    const char *reason = NULL;
    tern_status status = op_data_create(c, &s->data, err);
    if (status != TERN_OK) return status;
    s->o = s->data->op;
    if (s->data->has_weights) {
        const weights_desc desc = {.n_rows = s->data->n_weight_rows,
                                   .n_cols = s->data->n_weight_cols,
                                   .is_ternary = c->is_ternary,
                                   .layout = c->layout,
                                   .type = c->dense,
                                   .scale = c->is_ternary ? &s->data->scale : NULL};
        status = b->weights_bytes(runner->device, &desc, &facts->bytes_weights, err);
        if (status == TERN_OK) status = create_copies(s, facts->bytes_weights, err);
        if (status != TERN_OK) return status;
        memcpy((uint8_t *)&s->o + s->data->weights_at, &s->copies[0], sizeof s->copies[0]);
        if (c->kind == OP_EMBED) facts->bytes_weights = (uint64_t)c->m * s->data->weight_row_bytes;
        if (c->kind == OP_RESCORE) facts->bytes_weights = (uint64_t)c->m * c->n_best * s->data->weight_row_bytes;
    }
    if (!b->supports(runner->device, &s->o, &reason))
        return error_set(err, TERN_DEVICE_UNSUPPORTED, "%s: %s", c->name, reason != NULL ? reason : "no reason given");
    status = op_buffers_create(runner, s->data, s->buffers, &s->o, err);
    if (status == TERN_OK) status = b->event_create(runner->device, &s->from, err);
    if (status == TERN_OK) status = b->event_create(runner->device, &s->to, err);
    facts->n_copies = s->n_copies;
    facts->n_macs = c->n_macs;
    facts->bytes_moved = facts->bytes_weights + operand_bytes(s->data);
    return status;
}

tern_status op_timer_open(op_runner *runner, const op_case *c, op_timer **out, tern_error *err)
{
    op_timer *s = calloc(1, sizeof *s);
    if (s == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory to time %s", c->name);
    s->runner = runner;
    tern_status status = prepare(s, c, err);
    if (status != TERN_OK) {
        op_timer_close(s);
        return status;
    }
    *out = s;
    return TERN_OK;
}

void op_timer_facts(const op_timer *s, op_timing *out) { *out = s->facts; }

tern_status op_timer_sample(op_timer *s, size_t n_chain, uint64_t *ns, tern_error *err)
{
    const backend *b = s->runner->backend;
    stream *on = s->runner->stream;
    tern_status status = b->event_record(on, s->from, err);
    for (size_t j = 0; j < n_chain && status == TERN_OK; j++) {
        if (s->n_copies > 0)
            memcpy((uint8_t *)&s->o + s->data->weights_at, &s->copies[s->n_samples++ % s->n_copies],
                   sizeof s->copies[0]);
        status = b->enqueue(on, &s->o, err);
    }
    if (status == TERN_OK) status = b->event_record(on, s->to, err);
    if (status == TERN_OK) status = b->event_elapsed_ns(s->from, s->to, ns, err);
    *ns /= n_chain;
    return status;
}

tern_status op_time_chained(op_runner *runner, const op_case *c, size_t n_warmup, size_t n_repeats, size_t n_chain,
                            op_timing *out, tern_error *err)
{
    op_timer *timer = NULL;
    op_timing timing = {0};
    uint64_t n_bytes, ns = 0;
    if (n_repeats == 0 || n_chain == 0 || !check_mul(n_repeats, sizeof(uint64_t), &n_bytes))
        return error_set(err, TERN_INVALID_ARGUMENT, "timing: %zu repeats of %zu executions", n_repeats, n_chain);
    tern_status status = op_timer_open(runner, c, &timer, err);
    if (status != TERN_OK) return status;
    op_timer_facts(timer, &timing);
    if ((timing.samples_ns = malloc((size_t)n_bytes)) == NULL)
        status = error_set(err, TERN_HOST_MEMORY, "no memory for %zu samples", n_repeats);
    for (size_t i = 0; i < n_warmup + n_repeats && status == TERN_OK; i++) {
        status = op_timer_sample(timer, n_chain, &ns, err);
        if (i >= n_warmup && status == TERN_OK) timing.samples_ns[timing.n_samples++] = ns;
    }
    op_timer_close(timer);
    if (status != TERN_OK) {
        op_timing_free(&timing);
        return status;
    }
    *out = timing;
    return TERN_OK;
}

tern_status op_time(op_runner *runner, const op_case *c, size_t n_warmup, size_t n_repeats, op_timing *out,
                    tern_error *err)
{
    return op_time_chained(runner, c, n_warmup, n_repeats, 1, out, err);
}

void op_timing_free(op_timing *timing)
{
    free(timing->samples_ns);
    *timing = (op_timing){0};
}
