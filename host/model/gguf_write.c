// The GGUF writer (FORMATS.md 1.1 to 1.3). Header parts are collected in memory, since their counts and offsets come
// first in the file; data is passed through.
#include "gguf_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "check.h"

typedef struct byte_list {
    uint8_t *data;
    size_t n, capacity;
} byte_list;

struct gguf_writer {
    char *path, *part_path; // destination and temporary file
    int fd;                 // of the temporary file; -1: closed
    bool has_part;          // the temporary file exists
    tern_error failure;     // first failure of an add function
    byte_list keys, infos;
    uint64_t n_keys, n_tensors;
    uint64_t *tensor_bytes; // [n_tensors]
    size_t tensor_capacity;
    uint64_t data_size;    // of the data section so far described, padding included
    uint64_t data_bytes;   // the same without padding
    size_t current;        // tensor that takes the next data
    uint64_t current_done; // its bytes written
    bool has_begun;
    bool is_resumable; // the temporary file outlives a failure
};

// ------------------------------------------------------------------------------------------------------------- header

static void append(gguf_writer *w, byte_list *list, const void *data, size_t n)
{
    if (w->failure.status != TERN_OK || n == 0) return;
    if (n > list->capacity - list->n) {
        uint64_t sum, capacity;
        size_t size = 0;
        uint8_t *grown = NULL;
        if (check_add(list->n, n, &sum) && check_mul(sum, 2, &capacity) && check_size(capacity, &size))
            grown = realloc(list->data, size);
        if (grown == NULL) {
            error_set(&w->failure, TERN_HOST_MEMORY, "no memory for a GGUF header of more than %zu bytes", list->n);
            return;
        }
        list->data = grown;
        list->capacity = size;
    }
    memcpy(list->data + list->n, data, n);
    list->n += n;
}

// Integers are little-endian in the file.
static void append_uint(gguf_writer *w, byte_list *list, uint64_t value, size_t n_bytes)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < n_bytes; i++) bytes[i] = (uint8_t)(value >> (8 * i));
    append(w, list, bytes, n_bytes);
}

static void append_string(gguf_writer *w, byte_list *list, const char *text)
{
    size_t n = strlen(text);
    append_uint(w, list, n, 8);
    append(w, list, text, n);
}

static void append_f32(gguf_writer *w, byte_list *list, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    append_uint(w, list, bits, 4);
}

static void begin_key(gguf_writer *w, const char *key, gguf_type type)
{
    append_string(w, &w->keys, key);
    append_uint(w, &w->keys, (uint64_t)type, 4);
    w->n_keys++;
}

static void begin_array(gguf_writer *w, const char *key, gguf_type type, size_t n)
{
    begin_key(w, key, GGUF_ARRAY);
    append_uint(w, &w->keys, (uint64_t)type, 4);
    append_uint(w, &w->keys, n, 8);
}

void gguf_writer_add_u32(gguf_writer *w, const char *key, uint32_t value)
{
    begin_key(w, key, GGUF_U32);
    append_uint(w, &w->keys, value, 4);
}

void gguf_writer_add_f32(gguf_writer *w, const char *key, float value)
{
    begin_key(w, key, GGUF_F32);
    append_f32(w, &w->keys, value);
}

void gguf_writer_add_bool(gguf_writer *w, const char *key, bool value)
{
    begin_key(w, key, GGUF_BOOL);
    append_uint(w, &w->keys, value, 1);
}

void gguf_writer_add_string(gguf_writer *w, const char *key, const char *value)
{
    begin_key(w, key, GGUF_STRING);
    append_string(w, &w->keys, value);
}

void gguf_writer_add_strings(gguf_writer *w, const char *key, const char *const *values, size_t n)
{
    begin_array(w, key, GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) append_string(w, &w->keys, values[i]);
}

void gguf_writer_add_i32s(gguf_writer *w, const char *key, const int32_t *values, size_t n)
{
    begin_array(w, key, GGUF_I32, n);
    for (size_t i = 0; i < n; i++) append_uint(w, &w->keys, (uint32_t)values[i], 4);
}

