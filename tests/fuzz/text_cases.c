#include "text_cases.h"

#include "fuzz.h"
#include "tokenizer_build.h"
#include "unicode.h"

// JSON with ` for ".
#define GPT2_PRE "{`type`:`ByteLevel`,`add_prefix_space`:false,`use_regex`:true}"
#define QWEN2_REGEX                                                                                                    \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}|"                                   \
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define QWEN2_PRE                                                                                                      \
    "{`type`:`Sequence`,`pretokenizers`:["                                                                             \
    "{`type`:`Split`,`pattern`:{`Regex`:`" QWEN2_REGEX "`},`behavior`:`Isolated`},"                                    \
    "{`type`:`ByteLevel`,`add_prefix_space`:false,`use_regex`:false}]}"
#define SPACE                                                                                                          \
    "\xc4\xa0" // the byte-level spelling of a space; \xc3\x83 and \xc2\xa9 are those of the two bytes of U+00E9

// Merges that chain and compete (ab, bc, abc, aa, aaaa), one within a UTF-8 sequence; special and user-defined tokens,
// one the beginning of another. %s: the alphabet.
#define SMALL(before, pre, ignore_merges)                                                                              \
    "{" before                                                                                                         \
    "`added_tokens`:[{`id`:300,`content`:`<s>`,`special`:true},{`id`:301,`content`:`<s>x`,`special`:false},"           \
    "{`id`:302,`content`:`[U]`,`special`:false}],`pre_tokenizer`:" pre ",`decoder`:{`type`:`ByteLevel`},"              \
    "`model`:{`type`:`BPE`,`ignore_merges`:" ignore_merges ",`vocab`:{%s,`ab`:256,`bc`:257,`abc`:258,`aa`:259,"        \
    "`aaaa`:260,`" SPACE "a`:261,`\xc3\x83\xc2\xa9`:262,`" SPACE SPACE "`:263},"                                       \
    "`merges`:[`b c`,`a b`,`ab c`,`a a`,`aa aa`,[`" SPACE "`,`a`],`\xc3\x83 \xc2\xa9`,`" SPACE " " SPACE "`]}}"

#define MARK "\xe2\x96\x81" // U+2581, a space in SentencePiece vocabularies
#define PIECES                                                                                                         \
    "{`added_tokens`:[{`id`:0,`content`:`<unk>`,`special`:true},{`id`:1,`content`:`<s>`,`special`:true},"              \
    "{`id`:2,`content`:`</s>`,`special`:true}],`normalizer`:{`type`:`Sequence`,`normalizers`:["                        \
    "{`type`:`Prepend`,`prepend`:`" MARK "`},{`type`:`Replace`,`pattern`:{`String`:` `},`content`:`" MARK "`}]},"      \
    "`pre_tokenizer`:null,`decoder`:{`type`:`Sequence`,`decoders`:["                                                   \
    "{`type`:`Replace`,`pattern`:{`String`:`" MARK "`},`content`:` `},{`type`:`ByteFallback`},{`type`:`Fuse`},"        \
    "{`type`:`Strip`,`content`:` `,`start`:1,`stop`:0}]},`post_processor`:{`type`:`TemplateProcessing`,`single`:["     \
    "{`SpecialToken`:{`id`:`<s>`}},{`Sequence`:{`id`:`A`}}],`special_tokens`:{`<s>`:{`id`:`<s>`,`ids`:[1]}}},"         \
    "`model`:{`type`:`BPE`,`unk_token`:`<unk>`,`fuse_unk`:true,`byte_fallback`:true,`vocab`:{`<unk>`:0,`<s>`:1,"       \
    "`</s>`:2,%s,`" MARK "`:259,`a`:260,`b`:261,`ab`:262,`" MARK "ab`:263,`" MARK MARK "`:264,`\xc3\xa9`:265,"         \
    "`x`:266,`aab`:267},`merges`:[`a b`,`" MARK " ab`,`" MARK " " MARK "`,`a ab`]}}"

