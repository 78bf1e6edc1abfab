// A fingerprint of a device's arithmetic: every function of scalar.h and half.h over fixed inputs, mixed into one word
// per index. The sum (mod 2^32) over SCALAR_PROBE_N indices, in any order, must be SCALAR_PROBE_SUM; a device that
// gives another one computes other bits (a compiler that contracts, flushes subnormals or approximates division) and is
// marked as not reproducible. In the common subset of C11, CUDA C and OpenCL C, so that each backend runs it on the
// device itself.
#ifndef TERN_COMMON_SCALAR_PROBE_H
#define TERN_COMMON_SCALAR_PROBE_H

#include "half.h"

#define SCALAR_PROBE_N   8192
#define SCALAR_PROBE_SUM 0x39bdc59du

SCALAR_FN scalar_u32 scalar_probe_mix(scalar_u32 hash, scalar_u32 bits)
{
    hash = (hash ^ bits) * 0x9e3779b1u;
    return hash ^ (hash >> 15);
}

SCALAR_FN scalar_u32 scalar_probe_value(scalar_u32 i)
{
    scalar_u32 hash = scalar_probe_mix(0x811c9dc5u, i);
    // Three floats of moderate size, one over all exponents that may be subnormal, one integer of the size of a
    // product's sum.
    float x = ((float)(hash >> 8) - 8388608.0f) * 0x1p-17f;
    float y = ((float)(scalar_probe_mix(hash, 1u) >> 8) + 1.0f) * 0x1p-20f;
    float v = ((float)(scalar_probe_mix(hash, 4u) >> 8) - 8388608.0f) * 0x1p-19f;
    float z = scalar_as_float(scalar_probe_mix(hash, 2u) & 0xbfffffffu); // below 2 in magnitude, finite
    int n = (int)(scalar_probe_mix(hash, 3u) >> 8) - 8388608;
    hash = scalar_probe_mix(hash, scalar_as_u32(scalar_fma(x, y, v)));
    hash = scalar_probe_mix(hash, scalar_as_u32(y * v + x)); // must not be contracted
    hash = scalar_probe_mix(hash, scalar_as_u32(scalar_div(x, y)));
    hash = scalar_probe_mix(hash, scalar_as_u32(z * 0x1p-20f)); // often subnormal
    hash = scalar_probe_mix(hash, scalar_as_u32(scalar_sqrt(y)));
    hash = scalar_probe_mix(hash, scalar_as_u32(scalar_exp(x)));
    hash = scalar_probe_mix(hash, scalar_as_u32(scalar_rms_factor(y, 2560, 1e-5f)));
    hash = scalar_probe_mix(hash, scalar_as_u32(scalar_gate_relu2(x, y)));
    hash = scalar_probe_mix(hash, scalar_as_u32(scalar_gate_silu(x, y)));
    hash = scalar_probe_mix(hash, scalar_as_u32(scalar_ternary(n, y, z)));
    hash = scalar_probe_mix(hash, scalar_as_u32(scalar_ternary2(n, n >> 3, y, z, x)));
    hash = scalar_probe_mix(hash, (scalar_u32)scalar_code(x * 2.5f));
    hash = scalar_probe_mix(hash, half_from_float(x * y));
    hash = scalar_probe_mix(hash, half_from_float(z));
    hash = scalar_probe_mix(hash, bf16_from_float(x));
    hash = scalar_probe_mix(hash, scalar_as_u32(half_to_float(hash & 0x7bffu)));
    hash = scalar_probe_mix(hash, scalar_as_u32(bf16_to_float(hash & 0xff7fu)));
    return hash;
}

#endif
