// Opening a model: which container it is, its hyper-parameters, its tokenizer, its weights bound to their places.
#include "model.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model_internal.h"

#define MAX_CONFIG_BYTES (16u << 20)

// The last part of a path, without trailing slashes.
static void name_from_path(const char *path, char *out, size_t n)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    snprintf(out, n, "%.*s", (int)(end - begin < n ? end - begin : n - 1), path + begin);
}

// A model whose tokenizer we cannot use can still be planned, loaded and measured; a broken one is refused.
static tern_status accept_tokenizer(tern_status status, const tern_error *detail, model_source *m, tern_error *err)
{
    if (status == TERN_OK) return TERN_OK;
    m->tokenizer = NULL;
    if (status != TERN_NOT_FOUND && status != TERN_UNSUPPORTED)
        return error_set(err, status, "tokenizer: %s", detail->message);
    snprintf(m->tokenizer_note, sizeof m->tokenizer_note, "%.250s",
             status == TERN_NOT_FOUND ? "the model has no tokenizer" : detail->message);
    return TERN_OK;
}

static tern_status read_rope_freqs(model_source *m, tern_error *err)
{
    static const char name[] = "rope_freqs.weight";
    const tensor *t = tensor_set_find(&m->files->gguf.tensors, name);
    uint32_t n = m->hp.rope.n_dims / 2;
    if (t == NULL) return TERN_OK;
    if (t->dims[0] != n || t->dims[1] != 1 || t->dims[2] != 1 || t->dims[3] != 1)
        return error_set(err, TERN_MALFORMED, "%s: expected [%u], file has %llu in its first dimension", name, n,
                         (unsigned long long)t->dims[0]);
    float *divisors = malloc(((size_t)n + 1) * sizeof *divisors);
    if (divisors == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %s", name);
    m->files->freq_divisors = divisors;
    if (!tensor_to_floats(t, n, divisors))
        return error_set(err, TERN_UNSUPPORTED, "%s: type %s; F32, F16 and BF16 are supported", name, t->type_name);
    for (uint32_t i = 0; i < n; i++)
        if (!(isfinite(divisors[i]) && divisors[i] >= 0.25f)) // hparams.c: the largest angle
            return error_set(err, TERN_MALFORMED, "%s: element %u is %g, expected a finite number of at least 0.25",
                             name, i, (double)divisors[i]);
    m->hp.rope.freq_divisors = divisors;
    return TERN_OK;
}

tern_status model_open_gguf(const char *path, const tern_model_options *options, model_source *m, tern_error *err)
{
    struct model_files *files = m->files;
    tern_status status = file_map_open(path, &files->map, err);
    if (status != TERN_OK) return status;
    status = gguf_parse(files->map.data, files->map.size, &files->gguf, err);
    if (status == TERN_OK) status = model_open_parts(path, files, err);
    if (status == TERN_OK) status = hparams_from_gguf(&files->gguf, &m->hp, err);
    if (status == TERN_OK) status = model_bind(m, &files->gguf.tensors, true, options, err);
    if (status == TERN_OK) status = read_rope_freqs(m, err);
    if (status == TERN_OK) {
        status = gguf_get_bool(&files->gguf, SYNTHETIC_KEY, &m->is_synthetic, err);
        if (status == TERN_NOT_FOUND) status = TERN_OK;
    }
    if (status == TERN_OK) {
        tern_error detail = {0};
        status = tokenizer_from_gguf(&files->gguf, m->hp.architecture, m->hp.n_vocab, &m->tokenizer, &detail);
        status = accept_tokenizer(status, &detail, m, err);
    }
    if (status != TERN_OK) {
        error_prefix(err, "%s", path);
        return status;
    }
    gguf_string name = {"", 0};
    name_from_path(path, m->name, sizeof m->name);
    if (gguf_get_string(&files->gguf, "general.name", &name, NULL) == TERN_OK && name.n > 0)
        snprintf(m->name, sizeof m->name, "%.*s", (int)(name.n < sizeof m->name ? name.n : sizeof m->name - 1),
                 name.data);
    error_make_printable(m->name);
    snprintf(m->container, sizeof m->container, "gguf v%u", files->gguf.version);
    m->bytes_file = files->map.size;
    for (size_t i = 0; i < files->n_parts; i++) m->bytes_file += files->parts[i].size;
    return TERN_OK;
}

static tern_status read_config(const char *directory, hparams *hp, tern_error *err)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/config.json", directory);
    if (n < 0 || (size_t)n >= sizeof path) return error_set(err, TERN_INVALID_ARGUMENT, "the path is too long");
    char *text = NULL;
    size_t n_bytes = 0;
    tern_status status = file_read_text(path, MAX_CONFIG_BYTES, &text, &n_bytes, err);
    if (status != TERN_OK) return status;
    status = hparams_from_config(text, n_bytes, hp, err);
    if (status != TERN_OK) error_prefix(err, "%s", path);
    free(text);
    return status;
}

tern_status model_open_directory(const char *path, const tern_model_options *options, model_source *m, tern_error *err)
{
    safetensors_files *files = &m->files->safetensors;
    tern_status status = read_config(path, &m->hp, err);
    if (status == TERN_OK) status = safetensors_open(path, files, err);
    if (status != TERN_OK) return status;
    status = model_bind(m, &files->tensors, false, options, err);
    if (status == TERN_OK) {
        tern_error detail = {0};
        status = tokenizer_from_directory(path, m->hp.n_vocab, &m->tokenizer, &detail);
        status = accept_tokenizer(status, &detail, m, err);
    }
    if (status != TERN_OK) {
        error_prefix(err, "%s", path);
        return status;
    }
    name_from_path(path, m->name, sizeof m->name);
    snprintf(m->container, sizeof m->container, "safetensors");
    for (size_t i = 0; i < files->n_maps; i++) m->bytes_file += files->maps[i].size;
    return TERN_OK;
}

