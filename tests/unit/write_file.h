// A whole file, or the end of the program: for tests and for the makers of their inputs.
#ifndef TERN_TESTS_WRITE_FILE_H
#define TERN_TESTS_WRITE_FILE_H

#include <stdio.h>
#include <stdlib.h>

static inline void write_file(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, n, f) != n || fclose(f) != 0) {
        fprintf(stderr, "cannot write %s\n", path);
        abort();
    }
}

#endif
