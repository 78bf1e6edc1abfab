// tern: the program. Finds the command, parses its options, calls it.
#include <signal.h>
#include <string.h>

#include "cli.h"

static int (*const commands[COMMAND_N])(const opt_values *options) = {
    [COMMAND_RUN] = cmd_run,           [COMMAND_CHAT] = cmd_chat,       [COMMAND_INFO] = cmd_info,
    [COMMAND_DEVICES] = cmd_devices,   [COMMAND_CONVERT] = cmd_convert, [COMMAND_SYNTH] = cmd_synth,
    [COMMAND_TOKENIZE] = cmd_tokenize, [COMMAND_LOGITS] = cmd_logits,   [COMMAND_PPL] = cmd_ppl,
    [COMMAND_EVAL] = cmd_eval,         [COMMAND_BENCH] = cmd_bench,     [COMMAND_SELFTEST] = cmd_selftest,
    [COMMAND_VERIFY] = cmd_verify,     [COMMAND_PLAN] = cmd_plan,       [COMMAND_HELP] = cmd_help,
};

// What was accepted for the sake of other programs' command lines but changes nothing is said, not swallowed.
static void announce_ignored(const opt_values *options)
{
    for (size_t i = 0; i < opt_table_size; i++)
        if (opt_table[i].is_ignored && options->values[opt_table[i].id].given)
            cli_note(options, "%s: %s", opt_table[i].names, opt_table[i].help);
}

static int run_command(command_id command, int argc, const char *const *argv)
{
    opt_values options;
    opt_hint hint;
    tern_error err = {0};
    int code;
    if (opt_parse(command, argc, argv, &options, &hint, &err) != TERN_OK) {
        code = cli_fail(&err, hint.text);
    } else if (options.values[OPT_HELP].given) {
        opt_print_help(stdout, command);
        code = cli_finish(EXIT_CODE_OK);
    } else {
        announce_ignored(&options);
        code = options.values[OPT_LIST_DEVICES].given ? cmd_devices(&options) : commands[command](&options);
    }
    opt_free(&options);
    return code;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); // a closed standard output is an error value (EPIPE), handled where it is written
    if (argc < 2) {
        opt_print_overview(stderr);
        return EXIT_CODE_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("tern %s (%s)\n", tern_version(), tern_build_commit());
        return cli_finish(EXIT_CODE_OK);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        opt_print_overview(stdout);
        return cli_finish(EXIT_CODE_OK);
    }
    command_id command;
    opt_hint hint = {""};
    if (opt_find_command(argv[1], &command, &hint))
        return run_command(command, argc - 2, (const char *const *)(argv + 2));
    tern_error err = {0};
    error_set(&err, TERN_INVALID_ARGUMENT, "unknown command '%.60s'", argv[1]);
    return cli_fail(&err, hint.text);
}
