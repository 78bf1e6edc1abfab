// Tokenizers: a tiny one made here, and the real ones of the shared data against the Hugging Face library's ids.
#include "gguf.h"
#include "text_fixture.h"

#define LLAMA3_REGEX                                                                                                   \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"           \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

// ------------------------------------------------------------------------------------------------ the tiny tokenizer

// Ids: 0..255 the bytes, then the results of these merges, then the special tokens.
static const char *const tiny_merges[] = {"h e", "l l",          "he ll", "hell o", "\xc4\xa0 w",
                                          "o r", "\xc4\xa0w or", "a a",   "aa aa"};
enum { HE = 256, LL, HELL, HELLO, SPACE_W, OR, SPACE_WOR, AA, AAAA, BOS, EOS, END, TOOL, STRIP, TINY_N };

// The mapped character of a byte, written independently of byte_map.c: the n-th byte that is not printable is U+0100 +
// n.
static void map_byte(unsigned byte, char out[4])
{
    unsigned point = byte, skipped = 0;
    bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    for (unsigned b = 0; b < byte; b++) skipped += !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174);
    if (!printable) point = 256 + skipped;
    memset(out, 0, 4);
    if (point < 0x80) {
        out[0] = (char)point;
    } else {
        out[0] = (char)(0xc0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3f));
    }
}

static json_t *added_token(int id, const char *content, bool special)
{
    return json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", content, "single_word", 0, "lstrip", 0,
                     "rstrip", 0, "normalized", 0, "special", special ? 1 : 0);
}

static json_t *tiny_json(void)
{
    json_t *vocab = json_object(), *merges = json_array(), *added = json_array();
    char mapped[4];
    for (int i = 0; i < 256; i++) {
        map_byte((unsigned)i, mapped);
        json_object_set_new(vocab, mapped, json_integer(i));
    }
    for (int i = 0; i < (int)(sizeof tiny_merges / sizeof *tiny_merges); i++) {
        char result[16];
        const char *space = strchr(tiny_merges[i], ' ');
        snprintf(result, sizeof result, "%.*s%s", (int)(space - tiny_merges[i]), tiny_merges[i], space + 1);
        json_object_set_new(vocab, result, json_integer(256 + i));
        json_array_append_new(merges, json_string(tiny_merges[i]));
    }
    json_array_append_new(added, added_token(BOS, "<|bos|>", true));
    json_array_append_new(added, added_token(EOS, "<|eos|>", true));
    json_array_append_new(added, added_token(END, "<|eot_id|>", true));
    json_array_append_new(added, added_token(TOOL, "<tool>", false));
    json_t *strip = added_token(STRIP, "<tool> strip", false);
    json_object_set_new(strip, "lstrip", json_true());
    json_object_set_new(strip, "rstrip", json_true());
    json_array_append_new(added, strip);
    return json_pack("{s:n, s:o, s:{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b, s:b}]}, s:{s:s, s:[{s:{s:s, "
                     "s:i}}, {s:{s:s, s:i}}], "
                     "s:{s:{s:s, s:[i], s:[s]}}}, s:{s:s}, s:{s:s, s:b, s:b, s:o, s:o}}",
                     "normalizer", "added_tokens", added, "pre_tokenizer", "type", "Sequence", "pretokenizers", "type",
                     "Split", "pattern", "Regex", LLAMA3_REGEX, "behavior", "Isolated", "invert", 0, "type",
                     "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 0, "post_processor", "type",
                     "TemplateProcessing", "single", "SpecialToken", "id", "<|bos|>", "type_id", 0, "Sequence", "id",
                     "A", "type_id", 0, "special_tokens", "<|bos|>", "id", "<|bos|>", "ids", (int)BOS, "tokens",
                     "<|bos|>", "decoder", "type", "ByteLevel", "model", "type", "BPE", "byte_fallback", 0,
                     "ignore_merges", 0, "vocab", vocab, "merges", merges);
}

static tern_tokenizer *open_tiny(const char *config, const char *generation)
{
    json_t *root = tiny_json();
    assert_non_null(root);
    tern_tokenizer *tokenizer = NULL;
    tern_error err = {0};
    tern_status status = open_json(root, config, generation, TINY_N, &tokenizer, &err);
    json_decref(root);
    if (status != TERN_OK) print_error("%s\n", err.message);
    assert_int_equal(status, TERN_OK);
    return tokenizer;
}

// --------------------------------------------------------------------------------------------- tiny tokenizer: encode

static void test_encode_tiny(void **state)
{
    (void)state;
    tern_tokenizer *t = open_tiny(NULL, NULL);
    assert_int_equal(tern_tokenizer_n_tokens(t), TINY_N);
    assert_int_equal(tern_tokenizer_bos(t), BOS);
    assert_true(tern_tokenizer_adds_bos(t));
    assert_string_equal(tokenizer_description(t), "byte-level BPE (llama3), 270 tokens");
    check_encode(t, "", 0, 0, NULL, 0);
    check_encode(t, NULL, 0, 0, NULL, 0);
    CHECK_ENCODE(t, "", TERN_TOKENIZE_ADD_BOS, BOS);
    CHECK_ENCODE(t, "hello", 0, HELLO);
    CHECK_ENCODE(t, "hello world", 0, HELLO, SPACE_WOR, 'l', 'd');
    CHECK_ENCODE(t, "hellhello", 0, HELL, HELLO);
    CHECK_ENCODE(t, "lll", 0, LL, 'l'); // ties go to the left
    CHECK_ENCODE(t, "aaaaaaa", 0, AAAA, AA, 'a');
    CHECK_ENCODE(t, "a\0b", 0, 'a', 0, 'b'); // an embedded NUL is an ordinary byte
    CHECK_ENCODE(t, "\xe4\xb8\xad", 0, 0xe4, 0xb8, 0xad);
    tokenizer_free(t);
}

