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

// Larger first; NaN after every number. Equal values keep the order they are met in, that of their indices.
static bool ranks_before(float a, float b) { return a > b || (b != b && a == a); }

// The k best so far in order. Once k are kept, almost every value loses against the last and costs one comparison.
static void top_k_row(const float *x, uint32_t n, uint32_t k, int32_t *ids, float *values)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        float value = x[i] + 0.0f;
        if (kept == k && !ranks_before(value, values[k - 1])) continue;
        uint32_t at = kept < k ? kept++ : k - 1;
        for (; at > 0 && ranks_before(value, values[at - 1]); at--) {
            values[at] = values[at - 1];
            ids[at] = ids[at - 1];
        }
        values[at] = value;
        ids[at] = (int32_t)i;
    }
}

static void top_k_rows(void *context, uint32_t begin, uint32_t end)
{
    const rows_job *job = context;
    const op_top_k *a = &job->o->top_k;
    for (uint32_t m = begin; m < end; m++)
        top_k_row(fast_row(a->x, a->ld_x, m), a->n, a->k, (int32_t *)cpu_at(a->ids) + (size_t)m * a->k,
                  fast_row_out(a->values, a->k, m));
}
