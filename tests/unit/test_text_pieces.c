// SentencePiece-style tokenizers, NFC, and what added tokens may ask for: tiny tokenizers made here, and the real ones
// of the shared data against the Hugging Face library's ids.
#include "text_fixture.h"

#include <math.h>

#include "build_gguf.h"
#include "gguf.h"
#include "nfc.h"

#define SPACE "\xe2\x96\x81" // U+2581

// --------------------------------------------------------------------------------------------------- a tiny vocabulary

// Ids: <unk>, <s>, </s>, the 256 byte tokens, these pieces. Merges in the order of the pieces they make; scores
// likewise.
static const char *const pieces[] = {SPACE, "h",    "e",     "l",           "o",  "a",       "\xc3\xa9", "he",
                                     "ll",  "hell", "hello", SPACE "hello", "aa", SPACE "a", SPACE SPACE};
static const char *const merges[] = {"h e",          "l l", "he ll",    "hell o",
                                     SPACE " hello", "a a", SPACE " a", SPACE " " SPACE};
enum {
    UNK,
    BOS,
    EOS,
    BYTE_0,
    P = 259,
    P_SPACE = P,
    P_H,
    P_E,
    P_L,
    P_O,
    P_A,
    P_EE,
    P_HE,
    P_LL,
    P_HELL,
    P_HELLO,
    P_SPACE_HELLO,
    P_AA,
    P_SPACE_A,
    P_SPACES,
    N_TOKENS,
    N_PIECES = N_TOKENS - P
};
#define BYTE(b) (BYTE_0 + (b))

static const char *piece_text(int id, char buffer[16])
{
    static const char *const special[] = {"<unk>", "<s>", "</s>"};
    if (id < BYTE_0) return special[id];
    if (id >= P) return pieces[id - P];
    snprintf(buffer, 16, "<0x%02X>", (unsigned)(id - BYTE_0) & 0xff);
    return buffer;
}

static json_t *added(int id, const char *content, bool special, const char *flag)
{
    json_t *token = json_pack("{s:i, s:s, s:b}", "id", id, "content", content, "special", special ? 1 : 0);
    if (flag != NULL) json_object_set_new(token, flag, json_true());
    return token;
}

static json_t *pieces_json(void)
{
    json_t *vocab = json_object(), *list = json_array(), *tokens = json_array();
    char buffer[16];
    for (int id = 0; id < N_TOKENS; id++) json_object_set_new(vocab, piece_text(id, buffer), json_integer(id));
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) json_array_append_new(list, json_string(merges[i]));
    for (int id = UNK; id <= EOS; id++) json_array_append_new(tokens, added(id, piece_text(id, buffer), true, NULL));
    json_t *normalizer = json_pack("{s:s, s:[{s:s, s:s}, {s:s, s:{s:s}, s:s}]}", "type", "Sequence", "normalizers",
                                   "type", "Prepend", "prepend", SPACE, "type", "Replace", "pattern", "String", " ",
                                   "content", SPACE);
    json_t *decoder = json_pack("{s:s, s:[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}, {s:s, s:s, s:i, s:i}]}", "type",
                                "Sequence", "decoders", "type", "Replace", "pattern", "String", SPACE, "content", " ",
                                "type", "ByteFallback", "type", "Fuse", "type", "Strip", "content", " ", "start", 1,
                                "stop", 0);
    json_t *post = json_pack("{s:s, s:[{s:{s:s}}, {s:{s:s}}], s:{s:{s:[i]}}}", "type", "TemplateProcessing", "single",
                             "SpecialToken", "id", "<s>", "Sequence", "id", "A", "special_tokens", "<s>", "ids",
                             (int)BOS);
    return json_pack("{s:o, s:n, s:o, s:o, s:o, s:{s:s, s:s, s:b, s:b, s:o, s:o}}", "normalizer", normalizer,
                     "pre_tokenizer", "post_processor", post, "decoder", decoder, "added_tokens", tokens, "model",
                     "type", "BPE", "unk_token", "<unk>", "fuse_unk", 1, "byte_fallback", 1, "vocab", vocab, "merges",
                     list);
}

static tern_tokenizer *open_ok(json_t *root, uint32_t n_vocab)
{
    tern_tokenizer *t = NULL;
    tern_error err = {0};
    tern_status status = open_json(root, "{\"eos_token\": \"</s>\"}", NULL, n_vocab, &t, &err);
    json_decref(root);
    if (status != TERN_OK) print_error("%s\n", err.message);
    assert_int_equal(status, TERN_OK);
    return t;
}

