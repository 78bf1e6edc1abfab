// The fast CPU ops against the reference ops: the same bytes for every shape, table of kernels and number of threads.
// Outputs start as NaN bytes and are compared whole, so that a value written outside its place is a difference too.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu.h"
#include "fast.h"
#include "half.h"
#include "kernels.h"
#include "reference.h"
#include "rng.h"
#include "team.h"

#define PLACE       0x1234u
#define MAX_OUTPUTS 6

static const uint32_t rows_list[] = {1, 2, 3, 4, 5, 7, 8, 15, 17, 33, 64};
static const int threads_list[] = {1, 2, 3};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static team *teams[COUNT(threads_list)];

// ---- operands ----

// Everything a case allocates, freed at its end.
static void *owned[64];
static size_t n_owned;

static void *own(size_t n_bytes)
{
    assert_true(n_owned < COUNT(owned));
    void *p = NULL;
    assert_int_equal(posix_memalign(&p, 64, n_bytes + 64), 0);
    return owned[n_owned++] = p;
}

static void free_owned(void)
{
    while (n_owned > 0) free(owned[--n_owned]);
}

static view make_view(size_t n_bytes)
{
    buffer *b = own(sizeof *b);
    b->n_bytes = n_bytes;
    b->data = own(n_bytes);
    memset(b->data, 0xff, n_bytes);
    return (view){b, 0};
}

static uint64_t seed = 1;

// Values of both signs whose magnitudes span 2^-6 .. 2^5, so that orders of summation show.
static float value(uint64_t i)
{
    uint64_t r = rng_u64(seed, i);
    float x = (float)(int32_t)(r >> 32) * 0x1p-31f;
    return x * scalar_as_float((uint32_t)(127 - 6 + r % 12) << 23);
}

static view floats(size_t n)
{
    view v = make_view(n * sizeof(float));
    seed++;
    for (size_t i = 0; i < n; i++) ((float *)cpu_at(v))[i] = value(i);
    return v;
}

static view int32s(const int32_t *values, size_t n)
{
    view v = make_view(n * sizeof(int32_t));
    memcpy(cpu_at(v), values, n * sizeof(int32_t));
    return v;
}

static uint32_t padded(uint32_t n) { return (n + 63) / 64 * 64; }

// Rows of codes for m tokens; `extreme`: all of them 127 or -127, by row.
static quantized quantized_rows(uint32_t m, uint32_t n, bool is_two_term, bool extreme)
{
    quantized q = {.ld = quantized_ld(n)};
    view *codes[2] = {&q.codes, &q.lo_codes}, *scales[2] = {&q.scale, &q.lo_scale}, *sums[2] = {&q.sum, &q.lo_sum};
    for (int term = 0; term < (is_two_term ? 2 : 1); term++) {
        *codes[term] = make_view((size_t)m * q.ld);
        *scales[term] = floats(m);
        *sums[term] = make_view(m * sizeof(int32_t));
        for (uint32_t r = 0; r < m; r++) {
            int32_t sum = 0;
            int8_t *row = (int8_t *)cpu_at(*codes[term]) + (size_t)r * q.ld;
            for (uint32_t c = 0; c < q.ld; c++) {
                int code = extreme ? (r % 2 == 0 ? 127 : -127)
                                   : (int)(rng_u64(seed, (uint64_t)r << 32 | c) % 255) - 127;
                row[c] = (int8_t)(c < n ? code : 0);
                sum += row[c];
            }
            ((int32_t *)cpu_at(*sums[term]))[r] = sum;
        }
    }
    return q;
}

// n_sets: 1 tensor, n_rows per row, else row ranges. constant_code < 0: random codes.
static weights *ternary_weights(ternary_layout layout, uint32_t n_rows, uint32_t n_cols, uint32_t n_sets,
                                uint32_t group, int constant_code)
{
    weights *w = own(sizeof *w);
    memset(w, 0, sizeof *w);
    w->n_rows = n_rows;
    w->n_cols = n_cols;
    w->is_ternary = true;
    w->layout = layout;
    w->n_bytes = (size_t)ternary_packed_bytes(layout, n_rows, n_cols);
    w->row_bytes = ternary_row_bytes(n_cols);
    w->data = own(w->n_bytes);
    memset(w->data, ternary_zero_byte(layout), w->n_bytes);
    uint8_t *row = own(ternary_row_bytes(n_cols));
    seed++;
    for (uint32_t r = 0; r < n_rows; r++) {
        for (size_t b = 0; b < ternary_row_bytes(n_cols); b++) {
            uint32_t random = (uint32_t)rng_u64(seed, (uint64_t)r << 32 | b);
            row[b] = 0;
            for (uint32_t i = 0; i < 4; i++, random /= 3)
                row[b] |= (uint8_t)((constant_code >= 0 ? (uint32_t)constant_code : random % 3) << (2 * i));
        }
        ternary_pad_row(row, n_cols);
        ternary_pack_rows(layout, w->data, n_rows, n_cols, r, 1, row);
    }
    bool has_ranges = n_sets != 1 && n_sets != n_rows;
    assert_int_equal(ternary_scale_create(n_sets, has_ranges, group, n_cols, &w->scale, NULL), TERN_OK);
    for (uint32_t s = 0; has_ranges && s < n_sets; s++) w->scale.set_begin[s] = s * n_rows / n_sets;
    for (size_t i = 0; i < (size_t)n_sets * w->scale.n_groups; i++) w->scale.values[i] = value(i);
    return w;
}

