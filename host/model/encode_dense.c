// Writers of F16, Q8_0 and Q6_K rows.
#include "encode_dense.h"

#include <math.h>

#include "half.h"

#define Q8_BLOCK 32
#define Q6_BLOCK 256
#define Q6_SUB   16 // elements with a scale of their own
#define Q6_SUBS  (Q6_BLOCK / Q6_SUB)

const uint32_t encode_dense_ids[DENSE_N_TYPES] = {
    [DENSE_F32] = 0,  [DENSE_F16] = 1,   [DENSE_BF16] = 30, [DENSE_Q8_0] = 8,
    [DENSE_Q4_0] = 2, [DENSE_Q4_K] = 12, [DENSE_Q5_K] = 13, [DENSE_Q6_K] = 14,
};

const char *encode_dense_refusal(dense_type type, uint32_t n_cols)
{
    switch (type) {
    case DENSE_F16: return NULL;
    case DENSE_Q8_0: return n_cols % Q8_BLOCK == 0 ? NULL : "needs rows of a multiple of 32 columns";
    case DENSE_Q6_K: return n_cols % Q6_BLOCK == 0 ? NULL : "needs rows of a multiple of 256 columns";
    default: return "needs an encoder that is not here";
    }
}

static void put_u16(uint8_t *out, scalar_u32 bits)
{
    out[0] = (uint8_t)bits;
    out[1] = (uint8_t)(bits >> 8);
}

static bool is_half_finite(scalar_u32 bits) { return (bits & 0x7fffu) < 0x7c00u; }

// Half away from zero, for values that an int holds; the difference is exact.
static int round_away(float x)
{
    int whole = (int)x;
    float rest = x - (float)whole;
    return rest >= 0.5f ? whole + 1 : rest <= -0.5f ? whole - 1 : whole;
}

// The largest magnitude, or NaN where a value is not finite.
static float max_magnitude(const float *x, int n)
{
    float max = 0.0f;
    for (int i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        if (!(magnitude <= 0x1.fffffep+127f)) return NAN;
        if (magnitude > max) max = magnitude;
    }
    return max;
}

static bool f16_value(float x, uint8_t *out)
{
    scalar_u32 bits = half_from_float(x);
    put_u16(out, bits);
    return is_half_finite(bits);
}

// fp16 d; int8 q[32].
static bool q8_0_block(const float *x, uint8_t *out)
{
    float d = max_magnitude(x, Q8_BLOCK) / 127.0f;
    scalar_u32 bits = half_from_float(d);
    if (!is_half_finite(bits)) return false;
    put_u16(out, bits);
    // Where the reciprocal overflows, d is far below the smallest fp16 and the block is zero whatever the codes are.
    float inverse = d >= 0x1p-126f ? 1.0f / d : 0.0f;
    for (int i = 0; i < Q8_BLOCK; i++) out[2 + i] = (uint8_t)(int8_t)round_away(x[i] * inverse);
    return true;
}

// The nearest code of 16 values already divided by their scale. Adding and taking away 1.5 * 2^23 rounds to a whole
// number, ties to even; without branches the loop becomes wide.
static void q6_codes(const float *x, float inverse, float *codes)
{
    for (int i = 0; i < Q6_SUB; i++) {
        float v = x[i] * inverse;
        v = v < -32.0f ? -32.0f : v;
        v = v > 31.0f ? 31.0f : v;
        codes[i] = (v + 0x1.8p+23f) - 0x1.8p+23f;
    }
}

