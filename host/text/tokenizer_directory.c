// The tokenizer files of a Hugging Face directory.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "file_map.h"
#include "tokenizer.h"

#define MAX_FILE_BYTES ((size_t)64 << 20)

// *out stays NULL if there is no such file.
static tern_status read_file(const char *directory, const char *name, char **out, tern_error *err)
{
    size_t n_path = strlen(directory) + strlen(name) + 2, n;
    char *path = malloc(n_path);
    if (path == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a path");
    snprintf(path, n_path, "%s/%s", directory, name);
    struct stat info;
    tern_status status = TERN_OK;
    if (stat(path, &info) != 0) {
        if (errno != ENOENT && errno != ENOTDIR) status = error_set(err, TERN_IO, "%s: %s", path, strerror(errno));
    } else {
        status = file_read_text(path, MAX_FILE_BYTES, out, &n, err);
        // The JSON functions take strings; a NUL must not hide what follows it.
        if (status == TERN_OK && strlen(*out) != n)
            status = error_set(err, TERN_MALFORMED, "%s contains a NUL byte", path);
    }
    free(path);
    return status;
}

static tern_status explain_absence(const char *directory, tern_error *err)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/tokenizer.model", directory);
    struct stat info;
    if (n > 0 && (size_t)n < sizeof path && stat(path, &info) == 0)
        return error_set(err, TERN_UNSUPPORTED,
                         "%s has only SentencePiece's tokenizer.model, not tokenizer.json; transformers writes one: "
                         "AutoTokenizer.from_pretrained(DIR, use_fast=True).save_pretrained(DIR)",
                         directory);
    return error_set(err, TERN_NOT_FOUND, "%s has no tokenizer.json", directory);
}

tern_status tokenizer_from_directory(const char *directory, uint32_t n_vocab, tern_tokenizer **out, tern_error *err)
{
    char *tokenizer = NULL, *config = NULL, *generation = NULL;
    tern_status status = read_file(directory, "tokenizer.json", &tokenizer, err);
    if (status == TERN_OK && tokenizer == NULL) status = explain_absence(directory, err);
    if (status == TERN_OK) status = read_file(directory, "tokenizer_config.json", &config, err);
    if (status == TERN_OK) status = read_file(directory, "generation_config.json", &generation, err);
    if (status == TERN_OK) {
        status = tokenizer_from_json(tokenizer, config, generation, n_vocab, out, err);
        if (status != TERN_OK) error_prefix(err, "%s", directory);
    }
    free(tokenizer);
    free(config);
    free(generation);
    return status;
}
