// The op cases cut to small shapes on the first OpenCL device, for a run under a checking simulator (small_cases.sh):
// what it computes is compared as well, except where the simulator itself does not compute the defined bits. Prints the
// tally; exits 1 where a kernel failed, wrote outside its operands, left the flag wrong, or was never executed.
//
// usage: small_cases [bounds|race]: runs one case with kernels that break a bound, or race, for the simulator to
// notice.
#include <dlfcn.h>
#include <time.h>

#include "support.h"

#define MAX_M 3u
#define MAX_N 24u
#define MAX_K 128u

// ---- the cases

static uint32_t at_most(uint32_t x, uint32_t limit) { return x < limit ? x : limit; }

static void cut_weights(op_case *c)
{
    uint32_t block = !c->is_ternary && c->dense >= DENSE_Q4_K ? 256 : !c->is_ternary && c->dense >= DENSE_Q8_0 ? 32 : 1;
    c->n = at_most(c->n, MAX_N);
    if (epilogue_gates(c->epilogue)) c->n = c->n / (2 * GATED_TURN) * (2 * GATED_TURN); // whole tiles
    c->k = at_most(c->k, block > MAX_K ? block : MAX_K);
    if (c->is_ternary && c->group >= c->k) c->group = 64;
    if (c->is_ternary && c->group >= c->k) c->group = 0;
    // The smallest counts of rows that reach the kernels for 16 and for 64 columns remain.
    if (c->kind == OP_TERNARY_MM && c->m == 17)
        c->k = at_most(c->k, 128);
    else
        c->m = at_most(c->m, MAX_M);
}

static void cut_heads(op_case *c)
{
    c->m = at_most(c->m, MAX_M);
    c->head_dim = at_most(c->head_dim, 48);
    c->n_dims = at_most(c->n_dims, c->head_dim);
    c->first = at_most(c->first, 250); // over the first group of blocks with three rows
    if (c->n_heads > 6) c->n_heads = c->n_kv_heads = 2;
}

// Ops of one work-group of 256 lanes a row are slow to simulate: few of them.
static bool cut_row_op(op_case *c)
{
    bool is_wide = c->kind == OP_NORM || c->kind == OP_NORM_QUANT || c->kind == OP_QUANT || c->kind == OP_QUANT2;
    c->m = at_most(c->m, is_wide ? 1 : 2);
    c->n = at_most(c->n, 300);
    if (!is_wide) return c->recipe == RECIPE_RANDOM && (c->n == 65 || c->n == 1);
    return (c->n == 300 && c->recipe == RECIPE_RANDOM) || (c->n == 70 && c->recipe == RECIPE_NAN);
}

static bool cut_top_k(op_case *c)
{
    bool is_long = c->n == 32000 && c->recipe == RECIPE_TIES;
    if (!is_long && !(c->n == 63 && c->recipe == RECIPE_TIES) && !(c->n == 300 && c->k == 256 && c->gap == 0))
        return false;
    c->m = 1;
    c->n = at_most(c->n, 4100); // two pieces
    return true;
}

// K and V of every type beside the same and beside one other: K and V are read by code of their own.
static bool is_pair(const op_case *c) { return c->k_type == c->v_type || c->k_type == KV_INT8; }

// One head size that fills words and one that does not; long enough for two groups of blocks.
static bool cut_attention(op_case *c)
{
    cut_heads(c);
    c->m = at_most(c->m, 2);
    return c->recipe == RECIPE_RANDOM && (c->head_dim == 40 || c->first == 200) && is_pair(c);
}

