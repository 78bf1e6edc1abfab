// Plans in words: why it is so, and what would fit where this does not.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kv.h"
#include "plan.h"

typedef unsigned long long ull; // for printf

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

const char *tern_kv_type_name(tern_kv_type type)
{
    static const char *const names[] = {
        [TERN_KV_F32] = "f32", [TERN_KV_F16] = "f16", [TERN_KV_INT8] = "int8", [TERN_KV_INT4] = "int4"};
    return (unsigned)type < sizeof names / sizeof *names ? names[type] : "unknown";
}

const char *tern_head_name(tern_head head)
{
    static const char *const names[] = {[TERN_HEAD_STORED] = "stored",
                                        [TERN_HEAD_F16] = "f16",
                                        [TERN_HEAD_INT8] = "int8",
                                        [TERN_HEAD_INT4] = "int4",
                                        [TERN_HEAD_SCREEN] = "screen"};
    return (unsigned)head < sizeof names / sizeof *names ? names[head] : "unknown";
}

static void append(char *text, size_t size, const char *separator, const char *format, ...) TERN_PRINTF(4, 5);
static void append(char *text, size_t size, const char *separator, const char *format, ...)
{
    size_t n = strlen(text);
    if (n > 0) n += (size_t)snprintf(text + n, size - n, "%s", separator);
    if (n >= size) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + n, size - n, format, arguments);
    va_end(arguments);
}

// ---- reasons

static void explain_layout(const tern_plan_options *o, bool is_t64_too_large, tern_plan *plan)
{
    bool is_t80 = plan->layout == TERN_LAYOUT_T80;
    if (plan->bytes_ternary + plan->pinned.ternary + plan->cpu.ternary == 0) return; // nothing ternary
    const char *why = o->layout != TERN_LAYOUT_AUTO ? "as asked for"
                      : is_t64_too_large            ? "two bits a weight do not fit"
                                                    : "two bits a weight fit";
    if (!is_t80 && o->layout == TERN_LAYOUT_AUTO && plan->bytes_total > plan->memory_budget) why = "the default";
    append(plan->reasons, sizeof plan->reasons, " ", "Layout %s: %s.", is_t80 ? "T80" : "T64", why);
    if (plan->is_layout_mixed)
        append(plan->reasons, sizeof plan->reasons, " ", "Matrices with scales per group stay T64.");
}

static void explain_embedding(const hparams *hp, const tern_plan_options *o, tern_plan *plan)
{
    char *r = plan->reasons;
    if (plan->n_layers_cpu > 0)
        append(r, sizeof plan->reasons, " ", "Embedding on the CPU, with the first layers.");
    else if (plan->embedding == TERN_EMBEDDING_HOST)
        append(r, sizeof plan->reasons, " ", "Embedding (%.0f MiB) in pinned host memory: %s.",
               mib(plan->pinned.embedding),
               o->embedding == TERN_EMBEDDING_HOST ? "as asked for" : "a token reads one row");
    else if (hp->is_tied)
        append(r, sizeof plan->reasons, " ", "Embedding on the device: it is the head too.");
}

static void explain_head(const hparams *hp, tern_plan *plan)
{
    if (plan->head != TERN_HEAD_SCREEN) return;
    bool is_embedding = hp->is_tied && (plan->n_layers_cpu == 0 || plan->n_layers_cpu == hp->n_layers);
    append(plan->reasons, sizeof plan->reasons, " ",
           "Head: int4 rows choose %u tokens, whose logits come from the stored rows, %s.", plan_best_rows(hp),
           is_embedding            ? "which are the embedding"
           : plan->pinned.head > 0 ? "in pinned host memory"
                                   : "beside them");
}

static void explain_attention(const tern_plan_options *o, tern_plan *plan)
{
    if (o->fast_attention) append(plan->reasons, sizeof plan->reasons, " ", "Attention %s.", plan->attention);
}

static void explain_layers(const hparams *hp, const tern_plan_options *o, bool is_resident_too_large, tern_plan *plan)
{
    char *r = plan->reasons;
    size_t size = sizeof plan->reasons;
    uint32_t on_device = hp->n_layers - plan->n_layers_cpu;
    if (plan->n_layers_cpu > 0)
        append(r, size, " ", "%u of %u layers run on the CPU: -ngl %d.", plan->n_layers_cpu, hp->n_layers,
               o->n_gpu_layers);
    if (plan->n_layers_streamed > 0)
        append(r, size, " ",
               "%u of %u layers (%.0f MiB) stay in pinned host memory and are copied to the device for each step: %s.",
               plan->n_layers_streamed, hp->n_layers, mib(plan->pinned.ternary + plan->pinned.dense),
               is_resident_too_large ? "the device does not hold them all" : "as asked for");
    else if (on_device > 0)
        append(r, size, " ", "%u layers on the device%s.", on_device,
               plan->bytes_total <= plan->memory_budget ? ": they fit" : ", which they do not fit");
}

