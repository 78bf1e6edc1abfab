// GGUF parser (FORMATS.md 1.1 to 1.3). Every count is compared with the bytes that are left before anything is
// allocated or looped over; every sum and product of file numbers goes through check.h. Time is linear in the size of
// the header.
#include "gguf.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "gguf_types.h"

#define MAX_VALUES        65536u
#define MAX_TENSORS       65536u
#define MAX_KEY_BYTES     65535u
#define MAX_NAME_BYTES    255u
#define MIN_VALUE_BYTES   14u // key length, one key byte, type, one byte
#define MIN_TENSOR_BYTES  33u // name length, one name byte, n_dims, one dimension, type, offset
#define DEFAULT_ALIGNMENT 32u
#define MIN_ALIGNMENT     8u
#define MAX_ALIGNMENT     65536u

#define SHOWN(s) (int)((s).n < 120 ? (s).n : 120), (s).data

typedef struct cursor {
    const uint8_t *data;
    size_t size, pos;
} cursor;

static size_t left(const cursor *c) { return c->size - c->pos; }

static bool take(cursor *c, uint64_t n, const uint8_t **out)
{
    if (n > left(c)) return false;
    *out = c->data + c->pos;
    c->pos += (size_t)n;
    return true;
}

static uint32_t load_u32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t load_u64(const uint8_t *p) { return load_u32(p) | (uint64_t)load_u32(p + 4) << 32; }

static bool take_u32(cursor *c, uint32_t *out)
{
    const uint8_t *p;
    if (!take(c, 4, &p)) return false;
    *out = load_u32(p);
    return true;
}

static bool take_u64(cursor *c, uint64_t *out)
{
    const uint8_t *p;
    if (!take(c, 8, &p)) return false;
    *out = load_u64(p);
    return true;
}

static bool take_string(cursor *c, gguf_string *out)
{
    uint64_t n;
    const uint8_t *p;
    if (!take_u64(c, &n) || !take(c, n, &p)) return false;
    out->data = (const char *)p;
    out->n = (size_t)n;
    return true;
}

static tern_status parse_version(cursor *c, gguf_file *file, tern_error *err)
{
    const uint8_t *magic;
    if (!take(c, 4, &magic) || memcmp(magic, "GGUF", 4) != 0)
        return error_set(err, TERN_MALFORMED, "not a GGUF file: it does not begin with the bytes GGUF");
    if (!take_u32(c, &file->version)) return error_set(err, TERN_MALFORMED, "the file ends inside the GGUF header");
    uint32_t v = file->version;
    if (v == 2 || v == 3) return TERN_OK;
    if (v == 0) return error_set(err, TERN_MALFORMED, "GGUF version 0 does not exist; expected 2 or 3");
    if ((v & 0xffffu) == 0)
        return error_set(err, TERN_UNSUPPORTED, "the GGUF file is big-endian; convert it to little-endian first");
    return error_set(err, TERN_UNSUPPORTED, "GGUF version %u; versions 2 and 3 are supported", v);
}

// Steps over the strings of an array.
static bool skip_strings(cursor *c, uint64_t count)
{
    gguf_string ignored;
    for (uint64_t i = 0; i < count; i++)
        if (!take_string(c, &ignored)) return false;
    return true;
}

static tern_status parse_array(cursor *c, gguf_value *v, tern_error *err)
{
    uint32_t type;
    if (!take_u32(c, &type) || !take_u64(c, &v->count))
        return error_set(err, TERN_MALFORMED, "key %.*s: the file ends inside the array", SHOWN(v->key));
    if (type == GGUF_ARRAY)
        return error_set(err, TERN_UNSUPPORTED, "key %.*s: arrays of arrays are not supported", SHOWN(v->key));
    if (type > GGUF_F64)
        return error_set(err, TERN_MALFORMED, "key %.*s: array element type %u does not exist", SHOWN(v->key), type);
    v->element_type = (gguf_type)type;
    uint64_t element = type == GGUF_STRING ? 8 : gguf_scalar_bytes(v->element_type);
    if (v->count > left(c) / element)
        return error_set(err, TERN_MALFORMED, "key %.*s: array of %llu elements, but only %zu bytes are left",
                         SHOWN(v->key), (unsigned long long)v->count, left(c));
    v->data = c->data + c->pos;
    size_t begin = c->pos;
    bool is_complete;
    if (type == GGUF_STRING) {
        is_complete = skip_strings(c, v->count);
    } else {
        const uint8_t *ignored;
        is_complete = take(c, v->count * element, &ignored); // cannot wrap: count was bounded by division above
    }
    if (!is_complete)
        return error_set(err, TERN_MALFORMED, "key %.*s: a string of the array runs over the end of the file",
                         SHOWN(v->key));
    v->n_bytes = c->pos - begin;
    return TERN_OK;
}

