// The byte-level alphabet of GPT-2: each byte is written as one printable character, so that vocabularies are plain
// text (FORMATS.md 6.1). Bytes 33..126, 161..172 and 174..255 stand for themselves; the other 68, in order, are
// U+0100, U+0101, ...
#ifndef TERN_TEXT_BYTE_MAP_H
#define TERN_TEXT_BYTE_MAP_H

#include <stdbool.h>
#include <stddef.h>

// Turns mapped text (valid UTF-8) back into bytes; `out` has room for n. False if a character belongs to no byte.
bool byte_map_decode(const char *text, size_t n, char *out, size_t *n_out);

#endif
