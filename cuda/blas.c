// OP_BLAS_MM through cuBLAS, opened at run time: the baseline that ternary products are compared with. F16 or F32
// weights, fp32 accumulation. x is fp32; for F16 weights it is rounded to fp16 first, in the device's working memory.
// OP_BLAS_INT_MM the same way: int8 times int8 to int32, on tensor cores (rows and x are at multiples of 16 bytes).
#include <dlfcn.h>
#include <stdlib.h>

#include "cuda_backend.h"

// As cuBLAS numbers them.
#define BLAS_SUCCESS     0
#define BLAS_OP_N        0
#define BLAS_OP_T        1
#define BLAS_R_32F       0
#define BLAS_R_16F       2
#define BLAS_R_8I        3
#define BLAS_R_32I       10
#define BLAS_COMPUTE_32F 68
#define BLAS_COMPUTE_32I 72
#define BLAS_DEFAULT     (-1)

#if !defined(TERN_CUBLAS)
#define TERN_CUBLAS "libcublas.so.13"
#endif

// The device's working memory is shared out: fp16 rows in the first half, cuBLAS' workspace in the second.
#define HALF_BYTES (CUDA_SCRATCH_BYTES / 2)

typedef struct blas {
    void *library, *handle;
    bool is_tried; // and if handle is NULL, failed
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*set_stream)(void *handle, cudaStream_t stream);
    int (*set_workspace)(void *handle, void *workspace, size_t n_bytes);
    int (*gemm)(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha, const void *a,
                int a_type, int lda, const void *b, int b_type, int ldb, const void *beta, void *c, int c_type, int ldc,
                int compute_type, int algorithm);
} blas;

// `function` points to a function pointer, which POSIX lets hold what dlsym returns.
static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    *(void **)function = symbol;
    return symbol != NULL;
}

static void *open_library(void)
{
    void *library = dlopen(TERN_CUBLAS, RTLD_NOW | RTLD_LOCAL);
#if defined(TERN_CUBLAS_DIR) // where the toolkit of this build has it
    if (library == NULL) library = dlopen(TERN_CUBLAS_DIR "/" TERN_CUBLAS, RTLD_NOW | RTLD_LOCAL);
#endif
    return library;
}

static void open_blas(device *d, blas *b)
{
    b->is_tried = true;
    b->library = open_library();
    if (b->library == NULL || !find(b->library, "cublasCreate_v2", &b->create) ||
        !find(b->library, "cublasDestroy_v2", &b->destroy) || !find(b->library, "cublasSetStream_v2", &b->set_stream) ||
        !find(b->library, "cublasSetWorkspace_v2", &b->set_workspace) || !find(b->library, "cublasGemmEx", &b->gemm))
        return;
    void *handle = NULL;
    if (cudaSetDevice(d->index) == cudaSuccess && b->create(&handle) == BLAS_SUCCESS) b->handle = handle;
}

const char *cuda_blas_refusal(device *d, const op *o)
{
    if (d->blas == NULL) d->blas = calloc(1, sizeof(blas));
    blas *b = d->blas;
    if (b == NULL) return "no memory for cuBLAS' descriptor";
    if (!b->is_tried) open_blas(d, b);
    if (b->library == NULL) return "cuBLAS (" TERN_CUBLAS ") was not found";
    if (b->handle == NULL) return "cuBLAS could not be started";
    const weights *w = o->kind == OP_BLAS_MM ? o->dense_mm.w : o->int_mm.w;
    if (w->type == DENSE_F16 && (uint64_t)o->m * w->n_cols * 2 > HALF_BYTES)
        return "more than 16 Mi values of x at once are not converted to fp16 for cuBLAS";
    return NULL;
}

// What differs between products: x, y, their types, and how sums are made.
typedef struct product {
    const weights *w;
    const void *x;
    int type; // of w and x
    uint32_t ld_x;
    void *y;
    int y_type;
    uint32_t ld_y;
    int compute_type;
    const void *one, *zero; // as the sums are made
} product;

// Column-major, as BLAS has it: y^T [n_rows, m] = w [n_rows, n_cols] x^T [n_cols, m].
static tern_status multiply(stream *s, const op *o, const product *p, int ld_w, tern_error *err)
{
    device *d = s->device;
    const blas *b = d->blas;
    const weights *w = p->w;
    int e = b->set_stream(b->handle, s->handle);
    if (e == BLAS_SUCCESS) e = b->set_workspace(b->handle, d->scratch + HALF_BYTES, CUDA_SCRATCH_BYTES - HALF_BYTES);
    if (e == BLAS_SUCCESS)
        e = b->gemm(b->handle, BLAS_OP_T, BLAS_OP_N, (int)w->n_rows, (int)o->m, (int)w->n_cols, p->one, w->data,
                    p->type, ld_w, p->x, p->type, (int)p->ld_x, p->zero, p->y, p->y_type, (int)p->ld_y, p->compute_type,
                    BLAS_DEFAULT);
    if (e == BLAS_SUCCESS) return TERN_OK;
    return error_set(err, TERN_KERNEL_LAUNCH, "%s: cublasGemmEx [%u, %u] x %u rows: cuBLAS status %d", d->name,
                     w->n_rows, w->n_cols, o->m, e);
}

tern_status cuda_blas_mm(stream *s, const op *o, tern_error *err)
{
    const op_dense_mm *a = &o->dense_mm;
    const weights *w = a->w;
    device *d = s->device;
    const float one = 1.0f, zero = 0.0f;
    bool is_half = w->type == DENSE_F16;
    int type = is_half ? BLAS_R_16F : BLAS_R_32F;
    const void *x = cuda_at(a->x);
    uint32_t ld_x = a->ld_x;
    if (is_half) {
        tern_status status = cuda_to_half(s, (const float *)x, a->ld_x, o->m, w->n_cols, d->scratch, err);
        if (status != TERN_OK) return status;
        x = d->scratch;
        ld_x = w->n_cols;
    }
    const product p = {.w = w,
                       .x = x,
                       .type = type,
                       .ld_x = ld_x,
                       .y = cuda_at(a->y),
                       .y_type = BLAS_R_32F,
                       .ld_y = a->ld_y,
                       .compute_type = BLAS_COMPUTE_32F,
                       .one = &one,
                       .zero = &zero};
    return multiply(s, o, &p, (int)(w->row_bytes / (is_half ? 2 : 4)), err);
}

tern_status cuda_blas_int_mm(stream *s, const op *o, tern_error *err)
{
    const op_int_mm *a = &o->int_mm;
    const int32_t one = 1, zero = 0;
    const product p = {.w = a->w,
                       .x = cuda_at(a->x.codes),
                       .type = BLAS_R_8I,
                       .ld_x = a->x.ld,
                       .y = cuda_at(a->y),
                       .y_type = BLAS_R_32I,
                       .ld_y = a->ld_y,
                       .compute_type = BLAS_COMPUTE_32I,
                       .one = &one,
                       .zero = &zero};
    return multiply(s, o, &p, (int)a->w->row_bytes, err);
}

void cuda_blas_close(device *d)
{
    blas *b = d->blas;
    if (b == NULL) return;
    if (b->handle != NULL) b->destroy(b->handle);
    if (b->library != NULL) dlclose(b->library);
    free(b);
    d->blas = NULL;
}
