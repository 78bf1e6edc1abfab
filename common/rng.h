// Counter-based random numbers: value i of stream `seed` is a pure function of (seed, i), the same on every platform
// and device and in any order. The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
#ifndef TERN_COMMON_RNG_H
#define TERN_COMMON_RNG_H

#include <stdint.h>

static inline uint64_t rng_u64(uint64_t seed, uint64_t counter)
{
    uint64_t z = seed + (counter + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// Uniform in [0, 1), 24 bits: exact in fp32.
static inline float rng_unit(uint64_t seed, uint64_t counter)
{
    return (float)(rng_u64(seed, counter) >> 40) * 0x1p-24f;
}

// Uniform in [0, 1), 53 bits.
static inline double rng_unit_double(uint64_t seed, uint64_t counter)
{
    return (double)(rng_u64(seed, counter) >> 11) * 0x1p-53;
}

#endif
