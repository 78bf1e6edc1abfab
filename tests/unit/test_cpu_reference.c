// The reference ops against hand-computed cases and independent double-precision formulations. Their order of summation
// is tested with values for which another order gives another number.
#include <math.h>

#include "cpu_fixture.h"
#include "half.h"
#include "reference.h"

#define PLACE   0x305u
#define NO_FLAG UINT32_MAX

static void expect_near(double value, double expected, double tolerance, const char *what)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%s: %.9g, expected %.9g +- %.2g", what, value, expected, tolerance);
}

// ---- reductions

static void test_reduction_order(void **state)
{
    (void)state;
    float a[300] = {0}, ones[300];
    for (int i = 0; i < 300; i++) ones[i] = 1.0f;
    // Lane 0 gets 2^24 + 1 (the 1 is lost); lanes 1 and 33 give 2 before they meet lane 0.
    a[0] = 0x1p24f;
    a[64] = 1.0f;
    a[1] = 1.0f;
    a[33] = 1.0f;
    assert_true(reference_dot64(a, ones, 65) == 0x1p24f + 2.0f);
    a[33] = 0.0f;
    a[2] = 1.0f; // lanes 1 and 2 meet lane 0 one after the other: +2 (even lanes) first keeps nothing, nor does +1
    assert_true(reference_dot64(a, ones, 65) == 0x1p24f);

    float x[300] = {0};
    x[0] = 4096.0f;
    x[256] = 1.0f; // lane 0
    x[1] = 1.0f;
    x[129] = 1.0f;
    assert_true(reference_sumsq256(x, 257) == 0x1p24f + 2.0f);
    x[256] = 0.0f;
    x[2] = 1.0f;
    x[129] = 0.0f;
    assert_true(reference_sumsq256(x, 257) == 0x1p24f);

    // 16 groups in parts of 2: part 0 loses its 1, parts 2 and 3 (1 + 1) survive.
    float v[16] = {0x1p24f, 1, 0, 0, 1, 0, 1, 0};
    assert_true(reference_groups(v, ones, 16) == 0x1p24f + 2.0f);
    v[2] = 1.0f; // part 1, lost against part 0
    assert_true(reference_groups(v, ones, 16) == 0x1p24f + 2.0f);
    // 3 groups: parts [0,0) [0,0) [0,1) [1,1) [1,1) [1,2) [2,2) [2,3): all in different parts
    const float three[3] = {0x1p24f, 1.0f, 1.0f};
    assert_true(reference_groups(three, ones, 3) == 0x1p24f + 2.0f);
}

// ---- norms and quantisation

static void test_norm(void **state)
{
    fixture *f = *state;
    const uint32_t m = 3, n = 2560, ld = 2600;
    view x = fixture_random_floats(f, (size_t)m * ld), g = fixture_random_floats(f, n),
         y = fixture_room(f, (size_t)m * n * 4);
    op o = {.kind = OP_NORM,
            .m = m,
            .place = PLACE,
            .norm = {.x = x, .g = g, .y = y, .n = n, .ld_x = ld, .ld_y = n, .eps = 1e-5f}};
    assert_int_equal(fixture_run(f, o), NO_FLAG);
    for (uint32_t r = 0; r < m; r++) {
        const float *row = fixture_floats(x) + r * ld;
        double ss = 0;
        for (uint32_t i = 0; i < n; i++) ss += (double)row[i] * row[i];
        double factor = 1 / sqrt(ss / n + (double)1e-5f);
        for (uint32_t i = 0; i < n; i++) {
            double expected = row[i] * factor * fixture_floats(g)[i];
            // ss: 10 steps a lane and 8 of the tree, half of it after the root; 5 more roundings: under 16 * 2^-24.
            expect_near(fixture_floats(y)[r * n + i], expected, fabs(expected) * 16 * 0x1p-24, "norm");
        }
    }
    // In place, a hand case: ss/n = 7.5.
    x = PUT_FLOATS(f, 1, 2, 3, 4);
    o = (op){.kind = OP_NORM,
             .m = 1,
             .norm = {.x = x, .g = PUT_FLOATS(f, 1, 1, 2, -1), .y = x, .n = 4, .ld_x = 4, .ld_y = 4, .eps = 0x1p-100f}};
    fixture_run(f, o);
    float factor = 1.0f / sqrtf(7.5f);
    const float expected[4] = {factor, 2 * factor, 3 * factor * 2, -4 * factor};
    assert_true(memcmp(fixture_floats(x), expected, sizeof expected) == 0);
}

