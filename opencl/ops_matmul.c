// Launches of products with weights, and of embedding rows.
#include "opencl.h"

// ---- ternary

// The kernel for a number of columns (tokens times terms), its tile and its work-group.
typedef struct form {
    opencl_kernel kernel;
    uint32_t rows, columns, group;
} form;

// For more columns than a GEMV takes at once: the smaller tile while it wastes less. On a CPU local memory is memory
// like any other and barriers cost much, so blocks of 8 columns are better than tiles.
static form choose_form(const device *d, uint32_t n_columns)
{
    static const form gemv[] = {{KERNEL_TMM_M1, 16, 1, 128},
                                {KERNEL_TMM_M2, 16, 2, 128},
                                {KERNEL_TMM_M4, 16, 4, 128},
                                {KERNEL_TMM_M8, 16, 8, 128}};
    for (size_t i = 0; i < sizeof gemv / sizeof gemv[0]; i++)
        if (n_columns <= gemv[i].columns) return gemv[i];
    if (d->traits.dot == OPENCL_DOT_VECTOR) return gemv[3];
    return n_columns <= 32 ? (form){KERNEL_TMM_GEMM16, 64, 16, 256} : (form){KERNEL_TMM_GEMM64, 64, 64, 256};
}

static void arg_matrix(launch *l, const op_ternary_mm *a)
{
    const weights *w = a->w;
    launch_mem(l, w->mem);
    launch_u32(l, w->shape.n_rows);
    launch_u32(l, ternary_granules(w->shape.layout, w->shape.n_cols));
    launch_u64(l, w->scale_at);
    launch_u64(l, w->begin_at);
    launch_u32(l, w->n_sets);
    launch_u32(l, w->has_ranges);
    launch_u32(l, w->n_groups);
    launch_at(l, a->y, sizeof(float));
    launch_u32(l, a->ld_y);
    launch_u32(l, a->epilogue);
}

// Both terms; the first twice where there is one.
static void arg_rows(launch *l, const quantized *x)
{
    bool is_two_term = x->lo_codes.buffer != NULL;
    launch_at(l, x->codes, 1);
    launch_at(l, x->scale, sizeof(float));
    launch_at(l, x->sum, sizeof(int32_t));
    launch_at(l, is_two_term ? x->lo_codes : x->codes, 1);
    launch_at(l, is_two_term ? x->lo_scale : x->scale, sizeof(float));
    launch_at(l, is_two_term ? x->lo_sum : x->sum, sizeof(int32_t));
    launch_u32(l, is_two_term ? 2 : 1);
    launch_u32(l, x->ld);
}

static tern_status ternary_groups(device *d, const op *o, tern_error *err)
{
    const op_ternary_mm *a = &o->ternary_mm;
    const weights *w = a->w;
    bool is_whole = w->group % TERNARY_GRANULE == 0;
    launch l = launch_begin(d, is_whole ? KERNEL_TMM_GROUPS : KERNEL_TMM_RAGGED);
    arg_matrix(&l, a);
    arg_rows(&l, &a->x);
    launch_u32(&l, is_whole ? w->group / TERNARY_GRANULE : w->group);
    if (!is_whole) launch_u32(&l, w->shape.n_cols);
    return launch_end(&l, (w->shape.n_rows + 7) / 8, o->m, 1, 64, err);
}

tern_status opencl_ternary_mm(device *d, const op *o, tern_error *err)
{
    const op_ternary_mm *a = &o->ternary_mm;
    if (a->w->n_groups > 1) return ternary_groups(d, o, err);
    uint32_t n_columns = o->m * (a->x.lo_codes.buffer != NULL ? 2 : 1);
    form f = choose_form(d, n_columns);
    bool is_t80 = a->w->shape.layout == TERNARY_T80;
    launch l = launch_begin(d, is_t80 ? (opencl_kernel)(f.kernel - KERNEL_TMM_M1 + KERNEL_T80_M1) : f.kernel);
    arg_matrix(&l, a);
    arg_rows(&l, &a->x);
    launch_u32(&l, n_columns);
    return launch_end(&l, (a->w->shape.n_rows + f.rows - 1) / f.rows, (n_columns + f.columns - 1) / f.columns, 1,
                      f.group, err);
}

