// tern run: continue a prompt.
#include <stdlib.h>

#include "cli.h"
#include "clock.h"

typedef struct run {
    const opt_values *options;
    cli_session s;
    const tern_tokenizer *tokenizer;
    tern_tokens prompt;
    cli_sampling sampling;
    tern_sampler *sampler;
    tern_detokenizer *detokenizer;
    size_t n_generated;
    tern_status show_status; // of showing what is generated
    tern_error *show_err;
    bool is_context_full;
    char last;                      // last byte written, for the newline on a terminal
    tern_session_stats at_decode;   // when decoding began
    uint64_t ns_prefill, ns_decode; // wall times, sampling and output included in the second
} run;

// The text is read and the options are checked before the weights move: a mistake must not cost a load.
static tern_status read_prompt(run *r, tern_error *err)
{
    char *text = NULL;
    size_t n = 0;
    tern_status status = cli_read_text(r->options, true, &text, &n, err);
    if (status != TERN_OK) return status;
    int flags = TERN_TOKENIZE_ADD_BOS | (r->options->values[OPT_SPECIAL].given ? TERN_TOKENIZE_PARSE_SPECIAL : 0);
    status = tern_tokenizer_encode(r->tokenizer, text, n, flags, &r->prompt, err);
    free(text);
    if (status != TERN_OK) error_prefix(err, "the prompt");
    if (status == TERN_OK && r->prompt.n == 0)
        status = error_set(err, TERN_INVALID_ARGUMENT, "the prompt is empty and this model has no token to begin with");
    return status;
}

static tern_status prepare(run *r, tern_error *err)
{
    const opt_value *v = r->options->values;
    const char *path;
    tern_status status = cli_model_path(r->options, &path, err);
    if (status == TERN_OK && v[OPT_PROMPT].given == v[OPT_FILE].given) { // before a model is opened in vain
        char *text;
        size_t n;
        return cli_read_text(r->options, true, &text, &n, err);
    }
    if (status == TERN_OK) status = cli_model_open(&r->s, r->options, path, err);
    if (status != TERN_OK) return status;
    r->tokenizer = tern_model_tokenizer(r->s.model);
    if (!r->tokenizer)
        return error_set(err, TERN_UNSUPPORTED,
                         "'%s' has no tokenizer, so it cannot continue a text (tern bench and logits can use it)",
                         path);
    status = read_prompt(r, err);
    if (status == TERN_OK) status = cli_sampling_prepare(&r->sampling, r->options, r->tokenizer, err);
    if (status == TERN_OK) status = tern_sampler_create(&r->sampling.options, &r->sampler, err);
    if (status == TERN_OK) status = tern_detokenizer_create(r->tokenizer, v[OPT_SPECIAL].given, &r->detokenizer, err);
    if (status != TERN_OK) return status;
    status = cli_session_load(&r->s, r->options, (uint32_t)v[OPT_CTX].integer, (uint32_t)v[OPT_BATCH].integer, err);
    if (status == TERN_OK && r->prompt.n > r->s.plan.n_ctx)
        status = error_set(err, TERN_CONTEXT_FULL,
                           "the prompt has %zu tokens, the context %u positions: give a larger -c or a shorter prompt",
                           r->prompt.n, r->s.plan.n_ctx);
    return status;
}

static tern_status put(run *r, const char *text, size_t n, tern_error *err)
{
    if (n == 0) return TERN_OK;
    r->last = text[n - 1];
    return cli_write(text, n, err);
}

// Shows a generated token: its id, or the text that has become complete.
static tern_status show(run *r, tern_token id, tern_error *err)
{
    char number[16];
    if (r->options->values[OPT_IDS].given)
        return put(r, number, (size_t)snprintf(number, sizeof number, r->n_generated > 1 ? ",%d" : "%d", id), err);
    const char *text;
    size_t n;
    tern_status status = tern_detokenizer_push(r->detokenizer, id, &text, &n, err);
    return status == TERN_OK ? put(r, text, n, err) : status;
}

// The prompt passes through the detokeniser, shown or not, so that text and continuation meet as in one text.
static tern_status pass_prompt(run *r, tern_error *err)
{
    if (r->options->values[OPT_IDS].given) return TERN_OK;
    bool is_shown = r->options->values[OPT_DISPLAY_PROMPT].given;
    tern_status status = TERN_OK;
    for (size_t i = 0; i < r->prompt.n && status == TERN_OK; i++) {
        const char *text;
        size_t n;
        status = tern_detokenizer_push(r->detokenizer, r->prompt.ids[i], &text, &n, err);
        if (status == TERN_OK && is_shown) status = put(r, text, n, err);
    }
    return status;
}

