// The report as a document; see verify_run.h. What the other files of the folder are: verify_files.c.
#include "verify_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "verify_plots.h"

static const char *kind_of(verdict v)
{
    return v == CLAIM_CONFIRMED || v == CLAIM_CONFIRMED_IN_PART ? "good"
           : v == CLAIM_REFUTED                                 ? "bad"
           : v == CLAIM_NOT_DECIDED || v == CLAIM_INVALID       ? "open"
                                                                : "none";
}

static bool is_cpu(const verify *v, size_t dev) { return strcmp(v->devices[dev].info.backend, "cpu") == 0; }

// ---------------------------------------------------------------------------------------------------------- summary

static void add_introduction(const verify *v, document *d)
{
    const verify_options *o = v->options;
    if (o->is_quick)
        document_text(d, "INDICATIVE ONLY: a quick run of 3 repeats on small shapes, without energy. The full run is "
                         "`tern verify` without --quick.");
    for (size_t i = 0; i < o->n_devices; i++) {
        const verify_device *dev = &v->devices[i];
        document_text(d, "Device %s: %s. Self-test in this process: %zu passed, %zu failed, %zu skipped, in %.1f s.%s",
                      dev->info.name, dev->info.description, dev->selftest.passed, dev->selftest.failed,
                      dev->selftest.skipped, (double)dev->selftest.ns * 1e-9,
                      dev->selftest.failed > 0 ? " No speed of this device is valid."
                      : is_cpu(v, i)           ? " Its results are results of a CPU: they decide nothing about a GPU."
                                               : "");
    }
    document_text(d, "All measured models are synthetic: random ternary weights of the published shapes, which have "
                     "the same speed and memory as trained ones and say nothing about quality. \"FP16\" is the same "
                     "model in the same engine with its matrices held as FP16.");
}

// The first part that decided the claim, for one line of the summary.
static void add_finding(document *d, const claim *c, const claim_outcome *outcomes, verdict v)
{
    for (size_t p = 0; p < c->n_parts; p++) {
        if (outcomes[p].verdict != v) continue;
        if (!outcomes[p].has_value)
            document_cell(d, "%s", outcomes[p].detail);
        else
            document_cell(d, "%s: %.4g %s%s (claimed %s %.4g)", c->parts[p].label, outcomes[p].value, c->parts[p].unit,
                          outcomes[p].is_computed ? ", computed" : "", c->parts[p].is_at_most ? "≤" : "≥",
                          c->parts[p].threshold);
        return;
    }
    document_cell(d, "%s", "");
}

static size_t count_parts(const claim *c, const claim_outcome *outcomes, verdict v)
{
    size_t n = 0;
    for (size_t p = 0; p < c->n_parts; p++) n += outcomes[p].verdict == v;
    return n;
}

// What the verdict rests on.
static const char *basis_of(const claim_outcome *outcomes, size_t n)
{
    bool is_measured = false, is_computed = false;
    for (size_t p = 0; p < n; p++) {
        is_measured |= outcomes[p].has_value && !outcomes[p].is_computed;
        is_computed |= outcomes[p].has_value && outcomes[p].is_computed;
    }
    return is_measured ? is_computed ? "measured and computed" : "measured" : is_computed ? "computed" : "";
}

static void add_verdicts(const verify *v, document *d)
{
    static const char *const titles[] = {"claim",  "verdict",   "by",          "parts", "device",
                                         "source", "statement", "for example", NULL};
    document_heading(d, 2, "Verdicts");
    document_table(d, "lllrllll", titles);
    for (size_t c = 0; c < v->claims.n; c++)
        for (size_t dev = 0; dev < v->options->n_devices; dev++) {
            const claim *item = &v->claims.items[c];
            const claim_outcome *outcomes = verify_outcomes(v, dev, c);
            verdict result = claim_verdict(outcomes, item->n_parts);
            verdict of_parts = result == CLAIM_CONFIRMED_IN_PART ? CLAIM_CONFIRMED : result;
            size_t n_agree = count_parts(item, outcomes, of_parts);
            document_cell(d, "%s", item->id);
            document_badge(d, kind_of(result), claim_verdict_name(result));
            document_cell(d, "%s", basis_of(outcomes, item->n_parts));
            document_cell(d, "%zu of %zu", n_agree, item->n_parts);
            document_cell(d, "%s", v->devices[dev].info.name);
            document_cell(d, "%s", item->source);
            document_cell(d, "%s", item->statement);
            add_finding(d, item, outcomes, of_parts);
        }
    document_table_end(d);
    document_text(d, "Sources: O, %s. P, %s. B, %s.", claims_text(&v->claims, "sources", "O"),
                  claims_text(&v->claims, "sources", "P"), claims_text(&v->claims, "sources", "B"));
}

