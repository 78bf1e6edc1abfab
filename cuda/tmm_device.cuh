// What the kernels of ternary products share on the device: columns of activations, decoding, the epilogue, and adding
// up the sums of blocks that share an item.
#ifndef TERN_CUDA_TMM_DEVICE_CUH
#define TERN_CUDA_TMM_DEVICE_CUH

#include "launch.cuh"
#include "scalar.h"
#include "tmm.h"

#if defined(TERN_CUDA_SHIM) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800)
#define TMM_HAS_MMA 1
#else
#define TMM_HAS_MMA 0 // kernels on tensor cores are empty: the host never chooses them below sm_80
#endif

static __device__ __forceinline__ const int8_t *tmm_column(const tmm_args &a, uint32_t column)
{
    uint32_t term = column & (a.terms - 1), token = column >> (a.terms - 1);
    return (term == 0 ? a.codes[0] : a.codes[1]) + (size_t)token * a.ld_x;
}

// A layout as the kernels see it. Each half of a granule (words 0 and 1, or 2 and 3) has FIELDS fields of 8 columns; so
// field m of half h is step h * FIELDS + m of 2 * FIELDS, and a chunk of 16 activations serves two steps.
template <ternary_layout L> struct packed {
    static constexpr uint32_t FIELDS = L == TERNARY_T80 ? 5 : 4;
    static constexpr uint32_t CHUNKS = FIELDS; // of a granule
    static constexpr uint32_t TILE_CHUNKS = TMM_TILE_GRANULES * CHUNKS, TILE_COLUMNS = 16 * TILE_CHUNKS;
};

// Copies 16-byte chunk `chunk` of tile `tile` of a column to shared memory; zeros behind the end of the row.
template <ternary_layout L>
static __device__ __forceinline__ void tmm_copy_chunk(const tmm_args &a, uint8_t *to, const int8_t *column,
                                                      uint32_t tile, uint32_t chunk)
{
    bool is_there = tile * TMM_TILE_GRANULES + chunk / packed<L>::CHUNKS < a.n_granules;
    const int8_t *from = column + (is_there ? (size_t)tile * packed<L>::TILE_COLUMNS + 16 * chunk : 0);
    cp_async_16_or_zero(to, from, is_there);
}

// The word j of a granule.
static __device__ __forceinline__ unsigned tmm_word(const uint4 &granule, int j)
{
    return j == 0 ? granule.x : j == 1 ? granule.y : j == 2 ? granule.z : granule.w;
}

// Field m of four weights at its place, that is, codes times 4^m; and the codes themselves.
static __device__ __forceinline__ unsigned tmm_field(unsigned word, int m) { return word & (0x03030303u << (2 * m)); }
static __device__ __forceinline__ unsigned tmm_codes(unsigned word, int m) { return word >> (2 * m) & 0x03030303u; }

// The codes of a word, four columns of a field at a time: next() for m = 0, 1, ... in turn.
template <ternary_layout L> struct word_codes;

template <> struct word_codes<TERNARY_T64> {
    unsigned word = 0;
    __device__ __forceinline__ void load(unsigned w) { word = w; }
    __device__ __forceinline__ unsigned next(int m) { return tmm_codes(word, m); }
};

// T80: each byte in 16 bits, so that multiplied by 3 n times its upper half is the number of the first n digits
// (ternary.h), and nothing has to be masked. A digit is what that number has more than three times the one before; no
// byte borrows.
template <> struct word_codes<TERNARY_T80> {
    unsigned even = 0, odd = 0, before = 0;
    __device__ __forceinline__ void load(unsigned w)
    {
        even = w & 0x00ff00ffu;
        odd = w >> 8 & 0x00ff00ffu;
        before = 0;
    }
    __device__ __forceinline__ unsigned next_number()
    {
        even *= 3;
        odd *= 3;
        return __byte_perm(even, odd, 0x7351);
    }
    __device__ __forceinline__ unsigned next(int)
    {
        unsigned number = next_number(), codes = number - 3 * before;
        before = number;
        return codes;
    }
};

static __device__ __forceinline__ void tmm_put(const tmm_args &a, uint32_t row, uint32_t token, float product)
{
    float *y = a.y + (size_t)token * a.ld_y + row;
    *y = a.epilogue == EPILOGUE_ADD ? *y + product : product;
}

// Sums of codes times activations, of a token's terms (lo: of the second, where there are two).
struct tmm_sums {
    int hi, lo;
};

static __device__ __forceinline__ float tmm_product(const tmm_args &a, uint32_t row, uint32_t token, tmm_sums s)
{
    float w = a.w_scale[row];
    int hi = s.hi - a.sums[0][token];
    return a.terms == 1 ? scalar_ternary(hi, a.scales[0][token], w)
                        : scalar_ternary2(hi, s.lo - a.sums[1][token], a.scales[0][token], a.scales[1][token], w);
}

// What a token has of two rows 8 apart, the first in the upper half of a row group: of a tensor core's product a thread
// has both, and they are gate and up where the product is gated (ops.h).
struct tmm_pair {
    float upper, lower;
};

static __device__ __forceinline__ tmm_pair tmm_products(const tmm_args &a, uint32_t row, uint32_t token, tmm_sums upper,
                                                        tmm_sums lower)
{
    tmm_pair p = {tmm_product(a, row, token, upper), tmm_product(a, row + 8, token, lower)};
    return p;
}

static __device__ __forceinline__ bool tmm_gates(const tmm_args &a) { return a.epilogue >= EPILOGUE_RELU2; }

static __device__ __forceinline__ void tmm_put_pair(const tmm_args &a, uint32_t row, uint32_t token, tmm_pair p)
{
    tmm_put(a, row, token, p.upper);
    if (row + 8 < a.n_rows) tmm_put(a, row + 8, token, p.lower);
}

// Output `index` of a gated product.
static __device__ __forceinline__ void tmm_put_gated(const tmm_args &a, uint32_t index, uint32_t token, tmm_pair p)
{
    a.y[(size_t)token * a.ld_y + index] = a.epilogue == EPILOGUE_SILU ? scalar_gate_silu(p.upper, p.lower)
                                                                      : scalar_gate_relu2(p.upper, p.lower);
}

// ---- items that several blocks share
//
// Each of them leaves its sums in a slot of its own, then counts itself; the last one adds up all slots. Integer sums,
// so the order does not show. A block has two slots: one for the item it begins but does not end, one for an item that
// an earlier block began. The counter is that of the item's first block and is left at zero.

static __device__ __forceinline__ int *tmm_slot(const tmm_args &a, uint32_t block, uint32_t owner, uint32_t n)
{
    return a.scratch + (size_t)(2 * block + (block == owner)) * n;
}

// Called by the whole block after it wrote its slot: whether it is the last of blocks owner..last. `flag`: a word of
// shared memory.
static __device__ __forceinline__ bool tmm_arrive(const tmm_args &a, uint32_t owner, uint32_t last, unsigned *flag)
{
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        bool is_last = atomicAdd(&a.counters[owner], 1u) == last - owner;
        if (is_last) a.counters[owner] = 0;
        *flag = is_last;
    }
    __syncthreads();
    bool is_last = *flag != 0;
    if (is_last) __threadfence();
    return is_last;
}

#endif
