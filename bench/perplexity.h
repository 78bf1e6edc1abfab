// Perplexity of a model on a token sequence, counted exactly as llama-perplexity counts, so that numbers compare.
//
// The sequence is cut into n_tokens / n_ctx chunks; what is left over is not used. In each chunk the first token is
// replaced by BOS where the model begins texts with one. With h = n_ctx / 2, the tokens at positions h + 1 .. n_ctx - 1
// are scored, each given all before it in the chunk: n_ctx - 1 - h per chunk. perplexity = exp(mean of -ln p).
#ifndef TERN_BENCH_PERPLEXITY_H
#define TERN_BENCH_PERPLEXITY_H

#include "tern.h"

typedef struct perplexity_result {
    size_t n_tokens; // of the whole sequence
    size_t n_chunks; // measured
    size_t n_scored;
    double nll; // mean of -ln p, nats per token
    double perplexity;
    double error; // standard error of the perplexity; 0 for fewer than two scored tokens
    uint64_t ns;  // wall time
} perplexity_result;

typedef struct perplexity_options {
    uint32_t n_ctx;    // tokens of a chunk, >= 4; at most the plan's context
    uint32_t n_batch;  // rows per evaluation, at most the plan's
    size_t max_chunks; // 0: all
    tern_token bos;    // put at the start of each chunk; -1: chunks stay as they are
    uint32_t n_vocab;  // floats in a row of logits
    // After each chunk, with the result so far and the number of chunks in all; return false to end with CANCELLED. May
    // be NULL.
    bool (*on_chunk)(void *user, const perplexity_result *so_far, size_t n_chunks);
    // For each scored token, in order, with the row of logits that predicts it and its -ln p. May be NULL.
    tern_status (*on_row)(void *user, const float *logits, double nll, tern_error *err);
    void *user;
} perplexity_options;

// Chunks that will be measured.
size_t perplexity_n_chunks(const perplexity_options *options, size_t n_tokens);

// Uses sequence 0 of the session, which is empty afterwards. INVALID_ARGUMENT when the tokens do not fill one chunk.
tern_status perplexity_measure(tern_session *session, const tern_token *tokens, size_t n_tokens,
                               const perplexity_options *options, perplexity_result *out, tern_error *err);

// -ln of the probability that a row of logits gives to `token`, summed in double.
double perplexity_nll(const float *logits, uint32_t n_vocab, tern_token token);

#endif
