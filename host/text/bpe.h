// Byte-pair encoding (FORMATS.md 6.1, 6.3): the adjacent pair of lowest rank is merged until none is left.
#ifndef TERN_TEXT_BPE_H
#define TERN_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tern.h"
#include "vocab.h"

#define BPE_MAX_MERGES (1u << 24)
#define BPE_NO_TOKEN   UINT32_MAX

typedef struct bpe_merge {
    uint32_t left, right, result; // ids
    uint32_t rank;                // its index, or that of the first merge of equal score
} bpe_merge;

typedef struct bpe_model {
    bpe_merge *merges; // in order of rank
    uint32_t n_merges, capacity;
    uint32_t *slots;        // open addressing over (left, right): index + 1, 0 empty
    uint32_t n_slots;       // a power of two
    uint32_t byte_ids[256]; // BPE_NO_TOKEN: none
    uint32_t unknown;       // of pieces: for a character without a piece and without byte tokens; BPE_NO_TOKEN: none
    bool fuses_unknown;     // neighbouring unknown characters are one token
    bool ignore_merges;     // a word that is a token is that token, whatever the merges would make of it
    bool joins_words;       // some merge has a space behind something else inside
} bpe_model;

// Room for n_merges. MALFORMED if some text could not be encoded: a byte that occurs in UTF-8 has no token, and there
// is no token for the unknown. The vocabulary is finished. Free after a failure too.
tern_status bpe_create(const vocab_table *vocab, size_t n_merges, uint32_t unknown, bpe_model *out, tern_error *err);
void bpe_free(bpe_model *bpe);

// Adds the merge of the next rank, its halves as the file spells them. MALFORMED if a half or the result is no word of
// the vocabulary, or the pair came before.
tern_status bpe_add_merge(bpe_model *bpe, const vocab_table *vocab, const char *left, size_t n_left, const char *right,
                          size_t n_right, tern_error *err);

// bpe_create, and the merges that SentencePiece's scores (one for each token) stand for: every split of a word into two
// words, the highest score first. LIMIT: a word too long to split everywhere, or more than BPE_MAX_MERGES.
tern_status bpe_create_scored(const vocab_table *vocab, const float *scores, uint32_t unknown, bpe_model *out,
                              tern_error *err);

// Scratch of one encoding call; grows, so that words share it. Starts as {0}.
typedef struct bpe_work {
    struct bpe_symbol *symbols;
    uint64_t *heap;
    size_t n_symbols, n_heap; // capacities
} bpe_work;
void bpe_work_free(bpe_work *work);

// Appends the tokens of one word, n >= 1 bytes, n < 2^32 - 1, valid UTF-8. Time is O(n log n).
tern_status bpe_encode(const bpe_model *bpe, const vocab_table *vocab, const char *word, size_t n, bpe_work *work,
                       tern_tokens *out, tern_error *err);

#endif
