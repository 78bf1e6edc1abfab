// Finds special and user-defined tokens in text, before it is split into words (FORMATS.md 6.4).
//
// As in Hugging Face's tokenizers: from left to right, the longest of those that begin at a place; first over the raw
// text, then, for tokens that ask for it, over what the normaliser made of the text between. One difference: where
// special tokens are not wanted they do not take part, while there an unwanted one hides a user-defined token within
// it.
#ifndef TERN_TEXT_SPECIAL_H
#define TERN_TEXT_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "normalizer.h"
#include "vocab.h"

typedef struct special_pattern {
    const char *bytes;
    uint32_t n, id;
} special_pattern;

typedef struct special_set {
    special_pattern *patterns; // sorted by their bytes
    uint32_t n;
    char *normalized;  // the patterns' bytes, where they are not the tokens'
    bool starts[256];  // some pattern begins with this byte
    bool keeps_spaces; // U+0020 stands for a piece's U+2581 here, which is no white space
} special_set;

typedef struct special_kind {
    bool with_control;                 // control and unknown tokens too, not only user-defined ones
    const text_normalizer *normalizer; // NULL: the tokens of raw text. Else those that are looked for behind it
} special_kind;

// The vocabulary must outlive the set. MALFORMED: two tokens have the same text. Free after a failure too.
tern_status special_set_create(const vocab_table *vocab, special_kind kind, special_set *out, tern_error *err);
void special_set_free(special_set *set);

typedef struct special_match {
    size_t start, end; // with the white space the token takes along
    uint32_t id;
} special_match;

// The first match in text[from..n); of those that begin there, the longest. `text` begins at 0: what is before `from`
// tells whether a token stands alone. False if there is none.
bool special_set_find(const special_set *set, const vocab_table *vocab, const char *text, size_t from, size_t n,
                      special_match *out);

#endif
