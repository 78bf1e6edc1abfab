// Scoring of choices; see eval.h.
#include "eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "error.h"
#include "perplexity.h"

// ----------------------------------------------------------------------------------------------------------- tokens

// The continuation's tokens are those that context and continuation together have more than the context alone.
static tern_status encode_choice(const tern_tokenizer *tokenizer, const eval_choice *choice, eval_tokens *out,
                                 tern_error *err)
{
    size_t n_context = strlen(choice->context), n_continuation = strlen(choice->continuation);
    char *text = malloc(n_context + n_continuation + 1);
    if (text == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a choice");
    memcpy(text, choice->context, n_context);
    memcpy(text + n_context, choice->continuation, n_continuation + 1);
    tern_tokens context = {0};
    tern_status status = tern_tokenizer_encode(tokenizer, text, n_context, TERN_TOKENIZE_ADD_BOS, &context, err);
    if (status == TERN_OK)
        status = tern_tokenizer_encode(tokenizer, text, n_context + n_continuation, TERN_TOKENIZE_ADD_BOS, &out->tokens,
                                       err);
    free(text);
    out->n_context = context.n < out->tokens.n ? context.n : out->tokens.n - 1; // tokens may join where the texts meet
    tern_tokens_free(&context);
    if (status == TERN_OK && (out->n_context == 0 || out->tokens.n < 2))
        status = error_set(err, TERN_MALFORMED, "a context of no tokens");
    return status;
}

tern_status eval_encode(const tern_tokenizer *tokenizer, const eval_items *items, eval_encoded *out, tern_error *err)
{
    eval_encoded e = {.n_items = items->n};
    e.choices = calloc(items->n, EVAL_MAX_CHOICES * sizeof *e.choices);
    if (e.choices == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for the tokens of %zu items", items->n);
    tern_status status = TERN_OK;
    for (size_t i = 0; i < items->n && status == TERN_OK; i++) {
        for (uint32_t c = 0; c < items->items[i].n_choices && status == TERN_OK; c++) {
            eval_tokens *choice = &e.choices[i * EVAL_MAX_CHOICES + c];
            status = encode_choice(tokenizer, &items->items[i].choices[c], choice, err);
            if (choice->tokens.n > e.longest) e.longest = choice->tokens.n;
        }
        if (status != TERN_OK) error_prefix(err, "line %zu", items->items[i].line);
    }
    if (status != TERN_OK) {
        eval_encoded_free(&e);
        return status;
    }
    *out = e;
    return TERN_OK;
}

void eval_encoded_free(eval_encoded *encoded)
{
    for (size_t i = 0; encoded->choices != NULL && i < encoded->n_items * EVAL_MAX_CHOICES; i++)
        tern_tokens_free(&encoded->choices[i].tokens);
    free(encoded->choices);
    *encoded = (eval_encoded){0};
}

// ---------------------------------------------------------------------------------------------------------- scoring

typedef struct scorer {
    tern_session *session;
    const eval_options *options;
    tern_row *rows; // n_batch
    eval_result *result;
} scorer;

// A choice cut to the context: the last token is only predicted, never evaluated.
typedef struct window {
    const tern_token *ids;
    size_t n, n_context;
} window;

static window window_of(scorer *s, const eval_tokens *choice)
{
    size_t room = (size_t)s->options->n_ctx + 1, n = choice->tokens.n;
    window w = {choice->tokens.ids, n, choice->n_context};
    if (n <= room) return w;
    size_t dropped = n - room;
    s->result->n_truncated++;
    w.ids += dropped;
    w.n = room;
    w.n_context = w.n_context > dropped ? w.n_context - dropped : 1;
    return w;
}

// Tokens that all choices begin with and none is scored on: their keys and values serve every choice. The context's
// last token is left out, because its logits predict the first one scored.
static size_t common_prefix(const window *windows, uint32_t n)
{
    size_t shared = windows[0].n_context - 1;
    for (uint32_t c = 1; c < n; c++) {
        if (windows[c].n_context - 1 < shared) shared = windows[c].n_context - 1;
        size_t i = 0;
        while (i < shared && windows[c].ids[i] == windows[0].ids[i]) i++;
        shared = i;
    }
    return shared;
}

static tern_status add_scores(scorer *s, const tern_token *targets, size_t n, double *score, tern_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const float *logits;
        tern_status status = tern_session_logits(s->session, i, &logits, err);
        if (status != TERN_OK) return status;
        *score -= perplexity_nll(logits, s->options->n_vocab, targets[i]);
    }
    return TERN_OK;
}

static tern_status score_choice(scorer *s, const window *w, size_t n_shared, double *score, tern_error *err)
{
    tern_status status = tern_session_trim(s->session, 0, n_shared, err);
    *score = 0;
    for (size_t begin = n_shared; begin + 1 < w->n && status == TERN_OK;) {
        size_t left = w->n - 1 - begin, n = left < s->options->n_batch ? left : s->options->n_batch, n_scored = 0;
        for (size_t i = 0; i < n; i++) {
            bool is_scored = begin + i + 1 >= w->n_context;
            s->rows[i] = (tern_row){.sequence = 0, .token = w->ids[begin + i], .wants_logits = is_scored};
            n_scored += is_scored;
        }
        status = tern_session_eval(s->session, s->rows, n, err);
        begin += n;
        s->result->n_evaluated += n;
        if (status == TERN_OK) status = add_scores(s, w->ids + begin + 1 - n_scored, n_scored, score, err);
    }
    if (status == TERN_OK && !isfinite(*score))
        status = error_set(err, TERN_NUMERIC, "a choice has no finite probability");
    return status;
}

static tern_status score_item(scorer *s, const eval_item *item, const eval_tokens *choices, double *scores,
                              tern_error *err)
{
    window windows[EVAL_MAX_CHOICES] = {0};
    for (uint32_t c = 0; c < item->n_choices; c++) {
        windows[c] = window_of(s, &choices[c]);
        s->result->n_tokens += windows[c].n;
    }
    size_t n_shared = common_prefix(windows, item->n_choices), n_reused = 0;
    tern_status status = n_shared > 0 ? tern_session_sync(s->session, 0, windows[0].ids, n_shared, &n_reused, err)
                                      : tern_session_trim(s->session, 0, 0, err);
    s->result->n_evaluated += n_shared - n_reused;
    for (uint32_t c = 0; c < item->n_choices && status == TERN_OK; c++)
        status = score_choice(s, &windows[c], n_shared, &scores[c], err);
    return status;
}

// The first of the largest.
static uint32_t best_of(const eval_item *item, const double *scores, bool is_normalised)
{
    uint32_t best = 0;
    double best_score = -INFINITY;
    for (uint32_t c = 0; c < item->n_choices; c++) {
        double score = is_normalised ? scores[c] / item->choices[c].length : scores[c];
        if (score > best_score) {
            best = c;
            best_score = score;
        }
    }
    return best;
}

static void share(size_t n_correct, size_t n, double *out, double *error)
{
    *out = (double)n_correct / (double)n;
    *error = n > 1 ? sqrt(*out * (1 - *out) / (double)(n - 1)) : 0;
}

static void count_item(eval_result *r, const eval_item *item, const double *scores)
{
    r->n++;
    r->n_correct += best_of(item, scores, false) == item->answer;
    r->n_correct_norm += best_of(item, scores, true) == item->answer;
    share(r->n_correct, r->n, &r->acc, &r->acc_error);
    share(r->n_correct_norm, r->n, &r->acc_norm, &r->acc_norm_error);
}

tern_status eval_run(tern_session *session, const eval_items *items, const eval_encoded *encoded,
                     const eval_options *options, eval_result *out, tern_error *err)
{
    eval_result result = {0};
    scorer s = {.session = session, .options = options, .result = &result};
    uint64_t n_bytes, start = clock_ns();
    s.rows = check_mul(options->n_batch, sizeof *s.rows, &n_bytes) ? malloc((size_t)n_bytes) : NULL;
    if (s.rows == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a batch of %u rows", options->n_batch);
    tern_status status = TERN_OK;
    for (size_t i = 0; i < items->n && status == TERN_OK; i++) {
        double scores[EVAL_MAX_CHOICES];
        const eval_item *item = &items->items[i];
        status = score_item(&s, item, encoded->choices + i * EVAL_MAX_CHOICES, scores, err);
        if (status != TERN_OK) break;
        count_item(&result, item, scores);
        result.ns = clock_ns() - start;
        if (options->on_item && !options->on_item(options->user, &result, items->n, scores))
            status = error_set(err, TERN_CANCELLED, "stopped after item %zu of %zu", i + 1, items->n);
    }
    free(s.rows);
    if (status == TERN_OK) status = tern_session_trim(session, 0, 0, err);
    if (status == TERN_OK) *out = result;
    return status;
}
