// Ops on rows without reductions: embedding, gate, residual, gather, advance; and fp32 to fp16 for cuBLAS.
#include "dense.cuh"

#define ROW_THREADS 256

namespace
{

// Block (x, y): 2,048 columns from x on, of row y, then of every gridDim.y-th row after it.
template <int type>
__global__ void __launch_bounds__(ROW_THREADS)
    embed(matrix_args table, const int32_t *ids, float *y, uint32_t ld_y, uint32_t m)
{
    griddep_wait();
    uint32_t first = (blockIdx.x * ROW_THREADS + threadIdx.x) * 8;
    if (first >= table.n_cols) return;
    int n = (int)min(table.n_cols - first, 8u);
    for (uint32_t row = blockIdx.y; row < m; row += gridDim.y) {
        float values[8];
        row_of<type>(table, (uint32_t)ids[row]).load8(first, n, values);
        float *to = y + (size_t)row * ld_y + first;
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (i < n) to[i] = values[i];
    }
}

template <bool is_silu>
__global__ void __launch_bounds__(ROW_THREADS)
    gate(const float *x, float *y, uint32_t n, uint32_t ld_x, uint32_t ld_y, uint32_t m)
{
    griddep_wait();
    uint32_t i = blockIdx.x * ROW_THREADS + threadIdx.x;
    if (i >= n) return;
    for (uint32_t row = blockIdx.y; row < m; row += gridDim.y) {
        const float *from = x + (size_t)row * ld_x;
        float g = from[i], u = from[n + i];
        y[(size_t)row * ld_y + i] = is_silu ? scalar_gate_silu(g, u) : scalar_gate_relu2(g, u);
    }
}

__global__ void __launch_bounds__(ROW_THREADS)
    residual(float *h, const float *y, uint32_t n, uint32_t ld_h, uint32_t ld_y, uint32_t m)
{
    griddep_wait();
    uint32_t i = blockIdx.x * ROW_THREADS + threadIdx.x;
    if (i >= n) return;
    for (uint32_t row = blockIdx.y; row < m; row += gridDim.y) {
        float *at = h + (size_t)row * ld_h + i;
        *at = *at + y[(size_t)row * ld_y + i];
    }
}

__global__ void __launch_bounds__(ROW_THREADS)
    gather(const float *x, const int32_t *index, float *y, uint32_t n, uint32_t ld_x, uint32_t ld_y, uint32_t m)
{
    griddep_wait();
    uint32_t i = blockIdx.x * ROW_THREADS + threadIdx.x;
    if (i >= n) return;
    for (uint32_t row = blockIdx.y; row < m; row += gridDim.y)
        y[(size_t)row * ld_y + i] = x[(size_t)(uint32_t)index[row] * ld_x + i];
}

// A thread a row.
__global__ void __launch_bounds__(ROW_THREADS)
    advance(const int32_t *chosen, int32_t *ids, int32_t *position, int32_t *log, const unsigned *flag,
            uint32_t ld_chosen, uint32_t n_ids, uint32_t n_log, uint32_t m)
{
    griddep_wait();
    uint32_t row = blockIdx.x * ROW_THREADS + threadIdx.x;
    if (row >= m) return;
    uint32_t p = (uint32_t)position[row];
    int32_t *entry = log + 2 * ((size_t)row * n_log + p % n_log);
    int32_t c = chosen[(size_t)row * ld_chosen];
    entry[0] = ids[row] = (uint32_t)c < n_ids ? c : 0;
    entry[1] = (int32_t)*flag;
    position[row] = (int32_t)(p + 1);
}

__global__ void __launch_bounds__(ROW_THREADS)
    to_half(const float *x, uint16_t *y, uint32_t n, uint32_t ld_x, uint32_t m)
{
    griddep_wait();
    uint32_t i = blockIdx.x * ROW_THREADS + threadIdx.x;
    if (i >= n) return;
    for (uint32_t row = blockIdx.y; row < m; row += gridDim.y)
        y[(size_t)row * n + i] = (uint16_t)half_from_float(x[(size_t)row * ld_x + i]);
}

// Enough blocks for n columns (`each` a thread) of m rows.
dim3 row_grid(uint32_t n, uint32_t each, uint32_t m)
{
    return dim3(ceil_div(n, ROW_THREADS * each), m < 65535 ? m : 65535);
}

template <int type> tern_status launch_embed(stream *s, const op *o, tern_error *err)
{
    const op_embed *a = &o->embed;
    return cuda_launch(s, "embed", embed<type>, row_grid(a->table->n_cols, 8, o->m), dim3(ROW_THREADS), 0, err,
                       matrix_of(a->table), (const int32_t *)cuda_at(a->ids), (float *)cuda_at(a->y), a->ld_y, o->m);
}

} // namespace

