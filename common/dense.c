// Dense rows to fp32, and from fp32 for the types that the engine makes itself. Every product below fits 24 bits (fp16
// has 11, scales and quants at most 7 and 6), so it is exact in fp32; only the subtraction of Q4_K's and Q5_K's minimum
// rounds, once. Stored numbers are little-endian.
#include "dense.h"

#include <string.h>

#include "int4.h"

const dense_format dense_formats[DENSE_N_TYPES] = {
    [DENSE_F32] = {"F32", 1, 4, 0, 0},       [DENSE_F16] = {"F16", 1, 2, 0, 0},
    [DENSE_BF16] = {"BF16", 1, 2, 0, 0},     [DENSE_Q8_0] = {"Q8_0", 32, 34, 0, 0},
    [DENSE_Q4_0] = {"Q4_0", 32, 18, 0, 0},   [DENSE_Q4_K] = {"Q4_K", 256, 144, 0, 0},
    [DENSE_Q5_K] = {"Q5_K", 256, 176, 0, 0}, [DENSE_Q6_K] = {"Q6_K", 256, 210, 0, 0},
    [DENSE_INT8] = {"INT8", 64, 64, 4, 0},   [DENSE_INT4] = {"INT4", 64, 32, 0, 2},
};

static scalar_u32 load_u16(const uint8_t *p) { return (scalar_u32)p[0] | (scalar_u32)p[1] << 8; }

static float load_half(const uint8_t *p) { return half_to_float(load_u16(p)); }

// fp16 d; int8 q[32].
static void block_q8_0(const uint8_t *block, float *out)
{
    float d = load_half(block);
    for (int i = 0; i < 32; i++) out[i] = d * (float)(int8_t)block[2 + i];
}

// fp16 d; u8 qs[16]: low nibbles are elements 0..15, high nibbles 16..31, both offset by 8.
static void block_q4_0(const uint8_t *block, float *out)
{
    float d = load_half(block);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((block[2 + i] & 15) - 8);
        out[16 + i] = d * (float)((block[2 + i] >> 4) - 8);
    }
}

// The 6-bit scale and minimum of sub-block j (0..7) from the 12 packed bytes s.
static void q4_k_scale(const uint8_t *s, int j, int *scale, int *minimum)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *minimum = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *minimum = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    }
}

// fp16 d; fp16 dmin; u8 s[12]; u8 qs[128]: 32 bytes serve two sub-blocks of 32, low nibbles the even one, high the odd
// one.
static void block_q4_k(const uint8_t *block, float *out)
{
    float d = load_half(block), dmin = load_half(block + 2);
    for (int j = 0; j < 8; j++) {
        int scale, minimum;
        q4_k_scale(block + 4, j, &scale, &minimum);
        const uint8_t *qs = block + 16 + 32 * (j / 2);
        for (int i = 0; i < 32; i++) {
            int q = j % 2 == 0 ? qs[i] & 15 : qs[i] >> 4;
            out[32 * j + i] = scalar_fma(d * (float)scale, (float)q, -(dmin * (float)minimum));
        }
    }
}

// fp16 d; fp16 dmin; u8 s[12]; u8 qh[32]; u8 qs[128]: Q4_K with a fifth bit: that of sub-block j and element i is bit j
// of qh[i].
static void block_q5_k(const uint8_t *block, float *out)
{
    float d = load_half(block), dmin = load_half(block + 2);
    const uint8_t *qh = block + 16, *qs = block + 48;
    for (int j = 0; j < 8; j++) {
        int scale, minimum;
        q4_k_scale(block + 4, j, &scale, &minimum);
        float factor = d * (float)scale, low = -(dmin * (float)minimum);
        for (int i = 0; i < 32; i++) {
            int q = (qs[j / 2 * 32 + i] >> (4 * (j % 2)) & 15) | (qh[i] >> j & 1) << 4;
            out[j * 32 + i] = scalar_fma(factor, (float)q, low);
        }
    }
}

// u8 ql[128]; u8 qh[64]; int8 sc[16]; fp16 d: two halves of 128 elements, each four spans of 32. Span s takes its low
// four bits from the low (s < 2) or high nibbles of ql + 32 * (s % 2), its high two bits from bits 2s of qh; 16
// elements share a scale.
static void block_q6_k(const uint8_t *block, float *out)
{
    float d = load_half(block + 208);
    for (int half = 0; half < 2; half++) {
        const uint8_t *ql = block + 64 * half, *qh = block + 128 + 32 * half, *sc = block + 192 + 8 * half;
        for (int span = 0; span < 4; span++)
            for (int i = 0; i < 32; i++) {
                int low = ql[32 * (span % 2) + i] >> (span < 2 ? 0 : 4) & 15;
                int high = qh[i] >> (2 * span) & 3;
                float scale = d * (float)(int8_t)sc[2 * span + i / 16];
                out[128 * half + 32 * span + i] = scale * (float)((low | high << 4) - 32);
            }
    }
}

