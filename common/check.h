// Checked size arithmetic. Every size, count or offset that comes from a file or a user goes through these; nothing
// else may compute with such numbers. Each returns false on overflow and leaves *out untouched.
#ifndef TERN_COMMON_CHECK_H
#define TERN_COMMON_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool check_add(uint64_t a, uint64_t b, uint64_t *out)
{
    if (a > UINT64_MAX - b) return false;
    *out = a + b;
    return true;
}

static inline bool check_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b != 0 && a > UINT64_MAX / b) return false;
    *out = a * b;
    return true;
}

// Rounds up to a multiple of `unit`, a power of two.
static inline bool check_align(uint64_t a, uint64_t unit, uint64_t *out)
{
    uint64_t sum;
    if (!check_add(a, unit - 1, &sum)) return false;
    *out = sum & ~(unit - 1);
    return true;
}

// True if [offset, offset + length) lies within [0, size).
static inline bool check_range(uint64_t offset, uint64_t length, uint64_t size)
{
    return offset <= size && length <= size - offset;
}

static inline bool check_size(uint64_t a, size_t *out)
{
    if (a > SIZE_MAX / 2) return false;
    *out = (size_t)a;
    return true;
}

#endif
