// Opening a device: context, queue, programs, scratch and staging memory; and the questions it is asked first.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl.h"
#include "scalar_probe.h"

#define LARGEST_GROUP 256u // items of the largest work-group; every kernel states its own
#define T80_OPTION    "-DTERN_T80"

static const struct {
    const char *name;
    opencl_topic topic;
} kernel_table[KERNEL_COUNT] = {
    [KERNEL_SCALAR_PROBE] = {"scalar_probe", TOPIC_PROBE},
    [KERNEL_FAST_PATH_PROBE] = {"fast_path_probe", TOPIC_PROBE},
    [KERNEL_GATE] = {"gate", TOPIC_ROWS},
    [KERNEL_RESIDUAL] = {"residual", TOPIC_ROWS},
    [KERNEL_GATHER] = {"gather", TOPIC_ROWS},
    [KERNEL_ADVANCE] = {"advance", TOPIC_ROWS},
    [KERNEL_FILL] = {"fill", TOPIC_ROWS},
    [KERNEL_TO_HALF] = {"to_half", TOPIC_ROWS},
    [KERNEL_FROM_HALF] = {"from_half", TOPIC_ROWS},
    [KERNEL_NORM] = {"norm", TOPIC_NORM},
    [KERNEL_HEAD_NORM] = {"head_norm", TOPIC_NORM},
    [KERNEL_NORM_QUANT] = {"norm_quant", TOPIC_NORM},
    [KERNEL_QUANT] = {"quant", TOPIC_NORM},
    [KERNEL_QUANT2] = {"quant2", TOPIC_NORM},
    [KERNEL_T64_PACK] = {"t64_pack", TOPIC_PACK},
    [KERNEL_T64_UNPACK] = {"t64_unpack", TOPIC_PACK},
    [KERNEL_T80_PACK] = {"t80_pack", TOPIC_PACK},
    [KERNEL_T80_UNPACK] = {"t80_unpack", TOPIC_PACK},
    [KERNEL_TMM_M1] = {"tmm_t64_m1", TOPIC_TERNARY},
    [KERNEL_TMM_M2] = {"tmm_t64_m2", TOPIC_TERNARY},
    [KERNEL_TMM_M4] = {"tmm_t64_m4", TOPIC_TERNARY},
    [KERNEL_TMM_M8] = {"tmm_t64_m8", TOPIC_TERNARY},
    [KERNEL_TMM_GEMM16] = {"tmm_t64_gemm16", TOPIC_TERNARY},
    [KERNEL_TMM_GEMM64] = {"tmm_t64_gemm64", TOPIC_TERNARY},
    [KERNEL_TMM_GROUPS] = {"tmm_t64_groups", TOPIC_TERNARY},
    [KERNEL_TMM_RAGGED] = {"tmm_t64_ragged", TOPIC_TERNARY},
    [KERNEL_T80_M1] = {"tmm_t80_m1", TOPIC_T80},
    [KERNEL_T80_M2] = {"tmm_t80_m2", TOPIC_T80},
    [KERNEL_T80_M4] = {"tmm_t80_m4", TOPIC_T80},
    [KERNEL_T80_M8] = {"tmm_t80_m8", TOPIC_T80},
    [KERNEL_T80_GEMM16] = {"tmm_t80_gemm16", TOPIC_T80},
    [KERNEL_T80_GEMM64] = {"tmm_t80_gemm64", TOPIC_T80},
    [KERNEL_ROPE_KV] = {"rope_kv", TOPIC_ATTENTION},
    [KERNEL_ATTENTION] = {"attention", TOPIC_ATTENTION},
    [KERNEL_ATTENTION_MERGE] = {"attention_merge", TOPIC_ATTENTION},
    [KERNEL_TOP_K] = {"top_k", TOPIC_TOP_K},
    [KERNEL_TOP_K_MERGE] = {"top_k_merge", TOPIC_TOP_K},
};

static const char *const weight_names[OPENCL_DENSE_KINDS] = {
    [DENSE_F32] = "f32",   [DENSE_F16] = "f16",   [DENSE_BF16] = "bf16",       [DENSE_Q8_0] = "q8_0",
    [DENSE_Q4_0] = "q4_0", [DENSE_Q4_K] = "q4_k", [DENSE_Q5_K] = "q5_k",       [DENSE_Q6_K] = "q6_k",
    [DENSE_INT8] = "int8", [DENSE_INT4] = "int4", [DENSE_N_TYPES] = "ternary", [DENSE_N_TYPES + TERNARY_T80] = "t80",
};

