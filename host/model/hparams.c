// Range and cross-checks of hyper-parameters, for every source of them.
#include "hparams.h"

#include <math.h>

#include "hparams_common.h"
#include "ternary.h"

tern_status hparams_unsupported_architecture(const char *what, const char *name, tern_error *err)
{
    return error_set(err, TERN_UNSUPPORTED,
                     "%s \"%.60s\" is not supported; supported are bitnet-b1.58, bitnet-25, bitnet and llama in GGUF, "
                     "bitnet and llama in Hugging Face directories",
                     what, name);
}

static tern_status check_ranges(const hparams *hp, tern_error *err)
{
    const struct {
        const char *name;
        uint64_t value, max;
    } ranges[] = {
        {"number of layers", hp->n_layers, 4096},
        {"embedding length", hp->n_embd, TERNARY_MAX_COLUMNS},
        {"feed-forward length", hp->n_ff, TERNARY_MAX_COLUMNS},
        {"number of heads", hp->n_heads, 4096},
        {"number of KV heads", hp->n_kv_heads, 4096},
        {"head size", hp->head_dim, 4096},
        {"vocabulary size", hp->n_vocab, 1u << 24},
        {"context length", hp->n_ctx_train, 1u << 28},
        {"attention width (heads times head size)", (uint64_t)hp->n_heads * hp->head_dim, TERNARY_MAX_COLUMNS},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (ranges[i].value == 0) return error_set(err, TERN_MALFORMED, "the %s is 0", ranges[i].name);
        if (ranges[i].value > ranges[i].max)
            return error_set(err, TERN_LIMIT, "the %s is %llu; at most %llu is accepted", ranges[i].name,
                             (unsigned long long)ranges[i].value, (unsigned long long)ranges[i].max);
    }
    return TERN_OK;
}

static tern_status check_rope(const hparams *hp, tern_error *err)
{
    const rope_params *rope = &hp->rope;
    if (!(rope->theta > 0 && isfinite(rope->theta)))
        return error_set(err, TERN_MALFORMED, "the RoPE base is %g, expected a number over 0", rope->theta);
    if (rope->n_dims == 0 || rope->n_dims % 2 != 0 || rope->n_dims > hp->head_dim)
        return error_set(err, TERN_MALFORMED,
                         "RoPE rotates %u dimensions, expected an even number up to the head size %u", rope->n_dims,
                         hp->head_dim);
    if (rope->scaling != ROPE_SCALING_NONE && !(rope->factor > 0 && isfinite(rope->factor)))
        return error_set(err, TERN_MALFORMED, "the RoPE scaling factor is %g, expected a number over 0", rope->factor);
    if (rope->scaling == ROPE_SCALING_LLAMA3 &&
        !(rope->low_freq_factor > 0 && rope->high_freq_factor > rope->low_freq_factor && rope->original_context > 0))
        return error_set(
            err, TERN_MALFORMED,
            "llama3 RoPE scaling with low_freq_factor %g, high_freq_factor %g, original context %g: expected "
            "0 < low < high and a context over 0",
            rope->low_freq_factor, rope->high_freq_factor, rope->original_context);
    return TERN_OK;
}

tern_status hparams_validate(const hparams *hp, tern_error *err)
{
    tern_status status = check_ranges(hp, err);
    if (status != TERN_OK) return status;
    if (hp->n_heads % hp->n_kv_heads != 0)
        return error_set(err, TERN_MALFORMED, "%u heads cannot share %u KV heads evenly", hp->n_heads, hp->n_kv_heads);
    if (hp->head_dim % 2 != 0) return error_set(err, TERN_MALFORMED, "the head size %u is odd", hp->head_dim);
    if (!(hp->norm_eps > 0.0f && hp->norm_eps < 1.0f))
        return error_set(err, TERN_MALFORMED, "the norm epsilon is %g, expected a number between 0 and 1",
                         (double)hp->norm_eps);
    return check_rope(hp, err);
}
