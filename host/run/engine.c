#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu.h"
#if defined(TERN_HAS_CUDA)
#include "cuda_entry.h"
#endif
#include "options.h"
#include "registry.h"
#include "version.h"

#if defined(TERN_HAS_OPENCL)
extern const backend opencl_backend; // its own header needs OpenCL's
#endif

// Fixed when the program is linked, best first.
const backend *const engine_backends[] = {
#if defined(TERN_HAS_CUDA)
    &cuda_backend,
#endif
#if defined(TERN_HAS_OPENCL)
    &opencl_backend,
#endif
    &cpu_backend,
    NULL,
};

const char *tern_version(void) { return TERN_VERSION; }
const char *tern_build_commit(void) { return TERN_BUILD_COMMIT; }

void tern_engine_options_init(tern_engine_options *options)
{
    *options = (tern_engine_options){.size = sizeof *options,
                                     .pack_cache_from = (uint64_t)64 << 20,
                                     .pack_cache_limit = (uint64_t)32 << 30};
}

static void append(char *text, size_t size, const char *sentence)
{
    size_t n = strlen(text);
    snprintf(text + n, size - n, "%s%s", n > 0 ? "; " : "", sentence);
}

// Devices that a user may expect to be used and that are not: backends say it themselves, and those not built in are
// named when the machine seems to have such a device.
static void find_unused(tern_engine *engine)
{
    for (size_t i = 0; engine_backends[i] != NULL; i++) {
        const char *note = "";
        engine_backends[i]->device_count(&note);
        if (note[0] != 0) append(engine->unused, sizeof engine->unused, note);
    }
#if !defined(TERN_HAS_CUDA)
    bool nvidia = access("/proc/driver/nvidia/version", R_OK) == 0 || access("/dev/nvidiactl", F_OK) == 0;
    append(engine->unused, sizeof engine->unused,
           nvidia ? "cuda: an NVIDIA driver is present, but this build has no CUDA support (scripts/setup.sh --cuda)"
                  : "cuda: not in this build");
#endif
#if !defined(TERN_HAS_OPENCL)
    append(engine->unused, sizeof engine->unused, "opencl: not in this build");
#endif
}

tern_status tern_engine_open(const tern_engine_options *options, tern_engine **out, tern_error *err)
{
    tern_engine_options o;
    tern_engine_options_init(&o);
    tern_status status = options_read(&o, sizeof o, options, "tern_engine_options", err);
    if (status != TERN_OK) return status;
    tern_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) return error_set(err, TERN_HOST_MEMORY, "out of memory for the engine");
    if (o.cache_dir != NULL && strlen(o.cache_dir) >= sizeof engine->cache_dir) {
        free(engine);
        return error_set(err, TERN_INVALID_ARGUMENT, "the cache directory's path is longer than %zu bytes",
                         sizeof engine->cache_dir - 1);
    }
    if (o.cache_dir != NULL) snprintf(engine->cache_dir, sizeof engine->cache_dir, "%s", o.cache_dir);
    engine->pack_cache_from = o.pack_cache_from;
    engine->pack_cache_limit = o.pack_cache_limit;
    engine->log = (log_sink){.write = o.log, .user = o.log_user};
    engine->references = 1;
    find_unused(engine);
    *out = engine;
    return TERN_OK;
}

void engine_retain(tern_engine *engine) { __atomic_add_fetch(&engine->references, 1, __ATOMIC_RELAXED); }

void engine_release(tern_engine *engine)
{
    if (engine != NULL && __atomic_sub_fetch(&engine->references, 1, __ATOMIC_ACQ_REL) == 0) free(engine);
}

void tern_engine_close(tern_engine *engine) { engine_release(engine); }

const char *tern_engine_unused_devices(const tern_engine *engine) { return engine->unused; }

size_t tern_engine_device_count(const tern_engine *engine)
{
    (void)engine;
    size_t n = 0;
    const char *note;
    for (size_t i = 0; engine_backends[i] != NULL; i++) n += engine_backends[i]->device_count(&note);
    return n;
}

// The backend and index of a device by its position in the list over all backends.
static tern_status find_device(size_t index, device_ref *out, tern_error *err)
{
    size_t left = index;
    for (size_t i = 0; engine_backends[i] != NULL; i++) {
        const char *note;
        size_t n = engine_backends[i]->device_count(&note);
        if (left < n) {
            *out = (device_ref){engine_backends[i], left};
            return TERN_OK;
        }
        left -= n;
    }
    return error_set(err, TERN_INVALID_ARGUMENT, "there is no device with index %zu", index);
}

tern_status tern_engine_device_info(const tern_engine *engine, size_t index, tern_device_info *out, tern_error *err)
{
    (void)engine;
    device_ref where = {0};
    device_facts facts;
    tern_status status = find_device(index, &where, err);
    if (status == TERN_OK) status = where.backend->device_describe(where.index, &facts, err);
    if (status != TERN_OK) return status;
    tern_device_info info = {.memory_total = facts.memory_total,
                             .memory_free = facts.memory_free,
                             .is_reference = facts.is_reference,
                             .is_chosen_only_by_name = facts.is_chosen_only_by_name};
    snprintf(info.name, sizeof info.name, "%s", facts.name);
    snprintf(info.backend, sizeof info.backend, "%s", where.backend->name);
    snprintf(info.description, sizeof info.description, "%s", facts.description);
    snprintf(info.note, sizeof info.note, "%s", facts.note);
    *out = info;
    return TERN_OK;
}

tern_status tern_engine_device_probe(const tern_engine *engine, size_t index, bool *is_reproducible, tern_error *err)
{
    device_ref where = {0};
    device *d = NULL;
    const device_options options = {.cache_dir = engine->cache_dir};
    tern_status status = find_device(index, &where, err);
    if (status == TERN_OK) status = where.backend->device_open(where.index, &options, &d, err);
    if (status != TERN_OK) return status;
    status = where.backend->device_probe(d, is_reproducible, err);
    where.backend->device_close(d);
    return status;
}
