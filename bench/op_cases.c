// The table of op cases; see op_cases.h. Each section starts from one small base case and varies one thing at a time,
// then adds the shapes of real models.
#include "op_cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "ternary.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// Rows: around the widths at which kernels switch (1, 8, 16, 32 columns of activations) and real batches.
static const uint32_t m_sweep[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 127, 128, 512};
// Widths of row ops: around 64 lanes and 256 accumulators, and the rows of real models.
static const uint32_t width_sweep[] = {1, 2, 7, 63, 64, 65, 129, 255, 256, 257, 511, 640, 1000, 2560, 6912};
// Positions of decode rows: the ends of blocks (64) and of groups of blocks (256), and beyond a thousand.
static const uint32_t decode_positions[] = {0,   1,   62,  63,  64,  65,  127, 128,  191,  255,
                                            256, 257, 319, 320, 511, 512, 700, 1023, 1024, 1100};
static const uint32_t mixed_runs[] = {1, 3, 2, 5};

typedef struct case_list {
    op_case *cases;
    size_t n, capacity;
    bool is_out_of_memory;
} case_list;

uint32_t op_case_table(const op_case *c, uint32_t row)
{
    if (c->rows == ROWS_DECODE) return row;
    if (c->rows == ROWS_PREFILL) return 0;
    if (c->rows == ROWS_PROMPTS) return row >= (c->m + 1) / 2;
    uint32_t table = 0;
    for (uint32_t end = 0; (end += mixed_runs[table % COUNT(mixed_runs)]) <= row;) table++;
    return table;
}

uint32_t op_case_position(const op_case *c, uint32_t row)
{
    if (c->rows == ROWS_DECODE) return decode_positions[(row + c->first) % COUNT(decode_positions)];
    if (c->rows == ROWS_PREFILL) return c->first + row;
    if (c->rows == ROWS_PROMPTS) return c->first + row % ((c->m + 1) / 2);
    uint32_t table = 0, begin = 0;
    while (begin + mixed_runs[table % COUNT(mixed_runs)] <= row) begin += mixed_runs[table++ % COUNT(mixed_runs)];
    return c->first + 61 * (table % 9) + (row - begin);
}

const char *op_recipe_name(op_recipe recipe)
{
    static const char *const names[RECIPE_N] = {"random", "zeros", "outlier", "extreme", "denormal",
                                                "small",  "ties",  "nan",     "inf"};
    return (unsigned)recipe < RECIPE_N ? names[recipe] : "unknown";
}

const char *op_level_name(op_case_level level)
{
    return level == LEVEL_QUICK ? "quick" : level == LEVEL_TEST ? "test" : "full";
}

bool op_recipe_raises(op_recipe recipe) { return recipe == RECIPE_NAN || recipe == RECIPE_INF; }

// ------------------------------------------------------------------------------------------------ names and costs

static uint64_t case_macs(const op_case *c)
{
    uint64_t rows = c->m;
    switch (c->kind) {
    case OP_TERNARY_MM: return rows * c->n * c->k * c->n_terms;
    case OP_DENSE_MM:
    case OP_DENSE_TOP_K: return rows * c->n * c->k;
    case OP_INT_MM: return 2 * rows * c->n * c->k;
    case OP_RESCORE: return rows * c->n_best * c->k;
    case OP_EMBED: return rows * c->k;
    case OP_HEAD_NORM: return rows * c->n_heads * c->head_dim;
    case OP_ROPE_KV: return rows * (c->n_heads + 2 * c->n_kv_heads) * c->head_dim;
    case OP_ATTENTION:
    case OP_FAST_ATTENTION: {
        uint64_t n_positions = 0;
        for (uint32_t m = 0; m < c->m; m++) n_positions += op_case_position(c, m) + 1;
        return n_positions * c->n_heads * c->head_dim * 2;
    }
    case OP_TOP_K: return rows * c->n * (c->k < 8 ? 1 : 8);
    case OP_ADVANCE: return rows;
    default: return rows * c->n;
    }
}

static void describe_weights(const op_case *c, char *out, size_t n_bytes)
{
    static const char *const scales[] = {"tensor", "ranges", "rows"};
    if (!c->is_ternary)
        snprintf(out, n_bytes, "%s", dense_formats[c->dense].name);
    else if (c->group != 0)
        snprintf(out, n_bytes, "%s g%u", scales[c->scale], c->group);
    else
        snprintf(out, n_bytes, "%s%s", scales[c->scale], c->layout == TERNARY_T80 ? " t80" : "");
}

