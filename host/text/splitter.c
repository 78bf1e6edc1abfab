#include "splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// The classes are spelled out where PCRE2's own would differ from what trained these tokenizers:
// \s in PCRE2 includes U+180E, which Unicode took out of White_Space; and letters and numbers are those of Unicode 16
// (what Hugging Face tokenizers has now), although PCRE2 10.42 knows Unicode 14: the same text must give the same
// tokens with every PCRE2.
#define SPACE "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
// Assigned since Unicode 14.
#define LETTER_16                                                                                                      \
    "\\x{1c89}-\\x{1c8a}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d65}"              \
    "\\x{10d6f}-\\x{10d85}\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}\\x{11380}-\\x{11389}\\x{1138b}"                   \
    "\\x{1138e}\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}"                     \
    "\\x{11f04}-\\x{11f10}\\x{11f12}-\\x{11f33}\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}"                   \
    "\\x{16100}-\\x{1611d}\\x{16d40}-\\x{16d6c}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}"                    \
    "\\x{1e030}-\\x{1e06d}\\x{1e4d0}-\\x{1e4eb}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}"                              \
    "\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"

#define NUMBER_16                                                                                                      \
    "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}"                             \
    "\\x{16130}-\\x{16139}\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}"                             \
    "\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}"

#define LETTER "\\p{L}" LETTER_16
#define NUMBER "\\p{N}" NUMBER_16

const splitter_family splitter_llama3 = {
    .name = "llama3",
    .pre = "llama-bpe",
    .aliases = " llama3 llama-v3 llama-bpe falcon3 falcon_e ",
    .regex = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
             "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    .pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n" LETTER NUMBER "]?[" LETTER "]+|[" NUMBER
               "]{1,3}| ?[^" SPACE LETTER NUMBER "]+[\\r\\n]*|[" SPACE "]*[\\r\\n]+|[" SPACE "]+(?![^" SPACE
               "])|[" SPACE "]+",
    .ignores_merges = true,
    .forces_bos = true,
};

const splitter_family splitter_qwen2 = {
    .name = "qwen2",
    .pre = "qwen2",
    .aliases = " qwen2 ",
    .regex = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
             "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    .pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n" LETTER NUMBER "]?[" LETTER "]+|[" NUMBER
               "]| ?[^" SPACE LETTER NUMBER "]+[\\r\\n]*|[" SPACE "]*[\\r\\n]+|[" SPACE "]+(?![^" SPACE "])|[" SPACE
               "]+",
};

// tokenizer.json says this one as ByteLevel with use_regex.
const splitter_family splitter_gpt2 = {
    .name = "gpt2",
    .pre = "gpt-2",
    .aliases = " gpt-2 gpt2 olmo phi-2 ",
    .regex = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    .pattern = "'s|'t|'re|'ve|'m|'ll|'d| ?[" LETTER "]+| ?[" NUMBER "]+| ?[^" SPACE LETTER NUMBER "]+|[" SPACE
               "]+(?![^" SPACE "])|[" SPACE "]+",
};

static const splitter_family *const families[] = {&splitter_llama3, &splitter_qwen2, &splitter_gpt2};
#define N_FAMILIES (sizeof families / sizeof *families)

const splitter_family *splitter_by_pre(const char *pre, size_t n)
{
    char padded[32];
    if (n == 0 || n + 3 > sizeof padded || memchr(pre, 0, n) != NULL || memchr(pre, ' ', n) != NULL) return NULL;
    padded[0] = ' ';
    memcpy(padded + 1, pre, n);
    memcpy(padded + 1 + n, " ", 2);
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (strstr(families[i]->aliases, padded) != NULL) return families[i];
    return NULL;
}

const splitter_family *splitter_by_regex(const char *regex)
{
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (strcmp(families[i]->regex, regex) == 0) return families[i];
    return NULL;
}

struct text_splitter {
    pcre2_code *code;
};

tern_status splitter_create(const splitter_family *family, text_splitter **out, tern_error *err)
{
    text_splitter *splitter = calloc(1, sizeof *splitter);
    if (splitter == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a splitter");
    int code;
    size_t offset;
    splitter->code = pcre2_compile((PCRE2_SPTR)family->pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &code, &offset, NULL);
    if (splitter->code == NULL) {
        splitter_free(splitter);
        if (code == PCRE2_ERROR_NOMEMORY) return error_set(err, TERN_HOST_MEMORY, "no memory for a splitter");
        return error_set(err, TERN_INTERNAL, "PCRE2 does not compile the %s splitter: error %d at %zu", family->name,
                         code, offset);
    }
    // Several times faster where there is a JIT; pcre2_match interprets where there is none.
    (void)pcre2_jit_compile(splitter->code, PCRE2_JIT_COMPLETE);
    *out = splitter;
    return TERN_OK;
}

void splitter_free(text_splitter *splitter)
{
    if (splitter == NULL) return;
    pcre2_code_free(splitter->code);
    free(splitter);
}

struct splitter_run {
    const text_splitter *splitter;
    pcre2_match_data *match;
    pcre2_match_context *context;
};

tern_status splitter_run_create(const text_splitter *splitter, splitter_run **out, tern_error *err)
{
    splitter_run *run = calloc(1, sizeof *run);
    if (run != NULL) {
        run->splitter = splitter;
        run->match = pcre2_match_data_create(1, NULL);
        run->context = pcre2_match_context_create(NULL);
    }
    if (run == NULL || run->match == NULL || run->context == NULL) {
        splitter_run_free(run);
        return error_set(err, TERN_HOST_MEMORY, "no memory to split text");
    }
    pcre2_set_depth_limit(run->context, 1000); // these expressions nest a handful of frames
    pcre2_set_heap_limit(run->context, 20000); // KiB
    *out = run;
    return TERN_OK;
}

void splitter_run_free(splitter_run *run)
{
    if (run == NULL) return;
    pcre2_match_data_free(run->match);
    pcre2_match_context_free(run->context);
    free(run);
}

tern_status splitter_next(splitter_run *run, const char *text, size_t n, size_t at, size_t *end, tern_error *err)
{
    // Every alternative walks a run of characters at most twice (once back), so steps are linear in what is left.
    uint64_t steps = 1000 + 16 * (uint64_t)(n - at);
    pcre2_set_match_limit(run->context, steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps);
    // The text was validated as a whole; PCRE2 would do it again for every word.
    int count = pcre2_match(run->splitter->code, (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK, run->match, run->context);
    if (count == PCRE2_ERROR_NOMEMORY) return error_set(err, TERN_HOST_MEMORY, "no memory to split text");
    if (count == PCRE2_ERROR_MATCHLIMIT || count == PCRE2_ERROR_DEPTHLIMIT || count == PCRE2_ERROR_HEAPLIMIT ||
        count == PCRE2_ERROR_JIT_STACKLIMIT)
        return error_set(err, TERN_LIMIT, "splitting the text at byte %zu takes too many steps (PCRE2 error %d)", at,
                         count);
    size_t matched = count < 0 ? at : pcre2_get_ovector_pointer(run->match)[1];
    if (matched <= at) // each family's expression matches at every place
        return error_set(err, TERN_INTERNAL, "the splitter stops at byte %zu (PCRE2 result %d)", at, count);
    *end = matched;
    return TERN_OK;
}
