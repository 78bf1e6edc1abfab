// Writes the seed corpora: one folder per target under the folder given. usage: fuzz_seeds FOLDER
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include "half.h"
#include "seeds.h"
#include "text_cases.h"

static const char *root;

void write_seed(const char *target, const char *name, const void *data, size_t n)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", root, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", root, target, name);
    write_file(path, data, n);
}

// JSON written with ` for ", which keeps it readable in C.
static void put_json(bytes *b, const char *text)
{
    for (; *text != 0; text++) put_fill(b, (uint8_t)(*text == '`' ? '"' : *text), 1);
}

static void write_json(const char *target, const char *name, const char *text)
{
    bytes b = {0};
    put_json(&b, text);
    write_seed(target, name, b.data, b.n);
    free(b.data);
}

static bytes read_source(const char *name)
{
    char path[4096];
    bytes b = {0};
    uint8_t piece[4096];
    size_t n;
    snprintf(path, sizeof path, "%s/%s", TERN_SOURCE_DIR, name);
    FILE *f = fopen(path, "rb");
    if (f == NULL) abort();
    while ((n = fread(piece, 1, sizeof piece, f)) > 0) put(&b, piece, n);
    fclose(f);
    return b;
}

// ------------------------------------------------------------------------------------------------------------- GGUF

const seed_type seed_types[N_SEED_TYPES] = {
    {"f32", 0, 1, 4, 0x3e},          {"f16", 1, 1, 2, 0x38},        {"bf16", 30, 1, 2, 0x3e},
    {"q8_0", 8, 32, 34, 0x15},       {"q4_0", 2, 32, 18, 0x15},     {"q4_k", 12, 256, 144, 0x15},
    {"q5_k", 13, 256, 176, 0x15},    {"q6_k", 14, 256, 210, 0x15},  {"i2_s", 36, 4, 1, 0x94},
    {"tq1_0", 34, 256, 54, 0x15},    {"tq2_0", 35, 256, 66, 0x15},  {"q2_0", 42, 64, 18, 0x15},
    {"q2_0_128", 42, 128, 34, 0x15}, {"pq2_0", 142, 128, 34, 0x15}, {"ptq1_0", 143, 128, 28, 0x15},
    {"iq1_bn", 134, 64, 13, 0x15},   {"iq2_bn", 135, 64, 16, 0x15}, {"iq2_bn_r4", 335, 64, 16, 0x15},
};

const seed_type *seed_type_of(uint32_t id, bool is_wide_block)
{
    for (size_t i = 0; i < N_SEED_TYPES; i++)
        if (seed_types[i].id == id && (seed_types[i].block == 128) == is_wide_block) return &seed_types[i];
    for (size_t i = 0; i < N_SEED_TYPES; i++)
        if (seed_types[i].id == id) return &seed_types[i];
    abort();
}

// I2_S has its scale in a tail, the types of ik_llama.cpp a scale in front of each row.
static uint64_t bytes_of(const seed_type *type, uint64_t cols, uint64_t rows)
{
    uint64_t n = cols * rows / type->block * type->block_bytes;
    if (type->id == TINY_I2S) return n + 32;
    if (type->id == 134) return n + 2 * rows;
    return type->id == 135 || type->id == 335 ? n + 4 * rows : n;
}

// Which of its values an element of a patterned float tensor has, -1: zero.
static int pattern_step(const tiny_tensor *t, uint32_t row, uint32_t col)
{
    uint32_t stretch = col / 64;
    if (col % 3 == 0) return -1;
    switch ((seed_pattern)t->fill) {
    case PATTERN_ZEROS: return -1;
    case PATTERN_RANGES: return row < t->dims[1] / 4 ? -1 : row >= t->dims[1] / 2;
    case PATTERN_ROWS: return row % 4;
    case PATTERN_COLUMNS: return stretch >= t->dims[0] / 128;
    case PATTERN_GROUPS: return (row + stretch / 2) % 4;
    case PATTERN_STRETCHES: return (row + stretch) % 4;
    case PATTERN_NOT_LAST_ROW: return row + 1 == t->dims[1] ? (int)(col % 5) : 0;
    default: return 0;
    }
}

