// Attention of prompts over int8 K and V on tensor cores (sm_80), with the bits of the definition (ops.h).
//
// A window is 16 rows of the batch, of one sequence; windows that are not are left to attention.cu. A warp takes a head
// of a window: the 16 queries are the rows of A of an m16n8k32 product. The four warps of a thread block have four
// heads of a KV head, or fewer heads of several windows, and share K and V, which come through two stages of shared
// memory. Blocks of 64 positions follow each other in one warp, so that groups, and the result, fold in the defined
// order; the result waits in y, from one group to the next. Groups are spread over thread blocks where there are few of
// them.
//
// A lane's scores of rows g and g + 8 are at positions 8j + 2t and 8j + 2t + 1 (lane 4g + t, j < 8), as the product of
// q and K leaves them. Their codes are the A operand of the product with V as they stand: its k columns 4t..4t+3 are
// taken to be positions 2t, 2t + 1, 8 + 2t, 8 + 2t + 1 of 16, and V's words are made to agree. Of the output a lane has
// dimensions 4t..4t+3 of every 16.
//
// Sums begin at the bits of 1.5 * 2^23: they are then floats of that number plus the sum, as long as it is below 2^22
// (64 * 127^2 and 128 * 127^2 are), and a subtraction is the conversion. Codes are rounded the same way. Where a value
// is not finite these codes are wrong; but then the flag is raised, and what the op writes is of no account.
#include <math.h>

#include "attention.cuh"

#define SUM_ZERO  0x4b400000
#define SUM_FLOAT 0x1.8p23f

