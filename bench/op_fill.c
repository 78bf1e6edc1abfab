// Values of op cases; see op_fill.h.
#include "op_fill.h"

#include <math.h>
#include <string.h>

#include "half.h"
#include "rng.h"

static uint64_t counter_of(uint32_t row, uint32_t column) { return (uint64_t)row << 32 | column; }

// Random values of mean 0 whose size depends on row and column, so that no two rows or columns can be mistaken.
static float plain_value(uint64_t seed, uint32_t row, uint32_t column)
{
    uint64_t i = counter_of(row, column);
    float unit = rng_unit(seed, 2 * i) + rng_unit(seed, 2 * i + 1) - 1.0f;
    return unit * (0.25f * (float)(1 + row % 5)) * (1.0f + 0.2f * (float)(column % 11));
}

float fill_value(op_recipe recipe, uint64_t seed, uint32_t row, uint32_t column, uint32_t n_columns)
{
    float x = plain_value(seed, row, column);
    switch (recipe) {
    case RECIPE_ZEROS: return 0.0f;
    case RECIPE_OUTLIER:
        return column == rng_u64(seed + 1, row) % n_columns ? (x < 0.0f ? x - 1.0f : x + 1.0f) * 1000.0f : x;
    case RECIPE_EXTREME: return x * 60.0f;
    case RECIPE_DENORMAL: return x * 1e-40f;
    case RECIPE_SMALL: return x * 1e-6f;
    case RECIPE_TIES: {
        uint64_t pick = rng_u64(seed, counter_of(row, column)) % 6;
        return pick == 5 ? -0.0f : (float)pick * 0.5f - 1.0f;
    }
    default: return x;
    }
}

int fill_code(op_recipe recipe, uint64_t seed, uint32_t row, uint32_t column, uint32_t n_columns)
{
    if (recipe == RECIPE_ZEROS) return 0;
    if (recipe == RECIPE_EXTREME) return row % 2 == 0 ? 127 : -127;
    uint64_t bits = rng_u64(seed, counter_of(row, column));
    if (recipe == RECIPE_OUTLIER) return column == rng_u64(seed + 1, row) % n_columns ? 127 : (int)(bits % 3) - 1;
    return (int)(bits % 255) - 127;
}

float fill_scale(op_recipe recipe, uint64_t seed, uint32_t i)
{
    float x = 0.004f + 0.02f * rng_unit(seed, i);
    return recipe == RECIPE_DENORMAL ? x * 1e-37f : recipe == RECIPE_SMALL ? x * 1e-6f : x;
}

tern_status fill_ternary_scale(const op_case *c, uint32_t n_rows, uint32_t n_cols, ternary_scale *out, tern_error *err)
{
    bool has_ranges = c->scale == SCALE_RANGES && n_rows >= 3;
    uint32_t n_sets = has_ranges ? 3 : c->scale == SCALE_ROWS ? n_rows : 1;
    ternary_scale scale = {0};
    tern_status status = ternary_scale_create(n_sets, has_ranges, c->group, n_cols, &scale, err);
    if (status != TERN_OK) return status;
    for (uint32_t i = 0; has_ranges && i < n_sets; i++) scale.set_begin[i] = (uint32_t)((uint64_t)n_rows * i / n_sets);
    // Subnormal a * w comes from subnormal weight scales alone, so that sums keep some magnitude.
    for (uint32_t i = 0; i < n_sets * scale.n_groups; i++) scale.values[i] = 50.0f * fill_scale(c->recipe, 77, i);
    *out = scale;
    return TERN_OK;
}

void fill_ternary_row(op_recipe recipe, uint64_t seed, uint32_t row, uint32_t n_cols, uint8_t *out)
{
    size_t n_bytes = ternary_row_bytes(n_cols);
    if (recipe == RECIPE_EXTREME) {
        memset(out, row % 4 == 3 ? 0x00 : 0xaa, n_bytes);
    } else {
        uint64_t bits = 0;
        for (size_t i = 0; i < n_bytes; i++) { // 16 random bits make the four trits of a byte
            if (i % 4 == 0) bits = rng_u64(seed, counter_of(row, (uint32_t)(i / 4)));
            unsigned byte = 0;
            for (int field = 0; field < 4; field++, bits >>= 4) byte |= (unsigned)(bits & 15) % 3 << 2 * field;
            out[i] = (uint8_t)byte;
        }
    }
    ternary_pad_row(out, n_cols);
}

static void store_half(uint8_t *to, float x)
{
    uint16_t half = (uint16_t)half_from_float(x);
    memcpy(to, &half, sizeof half);
}