static const char *dense_name(uint32_t kind, opencl_dense_kernel kernel)
{
    static const char *const names[DENSE_KERNEL_COUNT][2] = {
        [DENSE_EMBED] = {"embed", "embed"},
        [DENSE_MM_M1] = {"dense_mm_m1", "int_mm_m1"},
        [DENSE_MM_M4] = {"dense_mm_m4", "int_mm_m4"},
        [DENSE_RESCORE] = {"rescore", "rescore"},
    };
    return names[kernel][dense_is_integer((dense_type)kind)];
}

static launch begin(device *d, cl_kernel kernel, const char *name)
{
    launch l = {.device = d, .kernel = kernel, .name = name};
    if (d->recording != NULL) l.code = opencl_graph_own_kernel(d->recording, kernel, &l.kernel);
    return l;
}

launch launch_begin(device *d, opencl_kernel kernel) { return begin(d, d->kernels[kernel], kernel_table[kernel].name); }

launch launch_begin_dense(device *d, uint32_t kind, opencl_dense_kernel kernel)
{
    return begin(d, d->dense[kind][kernel], dense_name(kind, kernel));
}

tern_status opencl_check_lost(const device *d, tern_error *err)
{
    if (!d->is_lost) return TERN_OK;
    return error_set(err, TERN_DEVICE_LOST, "%s failed earlier and must be opened again", d->name);
}

static tern_status create_kernel(device *d, cl_program program, const char *name, cl_kernel *out, tern_error *err)
{
    cl_int code;
    *out = cl.clCreateKernel(program, name, &code);
    if (*out != NULL) return TERN_OK;
    error_prefix(err, "kernel %s", name);
    return opencl_error(d, code, TERN_KERNEL_BUILD, name, err);
}

static tern_status create_topic(device *d, opencl_topic topic, tern_error *err)
{
    cl_program program;
    tern_status status = opencl_program_create(d, topic, topic == TOPIC_T80 ? T80_OPTION : "", &program, err);
    if (status != TERN_OK) return status;
    d->programs[d->n_programs++] = program;
    for (int k = 0; k < KERNEL_COUNT && status == TERN_OK; k++)
        if (kernel_table[k].topic == topic)
            status = create_kernel(d, program, kernel_table[k].name, &d->kernels[k], err);
    if (status == TERN_OK) return TERN_OK;
    for (int k = 0; k < KERNEL_COUNT; k++) // nothing of it stays: the next try begins anew
        if (kernel_table[k].topic == topic && d->kernels[k] != NULL) {
            cl.clReleaseKernel(d->kernels[k]);
            d->kernels[k] = NULL;
        }
    cl.clReleaseProgram(d->programs[--d->n_programs]);
    return status;
}

tern_status opencl_t80_kernels(device *d, tern_error *err)
{
    return d->kernels[KERNEL_T80_M1] != NULL ? TERN_OK : create_topic(d, TOPIC_T80, err);
}

tern_status opencl_dense_kernels(device *d, uint32_t kind, tern_error *err)
{
    if (d->dense[kind][0] != NULL) return TERN_OK;
    char options[96], name[64];
    cl_program program;
    bool is_t80 = kind == DENSE_N_TYPES + TERNARY_T80;
    snprintf(options, sizeof options, "-DWEIGHT_TYPE=%u -DWEIGHT_NAME=%s%s", is_t80 ? (unsigned)DENSE_N_TYPES : kind,
             weight_names[kind], is_t80 ? " " T80_OPTION : "");
    tern_status status = opencl_program_create(d, TOPIC_DENSE, options, &program, err);
    if (status != TERN_OK) return status;
    d->programs[d->n_programs++] = program;
    for (int k = DENSE_KERNEL_COUNT - 1; k >= 0 && status == TERN_OK;
         k--) { // the first one last: it marks all as there
        snprintf(name, sizeof name, "%s_%s", dense_name(kind, (opencl_dense_kernel)k), weight_names[kind]);
        status = create_kernel(d, program, name, &d->dense[kind][k], err);
    }
    if (status == TERN_OK) return TERN_OK;
    for (int k = 0; k < DENSE_KERNEL_COUNT; k++) { // nothing of it stays: the next try begins anew
        if (d->dense[kind][k] != NULL) cl.clReleaseKernel(d->dense[kind][k]);
        d->dense[kind][k] = NULL;
    }
    cl.clReleaseProgram(d->programs[--d->n_programs]);
    return status;
}

// ---- probes

