// Writers of the ternary encodings of GGUF files. Each pack function turns one group of codes, a byte each, into the
// group's bytes; the encoder feeds them.
#include "encode.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "check.h"
#include "half.h"

#define I2S_GROUP 128u // weights; 32 bytes
#define I2S_TAIL  32u  // bytes after the packed weights: fp32 scale, then zeros
#define TQ_BLOCK  256u
#define TQ1_BYTES 54u
#define TQ2_BYTES 66u

const encode_format encode_formats[ENCODE_N_TYPES] = {
    [ENCODE_I2_S] = {"I2_S", 36, 40},
    [ENCODE_TQ1_0] = {"TQ1_0", 34, 36},
    [ENCODE_TQ2_0] = {"TQ2_0", 35, 37},
    [ENCODE_F16] = {"F16", 1, 1},
};

bool encode_type_find(const char *name, encode_type *out)
{
    for (int type = 0; type < ENCODE_N_TYPES; type++) {
        if (strcasecmp(name, encode_formats[type].name) != 0) continue;
        *out = (encode_type)type;
        return true;
    }
    return false;
}

// -------------------------------------------------------------------------------------------------- what a type holds

// True if fp16 gives the value within half a unit of its last place in the normal range. The bound is compared in
// double, where the product is exact.
static bool fits_half(float value)
{
    double rounded = (double)half_to_float(half_from_float(value));
    double error = rounded > (double)value ? rounded - (double)value : (double)value - rounded;
    return error <= (double)value * 0x1p-11;
}

static size_t scale_count(const ternary_scale *scale) { return (size_t)scale->n_sets * scale->n_groups; }

// The first of n scales that is not zero, or 0: what stands for all of them if the others are equal. Weights under a
// scale of zero have code 1, so that any scale does for them.
static float common_scale(const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (values[i] != 0.0f) return values[i];
    return 0.0f;
}

static bool is_common(const float *values, size_t n)
{
    float common = common_scale(values, n);
    for (size_t i = 0; i < n; i++)
        if (values[i] != common && values[i] != 0.0f) return false;
    return true;
}

static const char *refuse_i2s(uint32_t n_rows, uint32_t n_cols, const ternary_scale *scale)
{
    if ((uint64_t)n_rows * n_cols % I2S_GROUP != 0) return "needs a number of weights divisible by 128";
    return is_common(scale->values, scale_count(scale)) ? NULL : "needs one scale for the whole matrix";
}

// The scales that the 256-column block at `column` of a set meets.
static const float *block_scales(const ternary_scale *scale, uint32_t set, uint32_t column, uint32_t n_cols, size_t *n)
{
    uint32_t last = column + TQ_BLOCK <= n_cols ? column + TQ_BLOCK - 1 : n_cols - 1;
    *n = last / scale->group - column / scale->group + 1;
    return scale->values + (size_t)set * scale->n_groups + column / scale->group;
}

static bool is_constant_in_blocks(const ternary_scale *scale, uint32_t n_cols)
{
    for (uint32_t set = 0; set < scale->n_sets && scale->n_groups > 1; set++)
        for (uint32_t column = 0; column < n_cols; column += TQ_BLOCK) {
            size_t n;
            const float *values = block_scales(scale, set, column, n_cols, &n);
            if (!is_common(values, n)) return false;
        }
    return true;
}

const char *encode_refusal(encode_type type, uint32_t n_rows, uint32_t n_cols, const ternary_scale *scale)
{
    if (type == ENCODE_I2_S) return refuse_i2s(n_rows, n_cols, scale);
    if (type == ENCODE_TQ1_0 || type == ENCODE_TQ2_0) {
        if (n_cols % TQ_BLOCK != 0) return "needs rows of a multiple of 256 columns";
        if (!is_constant_in_blocks(scale, n_cols)) return "needs one scale per 256 columns of a row";
    }
    for (size_t i = 0; i < scale_count(scale); i++)
        if (!fits_half(scale->values[i])) return "needs scales within the range of fp16";
    return NULL;
}

static bool row_bytes(encode_type type, uint32_t n_cols, uint64_t *out)
{
    switch (type) {
    case ENCODE_TQ1_0: return check_mul(n_cols / TQ_BLOCK, TQ1_BYTES, out);
    case ENCODE_TQ2_0: return check_mul(n_cols / TQ_BLOCK, TQ2_BYTES, out);
    default: return check_mul(n_cols, 2, out);
    }
}

bool encode_tensor_bytes(encode_type type, uint32_t n_rows, uint32_t n_cols, uint64_t *out)
{
    if (type == ENCODE_I2_S) {
        *out = (uint64_t)n_rows * n_cols / 4 + I2S_TAIL; // below 2^62 + 32
        return true;
    }
    uint64_t bytes;
    return row_bytes(type, n_cols, &bytes) && check_mul(bytes, n_rows, out);
}

// ------------------------------------------------------------------------------------------------------------ packing

// 128 codes to 32 bytes: byte p holds elements p, 32+p, 64+p, 96+p, the first in the highest bits.
static void pack_i2s(const uint8_t *codes, uint8_t *out)
{
    for (uint32_t p = 0; p < 32; p++)
        out[p] = (uint8_t)(codes[p] << 6 | codes[32 + p] << 4 | codes[64 + p] << 2 | codes[96 + p]);
}

static void put_half(uint8_t *out, float value)
{
    scalar_u32 bits = half_from_float(value);
    out[0] = (uint8_t)bits;
    out[1] = (uint8_t)(bits >> 8);
}