// Powers of two of either sign, by the rule of the pattern.
static void put_pattern(bytes *b, const tiny_tensor *t)
{
    for (uint32_t row = 0; row < t->dims[1]; row++)
        for (uint32_t col = 0; col < t->dims[0]; col++) {
            int step = pattern_step(t, row, col);
            float value = step < 0 ? 0.0f : ldexpf(col % 2 == 0 ? t->value : -t->value, -step);
            uint32_t bits, half = half_from_float(value);
            memcpy(&bits, &value, sizeof bits);
            if (t->type == TINY_F32)
                put_u32(b, bits);
            else
                put(b, &(uint16_t){(uint16_t)(t->type == TINY_F16 ? half : bits >> 16)}, 2);
        }
}

void write_model(const tiny_model *m, const seed_keys *more, bool is_wide_block, bytes *b)
{
    uint64_t offset = 0, sizes[64];
    tiny_model keys_only = *m;
    keys_only.n_tensors = 0;
    tiny_write(&keys_only, b);
    if (more != NULL) put(b, more->keys.data, more->keys.n);
    memcpy(b->data + 8, &(uint64_t){m->n_tensors}, 8);
    memcpy(b->data + 16, &(uint64_t){m->n_values + (more != NULL ? more->n : 0)}, 8);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const tiny_tensor *t = &m->tensors[i];
        sizes[i] = bytes_of(seed_type_of(t->type, is_wide_block), t->dims[0], t->dims[1]);
        put_tensor(b, t->name, t->n_dims, t->dims, t->type, offset);
        offset = (offset + sizes[i] + 31) / 32 * 32;
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        const tiny_tensor *t = &m->tensors[i];
        const seed_type *type = seed_type_of(t->type, is_wide_block);
        put_align(b, 32);
        if (t->type == TINY_I2S)
            tiny_put_data(b, t);
        else if (type->block == 1 && t->fill < N_PATTERNS)
            put_pattern(b, t);
        else
            put_fill(b, t->fill == TINY_FILL ? type->fill : t->fill, sizes[i]);
    }
}

void put_string_array(bytes *b, const char *key, const char *const *strings, size_t n)
{
    put_key(b, key, 9);
    put_u32(b, 8);
    put_u64(b, n);
    for (size_t i = 0; i < n; i++) put_string(b, strings[i]);
}

// Metadata of every value type, and one small tensor of each type.
static void gguf_seeds(void)
{
    bytes b = {0};
    put_header(&b, 3, 0, 14);
    for (uint32_t type = 0; type <= 12; type++) {
        static const uint8_t widths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
        char key[16];
        snprintf(key, sizeof key, "k.%u", type);
        put_key(&b, key, type);
        if (type == 8)
            put_string(&b, "text");
        else if (type == 9) {
            put_u32(&b, 5);
            put_u64(&b, 3);
            put_fill(&b, 1, 12);
        } else {
            put_fill(&b, 1, widths[type]);
        }
    }
    put_string_array(&b, "strings", (const char *const[]){"a", "", "bcd"}, 3);
    write_seed("gguf", "values", b.data, b.n);
    b.n = 0;
    put_header(&b, 2, 0, 0);
    write_seed("gguf", "empty", b.data, b.n);
    for (size_t i = 0; i < N_SEED_TYPES; i++) {
        b.n = 0;
        put_header(&b, 3, 2, 1);
        put_key_u32(&b, "general.alignment", 8);
        uint64_t dims[] = {seed_types[i].block, 4, 1, 1}, n_bytes = bytes_of(&seed_types[i], dims[0], dims[1]);
        put_tensor(&b, "a", 2, dims, seed_types[i].id, 0);
        put_tensor(&b, "b", 4, dims, seed_types[i].id, (n_bytes + 7) / 8 * 8);
        for (int k = 0; k < 2; k++) {
            put_align(&b, 8);
            put_fill(&b, seed_types[i].fill, n_bytes);
        }
        write_seed("gguf", seed_types[i].name, b.data, b.n);
    }
    free(b.data);
}

