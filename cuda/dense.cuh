// Dense rows dequantised on the device, eight consecutive elements at a time: what a lane of dot64 takes, and never
// more than one block. The layouts and the rounding are those of common/dense.c. Rows begin at multiples of 16 bytes;
// blocks inside them stand where their sizes put them, so the finest loads are of 2 bytes.
#ifndef TERN_CUDA_DENSE_CUH
#define TERN_CUDA_DENSE_CUH

#include "int4.h"
#include "launch.cuh"

static __device__ __forceinline__ uint32_t load_u16(const uint8_t *p) { return *(const uint16_t *)p; }
static __device__ __forceinline__ uint32_t load_u32(const uint8_t *p) { return load_u16(p) | load_u16(p + 2) << 16; }
static __device__ __forceinline__ float load_half(const uint8_t *p) { return half_bits_to_float(load_u16(p)); }

// Byte i of eight bytes at p, p even.
struct eight_bytes {
    uint32_t low, high;
    __device__ __forceinline__ explicit eight_bytes(const uint8_t *p) : low(load_u32(p)), high(load_u32(p + 4)) {}
    __device__ __forceinline__ int at(int i) const { return (int)((i < 4 ? low : high) >> (8 * (i % 4)) & 255u); }
    __device__ __forceinline__ int signed_at(int i) const { return (int8_t)at(i); }
};

// The 6-bit scale and minimum of sub-block j (0..7) of Q4_K and Q5_K.
static __device__ __forceinline__ void k_scale(const uint8_t *s, int j, int *scale, int *minimum)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *minimum = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *minimum = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    }
}

// Elements [first, first + 8) of a row into out; first is a multiple of 8. Of float types, whose rows may end inside
// the eight, only the `n` there are: the others are 0.
template <int type> __device__ __forceinline__ void dense_load8(const uint8_t *row, uint32_t first, int n, float *out);

