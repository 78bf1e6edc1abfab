// Attention over the KV cache in the defined order: blocks of 64 positions, four of them a group, groups in ascending
// order (ops.h). A thread block of four warps takes up to QUERIES queries that share K and V (the query heads of a KV
// head, of one row or of consecutive rows of a sequence); each warp makes the states of one block of a group, then all
// threads fold the four. Either the thread block walks through all groups, or groups are spread over thread blocks,
// whose states go to working memory and are folded by the last to arrive. Positions are read on the device, so that one
// graph serves all of them; shapes of launches depend on the number of rows and the size of the tables alone.
//
// Scores: f32 and f16 K stand d-major, so lane l follows the chains of positions 2l and 2l + 1. int8 K stands
// position-major; four lanes share a position, whose exact dot they sum; of int4 K each takes a group of 32 values.
// Values: lane l follows the chains, or sums, of dimensions 2l and 2l + 1 of every 64.
//
// Memory behind a query's position may hold anything: it is read, never used.
#include <math.h>

#include "attention.cuh"

namespace
{

// The queries of one thread block: numbers [first, first + n) of the run's rows times the KV head's query heads.
struct query_run {
    uint32_t row, first, n, kv_head;
    uint32_t n_blocks; // the most that a query sees
    const int32_t *table;
};

__device__ __forceinline__ uint32_t query_row(const attention_args &a, const query_run &r, uint32_t i)
{
    return r.row + (r.first + i) / a.heads_per_kv;
}

__device__ __forceinline__ uint32_t query_head(const attention_args &a, const query_run &r, uint32_t i)
{
    return r.kv_head * a.heads_per_kv + (r.first + i) % a.heads_per_kv;
}

// Shared memory, for QUERIES queries of hd values; each part begins at a multiple of 16 bytes.
template <int QUERIES> struct attention_shared {
    float *q;                           // [hd][QUERIES]; int8 and int4 K: codes instead
    int8_t *q_hi, *q_lo;                // [QUERIES][hd rounded up to 16]
    float *q_a, *q_b;                   // [QUERIES]
    float *p;                           // [warp][64][QUERIES]: scores, then weights
    int8_t *w_hi, *w_lo;                // [warp][QUERIES][group][64]: int8 V, of one group, and int4 V
    float *w_a, *w_b;                   // [warp][QUERIES][group]
    float *block_m, *block_l, *block_o; // [warp][QUERIES], [warp][QUERIES], [warp][QUERIES][hd]
    float *m, *l, *o;                   // [2][QUERIES], [2][QUERIES], [QUERIES][hd]: the result so far
    int *position;                      // [QUERIES]; -1: no query

    __host__ __device__ static int padded(int hd) { return (hd + 15) / 16 * 16; }
    __host__ __device__ static size_t n_bytes(int hd, int groups)
    {
        return (size_t)QUERIES *
               ((size_t)padded(hd) * 4 + 16 + N_WARPS * 64 * 4 + (size_t)N_WARPS * (128 + 8) * groups +
                (size_t)N_WARPS * (8 + 4 * hd) + 16 + 4 * (size_t)hd + 16);
    }
    __device__ __forceinline__ attention_shared(uint8_t *at, int hd, int groups)
    {
        int wide = padded(hd);
        q = (float *)at;
        q_hi = (int8_t *)at;
        q_lo = q_hi + QUERIES * wide;
        p = q + QUERIES * wide;
        block_o = p + QUERIES * N_WARPS * 64;
        o = block_o + QUERIES * N_WARPS * hd;
        w_hi = (int8_t *)(o + QUERIES * hd);
        w_lo = w_hi + QUERIES * N_WARPS * 64 * groups;
        q_a = (float *)(w_lo + QUERIES * N_WARPS * 64 * groups);
        q_b = q_a + QUERIES;
        block_m = q_b + QUERIES;
        block_l = block_m + QUERIES * N_WARPS;
        m = block_l + QUERIES * N_WARPS;
        l = m + 2 * QUERIES;
        w_a = l + 2 * QUERIES;
        w_b = w_a + QUERIES * N_WARPS * groups;
        position = (int *)(w_b + QUERIES * N_WARPS * groups);
    }
};

// Groups of values of V that have scales of their own.
__host__ __device__ __forceinline__ int value_groups(int v_type, int hd)
{
    return v_type == KV_INT4 ? kv_int4_groups(hd) : 1;
}

// Where the code of value d of a query stands for int4 K of whole groups: four bits of a word are its values 0, 2, 4, 6
// (low) and 1, 3, 5, 7 (high). Other heads are read value by value.
__device__ __forceinline__ int int4_order(int d, int hd)
{
    return hd % KV_INT4_GROUP == 0 ? d / 8 * 8 + d % 2 * 4 + d % 8 / 2 : d;
}

// ---- queries into shared memory

template <int K, int QUERIES>
__device__ __forceinline__ void load_queries(const attention_args &a, const query_run &r,
                                             const attention_shared<QUERIES> &s, bool *is_finite)
{
    int hd = a.kv.head_dim, wide = s.padded(hd);
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (uint32_t i = warp; i < QUERIES; i += N_WARPS) {
        bool exists = i < r.n;
        uint32_t row = exists ? query_row(a, r, i) : r.row, head = exists ? query_head(a, r, i) : 0;
        const float *q = a.q + (size_t)row * a.ld_q + (size_t)head * (uint32_t)hd;
        if (lane == 0) s.position[i] = exists ? a.kv.row_position[row] : -1;
        if (!kv_is_integer(K)) {
            for (int d = (int)lane; d < hd; d += 32) s.q[d * QUERIES + i] = exists ? q[d] : 0.0f;
            continue;
        }
        unsigned max_bits = 0;
        for (int d = (int)lane; d < hd && exists; d += 32) max_bits = max(max_bits, scalar_magnitude(q[d]));
        float absmax = scalar_as_float(warp_max(max_bits));
        *is_finite = *is_finite && scalar_is_finite(absmax);
        quant2_scales scales(absmax);
        for (int d = (int)lane; d < wide; d += 32) {
            float x = exists && d < hd ? q[d] : 0.0f;
            int hi = scales.hi(x);
            int at = (int)i * wide + (K == KV_INT4 ? int4_order(d, hd) : d);
            s.q_hi[at] = (int8_t)hi;
            s.q_lo[at] = (int8_t)scales.lo(x, hi);
        }
        if (lane == 0) {
            s.q_a[i] = scales.a;
            s.q_b[i] = scales.b;
        }
    }
}

// ---- scores of a block into p; lane l will use those of positions 2l and 2l + 1

// Values 2i and 2i + 1 of an f32 or f16 array.
template <int type> __device__ __forceinline__ float2 load_pair(const uint8_t *part, int i)
{
    if (type == KV_F32) return *(const float2 *)(part + 8 * (size_t)i);
    uint32_t bits = *(const uint32_t *)(part + 4 * (size_t)i);
    return make_float2(half_bits_to_float(bits & 0xffffu), half_bits_to_float(bits >> 16));
}

template <int K, int QUERIES>
__device__ __forceinline__ void float_scores(const attention_args &a, const attention_shared<QUERIES> &s,
                                             const uint8_t *k, float *p, int lane)
{
    float sum[QUERIES][2] = {};
#pragma unroll 8
    for (int d = 0; d < a.kv.head_dim; d++) {
        float2 pair = load_pair<K>(k, d * (KV_BLOCK / 2) + lane);
        const float *q = s.q + d * QUERIES;
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            sum[i][0] = scalar_fma(q[i], pair.x, sum[i][0]);
            sum[i][1] = scalar_fma(q[i], pair.y, sum[i][1]);
        }
    }
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
        p[2 * lane * QUERIES + i] = a.scale * sum[i][0];
        p[(2 * lane + 1) * QUERIES + i] = a.scale * sum[i][1];
    }
}