static weights *dense_weights(dense_type type, uint32_t n_rows, uint32_t n_cols)
{
    weights *w = own(sizeof *w);
    memset(w, 0, sizeof *w);
    w->n_rows = n_rows;
    w->n_cols = n_cols;
    w->type = type;
    w->row_bytes = dense_row_bytes(type, n_cols);
    w->n_bytes = n_rows * w->row_bytes;
    w->data = own(w->n_bytes);
    seed++;
    for (size_t i = 0; i < w->n_bytes; i++) w->data[i] = (uint8_t)rng_u64(seed, i);
    // Random bytes, but with scales (or the values themselves) that are finite: the exponent's top bit is cleared.
    if (dense_is_integer(type)) {
        size_t tail = dense_column_offset(type, n_cols);
        for (uint32_t r = 0; r < n_rows; r++)
            for (size_t i = tail + (type == DENSE_INT8 ? 3 : 1); i < w->row_bytes; i += type == DENSE_INT8 ? 4 : 2)
                w->data[r * w->row_bytes + i] &= 0xbf;
        return w;
    }
    uint32_t block_bytes = dense_formats[type].block_bytes;
    for (size_t b = 0; b < w->n_bytes / block_bytes; b++) {
        uint8_t *block = w->data + b * block_bytes;
        if (type == DENSE_F32) {
            float x = value(b);
            memcpy(block, &x, sizeof x);
        } else if (type == DENSE_BF16) {
            block[1] = (uint8_t)((block[1] & 0x80) | 0x3f);
        } else if (type == DENSE_Q6_K) {
            block[209] &= 0xbf;
        } else {
            block[1] &= 0xbf;
            if (type == DENSE_Q4_K || type == DENSE_Q5_K) block[3] &= 0xbf;
        }
    }
    return w;
}

static void free_scale(weights *w) { ternary_scale_free(&w->scale); }

// ---- comparison ----

// ---- tables ----

#define MAX_TABLES (CPU_MAX_KERNELS + 1)

#if defined(HAS_EMULATED_AVX_VNNI)
void refine_emulated_avx_vnni(cpu_kernels *k); // emulated_avx_vnni.c
#endif

static size_t list_tables(const cpu_kernels *out[MAX_TABLES])
{
    size_t n = cpu_kernels_list(out);
#if defined(HAS_EMULATED_AVX_VNNI)
    static cpu_kernels emulated;
    if (n > 1) { // AVX2 runs here
        emulated = cpu_kernels_avx2;
        refine_emulated_avx_vnni(&emulated);
        out[n++] = &emulated;
    }
#endif
    return n;
}

static uint32_t *flag_word;

static op make_op(op_kind kind, uint32_t m)
{
    op o;
    memset(&o, 0, sizeof o);
    o.kind = kind;
    o.m = m;
    o.place = PLACE;
    o.flag = make_view(sizeof(uint32_t));
    flag_word = cpu_at(o.flag);
    return o;
}

// Runs the reference, then every variant from the same start, and compares all output buffers. expect_flag: only the
// flag word is defined, and it must have been lowered.
static void compare(const op *o, const view *outputs, size_t n_outputs, bool expect_flag)
{
    uint8_t *start[MAX_OUTPUTS], *want[MAX_OUTPUTS];
    for (size_t i = 0; i < n_outputs; i++) {
        const buffer *b = outputs[i].buffer;
        start[i] = own(b->n_bytes);
        want[i] = own(b->n_bytes);
        memcpy(start[i], b->data, b->n_bytes);
    }
    device reference = {.is_reference = true, .n_threads = 1, .scratch = own(1 << 21), .scratch_bytes = 1 << 21};
    *flag_word = UINT32_MAX;
    cpu_reference_ops[o->kind](&reference, o);
    uint32_t want_flag = *flag_word;
    assert_int_equal(want_flag, expect_flag ? PLACE : UINT32_MAX);
    for (size_t i = 0; i < n_outputs; i++) memcpy(want[i], outputs[i].buffer->data, outputs[i].buffer->n_bytes);

    const cpu_kernels *list[MAX_TABLES];
    size_t n_tables = list_tables(list);
    for (size_t t = 0; t < n_tables; t++)
        for (size_t n = 0; n < COUNT(threads_list); n++) {
            for (size_t i = 0; i < n_outputs; i++)
                memcpy(outputs[i].buffer->data, start[i], outputs[i].buffer->n_bytes);
            *flag_word = UINT32_MAX;
            device fast = {.n_threads = threads_list[n], .kernels = list[t], .team = teams[n]};
            cpu_fast_ops[o->kind](&fast, o);
            if (*flag_word != want_flag) fail_msg("%s, %d threads: flag %x", list[t]->name, fast.n_threads, *flag_word);
            for (size_t i = 0; i < n_outputs && !expect_flag; i++)
                for (size_t b = 0; b < outputs[i].buffer->n_bytes; b++)
                    if (outputs[i].buffer->data[b] != want[i][b])
                        fail_msg("%s, %s, m %u, %d threads: output %zu differs at byte %zu of %zu",
                                 op_kind_name(o->kind), list[t]->name, o->m, fast.n_threads, i, b,
                                 outputs[i].buffer->n_bytes);
        }
}

