// Energy: the arithmetic of counters and windows over sensors made for the purpose (files that stand for powercap's, a
// library that stands for NVML), and what is said where there are none.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "gpu_sensor.h"
#include "scratch.h"

static void assert_near(double value, double expected, double tolerance)
{
    if (!(value >= expected - tolerance && value <= expected + tolerance))
        fail_msg("%.9g, expected %.9g within %.3g", value, expected, tolerance);
}

static void test_delta(void **state)
{
    (void)state;
    uint64_t d = 99;
    assert_true(energy_delta(5, 12, 0, &d));
    assert_int_equal(d, 7);
    assert_true(energy_delta(5, 5, 100, &d));
    assert_int_equal(d, 0);
    assert_true(energy_delta(90, 4, 100, &d)); // wrapped after 100
    assert_int_equal(d, 14);
    assert_false(energy_delta(90, 4, 0, &d));    // cannot wrap
    assert_false(energy_delta(900, 4, 100, &d)); // was never within the range
    assert_int_equal(d, 14);
}

// ---- RAPL

typedef struct powercap {
    char root[256];
} powercap;

static void put(const powercap *p, const char *folder, const char *file, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", p->root, folder);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/%s/%s", p->root, folder, file);
    write_file(path, text, strlen(text));
}

static void put_zone(const powercap *p, const char *folder, const char *name, const char *energy)
{
    put(p, folder, "name", name);
    put(p, folder, "max_energy_range_uj", "1000000\n");
    put(p, folder, "energy_uj", energy);
}

static powercap make_powercap(void)
{
    static int n;
    char name[32];
    powercap p;
    snprintf(name, sizeof name, "powercap%d", n++);
    snprintf(p.root, sizeof p.root, "%s", scratch_path(name));
    assert_int_equal(mkdir(p.root, 0755), 0);
    return p;
}

static void test_rapl(void **state)
{
    (void)state;
    powercap p = make_powercap();
    put_zone(&p, "intel-rapl:0", "package-0\n", "900000\n");
    put_zone(&p, "intel-rapl:0:0", "core\n", "5\n"); // a part of the package: not counted twice
    put_zone(&p, "intel-rapl:1", "psys\n", "5\n");   // the whole machine: another thing
    put_zone(&p, "intel-rapl:2", "package-1\n", "10\n");
    energy_sensor s = {0};
    uint64_t a = 0, b = 0;
    assert_int_equal(energy_open_rapl(p.root, &s, NULL), TERN_OK);
    assert_string_equal(s.name, "RAPL package x2");
    assert_int_equal(s.read_uj(s.state, &a, NULL), TERN_OK);
    put(&p, "intel-rapl:0", "energy_uj", "100\n"); // wrapped: 100000 to the range's end, and 100
    put(&p, "intel-rapl:2", "energy_uj", "2010\n");
    put(&p, "intel-rapl:0:0", "energy_uj", "777777\n");
    assert_int_equal(s.read_uj(s.state, &b, NULL), TERN_OK);
    assert_int_equal(b - a, 100100 + 2000);
    tern_error err = {0};
    put(&p, "intel-rapl:2", "energy_uj", "what\n");
    assert_int_equal(s.read_uj(s.state, &b, &err), TERN_IO);
    assert_non_null(strstr(err.message, "intel-rapl:2/energy_uj"));
    energy_sensor_close(&s);
}

static void test_rapl_missing(void **state)
{
    (void)state;
    powercap p = make_powercap();
    energy_sensor s = {.name = "untouched"};
    tern_error err = {0};
    assert_int_equal(energy_open_rapl(p.root, &s, &err), TERN_NOT_FOUND); // an empty folder
    assert_non_null(strstr(err.message, "no package"));
    assert_int_equal(energy_open_rapl("/nonexistent", &s, NULL), TERN_NOT_FOUND);
    put(&p, "intel-rapl:0", "name", "package-0\n");
    put(&p, "intel-rapl:0", "max_energy_range_uj", "1000\n");
    error_clear(&err);
    assert_int_equal(energy_open_rapl(p.root, &s, &err), TERN_IO); // a package without a counter
    assert_non_null(strstr(err.message, "energy_uj: No such file"));
    assert_string_equal(s.name, "untouched");
}

static void test_rapl_denied(void **state)
{
    (void)state;
    powercap p = make_powercap();
    char path[512];
    put_zone(&p, "intel-rapl:0", "package-0\n", "1\n");
    snprintf(path, sizeof path, "%s/intel-rapl:0/energy_uj", p.root);
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(chmod(scratch, 0755), 0);
    bool is_root = geteuid() == 0; // who may read everything, so somebody else does
    if (is_root) assert_int_equal(seteuid(65534), 0);
    energy_sensor s = {0};
    tern_error err = {0};
    tern_status status = energy_open_rapl(p.root, &s, &err);
    if (is_root) assert_int_equal(seteuid(0), 0);
    assert_int_equal(status, TERN_IO);
    assert_non_null(strstr(err.message, "Permission denied (energy counters are for root"));
}

// ---- windows

// A sensor that is further by `step` microjoules at every reading, or fails from the n-th on.
typedef struct stepper {
    uint64_t now, step;
    size_t n_reads, fails_at;
    bool has_power;
} stepper;

static tern_status step_read(void *state, uint64_t *out, tern_error *err)
{
    stepper *s = state;
    if (++s->n_reads == s->fails_at) return error_set(err, TERN_IO, "the counter is gone");
    s->now += s->step;
    *out = s->now;
    return TERN_OK;
}

