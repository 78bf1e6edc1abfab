// Files of the user's cache: what was written comes back, and nothing else is ever taken for it.
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "cache.h"
#include "scratch.h"

#define KIND "kind"
#define KEY  "all that the contents depend on"

// Sections of every size around a chunk.
static const uint64_t sizes[] = {0, 1, 63, CACHE_CHUNK - 1, CACHE_CHUNK, CACHE_CHUNK + 1, 2 * CACHE_CHUNK + 77, 5};
#define N_SECTIONS ((uint32_t)(sizeof sizes / sizeof sizes[0]))

static uint8_t contents(uint32_t section, uint64_t i) { return (uint8_t)((i * 2654435761u >> 13) + section); }

static void write_sections(const char *key)
{
    cache_file f;
    tern_error err = {0};
    assert_ok(cache_create(scratch, KIND, key, sizes, N_SECTIONS, &f, &err), &err);
    uint8_t *chunk = malloc(CACHE_CHUNK);
    for (uint32_t s = N_SECTIONS; s-- > 0;) // in no order
        for (uint64_t c = 0; c < cache_n_chunks(sizes[s]); c++) {
            for (uint64_t i = 0; i < CACHE_CHUNK; i++) chunk[i] = contents(s, c * CACHE_CHUNK + i);
            cache_write(&f, s, c, chunk);
        }
    free(chunk);
    assert_ok(cache_keep(&f, &err), &err);
}

static bool is_all_intact(const cache_file *f)
{
    bool ok = true;
    for (uint32_t s = 0; s < f->n_sections; s++)
        for (uint64_t c = 0; c < cache_n_chunks(f->sections[s].n_bytes); c++) ok = ok && cache_is_intact(f, s, c);
    return ok;
}

// The one file in the directory.
static const char *only_file(void)
{
    static char path[400];
    DIR *d = opendir(scratch);
    assert_non_null(d);
    path[0] = 0;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        assert_int_equal(path[0], 0);
        snprintf(path, sizeof path, "%s/%s", scratch, entry->d_name);
    }
    closedir(d);
    assert_int_not_equal(path[0], 0);
    return path;
}

static bool opens(const char *key, uint32_t n_sections)
{
    cache_file f;
    bool ok = cache_open(scratch, KIND, key, n_sections, &f);
    cache_close(&f);
    return ok;
}