static void check_pieces(const tern_tokenizer *t)
{
    const int parse = TERN_TOKENIZE_PARSE_SPECIAL, bos = TERN_TOKENIZE_ADD_BOS;
    assert_string_equal(tokenizer_description(t), "SentencePiece-style BPE, 274 tokens");
    assert_int_equal(tern_tokenizer_n_tokens(t), N_TOKENS);
    assert_true(tern_tokenizer_adds_bos(t));
    assert_true(tern_tokenizer_is_stop(t, EOS));
    check_encode(t, "", 0, 0, NULL, 0);
    CHECK_ENCODE(t, "", bos, BOS);
    CHECK_ENCODE(t, "hello", bos, BOS, P_SPACE_HELLO);
    CHECK_ENCODE(t, "hello hello", 0, P_SPACE_HELLO, P_SPACE_HELLO);
    CHECK_ENCODE(t, "aaa", 0, P_SPACE, P_AA, P_A); // "aa" ranks before " a"; ties go to the left
    CHECK_ENCODE(t, " a", 0, P_SPACE, P_SPACE_A);
    CHECK_ENCODE(t, "  ", 0, P_SPACES, P_SPACE);
    CHECK_ENCODE(t, SPACE "a", 0, P_SPACE, P_SPACE_A); // U+2581 in text is a space
    CHECK_ENCODE(t, "h\n", 0, P_SPACE, P_H, BYTE('\n'));
    CHECK_ENCODE(t, "\xc3\xa9\xf0\x9f\x98\x81", 0, P_SPACE, P_EE, BYTE(0xf0), BYTE(0x9f), BYTE(0x98), BYTE(0x81));
    CHECK_ENCODE(t, "\0", 0, P_SPACE, BYTE(0));
    CHECK_ENCODE(t, "<s>", 0, P_SPACE, BYTE('<'), BYTE('s'), BYTE('>'));
    CHECK_ENCODE(t, "<0x41>", parse, P_SPACE, BYTE('<'), BYTE('0'), BYTE('x'), BYTE('4'), BYTE('1'), BYTE('>'));
    CHECK_ENCODE(t, "<s>hello</s>a", parse | bos, BOS, P_SPACE_HELLO, EOS, P_SPACE_A); // a space behind each token
    CHECK_ENCODE(t, "<s><s>", parse | bos, BOS, BOS);
    CHECK_ENCODE(t, "a<s>", parse | bos, BOS, P_SPACE_A, BOS);
}

static void test_pieces(void **state)
{
    (void)state;
    tern_tokenizer *t = open_ok(pieces_json(), N_TOKENS);
    check_pieces(t);
    tokenizer_free(t);
}

static void test_pieces_decode(void **state)
{
    (void)state;
    tern_tokenizer *t = open_ok(pieces_json(), N_TOKENS);
    CHECK_DECODE(t, false, "hello", P_SPACE_HELLO);
    CHECK_DECODE(t, false, " hello", P_SPACE, P_SPACE_HELLO); // one space only
    CHECK_DECODE(t, false, " hello", P_SPACES, P_HELLO);
    CHECK_DECODE(t, false, "", P_SPACE);
    CHECK_DECODE(t, false, "a hello", P_A, P_SPACE_HELLO);
    CHECK_DECODE(t, false, "hello hello", BOS, P_SPACE_HELLO, EOS, P_SPACE_HELLO);
    CHECK_DECODE(t, true, "<s> hello", BOS, P_SPACE_HELLO);
    CHECK_DECODE(t, false, "a", BYTE(' '), P_A); // a byte token's space is a space
    CHECK_DECODE(t, false, "\xf0\x9f\x98\x81", P_SPACE, BYTE(0xf0), BYTE(0x9f), BYTE(0x98), BYTE(0x81));
    CHECK_DECODE(t, false,
                 "\xef\xbf\xbd"
                 "a",
                 P_SPACE, BYTE(0xf0), BYTE(0x9f), P_A);
    CHECK_DECODE(t, false, "\xef\xbf\xbd\xef\xbf\xbd", BYTE(0xff), BYTE(0xc3));
    CHECK_DECODE(t, false, "a\0a", P_A, BYTE(0), P_A);

    // The space belongs to the beginning of each text.
    tern_detokenizer *d = NULL;
    const char *text;
    size_t n;
    assert_int_equal(tern_detokenizer_create(t, false, &d, NULL), TERN_OK);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(tern_detokenizer_push(d, P_SPACE, &text, &n, NULL), TERN_OK);
        assert_int_equal(n, 0);
        assert_int_equal(tern_detokenizer_push(d, P_SPACE_A, &text, &n, NULL), TERN_OK);
        assert_int_equal(n, 2);
        assert_int_equal(tern_detokenizer_finish(d, &text, &n, NULL), TERN_OK);
    }
    tern_detokenizer_free(d);
    tokenizer_free(t);
}

