// Inside the CPU backend: what its files share. Two devices: "cpu" (fast, threads and SIMD) and "cpuref" (the
// reference, obvious loops on one thread). Both use the same buffers and weights, so only the ops differ.
#ifndef TERN_CPU_CPU_H
#define TERN_CPU_CPU_H

#include "backend.h"
#include "error.h"
#include "op_check.h"

#define CPU_WEIGHTS_PADDING 64 // readable bytes after the last one of a matrix

typedef struct cpu_kernels cpu_kernels; // kernels.h: inner loops for one instruction set
typedef struct team team;               // team.h: its threads

struct device {
    bool is_reference;
    int n_threads;
    const cpu_kernels *kernels; // fast device only
    team *team;                 // fast device only; NULL: the calling thread alone
    uint8_t *scratch;           // reference device only: one unpacked weight row; grown by weights_create
    size_t scratch_bytes;
    device_usage usage;
};

struct buffer {
    device *device;
    uint8_t *data; // 64-byte aligned
    size_t n_bytes;
};

struct stream {
    device *device;
};

// Ternary: packed in `layout` (common/ternary.h). Dense: stored rows one after the other, each row at a multiple of
// row_bytes. Then padding, the scales and the first rows of their row ranges.
struct weights {
    device *device;
    uint32_t n_rows, n_cols;
    bool is_ternary;
    ternary_layout layout;
    dense_type type;
    weights_place place;
    uint8_t *data; // 64-byte aligned; a slot's if `place` says so, an image's (only read) if it has one
    bool has_image;
    size_t n_bytes, row_bytes; // of the matrix
    size_t all_bytes;
    ternary_scale scale; // its arrays lie in `data`
};

static inline void *cpu_at(view v) { return v.buffer->data + v.offset; }

// Lowers the step's flag word to the op's place; called from any thread.
static inline void cpu_flag(const op *o)
{
    uint32_t *word = (uint32_t *)cpu_at(o->flag);
    uint32_t old = __atomic_load_n(word, __ATOMIC_RELAXED);
    while (o->place < old &&
           !__atomic_compare_exchange_n(word, &old, o->place, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

// One entry per op kind.
typedef void (*cpu_op)(const device *d, const op *o);
extern const cpu_op cpu_reference_ops[OP_N_KINDS];
extern const cpu_op cpu_fast_ops[OP_N_KINDS];

// ---- indices.c

// That the values of index operands stay in range.
tern_status cpu_check_indices(const op *o, tern_error *err);

// ---- weights.c

tern_status cpu_weights_bytes(device *d, const weights_desc *desc, uint64_t *out, tern_error *err);
tern_status cpu_weights_create(device *d, const weights_desc *desc, weights **out, tern_error *err);
void cpu_weights_destroy(weights *w);
tern_status cpu_weights_upload_rows(weights *w, uint32_t first, uint32_t count, const uint8_t *rows, tern_error *err);
tern_status cpu_weights_download_rows(weights *w, uint32_t first, uint32_t count, uint8_t *rows, tern_error *err);
void cpu_weights_shape(const weights *w, weights_desc *out);
const uint8_t *cpu_weights_image(const weights *w);
tern_status cpu_weights_copy(stream *s, weights *to, const weights *from, tern_error *err);

// ---- machine.c

// "AMD EPYC 7B13"; a generic name where the system does not say.
void machine_cpu_name(char *out, size_t size);
// Threads this process may run at once: its CPU affinity, limited by control group quotas.
int machine_threads(void);
// Physical memory and what of it this process could still take, limited by control groups and RLIMIT_AS.
void machine_memory(uint64_t *total, uint64_t *available);
// 64-byte aligned memory whose pages are there when it returns, so that nothing is killed later for want of them;
// contents undefined. DEVICE_MEMORY naming `what`, the bytes needed and the bytes free. Freed with free().
tern_status machine_allocate(size_t n_bytes, const char *what, uint8_t **out, tern_error *err);

extern const backend cpu_backend;

#endif
