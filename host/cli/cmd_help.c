// tern help.
#include "cli.h"

int cmd_help(const opt_values *options)
{
    if (options->values[OPT_MAN].given) {
        opt_print_man(stdout, tern_version());
    } else if (options->values[OPT_COMPLETION].given) {
        opt_print_completion(stdout, options->values[OPT_COMPLETION].text);
    } else if (options->n_operands == 0) {
        opt_print_overview(stdout);
    } else {
        command_id command;
        opt_hint hint = {""};
        tern_error err = {0};
        if (!opt_find_command(options->operands[0], &command, &hint)) {
            error_set(&err, TERN_INVALID_ARGUMENT, "unknown command '%.60s'", options->operands[0]);
            return cli_fail(&err, hint.text);
        }
        opt_print_help(stdout, command);
    }
    return cli_finish(EXIT_CODE_OK);
}
