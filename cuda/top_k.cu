// The k largest values of rows, exactly: larger first, then the lower index, NaN last. A value and its index make one
// 64-bit key that orders so, hence any way of selecting gives the same answer.
//
// A block takes 2,048 values of a row and writes its best, sorted, to the device's working memory; the last block of a
// row to arrive merges them. k = 1 needs no sorting.
#include "launch.cuh"
#include "scalar.h"

#define TOP_THREADS 256
#define SEGMENT     2048u
typedef unsigned long long top_key;

namespace
{

struct top_args {
    const float *x;
    int32_t *ids;
    float *values;
    top_key *best;      // [rows of this launch][segments][list]
    unsigned *counters; // one a row
    uint32_t n, ld_x, k;
    uint32_t list; // k rounded up to a power of two
};

// 0 is below every key.
__device__ __forceinline__ top_key key_of(float x, uint32_t index)
{
    float value = x + 0.0f; // -0 becomes +0
    scalar_u32 bits = scalar_as_u32(value);
    scalar_u32 order = bits >> 31 ? ~bits : bits | 0x80000000u;
    if (value != value) order = 0;
    return (top_key)order << 32 | (0xffffffffu - index);
}

__device__ __forceinline__ uint32_t index_of(top_key key) { return 0xffffffffu - (uint32_t)key; }

__device__ __forceinline__ top_key larger(top_key a, top_key b) { return a > b ? a : b; }

// The largest of the threads' keys, in thread 0.
__device__ __forceinline__ top_key block_largest(top_key key, top_key *shared)
{
#pragma unroll
    for (int half = 16; half > 0; half /= 2) key = larger(key, __shfl_xor_sync(FULL_WARP, key, half));
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = key;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int i = 1; i < TOP_THREADS / 32; i++) key = larger(key, shared[i]);
    return key;
}

// Bitonic: orders keys[lo] and keys[lo + stride], where lo is the i-th index whose bit `stride` is 0.
__device__ __forceinline__ void order_pair(top_key *keys, uint32_t i, uint32_t stride, uint32_t size)
{
    uint32_t lo = 2 * i - (i & (stride - 1)), hi = lo + stride;
    top_key a = keys[lo], b = keys[hi];
    bool descends = (lo & size) == 0;
    if (descends ? a < b : a > b) {
        keys[lo] = b;
        keys[hi] = a;
    }
}

// Sorts SEGMENT keys, the largest first.
__device__ __forceinline__ void sort_segment(top_key *keys)
{
    for (uint32_t size = 2; size <= SEGMENT; size *= 2)
        for (uint32_t stride = size / 2; stride > 0; stride /= 2) {
            __syncthreads();
            for (uint32_t i = threadIdx.x; i < SEGMENT / 2; i += TOP_THREADS) order_pair(keys, i, stride, size);
        }
    __syncthreads();
}

// The best `list` keys of two sorted lists: the larger of each key and its mirror image make a bitonic sequence of
// them, which log2(list) steps sort.
__device__ __forceinline__ void merge_list(top_key *keys, const top_key *other, uint32_t list)
{
    if (threadIdx.x < list) keys[threadIdx.x] = larger(keys[threadIdx.x], other[list - 1 - threadIdx.x]);
    for (uint32_t stride = list / 2; stride > 0; stride /= 2) {
        __syncthreads();
        if (threadIdx.x < list / 2) order_pair(keys, threadIdx.x, stride, SEGMENT);
    }
    __syncthreads();
}

__device__ __forceinline__ void write_result(const top_args &a, uint32_t row, uint32_t i, top_key key)
{
    uint32_t id = index_of(key);
    a.ids[(size_t)row * a.k + i] = (int32_t)id;
    a.values[(size_t)row * a.k + i] = a.x[(size_t)row * a.ld_x + id] + 0.0f;
}

// Whether this block is the last of its row; the counter is then zero again. All threads' writes are visible to it.
__device__ __forceinline__ bool arrives_last(unsigned *counter, unsigned n_blocks, unsigned *shared)
{
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        *shared = atomicAdd(counter, 1u);
        if (*shared == n_blocks - 1) *counter = 0;
    }
    __syncthreads();
    if (*shared != n_blocks - 1) return false;
    __threadfence();
    return true;
}

