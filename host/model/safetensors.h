// Safetensors: a parser over a buffer, and the single or sharded weights of a Hugging Face directory (FORMATS.md 3.1).
#ifndef TERN_MODEL_SAFETENSORS_H
#define TERN_MODEL_SAFETENSORS_H

#include "file_map.h"
#include "tensor.h"

#define SAFETENSORS_MAX_HEADER (100u << 20) // bytes of JSON, the format's own cap

// Parses `size` bytes, which must outlive *set, and adds their tensors to *set (dims reversed: dims[0] is the fastest).
// No overlap, no holes, sizes that fit dtype and shape. On failure *set may hold some of the tensors.
tern_status safetensors_parse(const uint8_t *data, size_t size, tensor_set *set, tern_error *err);

typedef struct safetensors_files {
    file_map *maps; // owned
    size_t n_maps;
    tensor_set tensors;
} safetensors_files;

// Opens model.safetensors, or the files that model.safetensors.index.json names (plain names in the same directory).
// NOT_FOUND when there is neither; UNSUPPORTED when the weights are there in another container only.
tern_status safetensors_open(const char *directory, safetensors_files *out, tern_error *err);
void safetensors_close(safetensors_files *files);

#endif
