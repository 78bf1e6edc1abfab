// tern convert: any model as one GGUF file.
#include <string.h>

#include "cli.h"
#include "clock.h"
#include "convert.h"

static tern_status convert(const opt_values *options, model_source **model, tern_error *err)
{
    const char *type_name = options->values[OPT_TYPE].text;
    const opt_value *head = &options->values[OPT_HEAD_TYPE];
    convert_options how = {.verify = options->values[OPT_VERIFY].given, .progress = cli_progress_bytes};
    if (options->n_operands != 2)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "convert takes two operands, a model and the file to write; %zu given", options->n_operands);
    if (!encode_type_find(type_name, &how.type))
        return error_set(err, TERN_INTERNAL, "encoding '%s' is not known", type_name);
    if (head->given) how.head = (convert_head)(CONVERT_HEAD_F16 + head->integer); // its choices, in this order
    tern_model_options model_options;
    cli_model_options(options, &model_options);
    tern_status status = model_open(options->operands[0], &model_options, model, err);
    if (status != TERN_OK) return status;
    cli_progress progress;
    cli_progress_begin(&progress, options, "converting");
    how.user = &progress;
    convert_report report = {0};
    uint64_t start = clock_ns();
    status = model_convert(*model, options->operands[1], &how, &report, err);
    cli_progress_end(&progress);
    if (status != TERN_OK) return status;
    cli_note(options, "wrote %s as %s in %.1f s", options->operands[1], encode_formats[how.type].name,
             (double)(clock_ns() - start) * 1e-9);
    if (report.verified[0] != 0) cli_note(options, "verified: %s", report.verified);
    for (size_t i = 0; i < sizeof report.warnings / sizeof report.warnings[0]; i++)
        if (report.warnings[i][0] != 0) cli_warn(options, "%s", report.warnings[i]);
    return TERN_OK;
}

int cmd_convert(const opt_values *options)
{
    model_source *model = NULL;
    tern_error err = {0};
    interrupt_install();
    tern_status status = convert(options, &model, &err);
    model_free(model);
    return status == TERN_OK ? EXIT_CODE_OK : cli_fail(&err, NULL);
}