// Word w of a position's codes where rows are of any even length: two bytes at a time, zero behind the end.
__device__ __forceinline__ int load_code_word(const uint8_t *codes, int w, int hd)
{
    uint32_t low = *(const uint16_t *)(codes + 4 * w);
    uint32_t high = 4 * w + 2 < hd ? *(const uint16_t *)(codes + 4 * w + 2) : 0u;
    return (int)(low | high << 16);
}

template <int QUERIES>
__device__ __forceinline__ void code_dots(const attention_args &a, const attention_shared<QUERIES> &s,
                                          const uint8_t *codes, int part, int *hi, int *lo)
{
    int hd = a.kv.head_dim, wide = s.padded(hd);
#pragma unroll
    for (int i = 0; i < QUERIES; i++) hi[i] = lo[i] = 0;
    if (hd % 16 == 0) {
        for (int c = part; c < hd / 16; c += 4) {
            uint4 v = ld_v4(codes + 16 * c);
#pragma unroll
            for (int i = 0; i < QUERIES; i++) {
                uint4 h = ld_v4(s.q_hi + i * wide + 16 * c), t = ld_v4(s.q_lo + i * wide + 16 * c);
                hi[i] = dp4a_s32s32((int)h.x, (int)v.x, dp4a_s32s32((int)h.y, (int)v.y, hi[i]));
                hi[i] = dp4a_s32s32((int)h.z, (int)v.z, dp4a_s32s32((int)h.w, (int)v.w, hi[i]));
                lo[i] = dp4a_s32s32((int)t.x, (int)v.x, dp4a_s32s32((int)t.y, (int)v.y, lo[i]));
                lo[i] = dp4a_s32s32((int)t.z, (int)v.z, dp4a_s32s32((int)t.w, (int)v.w, lo[i]));
            }
        }
        return;
    }
    for (int w = part; 4 * w < hd; w += 4) {
        int v = load_code_word(codes, w, hd);
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            hi[i] = dp4a_s32s32(*(const int *)(s.q_hi + i * wide + 4 * w), v, hi[i]);
            lo[i] = dp4a_s32s32(*(const int *)(s.q_lo + i * wide + 4 * w), v, lo[i]);
        }
    }
}