// In a fixed order, so that the bytes are the same everywhere.
static float sum_16(const float *x)
{
    float sums[8];
    for (int i = 0; i < 8; i++) sums[i] = x[i] + x[i + 8];
    for (int i = 0; i < 4; i++) sums[i] += sums[i + 4];
    return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

// The scale s for which codes -32..31 times s come nearest to 16 values. Tries inverse scales that put the value of
// largest magnitude at about -32 (the longer end) and takes, for the codes of each, the best s, which is in closed
// form: sum(x q) / sum(q q), with the squared error less by sum(x q)^2 / sum(q q).
static float q6_search(const float *x)
{
    float extreme = 0.0f, best_scale = 0.0f, best_gain = -1.0f;
    for (int i = 0; i < Q6_SUB; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    if (fabsf(extreme) < 0x1p-26f) return 0.0f; // less than half the smallest step a block can have
    for (int k = -9; k <= 9; k++) {
        float codes[Q6_SUB], xq[Q6_SUB], qq[Q6_SUB];
        q6_codes(x, -(32.0f + 0.1f * (float)k) / extreme, codes);
        for (int i = 0; i < Q6_SUB; i++) {
            xq[i] = x[i] * codes[i];
            qq[i] = codes[i] * codes[i];
        }
        float with = sum_16(xq), square = sum_16(qq); // square > 0: the extreme has code -31 or -32
        float scale = with / square, gain = with * scale;
        if (gain <= best_gain) continue;
        best_gain = gain;
        best_scale = scale;
    }
    return best_scale;
}

// Codes of 16 values in steps of `step`; returns the squared error.
static float q6_quantise(const float *x, float step, float *codes)
{
    float squares[Q6_SUB];
    q6_codes(x, step == 0.0f ? 0.0f : 1.0f / step, codes);
    for (int i = 0; i < Q6_SUB; i++) {
        float difference = x[i] - step * codes[i];
        squares[i] = difference * difference;
    }
    return sum_16(squares);
}

// The 8-bit scale of a sub-block, near scale / d, and its codes.
static int q6_refine(const float *x, float scale, float d, float *codes)
{
    int centre = d == 0.0f ? 0 : round_away(scale / d), best = 0;
    float trial[Q6_SUB], best_error = q6_quantise(x, 0.0f, codes);
    for (int multiple = centre - 1; multiple <= centre + 1; multiple++) {
        if (multiple < -128 || multiple > 127) continue;
        float error = q6_quantise(x, d * (float)multiple, trial);
        if (error >= best_error) continue;
        best_error = error;
        best = multiple;
        for (int i = 0; i < Q6_SUB; i++) codes[i] = trial[i];
    }
    return best;
}

// u8 ql[128]; u8 qh[64]; int8 sc[16]; fp16 d: see block_q6_k in common/dense.c.
static void q6_k_pack(const float *codes, uint8_t *out)
{
    for (int half = 0; half < 2; half++) {
        uint8_t *ql = out + 64 * half, *qh = out + 128 + 32 * half;
        for (int i = 0; i < 64; i++) ql[i] = 0;
        for (int i = 0; i < 32; i++) qh[i] = 0;
        for (int span = 0; span < 4; span++)
            for (int i = 0; i < 32; i++) {
                unsigned q = (unsigned)(int)(codes[128 * half + 32 * span + i] + 32.0f);
                uint8_t *low = &ql[32 * (span % 2) + i];
                *low = (uint8_t)(*low | (q & 15) << (span < 2 ? 0 : 4));
                qh[i] = (uint8_t)(qh[i] | (q >> 4) << (2 * span));
            }
    }
}

static bool q6_k_block(const float *x, uint8_t *out)
{
    float scales[Q6_SUBS], codes[Q6_BLOCK], largest = 0.0f;
    // Below 2^40, so that nothing overflows before the scale is looked at.
    if (!(max_magnitude(x, Q6_BLOCK) < 0x1p40f)) return false;
    for (int j = 0; j < Q6_SUBS; j++) {
        scales[j] = q6_search(x + Q6_SUB * j);
        if (fabsf(scales[j]) > largest) largest = fabsf(scales[j]);
    }
    // Rounded up: the largest scale must be within 127 times d, also where d is a coarse subnormal.
    float wanted = largest / 127.0f;
    scalar_u32 bits = half_from_float(wanted);
    if (half_to_float(bits) < wanted) bits++;
    if (!is_half_finite(bits)) return false;
    float d = half_to_float(bits);
    for (int j = 0; j < Q6_SUBS; j++)
        out[192 + j] = (uint8_t)(int8_t)q6_refine(x + Q6_SUB * j, scales[j], d, codes + Q6_SUB * j);
    q6_k_pack(codes, out);
    put_u16(out + 208, bits);
    return true;
}

bool encode_dense_row(dense_type type, const float *values, uint32_t n_cols, uint8_t *out)
{
    uint32_t block = dense_formats[type].block, block_bytes = dense_formats[type].block_bytes;
    bool fits = true;
    for (uint32_t c = 0; c + block <= n_cols && fits; c += block, out += block_bytes) switch (type) {
        case DENSE_F16: fits = f16_value(values[c], out); break;
        case DENSE_Q8_0: fits = q8_0_block(values + c, out); break;
        case DENSE_Q6_K: fits = q6_k_block(values + c, out); break;
        default: return false;
        }
    return fits;
}
