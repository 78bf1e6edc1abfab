// Canonical ternary rows (common/ternary.h) to and from T64 and T80; one item a granule, dimension 1 the row. `rows`
// holds `count` rows from `first` on.
//
// A canonical byte holds four consecutive columns; in a granule these stand in one field of one word, one a byte. In
// T80 field m is digit m of a number in base 3, of which the byte is a share (common/t80.c).

__kernel void t64_pack(const __global uchar *rows, __global uint4 *packed, uint n_granules, uint first)
{
    uint g = (uint)get_global_id(0), r = (uint)get_global_id(1);
    if (g >= n_granules) return;
    const __global uchar *from = rows + ((size_t)r * n_granules + g) * 16;
    uint words[4] = {0, 0, 0, 0};
    for (uint q = 0; q < 16; q++) {
        uint x = from[q], spread = (x | x << 6 | x << 12 | x << 18) & 0x03030303u;
        words[2 * (q / 8) + q % 2] |= spread << (2 * (q % 8 / 2));
    }
    packed[granule_index(n_granules, first + r, g)] = (uint4)(words[0], words[1], words[2], words[3]);
}

__kernel void t64_unpack(const __global uint4 *packed, __global uchar *rows, uint n_granules, uint first)
{
    uint g = (uint)get_global_id(0), r = (uint)get_global_id(1);
    if (g >= n_granules) return;
    uint4 granule = packed[granule_index(n_granules, first + r, g)];
    uint words[4] = {granule.x, granule.y, granule.z, granule.w};
    __global uchar *to = rows + ((size_t)r * n_granules + g) * 16;
    for (uint q = 0; q < 16; q++) {
        uint spread = words[2 * (q / 8) + q % 2] >> (2 * (q % 8 / 2)) & 0x03030303u;
        to[q] = (uchar)(spread | spread >> 6 | spread >> 12 | spread >> 18);
    }
}

// A T80 granule is 20 canonical bytes. Of the last one the canonical row may hold fewer (`row_bytes` ends it), or end
// behind it: those columns have code 1.
__kernel void t80_pack(const __global uchar *rows, __global uint4 *packed, uint n_granules, uint first, uint row_bytes)
{
    uint g = (uint)get_global_id(0), r = (uint)get_global_id(1);
    if (g >= n_granules) return;
    const __global uchar *from = rows + (size_t)r * row_bytes + 20 * g;
    uint words[4] = {0, 0, 0, 0};
    for (uint q = 0; q < 20; q++) {
        uint x = 20 * g + q < row_bytes ? from[q] : 0x55u;
        uint spread = (x | x << 6 | x << 12 | x << 18) & 0x03030303u;
        words[2 * (q / 10) + q % 2] = words[2 * (q / 10) + q % 2] * 3 + spread;
    }
    for (uint j = 0; j < 4; j++) {
        uint shares = 0; // ceil(256 v / 243)
        for (uint b = 0; b < 32; b += 8) shares |= (256 * (words[j] >> b & 255u) + 242) / 243 << b;
        words[j] = shares;
    }
    packed[granule_index(n_granules, first + r, g)] = (uint4)(words[0], words[1], words[2], words[3]);
}

__kernel void t80_unpack(const __global uint4 *packed, __global uchar *rows, uint n_granules, uint first,
                         uint row_bytes)
{
    uint g = (uint)get_global_id(0), r = (uint)get_global_id(1);
    if (g >= n_granules) return;
    uint4 granule = packed[granule_index(n_granules, first + r, g)];
    uint4 even = granule & EVEN_BYTES, odd = granule >> 8 & EVEN_BYTES;
    __global uchar *to = rows + (size_t)r * row_bytes + 20 * g;
    uint end = g + 1 == n_granules ? row_bytes - 20 * g : 20;
    for (uint m = 0; m < 5; m++) {
        even = (even & EVEN_BYTES) * 3;
        odd = (odd & EVEN_BYTES) * 3;
        uint4 spread = (even >> 8 & EVEN_BYTES) | (odd & ~EVEN_BYTES);
        spread |= spread >> 6 | spread >> 12 | spread >> 18;
        if (2 * m < end) to[2 * m] = (uchar)spread.s0;
        if (2 * m + 1 < end) to[2 * m + 1] = (uchar)spread.s1;
        if (2 * m + 10 < end) to[2 * m + 10] = (uchar)spread.s2;
        if (2 * m + 11 < end) to[2 * m + 11] = (uchar)spread.s3;
    }
    for (uint q = 20; q < end; q++) to[q] = 0x55;
}
