// tern ppl: perplexity on a text file, and how far two runs over it diverge.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json_out.h"
#include "kl.h"
#include "perplexity.h"
#include "sha256.h"

typedef struct ppl {
    const opt_values *options;
    cli_session s;
    tern_model_info info;
    tern_tokens tokens;
    uint64_t n_bytes;
    char hash[65];
    cli_progress progress;
    perplexity_result result;
    perplexity_options measuring;
    // The comparison: this run is the base and written to `out`, or compared with the one in `base`.
    cli_out_file out;
    FILE *base;
    kl_header header;
    kl_row row, base_row;
    kl_compare compare;
    kl_result divergence;
} ppl;

static bool writes_base(const ppl *p) { return p->options->values[OPT_KL_BASE].given; }
static bool compares(const ppl *p) { return p->options->values[OPT_KL].given; }

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

// ---- comparison of two runs

// The tokens and the cut into chunks come from the base file, so that both runs score the same.
static tern_status open_base(ppl *p, tern_error *err)
{
    const char *path = p->options->values[OPT_KL].text;
    p->base = fopen(path, "rbe");
    if (!p->base) return error_set(err, TERN_IO, "cannot open '%s': %s", path, strerror(errno));
    tern_status status = kl_read_header(p->base, &p->header, err);
    if (status == TERN_OK && p->header.n_vocab != p->info.n_vocab)
        status = error_set(err, TERN_INVALID_ARGUMENT, "it is of a vocabulary of %u tokens, the model has %u",
                           p->header.n_vocab, p->info.n_vocab);
    if (status != TERN_OK) {
        error_prefix(err, "%s", path);
        return status;
    }
    p->tokens.n = p->tokens.capacity = (size_t)p->header.n_chunks * p->header.n_ctx;
    p->tokens.ids = p->header.tokens; // from here on owned there
    p->header.tokens = NULL;
    memcpy(p->hash, p->header.text_sha256, sizeof p->hash);
    error_make_printable(p->hash);
    error_make_printable(p->header.model);
    return TERN_OK;
}

static tern_status create_base(ppl *p, const perplexity_options *o, tern_error *err)
{
    p->header = (kl_header){.n_vocab = o->n_vocab, .n_ctx = o->n_ctx, .bos = o->bos, .tokens = p->tokens.ids};
    size_t n_chunks = perplexity_n_chunks(o, p->tokens.n);
    if (n_chunks > UINT32_MAX) return error_set(err, TERN_LIMIT, "%zu chunks are too many", n_chunks);
    p->header.n_chunks = (uint32_t)n_chunks;
    memcpy(p->header.text_sha256, p->hash, sizeof p->hash);
    snprintf(p->header.model, sizeof p->header.model, "%s", p->info.name);
    tern_status status = cli_out_open(&p->out, p->options->values[OPT_KL_BASE].text, err);
    if (status == TERN_OK) status = kl_write_header(p->out.file, &p->header, err);
    p->header.tokens = NULL;
    return status;
}

static tern_status on_row(void *user, const float *logits, double nll, tern_error *err)
{
    ppl *p = user;
    tern_status status = kl_encode(logits, p->header.n_vocab, nll, &p->row, err);
    if (status != TERN_OK) return status;
    if (writes_base(p)) return kl_write_row(p->out.file, &p->row, p->header.n_vocab, err);
    status = kl_read_row(p->base, &p->header, &p->base_row, err);
    if (status != TERN_OK) {
        error_prefix(err, "%s", p->options->values[OPT_KL].text);
        return status;
    }
    return kl_compare_add(&p->compare, &p->base_row, &p->row, p->header.n_vocab, err);
}

static tern_status prepare_rows(ppl *p, tern_error *err)
{
    size_t n = p->info.n_vocab;
    p->measuring.on_row = on_row;
    p->row.codes = malloc(n * sizeof *p->row.codes);
    p->base_row.codes = malloc(n * sizeof *p->base_row.codes);
    if (!p->row.codes || !p->base_row.codes)
        return error_set(err, TERN_HOST_MEMORY, "no memory for rows of %zu tokens", n);
    return TERN_OK;
}

