// The table of reference ops, and the reductions and weight access they share.
#include "reference.h"

const cpu_op cpu_reference_ops[OP_N_KINDS] = {
    [OP_EMBED] = reference_embed,
    [OP_NORM] = reference_norm,
    [OP_HEAD_NORM] = reference_head_norm,
    [OP_NORM_QUANT] = reference_norm_quant,
    [OP_QUANT] = reference_quant_op,
    [OP_QUANT2] = reference_quant2_op,
    [OP_TERNARY_MM] = reference_ternary_mm,
    [OP_DENSE_MM] = reference_dense_mm,
    [OP_ROPE_KV] = reference_rope_kv,
    [OP_ATTENTION] = reference_attention,
    [OP_GATE] = reference_gate,
    [OP_RESIDUAL] = reference_residual,
    [OP_GATHER] = reference_gather,
    [OP_TOP_K] = reference_top_k,
    [OP_INT_MM] = reference_int_mm,
    [OP_RESCORE] = reference_rescore,
    [OP_ADVANCE] = reference_advance,
    [OP_DENSE_TOP_K] = reference_dense_top_k,
};

float reference_tree(float *acc, uint32_t lanes)
{
    for (uint32_t half = lanes / 2; half > 0; half /= 2)
        for (uint32_t j = 0; j < half; j++) acc[j] += acc[j + half];
    return acc[0];
}

float reference_dot64(const float *a, const float *b, uint32_t n)
{
    float acc[64] = {0};
    for (uint32_t i = 0; i < n; i++) acc[i % 64] = scalar_fma(a[i], b[i], acc[i % 64]);
    return reference_tree(acc, 64);
}

float reference_sumsq256(const float *x, uint32_t n)
{
    float acc[256] = {0};
    for (uint32_t i = 0; i < n; i++) acc[i % 256] = scalar_fma(x[i], x[i], acc[i % 256]);
    return reference_tree(acc, 256);
}

float reference_groups(const float *v, const float *d, uint32_t n_groups)
{
    float part[8] = {0};
    for (uint64_t p = 0; p < 8; p++)
        for (uint64_t g = p * n_groups / 8; g < (p + 1) * n_groups / 8; g++) part[p] = scalar_fma(v[g], d[g], part[p]);
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

float reference_absmax(const float *x, uint32_t n)
{
    scalar_u32 max = 0;
    for (uint32_t i = 0; i < n; i++) {
        scalar_u32 magnitude = scalar_magnitude(x[i]);
        if (magnitude > max) max = magnitude;
    }
    return scalar_as_float(max);
}

// A ternary row in canonical form, at the start of the device's scratch.
static const uint8_t *canonical_row(const device *d, const weights *w, uint32_t r)
{
    ternary_unpack_rows(w->layout, w->data, w->n_rows, w->n_cols, r, 1, d->scratch);
    return d->scratch;
}

void reference_weight_trits(const device *d, const weights *w, uint32_t r, int8_t *out)
{
    const uint8_t *row = canonical_row(d, w, r);
    for (uint32_t c = 0; c < w->n_cols; c++) out[c] = (int8_t)(ternary_code(row, c) - 1);
}

void reference_weight_row(const device *d, const weights *w, uint32_t r, float *out)
{
    if (!w->is_ternary) {
        dense_row_to_float(w->type, w->data + (size_t)r * w->row_bytes, w->n_cols, out);
        return;
    }
    const float *scales = w->scale.values + (size_t)ternary_scale_set(&w->scale, r) * w->scale.n_groups;
    const uint8_t *row = canonical_row(d, w, r);
    for (uint32_t c = 0; c < w->n_cols; c++) out[c] = scales[c / w->scale.group] * (float)(ternary_code(row, c) - 1);
}

float *reference_scratch(const device *d, const weights *w)
{
    return (float *)(d->scratch + (w->is_ternary ? w->row_bytes : 0));
}
