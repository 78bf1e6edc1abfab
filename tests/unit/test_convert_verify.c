// The verifier finds every change; head types, foreign formats and refusals of the converter, each verified.
#include <fcntl.h>

#include "convert_verify.h"
#include "scratch.h"

static model_source *open_model(const char *path)
{
    tern_error err = {0};
    model_source *model = NULL;
    assert_ok(model_open(path, NULL, &model, &err), &err);
    return model;
}

static void make_plan(const model_source *model, const convert_options *options, convert_plan *plan)
{
    tern_error err = {0};
    assert_ok(convert_plan_make(model, options, plan, &err), &err);
    for (size_t i = 0; i < plan->n_tensors; i++) assert_ok(convert_plan_check(&plan->tensors[i], &err), &err);
}

// The verdict on a file with one byte changed.
static void check_change(const model_source *from, const convert_plan *plan, const uint8_t *bytes, size_t n, size_t at,
                         const char *name)
{
    const char *path = scratch_path("changed.gguf");
    uint8_t *copy = malloc(n);
    memcpy(copy, bytes, n);
    copy[at] ^= 0x10;
    write_file(path, copy, n);
    free(copy);
    model_source *to = NULL;
    tern_error err = {0};
    if (model_open(path, NULL, &to, &err) != TERN_OK) return; // refused at once: found too
    convert_comparison sums;
    assert_int_equal(convert_verify(from, plan, to, NULL, &sums, &err), TERN_INTERNAL);
    if (strstr(err.message, name) == NULL) fail_msg("%s is changed, but: %s", name, err.message);
    model_free(to);
}

// One bit in the middle of each tensor, and in the scale behind I2_S.
static void check_detection(const char *name, encode_type type, convert_head head)
{
    model_source *from = open_model(data_path(name));
    const char *path = scratch_path("model.gguf");
    const convert_options options = {.type = type, .head = head, .verify = true};
    convert_report report;
    tern_error err = {0};
    assert_ok(model_convert(from, path, &options, &report, &err), &err);
    assert_non_null(strstr(report.verified, "matrices"));
    convert_plan plan;
    make_plan(from, &options, &plan);
    size_t n;
    uint8_t *bytes = read_file(path, &n);
    gguf_file file;
    assert_ok(gguf_parse(bytes, n, &file, &err), &err);
    assert_int_equal(file.tensors.n, plan.n_tensors);
    for (size_t i = 0; i < file.tensors.n; i++) {
        const tensor *t = &file.tensors.items[i];
        size_t at = (size_t)(t->data - bytes);
        check_change(from, &plan, bytes, n, at + t->n_bytes / 2, t->name);
        if (t->type == TENSOR_I2_S) check_change(from, &plan, bytes, n, at + t->n_bytes - 32, t->name);
    }
    gguf_free(&file);
    free(bytes);
    convert_plan_free(&plan);
    model_free(from);
}

static void test_detects_tensors(void **state)
{
    (void)state;
    check_detection("fixtures/hf-llama-bitlinear", ENCODE_I2_S, CONVERT_HEAD_Q8_0); // rows of q and k in another order
    check_detection("fixtures/gguf-bitnet-iq2bn-q8/model.gguf", ENCODE_TQ2_0, CONVERT_HEAD_AS_STORED);
    check_detection("fixtures/gguf-bitnet-i2s-f16/model.gguf", ENCODE_TQ1_0, CONVERT_HEAD_Q6_K);
    check_detection("fixtures/bonsai-q2-g64/model.gguf", ENCODE_F16, CONVERT_HEAD_F16);
}

static void expect_difference(const model_source *from, const convert_plan *plan, const model_source *to,
                              const char *word)
{
    tern_error err = {0};
    convert_comparison sums;
    assert_int_equal(convert_verify(from, plan, to, NULL, &sums, &err), TERN_INTERNAL);
    if (strstr(err.message, word) == NULL) fail_msg("expected a word of %s: %s", word, err.message);
}

