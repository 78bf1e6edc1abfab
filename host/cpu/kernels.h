// The inner loops of the fast CPU path, one table per instruction set. A kernel works on one thread, on rows that its
// driver (fast_*.c) cut to size, and gives the same bits in every table: vectors run along dimensions whose order the
// definitions of ops.h leave open (the 64 accumulators of dot64, the positions of a score block, the outputs of a
// head). No pointer has an alignment demand unless stated. n counts elements and may be any number.
//
// A further instruction set is one more kernels_NAME.c with its table, or with the entries it does better than another
// table, and a few lines in kernels.c.
#ifndef TERN_CPU_KERNELS_H
#define TERN_CPU_KERNELS_H

#include <string.h>

#include "cpu.h"
#include "half.h"
#include "scalar.h"

#define TERNARY_ROWS  16u // rows of a row group
#define TERNARY_MAX_X 8u  // activation columns a sums kernel takes at once
#define INT_MAX_X     8u  // the same for rows of INT8
#define DENSE_ROWS    4u  // rows that dense_dots takes

// Granules [first, end) of one row group, and activation columns in the layout's order (see ternary_order).
typedef struct ternary_span {
    const uint8_t *group; // the row group: 16 rows
    uint32_t n_granules;  // of each row, which gives the geometry of the last tile
    uint32_t first, end;  // first is a multiple of 4, so is end unless it is n_granules
    const int8_t *x;      // column c starts at x + c * x_stride; its first byte belongs to granule x_first
    uint32_t x_first;     // a multiple of 4
    size_t x_stride;
} ternary_span;

// A row of INT4 and the two terms of a token. Step of a chain: acc = fma(v_g, d[g], acc) with v_g = fma((float)hi_g, a,
// (float)lo_g * b), hi_g the sum of stored code * hi[c] over group g less bias_hi[g].
typedef struct int4_span {
    const uint8_t *row;
    const float *d; // the row's scales
    const int8_t *hi, *lo;
    const int32_t *bias_hi, *bias_lo;
    float a, b;
} int4_span;

// x of one token for upper bounds of the products of Q6_K rows, blocks of 256 columns; made by fast_best.c, where the
// bound is derived.
#define SCREEN_BLOCKS 32u
typedef struct q6k_screen {
    _Alignas(32) int8_t codes[SCREEN_BLOCKS][256];  // x is scale * code; sub-block s at 32 * (s % 8) + 16 * (s / 8)
    _Alignas(32) int16_t less[SCREEN_BLOCKS][16];   // of each sub-block of 16 columns: the sum of its codes, negative
    _Alignas(32) int16_t margin[SCREEN_BLOCKS][16]; // times |d * scale of the sub-block| * margin_unit: its error
    _Alignas(32) float scale[SCREEN_BLOCKS][8];     // of the block's codes, eight times
    float margin_unit, slack;                       // slack: added to every bound
} q6k_screen;

// The same with a scale per group of columns: columns in their natural order, column 0 of the matrix first.
typedef struct ternary_stretch {
    const uint8_t *group;
    uint32_t n_granules, first, end;
    const int8_t *const *x; // n_x columns
} ternary_stretch;

struct cpu_kernels {
    const char *name;

    // Puts the activation codes of n_granules granules into the order in which the bytes of a layout, decoded, deliver
    // columns to this table's ternary_sums, with zeros behind as far as that reads: at most whole quads of granules
    // (256 or 320 bytes).
    void (*ternary_order[TERNARY_N_LAYOUTS])(const int8_t *x, uint32_t n_granules, int8_t *out);
    // sums[16 * c + r] += the sum of code * activation over the span, r < 16, c < n_x; n_x is 1, 2, 4 or 8. Codes count
    // 0..2.
    void (*ternary_sums[TERNARY_N_LAYOUTS])(const ternary_span *span, uint32_t n_x, int32_t *sums);

    // Scales per group of columns, 16 rows side by side: sums[16 * c + r] += the sum of code * activation over the
    // stretch, c < n_x, which is 1, 2, 4 or 8.
    void (*ternary_columns)(const ternary_stretch *s, uint32_t n_x, int32_t *sums);
    // One step of groups() for 16 rows with scales d: the value of a row is (hi - hi_sum) * a, with a second term
    // (lo not NULL) fma(hi - hi_sum, a, (lo - lo_sum) * b).
    void (*ternary_fold)(const int32_t *hi, int32_t hi_sum, float a, const int32_t *lo, int32_t lo_sum, float b,
                         const float d[TERNARY_ROWS], float chain[TERNARY_ROWS]);
    int32_t (*sum_codes)(const int8_t *x, uint32_t n); // n a multiple of 64