// Offsets of the fp16 factors in a block: the other bytes may hold anything.
static void fill_block_factors(dense_type type, uint64_t seed, uint64_t i, uint8_t *block)
{
    float d = (rng_unit(seed, 2 * i) - 0.5f) * 0.02f;
    if (type == DENSE_Q8_0 || type == DENSE_Q4_0 || type == DENSE_Q4_K || type == DENSE_Q5_K) store_half(block, d);
    if (type == DENSE_Q4_K || type == DENSE_Q5_K) store_half(block + 2, rng_unit(seed, 2 * i + 1) * 0.02f);
    if (type == DENSE_Q6_K) store_half(block + 208, d);
}

// Codes of all values, or the largest for the largest sums; scales of the size that rows of a head have.
static void fill_integer_row(op_recipe recipe, dense_type type, uint64_t seed, uint32_t row, uint32_t n_cols,
                             uint8_t *out)
{
    size_t n_codes = dense_column_offset(type, n_cols);
    for (size_t i = 0; i < n_codes; i++) {
        uint64_t bits = rng_u64(seed, counter_of(row, (uint32_t)i));
        if (recipe == RECIPE_EXTREME) bits = type == DENSE_INT4 ? 0xff : row % 4 == 3 ? 0 : 254;
        out[i] = (uint8_t)(type == DENSE_INT4 ? bits : bits % 255 - 127);
    }
    if (type == DENSE_INT8) {
        float w = fill_scale(RECIPE_RANDOM, seed + 1, row);
        memcpy(out + n_codes, &w, sizeof w);
        return;
    }
    for (uint32_t g = 0; g < n_cols / DENSE_GROUP; g++)
        store_half(out + n_codes + 2 * (size_t)g, fill_scale(RECIPE_RANDOM, seed + 1, row * 1024 + g));
}

void fill_dense_row(op_recipe recipe, dense_type type, uint64_t seed, uint32_t row, uint32_t n_cols, uint8_t *out)
{
    if (type == DENSE_F32 || type == DENSE_F16 || type == DENSE_BF16) {
        for (uint32_t i = 0; i < n_cols; i++) {
            float x = plain_value(seed, row, i);
            uint16_t half = (uint16_t)(type == DENSE_F16 ? half_from_float(x) : bf16_from_float(x));
            if (type == DENSE_F32)
                memcpy(out + (size_t)i * 4, &x, 4);
            else
                memcpy(out + (size_t)i * 2, &half, 2);
        }
        return;
    }
    if (dense_is_integer(type)) {
        fill_integer_row(recipe, type, seed, row, n_cols, out);
        return;
    }
    size_t n_bytes = dense_row_bytes(type, n_cols), block_bytes = dense_formats[type].block_bytes;
    for (size_t i = 0; i < n_bytes; i++)
        out[i] = (uint8_t)(rng_u64(seed, counter_of(row, (uint32_t)(i / 8))) >> 8 * (i % 8));
    for (size_t i = 0; i < n_bytes / block_bytes; i++)
        fill_block_factors(type, seed + 1, counter_of(row, (uint32_t)i), out + i * block_bytes);
}

void fill_kv_slot(op_recipe recipe, uint64_t seed, int type, bool is_k, int head_dim, int slot, uint32_t row,
                  uint8_t *part)
{
    if (recipe == RECIPE_EXTREME) recipe = RECIPE_RANDOM; // the query alone makes the scores far apart
    for (int d = 0; type == KV_INT4 && d < head_dim; d++) {
        uint8_t *byte = part + kv_int4_byte(head_dim, slot, d);
        int code = fill_code(recipe, seed, row, (uint32_t)d, (uint32_t)head_dim) / 16 + 8; // 1 to 15
        *byte = (uint8_t)(d % 2 == 0 ? (*byte & 0xf0) | code : (*byte & 0x0f) | code << 4);
    }
    for (int g = 0; type == KV_INT4 && g < kv_int4_groups(head_dim); g++)
        store_half(part + kv_int4_scales(head_dim) + 2 * kv_int4_scale_index(slot, g),
                   16.0f * fill_scale(recipe, seed + 2, row * 64 + (uint32_t)g));
    if (type == KV_INT4) return;
    for (int d = 0; d < head_dim; d++) {
        size_t at = (size_t)(is_k ? kv_k_index(type, head_dim, slot, d) : kv_v_index(head_dim, slot, d));
        float x = fill_value(recipe, seed, row, (uint32_t)d, (uint32_t)head_dim);
        if (type == KV_F32)
            memcpy(part + at * 4, &x, 4);
        else if (type == KV_F16)
            store_half(part + at * 2, x);
        else
            part[at] = (uint8_t)(int8_t)fill_code(recipe, seed, row, (uint32_t)d, (uint32_t)head_dim);
    }
    if (type == KV_INT8) {
        float scale = fill_scale(recipe, seed + 2, row);
        memcpy(part + (size_t)KV_BLOCK * (size_t)head_dim + 4 * (size_t)slot, &scale, 4);
    }
}