static void test_head_norm(void **state)
{
    fixture *f = *state;
    view x = PUT_FLOATS(f, 3, 4, 0, 2, 9, 9, 1, 1, 6, 8, 9, 9), g = PUT_FLOATS(f, 1, 2);
    op o = {.kind = OP_HEAD_NORM,
            .m = 2,
            .head_norm = {.x = x, .g = g, .n_heads = 2, .head_dim = 2, .ld_x = 6, .eps = 1e-12f}};
    assert_int_equal(fixture_run(f, o), NO_FLAG);
    const double expected[12] = {
        3 / sqrt(12.5), 8 / sqrt(12.5), 0, 4 / sqrt(2), 9, 9, 1, 2, 6 / sqrt(50), 16 / sqrt(50), 9, 9};
    for (int i = 0; i < 12; i++) expect_near(fixture_floats(x)[i], expected[i], 1e-6, "head_norm");
}

static void test_quant(void **state)
{
    fixture *f = *state;
    view x = PUT_FLOATS(f, 127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -127, 3.49f, /**/ 0, 0, 0, 0, 0, 0, 0, 0,
                        /**/ 1e-6f, -5e-6f, 0, 0, 0, 0, 0, 0);
    quantized q = fixture_quantized(f, 3, 8, false);
    op o = {.kind = OP_QUANT, .m = 3, .quant = {.x = x, .y = q, .n = 8, .ld_x = 8}};
    assert_int_equal(fixture_run(f, o), NO_FLAG);
    const int8_t expected[3][8] = {{127, 0, 2, 2, 0, -2, -127, 3}, {0}, {13, -64}}; // 12.7, -63.5 rounds to even
    for (int r = 0; r < 3; r++)
        for (uint32_t i = 0; i < q.ld; i++)
            assert_int_equal(fixture_codes(q.codes)[q.ld * (uint32_t)r + i], i < 8 ? expected[r][i] : 0);
    assert_true(fixture_floats(q.scale)[0] == 1.0f);
    assert_true(fixture_floats(q.scale)[1] == 1e-5f / 127.0f && fixture_floats(q.scale)[2] == 1e-5f / 127.0f);
    assert_int_equal(fixture_ints(q.sum)[0], 5);
    assert_int_equal(fixture_ints(q.sum)[1], 0);
    assert_int_equal(fixture_ints(q.sum)[2], -51);
}

static void test_quant2(void **state)
{
    fixture *f = *state;
    const uint32_t m = 4, n = 100;
    view x = fixture_random_floats(f, m * n);
    float *values = (float *)cpu_at(x);
    for (uint32_t i = 0; i < n; i++) values[3 * n + i] *= 1e-7f; // below the floor
    quantized q = fixture_quantized(f, m, n, true);
    op o = {.kind = OP_QUANT2, .m = m, .quant = {.x = x, .y = q, .n = n, .ld_x = n}};
    assert_int_equal(fixture_run(f, o), NO_FLAG);
    for (uint32_t r = 0; r < m; r++) {
        const int8_t *hi = fixture_codes(q.codes) + r * q.ld, *lo = fixture_codes(q.lo_codes) + r * q.ld;
        double a = fixture_floats(q.scale)[r], b = fixture_floats(q.lo_scale)[r];
        int32_t hi_sum = 0, lo_sum = 0;
        expect_near(b, a / 254, a * 1e-9, "lo scale");
        for (uint32_t i = 0; i < q.ld; i++) {
            hi_sum += hi[i];
            lo_sum += lo[i];
            if (i >= n) assert_true(hi[i] == 0 && lo[i] == 0);
            // Half a step of b, and the roundings of x * (127 / m) and of the rest: 2^-22 of |x| <= 127 a.
            if (i < n) expect_near(hi[i] * a + lo[i] * b, values[r * n + i], b * 0.5 + a * 127 * 0x1p-22, "quant2");
        }
        assert_true(fixture_ints(q.sum)[r] == hi_sum && fixture_ints(q.lo_sum)[r] == lo_sum);
    }
}

