// Divergence between two runs, and the file between them; see kl.h.
#include "kl.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"
#include "error.h"
#include "stats.h"

static const char magic[8] = "TERNKL1\n";

enum { MAX_CODE = 65535, MAX_VOCAB = 1 << 24, MIN_CTX = 4, MAX_CTX = 1 << 24 };

tern_status kl_encode(const float *logits, uint32_t n_vocab, double nll, kl_row *row, tern_error *err)
{
    float max = logits[0], min = logits[0];
    uint32_t top = 0;
    for (uint32_t i = 0; i < n_vocab; i++) {
        if (!isfinite(logits[i]))
            return error_set(err, TERN_NUMERIC, "the logit of token %u is not finite, so runs cannot be compared", i);
        if (logits[i] > max) {
            max = logits[i];
            top = i;
        }
        if (logits[i] < min) min = logits[i];
    }
    double range = (double)max - (double)min;
    row->nll = (float)nll;
    row->top = top;
    row->step = (float)((range < KL_RANGE ? range : KL_RANGE) / MAX_CODE);
    for (uint32_t i = 0; i < n_vocab; i++) {
        double code = row->step > 0 ? nearbyint(((double)max - (double)logits[i]) / (double)row->step) : 0;
        row->codes[i] = (uint16_t)(code < MAX_CODE ? code : MAX_CODE);
    }
    return TERN_OK;
}

// ln of the sum of exp(-step code_i)
static double log_norm(const kl_row *row, uint32_t n_vocab)
{
    double sum = 0;
    for (uint32_t i = 0; i < n_vocab; i++) sum += exp(-(double)row->step * row->codes[i]);
    return log(sum);
}

double kl_divergence(const kl_row *p, const kl_row *q, uint32_t n_vocab)
{
    double log_p = log_norm(p, n_vocab), log_q = log_norm(q, n_vocab), sum = 0;
    for (uint32_t i = 0; i < n_vocab; i++) {
        double a = -(double)p->step * p->codes[i] - log_p, b = -(double)q->step * q->codes[i] - log_q;
        sum += exp(a) * (a - b);
    }
    return sum > 0 ? sum : 0; // rounding alone can make it negative
}

// ------------------------------------------------------------------------------------------------------------ file

static tern_status write_bytes(FILE *file, const void *data, size_t n, tern_error *err)
{
    if (fwrite(data, 1, n, file) == n) return TERN_OK;
    return error_set(err, TERN_IO, "writing the base of a comparison: %s", strerror(errno));
}

static size_t n_codes_stored(uint32_t n_vocab) { return n_vocab + n_vocab % 2; }

// Sizes are below 2^25 by the limits on the header's counts.
static size_t row_bytes(uint32_t n_vocab) { return 12 + 2 * n_codes_stored(n_vocab); }

static uint32_t rows_per_chunk(uint32_t n_ctx) { return n_ctx - 1 - n_ctx / 2; }

tern_status kl_write_header(FILE *file, const kl_header *h, tern_error *err)
{
    uint32_t counts[4] = {h->n_vocab, h->n_ctx, h->n_chunks, (uint32_t)h->bos};
    tern_status status = write_bytes(file, magic, sizeof magic, err);
    if (status == TERN_OK) status = write_bytes(file, h->text_sha256, 64, err);
    if (status == TERN_OK) status = write_bytes(file, h->model, sizeof h->model, err);
    if (status == TERN_OK) status = write_bytes(file, counts, sizeof counts, err);
    size_t n = (size_t)h->n_chunks * h->n_ctx;
    return status == TERN_OK ? write_bytes(file, h->tokens, n * sizeof *h->tokens, err) : status;
}

