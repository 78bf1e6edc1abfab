// What is measured: self-tests, then for each device and shape both twins, interleaved; see verify_run.h.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "error.h"
#include "verify_run.h"

enum { MAX_CONFIGS = 32, EQUAL_BATCH = 4, MEMORY_CTX = 512 };

#define CPU_WORK_MAX 4e12 // weights times tokens of filling a context on a CPU: some minutes for the FP16 twin

static const char *const quick_shapes[] = {"700m", NULL};
static const char *const all_shapes[] = {"700m", "1.3b", "3b", "3.9b", "7b", "13b", "70b", "100b", NULL};

tern_status verify_step(verify *v, double share, const char *what, tern_error *err)
{
    v->share = share;
    const verify_options *o = v->options;
    if (o->progress == NULL || o->progress(o->user, share, what)) return TERN_OK;
    return error_set(err, TERN_CANCELLED, "interrupted: %s", what);
}

static bool is_cpu(const verify_device *d) { return strcmp(d->info.backend, "cpu") == 0; }

bench_test verify_decode_test(const verify *v, size_t dev, uint32_t depth)
{
    uint32_t n_gen = v->options->is_quick ? 4 : is_cpu(&v->devices[dev]) ? 8 : 64;
    return (bench_test){.n_gen = n_gen, .n_depth = depth};
}

bench_test verify_batch_test(const verify *v, size_t dev)
{
    return (bench_test){.n_gen = v->options->is_quick ? 2 : is_cpu(&v->devices[dev]) ? 4 : 16};
}

static bench_test prompt_test(const verify *v, size_t dev)
{
    return (bench_test){.n_prompt = v->options->is_quick ? 16 : is_cpu(&v->devices[dev]) ? 32 : 512};
}

const verify_row *verify_find_row(const verify *v, size_t dev, const char *shape, bool is_twin, uint32_t n_seq,
                                  const bench_test *test)
{
    for (size_t i = 0; i < v->n_rows; i++) {
        const verify_row *r = &v->rows[i];
        if (r->device == dev && r->is_twin == is_twin && r->row.n_seq == n_seq && strcmp(r->shape, shape) == 0 &&
            r->row.test.n_prompt == test->n_prompt && r->row.test.n_gen == test->n_gen &&
            r->row.test.n_depth == test->n_depth)
            return r;
    }
    return NULL;
}

// -------------------------------------------------------------------------------------------------------- self-test

typedef struct selftest_watch {
    verify *v;
    size_t n_done;
} selftest_watch;

static bool on_case(void *user, const op_case *c, const op_outcome *outcome)
{
    (void)outcome;
    selftest_watch *w = user;
    double part = (double)w->n_done++ / 2000; // of about so many cases
    return verify_step(w->v, 0.15 * (part < 1 ? part : 1), c->name, NULL) == TERN_OK;
}

static tern_status test_device(verify *v, size_t dev, tern_error *err)
{
    const verify_options *o = v->options;
    selftest_watch watch = {.v = v};
    selftest_options so = {.level = LEVEL_TEST, .n_threads = o->n_threads, .is_short = o->is_quick};
    if (o->is_quick) so.level = LEVEL_QUICK;
    backend_list backends = o->backends != NULL ? o->backends : engine_backends;
    return selftest_run(backends, v->devices[dev].info.name, &so, on_case, &watch, &v->devices[dev].selftest, err);
}

// ------------------------------------------------------------------------------------------------- what a shape runs

// A synthetic shape on one device.
typedef struct shape_run {
    verify *v;
    size_t device;
    char shape[16], model[40];
    bool has_twin;
    double n_params;
    uint32_t n_ternary; // sequences within the twin's budget; 0: not asked
    bench_config configs[MAX_CONFIGS];
    size_t n_configs;
} shape_run;