static void describe_shape(const op_case *c, char *out, size_t n_bytes)
{
    static const char *const kv[] = {"f32", "f16", "int8", "int4"};
    static const char *const rows[] = {"decode", "prefill", "mixed", "prompts"};
    static const char *const epilogues[] = {"", " adds", " relu2", " silu"};
    char form[32];
    describe_weights(c, form, sizeof form);
    switch (c->kind) {
    case OP_TERNARY_MM:
        snprintf(out, n_bytes, "N=%u K=%u %s %u-term%s", c->n, c->k, form, c->n_terms, epilogues[c->epilogue]);
        break;
    case OP_INT_MM:
    case OP_DENSE_MM:
        snprintf(out, n_bytes, "N=%u K=%u %s%s", c->n, c->k, c->is_ternary ? "ternary " : "", form);
        break;
    case OP_RESCORE:
    case OP_DENSE_TOP_K:
        snprintf(out, n_bytes, "N=%u K=%u %s%s best=%u", c->n, c->k, c->is_ternary ? "ternary " : "", form, c->n_best);
        break;
    case OP_EMBED: snprintf(out, n_bytes, "V=%u K=%u %s%s", c->n, c->k, c->is_ternary ? "ternary " : "", form); break;
    case OP_HEAD_NORM: snprintf(out, n_bytes, "H=%u D=%u", c->n_heads, c->head_dim); break;
    case OP_ROPE_KV:
        snprintf(out, n_bytes, "H=%u/%u D=%u dims=%u %s k=%s v=%s %s+%u", c->n_heads, c->n_kv_heads, c->head_dim,
                 c->n_dims, c->adjacent ? "adjacent" : "half", kv[c->k_type], kv[c->v_type], rows[c->rows], c->first);
        break;
    case OP_ATTENTION:
    case OP_FAST_ATTENTION:
        snprintf(out, n_bytes, "H=%u/%u D=%u k=%s v=%s %s+%u", c->n_heads, c->n_kv_heads, c->head_dim, kv[c->k_type],
                 kv[c->v_type], rows[c->rows], c->first);
        break;
    case OP_TOP_K: snprintf(out, n_bytes, "N=%u k=%u", c->n, c->k); break;
    case OP_ADVANCE: snprintf(out, n_bytes, "log=%u ld=%u", c->n, c->k); break;
    default: snprintf(out, n_bytes, "N=%u%s%s", c->n, c->in_place ? " in-place" : "", c->is_silu ? " silu" : ""); break;
    }
}

static void add(case_list *list, op_case c)
{
    if (list->is_out_of_memory) return;
    if (list->n == list->capacity) {
        size_t capacity = list->capacity == 0 ? 512 : 2 * list->capacity;
        op_case *cases = realloc(list->cases, capacity * sizeof *cases);
        if (cases == NULL) {
            list->is_out_of_memory = true;
            return;
        }
        list->cases = cases;
        list->capacity = capacity;
    }
    if (c.n_terms == 0) c.n_terms = 1;
    c.n_macs = case_macs(&c);
    c.level = c.n_macs <= 1u << 22 ? LEVEL_QUICK : c.n_macs <= 1u << 26 ? LEVEL_TEST : LEVEL_FULL;
    char shape[72], gap[16] = "";
    describe_shape(&c, shape, sizeof shape);
    if (c.gap != 0) snprintf(gap, sizeof gap, " gap=%u", c.gap);
    snprintf(c.name, sizeof c.name, "%s M=%u %s%s %s", op_kind_name(c.kind), c.m, shape, gap, op_recipe_name(c.recipe));
    list->cases[list->n++] = c;
}

// ------------------------------------------------------------------------------------------------ ternary products

static void add_ternary_sweeps(case_list *list)
{
    static const uint32_t n_sweep[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 63, 64, 65, 127, 129};
    static const uint32_t k_sweep[] = {1,   2,   3,   4,   5,   31,  32,  63,  64,  65,  127,  128,  129, 191,
                                       192, 193, 255, 256, 257, 319, 321, 511, 513, 640, 1023, 1025, 2049};
    const op_case base = {.kind = OP_TERNARY_MM, .m = 3, .n = 37, .k = 200, .is_ternary = true, .n_terms = 1};
    for (uint32_t terms = 1; terms <= 2; terms++) {
        op_case c = base;
        c.n_terms = terms;
        for (size_t i = 0; i < COUNT(m_sweep); i++) {
            c.m = m_sweep[i];
            add(list, c);
        }
        c.m = base.m;
        for (size_t i = 0; i < COUNT(n_sweep); i++) {
            c.n = n_sweep[i];
            c.gap = 16 * (uint32_t)(i % 3);
            add(list, c);
        }
        c.n = 21;
        c.gap = 0;
        for (size_t i = 0; i < COUNT(k_sweep); i++) {
            c.k = k_sweep[i];
            c.m = 1 + (uint32_t)i % 4;
            add(list, c);
        }
    }
}

static void add_ternary_scales(case_list *list)
{
    // Columns for 1 to 20 groups of 64, so that the eight parts of groups() are empty, even and uneven.
    static const uint32_t k_groups[] = {64, 65, 128, 192, 448, 512, 513, 576, 1000, 1280};
    static const uint32_t groups[] = {0, 64, 128, 256};
    op_case c = {.kind = OP_TERNARY_MM, .m = 3, .n = 53, .k = 712, .is_ternary = true, .gap = 16};
    for (c.n_terms = 1; c.n_terms <= 2; c.n_terms++)
        for (int scale = SCALE_TENSOR; scale <= SCALE_ROWS; scale++)
            for (size_t i = 0; i < COUNT(groups); i++) {
                c.scale = (op_scale)scale;
                c.group = groups[i];
                add(list, c);
            }
    c.scale = SCALE_ROWS;
    c.group = 64;
    c.n = 19;
    for (size_t i = 0; i < COUNT(k_groups); i++) {
        c.k = k_groups[i];
        c.n_terms = 1 + (uint32_t)i % 2;
        add(list, c);
    }
    c.group = 128;
    c.k = 2560;
    c.m = 17;
    add(list, c);
}

// Products added to what is there, by every kernel that a shape or a scale may choose.
static void add_ternary_adds(case_list *list)
{
    static const uint32_t m_few[] = {1, 2, 4, 5, 8, 9, 17, 33, 65}, groups[] = {64, 128, 100};
    op_case c = {.kind = OP_TERNARY_MM, .is_ternary = true, .epilogue = EPILOGUE_ADD, .n = 37, .k = 333};
    c.scale = SCALE_ROWS;
    for (c.n_terms = 1; c.n_terms <= 2; c.n_terms++)
        for (size_t i = 0; i < COUNT(m_few); i++) {
            c.m = m_few[i];
            c.gap = 16 * (uint32_t)(i % 2);
            c.group = 0;
            add(list, c);
            c.group = groups[i % 3];
            add(list, c);
        }
    c.n_terms = 1;
    c = (op_case){.kind = OP_TERNARY_MM, .is_ternary = true, .epilogue = EPILOGUE_ADD, .m = 1, .n = 2560, .k = 6912};
    add(list, c); // work that blocks of a device share
}

