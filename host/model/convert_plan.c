// The list of tensors of a converted file.
#include "convert_plan.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "encode_dense.h"
#include "rope.h"

static const dense_type head_types[] = {
    [CONVERT_HEAD_F16] = DENSE_F16, [CONVERT_HEAD_Q8_0] = DENSE_Q8_0, [CONVERT_HEAD_Q6_K] = DENSE_Q6_K};

const void *convert_place(const model_source *model, const convert_tensor *t)
{
    const char *base = (const char *)model;
    return t->slot == NULL ? base + t->offset : (const char *)&model->layers[t->layer] + t->slot->offset;
}

uint32_t convert_source_row(const convert_tensor *t, uint32_t n_rotated, uint32_t row)
{
    // Pair i of a head is rows (i, i + n/2) in half-split order and (2i, 2i + 1) in adjacent order; rows of a head
    // beyond the n rotated ones stay.
    if (t->n_head_rows == 0) return row;
    uint32_t within = row % t->n_head_rows;
    if (within >= n_rotated) return row;
    return row - within + within % 2 * (n_rotated / 2) + within / 2;
}

size_t convert_read_bytes(const convert_tensor *t)
{
    const matrix_source *m = t->matrix;
    return matrix_is_ternary(m) ? ternary_row_bytes(m->n_cols) : dense_row_bytes(m->dense, m->n_cols);
}

void convert_row_floats(const convert_tensor *t, uint32_t scale_row, const uint8_t *row, float *out)
{
    if (!matrix_is_ternary(t->matrix)) {
        dense_row_to_float(t->matrix->dense, row, t->n_cols, out);
        return;
    }
    const float *values = t->scale.values + (size_t)ternary_scale_set(&t->scale, scale_row) * t->scale.n_groups;
    for (uint32_t c = 0; c < t->n_cols; c++) {
        int trit = ternary_code(row, c) - 1;
        out[c] = trit == 0 ? 0.0f : (float)trit * values[c / t->scale.group];
    }
}

// ------------------------------------------------------------------------------------------------------------- list

static convert_tensor *add_tensor(convert_plan *plan, const char *name, convert_action action, uint32_t n_rows,
                                  uint32_t n_cols)
{
    convert_tensor *t = &plan->tensors[plan->n_tensors++];
    *t = (convert_tensor){.action = action, .n_rows = n_rows, .n_cols = n_cols};
    snprintf(t->name, sizeof t->name, "%s.weight", name);
    if (n_rows == 1) t->n_bytes = (uint64_t)n_cols * sizeof(float);
    return t;
}

// The head types that rows of this width fit.
static const char *fitting_heads(uint32_t n_cols)
{
    return n_cols % 256 == 0 ? "f16, q8_0, q6_k" : n_cols % 32 == 0 ? "f16, q8_0" : "f16";
}

// Decides how a matrix is written and how large it gets. is_table: embedding or head.
static tern_status choose_action(const convert_plan *plan, const convert_options *options, convert_tensor *t,
                                 bool is_table, tern_error *err)
{
    const matrix_source *m = t->matrix;
    bool is_given = is_table && options->head != CONVERT_HEAD_AS_STORED;
    t->dense = is_given ? head_types[options->head] : !is_table && plan->type == ENCODE_F16 ? DENSE_F16 : m->dense;
    if (is_table && matrix_is_ternary(m) && !is_given) t->dense = DENSE_F16; // no reader takes trits there
    bool has_size;
    if (matrix_is_ternary(m) && (!is_table || t->dense == DENSE_F16)) {
        t->action = CONVERT_TRITS;
        t->trits = is_table ? ENCODE_F16 : plan->type;
        has_size = encode_tensor_bytes(t->trits, t->n_rows, t->n_cols, &t->n_bytes);
    } else {
        bool is_stored_so = !matrix_is_ternary(m) && t->dense == m->dense;
        const char *reason = is_stored_so ? NULL : encode_dense_refusal(t->dense, t->n_cols);
        if (reason != NULL)
            return error_set(err, TERN_UNSUPPORTED,
                             "%s (%u rows of %u columns) cannot be stored as %s, which %s; it fits: %s", t->name,
                             t->n_rows, t->n_cols, dense_formats[t->dense].name, reason, fitting_heads(t->n_cols));
        t->action = is_stored_so ? CONVERT_COPY : CONVERT_FLOATS;
        has_size = check_mul(dense_row_bytes(t->dense, t->n_cols), t->n_rows, &t->n_bytes);
    }
    if (has_size) return TERN_OK;
    return error_set(err, TERN_LIMIT, "%s: %u rows of %u columns overflow a size", t->name, t->n_rows, t->n_cols);
}

static tern_status add_table(const model_source *model, const convert_options *options, convert_plan *plan,
                             const char *name, size_t offset, tern_error *err)
{
    const matrix_source *m = (const void *)((const char *)model + offset);
    convert_tensor *t = add_tensor(plan, name, CONVERT_COPY, m->n_rows, m->n_cols);
    t->offset = offset;
    t->matrix = m;
    return choose_action(plan, options, t, true, err);
}

