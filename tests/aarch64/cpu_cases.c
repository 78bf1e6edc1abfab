// The op cases on the CPU backend alone, for each table of inner loops that this processor has: what can be built
// without the libraries of the engine, for another architecture. Usage: cpu_cases [FILTER [TABLE]]; with TABLE the one
// that is chosen here alone, which must have that name.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "op_run.h"

int main(int argc, char **argv)
{
    const char *filter = argc > 1 ? argv[1] : "";
    const cpu_kernels *tables[CPU_MAX_KERNELS];
    size_t n_tables = cpu_kernels_list(tables), n_cases = 0, n_run = 0, n_failed = 0, first = 0;
    op_case *cases = NULL;
    op_runner reference = {0}, fast = {0}, *subject = &fast;
    tern_error err = {0};
    if (argc > 2) {
        first = n_tables - 1;
        if (strcmp(tables[first]->name, argv[2]) != 0) {
            printf("FAILED: chosen is %s, expected %s\n", tables[first]->name, argv[2]);
            return 1;
        }
    }
    tern_status status = op_cases_list(&cases, &n_cases, &err);
    if (status == TERN_OK) status = op_runner_open(&cpu_backend, 1, 1, &reference, &err);
    if (status == TERN_OK) status = op_runner_open(&cpu_backend, 0, 1, &fast, &err);
    for (size_t t = first; t < n_tables && status == TERN_OK; t++) {
        fast.device->kernels = tables[t];
        for (size_t i = 0; i < n_cases && status == TERN_OK; i++) {
            op_outcome outcome = {0};
            if (cases[i].level != LEVEL_QUICK || strstr(cases[i].name, filter) == NULL) continue;
            status = op_case_run(&cases[i], &reference, &subject, 1, &outcome, &err);
            n_run++;
            if (outcome.verdict != VERDICT_FAILED) continue;
            n_failed++;
            printf("FAILED %s: %s: %s\n", tables[t]->name, cases[i].name, outcome.text);
        }
        printf("%s: done\n", tables[t]->name);
    }
    if (status != TERN_OK) printf("%s\n", err.message);
    printf("%zu cases, %zu failed\n", n_run, n_failed);
    op_runner_close(&fast);
    op_runner_close(&reference);
    free(cases);
    return status == TERN_OK && n_failed == 0 && n_run > 0 ? 0 : 1;
}
