// A loaded model and the runs of tests on it; see bench_instance.h.
#include "bench_instance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_memory.h"
#include "clock.h"
#include "error.h"
#include "kv.h"
#include "plan.h"
#include "rng.h"
#include "session.h"

#define CHECK_PROMPT 8  // tokens of the fixed prompt: a small batch, and then one decoded alone
#define CHECK_ROOM   64 // positions of its sequence

bool bench_instance_serves(const bench_instance *b, const bench_config *config)
{
    const bench_config *c = b->config;
    return strcmp(c->model, config->model) == 0 && strcmp(c->device, config->device) == 0 &&
           c->weights == config->weights && c->act == config->act && c->i2s_layout == config->i2s_layout &&
           c->layout == config->layout && c->head == config->head && c->embedding == config->embedding &&
           c->n_gpu_layers == config->n_gpu_layers && c->n_streamed == config->n_streamed && c->kv_k == config->kv_k &&
           c->kv_v == config->kv_v && c->fast_attention == config->fast_attention &&
           c->n_threads == config->n_threads && c->n_batch == config->n_batch &&
           (!b->is_split || b->only_depth == config->test.n_depth);
}

static bench_context *find_context(const bench_instance *b, uint32_t n_depth)
{
    for (size_t i = 0; i < b->n_contexts; i++)
        if (b->contexts[i].n_depth == n_depth) return &b->contexts[i];
    return NULL;
}

tern_status bench_instance_add(bench_instance *b, const bench_config *config, tern_error *err)
{
    bench_context *c = find_context(b, config->test.n_depth);
    if (c == NULL) {
        bench_context *larger = realloc(b->contexts, (b->n_contexts + 1) * sizeof *larger);
        if (larger == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a context of the bench");
        b->contexts = larger;
        c = &b->contexts[b->n_contexts++];
        *c = (bench_context){.n_depth = config->test.n_depth};
    }
    uint64_t n = (uint64_t)config->n_seq * ((uint64_t)config->test.n_prompt + config->test.n_gen);
    if (config->n_seq > c->n_seq) c->n_seq = config->n_seq;
    if (n > c->n_positions) c->n_positions = n;
    return TERN_OK;
}

static tern_status find_device(const tern_engine *engine, const char *name, tern_device_info *out, tern_error *err)
{
    bool is_auto = strcmp(name, "auto") == 0;
    for (size_t i = 0; i < tern_engine_device_count(engine); i++) {
        tern_device_info info;
        tern_status status = tern_engine_device_info(engine, i, &info, err);
        if (status != TERN_OK) return status;
        if (is_auto ? info.is_chosen_only_by_name : strcmp(info.name, name) != 0) continue;
        *out = info;
        return TERN_OK;
    }
    return error_set(err, TERN_NO_DEVICE, "there is no device '%s'", name);
}

tern_status bench_instance_plan(bench_instance *b, const bench_options *options, tern_error *err)
{
    const bench_config *c = b->config;
    uint64_t n_ctx = CHECK_ROOM;
    uint32_t n_sequences = 1;
    for (size_t i = 0; i < b->n_contexts; i++) {
        b->contexts[i].first = n_sequences;
        n_sequences += b->contexts[i].n_seq;
        n_ctx += (uint64_t)b->contexts[i].n_seq * b->contexts[i].n_depth + b->contexts[i].n_positions;
    }
    if (n_ctx > UINT32_MAX)
        return error_set(err, TERN_LIMIT, "the tests need %llu positions together", (unsigned long long)n_ctx);
    tern_model_options model_options;
    tern_model_options_init(&model_options);
    model_options.act = c->act;
    model_options.i2s_layout = c->i2s_layout;
    tern_plan_options o;
    tern_plan_options_init(&o);
    tern_status status = find_device(options->engine, c->device, &b->device, err);
    if (status == TERN_OK && b->model == NULL)
        status = tern_model_open(options->engine, c->model, &model_options, &b->model, err);
    if (status != TERN_OK) return status;
    tern_model_get_info(b->model, &b->info);
    const tern_tokenizer *tokenizer = tern_model_tokenizer(b->model);
    b->n_valid = tokenizer != NULL ? tern_tokenizer_n_tokens(tokenizer) : b->info.n_vocab;
    if (b->n_valid > b->info.n_vocab) b->n_valid = b->info.n_vocab;
    b->seed = options->seed;
    b->memory_source = "";
    o.device = b->device.name; // "auto" was resolved: the budget is this device's
    o.n_ctx = (uint32_t)n_ctx;
    o.n_sequences = n_sequences;
    o.n_batch = c->n_batch;
    o.kv_k = c->kv_k;
    o.kv_v = c->kv_v;
    o.n_threads = c->n_threads;
    o.weights = c->weights;
    o.layout = c->layout;
    o.head = c->weights == TERN_WEIGHTS_F16 ? TERN_HEAD_STORED : c->head;
    o.embedding = c->embedding;
    o.n_gpu_layers = c->n_gpu_layers;
    o.n_streamed = c->n_streamed;
    o.is_eager = options->is_eager;
    o.fast_attention = c->fast_attention;
    o.memory_budget = options->memory;
    status = tern_plan_make(b->model, &o, &b->plan, err);
    if (status == TERN_OK && c->fast_attention && !b->plan.fast_attention && options->note != NULL) {
        char text[256];
        snprintf(text, sizeof text, "%.60s: --fast-attention does nothing: attention %s", b->info.name,
                 b->plan.attention);
        options->note(options->user, text);
    }
    return status;
}

// ---- evaluation

static tern_token draw_token(bench_instance *b) { return (tern_token)(rng_u64(b->seed, b->n_drawn++) % b->n_valid); }

// Evaluates n random tokens of each of n_seq sequences, one sequence after the other, in batches that may hold the end
// of one and the beginning of the next; only the last token of each wants logits, as in a real prompt.
static tern_status prefill(bench_instance *b, uint32_t first, uint32_t n_seq, uint32_t n, uint64_t *bytes_kv_positions,
                           tern_error *err)
{
    tern_status status = TERN_OK;
    uint64_t total = (uint64_t)n_seq * n;
    for (uint64_t done = 0; done < total && status == TERN_OK;) {
        uint32_t count = total - done < b->plan.n_batch ? (uint32_t)(total - done) : b->plan.n_batch;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t at = done + i;
            b->rows[i] = (tern_row){
                .sequence = first + (uint32_t)(at / n), .token = draw_token(b), .wants_logits = at % n == n - 1};
        }
        status = tern_session_eval(b->session, b->rows, count, err);
        for (uint32_t s = b->rows[0].sequence; s <= b->rows[count - 1].sequence && bytes_kv_positions != NULL; s++)
            *bytes_kv_positions += tern_session_length(b->session, s);
        done += count;
    }
    return status;
}