static void test_norm_quant(void **state)
{
    fixture *f = *state;
    const uint32_t m = 3, n = 700;
    view x = fixture_random_floats(f, m * n), g = fixture_random_floats(f, n);
    float *values = (float *)cpu_at(x);
    for (uint32_t i = 0; i < n; i++) values[n + i] *= 1e-9f; // norm does not lift it above eps: small branch
    quantized q = fixture_quantized(f, m, n, false);
    const float eps = 1e-5f;
    op o = {.kind = OP_NORM_QUANT, .m = m, .norm_quant = {.x = x, .g = g, .y = q, .n = n, .ld_x = n, .eps = eps}};
    assert_int_equal(fixture_run(f, o), NO_FLAG);
    for (uint32_t r = 0; r < m; r++) {
        double ss = 0, absmax = 0;
        for (uint32_t i = 0; i < n; i++) {
            ss += (double)values[r * n + i] * values[r * n + i];
            absmax = fmax(absmax, fabs((double)values[r * n + i] * fixture_floats(g)[i]));
        }
        double factor = 1 / sqrt(ss / n + (double)eps), scale = fmax(absmax * factor, 1e-5) / 127;
        assert_true((absmax * factor < 1e-5) == (r == 1)); // both branches are met
        expect_near(fixture_floats(q.scale)[r], scale, scale * 1e-6, "norm_quant scale");
        int32_t sum = 0;
        for (uint32_t i = 0; i < q.ld; i++) {
            int code = fixture_codes(q.codes)[r * q.ld + i];
            sum += code;
            double exact = i < n ? values[r * n + i] * factor * fixture_floats(g)[i] / scale : 0;
            expect_near(code, exact, 0.5001, "norm_quant code"); // the nearest integer, but for ties within 1e-4
        }
        assert_int_equal(fixture_ints(q.sum)[r], sum);
    }
}

// ---- products

static double trit_of(const uint8_t *rows, uint32_t n_cols, uint32_t r, uint32_t c)
{
    return ternary_code(rows + r * ternary_row_bytes(n_cols), c) - 1;
}

// groups() written out differently: bounds found by search.
static float expected_groups(const float *v, const float *d, uint32_t n)
{
    float part[8] = {0};
    for (uint32_t g = 0; g < n; g++) {
        uint32_t p = 0;
        while (!(p * n / 8 <= g && g < (p + 1) * n / 8)) p++;
        part[p] = fmaf(v[g], d[g], part[p]);
    }
    float a = part[0] + part[1], b = part[2] + part[3], c = part[4] + part[5], d2 = part[6] + part[7];
    a += b;
    c += d2;
    return a + c;
}

