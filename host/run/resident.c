#include "resident.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "layer_stream.h"
#include "rope.h"

// ------------------------------------------------------------------------------------------------ grouping of matrices

static bool has_input_norm(const matrix_source *m) { return m->input_norm.tensor != NULL || m->input_norm.is_ones; }

// Two matrices can share one device matrix when a product over them has the same definition row by row and the same
// input: both dense of one type, or both ternary with one scale along K.
static bool can_stack(const matrix_source *a, const matrix_source *b, dense_type held)
{
    if (has_input_norm(a) || has_input_norm(b)) return false;
    if (held != DENSE_N_TYPES) return true;
    if (matrix_is_ternary(a) != matrix_is_ternary(b)) return false;
    if (!matrix_is_ternary(a)) return a->dense == b->dense;
    return matrix_scale_bound(a).group == 0 && matrix_scale_bound(b).group == 0;
}

void linear_plan_make(const matrix_source *const *sources, uint32_t n_sources, dense_type held, ternary_layout layout,
                      linear_plan *out)
{
    memset(out, 0, sizeof *out);
    out->held = held;
    out->layout = layout;
    out->n_sources = n_sources;
    for (uint32_t i = 0; i < n_sources; i++) {
        out->source[i] = sources[i];
        bool joins = i > 0 && can_stack(sources[i - 1], sources[i], held);
        out->part_of[i] = joins ? out->n_parts - 1 : out->n_parts++;
    }
}

// Whether the product with gate and up can gate by itself: one ternary product, of rows that fill whole tiles.
static bool can_gate(const linear_plan *plan, act_quant quant)
{
    const matrix_source *gate = plan->source[0];
    return plan->n_parts == 1 && plan->held == DENSE_N_TYPES && matrix_is_ternary(gate) && quant != ACT_QUANT_F32 &&
           gate->n_rows % GATED_TURN == 0;
}

void layer_linear_plans(const model_source *model, uint32_t index, dense_type held, ternary_layout layout,
                        linear_plan out[LAYER_N_LINEARS])
{
    const layer_source *layer = &model->layers[index];
    linear_plan_make((const matrix_source *const[]){&layer->q, &layer->k, &layer->v}, 3, held, layout, &out[0]);
    linear_plan_make((const matrix_source *const[]){&layer->o}, 1, held, layout, &out[1]);
    linear_plan_make((const matrix_source *const[]){&layer->gate, &layer->up}, 2, held, layout, &out[2]);
    linear_plan_make((const matrix_source *const[]){&layer->down}, 1, held, layout, &out[3]);
    out[LAYER_GATE_UP].is_by_turns = can_gate(&out[LAYER_GATE_UP], model->hp.quant);
}

bool linear_part_is_grouped(const linear_plan *plan, uint32_t part)
{
    for (uint32_t i = 0; i < plan->n_sources; i++)
        if (plan->part_of[i] == part && plan->held == DENSE_N_TYPES && matrix_is_ternary(plan->source[i]) &&
            matrix_scale_bound(plan->source[i]).group != 0)
            return true;
    return false;
}

// The form of one part, its scale left open.
static weights_desc part_desc(const linear_plan *plan, uint32_t part)
{
    weights_desc desc = {0};
    for (uint32_t i = 0; i < plan->n_sources; i++) {
        if (plan->part_of[i] != part) continue;
        desc.n_rows += plan->source[i]->n_rows;
        desc.n_cols = plan->source[i]->n_cols;
        desc.is_ternary = matrix_is_ternary(plan->source[i]);
        desc.type = plan->source[i]->dense;
    }
    if (plan->held != DENSE_N_TYPES) {
        desc.is_ternary = false;
        desc.type = plan->held;
    }
    if (desc.is_ternary && !linear_part_is_grouped(plan, part)) desc.layout = plan->layout;
    return desc;
}

