// What a plan's decisions take, by class and place.
#include <string.h>

#include "check.h"
#include "kv.h"
#include "layer_stream.h"
#include "plan.h"

static bool add(uint64_t *sum, uint64_t n) { return check_add(*sum, n, sum); }

uint32_t plan_spans(const hparams *hp, const tern_plan *plan, plan_span out[PLAN_MAX_SPANS])
{
    uint32_t n = 0, n_cpu = plan->n_layers_cpu, n_device = hp->n_layers - n_cpu;
    bool is_screened = plan->head == TERN_HEAD_SCREEN, is_on_host = plan->embedding == TERN_EMBEDDING_HOST;
    if (n_cpu > 0)
        out[n++] = (plan_span){{.n_layers = n_cpu,
                                .has_embedding = true,
                                .has_head = n_device == 0,
                                .is_head_screened = is_screened && n_device == 0},
                               true};
    if (n_device > 0)
        out[n++] = (plan_span){{.first_layer = n_cpu,
                                .n_layers = n_device,
                                .n_streamed = plan->n_layers_streamed,
                                .has_embedding = n_cpu == 0,
                                .has_head = true,
                                .is_embedding_on_host = is_on_host && n_cpu == 0,
                                .is_head_screened = is_screened,
                                .is_stored_head_on_host = is_screened && (is_on_host || n_cpu > 0)},
                               false};
    return n;
}

step_shape plan_step_shape(const hparams *hp, const tern_plan *plan, bool has_head)
{
    uint32_t table_ld = (plan->n_ctx + KV_BLOCK - 1) / KV_BLOCK;
    return (step_shape){.n_batch = plan->n_batch,
                        .n_tables = plan->n_sequences,
                        .table_ld = table_ld,
                        .n_logits = has_head ? step_logit_rows(hp, plan->n_batch) : 0,
                        .n_best = has_head && plan->head == TERN_HEAD_SCREEN ? plan_best_rows(hp) : 0,
                        .gates_apart = plan->gates_apart,
                        .k_type = plan_kv_type(plan->kv_k),
                        .v_type = plan_kv_type(plan->kv_v),
                        // Sequences share the positions; each may leave its last block partly empty.
                        .n_blocks = table_ld + plan->n_sequences - 1};
}

// ---- weights

typedef struct measure {
    const model_source *model;
    const backend *backend;
    dense_type held, head_held;
    ternary_layout layout;
    tern_plan *plan;
} measure;

static tern_status too_large(tern_error *err)
{
    return error_set(err, TERN_LIMIT, "the model's weights are too large");
}

// Adds the matrices of a layer to the classes of the place it is in.
static tern_status add_layer(const measure *m, uint32_t layer, uint64_t *ternary, uint64_t *dense, tern_error *err)
{
    linear_plan plans[LAYER_N_LINEARS];
    layer_linear_plans(m->model, layer, m->held, m->layout, plans);
    if (!plans[LAYER_GATE_UP].is_by_turns) m->plan->gates_apart = true;
    for (int k = 0; k < LAYER_N_LINEARS; k++) {
        for (uint32_t part = 0, source = 0; part < plans[k].n_parts; part++) {
            while (plans[k].part_of[source] != part) source++;
            uint64_t n;
            tern_status status = linear_part_bytes(m->backend, &plans[k], part, &n, err);
            if (status != TERN_OK) return status;
            bool is_ternary = m->held == DENSE_N_TYPES && matrix_is_ternary(plans[k].source[source]);
            if (!add(is_ternary ? ternary : dense, n)) return too_large(err);
            if (is_ternary && m->layout != TERNARY_T64 && linear_part_is_grouped(&plans[k], part))
                m->plan->is_layout_mixed = true;
        }
    }
    return TERN_OK;
}