// Tokens that fit: what the sampler chooses last needs no position.
static size_t tokens_left(const run *r)
{
    int64_t limit = r->options->values[OPT_PREDICT].integer;
    size_t room = r->s.plan.n_ctx - tern_session_length(r->s.session, 0) + 1;
    return limit >= 0 && (uint64_t)limit < room ? (size_t)limit : room;
}

static bool take(void *user, tern_token id)
{
    run *r = user;
    if (tern_tokenizer_is_stop(r->tokenizer, id)) return false;
    r->n_generated++;
    r->show_status = show(r, id, r->show_err);
    return r->show_status == TERN_OK;
}

static tern_status decode(run *r, tern_error *err)
{
    size_t n = tokens_left(r);
    r->show_err = err;
    tern_status status = tern_generate_tokens(r->s.session, r->sampler, 0, n, take, r, err);
    if (status == TERN_OK) status = r->show_status;
    r->is_context_full = r->n_generated == n && (int64_t)n != r->options->values[OPT_PREDICT].integer;
    return status;
}

static tern_status generate(run *r, tern_error *err)
{
    tern_status status = pass_prompt(r, err);
    uint64_t start = clock_ns();
    if (status == TERN_OK) status = tern_session_sync(r->s.session, 0, r->prompt.ids, r->prompt.n, NULL, err);
    for (size_t i = 0; i < r->prompt.n && status == TERN_OK; i++)
        status = tern_sampler_accept(r->sampler, r->prompt.ids[i], err);
    r->ns_prefill = clock_ns() - start;
    tern_session_get_stats(r->s.session, &r->at_decode);
    start = clock_ns();
    if (status == TERN_OK) status = decode(r, err);
    r->ns_decode = clock_ns() - start;
    return status;
}

// What the detokeniser still holds, and the line end: always after ids, after text only where a shell prompt would
// follow.
static tern_status end_output(run *r, tern_error *err)
{
    const char *text;
    size_t n;
    if (r->options->values[OPT_IDS].given) return cli_write("\n", 1, err);
    tern_status status = tern_detokenizer_finish(r->detokenizer, &text, &n, err);
    if (status == TERN_OK) status = put(r, text, n, err);
    if (status == TERN_OK && cli_stdout_is_terminal() && r->last != '\n') status = cli_write("\n", 1, err);
    return status;
}

static void report(const run *r)
{
    tern_session_stats end;
    tern_session_get_stats(r->s.session, &end);
    double open_ms = (double)r->s.ns_open * 1e-6, load_ms = (double)r->s.ns_load * 1e-6;
    double prefill_s = (double)r->ns_prefill * 1e-9, decode_s = (double)r->ns_decode * 1e-9;
    uint64_t n_decoded = end.n_evals - r->at_decode.n_evals, ns = end.ns_eval - r->at_decode.ns_eval;
    if (r->is_context_full) cli_note(r->options, "stopped: the context of %u positions is full (-c)", r->s.plan.n_ctx);
    if (r->options->values[OPT_TEMP].real > 0)
        cli_note(r->options, "seed     %llu", (unsigned long long)r->sampling.options.seed);
    cli_note(r->options, "load     %.1f ms (and %.1f ms to open the file)", load_ms, open_ms);
    cli_note(r->options, "prefill  %zu tokens in %.1f ms, %.1f tok/s", r->prompt.n, prefill_s * 1e3,
             prefill_s > 0 ? (double)r->prompt.n / prefill_s : 0);
    if (n_decoded > 0 && ns > 0) // per evaluated token; the first generated one came from the prompt's evaluation
        cli_note(r->options, "decode   %zu tokens in %.1f ms, %.1f tok/s, %.2f GB/s of weights read", r->n_generated,
                 decode_s * 1e3, (double)n_decoded / decode_s,
                 (double)(end.bytes_weights - r->at_decode.bytes_weights) / (double)ns);
    cli_note_placement(r->options, &r->s.plan);
    if (r->s.plan.fast_attention) cli_note_attention(r->options, &r->s.plan);
}

int cmd_run(const opt_values *options)
{
    run r = {.options = options, .last = '\n'};
    tern_error err = {0};
    interrupt_install();
    tern_status status = prepare(&r, &err);
    bool is_ready = status == TERN_OK;
    if (is_ready) {
        status = generate(&r, &err);
        if (!cli_stdout_closed()) { // after a Ctrl-C too: what was generated is shown to its end
            tern_error end_err = {0};
            tern_status end_status = end_output(&r, &end_err);
            if (status == TERN_OK) {
                status = end_status;
                err = end_err;
            }
        }
        if (status == TERN_OK || status == TERN_CANCELLED) report(&r);
    }
    int code = status == TERN_OK ? EXIT_CODE_OK : cli_fail(&err, NULL);
    tern_detokenizer_free(r.detokenizer);
    tern_sampler_free(r.sampler);
    cli_sampling_free(&r.sampling);
    tern_tokens_free(&r.prompt);
    cli_session_close(&r.s);
    return cli_finish(code);
}
