// tern plan: where a model would go on a device and what it takes there, before a byte of it is loaded: the plan that
// `tern run` would follow and its reasons, the contexts, KV types and layouts that fit, and what memory bandwidth
// allows at best.
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json_out.h"

#define MAX_ROWS 64

enum { ROW_T64, ROW_T80, ROW_N_LAYOUTS };

// One combination of context and KV type, in both layouts.
typedef struct plan_row {
    tern_plan plans[ROW_N_LAYOUTS];
    bool is_there[ROW_N_LAYOUTS]; // the layout was asked for, and the backend has it
} plan_row;

typedef struct planner {
    const opt_values *options;
    tern_engine *engine;
    tern_model *model;
    tern_model_info info;
    const tern_card *card;  // NULL: a device that is here
    char target[200];       // "NVIDIA GeForce RTX 4090 (rtx4090)"
    double gbps, link_gbps; // gbps 0: not known
    tern_plan_options plan_options;
    tern_plan chosen; // by the options alone
    bool fits;
    tern_error refusal; // why it does not
    plan_row rows[MAX_ROWS];
    size_t n_rows;
} planner;

static bool plan_fits(const tern_plan *plan) { return plan->bytes_total <= plan->memory_budget; }

// A token of decoding reads all weights once and the keys and values of every position.
static uint64_t device_step_bytes(const tern_plan *plan)
{
    return plan->bytes_per_token - plan->bytes_cpu_per_token + plan->bytes_kv;
}

static uint64_t step_bytes(const tern_plan *plan) { return plan->bytes_per_token + plan->bytes_kv + plan->cpu.kv; }

// The device reads all that is on it, while the link brings what is streamed.
static double floor_ms(const planner *p, const tern_plan *plan)
{
    double device = (double)device_step_bytes(plan) / p->gbps * 1e-6;
    double link = (double)plan->bytes_link_per_token / p->link_gbps * 1e-6;
    return device > link ? device : link;
}

static tern_status add_row(planner *p, uint32_t n_ctx, tern_kv_type k, tern_kv_type v, tern_error *err)
{
    if (p->n_rows == MAX_ROWS) return TERN_OK;
    plan_row *row = &p->rows[p->n_rows];
    tern_plan_options o = p->plan_options;
    o.n_ctx = n_ctx;
    o.kv_k = k;
    o.kv_v = v;
    o.is_estimate = true;
    o.fast_attention = false;                               // takes no room, and one KV type alone
    if (o.n_streamed == TERN_LAYERS_AUTO) o.n_streamed = 0; // the table is about what fits without
    for (int i = 0; i < ROW_N_LAYOUTS; i++) {
        const tern_layout layout = i == ROW_T64 ? TERN_LAYOUT_T64 : TERN_LAYOUT_T80;
        if (p->plan_options.layout != TERN_LAYOUT_AUTO && p->plan_options.layout != layout) continue;
        if (i == ROW_T80 && (p->info.n_params_ternary == 0 || o.weights == TERN_WEIGHTS_F16)) continue;
        o.layout = layout;
        tern_status status = tern_plan_make(p->model, &o, &row->plans[i], err);
        row->is_there[i] = status == TERN_OK;
        if (status == TERN_UNSUPPORTED && i == ROW_T80 && p->plan_options.layout == TERN_LAYOUT_AUTO) {
            *err = (tern_error){0}; // a backend without this layout
            continue;
        }
        if (status != TERN_OK) return status;
    }
    p->n_rows++;
    return TERN_OK;
}