// The shape of a part's scales at the finest, as stack_scales makes it; `begin` is room for its row ranges.
static ternary_scale finest_scale(const linear_plan *plan, uint32_t part, uint32_t n_rows, uint32_t n_cols,
                                  uint32_t begin[LINEAR_MAX_PARTS * MATRIX_MAX_RANGES])
{
    ternary_scale shape = {.group = n_cols, .n_groups = 1};
    bool per_row = plan->is_by_turns;
    for (uint32_t i = 0; i < plan->n_sources; i++) {
        if (plan->part_of[i] != part) continue;
        scale_bound bound = matrix_scale_bound(plan->source[i]);
        per_row |= bound.per_row;
        shape.n_sets += bound.n_ranges;
        if (bound.group == 0) continue;
        shape.group = bound.group;
        shape.n_groups = (n_cols + bound.group - 1) / bound.group;
    }
    if (per_row || shape.n_sets > n_rows) {
        shape.n_sets = n_rows;
    } else if (shape.n_sets > 1) {
        for (uint32_t i = 0; i < shape.n_sets; i++) begin[i] = i;
        shape.set_begin = begin;
    }
    return shape;
}

tern_status linear_part_bytes(const backend *b, const linear_plan *plan, uint32_t part, uint64_t *out, tern_error *err)
{
    weights_desc desc = part_desc(plan, part);
    uint32_t begin[LINEAR_MAX_PARTS * MATRIX_MAX_RANGES];
    ternary_scale shape = {0};
    if (desc.is_ternary) {
        shape = finest_scale(plan, part, desc.n_rows, desc.n_cols, begin);
        desc.scale = &shape;
    }
    return b->weights_bytes(NULL, &desc, out, err);
}

static uint64_t padded_floats(uint32_t n) { return ((uint64_t)n + 15) / 16 * 16; }

static uint64_t input_norm_floats(const layer_source *layer)
{
    uint64_t n = 0;
    for (int i = 0; i < LAYER_N_MATRICES; i++)
        if (has_input_norm(layer_matrix(layer, i))) n += padded_floats(layer_matrix(layer, i)->n_cols);
    return n;
}

uint64_t resident_norm_floats(const model_source *model, const model_span *span)
{
    const hparams *hp = &model->hp;
    uint64_t layer = 2 * padded_floats(hp->n_embd);
    if (hp->has_sub_norm) layer += padded_floats(hp->n_heads * hp->head_dim) + padded_floats(hp->n_ff);
    if (hp->has_qk_norm) layer += 2 * padded_floats(hp->head_dim);
    uint64_t n = span->n_layers * layer + (span->has_head ? padded_floats(hp->n_embd) : 0);
    for (uint32_t i = 0; i < span->n_layers; i++) n += input_norm_floats(&model->layers[span->first_layer + i]);
    return n;
}

const matrix_source *resident_head_source(const model_source *model)
{
    return model->hp.is_tied ? &model->embedding : &model->head;
}

// A head that is read whole does not stay on the host.
bool resident_shares_table(const model_source *model, const model_span *span)
{
    bool is_at_hand = span->is_head_screened || !span->is_embedding_on_host;
    return model->hp.is_tied && span->has_embedding && span->has_head && is_at_hand;
}

uint64_t resident_source_bytes(const model_source *model, const model_span *span)
{
    uint64_t n = span->has_embedding ? model->embedding.n_bytes : 0;
    if (span->has_head && !resident_shares_table(model, span)) n += resident_head_source(model)->n_bytes;
    if (span->is_head_screened) n += resident_head_source(model)->n_bytes; // read once more
    for (uint32_t layer = 0; layer < span->n_layers; layer++)
        for (int i = 0; i < LAYER_N_MATRICES; i++)
            n += layer_matrix(&model->layers[span->first_layer + layer], i)->n_bytes;
    return n;
}

// ------------------------------------------------------------------------------------------------------------ loading

typedef struct loader {
    resident *r;
    const model_source *model;
    const resident_options *options;
    uploader *uploader;
    bool is_in_memory;     // weights of this device
    packed_matrix *packed; // what the cache keeps, in the order of loading
    uint32_t n_packed, next_packed;
    float *values;      // a norm
    size_t norm_offset; // of the next norm in the norms buffer
} loader;

