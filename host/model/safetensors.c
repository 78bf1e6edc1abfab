// Safetensors headers and sharded checkpoints. The header's JSON is untrusted: every number is range-checked before
// use.
#include "safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "json_read.h"

#define MAX_NAME_BYTES  255u
#define MAX_SHARDS      4096u
#define MAX_INDEX_BYTES (64u << 20)

typedef struct extent {
    uint64_t begin, end;
    size_t index; // in the tensor set
} extent;

static const struct {
    const char *name;
    tensor_type type;
    uint32_t element_bytes;
} dtypes[] = {
    {"F32", TENSOR_F32, 4},   {"F16", TENSOR_F16, 2},    {"BF16", TENSOR_BF16, 2},     {"U8", TENSOR_U8, 1},
    {"I8", TENSOR_OTHER, 1},  {"BOOL", TENSOR_OTHER, 1}, {"F8_E5M2", TENSOR_OTHER, 1}, {"F8_E4M3", TENSOR_OTHER, 1},
    {"I16", TENSOR_OTHER, 2}, {"U16", TENSOR_OTHER, 2},  {"I32", TENSOR_OTHER, 4},     {"U32", TENSOR_OTHER, 4},
    {"I64", TENSOR_OTHER, 8}, {"U64", TENSOR_OTHER, 8},  {"F64", TENSOR_OTHER, 8},
};

// dtype and shape; *n_bytes is what they make.
static tern_status parse_form(const json_t *entry, tensor *t, uint64_t *n_bytes, tern_error *err)
{
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    const json_t *shape = json_object_get(entry, "shape");
    if (dtype == NULL || !json_is_array(shape))
        return error_set(err, TERN_MALFORMED, "tensor %s: dtype or shape is missing", t->name);
    uint64_t product = 0;
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes && product == 0; i++) {
        if (strcmp(dtype, dtypes[i].name) != 0) continue;
        t->type = dtypes[i].type;
        t->type_name = dtypes[i].name;
        product = dtypes[i].element_bytes;
    }
    if (product == 0)
        return error_set(err, TERN_UNSUPPORTED, "tensor %s: dtype %.40s is unknown to this build", t->name, dtype);
    size_t n_dims = json_array_size(shape);
    if (n_dims > 4)
        return error_set(err, TERN_UNSUPPORTED, "tensor %s: %zu dimensions, at most 4 are supported", t->name, n_dims);
    t->n_dims = (uint32_t)n_dims;
    for (size_t i = 0; i < 4; i++) t->dims[i] = 1;
    for (size_t i = 0; i < n_dims; i++) {
        const json_t *n = json_array_get(shape, n_dims - 1 - i);
        if (!json_is_integer(n) || json_integer_value(n) < 0)
            return error_set(err, TERN_MALFORMED, "tensor %s: a dimension is not a non-negative integer", t->name);
        t->dims[i] = (uint64_t)json_integer_value(n);
        if (!check_mul(product, t->dims[i], &product))
            return error_set(err, TERN_MALFORMED, "tensor %s: its size in bytes overflows", t->name);
    }
    *n_bytes = product;
    return TERN_OK;
}

static tern_status parse_entry(const json_t *entry, uint64_t buffer_bytes, tensor *t, extent *where, tern_error *err)
{
    if (!json_is_object(entry)) return error_set(err, TERN_MALFORMED, "tensor %s: its entry is not an object", t->name);
    uint64_t n_bytes = 0;
    tern_status status = parse_form(entry, t, &n_bytes, err);
    if (status != TERN_OK) return status;
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return error_set(err, TERN_MALFORMED, "tensor %s: data_offsets is not an ascending pair of integers", t->name);
    where->begin = (uint64_t)json_integer_value(begin);
    where->end = (uint64_t)json_integer_value(end);
    if (where->end > buffer_bytes)
        return error_set(err, TERN_MALFORMED,
                         "tensor %s: it ends at byte %llu of the data, which has %llu; the file is cut off or broken",
                         t->name, (unsigned long long)where->end, (unsigned long long)buffer_bytes);
    if (where->end - where->begin != n_bytes)
        return error_set(err, TERN_MALFORMED, "tensor %s: data_offsets span %llu bytes, dtype and shape make %llu",
                         t->name, (unsigned long long)(where->end - where->begin), (unsigned long long)n_bytes);
    t->n_bytes = n_bytes;
    return TERN_OK;
}

