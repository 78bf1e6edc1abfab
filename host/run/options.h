// Reading option structs of callers that may have been built against another version of tern.h: their `size` says how
// many bytes they know of; fields beyond it keep their defaults.
#ifndef TERN_RUN_OPTIONS_H
#define TERN_RUN_OPTIONS_H

#include <string.h>

#include "error.h"

// `to` holds the defaults, `n_bytes` long; `from` (may be NULL: defaults) begins with its size. INVALID_ARGUMENT for a
// size that no *_init function sets.
static inline tern_status options_read(void *to, size_t n_bytes, const void *from, const char *name, tern_error *err)
{
    size_t size;
    if (from == NULL) return TERN_OK;
    memcpy(&size, from, sizeof size);
    if (size <= sizeof size || size > 4096)
        return error_set(err, TERN_INVALID_ARGUMENT, "%s has size %zu: fill it with %s_init first", name, size, name);
    memcpy(to, from, size < n_bytes ? size : n_bytes);
    return TERN_OK;
}

#endif
