// Files kept between runs in the user's cache directory: compiled kernels, packed weights. A file belongs to a kind
// ("opencl") and a key, any text that says all that its contents depend on; its contents are sections of bytes.
//
// Nothing about a file is trusted. It is opened without following links, must belong to this user and be writable by
// no other, must have the size it claims, the whole key, and the checksum of its header; every 1 MiB of a section has a
// checksum of its own, so that several threads can test it (cache_is_intact). Files appear under their name only when
// complete. Checksums are against damage and mix-ups: whoever may write as this user needs no cache to do harm.
#ifndef TERN_COMMON_CACHE_H
#define TERN_COMMON_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define CACHE_CHUNK ((uint64_t)1 << 20) // bytes with one checksum

// A fast 64-bit hash of bytes, several GB/s. Not for adversaries.
uint64_t cache_hash(const void *data, size_t n_bytes);

typedef struct cache_section {
    uint64_t at, n_bytes; // in the file; at a multiple of 64
    uint64_t first_sum;   // of its chunks' checksums
} cache_section;

typedef struct cache_file {
    uint32_t n_sections;
    cache_section *sections;
    uint64_t *sums;
    const uint8_t *data; // the whole file, mapped; NULL while it is written
    size_t n_bytes;
    int fd; // written only, as the rest
    char *key, *path, *temporary;
    int failure; // errno of a failed write, 0: none
} cache_file;

static inline uint64_t cache_n_chunks(uint64_t n_bytes) { return (n_bytes + CACHE_CHUNK - 1) / CACHE_CHUNK; }

// The file of a key, mapped for reading; false for anything but a whole header of exactly this key with `n_sections`
// sections. Marks it as used now. On false *out is zeroed.
bool cache_open(const char *dir, const char *kind, const char *key, uint32_t n_sections, cache_file *out);
// Whether a chunk of a section holds what was written. Any number of threads.
bool cache_is_intact(const cache_file *f, uint32_t section, uint64_t chunk);
static inline const uint8_t *cache_data(const cache_file *f, uint32_t section)
{
    return f->data + f->sections[section].at;
}

// Begins a file with sections of these sizes under a temporary name, and makes the directory if need be. IO says why
// not; also where it would take more than half of what the disk has free.
tern_status cache_create(const char *dir, const char *kind, const char *key, const uint64_t *section_bytes,
                         uint32_t n_sections, cache_file *out, tern_error *err);
// One chunk of a section; every chunk of every section once, by any number of threads. Failures come out in cache_keep.
void cache_write(cache_file *f, uint32_t section, uint64_t chunk, const uint8_t *from);
// Completes the file and gives it its name.
tern_status cache_keep(cache_file *f, tern_error *err);
// Unmaps a file that was read; removes one that was not kept. Accepts a zeroed struct.
void cache_close(cache_file *f);

// Removes files of a kind, those unused for longest first, until they take at most `max_bytes` together; and what
// interrupted runs left half written an hour ago or more.
void cache_trim(const char *dir, const char *kind, uint64_t max_bytes);
// Removes the file of a key.
void cache_remove(const char *dir, const char *kind, const char *key);

#endif
