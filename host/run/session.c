#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "kv.h"
#include "segment.h"

#define STEPS_AHEAD 2u // steps that a device has to do at a time: one runs, one waits

typedef struct sequence {
    tern_token *tokens; // [n_ctx]
    size_t n;
    size_t n_pending; // rows of the evaluation under way
    int32_t *blocks;  // [table_ld], block of each 64 positions
    size_t n_blocks;
} sequence;

struct tern_session {
    tern_model *model;
    const hparams *hp;
    segment segments[PLAN_MAX_SPANS]; // one a device
    uint32_t n_segments;
    float *hidden; // [n_batch, n_embd] between segments; NULL if there is one
    uint32_t n_valid;

    sequence *sequences;
    int32_t *free_blocks; // stack
    size_t n_free;

    uint8_t *inputs;           // host copy of the step's row inputs
    size_t n_out;              // rows of the last evaluation that wanted logits
    size_t head_first, head_n; // rows whose logits are on the device
    float *host_logits;        // one row
    uint8_t *results;          // host copy of the step's results: flag, best ids, best logits
    uint32_t top_k;            // what was asked for last: an evaluation of one logit row computes it along
    uint32_t n_top;            // best ids of row 0 that `results` holds
    bool cancel;
    tern_session_stats stats;

    // Greedy decoding: the stream that reads what steps chose while later ones run, and when each was done. Made on
    // first use.
    stream *reads;
    event *stepped[STEPS_AHEAD];
};

uint32_t session_n_vocab(const tern_session *session) { return session->model->source->hp.n_vocab; }
uint32_t session_n_valid(const tern_session *session) { return session->n_valid; }
tern_model *session_model(const tern_session *session) { return session->model; }

// The segment with the head, and so with all results.
static const step *last_step(const tern_session *s) { return &s->segments[s->n_segments - 1].step; }

static tern_status read_last(const tern_session *s, view from, void *to, size_t n_bytes, tern_error *err)
{
    const resident *r = last_step(s)->r;
    return r->backend->buffer_read(r->stream, from, to, n_bytes, err);
}

// ------------------------------------------------------------------------------------------------------- life

static tern_status create_sequences(tern_session *s, tern_error *err)
{
    const tern_plan *plan = &s->model->plan;
    const step_shape *shape = &last_step(s)->shape;
    const step_buffers *buffers = &last_step(s)->buffers;
    s->sequences = calloc(plan->n_sequences, sizeof *s->sequences);
    s->free_blocks = malloc(shape->n_blocks * sizeof *s->free_blocks);
    s->inputs = calloc(1, buffers->input_bytes);
    s->host_logits = malloc((size_t)session_n_vocab(s) * sizeof *s->host_logits);
    s->results = calloc(1, buffers->result_bytes);
    if (s->n_segments > 1) s->hidden = malloc((size_t)shape->n_batch * s->hp->n_embd * sizeof *s->hidden);
    bool ok = s->results != NULL && s->sequences != NULL && s->free_blocks != NULL && s->inputs != NULL &&
              s->host_logits != NULL && (s->hidden != NULL || s->n_segments == 1);
    for (uint32_t i = 0; ok && i < plan->n_sequences; i++) {
        s->sequences[i].tokens = malloc(plan->n_ctx * sizeof(tern_token));
        s->sequences[i].blocks = malloc(shape->table_ld * sizeof(int32_t));
        ok = s->sequences[i].tokens != NULL && s->sequences[i].blocks != NULL;
    }
    if (!ok) return error_set(err, TERN_HOST_MEMORY, "out of memory for the session");
    for (uint32_t i = 0; i < shape->n_blocks; i++) s->free_blocks[i] = (int32_t)(shape->n_blocks - 1 - i);
    s->n_free = shape->n_blocks;
    return TERN_OK;
}

static tern_status create_segments(tern_session *s, tern_error *err)
{
    const tern_model *model = s->model;
    tern_status status = TERN_OK;
    for (uint32_t i = 0; i < model->n_residents && status == TERN_OK; i++) {
        step_shape shape = plan_step_shape(s->hp, &model->plan, i + 1 == model->n_residents);
        s->n_segments++;
        status = segment_create(s->hp, model->residents[i], &shape, &s->cancel, &s->segments[i], err);
        s->segments[i].graphs.is_refused = model->plan.is_eager;
        s->segments[i].step.n_valid = s->n_valid;
        s->segments[i].step.fast_attention = model->plan.fast_attention;
        if (status == TERN_OK) status = step_check(&s->segments[i].step, err);
    }
    return status;
}

