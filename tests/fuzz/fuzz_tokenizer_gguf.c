// The tokenizer.ggml.* keys of a GGUF file to a tokenizer, and one text through it.
#include "fuzz.h"
#include "text_cases.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    uint8_t *data = (uint8_t *)copy_text(input, size);
    gguf_file file;
    tern_error err = {0};
    tern_tokenizer *tokenizer = NULL;
    tern_status status = gguf_parse(data, size, &file, &err);
    if (status == TERN_OK)
        status = tokenizer_from_gguf(&file, size % 2 != 0 ? "llama" : "bitnet-b1.58", 1024, &tokenizer, &err);
    require_answer(status, &err);
    gguf_free(&file); // the tokenizer keeps nothing of the file
    free(data);
    REQUIRE((status == TERN_OK) == (tokenizer != NULL));
    if (status == TERN_OK) text_exercise(tokenizer);
    tokenizer_free(tokenizer);
    return 0;
}