// ---- the run

static tern_status check_usage(const ppl *p, const char **model, tern_error *err)
{
    const opt_value *v = p->options->values;
    tern_status status = cli_model_path(p->options, model, err);
    if (status != TERN_OK) return status;
    if (compares(p) && writes_base(p))
        return error_set(err, TERN_INVALID_ARGUMENT, "--kl-base writes a base and --kl compares with one; give one");
    if (compares(p) && (v[OPT_FILE].given || v[OPT_CTX].given))
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "--kl takes the tokens and the chunks from the base file; leave out -f and -c");
    if (!compares(p) && !v[OPT_FILE].given) return error_set(err, TERN_INVALID_ARGUMENT, "no text: give -f FILE");
    return TERN_OK;
}

static tern_status fill_options(ppl *p, tern_error *err)
{
    const opt_value *v = p->options->values;
    perplexity_options *o = &p->measuring;
    *o = (perplexity_options){.n_ctx = (uint32_t)v[OPT_CTX].integer, .on_chunk = show_chunk, .user = p};
    if (compares(p)) {
        o->n_ctx = p->header.n_ctx;
        o->bos = p->header.bos;
    } else {
        const tern_tokenizer *tokenizer = tern_model_tokenizer(p->s.model);
        o->bos = tern_tokenizer_adds_bos(tokenizer) ? tern_tokenizer_bos(tokenizer) : -1;
    }
    o->n_vocab = p->info.n_vocab; // rows beyond the tokenizer's ids take part in the softmax too, as in the reference
    o->n_batch = (uint32_t)v[OPT_BATCH].integer;
    if (o->n_batch > o->n_ctx) o->n_batch = o->n_ctx;
    o->max_chunks = v[OPT_CHUNKS].integer > 0 ? (size_t)v[OPT_CHUNKS].integer : 0;
    if (perplexity_n_chunks(o, p->tokens.n) == 0)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "the text has %zu tokens, less than one chunk of %u: use a longer text or a smaller -c",
                         p->tokens.n, o->n_ctx);
    return TERN_OK;
}

static tern_status measure(ppl *p, tern_error *err)
{
    const char *path;
    tern_status status = check_usage(p, &path, err);
    if (status == TERN_OK) status = cli_model_open(&p->s, p->options, path, err);
    if (status != TERN_OK) return status;
    tern_model_get_info(p->s.model, &p->info);
    error_make_printable(p->info.name);
    status = compares(p) ? open_base(p, err) : tokenize_file(p, err);
    if (status == TERN_OK) status = fill_options(p, err);
    perplexity_options *o = &p->measuring;
    if (status == TERN_OK && writes_base(p)) status = create_base(p, o, err);
    if (status == TERN_OK && (writes_base(p) || compares(p))) status = prepare_rows(p, err);
    if (status == TERN_OK) status = cli_session_load(&p->s, p->options, o->n_ctx, o->n_batch, err);
    if (status != TERN_OK) return status;
    cli_progress_begin(&p->progress, p->options, "measuring");
    status = perplexity_measure(p->s.session, p->tokens.ids, p->tokens.n, o, &p->result, err);
    cli_progress_end(&p->progress);
    if (status == TERN_OK && writes_base(p)) status = cli_out_commit(&p->out, err);
    if (status == TERN_OK && compares(p)) p->divergence = kl_compare_finish(&p->compare);
    return status;
}

static double tokens_per_second(const ppl *p)
{
    double n = (double)p->result.n_chunks * (double)p->measuring.n_ctx;
    return p->result.ns > 0 ? n * 1e9 / (double)p->result.ns : 0;
}

// What the text is called in reports.
static const char *text_name(const ppl *p)
{
    return compares(p) ? "(in the base file)" : p->options->values[OPT_FILE].text;
}

