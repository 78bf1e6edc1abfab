// The type ids of GGUF: metadata value types and tensor element types (FORMATS.md 1.2, 2.1).
#ifndef TERN_MODEL_GGUF_TYPES_H
#define TERN_MODEL_GGUF_TYPES_H

#include "gguf.h"

typedef struct gguf_tensor_type {
    uint32_t id;
    tensor_type type;
    const char *name;
    uint32_t block, block_bytes; // elements and bytes of a block; 0 when the id alone does not tell the size
    uint32_t row_bytes;          // of scales that stand before the blocks of each row
    const char *advice;          // for a type that is refused: what to use in its place; NULL when nothing is known
} gguf_tensor_type;

// Where a tensor lies in the data section.
typedef struct gguf_extent {
    uint64_t offset;
    uint64_t n_bytes; // by type and dimensions; 0 when its type does not tell
    uint64_t room;    // up to the next tensor, or the end of the file
    uint32_t id;      // of its type in the file
    size_t index;     // in the tensor set
} gguf_extent;

// Bytes of a tensor's data from its type and dimensions; 0 when the type does not tell.
tern_status gguf_tensor_bytes(const tensor *t, const gguf_tensor_type *info, uint64_t *out, tern_error *err);

// Type ids with several meanings, told apart by the room each tensor has (FORMATS.md 2.1, 2.11): decides between the
// groups of 64 and of 128 of id 42 and fills the sizes in; refuses what is certainly of another meaning. All extents
// have their room.
tern_status gguf_resolve_types(tensor_set *set, gguf_extent *extents, uint64_t alignment, tern_error *err);

const gguf_tensor_type *gguf_tensor_type_find(uint32_t id); // NULL for an unknown id
const char *gguf_tensor_type_advice(const char *type_name); // "" when none is known

size_t gguf_scalar_bytes(gguf_type type); // 0 for strings and arrays
const char *gguf_type_name(gguf_type type);

#endif
