// Quality with the models and the text that the user gave: is packing lossless, and what does ternarising a float model
// without training do; see verify_run.h.
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert.h"
#include "error.h"
#include "kl.h"
#include "model.h"
#include "verify_run.h"

enum { MAX_CTX = 256, N_CHUNKS_QUICK = 4, N_CHUNKS = 20 };

// A model ready to be measured.
typedef struct subject {
    tern_model *model;
    tern_session *session;
    tern_model_info info;
    uint32_t n_ctx;
} subject;

static void close_subject(const verify *v, subject *s)
{
    if (v->options->watch != NULL) v->options->watch(v->options->user, NULL);
    tern_session_free(s->session);
    tern_model_close(s->model);
    *s = (subject){0};
}

static tern_status open_subject(const verify *v, const char *path, tern_act act, tern_weights kind, subject *out,
                                tern_error *err)
{
    subject s = {0};
    tern_model_options mo;
    tern_model_options_init(&mo);
    mo.act = act;
    tern_status status = tern_model_open(v->options->engine, path, &mo, &s.model, err);
    if (status != TERN_OK) return status;
    tern_model_get_info(s.model, &s.info);
    s.n_ctx = s.info.n_ctx_train < MAX_CTX ? s.info.n_ctx_train : MAX_CTX;
    tern_plan_options po;
    tern_plan_options_init(&po);
    po.device = v->devices[0].info.name;
    po.n_ctx = po.n_batch = s.n_ctx;
    po.n_threads = v->options->n_threads;
    po.kv_k = po.kv_v = TERN_KV_F32;
    po.weights = kind;
    tern_plan plan;
    status = tern_plan_make(s.model, &po, &plan, err);
    if (status == TERN_OK) status = tern_model_load(s.model, &plan, NULL, NULL, err);
    if (status == TERN_OK) status = tern_session_create(s.model, &s.session, err);
    if (status != TERN_OK) {
        close_subject(v, &s);
        return status;
    }
    if (v->options->watch != NULL) v->options->watch(v->options->user, s.session);
    *out = s;
    return TERN_OK;
}

// ------------------------------------------------------------------------------------------- perplexity, divergence

typedef struct measuring {
    verify *v;
    FILE *base;
    bool is_second;
    kl_header header;
    kl_row row, base_row;
    kl_compare compare;
} measuring;

static tern_status on_row(void *user, const float *logits, double nll, tern_error *err)
{
    measuring *m = user;
    tern_status status = kl_encode(logits, m->header.n_vocab, nll, &m->row, err);
    if (status != TERN_OK) return status;
    if (!m->is_second) return kl_write_row(m->base, &m->row, m->header.n_vocab, err);
    status = kl_read_row(m->base, &m->header, &m->base_row, err);
    return status == TERN_OK ? kl_compare_add(&m->compare, &m->base_row, &m->row, m->header.n_vocab, err) : status;
}

static bool on_chunk(void *user, const perplexity_result *so_far, size_t n_chunks)
{
    measuring *m = user;
    char what[64];
    snprintf(what, sizeof what, "quality, chunk %zu of %zu", so_far->n_chunks, n_chunks);
    return verify_step(m->v, m->v->share, what, NULL) == TERN_OK;
}

static tern_status measure_text(measuring *m, const subject *s, const tern_tokens *tokens, bool has_rows,
                                perplexity_result *out, tern_error *err)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(s->model);
    perplexity_options o = {.n_ctx = s->n_ctx, .n_batch = s->n_ctx, .n_vocab = s->info.n_vocab, .user = m};
    o.max_chunks = m->v->options->is_quick ? N_CHUNKS_QUICK : N_CHUNKS;
    o.bos = tern_tokenizer_adds_bos(tokenizer) ? tern_tokenizer_bos(tokenizer) : -1;
    o.on_chunk = on_chunk;
    o.on_row = has_rows ? on_row : NULL;
    return perplexity_measure(s->session, tokens->ids, tokens->n, &o, out, err);
}

