// What a device is asked when it is opened: whether its scalar functions give the defined bits (scalar_probe.h follows
// half.h in this program), and whether the chosen fast paths compute what their names say.

// Adds the fingerprints of one index a lane to *sum.
__kernel void scalar_probe(__global uint *sum, uint n)
{
    uint i = (uint)get_global_id(0);
    if (i < n) atomic_add(sum, scalar_probe_value(i));
}

// Raises *wrong where a packed dot product, a shuffle or the load of a half gives another result than plain code.
__kernel GROUP(64) void fast_path_probe(volatile __global uint *wrong)
{
    uint i = (uint)get_global_id(0), w = (i * 2654435761u) >> 3, x = (i + 77u) * 2246822519u;
#if defined(TERN_DOT_SIGNED)
    uint codes = w & 0x7f7f7f7fu;
#else
    uint codes = ((w & 0x01010101u) << 7) | ((~w & 0x01010101u) * (i & 127u)); // bytes up to 128
#endif
    char4 a = as_char4(w), b = as_char4(x);
    uchar4 u = as_uchar4(codes);
    int us = u.x * b.x + u.y * b.y + u.z * b.z + u.w * b.w, ss = a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
    if (dot_us(codes, x, (int)i) != us + (int)i || dot_ss(w, x, -3) != ss - 3) atomic_or(wrong, 1u);
#if defined(TERN_FP16)
    for (uint h = 256 * (i % 256); h < 256 * (i % 256 + 1); h++) { // 256 lanes look at all halves but NaNs
        ushort bits = (ushort)h;
        if ((h & 0x7fffu) > 0x7c00u) continue;
        if (scalar_as_u32(vload_half(0, (const half *)&bits)) != scalar_as_u32(half_to_float(h))) atomic_or(wrong, 4u);
    }
#endif
#if defined(TERN_SUBGROUPS)
    __local int exchange[64];
    for (uint mask = 1; mask < 4; mask <<= 1) {
        uint other = (uint)lane_xor((int)get_local_id(0), mask, exchange);
        if (other != ((uint)get_local_id(0) ^ mask)) atomic_or(wrong, 2u);
    }
#endif
}
