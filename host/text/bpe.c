#include "bpe.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "unicode.h"

#define NONE UINT32_MAX

// A word is a linked list of symbols; a merge grows the left one and unlinks the right one.
struct bpe_symbol {
    uint32_t id;
    uint32_t previous, next;
    uint32_t merge; // index of the merge with the next one; NONE: there is none, or the symbol is unlinked
};

// Byte-level: the words of one byte. Pieces: the byte tokens; of two spellings ("<0x0a>", "<0x0A>") the first.
static void find_bytes(const vocab_table *vocab, bpe_model *out)
{
    for (unsigned i = 0; i < 256; i++) {
        char byte = (char)(unsigned char)i;
        out->byte_ids[i] = BPE_NO_TOKEN;
        if (vocab->spelling == VOCAB_BYTE_LEVEL) vocab_find(vocab, &byte, 1, &out->byte_ids[i]);
    }
    for (uint32_t id = 0; id < vocab->n_tokens && vocab->spelling == VOCAB_PIECES; id++) {
        const vocab_token *token = &vocab->tokens[id];
        if (token->type != TOKEN_BYTE) continue;
        uint32_t *slot = &out->byte_ids[(unsigned char)token->bytes[0]];
        if (*slot == BPE_NO_TOKEN) *slot = id;
    }
}

