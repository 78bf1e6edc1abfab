// The only place with raw PTX: small named wrappers. Each has a twin in plain C++ for the executor of tests/shim, which
// is also its definition. A wrapper that needs a newer architecture than the one compiled for says so.
#ifndef TERN_CUDA_PTX_CUH
#define TERN_CUDA_PTX_CUH

#include <cuda_runtime.h>
#include <stdint.h>

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

#endif
