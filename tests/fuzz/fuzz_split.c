// The whole loader over a GGUF model in two files. Input: the first file, then from the last "GGUF" on the second.
#include "fuzz.h"
#include "load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[600];
    size_t cut = size;
    for (size_t i = 4; i + 4 <= size; i++)
        if (memcmp(data + i, "GGUF", 4) == 0) cut = i;
    load_write("m-00001-of-00002.gguf", data, cut);
    load_write("m-00002-of-00002.gguf", data + cut, size - cut);
    snprintf(path, sizeof path, "%s/m-00001-of-00002.gguf", load_directory());
    load_everything(path, load_choice(data, size));
    return 0;
}
