// Weights kept packed between runs: the same bits as when they are packed anew, whatever the model's form; and nothing
// but the same model's weights is ever taken.
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <unistd.h>

#include "cache.h"
#include "convert.h"
#include "cpu.h"
#include "fixtures.h"
#include "loaded.h"
#include "support.h"

#define STORIES TERN_SOURCE_DIR "/models/stories"

static char directory[64], cache[80];

typedef struct messages {
    char text[4000];
    size_t n;
    uint32_t n_embd; // of the model that they are about
} messages;

static void take_message(void *user, int level, const char *message)
{
    messages *m = user;
    (void)level;
    m->n += (size_t)snprintf(m->text + m->n, sizeof m->text - m->n, "%s\n", message);
    assert_true(m->n < sizeof m->text);
}

static bool said(const messages *m, const char *text) { return strstr(m->text, text) != NULL; }

#define KEPT    "of packed weights in"
#define FOUND   "packed weights were found"
#define DAMAGED "are damaged"
#define NOT     "packed weights are not kept"

static const tern_token ids[] = {1, 5, 9, 2, 7, 300, 11};
#define N_IDS (sizeof ids / sizeof ids[0])

// Everything that decides what is packed.
typedef struct form {
    tern_layout layout;
    tern_head head;
    tern_act act;
} form;

// The logits of a model whose packed weights are kept in `dir` (NULL: nowhere), and what the engine said.
static matrix logits_of(const char *path, form f, const char *dir, uint64_t limit, messages *m, const char *on)
{
    tern_engine_options engine;
    tern_engine_options_init(&engine);
    *m = (messages){0};
    engine.log = take_message;
    engine.log_user = m;
    engine.cache_dir = dir;
    engine.pack_cache_from = 0;
    if (limit != 0) engine.pack_cache_limit = limit;
    const placement place = {.n_gpu_layers = TERN_LAYERS_ALL, .layout = f.layout};
    const setup s = {.device = on,
                     .kv = TERN_KV_F32,
                     .n_ctx = 64,
                     .n_threads = on == NULL ? 2 : 1,
                     .act = f.act,
                     .head = f.head,
                     .place = &place,
                     .engine = &engine};
    running r = start(path, s);
    m->n_embd = r.info.n_embd;
    uint64_t planned, now, peak;
    tern_model_memory(r.model, &planned, &now, &peak);
    assert_true(now <= planned && peak >= now); // mapped weights count as any others
    matrix logits = all_logits(&r, ids, N_IDS, N_IDS);
    stop(&r);
    return logits;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    return remove(path);
}