// Whether the case, with smaller shapes, is one to run here.
static bool cut(op_case *c)
{
    bool is_wanted = c->level == LEVEL_QUICK;
    switch (c->kind) {
    case OP_TERNARY_MM:
    case OP_EMBED:
    case OP_DENSE_MM:
    case OP_INT_MM:
    case OP_RESCORE:
        c->n_best = at_most(c->n_best, 9);
        cut_weights(c);
        is_wanted &= c->recipe == RECIPE_RANDOM && (c->k % 2 == 1 || c->k >= 128);
        break;
    case OP_ATTENTION: is_wanted &= cut_attention(c); break;
    case OP_ROPE_KV:
    case OP_HEAD_NORM:
        cut_heads(c);
        c->m = at_most(c->m, 2);
        is_wanted &= c->recipe == RECIPE_RANDOM && c->n_heads <= 5 && c->head_dim == (c->kind == OP_ROPE_KV ? 48 : 40);
        is_wanted &= is_pair(c); // of a norm both are the same
        break;
    case OP_TOP_K: is_wanted &= cut_top_k(c); break;
    default: is_wanted &= cut_row_op(c);
    }
    c->n_macs = 0;
    snprintf(c->name, sizeof c->name, "%s M=%u N=%u K=%u D=%u H=%u first=%u %s", op_kind_name(c->kind), c->m, c->n,
             c->k, c->head_dim, c->n_heads, c->first, op_recipe_name(c->recipe));
    return is_wanted;
}

// Shapes that no listed case has: groups that do not end on granules, and one token with a ternary dense matrix. They
// take the place of listed ones that were left out.
static size_t add_unlisted(op_case *to)
{
    to[0] = (op_case){.kind = OP_TERNARY_MM, .is_ternary = true, .scale = SCALE_ROWS, .m = 2, .n = 11, .k = 130};
    to[0].group = 50;
    to[0].n_terms = 2;
    to[1] = (op_case){.kind = OP_DENSE_MM, .is_ternary = true, .scale = SCALE_RANGES, .m = 1, .n = 11, .k = 130};
    snprintf(to[0].name, sizeof to[0].name, "ternary_mm M=2 N=11 K=130 rows g50 2-term");
    snprintf(to[1].name, sizeof to[1].name, "dense_mm M=1 N=11 K=130 ternary ranges");
    return 2;
}

// Whether two cases run the same code, and differ in sizes alone.
static bool is_alike(const op_case *a, const op_case *b)
{
    if (a->kind != b->kind) return false;
    if (a->kind == OP_ROPE_KV) return a->k_type == b->k_type && a->v_type == b->v_type && a->adjacent == b->adjacent;
    if (a->kind == OP_ATTENTION) return a->k_type == b->k_type && a->v_type == b->v_type;
    if (a->kind != OP_TERNARY_MM && a->kind != OP_DENSE_MM && a->kind != OP_INT_MM && a->kind != OP_EMBED &&
        a->kind != OP_RESCORE)
        return false;
    bool has_same_rows = a->kind == OP_TERNARY_MM ? a->m == b->m : (a->m == 1) == (b->m == 1);
    return has_same_rows && a->is_ternary == b->is_ternary && a->layout == b->layout && a->dense == b->dense &&
           (a->group == 0) == (b->group == 0) && a->n_terms == b->n_terms &&
           epilogue_gates(a->epilogue) == epilogue_gates(b->epilogue);
}

// Of cases alike the one that has most: positions, scales.
static uint32_t weight(const op_case *c) { return 16 * c->first + (uint32_t)c->scale; }

static size_t cut_all(op_case *cases, size_t n)
{
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) {
        op_case c = cases[i];
        bool is_new = cut(&c);
        for (size_t j = 0; j < n_kept && is_new; j++) is_new = memcmp(&cases[j], &c, sizeof c) != 0;
        if (is_new) cases[n_kept++] = c;
    }
    size_t n_thin = 0;
    for (size_t i = 0; i < n_kept; i++) {
        size_t j = 0;
        while (j < n_thin && !is_alike(&cases[j], &cases[i])) j++;
        if (j == n_thin || weight(&cases[i]) > weight(&cases[j])) cases[j] = cases[i];
        n_thin += j == n_thin;
    }
    return n_thin;
}

// ---- calls that are watched or changed

