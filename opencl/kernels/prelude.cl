// What all kernels share. Follows scalar.h, half.h and kv.h in every program. Options that program.c may define:
//   SCALAR_SOFT_DIVIDE   division and roots by integer arithmetic (scalar.h)
//   TERN_DOT_KHR, _AMD_MIXED, _AMD_SIGNED, _NVIDIA, _ARM, _QUALCOMM   which packed 4x8 dot product; none: plain code
//   TERN_DOT_VECTOR      a CPU: granules are multiplied 16 bytes at a time, everything else by plain code
//   TERN_DOT_SIGNED      only signed operands: codes times 4^3 = 128 do not fit (set with _AMD_SIGNED, or to test it)
//   TERN_SUBGROUPS       lanes exchange values by shuffles (_EMULATED: by local memory, in the same places)
//   TERN_T80             ternary matrices are in T80, not T64
//   TERN_FP16            conversion of stored halves is an instruction
//
// Operands are a buffer and an element offset, because sub-buffers demand more alignment than operands have.
#define GROUP(n)  __attribute__((reqd_work_group_size(n, 1, 1)))
#define BARRIER() barrier(CLK_LOCAL_MEM_FENCE)

#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)

// Lowers the step's flag word to the op's place.
static void raise_flag(volatile __global uint *flag, uint place) { atomic_min(flag, place); }

// ---- packed dot products: four bytes of a word each

// Sum over bytes of codes (unsigned, at most 128; at most 127 with TERN_DOT_SIGNED) times activations (signed), plus c.
// And the same with signed bytes on both sides.
#if defined(TERN_DOT_KHR)
static int dot_us(uint w, uint x, int c) { return c + dot(as_uchar4(w), as_char4(x)); }
static int dot_ss(uint a, uint x, int c) { return c + dot(as_char4(a), as_char4(x)); }
#elif defined(TERN_DOT_AMD_MIXED)
static int dot_us(uint w, uint x, int c) { return __builtin_amdgcn_sudot4(false, (int)w, true, (int)x, c, false); }
static int dot_ss(uint a, uint x, int c) { return __builtin_amdgcn_sudot4(true, (int)a, true, (int)x, c, false); }
#elif defined(TERN_DOT_AMD_SIGNED)
static int dot_us(uint w, uint x, int c) { return __builtin_amdgcn_sdot4((int)w, (int)x, c, false); }
static int dot_ss(uint a, uint x, int c) { return __builtin_amdgcn_sdot4((int)a, (int)x, c, false); }
#elif defined(TERN_DOT_NVIDIA)
static int dot_us(uint w, uint x, int c)
{
    int d;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(w), "r"(x), "r"(c));
    return d;
}
static int dot_ss(uint a, uint x, int c)
{
    int d;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(x), "r"(c));
    return d;
}
#elif defined(TERN_DOT_ARM)
static int dot_us(uint w, uint x, int c) { return arm_dot_acc(as_char4(w), as_char4(x), c); }
static int dot_ss(uint a, uint x, int c) { return arm_dot_acc(as_char4(a), as_char4(x), c); }
#elif defined(TERN_DOT_QUALCOMM)
static int dot_us(uint w, uint x, int c) { return qcom_dot8_acc(w, x, c); } // unsigned by signed
static int dot_ss(uint a, uint x, int c)
{ // a = (a + 128) - 128 in every byte
    return qcom_dot8_acc(a ^ 0x80808080u, x, c) - (qcom_dot8_acc(0x01010101u, x, 0) << 7);
}
#else
static int dot_us(uint w, uint x, int c)
{
    int4 p = convert_int4(as_uchar4(w)) * convert_int4(as_char4(x));
    return c + ((p.x + p.y) + (p.z + p.w));
}
static int dot_ss(uint a, uint x, int c)
{
    int4 p = convert_int4(as_char4(a)) * convert_int4(as_char4(x));
    return c + ((p.x + p.y) + (p.z + p.w));
}
#endif

// The value of the lane whose number differs by `mask` (1 or 2). The whole work-group calls this together.
#if defined(TERN_SUBGROUPS_EMULATED)
static int lane_xor(int x, uint mask, __local int *exchange)
{
    uint lane = get_local_id(0);
    exchange[lane] = x;
    BARRIER();
    int other = exchange[lane ^ mask];
    BARRIER();
    return other;
}
#elif defined(TERN_SUBGROUPS)
static int lane_xor(int x, uint mask, __local int *exchange) { return sub_group_shuffle_xor(x, mask); }
#endif

static float load_half(const __global ushort *x)
{
#if defined(TERN_FP16)
    return vload_half(0, (const __global half *)x);
#else
    return half_to_float(*x);
#endif
}

// ---- reductions over the n lanes of a work-group (a power of two), in the order of a tree: lane j takes lane j + n/2,
// then
// + n/4, and so on. Through n words of local memory; every lane gets the result.
#define REDUCTION(name, type, combined)                                                                                \
    static type name(type x, __local type *lanes, uint n)                                                              \
    {                                                                                                                  \
        uint lane = get_local_id(0);                                                                                   \
        lanes[lane] = x;                                                                                               \
        BARRIER();                                                                                                     \
        for (uint width = n / 2; width > 0; width >>= 1) {                                                             \
            if (lane < width) {                                                                                        \
                type a = lanes[lane], b = lanes[lane + width];                                                         \
                lanes[lane] = combined;                                                                                \
            }                                                                                                          \
            BARRIER();                                                                                                 \
        }                                                                                                              \
        type result = lanes[0];                                                                                        \
        BARRIER();                                                                                                     \
        return result;                                                                                                 \
    }

REDUCTION(sum_floats, float, a + b)
REDUCTION(sum_lanes, int, a + b)
REDUCTION(max_lanes, uint, max(a, b))

// ---- packed ternary matrices (common/ternary.h): T80 with TERN_T80, else T64

#define TILE_ROWS     16u
#define TILE_GRANULES 4u
#if defined(TERN_T80)
#define GRANULE   80u // columns
#define FIELDS    5u  // codes of a byte
#define ZERO_WORD 0x80808080u
#else
#define GRANULE   64u
#define FIELDS    4u
#define ZERO_WORD 0x55555555u
#endif
#define EVEN_BYTES 0x00ff00ffu

// Index, in granules of 16 bytes, of granule `granule` of row `row` in a matrix of n granules a row.
static size_t granule_index(uint n, uint row, uint granule)
{
    uint tile = granule / TILE_GRANULES, in_tile = min(n - tile * TILE_GRANULES, TILE_GRANULES);
    return (size_t)(row / TILE_ROWS) * TILE_ROWS * n + tile * TILE_ROWS * TILE_GRANULES +
           row % TILE_ROWS / 8 * 8 * in_tile + in_tile * (row % 8) + granule % TILE_GRANULES;
}

// The set of scales a row uses. begin: first rows of the row ranges; without ranges a set per row, or one for all.
static uint scale_set(uint row, uint n_sets, uint has_ranges, const __global uint *begin)
{
    if (!has_ranges) return n_sets == 1 ? 0 : row;
    uint low = 0, high = n_sets;
    while (high - low > 1) {
        uint middle = low + (high - low) / 2;
        if (begin[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}
