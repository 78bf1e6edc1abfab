// The converter: a list of output tensors is made and checked against the types first (convert_plan.c), then keys and
// tensors are written, matrices in pieces of about a mebibyte.
#include "convert.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "convert_keys.h"
#include "convert_plan.h"
#include "convert_verify.h"
#include "encode_dense.h"
#include "gguf_write.h"

#define PIECE_BYTES (1u << 20)

typedef struct conversion {
    const model_source *model;
    const convert_options *options;
    convert_plan plan;
    gguf_writer *writer;
    uint64_t bytes_done; // written, and later compared
} conversion;

static bool is_resumable(const conversion *c) { return c->options->is_resumable && c->model->is_synthetic; }

static tern_status advance(void *user, uint64_t n_bytes, tern_error *err)
{
    conversion *c = user;
    const convert_options *o = c->options;
    c->bytes_done += n_bytes;
    uint64_t total = o->verify ? 2 * c->plan.n_bytes : c->plan.n_bytes; // a file has less than 2^63 bytes
    if (o->progress == NULL || o->progress(o->user, c->bytes_done, total)) return TERN_OK;
    if (!is_resumable(c) || c->bytes_done == 0)
        return error_set(err, TERN_CANCELLED, "the conversion was cancelled; no file was written");
    return error_set(err, TERN_CANCELLED, "cancelled; what was written stays as %s, and the same command goes on there",
                     gguf_writer_part_path(c->writer));
}

// -------------------------------------------------------------------------------------------------------------- data

static tern_status put(conversion *c, const void *data, size_t n_bytes, tern_error *err)
{
    tern_status status = gguf_writer_data(c->writer, data, n_bytes, err);
    return status == TERN_OK ? advance(c, n_bytes, err) : status;
}

static tern_status write_vector(conversion *c, const convert_tensor *t, tern_error *err)
{
    if (t->action == CONVERT_VALUES) return put(c, t->values, (size_t)t->n_bytes, err);
    float *values = malloc((size_t)t->n_bytes);
    if (values == NULL) return error_set(err, TERN_HOST_MEMORY, "%s: no memory for %u values", t->name, t->n_cols);
    tern_status status = model_read_vector(t->vector, t->n_cols, values, err);
    if (status == TERN_OK) status = put(c, values, (size_t)t->n_bytes, err);
    free(values);
    return status;
}

// Buffers of one matrix on its way out.
typedef struct piece {
    uint32_t n_rows;           // rows read at a time: whole heads where rows are permuted
    size_t in_bytes, out_room; // per row
    uint8_t *in, *out;
    float *values; // one row, for CONVERT_FLOATS
    encoder encoder;
} piece;