static void test_detects_keys(void **state)
{
    (void)state;
    model_source *from = open_model(data_path("fixtures/bonsai-pq2/model.gguf"));
    const char *path = scratch_path("model.gguf");
    const convert_options options = {.type = ENCODE_F16};
    convert_plan plan;
    convert_comparison sums;
    tern_error err = {0};
    assert_ok(model_convert(from, path, &options, NULL, &err), &err);
    make_plan(from, &options, &plan);
    model_source *to = open_model(path);
    assert_int_equal(to->hp.rope.scaling, ROPE_SCALING_YARN);
    assert_ok(convert_verify(from, &plan, to, NULL, &sums, &err), &err);
#define CHANGED(field, value, word)                                                                                    \
    do {                                                                                                               \
        hparams kept = to->hp;                                                                                         \
        to->hp.field = value;                                                                                          \
        expect_difference(from, &plan, to, word);                                                                      \
        to->hp = kept;                                                                                                 \
    } while (0)
    CHANGED(n_ctx_train, 1, "context");
    CHANGED(norm_eps, 1e-3f, "epsilon");
    CHANGED(rope.theta, 10001.0, "rope base");
    CHANGED(rope.factor, 1.5, "factor");
    CHANGED(rope.original_context, 7.0, "original context");
    CHANGED(rope.beta_fast, 31.0, "beta_fast");
    CHANGED(rope.attn_factor, 2.0, "attention factor");
    CHANGED(rope.scaling, ROPE_SCALING_LINEAR, "scaling");
    CHANGED(act, ACTIVATION_RELU2, "activation");
#undef CHANGED
    tern_tokenizer *kept = to->tokenizer;
    to->tokenizer = NULL;
    expect_difference(from, &plan, to, "tokenizer");
    model_source *other = open_model(data_path("fixtures/gguf-vocab-llama2/model.gguf"));
    to->tokenizer = other->tokenizer;
    expect_difference(from, &plan, to, "tokenizer");
    to->tokenizer = kept;
    model_free(other);
    model_free(to);
    convert_plan_free(&plan);
    model_free(from);
}

// A disk that loses a bit: the progress function changes the temporary file once it is complete.
static bool spoil(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    if (2 * done != total) return true;
    DIR *d = opendir(scratch);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        if (strstr(entry->d_name, ".part") == NULL) continue;
        int fd = openat(dirfd(d), entry->d_name, O_RDWR);
        uint8_t byte;
        off_t at = lseek(fd, 0, SEEK_END) / 2;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
    }
    closedir(d);
    return true;
}

static void test_spoiled_file(void **state)
{
    (void)state;
    model_source *model = open_model("synthetic:tiny");
    const char *path = scratch_path("out.gguf");
    const convert_options options = {.type = ENCODE_TQ2_0, .verify = true, .progress = spoil};
    write_file(path, "precious", 8);
    tern_error err = {0};
    assert_int_equal(model_convert(model, path, &options, NULL, &err), TERN_INTERNAL);
    assert_non_null(strstr(err.message, "differs"));
    assert_true(file_is(path, "precious", 8));
    assert_int_equal(count_files(), 1);
    model_free(model);
}

// ------------------------------------------------------------------------------------------------------- head types

static void check_head(const char *name, encode_type type, convert_head head, dense_type stored)
{
    model_source *from = open_model(data_path(name));
    const char *path = scratch_path("head.gguf");
    const convert_options options = {.type = type, .head = head, .verify = true};
    tern_error err = {0};
    assert_ok(model_convert(from, path, &options, NULL, &err), &err);
    model_source *to = open_model(path);
    assert_int_equal(to->hp.is_tied, from->hp.is_tied);
    assert_int_equal(to->embedding.dense, stored);
    assert_int_equal(to->head.dense, stored);
    model_free(to);
    model_free(from);
}

