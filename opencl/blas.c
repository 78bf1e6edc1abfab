// blas_mm through CLBlast, opened at run time: Hgemm and Hgemv for F16 weights where the device has cl_khr_fp16, Sgemm
// and Sgemv for F32. Hgemm takes and gives halves, so rows are converted through the scratch memory, as many at a time
// as fit.
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#include "opencl.h"

// From clblast_c.h, whose enumerations are part of its binary interface.
#define ROW_MAJOR      101
#define NOT_TRANSPOSED 111
#define TRANSPOSED     112
#define HALF_ONE       0x3c00u

typedef int(gemm_f32)(int layout, int a_transpose, int b_transpose, size_t m, size_t n, size_t k, float alpha, cl_mem a,
                      size_t a_offset, size_t a_ld, cl_mem b, size_t b_offset, size_t b_ld, float beta, cl_mem c,
                      size_t c_offset, size_t c_ld, cl_command_queue *queue, cl_event *event);
typedef int(gemm_f16)(int layout, int a_transpose, int b_transpose, size_t m, size_t n, size_t k, cl_half alpha,
                      cl_mem a, size_t a_offset, size_t a_ld, cl_mem b, size_t b_offset, size_t b_ld, cl_half beta,
                      cl_mem c, size_t c_offset, size_t c_ld, cl_command_queue *queue, cl_event *event);
typedef int(gemv_f32)(int layout, int a_transpose, size_t m, size_t n, float alpha, cl_mem a, size_t a_offset,
                      size_t a_ld, cl_mem x, size_t x_offset, size_t x_inc, float beta, cl_mem y, size_t y_offset,
                      size_t y_inc, cl_command_queue *queue, cl_event *event);
typedef int(gemv_f16)(int layout, int a_transpose, size_t m, size_t n, cl_half alpha, cl_mem a, size_t a_offset,
                      size_t a_ld, cl_mem x, size_t x_offset, size_t x_inc, cl_half beta, cl_mem y, size_t y_offset,
                      size_t y_inc, cl_command_queue *queue, cl_event *event);

struct opencl_blas {
    gemm_f32 *sgemm;
    gemm_f16 *hgemm;
    gemv_f32 *sgemv;
    gemv_f16 *hgemv;
};

static opencl_blas blas;
static bool is_loaded;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
    void *library = dlopen("libclblast.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return;
    *(void **)&blas.sgemm = dlsym(library, "CLBlastSgemm");
    *(void **)&blas.hgemm = dlsym(library, "CLBlastHgemm");
    *(void **)&blas.sgemv = dlsym(library, "CLBlastSgemv");
    *(void **)&blas.hgemv = dlsym(library, "CLBlastHgemv");
    is_loaded = blas.sgemm != NULL && blas.hgemm != NULL && blas.sgemv != NULL && blas.hgemv != NULL;
}

const opencl_blas *opencl_blas_load(void)
{
    pthread_once(&once, load);
    return is_loaded ? &blas : NULL;
}

const char *opencl_blas_refusal(const device *d, const weights *w)
{
    if (opencl_blas_load() == NULL) return "CLBlast (libclblast.so.1) is not installed";
    if (w->shape.type == DENSE_F32) return NULL;
    if (!opencl_has_extension(d->cl_device.id, "cl_khr_fp16"))
        return "CLBlast multiplies F16 weights only on devices with cl_khr_fp16; hold them as F32";
    if (((size_t)w->shape.n_rows + w->shape.n_cols) * sizeof(cl_half) > OPENCL_SCRATCH_BYTES)
        return "a row of F16 operands does not fit the scratch memory";
    return NULL;
}

static tern_status blas_error(device *d, int code, const char *name, tern_error *err)
{
    if (code > -1024) return opencl_error(d, code, TERN_KERNEL_LAUNCH, name, err); // an error of OpenCL itself
    return error_set(err, TERN_KERNEL_LAUNCH, "%s: CLBlast%s failed with status %d", d->name, name, code);
}

// Gemv multiplies y by beta even where that is 0, so that a NaN in y would stay.
static tern_status clear(device *d, cl_mem mem, size_t at, size_t n_bytes, tern_error *err)
{
    const cl_uchar zero = 0;
    cl_int code = cl.clEnqueueFillBuffer(d->queue, mem, &zero, 1, at, n_bytes, 0, NULL, NULL);
    return code == CL_SUCCESS ? TERN_OK : opencl_error(d, code, TERN_INTERNAL, "clearing the result", err);
}

