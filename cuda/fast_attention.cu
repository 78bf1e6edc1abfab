// Fast attention of prompts over f16 K and V on tensor cores (sm_80): no defined bits, but the error that ops.h states.
//
// A warp takes a head of a window of 16 rows: its queries are the rows of A of m16n8k16 products, kept in registers as
// fp16. The eight warps of a thread block have heads of a KV head, and windows of one sequence, and share K and V,
// which come through two stages of shared memory, a block of 64 positions at a time. Thread blocks take consecutive
// shares of a sequence's blocks where there are few of them; the last to arrive then merges their states.
//
// K stands d-major and V position-major, so of both a lane gets its words of B by transposed loads: 2t and 2t + 1 of
// the dimension that is summed over, of one position or dimension of the output. A lane's scores of rows g and g + 8
// are at positions 8j + 2t and 8j + 2t + 1 (lane 4g + t), and so are already where A of the product with V wants the
// weights. The sum of a row's weights is one more column of that product, whose B is ones.
//
// Scores stay products of scaled queries: `factor` makes them exponents of 2.
#include "attention.cuh"

#define FAST_WARPS   8
#define FAST_THREADS (32 * FAST_WARPS)
#define WEIGHT_BITS  15.0f      // weights are times 2^15, so that small ones are normal numbers of fp16
#define QUERY_BITS   14         // the largest value of a query lies in [2^14, 2^15)
#define ONES         0x3c003c00 // two halves
#define LOG2_E       0x1.715476p0f
#define LN_2         0x1.62e43p-1f