tern_status tern_session_create(tern_model *model, tern_session **out, tern_error *err)
{
    if (model->n_residents == 0)
        return error_set(err, TERN_BAD_STATE, "the model is not loaded: call tern_model_load first");
    tern_session *s = calloc(1, sizeof *s);
    if (s == NULL) return error_set(err, TERN_HOST_MEMORY, "out of memory for the session");
    loaded_retain(model);
    s->model = model;
    s->hp = &model->source->hp;
    const tern_tokenizer *tokenizer = model->source->tokenizer;
    s->n_valid = s->hp->n_vocab;
    if (tokenizer != NULL && tern_tokenizer_n_tokens(tokenizer) < s->hp->n_vocab)
        s->n_valid = tern_tokenizer_n_tokens(tokenizer);
    tern_status status = create_segments(s, err);
    if (status == TERN_OK) status = create_sequences(s, err);
    if (status != TERN_OK) {
        tern_session_free(s);
        return status;
    }
    *out = s;
    return TERN_OK;
}

void tern_session_free(tern_session *s)
{
    if (s == NULL) return;
    if (s->reads != NULL) {
        const backend *b = last_step(s)->r->backend;
        b->stream_sync(last_step(s)->r->stream, NULL); // steps that nobody waits for
        b->stream_destroy(s->reads);
        for (uint32_t i = 0; i < STEPS_AHEAD; i++) b->event_destroy(s->stepped[i]);
    }
    for (uint32_t i = 0; i < s->n_segments; i++) segment_free(&s->segments[i]);
    for (uint32_t i = 0; s->sequences != NULL && i < s->model->plan.n_sequences; i++) {
        free(s->sequences[i].tokens);
        free(s->sequences[i].blocks);
    }
    free(s->hidden);
    free(s->sequences);
    free(s->free_blocks);
    free(s->inputs);
    free(s->host_logits);
    free(s->results);
    loaded_release(s->model);
    free(s);
}

// --------------------------------------------------------------------------------------------------- sequences

static size_t blocks_for(size_t n_positions) { return (n_positions + KV_BLOCK - 1) / KV_BLOCK; }

static void return_blocks(tern_session *s, sequence *q, size_t n_kept)
{
    while (q->n_blocks > n_kept) s->free_blocks[s->n_free++] = q->blocks[--q->n_blocks];
}

static tern_status check_sequence(const tern_session *s, uint32_t id, tern_error *err)
{
    if (id < s->model->plan.n_sequences) return TERN_OK;
    return error_set(err, TERN_INVALID_ARGUMENT, "sequence %u, but the plan has %u", id, s->model->plan.n_sequences);
}

size_t tern_session_length(const tern_session *s, uint32_t id)
{
    return id < s->model->plan.n_sequences ? s->sequences[id].n : 0;
}

tern_status tern_session_trim(tern_session *s, uint32_t id, size_t length, tern_error *err)
{
    tern_status status = check_sequence(s, id, err);
    if (status != TERN_OK) return status;
    sequence *q = &s->sequences[id];
    if (length > q->n)
        return error_set(err, TERN_INVALID_ARGUMENT, "cannot trim sequence %u to %zu: it holds %zu tokens", id, length,
                         q->n);
    q->n = length;
    return_blocks(s, q, blocks_for(length));
    return TERN_OK;
}

// ---------------------------------------------------------------------------------------------------- evaluation

static int32_t *input_at(tern_session *s, view v)
{
    return (int32_t *)(void *)(s->inputs + (v.offset - last_step(s)->buffers.inputs.offset));
}

static tern_status check_rows(const tern_session *s, const tern_row *rows, size_t n_rows, tern_error *err)
{
    if (n_rows < 1 || n_rows > last_step(s)->shape.n_batch)
        return error_set(err, TERN_INVALID_ARGUMENT, "%zu rows in one evaluation, expected 1 to %u", n_rows,
                         last_step(s)->shape.n_batch);
    for (size_t i = 0; i < n_rows; i++) {
        tern_status status = check_sequence(s, rows[i].sequence, err);
        if (status != TERN_OK) return status;
        if (rows[i].token < 0 || (uint32_t)rows[i].token >= session_n_vocab(s))
            return error_set(err, TERN_INVALID_ARGUMENT, "row %zu: token %d is not in the vocabulary of %u", i,
                             rows[i].token, session_n_vocab(s));
    }
    return TERN_OK;
}

