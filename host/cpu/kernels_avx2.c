// Inner loops for AVX2, FMA and F16C. Compiled with -mavx2 -mfma -mf16c and entered only through cpu_kernels_select.
//
// The 64 accumulators of dot64 are eight registers, accumulator j in lane j % 8 of register j / 8; tails run on the
// stored accumulators in plain C, which is the same order. Nothing here uses horizontal float adds: they are other
// trees.
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "half.h"
#include "kernels_avx2.h"
#include "kernels_avx2_ternary.h"

// ---- ternary ----

static void t64_order(const int8_t *x, uint32_t n_granules, int8_t *out)
{
    const __m256i zero = _mm256_setzero_si256();
    for (uint32_t g = 0; g < (n_granules + 3) / 4 * 4; g += 2) {
        const __m256i *from = (const __m256i *)(x + 64 * (size_t)g);
        // Each register: four 8-byte pieces, fields 0..3 of half 0 or 1 of granule 0 or 1. A 4x4 transposition of
        // pieces.
        bool one = g < n_granules, both = g + 1 < n_granules;
        __m256i a = one ? _mm256_loadu_si256(from) : zero, b = one ? _mm256_loadu_si256(from + 1) : zero;
        __m256i c = both ? _mm256_loadu_si256(from + 2) : zero, d = both ? _mm256_loadu_si256(from + 3) : zero;
        __m256i ab02 = _mm256_unpacklo_epi64(a, b), ab13 = _mm256_unpackhi_epi64(a, b);
        __m256i cd02 = _mm256_unpacklo_epi64(c, d), cd13 = _mm256_unpackhi_epi64(c, d);
        __m256i *to = (__m256i *)(out + 64 * (size_t)g);
        _mm256_storeu_si256(to + 0, _mm256_permute2x128_si256(ab02, cd02, 0x20));
        _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(ab13, cd13, 0x20));
        _mm256_storeu_si256(to + 2, _mm256_permute2x128_si256(ab02, cd02, 0x31));
        _mm256_storeu_si256(to + 3, _mm256_permute2x128_si256(ab13, cd13, 0x31));
    }
}

static void t80_order(const int8_t *x, uint32_t n_granules, int8_t *out) { cpu_t80_order(x, n_granules, 2, out); }

// ---- dense ----

INLINE __m256 half8(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }

INLINE __m256 bf16_8(const void *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}

INLINE __m256 int8_8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

// Elements i .. i+7 of a row, i a multiple of 8.
INLINE __m256 dense8(const dense_type type, const uint8_t *row, uint32_t i)
{
    if (type == DENSE_F32) return _mm256_loadu_ps((const float *)(const void *)(row + 4 * (size_t)i));
    if (type == DENSE_F16) return half8(row + 2 * (size_t)i);
    return bf16_8(row + 2 * (size_t)i);
}

INLINE void dense_dot_type(const dense_type type, const uint8_t *row, const float *x, uint32_t n, float acc[64])
{
    __m256 a[8];
    UNROLL for (int j = 0; j < 8; j++) a[j] = _mm256_loadu_ps(acc + 8 * j);
    uint32_t i = 0;
    for (; i + 64 <= n; i += 64)
        UNROLL for (uint32_t j = 0; j < 8; j++)
            a[j] = _mm256_fmadd_ps(dense8(type, row, i + 8 * j), _mm256_loadu_ps(x + i + 8 * j), a[j]);
    UNROLL for (int j = 0; j < 8; j++) _mm256_storeu_ps(acc + 8 * j, a[j]);
    if (i < n) {
        float tail[64];
        dense_row_to_float(type, row + dense_column_offset(type, i), n - i, tail);
        for (uint32_t j = 0; j < n - i; j++) acc[j] = scalar_fma(tail[j], x[i + j], acc[j]);
    }
}

static void dense_dot(dense_type type, const uint8_t *row, const float *x, uint32_t n, float acc[64])
{
    switch (type) {
    case DENSE_F32: dense_dot_type(DENSE_F32, row, x, n, acc); break;
    case DENSE_F16: dense_dot_type(DENSE_F16, row, x, n, acc); break;
    case DENSE_BF16: dense_dot_type(DENSE_BF16, row, x, n, acc); break;
    default: cpu_avx2_blocks_dot(type, row, x, n, acc); break;
    }
}