static tern_status add_table(const measure *m, const matrix_source *table, dense_type held, uint64_t *class,
                             tern_error *err)
{
    linear_plan one;
    uint64_t n;
    linear_plan_make(&table, 1, held, m->layout, &one);
    tern_status status = linear_part_bytes(m->backend, &one, 0, &n, err);
    if (status == TERN_OK && !add(class, n)) return too_large(err);
    return status;
}

static tern_status add_tables(const measure *m, const plan_span *at, tern_error *err)
{
    const model_source *model = m->model;
    tern_plan *plan = m->plan;
    const model_span *span = &at->span;
    uint64_t *embedding = at->is_on_cpu                ? &plan->cpu.embedding
                          : span->is_embedding_on_host ? &plan->pinned.embedding
                                                       : &plan->bytes_embedding;
    uint64_t *head = at->is_on_cpu ? &plan->cpu.head : &plan->bytes_head;
    uint64_t *stored_head = span->is_stored_head_on_host ? &plan->pinned.head : head;
    bool is_shared = resident_shares_table(model, span);
    tern_status status = TERN_OK;
    if (span->has_embedding) status = add_table(m, &model->embedding, m->head_held, embedding, err);
    if (status != TERN_OK || !span->has_head) return status;
    if (span->is_head_screened) {
        const matrix_source *source = resident_head_source(model);
        uint64_t best = plan_best_rows(&model->hp) * (uint64_t)dense_row_bytes(source->dense, source->n_cols);
        status = add_table(m, source, DENSE_INT4, head, err);
        plan->bytes_head_per_token = *head + best;
        if (span->is_stored_head_on_host) plan->bytes_link_per_token = best;
    }
    if (status == TERN_OK && !is_shared)
        status = add_table(m, resident_head_source(model), m->head_held, stored_head, err);
    if (!span->is_head_screened) plan->bytes_head_per_token = is_shared ? *embedding : *head;
    return status;
}

static tern_status add_slots(const measure *m, const model_span *span, tern_error *err)
{
    uint64_t slot[LAYER_N_LINEARS][LINEAR_MAX_PARTS];
    uint32_t first = span->first_layer + span->n_layers - span->n_streamed;
    tern_status status = layer_stream_slot_bytes(m->model, m->backend, m->held, m->layout, first, span->n_streamed,
                                                 slot, err);
    if (status != TERN_OK) return status;
    for (uint32_t i = 0; i < LAYER_STREAM_SLOTS && i < span->n_streamed; i++)
        for (int k = 0; k < LAYER_N_LINEARS; k++)
            for (int part = 0; part < LINEAR_MAX_PARTS; part++)
                if (!add(&m->plan->bytes_slots, slot[k][part])) return too_large(err);
    return TERN_OK;
}

static tern_status add_span(const measure *m, const plan_span *at, tern_error *err)
{
    tern_plan *plan = m->plan;
    const model_span *span = &at->span;
    tern_status status = add_tables(m, at, err);
    for (uint32_t i = 0; i < span->n_layers && status == TERN_OK; i++) {
        bool is_streamed = i + span->n_streamed >= span->n_layers;
        uint64_t *ternary = at->is_on_cpu ? &plan->cpu.ternary
                            : is_streamed ? &plan->pinned.ternary
                                          : &plan->bytes_ternary;
        uint64_t *dense = at->is_on_cpu ? &plan->cpu.dense : is_streamed ? &plan->pinned.dense : &plan->bytes_dense;
        status = add_layer(m, span->first_layer + i, ternary, dense, err);
    }
    if (status == TERN_OK && span->n_streamed > 0) status = add_slots(m, span, err);
    *(at->is_on_cpu ? &plan->cpu.norms : &plan->bytes_norms) = resident_norm_floats(m->model, span) * sizeof(float);
    return status;
}

// Rows of the type that a head is held in, or screened with, are of whole blocks.
static tern_status check_head_type(const model_source *model, dense_type held, tern_error *err)
{
    if (held == DENSE_N_TYPES || model->hp.n_embd % dense_formats[held].block == 0) return TERN_OK;
    return error_set(err, TERN_UNSUPPORTED, "a head held as %s has rows of a multiple of %u columns; here they have %u",
                     dense_formats[held].name, dense_formats[held].block, model->hp.n_embd);
}

