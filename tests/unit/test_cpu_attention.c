// Reference rope_kv and attention: rotation and storage by hand, attention against softmax in double for every
// combination of KV types, the order of folding by values for which another order gives another number.
#include <math.h>

#include "cpu_fixture.h"
#include "half.h"

#define PLACE      0x201u
#define NO_FLAG    UINT32_MAX
#define HEADS      4u
#define KV_HEADS   2u
#define HEAD_DIM   16u
#define WIDTH      ((HEADS + 2 * KV_HEADS) * HEAD_DIM)
#define MAX_BLOCKS 16

static kv_cache make_cache(fixture *f, uint32_t n_blocks, uint32_t n_kv_heads, uint32_t head_dim, int k_type,
                           int v_type)
{
    size_t bytes = n_blocks * (size_t)kv_block_bytes(k_type, v_type, (int)n_kv_heads, (int)head_dim);
    return (kv_cache){fixture_room(f, bytes), n_blocks, n_kv_heads, head_dim, k_type, v_type};
}

// A stored K or V value as the layout of kv.h places it, in double.
static double stored(const kv_cache *c, int32_t block, uint32_t head, bool is_v, uint32_t slot, uint32_t d)
{
    int hd = (int)c->head_dim, type = is_v ? c->v_type : c->k_type;
    const uint8_t *part = (const uint8_t *)cpu_at(c->blocks) +
                          (size_t)block * (size_t)kv_block_bytes(c->k_type, c->v_type, (int)c->n_kv_heads, hd) +
                          head * (size_t)kv_head_bytes(c->k_type, c->v_type, hd) +
                          (is_v ? (size_t)kv_part_bytes(c->k_type, hd) : 0);
    if (type == KV_INT4) {
        int byte = part[slot * (c->head_dim / 2) + d / 2], code = (d % 2 == 0 ? byte & 15 : byte >> 4) - 8;
        const uint16_t *halves = (const uint16_t *)(const void *)(part + 32 * c->head_dim);
        return code * (double)half_to_float(halves[d / 32 * 64 + slot]);
    }
    size_t slot_major = slot * c->head_dim + d, d_major = d * 64 + slot,
           index = is_v || type == KV_INT8 ? slot_major : d_major;
    if (type == KV_F32) return (double)((const float *)(const void *)part)[index];
    if (type == KV_F16) return (double)half_to_float(((const uint16_t *)(const void *)part)[index]);
    const float *scales = (const float *)(const void *)(part + 64 * c->head_dim);
    return (double)((const int8_t *)part)[index] * (double)scales[slot];
}

// ---- rope_kv

static void check_rotation(fixture *f, bool is_adjacent, uint32_t n_dims, const double *expected)
{
    // Position 1 of a table of two; pair angles of 90 and 180 degrees are exact.
    view rope = n_dims == 4 ? PUT_FLOATS(f, 9, 9, 9, 9, 0, 1, -1, 0) : PUT_FLOATS(f, 9, 9, 0, 1);
    view x = PUT_FLOATS(f, 1, 2, 3, 4, /*k*/ 5, 6, 7, 8, /*v*/ 0.5f, -1, 2, 0.25f);
    kv_cache cache = make_cache(f, 2, 1, 4, KV_F32, KV_F32);
    op o = {.kind = OP_ROPE_KV,
            .m = 1,
            .rope_kv = {.x = x,
                        .rope = rope,
                        .rows = {PUT_INTS(f, 1), PUT_INTS(f, 1), PUT_INTS(f, 7, 1), 1},
                        .cache = cache,
                        .n_heads = 1,
                        .n_dims = n_dims,
                        .ld_x = 12,
                        .adjacent = is_adjacent}};
    assert_int_equal(fixture_run(f, o), NO_FLAG);
    for (uint32_t i = 0; i < 8; i++) assert_true(fixture_floats(x)[i] == (float)expected[i]);
    for (uint32_t d = 0; d < 4; d++) {
        assert_true(stored(&cache, 1, 0, false, 1, d) == expected[4 + d]);
        assert_true(stored(&cache, 1, 0, true, 1, d) == (double)fixture_floats(x)[8 + d]);
    }
    size_t n = cache.blocks.buffer->n_bytes / 4, written = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(fixture_floats(cache.blocks)[i])) written++;
    assert_int_equal(written, 8); // nothing else was touched
}

