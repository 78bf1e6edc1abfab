#include "plan.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "kv.h"

#define CARD_RESERVE_BYTES ((uint64_t)450 << 20) // context and driver of a card that is not here: an allowance
#define MAX_CONTEXT        (1u << 24)            // positions; keeps every index in 32 bits

int plan_kv_type(tern_kv_type type)
{
    static const int types[] = {
        [TERN_KV_F32] = KV_F32, [TERN_KV_F16] = KV_F16, [TERN_KV_INT8] = KV_INT8, [TERN_KV_INT4] = KV_INT4};
    return types[type];
}

static const char *kv_name(tern_kv_type type)
{
    static const char *const names[] = {"f32", "f16", "int8", "int4"};
    return names[type];
}

step_shape plan_step_shape(const hparams *hp, const tern_plan *plan)
{
    uint32_t table_ld = (plan->n_ctx + KV_BLOCK - 1) / KV_BLOCK;
    return (step_shape){.n_batch = plan->n_batch,
                        .n_tables = plan->n_sequences,
                        .table_ld = table_ld,
                        .n_logits = step_logit_rows(hp, plan->n_batch),
                        .k_type = plan_kv_type(plan->kv_k),
                        .v_type = plan_kv_type(plan->kv_v),
                        // Sequences share the positions; each may leave its last block partly empty.
                        .n_blocks = table_ld + plan->n_sequences - 1};
}

static bool add(uint64_t *sum, uint64_t n) { return check_add(*sum, n, sum); }

static bool kv_bytes(const hparams *hp, const tern_plan *plan, uint64_t *out)
{
    step_shape shape = plan_step_shape(hp, plan);
    uint64_t block = (uint64_t)kv_block_bytes(shape.k_type, shape.v_type, (int)hp->n_kv_heads, (int)hp->head_dim), n;
    return check_mul(block, shape.n_blocks, &n) && check_mul(n, hp->n_layers, out);
}

// The classes that depend on the context: KV cache, rotary table, workspace (block tables).
static tern_status context_bytes(const hparams *hp, tern_plan *plan, tern_error *err)
{
    step_shape shape = plan_step_shape(hp, plan);
    step_buffers buffers;
    tern_status status = step_layout(hp, &shape, NULL, &buffers, err);
    if (status != TERN_OK) return status;
    plan->bytes_workspace = buffers.n_bytes;
    if (!check_mul((uint64_t)plan->n_ctx * hp->rope.n_dims, sizeof(float), &plan->bytes_rope) ||
        !kv_bytes(hp, plan, &plan->bytes_kv))
        return error_set(err, TERN_LIMIT, "a context of %u positions is too large", plan->n_ctx);
    return TERN_OK;
}

static bool sum_total(tern_plan *plan)
{
    plan->bytes_total = 0;
    return add(&plan->bytes_total, plan->bytes_ternary) && add(&plan->bytes_total, plan->bytes_dense) &&
           add(&plan->bytes_total, plan->bytes_embedding) && add(&plan->bytes_total, plan->bytes_head) &&
           add(&plan->bytes_total, plan->bytes_norms) && add(&plan->bytes_total, plan->bytes_rope) &&
           add(&plan->bytes_total, plan->bytes_kv) && add(&plan->bytes_total, plan->bytes_workspace) &&
           add(&plan->bytes_total, plan->bytes_device);
}

