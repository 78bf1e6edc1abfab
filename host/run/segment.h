// A session's state on one device: the KV cache of the layers there, the workspace, and the steps over those layers. A
// model wholly on one device is one segment; otherwise the residual stream goes from one to the next through the host.
#ifndef TERN_RUN_SEGMENT_H
#define TERN_RUN_SEGMENT_H

#include "step.h"
#include "step_graph.h"

typedef struct segment {
    step step;
    step_graphs graphs;
    buffer *workspace;
    buffer **kv; // per layer
} segment;

// After a failure too, the segment is freed by segment_free.
tern_status segment_create(const hparams *hp, const resident *r, const step_shape *shape, const bool *cancel,
                           segment *out, tern_error *err);
void segment_free(segment *s);

// Writes the row inputs and, unless the segment has the embedding, the residual stream `hidden` of m rows; then does
// the work. What waits for it is the caller's.
tern_status segment_run(segment *s, const void *inputs, const float *hidden, const step_work *work, tern_error *err);
// The residual stream of m rows and the flag word, when the work is done.
tern_status segment_read_hidden(const segment *s, uint32_t m, float *hidden, uint32_t *flag, tern_error *err);

#endif