// The asked-for combination, or a table over contexts up to the model's own and KV types.
static tern_status add_rows(planner *p, tern_error *err)
{
    static const uint32_t contexts[] = {2048, 4096, 8192, 16384, 32768, 65536, 131072};
    static const tern_kv_type types[] = {TERN_KV_F16, TERN_KV_INT8, TERN_KV_INT4};
    const opt_value *v = p->options->values;
    bool has_ctx = v[OPT_CTX].integer > 0, has_type = v[OPT_KV_K].given || v[OPT_KV_V].given;
    uint32_t own = p->info.n_ctx_train;
    tern_status status = TERN_OK;
    for (size_t t = 0; t < (has_type ? 1 : sizeof types / sizeof types[0]) && status == TERN_OK; t++) {
        tern_kv_type k = has_type ? (tern_kv_type)v[OPT_KV_K].integer : types[t];
        tern_kv_type kv_v = has_type ? (tern_kv_type)v[OPT_KV_V].integer : types[t];
        if (has_ctx) {
            status = add_row(p, (uint32_t)v[OPT_CTX].integer, k, kv_v, err);
            continue;
        }
        for (size_t c = 0; c < sizeof contexts / sizeof contexts[0] && contexts[c] < own && status == TERN_OK; c++)
            status = add_row(p, contexts[c], k, kv_v, err);
        if (status == TERN_OK) status = add_row(p, own, k, kv_v, err);
    }
    return status;
}

static tern_status find_target(planner *p, tern_error *err)
{
    const opt_value *v = p->options->values;
    tern_plan_options *o = &p->plan_options;
    cli_plan_options(p->options, o);
    o->n_ctx = (uint32_t)v[OPT_CTX].integer;
    o->n_batch = (uint32_t)v[OPT_BATCH].integer;
    o->n_sequences = (uint32_t)v[OPT_PARALLEL].integer;
    uint64_t total;
    static tern_device_info device;
    if (v[OPT_CARD].given) {
        o->card = v[OPT_CARD].text;
        p->card = tern_card_find(v[OPT_CARD].text); // tern_plan_make says so if there is none
        total = p->card != NULL ? p->card->memory : 0;
        p->gbps = p->card != NULL ? p->card->gbps : 0;
        if (p->card != NULL) snprintf(p->target, sizeof p->target, "%s (%s)", p->card->title, p->card->name);
    } else {
        tern_status status = cli_device_find(p->engine, v[OPT_DEVICE].text, &device, err);
        if (status != TERN_OK) return status;
        o->device = device.name;
        total = device.memory_total;
        snprintf(p->target, sizeof p->target, "%s (%s)", device.description, device.name);
    }
    if (v[OPT_BANDWIDTH].given) p->gbps = v[OPT_BANDWIDTH].real;
    p->link_gbps = v[OPT_LINK].real;
    o->memory_budget = cli_vram_budget(p->options, total);
    return TERN_OK;
}

// The plan that would be followed; one that does not fit is shown, with the reason.
static tern_status choose(planner *p, tern_error *err)
{
    tern_status status = tern_plan_make(p->model, &p->plan_options, &p->chosen, &p->refusal);
    p->fits = status == TERN_OK;
    if (status == TERN_BUDGET) {
        tern_plan_options o = p->plan_options;
        o.is_estimate = true;
        return tern_plan_make(p->model, &o, &p->chosen, err);
    }
    if (status != TERN_OK) *err = p->refusal;
    return status;
}

// ---- markdown

static void print_class(const char *name, uint64_t on_device, uint64_t pinned, uint64_t on_cpu)
{
    if (on_device + pinned + on_cpu == 0) return;
    printf("| %s | %s | %s | %s |\n", name, on_device > 0 ? cli_bytes(on_device).text : "-",
           pinned > 0 ? cli_bytes(pinned).text : "-", on_cpu > 0 ? cli_bytes(on_cpu).text : "-");
}

