// What devices can do at the most; see probe.h.
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bandwidth.h"
#include "error.h"
#include "op_time.h"
#include "report_json.h"
#include "stats.h"

#define N_REPEATS    5
#define SMALL_ENOUGH 20e6         // ns: after a small product this fast a large one is affordable
#define HOST_BYTES   (256u << 20) // several times any last-level cache of a desktop

#define INT8_REPEATS 50 // of a millisecond each: some are not disturbed by other work

// ---- the host

static tern_status probe_host(uint32_t n_threads, int what, probe *out, tern_error *err)
{
    bandwidth b = {0};
    const char *how = "";
    tern_status status = TERN_OK;
    out->n_threads = bandwidth_threads(n_threads);
    if (what & PROBE_READ) {
        status = bandwidth_measure_read(n_threads, HOST_BYTES, N_REPEATS, &b, err);
        out->read = (probe_rate){.best = b.best_gbps, .median = b.median_gbps};
        snprintf(out->read.source, sizeof out->read.source, "own loop, %u threads, %llu MiB", b.n_threads,
                 (unsigned long long)b.n_bytes >> 20);
    }
    if (status == TERN_OK && what & PROBE_COPY) {
        status = bandwidth_measure_copy(n_threads, HOST_BYTES, N_REPEATS, &b, err);
        out->copy = (probe_rate){.best = b.best_gbps, .median = b.median_gbps};
        snprintf(out->copy.source, sizeof out->copy.source, "memcpy, %u threads, %llu MiB", b.n_threads,
                 (unsigned long long)b.n_bytes >> 20);
    }
    if (status == TERN_OK && what & PROBE_INT8) {
        status = bandwidth_measure_int8(n_threads, INT8_REPEATS, &b, &how, err);
        out->int8 = (probe_rate){.best = b.best_gbps, .median = b.median_gbps};
        snprintf(out->int8.source, sizeof out->int8.source, "own loop in registers, %s, %u threads", how, b.n_threads);
    }
    return status;
}

// ---- other devices, through their ops

// The rate of a case in bytes (or, `counts_macs`, multiply-adds) per nanosecond; *ns: its median time.
static tern_status rate_of(op_runner *runner, const op_case *c, bool counts_macs, probe_rate *out, double *ns,
                           tern_error *err)
{
    op_timing timing = {0};
    stats s = {0};
    tern_status status = op_time_chained(runner, c, 1, N_REPEATS, 4, &timing, err);
    if (status == TERN_OK) status = stats_of_ns(timing.samples_ns, timing.n_samples, &s, err);
    if (status == TERN_OK) {
        double work = (double)(counts_macs ? timing.n_macs : timing.bytes_moved);
        *out = (probe_rate){.best = work / s.min, .median = work / s.median};
        *ns = s.median;
    }
    op_timing_free(&timing);
    return status;
}

static tern_status probe_ops(op_runner *runner, int what, probe *out, tern_error *err)
{
    // Weights of 256 MiB, of which op_time keeps enough copies that no cache serves them.
    const op_case read = {.kind = OP_DENSE_MM, .m = 1, .n = 8192, .k = 8192, .dense = DENSE_F32, .name = "read"};
    const op_case copy = {.kind = OP_GATHER, .m = 1024, .n = 65536, .name = "copy"};
    op_case product = {.kind = OP_TERNARY_MM,
                       .m = 64,
                       .n = 2048,
                       .k = 4096,
                       .is_ternary = true,
                       .n_terms = 1,
                       .n_macs = 64ull * 2048 * 4096,
                       .name = "product"};
    double ns = 0.0;
    tern_status status = TERN_OK;
    if (what & PROBE_READ) {
        status = rate_of(runner, &read, false, &out->read, &ns, err);
        snprintf(out->read.source, sizeof out->read.source, "dense_mm F32 over 256 MiB, M = 1");
    }
    if (status == TERN_OK && what & (PROBE_COPY | PROBE_READ)) {
        status = rate_of(runner, &copy, false, &out->copy, &ns, err);
        snprintf(out->copy.source, sizeof out->copy.source, "gather of 256 MiB");
        if (what & PROBE_READ && out->copy.best > out->read.best) out->read = out->copy; // the roof is the best seen
    }
    if (status == TERN_OK && what & PROBE_INT8) {
        status = rate_of(runner, &product, true, &out->int8, &ns, err);
        if (status == TERN_OK && ns < SMALL_ENOUGH) {
            product.m = 512, product.n = product.k = 8192;
            product.n_macs = 512ull * 8192 * 8192;
            status = rate_of(runner, &product, true, &out->int8, &ns, err);
        }
        snprintf(out->int8.source, sizeof out->int8.source, "ternary_mm M=%u N=%u K=%u: reached, not a peak", product.m,
                 product.n, product.k);
    }
    return status;
}