static void test_what_was_written_comes_back(void **state)
{
    (void)state;
    cache_file f;
    assert_false(opens(KEY, N_SECTIONS));
    write_sections(KEY);
    assert_true(cache_open(scratch, KIND, KEY, N_SECTIONS, &f));
    assert_true(is_all_intact(&f));
    for (uint32_t s = 0; s < N_SECTIONS; s++) {
        assert_int_equal(f.sections[s].n_bytes, sizes[s]);
        assert_int_equal((uintptr_t)cache_data(&f, s) % 64, 0);
        for (uint64_t i = 0; i < sizes[s]; i++)
            if (cache_data(&f, s)[i] != contents(s, i)) fail_msg("section %u, byte %llu", s, (unsigned long long)i);
    }
    struct stat st;
    assert_int_equal(stat(only_file(), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    cache_remove(scratch, KIND, KEY); // a mapped file stays what it is
    assert_int_equal(count_files(), 0);
    assert_true(is_all_intact(&f));
    cache_close(&f);
    assert_false(opens(KEY, N_SECTIONS));
}

static void test_only_the_same_key_and_form_open(void **state)
{
    (void)state;
    write_sections(KEY);
    assert_true(opens(KEY, N_SECTIONS));
    assert_false(opens(KEY ".", N_SECTIONS));
    assert_false(opens(KEY, N_SECTIONS - 1));
    assert_false(opens(KEY, N_SECTIONS + 1));
    cache_file f;
    assert_false(cache_open(scratch, "other", KEY, N_SECTIONS, &f));
    assert_false(cache_open("", KIND, KEY, N_SECTIONS, &f));
    // The file of one key under the name of another: as if two keys had the same hash.
    size_t n;
    uint8_t *first = read_file(only_file(), &n);
    cache_remove(scratch, KIND, KEY);
    write_sections("another key");
    write_file(only_file(), first, n);
    assert_false(opens("another key", N_SECTIONS));
    free(first);
}

static void test_damage_is_seen(void **state)
{
    (void)state;
    write_sections(KEY);
    cache_file f;
    assert_true(cache_open(scratch, KIND, KEY, N_SECTIONS, &f));
    uint64_t data_at = f.sections[1].at, last_at = f.sections[6].at + CACHE_CHUNK + 5;
    cache_close(&f);
    char path[400];
    snprintf(path, sizeof path, "%s", only_file());
    size_t n;
    uint8_t *good = read_file(path, &n);

    // One bit before the first section: the file is none.
    uint64_t table_end = 0;
    for (uint64_t i = 0; i < data_at; i++) {
        good[i] ^= (uint8_t)(1u << i % 8);
        write_file(path, good, n);
        if (opens(KEY, N_SECTIONS)) { // the gap before the section, which nobody reads
            if (table_end == 0) table_end = i;
        } else {
            assert_int_equal(table_end, 0);
        }
        good[i] ^= (uint8_t)(1u << i % 8);
    }
    assert_true(table_end == 0 || data_at - table_end < 64);

    // One bit of a section: that chunk is seen, the others are as they were.
    const struct {
        uint64_t at;
        uint32_t section;
        uint64_t chunk;
    } flips[] = {{data_at, 1, 0}, {last_at, 6, 1}, {n - 1, 7, 0}};
    for (size_t i = 0; i < sizeof flips / sizeof flips[0]; i++) {
        good[flips[i].at] ^= 0x80;
        write_file(path, good, n);
        assert_true(cache_open(scratch, KIND, KEY, N_SECTIONS, &f));
        for (uint32_t s = 0; s < N_SECTIONS; s++)
            for (uint64_t c = 0; c < cache_n_chunks(sizes[s]); c++)
                assert_int_equal(cache_is_intact(&f, s, c), s != flips[i].section || c != flips[i].chunk);
        cache_close(&f);
        good[flips[i].at] ^= 0x80;
    }

    // Cut, longer, empty.
    uint8_t *longer = calloc(1, n + 1);
    memcpy(longer, good, n);
    const size_t lengths[] = {n - 1, n / 2, 33, 1, 0, n + 1};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        write_file(path, longer, lengths[i]);
        assert_false(opens(KEY, N_SECTIONS));
    }
    write_file(path, good, n);
    assert_true(opens(KEY, N_SECTIONS));
    free(longer);
    free(good);
}

static void test_only_own_regular_files_open(void **state)
{
    (void)state;
    write_sections(KEY);
    char path[400], elsewhere[400];
    snprintf(path, sizeof path, "%s", only_file());
    for (unsigned mode = 0; mode < 2; mode++) { // others could write to it
        assert_int_equal(chmod(path, mode == 0 ? 0620 : 0602), 0);
        assert_false(opens(KEY, N_SECTIONS));
    }
    assert_int_equal(chmod(path, 0600), 0);
    assert_true(opens(KEY, N_SECTIONS));
    snprintf(elsewhere, sizeof elsewhere, "%s", scratch_path("elsewhere"));
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_false(opens(KEY, N_SECTIONS));
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0); // and nobody waits for it
    assert_false(opens(KEY, N_SECTIONS));
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(opens(KEY, N_SECTIONS));
    rmdir(path);
}

static void test_what_is_not_kept_leaves_nothing(void **state)
{
    (void)state;
    cache_file f;
    tern_error err = {0};
    assert_ok(cache_create(scratch, KIND, KEY, sizes, N_SECTIONS, &f, &err), &err);
    assert_int_equal(count_files(), 1);
    cache_close(&f);
    assert_int_equal(count_files(), 0);

    const uint64_t too_much = (uint64_t)1 << 42; // 4 TiB
    assert_int_equal(cache_create(scratch, KIND, KEY, &too_much, 1, &f, &err), TERN_IO);
    assert_non_null(strstr(err.message, "more than half"));
    assert_int_equal(count_files(), 0);

    write_file(scratch_path("file"), "x", 1);
    err = (tern_error){0};
    assert_int_equal(cache_create(scratch_path("file/below"), KIND, KEY, sizes, 1, &f, &err), TERN_IO);
    assert_non_null(strstr(err.message, "file/below"));
    assert_ok(cache_create(scratch_path("a/b"), KIND, KEY, sizes, 1, &f, &err), &(tern_error){0}); // made on the way
    cache_close(&f);
}

