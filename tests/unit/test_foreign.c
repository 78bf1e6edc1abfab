// What other engines write: type ids with several meanings, split files, architectures and keys; which open, how
// activations are treated by default, and the one sentence each refusal says.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "build_gguf.h"
#include "model.h"
#include "scratch.h"

static void write_tiny(const tiny_model *tiny, const char *name)
{
    bytes b = {0};
    tiny_write(tiny, &b);
    write_file(scratch_path(name), b.data, b.n);
    free(b.data);
}

static tern_status open_tiny(const tiny_model *tiny, const tern_model_options *options, model_source **out,
                             tern_error *err)
{
    write_tiny(tiny, "tiny.gguf");
    return model_open(scratch_path("tiny.gguf"), options, out, err);
}

static void expect_refusal(tern_status got, const tern_error *err, const model_source *m, tern_status expected,
                           const char *text)
{
    if (got != expected || strstr(err->message, text) == NULL)
        fail_msg("got %s: \"%s\", expected %s with \"%s\"", tern_status_name(got), err->message,
                 tern_status_name(expected), text);
    assert_null(m);
}

// ---- element types

static void every_ternary_type_opens(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        matrix_encoding encoding;
        const char *formats;
    } cases[] = {
        {34, MATRIX_TQ1_0, "TQ1_0 x7"},
        {35, MATRIX_TQ2_0, "TQ2_0 x7"},
        {TINY_I2S, MATRIX_I2_S, "I2_S x7"},
        {TINY_Q2_0, MATRIX_Q2_0_64, "Q2_0 x7"},
        {134, MATRIX_IQ1_BN, "IQ1_BN x7"},
        {TINY_Q2_0_OLD, MATRIX_Q2_0_128, "Q2_0 g128 x7"},
        {135, MATRIX_IQ2_BN, "IQ2_BN x7"},
        {142, MATRIX_Q2_0_128, "PQ2_0 x7"},
        {143, MATRIX_PTQ1_0, "PTQ1_0 x7"},
        {335, MATRIX_IQ2_BN_R4, "IQ2_BN_R4 x7"},
        {TINY_F16, MATRIX_FLOAT, "7 of the float tensors have ternary values"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tiny_model tiny;
        model_source *m = NULL;
        tern_error err = {0};
        tiny_wide(&tiny, "bitnet-b1.58", cases[i].type);
        if (open_tiny(&tiny, NULL, &m, &err) != TERN_OK) fail_msg("type %u: %s", cases[i].type, err.message);
        assert_int_equal(m->layers[0].down.encoding, cases[i].encoding);
        if (strstr(m->formats, cases[i].formats) == NULL) fail_msg("%s", m->formats);
        model_free(m);
    }
}

static void i2s_layouts_are_the_users_choice(void **state)
{
    (void)state;
    tiny_model tiny;
    tern_model_options options;
    tern_model_options_init(&options);
    tiny_wide(&tiny, "bitnet-b1.58", TINY_I2S);
    for (int layout = TERN_I2S_128; layout <= TERN_I2S_ROW4; layout++) {
        model_source *m = NULL;
        tern_error err = {0};
        options.i2s_layout = (tern_i2s_layout)layout;
        assert_int_equal(open_tiny(&tiny, &options, &m, &err), TERN_OK);
        assert_int_equal(m->layers[0].down.i2s_layout, layout);
        model_free(m);
    }
    model_source *m = NULL;
    tern_error err = {0};
    options.i2s_layout = (tern_i2s_layout)9;
    expect_refusal(open_tiny(&tiny, &options, &m, &err), &err, m, TERN_INVALID_ARGUMENT, "layout");
}

