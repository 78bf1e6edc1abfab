#include "loaded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "fpenv.h"
#include "options.h"

void tern_model_options_init(tern_model_options *options) { *options = (tern_model_options){.size = sizeof *options}; }

tern_status tern_model_open(tern_engine *engine, const char *path, const tern_model_options *options, tern_model **out,
                            tern_error *err)
{
    if (engine == NULL || path == NULL)
        return error_set(err, TERN_INVALID_ARGUMENT, "tern_model_open needs an engine and a path");
    tern_model_options o;
    tern_model_options_init(&o);
    tern_status status = options_read(&o, sizeof o, options, "tern_model_options", err);
    if (status != TERN_OK) return status;
    tern_model *model = calloc(1, sizeof *model);
    if (model == NULL) return error_set(err, TERN_HOST_MEMORY, "out of memory for the model");
    status = model_open(path, &o, &model->source, err);
    if (status != TERN_OK) {
        free(model);
        return status;
    }
    model->engine = engine;
    model->references = 1;
    engine_retain(engine);
    *out = model;
    return TERN_OK;
}

void loaded_retain(tern_model *model) { __atomic_add_fetch(&model->references, 1, __ATOMIC_RELAXED); }

static void free_residents(tern_model *model)
{
    for (uint32_t i = 0; i < PLAN_MAX_SPANS; i++) {
        resident_free(model->residents[i]);
        model->residents[i] = NULL;
    }
    model->n_residents = 0;
}

void loaded_release(tern_model *model)
{
    if (model == NULL || __atomic_sub_fetch(&model->references, 1, __ATOMIC_ACQ_REL) != 0) return;
    free_residents(model);
    model_free(model->source);
    engine_release(model->engine);
    free(model);
}

void tern_model_close(tern_model *model) { loaded_release(model); }

const tern_tokenizer *tern_model_tokenizer(const tern_model *model) { return model->source->tokenizer; }

// Adds a matrix to its class: ternary wherever it stands, else the given dense one.
static void count_matrix(const matrix_source *m, tern_model_info *info, uint64_t *dense_params, uint64_t *dense_bytes)
{
    bool ternary = matrix_is_ternary(m);
    *(ternary ? &info->n_params_ternary : dense_params) += (uint64_t)m->n_rows * m->n_cols;
    *(ternary ? &info->bytes_ternary : dense_bytes) += m->n_bytes;
}

static void count_norm(const tensor_ref *norm, uint64_t n, tern_model_info *info)
{
    if (norm->tensor == NULL && !norm->is_ones) return;
    info->n_params_norms += n;
    info->bytes_norms += norm->tensor != NULL ? norm->tensor->n_bytes : n * sizeof(float);
}

static void count_weights(const model_source *s, tern_model_info *info)
{
    const hparams *hp = &s->hp;
    for (uint32_t layer = 0; layer < hp->n_layers; layer++) {
        const layer_source *l = &s->layers[layer];
        for (int i = 0; i < LAYER_N_MATRICES; i++) {
            count_matrix(layer_matrix(l, i), info, &info->n_params_dense, &info->bytes_dense);
            count_norm(&layer_matrix(l, i)->input_norm, layer_matrix(l, i)->n_cols, info);
        }
        count_norm(&l->attn_norm, hp->n_embd, info);
        count_norm(&l->ffn_norm, hp->n_embd, info);
        count_norm(&l->attn_sub_norm, (uint64_t)hp->n_heads * hp->head_dim, info);
        count_norm(&l->ffn_sub_norm, hp->n_ff, info);
        count_norm(&l->q_norm, hp->head_dim, info);
        count_norm(&l->k_norm, hp->head_dim, info);
    }
    count_norm(&s->output_norm, hp->n_embd, info);
    count_matrix(&s->embedding, info, &info->n_params_embedding, &info->bytes_embedding);
    if (!hp->is_tied) count_matrix(&s->head, info, &info->n_params_head, &info->bytes_head);
    info->n_params = info->n_params_ternary + info->n_params_embedding + info->n_params_head + info->n_params_dense +
                     info->n_params_norms;
    info->is_ternary = info->n_params_ternary > 0;
}

static void describe_rope(const rope_params *rope, char *out, size_t size)
{
    int n = snprintf(out, size, "%s, theta %g", rope->style == ROPE_ADJACENT ? "adjacent pairs" : "half-split",
                     rope->theta);
    if (n < 0 || (size_t)n >= size) return;
    if (rope->scaling == ROPE_SCALING_LINEAR) snprintf(out + n, size - (size_t)n, ", linear scaling x%g", rope->factor);
    if (rope->scaling == ROPE_SCALING_YARN)
        snprintf(out + n, size - (size_t)n, ", yarn x%g of %g", rope->factor, rope->original_context);
    if (rope->scaling == ROPE_SCALING_LLAMA3) snprintf(out + n, size - (size_t)n, ", llama3 scaling x%g", rope->factor);
    if (rope->freq_divisors != NULL) snprintf(out + n, size - (size_t)n, ", frequency divisors");
}

