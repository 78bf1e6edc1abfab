// tern bench: from the options to a list of configurations for bench/model_bench.h, and its rows to standard output.
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "engine.h"
#include "kernel_bench.h"
#include "model_bench.h"

typedef struct numbers {
    int32_t *items;
    size_t n;
} numbers;

// Everything that multiplies into the grid.
typedef struct grid {
    const opt_values *options;
    char **models, **devices;
    size_t n_models, n_devices;
    numbers prompts, gens, depths, seqs, threads, batches, k_types, v_types, weights, layouts, heads;
    bench_test *tests;
    size_t n_tests;
    bench_config *configs;
    size_t n_configs;
} grid;

// ---- lists

static tern_status add_text(char ***texts, size_t *n_texts, const char *text, size_t n, tern_error *err)
{
    char **larger = realloc(*texts, (*n_texts + 1) * sizeof *larger);
    if (larger) *texts = larger;
    char *copy = larger ? strndup(text, n) : NULL;
    if (!copy) return error_set(err, TERN_HOST_MEMORY, "out of memory for a list");
    (*texts)[(*n_texts)++] = copy;
    return TERN_OK;
}

// "a.gguf,b.gguf" into its parts. In "synthetic:2b,seed=7" the comma belongs to the model.
static tern_status add_texts(char ***texts, size_t *n_texts, const char *list, tern_error *err)
{
    tern_status status = TERN_OK;
    while (*list && status == TERN_OK) {
        size_t n = strcspn(list, ",");
        while (strncmp(list + n, ",seed=", 6) == 0) n += 1 + strcspn(list + n + 1, ",");
        status = add_text(texts, n_texts, list, n, err);
        list += n + (list[n] == ',');
    }
    return status;
}

static tern_status collect_models(grid *g, tern_error *err)
{
    tern_status status = TERN_OK;
    for (size_t i = 0; i < g->options->n_operands && status == TERN_OK; i++)
        status = add_texts(&g->models, &g->n_models, g->options->operands[i], err);
    const char *text;
    for (size_t i = 0; status == TERN_OK && (text = opt_nth(g->options, OPT_MODEL, i)); i++)
        status = add_texts(&g->models, &g->n_models, text, err);
    if (status == TERN_OK && g->n_models == 0)
        status = error_set(err, TERN_INVALID_ARGUMENT, "no model: give one or more, as operands or with -m");
    return status;
}

static tern_status read_numbers(grid *g, tern_error *err)
{
    const struct {
        const char *name;
        opt_id id;
        numbers *to;
    } lists[] = {{"-p", OPT_BENCH_PROMPT, &g->prompts},   {"-n", OPT_BENCH_GEN, &g->gens},
                 {"-d", OPT_DEPTH, &g->depths},           {"-np", OPT_PARALLEL, &g->seqs},
                 {"-t", OPT_THREADS, &g->threads},        {"-b", OPT_BATCH, &g->batches},
                 {"-ctk", OPT_KV_K, &g->k_types},         {"-ctv", OPT_KV_V, &g->v_types},
                 {"--weights", OPT_WEIGHTS, &g->weights}, {"--layout", OPT_LAYOUT, &g->layouts},
                 {"--head", OPT_HEAD, &g->heads}};
    tern_status status = TERN_OK;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0] && status == TERN_OK; i++) {
        const opt_spec *spec = opt_find(COMMAND_BENCH, lists[i].name, strlen(lists[i].name));
        const char *text = g->options->values[lists[i].id].text;
        numbers *to = lists[i].to;
        status = spec->kind == OPT_CHOICE ? opt_parse_choices(spec, lists[i].name, text, &to->items, &to->n, err)
                                          : opt_parse_sweep(lists[i].name, text, spec->max, &to->items, &to->n, err);
    }
    return status;
}

