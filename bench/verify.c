// A run of the claims report from beginning to end; see verify.h.
#include "verify.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "verify_run.h"

static tern_status find_device(const verify_options *o, const char *name, tern_device_info *out, tern_error *err)
{
    for (size_t i = 0; i < tern_engine_device_count(o->engine); i++) {
        tern_status status = tern_engine_device_info(o->engine, i, out, err);
        if (status != TERN_OK || strcmp(out->name, name) == 0) return status;
    }
    return error_set(err, TERN_NO_DEVICE, "no device '%s'", name);
}

static tern_status make_folder(verify *v, tern_error *err)
{
    const char *out = v->options->out;
    struct stat facts;
    if (lstat(out, &facts) == 0)
        return error_set(err, TERN_INVALID_ARGUMENT, "'%s' exists; give --out a name that is free", out);
    size_t n = strlen(out);
    while (n > 1 && out[n - 1] == '/') n--;
    v->folder = malloc(n + 32);
    if (v->folder == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for the name of a folder");
    snprintf(v->folder, n + 32, "%.*s.tmp%ld", (int)n, out, (long)getpid());
    if (mkdir(v->folder, 0777) == 0) return TERN_OK;
    tern_status status = error_set(err, TERN_BAD_STATE, "cannot make '%s': %s", v->folder, strerror(errno));
    free(v->folder);
    v->folder = NULL;
    return status;
}

void verify_remove_folder(const char *folder)
{
    char path[5000];
    DIR *d = opendir(folder);
    for (struct dirent *entry; d != NULL && (entry = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "%.4000s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.') unlink(path);
    }
    if (d != NULL) closedir(d);
    rmdir(folder);
}

static tern_status run(verify *v, tern_error *err)
{
    tern_status status = claims_load((const char *)claims_json, &v->claims, err);
    for (size_t i = 0; i < v->options->n_devices && status == TERN_OK; i++)
        status = find_device(v->options, v->options->devices[i], &v->devices[i].info, err);
    if (status == TERN_OK) status = make_folder(v, err);
    if (status == TERN_OK) status = verify_measure(v, err);
    if (status == TERN_OK) status = verify_measure_quality(v, err);
    if (status == TERN_OK) status = verify_step(v, 0.95, "judging", err);
    if (status == TERN_OK) status = verify_judge(v, err);
    if (status == TERN_OK) status = verify_write(v, err);
    if (status == TERN_OK && rename(v->folder, v->options->out) != 0)
        status = error_set(err, TERN_BAD_STATE, "cannot name the report '%s': %s", v->options->out, strerror(errno));
    return status;
}

static void summarise(const verify *v, verify_summary *out)
{
    verify_summary s = {.n_claims = v->claims.n, .is_valid = true};
    size_t *const counts[] = {[CLAIM_NOT_TESTABLE] = &s.n_not_testable, [CLAIM_CONFIRMED] = &s.n_confirmed,
                              [CLAIM_CONFIRMED_IN_PART] = &s.n_in_part, [CLAIM_NOT_DECIDED] = &s.n_not_decided,
                              [CLAIM_REFUTED] = &s.n_refuted,           [CLAIM_INVALID] = &s.n_invalid};
    for (size_t c = 0; c < v->claims.n; c++)
        ++*counts[claim_verdict(verify_outcomes(v, 0, c), v->claims.items[c].n_parts)];
    for (size_t d = 0; d < v->options->n_devices; d++)
        s.is_valid &= v->devices[d].selftest.failed == 0 && v->devices[d].selftest.passed > 0;
    *out = s;
}

tern_status verify_run(const verify_options *options, verify_summary *out, tern_error *err)
{
    verify *v = calloc(1, sizeof *v);
    if (v == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a report");
    v->options = options;
    v->ns_start = clock_ns();
    tern_status status = run(v, err);
    if (status == TERN_OK) summarise(v, out);
    if (status != TERN_OK && v->folder != NULL) verify_remove_folder(v->folder);
    for (size_t i = 0; i < v->n_rows; i++) bench_row_free(&v->rows[i].row);
    free(v->rows);
    free(v->outcomes);
    free(v->folder);
    json_decref(v->environment);
    claims_free(&v->claims);
    free(v);
    return status;
}