static void foreign_types_are_refused_with_advice(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        const char *text;
    } cases[] = {
        {3, "blk.0.attn_q.weight: type Q4_1 is not supported; ternary linears in I2_S"},
        {24, "blk.0.attn_q.weight: type I8 is not supported"},
        {37, "type I8_S (id 37) is not supported; use the *-I2_S, *-TQ2_0 or *-TQ1_0 file of the same model"},
        {38, "type TL1 (id 38) is not supported; its layout depends on the machine"},
        {39, "type TL2 or MXFP4 (id 39) is not supported; TL2's layout depends on the machine"},
        {40, "type NVFP4 or Q1_0 (id 40) is not supported; neither is ternary"},
        {41, "type Q1_0 (id 41) is not supported; it is binary, not ternary"},
        {77, "tensor blk.0.attn_q.weight: type id 77 is unknown"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tiny_model tiny;
        model_source *m = NULL;
        tern_error err = {0};
        tiny_wide(&tiny, "llama", TINY_I2S);
        tiny_add(&tiny, "blk.0.attn_q.weight", 256, 256, cases[i].type);
        expect_refusal(open_tiny(&tiny, NULL, &m, &err), &err, m, TERN_UNSUPPORTED, cases[i].text);
    }
}

// A file of one tensor [cols, rows] with `room` bytes of data.
static void expect_type(uint32_t id, uint64_t cols, uint64_t rows, size_t room, const char *type_or_refusal)
{
    bytes b = {0};
    gguf_file file;
    tern_error err = {0};
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "t", 2, (const uint64_t[]){cols, rows}, id, 0);
    put_align(&b, 32);
    put_fill(&b, 0, room);
    if (gguf_parse(b.data, b.n, &file, &err) == TERN_OK) {
        assert_string_equal(file.tensors.items[0].type_name, type_or_refusal);
        gguf_free(&file);
    } else if (err.status != TERN_UNSUPPORTED || strstr(err.message, type_or_refusal) == NULL) {
        fail_msg("%s: %s", tern_status_name(err.status), err.message);
    }
    free(b.data);
}

static void ids_with_two_meanings_are_told_apart_by_size(void **state)
{
    (void)state;
    expect_type(42, 256, 4, 4 * 4 * 18, "Q2_0");
    expect_type(42, 256, 4, 4 * 2 * 34, "Q2_0 g128");
    expect_type(42, 192, 4, 4 * 3 * 18, "Q2_0"); // no multiple of 128
    expect_type(42, 128, 1, 64, "agree with both");
    expect_type(42, 256, 4, 4 * 4 * 20, "agree with neither");
    expect_type(42, 100, 4, 400, "agree with neither");
    expect_type(142, 256, 4, 4 * 2 * 34, "PQ2_0");
    expect_type(142, 256, 4, 4 * 80, "withdrawn IQ2_TN");
    expect_type(143, 256, 4, 4 * 2 * 28, "PTQ1_0");
    expect_type(143, 256, 4, 4 * 66, "withdrawn IQ1_TN");
    expect_type(36, 256, 4, 256 + 32, "I2_S");
    expect_type(36, 256, 4, 4 * 8 * 18, "IQ4_NL_4_4");
}

static void ternary_tables_belong_to_grouped_types(void **state)
{
    (void)state;
    tiny_model tiny;
    model_source *m = NULL;
    tern_error err = {0};
    tiny_wide(&tiny, "qwen3", 142);
    tiny_add(&tiny, "token_embd.weight", 256, 64, 142);
    if (open_tiny(&tiny, NULL, &m, &err) != TERN_OK) fail_msg("%s", err.message);
    assert_true(m->embedding.encoding == MATRIX_Q2_0_128 && m->head.encoding == MATRIX_Q2_0_128 && m->hp.is_tied);
    model_free(m);
    m = NULL;
    tiny_add(&tiny, "output.weight", 256, 64, 8);
    if (open_tiny(&tiny, NULL, &m, &err) != TERN_OK) fail_msg("%s", err.message);
    assert_true(m->embedding.encoding == MATRIX_Q2_0_128 && m->head.encoding == MATRIX_DENSE && !m->hp.is_tied);
    model_free(m);
    m = NULL;
    tiny_add(&tiny, "token_embd.weight", 256, 64, 135);
    expect_refusal(open_tiny(&tiny, NULL, &m, &err), &err, m, TERN_UNSUPPORTED, "token_embd.weight: type IQ2_BN");
}

// ---- activations

