#include "byte_map.h"

static bool stands_for_itself(unsigned c)
{
    return (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255);
}

// The byte written as U+0100 + index: 0..32, 127..160, 173. -1 if there is no such byte.
static int other_byte(unsigned index)
{
    if (index < 33) return (int)index;
    if (index < 67) return (int)(index - 33 + 127);
    return index == 67 ? 173 : -1;
}

bool byte_map_decode(const char *text, size_t n, char *out, size_t *n_out)
{
    size_t count = 0;
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)text[i];
        int byte = -1;
        if (c < 0x80) {
            byte = stands_for_itself(c) ? c : -1;
            i += 1;
        } else if (c < 0xe0 && n - i >= 2) { // two bytes of UTF-8 reach U+07FF, beyond the last mapped character
            unsigned point = (c & 0x1fu) << 6 | ((unsigned char)text[i + 1] & 0x3fu);
            byte = point >= 256 ? other_byte(point - 256) : stands_for_itself(point) ? (int)point : -1;
            i += 2;
        }
        if (byte < 0) return false;
        out[count++] = (char)(unsigned char)byte;
    }
    *n_out = count;
    return true;
}
