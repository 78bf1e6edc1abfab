// Whole models converted to every type, reopened and compared row by row; failures that must leave nothing behind.
#include "convert.h"
#include "half.h"
#include "rope.h"
#include "scratch.h"

static model_source *open_model(const char *path)
{
    tern_error err = {0};
    model_source *model = NULL;
    assert_ok(model_open(path, NULL, &model, &err), &err);
    return model;
}

static tern_status convert(const model_source *model, const char *path, encode_type type, tern_error *err)
{
    const convert_options options = {.type = type, .verify = true};
    return model_convert(model, path, &options, NULL, err);
}

static void compare_hparams(const hparams *a, const hparams *b)
{
    assert_int_equal(a->n_layers, b->n_layers);
    assert_int_equal(a->n_embd, b->n_embd);
    assert_int_equal(a->n_ff, b->n_ff);
    assert_int_equal(a->n_heads, b->n_heads);
    assert_int_equal(a->n_kv_heads, b->n_kv_heads);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->n_vocab, b->n_vocab);
    assert_int_equal(a->n_ctx_train, b->n_ctx_train);
    assert_int_equal(a->rope.n_dims, b->rope.n_dims);
    assert_true(a->norm_eps == b->norm_eps);
    assert_true(a->rope.theta == b->rope.theta);
    assert_int_equal(a->act, b->act);
    assert_int_equal(a->is_tied, b->is_tied);
    assert_int_equal(a->has_sub_norm, b->has_sub_norm);
}

static void compare_vectors(const tensor_ref *a, const tensor_ref *b, uint32_t n)
{
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    assert_int_equal(model_read_vector(a, n, x, NULL), TERN_OK);
    assert_int_equal(model_read_vector(b, n, y, NULL), TERN_OK);
    assert_memory_equal(x, y, n * sizeof *x);
    free(x);
    free(y);
}

static uint8_t *all_rows(const matrix_source *m, ternary_scale *scale)
{
    tern_error err = {0};
    size_t n = matrix_is_ternary(m) ? ternary_row_bytes(m->n_cols) : dense_row_bytes(m->dense, m->n_cols);
    uint8_t *rows = malloc(m->n_rows * n);
    *scale = (ternary_scale){0};
    if (matrix_is_ternary(m)) assert_ok(matrix_scale(m, scale, &err), &err);
    assert_ok(matrix_read_rows(m, scale, 0, m->n_rows, rows, &err), &err);
    return rows;
}

static float row_scale(const ternary_scale *s, uint32_t row, uint32_t column)
{
    return s->values[(size_t)ternary_scale_set(s, row) * s->n_groups + column / s->group];
}

// A row of the output, as F16, against the row of the source it comes from.
static void compare_f16_row(const matrix_source *a, const ternary_scale *scale, const uint8_t *from, uint32_t from_row,
                            const uint8_t *to)
{
    float *values = calloc(a->n_cols, sizeof *values);
    if (!matrix_is_ternary(a)) dense_row_to_float(a->dense, from, a->n_cols, values);
    for (uint32_t c = 0; c < a->n_cols; c++) {
        float value = values[c];
        if (matrix_is_ternary(a)) value = (float)(ternary_code(from, c) - 1) * row_scale(scale, from_row, c);
        uint32_t bits = (uint32_t)(to[2 * c] | to[2 * c + 1] << 8);
        assert_true(half_to_float(bits) == half_to_float(half_from_float(value)));
    }
    free(values);
}

