// Reference ops that work on rows without weights: embedding, gate, residual, gather, top-k, advance.
#include <string.h>

#include "reference.h"

void reference_embed(const device *d, const op *o)
{
    const op_embed *a = &o->embed;
    const int32_t *ids = cpu_at(a->ids);
    for (uint32_t m = 0; m < o->m; m++)
        reference_weight_row(d, a->table, (uint32_t)ids[m], (float *)cpu_at(a->y) + (size_t)m * a->ld_y);
}

void reference_gate(const device *d, const op *o)
{
    (void)d;
    const op_gate *a = &o->gate;
    for (uint32_t m = 0; m < o->m; m++) {
        const float *gate = (const float *)cpu_at(a->x) + (size_t)m * a->ld_x, *up = gate + a->n;
        float *y = (float *)cpu_at(a->y) + (size_t)m * a->ld_y;
        for (uint32_t i = 0; i < a->n; i++)
            y[i] = a->is_silu ? scalar_gate_silu(gate[i], up[i]) : scalar_gate_relu2(gate[i], up[i]);
    }
}

void reference_residual(const device *d, const op *o)
{
    (void)d;
    const op_residual *a = &o->residual;
    for (uint32_t m = 0; m < o->m; m++) {
        float *h = (float *)cpu_at(a->h) + (size_t)m * a->ld_h;
        const float *y = (const float *)cpu_at(a->y) + (size_t)m * a->ld_y;
        for (uint32_t i = 0; i < a->n; i++) h[i] = h[i] + y[i];
    }
}

void reference_gather(const device *d, const op *o)
{
    (void)d;
    const op_gather *a = &o->gather;
    const int32_t *index = cpu_at(a->index);
    for (uint32_t m = 0; m < o->m; m++) {
        const float *x = (const float *)cpu_at(a->x) + (size_t)index[m] * a->ld_x;
        memcpy((float *)cpu_at(a->y) + (size_t)m * a->ld_y, x, a->n * sizeof(float));
    }
}

// Whether a ranks before b among values met in ascending order of index; NaN ranks after every number.
static bool ranks_before(float a, float b) { return a > b || (b != b && a == a); }

void reference_keep_best(float x, uint32_t i, uint32_t k, int32_t *ids, float *values)
{
    uint32_t kept = i < k ? i : k, at = kept;
    float value = x + 0.0f; // -0 becomes +0
    while (at > 0 && ranks_before(value, values[at - 1])) at--;
    if (at == k) return;
    for (uint32_t j = kept < k ? kept : k - 1; j > at; j--) {
        values[j] = values[j - 1];
        ids[j] = ids[j - 1];
    }
    values[at] = value;
    ids[at] = (int32_t)i;
}

void reference_top_k(const device *d, const op *o)
{
    (void)d;
    const op_top_k *a = &o->top_k;
    for (uint32_t m = 0; m < o->m; m++)
        for (uint32_t i = 0; i < a->n; i++)
            reference_keep_best(((const float *)cpu_at(a->x))[(size_t)m * a->ld_x + i], i, a->k,
                                (int32_t *)cpu_at(a->ids) + (size_t)m * a->k,
                                (float *)cpu_at(a->values) + (size_t)m * a->k);
}

void reference_advance(const device *d, const op *o)
{
    (void)d;
    const op_advance *a = &o->advance;
    const int32_t *chosen = cpu_at(a->chosen), *flag = cpu_at(o->flag);
    int32_t *ids = cpu_at(a->ids), *position = cpu_at(a->position);
    for (uint32_t m = 0; m < o->m; m++) {
        uint32_t p = (uint32_t)position[m];
        int32_t *entry = (int32_t *)cpu_at(a->log) + 2 * ((size_t)m * a->n_log + p % a->n_log);
        int32_t c = chosen[(size_t)m * a->ld_chosen];
        entry[0] = ids[m] = (uint32_t)c < a->n_ids ? c : 0;
        entry[1] = *flag;
        position[m] = (int32_t)(p + 1);
    }
}
