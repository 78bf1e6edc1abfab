// Groups of 4-bit values with one fp16 scale: the quantiser of int4 heads (dense.h) and of the int4 KV cache (kv.h). In
// the common subset of C11, CUDA C and OpenCL C.
//
// d = fp16 of absmax / 7 (nearest even). Where d is 0 every code is 0; else code = nearest-even integer of x / d,
// clamped to [-7, 7]: a d that was rounded down would give up to 7.004. Stored as code + 8 in four bits.
#ifndef TERN_COMMON_INT4_H
#define TERN_COMMON_INT4_H

#include "half.h"

#define INT4_BIAS 8

// The bits of d; infinite where absmax / 7 is too large for fp16, NaN where absmax is.
SCALAR_FN scalar_u32 int4_scale(float absmax) { return half_from_float(scalar_div(absmax, 7.0f)); }

SCALAR_FN int int4_scale_is_finite(scalar_u32 bits) { return (bits & 0x7fffu) < 0x7c00u; }

// The code of x in [-7, 7]; NaN gives -7.
SCALAR_FN int int4_code(float x, float d)
{
    if (d == 0.0f) return 0;
    float r = scalar_rint(scalar_div(x, d));
    if (!(r > -7.0f)) return -7;
    return r > 7.0f ? 7 : (int)r;
}

// The codes in the low four bits of the bytes of a word, as signed bytes: 0x78 + (code + 8) has its top bit where the
// code is not negative.
SCALAR_FN scalar_u32 int4_signed_codes(scalar_u32 stored)
{
    return ((stored & 0x0f0f0f0fu) + 0x78787878u) ^ 0x80808080u;
}

#endif
