// fp16 and bf16 to and from fp32 by integer operations, exact, in the common subset of C11, CUDA C and OpenCL C (no
// half type needed). Conversions to the short types round to nearest even. NaN stays NaN (quiet), payloads are not
// kept.
#ifndef TERN_COMMON_HALF_H
#define TERN_COMMON_HALF_H

#include "scalar.h"

// IEEE binary16 bits to fp32: every value, subnormals included, is exact.
SCALAR_FN float half_to_float(scalar_u32 h)
{
    scalar_u32 sign = (h & 0x8000u) << 16;
    scalar_u32 magnitude = h & 0x7fffu;
    if (magnitude >= 0x7c00u) // inf, NaN
        return scalar_as_float(sign | 0x7f800000u |
                               (magnitude > 0x7c00u ? 0x00400000u | ((magnitude & 0x3ffu) << 13) : 0u));
    if (magnitude < 0x0400u) // zero, subnormal: magnitude * 2^-24, exact
        return scalar_as_float(sign | scalar_as_u32((float)magnitude * 0x1p-24f));
    return scalar_as_float(sign | ((magnitude << 13) + 0x38000000u)); // rebias 15 -> 127
}

// fp32 to binary16 bits, nearest even; |x| >= 65520 gives infinity.
SCALAR_FN scalar_u32 half_from_float(float x)
{
    scalar_u32 bits = scalar_as_u32(x);
    scalar_u32 sign = (bits >> 16) & 0x8000u;
    scalar_u32 magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return sign | 0x7e00u;
    if (magnitude >= 0x477ff000u) return sign | 0x7c00u;
    if (magnitude < 0x38800000u) // below 2^-14: adding 0.5 leaves round(|x| * 2^24) in the low bits, nearest even
        return sign | (scalar_as_u32(scalar_as_float(magnitude) + 0.5f) - 0x3f000000u);
    return sign | ((magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13);
}

SCALAR_FN float bf16_to_float(scalar_u32 b) { return scalar_as_float(b << 16); }

// fp32 to bf16 bits, nearest even.
SCALAR_FN scalar_u32 bf16_from_float(float x)
{
    scalar_u32 bits = scalar_as_u32(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (bits >> 16) | 0x40u;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

#endif
