// Rows as JSON objects of plain values, and the forms that programs read, made from them. Arrays inside a row (samples)
// stay out of CSV and SQL.
#ifndef TERN_BENCH_REPORT_JSON_H
#define TERN_BENCH_REPORT_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "report.h"

// Setters that leave the field out when memory is out or the value is not finite or not UTF-8.
void report_set_text(json_t *object, const char *name, const char *value);
void report_set_real(json_t *object, const char *name, double value);
void report_set_count(json_t *object, const char *name, uint64_t value);

// Renders an array of n objects that have the same fields, taking it over; SQL creates and fills `table`. Any format
// but BENCH_MD. HOST_MEMORY, also when an object is missing or fields differ in number.
tern_status report_objects(json_t *array, size_t n, bench_format format, const char *table, char **out,
                           tern_error *err);

#endif