static void activations_follow_the_model_or_the_user(void **state)
{
    (void)state;
    static const struct {
        const char *arch;
        uint32_t type;
        tern_act asked;
        act_quant expected;
        const char *reason;
    } cases[] = {
        {"bitnet-b1.58", TINY_I2S, TERN_ACT_AUTO, ACT_QUANT_INT8, "architecture bitnet-b1.58 are trained with int8"},
        {"bitnet", TINY_F16, TERN_ACT_AUTO, ACT_QUANT_INT8, "architecture bitnet are trained with int8"},
        {"llama", TINY_I2S, TERN_ACT_AUTO, ACT_QUANT_INT8, "I2_S: ternary llama models are usually trained with int8"},
        {"llama", 34, TERN_ACT_AUTO, ACT_QUANT_INT8, "TQ1_0: ternary llama models"},
        {"llama", 35, TERN_ACT_AUTO, ACT_QUANT_INT8, "TQ2_0: ternary llama models"},
        {"llama", 135, TERN_ACT_AUTO, ACT_QUANT_INT8, "IQ2_BN: ternary llama models"},
        {"llama", TINY_F16, TERN_ACT_AUTO, ACT_QUANT_INT8X2, "ternary values in F16 and no word of int8 activations"},
        {"llama", TINY_Q2_0, TERN_ACT_AUTO, ACT_QUANT_INT8X2, "Q2_0 in architecture llama: weight-only"},
        {"qwen3", 143, TERN_ACT_AUTO, ACT_QUANT_INT8X2, "PTQ1_0 in architecture qwen3: weight-only"},
        {"qwen3", 143, TERN_ACT_INT8, ACT_QUANT_INT8, "chosen by the user"},
        {"qwen3", 143, TERN_ACT_F32, ACT_QUANT_F32, "chosen by the user"},
        {"bitnet-25", TINY_I2S, TERN_ACT_INT8X2, ACT_QUANT_INT8X2, "chosen by the user"},
        {"llama", 8, TERN_ACT_AUTO, ACT_QUANT_INT8, "no linear layer is stored as trits"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tiny_model tiny;
        model_source *m = NULL;
        tern_error err = {0};
        tern_model_options options;
        tern_model_options_init(&options);
        options.act = cases[i].asked;
        tiny_wide(&tiny, cases[i].arch, cases[i].type);
        if (open_tiny(&tiny, &options, &m, &err) != TERN_OK) fail_msg("%s", err.message);
        assert_int_equal(m->hp.quant, cases[i].expected);
        if (strstr(m->hp.act_quant_reason, cases[i].reason) == NULL) fail_msg("%s", m->hp.act_quant_reason);
        model_free(m);
    }
}

// ---- architectures and keys

static void foreign_models_are_refused_precisely(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *key, *value, *tensor;
        const char *text;
    } cases[] = {
        {"qwen35", NULL, NULL, NULL, "architecture \"qwen35\" is not supported: its linear attention"},
        {"gemma3", NULL, NULL, NULL, "architecture \"gemma3\" is not supported: it is an embedding model"},
        {"mamba", NULL, NULL, NULL, "architecture \"mamba\" is not supported; supported are bitnet-b1.58"},
        {"qwen3", "prism.hadamard.version", "1", NULL, "key prism.hadamard.version: models in a rotated"},
        {"qwen3", "qwen3.rope.scaling.type", "longrope", NULL,
         "\"longrope\" is not supported (none, linear and yarn are)"},
        {"qwen3", NULL, NULL, "blk.0.attn_q_norm_in.weight", "norm before every linear (BitNet-embedding)"},
        {"llama", NULL, NULL, "blk.0.attn_q.scale", "blk.0.attn_q.scale: this build has no place"},
        {"llama", NULL, NULL, "blk.0.attn_q.bias", "blk.0.attn_q.bias: this build has no place"},
        {"llama", NULL, NULL, "blk.0.attn_q_norm.weight", "blk.0.attn_q_norm.weight: this build has no place"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tiny_model tiny;
        model_source *m = NULL;
        tern_error err = {0};
        tiny_wide(&tiny, cases[i].arch, TINY_I2S);
        if (cases[i].key != NULL) tiny_string(&tiny, cases[i].key, cases[i].value);
        if (cases[i].tensor != NULL) tiny_add(&tiny, cases[i].tensor, 256, 0, TINY_F32);
        expect_refusal(open_tiny(&tiny, NULL, &m, &err), &err, m, TERN_UNSUPPORTED, cases[i].text);
    }
}

static void foreign_model_types_are_refused_precisely(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"{\"model_type\":\"gemma3_text\"}", "model_type \"gemma3_text\" is not supported: it is an embedding model"},
        {"{\"model_type\":\"qwen3_5\"}", "model_type \"qwen3_5\" is not supported: its linear attention"},
        {"{\"model_type\":\"mistral\"}", "model_type \"mistral\" is not supported; supported are"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hparams hp;
        tern_error err = {0};
        assert_int_equal(hparams_from_config(cases[i].json, strlen(cases[i].json), &hp, &err), TERN_UNSUPPORTED);
        if (strstr(err.message, cases[i].text) == NULL) fail_msg("%s", err.message);
    }
}

