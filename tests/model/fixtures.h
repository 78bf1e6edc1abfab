// The models with independent expected results (see the README of the fixtures): folder, file in it, and what the
// activations must be by default.
#ifndef TERN_TESTS_FIXTURES_H
#define TERN_TESTS_FIXTURES_H

#include <stdbool.h>

typedef struct fixture {
    const char *name, *file, *act;
    bool is_weight_only; // trained with float activations: the two-term split by default, floats on demand
} fixture;

#define N_FIXTURES (sizeof fixtures / sizeof fixtures[0])
static const fixture fixtures[] = {
    {"hf-bitnet-packed", "", "int8", false},
    {"hf-bitnet-master", "", "int8", false},
    {"hf-1bitllm", "", "int8", false},
    {"hf-llama-bitlinear", "", "int8", false},
    {"hf-llama-dense", "", "none", false},
    {"hf-trilm", "", "int8x2", true},
    {"gguf-bitnet-i2s-f16", "model.gguf", "int8", false},
    {"gguf-bitnet-tq2-q6k", "model.gguf", "int8", false},
    {"gguf-bitnet-tq1-q4k", "model.gguf", "int8", false},
    {"gguf-bitnet-iq2bn-q8", "model.gguf", "int8", false},
    {"gguf-bitnet-iq1bn-bf16", "model.gguf", "int8", false},
    {"gguf-bitnet-f16-q4_0", "model.gguf", "int8", false},
    {"gguf-bitnet-mixed-split", "model-00001-of-00003.gguf", "int8", false},
    {"gguf-llama-i2s", "model.gguf", "int8", false},
    {"gguf-llama-tq2", "model.gguf", "int8", false},
    {"gguf-vocab-llama2", "model.gguf", "int8", false},
    {"gguf-vocab-llama3", "model.gguf", "int8", false},
    {"bonsai-q2-g64", "model.gguf", "int8x2", true},
    {"bonsai-q2-g128", "model.gguf", "int8x2", true},
    {"bonsai-pq2", "model.gguf", "int8x2", true},
    {"bonsai-ptq1", "model.gguf", "int8x2", true},
    {"bonsai-unpacked", "", "int8x2", true},
};

#endif