template <>
__device__ __forceinline__ void dense_load8<DENSE_F32>(const uint8_t *row, uint32_t first, int n, float *out)
{
    const float *x = (const float *)row + first;
    if (n == 8) {
        uint4 a = ld_v4(x), b = ld_v4(x + 4);
        const uint32_t bits[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
        for (int i = 0; i < 8; i++) out[i] = scalar_as_float(bits[i]);
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = i < n ? x[i] : 0.0f;
}

// The eight 16-bit numbers at p (16-byte aligned), as far as they are there.
static __device__ __forceinline__ void load_u16x8(const uint8_t *p, int n, uint32_t *out)
{
    if (n == 8) {
        uint4 v = ld_v4(p);
        const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int i = 0; i < 8; i++) out[i] = words[i / 2] >> (16 * (i % 2)) & 0xffffu;
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = i < n ? load_u16(p + 2 * i) : 0;
}

template <>
__device__ __forceinline__ void dense_load8<DENSE_F16>(const uint8_t *row, uint32_t first, int n, float *out)
{
    uint32_t bits[8];
    load_u16x8(row + 2 * (size_t)first, n, bits);
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = half_bits_to_float(bits[i]);
}

template <>
__device__ __forceinline__ void dense_load8<DENSE_BF16>(const uint8_t *row, uint32_t first, int n, float *out)
{
    uint32_t bits[8];
    load_u16x8(row + 2 * (size_t)first, n, bits);
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = bf16_to_float(bits[i]);
}

template <> __device__ __forceinline__ void dense_load8<DENSE_Q8_0>(const uint8_t *row, uint32_t first, int, float *out)
{
    const uint8_t *block = row + (size_t)(first / 32) * 34;
    float d = load_half(block);
    eight_bytes q(block + 2 + first % 32);
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = d * (float)q.signed_at(i);
}

template <> __device__ __forceinline__ void dense_load8<DENSE_Q4_0>(const uint8_t *row, uint32_t first, int, float *out)
{
    const uint8_t *block = row + (size_t)(first / 32) * 18;
    float d = load_half(block);
    uint32_t in_block = first % 32;
    eight_bytes q(block + 2 + in_block % 16);
    int shift = in_block < 16 ? 0 : 4;
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = d * (float)((q.at(i) >> shift & 15) - 8);
}

template <> __device__ __forceinline__ void dense_load8<DENSE_Q4_K>(const uint8_t *row, uint32_t first, int, float *out)
{
    const uint8_t *block = row + (size_t)(first / 256) * 144;
    int j = (int)(first % 256 / 32), scale, minimum;
    k_scale(block + 4, j, &scale, &minimum);
    float factor = load_half(block) * (float)scale, low = -(load_half(block + 2) * (float)minimum);
    eight_bytes q(block + 16 + 32 * (j / 2) + first % 32);
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = scalar_fma(factor, (float)(q.at(i) >> (4 * (j % 2)) & 15), low);
}

template <> __device__ __forceinline__ void dense_load8<DENSE_Q5_K>(const uint8_t *row, uint32_t first, int, float *out)
{
    const uint8_t *block = row + (size_t)(first / 256) * 176;
    int j = (int)(first % 256 / 32), scale, minimum;
    k_scale(block + 4, j, &scale, &minimum);
    float factor = load_half(block) * (float)scale, low = -(load_half(block + 2) * (float)minimum);
    eight_bytes high(block + 16 + first % 32), q(block + 48 + 32 * (j / 2) + first % 32);
#pragma unroll
    for (int i = 0; i < 8; i++)
        out[i] = scalar_fma(factor, (float)((q.at(i) >> (4 * (j % 2)) & 15) | (high.at(i) >> j & 1) << 4), low);
}

template <> __device__ __forceinline__ void dense_load8<DENSE_Q6_K>(const uint8_t *row, uint32_t first, int, float *out)
{
    const uint8_t *block = row + (size_t)(first / 256) * 210;
    uint32_t half = first % 256 / 128, span = first % 128 / 32, i0 = first % 32;
    eight_bytes low(block + 64 * half + 32 * (span % 2) + i0), high(block + 128 + 32 * half + i0);
    int code = (int8_t)block[192 + 8 * half + 2 * span + i0 / 16];
    float scale = load_half(block + 208) * (float)code;
    int shift = span < 2 ? 0 : 4;
#pragma unroll
    for (int i = 0; i < 8; i++)
        out[i] = scale * (float)(((low.at(i) >> shift & 15) | (high.at(i) >> (2 * span) & 3) << 4) - 32);
}

// Ternary rows in the place of a dense type: scale * trit. Eight columns are one field of two words of a granule.
#define DENSE_TERNARY DENSE_N_TYPES
#define DENSE_T80     (DENSE_N_TYPES + 1)

// The code in field m of byte i of a word.
template <ternary_layout L> static __device__ __forceinline__ uint32_t code_of(uint32_t word, int i, uint32_t m)
{
    uint32_t byte = word >> (8 * i) & 255;
    if (L == TERNARY_T64) return byte >> (2 * m) & 3;
    uint32_t power = m == 0 ? 1 : m == 1 ? 3 : m == 2 ? 9 : m == 3 ? 27 : 81;
    return (byte * power & 255) * 3 >> 8;
}

// Where a ternary row stands.
template <ternary_layout L> struct ternary_row {
    static constexpr uint32_t GRANULE = L == TERNARY_T80 ? T80_GRANULE : TERNARY_GRANULE;
    const uint8_t *packed;
    const float *scales;
    uint32_t n_granules, row, group;

    __device__ __forceinline__ ternary_row(const uint8_t *data, const float *scales_, uint32_t, uint32_t n_cols,
                                           uint32_t group_, uint32_t r)
        : packed(data), scales(scales_ + (size_t)r * ((n_cols - 1) / group_ + 1)),
          n_granules((n_cols + GRANULE - 1) / GRANULE), row(r), group(group_)
    {
    }
    // Columns [first, first + 8), the first n of them.
    __device__ __forceinline__ void load8(uint32_t first, int n, float *out) const
    {
        uint32_t g = first / GRANULE, c = first % GRANULE, tile = g / 4, in_tile = min(n_granules - tile * 4, 4u);
        size_t granule = (size_t)(row / 16) * 16 * n_granules + (size_t)tile * 64 + row % 16 / 8 * 8 * in_tile +
                         in_tile * (row % 8) + g % 4;
        const uint32_t *at = (const uint32_t *)(packed + 16 * granule + 8 * (c / (GRANULE / 2)));
        uint32_t words[2] = {at[0], at[1]}, m = c % (GRANULE / 2) / 8;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int trit = (int)code_of<L>(words[i / 4], i % 4, m) - 1;
            out[i] = i < n ? scales[(first + (uint32_t)i) / group] * (float)trit : 0.0f;
        }
    }
};

// A row of any matrix, by its type known at compile time.
template <int type> struct matrix_row {
    const uint8_t *row;
    __device__ __forceinline__ matrix_row(const uint8_t *data, const float *, uint32_t row_bytes, uint32_t, uint32_t,
                                          uint32_t r)
        : row(data + (size_t)r * row_bytes)
    {
    }
    __device__ __forceinline__ void load8(uint32_t first, int n, float *out) const
    {
        dense_load8<type>(row, first, n, out);
    }
};

template <> struct matrix_row<DENSE_TERNARY> : ternary_row<TERNARY_T64> {
    using ternary_row<TERNARY_T64>::ternary_row;
};
template <> struct matrix_row<DENSE_T80> : ternary_row<TERNARY_T80> {
    using ternary_row<TERNARY_T80>::ternary_row;
};

// INT8 and INT4 rows, whose scales stand behind all codes.
template <> struct matrix_row<DENSE_INT8> {
    const uint8_t *row, *scale;
    __device__ __forceinline__ matrix_row(const uint8_t *data, const float *, uint32_t row_bytes, uint32_t n_cols,
                                          uint32_t, uint32_t r)
        : row(data + (size_t)r * row_bytes), scale(row + n_cols)
    {
    }
    __device__ __forceinline__ void load8(uint32_t first, int, float *out) const
    {
        eight_bytes q(row + first);
        float w = *(const float *)scale;
#pragma unroll
        for (int i = 0; i < 8; i++) out[i] = (float)q.signed_at(i) * w;
    }
};

template <> struct matrix_row<DENSE_INT4> {
    const uint8_t *row, *scales;
    __device__ __forceinline__ matrix_row(const uint8_t *data, const float *, uint32_t row_bytes, uint32_t n_cols,
                                          uint32_t, uint32_t r)
        : row(data + (size_t)r * row_bytes), scales(row + n_cols / 2)
    {
    }
    __device__ __forceinline__ void load8(uint32_t first, int, float *out) const
    {
        eight_bytes q(row + first / 64 * 32 + first % 32);
        float d = load_half(scales + first / 64 * 2);
        int shift = first % 64 < 32 ? 0 : 4;
#pragma unroll
        for (int i = 0; i < 8; i++) out[i] = (float)((q.at(i) >> shift & 15) - INT4_BIAS) * d;
    }
};

// A matrix as kernels are handed it.
struct matrix_args {
    const uint8_t *data;
    const float *scales;
    uint32_t row_bytes, n_rows, n_cols, group;
};

static inline matrix_args matrix_of(const weights *w)
{
    return {w->data, w->scales, (uint32_t)w->row_bytes, w->n_rows, w->n_cols, w->is_ternary ? w->group : w->n_cols};
}

template <int type> __device__ __forceinline__ matrix_row<type> row_of(const matrix_args &m, uint32_t r)
{
    return matrix_row<type>(m.data, m.scales, m.row_bytes, m.n_cols, m.group, r);
}

#endif
