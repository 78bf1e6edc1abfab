// A file is: header, key, sizes of the sections, checksums of all chunks, then the sections, each at a multiple of 64
// bytes. Numbers are the machine's own: the cache is not carried to another.
#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define MAGIC        0x68636e54u // "Tnch"
#define VERSION      2u
#define ALIGNMENT    64u
#define MAX_SECTIONS (1u << 20)
#define STALE_S      3600

typedef struct header {
    uint32_t magic, version, key_bytes, n_sections;
    uint64_t n_bytes, checksum; // of the file; of all before the first section, this field as 0
} header;

// ---- hash

static uint64_t rotate(uint64_t x, int n) { return x << n | x >> (64 - n); }

// Eight lanes, so that multiplications overlap. A step is one to one in the lane, so no change of one word gets lost;
// the rotation brings high bits down, which multiplication alone never does.
uint64_t cache_hash(const void *data, size_t n_bytes)
{
    const uint64_t prime = 0x9e3779b185ebca87u;
    const uint8_t *p = data;
    uint64_t lanes[8], h = n_bytes;
    for (uint64_t k = 0; k < 8; k++) lanes[k] = prime * (k + 1);
    size_t n_blocks = n_bytes / sizeof lanes, rest = n_bytes % sizeof lanes;
    for (size_t i = 0; i < n_blocks + (rest != 0); i++, p += sizeof lanes) {
        uint64_t words[8] = {0};
        memcpy(words, p, i < n_blocks ? sizeof words : rest);
        for (int k = 0; k < 8; k++) lanes[k] = rotate(lanes[k] ^ words[k], 29) * prime;
    }
    for (int k = 0; k < 8; k++) {
        h = (h ^ lanes[k]) * prime;
        h ^= h >> 32;
    }
    return h;
}

// ---- names

static char *file_path(const char *dir, const char *kind, const char *key)
{
    size_t n = strlen(dir) + strlen(kind) + 32;
    char *path = dir[0] != 0 ? malloc(n) : NULL;
    if (path != NULL)
        snprintf(path, n, "%s/%s-%016llx.bin", dir, kind, (unsigned long long)cache_hash(key, strlen(key)));
    return path;
}

// Makes dir and its parents.
static bool make_directory(const char *dir)
{
    char *path = strdup(dir);
    if (path == NULL) return false;
    bool ok = true;
    for (size_t i = 1, n = strlen(dir); i <= n && ok; i++) {
        if (path[i] != '/' && path[i] != 0) continue;
        char separator = path[i];
        path[i] = 0;
        ok = mkdir(path, 0700) == 0 || errno == EEXIST;
        path[i] = separator;
    }
    free(path);
    return ok;
}

// ---- what stands before the sections

typedef struct sizes {
    uint64_t n_sums, begin, total; // checksums, end of the table, bytes of the file
} sizes;

