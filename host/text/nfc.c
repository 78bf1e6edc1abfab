#include "nfc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "check.h"

// Hugging Face's tokenizers normalise by the tables of Unicode 9, and the same text must give the same tokens with
// every utf8proc. Marks and composites assigned since are therefore taken for what they were then: characters that
// nothing is known of, which neither move nor combine. The ranges hold no other character that would.
static const uint32_t assigned_later[][2] = {
    {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},   {0x1abf, 0x1aff},   {0x1df6, 0x1dfa},
    {0xa82c, 0xa82c},   {0x105c0, 0x105ff}, {0x10d24, 0x10d27}, {0x10d69, 0x10d6d}, {0x10eab, 0x10eac},
    {0x10efa, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b},
    {0x11380, 0x113ff}, {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11930, 0x11943}, {0x119e0, 0x119e0},
    {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d45}, {0x11d97, 0x11d97},
    {0x11f41, 0x11f42}, {0x1611e, 0x16129}, {0x1612f, 0x1612f}, {0x16d60, 0x16d6a}, {0x16ff0, 0x16ff1},
    {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef},
    {0x1e5ee, 0x1e5ef}, {0x1e6e0, 0x1e6ff},
};

#define FIRST_MARK  0x300 // no character below combines with one before it
#define PLAIN_BELOW 0xcc  // the first byte of U+0300

bool nfc_is_plain(const char *text, size_t n)
{
    unsigned char greatest = 0;
    for (size_t i = 0; i < n; i++) greatest = (unsigned char)text[i] > greatest ? (unsigned char)text[i] : greatest;
    return greatest < PLAIN_BELOW;
}

static bool is_assigned_later(uint32_t point)
{
    size_t low = 0, high = sizeof assigned_later / sizeof *assigned_later;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (point > assigned_later[middle][1])
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof assigned_later / sizeof *assigned_later && point >= assigned_later[low][0];
}

// True if nothing before the character combines with it and it moves past nothing. Not every such character: enough
// that stretches between them are short in real text.
static bool starts_afresh(uint32_t point)
{
    if (point < FIRST_MARK) return true;
    if (point >= 0x2e80 && point < 0xa000) // CJK; the marks for tones and for voiced kana are the exceptions
        return !(point >= 0x302a && point <= 0x302f) && point != 0x3099 && point != 0x309a;
    return point >= 0xac00 && point <= 0xd7a3; // Hangul syllables
}

// What has to be seen at once: one starting character and all that may combine with it, decomposed.
typedef struct stretch {
    int32_t *points;
    int32_t *sorted; // scratch of the same capacity
    size_t n, capacity;
} stretch;

static tern_status reserve(stretch *s, size_t n, tern_error *err)
{
    if (s->capacity - s->n >= n) return TERN_OK;
    uint64_t capacity, bytes;
    size_t size;
    if (!check_add(s->n, n, &capacity) || !check_add(capacity, capacity / 2 + 64, &capacity) ||
        !check_mul(capacity, sizeof *s->points, &bytes) || !check_size(bytes, &size))
        return error_set(err, TERN_HOST_MEMORY, "no memory to normalise text");
    int32_t *points = realloc(s->points, size);
    if (points != NULL) s->points = points;
    int32_t *sorted = realloc(s->sorted, size);
    if (sorted != NULL) s->sorted = sorted;
    if (points == NULL || sorted == NULL)
        return error_set(err, TERN_HOST_MEMORY, "no memory to normalise %zu characters", s->n);
    s->capacity = (size_t)capacity;
    return TERN_OK;
}

static unsigned combining_class(int32_t point)
{
    return (unsigned)utf8proc_get_property(point)->combining_class & 0xff;
}