// One word written by a kernel that is told to count into it.
static tern_status run_probe(device *d, opencl_kernel kernel, uint32_t n, uint32_t *out, tern_error *err)
{
    const cl_uint zero = 0;
    launch l = launch_begin(d, kernel);
    cl_int code = cl.clEnqueueWriteBuffer(d->queue, d->scratch, CL_TRUE, 0, sizeof zero, &zero, 0, NULL, NULL);
    if (code != CL_SUCCESS) return opencl_error(d, code, TERN_INTERNAL, "writing to the device", err);
    launch_mem(&l, d->scratch);
    if (kernel == KERNEL_SCALAR_PROBE) launch_u32(&l, n);
    tern_status status = launch_end(&l, n / 64, 1, 1, 64, err);
    if (status != TERN_OK) return status;
    code = cl.clEnqueueReadBuffer(d->queue, d->scratch, CL_TRUE, 0, sizeof *out, out, 0, NULL, NULL);
    return code == CL_SUCCESS ? TERN_OK : opencl_error(d, code, TERN_INTERNAL, "reading from the device", err);
}

tern_status opencl_device_probe(device *d, bool *is_reproducible, tern_error *err)
{
    uint32_t sum;
    tern_status status = run_probe(d, KERNEL_SCALAR_PROBE, SCALAR_PROBE_N, &sum, err);
    if (status == TERN_OK) *is_reproducible = sum == SCALAR_PROBE_SUM;
    return status;
}

static void release_programs(device *d)
{
    for (int k = 0; k < KERNEL_COUNT; k++)
        if (d->kernels[k] != NULL) cl.clReleaseKernel(d->kernels[k]);
    for (size_t kind = 0; kind < OPENCL_DENSE_KINDS; kind++)
        for (int k = 0; k < DENSE_KERNEL_COUNT; k++)
            if (d->dense[kind][k] != NULL) cl.clReleaseKernel(d->dense[kind][k]);
    for (size_t i = 0; i < d->n_programs; i++) cl.clReleaseProgram(d->programs[i]);
    memset(d->kernels, 0, sizeof d->kernels);
    memset(d->dense, 0, sizeof d->dense);
    d->n_programs = 0;
}

// Builds the probes with the device's present traits and runs the one of fast paths.
static tern_status try_traits(device *d, tern_error *err)
{
    uint32_t wrong = 0;
    release_programs(d);
    tern_status status = create_topic(d, TOPIC_PROBE, err);
    if (status == TERN_OK) status = run_probe(d, KERNEL_FAST_PATH_PROBE, 256, &wrong, err);
    if (status == TERN_OK && wrong != 0)
        status = error_set(err, TERN_DEVICE_UNSUPPORTED, "%s computes wrong integer products", d->name);
    return status;
}

// A driver may claim a fast path and not compile it, or compute something else. So each is tried by itself on top of
// plain code, which every device must run, and stays only if it works.
static tern_status choose_fast_paths(device *d, tern_error *err)
{
    const opencl_traits wanted = d->traits;
    d->traits.dot = OPENCL_DOT_PLAIN;
    d->traits.subgroups = OPENCL_SUBGROUPS_NONE;
    d->traits.has_fp16 = false;
    tern_status status = try_traits(d, err);
    for (int path = 0; path < 3 && status == TERN_OK; path++) {
        const opencl_traits before = d->traits;
        if (path == 0) d->traits.dot = wanted.dot;
        if (path == 1) d->traits.subgroups = wanted.subgroups;
        if (path == 2) d->traits.has_fp16 = wanted.has_fp16;
        if (memcmp(&before, &d->traits, sizeof before) == 0 || try_traits(d, NULL) == TERN_OK) continue;
        d->traits = before;
        d->is_lost = false;
        status = try_traits(d, err);
    }
    return status;
}

// ---- open, close

static tern_status check_limits(device *d, tern_error *err)
{
    size_t group = 0;
    cl_bool has_compiler = CL_FALSE;
    cl_uint bits = 0;
    cl_device_id id = d->cl_device.id;
    cl.clGetDeviceInfo(id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof group, &group, NULL);
    cl.clGetDeviceInfo(id, CL_DEVICE_COMPILER_AVAILABLE, sizeof has_compiler, &has_compiler, NULL);
    cl.clGetDeviceInfo(id, CL_DEVICE_ADDRESS_BITS, sizeof bits, &bits, NULL);
    cl.clGetDeviceInfo(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof d->max_alloc, &d->max_alloc, NULL);
    cl.clGetDeviceInfo(id, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof d->memory_total, &d->memory_total, NULL);
    if (group < LARGEST_GROUP)
        return error_set(err, TERN_DEVICE_UNSUPPORTED, "%s runs work-groups of at most %zu items, %u are needed",
                         d->name, group, LARGEST_GROUP);
    if (!has_compiler) return error_set(err, TERN_DEVICE_UNSUPPORTED, "%s has no compiler for kernels", d->name);
    if (bits != 64)
        return error_set(err, TERN_DEVICE_UNSUPPORTED, "%s has %u-bit addresses, 64 are needed", d->name, bits);
    return TERN_OK;
}