template <int QUERIES>
__device__ __forceinline__ void code_scores(const attention_args &a, const attention_shared<QUERIES> &s, uint8_t *k,
                                            float *p, int lane)
{
    const float *scales = kv_scales(k, a.kv.head_dim);
#pragma unroll 1
    for (int first = 0; first < KV_BLOCK; first += 8) {
        int position = first + lane / 4, hi[QUERIES], lo[QUERIES];
        code_dots(a, s, k + position * a.kv.head_dim, lane % 4, hi, lo);
        float scale = scales[position];
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            hi[i] += __shfl_xor_sync(FULL_WARP, hi[i], 1);
            lo[i] += __shfl_xor_sync(FULL_WARP, lo[i], 1);
            hi[i] += __shfl_xor_sync(FULL_WARP, hi[i], 2);
            lo[i] += __shfl_xor_sync(FULL_WARP, lo[i], 2);
            if (lane % 4 == i % 4)
                p[position * QUERIES + i] = scalar_fma((float)hi[i], s.q_a[i] * scale,
                                                       (float)lo[i] * (s.q_b[i] * scale)) *
                                            a.scale;
        }
    }
    __syncwarp();
}

// The exact dots of the values of group g of one position with each query's codes.
template <int QUERIES>
__device__ __forceinline__ void int4_dots(const attention_shared<QUERIES> &s, const uint8_t *row, int hd, int g,
                                          int *hi, int *lo)
{
    int wide = s.padded(hd), first = g * KV_INT4_GROUP;
#pragma unroll
    for (int i = 0; i < QUERIES; i++) hi[i] = lo[i] = 0;
    if (hd % KV_INT4_GROUP == 0) {
        uint4 v = ld_v4(row + first / 2);
        const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int k = 0; k < 4; k++) {
            int even = (int)int4_signed_codes(words[k]), odd = (int)int4_signed_codes(words[k] >> 4);
#pragma unroll
            for (int i = 0; i < QUERIES; i++) {
                uint2 h = ld_v2(s.q_hi + i * wide + first + 8 * k), t = ld_v2(s.q_lo + i * wide + first + 8 * k);
                hi[i] = dp4a_s32s32((int)h.y, odd, dp4a_s32s32((int)h.x, even, hi[i]));
                lo[i] = dp4a_s32s32((int)t.y, odd, dp4a_s32s32((int)t.x, even, lo[i]));
            }
        }
        return;
    }
    for (int d = first; d < min(first + KV_INT4_GROUP, hd); d++) {
        int code = (row[d / 2] >> (d % 2 * 4) & 15) - INT4_BIAS;
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            hi[i] += code * s.q_hi[i * wide + d];
            lo[i] += code * s.q_lo[i * wide + d];
        }
    }
}

