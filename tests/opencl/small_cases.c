// The op cases of small shapes on the first OpenCL device, for a run under a checking simulator (small_cases.sh): what
// it computes is compared as well, except where the simulator itself does not compute the defined bits. Prints the
// tally; exits 1 where a kernel failed, wrote outside its operands, or left the flag wrong.
#include <dlfcn.h>

#include "support.h"

#define MAX_M 3u
#define MAX_N 48u
#define MAX_K 192u

static bool is_small(const op_case *c)
{
    if (c->m > MAX_M || c->n > MAX_N || c->k > MAX_K) return false;
    switch (c->kind) {
    case OP_ATTENTION:
    case OP_ROPE_KV: return c->head_dim <= 64 && c->n_heads <= 4 && c->first <= 100;
    case OP_HEAD_NORM: return c->head_dim <= 64;
    default: return true;
    }
}

static __typeof__(clEnqueueWriteBuffer) *real_write;
static __typeof__(clGetMemObjectInfo) *mem_info;

// The simulator (oclgrind 21.10) takes bytes for uninitialised after a host write that does not begin at the start of a
// buffer. So such a write becomes one of the whole buffer.
static cl_int write_whole(cl_command_queue queue, cl_mem mem, cl_bool is_blocking, size_t offset, size_t n_bytes,
                          const void *from, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    (void)is_blocking;
    size_t size = 0;
    cl_int code = mem_info(mem, CL_MEM_SIZE, sizeof size, &size, NULL);
    uint8_t *bytes = malloc(size);
    if (code != CL_SUCCESS || bytes == NULL) return CL_OUT_OF_HOST_MEMORY;
    code = cl.clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, size, bytes, n_wait, wait, NULL);
    memcpy(bytes + offset, from, n_bytes);
    if (code == CL_SUCCESS) code = real_write(queue, mem, CL_TRUE, 0, size, bytes, 0, NULL, event);
    free(bytes);
    return code;
}

int main(int argc, char **argv)
{
    const char *note;
    tern_error err = {0};
    op_runner reference = {0}, subject = {0};
    op_case *cases = NULL;
    size_t n = 0, n_run = 0, n_equal = 0, n_failed = 0, per_kind[OP_N_KINDS] = {0};
    bool is_reproducible = false;
    if (opencl_device_count(&note) == 0) {
        printf("SKIPPED: %s\n", note);
        return 77;
    }
    real_write = cl.clEnqueueWriteBuffer;
    *(void **)&mem_info = dlsym(dlopen("libOpenCL.so.1", RTLD_NOW), "clGetMemObjectInfo");
    if (mem_info == NULL) return 1;
    cl.clEnqueueWriteBuffer = write_whole;
    if (op_runner_open(&cpu_backend, 1, 1, &reference, &err) || op_runner_open(&opencl_backend, 0, 0, &subject, &err) ||
        opencl_device_probe(subject.device, &is_reproducible, &err) || op_cases_list(&cases, &n, &err)) {
        printf("%s\n", err.message);
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        op_runner *const subjects[] = {&subject};
        op_outcome outcome = {0};
        if (!is_small(&cases[i]) || (argc > 1 && strstr(cases[i].name, argv[1]) == NULL)) continue;
        n_run++;
        per_kind[cases[i].kind]++;
        if (op_case_run(&cases[i], &reference, subjects, 1, &outcome, &err) != TERN_OK) {
            printf("%s\n", err.message);
            return 1;
        }
        bool differs = strstr(outcome.text, "elements differ") != NULL;
        n_equal += outcome.verdict == VERDICT_PASSED;
        if (outcome.verdict == VERDICT_PASSED || (differs && !is_reproducible)) continue;
        n_failed++;
        printf("FAILED %s: %s\n", cases[i].name, outcome.text);
    }
    for (int kind = 0; kind < OP_BLAS_MM; kind++)
        if (per_kind[kind] == 0 && argc == 1) {
            printf("FAILED: no small case of %s\n", op_kind_name((op_kind)kind));
            n_failed++;
        }
    free(cases);
    op_runner_close(&subject);
    op_runner_close(&reference);
    printf("%zu small cases, %zu equal bit for bit, %zu failed; the device is %sreproducible\n", n_run, n_equal,
           n_failed, is_reproducible ? "" : "not ");
    return n_failed > 0 || n_run == 0;
}
