// An opened model: validated hyper-parameters, tokenizer, and every weight as a source that can be read row by row.
// Immutable after model_open. Knows files; knows nothing of devices.
#ifndef TERN_MODEL_MODEL_H
#define TERN_MODEL_MODEL_H

#include "file_map.h"
#include "hparams.h"
#include "matrix.h"
#include "tern.h"
#include "tokenizer.h"

typedef struct layer_source {
    tensor_ref attn_norm, attn_sub_norm, ffn_norm, ffn_sub_norm; // sub-norms absent unless hp.has_sub_norm
    tensor_ref q_norm, k_norm;                                   // [head_dim]; absent unless hp.has_qk_norm
    matrix_source q, k, v, o, gate, up, down;
} layer_source;

typedef struct model_source {
    hparams hp;
    char *path; // as given to model_open; owned (the converter must not write over it)
    char name[128];
    char container[32]; // "gguf v3", "safetensors", "synthetic"
    bool is_synthetic;
    uint64_t bytes_file;
    tern_tokenizer *tokenizer; // owned; NULL when the model has none that this build can use
    char tokenizer_note[256];  // why there is none, or empty
    matrix_source embedding;   // [n_vocab, n_embd]
    matrix_source head;        // [n_vocab, n_embd]; when hp.is_tied, the same source as embedding
    tensor_ref output_norm;
    layer_source *layers;      // hp.n_layers, owned
    char formats[256];         // "I2_S x210, F16 x1, F32 x121"
    struct model_files *files; // mappings and parsed headers behind the sources; owned
} model_source;

// `path`: .gguf file, Hugging Face directory, or synthetic:SHAPE[,seed=N]. `options` may be NULL. Validates names,
// shapes, types and sizes; reads no weight data except where a float tensor must be scanned to know whether its values
// are ternary (norms too are read at load). On failure *out is NULL.
tern_status model_open(const char *path, const tern_model_options *options, model_source **out, tern_error *err);
void model_free(model_source *model);

// The i-th of the files that hold the weights; NULL past the last. A synthetic model has none.
const file_map *model_file(const model_source *model, size_t i);
// Whether `n_bytes` from `data` on, which is in one of the files, may be read: up to the end of the last page they may.
bool model_may_read(const model_source *model, const uint8_t *data, uint64_t n_bytes);

// Tells the kernel that the files are now read from front to back (or no longer), so that it reads ahead further.
void model_reads_through(const model_source *model, bool is_reading);

// Gives up the process's hold on pages of a file that are not needed soon: what was packed need not be resident twice.
// Bytes that are in no file of the model are left alone.
void model_release(const model_source *model, const uint8_t *data, uint64_t n_bytes);

// Reads a norm vector (F32, F16 or BF16 in the file) as n float32. MALFORMED if a value is not finite; what `out` then
// holds is undefined.
tern_status model_read_vector(const tensor_ref *ref, uint32_t n, float *out, tern_error *err);

#endif
