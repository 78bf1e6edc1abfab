#include "segment.h"

#include <stdlib.h>

#include "error.h"
#include "kv.h"

tern_status segment_create(const hparams *hp, const resident *r, const step_shape *shape, const bool *cancel,
                           segment *out, tern_error *err)
{
    const backend *b = r->backend;
    *out = (segment){.step = {.hp = hp, .r = r, .shape = *shape, .cancel = cancel}};
    step_buffers sizes;
    tern_status status = step_layout(hp, shape, NULL, &sizes, err);
    if (status == TERN_OK) status = b->buffer_create(r->device, sizes.n_bytes, &out->workspace, err);
    if (status == TERN_OK) status = step_layout(hp, shape, out->workspace, &out->step.buffers, err);
    if (status != TERN_OK) return status;
    out->kv = calloc(r->n_layers, sizeof *out->kv);
    if (out->kv == NULL) return error_set(err, TERN_HOST_MEMORY, "out of memory for the session");
    out->step.kv = out->kv;
    size_t layer_bytes = (size_t)kv_block_bytes(shape->k_type, shape->v_type, (int)hp->n_kv_heads, (int)hp->head_dim) *
                         shape->n_blocks;
    for (uint32_t i = 0; i < r->n_layers && status == TERN_OK; i++)
        status = b->buffer_create(r->device, layer_bytes, &out->kv[i], err);
    return status;
}

void segment_free(segment *s)
{
    const resident *r = s->step.r;
    if (r == NULL) return;
    step_graphs_free(&s->graphs, &s->step);
    for (uint32_t i = 0; s->kv != NULL && i < r->n_layers; i++) r->backend->buffer_destroy(s->kv[i]);
    r->backend->buffer_destroy(s->workspace);
    free(s->kv);
}

tern_status segment_run(segment *s, const void *inputs, const float *hidden, const step_work *work, tern_error *err)
{
    const resident *r = s->step.r;
    const step_buffers *b = &s->step.buffers;
    tern_status status = r->backend->buffer_write(r->stream, b->inputs, inputs, b->input_bytes, err);
    size_t hidden_bytes = (size_t)work->m * s->step.hp->n_embd * sizeof *hidden;
    if (status == TERN_OK && r->embedding == NULL)
        status = r->backend->buffer_write(r->stream, b->hidden, hidden, hidden_bytes, err);
    return status == TERN_OK ? step_graphs_run(&s->graphs, &s->step, work, err) : status;
}

tern_status segment_read_hidden(const segment *s, uint32_t m, float *hidden, uint32_t *flag, tern_error *err)
{
    const resident *r = s->step.r;
    const step_buffers *b = &s->step.buffers;
    tern_status status = r->backend->buffer_read(r->stream, b->flag, flag, sizeof *flag, err);
    if (status != TERN_OK) return status;
    return r->backend->buffer_read(r->stream, b->hidden, hidden, (size_t)m * s->step.hp->n_embd * sizeof *hidden, err);
}