// Four lanes a position, a group each; then all four follow the chain over the groups.
template <int QUERIES>
__device__ __forceinline__ void int4_scores(const attention_args &a, const attention_shared<QUERIES> &s, uint8_t *k,
                                            float *p, int lane)
{
    int hd = a.kv.head_dim, n_groups = kv_int4_groups(hd);
    const uint16_t *scales = kv_halves(k, hd);
#pragma unroll 1
    for (int first = 0; first < KV_BLOCK; first += 8) {
        int position = first + lane / 4;
        float sum[QUERIES] = {};
#pragma unroll 1
        for (int g0 = 0; g0 < n_groups; g0 += 4) {
            int g = min(g0 + lane % 4, n_groups - 1), hi[QUERIES], lo[QUERIES];
            int4_dots(s, k + kv_int4_byte(hd, position, 0), hd, g, hi, lo);
            float scale = half_bits_to_float(scales[kv_int4_scale_index(position, g)]);
#pragma unroll
            for (int i = 0; i < QUERIES; i++) {
                float t = scalar_fma((float)hi[i], s.q_a[i], (float)lo[i] * s.q_b[i]);
#pragma unroll
                for (int from = 0; from < 4; from++) {
                    float other = __shfl_sync(FULL_WARP, t, lane / 4 * 4 + from);
                    float other_scale = __shfl_sync(FULL_WARP, scale, lane / 4 * 4 + from);
                    if (g0 + from < n_groups) sum[i] = scalar_fma(other, other_scale, sum[i]);
                }
            }
        }
#pragma unroll
        for (int i = 0; i < QUERIES; i++)
            if (lane % 4 == i % 4) p[position * QUERIES + i] = a.scale * sum[i];
    }
    __syncwarp();
}

// ---- weights of a block, from its scores

__device__ __forceinline__ float larger(float a, float b) { return b > a ? b : a; }

// The 64-tree of dot64, lane l holding accumulators 2l and 2l + 1.
__device__ __forceinline__ float tree64(float a, float b)
{
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        a = a + __shfl_xor_sync(FULL_WARP, a, lanes);
        b = b + __shfl_xor_sync(FULL_WARP, b, lanes);
    }
    return a + b;
}

// How many of a block's positions query i sees; none or less behind its end.
template <int QUERIES> __device__ __forceinline__ int n_seen(const attention_shared<QUERIES> &s, int i, uint32_t block)
{
    return s.position[i] + 1 - (int)block * KV_BLOCK;
}

// Query i: scores in p become weights, and with int8 V their codes; maximum and sum go to the block's state. A loop
// around this is not unrolled: it is long, and a small part of the work.
template <int V, int QUERIES>
__device__ __forceinline__ void weigh(const attention_shared<QUERIES> &s, uint8_t *v, int hd, int i, int n,
                                      bool *is_finite)
{
    int lane = (int)(threadIdx.x % 32), warp = (int)(threadIdx.x / 32), state = warp * QUERIES + i;
    float *p0 = s.p + (warp * KV_BLOCK + 2 * lane) * QUERIES + i, *p1 = p0 + QUERIES;
    bool has0 = 2 * lane < n, has1 = 2 * lane + 1 < n;
    float top = -INFINITY;
    if (has0) top = *p0;
    if (has1) top = larger(top, *p1);
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) top = larger(top, __shfl_xor_sync(FULL_WARP, top, lanes));
    float weight0 = has0 ? scalar_exp(*p0 - top) : 0.0f, weight1 = has1 ? scalar_exp(*p1 - top) : 0.0f;
    float l = tree64(weight0, weight1);
    if (lane == 0) {
        s.block_m[state] = top;
        s.block_l[state] = l;
    }
    if (!kv_is_integer(V)) {
        *p0 = weight0;
        *p1 = weight1;
        return;
    }
    int groups = value_groups(V, hd);
#pragma unroll 1
    for (int g = 0; g < groups; g++) {
        float scale0, scale1;
        if (V == KV_INT8) {
            scale0 = kv_scales(v, hd)[2 * lane];
            scale1 = kv_scales(v, hd)[2 * lane + 1];
        } else {
            uint32_t bits = ld_u32(kv_halves(v, hd) + kv_int4_scale_index(2 * lane, g));
            scale0 = half_bits_to_float(bits & 0xffffu);
            scale1 = half_bits_to_float(bits >> 16);
        }
        float w0 = has0 ? weight0 * scale0 : 0.0f, w1 = has1 ? weight1 * scale1 : 0.0f;
        float absmax = scalar_as_float(warp_max(max(scalar_magnitude(w0), scalar_magnitude(w1))));
        *is_finite = *is_finite && scalar_is_finite(absmax);
        quant2_scales q(absmax);
        int hi0 = q.hi(w0), hi1 = q.hi(w1), lo0 = q.lo(w0, hi0), lo1 = q.lo(w1, hi1), at = state * groups + g;
        *(uint16_t *)(s.w_hi + at * KV_BLOCK + 2 * lane) = (uint16_t)((hi0 & 255) | (hi1 & 255) << 8);
        *(uint16_t *)(s.w_lo + at * KV_BLOCK + 2 * lane) = (uint16_t)((lo0 & 255) | (lo1 & 255) << 8);
        if (lane == 0) {
            s.w_a[at] = q.a;
            s.w_b[at] = q.b;
        }
    }
}