// Gated products, by every kernel that a shape may choose: numbers of rows around the tiles of kernels, and work that
// blocks of a device share, for few tokens and for more.
static void add_ternary_gates(case_list *list)
{
    static const uint32_t m_few[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 32, 33, 64, 65, 130};
    static const uint32_t n_sweep[] = {16, 32, 48, 64, 112, 128, 144, 272};
    static const op_recipe recipes[] = {RECIPE_ZEROS, RECIPE_OUTLIER, RECIPE_EXTREME, RECIPE_DENORMAL};
    op_case c = {.kind = OP_TERNARY_MM, .is_ternary = true, .epilogue = EPILOGUE_RELU2};
    for (int layout = TERNARY_T64; layout <= TERNARY_T80; layout++)
        for (c.n_terms = 1; c.n_terms <= 2; c.n_terms++) {
            c.layout = (ternary_layout)layout;
            c.scale = SCALE_ROWS;
            c.recipe = RECIPE_RANDOM;
            c.n = 48;
            c.k = 333;
            for (size_t i = 0; i < COUNT(m_few); i++) {
                c.m = m_few[i];
                c.gap = 16 * (uint32_t)(i % 2);
                c.epilogue = i % 2 == 0 ? EPILOGUE_RELU2 : EPILOGUE_SILU;
                add(list, c);
            }
            c.k = 170;
            for (size_t i = 0; i < COUNT(n_sweep); i++) {
                c.n = n_sweep[i];
                c.m = 1 + 11 * (uint32_t)(i % 3);
                c.scale = (op_scale)(i % 3);
                c.epilogue = i % 2 == 0 ? EPILOGUE_SILU : EPILOGUE_RELU2;
                add(list, c);
            }
            c.scale = SCALE_TENSOR;
            c.n = 32;
            for (size_t i = 0; i < COUNT(recipes); i++) {
                c.recipe = recipes[i];
                c.m = 2 + 9 * (uint32_t)(i % 2);
                c.epilogue = EPILOGUE_RELU2;
                add(list, c);
                c.epilogue = EPILOGUE_SILU;
                add(list, c);
            }
        }
    // Blocks of a device that have several items, whole ones and parts.
    for (int layout = TERNARY_T64; layout <= TERNARY_T80; layout++) {
        c = (op_case){.kind = OP_TERNARY_MM, .is_ternary = true, .layout = (ternary_layout)layout};
        c.m = 40;
        c.n = 272;
        c.k = 170;
        c.epilogue = EPILOGUE_SILU;
        add(list, c);
        c.m = layout == TERNARY_T80 ? 44 : 56;
        c.n = 144;
        c.k = layout == TERNARY_T80 ? 321 : 257; // two tiles
        c.epilogue = EPILOGUE_RELU2;
        add(list, c);
    }
    for (uint32_t m = 1; m <= 9; m += 8) {
        c = (op_case){.kind = OP_TERNARY_MM, .is_ternary = true, .m = m, .n = 2560, .k = 2560, .scale = SCALE_ROWS};
        c.epilogue = m == 1 ? EPILOGUE_RELU2 : EPILOGUE_SILU;
        add(list, c);
    }
    c = (op_case){.kind = OP_TERNARY_MM, .is_ternary = true, .m = 1, .n = 13824, .k = 2560, .scale = SCALE_ROWS};
    c.epilogue = EPILOGUE_RELU2; // gate and up of 2B-4T
    add(list, c);
}

static void add_ternary_recipes(case_list *list)
{
    static const op_recipe recipes[] = {RECIPE_ZEROS, RECIPE_OUTLIER, RECIPE_EXTREME, RECIPE_DENORMAL};
    op_case c = {.kind = OP_TERNARY_MM, .is_ternary = true, .n = 18};
    for (size_t i = 0; i < COUNT(recipes); i++)
        for (c.n_terms = 1; c.n_terms <= 2; c.n_terms++)
            for (c.m = 1; c.m <= 19; c.m += 9) {
                c.recipe = recipes[i];
                c.k = 6912;
                c.group = 0;
                c.scale = SCALE_TENSOR;
                add(list, c);
                c.k = 333;
                c.group = 64;
                c.scale = SCALE_ROWS;
                add(list, c);
            }
    // The widest rows there can be: sums next to 2^31.
    c = (op_case){
        .kind = OP_TERNARY_MM, .recipe = RECIPE_EXTREME, .m = 2, .n = 5, .k = TERNARY_MAX_COLUMNS, .is_ternary = true};
    for (c.n_terms = 1; c.n_terms <= 2; c.n_terms++) add(list, c);
}

static void add_ternary_models(case_list *list)
{
    static const struct {
        uint32_t n, k;
        op_scale scale;
    } shapes[] = {
        {3840, 2560, SCALE_RANGES},  {2560, 2560, SCALE_TENSOR},
        {13824, 2560, SCALE_RANGES}, {2560, 6912, SCALE_TENSOR}, // 2B-4T
        {1024, 8192, SCALE_TENSOR},  {8192, 8192, SCALE_TENSOR},
        {28672, 8192, SCALE_TENSOR}, {8192, 28672, SCALE_TENSOR}, // 70B
    };
    op_case c = {.kind = OP_TERNARY_MM, .is_ternary = true};
    for (size_t i = 0; i < COUNT(shapes); i++) {
        c.n = shapes[i].n;
        c.k = shapes[i].k;
        c.scale = shapes[i].scale;
        // Up to 2^31 multiply-adds: beyond that the reference would take minutes.
        for (c.m = 1; c.m <= 512 && (uint64_t)c.m * c.n * c.k <= 1u << 31; c.m *= 8) {
            c.n_terms = 1;
            add(list, c);
        }
        c.m = 1;
        c.n_terms = 2;
        add(list, c);
    }
    const op_case wide = {.kind = OP_TERNARY_MM, .m = 64, .n = 272, .k = 2560, .is_ternary = true};
    const op_case tall = {.kind = OP_TERNARY_MM, .m = 512, .n = 129, .k = 960, .is_ternary = true, .gap = 32};
    add(list, wide);
    add(list, tall);
}

