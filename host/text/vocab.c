#include "vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "byte_map.h"
#include "unicode.h"

// Texts live in blocks, so that pointers into them stay valid and one vocabulary is a few allocations.
#define BLOCK_BYTES ((size_t)1 << 18)

struct vocab_block {
    vocab_block *next;
    size_t used;
    char data[BLOCK_BYTES];
};

_Static_assert(2 * (VOCAB_MAX_TOKEN_BYTES + 1) <= BLOCK_BYTES, "a token's text and bytes fit one block");

static char *take(vocab_table *vocab, size_t n)
{
    if (vocab->blocks == NULL || BLOCK_BYTES - vocab->blocks->used < n) {
        vocab_block *block = malloc(sizeof *block);
        if (block == NULL) return NULL;
        block->next = vocab->blocks;
        block->used = 0;
        vocab->blocks = block;
    }
    char *p = vocab->blocks->data + vocab->blocks->used;
    vocab->blocks->used += n;
    return p;
}

tern_status vocab_create(uint32_t n_tokens, vocab_spelling spelling, vocab_table *out, tern_error *err)
{
    *out = (vocab_table){.spelling = spelling};
    if (n_tokens == 0) return error_set(err, TERN_MALFORMED, "the vocabulary is empty");
    if (n_tokens > VOCAB_MAX_TOKENS)
        return error_set(err, TERN_LIMIT, "the vocabulary has %u tokens; the limit is %u", n_tokens, VOCAB_MAX_TOKENS);
    out->tokens = calloc(n_tokens, sizeof *out->tokens);
    if (out->tokens == NULL)
        return error_set(err, TERN_HOST_MEMORY, "no memory for a vocabulary of %u tokens", n_tokens);
    out->n_tokens = n_tokens;
    return TERN_OK;
}

void vocab_free(vocab_table *vocab)
{
    while (vocab->blocks != NULL) {
        vocab_block *next = vocab->blocks->next;
        free(vocab->blocks);
        vocab->blocks = next;
    }
    free(vocab->tokens);
    free(vocab->slots);
    memset(vocab, 0, sizeof *vocab);
}

static bool is_special(token_type type)
{
    return type == TOKEN_CONTROL || type == TOKEN_UNKNOWN || type == TOKEN_USER_DEFINED;
}

static bool is_plain_ascii(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] < 33 || text[i] > 126) return false;
    return true;
}

static bool read_piece(const char *text, size_t n, char *out, size_t *n_out)
{
    const size_t n_space = sizeof VOCAB_SPACE - 1;
    size_t count = 0;
    for (size_t i = 0; i < n;) {
        bool is_space = n - i >= n_space && memcmp(text + i, VOCAB_SPACE, n_space) == 0;
        if (text[i] == ' ') return false; // a space is never spelled by itself
        out[count++] = is_space ? ' ' : text[i];
        i += is_space ? n_space : 1;
    }
    *n_out = count;
    return true;
}