// One descriptor over the rows of all sources: their own when there is one, else row ranges, else a scale per row;
// rows by turns have a scale each.
static tern_status stack_scales(const linear_plan *plan, uint32_t part, const ternary_scale *scales, ternary_scale *out,
                                tern_error *err)
{
    uint32_t n_rows = 0, n_sets = 0, n_cols = 0;
    bool per_row = plan->is_by_turns;
    for (uint32_t i = 0; i < plan->n_sources; i++) {
        if (plan->part_of[i] != part) continue;
        if (scales[i].n_groups != 1)
            return error_set(err, TERN_INTERNAL, "%s: stacked, but has %u scales along its columns",
                             plan->source[i]->name, scales[i].n_groups);
        n_cols = plan->source[i]->n_cols;
        n_rows += plan->source[i]->n_rows;
        n_sets += scales[i].n_sets;
        per_row = per_row || (scales[i].set_begin == NULL && scales[i].n_sets > 1);
    }
    tern_status status = ternary_scale_create(per_row ? n_rows : n_sets, !per_row, 0, n_cols, out, err);
    if (status != TERN_OK) return status;
    uint32_t row = 0, set = 0;
    for (uint32_t i = 0; i < plan->n_sources; i++) {
        if (plan->part_of[i] != part) continue;
        const ternary_scale *s = &scales[i];
        if (per_row) {
            for (uint32_t r = 0; r < plan->source[i]->n_rows; r++)
                out->values[plan->is_by_turns ? gated_row(r, i) : row + r] = s->values[ternary_scale_set(s, r)];
        } else {
            for (uint32_t k = 0; k < s->n_sets; k++, set++) {
                out->set_begin[set] = row + (s->set_begin != NULL ? s->set_begin[k] : 0);
                out->values[set] = s->values[k];
            }
        }
        row += plan->source[i]->n_rows;
    }
    return TERN_OK;
}

// Where the matrices of a linear map go.
typedef struct placement {
    weights_place place;
    buffer *const *slots; // for each part of a streamed one
} placement;

static scale_shape shape_of(const ternary_scale *s)
{
    return (scale_shape){s->n_sets, s->n_groups, s->group, s->set_begin != NULL};
}

// A matrix of a streamed layer is one on the host and one in the slot that it visits.
static tern_status create_weights(loader *l, weights_desc *desc, const placement *where, uint32_t part, linear *out,
                                  tern_error *err)
{
    const backend *b = l->r->backend;
    desc->place = where->place;
    if (where->slots == NULL) return b->weights_create(l->r->device, desc, &out->part[part], err);
    tern_status status = b->weights_create(l->r->device, desc, &out->home[part], err);
    if (status != TERN_OK) return status;
    desc->place = WEIGHTS_IN_SLOT;
    desc->slot = where->slots[part];
    return b->weights_create(l->r->device, desc, &out->part[part], err);
}

// The bytes of this part are not those of the file.
static bool is_repacked(const linear_plan *plan, uint32_t part)
{
    return part_desc(plan, part).is_ternary || plan->held != DENSE_N_TYPES;
}

// The one source of a part, if it has but one and is held as it is stored.
static const matrix_source *only_dense_source(const linear_plan *plan, uint32_t part)
{
    const matrix_source *found = NULL;
    for (uint32_t i = 0; i < plan->n_sources; i++) {
        if (plan->part_of[i] != part) continue;
        if (found != NULL || matrix_is_ternary(plan->source[i]) || plan->held != DENSE_N_TYPES) return NULL;
        found = plan->source[i];
    }
    return found;
}

// Dense rows that the device can use where the file is mapped: *desc gets the image.
static bool find_in_file(const loader *l, const linear_plan *plan, uint32_t part, weights_desc *desc)
{
    uint64_t n_bytes;
    const matrix_source *source = only_dense_source(plan, part);
    if (source == NULL || source->weights == NULL ||
        l->r->backend->weights_bytes(NULL, desc, &n_bytes, NULL) != TERN_OK ||
        !model_may_read(l->model, source->weights->data, n_bytes))
        return false;
    desc->image = source->weights->data;
    return true;
}

