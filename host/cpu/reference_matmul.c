// Reference ops: products with weight matrices. The device's scratch holds one unpacked weight row at a time, so that a
// row is unpacked once for all M.
#include "reference.h"

// The exact sum of trit * code over columns [first, end).
static int32_t integer_dot(const int8_t *trits, const int8_t *codes, uint32_t first, uint32_t end)
{
    int32_t sum = 0;
    for (uint32_t c = first; c < end; c++) sum += trits[c] * codes[c];
    return sum;
}

// Rows ascend, so that what gate gave is there when the row of up comes.
static void put(const op_ternary_mm *a, uint32_t m, uint32_t r, float product)
{
    float *y = (float *)cpu_at(a->y) + (size_t)m * a->ld_y, *gated = y + r / (2 * GATED_TURN) * GATED_TURN;
    bool is_up = r / GATED_TURN % 2 == 1;
    switch (a->epilogue) {
    case EPILOGUE_STORE: y[r] = product; return;
    case EPILOGUE_ADD: y[r] = y[r] + product; return;
    case EPILOGUE_RELU2:
    case EPILOGUE_SILU: break;
    }
    gated += r % GATED_TURN;
    if (!is_up)
        *gated = product;
    else
        *gated = a->epilogue == EPILOGUE_SILU ? scalar_gate_silu(*gated, product) : scalar_gate_relu2(*gated, product);
}

void reference_ternary_mm(const device *d, const op *o)
{
    const op_ternary_mm *a = &o->ternary_mm;
    const weights *w = a->w;
    const ternary_scale *scale = &w->scale;
    bool is_two_term = a->x.lo_codes.buffer != NULL;
    const float *hi_scale = cpu_at(a->x.scale);
    const float *lo_scale = is_two_term ? cpu_at(a->x.lo_scale) : NULL;

    float *v = reference_scratch(d, w); // one value per group, then the row's trits
    int8_t *trits = (int8_t *)(v + scale->n_groups);

    for (uint32_t r = 0; r < w->n_rows; r++) {
        const float *d_r = scale->values + (size_t)ternary_scale_set(scale, r) * scale->n_groups;
        reference_weight_trits(d, w, r, trits);
        for (uint32_t m = 0; m < o->m; m++) {
            const int8_t *hi = (const int8_t *)cpu_at(a->x.codes) + (size_t)m * a->x.ld;
            const int8_t *lo = is_two_term ? (const int8_t *)cpu_at(a->x.lo_codes) + (size_t)m * a->x.ld : NULL;
            if (scale->n_groups == 1) {
                int32_t hi_sum = integer_dot(trits, hi, 0, w->n_cols);
                put(a, m, r,
                    is_two_term ? scalar_ternary2(hi_sum, integer_dot(trits, lo, 0, w->n_cols), hi_scale[m],
                                                  lo_scale[m], d_r[0])
                                : scalar_ternary(hi_sum, hi_scale[m], d_r[0]));
                continue;
            }
            for (uint32_t g = 0; g < scale->n_groups; g++) {
                uint32_t first = g * scale->group;
                uint32_t end = w->n_cols - first > scale->group ? first + scale->group : w->n_cols;
                float hi_sum = (float)integer_dot(trits, hi, first, end);
                v[g] = is_two_term
                           ? scalar_fma(hi_sum, hi_scale[m], (float)integer_dot(trits, lo, first, end) * lo_scale[m])
                           : hi_sum * hi_scale[m];
            }
            put(a, m, r, reference_groups(v, d_r, scale->n_groups));
        }
    }
}

void reference_dense_mm(const device *d, const op *o)
{
    const op_dense_mm *a = &o->dense_mm;
    float *row = reference_scratch(d, a->w);
    for (uint32_t r = 0; r < a->w->n_rows; r++) {
        reference_weight_row(d, a->w, r, row);
        for (uint32_t m = 0; m < o->m; m++) {
            const float *x = (const float *)cpu_at(a->x) + (size_t)m * a->ld_x;
            float y = reference_dot64(row, x, a->w->n_cols);
            if (a->check_finite && !scalar_is_finite(y)) cpu_flag(o);
            ((float *)cpu_at(a->y))[(size_t)m * a->ld_y + r] = y;
        }
    }
}

