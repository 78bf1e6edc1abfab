// The safetensors parser and config.json against every class of broken or foreign input they must name.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "build_gguf.h"
#include "hparams.h"
#include "safetensors.h"

static tern_status parse(const uint8_t *data, size_t n, tern_error *err)
{
    uint8_t *exact = malloc(n > 0 ? n : 1);
    tensor_set set = {0};
    if (n > 0) memcpy(exact, data, n);
    tern_status status = safetensors_parse(exact, n, &set, err);
    tensor_set_free(&set);
    free(exact);
    return status;
}

static void expect_refusal(const bytes *b, tern_status expected, const char *text)
{
    tern_error err = {0};
    tern_status status = parse(b->data, b->n, &err);
    if (status != expected || strstr(err.message, text) == NULL)
        fail_msg("got %s: \"%s\", expected %s with \"%s\"", tern_status_name(status), err.message,
                 tern_status_name(expected), text);
}

#define REFUSES(name, expected, text, json, n_data)                                                                    \
    static void name(void **state)                                                                                     \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        bytes b = {0};                                                                                                 \
        put_safetensors(&b, json, 0, n_data);                                                                          \
        expect_refusal(&b, TERN_##expected, text);                                                                     \
        free(b.data);                                                                                                  \
    }

#define ENTRY(name, dtype, shape, begin, end)                                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

REFUSES(header_not_object, MALFORMED, "does not begin with {", "[1]", 0)
REFUSES(header_bad_json, MALFORMED, "not valid JSON", "{\"a\":", 0)
REFUSES(header_trailing_text, MALFORMED, "not valid JSON", "{} x", 0)
REFUSES(header_duplicate_key, MALFORMED, "not valid JSON",
        "{" ENTRY("a", "U8", "[1]", 0, 1) "," ENTRY("a", "U8", "[1]", 1, 2) "}", 2)
