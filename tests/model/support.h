// What the model tests share: data folders, .npy and expected.json readers, and a model opened, loaded and evaluated in
// one call.
#ifndef TERN_TESTS_SUPPORT_H
#define TERN_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "tern.h"

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        tern_error err_ = {0};                                                                                         \
        tern_error *err = &err_;                                                                                       \
        tern_status status_ = (call);                                                                                  \
        if (status_ != TERN_OK) fail_msg("%s: %s", tern_status_name(status_), err_.message);                           \
    } while (0)

// Memory of this process that is present; 0 where the system does not tell.
static inline uint64_t resident_bytes(void)
{
    unsigned long long size = 0, present = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL) return 0;
    if (fscanf(f, "%llu %llu", &size, &present) != 2) present = 0;
    fclose(f);
    return present * (uint64_t)sysconf(_SC_PAGESIZE);
}

static inline const char *data_root(void)
{
    const char *root = getenv("TERN_TEST_DATA");
    return root != NULL ? root : TERN_TEST_DATA_DEFAULT;
}

// Path of a test datum, or skips the test (saying so) where the data folder lacks it.
static inline const char *data_path(const char *relative, char *out, size_t size)
{
    struct stat st;
    int n = snprintf(out, size, "%s/%s", data_root(), relative);
    assert_true(n > 0 && (size_t)n < size);
    if (stat(out, &st) != 0) {
        printf("SKIPPED: no %s\n", relative);
        skip();
    }
    return out;
}

typedef struct matrix {
    float *values; // [n_rows][n_cols], owned
    size_t n_rows, n_cols;
} matrix;

// A two-dimensional float32 .npy file in C order.
static inline matrix read_npy(const char *path)
{
    matrix m = {0};
    FILE *f = fopen(path, "rb");
    if (f == NULL) fail_msg("cannot open %s", path);
    unsigned char head[10];
    assert_int_equal(fread(head, 1, sizeof head, f), sizeof head);
    assert_memory_equal(head, "\x93NUMPY", 6);
    size_t n_header = head[8] | (size_t)head[9] << 8;
    char *header = calloc(1, n_header + 1);
    assert_int_equal(fread(header, 1, n_header, f), n_header);
    assert_non_null(strstr(header, "'<f4'"));
    assert_non_null(strstr(header, "'fortran_order': False"));
    assert_int_equal(sscanf(strstr(header, "'shape': (") + 10, "%zu, %zu", &m.n_rows, &m.n_cols), 2);
    free(header);
    m.values = malloc(m.n_rows * m.n_cols * sizeof(float));
    assert_int_equal(fread(m.values, sizeof(float), m.n_rows * m.n_cols, f), m.n_rows * m.n_cols);
    fclose(f);
    return m;
}

typedef struct id_list {
    tern_token ids[512];
    double margins[512];
    size_t n;
} id_list;

static inline json_t *read_json(const char *path)
{
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error);
    if (json == NULL) fail_msg("%s: %s", path, error.text);
    return json;
}

static inline id_list json_ids(const json_t *object, const char *key)
{
    id_list list = {0};
    const json_t *array = json_object_get(object, key);
    assert_true(json_is_array(array) && json_array_size(array) <= 512);
    for (; list.n < json_array_size(array); list.n++)
        list.ids[list.n] = (tern_token)json_integer_value(json_array_get(array, list.n));
    const json_t *margins = json_object_get(object, "greedy_margin_over_std");
    for (size_t i = 0; i < json_array_size(margins) && i < 512; i++)
        list.margins[i] = json_number_value(json_array_get(margins, i));
    return list;
}

// Where layers and tables go, as in tern_plan_options.
typedef struct placement {
    int32_t n_gpu_layers, n_streamed;
    tern_layout layout;
    tern_embedding embedding;
    uint64_t budget;
} placement;

typedef struct setup {
    const char *device; // NULL: "cpu"
    tern_kv_type kv;
    tern_act act;
    uint32_t n_batch, n_threads, n_ctx, n_sequences; // 0: 512, 1, the model's own, 1
    const char *cache_dir;                           // of compiled kernels; NULL: none
    tern_weights weights;
    tern_head head;
    const placement *place; // NULL: the default
    bool is_eager, fast_attention;
    const tern_engine_options *engine; // NULL: the defaults, with cache_dir
} setup;

typedef struct running {
    tern_engine *engine;
    tern_model *model;
    tern_session *session;
    tern_model_info info;
    tern_plan plan;
} running;

