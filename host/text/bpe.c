#include "bpe.h"

#include <stdlib.h>
#include <string.h>

#include "byte_map.h"
#include "check.h"

#define NONE UINT32_MAX

// A word is a linked list of symbols; a merge grows the left one and unlinks the right one.
struct bpe_symbol {
    uint32_t id; // NONE: unlinked
    uint32_t previous, next;
};

tern_status bpe_create(const vocab_table *vocab, size_t n_merges, bpe_model *out, tern_error *err)
{
    *out = (bpe_model){0};
    if (n_merges > BPE_MAX_MERGES)
        return error_set(err, TERN_LIMIT, "the tokenizer has %zu merges; the limit is %u", n_merges, BPE_MAX_MERGES);
    for (unsigned i = 0; i < 256; i++) {
        char byte = (char)(unsigned char)i;
        out->byte_ids[i] = NONE;
        bool is_in_utf8 = i < 0xc0 || (i >= 0xc2 && i <= 0xf4);
        if (!vocab_find(vocab, &byte, 1, &out->byte_ids[i]) && is_in_utf8)
            return error_set(err, TERN_MALFORMED, "the vocabulary has no token for the byte 0x%02x", i);
    }
    out->capacity = (uint32_t)n_merges;
    out->n_slots = 16;
    while (out->n_slots < out->capacity + out->capacity / 2) out->n_slots *= 2;
    out->merges = malloc((n_merges > 0 ? n_merges : 1) * sizeof *out->merges);
    out->slots = calloc(out->n_slots, sizeof *out->slots);
    if (out->merges == NULL || out->slots == NULL)
        return error_set(err, TERN_HOST_MEMORY, "no memory for %zu merges", n_merges);
    return TERN_OK;
}

void bpe_free(bpe_model *bpe)
{
    free(bpe->merges);
    free(bpe->slots);
    memset(bpe, 0, sizeof *bpe);
}

// The slot that holds the pair, or the empty one where it would go.
static uint32_t *find_slot(const bpe_model *bpe, uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * UINT64_C(0x9e3779b97f4a7c15);
    for (uint32_t i = (uint32_t)(h ^ h >> 32);; i++) {
        uint32_t *slot = &bpe->slots[i & (bpe->n_slots - 1)];
        if (*slot == 0) return slot;
        const bpe_merge *merge = &bpe->merges[*slot - 1];
        if (merge->left == left && merge->right == right) return slot;
    }
}

tern_status bpe_add_merge(bpe_model *bpe, const vocab_table *vocab, const char *left, size_t n_left, const char *right,
                          size_t n_right, tern_error *err)
{
    uint32_t rank = bpe->n_merges;
    char bytes[8192]; // both halves side by side are the result
    int shown_left = n_left > 64 ? 64 : (int)n_left, shown_right = n_right > 64 ? 64 : (int)n_right;
    if (rank >= bpe->capacity) return error_set(err, TERN_INTERNAL, "more merges than announced");
    if (n_left > sizeof bytes / 2 || n_right > sizeof bytes / 2)
        return error_set(err, TERN_LIMIT, "a half of merge %u is longer than %zu bytes", rank, sizeof bytes / 2);
    size_t n_first, n_second;
    bpe_merge merge;
    if (!byte_map_decode(left, n_left, bytes, &n_first) || !byte_map_decode(right, n_right, bytes + n_first, &n_second) ||
        !vocab_find(vocab, bytes, n_first, &merge.left) || !vocab_find(vocab, bytes + n_first, n_second, &merge.right) ||
        !vocab_find(vocab, bytes, n_first + n_second, &merge.result))
        return error_set(err, TERN_MALFORMED,
                         "merge %u (\"%.*s\" \"%.*s\"): a half or the result is not an ordinary token",
                         rank, shown_left, left, shown_right, right);
    uint32_t *slot = find_slot(bpe, merge.left, merge.right);
    if (*slot != 0)
        return error_set(err, TERN_MALFORMED, "merges %u and %u are the same pair (\"%.*s\" \"%.*s\")", *slot - 1, rank,
                         shown_left, left, shown_right, right);
    bpe->merges[rank] = merge;
    bpe->n_merges++;
    *slot = rank + 1;
    return TERN_OK;
}

