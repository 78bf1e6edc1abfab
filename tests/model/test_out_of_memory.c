// Every allocation of a model's life fails once: opening, planning, loading, a session, evaluations, in every
// placement. Each time there is a clear status, nothing is left allocated, and the next life is as if nothing had
// happened. The program is linked with --wrap for the functions below, so the library's own calls come here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache.h"
#include "convert.h"
#include "model.h"
#include "tern.h"

static long fail_in = -1; // the allocation after so many fails; -1: none
static long n_live;       // allocated and not freed
static bool has_failed;

static bool must_fail(void)
{
    long left = __atomic_load_n(&fail_in, __ATOMIC_RELAXED);
    if (left < 0) return false;
    __atomic_store_n(&fail_in, left - 1, __ATOMIC_RELAXED);
    has_failed |= left == 0;
    return left == 0;
}

static void *counted(void *p)
{
    if (p != NULL) __atomic_add_fetch(&n_live, 1, __ATOMIC_RELAXED);
    return p;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
int __real_posix_memalign(void **out, size_t alignment, size_t n);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
int __wrap_posix_memalign(void **out, size_t alignment, size_t n);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
void __wrap_free(void *p);

void *__wrap_malloc(size_t n) { return must_fail() ? NULL : counted(__real_malloc(n)); }
void *__wrap_calloc(size_t n, size_t size) { return must_fail() ? NULL : counted(__real_calloc(n, size)); }
char *__wrap_strdup(const char *s) { return must_fail() ? NULL : counted(__real_strdup(s)); }
char *__wrap_strndup(const char *s, size_t n) { return must_fail() ? NULL : counted(__real_strndup(s, n)); }

void *__wrap_realloc(void *p, size_t n)
{
    if (must_fail()) return NULL;
    void *larger = __real_realloc(p, n);
    return p == NULL ? counted(larger) : larger;
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t n)
{
    if (must_fail()) return 12; // ENOMEM
    int code = __real_posix_memalign(out, alignment, n);
    if (code == 0) counted(*out);
    return code;
}

void __wrap_free(void *p)
{
    if (p != NULL) __atomic_sub_fetch(&n_live, 1, __ATOMIC_RELAXED);
    __real_free(p);
}

typedef struct life {
    int32_t n_gpu_layers, n_streamed;
    tern_embedding embedding;
    tern_weights weights;
    tern_head head;
    enum { NOTHING_KEPT, KEEPS, FINDS } cache; // of packed weights; with it the model is a file
} life;

static char directory[64], file[100];

static tern_status use(tern_model *model, float *logit, tern_error *err)
{
    tern_session *session = NULL;
    uint64_t loaded, with_session, after;
    tern_model_memory(model, NULL, &loaded, NULL);
    tern_status status = tern_session_create(model, &session, err);
    tern_model_memory(model, NULL, &with_session, NULL);
    assert_true(status == TERN_OK ? with_session > loaded : with_session == loaded);
    const tern_row rows[] = {{.token = 1}, {.token = 2, .wants_logits = true}};
    tern_token id;
    if (status == TERN_OK) status = tern_session_eval(session, rows, 2, err);
    if (status == TERN_OK) status = tern_session_top(session, 0, 1, &id, logit, err);
    tern_session_free(session);
    tern_model_memory(model, NULL, &after, NULL);
    assert_true(after == loaded);
    return status;
}

static tern_status live_once(const life *l, float *logit, tern_error *err)
{
    tern_engine *engine = NULL;
    tern_model *model = NULL;
    tern_plan plan;
    tern_plan_options options;
    tern_plan_options_init(&options);
    options.device = "cpu";
    options.n_threads = 2;
    options.n_ctx = 64;
    options.n_batch = 2;
    options.n_gpu_layers = l->n_gpu_layers;
    options.n_streamed = l->n_streamed;
    options.embedding = l->embedding;
    options.weights = l->weights;
    options.head = l->head;
    tern_engine_options engine_options;
    tern_engine_options_init(&engine_options);
    if (l->cache != NOTHING_KEPT) engine_options.cache_dir = directory;
    engine_options.pack_cache_from = 0;
    tern_status status = tern_engine_open(&engine_options, &engine, err);
    if (status == TERN_OK)
        status = tern_model_open(engine, l->cache == NOTHING_KEPT ? "synthetic:tiny" : file, NULL, &model, err);
    if (status == TERN_OK) status = tern_plan_make(model, &options, &plan, err);
    if (status == TERN_OK) status = tern_model_load(model, &plan, NULL, NULL, err);
    if (status == TERN_OK) status = use(model, logit, err);
    tern_model_close(model);
    tern_engine_close(engine);
    return status;
}

static void every_allocation_fails_once(void **state)
{
    const life *l = *state;
    float expected = 0, logit = 0;
    tern_error err = {0};
    if (live_once(l, &expected, &err) != TERN_OK) fail_msg("%s", err.message);
    long n = 0, n_before = n_live;
    for (has_failed = true; has_failed; n++) {
        err = (tern_error){0};
        has_failed = false;
        if (l->cache == KEEPS) cache_trim(directory, "packed", 0);
        if (l->cache == KEEPS) cache_trim(directory, "content", 0);
        fail_in = n;
        tern_status status = live_once(l, &logit, &err);
        fail_in = -1;
        if (n_live != n_before) fail_msg("allocation %ld failing leaves %ld behind", n, n_live - n_before);
        // What only makes the next start faster may be left out.
        bool may_succeed = !has_failed || l->cache != NOTHING_KEPT;
        bool is_clear = status == TERN_OK ? may_succeed && logit == expected
                                          : has_failed && err.message[0] != 0 &&
                                                (status == TERN_HOST_MEMORY || status == TERN_DEVICE_MEMORY);
        if (!is_clear) fail_msg("allocation %ld failing: %s, \"%s\"", n, tern_status_name(status), err.message);
    }
    printf("%ld allocations\n", n - 1);
    assert_true(n > 20);
}

static int make_file(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    model_source *model = NULL;
    snprintf(directory, sizeof directory, "%.40s/tern-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(directory) == NULL) return -1;
    snprintf(file, sizeof file, "%s/model.gguf", directory);
    if (model_open("synthetic:tiny", NULL, &model, NULL) != TERN_OK) return -1;
    tern_status status = model_convert(model, file, &(convert_options){.type = ENCODE_I2_S}, NULL, NULL);
    model_free(model);
    return status != TERN_OK;
}

static int remove_file(void **state)
{
    (void)state;
    unlink(file);
    cache_trim(directory, "packed", 0);
    cache_trim(directory, "content", 0);
    return rmdir(directory);
}

int main(void)
{
    static const life lives[] = {
        {TERN_LAYERS_ALL, 0, TERN_EMBEDDING_AUTO, TERN_WEIGHTS_STORED, TERN_HEAD_STORED, NOTHING_KEPT},
        {1, 0, TERN_EMBEDDING_AUTO, TERN_WEIGHTS_STORED, TERN_HEAD_STORED, NOTHING_KEPT},
        {TERN_LAYERS_ALL, 2, TERN_EMBEDDING_HOST, TERN_WEIGHTS_STORED, TERN_HEAD_STORED, NOTHING_KEPT},
        {1, 1, TERN_EMBEDDING_AUTO, TERN_WEIGHTS_F16, TERN_HEAD_STORED, NOTHING_KEPT},
        {TERN_LAYERS_ALL, 0, TERN_EMBEDDING_AUTO, TERN_WEIGHTS_STORED, TERN_HEAD_SCREEN, KEEPS},
        {TERN_LAYERS_ALL, 0, TERN_EMBEDDING_AUTO, TERN_WEIGHTS_STORED, TERN_HEAD_SCREEN, FINDS},
        {1, 0, TERN_EMBEDDING_AUTO, TERN_WEIGHTS_STORED, TERN_HEAD_SCREEN, NOTHING_KEPT}};
    static const char *const names[] = {"on one device",
                                        "spread",
                                        "streamed",
                                        "a spread, streamed float twin",
                                        "keeps packed weights",
                                        "finds packed weights",
                                        "spread, with a screened head"};
    struct CMUnitTest tests[7];
    for (size_t i = 0; i < 7; i++)
        tests[i] = (struct CMUnitTest){
            .name = names[i], .test_func = every_allocation_fails_once, .initial_state = (void *)(uintptr_t)&lives[i]};
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