// Every row of b is the right row of a. head_rows: rows of a head that went from half-split to adjacent order, or 0.
static void compare_matrices(const matrix_source *a, const matrix_source *b, encode_type type, uint32_t head_rows)
{
    assert_int_equal(a->n_rows, b->n_rows);
    assert_int_equal(a->n_cols, b->n_cols);
    ternary_scale sa, sb;
    uint8_t *ra = all_rows(a, &sa), *rb = all_rows(b, &sb);
    size_t bytes_a = matrix_is_ternary(a) ? ternary_row_bytes(a->n_cols) : dense_row_bytes(a->dense, a->n_cols);
    size_t bytes_b = matrix_is_ternary(b) ? ternary_row_bytes(b->n_cols) : dense_row_bytes(b->dense, b->n_cols);
    for (uint32_t r = 0; r < a->n_rows; r++) {
        uint32_t to = r;
        if (head_rows != 0) { // half-split row j * hd/2 + i of a head becomes row 2i + j
            uint32_t within = r % head_rows, j = within / (head_rows / 2), i = within % (head_rows / 2);
            to = r - within + 2 * i + j;
        }
        const uint8_t *x = ra + r * bytes_a, *y = rb + to * bytes_b;
        if (type == ENCODE_F16) { // as stored: the opener recognises ternary values
            assert_int_equal(b->dense, DENSE_F16);
            compare_f16_row(a, &sa, x, r, b->weights->data + 2 * (size_t)to * b->n_cols);
            continue;
        }
        assert_memory_equal(x, y, bytes_a);
        for (uint32_t c = 0; c < a->n_cols; c += 256) {
            float s = row_scale(&sa, r, c), t = row_scale(&sb, to, c);
            assert_true(type == ENCODE_I2_S ? s == t : t == half_to_float(half_from_float(s)));
        }
    }
    free(ra);
    free(rb);
    ternary_scale_free(&sa);
    ternary_scale_free(&sb);
}

static void compare_dense(const matrix_source *a, const matrix_source *b)
{
    ternary_scale none;
    assert_int_equal(a->dense, b->dense);
    uint8_t *x = all_rows(a, &none), *y = all_rows(b, &none);
    assert_memory_equal(x, y, a->n_rows * dense_row_bytes(a->dense, a->n_cols));
    free(x);
    free(y);
}

static void compare_tokenizers(const model_source *a, const model_source *b)
{
    assert_non_null(a->tokenizer);
    assert_non_null(b->tokenizer);
    tokenizer_export x, y;
    tokenizer_get_export(a->tokenizer, &x);
    tokenizer_get_export(b->tokenizer, &y);
    assert_string_equal(x.model, y.model);
    assert_string_equal(x.pre, y.pre);
    assert_true(x.n_tokens <= y.n_tokens);
    for (uint32_t i = 0; i < x.n_tokens; i++) {
        assert_string_equal(x.tokens[i], y.tokens[i]);
        assert_int_equal(x.token_types[i], y.token_types[i]);
    }
    for (uint32_t i = x.n_tokens; i < y.n_tokens; i++) assert_int_equal(y.token_types[i], 5);
    assert_int_equal(x.n_merges, y.n_merges);
    for (size_t i = 0; i < x.n_merges; i++) assert_string_equal(x.merges[i], y.merges[i]);
    assert_int_equal(x.bos, y.bos);
    assert_int_equal(x.eos, y.eos);
    assert_int_equal(x.pad, y.pad);
    assert_int_equal(x.add_bos, y.add_bos);
    assert_int_equal(x.scores != NULL, y.scores != NULL);
    for (uint32_t i = 0; x.scores != NULL && i < x.n_tokens; i++) assert_true(x.scores[i] == y.scores[i]);
    if (x.scores != NULL) assert_int_equal(x.unknown, y.unknown);
    assert_int_equal(x.add_space_prefix, y.add_space_prefix);
}

static void compare_weights(const model_source *a, const model_source *b, encode_type type)
{
    compare_dense(&a->embedding, &b->embedding);
    if (!a->hp.is_tied) compare_dense(&a->head, &b->head);
    compare_vectors(&a->output_norm, &b->output_norm, a->hp.n_embd);
    bool is_llama = strcmp(b->hp.architecture, "llama") == 0;
    assert_int_equal(b->hp.rope.style, is_llama ? ROPE_ADJACENT : ROPE_HALF_SPLIT);
    uint32_t head_rows = is_llama && a->hp.rope.style == ROPE_HALF_SPLIT ? a->hp.head_dim : 0;
    for (uint32_t i = 0; i < a->hp.n_layers; i++) {
        const layer_source *x = &a->layers[i], *y = &b->layers[i];
        compare_vectors(&x->attn_norm, &y->attn_norm, a->hp.n_embd);
        compare_vectors(&x->ffn_norm, &y->ffn_norm, a->hp.n_embd);
        if (a->hp.has_sub_norm) {
            compare_vectors(&x->attn_sub_norm, &y->attn_sub_norm, x->o.n_cols);
            compare_vectors(&x->ffn_sub_norm, &y->ffn_sub_norm, x->down.n_cols);
        }
        compare_matrices(&x->q, &y->q, type, head_rows);
        compare_matrices(&x->k, &y->k, type, head_rows);
        compare_matrices(&x->v, &y->v, type, 0);
        compare_matrices(&x->o, &y->o, type, 0);
        compare_matrices(&x->gate, &y->gate, type, 0);
        compare_matrices(&x->up, &y->up, type, 0);
        compare_matrices(&x->down, &y->down, type, 0);
    }
}