namespace
{

// Shared memory: two stages of K and V, whose rows have an odd number of 16 bytes: eight rows are in different banks.
template <int DIMS> struct fast_shape {
    static constexpr int K_PITCH = 2 * KV_BLOCK + 16, V_PITCH = 2 * DIMS + 16;
    static constexpr int V = DIMS * K_PITCH, STAGE = V + KV_BLOCK * V_PITCH;
    static constexpr int N_STEPS = DIMS / 16, N_TILES = DIMS / 8;
};

// K of dimensions that heads do not have is zero, as the queries are there; so is V of positions that nobody sees,
// which may be anything and has weights of zero. What the loads find behind a row of V ends in no output.
template <int DIMS>
__device__ __forceinline__ void copy_block(const attention_args &a, const attention_run &r, uint32_t block,
                                           uint8_t *stage)
{
    typedef fast_shape<DIMS> S;
    constexpr int V_CHUNKS = DIMS == 64 ? 8 : 16;
    const uint8_t *k = kv_head_at(a.kv, r.table, block, r.kv_head), *v = k + a.kv.k_bytes;
    int hd = a.kv.head_dim, n_seen = (int)r.last + 1 - (int)block * KV_BLOCK;
    int at = (int)threadIdx.x % 8 * 16, column = (int)threadIdx.x % V_CHUNKS * 16;
#pragma unroll 1
    for (int d = (int)threadIdx.x / 8; d < DIMS; d += FAST_THREADS / 8)
        cp_async_16_or_zero(stage + d * S::K_PITCH + at, k + (d < hd ? d : 0) * 2 * KV_BLOCK + at, d < hd);
    if (column >= 2 * hd) return;
#pragma unroll 1
    for (int j = (int)threadIdx.x / V_CHUNKS; j < KV_BLOCK; j += FAST_THREADS / V_CHUNKS)
        cp_async_16_or_zero(stage + S::V + j * S::V_PITCH + column, v + j * 2 * hd + column, j < n_seen);
}

// The rows of a warp and their head; n_rows 0: the warp only helps to copy.
struct fast_place {
    uint32_t first_row, head;
    int n_rows;
    __device__ __forceinline__ fast_place(const attention_args &a, const attention_run &r)
    {
        uint32_t warp = threadIdx.x / 32, heads = min(a.heads_per_kv, (uint32_t)FAST_WARPS);
        uint32_t of_kv_head = blockIdx.y % a.n_chunks * heads + warp % heads;
        first_row = (r.window + warp / heads) * ATTENTION_WINDOW;
        head = r.kv_head * a.heads_per_kv + of_kv_head;
        bool works = warp / heads < r.n_windows && of_kv_head < a.heads_per_kv;
        n_rows = works ? (int)min(a.m - first_row, ATTENTION_WINDOW) : 0;
    }
};

// A warp's queries and the state of its rows g and g + 8 so far: the largest score, and sums of weights and values
// relative to it.
template <int DIMS> struct fast_warp {
    typedef fast_shape<DIMS> S;
    unsigned q[S::N_STEPS][4];
    int position[2]; // -1: no such row
    float factor[2], m[2], l[2], o[S::N_TILES][4];

    __device__ __forceinline__ void clear()
    {
        m[0] = m[1] = -INFINITY;
        l[0] = l[1] = 0.0f;
#pragma unroll
        for (int i = 0; i < S::N_TILES * 4; i++) o[i / 4][i % 4] = 0.0f;
    }

    // The queries to fp16, each times a power of two.
    __device__ __forceinline__ void load_queries(const attention_args &a, const fast_place &at)
    {
        int hd = a.kv.head_dim, g = (int)(threadIdx.x % 32 / 4), t = (int)(threadIdx.x % 4);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            uint32_t row = at.first_row + (uint32_t)(g + 8 * h);
            bool exists = g + 8 * h < at.n_rows;
            const float *x = a.q + (size_t)row * a.ld_q + (size_t)at.head * (uint32_t)hd;
            float value[S::N_STEPS][4];
            unsigned magnitude = 0;
#pragma unroll
            for (int i = 0; i < S::N_STEPS * 4; i++) {
                int d = i / 4 * 16 + i / 2 % 2 * 8 + 2 * t + i % 2;
                value[i / 4][i % 4] = exists && d < hd ? x[d] : 0.0f;
                magnitude = max(magnitude, scalar_magnitude(value[i / 4][i % 4]));
            }
            int exponent = max((int)(row_max(magnitude) >> 23), 127 + QUERY_BITS - 126); // a normal 2^-x must exist
            float up = scalar_as_float((unsigned)(2 * 127 + QUERY_BITS - exponent) << 23);
            factor[h] = a.scale * LOG2_E * scalar_as_float((unsigned)(exponent - QUERY_BITS) << 23);
            position[h] = exists ? a.kv.row_position[row] : -1;
#pragma unroll
            for (int k = 0; k < S::N_STEPS; k++) {
                q[k][h] = pack_halves(value[k][0] * up, value[k][1] * up);
                q[k][2 + h] = pack_halves(value[k][2] * up, value[k][3] * up);
            }
        }
    }

    // s[j] are scores of rows g, g, g + 8, g + 8 at positions 8j + 2t, + 1, + 0, + 1.
    __device__ __forceinline__ void score(const uint8_t *stage, float (&s)[8][4]) const
    {
        int lane = (int)(threadIdx.x % 32);
        const uint8_t *k = stage + lane % 16 * S::K_PITCH + lane / 16 * 16;
#pragma unroll
        for (int i = 0; i < 32; i++) s[i / 4][i % 4] = 0.0f;
#pragma unroll
        for (int i = 0; i < S::N_STEPS; i++)
#pragma unroll
            for (int j = 0; j < 8; j += 2) {
                uint4 b = ld_matrices_transposed(k + 16 * i * S::K_PITCH + 16 * j);
                mma_f16_m16n8k16(s[j], q[i], b.x, b.y);
                mma_f16_m16n8k16(s[j + 1], q[i], b.z, b.w);
            }
    }