void plan_explain(const model_source *model, const tern_plan_options *options, bool is_t64_too_large,
                  bool is_resident_too_large, tern_plan *plan)
{
    plan->reasons[0] = 0;
    explain_layout(options, is_t64_too_large, plan);
    explain_embedding(&model->hp, options, plan);
    explain_head(&model->hp, plan);
    explain_attention(options, plan);
    explain_layers(&model->hp, options, is_resident_too_large, plan);
}

// ---- refusal

typedef struct adviser {
    const model_source *model;
    const plan_places *where;
    char text[400];
} adviser;

static void advise(adviser *a, const char *format, ...) TERN_PRINTF(2, 3);
static void advise(adviser *a, const char *format, ...)
{
    char flags[96];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(flags, sizeof flags, format, arguments);
    va_end(arguments);
    append(a->text, sizeof a->text, ", or ", "%s", flags);
}

static bool would_fit(const adviser *a, const tern_plan_options *o, tern_plan *plan)
{
    bool fits = false;
    return plan_decide(a->model, a->where, o, plan, &fits, NULL) == TERN_OK && fits;
}

// Options that differ in one thing from those refused, and fit.
static void advise_neighbours(adviser *a, const tern_plan_options *o, const tern_plan *plan)
{
    tern_plan other = *plan;
    if (plan->n_ctx_max >= KV_BLOCK) advise(a, "-c %u", plan->n_ctx_max);
    for (uint32_t most = plan->n_ctx_max, type = TERN_KV_INT8; type <= TERN_KV_INT4; type++) {
        other.kv_k = other.kv_v = (tern_kv_type)type;
        uint32_t n_ctx = plan_largest_context(&a->model->hp, a->where, &other);
        if (n_ctx > most && n_ctx >= KV_BLOCK)
            advise(a, "with -ctk %s up to -c %u", tern_kv_type_name(other.kv_k), n_ctx);
        if (n_ctx > most) most = n_ctx;
    }
    tern_plan_options changed = *o;
    changed.layout = TERN_LAYOUT_T80;
    if (o->layout == TERN_LAYOUT_T64 && would_fit(a, &changed, &other)) advise(a, "--layout t80");
    changed = *o;
    changed.n_streamed = TERN_LAYERS_AUTO;
    if (o->n_streamed != TERN_LAYERS_AUTO && would_fit(a, &changed, &other) && other.n_layers_streamed > 0)
        advise(a, "--stream %u", other.n_layers_streamed);
    changed = *o;
    changed.embedding = TERN_EMBEDDING_HOST;
    if (plan->embedding == TERN_EMBEDDING_DEVICE && a->where->facts->n_threads == 0 && would_fit(a, &changed, &other))
        advise(a, "--embedding host");
    changed = *o;
    for (uint32_t n_batch = plan->n_batch; n_batch > 1;) {
        changed.n_batch = n_batch = (n_batch + 3) / 4;
        if (!would_fit(a, &changed, &other)) continue;
        advise(a, "-b %u", n_batch);
        break;
    }
}

// Several changes at once: small batches, which the workspace grows with, and int4 KV.
static void advise_smallest(adviser *a, const tern_plan_options *o)
{
    tern_plan_options changed = *o;
    tern_plan other;
    bool fits;
    changed.kv_k = changed.kv_v = TERN_KV_INT4;
    changed.n_streamed = TERN_LAYERS_AUTO;
    changed.n_ctx = KV_BLOCK;
    for (changed.n_batch = KV_BLOCK; changed.n_batch >= 1; changed.n_batch /= 4) {
        if (plan_decide(a->model, a->where, &changed, &other, &fits, NULL) != TERN_OK) return;
        if (!fits) continue;
        advise(a, "-b %u -ctk int4 -c %u", changed.n_batch, other.n_ctx_max);
        if (other.n_layers_streamed > 0) append(a->text, sizeof a->text, " ", "--stream %u", other.n_layers_streamed);
        return;
    }
}

tern_status plan_refuse(const model_source *model, const plan_places *where, const tern_plan_options *options,
                        const tern_plan *plan, tern_error *err)
{
    adviser a = {.model = model, .where = where};
    advise_neighbours(&a, options, plan);
    if (a.text[0] == 0) advise_smallest(&a, options);
    if (a.text[0] == 0)
        append(a.text, sizeof a.text, "", "no context fits: use a smaller model or a device with more memory");
    else
        append(a.text, sizeof a.text, " ", "would fit");
    uint64_t needed = plan->bytes_total, available = plan->memory_budget;
    const char *where_free = plan->device;
    if (needed <= available && where->host != NULL) { // the device is not what lacks memory
        needed = plan_host_bytes(where, plan);
        available = where->host->memory_free;
        where_free = "the host";
    }
    return error_set(
        err, TERN_BUDGET,
        "the model needs %llu bytes (%.0f MiB: weights %.0f, KV %.0f for %u positions of %s/%s, workspace %.0f) on %s "
        "but %llu bytes (%.0f MiB) are free: %s",
        (ull)needed, mib(needed), mib(needed - plan->bytes_kv - plan->bytes_workspace), mib(plan->bytes_kv),
        plan->n_ctx, tern_kv_type_name(plan->kv_k), tern_kv_type_name(plan->kv_v), mib(plan->bytes_workspace),
        where_free, (ull)available, mib(available), a.text);
}