static tern_status add_test(grid *g, int32_t n_prompt, int32_t n_gen, int32_t n_depth, tern_error *err)
{
    if (n_prompt == 0 && n_gen == 0) return TERN_OK;
    bench_test *larger = realloc(g->tests, (g->n_tests + 1) * sizeof *larger);
    if (!larger) return error_set(err, TERN_HOST_MEMORY, "out of memory for the list of tests");
    g->tests = larger;
    g->tests[g->n_tests++] = (bench_test){(uint32_t)n_prompt, (uint32_t)n_gen, (uint32_t)n_depth};
    return TERN_OK;
}

// At each depth all -p, then all -n, then all -pg.
static tern_status collect_tests(grid *g, tern_error *err)
{
    tern_status status = TERN_OK;
    for (size_t d = 0; d < g->depths.n && status == TERN_OK; d++) {
        int32_t depth = g->depths.items[d];
        for (size_t i = 0; i < g->prompts.n && status == TERN_OK; i++)
            status = add_test(g, g->prompts.items[i], 0, depth, err);
        for (size_t i = 0; i < g->gens.n && status == TERN_OK; i++)
            status = add_test(g, 0, g->gens.items[i], depth, err);
        const char *text;
        for (size_t i = 0; status == TERN_OK && (text = opt_nth(g->options, OPT_BENCH_BOTH, i)); i++) {
            numbers both = {0};
            status = opt_parse_list("-pg", text, INT32_MAX, &both.items, &both.n, err);
            if (status != TERN_OK) return status;
            status = both.n == 2
                         ? add_test(g, both.items[0], both.items[1], depth, err)
                         : error_set(err, TERN_INVALID_ARGUMENT, "-pg takes two numbers, PP,TG, not '%.60s'", text);
            free(both.items);
        }
    }
    if (status == TERN_OK && g->n_tests == 0)
        status = error_set(err, TERN_INVALID_ARGUMENT, "no tests: -p and -n are both 0");
    return status;
}

#define MAX_CONFIGS 100000u

// The lowest digit of a number whose digits have different bases, which is taken off.
static size_t digit(size_t *number, size_t base)
{
    size_t d = *number % base;
    *number /= base;
    return d;
}

// All combinations, tests innermost; what shares a loaded model stands together.
static tern_status multiply(grid *g, tern_error *err)
{
    const opt_values *options = g->options;
    bool has_v = options->values[OPT_KV_V].given;
    size_t n_v = has_v ? g->v_types.n : 1;
    double n = (double)g->n_models * (double)g->n_devices * (double)g->weights.n * (double)g->k_types.n * (double)n_v *
               (double)g->layouts.n * (double)g->heads.n * (double)g->threads.n * (double)g->batches.n *
               (double)g->seqs.n * (double)g->n_tests;
    if (n > MAX_CONFIGS)
        return error_set(err, TERN_INVALID_ARGUMENT, "the lists multiply to %.0f tests, at most %u are allowed", n,
                         MAX_CONFIGS);
    g->configs = calloc((size_t)n, sizeof *g->configs);
    if (!g->configs) return error_set(err, TERN_HOST_MEMORY, "out of memory for %.0f tests", n);
    tern_plan_options placement;
    tern_plan_options_init(&placement);
    cli_placement(options, &placement);
    for (size_t i = 0; i < (size_t)n; i++) {
        size_t at = i;
        bench_config *c = &g->configs[g->n_configs];
        bench_config_init(c);
        c->test = g->tests[digit(&at, g->n_tests)];
        c->n_seq = (uint32_t)g->seqs.items[digit(&at, g->seqs.n)];
        c->n_batch = (uint32_t)g->batches.items[digit(&at, g->batches.n)];
        c->n_threads = (uint32_t)g->threads.items[digit(&at, g->threads.n)];
        size_t v = digit(&at, n_v), head, layout;
        c->kv_k = (tern_kv_type)g->k_types.items[digit(&at, g->k_types.n)];
        c->kv_v = has_v ? (tern_kv_type)g->v_types.items[v] : c->kv_k;
        head = digit(&at, g->heads.n);
        layout = digit(&at, g->layouts.n);
        c->head = (tern_head)g->heads.items[head]; // listed in the order of the enumerations
        c->layout = (tern_layout)g->layouts.items[layout];
        c->weights = (tern_weights)g->weights.items[digit(&at, g->weights.n)];
        c->device = g->devices[digit(&at, g->n_devices)];
        c->model = g->models[at];
        c->embedding = placement.embedding;
        c->n_gpu_layers = placement.n_gpu_layers;
        c->n_streamed = placement.n_streamed;
        c->fast_attention = options->values[OPT_FAST_ATTENTION].given;
        c->act = (tern_act)options->values[OPT_ACT].integer;
        c->i2s_layout = (tern_i2s_layout)options->values[OPT_I2S_LAYOUT].integer;
        bool is_again = c->weights == TERN_WEIGHTS_F16 && head + layout > 0; // twins have neither head nor layout
        g->n_configs += !is_again;
    }
    return TERN_OK;
}