static tern_status weight_bytes(const model_source *model, const backend *b, dense_type held, dense_type head_held,
                                tern_plan *plan, tern_error *err)
{
    const hparams *hp = &model->hp;
    if (head_held != DENSE_N_TYPES && hp->n_embd % dense_formats[head_held].block != 0)
        return error_set(err, TERN_UNSUPPORTED,
                         "a head held as %s has rows of a multiple of %u columns; here they have %u",
                         dense_formats[head_held].name, dense_formats[head_held].block, hp->n_embd);
    for (uint32_t i = 0; i < hp->n_layers; i++) {
        linear_plan plans[LAYER_N_LINEARS];
        layer_linear_plans(&model->layers[i], held, plans);
        for (int k = 0; k < LAYER_N_LINEARS; k++) {
            for (uint32_t part = 0, source = 0; part < plans[k].n_parts; part++) {
                while (plans[k].part_of[source] != part) source++;
                uint64_t n;
                tern_status status = linear_part_bytes(b, &plans[k], part, &n, err);
                if (status != TERN_OK) return status;
                bool is_ternary = held == DENSE_N_TYPES && matrix_is_ternary(plans[k].source[source]);
                uint64_t *class = is_ternary ? &plan->bytes_ternary : &plan->bytes_dense;
                if (!add(class, n)) return error_set(err, TERN_LIMIT, "the model's weights are too large");
            }
        }
    }
    const matrix_source *tables[2] = {&model->embedding, &model->head};
    uint64_t *classes[2] = {&plan->bytes_embedding, &plan->bytes_head};
    for (int i = 0; i < (hp->is_tied ? 1 : 2); i++) {
        linear_plan one;
        linear_plan_make(&tables[i], 1, head_held, &one);
        tern_status status = linear_part_bytes(b, &one, 0, classes[i], err);
        if (status != TERN_OK) return status;
    }
    plan->bytes_norms = resident_norm_floats(model) * sizeof(float);
    uint64_t head = hp->is_tied ? plan->bytes_embedding : plan->bytes_head;
    plan->bytes_per_token = plan->bytes_ternary + plan->bytes_dense + head + plan->bytes_norms;
    return TERN_OK;
}

// The largest multiple of 64 positions whose plan fits, 0 if not even one block does.
static uint32_t largest_context(const hparams *hp, const tern_plan *plan)
{
    uint32_t low = 0, high = MAX_CONTEXT / KV_BLOCK; // in blocks; low fits
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        tern_plan p = *plan;
        p.n_ctx = middle * KV_BLOCK;
        bool fits = context_bytes(hp, &p, NULL) == TERN_OK && sum_total(&p) && p.bytes_total <= p.memory_budget;
        if (fits)
            low = middle;
        else
            high = middle - 1;
    }
    return low * KV_BLOCK;
}

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

// What did not fit, and flags that would make it fit where there are any.
static tern_status does_not_fit(const hparams *hp, const tern_plan *plan, tern_error *err)
{
    char advice[256] = "no context fits: use a smaller model or a device with more memory";
    tern_plan narrow = *plan;
    narrow.kv_k = narrow.kv_v = TERN_KV_INT8;
    if (plan->n_ctx_max >= KV_BLOCK) {
        snprintf(advice, sizeof advice, "-c %u would fit", plan->n_ctx_max);
        uint32_t with_int8 = largest_context(hp, &narrow);
        if (with_int8 > plan->n_ctx_max)
            snprintf(advice, sizeof advice, "-c %u would fit, or with -ctk int8 up to -c %u", plan->n_ctx_max,
                     with_int8);
    } else { // smaller batches, which the workspace grows with
        uint32_t n_ctx = 0;
        while (narrow.n_batch > 1 && n_ctx < KV_BLOCK) {
            narrow.n_batch = (narrow.n_batch + 3) / 4;
            n_ctx = largest_context(hp, &narrow);
        }
        if (n_ctx >= KV_BLOCK)
            snprintf(advice, sizeof advice, "-b %u -ctk int8 -c %u would fit", narrow.n_batch, n_ctx);
    }
    return error_set(
        err, TERN_BUDGET,
        "the model needs %llu bytes (%.0f MiB: weights %.0f, KV %.0f for %u positions of %s/%s, workspace %.0f) on %s "
        "but %llu bytes (%.0f MiB) are free: %s",
        (unsigned long long)plan->bytes_total, mib(plan->bytes_total),
        mib(plan->bytes_total - plan->bytes_kv - plan->bytes_workspace), mib(plan->bytes_kv), plan->n_ctx,
        kv_name(plan->kv_k), kv_name(plan->kv_v), mib(plan->bytes_workspace), plan->device,
        (unsigned long long)plan->memory_budget, mib(plan->memory_budget), advice);
}