static void skip_shape(verify_device *d, const char *shape, const char *why)
{
    size_t n = strlen(d->skipped);
    snprintf(d->skipped + n, sizeof d->skipped - n, "%s%s: %s", n > 0 ? "; " : "", shape, why);
}

// What a twin needs here, at the most it will be asked to hold.
static tern_status bytes_here(const shape_run *r, tern_weights kind, uint32_t n_seq, uint64_t *out, double *n_params,
                              tern_error *err)
{
    tern_model *model = NULL;
    tern_status status = tern_model_open(r->v->options->engine, r->model, NULL, &model, err);
    if (status != TERN_OK) return status;
    tern_model_info info;
    tern_model_get_info(model, &info);
    *n_params = (double)info.n_params;
    tern_plan_options o;
    tern_plan_options_init(&o);
    o.device = r->v->devices[r->device].info.name;
    o.weights = kind;
    o.n_sequences = n_seq;
    o.n_ctx = n_seq * MEMORY_CTX;
    o.n_threads = r->v->options->n_threads;
    verify_keep_resident(&o);
    tern_plan plan;
    status = tern_plan_make(model, &o, &plan, err);
    if (status == TERN_OK) *out = plan.bytes_total;
    tern_model_close(model);
    return status;
}

static void add_config(shape_run *r, tern_weights kind, uint32_t n_seq, bench_test test)
{
    for (size_t i = 0; i < r->n_configs; i++) {
        const bench_config *c = &r->configs[i];
        if (c->weights == kind && c->n_seq == n_seq && memcmp(&c->test, &test, sizeof test) == 0) return;
    }
    if (r->n_configs == MAX_CONFIGS) return;
    bench_config *c = &r->configs[r->n_configs++];
    bench_config_init(c);
    c->model = r->model;
    c->device = r->v->devices[r->device].info.name;
    c->weights = kind;
    c->n_threads = r->v->options->n_threads;
    c->n_seq = n_seq;
    c->test = test;
}

// Both twins, or the ternary model alone where the twin does not fit.
static void add_both(shape_run *r, uint32_t n_seq, bench_test test)
{
    add_config(r, TERN_WEIGHTS_STORED, n_seq, test);
    if (r->has_twin) add_config(r, TERN_WEIGHTS_F16, n_seq, test);
}

// Depths are filled before timing, which takes long on CPUs.
static void add_depths(shape_run *r)
{
    static const uint32_t depths[] = {512, 2048, 8192};
    if (r->v->options->is_quick) return;
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++)
        if (!is_cpu(&r->v->devices[r->device]) || r->n_params * depths[i] <= CPU_WORK_MAX)
            add_both(r, 1, verify_decode_test(r->v, r->device, depths[i]));
}

// The largest batch of the ternary model within what the twin takes for EQUAL_BATCH sequences.
static tern_status find_equal_memory(shape_run *r, tern_error *err)
{
    double n_params;
    verify_device *d = &r->v->devices[r->device];
    tern_status status = bytes_here(r, TERN_WEIGHTS_F16, EQUAL_BATCH, &d->budget_bytes, &n_params, err);
    r->n_ternary = EQUAL_BATCH;
    for (uint32_t n = EQUAL_BATCH; n <= BENCH_MAX_SEQ && status == TERN_OK; n += EQUAL_BATCH) {
        uint64_t bytes;
        status = bytes_here(r, TERN_WEIGHTS_STORED, n, &bytes, &n_params, err);
        if (status == TERN_OK && bytes <= d->budget_bytes) r->n_ternary = n;
    }
    return status;
}

static void add_batches(shape_run *r)
{
    static const uint32_t batches[] = {1, 2, 4, 8, 16, 32, 64}, cpu_batches[] = {1, 4, 16};
    bool is_slow = is_cpu(&r->v->devices[r->device]);
    const uint32_t *list = is_slow ? cpu_batches : batches;
    size_t n = is_slow ? sizeof cpu_batches / sizeof cpu_batches[0] : sizeof batches / sizeof batches[0];
    bench_test test = verify_batch_test(r->v, r->device);
    add_both(r, EQUAL_BATCH, test);
    if (r->n_ternary > 0) add_config(r, TERN_WEIGHTS_STORED, r->n_ternary, test);
    if (r->v->options->is_quick) return;
    for (size_t i = 0; i < n; i++) add_both(r, list[i], test);
}