static void test_rope(void **state)
{
    fixture *f = *state;
    // Halves: pairs (0, 2) by 90 and (1, 3) by 180 degrees: (x0, x1) -> (-x1, x0), (-x0, -x1).
    check_rotation(f, false, 4, (const double[]){-3, -2, 1, -4, -7, -6, 5, -8});
    check_rotation(f, true, 4, (const double[]){-2, 1, -3, -4, -6, 5, -7, -8});
    // Two dimensions rotate, the others pass.
    check_rotation(f, false, 2, (const double[]){-2, 1, 3, 4, -6, 5, 7, 8});
}

static void test_stored_forms(void **state)
{
    fixture *f = *state;
    const float values[8] = {1.0f, -127.0f, 0.3f, 63.5f, 0.1f, 5.0f, -2.54f, 0.0f};
    float row[24] = {0};
    memcpy(row + 8, values, sizeof values);
    memcpy(row + 16, values, sizeof values);
    view rope = PUT_FLOATS(f, 1, 0);
    for (int k_type = KV_F32; k_type <= KV_INT4; k_type++)
        for (int v_type = KV_F32; v_type <= KV_INT4; v_type++) {
            view x = fixture_put(f, row, sizeof row);
            kv_cache cache = make_cache(f, 1, 1, 8, k_type, v_type);
            op o = {.kind = OP_ROPE_KV,
                    .m = 1,
                    .place = PLACE,
                    .rope_kv = {.x = x,
                                .rope = rope,
                                .rows = {PUT_INTS(f, 0), PUT_INTS(f, 0), PUT_INTS(f, 0), 1},
                                .cache = cache,
                                .n_heads = 1,
                                .n_dims = 2,
                                .ld_x = 24}};
            assert_int_equal(fixture_run(f, o), NO_FLAG);
            for (uint32_t d = 0; d < 8; d++)
                for (int is_v = 0; is_v < 2; is_v++) {
                    int type = is_v ? v_type : k_type;
                    double step = (double)half_to_float(half_from_float(127.0f / 7.0f));
                    double expected = type == KV_F32    ? (double)values[d]
                                      : type == KV_F16  ? (double)half_to_float(half_from_float(values[d]))
                                      : type == KV_INT8 ? nearbyint((double)values[d]) // absmax 127: scale 1
                                                        : nearbyint((double)values[d] / step) * step;
                    assert_true(stored(&cache, 0, 0, is_v, 0, d) == expected);
                }
        }
}

static uint32_t store_one(fixture *f, int k_type, int v_type, float k, float v)
{
    view x = PUT_FLOATS(f, 1, 1, k, 1, v, 1);
    op o = {.kind = OP_ROPE_KV,
            .m = 1,
            .place = PLACE,
            .rope_kv = {.x = x,
                        .rope = PUT_FLOATS(f, 1, 0),
                        .rows = {PUT_INTS(f, 0), PUT_INTS(f, 0), PUT_INTS(f, 0), 1},
                        .cache = make_cache(f, 1, 1, 2, k_type, v_type),
                        .n_heads = 1,
                        .n_dims = 2,
                        .ld_x = 6}};
    return fixture_run(f, o);
}

static void test_kv_flags(void **state)
{
    fixture *f = *state;
    const float below = 65519.99f;
    assert_int_equal(store_one(f, KV_F16, KV_F16, below, -below), NO_FLAG);
    assert_int_equal(store_one(f, KV_F16, KV_F32, -65520.0f, 0), PLACE);
    assert_int_equal(store_one(f, KV_F32, KV_F16, 0, 65520.0f), PLACE);
    assert_int_equal(store_one(f, KV_F16, KV_F16, 0, NAN), PLACE);
    assert_int_equal(store_one(f, KV_F32, KV_F32, 1e30f, INFINITY), NO_FLAG);
    assert_int_equal(store_one(f, KV_INT8, KV_INT8, 1e30f, 1e30f), NO_FLAG);
    assert_int_equal(store_one(f, KV_INT8, KV_F32, INFINITY, 0), PLACE);
    assert_int_equal(store_one(f, KV_F32, KV_INT8, 0, NAN), PLACE);
    assert_int_equal(store_one(f, KV_INT4, KV_INT4, 458639.9f, -458639.9f), NO_FLAG);
    assert_int_equal(store_one(f, KV_INT4, KV_F32, -458640.0f, 0), PLACE);
    assert_int_equal(store_one(f, KV_F32, KV_INT4, 0, NAN), PLACE);
}

// ---- attention

typedef struct sequence {
    kv_cache cache;
    kv_rows rows; // one row, to be moved along
    int32_t table[2 * MAX_BLOCKS];
} sequence;

