// tern convert: any model as one GGUF file. tern synth: a synthetic model as one.
#include <string.h>

#include "cli.h"
#include "clock.h"
#include "convert.h"

// `source`: anything model_open takes.
static tern_status convert(const opt_values *options, const char *source, bool is_resumable, model_source **model,
                           tern_error *err)
{
    const char *type_name = options->values[OPT_TYPE].text, *out = options->operands[1];
    const opt_value *head = &options->values[OPT_HEAD_TYPE];
    convert_options how = {
        .verify = options->values[OPT_VERIFY].given, .is_resumable = is_resumable, .progress = cli_progress_bytes};
    if (!encode_type_find(type_name, &how.type))
        return error_set(err, TERN_INTERNAL, "encoding '%s' is not known", type_name);
    if (head->given) how.head = (convert_head)(CONVERT_HEAD_F16 + head->integer); // its choices, in this order
    tern_model_options model_options;
    cli_model_options(options, &model_options);
    tern_status status = model_open(source, &model_options, model, err);
    if (status != TERN_OK) return status;
    cli_progress progress;
    cli_progress_begin(&progress, options, "writing");
    how.user = &progress;
    convert_report report = {0};
    uint64_t start = clock_ns();
    status = model_convert(*model, out, &how, &report, err);
    cli_progress_end(&progress);
    if (status != TERN_OK) return status;
    cli_note(options, "wrote %s%s as %s in %.1f s", out, (*model)->is_synthetic ? " (synthetic weights)" : "",
             encode_formats[how.type].name, (double)(clock_ns() - start) * 1e-9);
    if (report.verified[0] != 0) cli_note(options, "verified: %s", report.verified);
    for (size_t i = 0; i < sizeof report.warnings / sizeof report.warnings[0]; i++)
        if (report.warnings[i][0] != 0) cli_warn(options, "%s", report.warnings[i]);
    return TERN_OK;
}

// The whole of either command once its operands are known.
static int run(const opt_values *options, const char *source, bool is_resumable)
{
    model_source *model = NULL;
    tern_error err = {0};
    interrupt_install();
    tern_status status = convert(options, source, is_resumable, &model, &err);
    model_free(model);
    return status == TERN_OK ? EXIT_CODE_OK : cli_fail(&err, NULL);
}

static int refuse_operands(const opt_values *options, const char *wanted)
{
    tern_error err = {0};
    error_set(&err, TERN_INVALID_ARGUMENT, "%s and the file to write; %zu given", wanted, options->n_operands);
    return cli_fail(&err, NULL);
}

int cmd_convert(const opt_values *options)
{
    if (options->n_operands != 2) return refuse_operands(options, "convert takes two operands, a model");
    return run(options, options->operands[0], false);
}

int cmd_synth(const opt_values *options)
{
    if (options->n_operands != 2) return refuse_operands(options, "synth takes two operands, a shape");
    // The shape is taken with and without "synthetic:", as other commands want it.
    static const char prefix[] = "synthetic:";
    const char *shape = options->operands[0];
    char source[128];
    if (strncmp(shape, prefix, sizeof prefix - 1) == 0) shape += sizeof prefix - 1;
    snprintf(source, sizeof source, "%s%.80s,seed=%lld", prefix, shape, (long long)options->values[OPT_SEED].integer);
    return run(options, source, true);
}