// ---- values of a block

template <int V, int QUERIES>
__device__ __forceinline__ void float_values(const attention_shared<QUERIES> &s, uint32_t block, const uint8_t *v,
                                             int d_pair, int hd, const float *p, int n_all, int n_any, float (*o)[2])
{
#pragma unroll
    for (int i = 0; i < QUERIES; i++) o[i][0] = o[i][1] = 0.0f;
#pragma unroll 8
    for (int j = 0; j < n_all; j++) {
        float2 pair = load_pair<V>(v, j * (hd / 2) + d_pair);
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            o[i][0] = scalar_fma(p[j * QUERIES + i], pair.x, o[i][0]);
            o[i][1] = scalar_fma(p[j * QUERIES + i], pair.y, o[i][1]);
        }
    }
#pragma unroll 1
    for (int j = n_all; j < n_any; j++) { // seen by some: not even a zero may be added, it would turn -0 into +0
        float2 pair = load_pair<V>(v, j * (hd / 2) + d_pair);
#pragma unroll
        for (int i = 0; i < QUERIES; i++)
            if (j < n_seen(s, i, block)) {
                o[i][0] = scalar_fma(p[j * QUERIES + i], pair.x, o[i][0]);
                o[i][1] = scalar_fma(p[j * QUERIES + i], pair.y, o[i][1]);
            }
    }
}

// Four positions at a time: their codes of dimensions 2 d_pair and 2 d_pair + 1, a word a dimension.
template <int V>
__device__ __forceinline__ void load_value_words(const uint8_t *v, int j, int d_pair, int hd, int *x, int *y)
{
    uint32_t row[4];
    if (V == KV_INT4) {
#pragma unroll
        for (int k = 0; k < 4; k++) row[k] = v[(j + k) * (hd / 2) + d_pair];
        uint32_t bytes = row[0] | row[1] << 8 | row[2] << 16 | row[3] << 24;
        *x = (int)int4_signed_codes(bytes);
        *y = (int)int4_signed_codes(bytes >> 4);
        return;
    }
#pragma unroll
    for (int k = 0; k < 4; k++) row[k] = *(const uint16_t *)(v + (j + k) * hd + 2 * d_pair);
    uint32_t low = row[0] | row[1] << 16, high = row[2] | row[3] << 16;
    *x = (int)__byte_perm(low, high, 0x6420);
    *y = (int)__byte_perm(low, high, 0x7531);
}

// Codes of weights that are not there are 0.
template <int V, int QUERIES>
__device__ __forceinline__ void code_values(const attention_shared<QUERIES> &s, int warp, const uint8_t *v, int d_pair,
                                            int hd, int n_any, float (*o)[2])
{
    int groups = value_groups(V, hd), group = V == KV_INT4 ? 2 * d_pair / KV_INT4_GROUP : 0;
    int first = warp * QUERIES * groups + group; // of query 0; the next query's stands `groups` further
    int hi[QUERIES][2] = {}, lo[QUERIES][2] = {};
#pragma unroll 2
    for (int j = 0; j < n_any; j += 4) {
        int x, y;
        load_value_words<V>(v, j, d_pair, hd, &x, &y);
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            int at = (first + i * groups) * KV_BLOCK + j;
            int h = *(const int *)(s.w_hi + at), t = *(const int *)(s.w_lo + at);
            hi[i][0] = dp4a_s32s32(h, x, hi[i][0]);
            hi[i][1] = dp4a_s32s32(h, y, hi[i][1]);
            lo[i][0] = dp4a_s32s32(t, x, lo[i][0]);
            lo[i][1] = dp4a_s32s32(t, y, lo[i][1]);
        }
    }
#pragma unroll
    for (int i = 0; i < QUERIES; i++)
#pragma unroll
        for (int k = 0; k < 2; k++)
            o[i][k] = scalar_fma((float)hi[i][k], s.w_a[first + i * groups],
                                 (float)lo[i][k] * s.w_b[first + i * groups]);
}

// ---- a block's states, by one warp, into shared memory

