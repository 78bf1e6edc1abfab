// tern eval: accuracy on multiple-choice tasks.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "eval.h"
#include "json_out.h"
#include "sha256.h"

typedef struct eval {
    const opt_values *options;
    const eval_task *task;
    const char *path;
    cli_session s;
    tern_model_info info;
    eval_items items;
    eval_encoded encoded;
    char hash[65];
    bool has_bos;
    cli_progress progress;
    eval_result result;
} eval;

static bool show_item(void *user, const eval_result *so_far, size_t n_items, const double *scores)
{
    (void)scores;
    eval *e = user;
    char detail[120];
    snprintf(detail, sizeof detail, "item %zu of %zu, accuracy %.2f %%", so_far->n, n_items, 100 * so_far->acc);
    cli_progress_show(&e->progress, (double)so_far->n / (double)n_items, detail);
    return !interrupt_seen();
}

// PIQA is published as NAME.jsonl and NAME-labels.lst. NULL in *out: there is no such file.
static tern_status read_labels(const char *path, char **out, tern_error *err)
{
    static const char ending[] = ".jsonl", labels[] = "-labels.lst";
    size_t n = strlen(path), n_bytes;
    *out = NULL;
    if (n < sizeof ending || strcmp(path + n - (sizeof ending - 1), ending) != 0) return TERN_OK;
    char *name = malloc(n + sizeof labels);
    if (!name) return error_set(err, TERN_HOST_MEMORY, "no memory for the name of a file");
    n -= sizeof ending - 1;
    memcpy(name, path, n);
    memcpy(name + n, labels, sizeof labels);
    tern_status status = access(name, R_OK) == 0 ? cli_read_file(name, out, &n_bytes, err) : TERN_OK;
    free(name);
    return status;
}

static tern_status read_items(eval *e, tern_error *err)
{
    char *text = NULL, *labels = NULL;
    size_t n;
    tern_status status = cli_read_file(e->path, &text, &n, err);
    if (status == TERN_OK) status = read_labels(e->path, &labels, err);
    if (status == TERN_OK) {
        sha256 hash;
        sha256_init(&hash);
        sha256_update(&hash, text, n);
        sha256_finish(&hash, e->hash);
        size_t limit = (size_t)e->options->values[OPT_LIMIT].integer;
        status = eval_items_parse(e->task, e->path, text, n, labels, limit, &e->items, err);
    }
    free(text);
    free(labels);
    return status;
}

static tern_status load_and_score(eval *e, tern_error *err)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(e->s.model);
    if (!tokenizer)
        return error_set(err, TERN_UNSUPPORTED, "this model has no tokenizer, so it cannot be asked questions");
    tern_model_get_info(e->s.model, &e->info);
    error_make_printable(e->info.name);
    e->has_bos = tern_tokenizer_adds_bos(tokenizer);
    tern_status status = eval_encode(tokenizer, &e->items, &e->encoded, err);
    if (status != TERN_OK) {
        error_prefix(err, "%s", e->path);
        return status;
    }
    size_t n_ctx = e->encoded.longest - 1; // the last token is only predicted
    if (n_ctx > e->info.n_ctx_train) n_ctx = e->info.n_ctx_train;
    size_t n_batch = (size_t)e->options->values[OPT_BATCH].integer;
    if (n_batch > n_ctx) n_batch = n_ctx;
    status = cli_session_load(&e->s, e->options, (uint32_t)n_ctx, (uint32_t)n_batch, err);
    if (status != TERN_OK) return status;
    eval_options o = {.n_vocab = e->info.n_vocab, .n_ctx = (uint32_t)n_ctx, .n_batch = (uint32_t)n_batch};
    o.on_item = show_item;
    o.user = e;
    cli_progress_begin(&e->progress, e->options, e->task->title);
    status = eval_run(e->s.session, &e->items, &e->encoded, &o, &e->result, err);
    cli_progress_end(&e->progress);
    return status;
}

