// The CPU backend around its ops: devices, memory, weights, refusals of shapes and of operands outside their buffers,
// the floating-point environment.
#include <stdio.h>

#include "cpu_fixture.h"
#include "fpenv.h"

#define B (&cpu_backend)

static void expect_error(tern_status status, tern_status expected, const tern_error *err, const char *part)
{
    assert_int_equal(status, expected);
    assert_int_equal(err->status, expected);
    if (strstr(err->message, part) == NULL) fail_msg("\"%s\" does not mention \"%s\"", err->message, part);
}

// ---- devices

static void test_devices(void **state)
{
    (void)state;
    const char *note = NULL;
    assert_int_equal(B->device_count(&note), 2);
    assert_string_equal(note, "");
    const char *names[] = {"cpu", "cpuref"};
    for (size_t i = 0; i < 2; i++) {
        device_facts facts;
        assert_int_equal(B->device_describe(i, &facts, NULL), TERN_OK);
        assert_string_equal(facts.name, names[i]);
        assert_true(facts.is_reference == (i == 1));
        assert_true(strlen(facts.description) > 0);
        assert_true(facts.memory_total > 0 && facts.memory_free <= facts.memory_total);
        device *d = NULL;
        uint64_t total, available;
        assert_int_equal(B->device_open(i, &(device_options){.n_threads = 3}, &d, NULL), TERN_OK);
        assert_int_equal(d->n_threads, i == 0 ? 3 : 1);
        assert_int_equal(B->device_memory(d, &total, &available, NULL), TERN_OK);
        assert_true(total == facts.memory_total && available <= total);
        B->device_close(d);
    }
    tern_error err = {0};
    device *d = NULL;
    expect_error(B->device_open(2, NULL, &d, &err), TERN_NO_DEVICE, &err, "2");
    assert_null(d);
    error_clear(&err);
    expect_error(B->device_open(0, &(device_options){.n_threads = 1u << 20}, &d, &err), TERN_INVALID_ARGUMENT, &err,
                 "threads");
    device_facts untouched = {.name = "x"};
    assert_int_equal(B->device_describe(9, &untouched, NULL), TERN_NO_DEVICE);
    assert_string_equal(untouched.name, "x");
    B->device_close(NULL);
}

static void test_buffers_streams_events(void **state)
{
    fixture *f = *state;
    buffer *b = NULL;
    tern_error err = {0};
    assert_int_equal(B->buffer_create(f->device, 100, &b, NULL), TERN_OK);
    assert_int_equal((uintptr_t)cpu_at((view){b, 0}) % 64, 0);
    uint8_t bytes[10] = {1, 2, 3}, back[10] = {0};
    assert_int_equal(B->buffer_fill(f->stream, (view){b, 0}, 7, 100, NULL), TERN_OK);
    assert_int_equal(B->buffer_write(f->stream, (view){b, 90}, bytes, 10, NULL), TERN_OK);
    assert_int_equal(B->buffer_read(f->stream, (view){b, 89}, back, 10, NULL), TERN_OK);
    assert_true(back[0] == 7 && back[1] == 1 && back[3] == 3);
    expect_error(B->buffer_write(f->stream, (view){b, 91}, bytes, 10, &err), TERN_INVALID_ARGUMENT, &err, "91");
    error_clear(&err);
    expect_error(B->buffer_read(f->stream, (view){b, SIZE_MAX}, back, 2, &err), TERN_INVALID_ARGUMENT, &err, "read");
    error_clear(&err);
    expect_error(B->buffer_fill(f->stream, (view){NULL, 0}, 0, 1, &err), TERN_INVALID_ARGUMENT, &err, "no buffer");
    B->buffer_destroy(b);
    B->buffer_destroy(NULL);

    // More than there is: refused with both numbers, at once.
    b = NULL;
    error_clear(&err);
    expect_error(B->buffer_create(f->device, (size_t)1 << 46, &b, &err), TERN_DEVICE_MEMORY, &err, "70368744177664");
    assert_null(b);
    error_clear(&err);
    expect_error(B->buffer_create(f->device, 0, &b, &err), TERN_INVALID_ARGUMENT, &err, "0 bytes");

    event *from = NULL, *to = NULL;
    uint64_t ns = 0;
    assert_int_equal(B->event_create(f->device, &from, NULL), TERN_OK);
    assert_int_equal(B->event_create(f->device, &to, NULL), TERN_OK);
    assert_int_equal(B->event_record(f->stream, from, NULL), TERN_OK);
    error_clear(&err);
    expect_error(B->event_elapsed_ns(from, to, &ns, &err), TERN_BAD_STATE, &err, "second");
    assert_int_equal(B->event_record(f->stream, to, NULL), TERN_OK);
    assert_int_equal(B->event_elapsed_ns(from, to, &ns, NULL), TERN_OK);
    B->event_destroy(from);
    B->event_destroy(to);
    B->event_destroy(NULL);
    B->stream_destroy(NULL);
    assert_int_equal(B->stream_sync(f->stream, NULL), TERN_OK);

    graph *g = NULL;
    assert_int_equal(B->graph_begin(f->stream, NULL), TERN_DEVICE_UNSUPPORTED);
    assert_int_equal(B->graph_end(f->stream, &g, NULL), TERN_DEVICE_UNSUPPORTED);
    assert_int_equal(B->graph_launch(f->stream, NULL, NULL), TERN_DEVICE_UNSUPPORTED);
    B->graph_destroy(NULL);
}