// ---- dense

static void arg_dense_matrix(launch *l, const weights *w)
{
    launch_mem(l, w->mem);
    launch_u32(l, w->shape.n_rows);
    launch_u32(l, w->shape.n_cols);
    launch_u64(l, w->row_bytes);
    launch_u64(l, w->scale_at);
    launch_u64(l, w->begin_at);
    launch_u32(l, w->n_sets);
    launch_u32(l, w->has_ranges);
    launch_u32(l, w->n_groups);
    launch_u32(l, w->group);
}

tern_status opencl_embed(device *d, const op *o, tern_error *err)
{
    const op_embed *a = &o->embed;
    launch l = launch_begin_dense(d, opencl_dense_kind(&a->table->shape), DENSE_EMBED);
    arg_dense_matrix(&l, a->table);
    launch_at(&l, a->ids, sizeof(int32_t));
    launch_at(&l, a->y, sizeof(float));
    launch_u32(&l, a->ld_y);
    return launch_end(&l, (a->table->shape.n_cols + 511) / 512, o->m, 1, 64, err);
}

tern_status opencl_dense_mm(device *d, const op *o, tern_error *err)
{
    const op_dense_mm *a = &o->dense_mm;
    uint32_t tokens = o->m == 1 ? 1 : 4;
    launch l = launch_begin_dense(d, opencl_dense_kind(&a->w->shape), tokens == 1 ? DENSE_MM_M1 : DENSE_MM_M4);
    arg_dense_matrix(&l, a->w);
    launch_at(&l, a->x, sizeof(float));
    launch_at(&l, a->y, sizeof(float));
    launch_u32(&l, o->m);
    launch_u32(&l, a->ld_x);
    launch_u32(&l, a->ld_y);
    launch_u32(&l, a->check_finite);
    launch_flag(&l, o);
    return launch_end(&l, (a->w->shape.n_rows + 7) / 8, (o->m + tokens - 1) / tokens, 1, 64, err);
}

tern_status opencl_int_mm(device *d, const op *o, tern_error *err)
{
    const op_int_mm *a = &o->int_mm;
    uint32_t tokens = o->m == 1 ? 1 : 4;
    launch l = launch_begin_dense(d, opencl_dense_kind(&a->w->shape), tokens == 1 ? DENSE_MM_M1 : DENSE_MM_M4);
    arg_dense_matrix(&l, a->w);
    launch_at(&l, a->x.codes, 1);
    launch_at(&l, a->x.scale, sizeof(float));
    launch_at(&l, a->x.lo_codes, 1);
    launch_at(&l, a->x.lo_scale, sizeof(float));
    launch_at(&l, a->y, sizeof(float));
    launch_u32(&l, o->m);
    launch_u32(&l, a->x.ld);
    launch_u32(&l, a->ld_y);
    launch_u32(&l, a->check_finite);
    launch_flag(&l, o);
    return launch_end(&l, (a->w->shape.n_rows + 7) / 8, (o->m + tokens - 1) / tokens, 1, 64, err);
}

tern_status opencl_rescore(device *d, const op *o, tern_error *err)
{
    const op_rescore *a = &o->rescore;
    launch l = launch_begin_dense(d, opencl_dense_kind(&a->w->shape), DENSE_RESCORE);
    arg_dense_matrix(&l, a->w);
    launch_at(&l, a->x, sizeof(float));
    launch_at(&l, a->ids, sizeof(int32_t));
    launch_at(&l, a->y, sizeof(float));
    launch_u32(&l, a->k);
    launch_u32(&l, a->ld_x);
    launch_u32(&l, a->ld_y);
    launch_flag(&l, o);
    return launch_end(&l, (a->k + 7) / 8, o->m, 1, 64, err);
}
