// The converter: a list of output tensors is made and checked against the type first, then keys and tensors are
// written, matrices in pieces of about a mebibyte.
#include "convert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "check.h"
#include "convert_keys.h"
#include "gguf_write.h"
#include "half.h"
#include "rope.h"

#define PIECE_BYTES (1u << 20)

typedef enum action {
    ACTION_VECTOR, // norm, read as fp32
    ACTION_VALUES, // fp32 values made here
    ACTION_COPY,   // dense rows as stored
    ACTION_TO_F16, // dense rows, rounded
    ACTION_ENCODE, // ternary rows
} action;

typedef struct out_tensor {
    char name[64];
    action action;
    const tensor_ref *vector;
    const float *values;
    const matrix_source *matrix;
    ternary_scale scale;    // of a ternary matrix
    uint32_t n_rows, n_cols; // n_rows 1 for vectors
    uint32_t n_head_rows;   // rows of a head to be put in adjacent-pair order; 0: rows stay
    uint32_t type;          // number in the file
    uint64_t n_bytes;
} out_tensor;

typedef struct conversion {
    const model_source *model;
    encode_type type;
    const char *architecture;
    gguf_writer *writer;
    out_tensor *tensors;
    size_t n_tensors;
    float *freq_divisors; // [rope.n_dims / 2] or NULL
    tern_progress progress;
    void *user;
    uint64_t bytes_done;
} conversion;

static const uint32_t dense_ids[DENSE_N_TYPES] = {
    [DENSE_F32] = 0,  [DENSE_F16] = 1,   [DENSE_BF16] = 30, [DENSE_Q8_0] = 8,
    [DENSE_Q4_0] = 2, [DENSE_Q4_K] = 12, [DENSE_Q5_K] = 13, [DENSE_Q6_K] = 14,
};

static tern_status report(const conversion *c, tern_error *err)
{
    if (c->progress == NULL || c->progress(c->user, c->bytes_done, gguf_writer_data_bytes(c->writer))) return TERN_OK;
    return error_set(err, TERN_CANCELLED, "the conversion was cancelled; no file was written");
}

// ----------------------------------------------------------------------------------------------------------- tensors

static out_tensor *add_tensor(conversion *c, const char *name, action how, uint32_t n_rows, uint32_t n_cols)
{
    out_tensor *t = &c->tensors[c->n_tensors++];
    *t = (out_tensor){.action = how, .n_rows = n_rows, .n_cols = n_cols};
    snprintf(t->name, sizeof t->name, "%s.weight", name);
    return t;
}

static void add_vector(conversion *c, const char *name, const tensor_ref *ref, uint32_t n)
{
    out_tensor *t = add_tensor(c, name, ACTION_VECTOR, 1, n);
    t->vector = ref;
    t->type = dense_ids[DENSE_F32];
    t->n_bytes = (uint64_t)n * sizeof(float);
}

// The types that can hold a matrix, "TQ1_0, F16", or "no type that is written here".
static void list_types(const out_tensor *t, char *out, size_t size)
{
    size_t n = 0;
    for (int type = 0; type < ENCODE_N_TYPES; type++) {
        if (encode_refusal((encode_type)type, t->n_rows, t->n_cols, &t->scale) != NULL) continue;
        n += (size_t)snprintf(out + n, size - n, "%s%s", n > 0 ? ", " : "", encode_formats[type].name);
    }
    if (n == 0) snprintf(out, size, "no type that is written here");
}

// Reads the scale of a ternary matrix and refuses what the type cannot hold.
static tern_status check_ternary(const conversion *c, out_tensor *t, tern_error *err)
{
    tern_status status = matrix_scale(t->matrix, &t->scale, err);
    if (status != TERN_OK) return status;
    const char *reason = encode_refusal(c->type, t->n_rows, t->n_cols, &t->scale);
    if (reason == NULL) return report(c, err); // the scan for the scale may take a while
    char types[64];
    list_types(t, types, sizeof types);
    return error_set(err, TERN_UNSUPPORTED,
                     "%s (%u rows of %u columns) cannot be stored as %s, which %s; it fits: %s", t->name, t->n_rows,
                     t->n_cols, encode_formats[c->type].name, reason, types);
}