static json_t *divergence_json(const ppl *p)
{
    const kl_result *r = &p->divergence;
    return json_pack("{s:o, s:o, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "base",
                     json_out_text(p->options->values[OPT_KL].text), "base_model", json_out_text(p->header.model),
                     "mean", r->mean, "mean_error", r->error, "median", r->median, "p99", r->p99, "max", r->max,
                     "same_top", r->same_top, "same_top_error", r->same_top_error, "base_perplexity",
                     r->base_perplexity, "ppl_ratio", r->ppl_ratio, "ppl_ratio_error", r->ppl_ratio_error);
}

static int print_json(const ppl *p)
{
    const perplexity_result *r = &p->result;
    const char *model;
    if (cli_model_path(p->options, &model, NULL) != TERN_OK) model = "";
    json_t *report = json_pack(
        "{s:o, s:b, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:f, s:f, s:f}", "model",
        json_out_text(model), "is_synthetic", p->info.is_synthetic, "device", p->s.plan.device, "type_k",
        tern_kv_type_name(p->s.plan.kv_k), "type_v", tern_kv_type_name(p->s.plan.kv_v), "head",
        tern_head_name(p->s.plan.head), "attention", p->s.plan.attention, "file", json_out_text(text_name(p)),
        "file_sha256", p->hash, "file_bytes", json_out_count(p->n_bytes), "n_tokens", json_out_count(r->n_tokens),
        "n_ctx", json_out_count(p->measuring.n_ctx), "n_chunks", json_out_count(r->n_chunks), "n_scored",
        json_out_count(r->n_scored), "perplexity", r->perplexity, "perplexity_error", r->error, "nll", r->nll,
        "seconds", (double)r->ns * 1e-9, "tokens_per_second", tokens_per_second(p));
    if (report && compares(p)) json_object_set_new(report, "kl", divergence_json(p));
    return json_out_print(report);
}

static void print_divergence(const ppl *p)
{
    const kl_result *r = &p->divergence;
    printf("\n| against %s | value |\n| --- | ---: |\n"
           "| mean KL divergence, nats | %.6g +- %.2g |\n| median | %.6g |\n| 99 %% | %.6g |\n| max | %.6g |\n"
           "| same top token | %.3f %% +- %.3f %% |\n| perplexity of the base | %.4f |\n"
           "| perplexity ratio | %.6f +- %.2g |\n",
           p->header.model, r->mean, r->error, r->median, r->p99, r->max, 100 * r->same_top, 100 * r->same_top_error,
           r->base_perplexity, r->ppl_ratio, r->ppl_ratio_error);
}

static void print_table(const ppl *p)
{
    const perplexity_result *r = &p->result;
    printf("| model | text sha256 | tokens | n_ctx | chunks | scored | kv | perplexity |\n"
           "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: |\n"
           "| %s | %.16s | %zu | %u | %zu | %zu | %s/%s | %.4f +- %.4f |\n",
           p->info.name, p->hash, r->n_tokens, p->measuring.n_ctx, r->n_chunks, r->n_scored,
           tern_kv_type_name(p->s.plan.kv_k), tern_kv_type_name(p->s.plan.kv_v), r->perplexity, r->error);
    if (p->s.plan.head != TERN_HEAD_STORED) printf("\n%s\n", cli_head(p->s.plan.head).text);
    if (p->s.plan.fast_attention) printf("\nattention %s\n", p->s.plan.attention);
    if (compares(p))
        print_divergence(p);
    else
        printf("\ntext: %s, %llu bytes, sha256 %s\n", text_name(p), (unsigned long long)p->n_bytes, p->hash);
}

int cmd_ppl(const opt_values *options)
{
    static ppl p; // large
    p = (ppl){.options = options};
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
    if (status == TERN_OK && writes_base(&p))
        cli_note(options, "wrote %s: %u chunks of %u tokens", options->values[OPT_KL_BASE].text, p.header.n_chunks,
                 p.header.n_ctx);
    if (status == TERN_IO && p.out.file) code = EXIT_CODE_RUN; // the base could not be written
    cli_out_discard(&p.out);
    if (p.base) fclose(p.base);
    kl_header_free(&p.header);
    kl_compare_free(&p.compare);
    free(p.row.codes);
    free(p.base_row.codes);
    tern_tokens_free(&p.tokens);
    cli_session_close(&p.s);
    return cli_finish(code);
}
