#include "upload.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"

#define BLOCK_BYTES ((size_t)256 << 10)
#define MAX_ROW     ((size_t)4 << 20) // bytes, also as floats
#define MAX_THREADS 64u               // memory is the limit before
#define PAGE_BYTES  4096u
#define TILE_ROWS   16u // of the packed layouts

// What a thread works in.
typedef struct room {
    struct room *next;
    uint8_t *stored, *converted; // rows as they are stored, and in another type
    float *values;               // one row
} room;

struct uploader {
    const backend *backend;
    bool is_in_memory;
    team *team;
    load_progress *progress;
    pthread_t owner;
    pthread_mutex_t rooms_lock, device_lock;
    room *rooms; // those not in use
    size_t room_bytes;
};

// ---- create, free

static void free_room(room *r)
{
    free(r->stored);
    free(r->converted);
    free(r->values);
    free(r);
}

static tern_status add_room(uploader *u, tern_error *err)
{
    room *r = calloc(1, sizeof *r);
    if (r != NULL) {
        r->stored = malloc(u->room_bytes);
        r->converted = malloc(u->room_bytes);
        r->values = malloc(u->room_bytes);
    }
    if (r == NULL || r->stored == NULL || r->converted == NULL || r->values == NULL) {
        if (r != NULL) free_room(r);
        return error_set(err, TERN_HOST_MEMORY, "out of memory while loading");
    }
    r->next = u->rooms;
    u->rooms = r;
    return TERN_OK;
}

tern_status uploader_create(const backend *b, bool is_in_memory, uint32_t n_threads, uint32_t max_columns,
                            load_progress *progress, uploader **out, tern_error *err)
{
    uploader *u = calloc(1, sizeof *u);
    if (u == NULL) return error_set(err, TERN_HOST_MEMORY, "out of memory while loading");
    u->backend = b;
    u->is_in_memory = is_in_memory;
    u->progress = progress;
    u->owner = pthread_self();
    u->room_bytes = max_columns * sizeof(float) < BLOCK_BYTES ? BLOCK_BYTES
                    : max_columns * sizeof(float) < MAX_ROW   ? max_columns * sizeof(float)
                                                              : MAX_ROW;
    pthread_mutex_init(&u->rooms_lock, NULL);
    pthread_mutex_init(&u->device_lock, NULL);
    n_threads = n_threads == 0 ? 1 : n_threads < MAX_THREADS ? n_threads : MAX_THREADS;
    tern_status status = team_create(n_threads, &u->team, err);
    for (uint32_t i = 0; i < n_threads && status == TERN_OK; i++) status = add_room(u, err);
    if (status == TERN_OK)
        *out = u;
    else
        uploader_free(u);
    return status;
}

void uploader_free(uploader *u)
{
    if (u == NULL) return;
    team_destroy(u->team);
    for (room *r; (r = u->rooms) != NULL;) {
        u->rooms = r->next;
        free_room(r);
    }
    pthread_mutex_destroy(&u->rooms_lock);
    pthread_mutex_destroy(&u->device_lock);
    free(u);
}

team *uploader_team(uploader *u) { return u->team; }

static room *take_room(uploader *u)
{
    pthread_mutex_lock(&u->rooms_lock);
    room *r = u->rooms;
    u->rooms = r->next;
    pthread_mutex_unlock(&u->rooms_lock);
    return r;
}

static void give_room(uploader *u, room *r)
{
    pthread_mutex_lock(&u->rooms_lock);
    r->next = u->rooms;
    u->rooms = r;
    pthread_mutex_unlock(&u->rooms_lock);
}

// ---- progress

static tern_status report(uploader *u, uint64_t n_more, tern_error *err)
{
    load_progress *p = u->progress;
    if (p->report == NULL || p->report(p->user, p->done + n_more, p->total)) return TERN_OK;
    return error_set(err, TERN_CANCELLED, "loading was cancelled");
}