static tern_status add_slot(const model_source *model, const convert_options *options, convert_plan *plan,
                            uint32_t layer, const layer_slot *slot, tern_error *err)
{
    const hparams *hp = &model->hp;
    if (!layer_has_slot(hp, slot)) return TERN_OK;
    const void *place = (const char *)&model->layers[layer] + slot->offset;
    char name[48];
    snprintf(name, sizeof name, "blk.%u.%s", layer, slot->gguf);
    if (slot->kind != SLOT_MATRIX) {
        convert_tensor *t = add_tensor(plan, name, CONVERT_VECTOR, 1, layer_width_of(hp, slot->rows));
        t->slot = slot;
        t->layer = layer;
        t->vector = place;
        return TERN_OK;
    }
    const matrix_source *m = place;
    convert_tensor *t = add_tensor(plan, name, CONVERT_TRITS, m->n_rows, m->n_cols);
    t->slot = slot;
    t->layer = layer;
    t->matrix = m;
    bool is_rotated = slot->offset == offsetof(layer_source, q) || slot->offset == offsetof(layer_source, k);
    bool to_adjacent = strcmp(plan->architecture, "llama") == 0 && hp->rope.style == ROPE_HALF_SPLIT;
    t->n_head_rows = is_rotated && to_adjacent ? hp->head_dim : 0;
    return choose_action(plan, options, t, false, err);
}

// What a frequency is divided by under the Llama 3.1 rule: 1 for short wavelengths, `factor` for long ones, blended
// between.
static double llama3_divisor(const rope_params *rope, double frequency)
{
    double wavelength = 0x1.921fb54442d18p+2 / frequency; // 2 pi / frequency
    if (wavelength < rope->original_context / rope->high_freq_factor) return 1.0;
    if (wavelength > rope->original_context / rope->low_freq_factor) return rope->factor;
    double smooth = (rope->original_context / wavelength - rope->low_freq_factor) /
                    (rope->high_freq_factor - rope->low_freq_factor);
    return 1.0 / ((1.0 - smooth) / rope->factor + smooth);
}