static void test_heads(void **state)
{
    (void)state;
    static const char *const names[] = {"models/stories", "fixtures/gguf-llama-i2s/model.gguf",
                                        "fixtures/gguf-bitnet-tq1-q4k/model.gguf"};
    for (size_t i = 0; i < 3; i++) { // tied BF16, untied, Q4_K
        check_head(names[i], ENCODE_I2_S, CONVERT_HEAD_F16, DENSE_F16);
        check_head(names[i], ENCODE_I2_S, CONVERT_HEAD_Q8_0, DENSE_Q8_0);
        check_head(names[i], ENCODE_TQ1_0, CONVERT_HEAD_Q6_K, DENSE_Q6_K);
    }
    check_head("fixtures/bonsai-pq2/model.gguf", ENCODE_F16, CONVERT_HEAD_Q8_0, DENSE_Q8_0); // from trits
    check_head("fixtures/bonsai-pq2/model.gguf", ENCODE_F16, CONVERT_HEAD_AS_STORED, DENSE_F16);

    model_source *narrow = open_model(data_path("fixtures/hf-bitnet-packed")); // 288 columns
    const convert_options options = {.type = ENCODE_I2_S, .head = CONVERT_HEAD_Q6_K};
    remove_files(scratch);
    tern_error err = {0};
    assert_int_equal(model_convert(narrow, scratch_path("no.gguf"), &options, NULL, &err), TERN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "token_embd.weight"));
    assert_non_null(strstr(err.message, "Q6_K"));
    assert_non_null(strstr(err.message, "f16, q8_0"));
    assert_int_equal(count_files(), 0);
    model_free(narrow);
}

// ---------------------------------------------------------------------------------------------------------- formats

static void test_formats(void **state)
{
    (void)state;
    enum { I2_S = 1 << ENCODE_I2_S, TQ = 1 << ENCODE_TQ1_0 | 1 << ENCODE_TQ2_0, F16 = 1 << ENCODE_F16 };
    static const struct {
        const char *name;
        int fits; // bits of the types
        const char *architecture;
    } cases[] = {
        {"fixtures/bonsai-pq2/model.gguf", F16, "qwen3"},
        {"fixtures/bonsai-ptq1/model.gguf", F16, "qwen3"},
        {"fixtures/bonsai-q2-g128/model.gguf", F16, "qwen3"},
        {"fixtures/bonsai-q2-g64/model.gguf", F16, "qwen3"},
        {"fixtures/bonsai-unpacked", F16, "qwen3"},
        {"fixtures/gguf-bitnet-f16-q4_0/model.gguf", I2_S | TQ | F16, "bitnet"},
        {"fixtures/gguf-bitnet-iq1bn-bf16/model.gguf", I2_S | TQ | F16, "bitnet"},
        {"fixtures/gguf-bitnet-iq2bn-q8/model.gguf", I2_S | TQ | F16, "bitnet"},
        {"fixtures/gguf-bitnet-mixed-split/model-00001-of-00003.gguf", I2_S | TQ | F16, "bitnet"},
        {"fixtures/gguf-vocab-llama2/model.gguf", I2_S | F16, NULL},
        {"fixtures/hf-trilm", F16, "llama"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        model_source *from = open_model(data_path(cases[i].name));
        for (int type = 0; type < ENCODE_N_TYPES; type++) {
            const char *path = scratch_path("out.gguf");
            const convert_options options = {.type = (encode_type)type, .verify = true};
            tern_error err = {0};
            tern_status status = model_convert(from, path, &options, NULL, &err);
            if (!(cases[i].fits & 1 << type)) {
                assert_int_equal(status, TERN_UNSUPPORTED);
                assert_non_null(strstr(err.message, "it fits: "));
                assert_non_null(strstr(strstr(err.message, "it fits: "), "F16"));
                assert_int_equal(count_files(), 0);
                continue;
            }
            assert_ok(status, &err);
            model_source *to = open_model(path);
            if (cases[i].architecture != NULL && type == ENCODE_F16)
                assert_string_equal(to->hp.architecture, cases[i].architecture);
            if (from->hp.quant == ACT_QUANT_INT8X2) assert_int_equal(to->hp.quant, ACT_QUANT_INT8X2);
            model_free(to);
            unlink(path);
        }
        model_free(from);
    }
}

// SentencePiece-style BPE from tokenizer.json: ranks of merges become scores, and the texts the same ids.
static void test_pieces_from_json(void **state)
{
    (void)state;
    model_source *model = open_model(data_path("fixtures/gguf-vocab-llama2/model.gguf"));
    const char *directory = data_path("tokenizers/llama2"), *path = scratch_path("pieces.gguf");
    tern_error err = {0};
    tokenizer_free(model->tokenizer);
    model->tokenizer = NULL;
    assert_ok(tokenizer_from_directory(directory, model->hp.n_vocab, &model->tokenizer, &err), &err);
    const convert_options options = {.type = ENCODE_I2_S, .verify = true};
    assert_ok(model_convert(model, path, &options, NULL, &err), &err);
    model_source *to = open_model(path);
    static const char text[] = "Once upon a time, 3 \xc3\xa9l\xc3\xa8ves \xf0\x9f\x98\x80  said:\n\"hello\"";
    tern_tokens a = {0}, b = {0};
    assert_ok(tern_tokenizer_encode(model->tokenizer, text, sizeof text - 1, TERN_TOKENIZE_ADD_BOS, &a, &err), &err);
    assert_ok(tern_tokenizer_encode(to->tokenizer, text, sizeof text - 1, TERN_TOKENIZE_ADD_BOS, &b, &err), &err);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.ids, b.ids, a.n * sizeof *a.ids);
    tern_tokens_free(&a);
    tern_tokens_free(&b);
    model_free(to);
    model_free(model);
}

