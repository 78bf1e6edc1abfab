// Float tensors whose values are ternary (FORMATS.md 2.14, 4.6): what TriLM, Falcon-E and unpacked Bonsai checkpoints
// hold.
//
// A matrix counts as ternary only when it is exactly so: the magnitudes of its values, as bit patterns, are zero or one
// other pattern in each stretch of 64 columns of a row. A matrix of trained floats fails at its first stretch. The
// table of these magnitudes then tells which rows and columns share a scale.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "matrix_encodings.h"
#include "scalar.h"

#define STRETCH 64u

static uint32_t element_bytes(dense_type type) { return type == DENSE_F32 ? 4 : 2; }

static float pattern_value(dense_type type, uint32_t bits)
{
    return type == DENSE_F32 ? scalar_as_float(bits) : type == DENSE_F16 ? half_to_float(bits) : bf16_to_float(bits);
}

// The magnitude that all nonzero elements share, or 0; false when there are two. If there is one, it is the union of
// all bits. The element loops are simple so that the compiler makes them wide.
static bool stretch_16(const uint8_t *in, uint32_t n, uint32_t *out)
{
    uint16_t x[STRETCH] = {0}, all = 0, others = 0;
    memcpy(x, in, 2 * (size_t)n);
    for (uint32_t i = 0; i < STRETCH; i++) all |= x[i] &= 0x7fff;
    for (uint32_t i = 0; i < STRETCH; i++) others |= x[i] == all ? 0 : x[i];
    *out = all;
    return others == 0;
}

static bool stretch_32(const uint8_t *in, uint32_t n, uint32_t *out)
{
    uint32_t x[STRETCH] = {0}, all = 0, others = 0;
    memcpy(x, in, 4 * (size_t)n);
    for (uint32_t i = 0; i < STRETCH; i++) all |= x[i] &= 0x7fffffff;
    for (uint32_t i = 0; i < STRETCH; i++) others |= x[i] == all ? 0 : x[i];
    *out = all;
    return others == 0;
}

// Magnitudes by row and stretch.
typedef struct magnitudes {
    uint32_t *values;
    uint32_t n_rows, n_cols, n_stretches;
} magnitudes;

// One row of the table; false when the row is not ternary.
static bool scan_row(const matrix_source *m, uint32_t row, uint32_t *out)
{
    uint32_t bytes = element_bytes(m->dense);
    const uint8_t *in = m->weights->data + (size_t)row * m->n_cols * bytes;
    for (uint32_t c = 0; c < m->n_cols; c += STRETCH, in += (size_t)STRETCH * bytes) {
        uint32_t n = m->n_cols - c < STRETCH ? m->n_cols - c : STRETCH;
        bool is_one = bytes == 2 ? stretch_16(in, n, out) : stretch_32(in, n, out);
        if (!is_one || (*out != 0 && !isfinite(pattern_value(m->dense, *out)))) return false;
        out++;
    }
    return true;
}

// The one magnitude of a rectangle of the table, 0 if there is none; false when there are two.
static bool one_magnitude(const magnitudes *t, uint32_t row, uint32_t n_rows, uint32_t stretch, uint32_t n_stretches,
                          uint32_t *out)
{
    uint32_t found = 0;
    for (uint32_t r = row; r < row + n_rows; r++)
        for (uint32_t s = stretch; s < stretch + n_stretches; s++) {
            uint32_t value = t->values[(size_t)r * t->n_stretches + s];
            if (value == 0 || value == found) continue;
            if (found != 0) return false;
            found = value;
        }
    *out = found;
    return true;
}

// Whether every row has one magnitude; then rows[r] is it, and rows without one take their predecessor's.
static bool find_rows(const magnitudes *t, uint32_t *rows, uint32_t *n_ranges)
{
    *n_ranges = 1;
    uint32_t last = 0;
    for (uint32_t r = 0; r < t->n_rows; r++) {
        if (!one_magnitude(t, r, 1, 0, t->n_stretches, &rows[r])) return false;
        if (rows[r] == 0) rows[r] = last;
        if (last != 0 && rows[r] != last) ++*n_ranges;
        last = rows[r];
    }
    return true;
}