static tern_status piece_init(piece *p, const convert_tensor *t, tern_error *err)
{
    *p = (piece){.in_bytes = convert_read_bytes(t)};
    if (t->action == CONVERT_TRITS) {
        tern_status status = encoder_init(&p->encoder, t->trits, t->n_cols, &t->scale, err);
        if (status != TERN_OK) return status;
        p->out_room = encoder_room(&p->encoder);
    } else {
        p->out_room = dense_row_bytes(t->dense, t->n_cols);
    }
    uint32_t unit = t->n_head_rows != 0 ? t->n_head_rows : 1;
    size_t widest = p->in_bytes > p->out_room ? p->in_bytes : p->out_room;
    size_t n_units = PIECE_BYTES / (widest * unit) + 1;
    size_t all = t->n_rows / unit;
    p->n_rows = unit * (uint32_t)(n_units < all ? n_units : all);
    p->in = malloc(p->n_rows * p->in_bytes);
    p->out = malloc(p->n_rows * p->out_room);
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

static tern_status write_floats(const convert_tensor *t, uint32_t row, const uint8_t *in, float *values, uint8_t *out,
                                tern_error *err)
{
    convert_row_floats(t, row, in, values);
    if (encode_dense_row(t->dense, values, t->n_cols, out)) return TERN_OK;
    float extreme = 0.0f;
    for (uint32_t i = 0; i < t->n_cols; i++)
        if (!(fabsf(values[i]) <= fabsf(extreme))) extreme = values[i];
    return error_set(err, TERN_UNSUPPORTED,
                     "%s cannot be stored as %s: row %u holds %g, and the largest fp16 number is 65504", t->name,
                     dense_formats[t->dense].name, row, (double)extreme);
}

// Converts rows [first, first + count), which stand in p->in, and writes them.
static tern_status write_piece(conversion *c, const convert_tensor *t, piece *p, uint32_t first, uint32_t count,
                               tern_error *err)
{
    size_t n = 0;
    tern_status status = TERN_OK;
    for (uint32_t row = first; row < first + count && status == TERN_OK; row++) {
        uint32_t source = convert_source_row(t, c->model->hp.rope.n_dims, row);
        const uint8_t *in = p->in + (source - first) * p->in_bytes;
        if (t->action == CONVERT_TRITS) {
            n += encoder_row(&p->encoder, in, source, p->out + n);
            continue;
        }
        if (t->action == CONVERT_FLOATS)
            status = write_floats(t, source, in, p->values, p->out + n, err);
        else
            memcpy(p->out + n, in, p->in_bytes);
        n += p->out_room;
    }
    return status == TERN_OK ? put(c, p->out, n, err) : status;
}

static tern_status write_matrix(conversion *c, const convert_tensor *t, tern_error *err)
{
    piece p;
    tern_status status = piece_init(&p, t, err);
    for (uint32_t first = 0; first < t->n_rows && status == TERN_OK;) {
        uint32_t count = t->n_rows - first < p.n_rows ? t->n_rows - first : p.n_rows;
        status = matrix_read_rows(t->matrix, &t->scale, first, count, p.in, err);
        if (status == TERN_OK) status = write_piece(c, t, &p, first, count, err);
        first += count;
    }
    if (status == TERN_OK && t->action == CONVERT_TRITS) {
        size_t n = encoder_finish(&p.encoder, p.out);
        if (n > 0) status = put(c, p.out, n, err);
    }
    piece_free(&p);
    return status;
}

// Describes the tensors and reads the scales, which may take a pass over the weights.
static tern_status begin(conversion *c, tern_error *err)
{
    for (size_t i = 0; i < c->plan.n_tensors; i++) {
        const convert_tensor *t = &c->plan.tensors[i];
        const uint64_t dims[2] = {t->n_cols, t->n_rows};
        uint32_t id = t->matrix == NULL            ? encode_dense_ids[DENSE_F32]
                      : t->action == CONVERT_TRITS ? encode_formats[t->trits].tensor_id
                                                   : encode_dense_ids[t->dense];
        gguf_writer_add_tensor(c->writer, t->name, id, t->matrix != NULL ? 2 : 1, dims, t->n_bytes);
    }
    tern_status status = TERN_OK;
    for (size_t i = 0; i < c->plan.n_tensors && status == TERN_OK; i++) {
        status = convert_plan_check(&c->plan.tensors[i], err);
        if (status == TERN_OK) status = advance(c, 0, err);
    }
    return status == TERN_OK ? gguf_writer_begin(c->writer, err) : status;
}

// ------------------------------------------------------------------------------------------------------------ checks

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

// Whether a file is one of the further parts of a split model, of which model->path is the first.
static bool is_part(const model_source *model, const struct stat *file)
{
    static const char tail[] = "00001-of-00002.gguf";
    char path[4096], number[6];
    struct stat part;
    size_t n = strlen(model->path);
    if (n < sizeof tail - 1 || n >= sizeof path) return false;
    memcpy(path, model->path, n + 1);
    for (size_t i = 0; i < model->files->n_parts; i++) {
        snprintf(number, sizeof number, "%05u", (unsigned)(i + 2) % 100000u);
        memcpy(path + n - (sizeof tail - 1), number, 5);
        if (stat(path, &part) == 0 && is_same_file(&part, file)) return true;
    }
    return false;
}

// Refuses to write over what the model is read from: its file, or a file of its directory that is no .gguf.
static tern_status check_destination(const model_source *model, const char *path, tern_error *err)
{
    struct stat out, source, parent;
    if (model->path == NULL || stat(path, &out) != 0 || stat(model->path, &source) != 0) return TERN_OK;
    bool is_source = is_same_file(&out, &source) || is_part(model, &out);
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

// ------------------------------------------------------------------------------------------------------------ report

static void describe_comparison(const convert_comparison *sums, bool has_tokenizer, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size,
                                "%zu matrices (%llu weights), %zu vectors, hyper-parameters%s are as in the "
                                "source",
                                sums->n_matrices, (unsigned long long)sums->n_weights, sums->n_vectors,
                                has_tokenizer ? " and tokenizer" : "");
    if (sums->scale_rounding > 0.0 && n < size)
        n += (size_t)snprintf(out + n, size - n, "; scales kept as fp16 are within %.2g", sums->scale_rounding);
    if (sums->error2 > 0.0 && n < size)
        snprintf(out + n, size - n, "; rounding of what was encoded anew is %.2g of its size (root mean square)",
                 sqrt(sums->error2 / sums->source2));
}

// Reads the complete temporary file back.
static tern_status verify(conversion *c, convert_report *report, tern_error *err)
{
    model_source *to = NULL;
    convert_comparison sums = {0};
    const convert_watch watch = {advance, c};
    tern_error cause = {0};
    tern_status status = model_open(gguf_writer_part_path(c->writer), NULL, &to, &cause);
    if (status == TERN_OK) status = convert_verify(c->model, &c->plan, to, &watch, &sums, &cause);
    model_free(to);
    if (status == TERN_CANCELLED || status == TERN_HOST_MEMORY) return error_set(err, status, "%s", cause.message);
    if (status != TERN_OK)
        return error_set(err, TERN_INTERNAL,
                         "the file is not what was to be written and was removed: %s; disk or memory may be faulty",
                         cause.message);
    if (report != NULL)
        describe_comparison(&sums, c->model->tokenizer != NULL, report->verified, sizeof report->verified);
    return TERN_OK;
}

static void add_warnings(const conversion *c, convert_report *report)
{
    static const char *const names[] = {
        [ACT_QUANT_INT8] = "int8", [ACT_QUANT_INT8X2] = "int8x2", [ACT_QUANT_F32] = "f32"};
    const model_source *model = c->model;
    size_t n = 0;
    if (model->tokenizer != NULL) {
        tokenizer_export e;
        tokenizer_get_export(model->tokenizer, &e);
        if (e.loss != NULL)
            snprintf(report->warnings[n++], sizeof report->warnings[0],
                     "GGUF keys cannot say all of this tokenizer: %s", e.loss);
    }
    act_quant assumed = convert_assumed_quant(&c->plan, model);
    if (convert_has_ternary(model) && assumed != model->hp.quant)
        snprintf(report->warnings[n], sizeof report->warnings[0],
                 "the source computes with %s activations, which the file cannot say: open it with --act %s (%s is "
                 "assumed)",
                 names[model->hp.quant], names[model->hp.quant], names[assumed]);
}

tern_status model_convert(const model_source *model, const char *out_path, const convert_options *options,
                          convert_report *report, tern_error *err)
{
    conversion c = {.model = model, .options = options};
    convert_report result = {0};
    tern_status status = convert_plan_make(model, options, &c.plan, err);
    if (status == TERN_OK) status = check_destination(model, out_path, err);
    if (status == TERN_OK)
        status = is_resumable(&c) ? gguf_writer_create_resumable(out_path, &c.writer, err)
                                  : gguf_writer_create(out_path, &c.writer, err);
    if (status == TERN_OK) status = convert_add_keys(model, options->type, c.plan.architecture, c.writer, err);
    if (status == TERN_OK) status = begin(&c, err);
    size_t n_done = status == TERN_OK ? gguf_writer_n_done(c.writer) : 0;
    for (size_t i = 0; i < n_done && status == TERN_OK; i++) status = advance(&c, c.plan.tensors[i].n_bytes, err);
    for (size_t i = n_done; i < c.plan.n_tensors && status == TERN_OK; i++) {
        const convert_tensor *t = &c.plan.tensors[i];
        status = t->matrix != NULL ? write_matrix(&c, t, err) : write_vector(&c, t, err);
    }
    if (status == TERN_OK && options->verify) status = verify(&c, &result, err);
    if (status == TERN_OK) status = gguf_writer_finish(c.writer, err);
    if (status == TERN_OK && report != NULL) {
        add_warnings(&c, &result);
        *report = result;
    }
    convert_plan_free(&c.plan);
    gguf_writer_free(c.writer);
    return status;
}