void tern_model_get_info(const tern_model *model, tern_model_info *out)
{
    const model_source *s = model->source;
    const hparams *hp = &s->hp;
    tern_model_info info = {.n_layers = hp->n_layers,
                            .n_embd = hp->n_embd,
                            .n_ff = hp->n_ff,
                            .n_heads = hp->n_heads,
                            .n_kv_heads = hp->n_kv_heads,
                            .head_dim = hp->head_dim,
                            .n_vocab = hp->n_vocab,
                            .n_ctx_train = hp->n_ctx_train,
                            .norm_eps = hp->norm_eps,
                            .is_tied = hp->is_tied,
                            .has_sub_norm = hp->has_sub_norm,
                            .has_qk_norm = hp->has_qk_norm,
                            .is_synthetic = s->is_synthetic,
                            .bytes_file = s->bytes_file};
    snprintf(info.name, sizeof info.name, "%s", s->name);
    snprintf(info.architecture, sizeof info.architecture, "%s", hp->architecture);
    snprintf(info.container, sizeof info.container, "%s", s->container);
    snprintf(info.activation, sizeof info.activation, "%s", hp->act == ACTIVATION_SILU ? "silu" : "relu2");
    snprintf(info.formats, sizeof info.formats, "%s", s->formats);
    if (s->tokenizer != NULL)
        snprintf(info.tokenizer, sizeof info.tokenizer, "%s", tokenizer_description(s->tokenizer));
    else
        snprintf(info.tokenizer, sizeof info.tokenizer, "none%s%.80s", s->tokenizer_note[0] != 0 ? ": " : "",
                 s->tokenizer_note);
    describe_rope(&hp->rope, info.rope, sizeof info.rope);
    count_weights(s, &info);
    static const char *const quants[] = {
        [ACT_QUANT_INT8] = "int8", [ACT_QUANT_INT8X2] = "int8x2", [ACT_QUANT_F32] = "f32"};
    snprintf(info.act_quant, sizeof info.act_quant, "%s", info.is_ternary ? quants[hp->quant] : "none");
    snprintf(info.act_quant_reason, sizeof info.act_quant_reason, "%s",
             info.is_ternary ? hp->act_quant_reason : "dense weights");
    *out = info;
}

// Zeros of one matrix, read a block of rows at a time.
static tern_status count_zeros(const matrix_source *m, uint8_t *rows, uint32_t n_block, uint64_t *zeros,
                               tern_error *err)
{
    ternary_scale scale = {0};
    tern_status status = matrix_scale(m, &scale, err);
    size_t row_bytes = ternary_row_bytes(m->n_cols);
    for (uint32_t row = 0; row < m->n_rows && status == TERN_OK; row += n_block) {
        uint32_t count = m->n_rows - row < n_block ? m->n_rows - row : n_block;
        status = matrix_read_rows(m, &scale, row, count, rows, err);
        for (uint32_t i = 0; i < count && status == TERN_OK; i++)
            *zeros += ternary_row_zeros(rows + i * row_bytes, m->n_cols);
    }
    ternary_scale_free(&scale);
    return status;
}

static tern_status count_zeros_of(const matrix_source *m, uint64_t *zeros, uint64_t *total, tern_error *err)
{
    const uint32_t n_block = 64;
    if (!matrix_is_ternary(m)) return TERN_OK;
    *total += (uint64_t)m->n_rows * m->n_cols;
    uint8_t *rows = malloc(ternary_row_bytes(m->n_cols) * n_block);
    if (rows == NULL) return error_set(err, TERN_HOST_MEMORY, "out of memory while counting zeros");
    tern_status status = count_zeros(m, rows, n_block, zeros, err);
    free(rows);
    return status;
}

tern_status tern_model_zero_share(const tern_model *model, double *out, tern_error *err)
{
    const model_source *s = model->source;
    fp_env env = fp_env_enter();
    uint64_t zeros = 0, total = 0;
    tern_status status = TERN_OK;
    for (uint32_t layer = 0; layer < s->hp.n_layers; layer++)
        for (int i = 0; i < LAYER_N_MATRICES && status == TERN_OK; i++)
            status = count_zeros_of(layer_matrix(&s->layers[layer], i), &zeros, &total, err);
    if (status == TERN_OK) status = count_zeros_of(&s->embedding, &zeros, &total, err);
    if (status == TERN_OK && !s->hp.is_tied) status = count_zeros_of(&s->head, &zeros, &total, err);
    fp_env_leave(env);
    if (status == TERN_OK) *out = total > 0 ? (double)zeros / (double)total : 0;
    return status;
}

