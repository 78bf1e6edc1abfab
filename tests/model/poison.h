// A copy of the story model in which single values are replaced, so that evaluation meets something not finite.
#ifndef TERN_TESTS_POISON_H
#define TERN_TESTS_POISON_H

#include <unistd.h>

#include "support.h"

// One BF16 value of the model.
typedef struct poison {
    char tensor[80];
    size_t element;
    uint16_t value;
} poison;

static const char *const poisoned_files[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                             "model.safetensors"};
#define N_POISONED_FILES (sizeof poisoned_files / sizeof poisoned_files[0])

static inline void poison_weights(unsigned char *bytes, const poison *what, size_t n_what)
{
    uint64_t n_header;
    memcpy(&n_header, bytes, 8);
    json_t *header = json_loadb((const char *)bytes + 8, (size_t)n_header, 0, NULL);
    for (size_t i = 0; i < n_what; i++) {
        json_t *found = json_object_get(header, what[i].tensor);
        assert_string_equal(json_string_value(json_object_get(found, "dtype")), "BF16");
        json_int_t begin = json_integer_value(json_array_get(json_object_get(found, "data_offsets"), 0));
        memcpy(bytes + 8 + n_header + begin + 2 * what[i].element, &what[i].value, 2);
    }
    json_decref(header);
}

static inline void write_poisoned(const char *directory, const poison *what, size_t n_what)
{
    char path[512];
    for (size_t f = 0; f < N_POISONED_FILES; f++) {
        snprintf(path, sizeof path, "%s/models/stories/%s", TERN_SOURCE_DIR, poisoned_files[f]);
        FILE *from = fopen(path, "rb");
        assert_non_null(from);
        static unsigned char bytes[8 << 20];
        size_t n = fread(bytes, 1, sizeof bytes, from);
        fclose(from);
        if (strcmp(poisoned_files[f], "model.safetensors") == 0) poison_weights(bytes, what, n_what);
        snprintf(path, sizeof path, "%s/%s", directory, poisoned_files[f]);
        FILE *to = fopen(path, "wb");
        assert_non_null(to);
        assert_int_equal(fwrite(bytes, 1, n, to), n);
        fclose(to);
    }
}

static inline void remove_poisoned(const char *directory)
{
    char path[512];
    for (size_t f = 0; f < N_POISONED_FILES; f++) {
        snprintf(path, sizeof path, "%s/%s", directory, poisoned_files[f]);
        remove(path);
    }
    rmdir(directory);
}

#endif
