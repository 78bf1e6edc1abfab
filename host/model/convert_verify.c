// The verifier of converted files: it reads through the ordinary readers, and what the converter did to the order of
// rows it does again.
#include "convert_verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "encode_dense.h"
#include "half.h"

#define PIECE_BYTES (1u << 20)

// A reader's refusal of what was just written is a difference too; lack of memory is not.
static tern_status as_difference(tern_status status, const char *name, tern_error *err)
{
    if (status == TERN_OK || status == TERN_HOST_MEMORY) return status;
    tern_error cause = {0};
    if (err != NULL) {
        cause = *err;
        error_clear(err);
    }
    return error_set(err, TERN_INTERNAL, "%s cannot be read back: %s", name, cause.message);
}

// ---------------------------------------------------------------------------------------------------------- keys

static tern_status check_hparams(const model_source *from, const convert_plan *plan, const model_source *to,
                                 tern_error *err)
{
    const hparams *a = &from->hp, *b = &to->hp;
    bool is_llama = strcmp(plan->architecture, "llama") == 0;
    bool is_llama3 = a->rope.scaling == ROPE_SCALING_LLAMA3; // becomes divisors
    bool is_yarn = a->rope.scaling == ROPE_SCALING_YARN, scales = a->rope.scaling != ROPE_SCALING_NONE && !is_llama3;
    const struct {
        const char *name;
        double from, to;
    } pairs[] = {
        {"layers", a->n_layers, b->n_layers},
        {"embedding length", a->n_embd, b->n_embd},
        {"feed-forward length", a->n_ff, b->n_ff},
        {"heads", a->n_heads, b->n_heads},
        {"key-value heads", a->n_kv_heads, b->n_kv_heads},
        {"head size", a->head_dim, b->head_dim},
        {"vocabulary", a->n_vocab, b->n_vocab},
        {"context length", a->n_ctx_train, b->n_ctx_train},
        {"norm epsilon", (double)a->norm_eps, (double)b->norm_eps},
        {"activation", a->act, b->act},
        {"tied head", a->is_tied, b->is_tied},
        {"sub-norms", a->has_sub_norm, b->has_sub_norm},
        {"norms of q and k", a->has_qk_norm, b->has_qk_norm},
        {"rope style", is_llama ? ROPE_ADJACENT : a->rope.style, b->rope.style},
        {"rope dimensions", a->rope.n_dims, b->rope.n_dims},
        {"rope base", (double)(float)a->rope.theta, b->rope.theta},
        {"rope scaling", is_llama3 ? ROPE_SCALING_NONE : a->rope.scaling, b->rope.scaling},
        {"rope factor", scales ? (double)(float)a->rope.factor : 0.0, scales ? b->rope.factor : 0.0},
        {"rope original context", is_yarn ? a->rope.original_context : 0.0, is_yarn ? b->rope.original_context : 0.0},
        {"yarn beta_fast", is_yarn ? (double)(float)a->rope.beta_fast : 0.0, is_yarn ? b->rope.beta_fast : 0.0},
        {"yarn beta_slow", is_yarn ? (double)(float)a->rope.beta_slow : 0.0, is_yarn ? b->rope.beta_slow : 0.0},
        {"yarn attention factor", is_yarn ? (double)(float)a->rope.attn_factor : 0.0,
         is_yarn ? b->rope.attn_factor : 0.0},
        {"rope divisors", plan->freq_divisors != NULL, b->rope.freq_divisors != NULL},
    };
    if (strcmp(plan->architecture, b->architecture) != 0)
        return error_set(err, TERN_INTERNAL, "architecture: expected %s, read back %s", plan->architecture,
                         b->architecture);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (pairs[i].from != pairs[i].to)
            return error_set(err, TERN_INTERNAL, "%s: expected %.9g, read back %.9g", pairs[i].name, pairs[i].from,
                             pairs[i].to);
    return TERN_OK;
}

