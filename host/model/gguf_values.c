// Typed access to GGUF metadata.
#include <math.h>
#include <string.h>

#include "gguf_types.h"

static const struct {
    const char *name;
    size_t n_bytes;
} value_types[] = {
    [GGUF_U8] = {"u8", 1},   [GGUF_I8] = {"i8", 1},         [GGUF_U16] = {"u16", 2},     [GGUF_I16] = {"i16", 2},
    [GGUF_U32] = {"u32", 4}, [GGUF_I32] = {"i32", 4},       [GGUF_F32] = {"f32", 4},     [GGUF_BOOL] = {"bool", 1},
    [GGUF_U64] = {"u64", 8}, [GGUF_STRING] = {"string", 0}, [GGUF_ARRAY] = {"array", 0}, [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

size_t gguf_scalar_bytes(gguf_type type) { return value_types[type].n_bytes; }

const char *gguf_type_name(gguf_type type) { return value_types[type].name; }

// The little-endian payload of a scalar, zero-extended.
static uint64_t load_scalar(const gguf_value *v)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < v->n_bytes; i++) bits |= (uint64_t)v->data[i] << (8 * i);
    return bits;
}

static tern_status wrong_type(const char *key, const gguf_value *v, const char *expected, tern_error *err)
{
    return error_set(err, TERN_MALFORMED, "key %s: type %s, expected %s", key, gguf_type_name(v->type), expected);
}

tern_status gguf_get_u32(const gguf_file *file, const char *key, uint32_t *out, tern_error *err)
{
    const gguf_value *v = gguf_find(file, key);
    if (v == NULL) return TERN_NOT_FOUND;
    bool is_signed = v->type == GGUF_I8 || v->type == GGUF_I16 || v->type == GGUF_I32 || v->type == GGUF_I64;
    bool is_unsigned = v->type == GGUF_U8 || v->type == GGUF_U16 || v->type == GGUF_U32 || v->type == GGUF_U64;
    if (!is_signed && !is_unsigned) return wrong_type(key, v, "an integer", err);
    uint64_t bits = load_scalar(v);
    bool is_negative = is_signed && (bits >> (8 * v->n_bytes - 1)) != 0;
    if (is_negative || bits > UINT32_MAX)
        return error_set(err, TERN_MALFORMED, "key %s: its value is %s", key,
                         is_negative ? "negative" : "over 4294967295");
    *out = (uint32_t)bits;
    return TERN_OK;
}

tern_status gguf_get_f32(const gguf_file *file, const char *key, float *out, tern_error *err)
{
    const gguf_value *v = gguf_find(file, key);
    if (v == NULL) return TERN_NOT_FOUND;
    float value;
    if (v->type == GGUF_F32) {
        memcpy(&value, v->data, sizeof value);
    } else if (v->type == GGUF_F64) {
        double wide;
        memcpy(&wide, v->data, sizeof wide);
        if (!(fabs(wide) <= 3.4028234663852886e38)) // also NaN; the conversion would be undefined or infinite
            return error_set(err, TERN_MALFORMED, "key %s: its value is not a finite float32", key);
        value = (float)wide;
    } else {
        return wrong_type(key, v, "f32", err);
    }
    if (!isfinite(value)) return error_set(err, TERN_MALFORMED, "key %s: its value is not finite", key);
    *out = value;
    return TERN_OK;
}

tern_status gguf_get_bool(const gguf_file *file, const char *key, bool *out, tern_error *err)
{
    const gguf_value *v = gguf_find(file, key);
    if (v == NULL) return TERN_NOT_FOUND;
    if (v->type != GGUF_BOOL) return wrong_type(key, v, "bool", err);
    if (v->data[0] > 1) return error_set(err, TERN_MALFORMED, "key %s: %u is not a bool", key, v->data[0]);
    *out = v->data[0] == 1;
    return TERN_OK;
}

tern_status gguf_get_string(const gguf_file *file, const char *key, gguf_string *out, tern_error *err)
{
    const gguf_value *v = gguf_find(file, key);
    if (v == NULL) return TERN_NOT_FOUND;
    if (v->type != GGUF_STRING) return wrong_type(key, v, "string", err);
    out->data = (const char *)v->data;
    out->n = v->n_bytes;
    return TERN_OK;
}

tern_status gguf_array_strings(const gguf_file *file, const char *key, gguf_string *out, size_t n, tern_error *err)
{
    const gguf_value *v = gguf_find(file, key);
    if (v == NULL) return TERN_NOT_FOUND;
    if (v->type != GGUF_ARRAY || v->element_type != GGUF_STRING) return wrong_type(key, v, "array of strings", err);
    if (v->count != n)
        return error_set(err, TERN_MALFORMED, "key %s: %llu elements, expected %zu", key, (unsigned long long)v->count,
                         n);
    const uint8_t *p = v->data; // lengths were validated by gguf_parse
    for (size_t i = 0; i < n; i++) {
        uint64_t length = 0;
        for (size_t j = 0; j < 8; j++) length |= (uint64_t)p[j] << (8 * j);
        out[i].data = (const char *)p + 8;
        out[i].n = (size_t)length;
        p += 8 + length;
    }
    return TERN_OK;
}
