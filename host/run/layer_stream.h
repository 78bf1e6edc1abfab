// Layers whose weights stay in pinned host memory and visit the device for each step. Two slots of device memory take
// turns: while the ops of one streamed layer run, the next one's matrices are copied into the other slot, on a stream
// of their own. A slot is filled again only after the ops that read it, and read only after it was filled; events say
// so.
#ifndef TERN_RUN_LAYER_STREAM_H
#define TERN_RUN_LAYER_STREAM_H

#include "resident.h"

#define LAYER_STREAM_SLOTS 2

typedef struct layer_stream layer_stream;

// Bytes of the buffers that make one slot, one for each part of each linear map, large enough for every one of the
// layers [first, first + n) of the model; 0: no layer has such a part.
tern_status layer_stream_slot_bytes(const model_source *model, const backend *b, dense_type held, ternary_layout layout,
                                    uint32_t first, uint32_t n, uint64_t out[LAYER_N_LINEARS][LINEAR_MAX_PARTS],
                                    tern_error *err);

// Makes the slots for the last n layers of `r`, as r->streamed.
tern_status layer_stream_create(resident *r, const model_source *model, dense_type held, ternary_layout layout,
                                uint32_t n, tern_error *err);
// Waits for copies under way; after it the layers' weights may be freed, then the slots.
void layer_stream_stop(layer_stream *s);
void layer_stream_free(layer_stream *s);

// The slot's buffers for the parts of linear map k of layer i of the resident; NULL: the layer is not streamed.
buffer *const *layer_stream_slots(const layer_stream *s, uint32_t i, int k);

// Around the ops of a step, which belong to one session at a time: begin starts the first copies, end is due even after
// a failure. Before and after the ops of layer i of the resident. All do nothing without streamed layers (s NULL).
tern_status layer_stream_begin(const resident *r, tern_error *err);
tern_status layer_stream_before(const resident *r, uint32_t i, tern_error *err);
tern_status layer_stream_after(const resident *r, uint32_t i, tern_error *err);
void layer_stream_end(const resident *r);

#endif
