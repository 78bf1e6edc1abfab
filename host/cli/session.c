// From the options to a loaded model with a session.
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "clock.h"

tern_status cli_model_path(const opt_values *options, const char **out, tern_error *err)
{
    bool has_option = options->values[OPT_MODEL].given, has_operand = options->n_operands > 0;
    if (has_option && has_operand)
        return error_set(err, TERN_INVALID_ARGUMENT, "two models: '%s' and -m '%s'", options->operands[0],
                         options->values[OPT_MODEL].text);
    if (!has_option && !has_operand)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "no model: give a .gguf file, a Hugging Face directory or synthetic:SHAPE");
    *out = has_option ? options->values[OPT_MODEL].text : options->operands[0];
    return TERN_OK;
}

static void log_to_stderr(void *user, int level, const char *message)
{
    const opt_values *options = user;
    if (level >= TERN_LOG_WARN)
        cli_warn(options, "%s", message);
    else if (level >= TERN_LOG_NOTICE || options->values[OPT_VERBOSE].given)
        cli_note(options, "%s", message);
}

// DIR of --cache-dir, or tern in $XDG_CACHE_HOME or ~/.cache; "" where there is none.
static void find_cache_dir(const opt_values *options, char *out, size_t n_bytes)
{
    const opt_value *given = &options->values[OPT_CACHE_DIR];
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (given->given)
        n = snprintf(out, n_bytes, "%s", strcmp(given->text, "none") == 0 ? "" : given->text);
    else if (xdg != NULL && xdg[0] == '/')
        n = snprintf(out, n_bytes, "%s/tern", xdg);
    else if (home != NULL && home[0] == '/')
        n = snprintf(out, n_bytes, "%s/.cache/tern", home);
    if (n <= 0 || (size_t)n >= n_bytes) out[0] = 0;
}

tern_status cli_engine_open(const opt_values *options, tern_engine **out, tern_error *err)
{
    tern_engine_options engine_options;
    tern_engine_options_init(&engine_options);
    engine_options.log = log_to_stderr;
    char cache_dir[480];
    find_cache_dir(options, cache_dir, sizeof cache_dir);
    engine_options.cache_dir = cache_dir; // copied
    if (options->values[OPT_NO_PACK_CACHE].given) engine_options.pack_cache_from = UINT64_MAX;
    engine_options.log_user = (void *)(uintptr_t)options; // read only; the callback's parameter is not const
    return tern_engine_open(&engine_options, out, err);
}

tern_status cli_device_find(const tern_engine *engine, const char *name, tern_device_info *out, tern_error *err)
{
    bool is_auto = strcmp(name, "auto") == 0;
    size_t n = tern_engine_device_count(engine), length = 0;
    char names[512] = "";
    for (size_t i = 0; i < n; i++) {
        tern_device_info info;
        tern_status status = tern_engine_device_info(engine, i, &info, err);
        if (status != TERN_OK) return status;
        if (is_auto ? !info.is_chosen_only_by_name : strcmp(info.name, name) == 0) {
            *out = info;
            return TERN_OK;
        }
        if (length < sizeof names)
            length += (size_t)snprintf(names + length, sizeof names - length, "%s%s", i ? ", " : "", info.name);
    }
    return error_set(err, TERN_NO_DEVICE, "no device '%s'; there are: %s", name, names);
}

void cli_announce_device(const opt_values *options, const tern_engine *engine, const tern_device_info *device)
{
    const char *unused = tern_engine_unused_devices(engine);
    cli_note(options, "device %s (%s)%s%s%s%s", device->name, device->description, *device->note ? "; " : "",
             device->note, *unused ? "; not used: " : "", unused);
}

void cli_model_options(const opt_values *options, tern_model_options *out)
{
    tern_model_options_init(out);
    out->act = (tern_act)options->values[OPT_ACT].integer; // the table lists both in the order of the enumerations
    out->i2s_layout = (tern_i2s_layout)options->values[OPT_I2S_LAYOUT].integer;
}

tern_status cli_model_open(cli_session *s, const opt_values *options, const char *path, tern_error *err)
{
    uint64_t start = clock_ns();
    tern_model_options model_options;
    cli_model_options(options, &model_options);
    tern_status status = s->engine ? TERN_OK : cli_engine_open(options, &s->engine, err);
    if (status == TERN_OK) status = tern_model_open(s->engine, path, &model_options, &s->model, err);
    s->ns_open = clock_ns() - start;
    return status;
}