tern_status uploader_advance(uploader *u, uint64_t n_bytes, tern_error *err)
{
    u->progress->done += n_bytes;
    return report(u, 0, err);
}

// ---- one block

static size_t stored_row_bytes(const matrix_source *source)
{
    return matrix_is_ternary(source) ? ternary_row_bytes(source->n_cols)
                                     : dense_row_bytes(source->dense, source->n_cols);
}

// One stored row as floats.
static void row_values(const matrix_source *source, const ternary_scale *scale, uint32_t index, const uint8_t *row,
                       float *out)
{
    if (!matrix_is_ternary(source)) {
        dense_row_to_float(source->dense, row, source->n_cols, out);
        return;
    }
    const float *scales = scale->values + (size_t)ternary_scale_set(scale, index) * scale->n_groups;
    for (uint32_t c = 0; c < source->n_cols; c++) out[c] = scales[c / scale->group] * (float)(ternary_code(row, c) - 1);
}

// `count` rows in r->stored (the first of them is row `first`) as rows of `held` in r->converted.
static tern_status convert_rows(room *r, const matrix_source *source, const ternary_scale *scale, uint32_t first,
                                uint32_t count, dense_type held, tern_error *err)
{
    size_t held_bytes = dense_row_bytes(held, source->n_cols);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *to = r->converted + i * held_bytes;
        row_values(source, scale, first + i, r->stored + i * stored_row_bytes(source), r->values);
        if (dense_is_integer(held)) {
            if (!dense_quantize_row(held, r->values, source->n_cols, to))
                return error_set(err, TERN_UNSUPPORTED, "%s: row %u holds a value that %s cannot", source->name,
                                 first + i, dense_formats[held].name);
        } else if (held == DENSE_F16) {
            for (uint32_t c = 0; c < source->n_cols; c++) {
                uint16_t bits = (uint16_t)half_from_float(r->values[c]);
                memcpy(to + 2 * (size_t)c, &bits, sizeof bits);
            }
        } else {
            memcpy(to, r->values, held_bytes);
        }
    }
    return TERN_OK;
}

typedef struct job {
    uploader *u;
    const upload_source *sources;
    uint32_t n_sources; // gate and up by turns, or one
    dense_type held;
    weights *to;
    uint32_t first_row, n_rows, step;
    uint64_t n_bytes;     // of the sources
    uint64_t n_rows_done; // under the lock, as what follows
    pthread_mutex_t lock;
    uint32_t failed; // the lowest block that failed, UINT32_MAX: none
    tern_status status;
    tern_error err;
} job;

// Reads a byte of every page.
static void touch(const uint8_t *data, size_t n_bytes)
{
    volatile uint8_t sink;
    for (size_t i = 0; i < n_bytes; i += PAGE_BYTES) sink = data[i];
    sink = data[n_bytes - 1];
    (void)sink;
}

// Rows [row, row + count) of the job as they are stored.
static tern_status read_rows(const job *j, uint32_t row, uint32_t count, uint8_t *out, tern_error *err)
{
    if (j->n_sources == 1) return matrix_read_rows(j->sources->matrix, j->sources->scale, row, count, out, err);
    size_t row_bytes = stored_row_bytes(j->sources->matrix);
    tern_status status = TERN_OK;
    for (uint32_t end = row + count, n; row < end && status == TERN_OK; row += n, out += n * row_bytes) {
        uint32_t turn = row / GATED_TURN, at = row % GATED_TURN;
        const upload_source *s = &j->sources[turn % 2];
        n = end - row < GATED_TURN - at ? end - row : GATED_TURN - at;
        status = matrix_read_rows(s->matrix, s->scale, turn / 2 * GATED_TURN + at, n, out, err);
    }
    return status;
}

