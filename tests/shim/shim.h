// Between the two parts of the shim: the runtime's objects (runtime.cpp) and the executor of kernels (executor.cpp).
#ifndef TERN_SHIM_SHIM_H
#define TERN_SHIM_SHIM_H

#include "cuda_runtime.h"

// Runs all blocks of a grid. False after a fault, whose description shim_fault() then returns.
bool shim_execute(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &thread);

#endif
