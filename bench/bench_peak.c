// Bandwidths that rows refer to; see bench_peak.h.
#include "bench_peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "error.h"

static bench_peak *find_peak(const bench_peaks *peaks, const char *device_name, uint32_t n_threads)
{
    for (size_t i = 0; i < peaks->n; i++)
        if (strcmp(peaks->items[i].device, device_name) == 0 && peaks->items[i].n_threads == n_threads)
            return &peaks->items[i];
    return NULL;
}

tern_status bench_peaks_measure(bench_peaks *peaks, const char *device_name, uint32_t n_threads, bool is_loaded,
                                tern_error *err)
{
    probe seen = {0};
    bool is_cpu = strncmp(device_name, "cpu", 3) == 0; // elsewhere what our own products reached is no peak
    if (is_loaded && !is_cpu) return TERN_OK;
    int what = is_cpu ? PROBE_READ | PROBE_INT8 : PROBE_READ;
    tern_status status = probe_run(engine_backends, device_name, n_threads, what, &seen, err);
    if (status != TERN_OK) return status;
    bench_peak *peak = find_peak(peaks, device_name, n_threads);
    if (peak == NULL) {
        bench_peak *larger = realloc(peaks->items, (peaks->n + 1) * sizeof *larger);
        if (larger == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a bandwidth");
        peaks->items = larger;
        peak = &peaks->items[peaks->n++];
        *peak = (bench_peak){.n_threads = n_threads};
        snprintf(peak->device, sizeof peak->device, "%s", device_name);
    }
    if (seen.read.best > peak->read.best) peak->read = seen.read;
    if (seen.int8.best > peak->int8.best) peak->int8 = seen.int8;
    peak->read_median_sum += seen.read.median;
    peak->int8_median_sum += seen.int8.median;
    peak->n_looks++;
    return TERN_OK;
}

// The time of a sample as its median evaluation has it: median rates leave out what a processor taken away for some
// milliseconds costs, so what is compared with them must, too.
static double typical_ns(const bench_row *row)
{
    if (row->test.n_prompt > 0 || row->n_token_ns == 0) return row->median_ns;
    return row->token.p50 * ((double)row->n_token_ns / row->n_samples);
}

void bench_peaks_apply(const bench_peaks *peaks, bench_row *row)
{
    const bench_peak *peak = find_peak(peaks, row->device, row->n_threads);
    if (peak == NULL || peak->read.best <= 0.0) return;
    row->peak_gbps = peak->read.best;
    row->pct_peak_bw = 100.0 * row->gbps / peak->read.best;
    row->typical_gbps = peak->read_median_sum / peak->n_looks;
    double bytes = (double)(row->bytes_weights + row->bytes_kv);
    row->pct_typical_bw = 100.0 * bytes / typical_ns(row) / row->typical_gbps;
    snprintf(row->peak_source, sizeof row->peak_source, "%s", peak->read.source);
    if (row->n_macs == 0 || peak->int8.best <= 0.0) return;
    row->peak_gmacs = peak->int8.best;
    row->pct_peak_int8 = 100.0 * row->gmacs / peak->int8.best;
    row->typical_gmacs = peak->int8_median_sum / peak->n_looks;
    row->pct_typical_int8 = 100.0 * (double)row->n_macs / typical_ns(row) / row->typical_gmacs;
    snprintf(row->peak_int8_source, sizeof row->peak_int8_source, "%s", peak->int8.source);
}

void bench_peaks_free(bench_peaks *peaks)
{
    free(peaks->items);
    *peaks = (bench_peaks){0};
}