namespace
{

// What is rarely needed of a query: the scales of its codes, maximum and sum of the result so far, where it stands.
struct prefill_query {
    float a, b, m, l;
    int position; // -1: no such row
    uint32_t row, head;
};

// Shared memory: two stages of K and V codes in rows of PITCH bytes (an odd number of 16: eight rows are in different
// banks) and their scales. Before the loop stage 1 holds the codes of the queries, hi and lo.
template <int DIMS> struct prefill_shape {
    static constexpr int PITCH = DIMS + 16;
    static constexpr int V = KV_BLOCK * PITCH, SCALES = 2 * V, STAGE = SCALES + 2 * KV_BLOCK * 4;
    static constexpr int N_STEPS = DIMS / 32, N_TILES = DIMS / 16;
};

__device__ __forceinline__ float sum_value(int sum) { return scalar_as_float((unsigned)sum) - SUM_FLOAT; }

__device__ __forceinline__ void clear_sums(int (&sums)[4]) { sums[0] = sums[1] = sums[2] = sums[3] = SUM_ZERO; }

// scalar_exp of x <= 0, -infinity or NaN. There results are normal or 0, so one factor 2^n does for two.
__device__ __forceinline__ float exp_of_negative(float x)
{
    float shifted = scalar_fma(x, 0x1.715476p0f, SUM_FLOAT), n = shifted - SUM_FLOAT;
    float r = scalar_fma(n, -0x1.7f7d1cp-20f, scalar_fma(n, -0x1.62e4p-1f, x));
    float p = 0x1.6d113cp-10f;
    p = scalar_fma(p, r, 0x1.120ba2p-7f);
    p = scalar_fma(p, r, 0x1.55551ap-5f);
    p = scalar_fma(p, r, 0x1.5554dcp-3f);
    p = scalar_fma(p, r, 0.5f);
    p = scalar_fma(p, r, 1.0f);
    p = scalar_fma(p, r, 1.0f);
    p = p * scalar_as_float((scalar_as_u32(shifted) << 23) + 0x3f800000u);
    return x < -0x1.5d51ecp+6f ? 0.0f : p;
}

// From lane `i` of the four lanes of a row.
__device__ __forceinline__ float from_lane(float x, unsigned i)
{
    return __shfl_sync(FULL_WARP, x, (int)(threadIdx.x % 32 / 4 * 4 + i));
}

// quant2_scales of rows g and g + 8, from their absmax: their four lanes divide for all, lanes 0 and 1 for row g.
struct rows_scales {
    float multiplier[2], a[2], rest_multiplier[2], b[2];
    __device__ __forceinline__ explicit rows_scales(const float (&absmax)[2])
    {
        bool is_low = threadIdx.x % 4 < 2, is_odd = threadIdx.x % 2 == 1;
        float c = is_low ? absmax[0] : absmax[1];
        c = c >= FLOOR ? c : FLOOR;
        float x = scalar_div(is_odd ? c : 127.0f, is_odd ? 127.0f : c);
        spread(x, multiplier, a);
        c = is_low ? a[0] : a[1];
        x = scalar_div(is_odd ? c : 254.0f, is_odd ? 254.0f : c);
        spread(x, rest_multiplier, b);
    }
    __device__ __forceinline__ static void spread(float x, float (&even)[2], float (&odd)[2])
    {
        even[0] = from_lane(x, 0);
        odd[0] = from_lane(x, 1);
        even[1] = from_lane(x, 2);
        odd[1] = from_lane(x, 3);
    }
};

// The lowest bytes of four words.
__device__ __forceinline__ unsigned low_bytes(unsigned a, unsigned b, unsigned c, unsigned d)
{
    return __byte_perm(__byte_perm(a, b, 0x0040), __byte_perm(c, d, 0x0040), 0x5410);
}

// ---- K and V into a stage

template <int DIMS>
__device__ __forceinline__ void copy_block(const attention_args &a, const attention_run &r, uint32_t block,
                                           uint8_t *stage)
{
    typedef prefill_shape<DIMS> S;
    const uint8_t *k = kv_head_at(a.kv, r.table, block, r.kv_head), *v = k + a.kv.k_bytes;
    int hd = a.kv.head_dim, chunk = (int)(threadIdx.x % 8) * 16;
    if (chunk < hd) {
        int first = (int)(threadIdx.x / 8), from = first * hd + chunk;
        uint8_t *to = stage + first * S::PITCH + chunk;
#pragma unroll 1 // offsets that the compiler would keep in registers
        for (int i = 0; i < KV_BLOCK; i += ATTENTION_THREADS / 8) {
            cp_async_16(to, k + from);
            cp_async_16(to + S::V, v + from);
            from += ATTENTION_THREADS / 8 * hd;
            to += ATTENTION_THREADS / 8 * S::PITCH;
        }
    }
    if (threadIdx.x < 2 * KV_BLOCK / 4) {
        int place = (int)(threadIdx.x % (KV_BLOCK / 4)) * 16;
        const uint8_t *part = threadIdx.x < KV_BLOCK / 4 ? k : v;
        cp_async_16(stage + S::SCALES + 16 * threadIdx.x, part + KV_BLOCK * hd + place);
    }
}

// ---- a warp's queries and state

template <int DIMS> struct prefill_warp {
    typedef prefill_shape<DIMS> S;
    prefill_query *queries; // of this warp's rows
    unsigned q_hi[S::N_STEPS][4], q_lo[S::N_STEPS][4];
    float m[2], l[2], o[S::N_TILES][2][4]; // of the group
    bool is_finite;

    // Of row g or g + 8.
    __device__ __forceinline__ prefill_query *query(int half) const
    {
        return queries + threadIdx.x % 32 / 4 + 8 * half;
    }

    // Nothing of a group yet.
    __device__ __forceinline__ void clear()
    {
        m[0] = m[1] = l[0] = l[1] = 0.0f;
#pragma unroll
        for (int i = 0; i < S::N_TILES * 8; i++) o[i / 8][i / 4 % 2][i % 4] = 0.0f;
    }

    // Codes of the 16 queries through `codes` (shared memory of this warp), then into registers.
    __device__ __forceinline__ void load_queries(const attention_args &a, uint32_t first_row, uint32_t head, int n_rows,
                                                 int8_t *codes)
    {
        int hd = a.kv.head_dim, lane = (int)(threadIdx.x % 32);
        int8_t *codes_lo = codes + 16 * S::PITCH;
#pragma unroll 1
        for (int i = 0; i < 16; i++) {
            uint32_t row = first_row + (uint32_t)i;
            const float *q = a.q + (size_t)row * a.ld_q + (size_t)head * (uint32_t)hd;
            float x[S::N_STEPS];
            unsigned magnitude = 0;
#pragma unroll
            for (int k = 0; k < S::N_STEPS; k++) {
                int d = 32 * k + lane;
                x[k] = i < n_rows && d < hd ? q[d] : 0.0f;
                magnitude = max(magnitude, scalar_magnitude(x[k]));
            }
            float absmax = scalar_as_float(warp_max(magnitude));
            is_finite = is_finite && scalar_is_finite(absmax);
            quant2_scales scales(absmax);
#pragma unroll
            for (int k = 0; k < S::N_STEPS; k++) {
                int hi = scales.hi(x[k]);
                codes[i * S::PITCH + 32 * k + lane] = (int8_t)hi;
                codes_lo[i * S::PITCH + 32 * k + lane] = (int8_t)scales.lo(x[k], hi);
            }
            int position = i < n_rows ? a.kv.row_position[row] : -1;
            if (lane == 0) queries[i] = {scales.a, scales.b, 0.0f, 0.0f, position, row, head};
        }
        __syncwarp();
        const int8_t *from = codes + lane % 16 * S::PITCH + lane / 16 * 16;
#pragma unroll
        for (int k = 0; k < S::N_STEPS; k++) {
            uint4 hi = ld_matrices(from + 32 * k), lo = ld_matrices(from + 16 * S::PITCH + 32 * k);
            q_hi[k][0] = hi.x, q_hi[k][1] = hi.y, q_hi[k][2] = hi.z, q_hi[k][3] = hi.w;
            q_lo[k][0] = lo.x, q_lo[k][1] = lo.y, q_lo[k][2] = lo.z, q_lo[k][3] = lo.w;
        }
    }

    // Scores of a block: s[j] are those of rows g, g, g + 8, g + 8 at positions 8j + 2t, + 1, + 0, + 1.
    __device__ __forceinline__ void score(const uint8_t *stage, float scale, float (&s)[8][4]) const
    {
        int lane = (int)(threadIdx.x % 32), t = lane % 4;
        const uint8_t *k = stage + (lane / 16 * 8 + lane % 8) * S::PITCH + lane / 8 % 2 * 16;
        const float *scales = reinterpret_cast<const float *>(stage + S::SCALES) + 2 * t;
        float q_a[2] = {query(0)->a, query(1)->a}, q_b[2] = {query(0)->b, query(1)->b};
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
            int hi[2][4], lo[2][4];
            clear_sums(hi[0]);
            clear_sums(hi[1]);
            clear_sums(lo[0]);
            clear_sums(lo[1]);
#pragma unroll
            for (int i = 0; i < S::N_STEPS; i++) {
                uint4 b = ld_matrices(k + 8 * j * S::PITCH + 32 * i);
                mma_s8s8_m16n8k32(hi[0], q_hi[i][0], q_hi[i][1], q_hi[i][2], q_hi[i][3], b.x, b.y);
                mma_s8s8_m16n8k32(hi[1], q_hi[i][0], q_hi[i][1], q_hi[i][2], q_hi[i][3], b.z, b.w);
                mma_s8s8_m16n8k32(lo[0], q_lo[i][0], q_lo[i][1], q_lo[i][2], q_lo[i][3], b.x, b.y);
                mma_s8s8_m16n8k32(lo[1], q_lo[i][0], q_lo[i][1], q_lo[i][2], q_lo[i][3], b.z, b.w);
            }
#pragma unroll
            for (int n = 0; n < 2; n++) {
                float2 ak = *reinterpret_cast<const float2 *>(scales + 8 * (j + n));
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float k_scale = i % 2 == 0 ? ak.x : ak.y;
                    s[j + n][i] = scalar_fma(sum_value(hi[n][i]), q_a[i / 2] * k_scale,
                                             sum_value(lo[n][i]) * (q_b[i / 2] * k_scale)) *
                                  scale;
                }
            }
        }
    }

    // Scores become weights, then codes of the A operand of two steps of 32 positions; `n` counts the positions that
    // the rows see. The block's maximum and sum, and the scales of the codes.
    __device__ __forceinline__ void weigh(const uint8_t *stage, const int (&n)[2], bool is_whole, float (&s)[8][4],
                                          unsigned (&w_hi)[2][4], unsigned (&w_lo)[2][4], float (&block_m)[2],
                                          float (&block_l)[2], float (&w_a)[2], float (&w_b)[2])
    {
        int t = (int)(threadIdx.x % 4);
        const float *scales = reinterpret_cast<const float *>(stage + S::SCALES) + KV_BLOCK + 2 * t;
        int n_any = max(n[0], n[1]);
        if (!is_whole) {
#pragma unroll
            for (int j = 0; j < 8; j++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (8 * j + 2 * t + i % 2 >= n[i / 2]) s[j][i] = -INFINITY;
        }
        unsigned magnitude[2] = {0, 0};
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float top = fmaxf(s[0][2 * h], s[0][2 * h + 1]);
#pragma unroll
            for (int j = 1; j < 8; j++) top = fmaxf(top, fmaxf(s[j][2 * h], s[j][2 * h + 1]));
            top = row_max(top);
            block_m[h] = n[h] > 0 ? top : 0.0f; // a row that sees nothing gets weights of 0
        }
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[j][i] = exp_of_negative(s[j][i] - block_m[i / 2]);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float sum[2];
#pragma unroll
            for (int e = 0; e < 2; e++) { // the 64-tree: steps of 32, 16, 8 positions, then 4 and 2, then 1
                int i = 2 * h + e;
                float low = (s[0][i] + s[4][i]) + (s[2][i] + s[6][i]), high = (s[1][i] + s[5][i]) + (s[3][i] + s[7][i]);
                sum[e] = low + high;
                sum[e] = sum[e] + __shfl_xor_sync(FULL_WARP, sum[e], 2);
                sum[e] = sum[e] + __shfl_xor_sync(FULL_WARP, sum[e], 1);
            }
            block_l[h] = sum[0] + sum[1];
        }
