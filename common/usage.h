// Counting what a device holds; see device_usage in backend.h. Sessions on several threads may share a device.
#ifndef TERN_COMMON_USAGE_H
#define TERN_COMMON_USAGE_H

#include "backend.h"

static inline void usage_take(device_usage *usage, uint64_t n_bytes)
{
    uint64_t now = __atomic_add_fetch(&usage->now, n_bytes, __ATOMIC_RELAXED);
    uint64_t peak = __atomic_load_n(&usage->peak, __ATOMIC_RELAXED);
    while (now > peak &&
           !__atomic_compare_exchange_n(&usage->peak, &peak, now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

static inline void usage_give(device_usage *usage, uint64_t n_bytes)
{
    __atomic_sub_fetch(&usage->now, n_bytes, __ATOMIC_RELAXED);
}

#endif