static inline running start(const char *path, setup s)
{
    running r = {0};
    tern_plan_options options;
    tern_model_options open;
    tern_engine_options engine;
    tern_model_options_init(&open);
    open.act = s.act;
    tern_engine_options_init(&engine);
    engine.cache_dir = s.cache_dir;
    if (s.engine != NULL) engine = *s.engine;
    CHECK(tern_engine_open(&engine, &r.engine, err));
    CHECK(tern_model_open(r.engine, path, &open, &r.model, err));
    tern_plan_options_init(&options);
    options.device = s.device != NULL ? s.device : "cpu";
    options.kv_k = options.kv_v = s.kv;
    options.n_batch = s.n_batch != 0 ? s.n_batch : 512;
    options.n_threads = s.n_threads != 0 ? s.n_threads : 1;
    options.n_ctx = s.n_ctx;
    options.weights = s.weights;
    options.head = s.head;
    options.is_eager = s.is_eager;
    options.fast_attention = s.fast_attention;
    options.n_sequences = s.n_sequences != 0 ? s.n_sequences : 1;
    if (s.place != NULL) {
        options.n_gpu_layers = s.place->n_gpu_layers;
        options.n_streamed = s.place->n_streamed;
        options.layout = s.place->layout;
        options.embedding = s.place->embedding;
        options.memory_budget = s.place->budget;
    }
    CHECK(tern_plan_make(r.model, &options, &r.plan, err));
    CHECK(tern_model_load(r.model, &r.plan, NULL, NULL, err));
    CHECK(tern_session_create(r.model, &r.session, err));
    tern_model_get_info(r.model, &r.info);
    return r;
}

static inline void stop(running *r)
{
    tern_session_free(r->session);
    tern_model_close(r->model);
    tern_engine_close(r->engine);
}

// Logits of every token of a fresh sequence 0, evaluated n_batch rows at a time.
static inline matrix all_logits(running *r, const tern_token *ids, size_t n, size_t n_batch)
{
    matrix m = {.values = malloc(n * r->info.n_vocab * sizeof(float)), .n_rows = n, .n_cols = r->info.n_vocab};
    tern_row *rows = malloc(n_batch * sizeof *rows);
    CHECK(tern_session_trim(r->session, 0, 0, err));
    for (size_t first = 0; first < n; first += n_batch) {
        size_t count = n - first < n_batch ? n - first : n_batch;
        for (size_t i = 0; i < count; i++) rows[i] = (tern_row){.token = ids[first + i], .wants_logits = true};
        CHECK(tern_session_eval(r->session, rows, count, err));
        for (size_t i = 0; i < count; i++) {
            const float *row;
            CHECK(tern_session_logits(r->session, i, &row, err));
            memcpy(m.values + (first + i) * m.n_cols, row, m.n_cols * sizeof(float));
        }
    }
    free(rows);
    return m;
}

static inline void assert_same_bits(const matrix *a, const matrix *b, const char *what)
{
    assert_int_equal(a->n_rows, b->n_rows);
    assert_int_equal(a->n_cols, b->n_cols);
    for (size_t i = 0; i < a->n_rows * a->n_cols; i++)
        if (memcmp(&a->values[i], &b->values[i], sizeof(float)) != 0)
            fail_msg("%s: row %zu, token %zu: %a against %a", what, i / a->n_cols, i % a->n_cols, (double)a->values[i],
                     (double)b->values[i]);
}

static inline size_t argmax(const float *row, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (row[i] > row[best]) best = i;
    return best;
}

// Appends the names of this machine's devices but the CPU and its reference, `most` in all.
static inline int add_devices(char names[][32], size_t most, size_t *n)
{
    tern_engine *engine = NULL;
    if (tern_engine_open(NULL, &engine, NULL) != TERN_OK) return -1;
    for (size_t i = 0; i < tern_engine_device_count(engine) && *n < most; i++) {
        tern_device_info info;
        if (tern_engine_device_info(engine, i, &info, NULL) != TERN_OK || strncmp(info.name, "cpu", 3) == 0) continue;
        memcpy(names[(*n)++], info.name, sizeof info.name);
        printf("device %s: %s\n", info.name, info.description);
    }
    tern_engine_close(engine);
    return 0;
}

// Generated text, and the function that tern_generate hands it to.
typedef struct generated_text {
    char bytes[4096];
    size_t n;
} generated_text;

static inline bool collect(void *user, const char *bytes, size_t n)
{
    generated_text *t = user;
    if (t->n + n > sizeof t->bytes) return false;
    memcpy(t->bytes + t->n, bytes, n);
    t->n += n;
    return true;
}

#endif