static tern_status check_token(const tokenizer_export *a, const tokenizer_export *b, uint32_t id, tern_error *err)
{
    bool is_pad = id >= a->n_tokens;
    bool is_same = is_pad ? b->token_types[id] == 5
                          : strcmp(a->tokens[id], b->tokens[id]) == 0 && a->token_types[id] == b->token_types[id] &&
                                (a->scores == NULL || a->scores[id] == b->scores[id]);
    return is_same
               ? TERN_OK
               : error_set(err, TERN_INTERNAL, "token %u: expected \"%s\", read back \"%s\", or another type or score",
                           id, is_pad ? "[PAD]" : a->tokens[id], b->tokens[id]);
}

static tern_status check_tokenizer(const model_source *from, const model_source *to, tern_error *err)
{
    if ((from->tokenizer == NULL) != (to->tokenizer == NULL))
        return error_set(err, TERN_INTERNAL, "tokenizer: %s",
                         to->tokenizer != NULL ? "expected none" : to->tokenizer_note);
    if (from->tokenizer == NULL) return TERN_OK;
    tokenizer_export a, b;
    tokenizer_get_export(from->tokenizer, &a);
    tokenizer_get_export(to->tokenizer, &b);
    uint32_t n = a.n_tokens > from->hp.n_vocab ? a.n_tokens : from->hp.n_vocab;
    if (strcmp(a.model, b.model) != 0 || strcmp(a.pre, b.pre) != 0 || n != b.n_tokens || a.n_merges != b.n_merges ||
        (a.scores == NULL) != (b.scores == NULL))
        return error_set(err, TERN_INTERNAL,
                         "tokenizer: expected %s, %s, %u tokens, %zu merges; read back %s, %s, %u, %zu", a.model, a.pre,
                         n, a.n_merges, b.model, b.pre, b.n_tokens, b.n_merges);
    if (a.bos != b.bos || a.eos != b.eos || a.pad != b.pad || a.unknown != b.unknown || a.add_bos != b.add_bos ||
        a.add_space_prefix != b.add_space_prefix)
        return error_set(err, TERN_INTERNAL,
                         "tokenizer: special ids or flags: expected bos %d, eos %d, pad %d, unknown %d, add_bos %d, "
                         "add_space_prefix %d; read back %d, %d, %d, %d, %d, %d",
                         a.bos, a.eos, a.pad, a.unknown, a.add_bos, a.add_space_prefix, b.bos, b.eos, b.pad, b.unknown,
                         b.add_bos, b.add_space_prefix);
    tern_status status = TERN_OK;
    for (uint32_t id = 0; id < n && status == TERN_OK; id++) status = check_token(&a, &b, id, err);
    for (size_t i = 0; i < a.n_merges && status == TERN_OK; i++)
        if (strcmp(a.merges[i], b.merges[i]) != 0)
            status = error_set(err, TERN_INTERNAL, "merge %zu: expected \"%s\", read back \"%s\"", i, a.merges[i],
                               b.merges[i]);
    return status;
}

// ------------------------------------------------------------------------------------------------------- tensors

// Everything that the comparison of one matrix needs.
typedef struct pair {
    const convert_tensor *t;
    const matrix_source *to;
    ternary_scale to_scale;
    uint32_t n_rotated;
    uint32_t n_rows;           // rows at a time: whole heads where rows are permuted
    size_t in_bytes, to_bytes; // per row
    uint8_t *in, *back, *expected;
    float *values, *decoded;
    convert_comparison *sums;
} pair;

static void pair_free(pair *p)
{
    ternary_scale_free(&p->to_scale);
    free(p->in);
    free(p->back);
    free(p->expected);
    free(p->values);
    free(p->decoded);
}

// Whether rows are compared as the bytes of a dense type; otherwise as canonical rows.
static bool is_dense_form(const convert_tensor *t) { return t->action != CONVERT_TRITS || t->trits == ENCODE_F16; }
static dense_type dense_form(const convert_tensor *t) { return t->action == CONVERT_TRITS ? DENSE_F16 : t->dense; }