// T80: every second of the small cases with one scale along K once more, then its own edges. Granules are 80 columns
// and tiles 320, canonical rows go to a multiple of 64.
static void add_t80(case_list *list)
{
    static const uint32_t k_sweep[] = {1,   40,  64,  79,  80,  81,  128, 159, 160,  161,  240,
                                       241, 256, 319, 320, 321, 400, 640, 961, 1280, 1601, 4096};
    static const uint32_t m_few[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 65};
    size_t n_listed = list->n, n_seen = 0;
    for (size_t i = 0; i < n_listed && !list->is_out_of_memory; i++) {
        op_case c = list->cases[i];
        if (!c.is_ternary || c.group != 0 || c.level > LEVEL_QUICK || n_seen++ % 2 == 1) continue;
        c.layout = TERNARY_T80;
        add(list, c);
    }
    op_case c = {.kind = OP_TERNARY_MM, .is_ternary = true, .layout = TERNARY_T80, .n = 35, .scale = SCALE_ROWS};
    for (size_t i = 0; i < COUNT(k_sweep); i++) {
        c.k = k_sweep[i];
        c.m = 1 + (uint32_t)i % 3;
        c.n_terms = 1 + (uint32_t)i / 3 % 2;
        add(list, c);
    }
    c.scale = SCALE_RANGES;
    c.k = 720; // two tiles of four granules and one of one
    for (size_t i = 0; i < COUNT(m_few); i++)
        for (c.n_terms = 1; c.n_terms <= 2; c.n_terms++) {
            c.m = m_few[i];
            add(list, c);
        }
    c = (op_case){.kind = OP_DENSE_MM, .is_ternary = true, .layout = TERNARY_T80, .n = 19};
    for (size_t i = 0; i < COUNT(k_sweep); i += 2) {
        c.k = k_sweep[i];
        c.m = 1 + (uint32_t)i % 5;
        add(list, c);
        op_case row = c;
        row.kind = OP_EMBED;
        add(list, row);
        row.kind = OP_RESCORE;
        row.n_best = 9;
        add(list, row);
    }
    const op_case large[] = {
        {.m = 1, .n = 2560, .k = 6912}, {.m = 1, .n = 1000, .k = 2560}, {.m = 64, .n = 272, .k = 2560}};
    for (size_t i = 0; i < COUNT(large); i++) {
        c = large[i];
        c.kind = OP_TERNARY_MM;
        c.is_ternary = true;
        c.layout = TERNARY_T80;
        add(list, c);
    }
    c = (op_case){.kind = OP_TERNARY_MM, .recipe = RECIPE_EXTREME, .m = 2, .n = 5, .k = TERNARY_MAX_COLUMNS};
    c.is_ternary = true;
    c.layout = TERNARY_T80;
    add(list, c);
}

// ------------------------------------------------------------------------------------------------ dense products, rows

static uint32_t dense_block(dense_type type) { return dense_formats[type].block; }

static void add_dense(case_list *list)
{
    static const uint32_t blocks[] = {1, 2, 3, 5, 8, 10};
    static const uint32_t float_widths[] = {1, 3, 63, 64, 65, 127, 257, 640, 2560};
    static const uint32_t n_sweep[] = {1, 3, 4, 5, 16, 33, 65};
    for (int type = DENSE_F32; type < DENSE_N_FILE_TYPES; type++) {
        op_case c = {.kind = OP_DENSE_MM, .dense = (dense_type)type, .n = 23};
        bool has_blocks = dense_block(c.dense) > 1;
        for (size_t i = 0; i < (has_blocks ? COUNT(blocks) : COUNT(float_widths)); i++) {
            c.k = has_blocks ? blocks[i] * dense_block(c.dense) : float_widths[i];
            c.m = 1 + (uint32_t)i % 5;
            add(list, c);
        }
        c.k = 512;
        c.gap = 16;
        for (size_t i = 0; i < COUNT(n_sweep); i++) {
            c.n = n_sweep[i];
            c.m = 2;
            add(list, c);
        }
        c.n = 11;
        c.k = 256;
        c.gap = 0;
        for (size_t i = 0; i < COUNT(m_sweep); i++) {
            c.m = m_sweep[i];
            add(list, c);
        }
        static const op_recipe recipes[] = {RECIPE_ZEROS, RECIPE_OUTLIER, RECIPE_DENORMAL, RECIPE_NAN, RECIPE_INF};
        for (size_t i = 0; i < COUNT(recipes); i++) {
            c.m = 3;
            c.recipe = recipes[i];
            add(list, c);
        }
    }
    for (int scale = SCALE_TENSOR; scale <= SCALE_ROWS; scale++) {
        op_case c = {.kind = OP_DENSE_MM, .is_ternary = true, .scale = (op_scale)scale, .m = 3, .n = 37, .k = 333};
        add(list, c);
        c.group = 128;
        add(list, c);
    }
    static const dense_type heads[] = {DENSE_F16, DENSE_BF16, DENSE_Q6_K};
    for (size_t i = 0; i < COUNT(heads); i++)
        for (uint32_t m = 1; m <= 4; m += 3) {
            op_case c = {.kind = OP_DENSE_MM, .dense = heads[i], .m = m, .n = 6000, .k = 2560};
            add(list, c); // a slice of the 2B-4T head, then all of it
            c.n = 128256;
            add(list, c);
        }
}