static void big_endian_is_refused(void **state)
{
    (void)state;
    bytes b = {0};
    model_source *m = NULL;
    tern_error err = {0};
    put_header(&b, 0x03000000u, 0, 0);
    write_file(scratch_path("big.gguf"), b.data, b.n);
    free(b.data);
    expect_refusal(model_open(scratch_path("big.gguf"), NULL, &m, &err), &err, m, TERN_UNSUPPORTED, "big-endian");
}

static void make_yarn(tiny_model *tiny)
{
    tiny_wide(tiny, "qwen3", 142);
    tiny_string(tiny, "qwen3.rope.scaling.type", "yarn");
    tiny_f32(tiny, "qwen3.rope.scaling.factor", 4.0f);
}

static void qwen3_keys_are_read(void **state)
{
    (void)state;
    tiny_model tiny;
    model_source *m = NULL;
    tern_error err = {0};
    make_yarn(&tiny);
    if (open_tiny(&tiny, NULL, &m, &err) != TERN_OK) fail_msg("%s", err.message);
    const rope_params *rope = &m->hp.rope;
    assert_true(m->hp.has_qk_norm && !m->hp.has_sub_norm && m->hp.act == ACTIVATION_SILU &&
                rope->style == ROPE_HALF_SPLIT);
    assert_true(rope->scaling == ROPE_SCALING_YARN && rope->factor == 4 && rope->original_context == 64);
    assert_true(rope->beta_fast == 32 && rope->beta_slow == 1 && rope->attn_factor == 1);
    assert_string_equal(m->layers[0].q_norm.tensor->name, "blk.0.attn_q_norm.weight");
    assert_string_equal(m->layers[0].k_norm.tensor->name, "blk.0.attn_k_norm.weight");
    model_free(m);
    m = NULL;
    tiny_u32(&tiny, "qwen3.rope.scaling.original_context_length", 16);
    tiny_f32(&tiny, "qwen3.rope.scaling.attn_factor", 0.5f);
    tiny_f32(&tiny, "qwen3.rope.scaling.yarn_beta_fast", 16.0f);
    tiny_f32(&tiny, "qwen3.rope.scaling.yarn_beta_slow", 2.0f);
    assert_int_equal(open_tiny(&tiny, NULL, &m, &err), TERN_OK);
    rope = &m->hp.rope;
    assert_true(rope->original_context == 16 && rope->attn_factor == 0.5 && rope->beta_fast == 16 &&
                rope->beta_slow == 2);
    model_free(m);
    m = NULL;
    tiny_f32(&tiny, "qwen3.rope.scaling.yarn_beta_fast", 1.0f);
    expect_refusal(open_tiny(&tiny, NULL, &m, &err), &err, m, TERN_MALFORMED, "0 < beta_slow < beta_fast");
    make_yarn(&tiny);
    tiny_f32(&tiny, "qwen3.rope.scaling.factor", 0.5f);
    expect_refusal(open_tiny(&tiny, NULL, &m, (error_clear(&err), &err)), &err, m, TERN_MALFORMED,
                   "factor is 0.5, expected a number of at least 1");
    make_yarn(&tiny);
    tiny_f32(&tiny, "qwen3.rope.scaling.yarn_log_multiplier", 0.1f);
    expect_refusal(open_tiny(&tiny, NULL, &m, (error_clear(&err), &err)), &err, m, TERN_UNSUPPORTED,
                   "yarn_log_multiplier");
    make_yarn(&tiny);
    tiny_drop(&tiny, "blk.0.attn_k_norm.weight");
    expect_refusal(open_tiny(&tiny, NULL, &m, (error_clear(&err), &err)), &err, m, TERN_MALFORMED,
                   "attn_k_norm.weight: the tensor");
    make_yarn(&tiny);
    tiny_string(&tiny, "qwen3.rope.scaling.type", "linear");
    tiny_f32(&tiny, "qwen3.rope.scaling.attn_factor", 0.5f);
    expect_refusal(open_tiny(&tiny, NULL, &m, (error_clear(&err), &err)), &err, m, TERN_UNSUPPORTED, "attn_factor");
}