static void test_metaspace(void **state)
{
    (void)state;
    static const struct {
        const char *pre;
        bool prefixes, behind_tokens, splits;
    } cases[] = {
        {"\"prepend_scheme\": \"first\", \"split\": false", true, false, false},
        {"\"prepend_scheme\": \"first\", \"split\": true", true, false, true},
        {"\"prepend_scheme\": \"always\", \"split\": false", true, true, false},
        {"\"prepend_scheme\": \"never\"", false, false, true},
        {"\"add_prefix_space\": true", true, true, true},
        {"\"add_prefix_space\": false, \"split\": false", false, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char pre[200];
        snprintf(pre, sizeof pre, "{\"type\": \"Metaspace\", \"replacement\": \"\\u2581\", %s}", cases[i].pre);
        json_t *root = pieces_json();
        json_object_set_new(root, "normalizer", json_null());
        json_object_set_new(root, "pre_tokenizer", json_loads(pre, 0, NULL));
        tern_tokenizer *t = open_ok(root, N_TOKENS);
        const int parse = TERN_TOKENIZE_PARSE_SPECIAL;
        if (cases[i].prefixes)
            CHECK_ENCODE(t, "hello", 0, P_SPACE_HELLO);
        else
            CHECK_ENCODE(t, "hello", 0, P_HELLO);
        CHECK_ENCODE(t, " hello", 0, P_SPACE_HELLO); // never a second space
        CHECK_ENCODE(t, SPACE "hello", 0, P_SPACE_HELLO);
        if (cases[i].behind_tokens)
            CHECK_ENCODE(t, "<s>hello", parse, BOS, P_SPACE_HELLO);
        else
            CHECK_ENCODE(t, "<s>hello", parse, BOS, P_HELLO);
        if (cases[i].splits)
            CHECK_ENCODE(t, "  ", 0, P_SPACE, P_SPACE);
        else
            CHECK_ENCODE(t, "  ", 0, P_SPACES);
        tokenizer_export e;
        tokenizer_get_export(t, &e);
        assert_int_equal(e.add_space_prefix, cases[i].prefixes);
        tokenizer_free(t);
    }
}

// A merge that reaches across a space: then words are not cut at spaces.
static void test_merge_across_space(void **state)
{
    (void)state;
    json_t *root = pieces_json();
    json_t *model = json_object_get(root, "model");
    json_object_set_new(json_object_get(model, "vocab"), "a" SPACE "hello", json_integer(N_TOKENS));
    json_array_append_new(json_object_get(model, "merges"), json_string("a " SPACE "hello"));
    tern_tokenizer *t = open_ok(root, N_TOKENS + 1);
    CHECK_ENCODE(t, "ha hello hello", 0, P_SPACE, P_H, N_TOKENS, P_SPACE_HELLO);
    tokenizer_free(t);
}

static void test_unknown_characters(void **state)
{
    (void)state;
    for (int fuse = 0; fuse < 2; fuse++) {
        json_t *root = pieces_json();
        json_t *model = json_object_get(root, "model");
        json_object_del(json_object_get(model, "vocab"), "<0xF0>");
        json_object_set_new(model, "fuse_unk", json_boolean(fuse));
        tern_tokenizer *t = open_ok(root, N_TOKENS);
        if (fuse)
            CHECK_ENCODE(t,
                         "h\xf0\x9f\x98\x81\xf0\x9f\x98\x82"
                         "e\n",
                         0, P_SPACE, P_H, UNK, P_E, BYTE('\n'));
        else
            CHECK_ENCODE(t,
                         "h\xf0\x9f\x98\x81\xf0\x9f\x98\x82"
                         "e\n",
                         0, P_SPACE, P_H, UNK, UNK, P_E, BYTE('\n'));
        tokenizer_free(t);
    }
}

// ------------------------------------------------------------------------------------------------------- added tokens

static void test_added_token_flags(void **state)
{
    (void)state;
    json_t *root = pieces_json(), *tokens = json_object_get(root, "added_tokens");
    enum { LEFT = N_TOKENS, RIGHT, WORD, NORMAL, N };
    json_array_append_new(tokens, added(LEFT, "<l>", false, "lstrip"));
    json_array_append_new(tokens, added(RIGHT, "<r>", false, "rstrip"));
    json_array_append_new(tokens, added(WORD, "ell", false, "single_word"));
    json_array_append_new(tokens, added(NORMAL, "lol", false, "normalized"));
    tern_tokenizer *t = open_ok(root, N);
    CHECK_ENCODE(t, "a \t<l> a", 0, P_SPACE_A, LEFT, P_SPACE, P_SPACE_A);
    CHECK_ENCODE(t, "a <r> \xc2\xa0\n a", 0, P_SPACE_A, P_SPACE, RIGHT, P_SPACE_A);
    CHECK_ENCODE(t, "<r>  <l>", 0, RIGHT, LEFT); // white space goes with one of them
    CHECK_ENCODE(t, "hello", 0, P_SPACE_HELLO);
    CHECK_ENCODE(t, "ell", 0, WORD);
    CHECK_ENCODE(t, "h ell.", 0, P_SPACE, P_H, P_SPACE, WORD, P_SPACE, BYTE('.'));
    CHECK_ENCODE(t, "ell\xcc\x81", 0, P_SPACE, P_E, P_LL, BYTE(0xcc), BYTE(0x81)); // a mark belongs to the word
    CHECK_ENCODE(t, "_ell", 0, P_SPACE, BYTE('_'), P_E, P_LL);
    // In normalised form it is " lol", which needs a space or the beginning in front.
    CHECK_ENCODE(t, "lol", 0, NORMAL);
    CHECK_ENCODE(t, "a lola", 0, P_SPACE_A, NORMAL, P_A);
    CHECK_ENCODE(t, "alol", 0, P_SPACE_A, P_L, P_O, P_L);
    tokenizer_free(t);
}

// ---------------------------------------------------------------------------------------------------------------- NFC

static void test_nfc(void **state)
{
    (void)state;
    static const struct {
        const char *text, *nfc;
    } cases[] = {
        {"e\xcc\x81", "\xc3\xa9"},
        {"abce\xcc\x81"
         "def",
         "abc\xc3\xa9"
         "def"},
        {"\xc3\xa9", "\xc3\xa9"},
        {"\xe2\x84\xab", "\xc3\x85"},                             // ANGSTROM SIGN
        {"\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "\xed\x95\x9c"}, // Hangul
        {"\xe3\x81\x8b\xe3\x82\x99", "\xe3\x81\x8c"},             // voiced kana
        {"a\xcc\x81\xcc\xa3", "\xe1\xba\xa1\xcc\x81"},            // marks in canonical order
        {"\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc"},             // excluded from composition
        {"\xf0\x9f\x98\x81 \xe2\x80\x99", "\xf0\x9f\x98\x81 \xe2\x80\x99"},
        {"a\xe0\xa3\x93\xcc\xa3", "a\xe0\xa3\x93\xcc\xa3"}, // U+08D3, a mark since Unicode 11: nothing moves past it
        {"a\xcc\x81\xe1\xab\x8e\xcc\xa7", "\xc3\xa1\xe1\xab\x8e\xcc\xa7"},        // U+1ACE, Unicode 14
        {"\xf0\x91\xa4\xb5\xf0\x91\xa4\xb0", "\xf0\x91\xa4\xb5\xf0\x91\xa4\xb0"}, // U+11935 U+11930, Unicode 13
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text_buffer out = {0};
        assert_int_equal(nfc_append(cases[i].text, strlen(cases[i].text), &out, NULL), TERN_OK);
        assert_int_equal(out.n, strlen(cases[i].nfc));
        assert_memory_equal(out.data, cases[i].nfc, out.n);
        text_buffer_free(&out);
    }
    assert_true(nfc_is_plain("caf\xc3\xa9\n", 6));
    assert_false(nfc_is_plain("e\xcc\x81", 3));
}

// Marks in the worst order: a sort that compares neighbours would take hours.
static void test_nfc_hostile(void **state)
{
    (void)state;
    text_buffer text = {0}, out = {0};
    for (size_t i = 0; i < 1000000; i++) append(&text, "\xcc\x81\xcc\xa3", 4);
    double start = seconds();
    assert_int_equal(nfc_append(text.data, text.n, &out, NULL), TERN_OK);
    assert_true(seconds() - start < 20.0);
    assert_int_equal(out.n, text.n);
    for (size_t i = 0; i < out.n; i += 2) assert_int_equal((unsigned char)out.data[i + 1], i < out.n / 2 ? 0xa3 : 0x81);
    text_buffer_free(&text);
    text_buffer_free(&out);
}

static void test_normalized_between_tokens(void **state)
{
    (void)state;
    json_t *root = pieces_json(), *tokens = json_object_get(root, "added_tokens");
    enum { RAW = N_TOKENS, NORMAL, N };
    json_array_append_new(json_object_get(json_object_get(root, "normalizer"), "normalizers"),
                          json_pack("{s:s}", "type", "NFC"));
    json_array_append_new(tokens, added(RAW, "oe\xcc\x81", false, NULL));
    json_array_append_new(tokens, added(NORMAL, "he\xcc\x81", false, "normalized"));
    tern_tokenizer *t = open_ok(root, N);
    CHECK_ENCODE(t, "le\xcc\x81", 0, P_SPACE, P_L, P_EE);
    CHECK_ENCODE(t, "oe\xcc\x81", 0, RAW); // before normalising
    CHECK_ENCODE(t, "o\xc3\xa9", 0, P_SPACE, P_O, P_EE);
    CHECK_ENCODE(t,
                 "h\xc3\xa9"
                 "a he\xcc\x81",
                 0, NORMAL, P_A, NORMAL); // behind it, in either form
    tokenizer_free(t);
}

// ------------------------------------------------------------------------------------------- tokenizer.json: bad files

// SentencePiece's own file is not read; the message says how to get the one that is.
static void test_sentencepiece_file_only(void **state)
{
    (void)state;
    char directory[] = "/tmp/tern-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/tokenizer.model", directory);
    write_file(path, "\n", 1);
    tern_tokenizer *t = NULL;
    tern_error err = {0};
    assert_int_equal(tokenizer_from_directory(directory, 10, &t, &err), TERN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "tokenizer.model"));
    assert_non_null(strstr(err.message, "save_pretrained"));
    assert_null(t);
    remove(path);
    remove(directory);
}

