// The worker team: every item of a region is done once, whoever sleeps, is late, shares the team or has forked.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "team.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define N_ITEMS  1000u

typedef struct count_job {
    uint32_t grain;
    int times[N_ITEMS]; // each item is done once; plain, so that ThreadSanitizer sees a region that leaks
} count_job;

static void count_items(void *context, uint32_t first, uint32_t end)
{
    count_job *job = context;
    if (first % job->grain != 0 || (end % job->grain != 0 && end != N_ITEMS)) job->times[first] = -1000;
    for (uint32_t i = first; i < end; i++) job->times[i]++;
}

static void sleep_then_count(void *context, uint32_t first, uint32_t end)
{
    const struct timespec moment = {0, 100000}; // longer than anybody spins
    nanosleep(&moment, NULL);
    count_items(context, first, end);
}

static void expect_once(team *t, uint32_t n_items, uint32_t grain, team_fn fn)
{
    count_job job = {.grain = grain};
    team_run(t, n_items, grain, fn, &job);
    for (uint32_t i = 0; i < N_ITEMS; i++)
        if (job.times[i] != (i < n_items)) fail_msg("item %u of %u done %d times", i, n_items, job.times[i]);
}

// Regions in quick succession, and after pauses that let the workers fall asleep; items done long enough that the
// caller sleeps as well.
static void team_regions(void **state)
{
    (void)state;
    static const uint32_t grains[] = {1, 3, 64, 999, 1000, 5000};
    static const uint32_t sizes[] = {1, 2, 3, 16};
    expect_once(NULL, N_ITEMS, 1, count_items);
    for (size_t s = 0; s < COUNT(sizes); s++) {
        team *t = NULL;
        assert_int_equal(team_create(sizes[s], &t, NULL), TERN_OK);
        for (int i = 0; i < 2000; i++) expect_once(t, N_ITEMS, grains[(size_t)i % COUNT(grains)], count_items);
        expect_once(t, N_ITEMS, 1, sleep_then_count);
        for (int i = 0; i < 20; i++) {
            const struct timespec pause = {0, 200000};
            nanosleep(&pause, NULL);
            expect_once(t, N_ITEMS, 7, count_items);
        }
        team_destroy(t);
    }
    team_destroy(NULL);
}

typedef struct caller {
    team *team;
    int n_wrong;
} caller;

static void *call_team(void *argument)
{
    caller *c = argument;
    for (int i = 0; i < 500; i++) {
        count_job job = {.grain = 1};
        team_run(c->team, N_ITEMS, 1, count_items, &job);
        for (uint32_t k = 0; k < N_ITEMS; k++) c->n_wrong += job.times[k] != 1;
    }
    return NULL;
}

// Two threads with regions on one team: one of them works alone.
static void team_shared(void **state)
{
    (void)state;
    team *t = NULL;
    assert_int_equal(team_create(3, &t, NULL), TERN_OK);
    caller callers[2] = {{t, 0}, {t, 0}};
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, call_team, &callers[1]), 0);
    call_team(&callers[0]);
    pthread_join(other, NULL);
    assert_int_equal(callers[0].n_wrong + callers[1].n_wrong, 0);
    team_destroy(t);
}

// A forked child has no workers, works alone and can destroy the team.
static void team_forked(void **state)
{
    (void)state;
    team *t = NULL;
    assert_int_equal(team_create(3, &t, NULL), TERN_OK);
    expect_once(t, N_ITEMS, 1, count_items);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        count_job job = {.grain = 1};
        int n_wrong = 0;
        team_run(t, N_ITEMS, 1, count_items, &job);
        for (uint32_t i = 0; i < N_ITEMS; i++) n_wrong += job.times[i] != 1;
        team_destroy(t);
        _exit(n_wrong == 0 ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect_once(t, N_ITEMS, 1, count_items);
    team_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(team_regions),
        cmocka_unit_test(team_shared),
        cmocka_unit_test(team_forked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
