// The files of a report's folder; see verify_run.h.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "report_json.h"
#include "sha256.h"
#include "verify_report.h"

// A file of the folder, and its line of SHA256SUMS.
static tern_status write_text(const verify *v, const char *name, const char *text, report *sums, tern_error *err)
{
    char path[4300], hex[65];
    snprintf(path, sizeof path, "%.4200s/%s", v->folder, name);
    FILE *file = fopen(path, "wbe");
    size_t n = strlen(text);
    bool is_written = file != NULL && fwrite(text, 1, n, file) == n;
    int error = errno;
    if (file != NULL && fclose(file) != 0 && is_written) {
        error = errno;
        is_written = false;
    }
    if (!is_written) return error_set(err, TERN_BAD_STATE, "writing '%s': %s", path, strerror(error));
    sha256 hash;
    sha256_init(&hash);
    sha256_update(&hash, text, n);
    sha256_finish(&hash, hex);
    if (sums != NULL) report_add(sums, "%s  %s\n", hex, name);
    return TERN_OK;
}

static tern_status write_json(const verify *v, const char *name, const json_t *json, report *sums, tern_error *err)
{
    char *text = json != NULL ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
    tern_status status = text != NULL ? write_text(v, name, text, sums, err)
                                      : error_set(err, TERN_HOST_MEMORY, "no memory for %s", name);
    free(text);
    return status;
}

// ---------------------------------------------------------------------------------------------------------- results

static json_t *part_json(const claim_part *part, const claim_outcome *o, const char *device_name)
{
    json_t *object = json_object();
    report_set_text(object, "part", part->label);
    report_set_text(object, "measure", part->measure);
    report_set_text(object, "device", device_name);
    if (part->unit != NULL) {
        report_set_text(object, "compare", part->is_at_most ? "at most" : "at least");
        report_set_real(object, "threshold", part->threshold);
        report_set_text(object, "unit", part->unit);
    }
    if (o->has_value) {
        report_set_real(object, "value", o->value);
        report_set_real(object, "low", o->low);
        report_set_real(object, "high", o->high);
        json_object_set_new(object, "is_computed", json_boolean(o->is_computed));
    }
    report_set_text(object, "verdict", claim_verdict_name(o->verdict));
    report_set_text(object, "detail", o->detail);
    return object;
}

static json_t *results_json(const verify *v)
{
    json_t *root = json_object(), *list = json_array();
    report_set_count(root, "claims_version", (uint64_t)v->claims.version);
    json_object_set_new(root, "is_quick", json_boolean(v->options->is_quick));
    for (size_t c = 0; c < v->claims.n; c++) {
        const claim *item = &v->claims.items[c];
        json_t *object = json_object(), *parts = json_array(), *verdicts = json_object();
        report_set_text(object, "id", item->id);
        report_set_text(object, "source", item->source);
        report_set_text(object, "topic", item->topic);
        report_set_text(object, "statement", item->statement);
        for (size_t d = 0; d < v->options->n_devices; d++) {
            const claim_outcome *outcomes = verify_outcomes(v, d, c);
            const char *name = v->devices[d].info.name;
            report_set_text(verdicts, name, claim_verdict_name(claim_verdict(outcomes, item->n_parts)));
            for (size_t p = 0; p < item->n_parts; p++)
                json_array_append_new(parts, part_json(&item->parts[p], &outcomes[p], name));
        }
        json_object_set_new(object, "verdicts", verdicts);
        json_object_set_new(object, "parts", parts);
        json_array_append_new(list, object);
    }
    json_object_set_new(root, "claims", list);
    return root;
}

// ---------------------------------------------------------------------------------------------------------- samples

static tern_status write_samples(const verify *v, report *sums, tern_error *err)
{
    bench_row *rows = calloc(v->n_rows + 1, sizeof *rows);
    if (rows == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for samples");
    for (size_t i = 0; i < v->n_rows; i++) rows[i] = v->rows[i].row; // borrowed
    char *text = NULL;
    tern_status status = bench_rows_text(rows, v->n_rows, BENCH_JSONL, &text, err);
    free(rows);
    if (status == TERN_OK) status = write_text(v, "samples.jsonl", text, sums, err);
    free(text);
    return status;
}

// Energy windows, where there are any.
static tern_status write_power(const verify *v, report *sums, tern_error *err)
{
    report csv = {0};
    report_add(&csv,
               "device,shape,weights,test,sequences,source,window_s,joules,joules_net,idle_w,sampled_w,j_per_token\n");
    size_t n = 0;
    for (size_t i = 0; i < v->n_rows; i++) {
        const bench_row *row = &v->rows[i].row;
        const bench_energy *e = &row->energy;
        if (e->source[0] == 0) continue;
        char name[64];
        bench_test_name(&row->test, name, sizeof name);
        n++;
        report_add(&csv, "%s,%s,%s,", row->device, v->rows[i].shape, row->weights);
        report_add_csv(&csv, name);
        report_add(&csv, ",%u,", row->n_seq);
        report_add_csv(&csv, e->source);
        report_add(&csv, ",%.3f,%.6g,%.6g,%.4g,%.4g,%.6g\n", e->window_s, e->joules, e->joules_net, e->idle_w,
                   e->sampled_w, e->j_per_token);
    }
    char *text = NULL;
    tern_status status = report_take(&csv, &text, err);
    if (status == TERN_OK && n > 0) status = write_text(v, "power.csv", text, sums, err);
    free(text);
    return status;
}

tern_status verify_write(verify *v, tern_error *err)
{
    report sums = {0};
    char *md = NULL, *html = NULL, *summary = NULL, *lines = NULL;
    v->environment = verify_environment(v);
    json_t *results = results_json(v);
    tern_status status = verify_render(v, &md, &html, err);
    if (status == TERN_OK) status = verify_render_summary(v, &summary, err);
    if (status == TERN_OK) status = write_text(v, "REPORT.md", md, &sums, err);
    if (status == TERN_OK) status = write_text(v, "REPORT.html", html, &sums, err);
    if (status == TERN_OK) status = write_text(v, "SUMMARY.md", summary, &sums, err);
    if (status == TERN_OK) status = write_json(v, "environment.json", v->environment, &sums, err);
    if (status == TERN_OK) status = write_json(v, "results.json", results, &sums, err);
    if (status == TERN_OK) status = write_samples(v, &sums, err);
    if (status == TERN_OK) status = write_power(v, &sums, err);
    if (status == TERN_OK) status = report_take(&sums, &lines, err);
    if (status == TERN_OK) status = write_text(v, "SHA256SUMS", lines, NULL, err);
    report_free(&sums);
    json_decref(results);
    free(md);
    free(html);
    free(summary);
    free(lines);
    return status;
}
