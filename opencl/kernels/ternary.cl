// Products of packed ternary matrices with quantised rows (common/ops.h, ternary_mm). A "column" is one term of one
// token: column c is term c % n_terms of token c / n_terms. Sums of codes times activations are exact int32 in any
// order; the sum of the activations comes off before the one conversion to fp32.
//
// A granule's word j, field m holds four columns from GRANULE/2*(j/2) + 8*m + 4*(j%2) on, that is word 2*FIELDS*(j/2) +
// 2*m + j%2 of the activations. T64: fields are masked, not shifted; field m gives 4^m times the product, and one exact
// shift of the granule's sum takes that back. T80: digits are taken off one after the other (common/ternary.h).

#if defined(TERN_T80)
#define TMM(name) JOIN(tmm_t80_, name)
#else
#define TMM(name) JOIN(tmm_t64_, name)
#endif

typedef struct activations {
    uint4 x[GRANULE / 16];
} activations;

static activations load_activations(const __global char *x, uint granule)
{
    const __global uint4 *from = (const __global uint4 *)x + GRANULE / 16 * (size_t)granule;
    activations a;
    for (uint i = 0; i < GRANULE / 16; i++) a.x[i] = from[i];
    return a;
}

#if defined(TERN_T80) && defined(TERN_DOT_VECTOR)
// Sum of codes times activations over a granule: minus a digit is the sum of two comparisons, and what is left of a
// byte is three times it, modulo 256. Five products of codes 0..2 with int8 fit 16 bits.
#define ADD_FIELD(first, second)                                                                                       \
    sum -= convert_short16((y > (uchar16)(85)) + (y > (uchar16)(170))) *                                               \
           convert_short16(as_char16((uint4)(first, second)));                                                         \
    y += y + y;

static int granule_dot(uint4 w, activations a)
{
    uchar16 y = as_uchar16(w);
    short16 sum = (short16)(0);
    ADD_FIELD(a.x[0].s01, a.x[2].s23)
    ADD_FIELD(a.x[0].s23, a.x[3].s01)
    ADD_FIELD(a.x[1].s01, a.x[3].s23)
    ADD_FIELD(a.x[1].s23, a.x[4].s01)
    ADD_FIELD(a.x[2].s01, a.x[4].s23)
    short8 s8 = sum.lo + sum.hi; // at most 2 * 5 * 254
    short4 s4 = s8.lo + s8.hi;
    short2 s2 = s4.lo + s4.hi; // at most 8 * 5 * 254 = 10,160
    return s2.x + s2.y;
}
#elif defined(TERN_T80)
// The same by packed dot products of four bytes. Bytes stand in 16 bits each, so that the number of the first n digits
// is the upper byte after n multiplications by 3; a digit is what that number has more than three times the one before.
static uint4 prefixes(uint4 even, uint4 odd) { return (even >> 8 & EVEN_BYTES) | (odd & ~EVEN_BYTES); }

#define ADD_FIELD(first, second)                                                                                       \
    even *= 3;                                                                                                         \
    odd *= 3;                                                                                                          \
    digits = prefixes(even, odd) - 3 * before;                                                                         \
    before = prefixes(even, odd);                                                                                      \
    sum = dot_us(digits.s0, (first).x, dot_us(digits.s1, (first).y, sum));                                             \
    sum = dot_us(digits.s2, (second).x, dot_us(digits.s3, (second).y, sum));

static int granule_dot(uint4 w, activations a)
{
    uint4 even = w & EVEN_BYTES, odd = w >> 8 & EVEN_BYTES, before = (uint4)(0), digits;
    int sum = 0;
    ADD_FIELD(a.x[0].s01, a.x[2].s23)
    ADD_FIELD(a.x[0].s23, a.x[3].s01)
    ADD_FIELD(a.x[1].s01, a.x[3].s23)
    ADD_FIELD(a.x[1].s23, a.x[4].s01)
    ADD_FIELD(a.x[2].s01, a.x[4].s23)
    return sum;
}
#else
static int dot_field(uint4 w, uint mask, uint a, uint b, uint c, uint d)
{
    return dot_us(w.s0 & mask, a, dot_us(w.s1 & mask, b, dot_us(w.s2 & mask, c, dot_us(w.s3 & mask, d, 0))));
}