// Converts, reopens and compares; `architecture` NULL means that the type must be refused.
static void check_model(const char *name, encode_type type, const char *architecture)
{
    model_source *from = open_model(data_path(name));
    const char *path = scratch_path("model.gguf");
    tern_error err = {0};
    tern_status status = convert(from, path, type, &err);
    if (architecture == NULL) {
        assert_int_equal(status, TERN_UNSUPPORTED);
        assert_non_null(strstr(err.message, encode_formats[type].name));
        assert_int_equal(count_files(), 0);
    } else {
        assert_ok(status, &err);
        assert_int_equal(count_files(), 1);
        model_source *to = open_model(path);
        assert_string_equal(to->hp.architecture, architecture);
        compare_hparams(&from->hp, &to->hp);
        compare_tokenizers(from, to);
        compare_weights(from, to, type);
        model_free(to);
        unlink(path);
    }
    model_free(from);
}

static void test_stories(void **state)
{
    (void)state;
    check_model("models/stories", ENCODE_I2_S, "bitnet-b1.58");
    check_model("models/stories", ENCODE_TQ1_0, "bitnet");
    check_model("models/stories", ENCODE_TQ2_0, "bitnet");
    check_model("models/stories", ENCODE_F16, "bitnet");
}

static void test_master(void **state)
{
    (void)state;
    check_model("models/stories-master", ENCODE_I2_S, "bitnet-b1.58");
    check_model("models/stories-master", ENCODE_TQ1_0, "bitnet");
    check_model("fixtures/hf-bitnet-master", ENCODE_TQ2_0, "bitnet"); // untied head
    check_model("fixtures/hf-bitnet-master", ENCODE_F16, "bitnet");
}

static void test_packed(void **state)
{
    (void)state;
    check_model("fixtures/hf-bitnet-packed", ENCODE_I2_S, "bitnet-b1.58"); // groups straddle rows
    check_model("fixtures/hf-bitnet-packed", ENCODE_TQ1_0, NULL);
    check_model("fixtures/hf-bitnet-packed", ENCODE_F16, "bitnet");
}

static void test_1bitllm(void **state)
{
    (void)state;
    check_model("fixtures/hf-1bitllm", ENCODE_I2_S, "bitnet");
    check_model("fixtures/hf-1bitllm", ENCODE_TQ2_0, NULL);
}

static void test_llama(void **state)
{
    (void)state;
    check_model("fixtures/hf-llama-bitlinear", ENCODE_I2_S, "llama");
    check_model("fixtures/hf-llama-bitlinear", ENCODE_F16, "llama");
    check_model("fixtures/hf-llama-bitlinear", ENCODE_TQ2_0, NULL);
    check_model("fixtures/gguf-llama-i2s/model.gguf", ENCODE_I2_S, "llama");
    check_model("fixtures/gguf-llama-i2s/model.gguf", ENCODE_TQ2_0, "llama");
    check_model("fixtures/gguf-llama-tq2/model.gguf", ENCODE_I2_S, "llama");
}

static void test_gguf(void **state)
{
    (void)state;
    check_model("fixtures/gguf-bitnet-i2s-f16/model.gguf", ENCODE_I2_S, "bitnet-b1.58");
    check_model("fixtures/gguf-bitnet-i2s-f16/model.gguf", ENCODE_TQ1_0, "bitnet");
    check_model("fixtures/gguf-bitnet-tq1-q4k/model.gguf", ENCODE_TQ2_0, "bitnet");
    check_model("fixtures/gguf-bitnet-tq2-q6k/model.gguf", ENCODE_TQ1_0, "bitnet");
    check_model("fixtures/gguf-bitnet-tq2-q6k/model.gguf", ENCODE_F16, "bitnet");
}

