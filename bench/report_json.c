// Rows as JSON, CSV and SQL; see report_json.h.
#include "report_json.h"

#include <math.h>
#include <stdlib.h>

#define REAL_DIGITS JSON_REAL_PRECISION(12)

void report_set_text(json_t *object, const char *name, const char *value)
{
    json_object_set_new(object, name, json_string(value));
}

void report_set_real(json_t *object, const char *name, double value)
{
    json_object_set_new(object, name, isfinite(value) ? json_real(value) : NULL);
}

void report_set_count(json_t *object, const char *name, uint64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

static void add_json(report *r, const json_t *value, size_t flags)
{
    char *text = json_dumps(value, flags | REAL_DIGITS);
    if (text == NULL)
        r->is_out_of_memory = true;
    else
        report_add(r, "%s", text);
    free(text);
}

// A value as CSV (quoted where needed) or as SQL (strings in single quotes, which are doubled inside).
static void add_value(report *r, const json_t *value, bool is_sql)
{
    if (json_is_string(value) && !is_sql) {
        report_add_csv(r, json_string_value(value));
    } else if (json_is_string(value)) {
        report_add(r, "'");
        for (const char *p = json_string_value(value); *p != 0; p++)
            if (*p == '\'')
                report_add(r, "''");
            else
                report_add(r, "%c", *p);
        report_add(r, "'");
    } else if (json_is_boolean(value) && is_sql) {
        report_add(r, "%d", json_is_true(value));
    } else {
        add_json(r, value, JSON_ENCODE_ANY);
    }
}

static const char *sql_type(const json_t *value)
{
    return json_is_string(value) ? "TEXT" : json_is_real(value) ? "REAL" : "INTEGER";
}

// The names or the values of a row's fields but arrays, in the order they were set.
static void add_fields(report *r, json_t *object, const char *separator, bool names, bool is_sql)
{
    const char *key, *between = "";
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (json_is_array(value)) continue;
        report_add(r, "%s", between);
        if (names)
            report_add(r, "%s", key);
        else
            add_value(r, value, is_sql);
        between = separator;
    }
}

static void add_csv_row(report *r, json_t *object, bool is_first)
{
    if (is_first) add_fields(r, object, ",", true, false);
    if (is_first) report_add(r, "\n");
    add_fields(r, object, ",", false, false);
    report_add(r, "\n");
}

// As llama-bench writes it. Names are quoted: "group" is a word of SQL.
static void add_sql_row(report *r, json_t *object, bool is_first, const char *table)
{
    const char *key, *between = "";
    json_t *value;
    if (is_first) {
        report_add(r, "CREATE TABLE IF NOT EXISTS %s (\n", table);
        json_object_foreach(object, key, value)
        {
            if (json_is_array(value)) continue;
            report_add(r, "%s  \"%s\" %s", between, key, sql_type(value));
            between = ",\n";
        }
        report_add(r, "\n);\n\n");
    }
    report_add(r, "INSERT INTO %s (\"", table);
    add_fields(r, object, "\", \"", true, true);
    report_add(r, "\") VALUES (");
    add_fields(r, object, ", ", false, true);
    report_add(r, ");\n");
}

tern_status report_objects(json_t *array, size_t n, bench_format format, const char *table, char **out, tern_error *err)
{
    report r = {0};
    size_t n_fields = json_object_size(json_array_get(array, 0));
    if (json_array_size(array) != n) r.is_out_of_memory = true;
    if (format == BENCH_JSON) {
        add_json(&r, array, JSON_INDENT(2));
        report_add(&r, "\n");
    }
    for (size_t i = 0; i < n; i++) {
        json_t *object = json_array_get(array, i);
        if (json_object_size(object) != n_fields) r.is_out_of_memory = true;
        if (format == BENCH_CSV) add_csv_row(&r, object, i == 0);
        if (format == BENCH_SQL) add_sql_row(&r, object, i == 0, table);
        if (format != BENCH_JSONL) continue;
        add_json(&r, object, JSON_COMPACT);
        report_add(&r, "\n");
    }
    json_decref(array);
    return report_take(&r, out, err);
}
