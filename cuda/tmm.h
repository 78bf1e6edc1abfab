// Ternary products on CUDA: which kernel takes a product and how its work is shared out. Decided on the host from
// shapes and the tuning of an architecture; every choice gives the same bits.
#ifndef TERN_CUDA_TMM_H
#define TERN_CUDA_TMM_H

#include "cuda_backend.h"
#include "tmm_index.h"

#if defined(__cplusplus)
extern "C" {
#endif

typedef enum tmm_kernel {
    TMM_STREAM_MMA,  // up to 8 columns, weights straight from memory to tensor cores
    TMM_STREAM_DP4A, // the same by dp4a, in passes of up to 8 columns
    TMM_BLOCK_8,     // 128 rows x 8 columns, activations through a ring in shared memory
    TMM_BLOCK_32,
    TMM_BLOCK_64,
    TMM_BLOCK_128,
    TMM_BLOCK_WGMMA, // 128 columns by wgmma, sm_90a alone, T64 alone
    TMM_GROUPS,      // several scales along K
    TMM_RAGGED,      // several scales along K, element by element
    TMM_N_KERNELS
} tmm_kernel;
#define TMM_N_BLOCKS 5

// What an architecture likes. Times weigh one way of sharing out work against another, so their ratios matter.
typedef struct tmm_tuning {
    int capability; // from which on it holds
    uint32_t stream_blocks_per_sm;
    uint32_t stream_step_ns; // of a block's tile while all blocks run
    uint32_t block_blocks_per_sm[TMM_N_BLOCKS];
    uint32_t block_step_ns[TMM_N_BLOCKS]; // of a block's step while all blocks run
    uint32_t combine_ns;                  // what it costs that blocks share an item
    uint32_t wgmma_from;                  // columns from which on TMM_BLOCK_WGMMA is chosen; 0: never
} tmm_tuning;

// One product as the kernels see it. Columns are the tokens' terms: column c is term c % terms of token c / terms.
typedef struct tmm_args {
    const uint8_t *w;
    const float *w_scale; // [rows padded to 16][n_groups]
    const int8_t *codes[2];
    const int32_t *sums[2];
    const float *scales[2];
    float *y;
    int *scratch;       // partial sums: 2 slots a block
    unsigned *counters; // of blocks that share an item, at its first block
    uint32_t ld_x, ld_y;
    uint32_t n_rows, n_cols, n_tokens, terms, n_columns;
    uint32_t n_granules, n_tiles; // of a row
    uint32_t group, n_groups;     // columns per scale
    ternary_layout layout;
    mm_epilogue epilogue;
    tmm_split split;
} tmm_args;

const tmm_tuning *tmm_tuning_for(int capability);
// The kernel for a product with `w` and this many columns.
tmm_kernel tmm_choose(const device *d, const tmm_tuning *tuning, const weights *w, uint32_t n_columns);
// Whether the device has wgmma and this build code for it: sm_90a's instructions are no other's.
bool tmm_has_wgmma(const device *d);
// Enqueues a product by a given kernel. DEVICE_UNSUPPORTED where the kernel cannot take it.
tern_status tmm_enqueue(stream *s, const op *o, tmm_kernel kernel, const tmm_tuning *tuning, tern_error *err);

// ---- launchers, one per .cu file

tern_status tmm_launch_mma(stream *s, const tmm_args *a, tern_error *err);
tern_status tmm_launch_dp4a(stream *s, const tmm_args *a, bool is_staged, tern_error *err);
tern_status tmm_launch_block(stream *s, const tmm_args *a, tmm_kernel kernel, tern_error *err);
tern_status tmm_launch_groups(stream *s, const tmm_args *a, tern_error *err);
tern_status tmm_launch_ragged(stream *s, const tmm_args *a, tern_error *err);

// Shared memory of a block of the stream kernels (is_staged: with its activations), and columns of a block kernel.
size_t tmm_stream_shared(const tmm_args *a, bool is_staged);
uint32_t tmm_block_columns(tmm_kernel kernel);

#if defined(__cplusplus)
}
#endif

#endif