// Bytes from a row's place to what is asked for meanwhile: with four rows in turns little is under way of each.
#define ROWS_AHEAD 2048u

INLINE void dense_dots_type(const dense_type type, const uint8_t *const rows[DENSE_ROWS], const float *x, uint32_t n,
                            float acc[DENSE_ROWS][64])
{
    const uint32_t bytes = type == DENSE_F32 ? 4 : 2, line = 64 / bytes, whole = n / 64 * 64;
    __m256 a[DENSE_ROWS][8]; // in memory, for want of registers
    UNROLL for (uint32_t r = 0; r < DENSE_ROWS; r++) UNROLL for (int j = 0; j < 8; j++) a[r][j] = _mm256_setzero_ps();
    for (uint32_t i = 0; i < whole; i += 64)
        UNROLL for (uint32_t c = 0; c < 64; c += line) UNROLL for (uint32_t r = 0; r < DENSE_ROWS; r++)
        {
            _mm_prefetch((const char *)rows[r] + bytes * (size_t)(i + c) + ROWS_AHEAD, _MM_HINT_T0);
            UNROLL for (uint32_t k = c; k < c + line; k += 8)
                a[r][k / 8] = _mm256_fmadd_ps(dense8(type, rows[r], i + k), _mm256_loadu_ps(x + i + k), a[r][k / 8]);
        }
    UNROLL for (uint32_t r = 0; r < DENSE_ROWS; r++)
    {
        UNROLL for (int j = 0; j < 8; j++) _mm256_storeu_ps(acc[r] + 8 * j, a[r][j]);
        dense_dot_type(type, rows[r] + bytes * (size_t)whole, x + whole, n - whole, acc[r]);
    }
}

static void dense_dots(dense_type type, const uint8_t *const rows[DENSE_ROWS], const float *x, uint32_t n,
                       float acc[DENSE_ROWS][64])
{
    switch (type) {
    case DENSE_F32: dense_dots_type(DENSE_F32, rows, x, n, acc); break;
    case DENSE_F16: dense_dots_type(DENSE_F16, rows, x, n, acc); break;
    default: dense_dots_type(DENSE_BF16, rows, x, n, acc); break;
    }
}

INLINE void to_float_type(const dense_type type, const uint8_t *row, uint32_t n, float *out)
{
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(out + i, dense8(type, row, i));
    dense_row_to_float(type, row + dense_column_offset(type, i), n - i, out + i); // F16 and the like: fewer than 8
}

static void dense_to_float(dense_type type, const uint8_t *row, uint32_t n, float *out)
{
    switch (type) {
    case DENSE_F32: memcpy(out, row, 4 * (size_t)n); break;
    case DENSE_F16: to_float_type(DENSE_F16, row, n, out); break;
    case DENSE_BF16: to_float_type(DENSE_BF16, row, n, out); break;
    default: cpu_avx2_blocks_to_float(type, row, n, out); break;
    }
}

// One register of the 64 accumulators at a time, for all eight pairs: 6 loads serve 8 fmas.
static void dense_tile(const float *rows, size_t row_stride, const float *x, size_t x_stride, uint32_t n, float *acc)
{
    const float *row[4] = {rows, rows + row_stride, rows + 2 * row_stride, rows + 3 * row_stride},
                *second = x + x_stride;
    for (uint32_t j = 0; j < 64; j += 8) {
        __m256 a[8];
        UNROLL for (int p = 0; p < 8; p++) a[p] = _mm256_loadu_ps(acc + 64 * p + j);
        for (size_t i = j; i + 8 <= n; i += 64) {
            __m256 x0 = _mm256_loadu_ps(x + i), x1 = _mm256_loadu_ps(second + i);
            UNROLL for (uint32_t r = 0; r < 4; r++)
            {
                __m256 w = _mm256_loadu_ps(row[r] + i);
                a[r] = _mm256_fmadd_ps(w, x0, a[r]);
                a[4 + r] = _mm256_fmadd_ps(w, x1, a[4 + r]);
            }
        }
        UNROLL for (int p = 0; p < 8; p++) _mm256_storeu_ps(acc + 64 * p + j, a[p]);
    }
    for (uint32_t i = n / 8 * 8; i < n; i++)
        for (uint32_t p = 0; p < 8; p++) {
            float *a = acc + 64 * p + i % 64;
            *a = scalar_fma(rows[p % 4 * row_stride + i], x[p / 4 * x_stride + i], *a);
        }
}

