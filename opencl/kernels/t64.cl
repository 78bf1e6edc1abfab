// Canonical ternary rows (common/ternary.h) to and from T64; one item a granule, dimension 1 the row. `rows` holds
// `count` rows from `first` on.
//
// A canonical byte holds four consecutive columns; in a granule these stand in one field of one word, one a byte.

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
    packed[t64_granule(n_granules, first + r, g)] = (uint4)(words[0], words[1], words[2], words[3]);
}

__kernel void t64_unpack(const __global uint4 *packed, __global uchar *rows, uint n_granules, uint first)
{
    uint g = (uint)get_global_id(0), r = (uint)get_global_id(1);
    if (g >= n_granules) return;
    uint4 granule = packed[t64_granule(n_granules, first + r, g)];
    uint words[4] = {granule.x, granule.y, granule.z, granule.w};
    __global uchar *to = rows + ((size_t)r * n_granules + g) * 16;
    for (uint q = 0; q < 16; q++) {
        uint spread = words[2 * (q / 8) + q % 2] >> (2 * (q % 8 / 2)) & 0x03030303u;
        to[q] = (uchar)(spread | spread >> 6 | spread >> 12 | spread >> 18);
    }
}
