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
    for (int row = 0; row < 16; row++)
        for (int column = 0; column < 8; column++) {
            int sum = 0;
            for (int k = 0; k < 32; k++) {
                shim_mma *of_a = lane(4 * (row % 8) + k % 16 / 4), *of_b = lane(4 * column + k % 16 / 4);
                unsigned a = of_a->a[row / 8 + 2 * (k / 16)] >> (8 * (k % 4)) & 255;
                int b = (int8_t)(of_b->b[k / 16] >> (8 * (k % 4)));
                sum += (of_a->a_is_signed ? (int)(int8_t)a : (int)a) * b;
            }
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
