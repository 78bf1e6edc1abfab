// Typed access to GGUF metadata, and the tables of type ids.
#include <math.h>
#include <string.h>

#include "gguf_types.h"

// Ids that several engines use for different things carry every meaning in their name and are never decoded by guess.
static const gguf_tensor_type tensor_types[] = {
    {0, TENSOR_F32, "F32", 1, 4},
    {1, TENSOR_F16, "F16", 1, 2},
    {2, TENSOR_Q4_0, "Q4_0", 32, 18},
    {3, TENSOR_OTHER, "Q4_1", 32, 20},
    {6, TENSOR_OTHER, "Q5_0", 32, 22},
    {7, TENSOR_OTHER, "Q5_1", 32, 24},
    {8, TENSOR_Q8_0, "Q8_0", 32, 34},
    {9, TENSOR_OTHER, "Q8_1", 32, 36},
    {10, TENSOR_OTHER, "Q2_K", 256, 84},
    {11, TENSOR_OTHER, "Q3_K", 256, 110},
    {12, TENSOR_Q4_K, "Q4_K", 256, 144},
    {13, TENSOR_OTHER, "Q5_K", 256, 176},
    {14, TENSOR_Q6_K, "Q6_K", 256, 210},
    {15, TENSOR_OTHER, "Q8_K", 256, 292},
    {16, TENSOR_OTHER, "IQ2_XXS", 0, 0},
    {17, TENSOR_OTHER, "IQ2_XS", 0, 0},
    {18, TENSOR_OTHER, "IQ3_XXS", 0, 0},
    {19, TENSOR_OTHER, "IQ1_S", 0, 0},
    {20, TENSOR_OTHER, "IQ4_NL", 0, 0},
    {21, TENSOR_OTHER, "IQ3_S", 0, 0},
    {22, TENSOR_OTHER, "IQ2_S", 0, 0},
    {23, TENSOR_OTHER, "IQ4_XS", 0, 0},
    {24, TENSOR_OTHER, "I8", 1, 1},
    {25, TENSOR_OTHER, "I16", 1, 2},
    {26, TENSOR_OTHER, "I32", 1, 4},
    {27, TENSOR_OTHER, "I64", 1, 8},
    {28, TENSOR_OTHER, "F64", 1, 8},
    {29, TENSOR_OTHER, "IQ1_M", 0, 0},
    {30, TENSOR_BF16, "BF16", 1, 2},
    {34, TENSOR_TQ1_0, "TQ1_0", 256, 54},
    {35, TENSOR_TQ2_0, "TQ2_0", 256, 66},
    {36, TENSOR_I2_S, "I2_S", 1, 0}, // n/4 + 32 bytes: see tensor_bytes in gguf.c
    {37, TENSOR_OTHER, "I8_S (id 37)", 0, 0},
    {38, TENSOR_OTHER, "TL1 (id 38)", 0, 0},
    {39, TENSOR_OTHER, "TL2 or MXFP4 (id 39)", 0, 0},
    {40, TENSOR_OTHER, "NVFP4 or Q1_0 (id 40)", 0, 0},
    {41, TENSOR_OTHER, "Q1_0 (id 41)", 128, 18},
    {42, TENSOR_OTHER, "Q2_0 (id 42)", 0, 0}, // groups of 64 or of 128
    {134, TENSOR_OTHER, "IQ1_BN (id 134)", 0, 0},
    {135, TENSOR_OTHER, "IQ2_BN (id 135)", 0, 0},
    {142, TENSOR_OTHER, "PQ2_0 or IQ2_TN (id 142)", 0, 0},
    {143, TENSOR_OTHER, "PTQ1_0 or IQ1_TN (id 143)", 0, 0},
    {335, TENSOR_OTHER, "IQ2_BN_R4 (id 335)", 0, 0},
};

const gguf_tensor_type *gguf_tensor_type_find(uint32_t id)
{
    for (size_t i = 0; i < sizeof tensor_types / sizeof *tensor_types; i++)
        if (tensor_types[i].id == id) return &tensor_types[i];
    return NULL;
}

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
