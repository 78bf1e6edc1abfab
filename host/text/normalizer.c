#include "normalizer.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "nfc.h"
#include "vocab.h"

static tern_status reserve(text_buffer *buffer, size_t n, tern_error *err)
{
    uint64_t needed, capacity;
    size_t size;
    if (check_add(buffer->n, n, &needed) && needed <= buffer->capacity) return TERN_OK;
    if (!check_add(buffer->n, n, &needed) || !check_add(needed, needed / 2 + 64, &capacity) ||
        !check_size(capacity, &size))
        return error_set(err, TERN_HOST_MEMORY, "no memory to normalise text");
    char *data = realloc(buffer->data, size);
    if (data == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory to normalise %zu bytes of text", size);
    buffer->data = data;
    buffer->capacity = size;
    return TERN_OK;
}

tern_status text_buffer_append(text_buffer *buffer, const char *text, size_t n, tern_error *err)
{
    tern_status status = reserve(buffer, n, err);
    if (status != TERN_OK || n == 0) return status;
    memcpy(buffer->data + buffer->n, text, n);
    buffer->n += n;
    return TERN_OK;
}

void text_buffer_free(text_buffer *buffer)
{
    free(buffer->data);
    *buffer = (text_buffer){0};
}

tern_status normalizer_map_spaces(const char *text, size_t n, text_buffer *buffer, tern_error *err)
{
    const size_t n_space = sizeof VOCAB_SPACE - 1;
    tern_status status = reserve(buffer, n, err);
    while (status == TERN_OK && n > 0) {
        const char *space = memmem(text, n, VOCAB_SPACE, n_space);
        size_t n_before = space == NULL ? n : (size_t)(space - text);
        status = text_buffer_append(buffer, text, n_before, err);
        if (space == NULL || status != TERN_OK) break;
        status = text_buffer_append(buffer, " ", 1, err);
        text += n_before + n_space;
        n -= n_before + n_space;
    }
    return status;
}

tern_status normalizer_apply(const text_normalizer *normalizer, const char *text, size_t n, text_buffer *buffer,
                             const char **out, size_t *n_out, tern_error *err)
{
    bool changes_nfc = normalizer->nfc && !nfc_is_plain(text, n);
    tern_status status = TERN_OK;
    *out = text;
    *n_out = n;
    if (n == 0 || (!changes_nfc && !normalizer->prepends_space && !normalizer->maps_spaces)) return TERN_OK;
    buffer->n = 0;
    // The order does not matter: neither U+0020 nor U+2581 composes with anything.
    if (normalizer->prepends_space) status = text_buffer_append(buffer, " ", 1, err);
    text_buffer composed = {0};
    if (status == TERN_OK && changes_nfc) {
        text_buffer *target = normalizer->maps_spaces ? &composed : buffer;
        status = nfc_append(text, n, target, err);
        text = composed.data;
        n = composed.n;
    }
    if (status == TERN_OK && normalizer->maps_spaces)
        status = normalizer_map_spaces(text, n, buffer, err);
    else if (status == TERN_OK && !changes_nfc)
        status = text_buffer_append(buffer, text, n, err);
    text_buffer_free(&composed);
    if (status != TERN_OK) return status;
    *out = buffer->data;
    *n_out = buffer->n;
    return TERN_OK;
}