uint64_t cli_vram_budget(const opt_values *options, uint64_t memory_total)
{
    const opt_value *vram = &options->values[OPT_VRAM];
    if (!vram->given) return 0;
    return vram->is_percent ? (uint64_t)((double)memory_total * vram->real / 100) : vram->bytes;
}

void cli_placement(const opt_values *options, tern_plan_options *out)
{
    const opt_value *v = options->values;
    out->n_gpu_layers = (int32_t)v[OPT_GPU_LAYERS].integer; // words of the table: auto is -1, all is -2
    out->n_streamed = v[OPT_STREAM].integer == -2 ? 0 : (int32_t)v[OPT_STREAM].integer; // auto is -1, none is -2
    out->layout = (tern_layout)v[OPT_LAYOUT].integer; // listed in the order of the enumerations
    out->embedding = (tern_embedding)v[OPT_EMBEDDING].integer;
}

void cli_note_placement(const opt_values *options, const tern_plan *plan)
{
    uint32_t n = plan->n_layers_cpu + plan->n_layers_device + plan->n_layers_streamed;
    if (plan->n_layers_cpu > 0) cli_note(options, "%u of %u layers on the CPU", plan->n_layers_cpu, n);
    if (plan->n_layers_streamed > 0)
        cli_note(options, "%u of %u layers streamed from host memory, %s for each step", plan->n_layers_streamed, n,
                 cli_bytes(plan->pinned.ternary + plan->pinned.dense).text);
}

void cli_note_attention(const opt_values *options, const tern_plan *plan)
{
    if (!options->values[OPT_FAST_ATTENTION].given) return;
    if (plan->fast_attention)
        cli_note(options, "attention %s", plan->attention);
    else
        cli_warn(options, "--fast-attention does nothing: attention %s", plan->attention);
}

void cli_plan_options(const opt_values *options, tern_plan_options *out)
{
    const opt_value *v = options->values;
    tern_plan_options_init(out);
    out->kv_k = (tern_kv_type)v[OPT_KV_K].integer; // the table lists them in the order of tern_kv_type
    out->kv_v = (tern_kv_type)v[OPT_KV_V].integer;
    out->weights = (tern_weights)v[OPT_WEIGHTS].integer;
    out->head = (tern_head)v[OPT_HEAD].integer;
    out->fast_attention = v[OPT_FAST_ATTENTION].given;
    cli_placement(options, out);
}

static void fill_plan_options(const opt_values *options, const tern_device_info *device, tern_plan_options *out)
{
    cli_plan_options(options, out);
    out->device = device->name; // "auto" was resolved: the budget below is this device's
    out->n_threads = (uint32_t)options->values[OPT_THREADS].integer;
    out->memory_budget = cli_vram_budget(options, device->memory_total);
}

tern_status cli_session_load(cli_session *s, const opt_values *options, uint32_t n_ctx, uint32_t n_batch,
                             tern_error *err)
{
    tern_status status = cli_device_find(s->engine, options->values[OPT_DEVICE].text, &s->device, err);
    if (status != TERN_OK) return status;
    tern_plan_options plan_options;
    fill_plan_options(options, &s->device, &plan_options);
    plan_options.n_ctx = n_ctx;
    plan_options.n_batch = n_batch;
    cli_announce_device(options, s->engine, &s->device);
    status = tern_plan_make(s->model, &plan_options, &s->plan, err);
    if (status != TERN_OK) return status;
    if (s->plan.weights == TERN_WEIGHTS_F16)
        cli_note(options, "float twin of the model; products: %s", s->plan.products);
    cli_note_placement(options, &s->plan);
    cli_note_attention(options, &s->plan);

    cli_progress progress;
    uint64_t start = clock_ns();
    cli_progress_begin(&progress, options, "loading");
    status = tern_model_load(s->model, &s->plan, cli_progress_bytes, &progress, err);
    cli_progress_end(&progress);
    s->ns_load = clock_ns() - start;
    if (status == TERN_OK) status = tern_session_create(s->model, &s->session, err);
    if (status != TERN_OK) return status;
    interrupt_watch(s->session);
    return interrupt_seen() ? error_set(err, TERN_CANCELLED, "interrupted while loading") : TERN_OK;
}

void cli_session_close(cli_session *s)
{
    interrupt_watch(NULL);
    tern_session_free(s->session);
    tern_model_close(s->model);
    tern_engine_close(s->engine);
    *s = (cli_session){0};
}

bool cli_wants_json(const opt_values *options)
{
    const char *format = options->values[OPT_OUTPUT].text; // NULL for commands without -o
    return format && strcmp(format, "json") == 0;
}
