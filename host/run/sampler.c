// Choosing the next token. The chain: logit bias, penalties, top-k, top-p, min-p, temperature, draw. Sums run in rank
// order (larger logit first, ties to the lower id) in double over scalar_exp, and the draw is a pure function of (seed,
// number of draws so far), so the same options and logits give the same token everywhere. Without bias and penalties
// only the device's top k come back; otherwise the whole row does.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fpenv.h"
#include "ops.h"
#include "options.h"
#include "rng.h"
#include "scalar.h"
#include "session.h"

typedef struct candidate {
    tern_token id;
    float logit;
} candidate;

struct tern_sampler {
    tern_sampler_options options; // bias points to `bias` below
    tern_logit_bias *bias;
    tern_token *last; // ring of the last repeat_last_n tokens
    size_t n_last, next;
    uint64_t n_draws;
    candidate *candidates; // [capacity]
    size_t capacity;
    int32_t *counts; // [capacity] of each id among `last`; all zero between calls
};

void tern_sampler_options_init(tern_sampler_options *options)
{
    *options = (tern_sampler_options){.size = sizeof *options,
                                      .temperature = 0.8f,
                                      .top_k = 40,
                                      .top_p = 0.95f,
                                      .min_p = 0.05f,
                                      .repeat_penalty = 1,
                                      .repeat_last_n = 64};
}

static tern_status check_options(const tern_sampler_options *o, tern_error *err)
{
    if (!(o->temperature >= 0 && o->temperature <= 1000))
        return error_set(err, TERN_INVALID_ARGUMENT, "temperature is %g, expected 0 to 1000", (double)o->temperature);
    if (!(o->top_p >= 0 && o->top_p <= 1))
        return error_set(err, TERN_INVALID_ARGUMENT, "top-p is %g, expected 0 to 1", (double)o->top_p);
    if (!(o->min_p >= 0 && o->min_p <= 1))
        return error_set(err, TERN_INVALID_ARGUMENT, "min-p is %g, expected 0 to 1", (double)o->min_p);
    if (!(o->repeat_penalty > 0 && o->repeat_penalty <= 1000))
        return error_set(err, TERN_INVALID_ARGUMENT, "repeat penalty is %g, expected above 0 to 1000",
                         (double)o->repeat_penalty);
    if (!isfinite(o->presence_penalty) || !isfinite(o->frequency_penalty))
        return error_set(err, TERN_INVALID_ARGUMENT, "penalties must be finite");
    if (o->repeat_last_n > (1u << 20))
        return error_set(err, TERN_INVALID_ARGUMENT, "repeat-last-n is %u, expected at most %u", o->repeat_last_n,
                         1u << 20);
    for (size_t i = 0; i < o->n_bias; i++)
        if (isnan(o->bias[i].bias) || o->bias[i].bias == INFINITY || o->bias[i].id < 0)
            return error_set(err, TERN_INVALID_ARGUMENT,
                             "logit bias of token %d must be finite or -infinity, for an id >= 0", o->bias[i].id);
    return TERN_OK;
}

tern_status tern_sampler_create(const tern_sampler_options *options, tern_sampler **out, tern_error *err)
{
    tern_sampler_options o;
    tern_sampler_options_init(&o);
    tern_status status = options_read(&o, sizeof o, options, "tern_sampler_options", err);
    if (status == TERN_OK) status = check_options(&o, err);
    if (status != TERN_OK) return status;
    tern_sampler *s = calloc(1, sizeof *s);
    if (s != NULL) {
        s->options = o;
        s->bias = calloc(o.n_bias + 1, sizeof *s->bias);
        s->last = calloc((size_t)o.repeat_last_n + 1, sizeof *s->last);
    }
    if (s == NULL || s->bias == NULL || s->last == NULL) {
        tern_sampler_free(s);
        return error_set(err, TERN_HOST_MEMORY, "out of memory for the sampler");
    }
    if (o.n_bias > 0) memcpy(s->bias, o.bias, o.n_bias * sizeof *s->bias);
    s->options.bias = s->bias;
    *out = s;
    return TERN_OK;
}