tern_status kl_write_row(FILE *file, const kl_row *row, uint32_t n_vocab, tern_error *err)
{
    static const uint16_t padding = 0;
    tern_status status = write_bytes(file, &row->nll, 4, err);
    if (status == TERN_OK) status = write_bytes(file, &row->top, 4, err);
    if (status == TERN_OK) status = write_bytes(file, &row->step, 4, err);
    if (status == TERN_OK) status = write_bytes(file, row->codes, 2 * (size_t)n_vocab, err);
    return status == TERN_OK && n_vocab % 2 ? write_bytes(file, &padding, 2, err) : status;
}

static tern_status read_bytes(FILE *file, void *out, size_t n, tern_error *err)
{
    if (fread(out, 1, n, file) == n) return TERN_OK;
    if (ferror(file)) return error_set(err, TERN_IO, "reading the base of a comparison: %s", strerror(errno));
    return error_set(err, TERN_MALFORMED, "the file ends too early");
}

// Counts within their limits, and the file exactly as long as they say.
static tern_status check_counts(FILE *file, const kl_header *h, tern_error *err)
{
    if (h->n_vocab < 1 || h->n_vocab > MAX_VOCAB || h->n_ctx < MIN_CTX || h->n_ctx > MAX_CTX || h->n_chunks < 1 ||
        h->bos < -1 || (h->bos >= 0 && (uint32_t)h->bos >= h->n_vocab))
        return error_set(err, TERN_MALFORMED,
                         "its header is damaged: a vocabulary of %u, chunks of %u, %u chunks, BOS %d", h->n_vocab,
                         h->n_ctx, h->n_chunks, h->bos);
    struct stat facts;
    uint64_t n_tokens, n_rows, bytes_tokens, bytes_rows, expected;
    if (!check_mul(h->n_chunks, h->n_ctx, &n_tokens) || !check_mul(n_tokens, sizeof *h->tokens, &bytes_tokens) ||
        !check_mul(h->n_chunks, rows_per_chunk(h->n_ctx), &n_rows) ||
        !check_mul(n_rows, row_bytes(h->n_vocab), &bytes_rows) || !check_add(bytes_tokens, bytes_rows, &expected) ||
        !check_add(expected, (uint64_t)ftell(file), &expected))
        return error_set(err, TERN_MALFORMED, "its header is damaged: the sizes in it overflow");
    if (fstat(fileno(file), &facts) != 0)
        return error_set(err, TERN_IO, "reading the base of a comparison: %s", strerror(errno));
    if ((uint64_t)facts.st_size != expected)
        return error_set(err, TERN_MALFORMED, "it has %lld bytes where its header says %llu; write it again",
                         (long long)facts.st_size, (unsigned long long)expected);
    return TERN_OK;
}