static void test_encode_special(void **state)
{
    (void)state;
    tern_tokenizer *t = open_tiny(NULL, NULL);
    const int parse = TERN_TOKENIZE_PARSE_SPECIAL, bos = TERN_TOKENIZE_ADD_BOS;
    CHECK_ENCODE(t, "<|bos|>", 0, '<', '|', 'b', 'o', 's', '|', '>');
    CHECK_ENCODE(t, "<|bos|>he<|eos|>", parse, BOS, HE, EOS);
    CHECK_ENCODE(t, "<|bos|>he", parse | bos, BOS, HE); // not twice
    CHECK_ENCODE(t, " <|bos|>", parse | bos, BOS, ' ', BOS);
    CHECK_ENCODE(t, "<|bos|>", bos, BOS, '<', '|', 'b', 'o', 's', '|', '>');
    CHECK_ENCODE(t, "<tool>he", 0, TOOL, HE);                            // user-defined tokens always match
    CHECK_ENCODE(t, "a  <tool> strip \n\xc2\xa0 a", 0, 'a', STRIP, 'a'); // the longest, with its white space
    CHECK_ENCODE(t, "a  <tool> stri", 0, 'a', ' ', ' ', TOOL, ' ', 's', 't', 'r', 'i');
    CHECK_ENCODE(t, "<tool> strip <tool> strip", 0, STRIP, STRIP);
    CHECK_ENCODE(t, "<<tool<tool>", 0, '<', '<', 't', 'o', 'o', 'l', TOOL);
    tokenizer_free(t);
}

static void test_encode_appends(void **state)
{
    (void)state;
    tern_tokenizer *t = open_tiny(NULL, NULL);
    tern_tokens tokens = {0};
    tern_error err = {0};
    assert_int_equal(tern_tokens_append(&tokens, 7, &err), TERN_OK);
    assert_int_equal(tern_tokenizer_encode(t, "he", 2, 0, &tokens, &err), TERN_OK);
    assert_ids(&tokens, (tern_token[]){7, HE}, 2);
    assert_int_equal(tern_tokenizer_encode(t, "he\xff", 3, TERN_TOKENIZE_ADD_BOS, &tokens, &err), TERN_MALFORMED);
    assert_non_null(strstr(err.message, "offset 2"));
    assert_ids(&tokens, (tern_token[]){7, HE}, 2); // untouched by a failure
    tern_tokens_free(&tokens);
    tokenizer_free(t);
}