// ---- ternary_mm ----

static void case_ternary(ternary_layout layout, uint32_t m, uint32_t n_rows, uint32_t n_cols, uint32_t n_sets,
                         uint32_t group, bool is_two_term, int constant_code)
{
    op o = make_op(OP_TERNARY_MM, m);
    weights *w = ternary_weights(layout, n_rows, n_cols, n_sets, group, constant_code);
    uint32_t ld_y = n_rows + 3;
    o.ternary_mm = (op_ternary_mm){.w = w,
                                   .x = quantized_rows(m, n_cols, is_two_term, constant_code >= 0),
                                   .y = make_view((size_t)m * ld_y * sizeof(float)),
                                   .ld_y = ld_y};
    compare(&o, &o.ternary_mm.y, 1, false);
    free_scale(w);
    free_owned();
}

static void ternary_one_scale(void **state)
{
    (void)state;
    static const uint32_t shapes[][2] = {{1, 1},    {16, 64},   {17, 65},   {33, 192},
                                         {70, 256}, {129, 320}, {50, 1000}, {96, 2112}};
    for (ternary_layout l = TERNARY_T64; l < TERNARY_N_LAYOUTS; l++)
        for (size_t i = 0; i < COUNT(shapes); i++)
            for (size_t r = 0; r < COUNT(rows_list); r++) {
                uint32_t n = shapes[i][0], k = shapes[i][1];
                case_ternary(l, rows_list[r], n, k, 1, 0, r % 2 == 1, -1);
                case_ternary(l, rows_list[r], n, k, n, 0, r % 2 == 0, -1);
                if (n > 3) case_ternary(l, rows_list[r], n, k, 3, 0, r % 3 == 0, -1);
            }
}

static void ternary_groups(void **state)
{
    (void)state;
    static const uint32_t shapes[][3] = {{17, 128, 64},   {33, 320, 64},   {16, 576, 192}, {40, 1000, 128},
                                         {32, 2304, 768}, {20, 2112, 128}, {18, 200, 40},  {16, 130, 100}};
    for (size_t i = 0; i < COUNT(shapes); i++)
        for (size_t r = 0; r < COUNT(rows_list); r++) {
            uint32_t n = shapes[i][0], k = shapes[i][1], group = shapes[i][2];
            case_ternary(TERNARY_T64, rows_list[r], n, k, n, group, false, -1);
            case_ternary(TERNARY_T64, rows_list[r], n, k, r % 2 == 0 ? 1 : 2, group, true, -1);
        }
}

// K longer than what a worker holds at once, for 1, 2, 4 and 8 columns.
static void ternary_long(void **state)
{
    (void)state;
    for (uint32_t m = 1; m <= 8; m += m) {
        case_ternary(TERNARY_T64, m, 81, 17000, 81, 0, false, -1);
        case_ternary(TERNARY_T80, m, 81, 17000, 81, 0, false, -1);
        case_ternary(TERNARY_T64, m, 20, 16448, 1, 192, m == 4, -1);
    }
}

// Every code 2 or 0 and every activation 127 or -127: the largest sums there are must not wrap an int16 accumulator.
static void ternary_worst_case(void **state)
{
    (void)state;
    for (int code = 0; code <= 2; code += 2)
        for (uint32_t m = 1; m <= 8; m++) {
            case_ternary(TERNARY_T64, m, 16, 20480, 1, 0, false, code);
            case_ternary(TERNARY_T80, m, 16, 20480, 1, 0, m % 2 == 0, code);
            case_ternary(TERNARY_T64, m, 16, 8256, 1, 4096, true, code);
        }
}

// ---- dense_mm, embed ----

static void case_dense(weights *w, uint32_t m)
{
    op o = make_op(OP_DENSE_MM, m);
    uint32_t ld_x = padded(w->n_cols), ld_y = w->n_rows + 5;
    o.dense_mm = (op_dense_mm){.w = w,
                               .x = floats((size_t)m * ld_x),
                               .y = make_view((size_t)m * ld_y * sizeof(float)),
                               .ld_x = ld_x,
                               .ld_y = ld_y,
                               .check_finite = true};
    compare(&o, &o.dense_mm.y, 1, false);
    if (m == 3) { // a NaN in one row is seen
        ((float *)cpu_at(o.dense_mm.x))[ld_x] = scalar_as_float(0x7fc00000u);
        compare(&o, &o.dense_mm.y, 1, true);
    }
    free_scale(w);
    free_owned();
}

static void dense_types(void **state)
{
    (void)state;
    for (int type = 0; type < DENSE_N_FILE_TYPES; type++) {
        uint32_t block = dense_formats[type].block;
        uint32_t cols[] = {block, 3 * block, 256, 2048 + 256, block == 1 ? 67 : 768, block == 1 ? 2050 : 2304};
        for (size_t c = 0; c < COUNT(cols); c++)
            for (size_t r = 0; r < COUNT(rows_list); r++)
                case_dense(dense_weights((dense_type)type, c % 2 == 0 ? 13 : 40, cols[c]), rows_list[r]);
    }
}

