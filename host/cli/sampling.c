// The sampler from the options that run and chat share.
#include <math.h>
#include <stdlib.h>
#include <sys/random.h>

#include "cli.h"
#include "clock.h"

// The -l options, and with --ignore-eos every token that would end the text.
static tern_status collect_bias(cli_sampling *s, const opt_values *options, const tern_tokenizer *tokenizer,
                                tern_error *err)
{
    uint32_t n_tokens = tern_tokenizer_n_tokens(tokenizer);
    size_t n = 0;
    while (opt_nth(options, OPT_LOGIT_BIAS, n)) n++;
    s->bias = malloc((n + n_tokens) * sizeof *s->bias);
    if (!s->bias) return error_set(err, TERN_HOST_MEMORY, "out of memory for %zu logit biases", n);
    for (size_t i = 0; i < n; i++) {
        tern_logit_bias *b = &s->bias[s->n_bias++];
        tern_status status = opt_parse_bias("--logit-bias", opt_nth(options, OPT_LOGIT_BIAS, i), &b->id, &b->bias, err);
        if (status != TERN_OK) return status;
        if ((uint32_t)b->id >= n_tokens)
            return error_set(err, TERN_INVALID_ARGUMENT, "--logit-bias: token %d, but the model has tokens 0 to %u",
                             b->id, n_tokens - 1);
    }
    if (options->values[OPT_IGNORE_EOS].given)
        for (uint32_t id = 0; id < n_tokens; id++)
            if (tern_tokenizer_is_stop(tokenizer, (tern_token)id))
                s->bias[s->n_bias++] = (tern_logit_bias){(tern_token)id, -INFINITY};
    return TERN_OK;
}

tern_status cli_sampling_prepare(cli_sampling *s, const opt_values *options, const tern_tokenizer *tokenizer,
                                 tern_error *err)
{
    const opt_value *v = options->values;
    tern_status status = collect_bias(s, options, tokenizer, err);
    if (status != TERN_OK) return status;
    tern_sampler_options *o = &s->options;
    tern_sampler_options_init(o);
    o->temperature = (float)v[OPT_TEMP].real;
    o->top_k = (uint32_t)v[OPT_TOP_K].integer;
    o->top_p = (float)v[OPT_TOP_P].real;
    o->min_p = (float)v[OPT_MIN_P].real;
    o->repeat_penalty = (float)v[OPT_REPEAT_PENALTY].real;
    o->repeat_last_n = (uint32_t)v[OPT_REPEAT_LAST_N].integer;
    o->presence_penalty = (float)v[OPT_PRESENCE_PENALTY].real;
    o->frequency_penalty = (float)v[OPT_FREQUENCY_PENALTY].real;
    o->bias = s->bias;
    o->n_bias = s->n_bias;
    o->seed = (uint64_t)v[OPT_SEED].integer;
    if (v[OPT_SEED].integer < 0) { // 32 bits, so that the number shown can be given back as -s
        uint32_t fresh;
        if (getrandom(&fresh, sizeof fresh, 0) != (ssize_t)sizeof fresh) fresh = (uint32_t)clock_ns();
        o->seed = fresh;
    }
    return TERN_OK;
}

void cli_sampling_free(cli_sampling *s)
{
    free(s->bias);
    *s = (cli_sampling){0};
}
