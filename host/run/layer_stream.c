#include "layer_stream.h"

#include <pthread.h>
#include <stdlib.h>

#include "check.h"

typedef struct stream_slot {
    buffer *buffers[LAYER_N_LINEARS][LINEAR_MAX_PARTS];
    event *copied, *used; // after the last copy into it; after the last ops that read it
} stream_slot;

struct layer_stream {
    const backend *backend;
    stream *copies;
    uint32_t first, n; // layers of the resident
    stream_slot slots[LAYER_STREAM_SLOTS];
    pthread_mutex_t lock; // sessions share the slots
};

tern_status layer_stream_slot_bytes(const model_source *model, const backend *b, dense_type held, ternary_layout layout,
                                    uint32_t first, uint32_t n, uint64_t out[LAYER_N_LINEARS][LINEAR_MAX_PARTS],
                                    tern_error *err)
{
    for (int k = 0; k < LAYER_N_LINEARS; k++)
        for (int part = 0; part < LINEAR_MAX_PARTS; part++) out[k][part] = 0;
    for (uint32_t i = 0; i < n; i++) {
        linear_plan plans[LAYER_N_LINEARS];
        layer_linear_plans(model, first + i, held, layout, plans);
        for (int k = 0; k < LAYER_N_LINEARS; k++)
            for (uint32_t part = 0; part < plans[k].n_parts; part++) {
                uint64_t bytes;
                tern_status status = linear_part_bytes(b, &plans[k], part, &bytes, err);
                if (status != TERN_OK) return status;
                if (bytes > out[k][part]) out[k][part] = bytes;
            }
    }
    return TERN_OK;
}

static tern_status create_slot(const resident *r, const uint64_t bytes[LAYER_N_LINEARS][LINEAR_MAX_PARTS],
                               stream_slot *out, tern_error *err)
{
    const backend *b = r->backend;
    tern_status status = b->event_create(r->device, &out->copied, err);
    if (status == TERN_OK) status = b->event_create(r->device, &out->used, err);
    for (int k = 0; k < LAYER_N_LINEARS; k++)
        for (int part = 0; part < LINEAR_MAX_PARTS && status == TERN_OK; part++) {
            size_t n_bytes;
            if (bytes[k][part] == 0) continue;
            if (!check_size(bytes[k][part], &n_bytes))
                return error_set(err, TERN_LIMIT, "a slot for streamed layers is too large");
            status = b->buffer_create(r->device, n_bytes, &out->buffers[k][part], err);
        }
    return status;
}

tern_status layer_stream_create(resident *r, const model_source *model, dense_type held, ternary_layout layout,
                                uint32_t n, tern_error *err)
{
    uint64_t bytes[LAYER_N_LINEARS][LINEAR_MAX_PARTS];
    layer_stream *s = calloc(1, sizeof *s);
    if (s == NULL) return error_set(err, TERN_HOST_MEMORY, "out of memory for streamed layers");
    s->backend = r->backend;
    s->first = r->n_layers - n;
    s->n = n;
    pthread_mutex_init(&s->lock, NULL);
    r->streamed = s; // freed with it
    tern_status status = layer_stream_slot_bytes(model, r->backend, held, layout, r->first_layer + s->first, n, bytes,
                                                 err);
    if (status == TERN_OK) status = r->backend->copy_stream_create(r->device, &s->copies, err);
    for (uint32_t i = 0; i < LAYER_STREAM_SLOTS && i < n && status == TERN_OK; i++)
        status = create_slot(r, (const uint64_t(*)[LINEAR_MAX_PARTS])bytes, &s->slots[i], err);
    if (status != TERN_OK) error_prefix(err, "making room for streamed layers");
    return status;
}

void layer_stream_stop(layer_stream *s)
{
    if (s == NULL) return;
    s->backend->stream_destroy(s->copies);
    s->copies = NULL;
}

void layer_stream_free(layer_stream *s)
{
    if (s == NULL) return;
    layer_stream_stop(s);
    for (int i = 0; i < LAYER_STREAM_SLOTS; i++) {
        stream_slot *slot = &s->slots[i];
        for (int k = 0; k < LAYER_N_LINEARS; k++)
            for (int part = 0; part < LINEAR_MAX_PARTS; part++) s->backend->buffer_destroy(slot->buffers[k][part]);
        s->backend->event_destroy(slot->copied);
        s->backend->event_destroy(slot->used);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

buffer *const *layer_stream_slots(const layer_stream *s, uint32_t i, int k)
{
    if (s == NULL || i < s->first) return NULL;
    return s->slots[(i - s->first) % LAYER_STREAM_SLOTS].buffers[k];
}

// Streamed layer j into its slot, once the ops that read what is there now are done.
static tern_status copy_layer(const resident *r, uint32_t j, tern_error *err)
{
    layer_stream *s = r->streamed;
    const backend *b = r->backend;
    resident_layer *layer = &r->layers[s->first + j];
    const linear *linears[LAYER_N_LINEARS] = {&layer->qkv, &layer->o, &layer->gate_up, &layer->down};
    stream_slot *slot = &s->slots[j % LAYER_STREAM_SLOTS];
    tern_status status = b->stream_wait(s->copies, slot->used, err);
    for (int k = 0; k < LAYER_N_LINEARS; k++)
        for (uint32_t part = 0; part < linears[k]->n_parts && status == TERN_OK; part++)
            status = b->weights_copy(s->copies, linears[k]->part[part], linears[k]->home[part], err);
    if (status == TERN_OK) status = b->event_record(s->copies, slot->copied, err);
    if (status != TERN_OK) error_prefix(err, "streaming layer %u", r->first_layer + s->first + j);
    return status;
}

tern_status layer_stream_begin(const resident *r, tern_error *err)
{
    layer_stream *s = r->streamed;
    if (s == NULL) return TERN_OK;
    pthread_mutex_lock(&s->lock);
    tern_status status = TERN_OK;
    for (uint32_t j = 0; j < LAYER_STREAM_SLOTS && j < s->n && status == TERN_OK; j++) status = copy_layer(r, j, err);
    return status;
}

tern_status layer_stream_before(const resident *r, uint32_t i, tern_error *err)
{
    layer_stream *s = r->streamed;
    if (s == NULL || i < s->first) return TERN_OK;
    return r->backend->stream_wait(r->stream, s->slots[(i - s->first) % LAYER_STREAM_SLOTS].copied, err);
}

tern_status layer_stream_after(const resident *r, uint32_t i, tern_error *err)
{
    layer_stream *s = r->streamed;
    if (s == NULL || i < s->first) return TERN_OK;
    uint32_t j = i - s->first;
    tern_status status = r->backend->event_record(r->stream, s->slots[j % LAYER_STREAM_SLOTS].used, err);
    if (status == TERN_OK && j + LAYER_STREAM_SLOTS < s->n) status = copy_layer(r, j + LAYER_STREAM_SLOTS, err);
    return status;
}

void layer_stream_end(const resident *r)
{
    if (r->streamed != NULL) pthread_mutex_unlock(&r->streamed->lock);
}