// Five base-3 digits, the first the most significant, as a fraction of 256, rounded up: a decoder gets digit n back
// from the top of (byte * 3^n mod 256) * 3 without a division.
static uint8_t base3_byte(const uint8_t *codes, uint32_t stride, uint32_t n_digits)
{
    uint32_t value = 0;
    for (uint32_t n = 0; n < 5; n++) value = value * 3 + (n < n_digits ? codes[n * stride] : 0u);
    return (uint8_t)((value * 256 + 242) / 243);
}

// 256 codes to 54 bytes: 32 bytes of elements m + 32n, 16 of 160 + m + 16n, 4 of 240 + m + 4n (four digits), fp16
// scale.
static void pack_tq1(const uint8_t *codes, float scale, uint8_t *out)
{
    for (uint32_t m = 0; m < 32; m++) out[m] = base3_byte(codes + m, 32, 5);
    for (uint32_t m = 0; m < 16; m++) out[32 + m] = base3_byte(codes + 160 + m, 16, 5);
    for (uint32_t m = 0; m < 4; m++) out[48 + m] = base3_byte(codes + 240 + m, 4, 4);
    put_half(out + 52, scale);
}

// 256 codes to 66 bytes: two halves of 128; byte m of a half holds its elements m, 32+m, 64+m, 96+m, the first in the
// lowest bits; fp16 scale last.
static void pack_tq2(const uint8_t *codes, float scale, uint8_t *out)
{
    for (uint32_t half = 0; half < 2; half++) {
        const uint8_t *c = codes + 128 * half;
        for (uint32_t m = 0; m < 32; m++)
            out[32 * half + m] = (uint8_t)(c[m] | c[32 + m] << 2 | c[64 + m] << 4 | c[96 + m] << 6);
    }
    put_half(out + 64, scale);
}

static void pack_f16(const uint8_t *codes, uint32_t n, float scale, uint8_t *out)
{
    const float values[3] = {scale == 0.0f ? 0.0f : -scale, 0.0f, scale};
    uint8_t bytes[3][2];
    for (int code = 0; code < 3; code++) put_half(bytes[code], values[code]);
    for (uint32_t i = 0; i < n; i++) memcpy(out + 2 * (size_t)i, bytes[codes[i]], 2);
}

// ------------------------------------------------------------------------------------------------------------ encoder

tern_status encoder_init(encoder *e, encode_type type, uint32_t n_cols, const ternary_scale *scale, tern_error *err)
{
    *e = (encoder){.type = type, .n_cols = n_cols, .scale = scale};
    size_t n = I2S_GROUP + (size_t)ternary_padded(n_cols);
    e->codes = malloc(n);
    if (e->codes == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu bytes of weight codes", n);
    return TERN_OK;
}

void encoder_free(encoder *e)
{
    free(e->codes);
    *e = (encoder){0};
}

size_t encoder_room(const encoder *e)
{
    // The F16 row is the largest; an I2_S row may complete a group of earlier codes.
    return 2 * (size_t)e->n_cols + I2S_GROUP;
}

static void unpack_codes(const uint8_t *row, uint32_t n_cols, uint8_t *codes)
{
    size_t n = ternary_row_bytes(n_cols);
    for (size_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < 4; j++) codes[4 * i + j] = row[i] >> (2 * j) & 3;
}

// Packs the complete groups among the pending and the new codes; the rest waits for the next row.
static size_t encode_i2s(encoder *e, uint8_t *out)
{
    size_t n = e->n_pending + e->n_cols, used = 0;
    for (; n - used >= I2S_GROUP; used += I2S_GROUP) pack_i2s(e->codes + used, out + used / 4);
    e->n_pending = n - used;
    memmove(e->codes, e->codes + used, e->n_pending);
    return used / 4;
}

size_t encoder_row(encoder *e, const uint8_t *row, uint32_t scale_row, uint8_t *out)
{
    unpack_codes(row, e->n_cols, e->codes + e->n_pending);
    if (e->type == ENCODE_I2_S) return encode_i2s(e, out);

    const ternary_scale *scale = e->scale;
    uint32_t set = ternary_scale_set(scale, scale_row);
    uint32_t step = e->type == ENCODE_F16 && scale->group < e->n_cols ? scale->group : e->n_cols;
    if (e->type != ENCODE_F16) step = TQ_BLOCK;
    uint8_t *to = out;
    for (uint32_t column = 0; column < e->n_cols; column += step) {
        const uint8_t *codes = e->codes + column;
        size_t n_scales = 1;
        const float *values = block_scales(scale, set, column, e->n_cols, &n_scales);
        float value = e->type == ENCODE_F16 ? values[0] : common_scale(values, n_scales);
        uint32_t n = e->n_cols - column < step ? e->n_cols - column : step;
        if (e->type == ENCODE_TQ1_0) {
            pack_tq1(codes, value, to);
            to += TQ1_BYTES;
        } else if (e->type == ENCODE_TQ2_0) {
            pack_tq2(codes, value, to);
            to += TQ2_BYTES;
        } else {
            pack_f16(codes, n, value, to);
            to += 2 * (size_t)n;
        }
    }
    return (size_t)(to - out);
}

size_t encoder_finish(encoder *e, uint8_t *out)
{
    if (e->type != ENCODE_I2_S) return 0;
    memset(out, 0, I2S_TAIL);
    scalar_u32 bits = scalar_as_u32(common_scale(e->scale->values, scale_count(e->scale)));
    for (uint32_t i = 0; i < 4; i++) out[i] = (uint8_t)(bits >> (8 * i));
    return I2S_TAIL;
}