static tern_status parse_value(cursor *c, gguf_value *v, tern_error *err)
{
    uint32_t type;
    memset(v, 0, sizeof *v);
    if (!take_string(c, &v->key))
        return error_set(err, TERN_MALFORMED, "a metadata key runs over the end of the file at byte %zu", c->pos);
    if (v->key.n == 0) return error_set(err, TERN_MALFORMED, "an empty metadata key before byte %zu", c->pos);
    if (v->key.n > MAX_KEY_BYTES)
        return error_set(err, TERN_LIMIT, "a metadata key of %zu bytes; at most %u are accepted", v->key.n,
                         MAX_KEY_BYTES);
    if (!take_u32(c, &type))
        return error_set(err, TERN_MALFORMED, "key %.*s: the file ends before its type", SHOWN(v->key));
    if (type > GGUF_F64)
        return error_set(err, TERN_MALFORMED, "key %.*s: value type %u does not exist", SHOWN(v->key), type);
    v->type = (gguf_type)type;
    v->element_type = v->type;
    v->count = 1;
    if (v->type == GGUF_ARRAY) return parse_array(c, v, err);
    bool is_complete;
    if (v->type == GGUF_STRING) {
        gguf_string s = {0};
        is_complete = take_string(c, &s);
        v->data = (const uint8_t *)s.data;
        v->n_bytes = s.n;
    } else {
        v->n_bytes = gguf_scalar_bytes(v->type);
        is_complete = take(c, v->n_bytes, &v->data);
    }
    if (!is_complete)
        return error_set(err, TERN_MALFORMED, "key %.*s: its value runs over the end of the file", SHOWN(v->key));
    return TERN_OK;
}

static tern_status index_value(gguf_file *file, size_t i, tern_error *err)
{
    const gguf_string key = file->values[i].key;
    size_t mask = file->n_slots - 1;
    size_t slot = (size_t)tensor_name_hash(key.data, key.n) & mask;
    for (; file->slots[slot] != 0; slot = (slot + 1) & mask) {
        const gguf_string other = file->values[file->slots[slot] - 1].key;
        if (other.n == key.n && memcmp(other.data, key.data, key.n) == 0)
            return error_set(err, TERN_MALFORMED, "key %.*s: occurs twice", SHOWN(key));
    }
    file->slots[slot] = i + 1;
    return TERN_OK;
}

static tern_status parse_values(cursor *c, uint64_t n_values, gguf_file *file, tern_error *err)
{
    if (n_values > left(c) / MIN_VALUE_BYTES)
        return error_set(err, TERN_MALFORMED, "the header announces %llu metadata keys, but only %zu bytes are left",
                         (unsigned long long)n_values, left(c));
    if (n_values > MAX_VALUES)
        return error_set(err, TERN_LIMIT, "%llu metadata keys; at most %u are accepted", (unsigned long long)n_values,
                         MAX_VALUES);
    file->n_slots = 16;
    while (file->n_slots < n_values * 2) file->n_slots *= 2;
    file->slots = calloc(file->n_slots, sizeof *file->slots);
    file->values = calloc((size_t)n_values + 1, sizeof *file->values);
    if (file->slots == NULL || file->values == NULL)
        return error_set(err, TERN_HOST_MEMORY, "no memory for %llu metadata keys", (unsigned long long)n_values);
    for (uint64_t i = 0; i < n_values; i++) {
        tern_status status = parse_value(c, &file->values[i], err);
        if (status == TERN_OK) status = index_value(file, (size_t)i, err);
        if (status != TERN_OK) return status;
        file->n_values++;
    }
    return TERN_OK;
}

