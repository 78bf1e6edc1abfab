// Kullback-Leibler divergence between two runs over the same tokens: how much a cheaper form of a model (another KV
// type, packing, device) changes what it predicts, token by token.
//
// The first run writes a base file, the second reads it. Little-endian; no padding but where named:
//     char[8]   "TERNKL1\n"
//     char[64]  SHA-256 of the text, hex
//     char[128] name of the model, NUL-padded
//     u32       n_vocab, n_ctx, n_chunks; i32 bos (-1: none)
//     i32       tokens [n_chunks][n_ctx]
//     per scored token, in perplexity.h's order:
//         f32 nll          -ln p of the token that followed
//         u32 top          the likeliest token, the lowest id of equals
//         f32 step         p_i is proportional to exp(-step code_i)
//         u16 code[n_vocab], and one more of 0 if n_vocab is odd
// A code is (largest logit - logit) / step, rounded; step spreads them over the row's range, at most KL_RANGE nats.
// Both runs are coded in this way before they are compared, so that equal logits give exactly 0, and both are
// normalised after it, so that no divergence is negative.
#ifndef TERN_BENCH_KL_H
#define TERN_BENCH_KL_H

#include <stdio.h>

#include "perplexity.h"

#define KL_RANGE 40.0 // nats below the largest: what is less likely than exp(-40) of the likeliest counts as that

typedef struct kl_header {
    char text_sha256[65], model[128];
    uint32_t n_vocab, n_ctx, n_chunks;
    tern_token bos;
    tern_token *tokens; // n_chunks * n_ctx
} kl_header;

// A row of logits in coded form.
typedef struct kl_row {
    float nll, step;
    uint32_t top;
    uint16_t *codes; // n_vocab
} kl_row;

// NUMERIC if a logit is not finite. `row->codes` holds n_vocab.
tern_status kl_encode(const float *logits, uint32_t n_vocab, double nll, kl_row *row, tern_error *err);
// Sum over i of p_i ln(p_i / q_i), nats.
double kl_divergence(const kl_row *p, const kl_row *q, uint32_t n_vocab);

// IO names the cause; nothing is closed here.
tern_status kl_write_header(FILE *file, const kl_header *header, tern_error *err);
tern_status kl_write_row(FILE *file, const kl_row *row, uint32_t n_vocab, tern_error *err);
// `file` stands at its beginning. MALFORMED when it is no base file, damaged or of another length than its header says.
tern_status kl_read_header(FILE *file, kl_header *out, tern_error *err);
tern_status kl_read_row(FILE *file, const kl_header *header, kl_row *out, tern_error *err);
void kl_header_free(kl_header *header);

// What a comparison is made of; begin, add rows in order, finish.
typedef struct kl_compare {
    double *divergences; // of each token
    size_t n, capacity;
    size_t n_same_top;
    double sum_difference, sum_squares; // of nll(second) - nll(base)
    double sum_base;
} kl_compare;

typedef struct kl_result {
    size_t n;
    double mean, error; // of the divergence, with its standard error
    double median, p99, max;
    double same_top, same_top_error;   // share of tokens where both runs find the same one likeliest, 0..1
    double base_perplexity;            // of the base run over these tokens
    double ppl_ratio, ppl_ratio_error; // perplexity / base perplexity, paired by token
} kl_result;

// HOST_MEMORY.
tern_status kl_compare_add(kl_compare *c, const kl_row *base, const kl_row *second, uint32_t n_vocab, tern_error *err);
// n >= 1 rows were added. Sorts the divergences.
kl_result kl_compare_finish(kl_compare *c);
void kl_compare_free(kl_compare *c);

#endif