template <int K, int V, int QUERIES>
__device__ __forceinline__ void attend_block(const attention_args &a, const query_run &r,
                                             const attention_shared<QUERIES> &s, uint32_t block, bool *is_finite)
{
    int hd = a.kv.head_dim, lane = (int)(threadIdx.x % 32), warp = (int)(threadIdx.x / 32);
    uint8_t *k = kv_head_at(a.kv, r.table, block, r.kv_head), *v = k + a.kv.k_bytes;
    float *p = s.p + warp * KV_BLOCK * QUERIES;
    int n_all = KV_BLOCK, n_any = 0;
    if (K == KV_INT8)
        code_scores<QUERIES>(a, s, k, p, lane);
    else if (K == KV_INT4)
        int4_scores<QUERIES>(a, s, k, p, lane);
    else
        float_scores<K, QUERIES>(a, s, k, p, lane);
#pragma unroll 1
    for (int i = 0; i < (int)r.n; i++) {
        int n = max(0, min(KV_BLOCK, n_seen(s, i, block)));
        n_all = min(n_all, n);
        n_any = max(n_any, n);
        weigh<V, QUERIES>(s, v, hd, i, n, is_finite);
    }
    __syncwarp();
    for (int d_pair = lane; 2 * d_pair < hd; d_pair += 32) {
        float o[QUERIES][2];
        if (kv_is_integer(V))
            code_values<V, QUERIES>(s, warp, v, d_pair, hd, n_any, o);
        else
            float_values<V, QUERIES>(s, block, v, d_pair, hd, p, n_all, n_any, o);
#pragma unroll
        for (int i = 0; i < QUERIES; i++)
            *(float2 *)(s.block_o + (warp * QUERIES + i) * hd + 2 * d_pair) = make_float2(o[i][0], o[i][1]);
    }
}

// ---- folding states

// The group's states into the result (group 0 is copied), or, when groups are spread, into working memory.
template <int QUERIES>
__device__ __forceinline__ void fold_group(const attention_args &a, const query_run &r,
                                           const attention_shared<QUERIES> &s, uint32_t group, bool is_spread)
{
    int hd = a.kv.head_dim;
    const float *m_before = s.m + group % 2 * QUERIES, *l_before = s.l + group % 2 * QUERIES;
    float *m_after = s.m + (group + 1) % 2 * QUERIES, *l_after = s.l + (group + 1) % 2 * QUERIES;
    for (int e = (int)threadIdx.x; e < (int)r.n * hd; e += ATTENTION_THREADS) {
        int i = e / hd, d = e % hd;
        int n_blocks = s.position[i] / KV_BLOCK + 1 - (int)group * N_WARPS;
        if (n_blocks <= 0) { // the query ended in an earlier group
            if (d == 0) {
                m_after[i] = m_before[i];
                l_after[i] = l_before[i];
            }
            continue;
        }
        float m = s.block_m[i], l = s.block_l[i], o = s.block_o[i * hd + d];
        for (int w = 1; w < min(n_blocks, N_WARPS); w++) {
            int at = w * QUERIES + i;
            fold f(m, l, s.block_m[at], s.block_l[at]);
            o = f.o(o, s.block_o[at * hd + d]);
            m = f.m;
            l = f.l;
        }
        if (is_spread) {
            float *state = attention_states(a, query_row(a, r, (uint32_t)i), query_head(a, r, (uint32_t)i));
            state += (size_t)group * (size_t)(hd + 2);
            state[d] = o;
            if (d == 0) {
                state[hd] = m;
                state[hd + 1] = l;
            }
            continue;
        }
        if (group > 0) {
            fold f(m_before[i], l_before[i], m, l);
            o = f.o(s.o[e], o);
            m = f.m;
            l = f.l;
        }
        s.o[e] = o;
        if (d == 0) {
            m_after[i] = m;
            l_after[i] = l;
        }
    }
}

__device__ __forceinline__ float *output(const attention_args &a, const query_run &r, int i)
{
    return attention_output(a, query_row(a, r, (uint32_t)i), query_head(a, r, (uint32_t)i));
}

// ---- the kernel