static int compare_extents(const void *a, const void *b)
{
    const extent *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

// No overlap, no holes, nothing behind the last tensor.
static tern_status check_cover(extent *extents, size_t n, uint64_t buffer_bytes, const tensor_set *set, tern_error *err)
{
    uint64_t at = 0;
    if (n > 0) qsort(extents, n, sizeof *extents, compare_extents);
    for (size_t i = 0; i < n; i++) {
        if (extents[i].begin != at)
            return error_set(err, TERN_MALFORMED, "tensor %s: it begins at byte %llu of the data, expected %llu (%s)",
                             set->items[extents[i].index].name, (unsigned long long)extents[i].begin,
                             (unsigned long long)at, extents[i].begin < at ? "tensors overlap" : "there is a hole");
        at = extents[i].end;
    }
    if (at != buffer_bytes)
        return error_set(err, TERN_MALFORMED, "the tensors end at byte %llu of the data, which has %llu",
                         (unsigned long long)at, (unsigned long long)buffer_bytes);
    return TERN_OK;
}

static tern_status add_tensors(json_t *header, const uint8_t *buffer, uint64_t buffer_bytes, extent *extents,
                               tensor_set *set, tern_error *err)
{
    size_t n = 0;
    const char *name;
    json_t *entry;
    json_object_foreach(header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) continue;
        if (strlen(name) > MAX_NAME_BYTES)
            return error_set(err, TERN_LIMIT, "tensor %.60s...: a name of over %u bytes", name, MAX_NAME_BYTES);
        tensor t = {0};
        t.name = strdup(name);
        if (t.name == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a tensor name");
        extents[n].index = set->n;
        tern_status status = parse_entry(entry, buffer_bytes, &t, &extents[n], err);
        if (status == TERN_OK) {
            t.data = buffer + extents[n].begin;
            status = tensor_set_add(set, &t, err);
        }
        if (status != TERN_OK) {
            free(t.name);
            return status;
        }
        n++;
    }
    return check_cover(extents, n, buffer_bytes, set, err);
}

tern_status safetensors_parse(const uint8_t *data, size_t size, tensor_set *set, tern_error *err)
{
    uint64_t n = 0;
    if (size < 8)
        return error_set(err, TERN_MALFORMED, "a safetensors file has at least 8 bytes, this one has %zu", size);
    for (size_t i = 0; i < 8; i++) n |= (uint64_t)data[i] << (8 * i);
    if (n > size - 8)
        return error_set(err, TERN_MALFORMED, "the header announces %llu bytes, the file has %zu after the length",
                         (unsigned long long)n, size - 8);
    if (n > SAFETENSORS_MAX_HEADER)
        return error_set(err, TERN_LIMIT, "a header of %llu bytes; at most %u are accepted", (unsigned long long)n,
                         SAFETENSORS_MAX_HEADER);
    if (n == 0 || data[8] != '{') return error_set(err, TERN_MALFORMED, "the header does not begin with {");
    json_t *header = NULL;
    tern_status status = json_read_object((const char *)data + 8, (size_t)n, "safetensors header", &header, err);
    if (status != TERN_OK) return status;
    extent *extents = calloc(json_object_size(header) + 1, sizeof *extents);
    if (extents == NULL)
        status = error_set(err, TERN_HOST_MEMORY, "no memory for %zu tensors", json_object_size(header));
    else
        status = add_tensors(header, data + 8 + n, size - 8 - n, extents, set, err);
    free(extents);
    json_decref(header);
    return status;
}

// Only a plain file name may be opened: no separators, no dot names, the right ending.
static bool is_plain_name(const char *name)
{
    static const char ending[] = ".safetensors";
    size_t n = strlen(name);
    return n > sizeof ending - 1 && n <= MAX_NAME_BYTES && name[0] != '.' && strchr(name, '/') == NULL &&
           strchr(name, '\\') == NULL && strcmp(name + n - (sizeof ending - 1), ending) == 0;
}

// Maps and parses one file of the directory as maps[n_maps].
static tern_status open_shard(const char *directory, const char *name, safetensors_files *files, tern_error *err)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return error_set(err, TERN_INVALID_ARGUMENT, "the path of %s is too long", name);
    tern_status status = file_map_open(path, &files->maps[files->n_maps], err);
    if (status != TERN_OK) return status;
    const file_map *map = &files->maps[files->n_maps++];
    status = safetensors_parse(map->data, map->size, &files->tensors, err);
    if (status != TERN_OK) error_prefix(err, "%s", path);
    return status;
}

