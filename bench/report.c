// Text that grows; see report.h.
#include "report.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(report *r, size_t n_more)
{
    if (r->is_out_of_memory) return false;
    if (r->capacity - r->n > n_more) return true; // one byte stays for the NUL
    size_t capacity = r->capacity < 256 ? 256 : r->capacity;
    while (capacity - r->n <= n_more) {
        if (capacity > SIZE_MAX / 4) break;
        capacity *= 2;
    }
    char *text = capacity - r->n > n_more ? realloc(r->text, capacity) : NULL;
    if (text == NULL) {
        r->is_out_of_memory = true;
        return false;
    }
    r->text = text;
    r->capacity = capacity;
    return true;
}

static void add_bytes(report *r, const char *bytes, size_t n)
{
    if (!reserve(r, n)) return;
    memcpy(r->text + r->n, bytes, n);
    r->n += n;
    r->text[r->n] = 0;
}

void report_add(report *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0 || !reserve(r, (size_t)n)) {
        r->is_out_of_memory = true;
        return;
    }
    va_start(args, format);
    vsnprintf(r->text + r->n, (size_t)n + 1, format, args);
    va_end(args);
    r->n += (size_t)n;
}

void report_add_csv(report *r, const char *field)
{
    if (strpbrk(field, ",\"\r\n") == NULL) {
        add_bytes(r, field, strlen(field));
        return;
    }
    add_bytes(r, "\"", 1);
    for (const char *p = field; *p != 0; p++) {
        if (*p == '"') add_bytes(r, "\"", 1);
        add_bytes(r, p, 1);
    }
    add_bytes(r, "\"", 1);
}

void report_add_cell(report *r, const char *text)
{
    for (const char *p = text; *p != 0; p++) {
        if (*p == '|') add_bytes(r, "\\", 1);
        add_bytes(r, *p == '\n' || *p == '\r' ? " " : p, 1);
    }
}

tern_status report_take(report *r, char **out, tern_error *err)
{
    if (!r->is_out_of_memory) add_bytes(r, "", 0); // an empty report is an empty text, not NULL
    if (r->is_out_of_memory) {
        report_free(r);
        return error_set(err, TERN_HOST_MEMORY, "no memory for the text of a report");
    }
    *out = r->text;
    *r = (report){0};
    return TERN_OK;
}

void report_free(report *r)
{
    free(r->text);
    *r = (report){0};
}