// Screening must save something.
static tern_status check_screening(const model_source *model, tern_error *err)
{
    const matrix_source *head = resident_head_source(model);
    tern_status status = check_head_type(model, DENSE_INT4, err);
    bool is_ternary = matrix_is_ternary(head);
    if (status != TERN_OK ||
        (!is_ternary && dense_row_bytes(head->dense, head->n_cols) > dense_row_bytes(DENSE_INT4, head->n_cols)))
        return status;
    return error_set(err, TERN_UNSUPPORTED,
                     "%s is %s, no more bytes than the int4 rows that would screen it: leave the head as stored",
                     head->name, is_ternary ? "ternary" : dense_formats[head->dense].name);
}

static tern_status measure_weights(const model_source *model, const plan_places *where, tern_plan *plan,
                                   tern_error *err)
{
    plan_span spans[PLAN_MAX_SPANS];
    uint32_t n = plan_spans(&model->hp, plan, spans);
    tern_status status = plan->head == TERN_HEAD_SCREEN ? check_screening(model, err) : TERN_OK;
    if (status != TERN_OK) return status;
    plan->bytes_ternary = plan->bytes_dense = plan->bytes_embedding = plan->bytes_head = plan->bytes_norms = 0;
    plan->bytes_slots = plan->bytes_head_per_token = plan->bytes_link_per_token = 0;
    plan->pinned = plan->cpu = (tern_place_bytes){0};
    plan->is_layout_mixed = plan->gates_apart = false;
    for (uint32_t i = 0; i < n; i++) {
        const device_facts *facts = spans[i].is_on_cpu ? where->host : where->facts;
        const measure m = {.model = model,
                           .backend = spans[i].is_on_cpu ? where->cpu : where->backend,
                           .held = plan_held_type(facts, plan->weights),
                           .head_held = plan_head_type(facts, plan->weights, plan->head),
                           .layout = plan_layout(plan->layout),
                           .plan = plan};
        status = check_head_type(model, m.head_held, err);
        if (status == TERN_OK) status = add_span(&m, &spans[i], err);
        if (status != TERN_OK) return status;
    }
    bool has_device = plan->n_layers_cpu < model->hp.n_layers;
    plan->bytes_device = has_device ? where->facts->bytes_open : 0;
    plan->bytes_context = has_device ? where->facts->bytes_context : 0;
    uint64_t cpu = plan->cpu.ternary, streamed = plan->pinned.ternary, all = plan->bytes_ternary;
    if (!add(&cpu, plan->cpu.dense) || !add(&cpu, plan->cpu.norms) ||
        !add(&cpu, has_device ? 0 : plan->bytes_head_per_token) || !add(&streamed, plan->pinned.dense) ||
        !add(&all, plan->bytes_dense) || !add(&all, plan->bytes_norms) || !add(&all, streamed) || !add(&all, cpu) ||
        !add(&all, has_device ? plan->bytes_head_per_token : 0) || !add(&plan->bytes_link_per_token, streamed))
        return too_large(err);
    plan->bytes_cpu_per_token = cpu;
    plan->bytes_per_token = all;
    return TERN_OK;
}

// ---- what depends on the context

// KV cache, rotary table and workspace of one device.
static tern_status measure_span(const hparams *hp, const tern_plan *plan, const model_span *span, uint64_t *kv,
                                uint64_t *rope, uint64_t *workspace, tern_error *err)
{
    step_shape shape = plan_step_shape(hp, plan, span->has_head);
    uint64_t block = (uint64_t)kv_block_bytes(shape.k_type, shape.v_type, (int)hp->n_kv_heads, (int)hp->head_dim);
    step_buffers buffers;
    tern_status status = step_layout(hp, &shape, NULL, &buffers, err);
    if (status != TERN_OK) return status;
    *workspace = buffers.n_bytes;
    if (check_mul((uint64_t)plan->n_ctx * hp->rope.n_dims, sizeof(float), rope) &&
        check_mul(block, shape.n_blocks, kv) && check_mul(*kv, span->n_layers, kv))
        return TERN_OK;
    return error_set(err, TERN_LIMIT, "a context of %u positions is too large", plan->n_ctx);
}

