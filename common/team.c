// The worker team; see team.h.
//
// A region is published by filling the job, then giving every share its chunks (release). A worker that takes a chunk
// off a share (acquire) therefore sees the job that chunk belongs to, and the job stays until the chunk is finished,
// since the caller waits for `unfinished`. A worker that comes late finds the shares empty, or those of the next
// region: nothing needs to tell regions apart.
#include "team.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "fpenv.h"

#define CHUNKS_PER_WORKER 8u
#define SPIN_NS           50000u // covers the serial stretches between ops of a step
#define LINE              64u    // bytes that move between cores together

// Chunks [end - left, end) are still to be claimed.
typedef struct share {
    _Alignas(LINE) atomic_uint left;
    uint32_t end;
} share;

typedef struct worker {
    pthread_t thread;
    team *team;
    uint32_t index; // of its own share; the caller's is 0
} worker;

struct team {
    // The job: written between regions.
    team_fn fn;
    void *context;
    uint32_t n_items, grain, n_chunks;

    uint32_t size; // workers, the caller included
    uint32_t n_forks;
    worker *workers; // size - 1 threads
    uint32_t n_started;

    _Alignas(LINE) atomic_uint region; // counts regions; workers wait for it to change
    atomic_bool is_busy, is_ending;
    atomic_uint n_asleep; // workers, changed under the mutex
    atomic_bool caller_is_asleep;
    pthread_mutex_t mutex;
    pthread_cond_t begin, done;
    _Alignas(LINE) atomic_uint unfinished; // chunks
    share shares[];
};

// ---- fork ----

static atomic_uint n_forks; // between this process and the one that loaded the library

static void count_fork(void) { atomic_fetch_add(&n_forks, 1); }

static void watch_forks(void) { pthread_atfork(NULL, NULL, count_fork); }

static bool is_forked(const team *t) { return t->n_forks != atomic_load_explicit(&n_forks, memory_order_relaxed); }

// ---- waiting ----

static inline void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Spins until *word is (or, with `until_equal` false, is no longer) `value`; false when that took too long.
static bool spin(const atomic_uint *word, unsigned value, bool until_equal)
{
    uint64_t start = 0;
    for (;;) {
        for (int i = 0; i < 64; i++) {
            if ((atomic_load_explicit(word, memory_order_acquire) == value) == until_equal) return true;
            pause_briefly();
        }
        uint64_t now = clock_ns();
        if (start == 0) start = now;
        if (now - start > SPIN_NS) return false;
    }
}

// ---- chunks ----

static uint32_t chunk_begin(const team *t, uint32_t chunk)
{
    uint64_t n_grains = ((uint64_t)t->n_items + t->grain - 1) / t->grain;
    uint64_t begin = n_grains * chunk / t->n_chunks * t->grain;
    return begin < t->n_items ? (uint32_t)begin : t->n_items;
}

static void finish_chunk(team *t)
{
    if (atomic_fetch_sub(&t->unfinished, 1) != 1 || !atomic_load(&t->caller_is_asleep)) return;
    pthread_mutex_lock(&t->mutex);
    pthread_cond_signal(&t->done);
    pthread_mutex_unlock(&t->mutex);
}

// Claims and does chunks until none is left, beginning with those of share `index`.
static void work(team *t, uint32_t index)
{
    for (uint32_t i = 0; i < t->size; i++) {
        share *s = &t->shares[(index + i) % t->size];
        unsigned left = atomic_load_explicit(&s->left, memory_order_relaxed);
        while (left > 0) {
            if (!atomic_compare_exchange_weak_explicit(&s->left, &left, left - 1, memory_order_acquire,
                                                       memory_order_relaxed))
                continue;
            uint32_t chunk = s->end - left;
            t->fn(t->context, chunk_begin(t, chunk), chunk_begin(t, chunk + 1));
            finish_chunk(t);
            left = atomic_load_explicit(&s->left, memory_order_relaxed);
        }
    }
}

// ---- workers ----

// Waits for a region after `seen`. The mutex, and the order of the two counters, see to it that a caller who finds no
// sleeper has been seen by every worker that goes to sleep.
static unsigned await_region(team *t, unsigned seen)
{
    if (!spin(&t->region, seen, false)) {
        pthread_mutex_lock(&t->mutex);
        atomic_fetch_add(&t->n_asleep, 1);
        while (atomic_load(&t->region) == seen) pthread_cond_wait(&t->begin, &t->mutex);
        atomic_fetch_sub(&t->n_asleep, 1);
        pthread_mutex_unlock(&t->mutex);
    }
    return atomic_load(&t->region);
}

