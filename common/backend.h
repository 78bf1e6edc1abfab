// The contract between the engine and a kind of device. One const table per backend; every entry is mandatory;
// capability is asked by question (`supports`), never by a NULL pointer. A backend knows ops and bytes; it does not
// know what a layer is, reads no environment and prints nothing.
//
// Rules: enqueue allocates nothing and does not wait. Work on a stream runs in order. buffer_write and buffer_read are
// ordered after everything enqueued on the stream they name; read returns when its bytes are there and reports deferred
// errors. Destroy functions accept NULL and are safe after DEVICE_LOST. A device is used by one thread at a time. A new
// fusion is a new op kind, or an epilogue of one, with a defined decomposition, never a new pointer.
#ifndef TERN_COMMON_BACKEND_H
#define TERN_COMMON_BACKEND_H

#include "dense.h"
#include "ops.h"
#include "tern_status.h"
#include "ternary.h"

#define BACKEND_API_VERSION 6

typedef struct device device;
typedef struct stream stream;
typedef struct event event;
typedef struct graph graph;

typedef struct device_facts {
    char name[32]; // "cpu", "cuda0"
    char description[128];
    char note[256];                     // what limits it, or empty
    uint64_t memory_total, memory_free; // bytes; free: what an allocation could get now
    uint32_t n_threads;                 // CPU threads this process may use there; 0: not a CPU
    bool is_reference;                  // slow and obvious by design
    bool is_chosen_only_by_name;        // "auto" passes it over: a reference, or a CPU behind a GPU interface
    bool is_in_memory;                  // weights lie in this process's memory: see weights_desc.image
    const char *blas_name;              // static, what blas_mm calls: "CLBlast Sgemm"; NULL: no BLAS
    dense_type blas_type;               // the weights it takes, F16 or F32
    bool has_fast_attention;            // runs fast_attention
    uint64_t bytes_open;                // device memory that device_open takes for itself (scratch, staging)
    uint64_t bytes_context;             // what the driver takes beside that: an allowance, not in device_allocated
} device_facts;

typedef struct device_options {
    uint32_t n_threads;    // CPU only; 0: all this process may use
    const char *cache_dir; // where compiled kernels may be kept; NULL or "": nowhere
} device_options;

// Bytes of buffers, weights and working memory that this backend holds for an opened device.
typedef struct device_usage {
    uint64_t now, peak; // on the device, since it was opened
    uint64_t host;      // now, in pinned host memory for weights
} device_usage;

// Where a matrix lives.
typedef enum weights_place {
    WEIGHTS_ON_DEVICE, // in device memory of its own
    WEIGHTS_ON_HOST,   // in pinned host memory, in the device's layout; ops take it as any other, at the link's speed
    WEIGHTS_IN_SLOT    // in the buffer `slot`, which matrices use in turn; what is there came by weights_copy
} weights_place;

// Shape and form of a matrix to be put on a device. Ternary when `is_ternary`; else dense rows of `type`.
typedef struct weights_desc {
    uint32_t n_rows, n_cols;
    bool is_ternary;
    ternary_layout layout; // ternary: how the device holds it
    dense_type type;
    const ternary_scale *scale; // ternary: read during weights_create only; weights_bytes looks at its shape alone
    weights_place place;
    buffer *slot; // WEIGHTS_IN_SLOT: weights_bytes of it at least, outlives the matrix
    // WEIGHTS_ON_DEVICE of a device that is_in_memory: weights_bytes that are the matrix, only read, and outliving it.
    // For a ternary one, 64-byte aligned, what weights_image gave for a matrix described alike (of `scale` the shape
    // counts, and values may be NULL); for a dense one its rows, and anything after them. NULL: memory of its own.
    const uint8_t *image;
} weights_desc;

