// tern logits: the logits of every token of a sequence, as a NumPy file.
#include <stdlib.h>

#include "cli.h"
#include "npy.h"

static tern_status encode_prompt(const opt_values *options, const tern_model *model, tern_tokens *out, tern_error *err)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(model);
    if (!tokenizer) return error_set(err, TERN_UNSUPPORTED, "this model has no tokenizer; give --tokens");
    char *text = NULL;
    size_t n;
    tern_status status = cli_read_text(options, true, &text, &n, err);
    if (status != TERN_OK) return status;
    int flags = TERN_TOKENIZE_ADD_BOS | (options->values[OPT_SPECIAL].given ? TERN_TOKENIZE_PARSE_SPECIAL : 0);
    status = tern_tokenizer_encode(tokenizer, text, n, flags, out, err);
    free(text);
    return status;
}

static tern_status read_tokens(const opt_values *options, const tern_model *model, tern_tokens *out, tern_error *err)
{
    tern_status status;
    tern_model_info info;
    tern_model_get_info(model, &info);
    if (options->values[OPT_TOKENS].given) {
        status = opt_parse_list("--tokens", options->values[OPT_TOKENS].text, INT32_MAX, &out->ids, &out->n, err);
        out->capacity = out->n;
    } else {
        status = encode_prompt(options, model, out, err);
    }
    if (status != TERN_OK) return status;
    if (out->n == 0) return error_set(err, TERN_INVALID_ARGUMENT, "there are no tokens to evaluate");
    for (size_t i = 0; i < out->n; i++)
        if ((uint32_t)out->ids[i] >= info.n_vocab)
            return error_set(err, TERN_INVALID_ARGUMENT, "token %zu is %d, but the model has tokens 0 to %u", i + 1,
                             out->ids[i], info.n_vocab - 1);
    return TERN_OK;
}

static tern_status write_logits(tern_session *session, const tern_tokens *tokens, size_t n_batch, uint32_t n_vocab,
                                FILE *file, tern_error *err)
{
    tern_row *rows = malloc(n_batch * sizeof *rows);
    if (!rows) return error_set(err, TERN_HOST_MEMORY, "out of memory for a batch of %zu rows", n_batch);
    tern_status status = npy_write_header(file, tokens->n, n_vocab, err);
    for (size_t begin = 0; begin < tokens->n && status == TERN_OK; begin += n_batch) {
        size_t n = tokens->n - begin < n_batch ? tokens->n - begin : n_batch;
        for (size_t i = 0; i < n; i++)
            rows[i] = (tern_row){.sequence = 0, .token = tokens->ids[begin + i], .wants_logits = true};
        status = tern_session_eval(session, rows, n, err);
        for (size_t i = 0; i < n && status == TERN_OK; i++) {
            const float *logits;
            status = tern_session_logits(session, i, &logits, err);
            if (status == TERN_OK) status = npy_write_row(file, logits, n_vocab, err);
        }
    }
    free(rows);
    return status;
}

static tern_status make_file(const opt_values *options, cli_session *s, tern_tokens *tokens, cli_out_file *out,
                             tern_error *err)
{
    const opt_value *v = options->values;
    const char *path;
    tern_status status = cli_model_path(options, &path, err);
    if (status == TERN_OK && !v[OPT_OUT].given)
        status = error_set(err, TERN_INVALID_ARGUMENT, "no output file: give --out FILE.npy");
    if (status == TERN_OK && v[OPT_TOKENS].given == v[OPT_PROMPT].given)
        status = error_set(err, TERN_INVALID_ARGUMENT,
                           "give the tokens either as --tokens ID,... or as a text with -p");
    if (status == TERN_OK) status = cli_model_open(s, options, path, err);
    if (status == TERN_OK) status = read_tokens(options, s->model, tokens, err);
    if (status == TERN_OK && tokens->n > INT32_MAX)
        status = error_set(err, TERN_LIMIT, "%zu tokens are too many", tokens->n);
    if (status == TERN_OK) status = cli_out_open(out, v[OPT_OUT].text, err);
    if (status != TERN_OK) return status;
    size_t n_batch = (size_t)v[OPT_BATCH].integer;
    if (n_batch > tokens->n) n_batch = tokens->n;
    status = cli_session_load(s, options, (uint32_t)tokens->n, (uint32_t)n_batch, err);
    if (status != TERN_OK) return status;
    tern_model_info info;
    tern_model_get_info(s->model, &info);
    status = write_logits(s->session, tokens, n_batch, info.n_vocab, out->file, err);
    if (status == TERN_OK) status = cli_out_commit(out, err);
    if (status == TERN_OK) cli_note(options, "wrote %s: float32 [%zu, %u]", v[OPT_OUT].text, tokens->n, info.n_vocab);
    return status;
}

int cmd_logits(const opt_values *options)
{
    cli_session s = {0};
    tern_tokens tokens = {0};
    cli_out_file out = {0};
    tern_error err = {0};
    interrupt_install();
    tern_status status = make_file(options, &s, &tokens, &out, &err);
    int code = status == TERN_OK ? EXIT_CODE_OK : cli_fail(&err, NULL);
    if (status == TERN_IO && out.file) code = EXIT_CODE_RUN; // the output could not be written; inputs were read before
    cli_out_discard(&out);
    tern_tokens_free(&tokens);
    cli_session_close(&s);
    return code;
}