// Products with INT8 and INT4 rows, always of two terms.
static void add_int(case_list *list)
{
    static const uint32_t n_sweep[] = {1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 65};
    // Columns for 1 to 41 groups of 64, so that the eight parts of groups() are empty, even and uneven.
    static const uint32_t k_sweep[] = {64, 128, 192, 320, 448, 512, 576, 640, 1024, 1088, 2048, 2624};
    static const op_recipe recipes[] = {RECIPE_ZEROS, RECIPE_OUTLIER, RECIPE_EXTREME, RECIPE_NAN, RECIPE_INF};
    for (int type = DENSE_INT8; type <= DENSE_INT4; type++) {
        const op_case base = {.kind = OP_INT_MM, .dense = (dense_type)type, .m = 2, .n = 37, .k = 256, .n_terms = 2};
        op_case c = base;
        for (c.m = 1; c.m <= 9; c.m++) add(list, c);
        for (size_t i = 0; i < COUNT(m_sweep); i++) {
            c.m = m_sweep[i];
            c.n = 21;
            if (c.m > 9) add(list, c);
        }
        c = base;
        for (size_t i = 0; i < COUNT(n_sweep); i++) {
            c.n = n_sweep[i];
            c.m = 1 + (uint32_t)i % 3;
            c.gap = 16 * (uint32_t)(i % 3);
            add(list, c);
        }
        c = base;
        for (size_t i = 0; i < COUNT(k_sweep); i++) {
            c.k = k_sweep[i];
            c.m = 1 + (uint32_t)i % 9;
            c.n = 19;
            add(list, c);
        }
        c = base;
        for (size_t i = 0; i < COUNT(recipes); i++)
            for (c.m = 1; c.m <= 10; c.m += 3) {
                c.recipe = recipes[i];
                add(list, c);
            }
        // The widest rows INT8 sums exactly, then the 2B-4T head: a slice, and all of it.
        c = (op_case){.kind = OP_INT_MM, .dense = (dense_type)type, .recipe = RECIPE_EXTREME, .m = 2, .n = 5};
        c.k = DENSE_INTEGER_MAX_COLUMNS;
        add(list, c);
        c = (op_case){.kind = OP_INT_MM, .dense = (dense_type)type, .n = 6000, .k = 2560};
        for (c.m = 1; c.m <= 8; c.m *= 2) add(list, c);
        c.m = 33;
        c.n = 3000;
        add(list, c);
        c.m = 1;
        c.n = 128256;
        add(list, c);
    }
}

// Exact logits of some rows. Every type; more ids than rows there are, and one; rows that end inside 64 columns and
// inside the eight of a lane, and that fill more than the pieces kernels take at a time.
static void add_rescore(case_list *list)
{
    static const uint32_t best_sweep[] = {1, 2, 7, 8, 9, 31, 32, 33, 255, 256};
    static const uint32_t k_sweep[] = {1, 3, 7, 8, 9, 63, 64, 65, 127, 130, 1023, 1025, 4095, 4097, 4104, 4160};
    static const op_recipe recipes[] = {RECIPE_ZEROS,    RECIPE_OUTLIER, RECIPE_EXTREME,
                                        RECIPE_DENORMAL, RECIPE_NAN,     RECIPE_INF};
    for (int type = DENSE_F32; type < DENSE_N_TYPES; type++) {
        op_case c = {.kind = OP_RESCORE, .dense = (dense_type)type, .m = 3, .n = 300, .k = 512, .n_best = 20};
        c.gap = 16;
        add(list, c);
        c.k = dense_block(c.dense);
        c.m = 1;
        add(list, c);
        c.k = 2560;
        c.n_best = 256;
        add(list, c);
    }
    op_case c = {.kind = OP_RESCORE, .is_ternary = true, .scale = SCALE_ROWS, .m = 2, .n = 50, .k = 333, .n_best = 33};
    add(list, c);
    c.group = 64;
    add(list, c);
    const op_case base = {.kind = OP_RESCORE, .dense = DENSE_F16, .m = 2, .n = 70, .k = 256, .n_best = 32};
    for (size_t i = 0; i < COUNT(best_sweep); i++) {
        c = base;
        c.n_best = best_sweep[i];
        c.n = i % 3 == 0 ? 5 : 300;
        add(list, c);
    }
    for (size_t i = 0; i < COUNT(k_sweep); i++) {
        c = base;
        c.dense = i % 2 == 0 ? DENSE_F32 : DENSE_BF16;
        c.k = k_sweep[i];
        c.gap = 16 * (uint32_t)(i % 3);
        add(list, c);
    }
    for (size_t i = 0; i < COUNT(m_sweep) && m_sweep[i] <= 128; i++) {
        c = base;
        c.m = m_sweep[i];
        add(list, c);
    }
    for (size_t i = 0; i < COUNT(recipes); i++)
        for (uint32_t m = 1; m <= 7; m += 3) {
            c = base;
            c.recipe = recipes[i];
            c.m = m;
            add(list, c);
        }
    // A slice of the 2B-4T head.
    c = (op_case){.kind = OP_RESCORE, .dense = DENSE_BF16, .m = 1, .n = 6000, .k = 2560, .n_best = 256};
    add(list, c);
}

