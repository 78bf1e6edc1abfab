// Compiled kernels on disk (common/cache.h, see test_cache.c): written once, read afterwards, and never trusted:
// whatever is wrong with a file, the kernels are built again and the file is replaced.
#include <sys/stat.h>

#include "scratch.h"
#include "watch.h"

// Opens the device with the cache, checks that it computes, closes it. The programs built from source.
static size_t open_once(const char *dir)
{
    op_runner reference = open_reference(), subject;
    op_runner *const subjects[] = {&subject};
    op_outcome outcome = {0};
    tern_error err = {0};
    op_case c = find_case("ternary_mm M=3 N=37 K=200 tensor 1-term");
    size_t n_before = calls[WATCH_SOURCE];
    opencl_traits traits = plain_traits();
    subject = open_subject(&traits, dir, "cached");
    assert_int_equal(op_case_run(&c, &reference, subjects, 1, &outcome, &err), TERN_OK);
    if (outcome.verdict != VERDICT_PASSED) fail_msg("%s", outcome.text);
    op_runner_close(&subject);
    op_runner_close(&reference);
    return calls[WATCH_SOURCE] - n_before;
}

// Names of the cache's files; fails where one is anything else, such as a temporary file.
static size_t list_files(char names[32][256])
{
    size_t n = 0;
    DIR *d = opendir(scratch);
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        unsigned long long hash;
        int end = 0;
        if (entry->d_name[0] == '.') continue;
        if (sscanf(entry->d_name, "opencl-%16llx.bin%n", &hash, &end) != 1 || end == 0 || entry->d_name[end] != 0)
            fail_msg("%s is left in the cache", entry->d_name);
        assert_true(n < 32);
        snprintf(names[n++], 256, "%s/%.100s", scratch, entry->d_name);
    }
    closedir(d);
    return n;
}

static void write_back(const char *path, const uint8_t *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

static void test_second_open_builds_nothing(void **state)
{
    (void)state;
    need_device();
    char names[32][256];
    watch_begin();
    size_t n_built = open_once(scratch), n_files = list_files(names);
    assert_true(n_built >= TOPIC_COUNT - 1); // kernels for T80 come with the first such matrix
    assert_int_equal(n_files, n_built);
    assert_int_equal(open_once(scratch), 0);
    assert_int_equal(calls[WATCH_BINARY], n_built);
    assert_int_equal(list_files(names), n_files);
    watch_end();
    assert_nothing_left();
}

static void test_damaged_files_are_replaced(void **state)
{
    (void)state;
    need_device();
    char names[32][256];
    watch_begin();
    open_once(scratch);
    size_t n_files = list_files(names);
    for (size_t i = 0; i < n_files; i++) {
        size_t n;
        uint8_t *good = read_file(names[i], &n), *bad = malloc(n + 1);
        assert_non_null(bad);
        memcpy(bad, good, n);
        bad[n] = 0;
        assert_true(n > 64);
        size_t n_bad = n;
        switch (i % 7) {
        case 0: bad[n / 2] ^= 1; break;           // in the binary
        case 1: n_bad = n / 3; break;             // cut
        case 2: bad[0] ^= 1; break;               // magic
        case 3: n_bad = n + 1; break;             // longer
        case 4: n_bad = 0; break;                 // empty
        case 5: bad[40] ^= 1; break;              // in the key
        case 6: memset(bad + 8, 0xff, 16); break; // lengths
        }
        write_back(names[i], bad, n_bad);
        free(bad);
        assert_int_equal(open_once(scratch), 1); // that one
        assert_int_equal(open_once(scratch), 0); // and it is good again
        if (!file_is(names[i], good, n)) {       // the driver may number things anew, but the length tells
            size_t n_new;
            free(read_file(names[i], &n_new));
            assert_true(n_new > n / 2);
        }
        free(good);
    }
    assert_int_equal(list_files(names), n_files);
    watch_end();
    assert_nothing_left();
}

// A driver update that the key does not show: every binary is refused, when it is given or when it is built.
static void test_refused_binaries_are_built_again(void **state)
{
    (void)state;
    need_device();
    watch_begin();
    size_t n_built = open_once(scratch);
    static const watched where[] = {WATCH_BINARY, WATCH_BUILD};
    for (size_t i = 0; i < 2; i++) {
        watch_fault(where[i], 1, CL_INVALID_BINARY);
        fails_from_then_on = where[i] == WATCH_BINARY;
        assert_int_equal(open_once(scratch), fails_from_then_on ? n_built : 1);
        fault_at = 0;
    }
    assert_int_equal(open_once(scratch), 0);
    watch_end();
    assert_nothing_left();
}

static void test_no_place_to_write_is_no_failure(void **state)
{
    (void)state;
    need_device();
    watch_begin();
    char under_a_file[300], below[300];
    write_back(scratch_path("file"), (const uint8_t *)"x", 1);
    snprintf(under_a_file, sizeof under_a_file, "%s/file/cache", scratch);
    assert_true(open_once(under_a_file) > 0);
    assert_true(open_once(under_a_file) > 0);
    assert_int_equal(count_files(), 1);
    snprintf(below, sizeof below, "%s/a/b", scratch); // folders that are not there yet are made
    assert_true(open_once(below) > 0);
    assert_int_equal(open_once(below), 0);
    watch_end();
    assert_nothing_left();
}

#define T(name) cmocka_unit_test_setup_teardown(name, empty_scratch, end_watch)

// With the folders in it.
static int empty_scratch(void **state) { return drop_scratch(state) != 0 || mkdir(scratch, 0700) != 0; }

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(test_second_open_builds_nothing),
        T(test_damaged_files_are_replaced),
        T(test_refused_binaries_are_built_again),
        T(test_no_place_to_write_is_no_failure),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
