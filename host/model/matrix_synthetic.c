// Random weights of a named geometry, made from counters: any row can be made alone, in any order, anywhere.
//
// A canonical row is made 8 bytes at a time: word w of row r is the counter r * (words per row) + w, and each code is
// the number of set bits of two random bits, so -1, 0, +1 come with probabilities 1/4, 1/2, 1/4. With the tensor scale
// sqrt(2/K) a product of unit-variance activations has unit variance, so activations neither vanish nor overflow.
// Dense elements are F16, uniform in +-sqrt(3/K): unit variance of a logit for a normalised state.
#include "half.h"
#include "matrix_encodings.h"
#include "rng.h"
#include "scalar.h"

tern_status synthetic_scale(const matrix_source *m, ternary_scale *out, tern_error *err)
{
    return ternary_scale_tensor(scalar_sqrt(scalar_div(2.0f, (float)m->n_cols)), m->n_cols, out, err);
}

void synthetic_row(const matrix_source *m, uint32_t row, uint8_t *out)
{
    size_t n_words = ternary_row_bytes(m->n_cols) / 8;
    for (size_t w = 0; w < n_words; w++) {
        uint64_t bits = rng_u64(m->seed, row * n_words + w);
        uint64_t codes = (bits & 0x5555555555555555u) + (bits >> 1 & 0x5555555555555555u);
        for (unsigned i = 0; i < 8; i++) out[8 * w + i] = (uint8_t)(codes >> (8 * i));
    }
}

void synthetic_dense_row(const matrix_source *m, uint32_t row, uint8_t *out)
{
    float width = 2.0f * scalar_sqrt(scalar_div(3.0f, (float)m->n_cols));
    for (uint32_t c = 0; c < m->n_cols; c++) {
        uint32_t bits = half_from_float((rng_unit(m->seed, (uint64_t)row * m->n_cols + c) - 0.5f) * width);
        out[2 * c] = (uint8_t)bits;
        out[2 * c + 1] = (uint8_t)(bits >> 8);
    }
}