static tern_status read_tokens(const char *path, const tern_model *model, tern_tokens *out, tern_error *err)
{
    enum { MAX_BYTES = 1 << 20 }; // more than the chunks measured need
    const tern_tokenizer *tokenizer = tern_model_tokenizer(model);
    if (tokenizer == NULL) return error_set(err, TERN_UNSUPPORTED, "the model has no tokenizer");
    FILE *file = fopen(path, "rbe");
    if (file == NULL) return error_set(err, TERN_IO, "cannot open '%s': %s", path, strerror(errno));
    char *text = malloc(MAX_BYTES);
    size_t n = text != NULL ? fread(text, 1, MAX_BYTES, file) : 0;
    fclose(file);
    if (n == MAX_BYTES) // not in the middle of a character
        while (n > 0 && text[n - 1] != '\n') n--;
    tern_status status = text != NULL ? tern_tokenizer_encode(tokenizer, text, n, TERN_TOKENIZE_ADD_BOS, out, err)
                                      : error_set(err, TERN_HOST_MEMORY, "no memory for a text");
    free(text);
    return status;
}

// Runs both models over the text and compares the second with the first.
static tern_status compare_models(verify *v, const subject *first, const subject *second, perplexity_result results[2],
                                  kl_result *out, tern_error *err)
{
    measuring m = {.v = v, .base = tmpfile(), .header = {.n_vocab = first->info.n_vocab}};
    tern_tokens tokens = {0};
    tern_status status = TERN_OK;
    if (first->info.n_vocab != second->info.n_vocab || first->n_ctx != second->n_ctx)
        status = error_set(err, TERN_INVALID_ARGUMENT, "the models have different vocabularies or contexts");
    m.row.codes = calloc(first->info.n_vocab, sizeof *m.row.codes);
    m.base_row.codes = calloc(first->info.n_vocab, sizeof *m.base_row.codes);
    if (status == TERN_OK && (m.base == NULL || m.row.codes == NULL || m.base_row.codes == NULL))
        status = error_set(err, TERN_HOST_MEMORY, "no memory or temporary file for a comparison");
    if (status == TERN_OK) status = read_tokens(v->options->text, first->model, &tokens, err);
    if (status == TERN_OK) status = measure_text(&m, first, &tokens, true, &results[0], err);
    if (status == TERN_OK) {
        rewind(m.base);
        m.is_second = true;
        status = measure_text(&m, second, &tokens, true, &results[1], err);
    }
    if (status == TERN_OK) *out = kl_compare_finish(&m.compare);
    if (m.base != NULL) fclose(m.base);
    kl_compare_free(&m.compare);
    free(m.row.codes);
    free(m.base_row.codes);
    tern_tokens_free(&tokens);
    return status;
}

// --------------------------------------------------------------------------------------------------------- lossless

// The same weights in FP16 with float activations, and packed with float activations.
static tern_status measure_divergence(verify *v, tern_error *err)
{
    verify_quality *q = &v->quality;
    subject fp16 = {0}, packed = {0};
    perplexity_result results[2];
    kl_result kl;
    tern_status status = open_subject(v, v->options->model, TERN_ACT_F32, TERN_WEIGHTS_F16, &fp16, err);
    if (status == TERN_OK) status = open_subject(v, v->options->model, TERN_ACT_F32, TERN_WEIGHTS_STORED, &packed, err);
    if (status == TERN_OK && !packed.info.is_ternary)
        status = error_set(err, TERN_INVALID_ARGUMENT, "the model of -m has no ternary weights");
    if (status == TERN_OK) status = compare_models(v, &fp16, &packed, results, &kl, err);
    if (status == TERN_OK) {
        q->has_divergence = true;
        q->kl = kl.mean;
        q->kl_error = kl.error;
        q->same_top = kl.same_top;
        q->same_top_error = kl.same_top_error;
        q->n_scored = kl.n;
        q->n_chunks = results[1].n_chunks;
        q->n_ctx = packed.n_ctx;
    }
    close_subject(v, &packed);
    close_subject(v, &fp16);
    return status;
}

static tern_status logits_of(const verify *v, const char *path, const tern_tokens *tokens, float **out, size_t *n,
                             tern_error *err)
{
    subject s = {0};
    tern_status status = open_subject(v, path, TERN_ACT_AUTO, TERN_WEIGHTS_STORED, &s, err);
    if (status != TERN_OK) return status;
    size_t n_rows = tokens->n < 64 ? tokens->n : 64, n_vocab = s.info.n_vocab;
    if (n_rows > s.n_ctx) n_rows = s.n_ctx;
    tern_row rows[64];
    for (size_t i = 0; i < n_rows; i++) rows[i] = (tern_row){.token = tokens->ids[i], .wants_logits = true};
    float *values = malloc(n_rows * n_vocab * sizeof *values);
    if (values == NULL) status = error_set(err, TERN_HOST_MEMORY, "no memory for logits");
    if (status == TERN_OK) status = tern_session_eval(s.session, rows, n_rows, err);
    for (size_t i = 0; i < n_rows && status == TERN_OK; i++) {
        const float *row;
        status = tern_session_logits(s.session, i, &row, err);
        if (status == TERN_OK) memcpy(values + i * n_vocab, row, n_vocab * sizeof *values);
    }
    close_subject(v, &s);
    if (status != TERN_OK) {
        free(values);
        return status;
    }
    *out = values;
    *n = n_rows * n_vocab;
    return TERN_OK;
}