    // Dequantises n elements from a block boundary on.
    void (*dense_to_float)(dense_type type, const uint8_t *row, uint32_t n, float *out);
    // Continues the accumulators of dot64 over n stored elements, n a multiple of the block.
    void (*dense_dot)(dense_type type, const uint8_t *row, const float *x, uint32_t n, float acc[64]);
    // dot64 of DENSE_ROWS whole rows of F32, F16 or BF16; NULL in tables where one after the other is as good.
    void (*dense_dots)(dense_type type, const uint8_t *const rows[DENSE_ROWS], const float *x, uint32_t n,
                       float acc[DENSE_ROWS][64]);
    // dot64 of a whole row of Q6_K; NULL in tables where dense_dot has no better form. x comes twice: as it is, and as
    // q6k_operand put it in n floats; that returns false where values of x do not allow it.
    bool (*q6k_operand)(const float *x, uint32_t n, float *out);
    void (*q6k_dot)(const uint8_t *row, const float *x, const float *operand, uint32_t n, float acc[64]);
    // Bounds that dot64 of DENSE_ROWS rows of Q6_K does not exceed; NULL in tables that have q6k_dot alone, or none.
    void (*q6k_upper)(const uint8_t *const rows[DENSE_ROWS], const q6k_screen *x, uint32_t n, float upper[DENSE_ROWS]);
    // As dense_dot for 4 rows and 2 columns x of floats: pair (r, c) has the accumulators acc + 64 * (4 * c + r).
    void (*dense_tile)(const float *rows, size_t row_stride, const float *x, size_t x_stride, uint32_t n, float *acc);
    float (*tree64)(const float acc[64]);

    // INT8 and INT4 rows (dense.h). sums[i] = the sum of code * x[i][c] over n columns, a multiple of 64, for n_x
    // columns of activations, an even number; x_sum: the sum of each.
    void (*int8_sums)(const int8_t *row, const int8_t *const *x, const int32_t *x_sum, uint32_t n_x, uint32_t n,
                      int32_t *sums);
    // out[g] = 8 times the sum of the 64 activations of group g.
    void (*int4_bias)(const int8_t *x, uint32_t n_groups, int32_t *out);
    // Continues the chains of groups() for its eight parts at once: step s takes group first[p] + s of part p.
    void (*int4_parts)(const int4_span *span, const uint32_t first[8], uint32_t n_steps, float parts[8]);

    float (*sumsq256)(const float *x, uint32_t n);
    void (*norm)(const float *x, float r, const float *g, uint32_t n, float *y); // y may be x
    uint32_t (*absmax)(const float *x, uint32_t n);                              // scalar_magnitude
    uint32_t (*absmax_product)(const float *x, const float *g, uint32_t n);      // of x_i * g_i
    int32_t (*codes)(const float *x, float multiplier, uint32_t n, int8_t *out); // returns the sum of codes
    int32_t (*codes_product)(const float *x, const float *g, float multiplier, uint32_t n, int8_t *out);
    int32_t (*codes_rest)(const float *x, const int8_t *hi, float a, float multiplier, uint32_t n, int8_t *out);
    void (*gate_relu2)(const float *g, const float *u, uint32_t n, float *y);
    void (*gate_silu)(const float *g, const float *u, uint32_t n, float *y);
    void (*add)(float *h, const float *y, uint32_t n);
    void (*rotate)(float *head, const float *cos_sin, uint32_t n_dims, bool adjacent); // one head, as rope_kv has it

    // One block of attention (64 positions). K f32 and f16 is d-major, everything else position-major (kv.h).
    void (*scores)(int k_type, const float *q, const void *k, uint32_t head_dim, float scale, float s[64]); // f32, f16
    // hi, lo: the terms of q, widened; k: codes, then 64 scales.
    void (*scores_int8)(const int16_t *hi, const int16_t *lo, float a, float b, const int8_t *k, uint32_t head_dim,
                        float scale, float s[64]);
    void (*softmax)(const float s[64], float max, uint32_t n_present, float p[64]); // exp(s - max), absent ones +0
    void (*values)(int v_type, const float *p, const void *v, uint32_t n_present, uint32_t head_dim,
                   float *o); // f32, f16
    void (*values_int8)(const int8_t hi[64], const int8_t lo[64], float a, float b, const int8_t *v, uint32_t head_dim,
                        float *o);
    // int4 (kv.h): k a whole part; v from the first byte of n values of position 0 on, rows of head_dim / 2 bytes.
    void (*scores_int4)(const int8_t *hi, const int8_t *lo, float a, float b, const uint8_t *k, uint32_t head_dim,
                        float scale, float s[64]);
    void (*values_int4)(const int8_t hi[64], const int8_t lo[64], float a, float b, const uint8_t *v, uint32_t head_dim,
                        uint32_t n, float *o);
    void (*merge)(float *into, float al, const float *o, float be, uint32_t head_dim); // into = fma(into, al, o * be)
};

