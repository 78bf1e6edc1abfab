// tern selftest: every operation of a device against the reference, bit for bit; or, where an operation has no defined
// bits, within its stated error.
#include <stdlib.h>

#include "cli.h"
#include "engine.h"
#include "selftest.h"

typedef struct watcher {
    const opt_values *options;
    cli_progress progress;
    size_t n_done, n_expected;
} watcher;

static bool on_case(void *user, const op_case *c, const op_outcome *outcome)
{
    watcher *w = user;
    w->n_done++;
    bool is_shown = outcome->verdict == VERDICT_FAILED || w->options->values[OPT_VERBOSE].given;
    if (is_shown) {
        cli_progress_end(&w->progress);
        char share[48] = "";
        if (outcome->error_share > 0)
            snprintf(share, sizeof share, ": %.1f %% of the error allowed", 100 * outcome->error_share);
        cli_note(w->options, "%s %s%s%s%s", selftest_verdict_name(outcome->verdict), c->name, share,
                 outcome->text[0] ? ": " : "", outcome->text);
    }
    cli_progress_show(&w->progress, w->n_expected ? (double)w->n_done / (double)w->n_expected : 0, c->name);
    return !interrupt_seen();
}

// How many cases there will be, for the progress line; 0 if that cannot be told.
static size_t count_cases(op_case_level level)
{
    op_case *cases;
    size_t n, count = 0;
    if (op_cases_list(&cases, &n, NULL) != TERN_OK) return 0;
    for (size_t i = 0; i < n; i++) count += cases[i].level <= level;
    free(cases);
    return count;
}

static tern_status announce(const opt_values *options, tern_error *err)
{
    tern_engine *engine = NULL;
    tern_device_info info;
    tern_status status = cli_engine_open(options, &engine, err);
    if (status == TERN_OK) status = cli_device_find(engine, options->values[OPT_DEVICE].text, &info, err);
    if (status == TERN_OK) cli_announce_device(options, engine, &info);
    tern_engine_close(engine);
    return status;
}

static tern_status print_result(const opt_values *options, const selftest_result *result, tern_error *err)
{
    char line[256];
    if (!cli_wants_json(options)) {
        selftest_summary(result, line, sizeof line);
        printf("%s\n", line);
        return TERN_OK;
    }
    char *text = NULL;
    tern_status status = selftest_json(result, &text, err);
    if (status == TERN_OK) printf("%s\n", text);
    free(text);
    return status;
}

int cmd_selftest(const opt_values *options)
{
    tern_error err = {0};
    selftest_options o = {.level = options->values[OPT_FULL].given ? LEVEL_FULL : LEVEL_TEST};
    o.n_threads = (uint32_t)options->values[OPT_THREADS].integer;
    watcher w = {.options = options, .n_expected = count_cases(o.level)};
    selftest_result result = {0};
    interrupt_install();
    tern_status status = announce(options, &err);
    cli_progress_begin(&w.progress, options, "testing");
    if (status == TERN_OK)
        status = selftest_run(engine_backends, options->values[OPT_DEVICE].text, &o, on_case, &w, &result, &err);
    cli_progress_end(&w.progress);
    if (status == TERN_OK) status = print_result(options, &result, &err);
    if (status != TERN_OK) return cli_fail(&err, NULL);
    return cli_finish(result.failed > 0 ? EXIT_CODE_RUN : EXIT_CODE_OK);
}