static uint64_t part_source_bytes(const linear_plan *plan, uint32_t part)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < plan->n_sources; i++)
        if (plan->part_of[i] == part) n += plan->source[i]->n_bytes;
    return n;
}

// A part that needs no room of its own: in the cache of packed weights, or in the file. *is_found says whether it is.
static tern_status load_image(loader *l, const linear_plan *plan, uint32_t part, packed_matrix *packed, weights **out,
                              bool *is_found, tern_error *err)
{
    weights_desc desc = part_desc(plan, part);
    ternary_scale scale = {0};
    bool in_cache = packed != NULL && pack_cache_find(l->r->packed, (uint32_t)(packed - l->packed), &desc, &scale);
    *is_found = in_cache || (packed == NULL && find_in_file(l, plan, part, &desc));
    if (!*is_found) return TERN_OK;
    tern_status status = l->r->backend->weights_create(l->r->device, &desc, out, err);
    if (packed != NULL) packed->shape = shape_of(&scale);
    ternary_scale_free(&scale);
    if (status != TERN_OK) return status;
    if (in_cache) return uploader_advance(l->uploader, part_source_bytes(plan, part), err);
    const upload_source file = {only_dense_source(plan, part), NULL};
    return upload_rows(l->uploader, &file, 1, DENSE_N_TYPES, NULL, 0, err);
}

// Lets the pages of a matrix go that was read.
static void release_source(const loader *l, const matrix_source *source)
{
    if (source->weights != NULL) model_release(l->model, source->weights->data, source->weights->n_bytes);
}

// Reads, packs and uploads a part.
static tern_status make_part(loader *l, const linear_plan *plan, uint32_t part, const placement *where, linear *out,
                             scale_shape *shape, tern_error *err)
{
    weights_desc desc = part_desc(plan, part);
    ternary_scale scales[LINEAR_MAX_PARTS] = {{0}}, stacked = {0};
    const ternary_scale *whole = NULL;
    uint32_t n_in_part = 0;
    tern_status status = TERN_OK;
    for (uint32_t i = 0; i < plan->n_sources && status == TERN_OK; i++) {
        if (plan->part_of[i] != part) continue;
        n_in_part++;
        if (!matrix_is_ternary(plan->source[i])) continue;
        status = matrix_scale(plan->source[i], &scales[i], err);
        whole = &scales[i];
    }
    if (status == TERN_OK && desc.is_ternary && n_in_part > 1) {
        status = stack_scales(plan, part, scales, &stacked, err);
        whole = &stacked;
    }
    desc.scale = desc.is_ternary ? whole : NULL;
    if (status == TERN_OK && desc.is_ternary) *shape = shape_of(whole);
    if (status == TERN_OK) status = create_weights(l, &desc, where, part, out, err);
    weights *to = out->home[part] != NULL ? out->home[part] : out->part[part];
    uint32_t row = 0, n_together = plan->is_by_turns ? 2 : 1;
    for (uint32_t i = 0; i < plan->n_sources && status == TERN_OK; i += n_together) {
        upload_source from[2];
        if (plan->part_of[i] != part) continue;
        for (uint32_t j = 0; j < n_together; j++) from[j] = (upload_source){plan->source[i + j], &scales[i + j]};
        status = upload_rows(l->uploader, from, n_together, plan->held, to, row, err);
        for (uint32_t j = i; j < i + n_together; j++) release_source(l, plan->source[j]);
        row += plan->source[i]->n_rows;
    }
    for (uint32_t i = 0; i < LINEAR_MAX_PARTS; i++) ternary_scale_free(&scales[i]);
    ternary_scale_free(&stacked);
    return status;
}

