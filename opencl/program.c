// Programs: the sources of a topic put together, built, and kept on disk as the driver's binary.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "opencl.h"
#include "sources.h"
#include "version.h"

#define CACHE_KIND "opencl"

// The files of each topic, after those that all share.
static const char *const shared_files[] = {"scalar.h", "half.h", "int4.h", "kv.h", "prelude.cl", NULL};
static const char *const topic_files[TOPIC_COUNT][3] = {
    [TOPIC_PROBE] = {"scalar_probe.h", "probe.cl"},
    [TOPIC_ROWS] = {"rows.cl"},
    [TOPIC_NORM] = {"norm.cl"},
    [TOPIC_PACK] = {"pack.cl"},
    [TOPIC_TERNARY] = {"ternary.cl"},
    [TOPIC_T80] = {"ternary.cl"},
    [TOPIC_DENSE] = {"dense.cl", "int.cl"},
    [TOPIC_ATTENTION] = {"rope_kv.cl", "attention.cl"},
    [TOPIC_TOP_K] = {"top_k.cl"},
};

static const char *find_source(const char *name)
{
    for (const opencl_source *s = opencl_sources; s->name != NULL; s++)
        if (strcmp(s->name, name) == 0) return s->text;
    return "";
}

// Appends a file without its #include lines: the files follow each other instead.
static size_t append_file(char *to, const char *name)
{
    size_t n = 0;
    for (const char *line = find_source(name); *line != 0;) {
        size_t length = strcspn(line, "\n");
        length += line[length] == '\n';
        if (strncmp(line, "#include", 8) != 0) {
            if (to != NULL) memcpy(to + n, line, length);
            n += length;
        }
        line += length;
    }
    return n;
}

static size_t assemble(char *to, opencl_topic topic)
{
    size_t n = 0;
    for (size_t i = 0; shared_files[i] != NULL; i++) n += append_file(to == NULL ? NULL : to + n, shared_files[i]);
    for (size_t i = 0; topic_files[topic][i] != NULL; i++)
        n += append_file(to == NULL ? NULL : to + n, topic_files[topic][i]);
    return n;
}

// Everything the binary depends on. The source enters by two hashes and its length.
static char *make_key(const device *d, const char *source, const char *options)
{
    char platform[96], version[96], name[96], driver[96];
    opencl_platform_text(d->cl_device.platform, CL_PLATFORM_NAME, platform, sizeof platform);
    opencl_platform_text(d->cl_device.platform, CL_PLATFORM_VERSION, version, sizeof version);
    opencl_device_text(d->cl_device.id, CL_DEVICE_NAME, name, sizeof name);
    opencl_device_text(d->cl_device.id, CL_DRIVER_VERSION, driver, sizeof driver);
    uint64_t a = 0xcbf29ce484222325u, b = 5381;
    for (const char *p = source; *p != 0; p++) {
        a = (a ^ (uint8_t)*p) * 0x100000001b3u;
        b = b * 33 + (uint8_t)*p;
    }
    size_t n_bytes = 640 + strlen(options);
    char *key = malloc(n_bytes);
    if (key != NULL)
        snprintf(key, n_bytes, "tern %s|%s|%s|%s|%s|%s|%zu %016llx %016llx", TERN_VERSION, platform, version, name,
                 driver, options, strlen(source), (unsigned long long)a, (unsigned long long)b);
    return key;
}

// The first lines of the compiler's log, as one line.
static tern_status build_failed(device *d, cl_program program, cl_int code, tern_error *err)
{
    char log[700] = "";
    size_t n = 0;
    cl.clGetProgramBuildInfo(program, d->cl_device.id, CL_PROGRAM_BUILD_LOG, 0, NULL, &n);
    char *whole = n > 0 ? calloc(n + 1, 1) : NULL;
    if (whole != NULL) {
        cl.clGetProgramBuildInfo(program, d->cl_device.id, CL_PROGRAM_BUILD_LOG, n, whole, NULL);
        snprintf(log, sizeof log, "%s", whole);
        for (char *p = log; *p != 0; p++)
            if (*p == '\n') *p = ' ';
    }
    free(whole);
    if (code == CL_OUT_OF_HOST_MEMORY) return opencl_error(d, code, TERN_KERNEL_BUILD, "building kernels", err);
    return error_set(err, TERN_KERNEL_BUILD, "%s: kernels did not build (%s): %s", d->name, opencl_code_name(code),
                     log[0] != 0 ? log : "the compiler says nothing");
}