INLINE float tree8(__m256 a)
{
    __m128 t = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    t = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}

static float tree64(const float acc[64])
{
    __m256 a[8];
    UNROLL for (int j = 0; j < 8; j++) a[j] = _mm256_loadu_ps(acc + 8 * j);
    for (int half = 4; half > 0; half /= 2)
        for (int j = 0; j < half; j++) a[j] = _mm256_add_ps(a[j], a[j + half]);
    return tree8(a[0]);
}

// ---- rows ----

static float sumsq256(const float *x, uint32_t n)
{
    float acc[256] = {0};
    for (uint32_t part = 0; part < 256; part += 64) { // eight registers at a time
        __m256 a[8];
        UNROLL for (int j = 0; j < 8; j++) a[j] = _mm256_setzero_ps();
        for (uint32_t i = part; i + 64 <= n; i += 256) UNROLL for (uint32_t j = 0; j < 8; j++)
            {
                __m256 v = _mm256_loadu_ps(x + i + 8 * j);
                a[j] = _mm256_fmadd_ps(v, v, a[j]);
            }
        UNROLL for (uint32_t j = 0; j < 8; j++) _mm256_storeu_ps(acc + part + 8 * j, a[j]);
    }
    for (uint32_t i = n / 64 * 64; i < n; i++) acc[i % 256] = scalar_fma(x[i], x[i], acc[i % 256]);
    for (uint32_t half = 128; half >= 64; half /= 2)
        for (uint32_t j = 0; j < half; j += 8)
            _mm256_storeu_ps(acc + j, _mm256_add_ps(_mm256_loadu_ps(acc + j), _mm256_loadu_ps(acc + j + half)));
    return tree64(acc);
}

static void norm(const float *x, float r, const float *g, uint32_t n, float *y)
{
    uint32_t i = 0;
    for (__m256 factor = _mm256_set1_ps(r); i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), factor), _mm256_loadu_ps(g + i)));
    for (; i < n; i++) y[i] = (x[i] * r) * g[i];
}

INLINE __m256i magnitude8(__m256 x) { return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff)); }

INLINE uint32_t max_lanes(__m256i a)
{
    __m128i t = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0x4e));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(t);
}

static uint32_t absmax(const float *x, uint32_t n)
{
    __m256i top = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) top = _mm256_max_epu32(top, magnitude8(_mm256_loadu_ps(x + i)));
    uint32_t max = max_lanes(top);
    for (; i < n; i++)
        if (scalar_magnitude(x[i]) > max) max = scalar_magnitude(x[i]);
    return max;
}

static uint32_t absmax_product(const float *x, const float *g, uint32_t n)
{
    __m256i top = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8)
        top = _mm256_max_epu32(top, magnitude8(_mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(g + i))));
    uint32_t max = max_lanes(top);
    for (; i < n; i++)
        if (scalar_magnitude(x[i] * g[i]) > max) max = scalar_magnitude(x[i] * g[i]);
    return max;
}

// scalar_code of eight values: max takes its second operand where the first is NaN, which gives -127.
INLINE __m256i code8(__m256 x)
{
    __m256 r = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(r, _mm256_set1_ps(-127.0f)), _mm256_set1_ps(127.0f)));
}

INLINE void store_codes(__m256i codes, int8_t *out)
{
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
    _mm_storel_epi64((__m128i *)out, _mm_packs_epi16(words, words));
}

INLINE int32_t sum_lanes(__m256i a)
{
    __m128i t = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
}

static int32_t codes(const float *x, float multiplier, uint32_t n, int8_t *out)
{
    __m256i sum = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i code = code8(_mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(multiplier)));
        store_codes(code, out + i);
        sum = _mm256_add_epi32(sum, code);
    }
    int32_t total = sum_lanes(sum);
    for (; i < n; i++) total += out[i] = (int8_t)scalar_code(x[i] * multiplier);
    return total;
}

