// Validity of rows; see bench_check.h.
#include "bench_check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "error.h"
#include "selftest.h"

#define BOUND_MARGIN 1.05           // a bound beaten by more than this is no measurement
#define DEVICE_CACHE (256ull << 20) // assumed of devices: more than any GPU's last-level cache today
#define TWIN_COSINE  0.9            // a float twin's logits differ from the model's by the rounding of activations

void bench_row_refuse(bench_row *row, const char *format, ...)
{
    if (!row->is_valid && row->reason[0] != 0) return;
    row->is_valid = false;
    va_list args;
    va_start(args, format);
    vsnprintf(row->reason, sizeof row->reason, format, args);
    va_end(args);
}

// ---- self-test

typedef struct check_run {
    bench_check check;
    const bench_options *options;
} check_run;

static bool note_failure(void *user, const op_case *c, const op_outcome *outcome)
{
    check_run *run = user;
    bench_check *check = &run->check;
    const bench_options *o = run->options;
    if (outcome->verdict == VERDICT_FAILED && check->failure[0] == 0)
        snprintf(check->failure, sizeof check->failure, "%.80s: %.70s", c->name, outcome->text);
    return o->progress == NULL || o->progress(o->user, 0.0, "self-test");
}

static const bench_check *find_check(const bench_checks *checks, const char *device_name, uint32_t n_threads)
{
    for (size_t i = 0; i < checks->n; i++)
        if (strcmp(checks->items[i].device, device_name) == 0 && checks->items[i].n_threads == n_threads)
            return &checks->items[i];
    return NULL;
}

tern_status bench_checks_device(bench_checks *checks, const bench_options *options, const char *device_name,
                                uint32_t n_threads, tern_error *err)
{
    if (find_check(checks, device_name, n_threads) != NULL) return TERN_OK;
    bench_check *larger = realloc(checks->items, (checks->n + 1) * sizeof *larger);
    if (larger == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a self-test");
    checks->items = larger;
    check_run run = {.check = {.n_threads = n_threads}, .options = options};
    snprintf(run.check.device, sizeof run.check.device, "%s", device_name);
    const selftest_options o = {.level = LEVEL_QUICK, .is_short = true, .n_threads = n_threads};
    selftest_result result = {0};
    backend_list backends = options->backends != NULL ? options->backends : engine_backends;
    tern_status status = selftest_run(backends, device_name, &o, note_failure, &run, &result, err);
    if (status != TERN_OK) return status;
    run.check.n_passed = result.passed;
    run.check.n_failed = result.failed;
    checks->items[checks->n++] = run.check;
    return TERN_OK;
}

void bench_checks_free(bench_checks *checks)
{
    free(checks->items);
    *checks = (bench_checks){0};
}

// ---- judging

static void judge_device(const bench_checks *checks, const bench_instance *from, bench_row *row)
{
    const bench_check *check = find_check(checks, from->device.name, from->plan.n_threads);
    if (check == NULL)
        bench_row_refuse(row, "the device was not checked");
    else if (check->n_failed > 0)
        bench_row_refuse(row, "%zu of %zu op cases differ from the reference, first %s", check->n_failed,
                         check->n_failed + check->n_passed, check->failure);
    else if (check->n_passed == 0)
        bench_row_refuse(row, "no op case ran on the device");
}

static double cosine(const float *a, const float *b, size_t n)
{
    double ab = 0.0, aa = 0.0, bb = 0.0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa > 0.0 && bb > 0.0 ? ab / sqrt(aa * bb) : 0.0;
}

// Instances of the same model: as stored they give the same bits wherever they run; a float twin gives similar numbers.
static void judge_logits(const bench_instance *from, const bench_instance *all, size_t n, bench_row *row)
{
    if (!row->is_stable) {
        bench_row_refuse(row, "the logits of a fixed prompt changed during the run");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const bench_instance *other = &all[i];
        const bench_config *a = from->config, *b = other->config;
        if (other == from || other->logits == NULL || from->logits == NULL || strcmp(a->model, b->model) != 0 ||
            other->plan.weights != TERN_WEIGHTS_STORED || a->i2s_layout != b->i2s_layout)
            continue;
        bool is_same = from->plan.weights == TERN_WEIGHTS_STORED && a->act == b->act && a->head == b->head &&
                       a->kv_k == b->kv_k && a->kv_v == b->kv_v && a->fast_attention == b->fast_attention;
        if (is_same && from->logits_hash != other->logits_hash)
            bench_row_refuse(row, "its logits differ from those of the same model on %s with %u threads",
                             other->device.name, other->plan.n_threads);
        if (from->plan.weights == TERN_WEIGHTS_STORED) continue;
        double similarity = cosine(from->logits, other->logits, from->info.n_vocab);
        if (!(similarity >= TWIN_COSINE))
            bench_row_refuse(row, "the float twin's logits are not the model's: their cosine is %.3f", similarity);
    }
}

// Bytes of the cache that could hold weights from one pass to the next.
static uint64_t cache_bytes(const bench_row *row)
{
    long n = strcmp(row->backend, "CPU") == 0 ? sysconf(_SC_LEVEL3_CACHE_SIZE) : 0;
    return n > 0 ? (uint64_t)n : strcmp(row->backend, "CPU") == 0 ? 64ull << 20 : DEVICE_CACHE;
}

static void judge_bound(bench_row *row)
{
    double fastest = row->min_ns > 0.0 ? (double)(row->bytes_weights + row->bytes_kv) / row->min_ns : 0.0;
    if (row->peak_gbps <= 0.0 || fastest <= BOUND_MARGIN * row->peak_gbps) return;
    if (row->model_size <= cache_bytes(row)) {
        if (row->is_valid && row->reason[0] == 0)
            snprintf(row->reason, sizeof row->reason,
                     "remark: the weights fit the last-level cache, so memory bandwidth does not bound this row");
        return;
    }
    bench_row_refuse(row, "beats the bound: %.2f GB/s in its fastest sample, measured read bandwidth is %.2f", fastest,
                     row->peak_gbps);
}

void bench_checks_judge(const bench_checks *checks, const bench_options *options, bench_row *row,
                        const bench_instance *from, const bench_instance *all, size_t n)
{
    row->is_valid = true;
    row->reason[0] = 0;
    if (!options->is_checked) {
        bench_row_refuse(row, "not checked");
        return;
    }
    judge_device(checks, from, row);
    judge_logits(from, all, n, row);
    judge_bound(row);
    if (row->is_valid && from->config->fast_attention && row->reason[0] == 0)
        snprintf(row->reason, sizeof row->reason, "remark: attention %s", row->attention);
    if (row->is_valid && from->plan.uses_blas && row->reason[0] == 0)
        snprintf(row->reason, sizeof row->reason, "remark: products by %.60s have no defined bits",
                 from->plan.products);
}
