// Seeds of the loader targets: models of every form that the loader tells apart, as small as they come, and files one
// step away from them that it refuses.
#include <math.h>

#include "load.h"
#include "seeds.h"

// Rows of 256 columns for block types, few of them: 2 heads of 8 from a width of 256, feed-forward 8.
static void wide_model(tiny_model *m, uint32_t type)
{
    tiny_default(m);
    tiny_u32(m, "bitnet-b1.58.embedding_length", 256);
    tiny_u32(m, "bitnet-b1.58.feed_forward_length", 8);
    tiny_u32(m, "bitnet-b1.58.attention.key_length", 8);
    tiny_u32(m, "bitnet-b1.58.attention.value_length", 8);
    tiny_add(m, "token_embd.weight", 256, 8, TINY_F16);
    tiny_add(m, "blk.0.attn_norm.weight", 256, 0, TINY_F32);
    tiny_add(m, "blk.0.ffn_norm.weight", 256, 0, TINY_F32);
    tiny_add(m, "blk.0.ffn_sub_norm.weight", 8, 0, TINY_F32);
    tiny_add(m, "blk.0.attn_q.weight", 256, 16, type);
    tiny_add(m, "blk.0.attn_k.weight", 256, 8, type);
    tiny_add(m, "blk.0.attn_v.weight", 256, 8, type);
    tiny_add(m, "blk.0.attn_output.weight", 16, 256, TINY_I2S);
    tiny_add(m, "blk.0.ffn_gate.weight", 256, 8, type);
    tiny_add(m, "blk.0.ffn_up.weight", 256, 8, type);
    tiny_add(m, "blk.0.ffn_down.weight", 8, 256, TINY_I2S);
    tiny_add(m, "output_norm.weight", 256, 0, TINY_F32);
}

static void first_seeds(void)
{
    tiny_model m;
    bytes b = {0};
    for (size_t i = 0; i < N_SEED_TYPES; i++) {
        if (seed_types[i].block > 1) {
            wide_model(&m, seed_types[i].id);
        } else { // rows of floats may be short
            tiny_default(&m);
            for (size_t k = 0; k < m.n_tensors; k++)
                if (m.tensors[k].type == TINY_I2S) m.tensors[k].type = seed_types[i].id;
        }
        b.n = 0;
        write_model(&m, NULL, seed_types[i].block == 128, &b);
        write_seed("load", seed_types[i].name, b.data, b.n);
    }
    tiny_default(&m);
    b.n = 0;
    tiny_write(&m, &b);
    write_seed("load", "tiny", b.data, b.n);
    // The same in two files.
    tiny_model second = m;
    tiny_u32(&m, "split.no", 0);
    tiny_u32(&m, "split.count", 2);
    tiny_u32(&m, "split.tensors.count", (uint32_t)m.n_tensors);
    second.n_values = 0;
    tiny_u32(&second, "split.no", 1);
    tiny_u32(&second, "split.count", 2);
    second.n_tensors -= 6;
    memmove(second.tensors, second.tensors + 6, second.n_tensors * sizeof *second.tensors);
    m.n_tensors = 6;
    b.n = 0;
    tiny_write(&m, &b);
    bytes part = {0};
    tiny_write(&second, &part);
    put(&b, part.data, part.n);
    free(part.data);
    write_seed("split", "tiny", b.data, b.n);
    tiny_default(&m);
    // A finding of the loader target: angles beyond what an integer holds, when the base was only asked to be over 0.
    tiny_f32(&m, "bitnet-b1.58.rope.freq_base", 1e-38f);
    b.n = 0;
    tiny_write(&m, &b);
    write_seed("load", "rope-base-near-zero", b.data, b.n);
    tiny_f32(&m, "bitnet-b1.58.rope.freq_base", 10000.0f);
    // A name that would move the cursor.
    tiny_string(&m, "general.name",
                "a\x1b[2J\xc2\x9b"
                "2J\xff");
    b.n = 0;
    tiny_write(&m, &b);
    write_seed("load", "name-of-control-characters", b.data, b.n);
    tiny_drop_key(&m, "general.name");
    // A llama with its own head and frequency divisors, all floats.
    for (size_t i = 0; i < m.n_values; i++) {
        char key[80];
        const char *dot = strchr(m.values[i].key, '.');
        if (strncmp(m.values[i].key, "bitnet-b1.58.", 13) != 0) continue;
        snprintf(key, sizeof key, "llama%s", strchr(dot + 1, '.'));
        memcpy(m.values[i].key, key, sizeof key);
    }
    tiny_string(&m, "general.architecture", "llama");
    tiny_drop(&m, "blk.0.attn_sub_norm.weight");
    tiny_drop(&m, "blk.0.ffn_sub_norm.weight");
    for (size_t i = 0; i < m.n_tensors; i++)
        if (m.tensors[i].type == TINY_I2S) m.tensors[i].type = TINY_F32;
    tiny_add(&m, "output.weight", 16, 8, TINY_F16);
    tiny_add(&m, "rope_freqs.weight", 4, 0, TINY_F32);
    b.n = 0;
    tiny_write(&m, &b);
    write_seed("load", "llama", b.data, b.n);
    free(b.data);
}

// ------------------------------------------------------------------------------------- models of every form, as small

static tiny_model model;
static seed_keys more;

static void begin(void)
{
    free(more.keys.data);
    more = (seed_keys){{0}, 0};
}

static void save(const char *name)
{
    bytes b = {0};
    write_model(&model, &more, false, &b);
    write_seed("load", name, b.data, b.n);
    free(b.data);
}

// One seed for each value that `load_choice / divisor % modulus` can have: the model's name decides.
static void save_choices(const char *name, unsigned divisor, unsigned modulus)
{
    for (unsigned wanted = 0; wanted < modulus; wanted++) {
        char text[16], full[80];
        bytes b = {0};
        for (unsigned i = 0;; i++) {
            snprintf(text, sizeof text, "%u", i);
            tiny_string(&model, "general.name", text);
            b.n = 0;
            write_model(&model, &more, false, &b);
            if (load_choice(b.data, b.n) / divisor % modulus == wanted) break;
        }
        snprintf(full, sizeof full, "%s-%u", name, wanted);
        write_seed("load", full, b.data, b.n);
        free(b.data);
    }
    tiny_drop_key(&model, "general.name");
}

