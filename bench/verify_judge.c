// From measured rows to outcomes; see verify_run.h.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "stats.h"
#include "verify_run.h"

enum { EQUAL_BATCH = 4 };

static bool is_cpu(const verify *v, size_t dev) { return strcmp(v->devices[dev].info.backend, "cpu") == 0; }

const char *verify_shape_of(const verify *v, size_t dev, const claim_part *part)
{
    if (part->shape == NULL) return "";
    return strcmp(part->shape, "largest") == 0 ? v->devices[dev].largest : part->shape;
}

// Two rows to be compared, or the outcome that says why there are none.
typedef struct twins {
    const bench_row *ternary, *fp16;
    claim_outcome missing;
} twins;

// The reason noted for a shape, in "3b: ...; 13b: ...".
static bool find_reason(const char *skipped, const char *shape, char *out, size_t n_bytes)
{
    size_t n_shape = strlen(shape);
    for (const char *at = skipped; *at != 0;) {
        size_t n = strcspn(at, ";");
        if (strncmp(at, shape, n_shape) == 0 && at[n_shape] == ':') {
            snprintf(out, n_bytes, "%.*s", (int)n, at);
            return true;
        }
        at += n;
        at += strspn(at, "; ");
    }
    return false;
}

static claim_outcome not_measured(const verify *v, size_t dev, const char *shape)
{
    const verify_device *d = &v->devices[dev];
    char why[200];
    if (shape[0] == 0) return claim_untestable("no shape's two twins were measured on %s", d->info.name);
    if (find_reason(d->skipped, shape, why, sizeof why)) return claim_untestable("%s: %s", d->info.name, why);
    return claim_untestable("%s was not measured in this %srun", shape, v->options->is_quick ? "quick " : "");
}

static twins find_twins(const verify *v, size_t dev, const char *shape, const bench_test *test, uint32_t n_ternary,
                        uint32_t n_fp16)
{
    const verify_row *a = verify_find_row(v, dev, shape, false, n_ternary, test);
    const verify_row *b = verify_find_row(v, dev, shape, true, n_fp16, test);
    twins t = {0};
    if (a == NULL && test->n_depth > 0 && verify_find_row(v, dev, shape, false, 1, &(bench_test){.n_gen = test->n_gen}))
        t.missing = claim_untestable("a context of %u was not filled: %s", test->n_depth,
                                     v->options->is_quick ? "quick run" : "it takes too long on this device");
    else if (a == NULL || b == NULL)
        t.missing = not_measured(v, dev, shape);
    else if (!a->row.is_valid || !b->row.is_valid)
        t.missing = claim_invalid("%.200s", a->row.is_valid ? b->row.reason : a->row.reason);
    else if (a->row.fallback_ops[0] != 0 || b->row.fallback_ops[0] != 0)
        t.missing = claim_untestable("not all layers stayed on the device: %.150s",
                                     a->row.fallback_ops[0] != 0 ? a->row.fallback_ops : b->row.fallback_ops);
    else {
        t.ternary = &a->row;
        t.fp16 = &b->row;
    }
    return t;
}

// Samples of both in the order they were taken, as tokens a nanosecond.
static claim_outcome speed_ratio(const claim_part *part, const twins *t)
{
    if (t->ternary == NULL) return t->missing;
    size_t n = t->ternary->n_samples < t->fp16->n_samples ? t->ternary->n_samples : t->fp16->n_samples;
    double *a = n > 0 ? malloc(2 * n * sizeof *a) : NULL;
    if (a == NULL) return claim_untestable("no memory for the samples");
    for (size_t i = 0; i < n; i++) {
        a[i] = bench_row_tokens(t->ternary) / (double)t->ternary->samples_ns[i];
        a[n + i] = bench_row_tokens(t->fp16) / (double)t->fp16->samples_ns[i];
    }
    claim_ratio r = claim_ratio_of(a, a + n, n);
    free(a);
    claim_outcome outcome = claim_measured(part, r.value, r.low, r.high);
    double per_step = 1e-6 / t->ternary->test.n_gen; // of one decoding evaluation, in ms
    snprintf(outcome.detail, sizeof outcome.detail,
             "ternary %.4g ms a step of %u, FP16 %.4g ms a step of %u (medians, n = %zu%s)",
             t->ternary->median_ns * per_step, t->ternary->n_seq, t->fp16->median_ns * per_step, t->fp16->n_seq, n,
             t->ternary->is_interleaved && t->fp16->is_interleaved ? ", interleaved" : "");
    return outcome;
}

static claim_outcome latency_part(const verify *v, size_t dev, const claim_part *part)
{
    bench_test test = verify_decode_test(v, dev, part->depth);
    twins t = find_twins(v, dev, verify_shape_of(v, dev, part), &test, 1, 1);
    return speed_ratio(part, &t);
}