__global__ void __launch_bounds__(TOP_THREADS) top_1(top_args a)
{
    SHARED_ARRAY(top_key, shared, TOP_THREADS / 32);
    SHARED_ARRAY(unsigned, arrived, 1);
    griddep_wait();
    uint32_t row = blockIdx.y, n_segments = gridDim.x;
    const float *x = a.x + (size_t)row * a.ld_x;
    top_key key = 0;
    for (uint32_t i = threadIdx.x; i < SEGMENT; i += TOP_THREADS) {
        uint32_t index = blockIdx.x * SEGMENT + i;
        if (index < a.n) key = larger(key, key_of(x[index], index));
    }
    key = block_largest(key, shared);
    top_key *best = a.best + (size_t)row * n_segments;
    if (threadIdx.x == 0) best[blockIdx.x] = key;
    if (!arrives_last(&a.counters[row], n_segments, arrived)) return;
    key = 0;
    for (uint32_t i = threadIdx.x; i < n_segments; i += TOP_THREADS) key = larger(key, best[i]);
    key = block_largest(key, shared);
    if (threadIdx.x == 0) write_result(a, row, 0, key);
}

__global__ void __launch_bounds__(TOP_THREADS) top_k(top_args a)
{
    SHARED_ARRAY(top_key, keys, SEGMENT);
    SHARED_ARRAY(unsigned, arrived, 1);
    griddep_wait();
    uint32_t row = blockIdx.y, n_segments = gridDim.x;
    const float *x = a.x + (size_t)row * a.ld_x;
    for (uint32_t i = threadIdx.x; i < SEGMENT; i += TOP_THREADS) {
        uint32_t index = blockIdx.x * SEGMENT + i;
        keys[i] = index < a.n ? key_of(x[index], index) : 0;
    }
    sort_segment(keys);
    top_key *best = a.best + (size_t)row * n_segments * a.list;
    if (threadIdx.x < a.list) best[(size_t)blockIdx.x * a.list + threadIdx.x] = keys[threadIdx.x];
    if (!arrives_last(&a.counters[row], n_segments, arrived)) return;
    if (threadIdx.x < a.list) keys[threadIdx.x] = best[threadIdx.x];
    __syncthreads();
    for (uint32_t s = 1; s < n_segments; s++) merge_list(keys, best + (size_t)s * a.list, a.list);
    if (threadIdx.x < a.k) write_result(a, row, threadIdx.x, keys[threadIdx.x]);
}

} // namespace

// As many rows at a time as the working memory holds candidates for.
tern_status cuda_top_k(stream *s, const op *o, tern_error *err)
{
    const op_top_k *p = &o->top_k;
    device *d = s->device;
    uint32_t n_segments = ceil_div(p->n, SEGMENT), list = 1;
    while (list < p->k) list *= 2;
    size_t row_bytes = (size_t)n_segments * list * sizeof(top_key);
    size_t n_at_once = d->scratch_bytes / row_bytes;
    if (n_at_once == 0)
        return error_set(err, TERN_DEVICE_UNSUPPORTED,
                         "top_k: the best %u of %u values need %zu bytes of working memory", p->k, p->n, row_bytes);
    if (n_at_once > CUDA_COUNTERS) n_at_once = CUDA_COUNTERS;
    if (n_at_once > 65535) n_at_once = 65535; // of a grid
    top_args a = {(const float *)cuda_at(p->x),
                  (int32_t *)cuda_at(p->ids),
                  (float *)cuda_at(p->values),
                  (top_key *)d->scratch,
                  d->counters,
                  p->n,
                  p->ld_x,
                  p->k,
                  list};
    tern_status status = TERN_OK;
    for (uint32_t first = 0; first < o->m && status == TERN_OK; first += (uint32_t)n_at_once) {
        uint32_t count = o->m - first < n_at_once ? o->m - first : (uint32_t)n_at_once;
        dim3 grid(n_segments, count);
        status = p->k == 1 ? cuda_launch(s, "top_1", top_1, grid, dim3(TOP_THREADS), 0, err, a)
                           : cuda_launch(s, "top_k", top_k, grid, dim3(TOP_THREADS), 0, err, a);
        a.x += (size_t)count * p->ld_x;
        a.ids += (size_t)count * p->k;
        a.values += (size_t)count * p->k;
    }
    return status;
}