static void add_embed(case_list *list)
{
    for (int type = DENSE_F32; type < DENSE_N_TYPES; type++) {
        op_case c = {.kind = OP_EMBED, .dense = (dense_type)type, .n = 50, .m = 7, .k = 512, .gap = 16};
        add(list, c);
        c.k = dense_block(c.dense);
        c.m = 1;
        add(list, c);
        c.k = dense_block(c.dense) == 1 ? 2563 : 2560;
        c.gap = 0;
        c.m = 33;
        add(list, c);
    }
    for (int scale = SCALE_TENSOR; scale <= SCALE_ROWS; scale++) {
        op_case c = {.kind = OP_EMBED, .is_ternary = true, .scale = (op_scale)scale, .m = 9, .n = 70, .k = 331};
        add(list, c);
        c.group = 64;
        add(list, c);
    }
    for (size_t i = 0; i < COUNT(m_sweep); i++) {
        op_case c = {.kind = OP_EMBED, .dense = DENSE_F16, .m = m_sweep[i], .n = 300, .k = 130};
        add(list, c);
    }
}

// Norms, quantisers, gate, residual, gather: one width, a row count and a recipe.
static void add_row_ops(case_list *list)
{
    static const op_kind kinds[] = {OP_NORM, OP_NORM_QUANT, OP_QUANT, OP_QUANT2, OP_GATE, OP_RESIDUAL, OP_GATHER};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        op_case c = {.kind = kinds[i]};
        bool quantises = c.kind == OP_NORM_QUANT || c.kind == OP_QUANT || c.kind == OP_QUANT2;
        for (size_t j = 0; j < COUNT(width_sweep); j++) {
            c.n = width_sweep[j];
            c.m = 1 + (uint32_t)j % 3;
            c.gap = 16 * (uint32_t)(j % 2);
            c.in_place = c.kind == OP_NORM && j % 2 == 1;
            c.is_silu = c.kind == OP_GATE && j % 2 == 1;
            add(list, c);
        }
        c.n = 100;
        c.gap = 0;
        for (size_t j = 0; j < COUNT(m_sweep); j++) {
            c.m = m_sweep[j];
            add(list, c);
        }
        for (int recipe = RECIPE_ZEROS; recipe < RECIPE_N; recipe++) {
            if (op_recipe_raises((op_recipe)recipe) && c.kind != OP_NORM && !quantises) continue;
            c.recipe = (op_recipe)recipe;
            for (c.m = 1; c.m <= 4; c.m += 3) {
                c.n = 70;
                c.is_silu = false;
                add(list, c);
                c.n = 640;
                c.is_silu = c.kind == OP_GATE;
                add(list, c);
            }
        }
    }
}

static void add_top_k(case_list *list)
{
    static const struct {
        uint32_t n, k;
    } shapes[] = {{1, 1},     {2, 1},     {2, 2},     {63, 5},   {64, 64},   {257, 40},
                  {300, 255}, {300, 256}, {256, 256}, {1000, 1}, {1000, 40}, {32000, 40}};
    static const op_recipe recipes[] = {RECIPE_RANDOM, RECIPE_TIES, RECIPE_ZEROS, RECIPE_OUTLIER};
    for (size_t i = 0; i < COUNT(shapes); i++)
        for (size_t j = 0; j < COUNT(recipes); j++) {
            op_case c = {.kind = OP_TOP_K,
                         .recipe = recipes[j],
                         .m = 1 + (uint32_t)(i + j) % 3,
                         .n = shapes[i].n,
                         .k = shapes[i].k};
            c.gap = 16 * (uint32_t)(i % 2);
            add(list, c);
        }
    op_case vocabulary = {.kind = OP_TOP_K, .m = 1, .n = 128256, .k = 1};
    add(list, vocabulary);
    vocabulary.k = 256;
    add(list, vocabulary);
    vocabulary.k = 40;
    vocabulary.m = 33;
    add(list, vocabulary);
}

// The best rows of a product. Every type; of Q6_K, whose rows are screened, every recipe, row counts around the four
// that are screened together and row lengths up to and past what is screened.
static void add_dense_top_k(case_list *list)
{
    static const uint32_t n_best[] = {1, 2, 40, 256}, n_sweep[] = {1, 3, 4, 5, 31, 32, 33, 100};
    static const uint32_t k_sweep[] = {256, 512, 2560, 8192, 8448};
    for (int type = DENSE_F32; type < DENSE_N_TYPES; type++) {
        op_case c = {.kind = OP_DENSE_TOP_K, .dense = (dense_type)type, .m = 2, .n = 300, .k = 512, .gap = 16};
        if (dense_is_integer(c.dense)) continue;
        for (size_t i = 0; i < COUNT(n_best); i++) {
            c.n_best = n_best[i];
            add(list, c);
        }
        c.k = dense_block(c.dense);
        c.n_best = 7;
        add(list, c);
    }
    op_case c = {
        .kind = OP_DENSE_TOP_K, .is_ternary = true, .scale = SCALE_ROWS, .m = 2, .n = 50, .k = 333, .n_best = 9};
    add(list, c);
    c = (op_case){.kind = OP_DENSE_TOP_K, .dense = DENSE_Q6_K, .m = 1, .k = 256, .n_best = 1};
    for (size_t i = 0; i < COUNT(n_sweep); i++) {
        c.n = n_sweep[i];
        add(list, c);
    }
    for (size_t i = 0; i < COUNT(k_sweep); i++) {
        c.n = 400;
        c.k = k_sweep[i];
        c.n_best = 1 + 4 * (uint32_t)i;
        add(list, c);
    }
    for (int recipe = 0; recipe < RECIPE_N; recipe++)
        for (c.n_best = 1; c.n_best <= 40; c.n_best += 39) {
            c.recipe = (op_recipe)recipe;
            c.n = 1500;
            c.k = 1024;
            c.m = 1 + c.n_best % 2;
            add(list, c);
        }
    // A slice of the 2B-4T head.
    c = (op_case){.kind = OP_DENSE_TOP_K, .dense = DENSE_Q6_K, .m = 1, .n = 12000, .k = 2560, .n_best = 40};
    add(list, c);
}

