// tern chat: a conversation.
#include <stdlib.h>
#include <string.h>

#include "chat_state.h"

// A text given by -sys or -sysf; *out stays NULL without either.
static tern_status read_system(const opt_values *options, char **out, size_t *n, tern_error *err)
{
    const opt_value *text = &options->values[OPT_SYSTEM], *file = &options->values[OPT_SYSTEM_FILE];
    if (text->given && file->given)
        return error_set(err, TERN_INVALID_ARGUMENT, "both -sys and -sysf were given; one system message is expected");
    if (file->given) {
        tern_status status = cli_read_file(file->text, out, n, err);
        if (status == TERN_OK && *n > 0 && (*out)[*n - 1] == '\n') --*n;
        return status;
    }
    if (!text->given) return TERN_OK;
    *n = strlen(text->text);
    *out = strdup(text->text);
    return *out ? TERN_OK : error_set(err, TERN_HOST_MEMORY, "no memory for the system message");
}

// Texts are read before the weights move: a mistake must not cost a load.
static tern_status read_texts(chat_state *c, tern_error *err)
{
    const opt_value *v = c->options->values;
    char *system_text = NULL;
    size_t n = 0;
    tern_status status = read_system(c->options, &system_text, &n, err);
    if (status == TERN_OK && system_text)
        status = conversation_add(&c->log, TERN_CHAT_SYSTEM, system_text, n, NULL, 0, err);
    free(system_text);
    if (status == TERN_OK && (v[OPT_PROMPT].given || v[OPT_FILE].given))
        status = cli_read_text(c->options, true, &c->first_message, &c->n_first_message, err);
    return status;
}

static tern_status choose_format(chat_state *c, tern_error *err)
{
    const opt_value *choice = &c->options->values[OPT_CHAT_FORMAT];
    c->format_reason = "asked for";
    if (choice->integer == 0) { // auto
        c->format = tern_model_chat_format(c->s.model, &c->format_reason);
    } else {
        tern_status status = tern_chat_format_find(choice->text, &c->format, err);
        if (status != TERN_OK) return status;
    }
    return tern_chat_create(c->tokenizer, c->format, &c->chat, err);
}

// The format's markers that are no tokens, and the -r texts.
static tern_status collect_stop_texts(chat_state *c, tern_error *err)
{
    size_t n_format, n_reverse = 0;
    const char *const *texts = tern_chat_stop_texts(c->chat, &n_format);
    while (opt_nth(c->options, OPT_REVERSE_PROMPT, n_reverse)) n_reverse++;
    c->stop_texts = calloc(n_format + n_reverse + 1, sizeof *c->stop_texts);
    if (!c->stop_texts) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu stop texts", n_format + n_reverse);
    for (size_t i = 0; i < n_format; i++) c->stop_texts[c->n_stop_texts++] = texts[i];
    for (size_t i = 0; i < n_reverse; i++) {
        const char *text = opt_nth(c->options, OPT_REVERSE_PROMPT, i);
        if (!*text) return error_set(err, TERN_INVALID_ARGUMENT, "-r takes a text that is not empty");
        c->stop_texts[c->n_stop_texts++] = text;
    }
    return TERN_OK;
}

// After the line that names the device, which comes first in every command.
static void announce(const chat_state *c)
{
    size_t n;
    const char *const *texts = tern_chat_stop_texts(c->chat, &n);
    cli_note(c->options, "chat format %s: %s%s", tern_chat_format_name(c->format), c->format_reason,
             c->format == TERN_CHAT_PLAIN ? "; the model continues your text" : "");
    for (size_t i = 0; i < n; i++)
        cli_warn(c->options, "the vocabulary has no token %s: it is written as plain text", texts[i]);
    if (chat_input_is_interactive(c->input) && !c->first_message)
        cli_note(c->options, "Enter sends a message, /help lists the commands, Ctrl-D leaves");
}

