// UTF-8 as Unicode defines it (no overlong forms, no surrogates, nothing above U+10FFFF), and the classes \s and \w.
#ifndef TERN_TEXT_UNICODE_H
#define TERN_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum utf8_kind { UTF8_VALID, UTF8_INVALID, UTF8_INCOMPLETE } utf8_kind;

typedef struct utf8_step {
    utf8_kind kind;
    size_t n; // bytes this step takes, >= 1
} utf8_step;

// Looks at the front of text[0..n), n >= 1. INVALID takes the maximal subpart, which a lossy decoder replaces by one
// U+FFFD (Unicode 3.9, as Rust's from_utf8_lossy); INCOMPLETE takes all n bytes: more input may complete them.
utf8_step utf8_next(const char *text, size_t n);

// True if all of text is valid; otherwise *bad is the offset of the first byte that is not.
bool utf8_validate(const char *text, size_t n, size_t *bad);

// Bytes of the White_Space character at the front (or at the end) of valid UTF-8; 0 if there is none.
size_t utf8_space_at_start(const char *text, size_t n);
size_t utf8_space_at_end(const char *text, size_t n);

// True if valid UTF-8 begins (ends) with a character of words: letters, marks, decimal and letter-like numbers,
// connecting punctuation, joiners (UTS 18, as Rust's regex).
bool utf8_word_at_start(const char *text, size_t n);
bool utf8_word_at_end(const char *text, size_t n);

#endif
