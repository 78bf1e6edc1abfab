// Norms and quantisers: a block of 256 threads a row (head_norm: a warp a head), thread i holding accumulator i of
// sumsq256. The tree is folded in shared memory down to 32 accumulators, then by shuffles, in the order of ops.h.
//
// Rows are read again for each pass; a row of activations stays in L1 and L2.
#include "launch.cuh"

#define NORM_THREADS 256 // the accumulators of sumsq256

namespace
{

// acc[j] += acc[j + 16], + 8, ... + 1 over the lanes of a warp: lane 0 has the sum, which all lanes get.
__device__ __forceinline__ float warp_tree(float acc)
{
#pragma unroll
    for (int half = 16; half > 0; half /= 2) acc = acc + __shfl_down_sync(FULL_WARP, acc, half);
    return __shfl_sync(FULL_WARP, acc, 0);
}

// sumsq256 of a row; every thread gets it.
__device__ __forceinline__ float block_sumsq(const float *x, uint32_t n, float *shared)
{
    float acc = 0.0f;
    for (uint32_t i = threadIdx.x; i < n; i += NORM_THREADS) acc = scalar_fma(x[i], x[i], acc);
    shared[threadIdx.x] = acc;
    __syncthreads();
    if (threadIdx.x < 128) shared[threadIdx.x] = shared[threadIdx.x] + shared[threadIdx.x + 128];
    __syncthreads();
    if (threadIdx.x < 64) shared[threadIdx.x] = shared[threadIdx.x] + shared[threadIdx.x + 64];
    __syncthreads();
    if (threadIdx.x < 32) {
        float sum = warp_tree(shared[threadIdx.x] + shared[threadIdx.x + 32]);
        if (threadIdx.x == 0) shared[0] = sum;
    }
    __syncthreads();
    return shared[0];
}

// The largest of the threads' values, and the sum of their integers; every thread gets it.
__device__ __forceinline__ unsigned block_max(unsigned value, unsigned *shared)
{
#pragma unroll
    for (int half = 16; half > 0; half /= 2) value = max(value, __shfl_xor_sync(FULL_WARP, value, half));
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
    __syncthreads();
    value = shared[0];
#pragma unroll
    for (int i = 1; i < NORM_THREADS / 32; i++) value = max(value, shared[i]);
    return value;
}

__device__ __forceinline__ int block_sum(int value, int *shared)
{
#pragma unroll
    for (int half = 16; half > 0; half /= 2) value += __shfl_xor_sync(FULL_WARP, value, half);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
    __syncthreads();
    value = shared[0];
#pragma unroll
    for (int i = 1; i < NORM_THREADS / 32; i++) value += shared[i];
    return value;
}

// Where a row of codes goes.
struct code_rows {
    int8_t *codes;
    float *scale;
    int32_t *sum;
};

struct flag_args {
    unsigned *word;
    unsigned place;
};

__global__ void __launch_bounds__(NORM_THREADS)
    norm(const float *x, const float *g, float *y, uint32_t n, uint32_t ld_x, uint32_t ld_y, float eps, flag_args flag)
{
    SHARED_ARRAY(float, shared, NORM_THREADS);
    griddep_wait();
    x += (size_t)blockIdx.x * ld_x;
    y += (size_t)blockIdx.x * ld_y;
    float ss = block_sumsq(x, n, shared);
    if (threadIdx.x == 0 && !scalar_is_finite(ss)) raise_flag(flag.word, flag.place);
    float r = scalar_rms_factor(ss, (int)n, eps);
    for (uint32_t i = threadIdx.x; i < n; i += NORM_THREADS) y[i] = (x[i] * r) * g[i];
}

// A warp a head: lane l holds accumulators l, l + 32, ... l + 224.
__global__ void __launch_bounds__(NORM_THREADS) head_norm(float *x, const float *g, uint32_t m, uint32_t n_heads,
                                                          uint32_t head_dim, uint32_t ld_x, float eps, flag_args flag)
{
    griddep_wait();
    uint32_t head = blockIdx.x * (NORM_THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (head >= m * n_heads) return; // the whole warp
    x += (size_t)(head / n_heads) * ld_x + (size_t)(head % n_heads) * head_dim;
    float acc[8];
#pragma unroll
    for (int a = 0; a < 8; a++) {
        acc[a] = 0.0f;
        for (uint32_t i = lane + 32 * (uint32_t)a; i < head_dim; i += 256) acc[a] = scalar_fma(x[i], x[i], acc[a]);
    }
#pragma unroll
    for (int half = 4; half > 0; half /= 2)
#pragma unroll
        for (int a = 0; a < half; a++) acc[a] = acc[a] + acc[a + half];
    float ss = warp_tree(acc[0]);
    if (lane == 0 && !scalar_is_finite(ss)) raise_flag(flag.word, flag.place);
    float r = scalar_rms_factor(ss, (int)head_dim, eps);
    for (uint32_t i = lane; i < head_dim; i += 32) x[i] = (x[i] * r) * g[i];
}

__global__ void __launch_bounds__(NORM_THREADS) norm_quant(const float *x, const float *g, code_rows y, uint32_t n,
                                                           uint32_t ld_x, uint32_t ld, float eps, flag_args flag)
{
    SHARED_ARRAY(float, shared, NORM_THREADS);
    SHARED_ARRAY(unsigned, maxima, NORM_THREADS / 32);
    SHARED_ARRAY(int, sums, NORM_THREADS / 32);
    griddep_wait();
    uint32_t row = blockIdx.x;
    x += (size_t)row * ld_x;
    int8_t *codes = y.codes + (size_t)row * ld;
    float ss = block_sumsq(x, n, shared);
    float r = scalar_rms_factor(ss, (int)n, eps);
    unsigned max_bits = 0;
    for (uint32_t i = threadIdx.x; i < n; i += NORM_THREADS) max_bits = max(max_bits, scalar_magnitude(x[i] * g[i]));
    float absmax = scalar_as_float(block_max(max_bits, maxima));
    if (threadIdx.x == 0 && (!scalar_is_finite(ss) || !scalar_is_finite(absmax))) raise_flag(flag.word, flag.place);

    float m = r * absmax;
    bool is_large = m >= SCALAR_QUANT_FLOOR;
    float multiplier = is_large ? scalar_div(127.0f, absmax) : SCALAR_QUANT_SMALL; // r cancels in large rows
    int sum = 0;
    for (uint32_t i = threadIdx.x; i < ld; i += NORM_THREADS) {
        int code = 0;
        if (i < n) {
            float t = x[i] * g[i];
            code = scalar_code((is_large ? t : t * r) * multiplier);
        }
        codes[i] = (int8_t)code;
        sum += code;
    }
    sum = block_sum(sum, sums);
    if (threadIdx.x == 0) {
        y.scale[row] = scalar_div(is_large ? m : SCALAR_QUANT_FLOOR, 127.0f);
        y.sum[row] = sum;
    }
}

template <bool is_two_term>
__global__ void __launch_bounds__(NORM_THREADS)
    quant(const float *x, code_rows hi, code_rows lo, uint32_t n, uint32_t ld_x, uint32_t ld, flag_args flag)
{
    SHARED_ARRAY(unsigned, maxima, NORM_THREADS / 32);
    SHARED_ARRAY(int, hi_sums, NORM_THREADS / 32);
    SHARED_ARRAY(int, lo_sums, NORM_THREADS / 32);
    griddep_wait();
    uint32_t row = blockIdx.x;
    x += (size_t)row * ld_x;
    unsigned max_bits = 0;
    for (uint32_t i = threadIdx.x; i < n; i += NORM_THREADS) max_bits = max(max_bits, scalar_magnitude(x[i]));
    float m = scalar_as_float(block_max(max_bits, maxima));
    if (threadIdx.x == 0 && !scalar_is_finite(m)) raise_flag(flag.word, flag.place);

    bool is_small = !(m >= SCALAR_QUANT_FLOOR);
    float multiplier = is_small ? SCALAR_QUANT_SMALL : scalar_div(127.0f, m);
    float a = scalar_div(is_small ? SCALAR_QUANT_FLOOR : m, 127.0f);
    float rest_multiplier = is_two_term ? scalar_div(254.0f, a) : 0.0f;
    int hi_sum = 0, lo_sum = 0;
    for (uint32_t i = threadIdx.x; i < ld; i += NORM_THREADS) {
        float value = i < n ? x[i] : 0.0f;
        int code = i < n ? scalar_code(value * multiplier) : 0;
        hi.codes[(size_t)row * ld + i] = (int8_t)code;
        hi_sum += code;
        if (is_two_term) {
            int rest = i < n ? scalar_code(scalar_fma(-(float)code, a, value) * rest_multiplier) : 0;
            lo.codes[(size_t)row * ld + i] = (int8_t)rest;
            lo_sum += rest;
        }
    }
    hi_sum = block_sum(hi_sum, hi_sums);
    if (is_two_term) lo_sum = block_sum(lo_sum, lo_sums);
    if (threadIdx.x != 0) return;
    hi.scale[row] = a;
    hi.sum[row] = hi_sum;
    if (is_two_term) {
        lo.scale[row] = scalar_div(a, 254.0f);
        lo.sum[row] = lo_sum;
    }
}

flag_args flag_of(const op *o) { return {(unsigned *)cuda_at(o->flag), o->place}; }

code_rows hi_of(const quantized *q)
{
    return {(int8_t *)cuda_at(q->codes), (float *)cuda_at(q->scale), (int32_t *)cuda_at(q->sum)};
}

code_rows lo_of(const quantized *q)
{
    return {(int8_t *)cuda_at(q->lo_codes), (float *)cuda_at(q->lo_scale), (int32_t *)cuda_at(q->lo_sum)};
}

} // namespace

tern_status cuda_norm(stream *s, const op *o, tern_error *err)
{
    const op_norm *a = &o->norm;
    return cuda_launch(s, "norm", norm, dim3(o->m), dim3(NORM_THREADS), 0, err, (const float *)cuda_at(a->x),
                       (const float *)cuda_at(a->g), (float *)cuda_at(a->y), a->n, a->ld_x, a->ld_y, a->eps,
                       flag_of(o));
}

tern_status cuda_head_norm(stream *s, const op *o, tern_error *err)
{
    const op_head_norm *a = &o->head_norm;
    uint64_t n_warps = (uint64_t)o->m * a->n_heads, n_blocks = (n_warps + NORM_THREADS / 32 - 1) / (NORM_THREADS / 32);
    if (n_warps > INT32_MAX)
        return error_set(err, TERN_DEVICE_UNSUPPORTED, "head_norm: %u rows of %u heads are more than 2^31 - 1", o->m,
                         a->n_heads);
    return cuda_launch(s, "head_norm", head_norm, dim3((unsigned)n_blocks), dim3(NORM_THREADS), 0, err,
                       (float *)cuda_at(a->x), (const float *)cuda_at(a->g), o->m, a->n_heads, a->head_dim, a->ld_x,
                       a->eps, flag_of(o));
}

tern_status cuda_norm_quant(stream *s, const op *o, tern_error *err)
{
    const op_norm_quant *a = &o->norm_quant;
    return cuda_launch(s, "norm_quant", norm_quant, dim3(o->m), dim3(NORM_THREADS), 0, err,
                       (const float *)cuda_at(a->x), (const float *)cuda_at(a->g), hi_of(&a->y), a->n, a->ld_x, a->y.ld,
                       a->eps, flag_of(o));
}

tern_status cuda_quant(stream *s, const op *o, tern_error *err)
{
    const op_quant *a = &o->quant;
    bool is_two_term = o->kind == OP_QUANT2;
    return cuda_launch(s, is_two_term ? "quant2" : "quant", is_two_term ? quant<true> : quant<false>, dim3(o->m),
                       dim3(NORM_THREADS), 0, err, (const float *)cuda_at(a->x), hi_of(&a->y),
                       is_two_term ? lo_of(&a->y) : code_rows{}, a->n, a->ld_x, a->y.ld, flag_of(o));
}
