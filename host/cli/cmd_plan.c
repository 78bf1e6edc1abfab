// tern plan: what a model would take on a device, before a byte of it is loaded: bytes by class, the contexts that fit,
// and what memory bandwidth allows at best.
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json_out.h"

#define MAX_ROWS 24

// One combination of context and KV type.
typedef struct plan_row {
    tern_plan plan;
    bool fits;
    uint64_t bytes_step; // read to decode one token with the context full
} plan_row;

typedef struct planner {
    const opt_values *options;
    tern_engine *engine;
    tern_model *model;
    tern_model_info info;
    const tern_card *card; // NULL: a device that is here
    char target[200];      // "NVIDIA GeForce RTX 4090 (rtx4090)"
    double gbps;           // 0: not known
    tern_plan_options plan_options;
    plan_row rows[MAX_ROWS];
    size_t n_rows;
} planner;

// A token of decoding reads all weights once and the keys and values of every position.
static uint64_t step_bytes(const tern_plan *plan) { return plan->bytes_per_token + plan->bytes_kv; }

static tern_status add_row(planner *p, uint32_t n_ctx, tern_kv_type k, tern_kv_type v, tern_error *err)
{
    if (p->n_rows == MAX_ROWS) return TERN_OK;
    plan_row *row = &p->rows[p->n_rows];
    tern_plan_options o = p->plan_options;
    o.n_ctx = n_ctx;
    o.kv_k = k;
    o.kv_v = v;
    o.is_estimate = true;
    tern_status status = tern_plan_make(p->model, &o, &row->plan, err);
    if (status != TERN_OK) return status;
    row->fits = row->plan.bytes_total <= row->plan.memory_budget;
    row->bytes_step = step_bytes(&row->plan);
    p->n_rows++;
    return TERN_OK;
}