template <int K, int V, int QUERIES>
__device__ __forceinline__ void attend(const attention_args &a, const query_run &r, unsigned *counter, uint8_t *shared)
{
    attention_shared<QUERIES> s(shared, a.kv.head_dim, value_groups(V, a.kv.head_dim));
    uint32_t warp = threadIdx.x / 32, n_groups = (r.n_blocks + N_WARPS - 1) / N_WARPS;
    uint32_t split = blockIdx.z, n_splits = min(gridDim.z, n_groups);
    bool is_spread = n_splits > 1, is_finite = true;
    if (split >= n_splits) return;
    load_queries<K, QUERIES>(a, r, s, &is_finite);
    __syncthreads();
    for (uint32_t group = split; group < n_groups; group += n_splits) {
        uint32_t block = group * N_WARPS + warp;
        if (block < r.n_blocks) attend_block<K, V, QUERIES>(a, r, s, block, &is_finite);
        __syncthreads();
        fold_group<QUERIES>(a, r, s, group, is_spread);
        __syncthreads();
    }
    if (!is_finite && threadIdx.x % 32 == 0) raise_flag(a.flag, a.place);
    if (!is_spread) {
        int hd = a.kv.head_dim;
        const float *l = s.l + n_groups % 2 * QUERIES;
        for (int e = (int)threadIdx.x; e < (int)r.n * hd; e += ATTENTION_THREADS)
            output(a, r, e / hd)[e % hd] = scalar_div(s.o[e], l[e / hd]);
        return;
    }
    SHARED_ARRAY(unsigned, arrived, 1);
    if (!arrives_last(counter, n_splits, arrived)) return;
    for (uint32_t i = 0; i < r.n; i++) {
        __syncthreads(); // p is free
        fold_spread<ATTENTION_THREADS>(a, attention_states(a, query_row(a, r, i), query_head(a, r, i)),
                                       output(a, r, (int)i), (uint32_t)s.position[i] / (KV_BLOCK * N_WARPS) + 1, s.p,
                                       s.p + ATTENTION_THREADS, s.m);
    }
}

// Block (row, KV head and chunk of its query heads, split). Rows of one sequence that stand together are one run, whose
// first row does the work of all.
// Left alone the compiler (CUDA 13.0, sm_90a) aims at so few registers that five of the nine spill; not so int8, int8.
#define MIN_BLOCKS (K == KV_INT8 && V == KV_INT8 ? 0 : 4)
template <int K, int V> __global__ void __launch_bounds__(ATTENTION_THREADS, MIN_BLOCKS) attention(attention_args a)
{
    SHARED_DYNAMIC(shared);
    griddep_wait();
    uint32_t row = blockIdx.x, kv_head = blockIdx.y / a.n_chunks, chunk = blockIdx.y % a.n_chunks;
    if (a.skips_windows && attention_is_window(a, row)) return;
    int32_t table = a.kv.row_table[row];
    if (row % a.rows_per_run != 0 && a.kv.row_table[row - 1] == table) return;
    uint32_t n_rows = 1, position = (uint32_t)a.kv.row_position[row];
    while ((row + n_rows) % a.rows_per_run != 0 && row + n_rows < a.m && a.kv.row_table[row + n_rows] == table)
        position = max(position, (uint32_t)a.kv.row_position[row + n_rows++]);
    uint32_t first = chunk * a.queries, n_queries = n_rows * a.heads_per_kv;
    query_run r = {
        row, first, min(n_queries - first, a.queries), kv_head, position / KV_BLOCK + 1, kv_table(a.kv, row)};
    unsigned *counter = &a.counters[(size_t)row * gridDim.y + blockIdx.y];
    if (r.n == 1)
        attend<K, V, 1>(a, r, counter, shared);
    else if (K != V || (r.n <= 4 && a.queries >= 4))
        attend<K, V, 4>(a, r, counter, shared);
    else if (K == V)
        attend<K, V, K == V ? 8 : 4>(a, r, counter, shared);
}

typedef void (*attention_kernel)(attention_args);

const struct {
    const char *name;
    attention_kernel kernel;
} kernels[4][4] = {{{"attention_f32_f32", attention<KV_F32, KV_F32>},
                    {"attention_f32_f16", attention<KV_F32, KV_F16>},
                    {"attention_f32_int8", attention<KV_F32, KV_INT8>},
                    {"attention_f32_int4", attention<KV_F32, KV_INT4>}},
                   {{"attention_f16_f32", attention<KV_F16, KV_F32>},
                    {"attention_f16_f16", attention<KV_F16, KV_F16>},
                    {"attention_f16_int8", attention<KV_F16, KV_INT8>},
                    {"attention_f16_int4", attention<KV_F16, KV_INT4>}},
                   {{"attention_int8_f32", attention<KV_INT8, KV_F32>},
                    {"attention_int8_f16", attention<KV_INT8, KV_F16>},
                    {"attention_int8_int8", attention<KV_INT8, KV_INT8>},
                    {"attention_int8_int4", attention<KV_INT8, KV_INT4>}},
                   {{"attention_int4_f32", attention<KV_INT4, KV_F32>},
                    {"attention_int4_f16", attention<KV_INT4, KV_F16>},
                    {"attention_int4_int8", attention<KV_INT4, KV_INT8>},
                    {"attention_int4_int4", attention<KV_INT4, KV_INT4>}}};

