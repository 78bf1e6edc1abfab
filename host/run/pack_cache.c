#include "pack_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "version.h"

// To be raised with every change of what weights_image gives, of how rows are packed or quantised, or of their order. A
// test compares images with those of this version.
#define PACKING_VERSION 2

#define KIND          "packed"
#define CONTENT_KIND  "content"
#define CONTENT_BYTES ((uint64_t)1 << 20) // for all files of hashes together

struct pack_cache {
    const model_source *model;
    const backend *backend;
    pack_cache_options options;
    team *team;
    uint64_t n_bytes; // as planned
    char key[256];
    uint32_t n;
    cache_file file; // section 0: the scale_shape of every matrix; then an image each. data NULL: there is none
    bool is_damaged;
};

// ---- the hash of a model's files

typedef struct hash_job {
    const uint8_t *data;
    uint64_t n_bytes;
    uint64_t *sums;
} hash_job;

static void hash_chunks(void *context, uint32_t first, uint32_t end)
{
    const hash_job *j = context;
    for (uint64_t i = first; i < end; i++) {
        uint64_t left = j->n_bytes - i * CACHE_CHUNK;
        j->sums[i] = cache_hash(j->data + i * CACHE_CHUNK, (size_t)(left < CACHE_CHUNK ? left : CACHE_CHUNK));
    }
}

// False for want of memory.
static bool hash_files(const model_source *model, team *t, uint64_t *out)
{
    uint64_t all = 0;
    const file_map *f;
    for (size_t i = 0; (f = model_file(model, i)) != NULL; i++) {
        size_t n = (size_t)cache_n_chunks(f->size);
        hash_job j = {f->data, f->size, malloc((n + 2) * sizeof(uint64_t))};
        if (j.sums == NULL || n > UINT32_MAX) {
            free(j.sums);
            return false;
        }
        team_run(t, (uint32_t)n, 1, hash_chunks, &j);
        model_release(model, f->data, f->size);
        j.sums[n] = f->size;
        j.sums[n + 1] = all;
        all = cache_hash(j.sums, (n + 2) * sizeof(uint64_t));
        free(j.sums);
    }
    *out = all;
    return true;
}

// What the file system says about the model's files, as a key.
static void identity_key(const model_source *model, char *out, size_t n_bytes)
{
    uint64_t all = 0;
    const file_map *f;
    size_t i;
    for (i = 0; (f = model_file(model, i)) != NULL; i++) {
        const uint64_t facts[] = {f->identity.device,   f->identity.inode,   f->size,
                                  f->identity.modified, f->identity.changed, all};
        all = cache_hash(facts, sizeof facts);
    }
    f = model_file(model, 0);
    snprintf(out, n_bytes, "content of %zu files, first %llu:%llu of %llu bytes, %016llx", i,
             (unsigned long long)f->identity.device, (unsigned long long)f->identity.inode, (unsigned long long)f->size,
             (unsigned long long)all);
}

static bool content_hash(const model_source *model, const pack_cache_options *o, team *t, uint64_t *out)
{
    char key[200];
    const uint64_t n_bytes = sizeof *out;
    cache_file file;
    identity_key(model, key, sizeof key);
    if (cache_open(o->dir, CONTENT_KIND, key, 1, &file)) {
        bool ok = file.sections[0].n_bytes == n_bytes && cache_is_intact(&file, 0, 0);
        if (ok) memcpy(out, cache_data(&file, 0), sizeof *out);
        cache_close(&file);
        if (ok) return true;
    }
    if (!hash_files(model, t, out)) return false;
    cache_trim(o->dir, CONTENT_KIND, CONTENT_BYTES);
    if (cache_create(o->dir, CONTENT_KIND, key, &n_bytes, 1, &file, NULL) == TERN_OK) {
        cache_write(&file, 0, 0, (const uint8_t *)out);
        cache_keep(&file, NULL);
    }
    return true;
}

// ---- open, close

