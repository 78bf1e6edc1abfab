// Range and cross-checks of hyper-parameters, for every source of them.
#include "hparams.h"

#include <math.h>
#include <string.h>

#include "hparams_common.h"
#include "ternary.h"

tern_status hparams_unsupported_architecture(const char *what, const char *name, tern_error *err)
{
    static const struct {
        const char *prefix, *why;
    } known[] = {
        {"qwen35",
         "its linear attention and rotated basis (Bonsai 27B, Bonsai-2) are not implemented; the Ternary-Bonsai "
         "1.7B, 4B and 8B files (qwen3) open"},
        {"qwen3_5",
         "its linear attention and rotated basis (Bonsai 27B, Bonsai-2) are not implemented; the Ternary-Bonsai "
         "1.7B, 4B and 8B files (qwen3) open"},
        {"gemma3", "it is an embedding model (BitNet-embedding-270M), not a text generator"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(name, known[i].prefix, strlen(known[i].prefix)) == 0)
            return error_set(err, TERN_UNSUPPORTED, "%s \"%.60s\" is not supported: %s", what, name, known[i].why);
    return error_set(
        err, TERN_UNSUPPORTED,
        "%s \"%.60s\" is not supported; supported are bitnet-b1.58, bitnet-25, bitnet, llama and qwen3 in GGUF, "
        "bitnet, llama and qwen3 in Hugging Face directories",
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
    // No frequency is over 1 (4 with frequency divisors), so that angles stay where rope.h computes them: under 2^30.
    if (!(rope->theta >= 1 && rope->theta <= 1e30))
        return error_set(err, TERN_MALFORMED, "the RoPE base is %g, expected a number from 1 to 1e30", rope->theta);
    if (rope->n_dims == 0 || rope->n_dims % 2 != 0 || rope->n_dims > hp->head_dim)
        return error_set(err, TERN_MALFORMED,
                         "RoPE rotates %u dimensions, expected an even number up to the head size %u", rope->n_dims,
                         hp->head_dim);
    if (rope->scaling != ROPE_SCALING_NONE && !(rope->factor >= 1 && isfinite(rope->factor)))
        return error_set(err, TERN_MALFORMED, "the RoPE scaling factor is %g, expected a number of at least 1",
                         rope->factor);
    if (rope->scaling == ROPE_SCALING_YARN &&
        !(rope->original_context > 0 && rope->beta_slow > 0 && rope->beta_fast > rope->beta_slow &&
          rope->attn_factor > 0 && isfinite(rope->original_context) && isfinite(rope->beta_fast) &&
          isfinite(rope->attn_factor)))
        return error_set(
            err, TERN_MALFORMED,
            "yarn RoPE scaling with original context %g, beta_fast %g, beta_slow %g, attn_factor %g: expected "
            "0 < beta_slow < beta_fast, and the others over 0",
            rope->original_context, rope->beta_fast, rope->beta_slow, rope->attn_factor);
    if (rope->scaling == ROPE_SCALING_YARN && !(rope->theta > 1))
        return error_set(err, TERN_MALFORMED, "yarn RoPE scaling with the RoPE base %g, expected a number over 1",
                         rope->theta);
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
    if (hp->has_linear_norm && !(hp->linear_norm_eps > 0.0f && hp->linear_norm_eps < 1.0f))
        return error_set(err, TERN_MALFORMED,
                         "the epsilon of the linears' norms is %g, expected a number between 0 and 1",
                         (double)hp->linear_norm_eps);
    return check_rope(hp, err);
}
