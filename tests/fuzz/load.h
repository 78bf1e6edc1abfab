// What the loader targets share: a model opened from files, described, read row by row, planned, and, if small, put on
// the CPU and asked for one token.
#ifndef TERN_TESTS_FUZZ_LOAD_H
#define TERN_TESTS_FUZZ_LOAD_H

#include <stddef.h>
#include <stdint.h>

// `choice` sets the open options (activation form, I2_S layout) and whether the model is planned and loaded: one input
// in four, because asking for the machine's memory takes longer than everything else.
void load_everything(const char *path, unsigned choice);

// A directory of the program's own, in memory where the system has such; gone when the program ends.
const char *load_directory(void);
void load_write(const char *name, const uint8_t *data, size_t n);
void load_remove(const char *name);

// A choice that depends on every byte.
static inline unsigned load_choice(const uint8_t *data, size_t size)
{
    uint32_t hash = 2166136261u; // FNV-1a
    for (size_t i = 0; i < size; i++) hash = (hash ^ data[i]) * 16777619u;
    return hash >> 8 & 0xffff;
}

#endif
