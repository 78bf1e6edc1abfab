// Recorded steps: small batches of the same shape come again and again while text is generated, and a device with graphs
// then takes the whole step in one call. What a step reads (ids, positions, block tables) lies on the device, so one
// recording serves every position.
#ifndef TERN_RUN_STEP_GRAPH_H
#define TERN_RUN_STEP_GRAPH_H

#include "step.h"

#define STEP_GRAPHS 8 // shapes kept

typedef struct step_graph {
    uint32_t m, n_out; // m = 0: free
    graph *recorded;   // NULL: the shape was seen once
} step_graph;

typedef struct step_graphs {
    step_graph entries[STEP_GRAPHS];
    uint32_t next;   // entry to be given up next
    bool is_refused; // the device records nothing, or not this
} step_graphs;

// step_layers, then step_head of the first n_head of the n_out rows: enqueued op by op the first time, recorded the second
// time, replayed from then on; op by op throughout where the device has no graphs. The same bits either way.
tern_status step_graphs_run(step_graphs *graphs, const step *s, uint32_t m, uint32_t n_out, uint32_t n_head,
                            tern_error *err);
void step_graphs_free(step_graphs *graphs, const step *s);

#endif
