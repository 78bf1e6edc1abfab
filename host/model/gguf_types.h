// The type ids of GGUF: metadata value types and tensor element types (formats.md 1.2, 2.1).
#ifndef TERN_MODEL_GGUF_TYPES_H
#define TERN_MODEL_GGUF_TYPES_H

#include "gguf.h"

typedef struct gguf_tensor_type {
    uint32_t id;
    tensor_type type;
    const char *name;
    uint32_t block, block_bytes; // elements and bytes of a block; 0 when the id alone does not tell the size
} gguf_tensor_type;

const gguf_tensor_type *gguf_tensor_type_find(uint32_t id); // NULL for an unknown id

size_t gguf_scalar_bytes(gguf_type type); // 0 for strings and arrays
const char *gguf_type_name(gguf_type type);

#endif