static tern_status multiply_f32(device *d, const op *o, tern_error *err)
{
    const op_dense_mm *a = &o->dense_mm;
    size_t n = a->w->shape.n_rows, k = a->w->shape.n_cols, x_at = a->x.offset / 4, y_at = a->y.offset / 4;
    tern_status status = o->m == 1 ? clear(d, a->y.buffer->mem, a->y.offset, n * sizeof(float), err) : TERN_OK;
    if (status != TERN_OK) return status;
    int code = o->m == 1 ? blas.sgemv(ROW_MAJOR, NOT_TRANSPOSED, n, k, 1.0f, a->w->mem, 0, k, a->x.buffer->mem, x_at, 1,
                                      0.0f, a->y.buffer->mem, y_at, 1, &d->queue, NULL)
                         : blas.sgemm(ROW_MAJOR, NOT_TRANSPOSED, TRANSPOSED, o->m, n, k, 1.0f, a->x.buffer->mem, x_at,
                                      a->ld_x, a->w->mem, 0, k, 0.0f, a->y.buffer->mem, y_at, a->ld_y, &d->queue, NULL);
    return code == 0 ? TERN_OK : blas_error(d, code, o->m == 1 ? "Sgemv" : "Sgemm", err);
}

static tern_status convert(device *d, opencl_kernel kernel, view x, view y, uint32_t n, uint32_t ld, uint32_t m,
                           tern_error *err)
{
    bool is_to_half = kernel == KERNEL_TO_HALF;
    launch l = launch_begin(d, kernel);
    launch_at(&l, x, is_to_half ? 4 : 2);
    launch_at(&l, y, is_to_half ? 2 : 4);
    launch_u32(&l, n);
    launch_u32(&l, ld);
    return launch_end(&l, ((size_t)n + 63) / 64, m, 1, 64, err);
}

// m rows from row `first` on: x in halves at the start of the scratch memory, then y.
static tern_status multiply_f16(device *d, const op *o, uint32_t first, uint32_t m, tern_error *err)
{
    const op_dense_mm *a = &o->dense_mm;
    uint32_t n = a->w->shape.n_rows, k = a->w->shape.n_cols;
    buffer scratch = {.device = d, .mem = d->scratch, .n_bytes = OPENCL_SCRATCH_BYTES};
    view x = a->x, y = a->y, x_half = {&scratch, 0}, y_half = {&scratch, (size_t)m * k * sizeof(cl_half)};
    x.offset += (size_t)first * a->ld_x * sizeof(float);
    y.offset += (size_t)first * a->ld_y * sizeof(float);
    tern_status status = convert(d, KERNEL_TO_HALF, x, x_half, k, a->ld_x, m, err);
    if (status == TERN_OK && m == 1) status = clear(d, d->scratch, y_half.offset, n * sizeof(cl_half), err);
    if (status != TERN_OK) return status;
    int code = m == 1 ? blas.hgemv(ROW_MAJOR, NOT_TRANSPOSED, n, k, HALF_ONE, a->w->mem, 0, k, d->scratch, 0, 1, 0,
                                   d->scratch, y_half.offset / 2, 1, &d->queue, NULL)
                      : blas.hgemm(ROW_MAJOR, NOT_TRANSPOSED, TRANSPOSED, m, n, k, HALF_ONE, d->scratch, 0, k,
                                   a->w->mem, 0, k, 0, d->scratch, y_half.offset / 2, n, &d->queue, NULL);
    if (code != 0) return blas_error(d, code, m == 1 ? "Hgemv" : "Hgemm", err);
    return convert(d, KERNEL_FROM_HALF, y_half, y, n, a->ld_y, m, err);
}

tern_status opencl_blas_mm(device *d, const op *o, tern_error *err)
{
    const weights *w = o->dense_mm.w;
    if (d->recording != NULL)
        return error_set(err, TERN_DEVICE_UNSUPPORTED, "%s: CLBlast cannot be recorded in a graph", d->name);
    if (w->shape.type == DENSE_F32) return multiply_f32(d, o, err);
    size_t row_bytes = ((size_t)w->shape.n_rows + w->shape.n_cols) * sizeof(cl_half);
    uint32_t step = (uint32_t)(OPENCL_SCRATCH_BYTES / row_bytes);
    tern_status status = TERN_OK;
    for (uint32_t m = 0; m < o->m && status == TERN_OK; m += step)
        status = multiply_f16(d, o, m, o->m - m < step ? o->m - m : step, err);
    return status;
}
