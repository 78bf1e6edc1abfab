// Writes the seed corpora: one folder per target under the folder given. usage: fuzz_seeds FOLDER
#include <stdio.h>
#include <sys/stat.h>

#include "build_gguf.h"
#include "text_cases.h"

static const char *root;

static void write_seed(const char *target, const char *name, const void *data, size_t n)
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

// Tensor types, and the bytes of a block of them; `fill` makes codes and scales that are valid.
static const struct seed_type {
    const char *name;
    uint32_t id, block, block_bytes;
    uint8_t fill;
} types[] = {
    {"f32", 0, 1, 4, 0x3e},          {"f16", 1, 1, 2, 0x38},        {"bf16", 30, 1, 2, 0x3e},
    {"q8_0", 8, 32, 34, 0x15},       {"q4_0", 2, 32, 18, 0x15},     {"q4_k", 12, 256, 144, 0x15},
    {"q5_k", 13, 256, 176, 0x15},    {"q6_k", 14, 256, 210, 0x15},  {"i2_s", 36, 4, 1, 0x94},
    {"tq1_0", 34, 256, 54, 0x15},    {"tq2_0", 35, 256, 66, 0x15},  {"q2_0", 42, 64, 18, 0x15},
    {"q2_0_128", 42, 128, 34, 0x15}, {"pq2_0", 142, 128, 34, 0x15}, {"ptq1_0", 143, 128, 28, 0x15},
    {"iq1_bn", 134, 64, 13, 0x15},   {"iq2_bn", 135, 64, 16, 0x15}, {"iq2_bn_r4", 335, 64, 16, 0x15},
};
#define N_TYPES (sizeof types / sizeof *types)

static const struct seed_type *type_of(uint32_t id, bool is_wide_block)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].id == id && (types[i].block == 128) == is_wide_block) return &types[i];
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].id == id) return &types[i];
    abort();
}

// I2_S has its scale in a tail, the types of ik_llama.cpp a scale in front of each row.
static uint64_t bytes_of(const struct seed_type *type, uint64_t cols, uint64_t rows)
{
    uint64_t n = cols * rows / type->block * type->block_bytes;
    if (type->id == TINY_I2S) return n + 32;
    if (type->id == 134) return n + 2 * rows;
    return type->id == 135 || type->id == 335 ? n + 4 * rows : n;
}

// As tiny_write, for every type.
static void write_model(const tiny_model *m, bool is_wide_block, bytes *b)
{
    uint64_t offset = 0, sizes[64];
    tiny_model keys_only = *m;
    keys_only.n_tensors = 0;
    tiny_write(&keys_only, b);
    memcpy(b->data + 8, &(uint64_t){m->n_tensors}, 8);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const tiny_tensor *t = &m->tensors[i];
        sizes[i] = bytes_of(type_of(t->type, is_wide_block), t->dims[0], t->dims[1]);
        put_tensor(b, t->name, t->n_dims, t->dims, t->type, offset);
        offset = (offset + sizes[i] + 31) / 32 * 32;
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        const tiny_tensor *t = &m->tensors[i];
        const struct seed_type *type = type_of(t->type, is_wide_block);
        put_align(b, 32);
        if (t->type == TINY_I2S) {
            tiny_put_data(b, t);
        } else {
            put_fill(b, type->fill, sizes[i]);
        }
    }
}

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