// ------------------------------------------------------------------------------------------------------------ parts

static void add_part(const verify *v, document *d, const claim_part *part, const claim_outcome *o, size_t dev)
{
    document_cell(d, "%s", part->label);
    document_cell(d, "%s", v->devices[dev].info.name);
    if (part->unit != NULL)
        document_cell(d, "%s %.4g %s", part->is_at_most ? "≤" : "≥", part->threshold, part->unit);
    else
        document_cell(d, "%s", "");
    if (o->has_value)
        document_cell(d, "%.4g %s", o->value, part->unit);
    else
        document_cell(d, "%s", "");
    if (o->has_value && o->low < o->high)
        document_cell(d, "%.4g to %.4g", o->low, o->high);
    else
        document_cell(d, "%s", "");
    document_cell(d, "%s", !o->has_value ? "" : o->is_computed ? "computed" : "measured");
    document_badge(d, kind_of(o->verdict), claim_verdict_name(o->verdict));
    document_cell(d, "%s", o->detail);
}

static void add_claims(const verify *v, document *d)
{
    static const char *const titles[] = {"part", "device",  "claimed", "found", "95 % interval",
                                         "by",   "verdict", "details", NULL};
    document_heading(d, 2, "The claims, part by part");
    document_text(d,
                  "Thresholds were set before measuring, in the data file of the program (version %d). A measured "
                  "part is confirmed or refuted if its whole 95 %% interval lies on one side of the threshold, and "
                  "not decided if the threshold lies inside; a part without an interval is decided by its value. A "
                  "claim is refuted if any of its parts is, else not decided if any is, else confirmed if all are, and "
                  "confirmed in part if some could not be tested here.",
                  v->claims.version);
    for (size_t c = 0; c < v->claims.n; c++) {
        const claim *item = &v->claims.items[c];
        char heading[64];
        snprintf(heading, sizeof heading, "%s (source %s)", item->id, item->source);
        document_heading(d, 3, heading);
        document_text(d, "\"%s\" Decided by: %s.", item->statement, item->how);
        if (item->remark != NULL) document_text(d, "%s", item->remark);
        document_table(d, "llrrrlll", titles);
        for (size_t p = 0; p < item->n_parts; p++)
            for (size_t dev = 0; dev < v->options->n_devices; dev++)
                add_part(v, d, &item->parts[p], &verify_outcomes(v, dev, c)[p], dev);
        document_table_end(d);
    }
}

// --------------------------------------------------------------------------------------------------------- measured

// Every test that both twins ran, also those where ternary loses.
static void add_pairs(const verify *v, document *d)
{
    static const char *const titles[] = {"device",     "shape",          "test", "sequences", "ternary tok/s",
                                         "FP16 tok/s", "ternary / FP16", "",     NULL};
    size_t n_slower = 0, n_pairs = 0;
    document_heading(d, 2, "Speed of both twins, also where ternary loses");
    document_table(d, "lllrrrrl", titles);
    for (size_t i = 0; i < v->n_rows; i++) {
        const verify_row *a = &v->rows[i], *b;
        b = a->is_twin ? NULL : verify_find_row(v, a->device, a->shape, true, a->row.n_seq, &a->row.test);
        if (b == NULL) continue;
        char name[64];
        double ratio = a->row.median_ts / b->row.median_ts;
        bench_test_name(&a->row.test, name, sizeof name);
        n_pairs++;
        n_slower += ratio < 1;
        document_cell(d, "%s", v->devices[a->device].info.name);
        document_cell(d, "%s", a->shape);
        document_cell(d, "%s", name);
        document_cell(d, "%u", a->row.n_seq);
        document_cell(d, "%.4g", a->row.median_ts);
        document_cell(d, "%.4g", b->row.median_ts);
        document_cell(d, "%.2f", ratio);
        bool is_valid = a->row.is_valid && b->row.is_valid;
        document_badge(d,
                       !is_valid   ? "open"
                       : ratio < 1 ? "bad"
                                   : "good",
                       !is_valid   ? "invalid"
                       : ratio < 1 ? "ternary slower"
                                   : "ternary faster");
    }
    document_table_end(d);
    document_text(d, "Medians. In %zu of %zu tests the ternary model is slower than its FP16 twin.", n_slower, n_pairs);
}

