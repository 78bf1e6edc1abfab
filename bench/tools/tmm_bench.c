// tmm_bench: whether ternary products by wgmma are right and faster on a GPU, for `wgmma_from` in cuda/tmm.c. Built
// with CUDA, not installed.
//
//   tmm_bench INDEX [FILTER]     on CUDA device INDEX; only products whose name ("70b down M=512 ") contains FILTER
//
// First the op cases against the CPU's reference. Then each product at the shapes of real models: at M = 512 the bits
// of both kernels, and times of both in turns, weights from copies larger than any cache. A JSON object a product on
// standard output, then one with the verdict; words on standard error.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "op_time.h"
#include "stats.h"
#include "tmm.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define EXIT_FAILED  1
#define EXIT_USAGE   2
#define EXIT_NO_CODE 4
#define REPEATS      9
#define CHAIN_NS     2e6 // a sample holds executions for about so long, at most CHAIN_MAX
#define CHAIN_MAX    20
#define MAX_MACS     (1u << 24) // of a case against the reference

extern const backend cpu_backend; // its header has its own structs of the same names

// The largest is half of gate and up.
static const struct {
    const char *name;
    uint32_t n, k;
} matrices[] = {
    {"2b4t qkv", 3840, 2560}, {"2b4t o", 2560, 2560}, {"2b4t gate-up", 13824, 2560}, {"2b4t down", 2560, 6912},
    {"70b qkv", 10240, 8192}, {"70b o", 8192, 8192},  {"70b gate", 28672, 8192},     {"70b down", 8192, 28672},
};
static const uint32_t m_sweep[] = {64, 128, 256, 512, 2048};

static bool is_wgmma; // which kernel takes ternary products now: this one, or that which would be chosen without

static tern_status enqueue_either(stream *s, const op *o, tern_error *err)
{
    const tmm_tuning *tuning = tmm_tuning_for(s->device->capability);
    tmm_tuning without = *tuning;
    without.wgmma_from = 0;
    uint32_t n_columns = o->m * (o->ternary_mm.x.lo_codes.buffer != NULL ? 2 : 1);
    tmm_kernel kernel = is_wgmma ? TMM_BLOCK_WGMMA : tmm_choose(s->device, &without, o->ternary_mm.w, n_columns);
    tern_status status = cuda_stream_follow_uploads(s, err);
    return status == TERN_OK ? tmm_enqueue(s, o, kernel, tuning, err) : status;
}

// ---- bits

static tern_status check_cases(op_runner *gpu, size_t *n_failed, tern_error *err)
{
    op_runner cpu = {0}, *const subjects[] = {gpu};
    op_case *cases = NULL;
    size_t n = 0, n_passed = 0;
    tern_status status = op_runner_open(&cpu_backend, 1, 1, &cpu, err);
    if (status == TERN_OK) status = op_cases_list(&cases, &n, err);
    is_wgmma = true;
    for (size_t i = 0; i < n && status == TERN_OK; i++) {
        const op_case *c = &cases[i];
        op_outcome outcome;
        if (c->kind != OP_TERNARY_MM || c->layout != TERNARY_T64 || (c->group != 0 && c->group < c->k) ||
            c->n_macs > MAX_MACS)
            continue;
        status = op_case_run(c, &cpu, subjects, 1, &outcome, err);
        n_passed += status == TERN_OK && outcome.verdict == VERDICT_PASSED;
        if (status != TERN_OK || outcome.verdict != VERDICT_FAILED) continue;
        fprintf(stderr, "FAILED %s: %s\n", c->name, outcome.text);
        ++*n_failed;
    }
    if (status == TERN_OK) fprintf(stderr, "%zu cases have the reference's bits, %zu have not\n", n_passed, *n_failed);
    free(cases);
    op_runner_close(&cpu);
    return status;
}

// Both kernels on the same operands.
static tern_status check_product(op_runner *gpu, const op_case *c, op_outcome *out, tern_error *err)
{
    op_data *data = NULL;
    op_image images[2] = {{{0}, 0, false, {0}}, {{0}, 0, false, {0}}};
    tern_status status = op_data_create(c, &data, err);
    for (int i = 0; i < 2 && status == TERN_OK; i++) {
        is_wgmma = i == 1;
        status = op_execute(gpu, data, &images[i], err);
    }
    if (status == TERN_OK) op_compare(data, &images[0], &images[1], out);
    for (int i = 0; i < 2; i++) op_image_free(&images[i]);
    op_data_free(data);
    return status;
}

// ---- times