static tern_status row_scale(const matrix_source *m, const uint32_t *rows, uint32_t n_ranges, ternary_scale *out,
                             tern_error *err)
{
    uint32_t first = 0;
    while (first + 1 < m->n_rows && rows[first] == 0) first++;
    if (n_ranges == 1) return ternary_scale_tensor(pattern_value(m->dense, rows[m->n_rows - 1]), m->n_cols, out, err);
    bool is_per_row = n_ranges > MATRIX_MAX_RANGES || n_ranges == m->n_rows;
    tern_status status = ternary_scale_create(is_per_row ? m->n_rows : n_ranges, !is_per_row, 0, m->n_cols, out, err);
    if (status != TERN_OK) return status;
    uint32_t set = 0, last = rows[first]; // leading rows of zeros belong to the first range
    for (uint32_t r = 0; r < m->n_rows; r++) {
        uint32_t bits = r < first ? rows[first] : rows[r];
        if (bits != last) {
            set++;
            last = bits;
            if (!is_per_row) out->set_begin[set] = r;
        }
        out->values[is_per_row ? r : set] = pattern_value(m->dense, bits);
    }
    return TERN_OK;
}

// Column ranges of equal width, the fewest that explain the table: 0 when there are none.
static uint32_t find_column_ranges(const magnitudes *t)
{
    uint32_t value;
    for (uint32_t n = 2; n <= t->n_stretches; n++) {
        if (t->n_cols % n != 0 || t->n_cols / n % STRETCH != 0) continue;
        uint32_t width = t->n_cols / n / STRETCH, i = 0;
        while (i < n && one_magnitude(t, 0, t->n_rows, i * width, width, &value)) i++;
        if (i == n) return n;
    }
    return 0;
}

// Stretches per group of columns in each row: 4, 2 or 1.
static uint32_t find_group(const magnitudes *t)
{
    uint32_t value;
    for (uint32_t width = 4; width > 1; width /= 2) {
        bool fits = t->n_cols % (width * STRETCH) == 0;
        for (uint32_t r = 0; r < t->n_rows && fits; r++)
            for (uint32_t s = 0; s < t->n_stretches && fits; s += width)
                fits = one_magnitude(t, r, 1, s, width, &value);
        if (fits) return width;
    }
    return 1;
}

// Scales of rectangles: all rows (is_shared) or each row, `width` stretches wide.
static tern_status group_scale(const matrix_source *m, const magnitudes *t, bool is_shared, uint32_t width,
                               ternary_scale *out, tern_error *err)
{
    uint32_t n_sets = is_shared ? 1 : m->n_rows, height = is_shared ? m->n_rows : 1;
    tern_status status = ternary_scale_create(n_sets, false, width * STRETCH, m->n_cols, out, err);
    for (uint32_t s = 0; s < n_sets && status == TERN_OK; s++)
        for (uint32_t g = 0; g < out->n_groups; g++) {
            uint32_t bits = 0, left = t->n_stretches - g * width;
            (void)one_magnitude(t, s, height, g * width, left < width ? left : width, &bits);
            out->values[(size_t)s * out->n_groups + g] = pattern_value(m->dense, bits);
        }
    return status;
}

// The simplest descriptor that explains the table: rows first, then columns, then both.
static tern_status describe(const matrix_source *m, const magnitudes *t, uint32_t *rows, ternary_scale *out,
                            tern_error *err)
{
    uint32_t n_ranges = 0;
    if (find_rows(t, rows, &n_ranges)) return row_scale(m, rows, n_ranges, out, err);
    uint32_t n = find_column_ranges(t);
    if (n != 0) return group_scale(m, t, true, t->n_cols / n / STRETCH, out, err);
    return group_scale(m, t, false, find_group(t), out, err);
}