#define QWEN3                                                                                                          \
    "\"model_type\":\"qwen3\",\"hidden_size\":256,\"intermediate_size\":512,\"num_hidden_layers\":1,"                  \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":64,\"max_position_embeddings\":256"

static void qwen3_config_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        tern_status status;
        const char *text;
    } cases[] = {
        {",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":64}", TERN_OK,
         ""},
        {",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":64,"
         "\"attention_factor\":null}",
         TERN_OK, ""},
        {",\"rope_scaling\":{\"type\":\"yarn\"}", TERN_MALFORMED, "\"factor\" is missing"},
        {",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"attention_factor\":-1.5}", TERN_MALFORMED,
         "attn_factor -1.3"},
        {",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"truncate\":false}", TERN_UNSUPPORTED, "truncate"},
        {",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4}", TERN_UNSUPPORTED, "linear, llama3 and yarn are"},
        {",\"use_sliding_window\":true", TERN_UNSUPPORTED, "use_sliding_window"},
        {",\"layer_types\":[\"full_attention\",\"sliding_attention\"]", TERN_UNSUPPORTED, "sliding_attention"},
        {",\"attention_bias\":true", TERN_UNSUPPORTED, "attention_bias"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[800];
        hparams hp = {0};
        tern_error err = {0};
        snprintf(json, sizeof json, "{" QWEN3 "%s}", cases[i].more);
        tern_status status = hparams_from_config(json, strlen(json), &hp, &err);
        if (status != cases[i].status || strstr(err.message, cases[i].text) == NULL)
            fail_msg("%s: %s: %s", cases[i].more, tern_status_name(status), err.message);
        if (status != TERN_OK) continue;
        assert_true(hp.has_qk_norm && hp.head_dim == 128 && hp.norm_eps == 1e-6f &&
                    hp.rope.scaling == ROPE_SCALING_YARN);
        assert_true(hp.rope.factor == 4 && hp.rope.original_context == 64 && hp.rope.beta_fast == 32 &&
                    hp.rope.attn_factor == 1);
    }
}

// A given attention_factor is the whole multiplier of cos and sin, 1 + 0.1 ln factor included.
static void yarn_attention_factor_is_the_whole_multiplier(void **state)
{
    (void)state;
    static const char json[] = "{" QWEN3 ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"attention_factor\":2}}";
    hparams hp = {0};
    tern_error err = {0};
    if (hparams_from_config(json, sizeof json - 1, &hp, &err) != TERN_OK) fail_msg("%s", err.message);
    double whole = hp.rope.attn_factor * (1.0 + 0.1 * 1.3862943611198906); // ln 4
    assert_true(whole > 2 - 1e-12 && whole < 2 + 1e-12);
    assert_true(hp.rope.original_context == 256); // max_position_embeddings where nothing else is said
}

// ---- split files

typedef struct split_case {
    uint32_t no[3], count[3]; // the keys of each part
    uint32_t n_tensors;       // split.tensors.count, 0: none
    const char *duplicate;    // a tensor that part 3 repeats
    uint32_t alignment;       // of part 2, 0: the default
} split_case;

