// The float definitions of every op, written once in the common subset of C11, CUDA C and OpenCL C.
//
// Only correctly rounded operations appear: + - * / sqrt, explicit fma, comparison, conversion (nearest even) and
// integer operations. Nothing is contracted by the compiler (host: -ffp-contract=off; CUDA: --fmad=false and the _rn
// intrinsics below; OpenCL: the pragma below), nothing is flushed to zero, no library function is called. So the same
// inputs give the same bits on every backend. See ARCHITECTURE.md, "Numbers".
#ifndef TERN_COMMON_SCALAR_H
#define TERN_COMMON_SCALAR_H

#if defined(__OPENCL_VERSION__)
#pragma OPENCL FP_CONTRACT OFF
#define SCALAR_FN static inline
typedef uint scalar_u32;
typedef ulong scalar_u64;
#define scalar_as_u32(x)    as_uint(x)
#define scalar_as_float(x)  as_float(x)
#define scalar_fma(a, b, c) fma((a), (b), (c))
#if defined(SCALAR_SOFT_DIVIDE) // a device without -cl-fp32-correctly-rounded-divide-sqrt
#define scalar_div(a, b) scalar_soft_div((a), (b))
#define scalar_sqrt(x)   scalar_soft_sqrt(x)
#else
#define scalar_div(a, b) ((a) / (b))
#define scalar_sqrt(x)   sqrt(x)
#endif
#define scalar_rint(x) rint(x)
#elif defined(__CUDA_ARCH__)
#define SCALAR_FN           static __device__ __forceinline__
typedef unsigned int scalar_u32;
typedef unsigned long long scalar_u64;
#define scalar_as_u32(x)    __float_as_uint(x)
#define scalar_as_float(x)  __uint_as_float(x)
#define scalar_fma(a, b, c) __fmaf_rn((a), (b), (c))
#define scalar_div(a, b)    __fdiv_rn((a), (b))
#define scalar_sqrt(x)      __fsqrt_rn(x)
#define scalar_rint(x)      rintf(x)
#else
#include <stdint.h>
#include <string.h>
#if defined(__CUDACC__)
#define SCALAR_FN static __host__ __device__ inline
#else
#define SCALAR_FN static inline
#endif
typedef uint32_t scalar_u32;
typedef uint64_t scalar_u64;
SCALAR_FN scalar_u32 scalar_as_u32(float x)
{
    scalar_u32 bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
SCALAR_FN float scalar_as_float(scalar_u32 bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
#define scalar_fma(a, b, c) __builtin_fmaf((a), (b), (c))
#define scalar_div(a, b)    ((a) / (b))
#define scalar_sqrt(x)      __builtin_sqrtf(x)
#define scalar_rint(x)      __builtin_rintf(x)
#endif

// Quotient and square root rounded to nearest even by integer arithmetic alone, for devices that divide or take roots
// only approximately. Results are those of IEEE 754 for every input; an invalid operation gives the NaN 0x7fc00000.

// The leading bits of a finite magnitude that is not 0: bit 23 is set, value = result * 2^(*exponent - 23).
SCALAR_FN scalar_u32 scalar_soft_unpack(scalar_u32 magnitude, int *exponent)
{
    scalar_u32 m = magnitude & 0x007fffffu;
    int e = (int)(magnitude >> 23);
    if (e != 0)
        m |= 0x00800000u;
    else
        for (e = 1; m < 0x00800000u; e--) m <<= 1;
    *exponent = e - 127;
    return m;
}

// q * 2^(exponent - 25) rounded to fp32; q has 26 bits, the lowest of which also stands for all that was cut off.
SCALAR_FN float scalar_soft_pack(scalar_u32 sign, int exponent, scalar_u32 q)
{
    int e = exponent + 127;
    if (e >= 255) return scalar_as_float(sign | 0x7f800000u);
    if (e < 1) { // subnormal: fewer bits
        int shift = 1 - e < 31 ? 1 - e : 31;
        q = (q >> shift) | ((q & ((1u << shift) - 1u)) != 0u ? 1u : 0u);
        e = 1;
    }
    scalar_u32 m = q >> 2, rest = q & 3u;
    if (rest > 2u || (rest == 2u && (m & 1u) != 0u)) m++;
    // A normal m has bit 23 set, which adds one to the exponent field below it; so does a carry out of rounding.
    return scalar_as_float(sign | ((((scalar_u32)e - 1u) << 23) + m));
}

SCALAR_FN float scalar_soft_div(float a, float b)
{
    scalar_u32 ua = scalar_as_u32(a), ub = scalar_as_u32(b), sign = (ua ^ ub) & 0x80000000u;
    ua &= 0x7fffffffu;
    ub &= 0x7fffffffu;
    if (ua > 0x7f800000u || ub > 0x7f800000u || (ua == ub && (ua == 0u || ua == 0x7f800000u)))
        return scalar_as_float(0x7fc00000u);
    if (ua == 0x7f800000u || ub == 0u) return scalar_as_float(sign | 0x7f800000u);
    if (ua == 0u || ub == 0x7f800000u) return scalar_as_float(sign);
    int ea, eb;
    scalar_u32 ma = scalar_soft_unpack(ua, &ea), mb = scalar_soft_unpack(ub, &eb);
    if (ma < mb) { // so that the quotient lies in [1, 2)
        ma <<= 1;
        ea--;
    }
    scalar_u64 n = (scalar_u64)ma << 25, q = n / mb;
    return scalar_soft_pack(sign, ea - eb, (scalar_u32)q | (q * mb != n ? 1u : 0u));
}

SCALAR_FN float scalar_soft_sqrt(float x)
{
    scalar_u32 u = scalar_as_u32(x);
    if ((u & 0x7fffffffu) == 0u || u == 0x7f800000u) return x;
    if (u > 0x7f800000u) return scalar_as_float(0x7fc00000u); // negative, or NaN
    int e;
    scalar_u64 n = (scalar_u64)scalar_soft_unpack(u, &e) << 27; // x = n * 2^(e - 50)
    if ((e & 1) != 0) {
        n <<= 1;
        e--;
    }
    scalar_u64 root = 0, rest = 0; // digit by digit: root of the leading bits of n, and what they leave
    for (int bit = 50; bit >= 0; bit -= 2) {
        rest = rest << 2 | (n >> bit & 3u);
        scalar_u64 trial = root << 2 | 1u;
        root <<= 1;
        if (rest >= trial) {
            rest -= trial;
            root |= 1u;
        }
    }
    return scalar_soft_pack(0u, e / 2, (scalar_u32)root | (rest != 0u ? 1u : 0u));
}

// e^x within 0.954 ulp: range reduction by ln 2 in two parts, a degree-6 polynomial, scaling by two multiplications (so
// that results near the ends of the range are rounded once, never built from exponent bits). No subnormal results:
// below -87.34 the value is 0. NaN gives NaN.
SCALAR_FN float scalar_exp(float x)
{
    if (x != x) return x;
    if (x < -0x1.5d51ecp+6f) return 0.0f;
    if (x > 0x1.62e42ep+6f) return scalar_as_float(0x7f800000u);
    float n = scalar_fma(x, 0x1.715476p0f, 0x1.8p23f) - 0x1.8p23f;
    float r = scalar_fma(n, -0x1.7f7d1cp-20f, scalar_fma(n, -0x1.62e4p-1f, x));
    float p = 0x1.6d113cp-10f;
    p = scalar_fma(p, r, 0x1.120ba2p-7f);
    p = scalar_fma(p, r, 0x1.55551ap-5f);
    p = scalar_fma(p, r, 0x1.5554dcp-3f);
    p = scalar_fma(p, r, 0.5f);
    p = scalar_fma(p, r, 1.0f);
    p = scalar_fma(p, r, 1.0f);
    int k = (int)n;
    int k1 = k >> 1; // `half` is a type in OpenCL
    float a = scalar_as_float((scalar_u32)(k1 + 127) << 23);
    float b = scalar_as_float((scalar_u32)(k - k1 + 127) << 23);
    return p * a * b;
}

SCALAR_FN float scalar_silu(float x) { return scalar_div(x, 1.0f + scalar_exp(-x)); }

SCALAR_FN float scalar_relu(float x) { return x > 0.0f ? x : 0.0f; }

// |x| as an unsigned integer that orders like the magnitude, with NaN above infinity: the maximum of these is absmax.
SCALAR_FN scalar_u32 scalar_magnitude(float x) { return scalar_as_u32(x) & 0x7fffffffu; }

SCALAR_FN int scalar_is_finite(float x) { return scalar_magnitude(x) < 0x7f800000u; }

// 1 / sqrt(sum_of_squares / n + eps), the factor of the RMS norm.
SCALAR_FN float scalar_rms_factor(float sum_of_squares, int n, float eps)
{
    return scalar_div(1.0f, scalar_sqrt(scalar_div(sum_of_squares, (float)n) + eps));
}

// Nearest-even integer of x clamped to [-127, 127]. NaN gives -127 on every backend (the comparison fails); the op
// raises the NUMERIC flag for it.
SCALAR_FN int scalar_code(float x)
{
    float r = scalar_rint(x);
    if (!(r > -127.0f)) return -127;
    return r > 127.0f ? 127 : (int)r;
}

// The activation quantisers share this: from m = absmax (already times the norm's factor, where there is one), whether
// the row is large enough for its own scale, the multiplier for the codes and the scale a. Below 1e-5 the scale is that
// of 1e-5, which keeps zero rows at zero.
#define SCALAR_QUANT_FLOOR 1e-5f
#define SCALAR_QUANT_SMALL 12700000.0f // 127 / 1e-5

// Row-wise parts of gate: relu2 g^2 u in fp32 (fp16 would overflow), silu(g) u.
SCALAR_FN float scalar_gate_relu2(float g, float u)
{
    float r = scalar_relu(g);
    return (r * r) * u;
}

SCALAR_FN float scalar_gate_silu(float g, float u) { return scalar_silu(g) * u; }

// One ternary product from its exact integer sum: w the weight scale, a the activation scale.
SCALAR_FN float scalar_ternary(int sum, float a, float w) { return (float)sum * (a * w); }

// The same with two-term activations (hi * a + lo * b).
SCALAR_FN float scalar_ternary2(int hi, int lo, float a, float b, float w)
{
    return scalar_fma((float)hi, a * w, (float)lo * (b * w));
}

#endif