size_t shared_bytes(uint32_t queries, int hd, int groups)
{
    return queries == 1   ? attention_shared<1>::n_bytes(hd, groups)
           : queries == 4 ? attention_shared<4>::n_bytes(hd, groups)
                          : attention_shared<8>::n_bytes(hd, groups);
}

// The largest number of queries a thread block that is needed and whose memory a block can have. K and V of different
// types are rarely asked for: their kernels come without the widest form.
uint32_t choose_queries(const device *d, uint32_t m, uint32_t heads_per_kv, int hd, int groups, bool is_mixed)
{
    uint64_t n_most = (uint64_t)m * heads_per_kv; // that can share K and V
    uint32_t queries = n_most <= 1 ? 1 : n_most <= 4 || is_mixed ? 4 : 8;
    while (queries > 1 && shared_bytes(queries, hd, groups) > (size_t)d->shared_per_block)
        queries = queries == 8 ? 4 : 1;
    return queries;
}

} // namespace

tern_status cuda_attention(stream *s, const op *o, tern_error *err)
{
    const op_attention *p = &o->attention;
    device *d = s->device;
    int hd = (int)p->cache.head_dim, groups = value_groups(p->cache.v_type, hd);
    attention_args a = {};
    a.q = (const float *)cuda_at(p->q);
    a.y = (float *)cuda_at(p->y);
    a.kv = kv_of(&p->rows, &p->cache);
    a.m = o->m;
    a.n_heads = p->n_heads;
    a.heads_per_kv = p->n_heads / p->cache.n_kv_heads;
    a.ld_q = p->ld_q;
    a.ld_y = p->ld_y;
    a.queries = choose_queries(d, o->m, a.heads_per_kv, hd, groups, p->cache.k_type != p->cache.v_type);
    a.rows_per_run = a.queries > a.heads_per_kv ? a.queries / a.heads_per_kv : 1;
    a.n_chunks = ceil_div(a.heads_per_kv, a.queries);
    a.n_groups = ceil_div(p->rows.table_ld, N_WARPS);
    a.scale = (float)(1.0 / sqrt((double)hd));
    a.states = (float *)d->scratch;
    a.counters = d->counters;
    a.flag = kv_is_integer(p->cache.k_type) || kv_is_integer(p->cache.v_type) ? (unsigned *)cuda_at(o->flag) : nullptr;
    a.place = o->place;

    bool is_fast = o->kind == OP_FAST_ATTENTION;
    a.skips_windows = is_fast || attention_prefill_takes(d, &a);
    if (a.skips_windows) {
        tern_status status = is_fast ? attention_fast(s, a, err) : attention_prefill(s, a, err);
        if (status != TERN_OK) return status;
    }

    // Groups are spread where the rows and heads alone leave the device idle, as far as working memory goes.
    uint64_t n_blocks = (uint64_t)o->m * p->cache.n_kv_heads * a.n_chunks, n_wanted = 4 * (uint64_t)d->n_sms;
    uint64_t state_bytes = (uint64_t)o->m * p->n_heads * a.n_groups * (uint64_t)(hd + 2) * sizeof(float);
    uint64_t n_splits = n_wanted / n_blocks;
    if (n_splits > a.n_groups) n_splits = a.n_groups;
    if (n_splits < 1 || n_blocks > CUDA_COUNTERS || state_bytes > d->scratch_bytes) n_splits = 1;
    if (p->cache.n_kv_heads * (uint64_t)a.n_chunks > 65535)
        return error_set(err, TERN_DEVICE_UNSUPPORTED, "attention: %u KV heads are more than a grid has",
                         p->cache.n_kv_heads);
    const auto &k = kernels[p->cache.k_type][p->cache.v_type];
    dim3 grid(o->m, p->cache.n_kv_heads * a.n_chunks, (unsigned)n_splits);
    return cuda_launch(s, k.name, k.kernel, grid, dim3(ATTENTION_THREADS), shared_bytes(a.queries, hd, groups), err, a);
}
