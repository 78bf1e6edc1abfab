// What the engine sees of the CUDA backend: its table.
#ifndef TERN_CUDA_CUDA_ENTRY_H
#define TERN_CUDA_CUDA_ENTRY_H

#include "backend.h"

extern const backend cuda_backend;

#endif
