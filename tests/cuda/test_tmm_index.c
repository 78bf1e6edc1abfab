// The index functions of ternary products: shares of work, offsets of tiles also beyond 2 GiB and 4 GiB, places of
// activations in shared memory.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ternary.h"
#include "tmm_index.h"

static void test_shares_cover_all_steps(void **state)
{
    (void)state;
    static const uint32_t units[] = {1, 2, 3, 7, 160, 1000, 4321}, shares[] = {1, 2, 5, 84, 264, 5000};
    static const uint32_t unit_sizes[] = {1, 3, 27};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        for (size_t j = 0; j < sizeof shares / sizeof shares[0]; j++)
            for (size_t k = 0; k < sizeof unit_sizes / sizeof unit_sizes[0]; k++) {
                uint32_t unit = unit_sizes[k];
                tmm_split s = tmm_split_make(units[i], unit, shares[j]);
                assert_int_equal(s.n_shares, shares[j] < units[i] ? shares[j] : units[i]);
                assert_int_equal(tmm_split_begin(&s, 0), 0);
                assert_int_equal(tmm_split_begin(&s, s.n_shares), units[i] * unit);
                for (uint32_t share = 0; share < s.n_shares; share++) {
                    uint32_t begin = tmm_split_begin(&s, share), end = tmm_split_begin(&s, share + 1);
                    assert_true(begin < end && end - begin <= unit * (s.share + 1));
                    assert_int_equal(begin % unit, 0);
                    for (uint32_t step = begin; step < end; step++) assert_int_equal(tmm_split_owner(&s, step), share);
                }
            }
}

// The number of items a share touches is never above, and somewhere equal to, what tmm_split_spans promises.
static void test_spans(void **state)
{
    (void)state;
    static const uint32_t n_tiles[] = {1, 2, 10, 27, 112};
    for (size_t i = 0; i < sizeof n_tiles / sizeof n_tiles[0]; i++)
        for (uint32_t n_items = 1; n_items < 200; n_items += 33)
            for (uint32_t n = 1; n < 300; n += 7)
                for (int whole = 0; whole < 2; whole++) {
                    uint32_t tiles = n_tiles[i], unit = whole ? tiles : 1;
                    tmm_split s = tmm_split_make(n_items * tiles / unit, unit, n);
                    uint32_t promised = tmm_split_spans(&s, tiles), most = 0;
                    for (uint32_t share = 0; share < s.n_shares; share++) {
                        uint32_t first = tmm_split_begin(&s, share), last = tmm_split_begin(&s, share + 1) - 1;
                        uint32_t spans = last / tiles - first / tiles + 1;
                        if (spans > most) most = spans;
                    }
                    assert_true(most <= promised);
                    assert_true(promised <= most + 1);
                }
}

// Against the layout's own offsets, for matrices up to the largest there are.
static void test_offsets(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_rows, n_cols;
    } shapes[] = {{57344, 8192}, {8192, 28672}, {300000, 28672}, {1048576, 28672 + 64}, {37, 200}, {16, 528416}};
    uint64_t largest = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        ternary_layout layout = i % 2 == 0 ? TERNARY_T64 : TERNARY_T80; // the offsets are those of granules
        uint32_t n_granules = ternary_granules(layout, shapes[i].n_cols);
        for (uint32_t row = 0; row < shapes[i].n_rows; row += row % 16 == 15 ? 1 + shapes[i].n_rows / 7 : 1)
            for (uint32_t granule = 0; granule < n_granules; granule++) {
                uint32_t tile = granule / TMM_TILE_GRANULES, n = tmm_tile_granules(n_granules, tile);
                size_t at = tmm_tile_offset(n_granules, row / TMM_TILE_ROWS, tile) +
                            tmm_granule_offset(n, row % 8, granule % TMM_TILE_GRANULES) +
                            row % 16 / 8 * 8 * TMM_GRANULE_BYTES * n;
                assert_true(at == ternary_granule_offset(n_granules, row, granule));
                if (at > largest) largest = at;
            }
    }
    assert_true(largest > UINT64_C(1) << 32);
}

// Every chunk has one place, and the eight lanes served at once (two columns x four granules) find eight bank groups:
// of T64 for any distance of columns, of T80 for that of whole columns and that in a stage, one tile.
static void test_chunk_places(void **state)
{
    (void)state;
    for (ternary_layout l = TERNARY_T64; l < TERNARY_N_LAYOUTS; l++) {
        const uint32_t n_chunks = tmm_tile_columns(l) / 16, of_granule = n_chunks / 4;
        assert_int_equal(tmm_tile_columns(l), 4 * ternary_granule(l));
        for (uint32_t column = 0; column < 8; column++) {
            uint32_t seen = 0;
            for (uint32_t chunk = 0; chunk < n_chunks; chunk++) seen |= 1u << tmm_chunk_place(l, column, chunk);
            assert_int_equal(seen, (1u << n_chunks) - 1);
        }
        for (uint32_t n_tiles = 1; n_tiles < 40; n_tiles++) {
            uint32_t stride = tmm_column_stride(l, n_tiles);
            assert_true(stride >= n_tiles * tmm_tile_columns(l) && stride % 16 == 0);
            for (uint32_t g = 0; g < 8; g += 2)
                for (uint32_t q = 0; q < of_granule; q++) {
                    uint32_t groups = 0;
                    for (uint32_t lane = 0; lane < 8; lane++) {
                        uint32_t column = g + lane / 4;
                        groups |= 1u << (column * stride / 16 +
                                         tmm_chunk_place(l, column, of_granule * (lane % 4) + q)) %
                                            8;
                    }
                    assert_int_equal(groups, 0xff);
                }
        }
        assert_int_equal(tmm_column_stride(l, 1), tmm_tile_columns(l)); // what a stage has
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares_cover_all_steps),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_chunk_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