static void print_classes(const tern_plan *plan)
{
    const tern_place_bytes *pinned = &plan->pinned, *cpu = &plan->cpu;
    printf("| class, at %u positions of %s/%s | device | pinned host memory | CPU |\n| --- | ---: | ---: | ---: |\n",
           plan->n_ctx, tern_kv_type_name(plan->kv_k), tern_kv_type_name(plan->kv_v));
    print_class("ternary matrices", plan->bytes_ternary, pinned->ternary, cpu->ternary);
    print_class("dense matrices", plan->bytes_dense, pinned->dense, cpu->dense);
    print_class("embedding", plan->bytes_embedding, pinned->embedding, cpu->embedding);
    print_class("head", plan->bytes_head, pinned->head, cpu->head);
    print_class("norms", plan->bytes_norms, pinned->norms, cpu->norms);
    print_class("slots of streamed layers", plan->bytes_slots, 0, 0);
    print_class("rotary table", plan->bytes_rope, pinned->rope, cpu->rope);
    print_class("KV cache", plan->bytes_kv, pinned->kv, cpu->kv);
    print_class("workspace", plan->bytes_workspace, pinned->workspace, cpu->workspace);
    print_class("scratch, staging", plan->bytes_device, 0, 0);
    print_class("device context", plan->bytes_context, 0, 0);
    print_class("total", plan->bytes_total, pinned->total, cpu->total);
}

static void print_chosen(const planner *p)
{
    const tern_plan *plan = &p->chosen;
    if (p->fits)
        printf("plan: %s of %s on the device\n", cli_bytes(plan->bytes_total).text,
               cli_bytes(plan->memory_budget).text);
    else
        printf("no plan: %s\n", p->refusal.message);
    if (plan->weights == TERN_WEIGHTS_F16) printf("float twin: %s\n", plan->products);
    if (plan->head != TERN_HEAD_STORED) printf("%s\n", cli_head(plan->head).text);
    printf("%s\n\n", plan->reasons);
    print_classes(plan);
    printf("\nread for a token with the context full: %s", cli_bytes(step_bytes(plan)).text);
    if (plan->bytes_link_per_token > 0) printf(", of it %s over the link", cli_bytes(plan->bytes_link_per_token).text);
    if (plan->bytes_cpu_per_token > 0) printf(", of it %s by the CPU", cli_bytes(plan->bytes_cpu_per_token).text);
    if (p->gbps > 0 && plan->bytes_cpu_per_token == 0)
        printf("; %.3f ms at least, %.1f tok/s at most", floor_ms(p, plan), 1e3 / floor_ms(p, plan));
    printf("\n");
}

static void print_layout_cells(const planner *p, const plan_row *row, int layout)
{
    const tern_plan *plan = &row->plans[layout];
    if (!row->is_there[layout]) {
        printf(" - | - | - | - |");
        return;
    }
    char fits[96] = "yes", floor[32] = "-", speed[32] = "-";
    if (!plan_fits(plan))
        snprintf(fits, sizeof fits, "no, %s over", cli_bytes(plan->bytes_total - plan->memory_budget).text);
    if (p->gbps > 0 && plan->bytes_cpu_per_token == 0) {
        snprintf(floor, sizeof floor, "%.3f", floor_ms(p, plan));
        snprintf(speed, sizeof speed, "%.1f", 1e3 / floor_ms(p, plan));
    }
    printf(" %s | %s | %s | %s |", cli_bytes(plan->bytes_total).text, fits, floor, speed);
}

static bool shows_layout(const planner *p, int layout)
{
    for (size_t i = 0; i < p->n_rows; i++)
        if (p->rows[i].is_there[layout]) return true;
    return false;
}

static const char *layout_name(int layout) { return layout == ROW_T64 ? "t64" : "t80"; }

static void print_rows(const planner *p)
{
    printf("\n| context | KV |");
    for (int i = 0; i < ROW_N_LAYOUTS; i++)
        if (shows_layout(p, i)) printf(" %s total | fits | floor ms | tok/s at most |", layout_name(i));
    printf("\n| ---: | --- |");
    for (int i = 0; i < ROW_N_LAYOUTS; i++)
        if (shows_layout(p, i)) printf(" ---: | --- | ---: | ---: |");
    printf("\n");
    for (size_t r = 0; r < p->n_rows; r++) {
        const plan_row *row = &p->rows[r];
        const tern_plan *plan = &row->plans[row->is_there[ROW_T64] ? ROW_T64 : ROW_T80];
        printf("| %u | %s/%s |", plan->n_ctx, tern_kv_type_name(plan->kv_k), tern_kv_type_name(plan->kv_v));
        for (int i = 0; i < ROW_N_LAYOUTS; i++)
            if (shows_layout(p, i)) print_layout_cells(p, row, i);
        printf("\n");
    }
}

