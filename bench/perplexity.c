#include "perplexity.h"

#include <math.h>
#include <stdlib.h>

#include "clock.h"
#include "error.h"

double perplexity_nll(const float *logits, uint32_t n_vocab, tern_token token)
{
    float max = logits[0];
    for (uint32_t i = 1; i < n_vocab; i++)
        if (logits[i] > max) max = logits[i];
    double sum = 0;
    for (uint32_t i = 0; i < n_vocab; i++) sum += exp((double)logits[i] - (double)max);
    return log(sum) - ((double)logits[token] - (double)max);
}

size_t perplexity_n_chunks(const perplexity_options *options, size_t n_tokens)
{
    size_t n = n_tokens / options->n_ctx;
    return options->max_chunks > 0 && options->max_chunks < n ? options->max_chunks : n;
}

// Sums over the scored tokens.
typedef struct score {
    double sum, sum_of_squares;
    size_t n;
} score;

static tern_status score_rows(tern_session *session, const tern_token *targets, size_t n_rows,
                              const perplexity_options *o, score *total, tern_error *err)
{
    for (size_t i = 0; i < n_rows; i++) {
        const float *logits;
        tern_status status = tern_session_logits(session, i, &logits, err);
        if (status != TERN_OK) return status;
        double nll = perplexity_nll(logits, o->n_vocab, targets[i]);
        if (!isfinite(nll))
            return error_set(err, TERN_NUMERIC, "the logits give token %d no finite probability", targets[i]);
        if (o->on_row != NULL) status = o->on_row(o->user, logits, nll, err);
        if (status != TERN_OK) return status;
        total->sum += nll;
        total->sum_of_squares += nll * nll;
        total->n++;
    }
    return TERN_OK;
}

// One chunk, in evaluations of at most n_batch rows. Its last token is only a target.
static tern_status measure_chunk(tern_session *session, const tern_token *tokens, const perplexity_options *o,
                                 tern_row *rows, score *total, tern_error *err)
{
    size_t first = o->n_ctx / 2, n = o->n_ctx - 1;
    tern_status status = tern_session_trim(session, 0, 0, err);
    for (size_t begin = 0; begin < n && status == TERN_OK; begin += o->n_batch) {
        size_t count = n - begin < o->n_batch ? n - begin : o->n_batch, n_scored = 0;
        for (size_t i = 0; i < count; i++) {
            bool is_scored = begin + i >= first;
            rows[i] = (tern_row){.sequence = 0, .token = tokens[begin + i], .wants_logits = is_scored};
            n_scored += is_scored;
        }
        if (begin == 0 && o->bos >= 0) rows[0].token = o->bos;
        status = tern_session_eval(session, rows, count, err);
        if (status == TERN_OK && n_scored > 0)
            status = score_rows(session, tokens + begin + count - n_scored + 1, n_scored, o, total, err);
    }
    return status;
}

static void fill_result(const score *total, size_t n_chunks, uint64_t start, perplexity_result *out)
{
    double n = (double)total->n, mean = total->sum / n;
    double variance = total->sum_of_squares / n - mean * mean;
    out->n_chunks = n_chunks;
    out->n_scored = total->n;
    out->nll = mean;
    out->perplexity = exp(mean);
    // Of the mean, carried over by the derivative of exp; llama-perplexity's formula.
    out->error = total->n > 1 && variance > 0 ? sqrt(variance / (n - 1)) * out->perplexity : 0;
    out->ns = clock_ns() - start;
}

tern_status perplexity_measure(tern_session *session, const tern_token *tokens, size_t n_tokens,
                               const perplexity_options *options, perplexity_result *out, tern_error *err)
{
    if (options->n_ctx < 4 || options->n_batch < 1)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "perplexity with chunks of %u and batches of %u; at least 4 and 1 are needed", options->n_ctx,
                         options->n_batch);
    size_t n_chunks = perplexity_n_chunks(options, n_tokens);
    if (n_chunks == 0)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "the text has %zu tokens, less than one chunk of %u: use a longer text or a smaller -c",
                         n_tokens, options->n_ctx);
    tern_row *rows = malloc(options->n_batch * sizeof *rows);
    if (!rows) return error_set(err, TERN_HOST_MEMORY, "out of memory for a batch of %u rows", options->n_batch);

    uint64_t start = clock_ns();
    score total = {0};
    perplexity_result result = {.n_tokens = n_tokens};
    tern_status status = TERN_OK;
    for (size_t i = 0; i < n_chunks && status == TERN_OK; i++) {
        status = measure_chunk(session, tokens + i * options->n_ctx, options, rows, &total, err);
        if (status != TERN_OK) break;
        fill_result(&total, i + 1, start, &result);
        if (options->on_chunk && !options->on_chunk(options->user, &result, n_chunks))
            status = error_set(err, TERN_CANCELLED, "stopped after chunk %zu of %zu", i + 1, n_chunks);
    }
    free(rows);
    if (status == TERN_OK) status = tern_session_trim(session, 0, 0, err);
    if (status == TERN_OK) *out = result;
    return status;
}