// The driver's binary from the cache. One that the driver no longer takes is built again and replaced.
static bool build_cached(device *d, const char *key, const char *options, cl_program *out)
{
    cache_file file;
    if (!cache_open(d->cache_dir, CACHE_KIND, key, 1, &file)) return false;
    size_t n_bytes = (size_t)file.sections[0].n_bytes;
    bool ok = n_bytes > 0;
    for (uint64_t i = 0; ok && i < cache_n_chunks(n_bytes); i++) ok = cache_is_intact(&file, 0, i);
    const unsigned char *binaries[] = {cache_data(&file, 0)};
    cl_int code, status = CL_SUCCESS;
    cl_program program = NULL;
    if (ok) program = cl.clCreateProgramWithBinary(d->context, 1, &d->cl_device.id, &n_bytes, binaries, &status, &code);
    cache_close(&file);
    if (program == NULL) return false;
    if (code == CL_SUCCESS && status == CL_SUCCESS &&
        cl.clBuildProgram(program, 1, &d->cl_device.id, options, NULL, NULL) == CL_SUCCESS) {
        *out = program;
        return true;
    }
    cl.clReleaseProgram(program);
    return false;
}

// What cannot be written is no failure: it is built again.
static void cache(device *d, const char *key, cl_program program)
{
    size_t n_bytes = 0;
    if (cl.clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof n_bytes, &n_bytes, NULL) != CL_SUCCESS ||
        n_bytes == 0)
        return;
    unsigned char *binary = malloc(n_bytes), *binaries[] = {binary};
    const uint64_t section_bytes = n_bytes;
    cache_file file;
    if (binary != NULL &&
        cl.clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binaries, binaries, NULL) == CL_SUCCESS &&
        cache_create(d->cache_dir, CACHE_KIND, key, &section_bytes, 1, &file, NULL) == TERN_OK) {
        for (uint64_t i = 0; i < cache_n_chunks(n_bytes); i++) cache_write(&file, 0, i, binary + i * CACHE_CHUNK);
        cache_keep(&file, NULL);
    }
    free(binary);
}

static tern_status build_source(device *d, const char *source, const char *options, cl_program *out, tern_error *err)
{
    cl_int code;
    cl_program program = cl.clCreateProgramWithSource(d->context, 1, &source, NULL, &code);
    if (program == NULL) return opencl_error(d, code, TERN_KERNEL_BUILD, "creating a program", err);
    code = cl.clBuildProgram(program, 1, &d->cl_device.id, options, NULL, NULL);
    if (code != CL_SUCCESS) {
        tern_status status = build_failed(d, program, code, err);
        cl.clReleaseProgram(program);
        return status;
    }
    *out = program;
    return TERN_OK;
}

tern_status opencl_program_create(device *d, opencl_topic topic, const char *more_options, cl_program *out,
                                  tern_error *err)
{
    char options[400], traits[320];
    opencl_traits_options(&d->traits, traits, sizeof traits);
    snprintf(options, sizeof options, "%s%s%s", traits, more_options[0] != 0 ? " " : "", more_options);
    size_t n = assemble(NULL, topic);
    char *source = malloc(n + 1);
    if (source == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for the source of a program");
    assemble(source, topic);
    source[n] = 0;
    char *key = d->cache_dir[0] != 0 ? make_key(d, source, options) : NULL;
    tern_status status = TERN_OK;
    if (key == NULL || !build_cached(d, key, options, out)) {
        status = build_source(d, source, options, out, err);
        if (status == TERN_OK && key != NULL) cache(d, key, *out);
    }
    free(key);
    free(source);
    return status;
}
