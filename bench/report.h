// Text that grows, for tables and documents rendered in memory; the caller decides where they are printed.
#ifndef TERN_BENCH_REPORT_H
#define TERN_BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

// The forms of a report of rows. MD is for people, the others for programs.
typedef enum bench_format { BENCH_MD, BENCH_JSON, BENCH_JSONL, BENCH_CSV, BENCH_SQL } bench_format;

typedef struct report {
    char *text; // NUL-terminated; NULL while empty
    size_t n, capacity;
    bool is_out_of_memory; // appends after a failed one do nothing
} report;

void report_add(report *r, const char *format, ...) TERN_PRINTF(2, 3);
// A CSV field: quoted, with quotes doubled, where it needs to be.
void report_add_csv(report *r, const char *field);
// Text of a markdown table cell: '|' escaped, line breaks turned into spaces.
void report_add_cell(report *r, const char *text);
// Hands the text over (free by the caller) and resets the report. HOST_MEMORY if an append had failed.
tern_status report_take(report *r, char **out, tern_error *err);
void report_free(report *r);

#endif