// Keys of each architecture, without tensors.
static void hparams_seeds(void)
{
    static const char *const names[] = {"bitnet-b1.58", "bitnet-25", "bitnet", "llama", "qwen3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tiny_model m;
        bytes b = {0};
        tiny_default(&m);
        m.n_tensors = 0;
        tiny_string(&m, "general.architecture", names[i]);
        for (size_t k = 1; k < m.n_values; k++) {
            char key[80];
            snprintf(key, sizeof key, "%s.%s", names[i], m.values[k].key + strlen("bitnet-b1.58."));
            memcpy(m.values[k].key, key, sizeof key);
        }
        char key[80];
        snprintf(key, sizeof key, "%s.rope.scaling.type", names[i]);
        tiny_string(&m, key, i == 4 ? "yarn" : "linear");
        snprintf(key, sizeof key, "%s.rope.scaling.factor", names[i]);
        tiny_f32(&m, key, 4.0f);
        snprintf(key, sizeof key, "%s.rope.dimension_count", names[i]);
        tiny_u32(&m, key, 8);
        if (i == 4) {
            tiny_u32(&m, "qwen3.rope.scaling.original_context_length", 32);
            tiny_u32(&m, "qwen3.attention.key_length", 8);
            tiny_u32(&m, "qwen3.attention.value_length", 8);
        }
        tiny_write(&m, &b);
        write_seed("gguf", names[i], b.data, b.n);
        free(b.data);
    }
}

// -------------------------------------------------------------------------------------------------------- tokenizers

// The tokens of the alphabet's JSON members, in the order of their ids.
static size_t alphabet_tokens(const char *json, char (*out)[8])
{
    size_t n = 0;
    for (const char *p = json; *p != 0; n++) {
        size_t k = 0;
        for (p++; *p != '"'; p++) {
            if (*p == '\\') p++;
            out[n][k++] = *p;
        }
        out[n][k] = 0;
        p += strcspn(p, ",");
        if (*p == ',') p++;
        if (p[-1] != ',') break;
    }
    return n + 1;
}

static void put_token_types(bytes *b, size_t n, uint32_t normal, size_t n_control, uint32_t last)
{
    put_key(b, "tokenizer.ggml.token_type", 9);
    put_u32(b, 5);
    put_u64(b, n);
    for (size_t i = 0; i < n; i++) put_u32(b, i >= n - n_control ? last : normal);
}

void put_byte_level_keys(seed_keys *k, const char *pre)
{
    static char names[256][8];
    const char *tokens[SEED_BYTE_LEVEL_TOKENS];
    bytes *b = &k->keys;
    size_t n = alphabet_tokens(text_byte_level_alphabet(), names);
    for (size_t i = 0; i < n; i++) tokens[i] = names[i];
    tokens[n++] = "ab";
    tokens[n++] = "abc";
    tokens[n++] = "<s>";
    tokens[n++] = "<|eot_id|>";
    put_key(b, "tokenizer.ggml.model", 8);
    put_string(b, "gpt2");
    put_string_array(b, "tokenizer.ggml.tokens", tokens, n);
    put_token_types(b, n, 1, 2, 3);
    put_string_array(b, "tokenizer.ggml.merges", (const char *const[]){"a b", "ab c"}, 2);
    put_key_u32(b, "tokenizer.ggml.bos_token_id", (uint32_t)n - 2);
    put_key(b, "tokenizer.ggml.add_bos_token", 7);
    put_fill(b, 1, 1);
    k->n += 6;
    if (pre == NULL) return;
    put_key(b, "tokenizer.ggml.pre", 8);
    put_string(b, pre);
    k->n++;
}

