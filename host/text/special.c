#include "special.h"

#include <stdlib.h>
#include <string.h>

#include "unicode.h"

// Sorting needs the texts, and qsort hands the comparison no context.
typedef struct sort_entry {
    const vocab_token *token;
    uint32_t id;
} sort_entry;

static int compare_entries(const void *a, const void *b)
{
    const vocab_token *x = ((const sort_entry *)a)->token, *y = ((const sort_entry *)b)->token;
    int order = memcmp(x->bytes, y->bytes, x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes);
    return order != 0 ? order : (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

static bool belongs(const vocab_token *token, bool with_control)
{
    return token->type == TOKEN_USER_DEFINED || (with_control && vocab_is_hidden(token));
}

tern_status special_set_create(const vocab_table *vocab, bool with_control, special_set *out, tern_error *err)
{
    *out = (special_set){0};
    uint32_t n = 0;
    for (uint32_t id = 0; id < vocab->n_tokens; id++) n += belongs(&vocab->tokens[id], with_control);
    if (n == 0) return TERN_OK;
    sort_entry *entries = malloc(n * sizeof *entries);
    out->ids = malloc(n * sizeof *out->ids);
    if (entries == NULL || out->ids == NULL) {
        free(entries);
        return error_set(err, TERN_HOST_MEMORY, "no memory for %u special tokens", n);
    }
    for (uint32_t id = 0; id < vocab->n_tokens; id++)
        if (belongs(&vocab->tokens[id], with_control)) entries[out->n++] = (sort_entry){&vocab->tokens[id], id};
    qsort(entries, n, sizeof *entries, compare_entries);
    tern_status status = TERN_OK;
    for (uint32_t i = 0; i < n; i++) {
        out->ids[i] = entries[i].id;
        out->starts[(unsigned char)entries[i].token->bytes[0]] = true;
        if (i > 0 && compare_entries(&entries[i - 1], &entries[i]) == 0)
            status = error_set(err, TERN_MALFORMED, "special tokens %u and %u are both \"%.64s\"", entries[i - 1].id,
                               entries[i].id, entries[i].token->text);
    }
    free(entries);
    return status;
}

void special_set_free(special_set *set)
{
    free(set->ids);
    memset(set, 0, sizeof *set);
}

// The first entry of [low, high) whose byte at `depth` is >= byte. All entries there share their first `depth` bytes and
// are longer than that.
static uint32_t lower_bound(const special_set *set, const vocab_table *vocab, uint32_t low, uint32_t high, size_t depth,
                            unsigned byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((unsigned char)vocab->tokens[set->ids[middle]].bytes[depth] < byte) low = middle + 1;
        else high = middle;
    }
    return low;
}

// Longest token at the front of text. The range of tokens that begin with text[0..depth) narrows byte by byte, so the
// cost is bounded by the longest token, not by their number.
static bool match_here(const special_set *set, const vocab_table *vocab, const char *text, size_t n, uint32_t *id,
                       size_t *n_bytes)
{
    uint32_t low = 0, high = set->n;
    bool found = false;
    for (size_t depth = 0; low < high; depth++) {
        const vocab_token *first = &vocab->tokens[set->ids[low]];
        if (first->n_bytes == depth) { // shorter ones sort first, and texts differ: only one ends here
            found = true;
            *id = set->ids[low++];
            *n_bytes = depth;
        }
        if (depth == n) break;
        unsigned byte = (unsigned char)text[depth];
        low = lower_bound(set, vocab, low, high, depth, byte);
        high = lower_bound(set, vocab, low, high, depth, byte + 1);
    }
    return found;
}

bool special_set_find(const special_set *set, const vocab_table *vocab, const char *text, size_t from, size_t n,
                      special_match *out)
{
    if (set->n == 0) return false;
    for (size_t at = from; at < n; at++) {
        uint32_t id;
        size_t length;
        if (!set->starts[(unsigned char)text[at]] || !match_here(set, vocab, text + at, n - at, &id, &length)) continue;
        *out = (special_match){at, at + length, id};
        const vocab_token *token = &vocab->tokens[id];
        size_t space;
        if (token->strips_left)
            while ((space = utf8_space_at_end(text + from, out->start - from)) > 0) out->start -= space;
        if (token->strips_right)
            while ((space = utf8_space_at_start(text + out->end, n - out->end)) > 0) out->end += space;
        return true;
    }
    return false;
}