static tern_status load_part(loader *l, const linear_plan *plan, uint32_t part, const placement *where, linear *out,
                             tern_error *err)
{
    packed_matrix *packed = NULL;
    if (l->r->packed != NULL && is_repacked(plan, part)) packed = &l->packed[l->next_packed++];
    bool is_found = false;
    scale_shape shape = {0};
    tern_status status = TERN_OK;
    if (l->is_in_memory && where->place == WEIGHTS_ON_DEVICE)
        status = load_image(l, plan, part, packed, &out->part[part], &is_found, err);
    if (status != TERN_OK || is_found) {
        if (packed != NULL) packed->w = out->part[part];
        return status;
    }
    status = make_part(l, plan, part, where, out, &shape, err);
    if (packed != NULL) {
        packed->w = out->part[part];
        packed->shape = shape;
    }
    return status;
}

// Reads one norm vector to the next place in the norms buffer.
static tern_status load_norm(loader *l, const tensor_ref *source, uint32_t n, view *out, tern_error *err)
{
    float *values = l->values;
    tern_status status = model_read_vector(source, n, values, err);
    if (status != TERN_OK) return status;
    *out = (view){l->r->norms, l->norm_offset};
    l->norm_offset += padded_floats(n) * sizeof *values;
    return l->r->backend->buffer_write(l->r->stream, *out, values, n * sizeof *values, err);
}