static int make_directory(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%.40s/tern-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(directory) == NULL) return -1;
    snprintf(cache, sizeof cache, "%s/cache", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    return nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

// The files of packed weights; *path is the last of them.
static size_t packed_files(char path[400])
{
    size_t n = 0;
    DIR *d = opendir(cache);
    for (struct dirent *entry; d != NULL && (entry = readdir(d)) != NULL;) {
        if (strncmp(entry->d_name, "packed-", 7) != 0) continue;
        snprintf(path, 400, "%s/%s", cache, entry->d_name);
        n++;
    }
    if (d != NULL) closedir(d);
    return n;
}

static void make_model(const char *path, const char *shape, int seed)
{
    char spec[64];
    model_source *model = NULL;
    snprintf(spec, sizeof spec, "synthetic:%s,seed=%d", shape, seed);
    CHECK(model_open(spec, NULL, &model, err));
    const convert_options options = {.type = ENCODE_I2_S};
    CHECK(model_convert(model, path, &options, NULL, err));
    model_free(model);
}

static const form plain = {.layout = TERN_LAYOUT_T64};

// ---- forms

static void check_forms(const char *path, const char *name)
{
    static const form forms[] = {{.layout = TERN_LAYOUT_T64},
                                 {.layout = TERN_LAYOUT_T80},
                                 {.layout = TERN_LAYOUT_T64, .head = TERN_HEAD_F16},
                                 {.layout = TERN_LAYOUT_T64, .head = TERN_HEAD_INT8},
                                 {.layout = TERN_LAYOUT_T80, .head = TERN_HEAD_INT4}};
    messages none = {0}, first, second;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        char what[200], file[400];
        if (forms[i].head >= TERN_HEAD_INT8 && none.n_embd % 64 != 0) continue; // not for integer heads
        snprintf(what, sizeof what, "%s, layout %d, head %d", name, (int)forms[i].layout, (int)forms[i].head);
        matrix expected = logits_of(path, forms[i], NULL, 0, &none, NULL);
        matrix kept = logits_of(path, forms[i], cache, 0, &first, NULL);
        matrix found = logits_of(path, forms[i], cache, 0, &second, NULL);
        assert_same_bits(&kept, &expected, what);
        assert_same_bits(&found, &expected, what);
        bool is_kept = strcmp(name, "hf-llama-dense") != 0 || forms[i].head != TERN_HEAD_STORED;
        bool is_found = said(&first, FOUND) && i > 0; // scales along K: T80 is T64
        if (said(&none, "packed weights") || (said(&first, KEPT) || is_found) != is_kept ||
            said(&second, FOUND) != is_kept)
            fail_msg("%s: \"%s\", then \"%s\"", what, first.text, second.text);
        assert_true(!is_kept || packed_files(file) > 0);
        free(expected.values);
        free(kept.values);
        free(found.values);
    }
}

static void stories(void **state)
{
    (void)state;
    check_forms(STORIES, "stories");
}

static void fixture_forms(void **state)
{
    const fixture *f = *state;
    char relative[200], path[600];
    snprintf(relative, sizeof relative, "fixtures/%s/%s", f->name, f->file);
    check_forms(data_path(relative, path, sizeof path), f->name);
}

// ---- what is taken and what is not

typedef struct trial {
    char path[200];
    matrix expected;
} trial;

static trial begin(int seed)
{
    trial t;
    messages m;
    snprintf(t.path, sizeof t.path, "%s/model.gguf", directory);
    make_model(t.path, "tiny", seed);
    t.expected = logits_of(t.path, plain, NULL, 0, &m, NULL);
    return t;
}

static void expect(const trial *t, const char *path, const char *message, const char *what)
{
    messages m;
    matrix got = logits_of(path, plain, cache, 0, &m, NULL);
    assert_same_bits(&got, &t->expected, what);
    if (!said(&m, message)) fail_msg("%s: \"%s\", expected \"%s\"", what, m.text, message);
    free(got.values);
}

static void copy_file(const char *from, const char *to)
{
    char command[600];
    snprintf(command, sizeof command, "cp '%s' '%s'", from, to);
    assert_int_equal(system(command), 0);
}

static void a_changed_model_is_packed_again(void **state)
{
    (void)state;
    char file[400], copy[300];
    trial one = begin(1);
    expect(&one, one.path, KEPT, "first");
    expect(&one, one.path, FOUND, "again");
    snprintf(copy, sizeof copy, "%s/copy.gguf", directory);
    copy_file(one.path, copy);
    expect(&one, copy, FOUND, "a copy has the same bytes");
    const struct timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
    assert_int_equal(utimensat(AT_FDCWD, one.path, times, 0), 0);
    expect(&one, one.path, FOUND, "touched");
    assert_int_equal(packed_files(file), 1);

    trial two = begin(2); // another model of the same size under the same name
    assert_true(memcmp(one.expected.values, two.expected.values, sizeof(float) * 512) != 0);
    expect(&two, two.path, KEPT, "replaced");
    expect(&one, copy, FOUND, "both are kept");

    // One trit changed in place, the time of modification set back.
    FILE *f = fopen(copy, "r+b");
    struct stat st;
    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &st), 0);
    assert_int_equal(fseek(f, -5000, SEEK_END), 0);
    int byte = fgetc(f);
    assert_int_equal(fseek(f, -5000, SEEK_END), 0);
    fputc(byte == 0x55 ? 0x95 : 0x55, f); // weights of zero, or one that is not
    fclose(f);
    const struct timespec back[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, copy, back, 0), 0);
    messages m;
    trial changed = {.expected = logits_of(copy, plain, NULL, 0, &m, NULL)};
    expect(&changed, copy, KEPT, "changed in place");
    free(changed.expected.values);
    free(one.expected.values);
    free(two.expected.values);
}