static tern_status upload_block(const job *j, room *r, uint32_t row, uint32_t count, tern_error *err)
{
    uploader *u = j->u;
    const upload_source *first = j->sources;
    if (j->to == NULL) {
        size_t row_bytes = stored_row_bytes(first->matrix);
        touch(first->matrix->weights->data + row * row_bytes, count * row_bytes);
        return TERN_OK;
    }
    tern_status status = read_rows(j, row, count, r->stored, err);
    bool is_converted = j->held != DENSE_N_TYPES;
    if (status == TERN_OK && is_converted)
        status = convert_rows(r, first->matrix, first->scale, row, count, j->held, err);
    if (status != TERN_OK) return status;
    if (!u->is_in_memory) pthread_mutex_lock(&u->device_lock);
    status = u->backend->weights_upload_rows(j->to, j->first_row + row, count, is_converted ? r->converted : r->stored,
                                             err);
    if (!u->is_in_memory) pthread_mutex_unlock(&u->device_lock);
    return status;
}

static uint64_t source_bytes(const job *j, uint64_t n_rows) { return j->n_bytes * n_rows / j->n_rows; }

// ---- a matrix

// Takes note of how a block ended. The thread that loads also tells how far the matrix is.
static void finish_block(job *j, uint32_t block, uint32_t count, tern_status status, tern_error *err)
{
    pthread_mutex_lock(&j->lock);
    if (status == TERN_OK) j->n_rows_done += count;
    uint64_t n_rows = j->n_rows_done;
    pthread_mutex_unlock(&j->lock);
    if (status == TERN_OK && pthread_equal(pthread_self(), j->u->owner))
        status = report(j->u, source_bytes(j, n_rows), err);
    if (status == TERN_OK) return;
    pthread_mutex_lock(&j->lock);
    if (block < j->failed) {
        __atomic_store_n(&j->failed, block, __ATOMIC_RELAXED);
        j->status = status;
        j->err = *err;
    }
    pthread_mutex_unlock(&j->lock);
}

static void upload_blocks(void *context, uint32_t first, uint32_t end)
{
    job *j = context;
    room *r = take_room(j->u);
    for (uint32_t block = first; block < end; block++) {
        if (block > __atomic_load_n(&j->failed, __ATOMIC_RELAXED)) break; // blocks before it may still fail
        uint32_t row = block * j->step, left = j->n_rows - row, count = left < j->step ? left : j->step;
        tern_error err = {0};
        tern_status status = upload_block(j, r, row, count, &err);
        finish_block(j, block, count, status, &err);
    }
    give_room(j->u, r);
}

tern_status upload_rows(uploader *u, const upload_source *sources, uint32_t n_sources, dense_type held, weights *to,
                        uint32_t first_row, tern_error *err)
{
    const matrix_source *source = sources->matrix;
    size_t row_bytes = stored_row_bytes(source), as_floats = source->n_cols * sizeof(float);
    if (held != DENSE_N_TYPES && row_bytes < as_floats) row_bytes = as_floats;
    uint32_t step = (uint32_t)(u->room_bytes / row_bytes);
    if (step == 0)
        return error_set(err, TERN_LIMIT, "%s: a row of %zu bytes, at most %zu are supported", source->name, row_bytes,
                         MAX_ROW);
    if (step > TILE_ROWS) step -= step % TILE_ROWS; // so that threads seldom write to one line of memory
    job j = {.u = u, .sources = sources, .n_sources = n_sources, .held = held, .to = to, .first_row = first_row};
    for (uint32_t i = 0; i < n_sources; i++) {
        j.n_rows += sources[i].matrix->n_rows;
        j.n_bytes += sources[i].matrix->n_bytes;
    }
    j.step = step;
    j.failed = UINT32_MAX;
    pthread_mutex_init(&j.lock, NULL);
    team_run(u->team, (j.n_rows - 1) / step + 1, 1, upload_blocks, &j);
    pthread_mutex_destroy(&j.lock);
    if (j.failed == UINT32_MAX) return uploader_advance(u, j.n_bytes, err);
    if (err != NULL && err->status == TERN_OK) *err = j.err;
    return j.status;
}
