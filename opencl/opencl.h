// Inside the OpenCL backend: what its files share. The ICD loader is opened at run time (api.c), so a program with this
// backend starts on machines without OpenCL and says so.
#ifndef TERN_OPENCL_OPENCL_H
#define TERN_OPENCL_OPENCL_H

#define CL_TARGET_OPENCL_VERSION          300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS // clCreateCommandQueue, which every loader has
#include <CL/cl.h>
#include <CL/cl_ext.h>

#include "backend.h"
#include "error.h"
#include "op_check.h"

// ---- api.c: the functions of libOpenCL

#define OPENCL_FUNCTIONS(X)                                                                                            \
    X(clGetPlatformIDs)                                                                                                \
    X(clGetPlatformInfo)                                                                                               \
    X(clGetDeviceIDs)                                                                                                  \
    X(clGetDeviceInfo)                                                                                                 \
    X(clCreateContext)                                                                                                 \
    X(clReleaseContext)                                                                                                \
    X(clCreateCommandQueue)                                                                                            \
    X(clReleaseCommandQueue)                                                                                           \
    X(clCreateBuffer)                                                                                                  \
    X(clReleaseMemObject)                                                                                              \
    X(clCreateProgramWithSource)                                                                                       \
    X(clCreateProgramWithBinary)                                                                                       \
    X(clBuildProgram)                                                                                                  \
    X(clGetProgramInfo)                                                                                                \
    X(clGetProgramBuildInfo)                                                                                           \
    X(clReleaseProgram)                                                                                                \
    X(clCreateKernel)                                                                                                  \
    X(clReleaseKernel)                                                                                                 \
    X(clGetKernelInfo)                                                                                                 \
    X(clSetKernelArg)                                                                                                  \
    X(clEnqueueNDRangeKernel)                                                                                          \
    X(clEnqueueReadBuffer)                                                                                             \
    X(clEnqueueWriteBuffer)                                                                                            \
    X(clEnqueueCopyBuffer)                                                                                             \
    X(clEnqueueFillBuffer)                                                                                             \
    X(clEnqueueMapBuffer)                                                                                              \
    X(clEnqueueUnmapMemObject)                                                                                         \
    X(clEnqueueBarrierWithWaitList)                                                                                    \
    X(clEnqueueMarkerWithWaitList)                                                                                     \
    X(clWaitForEvents)                                                                                                 \
    X(clReleaseEvent)                                                                                                  \
    X(clGetEventProfilingInfo)                                                                                         \
    X(clFlush)                                                                                                         \
    X(clFinish)                                                                                                        \
    X(clGetExtensionFunctionAddressForPlatform)

typedef struct opencl_api {
#define X(name) __typeof__(name) *name;
    OPENCL_FUNCTIONS(X)
#undef X
} opencl_api;

// Filled by opencl_load; tests put failing functions here.
extern opencl_api cl;

// Opens the library once a process. NULL, or a static sentence on why there is no OpenCL.
const char *opencl_load(void);

// A failed call as a status: DEVICE_MEMORY, HOST_MEMORY, DEVICE_LOST or, for anything else, `otherwise`; the message is
// "WHAT: CL_NAME". After DEVICE_LOST the device, if given, refuses everything.
tern_status opencl_error(device *d, cl_int code, tern_status otherwise, const char *what, tern_error *err);
const char *opencl_code_name(cl_int code);

// ---- discover.c: devices of all platforms, GPUs first

typedef struct opencl_device {
    cl_platform_id platform;
    cl_device_id id;
    bool is_gpu;
} opencl_device;

size_t opencl_device_count(const char **note);
tern_status opencl_device_at(size_t index, opencl_device *out, tern_error *err);
tern_status opencl_device_describe(size_t index, device_facts *out, tern_error *err);

// ---- traits.c: what a device offers, and which form of the kernels follows

typedef enum opencl_dot {
    OPENCL_DOT_PLAIN,
    OPENCL_DOT_VECTOR, // plain code over 16 bytes at a time, which CPUs have instructions for
    OPENCL_DOT_KHR,
    OPENCL_DOT_AMD_MIXED,
    OPENCL_DOT_AMD_SIGNED,
    OPENCL_DOT_NVIDIA,
    OPENCL_DOT_ARM,
    OPENCL_DOT_QUALCOMM,
    OPENCL_DOT_SIGNED // plain code in the signed form, so that tests execute it anywhere
} opencl_dot;