// When each token of a decoding sequence came.
typedef struct token_clock {
    bench_instance *instance;
    uint32_t sequence;
    uint64_t *token_ns, last, bytes_kv_positions;
} token_clock;

static bool note_token(void *user, tern_token id)
{
    token_clock *c = user;
    uint64_t now = clock_ns();
    (void)id;
    *c->token_ns++ = now - c->last;
    c->last = now;
    c->bytes_kv_positions += tern_session_length(c->instance->session, c->sequence);
    return true;
}

// One sequence greedily from a random token on, as a user's generation at temperature 0 does it: the device goes from
// token to token by itself.
static tern_status decode_alone(bench_instance *b, uint32_t sequence, uint32_t n, uint64_t *token_ns,
                                uint64_t *bytes_kv_positions, tern_error *err)
{
    token_clock c = {.instance = b, .sequence = sequence, .token_ns = token_ns, .last = clock_ns()};
    tern_status status = session_decode_greedy(b->session, sequence, draw_token(b), n, note_token, &c, err);
    *bytes_kv_positions += c.bytes_kv_positions;
    return status;
}

// A random token of every sequence in one evaluation, n times.
static tern_status decode(bench_instance *b, uint32_t first, uint32_t n_seq, uint32_t n, uint64_t *token_ns,
                          uint64_t *bytes_kv_positions, tern_error *err)
{
    tern_status status = TERN_OK;
    for (uint32_t i = 0; i < n && status == TERN_OK; i++) {
        uint64_t start = clock_ns();
        for (uint32_t s = 0; s < n_seq; s++)
            b->rows[s] = (tern_row){.sequence = first + s, .token = draw_token(b), .wants_logits = true};
        status = tern_session_eval(b->session, b->rows, n_seq, err);
        token_ns[i] = clock_ns() - start;
        for (uint32_t s = 0; s < n_seq; s++) *bytes_kv_positions += tern_session_length(b->session, first + s);
    }
    return status;
}

tern_status bench_instance_run(bench_instance *b, const bench_config *config, uint64_t *token_ns, bench_sample *out,
                               tern_error *err)
{
    const bench_test *test = &config->test;
    const bench_context *c = find_context(b, test->n_depth);
    tern_session_stats before, after;
    tern_status status = TERN_OK;
    uint64_t positions = 0;
    for (uint32_t s = 0; s < c->n_seq && status == TERN_OK; s++)
        status = tern_session_trim(b->session, c->first + s, test->n_depth, err);
    tern_session_get_stats(b->session, &before);
    uint64_t start = clock_ns();
    if (status == TERN_OK) status = prefill(b, c->first, config->n_seq, test->n_prompt, &positions, err);
    uint64_t middle = clock_ns();
    if (status == TERN_OK && config->n_seq == 1)
        status = decode_alone(b, c->first, test->n_gen, token_ns, &positions, err);
    else if (status == TERN_OK)
        status = decode(b, c->first, config->n_seq, test->n_gen, token_ns, &positions, err);
    uint64_t end = clock_ns();
    if (status != TERN_OK) return status;
    tern_session_get_stats(b->session, &after);
    uint64_t block = (uint64_t)kv_block_bytes(plan_kv_type(b->plan.kv_k), plan_kv_type(b->plan.kv_v),
                                              (int)b->info.n_kv_heads, (int)b->info.head_dim);
    *out = (bench_sample){.ns = end > start ? end - start : 1,
                          .prompt_ns = middle - start,
                          .bytes_weights = after.bytes_weights - before.bytes_weights,
                          .bytes_kv = positions * b->info.n_layers * block / KV_BLOCK};
    return TERN_OK;
}