static void test_encode_rejects(void **state)
{
    (void)state;
    tern_tokenizer *t = open_tiny(NULL, NULL);
    static const struct {
        const char *text;
        size_t bad;
    } cases[] = {
        {"\x80", 0},
        {"a\xc3", 1},
        {"\xc0\xaf", 0},
        {"\xe0\x80\xaf", 0},
        {"12345678\xed\xa0\x80", 8},
        {"\xf4\x90\x80\x80", 0},
        {"\xf0\x9f\x98", 0},
        {"aaaaaaaaaaaaaaaa\xff", 16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tern_tokens tokens = {0};
        tern_error err = {0};
        char expected[32];
        snprintf(expected, sizeof expected, "offset %zu", cases[i].bad);
        assert_int_equal(tern_tokenizer_encode(t, cases[i].text, strlen(cases[i].text), 0, &tokens, &err),
                         TERN_MALFORMED);
        assert_non_null(strstr(err.message, expected));
        tern_tokens_free(&tokens);
    }
    tern_tokens tokens = {0};
    assert_int_equal(tern_tokenizer_encode(t, "a", 1, 64, &tokens, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_tokenizer_encode(t, NULL, 1, 0, &tokens, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_tokenizer_encode(NULL, "a", 1, 0, &tokens, NULL), TERN_INVALID_ARGUMENT);
    tokenizer_free(t);
}

// Tokens of the tiny tokenizer show where words end: no merge crosses a word.
static void test_splitter_classes(void **state)
{
    (void)state;
    tern_tokenizer *t = open_tiny(NULL, NULL);
    // U+0085 and U+3000 are white space, U+180E and U+200B are not: "X  w" splits before the last space only in a run
    // of white space, so that " w" is one token.
    CHECK_ENCODE(t, "\xc2\x85 w", 0, 0xc2, 0x85, SPACE_W);
    CHECK_ENCODE(t, "  w", 0, ' ', SPACE_W);
    // A symbol takes no letters after it but one symbol may lead letters: "!he" is one word, "!!he" two.
    CHECK_ENCODE(t,
                 "\xe1\xa0\x8e"
                 "aa",
                 0, 0xe1, 0xa0, 0x8e, AA);
    CHECK_ENCODE(t,
                 "\xe2\x80\x8b\xe2\x80\x8b"
                 "aa",
                 0, 0xe2, 0x80, 0x8b, 0xe2, 0x80, 0x8b, AA);
    tokenizer_free(t);
}

static void test_ignore_merges(void **state)
{
    (void)state;
    // "wor" is a token but no merge makes it: only ignore_merges finds it.
    for (int ignore = 0; ignore < 2; ignore++) {
        json_t *root = tiny_json();
        json_t *model = json_object_get(root, "model");
        json_object_set_new(json_object_get(model, "vocab"), "xyz", json_integer(TINY_N));
        json_object_set_new(model, "ignore_merges", json_boolean(ignore));
        tern_tokenizer *t = NULL;
        assert_int_equal(open_json(root, NULL, NULL, TINY_N + 1, &t, NULL), TERN_OK);
        json_decref(root);
        if (ignore)
            CHECK_ENCODE(t, "xyz", 0, TINY_N);
        else
            CHECK_ENCODE(t, "xyz", 0, 'x', 'y', 'z');
        tokenizer_free(t);
    }
}

// A word in the vocabulary that is a control token must not come from text, also not with ignore_merges.
static void test_control_is_not_a_word(void **state)
{
    (void)state;
    json_t *root = tiny_json();
    json_t *model = json_object_get(root, "model");
    json_object_set_new(json_object_get(model, "vocab"), "stop", json_integer(TINY_N));
    json_object_set_new(model, "ignore_merges", json_true());
    json_array_append_new(json_object_get(root, "added_tokens"), added_token(TINY_N, "stop", true));
    tern_tokenizer *t = NULL;
    assert_int_equal(open_json(root, NULL, NULL, TINY_N + 1, &t, NULL), TERN_OK);
    json_decref(root);
    CHECK_ENCODE(t, "stop", 0, 's', 't', 'o', 'p');
    CHECK_ENCODE(t, "stop", TERN_TOKENIZE_PARSE_SPECIAL, TINY_N);
    tokenizer_free(t);
}

static void test_stop_tokens(void **state)
{
    (void)state;
    tern_tokenizer *t = open_tiny("{\"eos_token\": {\"content\": \"<|eos|>\"}}", NULL);
    assert_true(tern_tokenizer_is_stop(t, EOS));
    assert_true(tern_tokenizer_is_stop(t, END)); // by name
    assert_false(tern_tokenizer_is_stop(t, BOS));
    assert_false(tern_tokenizer_is_stop(t, -1));
    assert_false(tern_tokenizer_is_stop(t, TINY_N));
    tokenizer_free(t);
    t = open_tiny(NULL, "{\"eos_token_id\": [267, 266], \"max_length\": 1000000000000000019884624838656}");
    assert_true(tern_tokenizer_is_stop(t, 267));
    assert_true(tern_tokenizer_is_stop(t, 266));
    tokenizer_free(t);
    t = open_tiny(NULL, "{\"eos_token_id\": 266}");
    assert_true(tern_tokenizer_is_stop(t, 266));
    tokenizer_free(t);
}

static void test_bos_rules(void **state)
{
    (void)state;
    static const struct {
        const char *post, *config;
        bool adds;
        tern_token bos;
    } cases[] = {
        {"null", NULL, false, -1},
        {"null", "{\"bos_token\": \"<|bos|>\"}", false, BOS},
        {"null", "{\"bos_token\": \"<|bos|>\", \"add_bos_token\": true}", true, BOS},
        {"{\"type\": \"ByteLevel\"}", "{\"bos_token\": null, \"add_bos_token\": false}", false, -1},
        {"{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {\"id\": \"A\"}}]}", NULL, false, -1},
        {"{\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\"}, {\"type\": \"TemplateProcessing\", "
         "\"single\": "
         "[{\"SpecialToken\": {\"id\": \"b\"}}, {\"Sequence\": {\"id\": \"A\"}}], \"special_tokens\": {\"b\": "
         "{\"ids\": [265]}}}]}",
         NULL, true, BOS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *root = tiny_json();
        json_object_set_new(root, "post_processor", json_loads(cases[i].post, JSON_DECODE_ANY, NULL));
        tern_tokenizer *t = NULL;
        assert_int_equal(open_json(root, cases[i].config, NULL, TINY_N, &t, NULL), TERN_OK);
        json_decref(root);
        assert_int_equal(tern_tokenizer_adds_bos(t), cases[i].adds);
        assert_int_equal(tern_tokenizer_bos(t), cases[i].bos);
        tokenizer_free(t);
    }
}

static void test_sparse_ids_and_export(void **state)
{
    (void)state;
    json_t *root = tiny_json();
    json_array_append_new(json_object_get(root, "added_tokens"), added_token(TINY_N + 2, "<late>", true));
    tern_tokenizer *t = NULL;
    assert_int_equal(
        open_json(root, "{\"eos_token\": \"<|eos|>\", \"pad_token\": \"<none>\"}", NULL, TINY_N + 3, &t, NULL),
        TERN_OK);
    json_decref(root);
    tokenizer_export e;
    tokenizer_get_export(t, &e);
    assert_int_equal(e.n_tokens, TINY_N + 3);
    assert_string_equal(e.model, "gpt2");
    assert_string_equal(e.pre, "llama-bpe");
    assert_string_equal(e.tokens[' '], "\xc4\xa0");
    assert_string_equal(e.tokens[HELLO], "hello");
    assert_int_equal(e.token_types[HELLO], 1);
    assert_int_equal(e.token_types[BOS], 3);
    assert_int_equal(e.token_types[TOOL], 4);
    assert_string_equal(e.tokens[TINY_N], "[PAD270]");
    assert_int_equal(e.token_types[TINY_N], 5);
    assert_string_equal(e.tokens[TINY_N + 2], "<late>");
    assert_null(e.scores);
    assert_non_null(strstr(e.loss, "white space")); // of the token with lstrip and rstrip
    assert_int_equal(e.n_merges, sizeof tiny_merges / sizeof *tiny_merges);
    for (size_t i = 0; i < e.n_merges; i++) assert_string_equal(e.merges[i], tiny_merges[i]);
    assert_int_equal(e.bos, BOS);
    assert_int_equal(e.eos, EOS);
    assert_int_equal(e.pad, -1);
    assert_true(e.add_bos);
    CHECK_ENCODE(t, "[PAD270]", TERN_TOKENIZE_PARSE_SPECIAL, '[', 'P', 'A', 'D', '2', '7', '0', ']');
    CHECK_DECODE(t, true, "", TINY_N);
    tokenizer_free(t);
}

// ----------------------------------------------------------------------------------------------------------- decode

static void test_decode_tiny(void **state)
{
    (void)state;
    tern_tokenizer *t = open_tiny(NULL, NULL);
    CHECK_DECODE(t, false, "hello world", HELLO, SPACE_WOR, 'l', 'd');
    CHECK_DECODE(t, false, "hehe", BOS, HE, EOS, HE);
    CHECK_DECODE(t, true, "<|bos|>he<|eos|>", BOS, HE, EOS);
    CHECK_DECODE(t, false, "<tool>", TOOL);
    CHECK_DECODE(t, false, "\xe4\xb8\xad!", 0xe4, 0xb8, 0xad, '!');
    CHECK_DECODE(t, false, "\xe4\xb8\xad", 0xe4, EOS, 0xb8, 0xad); // hidden tokens do not cut a character
    // Invalid parts as Rust's from_utf8_lossy: one U+FFFD for each maximal subpart.
    CHECK_DECODE(t, false, "\xef\xbf\xbd", 0xe4);
    CHECK_DECODE(t, false,
                 "\xef\xbf\xbd"
                 "a",
                 0xe4, 0xb8, 'a');
    CHECK_DECODE(t, false, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 0xed, 0xa0, 0x80);
    CHECK_DECODE(t, false, "\xef\xbf\xbd\xef\xbf\xbd", 0xc0, 0xaf);
    CHECK_DECODE(t, false, "\xef\xbf\xbd\xef\xbf\xbd", 0xf0, 0x9f, 0x98, 0xf0);
    CHECK_DECODE(t, false, "\xef\xbf\xbd\xf0\x9f\x98\x81", 0xff, 0xf0, 0x9f, 0x98, 0x81);
    CHECK_DECODE(t, false, "a\0b", 'a', 0, 'b');
    tokenizer_free(t);
}

static void test_decode_states(void **state)
{
    (void)state;
    tern_tokenizer *t = open_tiny(NULL, NULL);
    tern_detokenizer *d = NULL;
    const char *text;
    size_t n;
    assert_int_equal(tern_detokenizer_create(t, false, &d, NULL), TERN_OK);
    assert_int_equal(tern_detokenizer_push(d, -1, &text, &n, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_detokenizer_push(d, TINY_N, &text, &n, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_detokenizer_push(d, 0xe4, &text, &n, NULL), TERN_OK);
    assert_int_equal(n, 0); // held back
    assert_int_equal(tern_detokenizer_push(d, 0xb8, &text, &n, NULL), TERN_OK);
    assert_int_equal(n, 0);
    assert_int_equal(tern_detokenizer_finish(d, &text, &n, NULL), TERN_OK);
    assert_int_equal(n, 3);
    assert_memory_equal(text, "\xef\xbf\xbd", 3);
    assert_int_equal(tern_detokenizer_push(d, HE, &text, &n, NULL), TERN_OK); // ready for a new text
    assert_int_equal(n, 2);
    assert_int_equal(tern_detokenizer_finish(d, &text, &n, NULL), TERN_OK);
    assert_int_equal(n, 0);
    tern_detokenizer_free(d);
    tern_detokenizer_free(NULL);
    tokenizer_free(t);
    tokenizer_free(NULL);
}

static void test_tokens_container(void **state)
{
    (void)state;
    tern_tokens tokens = {0};
    for (tern_token i = 0; i < 10000; i++) assert_int_equal(tern_tokens_append(&tokens, i, NULL), TERN_OK);
    assert_int_equal(tokens.n, 10000);
    for (tern_token i = 0; i < 10000; i++) assert_int_equal(tokens.ids[i], i);
    tern_tokens_free(&tokens);
    assert_null(tokens.ids);
    tern_tokens_free(&tokens);
    tern_tokens_free(NULL);
}

// ----------------------------------------------------------------------------------------- tokenizer.json: bad files

// One change to the tiny tokenizer.json: `path` is "key" or "key.key..."; a last "+" appends to a list. `value` NULL
// deletes.
typedef struct json_case {
    const char *name, *path, *value;
    tern_status status;
    const char *message; // must occur in the error
} json_case;

static const json_case json_cases[] = {
    {"json: no model", "model", NULL, TERN_MALFORMED, "\"model\""},
    {"json: no vocab", "model.vocab", NULL, TERN_MALFORMED, "vocab"},
    {"json: no merges", "model.merges", NULL, TERN_MALFORMED, "merges"},
    {"json: added_tokens of wrong type", "added_tokens", "{}", TERN_MALFORMED, "added_tokens"},
    {"json: negative id", "model.vocab.q1", "-1", TERN_MALFORMED, "q1"},
    {"json: fractional id", "model.vocab.q1", "270.5", TERN_MALFORMED, "q1"},
    {"json: huge id", "model.vocab.q1", "1e300", TERN_MALFORMED, "q1"},
    {"json: id of wrong type", "model.vocab.q1", "\"3\"", TERN_MALFORMED, "q1"},
    {"json: id beyond the model's rows", "model.vocab.q1", "270", TERN_MALFORMED, "270 rows"},
    {"json: id given twice", "model.vocab.q1", "12", TERN_MALFORMED, "both"},
    {"json: byte without token", "model.vocab.a", NULL, TERN_MALFORMED, "0x61"},
    {"json: added token without content", "added_tokens+", "{\"id\": 3}", TERN_MALFORMED, "entry 5"},
    {"json: added token without id", "added_tokens+", "{\"content\": \"x\"}", TERN_MALFORMED, "entry 5"},
    {"json: added id beyond the model's rows", "added_tokens+", "{\"id\": 4294967295, \"content\": \"x1\"}",
     TERN_MALFORMED, "x1"},
    {"json: added id taken", "added_tokens+", "{\"id\": 3, \"content\": \"x1\"}", TERN_MALFORMED, "both"},
    {"json: added token differs from vocab", "added_tokens+", "{\"id\": 3, \"content\": \"he\"}", TERN_MALFORMED, "he"},
    {"json: added token twice", "added_tokens+", "{\"id\": 266, \"content\": \"<|bos|>\"}", TERN_MALFORMED, "266"},
    {"json: empty added token", "added_tokens+", "{\"id\": 269, \"content\": \"\"}", TERN_MALFORMED, "269"},
    {"json: merge without space", "model.merges+", "\"he\"", TERN_MALFORMED, "merge 9"},
    {"json: merge of three", "model.merges+", "[\"h\", \"e\", \"l\"]", TERN_MALFORMED, "merge 9"},
    {"json: merge of numbers", "model.merges+", "[1, 2]", TERN_MALFORMED, "merge 9"},
    {"json: merge of unknown half", "model.merges+", "\"hx o\"", TERN_MALFORMED, "merge 9"},
    {"json: merge of unknown result", "model.merges+", "\"h h\"", TERN_MALFORMED, "merge 9"},
    {"json: merge of empty half", "model.merges+", "[\"\", \"h\"]", TERN_MALFORMED, "merge 9"},
    {"json: merge of unmapped half", "model.merges+", "[\"\\u4e2d\", \"h\"]", TERN_MALFORMED, "merge 9"},
    {"json: merge twice", "model.merges+", "[\"h\", \"e\"]", TERN_MALFORMED, "merges 0 and 9"},
    {"json: merge makes a control token", "added_tokens+", "{\"id\": 259, \"content\": \"hello\", \"special\": true}",
     TERN_MALFORMED, "merge 3"},
    {"json: other model type", "model.type", "\"WordPiece\"", TERN_UNSUPPORTED, "WordPiece"},
    {"json: dropout", "model.dropout", "0.1", TERN_UNSUPPORTED, "dropout"},
    {"json: word suffix", "model.end_of_word_suffix", "\"</w>\"", TERN_UNSUPPORTED, "end_of_word_suffix"},
    {"json: normalizer", "normalizer", "{\"type\": \"NFKC\"}", TERN_UNSUPPORTED, "NFKC"},
    {"json: normalizer within", "normalizer", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Sequence\"}]}",
     TERN_UNSUPPORTED, "Sequence"},
    {"json: spaces normalised before bytes", "normalizer",
     "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\u2581\"}", TERN_UNSUPPORTED,
     "normalizer of spaces"},
    {"json: decoder", "decoder", "{\"type\": \"WordPiece\"}", TERN_UNSUPPORTED, "WordPiece"},
    {"json: decoder sequence", "decoder", "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Strip\"}]}",
     TERN_UNSUPPORTED, "Strip"},
    {"json: no pre_tokenizer", "pre_tokenizer", "null", TERN_UNSUPPORTED, "byte_fallback"},
    {"json: Metaspace", "pre_tokenizer", "{\"type\": \"Metaspace\"}", TERN_UNSUPPORTED, "byte_fallback"},
    {"json: unknown pre_tokenizer", "pre_tokenizer", "{\"type\": \"Whitespace\"}", TERN_UNSUPPORTED, "Whitespace"},
    {"json: pre_tokenizer of wrong type", "pre_tokenizer", "3", TERN_UNSUPPORTED, "pre_tokenizer"},
    {"json: three steps", "pre_tokenizer.pretokenizers+", "{\"type\": \"ByteLevel\", \"use_regex\": false}",
     TERN_UNSUPPORTED, "3 steps"},
    {"json: split twice", "pre_tokenizer.pretokenizers",
     "[{\"type\": \"Split\", \"pattern\": {\"Regex\": \"x\"}, \"behavior\": \"Isolated\"}, {\"type\": \"ByteLevel\"}]",
     TERN_UNSUPPORTED, "pre_tokenizer"},
    {"json: unknown regex", "pre_tokenizer.pretokenizers",
     "[{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(a+)+$\"}, \"behavior\": \"Isolated\"}, {\"type\": "
     "\"ByteLevel\", \"use_regex\": false}]",
     TERN_UNSUPPORTED, "(a+)+$"},
    {"json: removing split", "pre_tokenizer.pretokenizers",
     "[{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": \"Removed\"}, {\"type\": \"ByteLevel\", "
     "\"use_regex\": false}]",
     TERN_UNSUPPORTED, "Isolated"},
    {"json: add_prefix_space", "pre_tokenizer", "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}",
     TERN_UNSUPPORTED, "add_prefix_space"},
    {"json: unknown post_processor", "post_processor", "{\"type\": \"BertProcessing\"}", TERN_UNSUPPORTED,
     "BertProcessing"},
    {"json: template without text", "post_processor.single", "[]", TERN_MALFORMED, "post_processor"},
    {"json: template without single", "post_processor.single", NULL, TERN_MALFORMED, "post_processor"},
    {"json: template step of no kind", "post_processor.single+", "{}", TERN_MALFORMED, "post_processor"},
    {"json: template adds an end", "post_processor.single+", "{\"SpecialToken\": {\"id\": \"<|eos|>\"}}",
     TERN_UNSUPPORTED, "<|eos|>"},
    {"json: template token without id", "post_processor.special_tokens", "{}", TERN_MALFORMED, "<|bos|>"},
    {"json: template id out of range", "post_processor.special_tokens", "{\"<|bos|>\": {\"ids\": [270]}}",
     TERN_MALFORMED, "<|bos|>"},
};

static void apply(json_t *root, const char *path, const char *value)
{
    char key[64];
    for (;;) {
        size_t n = strcspn(path, ".+");
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        if (path[n] != '.') {
            json_t *replacement = value == NULL ? NULL : json_loads(value, JSON_DECODE_ANY, NULL);
            assert_true(value == NULL || replacement != NULL);
            if (path[n] == '+')
                json_array_append_new(json_object_get(root, key), replacement);
            else if (value == NULL)
                json_object_del(root, key);
            else
                json_object_set_new(root, key, replacement);
            return;
        }
        root = json_object_get(root, key);
        assert_non_null(root);
        path += n + 1;
    }
}

static void test_json_case(void **state)
{
    const json_case *c = *state;
    json_t *root = tiny_json();
    tern_tokenizer *t = NULL;
    tern_error err = {0};
    apply(root, c->path, c->value);
    tern_status status = open_json(root, NULL, NULL, TINY_N, &t, &err);
    json_decref(root);
    if (status != c->status || strstr(err.message, c->message) == NULL)
        print_error("%s: %s\n", tern_status_name(status), err.message);
    assert_int_equal(status, c->status);
    assert_int_equal(err.status, c->status);
    assert_non_null(strstr(err.message, c->message));
    assert_null(t);
}

static void test_json_texts(void **state)
{
    (void)state;
    tern_tokenizer *t = NULL;
    assert_int_equal(tokenizer_from_json("", NULL, NULL, 9, &t, NULL), TERN_MALFORMED);
    assert_int_equal(tokenizer_from_json("[]", NULL, NULL, 9, &t, NULL), TERN_MALFORMED);
    assert_int_equal(tokenizer_from_json("{}", NULL, NULL, 9, &t, NULL), TERN_MALFORMED);
    assert_int_equal(tokenizer_from_json("{\"a\": 1, \"a\": 2}", NULL, NULL, 9, &t, NULL), TERN_MALFORMED);
    assert_int_equal(tokenizer_from_json("{\"a\": \"\\u0000\"}", NULL, NULL, 9, &t, NULL), TERN_MALFORMED);
    assert_int_equal(tokenizer_from_json("{\"a\": \"\xff\"}", NULL, NULL, 9, &t, NULL), TERN_MALFORMED);
    char *deep = malloc(100001);
    memset(deep, '[', 100000);
    deep[100000] = 0;
    assert_int_equal(tokenizer_from_json(deep, NULL, NULL, 9, &t, NULL), TERN_LIMIT);
    free(deep);
    size_t n = ((size_t)64 << 20) + 1;
    char *large = malloc(n + 1);
    memset(large, ' ', n);
    large[n] = 0;
    assert_int_equal(tokenizer_from_json(large, NULL, NULL, 9, &t, NULL), TERN_LIMIT);
    free(large);

    // Every truncation of a small file fails cleanly.
    json_t *root = json_pack("{s:{s:{s:i}, s:[]}, s:{s:s}}", "model", "vocab", "a", 0, "merges", "pre_tokenizer",
                             "type", "ByteLevel");
    char *text = json_dumps(root, 0);
    json_decref(root);
    for (size_t i = strlen(text); i-- > 0;) {
        text[i] = 0;
        assert_int_equal(tokenizer_from_json(text, NULL, NULL, 9, &t, NULL), TERN_MALFORMED);
    }
    free(text);
    assert_null(t);
}

static void test_bad_side_files(void **state)
{
    (void)state;
    static const struct {
        const char *config, *generation;
        tern_status status;
    } cases[] = {
        {"{", NULL, TERN_MALFORMED},
        {NULL, "7", TERN_MALFORMED},
        {"{\"bos_token\": 3}", NULL, TERN_MALFORMED},
        {"{\"bos_token\": \"<none>\"}", NULL, TERN_MALFORMED},
        {"{\"eos_token\": {\"text\": \"a\"}}", NULL, TERN_MALFORMED},
        {NULL, "{\"eos_token_id\": 270}", TERN_MALFORMED},
        {NULL, "{\"eos_token_id\": [1, -1]}", TERN_MALFORMED},
        {NULL, "{\"eos_token_id\": \"2\"}", TERN_MALFORMED},
    };
    json_t *root = tiny_json();
    tern_tokenizer *t = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(open_json(root, cases[i].config, cases[i].generation, TINY_N, &t, NULL), cases[i].status);
    json_object_set_new(root, "post_processor", json_null());
    assert_int_equal(open_json(root, "{\"add_bos_token\": true}", NULL, TINY_N, &t, NULL), TERN_MALFORMED);
    json_decref(root);
    assert_null(t);
}

static void test_directory_without_tokenizer(void **state)
{
    (void)state;
    tern_tokenizer *t = NULL;
    assert_int_equal(tokenizer_from_directory("/nonexistent-directory", 10, &t, NULL), TERN_NOT_FOUND);
    assert_null(t);
}

// ------------------------------------------------------------------------------------------------------------- GGUF

static void put(text_buffer *b, const void *data, size_t n) { append(b, data, n); }
static void put_u32(text_buffer *b, uint32_t v) { put(b, &v, 4); }
static void put_u64(text_buffer *b, uint64_t v) { put(b, &v, 8); }
static void put_string(text_buffer *b, const char *s, size_t n)
{
    put_u64(b, n);
    put(b, s, n);
}

enum { W_U32 = 4, W_I32 = 5, W_BOOL = 7, W_STRING = 8, W_ARRAY = 9 };

// What differs from a good file, for one case. Zeroed: nothing does.
typedef struct gguf_case {
    const char *name;
    tern_status status;
    const char *message;
    const char *model, *pre, *architecture; // NULL: "gpt2", none, "llama"
    bool no_model, no_tokens, no_types, no_merges, types_are_u32;
    int n_types_less;
    int32_t bad_type;    // of token 0; 0: none
    const char *token_0; // its text; NULL: the right one
    size_t token_0_n;
    const char *merge_0;
    uint32_t bos, eos, eot, pad; // + 1
    int add_bos, add_eos;        // 0 absent, 1 false, 2 true
    uint32_t n_vocab;            // 0: right
    // Of a good one:
    const char *description;
    bool adds_bos;
} gguf_case;

static void put_key(text_buffer *b, uint64_t *n, const char *name, uint32_t type)
{
    char key[64];
    snprintf(key, sizeof key, "tokenizer.ggml.%s", name);
    put_string(b, key, strlen(key));
    put_u32(b, type);
    ++*n;
}

static text_buffer write_gguf(const gguf_case *c)
{
    text_buffer b = {0};
    uint64_t n_keys = 0;
    char mapped[4];
    const size_t n_merges = sizeof tiny_merges / sizeof *tiny_merges;
    put(&b, "GGUF", 4);
    put_u32(&b, 3);
    put_u64(&b, 0);
    put_u64(&b, 0); // keys, set at the end
    if (!c->no_model) {
        const char *model = c->model != NULL ? c->model : "gpt2";
        put_key(&b, &n_keys, "model", W_STRING);
        put_string(&b, model, strlen(model));
    }
    if (c->pre != NULL) {
        put_key(&b, &n_keys, "pre", W_STRING);
        put_string(&b, c->pre, strlen(c->pre));
    }
    if (!c->no_tokens) {
        json_t *root = tiny_json(), *added = json_object_get(root, "added_tokens"), *value;
        const char *texts[TINY_N] = {0}, *text;
        json_object_foreach(json_object_get(json_object_get(root, "model"), "vocab"), text, value)
            texts[json_integer_value(value)] = text;
        for (size_t i = 0; i < json_array_size(added); i++)
            texts[BOS + i] = json_string_value(json_object_get(json_array_get(added, i), "content"));
        put_key(&b, &n_keys, "tokens", W_ARRAY);
        put_u32(&b, W_STRING);
        put_u64(&b, TINY_N);
        map_byte(0, mapped);
        if (c->token_0 != NULL)
            put_string(&b, c->token_0, c->token_0_n);
        else
            put_string(&b, mapped, strlen(mapped));
        for (size_t i = 1; i < TINY_N; i++) put_string(&b, texts[i], strlen(texts[i]));
        json_decref(root);
    }
    if (!c->no_types) {
        put_key(&b, &n_keys, "token_type", W_ARRAY);
        put_u32(&b, c->types_are_u32 ? W_U32 : W_I32);
        put_u64(&b, (uint64_t)(TINY_N - c->n_types_less));
        for (int i = 0; i < TINY_N - c->n_types_less; i++)
            put_u32(&b, i == 0 && c->bad_type != 0 ? (uint32_t)c->bad_type : i < BOS ? 1 : i >= TOOL ? 4 : 3);
    }
    if (!c->no_merges) {
        put_key(&b, &n_keys, "merges", W_ARRAY);
        put_u32(&b, W_STRING);
        put_u64(&b, n_merges);
        for (size_t i = 0; i < n_merges; i++) {
            const char *merge = i == 0 && c->merge_0 != NULL ? c->merge_0 : tiny_merges[i];
            put_string(&b, merge, strlen(merge));
        }
    }
    put_key(&b, &n_keys, "bos_token_id", W_U32);
    put_u32(&b, c->bos != 0 ? c->bos - 1 : BOS);
    put_key(&b, &n_keys, "eos_token_id", W_U32);
    put_u32(&b, c->eos != 0 ? c->eos - 1 : EOS);
    if (c->pad != 0) {
        put_key(&b, &n_keys, "padding_token_id", W_U32);
        put_u32(&b, c->pad - 1);
    }
    if (c->eot != 0) {
        put_key(&b, &n_keys, "eot_token_id", W_U32);
        put_u32(&b, c->eot - 1);
    }
    if (c->add_bos != 0) {
        put_key(&b, &n_keys, "add_bos_token", W_BOOL);
        put(&b, c->add_bos == 2 ? "\1" : "\0", 1);
    }
    if (c->add_eos != 0) {
        put_key(&b, &n_keys, "add_eos_token", W_BOOL);
        put(&b, c->add_eos == 2 ? "\1" : "\0", 1);
    }
    memcpy(b.data + 16, &n_keys, 8);
    while (b.n % 32 != 0) put(&b, "", 1);
    return b;
}

static const gguf_case gguf_cases[] = {
    {.name = "gguf: no pre, llama", .description = "byte-level BPE (gpt2), 270 tokens"},
    {.name = "gguf: no pre, bitnet-b1.58",
     .architecture = "bitnet-b1.58",
     .description = "byte-level BPE (llama3), 270 tokens",
     .adds_bos = true},
    {.name = "gguf: no pre, bitnet-25",
     .architecture = "bitnet-25",
     .description = "byte-level BPE (llama3), 270 tokens",
     .adds_bos = true},
    {.name = "gguf: default, bitnet-b1.58",
     .architecture = "bitnet-b1.58",
     .pre = "default",
     .description = "byte-level BPE (llama3), 270 tokens",
     .adds_bos = true},
    {.name = "gguf: llama-bpe",
     .pre = "llama-bpe",
     .description = "byte-level BPE (llama3), 270 tokens",
     .adds_bos = true},
    {.name = "gguf: falcon3", .pre = "falcon3", .description = "byte-level BPE (llama3), 270 tokens", .adds_bos = true},
    {.name = "gguf: add_bos false",
     .pre = "llama-bpe",
     .add_bos = 1,
     .description = "byte-level BPE (llama3), 270 tokens"},
    {.name = "gguf: add_bos true",
     .pre = "gpt-2",
     .add_bos = 2,
     .description = "byte-level BPE (gpt2), 270 tokens",
     .adds_bos = true},
    {.name = "gguf: qwen2", .pre = "qwen2", .add_eos = 1, .description = "byte-level BPE (qwen2), 270 tokens"},
    {.name = "gguf: no types", .pre = "qwen2", .no_types = true, .description = "byte-level BPE (qwen2), 270 tokens"},
    {.name = "gguf: padded model",
     .pre = "qwen2",
     .n_vocab = 1000,
     .description = "byte-level BPE (qwen2), 270 tokens"},
    {.name = "gguf: padding is ordinary",
     .pre = "qwen2",
     .pad = 'h' + 1,
     .description = "byte-level BPE (qwen2), 270 tokens"},
    {.name = "gguf: end is a byte",
     .pre = "qwen2",
     .eos = '\n' + 1,
     .description = "byte-level BPE (qwen2), 270 tokens"},
    {.name = "gguf: end is made by a merge", .eos = HELL + 1, .status = TERN_MALFORMED, .message = "merge 2"},
    {.name = "gguf: pad out of range", .pad = TINY_N + 1, .status = TERN_MALFORMED, .message = "padding_token_id"},
    {.name = "gguf: default, llama", .pre = "default", .status = TERN_UNSUPPORTED, .message = "default"},
    {.name = "gguf: unknown pre", .pre = "falcon", .status = TERN_UNSUPPORTED, .message = "falcon"},
    {.name = "gguf: pre of several words",
     .pre = "llama3 qwen2",
     .status = TERN_UNSUPPORTED,
     .message = "llama3 qwen2"},
    {.name = "gguf: pieces without scores",
     .model = "llama",
     .status = TERN_MALFORMED,
     .message = "tokenizer.ggml.scores"},
    {.name = "gguf: other model", .model = "bert", .status = TERN_UNSUPPORTED, .message = "bert"},
    {.name = "gguf: no_vocab", .model = "no_vocab", .status = TERN_NOT_FOUND, .message = "no tokenizer"},
    {.name = "gguf: nothing", .no_model = true, .no_tokens = true, .status = TERN_NOT_FOUND, .message = "no tokenizer"},
    {.name = "gguf: tokens without model",
     .no_model = true,
     .status = TERN_MALFORMED,
     .message = "tokenizer.ggml.model"},
    {.name = "gguf: model without tokens",
     .no_tokens = true,
     .status = TERN_MALFORMED,
     .message = "tokenizer.ggml.tokens"},
    {.name = "gguf: no merges", .no_merges = true, .status = TERN_MALFORMED, .message = "tokenizer.ggml.merges"},
    {.name = "gguf: types too few", .n_types_less = 1, .status = TERN_MALFORMED, .message = "token_type"},
    {.name = "gguf: types not i32", .types_are_u32 = true, .status = TERN_MALFORMED, .message = "token_type"},
    {.name = "gguf: unknown type", .bad_type = 7, .status = TERN_MALFORMED, .message = "type 7"},
    {.name = "gguf: negative type", .bad_type = INT32_MIN, .status = TERN_MALFORMED, .message = "type -2147483648"},
    {.name = "gguf: byte type", .bad_type = 6, .status = TERN_UNSUPPORTED, .message = "byte token"},
    {.name = "gguf: more tokens than rows", .n_vocab = TINY_N - 1, .status = TERN_MALFORMED, .message = "269 rows"},
    {.name = "gguf: token with NUL", .token_0 = "a\0b", .token_0_n = 3, .status = TERN_MALFORMED, .message = "NUL"},
    {.name = "gguf: token not UTF-8", .token_0 = "a\xff", .token_0_n = 2, .status = TERN_MALFORMED, .message = "UTF-8"},
    {.name = "gguf: empty control token", .token_0 = "", .bad_type = 3, .status = TERN_MALFORMED, .message = "empty"},
    {.name = "gguf: token twice", .token_0 = "a", .token_0_n = 1, .status = TERN_MALFORMED, .message = "both"},
    {.name = "gguf: byte without token", .token_0 = "zz", .token_0_n = 2, .status = TERN_MALFORMED, .message = "0x00"},
    {.name = "gguf: merge without space", .merge_0 = "he", .status = TERN_MALFORMED, .message = "merge 0"},
    {.name = "gguf: merge of one space", .merge_0 = " ", .status = TERN_MALFORMED, .message = "merge 0"},
    {.name = "gguf: empty merge", .merge_0 = "", .status = TERN_MALFORMED, .message = "merge 0"},
    {.name = "gguf: merge of unknown half", .merge_0 = "zz e", .status = TERN_MALFORMED, .message = "merge 0"},
    {.name = "gguf: merge of two spaces", .merge_0 = "h e l", .status = TERN_MALFORMED, .message = "merge 0"},
    {.name = "gguf: bos out of range", .bos = TINY_N + 1, .status = TERN_MALFORMED, .message = "bos_token_id"},
    {.name = "gguf: eot out of range", .eot = UINT32_MAX, .status = TERN_MALFORMED, .message = "eot_token_id"},
    {.name = "gguf: add_eos", .add_eos = 2, .status = TERN_UNSUPPORTED, .message = "add_eos_token"},
};

static void test_gguf_case(void **state)
{
    const gguf_case *c = *state;
    text_buffer bytes = write_gguf(c);
    gguf_file file = {0};
    tern_error err = {0};
    tern_tokenizer *t = NULL;
    assert_int_equal(gguf_parse((const uint8_t *)bytes.data, bytes.n, &file, &err), TERN_OK);
    const char *architecture = c->architecture != NULL ? c->architecture : "llama";
    tern_status status = tokenizer_from_gguf(&file, architecture, c->n_vocab != 0 ? c->n_vocab : TINY_N, &t, &err);
    gguf_free(&file);
    free(bytes.data); // the tokenizer has its own copy
    if (status != c->status) print_error("%s: %s\n", tern_status_name(status), err.message);
    assert_int_equal(status, c->status);
    if (status != TERN_OK) {
        assert_null(t);
        assert_non_null(strstr(err.message, c->message));
        return;
    }
    assert_string_equal(tokenizer_description(t), c->description);
    assert_int_equal(tern_tokenizer_adds_bos(t), c->adds_bos);
    assert_true(tern_tokenizer_is_stop(t, c->eos != 0 ? (tern_token)c->eos - 1 : EOS));
    assert_true(tern_tokenizer_is_stop(t, END));
    CHECK_ENCODE(t, "hello world", 0, HELLO, SPACE_WOR, 'l', 'd');
    CHECK_ENCODE(t, "<|bos|>", TERN_TOKENIZE_PARSE_SPECIAL, BOS); // a role makes it a control token, types or not
    if (c->no_types) CHECK_ENCODE(t, "<|eot_id|>", TERN_TOKENIZE_PARSE_SPECIAL, END);
    tokenizer_free(t);
}

// -------------------------------------------------------------------------------------------------------- giant words

static void test_giant_words(void **state)
{
    (void)state;
    tern_tokenizer *t = open_tiny(NULL, NULL);
    check_giants(t, true);
    tokenizer_free(t);
}

static void test_llama3(void **state)
{
    (void)state;
    tern_tokenizer *t = open_data("tokenizers/llama3", 128256);
    assert_string_equal(tokenizer_description(t), "byte-level BPE (llama3), 128256 tokens");
    assert_int_equal(tern_tokenizer_bos(t), 128000);
    assert_false(tern_tokenizer_adds_bos(t)); // this copy's post_processor is ByteLevel
    assert_true(tern_tokenizer_is_stop(t, 128001));
    assert_true(tern_tokenizer_is_stop(t, 128009));
    assert_true(check_lines(t, "llama3", NULL) > 600);
    check_text(t, "llama3", "wikitext2", "wikitext2-test.txt");
    check_text(t, "llama3", "stories", "stories-valid.txt");
    check_giants(t, true);
    tokenizer_free(t);
}

static void test_stories(void **state)
{
    (void)state;
    tern_tokenizer *t = open_data("models/stories", 4096);
    assert_int_equal(tern_tokenizer_bos(t), 4093);
    assert_true(tern_tokenizer_adds_bos(t));
    assert_true(tern_tokenizer_is_stop(t, 4094));
    assert_true(check_lines(t, "stories", NULL) > 600);
    check_text(t, "stories", "wikitext2", "wikitext2-test.txt");
    check_text(t, "stories", "stories", "stories-valid.txt");
    tokenizer_free(t);
}

static void test_qwen3(void **state)
{
    (void)state;
    tern_tokenizer *t = open_data("tokenizers/qwen3", 151936);
    assert_string_equal(tokenizer_description(t), "byte-level BPE (qwen2), 151669 tokens");
    assert_false(tern_tokenizer_adds_bos(t));
    assert_true(tern_tokenizer_is_stop(t, 151645)); // <|im_end|>
    assert_true(check_lines(t, "qwen3", NULL) > 600);
    check_text(t, "qwen3", "stories", "stories-valid.txt");
    check_text(t, "qwen3", "wikitext2", "wikitext2-test.txt");
    check_giants(t, false);
    tokenizer_free(t);
}

static void test_llama3_gguf(void **state)
{
    (void)state;
    size_t n;
    char *bytes = read_data("fixtures/gguf-vocab-llama3/model.gguf", &n);
    gguf_file file = {0};
    tern_error err = {0};
    tern_tokenizer *t = NULL;
    assert_int_equal(gguf_parse((const uint8_t *)bytes, n, &file, &err), TERN_OK);
    assert_int_equal(tokenizer_from_gguf(&file, "bitnet-b1.58", 128256, &t, &err), TERN_OK);
    gguf_free(&file);
    free(bytes);
    assert_true(tern_tokenizer_adds_bos(t));
    assert_true(check_lines(t, "llama3", NULL) > 600);
    check_text(t, "llama3", "wikitext2", "wikitext2-test.txt");
    tokenizer_free(t);
}

#define N_JSON_CASES (sizeof json_cases / sizeof *json_cases)
#define N_GGUF_CASES (sizeof gguf_cases / sizeof *gguf_cases)

static int run_json_cases(void)
{
    struct CMUnitTest tests[N_JSON_CASES];
    for (size_t i = 0; i < N_JSON_CASES; i++)
        tests[i] = (struct CMUnitTest){json_cases[i].name, test_json_case, NULL, NULL,
                                       (void *)(uintptr_t)&json_cases[i]};
    return cmocka_run_group_tests_name("text: tokenizer.json", tests, NULL, NULL);
}

static int run_gguf_cases(void)
{
    struct CMUnitTest tests[N_GGUF_CASES];
    for (size_t i = 0; i < N_GGUF_CASES; i++)
        tests[i] = (struct CMUnitTest){gguf_cases[i].name, test_gguf_case, NULL, NULL,
                                       (void *)(uintptr_t)&gguf_cases[i]};
    return cmocka_run_group_tests_name("text: gguf", tests, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode_tiny),
        cmocka_unit_test(test_encode_special),
        cmocka_unit_test(test_encode_appends),
        cmocka_unit_test(test_encode_rejects),
        cmocka_unit_test(test_splitter_classes),
        cmocka_unit_test(test_ignore_merges),
        cmocka_unit_test(test_control_is_not_a_word),
        cmocka_unit_test(test_stop_tokens),
        cmocka_unit_test(test_bos_rules),
        cmocka_unit_test(test_sparse_ids_and_export),
        cmocka_unit_test(test_decode_tiny),
        cmocka_unit_test(test_decode_states),
        cmocka_unit_test(test_tokens_container),
        cmocka_unit_test(test_json_texts),
        cmocka_unit_test(test_bad_side_files),
        cmocka_unit_test(test_directory_without_tokenizer),
        cmocka_unit_test(test_giant_words),
        cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_qwen3),
        cmocka_unit_test(test_llama3_gguf),
    };
    int failed = cmocka_run_group_tests_name("text", tests, NULL, NULL);
    failed += run_json_cases();
    failed += run_gguf_cases();
    return failed;
}