// ---- weights

static void check_ternary_round_trip(fixture *f, ternary_layout layout)
{
    const weights_desc desc = {.n_rows = 21, .n_cols = 200, .is_ternary = true, .layout = layout};
    const uint32_t n_rows = desc.n_rows, n_cols = desc.n_cols;
    ternary_scale scale;
    ternary_scale_create(n_rows, false, 0, n_cols, &scale, NULL);
    uint8_t *rows = fixture_random_ternary(f, n_rows, n_cols), back[21 * 64];
    weights *w = fixture_weights(f, desc, &scale, rows);
    size_t row_bytes = ternary_row_bytes(n_cols);
    assert_int_equal(B->weights_download_rows(w, 0, n_rows, back, NULL), TERN_OK);
    assert_true(memcmp(back, rows, n_rows * row_bytes) == 0);
    assert_int_equal(B->weights_download_rows(w, 5, 7, back, NULL), TERN_OK);
    assert_true(memcmp(back, rows + 5 * row_bytes, 7 * row_bytes) == 0);
    weights_desc shape;
    B->weights_shape(w, &shape);
    assert_true(shape.n_rows == n_rows && shape.n_cols == n_cols && shape.is_ternary && shape.scale == NULL);
    assert_int_equal(shape.layout, layout);

    tern_error err = {0};
    rows[3 * row_bytes] |= 3;
    expect_error(B->weights_upload_rows(w, 0, n_rows, rows, &err), TERN_INVALID_ARGUMENT, &err, "row 3 holds code 3");
    error_clear(&err);
    expect_error(B->weights_upload_rows(w, 20, 2, rows, &err), TERN_INVALID_ARGUMENT, &err, "20");
    assert_int_equal(B->weights_download_rows(w, UINT32_MAX, 2, back, NULL), TERN_INVALID_ARGUMENT);
    free(rows);
}

static void test_weights_round_trip(void **state)
{
    fixture *f = *state;
    check_ternary_round_trip(f, TERNARY_T64);
    check_ternary_round_trip(f, TERNARY_T80);
    weights *w = NULL;
    for (int type = 0; type < DENSE_N_TYPES; type++) {
        uint8_t dense[3 * 1024], dense_back[3 * 1024];
        size_t bytes = dense_row_bytes((dense_type)type, 256);
        for (size_t i = 0; i < 3 * bytes; i++) dense[i] = (uint8_t)rng_u64(1, i);
        w = fixture_weights(f, (weights_desc){.n_rows = 3, .n_cols = 256, .type = (dense_type)type}, NULL, dense);
        assert_true(w->row_bytes == bytes && (uintptr_t)w->data % 64 == 0);
        for (size_t i = 0; i < 64; i++) assert_int_equal(w->data[3 * bytes + i], 0); // readable padding
        assert_int_equal(B->weights_download_rows(w, 1, 2, dense_back, NULL), TERN_OK);
        assert_true(memcmp(dense_back, dense + bytes, 2 * bytes) == 0);
    }
    B->weights_destroy(NULL);
}

