// Rates of the host as this process can reach them: read bandwidth, the roof that decode speed is held against; copy
// bandwidth; and multiply-adds of bytes, the roof of prefill.
#ifndef TERN_BENCH_BANDWIDTH_H
#define TERN_BENCH_BANDWIDTH_H

#include <stddef.h>
#include <stdint.h>

#include "tern_status.h"

typedef struct bandwidth {
    double best_gbps, median_gbps; // 1e9 bytes per second
    uint32_t n_threads, n_repeats;
    uint64_t n_bytes;  // read per repeat
    uint64_t checksum; // of what was read: keeps the reads alive
} bandwidth;

// n_threads 0: all this process may use. n_bytes 0: 512 MiB, several times any last-level cache of a desktop; else at
// least 256 MiB is advisable. n_repeats >= 1. HOST_MEMORY.
tern_status bandwidth_measure_read(uint32_t n_threads, uint64_t n_bytes, uint32_t n_repeats, bandwidth *out,
                                   tern_error *err);
// The same for a copy from one half of the buffer to the other; bytes read and bytes written both count.
tern_status bandwidth_measure_copy(uint32_t n_threads, uint64_t n_bytes, uint32_t n_repeats, bandwidth *out,
                                   tern_error *err);
// Multiply-adds of 8-bit operands out of registers, with the widest instructions that the CPU path uses: the gbps
// fields hold 1e9 multiply-adds per second. *how (static): "AVX-512 VNNI".
tern_status bandwidth_measure_int8(uint32_t n_threads, uint32_t n_repeats, bandwidth *out, const char **how,
                                   tern_error *err);
// Threads of a measurement that was asked for n_threads.
uint32_t bandwidth_threads(uint32_t n_threads);

#endif