typedef enum opencl_subgroups {
    OPENCL_SUBGROUPS_NONE,
    OPENCL_SUBGROUPS_KHR,
    OPENCL_SUBGROUPS_EMULATED // shuffles through local memory, so that tests execute their indexing anywhere
} opencl_subgroups;

typedef struct opencl_traits {
    opencl_dot dot;
    opencl_subgroups subgroups;
    bool has_fp16;           // stored halves are turned into floats by an instruction (vload_half)
    bool has_exact_division; // CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT
    bool has_command_buffer;
    bool is_intel_large; // buffers over 4 GiB need a flag and an option
} opencl_traits;

void opencl_traits_query(const opencl_device *from, opencl_traits *out);
// "-cl-std=... -D..." for these traits.
void opencl_traits_options(const opencl_traits *traits, char *out, size_t n_bytes);
// "4x8 dot: NVIDIA dp4a, half loads, command buffers", for people.
void opencl_traits_describe(const opencl_traits *traits, char *out, size_t n_bytes);

// A property of a device as NUL-terminated text, cut to fit; "" where it has none.
void opencl_device_text(cl_device_id id, cl_device_info what, char *out, size_t n_bytes);
void opencl_platform_text(cl_platform_id id, cl_platform_info what, char *out, size_t n_bytes);
bool opencl_has_extension(cl_device_id id, const char *name);

// ---- program.c, cache.c

typedef enum opencl_topic {
    TOPIC_PROBE,
    TOPIC_ROWS,
    TOPIC_NORM,
    TOPIC_PACK,
    TOPIC_TERNARY,
    TOPIC_T80, // the products of TOPIC_TERNARY with another layout, built when such weights are created
    TOPIC_DENSE,
    TOPIC_ATTENTION, // with rope_kv
    TOPIC_TOP_K,
    TOPIC_COUNT
} opencl_topic;

// A program of one topic with the device's traits and further options ("" for none), from the cache or built and
// cached. KERNEL_BUILD carries the first lines of the compiler's log.
tern_status opencl_program_create(device *d, opencl_topic topic, const char *options, cl_program *out, tern_error *err);

// ---- device.c

#define OPENCL_SCRATCH_BYTES ((size_t)8 << 20) // states of split attention, keys of top-k
#define OPENCL_STAGING_BYTES ((size_t)4 << 20) // pinned host memory for uploads and downloads
#define OPENCL_N_STAGING     2u

typedef enum opencl_kernel {
    KERNEL_SCALAR_PROBE,
    KERNEL_FAST_PATH_PROBE,
    KERNEL_GATE,
    KERNEL_RESIDUAL,
    KERNEL_GATHER,
    KERNEL_ADVANCE,
    KERNEL_FILL,
    KERNEL_TO_HALF,
    KERNEL_FROM_HALF,
    KERNEL_NORM,
    KERNEL_HEAD_NORM,
    KERNEL_NORM_QUANT,
    KERNEL_QUANT,
    KERNEL_QUANT2,
    KERNEL_T64_PACK,
    KERNEL_T64_UNPACK,
    KERNEL_T80_PACK,
    KERNEL_T80_UNPACK,
    KERNEL_TMM_M1,
    KERNEL_TMM_M2,
    KERNEL_TMM_M4,
    KERNEL_TMM_M8,
    KERNEL_TMM_GEMM16,
    KERNEL_TMM_GEMM64,
    KERNEL_TMM_GROUPS,
    KERNEL_TMM_RAGGED,
    KERNEL_T80_M1, // in the order of KERNEL_TMM_M1 .. KERNEL_TMM_GEMM64
    KERNEL_T80_M2,
    KERNEL_T80_M4,
    KERNEL_T80_M8,
    KERNEL_T80_GEMM16,
    KERNEL_T80_GEMM64,
    KERNEL_ROPE_KV,
    KERNEL_ATTENTION,
    KERNEL_ATTENTION_MERGE,
    KERNEL_TOP_K,
    KERNEL_TOP_K_MERGE,
    KERNEL_COUNT
} opencl_kernel;