// Gives every sequence the blocks its pending rows need.
static tern_status take_blocks(tern_session *s, tern_error *err)
{
    for (uint32_t id = 0; id < s->model->plan.n_sequences; id++) {
        sequence *q = &s->sequences[id];
        if (q->n_pending == 0) continue;
        size_t n = q->n + q->n_pending;
        if (n > s->model->plan.n_ctx)
            return error_set(err, TERN_CONTEXT_FULL,
                             "sequence %u would hold %zu tokens but the context has %u positions: use a larger -c", id,
                             n, s->model->plan.n_ctx);
        while (q->n_blocks < blocks_for(n)) {
            if (s->n_free == 0)
                return error_set(err, TERN_CONTEXT_FULL,
                                 "the sequences together fill the context of %u positions: use a larger -c",
                                 s->model->plan.n_ctx);
            q->blocks[q->n_blocks++] = s->free_blocks[--s->n_free];
        }
    }
    return TERN_OK;
}

// Row inputs as the steps want them, all segments alike; counts the rows that want logits.
static size_t fill_inputs(tern_session *s, const tern_row *rows, size_t n_rows)
{
    const step_buffers *b = &last_step(s)->buffers;
    int32_t *ids = input_at(s, b->ids), *table = input_at(s, b->row_table), *position = input_at(s, b->row_position);
    int32_t *out_index = input_at(s, b->out_index), *tables = input_at(s, b->tables);
    for (uint32_t id = 0; id < s->model->plan.n_sequences; id++) s->sequences[id].n_pending = 0;
    size_t n_out = 0;
    for (size_t i = 0; i < n_rows; i++) {
        sequence *q = &s->sequences[rows[i].sequence];
        ids[i] = rows[i].token;
        table[i] = (int32_t)rows[i].sequence;
        position[i] = (int32_t)(q->n + q->n_pending++);
        if (rows[i].wants_logits) out_index[n_out++] = (int32_t)i;
    }
    for (uint32_t id = 0; id < s->model->plan.n_sequences; id++)
        memcpy(tables + (size_t)id * last_step(s)->shape.table_ld, s->sequences[id].blocks,
               s->sequences[id].n_blocks * sizeof *tables);
    return n_out;
}

static tern_status check_flag(const tern_session *s, uint32_t flag, tern_error *err)
{
    if (flag == UINT32_MAX) return TERN_OK;
    char place[64];
    step_place_name(s->hp, flag, place, sizeof place);
    return error_set(err, TERN_NUMERIC, "a value is not finite (or too large for an f16 KV cache) at %s", place);
}

// Waits for the step, reads its flag, or all its results, and turns a raised flag into NUMERIC.
static tern_status finish(tern_session *s, bool with_top, tern_error *err)
{
    uint32_t flag;
    const step_buffers *b = &last_step(s)->buffers;
    tern_status status = read_last(s, b->flag, s->results, with_top ? b->result_bytes : sizeof flag, err);
    memcpy(&flag, s->results, sizeof flag);
    return status == TERN_OK ? check_flag(s, flag, err) : status;
}

// Rows [first, first + n) of the last evaluation whose logits are computed together with those of row i.
static size_t head_block(const tern_session *s, size_t i, size_t *n)
{
    size_t block = last_step(s)->shape.n_logits, first = i / block * block;
    *n = s->n_out - first < block ? s->n_out - first : block;
    return first;
}

// Brings the logits of row i of the last evaluation to the device: the block of rows it belongs to.
static tern_status ensure_head(tern_session *s, size_t i, tern_error *err)
{
    if (i >= s->n_out)
        return error_set(err, TERN_INVALID_ARGUMENT, "row %zu of logits, but the last evaluation has %zu", i, s->n_out);
    if (i >= s->head_first && i < s->head_first + s->head_n) return TERN_OK;
    size_t n, first = head_block(s, i, &n);
    s->head_n = 0;
    tern_status status = step_head(last_step(s), (uint32_t)first, (uint32_t)n, err);
    if (status == TERN_OK) status = finish(s, false, err);
    if (status != TERN_OK) return status;
    s->head_first = first;
    s->head_n = n;
    return TERN_OK;
}

