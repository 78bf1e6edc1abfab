// Ops on rows and their launches: gate, residual, gather, advance, norms, quantisers; and the table of all ops.
#include "opencl.h"

static size_t groups_of(size_t n, size_t size) { return (n + size - 1) / size; }

static void arg_quantized(launch *l, view codes, view scale, view sum)
{
    launch_at(l, codes, 1);
    launch_at(l, scale, sizeof(float));
    launch_at(l, sum, sizeof(int32_t));
}

static tern_status gate(device *d, const op *o, tern_error *err)
{
    const op_gate *a = &o->gate;
    launch l = launch_begin(d, KERNEL_GATE);
    launch_at(&l, a->x, sizeof(float));
    launch_at(&l, a->y, sizeof(float));
    launch_u32(&l, a->n);
    launch_u32(&l, a->ld_x);
    launch_u32(&l, a->ld_y);
    launch_u32(&l, a->is_silu);
    return launch_end(&l, groups_of(a->n, 64), o->m, 1, 64, err);
}

static tern_status residual(device *d, const op *o, tern_error *err)
{
    const op_residual *a = &o->residual;
    launch l = launch_begin(d, KERNEL_RESIDUAL);
    launch_at(&l, a->h, sizeof(float));
    launch_at(&l, a->y, sizeof(float));
    launch_u32(&l, a->n);
    launch_u32(&l, a->ld_h);
    launch_u32(&l, a->ld_y);
    return launch_end(&l, groups_of(a->n, 64), o->m, 1, 64, err);
}

static tern_status gather(device *d, const op *o, tern_error *err)
{
    const op_gather *a = &o->gather;
    launch l = launch_begin(d, KERNEL_GATHER);
    launch_at(&l, a->x, sizeof(float));
    launch_at(&l, a->index, sizeof(int32_t));
    launch_at(&l, a->y, sizeof(float));
    launch_u32(&l, a->n);
    launch_u32(&l, a->ld_x);
    launch_u32(&l, a->ld_y);
    return launch_end(&l, groups_of(a->n, 64), o->m, 1, 64, err);
}

static tern_status advance(device *d, const op *o, tern_error *err)
{
    const op_advance *a = &o->advance;
    launch l = launch_begin(d, KERNEL_ADVANCE);
    launch_at(&l, a->chosen, sizeof(int32_t));
    launch_at(&l, a->ids, sizeof(int32_t));
    launch_at(&l, a->position, sizeof(int32_t));
    launch_at(&l, a->log, sizeof(int32_t));
    launch_at(&l, o->flag, sizeof(uint32_t));
    launch_u32(&l, a->ld_chosen);
    launch_u32(&l, a->n_ids);
    launch_u32(&l, a->n_log);
    launch_u32(&l, o->m);
    return launch_end(&l, groups_of(o->m, 64), 1, 1, 64, err);
}

static tern_status norm(device *d, const op *o, tern_error *err)
{
    const op_norm *a = &o->norm;
    launch l = launch_begin(d, KERNEL_NORM);
    launch_at(&l, a->x, sizeof(float));
    launch_at(&l, a->g, sizeof(float));
    launch_at(&l, a->y, sizeof(float));
    launch_u32(&l, a->n);
    launch_u32(&l, a->ld_x);
    launch_u32(&l, a->ld_y);
    launch_f32(&l, a->eps);
    launch_flag(&l, o);
    return launch_end(&l, o->m, 1, 1, 256, err);
}

static tern_status head_norm(device *d, const op *o, tern_error *err)
{
    const op_head_norm *a = &o->head_norm;
    launch l = launch_begin(d, KERNEL_HEAD_NORM);
    launch_at(&l, a->x, sizeof(float));
    launch_at(&l, a->g, sizeof(float));
    launch_u32(&l, a->head_dim);
    launch_u32(&l, a->ld_x);
    launch_f32(&l, a->eps);
    launch_flag(&l, o);
    return launch_end(&l, a->n_heads, o->m, 1, 256, err);
}

static tern_status norm_quant(device *d, const op *o, tern_error *err)
{
    const op_norm_quant *a = &o->norm_quant;
    launch l = launch_begin(d, KERNEL_NORM_QUANT);
    launch_at(&l, a->x, sizeof(float));
    launch_at(&l, a->g, sizeof(float));
    arg_quantized(&l, a->y.codes, a->y.scale, a->y.sum);
    launch_u32(&l, a->n);
    launch_u32(&l, a->ld_x);
    launch_u32(&l, a->y.ld);
    launch_f32(&l, a->eps);
    launch_flag(&l, o);
    return launch_end(&l, o->m, 1, 1, 256, err);
}

// One term or two.
static tern_status quant(device *d, const op *o, tern_error *err)
{
    const op_quant *a = &o->quant;
    launch l = launch_begin(d, o->kind == OP_QUANT2 ? KERNEL_QUANT2 : KERNEL_QUANT);
    launch_at(&l, a->x, sizeof(float));
    arg_quantized(&l, a->y.codes, a->y.scale, a->y.sum);
    if (o->kind == OP_QUANT2) arg_quantized(&l, a->y.lo_codes, a->y.lo_scale, a->y.lo_sum);
    launch_u32(&l, a->n);
    launch_u32(&l, a->ld_x);
    launch_u32(&l, a->y.ld);
    launch_flag(&l, o);
    return launch_end(&l, o->m, 1, 1, 256, err);
}

const opencl_op opencl_ops[OP_N_KINDS] = {
    [OP_EMBED] = opencl_embed,
    [OP_NORM] = norm,
    [OP_HEAD_NORM] = head_norm,
    [OP_NORM_QUANT] = norm_quant,
    [OP_QUANT] = quant,
    [OP_QUANT2] = quant,
    [OP_TERNARY_MM] = opencl_ternary_mm,
    [OP_DENSE_MM] = opencl_dense_mm,
    [OP_ROPE_KV] = opencl_rope_kv,
    [OP_ATTENTION] = opencl_attention,
    [OP_GATE] = gate,
    [OP_RESIDUAL] = residual,
    [OP_GATHER] = gather,
    [OP_TOP_K] = opencl_top_k,
    [OP_INT_MM] = opencl_int_mm,
    [OP_RESCORE] = opencl_rescore,
    [OP_ADVANCE] = advance,
    [OP_BLAS_MM] = opencl_blas_mm,
};