void bpe_work_free(bpe_work *work)
{
    free(work->symbols);
    free(work->heap);
    *work = (bpe_work){0};
}

static tern_status reserve(bpe_work *work, size_t n, tern_error *err)
{
    // A word of n symbols has n - 1 candidates; each of its at most n - 1 merges takes one and brings at most two.
    if (work->n_symbols < n) {
        size_t capacity = n + n / 2 + 64;
        struct bpe_symbol *symbols = realloc(work->symbols, capacity * sizeof *symbols);
        if (symbols == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory to encode a word of %zu bytes", n);
        work->symbols = symbols;
        work->n_symbols = capacity;
    }
    if (work->n_heap < 2 * n) {
        size_t capacity = 2 * work->n_symbols;
        uint64_t *heap = realloc(work->heap, capacity * sizeof *heap);
        if (heap == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory to encode a word of %zu bytes", n);
        work->heap = heap;
        work->n_heap = capacity;
    }
    return TERN_OK;
}

// A binary heap of rank << 32 | position: the smallest is the lowest rank, and of these the leftmost.
static void heap_push(uint64_t *heap, size_t *n, uint64_t key)
{
    size_t i = (*n)++;
    for (; i > 0 && heap[(i - 1) / 2] > key; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = key;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n)
{
    uint64_t top = heap[0], last = heap[--*n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < *n; i = child) {
        if (child + 1 < *n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= last) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

static void push_pair(const bpe_model *bpe, bpe_work *work, size_t *n_heap, uint32_t at)
{
    const struct bpe_symbol *symbol = &work->symbols[at];
    if (symbol->next == NONE) return;
    uint32_t slot = *find_slot(bpe, symbol->id, work->symbols[symbol->next].id);
    if (slot != 0) heap_push(work->heap, n_heap, (uint64_t)(slot - 1) << 32 | at);
}

static void merge_all(const bpe_model *bpe, bpe_work *work, size_t n)
{
    struct bpe_symbol *symbols = work->symbols;
    size_t n_heap = 0;
    for (uint32_t i = 0; i + 1 < n; i++) push_pair(bpe, work, &n_heap, i);
    while (n_heap > 0) {
        uint64_t key = heap_pop(work->heap, &n_heap);
        uint32_t at = (uint32_t)key;
        const bpe_merge *merge = &bpe->merges[key >> 32];
        uint32_t next = symbols[at].next;
        // A candidate whose symbols have grown since is stale; the grown pair has its own entry.
        if (symbols[at].id != merge->left || next == NONE || symbols[next].id != merge->right) continue;
        symbols[at].id = merge->result;
        symbols[at].next = symbols[next].next;
        if (symbols[at].next != NONE) symbols[symbols[at].next].previous = at;
        symbols[next].id = NONE;
        push_pair(bpe, work, &n_heap, at);
        if (symbols[at].previous != NONE) push_pair(bpe, work, &n_heap, symbols[at].previous);
    }
}

tern_status bpe_encode(const bpe_model *bpe, const vocab_table *vocab, const char *word, size_t n, bpe_work *work,
                       tern_tokens *out, tern_error *err)
{
    uint32_t id;
    if (bpe->ignore_merges && vocab_find(vocab, word, n, &id)) return tern_tokens_append(out, (tern_token)id, err);
    tern_status status = reserve(work, n, err);
    if (status != TERN_OK) return status;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t byte_id = bpe->byte_ids[(unsigned char)word[i]];
        work->symbols[i] = (struct bpe_symbol){byte_id, i == 0 ? NONE : i - 1, i + 1 == n ? NONE : i + 1};
    }
    merge_all(bpe, work, n);
    for (uint32_t i = 0; status == TERN_OK && i != NONE; i = work->symbols[i].next)
        status = tern_tokens_append(out, (tern_token)work->symbols[i].id, err);
    return status;
}
