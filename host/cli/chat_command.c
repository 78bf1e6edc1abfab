// The commands of chat that begin with a slash.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "chat_state.h"

typedef tern_status (*command_function)(chat_state *c, const char *argument, tern_error *err);

bool chat_is_command(const char *text, size_t n)
{
    size_t i = 1;
    if (n < 2 || text[0] != '/' || memchr(text, '\n', n)) return false;
    while (i < n && text[i] >= 'a' && text[i] <= 'z') i++;
    return i > 1 && (i == n || text[i] == ' ');
}

static tern_status run_reset(chat_state *c, const char *argument, tern_error *err)
{
    (void)argument;
    tern_status status = chat_begin(c, err);
    if (status != TERN_OK) return status;
    conversation_truncate(&c->log, c->log.n > 0 && c->log.turns[0].role == TERN_CHAT_SYSTEM);
    cli_note(c->options, "the conversation begins anew");
    return TERN_OK;
}

static tern_status run_save(chat_state *c, const char *argument, tern_error *err)
{
    char *json = NULL;
    cli_out_file file;
    tern_status status = conversation_to_json(&c->log, c->model_name, c->format, &json, err);
    if (status != TERN_OK) return status;
    status = cli_out_open(&file, argument, err);
    if (status == TERN_OK) {
        fputs(json, file.file); // a failure shows in the stream, which the commit looks at
        fputc('\n', file.file);
        status = cli_out_commit(&file, err);
    }
    free(json);
    if (status == TERN_OK) cli_note(c->options, "saved %zu messages to %s", c->log.n, argument);
    return status;
}

static tern_status read_saved(const char *path, conversation *out, conversation_origin *origin, tern_error *err)
{
    struct stat facts;
    if (stat(path, &facts) == 0) {
        if (!S_ISREG(facts.st_mode)) return error_set(err, TERN_INVALID_ARGUMENT, "'%s' is not a regular file", path);
        if ((uint64_t)facts.st_size > CONVERSATION_MAX_BYTES)
            return error_set(err, TERN_LIMIT, "'%s' has %llu bytes; the limit is %zu", path,
                             (unsigned long long)facts.st_size, CONVERSATION_MAX_BYTES);
    }
    char *text;
    size_t n;
    tern_status status = cli_read_file(path, &text, &n, err);
    if (status != TERN_OK) return status;
    status = conversation_from_json(text, n, out, origin, err);
    free(text);
    if (status != TERN_OK) error_prefix(err, "%s", path);
    return status;
}

static tern_status run_load(chat_state *c, const char *argument, tern_error *err)
{
    conversation read = {0};
    conversation_origin origin;
    tern_tokens tokens = {0};
    tern_status status = read_saved(argument, &read, &origin, err);
    if (status != TERN_OK) return status;
    status = conversation_encode(&read, c->chat, &tokens, err);
    if (status == TERN_OK && tokens.n > c->s.plan.n_ctx)
        status = error_set(err, TERN_CONTEXT_FULL,
                           "%s: the conversation has %zu tokens, the context %u positions: start with a larger -c",
                           argument, tokens.n, c->s.plan.n_ctx);
    tern_tokens_free(&tokens);
    if (status == TERN_OK) status = chat_begin(c, err);
    if (status != TERN_OK) {
        conversation_free(&read);
        return status;
    }
    conversation_free(&c->log);
    c->log = read;
    error_make_printable(origin.model);
    if (strcmp(origin.model, c->model_name) != 0)
        cli_warn(c->options, "this conversation was held with %s, the model is %s", origin.model, c->model_name);
    if (origin.format != c->format)
        cli_warn(c->options, "it was written in format %s; it goes on in %s", tern_chat_format_name(origin.format),
                 tern_chat_format_name(c->format));
    cli_note(c->options, "loaded %zu messages from %s", c->log.n, argument);
    return TERN_OK;
}

static double per_second(size_t n, uint64_t ns) { return ns > 0 ? (double)n * 1e9 / (double)ns : 0; }

static tern_status run_stats(chat_state *c, const char *argument, tern_error *err)
{
    (void)argument, (void)err;
    const chat_turn_stats *t = &c->turn;
    fprintf(stderr, "model    %s, format %s\n", c->model_name, tern_chat_format_name(c->format));
    fprintf(stderr, "context  %zu of %u positions used, %zu messages\n", t->n_prompt + t->n_reply, c->s.plan.n_ctx,
            c->log.n);
    if (t->n_prompt == 0) return TERN_OK;
    size_t n_read = t->n_prompt - t->n_reused;
    fprintf(stderr, "prompt   %zu tokens: %zu reused from the KV cache, %zu evaluated in %.1f ms, %.1f tok/s\n",
            t->n_prompt, t->n_reused, n_read, (double)t->ns_prompt * 1e-6, per_second(n_read, t->ns_prompt));
    fprintf(stderr, "reply    %zu tokens in %.1f ms, %.1f tok/s\n", t->n_reply, (double)t->ns_reply * 1e-6,
            per_second(t->n_reply, t->ns_reply));
    return TERN_OK;
}

static tern_status run_help(chat_state *c, const char *argument, tern_error *err);

static const struct chat_command_spec {
    const char *name, *argument, *help;
    command_function run; // NULL: leaves
} commands[] = {
    {"reset", NULL, "forget the conversation, but not the system message", run_reset},
    {"save", "FILE", "write the conversation as JSON", run_save},
    {"load", "FILE", "go on with a saved conversation", run_load},
    {"stats", NULL, "context used, tokens reused, speed of the last reply", run_stats},
    {"help", NULL, "this list", run_help},
    {"quit", NULL, "leave (also Ctrl-D)", NULL},
};

enum { N_COMMANDS = sizeof commands / sizeof *commands };

static tern_status run_help(chat_state *c, const char *argument, tern_error *err)
{
    (void)c, (void)argument, (void)err;
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(stderr, "/%-6s %-5s %s\n", commands[i].name, commands[i].argument ? commands[i].argument : "",
                commands[i].help);
    fputs("A backslash at the end of a line or Alt-Enter begins a new line of the message; Ctrl-C stops a reply. A "
          "message\nthat begins with a space is never a command.\n",
          stderr);
    return TERN_OK;
}

tern_status chat_command(chat_state *c, const char *text, size_t n, bool *leave, tern_error *err)
{
    size_t n_name = 1, end = n;
    while (n_name < n && text[n_name] != ' ') n_name++;
    size_t start = n_name;
    while (start < end && text[start] == ' ') start++;
    while (end > start && text[end - 1] == ' ') end--;
    for (int i = 0; i < N_COMMANDS; i++) {
        if (strlen(commands[i].name) != n_name - 1 || memcmp(commands[i].name, text + 1, n_name - 1) != 0) continue;
        if ((start < end) != (commands[i].argument != NULL))
            return error_set(err, TERN_INVALID_ARGUMENT, "/%s takes %s", commands[i].name,
                             commands[i].argument ? "the name of a file" : "no argument");
        *leave = commands[i].run == NULL;
        if (*leave) return TERN_OK;
        char *argument = strndup(text + start, end - start);
        if (!argument) return error_set(err, TERN_HOST_MEMORY, "no memory for a command");
        tern_status status = commands[i].run(c, argument, err);
        free(argument);
        return status;
    }
    return error_set(err, TERN_INVALID_ARGUMENT,
                     "no command %.*s; /help lists them (a message that begins with a space is never a command)",
                     n_name < 40 ? (int)n_name : 40, text);
}