static int32_t codes_product(const float *x, const float *g, float multiplier, uint32_t n, int8_t *out)
{
    __m256i sum = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 t = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(g + i));
        __m256i code = code8(_mm256_mul_ps(t, _mm256_set1_ps(multiplier)));
        store_codes(code, out + i);
        sum = _mm256_add_epi32(sum, code);
    }
    int32_t total = sum_lanes(sum);
    for (; i < n; i++) total += out[i] = (int8_t)scalar_code((x[i] * g[i]) * multiplier);
    return total;
}

static int32_t codes_rest(const float *x, const int8_t *hi, float a, float multiplier, uint32_t n, int8_t *out)
{
    __m256i sum = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 e = _mm256_fnmadd_ps(int8_8(hi + i), _mm256_set1_ps(a), _mm256_loadu_ps(x + i));
        __m256i code = code8(_mm256_mul_ps(e, _mm256_set1_ps(multiplier)));
        store_codes(code, out + i);
        sum = _mm256_add_epi32(sum, code);
    }
    int32_t total = sum_lanes(sum);
    for (; i < n; i++) total += out[i] = (int8_t)scalar_code(scalar_fma(-(float)hi[i], a, x[i]) * multiplier);
    return total;
}

// scalar_exp of eight values, operation by operation; lanes outside its range are replaced at the end.
INLINE __m256 exp8(__m256 x)
{
    const __m256 magic = _mm256_set1_ps(0x1.8p23f);
    __m256 n = _mm256_sub_ps(_mm256_fmadd_ps(x, _mm256_set1_ps(0x1.715476p0f), magic), magic);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-0x1.7f7d1cp-20f),
                               _mm256_fmadd_ps(n, _mm256_set1_ps(-0x1.62e4p-1f), x));
    __m256 p = _mm256_set1_ps(0x1.6d113cp-10f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.120ba2p-7f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.55551ap-5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.5554dcp-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i k = _mm256_cvttps_epi32(n), half = _mm256_srai_epi32(k, 1), bias = _mm256_set1_epi32(127);
    __m256 a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    __m256 b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(k, half), bias), 23));
    __m256 y = _mm256_mul_ps(_mm256_mul_ps(p, a), b);
    y = _mm256_blendv_ps(y, _mm256_setzero_ps(), _mm256_cmp_ps(x, _mm256_set1_ps(-0x1.5d51ecp+6f), _CMP_LT_OQ));
    y = _mm256_blendv_ps(y, _mm256_set1_ps(__builtin_inff()),
                         _mm256_cmp_ps(x, _mm256_set1_ps(0x1.62e42ep+6f), _CMP_GT_OQ));
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

static void gate_relu2(const float *g, const float *u, uint32_t n, float *y)
{
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 r = _mm256_max_ps(_mm256_loadu_ps(g + i),
                                 _mm256_setzero_ps()); // NaN and -0 give +0, as scalar_relu does
        _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_mul_ps(r, r), _mm256_loadu_ps(u + i)));
    }
    for (; i < n; i++) y[i] = scalar_gate_relu2(g[i], u[i]);
}

static void gate_silu(const float *g, const float *u, uint32_t n, float *y)
{
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 x = _mm256_loadu_ps(g + i), minus = _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));
        __m256 silu = _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), exp8(minus)));
        _mm256_storeu_ps(y + i, _mm256_mul_ps(silu, _mm256_loadu_ps(u + i)));
    }
    for (; i < n; i++) y[i] = scalar_gate_silu(g[i], u[i]);
}

static void add(float *h, const float *y, uint32_t n)
{
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(h + i, _mm256_add_ps(_mm256_loadu_ps(h + i), _mm256_loadu_ps(y + i)));
    for (; i < n; i++) h[i] = h[i] + y[i];
}

// Four neighbouring pairs (x0, x1) in a register: its cosines and sines each twice, and x with the pairs turned round.
static uint32_t rotate_adjacent(float *head, const float *cos_sin, uint32_t n_dims)
{
    const __m256 even = _mm256_castsi256_ps(_mm256_setr_epi32(INT32_MIN, 0, INT32_MIN, 0, INT32_MIN, 0, INT32_MIN, 0));
    uint32_t i = 0;
    for (; i + 8 <= n_dims; i += 8) {
        __m256 cs = _mm256_loadu_ps(cos_sin + i), x = _mm256_loadu_ps(head + i);
        __m256 crossed = _mm256_mul_ps(_mm256_permute_ps(x, 0xb1), _mm256_movehdup_ps(cs));
        _mm256_storeu_ps(head + i, _mm256_fmadd_ps(x, _mm256_moveldup_ps(cs), _mm256_xor_ps(crossed, even)));
    }
    return i / 2;
}