// The segments in order. What is raised in an earlier one lies before everything in a later one, so it is the answer.
static tern_status run_segments(tern_session *s, const step_work *work, tern_error *err)
{
    tern_status status = TERN_OK;
    for (uint32_t i = 0; i < s->n_segments && status == TERN_OK; i++) {
        bool is_last = i + 1 == s->n_segments;
        const step_work layers = {.m = work->m};
        status = segment_run(&s->segments[i], s->inputs, s->hidden, is_last ? work : &layers, err);
        if (is_last || status != TERN_OK) break;
        uint32_t flag = UINT32_MAX;
        status = segment_read_hidden(&s->segments[i], work->m, s->hidden, &flag, err);
        if (status == TERN_OK) status = check_flag(s, flag, err);
    }
    return status;
}

// What a step of m rows enqueues when one row wants its `top_k` best ids: logits only where those need them.
static step_work choosing_work(const tern_session *s, size_t m, uint32_t top_k)
{
    return (step_work){.m = (uint32_t)m, .n_out = 1, .n_head = step_has_best(last_step(s)) ? 0 : 1, .top_k = top_k};
}

static tern_status run_rows(tern_session *s, size_t n_rows, size_t n_out, tern_error *err)
{
    size_t n_head = 0;
    s->n_out = n_out;
    if (n_out > 0) head_block(s, 0, &n_head);
    step_work work = {.m = (uint32_t)n_rows, .n_out = (uint32_t)n_out, .n_head = (uint32_t)n_head};
    if (n_out == 1 && s->top_k > 0) work = choosing_work(s, n_rows, s->top_k);
    tern_status status = run_segments(s, &work, err);
    if (status == TERN_OK) status = finish(s, work.top_k > 0, err);
    if (status != TERN_OK) return status;
    s->head_first = 0;
    s->head_n = work.n_head;
    s->n_top = work.top_k;
    return TERN_OK;
}

static void count_evaluation(tern_session *s, size_t n_rows, bool has_logits)
{
    const tern_plan *plan = &s->model->plan;
    s->stats.n_rows += n_rows;
    s->stats.n_evals++;
    s->stats.bytes_weights += plan->bytes_per_token - (has_logits ? 0 : plan->bytes_head_per_token);
}

tern_status tern_session_eval(tern_session *s, const tern_row *rows, size_t n_rows, tern_error *err)
{
    tern_status status = check_rows(s, rows, n_rows, err);
    if (status != TERN_OK) return status;
    s->n_out = s->head_n = s->n_top = 0;
    for (size_t i = 0; i < n_rows; i++) s->sequences[rows[i].sequence].n_pending++;
    size_t n_out = 0;
    status = take_blocks(s, err);
    if (status == TERN_OK) {
        uint64_t start = clock_ns();
        n_out = fill_inputs(s, rows, n_rows);
        status = run_rows(s, n_rows, n_out, err);
        s->stats.ns_eval += clock_ns() - start;
    }
    if (status == TERN_OK) {
        for (size_t i = 0; i < n_rows; i++) {
            sequence *q = &s->sequences[rows[i].sequence];
            q->tokens[q->n++] = rows[i].token;
        }
        count_evaluation(s, n_rows, n_out > 0);
    } else {
        s->n_out = s->head_n = 0;
        if (status == TERN_CANCELLED) __atomic_store_n(&s->cancel, false, __ATOMIC_RELAXED);
    }
    for (uint32_t id = 0; id < s->model->plan.n_sequences; id++) {
        sequence *q = &s->sequences[id];
        q->n_pending = 0;
        return_blocks(s, q, blocks_for(q->n)); // after a failure: what take_blocks gave
    }
    return status;
}

tern_status tern_session_sync(tern_session *s, uint32_t id, const tern_token *tokens, size_t n, size_t *n_reused,
                              tern_error *err)
{
    tern_status status = check_sequence(s, id, err);
    if (status != TERN_OK) return status;
    if (n == 0) return error_set(err, TERN_INVALID_ARGUMENT, "a sequence cannot be synchronised to no tokens");
    sequence *q = &s->sequences[id];
    size_t keep = 0;
    while (keep < q->n && keep < n && q->tokens[keep] == tokens[keep]) keep++;
    if (keep == n) keep--; // the last token's logits are wanted again
    status = tern_session_trim(s, id, keep, err);
    if (n_reused != NULL) *n_reused = keep;
    tern_row *rows = malloc(last_step(s)->shape.n_batch * sizeof *rows);
    if (rows == NULL) return error_set(err, TERN_HOST_MEMORY, "out of memory for a batch");
    for (size_t i = keep; i < n && status == TERN_OK;) {
        size_t count = 0;
        for (; count < last_step(s)->shape.n_batch && i < n; count++, i++)
            rows[count] = (tern_row){.sequence = id, .token = tokens[i], .wants_logits = i + 1 == n};
        status = tern_session_eval(s, rows, count, err);
    }
    free(rows);
    return status;
}