static void add_rows(const verify *v, document *d)
{
    static const char *const titles[] = {
        "device",  "synthetic shape", "weights", "test",           "seq",     "tok/s, mean ± sd", "n",
        "ms/step", "min to max",      "GB/s",    "% of bandwidth", "J/token", "GB planned",       "GB seen",
        "valid",   "remark",          NULL};
    document_heading(d, 2, "Measured rows");
    document_table(d, "llllrrrrrrrrrrll", titles);
    for (size_t i = 0; i < v->n_rows; i++) {
        const verify_row *r = &v->rows[i];
        const bench_row *row = &r->row;
        char name[64];
        bench_test_name(&row->test, name, sizeof name);
        double step = row->test.n_gen > 0 ? 1e-6 / row->test.n_gen : 1e-6;
        document_cell(d, "%s", row->device);
        document_cell(d, "%s", r->shape);
        document_cell(d, "%s", row->weights);
        document_cell(d, "%s", name);
        document_cell(d, "%u", row->n_seq);
        document_cell(d, row->avg_ts < 100 ? "%.2f ± %.2f" : "%.0f ± %.0f", row->avg_ts, row->stddev_ts);
        document_cell(d, "%u", row->n_samples);
        document_cell(d, "%.4g", row->median_ns * step);
        document_cell(d, "%.4g to %.4g", row->min_ns * step, row->max_ns * step);
        document_cell(d, "%.3g", row->gbps);
        document_cell(d, row->peak_gbps > 0 ? "%.0f" : "-", row->pct_peak_bw);
        document_cell(d, row->energy.source[0] != 0 ? "%.3g" : "-", row->energy.j_per_token);
        document_cell(d, "%.3g", (double)row->vram_planned_bytes * 1e-9);
        document_cell(d, row->vram_peak_bytes > 0 ? "%.3g" : "-", (double)row->vram_peak_bytes * 1e-9);
        document_badge(d, row->is_valid ? "good" : "bad", row->is_valid ? "yes" : "no");
        document_cell(d, "%s", row->reason);
    }
    document_table_end(d);
    document_text(d, "A step is one decoding evaluation of all sequences, or a whole prompt. GB/s counts the weights "
                     "and keys and values that must be read. GB are 1e9 bytes.");
    for (size_t i = 0; i < v->options->n_devices; i++)
        if (v->devices[i].skipped[0] != 0)
            document_text(d, "Not or not fully measured on %s: %s.", v->devices[i].info.name, v->devices[i].skipped);
}

static void add_quality(const verify *v, document *d)
{
    static const char *const titles[] = {"model", "perplexity", "text", NULL};
    const verify_quality *q = &v->quality;
    if (!q->has_ternary_ppl && !q->has_float_ppl) return;
    document_heading(d, 2, "Quality of the models given");
    document_table(d, "lrl", titles);
    const struct {
        bool is_there;
        const char *name;
        double value, error;
    } rows[] = {{q->has_ternary_ppl, "ternary (-m)", q->ppl_ternary, q->ppl_ternary_error},
                {q->has_float_ppl, "float (--float-model)", q->ppl_float, q->ppl_float_error},
                {q->has_conversion, "the same, ternarised without training", q->ppl_converted, q->ppl_converted_error}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!rows[i].is_there) continue;
        document_cell(d, "%s", rows[i].name);
        document_cell(d, "%.3f +- %.3f", rows[i].value, rows[i].error);
        document_cell(d, "%s", v->options->text);
    }
    document_table_end(d);
    document_text(d, "First chunks of the text, counted as llama-perplexity counts; f32 KV. These are the user's "
                     "models, not the published ones: the rows show what `tern ppl` would measure.");
}

// ------------------------------------------------------------------------------------------------- method and limits

