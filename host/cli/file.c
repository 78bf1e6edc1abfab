// Texts in, files out.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

static tern_status read_all(int fd, const char *what, char **out, size_t *n_bytes, tern_error *err)
{
    size_t n = 0, capacity = 65536;
    char *text = malloc(capacity);
    while (text) {
        if (n + 1 == capacity) {
            char *larger = capacity <= SIZE_MAX / 4 ? realloc(text, capacity * 2) : NULL;
            if (!larger) break;
            text = larger;
            capacity *= 2;
        }
        ssize_t got = read(fd, text + n, capacity - 1 - n);
        if (got > 0) {
            n += (size_t)got;
        } else if (got == 0) {
            text[n] = 0;
            *out = text;
            *n_bytes = n;
            return TERN_OK;
        } else if (errno != EINTR || interrupt_seen()) {
            int error = errno;
            free(text);
            if (error == EINTR) return error_set(err, TERN_CANCELLED, "reading %s was interrupted", what);
            return error_set(err, TERN_IO, "reading %s: %s", what, strerror(error));
        }
    }
    free(text);
    return error_set(err, TERN_HOST_MEMORY, "reading %s: no memory after %zu bytes", what, n);
}

tern_status cli_read_file(const char *path, char **out, size_t *n_bytes, tern_error *err)
{
    if (strcmp(path, "-") == 0) return read_all(STDIN_FILENO, "standard input", out, n_bytes, err);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_set(err, TERN_IO, "cannot open '%s': %s", path, strerror(errno));
    tern_status status = read_all(fd, path, out, n_bytes, err);
    close(fd);
    return status;
}

tern_status cli_read_text(const opt_values *options, bool trim_newline, char **out, size_t *n_bytes, tern_error *err)
{
    const opt_value *prompt = &options->values[OPT_PROMPT], *file = &options->values[OPT_FILE];
    if (prompt->given && file->given)
        return error_set(err, TERN_INVALID_ARGUMENT, "both -p and -f were given; one text is expected");
    if (!prompt->given && !file->given)
        return error_set(err, TERN_INVALID_ARGUMENT, "no text: give -p TEXT, or -p - to read standard input%s",
                         opt_find(options->command, "-f", 2) ? ", or -f FILE" : "");
    if (prompt->given && strcmp(prompt->text, "-") != 0) {
        size_t n = strlen(prompt->text);
        char *copy = malloc(n + 1);
        if (!copy) return error_set(err, TERN_HOST_MEMORY, "no memory for a prompt of %zu bytes", n);
        memcpy(copy, prompt->text, n + 1);
        *out = copy;
        *n_bytes = n;
        return TERN_OK;
    }
    tern_status status = cli_read_file(file->given ? file->text : "-", out, n_bytes, err);
    if (status != TERN_OK || !trim_newline) return status;
    if (*n_bytes > 0 && (*out)[*n_bytes - 1] == '\n') --*n_bytes;
    if (*n_bytes > 0 && (*out)[*n_bytes - 1] == '\r') --*n_bytes;
    (*out)[*n_bytes] = 0;
    return TERN_OK;
}

tern_status cli_out_open(cli_out_file *out, const char *path, tern_error *err)
{
    *out = (cli_out_file){0};
    struct stat facts;
    if (stat(path, &facts) == 0 && !S_ISREG(facts.st_mode))
        return error_set(err, TERN_INVALID_ARGUMENT, "'%s' exists and is not a regular file", path);
    size_t n = strlen(path) + 32;
    out->path = strdup(path);
    out->temporary = malloc(n);
    if (!out->path || !out->temporary) {
        cli_out_discard(out);
        return error_set(err, TERN_HOST_MEMORY, "no memory for the name of '%s'", path);
    }
    snprintf(out->temporary, n, "%s.tmp%ld", path, (long)getpid());
    int fd = open(out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int error = errno;
    out->file = fd < 0 ? NULL : fdopen(fd, "wb");
    if (out->file) return TERN_OK;
    if (fd >= 0) {
        error = errno;
        close(fd);
        unlink(out->temporary);
    }
    cli_out_discard(out);
    return error_set(err, TERN_BAD_STATE, "cannot create '%s': %s", path, strerror(error));
}

tern_status cli_out_commit(cli_out_file *out, tern_error *err)
{
    bool is_written = !ferror(out->file) && fflush(out->file) == 0;
    int error = errno;
    if (fclose(out->file) != 0 && is_written) {
        is_written = false;
        error = errno;
    }
    out->file = NULL;
    if (is_written && rename(out->temporary, out->path) != 0) {
        is_written = false;
        error = errno;
    }
    tern_status status = TERN_OK;
    if (!is_written) {
        unlink(out->temporary);
        status = error_set(err, TERN_BAD_STATE, "writing '%s': %s", out->path, strerror(error));
    }
    cli_out_discard(out);
    return status;
}

void cli_out_discard(cli_out_file *out)
{
    if (out->file) {
        fclose(out->file);
        unlink(out->temporary);
    }
    free(out->path);
    free(out->temporary);
    *out = (cli_out_file){0};
}