typedef struct json_case {
    const char *name, *key, *value; // a top-level key; "model.x" one of the model. NULL deletes
    tern_status status;
    const char *message;
} json_case;

static const json_case json_cases[] = {
    {"pieces: no byte_fallback", "model.byte_fallback", "false", TERN_UNSUPPORTED, "byte_fallback"},
    {"pieces: unk_token not there", "model.unk_token", "\"<none>\"", TERN_MALFORMED, "unk_token"},
    {"pieces: unk_token of wrong type", "model.unk_token", "3", TERN_MALFORMED, "unk_token"},
    {"pieces: spaces not replaced", "normalizer", "null", TERN_UNSUPPORTED, "spaces replaced"},
    {"pieces: prepended only", "normalizer", "{\"type\": \"Prepend\", \"prepend\": \"\\u2581\"}", TERN_UNSUPPORTED,
     "spaces replaced"},
    {"pieces: prepends something else", "normalizer", "{\"type\": \"Prepend\", \"prepend\": \"x\"}", TERN_UNSUPPORTED,
     "Prepend"},
    {"pieces: replaces something else", "normalizer",
     "{\"type\": \"Replace\", \"pattern\": {\"Regex\": \" +\"}, \"content\": \"\\u2581\"}", TERN_UNSUPPORTED,
     "Replace"},
    {"pieces: Metaspace behind Prepend", "pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"\\u2581\"}",
     TERN_UNSUPPORTED, "spaces replaced"},
    {"pieces: Metaspace by another character", "pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"_\"}",
     TERN_UNSUPPORTED, "U+2581"},
    {"pieces: unknown scheme", "pre_tokenizer",
     "{\"type\": \"Metaspace\", \"replacement\": \"\\u2581\", \"prepend_scheme\": \"last\"}", TERN_UNSUPPORTED,
     "prepend_scheme"},
    {"pieces: no decoder", "decoder", "null", TERN_UNSUPPORTED, "decoder"},
    {"pieces: decoder ByteLevel", "decoder", "{\"type\": \"ByteLevel\"}", TERN_UNSUPPORTED, "decoder"},
    {"pieces: decoder of one step", "decoder", "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"ByteFallback\"}]}",
     TERN_UNSUPPORTED, "decoder"},
    {"pieces: decoder strips the end", "decoder",
     "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Strip\", \"content\": \" \", \"start\": 0, \"stop\": 1}]}",
     TERN_UNSUPPORTED, "Strip"},
    {"pieces: merge of a byte token", "model.merges", "[[\"<0x41>\", \"h\"]]", TERN_MALFORMED, "merge 0"},
    {"pieces: merge of a space", "model.merges", "[[\" \", \"h\"]]", TERN_MALFORMED, "merge 0"},
    {"pieces: merge makes a special token", "model.vocab",
     "{\"<unk>\": 0, \"<s>\": 1, \"</s>\": 2, \"<s\": 3, \">\": 4}", TERN_MALFORMED, "merge 0"},
};

