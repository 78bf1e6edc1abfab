// Standard error and standard output: messages, progress, the end of a pipe.
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "clock.h"

static bool is_stdout_closed;

// Colour only on a terminal that can, and only where the user has not said no (no-color.org).
bool cli_uses_colour(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return !(no_color && *no_color) && term && strcmp(term, "dumb") != 0 && isatty(STDERR_FILENO);
}

static void put_label(const char *label, const char *colour)
{
    if (cli_uses_colour())
        fprintf(stderr, "tern: \033[%sm%s:\033[0m ", colour, label);
    else
        fprintf(stderr, "tern: %s: ", label);
}

int cli_exit_code(tern_status status)
{
    switch (status) {
    case TERN_OK: return EXIT_CODE_OK;
    case TERN_CANCELLED: return EXIT_CODE_INTERRUPTED;
    case TERN_INVALID_ARGUMENT: return EXIT_CODE_USAGE;
    case TERN_NOT_FOUND:
    case TERN_LIMIT:
    case TERN_IO:
    case TERN_MALFORMED:
    case TERN_UNSUPPORTED: return EXIT_CODE_INPUT;
    case TERN_HOST_MEMORY:
    case TERN_DEVICE_MEMORY:
    case TERN_BUDGET:
    case TERN_NO_DEVICE:
    case TERN_DEVICE_UNSUPPORTED:
    case TERN_DEVICE_LOST:
    case TERN_KERNEL_BUILD:
    case TERN_KERNEL_LAUNCH: return EXIT_CODE_DEVICE;
    case TERN_BAD_STATE:
    case TERN_CONTEXT_FULL:
    case TERN_NUMERIC:
    case TERN_INTERNAL: break;
    }
    return EXIT_CODE_RUN;
}

int cli_fail(const tern_error *err, const char *hint)
{
    if (is_stdout_closed) return EXIT_CODE_OK;
    if (err->status == TERN_CANCELLED) {
        fputs("tern: interrupted\n", stderr);
        return EXIT_CODE_INTERRUPTED;
    }
    put_label("error", "1;31");
    fprintf(stderr, "%s\n", err->message[0] ? err->message : tern_status_meaning(err->status));
    if (hint && *hint) fprintf(stderr, "tern: hint: %s\n", hint);
    return cli_exit_code(err->status);
}

void cli_note(const opt_values *options, const char *format, ...)
{
    if (options->values[OPT_QUIET].given) return;
    va_list arguments;
    va_start(arguments, format);
    fputs("tern: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

void cli_warn(const opt_values *options, const char *format, ...)
{
    if (options->values[OPT_QUIET].given) return;
    va_list arguments;
    va_start(arguments, format);
    put_label("warning", "33");
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

// ----------------------------------------------------------------------------------------------------- standard output

static tern_status stdout_failed(int error, tern_error *err)
{
    if (error == EPIPE) {
        is_stdout_closed = true;
        return error_set(err, TERN_CANCELLED, "the reader of standard output went away");
    }
    return error_set(err, TERN_BAD_STATE, "writing standard output: %s", strerror(error));
}

tern_status cli_write(const char *text, size_t n_bytes, tern_error *err)
{
    errno = 0;
    if (fwrite(text, 1, n_bytes, stdout) != n_bytes || fflush(stdout) != 0) return stdout_failed(errno, err);
    return TERN_OK;
}

bool cli_stdout_closed(void) { return is_stdout_closed; }

bool cli_stdout_is_terminal(void) { return isatty(STDOUT_FILENO); }

int cli_finish(int exit_code)
{
    tern_error err = {0};
    errno = 0;
    if (is_stdout_closed) return exit_code;
    bool failed = fflush(stdout) != 0;
    if (!failed && !ferror(stdout)) return exit_code;
    stdout_failed(failed ? errno : EIO, &err);
    return exit_code ? exit_code : cli_fail(&err, NULL);
}

// ------------------------------------------------------------------------------------------------------------ progress

void cli_progress_begin(cli_progress *progress, const opt_values *options, const char *what)
{
    *progress = (cli_progress){.what = what, .ns_start = clock_ns()};
    progress->is_shown = isatty(STDERR_FILENO) && !options->values[OPT_QUIET].given;
}

void cli_progress_show(cli_progress *progress, double share, const char *detail)
{
    if (!progress->is_shown) return;
    uint64_t now = clock_ns();
    if (progress->ns_last && now - progress->ns_last < 100000000u && share < 1) return; // ten times a second
    progress->ns_last = now;
    fprintf(stderr, "\r\033[K%s %3.0f %%  %s", progress->what, 100 * share, detail);
    double seconds = (double)(now - progress->ns_start) * 1e-9;
    if (share > 0 && share < 1 && seconds > 3) fprintf(stderr, "  %.0f s left", seconds * (1 - share) / share);
    fflush(stderr);
}

void cli_progress_end(cli_progress *progress)
{
    if (progress->is_shown && progress->ns_last) fputs("\r\033[K", stderr);
    progress->ns_last = 0;
}

cli_text cli_bytes(uint64_t n_bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)n_bytes;
    int unit = 0;
    while (value >= 1024 && unit < 4) value /= 1024, unit++;
    cli_text text;
    snprintf(text.text, sizeof text.text, unit ? "%.2f %s" : "%.0f %s", value, units[unit]);
    return text;
}

cli_text cli_head(tern_head head)
{
    cli_text text;
    if (head == TERN_HEAD_SCREEN)
        snprintf(text.text, sizeof text.text, "head screened in int4, the best 256 logits as stored");
    else
        snprintf(text.text, sizeof text.text, "embedding and head held as %s", tern_head_name(head));
    return text;
}

bool cli_progress_bytes(void *progress, uint64_t bytes_done, uint64_t bytes_total)
{
    cli_text done = cli_bytes(bytes_done), total = cli_bytes(bytes_total);
    char detail[140];
    snprintf(detail, sizeof detail, "%s of %s", done.text, total.text);
    cli_progress_show(progress, bytes_total ? (double)bytes_done / (double)bytes_total : 1, detail);
    return !interrupt_seen();
}
