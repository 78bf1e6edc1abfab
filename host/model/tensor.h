// Named tensors of a model file, wherever they came from: one table for GGUF and safetensors.
#ifndef TERN_MODEL_TENSOR_H
#define TERN_MODEL_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

// Element encodings. Values are ours; the file parsers map foreign ids to them.
typedef enum tensor_type {
    TENSOR_F32,
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_Q8_0,
    TENSOR_Q4_0,
    TENSOR_Q4_K,
    TENSOR_Q5_K,
    TENSOR_Q6_K,
    TENSOR_I2_S,
    TENSOR_TQ1_0,
    TENSOR_TQ2_0,
    TENSOR_Q2_0_64,  // Q2_0 with a scale per 64 columns
    TENSOR_Q2_0_128, // per 128: PQ2_0, and the older files of id 42
    TENSOR_PTQ1_0,
    TENSOR_IQ1_BN,
    TENSOR_IQ2_BN,
    TENSOR_IQ2_BN_R4,
    TENSOR_U8,    // Hugging Face packed trits when a .weight_scale stands beside it
    TENSOR_OTHER, // known by name to the parser but not usable here; `type_name` says which
} tensor_type;

typedef struct tensor {
    char *name; // NUL-terminated, owned by the set
    tensor_type type;
    const char *type_name; // "I2_S", "F16", ...: static, for messages and info
    uint32_t n_dims;       // 0 (scalar) .. 4
    uint64_t dims[4];      // dims[0] is the fastest: in-features K; dims[1] out-features N; unused ones are 1
    const uint8_t *data;   // inside the file's mapping; no alignment is promised
    uint64_t n_bytes;      // validated against type and dims, and inside the mapping; where a type of TENSOR_OTHER does
                           // not tell its size: the bytes up to the next tensor
} tensor;

typedef struct tensor_set {
    tensor *items; // owned, in file order
    size_t n, capacity;
    size_t *slots;  // hash index over names: item + 1, 0 empty
    size_t n_slots; // power of two
} tensor_set;

// Takes ownership of t->name on success. MALFORMED for a duplicate name.
tern_status tensor_set_add(tensor_set *set, const tensor *t, tern_error *err);
const tensor *tensor_set_find(const tensor_set *set, const char *name); // NULL if absent
void tensor_set_free(tensor_set *set);

// The first n elements of an F32, F16 or BF16 tensor as float32; false for another type or too few elements.
bool tensor_to_floats(const tensor *t, uint64_t n, float *out);

// Whether a trit is what an element of this type stores.
static inline bool tensor_type_is_ternary(tensor_type type) { return type >= TENSOR_I2_S && type <= TENSOR_IQ2_BN_R4; }

// 64-bit FNV-1a, for the name and key indexes.
uint64_t tensor_name_hash(const char *name, size_t n);

#endif