// What cannot be said in GGUF is said to the caller.
static void test_warnings(void **state)
{
    (void)state;
    model_source *model = open_model(data_path("fixtures/gguf-llama-tq2/model.gguf"));
    convert_report report = {0};
    tern_error err = {0};
    convert_options options = {.type = ENCODE_F16};
    assert_ok(model_convert(model, scratch_path("a.gguf"), &options, &report, &err), &err);
    assert_non_null(strstr(report.warnings[0], "--act int8"));
    assert_string_equal(report.verified, "");
    options.type = ENCODE_I2_S;
    assert_ok(model_convert(model, scratch_path("a.gguf"), &options, &report, &err), &err);
    assert_string_equal(report.warnings[0], "");
    model_free(model);
}

static void test_linear_norms(void **state)
{
    (void)state;
    model_source *model = open_model("synthetic:tiny");
    model->hp.has_linear_norm = true;
    const convert_options options = {.type = ENCODE_I2_S};
    tern_error err = {0};
    assert_int_equal(model_convert(model, scratch_path("a.gguf"), &options, NULL, &err), TERN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "use_rms_norm"));
    assert_int_equal(count_files(), 0);
    model_free(model);
}

// No part of a split model is written over.
static void test_destination_is_part(void **state)
{
    (void)state;
    char first[256], last[256];
    for (int i = 1; i <= 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "fixtures/gguf-bitnet-mixed-split/model-%05d-of-00003.gguf", i);
        size_t n;
        uint8_t *bytes = read_file(data_path(name), &n);
        write_file(scratch_path(strrchr(name, '/') + 1), bytes, n);
        free(bytes);
    }
    snprintf(first, sizeof first, "%s", scratch_path("model-00001-of-00003.gguf"));
    snprintf(last, sizeof last, "%s", scratch_path("model-00003-of-00003.gguf"));
    model_source *model = open_model(first);
    const convert_options options = {.type = ENCODE_I2_S};
    assert_int_equal(model_convert(model, first, &options, NULL, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(model_convert(model, last, &options, NULL, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(count_files(), 3);
    model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_detects_tensors, clean_scratch),
        cmocka_unit_test_setup(test_detects_keys, clean_scratch),
        cmocka_unit_test_setup(test_spoiled_file, clean_scratch),
        cmocka_unit_test_setup(test_heads, clean_scratch),
        cmocka_unit_test_setup(test_formats, clean_scratch),
        cmocka_unit_test_setup(test_pieces_from_json, clean_scratch),
        cmocka_unit_test_setup(test_warnings, clean_scratch),
        cmocka_unit_test_setup(test_linear_norms, clean_scratch),
        cmocka_unit_test_setup(test_destination_is_part, clean_scratch),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
