#include "step_graph.h"

#define MAX_ROWS 8u // larger steps take long enough that enqueueing them op by op costs nothing, and can be cancelled

static tern_status enqueue_step(const step *s, uint32_t m, uint32_t n_out, uint32_t n_head, tern_error *err)
{
    tern_status status = step_layers(s, m, n_out, err);
    return status == TERN_OK && n_head > 0 ? step_head(s, 0, n_head, err) : status;
}

static step_graph *find(step_graphs *graphs, uint32_t m, uint32_t n_out)
{
    for (uint32_t i = 0; i < STEP_GRAPHS; i++)
        if (graphs->entries[i].m == m && graphs->entries[i].n_out == n_out) return &graphs->entries[i];
    return NULL;
}

// Remembers that the shape was seen, in place of the oldest one.
static void remember(step_graphs *graphs, const step *s, uint32_t m, uint32_t n_out)
{
    step_graph *entry = &graphs->entries[graphs->next];
    graphs->next = (graphs->next + 1) % STEP_GRAPHS;
    s->r->backend->graph_destroy(entry->recorded);
    *entry = (step_graph){.m = m, .n_out = n_out};
}

// Whatever prevents a recording, the step can still be enqueued op by op; so no failure here is an error.
static void record(step_graphs *graphs, step_graph *entry, const step *s, uint32_t m, uint32_t n_out, uint32_t n_head)
{
    const backend *b = s->r->backend;
    graph *recorded = NULL;
    if (b->graph_begin(s->r->stream, NULL) == TERN_OK) {
        bool is_whole = enqueue_step(s, m, n_out, n_head, NULL) == TERN_OK;
        if (b->graph_end(s->r->stream, &recorded, NULL) == TERN_OK && is_whole) {
            entry->recorded = recorded;
            return;
        }
        b->graph_destroy(recorded);
    }
    graphs->is_refused = true;
}

tern_status step_graphs_run(step_graphs *graphs, const step *s, uint32_t m, uint32_t n_out, uint32_t n_head,
                            tern_error *err)
{
    if (s->cancel != NULL && __atomic_load_n(s->cancel, __ATOMIC_RELAXED))
        return error_set(err, TERN_CANCELLED, "evaluation was cancelled");
    if (m > MAX_ROWS || graphs->is_refused) return enqueue_step(s, m, n_out, n_head, err);
    step_graph *entry = find(graphs, m, n_out);
    if (entry == NULL) {
        remember(graphs, s, m, n_out);
        return enqueue_step(s, m, n_out, n_head, err);
    }
    if (entry->recorded == NULL) record(graphs, entry, s, m, n_out, n_head);
    if (entry->recorded == NULL) return enqueue_step(s, m, n_out, n_head, err);
    return s->r->backend->graph_launch(s->r->stream, entry->recorded, err);
}

void step_graphs_free(step_graphs *graphs, const step *s)
{
    for (uint32_t i = 0; i < STEP_GRAPHS; i++) s->r->backend->graph_destroy(graphs->entries[i].recorded);
}