static const char *key(const char *suffix)
{
    static char full[80];
    snprintf(full, sizeof full, "%s.%s", model.values[0].s, suffix);
    return full;
}

static tiny_tensor *linear(const char *part) // of layer 0
{
    char full[64];
    snprintf(full, sizeof full, "blk.0.%s.weight", part);
    return tiny_get(&model, full);
}

// A matrix in the type asked for where whole blocks fit, else in F16.
static void add_linear(const char *part, uint32_t cols, uint32_t rows, uint32_t type)
{
    char full[64];
    bool fits = cols % seed_type_of(type, false)->block == 0 && (type != TINY_I2S || cols * rows % 128 == 0);
    snprintf(full, sizeof full, "blk.0.%s.weight", part);
    tiny_add(&model, full, cols, rows, fits ? type : TINY_F16);
}

typedef struct shape {
    uint32_t n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab;
} shape;

static const shape slim = {64, 64, 2, 1, 8, 4}, wide = {256, 4, 2, 1, 2, 4}, thin = {4, 4, 2, 1, 2, 4};

// One layer, tied, F16 embedding and norms.
static void make(const char *arch, const shape *s, uint32_t type)
{
    memset(&model, 0, sizeof model);
    begin();
    tiny_string(&model, "general.architecture", arch);
    tiny_u32(&model, key("block_count"), 1);
    tiny_u32(&model, key("context_length"), 64);
    tiny_u32(&model, key("embedding_length"), s->n_embd);
    tiny_u32(&model, key("feed_forward_length"), s->n_ff);
    tiny_u32(&model, key("attention.head_count"), s->n_heads);
    tiny_u32(&model, key("attention.head_count_kv"), s->n_kv_heads);
    tiny_u32(&model, key("attention.key_length"), s->head_dim);
    tiny_u32(&model, key("attention.value_length"), s->head_dim);
    tiny_f32(&model, key("attention.layer_norm_rms_epsilon"), 1e-5f);
    tiny_u32(&model, key("vocab_size"), s->n_vocab);
    tiny_add(&model, "token_embd.weight", s->n_embd, s->n_vocab, TINY_F16);
    tiny_add(&model, "output_norm.weight", s->n_embd, 0, TINY_F16);
    tiny_add(&model, "blk.0.attn_norm.weight", s->n_embd, 0, TINY_F16);
    tiny_add(&model, "blk.0.ffn_norm.weight", s->n_embd, 0, TINY_F16);
    if (strncmp(arch, "bitnet", 6) == 0) {
        tiny_add(&model, "blk.0.attn_sub_norm.weight", s->n_heads * s->head_dim, 0, TINY_F16);
        tiny_add(&model, "blk.0.ffn_sub_norm.weight", s->n_ff, 0, TINY_F16);
    }
    if (strcmp(arch, "qwen3") == 0) {
        tiny_add(&model, "blk.0.attn_q_norm.weight", s->head_dim, 0, TINY_F16);
        tiny_add(&model, "blk.0.attn_k_norm.weight", s->head_dim, 0, TINY_F16);
    }
    add_linear("attn_q", s->n_embd, s->n_heads * s->head_dim, type);
    add_linear("attn_k", s->n_embd, s->n_kv_heads * s->head_dim, type);
    add_linear("attn_v", s->n_embd, s->n_kv_heads * s->head_dim, type);
    add_linear("attn_output", s->n_heads * s->head_dim, s->n_embd, type);
    add_linear("ffn_gate", s->n_embd, s->n_ff, type);
    add_linear("ffn_up", s->n_embd, s->n_ff, type);
    add_linear("ffn_down", s->n_ff, s->n_embd, type);
}

static const char *named(const char *what, unsigned i)
{
    static char name[40];
    snprintf(name, sizeof name, "%s-%u", what, i);
    return name;
}

static void architecture_seeds(void)
{
    static const char *const names[] = {"bitnet-b1.58", "bitnet-25", "bitnet", "llama", "qwen3", "gemma3", "qwen35"};
    static const char *const activations[] = {"silu", "relu2", "relu_squared", "gelu"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        make(names[i], &slim, TINY_I2S);
        save_choices(names[i], 1, 4);
        for (unsigned k = 0; k < 4; k++) {
            char name[40];
            tiny_string(&model, key("hidden_activation"), activations[k]);
            snprintf(name, sizeof name, "%s-%s", names[i], activations[k]);
            save(name);
        }
    }
    make("bitnet", &(shape){64, 64, 2, 2, 8, 4}, TINY_I2S); // as many KV heads as heads: SiLU
    save("bitnet-mha");
}

