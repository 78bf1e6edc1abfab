// Canonical ternary rows and their scale descriptor. The packed layout is in t64.c.
#include "ternary.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

// The low bit of every 2-bit field of a byte.
#define LOW_BITS 0x55u

tern_status ternary_scale_create(uint32_t n_sets, bool has_ranges, uint32_t group, uint32_t n_cols, ternary_scale *out,
                                 tern_error *err)
{
    if (n_sets == 0 || n_cols == 0)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "ternary scale of %u sets over %u columns: both must be at least 1", n_sets, n_cols);
    ternary_scale scale = {.n_sets = n_sets, .group = group == 0 ? n_cols : group, .n_groups = 1};
    if (group != 0) scale.n_groups = n_cols / group + (n_cols % group != 0);

    uint64_t n_values;
    if (!check_mul(n_sets, scale.n_groups, &n_values) || n_values > SIZE_MAX / 2 / sizeof(float))
        return error_set(err, TERN_HOST_MEMORY, "ternary scale: %u sets of %u values do not fit memory", n_sets,
                         scale.n_groups);
    scale.values = calloc((size_t)n_values, sizeof(float));
    if (has_ranges) scale.set_begin = calloc(n_sets, sizeof(uint32_t));
    if (scale.values == NULL || (has_ranges && scale.set_begin == NULL)) {
        free(scale.values);
        free(scale.set_begin);
        return error_set(err, TERN_HOST_MEMORY, "ternary scale: no memory for %u sets of %u values", n_sets,
                         scale.n_groups);
    }
    *out = scale;
    return TERN_OK;
}

tern_status ternary_scale_tensor(float value, uint32_t n_cols, ternary_scale *out, tern_error *err)
{
    tern_status status = ternary_scale_create(1, false, 0, n_cols, out, err);
    if (status == TERN_OK) out->values[0] = value;
    return status;
}

void ternary_scale_free(ternary_scale *scale)
{
    if (scale == NULL) return;
    free(scale->set_begin);
    free(scale->values);
    *scale = (ternary_scale){0};
}

uint32_t ternary_scale_set(const ternary_scale *scale, uint32_t row)
{
    if (scale->set_begin == NULL) return scale->n_sets == 1 ? 0 : row;
    uint32_t low = 0, high = scale->n_sets; // set_begin[low] <= row < set_begin[high]
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (scale->set_begin[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

bool ternary_scale_equal(const ternary_scale *a, const ternary_scale *b)
{
    if (a->n_sets != b->n_sets || a->n_groups != b->n_groups) return false;
    if (a->n_groups > 1 && a->group != b->group) return false;
    if ((a->set_begin == NULL) != (b->set_begin == NULL)) return false;
    if (a->set_begin != NULL && memcmp(a->set_begin, b->set_begin, a->n_sets * sizeof(uint32_t)) != 0) return false;
    return memcmp(a->values, b->values, (size_t)a->n_sets * a->n_groups * sizeof(float)) == 0;
}

void ternary_pad_row(uint8_t *row, uint32_t n_cols)
{
    size_t n_bytes = ternary_row_bytes(n_cols);
    size_t full = n_cols / 4; // bytes without padding
    uint32_t used = n_cols % 4;
    if (used != 0) {
        uint32_t keep = (1u << (2 * used)) - 1;
        row[full] = (uint8_t)((row[full] & keep) | (LOW_BITS & ~keep));
        full++;
    }
    memset(row + full, LOW_BITS, n_bytes - full);
}

bool ternary_row_is_valid(const uint8_t *row, uint32_t n_cols)
{
    // A field is 3 where both its bits are set.
    uint32_t bad = 0;
    for (size_t i = 0; i < n_cols / 4; i++) bad |= row[i] & (uint32_t)(row[i] >> 1) & LOW_BITS;
    for (uint32_t c = n_cols / 4 * 4; c < n_cols; c++) bad |= ternary_code(row, c) == 3;
    return bad == 0;
}

uint64_t ternary_row_zeros(const uint8_t *row, uint32_t n_cols)
{
    uint64_t zeros = 0;
    for (size_t i = 0; i < n_cols / 4; i++) {
        uint32_t is_one = row[i] & ~(uint32_t)(row[i] >> 1) & LOW_BITS; // code 1: low bit set, high bit clear
        is_one = (is_one & 0x33u) + (is_one >> 2 & 0x33u);
        zeros += (is_one & 0x0fu) + (is_one >> 4);
    }
    for (uint32_t c = n_cols / 4 * 4; c < n_cols; c++) zeros += ternary_code(row, c) == 1;
    return zeros;
}
