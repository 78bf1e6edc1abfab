// Recorded steps: small batches of the same shape come again and again while text is generated, and a device with
// graphs then takes the whole step in one call. What a step reads (ids, positions, block tables) lies on the device, so
// one recording serves every position.
#ifndef TERN_RUN_STEP_GRAPH_H
#define TERN_RUN_STEP_GRAPH_H

#include "step.h"

#define STEP_GRAPHS 8 // shapes kept

// All that one evaluation enqueues: the layers for m rows, the head for the first n_head of the n_out rows that want
// logits, the top_k best of the first of those (0: not; without logits where n_head is 0), and whether the best of them
// becomes the input of the step that follows.
typedef struct step_work {
    uint32_t m, n_out, n_head, top_k;
    bool advances;
} step_work;

typedef struct step_graph {
    step_work work;  // m = 0: free
    graph *recorded; // NULL: the shape was seen once
} step_graph;

typedef struct step_graphs {
    step_graph entries[STEP_GRAPHS];
    uint32_t next;   // entry to be given up next
    bool is_refused; // the device records nothing, or not this
} step_graphs;

// Enqueues the work op by op the first time, records it the second time and replays it from then on; op by op
// throughout where the device has no graphs. The same bits either way.
tern_status step_graphs_run(step_graphs *graphs, const step *s, const step_work *work, tern_error *err);
void step_graphs_free(step_graphs *graphs, const step *s);

#endif