// Every type in the linears, in the table, and in a head of its own; what the plan may hold the head in.
static void type_seeds(void)
{
    for (unsigned i = 0; i < N_SEED_TYPES; i++) {
        const seed_type *type = &seed_types[i];
        const shape *s = type->block > 64 ? &wide : &slim;
        if (type->block == 128) continue; // told apart by the offsets: first_seeds
        make(i % 2 == 0 ? "llama" : "qwen3", s, type->id);
        save_choices(named("linear", i), 1, 4);
        make("llama", s, TINY_I2S);
        tiny_get(&model, "token_embd.weight")->type = type->id;
        save_choices(named("table", i), 12, LOAD_FORMS);
        tiny_add(&model, "output.weight", s->n_embd, s->n_vocab, type->id);
        tiny_get(&model, "token_embd.weight")->type = TINY_F16;
        save_choices(named("head", i), 12, LOAD_FORMS);
    }
    for (unsigned i = 0; i < 3; i++) { // the Bonsai family: table and head as the linears
        static const uint32_t ids[] = {42, 142, 143};
        make("qwen3", i == 0 ? &slim : &wide, ids[i]);
        tiny_get(&model, "token_embd.weight")->type = ids[i];
        save_choices(named("bonsai", i), 12, LOAD_FORMS);
        tiny_add(&model, "output.weight", i == 0 ? 64 : 256, 4, ids[i]);
        save_choices(named("bonsai-head", i), 12, LOAD_FORMS);
    }
    make("bitnet-b1.58", &slim, TINY_I2S);
    save_choices("packing", 960, 2);
    save_choices("kv", 60, 16);
    save_choices("act-form", 1, 12 * LOAD_FORMS);
    make("llama", &slim, 8);
    save_choices("dense-form", 12, LOAD_FORMS);
    make("llama", &slim, TINY_I2S);
    linear("ffn_up")->type = 8; // not the type of its neighbour
    linear("attn_k")->type = 30;
    save("mixed");
    make("llama", &slim, TINY_I2S);
    linear("ffn_gate")->value = 0.25f; // two scales in one stack of rows
    linear("attn_v")->value = 2.0f;
    save_choices("scales", 960, 2);
    linear("ffn_gate")->fill = 0x55; // no trit but 0
    linear("ffn_gate")->value = 0.0f;
    save("scale-0");
    linear("ffn_gate")->fill = 0xff; // code 3
    save("code-3");
}

static void pattern_seeds(void)
{
    static const uint32_t floats[] = {TINY_F32, TINY_F16, 30};
    for (unsigned p = 0; p < N_PATTERNS; p++)
        for (unsigned i = 0; i < 3; i++) {
            make("llama", &(shape){256, 4, 1, 1, 2, 4}, 8);
            linear("ffn_gate")->type = linear("attn_q")->type = floats[i];
            linear("ffn_gate")->fill = linear("attn_q")->fill = (uint8_t)p;
            linear("attn_output")->fill = (uint8_t)p;
            tiny_get(&model, "token_embd.weight")->fill = p % 2 == 0 ? (uint8_t)p : TINY_FILL;
            save_choices(named("pattern", 3 * p + i), 1, 4);
            if (i == 1) save_choices(named("pattern-form", p), 960, 2);
        }
    make("bitnet", &slim, TINY_F16);
    save("pattern-bitnet");
    make("llama", &(shape){96, 8, 2, 1, 8, 4}, TINY_F16); // a last stretch of 32 columns
    for (size_t i = 0; i < model.n_tensors; i++) model.tensors[i].fill = PATTERN_STRETCHES;
    save_choices("pattern-ragged", 1, 4);
    linear("ffn_up")->value = INFINITY;
    save("pattern-infinite");
    make("llama", &slim, TINY_F16);
    tiny_add(&model, "output.weight", 64, 4, TINY_F32);
    tiny_get(&model, "output.weight")->fill = PATTERN_ROWS;
    save("pattern-head");
}

static void attention_seeds(void)
{
    static const uint32_t dims[] = {2, 4, 16, 20, 32, 34, 40, 48, 64, 80, 96, 100, 112, 128, 160, 192, 256};
    static const shape groups[] = {{4, 4, 4, 4, 2, 4}, {4, 4, 4, 2, 2, 4},  {4, 4, 3, 1, 2, 4},  {4, 4, 3, 2, 2, 4},
                                   {4, 4, 8, 1, 2, 4}, {4, 4, 16, 1, 2, 4}, {4, 4, 12, 2, 2, 4}, {4, 4, 2, 1, 7, 4}};
    for (unsigned i = 0; i < sizeof dims / sizeof *dims; i++) {
        make("llama", &(shape){2, 2, 1, 1, dims[i], 2}, TINY_F16);
        save_choices(named("head-size", dims[i]), 60, 16);
    }
    make("qwen3", &(shape){2, 2, 1, 1, 100, 2}, TINY_F16);
    save("head-norm");
    for (unsigned i = 0; i < sizeof groups / sizeof *groups; i++) {
        make("llama", &groups[i], TINY_F16);
        save_choices(named("group", i), 240, 4);
    }
    make("llama", &(shape){2, 2, 1, 1, 1026, 2}, TINY_F16);
    save("head-size-over");
    make("llama", &thin, TINY_F16);
    tiny_u32(&model, key("attention.value_length"), 4);
    save("value-length");
}

static void rope_seeds(void)
{
    static const char *const kinds[] = {"yarn", "linear", "none", "longrope", ""};
    static const char *const numbers[] = {"rope.scale_linear",
                                          "rope.scaling.attn_factor",
                                          "rope.scaling.yarn_attn_factor",
                                          "rope.scaling.beta_fast",
                                          "rope.scaling.beta_slow",
                                          "rope.scaling.yarn_beta_fast",
                                          "rope.scaling.yarn_beta_slow",
                                          "rope.freq_base"};
    static const float values[] = {4.0f, 1.0f, 0.0f, -1.0f, 64.0f, 0.5f, 1e30f};
    for (unsigned i = 0; i < 5; i++)
        for (unsigned k = 0; k < 8; k++) {
            make(k % 2 == 0 ? "qwen3" : "llama", &(shape){2, 2, 1, 1, 32, 2}, TINY_F16);
            if (i < 4) tiny_string(&model, key("rope.scaling.type"), kinds[i]);
            if (k < 7) tiny_f32(&model, key("rope.scaling.factor"), values[k]);
            if (k < 7) tiny_u32(&model, key("rope.scaling.original_context_length"), 1u << 4 * k);
            save(named("rope", 8 * i + k));
            tiny_f32(&model, key("rope.scaling.factor"), 4.0f);
            for (unsigned v = 0; v < 7 && i < 2; v++) {
                tiny_f32(&model, key(numbers[k]), values[v]);
                save(named(kinds[i], 8 * k + v));
            }
        }
    make("llama", &(shape){2, 2, 1, 1, 32, 2}, TINY_F16);
    for (unsigned i = 0; i < 4; i++) {
        static const uint32_t n_dims[] = {16, 0, 3, 34};
        tiny_u32(&model, key("rope.dimension_count"), n_dims[i]);
        save(named("rope-dims", i));
    }
    tiny_u32(&model, key("rope.dimension_count"), 32);
    for (unsigned i = 0; i < 8; i++) { // divisors: types, too small, another count
        static const uint32_t kinds_of[] = {0, 1, 30, 8, 0, 0, 0, 0};
        static const float divisors[] = {1, 1, 1, 1, 0.125f, NAN, INFINITY, 1};
        tiny_add(&model, "rope_freqs.weight", i == 7 ? 8 : i == 3 ? 32 : 16, 0, kinds_of[i]);
        tiny_get(&model, "rope_freqs.weight")->fill = PATTERN_TENSOR;
        tiny_get(&model, "rope_freqs.weight")->value = divisors[i];
        save(named("divisors", i));
    }
}

