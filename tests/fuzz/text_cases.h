// What the text targets share: alphabets that every vocabulary needs, fixed tokenizers, and the properties of encoding
// and decoding.
#ifndef TERN_TESTS_TEXT_CASES_H
#define TERN_TESTS_TEXT_CASES_H

#include <stdbool.h>
#include <stddef.h>

#include "tokenizer.h"

// JSON members without braces: the 256 tokens of the byte-level alphabet, ids 0 to 255; SentencePiece's <0x00> to
// <0xFF>, ids 3 to 258.
const char *text_byte_level_alphabet(void);
const char *text_byte_tokens(void);

// One of a few fixed tokenizers, by any number. None strips white space around tokens, so that text comes back whole,
// but for what normalisation changes: not at all in the first four (byte-level); NFC; one space in front and U+2581
// (SentencePiece).
#define N_TEXT_TOKENIZERS 6u
const tern_tokenizer *text_tokenizer(unsigned choice);
bool text_is_exact(unsigned choice);

// One text through a tokenizer of unknown origin, both ways: whatever its tokens are, nothing may go wrong.
void text_exercise(const tern_tokenizer *tokenizer);

bool text_is_control(const tern_tokenizer *tokenizer, tern_token id);
bool text_starts_with_bos(const tern_tokenizer *tokenizer, const char *text, size_t n);

// All ids pushed one by one, the pieces joined; each piece must be valid UTF-8. The caller frees it.
char *text_stream(const tern_tokenizer *tokenizer, const tern_token *ids, size_t n_ids, bool show_special, size_t *n);
// The ids' bytes, joined, are `text`: or, where encoding normalises, a text that encoding and decoding changes no more.
void text_require_decodes(const tern_tokenizer *tokenizer, bool is_exact, const tern_token *ids, size_t n_ids,
                          const char *text, size_t n);
// `text` is the ids' bytes, joined and then read as UTF-8 in the lossy way.
void text_require_lossy(const tern_tokenizer *tokenizer, const tern_token *ids, size_t n_ids, bool show_special,
                        const char *text, size_t n);

#endif