static bool step_power(void *state, double *out)
{
    const stepper *s = state;
    *out = 120.5;
    return s->has_power;
}

static tern_status count_run(void *user, tern_error *err)
{
    (void)err;
    ++*(size_t *)user;
    usleep(2000);
    return TERN_OK;
}

static tern_status failing_run(void *user, tern_error *err)
{
    (void)user;
    return error_set(err, TERN_CANCELLED, "stopped");
}

static void test_windows(void **state)
{
    (void)state;
    stepper s = {.step = 3000000, .has_power = true};
    energy_sensor sensor = {.name = "step", .state = &s, .read_uj = step_read, .read_w = step_power};
    energy_window w = {0};
    size_t n_runs = 0;
    assert_int_equal(energy_measure(&sensor, 0.02, count_run, &n_runs, &w, NULL), TERN_OK);
    assert_int_equal(w.n_runs, n_runs);
    assert_true(n_runs >= 1 && w.seconds >= 0.02);
    assert_near(w.joules, 3.0, 1e-9);
    assert_near(w.sampled_w, 120.5, 1e-9);
    n_runs = 0;
    assert_int_equal(energy_measure(&sensor, 0.0, count_run, &n_runs, &w, NULL), TERN_OK);
    assert_int_equal(n_runs, 1); // at least once
    s.has_power = false;
    assert_int_equal(energy_measure_idle(&sensor, 0.0, &w, NULL), TERN_OK);
    assert_near(w.sampled_w, 0.0, 0.0);
    assert_near(w.joules, 3.0, 1e-9);
}

static void test_windows_that_fail(void **state)
{
    (void)state;
    stepper s = {.step = 0};
    energy_sensor sensor = {.name = "still", .state = &s, .read_uj = step_read};
    energy_window w = {.joules = 42};
    size_t n_runs = 0;
    tern_error err = {0};
    assert_int_equal(energy_measure(&sensor, 0.0, count_run, &n_runs, &w, &err), TERN_NUMERIC);
    assert_non_null(strstr(err.message, "still: the counter did not move"));
    s = (stepper){.step = 5, .fails_at = 2};
    error_clear(&err);
    assert_int_equal(energy_measure(&sensor, 0.0, count_run, &n_runs, &w, &err), TERN_IO);
    assert_int_equal(energy_measure(&sensor, 0.0, failing_run, NULL, &w, NULL), TERN_CANCELLED);
    assert_near(w.joules, 42, 0.0);
}

// ---- the GPU's

static void test_nvml(void **state)
{
    (void)state;
    gpu_sensor *gpu = NULL;
    energy_sensor s = {0};
    uint64_t a = 0, b = 0;
    double watts = 0;
    // "NVIDIA Fake 10" is in it, too; the longer name is meant.
    assert_int_equal(gpu_sensor_open(TERN_FAKE_NVML, "NVIDIA Fake 100 Ti, sm_99, 7 SMs", &gpu, NULL), TERN_OK);
    assert_int_equal(gpu_sensor_clock(gpu), 1755);
    assert_int_equal(gpu_sensor_throttle(gpu), 1);
    setenv("FAKE_NVML_STEP", "250", 1);
    assert_int_equal(gpu_sensor_energy(gpu, &s, NULL), TERN_OK);
    assert_int_equal(s.read_uj(s.state, &a, NULL), TERN_OK);
    assert_int_equal(s.read_uj(s.state, &b, NULL), TERN_OK);
    assert_int_equal(b - a, 250000); // millijoules are turned into microjoules
    assert_true(s.read_w(s.state, &watts));
    assert_near(watts, 250.0, 1e-9);
    energy_sensor_close(&s);
    tern_error err = {0};
    setenv("FAKE_NVML_ERROR", "4", 1);
    assert_int_equal(gpu_sensor_energy(gpu, &s, &err), TERN_IO);
    assert_non_null(strstr(err.message, "NVML error 4 (no permission)"));
    unsetenv("FAKE_NVML_ERROR");
    gpu_sensor_close(gpu);
    error_clear(&err);
    assert_int_equal(gpu_sensor_open(TERN_FAKE_NVML, "AMD Radeon, 60 units", &gpu, &err), TERN_NOT_FOUND);
    assert_non_null(strstr(err.message, "0 GPUs"));
    assert_int_equal(gpu_sensor_open("/nonexistent.so", "NVIDIA Fake 10", &gpu, NULL), TERN_NOT_FOUND);
}

static void test_throttle_text(void **state)
{
    (void)state;
    char text[96];
    gpu_sensor_throttle_text(0x1 | 0x2, text, sizeof text); // idle, fixed clocks
    assert_string_equal(text, "");
    gpu_sensor_throttle_text(0x4 | 0x40 | 0x1, text, sizeof text);
    assert_string_equal(text, "sw_power_cap+hw_thermal");
    gpu_sensor_throttle_text(UINT64_MAX, text, 8); // cut, not overrun
    assert_int_equal(strlen(text), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delta),        cmocka_unit_test(test_rapl),
        cmocka_unit_test(test_rapl_missing), cmocka_unit_test(test_rapl_denied),
        cmocka_unit_test(test_windows),      cmocka_unit_test(test_windows_that_fail),
        cmocka_unit_test(test_nvml),         cmocka_unit_test(test_throttle_text),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
