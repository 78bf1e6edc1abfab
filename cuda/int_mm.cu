// Products with INT8 and INT4 rows (int_mm of ops.h; the rows are described in common/dense.h): eight lanes a row, four
// rows a warp, for T tokens of two terms each. Weights stream past once for T tokens; activations, a few KiB, come from
// the first-level cache.
//
// INT8: lane l takes 16 bytes at 16l of every 128, and the lanes' sums are added. INT4: lane p walks part p of
// groups(), 32 bytes a group.
#include "dense.cuh"

#define INT_THREADS 256
#define INT_ROWS    (INT_THREADS / 8)

namespace
{

struct int_args {
    matrix_args w;
    const int8_t *hi, *lo;
    const float *hi_scale, *lo_scale;
    float *y;
    uint32_t m, ld_x, ld_y;
    unsigned *flag; // NULL: results need not be finite
    unsigned place;
};

__device__ __forceinline__ int dot16(uint4 w, uint4 x, int sum)
{
    sum = dp4a_s32s32((int)w.x, (int)x.x, dp4a_s32s32((int)w.y, (int)x.y, sum));
    return dp4a_s32s32((int)w.z, (int)x.z, dp4a_s32s32((int)w.w, (int)x.w, sum));
}

__device__ __forceinline__ uint4 signed_codes(uint4 w, int shift)
{
    return make_uint4(int4_signed_codes(w.x >> shift), int4_signed_codes(w.y >> shift), int4_signed_codes(w.z >> shift),
                      int4_signed_codes(w.w >> shift));
}

// The tokens of a pass; those behind the last are that one again.
template <int T> struct token_rows {
    uint32_t token[T];
    size_t at[T];
    __device__ __forceinline__ token_rows(const int_args &a, uint32_t m0)
    {
#pragma unroll
        for (int t = 0; t < T; t++) {
            token[t] = min(m0 + t, a.m - 1);
            at[t] = (size_t)token[t] * a.ld_x;
        }
    }
};

template <int T>
__device__ __forceinline__ void int8_row(const int_args &a, const uint8_t *row, const token_rows<T> &x, uint32_t lane,
                                         float *y)
{
    int hi[T] = {}, lo[T] = {};
#pragma unroll 4
    for (uint32_t c = 16 * lane; c < a.w.n_cols; c += 128) {
        uint4 w = ld_global_nc_v4(row + c);
#pragma unroll
        for (int t = 0; t < T; t++) {
            hi[t] = dot16(w, ld_v4(a.hi + x.at[t] + c), hi[t]);
            lo[t] = dot16(w, ld_v4(a.lo + x.at[t] + c), lo[t]);
        }
    }
    float scale = *(const float *)(row + a.w.n_cols);
#pragma unroll
    for (int t = 0; t < T; t++) {
#pragma unroll
        for (int lanes = 4; lanes > 0; lanes /= 2) {
            hi[t] += __shfl_xor_sync(FULL_WARP, hi[t], lanes);
            lo[t] += __shfl_xor_sync(FULL_WARP, lo[t], lanes);
        }
        y[t] = scalar_ternary2(hi[t], lo[t], a.hi_scale[x.token[t]], a.lo_scale[x.token[t]], scale);
    }
}

template <int T>
__device__ __forceinline__ void int4_row(const int_args &a, const uint8_t *row, const token_rows<T> &x, uint32_t lane,
                                         float *y)
{
    uint32_t n_groups = a.w.n_cols / DENSE_GROUP;
    const uint8_t *scales = row + a.w.n_cols / 2;
#pragma unroll
    for (int t = 0; t < T; t++) y[t] = 0.0f;
    for (uint32_t g = lane * n_groups / 8; g < (lane + 1) * n_groups / 8; g++) {
        uint4 first = ld_global_nc_v4(row + 32 * (size_t)g), second = ld_global_nc_v4(row + 32 * (size_t)g + 16);
        const uint4 w[4] = {signed_codes(first, 0), signed_codes(second, 0), signed_codes(first, 4),
                            signed_codes(second, 4)}; // columns 0-15, 16-31, 32-47, 48-63
        float d = load_half(scales + 2 * g);
#pragma unroll
        for (int t = 0; t < T; t++) {
            int hi = 0, lo = 0;
#pragma unroll
            for (int k = 0; k < 4; k++) {
                hi = dot16(w[k], ld_v4(a.hi + x.at[t] + DENSE_GROUP * g + 16 * k), hi);
                lo = dot16(w[k], ld_v4(a.lo + x.at[t] + DENSE_GROUP * g + 16 * k), lo);
            }
            float v = scalar_fma((float)hi, a.hi_scale[x.token[t]], (float)lo * a.lo_scale[x.token[t]]);
            y[t] = scalar_fma(v, d, y[t]);
        }
    }
    // ((p0 + p1) + (p2 + p3)) + ((p4 + p5) + (p6 + p7))
#pragma unroll
    for (int t = 0; t < T; t++)
#pragma unroll
        for (int lanes = 1; lanes < 8; lanes *= 2) y[t] = y[t] + __shfl_xor_sync(FULL_WARP, y[t], lanes);
}

template <int type, int T> __global__ void __launch_bounds__(INT_THREADS) int_mm(int_args a)
{
    griddep_wait();
    uint32_t r = blockIdx.x * INT_ROWS + threadIdx.x / 8, lane = threadIdx.x % 8;
    const uint8_t *row = a.w.data + (size_t)min(r, a.w.n_rows - 1) * a.w.row_bytes;
    for (uint32_t m0 = blockIdx.y * T; m0 < a.m; m0 += gridDim.y * T) {
        token_rows<T> x(a, m0);
        float y[T];
        if (type == DENSE_INT8)
            int8_row<T>(a, row, x, lane, y);
        else
            int4_row<T>(a, row, x, lane, y);
#pragma unroll
        for (int t = 0; t < T; t++) {
            if (lane != 0 || r >= a.w.n_rows || m0 + t >= a.m) continue;
            if (a.flag != nullptr && !scalar_is_finite(y[t])) raise_flag(a.flag, a.place);
            a.y[(size_t)(m0 + t) * a.ld_y + r] = y[t];
        }
    }
}

template <int type, int T> tern_status launch(stream *s, const op *o, const char *name, tern_error *err)
{
    const op_int_mm *p = &o->int_mm;
    int_args a = {matrix_of(p->w),
                  (const int8_t *)cuda_at(p->x.codes),
                  (const int8_t *)cuda_at(p->x.lo_codes),
                  (const float *)cuda_at(p->x.scale),
                  (const float *)cuda_at(p->x.lo_scale),
                  (float *)cuda_at(p->y),
                  o->m,
                  p->x.ld,
                  p->ld_y,
                  p->check_finite ? (unsigned *)cuda_at(o->flag) : nullptr,
                  o->place};
    uint32_t n_passes = ceil_div(o->m, T);
    dim3 grid(ceil_div(p->w->n_rows, INT_ROWS), n_passes < 65535 ? n_passes : 65535);
    return cuda_launch(s, name, int_mm<type, T>, grid, dim3(INT_THREADS), 0, err, a);
}

#define LAUNCH(type, name)                                                                                             \
    (o->m == 1   ? launch<type, 1>(s, o, "int_mm_" name "_m1", err)                                                    \
     : o->m == 2 ? launch<type, 2>(s, o, "int_mm_" name "_m2", err)                                                    \
     : o->m <= 4 ? launch<type, 4>(s, o, "int_mm_" name "_m4", err)                                                    \
                 : launch<type, 8>(s, o, "int_mm_" name "_m8", err))

} // namespace

tern_status cuda_int_mm(stream *s, const op *o, tern_error *err)
{
    return o->int_mm.w->type == DENSE_INT8 ? LAUNCH(DENSE_INT8, "int8") : LAUNCH(DENSE_INT4, "int4");
}