// The largest context of each KV type and layout, which does not depend on the row's own.
static void print_largest(const planner *p)
{
    printf("\nlargest context that fits:");
    const char *separator = "";
    for (int layout = 0; layout < ROW_N_LAYOUTS; layout++) {
        const tern_plan *before = NULL;
        for (size_t i = 0; i < p->n_rows; i++) {
            const tern_plan *plan = &p->rows[i].plans[layout];
            if (!p->rows[i].is_there[layout]) continue;
            bool is_new = before == NULL || before->kv_k != plan->kv_k || before->kv_v != plan->kv_v;
            before = plan;
            if (!is_new) continue;
            char largest[16] = "none";
            if (plan->n_ctx_max > 0) snprintf(largest, sizeof largest, "%u", plan->n_ctx_max);
            printf("%s %s with %s/%s KV in %s", separator, largest, tern_kv_type_name(plan->kv_k),
                   tern_kv_type_name(plan->kv_v), layout_name(layout));
            separator = ",";
        }
    }
    printf("\n");
}

static void print_table(const planner *p)
{
    const tern_plan *plan = &p->chosen;
    const tern_model_info *info = &p->info;
    printf("%s%s on %s: %s may be used\n", info->name,
           info->is_synthetic && strncmp(info->name, "synthetic", 9) != 0 ? " (synthetic)" : "", p->target,
           cli_bytes(plan->memory_budget).text);
    print_chosen(p);
    print_rows(p);
    print_largest(p);
    if (p->gbps > 0)
        printf("floor: bytes read for a token with the context full, at %.0f GB/s%s%s; no kernel is faster\n", p->gbps,
               p->options->values[OPT_BANDWIDTH].given ? "" : " (data sheet)",
               plan->bytes_cpu_per_token > 0 ? ", not known with layers on the CPU" : "");
    else
        printf("floor: not known for this device; give its bandwidth with --bandwidth\n");
    if (plan->bytes_link_per_token > 0)
        printf("link: %g GB/s%s\n", p->link_gbps,
               p->options->values[OPT_LINK].given ? "" : ", as PCIe 4.0 x16; --link says another");
    if (p->card != NULL && p->card->int8_tops > 0 && plan->bytes_ternary > 0 && plan->bytes_dense == 0)
        printf("prefill: at most %.0f tok/s, all ternary products at %.0f int8 TOPS (data sheet)\n",
               p->card->int8_tops * 1e12 / (2 * (double)info->n_params_ternary), p->card->int8_tops);
}

// ---- JSON

static json_t *place_json(const tern_place_bytes *b)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "ternary", json_out_count(b->ternary), "dense",
                     json_out_count(b->dense), "embedding", json_out_count(b->embedding), "head",
                     json_out_count(b->head), "norms", json_out_count(b->norms), "rope", json_out_count(b->rope), "kv",
                     json_out_count(b->kv), "workspace", json_out_count(b->workspace), "total",
                     json_out_count(b->total));
}

static json_t *plan_json(const planner *p, const tern_plan *plan)
{
    json_t *o = json_pack("{s:I, s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "n_ctx",
                          (json_int_t)plan->n_ctx, "type_k", tern_kv_type_name(plan->kv_k), "type_v",
                          tern_kv_type_name(plan->kv_v), "layout", plan->layout == TERN_LAYOUT_T80 ? "t80" : "t64",
                          "fits", (int)plan_fits(plan), "bytes_total", json_out_count(plan->bytes_total), "bytes_kv",
                          json_out_count(plan->bytes_kv), "bytes_workspace", json_out_count(plan->bytes_workspace),
                          "bytes_rope", json_out_count(plan->bytes_rope), "bytes_per_token",
                          json_out_count(step_bytes(plan)), "bytes_link_per_token",
                          json_out_count(plan->bytes_link_per_token), "n_ctx_max", json_out_count(plan->n_ctx_max));
    if (o != NULL && p->gbps > 0 && plan->bytes_cpu_per_token == 0)
        json_object_set_new(o, "floor_ms", json_real(floor_ms(p, plan)));
    return o;
}