#pragma unroll
        for (int j = 0; j < 8; j++) {
            float2 av = *reinterpret_cast<const float2 *>(scales + 8 * j);
            if (!is_whole) { // scales that no row sees may be anything
                if (8 * j + 2 * t >= n_any) av.x = 0.0f;
                if (8 * j + 2 * t + 1 >= n_any) av.y = 0.0f;
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                s[j][i] = s[j][i] * (i % 2 == 0 ? av.x : av.y);
                magnitude[i / 2] = max(magnitude[i / 2], scalar_magnitude(s[j][i]));
            }
        }
        float absmax[2] = {scalar_as_float(row_max(magnitude[0])), scalar_as_float(row_max(magnitude[1]))};
        is_finite = is_finite && scalar_is_finite(absmax[0]) && scalar_is_finite(absmax[1]);
        rows_scales q(absmax);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            w_a[h] = q.a[h];
            w_b[h] = q.b[h];
#pragma unroll
            for (int j = 0; j < 8; j += 2) {
                unsigned hi[4], lo[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float w = s[j + i / 2][2 * h + i % 2], code = w * q.multiplier[h] + SUM_FLOAT;
                    float rest = scalar_fma(-(code - SUM_FLOAT), q.a[h], w);
                    hi[i] = scalar_as_u32(code);
                    lo[i] = scalar_as_u32(rest * q.rest_multiplier[h] + SUM_FLOAT);
                }
                w_hi[j / 4][j / 2 % 2 * 2 + h] = low_bytes(hi[0], hi[1], hi[2], hi[3]);
                w_lo[j / 4][j / 2 % 2 * 2 + h] = low_bytes(lo[0], lo[1], lo[2], lo[3]);
            }
        }
    }

    // A block's state, folded into the group's.
    __device__ __forceinline__ void attend_block(const attention_args &a, uint32_t block, const uint8_t *stage)
    {
        int lane = (int)(threadIdx.x % 32);
        int first = (int)block * KV_BLOCK, n[2] = {query(0)->position + 1 - first, query(1)->position + 1 - first};
        if (!__any_sync(FULL_WARP, n[0] > 0 || n[1] > 0)) return;
        bool is_whole = __all_sync(FULL_WARP, n[0] >= KV_BLOCK && n[1] >= KV_BLOCK) != 0,
             is_first = block % N_WARPS == 0;
        float s[8][4], block_m[2], block_l[2], w_a[2], w_b[2], al[2], be[2];
        unsigned w_hi[2][4], w_lo[2][4];
        score(stage, a.scale, s);
        weigh(stage, n, is_whole, s, w_hi, w_lo, block_m, block_l, w_a, w_b);
        // A group's first block is copied: 0 * 0 + o * 1, which would lose a -0, but o has none: neither sums of zeros
        // nor products that cancel are -0, and what is left of them is too large to vanish (multiples of 2^-138).
        float next_m[2], apart[2][2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            next_m[h] = block_m[h] > m[h] ? block_m[h] : m[h];
            apart[h][0] = m[h] - next_m[h];
            apart[h][1] = block_m[h] - next_m[h];
        }
        int t = lane % 4;
        float factor = exp_of_negative(t < 2 ? (t == 0 ? apart[0][0] : apart[0][1])
                                             : (t == 2 ? apart[1][0] : apart[1][1]));
        if (is_first) factor = t % 2 == 0 ? 0.0f : 1.0f;
        rows_scales::spread(factor, al, be);
#pragma unroll
        for (int h = 0; h < 2; h++)
            if (n[h] > 0) {
                l[h] = scalar_fma(l[h], al[h], block_l[h] * be[h]);
                m[h] = is_first ? block_m[h] : next_m[h];
            }
        const uint8_t *v = stage + S::V + lane * S::PITCH;
#pragma unroll
        for (int i = 0; i < S::N_TILES; i++) {
            int hi[2][4], lo[2][4]; // even and odd dimensions
            __syncwarp();           // keeps the compiler from having the sums of many tiles in registers
            clear_sums(hi[0]);
            clear_sums(hi[1]);
            clear_sums(lo[0]);
            clear_sums(lo[1]);
#pragma unroll
            for (int k = 0; k < 2; k++) {
                uint4 x = ld_matrices_transposed(v + 32 * k * S::PITCH + 16 * i);
                unsigned even[2] = {__byte_perm(x.x, x.y, 0x6420), __byte_perm(x.z, x.w, 0x6420)};
                unsigned odd[2] = {__byte_perm(x.x, x.y, 0x7531), __byte_perm(x.z, x.w, 0x7531)};
                mma_s8s8_m16n8k32(hi[0], w_hi[k][0], w_hi[k][1], w_hi[k][2], w_hi[k][3], even[0], even[1]);
                mma_s8s8_m16n8k32(hi[1], w_hi[k][0], w_hi[k][1], w_hi[k][2], w_hi[k][3], odd[0], odd[1]);
                mma_s8s8_m16n8k32(lo[0], w_lo[k][0], w_lo[k][1], w_lo[k][2], w_lo[k][3], even[0], even[1]);
                mma_s8s8_m16n8k32(lo[1], w_lo[k][0], w_lo[k][1], w_lo[k][2], w_lo[k][3], odd[0], odd[1]);
            }
#pragma unroll
            for (int h = 0; h < 2; h++)
#pragma unroll
                for (int d = 0; d < 4; d++) {
                    int at = 2 * h + d / 2;
                    float next = scalar_fma(sum_value(hi[d % 2][at]), w_a[h], sum_value(lo[d % 2][at]) * w_b[h]);
                    next = scalar_fma(o[i][h][d], al[h], next * be[h]);
                    if (n[h] > 0) o[i][h][d] = next;
                }
        }
    }

    // The group's state into the result, or into working memory where groups are spread over thread blocks.
    __device__ __forceinline__ void end_group(const attention_args &a, uint32_t group, bool is_spread)
    {
        int hd = a.kv.head_dim, t = (int)(threadIdx.x % 4);
        bool folds = group > 0 && !is_spread;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            prefill_query *q = query(h);
            float al = 0.0f, be = 0.0f;
            if (folds) {
                fold f(q->m, q->l, m[h], l[h]);
                m[h] = f.m;
                l[h] = f.l;
                al = f.al;
                be = f.be;
            }
            __syncwarp();                                                // the four lanes of a row have read
            if ((int)group * N_WARPS * KV_BLOCK > q->position) continue; // it saw nothing of this group
            float *to = attention_output(a, q->row, q->head);
            if (is_spread) to = attention_states(a, q->row, q->head) + (size_t)group * (size_t)(hd + 2);
            if (t == 0) {
                (is_spread ? to[hd] : q->m) = m[h];
                (is_spread ? to[hd + 1] : q->l) = l[h];
            }
            float before[S::N_TILES][4]; // all loads first: the compiler must take stores for their aliases
#pragma unroll
            for (int i = 0; i < S::N_TILES; i++)
#pragma unroll
                for (int d = 0; d < 4; d++) before[i][d] = folds && 16 * i < hd ? to[16 * i + 4 * t + d] : 0.0f;
#pragma unroll
            for (int i = 0; i < S::N_TILES; i++)
#pragma unroll
                for (int d = 0; d < 4; d++) {
                    float value = o[i][h][d];
                    if (folds) value = scalar_fma(before[i][d], al, value * be);
                    if (16 * i < hd) to[16 * i + 4 * t + d] = value;
                }
        }
        clear();
        __syncwarp();
    }

    // What the lane left in y becomes the output.
    __device__ __forceinline__ void divide(const attention_args &a) const
    {
        int t = (int)(threadIdx.x % 4);
        for (int h = 0; h < 2; h++) {
            const prefill_query *q = query(h);
            if (q->position < 0) continue;
            float *y = attention_output(a, q->row, q->head), sum = q->l;
#pragma unroll 1
            for (int i = 4 * t; i < a.kv.head_dim; i += 16)
#pragma unroll
                for (int d = 0; d < 4; d++) y[i + d] = scalar_div(y[i + d], sum);
        }
    }
};