static void test_json_case(void **state)
{
    const json_case *c = *state;
    json_t *root = pieces_json(), *target = root;
    const char *key = c->key;
    if (strncmp(key, "model.", 6) == 0) {
        target = json_object_get(root, "model");
        key += 6;
    }
    json_object_set_new(target, key, json_loads(c->value, JSON_DECODE_ANY, NULL));
    tern_tokenizer *t = NULL;
    tern_error err = {0};
    tern_status status = open_json(root, NULL, NULL, N_TOKENS, &t, &err);
    json_decref(root);
    if (status != c->status || strstr(err.message, c->message) == NULL)
        print_error("%s: %s\n", tern_status_name(status), err.message);
    assert_int_equal(status, c->status);
    assert_non_null(strstr(err.message, c->message));
    assert_null(t);
}

// A byte without token and no token for the unknown: some text could not be encoded.
static void test_missing_byte(void **state)
{
    (void)state;
    json_t *root = pieces_json();
    json_t *model = json_object_get(root, "model");
    json_object_del(json_object_get(model, "vocab"), "<0x00>");
    json_object_set_new(model, "unk_token", json_null());
    tern_tokenizer *t = NULL;
    tern_error err = {0};
    assert_int_equal(open_json(root, NULL, NULL, N_TOKENS, &t, &err), TERN_MALFORMED);
    assert_non_null(strstr(err.message, "byte 0x00"));
    json_decref(root);
}

// --------------------------------------------------------------------------------------------------------------- GGUF

// What differs from a good file. Zeroed: nothing does.
typedef struct gguf_case {
    const char *name;
    tern_status status;
    const char *message;
    bool no_types, no_scores, scores_are_i32, removes_spaces;
    int n_scores_less, n_more; // unused tokens at the end
    float score;               // of "hello"; 0: the right one
    const char *text;          // of <0x41>; NULL: the right one
    int32_t type;              // of "hello"; 0: normal
    uint32_t unknown, bos;     // + 1; 0: the key is absent
    int add_space_prefix;      // 0 absent, 1 false
} gguf_case;

static void put_ggml_key(bytes *b, const char *name, uint32_t type)
{
    char key[64];
    snprintf(key, sizeof key, "tokenizer.ggml.%s", name);
    put_key(b, key, type);
}

static void put_list(bytes *b, const char *name, gguf_type type, size_t n)
{
    put_ggml_key(b, name, GGUF_ARRAY);
    put_u32(b, type);
    put_u64(b, n);
}

static void put_bool(bytes *b, const char *name, bool value)
{
    put_ggml_key(b, name, GGUF_BOOL);
    put(b, value ? "\1" : "\0", 1);
}

