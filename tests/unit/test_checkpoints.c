// Opening every checkpoint of the test data: what each becomes, and that float masters and packed trits
// of one model are the same matrices.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "model.h"

static const char *data_path(const char *name)
{
    static char path[512];
    const char *root = getenv("TERN_TEST_DATA");
    if (root == NULL) root = TERN_TEST_DATA_DEFAULT;
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static void skip_without(const char *name)
{
    if (access(data_path(name), R_OK) == 0) return;
    print_message("skipped: the test data %s is not here (set TERN_TEST_DATA)\n", data_path(name));
    skip();
}

// Reads every matrix of a model: scales, codes, and the blocks of dense ones.
static void read_everything(const model_source *m)
{
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        const matrix_source *all[7] = {&m->layers[l].q,    &m->layers[l].k,  &m->layers[l].v,   &m->layers[l].o,
                                       &m->layers[l].gate, &m->layers[l].up, &m->layers[l].down};
        for (int i = 0; i < 7; i++) {
            const matrix_source *w = all[i];
            ternary_scale scale = {0};
            tern_error err = {0};
            size_t row = matrix_is_ternary(w) ? ternary_row_bytes(w->n_cols) : dense_row_bytes(w->dense, w->n_cols);
            uint8_t *rows = malloc(row * w->n_rows);
            if (matrix_is_ternary(w) && matrix_scale(w, &scale, &err) != TERN_OK) fail_msg("%s", err.message);
            if (matrix_read_rows(w, &scale, 0, w->n_rows, rows, &err) != TERN_OK) fail_msg("%s", err.message);
            ternary_scale_free(&scale);
            free(rows);
        }
    }
}

static void every_checkpoint_opens(void **state)
{
    (void)state;
    static const struct {
        const char *path, *formats; // part of the model's `formats`
        act_quant quant;
    } cases[] = {
        {"fixtures/hf-bitnet-packed", "U8 x21", ACT_QUANT_INT8},
        {"fixtures/hf-bitnet-master", "BF16 x25", ACT_QUANT_INT8},
        {"fixtures/hf-1bitllm", "F16 x24", ACT_QUANT_INT8},
        {"fixtures/hf-llama-bitlinear", "U8 x14", ACT_QUANT_INT8},
        {"fixtures/hf-llama-dense", "BF16 x20", ACT_QUANT_INT8},
        {"fixtures/hf-trilm", "F16 x21; 14 of the float tensors", ACT_QUANT_INT8X2},
        {"fixtures/gguf-bitnet-i2s-f16/model.gguf", "I2_S x14, F16 x1, F32 x9", ACT_QUANT_INT8},
        {"fixtures/gguf-bitnet-tq2-q6k/model.gguf", "TQ2_0 x14, Q6_K x1", ACT_QUANT_INT8},
        {"fixtures/gguf-bitnet-tq1-q4k/model.gguf", "TQ1_0 x14, Q4_K x1", ACT_QUANT_INT8},
        {"fixtures/gguf-bitnet-f16-q4_0/model.gguf", "F16 x14; 14 of the float tensors", ACT_QUANT_INT8},
        {"fixtures/gguf-llama-i2s/model.gguf", "I2_S x14, F16 x2", ACT_QUANT_INT8},
        {"fixtures/gguf-llama-tq2/model.gguf", "TQ2_0 x14, F16 x2", ACT_QUANT_INT8},
        {"fixtures/gguf-vocab-llama2/model.gguf", "I2_S x7, Q8_0 x1", ACT_QUANT_INT8},
        {"fixtures/gguf-bitnet-iq2bn-q8/model.gguf", "IQ2_BN x14, Q8_0 x1", ACT_QUANT_INT8},
        {"fixtures/gguf-bitnet-iq1bn-bf16/model.gguf", "IQ1_BN x14, BF16 x1", ACT_QUANT_INT8},
        {"fixtures/gguf-vocab-llama3/model.gguf", "IQ2_BN x7, Q8_0 x1", ACT_QUANT_INT8},
        {"fixtures/gguf-bitnet-mixed-split/model-00001-of-00003.gguf", "TQ1_0 x4, I2_S x3, IQ2_BN x2, TQ2_0 x4",
         ACT_QUANT_INT8},
        {"fixtures/bonsai-q2-g64/model.gguf", "Q2_0 x15, F32 x9", ACT_QUANT_INT8X2},
        {"fixtures/bonsai-q2-g128/model.gguf", "Q2_0 g128 x15, F32 x9", ACT_QUANT_INT8X2},
        {"fixtures/bonsai-pq2/model.gguf", "PQ2_0 x15, F32 x9", ACT_QUANT_INT8X2},
        {"fixtures/bonsai-ptq1/model.gguf", "PTQ1_0 x15, F32 x9", ACT_QUANT_INT8X2},
        {"fixtures/bonsai-unpacked", "F16 x15; 15 of the float tensors", ACT_QUANT_INT8X2},
        {"models/stories", "U8 x42", ACT_QUANT_INT8},
        {"models/stories-master", "BF16", ACT_QUANT_INT8},
        {"models/stories-float", "BF16", ACT_QUANT_INT8},
    };
    skip_without("fixtures/SUMMARY.md");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_source *m = NULL;
        tern_error err = {0};
        if (model_open(data_path(cases[i].path), NULL, &m, &err) != TERN_OK)
            fail_msg("%s: %s", cases[i].path, err.message);
        if (strstr(m->formats, cases[i].formats) == NULL)
            fail_msg("%s: formats \"%s\", expected \"%s\"", cases[i].path, m->formats, cases[i].formats);
        if (m->hp.quant != cases[i].quant) fail_msg("%s: activations %s", cases[i].path, m->hp.act_quant_reason);
        read_everything(m);
        model_free(m);
    }
}