tern_status probe_run(backend_list backends, const char *device_name, uint32_t n_threads, int what, probe *out,
                      tern_error *err)
{
    device_ref ref = {0};
    device_facts facts;
    probe result = {0};
    tern_status status = registry_find(backends, device_name, &ref, err);
    if (status == TERN_OK) status = ref.backend->device_describe(ref.index, &facts, err);
    if (status != TERN_OK) return status;
    snprintf(result.device, sizeof result.device, "%s", facts.name);
    snprintf(result.description, sizeof result.description, "%s", facts.description);
    if (strcmp(ref.backend->name, "cpu") == 0) {
        status = probe_host(facts.is_reference ? 1 : n_threads, what, &result, err);
    } else {
        op_runner runner = {0};
        status = op_runner_open(ref.backend, ref.index, n_threads, &runner, err);
        if (status == TERN_OK) status = probe_ops(&runner, what, &result, err);
        op_runner_close(&runner);
    }
    if (status == TERN_OK) *out = result;
    return status;
}

// ---- reports

static void set_rate(json_t *o, const char *name, const char *unit, const probe_rate *rate)
{
    char field[48];
    snprintf(field, sizeof field, "%s_%s", name, unit);
    report_set_real(o, field, rate->best);
    snprintf(field, sizeof field, "%s_%s_median", name, unit);
    report_set_real(o, field, rate->median);
    snprintf(field, sizeof field, "%s_source", name);
    report_set_text(o, field, rate->source);
}

static json_t *probe_object(const probe *p)
{
    json_t *o = json_object();
    report_set_text(o, "device", p->device);
    report_set_text(o, "description", p->description);
    report_set_count(o, "n_threads", p->n_threads);
    set_rate(o, "read", "gbps", &p->read);
    set_rate(o, "copy", "gbps", &p->copy);
    set_rate(o, "int8", "gmacs", &p->int8);
    return o;
}

static void add_markdown(report *r, const probe *probes, size_t n)
{
    report_add(
        r,
        "| device   | what           |       best |     median | how                                              |\n"
        "| -------- | -------------- | ---------: | ---------: | ------------------------------------------------ |\n");
    for (size_t i = 0; i < n; i++) {
        const probe *p = &probes[i];
        const struct {
            const char *what;
            const probe_rate *rate;
        } lines[] = {{"read, GB/s", &p->read}, {"copy, GB/s", &p->copy}, {"int8, GMAC/s", &p->int8}};
        for (size_t k = 0; k < sizeof lines / sizeof lines[0]; k++)
            if (lines[k].rate->best > 0.0)
                report_add(r, "| %-8s | %-14s | %10.2f | %10.2f | %-48s |\n", p->device, lines[k].what,
                           lines[k].rate->best, lines[k].rate->median, lines[k].rate->source);
    }
}

tern_status probe_text(const probe *probes, size_t n, bench_format format, char **out, tern_error *err)
{
    if (format == BENCH_MD) {
        report r = {0};
        add_markdown(&r, probes, n);
        return report_take(&r, out, err);
    }
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(array, probe_object(&probes[i]));
    return report_objects(array, n, format, "probes", out, err);
}