static bytes pieces_gguf(const gguf_case *c)
{
    bytes b = {0};
    char buffer[16];
    int n = N_TOKENS + c->n_more;
    uint64_t n_keys = 2u + !c->no_types + !c->no_scores + c->removes_spaces + (c->unknown != 0) + (c->bos != 0) +
                      (c->add_space_prefix != 0);
    put_header(&b, 3, 0, n_keys);
    put_ggml_key(&b, "model", GGUF_STRING);
    put_string(&b, "llama");
    put_list(&b, "tokens", GGUF_STRING, (size_t)n);
    for (int id = 0; id < n; id++)
        put_string(&b, id >= N_TOKENS                        ? "[PAD]"
                       : id == BYTE(0x41) && c->text != NULL ? c->text
                                                             : piece_text(id, buffer));
    if (!c->no_types) {
        put_list(&b, "token_type", GGUF_I32, (size_t)n);
        for (int id = 0; id < n; id++)
            put_u32(&b, id == UNK                       ? 2
                        : id < BYTE_0                   ? 3
                        : id < P                        ? 6
                        : id >= N_TOKENS                ? 5
                        : id == P_HELLO && c->type != 0 ? (uint32_t)c->type
                                                        : 1);
    }
    if (!c->no_scores) {
        put_list(&b, "scores", c->scores_are_i32 ? GGUF_I32 : GGUF_F32, (size_t)(n - c->n_scores_less));
        for (int id = 0; id < n - c->n_scores_less; id++) {
            float score = id == P_HELLO && c->score != 0.0f ? c->score : id < P ? 0.0f : -(float)id;
            put(&b, &score, sizeof score);
        }
    }
    if (c->removes_spaces) put_bool(&b, "remove_extra_whitespaces", true);
    if (c->add_space_prefix != 0) put_bool(&b, "add_space_prefix", false);
    if (c->unknown != 0) {
        put_ggml_key(&b, "unknown_token_id", GGUF_U32);
        put_u32(&b, c->unknown - 1);
    }
    if (c->bos != 0) {
        put_ggml_key(&b, "bos_token_id", GGUF_U32);
        put_u32(&b, c->bos - 1);
    }
    put_align(&b, 32);
    return b;
}

static tern_status open_gguf(const gguf_case *c, tern_tokenizer **out, tern_error *err)
{
    bytes b = pieces_gguf(c);
    gguf_file file = {0};
    assert_int_equal(gguf_parse(b.data, b.n, &file, err), TERN_OK);
    tern_status status = tokenizer_from_gguf(&file, "llama", 1000, out, err);
    gguf_free(&file);
    free(b.data);
    return status;
}

static char long_piece[600]; // set in main

static const gguf_case gguf_cases[] = {
    {.name = "gguf pieces: no scores", .no_scores = true, .status = TERN_MALFORMED, .message = "scores"},
    {.name = "gguf pieces: scores too few", .n_scores_less = 1, .status = TERN_MALFORMED, .message = "scores"},
    {.name = "gguf pieces: scores not f32", .scores_are_i32 = true, .status = TERN_MALFORMED, .message = "scores"},
    {.name = "gguf pieces: score not a number", .score = NAN, .status = TERN_MALFORMED, .message = "token 269"},
    {.name = "gguf pieces: score infinite", .score = -INFINITY, .status = TERN_MALFORMED, .message = "token 269"},
    {.name = "gguf pieces: byte token <0x-1>", .text = "<0x-1>", .status = TERN_MALFORMED, .message = "<0x-1>"},
    {.name = "gguf pieces: byte token <0x+F>", .text = "<0x+F>", .status = TERN_MALFORMED, .message = "<0x+F>"},
    {.name = "gguf pieces: byte token <0xG1>", .text = "<0xG1>", .status = TERN_MALFORMED, .message = "<0xG1>"},
    {.name = "gguf pieces: byte token <0x4>", .text = "<0x4>", .status = TERN_MALFORMED, .message = "<0x4>"},
    {.name = "gguf pieces: byte token <0x041>", .text = "<0x041>", .status = TERN_MALFORMED, .message = "<0x041>"},
    {.name = "gguf pieces: empty byte token", .text = "", .status = TERN_MALFORMED, .message = "byte token 68"},
    {.name = "gguf pieces: type 6 of a piece", .type = 6, .status = TERN_MALFORMED, .message = "byte token 269"},
    {.name = "gguf pieces: unknown id out of range",
     .unknown = N_TOKENS + 1,
     .status = TERN_MALFORMED,
     .message = "unknown_token_id"},
    {.name = "gguf pieces: bos out of range", .bos = UINT32_MAX, .status = TERN_MALFORMED, .message = "bos_token_id"},
    {.name = "gguf pieces: removes spaces",
     .removes_spaces = true,
     .status = TERN_UNSUPPORTED,
     .message = "remove_extra_whitespaces"},
    {.name = "gguf pieces: piece too long",
     .no_types = true,
     .text = long_piece,
     .status = TERN_LIMIT,
     .message = "token 68"},
};

static void test_gguf_case(void **state)
{
    const gguf_case *c = *state;
    tern_tokenizer *t = NULL;
    tern_error err = {0};
    tern_status status = open_gguf(c, &t, &err);
    if (status != c->status || strstr(err.message, c->message) == NULL)
        print_error("%s: %s\n", tern_status_name(status), err.message);
    assert_int_equal(status, c->status);
    assert_non_null(strstr(err.message, c->message));
    assert_null(t);
}

