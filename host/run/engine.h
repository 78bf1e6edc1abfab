// The engine object and the list of backends linked into this build.
#ifndef TERN_RUN_ENGINE_H
#define TERN_RUN_ENGINE_H

#include "log.h"
#include "registry.h"
#include "tern.h"

extern const backend *const engine_backends[]; // best first, ended by NULL

struct tern_engine {
    log_sink log;
    char unused[1024]; // tern_engine_unused_devices
    char cache_dir[512];
    uint64_t pack_cache_from, pack_cache_limit;
    int references; // models keep the engine alive
};

void engine_retain(tern_engine *engine);
void engine_release(tern_engine *engine);

#endif