static tern_status load_linear(loader *l, const linear_plan *plan, const placement *where, linear *out, tern_error *err)
{
    out->n_parts = plan->n_parts;
    out->is_by_turns = plan->is_by_turns;
    for (uint32_t part = 0, source = 0; part < plan->n_parts; part++) {
        weights_desc desc = part_desc(plan, part);
        out->is_ternary[part] = desc.is_ternary;
        out->type[part] = desc.type;
        out->n_rows[part] = desc.n_rows;
        out->n_cols = desc.n_cols;
        while (plan->part_of[source] != part) source++;
        const matrix_source *first = plan->source[source];
        tern_status status = load_part(l, plan, part, where, out, err);
        if (status == TERN_OK && has_input_norm(first))
            status = load_norm(l, &first->input_norm, desc.n_cols, &out->norm[part], err);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

// The embedding or the head.
static tern_status load_matrix(loader *l, const matrix_source *source, dense_type held, weights_place place,
                               linear *out, tern_error *err)
{
    linear_plan plan;
    const placement where = {.place = place};
    linear_plan_make(&source, 1, held, l->options->layout, &plan);
    return load_linear(l, &plan, &where, out, err);
}

static tern_status load_layer_norms(loader *l, const hparams *hp, const layer_source *from, resident_layer *to,
                                    tern_error *err)
{
    tern_status status = load_norm(l, &from->attn_norm, hp->n_embd, &to->attn_norm, err);
    if (status == TERN_OK) status = load_norm(l, &from->ffn_norm, hp->n_embd, &to->ffn_norm, err);
    if (status == TERN_OK && hp->has_sub_norm) {
        status = load_norm(l, &from->attn_sub_norm, hp->n_heads * hp->head_dim, &to->attn_sub_norm, err);
        if (status == TERN_OK) status = load_norm(l, &from->ffn_sub_norm, hp->n_ff, &to->ffn_sub_norm, err);
    }
    if (status == TERN_OK && hp->has_qk_norm) {
        status = load_norm(l, &from->q_norm, hp->head_dim, &to->q_norm, err);
        if (status == TERN_OK) status = load_norm(l, &from->k_norm, hp->head_dim, &to->k_norm, err);
    }
    return status;
}

// Layer i of the span.
static tern_status load_layer(loader *l, const model_source *model, uint32_t i, tern_error *err)
{
    const hparams *hp = &model->hp;
    resident *r = l->r;
    const layer_source *from = &model->layers[r->first_layer + i];
    resident_layer *to = &r->layers[i];
    tern_status status = load_layer_norms(l, hp, from, to, err);
    linear_plan plans[LAYER_N_LINEARS];
    layer_linear_plans(model, r->first_layer + i, l->options->held, l->options->layout, plans);
    linear *linears[LAYER_N_LINEARS] = {&to->qkv, &to->o, &to->gate_up, &to->down};
    for (int k = 0; k < LAYER_N_LINEARS && status == TERN_OK; k++) {
        buffer *const *slots = layer_stream_slots(r->streamed, i, k);
        const placement where = {.place = slots != NULL ? WEIGHTS_ON_HOST : WEIGHTS_ON_DEVICE, .slots = slots};
        status = load_linear(l, &plans[k], &where, linears[k], err);
    }
    if (status != TERN_OK) error_prefix(err, "loading layer %u of %u", r->first_layer + i, hp->n_layers);
    return status;
}

static tern_status load_rope(loader *l, const hparams *hp, tern_error *err)
{
    uint64_t n_bytes;
    size_t size;
    if (!check_mul((uint64_t)l->options->n_ctx * hp->rope.n_dims, sizeof(float), &n_bytes) ||
        !check_size(n_bytes, &size))
        return error_set(err, TERN_LIMIT, "a context of %u positions is too large", l->options->n_ctx);
    float *table = malloc(size);
    if (table == NULL) return error_set(err, TERN_HOST_MEMORY, "out of memory for the rotary table (%zu bytes)", size);
    rope_table(&hp->rope, l->options->n_ctx, table);
    tern_status status = l->r->backend->buffer_create(l->r->device, size, &l->r->rope, err);
    if (status == TERN_OK) status = l->r->backend->buffer_write(l->r->stream, (view){l->r->rope, 0}, table, size, err);
    free(table);
    return status;
}

// That the device multiplies weights as they are held now; the head stands for all.
static tern_status check_blas(const resident *r, tern_error *err)
{
    const linear *head = &r->head;
    const char *reason = "";
    op o = {.kind = OP_BLAS_MM, .m = 1};
    o.dense_mm = (op_dense_mm){.w = head->part[0], .ld_x = head->n_cols, .ld_y = head->n_rows[0]};
    if (r->backend->supports(r->device, &o, &reason)) return TERN_OK;
    return error_set(err, TERN_DEVICE_UNSUPPORTED, "%s: %s", op_kind_name(OP_BLAS_MM), reason);
}

static tern_status open_device(resident *r, const device_ref *where, const resident_options *options, tern_error *err)
{
    const backend *b = where->backend;
    const device_options device_opts = {.n_threads = options->n_threads, .cache_dir = options->cache.dir};
    tern_status status = b->device_open(where->index, &device_opts, &r->device, err);
    if (status == TERN_OK) status = b->device_probe(r->device, &r->is_reproducible, err);
    if (status == TERN_OK) status = b->stream_create(r->device, &r->stream, err);
    return status;
}

static weights_place place_of(bool is_on_host) { return is_on_host ? WEIGHTS_ON_HOST : WEIGHTS_ON_DEVICE; }

// The embedding and the head, or what the span has of them.
static tern_status load_tables(loader *l, const model_source *model, tern_error *err)
{
    const model_span *span = &l->options->span;
    const dense_type held = l->options->head_held;
    resident *r = l->r;
    linear embedding = {0}, stored = {0};
    tern_status status = TERN_OK;
    if (span->has_embedding)
        status = load_matrix(l, &model->embedding, held, place_of(span->is_embedding_on_host), &embedding, err);
    r->embedding = embedding.part[0];
    if (status != TERN_OK || !span->has_head) return status;
    if (resident_shares_table(model, span))
        stored = embedding;
    else
        status = load_matrix(l, resident_head_source(model), held, place_of(span->is_stored_head_on_host), &stored,
                             err);
    if (!span->is_head_screened) {
        r->head = stored;
    } else {
        r->stored_head = stored.part[0];
        if (status == TERN_OK)
            status = load_matrix(l, resident_head_source(model), DENSE_INT4, WEIGHTS_ON_DEVICE, &r->head, err);
    }
    if (status == TERN_OK) status = load_norm(l, &model->output_norm, model->hp.n_embd, &r->output_norm, err);
    return status;
}

// ---- the cache of packed weights

// Appends what of a linear map the cache keeps; `out` NULL: only counts.
static tern_status collect_linear(const backend *b, const linear_plan *plan, packed_matrix *out, uint32_t *n,
                                  uint64_t *n_bytes, tern_error *err)
{
    for (uint32_t part = 0; part < plan->n_parts; part++) {
        uint64_t bytes = 0;
        if (!is_repacked(plan, part)) continue;
        tern_status status = linear_part_bytes(b, plan, part, &bytes, err);
        if (status != TERN_OK) return status;
        if (out != NULL) out[*n] = (packed_matrix){.desc = part_desc(plan, part), .is_by_turns = plan->is_by_turns};
        (*n)++;
        *n_bytes += bytes;
    }
    return TERN_OK;
}

// What of the span the cache keeps, in the order of load_all.
static tern_status collect(const loader *l, packed_matrix *out, uint32_t *n, uint64_t *n_bytes, tern_error *err)
{
    const model_source *model = l->model;
    const resident_options *o = l->options;
    const model_span *span = &o->span;
    const matrix_source *head = resident_head_source(model);
    const struct {
        bool is_loaded;
        const matrix_source *source;
        dense_type held;
    } tables[] = {{span->has_embedding, &model->embedding, o->head_held},
                  {span->has_head && !resident_shares_table(model, span), head, o->head_held},
                  {span->is_head_screened, head, DENSE_INT4}};
    linear_plan plans[LAYER_N_LINEARS];
    tern_status status = TERN_OK;
    *n = 0;
    *n_bytes = 0;
    for (int i = 0; i < 3 && status == TERN_OK; i++) {
        if (!tables[i].is_loaded) continue;
        linear_plan_make(&tables[i].source, 1, tables[i].held, o->layout, plans);
        status = collect_linear(l->r->backend, plans, out, n, n_bytes, err);
    }
    for (uint32_t i = 0; i < span->n_layers && status == TERN_OK; i++) {
        layer_linear_plans(model, span->first_layer + i, o->held, o->layout, plans);
        for (int k = 0; k < LAYER_N_LINEARS && status == TERN_OK; k++)
            status = collect_linear(l->r->backend, &plans[k], out, n, n_bytes, err);
    }
    return status;
}

// Float twins are for comparison, and matrices that ops read over a link have no images.
static tern_status open_cache(loader *l, tern_error *err)
{
    const resident_options *o = l->options;
    const model_span *span = &o->span;
    uint64_t n_bytes;
    char origin[160];
    bool is_linked = span->n_streamed > 0 || span->is_embedding_on_host || span->is_stored_head_on_host;
    if (!l->is_in_memory || o->held != DENSE_N_TYPES || is_linked) return TERN_OK;
    tern_status status = collect(l, NULL, &l->n_packed, &n_bytes, err);
    if (status != TERN_OK || l->n_packed == 0) return status;
    l->packed = calloc(l->n_packed, sizeof *l->packed);
    if (l->packed == NULL) return error_set(err, TERN_HOST_MEMORY, "out of memory while loading");
    status = collect(l, l->packed, &l->n_packed, &n_bytes, err);
    if (status != TERN_OK) return status;
    snprintf(origin, sizeof origin, "I2_S %d, layers %u to %u%s%s",
             (int)l->model->layers[span->first_layer].q.i2s_layout, span->first_layer,
             span->first_layer + span->n_layers, span->has_embedding ? ", embedding" : "",
             span->has_head ? ", head" : "");
    return pack_cache_open(l->model, l->r->backend, l->packed, l->n_packed, n_bytes, origin, &o->cache,
                           uploader_team(l->uploader), &l->r->packed, err);
}

static tern_status load_all(loader *l, const model_source *model, tern_error *err)
{
    resident *r = l->r;
    const backend *b = r->backend;
    const model_span *span = &l->options->span;
    size_t norm_bytes = (size_t)resident_norm_floats(model, span) * sizeof(float);
    tern_status status = norm_bytes > 0 ? b->buffer_create(r->device, norm_bytes, &r->norms, err) : TERN_OK;
    if (status == TERN_OK) status = load_rope(l, &model->hp, err);
    if (status == TERN_OK) status = open_cache(l, err);
    if (status == TERN_OK) status = load_tables(l, model, err);
    if (status == TERN_OK && span->n_streamed > 0)
        status = layer_stream_create(r, model, l->options->held, l->options->layout, span->n_streamed, err);
    for (uint32_t i = 0; i < r->n_layers && status == TERN_OK; i++) status = load_layer(l, model, i, err);
    if (status == TERN_OK) status = b->stream_sync(r->stream, err);
    if (status == TERN_OK && r->packed != NULL) pack_cache_keep(r->packed, l->packed);
    if (status == TERN_OK && r->uses_blas && span->has_head) status = check_blas(r, err);
    return status;
}

// The longest row of a matrix, and the longest norm, in values.
static uint32_t max_columns(const model_source *model)
{
    const hparams *hp = &model->hp;
    uint32_t n = hp->n_embd > hp->n_ff ? hp->n_embd : hp->n_ff;
    uint32_t attention = hp->n_heads * hp->head_dim;
    return attention > n ? attention : n;
}

tern_status resident_load(const model_source *model, const device_ref *where, const resident_options *options,
                          load_progress *progress, resident **out, tern_error *err)
{
    const backend *b = where->backend;
    device_facts facts = {0};
    loader l = {.model = model, .options = options};
    tern_status status = b->device_describe(where->index, &facts, err);
    if (status != TERN_OK) return status;
    l.is_in_memory = facts.is_in_memory;
    l.values = malloc(max_columns(model) * sizeof *l.values);
    l.r = calloc(1, sizeof *l.r);
    if (l.r != NULL) l.r->layers = calloc(options->span.n_layers, sizeof *l.r->layers);
    if (l.r == NULL || l.r->layers == NULL || l.values == NULL) {
        status = error_set(err, TERN_HOST_MEMORY, "out of memory while loading");
    } else {
        l.r->backend = b;
        l.r->first_layer = options->span.first_layer;
        l.r->n_layers = options->span.n_layers;
        l.r->uses_blas = options->uses_blas;
        status = open_device(l.r, where, options, err);
    }
    if (status == TERN_OK)
        status = uploader_create(b, l.is_in_memory, options->n_loaders, max_columns(model), progress, &l.uploader, err);
    if (status == TERN_OK) status = load_all(&l, model, err);
    uploader_free(l.uploader);
    free(l.packed);
    free(l.values);
    if (status != TERN_OK) {
        resident_free(l.r);
        return status;
    }
    *out = l.r;
    return TERN_OK;
}

static void free_layer(const backend *b, resident_layer *layer)
{
    linear *linears[LAYER_N_LINEARS] = {&layer->qkv, &layer->o, &layer->gate_up, &layer->down};
    for (int k = 0; k < LAYER_N_LINEARS; k++)
        for (uint32_t part = 0; part < LINEAR_MAX_PARTS; part++) {
            b->weights_destroy(linears[k]->part[part]);
            b->weights_destroy(linears[k]->home[part]);
        }
}

void resident_free(resident *r)
{
    if (r == NULL) return;
    const backend *b = r->backend;
    if (b != NULL && r->device != NULL) {
        if (r->stream != NULL) b->stream_sync(r->stream, NULL); // pinned memory below may still be read
        layer_stream_stop(r->streamed);
        for (uint32_t i = 0; i < r->n_layers; i++) free_layer(b, &r->layers[i]);
        layer_stream_free(r->streamed);
        if (r->head.part[0] != r->embedding) b->weights_destroy(r->head.part[0]);
        if (r->stored_head != r->embedding) b->weights_destroy(r->stored_head);
        b->weights_destroy(r->embedding);
        pack_cache_close(r->packed);
        b->buffer_destroy(r->norms);
        b->buffer_destroy(r->rope);
        b->stream_destroy(r->stream);
        b->device_close(r->device);
    }
    free(r->layers);
    free(r);
}