static __typeof__(clEnqueueWriteBuffer) *real_write;
static __typeof__(clEnqueueNDRangeKernel) *real_launch;
static __typeof__(clCreateBuffer) *real_create;
static __typeof__(clEnqueueFillBuffer) *real_fill;
static __typeof__(clEnqueueMapBuffer) *real_map;
static __typeof__(clEnqueueUnmapMemObject) *real_unmap;
static __typeof__(clGetMemObjectInfo) *mem_info;
static device *watched;
static bool has_run[KERNEL_COUNT], has_run_dense[OPENCL_DENSE_KINDS][DENSE_KERNEL_COUNT];

// The simulator (oclgrind 21.10) takes bytes for uninitialised after a host write that does not begin at the start of a
// buffer. So such a write becomes one of the whole buffer.
static cl_int write_whole(cl_command_queue queue, cl_mem mem, cl_bool is_blocking, size_t offset, size_t n_bytes,
                          const void *from, cl_uint n_wait, const cl_event *wait, cl_event *done)
{
    if (offset == 0) return real_write(queue, mem, is_blocking, 0, n_bytes, from, n_wait, wait, done);
    size_t size = 0;
    cl_int code = mem_info(mem, CL_MEM_SIZE, sizeof size, &size, NULL);
    uint8_t *bytes = malloc(size);
    if (code != CL_SUCCESS || bytes == NULL) return CL_OUT_OF_HOST_MEMORY;
    code = cl.clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, size, bytes, n_wait, wait, NULL);
    memcpy(bytes + offset, from, n_bytes);
    if (code == CL_SUCCESS) code = real_write(queue, mem, CL_TRUE, 0, size, bytes, 0, NULL, done);
    free(bytes);
    return code;
}

// After each kernel the simulator looks at every byte of every buffer there is, so the device's own are made as small
// as these cases allow. Those of pinned memory are mapped at once and stay so: host memory of the full size stands for
// that.
#define SMALL_BYTES ((size_t)8 << 10)

static bool is_own(size_t n_bytes) { return n_bytes == OPENCL_SCRATCH_BYTES || n_bytes == OPENCL_STAGING_BYTES; }

static cl_mem create_small(cl_context context, cl_mem_flags flags, size_t n_bytes, void *host, cl_int *code)
{
    return real_create(context, flags, is_own(n_bytes) ? SMALL_BYTES : n_bytes, host, code);
}

static void *mapped[2 * OPENCL_N_STAGING];

static void *map_elsewhere(cl_command_queue queue, cl_mem mem, cl_bool is_blocking, cl_map_flags flags, size_t offset,
                           size_t n_bytes, cl_uint n_wait, const cl_event *wait, cl_event *done, cl_int *code)
{
    size_t i = 0;
    if (!is_own(n_bytes)) return real_map(queue, mem, is_blocking, flags, offset, n_bytes, n_wait, wait, done, code);
    while (mapped[i] != NULL) i++;
    *code = CL_SUCCESS;
    return mapped[i] = calloc(1, n_bytes);
}

static cl_int unmap_elsewhere(cl_command_queue queue, cl_mem mem, void *host, cl_uint n_wait, const cl_event *wait,
                              cl_event *done)
{
    for (size_t i = 0; i < sizeof mapped / sizeof mapped[0]; i++)
        if (mapped[i] == host) {
            free(host);
            mapped[i] = NULL;
            return CL_SUCCESS;
        }
    return real_unmap(queue, mem, host, n_wait, wait, done);
}

static cl_int fill_small(cl_command_queue queue, cl_mem mem, const void *pattern, size_t n_pattern, size_t offset,
                         size_t n_bytes, cl_uint n_wait, const cl_event *wait, cl_event *done)
{
    if (is_own(n_bytes)) n_bytes = SMALL_BYTES;
    return real_fill(queue, mem, pattern, n_pattern, offset, n_bytes, n_wait, wait, done);
}

