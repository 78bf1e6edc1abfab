// Read-only mapping of regular files, and reading of small text files.
#include "file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

// Opens without blocking, so that a pipe in the place of a file is seen by fstat and not waited for.
static tern_status open_regular(const char *path, int *out, size_t *n_bytes, struct stat *facts, tern_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return error_set(err, TERN_IO, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat st = {0};
    tern_status status = TERN_OK;
    if (fstat(fd, &st) != 0)
        status = error_set(err, TERN_IO, "%s: cannot be examined: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = error_set(err, TERN_IO, "%s: is not a regular file", path);
    else if (st.st_size < 0 || !check_size((uint64_t)st.st_size, n_bytes))
        status = error_set(err, TERN_LIMIT, "%s: is too large to be mapped", path);
    *facts = st;
    if (status == TERN_OK)
        *out = fd;
    else
        close(fd);
    return status;
}

static uint64_t in_ns(struct timespec t) { return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec; }

static file_identity identity_of(const struct stat *st)
{
    return (file_identity){st->st_dev, st->st_ino, in_ns(st->st_mtim), in_ns(st->st_ctim)};
}

tern_status file_map_open(const char *path, file_map *out, tern_error *err)
{
    int fd = -1;
    size_t size = 0;
    struct stat st;
    tern_status status = open_regular(path, &fd, &size, &st, err);
    if (status != TERN_OK) return status;
    void *data = NULL;
    if (size > 0) {
        data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = errno == ENOMEM
                         ? error_set(err, TERN_HOST_MEMORY,
                                     "%s: mapping it takes %zu bytes of address space, which a limit (ulimit -v) does "
                                     "not leave; raise the limit or choose a smaller model",
                                     path, size)
                         : error_set(err, TERN_IO, "%s: mapping %zu bytes failed: %s", path, size, strerror(errno));
            close(fd);
            return status;
        }
    }
    close(fd);
    *out = (file_map){.data = data, .size = size, .path = strdup(path), .identity = identity_of(&st)};
    if (out->path != NULL) return TERN_OK;
    file_map_close(out);
    return error_set(err, TERN_HOST_MEMORY, "%s: no memory for the path", path);
}

void file_map_close(file_map *map)
{
    if (map->data != NULL) munmap((void *)(uintptr_t)map->data, map->size);
    free(map->path);
    *map = (file_map){0};
}

bool file_map_is_current(const file_map *map)
{
    struct stat st;
    if (stat(map->path, &st) != 0 || (uint64_t)st.st_size != map->size) return false;
    file_identity now = identity_of(&st);
    return memcmp(&now, &map->identity, sizeof now) == 0;
}

tern_status file_read_text(const char *path, size_t max_bytes, char **out, size_t *n_bytes, tern_error *err)
{
    int fd = -1;
    size_t size = 0;
    struct stat st;
    tern_status status = open_regular(path, &fd, &size, &st, err);
    if (status != TERN_OK) return status;
    char *text = NULL;
    size_t n = 0;
    if (size > max_bytes) {
        status = error_set(err, TERN_LIMIT, "%s: %zu bytes, at most %zu are accepted", path, size, max_bytes);
        goto done;
    }
    text = malloc(size + 1);
    if (text == NULL) {
        status = error_set(err, TERN_HOST_MEMORY, "%s: no memory for %zu bytes", path, size);
        goto done;
    }
    while (n < size) {
        ssize_t got = read(fd, text + n, size - n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            status = error_set(err, TERN_IO, "%s: reading failed: %s", path, strerror(errno));
            goto done;
        }
        if (got == 0) break;
        n += (size_t)got;
    }
    text[n] = 0;
    *out = text;
    *n_bytes = n;
    text = NULL;
done:
    free(text);
    close(fd);
    return status;
}