static tern_status evaluate(eval *e, tern_error *err)
{
    const opt_values *options = e->options;
    if (options->n_operands != 2)
        return error_set(err, TERN_INVALID_ARGUMENT, "give a task and its file, as in `%s`",
                         opt_commands[COMMAND_EVAL].example);
    if (!options->values[OPT_MODEL].given) return error_set(err, TERN_INVALID_ARGUMENT, "no model: give -m MODEL");
    e->path = options->operands[1];
    tern_status status = eval_task_find(options->operands[0], &e->task, err);
    if (status == TERN_OK) status = read_items(e, err);
    if (status == TERN_OK) status = cli_model_open(&e->s, options, options->values[OPT_MODEL].text, err);
    return status == TERN_OK ? load_and_score(e, err) : status;
}

static int print_json(const eval *e)
{
    const eval_result *r = &e->result;
    json_t *o = json_pack("{s:s, s:o, s:b, s:s, s:s, s:s, s:s, s:o, s:s, s:b, s:o, s:f, s:f}", "task", e->task->name,
                          "model", json_out_text(e->options->values[OPT_MODEL].text), "is_synthetic",
                          e->info.is_synthetic, "device", e->s.plan.device, "type_k", tern_kv_type_name(e->s.plan.kv_k),
                          "type_v", tern_kv_type_name(e->s.plan.kv_v), "attention", e->s.plan.attention, "file",
                          json_out_text(e->path), "file_sha256", e->hash, "has_bos", e->has_bos, "n",
                          json_out_count(r->n), "acc", r->acc, "acc_stderr", r->acc_error);
    if (o && e->task->has_norm) {
        json_object_set_new(o, "acc_norm", json_real(r->acc_norm));
        json_object_set_new(o, "acc_norm_stderr", json_real(r->acc_norm_error));
    }
    if (o) {
        json_object_set_new(o, "n_truncated", json_out_count(r->n_truncated));
        json_object_set_new(o, "n_tokens", json_out_count(r->n_tokens));
        json_object_set_new(o, "n_tokens_evaluated", json_out_count(r->n_evaluated));
        json_object_set_new(o, "seconds", json_real((double)r->ns * 1e-9));
    }
    return json_out_print(o);
}

static void print_table(const eval *e)
{
    const eval_result *r = &e->result;
    printf("| model | task | n | metric | value |\n| --- | --- | ---: | --- | ---: |\n"
           "| %s | %s | %zu | acc | %.2f %% +- %.2f %% |\n",
           e->info.name, e->task->title, r->n, 100 * r->acc, 100 * r->acc_error);
    if (e->task->has_norm)
        printf("| %s | %s | %zu | acc_norm | %.2f %% +- %.2f %% |\n", e->info.name, e->task->title, r->n,
               100 * r->acc_norm, 100 * r->acc_norm_error);
    printf("\nzero-shot, %s; KV %s/%s; file sha256 %s\n", e->has_bos ? "BOS before each text" : "no BOS",
           tern_kv_type_name(e->s.plan.kv_k), tern_kv_type_name(e->s.plan.kv_v), e->hash);
    if (e->s.plan.fast_attention) printf("attention %s\n", e->s.plan.attention);
    if (r->n_truncated > 0)
        printf("%zu choices were longer than the context and lost their beginning\n", r->n_truncated);
}

int cmd_eval(const opt_values *options)
{
    static eval e; // large
    tern_error err = {0};
    e = (eval){.options = options};
    interrupt_install();
    tern_status status = evaluate(&e, &err);
    int code = EXIT_CODE_OK;
    if (status != TERN_OK)
        code = cli_fail(&err, NULL);
    else if (cli_wants_json(options))
        code = print_json(&e);
    else
        print_table(&e);
    if (status == TERN_OK)
        cli_note(options, "%.1f s, %zu tokens of %zu evaluated", (double)e.result.ns * 1e-9, e.result.n_evaluated,
                 e.result.n_tokens);
    eval_encoded_free(&e.encoded);
    eval_items_free(&e.items);
    cli_session_close(&e.s);
    return cli_finish(code);
}
