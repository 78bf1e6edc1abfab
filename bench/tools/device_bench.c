// device_bench: what a look at a new device needs beyond `tern selftest` and `tern bench`. Not installed.
//
//   device_bench check DEVICE LEVEL [FILTER]     op cases (quick, test, full) whose name contains FILTER, for runs
//                                                under a checker that is too slow for all of them
#include <stdio.h>
#include <string.h>

#include "engine.h"
#include "error.h"
#include "selftest.h"

#define EXIT_FAILED 1
#define EXIT_USAGE  2

static int fail(const tern_error *err)
{
    fprintf(stderr, "device_bench: %s\n", err->message);
    return EXIT_FAILED;
}

static bool show_failure(void *user, const op_case *c, const op_outcome *outcome)
{
    (void)user;
    if (outcome->verdict == VERDICT_FAILED) fprintf(stderr, "FAILED %s: %s\n", c->name, outcome->text);
    return true;
}

static int check(const char *device_name, const char *level, const char *filter)
{
    selftest_options options = {.level = LEVEL_FULL + 1, .filter = filter};
    for (int i = LEVEL_QUICK; i <= LEVEL_FULL; i++)
        if (strcmp(level, op_level_name((op_case_level)i)) == 0) options.level = (op_case_level)i;
    if (options.level > LEVEL_FULL) {
        fprintf(stderr, "device_bench: '%s' is no level; there are quick, test and full\n", level);
        return EXIT_USAGE;
    }
    selftest_result result = {0};
    tern_error err = {0};
    char line[256];
    if (selftest_run(engine_backends, device_name, &options, show_failure, NULL, &result, &err) != TERN_OK)
        return fail(&err);
    selftest_summary(&result, line, sizeof line);
    printf("%s\n", line);
    return result.failed > 0 ? EXIT_FAILED : 0;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "check") == 0 && (argc == 4 || argc == 5)) return check(argv[2], argv[3], argv[4]);
    fprintf(stderr, "usage: device_bench check DEVICE quick|test|full [FILTER]\n");
    return EXIT_USAGE;
}