static void add_method(const verify *v, document *d)
{
    const verify_options *o = v->options;
    document_heading(d, 2, "Method");
    document_item(d,
                  "Order: self-test of the device, then shape by shape, both twins loaded side by side where memory "
                  "allows and their repetitions interleaved; %d repeats after %d discarded runs.",
                  o->is_quick ? 3 : 10, o->is_quick ? 1 : 2);
    document_item(d, "Ratios: the geometric mean of paired repetitions, with Student's t interval of its logarithm.");
    document_item(d, "Clock: the host's monotonic clock around evaluations that are complete when they return. "
                     "Tokenising and sampling are not part of any time. Token ids are random.");
    document_item(d, "Caches: weights larger than the last-level cache are read from memory at every step; rows of "
                     "models that fit a cache say so and are not held against the bandwidth.");
    document_item(d, "Decoding reads int8 KV. Batches are decoded from an empty context; the equal-memory experiment "
                     "counts 512 positions a sequence.");
    document_item(d, "Plans count 0.47 GB (450 MiB) of context and driver with both twins, and everything "
                     "resident on the device, in the packed layout that the planner chooses.");
    document_item(d, "Energy of operations: %s. Note: %s", claims_text(&v->claims, "energy", "source"),
                  claims_text(&v->claims, "energy", "note"));
    document_heading(d, 2, "Limits");
    document_item(d, "Quality of the published checkpoints is not tested: they are not part of the program.");
    document_item(d, "The FP16 twin is this engine's; other engines may be faster with FP16, which would make the "
                     "ratios smaller.");
    document_item(d, "No server load (arrival rates, time to first token under load) is measured.");
    if (o->is_quick) document_item(d, "This run was quick: no context curve, no energy, few shapes.");
}

static void add_environment(const verify *v, document *d)
{
    static const char *const titles[] = {"fact", "value", NULL}, *const files[] = {"file", "bytes", "sha256", NULL};
    document_heading(d, 2, "Environment");
    document_table(d, "ll", titles);
    const char *key;
    json_t *value;
    json_object_foreach(v->environment, key, value)
    {
        if (json_is_array(value)) continue;
        char *text = json_is_string(value) ? strdup(json_string_value(value)) : json_dumps(value, JSON_ENCODE_ANY);
        document_cell(d, "%s", key);
        document_cell(d, "%s", text != NULL ? text : "");
        free(text);
    }
    document_table_end(d);
    const json_t *list = json_object_get(v->environment, "files");
    if (json_array_size(list) > 0) {
        document_table(d, "lrl", files);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *file = json_array_get(list, i);
            document_cell(d, "%s", json_string_value(json_object_get(file, "path")));
            document_cell(d, "%lld", (long long)json_integer_value(json_object_get(file, "bytes")));
            document_cell(d, "%s", json_string_value(json_object_get(file, "sha256")));
        }
        document_table_end(d);
    }
    document_heading(d, 2, "Run it again");
    document_code(d, v->options->command);
    document_text(d,
                  "samples.jsonl holds every repetition, results.json every outcome, environment.json the machine, "
                  "and SHA256SUMS the hashes of these files. The run took %.0f s.",
                  (double)(clock_ns() - v->ns_start) * 1e-9);
}

// ------------------------------------------------------------------------------------------------------------- all

static void title_of(const verify *v, char *out, size_t n_bytes)
{
    snprintf(out, n_bytes, "Claims about ternary models, checked by Tern%s",
             v->options->is_quick ? " (indicative)" : "");
}

tern_status verify_render(const verify *v, char **md, char **html, tern_error *err)
{
    document d;
    char title[96];
    static plot plots[1 + VERIFY_N_DEVICE_PLOTS * VERIFY_MAX_DEVICES]; // large
    size_t n_plots = 1;
    tern_status status = verify_memory_plot(v, &plots[0], err);
    if (status != TERN_OK) return status;
    for (size_t i = 0; i < v->options->n_devices; i++, n_plots += VERIFY_N_DEVICE_PLOTS)
        verify_device_plots(v, i, &plots[n_plots]);
    title_of(v, title, sizeof title);
    document_begin(&d, title);
    add_introduction(v, &d);
    add_verdicts(v, &d);
    document_heading(&d, 2, "Plots");
    document_plots(&d, plots, n_plots);
    add_pairs(v, &d);
    add_quality(v, &d);
    add_claims(v, &d);
    add_rows(v, &d);
    add_method(v, &d);
    add_environment(v, &d);
    return document_end(&d, md, html, err);
}

tern_status verify_render_summary(const verify *v, char **md, tern_error *err)
{
    document d;
    char title[96], *html = NULL;
    title_of(v, title, sizeof title);
    document_begin(&d, title);
    add_introduction(v, &d);
    add_verdicts(v, &d);
    tern_status status = document_end(&d, md, &html, err);
    free(html);
    return status;
}