static tern_tokenizer *open_gguf_ok(const gguf_case *c)
{
    tern_tokenizer *t = NULL;
    tern_error err = {0};
    tern_status status = open_gguf(c, &t, &err);
    if (status != TERN_OK) print_error("%s\n", err.message);
    assert_int_equal(status, TERN_OK);
    return t;
}

static void test_gguf_pieces(void **state)
{
    (void)state;
    for (int no_types = 0; no_types < 2; no_types++) {
        tern_tokenizer *t = open_gguf_ok(&(gguf_case){.no_types = no_types});
        assert_int_equal(tern_tokenizer_bos(t), BOS); // by default
        check_pieces(t);
        CHECK_DECODE(t, false, "hello\n", BOS, P_SPACE_HELLO, BYTE('\n'));
        tokenizer_free(t);
    }
    tern_tokenizer *t = open_gguf_ok(&(gguf_case){.add_space_prefix = 1});
    CHECK_ENCODE(t, "hello hello", 0, P_HELLO, P_SPACE_HELLO);
    CHECK_DECODE(t, false, " hello", P_SPACE_HELLO);
    tokenizer_free(t);
    // Pieces of equal score: the leftmost, which "aa" with the score of " a" shows.
    t = open_gguf_ok(&(gguf_case){.score = -(float)P_HE});
    CHECK_ENCODE(t, "hello", 0, P_SPACE_HELLO);
    tokenizer_free(t);
}

// Unused ids at the end are rows of padding: never counted, so never sampled, but they decode to nothing.
static void test_trailing_unused(void **state)
{
    (void)state;
    tern_tokenizer *t = open_gguf_ok(&(gguf_case){.n_more = 3});
    assert_int_equal(tern_tokenizer_n_tokens(t), N_TOKENS);
    assert_string_equal(tokenizer_description(t), "SentencePiece-style BPE, 274 tokens");
    CHECK_DECODE(t, true, "a", P_A, N_TOKENS, N_TOKENS + 2);
    CHECK_ENCODE(t, "[PAD]", TERN_TOKENIZE_PARSE_SPECIAL, P_SPACE, BYTE('['), BYTE('P'), BYTE('A'), BYTE('D'),
                 BYTE(']'));
    tokenizer_export e;
    tokenizer_get_export(t, &e);
    assert_int_equal(e.n_tokens, N_TOKENS + 3); // a file keeps its rows
    tern_detokenizer *d = NULL;
    const char *text;
    size_t n;
    assert_int_equal(tern_detokenizer_create(t, false, &d, NULL), TERN_OK);
    assert_int_equal(tern_detokenizer_push(d, N_TOKENS + 3, &text, &n, NULL), TERN_INVALID_ARGUMENT);
    tern_detokenizer_free(d);
    tokenizer_free(t);
}

static void test_export(void **state)
{
    (void)state;
    char buffer[16];
    for (int from_gguf = 0; from_gguf < 2; from_gguf++) {
        tern_tokenizer *t = from_gguf ? open_gguf_ok(&(gguf_case){0}) : open_ok(pieces_json(), N_TOKENS);
        tokenizer_export e;
        tokenizer_get_export(t, &e);
        assert_string_equal(e.model, "llama");
        assert_string_equal(e.pre, "default");
        assert_int_equal(e.n_tokens, N_TOKENS);
        for (int id = 0; id < N_TOKENS; id++) {
            assert_string_equal(e.tokens[id], piece_text(id, buffer));
            assert_int_equal(e.token_types[id], id == UNK ? 2 : id < BYTE_0 ? 3 : id < P ? 6 : 1);
        }
        static const int made[] = {P_HE, P_LL, P_HELL, P_HELLO, P_SPACE_HELLO, P_AA, P_SPACE_A, P_SPACES};
        for (size_t i = 1; i < sizeof made / sizeof *made; i++) assert_true(e.scores[made[i]] < e.scores[made[i - 1]]);
        assert_int_equal(e.n_merges, 0);
        assert_int_equal(e.unknown, UNK);
        assert_int_equal(e.bos, BOS);
        assert_int_equal(e.eos, EOS);
        assert_true(e.add_bos);
        assert_true(e.add_space_prefix);
        assert_null(e.loss);
        tokenizer_free(t);
    }
    // A split of a piece that no merge makes: scores would make it.
    json_t *root = pieces_json();
    json_array_remove(json_object_get(json_object_get(root, "model"), "merges"), 2);
    tern_tokenizer *t = open_ok(root, N_TOKENS);
    tokenizer_export e;
    tokenizer_get_export(t, &e);
    assert_non_null(strstr(e.loss, "scores"));
    tokenizer_free(t);
}

// -------------------------------------------------------------------------------------------------------- shared data