#if defined(TERN_DOT_VECTOR)
// Sum of codes times activations over a granule. A field of all four words meets four words of activations; four
// products of codes 0..2 with int8 fit 16 bits.
static int granule_dot(uint4 w, activations a)
{
    const uint4 three = (uint4)(0x03030303u);
    short16 sum = convert_short16(as_uchar16(w & three)) * convert_short16(as_char16((uint4)(a.x[0].s01, a.x[2].s01)));
    sum += convert_short16(as_uchar16(w >> 2 & three)) * convert_short16(as_char16((uint4)(a.x[0].s23, a.x[2].s23)));
    sum += convert_short16(as_uchar16(w >> 4 & three)) * convert_short16(as_char16((uint4)(a.x[1].s01, a.x[3].s01)));
    sum += convert_short16(as_uchar16(w >> 6 & three)) * convert_short16(as_char16((uint4)(a.x[1].s23, a.x[3].s23)));
    short8 s8 = sum.lo + sum.hi; // at most 2 * 4 * 254
    short4 s4 = s8.lo + s8.hi;
    short2 s2 = s4.lo + s4.hi; // at most 8 * 4 * 254 = 8,128
    return s2.x + s2.y;
}
#else
// The same by packed dot products of four bytes.
static int granule_dot(uint4 w, activations a)
{
    int p0 = dot_field(w, 0x03030303u, a.x[0].s0, a.x[0].s1, a.x[2].s0, a.x[2].s1);
    int p1 = dot_field(w, 0x0c0c0c0cu, a.x[0].s2, a.x[0].s3, a.x[2].s2, a.x[2].s3);
    int p2 = dot_field(w, 0x30303030u, a.x[1].s0, a.x[1].s1, a.x[3].s0, a.x[3].s1);
#if defined(TERN_DOT_SIGNED)
    int p3 = dot_field(w >> 2, 0x30303030u, a.x[1].s2, a.x[1].s3, a.x[3].s2, a.x[3].s3) << 2;
#else
    int p3 = dot_field(w, 0xc0c0c0c0u, a.x[1].s2, a.x[1].s3, a.x[3].s2, a.x[3].s3);
#endif
    return p0 + (p1 >> 2) + (p2 >> 4) + (p3 >> 6);
}
#endif
#endif

// Both terms of the quantised rows; the second is given again as the first where there is only one.
#define QUANTISED_ROWS                                                                                                 \
    const __global char *hi, ulong hi_at, const __global float *hi_scale, ulong hi_scale_at,                           \
        const __global int *hi_sum, ulong hi_sum_at, const __global char *lo, ulong lo_at,                             \
        const __global float *lo_scale, ulong lo_scale_at, const __global int *lo_sum, ulong lo_sum_at, uint n_terms,  \
        uint ld_x

// The matrix, its scales (at their byte offsets in the same buffer), and where results go.
#define MATRIX_AND_RESULT                                                                                              \
    const __global uchar *w, uint n_rows, uint n_granules, ulong scale_at, ulong begin_at, uint n_sets,                \
        uint has_ranges, uint n_groups, __global float *y, ulong y_at, uint ld_y, uint epilogue

// mm_epilogue of ops.h.
#define EPILOGUE_ADD   1
#define EPILOGUE_RELU2 2
#define EPILOGUE_SILU  3

static void put(__global float *y, float product, uint epilogue)
{
    *y = epilogue == EPILOGUE_ADD ? *y + product : product;
}