bool vocab_read(vocab_spelling spelling, const char *text, size_t n, char *out, size_t *n_out)
{
    return spelling == VOCAB_PIECES ? read_piece(text, n, out, n_out) : byte_map_decode(text, n, out, n_out);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool vocab_byte(const char *text, size_t n, uint8_t *out)
{
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return false;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    if (high < 0 || low < 0) return false;
    *out = (uint8_t)(high * 16 + low);
    return true;
}

tern_status vocab_set(vocab_table *vocab, uint32_t id, const char *text, size_t n, token_type type, tern_error *err)
{
    if (id >= vocab->n_tokens)
        return error_set(err, TERN_MALFORMED, "token id %u is outside the vocabulary of %u", id, vocab->n_tokens);
    vocab_token *token = &vocab->tokens[id];
    int shown = n > 64 ? 64 : (int)n;
    if (token->text != NULL)
        return error_set(err, TERN_MALFORMED, "token id %u is given to both \"%s\" and \"%.*s\"", id, token->text,
                         shown, text);
    if (n > VOCAB_MAX_TOKEN_BYTES)
        return error_set(err, TERN_LIMIT, "token %u has %zu bytes; the limit is %u", id, n, VOCAB_MAX_TOKEN_BYTES);
    size_t bad;
    if (!utf8_validate(text, n, &bad))
        return error_set(err, TERN_MALFORMED, "token %u is not UTF-8 (byte %zu)", id, bad);
    if (memchr(text, 0, n) != NULL) return error_set(err, TERN_MALFORMED, "token %u contains a NUL byte", id);
    // An empty string would match everywhere.
    if (n == 0 && is_special(type)) return error_set(err, TERN_MALFORMED, "special token %u is empty", id);

    uint8_t byte = 0;
    if (type == TOKEN_BYTE && !vocab_byte(text, n, &byte))
        return error_set(err, TERN_MALFORMED, "byte token %u is \"%.*s\", not of the form <0x0A>", id, shown, text);

    char *copy = take(vocab, n + 1);
    char *bytes = take(vocab, n);
    if (copy == NULL || bytes == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for the vocabulary's text");
    memcpy(copy, text, n);
    copy[n] = 0;
    size_t n_bytes = 0;
    bool is_spelled = vocab_read(vocab->spelling, text, n, bytes, &n_bytes);
    token->text = copy;
    token->n_text = (uint32_t)n;
    token->bytes = is_spelled ? bytes : copy;
    token->n_bytes = (uint32_t)(is_spelled ? n_bytes : n);
    token->is_word = is_spelled && type == TOKEN_NORMAL && n > 0;
    token->type = TOKEN_NORMAL;
    if (type == TOKEN_BYTE) {
        bytes[0] = (char)byte;
        *token = (vocab_token){.text = copy, .bytes = bytes, .n_text = (uint32_t)n, .n_bytes = 1, .type = TOKEN_BYTE};
    } else if (type != TOKEN_NORMAL) {
        vocab_retype(vocab, id, type);
    }
    return TERN_OK;
}

void vocab_retype(vocab_table *vocab, uint32_t id, token_type type)
{
    vocab_token *token = &vocab->tokens[id];
    token->type = (uint8_t)type;
    token->bytes = token->text;
    token->n_bytes = is_special(type) ? token->n_text : 0;
    // Merges may pass through a user-defined token, where its literal and its mapped reading are the same. Never
    // through a control token: plain text must not be able to spell one.
    token->is_word = type == TOKEN_USER_DEFINED && is_plain_ascii(token->text, token->n_text);
}

static uint32_t hash_bytes(const char *bytes, size_t n)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); // FNV-1a, folded so that the low bits depend on all of it
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
    return (uint32_t)(h ^ h >> 32);
}

// The slot that holds these bytes, or the empty one where they would go.
static uint32_t *find_slot(const vocab_table *vocab, const char *bytes, size_t n)
{
    for (uint32_t i = hash_bytes(bytes, n);; i++) {
        uint32_t *slot = &vocab->slots[i & (vocab->n_slots - 1)];
        if (*slot == 0) return slot;
        const vocab_token *token = &vocab->tokens[*slot - 1];
        if (token->n_bytes == n && memcmp(token->bytes, bytes, n) == 0) return slot;
    }
}

tern_status vocab_finish(vocab_table *vocab, tern_error *err)
{
    vocab->n_slots = 16;
    while (vocab->n_slots < 2 * vocab->n_tokens) vocab->n_slots *= 2;
    vocab->slots = calloc(vocab->n_slots, sizeof *vocab->slots);
    if (vocab->slots == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for the vocabulary's index");
    for (uint32_t id = 0; id < vocab->n_tokens; id++) {
        vocab_token *token = &vocab->tokens[id];
        if (token->text == NULL) {
            char name[32];
            int n = snprintf(name, sizeof name, "[PAD%u]", id);
            tern_status status = vocab_set(vocab, id, name, (size_t)n, TOKEN_UNUSED, err);
            if (status != TERN_OK) return status;
        }
        if (token->n_bytes > vocab->max_bytes) vocab->max_bytes = token->n_bytes;
        if (!token->is_word) continue;
        uint32_t *slot = find_slot(vocab, token->bytes, token->n_bytes);
        if (*slot != 0)
            return error_set(err, TERN_MALFORMED, "tokens %u and %u are both \"%.64s\"", *slot - 1, id, token->text);
        *slot = id + 1;
        if (token->n_bytes > vocab->max_word) vocab->max_word = token->n_bytes;
    }
    return TERN_OK;
}

bool vocab_find(const vocab_table *vocab, const char *bytes, size_t n, uint32_t *id)
{
    if (n > vocab->max_word) return false;
    uint32_t slot = *find_slot(vocab, bytes, n);
    if (slot == 0) return false;
    *id = slot - 1;
    return true;
}