// The rows of gate and up stand in another order where a product gates, so what is kept for one is not taken for the
// other.
static void another_order_of_rows_is_packed_again(void **state)
{
    (void)state;
    const form floats = {.layout = TERN_LAYOUT_T64, .act = TERN_ACT_F32};
    trial t = begin(1);
    messages m;
    expect(&t, t.path, KEPT, "int8");
    matrix expected = logits_of(t.path, floats, NULL, 0, &m, NULL);
    matrix got = logits_of(t.path, floats, cache, 0, &m, NULL);
    assert_true(said(&m, KEPT));
    assert_same_bits(&got, &expected, "floats");
    expect(&t, t.path, FOUND, "int8 again");
    free(expected.values);
    free(got.values);
    free(t.expected.values);
}

// Writes into the model's file while it is loaded.
static bool change_file(void *user, uint64_t done, uint64_t total)
{
    FILE *f = fopen(user, "r+b");
    (void)done, (void)total;
    assert_non_null(f);
    assert_int_equal(fseek(f, -5000, SEEK_END), 0);
    fputc(0x55, f);
    fclose(f);
    return true;
}

static void a_model_changed_while_loading_is_not_kept(void **state)
{
    (void)state;
    char file[400];
    messages m = {0};
    tern_engine_options engine_options;
    tern_engine *engine = NULL;
    tern_model *model = NULL;
    tern_plan plan;
    tern_plan_options plan_options;
    trial t = begin(1);
    tern_plan_options_init(&plan_options);
    plan_options.device = "cpu";
    tern_engine_options_init(&engine_options);
    engine_options.log = take_message;
    engine_options.log_user = &m;
    engine_options.cache_dir = cache;
    engine_options.pack_cache_from = 0;
    CHECK(tern_engine_open(&engine_options, &engine, err));
    CHECK(tern_model_open(engine, t.path, NULL, &model, err));
    CHECK(tern_plan_make(model, &plan_options, &plan, err));
    CHECK(tern_model_load(model, &plan, change_file, t.path, err));
    tern_model_close(model);
    tern_engine_close(engine);
    if (!said(&m, NOT) || !said(&m, "was changed")) fail_msg("\"%s\"", m.text);
    assert_int_equal(packed_files(file), 0);
    free(t.expected.values);
}

