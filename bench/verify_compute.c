// The parts of claims that plans and operation counts decide; see verify_run.h.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "verify_run.h"

#define ROOMY_CARD "h200" // plans are estimates, so that its size does not matter; its BLAS takes FP16, as all cards'

static tern_status open_shape(const verify *v, const char *shape, tern_model **out, tern_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "synthetic:%s", shape);
    return tern_model_open(v->options->engine, name, NULL, out, err);
}

static tern_kv_type kv_type(const char *name)
{
    return name != NULL && strcmp(name, "int8") == 0 ? TERN_KV_INT8 : TERN_KV_F16;
}

tern_status verify_plan_bytes(const verify *v, const char *shape, tern_weights kind, uint32_t n_ctx,
                              uint32_t n_sequences, const char *kv, const char *card, uint64_t *out, tern_error *err)
{
    tern_model *model = NULL;
    tern_status status = open_shape(v, shape, &model, err);
    if (status != TERN_OK) return status;
    tern_plan_options o;
    tern_plan_options_init(&o);
    o.card = card != NULL ? card : ROOMY_CARD;
    o.weights = kind;
    o.n_ctx = n_ctx;
    o.n_sequences = n_sequences;
    o.kv_k = o.kv_v = kv_type(kv);
    verify_keep_resident(&o);
    tern_plan plan;
    status = tern_plan_make(model, &o, &plan, err);
    if (status == TERN_OK) *out = plan.bytes_total;
    tern_model_close(model);
    return status;
}

void verify_keep_resident(tern_plan_options *o)
{
    o->is_estimate = true;
    o->n_gpu_layers = TERN_LAYERS_ALL;
    o->n_streamed = 0;
    o->embedding = TERN_EMBEDDING_DEVICE;
}

tern_status verify_largest_batch(const verify *v, const char *shape, tern_weights kind, uint32_t n_ctx, uint64_t budget,
                                 uint32_t limit, uint32_t *out, tern_error *err)
{
    uint32_t fits = 0, too_many = limit + 1;
    while (too_many - fits > 1) {
        uint32_t n = fits + (too_many - fits) / 2;
        uint64_t bytes;
        tern_status status = verify_plan_bytes(v, shape, kind, n * n_ctx, n, "f16", NULL, &bytes, err);
        if (status != TERN_OK) return status;
        if (bytes <= budget)
            fits = n;
        else
            too_many = n;
    }
    *out = fits;
    return TERN_OK;
}

// ----------------------------------------------------------------------------------------------------------- memory

static claim_outcome failed(const tern_error *err) { return claim_untestable("%.200s", err->message); }

static claim_outcome memory_part(const verify *v, const claim_part *part, bool is_ratio)
{
    uint64_t ternary, twin;
    tern_error err = {0};
    if (verify_plan_bytes(v, part->shape, TERN_WEIGHTS_STORED, part->n_ctx, 1, "f16", NULL, &ternary, &err) !=
            TERN_OK ||
        verify_plan_bytes(v, part->shape, TERN_WEIGHTS_F16, part->n_ctx, 1, "f16", NULL, &twin, &err) != TERN_OK)
        return failed(&err);
    double ratio = (double)twin / (double)ternary;
    claim_outcome outcome = claim_computed(part, is_ratio ? ratio : 100 * (1 - 1 / ratio));
    snprintf(outcome.detail, sizeof outcome.detail,
             "%.2f GB FP16, %.2f GB ternary; %u positions, 0.47 GB of each for "
             "context and driver",
             (double)twin * 1e-9, (double)ternary * 1e-9, part->n_ctx);
    return outcome;
}

static claim_outcome plan_part(const verify *v, const claim_part *part)
{
    uint64_t bytes;
    tern_error err = {0};
    if (verify_plan_bytes(v, part->shape, TERN_WEIGHTS_STORED, part->n_ctx, 1, part->kv, part->card, &bytes, &err) !=
        TERN_OK)
        return failed(&err);
    claim_outcome outcome = claim_computed(part, (double)bytes * 1e-9);
    snprintf(outcome.detail, sizeof outcome.detail, "%s, %u positions of %s KV, workspace, context and driver",
             part->shape, part->n_ctx, part->kv);
    return outcome;
}

static claim_outcome batch_part(const verify *v, const claim_part *part)
{
    enum { LIMIT = 4096 };
    uint32_t ternary, twin;
    tern_error err = {0};
    uint64_t budget = (uint64_t)(part->budget_gb * 1e9);
    if (verify_largest_batch(v, part->shape, TERN_WEIGHTS_STORED, part->n_ctx, budget, LIMIT, &ternary, &err) !=
            TERN_OK ||
        verify_largest_batch(v, part->shape, TERN_WEIGHTS_F16, part->n_ctx, budget, LIMIT, &twin, &err) != TERN_OK)
        return failed(&err);
    if (twin == 0) return claim_untestable("the FP16 twin does not fit %.0f GB at all", part->budget_gb);
    claim_outcome outcome = claim_computed(part, (double)ternary / (double)twin);
    snprintf(outcome.detail, sizeof outcome.detail, "%u sequences of %u positions ternary, %u FP16; f16 KV", ternary,
             part->n_ctx, twin);
    return outcome;
}

// ----------------------------------------------------------------------------------------------------------- energy

static claim_outcome energy_part(const verify *v, const claim_part *part)
{
    tern_model *model = NULL;
    tern_error err = {0};
    if (open_shape(v, part->shape, &model, &err) != TERN_OK) return failed(&err);
    tern_model_info info;
    tern_model_get_info(model, &info);
    tern_model_close(model);
    double add = claims_picojoules(&v->claims, part->node, part->add);
    double fp16 = claims_picojoules(&v->claims, part->node, "fp16_mul") +
                  claims_picojoules(&v->claims, part->node, "fp16_add");
    if (!isfinite(add) || !isfinite(fp16)) return claim_untestable("no energy of this operation at this node");
    bool has_head = strcmp(part->measure, "energy_model_ratio") == 0;
    double products = (double)info.n_params_ternary;
    double head = has_head ? (double)(info.is_tied ? info.n_params_embedding : info.n_params_head) : 0;
    double twin = (products + head) * fp16 * 1e-12, ternary = (products * add + head * fp16) * 1e-12;
    bool is_saving = strcmp(part->measure, "energy_ops_saving") == 0;
    claim_outcome outcome = claim_computed(part, is_saving ? 100 * (1 - ternary / twin) : twin / ternary);
    snprintf(outcome.detail, sizeof outcome.detail, "%s: %.3g ternary products%s a token; %.3g J FP16, %.3g J ternary",
             part->shape, products, has_head ? " and the FP16 head" : "", twin, ternary);
    return outcome;
}

claim_outcome verify_compute(const verify *v, const claim_part *part, bool *is_known)
{
    *is_known = true;
    if (strcmp(part->measure, "untestable") == 0) return claim_untestable("%s", part->reason);
    if (strcmp(part->measure, "memory_saving") == 0) return memory_part(v, part, false);
    if (strcmp(part->measure, "memory_ratio") == 0) return memory_part(v, part, true);
    if (strcmp(part->measure, "plan_bytes") == 0) return plan_part(v, part);
    if (strcmp(part->measure, "batch_ratio_planned") == 0) return batch_part(v, part);
    if (strncmp(part->measure, "energy_ops", 10) == 0 || strcmp(part->measure, "energy_model_ratio") == 0)
        return energy_part(v, part);
    *is_known = false;
    return (claim_outcome){0};
}
