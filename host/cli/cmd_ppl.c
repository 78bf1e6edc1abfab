// tern ppl: perplexity on a text file.
#include <stdlib.h>

#include "cli.h"
#include "json_out.h"
#include "perplexity.h"
#include "sha256.h"

typedef struct ppl {
    const opt_values *options;
    cli_session s;
    cli_session stored; // with --compare-head: the same model with its stored head
    tern_model_info info;
    tern_tokens tokens;
    uint64_t n_bytes;
    char hash[65];
    cli_progress progress;
    perplexity_result result;
} ppl;

static tern_status tokenize_file(ppl *p, tern_error *err)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(p->s.model);
    if (!tokenizer)
        return error_set(err, TERN_UNSUPPORTED, "this model has no tokenizer, so it cannot be measured on a text");
    char *text = NULL;
    size_t n;
    tern_status status = cli_read_file(p->options->values[OPT_FILE].text, &text, &n, err);
    if (status != TERN_OK) return status;
    sha256 hash;
    sha256_init(&hash);
    sha256_update(&hash, text, n);
    sha256_finish(&hash, p->hash);
    p->n_bytes = n;
    status = tern_tokenizer_encode(tokenizer, text, n, TERN_TOKENIZE_ADD_BOS, &p->tokens, err);
    free(text);
    return status;
}

static bool show_chunk(void *user, const perplexity_result *so_far, size_t n_chunks)
{
    ppl *p = user;
    char detail[120];
    snprintf(detail, sizeof detail, "chunk %zu of %zu, perplexity %.4f", so_far->n_chunks, n_chunks,
             so_far->perplexity);
    cli_progress_show(&p->progress, (double)so_far->n_chunks / (double)n_chunks, detail);
    return !interrupt_seen();
}

// The model a second time, as the first is loaded but for its head.
static tern_status load_stored(ppl *p, tern_error *err)
{
    const char *path;
    if (p->s.plan.head == TERN_HEAD_STORED)
        return error_set(err, TERN_INVALID_ARGUMENT, "--compare-head compares with the stored head: give --head too");
    tern_status status = cli_model_path(p->options, &path, err);
    if (status == TERN_OK) status = cli_model_open(&p->stored, p->options, path, err);
    tern_plan_options o;
    tern_plan_options_init(&o);
    o.device = p->s.plan.device;
    o.n_ctx = p->s.plan.n_ctx;
    o.n_batch = p->s.plan.n_batch;
    o.n_threads = p->s.plan.n_threads;
    o.kv_k = p->s.plan.kv_k;
    o.kv_v = p->s.plan.kv_v;
    if (status == TERN_OK) status = tern_plan_make(p->stored.model, &o, &p->stored.plan, err);
    if (status == TERN_OK) status = tern_model_load(p->stored.model, &p->stored.plan, NULL, NULL, err);
    return status == TERN_OK ? tern_session_create(p->stored.model, &p->stored.session, err) : status;
}

static tern_status measure(ppl *p, tern_error *err)
{
    const opt_value *v = p->options->values;
    const char *path;
    tern_status status = cli_model_path(p->options, &path, err);
    if (status == TERN_OK && !v[OPT_FILE].given)
        status = error_set(err, TERN_INVALID_ARGUMENT, "no text: give -f FILE");
    if (status == TERN_OK) status = cli_model_open(&p->s, p->options, path, err);
    if (status == TERN_OK) status = tokenize_file(p, err);
    if (status != TERN_OK) return status;
    tern_model_get_info(p->s.model, &p->info);
    error_make_printable(p->info.name);
    const tern_tokenizer *tokenizer = tern_model_tokenizer(p->s.model);
    perplexity_options o = {.n_ctx = (uint32_t)v[OPT_CTX].integer, .on_chunk = show_chunk, .user = p};
    o.n_vocab = p->info.n_vocab; // rows beyond the tokenizer's ids take part in the softmax too, as in the reference
    o.n_batch = (uint32_t)v[OPT_BATCH].integer;
    if (o.n_batch > o.n_ctx) o.n_batch = o.n_ctx;
    o.max_chunks = v[OPT_CHUNKS].integer > 0 ? (size_t)v[OPT_CHUNKS].integer : 0;
    o.bos = tern_tokenizer_adds_bos(tokenizer) ? tern_tokenizer_bos(tokenizer) : -1;
    if (perplexity_n_chunks(&o, p->tokens.n) == 0)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "the text has %zu tokens, less than one chunk of %u: use a longer text or a smaller -c",
                         p->tokens.n, o.n_ctx);
    status = cli_session_load(&p->s, p->options, o.n_ctx, o.n_batch, err);
    if (status == TERN_OK && v[OPT_COMPARE_HEAD].given) status = load_stored(p, err);
    if (status != TERN_OK) return status;
    o.reference = p->stored.session;
    cli_progress_begin(&p->progress, p->options, "measuring");
    status = perplexity_measure(p->s.session, p->tokens.ids, p->tokens.n, &o, &p->result, err);
    cli_progress_end(&p->progress);
    return status;
}