// Blocks of Q6_K where a short cut could show: zeros of either sign, the smallest and the largest scales, an infinite
// one. x: ordinary; zeros in some of the 64 sums; all -0; products that underflow; a value near the limit of floats.
static void q6k_limits(void **state)
{
    (void)state;
    enum { ROWS = 6, COLS = 512 };
    static const uint16_t d[ROWS] = {0x2e66, 0xae66, 0x0001, 0x7bff, 0x8001, 0x7c00};
    for (int kind = 0; kind < 5; kind++) {
        weights *w = dense_weights(DENSE_Q6_K, ROWS, COLS);
        for (size_t b = 0; b < ROWS * COLS / 256; b++) {
            uint8_t *block = w->data + 210 * b;
            size_t row = b / (COLS / 256);
            memcpy(block + 208, &d[row], sizeof d[row]);
            if (row == 1) { // codes 32: zeros
                memset(block, 0x00, 128);
                memset(block + 128, 0xaa, 64);
            }
            if (row == 3) memset(block + 192, 0x80, 16); // scales -128
            if (row == 4) { // codes 33, then 32, scales 1: a product that underflows to -0, then zeros of that sign
                memset(block, b % 2 == 0 ? 0x11 : 0x00, 128);
                memset(block + 128, 0xaa, 64);
                memset(block + 192, 1, 16);
            }
            if (row == 5) { // codes 63, scales 1
                memset(block, 0xff, 192);
                memset(block + 192, 1, 16);
            }
        }
        view x = floats(COLS);
        float *values = cpu_at(x);
        for (uint32_t i = 0; i < COLS; i++) {
            if (kind == 1 && i % 64 % 7 == 3) values[i] = i % 128 < 64 ? -0.0f : 0.0f;
            if (kind == 2) values[i] = -0.0f;
            if (kind == 3) values[i] = fabsf(values[i]) * 0x1p-140f;
            if (kind == 4 && i == 77) values[i] = 0x1.8p100f;
            if (kind == 0 || kind == 4) values[i] = fabsf(values[i]);
        }
        op o = make_op(OP_DENSE_MM, 1);
        o.dense_mm = (op_dense_mm){.w = w, .x = x, .y = make_view(ROWS * sizeof(float)), .ld_x = COLS, .ld_y = ROWS};
        // An infinite scale times zeros is a NaN, whose sign is nobody's business.
        if (kind != 0 && kind != 4) w->n_rows = ROWS - 1;
        compare(&o, &o.dense_mm.y, 1, false);
        free_scale(w);
        free_owned();
    }
}

// ---- the best rows ----

static void set_scales(weights *w, uint32_t n_rows, uint16_t d)
{
    for (uint8_t *block = w->data; block < w->data + n_rows * w->row_bytes; block += 210)
        memcpy(block + 208, &d, sizeof d);
}

// Row 0 of w against x: every element where the rest that x leaves behind its codes is positive gets the largest code,
// others the smallest, all with the largest scale. So the product is as far above that of the codes as can be.
static void turn_against(weights *w, const float *x, const q6k_screen *screen)
{
    for (uint32_t b = 0; b < w->n_cols / 256; b++) {
        uint8_t *block = w->data + 210 * (size_t)b;
        memset(block, 0, 192);
        memset(block + 192, 127, 16);
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t s = i / 16, half = i / 128, span = i % 128 / 32, at = i % 32;
            float code = screen->codes[b][32 * (s % 8) + 16 * (s / 8) + i % 16];
            if (x[256 * b + i] - code * screen->scale[b][0] <= 0.0f) continue;
            block[64 * half + 32 * (span % 2) + at] |= (uint8_t)(span < 2 ? 0x0f : 0xf0);
            block[128 + 32 * half + at] |= (uint8_t)(3 << 2 * span);
        }
    }
}

// No product is above its bound, and bounds are no further than twice the error that codes of x can make.
static void q6k_bounds(void **state)
{
    (void)state;
    enum { ROWS = 64 };
    static const uint32_t cols[] = {256, 2560, 8192};
    const cpu_kernels *list[MAX_TABLES];
    size_t n_tables = list_tables(list), n_checked = 0;
    device reference = {.is_reference = true, .n_threads = 1};
    for (size_t c = 0; c < 3 * COUNT(cols); c++) {
        uint32_t n = cols[c / 3];
        weights *w = dense_weights(DENSE_Q6_K, ROWS, n);
        set_scales(w, c % 3 == 0 ? ROWS : 1, 0x2e66);
        view x = floats(n);
        float *values = cpu_at(x), *row = own(n * sizeof *row), error = 0.0f;
        if (c % 3 == 1) values[n / 3] = 1000.0f;
        static q6k_screen screen;
        assert_true(fast_screen_operand(list[0], values, n, &screen));
        turn_against(w, values, &screen);
        for (uint32_t i = 0; i < n; i++) error += 0.5f * screen.scale[i / 256][0];
        for (size_t t = 0; t < n_tables; t++)
            for (uint32_t r = 0; r < ROWS && list[t]->q6k_upper != NULL; r += DENSE_ROWS) {
                const uint8_t *rows[DENSE_ROWS];
                float upper[DENSE_ROWS];
                for (uint32_t i = 0; i < DENSE_ROWS; i++) rows[i] = w->data + (r + i) * w->row_bytes;
                list[t]->q6k_upper(rows, &screen, n, upper);
                for (uint32_t i = 0; i < DENSE_ROWS; i++, n_checked++) {
                    float most = 0.0f, product;
                    reference_weight_row(&reference, w, r + i, row);
                    product = reference_dot64(row, values, n);
                    for (uint32_t j = 0; j < n; j++) most = fabsf(row[j]) > most ? fabsf(row[j]) : most;
                    if (!(upper[i] >= product)) fail_msg("%s: %a above %a", list[t]->name, product, upper[i]);
                    assert_true(upper[i] - product <= 2.1f * most * error);
                    if (r + i == 0) assert_true(upper[i] - product <= 0.05f * most * error);
                }
            }
        free_scale(w);
        free_owned();
    }
    if (n_checked == 0) print_message("no table here has bounds of Q6_K rows\n");
}

