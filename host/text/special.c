#include "special.h"

#include <stdlib.h>
#include <string.h>

#include "unicode.h"

static int compare_patterns(const void *a, const void *b)
{
    const special_pattern *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->n < y->n ? x->n : y->n);
    return order != 0 ? order : (x->n > y->n) - (x->n < y->n);
}

static bool belongs(const vocab_token *token, special_kind kind)
{
    if (token->is_normalized != (kind.normalizer != NULL)) return false;
    return token->type == TOKEN_USER_DEFINED || (kind.with_control && vocab_is_hidden(token));
}

// Patterns in normalised form; those that come out empty leave the set.
static tern_status normalize_patterns(const text_normalizer *normalizer, special_set *set, tern_error *err)
{
    text_buffer all = {0}, one = {0};
    tern_status status = TERN_OK;
    for (uint32_t i = 0; i < set->n && status == TERN_OK; i++) {
        const char *text;
        size_t n = 0;
        status = normalizer_apply(normalizer, set->patterns[i].bytes, set->patterns[i].n, &one, &text, &n, err);
        if (status == TERN_OK) status = text_buffer_append(&all, text, n, err);
        set->patterns[i].n = (uint32_t)n; // a token's 64 KiB, grown a few times at most
    }
    uint32_t n_kept = 0;
    size_t at = 0;
    for (uint32_t i = 0; i < set->n && status == TERN_OK; i++) {
        special_pattern pattern = set->patterns[i];
        pattern.bytes = all.data + at;
        at += pattern.n;
        if (pattern.n > 0) set->patterns[n_kept++] = pattern;
    }
    set->n = n_kept;
    set->normalized = all.data;
    text_buffer_free(&one);
    return status;
}

tern_status special_set_create(const vocab_table *vocab, special_kind kind, special_set *out, tern_error *err)
{
    *out = (special_set){0};
    uint32_t n = 0;
    for (uint32_t id = 0; id < vocab->n_tokens; id++) n += belongs(&vocab->tokens[id], kind);
    if (n == 0) return TERN_OK;
    out->patterns = malloc(n * sizeof *out->patterns);
    if (out->patterns == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %u special tokens", n);
    for (uint32_t id = 0; id < vocab->n_tokens; id++) {
        const vocab_token *token = &vocab->tokens[id];
        if (belongs(token, kind)) out->patterns[out->n++] = (special_pattern){token->bytes, token->n_bytes, id};
    }
    if (kind.normalizer != NULL) {
        out->keeps_spaces = kind.normalizer->maps_spaces;
        tern_status status = normalize_patterns(kind.normalizer, out, err);
        if (status != TERN_OK) return status;
    }
    qsort(out->patterns, out->n, sizeof *out->patterns, compare_patterns);
    for (uint32_t i = 0; i < out->n; i++) {
        const special_pattern *pattern = &out->patterns[i];
        out->starts[(unsigned char)pattern->bytes[0]] = true;
        if (i > 0 && compare_patterns(pattern - 1, pattern) == 0)
            return error_set(err, TERN_MALFORMED, "special tokens %u and %u are both \"%.64s\"", pattern[-1].id,
                             pattern->id, vocab->tokens[pattern->id].text);
    }
    return TERN_OK;
}

void special_set_free(special_set *set)
{
    free(set->patterns);
    free(set->normalized);
    memset(set, 0, sizeof *set);
}

// The first entry of [low, high) whose byte at `depth` is >= byte. All entries there share their first `depth` bytes
// and are longer than that.
static uint32_t lower_bound(const special_set *set, uint32_t low, uint32_t high, size_t depth, unsigned byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((unsigned char)set->patterns[middle].bytes[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Longest pattern at the front of text; NULL if there is none. The range of patterns that begin with text[0..depth)
// narrows byte by byte, so the cost is bounded by the longest one, not by their number.
static const special_pattern *match_here(const special_set *set, const char *text, size_t n)
{
    uint32_t low = 0, high = set->n;
    const special_pattern *found = NULL;
    for (size_t depth = 0; low < high; depth++) {
        // Shorter ones sort first, and texts differ: only one ends here.
        if (set->patterns[low].n == depth) found = &set->patterns[low++];
        if (depth == n) break;
        unsigned byte = (unsigned char)text[depth];
        low = lower_bound(set, low, high, depth, byte);
        high = lower_bound(set, low, high, depth, byte + 1);
    }
    return found;
}

static size_t strip(const special_set *set, size_t n_space, char c)
{
    return set->keeps_spaces && c == ' ' ? 0 : n_space;
}

bool special_set_find(const special_set *set, const vocab_table *vocab, const char *text, size_t from, size_t n,
                      special_match *out)
{
    if (set->n == 0) return false;
    for (size_t at = from; at < n; at++) {
        if (!set->starts[(unsigned char)text[at]]) continue;
        const special_pattern *pattern = match_here(set, text + at, n - at);
        if (pattern == NULL) continue;
        *out = (special_match){at, at + pattern->n, pattern->id};
        const vocab_token *token = &vocab->tokens[pattern->id];
        if (token->is_single_word &&
            (utf8_word_at_end(text, at) || utf8_word_at_start(text + out->end, n - out->end))) {
            at = out->end - 1; // it hides what begins within it all the same
            continue;
        }
        size_t space;
        if (token->strips_left)
            while ((space = utf8_space_at_end(text + from, out->start - from)) > 0 &&
                   (space = strip(set, space, text[out->start - 1])) > 0)
                out->start -= space;
        if (token->strips_right)
            while ((space = utf8_space_at_start(text + out->end, n - out->end)) > 0 &&
                   (space = strip(set, space, text[out->end])) > 0)
                out->end += space;
        return true;
    }
    return false;
}