// rope_freqs.weight: given divisors as they are, times those of Llama 3.1 scaling, which GGUF has no keys for.
static tern_status add_rope_divisors(const rope_params *rope, convert_plan *plan, tern_error *err)
{
    bool is_llama3 = rope->scaling == ROPE_SCALING_LLAMA3;
    if (!is_llama3 && rope->freq_divisors == NULL) return TERN_OK;
    uint32_t n = rope->n_dims / 2;
    plan->freq_divisors = malloc(n * sizeof(float));
    if (plan->freq_divisors == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %u rope divisors", n);
    double log_theta = rope_log(rope->theta);
    for (uint32_t i = 0; i < n; i++) {
        double divisor = rope->freq_divisors != NULL ? (double)rope->freq_divisors[i] : 1.0;
        double frequency = rope_exp(-(2.0 * i / rope->n_dims) * log_theta) / divisor;
        plan->freq_divisors[i] = (float)(is_llama3 ? divisor * llama3_divisor(rope, frequency) : divisor);
    }
    add_tensor(plan, "rope_freqs", CONVERT_VALUES, 1, n)->values = plan->freq_divisors;
    return TERN_OK;
}

static tern_status list_tensors(const model_source *model, const convert_options *options, convert_plan *plan,
                                tern_error *err)
{
    size_t capacity = 4 + (size_t)model->hp.n_layers * N_LAYER_SLOTS;
    plan->tensors = calloc(capacity, sizeof *plan->tensors);
    if (plan->tensors == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a list of %zu tensors", capacity);
    tern_status status = add_table(model, options, plan, "token_embd", offsetof(model_source, embedding), err);
    if (status == TERN_OK) status = add_rope_divisors(&model->hp.rope, plan, err);
    for (uint32_t l = 0; l < model->hp.n_layers && status == TERN_OK; l++)
        for (size_t s = 0; s < N_LAYER_SLOTS && status == TERN_OK; s++)
            status = add_slot(model, options, plan, l, &layer_slots[s], err);
    if (status != TERN_OK) return status;
    convert_tensor *norm = add_tensor(plan, "output_norm", CONVERT_VECTOR, 1, model->hp.n_embd);
    norm->offset = offsetof(model_source, output_norm);
    norm->vector = &model->output_norm;
    if (!model->hp.is_tied) status = add_table(model, options, plan, "output", offsetof(model_source, head), err);
    for (size_t i = 0; i < plan->n_tensors && status == TERN_OK; i++)
        if (!check_add(plan->n_bytes, plan->tensors[i].n_bytes, &plan->n_bytes))
            status = error_set(err, TERN_LIMIT, "the tensors overflow a size");
    return status;
}

// ------------------------------------------------------------------------------------------------------------ checks

bool convert_has_ternary(const model_source *model)
{
    for (uint32_t l = 0; l < model->hp.n_layers; l++)
        for (size_t s = 0; s < N_LAYER_SLOTS; s++)
            if (layer_slots[s].kind == SLOT_MATRIX &&
                matrix_is_ternary(layer_matrix(&model->layers[l], &layer_slots[s])))
                return true;
    return false;
}

static tern_status check_options(const model_source *model, const convert_options *options, tern_error *err)
{
    if ((unsigned)options->type >= ENCODE_N_TYPES)
        return error_set(err, TERN_INVALID_ARGUMENT, "no output type has number %d", (int)options->type);
    if ((unsigned)options->head > CONVERT_HEAD_Q6_K)
        return error_set(err, TERN_INVALID_ARGUMENT, "no head type has number %d", (int)options->head);
    if (options->type == ENCODE_F16 || convert_has_ternary(model)) return TERN_OK;
    return error_set(err, TERN_UNSUPPORTED,
                     "the model has no ternary matrices (%s), and %s stores nothing else; convert it to F16, or start "
                     "from a checkpoint trained for ternary weights",
                     model->formats, encode_formats[options->type].name);
}

static tern_status choose_architecture(const model_source *model, encode_type type, const char **out, tern_error *err)
{
    const hparams *hp = &model->hp;
    const char *missing = NULL;
    if (hp->has_linear_norm)
        missing = "a norm before every ternary linear (use_rms_norm)";
    else if (hp->has_sub_norm && hp->has_qk_norm)
        missing = "sub-norms and norms of q and k";
    else if ((hp->has_sub_norm || hp->has_qk_norm) && hp->rope.style == ROPE_ADJACENT)
        missing = "sub-norms, or norms of q and k, and adjacent-pair rope";
    else if (!hp->has_sub_norm && hp->act != ACTIVATION_SILU)
        missing = "relu^2 without sub-norms";
    if (missing != NULL)
        return error_set(err, TERN_UNSUPPORTED, "%s: no GGUF architecture has %s", hp->architecture, missing);
    if (hp->has_sub_norm)
        *out = hp->act == ACTIVATION_RELU2 && type == ENCODE_I2_S ? "bitnet-b1.58" : "bitnet";
    else
        *out = hp->has_qk_norm ? "qwen3" : "llama";
    return TERN_OK;
}

tern_status convert_plan_make(const model_source *model, const convert_options *options, convert_plan *out,
                              tern_error *err)
{
    *out = (convert_plan){.type = options->type};
    tern_status status = check_options(model, options, err);
    if (status == TERN_OK) status = choose_architecture(model, options->type, &out->architecture, err);
    return status == TERN_OK ? list_tensors(model, options, out, err) : status;
}

void convert_plan_free(convert_plan *plan)
{
    for (size_t i = 0; i < plan->n_tensors; i++) ternary_scale_free(&plan->tensors[i].scale);
    free(plan->tensors);
    free(plan->freq_divisors);
    *plan = (convert_plan){0};
}

// The types that can hold a matrix, "TQ1_0, F16", or "no type that is written here".
static void list_types(const convert_tensor *t, char *out, size_t size)
{
    size_t n = 0;
    bool is_table = t->slot == NULL;
    if (is_table) n += (size_t)snprintf(out, size, "%s", t->n_cols % 32 == 0 ? "--head-type q8_0" : "");
    for (int type = 0; type < ENCODE_N_TYPES && !is_table; type++) {
        if (encode_refusal((encode_type)type, t->n_rows, t->n_cols, &t->scale) != NULL) continue;
        n += (size_t)snprintf(out + n, size - n, "%s%s", n > 0 ? ", " : "", encode_formats[type].name);
    }
    if (n == 0) snprintf(out, size, "no type that is written here");
}

tern_status convert_plan_check(convert_tensor *t, tern_error *err)
{
    if (t->matrix == NULL || !matrix_is_ternary(t->matrix)) return TERN_OK;
    tern_status status = matrix_scale(t->matrix, &t->scale, err);
    if (status != TERN_OK || t->action != CONVERT_TRITS) return status;
    const char *reason = encode_refusal(t->trits, t->n_rows, t->n_cols, &t->scale);
    if (reason == NULL) return TERN_OK;
    char types[64];
    list_types(t, types, sizeof types);
    return error_set(err, TERN_UNSUPPORTED, "%s (%u rows of %u columns) cannot be stored as %s, which %s; it fits: %s",
                     t->name, t->n_rows, t->n_cols, encode_formats[t->trits].name, reason, types);
}

act_quant convert_assumed_quant(const convert_plan *plan, const model_source *model)
{
    // As model_choose_act_quant: sub-norms mean int8; otherwise float tensors and qwen3 mean weight-only.
    if (model->hp.has_sub_norm) return ACT_QUANT_INT8;
    return plan->type == ENCODE_F16 || model->hp.has_qk_norm ? ACT_QUANT_INT8X2 : ACT_QUANT_INT8;
}