// Lays out the sections, whose n_bytes are given.
static bool lay_out(size_t key_bytes, cache_section *sections, uint32_t n, sizes *out)
{
    sizes s = {0};
    for (uint32_t i = 0; i < n; i++) {
        sections[i].first_sum = s.n_sums;
        if (sections[i].n_bytes > INT64_MAX / MAX_SECTIONS) return false; // so that no sum below overflows
        s.n_sums += cache_n_chunks(sections[i].n_bytes);
    }
    s.begin = sizeof(header) + key_bytes + (n + s.n_sums) * sizeof(uint64_t);
    s.total = s.begin;
    for (uint32_t i = 0; i < n; i++) {
        sections[i].at = (s.total + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        s.total = sections[i].at + sections[i].n_bytes;
    }
    *out = s;
    return true;
}

// Header, key, sizes and checksums as one piece of memory.
static uint8_t *make_table(const cache_file *f, const char *key, const sizes *s)
{
    uint8_t *table = malloc((size_t)s->begin), *p = table;
    if (table == NULL) return NULL;
    header h = {MAGIC, VERSION, (uint32_t)strlen(key), f->n_sections, s->total, 0};
    p += sizeof h;
    memcpy(p, key, h.key_bytes);
    p += h.key_bytes;
    for (uint32_t i = 0; i < f->n_sections; i++, p += sizeof(uint64_t))
        memcpy(p, &f->sections[i].n_bytes, sizeof(uint64_t));
    memcpy(p, f->sums, (size_t)s->n_sums * sizeof *f->sums);
    memcpy(table, &h, sizeof h);
    h.checksum = cache_hash(table, (size_t)s->begin);
    memcpy(table, &h, sizeof h);
    return table;
}

// ---- reading

// Takes the header of a mapped file apart, and compares all of it with what would be written.
static bool read_table(cache_file *f, const char *key, uint32_t n_sections)
{
    header h;
    size_t key_bytes = strlen(key), sizes_at = sizeof h + key_bytes;
    if (f->n_bytes < sizes_at + n_sections * sizeof(uint64_t)) return false;
    memcpy(&h, f->data, sizeof h);
    if (h.n_sections != n_sections || h.key_bytes != key_bytes || h.n_bytes != f->n_bytes) return false;
    f->n_sections = n_sections;
    f->sections = calloc(n_sections, sizeof *f->sections);
    if (f->sections == NULL) return false;
    for (uint32_t i = 0; i < n_sections; i++)
        memcpy(&f->sections[i].n_bytes, f->data + sizes_at + i * sizeof(uint64_t), sizeof(uint64_t));
    sizes s;
    if (!lay_out(key_bytes, f->sections, n_sections, &s) || s.total != f->n_bytes) return false;
    f->sums = malloc((size_t)(s.n_sums + 1) * sizeof *f->sums);
    if (f->sums == NULL) return false;
    memcpy(f->sums, f->data + sizes_at + n_sections * sizeof(uint64_t), (size_t)s.n_sums * sizeof *f->sums);
    uint8_t *table = make_table(f, key, &s);
    bool ok = table != NULL && memcmp(table, f->data, (size_t)s.begin) == 0;
    free(table);
    return ok;
}

// Opens without waiting for a pipe, and refuses what is not a file of this user's own.
static bool map_own_file(const char *path, cache_file *out)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return false;
    bool ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
              (st.st_mode & (S_IWGRP | S_IWOTH)) == 0 && st.st_size > 0 &&
              check_size((uint64_t)st.st_size, &out->n_bytes);
    void *data = ok ? mmap(NULL, out->n_bytes, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    if (data != MAP_FAILED) {
        out->data = data;
        madvise(data, out->n_bytes, MADV_WILLNEED); // all of it is tested and then used
        futimens(fd, NULL); // cache_trim goes by it
    }
    close(fd);
    return data != MAP_FAILED;
}

bool cache_open(const char *dir, const char *kind, const char *key, uint32_t n_sections, cache_file *out)
{
    *out = (cache_file){.fd = -1};
    char *path = file_path(dir, kind, key);
    bool ok = path != NULL && map_own_file(path, out) && read_table(out, key, n_sections);
    free(path);
    if (!ok) cache_close(out);
    return ok;
}

static size_t chunk_bytes(const cache_section *s, uint64_t chunk)
{
    uint64_t left = s->n_bytes - chunk * CACHE_CHUNK;
    return (size_t)(left < CACHE_CHUNK ? left : CACHE_CHUNK);
}

bool cache_is_intact(const cache_file *f, uint32_t section, uint64_t chunk)
{
    const cache_section *s = &f->sections[section];
    const uint8_t *data = cache_data(f, section) + chunk * CACHE_CHUNK;
    return cache_hash(data, chunk_bytes(s, chunk)) == f->sums[s->first_sum + chunk];
}

// ---- writing

static tern_status open_temporary(cache_file *f, const char *dir, uint64_t n_bytes, tern_error *err)
{
    struct statvfs fs;
    size_t n = strlen(f->path) + 8;
    f->temporary = malloc(n);
    if (f->temporary == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a path");
    snprintf(f->temporary, n, "%s.XXXXXX", f->path);
    if (!make_directory(dir)) return error_set(err, TERN_IO, "%s cannot be made: %s", dir, strerror(errno));
    if (statvfs(dir, &fs) == 0 && n_bytes / fs.f_frsize > fs.f_bavail / 2)
        return error_set(err, TERN_IO, "%llu bytes are more than half of the %llu that are free in %s",
                         (unsigned long long)n_bytes, (unsigned long long)fs.f_bavail * fs.f_frsize, dir);
    f->fd = mkstemp(f->temporary); // mode 0600
    return f->fd >= 0 ? TERN_OK : error_set(err, TERN_IO, "%s cannot be written: %s", f->temporary, strerror(errno));
}

tern_status cache_create(const char *dir, const char *kind, const char *key, const uint64_t *section_bytes,
                         uint32_t n_sections, cache_file *out, tern_error *err)
{
    cache_file f = {.fd = -1, .n_sections = n_sections};
    sizes s = {0};
    tern_status status = TERN_OK;
    f.path = file_path(dir, kind, key);
    f.key = strdup(key);
    f.sections = n_sections <= MAX_SECTIONS ? calloc(n_sections, sizeof *f.sections) : NULL;
    if (f.path == NULL || f.key == NULL || f.sections == NULL) {
        status = error_set(err, TERN_HOST_MEMORY, "no memory for a cache file");
    } else {
        for (uint32_t i = 0; i < n_sections; i++) f.sections[i].n_bytes = section_bytes[i];
        if (!lay_out(strlen(key), f.sections, n_sections, &s))
            status = error_set(err, TERN_LIMIT, "a section of a cache file is too large");
    }
    if (status == TERN_OK) {
        f.sums = calloc((size_t)s.n_sums + 1, sizeof *f.sums);
        status = f.sums != NULL ? open_temporary(&f, dir, s.total, err)
                                : error_set(err, TERN_HOST_MEMORY, "no memory for a cache file");
    }
    if (status == TERN_OK)
        *out = f;
    else
        cache_close(&f);
    return status;
}

// errno of a failure, or 0.
static int write_at(int fd, const uint8_t *data, size_t n, uint64_t at)
{
    while (n > 0) {
        ssize_t done = pwrite(fd, data, n, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return done < 0 ? errno : ENOSPC;
        data += done;
        n -= (size_t)done;
        at += (uint64_t)done;
    }
    return 0;
}

void cache_write(cache_file *f, uint32_t section, uint64_t chunk, const uint8_t *from)
{
    const cache_section *s = &f->sections[section];
    size_t n = chunk_bytes(s, chunk);
    f->sums[s->first_sum + chunk] = cache_hash(from, n);
    int failure = write_at(f->fd, from, n, s->at + chunk * CACHE_CHUNK);
    if (failure != 0) __atomic_store_n(&f->failure, failure, __ATOMIC_RELAXED);
}

tern_status cache_keep(cache_file *f, tern_error *err)
{
    sizes s;
    uint8_t *table = lay_out(strlen(f->key), f->sections, f->n_sections, &s) ? make_table(f, f->key, &s) : NULL;
    tern_status status = TERN_OK;
    if (f->failure == 0 && table == NULL) f->failure = ENOMEM;
    if (f->failure == 0) f->failure = write_at(f->fd, table, (size_t)s.begin, 0);
    free(table);
    // A last section of no bytes may lie behind all that was written.
    if (f->failure == 0 && ftruncate(f->fd, (off_t)s.total) != 0) f->failure = errno;
    if (f->failure == 0 && rename(f->temporary, f->path) != 0) f->failure = errno;
    if (f->failure != 0) {
        status = error_set(err, TERN_IO, "%s cannot be written: %s", f->path, strerror(f->failure));
    } else {
        free(f->temporary);
        f->temporary = NULL;
    }
    cache_close(f);
    return status;
}

void cache_close(cache_file *f)
{
    if (f->data != NULL) munmap((void *)(uintptr_t)f->data, f->n_bytes);
    if (f->path != NULL && f->fd >= 0) {
        close(f->fd);
        if (f->temporary != NULL) unlink(f->temporary);
    }
    free(f->sections);
    free(f->sums);
    free(f->key);
    free(f->path);
    free(f->temporary);
    *f = (cache_file){.fd = -1};
}

// ---- trimming

typedef struct kept_file {
    char name[64];
    uint64_t n_bytes;
    struct timespec used;
} kept_file;

static int by_use(const void *a, const void *b)
{
    const struct timespec *x = &((const kept_file *)a)->used, *y = &((const kept_file *)b)->used;
    if (x->tv_sec != y->tv_sec) return x->tv_sec < y->tv_sec ? -1 : 1;
    return x->tv_nsec < y->tv_nsec ? -1 : x->tv_nsec > y->tv_nsec;
}

// Whether `name` is kind-HASH.bin, or that with the end of a temporary name.
static bool is_of_kind(const char *name, const char *kind, bool *is_temporary)
{
    size_t n = strlen(kind);
    if (strncmp(name, kind, n) != 0 || name[n] != '-' || strspn(name + n + 1, "0123456789abcdef") != 16 ||
        strncmp(name + n + 17, ".bin", 4) != 0)
        return false;
    const char *end = name + n + 21;
    *is_temporary = end[0] == '.' && strlen(end) == 7;
    return end[0] == 0 || *is_temporary;
}

// The files of a kind, *n of them; removes stale temporary ones on the way.
static kept_file *list_kind(DIR *d, const char *kind, size_t *n)
{
    kept_file *files = NULL;
    size_t capacity = 0;
    *n = 0;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        struct stat st;
        bool is_temporary = false;
        if (strlen(entry->d_name) >= sizeof files->name || !is_of_kind(entry->d_name, kind, &is_temporary) ||
            fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
            continue;
        if (is_temporary) {
            if (st.st_mtim.tv_sec < time(NULL) - STALE_S) unlinkat(dirfd(d), entry->d_name, 0);
            continue;
        }
        if (*n == capacity) {
            capacity = 2 * capacity + 16;
            kept_file *more = realloc(files, capacity * sizeof *files);
            if (more == NULL) break;
            files = more;
        }
        files[*n] = (kept_file){.n_bytes = (uint64_t)st.st_size, .used = st.st_mtim};
        snprintf(files[*n].name, sizeof files->name, "%s", entry->d_name);
        (*n)++;
    }
    return files;
}

void cache_trim(const char *dir, const char *kind, uint64_t max_bytes)
{
    DIR *d = opendir(dir);
    if (d == NULL) return;
    size_t n;
    uint64_t total = 0;
    kept_file *files = list_kind(d, kind, &n);
    if (n > 1) qsort(files, n, sizeof *files, by_use);
    for (size_t i = 0; i < n; i++) total += files[i].n_bytes;
    for (size_t i = 0; i < n && total > max_bytes; i++) {
        unlinkat(dirfd(d), files[i].name, 0);
        total -= files[i].n_bytes;
    }
    free(files);
    closedir(d);
}

void cache_remove(const char *dir, const char *kind, const char *key)
{
    char *path = file_path(dir, kind, key);
    if (path != NULL) unlink(path);
    free(path);
}
