// Completion scripts for bash, zsh and fish, from the tables.
#include <string.h>

#include "opt.h"

// Writes something for one name of one option of a command.
typedef void (*name_writer)(FILE *to, const char *command, const opt_spec *spec, const char *name, size_t n);

static void each_name(FILE *to, command_id command, name_writer write)
{
    for (size_t i = 0; i < opt_table_size; i++) {
        const opt_spec *spec = &opt_table[i];
        const char *names = spec->names, *at;
        size_t n;
        if (spec->commands >> command & 1)
            while ((at = opt_item(&names, ' ', &n))) write(to, opt_commands[command].name, spec, at, n);
    }
}

// Text for the inside of single quotes in every shell; `extra` characters get a backslash as well.
static void put_quoted(FILE *to, const char *text, const char *extra)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", to);
        else if (strchr(extra, *text))
            fprintf(to, "\\%c", *text);
        else
            fputc(*text, to);
    }
}

// The choices with spaces between, other programs' names left out.
static void put_choices(FILE *to, const opt_spec *spec)
{
    const char *choices = spec->choices, *at;
    size_t n;
    bool is_first = true;
    while ((at = opt_item(&choices, '|', &n))) {
        if (memchr(at, '=', n)) continue;
        fprintf(to, "%s%.*s", is_first ? "" : " ", (int)n, at);
        is_first = false;
    }
}

// ------------------------------------------------------------------------------------------------------------ bash

static void bash_word(FILE *to, const char *command, const opt_spec *spec, const char *name, size_t n)
{
    (void)command;
    (void)spec;
    fprintf(to, " %.*s", (int)n, name);
}

static void bash_value(FILE *to, const char *command, const opt_spec *spec, const char *name, size_t n)
{
    (void)command;
    if (spec->choices == NULL) return;
    fprintf(to, "        %.*s) COMPREPLY=($(compgen -W \"", (int)n, name);
    put_choices(to, spec);
    fputs("\" -- \"$word\")); return ;;\n", to);
}

static void print_bash(FILE *to)
{
    fputs("# bash completion for tern\n_tern()\n{\n    local word=\"${COMP_WORDS[COMP_CWORD]}\" "
          "command=\"${COMP_WORDS[1]}\""
          " options=\"\"\n    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W \"",
          to);
    for (int i = 0; i < COMMAND_N; i++) fprintf(to, "%s%s", i ? " " : "", opt_commands[i].name);
    fputs("\" -- \"$word\"))\n        return\n    fi\n    case \"$command\" in\n", to);
    for (int i = 0; i < COMMAND_N; i++) {
        fprintf(to, "    %s)\n        options=\"", opt_commands[i].name);
        each_name(to, (command_id)i, bash_word);
        fputs("\"\n        case \"${COMP_WORDS[COMP_CWORD-1]}\" in\n", to);
        each_name(to, (command_id)i, bash_value);
        fputs("        esac ;;\n", to);
    }
    fputs("    esac\n    case \"$word\" in\n    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
          "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n    esac\n}\ncomplete -o filenames -F _tern tern\n",
          to);
}

// ------------------------------------------------------------------------------------------------------------- zsh

static void zsh_option(FILE *to, const char *command, const opt_spec *spec, const char *name, size_t n)
{
    (void)command;
    fprintf(to, "            '%s%.*s[", spec->repeats ? "*" : "", (int)n, name);
    put_quoted(to, spec->help, "[]:");
    fputc(']', to);
    if (spec->choices != NULL) {
        fputs(":value:(", to);
        put_choices(to, spec);
        fputc(')', to);
    } else if (spec->kind == OPT_PATH) {
        fputs(":file:_files", to);
    } else if (spec->kind != OPT_SWITCH) {
        fputs(":value: ", to);
    }
    fputs("' \\\n", to);
}

static void print_zsh(FILE *to)
{
    fputs("#compdef tern\n_tern()\n{\n    if (( CURRENT == 2 )); then\n        local -a commands=(\n", to);
    for (int i = 0; i < COMMAND_N; i++) {
        fprintf(to, "            '%s:", opt_commands[i].name);
        put_quoted(to, opt_commands[i].summary, ":");
        fputs("'\n", to);
    }
    fputs("        )\n        _describe command commands\n        return\n    fi\n    case $words[2] in\n", to);
    for (int i = 0; i < COMMAND_N; i++) {
        fprintf(to, "    %s)\n        shift words; (( CURRENT-- ))\n        _arguments \\\n", opt_commands[i].name);
        each_name(to, (command_id)i, zsh_option);
        fputs("            '*:file:_files' ;;\n", to);
    }
    fputs("    esac\n}\nif [ \"$funcstack[1]\" = _tern ]; then _tern \"$@\"; else compdef _tern tern; fi\n", to);
}

// ------------------------------------------------------------------------------------------------------------ fish

static void fish_option(FILE *to, const char *command, const opt_spec *spec, const char *name, size_t n)
{
    // -s one letter, -o several letters after one dash, -l after two
    const char *form = name[1] == '-' ? "-l" : n == 2 ? "-s" : "-o";
    size_t skip = name[1] == '-' ? 2 : 1;
    fprintf(to, "complete -c tern -n '__fish_seen_subcommand_from %s' %s %.*s", command, form, (int)(n - skip),
            name + skip);
    if (spec->choices != NULL) {
        fputs(" -x -a '", to);
        put_choices(to, spec);
        fputc('\'', to);
    } else if (spec->kind != OPT_SWITCH) {
        fputs(spec->kind == OPT_PATH ? " -r" : " -x", to);
    }
    fputs(" -d '", to);
    put_quoted(to, spec->help, "");
    fputs("'\n", to);
}

static void print_fish(FILE *to)
{
    for (int i = 0; i < COMMAND_N; i++) {
        fprintf(to, "complete -c tern -n __fish_use_subcommand -f -a %s -d '", opt_commands[i].name);
        put_quoted(to, opt_commands[i].summary, "");
        fputs("'\n", to);
    }
    for (int i = 0; i < COMMAND_N; i++) each_name(to, (command_id)i, fish_option);
}

bool opt_print_completion(FILE *to, const char *shell)
{
    if (strcmp(shell, "bash") == 0)
        print_bash(to);
    else if (strcmp(shell, "zsh") == 0)
        print_zsh(to);
    else if (strcmp(shell, "fish") == 0)
        print_fish(to);
    else
        return false;
    return true;
}
