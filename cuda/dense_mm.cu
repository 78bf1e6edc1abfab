// Products with dense weights, and with ternary ones for float activations, in the order of dot64: eight lanes a row,
// lane l holding accumulators 8l .. 8l + 7, which are eight consecutive elements of every 64; four rows a warp. The
// tree is shuffles over 4, 2, 1 lanes, then 4, 2, 1 inside the lane. dense_mm takes all rows, rescore those it is told.
//
// A block takes 32 rows and up to T tokens, whose activations it stages in shared memory, a chunk of K at a time. In a
// chunk the first and the second four of each eight stand apart, so that eight lanes' 16-byte loads meet no bank twice.
#include "dense.cuh"

#define DENSE_THREADS 256
#define DENSE_ROWS    (DENSE_THREADS / 8)
#define STAGED        4096u // floats of shared memory: T tokens of STAGED / T columns

namespace
{

struct dense_args {
    matrix_args w;
    const float *x;
    float *y;
    uint32_t m, ld_x, ld_y;
    unsigned *flag; // NULL: results need not be finite
    unsigned place;
};

__device__ __forceinline__ uint32_t staged_place(uint32_t c)
{
    return c / 64 * 64 + c % 8 / 4 * 32 + c % 64 / 8 * 4 + c % 4;
}

// Columns [first, first + STAGED / T) of tokens m0 .. m0 + T - 1; what does not exist is left out of the products.
template <int T> __device__ __forceinline__ void stage(const dense_args &a, uint32_t m0, uint32_t first, float *staged)
{
    const uint32_t chunk = STAGED / T;
    for (uint32_t i = threadIdx.x; i < STAGED; i += DENSE_THREADS) {
        uint32_t token = m0 + i / chunk, c = i % chunk;
        bool exists = token < a.m && first + c < a.w.n_cols;
        staged[i / chunk * chunk + staged_place(c)] = exists ? a.x[(size_t)token * a.ld_x + first + c] : 0.0f;
    }
}

// The eight activations of a lane in group g of a staged token.
__device__ __forceinline__ void staged_load8(const float *token, uint32_t g, uint32_t lane, float *out)
{
    uint4 a = ld_v4(token + 64 * g + 4 * lane), b = ld_v4(token + 64 * g + 32 + 4 * lane);
    const uint32_t bits[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = scalar_as_float(bits[i]);
}

// Continues the accumulators of a lane over n columns from `first` on, of T staged tokens.
template <int type, int T>
__device__ __forceinline__ void add_chunk(const matrix_row<type> &w, const float *staged, uint32_t first, uint32_t n,
                                          uint32_t lane, float (&acc)[T][8])
{
    const uint32_t chunk = STAGED / T;
    uint32_t n_whole = n / 64;
    float weight[8], x[8];
#pragma unroll(T == 1 ? 4 : T == 4 ? 2 : 1) // loads in flight against registers
    for (uint32_t g = 0; g < n_whole; g++) {
        w.load8(first + 64 * g + 8 * lane, 8, weight);
#pragma unroll
        for (int t = 0; t < T; t++) {
            staged_load8(staged + t * chunk, g, lane, x);
#pragma unroll
            for (int i = 0; i < 8; i++) acc[t][i] = scalar_fma(weight[i], x[i], acc[t][i]);
        }
    }
    int n_left = (int)(n - 64 * n_whole) - 8 * (int)lane; // of the last, incomplete 64
    if (n_left <= 0) return;
    n_left = min(n_left, 8);
    w.load8(first + 64 * n_whole + 8 * lane, n_left, weight);
#pragma unroll
    for (int t = 0; t < T; t++) {
        staged_load8(staged + t * chunk, n_whole, lane, x);
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (i < n_left) acc[t][i] = scalar_fma(weight[i], x[i], acc[t][i]);
    }
}

// The 64-tree over eight lanes' accumulators.
__device__ __forceinline__ float fold64(float *acc)
{
#pragma unroll
    for (int lanes = 4; lanes > 0; lanes /= 2)
#pragma unroll
        for (int j = 0; j < 8; j++) acc[j] = acc[j] + __shfl_xor_sync(FULL_WARP, acc[j], lanes);
#pragma unroll
    for (int half = 4; half > 0; half /= 2)
#pragma unroll
        for (int j = 0; j < half; j++) acc[j] = acc[j] + acc[j + half];
    return acc[0];
}

template <int type, int T> __global__ void __launch_bounds__(DENSE_THREADS, T == 1 ? 4 : 2) dense_mm(dense_args a)
{
    SHARED_ARRAY(float, staged, STAGED);
    griddep_wait();
    const uint32_t chunk = STAGED / T;
    uint32_t row = blockIdx.x * DENSE_ROWS + threadIdx.x / 8, lane = threadIdx.x % 8;
    matrix_row<type> w = row_of<type>(a.w, min(row, a.w.n_rows - 1));
    for (uint32_t m0 = blockIdx.y * T; m0 < a.m; m0 += gridDim.y * T) {
        float acc[T][8] = {};
        for (uint32_t first = 0; first < a.w.n_cols; first += chunk) {
            __syncthreads();
            stage<T>(a, m0, first, staged);
            __syncthreads();
            add_chunk<type, T>(w, staged, first, min(chunk, a.w.n_cols - first), lane, acc);
        }
#pragma unroll
        for (int t = 0; t < T; t++) {
            float y = fold64(acc[t]);
            if (lane != 0 || row >= a.w.n_rows || m0 + t >= a.m) continue;
            if (a.flag != nullptr && !scalar_is_finite(y)) raise_flag(a.flag, a.place);
            a.y[(size_t)(m0 + t) * a.ld_y + row] = y;
        }
    }
}

// Block (x, y): ids 32x .. 32x + 31 of token y, then of every gridDim.y-th token after it.
template <int type>
__global__ void __launch_bounds__(DENSE_THREADS, 4) rescore(dense_args a, const int32_t *ids, uint32_t k)
{
    SHARED_ARRAY(float, staged, STAGED);
    griddep_wait();
    uint32_t j = blockIdx.x * DENSE_ROWS + threadIdx.x / 8, lane = threadIdx.x % 8;
    for (uint32_t m = blockIdx.y; m < a.m; m += gridDim.y) {
        uint32_t id = (uint32_t)ids[(size_t)m * k + min(j, k - 1)];
        matrix_row<type> w = row_of<type>(a.w, id);
        float acc[1][8] = {};
        for (uint32_t first = 0; first < a.w.n_cols; first += STAGED) {
            __syncthreads();
            stage<1>(a, m, first, staged);
            __syncthreads();
            add_chunk<type, 1>(w, staged, first, min(STAGED, a.w.n_cols - first), lane, acc);
        }
        float y = fold64(acc[0]);
        if (lane != 0 || j >= k) continue;
        if (!scalar_is_finite(y)) raise_flag(a.flag, a.place);
        a.y[(size_t)m * a.ld_y + id] = y;
    }
}

// Of dense_mm and rescore.
template <class operands> dense_args args_of(const op *o, const operands *p, bool check_finite)
{
    return {matrix_of(p->w),
            (const float *)cuda_at(p->x),
            (float *)cuda_at(p->y),
            o->m,
            p->ld_x,
            p->ld_y,
            check_finite ? (unsigned *)cuda_at(o->flag) : nullptr,
            o->place};
}

template <int type> tern_status launch_rescore(stream *s, const op *o, const char *name, tern_error *err)
{
    const op_rescore *p = &o->rescore;
    dense_args a = args_of(o, p, true);
    dim3 grid(ceil_div(p->k, DENSE_ROWS), o->m < 65535 ? o->m : 65535);
    return cuda_launch(s, name, rescore<type>, grid, dim3(DENSE_THREADS), 0, err, a, (const int32_t *)cuda_at(p->ids),
                       p->k);
}

template <int type, int T> tern_status launch(stream *s, const op *o, const char *name, tern_error *err)
{
    const op_dense_mm *p = &o->dense_mm;
    dense_args a = args_of(o, p, p->check_finite);
    uint32_t n_passes = ceil_div(o->m, T);
    dim3 grid(ceil_div(p->w->n_rows, DENSE_ROWS), n_passes < 65535 ? n_passes : 65535);
    return cuda_launch(s, name, dense_mm<type, T>, grid, dim3(DENSE_THREADS), 0, err, a);
}

// Names in errors and bench rows: the type, then the tokens a block takes.
#define LAUNCH(type, name)                                                                                             \
    (o->m == 1   ? launch<type, 1>(s, o, "dense_mm_" name "_m1", err)                                                  \
     : o->m <= 4 ? launch<type, 4>(s, o, "dense_mm_" name "_m4", err)                                                  \
                 : launch<type, 8>(s, o, "dense_mm_" name "_m8", err))

#define LAUNCH_RESCORE(type, name) launch_rescore<type>(s, o, "rescore_" name, err)

// The launch for a ternary matrix, or a dense one as files hold them.
#define RETURN_BY_TYPE(w, launch_type)                                                                                 \
    do {                                                                                                               \
        if ((w)->is_ternary && (w)->layout == TERNARY_T80) return launch_type(DENSE_T80, "t80");                       \
        if ((w)->is_ternary) return launch_type(DENSE_TERNARY, "t64");                                                 \
        switch ((w)->type) {                                                                                           \
        case DENSE_F32: return launch_type(DENSE_F32, "f32");                                                          \
        case DENSE_F16: return launch_type(DENSE_F16, "f16");                                                          \
        case DENSE_BF16: return launch_type(DENSE_BF16, "bf16");                                                       \
        case DENSE_Q8_0: return launch_type(DENSE_Q8_0, "q8_0");                                                       \
        case DENSE_Q4_0: return launch_type(DENSE_Q4_0, "q4_0");                                                       \
        case DENSE_Q4_K: return launch_type(DENSE_Q4_K, "q4_k");                                                       \
        case DENSE_Q5_K: return launch_type(DENSE_Q5_K, "q5_k");                                                       \
        case DENSE_Q6_K: return launch_type(DENSE_Q6_K, "q6_k");                                                       \
        default: break;                                                                                                \
        }                                                                                                              \
    } while (0)

} // namespace

tern_status cuda_dense_mm(stream *s, const op *o, tern_error *err)
{
    const weights *w = o->dense_mm.w;
    RETURN_BY_TYPE(w, LAUNCH);
    // INT8 and INT4 were refused before: int_mm.
    return error_set(err, TERN_INTERNAL, "dense_mm: dense type %d does not exist", (int)w->type);
}

tern_status cuda_rescore(stream *s, const op *o, tern_error *err)
{
    const weights *w = o->rescore.w;
    RETURN_BY_TYPE(w, LAUNCH_RESCORE);
    if (w->type == DENSE_INT8) return LAUNCH_RESCORE(DENSE_INT8, "int8");
    if (w->type == DENSE_INT4) return LAUNCH_RESCORE(DENSE_INT4, "int4");
    return error_set(err, TERN_INTERNAL, "rescore: dense type %d does not exist", (int)w->type);
}
