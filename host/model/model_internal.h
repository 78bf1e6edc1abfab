// What the files behind model.h share: one opener per container, one binder of names to sources.
#ifndef TERN_MODEL_INTERNAL_H
#define TERN_MODEL_INTERNAL_H

#include "file_map.h"
#include "gguf.h"
#include "model.h"
#include "safetensors.h"

// Our own key, true in files made from generated weights: whatever reads them again must say so too.
#define SYNTHETIC_KEY "tern.synthetic"

struct model_files {
    file_map map;    // the GGUF file, or the first of its parts
    gguf_file gguf;  // of a split model: the keys of the first part, the tensors of all
    file_map *parts; // the mappings of the further parts
    size_t n_parts;
    safetensors_files safetensors;
    float *freq_divisors;  // rope_freqs.weight as floats
    ternary_scale **found; // scales of float tensors that turned out ternary, pointed to by their sources
    size_t n_found;
};

// Each fills a zeroed model whose `files` is allocated; the caller frees it on failure.
tern_status model_open_gguf(const char *path, const tern_model_options *options, model_source *m, tern_error *err);
tern_status model_open_directory(const char *path, const tern_model_options *options, model_source *m, tern_error *err);
tern_status model_open_synthetic(const char *spec, model_source *m, tern_error *err); // "SHAPE[,seed=N]"

// Where split.count says that `path` is the first of several files: opens the others beside it and moves their tensors
// into files->gguf. MALFORMED or NOT_FOUND name the file expected.
tern_status model_open_parts(const char *path, struct model_files *files, tern_error *err);

// Binds every tensor of the set to its place in the model, by GGUF or Hugging Face names, and checks shapes and types.
// Needs m->hp; allocates m->layers and fills m->formats.
tern_status model_bind(model_source *m, const tensor_set *set, bool is_gguf, const tern_model_options *options,
                       tern_error *err);

// Makes the float linears whose values are ternary into ternary sources (and embedding and head of a weight-only
// model).
tern_status model_find_ternary(model_source *m, tern_error *err);
// Decides how activations enter ternary products, and says why.
void model_choose_act_quant(model_source *m, tern_act asked);

// Places of matrices in a layer, for code that treats them alike.
typedef enum layer_width { WIDTH_EMBD, WIDTH_ATTN, WIDTH_KV, WIDTH_FF, WIDTH_HEAD } layer_width;
typedef enum slot_kind { SLOT_MATRIX, SLOT_NORM, SLOT_SUB_NORM, SLOT_HEAD_NORM } slot_kind;

typedef struct layer_slot {
    const char *gguf, *hf, *hf_old; // hf_old: the 1bitLLM name where it differs, else NULL
    size_t offset;                  // in layer_source
    slot_kind kind;
    layer_width rows, cols; // norms: only rows
} layer_slot;

#define N_LAYER_SLOTS 13
extern const layer_slot layer_slots[N_LAYER_SLOTS];
uint32_t layer_width_of(const hparams *hp, layer_width width);
bool layer_has_slot(const hparams *hp, const layer_slot *slot);

static inline matrix_source *layer_matrix(layer_source *layer, const layer_slot *slot)
{
    return (matrix_source *)(void *)((char *)layer + slot->offset);
}

#endif
