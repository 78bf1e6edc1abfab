// `tern help`, from the tables.
#include <string.h>

#include "opt.h"

enum { WIDTH = 100, INDENT = 4, COLUMN = 34 }; // of the terminal, of a paragraph, where an option's help begins

// Writes text wrapped at WIDTH; every line but the first is indented. `column` is where the first line stands. In the
// text "\n\n" separates paragraphs; there are no other line breaks.
static void print_wrapped(FILE *to, const char *text, size_t column, size_t indent)
{
    bool is_line_start = true;
    while (*text) {
        size_t n = strcspn(text, " \n");
        if (!is_line_start && column + 1 + n > WIDTH) {
            fprintf(to, "\n%*s", (int)indent, "");
            column = indent;
            is_line_start = true;
        }
        fprintf(to, "%s%.*s", is_line_start ? "" : " ", (int)n, text);
        column += n + !is_line_start;
        is_line_start = false;
        text += n;
        if (*text == '\n') {
            fprintf(to, "\n\n%*s", (int)indent, "");
            text++;
            column = indent;
            is_line_start = true;
        }
        if (*text) text++;
    }
}

static void print_option(FILE *to, const opt_spec *spec)
{
    char left[128], accepted[128];
    const char *names = spec->names, *at;
    size_t n, length = 0;
    while ((at = opt_item(&names, ' ', &n)))
        length += (size_t)snprintf(left + length, sizeof left - length, "%s%.*s", length ? ", " : "", (int)n, at);
    if (spec->value) length += (size_t)snprintf(left + length, sizeof left - length, " %s", spec->value);
    fprintf(to, "  %s", left);
    if (length + 2 < COLUMN)
        fprintf(to, "%*s", (int)(COLUMN - length - 2), "");
    else
        fprintf(to, "\n%*s", COLUMN, "");
    print_wrapped(to, spec->help, COLUMN, COLUMN);
    if (!spec->is_ignored && (spec->kind == OPT_CHOICE || spec->kind == OPT_INTEGER || spec->kind == OPT_REAL)) {
        opt_describe_values(spec, accepted, sizeof accepted);
        fprintf(to, "\n%*s(%s", COLUMN, "", accepted);
        fprintf(to, spec->default_text ? "; default %s)" : ")", spec->default_text ? spec->default_text : "");
    } else if (spec->default_text) {
        fprintf(to, " (default %s)", spec->default_text);
    }
    fputc('\n', to);
}

void opt_print_overview(FILE *to)
{
    fputs("tern: ternary (BitNet b1.58) language models\n\nusage: tern COMMAND [options]\n\ncommands:\n", to);
    for (int i = 0; i < COMMAND_N; i++) fprintf(to, "  %-10s %s\n", opt_commands[i].name, opt_commands[i].summary);
    fputs("\nTry: ", to);
    fprintf(to, "%s\n", opt_commands[COMMAND_RUN].example);
    fputs(
        "`tern help COMMAND` explains a command and its options; `tern --version` shows the version.\n\n"
        "A MODEL is a .gguf file, a Hugging Face directory, or synthetic:SHAPE (random weights of a named geometry).\n"
        "Results go to standard output, everything else to standard error. Errors are one line, `tern: error: ...`.\n\n"
        "exit codes:\n",
        to);
    for (size_t i = 0; i < opt_n_exit_codes; i++)
        fprintf(to, "  %3d  %s\n", opt_exit_codes[i].code, opt_exit_codes[i].meaning);
    fputs("\nCtrl-C ends the work cleanly; a second one ends the program at once. NO_COLOR is respected.\n", to);
}

void opt_print_help(FILE *to, command_id command)
{
    const command_spec *c = &opt_commands[command];
    fprintf(to, "tern %s: %s\n\nusage: tern %s%s%s [options]\n\n%*s", c->name, c->summary, c->name,
            *c->operands ? " " : "", c->operands, INDENT, "");
    print_wrapped(to, c->description, INDENT, INDENT);
    fprintf(to, "\n\n%*sexample: %s\n\noptions:\n", INDENT, "", c->example);
    for (size_t i = 0; i < opt_table_size; i++)
        if (opt_table[i].commands >> command & 1) print_option(to, &opt_table[i]);
}
