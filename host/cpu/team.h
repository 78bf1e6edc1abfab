// Threads of the CPU backend: one function run by every worker of a device at once. OpenMP keeps the threads alive
// between calls; a build without OpenMP runs the function once. Every worker computes in the environment of fpenv.h.
#ifndef TERN_CPU_TEAM_H
#define TERN_CPU_TEAM_H

#include <stdint.h>

#include "cpu.h"

typedef struct team_member {
    uint32_t index, size; // worker `index` of `size`
} team_member;

typedef void (*team_fn)(void *context, team_member self);

// Runs fn on at most n_items workers (at least one) of the device and waits for all of them. fn must give the same
// result for every team size: it divides its items by team_range or takes every size-th one.
void team_run(const device *d, uint32_t n_items, team_fn fn, void *context);

// The contiguous share [*begin, *end) of n_items that a worker owns; shares differ by at most one item.
static inline void team_range(team_member self, uint32_t n_items, uint32_t *begin, uint32_t *end)
{
    *begin = (uint32_t)((uint64_t)n_items * self.index / self.size);
    *end = (uint32_t)((uint64_t)n_items * (self.index + 1) / self.size);
}

#endif