// ---- the kernel

// The block of positions after `block` of those that this thread block makes: groups split, split + n_splits, ...
__device__ __forceinline__ uint32_t next_block(uint32_t block, uint32_t n_splits)
{
    return block + 1 + (block % N_WARPS == N_WARPS - 1 ? N_WARPS * (n_splits - 1) : 0);
}

template <int DIMS> __device__ __forceinline__ void prefill(const attention_args &a, const attention_run &r)
{
    typedef prefill_shape<DIMS> S;
    SHARED_DYNAMIC(shared);
    SHARED_ARRAY(prefill_query, queries, N_WARPS * 16);
    SHARED_ARRAY(float, factors, 2 * ATTENTION_THREADS + 2); // of fold_spread
    uint32_t warp = threadIdx.x / 32, heads = min(a.heads_per_kv, (uint32_t)N_WARPS), chunk = blockIdx.y % a.n_chunks;
    uint32_t n_blocks = r.last / KV_BLOCK + 1; // the most that a query sees
    uint32_t n_groups = (n_blocks + N_WARPS - 1) / N_WARPS, n_splits = min(gridDim.z, n_groups);
    if (blockIdx.z >= n_splits) return;
    bool is_spread = n_splits > 1;
    uint32_t head = chunk * heads + warp % heads; // of the KV head's
    bool works = warp / heads < r.n_windows && head < a.heads_per_kv;

    prefill_warp<DIMS> w;
    w.is_finite = true;
    w.queries = queries + warp * 16;
    uint32_t block = blockIdx.z * N_WARPS;
    copy_block<DIMS>(a, r, block, shared);
    cp_async_commit();
    w.clear();
    uint32_t first_row = (r.window + (works ? warp / heads : 0)) * ATTENTION_WINDOW;
    w.load_queries(a, first_row, r.kv_head * a.heads_per_kv + (works ? head : 0),
                   works ? (int)min(a.m - first_row, (uint32_t)ATTENTION_WINDOW) : 0,
                   reinterpret_cast<int8_t *>(shared + S::STAGE) + warp * 32 * S::PITCH);

    for (uint32_t stage = 0; block < n_blocks; stage ^= 1) {
        uint32_t next = next_block(block, n_splits);
        cp_async_wait<0>();
        __syncthreads(); // this stage is there, the other is used up
        if (next < n_blocks) copy_block<DIMS>(a, r, next, shared + (stage ^ 1) * S::STAGE);
        cp_async_commit();
        w.attend_block(a, block, shared + stage * S::STAGE);
        if (next / N_WARPS != block / N_WARPS || next >= n_blocks) w.end_group(a, block / N_WARPS, is_spread);
        block = next;
    }
    if (!w.is_finite && threadIdx.x % 32 == 0) raise_flag(a.flag, a.place);
    if (!is_spread) {
        w.divide(a);
        return;
    }
    SHARED_ARRAY(unsigned, arrived, 1);
    if (!arrives_last(&a.counters[(size_t)blockIdx.x * gridDim.y + blockIdx.y], n_splits, arrived)) return;
    for (int i = 0; i < N_WARPS * 16; i++) {
        prefill_query q = queries[i];
        if (q.position < 0) continue;
        __syncthreads(); // the factors before are used up
        fold_spread<ATTENTION_THREADS>(a, attention_states(a, q.row, q.head), attention_output(a, q.row, q.head),
                                       (uint32_t)q.position / (KV_BLOCK * N_WARPS) + 1, factors,
                                       factors + ATTENTION_THREADS, factors + 2 * ATTENTION_THREADS);
    }
}