// Fills a cache with n random positions through rope_kv, as table 1 of two, over blocks in shuffled order.
static sequence make_sequence(fixture *f, uint32_t n, int k_type, int v_type)
{
    sequence s = {.cache = make_cache(f, MAX_BLOCKS, KV_HEADS, HEAD_DIM, k_type, v_type)};
    for (int i = 0; i < MAX_BLOCKS; i++) s.table[MAX_BLOCKS + i] = (5 * i + 3) % MAX_BLOCKS;
    s.rows = (kv_rows){.tables = fixture_put(f, s.table, sizeof s.table), .table_ld = MAX_BLOCKS};
    s.rows.row_table = fixture_room(f, n * 4);
    s.rows.row_position = fixture_room(f, n * 4);
    view x = fixture_random_floats(f, n * WIDTH), rope = fixture_room(f, n * HEAD_DIM * 4);
    for (uint32_t i = 0; i < n; i++) {
        ((int32_t *)cpu_at(s.rows.row_table))[i] = 1;
        ((int32_t *)cpu_at(s.rows.row_position))[i] = (int32_t)i;
        for (uint32_t p = 0; p < HEAD_DIM / 2; p++) {
            ((float *)cpu_at(rope))[i * HEAD_DIM + 2 * p] = cosf((float)(i * (p + 1)));
            ((float *)cpu_at(rope))[i * HEAD_DIM + 2 * p + 1] = sinf((float)(i * (p + 1)));
        }
    }
    op o = {.kind = OP_ROPE_KV,
            .m = n,
            .place = PLACE,
            .rope_kv = {.x = x,
                        .rope = rope,
                        .rows = s.rows,
                        .cache = s.cache,
                        .n_heads = HEADS,
                        .n_dims = HEAD_DIM,
                        .ld_x = WIDTH}};
    assert_int_equal(fixture_run(f, o), NO_FLAG);
    return s;
}

static void check_attention(fixture *f, int k_type, int v_type)
{
    const int32_t positions[] = {0, 1, 62, 63, 64, 127, 255, 256, 300, 511, 512, 899};
    const uint32_t m = sizeof positions / sizeof positions[0];
    sequence s = make_sequence(f, 900, k_type, v_type);
    s.rows.row_position = fixture_put(f, positions, sizeof positions);
    view q = fixture_random_floats(f, m * HEADS * HEAD_DIM), y = fixture_room(f, m * HEADS * HEAD_DIM * 4);
    op o = {.kind = OP_ATTENTION,
            .m = m,
            .place = PLACE,
            .attention = {.q = q,
                          .y = y,
                          .rows = s.rows,
                          .cache = s.cache,
                          .n_heads = HEADS,
                          .ld_q = HEADS * HEAD_DIM,
                          .ld_y = HEADS * HEAD_DIM}};
    assert_int_equal(fixture_run(f, o), NO_FLAG);

    // K and V are compared as stored, so their quantisation does not count. fp32: scores are below 10 with errors of
    // some 16 * 2^-24 of that, exp within 1 ulp, sums of positive weights: relative 1e-5 of the largest |v| is
    // generous. int8 and int4 K: q in steps of absmax / (127 * 254) changes a score by at most head_dim * 3 * 4 / (2 *
    // 127 * 254) / 4 = 7.4e-4, so a weight by that much of itself. int8 and int4 V: a weight by half a step of the
    // block's largest: 64 / (2 * 127 * 254) = 1e-3.
    double tolerance = 1e-5 + (kv_is_integer(k_type) ? 1.5e-3 : 0) + (kv_is_integer(v_type) ? 1e-3 : 0);
    for (uint32_t r = 0; r < m; r++)
        for (uint32_t h = 0; h < HEADS; h++) {
            double p[900], l = 0, max = -INFINITY, v_max = 0;
            uint32_t kv_head = h / 2, n = (uint32_t)positions[r] + 1;
            for (uint32_t j = 0; j < n; j++) {
                p[j] = 0;
                for (uint32_t d = 0; d < HEAD_DIM; d++)
                    p[j] += (double)fixture_floats(q)[(r * HEADS + h) * HEAD_DIM + d] *
                            stored(&s.cache, s.table[MAX_BLOCKS + j / 64], kv_head, false, j % 64, d);
                p[j] /= sqrt(HEAD_DIM);
                max = fmax(max, p[j]);
            }
            for (uint32_t j = 0; j < n; j++) l += p[j] = exp(p[j] - max);
            for (uint32_t d = 0; d < HEAD_DIM; d++) {
                double sum = 0;
                for (uint32_t j = 0; j < n; j++) {
                    double v = stored(&s.cache, s.table[MAX_BLOCKS + j / 64], kv_head, true, j % 64, d);
                    sum += p[j] * v;
                    v_max = fmax(v_max, fabs(v));
                }
                double value = (double)fixture_floats(y)[(r * HEADS + h) * HEAD_DIM + d];
                if (!(fabs(value - sum / l) <= tolerance * v_max))
                    fail_msg("K %d V %d position %d head %u: %g, expected %g", k_type, v_type, positions[r], h, value,
                             sum / l);
            }
        }
}