// Of INT8 and INT4 weights the products are those of int_mm.
typedef enum opencl_dense_kernel {
    DENSE_EMBED,
    DENSE_MM_M1,
    DENSE_MM_M4,
    DENSE_RESCORE,
    DENSE_KERNEL_COUNT
} opencl_dense_kernel;
#define OPENCL_DENSE_KINDS (DENSE_N_TYPES + TERNARY_N_LAYOUTS) // each dense type, then each ternary layout

typedef struct opencl_staging {
    cl_mem pinned, device; // the host's side, mapped at `host` throughout, and where it is copied to
    uint8_t *host;
    cl_event done; // of the last use; NULL: free
} opencl_staging;

typedef struct opencl_commands opencl_commands; // graph.c: entry points of cl_khr_command_buffer

struct device {
    opencl_device cl_device;
    char name[32]; // "opencl0"
    opencl_traits traits;
    char cache_dir[512]; // "": no cache
    bool is_lost;
    cl_context context;
    cl_command_queue queue; // in order, of all streams but those that copy: what is uploaded is there for ops after it
    cl_ulong max_alloc, memory_total;
    device_usage usage;
    cl_kernel kernels[KERNEL_COUNT];
    cl_kernel dense[OPENCL_DENSE_KINDS][DENSE_KERNEL_COUNT]; // built when weights of the kind are created
    cl_program programs[TOPIC_COUNT + OPENCL_DENSE_KINDS];
    size_t n_programs;
    cl_mem scratch;
    opencl_staging staging[OPENCL_N_STAGING];
    uint32_t next_staging;
    uint64_t n_uploads; // of weights so far
    graph *recording;   // what enqueued ops go to, or NULL
    const opencl_commands *commands;
};

struct buffer {
    device *device;
    cl_mem mem;
    size_t n_bytes;
};

struct stream {
    device *device;
    cl_command_queue queue; // the device's, or a copying stream's own
    uint64_t n_uploads;     // uploads that a queue of its own is ordered after
};

// The matrix, then its scales, then the first rows of its row ranges, in one buffer.
struct weights {
    device *device;
    weights_desc shape;        // scale, slot: NULL
    cl_mem mem;                // a slot's if the shape's place says so
    size_t n_bytes, row_bytes; // row: canonical or stored
    size_t scale_at, begin_at; // bytes
    uint32_t n_sets, n_groups, group;
    bool has_ranges;
};

tern_status opencl_device_open(size_t index, const device_options *options, device **out, tern_error *err);
// The same with traits of a test's choosing instead of those queried.
tern_status opencl_device_open_as(size_t index, const opencl_traits *traits, const char *cache_dir, device **out,
                                  tern_error *err);
void opencl_device_close(device *d);
tern_status opencl_device_probe(device *d, bool *is_reproducible, tern_error *err);
// The kernels for weights of a dense type, or ternary (DENSE_N_TYPES + layout), as dense matrices.
tern_status opencl_dense_kernels(device *d, uint32_t kind, tern_error *err);
// The kernels for products of T80 matrices.
tern_status opencl_t80_kernels(device *d, tern_error *err);
// Which kernels take a matrix as a dense one.
static inline uint32_t opencl_dense_kind(const weights_desc *w)
{
    return w->is_ternary ? DENSE_N_TYPES + (uint32_t)w->layout : (uint32_t)w->type;
}
// DEVICE_LOST if an earlier call lost it.
tern_status opencl_check_lost(const device *d, tern_error *err);

// ---- buffers.c

tern_status opencl_mem_create(device *d, uint64_t n_bytes, const char *what, cl_mem *out, tern_error *err);
void opencl_mem_destroy(device *d, cl_mem mem, uint64_t n_bytes);
// The same in pinned host memory that the device can reach.
tern_status opencl_pinned_create(device *d, uint64_t n_bytes, const char *what, cl_mem *out, tern_error *err);
void opencl_pinned_destroy(device *d, cl_mem mem, uint64_t n_bytes);
tern_status opencl_buffer_create(device *d, size_t n_bytes, buffer **out, tern_error *err);
void opencl_buffer_destroy(buffer *b);
tern_status opencl_buffer_write(stream *s, view to, const void *from, size_t n_bytes, tern_error *err);
tern_status opencl_buffer_read(stream *s, view from, void *to, size_t n_bytes, tern_error *err);
tern_status opencl_buffer_fill(stream *s, view to, uint8_t byte, size_t n_bytes, tern_error *err);
// The next staging area, once its last use is over.
tern_status opencl_staging_take(device *d, opencl_staging **out, tern_error *err);