void reference_dense_top_k(const device *d, const op *o)
{
    const op_dense_top_k *a = &o->dense_top_k;
    float *row = reference_scratch(d, a->w);
    for (uint32_t r = 0; r < a->w->n_rows; r++) {
        reference_weight_row(d, a->w, r, row);
        for (uint32_t m = 0; m < o->m; m++) {
            float y = reference_dot64(row, (const float *)cpu_at(a->x) + (size_t)m * a->ld_x, a->w->n_cols);
            if (!scalar_is_finite(y)) cpu_flag(o);
            if (r < a->n)
                reference_keep_best(y, r, a->k, (int32_t *)cpu_at(a->ids) + (size_t)m * a->k,
                                    (float *)cpu_at(a->values) + (size_t)m * a->k);
        }
    }
}

void reference_rescore(const device *d, const op *o)
{
    const op_rescore *a = &o->rescore;
    float *row = reference_scratch(d, a->w);
    const int32_t *ids = cpu_at(a->ids);
    for (uint32_t m = 0; m < o->m; m++) {
        const float *x = (const float *)cpu_at(a->x) + (size_t)m * a->ld_x;
        float *y = (float *)cpu_at(a->y) + (size_t)m * a->ld_y;
        for (uint32_t j = 0; j < a->k; j++, ids++) {
            reference_weight_row(d, a->w, (uint32_t)*ids, row);
            y[*ids] = reference_dot64(row, x, a->w->n_cols);
            if (!scalar_is_finite(y[*ids])) cpu_flag(o);
        }
    }
}

// The exact sum of weight code * code over columns [first, end) of a stored row.
static int32_t stored_dot(const weights *w, const uint8_t *row, const int8_t *codes, uint32_t first, uint32_t end)
{
    int32_t sum = 0;
    for (uint32_t c = first; c < end; c++) sum += dense_code(w->type, row, c) * codes[c];
    return sum;
}

void reference_int_mm(const device *d, const op *o)
{
    const op_int_mm *a = &o->int_mm;
    const weights *w = a->w;
    const float *hi_scale = cpu_at(a->x.scale), *lo_scale = cpu_at(a->x.lo_scale);
    uint32_t n_groups = w->type == DENSE_INT8 ? 1 : w->n_cols / DENSE_GROUP, group = w->n_cols / n_groups;
    float *scales = reference_scratch(d, w), *v = scales + n_groups; // K / 32 floats in all
    for (uint32_t r = 0; r < w->n_rows; r++) {
        const uint8_t *row = w->data + (size_t)r * w->row_bytes;
        dense_group_scales(w->type, row, w->n_cols, 0, n_groups, scales);
        for (uint32_t m = 0; m < o->m; m++) {
            const int8_t *hi = (const int8_t *)cpu_at(a->x.codes) + (size_t)m * a->x.ld;
            const int8_t *lo = (const int8_t *)cpu_at(a->x.lo_codes) + (size_t)m * a->x.ld;
            float y;
            if (w->type == DENSE_INT8) {
                y = scalar_ternary2(stored_dot(w, row, hi, 0, group), stored_dot(w, row, lo, 0, group), hi_scale[m],
                                    lo_scale[m], scales[0]);
            } else {
                for (uint32_t g = 0; g < n_groups; g++)
                    v[g] = scalar_fma((float)stored_dot(w, row, hi, g * group, (g + 1) * group), hi_scale[m],
                                      (float)stored_dot(w, row, lo, g * group, (g + 1) * group) * lo_scale[m]);
                y = reference_groups(v, scales, n_groups);
            }
            if (a->check_finite && !scalar_is_finite(y)) cpu_flag(o);
            ((float *)cpu_at(a->y))[(size_t)m * a->ld_y + r] = y;
        }
    }
}
