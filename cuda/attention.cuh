// What the attention kernels share: their arguments, quant2 with the floor, how states are folded in the defined order
// (ops.h), and the choice between them, which a window of 16 rows makes on the device. Kernels for windows
// (attention_prefill.cu, fast_attention.cu) also share how windows go to thread blocks.
#ifndef TERN_CUDA_ATTENTION_CUH
#define TERN_CUDA_ATTENTION_CUH

#include <math.h>

#include "kv.cuh"

#define ATTENTION_THREADS 128
#define ATTENTION_WINDOW  FAST_ATTENTION_WINDOW // rows; the rows of a tensor core's tile
#define N_WARPS           4                     // of a thread block; also the blocks of a group
#define FLOOR             0x1p-100f

struct attention_args {
    const float *q;
    float *y;
    kv_args kv;
    uint32_t m, n_heads, heads_per_kv, ld_q, ld_y;
    uint32_t queries;      // of a thread block at the most
    uint32_t rows_per_run; // consecutive rows of a sequence that go together
    uint32_t n_chunks;     // thread blocks for the heads of a KV head
    uint32_t n_groups;     // of the longest table
    float scale;
    float *states; // [rows][heads][n_groups][head_dim + 2]: o, m, l of a group
    unsigned *counters;
    unsigned *flag; // NULL: neither int8 nor int4
    unsigned place;
    bool skips_windows; // windows of one sequence are left to a kernel for windows
};

// attention_prefill.cu: whether windows of one sequence go to tensor cores, judged by the op's shapes; if so
// attention_prefill enqueues the kernel that makes them, and the general kernel is to skip them.
bool attention_prefill_takes(const device *d, const attention_args *a);
tern_status attention_prefill(stream *s, attention_args a, tern_error *err);
// fast_attention.cu: enqueues the kernel that makes windows of one sequence within OP_FAST_ATTENTION's error.
tern_status attention_fast(stream *s, attention_args a, tern_error *err);

#if defined(TERN_CUDA_SHIM) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800)
#define ATTENTION_HAS_MMA 1
#else
#define ATTENTION_HAS_MMA 0 // kernels for windows are empty: the host never chooses them below sm_80
#endif

// Whether the window that holds `row` has at least half of its rows and all of them are of one sequence.
static __device__ __forceinline__ bool attention_is_window(const attention_args &a, uint32_t row)
{
    uint32_t first = row / ATTENTION_WINDOW * ATTENTION_WINDOW, n = min(a.m - first, (uint32_t)ATTENTION_WINDOW);
    uint32_t i = threadIdx.x % ATTENTION_WINDOW;
    bool is_same = a.kv.row_table[first + (i < n ? i : 0)] == a.kv.row_table[first];
    return n >= ATTENTION_WINDOW / 2 && __all_sync(FULL_WARP, is_same);
}

// What a thread block of a kernel for windows works at: windows of one sequence, heads of a KV head.
struct attention_run {
    uint32_t window, n_windows, kv_head;
    uint32_t last; // the largest position
    const int32_t *table;
};

// Block (window, KV head and chunk of its query heads, split). Windows of one sequence that stand together, as many as
// there are warps for, are one run, whose first window does the work of all; false: there is none here. The last
// windows, which see most in a prompt, come first.
static __device__ __forceinline__ bool attention_find_run(const attention_args &a, attention_run *out)
{
    uint32_t window = gridDim.x - 1 - blockIdx.x, per_block = a.queries;
    if (!attention_is_window(a, window * ATTENTION_WINDOW)) return false;
    const int32_t *tables = a.kv.row_table;
    int32_t table = tables[window * ATTENTION_WINDOW];
    if (window % per_block != 0 && attention_is_window(a, (window - 1) * ATTENTION_WINDOW) &&
        tables[(window - 1) * ATTENTION_WINDOW] == table)
        return false;
    uint32_t n = 1;
    while ((window + n) % per_block != 0 && window + n < gridDim.x &&
           attention_is_window(a, (window + n) * ATTENTION_WINDOW) && tables[(window + n) * ATTENTION_WINDOW] == table)
        n++;
    unsigned position = 0;
    for (uint32_t i = threadIdx.x % 32; i < n * ATTENTION_WINDOW; i += 32)
        if (window * ATTENTION_WINDOW + i < a.m)
            position = max(position, (unsigned)a.kv.row_position[window * ATTENTION_WINDOW + i]);
    *out = {window, n, blockIdx.y / a.n_chunks, warp_max(position), kv_table(a.kv, window * ATTENTION_WINDOW)};
    return true;
}

// The largest of a row's values, where the row of a tensor core's tile is spread over four lanes.
static __device__ __forceinline__ float row_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 1));
    return fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 2));
}

static __device__ __forceinline__ unsigned row_max(unsigned x)
{
    x = max(x, __shfl_xor_sync(FULL_WARP, x, 1));
    return max(x, __shfl_xor_sync(FULL_WARP, x, 2));
}

