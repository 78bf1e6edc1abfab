// Weights on a device, as the step uses them: those of a model, or of a run of its layers where a model is spread.
#ifndef TERN_RUN_RESIDENT_H
#define TERN_RUN_RESIDENT_H

#include "model.h"
#include "pack_cache.h"
#include "registry.h"
#include "upload.h"

// A linear map of one input: one or more matrices whose outputs follow each other (q, k, v; gate, up). Matrices of the
// same form are stacked into one; matrices of different forms (mixed files) stay apart and get their own product.
#define LINEAR_MAX_PARTS 3
typedef struct linear {
    weights *part[LINEAR_MAX_PARTS];
    weights *home[LINEAR_MAX_PARTS]; // streamed layers: where the bytes of a part wait on the host
    bool is_ternary[LINEAR_MAX_PARTS];
    dense_type type[LINEAR_MAX_PARTS]; // of a dense part
    view norm[LINEAR_MAX_PARTS]; // the part's own norm over its input, fp32; not given unless the model has such norms
    uint32_t n_rows[LINEAR_MAX_PARTS];
    uint32_t n_parts;
    uint32_t n_cols;
    bool is_by_turns; // one part: gate and up by turns, for a product that gates (ops.h)
} linear;

typedef struct resident_layer {
    view attn_norm, attn_sub_norm, ffn_norm, ffn_sub_norm; // fp32; sub-norms not given unless the model has them
    view q_norm, k_norm;                                   // likewise
    linear qkv, o, gate_up, down;
} resident_layer;

typedef struct resident {
    const backend *backend;
    device *device;
    stream *stream;
    weights *embedding;   // NULL: another device has it
    linear head;          // of one part; no part: another device has it. The embedding itself where both are one
    weights *stored_head; // what the best of a screened head are rescored with; NULL: not screened. The embedding too
    buffer *norms;        // all norm vectors
    view output_norm;
    buffer *rope;                   // fp32 [n_ctx][n_dims]
    uint32_t first_layer, n_layers; // of the model
    resident_layer *layers;         // [n_layers]
    struct layer_stream *streamed;  // NULL: every layer stays on the device
    pack_cache *packed;             // what matrices are mapped from; NULL: nothing
    bool is_reproducible;           // the device gives the defined bits
    bool uses_blas;                 // float products are OP_BLAS_MM
} resident;

// How the matrices of one linear map are grouped: fills `linear` members other than `part`, and for each part the
// sources that are stacked in it. Shared by the loader and the planner.
typedef struct linear_plan {
    dense_type held;       // all matrices are turned into this type; DENSE_N_TYPES: held as they are stored
    ternary_layout layout; // of parts with one scale along K; others are T64
    const matrix_source *source[LINEAR_MAX_PARTS];
    uint32_t n_sources;
    uint32_t part_of[LINEAR_MAX_PARTS]; // part of each source
    uint32_t n_parts;
    bool is_by_turns; // the rows of the one part's two sources
} linear_plan;
void linear_plan_make(const matrix_source *const *sources, uint32_t n_sources, dense_type held, ternary_layout layout,
                      linear_plan *out);

// The linear maps of a layer of the model in the order qkv, o, gate_up, down.
#define LAYER_N_LINEARS 4
#define LAYER_GATE_UP   2
void layer_linear_plans(const model_source *model, uint32_t layer, dense_type held, ternary_layout layout,
                        linear_plan out[LAYER_N_LINEARS]);

// The seven matrices of a layer, for code that treats them alike.
#define LAYER_N_MATRICES 7
static inline const matrix_source *layer_matrix(const layer_source *layer, int i)
{
    const matrix_source *const matrices[LAYER_N_MATRICES] = {&layer->q,    &layer->k,  &layer->v,   &layer->o,
                                                             &layer->gate, &layer->up, &layer->down};
    return matrices[i];
}

// Device bytes of one part of a plan, without touching weights or device.
tern_status linear_part_bytes(const backend *b, const linear_plan *plan, uint32_t part, uint64_t *out, tern_error *err);
// The part is ternary, but its scales keep it from any layout but T64.
bool linear_part_is_grouped(const linear_plan *plan, uint32_t part);

// The share of a model that one device has.
typedef struct model_span {
    uint32_t first_layer, n_layers, n_streamed; // streamed: the last so many of them
    bool has_embedding, has_head;
    bool is_embedding_on_host;   // in memory that the device reads over its link
    bool is_head_screened;       // by int4 rows, on the device
    bool is_stored_head_on_host; // the rows that a screened head is rescored with
} model_span;

// The matrix that logits are computed with, and whether a span has it as its embedding.
const matrix_source *resident_head_source(const model_source *model);
bool resident_shares_table(const model_source *model, const model_span *span);

// Floats of all norm vectors of a span, each padded to 16 so that it starts on 64 bytes.
uint64_t resident_norm_floats(const model_source *model, const model_span *span);
// Bytes in the file of a span's matrices, which progress counts.
uint64_t resident_source_bytes(const model_source *model, const model_span *span);

typedef struct resident_options {
    model_span span;
    uint32_t n_ctx;
    uint32_t n_threads, n_loaders; // of the device; those that load
    pack_cache_options cache;      // and where the device may keep its programs
    dense_type held, head_held;    // see linear_plan; head_held: of the embedding and the head
    ternary_layout layout;
    bool uses_blas;
} resident_options;

// Opens the device and puts the span's weights there.
tern_status resident_load(const model_source *model, const device_ref *where, const resident_options *options,
                          load_progress *progress, resident **out, tern_error *err);
void resident_free(resident *r);

#endif