static void test_attention(void **state)
{
    for (int k_type = KV_F32; k_type <= KV_INT4; k_type++)
        for (int v_type = KV_F32; v_type <= KV_INT4; v_type++) check_attention(*state, k_type, v_type);
}

// With q = 0 every weight is 1 and the output is the sum of V, divided by the count: the order of that sum shows.
static float sum_of_values(fixture *f, const float *v, uint32_t n)
{
    kv_cache cache = make_cache(f, MAX_BLOCKS, 1, 2, KV_F32, KV_F32);
    memset(cpu_at(cache.blocks), 0, cache.blocks.buffer->n_bytes);
    int32_t table[MAX_BLOCKS];
    for (int i = 0; i < MAX_BLOCKS; i++) table[i] = i;
    for (uint32_t j = 0; j < n; j++) {
        uint8_t *part = (uint8_t *)cpu_at(cache.blocks) + (size_t)(j / 64) * 2 * 64 * 2 * 4 + 64 * 2 * 4;
        ((float *)(void *)part)[j % 64 * 2] = v[j];
    }
    view y = fixture_room(f, 8);
    kv_rows rows = {PUT_INTS(f, 0), fixture_put(f, &(int32_t){(int32_t)n - 1}, 4), fixture_put(f, table, sizeof table),
                    MAX_BLOCKS};
    op o = {.kind = OP_ATTENTION,
            .m = 1,
            .attention = {
                .q = PUT_FLOATS(f, 0, 0), .y = y, .rows = rows, .cache = cache, .n_heads = 1, .ld_q = 2, .ld_y = 2}};
    assert_int_equal(fixture_run(f, o), NO_FLAG);
    return fixture_floats(y)[0];
}

static void test_attention_order(void **state)
{
    fixture *f = *state;
    float v[512] = {0};
    // One chain within a block: 1s after 2^24 are lost one by one, before it they count.
    v[10] = 0x1p24f;
    v[11] = v[12] = 1.0f;
    assert_true(sum_of_values(f, v, 64) == 0x1p24f / 64);
    v[11] = v[12] = 0.0f;
    v[8] = v[9] = 1.0f;
    assert_true(sum_of_values(f, v, 64) == (0x1p24f + 2.0f) / 64);
    // Blocks fold one by one within a group of four; the next group folds first, then meets the result.
    memset(v, 0, sizeof v);
    v[0] = 0x1p24f;
    v[64] = v[128] = v[192] = 1.0f;
    assert_true(sum_of_values(f, v, 256) == 0x1p24f / 256);
    v[256] = v[320] = v[384] = 1.0f; // 3: 2^24 + 3 is a tie that goes to 2^24 + 4
    assert_true(sum_of_values(f, v, 512) == (0x1p24f + 4.0f) / 512);
}

static void test_attention_flags(void **state)
{
    fixture *f = *state;
    sequence s = make_sequence(f, 3, KV_INT8, KV_F16);
    s.rows.row_position = PUT_INTS(f, 2);
    view q = fixture_random_floats(f, HEADS * HEAD_DIM), y = fixture_room(f, HEADS * HEAD_DIM * 4);
    op o = {.kind = OP_ATTENTION,
            .m = 1,
            .place = PLACE,
            .attention = {.q = q,
                          .y = y,
                          .rows = s.rows,
                          .cache = s.cache,
                          .n_heads = HEADS,
                          .ld_q = HEADS * HEAD_DIM,
                          .ld_y = HEADS * HEAD_DIM}};
    assert_int_equal(fixture_run(f, o), NO_FLAG);
    ((float *)cpu_at(q))[40] = NAN;
    assert_int_equal(fixture_run(f, o), PLACE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rope, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_stored_forms, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kv_flags, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_attention, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_attention_order, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_attention_flags, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