// ---- weights.c

tern_status opencl_weights_bytes(device *d, const weights_desc *desc, uint64_t *out, tern_error *err);
tern_status opencl_weights_create(device *d, const weights_desc *desc, weights **out, tern_error *err);
void opencl_weights_destroy(weights *w);
tern_status opencl_weights_upload_rows(weights *w, uint32_t first, uint32_t count, const uint8_t *rows,
                                       tern_error *err);
tern_status opencl_weights_download_rows(weights *w, uint32_t first, uint32_t count, uint8_t *rows, tern_error *err);
void opencl_weights_shape(const weights *w, weights_desc *out);
const uint8_t *opencl_weights_image(const weights *w);
tern_status opencl_weights_copy(stream *s, weights *to, const weights *from, tern_error *err);

// ---- launch.c: one kernel call

typedef struct launch {
    device *device;
    cl_kernel kernel;
    const char *name;
    cl_uint n_args;
    cl_int code; // the first failure
} launch;

launch launch_begin(device *d, opencl_kernel kernel);
launch launch_begin_dense(device *d, uint32_t kind, opencl_dense_kernel kernel);
void launch_mem(launch *l, cl_mem mem);
void launch_at(launch *l, view v, size_t element_bytes); // buffer, then the offset in elements
void launch_u32(launch *l, uint32_t x);
void launch_i32(launch *l, int32_t x);
void launch_u64(launch *l, uint64_t x);
void launch_f32(launch *l, float x);
void launch_local(launch *l, size_t n_bytes);
void launch_flag(launch *l, const op *o); // flag, its offset, place
// global sizes in work-groups of `group` items along the first dimension, 1 along the others.
tern_status launch_end(launch *l, size_t groups_x, size_t groups_y, size_t groups_z, size_t group, tern_error *err);

// ---- the ops

typedef tern_status (*opencl_op)(device *d, const op *o, tern_error *err);
extern const opencl_op opencl_ops[OP_N_KINDS];

tern_status opencl_embed(device *d, const op *o, tern_error *err);
tern_status opencl_dense_mm(device *d, const op *o, tern_error *err);
tern_status opencl_int_mm(device *d, const op *o, tern_error *err);
tern_status opencl_rescore(device *d, const op *o, tern_error *err);
tern_status opencl_ternary_mm(device *d, const op *o, tern_error *err);
tern_status opencl_rope_kv(device *d, const op *o, tern_error *err);
tern_status opencl_attention(device *d, const op *o, tern_error *err);
tern_status opencl_top_k(device *d, const op *o, tern_error *err);
tern_status opencl_blas_mm(device *d, const op *o, tern_error *err);

// ---- graph.c

const opencl_commands *opencl_commands_load(const opencl_device *from);
tern_status opencl_graph_begin(stream *s, tern_error *err);
tern_status opencl_graph_end(stream *s, graph **out, tern_error *err);
tern_status opencl_graph_launch(stream *s, graph *g, tern_error *err);
void opencl_graph_destroy(graph *g);
// While recording: another object of a kernel, owned by the graph; and a call of it.
cl_int opencl_graph_own_kernel(graph *g, cl_kernel kernel, cl_kernel *out);
cl_int opencl_graph_add_kernel(graph *g, cl_kernel kernel, const size_t global[3], const size_t local[3]);

// ---- blas.c: CLBlast, opened at run time

typedef struct opencl_blas opencl_blas;
// Opens it once a process. NULL where it is not installed.
const opencl_blas *opencl_blas_load(void);
// NULL, or why it cannot multiply weights of this type here.
const char *opencl_blas_refusal(const device *d, const weights *w);

extern const backend opencl_backend;

#endif