static const split_case good_split = {{0, 1, 2}, {3, 3, 3}, 13, NULL, 0};

// The tiny model with its tensors dealt to three files NAME-0000i-of-00003.gguf.
static void write_split(const split_case *c)
{
    tiny_model whole;
    tiny_default(&whole);
    for (uint32_t p = 0; p < 3; p++) {
        tiny_model part = whole;
        char name[64];
        part.n_tensors = 0;
        if (p > 0) part.n_values = 0;
        for (size_t i = 0; i < whole.n_tensors; i++)
            if (i % 3 == p || (p == 2 && c->duplicate != NULL && strcmp(whole.tensors[i].name, c->duplicate) == 0))
                part.tensors[part.n_tensors++] = whole.tensors[i];
        tiny_u32(&part, "split.no", c->no[p]);
        tiny_u32(&part, "split.count", c->count[p]);
        if (c->n_tensors != 0) tiny_u32(&part, "split.tensors.count", c->n_tensors);
        if (p == 1 && c->alignment != 0) tiny_u32(&part, "general.alignment", c->alignment);
        snprintf(name, sizeof name, "m-%05u-of-00003.gguf", p + 1);
        write_tiny(&part, name);
    }
}

static void split_models_are_merged(void **state)
{
    (void)state;
    for (uint32_t alignment = 0; alignment <= 16; alignment += 16) {
        split_case c = good_split;
        model_source *m = NULL;
        tern_error err = {0};
        c.alignment = alignment; // smaller than the first part's: what tiny_write writes is aligned to both
        write_split(&c);
        if (model_open(scratch_path("m-00001-of-00003.gguf"), NULL, &m, &err) != TERN_OK) fail_msg("%s", err.message);
        assert_string_equal(m->formats, "I2_S x7, F16 x1, F32 x5");
        assert_true(m->bytes_file > 2000);
        model_free(m);
    }
}