// A row of gate, and the one of up 8 rows behind it, of a matrix whose product is gated; y: the token's row.
static void put_gated(__global float *y, uint row, float gate, float up, uint epilogue)
{
    y[row / 16 * 8 + row % 8] = epilogue == EPILOGUE_SILU ? scalar_gate_silu(gate, up) : scalar_gate_relu2(gate, up);
}

#define SCALES(row)                                                                                                    \
    ((const __global float *)(w + scale_at) +                                                                          \
     (size_t)scale_set((row), n_sets, has_ranges, (const __global uint *)(w + begin_at)) * n_groups)

// The token of column c, and the column's codes.
#define TOKEN(c)  ((c) >> (n_terms - 1))
#define COLUMN(c) (((c) & (n_terms - 1) ? lo + lo_at : hi + hi_at) + (size_t)TOKEN(c) * ld_x)

// The result for token m from the sums of its columns.
#define RESULT(m, s, row)                                                                                              \
    (n_terms == 1 ? scalar_ternary((s)[0] - hi_sum[hi_sum_at + (m)], hi_scale[hi_scale_at + (m)], *SCALES(row))        \
                  : scalar_ternary2((s)[0] - hi_sum[hi_sum_at + (m)], (s)[1] - lo_sum[lo_sum_at + (m)],                \
                                    hi_scale[hi_scale_at + (m)], lo_scale[lo_scale_at + (m)], *SCALES(row)))

// ---- up to 8 columns at a time: the weights stream through once for them
//
// One work-group of 128 lanes for a row group of 16 rows and (dimension 1) a block of C columns. Lanes of a span of 32
// share a tile as 8 rows (and the 8 below them) times 4 granules; the four spans take every fourth tile. Row g of a
// tile with r granules a row begins at granule r*g, so a full tile is read in two consecutive stretches.

#if defined(TERN_SUBGROUPS)
#define GEMV_PARTS 4 // the four lanes of a row are summed by shuffles
#else
#define GEMV_PARTS 16
#endif
#if defined(TERN_SUBGROUPS_EMULATED)
#define GEMV_EXCHANGE 128
#else
#define GEMV_EXCHANGE 1 // not used
#endif