static tern_status open_synthetic(const char *spec, const tern_model_options *options, model_source *m, tern_error *err)
{
    tern_status status = model_open_synthetic(spec, m, err);
    if (status == TERN_OK && options->act != TERN_ACT_AUTO) model_choose_act_quant(m, options->act);
    return status;
}

static tern_status open_by_kind(const char *path, const tern_model_options *options, model_source *m, tern_error *err)
{
    static const char synthetic[] = "synthetic:";
    struct stat st;
    if (strncmp(path, synthetic, sizeof synthetic - 1) == 0)
        return open_synthetic(path + sizeof synthetic - 1, options, m, err);
    if (stat(path, &st) != 0)
        return error_set(err, errno == ENOENT || errno == ENOTDIR ? TERN_NOT_FOUND : TERN_IO, "%s: %s", path,
                         strerror(errno));
    if (S_ISDIR(st.st_mode)) return model_open_directory(path, options, m, err);
    size_t n = strlen(path);
    if (n > 12 && strcmp(path + n - 12, ".safetensors") == 0)
        return error_set(err, TERN_UNSUPPORTED,
                         "%s: give the directory that also holds config.json, not the weights file", path);
    return model_open_gguf(path, options, m, err);
}

tern_status model_open(const char *path, const tern_model_options *options, model_source **out, tern_error *err)
{
    tern_model_options defaults;
    tern_model_options_init(&defaults);
    if (options == NULL) options = &defaults;
    *out = NULL;
    if ((unsigned)options->act > TERN_ACT_F32 || (unsigned)options->i2s_layout > TERN_I2S_ROW4)
        return error_set(err, TERN_INVALID_ARGUMENT, "the model options name no known activation form or I2_S layout");
    model_source *m = calloc(1, sizeof *m);
    if (m != NULL) m->files = calloc(1, sizeof *m->files);
    if (m != NULL) m->path = strdup(path);
    bool has_memory = m != NULL && m->files != NULL && m->path != NULL;
    tern_status status = has_memory ? open_by_kind(path, options, m, err)
                                    : error_set(err, TERN_HOST_MEMORY, "no memory for a model");
    if (status != TERN_OK) {
        model_free(m);
        return status;
    }
    *out = m;
    return TERN_OK;
}

void model_free(model_source *model)
{
    if (model == NULL) return;
    if (model->tokenizer != NULL) tokenizer_free(model->tokenizer);
    free(model->layers);
    free(model->path);
    if (model->files != NULL) {
        gguf_free(&model->files->gguf);
        safetensors_close(&model->files->safetensors);
        file_map_close(&model->files->map);
        for (size_t i = 0; i < model->files->n_parts; i++) file_map_close(&model->files->parts[i]);
        for (size_t i = 0; i < model->files->n_found; i++) {
            ternary_scale_free(model->files->found[i]);
            free(model->files->found[i]);
        }
        free(model->files->parts);
        free(model->files->found);
        free(model->files->freq_divisors);
        free(model->files);
    }
    free(model);
}

const file_map *model_file(const model_source *model, size_t i)
{
    const struct model_files *files = model->files;
    if (files->safetensors.n_maps > 0) return i < files->safetensors.n_maps ? &files->safetensors.maps[i] : NULL;
    if (i == 0) return files->map.data != NULL ? &files->map : NULL;
    return i <= files->n_parts ? &files->parts[i - 1] : NULL;
}

void model_reads_through(const model_source *model, bool is_reading)
{
    const file_map *f;
    for (size_t i = 0; (f = model_file(model, i)) != NULL; i++)
        madvise((void *)(uintptr_t)f->data, f->size, is_reading ? MADV_SEQUENTIAL : MADV_NORMAL);
}

// The file that has the byte at `data`, or NULL.
static const file_map *file_of(const model_source *model, const uint8_t *data)
{
    const file_map *f;
    for (size_t i = 0; (f = model_file(model, i)) != NULL; i++)
        if ((uintptr_t)data - (uintptr_t)f->data < f->size) return f;
    return NULL;
}

bool model_may_read(const model_source *model, const uint8_t *data, uint64_t n_bytes)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const file_map *f = file_of(model, data);
    return f != NULL && n_bytes <= (f->size + page - 1) / page * page - (uint64_t)(data - f->data);
}

void model_release(const model_source *model, const uint8_t *data, uint64_t n_bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)data;
    if (file_of(model, data) == NULL || !model_may_read(model, data, n_bytes)) return;
    uintptr_t from = (at + page - 1) / page * page, to = (at + (uintptr_t)n_bytes) / page * page;
    if (to > from) madvise((void *)from, to - from, MADV_DONTNEED); // read-only pages of a file: nothing is lost
}

tern_status model_read_vector(const tensor_ref *ref, uint32_t n, float *out, tern_error *err)
{
    if (ref->is_ones) {
        for (uint32_t i = 0; i < n; i++) out[i] = 1.0f;
        return TERN_OK;
    }
    if (ref->tensor == NULL) return error_set(err, TERN_INVALID_ARGUMENT, "the vector is absent");
    if (!tensor_to_floats(ref->tensor, n, out))
        return error_set(err, TERN_MALFORMED, "%s: %u floats expected", ref->tensor->name, n);
    for (uint32_t i = 0; i < n; i++)
        if (!isfinite(out[i]))
            return error_set(err, TERN_MALFORMED, "%s: element %u is not finite", ref->tensor->name, i);
    return TERN_OK;
}