static tern_status collect(grid *g, tern_error *err)
{
    tern_status status = collect_models(g, err);
    if (status == TERN_OK) status = add_texts(&g->devices, &g->n_devices, g->options->values[OPT_DEVICE].text, err);
    if (status == TERN_OK) status = read_numbers(g, err);
    if (status == TERN_OK) status = collect_tests(g, err);
    return status == TERN_OK ? multiply(g, err) : status;
}

static void free_grid(grid *g)
{
    numbers *lists[] = {&g->prompts, &g->gens,    &g->depths,  &g->seqs,    &g->threads, &g->batches,
                        &g->k_types, &g->v_types, &g->weights, &g->layouts, &g->heads};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) free(lists[i]->items);
    for (size_t i = 0; i < g->n_models; i++) free(g->models[i]);
    for (size_t i = 0; i < g->n_devices; i++) free(g->devices[i]);
    free(g->models);
    free(g->devices);
    free(g->tests);
    free(g->configs);
}

// ---- running

typedef struct bench_user {
    const opt_values *options;
    cli_progress progress;
} bench_user;

static bool show_progress(void *user, double share, const char *what)
{
    bench_user *u = user;
    cli_progress_show(&u->progress, share, what);
    return !interrupt_seen();
}

static void watch(void *user, tern_session *session)
{
    (void)user;
    interrupt_watch(session);
}

static void show_note(void *user, const char *text)
{
    bench_user *u = user;
    cli_progress_end(&u->progress);
    cli_note(u->options, "%s", text);
}

// Prints a report, also after a failure or Ctrl-C: what was measured is worth keeping.
static tern_status print_text(tern_status status, char *text, tern_error *err)
{
    tern_error print_err = {0};
    size_t n = strlen(text);
    tern_status printed = cli_write(text, n, &print_err);
    if (printed == TERN_OK && n > 0 && text[n - 1] != '\n') printed = cli_write("\n", 1, &print_err);
    free(text);
    return status == TERN_OK && printed != TERN_OK ? error_set(err, printed, "%s", print_err.message) : status;
}

// -o lists the formats in the order of bench_format.
static bench_format chosen_format(const opt_values *options)
{
    return (bench_format)options->values[OPT_OUTPUT].integer;
}

static tern_status announce(const grid *g, const tern_engine *engine, uint64_t *memory, tern_error *err)
{
    for (size_t i = 0; i < g->n_devices; i++) {
        tern_device_info info;
        tern_status status = cli_device_find(engine, g->devices[i], &info, err);
        if (status != TERN_OK) return status;
        cli_announce_device(g->options, engine, &info);
        uint64_t budget = cli_vram_budget(g->options, info.memory_total);
        if (*memory == 0 || (budget > 0 && budget < *memory)) *memory = budget;
    }
    return TERN_OK;
}