static tern_status read_tokens(FILE *file, kl_header *h, tern_error *err)
{
    size_t n = (size_t)h->n_chunks * h->n_ctx; // not more than the file holds, by its length
    h->tokens = malloc(n * sizeof *h->tokens);
    if (h->tokens == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu tokens", n);
    tern_status status = read_bytes(file, h->tokens, n * sizeof *h->tokens, err);
    for (size_t i = 0; i < n && status == TERN_OK; i++)
        if (h->tokens[i] < 0 || (uint32_t)h->tokens[i] >= h->n_vocab)
            status = error_set(err, TERN_MALFORMED, "token %zu in it is %d, its vocabulary has 0 to %u", i,
                               h->tokens[i], h->n_vocab - 1);
    return status;
}

tern_status kl_read_header(FILE *file, kl_header *out, tern_error *err)
{
    kl_header h = {0};
    char start[sizeof magic];
    uint32_t counts[4];
    tern_status status = read_bytes(file, start, sizeof start, err);
    if (status == TERN_OK && memcmp(start, magic, sizeof magic) != 0)
        status = error_set(err, TERN_MALFORMED, "it is no base file of tern ppl --kl-base");
    if (status == TERN_OK) status = read_bytes(file, h.text_sha256, 64, err);
    if (status == TERN_OK) status = read_bytes(file, h.model, sizeof h.model, err);
    if (status == TERN_OK) status = read_bytes(file, counts, sizeof counts, err);
    if (status != TERN_OK) return status;
    h.model[sizeof h.model - 1] = 0;
    h.n_vocab = counts[0];
    h.n_ctx = counts[1];
    h.n_chunks = counts[2];
    h.bos = (tern_token)counts[3];
    status = check_counts(file, &h, err);
    if (status == TERN_OK) status = read_tokens(file, &h, err);
    if (status != TERN_OK) {
        kl_header_free(&h);
        return status;
    }
    *out = h;
    return TERN_OK;
}

tern_status kl_read_row(FILE *file, const kl_header *h, kl_row *out, tern_error *err)
{
    uint16_t padding;
    tern_status status = read_bytes(file, &out->nll, 4, err);
    if (status == TERN_OK) status = read_bytes(file, &out->top, 4, err);
    if (status == TERN_OK) status = read_bytes(file, &out->step, 4, err);
    if (status == TERN_OK) status = read_bytes(file, out->codes, 2 * (size_t)h->n_vocab, err);
    if (status == TERN_OK && h->n_vocab % 2) status = read_bytes(file, &padding, 2, err);
    if (status != TERN_OK) return status;
    if (!isfinite(out->nll) || !(out->step >= 0 && out->step <= 1) || out->top >= h->n_vocab)
        return error_set(err, TERN_MALFORMED, "a row of it is damaged: nll %g, step %g, top %u", (double)out->nll,
                         (double)out->step, out->top);
    return TERN_OK;
}

void kl_header_free(kl_header *header)
{
    free(header->tokens);
    *header = (kl_header){0};
}

// ------------------------------------------------------------------------------------------------------ comparison

tern_status kl_compare_add(kl_compare *c, const kl_row *base, const kl_row *second, uint32_t n_vocab, tern_error *err)
{
    if (c->n == c->capacity) {
        size_t capacity = c->capacity > 0 ? 2 * c->capacity : 1024;
        double *larger = capacity <= SIZE_MAX / 8 ? realloc(c->divergences, capacity * sizeof *larger) : NULL;
        if (larger == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu divergences", capacity);
        c->divergences = larger;
        c->capacity = capacity;
    }
    double difference = (double)second->nll - (double)base->nll;
    c->divergences[c->n++] = kl_divergence(base, second, n_vocab);
    c->n_same_top += base->top == second->top;
    c->sum_base += (double)base->nll;
    c->sum_difference += difference;
    c->sum_squares += difference * difference;
    return TERN_OK;
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Of a mean, from sums over n values; 0 where there is no spread to judge by.
static double standard_error(double sum, double sum_squares, double n)
{
    double mean = sum / n, variance = sum_squares / n - mean * mean;
    return n > 1 && variance > 0 ? sqrt(variance / (n - 1)) : 0;
}

kl_result kl_compare_finish(kl_compare *c)
{
    double n = (double)c->n, sum = 0, squares = 0, same = (double)c->n_same_top;
    qsort(c->divergences, c->n, sizeof *c->divergences, compare_double);
    for (size_t i = 0; i < c->n; i++) {
        sum += c->divergences[i];
        squares += c->divergences[i] * c->divergences[i];
    }
    kl_result r = {.n = c->n, .mean = sum / n, .error = standard_error(sum, squares, n)};
    r.median = stats_percentile(c->divergences, c->n, 50);
    r.p99 = stats_percentile(c->divergences, c->n, 99);
    r.max = c->divergences[c->n - 1];
    r.same_top = same / n;
    r.same_top_error = standard_error(same, same, n);
    r.base_perplexity = exp(c->sum_base / n);
    r.ppl_ratio = exp(c->sum_difference / n);
    r.ppl_ratio_error = r.ppl_ratio * standard_error(c->sum_difference, c->sum_squares, n);
    return r;
}

void kl_compare_free(kl_compare *c)
{
    free(c->divergences);
    *c = (kl_compare){0};
}