static bool sum_place(tern_place_bytes *p)
{
    p->total = p->ternary;
    return add(&p->total, p->dense) && add(&p->total, p->embedding) && add(&p->total, p->head) &&
           add(&p->total, p->norms) && add(&p->total, p->rope) && add(&p->total, p->kv) && add(&p->total, p->workspace);
}

static bool sum_totals(tern_plan *plan)
{
    tern_place_bytes own = {.ternary = plan->bytes_ternary,
                            .dense = plan->bytes_dense,
                            .embedding = plan->bytes_embedding,
                            .head = plan->bytes_head,
                            .norms = plan->bytes_norms,
                            .rope = plan->bytes_rope,
                            .kv = plan->bytes_kv,
                            .workspace = plan->bytes_workspace};
    bool ok = sum_place(&own) && sum_place(&plan->pinned) && sum_place(&plan->cpu);
    plan->bytes_total = own.total;
    return ok && add(&plan->bytes_total, plan->bytes_slots) && add(&plan->bytes_total, plan->bytes_device) &&
           add(&plan->bytes_total, plan->bytes_context);
}

tern_status plan_measure_context(const hparams *hp, tern_plan *plan, tern_error *err)
{
    plan_span spans[PLAN_MAX_SPANS];
    uint32_t n = plan_spans(hp, plan, spans);
    plan->bytes_kv = plan->bytes_rope = plan->bytes_workspace = 0;
    for (uint32_t i = 0; i < n; i++) {
        tern_place_bytes *cpu = &plan->cpu;
        bool on_cpu = spans[i].is_on_cpu;
        tern_status status = measure_span(hp, plan, &spans[i].span, on_cpu ? &cpu->kv : &plan->bytes_kv,
                                          on_cpu ? &cpu->rope : &plan->bytes_rope,
                                          on_cpu ? &cpu->workspace : &plan->bytes_workspace, err);
        if (status != TERN_OK) return status;
    }
    return sum_totals(plan) ? TERN_OK : error_set(err, TERN_LIMIT, "the plan's sizes overflow");
}

tern_status plan_measure(const model_source *model, const plan_places *where, tern_plan *plan, tern_error *err)
{
    tern_status status = measure_weights(model, where, plan, err);
    return status == TERN_OK ? plan_measure_context(&model->hp, plan, err) : status;
}

// ---- fitting

uint64_t plan_host_bytes(const plan_places *where, const tern_plan *plan)
{
    uint64_t n = plan->pinned.total;
    bool is_cpu = where->facts->n_threads != 0; // the device's memory is this machine's
    if (!add(&n, plan->cpu.total) || (is_cpu && !add(&n, plan->bytes_total))) return UINT64_MAX;
    return n;
}

bool plan_fits(const plan_places *where, const tern_plan *plan)
{
    return plan->bytes_total <= plan->memory_budget &&
           (where->host == NULL || plan_host_bytes(where, plan) <= where->host->memory_free);
}

uint32_t plan_largest_context(const hparams *hp, const plan_places *where, const tern_plan *plan)
{
    uint32_t low = 0, high = PLAN_MAX_CONTEXT / KV_BLOCK; // in blocks; low fits
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        tern_plan p = *plan;
        p.n_ctx = middle * KV_BLOCK;
        if (plan_measure_context(hp, &p, NULL) == TERN_OK && plan_fits(where, &p))
            low = middle;
        else
            high = middle - 1;
    }
    return low * KV_BLOCK;
}