// Sums of row r, column c, part p are at sums[(p * 16 + r) * C + c].
#define GEMV(C)                                                                                                        \
    __kernel GROUP(128) void TMM(m##C)(MATRIX_AND_RESULT, QUANTISED_ROWS, uint n_columns)                              \
    {                                                                                                                  \
        __local int sums[GEMV_PARTS * 16 * C], exchange[GEMV_EXCHANGE];                                                \
        uint lane = get_local_id(0), span = lane / 32, g = lane % 32 / 4, t = lane % 4;                                \
        uint first = (uint)get_group_id(1) * C;                                                                        \
        const __global uint4 *tiles = (const __global uint4 *)w + get_group_id(0) * TILE_ROWS * (size_t)n_granules;    \
        int upper[C], lower[C];                                                                                        \
        for (int c = 0; c < C; c++) upper[c] = lower[c] = 0;                                                           \
        for (uint tile = span; tile * TILE_GRANULES < n_granules; tile += 4) {                                         \
            uint r = min(n_granules - tile * TILE_GRANULES, TILE_GRANULES);                                            \
            if (t >= r) continue;                                                                                      \
            const __global uint4 *at = tiles + (size_t)tile * TILE_ROWS * TILE_GRANULES + r * g + t;                   \
            uint4 a = at[0], b = at[8 * r];                                                                            \
            for (uint c = 0; c < C; c++) {                                                                             \
                if (first + c >= n_columns) continue;                                                                  \
                activations x = load_activations(COLUMN(first + c), tile * TILE_GRANULES + t);                         \
                upper[c] += granule_dot(a, x);                                                                         \
                lower[c] += granule_dot(b, x);                                                                         \
            }                                                                                                          \
        }                                                                                                              \
        GEMV_STORE(C)                                                                                                  \
        BARRIER();                                                                                                     \
        for (uint i = lane; i < 16 * C; i += 128) {                                                                    \
            int sum = 0;                                                                                               \
            for (uint p = 0; p < GEMV_PARTS; p++) sum += sums[p * 16 * C + i];                                         \
            sums[i] = sum; /* this lane alone reads and writes element i of every part */                              \
        }                                                                                                              \
        BARRIER();                                                                                                     \
        for (uint i = lane; i < 16 * C; i += 128) {                                                                    \
            uint row = (uint)get_group_id(0) * TILE_ROWS + i / C, c = first + i % C;                                   \
            if (row >= n_rows || c >= n_columns || (c & (n_terms - 1)) != 0) continue;                                 \
            uint m = TOKEN(c);                                                                                         \
            __global float *to = y + y_at + (size_t)m * ld_y;                                                          \
            if (epilogue < EPILOGUE_RELU2)                                                                             \
                put(to + row, RESULT(m, sums + i, row), epilogue);                                                     \
            else if (row % 16 < 8)                                                                                     \
                put_gated(to, row, RESULT(m, sums + i, row), RESULT(m, sums + i + 8 * C, row + 8), epilogue);          \
        }                                                                                                              \
    }

#if defined(TERN_SUBGROUPS)
#define GEMV_STORE(C)                                                                                                  \
    for (int c = 0; c < C; c++) {                                                                                      \
        int u = upper[c], l = lower[c];                                                                                \
        u += lane_xor(u, 1u, exchange);                                                                                \
        u += lane_xor(u, 2u, exchange);                                                                                \
        l += lane_xor(l, 1u, exchange);                                                                                \
        l += lane_xor(l, 2u, exchange);                                                                                \
        if (t == 0) {                                                                                                  \
            sums[(span * 16 + g) * C + c] = u;                                                                         \
            sums[(span * 16 + g + 8) * C + c] = l;                                                                     \
        }                                                                                                              \
    }
#else
#define GEMV_STORE(C)                                                                                                  \
    for (int c = 0; c < C; c++) {                                                                                      \
        sums[((span * 4 + t) * 16 + g) * C + c] = upper[c];                                                            \
        sums[((span * 4 + t) * 16 + g + 8) * C + c] = lower[c];                                                        \
    }
#endif

GEMV(1)
GEMV(2)
GEMV(4)
GEMV(8)

// ---- more columns: tiles of 64 rows and 16*P columns through local memory
//
// 256 lanes, lane (i, j) = (lane / 16, lane % 16) sums rows i + 16*a and columns j + 16*b. Each step decodes a granule
// of K: code words in the order of the activations, a row padded by a word so that the 16 rows of a span lie in
// different banks.

#define STEP_WORDS (GRANULE / 4)
#define STEP_LD    (STEP_WORDS + 1)

// The code words of a packed word: word m at to[2 * m].
static void decode_word(uint packed, __local uint *to)
{
#if defined(TERN_T80)
    uint even = packed & EVEN_BYTES, odd = packed >> 8 & EVEN_BYTES;
    for (uint m = 0; m < FIELDS; m++) {
        even = (even & EVEN_BYTES) * 3;
        odd = (odd & EVEN_BYTES) * 3;
        to[2 * m] = (even >> 8 & EVEN_BYTES) | (odd & ~EVEN_BYTES);
    }
#else
    for (uint m = 0; m < FIELDS; m++) to[2 * m] = packed >> (2 * m) & 0x03030303u;
#endif
}

#define GEMM(name, P)                                                                                                  \
    __kernel GROUP(256) void name(MATRIX_AND_RESULT, QUANTISED_ROWS, uint n_columns)                                   \
    {                                                                                                                  \
        __local uint codes[64 * STEP_LD], x[16 * P * STEP_LD];                                                         \
        uint lane = get_local_id(0), i = lane / 16, j = lane % 16;                                                     \
        uint row0 = (uint)get_group_id(0) * 64, column0 = (uint)get_group_id(1) * 16 * P;                              \
        uint n_padded = (n_rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;                                              \
        int sum[4][P];                                                                                                 \
        for (int a = 0; a < 4; a++)                                                                                    \
            for (int b = 0; b < P; b++) sum[a][b] = 0;                                                                 \
        for (uint granule = 0; granule < n_granules; granule++) {                                                      \
            uint r = lane / 4, word = lane % 4; /* a word of a granule of each row */                                  \
            uint packed = ZERO_WORD;                                                                                   \
            if (row0 + r < n_padded)                                                                                   \
                packed = ((const __global uint *)w)[4 * granule_index(n_granules, row0 + r, granule) + word];          \
            decode_word(packed, codes + r * STEP_LD + 2 * FIELDS * (word / 2) + word % 2);                             \
            for (uint k = lane; k < 16 * P * STEP_WORDS; k += 256) {                                                   \
                uint c = k / STEP_WORDS;                                                                               \
                x[c * STEP_LD + k % STEP_WORDS] = column0 + c < n_columns                                              \
                                                      ? ((const __global uint *)COLUMN(                                \
                                                            column0 + c))[STEP_WORDS * granule + k % STEP_WORDS]       \
                                                      : 0;                                                             \
            }                                                                                                          \
            BARRIER();                                                                                                 \
            for (uint k = 0; k < STEP_WORDS; k++) {                                                                    \
                uint cw[4], xw[P];                                                                                     \
                for (int a = 0; a < 4; a++) cw[a] = codes[(i + 16 * a) * STEP_LD + k];                                 \
                for (int b = 0; b < P; b++) xw[b] = x[(j + 16 * b) * STEP_LD + k];                                     \
                for (int a = 0; a < 4; a++)                                                                            \
                    for (int b = 0; b < P; b++) sum[a][b] = dot_us(cw[a], xw[b], sum[a][b]);                           \
            }                                                                                                          \
            BARRIER();                                                                                                 \
        }                                                                                                              \
        /* Columns 2m and 2m + 1 belong to neighbouring lanes: exchanged through local memory, one row block at a      \
         * time. */                                                                                                    \
        __local int *sums = (__local int *)x;                                                                          \
        for (int a = 0; a < 4; a++)                                                                                    \
            for (int b = 0; b < P; b++) {                                                                              \
                sums[i * 16 + j] = sum[a][b];                                                                          \
                BARRIER();                                                                                             \
                uint row = row0 + i + 16 * a, c = column0 + j + 16 * b;                                                \
                if (row < n_rows && c < n_columns && (c & (n_terms - 1)) == 0) {                                       \
                    uint token = TOKEN(c);                                                                             \
                    __global float *to = y + y_at + (size_t)token * ld_y;                                              \
                    const __local int *s = sums + i * 16 + j;                                                          \
                    if (epilogue < EPILOGUE_RELU2)                                                                     \
                        put(to + row, RESULT(token, s, row), epilogue);                                                \
                    else if (i < 8)                                                                                    \
                        put_gated(to, row, RESULT(token, s, row), RESULT(token, s + 8 * 16, row + 8), epilogue);       \
                }                                                                                                      \
                BARRIER();                                                                                             \
            }                                                                                                          \
    }

GEMM(TMM(gemm16), 1)
GEMM(TMM(gemm64), 4)

#if !defined(TERN_T80)
// ---- several scales along K, groups of whole granules
//
// 8 rows a work-group, 8 lanes a row: lane p walks part p of the groups (ops.h), a chain of fma. Dimension 1 is the
// token.

static int granule_sum(activations a)
{
    int sum = 0;
    for (int i = 0; i < 4; i++) {
        sum = dot_us(0x01010101u, a.x[i].s0, dot_us(0x01010101u, a.x[i].s1, sum));
        sum = dot_us(0x01010101u, a.x[i].s2, dot_us(0x01010101u, a.x[i].s3, sum));
    }
    return sum;
}

// The next step of a part's chain: the sums of a group's terms, the activation scales, the group's scale.
static float fold_group(float acc, int sum, int sum2, uint n_terms, float a, float b, float d)
{
    return scalar_fma(n_terms == 1 ? (float)sum * a : scalar_fma((float)sum, a, (float)sum2 * b), d, acc);
}

static float parts_tree(__local float *parts, uint lane, float acc)
{
    parts[lane] = acc;
    BARRIER();
    __local float *t = parts + lane / 8 * 8;
    return ((t[0] + t[1]) + (t[2] + t[3])) + ((t[4] + t[5]) + (t[6] + t[7]));
}

__kernel GROUP(64) void tmm_t64_groups(MATRIX_AND_RESULT, QUANTISED_ROWS, uint group_granules)
{
    __local float parts[64];
    uint lane = get_local_id(0), p = lane % 8, row = (uint)get_group_id(0) * 8 + lane / 8, m = (uint)get_group_id(1);
    const __global char *x = hi + hi_at + (size_t)m * ld_x, *x2 = lo + lo_at + (size_t)m * ld_x;
    float acc = 0.0f, a = hi_scale[hi_scale_at + m], b = lo_scale[lo_scale_at + m];
    if (row < n_rows) {
        const __global float *d = SCALES(row);
        uint end = (uint)((ulong)(p + 1) * n_groups / 8);
        for (uint g = (uint)((ulong)p * n_groups / 8); g < end; g++) {
            int sum = 0, sum2 = 0;
            uint last = min((g + 1) * group_granules, n_granules);
            for (uint granule = g * group_granules; granule < last; granule++) {
                uint4 codes = ((const __global uint4 *)w)[granule_index(n_granules, row, granule)];
                activations v = load_activations(x, granule);
                sum += granule_dot(codes, v) - granule_sum(v);
                if (n_terms == 1) continue;
                v = load_activations(x2, granule);
                sum2 += granule_dot(codes, v) - granule_sum(v);
            }
            acc = fold_group(acc, sum, sum2, n_terms, a, b, d[g]);
        }
    }
    float result = parts_tree(parts, lane, acc);
    if (row < n_rows && p == 0) put(y + y_at + (size_t)m * ld_y + row, result, epilogue);
}

// Groups that do not end on granules: element by element, since no known model has them at a size that matters.
__kernel GROUP(64) void tmm_t64_ragged(MATRIX_AND_RESULT, QUANTISED_ROWS, uint group, uint n_cols)
{
    __local float parts[64];
    uint lane = get_local_id(0), p = lane % 8, row = (uint)get_group_id(0) * 8 + lane / 8, m = (uint)get_group_id(1);
    const __global char *x = hi + hi_at + (size_t)m * ld_x, *x2 = lo + lo_at + (size_t)m * ld_x;
    float acc = 0.0f, a = hi_scale[hi_scale_at + m], b = lo_scale[lo_scale_at + m];
    if (row < n_rows) {
        const __global float *d = SCALES(row);
        uint end = (uint)((ulong)(p + 1) * n_groups / 8);
        for (uint g = (uint)((ulong)p * n_groups / 8); g < end; g++) {
            int sum = 0, sum2 = 0;
            for (uint c = g * group; c < min((g + 1) * group, n_cols); c++) {
                uint k = c % 64;
                const __global uchar *granule = w + 16 * granule_index(n_granules, row, c / 64);
                int trit = (granule[8 * (k / 32) + 4 * (k / 4 % 2) + k % 4] >> (2 * (k % 32 / 8)) & 3) - 1;
                sum += trit * x[c];
                sum2 += trit * x2[c];
            }
            acc = fold_group(acc, sum, sum2, n_terms, a, b, d[g]);
        }
    }
    float result = parts_tree(parts, lane, acc);
    if (row < n_rows && p == 0) put(y + y_at + (size_t)m * ld_y + row, result, epilogue);
}
#endif