// Medians in ns of the kernel that would be chosen and of the one by wgmma.
static tern_status time_product(op_runner *gpu, const op_case *c, double median[2], tern_error *err)
{
    op_timer *timer = NULL;
    uint64_t samples[2][REPEATS], ns = 0;
    size_t chain = 1;
    tern_status status = op_timer_open(gpu, c, &timer, err);
    for (int i = 0; i < 4 && status == TERN_OK; i++) { // each twice, to warm up
        is_wgmma = i % 2 == 1;
        status = op_timer_sample(timer, 1, &ns, err);
    }
    if (status == TERN_OK && ns > 0)
        chain = CHAIN_NS / (double)ns > CHAIN_MAX ? CHAIN_MAX : (size_t)(CHAIN_NS / (double)ns) + 1;
    for (size_t i = 0; i < 2 * REPEATS && status == TERN_OK; i++) {
        is_wgmma = i % 2 == 1;
        status = op_timer_sample(timer, chain, &samples[i % 2][i / 2], err);
    }
    for (int i = 0; i < 2 && status == TERN_OK; i++) {
        stats s;
        status = stats_of_ns(samples[i], REPEATS, &s, err);
        if (status == TERN_OK) median[i] = s.median;
    }
    op_timer_close(timer);
    return status;
}

static tern_status run_product(op_runner *gpu, op_case *c, double sums[2], size_t *n_failed, tern_error *err)
{
    op_outcome bits = {.verdict = VERDICT_SKIPPED};
    double ns[2] = {0};
    tern_status status = c->m == 512 ? check_product(gpu, c, &bits, err) : TERN_OK;
    if (status == TERN_OK) status = time_product(gpu, c, ns, err);
    if (status != TERN_OK) return status;
    if (bits.verdict == VERDICT_FAILED) fprintf(stderr, "FAILED %s: %s\n", c->name, bits.text);
    *n_failed += bits.verdict == VERDICT_FAILED;
    double ops = 2.0 * c->m * c->n * c->k;
    printf("{\"product\":\"%s\",\"m\":%u,\"n\":%u,\"k\":%u,\"mma_us\":%.2f,\"wgmma_us\":%.2f,\"wgmma_tops\":%.0f,"
           "\"speedup\":%.3f,\"bits\":\"%s\"}\n",
           c->name, c->m, c->n, c->k, ns[0] / 1e3, ns[1] / 1e3, ops / ns[1] / 1e3, ns[0] / ns[1],
           bits.verdict == VERDICT_SKIPPED  ? "not compared"
           : bits.verdict == VERDICT_PASSED ? "equal"
                                            : "DIFFERENT");
    fflush(stdout);
    for (int i = 0; i < 2; i++) sums[i] += ns[i];
    return TERN_OK;
}

static tern_status run_all(op_runner *gpu, const char *filter, size_t *n_failed, tern_error *err)
{
    uint32_t from = 0; // the fewest columns from which on wgmma is faster in sum
    bool is_beaten = false;
    tern_status status = TERN_OK;
    for (size_t m = COUNT(m_sweep); m-- > 0 && status == TERN_OK;) {
        double sums[2] = {0};
        for (size_t i = 0; i < COUNT(matrices) && status == TERN_OK; i++) {
            op_case c = {.kind = OP_TERNARY_MM, .is_ternary = true, .n_terms = 1, .m = m_sweep[m]};
            c.n = matrices[i].n, c.k = matrices[i].k;
            snprintf(c.name, sizeof c.name, "%s M=%u ", matrices[i].name, c.m);
            if (filter == NULL || strstr(c.name, filter) != NULL) status = run_product(gpu, &c, sums, n_failed, err);
        }
        if (sums[0] == 0.0) continue;
        fprintf(stderr, "M=%u: %.1f us, by wgmma %.1f us\n", m_sweep[m], sums[0] / 1e3, sums[1] / 1e3);
        is_beaten = is_beaten || sums[1] >= sums[0];
        if (!is_beaten) from = m_sweep[m];
    }
    if (status == TERN_OK)
        printf("{\"wgmma_from\":%u,\"winner\":\"%s\",\"failed\":%zu}\n", from, from > 0 ? "wgmma" : "mma.sync",
               *n_failed);
    return status;
}

int main(int argc, char **argv)
{
    char *end = NULL;
    unsigned long index = argc > 1 ? strtoul(argv[1], &end, 10) : 0;
    if (argc < 2 || argc > 3 || end == argv[1] || *end != 0) {
        fprintf(stderr, "usage: tmm_bench INDEX [FILTER]\n");
        return EXIT_USAGE;
    }
    backend either = cuda_backend;
    either.enqueue = enqueue_either;
    op_runner gpu = {0};
    tern_error err = {0};
    size_t n_failed = 0;
    tern_status status = op_runner_open(&either, index, 1, &gpu, &err);
    if (status == TERN_OK && !tmm_has_wgmma(gpu.device)) {
        fprintf(stderr, "tmm_bench: %s is an sm_%d; wgmma needs an sm_90 and a build with code for 90a\n",
                gpu.facts.name, gpu.device->capability);
        op_runner_close(&gpu);
        return EXIT_NO_CODE;
    }
    if (status == TERN_OK) status = check_cases(&gpu, &n_failed, &err);
    if (status == TERN_OK) status = run_all(&gpu, argc == 3 ? argv[2] : NULL, &n_failed, &err);
    op_runner_close(&gpu);
    if (status != TERN_OK) fprintf(stderr, "tmm_bench: %s\n", err.message);
    return status == TERN_OK && n_failed == 0 ? 0 : EXIT_FAILED;
}
