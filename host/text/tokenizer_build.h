// The tokenizer object, and how the readers of tokenizer.json and GGUF put one together.
#ifndef TERN_TEXT_TOKENIZER_BUILD_H
#define TERN_TEXT_TOKENIZER_BUILD_H

#include "bpe.h"
#include "special.h"
#include "splitter.h"
#include "tokenizer.h"
#include "vocab.h"

// A reader fills the first part of a zeroed object and calls tokenizer_finish for the rest. Immutable afterwards.
struct tern_tokenizer {
    const splitter_family *family;
    vocab_table vocab; // finished
    bpe_model bpe;
    tern_token bos, eos, pad; // -1 if none
    bool add_bos;

    text_splitter *splitter;
    special_set user_defined; // what is cut out of any text
    special_set special;      // what is cut out when special tokens are wanted
    char description[96];
    // For tokenizer_get_export.
    const char **texts;
    int32_t *types;
    const char **merges;
    char *merge_texts;
};

#define TOKENIZER_SENTENCEPIECE "SentencePiece-style BPE is not supported yet"

// An object with no ids and no bos, eos, pad.
tern_status tokenizer_create(tern_tokenizer **out, tern_error *err);

// Marks the tokens that end a reply, builds what encoding and exporting need. MALFORMED: add_bos without a bos.
tern_status tokenizer_finish(tern_tokenizer *tokenizer, tern_error *err);

// Makes a token with a role (BOS, an end) one that plain text cannot produce, where the file calls it ordinary. A single
// byte stays what it is: text needs it. Before vocab_finish.
void tokenizer_protect(tern_tokenizer *tokenizer, uint32_t id);

// Marks the tokens that end a reply by their text. Before vocab_finish, because they become control tokens.
void tokenizer_mark_stops_by_name(tern_tokenizer *tokenizer);

#endif
