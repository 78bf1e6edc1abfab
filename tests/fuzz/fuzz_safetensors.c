// The safetensors parser. Input: the JSON header, a NUL, the data; the length in front is put there by the target,
// because a mutation of the text would otherwise nearly always end at the length. The input is also parsed as it
// stands.
#include "fuzz.h"
#include "safetensors.h"

static void parse(const uint8_t *data, size_t size)
{
    tensor_set set = {0};
    tern_error err = {0};
    tern_status status = safetensors_parse(data, size, &set, &err);
    require_answer(status, &err);
    for (size_t i = 0; status == TERN_OK && i < set.n; i++) {
        const tensor *t = &set.items[i];
        REQUIRE(t->data >= data && t->n_bytes <= (size_t)(data + size - t->data));
        REQUIRE(t->n_dims <= 4 && tensor_set_find(&set, t->name) == t);
        float first;
        (void)tensor_to_floats(t, 1, &first);
    }
    tensor_set_free(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    uint8_t *exact = (uint8_t *)copy_text(input, size);
    parse(exact, size);
    free(exact);

    const uint8_t *header = input, *rest = input;
    size_t n_header = 0, n_rest = size;
    (void)next_part(&rest, &n_rest, &header, &n_header);
    size_t n = 8 + n_header + n_rest;
    uint8_t *whole = malloc(n);
    REQUIRE(whole != NULL);
    for (size_t i = 0; i < 8; i++) whole[i] = (uint8_t)((uint64_t)n_header >> (8 * i));
    if (n_header > 0) memcpy(whole + 8, header, n_header);
    if (n_rest > 0) memcpy(whole + 8 + n_header, rest, n_rest);
    parse(whole, n);
    free(whole);
    return 0;
}