size_t tern_session_n_logits(const tern_session *s) { return s->n_out; }

tern_status tern_session_logits(tern_session *s, size_t i, const float **out, tern_error *err)
{
    tern_status status = ensure_head(s, i, err);
    if (status != TERN_OK) return status;
    size_t row_bytes = (size_t)session_n_vocab(s) * sizeof(float);
    view row = last_step(s)->buffers.logits;
    row.offset += (i - s->head_first) * row_bytes;
    status = read_last(s, row, s->host_logits, row_bytes, err);
    if (status == TERN_OK) *out = s->host_logits;
    return status;
}

tern_status tern_session_top(tern_session *s, size_t i, size_t k, tern_token *ids, float *logits, tern_error *err)
{
    if (k < 1 || k > TOP_K_MAX || k > s->n_valid)
        return error_set(err, TERN_INVALID_ARGUMENT, "k is %zu, expected 1 to %d and at most the vocabulary of %u", k,
                         TOP_K_MAX, s->n_valid);
    const step_buffers *b = &last_step(s)->buffers;
    tern_status status = TERN_OK;
    s->top_k = (uint32_t)k;
    if (i != 0 || k > s->n_top) {
        status = ensure_head(s, i, err);
        if (status == TERN_OK) status = step_top(last_step(s), (uint32_t)(i - s->head_first), (uint32_t)k, err);
        if (status == TERN_OK) status = finish(s, true, err);
        if (status == TERN_OK) s->n_top = i == 0 ? (uint32_t)k : 0;
    }
    if (status != TERN_OK) return status;
    memcpy(ids, s->results + (b->top_ids.offset - b->flag.offset), k * sizeof *ids);
    memcpy(logits, s->results + (b->top_values.offset - b->flag.offset), k * sizeof *logits);
    return TERN_OK;
}

// ---------------------------------------------------------------------------------------------------- greedy decoding

// Over several devices the residual stream passes through the host, so every step waits for it anyway.
static tern_status decode_by_host(tern_session *s, uint32_t id, tern_token token, size_t n,
                                  tern_token_callback on_token, void *user, tern_error *err)
{
    for (bool more = true; n > 0 && more; n--) {
        const tern_row row = {.sequence = id, .token = token, .wants_logits = true};
        float logit;
        tern_status status = tern_session_eval(s, &row, 1, err);
        if (status == TERN_OK) status = tern_session_top(s, 0, 1, &token, &logit, err);
        if (status != TERN_OK) return status;
        more = on_token(user, token);
    }
    return TERN_OK;
}

static tern_status prepare_reads(tern_session *s, tern_error *err)
{
    const resident *r = last_step(s)->r;
    tern_status status = TERN_OK;
    for (uint32_t i = 0; i < STEPS_AHEAD && status == TERN_OK; i++)
        if (s->stepped[i] == NULL) status = r->backend->event_create(r->device, &s->stepped[i], err);
    if (status == TERN_OK && s->reads == NULL) status = r->backend->copy_stream_create(r->device, &s->reads, err);
    return status;
}

// Enqueues step i of a run. The first reads the inputs that the host wrote, each other one what its predecessor chose.
static tern_status begin_step(tern_session *s, size_t i, tern_error *err)
{
    segment *only = &s->segments[0];
    const resident *r = only->step.r;
    step_work work = choosing_work(s, 1, 1);
    work.advances = true;
    tern_status status = i == 0 ? segment_run(only, s->inputs, NULL, &work, err)
                                : step_graphs_run(&only->graphs, &only->step, &work, err);
    return status == TERN_OK ? r->backend->event_record(r->stream, s->stepped[i % STEPS_AHEAD], err) : status;
}