static tern_status run_models(const opt_values *options, tern_error *err)
{
    grid g = {.options = options};
    bench_user user = {.options = options};
    bench_options o;
    bench_rows rows = {0};
    bench_options_init(&o);
    o.n_repeats = (uint32_t)options->values[OPT_REPEATS].integer;
    if (options->values[OPT_NO_WARMUP].given) o.n_warmup = 0;
    o.is_eager = options->values[OPT_EAGER].given;
    o.is_checked = !options->values[OPT_NO_CHECK].given;
    o.energy_window_s = options->values[OPT_ENERGY_WINDOW].real;
    o.progress = show_progress;
    o.watch = watch;
    o.note = show_note;
    o.user = &user;
    cli_progress_begin(&user.progress, options, "bench");
    tern_status status = collect(&g, err);
    if (status == TERN_OK) status = cli_engine_open(options, &o.engine, err);
    if (status == TERN_OK) status = announce(&g, o.engine, &o.memory, err);
    if (status == TERN_OK) status = bench_run(g.configs, g.n_configs, &o, &rows, err);
    cli_progress_end(&user.progress);
    char *text = NULL;
    if (rows.n > 0 && bench_rows_text(rows.items, rows.n, chosen_format(options), &text, err) == TERN_OK)
        status = print_text(status, text, err);
    else if (rows.n > 0)
        status = TERN_HOST_MEMORY;
    bench_rows_free(&rows);
    tern_engine_close(o.engine);
    free_grid(&g);
    return status;
}

static tern_status run_kernels(const opt_values *options, const char *device_name, tern_error *err)
{
    bench_user user = {.options = options};
    const kernel_options o = {.filter = options->values[OPT_KERNELS_FILTER].text,
                              .n_threads = (uint32_t)options->values[OPT_THREADS].integer,
                              .n_repeats = (uint32_t)options->values[OPT_REPEATS].integer,
                              .is_checked = !options->values[OPT_NO_CHECK].given,
                              .progress = show_progress,
                              .user = &user};
    kernel_rows rows = {0};
    char *text = NULL;
    cli_progress_begin(&user.progress, options, "kernels");
    tern_status status = kernel_bench_run(engine_backends, device_name, &o, &rows, err);
    cli_progress_end(&user.progress);
    if (rows.n > 0 && kernel_rows_text(&rows, chosen_format(options), &text, err) == TERN_OK)
        status = print_text(status, text, err);
    else if (rows.n > 0)
        status = TERN_HOST_MEMORY;
    kernel_rows_free(&rows);
    return status;
}

static tern_status run_probe(const opt_values *options, const char *device_name, tern_error *err)
{
    bench_user user = {.options = options};
    probe result = {0};
    char *text = NULL;
    cli_progress_begin(&user.progress, options, "probing");
    cli_progress_show(&user.progress, 0, device_name);
    tern_status status = probe_run(engine_backends, device_name, (uint32_t)options->values[OPT_THREADS].integer,
                                   PROBE_ALL, &result, err);
    cli_progress_end(&user.progress);
    if (status == TERN_OK) status = probe_text(&result, 1, chosen_format(options), &text, err);
    return status == TERN_OK ? print_text(status, text, err) : status;
}

// --kernels and --probe look at one device and need no model.
static tern_status run(const opt_values *options, tern_error *err)
{
    bool kernels = options->values[OPT_KERNELS].given || options->values[OPT_KERNELS_FILTER].given;
    bool probes = options->values[OPT_PROBE].given;
    if (!kernels && !probes) return run_models(options, err);
    if (kernels && probes) return error_set(err, TERN_INVALID_ARGUMENT, "--kernels and --probe are two things");
    if (options->n_operands > 0 || options->values[OPT_MODEL].given)
        return error_set(err, TERN_INVALID_ARGUMENT, "--kernels and --probe look at a device and take no model");
    tern_engine *engine = NULL;
    tern_device_info info;
    tern_status status = cli_engine_open(options, &engine, err);
    if (status == TERN_OK) status = cli_device_find(engine, options->values[OPT_DEVICE].text, &info, err);
    if (status == TERN_OK) cli_announce_device(options, engine, &info);
    if (status == TERN_OK) status = kernels ? run_kernels(options, info.name, err) : run_probe(options, info.name, err);
    tern_engine_close(engine);
    return status;
}

int cmd_bench(const opt_values *options)
{
    tern_error err = {0};
    interrupt_install();
    tern_status status = run(options, &err);
    return cli_finish(status == TERN_OK ? EXIT_CODE_OK : cli_fail(&err, NULL));
}