static claim_outcome batch_part(const verify *v, size_t dev, const claim_part *part)
{
    bool is_memory = strcmp(part->measure, "throughput_equal_memory") == 0;
    const verify_device *d = &v->devices[dev];
    bench_test test = verify_batch_test(v, dev);
    const char *shape = verify_shape_of(v, dev, part);
    twins t = find_twins(v, dev, shape, &test, is_memory ? d->n_ternary : EQUAL_BATCH, EQUAL_BATCH);
    claim_outcome outcome = speed_ratio(part, &t);
    size_t n = strlen(outcome.detail);
    if (is_memory && outcome.has_value)
        snprintf(outcome.detail + n, sizeof outcome.detail - n, "; %s, budget %.2f GB", shape,
                 (double)d->budget_bytes * 1e-9);
    return outcome;
}

static claim_outcome memory_part(const verify *v, size_t dev, const claim_part *part)
{
    bench_test test = verify_decode_test(v, dev, 0);
    twins t = find_twins(v, dev, verify_shape_of(v, dev, part), &test, 1, 1);
    if (t.ternary == NULL) return t.missing;
    double ternary = (double)t.ternary->vram_peak_bytes, fp16 = (double)t.fp16->vram_peak_bytes;
    if (ternary <= 0 || fp16 <= 0) return claim_untestable("the device does not say what is in use");
    double saving = 100 * (1 - ternary / fp16);
    claim_outcome outcome = claim_measured(part, saving, saving, saving);
    snprintf(outcome.detail, sizeof outcome.detail,
             "%.3g GB ternary, %.3g GB FP16 (%s; planned %.3g and %.3g); one "
             "reading",
             ternary * 1e-9, fp16 * 1e-9, t.ternary->vram_source, (double)t.ternary->vram_planned_bytes * 1e-9,
             (double)t.fp16->vram_planned_bytes * 1e-9);
    return outcome;
}

static claim_outcome energy_part(const verify *v, size_t dev, const claim_part *part)
{
    bench_test test = verify_decode_test(v, dev, 0);
    twins t = find_twins(v, dev, verify_shape_of(v, dev, part), &test, 1, 1);
    if (t.ternary == NULL) return t.missing;
    double ternary = t.ternary->energy.net_j_per_token, fp16 = t.fp16->energy.net_j_per_token;
    if (v->options->is_quick) return claim_untestable("energy is not measured in a quick run");
    if (t.ternary->energy.source[0] == 0 || t.fp16->energy.source[0] == 0)
        return claim_untestable("%s has no energy counter that can be read", v->devices[dev].info.name);
    if (!(ternary > 0 && fp16 > 0)) return claim_untestable("the counter did not move");
    double value = strcmp(part->measure, "energy_ratio") == 0 ? fp16 / ternary : 100 * (1 - ternary / fp16);
    claim_outcome outcome = claim_measured(part, value, value, value);
    snprintf(outcome.detail, sizeof outcome.detail,
             "%.3g J a token ternary, %.3g J FP16, idle power subtracted (%s, windows of %.0f s, one each)", ternary,
             fp16, t.ternary->energy.source, t.ternary->energy.window_s);
    return outcome;
}

static claim_outcome run_part(const verify *v, size_t dev, const claim_part *part)
{
    bench_test test = verify_decode_test(v, dev, 0);
    const verify_row *r = verify_find_row(v, dev, part->shape, false, 1, &test);
    if (r == NULL) return not_measured(v, dev, part->shape);
    if (!r->row.is_valid) return claim_invalid("%.200s", r->row.reason);
    uint64_t peak = r->row.vram_peak_bytes, planned = r->row.vram_planned_bytes;
    double value = (double)(peak > planned ? peak : planned) * 1e-9;
    claim_outcome outcome = claim_measured(part, value, value, value);
    snprintf(outcome.detail, sizeof outcome.detail, "%.3g tok/s; planned %.2f GB, seen %.2f GB", r->row.median_ts,
             (double)planned * 1e-9, (double)peak * 1e-9);
    return outcome;
}

// Decoding is bound by memory: at the same share of another machine's bandwidth it is that much faster or slower.
static claim_outcome bandwidth_part(const verify *v, size_t dev, const claim_part *part)
{
    bench_test test = verify_decode_test(v, dev, 0);
    const verify_row *r = verify_find_row(v, dev, part->shape, false, 1, &test);
    if (r == NULL) return not_measured(v, dev, part->shape);
    if (!r->row.is_valid) return claim_invalid("%.200s", r->row.reason);
    if (r->row.peak_gbps <= 0) return claim_untestable("this machine's bandwidth was not measured");
    stats s;
    if (stats_of_ns(r->row.samples_ns, r->row.n_samples, &s, NULL) != TERN_OK)
        return claim_untestable("no memory for the samples");
    double scale = part->gbps / r->row.peak_gbps * bench_row_tokens(&r->row) * 1e9;
    double low = s.n > 1 && s.ci95_high > 0 ? scale / s.ci95_high : 0;
    double high = s.n > 1 && s.ci95_low > 0 ? scale / s.ci95_low : INFINITY;
    claim_outcome outcome = claim_measured(part, scale / s.mean, low, high);
    outcome.is_computed = true;
    snprintf(outcome.detail, sizeof outcome.detail,
             "here %.3g tok/s, %.0f %% of %.1f GB/s; there the same share of %.1f GB/s", r->row.avg_ts,
             r->row.pct_peak_bw, r->row.peak_gbps, part->gbps);
    return outcome;
}