void tern_sampler_free(tern_sampler *s)
{
    if (s == NULL) return;
    free(s->bias);
    free(s->last);
    free(s->candidates);
    free(s->counts);
    free(s);
}

tern_status tern_sampler_accept(tern_sampler *s, tern_token id, tern_error *err)
{
    if (id < 0) return error_set(err, TERN_INVALID_ARGUMENT, "token %d", id);
    if (s->options.repeat_last_n == 0) return TERN_OK;
    s->last[s->next] = id;
    s->next = (s->next + 1) % s->options.repeat_last_n;
    if (s->n_last < s->options.repeat_last_n) s->n_last++;
    return TERN_OK;
}

static bool wants_penalties(const tern_sampler_options *o)
{
    return o->repeat_last_n > 0 && (o->repeat_penalty != 1 || o->presence_penalty != 0 || o->frequency_penalty != 0);
}

static bool has_penalties(const tern_sampler *s) { return s->n_last > 0 && wants_penalties(&s->options); }

bool sampler_is_greedy(const tern_sampler *s)
{
    return s->options.temperature == 0 && s->options.n_bias == 0 && !wants_penalties(&s->options);
}

static tern_status reserve(tern_sampler *s, size_t n, tern_error *err)
{
    if (n <= s->capacity) return TERN_OK;
    candidate *candidates = realloc(s->candidates, n * sizeof *candidates);
    if (candidates != NULL) s->candidates = candidates;
    int32_t *counts = realloc(s->counts, n * sizeof *counts);
    if (counts != NULL) s->counts = counts;
    if (candidates == NULL || counts == NULL)
        return error_set(err, TERN_HOST_MEMORY, "out of memory for %zu candidates", n);
    memset(s->counts, 0, n * sizeof *s->counts);
    s->capacity = n;
    return TERN_OK;
}

// llama.cpp's formula: a repeated token's logit is divided (multiplied when negative) by the repeat penalty, then loses
// count * frequency + presence.
static void apply_penalties(tern_sampler *s, size_t n)
{
    const tern_sampler_options *o = &s->options;
    for (size_t i = 0; i < s->n_last; i++)
        if ((size_t)s->last[i] < n) s->counts[s->last[i]]++;
    for (size_t i = 0; i < s->n_last; i++) {
        if ((size_t)s->last[i] >= n || s->counts[s->last[i]] == 0) continue;
        candidate *c = &s->candidates[s->last[i]];
        int32_t count = s->counts[s->last[i]];
        s->counts[s->last[i]] = 0;
        c->logit = c->logit > 0 ? c->logit / o->repeat_penalty : c->logit * o->repeat_penalty;
        c->logit -= (float)count * o->frequency_penalty + o->presence_penalty;
    }
}

static int by_rank(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1; // -0 equals +0 here, as in the device's top k
    return x->id < y->id ? -1 : x->id > y->id;
}

static bool is_before(candidate a, candidate b) { return by_rank(&a, &b) < 0; }

// Moves the k best of n candidates to the front, in rank order: a heap of the k best so far, its root the worst of
// them.
static void select_best(candidate *c, size_t n, size_t k)
{
    if (k < n) {
        for (size_t filled = 1; filled < n; filled++) {
            if (filled < k) { // grow the heap
                for (size_t i = filled; i > 0 && is_before(c[(i - 1) / 2], c[i]); i = (i - 1) / 2) {
                    candidate t = c[i];
                    c[i] = c[(i - 1) / 2];
                    c[(i - 1) / 2] = t;
                }
                continue;
            }
            if (!is_before(c[filled], c[0])) continue;
            c[0] = c[filled];
            for (size_t i = 0;;) { // sink the new root
                size_t child = 2 * i + 1;
                if (child >= k) break;
                if (child + 1 < k && is_before(c[child], c[child + 1])) child++;
                if (!is_before(c[i], c[child])) break;
                candidate t = c[i];
                c[i] = c[child];
                c[child] = t;
                i = child;
            }
        }
    }
    qsort(c, k < n ? k : n, sizeof *c, by_rank);
}