// The index's distinct file names, in the order of their first appearance, as keys of *shards.
static tern_status list_shards(json_t *weight_map, json_t *shards, tern_error *err)
{
    const char *name;
    json_t *file;
    json_object_foreach(weight_map, name, file)
    {
        const char *text = json_string_value(file);
        if (text == NULL || !is_plain_name(text))
            return error_set(err, TERN_MALFORMED, "tensor %.120s: \"%.120s\" is not a plain .safetensors file name",
                             name, text == NULL ? "" : text);
        if (json_object_get(shards, text) != NULL) continue;
        if (json_object_size(shards) >= MAX_SHARDS) return error_set(err, TERN_LIMIT, "over %u files", MAX_SHARDS);
        json_int_t number = (json_int_t)json_object_size(shards);
        if (json_object_set_new(shards, text, json_integer(number)) != 0)
            return error_set(err, TERN_HOST_MEMORY, "no memory for the list of files");
    }
    if (json_object_size(shards) == 0) return error_set(err, TERN_MALFORMED, "weight_map is empty");
    return TERN_OK;
}

// Every tensor of the index is in the file that the index names.
static tern_status check_weight_map(json_t *weight_map, json_t *shards, const safetensors_files *files, tern_error *err)
{
    const char *name;
    json_t *file;
    json_object_foreach(weight_map, name, file)
    {
        const char *shard = json_string_value(file);
        const file_map *map = &files->maps[json_integer_value(json_object_get(shards, shard))];
        const tensor *t = tensor_set_find(&files->tensors, name);
        if (t == NULL || t->data < map->data || t->data > map->data + map->size)
            return error_set(err, TERN_MALFORMED,
                             "tensor %.120s: the index says it is in %.120s, which does not have it", name, shard);
    }
    return TERN_OK;
}

static tern_status open_index(const char *directory, const char *index_path, safetensors_files *files, tern_error *err)
{
    char *text = NULL;
    size_t n = 0;
    json_t *index = NULL, *shards = NULL;
    tern_status status = file_read_text(index_path, MAX_INDEX_BYTES, &text, &n, err);
    if (status != TERN_OK) return status;
    status = json_read_object(text, n, "index", &index, err);
    if (status != TERN_OK) goto done;
    json_t *weight_map = json_object_get(index, "weight_map");
    shards = json_object();
    if (!json_is_object(weight_map)) {
        status = error_set(err, TERN_MALFORMED, "it has no \"weight_map\"");
        goto done;
    }
    if (shards != NULL) status = list_shards(weight_map, shards, err);
    if (status != TERN_OK) goto done;
    files->maps = calloc(json_object_size(shards) + 1, sizeof *files->maps);
    if (shards == NULL || files->maps == NULL) {
        status = error_set(err, TERN_HOST_MEMORY, "no memory for the list of files");
        goto done;
    }
    const char *name;
    json_t *number;
    json_object_foreach(shards, name, number)
    {
        status = open_shard(directory, name, files, err);
        if (status != TERN_OK) goto done;
    }
    status = check_weight_map(weight_map, shards, files, err);
done:
    if (status != TERN_OK) error_prefix(err, "%s", index_path);
    json_decref(shards);
    json_decref(index);
    free(text);
    return status;
}

static bool exists(const char *directory, const char *name)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    return n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0;
}

tern_status safetensors_open(const char *directory, safetensors_files *out, tern_error *err)
{
    static const char index_name[] = "model.safetensors.index.json";
    safetensors_files files = {0};
    tern_status status;
    if (exists(directory, "model.safetensors")) {
        files.maps = calloc(1, sizeof *files.maps);
        status = files.maps == NULL ? error_set(err, TERN_HOST_MEMORY, "no memory for a file table")
                                    : open_shard(directory, "model.safetensors", &files, err);
    } else if (exists(directory, index_name)) {
        char path[4200];
        snprintf(path, sizeof path, "%s/%s", directory, index_name);
        status = open_index(directory, path, &files, err);
    } else if (exists(directory, "pytorch_model.bin") || exists(directory, "pytorch_model.bin.index.json")) {
        status = error_set(err, TERN_UNSUPPORTED,
                           "%s: the weights are in pytorch_model.bin (pickle); convert them to safetensors", directory);
    } else {
        status = error_set(err, TERN_NOT_FOUND, "%s: there is neither model.safetensors nor %s", directory, index_name);
    }
    if (status != TERN_OK) {
        safetensors_close(&files);
        return status;
    }
    *out = files;
    return TERN_OK;
}

void safetensors_close(safetensors_files *files)
{
    for (size_t i = 0; i < files->n_maps; i++) file_map_close(&files->maps[i]);
    free(files->maps);
    tensor_set_free(&files->tensors);
    memset(files, 0, sizeof *files);
}