    // Scores become weights relative to the largest so far, as A of four steps of 16 positions; `n` counts the
    // positions that the rows see. al: what the state so far is to be multiplied by.
    __device__ __forceinline__ void weigh(const int (&n)[2], float (&s)[8][4], unsigned (&w)[4][4], float (&al)[2])
    {
        int t = (int)(threadIdx.x % 4);
        if (!__all_sync(FULL_WARP, n[0] >= KV_BLOCK && n[1] >= KV_BLOCK)) {
#pragma unroll
            for (int i = 0; i < 32; i++)
                if (i / 4 * 8 + 2 * t + i % 2 >= n[i / 2 % 2]) s[i / 4][i % 4] = -INFINITY;
        }
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float top = m[h];
#pragma unroll
            for (int j = 0; j < 8; j++) top = fmaxf(top, fmaxf(s[j][2 * h], s[j][2 * h + 1]));
            top = row_max(top);
            float base = top == -INFINITY ? 0.0f : top; // a row that has seen nothing yet gets weights of 0
            al[h] = exp2_approximate((m[h] - base) * factor[h]);
            m[h] = top;
#pragma unroll
            for (int j = 0; j < 8; j++) {
                float low = exp2_approximate(scalar_fma(s[j][2 * h] - base, factor[h], WEIGHT_BITS));
                float high = exp2_approximate(scalar_fma(s[j][2 * h + 1] - base, factor[h], WEIGHT_BITS));
                w[j / 2][j % 2 * 2 + h] = pack_halves(low, high);
            }
        }
    }

    // A block into the state.
    __device__ __forceinline__ void attend_block(uint32_t block, const uint8_t *stage)
    {
        int lane = (int)(threadIdx.x % 32), first = (int)block * KV_BLOCK;
        int n[2] = {position[0] + 1 - first, position[1] + 1 - first};
        if (!__any_sync(FULL_WARP, n[0] > 0 || n[1] > 0)) return;
        float s[8][4], al[2];
        unsigned w[4][4];
        score(stage, s);
        weigh(n, s, w, al);
        float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
        for (int k = 0; k < 4; k++) mma_f16_m16n8k16(sum, w[k], ONES, ONES);
        l[0] = scalar_fma(l[0], al[0], sum[0]);
        l[1] = scalar_fma(l[1], al[1], sum[2]);
        const uint8_t *v = stage + S::V + lane % 16 * S::V_PITCH + lane / 16 * 16;
#pragma unroll
        for (int i = 0; i < S::N_TILES; i += 2) {
            float next[2][4] = {};
#pragma unroll
            for (int k = 0; k < 4; k++) {
                uint4 b = ld_matrices_transposed(v + 16 * k * S::V_PITCH + 16 * i);
                mma_f16_m16n8k16(next[0], w[k], b.x, b.y);
                mma_f16_m16n8k16(next[1], w[k], b.z, b.w);
            }
#pragma unroll
            for (int e = 0; e < 8; e++)
                o[i + e / 4][e % 4] = scalar_fma(o[i + e / 4][e % 4], al[e / 2 % 2], next[e / 4][e % 4]);
        }
    }

    // The output of the rows; or, where positions are spread, the state of this share, which begins with position
    // `first`, for fold_spread.
    __device__ __forceinline__ void end(const attention_args &a, const fast_place &at, bool is_spread, int first) const
    {
        int hd = a.kv.head_dim, g = (int)(threadIdx.x % 32 / 4), t = (int)(threadIdx.x % 4);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            if (position[h] < first) continue;
            uint32_t row = at.first_row + (uint32_t)(g + 8 * h);
            float *to = attention_output(a, row, at.head), factor_of_o = 1.0f;
            if (is_spread) {
                to = attention_states(a, row, at.head) + (size_t)blockIdx.z * (size_t)(hd + 2);
                if (t == 0) {
                    to[hd] = m[h] * factor[h] * LN_2;
                    to[hd + 1] = l[h];
                }
            } else {
                factor_of_o = scalar_div(1.0f, l[h]);
            }
#pragma unroll
            for (int i = 0; i < S::N_TILES; i++)
                if (8 * i < hd) {
                    to[8 * i + 2 * t] = o[i][2 * h] * factor_of_o;
                    to[8 * i + 2 * t + 1] = o[i][2 * h + 1] * factor_of_o;
                }
        }
    }
};

// What a thread block does: its share of the blocks of a run's positions. It lies in shared memory: registers are
// scarce.
struct fast_share {
    attention_run run;
    uint32_t begin, end; // blocks
    uint32_t n_per_share, n_shares;
};

