// tern tokenize: a text's ids.
#include <stdlib.h>
#include <sys/stat.h>

#include "cli.h"
#include "json_out.h"
#include "tokenizer.h"

// Where the tokenizer comes from: a model, or a directory with nothing but tokenizer files.
typedef struct source {
    cli_session s;
    tern_tokenizer *own;
    const tern_tokenizer *tokenizer;
} source;

static bool is_tokenizer_directory(const char *path)
{
    char config[4096];
    struct stat facts;
    if (stat(path, &facts) != 0 || !S_ISDIR(facts.st_mode)) return false;
    int n = snprintf(config, sizeof config, "%s/config.json", path);
    return n > 0 && (size_t)n < sizeof config && stat(config, &facts) != 0;
}

static tern_status open_source(source *from, const opt_values *options, tern_error *err)
{
    const char *path;
    tern_status status = cli_model_path(options, &path, err);
    if (status != TERN_OK) return status;
    if (is_tokenizer_directory(path)) {
        // No model, so no embedding whose rows bound the ids: a cap well above any vocabulary instead.
        status = tokenizer_from_directory(path, 1u << 20, &from->own, err);
        from->tokenizer = from->own;
        return status;
    }
    status = cli_model_open(&from->s, options, path, err);
    if (status != TERN_OK) return status;
    from->tokenizer = tern_model_tokenizer(from->s.model);
    return from->tokenizer ? TERN_OK : error_set(err, TERN_UNSUPPORTED, "'%s' has no tokenizer", path);
}

static tern_status encode(const opt_values *options, const source *from, tern_tokens *out, tern_error *err)
{
    char *text = NULL;
    size_t n;
    tern_status status = cli_read_text(options, false, &text, &n, err);
    if (status != TERN_OK) return status;
    int flags = (options->values[OPT_ADD_BOS].given ? TERN_TOKENIZE_ADD_BOS : 0) |
                (options->values[OPT_SPECIAL].given ? TERN_TOKENIZE_PARSE_SPECIAL : 0);
    status = tern_tokenizer_encode(from->tokenizer, text, n, flags, out, err);
    free(text);
    return status;
}

static int print_json(const tern_tokens *tokens)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < tokens->n; i++) json_array_append_new(ids, json_integer(tokens->ids[i]));
    return json_out_print(json_pack("{s:o, s:o}", "n_tokens", json_out_count(tokens->n), "tokens", ids));
}

int cmd_tokenize(const opt_values *options)
{
    source from = {0};
    tern_tokens tokens = {0};
    tern_error err = {0};
    tern_status status = open_source(&from, options, &err);
    if (status == TERN_OK) status = encode(options, &from, &tokens, &err);
    int code = EXIT_CODE_OK;
    if (status != TERN_OK) {
        code = cli_fail(&err, NULL);
    } else if (cli_wants_json(options)) {
        code = print_json(&tokens);
    } else {
        for (size_t i = 0; i < tokens.n; i++) printf(i ? ",%d" : "%d", tokens.ids[i]);
        printf("\n");
    }
    tern_tokens_free(&tokens);
    tokenizer_free(from.own);
    cli_session_close(&from.s);
    return cli_finish(code);
}