static void expect_scale(const matrix_source *m, uint32_t n_sets, uint32_t n_groups, bool has_ranges)
{
    ternary_scale scale = {0};
    tern_error err = {0};
    if (matrix_scale(m, &scale, &err) != TERN_OK) fail_msg("%s", err.message);
    if (scale.n_sets != n_sets || scale.n_groups != n_groups || (scale.set_begin != NULL) != has_ranges)
        fail_msg("%s: %u sets of %u groups", m->name, scale.n_sets, scale.n_groups);
    ternary_scale_free(&scale);
}

static void scales_have_the_form_of_their_training(void **state)
{
    (void)state;
    skip_without("fixtures/SUMMARY.md");
    model_source *m = NULL;
    tern_error err = {0};
    assert_int_equal(model_open(data_path("fixtures/hf-trilm"), NULL, &m, &err), TERN_OK);
    expect_scale(&m->layers[1].q, 2, 1, true);
    expect_scale(&m->layers[1].up, 2, 1, true);
    expect_scale(&m->layers[1].o, 1, 2, false);
    expect_scale(&m->layers[1].down, 1, 2, false);
    assert_true(m->embedding.encoding == MATRIX_DENSE && m->head.encoding == MATRIX_DENSE);
    model_free(m);
    static const char *const bonsai[] = {"fixtures/bonsai-unpacked", "fixtures/bonsai-pq2/model.gguf",
                                         "fixtures/bonsai-q2-g128/model.gguf", "fixtures/bonsai-ptq1/model.gguf"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(model_open(data_path(bonsai[i]), NULL, &m, &err), TERN_OK);
        expect_scale(&m->layers[1].down, 256, 5, false);
        expect_scale(&m->embedding, 512, 2, false);
        assert_true(m->hp.is_tied && m->head.encoding == m->embedding.encoding && m->hp.has_qk_norm);
        assert_true(m->hp.rope.scaling == ROPE_SCALING_YARN && m->hp.rope.original_context == 64);
        model_free(m);
    }
    assert_int_equal(model_open(data_path("fixtures/gguf-bitnet-iq2bn-q8/model.gguf"), NULL, &m, &err), TERN_OK);
    expect_scale(&m->layers[1].down, 1, 1, false);
    model_free(m);
}