// Fills the candidates in rank order, at most k of them.
static tern_status gather(tern_sampler *s, tern_session *session, size_t row, size_t k, size_t *n_out, tern_error *err)
{
    size_t n_valid = session_n_valid(session);
    if (k > n_valid) k = n_valid;
    bool from_device = s->options.n_bias == 0 && !has_penalties(s) && k <= TOP_K_MAX;
    tern_status status = reserve(s, n_valid > TOP_K_MAX ? n_valid : TOP_K_MAX, err);
    if (status != TERN_OK) return status;
    *n_out = k;
    if (from_device) {
        tern_token ids[TOP_K_MAX];
        float values[TOP_K_MAX];
        status = tern_session_top(session, row, k, ids, values, err);
        for (size_t i = 0; i < k && status == TERN_OK; i++) s->candidates[i] = (candidate){ids[i], values[i]};
        return status;
    }
    const float *logits;
    status = tern_session_logits(session, row, &logits, err);
    if (status != TERN_OK) return status;
    for (size_t i = 0; i < n_valid; i++) s->candidates[i] = (candidate){(tern_token)i, logits[i]};
    for (size_t i = 0; i < s->options.n_bias; i++)
        if ((size_t)s->bias[i].id < n_valid) s->candidates[s->bias[i].id].logit += s->bias[i].bias;
    if (has_penalties(s)) apply_penalties(s, n_valid);
    select_best(s->candidates, n_valid, k);
    return TERN_OK;
}

// How many of the n ranked candidates survive top-p and min-p.
static size_t truncate_tail(const tern_sampler_options *o, const candidate *c, size_t n)
{
    double total = 0;
    for (size_t i = 0; i < n; i++) total += (double)scalar_exp(c[i].logit - c[0].logit);
    if (o->top_p < 1) {
        double sum = 0;
        size_t kept = 0;
        while (kept < n && (kept == 0 || sum < (double)o->top_p * total))
            sum += (double)scalar_exp(c[kept++].logit - c[0].logit);
        n = kept;
    }
    while (n > 1 && scalar_exp(c[n - 1].logit - c[0].logit) < o->min_p) n--; // relative to the best, whose share is 1
    return n;
}

static tern_token draw(tern_sampler *s, const candidate *c, size_t n)
{
    double total = 0;
    for (size_t i = 0; i < n; i++) total += (double)scalar_exp((c[i].logit - c[0].logit) / s->options.temperature);
    double target = rng_unit_double(s->options.seed, s->n_draws++) * total, sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)scalar_exp((c[i].logit - c[0].logit) / s->options.temperature);
        if (target < sum) return c[i].id;
    }
    return c[n - 1].id;
}

tern_status tern_sampler_sample(tern_sampler *s, tern_session *session, size_t i, tern_token *out, tern_error *err)
{
    const tern_sampler_options *o = &s->options;
    bool greedy = o->temperature == 0;
    size_t k = greedy ? 1 : o->top_k == 0 ? session_n_valid(session) : o->top_k, n;
    fp_env env = fp_env_enter();
    tern_status status = gather(s, session, i, k, &n, err);
    if (status == TERN_OK && s->candidates[0].logit == -INFINITY)
        status = error_set(err, TERN_NUMERIC, "every token is forbidden by logit bias");
    if (status == TERN_OK)
        *out = greedy ? s->candidates[0].id : draw(s, s->candidates, truncate_tail(o, s->candidates, n));
    fp_env_leave(env);
    return status;
}
