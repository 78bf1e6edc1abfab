// device_bench: what a look at a new device needs beyond `tern selftest` and `tern bench`. Not installed.
//
//   device_bench check DEVICE LEVEL [FILTER]     op cases (quick, test, full) whose name contains FILTER, for runs
//   under
//                                                a checker that is too slow for all of them
//   device_bench kernels DEVICE [GEOMETRY...]    products of model geometries (2b4t, 8b, 70b), ternary in both layouts
//                                                and, where the device has a BLAS library, F16: one JSON object a line
//   device_bench copy DEVICE                     bandwidth of a copy through the device's memory, as JSON
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "error.h"
#include "op_time.h"
#include "selftest.h"
#include "stats.h"

#define EXIT_FAILED  1
#define EXIT_USAGE   2
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    const char *geometry, *matrix;
    uint32_t n, k;
} matrices[] = {
    {"2b4t", "qkv", 3840, 2560},    {"2b4t", "o", 2560, 2560},    {"2b4t", "gate-up", 13824, 2560},
    {"2b4t", "down", 2560, 6912},   {"8b", "qkv", 6144, 4096},    {"8b", "o", 4096, 4096},
    {"8b", "gate-up", 28672, 4096}, {"8b", "down", 4096, 14336},  {"70b", "qkv", 10240, 8192},
    {"70b", "o", 8192, 8192},       {"70b", "gate", 28672, 8192}, {"70b", "down", 8192, 28672},
};
static const uint32_t m_sweep[] = {1, 8, 32, 64, 512};

static int fail(const tern_error *err)
{
    fprintf(stderr, "device_bench: %s\n", err->message);
    return EXIT_FAILED;
}

static tern_status open_device(const char *name, op_runner *out, tern_error *err)
{
    device_ref ref;
    tern_status status = registry_find(engine_backends, name, &ref, err);
    return status == TERN_OK ? op_runner_open(ref.backend, ref.index, 0, out, err) : status;
}

// ---- check

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

// ---- kernels, copy

// Times a case and prints a line of JSON; a case that the device does not support gives no line.
static tern_status time_case(op_runner *runner, op_case *c, const char *geometry, const char *matrix, tern_error *err)
{
    op_timing timing = {0};
    stats s;
    size_t n_chain = c->m <= 64 ? 20 : 5;
    tern_error local = {0};
    tern_status status = op_time_chained(runner, c, 2, 7, n_chain, &timing, &local);
    if (status == TERN_DEVICE_UNSUPPORTED) {
        fprintf(stderr, "device_bench: %s %s: %s\n", geometry, matrix, local.message);
        return TERN_OK;
    }
    if (status == TERN_OK) status = stats_of_ns(timing.samples_ns, timing.n_samples, &s, &local);
    if (status == TERN_OK) {
        const char *layout = !c->is_ternary ? "" : c->layout == TERNARY_T80 ? "t80" : "t64";
        printf("{\"geometry\":\"%s\",\"matrix\":\"%s\",\"op\":\"%s\",\"layout\":\"%s\",\"m\":%u,\"n\":%u,\"k\":%u,"
               "\"us\":%.3f,"
               "\"us_min\":%.3f,\"us_max\":%.3f,\"gbps\":%.2f,\"gmacs\":%.1f,\"bytes\":%llu,\"copies\":%zu,"
               "\"chain\":%zu,\"device\":\"%s\"}\n",
               geometry, matrix, op_kind_name(c->kind), layout, c->m, c->n, c->k, s.median / 1e3, s.min / 1e3,
               s.max / 1e3, (double)timing.bytes_moved / s.median, (double)c->n_macs / s.median,
               (unsigned long long)timing.bytes_moved, timing.n_copies, n_chain, runner->facts.name);
        fflush(stdout);
    }
    op_timing_free(&timing);
    return status == TERN_OK ? status : error_set(err, status, "%s %s M=%u: %s", geometry, matrix, c->m, local.message);
}

static bool is_wanted(const char *geometry, char **wanted, size_t n_wanted)
{
    for (size_t i = 0; i < n_wanted; i++)
        if (strcmp(wanted[i], geometry) == 0) return true;
    return n_wanted == 0;
}

static int kernels(const char *device_name, char **wanted, size_t n_wanted)
{
    static const struct {
        op_kind kind;
        ternary_layout layout;
    } forms[] = {{OP_TERNARY_MM, TERNARY_T64}, {OP_TERNARY_MM, TERNARY_T80}, {OP_BLAS_MM, TERNARY_T64}};
    op_runner runner = {0};
    tern_error err = {0};
    tern_status status = open_device(device_name, &runner, &err);
    for (size_t i = 0; i < COUNT(matrices) && status == TERN_OK; i++)
        for (size_t k = 0; k < COUNT(forms) && status == TERN_OK && is_wanted(matrices[i].geometry, wanted, n_wanted);
             k++)
            for (size_t m = 0; m < COUNT(m_sweep) && status == TERN_OK; m++) {
                bool is_ternary = forms[k].kind == OP_TERNARY_MM;
                if (!is_ternary && (m_sweep[m] == 8 || m_sweep[m] == 32)) continue; // the ends will do
                op_case c = {.kind = forms[k].kind,
                             .m = m_sweep[m],
                             .n = matrices[i].n,
                             .k = matrices[i].k,
                             .is_ternary = is_ternary,
                             .layout = forms[k].layout,
                             .dense = DENSE_F16,
                             .n_terms = 1,
                             .n_macs = (uint64_t)m_sweep[m] * matrices[i].n * matrices[i].k,
                             .name = "product"};
                status = time_case(&runner, &c, matrices[i].geometry, matrices[i].matrix, &err);
            }
    op_runner_close(&runner);
    return status == TERN_OK ? 0 : fail(&err);
}

static int copy(const char *device_name)
{
    op_runner runner = {0};
    tern_error err = {0};
    op_case c = {.kind = OP_GATHER, .m = 2048, .n = 65536, .name = "copy"}; // 512 MiB read, 512 MiB written
    tern_status status = open_device(device_name, &runner, &err);
    if (status == TERN_OK) status = time_case(&runner, &c, "memory", "copy", &err);
    op_runner_close(&runner);
    return status == TERN_OK ? 0 : fail(&err);
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "check") == 0 && (argc == 4 || argc == 5)) return check(argv[2], argv[3], argv[4]);
    if (strcmp(command, "kernels") == 0 && argc >= 3) return kernels(argv[2], argv + 3, (size_t)argc - 3);
    if (strcmp(command, "copy") == 0 && argc == 3) return copy(argv[2]);
    fprintf(stderr, "usage: device_bench check DEVICE quick|test|full [FILTER]\n"
                    "       device_bench kernels DEVICE [2b4t] [8b] [70b]\n"
                    "       device_bench copy DEVICE\n");
    return EXIT_USAGE;
}
