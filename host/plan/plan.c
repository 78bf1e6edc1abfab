// What goes where: the decisions of a plan.
#include "plan.h"

#include <stdio.h>
#include <string.h>

#define CARD_RESERVE_BYTES ((uint64_t)450 << 20) // context and driver of a card that is not here: an allowance
// Two slots take the room of two layers: fewer streamed layers than this save nothing.
#define LEAST_STREAMED     3u

int plan_kv_type(tern_kv_type type)
{
    static const int types[] = {
        [TERN_KV_F32] = KV_F32, [TERN_KV_F16] = KV_F16, [TERN_KV_INT8] = KV_INT8, [TERN_KV_INT4] = KV_INT4};
    return types[type];
}

ternary_layout plan_layout(tern_layout layout) { return layout == TERN_LAYOUT_T80 ? TERNARY_T80 : TERNARY_T64; }

dense_type plan_held_type(const device_facts *facts, tern_weights kind)
{
    if (kind == TERN_WEIGHTS_STORED) return DENSE_N_TYPES;
    return facts != NULL && facts->blas_name != NULL ? facts->blas_type : DENSE_F16;
}

dense_type plan_head_type(const device_facts *facts, tern_weights kind, tern_head head)
{
    static const dense_type types[] = {
        [TERN_HEAD_F16] = DENSE_F16, [TERN_HEAD_INT8] = DENSE_INT8, [TERN_HEAD_INT4] = DENSE_INT4};
    bool is_as_others = head == TERN_HEAD_STORED || head == TERN_HEAD_SCREEN;
    return is_as_others ? plan_held_type(facts, kind) : types[head];
}

uint32_t plan_best_rows(const hparams *hp) { return hp->n_vocab < TOP_K_MAX ? hp->n_vocab : TOP_K_MAX; }

void plan_card_facts(const tern_card *card, device_facts *out)
{
    *out = (device_facts){.memory_total = card->memory,
                          .memory_free = card->memory,
                          .bytes_context = CARD_RESERVE_BYTES,
                          .blas_type = DENSE_F16,
                          .blas_name = "BLAS",
                          .has_fast_attention = card->has_fast_attention};
    snprintf(out->name, sizeof out->name, "%s", card->name);
    snprintf(out->description, sizeof out->description, "%s", card->title);
}

static tern_status check_options(const tern_plan_options *o, tern_error *err)
{
    if (o->n_sequences < 1 || o->n_sequences > 4096)
        return error_set(err, TERN_INVALID_ARGUMENT, "n_sequences is %u, expected 1 to 4096", o->n_sequences);
    if (o->n_batch < 1 || o->n_batch > 65536)
        return error_set(err, TERN_INVALID_ARGUMENT, "n_batch is %u, expected 1 to 65536", o->n_batch);
    if (o->n_ctx > PLAN_MAX_CONTEXT)
        return error_set(err, TERN_INVALID_ARGUMENT, "n_ctx is %u, expected at most %u", o->n_ctx, PLAN_MAX_CONTEXT);
    if ((unsigned)o->kv_k > TERN_KV_INT4 || (unsigned)o->kv_v > TERN_KV_INT4)
        return error_set(err, TERN_INVALID_ARGUMENT, "unknown KV type");
    if ((unsigned)o->weights > TERN_WEIGHTS_F16)
        return error_set(err, TERN_INVALID_ARGUMENT, "weights is %d, expected 0 (stored) or 1 (f16)", (int)o->weights);
    if ((unsigned)o->head > TERN_HEAD_SCREEN)
        return error_set(err, TERN_INVALID_ARGUMENT, "head is %d, expected 0 (stored) to 4 (screen)", (int)o->head);
    if (o->head != TERN_HEAD_STORED && o->weights != TERN_WEIGHTS_STORED)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "a float twin's head is held as its other matrices are: leave the head as stored");
    if ((unsigned)o->layout > TERN_LAYOUT_T80)
        return error_set(err, TERN_INVALID_ARGUMENT, "layout is %d, expected 0 (auto), 1 (T64) or 2 (T80)",
                         (int)o->layout);
    if ((unsigned)o->embedding > TERN_EMBEDDING_HOST)
        return error_set(err, TERN_INVALID_ARGUMENT, "embedding is %d, expected 0 (auto), 1 (device) or 2 (host)",
                         (int)o->embedding);
    if (o->n_gpu_layers < TERN_LAYERS_ALL || (o->n_streamed < 0 && o->n_streamed != TERN_LAYERS_AUTO))
        return error_set(err, TERN_INVALID_ARGUMENT, "%d layers on the device, %d of them streamed: expected counts",
                         o->n_gpu_layers, o->n_streamed);
    return TERN_OK;
}