static void broken_splits_name_the_file_expected(void **state)
{
    (void)state;
    static const struct {
        split_case split;
        const char *given, *removed;
        tern_status status;
        const char *text;
    } cases[] = {
        {{{0, 1, 2}, {3, 3, 3}, 13, NULL, 0},
         "m-00002-of-00003.gguf",
         NULL,
         TERN_INVALID_ARGUMENT,
         "this is part 2 of 3; give the first part,"},
        {{{0, 1, 2}, {3, 3, 3}, 13, NULL, 0},
         "m-00001-of-00003.gguf",
         "m-00002-of-00003.gguf",
         TERN_NOT_FOUND,
         "m-00002-of-00003.gguf"},
        {{{0, 1, 2}, {3, 3, 3}, 13, NULL, 0},
         "m-00001-of-00003.gguf",
         "m-00003-of-00003.gguf",
         TERN_NOT_FOUND,
         "part 3 of 3 is missing: expected"},
        {{{0, 2, 1}, {3, 3, 3}, 13, NULL, 0},
         "m-00001-of-00003.gguf",
         NULL,
         TERN_MALFORMED,
         "split.no 2 and split.count 3, expected 1 and 3"},
        {{{0, 1, 2}, {3, 4, 3}, 13, NULL, 0},
         "m-00001-of-00003.gguf",
         NULL,
         TERN_MALFORMED,
         "split.no 1 and split.count 4, expected 1 and 3"},
        {{{0, 1, 2}, {4, 4, 4}, 13, NULL, 0},
         "m-00001-of-00003.gguf",
         NULL,
         TERN_MALFORMED,
         "must be named NAME-00001-of-00004.gguf"},
        {{{1, 1, 2}, {3, 3, 3}, 13, NULL, 0},
         "m-00001-of-00003.gguf",
         NULL,
         TERN_MALFORMED,
         "must be named NAME-00002-of-00003.gguf"},
        {{{0, 1, 2}, {70000, 3, 3}, 13, NULL, 0},
         "m-00001-of-00003.gguf",
         NULL,
         TERN_LIMIT,
         "split.count: 70000 parts"},
        {{{0, 1, 2}, {3, 3, 3}, 14, NULL, 0},
         "m-00001-of-00003.gguf",
         NULL,
         TERN_MALFORMED,
         "split.tensors.count: 14 tensors, the 3 parts have 13"},
        {{{0, 1, 2}, {3, 3, 3}, 14, "token_embd.weight", 0},
         "m-00001-of-00003.gguf",
         NULL,
         TERN_MALFORMED,
         "token_embd.weight: the name occurs twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_source *m = NULL;
        tern_error err = {0};
        write_split(&cases[i].split);
        if (cases[i].removed != NULL) assert_int_equal(unlink(scratch_path(cases[i].removed)), 0);
        tern_status status = model_open(scratch_path(cases[i].given), NULL, &m, &err);
        expect_refusal(status, &err, m, cases[i].status, cases[i].text);
    }
    model_source *m = NULL;
    tern_error err = {0};
    write_split(&good_split);
    write_file(scratch_path("m-00002-of-00003.gguf"), "GGUF", 4);
    tern_status status = model_open(scratch_path("m-00001-of-00003.gguf"), NULL, &m, &err);
    expect_refusal(status, &err, m, TERN_MALFORMED, "m-00002-of-00003.gguf: the file ends inside the GGUF header");
}

// ---- damage

static void read_linear(const matrix_source *m)
{
    ternary_scale scale = {0};
    size_t row_bytes = matrix_is_ternary(m) ? ternary_row_bytes(m->n_cols) : dense_row_bytes(m->dense, m->n_cols);
    uint8_t *rows = malloc(row_bytes * m->n_rows);
    assert_non_null(rows);
    if (!matrix_is_ternary(m) || matrix_scale(m, &scale, NULL) == TERN_OK)
        (void)matrix_read_rows(m, &scale, 0, m->n_rows, rows, NULL);
    ternary_scale_free(&scale);
    free(rows);
}

// Every byte of the header changed in two ways: an end in a status, and what opens can be read.
static void damaged_headers_end_in_a_status(void **state)
{
    (void)state;
    static const uint32_t types[] = {TINY_Q2_0, 143, 335, TINY_F16};
    const char *path = scratch_path("tiny.gguf");
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        tiny_model tiny;
        bytes b = {0};
        tiny_wide(&tiny, "qwen3", types[t]);
        size_t header = tiny_write(&tiny, &b);
        write_file(path, b.data, b.n);
        FILE *f = fopen(path, "r+b");
        assert_non_null(f);
        setvbuf(f, NULL, _IONBF, 0);
        for (size_t i = 0; i < 2 * header; i++) {
            model_source *m = NULL;
            tern_error err = {0};
            int damaged = i % 2 == 0 ? b.data[i / 2] ^ 1 << (i / 2 % 8) : 255;
            assert_int_equal(fseek(f, (long)(i / 2), SEEK_SET), 0);
            assert_int_equal(fputc(damaged, f), damaged);
            tern_status status = model_open(path, NULL, &m, &err);
            assert_int_equal(status, err.status);
            assert_true((m == NULL) == (status != TERN_OK));
            if (m != NULL && i % 16 == 0) read_linear(&m->layers[0].down);
            model_free(m);
            assert_int_equal(fseek(f, (long)(i / 2), SEEK_SET), 0);
            assert_int_equal(fputc(b.data[i / 2], f), b.data[i / 2]);
        }
        fclose(f);
        free(b.data);
    }
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(every_ternary_type_opens),
        T(i2s_layouts_are_the_users_choice),
        T(foreign_types_are_refused_with_advice),
        T(ids_with_two_meanings_are_told_apart_by_size),
        T(ternary_tables_belong_to_grouped_types),
        T(activations_follow_the_model_or_the_user),
        T(foreign_models_are_refused_precisely),
        T(foreign_model_types_are_refused_precisely),
        T(big_endian_is_refused),
        T(qwen3_keys_are_read),
        T(qwen3_config_is_read),
        T(yarn_attention_factor_is_the_whole_multiplier),
        T(split_models_are_merged),
        T(broken_splits_name_the_file_expected),
        T(damaged_headers_end_in_a_status),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