static void *write_again(void *key)
{
    for (int i = 0; i < 4; i++) write_sections(key);
    return NULL;
}

static void test_writers_at_once(void **state)
{
    (void)state;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, write_again, KEY), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    cache_file f;
    assert_int_equal(count_files(), 1);
    assert_true(cache_open(scratch, KIND, KEY, N_SECTIONS, &f));
    assert_true(is_all_intact(&f));
    cache_close(&f);
}

static void keep_small(const char *kind, const char *key, time_t age)
{
    cache_file f;
    tern_error err = {0};
    const uint64_t size = 1000;
    uint8_t data[1000] = {1};
    assert_ok(cache_create(scratch, kind, key, &size, 1, &f, &err), &err);
    cache_write(&f, 0, 0, data);
    char path[400];
    snprintf(path, sizeof path, "%s", f.path);
    assert_ok(cache_keep(&f, &err), &err);
    const struct timespec used[2] = {{time(NULL) - age, 0}, {time(NULL) - age, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, used, 0), 0);
}

static bool has(const char *kind, const char *key)
{
    cache_file f;
    bool ok = cache_open(scratch, kind, key, 1, &f);
    cache_close(&f);
    return ok;
}

static void test_trim_takes_what_was_unused_for_longest(void **state)
{
    (void)state;
    keep_small(KIND, "old", 4000);
    keep_small(KIND, "older", 5000);
    keep_small(KIND, "oldest", 6000);
    keep_small("other", "oldest", 9000);
    write_file(scratch_path("kind-notes.txt"), "mine", 4); // of no interest
    cache_trim(scratch, KIND, 1u << 20);
    assert_int_equal(count_files(), 5);
    assert_true(has(KIND, "oldest")); // and used now
    cache_trim(scratch, KIND, 2500);  // room for two
    assert_int_equal(count_files(), 4);
    assert_false(has(KIND, "older"));
    assert_true(has(KIND, "old") && has(KIND, "oldest") && has("other", "oldest"));
    cache_trim(scratch, KIND, 0);
    assert_int_equal(count_files(), 2);
    assert_true(has("other", "oldest"));
}

static void test_trim_takes_what_was_left_half_written(void **state)
{
    (void)state;
    cache_file fresh, stale;
    tern_error err = {0};
    assert_ok(cache_create(scratch, KIND, "fresh", sizes, 1, &fresh, &err), &err);
    assert_ok(cache_create(scratch, KIND, "stale", sizes, 1, &stale, &err), &err);
    const struct timespec old[2] = {{time(NULL) - 4000, 0}, {time(NULL) - 4000, 0}};
    assert_int_equal(utimensat(AT_FDCWD, stale.temporary, old, 0), 0);
    cache_trim(scratch, KIND, 0);
    assert_int_equal(access(fresh.temporary, F_OK), 0);
    assert_int_not_equal(access(stale.temporary, F_OK), 0);
    cache_close(&fresh);
    cache_close(&stale);
}

static void test_hash_sees_every_bit(void **state)
{
    (void)state;
    uint8_t data[200] = {0};
    for (size_t n = 0; n <= sizeof data; n += 25) {
        uint64_t whole = cache_hash(data, n);
        for (size_t bit = 0; bit < 8 * n; bit++) {
            data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_true(cache_hash(data, n) != whole);
            for (size_t other = 64; other < 8 * n; other += 64) { // the same bit of words that share a lane, too
                if (bit + other >= 8 * n) break;
                data[(bit + other) / 8] ^= (uint8_t)(1u << bit % 8);
                assert_true(cache_hash(data, n) != whole);
                data[(bit + other) / 8] ^= (uint8_t)(1u << bit % 8);
            }
            data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        if (n > 0) assert_true(cache_hash(data, n - 1) != whole); // zeros count
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, empty, NULL)

static int empty(void **state) { return drop_scratch(state) != 0 || mkdir(scratch, 0700) != 0; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_what_was_written_comes_back),
        T(test_only_the_same_key_and_form_open),
        T(test_damage_is_seen),
        T(test_only_own_regular_files_open),
        T(test_what_is_not_kept_leaves_nothing),
        T(test_writers_at_once),
        T(test_trim_takes_what_was_unused_for_longest),
        T(test_trim_takes_what_was_left_half_written),
        T(test_hash_sees_every_bit),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