// Values that no result is finite with, at each place in turn.
static void overflow_seeds(void)
{
    static const float values[] = {3e38f, INFINITY, NAN, 1e-40f, 1e19f};
    for (unsigned v = 0; v < sizeof values / sizeof *values; v++) {
        make(v % 2 == 0 ? "bitnet" : "qwen3", &(shape){4, 4, 2, 1, 2, 2}, TINY_F32);
        for (size_t i = 0; i < model.n_tensors; i++) model.tensors[i].type = TINY_F32;
        for (size_t i = 0; i < model.n_tensors; i++) {
            tiny_tensor *t = &model.tensors[i], before = *t;
            t->fill = PATTERN_TENSOR;
            t->value = values[v];
            save(named("overflow", (unsigned)(100 * v + i)));
            *t = before;
        }
    }
    make("llama", &slim, TINY_I2S); // through each form of a head, and each KV type
    tiny_get(&model, "token_embd.weight")->fill = PATTERN_TENSOR;
    tiny_get(&model, "token_embd.weight")->value = 65504.0f;
    save_choices("overflow-head", 12, LOAD_FORMS);
    linear("attn_k")->value = linear("attn_v")->value = 3e38f;
    save_choices("overflow-kv", 60, 16);
    tiny_get(&model, "token_embd.weight")->value = INFINITY;
    save_choices("infinite-head", 12, LOAD_FORMS);
    linear("attn_k")->value = INFINITY;
    save("scale-infinite");
}

// Halves and floats of every class (0, subnormal, large, infinite, not a number, negative) in every type, and rows of
// them through what may hold a head.
static void fill_seeds(void)
{
    static const uint8_t fills[] = {0x00, 0x01, 0x03, 0x7b, 0x7c, 0x7e, 0x7f, 0x80, 0x83, 0xfb, 0xfc, 0xff};
    for (unsigned i = 0; i < N_SEED_TYPES; i++)
        for (unsigned k = 0; k < sizeof fills; k++) {
            const shape *s = seed_types[i].block > 64 ? &wide : &slim;
            if (seed_types[i].block == 128) continue;
            make("llama", s, 8);
            linear("ffn_gate")->type = linear("attn_q")->type = seed_types[i].id;
            linear("ffn_gate")->fill = linear("attn_q")->fill = fills[k];
            save(named("fill", 100 * i + k));
            make("llama", s, TINY_I2S);
            tiny_get(&model, "token_embd.weight")->type = seed_types[i].id;
            tiny_get(&model, "token_embd.weight")->fill = fills[k];
            save(named("fill-table", 100 * i + k));
            tiny_get(&model, "token_embd.weight")->type = TINY_F16;
            tiny_get(&model, "token_embd.weight")->fill = TINY_FILL;
            tiny_add(&model, "output.weight", s->n_embd, s->n_vocab, seed_types[i].id);
            tiny_get(&model, "output.weight")->fill = fills[k];
            save(named("fill-head", 100 * i + k));
            if (k >= 4 && k <= 6) save_choices(named("fill-head", 100 * i + k), 12, LOAD_FORMS);
        }
    for (unsigned k = 0; k < sizeof fills; k++) { // norms, and KV of each type
        make("qwen3", &(shape){2, 2, 1, 1, 32, 2}, TINY_F16);
        tiny_get(&model, "output_norm.weight")->fill = fills[k];
        save(named("fill-norm", k));
        make("bitnet", &(shape){2, 2, 1, 1, 32, 2}, TINY_F16);
        linear("attn_k")->fill = linear("attn_v")->fill = fills[k];
        save_choices(named("fill-kv", k), 60, 16);
    }
    for (unsigned k = 0; k < 8; k++) { // through SiLU, beyond where its exponential ends; and ReLU^2
        make(k < 6 ? "llama" : "bitnet-25", &(shape){2, 2, 1, 1, 2, 2}, TINY_F32);
        static const float gates[] = {1e3f, -1e3f, 150.0f, -150.0f, 200.0f, -200.0f, 1e25f, -1e25f};
        linear("ffn_gate")->fill = PATTERN_TENSOR;
        linear("ffn_gate")->value = gates[k];
        save(named("gate", k));
    }
}

