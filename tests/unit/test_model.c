// Opening models: what a good file becomes, what each broken or foreign one is answered, and damage of
// every header byte.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "build_gguf.h"
#include "model.h"
#include "scalar.h"
#include "scratch.h"

static tern_status open_tiny(const tiny_model *tiny, model_source **out, tern_error *err)
{
    bytes b = {0};
    tiny_write(tiny, &b);
    const char *path = scratch_path("tiny.gguf");
    write_file(path, b.data, b.n);
    free(b.data);
    return model_open(path, NULL, out, err);
}

static void expect_status(tern_status status, const tern_error *err, const model_source *m, tern_status expected,
                          const char *text)
{
    if (status != expected || strstr(err->message, text) == NULL)
        fail_msg("got %s: \"%s\", expected %s with \"%s\"", tern_status_name(status), err->message,
                 tern_status_name(expected), text);
    assert_true((m == NULL) == (status != TERN_OK));
}

// One named test: a change of the tiny model `m`, and the refusal it must meet.
#define REFUSES(name, expected, text, ...)                                                                             \
    static void name(void **state)                                                                                     \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        tiny_model m;                                                                                                  \
        model_source *opened = NULL;                                                                                   \
        tern_error err = {0};                                                                                          \
        tiny_default(&m);                                                                                              \
        __VA_ARGS__                                                                                                    \
        tern_status status = open_tiny(&m, &opened, &err);                                                             \
        expect_status(status, &err, opened, TERN_##expected, text);                                                    \
    }

REFUSES(no_architecture, MALFORMED, "general.architecture: missing", tiny_drop_key(&m, "general.architecture");)
REFUSES(wrong_architecture_type, MALFORMED, "expected string", tiny_u32(&m, "general.architecture", 1);)
REFUSES(unknown_architecture, UNSUPPORTED, "\"mamba\" is not supported; supported are bitnet-b1.58",
        tiny_string(&m, "general.architecture", "mamba");)
REFUSES(split_file_of_another_name, MALFORMED, "part 1 of 3 of a split model must be named NAME-00001-of-00003.gguf",
        tiny_u32(&m, "split.count", 3);)
REFUSES(hadamard_basis, UNSUPPORTED, "prism.hadamard.version", tiny_u32(&m, "prism.hadamard.version", 1);)
REFUSES(no_block_count, MALFORMED, "bitnet-b1.58.block_count: missing", tiny_drop_key(&m, "bitnet-b1.58.block_count");)
REFUSES(no_epsilon, MALFORMED, "rms_epsilon: missing",
        tiny_drop_key(&m, "bitnet-b1.58.attention.layer_norm_rms_epsilon");)
REFUSES(zero_epsilon, MALFORMED, "epsilon is 0", tiny_f32(&m, "bitnet-b1.58.attention.layer_norm_rms_epsilon", 0.0f);)
REFUSES(integer_epsilon, MALFORMED, "type u32, expected f32",
        tiny_u32(&m, "bitnet-b1.58.attention.layer_norm_rms_epsilon", 1);)
REFUSES(zero_heads, MALFORMED, "head_count", tiny_u32(&m, "bitnet-b1.58.attention.head_count", 0);)
REFUSES(zero_kv_heads, MALFORMED, "number of KV heads is 0", tiny_u32(&m, "bitnet-b1.58.attention.head_count_kv", 0);)
REFUSES(uneven_kv_heads, MALFORMED, "cannot share", tiny_u32(&m, "bitnet-b1.58.attention.head_count_kv", 3);)
REFUSES(zero_layers, MALFORMED, "number of layers is 0", tiny_u32(&m, "bitnet-b1.58.block_count", 0);)
REFUSES(absurd_layers, LIMIT, "number of layers is 4294967295", tiny_u32(&m, "bitnet-b1.58.block_count", UINT32_MAX);)
REFUSES(more_layers_than_tensors, MALFORMED, "only 13 tensors", tiny_u32(&m, "bitnet-b1.58.block_count", 4000);)
REFUSES(missing_layer, MALFORMED, "blk.1.attn_norm.weight: the tensor is missing",
        tiny_u32(&m, "bitnet-b1.58.block_count", 2);)
