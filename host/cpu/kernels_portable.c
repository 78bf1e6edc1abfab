// Inner loops in portable C: what runs where no vector table fits, and the measure for those that do.
#include <string.h>

#include "int4.h"
#include "kernels.h"

static void t64_order(const int8_t *x, uint32_t n_granules, int8_t *out)
{
    for (uint32_t g = 0; g < n_granules; g++) {
        const int8_t *from = x + 64 * (size_t)g;
        int8_t *pair = out + 128 * (size_t)(g / 2) + 16 * (g % 2);
        for (int half = 0; half < 2; half++)
            for (int m = 0; m < 4; m++) memcpy(pair + 32 * m + 8 * half, from + 32 * half + 8 * m, 8);
    }
    if (n_granules % 2 == 1)
        for (int m = 0; m < 4; m++) memset(out + 128 * (size_t)(n_granules / 2) + 32 * m + 16, 0, 16);
}

static void t80_order(const int8_t *x, uint32_t n_granules, int8_t *out) { cpu_t80_order(x, n_granules, 2, out); }

// Where the granule of row r and its activations stand.
static const uint8_t *granule_at(const ternary_span *span, uint32_t r, uint32_t g)
{
    return span->group + ternary_granule_offset(span->n_granules, r, g);
}

static const int8_t *activations_at(const ternary_span *span, uint32_t columns, uint32_t g)
{
    return span->x + 2 * columns * (size_t)((g - span->x_first) / 2) + 16 * (g % 2);
}

static void t64_sums(const ternary_span *span, uint32_t n_x, int32_t *sums)
{
    for (uint32_t g = span->first; g < span->end; g++) {
        const int8_t *x = activations_at(span, TERNARY_GRANULE, g);
        for (uint32_t r = 0; r < TERNARY_ROWS; r++) {
            const uint8_t *granule = granule_at(span, r, g);
            for (uint32_t c = 0; c < n_x; c++) {
                int32_t sum = 0;
                for (int m = 0; m < 4; m++)
                    for (int b = 0; b < 16; b++)
                        sum += (granule[b] >> (2 * m) & 3) * x[c * span->x_stride + (size_t)(32 * m + b)];
                sums[TERNARY_ROWS * c + r] += sum;
            }
        }
    }
}

static void t80_sums(const ternary_span *span, uint32_t n_x, int32_t *sums)
{
    for (uint32_t g = span->first; g < span->end; g++) {
        const int8_t *x = activations_at(span, T80_GRANULE, g);
        for (uint32_t r = 0; r < TERNARY_ROWS; r++) {
            const uint8_t *granule = granule_at(span, r, g);
            uint8_t codes[5][16];
            for (int b = 0; b < 16; b++) {
                uint32_t rest = granule[b];
                for (int m = 0; m < 5; m++) {
                    rest *= 3;
                    codes[m][b] = (uint8_t)(rest >> 8);
                    rest &= 255;
                }
            }
            for (uint32_t c = 0; c < n_x; c++) {
                int32_t sum = 0;
                for (int m = 0; m < 5; m++)
                    for (int b = 0; b < 16; b++) sum += codes[m][b] * x[c * span->x_stride + (size_t)(32 * m + b)];
                sums[TERNARY_ROWS * c + r] += sum;
            }
        }
    }
}

static void ternary_columns(const ternary_stretch *s, uint32_t n_x, int32_t *sums)
{
    for (uint32_t g = s->first; g < s->end; g++) {
        uint32_t in_tile = s->n_granules - g / 4 * 4;
        if (in_tile > 4) in_tile = 4;
        for (uint32_t r = 0; r < TERNARY_ROWS; r++) {
            const uint8_t *granule = s->group + 1024 * (size_t)(g / 4) + 16 * (in_tile * r + g % 4);
            for (uint32_t c = 0; c < n_x; c++) {
                const int8_t *x = s->x[c] + 64 * (size_t)g;
                int32_t sum = 0;
                for (int half = 0; half < 2; half++)
                    for (int m = 0; m < 4; m++)
                        for (int b = 0; b < 8; b++)
                            sum += (granule[8 * half + b] >> (2 * m) & 3) * x[32 * half + 8 * m + b];
                sums[TERNARY_ROWS * c + r] += sum;
            }
        }
    }
}