static void check_ternary_mm(fixture *f, ternary_layout layout, uint32_t n_rows, uint32_t n_cols, uint32_t n_sets,
                             uint32_t group, bool is_two_term)
{
    const uint32_t m = 3;
    ternary_scale scale;
    bool has_ranges = n_sets != 1 && n_sets != n_rows;
    assert_int_equal(ternary_scale_create(n_sets, has_ranges, group, n_cols, &scale, NULL), TERN_OK);
    uint32_t n_groups = scale.n_groups;
    float *values = malloc(sizeof(float) * n_sets * n_groups), *v = malloc(sizeof(float) * n_groups);
    for (uint32_t i = 0; i < n_sets * n_groups; i++) values[i] = scale.values[i] = 0.01f + rng_unit(3, f->counter++);
    for (uint32_t i = 1; has_ranges && i < n_sets; i++) scale.set_begin[i] = 3 * i;
    uint8_t *rows = fixture_random_ternary(f, n_rows, n_cols);
    const weights_desc desc = {.n_rows = n_rows, .n_cols = n_cols, .is_ternary = true, .layout = layout};
    weights *w = fixture_weights(f, desc, &scale, rows);

    view x = fixture_random_floats(f, m * n_cols), y = fixture_room(f, sizeof(float) * m * n_rows);
    quantized q = fixture_quantized(f, m, n_cols, is_two_term);
    fixture_run(f, (op){.kind = is_two_term ? OP_QUANT2 : OP_QUANT,
                        .m = m,
                        .quant = {.x = x, .y = q, .n = n_cols, .ld_x = n_cols}});
    fixture_run(f, (op){.kind = OP_TERNARY_MM, .m = m, .ternary_mm = {.w = w, .x = q, .y = y, .ld_y = n_rows}});

    uint32_t step = group == 0 ? n_cols : group;
    for (uint32_t i = 0; i < m * n_rows; i++) {
        uint32_t row = i % n_rows, r = i / n_rows;
        uint32_t set = n_sets == 1 ? 0 : !has_ranges ? row : row / 3 < n_sets ? row / 3 : n_sets - 1;
        float a = fixture_floats(q.scale)[r], b = is_two_term ? fixture_floats(q.lo_scale)[r] : 0;
        const float *d = values + set * n_groups;
        double hi = 0, lo = 0;
        for (uint32_t g = 0; g < n_groups; g++) {
            hi = lo = 0; // exact integers in double
            for (uint32_t c = g * step; c < n_cols && c < (g + 1) * step; c++) {
                hi += trit_of(rows, n_cols, row, c) * fixture_codes(q.codes)[r * q.ld + c];
                if (is_two_term) lo += trit_of(rows, n_cols, row, c) * fixture_codes(q.lo_codes)[r * q.ld + c];
            }
            v[g] = is_two_term ? fmaf((float)hi, a, (float)lo * b) : (float)hi * a;
        }
        float expected = n_groups > 1  ? expected_groups(v, d, n_groups)
                         : is_two_term ? fmaf((float)hi, a * d[0], (float)lo * (b * d[0]))
                                       : (float)hi * (a * d[0]);
        assert_true(scalar_as_u32(fixture_floats(y)[i]) == scalar_as_u32(expected));
    }
    free(rows);
    free(values);
    free(v);
}

static void test_ternary_mm(void **state)
{
    fixture *f = *state;
    const uint32_t n_rows = 19, columns[] = {5, 64, 200, 1000};
    for (size_t i = 0; i < 4; i++)
        for (int two = 0; two < 2; two++) {
            for (ternary_layout l = TERNARY_T64; l < TERNARY_N_LAYOUTS; l++) {
                check_ternary_mm(f, l, n_rows, columns[i], 1, 0, two);      // tensor
                check_ternary_mm(f, l, n_rows, columns[i], n_rows, 0, two); // per row
                check_ternary_mm(f, l, n_rows, columns[i], 4, 0, two);      // row ranges
            }
            check_ternary_mm(f, TERNARY_T64, n_rows, columns[i], n_rows, 64, two);
            check_ternary_mm(f, TERNARY_T64, n_rows, columns[i], 1, 37, two); // groups across granules
        }
    // By hand: (1, 0, -1, 1) . (127, 64, -127, 0) = 254; a = 1 / 127, w = 0.5.
    const uint8_t row[16] = {2 | 1 << 2 | 0 << 4 | 2 << 6,
                             0x55,
                             0x55,
                             0x55,
                             0x55,
                             0x55,
                             0x55,
                             0x55,
                             0x55,
                             0x55,
                             0x55,
                             0x55,
                             0x55,
                             0x55,
                             0x55,
                             0x55};
    ternary_scale scale;
    ternary_scale_tensor(0.5f, 4, &scale, NULL);
    weights *w = fixture_weights(f, (weights_desc){.n_rows = 1, .n_cols = 4, .is_ternary = true}, &scale, row);
    quantized q = fixture_quantized(f, 1, 4, false);
    view y = fixture_room(f, 4);
    fixture_run(
        f, (op){.kind = OP_QUANT, .m = 1, .quant = {.x = PUT_FLOATS(f, 1, 0.504f, -1, 0), .y = q, .n = 4, .ld_x = 4}});
    fixture_run(f, (op){.kind = OP_TERNARY_MM, .m = 1, .ternary_mm = {.w = w, .x = q, .y = y, .ld_y = 1}});
    assert_true(fixture_floats(y)[0] == 254.0f * (1.0f / 127.0f * 0.5f));
}

