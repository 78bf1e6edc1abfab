#include "npy.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "error.h"

static tern_status write_bytes(FILE *file, const void *data, size_t n_bytes, tern_error *err)
{
    errno = 0;
    if (fwrite(data, 1, n_bytes, file) == n_bytes) return TERN_OK;
    return error_set(err, TERN_IO, "writing a NumPy file: %s", strerror(errno));
}

tern_status npy_write_header(FILE *file, uint64_t n_rows, uint64_t n_cols, tern_error *err)
{
    // Magic and version (8 bytes), length of the rest (2), a Python literal padded so that the data is 64-byte aligned.
    enum { HEADER = 128, PREFIX = 10 };
    char header[HEADER];
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = HEADER - PREFIX;
    header[9] = 0;
    const uint16_t probe = 1;
    char order = *(const unsigned char *)&probe == 1 ? '<' : '>'; // rows are written as they lie in memory
    int n = snprintf(header + PREFIX, HEADER - PREFIX,
                     "{'descr': '%cf4', 'fortran_order': False, 'shape': (%" PRIu64 ", %" PRIu64 "), }", order, n_rows,
                     n_cols);
    header[PREFIX + n] = ' '; // snprintf's NUL; 54 + 2 * 20 characters at the most, so it fits
    header[HEADER - 1] = '\n';
    return write_bytes(file, header, sizeof header, err);
}

tern_status npy_write_row(FILE *file, const float *row, size_t n_cols, tern_error *err)
{
    return write_bytes(file, row, n_cols * sizeof *row, err);
}