// Tokenizer keys that this build does not interpret come over as they are.
static void test_carried_keys(void **state)
{
    (void)state;
    static const char *const names[] = {"fixtures/gguf-vocab-llama2/model.gguf",
                                        "fixtures/gguf-bitnet-tq2-q6k/model.gguf"};
    for (size_t k = 0; k < 2; k++) {
        model_source *from = open_model(data_path(names[k]));
        const char *path = scratch_path("carried.gguf");
        tern_error err = {0};
        assert_ok(convert(from, path, ENCODE_I2_S, &err), &err);
        size_t n[2], n_tokenizer = 0;
        uint8_t *bytes[2] = {read_file(data_path(names[k]), &n[0]), read_file(path, &n[1])};
        gguf_file files[2];
        for (int i = 0; i < 2; i++) assert_ok(gguf_parse(bytes[i], n[i], &files[i], &err), &err);
        for (size_t i = 0; i < files[0].n_values; i++) {
            const gguf_value *v = &files[0].values[i];
            char key[128];
            snprintf(key, sizeof key, "%.*s", (int)v->key.n, v->key.data);
            if (strncmp(key, "tokenizer.", 10) != 0 || strcmp(key, "tokenizer.ggml.scores") == 0) continue;
            const gguf_value *copy = gguf_find(&files[1], key);
            assert_non_null(copy);
            assert_int_equal(copy->type, v->type);
            assert_int_equal(copy->count, v->count);
            assert_int_equal(copy->n_bytes, v->n_bytes);
            assert_memory_equal(copy->data, v->data, v->n_bytes);
            n_tokenizer++;
        }
        assert_true(n_tokenizer > 3);
        for (int i = 0; i < 2; i++) {
            gguf_free(&files[i]);
            free(bytes[i]);
        }
        model_free(from);
        unlink(path);
    }
}

// A model with more rows than ids gets a token list as long as its rows.
static void test_padding_tokens(void **state)
{
    (void)state;
    model_source *model = open_model(data_path("models/stories"));
    tern_error err = {0};
    tokenizer_free(model->tokenizer); // 4,096 ids; the other has 512
    model->tokenizer = NULL;
    const char *directory = data_path("fixtures/hf-bitnet-packed");
    assert_ok(tokenizer_from_directory(directory, model->hp.n_vocab, &model->tokenizer, &err), &err);
    const char *path = scratch_path("padded.gguf");
    assert_ok(convert(model, path, ENCODE_TQ2_0, &err), &err);
    model_source *to = open_model(path);
    compare_tokenizers(model, to);
    tokenizer_export e;
    tokenizer_get_export(to->tokenizer, &e);
    assert_int_equal(e.n_tokens, model->hp.n_vocab);
    assert_string_equal(e.tokens[512], "[PAD512]");
    assert_string_equal(e.tokens[4095], "[PAD4095]");
    model_free(to);
    model_free(model);
}

static void test_linear_scaling(void **state)
{
    (void)state;
    model_source *model = open_model("synthetic:tiny");
    model->hp.rope.scaling = ROPE_SCALING_LINEAR;
    model->hp.rope.factor = 4.0;
    const char *path = scratch_path("linear.gguf");
    tern_error err = {0};
    assert_ok(convert(model, path, ENCODE_I2_S, &err), &err);
    model_source *to = open_model(path);
    assert_int_equal(to->hp.rope.scaling, ROPE_SCALING_LINEAR);
    assert_true(to->hp.rope.factor == 4.0);
    assert_null(to->hp.rope.freq_divisors);
    model_free(to);
    model_free(model);
}

static void test_synthetic(void **state)
{
    (void)state;
    model_source *model = open_model("synthetic:tiny");
    for (int type = 0; type < ENCODE_N_TYPES; type++) {
        const char *path = scratch_path("synthetic.gguf");
        tern_error err = {0};
        assert_ok(convert(model, path, (encode_type)type, &err), &err);
        model_source *to = open_model(path);
        assert_null(to->tokenizer);
        assert_true(to->is_synthetic); // the label travels with the weights
        compare_weights(model, to, (encode_type)type);
        model_free(to);
    }
    model_free(model);
}

static void test_dense(void **state)
{
    (void)state;
    check_model("fixtures/hf-llama-dense", ENCODE_I2_S, NULL);
    check_model("fixtures/hf-llama-dense", ENCODE_F16, "llama");
    check_model("models/stories-float", ENCODE_F16, "bitnet"); // sub-norms, no trits
}

