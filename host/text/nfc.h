// Unicode normalisation form C (UAX 15) by utf8proc's data, as of Unicode 9.
#ifndef TERN_TEXT_NFC_H
#define TERN_TEXT_NFC_H

#include <stdbool.h>
#include <stddef.h>

#include "normalizer.h"

// True if a glance shows that the text is in NFC: nothing in it beyond U+02FF, before which nothing combines.
bool nfc_is_plain(const char *text, size_t n);

// Appends the NFC of valid UTF-8. Time is O(n), memory 4 bytes for each character of the longest stretch that has to be
// seen at once.
tern_status nfc_append(const char *text, size_t n, text_buffer *out, tern_error *err);

#endif
