// Finds special and user-defined tokens in raw text, before it is split into words (formats.md 6.4).
//
// As in Hugging Face's tokenizers: from left to right, the longest of those that begin at a place. One difference: where
// special tokens are not wanted they do not take part, while there an unwanted one hides a user-defined token within it.
#ifndef TERN_TEXT_SPECIAL_H
#define TERN_TEXT_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vocab.h"

typedef struct special_set {
    uint32_t *ids; // sorted by the tokens' bytes
    uint32_t n;
    bool starts[256]; // some token begins with this byte
} special_set;

// User-defined tokens, and with `with_control` control and unknown tokens too. The vocabulary must outlive the set.
// MALFORMED: two of them have the same text. Free after a failure too.
tern_status special_set_create(const vocab_table *vocab, bool with_control, special_set *out, tern_error *err);
void special_set_free(special_set *set);

typedef struct special_match {
    size_t start, end; // with the white space the token takes along
    uint32_t id;
} special_match;

// The first match in text[from..n); of those that begin there, the longest. False if there is none.
bool special_set_find(const special_set *set, const vocab_table *vocab, const char *text, size_t from, size_t n,
                      special_match *out);

#endif
