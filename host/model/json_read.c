// Typed reading of JSON objects.
#include "json_read.h"

#include <math.h>

tern_status json_read_object(const char *text, size_t n_bytes, const char *what, json_t **out, tern_error *err)
{
    json_error_t detail;
    json_t *root = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, &detail);
    if (root == NULL)
        return error_set(err, TERN_MALFORMED, "%s: not valid JSON: %s, line %d", what, detail.text, detail.line);
    if (!json_is_object(root)) {
        json_decref(root);
        return error_set(err, TERN_MALFORMED, "%s: a JSON object is expected at the top", what);
    }
    *out = root;
    return TERN_OK;
}

static const json_t *member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

tern_status json_read_u32(const json_t *object, const char *key, uint32_t *out, tern_error *err)
{
    const json_t *value = member(object, key);
    if (value == NULL) return TERN_NOT_FOUND;
    if (!json_is_integer(value)) return error_set(err, TERN_MALFORMED, "\"%s\": an integer is expected", key);
    json_int_t n = json_integer_value(value);
    if (n < 0 || n > (json_int_t)UINT32_MAX)
        return error_set(err, TERN_MALFORMED, "\"%s\": %lld, expected 0 to 4294967295", key, (long long)n);
    *out = (uint32_t)n;
    return TERN_OK;
}

tern_status json_read_double(const json_t *object, const char *key, double *out, tern_error *err)
{
    const json_t *value = member(object, key);
    if (value == NULL) return TERN_NOT_FOUND;
    if (!json_is_number(value) || !isfinite(json_number_value(value)))
        return error_set(err, TERN_MALFORMED, "\"%s\": a number is expected", key);
    *out = json_number_value(value);
    return TERN_OK;
}

tern_status json_read_bool(const json_t *object, const char *key, bool *out, tern_error *err)
{
    const json_t *value = member(object, key);
    if (value == NULL) return TERN_NOT_FOUND;
    if (!json_is_boolean(value)) return error_set(err, TERN_MALFORMED, "\"%s\": true or false is expected", key);
    *out = json_is_true(value);
    return TERN_OK;
}

tern_status json_read_string(const json_t *object, const char *key, const char **out, tern_error *err)
{
    const json_t *value = member(object, key);
    if (value == NULL) return TERN_NOT_FOUND;
    if (!json_is_string(value)) return error_set(err, TERN_MALFORMED, "\"%s\": a string is expected", key);
    *out = json_string_value(value);
    return TERN_OK;
}