static tern_status pair_init(pair *p, tern_error *err)
{
    const convert_tensor *t = p->t;
    const matrix_source *to = p->to;
    tern_status status = TERN_OK;
    bool has_form = is_dense_form(t) ? to->dense == dense_form(t) && to->weights != NULL : matrix_is_ternary(to);
    if (!has_form || to->n_rows != t->n_rows || to->n_cols != t->n_cols || to->weights->n_bytes != t->n_bytes)
        return error_set(err, TERN_INTERNAL, "%s: another type or shape is read back", t->name);
    if (!is_dense_form(t)) status = as_difference(matrix_scale(to, &p->to_scale, err), t->name, err);
    if (status != TERN_OK) return status;
    uint32_t unit = t->n_head_rows != 0 ? t->n_head_rows : 1;
    p->in_bytes = convert_read_bytes(t);
    p->to_bytes = is_dense_form(t) ? dense_row_bytes(dense_form(t), t->n_cols) : ternary_row_bytes(t->n_cols);
    p->n_rows = unit * (uint32_t)(PIECE_BYTES / (p->in_bytes * unit) + 1);
    if (p->n_rows > t->n_rows) p->n_rows = t->n_rows;
    p->in = malloc(p->n_rows * p->in_bytes);
    p->back = malloc(p->n_rows * p->to_bytes);
    p->expected = malloc(p->to_bytes);
    p->values = malloc(t->n_cols * sizeof(float));
    p->decoded = malloc(t->n_cols * sizeof(float));
    if (p->in == NULL || p->back == NULL || p->expected == NULL || p->values == NULL || p->decoded == NULL)
        return error_set(err, TERN_HOST_MEMORY, "%s: no memory for %u rows to compare", t->name, p->n_rows);
    return TERN_OK;
}

static float scale_at(const ternary_scale *s, uint32_t row, uint32_t column)
{
    return s->values[(size_t)ternary_scale_set(s, row) * s->n_groups + column / s->group];
}

static bool dense_row_is_right(pair *p, uint32_t source, const uint8_t *in, const uint8_t *back)
{
    const convert_tensor *t = p->t;
    if (t->action == CONVERT_COPY) return memcmp(in, back, p->to_bytes) == 0;
    convert_row_floats(t, source, in, p->values);
    if (!encode_dense_row(dense_form(t), p->values, t->n_cols, p->expected)) return false;
    dense_row_to_float(dense_form(t), back, t->n_cols, p->decoded);
    for (uint32_t c = 0; c < t->n_cols; c++) {
        double value = (double)p->values[c], difference = value - (double)p->decoded[c];
        p->sums->error2 += difference * difference;
        p->sums->source2 += value * value;
    }
    return memcmp(p->expected, back, p->to_bytes) == 0;
}

static bool ternary_row_is_right(pair *p, uint32_t source, uint32_t row, const uint8_t *in, const uint8_t *back)
{
    const convert_tensor *t = p->t;
    if (memcmp(in, back, p->to_bytes) != 0) return false;
    for (uint32_t c = 0; c < t->n_cols; c += TERNARY_GRANULE) {
        float a = scale_at(&t->scale, source, c), b = scale_at(&p->to_scale, row, c);
        if (a == 0.0f) continue; // the codes are zeros and were compared
        if ((t->trits == ENCODE_I2_S ? a : half_to_float(half_from_float(a))) != b) return false;
        double rounding = fabs((double)a - (double)b) / (double)a;
        if (rounding > p->sums->scale_rounding) p->sums->scale_rounding = rounding;
    }
    return true;
}