REFUSES(absurd_width, LIMIT, "embedding length", tiny_u32(&m, "bitnet-b1.58.embedding_length", 1u << 31);)
REFUSES(different_value_length, UNSUPPORTED, "value_length", tiny_u32(&m, "bitnet-b1.58.attention.value_length", 4);)
REFUSES(odd_rope_dims, MALFORMED, "RoPE rotates 7", tiny_u32(&m, "bitnet-b1.58.rope.dimension_count", 7);)
REFUSES(too_many_rope_dims, MALFORMED, "RoPE rotates 10", tiny_u32(&m, "bitnet-b1.58.rope.dimension_count", 10);)
REFUSES(negative_rope_base, MALFORMED, "RoPE base", tiny_f32(&m, "bitnet-b1.58.rope.freq_base", -1.0f);)
REFUSES(yarn_without_factor, MALFORMED, "rope.scaling.factor: missing",
        tiny_string(&m, "bitnet-b1.58.rope.scaling.type", "yarn");)
REFUSES(longrope, UNSUPPORTED, "\"longrope\"", tiny_string(&m, "bitnet-b1.58.rope.scaling.type", "longrope");)
REFUSES(silu_in_relu2_architecture, UNSUPPORTED, "hidden_activation: \"silu\"",
        tiny_string(&m, "bitnet-b1.58.hidden_activation", "silu");)
REFUSES(experts, UNSUPPORTED, "expert_count", tiny_u32(&m, "bitnet-b1.58.expert_count", 8);)
REFUSES(sliding_window, UNSUPPORTED, "sliding_window", tiny_u32(&m, "bitnet-b1.58.attention.sliding_window", 512);)
REFUSES(scaled_residual, UNSUPPORTED, "residual_scale", tiny_f32(&m, "bitnet-b1.58.residual_scale", 0.5f);)

REFUSES(missing_matrix, MALFORMED, "blk.0.ffn_down.weight: the tensor is missing",
        tiny_drop(&m, "blk.0.ffn_down.weight");)
REFUSES(missing_sub_norm, MALFORMED, "blk.0.attn_sub_norm.weight: the tensor is missing",
        tiny_drop(&m, "blk.0.attn_sub_norm.weight");)
REFUSES(wrong_matrix_shape, MALFORMED, "blk.0.ffn_down.weight: expected [16, 32], file has [32, 16]",
        tiny_add(&m, "blk.0.ffn_down.weight", 16, 32, TINY_I2S);)
REFUSES(wrong_norm_shape, MALFORMED, "blk.0.ffn_sub_norm.weight: expected [32], file has [16]",
        tiny_add(&m, "blk.0.ffn_sub_norm.weight", 16, 0, TINY_F32);)
REFUSES(three_dimensional_matrix, MALFORMED, "expected [16, 32], file has [2, 16, 32]",
        tiny_tensor *t = tiny_get(&m, "blk.0.ffn_down.weight");
        t->n_dims = 3; t->dims[2] = 2; t->type = TINY_F32;)
REFUSES(wrong_vocabulary, MALFORMED, "token_embd.weight: expected [9, 16], file has [8, 16]",
        tiny_u32(&m, "bitnet-b1.58.vocab_size", 9);)
REFUSES(unsupported_matrix_type, UNSUPPORTED, "blk.0.attn_q.weight: type I8",
        tiny_add(&m, "blk.0.attn_q.weight", 16, 16, 24);)
REFUSES(colliding_type, UNSUPPORTED, "output_norm.weight: type Q2_0 (id 42)",
        tiny_add(&m, "output_norm.weight", 128, 0, 42);)
REFUSES(ternary_embedding, UNSUPPORTED, "token_embd.weight: type I2_S",
        tiny_add(&m, "token_embd.weight", 16, 8, TINY_I2S);)
REFUSES(i2s_without_whole_groups, UNSUPPORTED, "blk.0.attn_k.weight: I2_S with 96",
        tiny_u32(&m, "bitnet-b1.58.attention.key_length", 6);
        tiny_add(&m, "blk.0.attn_q.weight", 16, 12, TINY_F32);
        tiny_add(&m, "blk.0.attn_sub_norm.weight", 12, 0, TINY_F32);
        tiny_add(&m, "blk.0.attn_k.weight", 16, 6, TINY_I2S);)
REFUSES(bias, UNSUPPORTED, "blk.0.attn_q.bias: this build has no place",
        tiny_add(&m, "blk.0.attn_q.bias", 16, 0, TINY_F32);)
