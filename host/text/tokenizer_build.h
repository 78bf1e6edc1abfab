// The tokenizer object, and how the readers of tokenizer.json and GGUF put one together.
#ifndef TERN_TEXT_TOKENIZER_BUILD_H
#define TERN_TEXT_TOKENIZER_BUILD_H

#include "bpe.h"
#include "normalizer.h"
#include "special.h"
#include "splitter.h"
#include "tokenizer.h"
#include "vocab.h"

// What stands in front of a stretch of text between tokens that were cut out, when its pieces are looked up.
typedef enum space_prefix {
    PREFIX_NONE,
    PREFIX_MISSING, // a space, unless the stretch begins with one
    PREFIX_FIRST,   // the same, but only for the stretch the whole text begins with
} space_prefix;

// The pre-tokenizer Metaspace: spaces are mapped (normalizer.h) only after tokens have been cut out of normalised text.
typedef struct metaspace {
    bool is_used;
    space_prefix prefix;
    bool splits; // a word begins at every space
} metaspace;

// A reader fills the first part of a zeroed object and calls tokenizer_finish for the rest. Immutable afterwards.
struct tern_tokenizer {
    vocab_table vocab; // finished; its spelling says what kind of tokenizer this is
    bpe_model bpe;
    const splitter_family *family; // byte-level: what cuts text into words. NULL for pieces
    text_normalizer normalizer;
    metaspace metaspace;               // pieces only
    bool strips_space;                 // decoding drops one space the text begins with
    tern_token bos, eos, pad, unknown; // -1 if none
    bool add_bos;
    float *scores;  // of pieces; made for the export where the file has merges
    bool is_scored; // the merges are those that the scores stand for

    uint32_t n_used; // ids but for the unused ones at the end
    text_splitter *splitter;
    // What is cut out of raw text, and of normalised text: without and with special tokens.
    special_set raw[2], normalized[2];
    char description[96];
    // For tokenizer_get_export.
    const char **texts;
    int32_t *types;
    const char **merges;
    char *merge_texts;
};

// An object with no ids and no bos, eos, pad.
tern_status tokenizer_create(tern_tokenizer **out, tern_error *err);

// Marks the tokens that end a reply, builds what encoding and exporting need. MALFORMED: add_bos without a bos.
tern_status tokenizer_finish(tern_tokenizer *tokenizer, tern_error *err);

// Makes a token with a role (BOS, an end) one that plain text cannot produce, where the file calls it ordinary. A
// single byte stays what it is: text needs it. Before vocab_finish.
void tokenizer_protect(tern_tokenizer *tokenizer, uint32_t id);

// Marks the tokens that end a reply by their text. Before vocab_finish, because they become control tokens.
void tokenizer_mark_stops_by_name(tern_tokenizer *tokenizer);

#endif