// A gated product is the product with gate above up, then the gate: the same weights in another order of rows.
static void check_gated(fixture *f, ternary_layout layout, bool is_two_term, bool is_silu)
{
    enum { N = 24, K = 150, MANY = 3 };
    ternary_scale scales[2];
    const size_t row_bytes = ternary_row_bytes(K);
    uint8_t *rows = fixture_random_ternary(f, 2 * N, K), *by_turns = malloc(2 * N * row_bytes);
    for (int i = 0; i < 2; i++) assert_int_equal(ternary_scale_create(2 * N, false, 0, K, &scales[i], NULL), TERN_OK);
    for (uint32_t r = 0; r < 2 * N; r++) {
        uint32_t to = gated_row(r % N, r / N);
        memcpy(by_turns + to * row_bytes, rows + r * row_bytes, row_bytes);
        scales[0].values[r] = scales[1].values[to] = (r < N ? 0.04f : 0.09f) + 0.001f * (float)r;
    }
    const weights_desc desc = {.n_rows = 2 * N, .n_cols = K, .is_ternary = true, .layout = layout};
    weights *stacked = fixture_weights(f, desc, &scales[0], rows),
            *gated = fixture_weights(f, desc, &scales[1], by_turns);
    view x = fixture_random_floats(f, MANY * K), products = fixture_room(f, MANY * 2 * N * sizeof(float));
    view expected = fixture_room(f, MANY * N * sizeof(float)), y = fixture_room(f, MANY * (N + 1) * sizeof(float));
    quantized q = fixture_quantized(f, MANY, K, is_two_term);
    fixture_run(
        f, (op){.kind = is_two_term ? OP_QUANT2 : OP_QUANT, .m = MANY, .quant = {.x = x, .y = q, .n = K, .ld_x = K}});
    fixture_run(f, (op){.kind = OP_TERNARY_MM, .m = MANY, .ternary_mm = {stacked, q, products, 2 * N, EPILOGUE_STORE}});
    fixture_run(f, (op){.kind = OP_GATE, .m = MANY, .gate = {products, expected, N, 2 * N, N, is_silu}});
    mm_epilogue epilogue = is_silu ? EPILOGUE_SILU : EPILOGUE_RELU2;
    fixture_run(f, (op){.kind = OP_TERNARY_MM, .m = MANY, .ternary_mm = {gated, q, y, N + 1, epilogue}});
    for (uint32_t m = 0; m < MANY; m++) {
        assert_memory_equal(fixture_floats(y) + m * (N + 1), fixture_floats(expected) + m * N, N * sizeof(float));
        assert_true(isnan(fixture_floats(y)[m * (N + 1) + N])); // between rows: untouched
    }
    free(by_turns);
    free(rows);
}

static void test_gated_ternary_mm(void **state)
{
    for (int form = 0; form < 8; form++) check_gated(*state, form % 2 ? TERNARY_T80 : TERNARY_T64, form & 2, form & 4);
}