// The launch of a kernel for windows with n_warps a thread block, of which a multiprocessor holds per_sm; sets the
// windows of a thread block (queries) and n_chunks. Positions are spread over thread blocks where windows and heads
// alone leave the device idle, as far as working memory goes.
static inline dim3 attention_window_grid(const device *d, uint32_t n_warps, uint32_t per_sm, attention_args *a)
{
    uint32_t n_windows = ceil_div(a->m, ATTENTION_WINDOW), n_kv_heads = a->n_heads / a->heads_per_kv;
    uint32_t heads = a->heads_per_kv < n_warps ? a->heads_per_kv : n_warps;
    a->queries = n_warps / heads;
    a->n_chunks = ceil_div(a->heads_per_kv, heads);
    uint64_t n_blocks = (uint64_t)ceil_div(n_windows, a->queries) * n_kv_heads * a->n_chunks;
    uint64_t n_splits = per_sm * (uint64_t)d->n_sms / n_blocks;
    uint64_t state_bytes = (uint64_t)a->m * a->n_heads * a->n_groups * (uint64_t)(a->kv.head_dim + 2) * sizeof(float);
    if (n_splits > a->n_groups) n_splits = a->n_groups;
    if (n_splits < 1 || (uint64_t)n_windows * n_kv_heads * a->n_chunks > CUDA_COUNTERS ||
        state_bytes > d->scratch_bytes)
        n_splits = 1;
    return dim3(n_windows, n_kv_heads * a->n_chunks, (unsigned)n_splits);
}

// quant2 with the floor, of values spread over a warp in any way: from their absmax, the factors and scales.
struct quant2_scales {
    float multiplier, a, rest_multiplier, b;
    __device__ __forceinline__ explicit quant2_scales(float absmax)
    {
        float c = absmax >= FLOOR ? absmax : FLOOR;
        multiplier = scalar_div(127.0f, c);
        a = scalar_div(c, 127.0f);
        rest_multiplier = scalar_div(254.0f, a);
        b = scalar_div(a, 254.0f);
    }
    __device__ __forceinline__ int hi(float x) const { return scalar_code(x * multiplier); }
    __device__ __forceinline__ int lo(float x, int hi) const
    {
        return scalar_code(scalar_fma(-(float)hi, a, x) * rest_multiplier);
    }
};

// How (m, l) and what goes with them change when the next state's maximum and sum are folded in.
struct fold {
    float m, l, al, be;
    __device__ __forceinline__ fold(float m0, float l0, float m1, float l1)
    {
        m = m1 > m0 ? m1 : m0;
        al = scalar_exp(m0 - m);
        be = scalar_exp(m1 - m);
        l = scalar_fma(l0, al, l1 * be);
    }
    __device__ __forceinline__ float o(float o0, float o1) const { return scalar_fma(o0, al, o1 * be); }
};

// The states of a query's groups in working memory; its output.
static __device__ __forceinline__ float *attention_states(const attention_args &a, uint32_t row, uint32_t head)
{
    return a.states + ((size_t)row * a.n_heads + head) * a.n_groups * (size_t)(a.kv.head_dim + 2);
}
static __device__ __forceinline__ float *attention_output(const attention_args &a, uint32_t row, uint32_t head)
{
    return a.y + (size_t)row * a.ld_y + (size_t)head * (uint32_t)a.kv.head_dim;
}

// A query's output from the states of all of its groups, by a whole thread block. Maxima and factors first, THREADS
// groups at a time, then each thread its dimensions. Shared memory: al and be, THREADS values each, and two values
// carried.
template <int THREADS>
static __device__ void fold_spread(const attention_args &a, const float *states, float *y, uint32_t n_groups, float *al,
                                   float *be, float *carried)
{
    int hd = a.kv.head_dim;
    for (uint32_t first = 0; first < n_groups; first += THREADS) {
        uint32_t count = min(n_groups - first, (uint32_t)THREADS), t = threadIdx.x;
        __syncthreads(); // the factors before are used up
        if (t < count) {
            const float *state = states + (size_t)(first + t) * (size_t)(hd + 2);
            al[t] = state[hd];
            be[t] = state[hd + 1];
        }
        __syncthreads();
        if (t == 0) {
            float m = carried[0], l = carried[1];
            for (uint32_t g = 0; g < count; g++) {
                float next_m = al[g], next_l = be[g];
                if (first + g == 0) {
                    m = next_m;
                    l = next_l;
                    continue;
                }
                fold f(m, l, next_m, next_l);
                m = f.m;
                l = f.l;
                al[g] = f.al;
                be[g] = f.be;
            }
            carried[0] = m;
            carried[1] = l;
        }
        __syncthreads();
        bool is_last = first + count == n_groups;
        for (int d = (int)t; d < hd; d += THREADS) {
            float o = first == 0 ? states[d] : y[d];
            for (uint32_t g = first == 0; g < count; g++)
                o = scalar_fma(o, al[g], states[(size_t)(first + g) * (size_t)(hd + 2) + (size_t)d] * be[g]);
            y[d] = is_last ? scalar_div(o, carried[1]) : o;
        }
    }
}

// Whether this thread block is the last of `n` to arrive; the counter is then zero again.
static __device__ __forceinline__ bool arrives_last(unsigned *counter, unsigned n, unsigned *shared)
{
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        *shared = atomicAdd(counter, 1u);
        if (*shared == n - 1) *counter = 0;
    }
    __syncthreads();
    if (*shared != n - 1) return false;
    __threadfence();
    return true;
}

#endif
