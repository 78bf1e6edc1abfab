// The tokens of a vocabulary: id to spelling and bytes, and bytes to id.
#ifndef TERN_TEXT_VOCAB_H
#define TERN_TEXT_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

// Numbers as in GGUF's tokenizer.ggml.token_type.
typedef enum token_type {
    TOKEN_UNDEFINED = 0,
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,      // like control
    TOKEN_CONTROL = 3,      // comes from text only when the caller asks for special tokens; hidden in output
    TOKEN_USER_DEFINED = 4, // cut out of the text before everything else
    TOKEN_UNUSED = 5,       // never comes from text, stands for nothing
    TOKEN_BYTE = 6,         // one byte of a character that is not in the vocabulary; pieces only
} token_type;

// How the text of an ordinary token spells the bytes it stands for.
typedef enum vocab_spelling {
    VOCAB_BYTE_LEVEL, // one printable character for each byte (byte_map.h)
    VOCAB_PIECES,     // SentencePiece: text itself, U+2581 for a space, "<0x0A>" for a byte token
} vocab_spelling;

#define VOCAB_SPACE "\xe2\x96\x81" // U+2581

#define VOCAB_MAX_TOKENS      (1u << 22) // thirty times the largest vocabulary seen
#define VOCAB_MAX_TOKEN_BYTES 65536u

typedef struct vocab_token {
    const char *text;  // as files spell it, NUL-terminated; NULL: id not set (only before vocab_finish)
    const char *bytes; // what it stands for; not NUL-terminated
    uint32_t n_text, n_bytes;
    uint8_t type;
    bool is_word;                   // BPE may produce it: `bytes` is the reading of `text`
    bool strips_left, strips_right; // takes the white space beside it along
    bool is_single_word;            // matches only where no letter, digit or mark touches it
    bool is_normalized;             // looked for after normalisation, in normalised form
    bool is_stop;
} vocab_token;

typedef struct vocab_block vocab_block;

typedef struct vocab_table {
    vocab_spelling spelling;
    vocab_token *tokens;
    uint32_t n_tokens;
    uint32_t *slots;              // open addressing over `bytes` of the words: id + 1, 0 empty
    uint32_t n_slots;             // a power of two
    uint32_t max_word, max_bytes; // the longest word; the longest of all
    vocab_block *blocks;
} vocab_table;

// n_tokens ids, none set. LIMIT above VOCAB_MAX_TOKENS. Free after a failure too.
tern_status vocab_create(uint32_t n_tokens, vocab_spelling spelling, vocab_table *out, tern_error *err);
void vocab_free(vocab_table *vocab);

// Reads the spelling of an ordinary token; `out` has room for n. False if it is none.
bool vocab_read(vocab_spelling spelling, const char *text, size_t n, char *out, size_t *n_out);

// The byte that "<0x0A>" names: exactly two hexadecimal digits. False if the text is not of this form.
bool vocab_byte(const char *text, size_t n, uint8_t *out);

// Sets an id. MALFORMED: out of range, set before, invalid UTF-8, NUL inside, an empty special token, or a byte token
// that names no byte.
tern_status vocab_set(vocab_table *vocab, uint32_t id, const char *text, size_t n, token_type type, tern_error *err);

// Gives a set NORMAL token another type (its text is then literal).
void vocab_retype(vocab_table *vocab, uint32_t id, token_type type);

// Ids that were not set become "[PADn]", unused. Builds the index. MALFORMED: two words with the same bytes.
tern_status vocab_finish(vocab_table *vocab, tern_error *err);

// The word with these bytes. After vocab_finish.
bool vocab_find(const vocab_table *vocab, const char *bytes, size_t n, uint32_t *id);

static inline bool vocab_is_hidden(const vocab_token *token)
{
    return token->type == TOKEN_CONTROL || token->type == TOKEN_UNKNOWN;
}

#endif