static void test_dense_mm_rescore_and_embed(void **state)
{
    fixture *f = *state;
    const uint32_t n_rows = 5, n_cols = 512, m = 2;
    for (int type = 0; type <= DENSE_N_FILE_TYPES; type++) { // the last round: ternary weights
        bool is_ternary = type == DENSE_N_FILE_TYPES;
        float decoded[5 * 512];
        weights *w;
        if (is_ternary) {
            ternary_scale scale;
            ternary_scale_create(n_rows, false, 128, n_cols, &scale, NULL);
            for (uint32_t i = 0; i < n_rows * 4; i++) scale.values[i] = 0.1f + rng_unit(4, i);
            uint8_t *rows = fixture_random_ternary(f, n_rows, n_cols);
            for (uint32_t i = 0; i < n_rows * n_cols; i++)
                decoded[i] = scale.values[i / 128] * (float)trit_of(rows, n_cols, i / n_cols, i % n_cols);
            w = fixture_weights(f, (weights_desc){.n_rows = n_rows, .n_cols = n_cols, .is_ternary = true}, &scale,
                                rows);
            free(rows);
        } else {
            size_t row_bytes = dense_row_bytes((dense_type)type, n_cols);
            uint8_t *rows = malloc(n_rows * row_bytes);
            for (size_t i = 0; i < n_rows * row_bytes; i++)
                rows[i] = (uint8_t)(rng_u64(5, f->counter++) & 0xbd); // finite halves
            for (uint32_t i = 0; type == DENSE_F32 && i < n_rows * n_cols; i++) {
                float value = fixture_random(f);
                memcpy(rows + 4 * i, &value, 4);
            }
            for (uint32_t r = 0; r < n_rows; r++)
                dense_row_to_float((dense_type)type, rows + r * row_bytes, n_cols, decoded + r * n_cols);
            w = fixture_weights(f, (weights_desc){.n_rows = n_rows, .n_cols = n_cols, .type = (dense_type)type}, NULL,
                                rows);
            free(rows);
        }
        view x = fixture_random_floats(f, m * n_cols), y = fixture_room(f, m * n_rows * 4);
        op o = {.kind = OP_DENSE_MM,
                .m = m,
                .dense_mm = {.w = w, .x = x, .y = y, .ld_x = n_cols, .ld_y = n_rows, .check_finite = true}};
        assert_int_equal(fixture_run(f, o), NO_FLAG);
        for (uint32_t i = 0; i < m * n_rows; i++) {
            double sum = 0, magnitude = 0;
            for (uint32_t c = 0; c < n_cols; c++) {
                double product = (double)decoded[i % n_rows * n_cols + c] * fixture_floats(x)[i / n_rows * n_cols + c];
                sum += product;
                magnitude += fabs(product);
            }
            // 8 steps of a lane and 6 of the tree, each within half an ulp of a partial sum.
            expect_near(fixture_floats(y)[i], sum, magnitude * 14 * 0x1p-24, "dense_mm");
        }
        // The rows that are named have the product's bits, row 2 is left as it was.
        view again = fixture_room(f, m * n_rows * 4);
        for (uint32_t i = 0; i < m * n_rows; i++) ((float *)cpu_at(again))[i] = 7.0f;
        o = (op){.kind = OP_RESCORE,
                 .m = m,
                 .rescore = {.w = w, .x = x, .y = again, .ld_x = n_cols, .ld_y = n_rows, .k = 5}};
        o.rescore.ids = PUT_INTS(f, 4, 0, 4, 3, 1, 1, 3, 0, 4, 4);
        assert_int_equal(fixture_run(f, o), NO_FLAG);
        for (uint32_t i = 0; i < m * n_rows; i++) {
            float expected = i % n_rows == 2 ? 7.0f : fixture_floats(y)[i];
            assert_memory_equal(&fixture_floats(again)[i], &expected, sizeof expected);
        }
        view rows_out = fixture_room(f, 3 * 600 * 4);
        fixture_run(f, (op){.kind = OP_EMBED,
                            .m = 3,
                            .embed = {.table = w, .ids = PUT_INTS(f, 4, 0, 4), .y = rows_out, .ld_y = 600}});
        const uint32_t ids[3] = {4, 0, 4};
        for (uint32_t r = 0; r < 3; r++) {
            assert_true(memcmp(fixture_floats(rows_out) + 600 * r, decoded + ids[r] * n_cols, n_cols * 4) == 0);
            if (r < 2) assert_true(isnan(fixture_floats(rows_out)[600 * r + n_cols])); // between rows: untouched
        }
    }
}

// ---- rows

