// Opening every checkpoint of the test data: what each becomes or is answered, and that float masters and packed trits
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

static void every_checkpoint_opens_or_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        tern_status status;
        const char *text; // of the message; of `formats` where it opens
    } cases[] = {
        {"fixtures/hf-bitnet-packed", TERN_OK, "U8 x21"},
        {"fixtures/hf-bitnet-master", TERN_OK, "BF16 x25"},
        {"fixtures/hf-1bitllm", TERN_OK, "F16 x24"},
        {"fixtures/hf-llama-bitlinear", TERN_OK, "U8 x14"},
        {"fixtures/hf-llama-dense", TERN_OK, "BF16 x20"},
        {"fixtures/hf-trilm", TERN_OK, "F16 x21"},
        {"fixtures/gguf-bitnet-i2s-f16/model.gguf", TERN_OK, "I2_S x14, F16 x1, F32 x9"},
        {"fixtures/gguf-bitnet-tq2-q6k/model.gguf", TERN_OK, "TQ2_0 x14, Q6_K x1"},
        {"fixtures/gguf-bitnet-tq1-q4k/model.gguf", TERN_OK, "TQ1_0 x14, Q4_K x1"},
        {"fixtures/gguf-bitnet-f16-q4_0/model.gguf", TERN_OK, "Q4_0 x1"},
        {"fixtures/gguf-llama-i2s/model.gguf", TERN_OK, "I2_S x14, F16 x2"},
        {"fixtures/gguf-llama-tq2/model.gguf", TERN_OK, "TQ2_0 x14, F16 x2"},
        {"fixtures/gguf-vocab-llama2/model.gguf", TERN_OK, "I2_S x7, Q8_0 x1"},
        {"fixtures/gguf-bitnet-iq2bn-q8/model.gguf", TERN_UNSUPPORTED, "type IQ2_BN (id 135)"},
        {"fixtures/gguf-bitnet-iq1bn-bf16/model.gguf", TERN_UNSUPPORTED, "type IQ1_BN (id 134)"},
        {"fixtures/gguf-vocab-llama3/model.gguf", TERN_UNSUPPORTED, "type IQ2_BN (id 135)"},
        {"fixtures/gguf-bitnet-mixed-split/model-00001-of-00003.gguf", TERN_UNSUPPORTED, "split.count"},
        {"fixtures/bonsai-q2-g64/model.gguf", TERN_UNSUPPORTED, "architecture \"qwen3\""},
        {"fixtures/bonsai-q2-g128/model.gguf", TERN_UNSUPPORTED, "architecture \"qwen3\""},
        {"fixtures/bonsai-pq2/model.gguf", TERN_UNSUPPORTED, "architecture \"qwen3\""},
        {"fixtures/bonsai-ptq1/model.gguf", TERN_UNSUPPORTED, "architecture \"qwen3\""},
        {"fixtures/bonsai-unpacked", TERN_UNSUPPORTED, "model_type \"qwen3\""},
        {"models/stories", TERN_OK, "U8 x42"},
        {"models/stories-master", TERN_OK, "BF16"},
        {"models/stories-float", TERN_OK, "BF16"},
    };
    skip_without("fixtures/SUMMARY.md");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_source *m = NULL;
        tern_error err = {0};
        tern_status status = model_open(data_path(cases[i].path), NULL, &m, &err);
        const char *text = status == TERN_OK ? m->formats : err.message;
        if (status != cases[i].status || strstr(text, cases[i].text) == NULL)
            fail_msg("%s: got %s: \"%s\", expected %s with \"%s\"", cases[i].path, tern_status_name(status), text,
                     tern_status_name(cases[i].status), cases[i].text);
        if (m != NULL) read_everything(m);
        model_free(m);
    }
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
        T(every_checkpoint_opens_or_is_refused),
        T(checkpoint_facts_are_read),
        T(masters_ternarise_to_the_packed_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
