// What tests that write files share: a directory that is emptied before each test, and the test data.
#ifndef TERN_TESTS_SCRATCH_H
#define TERN_TESTS_SCRATCH_H

#include <dirent.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "write_file.h"

#ifndef TERN_TEST_DATA_DEFAULT
#define TERN_TEST_DATA_DEFAULT ""
#endif

static char scratch[64]; // a directory of the program's own

static inline const char *scratch_path(const char *name)
{
    static char path[4][256];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", scratch, name);
    return p;
}

static inline void remove_files(const char *directory)
{
    DIR *d = opendir(directory);
    if (d == NULL) return;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] != '.') unlink(path);
    }
    closedir(d);
}

static inline int make_scratch(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(scratch, sizeof scratch, "%.40s/tern-XXXXXX", base != NULL ? base : "/tmp");
    return mkdtemp(scratch) == NULL;
}

static inline int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    return remove(path);
}

static inline int drop_scratch(void **state) // with folders that tests made in it
{
    (void)state;
    return nftw(scratch, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static inline int clean_scratch(void **state) // a failed test must not fail the next
{
    (void)state;
    remove_files(scratch);
    return 0;
}

static inline size_t count_files(void)
{
    size_t n = 0;
    DIR *d = opendir(scratch);
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) n += entry->d_name[0] != '.';
    closedir(d);
    return n;
}

static inline uint8_t *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *data = malloc(*n + 1);
    assert_int_equal(fread(data, 1, *n, f), *n);
    fclose(f);
    return data;
}

static inline bool file_is(const char *path, const void *data, size_t n)
{
    size_t have;
    uint8_t *stored = read_file(path, &have);
    bool equal = have == n && memcmp(stored, data, n) == 0;
    free(stored);
    return equal;
}

static inline void assert_ok(tern_status status, const tern_error *err)
{
    if (status != TERN_OK) fail_msg("%s: %s", tern_status_name(status), err->message);
}

static inline const char *data_path(const char *name)
{
    static char path[512];
    const char *base = getenv("TERN_TEST_DATA");
    snprintf(path, sizeof path, "%s/%s", base != NULL ? base : TERN_TEST_DATA_DEFAULT, name);
    if (access(path, R_OK) == 0) return path;
    print_message("[ SKIP     ] test data %s is not here\n", path);
    skip();
    return NULL;
}

#endif
