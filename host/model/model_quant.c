// What the values and types of an opened model's linears say: which float tensors are ternary, and how activations
// enter the products.
#include <stdio.h>
#include <stdlib.h>

#include "model_internal.h"

typedef enum linear_kind {
    LINEAR_DENSE,
    LINEAR_INT8,    // an encoding that only models trained with int8 activations use
    LINEAR_GROUPED, // a scale per group of columns: the Bonsai family, trained with float activations
    LINEAR_FLOAT,   // a float tensor with ternary values
} linear_kind;

static linear_kind kind_of(const matrix_source *m)
{
    switch (m->encoding) {
    case MATRIX_DENSE: return LINEAR_DENSE;
    case MATRIX_Q2_0_64:
    case MATRIX_Q2_0_128:
    case MATRIX_PTQ1_0: return LINEAR_GROUPED;
    case MATRIX_FLOAT: return LINEAR_FLOAT;
    default: return LINEAR_INT8;
    }
}

// The first ternary linear of a model in the order of kinds INT8, GROUPED, FLOAT; NULL in a dense model.
static const matrix_source *telling_linear(const model_source *m)
{
    const matrix_source *first[LINEAR_FLOAT + 1] = {NULL};
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        for (size_t s = 0; s < N_LAYER_SLOTS; s++) {
            if (layer_slots[s].kind != SLOT_MATRIX) continue;
            const matrix_source *w = layer_matrix(&m->layers[l], &layer_slots[s]);
            if (first[kind_of(w)] == NULL) first[kind_of(w)] = w;
        }
    for (int kind = LINEAR_INT8; kind <= LINEAR_FLOAT; kind++)
        if (first[kind] != NULL) return first[kind];
    return NULL;
}

// Models trained with int8 activations say so themselves: the BitNet architectures, and quant_method bitnet.
static bool says_int8(const hparams *hp) { return hp->has_sub_norm || hp->hf_is_bitnet; }

void model_choose_act_quant(model_source *m, tern_act asked)
{
    static const act_quant choices[] = {
        [TERN_ACT_INT8] = ACT_QUANT_INT8, [TERN_ACT_INT8X2] = ACT_QUANT_INT8X2, [TERN_ACT_F32] = ACT_QUANT_F32};
    hparams *hp = &m->hp;
    const matrix_source *linear = telling_linear(m);
    const char *type = linear != NULL && linear->weights != NULL ? linear->weights->type_name : "";
    char *reason = hp->act_quant_reason;
    size_t n = sizeof hp->act_quant_reason;
    hp->quant = ACT_QUANT_INT8;
    if (linear == NULL) {
        snprintf(reason, n, "no linear layer is stored as trits");
    } else if (asked != TERN_ACT_AUTO) {
        hp->quant = choices[asked];
        snprintf(reason, n, "chosen by the user");
    } else if (says_int8(hp)) {
        // hparams_from_* said why
    } else if (kind_of(linear) == LINEAR_FLOAT) {
        hp->quant = ACT_QUANT_INT8X2;
        snprintf(reason, n,
                 "ternary values in %s and no word of int8 activations: weight-only, as TriLM and unpacked Bonsai",
                 type);
    } else if (kind_of(linear) == LINEAR_GROUPED || hp->has_qk_norm) {
        hp->quant = ACT_QUANT_INT8X2;
        snprintf(reason, n, "%s in architecture %s: weight-only, as Bonsai", type, hp->architecture);
    } else {
        snprintf(reason, n, "%s: ternary %s models are usually trained with int8 activations", type, hp->architecture);
    }
}

static tern_status find_ternary(model_source *m, matrix_source *w, tern_error *err)
{
    bool is_ternary = false;
    ternary_scale scale = {0};
    tern_status status = matrix_find_ternary(w, &is_ternary, &scale, err);
    if (status != TERN_OK || !is_ternary) return status;
    struct model_files *files = m->files;
    ternary_scale **list = realloc(files->found, (files->n_found + 1) * sizeof *list);
    if (list != NULL) files->found = list;
    ternary_scale *kept = list == NULL ? NULL : malloc(sizeof *kept);
    if (kept == NULL) {
        ternary_scale_free(&scale);
        return error_set(err, TERN_HOST_MEMORY, "%s: no memory for its scales", w->name);
    }
    *kept = scale;
    files->found[files->n_found++] = kept;
    w->encoding = MATRIX_FLOAT;
    w->found = kept;
    return TERN_OK;
}

tern_status model_find_ternary(model_source *m, tern_error *err)
{
    tern_status status = TERN_OK;
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        for (size_t s = 0; s < N_LAYER_SLOTS && status == TERN_OK; s++)
            if (layer_slots[s].kind == SLOT_MATRIX)
                status = find_ternary(m, layer_matrix(&m->layers[l], &layer_slots[s]), err);
    if (status != TERN_OK || says_int8(&m->hp)) return status;
    // In a weight-only model embedding and head may be ternary too; in others they never are.
    const matrix_source *linear = telling_linear(m);
    if (linear == NULL || kind_of(linear) == LINEAR_INT8) return TERN_OK;
    status = find_ternary(m, &m->embedding, err);
    if (m->hp.is_tied)
        m->head = m->embedding;
    else if (status == TERN_OK)
        status = find_ternary(m, &m->head, err);
    return status;
}