// ternary_order of T80 for tables that take `together` granules at a time: field m of all of them stands together, 16
// bytes a granule. Granules missing from the last quad are zeros.
static inline void cpu_t80_order(const int8_t *x, uint32_t n_granules, uint32_t together, int8_t *out)
{
    for (uint32_t g = 0; g < (n_granules + 3) / 4 * 4; g++)
        for (uint32_t m = 0; m < 5; m++) {
            const int8_t *from = x + T80_GRANULE * (size_t)g + 8 * m;
            int8_t *to = out + T80_GRANULE * (size_t)(g / together * together) + 16 * (together * m + g % together);
            if (g < n_granules) {
                memcpy(to, from, 8);
                memcpy(to + 8, from + 40, 8);
            } else {
                memset(to, 0, 16);
            }
        }
}

// Pairs of `rotate` from `first` on: all of them, or what is left behind whole vectors.
static inline void cpu_rotate_rest(float *head, const float *cos_sin, uint32_t n_dims, bool adjacent, uint32_t first)
{
    uint32_t step = adjacent ? 2 : 1, partner = adjacent ? 1 : n_dims / 2;
    for (uint32_t i = first; i < n_dims / 2; i++) {
        float c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
        float *at = head + step * i, x0 = at[0], x1 = at[partner];
        at[0] = scalar_fma(x0, c, -(x1 * s));
        at[partner] = scalar_fma(x1, c, x0 * s);
    }
}

// Outputs from `first` on of `values` and of `values_int8`, one by one: all of them, or what is left behind whole
// vectors.
static inline void cpu_values_rest(bool is_f16, const float *p, const void *v, uint32_t n_present, uint32_t head_dim,
                                   uint32_t first, float *o)
{
    for (uint32_t d = first; d < head_dim; d++) {
        float sum = 0.0f;
        for (uint32_t j = 0; j < n_present; j++) {
            size_t i = (size_t)j * head_dim + d;
            sum = scalar_fma(p[j], is_f16 ? half_to_float(((const uint16_t *)v)[i]) : ((const float *)v)[i], sum);
        }
        o[d] = sum;
    }
}

static inline void cpu_values_int8_rest(const int8_t hi[64], const int8_t lo[64], float a, float b, const int8_t *v,
                                        uint32_t head_dim, uint32_t first, float *o)
{
    for (uint32_t d = first; d < head_dim; d++) {
        int32_t sum_hi = 0, sum_lo = 0;
        for (uint32_t j = 0; j < 64; j++) {
            sum_hi += hi[j] * v[(size_t)j * head_dim + d];
            sum_lo += lo[j] * v[(size_t)j * head_dim + d];
        }
        o[d] = scalar_fma((float)sum_hi, a, (float)sum_lo * b);
    }
}

extern const cpu_kernels cpu_kernels_portable;
#if defined(__x86_64__)
#define CPU_MAX_KERNELS 4
extern const cpu_kernels cpu_kernels_avx2; // needs AVX2, FMA and F16C
// Put the loops of AVX-VNNI, or of AVX-512 (F, BW, VL, DQ, VNNI), into a copy of the AVX2 table.
void cpu_kernels_refine_avx_vnni(cpu_kernels *k);
void cpu_kernels_refine_avx512(cpu_kernels *k);
#elif defined(__aarch64__)
#define CPU_MAX_KERNELS 4
// Put the loops of NEON into a copy of the portable table, those of its dot products into a copy of the result, those
// of its matrix products into a copy of that.
void cpu_kernels_refine_neon(cpu_kernels *k);
void cpu_kernels_refine_neon_dot(cpu_kernels *k);
void cpu_kernels_refine_neon_i8mm(cpu_kernels *k);
#else
#define CPU_MAX_KERNELS 1
#endif

// The tables that run on this processor, the best one last; returns how many, at most CPU_MAX_KERNELS.
size_t cpu_kernels_list(const cpu_kernels *out[CPU_MAX_KERNELS]);
// The best of them.
const cpu_kernels *cpu_kernels_select(void);

#endif