static tern_status check_options(const tern_plan_options *o, tern_error *err)
{
    if (o->n_sequences < 1 || o->n_sequences > 4096)
        return error_set(err, TERN_INVALID_ARGUMENT, "n_sequences is %u, expected 1 to 4096", o->n_sequences);
    if (o->n_batch < 1 || o->n_batch > 65536)
        return error_set(err, TERN_INVALID_ARGUMENT, "n_batch is %u, expected 1 to 65536", o->n_batch);
    if (o->n_ctx > MAX_CONTEXT)
        return error_set(err, TERN_INVALID_ARGUMENT, "n_ctx is %u, expected at most %u", o->n_ctx, MAX_CONTEXT);
    if ((unsigned)o->kv_k > TERN_KV_INT4 || (unsigned)o->kv_v > TERN_KV_INT4)
        return error_set(err, TERN_INVALID_ARGUMENT, "unknown KV type");
    if ((unsigned)o->weights > TERN_WEIGHTS_F16)
        return error_set(err, TERN_INVALID_ARGUMENT, "weights is %d, expected 0 (stored) or 1 (f16)", (int)o->weights);
    if ((unsigned)o->head > TERN_HEAD_INT4)
        return error_set(err, TERN_INVALID_ARGUMENT, "head is %d, expected 0 (stored) to 3 (int4)", (int)o->head);
    if (o->head != TERN_HEAD_STORED && o->weights != TERN_WEIGHTS_STORED)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "a float twin's head is held as its other matrices are: leave the head as stored");
    return TERN_OK;
}

dense_type plan_held_type(const device_facts *facts, tern_weights kind)
{
    if (kind == TERN_WEIGHTS_STORED) return DENSE_N_TYPES;
    return facts->blas_name != NULL ? facts->blas_type : DENSE_F16;
}

dense_type plan_head_type(const device_facts *facts, tern_weights kind, tern_head head)
{
    static const dense_type types[] = {
        [TERN_HEAD_F16] = DENSE_F16, [TERN_HEAD_INT8] = DENSE_INT8, [TERN_HEAD_INT4] = DENSE_INT4};
    return head == TERN_HEAD_STORED ? plan_held_type(facts, kind) : types[head];
}

// How products are computed, in words.
static void set_products(const device_facts *facts, tern_weights kind, tern_plan *plan)
{
    plan->weights = kind;
    plan->uses_blas = kind == TERN_WEIGHTS_F16 && facts->blas_name != NULL;
    if (kind == TERN_WEIGHTS_STORED)
        snprintf(plan->products, sizeof plan->products, "as defined");
    else
        snprintf(plan->products, sizeof plan->products, "%s, %s weights", plan->uses_blas ? facts->blas_name : "dot64",
                 dense_formats[plan_held_type(facts, kind)].name);
}

void plan_card_facts(const tern_card *card, device_facts *out)
{
    *out = (device_facts){.memory_total = card->memory,
                          .memory_free = card->memory,
                          .bytes_open = CARD_RESERVE_BYTES,
                          .blas_type = DENSE_F16,
                          .blas_name = "BLAS"};
    snprintf(out->name, sizeof out->name, "%s", card->name);
    snprintf(out->description, sizeof out->description, "%s", card->title);
}

tern_status plan_make(const model_source *model, const backend *b, const device_facts *facts,
                      const tern_plan_options *options, tern_plan *out, tern_error *err)
{
    tern_status status = check_options(options, err);
    if (status != TERN_OK) return status;
    const hparams *hp = &model->hp;
    tern_plan plan = {.n_ctx = options->n_ctx != 0 ? options->n_ctx : hp->n_ctx_train,
                      .n_sequences = options->n_sequences,
                      .n_batch = options->n_batch,
                      .n_threads = options->n_threads != 0 ? options->n_threads : facts->n_threads,
                      .kv_k = options->kv_k,
                      .kv_v = options->kv_v,
                      .head = options->head,
                      .bytes_device = facts->bytes_open};
    snprintf(plan.device, sizeof plan.device, "%s", facts->name);
    if (plan.n_batch > plan.n_ctx) plan.n_batch = plan.n_ctx;
    plan.memory_budget = options->memory_budget != 0 && options->memory_budget < facts->memory_free
                             ? options->memory_budget
                             : facts->memory_free;
    set_products(facts, options->weights, &plan);
    status = weight_bytes(model, b, plan_held_type(facts, options->weights),
                          plan_head_type(facts, options->weights, options->head), &plan, err);
    if (status == TERN_OK) status = context_bytes(hp, &plan, err);
    if (status != TERN_OK) return status;
    if (!sum_total(&plan)) return error_set(err, TERN_LIMIT, "the plan's sizes overflow");
    plan.n_ctx_max = largest_context(hp, &plan);
    if (plan.bytes_total > plan.memory_budget && !options->is_estimate) return does_not_fit(hp, &plan, err);
    *out = plan;
    return TERN_OK;
}