static atomic_size_t n_dots;
static void (*whole_q6k_dot)(const uint8_t *row, const float *x, const float *operand, uint32_t n, float acc[64]);

static void count_q6k_dot(const uint8_t *row, const float *x, const float *operand, uint32_t n, float acc[64])
{
    atomic_fetch_add(&n_dots, 1);
    whole_q6k_dot(row, x, operand, n, acc);
}

// Few rows are multiplied: not those whose bound is too low.
static void few_rows_are_multiplied(void **state)
{
    (void)state;
    enum { ROWS = 4000, COLS = 1024 };
    const cpu_kernels *list[MAX_TABLES];
    size_t n_tables = list_tables(list);
    weights *w = dense_weights(DENSE_Q6_K, ROWS, COLS);
    set_scales(w, ROWS, 0x2e66);
    op o = make_op(OP_DENSE_TOP_K, 1);
    o.dense_top_k = (op_dense_top_k){w, floats(COLS), make_view(4), make_view(4), ROWS, COLS, 1};
    for (size_t t = 0; t < n_tables; t++) {
        cpu_kernels counted = *list[t];
        if (counted.q6k_upper == NULL) continue;
        whole_q6k_dot = counted.q6k_dot;
        counted.q6k_dot = count_q6k_dot;
        device d = {.n_threads = 1, .kernels = &counted};
        n_dots = 0;
        cpu_fast_ops[OP_DENSE_TOP_K](&d, &o);
        assert_in_range(n_dots, 1, ROWS / 8);
    }
    free_scale(w);
    free_owned();
}

// x: ordinary; zeros, so that all products are the same; tiny and huge ones. Rows of one scale, of any, and one that
// is infinite or no number, which must lower the flag wherever it stands: in front, behind, among the rows that cannot
// be chosen.
static void best_rows(void **state)
{
    (void)state;
    enum { ROWS = 203, VALID = 190, COLS = 512 };
    static const uint32_t ks[] = {1, 5, VALID}, bad_rows[] = {0, 57, VALID - 1, ROWS - 1};
    for (int kind = 0; kind < 6; kind++)
        for (size_t i = 0; i < COUNT(ks); i++)
            for (size_t bad = 0; bad <= 2 * COUNT(bad_rows); bad++) {
                weights *w = dense_weights(DENSE_Q6_K, ROWS, COLS);
                if (kind % 2 == 0) set_scales(w, ROWS, 0x1e66);
                view x = floats(2 * COLS);
                float *values = cpu_at(x);
                for (uint32_t c = 0; c < 2 * COLS; c++) {
                    if (kind == 2) values[c] = c % 3 == 0 ? -0.0f : 0.0f;
                    if (kind == 3) values[c] *= 0x1p-140f;
                    if (kind == 4) values[c] *= 0x1p70f;
                    if (kind == 5 && c % 100 == 7) values[c] *= 5000.0f;
                }
                if (bad > 0) {
                    uint16_t d = bad % 2 == 0 ? 0x7c00 : 0xfe01;
                    uint8_t *row = w->data + bad_rows[(bad - 1) / 2] * w->row_bytes;
                    memcpy(row + 210 + 208, &d, sizeof d);
                }
                op o = make_op(OP_DENSE_TOP_K, 2);
                o.dense_top_k = (op_dense_top_k){w,    x,    make_view(2 * ks[i] * 4), make_view(2 * ks[i] * 4), VALID,
                                                 COLS, ks[i]};
                const view outputs[2] = {o.dense_top_k.ids, o.dense_top_k.values};
                compare(&o, outputs, 2, bad > 0);
                free_scale(w);
                free_owned();
            }
}

// ---- int_mm, and other weights ----

static void case_int(weights *w, uint32_t m)
{
    uint32_t ld_y = w->n_rows + 3;
    op o = make_op(OP_INT_MM, m);
    o.int_mm = (op_int_mm){.w = w,
                           .x = quantized_rows(m, w->n_cols, true, m == 4),
                           .y = make_view(m * ld_y * sizeof(float)),
                           .ld_y = ld_y,
                           .check_finite = true};
    compare(&o, &o.int_mm.y, 1, false);
    free_owned();
}