REFUSES(entry_not_object, MALFORMED, "tensor a: its entry", "{\"a\":3}", 0)
REFUSES(entry_without_dtype, MALFORMED, "dtype or shape", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1)
REFUSES(entry_without_offsets, MALFORMED, "data_offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1)
REFUSES(entry_unknown_dtype, UNSUPPORTED, "dtype F4", "{" ENTRY("a", "F4", "[1]", 0, 1) "}", 1)
REFUSES(entry_five_dims, UNSUPPORTED, "5 dimensions", "{" ENTRY("a", "U8", "[1,1,1,1,1]", 0, 1) "}", 1)
REFUSES(entry_negative_dim, MALFORMED, "non-negative", "{" ENTRY("a", "U8", "[-1]", 0, 1) "}", 1)
REFUSES(entry_real_dim, MALFORMED, "non-negative", "{" ENTRY("a", "U8", "[1.0]", 0, 1) "}", 1)
REFUSES(entry_product_overflow, MALFORMED, "overflows", "{" ENTRY("a", "F32", "[4611686018427387904,4]", 0, 0) "}", 0)
REFUSES(entry_reversed_offsets, MALFORMED, "ascending", "{" ENTRY("a", "U8", "[1]", 1, 0) "}", 1)
REFUSES(entry_negative_offset, MALFORMED, "ascending", "{" ENTRY("a", "U8", "[1]", -1, 0) "}", 1)
REFUSES(entry_beyond_file, MALFORMED, "cut off or broken", "{" ENTRY("a", "U8", "[9]", 0, 9) "}", 8)
REFUSES(entry_wrong_size, MALFORMED, "make 4", "{" ENTRY("a", "F32", "[1]", 0, 8) "}", 8)
REFUSES(tensors_overlap, MALFORMED, "overlap", "{" ENTRY("a", "U8", "[4]", 0, 4) "," ENTRY("b", "U8", "[4]", 2, 6) "}",
        6)
REFUSES(tensors_hole, MALFORMED, "hole", "{" ENTRY("a", "U8", "[4]", 0, 4) "," ENTRY("b", "U8", "[2]", 6, 8) "}", 8)
REFUSES(data_left_over, MALFORMED, "the tensors end", "{" ENTRY("a", "U8", "[4]", 0, 4) "}", 5)

static void header_length_beyond_file(void **state)
{
    (void)state;
    bytes b = {0};
    put_u64(&b, UINT64_MAX);
    put_fill(&b, '{', 20);
    expect_refusal(&b, TERN_MALFORMED, "announces");
    free(b.data);
}

static const char good[] = "{\"__metadata__\":{\"format\":\"pt\"}," ENTRY("w", "BF16", "[2,3]", 0, 12) "," ENTRY(
    "s", "F32", "[]", 12, 16) "," ENTRY("none", "U8", "[0]", 16, 16) "}  ";

static void good_file_is_read(void **state)
{
    (void)state;
    bytes b = {0};
    tensor_set set = {0};
    tern_error err = {0};
    put_safetensors(&b, good, 0, 16);
    assert_int_equal(safetensors_parse(b.data, b.n, &set, &err), TERN_OK);
    const tensor *w = tensor_set_find(&set, "w"), *s = tensor_set_find(&set, "s");
    assert_non_null(w);
    assert_non_null(s);
    assert_true(w->type == TENSOR_BF16 && w->n_dims == 2 && w->dims[0] == 3 && w->dims[1] == 2 && w->n_bytes == 12);
    assert_true(s->n_dims == 0 && s->n_bytes == 4 && s->data == w->data + 12);
    assert_int_equal(set.n, 3);
    tensor_set_free(&set);
    free(b.data);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    bytes b = {0};
    put_safetensors(&b, good, 0, 16);
    for (size_t n = 0; n < b.n; n++) {
        tern_error err = {0};
        assert_int_equal(parse(b.data, n, &err), TERN_MALFORMED);
    }
    free(b.data);
}

static void every_changed_byte_ends_in_a_status(void **state)
{
    (void)state;
    bytes b = {0};
    put_safetensors(&b, good, 0, 16);
    for (size_t i = 0; i < b.n - 16; i++) {
        uint8_t old = b.data[i];
        for (unsigned v = 1; v < 256; v++) {
            tern_error err = {0};
            b.data[i] = (uint8_t)(old ^ v);
            tern_status status = parse(b.data, b.n, &err);
            assert_int_equal(status, err.status);
            assert_true((status == TERN_OK) == (err.message[0] == 0));
        }
        b.data[i] = old;
    }
    free(b.data);
}

// ------------------------------------------------------------------------------------------------------- config.json

#define SIZES                                                                                                          \
    ",\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":2,\"num_attention_heads\":4,"                  \
    "\"vocab_size\":100,\"max_position_embeddings\":128"
#define BITNET(more) "{\"model_type\":\"bitnet\"" SIZES more "}"
#define LLAMA(more)  "{\"model_type\":\"llama\"" SIZES more "}"
#define QUANT(more)  ",\"quantization_config\":{\"quant_method\":\"bitnet\"" more "}"

static void configs_are_refused_precisely(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        tern_status status;
        const char *text;
    } cases[] = {
        {"", TERN_MALFORMED, "not valid JSON"},
        {"[]", TERN_MALFORMED, "object is expected"},
        {"{}", TERN_MALFORMED, "\"model_type\": missing"},
        {"{\"model_type\":7}", TERN_MALFORMED, "\"model_type\": a string"},
        {"{\"model_type\":\"mamba\"}", TERN_UNSUPPORTED,
         "model_type \"mamba\" is not supported; supported are bitnet-b1.58"},
        {"{\"model_type\":\"gemma3_text\"}", TERN_UNSUPPORTED, "gemma3_text"},
        {"{\"model_type\":\"bitnet\"}", TERN_MALFORMED, "\"hidden_size\": missing"},
        {BITNET(",\"num_key_value_heads\":3"), TERN_MALFORMED, "cannot share 3 KV heads"},
        {BITNET(",\"num_key_value_heads\":0"), TERN_MALFORMED, "number of KV heads is 0"},
        {BITNET(",\"head_dim\":15"), TERN_MALFORMED, "head size 15 is odd"},
        {BITNET(",\"head_dim\":5000"), TERN_LIMIT, "head size is 5000"},
        {BITNET(",\"head_dim\":-4"), TERN_MALFORMED, "\"head_dim\": -4"},
        {BITNET(",\"rms_norm_eps\":0"), TERN_MALFORMED, "epsilon is 0"},
        {BITNET(",\"rms_norm_eps\":\"small\""), TERN_MALFORMED, "\"rms_norm_eps\": a number"},
        {BITNET(",\"rope_theta\":-1"), TERN_MALFORMED, "RoPE base is -1"},
        {BITNET(",\"hidden_act\":\"gelu\""), TERN_UNSUPPORTED, "\"hidden_act\": \"gelu\""},
        {BITNET(",\"attention_bias\":true"), TERN_UNSUPPORTED, "\"attention_bias\": true"},
        {LLAMA(",\"mlp_bias\":true"), TERN_UNSUPPORTED, "\"mlp_bias\": true"},
        {LLAMA(",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"beta_fast\":1}"), TERN_MALFORMED,
         "0 < beta_slow < beta_fast"},
        {LLAMA(",\"rope_scaling\":{\"rope_type\":\"longrope\"}"), TERN_UNSUPPORTED, "rope_type \"longrope\""},
        {LLAMA(",\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":2}"), TERN_UNSUPPORTED,
         "rope_type \"dynamic\""},
        {LLAMA(",\"rope_scaling\":{\"rope_type\":\"linear\"}"), TERN_MALFORMED, "\"factor\" is missing"},
        {LLAMA(",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8}"), TERN_MALFORMED, "low_freq_factor"},
        {LLAMA(",\"rope_scaling\":5"), TERN_MALFORMED, "\"rope_scaling\": an object"},
        {LLAMA(",\"rope_parameters\":{\"full_attention\":{}}"), TERN_UNSUPPORTED, "per kind of layer"},
        {LLAMA(",\"partial_rotary_factor\":0.5"), TERN_UNSUPPORTED, "partial_rotary_factor"},
        {LLAMA(",\"quantization_config\":{\"quant_method\":\"gptq\"}"), TERN_UNSUPPORTED, "quant_method \"gptq\""},
        {LLAMA(QUANT(",\"linear_class\":\"other\"")), TERN_UNSUPPORTED, "\"linear_class\": \"other\""},
        {LLAMA(QUANT(",\"quantization_mode\":\"online\"")), TERN_UNSUPPORTED, "with linear_class bitlinear"},
        {LLAMA(QUANT(",\"use_rms_norm\":true,\"rms_norm_eps\":0")), TERN_MALFORMED,
         "epsilon of the linears' norms is 0"},
        {LLAMA(",\"weight_bits\":2"), TERN_UNSUPPORTED, "\"weight_bits\": 2"},
        {LLAMA(",\"weight_bits\":1,\"input_bits\":4"), TERN_UNSUPPORTED, "\"input_bits\": 4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hparams hp;
        tern_error err = {0};
        tern_status status = hparams_from_config(cases[i].json, strlen(cases[i].json), &hp, &err);
        if (status != cases[i].status || strstr(err.message, cases[i].text) == NULL)
            fail_msg("%s\ngot %s: \"%s\", expected %s with \"%s\"", cases[i].json, tern_status_name(status),
                     err.message, tern_status_name(cases[i].status), cases[i].text);
    }
}

static hparams read_config(const char *json)
{
    hparams hp = {0};
    tern_error err = {0};
    if (hparams_from_config(json, strlen(json), &hp, &err) != TERN_OK) fail_msg("%s: %s", json, err.message);
    return hp;
}

static void configs_are_understood(void **state)
{
    (void)state;
    hparams hp = read_config(BITNET(QUANT(",\"linear_class\":\"autobitlinear\"")));
    assert_true(hp.act == ACTIVATION_RELU2 && hp.has_sub_norm && hp.hf_is_bitnet && !hp.hf_divide && !hp.hf_online);
    assert_true(hp.rope.theta == 500000.0 && hp.norm_eps == 1e-5f && hp.head_dim == 16 && hp.n_kv_heads == 4 &&
                !hp.is_tied);
    hp = read_config(
        LLAMA(QUANT(",\"modules_to_not_convert\":[\"lm_head\"]") ",\"head_dim\":null,\"rope_scaling\":null"));
    assert_true(hp.act == ACTIVATION_SILU && !hp.has_sub_norm && hp.hf_divide && hp.rope.theta == 10000.0 &&
                hp.head_dim == 16);
    hp = read_config(LLAMA(",\"architectures\":[\"BitnetForCausalLM\"],\"weight_bits\":1,\"input_bits\":8"));
    assert_true(hp.act == ACTIVATION_SILU && hp.has_sub_norm && hp.hf_online && strcmp(hp.architecture, "bitnet") == 0);
    hp = read_config(
        LLAMA(",\"rope_parameters\":{\"rope_theta\":7.5,\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
              "\"high_freq_factor\":4,\"original_max_position_embeddings\":64}"));
    assert_true(hp.rope.scaling == ROPE_SCALING_LLAMA3 && hp.rope.theta == 7.5 && hp.rope.factor == 8.0 &&
                hp.rope.original_context == 64.0 && hp.rope.style == ROPE_HALF_SPLIT);
    hp = read_config(LLAMA(",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}"));
    assert_true(hp.rope.scaling == ROPE_SCALING_LINEAR && hp.rope.factor == 2.5);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(header_not_object),
        T(header_bad_json),
        T(header_trailing_text),
        T(header_duplicate_key),
        T(entry_not_object),
        T(entry_without_dtype),
        T(entry_without_offsets),
        T(entry_unknown_dtype),
        T(entry_five_dims),
        T(entry_negative_dim),
        T(entry_real_dim),
        T(entry_product_overflow),
        T(entry_reversed_offsets),
        T(entry_negative_offset),
        T(entry_beyond_file),
        T(entry_wrong_size),
        T(tensors_overlap),
        T(tensors_hole),
        T(data_left_over),
        T(header_length_beyond_file),
        T(good_file_is_read),
        T(every_truncation_is_refused),
        T(every_changed_byte_ends_in_a_status),
        T(configs_are_refused_precisely),
        T(configs_are_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
