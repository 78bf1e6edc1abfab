// The whole loader over a Hugging Face directory. Input, with a NUL between: config.json, tokenizer.json,
// model.safetensors.index.json (these two may be empty: then there is none), the safetensors header without its length,
// the data. With an index the weights' file is called a.safetensors.
#include "fuzz.h"
#include "load.h"

static void write_or_remove(const char *name, const uint8_t *data, size_t n)
{
    if (n > 0) {
        load_write(name, data, n);
    } else {
        load_remove(name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *parts[4] = {data, data, data, data};
    size_t n[4] = {0};
    unsigned choice = load_choice(data, size);
    for (size_t i = 0; i < 4; i++) (void)next_part(&data, &size, &parts[i], &n[i]);
    load_write("config.json", parts[0], n[0]);
    write_or_remove("tokenizer.json", parts[1], n[1]);
    write_or_remove("model.safetensors.index.json", parts[2], n[2]);

    size_t n_weights = 8 + n[3] + size;
    uint8_t *weights = malloc(n_weights);
    REQUIRE(weights != NULL);
    for (size_t i = 0; i < 8; i++) weights[i] = (uint8_t)((uint64_t)n[3] >> (8 * i));
    if (n[3] > 0) memcpy(weights + 8, parts[3], n[3]);
    if (size > 0) memcpy(weights + 8 + n[3], data, size);
    load_write(n[2] > 0 ? "a.safetensors" : "model.safetensors", weights, n_weights);
    load_remove(n[2] > 0 ? "model.safetensors" : "a.safetensors");
    free(weights);
    load_everything(load_directory(), choice);
    return 0;
}