static void integer_types(void **state)
{
    (void)state;
    static const uint32_t cols[] = {64, 192, 512, 576, 1088, 2560, 64 * 131};
    for (int type = DENSE_INT8; type <= DENSE_INT4; type++)
        for (size_t c = 0; c < COUNT(cols); c++)
            for (uint32_t m = 1; m <= 10; m++) case_int(dense_weights((dense_type)type, 19, cols[c]), m);
}

static void dense_ternary(void **state)
{
    (void)state;
    for (size_t r = 0; r < COUNT(rows_list); r++) {
        case_dense(ternary_weights(TERNARY_T80, 21, 2200, 21, 0, -1), rows_list[r]);
        case_dense(ternary_weights(TERNARY_T64, 21, 2200, 21, 0, -1), rows_list[r]);
        case_dense(ternary_weights(TERNARY_T64, 9, 320, 1, 96, -1), rows_list[r]);
    }
}

static void embed(void **state)
{
    (void)state;
    for (int type = 0; type <= DENSE_N_TYPES; type++) {
        op o = make_op(OP_EMBED, 5);
        weights *w = type < DENSE_N_TYPES ? dense_weights((dense_type)type, 9, 512)
                                          : ternary_weights(TERNARY_T64, 9, 509, 9, 128, -1);
        const int32_t ids[5] = {8, 0, 3, 3, 7};
        o.embed = (op_embed){.table = w, .ids = int32s(ids, 5), .y = make_view(5 * 520 * sizeof(float)), .ld_y = 520};
        compare(&o, &o.embed.y, 1, false);
        free_scale(w);
        free_owned();
    }
}

// ---- norms and quantisation ----

static const uint32_t lengths[] = {1, 7, 64, 100, 255, 256, 257, 576, 1000, 2560};

// Rows of several kinds: ordinary, all zero, tiny, near overflow.
static view mixed_rows(uint32_t m, uint32_t ld)
{
    view v = floats((size_t)m * ld);
    static const float factors[] = {1.0f, 0.0f, 1e-9f, 1e15f, 1e-40f, 0.01f};
    for (uint32_t r = 0; r < m; r++)
        for (uint32_t i = 0; i < ld; i++) ((float *)cpu_at(v))[(size_t)r * ld + i] *= factors[r % COUNT(factors)];
    return v;
}

static void norms(void **state)
{
    (void)state;
    for (size_t l = 0; l < COUNT(lengths); l++)
        for (size_t r = 0; r < COUNT(rows_list); r++) {
            uint32_t n = lengths[l], m = rows_list[r], ld = n + 9;
            op o = make_op(OP_NORM, m);
            o.norm = (op_norm){mixed_rows(m, ld), floats(n), make_view((size_t)m * ld * 4), n, ld, ld, 1e-5f};
            compare(&o, &o.norm.y, 1, false);
            o.norm.y = o.norm.x; // in place
            compare(&o, &o.norm.y, 1, false);
            ((float *)cpu_at(o.norm.x))[(size_t)(m - 1) * ld + n - 1] = scalar_as_float(0xff800000u);
            compare(&o, &o.norm.y, 1, true);
            free_owned();

            o = make_op(OP_HEAD_NORM, m);
            o.head_norm = (op_head_norm){mixed_rows(m, 3 * n + 1), floats(n), 3, n, 3 * n + 1, 1e-6f};
            compare(&o, &o.head_norm.x, 1, false);
            free_owned();
        }
}

static quantized empty_rows(uint32_t m, uint32_t n, bool is_two_term)
{
    uint32_t ld = padded(n);
    quantized q = {make_view((size_t)m * ld), make_view(m * 4), make_view(m * 4), {0}, {0}, {0}, ld};
    if (!is_two_term) return q;
    q.lo_codes = make_view((size_t)m * ld);
    q.lo_scale = make_view(m * 4);
    q.lo_sum = make_view(m * 4);
    return q;
}

static void quants(void **state)
{
    (void)state;
    for (size_t l = 0; l < COUNT(lengths); l++)
        for (size_t r = 0; r < COUNT(rows_list); r++) {
            uint32_t n = lengths[l], m = rows_list[r];
            for (int kind = OP_NORM_QUANT; kind <= OP_QUANT2; kind++) {
                op o = make_op((op_kind)kind, m);
                quantized y = empty_rows(m, n, kind == OP_QUANT2);
                view x = mixed_rows(m, n + 1);
                if (kind == OP_NORM_QUANT)
                    o.norm_quant = (op_norm_quant){x, floats(n), y, n, n + 1, 1e-5f};
                else
                    o.quant = (op_quant){x, y, n, n + 1};
                const view outputs[MAX_OUTPUTS] = {y.codes, y.scale, y.sum, y.lo_codes, y.lo_scale, y.lo_sum};
                compare(&o, outputs, kind == OP_QUANT2 ? 6 : 3, false);
                ((float *)cpu_at(x))[(size_t)(m - 1) * (n + 1)] = scalar_as_float(0x7fc00000u);
                compare(&o, outputs, 1, true);
                free_owned();
            }
        }
}

