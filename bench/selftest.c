// The self-test; see selftest.h.
#include "selftest.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"

static bool is_chosen(const op_case *c, const selftest_options *options)
{
    return c->level <= options->level && (!options->is_short || c->recipe == RECIPE_RANDOM) &&
           (options->filter == NULL || strstr(c->name, options->filter) != NULL);
}

static tern_status open_device(backend_list backends, const char *name, uint32_t n_threads, op_runner *out,
                               tern_error *err)
{
    device_ref ref;
    tern_status status = registry_find(backends, name, &ref, err);
    return status == TERN_OK ? op_runner_open(ref.backend, ref.index, n_threads, out, err) : status;
}

static tern_status run_cases(const op_case *cases, size_t n, op_runner *reference, op_runner *subject,
                             const selftest_options *options, selftest_callback on_case, void *user,
                             selftest_result *result, tern_error *err)
{
    size_t n_run = 0;
    for (size_t i = 0; i < n; i++) {
        op_outcome outcome = {0};
        if (!is_chosen(&cases[i], options)) continue;
        n_run++;
        tern_status status = op_case_run(&cases[i], reference, &subject, 1, &outcome, err);
        if (status != TERN_OK) return status;
        result->passed += outcome.verdict == VERDICT_PASSED;
        result->failed += outcome.verdict == VERDICT_FAILED;
        result->skipped += outcome.verdict == VERDICT_SKIPPED;
        if (on_case != NULL && !on_case(user, &cases[i], &outcome))
            return error_set(err, TERN_CANCELLED, "self-test: stopped after %zu cases", n_run);
    }
    if (n_run == 0)
        return error_set(err, TERN_NOT_FOUND, "self-test: no case of level %s contains \"%s\"",
                         op_level_name(options->level), options->filter != NULL ? options->filter : "");
    return TERN_OK;
}

tern_status selftest_run(backend_list backends, const char *device_name, const selftest_options *options,
                         selftest_callback on_case, void *user, selftest_result *out, tern_error *err)
{
    uint64_t start = clock_ns();
    op_runner reference = {0}, subject = {0};
    op_case *cases = NULL;
    size_t n = 0;
    selftest_result result = {0};
    tern_status status = open_device(backends, "cpuref", 1, &reference, err);
    if (status == TERN_OK) status = open_device(backends, device_name, options->n_threads, &subject, err);
    if (status == TERN_OK) status = op_cases_list(&cases, &n, err);
    if (status == TERN_OK) {
        memcpy(result.device, subject.facts.name, sizeof result.device);
        memcpy(result.description, subject.facts.description, sizeof result.description);
        status = run_cases(cases, n, &reference, &subject, options, on_case, user, &result, err);
    }
    free(cases);
    op_runner_close(&subject);
    op_runner_close(&reference);
    result.ns = clock_ns() - start;
    if (status == TERN_OK || status == TERN_CANCELLED) *out = result;
    return status;
}

const char *selftest_verdict_name(op_verdict verdict)
{
    return verdict == VERDICT_PASSED ? "passed" : verdict == VERDICT_FAILED ? "FAILED" : "skipped";
}

void selftest_summary(const selftest_result *result, char *out, size_t n_bytes)
{
    snprintf(out, n_bytes, "%s: %zu passed, %zu failed, %zu skipped in %.1f s", result->device, result->passed,
             result->failed, result->skipped, (double)result->ns * 1e-9);
}

tern_status selftest_json(const selftest_result *result, char **out, tern_error *err)
{
    json_t *object = json_pack("{s:s, s:s, s:I, s:I, s:I, s:f}", "device", result->device, "description",
                               result->description, "passed", (json_int_t)result->passed, "failed",
                               (json_int_t)result->failed, "skipped", (json_int_t)result->skipped, "seconds",
                               (double)result->ns * 1e-9);
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (text == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for the self-test result");
    *out = text;
    return TERN_OK;
}
