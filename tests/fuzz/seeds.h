// What the seed generators share: tensor types, models with any of them, tokenizer keys.
#ifndef TERN_TESTS_FUZZ_SEEDS_H
#define TERN_TESTS_FUZZ_SEEDS_H

#include "build_gguf.h"

// Tensor types, and the bytes of a block of them; `fill` makes codes and scales that are valid.
typedef struct seed_type {
    const char *name;
    uint32_t id, block, block_bytes;
    uint8_t fill;
} seed_type;

#define N_SEED_TYPES 18
extern const seed_type seed_types[N_SEED_TYPES];
const seed_type *seed_type_of(uint32_t id, bool is_wide_block);

// In `fill` of a float tensor: ternary values, with the tensor's `value` and halves of it as scales, by this rule.
typedef enum seed_pattern {
    PATTERN_TENSOR,       // one scale
    PATTERN_ZEROS,        // no scale
    PATTERN_RANGES,       // one per range of rows, the first rows 0
    PATTERN_ROWS,         // one per row
    PATTERN_COLUMNS,      // one per half of the columns
    PATTERN_GROUPS,       // one per row and 128 columns
    PATTERN_STRETCHES,    // one per row and 64 columns
    PATTERN_NOT_LAST_ROW, // whose values are not ternary
    N_PATTERNS,
} seed_pattern;

// Metadata that a tiny_model cannot hold: keys with their values, as in the file.
typedef struct seed_keys {
    bytes keys;
    uint32_t n;
} seed_keys;

// As tiny_write, for every type; `more` may be NULL. Tensors whose `fill` is TINY_FILL get that of their type.
void write_model(const tiny_model *m, const seed_keys *more, bool is_wide_block, bytes *b);

void write_seed(const char *target, const char *name, const void *data, size_t n);
void put_string_array(bytes *b, const char *key, const char *const *strings, size_t n);

#define SEED_BYTE_LEVEL_TOKENS 260
#define SEED_PIECE_TOKENS      264
void put_byte_level_keys(seed_keys *k, const char *pre); // pre: NULL for none
void put_piece_keys(seed_keys *k);

void load_seeds(void); // of the targets load and split

#endif