static cl_int launch_watched(cl_command_queue queue, cl_kernel kernel, cl_uint n_dims, const size_t *offset,
                             const size_t *global, const size_t *local, cl_uint n_wait, const cl_event *wait,
                             cl_event *done)
{
    for (int k = 0; k < KERNEL_COUNT && watched != NULL; k++) has_run[k] |= watched->kernels[k] == kernel;
    for (size_t kind = 0; kind < OPENCL_DENSE_KINDS && watched != NULL; kind++)
        for (int k = 0; k < DENSE_KERNEL_COUNT; k++) has_run_dense[kind][k] |= watched->dense[kind][k] == kernel;
    return real_launch(queue, kernel, n_dims, offset, global, local, n_wait, wait, done);
}

// Every kernel but those of the probes, which opening the device runs, and of fp16 BLAS.
static size_t count_idle_kernels(void)
{
    size_t n = 0;
    for (int k = KERNEL_GATE; k < KERNEL_COUNT; k++)
        if (!has_run[k] && k != KERNEL_TO_HALF && k != KERNEL_FROM_HALF) {
            launch l = launch_begin(watched, (opencl_kernel)k);
            printf("FAILED: no small case runs %s\n", l.name);
            n++;
        }
    for (size_t kind = 0; kind < OPENCL_DENSE_KINDS; kind++)
        for (int k = 0; k < DENSE_KERNEL_COUNT; k++)
            if (!has_run_dense[kind][k]) {
                launch l = launch_begin_dense(watched, (uint32_t)kind, (opencl_dense_kernel)k);
                printf("FAILED: no small case runs %s of weights of kind %zu\n", l.name, kind);
                n++;
            }
    return n;
}

// ---- the program

static int stop(const tern_error *err)
{
    printf("FAILED: %s\n", err->message);
    return 1;
}

typedef struct tally {
    size_t n_run, n_equal, n_failed;
} tally;

static tern_status run_case(const op_case *c, op_runner *reference, op_runner *subject, bool is_reproducible, tally *t,
                            tern_error *err)
{
    op_runner *const subjects[] = {subject};
    op_outcome outcome = {0};
    tern_status status = op_case_run(c, reference, subjects, 1, &outcome, err);
    if (status != TERN_OK) return status;
    bool differs = strstr(outcome.text, "elements differ") != NULL;
    t->n_run++;
    t->n_equal += outcome.verdict == VERDICT_PASSED;
    if (outcome.verdict == VERDICT_PASSED || (differs && !is_reproducible)) return TERN_OK;
    t->n_failed++;
    printf("FAILED %s: %s\n", c->name, outcome.text);
    return TERN_OK;
}

// The cases of few rows, as shuffles have no part in the others.
static size_t drop_tiles(op_case *cases, size_t n)
{
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++)
        if (cases[i].m <= MAX_M && cases[i].group == 0) cases[n_kept++] = cases[i];
    return n_kept;
}

static tern_status run_kind(op_kind kind, const op_case *cases, size_t n, op_runner *reference, op_runner *subject,
                            bool is_reproducible, tally *all, tern_error *err)
{
    tally t = {0};
    clock_t start = clock();
    tern_status status = TERN_OK;
    for (size_t i = 0; i < n && status == TERN_OK; i++)
        if (cases[i].kind == kind) status = run_case(&cases[i], reference, subject, is_reproducible, &t, err);
    printf("%s: %-12s %3zu cases, %3zu equal bit for bit, %zu failed, %.1f s of CPU time\n", subject->facts.name,
           op_kind_name(kind), t.n_run, t.n_equal, t.n_failed, (double)(clock() - start) / CLOCKS_PER_SEC);
    fflush(stdout);
    all->n_run += t.n_run;
    all->n_equal += t.n_equal;
    all->n_failed += t.n_failed + (t.n_run == 0);
    return status;
}