static void damaged_files_are_made_again(void **state)
{
    (void)state;
    char file[400];
    trial t = begin(1);
    expect(&t, t.path, KEPT, "first");
    assert_int_equal(packed_files(file), 1);
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    const off_t size = st.st_size;
    const struct {
        off_t at, length;
        const char *message, *what;
    } cases[] = {{size / 2, size, DAMAGED, "a bit of the weights"},
                 {size - 1, size, DAMAGED, "the last byte"},
                 {4, size, KEPT, "the version"},
                 {50, size, KEPT, "the key"},
                 {-1, size - 1, KEPT, "cut"},
                 {-1, 0, KEPT, "empty"},
                 {-1, size + 1, KEPT, "longer"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int fd = open(file, O_RDWR);
        uint8_t byte = 0;
        assert_true(fd >= 0);
        if (cases[i].at >= 0) {
            assert_int_equal(pread(fd, &byte, 1, cases[i].at), 1);
            byte ^= 0x10;
            assert_int_equal(pwrite(fd, &byte, 1, cases[i].at), 1);
        }
        assert_int_equal(ftruncate(fd, cases[i].length), 0);
        close(fd);
        expect(&t, t.path, cases[i].message, cases[i].what);
        expect(&t, t.path, FOUND, cases[i].what); // and is good again
        assert_int_equal(packed_files(file), 1);
    }
    free(t.expected.values);
}

static void no_room_is_no_failure(void **state)
{
    (void)state;
    char below[300];
    trial t = begin(1);
    messages m;
    snprintf(below, sizeof below, "%s/cache", t.path); // below a file
    matrix got = logits_of(t.path, plain, below, 0, &m, NULL);
    assert_same_bits(&got, &t.expected, "no directory");
    if (!said(&m, NOT) || !said(&m, below)) fail_msg("\"%s\"", m.text);
    free(got.values);
    got = logits_of(t.path, plain, cache, 1, &m, NULL); // over the limit
    assert_same_bits(&got, &t.expected, "over the limit");
    assert_false(said(&m, "packed weights"));
    free(got.values);
    got = logits_of("synthetic:tiny", plain, cache, 0, &m, NULL); // without files there is nothing to keep
    assert_false(said(&m, "packed weights"));
    free(got.values);
    free(t.expected.values);
}

static void the_oldest_goes_first(void **state)
{
    (void)state;
    char file[400];
    struct stat st;
    messages m;
    trial one = begin(1);
    expect(&one, one.path, KEPT, "first");
    assert_int_equal(packed_files(file), 1);
    assert_int_equal(stat(file, &st), 0);
    trial two = begin(2);
    uint64_t limit = (uint64_t)st.st_size * 3 / 2; // room for one
    matrix got = logits_of(two.path, plain, cache, limit, &m, NULL);
    assert_true(said(&m, KEPT));
    assert_int_equal(packed_files(file), 1);
    free(got.values);
    expect(&two, two.path, FOUND, "the newer one stays");
    free(one.expected.values);
    free(two.expected.values);
}

// What the CPU packed serves its reference, too.
static void the_reference_reads_it(void **state)
{
    (void)state;
    messages m;
    trial t = begin(3);
    expect(&t, t.path, KEPT, "first");
    matrix got = logits_of(t.path, plain, cache, 0, &m, "cpuref");
    assert_true(said(&m, FOUND));
    assert_same_bits(&got, &t.expected, "cpuref");
    free(got.values);
    free(t.expected.values);
}

// ---- the process's memory

// Packed anew, packed and kept, found: mapped or not, the pages are those of the plan, and there when loading ends.
static void the_process_grows_as_planned(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); // its own memory beside every allocation
#endif
    char path[200];
    snprintf(path, sizeof path, "%s/700m.gguf", directory);
    make_model(path, "700m", 1);
    for (int i = 0; i < 3; i++) {
        messages m = {0};
        tern_engine_options engine;
        tern_engine_options_init(&engine);
        engine.log = take_message;
        engine.log_user = &m;
        engine.cache_dir = i == 0 ? NULL : cache;
        uint64_t before = resident_bytes();
        if (before == 0) skip();
        running r = start(path, (setup){.n_ctx = 1024, .n_threads = 2, .engine = &engine});
        uint64_t grown = resident_bytes() - before, planned = r.plan.bytes_total;
        printf("%llu MiB planned, %llu MiB grown\n", (unsigned long long)planned >> 20,
               (unsigned long long)grown >> 20);
        assert_true(said(&m, KEPT) == (i == 1) && said(&m, FOUND) == (i == 2));
        assert_true(grown <= planned + planned / 50 + ((uint64_t)32 << 20));
        assert_true(grown + ((uint64_t)32 << 20) >= planned - planned / 20);
        stop(&r);
    }
}

// ---- the version