static claim_outcome quality_part(const verify *v, const claim_part *part)
{
    const verify_quality *q = &v->quality;
    claim_outcome outcome;
    if (strcmp(part->measure, "convert_ppl") == 0) {
        if (!q->has_conversion) return claim_untestable("%s", q->why_no_conversion);
        double half = 1.96 * q->conversion_error;
        outcome = claim_measured(part, q->conversion_ratio, q->conversion_ratio - half, q->conversion_ratio + half);
        snprintf(outcome.detail, sizeof outcome.detail, "perplexity %.2f ternarised, %.2f float, paired by token",
                 q->ppl_converted, q->ppl_float);
        return outcome;
    }
    if (strcmp(part->measure, "lossless_bits") == 0) {
        if (!q->has_bits) return claim_untestable("%s", q->why_not);
        outcome = claim_measured(part, (double)q->n_different, (double)q->n_different, (double)q->n_different);
        snprintf(outcome.detail, sizeof outcome.detail, "of %llu, as stored and as an I2_S file",
                 (unsigned long long)q->n_compared);
        return outcome;
    }
    if (!q->has_divergence) return claim_untestable("%s", q->why_not);
    bool is_kl = strcmp(part->measure, "lossless_kl") == 0;
    double value = is_kl ? q->kl : 100 * q->same_top, half = 1.96 * (is_kl ? q->kl_error : 100 * q->same_top_error);
    outcome = claim_measured(part, value, value - half, value + half);
    snprintf(outcome.detail, sizeof outcome.detail, "%zu tokens, %zu chunks of %u", q->n_scored, q->n_chunks, q->n_ctx);
    return outcome;
}

static claim_outcome measured_part(const verify *v, size_t dev, const claim_part *part)
{
    const char *m = part->measure;
    const selftest_result *test = &v->devices[dev].selftest;
    if (test->failed > 0 || test->passed == 0)
        return claim_invalid("the self-test of %s did not pass: %zu passed, %zu failed", v->devices[dev].info.name,
                             test->passed, test->failed);
    if (strncmp(m, "lossless", 8) == 0 || strcmp(m, "convert_ppl") == 0) return quality_part(v, part);
    bool is_for_cpu = strncmp(m, "cpu_", 4) == 0 || strcmp(m, "tokens_at_bandwidth") == 0;
    if (is_for_cpu && !is_cpu(v, dev)) return claim_untestable("about CPUs; %s is none", v->devices[dev].info.name);
    if (strcmp(m, "latency_ratio") == 0 || strcmp(m, "cpu_ratio") == 0) return latency_part(v, dev, part);
    if (strncmp(m, "throughput_", 11) == 0) return batch_part(v, dev, part);
    if (strcmp(m, "memory_saving_device") == 0) return memory_part(v, dev, part);
    if (strcmp(m, "energy_saving") == 0 || strcmp(m, "energy_ratio") == 0 || strcmp(m, "cpu_energy_saving") == 0)
        return energy_part(v, dev, part);
    if (strcmp(m, "run_bytes") == 0) return run_part(v, dev, part);
    if (strcmp(m, "tokens_at_bandwidth") == 0) return bandwidth_part(v, dev, part);
    return claim_untestable("this program has no measure '%.40s'", m);
}

tern_status verify_judge(verify *v, tern_error *err)
{
    size_t n = 0, at = 0;
    for (size_t c = 0; c < v->claims.n; c++) n += v->claims.items[c].n_parts;
    v->n_parts = n;
    free(v->outcomes);
    v->outcomes = calloc(n * v->options->n_devices, sizeof *v->outcomes);
    if (v->outcomes == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu outcomes", n);
    for (size_t c = 0; c < v->claims.n; c++)
        for (size_t p = 0; p < v->claims.items[c].n_parts; p++, at++) {
            const claim_part *part = &v->claims.items[c].parts[p];
            bool is_known;
            claim_outcome computed = verify_compute(v, part, &is_known);
            for (size_t d = 0; d < v->options->n_devices; d++)
                v->outcomes[d * n + at] = is_known ? computed : measured_part(v, d, part);
        }
    return TERN_OK;
}

const claim_outcome *verify_outcomes(const verify *v, size_t dev, size_t claim_index)
{
    size_t at = 0;
    for (size_t c = 0; c < claim_index; c++) at += v->claims.items[c].n_parts;
    return v->outcomes + dev * v->n_parts + at;
}
