// What is done to text before it is cut into words: NFC, and the spaces of SentencePiece-style vocabularies.
#ifndef TERN_TEXT_NORMALIZER_H
#define TERN_TEXT_NORMALIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

// Text that grows. Starts as {0}; may hold nothing (data NULL).
typedef struct text_buffer {
    char *data;
    size_t n, capacity;
} text_buffer;

tern_status text_buffer_append(text_buffer *buffer, const char *text, size_t n, tern_error *err);
void text_buffer_free(text_buffer *buffer);

// In files U+2581 stands for the space in pieces, and text gets it in place of its spaces. Here both are U+0020, which
// is the same thing as long as it happens to all text and all pieces; it is shorter, and what pieces decode to.
typedef struct text_normalizer {
    bool nfc;
    bool prepends_space; // in front of text that is not empty
    bool maps_spaces;
} text_normalizer;

// *out is `text` itself, or the buffer's content. `text` is valid UTF-8; so is the result.
tern_status normalizer_apply(const text_normalizer *normalizer, const char *text, size_t n, text_buffer *buffer,
                             const char **out, size_t *n_out, tern_error *err);

// Appends `text` with U+2581 as U+0020.
tern_status normalizer_map_spaces(const char *text, size_t n, text_buffer *buffer, tern_error *err);

#endif