tern_status matrix_find_ternary(const matrix_source *m, bool *is_ternary, ternary_scale *out, tern_error *err)
{
    *is_ternary = false;
    if (m->encoding != MATRIX_DENSE || m->weights == NULL || m->n_cols < STRETCH ||
        (m->dense != DENSE_F32 && m->dense != DENSE_F16 && m->dense != DENSE_BF16))
        return TERN_OK;
    uint32_t probe = 0;
    const uint8_t *in = m->weights->data;
    if (!(m->dense == DENSE_F32 ? stretch_32(in, STRETCH, &probe) : stretch_16(in, STRETCH, &probe))) return TERN_OK;

    magnitudes t = {
        .n_rows = m->n_rows, .n_cols = m->n_cols, .n_stretches = m->n_cols / STRETCH + (m->n_cols % STRETCH != 0)};
    t.values = calloc((size_t)t.n_rows * t.n_stretches, sizeof *t.values);
    uint32_t *rows = calloc(t.n_rows, sizeof *rows);
    bool fits = true, has_any = false;
    tern_status status = t.values == NULL || rows == NULL
                             ? error_set(err, TERN_HOST_MEMORY, "%s: no memory to examine its values", m->name)
                             : TERN_OK;
    for (uint32_t r = 0; r < t.n_rows && fits && status == TERN_OK; r++) {
        uint32_t *row = t.values + (size_t)r * t.n_stretches;
        fits = scan_row(m, r, row);
        for (uint32_t s = 0; s < t.n_stretches && fits && !has_any; s++) has_any = row[s] != 0;
    }
    if (status == TERN_OK && fits && has_any) { // a matrix of zeros says nothing and stays as it is
        status = describe(m, &t, rows, out, err);
        *is_ternary = status == TERN_OK;
    }
    free(rows);
    free(t.values);
    return status;
}

tern_status float_scale(const matrix_source *m, ternary_scale *out, tern_error *err)
{
    const ternary_scale *from = m->found;
    ternary_scale copy;
    tern_status status = ternary_scale_create(from->n_sets, from->set_begin != NULL,
                                              from->n_groups == 1 ? 0 : from->group, m->n_cols, &copy, err);
    if (status != TERN_OK) return status;
    memcpy(copy.values, from->values, (size_t)from->n_sets * from->n_groups * sizeof *copy.values);
    if (from->set_begin != NULL) memcpy(copy.set_begin, from->set_begin, from->n_sets * sizeof *copy.set_begin);
    *out = copy;
    return TERN_OK;
}

// A code from the magnitude and the sign bit, without branches so that loops over it can be wide.
static inline uint8_t code_of(uint32_t magnitude, uint32_t is_negative)
{
    uint32_t is_nonzero = magnitude != 0;
    return (uint8_t)(1 + is_nonzero - 2 * (is_nonzero & is_negative));
}

void float_row(const matrix_source *m, uint32_t row, uint8_t *out)
{
    uint32_t bytes = element_bytes(m->dense);
    const uint8_t *in = m->weights->data + (size_t)row * m->n_cols * bytes;
    for (uint32_t c = 0; c < m->n_cols; c += STRETCH, in += (size_t)STRETCH * bytes, out += STRETCH / 4) {
        uint32_t n = m->n_cols - c < STRETCH ? m->n_cols - c : STRETCH;
        uint8_t codes[STRETCH];
        if (bytes == 2) {
            uint16_t x[STRETCH] = {0};
            memcpy(x, in, 2 * (size_t)n);
            for (uint32_t i = 0; i < STRETCH; i++) codes[i] = code_of(x[i] & 0x7fffu, x[i] >> 15);
        } else {
            uint32_t x[STRETCH] = {0};
            memcpy(x, in, 4 * (size_t)n);
            for (uint32_t i = 0; i < STRETCH; i++) codes[i] = code_of(x[i] & 0x7fffffffu, x[i] >> 31);
        }
        for (uint32_t i = 0; i < STRETCH / 4; i++) out[i] = gather_codes(load_word(codes + 4 * i), 0);
    }
}