REFUSES(output_scale, UNSUPPORTED, "blk.0.attn_q.scale", tiny_add(&m, "blk.0.attn_q.scale", 1, 0, TINY_F32);)
REFUSES(q_norm, UNSUPPORTED, "blk.0.attn_q_norm.weight", tiny_add(&m, "blk.0.attn_q_norm.weight", 8, 0, TINY_F32);)
REFUSES(norm_in, UNSUPPORTED, "blk.0.ffn_up_norm_in.weight",
        tiny_add(&m, "blk.0.ffn_up_norm_in.weight", 16, 0, TINY_F32);)
REFUSES(layer_behind_the_last, UNSUPPORTED, "blk.1.attn_norm.weight",
        tiny_add(&m, "blk.1.attn_norm.weight", 16, 0, TINY_F32);)
REFUSES(wrong_rope_freqs, MALFORMED, "rope_freqs.weight: expected [4]",
        tiny_add(&m, "rope_freqs.weight", 8, 0, TINY_F32);)
REFUSES(zero_rope_freqs, MALFORMED, "rope_freqs.weight: element 0 is 0",
        tiny_add(&m, "rope_freqs.weight", 4, 0, TINY_F32);
        tiny_get(&m, "rope_freqs.weight")->value = 0.0f;)

static void tiny_model_is_bound(void **state)
{
    (void)state;
    tiny_model tiny;
    model_source *m = NULL;
    tern_error err = {0};
    tiny_default(&tiny);
    tiny_add(&tiny, "rope_freqs.weight", 4, 0, TINY_F32);
    tiny_add(&tiny, "blk.0.rotary_emb.inv_freq", 4, 0, TINY_F32);
    tiny_string(&tiny, "general.name", "the tiny one");
    if (open_tiny(&tiny, &m, &err) != TERN_OK) fail_msg("%s", err.message);
    assert_string_equal(m->name, "the tiny one");
    assert_string_equal(m->container, "gguf v3");
    assert_string_equal(m->formats, "I2_S x7, F16 x1, F32 x7");
    assert_string_equal(m->hp.architecture, "bitnet-b1.58");
    assert_true(m->hp.act == ACTIVATION_RELU2 && m->hp.rope.style == ROPE_HALF_SPLIT && m->hp.is_tied &&
                m->hp.has_sub_norm);
    assert_true(m->hp.head_dim == 8 && m->hp.n_kv_heads == 1 && m->hp.n_vocab == 8 && m->hp.n_ctx_train == 64);
    assert_true(m->hp.rope.freq_divisors != NULL && m->hp.rope.freq_divisors[3] == 0.5f);
    assert_null(m->tokenizer);
    const matrix_source *down = &m->layers[0].down;
    assert_true(down->encoding == MATRIX_I2_S && down->n_rows == 16 && down->n_cols == 32);
    assert_true(m->head.weights == m->embedding.weights && m->embedding.encoding == MATRIX_DENSE);
    float norm[32];
    assert_int_equal(model_read_vector(&m->layers[0].ffn_sub_norm, 32, norm, &err), TERN_OK);
    assert_true(norm[0] == 0.5f && norm[31] == 0.5f);
    model_free(m);
}

static void activation_of_architecture_bitnet(void **state)
{
    (void)state;
    for (int with_gqa = 0; with_gqa < 2; with_gqa++) {
        tiny_model tiny;
        model_source *m = NULL;
        tern_error err = {0};
        tiny_default(&tiny);
        tiny_string(&tiny, "general.architecture", "bitnet");
        for (size_t i = 0; i < tiny.n_values; i++) {
            char key[80];
            if (strncmp(tiny.values[i].key, "bitnet-b1.58.", 13) != 0) continue;
            snprintf(key, sizeof key, "bitnet.%s", tiny.values[i].key + 13);
            memcpy(tiny.values[i].key, key, sizeof key);
        }
        if (!with_gqa) {
            tiny_u32(&tiny, "bitnet.attention.head_count_kv", 2);
            tiny_add(&tiny, "blk.0.attn_k.weight", 16, 16, TINY_I2S);
            tiny_add(&tiny, "blk.0.attn_v.weight", 16, 16, TINY_I2S);
        }
        if (open_tiny(&tiny, &m, &err) != TERN_OK) fail_msg("%s", err.message);
        assert_int_equal(m->hp.act, with_gqa ? ACTIVATION_RELU2 : ACTIVATION_SILU);
        model_free(m);
        tiny_string(&tiny, "bitnet.hidden_activation", "silu");
        assert_int_equal(open_tiny(&tiny, &m, &err), TERN_OK);
        assert_int_equal(m->hp.act, ACTIVATION_SILU);
        model_free(m);
    }
}

