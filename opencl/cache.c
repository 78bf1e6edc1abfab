// Compiled programs on disk. A file is: magic, version, length of the key, length of the binary, checksum of both, the
// key, the binary. The name is a hash of the key, and the key inside is compared whole, so that neither a collision nor
// a stale or damaged file is taken for the program asked for.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "opencl.h"

#define MAGIC      0x70634354u // "TCcp"
#define VERSION    1u
#define MAX_BINARY ((uint64_t)256 << 20)

typedef struct header {
    uint32_t magic, version;
    uint64_t key_bytes, binary_bytes, checksum;
} header;

// FNV-1a, 64 bits.
static uint64_t hash(uint64_t h, const void *data, size_t n_bytes)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < n_bytes; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

#define HASH_START 0xcbf29ce484222325u

static bool file_name(const char *dir, const char *key, char *out, size_t n_bytes)
{
    int n = snprintf(out, n_bytes, "%s/opencl-%016llx.bin", dir,
                     (unsigned long long)hash(HASH_START, key, strlen(key)));
    return n > 0 && (size_t)n < n_bytes;
}

static bool read_all(FILE *f, const char *key, uint8_t **binary, size_t *n_bytes)
{
    header h;
    size_t key_bytes = strlen(key);
    if (fread(&h, sizeof h, 1, f) != 1 || h.magic != MAGIC || h.version != VERSION || h.key_bytes != key_bytes ||
        h.binary_bytes == 0 || h.binary_bytes > MAX_BINARY)
        return false;
    char *stored = malloc(key_bytes + 1);
    uint8_t *data = malloc((size_t)h.binary_bytes);
    bool ok = stored != NULL && data != NULL && fread(stored, 1, key_bytes, f) == key_bytes &&
              memcmp(stored, key, key_bytes) == 0 && fread(data, 1, (size_t)h.binary_bytes, f) == h.binary_bytes &&
              fgetc(f) == EOF && hash(hash(HASH_START, key, key_bytes), data, (size_t)h.binary_bytes) == h.checksum;
    free(stored);
    if (!ok) {
        free(data);
        return false;
    }
    *binary = data;
    *n_bytes = (size_t)h.binary_bytes;
    return true;
}

bool opencl_cache_read(const char *dir, const char *key, uint8_t **binary, size_t *n_bytes)
{
    char path[640];
    if (dir[0] == 0 || !file_name(dir, key, path, sizeof path)) return false;
    FILE *f = fopen(path, "rb");
    if (f == NULL) return false;
    bool ok = read_all(f, key, binary, n_bytes);
    fclose(f);
    return ok;
}

// Makes dir and its parents.
static bool make_directory(const char *dir)
{
    char path[640];
    size_t n = strlen(dir);
    if (n >= sizeof path) return false;
    memcpy(path, dir, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0) continue;
        char separator = path[i];
        path[i] = 0;
        if (mkdir(path, 0700) != 0 && errno != EEXIST) return false;
        path[i] = separator;
    }
    return true;
}

void opencl_cache_write(const char *dir, const char *key, const uint8_t *binary, size_t n_bytes)
{
    char path[640], temporary[680];
    if (dir[0] == 0 || n_bytes == 0 || n_bytes > MAX_BINARY || !file_name(dir, key, path, sizeof path) ||
        !make_directory(dir))
        return;
    snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    int fd = mkstemp(temporary);
    if (fd < 0) return;
    FILE *f = fdopen(fd, "wb");
    if (f == NULL) {
        close(fd);
        unlink(temporary);
        return;
    }
    size_t key_bytes = strlen(key);
    header h = {MAGIC, VERSION, key_bytes, n_bytes, hash(hash(HASH_START, key, key_bytes), binary, n_bytes)};
    bool ok = fwrite(&h, sizeof h, 1, f) == 1 && fwrite(key, 1, key_bytes, f) == key_bytes &&
              fwrite(binary, 1, n_bytes, f) == n_bytes;
    ok = fclose(f) == 0 && ok;
    if (!ok || rename(temporary, path) != 0) unlink(temporary);
}