void gguf_writer_add_f32s(gguf_writer *w, const char *key, const float *values, size_t n)
{
    begin_array(w, key, GGUF_F32, n);
    for (size_t i = 0; i < n; i++) append_f32(w, &w->keys, values[i]);
}

void gguf_writer_add_value(gguf_writer *w, const gguf_value *value)
{
    append_uint(w, &w->keys, value->key.n, 8);
    append(w, &w->keys, value->key.data, value->key.n);
    append_uint(w, &w->keys, (uint64_t)value->type, 4);
    if (value->type == GGUF_ARRAY) {
        append_uint(w, &w->keys, (uint64_t)value->element_type, 4);
        append_uint(w, &w->keys, value->count, 8);
    }
    if (value->type == GGUF_STRING) append_uint(w, &w->keys, value->n_bytes, 8); // its payload comes without the length
    append(w, &w->keys, value->data, value->n_bytes);
    w->n_keys++;
}

void gguf_writer_add_tensor(gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *dims,
                            uint64_t n_bytes)
{
    uint64_t padded, end;
    if (!check_align(n_bytes, GGUF_WRITE_ALIGNMENT, &padded) || !check_add(w->data_size, padded, &end) ||
        end > INT64_MAX) {
        error_set(&w->failure, TERN_LIMIT, "tensor %s makes the file larger than 2^63 bytes", name);
        return;
    }
    if (w->n_tensors == w->tensor_capacity) {
        size_t capacity = w->tensor_capacity == 0 ? 256 : 2 * w->tensor_capacity;
        uint64_t *grown = realloc(w->tensor_bytes, capacity * sizeof *grown);
        if (grown == NULL) {
            error_set(&w->failure, TERN_HOST_MEMORY, "no memory for the sizes of %zu tensors", capacity);
            return;
        }
        w->tensor_bytes = grown;
        w->tensor_capacity = capacity;
    }
    append_string(w, &w->infos, name);
    append_uint(w, &w->infos, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++) append_uint(w, &w->infos, dims[i], 8);
    append_uint(w, &w->infos, type, 4);
    append_uint(w, &w->infos, w->data_size, 8);
    w->tensor_bytes[w->n_tensors++] = n_bytes;
    w->data_size = end;
    w->data_bytes += n_bytes;
}

// --------------------------------------------------------------------------------------------------------------- file

static tern_status io_error(const char *verb, const char *path, tern_error *err)
{
    return error_set(err, TERN_IO, "cannot %s %s: %s", verb, path, strerror(errno));
}