const char *text_byte_level_alphabet(void)
{
    static char text[8192];
    if (text[0] != 0) return text;
    unsigned next = 256;
    size_t n = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        bool is_itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
        unsigned c = is_itself ? byte : next++;
        const char *escape = c == '"' || c == '\\' ? "\\" : "";
        char spelling[3] = {(char)c, 0, 0};
        if (c >= 0x80) {
            spelling[0] = (char)(0xc0 | c >> 6);
            spelling[1] = (char)(0x80 | (c & 0x3f));
        }
        n += (size_t)snprintf(text + n, sizeof text - n, "%s\"%s%s\":%u", byte > 0 ? "," : "", escape, spelling, byte);
    }
    return text;
}

const char *text_byte_tokens(void)
{
    static char text[8192];
    size_t n = 0;
    if (text[0] != 0) return text;
    for (unsigned byte = 0; byte < 256; byte++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s\"<0x%02X>\":%u", byte > 0 ? "," : "", byte, byte + 3);
    return text;
}

static const tern_tokenizer *small_tokenizer(const char *format, const char *alphabet)
{
    char quoted[4096], text[16384];
    tern_tokenizer *tokenizer = NULL;
    tern_error err = {0};
    size_t n = strlen(format);
    REQUIRE(n < sizeof quoted);
    for (size_t i = 0; i <= n; i++) quoted[i] = (char)(format[i] == '`' ? '"' : format[i]);
    snprintf(text, sizeof text, quoted, alphabet);
    tern_status status = tokenizer_from_json(text, NULL, NULL, 303, &tokenizer, &err);
    if (status != TERN_OK) fprintf(stderr, "%s\n", err.message);
    REQUIRE(status == TERN_OK);
    return tokenizer;
}

const tern_tokenizer *text_tokenizer(unsigned choice)
{
    static const tern_tokenizer *all[N_TEXT_TOKENIZERS];
    if (all[0] == NULL) {
        const char *alphabet = text_byte_level_alphabet();
        tern_tokenizer *stories = NULL;
        REQUIRE(tokenizer_from_directory(TERN_SOURCE_DIR "/models/stories", 4096, &stories, NULL) == TERN_OK);
        all[0] = stories;
        all[1] = small_tokenizer(SMALL("", GPT2_PRE, "false"), alphabet);
        all[2] = small_tokenizer(SMALL("", QWEN2_PRE, "false"), alphabet);
        all[3] = small_tokenizer(SMALL("", QWEN2_PRE, "true"), alphabet);
        all[4] = small_tokenizer(SMALL("`normalizer`:{`type`:`NFC`},", GPT2_PRE, "false"), alphabet);
        all[5] = small_tokenizer(PIECES, text_byte_tokens());
    }
    return all[choice % N_TEXT_TOKENIZERS];
}

bool text_is_exact(unsigned choice) { return choice % N_TEXT_TOKENIZERS < 4; }

char *text_stream(const tern_tokenizer *tokenizer, const tern_token *ids, size_t n_ids, bool show_special, size_t *n)
{
    tern_detokenizer *stream = NULL;
    REQUIRE(tern_detokenizer_create(tokenizer, show_special, &stream, NULL) == TERN_OK);
    char *joined = copy_text(NULL, 0);
    size_t capacity = 1;
    *n = 0;
    for (size_t i = 0; i <= n_ids; i++) {
        const char *piece;
        size_t n_piece, bad;
        REQUIRE((i < n_ids ? tern_detokenizer_push(stream, ids[i], &piece, &n_piece, NULL)
                           : tern_detokenizer_finish(stream, &piece, &n_piece, NULL)) == TERN_OK);
        REQUIRE(utf8_validate(piece, n_piece, &bad));
        if (*n + n_piece + 1 > capacity) {
            capacity = 2 * (*n + n_piece + 1);
            joined = realloc(joined, capacity);
            REQUIRE(joined != NULL);
        }
        memcpy(joined + *n, piece, n_piece);
        *n += n_piece;
    }
    tern_detokenizer_free(stream);
    return joined;
}

