// The table of named tensors: an array in file order with a hash index over names.
#include "tensor.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "half.h"

uint64_t tensor_name_hash(const char *name, size_t n)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3u;
    return hash ^ (hash >> 32); // the low bits choose the slot
}

// The slot that holds `name`, or the empty one where it belongs. n_slots > 0 and not all are taken.
static size_t find_slot(const tensor_set *set, const char *name)
{
    size_t mask = set->n_slots - 1;
    size_t slot = (size_t)tensor_name_hash(name, strlen(name)) & mask;
    while (set->slots[slot] != 0 && strcmp(set->items[set->slots[slot] - 1].name, name) != 0) slot = (slot + 1) & mask;
    return slot;
}

// Doubles both arrays; the index stays at most half full.
static tern_status grow(tensor_set *set, tern_error *err)
{
    size_t capacity = set->capacity == 0 ? 64 : set->capacity * 2;
    size_t n_slots = capacity * 2;
    tensor *items = NULL;
    size_t *slots = NULL;
    if (capacity > SIZE_MAX / 4 / sizeof *items) return error_set(err, TERN_LIMIT, "too many tensors");
    slots = calloc(n_slots, sizeof *slots);
    if (slots != NULL) items = realloc(set->items, capacity * sizeof *items);
    if (items == NULL) {
        free(slots);
        return error_set(err, TERN_HOST_MEMORY, "no memory for a table of %zu tensors", capacity);
    }
    free(set->slots);
    set->items = items;
    set->capacity = capacity;
    set->slots = slots;
    set->n_slots = n_slots;
    for (size_t i = 0; i < set->n; i++) slots[find_slot(set, items[i].name)] = i + 1;
    return TERN_OK;
}

tern_status tensor_set_add(tensor_set *set, const tensor *t, tern_error *err)
{
    if (set->n == set->capacity) {
        tern_status status = grow(set, err);
        if (status != TERN_OK) return status;
    }
    size_t slot = find_slot(set, t->name);
    if (set->slots[slot] != 0) return error_set(err, TERN_MALFORMED, "tensor %s: the name occurs twice", t->name);
    set->items[set->n] = *t;
    set->n++;
    set->slots[slot] = set->n;
    return TERN_OK;
}

const tensor *tensor_set_find(const tensor_set *set, const char *name)
{
    if (set->n_slots == 0) return NULL;
    size_t item = set->slots[find_slot(set, name)];
    return item == 0 ? NULL : &set->items[item - 1];
}

void tensor_set_free(tensor_set *set)
{
    for (size_t i = 0; i < set->n; i++) free(set->items[i].name);
    free(set->items);
    free(set->slots);
    memset(set, 0, sizeof *set);
}

bool tensor_to_floats(const tensor *t, uint64_t n, float *out)
{
    uint64_t element = t->type == TENSOR_F32 ? 4 : t->type == TENSOR_F16 || t->type == TENSOR_BF16 ? 2 : 0;
    if (element == 0 || n > t->n_bytes / element) return false;
    if (t->type == TENSOR_F32) {
        memcpy(out, t->data, (size_t)n * sizeof *out);
        return true;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits = t->data[2 * i] | (uint32_t)t->data[2 * i + 1] << 8;
        out[i] = t->type == TENSOR_F16 ? half_to_float(bits) : bf16_to_float(bits);
    }
    return true;
}
