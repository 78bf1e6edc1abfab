// SHA-256 (FIPS 180-4): the name by which reports call the exact bytes a measurement was made on.
#ifndef TERN_BENCH_SHA256_H
#define TERN_BENCH_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct sha256 {
    uint32_t state[8];
    uint64_t n_bytes;
    uint8_t block[64]; // n_bytes % 64 of them filled
} sha256;

void sha256_init(sha256 *hash);
void sha256_update(sha256 *hash, const void *data, size_t n_bytes);
// 64 lower-case hex digits and NUL. The hash is used up.
void sha256_finish(sha256 *hash, char out[65]);

#endif