static void add_advance(case_list *list)
{
    static const uint32_t n_log[] = {1, 2, 7, 64};
    for (size_t i = 0; i < COUNT(m_sweep); i++) {
        op_case c = {.kind = OP_ADVANCE, .m = m_sweep[i], .n = n_log[i % COUNT(n_log)], .k = 1 + (uint32_t)i % 3};
        add(list, c);
    }
}

// ------------------------------------------------------------------------------------------------ heads and positions

static const uint32_t head_dims[] = {40, 48, 64, 80, 96, 100, 128, 256};

static void add_head_norm(case_list *list)
{
    for (size_t i = 0; i < COUNT(head_dims); i++) {
        op_case c = {
            .kind = OP_HEAD_NORM, .m = 3, .n_heads = 5, .head_dim = head_dims[i], .gap = 16 * (uint32_t)(i % 2)};
        add(list, c);
    }
    op_case c = {.kind = OP_HEAD_NORM, .n_heads = 20, .head_dim = 128};
    for (size_t i = 0; i < COUNT(m_sweep); i++) {
        c.m = m_sweep[i];
        add(list, c);
    }
    static const op_recipe recipes[] = {RECIPE_ZEROS, RECIPE_OUTLIER, RECIPE_DENORMAL,
                                        RECIPE_SMALL, RECIPE_NAN,     RECIPE_INF};
    for (size_t i = 0; i < COUNT(recipes); i++) {
        c.m = 2;
        c.recipe = recipes[i];
        add(list, c);
    }
}

static void add_rope_kv(case_list *list)
{
    const op_case base = {.kind = OP_ROPE_KV, .m = 9, .n_heads = 4, .n_kv_heads = 2, .rows = ROWS_MIXED, .first = 60};
    for (size_t i = 0; i < COUNT(head_dims); i++)
        for (int type = KV_F32; type <= KV_INT4; type++) {
            op_case c = base;
            c.head_dim = head_dims[i];
            c.n_dims = i % 2 == 0 ? c.head_dim : c.head_dim / 4 * 2;
            c.k_type = type;
            c.v_type = (type + (int)i) % 4;
            c.adjacent = (i + (size_t)type) % 2 == 1;
            c.gap = 16 * (uint32_t)(i % 2);
            add(list, c);
        }
    op_case c = base;
    c.head_dim = c.n_dims = 128;
    for (int type = KV_F32; type <= KV_INT4; type++) {
        c.k_type = c.v_type = type;
        for (size_t i = 0; i < COUNT(m_sweep); i++) {
            c.m = m_sweep[i];
            c.rows = (op_rows)(i % 3);
            c.first = c.rows == ROWS_DECODE ? (uint32_t)i : 250;
            c.adjacent = i % 2 == 1;
            add(list, c);
        }
        c.m = 4;
        for (int recipe = RECIPE_ZEROS; recipe < RECIPE_N; recipe++) {
            c.recipe = (op_recipe)recipe;
            if (type == KV_F32 && op_recipe_raises(c.recipe)) continue; // f32 stores whatever it is given
            add(list, c);
        }
        c.recipe = RECIPE_RANDOM;
    }
}

static void add_attention(case_list *list)
{
    static const uint32_t heads[][2] = {{4, 2}, {3, 3}, {4, 1}, {6, 2}};
    // Every head size, all pairs of types, the three kinds of sharing.
    for (size_t i = 0; i < COUNT(head_dims); i++)
        for (int k_type = KV_F32; k_type <= KV_INT4; k_type++)
            for (int v_type = KV_F32; v_type <= KV_INT4; v_type++) {
                size_t j = (i + (size_t)k_type + (size_t)v_type) % COUNT(heads);
                op_case c = {.kind = OP_ATTENTION,
                             .m = 6,
                             .n_heads = heads[j][0],
                             .n_kv_heads = heads[j][1],
                             .head_dim = head_dims[i],
                             .k_type = k_type,
                             .v_type = v_type,
                             .rows = ROWS_MIXED,
                             .first = 30 * (uint32_t)i,
                             .gap = 16 * (uint32_t)(i % 2)};
                add(list, c);
            }
    for (int type = KV_F32; type <= KV_INT4; type++) {
        op_case c = {
            .kind = OP_ATTENTION, .n_heads = 4, .n_kv_heads = 2, .head_dim = 64, .k_type = type, .v_type = type};
        c.m = COUNT(decode_positions); // every boundary at once
        add(list, c);
        for (size_t i = 0; i < COUNT(m_sweep);
             i++) { // batches of sequences and prompts, from an empty and a filled context
            c.m = m_sweep[i];
            c.rows = i % 2 == 0 ? ROWS_PREFILL : ROWS_MIXED;
            c.first = i % 4 < 2 ? 0 : 200;
            add(list, c);
        }
        static const op_recipe recipes[] = {RECIPE_ZEROS, RECIPE_OUTLIER, RECIPE_EXTREME, RECIPE_DENORMAL,
                                            RECIPE_SMALL};
        for (size_t i = 0; i < COUNT(recipes); i++) {
            c.m = 5;
            c.first = 250;
            c.rows = ROWS_MIXED;
            c.recipe = recipes[i];
            add(list, c);
        }
        // 2B-4T decoding at the end of a long context, then a prompt.
        op_case model = {.kind = OP_ATTENTION,
                         .m = 1,
                         .n_heads = 20,
                         .n_kv_heads = 5,
                         .head_dim = 128,
                         .k_type = type,
                         .v_type = type,
                         .rows = ROWS_PREFILL,
                         .first = 4095};
        add(list, model);
        model.m = 512;
        model.first = 0;
        add(list, model);
    }
}