static void ternary_fold(const int32_t *hi, int32_t hi_sum, float a, const int32_t *lo, int32_t lo_sum, float b,
                         const float d[TERNARY_ROWS], float chain[TERNARY_ROWS])
{
    for (uint32_t r = 0; r < TERNARY_ROWS; r++) {
        float v = (float)(hi[r] - hi_sum);
        v = lo == NULL ? v * a : scalar_fma(v, a, (float)(lo[r] - lo_sum) * b);
        chain[r] = scalar_fma(v, d[r], chain[r]);
    }
}

static int32_t sum_codes(const int8_t *x, uint32_t n)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

static void dense_dot(dense_type type, const uint8_t *row, const float *x, uint32_t n, float acc[64])
{
    float chunk[256]; // a multiple of every block
    for (uint32_t i = 0; i < n; i += 256) {
        uint32_t count = n - i < 256 ? n - i : 256;
        dense_row_to_float(type, row + dense_column_offset(type, i), count, chunk);
        for (uint32_t j = 0; j < count; j++) acc[j % 64] = scalar_fma(chunk[j], x[i + j], acc[j % 64]);
    }
}

static void dense_tile(const float *rows, size_t row_stride, const float *x, size_t x_stride, uint32_t n, float *acc)
{
    for (uint32_t c = 0; c < 2; c++)
        for (uint32_t r = 0; r < 4; r++)
            for (uint32_t i = 0; i < n; i++) {
                float *a = acc + 64 * (4 * c + r) + i % 64;
                *a = scalar_fma(rows[r * row_stride + i], x[c * x_stride + i], *a);
            }
}

static float tree64(const float acc[64])
{
    float t[32];
    for (int j = 0; j < 32; j++) t[j] = acc[j] + acc[j + 32];
    for (int half = 16; half > 0; half /= 2)
        for (int j = 0; j < half; j++) t[j] += t[j + half];
    return t[0];
}

static void int8_sums(const int8_t *row, const int8_t *const *x, const int32_t *x_sum, uint32_t n_x, uint32_t n,
                      int32_t *sums)
{
    (void)x_sum;
    for (uint32_t i = 0; i < n_x; i++) {
        int32_t sum = 0;
        for (uint32_t c = 0; c < n; c++) sum += row[c] * x[i][c];
        sums[i] = sum;
    }
}

static void int4_bias(const int8_t *x, uint32_t n_groups, int32_t *out)
{
    for (uint32_t g = 0; g < n_groups; g++) {
        int32_t sum = 0;
        for (uint32_t c = 0; c < 64; c++) sum += x[64 * g + c];
        out[g] = 8 * sum;
    }
}

static int32_t int4_sum(const uint8_t *codes, const int8_t *x)
{
    int32_t sum = 0;
    for (int i = 0; i < 32; i++) sum += (codes[i] & 15) * x[i] + (codes[i] >> 4) * x[32 + i];
    return sum;
}

static void int4_parts(const int4_span *span, const uint32_t first[8], uint32_t n_steps, float parts[8])
{
    for (uint32_t p = 0; p < 8; p++)
        for (size_t g = first[p]; g < first[p] + n_steps; g++) {
            const uint8_t *codes = span->row + 32 * g;
            float hi = (float)(int4_sum(codes, span->hi + 64 * g) - span->bias_hi[g]);
            float lo = (float)(int4_sum(codes, span->lo + 64 * g) - span->bias_lo[g]);
            parts[p] = scalar_fma(scalar_fma(hi, span->a, lo * span->b), span->d[g], parts[p]);
        }
}