static void checkpoint_facts_are_read(void **state)
{
    (void)state;
    skip_without("fixtures/SUMMARY.md");
    model_source *m = NULL;
    tern_error err = {0};
    assert_int_equal(model_open(data_path("fixtures/hf-llama-bitlinear"), NULL, &m, &err), TERN_OK);
    assert_true(m->layers[1].down.encoding == MATRIX_HF_PACKED && m->layers[1].down.divide && !m->hp.is_tied);
    assert_true(m->hp.act == ACTIVATION_SILU && m->hp.norm_eps == 1e-6f && m->hp.head_dim == 256);
    model_free(m);
    assert_int_equal(model_open(data_path("fixtures/hf-1bitllm"), NULL, &m, &err), TERN_OK);
    assert_true(m->layers[0].q.encoding == MATRIX_HF_MASTER && m->hp.has_sub_norm && m->hp.act == ACTIVATION_SILU);
    assert_non_null(m->layers[1].ffn_sub_norm.tensor);
    model_free(m);
    assert_int_equal(model_open(data_path("fixtures/hf-llama-dense"), NULL, &m, &err), TERN_OK);
    assert_true(m->layers[0].q.encoding == MATRIX_DENSE && m->hp.rope.scaling == ROPE_SCALING_LLAMA3);
    model_free(m);
    assert_int_equal(model_open(data_path("fixtures/gguf-llama-i2s/model.gguf"), NULL, &m, &err), TERN_OK);
    assert_true(m->hp.rope.style == ROPE_ADJACENT && !m->hp.is_tied && !m->hp.has_sub_norm);
    model_free(m);
    assert_int_equal(model_open(data_path("fixtures/gguf-vocab-llama2/model.gguf"), NULL, &m, &err), TERN_OK);
    assert_true(m->hp.act == ACTIVATION_SILU && m->hp.n_vocab == 32000);
    assert_true((m->tokenizer == NULL) == (m->tokenizer_note[0] != 0));
    model_free(m);
    assert_int_equal(model_open(data_path("models/stories-float"), NULL, &m, &err), TERN_OK);
    assert_true(m->layers[0].q.encoding == MATRIX_DENSE && m->hp.has_sub_norm && m->hp.act == ACTIVATION_RELU2);
    model_free(m);
}

static void expect_same_matrix(const matrix_source *a, const matrix_source *b)
{
    ternary_scale sa = {0}, sb = {0};
    tern_error err = {0};
    assert_int_equal(matrix_scale(a, &sa, &err), TERN_OK);
    assert_int_equal(matrix_scale(b, &sb, &err), TERN_OK);
    if (!ternary_scale_equal(&sa, &sb))
        fail_msg("%s: scales %.9g and %.9g differ", a->name, (double)sa.values[0], (double)sb.values[0]);
    assert_true(a->n_rows == b->n_rows && a->n_cols == b->n_cols);
    size_t n = ternary_row_bytes(a->n_cols) * a->n_rows;
    uint8_t *ra = malloc(n), *rb = malloc(n);
    assert_int_equal(matrix_read_rows(a, &sa, 0, a->n_rows, ra, &err), TERN_OK);
    assert_int_equal(matrix_read_rows(b, &sb, 0, b->n_rows, rb, &err), TERN_OK);
    if (memcmp(ra, rb, n) != 0) fail_msg("%s: codes differ", a->name);
    free(ra);
    free(rb);
    ternary_scale_free(&sa);
    ternary_scale_free(&sb);
}

// The packed story model and its float masters are the same ternary model.
static void masters_ternarise_to_the_packed_model(void **state)
{
    (void)state;
    skip_without("models/stories/config.json");
    model_source *packed = NULL, *master = NULL;
    tern_error err = {0};
    assert_int_equal(model_open(data_path("models/stories"), NULL, &packed, &err), TERN_OK);
    assert_int_equal(model_open(data_path("models/stories-master"), NULL, &master, &err), TERN_OK);
    for (uint32_t l = 0; l < packed->hp.n_layers; l++) {
        const layer_source *a = &packed->layers[l], *b = &master->layers[l];
        expect_same_matrix(&a->q, &b->q);
        expect_same_matrix(&a->k, &b->k);
        expect_same_matrix(&a->v, &b->v);
        expect_same_matrix(&a->o, &b->o);
        expect_same_matrix(&a->gate, &b->gate);
        expect_same_matrix(&a->up, &b->up);
        expect_same_matrix(&a->down, &b->down);
    }
    model_free(packed);
    model_free(master);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(every_checkpoint_opens),
        T(scales_have_the_form_of_their_training),
        T(checkpoint_facts_are_read),
        T(masters_ternarise_to_the_packed_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
