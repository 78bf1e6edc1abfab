// Which rows share a matrix on a device, and in what order: gate and up by turns where their product can gate.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "resident.h"

// A model of one layer whose matrices are all packed alike, int8 activations; n_ff rows of gate and of up.
static void make_model(model_source *model, layer_source *layer, uint32_t n_ff)
{
    memset(model, 0, sizeof *model);
    memset(layer, 0, sizeof *layer);
    matrix_source m = {.n_rows = 64, .n_cols = 64, .encoding = MATRIX_I2_S};
    layer->q = layer->k = layer->v = layer->o = layer->gate = layer->up = layer->down = m;
    layer->gate.n_rows = layer->up.n_rows = layer->down.n_cols = n_ff;
    model->layers = layer;
    model->hp.n_layers = 1;
    model->hp.quant = ACT_QUANT_INT8;
}

static linear_plan gate_up_of(const model_source *model, dense_type held)
{
    linear_plan plans[LAYER_N_LINEARS];
    layer_linear_plans(model, 0, held, TERNARY_T64, plans);
    for (int i = 0; i < LAYER_N_LINEARS; i++)
        if (i != LAYER_GATE_UP) assert_false(plans[i].is_by_turns);
    return plans[LAYER_GATE_UP];
}

static void gate_and_up_by_turns(void **state)
{
    (void)state;
    static const uint32_t widths[] = {8, 24, 6912}, odd[] = {1, 4, 28, 6908};
    model_source model;
    layer_source layer;
    for (size_t i = 0; i < 3; i++) {
        make_model(&model, &layer, widths[i]);
        assert_true(gate_up_of(&model, DENSE_N_TYPES).is_by_turns);
        model.hp.quant = ACT_QUANT_INT8X2;
        assert_true(gate_up_of(&model, DENSE_N_TYPES).is_by_turns);
    }
    for (size_t i = 0; i < 4; i++) { // rows that fill no tiles: stacked
        make_model(&model, &layer, odd[i]);
        linear_plan plan = gate_up_of(&model, DENSE_N_TYPES);
        assert_int_equal(plan.n_parts, 1);
        assert_false(plan.is_by_turns);
    }
}

static void what_no_ternary_product_makes_is_not(void **state)
{
    (void)state;
    model_source model;
    layer_source layer;
    make_model(&model, &layer, 64);
    assert_false(gate_up_of(&model, DENSE_F16).is_by_turns); // a float twin
    model.hp.quant = ACT_QUANT_F32;                          // ternary weights in a float product
    assert_false(gate_up_of(&model, DENSE_N_TYPES).is_by_turns);
    make_model(&model, &layer, 64);
    layer.gate.encoding = layer.up.encoding = MATRIX_DENSE;
    assert_false(gate_up_of(&model, DENSE_N_TYPES).is_by_turns);
    layer.gate.encoding = MATRIX_I2_S; // a mixed file
    assert_int_equal(gate_up_of(&model, DENSE_N_TYPES).n_parts, 2);
    assert_false(gate_up_of(&model, DENSE_N_TYPES).is_by_turns);
    layer.gate.encoding = layer.up.encoding = MATRIX_TQ2_0; // scales along K
    assert_int_equal(gate_up_of(&model, DENSE_N_TYPES).n_parts, 2);
    assert_false(gate_up_of(&model, DENSE_N_TYPES).is_by_turns);
    make_model(&model, &layer, 64);
    layer.up.input_norm.is_ones = true; // an input of its own
    assert_int_equal(gate_up_of(&model, DENSE_N_TYPES).n_parts, 2);
    assert_false(gate_up_of(&model, DENSE_N_TYPES).is_by_turns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gate_and_up_by_turns),
        cmocka_unit_test(what_no_ternary_product_makes_is_not),
    };
    return cmocka_run_group_tests_name("linear_plan", tests, NULL, NULL);
}
