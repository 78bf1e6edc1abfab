// Launching kernels, and the two places where the language of CUDA needs a macro so that the same source also compiles
// as C++ for the executor of tests/shim: shared memory, static and dynamic.
//
// Rules for kernels, which the executor checks: blocks are whole warps; warp operations take all 32 lanes; a block
// never waits for another block (the last one to arrive does what must come last); the first statement of every kernel
// is griddep_wait() or a load of weights followed by it.
#ifndef TERN_CUDA_LAUNCH_CUH
#define TERN_CUDA_LAUNCH_CUH

#include "cuda_backend.h"
#include "ptx.cuh"

#if defined(TERN_CUDA_SHIM)
#define SHARED_ARRAY(type, name, n)                                                                                    \
    static char name##_declaration;                                                                                    \
    type(&name)[n] = *static_cast<type(*)[n]>(shim_static_shared(&name##_declaration, sizeof(type[n])))
#define SHARED_DYNAMIC(name) uint8_t *name = static_cast<uint8_t *>(shim_dynamic_shared())
#else
#define SHARED_ARRAY(type, name, n) __shared__ __align__(16) type name[n]
#define SHARED_DYNAMIC(name)        extern __shared__ __align__(16) uint8_t name[]
#endif

#define FULL_WARP 0xffffffffu

// Enqueues `kernel` on the stream. The name stands in errors, profiles and bench rows. On sm_90 and later the kernel
// may start before its predecessor has ended (programmatic dependent launch); griddep_wait() orders it.
template <typename... P, typename... A>
tern_status cuda_launch(stream *s, const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                        tern_error *err, A... arguments)
{
    cudaLaunchAttribute early[1] = {};
    early[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early[0].val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = s->handle;
    config.attrs = early;
    config.numAttrs = s->device->capability >= 90 ? 1 : 0;
    cudaError_t e = cudaSuccess;
    if (shared_bytes > CUDA_SHARED_DEFAULT)
        e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
    if (e == cudaSuccess) e = cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...);
    return e == cudaSuccess ? cuda_launched(s, name, grid.x, grid.y, grid.z, block.x)
                            : cuda_launch_failed(s, name, grid.x, grid.y, grid.z, block.x, e, err);
}

static __host__ __device__ inline unsigned ceil_div(unsigned a, unsigned b) { return a / b + (a % b != 0); }

// Lowers the step's flag word to the op's place.
static __device__ __forceinline__ void raise_flag(unsigned *flag, unsigned place) { atomicMin(flag, place); }

#endif