// ---- INT8 and INT4

int dense_code(dense_type type, const uint8_t *row, uint32_t column)
{
    if (type == DENSE_INT8) return (int8_t)row[column];
    uint32_t in_group = column % DENSE_GROUP;
    int byte = row[column / DENSE_GROUP * 32 + in_group % 32];
    return (in_group < 32 ? byte & 15 : byte >> 4) - INT4_BIAS;
}

void dense_group_scales(dense_type type, const uint8_t *row, uint32_t n_cols, uint32_t first, uint32_t n, float *out)
{
    const uint8_t *scales = row + dense_column_offset(type, n_cols);
    for (uint32_t g = 0; g < n; g++)
        if (type == DENSE_INT8)
            memcpy(&out[g], scales, sizeof *out);
        else
            out[g] = load_half(scales + 2 * (size_t)(first + g));
}

static void integer_row_to_float(dense_type type, const uint8_t *row, uint32_t n_cols, float *out)
{
    for (uint32_t c = 0; c < n_cols; c++) {
        float scale;
        dense_group_scales(type, row, n_cols, c / DENSE_GROUP, 1, &scale);
        out[c] = (float)dense_code(type, row, c) * scale;
    }
}

static float absmax(const float *x, uint32_t n)
{
    scalar_u32 max = 0;
    for (uint32_t i = 0; i < n; i++)
        if (scalar_magnitude(x[i]) > max) max = scalar_magnitude(x[i]);
    return scalar_as_float(max);
}

// One group's 32 bytes, and its scale at d.
static bool quantize_group(const float *x, uint8_t *q, uint8_t *d)
{
    scalar_u32 bits = int4_scale(absmax(x, DENSE_GROUP));
    float scale = half_to_float(bits);
    for (int i = 0; i < 32; i++)
        q[i] = (uint8_t)((int4_code(x[i], scale) + INT4_BIAS) | (int4_code(x[32 + i], scale) + INT4_BIAS) << 4);
    d[0] = (uint8_t)bits;
    d[1] = (uint8_t)(bits >> 8);
    return int4_scale_is_finite(bits);
}

bool dense_quantize_row(dense_type type, const float *x, uint32_t n_cols, uint8_t *row)
{
    uint8_t *tail = row + dense_column_offset(type, n_cols);
    if (type == DENSE_INT4) {
        bool fits = true;
        for (uint32_t g = 0; g < n_cols / DENSE_GROUP; g++)
            fits = quantize_group(x + (size_t)g * DENSE_GROUP, row + 32 * (size_t)g, tail + 2 * (size_t)g) && fits;
        return fits;
    }
    float m = absmax(x, n_cols);
    bool is_small = !(m >= SCALAR_QUANT_FLOOR);
    float multiplier = is_small ? SCALAR_QUANT_SMALL : scalar_div(127.0f, m);
    float w = scalar_div(is_small ? SCALAR_QUANT_FLOOR : m, 127.0f);
    for (uint32_t c = 0; c < n_cols; c++) row[c] = (uint8_t)(int8_t)scalar_code(x[c] * multiplier);
    memcpy(tail, &w, sizeof w);
    return scalar_is_finite(m);
}

void dense_row_to_float(dense_type type, const uint8_t *row, uint32_t n_cols, float *out)
{
    uint32_t block = dense_formats[type].block, block_bytes = dense_formats[type].block_bytes;
    for (uint32_t c = 0; c + block <= n_cols; c += block, row += block_bytes) switch (type) {
        case DENSE_F32: out[c] = scalar_as_float(load_u16(row) | load_u16(row + 2) << 16); break;
        case DENSE_F16: out[c] = load_half(row); break;
        case DENSE_BF16: out[c] = bf16_to_float(load_u16(row)); break;
        case DENSE_Q8_0: block_q8_0(row, out + c); break;
        case DENSE_Q4_0: block_q4_0(row, out + c); break;
        case DENSE_Q4_K: block_q4_k(row, out + c); break;
        case DENSE_Q5_K: block_q5_k(row, out + c); break;
        case DENSE_Q6_K: block_q6_k(row, out + c); break;
        case DENSE_INT8:
        case DENSE_INT4: integer_row_to_float(type, row, n_cols, out); return;
        case DENSE_N_TYPES: break;
        }
}