// Creates PATH.<pid>-<number>.part, with the permissions that the user's umask leaves, as for the destination itself.
static tern_status open_part(gguf_writer *w, tern_error *err)
{
    size_t n = strlen(w->path) + 48;
    w->part_path = malloc(n);
    if (w->part_path == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a file name of %zu bytes", n);
    for (unsigned attempt = 0; w->fd < 0 && attempt < 1000; attempt++) {
        snprintf(w->part_path, n, "%s.%ld-%u.part", w->path, (long)getpid(), attempt);
        w->fd = open(w->part_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd < 0 && errno != EEXIST) break;
    }
    if (w->fd < 0) return io_error("create", w->part_path, err);
    w->has_part = true;
    return TERN_OK;
}

// Creates or opens PATH.part, for this process alone.
static tern_status open_resumable_part(gguf_writer *w, tern_error *err)
{
    size_t n = strlen(w->path) + sizeof ".part";
    w->part_path = malloc(n);
    if (w->part_path == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a file name of %zu bytes", n);
    snprintf(w->part_path, n, "%s.part", w->path);
    w->fd = open(w->part_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (w->fd < 0) return io_error("create", w->part_path, err);
    if (flock(w->fd, LOCK_EX | LOCK_NB) != 0)
        return error_set(err, TERN_IO, "%s is being written by another process", w->part_path);
    struct stat info;
    if (fstat(w->fd, &info) != 0) return io_error("read", w->part_path, err);
    w->has_part = info.st_size == 0; // what is not ours is not removed either
    return TERN_OK;
}

static tern_status create(const char *path, bool is_resumable, gguf_writer **out, tern_error *err)
{
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return error_set(err, TERN_IO, "cannot write %s: it is %s, not a regular file; give a file name", path,
                         S_ISDIR(info.st_mode) ? "a directory" : "a device, pipe or socket");
    gguf_writer *w = calloc(1, sizeof *w);
    if (w == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a GGUF writer");
    w->fd = -1;
    w->is_resumable = is_resumable;
    w->path = strdup(path);
    tern_status status = w->path == NULL ? error_set(err, TERN_HOST_MEMORY, "no memory for a file name") : TERN_OK;
    if (status == TERN_OK) status = is_resumable ? open_resumable_part(w, err) : open_part(w, err);
    if (status != TERN_OK) {
        gguf_writer_free(w);
        return status;
    }
    *out = w;
    return TERN_OK;
}

tern_status gguf_writer_create(const char *path, gguf_writer **out, tern_error *err)
{
    return create(path, false, out, err);
}

tern_status gguf_writer_create_resumable(const char *path, gguf_writer **out, tern_error *err)
{
    return create(path, true, out, err);
}

void gguf_writer_free(gguf_writer *w)
{
    if (w == NULL) return;
    if (w->has_part && !(w->is_resumable && w->has_begun)) unlink(w->part_path);
    if (w->fd >= 0) close(w->fd);
    free(w->path);
    free(w->part_path);
    free(w->keys.data);
    free(w->infos.data);
    free(w->tensor_bytes);
    free(w);
}

static tern_status write_all(gguf_writer *w, const void *data, size_t n, tern_error *err)
{
    const uint8_t *from = data;
    while (n > 0) {
        ssize_t done = write(w->fd, from, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return io_error("write", w->part_path, err);
        from += done;
        n -= (size_t)done;
    }
    return TERN_OK;
}

static tern_status write_padding(gguf_writer *w, uint64_t after, tern_error *err)
{
    static const uint8_t zeros[GGUF_WRITE_ALIGNMENT] = {0};
    size_t n = (size_t)(-after % GGUF_WRITE_ALIGNMENT);
    return write_all(w, zeros, n, err);
}

// Room for the rest of the file is taken at once, so that a full disk shows before the work. The file's size stays that
// of the bytes written. File systems that cannot do this are asked for their free room.
static tern_status reserve(const gguf_writer *w, size_t head_bytes, uint64_t done, tern_error *err)
{
    int64_t total = w->data_size > INT64_MAX - head_bytes ? INT64_MAX : (int64_t)(w->data_size + head_bytes);
    bool is_full = fallocate(w->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)total) != 0;
    int reason = errno;
    if (!is_full) return TERN_OK;
    is_full = reason == ENOSPC || reason == EFBIG || reason == EDQUOT;
    struct statvfs disk;
    if (!is_full && fstatvfs(w->fd, &disk) == 0 && disk.f_frsize > 0)
        is_full = ((uint64_t)total - done) / disk.f_frsize > disk.f_bavail, reason = ENOSPC;
    if (!is_full) return TERN_OK;
    return error_set(err, TERN_IO, "cannot reserve %lld bytes for %s: %s", (long long)((uint64_t)total - done),
                     w->part_path, strerror(reason));
}

// Whether the temporary file begins with this header.
static bool has_header(const gguf_writer *w, const byte_list *head)
{
    uint8_t piece[4096];
    for (size_t at = 0; at < head->n;) {
        size_t want = head->n - at < sizeof piece ? head->n - at : sizeof piece;
        ssize_t got = pread(w->fd, piece, want, (off_t)at);
        if (got <= 0 || memcmp(piece, head->data + at, (size_t)got) != 0) return false;
        at += (size_t)got;
    }
    return true;
}

// Finds the complete tensors of an earlier run and goes behind the last one. *done: bytes of the file that stay.
static tern_status resume(gguf_writer *w, const byte_list *head, uint64_t *done, tern_error *err)
{
    struct stat info;
    if (!w->is_resumable) return TERN_OK;
    if (fstat(w->fd, &info) != 0) return io_error("read", w->part_path, err);
    uint64_t size = (uint64_t)info.st_size, at = 0, end;
    if (size == 0) return TERN_OK;
    if (!has_header(w, head))
        return error_set(err, TERN_IO, "%s is the beginning of another file: remove it, or write under another name",
                         w->part_path);
    check_align(head->n, GGUF_WRITE_ALIGNMENT, &at);
    while (w->current < w->n_tensors && check_add(at, w->tensor_bytes[w->current], &end) &&
           check_align(end, GGUF_WRITE_ALIGNMENT, &end) && end <= size) {
        at = end;
        w->current++;
    }
    if (at > size) at = 0; // not even the padding of the header
    w->has_part = true;
    *done = at;
    if (ftruncate(w->fd, (off_t)at) != 0 || lseek(w->fd, (off_t)at, SEEK_SET) < 0)
        return io_error("go on with", w->part_path, err);
    return TERN_OK;
}

tern_status gguf_writer_begin(gguf_writer *w, tern_error *err)
{
    if (w->failure.status != TERN_OK) return error_set(err, w->failure.status, "%s", w->failure.message);
    byte_list head = {0};
    append(w, &head, "GGUF", 4);
    append_uint(w, &head, 3, 4);
    append_uint(w, &head, w->n_tensors, 8);
    append_uint(w, &head, w->n_keys, 8);
    append(w, &head, w->keys.data, w->keys.n);
    append(w, &head, w->infos.data, w->infos.n);
    tern_status status = w->failure.status;
    uint64_t done = 0;
    if (status != TERN_OK) error_set(err, status, "%s", w->failure.message);
    if (status == TERN_OK) status = resume(w, &head, &done, err);
    if (status == TERN_OK) status = reserve(w, head.n, done, err);
    if (status == TERN_OK && done == 0) {
        status = write_all(w, head.data, head.n, err);
        if (status == TERN_OK) status = write_padding(w, head.n, err);
    }
    if (status == TERN_OK) w->has_begun = true;
    free(head.data);
    return status;
}

tern_status gguf_writer_data(gguf_writer *w, const void *data, size_t n_bytes, tern_error *err)
{
    if (!w->has_begun || w->current == w->n_tensors || n_bytes > w->tensor_bytes[w->current] - w->current_done)
        return error_set(err, TERN_INTERNAL, "%s: %zu bytes for tensor %zu are more than were announced", w->path,
                         n_bytes, w->current);
    tern_status status = write_all(w, data, n_bytes, err);
    if (status != TERN_OK) return status;
    w->current_done += n_bytes;
    if (w->current_done < w->tensor_bytes[w->current]) return TERN_OK;
    uint64_t size = w->current_done;
    w->current++;
    w->current_done = 0;
    return write_padding(w, size, err);
}

size_t gguf_writer_n_done(const gguf_writer *w) { return w->current; }

uint64_t gguf_writer_data_bytes(const gguf_writer *w) { return w->data_bytes; }

const char *gguf_writer_part_path(const gguf_writer *w) { return w->part_path; }

// Makes the new directory entry durable. Failing here costs nothing but that guarantee, so it is not reported.
static void sync_directory(const char *path)
{
    char *directory = strdup(path);
    if (directory == NULL) return;
    char *slash = strrchr(directory, '/');
    if (slash != NULL) slash[slash == directory ? 1 : 0] = 0;
    int fd = open(slash != NULL ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(directory);
}

tern_status gguf_writer_finish(gguf_writer *w, tern_error *err)
{
    if (!w->has_begun || w->current != w->n_tensors)
        return error_set(err, TERN_INTERNAL, "%s: only %zu of %llu tensors were written", w->path, w->current,
                         (unsigned long long)w->n_tensors);
    if (fsync(w->fd) != 0) return io_error("write", w->part_path, err);
    int closed = close(w->fd);
    w->fd = -1;
    if (closed != 0) return io_error("close", w->part_path, err);
    if (rename(w->part_path, w->path) != 0) return io_error("move the finished file to", w->path, err);
    w->has_part = false;
    sync_directory(w->path);
    return TERN_OK;
}
