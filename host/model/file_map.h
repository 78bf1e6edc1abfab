// A read-only mapping of one regular file.
#ifndef TERN_MODEL_FILE_MAP_H
#define TERN_MODEL_FILE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

// What tells a file from every other and from itself before a change; times in ns. Every write, truncation or
// replacement sets `changed`, and no program can set it at will.
typedef struct file_identity {
    uint64_t device, inode, modified, changed;
} file_identity;

typedef struct file_map {
    const uint8_t *data; // NULL for an empty file
    size_t size;
    char *path; // owned
    file_identity identity;
} file_map;

// Maps a regular file (IO otherwise, HOST_MEMORY where the address space does not suffice; the message names the path).
// A file that another process truncates while it is mapped raises SIGBUS on access: documented, not handled.
tern_status file_map_open(const char *path, file_map *out, tern_error *err);
void file_map_close(file_map *map);
// Whether the file of that name is still the one that was mapped, as it was then.
bool file_map_is_current(const file_map *map);

// The whole of a small file as a NUL-terminated string, at most `max_bytes` (LIMIT). Caller frees *out.
tern_status file_read_text(const char *path, size_t max_bytes, char **out, size_t *n_bytes, tern_error *err);

#endif