// Llama-3 scaling as divisors in the file turns by the same angles.
static void test_rope_divisors(void **state)
{
    (void)state;
    model_source *from = open_model(data_path("fixtures/hf-llama-dense"));
    tern_error err = {0};
    const char *path = scratch_path("rope.gguf");
    assert_ok(convert(from, path, ENCODE_F16, &err), &err);
    model_source *to = open_model(path);
    const float *divisors = to->hp.rope.freq_divisors;
    uint32_t n_dims = to->hp.rope.n_dims, n_positions = 512;
    assert_non_null(divisors);
    assert_int_equal(to->hp.rope.scaling, ROPE_SCALING_NONE);
    assert_true(divisors[0] == 1.0f);              // wavelength 2 pi, below 64 / 4
    assert_true(divisors[n_dims / 2 - 1] == 8.0f); // wavelength far above 64 / 1
    size_t n = (size_t)n_positions * n_dims, n_inside = 0;
    for (uint32_t i = 0; i < n_dims / 2; i++) n_inside += divisors[i] > 1.0f && divisors[i] < 8.0f;
    assert_true(n_inside > 0); // the blended part is exercised
    float *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b);
    rope_table(&from->hp.rope, n_positions, a);
    rope_table(&to->hp.rope, n_positions, b);
    // A divisor rounded to fp32 moves an angle of up to 512 by 512 * 2^-24 at most.
    for (size_t i = 0; i < n; i++) assert_true(a[i] - b[i] < 1e-4f && b[i] - a[i] < 1e-4f);
    free(a);
    free(b);
    model_free(to);
    model_free(from);
    unlink(path);
}

// --------------------------------------------------------------------------------------------------------- failures

typedef struct progress_log {
    uint64_t n_calls, last, total, stop_at; // stop_at: the call that cancels, from 1; 0 never
} progress_log;

static bool log_progress(void *user, uint64_t done, uint64_t total)
{
    progress_log *log = user;
    assert_true(done >= log->last && done <= total && total > 0 && (log->n_calls == 0 || total == log->total));
    log->last = done;
    log->total = total;
    return ++log->n_calls != log->stop_at;
}

static void test_cancel(void **state)
{
    (void)state;
    model_source *model = open_model(data_path("models/stories"));
    const char *path = scratch_path("out.gguf");
    progress_log all = {0}, log = {0};
    convert_options options = {.type = ENCODE_I2_S, .verify = true, .progress = log_progress, .user = &all};
    tern_error err = {0};
    assert_ok(model_convert(model, path, &options, NULL, &err), &err);
    assert_true(all.total > 0 && all.last == all.total);
    unlink(path);
    options.user = &log;
    const uint64_t stops[] = {1, 2, all.n_calls / 3, all.n_calls * 3 / 4, all.n_calls};
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
        log = (progress_log){.stop_at = stops[i]};
        error_clear(&err);
        assert_int_equal(model_convert(model, path, &options, NULL, &err), TERN_CANCELLED);
        assert_int_equal(log.n_calls, stops[i]); // not asked again
        assert_int_equal(count_files(), 0);
    }
    write_file(path, "precious", 8);
    log = (progress_log){.stop_at = all.n_calls / 2};
    assert_int_equal(model_convert(model, path, &options, NULL, NULL), TERN_CANCELLED);
    assert_true(file_is(path, "precious", 8));
    assert_int_equal(count_files(), 1);
    error_clear(&err);
    assert_ok(convert(model, path, ENCODE_TQ2_0, &err), &err); // success replaces it
    assert_false(file_is(path, "precious", 8));
    assert_int_equal(count_files(), 1);
    unlink(path);
    model_free(model);
}

