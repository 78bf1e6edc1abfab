// GGUF v2 and v3: a parser over a buffer, without file I/O. It validates everything it hands out (FORMATS.md 1).
#ifndef TERN_MODEL_GGUF_H
#define TERN_MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "tensor.h"

typedef enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
} gguf_type;

// A string inside the file's bytes: not NUL-terminated, any bytes.
typedef struct gguf_string {
    const char *data;
    size_t n;
} gguf_string;

typedef struct gguf_value {
    gguf_string key;
    gguf_type type;
    gguf_type element_type; // of an array; never GGUF_ARRAY
    uint64_t count;         // of an array; 1 otherwise
    const uint8_t *data;    // the payload (for arrays: the first element)
    size_t n_bytes;
} gguf_value;

typedef struct gguf_file {
    uint32_t version;
    uint64_t alignment;
    uint64_t data_offset; // of the data section in the buffer
    gguf_value *values;   // owned
    size_t n_values;
    size_t *slots; // hash index over keys
    size_t n_slots;
    tensor_set tensors; // names as in the file; data points into the buffer
} gguf_file;

// Parses `size` bytes, which must outlive *out. MALFORMED, UNSUPPORTED (version 1, big-endian) or LIMIT name the place:
// key or tensor, expected and actual value. *out is freed by gguf_free also after a failure (it is zeroed then).
tern_status gguf_parse(const uint8_t *data, size_t size, gguf_file *out, tern_error *err);
void gguf_free(gguf_file *file);

// Typed getters. Integer keys accept every integer width whose value fits. NOT_FOUND (err untouched) when the key is
// absent, MALFORMED when it has another type or is out of range: absent and wrong are never confused.
const gguf_value *gguf_find(const gguf_file *file, const char *key);
tern_status gguf_get_u32(const gguf_file *file, const char *key, uint32_t *out, tern_error *err);
tern_status gguf_get_f32(const gguf_file *file, const char *key, float *out, tern_error *err); // finite only
tern_status gguf_get_bool(const gguf_file *file, const char *key, bool *out, tern_error *err);
tern_status gguf_get_string(const gguf_file *file, const char *key, gguf_string *out, tern_error *err);
// Arrays: `out` has room for value->count entries.
tern_status gguf_array_strings(const gguf_file *file, const char *key, gguf_string *out, size_t n, tern_error *err);

#endif
