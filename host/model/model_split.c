// GGUF models in several files (FORMATS.md 1.4): NAME-00001-of-00003.gguf and its siblings.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model_internal.h"

#define MAX_PARTS 4096u

typedef struct split {
    char *prefix; // the path up to the number; owned
    uint32_t count;
} split;

// The path of part `index` (from 0).
static void part_path(const split *s, uint32_t index, char *out, size_t n)
{
    snprintf(out, n, "%s-%05u-of-%05u.gguf", s->prefix, index + 1, s->count);
}

// Takes "PREFIX-00002-of-00003.gguf" apart. False when the path has another form.
static bool parse_path(const char *path, char **prefix, uint32_t *number, uint32_t *count)
{
    static const char form[] = "-ddddd-of-ddddd.gguf";
    size_t n = strlen(path), m = sizeof form - 1;
    if (n <= m) return false;
    const char *tail = path + n - m;
    uint32_t values[2] = {0, 0};
    for (size_t i = 0; i < m; i++) {
        bool is_digit = tail[i] >= '0' && tail[i] <= '9';
        if (form[i] == 'd' ? !is_digit : tail[i] != form[i]) return false;
        if (is_digit) values[i > 6] = values[i > 6] * 10 + (uint32_t)(tail[i] - '0');
    }
    *number = values[0];
    *count = values[1];
    *prefix = strndup(path, n - m);
    return true;
}

// Moves the tensors of a parsed part into `to`.
static tern_status merge_tensors(gguf_file *part, gguf_file *to, tern_error *err)
{
    for (size_t i = 0; i < part->tensors.n; i++) {
        tern_status status = tensor_set_add(&to->tensors, &part->tensors.items[i], err);
        if (status != TERN_OK) return status;
        part->tensors.items[i].name = NULL; // the name has a new owner
    }
    return TERN_OK;
}

static tern_status check_numbers(const gguf_file *file, const split *s, uint32_t index, tern_error *err)
{
    uint32_t no = 0, count = 0;
    tern_status status = gguf_get_u32(file, "split.no", &no, err);
    if (status == TERN_OK) status = gguf_get_u32(file, "split.count", &count, err);
    if (status == TERN_NOT_FOUND)
        return error_set(err, TERN_MALFORMED,
                         "the keys split.no and split.count are missing, it is no part of a split model");
    if (status != TERN_OK) return status;
    if (no == index && count == s->count) return TERN_OK;
    return error_set(err, TERN_MALFORMED, "split.no %u and split.count %u, expected %u and %u", no, count, index,
                     s->count);
}

static tern_status open_part(const split *s, uint32_t index, struct model_files *files, tern_error *err)
{
    char path[4096];
    gguf_file part = {0};
    part_path(s, index, path, sizeof path);
    if (access(path, F_OK) != 0)
        return error_set(err, TERN_NOT_FOUND, "part %u of %u is missing: expected %s", index + 1, s->count, path);
    file_map *map = &files->parts[files->n_parts];
    tern_status status = file_map_open(path, map, err);
    if (status != TERN_OK) return status;
    files->n_parts++;
    status = gguf_parse(map->data, map->size, &part, err);
    if (status == TERN_OK) status = check_numbers(&part, s, index, err);
    if (status == TERN_OK) status = merge_tensors(&part, &files->gguf, err);
    gguf_free(&part);
    if (status != TERN_OK) error_prefix(err, "part %s", path);
    return status;
}

// The name and the keys of the file that was given; fills s->prefix.
static tern_status check_first(const char *path, const gguf_file *file, split *s, tern_error *err)
{
    uint32_t no = 0, number = 0, count = 0;
    char expected[4096];
    tern_status status = gguf_get_u32(file, "split.no", &no, err);
    if (status != TERN_OK && status != TERN_NOT_FOUND) return status;
    if (s->count > MAX_PARTS)
        return error_set(err, TERN_LIMIT, "key split.count: %u parts; at most %u are accepted", s->count, MAX_PARTS);
    if (!parse_path(path, &s->prefix, &number, &count) || count != s->count || number != no + 1)
        return error_set(err, TERN_MALFORMED,
                         "part %u of %u of a split model must be named NAME-%05u-of-%05u.gguf, beside the other parts",
                         no + 1, s->count, no + 1, s->count);
    if (s->prefix == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a path");
    if (no == 0) return TERN_OK;
    part_path(s, 0, expected, sizeof expected);
    return error_set(err, TERN_INVALID_ARGUMENT, "this is part %u of %u; give the first part, %s", no + 1, s->count,
                     expected);
}

tern_status model_open_parts(const char *path, struct model_files *files, tern_error *err)
{
    split s = {.count = 1};
    tern_status status = gguf_get_u32(&files->gguf, "split.count", &s.count, err);
    if (status == TERN_NOT_FOUND) return TERN_OK;
    if (status != TERN_OK || s.count <= 1) return status;
    status = check_first(path, &files->gguf, &s, err);
    if (status == TERN_OK) {
        files->parts = calloc(s.count, sizeof *files->parts);
        if (files->parts == NULL) status = error_set(err, TERN_HOST_MEMORY, "no memory for %u parts", s.count);
    }
    for (uint32_t i = 1; i < s.count && status == TERN_OK; i++) status = open_part(&s, i, files, err);
    free(s.prefix);
    if (status != TERN_OK) return status;
    uint32_t n_tensors = 0;
    status = gguf_get_u32(&files->gguf, "split.tensors.count", &n_tensors, err);
    if (status == TERN_NOT_FOUND) return TERN_OK;
    if (status == TERN_OK && n_tensors != files->gguf.tensors.n)
        status = error_set(err, TERN_MALFORMED, "key split.tensors.count: %u tensors, the %u parts have %zu", n_tensors,
                           s.count, files->gguf.tensors.n);
    return status;
}
