// Inside the CUDA backend: what its files share. Host files are C; kernels and their launchers are .cu files, which the
// tests also compile as C++ against tests/shim.
#ifndef TERN_CUDA_BACKEND_H
#define TERN_CUDA_BACKEND_H

#if defined(__cplusplus)
#include <cuda_runtime.h>
#else
#include <cuda_runtime_api.h>
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__cplusplus)
extern "C" {
#endif

#include "backend.h"
#include "cuda_entry.h"
#include "error.h"
#include "op_check.h"

#define CUDA_SHARED_DEFAULT (48u << 10) // shared memory a block gets without asking
#define CUDA_STAGING_SLOTS  2           // a slot is filled while the other travels
#define CUDA_STREAM_SLOT    ((size_t)1 << 20)
#define CUDA_UPLOAD_SLOT    ((size_t)4 << 20)
#define CUDA_ALIGNMENT      256u

// Pinned host memory in slots that are reused when their copy is done.
typedef struct cuda_staging {
    uint8_t *data; // CUDA_STAGING_SLOTS * slot_bytes
    size_t slot_bytes;
    cudaEvent_t done[CUDA_STAGING_SLOTS];
    bool is_busy[CUDA_STAGING_SLOTS];
    unsigned next;
} cuda_staging;

struct device {
    int index;
    int capability; // 80 for sm_80
    int n_sms;
    int shared_per_block; // bytes a block can ask for
    char name[16];        // "cuda0"
    bool is_lost;         // after a sticky error; every later call returns DEVICE_LOST

    // Uploads of weights: their own stream, pinned staging, and room on the device for canonical rows being packed.
    stream *upload;
    cuda_staging upload_staging;
    uint8_t *upload_rows;
    cudaEvent_t uploaded; // after the last upload
    uint64_t n_uploads;

    // Working memory of ops, one for all streams: ops of two streams that need it must not run at once.
    uint8_t *scratch;
    size_t scratch_bytes;
    unsigned *counters; // CUDA_COUNTERS words of zero; a kernel that uses one leaves it at zero
    void *blas;         // blas.c
    device_usage usage;
};

#define CUDA_SCRATCH_BYTES ((size_t)64 << 20)
#define CUDA_COUNTERS      65536u
// What the driver takes for a context with this backend's kernels, for planning: an allowance, not a measurement.
#define CUDA_CONTEXT_BYTES ((size_t)512 << 20)

#if !defined(TERN_CUDA_CODE) // the architectures compiled for, in words; the host executes the instructions of all
#define TERN_CUDA_CODE "the host, sm_90a and all others"
#endif

// What an error that shows later can name: the last kernel enqueued.
typedef struct cuda_launch_record {
    const char *kernel; // static; NULL: none yet
    unsigned x, y, z, n_threads;
} cuda_launch_record;

struct stream {
    device *device;
    cudaStream_t handle;
    cuda_staging staging;
    uint64_t n_uploads; // uploads this stream is ordered after
    bool is_capturing;
    cuda_launch_record last;
};

struct event {
    device *device;
    cudaEvent_t handle;
    bool is_recorded;
};

struct buffer {
    device *device;
    uint8_t *data; // 256-byte aligned
    size_t n_bytes;
};

struct graph {
    device *device;
    cudaGraphExec_t exec;
};

// Ternary: packed in `layout` (common/ternary.h), rows padded to 16 with trit 0; scales [padded rows][n_groups], a
// row's own set copied to it, so that kernels know one form of scale. Dense: stored rows, each at a multiple of 16
// bytes.
struct weights {
    device *device;
    uint32_t n_rows, n_cols;
    bool is_ternary;
    ternary_layout layout;
    dense_type type;
    uint8_t *data;    // 256-byte aligned; host memory that kernels reach, or a slot's, if `place` says so
    size_t n_bytes;   // of the matrix
    size_t row_bytes; // dense: the stride of rows on the device. Ternary: bytes of a canonical row
    uint32_t group, n_groups;
    float *scales;
    weights_place place;
    size_t all_bytes; // with the scales
};

static inline bool cuda_has_fast_attention(int capability) { return capability >= 80; }

static inline uint8_t *cuda_at(view v) { return v.buffer->data + v.offset; }
static inline uint32_t cuda_padded_rows(uint32_t n_rows) { return (n_rows + 15) / 16 * 16; }

// ---- error.c

// TERN_OK, or e as a status with the words "cuda0: what: ..."; a sticky error marks the device lost.
tern_status cuda_check(device *d, cudaError_t e, const char *what, tern_error *err);
// DEVICE_LOST once the device is lost. Makes the device current for the calling thread.
tern_status cuda_enter(device *d, tern_error *err);
// The same for an error that may stem from anything on the stream: names its last kernel.
tern_status cuda_check_deferred(stream *s, cudaError_t e, const char *what, tern_error *err);
// What cuda_launch (launch.cuh) reports: a kernel on its way, or the error that kept it from it.
tern_status cuda_launched(stream *s, const char *kernel, unsigned x, unsigned y, unsigned z, unsigned n_threads);
tern_status cuda_launch_failed(stream *s, const char *kernel, unsigned x, unsigned y, unsigned z, unsigned n_threads,
                               cudaError_t e, tern_error *err);

// ---- memory.c

// Counted memory on the device; the message says `what` and how much.
tern_status cuda_memory_create(device *d, size_t n_bytes, const char *what, void **out, tern_error *err);
void cuda_memory_destroy(device *d, void *data, size_t n_bytes);

tern_status cuda_staging_create(device *d, size_t slot_bytes, cuda_staging *out, tern_error *err);
void cuda_staging_destroy(cuda_staging *staging);
// The next slot, free to be written: waits for the copy that used it before. cuda_staging_sent marks it as travelling.
tern_status cuda_staging_take(device *d, cuda_staging *staging, uint8_t **out, tern_error *err);
tern_status cuda_staging_sent(device *d, cuda_staging *staging, cudaStream_t on, tern_error *err);

tern_status cuda_buffer_create(device *d, size_t n_bytes, buffer **out, tern_error *err);
void cuda_buffer_destroy(buffer *b);
tern_status cuda_buffer_write(stream *s, view to, const void *from, size_t n_bytes, tern_error *err);
tern_status cuda_buffer_read(stream *s, view from, void *to, size_t n_bytes, tern_error *err);
tern_status cuda_buffer_fill(stream *s, view to, uint8_t byte, size_t n_bytes, tern_error *err);

// ---- stream.c

tern_status cuda_stream_create(device *d, stream **out, tern_error *err);
void cuda_stream_destroy(stream *s);
tern_status cuda_stream_wait(stream *s, event *e, tern_error *err);
tern_status cuda_stream_sync(stream *s, tern_error *err);
tern_status cuda_event_create(device *d, event **out, tern_error *err);
void cuda_event_destroy(event *e);
tern_status cuda_event_record(stream *s, event *e, tern_error *err);
tern_status cuda_event_elapsed_ns(event *from, event *to, uint64_t *out, tern_error *err);
tern_status cuda_graph_begin(stream *s, tern_error *err);
tern_status cuda_graph_end(stream *s, graph **out, tern_error *err);
tern_status cuda_graph_launch(stream *s, graph *g, tern_error *err);
void cuda_graph_destroy(graph *g);
// Orders the stream after all weights uploaded so far.
tern_status cuda_stream_follow_uploads(stream *s, tern_error *err);

// ---- weights.c

tern_status cuda_weights_bytes(device *d, const weights_desc *desc, uint64_t *out, tern_error *err);
tern_status cuda_weights_create(device *d, const weights_desc *desc, weights **out, tern_error *err);
void cuda_weights_destroy(weights *w);
tern_status cuda_weights_upload_rows(weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err);
tern_status cuda_weights_download_rows(weights *w, uint32_t first, uint32_t count, uint8_t *rows, tern_error *err);
void cuda_weights_shape(const weights *w, weights_desc *out);
const uint8_t *cuda_weights_image(const weights *w);
tern_status cuda_weights_copy(stream *s, weights *to, const weights *from, tern_error *err);

// ---- kernels: one launcher per topic; operands were checked before

// Canonical rows on the device to and from the layout of the matrix (pack.cu).
tern_status cuda_pack_rows(stream *s, weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err);
tern_status cuda_unpack_rows(stream *s, const weights *w, uint32_t first, uint32_t count, uint8_t *rows,
                             tern_error *err);
tern_status cuda_probe(stream *s, unsigned *sum, tern_error *err); // adds to *sum on the device
// Whether the binary holds code for this device: cudaSuccess, or what the runtime says.
cudaError_t cuda_code_check(void);

// [m, n] fp32 rows to dense rows of fp16 bits.
tern_status cuda_to_half(stream *s, const float *x, uint32_t ld_x, uint32_t m, uint32_t n, void *out, tern_error *err);

tern_status cuda_embed(stream *s, const op *o, tern_error *err); // rows.cu
tern_status cuda_gate(stream *s, const op *o, tern_error *err);
tern_status cuda_residual(stream *s, const op *o, tern_error *err);
tern_status cuda_gather(stream *s, const op *o, tern_error *err);
tern_status cuda_advance(stream *s, const op *o, tern_error *err);
tern_status cuda_norm(stream *s, const op *o, tern_error *err); // norm.cu
tern_status cuda_head_norm(stream *s, const op *o, tern_error *err);
tern_status cuda_norm_quant(stream *s, const op *o, tern_error *err);
tern_status cuda_quant(stream *s, const op *o, tern_error *err);      // OP_QUANT and OP_QUANT2
tern_status cuda_ternary_mm(stream *s, const op *o, tern_error *err); // tmm_*.cu
tern_status cuda_dense_mm(stream *s, const op *o, tern_error *err);   // dense_mm.cu
tern_status cuda_rescore(stream *s, const op *o, tern_error *err);
tern_status cuda_int_mm(stream *s, const op *o, tern_error *err);    // int_mm.cu
tern_status cuda_rope_kv(stream *s, const op *o, tern_error *err);   // rope_kv.cu
tern_status cuda_attention(stream *s, const op *o, tern_error *err); // attention.cu; OP_FAST_ATTENTION too
tern_status cuda_top_k(stream *s, const op *o, tern_error *err);     // top_k.cu

// ---- blas.c: cuBLAS, opened at run time

// NULL, or why OP_BLAS_MM or OP_BLAS_INT_MM cannot run here. Opens the library on the first call.
const char *cuda_blas_refusal(device *d, const op *o);
tern_status cuda_blas_mm(stream *s, const op *o, tern_error *err);
tern_status cuda_blas_int_mm(stream *s, const op *o, tern_error *err);
void cuda_blas_close(device *d);

#if defined(__cplusplus)
}
#endif

#endif
