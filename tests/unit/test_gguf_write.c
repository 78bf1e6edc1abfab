// The GGUF writer: what it writes, the parser reads back; a failed or abandoned file leaves nothing behind.
#include <signal.h>
#include <sys/resource.h>

#include "gguf.h"
#include "gguf_write.h"
#include "scratch.h"

static void add_all_kinds(gguf_writer *w)
{
    const char *const texts[] = {"", "two words", "\xc4\xa0x"};
    const int32_t ints[] = {-1, 0, INT32_MAX};
    const float floats[] = {0.5f, -2.0f};
    gguf_writer_add_string(w, "general.architecture", "test");
    gguf_writer_add_u32(w, "a.u32", 4000000000u);
    gguf_writer_add_f32(w, "a.f32", 1e-5f);
    gguf_writer_add_bool(w, "a.bool", true);
    gguf_writer_add_strings(w, "a.strings", texts, 3);
    gguf_writer_add_i32s(w, "a.ints", ints, 3);
    gguf_writer_add_f32s(w, "a.floats", floats, 2);
    gguf_writer_add_strings(w, "a.empty", NULL, 0);
}

static void test_writer_round_trip(void **state)
{
    (void)state;
    tern_error err = {0};
    const char *path = scratch_path("kinds.gguf");
    gguf_writer *w = NULL;
    assert_ok(gguf_writer_create(path, &w, &err), &err);
    add_all_kinds(w);
    const float a[3] = {1.0f, 2.0f, 3.0f};
    const uint16_t b[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    const uint64_t a_dims[] = {3}, b_dims[] = {4, 2};
    gguf_writer_add_tensor(w, "a", 0, 1, a_dims, sizeof a);
    gguf_writer_add_tensor(w, "b", 1, 2, b_dims, sizeof b);
    assert_int_equal(gguf_writer_data(w, a, 4, NULL), TERN_INTERNAL); // before begin
    assert_ok(gguf_writer_begin(w, &err), &err);
    assert_int_equal(gguf_writer_data(w, b, sizeof b, NULL), TERN_INTERNAL); // more than tensor a has
    assert_ok(gguf_writer_data(w, a, 4, &err), &err);
    assert_int_equal(gguf_writer_finish(w, NULL), TERN_INTERNAL); // too early
    assert_ok(gguf_writer_data(w, a + 1, 8, &err), &err);
    assert_ok(gguf_writer_data(w, b, sizeof b, &err), &err);
    assert_int_equal(access(path, F_OK), -1); // nothing under the final name before the end
    assert_ok(gguf_writer_finish(w, &err), &err);
    gguf_writer_free(w);
    assert_int_equal(count_files(), 1);

    size_t n;
    uint8_t *bytes = read_file(path, &n);
    gguf_file f;
    assert_ok(gguf_parse(bytes, n, &f, &err), &err);
    uint32_t u32 = 0;
    float f32 = 0.0f;
    bool flag = false;
    gguf_string texts[3];
    assert_int_equal(f.version, 3);
    assert_int_equal(f.n_values, 8);
    assert_int_equal(gguf_get_u32(&f, "a.u32", &u32, &err), TERN_OK);
    assert_int_equal(u32, 4000000000u);
    assert_int_equal(gguf_get_f32(&f, "a.f32", &f32, &err), TERN_OK);
    assert_true(f32 == 1e-5f);
    assert_int_equal(gguf_get_bool(&f, "a.bool", &flag, &err), TERN_OK);
    assert_true(flag);
    assert_int_equal(gguf_array_strings(&f, "a.strings", texts, 3, &err), TERN_OK);
    assert_int_equal(texts[0].n, 0);
    assert_memory_equal(texts[2].data, "\xc4\xa0x", 3);
    assert_int_equal(gguf_find(&f, "a.ints")->element_type, GGUF_I32);
    assert_int_equal(gguf_find(&f, "a.ints")->count, 3);
    assert_int_equal(gguf_find(&f, "a.empty")->count, 0);
    assert_memory_equal(gguf_find(&f, "a.floats")->data, "\0\0\0\x3f\0\0\0\xc0", 8);
    const tensor *ta = tensor_set_find(&f.tensors, "a"), *tb = tensor_set_find(&f.tensors, "b");
    assert_non_null(ta);
    assert_non_null(tb);
    assert_int_equal(tb->dims[0], 4);
    assert_int_equal(tb->dims[1], 2);
    assert_memory_equal(ta->data, a, sizeof a);
    assert_memory_equal(tb->data, b, sizeof b);
    assert_int_equal((tb->data - bytes) % 32, 0);
    assert_int_equal(n % 32, 0);
    gguf_free(&f);
    free(bytes);
    unlink(path);
}

static void test_writer_failures(void **state)
{
    (void)state;
    tern_error err = {0};
    gguf_writer *w = NULL;
    const char *missing = scratch_path("no/such/directory.gguf");
    assert_int_equal(gguf_writer_create(missing, &w, &err), TERN_IO);
    assert_null(w);
    assert_non_null(strstr(err.message, missing));
    assert_non_null(strstr(err.message, "No such file"));
    error_clear(&err);
    assert_int_equal(gguf_writer_create(scratch, &w, &err), TERN_IO);
    assert_non_null(strstr(err.message, "directory"));
    error_clear(&err);
    assert_int_equal(gguf_writer_create("/dev/null", &w, &err), TERN_IO);
    error_clear(&err);

    const char *path = scratch_path("half.gguf");
    write_file(path, "old", 3);
    assert_ok(gguf_writer_create(path, &w, &err), &err);
    const uint64_t dims[] = {1 << 20};
    gguf_writer_add_tensor(w, "a", 24, 1, dims, 1 << 20);
    assert_ok(gguf_writer_begin(w, &err), &err);
    assert_int_equal(count_files(), 2);
    gguf_writer_free(w);
    assert_int_equal(count_files(), 1);
    assert_true(file_is(path, "old", 3));

    // A tensor too large is remembered and told at begin.
    assert_ok(gguf_writer_create(path, &w, &err), &err);
    gguf_writer_add_tensor(w, "huge", 24, 1, dims, UINT64_MAX - 5);
    assert_int_equal(gguf_writer_begin(w, &err), TERN_LIMIT);
    gguf_writer_free(w);
    error_clear(&err);

    // No room: a file size limit stands for a full disk.
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    assert_ok(gguf_writer_create(path, &w, &err), &err);
    gguf_writer_add_tensor(w, "a", 24, 1, dims, 1 << 20);
    tern_status status = gguf_writer_begin(w, &err);
    char *block = calloc(1, 1 << 20);
    if (status == TERN_OK) status = gguf_writer_data(w, block, 1 << 20, &err); // file systems without reservation
    free(block);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, TERN_IO);
    assert_non_null(strstr(err.message, path));
    gguf_writer_free(w);
    assert_int_equal(count_files(), 1);
    assert_true(file_is(path, "old", 3));
    unlink(path);
}