static void put_string_array(bytes *b, const char *key, const char *const *strings, size_t n)
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
    for (size_t i = 0; i < N_TYPES; i++) {
        b.n = 0;
        put_header(&b, 3, 2, 1);
        put_key_u32(&b, "general.alignment", 8);
        uint64_t dims[] = {types[i].block, 4, 1, 1}, n_bytes = bytes_of(&types[i], dims[0], dims[1]);
        put_tensor(&b, "a", 2, dims, types[i].id, 0);
        put_tensor(&b, "b", 4, dims, types[i].id, (n_bytes + 7) / 8 * 8);
        for (int k = 0; k < 2; k++) {
            put_align(&b, 8);
            put_fill(&b, types[i].fill, n_bytes);
        }
        write_seed("gguf", types[i].name, b.data, b.n);
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

static void load_seeds(void)
{
    tiny_model m;
    bytes b = {0};
    for (size_t i = 0; i < N_TYPES; i++) {
        if (types[i].block > 1) {
            wide_model(&m, types[i].id);
        } else { // rows of floats may be short
            tiny_default(&m);
            for (size_t k = 0; k < m.n_tensors; k++)
                if (m.tensors[k].type == TINY_I2S) m.tensors[k].type = types[i].id;
        }
        b.n = 0;
        write_model(&m, types[i].block == 128, &b);
        write_seed("load", types[i].name, b.data, b.n);
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

static void tokenizer_gguf_seeds(void)
{
    static char names[256][8];
    const char *tokens[264];
    bytes b = {0};
    size_t n = alphabet_tokens(text_byte_level_alphabet(), names);
    for (size_t i = 0; i < n; i++) tokens[i] = names[i];
    tokens[n++] = "ab";
    tokens[n++] = "abc";
    tokens[n++] = "<s>";
    tokens[n++] = "<|eot_id|>";
    for (int with_pre = 0; with_pre < 2; with_pre++) {
        b.n = 0;
        put_header(&b, 3, 0, 7);
        put_key(&b, "tokenizer.ggml.model", 8);
        put_string(&b, "gpt2");
        put_key(&b, "tokenizer.ggml.pre", 8);
        put_string(&b, with_pre ? "qwen2" : "llama-bpe");
        put_string_array(&b, "tokenizer.ggml.tokens", tokens, n);
        put_token_types(&b, n, 1, 2, 3);
        put_string_array(&b, "tokenizer.ggml.merges", (const char *const[]){"a b", "ab c"}, 2);
        put_key_u32(&b, "tokenizer.ggml.bos_token_id", (uint32_t)n - 2);
        put_key(&b, "tokenizer.ggml.add_bos_token", 7);
        put_fill(&b, 1, 1);
        write_seed("tokenizer_gguf", with_pre ? "qwen2" : "llama3", b.data, b.n);
    }
    // SentencePiece: <unk>, <s>, </s>, bytes, pieces with scores.
    tokens[0] = "<unk>", tokens[1] = "<s>", tokens[2] = "</s>";
    alphabet_tokens(text_byte_tokens(), names);
    for (size_t i = 0; i < 256; i++) tokens[3 + i] = names[i];
    tokens[259] = "\xe2\x96\x81", tokens[260] = "a", tokens[261] = "b", tokens[262] = "ab",
    tokens[263] = "\xe2\x96\x81\x61\x62";
    b.n = 0;
    put_header(&b, 3, 0, 7);
    put_key(&b, "tokenizer.ggml.model", 8);
    put_string(&b, "llama");
    put_string_array(&b, "tokenizer.ggml.tokens", tokens, 264);
    put_key(&b, "tokenizer.ggml.token_type", 9);
    put_u32(&b, 5);
    put_u64(&b, 264);
    for (uint32_t i = 0; i < 264; i++) put_u32(&b, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
    put_key(&b, "tokenizer.ggml.scores", 9);
    put_u32(&b, 6);
    put_u64(&b, 264);
    for (int i = 0; i < 264; i++) put(&b, &(float){-(float)i}, 4);
    put_key_u32(&b, "tokenizer.ggml.bos_token_id", 1);
    put_key_u32(&b, "tokenizer.ggml.eos_token_id", 2);
    put_key(&b, "tokenizer.ggml.add_space_prefix", 7);
    put_fill(&b, 1, 1);
    write_seed("tokenizer_gguf", "sentencepiece", b.data, b.n);
    free(b.data);
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
