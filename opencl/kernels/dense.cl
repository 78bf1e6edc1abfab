// Dense matrix products (dot64 of ops.h), those of single rows (rescore), and embedding rows, for one encoding of the
// weights a program: WEIGHT_TYPE is a dense_type (common/dense.h, where the blocks are described), or WEIGHT_TERNARY
// for scale * trit of a packed matrix; NAME(x) makes x's kernel name end with the encoding. Products with INT8 and INT4
// are in int.cl.

#define WEIGHT_F32     0
#define WEIGHT_F16     1
#define WEIGHT_BF16    2
#define WEIGHT_Q8_0    3
#define WEIGHT_Q4_0    4
#define WEIGHT_Q4_K    5
#define WEIGHT_Q5_K    6
#define WEIGHT_Q6_K    7
#define WEIGHT_INT8    8
#define WEIGHT_INT4    9
#define WEIGHT_TERNARY 10

#define WEIGHT_IS_INTEGER (WEIGHT_TYPE == WEIGHT_INT8 || WEIGHT_TYPE == WEIGHT_INT4)

#define NAME(x) JOIN(x, WEIGHT_NAME)

typedef struct row_of_weights {
    const __global uchar *data; // dense: the row's first block; ternary: the whole matrix
    uint row, n_granules, group;
    const __global float *scales; // ternary: one a group; INT8: one; INT4: fp16, one for 64 columns
} row_of_weights;

static float half_at(const __global uchar *p) { return load_half((const __global ushort *)p); }