// Eight pairs whose halves are half of n_dims apart.
static uint32_t rotate_halves(float *head, const float *cos_sin, uint32_t n_dims)
{
    float *partner = head + n_dims / 2;
    uint32_t i = 0;
    for (; i + 8 <= n_dims / 2; i += 8) {
        __m256 a = _mm256_loadu_ps(cos_sin + 2 * i), b = _mm256_loadu_ps(cos_sin + 2 * i + 8);
        __m256d c = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88)),
                s = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd));
        __m256 cosine = _mm256_castpd_ps(_mm256_permute4x64_pd(c, 0xd8));
        __m256 sine = _mm256_castpd_ps(_mm256_permute4x64_pd(s, 0xd8));
        __m256 x0 = _mm256_loadu_ps(head + i), x1 = _mm256_loadu_ps(partner + i);
        __m256 minus = _mm256_xor_ps(_mm256_mul_ps(x1, sine), _mm256_set1_ps(-0.0f));
        _mm256_storeu_ps(head + i, _mm256_fmadd_ps(x0, cosine, minus));
        _mm256_storeu_ps(partner + i, _mm256_fmadd_ps(x1, cosine, _mm256_mul_ps(x0, sine)));
    }
    return i;
}

static void rotate(float *head, const float *cos_sin, uint32_t n_dims, bool adjacent)
{
    uint32_t done = adjacent ? rotate_adjacent(head, cos_sin, n_dims) : rotate_halves(head, cos_sin, n_dims);
    cpu_rotate_rest(head, cos_sin, n_dims, adjacent, done);
}

// ---- attention ----

INLINE __m256 kv8(const bool f16, const void *data, size_t i)
{
    return f16 ? half8((const uint16_t *)data + i) : _mm256_loadu_ps((const float *)data + i);
}

INLINE void scores_type(const bool f16, const float *q, const void *k, uint32_t head_dim, float scale, float s[64])
{
    __m256 a[8];
    UNROLL for (int j = 0; j < 8; j++) a[j] = _mm256_setzero_ps();
    for (uint32_t d = 0; d < head_dim; d++) {
        __m256 qd = _mm256_set1_ps(q[d]);
        UNROLL for (uint32_t j = 0; j < 8; j++) a[j] = _mm256_fmadd_ps(qd, kv8(f16, k, 64 * (size_t)d + 8 * j), a[j]);
    }
    UNROLL for (int j = 0; j < 8; j++) _mm256_storeu_ps(s + 8 * j, _mm256_mul_ps(_mm256_set1_ps(scale), a[j]));
}

static void scores(int k_type, const float *q, const void *k, uint32_t head_dim, float scale, float s[64])
{
    if (k_type == KV_F16)
        scores_type(true, q, k, head_dim, scale, s);
    else
        scores_type(false, q, k, head_dim, scale, s);
}

// Four rows of K and both terms of q: sums[r] and sums[4 + r].
INLINE void scores_int8_rows(const int16_t *hi, const int16_t *lo, const int8_t *k, uint32_t head_dim, __m256i sums[8])
{
    UNROLL for (int i = 0; i < 8; i++) sums[i] = _mm256_setzero_si256();
    for (uint32_t d = 0; d < head_dim / 16 * 16; d += 16) {
        const __m256i h = _mm256_loadu_si256((const __m256i *)(hi + d)),
                      l = _mm256_loadu_si256((const __m256i *)(lo + d));
        UNROLL for (uint32_t r = 0; r < 4; r++)
        {
            __m256i kd = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(k + (size_t)r * head_dim + d)));
            sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(kd, h));
            sums[4 + r] = _mm256_add_epi32(sums[4 + r], _mm256_madd_epi16(kd, l));
        }
    }
}

