// Encodings in blocks of one row with an fp16 scale in each (FORMATS.md 2.7, 2.8, 2.11): TQ1_0, TQ2_0, Q2_0, PQ2_0,
// PTQ1_0.
//
// Base-3 bytes hold their digits as ceil(256 * index / 243), so that the digits come out by multiplication.
#include <string.h>

#include "half.h"
#include "matrix_encodings.h"

// One digit of a base-3 byte, n = 0 the most significant: 8-bit wrap on purpose.
static uint8_t base3_digit(uint8_t byte, unsigned n)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    unsigned p = (byte * power[n]) & 0xffu;
    return (uint8_t)(p * 3 >> 8);
}

// n_bytes bytes of n_digits digits: digit n of byte j is element n * n_bytes + j.
static void spread_digits(const uint8_t *in, unsigned n_bytes, unsigned n_digits, uint8_t *codes)
{
    for (unsigned n = 0; n < n_digits; n++)
        for (unsigned j = 0; j < n_bytes; j++) codes[n * n_bytes + j] = base3_digit(in[j], n);
}

static void join_block(const uint8_t *codes, unsigned n, uint8_t *out)
{
    for (unsigned i = 0; i < n / 4; i++) out[i] = join_codes(codes + 4 * i);
}

static void decode_tq1(const uint8_t *block, uint8_t *out)
{
    uint8_t codes[256];
    spread_digits(block, 32, 5, codes);
    spread_digits(block + 32, 16, 5, codes + 160);
    spread_digits(block + 48, 4, 4, codes + 240);
    join_block(codes, 256, out);
}

static void decode_ptq1(const uint8_t *block, uint8_t *out)
{
    uint8_t codes[128];
    spread_digits(block, 16, 5, codes);
    spread_digits(block + 16, 8, 5, codes + 80);
    spread_digits(block + 24, 2, 4, codes + 120);
    join_block(codes, 128, out);
}

// Two halves of 128 elements; element 128h + 32l + m is field l of byte 32h + m.
static void decode_tq2(const uint8_t *block, uint8_t *out)
{
    for (unsigned h = 0; h < 2; h++)
        for (unsigned l = 0; l < 4; l++)
            for (unsigned j = 0; j < 8; j++)
                out[32 * h + 8 * l + j] = gather_codes(load_word(block + 32 * h + 4 * j), 2 * l);
}

// Behind the scale: the canonical form.
static void decode_q2_64(const uint8_t *block, uint8_t *out) { memcpy(out, block + 2, 16); }
static void decode_q2_128(const uint8_t *block, uint8_t *out) { memcpy(out, block + 2, 32); }

typedef struct block_format {
    uint32_t n_cols, n_bytes, scale_at; // elements and bytes of a block; where its scale stands
    void (*decode)(const uint8_t *block, uint8_t *out);
} block_format;

static const block_format *format_of(const matrix_source *m)
{
    static const block_format tq1 = {256, 54, 52, decode_tq1}, tq2 = {256, 66, 64, decode_tq2},
                              q2_64 = {64, 18, 0, decode_q2_64}, q2_128 = {128, 34, 0, decode_q2_128},
                              ptq1 = {128, 28, 26, decode_ptq1};
    switch (m->encoding) {
    case MATRIX_TQ1_0: return &tq1;
    case MATRIX_TQ2_0: return &tq2;
    case MATRIX_Q2_0_64: return &q2_64;
    case MATRIX_Q2_0_128: return &q2_128;
    default: return &ptq1;
    }
}

static float block_scale(const block_format *f, const uint8_t *block)
{
    return half_to_float(block[f->scale_at] | (uint32_t)block[f->scale_at + 1] << 8);
}

tern_status blocks_scale(const matrix_source *m, ternary_scale *out, tern_error *err)
{
    const block_format *f = format_of(m);
    size_t n = (size_t)m->n_rows * (m->n_cols / f->n_cols);
    const uint8_t *data = m->weights->data;
    float common = 0.0f;
    bool is_common = true;
    for (size_t i = 0; i < n && is_common; i++) {
        float d = block_scale(f, data + i * f->n_bytes);
        if (d == 0.0f) continue;
        if (common == 0.0f) common = d;
        is_common = d == common; // false for NaN too, which the caller's check of all values then finds
    }
    if (is_common) return ternary_scale_tensor(common, m->n_cols, out, err);
    tern_status status = ternary_scale_create(m->n_rows, false, f->n_cols, m->n_cols, out, err);
    if (status != TERN_OK) return status;
    for (size_t i = 0; i < n; i++) {
        float d = block_scale(f, data + i * f->n_bytes);
        out->values[i] = d == 0.0f ? 0.0f : d; // no negative zero
    }
    return TERN_OK;
}

void blocks_row(const matrix_source *m, uint32_t row, uint8_t *out)
{
    const block_format *f = format_of(m);
    uint32_t n_blocks = m->n_cols / f->n_cols;
    const uint8_t *block = m->weights->data + (size_t)row * n_blocks * f->n_bytes;
    for (uint32_t i = 0; i < n_blocks; i++, block += f->n_bytes, out += f->n_cols / 4) {
        if (block_scale(f, block) == 0.0f)
            memset(out, 0x55, f->n_cols / 4); // its weights are zero whatever the codes say
        else
            f->decode(block, out);
    }
}