// Prompts over int8 K and V, which CUDA gives to tensor cores in windows of 16 rows: whole and partial windows, one
// sequence and two, histories that end blocks and groups, all numbers of query heads a KV head.
static void add_attention_prompts(case_list *list)
{
    static const uint32_t rows[] = {16, 17, 33, 64}, first[] = {0, 1, 63, 64, 300};
    static const uint32_t heads[][2] = {{4, 1}, {2, 2}, {8, 1}, {6, 2}, {1, 1}, {2, 1}, {5, 1}};
    static const uint32_t dims[] = {64, 80, 128, 48, 96, 112};
    size_t n = 0;
    for (size_t i = 0; i < COUNT(rows); i++)
        for (size_t j = 0; j < COUNT(first); j++)
            for (int two = 0; two < 2; two++, n++) {
                op_case c = {.kind = OP_ATTENTION,
                             .m = rows[i],
                             .n_heads = heads[n % COUNT(heads)][0],
                             .n_kv_heads = heads[n % COUNT(heads)][1],
                             .head_dim = dims[n % COUNT(dims)],
                             .k_type = KV_INT8,
                             .v_type = KV_INT8,
                             .rows = two ? ROWS_PROMPTS : ROWS_PREFILL,
                             .first = first[j],
                             .gap = 16 * (uint32_t)(n % 2)};
                add(list, c);
            }
    op_case c = {.kind = OP_ATTENTION,
                 .m = 24,
                 .n_heads = 4,
                 .n_kv_heads = 1,
                 .head_dim = 64,
                 .k_type = KV_INT8,
                 .v_type = KV_INT8,
                 .rows = ROWS_PREFILL,
                 .first = 250};
    for (int recipe = RECIPE_ZEROS; recipe <= RECIPE_SMALL; recipe++) {
        c.recipe = (op_recipe)recipe;
        add(list, c);
    }
    c.recipe = RECIPE_RANDOM;
    c.n_heads = 1;
    c.first = 1100; // groups of working memory, where they are spread
    add(list, c);
}

// Windows whole and cut, of one sequence and of several, every kind of sharing, head sizes at and between those of
// kernels, contexts from empty to several groups, with ends of blocks inside windows; and batches of prompts and
// decoding.
static void add_fast_attention(case_list *list)
{
    static const uint32_t rows[] = {7, 8, 16, 23, 24, 40, 64, 129}, first[] = {0, 1, 63, 120, 300};
    static const uint32_t heads[][2] = {{4, 1}, {2, 2}, {9, 1}, {6, 2}, {1, 1}, {5, 1}};
    static const uint32_t dims[] = {64, 80, 128, 8, 96, 104, 32};
    op_case c = {.kind = OP_FAST_ATTENTION, .k_type = KV_F16, .v_type = KV_F16};
    size_t n = 0;
    for (size_t i = 0; i < COUNT(rows); i++)
        for (size_t j = 0; j < COUNT(first); j++, n++) {
            c.m = rows[i];
            c.first = first[j];
            c.n_heads = heads[n % COUNT(heads)][0];
            c.n_kv_heads = heads[n % COUNT(heads)][1];
            c.head_dim = dims[n % COUNT(dims)];
            c.rows = n % 3 == 2 ? ROWS_PROMPTS : ROWS_PREFILL;
            c.gap = 16 * (uint32_t)(n % 2);
            add(list, c);
        }
    c = (op_case){.kind = OP_FAST_ATTENTION,
                  .m = 40,
                  .n_heads = 4,
                  .n_kv_heads = 2,
                  .head_dim = 64,
                  .k_type = KV_F16,
                  .v_type = KV_F16,
                  .rows = ROWS_MIXED};
    add(list, c);
    c.rows = ROWS_DECODE;
    add(list, c);
    c.rows = ROWS_PREFILL;
    c.first = 250;
    for (int recipe = RECIPE_ZEROS; recipe <= RECIPE_SMALL; recipe++) {
        c.recipe = (op_recipe)recipe;
        add(list, c);
    }
    c.recipe = RECIPE_RANDOM;
    c.n_heads = c.n_kv_heads = 1;
    c.first = 1100; // states in working memory, where positions are spread
    add(list, c);
    c.head_dim = 128; // a prompt of the 2B-4T geometry
    c.n_heads = 20;
    c.n_kv_heads = 5;
    c.m = 512;
    c.first = 0;
    add(list, c);
}

tern_status op_cases_list(op_case **out, size_t *n, tern_error *err)
{
    case_list list = {0};
    add_embed(&list);
    add_row_ops(&list);
    add_head_norm(&list);
    add_ternary_sweeps(&list);
    add_ternary_scales(&list);
    add_ternary_adds(&list);
    add_ternary_recipes(&list);
    add_dense(&list);
    add_int(&list);
    add_rescore(&list);
    add_rope_kv(&list);
    add_attention(&list);
    add_attention_prompts(&list);
    add_fast_attention(&list);
    add_top_k(&list);
    add_dense_top_k(&list);
    add_advance(&list);
    add_t80(&list);
    add_ternary_gates(&list);
    add_ternary_models(&list);
    if (list.is_out_of_memory) {
        free(list.cases);
        return error_set(err, TERN_HOST_MEMORY, "no memory for the list of op cases");
    }
    *out = list.cases;
    *n = list.n;
    return TERN_OK;
}