static void scores_int8(const int16_t *hi, const int16_t *lo, float a, float b, const int8_t *k, uint32_t head_dim,
                        float scale, float s[64])
{
    const float *ak = (const float *)(const void *)(k + 64 * (size_t)head_dim);
    const uint32_t whole = head_dim / 16 * 16;
    for (uint32_t j = 0; j < 64; j += 8) {
        const int8_t *rows = k + (size_t)j * head_dim;
        __m256i first[8], second[8];
        scores_int8_rows(hi, lo, rows, head_dim, first);
        scores_int8_rows(hi, lo, rows + 4 * (size_t)head_dim, head_dim, second);
        const __m256i sums0 = sum_lanes8(first), sums1 = sum_lanes8(second);
        __m256i h = _mm256_permute2x128_si256(sums0, sums1, 0x20), l = _mm256_permute2x128_si256(sums0, sums1, 0x31);
        if (whole < head_dim) {
            int32_t tail_hi[8] = {0}, tail_lo[8] = {0};
            for (uint32_t r = 0; r < 8; r++)
                for (uint32_t d = whole; d < head_dim; d++) {
                    tail_hi[r] += hi[d] * rows[(size_t)r * head_dim + d];
                    tail_lo[r] += lo[d] * rows[(size_t)r * head_dim + d];
                }
            h = _mm256_add_epi32(h, _mm256_loadu_si256((const __m256i *)tail_hi));
            l = _mm256_add_epi32(l, _mm256_loadu_si256((const __m256i *)tail_lo));
        }
        __m256 akj = _mm256_loadu_ps(ak + j);
        __m256 low = _mm256_mul_ps(_mm256_cvtepi32_ps(l), _mm256_mul_ps(_mm256_set1_ps(b), akj));
        __m256 sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(h), _mm256_mul_ps(_mm256_set1_ps(a), akj), low);
        _mm256_storeu_ps(s + j, _mm256_mul_ps(sum, _mm256_set1_ps(scale)));
    }
}

static void softmax(const float s[64], float max, uint32_t n_present, float p[64])
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (uint32_t j = 0; j < 64; j += 8) {
        __m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(s + j), _mm256_set1_ps(max)));
        __m256i present = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n_present - (int)j), lanes);
        _mm256_storeu_ps(p + j, _mm256_and_ps(e, _mm256_castsi256_ps(present)));
    }
}

// `registers` * 8 outputs of a head from d0 on.
INLINE void values_part(const bool f16, const int registers, const float *p, const void *v, uint32_t n_present,
                        uint32_t head_dim, uint32_t d0, float *o)
{
    __m256 a[8];
    UNROLL for (int r = 0; r < registers; r++) a[r] = _mm256_setzero_ps();
    for (uint32_t j = 0; j < n_present; j++) {
        __m256 pj = _mm256_set1_ps(p[j]);
        UNROLL for (int r = 0; r < registers; r++)
            a[r] = _mm256_fmadd_ps(pj, kv8(f16, v, (size_t)j * head_dim + d0 + 8 * (size_t)r), a[r]);
    }
    UNROLL for (int r = 0; r < registers; r++) _mm256_storeu_ps(o + d0 + 8 * r, a[r]);
}

INLINE void values_type(const bool f16, const float *p, const void *v, uint32_t n_present, uint32_t head_dim, float *o)
{
    uint32_t d = 0;
    for (; d + 64 <= head_dim; d += 64) values_part(f16, 8, p, v, n_present, head_dim, d, o);
    for (; d + 8 <= head_dim; d += 8) values_part(f16, 1, p, v, n_present, head_dim, d, o);
    cpu_values_rest(f16, p, v, n_present, head_dim, d, o);
}

static void values(int v_type, const float *p, const void *v, uint32_t n_present, uint32_t head_dim, float *o)
{
    if (v_type == KV_F16)
        values_type(true, p, v, n_present, head_dim, o);
    else
        values_type(false, p, v, n_present, head_dim, o);
}

