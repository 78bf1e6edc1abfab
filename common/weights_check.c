// What every backend asks of a matrix before it makes room for it.
#include "check.h"
#include "op_check.h"

static tern_status check_scale(const weights_desc *desc, tern_error *err)
{
    const ternary_scale *s = desc->scale;
    if (s->n_sets == 0 || s->group == 0)
        return error_set(err, TERN_INVALID_ARGUMENT, "weights: the scale has %u sets of groups of %u columns",
                         s->n_sets, s->group);
    uint32_t n_groups = desc->n_cols / s->group + (desc->n_cols % s->group != 0);
    if (s->n_groups != n_groups)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "weights: the scale has %u groups of %u columns, %u columns make %u", s->n_groups, s->group,
                         desc->n_cols, n_groups);
    if (s->set_begin == NULL) {
        if (s->n_sets == 1 || s->n_sets == desc->n_rows) return TERN_OK;
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "weights: the scale has %u sets without row ranges, expected 1 or %u", s->n_sets,
                         desc->n_rows);
    }
    for (uint32_t i = 0; i < s->n_sets; i++)
        if (i == 0 ? s->set_begin[0] != 0 : s->set_begin[i] <= s->set_begin[i - 1] || s->set_begin[i] >= desc->n_rows)
            return error_set(err, TERN_INVALID_ARGUMENT,
                             "weights: scale set %u begins at row %u of %u; sets begin at 0 and "
                             "ascend",
                             i, s->set_begin[i], desc->n_rows);
    return TERN_OK;
}

tern_status weights_check(const weights_desc *desc, uint64_t *scale_bytes, tern_error *err)
{
    if (desc->n_rows == 0 || desc->n_cols == 0 || desc->n_rows > INT32_MAX || desc->n_cols > INT32_MAX)
        return error_set(err, TERN_INVALID_ARGUMENT, "weights: a matrix of %u rows and %u columns", desc->n_rows,
                         desc->n_cols);
    if (desc->is_ternary && (unsigned)desc->layout >= TERNARY_N_LAYOUTS)
        return error_set(err, TERN_INVALID_ARGUMENT, "weights: ternary layout %d does not exist", (int)desc->layout);
    if ((unsigned)desc->place > WEIGHTS_IN_SLOT || (desc->place == WEIGHTS_IN_SLOT) != (desc->slot != NULL))
        return error_set(err, TERN_INVALID_ARGUMENT, "weights: place %d %s a slot", (int)desc->place,
                         desc->slot != NULL ? "with" : "without");
    *scale_bytes = 0;
    if (!desc->is_ternary) {
        if ((unsigned)desc->type >= DENSE_N_TYPES)
            return error_set(err, TERN_INVALID_ARGUMENT, "weights: dense type %d does not exist", (int)desc->type);
        const dense_format *format = &dense_formats[desc->type];
        if (dense_is_integer(desc->type) && desc->n_cols > DENSE_INTEGER_MAX_COLUMNS)
            return error_set(err, TERN_DEVICE_UNSUPPORTED, "weights: %u columns of %s, at most %u are supported",
                             desc->n_cols, format->name, DENSE_INTEGER_MAX_COLUMNS);
        if (desc->n_cols % format->block == 0) return TERN_OK;
        return error_set(err, TERN_INVALID_ARGUMENT, "weights: %u columns are not whole blocks of %s (%u)",
                         desc->n_cols, format->name, format->block);
    }
    if (desc->n_cols > TERNARY_MAX_COLUMNS)
        return error_set(err, TERN_DEVICE_UNSUPPORTED,
                         "weights: %u ternary columns, at most %u are summed exactly in 32 bits", desc->n_cols,
                         TERNARY_MAX_COLUMNS);
    uint64_t n_sets = 1, n_groups = 1;
    if (desc->scale != NULL) {
        tern_status status = check_scale(desc, err);
        if (status != TERN_OK) return status;
        n_sets = desc->scale->n_sets;
        n_groups = desc->scale->n_groups;
        if (desc->layout == TERNARY_T80 && n_groups > 1)
            return error_set(err, TERN_UNSUPPORTED,
                             "weights: T80 holds matrices with one scale along K; this one has a scale for every %u "
                             "columns: use T64",
                             desc->scale->group);
        if (desc->scale->set_begin != NULL) *scale_bytes += n_sets * sizeof(uint32_t);
    }
    *scale_bytes += n_sets * n_groups * sizeof(float); // below 2^31 * 2^20 * 4
    return TERN_OK;
}

tern_status weights_check_copy(const weights_desc *to, const weights_desc *from, bool is_alike, tern_error *err)
{
    if (to->place != WEIGHTS_IN_SLOT || from->place != WEIGHTS_ON_HOST)
        return error_set(err, TERN_INVALID_ARGUMENT, "weights_copy: from a matrix on the host to one in a slot only");
    if (is_alike && to->n_rows == from->n_rows && to->n_cols == from->n_cols && to->is_ternary == from->is_ternary &&
        to->layout == from->layout && to->type == from->type)
        return TERN_OK;
    return error_set(err, TERN_INVALID_ARGUMENT,
                     "weights_copy: from %u rows of %u columns to %u of %u, or in another form or on another device",
                     from->n_rows, from->n_cols, to->n_rows, to->n_cols);
}

tern_status weights_check_rows(const weights_desc *shape, uint32_t first, uint32_t count, const uint8_t *rows,
                               tern_error *err)
{
    if (!check_range(first, count, shape->n_rows))
        return error_set(err, TERN_INVALID_ARGUMENT, "weights: rows %u to %llu of a matrix of %u", first,
                         (unsigned long long)first + count, shape->n_rows);
    for (uint32_t r = 0; rows != NULL && shape->is_ternary && r < count; r++)
        if (!ternary_row_is_valid(rows + r * ternary_row_bytes(shape->n_cols), ternary_padded(shape->n_cols)))
            return error_set(err, TERN_INVALID_ARGUMENT, "weights: row %u holds code 3; codes are 0, 1 and 2",
                             first + r);
    return TERN_OK;
}