static void test_llama2(void **state)
{
    (void)state;
    tern_tokenizer *t = open_data("tokenizers/llama2", 32000);
    assert_string_equal(tokenizer_description(t), "SentencePiece-style BPE, 32000 tokens");
    assert_int_equal(tern_tokenizer_bos(t), 1);
    assert_true(tern_tokenizer_adds_bos(t));
    assert_true(tern_tokenizer_is_stop(t, 2));
    assert_true(check_lines(t, "llama2", NULL) > 600);
    check_text(t, "llama2", "wikitext2", "wikitext2-test.txt");
    check_text(t, "llama2", "stories", "stories-valid.txt");
    check_giants(t, true);
    tokenizer_export e;
    tokenizer_get_export(t, &e);
    assert_null(e.loss);
    tokenizer_free(t);
}

// Also none behind a special token, which brings a space of its own.
static bool has_no_space_runs(const char *text)
{
    return strstr(text, "> ") == NULL && text[0] != ' ' && strncmp(text, SPACE, 3) != 0 && strstr(text, "  ") == NULL &&
           strstr(text, " " SPACE) == NULL && strstr(text, SPACE " ") == NULL && strstr(text, SPACE SPACE) == NULL;
}

static void open_llama2_gguf(char *data, size_t n, tern_tokenizer **out)
{
    gguf_file file = {0};
    tern_error err = {0};
    assert_int_equal(gguf_parse((const uint8_t *)data, n, &file, &err), TERN_OK);
    assert_int_equal(tokenizer_from_gguf(&file, "bitnet", 32000, out, &err), TERN_OK);
    gguf_free(&file);
}

// The fixture scores pieces by their id. That gives tokenizer.json's order, but for runs of spaces: they have low ids
// and are merged last (their scores in SentencePiece's own file are around -1e9).
static void test_llama2_gguf(void **state)
{
    (void)state;
    size_t n;
    char *data = read_data("fixtures/gguf-vocab-llama2/model.gguf", &n);
    tern_tokenizer *t = NULL;
    open_llama2_gguf(data, n, &t);
    assert_true(tern_tokenizer_adds_bos(t));
    assert_true(check_lines(t, "llama2", has_no_space_runs) > 300);
    tokenizer_free(t);

    gguf_file file = {0};
    assert_int_equal(gguf_parse((const uint8_t *)data, n, &file, NULL), TERN_OK);
    const gguf_value *scores = gguf_find(&file, "tokenizer.ggml.scores");
    gguf_string *tokens = malloc(32000 * sizeof *tokens);
    assert_int_equal(gguf_array_strings(&file, "tokenizer.ggml.tokens", tokens, 32000, NULL), TERN_OK);
    for (size_t id = 0; id < 32000; id++) {
        size_t i = 0;
        while (i < tokens[id].n && memcmp(tokens[id].data + i, SPACE, 3) == 0) i += 3;
        float score = -1e9f - 1000.0f * (float)id;
        size_t at = (size_t)(scores->data - (const uint8_t *)data) + 4 * id;
        if (i > 3 && i == tokens[id].n) memcpy(data + at, &score, sizeof score);
    }
    free(tokens);
    gguf_free(&file);
    open_llama2_gguf(data, n, &t);
    free(data);
    assert_true(check_lines(t, "llama2", NULL) > 600);
    check_text(t, "llama2", "wikitext2", "wikitext2-test.txt");
    check_text(t, "llama2", "stories", "stories-valid.txt");
    check_giants(t, true);
    tokenizer_free(t);
}

#define N_JSON_CASES (sizeof json_cases / sizeof *json_cases)
#define N_GGUF_CASES (sizeof gguf_cases / sizeof *gguf_cases)

static int run_cases(void)
{
    struct CMUnitTest json[N_JSON_CASES], gguf[N_GGUF_CASES];
    for (size_t i = 0; i < N_JSON_CASES; i++)
        json[i] = (struct CMUnitTest){json_cases[i].name, test_json_case, NULL, NULL,
                                      (void *)(uintptr_t)&json_cases[i]};
    for (size_t i = 0; i < N_GGUF_CASES; i++)
        gguf[i] = (struct CMUnitTest){gguf_cases[i].name, test_gguf_case, NULL, NULL,
                                      (void *)(uintptr_t)&gguf_cases[i]};
    return cmocka_run_group_tests_name("text pieces: tokenizer.json", json, NULL, NULL) +
           cmocka_run_group_tests_name("text pieces: gguf", gguf, NULL, NULL);
}

int main(void)
{
    memset(long_piece, 'x', sizeof long_piece - 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_pieces_decode),
        cmocka_unit_test(test_metaspace),
        cmocka_unit_test(test_merge_across_space),
        cmocka_unit_test(test_unknown_characters),
        cmocka_unit_test(test_added_token_flags),
        cmocka_unit_test(test_nfc),
        cmocka_unit_test(test_nfc_hostile),
        cmocka_unit_test(test_normalized_between_tokens),
        cmocka_unit_test(test_missing_byte),
        cmocka_unit_test(test_sentencepiece_file_only),
        cmocka_unit_test(test_gguf_pieces),
        cmocka_unit_test(test_trailing_unused),
        cmocka_unit_test(test_export),
        cmocka_unit_test(test_llama2),
        cmocka_unit_test(test_llama2_gguf),
    };
    return cmocka_run_group_tests_name("text pieces", tests, NULL, NULL) + run_cases();
}