static tern_status add_matrix(conversion *c, const char *name, const matrix_source *m, bool keeps_type,
                              uint32_t n_head_rows, tern_error *err)
{
    out_tensor *t = add_tensor(c, name, ACTION_COPY, m->n_rows, m->n_cols);
    t->matrix = m;
    t->n_head_rows = n_head_rows;
    bool has_size;
    if (matrix_is_ternary(m)) {
        t->action = ACTION_ENCODE;
        t->type = encode_formats[c->type].tensor_id;
        has_size = encode_tensor_bytes(c->type, t->n_rows, t->n_cols, &t->n_bytes);
    } else {
        bool to_f16 = c->type == ENCODE_F16 && !keeps_type && m->dense != DENSE_F16;
        dense_type type = to_f16 ? DENSE_F16 : m->dense;
        if (to_f16) t->action = ACTION_TO_F16;
        t->type = dense_ids[type];
        has_size = check_mul(dense_row_bytes(type, t->n_cols), t->n_rows, &t->n_bytes);
    }
    if (has_size) return TERN_OK;
    return error_set(err, TERN_LIMIT, "%s: %u rows of %u columns overflow a size", t->name, t->n_rows, t->n_cols);
}

static tern_status add_layer(conversion *c, uint32_t index, tern_error *err)
{
    const hparams *hp = &c->model->hp;
    const layer_source *layer = &c->model->layers[index];
    bool to_adjacent = strcmp(c->architecture, "llama") == 0 && hp->rope.style == ROPE_HALF_SPLIT;
    uint32_t head_rows = to_adjacent ? hp->head_dim : 0;
    char name[48];
#define NAME(suffix) (snprintf(name, sizeof name, "blk.%u.%s", index, suffix), name)
    const struct {
        const char *suffix;
        const matrix_source *matrix;
        uint32_t n_head_rows;
    } matrices[] = {
        {"attn_q", &layer->q, head_rows},   {"attn_k", &layer->k, head_rows}, {"attn_v", &layer->v, 0},
        {"attn_output", &layer->o, 0},      {"ffn_gate", &layer->gate, 0},    {"ffn_up", &layer->up, 0},
        {"ffn_down", &layer->down, 0},
    };
    add_vector(c, NAME("attn_norm"), &layer->attn_norm, hp->n_embd);
    add_vector(c, NAME("ffn_norm"), &layer->ffn_norm, hp->n_embd);
    if (hp->has_sub_norm) {
        add_vector(c, NAME("attn_sub_norm"), &layer->attn_sub_norm, layer->o.n_cols);
        add_vector(c, NAME("ffn_sub_norm"), &layer->ffn_sub_norm, layer->down.n_cols);
    }
    tern_status status = TERN_OK;
    for (size_t i = 0; i < sizeof matrices / sizeof matrices[0] && status == TERN_OK; i++)
        status = add_matrix(c, NAME(matrices[i].suffix), matrices[i].matrix, false, matrices[i].n_head_rows, err);
#undef NAME
    return status;
}

// What a frequency is divided by under the Llama 3.1 rule: 1 for short wavelengths, `factor` for long ones, blended
// between.
static double llama3_divisor(const rope_params *rope, double frequency)
{
    double wavelength = 0x1.921fb54442d18p+2 / frequency; // 2 pi / frequency
    if (wavelength < rope->original_context / rope->high_freq_factor) return 1.0;
    if (wavelength > rope->original_context / rope->low_freq_factor) return rope->factor;
    double smooth = (rope->original_context / wavelength - rope->low_freq_factor) /
                    (rope->high_freq_factor - rope->low_freq_factor);
    return 1.0 / ((1.0 - smooth) / rope->factor + smooth);
}