// Waits for step i, the one at `position`: the token it chose, or NUMERIC.
static tern_status end_step(tern_session *s, size_t i, size_t position, tern_token *chosen, tern_error *err)
{
    const backend *b = last_step(s)->r->backend;
    int32_t entry[2];
    view at = last_step(s)->buffers.log;
    at.offset += position % STEP_LOG * sizeof entry;
    tern_status status = b->stream_wait(s->reads, s->stepped[i % STEPS_AHEAD], err);
    if (status == TERN_OK) status = b->buffer_read(s->reads, at, entry, sizeof entry, err);
    if (status == TERN_OK) status = check_flag(s, (uint32_t)entry[1], err);
    if (status == TERN_OK) *chosen = entry[0];
    return status;
}

// Positions that the sequence can still take.
static size_t room_of(const tern_session *s, const sequence *q)
{
    size_t n = (q->n_blocks + s->n_free) * KV_BLOCK;
    return (n < s->model->plan.n_ctx ? n : s->model->plan.n_ctx) - q->n;
}

// Steps of a sequence whose blocks are taken and whose inputs are filled.
typedef struct greedy_run {
    sequence *sequence;
    size_t n, begun, done;
    bool is_refused; // on_token wants no more
} greedy_run;

static tern_status run_steps(tern_session *s, greedy_run *run, tern_token token, tern_token_callback on_token,
                             void *user, tern_error *err)
{
    size_t n_ahead = last_step(s)->r->backend->is_synchronous ? 1 : STEPS_AHEAD;
    sequence *q = run->sequence;
    tern_status status = TERN_OK;
    tern_error begin_err = {0}; // counts when the steps before it are done
    while (run->done < run->n && !run->is_refused) {
        while (status == TERN_OK && run->begun < run->n && run->begun < run->done + n_ahead) {
            status = begin_step(s, run->begun, &begin_err);
            if (status == TERN_OK) run->begun++;
        }
        if (run->begun == run->done) return error_set(err, status, "%s", begin_err.message);
        tern_token chosen = 0;
        tern_status ended = end_step(s, run->done, q->n, &chosen, err);
        if (ended != TERN_OK) return ended;
        q->tokens[q->n++] = token;
        token = chosen;
        run->done++;
        count_evaluation(s, 1, true);
        run->is_refused = !on_token(user, token);
    }
    return TERN_OK;
}

tern_status session_decode_greedy(tern_session *s, uint32_t id, tern_token first, size_t n,
                                  tern_token_callback on_token, void *user, tern_error *err)
{
    const tern_row row = {.sequence = id, .token = first, .wants_logits = true};
    tern_status status = check_rows(s, &row, 1, err);
    if (status != TERN_OK || n == 0) return status;
    if (s->n_segments > 1) return decode_by_host(s, id, first, n, on_token, user, err);
    status = prepare_reads(s, err);
    if (status != TERN_OK) return status;
    sequence *q = &s->sequences[id];
    size_t room = room_of(s, q);
    greedy_run run = {.sequence = q, .n = n < room ? n : room};
    s->n_out = s->head_n = s->n_top = 0;
    q->n_pending = run.n > 0 ? run.n : 1; // without room for one: the error of one
    status = take_blocks(s, err);
    if (status == TERN_OK) {
        uint64_t start = clock_ns();
        fill_inputs(s, &row, 1);
        status = run_steps(s, &run, first, on_token, user, err);
        s->stats.ns_eval += clock_ns() - start;
        q->n_pending = 1;
        if (status == TERN_OK && run.n < n && !run.is_refused) status = take_blocks(s, err);
    }
    q->n_pending = 0;
    return_blocks(s, q, blocks_for(q->n)); // steps nobody waits for write there before whatever comes later
    if (status == TERN_OK && run.begun == run.done) {
        s->n_out = 1;
        s->head_n = choosing_work(s, 1, 1).n_head;
        s->head_first = 0;
    }
    if (status == TERN_CANCELLED) __atomic_store_n(&s->cancel, false, __ATOMIC_RELAXED);
    return status;
}

void tern_session_cancel(tern_session *s) { __atomic_store_n(&s->cancel, true, __ATOMIC_RELAXED); }

void tern_session_clear_cancel(tern_session *s) { __atomic_store_n(&s->cancel, false, __ATOMIC_RELAXED); }

void tern_session_get_stats(const tern_session *s, tern_session_stats *out) { *out = s->stats; }
