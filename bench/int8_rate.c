// Rate of 8-bit multiply-adds out of registers; see bandwidth.h. Independent sums hide the latency of the
// instructions; an empty assembly statement makes the operand of each product opaque, so that none is taken from
// another sum or out of the loop.
#include "bandwidth.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <stdlib.h>

#include "clock.h"
#include "error.h"
#include "stats.h"

#define N_SUMS      12
#define N_AVX2_SUMS 6       // in 16 registers gcc has no room for more; additions have a latency of 1
#define N_ROUNDS    400000u // of the loop in one repeat: about a millisecond

#define UNROLLED _Pragma("GCC unroll 12") // sums in an array that a loop counts through would lie in memory

typedef struct rate_loop {
    const char *how;
    uint32_t macs; // of one round
    uint64_t (*run)(uint32_t n_rounds);
} rate_loop;

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512vnni"))) static uint64_t run_vnni(uint32_t n_rounds)
{
    __m512i sums[N_SUMS], x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(1);
    UNROLLED for (int j = 0; j < N_SUMS; j++) sums[j] = _mm512_setzero_si512();
    for (uint32_t i = 0; i < n_rounds; i++) {
        UNROLLED for (int j = 0; j < N_SUMS; j++)
        {
            __asm__ volatile("" : "+v"(x));
            sums[j] = _mm512_dpbusd_epi32(sums[j], x, y);
        }
    }
    UNROLLED for (int j = 1; j < N_SUMS; j++) sums[0] = _mm512_add_epi32(sums[0], sums[j]);
    return (uint64_t)_mm512_reduce_add_epi32(sums[0]);
}

__attribute__((target("avx2"))) static uint64_t run_avx2(uint32_t n_rounds)
{
    __m256i sums[N_AVX2_SUMS], x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(1);
    UNROLLED for (int j = 0; j < N_AVX2_SUMS; j++) sums[j] = _mm256_setzero_si256();
    for (uint32_t i = 0; i < n_rounds; i++) {
        UNROLLED for (int j = 0; j < N_AVX2_SUMS; j++)
        {
            __asm__ volatile("" : "+x"(x));
            sums[j] = _mm256_add_epi16(sums[j], _mm256_maddubs_epi16(x, y));
        }
    }
    UNROLLED for (int j = 1; j < N_AVX2_SUMS; j++) sums[0] = _mm256_add_epi16(sums[0], sums[j]);
    return (uint64_t)_mm256_extract_epi16(sums[0], 0);
}
#endif

static uint64_t run_portable(uint32_t n_rounds)
{
    uint32_t sums[64] = {0};
    int8_t x[64];
    for (int j = 0; j < 64; j++) x[j] = (int8_t)(j % 5 - 2);
    for (uint32_t i = 0; i < n_rounds; i++) {
        __asm__ volatile("" : "+m"(x));
        for (int j = 0; j < 64; j++) sums[j] += (uint32_t)(x[j] * x[63 - j]);
    }
    return sums[0] + sums[63];
}

static rate_loop choose_loop(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vnni")) return (rate_loop){"AVX-512 VNNI", N_SUMS * 64, run_vnni};
    if (__builtin_cpu_supports("avx2")) return (rate_loop){"AVX2 maddubs", N_AVX2_SUMS * 32, run_avx2};
#endif
    return (rate_loop){"portable C", 64, run_portable};
}

static uint64_t run_once(const rate_loop *loop, uint32_t n_threads, uint64_t *checksum)
{
    uint64_t sum = 0, start = 0, end = 0;
    (void)n_threads; // unused without OpenMP
#pragma omp parallel num_threads((int)n_threads) reduction(+ : sum)
    {
#pragma omp barrier
#pragma omp master
        start = clock_ns();
        sum += loop->run(N_ROUNDS);
#pragma omp barrier
#pragma omp master
        end = clock_ns();
    }
    *checksum += sum;
    return end > start ? end - start : 1;
}

tern_status bandwidth_measure_int8(uint32_t n_threads, uint32_t n_repeats, bandwidth *out, const char **how,
                                   tern_error *err)
{
    if (n_repeats == 0) return error_set(err, TERN_INVALID_ARGUMENT, "int8 rate: at least one repeat is needed");
    const rate_loop loop = choose_loop();
    bandwidth result = {.n_threads = bandwidth_threads(n_threads), .n_repeats = n_repeats};
    double *rates = calloc(n_repeats, sizeof *rates);
    if (rates == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %u rates", n_repeats);
    run_once(&loop, result.n_threads, &result.checksum);
    for (uint32_t i = 0; i < n_repeats; i++)
        rates[i] = (double)loop.macs * N_ROUNDS * result.n_threads /
                   (double)run_once(&loop, result.n_threads, &result.checksum);
    stats s = {0};
    tern_status status = stats_of(rates, n_repeats, &s, err);
    free(rates);
    if (status != TERN_OK) return status;
    result.best_gbps = s.max;
    result.median_gbps = s.median;
    *how = loop.how;
    *out = result;
    return TERN_OK;
}
