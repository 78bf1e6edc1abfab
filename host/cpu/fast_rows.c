// Fast ops on rows without arithmetic to speak of: embedding, gate, residual, gather, top-k. They move bytes, so the
// team is woken only for many rows.
#include <string.h>

#include "fast.h"

static void embed_rows(void *context, uint32_t begin, uint32_t end);
static void gate_rows(void *context, uint32_t begin, uint32_t end);
static void residual_rows(void *context, uint32_t begin, uint32_t end);
static void gather_rows(void *context, uint32_t begin, uint32_t end);
static void top_k_rows(void *context, uint32_t begin, uint32_t end);

typedef struct rows_job {
    const cpu_kernels *kernels;
    const op *o;
} rows_job;

static void run(const device *d, const op *o, uint32_t n, team_fn fn)
{
    rows_job job = {d->kernels, o};
    team_run(d->team, o->m, fast_grain(n), fn, &job);
}

void fast_embed(const device *d, const op *o) { run(d, o, o->embed.table->n_cols, embed_rows); }
void fast_gate(const device *d, const op *o) { run(d, o, o->gate.n, gate_rows); }
void fast_residual(const device *d, const op *o) { run(d, o, o->residual.n, residual_rows); }
void fast_gather(const device *d, const op *o) { run(d, o, o->gather.n, gather_rows); }
void fast_top_k(const device *d, const op *o) { run(d, o, o->top_k.n, top_k_rows); }

static void embed_rows(void *context, uint32_t begin, uint32_t end)
{
    const rows_job *job = context;
    const op_embed *a = &job->o->embed;
    for (uint32_t m = begin; m < end; m++) {
        uint32_t id = (uint32_t)((const int32_t *)cpu_at(a->ids))[m];
        fast_weight_floats(job->kernels, a->table, id, 0, a->table->n_cols, fast_row_out(a->y, a->ld_y, m));
    }
}

static void gate_rows(void *context, uint32_t begin, uint32_t end)
{
    const rows_job *job = context;
    const op_gate *a = &job->o->gate;
    for (uint32_t m = begin; m < end; m++) {
        const float *gate = fast_row(a->x, a->ld_x, m);
        (a->is_silu ? job->kernels->gate_silu : job->kernels->gate_relu2)(gate, gate + a->n, a->n,
                                                                          fast_row_out(a->y, a->ld_y, m));
    }
}

static void residual_rows(void *context, uint32_t begin, uint32_t end)
{
    const rows_job *job = context;
    const op_residual *a = &job->o->residual;
    for (uint32_t m = begin; m < end; m++)
        job->kernels->add(fast_row_out(a->h, a->ld_h, m), fast_row(a->y, a->ld_y, m), a->n);
}

static void gather_rows(void *context, uint32_t begin, uint32_t end)
{
    const rows_job *job = context;
    const op_gather *a = &job->o->gather;
    for (uint32_t m = begin; m < end; m++) {
        uint32_t index = (uint32_t)((const int32_t *)cpu_at(a->index))[m];
        memcpy(fast_row_out(a->y, a->ld_y, m), fast_row(a->x, a->ld_x, index), a->n * sizeof(float));
    }
}

// Larger first, NaN after every number; equals by index.
static bool ranks_before(float a, uint32_t i, float b, uint32_t j)
{
    if (a == b || (a != a && b != b)) return i < j;
    return a > b || b != b;
}

void fast_keep_best(float x, uint32_t i, uint32_t k, uint32_t *kept, int32_t *ids, float *values)
{
    float value = x + 0.0f; // -0 becomes +0
    uint32_t at = *kept;
    while (at > 0 && ranks_before(value, i, values[at - 1], (uint32_t)ids[at - 1])) at--;
    if (at == k) return;
    if (*kept < k) ++*kept;
    for (uint32_t j = *kept - 1; j > at; j--) {
        values[j] = values[j - 1];
        ids[j] = ids[j - 1];
    }
    values[at] = value;
    ids[at] = (int32_t)i;
}

static void top_k_rows(void *context, uint32_t begin, uint32_t end)
{
    const rows_job *job = context;
    const op_top_k *a = &job->o->top_k;
    for (uint32_t m = begin; m < end; m++) {
        const float *x = fast_row(a->x, a->ld_x, m);
        int32_t *ids = (int32_t *)cpu_at(a->ids) + (size_t)m * a->k;
        float *values = fast_row_out(a->values, a->k, m);
        uint32_t kept = 0;
        for (uint32_t i = 0; i < a->n; i++)
            if (kept < a->k || !(x[i] <= values[a->k - 1])) fast_keep_best(x[i], i, a->k, &kept, ids, values);
    }
}