static tern_status parse_alignment(gguf_file *file, tern_error *err)
{
    file->alignment = DEFAULT_ALIGNMENT;
    const gguf_value *v = gguf_find(file, "general.alignment");
    if (v == NULL) return TERN_OK;
    if (v->type != GGUF_U32)
        return error_set(err, TERN_MALFORMED, "key general.alignment: type %s, expected u32", gguf_type_name(v->type));
    uint32_t a = load_u32(v->data);
    if (a < MIN_ALIGNMENT || a > MAX_ALIGNMENT || (a & (a - 1)) != 0)
        return error_set(err, TERN_MALFORMED, "key general.alignment: %u, expected a power of two from %u to %u", a,
                         MIN_ALIGNMENT, MAX_ALIGNMENT);
    file->alignment = a;
    return TERN_OK;
}

static tern_status parse_dims(cursor *c, tensor *t, tern_error *err)
{
    if (!take_u32(c, &t->n_dims))
        return error_set(err, TERN_MALFORMED, "tensor %s: the file ends inside its description", t->name);
    if (t->n_dims < 1 || t->n_dims > 4)
        return error_set(err, TERN_MALFORMED, "tensor %s: %u dimensions, expected 1 to 4", t->name, t->n_dims);
    for (uint32_t i = 0; i < 4; i++) t->dims[i] = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        if (!take_u64(c, &t->dims[i]))
            return error_set(err, TERN_MALFORMED, "tensor %s: the file ends inside its description", t->name);
        if (t->dims[i] < 1 || t->dims[i] > INT64_MAX)
            return error_set(err, TERN_MALFORMED, "tensor %s: dimension %u is %llu, expected at least 1", t->name, i,
                             (unsigned long long)t->dims[i]);
    }
    return TERN_OK;
}

// Everything of a tensor info after its name.
static tern_status parse_tensor_body(cursor *c, uint64_t alignment, tensor *t, gguf_extent *where, tern_error *err)
{
    uint32_t id;
    tern_status status = parse_dims(c, t, err);
    if (status != TERN_OK) return status;
    if (!take_u32(c, &id) || !take_u64(c, &where->offset))
        return error_set(err, TERN_MALFORMED, "tensor %s: the file ends inside its description", t->name);
    const gguf_tensor_type *info = gguf_tensor_type_find(id);
    if (info == NULL)
        return error_set(err, TERN_UNSUPPORTED, "tensor %s: type id %u is unknown to this build", t->name, id);
    t->type = info->type;
    t->type_name = info->name;
    where->id = id;
    status = gguf_tensor_bytes(t, info, &where->n_bytes, err);
    if (status != TERN_OK) return status;
    if (where->offset % alignment != 0)
        return error_set(err, TERN_MALFORMED, "tensor %s: offset %llu, expected a multiple of the alignment %llu",
                         t->name, (unsigned long long)where->offset, (unsigned long long)alignment);
    return TERN_OK;
}

