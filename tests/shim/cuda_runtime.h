// The stand-in for CUDA's language on the CPU: kernels are C++ functions, the threads of a block are fibres of one
// thread of the host, blocks run one after the other. See cuda_runtime_api.h for the host part.
//
// What it checks: barriers that not all threads of a block reach, or reach at different places; warp operations that
// not all 32 lanes reach; shared memory starts as 0xff, so that reading what was not written shows as NaN; vector
// accesses through the wrappers of ptx.cuh must be aligned; under AddressSanitizer every allocation, shared arrays
// too, has red zones. Of products of a warp group (wgmma): sums used, fragments changed or shared memory filled again
// while they are under way, a missing fence, and descriptors that do not fit what stands there. A fault ends the kernel
// with cudaErrorLaunchFailure, which is sticky as on a device, and a sentence on stderr.
//
// Limits, which kernels keep: blocks are whole warps; warp operations take all lanes (mask 0xffffffff); a block never
// waits for another block.
#ifndef TERN_SHIM_CUDA_RUNTIME_H
#define TERN_SHIM_CUDA_RUNTIME_H

#include "cuda_runtime_api.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

// ---- words of the language

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

// ---- vectors

#define SHIM_VECTOR(type, element, alignment)                                                                          \
    struct alignas(alignment) type##2 { element x, y; };                                                               \
    inline type##2 make_##type##2(element x, element y) { return {x, y}; }
#define SHIM_VECTOR4(type, element, alignment)                                                                         \
    struct alignas(alignment) type##4 { element x, y, z, w; };                                                         \
    inline type##4 make_##type##4(element x, element y, element z, element w) { return {x, y, z, w}; }
SHIM_VECTOR(float, float, 8)
SHIM_VECTOR4(float, float, 16)
SHIM_VECTOR(int, int, 8)
SHIM_VECTOR4(int, int, 16)
SHIM_VECTOR(uint, unsigned, 8)
SHIM_VECTOR4(uint, unsigned, 16)
SHIM_VECTOR4(char, signed char, 4)
SHIM_VECTOR4(uchar, unsigned char, 4)
SHIM_VECTOR(ushort, unsigned short, 4)
SHIM_VECTOR4(ushort, unsigned short, 8)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// ---- the running thread

struct shim_thread {
    dim3 thread;
    unsigned index; // within the block
};

extern shim_thread *shim_self;
extern dim3 shim_block_index, shim_block_dim, shim_grid_dim;

#define threadIdx (shim_self->thread)
#define blockIdx  shim_block_index
#define blockDim  shim_block_dim
#define gridDim   shim_grid_dim
#define warpSize  32

// Waits until every thread of the block that has not returned is here, at this line.
void shim_barrier(const char *file, int line);
#define __syncthreads() shim_barrier(__FILE__, __LINE__)

// `n` consecutive threads (32: a warp, 128: a warp group) meet here, each with its own argument; the last to come calls
// fn with all of them, in the order of lanes. Everything that a warp does together is made of this.
void shim_together(unsigned n, void *argument, void (*fn)(void *const *arguments), const char *what);

// Ends the kernel with a fault described by the words, printf fashion.
[[noreturn]] void shim_stop(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Shared memory: dynamic, and a static array by its declaration's address; per block, 0xff at the block's start.
void *shim_dynamic_shared();
void *shim_static_shared(const void *declaration, size_t n_bytes);

// Copies that land when the thread waits for them, as late as they may.
void shim_copy_async(void *to, const void *from, size_t n_bytes);
void shim_commit_async();
void shim_wait_async(unsigned n_newest);

// ---- the asynchronous proxy: what reads shared memory beside the threads

// Where shared memory stands for it. The dynamic part begins at a multiple of 16 and of no more.
uint32_t shim_shared_address(const void *shared);
// Bytes of dynamic shared memory, read now. Stops where a copy of some thread landed that it did not fence after.
const void *shim_read_async(uint32_t address, size_t n_bytes);
void shim_fence_proxy();

// Products of the 128 threads of a warp group. They are made when they are waited for, from what is then in the words
// of A and in shared memory, as late as they may; until then the sums hold rubbish. [first, last): where B stands.
typedef void shim_wgmma_function(uint64_t b, const unsigned *const *a, int *const *sums);
void shim_wgmma(uint64_t b, uint32_t first, uint32_t last, const unsigned *a, int *sums, unsigned n_sums,
                shim_wgmma_function *multiply);
void shim_wgmma_fence();
void shim_wgmma_commit();
void shim_wgmma_wait(unsigned n_newest);

// ---- warps

inline void __syncwarp(unsigned mask = 0xffffffffu)
{
    (void)mask;
    shim_together(
        32, nullptr, [](void *const *) {}, "__syncwarp");
}

template <typename T> struct shim_lane {
    T in, out;
    int parameter;
};

template <typename T> T shim_exchange(T value, int parameter, void (*fn)(void *const *), const char *what)
{
    shim_lane<T> lane = {value, value, parameter};
    shim_together(32, &lane, fn, what);
    return lane.out;
}

inline void shim_full(unsigned mask, int width)
{
    if (mask != 0xffffffffu) shim_stop("a warp operation with mask 0x%08x; all lanes are expected", mask);
    if (width != 32) shim_stop("a shuffle of width %d; 32 is expected", width);
}

template <typename T> T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32)
{
    shim_full(mask, width);
    return shim_exchange<T>(
        value, lane_mask,
        [](void *const *a) {
            for (int i = 0; i < 32; i++) {
                auto *lane = static_cast<shim_lane<T> *>(a[i]);
                lane->out = static_cast<shim_lane<T> *>(a[(i ^ lane->parameter) & 31])->in;
            }
        },
        "__shfl_xor_sync");
}

