#include "step_graph.h"

#define MAX_ROWS 8u // larger steps take long enough that enqueueing them op by op costs nothing, and can be cancelled

static tern_status enqueue_work(const step *s, const step_work *w, tern_error *err)
{
    tern_status status = step_layers(s, w->m, w->n_out, err);
    if (status == TERN_OK && w->n_head > 0) status = step_head(s, 0, w->n_head, err);
    if (status == TERN_OK && w->top_k > 0)
        status = w->n_head > 0 ? step_top(s, 0, w->top_k, err) : step_best(s, w->top_k, err);
    if (status == TERN_OK && w->advances) status = step_advance(s, err);
    return status;
}

static step_graph *find(step_graphs *graphs, const step_work *w)
{
    for (uint32_t i = 0; i < STEP_GRAPHS; i++) {
        const step_work *has = &graphs->entries[i].work;
        if (has->m == w->m && has->n_out == w->n_out && has->n_head == w->n_head && has->top_k == w->top_k &&
            has->advances == w->advances)
            return &graphs->entries[i];
    }
    return NULL;
}

// Remembers that the shape was seen, in place of the oldest one.
static void remember(step_graphs *graphs, const step *s, const step_work *w)
{
    step_graph *entry = &graphs->entries[graphs->next];
    graphs->next = (graphs->next + 1) % STEP_GRAPHS;
    s->r->backend->graph_destroy(entry->recorded);
    *entry = (step_graph){.work = *w};
}

// Whatever prevents a recording, the step can still be enqueued op by op; so no failure here is an error.
static void record(step_graphs *graphs, step_graph *entry, const step *s)
{
    const backend *b = s->r->backend;
    graph *recorded = NULL;
    if (b->graph_begin(s->r->stream, NULL) == TERN_OK) {
        bool is_whole = enqueue_work(s, &entry->work, NULL) == TERN_OK;
        if (b->graph_end(s->r->stream, &recorded, NULL) == TERN_OK && is_whole) {
            entry->recorded = recorded;
            return;
        }
        b->graph_destroy(recorded);
    }
    graphs->is_refused = true;
}

tern_status step_graphs_run(step_graphs *graphs, const step *s, const step_work *work, tern_error *err)
{
    if (s->cancel != NULL && __atomic_load_n(s->cancel, __ATOMIC_RELAXED))
        return error_set(err, TERN_CANCELLED, "evaluation was cancelled");
    // Streamed layers come by copies on another stream, which a recording does not hold.
    if (work->m > MAX_ROWS || graphs->is_refused || s->r->streamed != NULL) return enqueue_work(s, work, err);
    step_graph *entry = find(graphs, work);
    if (entry == NULL) {
        remember(graphs, s, work);
        return enqueue_work(s, work, err);
    }
    if (entry->recorded == NULL) record(graphs, entry, s);
    if (entry->recorded == NULL) return enqueue_work(s, work, err);
    return s->r->backend->graph_launch(s->r->stream, entry->recorded, err);
}

void step_graphs_free(step_graphs *graphs, const step *s)
{
    for (uint32_t i = 0; i < STEP_GRAPHS; i++) s->r->backend->graph_destroy(graphs->entries[i].recorded);
}
