// Bandwidths of host memory; see bandwidth.h.
//
// Each thread reads a contiguous part of a slice, which it also touched first, so that on machines with several memory
// nodes the pages are near it. It reads four pages at a time, a line of each in turns: hardware prefetchers follow each
// page, and four get further ahead than one (bench/NOTES.md). The sums are a vector extension of gcc and clang, two SSE
// registers or one AVX register each. Pages are huge where the kernel has them. The buffer is walked in slices, each
// timed alone: on a machine that does other work, too, some of them are not disturbed, and the best is what the memory
// gives; the median is what it gives to programs meanwhile.
#include "bandwidth.h"

#ifdef _OPENMP
#include <omp.h>
#endif
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "clock.h"
#include "error.h"
#include "stats.h"

typedef uint64_t lanes __attribute__((vector_size(32), may_alias));

#define PAGE      4096u
#define HUGE_PAGE (2u << 20)
#define N_LANES   (PAGE / sizeof(lanes)) // of a page
#define STEP      (4 * PAGE)
#define SLICE     (8u << 20) // bytes of a thread's part: a third of a millisecond at 25 GB/s

// Threads of the machine, and this thread's place in the team; one of one without OpenMP.
static uint32_t team_limit(void)
{
#ifdef _OPENMP
    return (uint32_t)omp_get_num_procs();
#else
    return 1;
#endif
}

static void team_place(uint32_t *thread, uint32_t *n_threads)
{
#ifdef _OPENMP
    *thread = (uint32_t)omp_get_thread_num();
    *n_threads = (uint32_t)omp_get_num_threads();
#else
    *thread = 0;
    *n_threads = 1;
#endif
}

// n_bytes: whole steps.
static uint64_t read_span(const uint8_t *bytes, size_t n_bytes)
{
    const lanes *at = (const lanes *)(const void *)bytes, *end = at + n_bytes / sizeof *at;
    lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    for (; at < end; at += 3 * N_LANES)
        for (const lanes *page_end = at + N_LANES; at < page_end; at += 2) {
            s0 += at[0] + at[1];
            s1 += at[N_LANES] + at[N_LANES + 1];
            s2 += at[2 * N_LANES] + at[2 * N_LANES + 1];
            s3 += at[3 * N_LANES] + at[3 * N_LANES + 1];
        }
    s0 += s1 + s2 + s3;
    return s0[0] + s0[1] + s0[2] + s0[3];
}

// The calling thread's part: whole steps, [*begin, *begin + *length).
static void thread_part(uint64_t n_bytes, uint64_t *begin, uint64_t *length)
{
    uint32_t t, n;
    team_place(&t, &n);
    uint64_t n_steps = n_bytes / STEP;
    *begin = n_steps * t / n * STEP;
    *length = n_steps * (t + 1) / n * STEP - *begin;
}

typedef enum pass_action { FILL, READ, COPY } pass_action;

// One slice: nanoseconds of the slowest path from a common start to the last thread's end. COPY: half of each
// thread's part to its other half.
static uint64_t pass_once(uint8_t *bytes, uint64_t n_bytes, pass_action action, uint32_t n_threads, uint64_t *checksum)
{
    uint64_t sum = 0, start = 0, end = 0;
    (void)n_threads; // unused without OpenMP
#pragma omp parallel num_threads((int)n_threads) reduction(+ : sum)
    {
        uint64_t begin, length;
        thread_part(n_bytes, &begin, &length);
#pragma omp barrier
#pragma omp master
        start = clock_ns();
        if (action == FILL)
            memset(bytes + begin, 0x5a, (size_t)length);
        else if (action == COPY)
            memcpy(bytes + begin, bytes + begin + length / 2, (size_t)(length / 2));
        else
            sum += read_span(bytes + begin, (size_t)length);
#pragma omp barrier
#pragma omp master
        end = clock_ns();
    }
    *checksum += sum;
    return end > start ? end - start : 1;
}

// Freed with free(); NULL: no memory.
static uint8_t *allocate(size_t n_bytes)
{
    void *bytes = NULL;
    if (posix_memalign(&bytes, HUGE_PAGE, n_bytes) != 0) return NULL;
#if defined(MADV_HUGEPAGE)
    madvise(bytes, n_bytes, MADV_HUGEPAGE); // where pages are of another size this does nothing
#endif
    return bytes;
}

uint32_t bandwidth_threads(uint32_t n_threads)
{
    return n_threads == 0 || team_limit() == 1 ? team_limit() : n_threads;
}

static tern_status measure(pass_action action, uint32_t n_threads, uint64_t n_bytes, uint32_t n_repeats, bandwidth *out,
                           tern_error *err)
{
    if (n_repeats == 0) return error_set(err, TERN_INVALID_ARGUMENT, "bandwidth: at least one repeat is needed");
    n_threads = bandwidth_threads(n_threads);
    if (n_bytes == 0) n_bytes = 512u << 20;
    uint64_t aligned, sample_bytes;
    size_t size;
    if (!check_align(n_bytes, STEP, &aligned) || !check_size(aligned, &size))
        return error_set(err, TERN_INVALID_ARGUMENT, "bandwidth: %llu bytes cannot be addressed",
                         (unsigned long long)n_bytes);
    uint64_t n_steps = aligned / STEP, n_slices = aligned / ((uint64_t)SLICE * n_threads);
    if (n_slices == 0) n_slices = 1;
    if (!check_mul(n_repeats, n_slices * sizeof(double), &sample_bytes))
        return error_set(err, TERN_INVALID_ARGUMENT, "bandwidth: %u repeats are too many", n_repeats);

    tern_status status = TERN_OK;
    uint8_t *bytes = allocate(size);
    double *gbps = malloc((size_t)sample_bytes);
    bandwidth result = {.n_threads = n_threads, .n_repeats = n_repeats, .n_bytes = aligned};
    size_t n = 0;
    if (bytes == NULL || gbps == NULL) {
        status = error_set(err, TERN_HOST_MEMORY, "bandwidth: no memory for a buffer of %zu bytes", size);
        goto done;
    }
    // The first pass touches the pages, the second lets page tables and clocks settle.
    for (uint32_t r = 0; r < n_repeats + 2; r++) {
        for (uint64_t i = 0; i < n_slices; i++) {
            uint64_t begin = n_steps * i / n_slices * STEP, length = n_steps * (i + 1) / n_slices * STEP - begin;
            uint64_t ns = pass_once(bytes + begin, length, r == 0 ? FILL : action, n_threads, &result.checksum);
            if (r >= 2) gbps[n++] = (double)length / (double)ns;
        }
    }
    stats s;
    status = stats_of(gbps, n, &s, err);
    if (status != TERN_OK) goto done;
    result.best_gbps = s.max;
    result.median_gbps = s.median;
    *out = result;
done:
    free(gbps);
    free(bytes);
    return status;
}

tern_status bandwidth_measure_read(uint32_t n_threads, uint64_t n_bytes, uint32_t n_repeats, bandwidth *out,
                                   tern_error *err)
{
    return measure(READ, n_threads, n_bytes, n_repeats, out, err);
}

tern_status bandwidth_measure_copy(uint32_t n_threads, uint64_t n_bytes, uint32_t n_repeats, bandwidth *out,
                                   tern_error *err)
{
    return measure(COPY, n_threads, n_bytes, n_repeats, out, err);
}
