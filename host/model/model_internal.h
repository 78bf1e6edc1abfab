// What the files behind model.h share: one opener per container, one binder of names to sources.
#ifndef TERN_MODEL_INTERNAL_H
#define TERN_MODEL_INTERNAL_H

#include "file_map.h"
#include "gguf.h"
#include "model.h"
#include "safetensors.h"

struct model_files {
    file_map map; // the GGUF file
    gguf_file gguf;
    safetensors_files safetensors;
    float *freq_divisors; // rope_freqs.weight as floats
};

// Each fills a zeroed model whose `files` is allocated; the caller frees it on failure.
tern_status model_open_gguf(const char *path, model_source *m, tern_error *err);
tern_status model_open_directory(const char *path, model_source *m, tern_error *err);
tern_status model_open_synthetic(const char *spec, model_source *m, tern_error *err); // "SHAPE[,seed=N]"

// Binds every tensor of the set to its place in the model, by GGUF or Hugging Face names, and checks shapes and types.
// Needs m->hp; allocates m->layers and fills m->formats.
tern_status model_bind(model_source *m, const tensor_set *set, bool is_gguf, tern_error *err);

// Places of matrices in a layer, for code that treats them alike.
typedef enum layer_width { WIDTH_EMBD, WIDTH_ATTN, WIDTH_KV, WIDTH_FF } layer_width;

typedef struct layer_slot {
    const char *gguf, *hf, *hf_old; // hf_old: the 1bitLLM name where it differs, else NULL
    size_t offset;                  // in layer_source
    bool is_matrix;                 // else a norm
    bool is_sub_norm;
    layer_width rows, cols; // norms: only rows
} layer_slot;

#define N_LAYER_SLOTS 11
extern const layer_slot layer_slots[N_LAYER_SLOTS];
uint32_t layer_width_of(const hparams *hp, layer_width width);

#endif