static float sumsq256(const float *x, uint32_t n)
{
    float acc[256] = {0};
    for (uint32_t i = 0; i < n; i++) acc[i % 256] = scalar_fma(x[i], x[i], acc[i % 256]);
    for (int half = 128; half > 0; half /= 2)
        for (int j = 0; j < half; j++) acc[j] += acc[j + half];
    return acc[0];
}

static void norm(const float *x, float r, const float *g, uint32_t n, float *y)
{
    for (uint32_t i = 0; i < n; i++) y[i] = (x[i] * r) * g[i];
}

static uint32_t absmax(const float *x, uint32_t n)
{
    uint32_t max = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t magnitude = scalar_magnitude(x[i]);
        if (magnitude > max) max = magnitude;
    }
    return max;
}

static uint32_t absmax_product(const float *x, const float *g, uint32_t n)
{
    uint32_t max = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t magnitude = scalar_magnitude(x[i] * g[i]);
        if (magnitude > max) max = magnitude;
    }
    return max;
}

static int32_t codes(const float *x, float multiplier, uint32_t n, int8_t *out)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += out[i] = (int8_t)scalar_code(x[i] * multiplier);
    return sum;
}

static int32_t codes_product(const float *x, const float *g, float multiplier, uint32_t n, int8_t *out)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += out[i] = (int8_t)scalar_code((x[i] * g[i]) * multiplier);
    return sum;
}

static int32_t codes_rest(const float *x, const int8_t *hi, float a, float multiplier, uint32_t n, int8_t *out)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += out[i] = (int8_t)scalar_code(scalar_fma(-(float)hi[i], a, x[i]) * multiplier);
    return sum;
}

static void gate_relu2(const float *g, const float *u, uint32_t n, float *y)
{
    for (uint32_t i = 0; i < n; i++) y[i] = scalar_gate_relu2(g[i], u[i]);
}

static void gate_silu(const float *g, const float *u, uint32_t n, float *y)
{
    for (uint32_t i = 0; i < n; i++) y[i] = scalar_gate_silu(g[i], u[i]);
}

static void add(float *h, const float *y, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) h[i] = h[i] + y[i];
}

static void rotate(float *head, const float *cos_sin, uint32_t n_dims, bool adjacent)
{
    cpu_rotate_rest(head, cos_sin, n_dims, adjacent, 0);
}

static float kv_value(int type, const void *data, size_t i)
{
    return type == KV_F32 ? ((const float *)data)[i] : half_to_float(((const uint16_t *)data)[i]);
}

static void scores(int k_type, const float *q, const void *k, uint32_t head_dim, float scale, float s[64])
{
    for (int j = 0; j < 64; j++) s[j] = 0.0f;
    for (uint32_t d = 0; d < head_dim; d++)
        for (uint32_t j = 0; j < 64; j++) s[j] = scalar_fma(q[d], kv_value(k_type, k, 64 * (size_t)d + j), s[j]);
    for (int j = 0; j < 64; j++) s[j] = scale * s[j];
}

static void scores_int8(const int16_t *hi, const int16_t *lo, float a, float b, const int8_t *k, uint32_t head_dim,
                        float scale, float s[64])
{
    for (uint32_t j = 0; j < 64; j++) {
        const int8_t *row = k + (size_t)j * head_dim;
        int32_t sum_hi = 0, sum_lo = 0;
        for (uint32_t d = 0; d < head_dim; d++) {
            sum_hi += hi[d] * row[d];
            sum_lo += lo[d] * row[d];
        }
        float ak;
        memcpy(&ak, k + 64 * (size_t)head_dim + 4 * j, sizeof ak);
        s[j] = scalar_fma((float)sum_hi, a * ak, (float)sum_lo * (b * ak)) * scale;
    }
}

static void softmax(const float s[64], float max, uint32_t n_present, float p[64])
{
    for (uint32_t j = 0; j < 64; j++) p[j] = j < n_present ? scalar_exp(s[j] - max) : 0.0f;
}