static void test_gate_residual_gather(void **state)
{
    fixture *f = *state;
    view x = PUT_FLOATS(f, -2, 3, 5, 7, 1, 0, 2, 4), y = fixture_room(f, 16);
    op o = {.kind = OP_GATE, .m = 2, .gate = {.x = x, .y = y, .n = 2, .ld_x = 4, .ld_y = 2}};
    fixture_run(f, o);
    const float relu2[4] = {0, 63, 2, 0};
    assert_true(memcmp(fixture_floats(y), relu2, sizeof relu2) == 0);
    o.gate.is_silu = true;
    fixture_run(f, o);
    const double silu[4] = {-2 / (1 + exp(2)) * 5, 3 / (1 + exp(-3)) * 7, 1 / (1 + exp(-1)) * 2, 0};
    for (int i = 0; i < 4; i++) expect_near(fixture_floats(y)[i], silu[i], fabs(silu[i]) * 4 * 0x1p-23, "silu");

    view h = PUT_FLOATS(f, 1, 2, 3, 4);
    fixture_run(f, (op){.kind = OP_RESIDUAL,
                        .m = 2,
                        .residual = {.h = h, .y = PUT_FLOATS(f, 10, 0, 20, 0), .n = 1, .ld_h = 2, .ld_y = 2}});
    const float sums[4] = {11, 2, 23, 4};
    assert_true(memcmp(fixture_floats(h), sums, sizeof sums) == 0);

    view out = fixture_room(f, 12);
    fixture_run(f, (op){.kind = OP_GATHER,
                        .m = 3,
                        .gather = {.x = PUT_FLOATS(f, 1, 9, 2, 9, 3),
                                   .index = PUT_INTS(f, 2, 0, 2),
                                   .y = out,
                                   .n = 1,
                                   .ld_x = 2,
                                   .ld_y = 1}});
    const float gathered[3] = {3, 1, 3};
    assert_true(memcmp(fixture_floats(out), gathered, sizeof gathered) == 0);
}

static void expect_top(fixture *f, view x, uint32_t n, uint32_t k, const int32_t *ids)
{
    view out = fixture_room(f, k * 4), values = fixture_room(f, k * 4);
    fixture_run(
        f, (op){.kind = OP_TOP_K, .m = 1, .top_k = {.x = x, .ids = out, .values = values, .n = n, .ld_x = n, .k = k}});
    for (uint32_t i = 0; i < k; i++) {
        assert_int_equal(fixture_ints(out)[i], ids[i]);
        float expected = fixture_floats(x)[ids[i]] + 0.0f;
        assert_true(memcmp(&fixture_floats(values)[i], &expected, 4) == 0);
    }
}

static void test_advance(void **state)
{
    fixture *f = *state;
    view position = PUT_INTS(f, 6, 3, 4), ids = PUT_INTS(f, -1, -1, -1), log = fixture_room(f, 3 * 4 * 2 * 4);
    op o = {.kind = OP_ADVANCE,
            .m = 3,
            .place = 5,
            .flag = PUT_INTS(f, 77),
            .advance = {.chosen = PUT_INTS(f, 8, 0, 9, 0, -3),
                        .ids = ids,
                        .position = position,
                        .log = log,
                        .ld_chosen = 2,
                        .n_ids = 9,
                        .n_log = 4}};
    assert_int_equal(cpu_backend.enqueue(f->stream, &o, NULL), TERN_OK); // with a flag that was raised before
    const int32_t expected_ids[3] = {8, 0, 0}, expected_position[3] = {7, 4, 5};
    assert_memory_equal(fixture_ints(ids), expected_ids, sizeof expected_ids);
    assert_memory_equal(fixture_ints(position), expected_position, sizeof expected_position);
    const int32_t expected_log[24] = {-1, -1, -1, -1, 8, 77, -1, -1, -1, -1, -1, -1,
                                      -1, -1, 0,  77, 0, 77, -1, -1, -1, -1, -1, -1};
    assert_memory_equal(fixture_ints(log), expected_log, sizeof expected_log);
}