// The 6-bit scale and minimum of sub-block j of Q4_K and Q5_K.
static int2 k_scale(const __global uchar *s, uint j)
{
    if (j < 4) return (int2)(s[j] & 63, s[j + 4] & 63);
    return (int2)((s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4);
}

#if WEIGHT_TYPE == WEIGHT_TERNARY
// The code in a field of a byte.
static uint code_of(uint byte, uint field)
{
#if defined(TERN_T80)
    for (uint m = 0; m < field; m++) byte = byte * 3 & 255u;
    return byte * 3 >> 8;
#else
    return byte >> (2 * field) & 3u;
#endif
}
#endif

// Elements [i, i + 8) of a row, i a multiple of 8; of the first n only.
static void load8(row_of_weights w, uint i, uint n, float out[8])
{
#if WEIGHT_TYPE == WEIGHT_F32
    for (uint e = 0; e < n; e++) out[e] = ((const __global float *)w.data)[i + e];
#elif WEIGHT_TYPE == WEIGHT_F16
    for (uint e = 0; e < n; e++) out[e] = load_half((const __global ushort *)w.data + i + e);
#elif WEIGHT_TYPE == WEIGHT_BF16
    for (uint e = 0; e < n; e++) out[e] = bf16_to_float(((const __global ushort *)w.data)[i + e]);
#elif WEIGHT_TYPE == WEIGHT_Q8_0
    const __global uchar *block = w.data + i / 32 * 34;
    float d = half_at(block);
    for (uint e = 0; e < 8; e++) out[e] = d * (float)(char)block[2 + i % 32 + e];
#elif WEIGHT_TYPE == WEIGHT_Q4_0
    const __global uchar *block = w.data + i / 32 * 18;
    float d = half_at(block);
    uint shift = i % 32 < 16 ? 0 : 4;
    for (uint e = 0; e < 8; e++) out[e] = d * (float)((int)(block[2 + i % 16 + e] >> shift & 15) - 8);
#elif WEIGHT_TYPE == WEIGHT_Q4_K
    const __global uchar *block = w.data + i / 256 * 144;
    uint j = i % 256 / 32;
    int2 s = k_scale(block + 4, j);
    float factor = half_at(block) * (float)s.x, low = -(half_at(block + 2) * (float)s.y);
    const __global uchar *qs = block + 16 + 32 * (j / 2) + i % 32;
    for (uint e = 0; e < 8; e++) out[e] = scalar_fma(factor, (float)(qs[e] >> (4 * (j % 2)) & 15), low);
#elif WEIGHT_TYPE == WEIGHT_Q5_K
    const __global uchar *block = w.data + i / 256 * 176;
    uint j = i % 256 / 32;
    int2 s = k_scale(block + 4, j);
    float factor = half_at(block) * (float)s.x, low = -(half_at(block + 2) * (float)s.y);
    const __global uchar *qh = block + 16 + i % 32, *qs = block + 48 + 32 * (j / 2) + i % 32;
    for (uint e = 0; e < 8; e++)
        out[e] = scalar_fma(factor, (float)((qs[e] >> (4 * (j % 2)) & 15) | (qh[e] >> j & 1) << 4), low);
#elif WEIGHT_TYPE == WEIGHT_Q6_K
    const __global uchar *block = w.data + i / 256 * 210;
    uint part = i % 256 / 128, span = i % 128 / 32, at = i % 32;
    const __global uchar *ql = block + 64 * part + 32 * (span % 2) + at, *qh = block + 128 + 32 * part + at;
    float scale = half_at(block + 208) * (float)(char)block[192 + 8 * part + 2 * span + at / 16];
    for (uint e = 0; e < 8; e++)
        out[e] = scale * (float)((int)((ql[e] >> (span < 2 ? 0 : 4) & 15) | (qh[e] >> (2 * span) & 3) << 4) - 32);
#elif WEIGHT_TYPE == WEIGHT_INT8
    for (uint e = 0; e < 8; e++) out[e] = (float)(char)w.data[i + e] * w.scales[0];
#elif WEIGHT_TYPE == WEIGHT_INT4
    const __global uchar *q = w.data + i / 64 * 32 + i % 32;
    float d = load_half((const __global ushort *)w.scales + i / 64);
    uint shift = i % 64 < 32 ? 0 : 4;
    for (uint e = 0; e < 8; e++) out[e] = (float)((int)(q[e] >> shift & 15) - INT4_BIAS) * d;
#else
    uint c = i % GRANULE, field = c % (GRANULE / 2) / 8; // eight columns are one field of two neighbouring words
    const __global uchar *bytes = w.data + 16 * granule_index(w.n_granules, w.row, i / GRANULE) + c / (GRANULE / 2) * 8;
    for (uint e = 0; e < n; e++) out[e] = w.scales[(i + e) / w.group] * (float)((int)code_of(bytes[e], field) - 1);
#endif
}

#define MATRIX                                                                                                         \
    const __global uchar *w, uint n_rows, uint n_cols, ulong row_bytes, ulong scale_at, ulong begin_at, uint n_sets,   \
        uint has_ranges, uint n_groups, uint group

static row_of_weights open_row(MATRIX, uint row)
{
    row_of_weights r;
    r.row = row;
    r.n_granules = (n_cols + GRANULE - 1) / GRANULE;
    r.group = group;
#if WEIGHT_TYPE == WEIGHT_TERNARY
    r.data = w;
    r.scales = (const __global float *)(w + scale_at) +
               (size_t)scale_set(row, n_sets, has_ranges, (const __global uint *)(w + begin_at)) * n_groups;
#else
    r.data = w + (size_t)row * row_bytes;
    r.scales = WEIGHT_IS_INTEGER ? (const __global float *)(r.data + (WEIGHT_TYPE == WEIGHT_INT8 ? n_cols : n_cols / 2))
                                 : 0;
#endif
    return r;
}

#define OPEN_ROW(row)                                                                                                  \
    open_row(w, n_rows, n_cols, row_bytes, scale_at, begin_at, n_sets, has_ranges, n_groups, group, (row))

// Dimension 1 is the row of the result; an item gives eight values.
__kernel GROUP(64) void NAME(embed_)(MATRIX, const __global int *ids, ulong ids_at, __global float *y, ulong y_at,
                                     uint ld_y)
{
    uint i = 8 * (uint)get_global_id(0);
    size_t m = get_global_id(1);
    if (i >= n_cols) return;
    uint n = min(n_cols - i, 8u);
    float values[8];
    load8(OPEN_ROW((uint)ids[ids_at + m]), i, n, values);
    for (uint e = 0; e < n; e++) y[y_at + m * ld_y + i + e] = values[e];
}

// The tree of dot64 over lanes [lane][element]: lanes l + 4, + 2, + 1, where lane e folds element e; then elements
// e + 4, + 2, + 1 of what was folded.
#define FOLD_LANES(v, e)                                                                                               \
    ((((v)[0][e] + (v)[4][e]) + ((v)[2][e] + (v)[6][e])) + (((v)[1][e] + (v)[5][e]) + ((v)[3][e] + (v)[7][e])))
#define FOLD_ELEMENTS(v) ((((v)[0] + (v)[4]) + ((v)[2] + (v)[6])) + (((v)[1] + (v)[5]) + ((v)[3] + (v)[7])))

// dot64 of single rows: 8 ids a work-group, 8 lanes a row as in DENSE_MM; dimension 1 is the token.
__kernel GROUP(64) void NAME(rescore_)(MATRIX, const __global float *x, ulong x_at, const __global int *ids,
                                       ulong ids_at, __global float *y, ulong y_at, uint k, uint ld_x, uint ld_y,
                                       volatile __global uint *flag, ulong flag_at, uint place)
{
    __local float lanes[8][8][8], folded[8][8]; // [id][lane][element]
    uint r = get_local_id(0) / 8, lane = get_local_id(0) % 8, j = (uint)get_group_id(0) * 8 + r;
    size_t token = get_group_id(1);
    uint id = (uint)ids[ids_at + token * k + min(j, k - 1)];
    const __global float *xs = x + x_at + token * ld_x;
    row_of_weights weights = OPEN_ROW(id);
    float acc[8], values[8];
    for (uint e = 0; e < 8; e++) acc[e] = 0.0f;
    for (uint i = 8 * lane; i < n_cols; i += 64) {
        uint n = min(n_cols - i, 8u);
        load8(weights, i, n, values);
        for (uint e = 0; e < n; e++) acc[e] = scalar_fma(values[e], xs[i + e], acc[e]);
    }
    for (uint e = 0; e < 8; e++) lanes[r][lane][e] = acc[e];
    BARRIER();
    folded[r][lane] = FOLD_LANES(lanes[r], lane);
    BARRIER();
    if (lane != 0 || j >= k) return;
    float sum = FOLD_ELEMENTS(folded[r]);
    if (!scalar_is_finite(sum)) raise_flag(flag + flag_at, place);
    y[y_at + token * ld_y + id] = sum;
}

#if !WEIGHT_IS_INTEGER

// 8 rows a work-group, 8 lanes a row: lane l holds accumulators 8l .. 8l + 7 for each of T tokens (dimension 1 counts
// tiles of T).
#define DENSE_MM(name, T)                                                                                              \
    __kernel GROUP(64) void name(MATRIX, const __global float *x, ulong x_at, __global float *y, ulong y_at, uint m,   \
                                 uint ld_x, uint ld_y, uint check_finite, volatile __global uint *flag, ulong flag_at, \
                                 uint place)                                                                           \
    {                                                                                                                  \
        __local float lanes[8][8][8], folded[8][8]; /* [row][lane][element] */                                         \
        uint r = get_local_id(0) / 8, lane = get_local_id(0) % 8, row = (uint)get_group_id(0) * 8 + r;                 \
        uint token0 = (uint)get_group_id(1) * T;                                                                       \
        float acc[T][8];                                                                                               \
        for (uint t = 0; t < T; t++)                                                                                   \
            for (uint e = 0; e < 8; e++) acc[t][e] = 0.0f;                                                             \
        if (row < n_rows) {                                                                                            \
            row_of_weights weights = OPEN_ROW(row);                                                                    \
            for (uint i = 8 * lane; i < n_cols; i += 64) {                                                             \
                uint n = min(n_cols - i, 8u);                                                                          \
                float values[8];                                                                                       \
                load8(weights, i, n, values);                                                                          \
                for (uint t = 0; t < T; t++) {                                                                         \
                    if (token0 + t >= m) continue;                                                                     \
                    const __global float *xs = x + x_at + (size_t)(token0 + t) * ld_x + i;                             \
                    if (n == 8)                                                                                        \
                        for (uint e = 0; e < 8; e++) acc[t][e] = scalar_fma(values[e], xs[e], acc[t][e]);              \
                    else                                                                                               \
                        for (uint e = 0; e < n; e++) acc[t][e] = scalar_fma(values[e], xs[e], acc[t][e]);              \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
        for (uint t = 0; t < T; t++) {                                                                                 \
            for (uint e = 0; e < 8; e++) lanes[r][lane][e] = acc[t][e];                                                \
            BARRIER();                                                                                                 \
            folded[r][lane] = FOLD_LANES(lanes[r], lane);                                                              \
            BARRIER();                                                                                                 \
            if (lane == 0 && row < n_rows && token0 + t < m) {                                                         \
                float sum = FOLD_ELEMENTS(folded[r]);                                                                  \
                if (check_finite && !scalar_is_finite(sum)) raise_flag(flag + flag_at, place);                         \
                y[y_at + (size_t)(token0 + t) * ld_y + row] = sum;                                                     \
            }                                                                                                          \
        }                                                                                                              \
    }

DENSE_MM(NAME(dense_mm_m1_), 1)
DENSE_MM(NAME(dense_mm_m4_), 4)

#endif