// The asked-for combination, or a table over contexts up to the model's own and KV types.
static tern_status add_rows(planner *p, tern_error *err)
{
    static const uint32_t contexts[] = {2048, 4096, 8192, 16384, 32768, 65536, 131072};
    static const tern_kv_type types[] = {TERN_KV_F16, TERN_KV_INT8};
    const opt_value *v = p->options->values;
    bool has_ctx = v[OPT_CTX].integer > 0, has_type = v[OPT_KV_K].given || v[OPT_KV_V].given;
    uint32_t own = p->info.n_ctx_train;
    tern_status status = TERN_OK;
    for (size_t t = 0; t < (has_type ? 1 : 2) && status == TERN_OK; t++) {
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
    tern_plan_options_init(&p->plan_options);
    tern_plan_options *o = &p->plan_options;
    o->n_batch = (uint32_t)v[OPT_BATCH].integer;
    o->n_sequences = (uint32_t)v[OPT_PARALLEL].integer;
    o->weights = (tern_weights)v[OPT_WEIGHTS].integer;
    o->head = (tern_head)v[OPT_HEAD].integer;
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
    o->memory_budget = cli_vram_budget(p->options, total);
    return TERN_OK;
}

static double floor_ms(const planner *p, uint64_t bytes) { return p->gbps > 0 ? (double)bytes / p->gbps * 1e-6 : 0; }

// ---- markdown

static void print_class(const char *name, uint64_t bytes, uint64_t total)
{
    if (bytes == 0) return;
    printf("| %s | %s | %.1f %% |\n", name, cli_bytes(bytes).text, 100.0 * (double)bytes / (double)total);
}

// The classes of the first row: they differ between rows only where the context counts.
static void print_classes(const tern_plan *plan)
{
    printf("| class, at %u positions of %s/%s | bytes | share |\n| --- | ---: | ---: |\n", plan->n_ctx,
           cli_kv_name(plan->kv_k), cli_kv_name(plan->kv_v));
    print_class("ternary matrices", plan->bytes_ternary, plan->bytes_total);
    print_class("dense matrices", plan->bytes_dense, plan->bytes_total);
    print_class("embedding", plan->bytes_embedding, plan->bytes_total);
    print_class("head", plan->bytes_head, plan->bytes_total);
    print_class("norms", plan->bytes_norms, plan->bytes_total);
    print_class("rotary table", plan->bytes_rope, plan->bytes_total);
    print_class("KV cache", plan->bytes_kv, plan->bytes_total);
    print_class("workspace", plan->bytes_workspace, plan->bytes_total);
    print_class("device context, staging", plan->bytes_device, plan->bytes_total);
    print_class("total", plan->bytes_total, plan->bytes_total);
}

static void print_rows(const planner *p)
{
    printf("\n| context | KV | total | fits | read per token | floor ms | tok/s at most |\n"
           "| ---: | --- | ---: | --- | ---: | ---: | ---: |\n");
    for (size_t i = 0; i < p->n_rows; i++) {
        const plan_row *row = &p->rows[i];
        const tern_plan *plan = &row->plan;
        char fits[96] = "yes", floor[32] = "-", speed[32] = "-";
        if (!row->fits)
            snprintf(fits, sizeof fits, "no, %s over", cli_bytes(plan->bytes_total - plan->memory_budget).text);
        if (p->gbps > 0) {
            snprintf(floor, sizeof floor, "%.3f", floor_ms(p, row->bytes_step));
            snprintf(speed, sizeof speed, "%.1f", 1e3 / floor_ms(p, row->bytes_step));
        }
        printf("| %u | %s/%s | %s | %s | %s | %s | %s |\n", plan->n_ctx, cli_kv_name(plan->kv_k),
               cli_kv_name(plan->kv_v), cli_bytes(plan->bytes_total).text, fits, cli_bytes(row->bytes_step).text, floor,
               speed);
    }
}

// The largest context of each KV type, which does not depend on the row's own.
static void print_largest(const planner *p)
{
    printf("\nlargest context that fits:");
    for (size_t i = 0; i < p->n_rows; i++) {
        const tern_plan *plan = &p->rows[i].plan, *before = i > 0 ? &p->rows[i - 1].plan : NULL;
        if (before != NULL && before->kv_k == plan->kv_k && before->kv_v == plan->kv_v) continue;
        char largest[16] = "none";
        if (plan->n_ctx_max > 0) snprintf(largest, sizeof largest, "%u", plan->n_ctx_max);
        printf("%s %s with %s/%s KV", i > 0 ? "," : "", largest, cli_kv_name(plan->kv_k), cli_kv_name(plan->kv_v));
    }
    printf("\n");
}

static void print_table(const planner *p)
{
    const tern_plan *plan = &p->rows[0].plan;
    const tern_model_info *info = &p->info;
    printf("%s%s on %s: %s may be used\n", info->name,
           info->is_synthetic && strncmp(info->name, "synthetic", 9) != 0 ? " (synthetic)" : "", p->target,
           cli_bytes(plan->memory_budget).text);
    if (plan->weights == TERN_WEIGHTS_F16) printf("float twin: %s\n", plan->products);
    if (plan->head != TERN_HEAD_STORED) printf("embedding and head held as %s\n", cli_head_name(plan->head));
    printf("\n");
    print_classes(plan);
    print_rows(p);
    print_largest(p);
    if (p->gbps > 0)
        printf("floor: bytes read for a token with the context full, at %.0f GB/s%s; no kernel is faster\n", p->gbps,
               p->options->values[OPT_BANDWIDTH].given ? "" : " (data sheet)");
    else
        printf("floor: not known for this device; give its bandwidth with --bandwidth\n");
    if (p->card != NULL && p->card->int8_tops > 0 && plan->bytes_ternary > 0 && plan->bytes_dense == 0)
        printf("prefill: at most %.0f tok/s, all ternary products at %.0f int8 TOPS (data sheet)\n",
               p->card->int8_tops * 1e12 / (2 * (double)info->n_params_ternary), p->card->int8_tops);
}

// ---- JSON

static json_t *row_json(const planner *p, const plan_row *row)
{
    const tern_plan *plan = &row->plan;
    json_t *o = json_pack("{s:I, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "n_ctx", (json_int_t)plan->n_ctx,
                          "type_k", cli_kv_name(plan->kv_k), "type_v", cli_kv_name(plan->kv_v), "fits", (int)row->fits,
                          "bytes_total", json_out_count(plan->bytes_total), "bytes_kv", json_out_count(plan->bytes_kv),
                          "bytes_workspace", json_out_count(plan->bytes_workspace), "bytes_rope",
                          json_out_count(plan->bytes_rope), "bytes_per_token", json_out_count(row->bytes_step),
                          "n_ctx_max", json_out_count(plan->n_ctx_max));
    if (o != NULL && p->gbps > 0) json_object_set_new(o, "floor_ms", json_real(floor_ms(p, row->bytes_step)));
    return o;
}

static int print_json(const planner *p)
{
    const tern_plan *plan = &p->rows[0].plan;
    json_t *rows = json_array();
    for (size_t i = 0; i < p->n_rows; i++) json_array_append_new(rows, row_json(p, &p->rows[i]));
    return json_out_print(
        json_pack("{s:o, s:b, s:s, s:o, s:s, s:s, s:o, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "model",
                  json_out_text(p->info.name), "is_synthetic", (int)p->info.is_synthetic, "device", plan->device,
                  "target", json_out_text(p->target), "weights", plan->weights == TERN_WEIGHTS_F16 ? "f16" : "stored",
                  "head", cli_head_name(plan->head), "memory_budget", json_out_count(plan->memory_budget), "gbps",
                  p->gbps, "bytes_ternary", json_out_count(plan->bytes_ternary), "bytes_dense",
                  json_out_count(plan->bytes_dense), "bytes_embedding", json_out_count(plan->bytes_embedding),
                  "bytes_head", json_out_count(plan->bytes_head), "bytes_norms", json_out_count(plan->bytes_norms),
                  "bytes_device", json_out_count(plan->bytes_device), "plans", rows));
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
    if (status == TERN_OK && code == EXIT_CODE_OK && options->values[OPT_CTX].integer > 0) {
        bool any = false;
        for (size_t i = 0; i < p.n_rows; i++) any |= p.rows[i].fits;
        if (!any) code = EXIT_CODE_DEVICE;
    }
    tern_model_close(p.model);
    tern_engine_close(p.engine);
    return cli_finish(code);
}