static json_t *chosen_json(const planner *p)
{
    const tern_plan *plan = &p->chosen;
    json_t *o = plan_json(p, plan);
    json_t *more = json_pack(
        "{s:o, s:b, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o}", "reasons",
        json_out_text(p->fits ? plan->reasons : p->refusal.message), "fits", (int)p->fits, "attention", plan->attention,
        "embedding", plan->embedding == TERN_EMBEDDING_HOST ? "host" : "device", "n_layers_device",
        (json_int_t)plan->n_layers_device, "n_layers_streamed", (json_int_t)plan->n_layers_streamed, "n_layers_cpu",
        (json_int_t)plan->n_layers_cpu, "bytes_slots", json_out_count(plan->bytes_slots), "pinned",
        place_json(&plan->pinned), "cpu", place_json(&plan->cpu));
    if (o != NULL && more != NULL) json_object_update(o, more);
    json_decref(more);
    return o;
}

static int print_json(const planner *p)
{
    const tern_plan *plan = &p->chosen;
    json_t *rows = json_array();
    for (size_t i = 0; i < p->n_rows; i++)
        for (int layout = 0; layout < ROW_N_LAYOUTS; layout++)
            if (p->rows[i].is_there[layout]) json_array_append_new(rows, plan_json(p, &p->rows[i].plans[layout]));
    return json_out_print(
        json_pack("{s:o, s:b, s:s, s:o, s:s, s:s, s:o, s:f, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "model",
                  json_out_text(p->info.name), "is_synthetic", (int)p->info.is_synthetic, "device", plan->device,
                  "target", json_out_text(p->target), "weights", plan->weights == TERN_WEIGHTS_F16 ? "f16" : "stored",
                  "head", tern_head_name(plan->head), "memory_budget", json_out_count(plan->memory_budget), "gbps",
                  p->gbps, "link_gbps", p->link_gbps, "bytes_ternary", json_out_count(plan->bytes_ternary),
                  "bytes_dense", json_out_count(plan->bytes_dense), "bytes_embedding",
                  json_out_count(plan->bytes_embedding), "bytes_head", json_out_count(plan->bytes_head), "bytes_norms",
                  json_out_count(plan->bytes_norms), "bytes_device", json_out_count(plan->bytes_device),
                  "bytes_context", json_out_count(plan->bytes_context), "plan", chosen_json(p), "plans", rows));
}

static tern_status make_plans(planner *p, tern_error *err)
{
    const char *path;
    cli_session s = {0};
    tern_status status = cli_model_path(p->options, &path, err);
    if (status == TERN_OK) status = cli_model_open(&s, p->options, path, err);
    p->engine = s.engine;
    p->model = s.model;
    if (status != TERN_OK) return status;
    tern_model_get_info(p->model, &p->info);
    error_make_printable(p->info.name);
    status = find_target(p, err);
    if (status == TERN_OK) status = choose(p, err);
    return status == TERN_OK ? add_rows(p, err) : status;
}

int cmd_plan(const opt_values *options)
{
    static planner p; // large
    tern_error err = {0};
    p = (planner){.options = options};
    tern_status status = make_plans(&p, &err);
    int code = EXIT_CODE_OK;
    if (status != TERN_OK)
        code = cli_fail(&err, NULL);
    else if (cli_wants_json(options))
        code = print_json(&p);
    else
        print_table(&p);
    // What was asked for in particular must fit; a table only shows.
    if (status == TERN_OK && code == EXIT_CODE_OK && options->values[OPT_CTX].integer > 0 && !p.fits)
        code = EXIT_CODE_DEVICE;
    tern_model_close(p.model);
    tern_engine_close(p.engine);
    return cli_finish(code);
}