static void test_weights_refusals(void **state)
{
    fixture *f = *state;
    uint64_t bytes = 77;
    assert_int_equal(
        B->weights_bytes(f->device, &(weights_desc){.n_rows = 17, .n_cols = 65, .is_ternary = true}, &bytes, NULL),
        TERN_OK);
    assert_int_equal(bytes, 32 * 2 * 16 + 64 + 4); // rows padded to 16, columns to 64, readable padding, one scale
    const weights_desc t80 = {.n_rows = 17, .n_cols = 161, .is_ternary = true, .layout = TERNARY_T80};
    assert_int_equal(B->weights_bytes(f->device, &t80, &bytes, NULL), TERN_OK);
    assert_int_equal(bytes, 32 * 3 * 16 + 64 + 4); // columns padded to 80
    assert_int_equal(
        B->weights_bytes(f->device, &(weights_desc){.n_rows = 2, .n_cols = 512, .type = DENSE_Q6_K}, &bytes, NULL),
        TERN_OK);
    assert_int_equal(bytes, (2 * 420 + 64 + 63) / 64 * 64); // what follows starts on 64 bytes

    float values[8] = {0};
    uint32_t begin[2] = {0, 9};
    ternary_scale two_groups = {.n_sets = 1, .group = 64, .n_groups = 2, .values = values};
    ternary_scale bad_groups = {.n_sets = 1, .group = 64, .n_groups = 1, .values = values};
    ternary_scale bad_sets = {.n_sets = 2, .group = 128, .n_groups = 1, .values = values};
    ternary_scale bad_ranges = {.n_sets = 2, .set_begin = begin, .group = 128, .n_groups = 1, .values = values};
    const struct {
        weights_desc desc;
        tern_status status;
        const char *part;
    } cases[] = {
        {{.n_rows = 0, .n_cols = 64, .is_ternary = true}, TERN_INVALID_ARGUMENT, "0 rows"},
        {{.n_rows = 1, .n_cols = 528417, .is_ternary = true}, TERN_DEVICE_UNSUPPORTED, "528417"},
        {{.n_rows = 4, .n_cols = 100, .type = DENSE_Q8_0}, TERN_INVALID_ARGUMENT, "Q8_0"},
        {{.n_rows = 4, .n_cols = 128, .type = DENSE_Q4_K}, TERN_INVALID_ARGUMENT, "Q4_K"},
        {{.n_rows = 4, .n_cols = 128, .type = DENSE_N_TYPES}, TERN_INVALID_ARGUMENT, "type"},
        {{.n_rows = 4, .n_cols = 128, .is_ternary = true, .layout = TERNARY_N_LAYOUTS},
         TERN_INVALID_ARGUMENT,
         "layout"},
        {{.n_rows = 4, .n_cols = 128, .is_ternary = true, .layout = TERNARY_T80, .scale = &two_groups},
         TERN_UNSUPPORTED,
         "has a scale for every 64 columns: use T64"},
        {{.n_rows = 4, .n_cols = 96, .type = DENSE_INT4}, TERN_INVALID_ARGUMENT, "INT4"},
        {{.n_rows = 4, .n_cols = 133184, .type = DENSE_INT8}, TERN_DEVICE_UNSUPPORTED, "133120"},
        {{.n_rows = 4, .n_cols = 133184, .type = DENSE_INT4}, TERN_DEVICE_UNSUPPORTED, "133120"},
        {{.n_rows = 4, .n_cols = 128, .is_ternary = true, .scale = &bad_groups}, TERN_INVALID_ARGUMENT, "groups"},
        {{.n_rows = 4, .n_cols = 128, .is_ternary = true, .scale = &bad_sets}, TERN_INVALID_ARGUMENT, "2 sets"},
        {{.n_rows = 4, .n_cols = 128, .is_ternary = true, .scale = &bad_ranges}, TERN_INVALID_ARGUMENT, "row 9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tern_error err = {0};
        bytes = 77;
        expect_error(B->weights_bytes(f->device, &cases[i].desc, &bytes, &err), cases[i].status, &err, cases[i].part);
        assert_int_equal(bytes, 77);
    }
    weights *w = NULL;
    assert_int_equal(
        B->weights_create(f->device, &(weights_desc){.n_rows = 1, .n_cols = 64, .is_ternary = true}, &w, NULL),
        TERN_INVALID_ARGUMENT);
    tern_error err = {0};
    expect_error(B->weights_create(
                     f->device, &(weights_desc){.n_rows = 1u << 30, .n_cols = 1u << 20, .type = DENSE_F32}, &w, &err),
                 TERN_DEVICE_MEMORY, &err, "free");
    assert_null(w);
}

// ---- refusals of ops. One small valid op of each kind, then every way to spoil it.

#define M 3u
#define N 64u

typedef struct sample {
    op o;
    struct {
        const char *name;
        view *v; // into o
    } operands[16];
    size_t n_operands;
} sample;

static void operand(sample *s, fixture *f, const char *name, view *v, size_t n_bytes)
{
    *v = fixture_room(f, n_bytes);
    memset(cpu_at(*v), 0, n_bytes); // zeros are valid values, indices and positions
    s->operands[s->n_operands].name = name;
    s->operands[s->n_operands++].v = v;
}

static void quantized_operands(sample *s, fixture *f, quantized *q, bool is_two_term)
{
    q->ld = N;
    operand(s, f, "codes", &q->codes, M * N);
    operand(s, f, "scale", &q->scale, M * 4);
    operand(s, f, "sum", &q->sum, M * 4);
    if (!is_two_term) return;
    operand(s, f, "lo_codes", &q->lo_codes, M * N);
    operand(s, f, "lo_scale", &q->lo_scale, M * 4);
    operand(s, f, "lo_sum", &q->lo_sum, M * 4);
}

static void kv_operands(sample *s, fixture *f, kv_rows *rows, kv_cache *cache)
{
    *cache = (kv_cache){.n_blocks = 2, .n_kv_heads = 1, .head_dim = 8, .k_type = KV_INT8, .v_type = KV_F16};
    operand(s, f, "cache", &cache->blocks, 2 * (size_t)kv_block_bytes(KV_INT8, KV_F16, 1, 8));
    operand(s, f, "row_table", &rows->row_table, M * 4);
    operand(s, f, "row_position", &rows->row_position, M * 4);
    operand(s, f, "tables", &rows->tables, 4);
    rows->table_ld = 1;
}

static weights *sample_ternary(fixture *f, ternary_layout layout)
{
    uint8_t rows[N * N / 8] = {0};
    ternary_scale scale;
    ternary_scale_tensor(1.0f, N, &scale, NULL);
    const weights_desc desc = {.n_rows = 8, .n_cols = N, .is_ternary = true, .layout = layout};
    return fixture_weights(f, desc, &scale, rows);
}

// Gate and up by turns, one tile of rows.
static weights *sample_gated(fixture *f, uint32_t group)
{
    uint8_t rows[16 * N / 4] = {0};
    ternary_scale scale;
    assert_int_equal(ternary_scale_create(1, false, group, N, &scale, NULL), TERN_OK);
    return fixture_weights(f, (weights_desc){.n_rows = 16, .n_cols = N, .is_ternary = true}, &scale, rows);
}

static weights *sample_dense(fixture *f)
{
    uint8_t rows[N * N / 8] = {0};
    return fixture_weights(f, (weights_desc){.n_rows = 4, .n_cols = N, .type = DENSE_F16}, NULL, rows);
}

static weights *sample_integer(fixture *f)
{
    uint8_t rows[4 * (N + 4)] = {0};
    return fixture_weights(f, (weights_desc){.n_rows = 4, .n_cols = N, .type = DENSE_INT8}, NULL, rows);
}

static void make_sample(sample *s, fixture *f, op_kind kind)
{
    *s = (sample){.o = {.kind = kind, .m = M}};
    op *o = &s->o;
    bool has_flag = kind == OP_NORM || kind == OP_HEAD_NORM || kind == OP_NORM_QUANT || kind == OP_QUANT ||
                    kind == OP_QUANT2 || kind == OP_DENSE_MM || kind == OP_INT_MM || kind == OP_RESCORE ||
                    kind == OP_ROPE_KV || kind == OP_ATTENTION || kind == OP_ADVANCE || kind == OP_DENSE_TOP_K;
    if (has_flag) operand(s, f, "flag", &o->flag, 4);
    switch (kind) {
    case OP_EMBED:
        o->embed = (op_embed){.table = sample_dense(f), .ld_y = N};
        operand(s, f, "ids", &o->embed.ids, M * 4);
        operand(s, f, "y", &o->embed.y, M * N * 4);
        break;
    case OP_NORM:
        o->norm = (op_norm){.n = N, .ld_x = N + 8, .ld_y = N, .eps = 1e-5f};
        operand(s, f, "x", &o->norm.x, (M * (N + 8) - 8) * 4);
        operand(s, f, "g", &o->norm.g, N * 4);
        operand(s, f, "y", &o->norm.y, M * N * 4);
        break;
    case OP_HEAD_NORM:
        o->head_norm = (op_head_norm){.n_heads = 2, .head_dim = 32, .ld_x = N, .eps = 1e-5f};
        operand(s, f, "x", &o->head_norm.x, M * N * 4);
        operand(s, f, "g", &o->head_norm.g, 32 * 4);
        break;
    case OP_NORM_QUANT:
        o->norm_quant = (op_norm_quant){.n = N, .ld_x = N, .eps = 1e-5f};
        operand(s, f, "x", &o->norm_quant.x, M * N * 4);
        operand(s, f, "g", &o->norm_quant.g, N * 4);
        quantized_operands(s, f, &o->norm_quant.y, false);
        break;
    case OP_QUANT:
    case OP_QUANT2:
        o->quant = (op_quant){.n = N, .ld_x = N};
        operand(s, f, "x", &o->quant.x, M * N * 4);
        quantized_operands(s, f, &o->quant.y, kind == OP_QUANT2);
        break;
    case OP_TERNARY_MM:
        o->ternary_mm = (op_ternary_mm){.w = sample_ternary(f, TERNARY_T64), .ld_y = 8};
        quantized_operands(s, f, &o->ternary_mm.x, true);
        operand(s, f, "y", &o->ternary_mm.y, M * 8 * 4);
        break;
    case OP_DENSE_MM:
        o->dense_mm = (op_dense_mm){.w = sample_dense(f), .ld_x = N, .ld_y = 4, .check_finite = true};
        operand(s, f, "x", &o->dense_mm.x, M * N * 4);
        operand(s, f, "y", &o->dense_mm.y, M * 4 * 4);
        break;
    case OP_ROPE_KV:
        o->rope_kv = (op_rope_kv){.n_heads = 2, .n_dims = 8, .ld_x = 32};
        operand(s, f, "x", &o->rope_kv.x, M * 32 * 4);
        operand(s, f, "rope", &o->rope_kv.rope, 8 * 4);
        kv_operands(s, f, &o->rope_kv.rows, &o->rope_kv.cache);
        break;
    case OP_ATTENTION:
        o->attention = (op_attention){.n_heads = 2, .ld_q = 16, .ld_y = 16};
        operand(s, f, "q", &o->attention.q, M * 16 * 4);
        operand(s, f, "y", &o->attention.y, M * 16 * 4);
        kv_operands(s, f, &o->attention.rows, &o->attention.cache);
        break;
    case OP_GATE:
        o->gate = (op_gate){.n = N, .ld_x = 2 * N, .ld_y = N};
        operand(s, f, "x", &o->gate.x, M * 2 * N * 4);
        operand(s, f, "y", &o->gate.y, M * N * 4);
        break;
    case OP_RESIDUAL:
        o->residual = (op_residual){.n = N, .ld_h = N, .ld_y = N};
        operand(s, f, "h", &o->residual.h, M * N * 4);
        operand(s, f, "y", &o->residual.y, M * N * 4);
        break;
    case OP_GATHER:
        o->gather = (op_gather){.n = N, .ld_x = N, .ld_y = N};
        operand(s, f, "x", &o->gather.x, N * 4);
        operand(s, f, "index", &o->gather.index, M * 4);
        operand(s, f, "y", &o->gather.y, M * N * 4);
        break;
    case OP_TOP_K:
        o->top_k = (op_top_k){.n = N, .ld_x = N, .k = 5};
        operand(s, f, "x", &o->top_k.x, M * N * 4);
        operand(s, f, "ids", &o->top_k.ids, M * 5 * 4);
        operand(s, f, "values", &o->top_k.values, M * 5 * 4);
        break;
    case OP_INT_MM:
        o->int_mm = (op_int_mm){.w = sample_integer(f), .ld_y = 4, .check_finite = true};
        quantized_operands(s, f, &o->int_mm.x, true);
        operand(s, f, "y", &o->int_mm.y, M * 4 * 4);
        break;
    case OP_RESCORE:
        o->rescore = (op_rescore){.w = sample_dense(f), .ld_x = N, .ld_y = 4, .k = 6};
        operand(s, f, "x", &o->rescore.x, M * N * 4);
        operand(s, f, "ids", &o->rescore.ids, M * 6 * 4);
        operand(s, f, "y", &o->rescore.y, M * 4 * 4);
        break;
    case OP_ADVANCE:
        o->advance = (op_advance){.ld_chosen = 2, .n_ids = 4, .n_log = 16};
        operand(s, f, "chosen", &o->advance.chosen, (2 * M - 1) * 4);
        operand(s, f, "ids", &o->advance.ids, M * 4);
        operand(s, f, "position", &o->advance.position, M * 4);
        operand(s, f, "log", &o->advance.log, M * 16 * 2 * 4);
        break;
    case OP_DENSE_TOP_K:
        o->dense_top_k = (op_dense_top_k){.w = sample_dense(f), .n = 3, .ld_x = N, .k = 3};
        operand(s, f, "x", &o->dense_top_k.x, M * N * 4);
        operand(s, f, "ids", &o->dense_top_k.ids, M * 3 * 4);
        operand(s, f, "values", &o->dense_top_k.values, M * 3 * 4);
        break;
    case OP_BLAS_MM:
    case OP_BLAS_INT_MM:
    case OP_FAST_ATTENTION:
    case OP_N_KINDS: break;
    }
}

static void make_gated(sample *s, fixture *f, weights *w)
{
    make_sample(s, f, OP_TERNARY_MM);
    s->o.ternary_mm.w = w;
    s->o.ternary_mm.epilogue = EPILOGUE_SILU;
}

static void expect_refused(fixture *f, const op *o, const char *operand_name)
{
    tern_error err = {0};
    char part[40];
    snprintf(part, sizeof part, "operand %s", operand_name);
    expect_error(B->enqueue(f->stream, o, &err), TERN_INVALID_ARGUMENT, &err, part);
    assert_int_equal(strncmp(err.message, op_kind_name(o->kind), strlen(op_kind_name(o->kind))), 0);
}

static void test_every_operand_is_checked(void **state)
{
    fixture *f = *state;
    for (int kind = 0; op_has_defined_bits((op_kind)kind); kind++) {
        sample s;
        tern_error err = {0};
        make_sample(&s, f, (op_kind)kind);
        if (B->enqueue(f->stream, &s.o, &err) != TERN_OK) fail_msg("valid op: %s", err.message);
        for (size_t i = 0; i < s.n_operands; i++) {
            view *v = s.operands[i].v, good = *v;
            const char *name = s.operands[i].name;
            if (strcmp(name, "lo_codes") != 0 || kind != OP_TERNARY_MM) { // there, absence means one term
                *v = (view){0};
                expect_refused(f, &s.o, name);
            }
            *v = (view){good.buffer, strcmp(name, "flag") == 0 ? 2 : 4};
            expect_refused(f, &s.o, name);
            *v = (view){good.buffer, 64}; // past the end, or too little left
            if (good.buffer->n_bytes < 64 || kind != OP_GATHER || strcmp(name, "x") != 0) expect_refused(f, &s.o, name);
            *v = good;
            good.buffer->n_bytes--; // one byte short, then back
            expect_refused(f, &s.o, name);
            good.buffer->n_bytes++;
            assert_int_equal(B->enqueue(f->stream, &s.o, NULL), TERN_OK);
        }
    }
}

static void test_every_index_is_checked(void **state)
{
    fixture *f = *state;
    const struct {
        op_kind kind;
        const char *operand, *part;
        int32_t good, bad;
    } cases[] = {
        {OP_EMBED, "ids", "ids[2]", 3, 4},
        {OP_EMBED, "ids", "ids[2]", 0, -1},
        {OP_RESCORE, "ids", "ids[0][2] is 4, the weights have 4 rows", 3, 4},
        {OP_RESCORE, "ids", "ids[0][2] is -1", 0, -1},
        {OP_GATHER, "index", "index[2]", 0, 1},
        {OP_GATHER, "index", "index[2]", 0, -1},
        {OP_ROPE_KV, "row_position", "position 64", 0, 64},
        {OP_ROPE_KV, "row_position", "position -1", 0, -1},
        {OP_ROPE_KV, "row_position", "operand rope", 0, 1},
        {OP_ROPE_KV, "row_table", "table 1", 0, 1},
        {OP_ATTENTION, "row_table", "table -1", 0, -1},
        {OP_ATTENTION, "row_position", "position 64", 63, 64},
        {OP_ADVANCE, "position", "position[2]", 0, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sample s;
        make_sample(&s, f, cases[i].kind);
        for (size_t j = 0; j < s.n_operands; j++) {
            if (strcmp(s.operands[j].name, cases[i].operand) != 0) continue;
            int32_t *last = (int32_t *)cpu_at(*s.operands[j].v) + M - 1;
            tern_error err = {0};
            *last = cases[i].good;
            assert_int_equal(B->enqueue(f->stream, &s.o, NULL), TERN_OK);
            *last = cases[i].bad;
            expect_error(B->enqueue(f->stream, &s.o, &err), TERN_INVALID_ARGUMENT, &err, cases[i].part);
        }
    }
    sample s;
    make_sample(&s, f, OP_ATTENTION);
    tern_error err = {0};
    *(int32_t *)cpu_at(s.o.attention.rows.tables) = 2;
    expect_error(B->enqueue(f->stream, &s.o, &err), TERN_INVALID_ARGUMENT, &err, "block 2");

    // Weights of another device.
    device *other = NULL;
    assert_int_equal(B->device_open(1, NULL, &other, NULL), TERN_OK);
    make_sample(&s, f, OP_DENSE_MM);
    ((weights *)(uintptr_t)s.o.dense_mm.w)->device = other;
    error_clear(&err);
    expect_error(B->enqueue(f->stream, &s.o, &err), TERN_INVALID_ARGUMENT, &err, "another device");
    ((weights *)(uintptr_t)s.o.dense_mm.w)->device = f->device;
    B->device_close(other);
}

static void refuse(fixture *f, op o, const char *part)
{
    const char *reason = NULL;
    tern_error err = {0};
    assert_false(B->supports(f->device, &o, &reason));
    assert_non_null(reason);
    if (strstr(reason, part) == NULL) fail_msg("\"%s\" does not mention \"%s\"", reason, part);
    expect_error(B->enqueue(f->stream, &o, &err), TERN_DEVICE_UNSUPPORTED, &err, reason);
}

#define REFUSE(kind, change, part)                                                                                     \
    do {                                                                                                               \
        sample s;                                                                                                      \
        make_sample(&s, f, kind);                                                                                      \
        s.o.change;                                                                                                    \
        refuse(f, s.o, part);                                                                                          \
    } while (0)

static void test_supports(void **state)
{
    fixture *f = *state;
    for (int kind = 0; op_has_defined_bits((op_kind)kind); kind++) { // shapes alone: buffers may be missing
        sample s;
        const char *reason = NULL;
        make_sample(&s, f, (op_kind)kind);
        for (size_t i = 0; i < s.n_operands; i++) *s.operands[i].v = (view){0};
        assert_true(B->supports(f->device, &s.o, &reason));
        s.o.m = 0;
        assert_false(B->supports(f->device, &s.o, &reason));
    }
    REFUSE(OP_EMBED, embed.table = NULL, "table");
    REFUSE(OP_EMBED, embed.ld_y = N - 1, "stride");
    REFUSE(OP_NORM, norm.n = 0, "at least one");
    REFUSE(OP_NORM, norm.ld_x = N - 1, "stride");
    REFUSE(OP_NORM, norm.eps = 0, "epsilon");
    REFUSE(OP_HEAD_NORM, head_norm.n_heads = 3, "stride");
    REFUSE(OP_NORM_QUANT, norm_quant.y.ld = N + 1, "64");
    REFUSE(OP_QUANT, quant.y.ld = 0, "64");
    REFUSE(OP_QUANT, quant.y.ld = 1u << 30, "too long");
    REFUSE(OP_QUANT, quant.n = N + 1, "stride");
    REFUSE(OP_TERNARY_MM, ternary_mm.w = NULL, "missing");
    REFUSE(OP_TERNARY_MM, ternary_mm.w = sample_dense(f), "dense_mm");
    REFUSE(OP_TERNARY_MM, ternary_mm.x.ld = 32, "64");
    REFUSE(OP_TERNARY_MM, ternary_mm.w = sample_ternary(f, TERNARY_T80), "rounded up to 320");
    REFUSE(OP_TERNARY_MM, ternary_mm.epilogue = EPILOGUE_RELU2, "whole tiles of 16 rows");
    sample gated;
    make_gated(&gated, f, sample_gated(f, 16));
    refuse(f, gated.o, "one scale along the columns");
    make_gated(&gated, f, sample_gated(f, 0));
    gated.o.ternary_mm.ld_y = 7;
    refuse(f, gated.o, "stride");
    gated.o.ternary_mm.ld_y = 8; // half of the rows: y is as large as that of 8 rows
    fixture_run(f, gated.o);
    REFUSE(OP_DENSE_MM, dense_mm.w = NULL, "missing");
    REFUSE(OP_DENSE_MM, dense_mm.ld_y = 3, "stride");
    REFUSE(OP_DENSE_MM, dense_mm.w = sample_integer(f), "int_mm");
    REFUSE(OP_INT_MM, int_mm.w = NULL, "missing");
    REFUSE(OP_INT_MM, int_mm.w = sample_dense(f), "INT8");
    REFUSE(OP_INT_MM, int_mm.x.ld = 32, "64");
    REFUSE(OP_INT_MM, int_mm.ld_y = 3, "stride");
    REFUSE(OP_RESCORE, rescore.w = NULL, "missing");
    REFUSE(OP_RESCORE, rescore.k = 0, "256");
    REFUSE(OP_RESCORE, rescore.k = TOP_K_MAX + 1, "256");
    REFUSE(OP_RESCORE, m = INT32_MAX, "2147483647 ids");
    REFUSE(OP_RESCORE, rescore.ld_x = N - 1, "stride");
    REFUSE(OP_RESCORE, rescore.ld_y = 3, "stride");
    REFUSE(OP_ROPE_KV, rope_kv.n_dims = 7, "even");
    REFUSE(OP_ROPE_KV, rope_kv.n_dims = 10, "head dimension");
    REFUSE(OP_ROPE_KV, rope_kv.ld_x = 31, "stride");
    REFUSE(OP_ROPE_KV, rope_kv.cache.k_type = 4, "KV type");
    REFUSE(OP_ROPE_KV, rope_kv.rows.table_ld = 0, "table");
    REFUSE(OP_ATTENTION, attention.cache.head_dim = 7, "even");
    REFUSE(OP_ATTENTION, attention.cache.head_dim = 2 * OP_MAX_HEAD_DIM, "1024");
    REFUSE(OP_ATTENTION, attention.cache.n_kv_heads = 3, "multiple");
    REFUSE(OP_ATTENTION, attention.cache.n_kv_heads = 0, "multiple");
    REFUSE(OP_ATTENTION, attention.cache.n_blocks = 0, "blocks");
    REFUSE(OP_ATTENTION, attention.ld_y = 15, "stride");
    REFUSE(OP_GATE, gate.ld_x = 2 * N - 1, "stride");
    REFUSE(OP_RESIDUAL, residual.ld_h = N - 1, "stride");
    REFUSE(OP_GATHER, gather.ld_y = N - 1, "stride");
    REFUSE(OP_TOP_K, top_k.k = 0, "256");
    REFUSE(OP_TOP_K, top_k.k = TOP_K_MAX + 1, "256");
    REFUSE(OP_TOP_K, top_k.n = 4, "more values");
    REFUSE(OP_DENSE_TOP_K, dense_top_k.w = NULL, "missing");
    REFUSE(OP_DENSE_TOP_K, dense_top_k.w = sample_integer(f), "INT8");
    REFUSE(OP_DENSE_TOP_K, dense_top_k.k = 0, "256");
    REFUSE(OP_DENSE_TOP_K, dense_top_k.k = 4, "more values");
    REFUSE(OP_DENSE_TOP_K, dense_top_k.n = 5, "no more rows");
    REFUSE(OP_DENSE_TOP_K, dense_top_k.ld_x = N - 1, "stride");
    REFUSE(OP_ADVANCE, advance.n_ids = 0, "vocabulary");
    REFUSE(OP_ADVANCE, advance.n_log = 0, "at least one");
    REFUSE(OP_ADVANCE, advance.ld_chosen = 0, "stride");
    REFUSE(OP_NORM, kind = OP_N_KINDS, "no such op");
    REFUSE(OP_DENSE_MM, kind = OP_BLAS_MM, "no BLAS library");
    REFUSE(OP_INT_MM, kind = OP_BLAS_INT_MM, "no BLAS library");
    REFUSE(OP_ATTENTION, kind = OP_FAST_ATTENTION, "tensor cores");
}

// ---- floating-point environment

#if defined(__x86_64__)
static void test_caller_environment_does_not_matter(void **state)
{
    fixture *f = *state;
    view h = PUT_FLOATS(f, 0x1p-130f, 1.0f), y = PUT_FLOATS(f, 0x1p-130f, 0x1p-24f);
    op o = {.kind = OP_RESIDUAL, .m = 1, .residual = {.h = h, .y = y, .n = 2, .ld_h = 2, .ld_y = 2}};
    unsigned before = _mm_getcsr(), hostile = 0x1f80 | 0x8040 | 0x4000; // flush to zero, denormals are zero, round up
    _mm_setcsr(hostile);
    tern_status status = B->enqueue(f->stream, &o, NULL);
    unsigned after = _mm_getcsr();
    _mm_setcsr(before);
    assert_int_equal(status, TERN_OK);
    assert_int_equal(after & 0xffc0, hostile & 0xffc0);
    assert_true(fixture_floats(h)[0] == 0x1p-129f && fixture_floats(h)[1] == 1.0f);
}
#endif

#define WITH_DEVICE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices),
        WITH_DEVICE(test_buffers_streams_events),
        WITH_DEVICE(test_weights_round_trip),
        WITH_DEVICE(test_weights_refusals),
        WITH_DEVICE(test_every_operand_is_checked),
        WITH_DEVICE(test_every_index_is_checked),
        WITH_DEVICE(test_supports),
#if defined(__x86_64__)
        WITH_DEVICE(test_caller_environment_does_not_matter),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