void tern_plan_options_init(tern_plan_options *options)
{
    *options = (tern_plan_options){.size = sizeof *options,
                                   .device = "auto",
                                   .n_sequences = 1,
                                   .n_batch = 512,
                                   .kv_k = TERN_KV_INT8,
                                   .kv_v = TERN_KV_INT8,
                                   .n_gpu_layers = TERN_LAYERS_AUTO,
                                   .n_streamed = TERN_LAYERS_AUTO};
}

// The CPU beside a device; its facts in *facts.
static tern_status find_host(device_ref *out, device_facts *facts, tern_error *err)
{
    tern_status status = registry_find(engine_backends, "cpu", out, err);
    return status == TERN_OK ? out->backend->device_describe(out->index, facts, err) : status;
}

// Weights take the same room on every GPU backend, and the first one listed stands for them.
static tern_status plan_for_card(const tern_model *model, const tern_plan_options *options, tern_plan *out,
                                 tern_error *err)
{
    const tern_card *card = tern_card_find(options->card);
    if (card == NULL) {
        char names[400] = "";
        for (size_t i = 0; i < tern_card_count(); i++)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i > 0 ? ", " : "",
                     tern_card_at(i)->name);
        return error_set(err, TERN_NOT_FOUND, "no card \"%.40s\" is known; there are %s", options->card, names);
    }
    device_facts facts;
    plan_card_facts(card, &facts);
    const plan_places where = {.backend = engine_backends[0], .facts = &facts, .cpu = &cpu_backend};
    return plan_make(model->source, &where, options, out, err);
}

tern_status tern_plan_make(const tern_model *model, const tern_plan_options *options, tern_plan *out, tern_error *err)
{
    tern_plan_options o;
    tern_plan_options_init(&o);
    device_ref where = {0};
    device_facts facts = {0};
    tern_status status = options_read(&o, sizeof o, options, "tern_plan_options", err);
    if (status == TERN_OK && o.card != NULL) return plan_for_card(model, &o, out, err);
    if (status == TERN_OK) status = registry_find(engine_backends, o.device != NULL ? o.device : "auto", &where, err);
    if (status == TERN_OK) status = where.backend->device_describe(where.index, &facts, err);
    device_ref host;
    device_facts host_facts = {0};
    if (status == TERN_OK) status = find_host(&host, &host_facts, err);
    if (status != TERN_OK) return status;
    const plan_places places = {where.backend, &facts, host.backend, &host_facts};
    return plan_make(model->source, &places, &o, out, err);
}

// The same options must give the same plan: anything else was made for another model, or by hand.
static tern_status check_plan(const tern_model *model, const plan_places *where, const tern_plan *plan, tern_error *err)
{
    tern_plan_options options;
    tern_plan_options_init(&options);
    options.n_ctx = plan->n_ctx;
    options.n_sequences = plan->n_sequences;
    options.n_batch = plan->n_batch;
    options.n_threads = plan->n_threads;
    options.kv_k = plan->kv_k;
    options.kv_v = plan->kv_v;
    options.weights = plan->weights;
    options.head = plan->head;
    options.is_eager = plan->is_eager;
    options.fast_attention = plan->fast_attention;
    options.layout = plan->layout;
    options.embedding = plan->embedding;
    options.n_gpu_layers = (int32_t)(plan->n_layers_device + plan->n_layers_streamed);
    options.n_streamed = (int32_t)plan->n_layers_streamed;
    tern_plan again;
    tern_status status = plan_make(model->source, where, &options, &again, err);
    if (status == TERN_BUDGET) error_prefix(err, "memory became scarce since the plan was made");
    if (status != TERN_OK) return status;
    if (again.bytes_total != plan->bytes_total || again.pinned.total != plan->pinned.total ||
        again.cpu.total != plan->cpu.total)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "the plan is for %llu bytes, this model takes %llu: make a new plan",
                         (unsigned long long)plan->bytes_total, (unsigned long long)again.bytes_total);
    return TERN_OK;
}

// The resident whose device the plan is about.
static const resident *main_resident(const tern_model *model)
{
    return model->n_residents > 0 ? model->residents[model->n_residents - 1] : NULL;
}