// Rows [first, first + count) of the file.
static tern_status check_piece(pair *p, uint32_t first, uint32_t count, tern_error *err)
{
    const convert_tensor *t = p->t;
    tern_status status = matrix_read_rows(t->matrix, &t->scale, first, count, p->in, err);
    if (status != TERN_OK) return status;
    if (is_dense_form(t)) // as stored: the opener may have recognised trits in it
        memcpy(p->back, p->to->weights->data + (size_t)first * p->to_bytes, count * p->to_bytes);
    else
        status = as_difference(matrix_read_rows(p->to, &p->to_scale, first, count, p->back, err), t->name, err);
    for (uint32_t row = first; row < first + count && status == TERN_OK; row++) {
        uint32_t source = convert_source_row(t, p->n_rotated, row);
        const uint8_t *in = p->in + (source - first) * p->in_bytes, *back = p->back + (row - first) * p->to_bytes;
        bool is_right = is_dense_form(t) ? dense_row_is_right(p, source, in, back)
                                         : ternary_row_is_right(p, source, row, in, back);
        if (!is_right) status = error_set(err, TERN_INTERNAL, "%s: row %u differs from the source", t->name, row);
    }
    return status;
}

static tern_status check_matrix(const model_source *from, const convert_tensor *t, const model_source *to,
                                const convert_watch *watch, convert_comparison *sums, tern_error *err)
{
    pair p = {.t = t, .to = convert_place(to, t), .n_rotated = from->hp.rope.n_dims, .sums = sums};
    tern_status status = pair_init(&p, err);
    uint64_t done = 0;
    for (uint32_t first = 0; first < t->n_rows && status == TERN_OK;) {
        uint32_t count = t->n_rows - first < p.n_rows ? t->n_rows - first : p.n_rows;
        status = check_piece(&p, first, count, err);
        first += count;
        uint64_t now = (uint64_t)((double)t->n_bytes * first / t->n_rows);
        if (first == t->n_rows) now = t->n_bytes;
        if (status == TERN_OK && watch != NULL) status = watch->advance(watch->user, now - done, err);
        done = now;
    }
    pair_free(&p);
    sums->n_matrices++;
    sums->n_weights += (uint64_t)t->n_rows * t->n_cols;
    return status;
}

static tern_status check_vector(const convert_tensor *t, const model_source *to, const convert_watch *watch,
                                convert_comparison *sums, tern_error *err)
{
    float *expected = malloc((size_t)t->n_bytes), *back = malloc((size_t)t->n_bytes);
    tern_status status = TERN_OK;
    if (expected == NULL || back == NULL) {
        status = error_set(err, TERN_HOST_MEMORY, "%s: no memory for %u values", t->name, t->n_cols);
    } else if (t->action == CONVERT_VALUES) {
        memcpy(expected, t->values, (size_t)t->n_bytes);
        memcpy(back, to->hp.rope.freq_divisors, (size_t)t->n_bytes);
    } else {
        status = model_read_vector(t->vector, t->n_cols, expected, err);
        if (status == TERN_OK)
            status = as_difference(model_read_vector(convert_place(to, t), t->n_cols, back, err), t->name, err);
    }
    if (status == TERN_OK && memcmp(expected, back, (size_t)t->n_bytes) != 0)
        status = error_set(err, TERN_INTERNAL, "%s: the values differ from the source", t->name);
    free(expected);
    free(back);
    sums->n_vectors++;
    return status == TERN_OK && watch != NULL ? watch->advance(watch->user, t->n_bytes, err) : status;
}

tern_status convert_verify(const model_source *from, const convert_plan *plan, const model_source *to,
                           const convert_watch *watch, convert_comparison *out, tern_error *err)
{
    convert_comparison sums = {0};
    tern_status status = check_hparams(from, plan, to, err);
    if (status == TERN_OK) status = check_tokenizer(from, to, err);
    for (size_t i = 0; i < plan->n_tensors && status == TERN_OK; i++) {
        const convert_tensor *t = &plan->tensors[i];
        status = t->matrix != NULL ? check_matrix(from, t, to, watch, &sums, err)
                                   : check_vector(t, to, watch, &sums, err);
    }
    if (status == TERN_OK) *out = sums;
    return status;
}
