// TQ1_0 and TQ2_0 (formats.md 2.7, 2.8): blocks of 256 elements of one row with an fp16 scale in the last two bytes.
#include <string.h>

#include "half.h"
#include "matrix_encodings.h"

#define TQ1_BYTES 54u
#define TQ2_BYTES 66u

static size_t block_bytes(const matrix_source *m) { return m->encoding == MATRIX_TQ1_0 ? TQ1_BYTES : TQ2_BYTES; }

static float block_scale(const uint8_t *block, size_t n_bytes)
{
    return half_to_float(block[n_bytes - 2] | (uint32_t)block[n_bytes - 1] << 8);
}

tern_status tq_scale(const matrix_source *m, ternary_scale *out, tern_error *err)
{
    size_t n_bytes = block_bytes(m);
    size_t n = (size_t)m->n_rows * (m->n_cols / TQ_BLOCK);
    const uint8_t *data = m->weights->data;
    float common = 0.0f;
    bool is_common = true;
    for (size_t i = 0; i < n && is_common; i++) {
        float d = block_scale(data + i * n_bytes, n_bytes);
        if (d == 0.0f) continue;
        if (common == 0.0f) common = d;
        is_common = d == common; // false for NaN too, which the caller's check of all values then finds
    }
    if (is_common) return ternary_scale_tensor(common, m->n_cols, out, err);
    tern_status status = ternary_scale_create(m->n_rows, false, TQ_BLOCK, m->n_cols, out, err);
    if (status != TERN_OK) return status;
    for (size_t i = 0; i < n; i++) {
        float d = block_scale(data + i * n_bytes, n_bytes);
        out->values[i] = d == 0.0f ? 0.0f : d; // no negative zero
    }
    return TERN_OK;
}

// Digit n of a byte that holds base-3 digits, most significant first: 8-bit wrap on purpose.
static uint8_t base3_digit(uint8_t byte, unsigned n)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    unsigned p = (byte * power[n]) & 0xffu;
    return (uint8_t)(p * 3 >> 8);
}

static void decode_tq1(const uint8_t *block, uint8_t *out)
{
    uint8_t codes[TQ_BLOCK];
    const uint8_t *high = block + 48;
    for (unsigned n = 0; n < 5; n++)
        for (unsigned m = 0; m < 32; m++) codes[32 * n + m] = base3_digit(block[m], n);
    for (unsigned n = 0; n < 5; n++)
        for (unsigned m = 0; m < 16; m++) codes[160 + 16 * n + m] = base3_digit(block[32 + m], n);
    for (unsigned n = 0; n < 4; n++)
        for (unsigned j = 0; j < 4; j++) codes[240 + 4 * n + j] = base3_digit(high[j], n);
    for (unsigned i = 0; i < TQ_BLOCK / 4; i++) out[i] = join_codes(codes + 4 * i);
}

// Two halves of 128 elements; element 128h + 32l + m is field l of byte 32h + m.
static void decode_tq2(const uint8_t *block, uint8_t *out)
{
    for (unsigned h = 0; h < 2; h++)
        for (unsigned l = 0; l < 4; l++)
            for (unsigned j = 0; j < 8; j++)
                out[32 * h + 8 * l + j] = gather_codes(load_word(block + 32 * h + 4 * j), 2 * l);
}

void tq_row(const matrix_source *m, uint32_t row, uint8_t *out)
{
    size_t n_bytes = block_bytes(m);
    uint32_t n_blocks = m->n_cols / TQ_BLOCK;
    const uint8_t *block = m->weights->data + (size_t)row * n_blocks * n_bytes;
    for (uint32_t i = 0; i < n_blocks; i++, block += n_bytes, out += TQ_BLOCK / 4) {
        if (block_scale(block, n_bytes) == 0.0f)
            memset(out, 0x55, TQ_BLOCK / 4); // its weights are zero whatever the codes say
        else if (m->encoding == MATRIX_TQ1_0)
            decode_tq1(block, out);
        else
            decode_tq2(block, out);
    }
}