void tern_model_memory(const tern_model *model, uint64_t *planned, uint64_t *now, uint64_t *peak)
{
    const resident *r = main_resident(model);
    const tern_plan *plan = &model->plan;
    device_usage usage = {0};
    if (r != NULL) r->backend->device_allocated(r->device, &usage);
    bool is_on_cpu = plan->n_layers_device + plan->n_layers_streamed == 0;
    if (planned != NULL) *planned = is_on_cpu ? plan->cpu.total : plan->bytes_total - plan->bytes_context;
    if (now != NULL) *now = usage.now;
    if (peak != NULL) *peak = usage.peak;
}

#define ROUNDING ((uint64_t)64 << 10) // of small models' buffers, which is no reason to speak

// What the device holds now against what the plan says of weights. Less is normal where an encoding may have finer
// scales than a file turns out to have; more would break the budget.
static void compare_with_plan(const tern_model *model)
{
    const tern_plan *plan = &model->plan;
    uint64_t planned, now;
    tern_model_memory(model, &planned, &now, NULL);
    bool is_on_cpu = plan->n_layers_device + plan->n_layers_streamed == 0;
    planned -= is_on_cpu ? plan->cpu.kv + plan->cpu.workspace : plan->bytes_kv + plan->bytes_workspace;
    uint64_t off = planned > now ? planned - now : now - planned;
    if (off > planned / 50 + ROUNDING)
        log_message(&model->engine->log, now > planned ? LOG_WARN : LOG_DEBUG,
                    "%s holds %llu bytes for the weights, %llu were planned", plan->device, (unsigned long long)now,
                    (unsigned long long)planned);
}

static tern_status load_spans(tern_model *model, const plan_places *places, const device_ref where[2],
                              const tern_plan *plan, load_progress *progress, tern_error *err)
{
    plan_span spans[PLAN_MAX_SPANS];
    uint32_t n = plan_spans(&model->source->hp, plan, spans);
    for (uint32_t i = 0; i < n; i++) progress->total += resident_source_bytes(model->source, &spans[i].span);
    tern_status status = TERN_OK;
    for (uint32_t i = 0; i < n && status == TERN_OK; i++) {
        const device_facts *facts = spans[i].is_on_cpu ? places->host : places->facts;
        const resident_options options = {.span = spans[i].span,
                                          .n_ctx = plan->n_ctx,
                                          .n_threads = plan->n_threads,
                                          .n_loaders = plan->n_threads != 0 ? plan->n_threads : places->host->n_threads,
                                          .cache = {.dir = model->engine->cache_dir,
                                                    .from = model->engine->pack_cache_from,
                                                    .limit = model->engine->pack_cache_limit,
                                                    .log = &model->engine->log},
                                          .held = plan_held_type(facts, plan->weights),
                                          .head_held = plan_head_type(facts, plan->weights, plan->head),
                                          .layout = plan_layout(plan->layout),
                                          .uses_blas = plan->uses_blas && !spans[i].is_on_cpu};
        status = resident_load(model->source, &where[spans[i].is_on_cpu], &options, progress, &model->residents[i],
                               err);
    }
    if (status == TERN_OK)
        model->n_residents = n;
    else
        free_residents(model);
    return status;
}

tern_status tern_model_load(tern_model *model, const tern_plan *plan, tern_progress progress, void *user,
                            tern_error *err)
{
    if (model->n_residents > 0) return error_set(err, TERN_BAD_STATE, "the model is already loaded");
    device_ref where[2] = {{0}}; // the device, the CPU
    device_facts facts = {0}, host = {0};
    tern_status status = registry_find(engine_backends, plan->device, &where[0], err);
    if (status == TERN_OK) status = where[0].backend->device_describe(where[0].index, &facts, err);
    if (status == TERN_OK) status = find_host(&where[1], &host, err);
    const plan_places places = {where[0].backend, &facts, where[1].backend, &host};
    if (status == TERN_OK) status = check_plan(model, &places, plan, err);
    if (status != TERN_OK) return status;
    load_progress counted = {.report = progress, .user = user};
    fp_env env = fp_env_enter();
    model_reads_through(model->source, true);
    status = load_spans(model, &places, where, plan, &counted, err);
    model_reads_through(model->source, false);
    fp_env_leave(env);
    if (status != TERN_OK) return status;
    model->plan = *plan;
    if (!main_resident(model)->is_reproducible)
        log_message(&model->engine->log, LOG_WARN,
                    "%s is not reproducible: its arithmetic differs from the definition, so results may differ from "
                    "those of other devices",
                    plan->device);
    compare_with_plan(model);
    log_message(&model->engine->log, LOG_INFO, "loaded %s on %s", model->source->name, plan->device);
    return TERN_OK;
}
