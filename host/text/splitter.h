// Cuts text into the words that byte-pair encoding works on, by the regular expression of a tokenizer family
// (FORMATS.md 6.2).
#ifndef TERN_TEXT_SPLITTER_H
#define TERN_TEXT_SPLITTER_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

typedef struct splitter_family {
    const char *name;    // "llama3"
    const char *pre;     // its tokenizer.ggml.pre when we write a file
    const char *aliases; // every tokenizer.ggml.pre that means it: " a b c "
    const char *regex;   // as tokenizer.json spells it
    const char *pattern; // the same for PCRE2
    bool ignores_merges; // where the file does not say (GGUF)
    bool forces_bos;     // unless the file says otherwise (GGUF)
} splitter_family;

extern const splitter_family splitter_llama3, splitter_qwen2, splitter_gpt2;

// NULL if unknown.
const splitter_family *splitter_by_pre(const char *pre, size_t n);
const splitter_family *splitter_by_regex(const char *regex);

// Compiled once, shared by threads.
typedef struct text_splitter text_splitter;
tern_status splitter_create(const splitter_family *family, text_splitter **out, tern_error *err);
void splitter_free(text_splitter *splitter);

// The state of one caller.
typedef struct splitter_run splitter_run;
tern_status splitter_run_create(const text_splitter *splitter, splitter_run **out, tern_error *err);
void splitter_run_free(splitter_run *run);

// The end of the word that starts at `at` < n; text is valid UTF-8. LIMIT if matching takes more steps than the
// expressions of these families can need.
tern_status splitter_next(splitter_run *run, const char *text, size_t n, size_t at, size_t *end, tern_error *err);

#endif