// Packing that takes every tile for a full one leaves the matrix; norms without barriers race.
static int run_broken(op_runner *reference, op_runner *subject, bool is_race, tern_error *err)
{
    device *d = subject->device;
    op_case c = find_case(is_race ? "norm M=1 N=1 " : "ternary_mm M=1 N=21 K=64 tensor 1-term");
    cl_program program;
    tally t = {0};
    const char *options = is_race ? "-Dbarrier(x)=" : "-Dmin=max";
    if (opencl_program_create(d, is_race ? TOPIC_NORM : TOPIC_PACK, options, &program, err) != TERN_OK)
        return stop(err);
    opencl_kernel kernel = is_race ? KERNEL_NORM : KERNEL_T64_PACK;
    cl_kernel good = d->kernels[kernel];
    d->kernels[kernel] = cl.clCreateKernel(program, is_race ? "norm" : "t64_pack", NULL);
    if (d->kernels[kernel] == NULL || run_case(&c, reference, subject, true, &t, err) != TERN_OK) return stop(err);
    cl.clReleaseKernel(d->kernels[kernel]);
    cl.clReleaseProgram(program);
    d->kernels[kernel] = good;
    return 0;
}

int main(int argc, char **argv)
{
    const char *note;
    tern_error err = {0};
    op_runner reference = {0}, subject = {0};
    bool is_reproducible = false;
    if (opencl_device_count(&note) == 0) {
        printf("SKIPPED: %s\n", note);
        return 77;
    }
    real_write = cl.clEnqueueWriteBuffer;
    real_launch = cl.clEnqueueNDRangeKernel;
    *(void **)&mem_info = dlsym(dlopen("libOpenCL.so.1", RTLD_NOW), "clGetMemObjectInfo");
    if (mem_info == NULL) return 1;
    real_create = cl.clCreateBuffer;
    real_fill = cl.clEnqueueFillBuffer;
    real_map = cl.clEnqueueMapBuffer;
    real_unmap = cl.clEnqueueUnmapMemObject;
    cl.clEnqueueWriteBuffer = write_whole;
    cl.clCreateBuffer = create_small;
    cl.clEnqueueFillBuffer = fill_small;
    cl.clEnqueueMapBuffer = map_elsewhere;
    cl.clEnqueueUnmapMemObject = unmap_elsewhere;
    cl.clEnqueueNDRangeKernel = launch_watched;
    opencl_device where;
    opencl_traits plain, queried;
    if (op_runner_open(&cpu_backend, 1, 1, &reference, &err) != TERN_OK || opencl_device_at(0, &where, &err) != TERN_OK)
        return stop(&err);
    opencl_traits_query(&where, &queried);
    plain = queried;
    plain.dot = OPENCL_DOT_PLAIN;
    subject = open_subject(&plain, NULL, "plain");
    watched = subject.device;
    if (argc > 1) {
        int code = run_broken(&reference, &subject, strcmp(argv[1], "race") == 0, &err);
        op_runner_close(&subject);
        op_runner_close(&reference);
        return code;
    }
    if (opencl_device_probe(subject.device, &is_reproducible, &err) != TERN_OK) return stop(&err);
    size_t n;
    op_case *cases = list_cases(&n);
    tally all = {0};
    n = cut_all(cases, n);
    n += add_unlisted(cases + n);
    for (int kind = 0; op_is_everywhere((op_kind)kind); kind++)
        if (run_kind((op_kind)kind, cases, n, &reference, &subject, is_reproducible, &all, &err) != TERN_OK)
            return stop(&err);
    all.n_failed += count_idle_kernels();
    op_runner_close(&subject);
    queried.subgroups = OPENCL_SUBGROUPS_EMULATED; // and the vector form on a CPU
    queried.has_fp16 = false;
    subject = open_subject(&queried, NULL, "shuffles");
    watched = NULL;
    n = drop_tiles(cases, n);
    if (run_kind(OP_TERNARY_MM, cases, n, &reference, &subject, is_reproducible, &all, &err) != TERN_OK)
        return stop(&err);
    free(cases);
    op_runner_close(&subject);
    op_runner_close(&reference);
    printf("%zu small cases, %zu equal bit for bit, %zu failed; the device is %sreproducible\n", all.n_run, all.n_equal,
           all.n_failed, is_reproducible ? "" : "not ");
    return all.n_failed > 0;
}
