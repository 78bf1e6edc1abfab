#include "error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

const char *tern_status_name(tern_status status)
{
    switch (status) {
#define X(name, number, sentence)                                                                                      \
    case TERN_##name: return #name;
        TERN_STATUS_LIST(X)
#undef X
    }
    return "UNKNOWN";
}

const char *tern_status_meaning(tern_status status)
{
    switch (status) {
#define X(name, number, sentence)                                                                                      \
    case TERN_##name: return sentence;
        TERN_STATUS_LIST(X)
#undef X
    }
    return "UNKNOWN";
}

// Length of the valid UTF-8 sequence at p (1..4), or 0; 0 also for the control characters U+0080 to U+009F.
static size_t utf8_sequence(const unsigned char *p)
{
    if (p[0] < 0x80) return 1;
    size_t n = p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    bool is_overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool is_surrogate = p[0] == 0xed && p[1] >= 0xa0;
    bool is_too_large = p[0] == 0xf4 && p[1] >= 0x90;
    bool is_control = p[0] == 0xc2 && p[1] < 0xa0;
    return is_overlong || is_surrogate || is_too_large || is_control ? 0 : n;
}

void error_make_printable(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p != 0;) {
        size_t n = utf8_sequence(p);
        if (n == 0 || *p < 0x20 || *p == 0x7f) {
            *p = '?';
            n = 1;
        }
        p += n;
    }
}

tern_status error_set(tern_error *err, tern_status status, const char *format, ...)
{
    if (err == NULL || err->status != TERN_OK) return status;
    err->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    error_make_printable(err->message);
    return status;
}

void error_prefix(tern_error *err, const char *format, ...)
{
    if (err == NULL || err->status == TERN_OK) return;
    char text[sizeof err->message];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text - 2, format, args);
    va_end(args);
    if (n < 0) return;
    size_t used = strlen(text); // what fitted
    text[used++] = ':';
    text[used++] = ' ';
    size_t n_old = strlen(err->message), room = sizeof err->message - 1 - used;
    if (n_old > room) n_old = room;
    memmove(err->message + used, err->message, n_old);
    memcpy(err->message, text, used);
    err->message[used + n_old] = 0;
    error_make_printable(err->message);
}

void error_clear(tern_error *err)
{
    if (err == NULL) return;
    err->status = TERN_OK;
    err->message[0] = 0;
}