// 16 * `parts` outputs from o on. Two positions a step: their values side by side as int16 pairs, times the pair of
// weights, which is four bytes of a widened term.
INLINE void values_int8_part(const int parts, const int16_t hi[64], const int16_t lo[64], float a, float b,
                             const int8_t *v, uint32_t head_dim, float *o)
{
    __m256i sum_hi[4], sum_lo[4];
    UNROLL for (int i = 0; i < 2 * parts; i++) sum_hi[i] = sum_lo[i] = _mm256_setzero_si256();
    for (uint32_t j = 0; j < 64; j += 2) {
        int32_t two_hi, two_lo;
        memcpy(&two_hi, hi + j, sizeof two_hi);
        memcpy(&two_lo, lo + j, sizeof two_lo);
        const __m256i wh = _mm256_set1_epi32(two_hi), wl = _mm256_set1_epi32(two_lo);
        UNROLL for (int i = 0; i < parts; i++)
        {
            const int8_t *row = v + (size_t)j * head_dim + 16 * i;
            __m128i v0 = _mm_loadu_si128((const __m128i *)row), v1 = _mm_loadu_si128((const __m128i *)(row + head_dim));
            __m256i p0 = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(v0, v1)),
                    p1 = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(v0, v1));
            sum_hi[2 * i] = _mm256_add_epi32(sum_hi[2 * i], _mm256_madd_epi16(p0, wh));
            sum_hi[2 * i + 1] = _mm256_add_epi32(sum_hi[2 * i + 1], _mm256_madd_epi16(p1, wh));
            sum_lo[2 * i] = _mm256_add_epi32(sum_lo[2 * i], _mm256_madd_epi16(p0, wl));
            sum_lo[2 * i + 1] = _mm256_add_epi32(sum_lo[2 * i + 1], _mm256_madd_epi16(p1, wl));
        }
    }
    UNROLL for (int i = 0; i < 2 * parts; i++)
    {
        __m256 low = _mm256_mul_ps(_mm256_cvtepi32_ps(sum_lo[i]), _mm256_set1_ps(b));
        _mm256_storeu_ps(o + 8 * i, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum_hi[i]), _mm256_set1_ps(a), low));
    }
}

static void values_int8(const int8_t hi[64], const int8_t lo[64], float a, float b, const int8_t *v, uint32_t head_dim,
                        float *o)
{
    int16_t wide_hi[64], wide_lo[64];
    for (uint32_t j = 0; j < 64; j += 16) {
        __m256i h = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(hi + j)));
        __m256i l = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(lo + j)));
        _mm256_storeu_si256((__m256i *)(wide_hi + j), h);
        _mm256_storeu_si256((__m256i *)(wide_lo + j), l);
    }
    uint32_t d = 0;
    for (; d + 32 <= head_dim; d += 32) values_int8_part(2, wide_hi, wide_lo, a, b, v + d, head_dim, o + d);
    for (; d + 16 <= head_dim; d += 16) values_int8_part(1, wide_hi, wide_lo, a, b, v + d, head_dim, o + d);
    cpu_values_int8_rest(hi, lo, a, b, v, head_dim, d, o);
}

static void merge(float *into, float al, const float *o, float be, uint32_t head_dim)
{
    uint32_t d = 0;
    for (; d + 8 <= head_dim; d += 8) {
        __m256 new = _mm256_mul_ps(_mm256_loadu_ps(o + d), _mm256_set1_ps(be));
        _mm256_storeu_ps(into + d, _mm256_fmadd_ps(_mm256_loadu_ps(into + d), _mm256_set1_ps(al), new));
    }
    for (; d < head_dim; d++) into[d] = scalar_fma(into[d], al, o[d] * be);
}

const cpu_kernels cpu_kernels_avx2 = {
    .name = "avx2",
    .ternary_order = {t64_order, t80_order},
    .ternary_sums = {ternary_sums_t64, ternary_sums_t80},
    .ternary_columns = cpu_avx2_ternary_columns,
    .ternary_fold = cpu_avx2_ternary_fold,
    .sum_codes = cpu_avx2_sum_codes,
    .dense_to_float = dense_to_float,
    .dense_dot = dense_dot,
    .dense_dots = dense_dots,
    .q6k_operand = cpu_avx2_q6k_operand,
    .q6k_dot = cpu_avx2_q6k_dot,
    .q6k_upper = cpu_avx2_q6k_upper,
    .dense_tile = dense_tile,
    .tree64 = tree64,
    .int8_sums = cpu_avx2_int8_sums,
    .int4_bias = cpu_avx2_int4_bias,
    .int4_parts = cpu_avx2_int4_parts,
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
    .scores_int4 = cpu_avx2_scores_int4,
    .values_int4 = cpu_avx2_values_int4,
    .merge = merge,
};
#else
typedef int kernels_avx2_empty; // ISO C wants a declaration in every file
#endif
