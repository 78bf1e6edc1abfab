// Energy counters and windows; see energy.h. The GPU's counter is in gpu_sensor.c.
#include "energy.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "error.h"

#define RAPL_PATH     "/sys/class/powercap"
#define MAX_PACKAGES  16
#define SAMPLE_NS     50000000  // between two readings of the power
#define IDLE_SLEEP_NS 100000000 // between two looks at the clock while idle

void energy_sensor_close(energy_sensor *sensor)
{
    if (sensor->close != NULL) sensor->close(sensor->state);
    *sensor = (energy_sensor){0};
}

bool energy_delta(uint64_t before, uint64_t after, uint64_t range, uint64_t *out)
{
    if (after < before && (range == 0 || before > range)) return false;
    *out = after >= before ? after - before : range - before + after;
    return true;
}

// ---- RAPL: one counter for each package, which wraps after minutes to hours

typedef struct rapl_package {
    char file[512];
    uint64_t range, last;
} rapl_package;

typedef struct rapl {
    rapl_package packages[MAX_PACKAGES];
    size_t n;
    uint64_t total; // microjoules since it was opened
} rapl;

static tern_status read_number(const char *file, uint64_t *out, tern_error *err)
{
    unsigned long long value = 0;
    FILE *f = fopen(file, "re");
    if (f == NULL)
        return error_set(err, TERN_IO, "%s: %s%s", file, strerror(errno),
                         errno == EACCES ? " (energy counters are for root unless it gives the right to read)" : "");
    int n = fscanf(f, "%llu", &value);
    fclose(f);
    if (n != 1) return error_set(err, TERN_IO, "%s: holds no number", file);
    *out = value;
    return TERN_OK;
}

static tern_status rapl_read(void *state, uint64_t *out, tern_error *err)
{
    rapl *r = state;
    for (size_t i = 0; i < r->n; i++) {
        rapl_package *p = &r->packages[i];
        uint64_t now = 0, gained;
        tern_status status = read_number(p->file, &now, err);
        if (status != TERN_OK) return status;
        if (!energy_delta(p->last, now, p->range, &gained))
            return error_set(err, TERN_IO, "%s: the counter ran backwards, from %llu to %llu", p->file,
                             (unsigned long long)p->last, (unsigned long long)now);
        p->last = now;
        r->total += gained;
    }
    *out = r->total;
    return TERN_OK;
}

// Whether a folder of powercap is a package: intel-rapl:N (AMD's too), not a part (intel-rapl:N:M) of one, nor psys.
static bool is_package(const char *root, const char *name)
{
    char path[512], text[32] = "";
    unsigned n, end = 0;
    if (sscanf(name, "intel-rapl:%u%n", &n, (int *)&end) != 1 || name[end] != 0) return false;
    int length = snprintf(path, sizeof path, "%s/%s/name", root, name);
    FILE *f = length > 0 && (size_t)length < sizeof path ? fopen(path, "re") : NULL;
    if (f == NULL) return false;
    bool is_read = fgets(text, sizeof text, f) != NULL;
    fclose(f);
    return is_read && strncmp(text, "package", 7) == 0;
}

static tern_status add_package(rapl *r, const char *root, const char *name, tern_error *err)
{
    rapl_package *p = &r->packages[r->n];
    char range[512];
    int n = snprintf(p->file, sizeof p->file, "%s/%s/energy_uj", root, name);
    int m = snprintf(range, sizeof range, "%s/%s/max_energy_range_uj", root, name);
    if (n < 0 || (size_t)n >= sizeof p->file || m < 0 || (size_t)m >= sizeof range)
        return error_set(err, TERN_LIMIT, "the path of %.60s is too long", name);
    tern_status status = read_number(range, &p->range, err);
    if (status == TERN_OK) status = read_number(p->file, &p->last, err);
    if (status == TERN_OK) r->n++;
    return status;
}