static void values(int v_type, const float *p, const void *v, uint32_t n_present, uint32_t head_dim, float *o)
{
    for (uint32_t d = 0; d < head_dim; d++) o[d] = 0.0f;
    for (uint32_t j = 0; j < n_present; j++)
        for (uint32_t d = 0; d < head_dim; d++)
            o[d] = scalar_fma(p[j], kv_value(v_type, v, (size_t)j * head_dim + d), o[d]);
}

static void values_int8(const int8_t hi[64], const int8_t lo[64], float a, float b, const int8_t *v, uint32_t head_dim,
                        float *o)
{
    cpu_values_int8_rest(hi, lo, a, b, v, head_dim, 0, o);
}

static int int4_at(const uint8_t *row, uint32_t d)
{
    return (d % 2 == 0 ? row[d / 2] & 15 : row[d / 2] >> 4) - INT4_BIAS;
}

static void scores_int4(const int8_t *hi, const int8_t *lo, float a, float b, const uint8_t *k, uint32_t head_dim,
                        float scale, float s[64])
{
    const uint16_t *scales = (const uint16_t *)(const void *)(k + kv_int4_scales((int)head_dim));
    for (uint32_t j = 0; j < 64; j++) {
        const uint8_t *row = k + (size_t)j * (head_dim / 2);
        s[j] = 0.0f;
        for (uint32_t first = 0; first < head_dim; first += KV_INT4_GROUP) {
            int32_t sum_hi = 0, sum_lo = 0;
            for (uint32_t d = first; d < head_dim && d < first + KV_INT4_GROUP; d++) {
                sum_hi += hi[d] * int4_at(row, d);
                sum_lo += lo[d] * int4_at(row, d);
            }
            float ak = half_to_float(scales[kv_int4_scale_index((int)j, (int)(first / KV_INT4_GROUP))]);
            s[j] = scalar_fma(scalar_fma((float)sum_hi, a, (float)sum_lo * b), ak, s[j]);
        }
        s[j] = scale * s[j];
    }
}

static void values_int4(const int8_t hi[64], const int8_t lo[64], float a, float b, const uint8_t *v, uint32_t head_dim,
                        uint32_t n, float *o)
{
    for (uint32_t d = 0; d < n; d++) {
        int32_t sum_hi = 0, sum_lo = 0;
        for (uint32_t j = 0; j < 64; j++) {
            int code = int4_at(v + (size_t)j * (head_dim / 2), d);
            sum_hi += hi[j] * code;
            sum_lo += lo[j] * code;
        }
        o[d] = scalar_fma((float)sum_hi, a, (float)sum_lo * b);
    }
}

static void merge(float *into, float al, const float *o, float be, uint32_t head_dim)
{
    for (uint32_t d = 0; d < head_dim; d++) into[d] = scalar_fma(into[d], al, o[d] * be);
}

const cpu_kernels cpu_kernels_portable = {
    .name = "portable",
    .ternary_order = {t64_order, t80_order},
    .ternary_sums = {t64_sums, t80_sums},
    .ternary_columns = ternary_columns,
    .ternary_fold = ternary_fold,
    .sum_codes = sum_codes,
    .dense_to_float = dense_row_to_float,
    .dense_dot = dense_dot,
    .dense_tile = dense_tile,
    .tree64 = tree64,
    .int8_sums = int8_sums,
    .int4_bias = int4_bias,
    .int4_parts = int4_parts,
    .sumsq256 = sumsq256,
    .norm = norm,
    .absmax = absmax,
    .absmax_product = absmax_product,
    .codes = codes,
    .codes_product = codes_product,
    .codes_rest = codes_rest,
    .gate_relu2 = gate_relu2,
    .gate_silu = gate_silu,
    .add = add,
    .rotate = rotate,
    .scores = scores,
    .scores_int8 = scores_int8,
    .softmax = softmax,
    .values = values,
    .values_int8 = values_int8,
    .scores_int4 = scores_int4,
    .values_int4 = values_int4,
    .merge = merge,
};
