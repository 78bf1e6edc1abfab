// The manual page in roff, from the tables.
#include "opt.h"

// Text with roff's special characters escaped: backslash, hyphens that must stay hyphens, and a leading dot or quote.
static void put_text(FILE *to, const char *text, size_t n)
{
    bool at_line_start = true;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (at_line_start && (c == '.' || c == '\'')) fputs("\\&", to);
        at_line_start = c == '\n';
        if (c == '\\')
            fputs("\\e", to);
        else if (c == '-')
            fputs("\\-", to);
        else if (c == '\n' && i + 1 < n && text[i + 1] == '\n')
            fputs("\n.PP", to);
        else
            fputc(c, to);
    }
}

static void put_string(FILE *to, const char *text)
{
    size_t n = 0;
    while (text[n]) n++;
    put_text(to, text, n);
}

static void print_option(FILE *to, const opt_spec *spec)
{
    const char *names = spec->names, *at;
    size_t n;
    bool is_first = true;
    fputs(".TP\n", to);
    while ((at = opt_item(&names, ' ', &n))) {
        fputs(is_first ? "\\fB" : ", \\fB", to);
        put_text(to, at, n);
        fputs("\\fR", to);
        is_first = false;
    }
    if (spec->value) {
        fputs(" \\fI", to);
        put_string(to, spec->value);
        fputs("\\fR", to);
    }
    fputc('\n', to);
    put_string(to, spec->help);
    char accepted[128];
    opt_describe_values(spec, accepted, sizeof accepted);
    if (!spec->is_ignored && (spec->kind == OPT_CHOICE || spec->kind == OPT_INTEGER || spec->kind == OPT_REAL)) {
        fputs("; ", to);
        put_string(to, accepted);
    }
    if (spec->default_text) {
        fputs(". Default: ", to);
        put_string(to, spec->default_text);
    }
    fputs(".\n", to);
}

void opt_print_man(FILE *to, const char *version)
{
    fprintf(to, ".TH TERN 1 \"\" \"tern %s\" \"User Commands\"\n", version);
    fputs(".SH NAME\ntern \\- ternary (BitNet b1.58) language models\n.SH SYNOPSIS\n\\fBtern\\fR \\fICOMMAND\\fR "
          "[options]\n"
          ".SH DESCRIPTION\nRuns, measures and converts language models with ternary weights.\n"
          "A model is a .gguf file, a Hugging Face directory, or synthetic:SHAPE.\n"
          "Results go to standard output, everything else to standard error.\n",
          to);
    for (int i = 0; i < COMMAND_N; i++) {
        const command_spec *c = &opt_commands[i];
        fprintf(to, ".SH \"tern %s\"\n", c->name);
        put_string(to, c->summary);
        fprintf(to, "\n.PP\nUsage: \\fBtern %s\\fR ", c->name);
        put_string(to, c->operands);
        fputs(" [options]\n.PP\n", to);
        put_string(to, c->description);
        fputs("\n.PP\nExample: ", to);
        put_string(to, c->example);
        fputc('\n', to);
        for (size_t k = 0; k < opt_table_size; k++)
            if (opt_table[k].commands >> i & 1) print_option(to, &opt_table[k]);
    }
    fputs(".SH EXIT STATUS\n", to);
    for (size_t i = 0; i < opt_n_exit_codes; i++) {
        fprintf(to, ".TP\n\\fB%d\\fR\n", opt_exit_codes[i].code);
        put_string(to, opt_exit_codes[i].meaning);
        fputc('\n', to);
    }
    fputs(".SH ENVIRONMENT\n.TP\n\\fBNO_COLOR\\fR\nWhen set and not empty, no colour is used.\n", to);
}
