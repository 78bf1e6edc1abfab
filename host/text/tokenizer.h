// From a model's tokenizer description to ids and back. The public functions are those of tern.h.
#ifndef TERN_TEXT_TOKENIZER_H
#define TERN_TEXT_TOKENIZER_H

#include "gguf.h"
#include "tern.h"

// Reads tokenizer.json and, where present, tokenizer_config.json and generation_config.json of a Hugging Face
// directory. NOT_FOUND when there is no tokenizer.json (UNSUPPORTED: only a tokenizer.model). `n_vocab`: rows of the
// embedding; ids must be below it.
tern_status tokenizer_from_directory(const char *directory, uint32_t n_vocab, tern_tokenizer **out, tern_error *err);

// The same over texts in memory (each NUL-terminated; the last two may be NULL).
tern_status tokenizer_from_json(const char *tokenizer_json, const char *tokenizer_config_json,
                                const char *generation_config_json, uint32_t n_vocab, tern_tokenizer **out,
                                tern_error *err);

// Reads the tokenizer.ggml.* keys. NOT_FOUND when the file has none. Copies what it needs from the file.
tern_status tokenizer_from_gguf(const gguf_file *file, const char *architecture, uint32_t n_vocab, tern_tokenizer **out,
                                tern_error *err);

void tokenizer_free(tern_tokenizer *tokenizer);

// "byte-level BPE (llama3), 128256 tokens", "SentencePiece-style BPE, 32000 tokens"; valid while the tokenizer lives.
const char *tokenizer_description(const tern_tokenizer *tokenizer);

// What another file format needs to store the same tokenizer (the GGUF writer): token strings as files spell them in id
// order with GGUF token types (1 normal, 3 control, 4 user-defined, ...), merges as "left right" or scores, splitter
// name, special ids. Borrowed from the tokenizer.
typedef struct tokenizer_export {
    const char *model; // "gpt2", or "llama" for pieces
    const char *pre;   // "llama-bpe"; "default" for pieces
    uint32_t n_tokens;
    const char *const *tokens; // NUL-terminated UTF-8; ids without a token are "[PADn]", type 5 (unused)
    const int32_t *token_types;
    const float *scores; // pieces only, n_tokens; else NULL
    size_t n_merges;     // byte-level only
    const char *const *merges;
    tern_token bos, eos, pad, unknown; // -1 if none
    bool add_bos;
    bool add_space_prefix;
    const char *loss; // what these keys cannot say of the tokenizer, for a warning; NULL: nothing
} tokenizer_export;
void tokenizer_get_export(const tern_tokenizer *tokenizer, tokenizer_export *out);

#endif