static tern_status create_staging(device *d, opencl_staging *s, tern_error *err)
{
    cl_int code;
    tern_status status = opencl_mem_create(d, OPENCL_STAGING_BYTES, "staging memory", &s->device, err);
    if (status != TERN_OK) return status;
    s->pinned = cl.clCreateBuffer(d->context, CL_MEM_ALLOC_HOST_PTR | CL_MEM_READ_WRITE, OPENCL_STAGING_BYTES, NULL,
                                  &code);
    if (s->pinned == NULL) return opencl_error(d, code, TERN_HOST_MEMORY, "pinned host memory", err);
    s->host = cl.clEnqueueMapBuffer(d->queue, s->pinned, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, OPENCL_STAGING_BYTES,
                                    0, NULL, NULL, &code);
    return s->host != NULL ? TERN_OK : opencl_error(d, code, TERN_HOST_MEMORY, "mapping pinned host memory", err);
}

static tern_status open_context(device *d, tern_error *err)
{
    cl_int code;
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)d->cl_device.platform, 0};
    d->context = cl.clCreateContext(properties, 1, &d->cl_device.id, NULL, NULL, &code);
    if (d->context == NULL) return opencl_error(d, code, TERN_NO_DEVICE, "creating a context", err);
    d->queue = cl.clCreateCommandQueue(d->context, d->cl_device.id, CL_QUEUE_PROFILING_ENABLE, &code);
    return d->queue != NULL ? TERN_OK : opencl_error(d, code, TERN_NO_DEVICE, "creating a queue", err);
}

tern_status opencl_device_open_as(size_t index, const opencl_traits *traits, const char *cache_dir, device **out,
                                  tern_error *err)
{
    opencl_device where;
    tern_status status = opencl_device_at(index, &where, err);
    if (status != TERN_OK) return status;
    device *d = calloc(1, sizeof *d);
    if (d == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for an OpenCL device");
    d->cl_device = where;
    snprintf(d->name, sizeof d->name, "opencl%zu", index);
    if (cache_dir != NULL && strlen(cache_dir) < sizeof d->cache_dir)
        snprintf(d->cache_dir, sizeof d->cache_dir, "%s", cache_dir);
    if (traits != NULL)
        d->traits = *traits;
    else
        opencl_traits_query(&where, &d->traits);
    status = check_limits(d, err);
    if (status == TERN_OK) status = open_context(d, err);
    if (status == TERN_OK) status = opencl_mem_create(d, OPENCL_SCRATCH_BYTES, "scratch memory", &d->scratch, err);
    for (size_t i = 0; i < OPENCL_N_STAGING && status == TERN_OK; i++) status = create_staging(d, &d->staging[i], err);
    if (status == TERN_OK) status = choose_fast_paths(d, err);
    for (int topic = TOPIC_PROBE + 1; topic < TOPIC_COUNT && status == TERN_OK; topic++)
        if (topic != TOPIC_DENSE && topic != TOPIC_T80) status = create_topic(d, (opencl_topic)topic, err);
    if (status != TERN_OK) {
        opencl_device_close(d);
        return status;
    }
    d->commands = d->traits.has_command_buffer ? opencl_commands_load(&where) : NULL;
    *out = d;
    return TERN_OK;
}

tern_status opencl_device_open(size_t index, const device_options *options, device **out, tern_error *err)
{
    return opencl_device_open_as(index, NULL, options != NULL ? options->cache_dir : NULL, out, err);
}

void opencl_device_close(device *d)
{
    if (d == NULL) return;
    if (d->queue != NULL) cl.clFinish(d->queue);
    for (size_t i = 0; i < OPENCL_N_STAGING; i++) {
        opencl_staging *s = &d->staging[i];
        if (s->done != NULL) cl.clReleaseEvent(s->done);
        if (s->host != NULL) cl.clEnqueueUnmapMemObject(d->queue, s->pinned, s->host, 0, NULL, NULL);
        if (s->pinned != NULL) cl.clReleaseMemObject(s->pinned);
        opencl_mem_destroy(d, s->device, OPENCL_STAGING_BYTES);
    }
    opencl_mem_destroy(d, d->scratch, OPENCL_SCRATCH_BYTES);
    release_programs(d);
    if (d->queue != NULL) {
        cl.clFinish(d->queue);
        cl.clReleaseCommandQueue(d->queue);
    }
    if (d->context != NULL) cl.clReleaseContext(d->context);
    free(d);
}