static void non_finite_norm_is_refused_on_reading(void **state)
{
    (void)state;
    tiny_model tiny;
    model_source *m = NULL;
    tern_error err = {0};
    float norm[16];
    tiny_default(&tiny);
    tiny_get(&tiny, "output_norm.weight")->value = scalar_as_float(0x7f800000u);
    assert_int_equal(open_tiny(&tiny, &m, &err), TERN_OK);
    assert_int_equal(model_read_vector(&m->output_norm, 16, norm, &err), TERN_MALFORMED);
    assert_non_null(strstr(err.message, "output_norm.weight"));
    model_free(m);
}

// Opens a damaged file; whatever opens must also survive being read.
static void open_and_read(const char *path)
{
    model_source *m = NULL;
    tern_error err = {0};
    tern_status status = model_open(path, NULL, &m, &err);
    assert_int_equal(status, err.status);
    assert_true((m == NULL) == (status != TERN_OK));
    if (m == NULL) return;
    static uint8_t rows[1 << 16];
    const matrix_source *down = &m->layers[0].down;
    ternary_scale scale = {0};
    size_t row_bytes = matrix_is_ternary(down) ? ternary_row_bytes(down->n_cols)
                                               : dense_row_bytes(down->dense, down->n_cols);
    assert_true(row_bytes * down->n_rows <= sizeof rows);
    if (!matrix_is_ternary(down) || matrix_scale(down, &scale, NULL) == TERN_OK)
        (void)matrix_read_rows(down, &scale, 0, down->n_rows, rows, NULL);
    ternary_scale_free(&scale);
    model_free(m);
}

// Single-bit flips of every header byte, and its extremes, through the whole of model_open.
static void every_damaged_header_ends_in_a_status(void **state)
{
    (void)state;
    tiny_model tiny;
    bytes b = {0};
    const char *path = scratch_path("damaged.gguf");
    tiny_default(&tiny);
    size_t header = tiny_write(&tiny, &b);
    write_file(path, b.data, b.n);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    for (size_t i = 0; i < header; i++) {
        for (unsigned k = 0; k < 10; k++) {
            int v = k < 8 ? b.data[i] ^ 1 << k : k == 8 ? 0 : 255;
            assert_int_equal(fseek(f, (long)i, SEEK_SET), 0);
            assert_int_equal(fputc(v, f), v);
            assert_int_equal(fflush(f), 0);
            open_and_read(path);
        }
        assert_int_equal(fseek(f, (long)i, SEEK_SET), 0);
        assert_int_equal(fputc(b.data[i], f), b.data[i]);
    }
    fclose(f);
    free(b.data);
}

static void every_truncated_file_is_refused(void **state)
{
    (void)state;
    tiny_model tiny;
    bytes b = {0};
    const char *path = scratch_path("cut.gguf");
    tiny_default(&tiny);
    tiny_write(&tiny, &b);
    write_file(path, b.data, b.n);
    for (size_t n = b.n; n-- > 0;) {
        model_source *m = NULL;
        tern_error err = {0};
        assert_int_equal(truncate(path, (off_t)n), 0);
        expect_status(model_open(path, NULL, &m, &err), &err, m, TERN_MALFORMED, "cut.gguf");
    }
    free(b.data);
}

// -------------------------------------------------------------------------------------------------------- directories

#define CONFIG                                                                                                         \
    "{\"model_type\":\"llama\",\"hidden_size\":4,\"intermediate_size\":4,\"num_hidden_layers\":1,"                     \
    "\"num_attention_heads\":1,\"vocab_size\":4,\"max_position_embeddings\":8,\"tie_word_embeddings\":true}"

// A directory with the given files (NULL text: none).
static const char *make_directory(const char *config, const char *extra_name, const char *extra)
{
    static char path[128];
    static unsigned number;
    char file[300];
    snprintf(path, sizeof path, "%s/hf%u", scratch, number++);
    char command[200];
    snprintf(command, sizeof command, "mkdir -p '%s'", path);
    assert_int_equal(system(command), 0);
    if (config != NULL) {
        snprintf(file, sizeof file, "%s/config.json", path);
        write_file(file, config, strlen(config));
    }
    if (extra_name != NULL) {
        snprintf(file, sizeof file, "%s/%s", path, extra_name);
        write_file(file, extra, strlen(extra));
    }
    return path;
}

