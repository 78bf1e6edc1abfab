// Norms and quantisation of activations: one work-group of 256 lanes a row, because sumsq256 has 256 accumulators.

static float sumsq256(const __global float *x, uint n, __local float *lanes)
{
    float acc = 0.0f;
    for (uint i = get_local_id(0); i < n; i += 256) acc = scalar_fma(x[i], x[i], acc);
    return sum_floats(acc, lanes, 256);
}

static void normalise(const __global float *x, const __global float *g, __global float *y, uint n, float eps,
                      volatile __global uint *flag, uint place, __local float *lanes)
{
    float ss = sumsq256(x, n, lanes);
    if (get_local_id(0) == 0 && !scalar_is_finite(ss)) raise_flag(flag, place);
    float r = scalar_rms_factor(ss, (int)n, eps);
    for (uint i = get_local_id(0); i < n; i += 256) y[i] = (x[i] * r) * g[i];
}

// x and y may be the same.
__kernel GROUP(256) void norm(const __global float *x, ulong x_at, const __global float *g, ulong g_at,
                              __global float *y, ulong y_at, uint n, uint ld_x, uint ld_y, float eps,
                              volatile __global uint *flag, ulong flag_at, uint place)
{
    __local float lanes[256];
    size_t m = get_group_id(0);
    normalise(x + x_at + m * ld_x, g + g_at, y + y_at + m * ld_y, n, eps, flag + flag_at, place, lanes);
}

// Dimension 1 is the row.
__kernel GROUP(256) void head_norm(__global float *x, ulong x_at, const __global float *g, ulong g_at, uint head_dim,
                                   uint ld_x, float eps, volatile __global uint *flag, ulong flag_at, uint place)
{
    __local float lanes[256];
    x += x_at + (size_t)get_group_id(1) * ld_x + (size_t)get_group_id(0) * head_dim;
    normalise(x, g + g_at, x, head_dim, eps, flag + flag_at, place, lanes);
}

// ---- quantisation

static uint absmax256(const __global float *x, uint n, __local uint *lanes)
{
    uint m = 0;
    for (uint i = get_local_id(0); i < n; i += 256) m = max(m, scalar_magnitude(x[i]));
    return max_lanes(m, lanes, 256);
}

// Zeros up to the row's stride; the sum of the row's codes, of which each lane gives its own.
static void finish_codes(__global char *codes, uint n, uint ld, int lane_sum, __global int *sum, __local int *lanes)
{
    for (uint i = n + get_local_id(0); i < ld; i += 256) codes[i] = 0;
    int total = sum_lanes(lane_sum, lanes, 256);
    if (get_local_id(0) == 0) *sum = total;
}

// One row of codes, its scale and its sum, from the row's absmax.
static float quantise(const __global float *x, uint n, float m, __global char *codes, uint ld, __global float *scale,
                      __global int *sum, __local int *lanes)
{
    bool is_small = !(m >= SCALAR_QUANT_FLOOR);
    float multiplier = is_small ? SCALAR_QUANT_SMALL : scalar_div(127.0f, m);
    float a = scalar_div(is_small ? SCALAR_QUANT_FLOOR : m, 127.0f);
    int lane_sum = 0;
    for (uint i = get_local_id(0); i < n; i += 256) {
        int code = scalar_code(x[i] * multiplier);
        codes[i] = (char)code;
        lane_sum += code;
    }
    if (get_local_id(0) == 0) *scale = a;
    finish_codes(codes, n, ld, lane_sum, sum, lanes);
    return a;
}

#define QUANTISED(name)                                                                                                \
    __global char *name##_codes, ulong name##_codes_at, __global float *name##_scale, ulong name##_scale_at,           \
        __global int *name##_sum, ulong name##_sum_at

__kernel GROUP(256) void quant(const __global float *x, ulong x_at, QUANTISED(y), uint n, uint ld_x, uint ld,
                               volatile __global uint *flag, ulong flag_at, uint place)
{
    __local uint lanes[256];
    size_t m = get_group_id(0);
    x += x_at + m * ld_x;
    float absmax = scalar_as_float(absmax256(x, n, lanes));
    if (get_local_id(0) == 0 && !scalar_is_finite(absmax)) raise_flag(flag + flag_at, place);
    quantise(x, n, absmax, y_codes + y_codes_at + m * ld, ld, y_scale + y_scale_at + m, y_sum + y_sum_at + m,
             (__local int *)lanes);
}

__kernel GROUP(256) void quant2(const __global float *x, ulong x_at, QUANTISED(y), QUANTISED(lo), uint n, uint ld_x,
                                uint ld, volatile __global uint *flag, ulong flag_at, uint place)
{
    __local uint lanes[256];
    size_t m = get_group_id(0);
    x += x_at + m * ld_x;
    __global char *hi = y_codes + y_codes_at + m * ld, *lo = lo_codes + lo_codes_at + m * ld;
    float absmax = scalar_as_float(absmax256(x, n, lanes));
    if (get_local_id(0) == 0 && !scalar_is_finite(absmax)) raise_flag(flag + flag_at, place);
    float a = quantise(x, n, absmax, hi, ld, y_scale + y_scale_at + m, y_sum + y_sum_at + m, (__local int *)lanes);

    float multiplier = scalar_div(254.0f, a);
    int lane_sum = 0;
    for (uint i = get_local_id(0); i < n; i += 256) { // this lane's own codes
        int code = scalar_code(scalar_fma(-(float)hi[i], a, x[i]) * multiplier);
        lo[i] = (char)code;
        lane_sum += code;
    }
    if (get_local_id(0) == 0) lo_scale[lo_scale_at + m] = scalar_div(a, 254.0f);
    finish_codes(lo, n, ld, lane_sum, lo_sum + lo_sum_at + m, (__local int *)lanes);
}

__kernel GROUP(256) void norm_quant(const __global float *x, ulong x_at, const __global float *g, ulong g_at,
                                    QUANTISED(y), uint n, uint ld_x, uint ld, float eps, volatile __global uint *flag,
                                    ulong flag_at, uint place)
{
    __local uint lanes[256];
    size_t row = get_group_id(0);
    x += x_at + row * ld_x;
    g += g_at;
    __global char *codes = y_codes + y_codes_at + row * ld;
    float ss = sumsq256(x, n, (__local float *)lanes);
    float r = scalar_rms_factor(ss, (int)n, eps);
    uint largest = 0; // absmax of t_i = x_i * g_i
    for (uint i = get_local_id(0); i < n; i += 256) largest = max(largest, scalar_magnitude(x[i] * g[i]));
    float absmax = scalar_as_float(max_lanes(largest, lanes, 256));
    if (get_local_id(0) == 0 && !(scalar_is_finite(ss) && scalar_is_finite(absmax))) raise_flag(flag + flag_at, place);

    float m = r * absmax;
    bool is_small = !(m >= SCALAR_QUANT_FLOOR);
    float multiplier = is_small ? SCALAR_QUANT_SMALL : scalar_div(127.0f, absmax); // r cancels
    int lane_sum = 0;
    for (uint i = get_local_id(0); i < n; i += 256) {
        float t = x[i] * g[i];
        int code = scalar_code((is_small ? t * r : t) * multiplier);
        codes[i] = (char)code;
        lane_sum += code;
    }
    if (get_local_id(0) == 0) y_scale[y_scale_at + row] = scalar_div(is_small ? SCALAR_QUANT_FLOOR : m, 127.0f);
    finish_codes(codes, n, ld, lane_sum, y_sum + y_sum_at + row, (__local int *)lanes);
}
