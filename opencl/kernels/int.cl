// Products with INT8 and INT4 rows (int_mm of ops.h; the rows are described in common/dense.h). Follows dense.cl.
//
// 8 rows a work-group, 8 lanes a row, T tokens (dimension 1 counts tiles of T) of two terms each. INT8: lane l takes
// columns 8l .. 8l + 7 of every 64, and the lanes' sums are added. INT4: lane p walks part p of groups().
#if WEIGHT_IS_INTEGER

typedef struct row_sums {
    int hi, lo;
} row_sums;

// Four bytes of a row; rows of an odd number of INT4 groups begin on halves of words.
static uint row_word(const __global uchar *at, bool is_aligned)
{
    if (is_aligned) return *(const __global uint *)at;
    const __global ushort *halves = (const __global ushort *)at;
    return (uint)halves[0] | (uint)halves[1] << 16;
}

// Adds the products of 8 columns of INT8, or of 64 of INT4.
#define ADD_COLUMNS(T)                                                                                                 \
    for (uint j = 0; j < (WEIGHT_TYPE == WEIGHT_INT8 ? 2 : 8); j++) {                                                  \
        uint word = row_word(at + 4 * j, is_aligned);                                                                  \
        uint low = WEIGHT_TYPE == WEIGHT_INT8 ? word : int4_signed_codes(word), high = int4_signed_codes(word >> 4);   \
        for (uint t = 0; t < T; t++) {                                                                                 \
            if (token0 + t >= m) continue;                                                                             \
            size_t first = (size_t)(token0 + t) * ld_x + i;                                                            \
            const __global uint *x_hi = (const __global uint *)(codes + codes_at + first);                             \
            const __global uint *x_lo = (const __global uint *)(lo_codes + lo_codes_at + first);                       \
            sums[t].hi = dot_ss(low, x_hi[j], sums[t].hi);                                                             \
            sums[t].lo = dot_ss(low, x_lo[j], sums[t].lo);                                                             \
            if (WEIGHT_TYPE == WEIGHT_INT8) continue;                                                                  \
            sums[t].hi = dot_ss(high, x_hi[8 + j], sums[t].hi);                                                        \
            sums[t].lo = dot_ss(high, x_lo[8 + j], sums[t].lo);                                                        \
        }                                                                                                              \
    }

#define INT_MM(name, T)                                                                                                \
    __kernel GROUP(64) void name(MATRIX, const __global char *codes, ulong codes_at, const __global float *scale,      \
                                 ulong scale_x_at, const __global char *lo_codes, ulong lo_codes_at,                   \
                                 const __global float *lo_scale, ulong lo_scale_at, __global float *y, ulong y_at,     \
                                 uint m, uint ld_x, uint ld_y, uint check_finite, volatile __global uint *flag,        \
                                 ulong flag_at, uint place)                                                            \
    {                                                                                                                  \
        __local int lanes_hi[8][8], lanes_lo[8][8]; /* [row][lane] */                                                  \
        __local float parts[8][8];                                                                                     \
        uint r = get_local_id(0) / 8, lane = get_local_id(0) % 8, row = (uint)get_group_id(0) * 8 + r;                 \
        uint token0 = (uint)get_group_id(1) * T, n = n_cols / 64;                                                      \
        bool is_aligned = row_bytes % 4 == 0;                                                                          \
        row_of_weights weights = OPEN_ROW(min(row, n_rows - 1));                                                       \
        row_sums sums[T];                                                                                              \
        float chain[T];                                                                                                \
        for (uint t = 0; t < T; t++) {                                                                                 \
            sums[t].hi = sums[t].lo = 0;                                                                               \
            chain[t] = 0.0f;                                                                                           \
        }                                                                                                              \
        if (WEIGHT_TYPE == WEIGHT_INT8)                                                                                \
            for (uint i = 8 * lane; i < n_cols; i += 64) {                                                             \
                const __global uchar *at = weights.data + i;                                                           \
                ADD_COLUMNS(T)                                                                                         \
            }                                                                                                          \
        else                                                                                                           \
            for (uint g = lane * n / 8; g < (lane + 1) * n / 8; g++) {                                                 \
                const __global uchar *at = weights.data + 32 * (size_t)g;                                              \
                uint i = 64 * g;                                                                                       \
                float d = load_half((const __global ushort *)weights.scales + g);                                      \
                ADD_COLUMNS(T)                                                                                         \
                for (uint t = 0; t < T; t++) {                                                                         \
                    size_t token = min(token0 + t, m - 1);                                                             \
                    float v = scalar_fma((float)sums[t].hi, scale[scale_x_at + token],                                 \
                                         (float)sums[t].lo * lo_scale[lo_scale_at + token]);                           \
                    chain[t] = scalar_fma(v, d, chain[t]);                                                             \
                    sums[t].hi = sums[t].lo = 0;                                                                       \
                }                                                                                                      \
            }                                                                                                          \
        for (uint t = 0; t < T; t++) {                                                                                 \
            lanes_hi[r][lane] = sums[t].hi;                                                                            \
            lanes_lo[r][lane] = sums[t].lo;                                                                            \
            parts[r][lane] = chain[t];                                                                                 \
            BARRIER();                                                                                                 \
            if (lane == 0 && row < n_rows && token0 + t < m) {                                                         \
                float value;                                                                                           \
                if (WEIGHT_TYPE == WEIGHT_INT8) {                                                                      \
                    int hi = 0, lo = 0;                                                                                \
                    for (uint l = 0; l < 8; l++) {                                                                     \
                        hi += lanes_hi[r][l];                                                                          \
                        lo += lanes_lo[r][l];                                                                          \
                    }                                                                                                  \
                    value = scalar_ternary2(hi, lo, scale[scale_x_at + token0 + t],                                    \
                                            lo_scale[lo_scale_at + token0 + t], weights.scales[0]);                    \
                } else {                                                                                               \
                    __local float *p = parts[r];                                                                       \
                    value = ((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + (p[6] + p[7]));                         \
                }                                                                                                      \
                if (check_finite && !scalar_is_finite(value)) raise_flag(flag + flag_at, place);                       \
                y[y_at + (size_t)(token0 + t) * ld_y + row] = value;                                                   \
            }                                                                                                          \
            BARRIER();                                                                                                 \
        }                                                                                                              \
    }

INT_MM(NAME(int_mm_m1_), 1)
INT_MM(NAME(int_mm_m4_), 4)

#endif