static void directories_are_refused_precisely(void **state)
{
    (void)state;
    static const char index_name[] = "model.safetensors.index.json";
    static const struct {
        const char *config, *name, *text;
        tern_status status;
        const char *message;
    } cases[] = {
        {NULL, NULL, NULL, TERN_IO, "config.json"},
        {"{", NULL, NULL, TERN_MALFORMED, "config.json"},
        {CONFIG, NULL, NULL, TERN_NOT_FOUND, "neither model.safetensors nor"},
        {CONFIG, "pytorch_model.bin", "PK", TERN_UNSUPPORTED, "convert them to safetensors"},
        {CONFIG, "model.safetensors", "", TERN_MALFORMED, "at least 8 bytes"},
        {CONFIG, "model.safetensors", "\2\0\0", TERN_MALFORMED, "at least 8 bytes"},
        {CONFIG, index_name, "{}", TERN_MALFORMED, "weight_map"},
        {CONFIG, index_name, "{\"weight_map\":{}}", TERN_MALFORMED, "weight_map is empty"},
        {CONFIG, index_name, "{\"weight_map\":{\"a\":\"../x.safetensors\"}}", TERN_MALFORMED, "not a plain"},
        {CONFIG, index_name, "{\"weight_map\":{\"a\":\"/etc/x.safetensors\"}}", TERN_MALFORMED, "not a plain"},
        {CONFIG, index_name, "{\"weight_map\":{\"a\":\"passwd\"}}", TERN_MALFORMED, "not a plain"},
        {CONFIG, index_name, "{\"weight_map\":{\"a\":7}}", TERN_MALFORMED, "not a plain"},
        {CONFIG, index_name, "{\"weight_map\":{\"a\":\"gone.safetensors\"}}", TERN_IO, "gone.safetensors"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_source *m = NULL;
        tern_error err = {0};
        const char *path = make_directory(cases[i].config, cases[i].name, cases[i].text);
        expect_status(model_open(path, NULL, &m, &err), &err, m, cases[i].status, cases[i].message);
    }
}

// A complete dense llama of one layer; `more` adds an entry of 4 bytes at the end.
static tern_status open_hf(const char *config, const char *linear, const char *more, model_source **out,
                           tern_error *err)
{
    static const char *const norms[] = {"model.norm", "model.layers.0.input_layernorm",
                                        "model.layers.0.post_attention_layernorm"};
    static const char *const linears[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                          "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                          "mlp.down_proj"};
    char json[4096];
    size_t at = 0, end = 64;
    at += (size_t)snprintf(
        json, sizeof json,
        "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[4,4],\"data_offsets\":[0,64]}");
    for (size_t i = 0; i < 3; i++, end += 16)
        at += (size_t)snprintf(json + at, sizeof json - at,
                               ",\"%s.weight\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[%zu,%zu]}", norms[i],
                               end, end + 16);
    bool is_u8 = strstr(linear, "U8") != NULL;
    for (size_t i = 0; i < 7; i++) {
        size_t n = is_u8 ? 4 : 64;
        at += (size_t)snprintf(json + at, sizeof json - at,
                               ",\"model.layers.0.%s.weight\":{%s,\"data_offsets\":[%zu,%zu]}", linears[i], linear, end,
                               end + n);
        end += n;
    }
    for (size_t i = 0; i < 7 && strstr(config, "\"use_rms_norm\":true") != NULL; i++, end += 16)
        at += (size_t)snprintf(json + at, sizeof json - at,
                               ",\"model.layers.0.%s.rms_norm.weight\":{\"dtype\":\"F32\",\"shape\":[4],"
                               "\"data_offsets\":[%zu,%zu]}",
                               linears[i], end, end + 16);
    if (more != NULL) {
        at += (size_t)snprintf(json + at, sizeof json - at,
                               ",\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}", more, end,
                               end + 4);
        end += 4;
    }
    snprintf(json + at, sizeof json - at, "}");
    bytes b = {0};
    char path[300];
    put_safetensors(&b, json, 0, end);
    const char *directory = make_directory(config, NULL, NULL);
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    write_file(path, b.data, b.n);
    free(b.data);
    return model_open(directory, NULL, out, err);
}

static void directory_tensors_are_checked(void **state)
{
    (void)state;
    static const char dense[] = "\"dtype\":\"F32\",\"shape\":[4,4]";
    static const char packed[] = "\"dtype\":\"U8\",\"shape\":[1,4]";
    static const char quantised[] = "{\"model_type\":\"llama\",\"hidden_size\":4,\"intermediate_size\":4,\"num_hidden_"
                                    "layers\":1,\"num_attention_heads\":1,"
                                    "\"vocab_size\":4,\"max_position_embeddings\":8,\"tie_word_embeddings\":true,"
                                    "\"quantization_config\":{\"quant_method\":\"bitnet\"}}";
    static const char untied[] = "{\"model_type\":\"llama\",\"hidden_size\":4,\"intermediate_size\":4,\"num_hidden_"
                                 "layers\":1,\"num_attention_heads\":1,"
                                 "\"vocab_size\":4,\"max_position_embeddings\":8}";
    static const struct {
        const char *config, *linear, *more;
        tern_status status;
        const char *message;
    } cases[] = {
        {CONFIG, dense, NULL, TERN_OK, ""},
        {CONFIG, dense, "model.layers.0.self_attn.rotary_emb.inv_freq", TERN_OK, ""},
        {CONFIG, dense, "model.layers.0.self_attn.q_proj.bias", TERN_UNSUPPORTED, "q_proj.bias"},
        {CONFIG, dense, "model.layers.0.mlp.up_proj.rms_norm.weight", TERN_UNSUPPORTED, "rms_norm"},
        {CONFIG, dense, "model.layers.0.self_attn.q_norm.weight", TERN_UNSUPPORTED, "q_norm"},
        {untied, dense, NULL, TERN_MALFORMED, "lm_head.weight: the tensor is missing"},
        {CONFIG, packed, NULL, TERN_UNSUPPORTED, "does not say quant_method bitnet"},
        {quantised, packed, NULL, TERN_MALFORMED, "q_proj.weight_scale: the tensor is missing"},
        {quantised, "\"dtype\":\"U8\",\"shape\":[4,1]", "model.layers.0.self_attn.q_proj.weight_scale", TERN_MALFORMED,
         "expected [1, 4], file has [4, 1]"},
        {CONFIG, "\"dtype\":\"I32\",\"shape\":[4,4]", NULL, TERN_UNSUPPORTED, "type I32"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_source *m = NULL;
        tern_error err = {0};
        tern_status status = open_hf(cases[i].config, cases[i].linear, cases[i].more, &m, &err);
        expect_status(status, &err, m, cases[i].status, cases[i].message);
        model_free(m);
    }
}

// use_rms_norm: every linear has its own norm, and lacking one is an error.
static void linear_norms_are_bound(void **state)
{
    (void)state;
#define ONLINE(use)                                                                                                    \
    "{\"model_type\":\"llama\",\"hidden_size\":4,\"intermediate_size\":4,\"num_hidden_layers\":1,"                     \
    "\"num_attention_heads\":1,\"vocab_size\":4,\"max_position_embeddings\":8,\"tie_word_embeddings\":true,"           \
    "\"quantization_config\":{\"quant_method\":\"bitnet\",\"linear_class\":\"autobitlinear\","                         \
    "\"quantization_mode\":\"online\"," use ",\"rms_norm_eps\":0.001}}"
    static const char dense[] = "\"dtype\":\"F32\",\"shape\":[4,4]";
    model_source *m = NULL;
    tern_error err = {0};
    if (open_hf(ONLINE("\"use_rms_norm\":true"), dense, NULL, &m, &err) != TERN_OK) fail_msg("%s", err.message);
    assert_true(m->hp.has_linear_norm && m->hp.linear_norm_eps == 0.001f);
    const layer_source *l = &m->layers[0];
    const matrix_source *linears[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(linears[i]->encoding, MATRIX_HF_MASTER);
        assert_non_null(linears[i]->input_norm.tensor);
    }
    assert_string_equal(l->up.input_norm.tensor->name, "model.layers.0.mlp.up_proj.rms_norm.weight");
    model_free(m);
    // The space keeps open_hf from writing the norms.
    tern_status status = open_hf(ONLINE("\"use_rms_norm\": true"), dense, NULL, &m, &err);
    expect_status(status, &err, m, TERN_MALFORMED, "q_proj.rms_norm.weight: the tensor is missing");
    error_clear(&err);
    status = open_hf(ONLINE("\"use_rms_norm\":7"), dense, NULL, &m, &err);
    expect_status(status, &err, m, TERN_MALFORMED, "use_rms_norm");
}

static void wrong_paths_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        tern_status status;
        const char *message;
    } cases[] = {
        {"/nowhere/at/all.gguf", TERN_NOT_FOUND, "/nowhere/at/all.gguf"},
        {"/dev/null", TERN_IO, "regular file"},
        {"synthetic:giant", TERN_NOT_FOUND, "there are tiny, 2b4t"},
        {"synthetic:", TERN_NOT_FOUND, "no such shape"},
        {"synthetic:tiny,seed=", TERN_INVALID_ARGUMENT, "seed=N"},
        {"synthetic:tiny,seed=-1", TERN_INVALID_ARGUMENT, "seed=N"},
        {"synthetic:tiny,seed=99999999999999999999", TERN_INVALID_ARGUMENT, "seed=N"},
        {"synthetic:tiny,speed=1", TERN_INVALID_ARGUMENT, "seed=N"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_source *m = NULL;
        tern_error err = {0};
        expect_status(model_open(cases[i].path, NULL, &m, &err), &err, m, cases[i].status, cases[i].message);
    }
}

static void synthetic_models_open(void **state)
{
    (void)state;
    static const char *const shapes[] = {"tiny", "2b4t", "700m", "1.3b", "3b",       "3.9b", "7b",
                                         "8b",   "13b",  "30b",  "70b",  "70b-v32k", "100b"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char path[64];
        model_source *m = NULL;
        tern_error err = {0};
        snprintf(path, sizeof path, "synthetic:%s,seed=7", shapes[i]);
        if (model_open(path, NULL, &m, &err) != TERN_OK) fail_msg("%s", err.message);
        assert_true(m->is_synthetic && hparams_validate(&m->hp, &err) == TERN_OK);
        assert_true(m->layers[0].q.seed != m->layers[0].k.seed && m->layers[0].q.seed != m->layers[1].q.seed);
        uint8_t *row = malloc(dense_row_bytes(DENSE_F16, m->hp.n_embd));
        float *values = malloc(m->hp.n_embd * sizeof *values);
        assert_int_equal(matrix_read_rows(&m->embedding, NULL, m->hp.n_vocab - 1, 1, row, &err), TERN_OK);
        dense_row_to_float(DENSE_F16, row, m->hp.n_embd, values);
        for (uint32_t c = 0; c < m->hp.n_embd; c++) assert_true(values[c] > -0.2f && values[c] < 0.2f);
        assert_int_equal(model_read_vector(&m->output_norm, m->hp.n_embd, values, &err), TERN_OK);
        assert_true(values[0] == 1.0f);
        free(values);
        free(row);
        model_free(m);
    }
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(no_architecture),
        T(wrong_architecture_type),
        T(unknown_architecture),
        T(split_file_of_another_name),
        T(hadamard_basis),
        T(no_block_count),
        T(no_epsilon),
        T(zero_epsilon),
        T(integer_epsilon),
        T(zero_heads),
        T(zero_kv_heads),
        T(uneven_kv_heads),
        T(zero_layers),
        T(absurd_layers),
        T(more_layers_than_tensors),
        T(missing_layer),
        T(absurd_width),
        T(different_value_length),
        T(odd_rope_dims),
        T(too_many_rope_dims),
        T(negative_rope_base),
        T(yarn_without_factor),
        T(longrope),
        T(silu_in_relu2_architecture),
        T(experts),
        T(sliding_window),
        T(scaled_residual),
        T(missing_matrix),
        T(missing_sub_norm),
        T(wrong_matrix_shape),
        T(wrong_norm_shape),
        T(three_dimensional_matrix),
        T(wrong_vocabulary),
        T(unsupported_matrix_type),
        T(colliding_type),
        T(ternary_embedding),
        T(i2s_without_whole_groups),
        T(bias),
        T(output_scale),
        T(q_norm),
        T(norm_in),
        T(layer_behind_the_last),
        T(wrong_rope_freqs),
        T(zero_rope_freqs),
        T(tiny_model_is_bound),
        T(activation_of_architecture_bitnet),
        T(non_finite_norm_is_refused_on_reading),
        T(every_damaged_header_ends_in_a_status),
        T(every_truncated_file_is_refused),
        T(directories_are_refused_precisely),
        T(directory_tensors_are_checked),
        T(linear_norms_are_bound),
        T(wrong_paths_are_named),
        T(synthetic_models_open),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
