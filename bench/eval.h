// Accuracy of a model on multiple-choice items, as the EleutherAI evaluation harness scores: a choice's score is the
// summed ln p of its continuation after its context; accuracy takes the largest score, acc_norm the largest score per
// code point of the choice. BOS begins the context where the model begins texts with one. Items longer than the context
// lose tokens at their beginning.
#ifndef TERN_BENCH_EVAL_H
#define TERN_BENCH_EVAL_H

#include "eval_task.h"
#include "tern.h"

// A choice as tokens: those from n_context on are scored.
typedef struct eval_tokens {
    tern_tokens tokens;
    size_t n_context; // >= 1, < tokens.n
} eval_tokens;

typedef struct eval_encoded {
    eval_tokens *choices; // EVAL_MAX_CHOICES for each item
    size_t n_items, longest;
} eval_encoded;

tern_status eval_encode(const tern_tokenizer *tokenizer, const eval_items *items, eval_encoded *out, tern_error *err);
void eval_encoded_free(eval_encoded *encoded);

typedef struct eval_result {
    size_t n; // items scored
    size_t n_correct, n_correct_norm;
    double acc, acc_error, acc_norm, acc_norm_error; // standard errors of a mean; 0 for one item
    size_t n_truncated;                              // choices that did not fit the context
    size_t n_tokens, n_evaluated;                    // of all choices, and of those evaluated: prefixes are shared
    uint64_t ns;
} eval_result;

typedef struct eval_options {
    uint32_t n_vocab, n_ctx, n_batch; // floats in a row of logits; the plan's
    // After each item; return false to end with CANCELLED. May be NULL. `scores`: of its choices.
    bool (*on_item)(void *user, const eval_result *so_far, size_t n_items, const double *scores);
    void *user;
} eval_options;

// Uses sequence 0, which is empty afterwards.
tern_status eval_run(tern_session *session, const eval_items *items, const eval_encoded *encoded,
                     const eval_options *options, eval_result *out, tern_error *err);

#endif