tern_status bpe_create(const vocab_table *vocab, size_t n_merges, uint32_t unknown, bpe_model *out, tern_error *err)
{
    *out = (bpe_model){.unknown = unknown};
    if (n_merges > BPE_MAX_MERGES)
        return error_set(err, TERN_LIMIT, "the tokenizer has %zu merges; the limit is %u", n_merges, BPE_MAX_MERGES);
    find_bytes(vocab, out);
    for (unsigned i = 0; i < 256; i++) {
        bool is_in_utf8 = i < 0xc0 || (i >= 0xc2 && i <= 0xf4);
        if (out->byte_ids[i] == BPE_NO_TOKEN && is_in_utf8 && unknown == BPE_NO_TOKEN)
            return error_set(err, TERN_MALFORMED, "the vocabulary has no token for the byte 0x%02x%s", i,
                             vocab->spelling == VOCAB_PIECES ? " and none for unknown text" : "");
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

// Appends a merge; `slot` is the empty one of its pair.
static void insert(bpe_model *bpe, const vocab_table *vocab, bpe_merge merge, uint32_t *slot)
{
    const vocab_token *left = &vocab->tokens[merge.left], *right = &vocab->tokens[merge.right];
    if (left->bytes[left->n_bytes - 1] != ' ' && right->bytes[0] == ' ') bpe->joins_words = true;
    bpe->merges[bpe->n_merges] = merge;
    *slot = ++bpe->n_merges;
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
    bpe_merge merge = {.rank = rank};
    if (!vocab_read(vocab->spelling, left, n_left, bytes, &n_first) ||
        !vocab_read(vocab->spelling, right, n_right, bytes + n_first, &n_second) ||
        !vocab_find(vocab, bytes, n_first, &merge.left) ||
        !vocab_find(vocab, bytes + n_first, n_second, &merge.right) ||
        !vocab_find(vocab, bytes, n_first + n_second, &merge.result))
        return error_set(err, TERN_MALFORMED,
                         "merge %u (\"%.*s\" \"%.*s\"): a half or the result is not an ordinary token", rank,
                         shown_left, left, shown_right, right);
    uint32_t *slot = find_slot(bpe, merge.left, merge.right);
    if (*slot != 0)
        return error_set(err, TERN_MALFORMED, "merges %u and %u are the same pair (\"%.*s\" \"%.*s\")", *slot - 1, rank,
                         shown_left, left, shown_right, right);
    insert(bpe, vocab, merge, slot);
    return TERN_OK;
}

// -------------------------------------------------------------------------------------------------- merges from scores

// Longer words would make the splits of a hostile vocabulary expensive; real pieces have at most 16 characters.
#define MAX_SCORED_BYTES 512u

// A merge to be, with what orders it.
typedef struct scored_merge {
    bpe_merge merge;
    float score;
} scored_merge;

// The highest score first; equal ones, whose order does not matter, as Hugging Face's converter has them.
static int compare_scored(const void *a, const void *b)
{
    const scored_merge *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->merge.left != y->merge.left) return x->merge.left < y->merge.left ? -1 : 1;
    return (x->merge.right > y->merge.right) - (x->merge.right < y->merge.right);
}

// Every split of every word into two words. With `out` NULL only counts them.
static tern_status split_words(const vocab_table *vocab, const float *scores, scored_merge *out, size_t *n,
                               tern_error *err)
{
    size_t count = 0;
    for (uint32_t id = 0; id < vocab->n_tokens; id++) {
        const vocab_token *token = &vocab->tokens[id];
        if (!token->is_word) continue;
        if (token->n_bytes > MAX_SCORED_BYTES)
            return error_set(err, TERN_LIMIT, "token %u has %u bytes; the limit for pieces is %u", id, token->n_bytes,
                             MAX_SCORED_BYTES);
        for (uint32_t at = 1; at < token->n_bytes; at++) {
            bpe_merge merge = {.result = id};
            if (((unsigned char)token->bytes[at] & 0xc0) == 0x80 || // within a character
                !vocab_find(vocab, token->bytes, at, &merge.left) ||
                !vocab_find(vocab, token->bytes + at, token->n_bytes - at, &merge.right))
                continue;
            if (out != NULL) out[count] = (scored_merge){merge, scores[id]};
            count++;
        }
        if (count > BPE_MAX_MERGES)
            return error_set(err, TERN_LIMIT, "the scores stand for more than %u merges", BPE_MAX_MERGES);
    }
    *n = count;
    return TERN_OK;
}

tern_status bpe_create_scored(const vocab_table *vocab, const float *scores, uint32_t unknown, bpe_model *out,
                              tern_error *err)
{
    size_t n = 0;
    *out = (bpe_model){0};
    tern_status status = split_words(vocab, scores, NULL, &n, err);
    if (status == TERN_OK) status = bpe_create(vocab, n, unknown, out, err);
    if (status != TERN_OK) return status;
    scored_merge *merges = malloc((n > 0 ? n : 1) * sizeof *merges);
    if (merges == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu merges", n);
    status = split_words(vocab, scores, merges, &n, err);
    if (status == TERN_OK) qsort(merges, n, sizeof *merges, compare_scored);
    for (size_t i = 0; i < n && status == TERN_OK; i++) {
        bool is_tie = i > 0 && merges[i].score == merges[i - 1].score; // of these the leftmost goes first
        merges[i].merge.rank = is_tie ? merges[i - 1].merge.rank : (uint32_t)i;
        insert(out, vocab, merges[i].merge, find_slot(out, merges[i].merge.left, merges[i].merge.right));
    }
    free(merges);
    return status;
}

// ------------------------------------------------------------------------------------------------------------ encoding

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

// A heap of rank << 32 | position: the smallest is the lowest rank, and of these the leftmost. Four children a node:
// half the levels, and the children share a cache line.
static void heap_push(uint64_t *heap, size_t *n, uint64_t key)
{
    size_t i = (*n)++;
    for (; i > 0 && heap[(i - 1) / 4] > key; i = (i - 1) / 4) heap[i] = heap[(i - 1) / 4];
    heap[i] = key;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n)
{
    uint64_t top = heap[0], last = heap[--*n];
    size_t i = 0;
    for (size_t child; (child = 4 * i + 1) < *n; i = child) {
        size_t end = child + 4 < *n ? child + 4 : *n;
        for (size_t other = child + 1; other < end; other++)
            if (heap[other] < heap[child]) child = other;
        if (heap[child] >= last) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

static void push_pair(const bpe_model *bpe, bpe_work *work, size_t *n_heap, uint32_t at)
{
    struct bpe_symbol *symbol = &work->symbols[at];
    symbol->merge = NONE;
    if (symbol->next == NONE) return;
    uint32_t slot = *find_slot(bpe, symbol->id, work->symbols[symbol->next].id);
    if (slot == 0) return;
    symbol->merge = slot - 1;
    heap_push(work->heap, n_heap, (uint64_t)bpe->merges[slot - 1].rank << 32 | at);
}

static void merge_all(const bpe_model *bpe, bpe_work *work, size_t n)
{
    struct bpe_symbol *symbols = work->symbols;
    size_t n_heap = 0;
    for (uint32_t i = 0; i < n; i++) push_pair(bpe, work, &n_heap, i);
    while (n_heap > 0) {
        uint64_t key = heap_pop(work->heap, &n_heap);
        uint32_t at = (uint32_t)key;
        // A candidate whose symbols have grown since is stale; the grown pair has its own entry.
        if (symbols[at].merge == NONE) continue;
        const bpe_merge *merge = &bpe->merges[symbols[at].merge];
        if (merge->rank != key >> 32) continue;
        uint32_t next = symbols[at].next;
        symbols[at].id = merge->result;
        symbols[at].next = symbols[next].next;
        if (symbols[at].next != NONE) symbols[symbols[at].next].previous = at;
        symbols[next].merge = NONE;
        push_pair(bpe, work, &n_heap, at);
        if (symbols[at].previous != NONE) push_pair(bpe, work, &n_heap, symbols[at].previous);
    }
}

// The first symbols of a word of pieces are its characters; one that is no piece becomes its byte tokens or, unless all
// of them are there, unknown. Returns their number, at most n.
static size_t first_symbols(const bpe_model *bpe, const vocab_table *vocab, const char *word, size_t n, bpe_work *work)
{
    size_t count = 0, end;
    bool was_unknown = false;
    for (size_t at = 0; at < n; at = end) {
        uint32_t id;
        end = at + utf8_next(word + at, n - at).n;
        bool is_piece = vocab_find(vocab, word + at, end - at, &id), has_bytes = true;
        for (size_t i = at; i < end; i++) has_bytes &= bpe->byte_ids[(unsigned char)word[i]] != BPE_NO_TOKEN;
        bool is_unknown = !is_piece && !has_bytes;
        if (is_piece) {
            work->symbols[count++].id = id;
        } else if (has_bytes) {
            for (size_t i = at; i < end; i++) work->symbols[count++].id = bpe->byte_ids[(unsigned char)word[i]];
        } else if (!was_unknown || !bpe->fuses_unknown) {
            work->symbols[count++].id = bpe->unknown;
        }
        was_unknown = is_unknown;
    }
    return count;
}

tern_status bpe_encode(const bpe_model *bpe, const vocab_table *vocab, const char *word, size_t n, bpe_work *work,
                       tern_tokens *out, tern_error *err)
{
    uint32_t id;
    if (bpe->ignore_merges && vocab_find(vocab, word, n, &id)) return tern_tokens_append(out, (tern_token)id, err);
    tern_status status = reserve(work, n, err);
    if (status != TERN_OK) return status;
    struct bpe_symbol *symbols = work->symbols;
    size_t count = n;
    if (vocab->spelling == VOCAB_PIECES)
        count = first_symbols(bpe, vocab, word, n, work);
    else
        for (size_t i = 0; i < n; i++) symbols[i].id = bpe->byte_ids[(unsigned char)word[i]];
    for (uint32_t i = 0; i < count; i++) {
        symbols[i].previous = i == 0 ? NONE : i - 1;
        symbols[i].next = i + 1 == count ? NONE : i + 1;
    }
    merge_all(bpe, work, count);
    for (uint32_t i = 0; status == TERN_OK && i != NONE; i = symbols[i].next)
        status = tern_tokens_append(out, (tern_token)symbols[i].id, err);
    return status;
}