static tern_status parse_tensor(cursor *c, gguf_file *file, gguf_extent *where, tern_error *err)
{
    gguf_string name;
    if (!take_string(c, &name))
        return error_set(err, TERN_MALFORMED, "the name of tensor %zu runs over the end of the file", file->tensors.n);
    if (name.n == 0 || memchr(name.data, 0, name.n) != NULL)
        return error_set(err, TERN_MALFORMED, "tensor %zu: its name is empty or holds a NUL byte", file->tensors.n);
    if (name.n > MAX_NAME_BYTES)
        return error_set(err, TERN_LIMIT, "tensor %zu: a name of %zu bytes; at most %u are accepted", file->tensors.n,
                         name.n, MAX_NAME_BYTES);
    tensor t = {0};
    t.name = strndup(name.data, name.n);
    if (t.name == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a tensor name");
    where->index = file->tensors.n;
    tern_status status = parse_tensor_body(c, file->alignment, &t, where, err);
    if (status == TERN_OK) status = tensor_set_add(&file->tensors, &t, err);
    if (status != TERN_OK) free(t.name);
    return status;
}

static int compare_extents(const void *a, const void *b)
{
    const gguf_extent *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

// Places the tensors in the buffer: inside it, in no one else's bytes.
static tern_status place_tensors(const uint8_t *data, size_t size, gguf_file *file, gguf_extent *extents,
                                 tern_error *err)
{
    size_t n = file->tensors.n;
    if (n > 0 && file->data_offset > size)
        return error_set(err, TERN_MALFORMED, "the file has %zu bytes, its tensor data would begin at byte %llu", size,
                         (unsigned long long)file->data_offset);
    uint64_t data_bytes = n > 0 ? size - file->data_offset : 0;
    qsort(extents, n, sizeof *extents, compare_extents);
    for (size_t i = 0; i < n; i++) {
        const tensor *t = &file->tensors.items[extents[i].index];
        uint64_t end = i + 1 < n ? extents[i + 1].offset : data_bytes;
        if (!check_range(extents[i].offset, extents[i].n_bytes, data_bytes))
            return error_set(
                err, TERN_MALFORMED,
                "tensor %s: bytes %llu + %llu of the data section, which has %llu; the file is cut off or broken",
                t->name, (unsigned long long)extents[i].offset, (unsigned long long)extents[i].n_bytes,
                (unsigned long long)data_bytes);
        extents[i].room = extents[i].offset < end ? end - extents[i].offset : 0;
        if (extents[i].room == 0 || extents[i].n_bytes > extents[i].room)
            return error_set(err, TERN_MALFORMED, "tensor %s (%s): it overlaps %s", t->name, t->type_name,
                             i + 1 < n ? file->tensors.items[extents[i + 1].index].name : "the end of the file");
    }
    tern_status status = gguf_resolve_types(&file->tensors, extents, file->alignment, err);
    for (size_t i = 0; i < n && status == TERN_OK; i++) {
        tensor *t = &file->tensors.items[extents[i].index];
        t->n_bytes = extents[i].n_bytes != 0 ? extents[i].n_bytes : extents[i].room;
        t->data = data + file->data_offset + extents[i].offset;
    }
    return status;
}

static tern_status parse_tensors(cursor *c, uint64_t n_tensors, gguf_file *file, tern_error *err)
{
    if (n_tensors > left(c) / MIN_TENSOR_BYTES)
        return error_set(err, TERN_MALFORMED, "the header announces %llu tensors, but only %zu bytes are left",
                         (unsigned long long)n_tensors, left(c));
    if (n_tensors > MAX_TENSORS)
        return error_set(err, TERN_LIMIT, "%llu tensors; at most %u are accepted", (unsigned long long)n_tensors,
                         MAX_TENSORS);
    gguf_extent *extents = calloc((size_t)n_tensors + 1, sizeof *extents);
    if (extents == NULL)
        return error_set(err, TERN_HOST_MEMORY, "no memory for %llu tensors", (unsigned long long)n_tensors);
    tern_status status = TERN_OK;
    for (uint64_t i = 0; i < n_tensors && status == TERN_OK; i++) status = parse_tensor(c, file, &extents[i], err);
    if (status == TERN_OK && !check_align(c->pos, file->alignment, &file->data_offset))
        status = error_set(err, TERN_MALFORMED, "the begin of the data section overflows");
    if (status == TERN_OK) status = place_tensors(c->data, c->size, file, extents, err);
    free(extents);
    return status;
}

tern_status gguf_parse(const uint8_t *data, size_t size, gguf_file *out, tern_error *err)
{
    memset(out, 0, sizeof *out);
    gguf_file file = {0};
    cursor c = {data, size, 0};
    uint64_t n_tensors = 0, n_values = 0;
    tern_status status = parse_version(&c, &file, err);
    if (status == TERN_OK && (!take_u64(&c, &n_tensors) || !take_u64(&c, &n_values)))
        status = error_set(err, TERN_MALFORMED, "the file ends inside the GGUF header");
    if (status == TERN_OK) status = parse_values(&c, n_values, &file, err);
    if (status == TERN_OK) status = parse_alignment(&file, err);
    if (status == TERN_OK) status = parse_tensors(&c, n_tensors, &file, err);
    if (status != TERN_OK) {
        gguf_free(&file);
        return status;
    }
    *out = file;
    return TERN_OK;
}

void gguf_free(gguf_file *file)
{
    free(file->values);
    free(file->slots);
    tensor_set_free(&file->tensors);
    memset(file, 0, sizeof *file);
}

const gguf_value *gguf_find(const gguf_file *file, const char *key)
{
    if (file->n_slots == 0) return NULL;
    size_t n = strlen(key), mask = file->n_slots - 1;
    size_t slot = (size_t)tensor_name_hash(key, n) & mask;
    for (; file->slots[slot] != 0; slot = (slot + 1) & mask) {
        const gguf_value *v = &file->values[file->slots[slot] - 1];
        if (v->key.n == n && memcmp(v->key.data, key, n) == 0) return v;
    }
    return NULL;
}
