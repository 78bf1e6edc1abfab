// What the OpenCL tests share: devices opened in every form of the kernels, and op cases run on them.
#ifndef TERN_TESTS_OPENCL_SUPPORT_H
#define TERN_TESTS_OPENCL_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "op_run.h"
#include "opencl.h"

extern const backend cpu_backend; // its own header defines the same structs as opencl.h

// The rest of a test is skipped, saying so, where there is no OpenCL device.
static inline void need_device(void)
{
    const char *note;
    if (opencl_device_count(&note) > 0) return;
    printf("SKIPPED: %s\n", note);
    skip();
}

static inline op_runner open_reference(void)
{
    op_runner runner = {0};
    tern_error err = {0};
    if (op_runner_open(&cpu_backend, 1, 1, &runner, &err) != TERN_OK) fail_msg("%s", err.message);
    return runner;
}

// The first device with the given traits (NULL: those it has).
static inline op_runner open_subject(const opencl_traits *traits, const char *cache_dir, const char *label)
{
    op_runner runner = {.backend = &opencl_backend};
    tern_error err = {0};
    if (opencl_device_describe(0, &runner.facts, &err) != TERN_OK ||
        opencl_device_open_as(0, traits, cache_dir, &runner.device, &err) != TERN_OK ||
        opencl_backend.stream_create(runner.device, &runner.stream, &err) != TERN_OK)
        fail_msg("%s", err.message);
    snprintf(runner.facts.name, sizeof runner.facts.name, "%s", label);
    return runner;
}

// What the first device has, with packed dot products in plain code.
static inline opencl_traits plain_traits(void)
{
    opencl_device where;
    opencl_traits traits;
    assert_int_equal(opencl_device_at(0, &where, NULL), TERN_OK);
    opencl_traits_query(&where, &traits);
    traits.dot = OPENCL_DOT_PLAIN;
    traits.subgroups = OPENCL_SUBGROUPS_NONE;
    traits.has_fp16 = false;
    return traits;
}

static inline op_case *list_cases(size_t *n)
{
    op_case *cases = NULL;
    tern_error err = {0};
    assert_int_equal(op_cases_list(&cases, n, &err), TERN_OK);
    return cases;
}

// The first case whose name begins with the text.
static inline op_case find_case(const char *text)
{
    size_t n;
    op_case *cases = list_cases(&n), found = {0};
    for (size_t i = 0; i < n && found.m == 0; i++)
        if (strncmp(cases[i].name, text, strlen(text)) == 0) found = cases[i];
    free(cases);
    if (found.m == 0) fail_msg("no op case begins with \"%s\"", text);
    return found;
}

#endif