// What fast attention cannot do without is refused; heads it does not take leave it off, and the plan says so.
static tern_status check_fast_attention(const hparams *hp, const device_facts *facts, const tern_plan_options *o,
                                        tern_error *err)
{
    if (!o->fast_attention) return TERN_OK;
    if (!facts->has_fast_attention)
        return error_set(
            err, TERN_DEVICE_UNSUPPORTED,
            "%s does not run fast attention, which is for the tensor cores of NVIDIA GPUs of sm_80 or later: "
            "choose such a device (-dev) or leave --fast-attention out",
            facts->name);
    if (o->kv_k != TERN_KV_F16 || o->kv_v != TERN_KV_F16)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "fast attention takes f16 K and V, not %s and %s: add -ctk f16 -ctv f16 or leave "
                         "--fast-attention out",
                         tern_kv_type_name(o->kv_k), tern_kv_type_name(o->kv_v));
    if (o->n_gpu_layers >= 0 && (uint32_t)o->n_gpu_layers < hp->n_layers)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "fast attention does not run on the CPU, where -ngl %d puts %u of %u layers: leave one of the "
                         "options out",
                         o->n_gpu_layers, hp->n_layers - (uint32_t)o->n_gpu_layers, hp->n_layers);
    return TERN_OK;
}

// How attention is computed, in words.
static void set_attention(const hparams *hp, const tern_plan_options *o, tern_plan *plan)
{
    plan->fast_attention = o->fast_attention && fast_attention_takes(hp->head_dim);
    if (!o->fast_attention)
        snprintf(plan->attention, sizeof plan->attention, "as defined");
    else if (!plan->fast_attention)
        snprintf(plan->attention, sizeof plan->attention,
                 "as defined: fast attention takes heads of multiples of 8 up to 128 values, not of %u", hp->head_dim);
    else
        snprintf(plan->attention, sizeof plan->attention,
                 "fast for prompts: not bit-equal, error at most 2^-10 (1 + A) max |v|, see common/ops.h");
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

// Everything that does not depend on whether it fits.
static tern_plan begin(const hparams *hp, const device_facts *facts, const tern_plan_options *o)
{
    tern_plan plan = {.n_ctx = o->n_ctx != 0 ? o->n_ctx : hp->n_ctx_train,
                      .n_sequences = o->n_sequences,
                      .n_batch = o->n_batch,
                      .n_threads = o->n_threads != 0 ? o->n_threads : facts->n_threads,
                      .kv_k = o->kv_k,
                      .kv_v = o->kv_v,
                      .head = o->head,
                      .is_eager = o->is_eager};
    snprintf(plan.device, sizeof plan.device, "%s", facts->name);
    if (plan.n_batch > plan.n_ctx) plan.n_batch = plan.n_ctx;
    plan.memory_budget = o->memory_budget != 0 && o->memory_budget < facts->memory_free ? o->memory_budget
                                                                                        : facts->memory_free;
    if (o->n_gpu_layers >= 0 && (uint32_t)o->n_gpu_layers < hp->n_layers)
        plan.n_layers_cpu = hp->n_layers - (uint32_t)o->n_gpu_layers;
    // A token reads one row of the table, which the link does in microseconds; but a tied table is read whole, as head,
    // or for 256 rows, which the link would do in tens of microseconds.
    bool is_apart = !hp->is_tied && facts->n_threads == 0 && plan.n_layers_cpu == 0;
    bool wants_host = o->embedding == TERN_EMBEDDING_AUTO ? is_apart : o->embedding == TERN_EMBEDDING_HOST;
    plan.embedding = wants_host && plan.n_layers_cpu == 0 ? TERN_EMBEDDING_HOST : TERN_EMBEDDING_DEVICE;
    set_products(facts, o->weights, &plan);
    set_attention(hp, o, &plan);
    return plan;
}

static tern_status measure(const model_source *model, const plan_places *where, tern_layout layout, uint32_t n_streamed,
                           tern_plan *plan, tern_error *err)
{
    uint32_t n_device = model->hp.n_layers - plan->n_layers_cpu;
    plan->layout = layout;
    plan->n_layers_streamed = n_streamed < n_device ? n_streamed : n_device;
    plan->n_layers_device = n_device - plan->n_layers_streamed;
    return plan_measure(model, where, plan, err);
}

// The fewest streamed layers with which the plan fits. False when there is no such number.
static bool stream_some(const model_source *model, const plan_places *where, tern_layout layout, tern_plan *plan)
{
    uint32_t low = LEAST_STREAMED, high = model->hp.n_layers - plan->n_layers_cpu;
    if (high < low || measure(model, where, layout, high, plan, NULL) != TERN_OK || !plan_fits(where, plan))
        return false;
    while (low < high) { // high fits
        uint32_t middle = low + (high - low) / 2;
        if (measure(model, where, layout, middle, plan, NULL) == TERN_OK && plan_fits(where, plan))
            high = middle;
        else
            low = middle + 1;
    }
    return measure(model, where, layout, high, plan, NULL) == TERN_OK;
}

tern_status plan_decide(const model_source *model, const plan_places *where, const tern_plan_options *options,
                        tern_plan *out, bool *fits, tern_error *err)
{
    const tern_layout first = options->layout == TERN_LAYOUT_T80 ? TERN_LAYOUT_T80 : TERN_LAYOUT_T64;
    uint32_t n_streamed = options->n_streamed > 0 ? (uint32_t)options->n_streamed : 0;
    tern_plan plan = begin(&model->hp, where->facts, options);
    tern_status status = measure(model, where, first, n_streamed, &plan, err);
    if (status != TERN_OK) return status;
    *fits = plan_fits(where, &plan);
    bool is_t64_too_large = false, is_resident_too_large = false;
    if (!*fits && options->layout == TERN_LAYOUT_AUTO) {
        // Also where layers must be streamed: fewer bytes go over the link. A backend may have no such layout.
        tern_plan packed = plan;
        if (measure(model, where, TERN_LAYOUT_T80, n_streamed, &packed, NULL) == TERN_OK &&
            packed.bytes_total + packed.pinned.total < plan.bytes_total + plan.pinned.total) {
            *fits = plan_fits(where, &packed);
            is_t64_too_large = true;
            plan = packed;
        }
    }
    if (!*fits && options->n_streamed == TERN_LAYERS_AUTO) {
        tern_plan streamed = plan;
        *fits = stream_some(model, where, plan.layout, &streamed);
        if (*fits) plan = streamed;
        is_resident_too_large = *fits;
    }
    plan.n_ctx_max = plan_largest_context(&model->hp, where, &plan);
    plan_explain(model, options, is_t64_too_large, is_resident_too_large, &plan);
    *out = plan;
    return TERN_OK;
}

tern_status plan_make(const model_source *model, const plan_places *where, const tern_plan_options *options,
                      tern_plan *out, tern_error *err)
{
    tern_plan plan = {0};
    bool fits = false;
    tern_status status = check_options(options, err);
    if (status == TERN_OK) status = check_fast_attention(&model->hp, where->facts, options, err);
    if (status == TERN_OK) status = plan_decide(model, where, options, &plan, &fits, err);
    if (status != TERN_OK) return status;
    if (!fits && !options->is_estimate) return plan_refuse(model, where, options, &plan, err);
    *out = plan;
    return TERN_OK;
}