// A synthetic model's file, interrupted anywhere and written on, is the file of an uninterrupted run.
static void test_resume(void **state)
{
    (void)state;
    model_source *model = open_model("synthetic:tiny,seed=5");
    const char *path = scratch_path("out.gguf");
    progress_log all = {0}, log = {0};
    convert_options options = {.type = ENCODE_I2_S, .is_resumable = true, .progress = log_progress, .user = &all};
    tern_error err = {0};
    assert_ok(model_convert(model, path, &options, NULL, &err), &err);
    size_t n, n_again;
    uint8_t *whole = read_file(path, &n);
    unlink(path);
    options.user = &log;
    for (uint64_t stop = all.n_calls * 2 / 3; stop <= all.n_calls; stop += all.n_calls / 6 + 1) {
        log = (progress_log){.stop_at = stop};
        error_clear(&err);
        assert_int_equal(model_convert(model, path, &options, NULL, &err), TERN_CANCELLED);
        assert_non_null(strstr(err.message, "out.gguf.part"));
        assert_int_equal(count_files(), 1);
        log = (progress_log){0};
        error_clear(&err);
        assert_ok(model_convert(model, path, &options, NULL, &err), &err);
        assert_true(log.last == log.total);
        uint8_t *again = read_file(path, &n_again);
        assert_int_equal(n, n_again);
        assert_memory_equal(whole, again, n);
        free(again);
        unlink(path);
    }
    free(whole);
    model_free(model);
}

static void test_bad_destination(void **state)
{
    (void)state;
    size_t n;
    uint8_t *bytes = read_file(data_path("fixtures/gguf-llama-tq2/model.gguf"), &n);
    const char *path = scratch_path("in.gguf");
    write_file(path, bytes, n);
    model_source *model = open_model(path);
    tern_error err = {0};
    assert_int_equal(convert(model, path, ENCODE_TQ2_0, &err), TERN_INVALID_ARGUMENT);
    assert_true(file_is(path, bytes, n));
    const char *alias = scratch_path("alias.gguf");
    assert_int_equal(symlink(path, alias), 0);
    assert_int_equal(convert(model, alias, ENCODE_TQ2_0, NULL), TERN_INVALID_ARGUMENT);
    assert_true(file_is(path, bytes, n));
    unlink(alias);
    error_clear(&err);
    const char *missing = scratch_path("none/out.gguf");
    assert_int_equal(convert(model, missing, ENCODE_TQ2_0, &err), TERN_IO);
    assert_non_null(strstr(err.message, missing));
    assert_int_equal(count_files(), 1);
    model_free(model);
    unlink(path);
    free(bytes);
}

// The files of a Hugging Face directory are the model too.
static void test_destination_in_directory(void **state)
{
    (void)state;
    static const char *const names[] = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json"};
    char source[512];
    snprintf(source, sizeof source, "%s", data_path("fixtures/hf-bitnet-packed"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char from[600];
        snprintf(from, sizeof from, "%s/%s", source, names[i]);
        size_t n;
        uint8_t *bytes = read_file(from, &n);
        write_file(scratch_path(names[i]), bytes, n);
        free(bytes);
    }
    model_source *model = open_model(scratch);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(convert(model, scratch_path(names[i]), ENCODE_I2_S, NULL), TERN_INVALID_ARGUMENT);
    for (int i = 0; i < 2; i++) { // a .gguf beside them is fine, and so is replacing it
        tern_error err = {0};
        assert_ok(convert(model, scratch_path("model.gguf"), ENCODE_I2_S, &err), &err);
    }
    assert_int_equal(count_files(), sizeof names / sizeof names[0] + 1);
    model_free(model);
    remove_files(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_stories, clean_scratch),
        cmocka_unit_test_setup(test_master, clean_scratch),
        cmocka_unit_test_setup(test_packed, clean_scratch),
        cmocka_unit_test_setup(test_1bitllm, clean_scratch),
        cmocka_unit_test_setup(test_llama, clean_scratch),
        cmocka_unit_test_setup(test_gguf, clean_scratch),
        cmocka_unit_test_setup(test_carried_keys, clean_scratch),
        cmocka_unit_test_setup(test_padding_tokens, clean_scratch),
        cmocka_unit_test_setup(test_linear_scaling, clean_scratch),
        cmocka_unit_test_setup(test_synthetic, clean_scratch),
        cmocka_unit_test_setup(test_dense, clean_scratch),
        cmocka_unit_test_setup(test_rope_divisors, clean_scratch),
        cmocka_unit_test_setup(test_cancel, clean_scratch),
        cmocka_unit_test_setup(test_resume, clean_scratch),
        cmocka_unit_test_setup(test_bad_destination, clean_scratch),
        cmocka_unit_test_setup(test_destination_in_directory, clean_scratch),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
