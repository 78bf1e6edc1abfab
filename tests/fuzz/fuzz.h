// What the fuzz targets share. A target takes any bytes and returns 0; a finding is a sanitizer report or a failed
// REQUIRE. Built with libFuzzer where TERN_FUZZ is on, with driver.c otherwise.
#ifndef TERN_TESTS_FUZZ_H
#define TERN_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

__attribute__((visibility("default"))) int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A property that must hold whatever the input.
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: REQUIRE(%s) does not hold\n", __FILE__, __LINE__, #condition);                     \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

// What is shown to people holds no control character, neither in ASCII nor U+0080 to U+009F.
static inline void require_printable(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != 0; p++)
        REQUIRE(*p >= 0x20 && *p != 0x7f && !(*p == 0xc2 && p[1] < 0xa0));
}

// Every failure has a status and a message. With TERN_FUZZ_SHOW set, answers are printed: what an input comes to.
static inline void require_answer(tern_status status, const tern_error *err)
{
    static int show = -1;
    if (show < 0) show = getenv("TERN_FUZZ_SHOW") != NULL;
    if (show) fprintf(stderr, "%s %s\n", tern_status_name(status), status == TERN_OK ? "" : err->message);
    if (status == TERN_OK) return;
    REQUIRE(status != TERN_INTERNAL);
    REQUIRE(err->status == status);
    REQUIRE(err->message[0] != 0);
    require_printable(err->message);
}

// A copy of exactly n bytes and a NUL, so that the sanitizer sees every step over the end. Never NULL.
static inline char *copy_text(const uint8_t *data, size_t n)
{
    char *text = malloc(n + 1);
    REQUIRE(text != NULL);
    if (n > 0) memcpy(text, data, n);
    text[n] = 0;
    return text;
}

// Cuts the input at its next NUL byte: *part is what stands before it. False when nothing is left.
static inline bool next_part(const uint8_t **data, size_t *size, const uint8_t **part, size_t *n_part)
{
    if (*size == 0) return false;
    const uint8_t *end = memchr(*data, 0, *size);
    *part = *data;
    *n_part = end == NULL ? *size : (size_t)(end - *data);
    size_t used = *n_part + (end != NULL);
    *data += used;
    *size -= used;
    return true;
}

#endif
