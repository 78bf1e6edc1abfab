// What the loader targets share: a model opened from files, described, read row by row, planned, and, if small, put on
// the CPU and asked for one token.
#ifndef TERN_TESTS_FUZZ_LOAD_H
#define TERN_TESTS_FUZZ_LOAD_H

#include <stddef.h>
#include <stdint.h>

// What `choice` sets, each part a remainder of its own: the activation form (4), the I2_S layout (3), what the plan
// holds matrices in (LOAD_FORMS), the KV types (4 and 4), the ternary layout (2).
#define LOAD_FORMS 5 // the stored types, with the head as stored, F16, INT8, INT4; everything F16
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