void text_require_decodes(const tern_tokenizer *tokenizer, bool is_exact, const tern_token *ids, size_t n_ids,
                          const char *text, size_t n)
{
    size_t n_first = 0, n_second = 0;
    char *first = text_stream(tokenizer, ids, n_ids, true, &n_first), *second = NULL;
    if (is_exact) {
        REQUIRE(n_first == n && memcmp(first, text, n) == 0);
    } else {
        tern_tokens again = {0};
        REQUIRE(tern_tokenizer_encode(tokenizer, first, n_first, 0, &again, NULL) == TERN_OK);
        second = text_stream(tokenizer, again.ids, again.n, true, &n_second);
        REQUIRE(n_first == n_second && memcmp(first, second, n_first) == 0);
        tern_tokens_free(&again);
    }
    free(first);
    free(second);
}

void text_require_lossy(const tern_tokenizer *tokenizer, const tern_token *ids, size_t n_ids, bool show_special,
                        const char *text, size_t n)
{
    const vocab_table *vocab = &tokenizer->vocab;
    size_t n_bytes = 0, at = 0, read = 0;
    bool is_first = true;
    for (size_t i = 0; i < n_ids; i++) n_bytes += vocab->tokens[ids[i]].n_bytes;
    char *bytes = copy_text(NULL, 0);
    bytes = realloc(bytes, n_bytes + 1);
    REQUIRE(bytes != NULL);
    for (size_t i = 0; i < n_ids; i++) {
        const vocab_token *token = &vocab->tokens[ids[i]];
        if (!show_special && vocab_is_hidden(token)) continue;
        if (token->n_bytes > 0) memcpy(bytes + at, token->bytes, token->n_bytes);
        at += token->n_bytes;
    }
    for (size_t i = 0; i < at;) {
        utf8_step step = utf8_next(bytes + i, at - i);
        const char *piece = step.kind == UTF8_VALID ? bytes + i : "\xef\xbf\xbd";
        size_t n_piece = step.kind == UTF8_VALID ? step.n : 3;
        bool is_dropped = is_first && tokenizer->strips_space && piece[0] == ' ';
        is_first = false;
        if (is_dropped) n_piece = 0;
        REQUIRE(n_piece <= n - read && memcmp(text + read, piece, n_piece) == 0);
        read += n_piece;
        i += step.n;
    }
    REQUIRE(read == n);
    free(bytes);
}

bool text_is_control(const tern_tokenizer *tokenizer, tern_token id)
{
    return vocab_is_hidden(&tokenizer->vocab.tokens[id]);
}

bool text_starts_with_bos(const tern_tokenizer *tokenizer, const char *text, size_t n)
{
    tern_token bos = tern_tokenizer_bos(tokenizer);
    if (bos < 0) return false;
    size_t n_bos;
    char *spelling = text_stream(tokenizer, &bos, 1, true, &n_bos);
    bool is_there = n >= n_bos && memcmp(text, spelling, n_bos) == 0;
    free(spelling);
    return is_there;
}

void text_exercise(const tern_tokenizer *tokenizer)
{
    static const char text[] =
        " Hello,\n  abc aaaaaaa 1234 <s><s>x \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 l'\xc3\xa9t\xc3\xa9\t<0x41> ";
    tokenizer_export out;
    tokenizer_get_export(tokenizer, &out);
    for (uint32_t id = 0; id < out.n_tokens; id++) REQUIRE(out.tokens[id] != NULL);
    for (size_t i = 0; i < out.n_merges; i++) REQUIRE(out.merges[i] != NULL);
    REQUIRE(out.bos < (int64_t)out.n_tokens && out.eos < (int64_t)out.n_tokens);
    REQUIRE(tokenizer_description(tokenizer)[0] != 0);
    for (int flags = 0; flags < 4; flags++) {
        tern_tokens tokens = {0};
        tern_error err = {0};
        tern_status status = tern_tokenizer_encode(tokenizer, text, sizeof text - 1, flags, &tokens, &err);
        require_answer(status, &err);
        for (size_t i = 0; i < tokens.n; i++)
            REQUIRE(tokens.ids[i] >= 0 && (uint32_t)tokens.ids[i] < tern_tokenizer_n_tokens(tokenizer));
        size_t n;
        free(text_stream(tokenizer, tokens.ids, tokens.n, (flags & 1) != 0, &n));
        tern_tokens_free(&tokens);
    }
}