// The forms of all matrices in one number.
static uint64_t hash_forms(const packed_matrix *matrices, uint32_t n)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < n; i++) {
        const weights_desc *d = &matrices[i].desc;
        const uint64_t facts[] = {
            all, d->n_rows, d->n_cols, d->is_ternary, d->layout, d->type, matrices[i].is_by_turns};
        all = cache_hash(facts, sizeof facts);
    }
    return all;
}

// Whether a section of the file holds what was written.
static bool is_section_intact(pack_cache *c, uint32_t section);

tern_status pack_cache_open(const model_source *model, const backend *b, const packed_matrix *matrices, uint32_t n,
                            uint64_t n_bytes, const char *origin, const pack_cache_options *options, team *t,
                            pack_cache **out, tern_error *err)
{
    uint64_t content = 0;
    *out = NULL;
    if (options->dir[0] == 0 || model_file(model, 0) == NULL || n == 0 || n_bytes < options->from ||
        n_bytes > options->limit)
        return TERN_OK;
    pack_cache *c = calloc(1, sizeof *c);
    if (c == NULL || !content_hash(model, options, t, &content)) {
        free(c);
        return error_set(err, TERN_HOST_MEMORY, "no memory for the cache of packed weights");
    }
    *c = (pack_cache){.model = model, .backend = b, .options = *options, .team = t, .n_bytes = n_bytes, .n = n};
    snprintf(c->key, sizeof c->key, "packed %d by tern %s for %s: model %016llx, %s, %u matrices %016llx",
             PACKING_VERSION, TERN_VERSION, b->name, (unsigned long long)content, origin, n,
             (unsigned long long)hash_forms(matrices, n));
    if (cache_open(options->dir, KIND, c->key, n + 1, &c->file))
        c->is_damaged = c->file.sections[0].n_bytes != n * sizeof(scale_shape) || !is_section_intact(c, 0);
    *out = c;
    return TERN_OK;
}

void pack_cache_close(pack_cache *c)
{
    if (c == NULL) return;
    cache_close(&c->file);
    free(c);
}

// ---- find

typedef struct test_job {
    const cache_file *file;
    uint32_t section;
    bool is_damaged; // atomic
} test_job;

static void test_chunks(void *context, uint32_t first, uint32_t end)
{
    test_job *j = context;
    for (uint32_t i = first; i < end; i++)
        if (!cache_is_intact(j->file, j->section, i)) __atomic_store_n(&j->is_damaged, true, __ATOMIC_RELAXED);
}

static bool is_section_intact(pack_cache *c, uint32_t section)
{
    test_job j = {.file = &c->file, .section = section};
    team_run(c->team, (uint32_t)cache_n_chunks(c->file.sections[section].n_bytes), 1, test_chunks, &j);
    return !j.is_damaged;
}

// A scale of this shape for weights_create, which takes the values from the image. Ranges only count, so these are as
// good as those in the image.
static bool make_scale(const scale_shape *shape, uint32_t n_rows, ternary_scale *out)
{
    *out = (ternary_scale){.n_sets = shape->n_sets, .n_groups = shape->n_groups, .group = shape->group};
    if (shape->has_ranges == 0) return true;
    if (shape->n_sets == 0 || shape->n_sets > n_rows) return false;
    out->set_begin = malloc(shape->n_sets * sizeof *out->set_begin);
    for (uint32_t i = 0; out->set_begin != NULL && i < shape->n_sets; i++) out->set_begin[i] = i;
    return out->set_begin != NULL;
}

bool pack_cache_find(pack_cache *c, uint32_t i, weights_desc *desc, ternary_scale *scale)
{
    if (c->file.data == NULL || c->is_damaged) return false;
    scale_shape shape;
    uint64_t n_bytes = 0;
    memcpy(&shape, cache_data(&c->file, 0) + i * sizeof shape, sizeof shape);
    bool ok = make_scale(&shape, desc->n_rows, scale);
    desc->scale = desc->is_ternary ? scale : NULL;
    ok = ok && c->backend->weights_bytes(NULL, desc, &n_bytes, NULL) == TERN_OK &&
         n_bytes == c->file.sections[i + 1].n_bytes && is_section_intact(c, i + 1);
    if (ok) {
        desc->image = cache_data(&c->file, i + 1);
        return true;
    }
    desc->scale = NULL;
    ternary_scale_free(scale);
    c->is_damaged = true;
    log_message(c->options.log, LOG_NOTICE, "packed weights in the cache are damaged; they are made again");
    return false;
}