// Stable, by combining class: a counting sort, so that a hostile run of marks costs no more than other text.
static void sort_marks(int32_t *points, int32_t *sorted, size_t n)
{
    size_t starts[257] = {0};
    for (size_t i = 0; i < n; i++) starts[combining_class(points[i]) + 1]++;
    for (size_t i = 1; i < 257; i++) starts[i] += starts[i - 1];
    for (size_t i = 0; i < n; i++) sorted[starts[combining_class(points[i])]++] = points[i];
    memcpy(points, sorted, n * sizeof *points);
}

// Orders, composes and writes out what has been collected.
static tern_status flush(stretch *s, text_buffer *out, tern_error *err)
{
    for (size_t i = 0, end; i < s->n; i = end) {
        bool is_ordered = true;
        for (end = i; end < s->n && combining_class(s->points[end]) != 0; end++)
            if (end > i && combining_class(s->points[end]) < combining_class(s->points[end - 1])) is_ordered = false;
        if (!is_ordered) sort_marks(s->points + i, s->sorted, end - i);
        if (end == i) end++;
    }
    utf8proc_ssize_t n = (utf8proc_ssize_t)s->n;
    if (n > 1) n = utf8proc_normalize_utf32(s->points, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    s->n = 0;
    if (n < 0) return error_set(err, TERN_INTERNAL, "utf8proc cannot compose: %s", utf8proc_errmsg(n));
    tern_status status = TERN_OK;
    for (utf8proc_ssize_t i = 0; i < n && status == TERN_OK; i++) {
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t n_bytes = utf8proc_encode_char(s->points[i], bytes);
        status = text_buffer_append(out, (const char *)bytes, (size_t)n_bytes, err);
    }
    return status;
}

// Adds the canonical decomposition of a character.
static tern_status collect(stretch *s, int32_t point, bool is_unknown, tern_error *err)
{
    enum { MAX_DECOMPOSED = 32 }; // four, as of now
    tern_status status = reserve(s, MAX_DECOMPOSED, err);
    if (status != TERN_OK) return status;
    if (is_unknown) {
        s->points[s->n++] = point;
        return TERN_OK;
    }
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(point, s->points + s->n, MAX_DECOMPOSED,
                                                 UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &boundary);
    if (n < 1 || n > MAX_DECOMPOSED)
        return error_set(err, TERN_INTERNAL, "utf8proc cannot decompose U+%04X", (unsigned)point);
    s->n += (size_t)n;
    return TERN_OK;
}

// Bytes at the front that are plain and followed by something plain: they are copied.
static size_t plain_prefix(const char *text, size_t n)
{
    size_t end = 0;
    while (end < n && (unsigned char)text[end] < PLAIN_BELOW) end++;
    if (end == n || end == 0) return end;
    do end--; // the last character may be combined with
    while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80);
    return end;
}

tern_status nfc_append(const char *text, size_t n, text_buffer *out, tern_error *err)
{
    stretch s = {0};
    tern_status status = TERN_OK;
    for (size_t at = 0; at < n && status == TERN_OK;) {
        int32_t point;
        utf8proc_ssize_t n_bytes = utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(n - at),
                                                    &point);
        if (n_bytes < 1) {
            status = error_set(err, TERN_INTERNAL, "utf8proc cannot read the text at byte %zu", at);
            break;
        }
        at += (size_t)n_bytes;
        bool is_unknown = point >= 0x7fd && is_assigned_later((uint32_t)point);
        if (is_unknown || starts_afresh((uint32_t)point)) status = flush(&s, out, err);
        if (status == TERN_OK) status = collect(&s, point, is_unknown, err);
        if (status == TERN_OK && is_unknown) status = flush(&s, out, err);
        size_t n_plain = plain_prefix(text + at, n - at);
        if (status != TERN_OK || n_plain == 0) continue;
        status = flush(&s, out, err); // what follows is plain, so nothing combines with it any more
        if (status == TERN_OK) status = text_buffer_append(out, text + at, n_plain, err);
        at += n_plain;
    }
    if (status == TERN_OK) status = flush(&s, out, err);
    free(s.points);
    free(s.sorted);
    return status;
}