// ----------------------------------------------------------------------------------------------------------- running

// Passed through the benchmark's callbacks: its share becomes part of ours.
typedef struct forward {
    verify *v;
    double from, to;
    char what[64];
} forward;

static bool forward_progress(void *user, double share, const char *what)
{
    forward *f = user;
    char text[160];
    snprintf(text, sizeof text, "%s: %.80s", f->what, what);
    return verify_step(f->v, f->from + share * (f->to - f->from), text, NULL) == TERN_OK;
}

static void forward_watch(void *user, tern_session *session)
{
    forward *f = user;
    if (f->v->options->watch != NULL) f->v->options->watch(f->v->options->user, session);
}

static void forward_note(void *user, const char *text)
{
    forward *f = user;
    if (f->v->options->note != NULL) f->v->options->note(f->v->options->user, text);
}

// Takes the benchmark's rows over.
static tern_status keep_rows(shape_run *r, bench_rows *rows, tern_error *err)
{
    verify *v = r->v;
    verify_row *larger = realloc(v->rows, (v->n_rows + rows->n) * sizeof *larger);
    if (larger == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu rows", v->n_rows + rows->n);
    v->rows = larger;
    for (size_t i = 0; i < rows->n; i++) {
        verify_row *row = &v->rows[v->n_rows++];
        *row = (verify_row){.device = r->device, .row = rows->items[i]};
        row->is_twin = r->configs[rows->items[i].config].weights == TERN_WEIGHTS_F16;
        snprintf(row->shape, sizeof row->shape, "%s", r->shape);
    }
    rows->n = 0; // owned by us from here on
    return TERN_OK;
}

static tern_status run_shape(shape_run *r, double from, double to, tern_error *err)
{
    verify *v = r->v;
    forward f = {.v = v, .from = from, .to = to};
    snprintf(f.what, sizeof f.what, "%s on %s", r->shape, v->devices[r->device].info.name);
    bench_options o;
    bench_options_init(&o);
    o.engine = v->options->engine;
    o.n_repeats = v->options->is_quick ? 3 : 10;
    o.n_warmup = v->options->is_quick ? 1 : 2;
    o.energy_window_s = v->options->is_quick ? 0 : 5;
    o.backends = v->options->backends;
    o.progress = forward_progress;
    o.watch = forward_watch;
    o.note = forward_note;
    o.user = &f;
    bench_rows rows = {0};
    tern_status status = bench_run(r->configs, r->n_configs, &o, &rows, err);
    if (status == TERN_OK) status = keep_rows(r, &rows, err);
    bench_rows_free(&rows);
    return status;
}

// Decides by plans what of a shape fits this device; false: nothing does, and the device's facts say why.
static tern_status fit_shape(shape_run *r, bool *fits, tern_error *err)
{
    verify_device *d = &r->v->devices[r->device];
    uint64_t ternary, twin, room = d->info.memory_free / 10 * 9;
    tern_status status = bytes_here(r, TERN_WEIGHTS_STORED, 1, &ternary, &r->n_params, err);
    if (status == TERN_OK) status = bytes_here(r, TERN_WEIGHTS_F16, EQUAL_BATCH, &twin, &r->n_params, err);
    if (status != TERN_OK) return status;
    *fits = ternary <= room;
    r->has_twin = *fits && twin <= room;
    char why[160];
    if (!*fits)
        snprintf(why, sizeof why, "needs %.1f GB, %.1f GB may be used", (double)ternary * 1e-9, (double)room * 1e-9);
    else if (!r->has_twin)
        snprintf(why, sizeof why, "its FP16 twin needs %.1f GB, %.1f GB may be used", (double)twin * 1e-9,
                 (double)room * 1e-9);
    if (!r->has_twin) skip_shape(d, r->shape, why);
    return TERN_OK;
}

// The shapes asked for, or those of the mode; each a text of at most 15 characters.
static tern_status list_shapes(const verify *v, char (*out)[16], size_t max, size_t *n, tern_error *err)
{
    *n = 0;
    const char *const *names = v->options->is_quick ? quick_shapes : all_shapes;
    if (v->options->shapes == NULL) {
        for (; *names != NULL && *n < max; names++) snprintf(out[(*n)++], 16, "%s", *names);
        return TERN_OK;
    }
    for (const char *at = v->options->shapes; *at != 0;) {
        size_t length = strcspn(at, ",");
        if (length == 0 || length > 15 || *n == max)
            return error_set(err, TERN_INVALID_ARGUMENT, "'%.60s' is no list of shapes", v->options->shapes);
        snprintf(out[(*n)++], 16, "%.*s", (int)length, at);
        at += length + (at[length] == ',');
    }
    return TERN_OK;
}

static tern_status measure_device(verify *v, size_t dev, double from, double to, tern_error *err)
{
    enum { MAX_SHAPES = 16 };
    static shape_run runs[MAX_SHAPES]; // large
    char shapes[MAX_SHAPES][16];
    size_t n, n_runs = 0;
    tern_status status = list_shapes(v, shapes, MAX_SHAPES, &n, err);
    verify_device *d = &v->devices[dev];
    for (size_t i = 0; i < n && status == TERN_OK; i++) {
        shape_run *r = &runs[n_runs];
        bool fits;
        *r = (shape_run){.v = v, .device = dev};
        memcpy(r->shape, shapes[i], sizeof r->shape);
        snprintf(r->model, sizeof r->model, "synthetic:%.15s", shapes[i]);
        status = fit_shape(r, &fits, err);
        if (status != TERN_OK || !fits) continue;
        n_runs++;
        if (r->has_twin) memcpy(d->largest, r->shape, sizeof d->largest); // lists ascend
    }
    for (size_t i = 0; i < n_runs && status == TERN_OK; i++) {
        shape_run *r = &runs[i];
        if (strcmp(r->shape, d->largest) == 0) status = find_equal_memory(r, err);
        if (status != TERN_OK) break;
        d->n_ternary = r->n_ternary > 0 ? r->n_ternary : d->n_ternary;
        add_both(r, 1, verify_decode_test(v, dev, 0));
        add_both(r, 1, prompt_test(v, dev));
        add_depths(r);
        add_batches(r);
        double step = (to - from) / (double)n_runs;
        tern_error cause = {0};
        status = run_shape(r, from + step * (double)i, from + step * (double)(i + 1), &cause);
        if (status == TERN_CANCELLED) error_set(err, status, "%s", cause.message);
        if (status == TERN_OK || status == TERN_CANCELLED) continue;
        char why[160]; // a shape that fails is an outcome, not the end of the run
        snprintf(why, sizeof why, "%.150s", cause.message);
        for (char *p = why; *p != 0; p++)
            if (*p == ';') *p = ','; // which ends a reason in the list
        skip_shape(d, r->shape, why);
        status = TERN_OK;
    }
    return status;
}

tern_status verify_measure(verify *v, tern_error *err)
{
    tern_status status = TERN_OK;
    size_t n = v->options->n_devices;
    for (size_t i = 0; i < n && status == TERN_OK; i++) status = test_device(v, i, err);
    for (size_t i = 0; i < n && status == TERN_OK; i++)
        status = measure_device(v, i, 0.15 + 0.65 * (double)i / (double)n, 0.15 + 0.65 * (double)(i + 1) / (double)n,
                                err);
    return status;
}