// ---- the fixed prompt

static uint64_t hash_floats(const float *values, size_t n, uint64_t hash) // FNV-1a over the bytes
{
    const uint8_t *bytes = (const uint8_t *)values;
    for (size_t i = 0; i < n * sizeof *values; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

tern_status bench_instance_logits(bench_instance *b, bool keep, uint64_t *hash, tern_error *err)
{
    const float *logits = NULL;
    uint32_t n_prompt = b->plan.n_batch < CHECK_PROMPT ? b->plan.n_batch : CHECK_PROMPT;
    *hash = 0xcbf29ce484222325u;
    tern_status status = tern_session_trim(b->session, 0, 0, err);
    for (uint32_t done = 0, n; done <= CHECK_PROMPT && status == TERN_OK; done += n) {
        n = done == CHECK_PROMPT ? 1 : n_prompt < CHECK_PROMPT - done ? n_prompt : CHECK_PROMPT - done;
        for (uint32_t i = 0; i < n; i++)
            b->rows[i] = (tern_row){.token = (tern_token)(rng_u64(~b->seed, done + i) % b->n_valid),
                                    .wants_logits = i == n - 1};
        status = tern_session_eval(b->session, b->rows, n, err);
        if (status == TERN_OK) status = tern_session_logits(b->session, 0, &logits, err);
        if (status == TERN_OK && done + n >= CHECK_PROMPT) *hash = hash_floats(logits, b->info.n_vocab, *hash);
    }
    if (status == TERN_OK) status = tern_session_trim(b->session, 0, 0, err);
    if (status != TERN_OK || !keep) return status;
    if (b->logits == NULL) b->logits = malloc((size_t)b->info.n_vocab * sizeof *b->logits);
    if (b->logits == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a row of logits");
    memcpy(b->logits, logits, (size_t)b->info.n_vocab * sizeof *b->logits);
    return TERN_OK;
}

// ---- life

typedef struct instance_progress {
    const bench_options *options;
    char what[160];
} instance_progress;

static bool show_load(void *user, uint64_t done, uint64_t total)
{
    const instance_progress *p = user;
    return p->options->progress(p->options->user, total > 0 ? (double)done / (double)total : 1.0, p->what);
}

tern_status bench_instance_load(bench_instance *b, const bench_options *options, tern_error *err)
{
    instance_progress progress = {.options = options};
    snprintf(progress.what, sizeof progress.what, "loading %.100s", b->info.name);
    uint64_t used_before = bench_memory_used(options->engine, &b->device, NULL);
    tern_status status = tern_model_load(b->model, &b->plan, options->progress != NULL ? show_load : NULL, &progress,
                                         err);
    if (status == TERN_OK) status = tern_session_create(b->model, &b->session, err);
    if (status != TERN_OK) return status;
    if (options->watch != NULL) options->watch(options->user, b->session);
    uint32_t n_rows = b->plan.n_batch < BENCH_MAX_SEQ ? BENCH_MAX_SEQ : b->plan.n_batch;
    b->rows = calloc(n_rows, sizeof *b->rows);
    if (b->rows == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %u rows", n_rows);
    status = bench_instance_logits(b, true, &b->logits_hash, err);
    for (size_t i = 0; i < b->n_contexts && status == TERN_OK; i++)
        status = prefill(b, b->contexts[i].first, b->contexts[i].n_seq, b->contexts[i].n_depth, NULL, err);
    uint64_t used = bench_memory_used(options->engine, &b->device, &b->memory_source);
    b->memory_used = used_before > 0 && used > used_before ? used - used_before : 0;
    if (b->memory_used == 0) b->memory_source = "";
    return status;
}

void bench_instance_unload(bench_instance *b)
{
    tern_session_free(b->session);
    tern_model_close(b->model);
    free(b->rows);
    b->session = NULL;
    b->model = NULL;
    b->rows = NULL;
}

void bench_instance_free(bench_instance *b)
{
    bench_instance_unload(b);
    free(b->contexts);
    free(b->logits);
    *b = (bench_instance){0};
}
