// tern verify: the claims report.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "verify.h"

typedef struct run {
    const opt_values *options;
    cli_progress progress;
} run;

static bool show(void *user, double share, const char *what)
{
    run *r = user;
    cli_progress_show(&r->progress, share, what);
    return !interrupt_seen();
}

static void watch(void *user, tern_session *session)
{
    (void)user;
    interrupt_watch(session);
}

static void note(void *user, const char *text)
{
    run *r = user;
    cli_progress_end(&r->progress);
    cli_note(r->options, "%s", text);
}

// "cpu,opencl0" into names, each of a device that is here.
static tern_status find_devices(const opt_values *options, const tern_engine *engine, verify_options *o,
                                tern_device_info *infos, tern_error *err)
{
    const char *at = options->values[OPT_DEVICE].text;
    tern_status status = TERN_OK;
    while (*at && status == TERN_OK) {
        char name[64];
        size_t n = strcspn(at, ",");
        if (o->n_devices == VERIFY_MAX_DEVICES)
            return error_set(err, TERN_INVALID_ARGUMENT, "-dev takes up to %d devices", VERIFY_MAX_DEVICES);
        if (n > 0 && o->n_devices > 0 && options->values[OPT_QUICK].given)
            return error_set(err, TERN_INVALID_ARGUMENT, "--quick checks one device; -dev names more");
        snprintf(name, sizeof name, "%.*s", (int)n, at);
        tern_device_info *info = &infos[o->n_devices];
        status = cli_device_find(engine, name, info, err);
        if (status == TERN_OK) {
            cli_announce_device(options, engine, info);
            o->devices[o->n_devices++] = info->name;
        }
        at += n + (at[n] == ',');
    }
    return status;
}

// The command as it could be typed again, from what was given.
static void write_command(const opt_values *options, const char *out, char *text, size_t n_bytes)
{
    size_t n = (size_t)snprintf(text, n_bytes, "tern verify%s --out '%s'",
                                options->values[OPT_QUICK].given ? " --quick" : "", out);
    static const struct {
        opt_id id;
        const char *name;
    } given[] = {{OPT_DEVICE, "-dev"}, {OPT_SHAPES, "--shapes"}, {OPT_MODEL, "-m"}, {OPT_FLOAT_MODEL, "--float-model"},
                 {OPT_FILE, "-f"},     {OPT_THREADS, "-t"}};
    for (size_t i = 0; i < sizeof given / sizeof given[0] && n < n_bytes; i++)
        if (options->values[given[i].id].given)
            n += (size_t)snprintf(text + n, n_bytes - n, " %s '%s'", given[i].name, options->values[given[i].id].text);
}

static tern_status verify_claims(run *r, tern_engine **engine, verify_summary *summary, char *out, size_t n_bytes,
                                 tern_error *err)
{
    const opt_value *v = r->options->values;
    static tern_device_info infos[VERIFY_MAX_DEVICES];
    char command[4096];
    if (v[OPT_OUT].given) {
        snprintf(out, n_bytes, "%s", v[OPT_OUT].text);
    } else {
        time_t now = time(NULL);
        struct tm utc;
        if (gmtime_r(&now, &utc) != NULL) strftime(out, n_bytes, "tern-claims-%Y%m%d-%H%M%S", &utc);
    }
    verify_options o = {.out = out,
                        .is_quick = v[OPT_QUICK].given,
                        .shapes = v[OPT_SHAPES].text,
                        .n_threads = (uint32_t)v[OPT_THREADS].integer,
                        .model = v[OPT_MODEL].text,
                        .float_model = v[OPT_FLOAT_MODEL].text,
                        .text = v[OPT_FILE].text,
                        .command = command,
                        .progress = show,
                        .watch = watch,
                        .note = note,
                        .user = r};
    write_command(r->options, out, command, sizeof command);
    tern_status status = cli_engine_open(r->options, engine, err);
    o.engine = *engine;
    if (status == TERN_OK) status = find_devices(r->options, *engine, &o, infos, err);
    if (status != TERN_OK) return status;
    cli_progress_begin(&r->progress, r->options, "verifying");
    status = verify_run(&o, summary, err);
    cli_progress_end(&r->progress);
    return status;
}

// What REPORT.md begins with: the verdicts, which this copies to standard output.
static tern_status print_report(const char *folder, tern_error *err)
{
    char path[4200], *text = NULL;
    size_t n;
    snprintf(path, sizeof path, "%s/SUMMARY.md", folder);
    tern_status status = cli_read_file(path, &text, &n, err);
    if (status == TERN_OK) status = cli_write(text, n, err);
    free(text);
    return status;
}

int cmd_verify(const opt_values *options)
{
    run r = {.options = options};
    tern_engine *engine = NULL;
    tern_error err = {0};
    verify_summary summary = {0};
    char out[4096] = "";
    interrupt_install();
    tern_status status = verify_claims(&r, &engine, &summary, out, sizeof out, &err);
    if (status == TERN_OK) status = print_report(out, &err);
    int code = status == TERN_OK ? summary.is_valid ? EXIT_CODE_OK : EXIT_CODE_RUN : cli_fail(&err, NULL);
    if (status == TERN_OK) cli_note(options, "report in %s", out);
    if (status == TERN_OK && !summary.is_valid)
        cli_warn(options, "the self-test did not pass: no measured verdict is valid");
    tern_engine_close(engine);
    return cli_finish(code);
}