// ---- gates, residual, gather, top-k ----

static void elementwise(void **state)
{
    (void)state;
    for (size_t l = 0; l < COUNT(lengths); l++)
        for (uint32_t m = 1; m <= 17; m += 4) {
            uint32_t n = lengths[l];
            for (int is_silu = 0; is_silu < 2; is_silu++) {
                op o = make_op(OP_GATE, m);
                o.gate = (op_gate){
                    floats((size_t)m * (2 * n + 1)), make_view((size_t)m * n * 4), n, 2 * n + 1, n, is_silu == 1};
                compare(&o, &o.gate.y, 1, false);
                free_owned();
            }
            op o = make_op(OP_RESIDUAL, m);
            o.residual = (op_residual){floats((size_t)m * (n + 2)), floats((size_t)m * n), n, n + 2, n};
            compare(&o, &o.residual.h, 1, false);
            free_owned();

            o = make_op(OP_GATHER, m);
            int32_t index[17];
            for (uint32_t i = 0; i < m; i++) index[i] = (int32_t)(i * 7 % m);
            o.gather = (op_gather){
                floats((size_t)m * n), int32s(index, m), make_view((size_t)m * (n + 1) * 4), n, n, n + 1};
            compare(&o, &o.gather.y, 1, false);
            free_owned();
        }
}

// The vector exp through silu, at every exponent of both signs and around the ends of its range.
static void silu_range(void **state)
{
    (void)state;
    const uint32_t n = 1 << 19;
    op o = make_op(OP_GATE, 1);
    o.gate = (op_gate){make_view((size_t)n * 8), make_view((size_t)n * 4), n, 2 * n, n, true};
    float *g = cpu_at(o.gate.x);
    for (uint32_t i = 0; i < n; i++) {
        g[i] = scalar_as_float(i << 13 | (uint32_t)(rng_u64(3, i) & 0x1fff));
        if (!scalar_is_finite(g[i])) g[i] = i % 2 == 0 ? 0.0f : -0.0f;
        if (i % 8 == 5) g[i] = (i % 16 == 5 ? -1.0f : 1.0f) * (87.0f + (float)(i % 1024) * 0x1p-9f);
        if (i % 2 == 0) g[i] = (rng_unit(4, i) - 0.5f) * (i % 4 == 0 ? 178.0f : 4.0f);
        g[n + i] = 1.0f;
    }
    compare(&o, &o.gate.y, 1, false);
    free_owned();
}

static void top_k(void **state)
{
    (void)state;
    static const uint32_t ks[] = {1, 2, 40, 256};
    for (size_t i = 0; i < COUNT(ks); i++)
        for (uint32_t m = 1; m <= 5; m += 2) {
            uint32_t n = 50000;
            op o = make_op(OP_TOP_K, m);
            o.top_k = (op_top_k){
                floats((size_t)m * n), make_view(m * ks[i] * 4), make_view(m * ks[i] * 4), n, n, ks[i]};
            float *x = cpu_at(o.top_k.x);
            for (uint32_t j = 0; j < n; j += 3)
                x[j] = (float)(int)(x[j] * 2.0f) * (j % 2 == 0 ? 1.0f : -0.0f); // ties, -0
            x[17] = scalar_as_float(0x7fc00000u);
            const view outputs[2] = {o.top_k.ids, o.top_k.values};
            compare(&o, outputs, 2, false);
            free_owned();
        }
}

// ---- the cache ----

// m rows at scattered positions of two tables over a cache whose blocks stand in another order.
static void case_kv(uint32_t m, uint32_t n_heads, uint32_t n_kv, uint32_t hd, int k_type, int v_type, uint32_t last,
                    bool adjacent)
{
    uint32_t table_ld = last / KV_BLOCK + 1, n_blocks = 2 * table_ld, width = (n_heads + 2 * n_kv) * hd;
    int32_t tables_host[64], row_table[64], row_position[64];
    for (uint32_t i = 0; i < n_blocks; i++) tables_host[i] = (int32_t)((i * 5 + 3) % n_blocks);
    while (n_blocks % 5 == 0) { // 5 must be a generator: otherwise plain reversal
        for (uint32_t i = 0; i < n_blocks; i++) tables_host[i] = (int32_t)(n_blocks - 1 - i);
        break;
    }
    for (uint32_t i = 0; i < m; i++) {
        row_table[i] = (int32_t)(i % 2);
        row_position[i] = (int32_t)(i < 2 ? last : (i * 37) % (last + 1));
    }
    kv_rows rows = {int32s(row_table, m), int32s(row_position, m), int32s(tables_host, n_blocks), table_ld};
    kv_cache cache = {.n_blocks = n_blocks, .n_kv_heads = n_kv, .head_dim = hd, .k_type = k_type, .v_type = v_type};
    cache.blocks = make_view((size_t)n_blocks * (size_t)kv_block_bytes(k_type, v_type, (int)n_kv, (int)hd));

    // Every position is filled through rope_kv itself, one row a position, then the m rows are stored and attended.
    op o = make_op(OP_ROPE_KV, 1);
    view rope = floats((size_t)(last + 1) * (hd / 2 * 2));
    o.rope_kv = (op_rope_kv){{0}, rope, rows, cache, n_heads, hd / 2 * 2, width, adjacent};
    view fill = floats(width);
    for (uint32_t i = 0; i < 2 * (last + 1); i++) {
        ((int32_t *)cpu_at(rows.row_table))[0] = (int32_t)(i % 2);
        ((int32_t *)cpu_at(rows.row_position))[0] = (int32_t)(i / 2);
        seed++;
        for (uint32_t c = 0; c < width; c++) ((float *)cpu_at(fill))[c] = value(c) * 0.1f;
        o.rope_kv.x = fill;
        device reference = {.is_reference = true, .n_threads = 1};
        cpu_reference_ops[OP_ROPE_KV](&reference, &o);
    }
    memcpy(cpu_at(rows.row_table), row_table, m * 4);
    memcpy(cpu_at(rows.row_position), row_position, m * 4);

    o.m = m < last ? m : 1; // rows of one step stand at distinct positions of a table
    o.rope_kv.x = floats((size_t)m * width);
    const view stored[2] = {o.rope_kv.x, cache.blocks};
    compare(&o, stored, 2, false);

    op a = make_op(OP_ATTENTION, m);
    a.attention = (op_attention){floats((size_t)m * (n_heads * hd + 4)),
                                 make_view((size_t)m * n_heads * hd * 4),
                                 rows,
                                 cache,
                                 n_heads,
                                 n_heads * hd + 4,
                                 n_heads * hd};
    compare(&a, &a.attention.y, 1, false);
    free_owned();
}

