// Models of named geometries with random weights (FORMATS.md 4.1, 4.3; the 7b, 8b, 13b and 70b rows are LLaMA's shapes
// with the BitNet b1.58 linears of the paper, 30b and 100b those of bitnet.cpp's benchmark): for speed and memory
// measurements without a download. Always labelled synthetic.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_internal.h"
#include "rng.h"

// Streams of random numbers that a layer keeps for its matrices. Another number would make other weights from the same
// seed.
#define STREAMS_PER_LAYER 11u

typedef struct geometry {
    const char *name;
    uint32_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab, n_ctx;
    double theta;
    activation act;
    bool has_sub_norm, is_tied;
} geometry;

static const geometry geometries[] = {
    {"tiny", 2, 256, 768, 4, 2, 64, 512, 512, 10000, ACTIVATION_RELU2, true, true},
    {"2b4t", 30, 2560, 6912, 20, 5, 128, 128256, 4096, 500000, ACTIVATION_RELU2, true, true},
    {"700m", 24, 1536, 4096, 16, 16, 96, 32002, 2048, 10000, ACTIVATION_SILU, true, true},
    {"1.3b", 24, 2048, 5460, 32, 32, 64, 32002, 2048, 10000, ACTIVATION_SILU, true, true},
    {"3b", 26, 3200, 8640, 32, 32, 100, 32002, 2048, 10000, ACTIVATION_SILU, true, true},
    {"3.9b", 26, 3200, 12800, 32, 32, 100, 32002, 2048, 10000, ACTIVATION_SILU, true, true},
    {"7b", 32, 4096, 11008, 32, 32, 128, 32000, 4096, 10000, ACTIVATION_SILU, false, false},
    {"8b", 32, 4096, 14336, 32, 8, 128, 128256, 8192, 500000, ACTIVATION_SILU, false, false},
    {"13b", 40, 5120, 13824, 40, 40, 128, 32000, 4096, 10000, ACTIVATION_SILU, false, false},
    {"30b", 60, 6656, 16384, 52, 52, 128, 32000, 4096, 10000, ACTIVATION_SILU, false, false},
    {"70b", 80, 8192, 28672, 64, 8, 128, 128256, 8192, 500000, ACTIVATION_SILU, false, false},
    {"70b-v32k", 80, 8192, 28672, 64, 8, 128, 32000, 8192, 500000, ACTIVATION_SILU, false, false},
    {"100b", 72, 8192, 45568, 64, 64, 128, 32000, 4096, 10000, ACTIVATION_SILU, false, false},
};

static const geometry *find_geometry(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++)
        if (strlen(geometries[i].name) == n && memcmp(geometries[i].name, name, n) == 0) return &geometries[i];
    return NULL;
}

static tern_status parse_spec(const char *spec, const geometry **shape, uint64_t *seed, tern_error *err)
{
    size_t n = strcspn(spec, ",");
    *shape = find_geometry(spec, n);
    if (*shape == NULL) {
        char names[128] = "";
        for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i > 0 ? ", " : "",
                     geometries[i].name);
        return error_set(err, TERN_NOT_FOUND, "synthetic:%.60s: no such shape; there are %s", spec, names);
    }
    *seed = 0;
    if (spec[n] == 0) return TERN_OK;
    const char *option = spec + n + 1;
    const char *digits = option + strlen("seed=");
    char *end = NULL;
    errno = 0;
    if (strncmp(option, "seed=", 5) == 0 && *digits >= '0' && *digits <= '9') *seed = strtoull(digits, &end, 10);
    if (end == NULL || *end != 0 || errno != 0)
        return error_set(err, TERN_INVALID_ARGUMENT, "synthetic:%.80s: after the shape only ,seed=N is understood",
                         spec);
    return TERN_OK;
}

static void make_hparams(const geometry *g, hparams *hp)
{
    snprintf(hp->architecture, sizeof hp->architecture, "%s", g->has_sub_norm ? "bitnet" : "llama");
    hp->n_layers = g->n_layers;
    hp->n_embd = g->n_embd;
    hp->n_ff = g->n_ff;
    hp->n_heads = g->n_heads;
    hp->n_kv_heads = g->n_kv_heads;
    hp->head_dim = g->head_dim;
    hp->n_vocab = g->n_vocab;
    hp->n_ctx_train = g->n_ctx;
    hp->norm_eps = 1e-5f;
    hp->act = g->act;
    hp->quant = ACT_QUANT_INT8;
    hp->rope = (rope_params){.style = ROPE_HALF_SPLIT, .theta = g->theta, .n_dims = g->head_dim};
    hp->is_tied = g->is_tied;
    hp->has_sub_norm = g->has_sub_norm;
    snprintf(hp->act_quant_reason, sizeof hp->act_quant_reason, "synthetic BitNet b1.58 linears");
}

// `number` tells the matrices of a model apart: each has its own stream of random numbers.
static matrix_source make_matrix(const char *name, uint32_t rows, uint32_t cols, bool is_ternary, uint64_t seed,
                                 uint64_t number)
{
    matrix_source m = {.n_rows = rows, .n_cols = cols, .dense = DENSE_F16, .seed = rng_u64(seed, number)};
    snprintf(m.name, sizeof m.name, "%s", name);
    m.encoding = is_ternary ? MATRIX_SYNTHETIC : MATRIX_DENSE;
    m.n_bytes = (uint64_t)rows * (is_ternary ? ternary_row_bytes(cols) : dense_row_bytes(DENSE_F16, cols));
    return m;
}

static void make_layer(const hparams *hp, uint32_t index, uint64_t seed, layer_source *layer)
{
    for (uint32_t s = 0; s < N_LAYER_SLOTS; s++) {
        const layer_slot *slot = &layer_slots[s];
        void *place = (char *)layer + slot->offset;
        if (slot->kind != SLOT_MATRIX) {
            ((tensor_ref *)place)->is_ones = layer_has_slot(hp, slot);
            continue;
        }
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s.weight", index, slot->gguf);
        *(matrix_source *)place = make_matrix(name, layer_width_of(hp, slot->rows), layer_width_of(hp, slot->cols),
                                              true, seed, 2 + (uint64_t)index * STREAMS_PER_LAYER + s);
    }
}

tern_status model_open_synthetic(const char *spec, model_source *m, tern_error *err)
{
    const geometry *shape = NULL;
    uint64_t seed = 0;
    tern_status status = parse_spec(spec, &shape, &seed, err);
    if (status != TERN_OK) return status;
    make_hparams(shape, &m->hp);
    m->layers = calloc(m->hp.n_layers, sizeof *m->layers);
    if (m->layers == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %u layers", m->hp.n_layers);
    m->embedding = make_matrix("token_embd.weight", m->hp.n_vocab, m->hp.n_embd, false, seed, 0);
    m->head = m->hp.is_tied ? m->embedding : make_matrix("output.weight", m->hp.n_vocab, m->hp.n_embd, false, seed, 1);
    m->output_norm.is_ones = true;
    for (uint32_t l = 0; l < m->hp.n_layers; l++) make_layer(&m->hp, l, seed, &m->layers[l]);
    m->is_synthetic = true;
    snprintf(m->name, sizeof m->name, "synthetic %s, seed %llu", shape->name, (unsigned long long)seed);
    snprintf(m->container, sizeof m->container, "synthetic");
    snprintf(m->formats, sizeof m->formats, "random trits x%u, random F16 x%u", m->hp.n_layers * 7,
             m->hp.is_tied ? 1u : 2u);
    return TERN_OK;
}