// The output of the run's rows from the states of all shares.
__device__ __forceinline__ void fold_shares(const attention_args &a, const fast_share &s)
{
    SHARED_ARRAY(float, factors, 2 * FAST_THREADS + 2);
    uint32_t heads = min(a.heads_per_kv, (uint32_t)FAST_WARPS), first_head = blockIdx.y % a.n_chunks * heads;
    uint32_t end_row = min((s.run.window + s.run.n_windows) * ATTENTION_WINDOW, a.m);
    for (uint32_t row = s.run.window * ATTENTION_WINDOW; row < end_row; row++)
        for (uint32_t i = first_head; i < min(first_head + heads, a.heads_per_kv); i++) {
            uint32_t head = s.run.kv_head * a.heads_per_kv + i;
            __syncthreads(); // the factors before are used up
            fold_spread<FAST_THREADS>(a, attention_states(a, row, head), attention_output(a, row, head),
                                      (uint32_t)a.kv.row_position[row] / KV_BLOCK / s.n_per_share + 1, factors,
                                      factors + FAST_THREADS, factors + 2 * FAST_THREADS);
        }
}

template <int DIMS> __device__ __forceinline__ void attend_run(const attention_args &a, const attention_run &run)
{
    typedef fast_shape<DIMS> S;
    SHARED_DYNAMIC(shared);
    SHARED_ARRAY(fast_share, share, 1);
    SHARED_ARRAY(unsigned, arrived, 1);
    const fast_share &s = share[0];
    if (threadIdx.x == 0) {
        uint32_t n_blocks = run.last / KV_BLOCK + 1, n_per_share = ceil_div(n_blocks, min(gridDim.z, n_blocks));
        uint32_t begin = min(blockIdx.z * n_per_share, n_blocks);
        share[0] = {run, begin, min(begin + n_per_share, n_blocks), n_per_share, ceil_div(n_blocks, n_per_share)};
    }
    __syncthreads();
    if (s.begin == s.end) return;
    copy_block<DIMS>(a, s.run, s.begin, shared);
    cp_async_commit();
    fast_warp<DIMS> w;
    w.load_queries(a, fast_place(a, s.run));
    w.clear();
    for (uint32_t block = s.begin, stage = 0; block < s.end; block++, stage ^= 1) {
        cp_async_wait<0>();
        __syncthreads(); // this stage is there, the other is used up
        if (block + 1 < s.end) copy_block<DIMS>(a, s.run, block + 1, shared + (stage ^ 1) * S::STAGE);
        cp_async_commit();
        w.attend_block(block, shared + stage * S::STAGE);
    }
    w.end(a, fast_place(a, s.run), s.n_shares > 1, (int)s.begin * KV_BLOCK);
    if (s.n_shares == 1) return;
    if (arrives_last(&a.counters[(size_t)blockIdx.x * gridDim.y + blockIdx.y], s.n_shares, arrived)) fold_shares(a, s);
}

template <int DIMS> __global__ void __launch_bounds__(FAST_THREADS, 1) fast_attention(attention_args a)
{
    griddep_wait();
#if ATTENTION_HAS_MMA
    attention_run run;
    if (attention_find_run(a, &run)) attend_run<DIMS>(a, run);
#endif
}

template <int DIMS> tern_status launch(stream *s, attention_args a, const char *name, tern_error *err)
{
    dim3 grid = attention_window_grid(s->device, FAST_WARPS, 1, &a);
    return cuda_launch(s, name, fast_attention<DIMS>, grid, dim3(FAST_THREADS), 2 * fast_shape<DIMS>::STAGE, err, a);
}

} // namespace

tern_status attention_fast(stream *s, attention_args a, tern_error *err)
{
    if (a.kv.head_dim <= 64) return launch<64>(s, a, "fast_attention_64", err);
    if (a.kv.head_dim <= 96) return launch<96>(s, a, "fast_attention_96", err);
    return launch<128>(s, a, "fast_attention_128", err);
}