// One tensor of 4 bytes, one of 5, one of 40.
static tern_status begin_resumable(const char *path, const char *name, gguf_writer **w, tern_error *err)
{
    const uint64_t dims[] = {4}, five[] = {5}, forty[] = {40};
    tern_status status = gguf_writer_create_resumable(path, w, err);
    if (status != TERN_OK) return status;
    gguf_writer_add_string(*w, "general.name", name);
    gguf_writer_add_tensor(*w, "a", 24, 1, dims, 4);
    gguf_writer_add_tensor(*w, "b", 24, 1, five, 5);
    gguf_writer_add_tensor(*w, "c", 24, 1, forty, 40);
    return gguf_writer_begin(*w, err);
}

static void test_writer_goes_on(void **state)
{
    (void)state;
    tern_error err = {0};
    const char *path = scratch_path("long.gguf");
    static const char bytes[] = "0123456789012345678901234567890123456789012345678";
    gguf_writer *w = NULL, *other = NULL;
    assert_ok(begin_resumable(path, "one", &w, &err), &err);
    assert_int_equal(gguf_writer_n_done(w), 0);
    assert_ok(gguf_writer_data(w, bytes, 4, &err), &err);
    assert_ok(gguf_writer_data(w, bytes + 4, 5, &err), &err);
    assert_ok(gguf_writer_data(w, bytes + 9, 7, &err), &err);
    assert_int_equal(gguf_writer_create_resumable(path, &other, &err), TERN_IO); // while it is being written
    assert_non_null(strstr(err.message, "another process"));
    error_clear(&err);
    gguf_writer_free(w); // interrupted within c
    assert_int_equal(count_files(), 1);

    assert_int_equal(begin_resumable(path, "two", &w, &err), TERN_IO); // the part is of another file
    assert_non_null(strstr(err.message, "long.gguf.part is the beginning of another file"));
    error_clear(&err);
    gguf_writer_free(w);
    assert_int_equal(count_files(), 1);

    assert_ok(begin_resumable(path, "one", &w, &err), &err);
    assert_int_equal(gguf_writer_n_done(w), 2);
    assert_ok(gguf_writer_data(w, bytes + 9, 40, &err), &err);
    assert_ok(gguf_writer_finish(w, &err), &err);
    gguf_writer_free(w);
    assert_int_equal(count_files(), 1);
    size_t n, n_whole;
    uint8_t *resumed = read_file(path, &n);
    unlink(path);

    assert_ok(begin_resumable(path, "one", &w, &err), &err);
    assert_ok(gguf_writer_data(w, bytes, 4, &err), &err);
    assert_ok(gguf_writer_data(w, bytes + 4, 5, &err), &err);
    assert_ok(gguf_writer_data(w, bytes + 9, 40, &err), &err);
    assert_ok(gguf_writer_finish(w, &err), &err);
    gguf_writer_free(w);
    uint8_t *whole = read_file(path, &n_whole);
    assert_int_equal(n, n_whole);
    assert_memory_equal(resumed, whole, n);
    free(resumed);
    free(whole);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_writer_round_trip, clean_scratch),
        cmocka_unit_test_setup(test_writer_failures, clean_scratch),
        cmocka_unit_test_setup(test_writer_goes_on, clean_scratch),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