static tern_status compare_packings(verify *v, const char *converted, tern_error *err)
{
    verify_quality *q = &v->quality;
    tern_model *model = NULL;
    model_source *source = NULL;
    tern_tokens tokens = {0};
    float *a = NULL, *b = NULL;
    size_t n_a = 0, n_b = 0;
    tern_model_options mo;
    tern_model_options_init(&mo);
    tern_status status = tern_model_open(v->options->engine, v->options->model, &mo, &model, err);
    if (status == TERN_OK) status = read_tokens(v->options->text, model, &tokens, err);
    if (status == TERN_OK) status = model_open(v->options->model, &mo, &source, err);
    if (status == TERN_OK)
        status = model_convert(source, converted, &(convert_options){.type = ENCODE_I2_S}, NULL, err);
    model_free(source);
    tern_model_close(model);
    if (status == TERN_OK) status = logits_of(v, v->options->model, &tokens, &a, &n_a, err);
    if (status == TERN_OK) status = logits_of(v, converted, &tokens, &b, &n_b, err);
    if (status == TERN_OK && n_a != n_b)
        status = error_set(err, TERN_INTERNAL, "the converted model gives another number of logits");
    if (status == TERN_OK) {
        q->has_bits = true;
        q->n_compared = n_a;
        for (size_t i = 0; i < n_a; i++) q->n_different += memcmp(&a[i], &b[i], sizeof *a) != 0;
    }
    free(a);
    free(b);
    tern_tokens_free(&tokens);
    unlink(converted);
    return status;
}

// ------------------------------------------------------------------------------------------------------- conversion

// A directory beside the results that is the float model but for its config.json, which asks for ternarising on the fly
// by the absmean rule: {"quantization_config": {bitnet, autobitlinear, online}}.
static tern_status write_config(const char *model, const char *folder, tern_error *err)
{
    char path[PATH_MAX];
    json_error_t at;
    snprintf(path, sizeof path, "%.3900s/config.json", model);
    json_t *config = json_load_file(path, JSON_REJECT_DUPLICATES, &at);
    if (config == NULL)
        return error_set(err, TERN_IO, "%.100s: --float-model takes a Hugging Face directory (%.80s)", model, at.text);
    tern_status status = TERN_OK;
    if (json_object_get(config, "quantization_config") != NULL)
        status = error_set(err, TERN_INVALID_ARGUMENT, "the model of --float-model is quantised already");
    json_object_set_new(config, "quantization_config",
                        json_pack("{s:s, s:s, s:s}", "quant_method", "bitnet", "linear_class", "autobitlinear",
                                  "quantization_mode", "online"));
    snprintf(path, sizeof path, "%.3900s/config.json", folder);
    if (status == TERN_OK && json_dump_file(config, path, JSON_INDENT(1)) != 0)
        status = error_set(err, TERN_IO, "cannot write '%.200s'", path);
    json_decref(config);
    return status;
}

static tern_status link_files(const char *model, const char *folder, tern_error *err)
{
    char absolute[PATH_MAX], from[2 * PATH_MAX], to[2 * PATH_MAX];
    DIR *d = realpath(model, absolute) != NULL ? opendir(absolute) : NULL;
    if (d == NULL) return error_set(err, TERN_IO, "cannot read '%.200s': %s", model, strerror(errno));
    tern_status status = TERN_OK;
    for (struct dirent *entry; status == TERN_OK && (entry = readdir(d)) != NULL;) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "config.json") == 0) continue;
        snprintf(from, sizeof from, "%s/%s", absolute, entry->d_name);
        snprintf(to, sizeof to, "%.4000s/%s", folder, entry->d_name);
        if (symlink(from, to) != 0) status = error_set(err, TERN_IO, "cannot link '%.200s': %s", to, strerror(errno));
    }
    closedir(d);
    return status;
}