static tern_status prepare(chat_state *c, tern_error *err)
{
    const opt_value *v = c->options->values;
    const char *path;
    tern_status status = cli_model_path(c->options, &path, err);
    if (status == TERN_OK) status = read_texts(c, err);
    if (status == TERN_OK) status = cli_model_open(&c->s, c->options, path, err);
    if (status != TERN_OK) return status;
    tern_model_info info;
    tern_model_get_info(c->s.model, &info);
    snprintf(c->model_name, sizeof c->model_name, "%s", info.name);
    error_make_printable(c->model_name);
    c->tokenizer = tern_model_tokenizer(c->s.model);
    if (!c->tokenizer)
        return error_set(err, TERN_UNSUPPORTED, "'%s' has no tokenizer, so one cannot talk with it", path);
    status = choose_format(c, err);
    if (status == TERN_OK) status = collect_stop_texts(c, err);
    if (status == TERN_OK) status = cli_sampling_prepare(&c->sampling, c->options, c->tokenizer, err);
    if (status == TERN_OK) status = chat_begin(c, err);
    if (status == TERN_OK) status = tern_detokenizer_create(c->tokenizer, false, &c->detokenizer, err);
    if (status == TERN_OK)
        status = cli_session_load(&c->s, c->options, (uint32_t)v[OPT_CTX].integer, (uint32_t)v[OPT_BATCH].integer, err);
    return status == TERN_OK ? chat_input_create(&c->input, err) : status;
}

// A command or a message. What it returns is for a program; a person has seen the error and goes on.
static int handle(chat_state *c, const char *text, size_t n, bool is_command, bool *leave)
{
    tern_error err = {0};
    tern_status status = is_command ? chat_command(c, text, n, leave, &err) : chat_say(c, text, n, &err);
    if (status == TERN_OK) return EXIT_CODE_OK;
    bool goes_on = chat_input_is_interactive(c->input) && !cli_stdout_closed();
    if (status == TERN_CANCELLED && goes_on) {
        cli_note(c->options, "%s",
                 c->ids.n > 0 ? "stopped; the reply stays as far as it came"
                              : "stopped before the reply began; the message was taken back");
        return EXIT_CODE_OK;
    }
    int code = cli_fail(&err, NULL);
    *leave = !goes_on;
    return code;
}

// Messages until the end of the input. The exit code: of the first failure where nobody could try again.
static int converse(chat_state *c)
{
    bool leave = false, is_single = c->options->values[OPT_SINGLE_TURN].given;
    bool is_interactive = chat_input_is_interactive(c->input);
    unsigned n_interrupts = 0; // at an empty prompt, one after the other
    int code = EXIT_CODE_OK;
    if (c->first_message) {
        code = handle(c, c->first_message, c->n_first_message, false, &leave);
        leave = leave || is_single;
    }
    while (!leave) {
        chat_message_read message;
        tern_error err = {0};
        interrupt_hold(true);
        if (is_interactive) interrupt_forget(); // those of the last reply
        tern_status status = chat_input_read(c->input, &message, &err);
        bool is_interrupt = status == TERN_OK && message.kind == CHAT_INPUT_INTERRUPTED;
        if (is_interrupt && !is_interactive) status = error_set(&err, TERN_CANCELLED, "interrupted");
        if (status != TERN_OK) return cli_fail(&err, NULL);
        if (is_interactive) interrupt_forget();
        if (message.kind == CHAT_INPUT_END) break;
        n_interrupts = is_interrupt && message.was_empty ? n_interrupts + 1 : 0;
        if (n_interrupts == 2) break;
        if (n_interrupts == 1) cli_note(c->options, "Ctrl-C again leaves");
        if (is_interrupt || strspn(message.text, " \t\r\n") >= message.n_bytes) continue;
        bool is_command = chat_is_command(message.text, message.n_bytes);
        int result = handle(c, message.text, message.n_bytes, is_command, &leave);
        if (!is_interactive || is_single) code = result;
        leave = leave || (is_single && !is_command);
    }
    return is_interactive && !is_single ? EXIT_CODE_OK : code;
}

int cmd_chat(const opt_values *options)
{
    chat_state c = {.options = options};
    tern_error err = {0};
    interrupt_install();
    tern_status status = prepare(&c, &err);
    int code;
    if (status == TERN_OK) {
        interrupt_watch(NULL);
        announce(&c);
        uint64_t seed = c.sampling.options.seed - 1; // of the first conversation
        code = converse(&c);
        if (options->values[OPT_TEMP].real > 0) cli_note(options, "seed     %llu", (unsigned long long)seed);
    } else {
        code = cli_fail(&err, NULL);
    }
    chat_input_free(c.input);
    conversation_free(&c.log);
    tern_sampler_free(c.sampler);
    tern_detokenizer_free(c.detokenizer);
    tern_chat_free(c.chat);
    tern_tokens_free(&c.ids);
    cli_sampling_free(&c.sampling);
    free(c.stop_texts);
    free(c.first_message);
    free(c.text);
    cli_session_close(&c.s);
    return cli_finish(code);
}
