// How far fast attention may be from attention, for the operands of a case; see op_data.h.
#include <math.h>
#include <string.h>

#include "half.h"
#include "op_data.h"

static const uint8_t *region_bytes(const op_data *d, const char *name)
{
    for (size_t i = 0; i < d->n_regions; i++)
        if (strcmp(d->regions[i].name, name) == 0) return d->regions[i].before;
    return NULL;
}

// Whether the rows of the window that holds `row` are half of it at least and of one table.
static bool is_in_window(const op_case *c, uint32_t row)
{
    uint32_t first = row / FAST_ATTENTION_WINDOW * FAST_ATTENTION_WINDOW;
    uint32_t n = c->m - first < FAST_ATTENTION_WINDOW ? c->m - first : FAST_ATTENTION_WINDOW;
    for (uint32_t i = 1; i < n; i++)
        if (op_case_table(c, first + i) != op_case_table(c, first)) return false;
    return n >= FAST_ATTENTION_WINDOW / 2;
}

static double half_at(const uint8_t *part, int index)
{
    uint16_t bits;
    memcpy(&bits, part + 2 * (size_t)index, sizeof bits);
    return half_to_float(bits);
}

// The largest scale * sum |q_d k_jd| that a head meets, and of each column the largest |v_jd|.
static double head_extremes(const op_data *d, uint32_t row, uint32_t head, double *v_max)
{
    const op_case *c = d->c;
    int hd = (int)c->head_dim;
    uint32_t kv_head = head / (c->n_heads / c->n_kv_heads);
    const float *q = (const float *)(const void *)region_bytes(d, "q") + (size_t)row * d->op.attention.ld_q +
                     (size_t)head * c->head_dim;
    const uint8_t *cache = region_bytes(d, "cache");
    const int32_t *table = (const int32_t *)(const void *)region_bytes(d, "tables") +
                           (size_t)op_case_table(c, row) * d->op.attention.rows.table_ld;
    size_t block_bytes = (size_t)kv_block_bytes(c->k_type, c->v_type, (int)c->n_kv_heads, hd);
    size_t head_bytes = (size_t)kv_head_bytes(c->k_type, c->v_type, hd);
    double q_max = 0.0, score_max = 0.0;
    for (int i = 0; i < hd; i++) q_max = fmax(q_max, fabs((double)q[i]));
    for (uint32_t p = 0; p <= op_case_position(c, row); p++) {
        int slot = (int)(p % KV_BLOCK);
        const uint8_t *k = cache + (size_t)table[p / KV_BLOCK] * block_bytes + kv_head * head_bytes;
        const uint8_t *v = k + kv_part_bytes(c->k_type, hd);
        double score = 0.0;
        for (int i = 0; i < hd; i++) {
            score += fmax(fabs((double)q[i]), q_max * 0x1p-29) * fabs(half_at(k, kv_k_index(KV_F16, hd, slot, i)));
            v_max[i] = fmax(v_max[i], fabs(half_at(v, kv_v_index(hd, slot, i))));
        }
        score_max = fmax(score_max, score / sqrt((double)hd));
    }
    return score_max;
}

void op_data_tolerances(const op_data *d, uint32_t row, double *out)
{
    const op_case *c = d->c;
    for (size_t i = 0; i < (size_t)c->n_heads * c->head_dim; i++) out[i] = 0.0;
    if (!is_in_window(c, row)) return;
    for (uint32_t head = 0; head < c->n_heads; head++, out += c->head_dim) {
        double a = head_extremes(d, row, head, out);
        double length = fmax(1.0, (op_case_position(c, row) + 1) * 0x1p-16);
        for (uint32_t i = 0; i < c->head_dim; i++) out[i] *= (double)FAST_ATTENTION_TOLERANCE * (1.0 + a) * length;
    }
}