static void test_top_k(void **state)
{
    fixture *f = *state;
    expect_top(f, PUT_FLOATS(f, -0.0f, 0.0f, -1, -0.0f), 4, 4, (const int32_t[]){0, 1, 3, 2}); // zeros are equal
    expect_top(f, PUT_FLOATS(f, 5, 7, 7, 5, INFINITY), 5, 3, (const int32_t[]){4, 1, 2});
    expect_top(f, PUT_FLOATS(f, NAN, -INFINITY, 1, NAN), 4, 4, (const int32_t[]){2, 1, 0, 3});
    expect_top(f, PUT_FLOATS(f, 3), 1, 1, (const int32_t[]){0});
    // Many duplicates, all k: selection by repeated search.
    const uint32_t n = 2000;
    view x = fixture_room(f, n * 4);
    float *values = (float *)cpu_at(x);
    bool taken[2000] = {0};
    for (uint32_t i = 0; i < n; i++) values[i] = (float)(rng_u64(6, i) % 50) - 25.0f;
    int32_t ids[TOP_K_MAX];
    for (uint32_t k = 0; k < TOP_K_MAX; k++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < n; i++)
            if (!taken[i] && (best == UINT32_MAX || values[i] > values[best])) best = i;
        taken[best] = true;
        ids[k] = (int32_t)best;
    }
    expect_top(f, x, n, TOP_K_MAX, ids);
    expect_top(f, x, n, 1, ids);
}

// ---- flags

static void test_flags(void **state)
{
    fixture *f = *state;
    view g = PUT_FLOATS(f, 1, 1, 1, 1), y = fixture_room(f, 16);
    const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f}; // the last: its square overflows
    for (int i = 0; i < 4; i++) {
        view x = PUT_FLOATS(f, 1, 2, bad[i], 4);
        quantized q = fixture_quantized(f, 1, 4, true), one = q;
        one.lo_codes = one.lo_scale = one.lo_sum = (view){0};
        op o = {.kind = OP_NORM,
                .m = 1,
                .place = PLACE,
                .norm = {.x = x, .g = g, .y = y, .n = 4, .ld_x = 4, .ld_y = 4, .eps = 1e-5f}};
        assert_int_equal(fixture_run(f, o), PLACE);
        o = (op){.kind = OP_NORM_QUANT,
                 .m = 1,
                 .place = PLACE,
                 .norm_quant = {.x = x, .g = g, .y = one, .n = 4, .ld_x = 4, .eps = 1e-5f}};
        assert_int_equal(fixture_run(f, o), PLACE);
        o = (op){.kind = OP_QUANT, .m = 1, .place = PLACE, .quant = {.x = x, .y = one, .n = 4, .ld_x = 4}};
        assert_int_equal(fixture_run(f, o), i == 3 ? NO_FLAG : PLACE);
        o = (op){.kind = OP_QUANT2, .m = 1, .place = PLACE, .quant = {.x = x, .y = q, .n = 4, .ld_x = 4}};
        assert_int_equal(fixture_run(f, o), i == 3 ? NO_FLAG : PLACE);
        o = (op){.kind = OP_HEAD_NORM,
                 .m = 1,
                 .place = PLACE,
                 .head_norm = {.x = x, .g = g, .n_heads = 2, .head_dim = 2, .ld_x = 4, .eps = 1e-5f}};
        assert_int_equal(fixture_run(f, o), PLACE);
    }
    const float row[4] = {1, 1, 1, 1};
    weights *w = fixture_weights(f, (weights_desc){.n_rows = 1, .n_cols = 4, .type = DENSE_F32}, NULL,
                                 (const uint8_t *)row);
    op o = {.kind = OP_DENSE_MM,
            .m = 1,
            .place = PLACE,
            .dense_mm = {.w = w, .x = PUT_FLOATS(f, 3e38f, 3e38f, 0, 0), .y = y, .ld_x = 4, .ld_y = 1}};
    o.dense_mm.x = PUT_FLOATS(f, INFINITY, 0, 0, 0);
    assert_int_equal(fixture_run(f, o), NO_FLAG);
    o.dense_mm.check_finite = true;
    assert_int_equal(fixture_run(f, o), PLACE);
    // The lowest place stays.
    o.flag = f->flag;
    cpu_backend.buffer_write(f->stream, f->flag, &(uint32_t){PLACE - 1}, 4, NULL);
    assert_int_equal(cpu_backend.enqueue(f->stream, &o, NULL), TERN_OK);
    assert_int_equal(fixture_ints(f->flag)[0], PLACE - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reduction_order),
        cmocka_unit_test_setup_teardown(test_norm, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_head_norm, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_quant, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_quant2, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_norm_quant, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_ternary_mm, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_gated_ternary_mm, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_dense_mm_rescore_and_embed, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_gate_residual_gather, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_advance, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_top_k, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_flags, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