static double tokens_per_second(const ppl *p)
{
    double n = (double)p->result.n_chunks * (double)p->options->values[OPT_CTX].integer;
    return p->result.ns > 0 ? n * 1e9 / (double)p->result.ns : 0;
}

static double same_top_share(const perplexity_result *r) { return (double)r->n_same_top / (double)r->n_scored; }

static int print_json(const ppl *p)
{
    const perplexity_result *r = &p->result;
    const char *model;
    if (cli_model_path(p->options, &model, NULL) != TERN_OK) model = "";
    json_t *compared = NULL; // no such key
    if (p->stored.session != NULL)
        compared = json_pack("{s:f, s:f, s:f}", "same_top", same_top_share(r), "divergence", r->divergence,
                             "perplexity", r->reference_perplexity);
    return json_out_print(json_pack(
        "{s:o, s:b, s:s, s:s, s:s, s:s, s:o*, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:f, s:f, s:f}", "model",
        json_out_text(model), "is_synthetic", p->info.is_synthetic, "device", p->s.plan.device, "type_k",
        cli_kv_name(p->s.plan.kv_k), "type_v", cli_kv_name(p->s.plan.kv_v), "head", cli_head_name(p->s.plan.head),
        "stored_head", compared, "file", json_out_text(p->options->values[OPT_FILE].text), "file_sha256", p->hash,
        "file_bytes", json_out_count(p->n_bytes), "n_tokens", json_out_count(r->n_tokens), "n_ctx",
        json_integer(p->options->values[OPT_CTX].integer), "n_chunks", json_out_count(r->n_chunks), "n_scored",
        json_out_count(r->n_scored), "perplexity", r->perplexity, "perplexity_error", r->error, "nll", r->nll,
        "seconds", (double)r->ns * 1e-9, "tokens_per_second", tokens_per_second(p)));
}

static void print_table(const ppl *p)
{
    const perplexity_result *r = &p->result;
    printf("| model | text sha256 | tokens | n_ctx | chunks | scored | kv | perplexity |\n"
           "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: |\n"
           "| %s | %.16s | %zu | %lld | %zu | %zu | %s/%s | %.4f +- %.4f |\n",
           p->info.name, p->hash, r->n_tokens, (long long)p->options->values[OPT_CTX].integer, r->n_chunks, r->n_scored,
           cli_kv_name(p->s.plan.kv_k), cli_kv_name(p->s.plan.kv_v), r->perplexity, r->error);
    if (p->s.plan.head != TERN_HEAD_STORED) printf("\nembedding and head held as %s\n", cli_head_name(p->s.plan.head));
    if (p->stored.session != NULL)
        printf("against the stored head: the same first token at %.3f %% of %zu positions, divergence %.3g nats, "
               "perplexity %.4f (%+.4f %%)\n",
               100 * same_top_share(r), r->n_scored, r->divergence, r->reference_perplexity,
               100 * (r->perplexity / r->reference_perplexity - 1));
    printf("\ntext: %s, %llu bytes, sha256 %s\n", p->options->values[OPT_FILE].text, (unsigned long long)p->n_bytes,
           p->hash);
}

int cmd_ppl(const opt_values *options)
{
    ppl p = {.options = options};
    tern_error err = {0};
    interrupt_install();
    tern_status status = measure(&p, &err);
    int code = EXIT_CODE_OK;
    if (status != TERN_OK)
        code = cli_fail(&err, NULL);
    else if (cli_wants_json(options))
        code = print_json(&p);
    else
        print_table(&p);
    if (status == TERN_OK) cli_note(options, "%.1f s, %.1f tok/s", (double)p.result.ns * 1e-9, tokens_per_second(&p));
    tern_tokens_free(&p.tokens);
    cli_session_close(&p.stored);
    cli_session_close(&p.s);
    return cli_finish(code);
}
