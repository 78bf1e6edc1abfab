#include "unicode.h"

#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

utf8_step utf8_next(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80) return (utf8_step){UTF8_VALID, 1};
    size_t length = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (length == 0) return (utf8_step){UTF8_INVALID, 1};
    for (size_t i = 1; i < length; i++) {
        if (i == n) return (utf8_step){UTF8_INCOMPLETE, n};
        // The second byte alone decides about overlong forms, surrogates and the upper end.
        unsigned char low = 0x80, high = 0xbf;
        if (i == 1 && p[0] == 0xe0) low = 0xa0;
        if (i == 1 && p[0] == 0xed) high = 0x9f;
        if (i == 1 && p[0] == 0xf0) low = 0x90;
        if (i == 1 && p[0] == 0xf4) high = 0x8f;
        if (p[i] < low || p[i] > high) return (utf8_step){UTF8_INVALID, i};
    }
    return (utf8_step){UTF8_VALID, length};
}

bool utf8_validate(const char *text, size_t n, size_t *bad)
{
    size_t at = 0;
    while (at < n) {
        uint64_t eight;
        if (n - at >= sizeof eight) { // most text is ASCII
            memcpy(&eight, text + at, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                at += sizeof eight;
                continue;
            }
        }
        utf8_step step = utf8_next(text + at, n - at);
        if (step.kind != UTF8_VALID) {
            *bad = at;
            return false;
        }
        at += step.n;
    }
    return true;
}

// U+0009-000D, 0020 | 0085, 00A0 | 1680, 2000-200A, 2028, 2029, 202F, 205F, 3000.
size_t utf8_space_at_start(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    if (n >= 1 && ((p[0] >= 9 && p[0] <= 13) || p[0] == 0x20)) return 1;
    if (n >= 2 && p[0] == 0xc2 && (p[1] == 0x85 || p[1] == 0xa0)) return 2;
    if (n < 3) return 0;
    if (p[0] == 0xe1 && p[1] == 0x9a && p[2] == 0x80) return 3;
    if (p[0] == 0xe3 && p[1] == 0x80 && p[2] == 0x80) return 3;
    if (p[0] != 0xe2) return 0;
    if (p[1] == 0x80 && (p[2] <= 0x8a || p[2] == 0xa8 || p[2] == 0xa9 || p[2] == 0xaf)) return 3;
    return p[1] == 0x81 && p[2] == 0x9f ? 3 : 0;
}

size_t utf8_space_at_end(const char *text, size_t n)
{
    size_t start = n;
    while (start > 0 && n - start < 3) {
        start--;
        if (((unsigned char)text[start] & 0xc0) != 0x80) break; // the front of the last character
    }
    size_t length = start < n ? utf8_space_at_start(text + start, n - start) : 0;
    return length == n - start ? length : 0;
}

static bool is_word_character(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: // circled and squared letters count as alphabetic; the zero-width joiners
        return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
               (c >= 0x1f170 && c <= 0x1f189) || c == 0x200c || c == 0x200d;
    }
}

bool utf8_word_at_start(const char *text, size_t n)
{
    utf8proc_int32_t c;
    return n > 0 && utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &c) > 0 &&
           is_word_character(c);
}

bool utf8_word_at_end(const char *text, size_t n)
{
    size_t start = n;
    while (start > 0 && n - start < 4)
        if (((unsigned char)text[--start] & 0xc0) != 0x80) break;
    return utf8_word_at_start(text + start, n - start);
}