template <int DIMS>
__global__ void __launch_bounds__(ATTENTION_THREADS, DIMS == 64 ? 3 : 2) attention_int8_prefill(attention_args a)
{
    griddep_wait();
#if ATTENTION_HAS_MMA
    attention_run r;
    if (attention_find_run(a, &r)) prefill<DIMS>(a, r);
#endif
}

typedef void (*prefill_kernel)(attention_args);

template <int DIMS> tern_status launch(stream *s, const attention_args &a, const char *name, dim3 grid, tern_error *err)
{
    return cuda_launch(s, name, attention_int8_prefill<DIMS>, grid, dim3(ATTENTION_THREADS),
                       2 * prefill_shape<DIMS>::STAGE, err, a);
}

} // namespace

bool attention_prefill_takes(const device *d, const attention_args *a)
{
    int hd = a->kv.head_dim;
    return d->capability >= 80 && a->kv.k_type == KV_INT8 && a->kv.v_type == KV_INT8 && a->m >= ATTENTION_WINDOW &&
           hd % 16 == 0 && hd > 32 && hd <= 128;
}

tern_status attention_prefill(stream *s, attention_args a, tern_error *err)
{
    dim3 grid = attention_window_grid(s->device, N_WARPS, 2, &a);
    switch ((a.kv.head_dim + 31) / 32) {
    case 2: return launch<64>(s, a, "attention_int8_prefill_64", grid, err);
    case 3: return launch<96>(s, a, "attention_int8_prefill_96", grid, err);
    default: return launch<128>(s, a, "attention_int8_prefill_128", grid, err);
    }
}