// Tensors that are missing, unknown, of other shapes or types.
static void tensor_seeds(void)
{
    make("llama", &thin, TINY_F16);
    const tiny_model whole = model;
    for (size_t i = 0; i < whole.n_tensors; i++) {
        static const uint32_t others[] = {TINY_F32, 30, 36, 8};
        model = whole;
        model.tensors[i] = model.tensors[--model.n_tensors];
        save(named("missing", (unsigned)i));
        for (unsigned k = 0; k < 4; k++) {
            model = whole;
            model.tensors[i].type = others[k];
            if (k >= 2) model.tensors[i].dims[0] = 32;
            save(named("other", (unsigned)(10 * i + k)));
        }
        model = whole;
        model.tensors[i].n_dims = 3; // print_shape
        model.tensors[i].dims[1]++;
        save(named("shape", (unsigned)i));
    }
    static const char *const names[] = {"blk.0.rotary_emb.inv_freq", "blk.0.attn_q.norm_in.weight", "lm_head.weight",
                                        "blk.0.attn_q.bias", "token_embd.weight"};
    for (unsigned i = 0; i < 5; i++) {
        model = whole;
        tiny_add(&model, "spare", 4, 0, TINY_F32);
        snprintf(model.tensors[model.n_tensors - 1].name, sizeof model.tensors[0].name, "%s", names[i]);
        save(named("spare", i));
    }
    make("llama", &slim, TINY_I2S);
    model.n_tensors--; // as two layers: the second without tensors
    tiny_u32(&model, key("block_count"), 2);
    save("layers-missing");
    static const uint64_t sizes[] = {64, 32};
    make("llama", &slim, TINY_I2S); // no whole groups of I2_S
    for (unsigned i = 0; i < 2; i++) {
        linear("attn_k")->dims[0] = sizes[i];
        linear("attn_k")->dims[1] = 3;
        save_choices(named("i2s-groups", i), 4, 3);
    }
}

// ------------------------------------------------------------------------------------------------------------ metadata

static void put_value(const char *name, uint32_t type, double value)
{
    int64_t integer = type == 12 ? 0 : (int64_t)value;
    put_key(&more.keys, name, type);
    if (type == 6)
        put(&more.keys, &(float){(float)value}, 4);
    else if (type == 12)
        put(&more.keys, &value, 8);
    else
        put(&more.keys, &integer, type >= 10 ? 8 : type >= 4 && type < 7 ? 4 : type >= 2 && type < 4 ? 2 : 1);
    more.n++;
}

static void put_array(const char *name, uint32_t type, uint64_t n, const void *data, size_t n_bytes)
{
    put_key(&more.keys, name, 9);
    put_u32(&more.keys, type);
    put_u64(&more.keys, n);
    put(&more.keys, data, n_bytes);
    more.n++;
}

static void thin_again(void) { make("llama", &(shape){2, 2, 1, 1, 2, 2}, TINY_F16); }

static void metadata_seeds(void)
{
    static const char *const foreign[] = {"expert_count", "attention.causal", "logit_scale",
                                          "rope.scaling.yarn_ext_factor", "pooling_type"};
    for (uint32_t type = 0; type <= 12; type++) { // numbers of every type, in and out of range
        static const double values[] = {0, 1, 2, 64, -1, 1e300};
        if (type == 8 || type == 9) continue;
        for (unsigned v = 0; v < (type == 12 ? 6 : 5); v++) {
            thin_again();
            tiny_drop_key(&model, key("context_length"));
            put_value(key("context_length"), type, values[v]);
            save(named("number", 10 * type + v));
            thin_again();
            put_value(key("rope.freq_base"), type, values[v]);
            save(named("base", 10 * type + v));
            for (unsigned k = 0; k < 5 && v < 2; k++) {
                thin_again();
                put_value(key(foreign[k]), type, values[v]);
                save(named(foreign[k], 2 * type + v));
            }
        }
        thin_again();
        put_value("general.alignment", type, 32);
        put_value("tern.synthetic", type, 1);
        save(named("alignment", type));
    }
    static const float floats[] = {NAN, INFINITY, 1e31f, 1e-30f};
    for (unsigned i = 0; i < 4; i++) {
        static const char *const names[] = {"rope.freq_base", "attention.layer_norm_rms_epsilon"};
        thin_again();
        tiny_f32(&model, key(names[i % 2]), floats[i]);
        save(named("float", i));
        tiny_f32(&model, key(names[1 - i % 2]), floats[i]);
        save(named("floats", i));
    }
    static const uint32_t alignments[] = {0, 4, 8, 16, 32, 48, 64, 65536, 131072};
    for (unsigned i = 0; i < 9; i++) {
        thin_again();
        put_value("general.alignment", 4, alignments[i]);
        put_value("tern.synthetic", 7, i);
        save(named("alignment-of", i));
    }
    static const char *const uniform[] = {"feed_forward_length", "attention.head_count", "attention.head_count_kv"};
    for (unsigned i = 0; i < 3; i++)
        for (unsigned v = 0; v < 6; v++) { // per layer: alike, not, too few, negative, of another type, none
            static const int32_t same[] = {2, 2}, differ[] = {2, 4}, negative[] = {-2, -2};
            make("llama", &(shape){4, 2, 2, 2, 2, 2}, TINY_F16);
            if (v < 2) { // two layers
                size_t n = model.n_tensors;
                for (size_t k = 0; k < n; k++) {
                    if (strncmp(model.tensors[k].name, "blk.0", 5) != 0) continue;
                    model.tensors[model.n_tensors] = model.tensors[k];
                    model.tensors[model.n_tensors++].name[4] = '1';
                }
                tiny_u32(&model, key("block_count"), 2);
            }
            tiny_drop_key(&model, key(uniform[i]));
            const int32_t *data = v == 1 ? differ : v == 3 ? negative : same;
            if (v < 5) put_array(key(uniform[i]), v == 4 ? 6 : v == 0 ? 4 : 5, v == 3 ? 1 : 2, data, v == 3 ? 4 : 8);
            save(named("uniform", 6 * i + v));
        }
    static const struct {
        uint32_t type;
        uint64_t n;
        size_t n_bytes;
    } arrays[] = {{0, 4, 4},
                  {7, 4, 4},
                  {8, 2, 20},
                  {9, 1, 8},
                  {10, 2, 16},
                  {13, 1, 8},
                  {8, 3, 20},
                  {12, 2, 16},
                  {4, 0, 0},
                  {4, 1u << 31, 4},
                  {11, UINT64_MAX / 4, 8},
                  {8, 1u << 20, 20}};
    for (unsigned i = 0; i < 12; i++) {
        static const uint8_t data[24] = {2, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 2, 0, 0, 0, 0, 0, 0, 0, 'c', 'd'};
        thin_again();
        put_array("array", arrays[i].type, arrays[i].n, data, arrays[i].n_bytes);
        save(named("array", i));
    }
    static const char *const strings[] = {"general.name",         "general.alignment", "general.architecture",
                                          "split.count",          "split.no",          "x.hadamard.size",
                                          "tokenizer.ggml.model", "rope.scaling.type", "tern.synthetic",
                                          "block_count",          "hidden_activation", "vocab_size"};
    for (unsigned i = 0; i < 12; i++)
        for (unsigned k = 0; k < 2; k++) { // a text, a number; what is there already: a second time
            thin_again();
            const char *name = strchr(strings[i], '.') == NULL || i == 7 ? key(strings[i]) : strings[i];
            if (k == 0)
                tiny_string(&model, "spare", "");
            else
                tiny_u32(&model, "spare", 2);
            snprintf(model.values[model.n_values - 1].key, sizeof model.values[0].key, "%s", name);
            save(named(strings[i], k));
        }
    static char long_text[70000];
    memset(long_text, 'a', sizeof long_text - 1);
    static const size_t lengths[] = {127, 128, 300, 4000};
    for (unsigned i = 0; i < 4; i++) {
        thin_again();
        tiny_string(&model, "general.name", long_text + sizeof long_text - 1 - lengths[i]);
        save(named("name", i));
        tiny_string(&model, "general.architecture", long_text + sizeof long_text - 1 - lengths[i]);
        save(named("architecture", i));
    }
    static const char *const of_rope[] = {"rope.scaling.attn_factor",
                                          "rope.scaling.beta_fast",
                                          "rope.scale_linear",
                                          "rope.scaling.factor",
                                          "rope.scaling.original_context_length",
                                          "rope.scaling.yarn_beta_slow",
                                          "attention.clamp_kqv"};
    for (unsigned i = 0; i < 14; i++) { // a text instead of a number
        thin_again();
        if (i % 2 == 0) tiny_string(&model, key("rope.scaling.type"), "yarn");
        if (i % 2 == 0) tiny_f32(&model, key("rope.scaling.factor"), 4.0f);
        tiny_string(&model, key(of_rope[i / 2]), "4");
        save(named("rope-text", i));
    }
    const char *long_name = long_text + sizeof long_text - 1 - 300;
    for (unsigned i = 0; i < 8; i++) { // what messages shorten
        static const uint32_t elements[] = {9, 13, 4, 8, 5};
        thin_again();
        if (i < 5)
            put_array(long_name, elements[i], 1000000, "aaaaaaaa", 8);
        else if (i == 5)
            put_value(long_name, 4, 0), put_value(long_name, 4, 0);
        else
            tiny_string(&model, key(i == 6 ? "hidden_activation" : "rope.scaling.type"), long_name);
        save(named("long", i));
    }
    thin_again();
    put_key_u32(&more.keys,
                "x.hadamard." // longer than is shown
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                1);
    more.n++;
    save("long-hadamard");
    thin_again();
    tiny_drop_key(&model, key("vocab_size")); // from the embedding
    save("vocabulary-of-embedding");
    put_array("tokenizer.ggml.tokens", 5, 2, "aaaabbbb", 8);
    save("vocabulary-of-tokens");
    for (unsigned i = 0; i < 5; i++) { // counts over the limits, other versions, nothing
        bytes b = {0};
        put_header(&b, i == 2 ? 4 : i == 3 ? 3u << 24 : 3, i == 0 ? 65537 : 0, i == 1 ? 65537 : 0);
        put_fill(&b, 0, 8);
        write_seed("load", named("header", i), b.data, b.n);
        free(b.data);
    }
}