// ---- keep

typedef struct write_job {
    cache_file *file;
    uint32_t section;
    const uint8_t *data;
} write_job;

static void write_chunks(void *context, uint32_t first, uint32_t end)
{
    const write_job *j = context;
    for (uint32_t i = first; i < end; i++) cache_write(j->file, j->section, i, j->data + i * CACHE_CHUNK);
}

static void write_section(pack_cache *c, cache_file *file, uint32_t section, const void *data)
{
    write_job j = {file, section, data};
    team_run(c->team, (uint32_t)cache_n_chunks(file->sections[section].n_bytes), 1, write_chunks, &j);
}

// Bytes of a loaded matrix.
static tern_status image_bytes(const pack_cache *c, const packed_matrix *m, uint64_t *out, tern_error *err)
{
    weights_desc desc = m->desc;
    ternary_scale scale;
    if (!make_scale(&m->shape, desc.n_rows, &scale)) return error_set(err, TERN_HOST_MEMORY, "no memory for a scale");
    desc.scale = desc.is_ternary ? &scale : NULL;
    tern_status status = c->backend->weights_bytes(NULL, &desc, out, err);
    ternary_scale_free(&scale);
    return status;
}

static tern_status keep(pack_cache *c, const packed_matrix *matrices, scale_shape *shapes, uint64_t *sizes,
                        tern_error *err)
{
    cache_file file;
    const file_map *f;
    tern_status status = TERN_OK;
    for (size_t i = 0; (f = model_file(c->model, i)) != NULL; i++) // the hash in the key was that of these bytes
        if (!file_map_is_current(f)) return error_set(err, TERN_IO, "%s was changed while it was loaded", f->path);
    sizes[0] = c->n * sizeof *shapes;
    for (uint32_t i = 0; i < c->n && status == TERN_OK; i++) {
        shapes[i] = matrices[i].shape;
        status = image_bytes(c, &matrices[i], &sizes[i + 1], err);
    }
    if (status != TERN_OK) return status;
    cache_remove(c->options.dir, KIND, c->key);
    cache_trim(c->options.dir, KIND, c->options.limit - c->n_bytes);
    status = cache_create(c->options.dir, KIND, c->key, sizes, c->n + 1, &file, err);
    if (status != TERN_OK) return status;
    write_section(c, &file, 0, shapes);
    for (uint32_t i = 0; i < c->n; i++) write_section(c, &file, i + 1, c->backend->weights_image(matrices[i].w));
    return cache_keep(&file, err);
}

void pack_cache_keep(pack_cache *c, const packed_matrix *matrices)
{
    if (c->file.data != NULL && !c->is_damaged) {
        log_message(c->options.log, LOG_INFO, "packed weights were found in %s", c->options.dir);
        return;
    }
    tern_error err = {0};
    scale_shape *shapes = calloc(c->n, sizeof *shapes);
    uint64_t *sizes = calloc((size_t)c->n + 1, sizeof *sizes);
    tern_status status = shapes != NULL && sizes != NULL ? keep(c, matrices, shapes, sizes, &err)
                                                         : error_set(&err, TERN_HOST_MEMORY, "no memory");
    if (status == TERN_OK)
        log_message(c->options.log, LOG_NOTICE,
                    "kept %llu MiB of packed weights in %s, for faster starts (--no-pack-cache: do not)",
                    (unsigned long long)c->n_bytes >> 20, c->options.dir);
    else
        log_message(c->options.log, LOG_NOTICE, "packed weights are not kept for faster starts: %s", err.message);
    free(shapes);
    free(sizes);
}