static void kv_ops(void **state)
{
    (void)state;
    static const uint32_t heads[][3] = {{4, 2, 64}, {5, 1, 100}, {2, 2, 128}, {3, 3, 34}};
    static const int types[][2] = {{KV_F32, KV_F32},  {KV_F16, KV_F16},   {KV_INT8, KV_INT8}, {KV_F16, KV_INT8},
                                   {KV_INT8, KV_F32}, {KV_INT4, KV_INT4}, {KV_INT4, KV_F16},  {KV_INT8, KV_INT4}};
    static const uint32_t lasts[] = {0, 40, 63, 64, 300, 640};
    for (size_t h = 0; h < COUNT(heads); h++)
        for (size_t t = 0; t < COUNT(types); t++)
            for (size_t l = 0; l < COUNT(lasts); l++)
                case_kv(l % 2 == 0 ? 1 : 7, heads[h][0], heads[h][1], heads[h][2], types[t][0], types[t][1], lasts[l],
                        t % 2 == 1);
}

// A value that f16 cannot hold, and a NaN for int8 and int4, lower the flag.
static void kv_flag(void **state)
{
    (void)state;
    for (int type = KV_F16; type <= KV_INT4; type++) {
        const int32_t zero = 0;
        kv_rows rows = {int32s(&zero, 1), int32s(&zero, 1), int32s(&zero, 1), 1};
        kv_cache cache = {.n_blocks = 1, .n_kv_heads = 1, .head_dim = 64, .k_type = type, .v_type = type};
        cache.blocks = make_view((size_t)kv_block_bytes(type, type, 1, 64));
        op o = make_op(OP_ROPE_KV, 1);
        o.rope_kv = (op_rope_kv){floats(192), floats(64), rows, cache, 1, 64, 192, false};
        ((float *)cpu_at(o.rope_kv.x))[190] = type == KV_F16 ? -65520.0f : scalar_as_float(0x7fc00000u);
        compare(&o, &cache.blocks, 1, true);
        free_owned();
    }
}

static int create_teams(void **state)
{
    (void)state;
    const cpu_kernels *list[MAX_TABLES];
    size_t n_tables = list_tables(list);
    for (size_t i = 0; i < n_tables; i++) print_message("kernels: %s\n", list[i]->name);
    if (cpu_kernels_list(list) < CPU_MAX_KERNELS)
        print_message("this processor runs no further table; those stay untested here\n");
    for (size_t n = 0; n < COUNT(threads_list); n++)
        if (team_create((uint32_t)threads_list[n], &teams[n], NULL) != TERN_OK) return -1;
    return 0;
}

static int destroy_teams(void **state)
{
    (void)state;
    for (size_t n = 0; n < COUNT(threads_list); n++) team_destroy(teams[n]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ternary_one_scale),
        cmocka_unit_test(ternary_groups),
        cmocka_unit_test(ternary_long),
        cmocka_unit_test(ternary_worst_case),
        cmocka_unit_test(dense_types),
        cmocka_unit_test(q6k_limits),
        cmocka_unit_test(q6k_bounds),
        cmocka_unit_test(few_rows_are_multiplied),
        cmocka_unit_test(best_rows),
        cmocka_unit_test(integer_types),
        cmocka_unit_test(dense_ternary),
        cmocka_unit_test(embed),
        cmocka_unit_test(norms),
        cmocka_unit_test(quants),
        cmocka_unit_test(elementwise),
        cmocka_unit_test(silu_range),
        cmocka_unit_test(top_k),
        cmocka_unit_test(kv_ops),
        cmocka_unit_test(kv_flag),
    };
    return cmocka_run_group_tests(tests, create_teams, destroy_teams);
}
