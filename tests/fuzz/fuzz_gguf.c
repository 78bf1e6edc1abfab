// The GGUF parser, its typed getters over every key, and the hyper-parameters read from it.
#include "fuzz.h"
#include "gguf.h"
#include "hparams.h"

static void read_value(const gguf_file *file, const gguf_value *value, const uint8_t *data, size_t size)
{
    char key[256];
    tern_error err = {0};
    uint32_t u;
    float f;
    bool b;
    gguf_string s;
    REQUIRE(value->n_bytes == 0 || (value->data >= data && value->data + value->n_bytes <= data + size));
    snprintf(key, sizeof key, "%.*s", (int)(value->key.n < sizeof key ? value->key.n : sizeof key - 1),
             value->key.data);
    (void)gguf_get_u32(file, key, &u, NULL);
    (void)gguf_get_f32(file, key, &f, NULL);
    (void)gguf_get_bool(file, key, &b, NULL);
    (void)gguf_get_string(file, key, &s, NULL);
    if (value->type != GGUF_ARRAY || value->count > 4096) return;
    size_t n = (size_t)value->count;
    gguf_string *strings = calloc(n + 1, sizeof *strings);
    REQUIRE(strings != NULL);
    tern_status status = gguf_array_strings(file, key, strings, n, &err);
    for (size_t i = 0; status == TERN_OK && i < n; i++)
        REQUIRE(strings[i].n == 0 || ((const uint8_t *)strings[i].data >= data &&
                                      (const uint8_t *)strings[i].data + strings[i].n <= data + size));
    free(strings);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    uint8_t *data = (uint8_t *)copy_text(input, size);
    gguf_file file;
    tern_error err = {0};
    tern_status status = gguf_parse(data, size, &file, &err);
    require_answer(status, &err);
    if (status == TERN_OK) {
        for (size_t i = 0; i < file.n_values; i++) read_value(&file, &file.values[i], data, size);
        for (size_t i = 0; i < file.tensors.n; i++) {
            const tensor *t = &file.tensors.items[i];
            REQUIRE(t->data >= data && t->n_bytes <= (size_t)(data + size - t->data));
            REQUIRE(tensor_set_find(&file.tensors, t->name) == t);
            float first;
            (void)tensor_to_floats(t, 1, &first);
        }
        hparams hp;
        status = hparams_from_gguf(&file, &hp, &err);
        require_answer(status, &err);
        if (status == TERN_OK) REQUIRE(hparams_validate(&hp, NULL) == TERN_OK);
    }
    gguf_free(&file);
    free(data);
    return 0;
}