static void key_length_seeds(void)
{
    bytes b = {0};
    put_header(&b, 3, 0, 1);
    put_u64(&b, 65536);
    put_fill(&b, 'a', 65536);
    put_u32(&b, 4);
    put_u32(&b, 0);
    write_seed("load", "key-too-long", b.data, b.n);
    free(b.data);
}

// A model with a tokenizer; the thinnest, because the table has a row for each token.
static void tokenizer_model(const char *arch, uint32_t n_vocab)
{
    make(arch, &(shape){2, 2, 1, 1, 2, n_vocab}, TINY_F16);
}

// Changes one value inside the keys: the first occurrence of `from`.
static void patch(const void *from, const void *to, size_t n)
{
    uint8_t *at = memmem(more.keys.data, more.keys.n, from, n);
    if (at == NULL) abort();
    memcpy(at, to, n);
}

static void tokenizer_seeds(void)
{
    static const char *const pres[] = {"llama-bpe", "qwen2", "gpt-2", "default", "tekken", "", NULL};
    for (unsigned i = 0; i < 7; i++) {
        tokenizer_model(i % 2 == 0 ? "llama" : "qwen3", SEED_BYTE_LEVEL_TOKENS);
        put_byte_level_keys(&more, pres[i]);
        save(named("byte-level", i));
    }
    tokenizer_model("bitnet-25", SEED_BYTE_LEVEL_TOKENS);
    put_byte_level_keys(&more, NULL);
    save("byte-level-bitnet");
    static const struct {
        const char *from, *to;
        size_t n;
    } byte_level[] = {{"gpt2", "bert", 4},
                      {"gpt2", "t5ab", 4},
                      {"a b", "aab", 3},
                      {"a b", "a  ", 3},
                      {"a b", " ab", 3},
                      {"ab c", "a  b", 4},
                      {"ab c", "zz c", 4},
                      {"<s>", "ab\x81", 3},
                      {"abc", "ab\0", 3},
                      {"ggml.pre", "ggml.prf", 8},
                      {"merges", "mergez", 6},
                      {"token_type", "token_typf", 10},
                      {"\3\0\0\0\3\0\0\0", "\6\0\0\0\3\0\0\0", 8},
                      {"\3\0\0\0\3\0\0\0", "\7\0\0\0\4\0\0\0", 8},
                      {"ggml.tokens", "ggml.tokenz", 11},
                      {"ggml.model", "ggml.modem", 10},
                      {"abc", "ab\xc3", 3},
                      {"bos_token_id", "eos_token_id", 12},
                      {"bos_token_id", "eot_token_id", 12},
                      {"abc", "\xe0\x80\x80", 3},
                      {"abc", "\xe0\xa0\x80", 3},
                      {"abc", "\xed\xa0\x80", 3},
                      {"abc", "\xed\x9f\xbf", 3},
                      {"abc", "\xf0\x80\x80", 3},
                      {"abc", "\xc4\xa0\x61", 3},
                      {"abc", "\xc5\x83\x61", 3},
                      {"abc", "\xc5\x84\x61", 3},
                      {"abc", "\xc2\xad\x61", 3},
                      {"abc", "\xc2\xa0\x61", 3},
                      {"abc", "a b", 3},
                      {"<|eot_id|>", "aaaa\xf0\x90\x80\x80zz", 10},
                      {"<|eot_id|>", "aaaa\xf4\x90\x80\x80zz", 10},
                      {"<|eot_id|>", "aaaa\xf0\x80\x80\x80zz", 10},
                      {"<|eot_id|>", "aaaa\xf4\x80\x80\x80zz", 10},
                      {"<|eot_id|>", "aaaa\xe0\x80\x80zzz", 10},
                      {"<|eot_id|>", "aaaa\xed\xbf\xbfzzz", 10},
                      {"<|eot_id|>", "<|im_end|>", 10},
                      {"\3\0\0\0\3\0\0\0", "\4\0\0\0\3\0\0\0", 8},
                      {"\3\0\0\0\3\0\0\0", "\4\0\0\0\4\0\0\0", 8},
                      {"\3\0\0\0\3\0\0\0", "\5\0\0\0\5\0\0\0", 8},
                      {"\3\0\0\0\3\0\0\0", "\2\0\0\0\1\0\0\0", 8},
                      {"\1\0\0\0\3\0\0\0", "\4\0\0\0\3\0\0\0", 8},
                      {"\3\0\0\0\3\0\0\0", "\1\0\0\0\0\0\0\0", 8},
                      {"\1\0\0\0\3\0\0\0", "\xff\xff\xff\xff\3\0\0\0", 8},
                      {"add_bos_token", "add_bos_tokem", 13}};
    for (unsigned i = 0; i < sizeof byte_level / sizeof *byte_level; i++) {
        tokenizer_model("llama", SEED_BYTE_LEVEL_TOKENS);
        put_byte_level_keys(&more, "qwen2");
        patch(byte_level[i].from, byte_level[i].to, byte_level[i].n);
        save(named("byte-level-of", i));
        begin(); // of the family that puts a BOS in front
        put_byte_level_keys(&more, "llama-bpe");
        patch(byte_level[i].from, byte_level[i].to, byte_level[i].n);
        patch("add_bos_toke", "add_bos_bite", 12);
        save(named("forced-bos-of", i));
    }
    static const char long_half[] =
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b";
    static const char *const merges[][3] = {
        {"a b", "a b", ""},  {"a c", "", ""}, {"\x01 b", "", ""},     {"a \x01", "", ""}, {"ab zz", "", ""},
        {long_half, "", ""}, {"a", "", ""},   {"\xc4\xa0 a", "", ""}, {"", "", ""},       {"ab c", "a b", ""}};
    for (unsigned i = 0; i < sizeof merges / sizeof *merges; i++) {
        tokenizer_model("llama", SEED_BYTE_LEVEL_TOKENS);
        put_byte_level_keys(&more, "qwen2");
        patch("ggml.merges", "ggml.mergez", 11);
        put_string_array(&more.keys, "tokenizer.ggml.merges", merges[i], merges[i][1][0] == 0 ? 1 : 2);
        more.n++;
        save(named("merges", i));
    }
    static const char *const lists[] = {"tokens", "merges", "token_type", "scores"};
    for (unsigned i = 0; i < 16; i++) { // another element type, another count, no list
        char name[40], other[40];
        static const uint8_t zeros[4 * SEED_PIECE_TOKENS] = {0};
        tokenizer_model("llama", SEED_PIECE_TOKENS);
        if (i % 4 == 1)
            put_byte_level_keys(&more, "qwen2");
        else
            put_piece_keys(&more);
        snprintf(name, sizeof name, "tokenizer.ggml.%s", lists[i % 4]);
        snprintf(other, sizeof other, "tokenizer.ggmm.%s", lists[i % 4]);
        patch(name, other, strlen(name));
        if (i / 4 == 0)
            put_array(name, i % 4 == 3 ? 5 : 6, SEED_PIECE_TOKENS, zeros, sizeof zeros);
        else if (i / 4 == 1)
            put_array(name, i % 4 == 3 ? 6 : 5, 2, zeros, 8);
        else if (i / 4 == 2)
            put_value(name, 4, 0);
        else
            put_array(name, i % 4 == 3 ? 6 : 5, SEED_PIECE_TOKENS, zeros, sizeof zeros);
        save(named("lists", i));
    }
    static const struct {
        const char *key;
        uint32_t type;
        double value;
    } values[] = {{"add_eos_token", 7, 1},
                  {"add_eos_token", 7, 0},
                  {"add_eos_token", 7, 2},
                  {"eos_token_id", 4, 1e6},
                  {"padding_token_id", 4, 3},
                  {"eot_token_id", 4, 4},
                  {"unknown_token_id", 4, 0},
                  {"unknown_token_id", 4, 1e6},
                  {"remove_extra_whitespaces", 7, 1},
                  {"remove_extra_whitespaces", 7, 0},
                  {"remove_extra_whitespaces", 4, 0},
                  {"add_eos_token", 4, 0},
                  {"eos_token_id", 6, 1}};
    for (unsigned i = 0; i < 2 * sizeof values / sizeof *values; i++) {
        char name[80];
        tokenizer_model("llama", SEED_PIECE_TOKENS);
        if (i % 2 == 0)
            put_piece_keys(&more);
        else
            put_byte_level_keys(&more, "gpt-2");
        snprintf(name, sizeof name, "tokenizer.ggml.%s", values[i / 2].key);
        if (i != 6 || memmem(more.keys.data, more.keys.n, name, strlen(name)) == NULL)
            put_value(name, values[i / 2].type, values[i / 2].value);
        save(named("special", i));
    }
    static const struct {
        const char *from, *to;
        size_t n;
    } pieces[] = {{"scores", "scorez", 6},
                  {"<0x0A>", "<0x0B>", 6},
                  {"<0x0A>", "<0xZZ>", 6},
                  {"<0x0A>", "\xe2\x96\x81xyz", 6},
                  {"\0\0\x80\xbf", "\0\0\x80\x7f", 4},
                  {"token_type", "token_typf", 10},
                  {"bos_token_id", "eos_token_ix", 12},
                  {"<unk>", "<pad>", 5},
                  {"\0\0\x80\xbf", "\0\0\0\xc0", 4},
                  {"add_space_prefix", "add_space_prefiy", 16},
                  {"eos_token_id", "pad_token_id", 12},
                  {"<0x0A>", "<0x0a>", 6},
                  {"<0x0A>", "<0xg0>", 6},
                  {"<0x0A>", "<0x0@>", 6},
                  {"<0x0A>", "<0x0A]", 6},
                  {"<0x0A>", "<0x:0>", 6},
                  {"<0x0A>", "<0x0G>", 6},
                  {"<0x0A>", "<0x0/>", 6},
                  {"<0x0A>", "<1x0A>", 6},
                  {"\6\0\0\0\1\0\0\0", "\6\0\0\0\4\0\0\0", 8},
                  {"\6\0\0\0\1\0\0\0", "\6\0\0\0\5\0\0\0", 8},
                  {"<0x0A>", "\xe2\x96\x81\xe2\x96\x81", 6},
                  {"<0x0A>", "ababab", 6},
                  {"<0x0A>", "\xf0\x90\x80\x80zz", 6},
                  {"\0\0\x80\xbf", "\0\0\xc0\x7f", 4},
                  {"\0\0\x82\xc3", "\0\0\x83\xc3", 4}};
    for (unsigned i = 0; i <= sizeof pieces / sizeof *pieces; i++) {
        tokenizer_model("llama", SEED_PIECE_TOKENS);
        put_piece_keys(&more);
        if (i > 0) patch(pieces[i - 1].from, pieces[i - 1].to, pieces[i - 1].n);
        save(named("pieces", i));
    }
    static char long_token[2000], long_merge[1200];
    memset(long_token, 'a', sizeof long_token - 1);
    memset(long_merge, 'a', sizeof long_merge - 1);
    for (unsigned i = 0; i < 6; i++) { // tokens and merges longer than is shown or accepted; characters in two pieces
        const char *long_lists[][4] = {{"a", long_token, "b", "c"},
                                       {"a", long_token + 1900, "a", "b"},
                                       {"\xc3\xa9\xc3\xa9", "\xc3\xa9", "a", "\xc3\xa9\x61"},
                                       {"<unk>", "aa", "a", "aaa"},
                                       {"<unk>", "aa", "ab", "a"},
                                       {long_token + 1400, "a", long_token + 1399, "b"}};
        tokenizer_model("llama", 4);
        put_key(&more.keys, "tokenizer.ggml.model", 8);
        put_string(&more.keys, "llama");
        put_string_array(&more.keys, "tokenizer.ggml.tokens", long_lists[i], 4);
        put_array("tokenizer.ggml.scores", 6, 4, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
        more.n += 2;
        put_value("tokenizer.ggml.unknown_token_id", 4, 0);
        save(named("long-tokens", i));
        tokenizer_model("llama", SEED_BYTE_LEVEL_TOKENS);
        put_byte_level_keys(&more, "qwen2");
        patch("ggml.merges", "ggml.mergez", 11);
        long_merge[i % 2 == 0 ? 100 : 1100] = ' ';
        put_string_array(&more.keys, "tokenizer.ggml.merges", (const char *const[]){i < 4 ? long_merge : long_token},
                         1);
        more.n++;
        save(named("long-merges", i));
    }
    for (unsigned i = 0; i < 2; i++) { // fewer rows than tokens; more
        tokenizer_model("llama", SEED_PIECE_TOKENS + (i == 0 ? 0 : 8));
        if (i == 0) tiny_u32(&model, key("vocab_size"), 4);
        if (i == 0) tiny_get(&model, "token_embd.weight")->dims[1] = 4;
        put_piece_keys(&more);
        save(named("rows", i));
    }
    for (unsigned i = 0; i < 3; i++) { // few tokens: no bytes, one empty, twice the same
        static const char *const words[3][3] = {{"a", "b", "c"}, {"<s>", "", "<0x00>"}, {"a", "a", "b"}};
        for (unsigned k = 0; k < 2; k++) {
            tokenizer_model("llama", 4);
            put_key(&more.keys, "tokenizer.ggml.model", 8);
            put_string(&more.keys, k == 0 ? "gpt2" : "llama");
            put_string_array(&more.keys, "tokenizer.ggml.tokens", words[i], i == 1 && k == 0 ? 0 : 3);
            put_string_array(&more.keys, "tokenizer.ggml.merges", NULL, 0);
            put_array("tokenizer.ggml.scores", 6, 3, "\0\0\0\0\0\0\0\0\0\0\0", 12);
            more.n += 3;
            save(named("few", 2 * i + k));
        }
    }
}

void load_seeds(void)
{
    first_seeds();
    architecture_seeds();
    type_seeds();
    pattern_seeds();
    attention_seeds();
    rope_seeds();
    overflow_seeds();
    fill_seeds();
    tensor_seeds();
    metadata_seeds();
    key_length_seeds();
    tokenizer_seeds();
    begin();
}