static uint64_t ternary_image(ternary_layout layout, uint32_t group)
{
    const uint32_t n_rows = 37, n_cols = 650;
    device *d = NULL;
    weights *w = NULL;
    ternary_scale scale;
    CHECK(cpu_backend.device_open(0, &(device_options){.n_threads = 1}, &d, err));
    CHECK(ternary_scale_create(n_rows, false, group, n_cols, &scale, err));
    for (uint32_t i = 0; i < n_rows * scale.n_groups; i++) scale.values[i] = 0.5f + (float)i;
    const weights_desc desc = {
        .n_rows = n_rows, .n_cols = n_cols, .is_ternary = true, .layout = layout, .scale = &scale};
    uint64_t n_bytes = 0;
    CHECK(cpu_backend.weights_bytes(NULL, &desc, &n_bytes, err));
    CHECK(cpu_backend.weights_create(d, &desc, &w, err));
    uint8_t *rows = calloc(n_rows, ternary_row_bytes(n_cols));
    for (uint32_t r = 0; r < n_rows; r++) {
        uint8_t *row = rows + r * ternary_row_bytes(n_cols);
        for (uint32_t c = 0; c < n_cols; c++)
            row[c / 4] = (uint8_t)(row[c / 4] | (r * 7 + c * 5 + r * c) % 3 << c % 4 * 2);
        ternary_pad_row(row, n_cols);
    }
    CHECK(cpu_backend.weights_upload_rows(w, 0, n_rows, rows, err));
    uint64_t hash = cache_hash(cpu_backend.weights_image(w), (size_t)n_bytes);
    free(rows);
    ternary_scale_free(&scale);
    cpu_backend.weights_destroy(w);
    cpu_backend.device_close(d);
    return hash;
}

static uint64_t held_row(dense_type type)
{
    float values[640];
    uint8_t row[1000] = {0};
    for (int i = 0; i < 640; i++) values[i] = (float)(i * i % 97 - 48) / 7.0f;
    assert_true(dense_quantize_row(type, values, 640, row));
    return cache_hash(row, dense_row_bytes(type, 640));
}

// Gate and up of a layer as they are loaded.
static uint64_t gate_up_image(void)
{
    running r = start(STORIES, (setup){.kv = TERN_KV_F32, .n_ctx = 64});
    const weights *w = r.model->residents[0]->layers[1].gate_up.part[0];
    uint64_t hash = cache_hash(cpu_backend.weights_image(w), w->all_bytes);
    stop(&r);
    return hash;
}

// Files of an older Tern must not be taken for those of one that packs otherwise. If this fails after a change of a
// layout, of the order of rows or of a quantiser: raise PACKING_VERSION in pack_cache.c, then put in the new numbers.
static void packing_is_that_of_its_version(void **state)
{
    (void)state;
    const uint64_t images[] = {
        ternary_image(TERNARY_T64, 0), ternary_image(TERNARY_T80, 0), ternary_image(TERNARY_T64, 128),
        held_row(DENSE_INT8),          held_row(DENSE_INT4),          gate_up_image()};
    static const uint64_t version_2[] = {0x3f85ffd193a3112b, 0x3171c374c6f4633f, 0x9907b7cdd648269d,
                                         0x55b6139e6b850674, 0xd5a3fb3e60157a24, 0xb247d90d6d4aecb3};
    for (size_t i = 0; i < sizeof images / sizeof images[0]; i++)
        if (images[i] != version_2[i])
            fail_msg("image %zu is %#llx: PACKING_VERSION must be raised", i, (unsigned long long)images[i]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
    struct CMUnitTest tests[10 + N_FIXTURES] = {
        T(packing_is_that_of_its_version),  T(stories),
        T(a_changed_model_is_packed_again), T(damaged_files_are_made_again),
        T(no_room_is_no_failure),           T(the_oldest_goes_first),
        T(the_reference_reads_it),          T(a_model_changed_while_loading_is_not_kept),
        T(the_process_grows_as_planned),    T(another_order_of_rows_is_packed_again),
    };
    size_t n = 10;
    for (size_t i = 0; i < N_FIXTURES; i++) {
        tests[n] = (struct CMUnitTest)T(fixture_forms);
        tests[n].name = fixtures[i].name;
        tests[n++].initial_state = (void *)(uintptr_t)&fixtures[i];
    }
    return _cmocka_run_group_tests("pack_cache", tests, n, NULL, NULL);
}
