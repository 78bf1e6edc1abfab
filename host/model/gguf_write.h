// A GGUF v3 file written from front to back: keys, then tensor descriptions, then the tensors' bytes in that order.
//
// The bytes go to a temporary file beside the destination, which gguf_writer_finish moves into place: the destination
// is either the old file or the whole new one, never a part. gguf_writer_free before that removes the temporary file.
//
// The add functions remember the first failure (out of memory, a tensor too large) and gguf_writer_begin reports it,
// so that a list of keys reads as a list.
#ifndef TERN_MODEL_GGUF_WRITE_H
#define TERN_MODEL_GGUF_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "gguf.h"

#define GGUF_WRITE_ALIGNMENT 32u // of the data section and of every tensor in it

typedef struct gguf_writer gguf_writer;

// Opens the temporary file. IO with the path and the system's reason; also when `path` is there and is no regular file.
tern_status gguf_writer_create(const char *path, gguf_writer **out, tern_error *err);
// The same for files so large that an interrupted run should not be lost: the temporary file is PATH.part, and
// gguf_writer_free leaves it there once data was written. A later writer of the same keys and tensors goes on behind
// its last complete tensor; the caller gives data from tensor gguf_writer_n_done on. What is there is taken to be what
// the caller would have written: for data that follow from the keys. IO if another process is writing the file.
tern_status gguf_writer_create_resumable(const char *path, gguf_writer **out, tern_error *err);
// Accepts NULL. Removes the temporary file unless the writer was finished or is resumable.
void gguf_writer_free(gguf_writer *w);

// Keys, each at most once.
void gguf_writer_add_u32(gguf_writer *w, const char *key, uint32_t value);
void gguf_writer_add_f32(gguf_writer *w, const char *key, float value);
void gguf_writer_add_bool(gguf_writer *w, const char *key, bool value);
void gguf_writer_add_string(gguf_writer *w, const char *key, const char *value);
void gguf_writer_add_strings(gguf_writer *w, const char *key, const char *const *values, size_t n);
void gguf_writer_add_i32s(gguf_writer *w, const char *key, const int32_t *values, size_t n);
void gguf_writer_add_f32s(gguf_writer *w, const char *key, const float *values, size_t n);
// A key of a parsed file as it is.
void gguf_writer_add_value(gguf_writer *w, const gguf_value *value);

// A tensor: `type` is the number in the file, dims[0] the fastest dimension, n_bytes what will be given as its data.
void gguf_writer_add_tensor(gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *dims,
                            uint64_t n_bytes);

// Writes the header, or finds it in the part of an earlier run. Afterwards only data may come. IO also when the disk
// has no room for the whole file, or when the part of an earlier run belongs to another file.
tern_status gguf_writer_begin(gguf_writer *w, tern_error *err);
// The next bytes of the tensors, in the order of their descriptions, in pieces of any size; a piece lies within one
// tensor. Padding is the writer's affair.
tern_status gguf_writer_data(gguf_writer *w, const void *data, size_t n_bytes, tern_error *err);
// Tensors whose data are complete: those of an earlier run right after gguf_writer_begin.
size_t gguf_writer_n_done(const gguf_writer *w);
// Bytes of all tensors, without padding.
uint64_t gguf_writer_data_bytes(const gguf_writer *w);
// The temporary file, which is complete once the last tensor was given. The writer's.
const char *gguf_writer_part_path(const gguf_writer *w);
// Flushes to the disk and moves the file into place. INTERNAL if a tensor is incomplete.
tern_status gguf_writer_finish(gguf_writer *w, tern_error *err);

#endif