tern_status energy_open_rapl(const char *path, energy_sensor *out, tern_error *err)
{
    const char *root = path != NULL ? path : RAPL_PATH;
    DIR *dir = opendir(root);
    if (dir == NULL) return error_set(err, TERN_NOT_FOUND, "no energy counters of the CPU: no %.200s", root);
    rapl *r = calloc(1, sizeof *r);
    tern_status status = r != NULL ? TERN_OK : error_set(err, TERN_HOST_MEMORY, "no memory for energy counters");
    for (struct dirent *entry; status == TERN_OK && r->n < MAX_PACKAGES && (entry = readdir(dir)) != NULL;)
        if (is_package(root, entry->d_name)) status = add_package(r, root, entry->d_name, err);
    closedir(dir);
    if (status == TERN_OK && r->n == 0)
        status = error_set(err, TERN_NOT_FOUND, "no energy counters of the CPU: no package in %.200s", root);
    if (status != TERN_OK) {
        free(r);
        return status;
    }
    *out = (energy_sensor){.state = r, .read_uj = rapl_read, .close = free};
    snprintf(out->name, sizeof out->name, r->n > 1 ? "RAPL package x%zu" : "RAPL package", r->n);
    return TERN_OK;
}

// ---- windows

// Power readings taken by a thread of its own while a test runs.
typedef struct power_sampler {
    energy_sensor *sensor;
    pthread_t thread;
    bool is_running, must_stop;
    double sum;
    size_t n;
} power_sampler;

static void sleep_ns(long ns)
{
    const struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    nanosleep(&t, NULL);
}

static void *sample_power(void *argument)
{
    power_sampler *s = argument;
    while (!__atomic_load_n(&s->must_stop, __ATOMIC_ACQUIRE)) {
        double watts;
        if (s->sensor->read_w(s->sensor->state, &watts)) {
            s->sum += watts;
            s->n++;
        }
        sleep_ns(SAMPLE_NS);
    }
    return NULL;
}

static void start_sampler(power_sampler *s, energy_sensor *sensor)
{
    *s = (power_sampler){.sensor = sensor};
    s->is_running = sensor->read_w != NULL && pthread_create(&s->thread, NULL, sample_power, s) == 0;
}

static double stop_sampler(power_sampler *s)
{
    if (!s->is_running) return 0.0;
    __atomic_store_n(&s->must_stop, true, __ATOMIC_RELEASE);
    pthread_join(s->thread, NULL);
    return s->n > 0 ? s->sum / (double)s->n : 0.0;
}

tern_status energy_measure(energy_sensor *sensor, double min_seconds, tern_status (*run)(void *user, tern_error *err),
                           void *user, energy_window *out, tern_error *err)
{
    uint64_t before = 0, after = 0;
    power_sampler sampler;
    energy_window window = {0};
    tern_status status = sensor->read_uj(sensor->state, &before, err);
    if (status != TERN_OK) return status;
    uint64_t start = clock_ns(), end = start;
    start_sampler(&sampler, sensor);
    do {
        status = run(user, err);
        end = clock_ns();
        window.n_runs++;
    } while (status == TERN_OK && (double)(end - start) * 1e-9 < min_seconds);
    window.sampled_w = stop_sampler(&sampler);
    if (status == TERN_OK) status = sensor->read_uj(sensor->state, &after, err);
    if (status != TERN_OK) return status;
    window.seconds = (double)(end - start) * 1e-9;
    if (after <= before)
        return error_set(err, TERN_NUMERIC, "%s: the counter did not move in %.2f s", sensor->name, window.seconds);
    window.joules = (double)(after - before) * 1e-6;
    *out = window;
    return TERN_OK;
}

static tern_status rest(void *user, tern_error *err)
{
    (void)user;
    (void)err;
    sleep_ns(IDLE_SLEEP_NS);
    return TERN_OK;
}

tern_status energy_measure_idle(energy_sensor *sensor, double min_seconds, energy_window *out, tern_error *err)
{
    return energy_measure(sensor, min_seconds, rest, NULL, out, err);
}