tern_status cuda_embed(stream *s, const op *o, tern_error *err)
{
    const weights *w = o->embed.table;
    if (w->is_ternary && w->layout == TERNARY_T80) return launch_embed<DENSE_T80>(s, o, err);
    if (w->is_ternary) return launch_embed<DENSE_TERNARY>(s, o, err);
    switch (w->type) {
    case DENSE_F32: return launch_embed<DENSE_F32>(s, o, err);
    case DENSE_F16: return launch_embed<DENSE_F16>(s, o, err);
    case DENSE_BF16: return launch_embed<DENSE_BF16>(s, o, err);
    case DENSE_Q8_0: return launch_embed<DENSE_Q8_0>(s, o, err);
    case DENSE_Q4_0: return launch_embed<DENSE_Q4_0>(s, o, err);
    case DENSE_Q4_K: return launch_embed<DENSE_Q4_K>(s, o, err);
    case DENSE_Q5_K: return launch_embed<DENSE_Q5_K>(s, o, err);
    case DENSE_Q6_K: return launch_embed<DENSE_Q6_K>(s, o, err);
    case DENSE_INT8: return launch_embed<DENSE_INT8>(s, o, err);
    case DENSE_INT4: return launch_embed<DENSE_INT4>(s, o, err);
    case DENSE_N_TYPES: break;
    }
    return error_set(err, TERN_INTERNAL, "embed: dense type %d does not exist", (int)w->type);
}

tern_status cuda_gate(stream *s, const op *o, tern_error *err)
{
    const op_gate *a = &o->gate;
    return cuda_launch(s, a->is_silu ? "gate_silu" : "gate_relu2", a->is_silu ? gate<true> : gate<false>,
                       row_grid(a->n, 1, o->m), dim3(ROW_THREADS), 0, err, (const float *)cuda_at(a->x),
                       (float *)cuda_at(a->y), a->n, a->ld_x, a->ld_y, o->m);
}

tern_status cuda_residual(stream *s, const op *o, tern_error *err)
{
    const op_residual *a = &o->residual;
    return cuda_launch(s, "residual", residual, row_grid(a->n, 1, o->m), dim3(ROW_THREADS), 0, err,
                       (float *)cuda_at(a->h), (const float *)cuda_at(a->y), a->n, a->ld_h, a->ld_y, o->m);
}

tern_status cuda_gather(stream *s, const op *o, tern_error *err)
{
    const op_gather *a = &o->gather;
    return cuda_launch(s, "gather", gather, row_grid(a->n, 1, o->m), dim3(ROW_THREADS), 0, err,
                       (const float *)cuda_at(a->x), (const int32_t *)cuda_at(a->index), (float *)cuda_at(a->y), a->n,
                       a->ld_x, a->ld_y, o->m);
}

tern_status cuda_advance(stream *s, const op *o, tern_error *err)
{
    const op_advance *a = &o->advance;
    return cuda_launch(s, "advance", advance, row_grid(o->m, 1, 1), dim3(ROW_THREADS), 0, err,
                       (const int32_t *)cuda_at(a->chosen), (int32_t *)cuda_at(a->ids), (int32_t *)cuda_at(a->position),
                       (int32_t *)cuda_at(a->log), (const unsigned *)cuda_at(o->flag), a->ld_chosen, a->n_ids, a->n_log,
                       o->m);
}

tern_status cuda_to_half(stream *s, const float *x, uint32_t ld_x, uint32_t m, uint32_t n, void *out, tern_error *err)
{
    return cuda_launch(s, "to_half", to_half, row_grid(n, 1, m), dim3(ROW_THREADS), 0, err, x, (uint16_t *)out, n, ld_x,
                       m);
}
