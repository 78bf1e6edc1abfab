// JSON objects with typed getters that keep absent, null and wrong apart.
#ifndef TERN_MODEL_JSON_READ_H
#define TERN_MODEL_JSON_READ_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"

// Parses a text whose top value must be an object; `what` names it in messages. Duplicate keys are refused.
tern_status json_read_object(const char *text, size_t n_bytes, const char *what, json_t **out, tern_error *err);

// Members of `object`. NOT_FOUND (err and *out untouched) when absent or null; MALFORMED when of another type or out of
// range.
tern_status json_read_u32(const json_t *object, const char *key, uint32_t *out, tern_error *err);
tern_status json_read_double(const json_t *object, const char *key, double *out, tern_error *err); // any number
tern_status json_read_bool(const json_t *object, const char *key, bool *out, tern_error *err);
tern_status json_read_string(const json_t *object, const char *key, const char **out, tern_error *err); // borrowed

#endif
