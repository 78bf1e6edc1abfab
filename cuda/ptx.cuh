// The only place with raw PTX: small named wrappers. Each has a twin in plain C++ for the executor of tests/shim, which
// is also its definition. A wrapper that needs a newer architecture than the one compiled for says so.
#ifndef TERN_CUDA_PTX_CUH
#define TERN_CUDA_PTX_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#include "half.h"

#if defined(TERN_CUDA_SHIM)
// Reports an access that the device would refuse.
template <typename T> static inline const T *shim_aligned(const void *p, const char *what)
{
    if (reinterpret_cast<uintptr_t>(p) % sizeof(T) != 0) shim_stop("%s at %p, not aligned to %zu", what, p, sizeof(T));
    return static_cast<const T *>(p);
}
#endif

// ---- order between grids (programmatic dependent launch; nothing below sm_90)

// Until the grids this one depends on are complete and their writes visible.
static __device__ __forceinline__ void griddep_wait()
{
#if !defined(TERN_CUDA_SHIM) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets dependent grids start; they still wait for this one's end before they read what it writes.
static __device__ __forceinline__ void griddep_launch()
{
#if !defined(TERN_CUDA_SHIM) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// ---- dot products of four bytes

// c + sum of signed a_i * signed b_i.
static __device__ __forceinline__ int dp4a_s32s32(int a, int b, int c)
{
#if defined(TERN_CUDA_SHIM)
    for (int i = 0; i < 4; i++) c += (int8_t)(a >> (8 * i)) * (int8_t)(b >> (8 * i));
    return c;
#else
    int d;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
#endif
}

// c + sum of unsigned a_i * signed b_i.
static __device__ __forceinline__ int dp4a_u32s32(unsigned a, int b, int c)
{
#if defined(TERN_CUDA_SHIM)
    for (int i = 0; i < 4; i++) c += (int)(uint8_t)(a >> (8 * i)) * (int8_t)(b >> (8 * i));
    return c;
#else
    int d;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
#endif
}

// ---- hints

// Hides from the compiler where a value came from, so that it stays in a register and is not computed again in a loop.
static __device__ __forceinline__ void keep_in_register(unsigned &value)
{
#if !defined(TERN_CUDA_SHIM)
    asm volatile("" : "+r"(value));
#else
    (void)value;
#endif
}

// ---- conversions

// fp16 bits to fp32: every number exactly. What becomes of a NaN's payload is left open.
static __device__ __forceinline__ float half_bits_to_float(uint32_t bits)
{
#if defined(TERN_CUDA_SHIM)
    return half_to_float(bits);
#else
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"((unsigned short)bits));
    return x;
#endif
}

// Two numbers to fp16, nearest even, the first in the lower half (sm_80).
static __device__ __forceinline__ unsigned pack_halves(float low, float high)
{
#if defined(TERN_CUDA_SHIM)
    return half_from_float(low) | half_from_float(high) << 16;
#elif __CUDA_ARCH__ >= 800
    unsigned pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return 0;
#endif
}

// 2^x within 2^-22 of its value; for x = 0 exactly 1, for -infinity 0. Subnormal numbers count as 0.
static __device__ __forceinline__ float exp2_approximate(float x)
{
#if defined(TERN_CUDA_SHIM)
    return __builtin_exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// ---- loads

// 16 bytes that nothing writes while the kernel runs, read once: not kept in L1.
static __device__ __forceinline__ uint4 ld_global_nc_v4(const void *p)
{
#if defined(TERN_CUDA_SHIM)
    return *shim_aligned<uint4>(p, "ld_global_nc_v4");
#else
    uint4 v;
#if __CUDA_ARCH__ >= 800
    asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
#else
    asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
#endif
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
#endif
}

// 16 bytes of shared or global memory.
static __device__ __forceinline__ uint4 ld_v4(const void *p)
{
#if defined(TERN_CUDA_SHIM)
    return *shim_aligned<uint4>(p, "ld_v4");
#else
    return *static_cast<const uint4 *>(p);
#endif
}

// 8 bytes of shared or global memory.
static __device__ __forceinline__ uint2 ld_v2(const void *p)
{
#if defined(TERN_CUDA_SHIM)
    return *shim_aligned<uint2>(p, "ld_v2");
#else
    return *static_cast<const uint2 *>(p);
#endif
}

// 4 bytes of shared or global memory.
static __device__ __forceinline__ unsigned ld_u32(const void *p)
{
#if defined(TERN_CUDA_SHIM)
    return *shim_aligned<unsigned>(p, "ld_u32");
#else
    return *static_cast<const unsigned *>(p);
#endif
}

// ---- asynchronous copies from global to shared memory (sm_80; a plain copy on sm_75)

// 16 bytes, both sides 16-byte aligned; there after cp_async_wait of the group it was committed with.
static __device__ __forceinline__ void cp_async_16(void *shared, const void *global)
{
#if defined(TERN_CUDA_SHIM)
    shim_aligned<uint4>(shared, "cp_async_16 (shared)");
    shim_copy_async(shared, shim_aligned<uint4>(global, "cp_async_16 (global)"), 16);
#elif __CUDA_ARCH__ >= 800
    unsigned to = (unsigned)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
#else
    *static_cast<uint4 *>(shared) = *static_cast<const uint4 *>(global);
#endif
}

// Closes the group of the copies since the last commit.
static __device__ __forceinline__ void cp_async_commit()
{
#if defined(TERN_CUDA_SHIM)
    shim_commit_async();
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Until at most the n newest of this thread's groups are under way.
template <int n> static __device__ __forceinline__ void cp_async_wait()
{
#if defined(TERN_CUDA_SHIM)
    shim_wait_async(n);
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
#endif
}

// As cp_async_16, or 16 bytes of zero where `is_there` is false (`global` is then not read, but must be a valid
// address).
static __device__ __forceinline__ void cp_async_16_or_zero(void *shared, const void *global, bool is_there)
{
#if defined(TERN_CUDA_SHIM)
    static const uint4 zero = {0, 0, 0, 0};
    cp_async_16(shared, is_there ? global : &zero);
#elif __CUDA_ARCH__ >= 800
    unsigned to = (unsigned)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(is_there ? 16 : 0)
                 : "memory");
#else
    *static_cast<uint4 *>(shared) = is_there ? *static_cast<const uint4 *>(global) : make_uint4(0, 0, 0, 0);
#endif
}

// ---- memory that other blocks of the same grid write: from the second-level cache, where their writes are

static __device__ __forceinline__ int ld_global_cg_s32(const int *p)
{
#if defined(TERN_CUDA_SHIM)
    return *shim_aligned<int>(p, "ld_global_cg_s32");
#else
    int v;
    asm volatile("ld.global.cg.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
#endif
}

// ---- loads of a warp together from shared memory (sm_75)
//
// Four matrices of 8 rows of 16 bytes: lane i gives the address of row i % 8 of matrix i / 8. Lane 4g + t gets as word
// w of matrix w its row g, bytes 4t..4t+3; transposed, of units of two bytes: unit g of row 2t, then of row 2t + 1.

#if defined(TERN_CUDA_SHIM)
struct shim_matrices {
    const void *row;
    unsigned word[4];
};

template <bool is_transposed> void shim_load_matrices(void *const *arguments)
{
    auto lane = [&](int i) { return static_cast<shim_matrices *>(arguments[i]); };
    for (int i = 0; i < 32; i++)
        for (int w = 0; w < 4; w++) {
            int g = i / 4, t = i % 4;
            auto unit = [&](int row, int n) {
                return (unsigned)static_cast<const uint16_t *>(lane(8 * w + row)->row)[n];
            };
            lane(i)->word[w] = is_transposed ? unit(2 * t, g) | unit(2 * t + 1, g) << 16
                                             : unit(g, 2 * t) | unit(g, 2 * t + 1) << 16;
        }
}
#endif

static __device__ __forceinline__ uint4 ld_matrices(const void *row)
{
#if defined(TERN_CUDA_SHIM)
    shim_matrices lane = {shim_aligned<uint4>(row, "ld_matrices"), {}};
    shim_together(32, &lane, shim_load_matrices<false>, "ld_matrices");
    return make_uint4(lane.word[0], lane.word[1], lane.word[2], lane.word[3]);
#else
    uint4 v;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
    return v;
#endif
}

static __device__ __forceinline__ uint4 ld_matrices_transposed(const void *row)
{
#if defined(TERN_CUDA_SHIM)
    shim_matrices lane = {shim_aligned<uint4>(row, "ld_matrices_transposed"), {}};
    shim_together(32, &lane, shim_load_matrices<true>, "ld_matrices_transposed");
    return make_uint4(lane.word[0], lane.word[1], lane.word[2], lane.word[3]);
#else
    uint4 v;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
    return v;
#endif
}

// ---- products of a warp group that run on their own (wgmma, sm_90a alone)
//
// D = A * B + D with A 64x32 in registers, B 32x128 in shared memory, D 64x128 in registers, by the four warps of a
// warp group. Warp w has rows 16w..16w+15 of A and of D, as fragments of m16n8k32 below: of A its four words, of D four
// sums of each of 16 tiles of 8 columns.
//
// B is 128 columns of 32 bytes along K. Eight columns by 128 bytes of K stand as 1,024 bytes: column n at 128 * (n %
// 8), its 16-byte chunk c at 16 * (c ^ n % 8) of that, which makes no bank serve two columns of a chunk at once; the
// next eight columns follow. So a wgmma reads a quarter of 16 KiB, and four of them in turn read 128 bytes of K.
//
// wgmma, cp.async.bulk and the like are the asynchronous proxy: what a thread wrote to shared memory otherwise (by
// cp.async, too) is there for them after that thread's fence_proxy_async() and a barrier. Registers of a wgmma are its
// own from wgmma_fence(), which orders it behind what wrote them, until it has been waited for.

#if defined(TERN_CUDA_SHIM) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define PTX_HAS_WGMMA 1
#else
#define PTX_HAS_WGMMA 0
#endif

#define WGMMA_ALIGNMENT 1024u // of B's first chunk: the pattern above starts at such addresses
#define WGMMA_COLUMNS   128u
#define WGMMA_K_BYTES   32u  // of a wgmma
#define WGMMA_ROW_BYTES 128u // of a column, before those of the next

// The address of shared memory as the asynchronous proxy counts it.
static __device__ __forceinline__ uint32_t shared_address(const void *shared)
{
#if defined(TERN_CUDA_SHIM)
    return shim_shared_address(shared);
#else
    return (uint32_t)__cvta_generic_to_shared(shared);
#endif
}

// The descriptor of B that begins at this address; 32 bytes of K further on it is larger by WGMMA_K_BYTES / 16. Fields:
// address / 16; from bit 16 on the step between chunks (without meaning here, 1); from bit 32 on the step of eight
// columns / 16; from bit 62 on the pattern (1: the one of 128 bytes).
static __device__ __forceinline__ uint64_t wgmma_operand(uint32_t address)
{
    return (uint64_t)1 << 62 | (uint64_t)(8 * WGMMA_ROW_BYTES / 16) << 32 | (uint64_t)1 << 16 |
           (address & 0x3ffff) >> 4;
}

#if defined(TERN_CUDA_SHIM)
// What the hardware makes of a descriptor: where the first 16-byte chunk of column n of B would stand without the
// pattern; and a chunk with it, for which bits 7 to 9 of an address change bits 4 to 6.
static inline uint32_t shim_wgmma_column(uint64_t descriptor, unsigned n)
{
    const uint32_t start = (uint32_t)(descriptor & 0x3fff) << 4, step = (uint32_t)(descriptor >> 32 & 0x3fff) << 4;
    const unsigned pattern = (unsigned)(descriptor >> 62), offset = (unsigned)(descriptor >> 49 & 7);
    if (pattern != 1 || offset != 0)
        shim_stop("wgmma: a descriptor of pattern %u and base offset %u; 1 and 0 are known", pattern, offset);
    return start + n / 8 * step + n % 8 * WGMMA_ROW_BYTES;
}
static inline const int8_t *shim_wgmma_chunk(uint64_t descriptor, unsigned n, unsigned c)
{
    uint32_t address = shim_wgmma_column(descriptor, n) + 16 * c;
    return static_cast<const int8_t *>(shim_read_async(address ^ (address >> 3 & 0x70), 16));
}

// All of the warp group's sums from what its threads' words of A are now.
static inline void shim_wgmma_u8s8(uint64_t descriptor, const unsigned *const *a, int *const *sums)
{
    static int16_t of_a[64][WGMMA_K_BYTES], of_b[WGMMA_COLUMNS][WGMMA_K_BYTES];
    for (unsigned row = 0; row < 64; row++)
        for (unsigned k = 0; k < WGMMA_K_BYTES; k++) {
            const unsigned *words = a[row / 16 * 32 + 4 * (row % 8) + k % 16 / 4];
            of_a[row][k] = (int16_t)(words[row % 16 / 8 + 2 * (k / 16)] >> (8 * (k % 4)) & 255);
        }
    for (unsigned n = 0; n < WGMMA_COLUMNS; n++)
        for (unsigned c = 0; c < 2; c++) {
            const int8_t *chunk = shim_wgmma_chunk(descriptor, n, c);
            for (unsigned k = 0; k < 16; k++) of_b[n][16 * c + k] = chunk[k];
        }
    for (unsigned row = 0; row < 64; row++)
        for (unsigned n = 0; n < WGMMA_COLUMNS; n++) {
            int sum = 0;
            for (unsigned k = 0; k < WGMMA_K_BYTES; k++) sum += of_a[row][k] * of_b[n][k];
            sums[row / 16 * 32 + 4 * (row % 8) + n % 8 / 2][n / 8 * 4 + 2 * (row % 16 / 8) + n % 2] += sum;
        }
}
#endif

// After it, what this thread wrote to shared memory is in its place for the asynchronous proxy.
static __device__ __forceinline__ void fence_proxy_async()
{
#if defined(TERN_CUDA_SHIM)
    shim_fence_proxy();
#elif PTX_HAS_WGMMA
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Before each wgmma: orders it behind what wrote its registers.
static __device__ __forceinline__ void wgmma_fence()
{
#if defined(TERN_CUDA_SHIM)
    shim_wgmma_fence();
#elif PTX_HAS_WGMMA
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

// Closes the group of the wgmma since the last commit.
static __device__ __forceinline__ void wgmma_commit()
{
#if defined(TERN_CUDA_SHIM)
    shim_wgmma_commit();
#elif PTX_HAS_WGMMA
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

// Until at most the n newest of the warp group's groups are under way.
template <int n> static __device__ __forceinline__ void wgmma_wait()
{
#if defined(TERN_CUDA_SHIM)
    shim_wgmma_wait(n);
#elif PTX_HAS_WGMMA
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory");
#endif
}

// A unsigned, B signed; d in place.
static __device__ __forceinline__ void wgmma_u8s8_m64n128k32(int (&d)[16][4], const unsigned (&a)[4], uint64_t b)
{
#if defined(TERN_CUDA_SHIM)
    uint32_t first = shim_wgmma_column(b, 0), last = shim_wgmma_column(b, WGMMA_COLUMNS - 1) + WGMMA_ROW_BYTES;
    shim_wgmma(b, first, last, a, &d[0][0], 64, shim_wgmma_u8s8);
#elif PTX_HAS_WGMMA
#define PTX_TILE(i) "+r"(d[i][0]), "+r"(d[i][1]), "+r"(d[i][2]), "+r"(d[i][3])
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k32.s32.u8.s8 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "
                 "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, "
                 "%52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, {%64, %65, %66, %67}, %68, 1;"
                 : PTX_TILE(0), PTX_TILE(1), PTX_TILE(2), PTX_TILE(3), PTX_TILE(4), PTX_TILE(5), PTX_TILE(6),
                   PTX_TILE(7), PTX_TILE(8), PTX_TILE(9), PTX_TILE(10), PTX_TILE(11), PTX_TILE(12), PTX_TILE(13),
                   PTX_TILE(14), PTX_TILE(15)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
#undef PTX_TILE
#endif
}

// ---- tensor cores (sm_80): D = A * B + C with A 16x32, B 32x8, C 16x8, by one warp
//
// Lane 4g + t holds of A: a0 = row g, columns 4t..4t+3; a1 = row g+8, the same columns; a2 = row g, columns
// 16+4t..16+4t+3; a3 = row g+8, those columns. Of B: b0 = rows 4t..4t+3 of column g, b1 = rows 16+4t..16+4t+3. Of C:
// (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1). The first byte is the lowest.

#if defined(TERN_CUDA_SHIM)
struct shim_mma {
    unsigned a[4], b[2];
    int *c;
    bool a_is_signed;
};

static inline void shim_mma_s32_m16n8k32(void *const *arguments)
{
    auto lane = [&](int i) { return static_cast<shim_mma *>(arguments[i]); };
    short a[16][32], b[8][32]; // rows of A, columns of B
    for (int i = 0; i < 32; i++)
        for (int k = 0; k < 8; k++) {
            int at = 16 * (k / 4) + 4 * (i % 4) + k % 4;
            for (int half = 0; half < 2; half++) {
                unsigned byte = lane(i)->a[half + 2 * (k / 4)] >> (8 * (k % 4)) & 255;
                a[i / 4 + 8 * half][at] = lane(i)->a_is_signed ? (int8_t)byte : (short)byte;
            }
            b[i / 4][at] = (int8_t)(lane(i)->b[k / 4] >> (8 * (k % 4)));
        }
    for (int row = 0; row < 16; row++)
        for (int column = 0; column < 8; column++) {
            int sum = 0;
            for (int k = 0; k < 32; k++) sum += a[row][k] * b[column][k];
            lane(4 * (row % 8) + column / 2)->c[2 * (row / 8) + column % 2] += sum;
        }
}
#endif

// A unsigned, B signed; c in place.
static __device__ __forceinline__ void mma_u8s8_m16n8k32(int (&c)[4], unsigned a0, unsigned a1, unsigned a2,
                                                         unsigned a3, unsigned b0, unsigned b1)
{
#if defined(TERN_CUDA_SHIM)
    shim_mma lane = {{a0, a1, a2, a3}, {b0, b1}, c, false};
    shim_together(32, &lane, shim_mma_s32_m16n8k32, "mma_u8s8_m16n8k32");
#elif __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#endif
}

// Both signed.
static __device__ __forceinline__ void mma_s8s8_m16n8k32(int (&c)[4], unsigned a0, unsigned a1, unsigned a2,
                                                         unsigned a3, unsigned b0, unsigned b1)
{
#if defined(TERN_CUDA_SHIM)
    shim_mma lane = {{a0, a1, a2, a3}, {b0, b1}, c, true};
    shim_together(32, &lane, shim_mma_s32_m16n8k32, "mma_s8s8_m16n8k32");
#elif __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#endif
}

// The same with fp16 operands and fp32 sums: D = A * B + C with A 16x16, B 16x8, C 16x8. Lane 4g + t holds of A, two
// halves a word: a0 = row g, columns 2t and 2t+1; a1 = row g+8, the same columns; a2 = row g, columns 8+2t and 8+2t+1;
// a3 = row g+8, those columns. Of B: b0 = rows 2t and 2t+1 of column g, b1 = rows 8+2t and 8+2t+1. C as above. Products
// are exact; how the device adds them up is not documented: it was seen to cut off what lies below fp32 (here: of the
// exact sum).

#if defined(TERN_CUDA_SHIM)
struct shim_mma_f16 {
    unsigned a[4], b[2];
    float *c;
};

// Rounded towards zero.
static inline float shim_cut(double x)
{
    float y = (float)x;
    bool is_too_large = (y < 0 ? -(double)y : (double)y) > (x < 0 ? -x : x);
    return is_too_large ? scalar_as_float(scalar_as_u32(y) - 1) : y;
}

static inline void shim_mma_f32_m16n8k16(void *const *arguments)
{
    auto lane = [&](int i) { return static_cast<shim_mma_f16 *>(arguments[i]); };
    auto half = [](unsigned word, int i) { return (double)half_to_float(word >> 16 * i & 0xffffu); };
    for (int row = 0; row < 16; row++)
        for (int column = 0; column < 8; column++) {
            float *c = &lane(4 * (row % 8) + column / 2)->c[2 * (row / 8) + column % 2];
            double sum = *c;
            for (int k = 0; k < 16; k++) {
                shim_mma_f16 *of_a = lane(4 * (row % 8) + k % 8 / 2), *of_b = lane(4 * column + k % 8 / 2);
                sum += half(of_a->a[row / 8 + 2 * (k / 8)], k % 2) * half(of_b->b[k / 8], k % 2);
            }
            *c = shim_cut(sum);
        }
}
#endif

static __device__ __forceinline__ void mma_f16_m16n8k16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1)
{
#if defined(TERN_CUDA_SHIM)
    shim_mma_f16 lane = {{a[0], a[1], a[2], a[3]}, {b0, b1}, c};
    shim_together(32, &lane, shim_mma_f32_m16n8k16, "mma_f16_m16n8k16");
#elif __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

#endif