typedef struct backend {
    const char *name;
    uint32_t api_version;
    bool is_synchronous; // enqueue returns when the op is done: nothing is gained by running ahead

    // Discovery, without side effects: no context is created. *note (static or owned by the backend) says why there are
    // no devices, "" when there is nothing to say.
    size_t (*device_count)(const char **note);
    tern_status (*device_describe)(size_t index, device_facts *out, tern_error *err);

    tern_status (*device_open)(size_t index, const device_options *options, device **out, tern_error *err);
    void (*device_close)(device *d); // waits; what was made on it must have been destroyed
    // Runs scalar_probe.h on the device: whether its arithmetic gives the defined bits.
    tern_status (*device_probe)(device *d, bool *is_reproducible, tern_error *err);
    tern_status (*device_memory)(device *d, uint64_t *total, uint64_t *free, tern_error *err);
    void (*device_allocated)(const device *d, device_usage *out);
    // Whether this device can run the op with these shapes (buffers may be missing; weights must be given). On false,
    // *reason is a static sentence shown to users.
    bool (*supports)(device *d, const op *o, const char **reason);

    tern_status (*buffer_create)(device *d, size_t n_bytes, buffer **out,
                                 tern_error *err); // 64-byte aligned, contents undefined
    void (*buffer_destroy)(buffer *b);
    tern_status (*buffer_write)(stream *s, view to, const void *from, size_t n_bytes, tern_error *err);
    tern_status (*buffer_read)(stream *s, view from, void *to, size_t n_bytes, tern_error *err);
    tern_status (*buffer_fill)(stream *s, view to, uint8_t byte, size_t n_bytes, tern_error *err);

    tern_status (*stream_create)(device *d, stream **out, tern_error *err);
    void (*stream_destroy)(stream *s);
    tern_status (*stream_sync)(stream *s, tern_error *err);
    // A stream for weights_copy, buffer_read, waits and events alone, which runs beside the others where the device
    // can.
    tern_status (*copy_stream_create)(device *d, stream **out, tern_error *err);
    // What is enqueued on `s` from now on waits for what `e` was last recorded after; never recorded: for nothing.
    tern_status (*stream_wait)(stream *s, event *e, tern_error *err);
    tern_status (*event_create)(device *d, event **out, tern_error *err);
    void (*event_destroy)(event *e);
    tern_status (*event_record)(stream *s, event *e, tern_error *err);
    tern_status (*event_elapsed_ns)(event *from, event *to, uint64_t *out, tern_error *err); // waits for `to`

    // Bytes a matrix takes where it lives, layout, padding and scales included; what weights_create then takes, or what
    // a slot for it needs. Pure: `d` may be NULL, so that planning opens no device.
    tern_status (*weights_bytes)(device *d, const weights_desc *desc, uint64_t *out, tern_error *err);
    tern_status (*weights_create)(device *d, const weights_desc *desc, weights **out, tern_error *err);
    void (*weights_destroy)(weights *w);
    // Canonical rows (ternary) or stored rows (dense) into and out of the device layout: exact inverses. Where the
    // device is_in_memory, several threads may upload different rows of a matrix at once.
    tern_status (*weights_upload_rows)(weights *w, uint32_t first, uint32_t count, const uint8_t *rows,
                                       tern_error *err);
    tern_status (*weights_download_rows)(weights *w, uint32_t first, uint32_t count, uint8_t *rows, tern_error *err);
    void (*weights_shape)(const weights *w, weights_desc *out); // scale, slot and image: NULL
    // The weights_bytes of a matrix as they lie in this process's memory; NULL where the device is not is_in_memory.
    const uint8_t *(*weights_image)(const weights *w);
    // All of `from`, a matrix on the host, into the slot of `to`, which was described alike. Returns at once; work that
    // reads or overwrites the slot is ordered by events.
    tern_status (*weights_copy)(stream *s, weights *to, const weights *from, tern_error *err);

    tern_status (*enqueue)(stream *s, const op *o, tern_error *err);

    // Capture of what is enqueued in between, replayed by graph_launch. DEVICE_UNSUPPORTED where there is no such
    // thing: the caller then enqueues again each time.
    tern_status (*graph_begin)(stream *s, tern_error *err);
    tern_status (*graph_end)(stream *s, graph **out, tern_error *err);
    tern_status (*graph_launch)(stream *s, graph *g, tern_error *err);
    void (*graph_destroy)(graph *g);
} backend;

#endif