static void *worker_main(void *argument)
{
    const worker *self = argument;
    team *t = self->team;
    fp_env_enter();
    for (unsigned seen = 0;;) {
        seen = await_region(t, seen);
        if (atomic_load(&t->is_ending)) return NULL;
        work(t, self->index);
    }
}

// Wakes up to n sleeping workers; those that spin see the region themselves.
static void begin_region(team *t, uint32_t n)
{
    atomic_fetch_add(&t->region, 1);
    uint32_t n_asleep = atomic_load(&t->n_asleep);
    if (n_asleep == 0) return;
    pthread_mutex_lock(&t->mutex);
    if (n >= n_asleep)
        pthread_cond_broadcast(&t->begin);
    else
        for (uint32_t i = 0; i < n; i++) pthread_cond_signal(&t->begin);
    pthread_mutex_unlock(&t->mutex);
}

static void await_workers(team *t)
{
    if (spin(&t->unfinished, 0, true)) return;
    pthread_mutex_lock(&t->mutex);
    atomic_store(&t->caller_is_asleep, true);
    while (atomic_load(&t->unfinished) != 0) pthread_cond_wait(&t->done, &t->mutex);
    atomic_store(&t->caller_is_asleep, false);
    pthread_mutex_unlock(&t->mutex);
}

void team_run(team *t, uint32_t n_items, uint32_t grain, team_fn fn, void *context)
{
    fp_env env = fp_env_enter();
    uint32_t n_grains = n_items / grain + (n_items % grain != 0);
    if (t == NULL || t->size == 1 || n_grains <= 1 || is_forked(t) || atomic_exchange(&t->is_busy, true)) {
        fn(context, 0, n_items);
    } else {
        uint32_t most = t->size * CHUNKS_PER_WORKER;
        t->fn = fn;
        t->context = context;
        t->n_items = n_items;
        t->grain = grain;
        t->n_chunks = n_grains < most ? n_grains : most;
        atomic_store_explicit(&t->unfinished, t->n_chunks, memory_order_relaxed);
        for (uint32_t i = 0; i < t->size; i++) {
            share *s = &t->shares[i];
            uint32_t begin = (uint32_t)((uint64_t)t->n_chunks * i / t->size);
            s->end = (uint32_t)((uint64_t)t->n_chunks * (i + 1) / t->size);
            atomic_store_explicit(&s->left, s->end - begin, memory_order_release);
        }
        begin_region(t, t->n_chunks - 1);
        work(t, 0);
        await_workers(t);
        atomic_store(&t->is_busy, false);
    }
    fp_env_leave(env);
}

// ---- create, destroy ----

static void start_workers(team *t)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (; t->n_started < t->size - 1; t->n_started++) {
        worker *w = &t->workers[t->n_started];
        w->team = t;
        w->index = t->n_started + 1;
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

tern_status team_create(uint32_t n_threads, team **out, tern_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    uint32_t size = n_threads > 1 ? n_threads : 1;
    void *memory = NULL;
    worker *workers = calloc(size, sizeof *workers);
    size_t n_bytes = sizeof(team) + size * sizeof(share);
    if (workers == NULL || posix_memalign(&memory, LINE, n_bytes) != 0) {
        free(workers);
        return error_set(err, TERN_HOST_MEMORY, "no memory for a team of %u threads", size);
    }
    team *t = memory;
    memset(t, 0, n_bytes);
    t->size = size;
    t->n_forks = atomic_load(&n_forks);
    t->workers = workers;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->begin, NULL);
    pthread_cond_init(&t->done, NULL);
    start_workers(t);
    if (t->n_started < size - 1) {
        uint32_t n_started = t->n_started + 1;
        team_destroy(t);
        return error_set(err, TERN_HOST_MEMORY, "only %u of %u threads could be started; ask for fewer", n_started,
                         size);
    }
    *out = t;
    return TERN_OK;
}

void team_destroy(team *t)
{
    if (t == NULL) return;
    if (!is_forked(t)) {
        atomic_store(&t->is_ending, true);
        begin_region(t, t->size);
        for (uint32_t i = 0; i < t->n_started; i++) pthread_join(t->workers[i].thread, NULL);
        pthread_cond_destroy(&t->done);
        pthread_cond_destroy(&t->begin);
        pthread_mutex_destroy(&t->mutex);
    }
    free(t->workers);
    free(t);
}
