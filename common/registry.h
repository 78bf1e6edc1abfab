// Finding devices over a list of backends. The list itself is made where backends are linked in (host/run/engine.c, or
// a test), so that this room depends on none of them.
#ifndef TERN_COMMON_REGISTRY_H
#define TERN_COMMON_REGISTRY_H

#include "backend.h"

// The backends of one program, best first, ended by NULL.
typedef const backend *const *backend_list;

typedef struct device_ref {
    const backend *backend;
    size_t index;
} device_ref;

// "auto": the first device that is not chosen only by name. A device name: that device. NO_DEVICE lists what there is.
tern_status registry_find(backend_list backends, const char *name, device_ref *out, tern_error *err);

#endif
