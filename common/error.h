// How library code reports failure: fill the caller's record once, prefix context on the way up, return the status.
#ifndef TERN_COMMON_ERROR_H
#define TERN_COMMON_ERROR_H

#include "tern_status.h"

#if defined(__GNUC__)
#define TERN_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#else
#define TERN_PRINTF(format_index, first_argument)
#endif

// Records status and message unless err already holds a failure (the first cause is the one kept); err may be NULL.
// Returns `status`, so that a failing branch reads `return error_set(err, TERN_MALFORMED, ...)`.
// Bytes below 0x20 and invalid UTF-8 in the result are replaced by '?', so hostile names cannot reach a terminal.
tern_status error_set(tern_error *err, tern_status status, const char *format, ...) TERN_PRINTF(3, 4);

// Puts "text: " in front of the recorded message. Does nothing without a recorded failure.
void error_prefix(tern_error *err, const char *format, ...) TERN_PRINTF(2, 3);

// Replaces control characters and invalid UTF-8 by '?', for text of a file that will be shown.
void error_make_printable(char *text);

// Forgets a recorded failure.
void error_clear(tern_error *err);

#endif