// <unk>, <s>, </s>, bytes, pieces with scores.
void put_piece_keys(seed_keys *k)
{
    static char names[256][8];
    const char *tokens[SEED_PIECE_TOKENS];
    bytes *b = &k->keys;
    tokens[0] = "<unk>", tokens[1] = "<s>", tokens[2] = "</s>";
    alphabet_tokens(text_byte_tokens(), names);
    for (size_t i = 0; i < 256; i++) tokens[3 + i] = names[i];
    tokens[259] = "\xe2\x96\x81", tokens[260] = "a", tokens[261] = "b", tokens[262] = "ab",
    tokens[263] = "\xe2\x96\x81\x61\x62";
    put_key(b, "tokenizer.ggml.model", 8);
    put_string(b, "llama");
    put_string_array(b, "tokenizer.ggml.tokens", tokens, SEED_PIECE_TOKENS);
    put_key(b, "tokenizer.ggml.token_type", 9);
    put_u32(b, 5);
    put_u64(b, SEED_PIECE_TOKENS);
    for (uint32_t i = 0; i < SEED_PIECE_TOKENS; i++) put_u32(b, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
    put_key(b, "tokenizer.ggml.scores", 9);
    put_u32(b, 6);
    put_u64(b, SEED_PIECE_TOKENS);
    for (int i = 0; i < SEED_PIECE_TOKENS; i++) put(b, &(float){-(float)i}, 4);
    put_key_u32(b, "tokenizer.ggml.bos_token_id", 1);
    put_key_u32(b, "tokenizer.ggml.eos_token_id", 2);
    put_key(b, "tokenizer.ggml.add_space_prefix", 7);
    put_fill(b, 1, 1);
    k->n += 7;
}

static void tokenizer_gguf_seeds(void)
{
    static const char *const names[] = {"llama3", "qwen2", "sentencepiece"};
    for (size_t i = 0; i < 3; i++) {
        seed_keys k = {{0}, 0};
        bytes b = {0};
        if (i == 2)
            put_piece_keys(&k);
        else
            put_byte_level_keys(&k, i == 0 ? "llama-bpe" : "qwen2");
        put_header(&b, 3, 0, k.n);
        put(&b, k.keys.data, k.keys.n);
        write_seed("tokenizer_gguf", names[i], b.data, b.n);
        free(b.data);
        free(k.keys.data);
    }
}

// JSON in C strings with ` for " (see put_json).
#define ADDED                                                                                                          \
    "`added_tokens`:["                                                                                                 \
    "{`id`:258,`content`:`<s>`,`single_word`:false,`lstrip`:false,`rstrip`:false,`normalized`:false,`special`:true},"  \
    "{`id`:259,`content`:`<pad>`,`lstrip`:true,`rstrip`:true,`special`:false}]"
#define BYTE_MODEL                                                                                                     \
    "`model`:{`type`:`BPE`,`ignore_merges`:true,`vocab`:{\x01,`ab`:256,`abc`:257},`merges`:[`a b`,[`ab`,`c`]]}"
#define TEMPLATE(id)                                                                                                   \
    "`post_processor`:{`type`:`TemplateProcessing`,`single`:[{`SpecialToken`:{`id`:`<s>`}},{`Sequence`:{`id`:`A`}}],"  \
    "`special_tokens`:{`<s>`:{`id`:`<s>`,`ids`:[" id "]}}}"
#define GPT2_PRE "`pre_tokenizer`:{`type`:`ByteLevel`,`add_prefix_space`:false}"
#define LLAMA3_REGEX                                                                                                   \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}|"                              \
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define LLAMA3_PRE                                                                                                     \
    "`pre_tokenizer`:{`type`:`Sequence`,`pretokenizers`:["                                                             \
    "{`type`:`Split`,`pattern`:{`Regex`:`" LLAMA3_REGEX "`},`behavior`:`Isolated`,`invert`:false},"                    \
    "{`type`:`ByteLevel`,`add_prefix_space`:false,`use_regex`:false}]}"
#define SPACE_MARK "\xe2\x96\x81" // U+2581

static void tokenizer_json_seeds(void)
{
    static const char target[] = "tokenizer_json", gpt2[] = "{" ADDED "," GPT2_PRE "," BYTE_MODEL "}";
    write_json(target, "gpt2", gpt2);
    write_json(target, "llama3",
               "{" ADDED ",`normalizer`:null," LLAMA3_PRE
               "," TEMPLATE("258") ",`decoder`:{`type`:`ByteLevel`}," BYTE_MODEL "}");
    write_json(target, "nfc",
               "{" ADDED ",`normalizer`:{`type`:`NFC`}," GPT2_PRE ","
               "`decoder`:{`type`:`Sequence`,`decoders`:[{`type`:`ByteLevel`}]},"
               "`post_processor`:{`type`:`Sequence`,`processors`:[{`type`:`ByteLevel`}]}," BYTE_MODEL "}");
    write_json(target, "sentencepiece",
               "{`added_tokens`:[{`id`:0,`content`:`<unk>`,`special`:true},{`id`:1,`content`:`<s>`,`special`:true},"
               "{`id`:2,`content`:`</s>`,`special`:true}],"
               "`normalizer`:{`type`:`Sequence`,`normalizers`:[{`type`:`Prepend`,`prepend`:`" SPACE_MARK "`},"
               "{`type`:`Replace`,`pattern`:{`String`:` `},`content`:`" SPACE_MARK "`}]},`pre_tokenizer`:null,"
               "`decoder`:{`type`:`Sequence`,`decoders`:["
               "{`type`:`Replace`,`pattern`:{`String`:`" SPACE_MARK "`},`content`:` `},{`type`:`ByteFallback`},"
               "{`type`:`Fuse`},{`type`:`Strip`,`content`:` `,`start`:1,`stop`:0}]}," TEMPLATE(
                   "1") ","
                        "`model`:{`type`:`BPE`,`unk_token`:`<unk>`,`fuse_unk`:true,`byte_fallback`:true,`vocab`:{`<unk>"
                        "`:0,`<s>`:1,"
                        "`</s>`:2,\x02,`" SPACE_MARK "`:259,`a`:260,`b`:261,`ab`:262,`" SPACE_MARK "ab`:263},"
                        "`merges`:[`a b`,`" SPACE_MARK " ab`]}}");
    bytes b = {0};
    put_json(&b, gpt2);
    put_fill(&b, 0, 1);
    put_json(&b, "{`bos_token`:`<s>`,`eos_token`:{`content`:`<pad>`},`add_bos_token`:true}");
    put_fill(&b, 0, 1);
    put_json(&b, "{`eos_token_id`:[258,259]}");
    write_seed(target, "configs", b.data, b.n);
    free(b.data);
}

// The first byte: two flags, then which tokenizer (text_tokenizer).
static void text_seeds(void)
{
    static const char *const texts[] = {
        "Once upon a time, there was a little girl named Lily.",
        "aaaaaaa abcabc  ab\n\n\tx 12345 I'll DON'T",
        "<s><s>x[U]<|begin_of_text|><|eot_id|><|",
        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \xe6\xbc\xa2\xe5\xad\x97 \xd9\xa1\xd9\xa2 e\xcc\x81",
        "\xe2\x80\x83\xc2\xa0\xe2\x80\xa8\xc2\x85 \r\n\r\n  \xe3\x80\x80",
        "\xff\xfe\xc0\x80\xed\xa0\x80",
        "",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (unsigned choice = 0; choice < N_TEXT_TOKENIZERS; choice++) {
            char name[32], text[256];
            text[0] = (char)(choice << 2 | (choice + i) % 4);
            size_t n = strlen(texts[i]);
            memcpy(text + 1, texts[i], n);
            snprintf(name, sizeof name, "%zu-%u", i, choice);
            write_seed("encode", name, text, n + 1);
        }
    for (unsigned choice = 0; choice < 5 * N_TEXT_TOKENIZERS; choice++) {
        static const char messages[] = "Hello <|eot_id|> <s>\0You are\n\nUser: kind\0abab c<|im_end|>\xc3\xa9\0abab ";
        char name[32], text[sizeof messages + 2] = {(char)(choice / 5), (char)(choice % 5 | (choice % 2) << 7)};
        memcpy(text + 2, messages, sizeof messages);
        snprintf(name, sizeof name, "%u", choice);
        write_seed("chat", name, text, sizeof messages + 1);
    }
    for (unsigned choice = 0; choice < 2 * N_TEXT_TOKENIZERS; choice++) {
        uint8_t ids[161] = {(uint8_t)(choice / 2 << 2 | choice % 2)};
        char name[32];
        for (unsigned i = 0; i < 80; i++) {
            unsigned id = choice < 2 ? 4000 + i + 20 * (i % 5) : 128 + i * 2 + (i % 3) * 7;
            ids[1 + 2 * i] = (uint8_t)id;
            ids[2 + 2 * i] = (uint8_t)(id >> 8);
        }
        snprintf(name, sizeof name, "%u", choice);
        write_seed("decode", name, ids, sizeof ids);
    }
}

// ------------------------------------------------------------------------------------------------------ Hugging Face

#define SIZES                                                                                                          \
    "`hidden_size`:16,`intermediate_size`:32,`num_hidden_layers`:1,`num_attention_heads`:2,`num_key_value_heads`:1,"   \
    "`vocab_size`:8,`rms_norm_eps`:1e-05,`max_position_embeddings`:64"
#define BITNET_CONFIG(more)                                                                                            \
    "{`model_type`:`bitnet`,`hidden_act`:`relu2`,`tie_word_embeddings`:true," SIZES ",`quantization_config`:{"         \
    "`quant_method`:`bitnet`,`linear_class`:`autobitlinear`,`quantization_mode`:" more "}}"
#define PACKED_CONFIG BITNET_CONFIG("`offline`")
#define ONLINE_CONFIG BITNET_CONFIG("`online`,`modules_to_not_convert`:[`lm_head`]")
#define LLAMA_CONFIG  "{`model_type`:`llama`,`hidden_act`:`silu`,`tie_word_embeddings`:false," SIZES "}"

static void config_seeds(void)
{
    bytes b = read_source("models/stories/config.json");
    write_seed("config", "stories", b.data, b.n);
    free(b.data);
    write_json("config", "bitnet", PACKED_CONFIG);
    write_json("config", "llama", LLAMA_CONFIG);
    write_json("config", "online", ONLINE_CONFIG);
    write_json("config", "1bitllm",
               "{`architectures`:[`BitnetForCausalLM`],`model_type`:`llama`,`weight_bits`:1,`input_bits`:8,"
               "`hidden_act`:`silu`,`attention_bias`:false,`rope_scaling`:null," SIZES "}");
    write_json("config", "llama3",
               "{`model_type`:`llama`,`rope_theta`:500000.0,`rope_scaling`:{`rope_type`:`llama3`,`factor`:8.0,"
               "`low_freq_factor`:1.0,`high_freq_factor`:4.0,`original_max_position_embeddings`:8192}," SIZES ","
               "`quantization_config`:{`quant_method`:`bitnet`,`linear_class`:`bitlinear`,`use_rms_norm`:true,"
               "`rms_norm_eps`:1e-06,`modules_to_not_convert`:null}}");
    write_json("config", "linear",
               "{`model_type`:`llama`,`head_dim`:8,`rope_parameters`:{`rope_type`:`linear`,`factor`:4,`rope_theta`:1e6,"
               "`partial_rotary_factor`:1.0},`mlp_bias`:false," SIZES "}");
    write_json(
        "config", "qwen3",
        "{`model_type`:`qwen3`,`head_dim`:8,`hidden_act`:`silu`,`use_sliding_window`:false,`rope_scaling`:{"
        "`rope_type`:`yarn`,`factor`:4.0,`original_max_position_embeddings`:32,`beta_fast`:32,`beta_slow`:1}," SIZES
        "}");
}

// One tensor in a safetensors header under construction; returns the end of its data.
static size_t put_entry(bytes *b, const char *name, const char *dtype, unsigned rows, unsigned cols, size_t begin,
                        size_t n_bytes)
{
    char text[300], shape[40];
    if (rows == 0) {
        snprintf(shape, sizeof shape, "%u", cols);
    } else {
        snprintf(shape, sizeof shape, "%u,%u", rows, cols);
    }
    snprintf(text, sizeof text, "%s`%s`:{`dtype`:`%s`,`shape`:[%s],`data_offsets`:[%zu,%zu]}", begin > 0 ? "," : "{",
             name, dtype, shape, begin, begin + n_bytes);
    put_json(b, text);
    return begin + n_bytes;
}

static void safetensors_seeds(void)
{
    static const struct {
        const char *name;
        unsigned width;
    } dtypes[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"U8", 1}, {"I64", 8}};
    for (size_t i = 0; i < 5; i++) {
        bytes b = {0}, raw = {0};
        size_t end = put_entry(&b, "a", dtypes[i].name, 2, 3, 0, (size_t)6 * dtypes[i].width);
        end = put_entry(&b, "b", "U8", 0, 4, end, 4);
        end = put_entry(&b, "a.weight_scale", "BF16", 0, 1, end, 2);
        put_json(&b, ",`__metadata__`:{`format`:`pt`}}");
        put_u64(&raw, b.n);
        put(&raw, b.data, b.n);
        put_fill(&raw, 0x3c, end);
        put_fill(&b, 0, 1);
        put_fill(&b, 0x3c, end);
        char name[16];
        snprintf(name, sizeof name, "%s-raw", dtypes[i].name);
        write_seed("safetensors", dtypes[i].name, b.data, b.n);
        write_seed("safetensors", name, raw.data, raw.n);
        free(b.data);
        free(raw.data);
    }
    write_json("safetensors", "empty", "{}");
}

// A whole directory with the linears in U8 (and their scales), BF16 or F32.
static void directory_seed(const char *name, const char *config, const char *tokenizer, const char *index,
                           const char *dtype, unsigned width, bool has_head, bool has_sub_norms)
{
    static const struct {
        const char *name;
        unsigned rows, cols;
    } linears[] = {{"self_attn.q_proj", 16, 16}, {"self_attn.k_proj", 8, 16}, {"self_attn.v_proj", 8, 16},
                   {"self_attn.o_proj", 16, 16}, {"mlp.gate_proj", 32, 16},   {"mlp.up_proj", 32, 16},
                   {"mlp.down_proj", 16, 32}};
    static const struct {
        const char *name;
        unsigned n;
    } norms[] = {{"input_layernorm", 16},
                 {"post_attention_layernorm", 16},
                 {"self_attn.attn_sub_norm", 16},
                 {"mlp.ffn_sub_norm", 32}};
    bytes b = {0};
    bool is_packed = strcmp(dtype, "U8") == 0;
    char full[100];
    put_json(&b, config);
    put_fill(&b, 0, 1);
    put_json(&b, tokenizer);
    put_fill(&b, 0, 1);
    put_json(&b, index);
    put_fill(&b, 0, 1);
    size_t end = put_entry(&b, "model.embed_tokens.weight", "BF16", 8, 16, 0, 256);
    end = put_entry(&b, "model.norm.weight", "BF16", 0, 16, end, 32);
    if (has_head) end = put_entry(&b, "lm_head.weight", "BF16", 8, 16, end, 256);
    for (size_t i = 0; i < (has_sub_norms ? 4 : 2); i++) {
        snprintf(full, sizeof full, "model.layers.0.%s.weight", norms[i].name);
        end = put_entry(&b, full, "BF16", 0, norms[i].n, end, (size_t)2 * norms[i].n);
    }
    for (size_t i = 0; i < 7; i++) {
        unsigned rows = is_packed ? linears[i].rows / 4 : linears[i].rows;
        snprintf(full, sizeof full, "model.layers.0.%s.weight", linears[i].name);
        end = put_entry(&b, full, dtype, rows, linears[i].cols, end, (size_t)rows * linears[i].cols * width);
        if (!is_packed) continue;
        snprintf(full, sizeof full, "model.layers.0.%s.weight_scale", linears[i].name);
        end = put_entry(&b, full, "BF16", 0, 1, end, 2);
    }
    put(&b, "}", 2);
    for (size_t i = 0; i < end; i++) put_fill(&b, (uint8_t)(is_packed ? 0x29 : i % 2 == 0 ? 0x84 : 0x3e), 1);
    write_seed("directory", name, b.data, b.n);
    free(b.data);
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    root = argv[1];
    mkdir(root, 0777);
    gguf_seeds();
    hparams_seeds();
    load_seeds();
    tokenizer_gguf_seeds();
    tokenizer_json_seeds();
    text_seeds();
    config_seeds();
    safetensors_seeds();
    directory_seed("packed", PACKED_CONFIG, "", "", "U8", 1, false, true);
    directory_seed("packed-tokenizer", PACKED_CONFIG, "{}", "", "U8", 1, false, true);
    directory_seed("index", PACKED_CONFIG, "", "{`weight_map`:{`model.norm.weight`:`a.safetensors`}}", "U8", 1, false,
                   true);
    directory_seed("online", ONLINE_CONFIG, "", "", "BF16", 2, false, true);
    directory_seed("llama", LLAMA_CONFIG, "", "", "F32", 4, true, false);
    return 0;
}
