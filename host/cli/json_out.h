// Small helpers around jansson for reports on standard output.
#ifndef TERN_CLI_JSON_OUT_H
#define TERN_CLI_JSON_OUT_H

#include <jansson.h>
#include <stdint.h>

// A string value; bytes that are not UTF-8 become '?'. NULL when out of memory.
json_t *json_out_text(const char *text);
// A whole number; above 2^63 - 1 (which jansson cannot hold) it becomes a real.
json_t *json_out_count(uint64_t n);
// Prints the document and a newline, releases it and returns the exit code. NULL (out of memory) is reported.
int json_out_print(json_t *document);

#endif