template <typename T> T __shfl_sync(unsigned mask, T value, int source, int width = 32)
{
    shim_full(mask, width);
    return shim_exchange<T>(
        value, source,
        [](void *const *a) {
            for (int i = 0; i < 32; i++) {
                auto *lane = static_cast<shim_lane<T> *>(a[i]);
                lane->out = static_cast<shim_lane<T> *>(a[lane->parameter & 31])->in;
            }
        },
        "__shfl_sync");
}

template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    shim_full(mask, width);
    return shim_exchange<T>(
        value, (int)delta,
        [](void *const *a) {
            for (int i = 0; i < 32; i++) {
                auto *lane = static_cast<shim_lane<T> *>(a[i]);
                if (i + lane->parameter < 32) lane->out = static_cast<shim_lane<T> *>(a[i + lane->parameter])->in;
            }
        },
        "__shfl_down_sync");
}

template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    shim_full(mask, width);
    return shim_exchange<T>(
        value, (int)delta,
        [](void *const *a) {
            for (int i = 0; i < 32; i++) {
                auto *lane = static_cast<shim_lane<T> *>(a[i]);
                if (i - lane->parameter >= 0) lane->out = static_cast<shim_lane<T> *>(a[i - lane->parameter])->in;
            }
        },
        "__shfl_up_sync");
}

inline unsigned __ballot_sync(unsigned mask, int predicate)
{
    shim_full(mask, 32);
    return shim_exchange<unsigned>(
        predicate != 0, 0,
        [](void *const *a) {
            unsigned votes = 0;
            for (int i = 0; i < 32; i++) votes |= static_cast<shim_lane<unsigned> *>(a[i])->in << i;
            for (int i = 0; i < 32; i++) static_cast<shim_lane<unsigned> *>(a[i])->out = votes;
        },
        "__ballot_sync");
}

inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == 0xffffffffu; }

// ---- atomics and order: one thread of the host runs everything

template <typename T> T atomicAdd(T *at, T value)
{
    T old = *at;
    *at = old + value;
    return old;
}
template <typename T> T atomicMin(T *at, T value)
{
    T old = *at;
    *at = std::min(old, value);
    return old;
}
template <typename T> T atomicMax(T *at, T value)
{
    T old = *at;
    *at = std::max(old, value);
    return old;
}
template <typename T> T atomicOr(T *at, T value)
{
    T old = *at;
    *at = old | value;
    return old;
}
template <typename T> T atomicExch(T *at, T value)
{
    T old = *at;
    *at = value;
    return old;
}
template <typename T> T atomicCAS(T *at, T expected, T value)
{
    T old = *at;
    if (old == expected) *at = value;
    return old;
}
inline unsigned atomicInc(unsigned *at, unsigned limit)
{
    unsigned old = *at;
    *at = old >= limit ? 0 : old + 1;
    return old;
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- arithmetic

using std::max;
using std::min;
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline unsigned __float_as_uint(float x)
{
    unsigned u;
    std::memcpy(&u, &x, 4);
    return u;
}
inline float __uint_as_float(unsigned u)
{
    float x;
    std::memcpy(&x, &u, 4);
    return x;
}
inline int __float_as_int(float x) { return (int)__float_as_uint(x); }
inline float __int_as_float(int i) { return __uint_as_float((unsigned)i); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz((unsigned)x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
template <typename T> T __ldg(const T *p) { return *p; }
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector)
{
    uint64_t bytes = (uint64_t)b << 32 | a;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) result |= (unsigned)(bytes >> (8 * (selector >> (4 * i) & 7)) & 255) << (8 * i);
    return result;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift)
{
    return (unsigned)(((uint64_t)high << 32 | low) >> (shift & 31));
}

// ---- launches

typedef enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization = 6 } cudaLaunchAttributeID;
typedef union cudaLaunchAttributeValue {
    int programmaticStreamSerializationAllowed;
} cudaLaunchAttributeValue;
typedef struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    cudaLaunchAttributeValue val;
} cudaLaunchAttribute;
typedef struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
} cudaLaunchConfig_t;

typedef enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 } cudaFuncAttribute;
typedef struct cudaFuncAttributes {
    int numRegs, maxThreadsPerBlock;
    size_t sharedSizeBytes, localSizeBytes;
    int binaryVersion, ptxVersion;
} cudaFuncAttributes;

cudaError_t shim_allow_shared(const void *kernel, int n_bytes);
cudaError_t shim_launch(const cudaLaunchConfig_t *config, const void *kernel, std::function<void()> thread);

template <typename... P> cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value)
{
    (void)attribute;
    return shim_allow_shared(reinterpret_cast<const void *>(kernel), value);
}

template <typename... P> cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *out, void (*kernel)(P...))
{
    (void)kernel;
    *out = {32, 1024, 0, 0, 80, 80};
    return cudaSuccess;
}

template <typename... P>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *out, void (*kernel)(P...), int n_threads, size_t)
{
    (void)kernel;
    *out = std::max(1, std::min(16, 2048 / n_threads));
    return cudaSuccess;
}

template <typename... P, typename... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(P...), A &&...arguments)
{
    return shim_launch(config, reinterpret_cast<const void *>(kernel), [=] { kernel(static_cast<P>(arguments)...); });
}

#endif