static tern_status measure_conversion(verify *v, const char *folder, tern_error *err)
{
    verify_quality *q = &v->quality;
    subject original = {0}, converted = {0};
    perplexity_result results[2];
    kl_result kl;
    if (mkdir(folder, 0777) != 0) return error_set(err, TERN_IO, "cannot make '%.200s': %s", folder, strerror(errno));
    tern_status status = write_config(v->options->float_model, folder, err);
    if (status == TERN_OK) status = link_files(v->options->float_model, folder, err);
    if (status == TERN_OK)
        status = open_subject(v, v->options->float_model, TERN_ACT_AUTO, TERN_WEIGHTS_STORED, &original, err);
    if (status == TERN_OK) status = open_subject(v, folder, TERN_ACT_AUTO, TERN_WEIGHTS_STORED, &converted, err);
    if (status == TERN_OK) status = compare_models(v, &original, &converted, results, &kl, err);
    if (status == TERN_OK) {
        q->has_conversion = q->has_float_ppl = true;
        q->ppl_float = results[0].perplexity;
        q->ppl_float_error = results[0].error;
        q->ppl_converted = results[1].perplexity;
        q->ppl_converted_error = results[1].error;
        q->conversion_ratio = kl.ppl_ratio;
        q->conversion_error = kl.ppl_ratio_error;
    }
    close_subject(v, &converted);
    close_subject(v, &original);
    verify_remove_folder(folder);
    return status;
}

// ------------------------------------------------------------------------------------------------------------- all

// The model as it is used, beside its float counterpart: what the published pairs would be measured by.
static tern_status measure_ternary(verify *v, tern_error *err)
{
    subject s = {0};
    tern_tokens tokens = {0};
    measuring m = {.v = v};
    perplexity_result result;
    tern_status status = open_subject(v, v->options->model, TERN_ACT_AUTO, TERN_WEIGHTS_STORED, &s, err);
    if (status == TERN_OK) status = read_tokens(v->options->text, s.model, &tokens, err);
    if (status == TERN_OK) status = measure_text(&m, &s, &tokens, false, &result, err);
    if (status == TERN_OK) {
        v->quality.has_ternary_ppl = true;
        v->quality.ppl_ternary = result.perplexity;
        v->quality.ppl_ternary_error = result.error;
    }
    tern_tokens_free(&tokens);
    close_subject(v, &s);
    return status;
}

// What fails is an outcome, not the end of the run: only an interrupt is. The reason is kept.
static tern_status explain(tern_status status, tern_error *cause, char *out, size_t n_bytes, tern_error *err)
{
    if (status == TERN_OK) return TERN_OK;
    if (status == TERN_CANCELLED) return error_set(err, status, "%s", cause->message);
    snprintf(out, n_bytes, "%.180s", cause->message);
    *cause = (tern_error){0};
    return TERN_OK;
}

tern_status verify_measure_quality(verify *v, tern_error *err)
{
    verify_quality *q = &v->quality;
    const verify_options *o = v->options;
    char path[PATH_MAX];
    tern_error cause = {0};
    snprintf(q->why_not, sizeof q->why_not, "needs a ternary model and a text: give -m MODEL and -f TEXT");
    snprintf(q->why_no_conversion, sizeof q->why_no_conversion,
             "needs a float model and a text: give --float-model DIR and -f TEXT");
    tern_status status = verify_step(v, 0.82, "quality", err);
    if (status == TERN_OK && o->model != NULL && o->text != NULL) {
        status = explain(measure_divergence(v, &cause), &cause, q->why_not, sizeof q->why_not, err);
        snprintf(path, sizeof path, "%.4000s/converted.gguf", v->folder);
        if (status == TERN_OK)
            status = explain(compare_packings(v, path, &cause), &cause, q->why_not, sizeof q->why_not, err);
        if (status == TERN_OK) status = explain(measure_ternary(v, &cause), &cause, q->why_not, sizeof q->why_not, err);
    }
    if (status == TERN_OK && o->float_model != NULL && o->text != NULL) {
        snprintf(path, sizeof path, "%.4000s/ternarised", v->folder);
        status = explain(measure_conversion(v, path, &cause), &cause, q->why_no_conversion, sizeof q->why_no_conversion,
                         err);
    }
    return status;
}