// rope_freqs.weight: given divisors as they are, times those of Llama 3.1 scaling, which GGUF has no keys for.
static tern_status add_rope_divisors(conversion *c, tern_error *err)
{
    const rope_params *rope = &c->model->hp.rope;
    bool is_llama3 = rope->scaling == ROPE_SCALING_LLAMA3;
    if (!is_llama3 && rope->freq_divisors == NULL) return TERN_OK;
    uint32_t n = rope->n_dims / 2;
    c->freq_divisors = malloc(n * sizeof(float));
    if (c->freq_divisors == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %u rope divisors", n);
    double log_theta = rope_log(rope->theta);
    for (uint32_t i = 0; i < n; i++) {
        double divisor = rope->freq_divisors != NULL ? (double)rope->freq_divisors[i] : 1.0;
        double frequency = rope_exp(-(2.0 * i / rope->n_dims) * log_theta) / divisor;
        c->freq_divisors[i] = (float)(is_llama3 ? divisor * llama3_divisor(rope, frequency) : divisor);
    }
    out_tensor *t = add_tensor(c, "rope_freqs", ACTION_VALUES, 1, n);
    t->values = c->freq_divisors;
    t->type = dense_ids[DENSE_F32];
    t->n_bytes = (uint64_t)n * sizeof(float);
    return TERN_OK;
}

static tern_status plan_tensors(conversion *c, tern_error *err)
{
    const model_source *model = c->model;
    size_t capacity = 4 + (size_t)model->hp.n_layers * 11; // 4 norms and 7 matrices a layer
    c->tensors = calloc(capacity, sizeof *c->tensors);
    if (c->tensors == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a list of %zu tensors", capacity);
    tern_status status = add_matrix(c, "token_embd", &model->embedding, true, 0, err);
    if (status == TERN_OK) status = add_rope_divisors(c, err);
    for (uint32_t i = 0; i < model->hp.n_layers && status == TERN_OK; i++) status = add_layer(c, i, err);
    if (status == TERN_OK) add_vector(c, "output_norm", &model->output_norm, model->hp.n_embd);
    if (status == TERN_OK && !model->hp.is_tied) status = add_matrix(c, "output", &model->head, true, 0, err);
    for (size_t i = 0; i < c->n_tensors && status == TERN_OK; i++) {
        const out_tensor *t = &c->tensors[i];
        const uint64_t dims[2] = {t->n_cols, t->n_rows};
        gguf_writer_add_tensor(c->writer, t->name, t->type, t->matrix != NULL ? 2 : 1, dims, t->n_bytes);
    }
    for (size_t i = 0; i < c->n_tensors && status == TERN_OK; i++)
        if (c->tensors[i].action == ACTION_ENCODE) status = check_ternary(c, &c->tensors[i], err);
    return status;
}

// -------------------------------------------------------------------------------------------------------------- data

// Source row of output row `row`. Pair i of a head is rows (i, i + n/2) in half-split order and (2i, 2i + 1) in
// adjacent order; rows of a head beyond the n rotated ones stay.
static uint32_t source_row(const out_tensor *t, uint32_t n_rotated, uint32_t row)
{
    if (t->n_head_rows == 0) return row;
    uint32_t within = row % t->n_head_rows;
    if (within >= n_rotated) return row;
    return row - within + within % 2 * (n_rotated / 2) + within / 2;
}

static tern_status put(conversion *c, const void *data, size_t n_bytes, tern_error *err)
{
    tern_status status = gguf_writer_data(c->writer, data, n_bytes, err);
    if (status != TERN_OK) return status;
    c->bytes_done += n_bytes;
    return report(c, err);
}

static tern_status write_vector(conversion *c, const out_tensor *t, tern_error *err)
{
    if (t->action == ACTION_VALUES) return put(c, t->values, (size_t)t->n_bytes, err);
    float *values = malloc((size_t)t->n_bytes);
    if (values == NULL) return error_set(err, TERN_HOST_MEMORY, "%s: no memory for %u values", t->name, t->n_cols);
    tern_status status = model_read_vector(t->vector, t->n_cols, values, err);
    if (status == TERN_OK) status = put(c, values, (size_t)t->n_bytes, err);
    free(values);
    return status;
}

static tern_status row_to_f16(const out_tensor *t, const uint8_t *row, float *values, uint8_t *out, tern_error *err)
{
    dense_row_to_float(t->matrix->dense, row, t->n_cols, values);
    for (uint32_t i = 0; i < t->n_cols; i++) {
        scalar_u32 bits = half_from_float(values[i]);
        if ((bits & 0x7fffu) >= 0x7c00u)
            return error_set(err, TERN_UNSUPPORTED, "%s cannot be stored as F16: %g is beyond 65504, the last value",
                             t->name, (double)values[i]);
        out[2 * (size_t)i] = (uint8_t)bits;
        out[2 * (size_t)i + 1] = (uint8_t)(bits >> 8);
    }
    return TERN_OK;
}

// Buffers of one matrix on its way out.
typedef struct piece {
    uint32_t n_rows;           // rows read at a time: whole heads where rows are permuted
    size_t in_bytes, out_room; // per row
    uint8_t *in, *out;
    float *values; // one row, for ACTION_TO_F16
    encoder encoder;
} piece;

static tern_status piece_init(piece *p, const conversion *c, const out_tensor *t, tern_error *err)
{
    *p = (piece){0};
    bool encodes = t->action == ACTION_ENCODE;
    size_t in_bytes = encodes ? ternary_row_bytes(t->n_cols) : dense_row_bytes(t->matrix->dense, t->n_cols);
    size_t out_room = t->action == ACTION_TO_F16 ? 2 * (size_t)t->n_cols : in_bytes;
    if (encodes) {
        tern_status status = encoder_init(&p->encoder, c->type, t->n_cols, &t->scale, err);
        if (status != TERN_OK) return status;
        out_room = encoder_room(&p->encoder);
    }
    uint32_t unit = t->n_head_rows != 0 ? t->n_head_rows : 1;
    size_t widest = in_bytes > out_room ? in_bytes : out_room;
    size_t n_units = PIECE_BYTES / (widest * unit) + 1;
    size_t all = t->n_rows / unit;
    p->n_rows = unit * (uint32_t)(n_units < all ? n_units : all);
    p->in_bytes = in_bytes;
    p->out_room = out_room;
    p->in = malloc(p->n_rows * in_bytes);
    p->out = malloc(p->n_rows * out_room);
    p->values = malloc(t->n_cols * sizeof(float));
    if (p->in == NULL || p->out == NULL || p->values == NULL)
        return error_set(err, TERN_HOST_MEMORY, "%s: no memory for %u rows of %zu bytes", t->name, p->n_rows, widest);
    return TERN_OK;
}

static void piece_free(piece *p)
{
    encoder_free(&p->encoder);
    free(p->in);
    free(p->out);
    free(p->values);
}

// Converts rows [first, first + count), which stand in p->in, and writes them.
static tern_status write_piece(conversion *c, const out_tensor *t, piece *p, uint32_t first, uint32_t count,
                               tern_error *err)
{
    size_t n = 0;
    tern_status status = TERN_OK;
    for (uint32_t row = first; row < first + count && status == TERN_OK; row++) {
        uint32_t source = source_row(t, c->model->hp.rope.n_dims, row);
        const uint8_t *in = p->in + (source - first) * p->in_bytes;
        if (t->action == ACTION_ENCODE) {
            n += encoder_row(&p->encoder, in, source, p->out + n);
            continue;
        }
        if (t->action == ACTION_TO_F16)
            status = row_to_f16(t, in, p->values, p->out + n, err);
        else
            memcpy(p->out + n, in, p->in_bytes);
        n += p->out_room;
    }
    return status == TERN_OK ? put(c, p->out, n, err) : status;
}

static tern_status write_matrix(conversion *c, const out_tensor *t, tern_error *err)
{
    piece p;
    tern_status status = piece_init(&p, c, t, err);
    for (uint32_t first = 0; first < t->n_rows && status == TERN_OK;) {
        uint32_t count = t->n_rows - first < p.n_rows ? t->n_rows - first : p.n_rows;
        status = matrix_read_rows(t->matrix, t->action == ACTION_ENCODE ? &t->scale : NULL, first, count, p.in, err);
        if (status == TERN_OK) status = write_piece(c, t, &p, first, count, err);
        first += count;
    }
    if (status == TERN_OK && t->action == ACTION_ENCODE) {
        size_t n = encoder_finish(&p.encoder, p.out);
        if (n > 0) status = put(c, p.out, n, err);
    }
    piece_free(&p);
    return status;
}

// ------------------------------------------------------------------------------------------------------------ checks

static tern_status choose_architecture(const model_source *model, encode_type type, const char **out, tern_error *err)
{
    const hparams *hp = &model->hp;
    if (hp->has_sub_norm && hp->rope.style == ROPE_ADJACENT)
        return error_set(err, TERN_UNSUPPORTED, "%s: no GGUF architecture has sub-norms and adjacent-pair rope",
                         hp->architecture);
    if (!hp->has_sub_norm && hp->act != ACTIVATION_SILU)
        return error_set(err, TERN_UNSUPPORTED, "%s: no GGUF architecture has relu^2 without sub-norms",
                         hp->architecture);
    if (!hp->has_sub_norm)
        *out = "llama";
    else
        *out = hp->act == ACTIVATION_RELU2 && type == ENCODE_I2_S ? "bitnet-b1.58" : "bitnet";
    return TERN_OK;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

// Refuses to write over what the model is read from: its file, or a file of its directory that is no .gguf.
static tern_status check_destination(const model_source *model, const char *path, tern_error *err)
{
    struct stat out, source, parent;
    if (model->path == NULL || stat(path, &out) != 0 || stat(model->path, &source) != 0) return TERN_OK;
    bool is_source = is_same_file(&out, &source);
    const char *slash = strrchr(path, '/');
    const char *suffix = strrchr(slash != NULL ? slash : path, '.');
    if (S_ISDIR(source.st_mode) && (suffix == NULL || strcasecmp(suffix, ".gguf") != 0)) {
        char *directory = slash != NULL ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
        if (directory == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a file name");
        is_source |= stat(directory, &parent) == 0 && is_same_file(&parent, &source);
        free(directory);
    }
    if (!is_source) return TERN_OK;
    return error_set(err, TERN_INVALID_ARGUMENT, "%s belongs to the model that is being converted; give another file",
                     path);
}

static bool has_ternary(const model_source *model)
{
    if (matrix_is_ternary(&model->embedding)) return true;
    for (uint32_t i = 0; i < model->hp.n_layers; i++) {
        const layer_source *l = &model->layers[i];
        const matrix_source *matrices[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        for (size_t j = 0; j < sizeof matrices / sizeof matrices[0]; j++)
            if (matrix_is_ternary(matrices[j])) return true;
    }
    return false;
}

static tern_status check_model(const model_source *model, encode_type type, tern_error *err)
{
    if ((unsigned)type >= ENCODE_N_TYPES)
        return error_set(err, TERN_INVALID_ARGUMENT, "no output type has number %d", (int)type);
    if (type == ENCODE_F16 || has_ternary(model)) return TERN_OK;
    return error_set(err, TERN_UNSUPPORTED,
                     "the model has no ternary matrices (%s), and %s stores nothing else; convert it to F16, or start "
                     "from a checkpoint trained for ternary weights",
                     model->formats, encode_formats[type].name);
}

static void conversion_free(conversion *c)
{
    for (size_t i = 0; i < c->n_tensors; i++) ternary_scale_free(&c->tensors[i].scale);
    free(c->tensors);
    free(c->freq_divisors);
    gguf_writer_free(c->writer);
}

tern_status model_convert(const model_source *model, const char *out_path, encode_type type, tern_progress progress,
                          void *user, tern_error *err)
{
    conversion c = {.model = model, .type = type, .progress = progress, .user = user};
    tern_status status = check_model(model, type, err);
    if (status == TERN_OK) status = choose_architecture(model, type, &c.architecture, err);
    if (status == TERN_OK) status = check_destination(model, out_path, err);
    if (status == TERN_OK) status = gguf_writer_create(out_path, &c.writer, err);
    if (status == TERN_OK) status = convert_add_keys(model, type, c.architecture, c.writer, err);
    if (status == TERN_OK) status = plan_tensors(&c, err);
    if (status == TERN_OK) status = gguf_writer_begin(c.writer, err);
    if (status == TERN_OK) status = report(&c, err);
    for (size_t i = 0; i < c.n_tensors && status == TERN_OK; i++) {
        const out_tensor *t = &c.tensors[i];
        status = t->matrix != NULL ? write_matrix(&c, t, err) : write_vector(&c, t, err);
    }
    if (status == TERN_OK) status = gguf_writer_finish(c.writer, err);
    conversion_free(&c);
    return status;
}
