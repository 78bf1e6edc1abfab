// Element types of GGUF tensors: the table of ids (FORMATS.md 2.1), sizes, and ids that mean different things to
// different engines.
#include "gguf_types.h"

#include <string.h>

#include "check.h"

#define USE_OTHER_FILE "use the *-I2_S, *-TQ2_0 or *-TQ1_0 file of the same model"

// Ids that several engines use for different things carry every meaning in their name and are never decoded by guess.
static const gguf_tensor_type tensor_types[] = {
    {0, TENSOR_F32, "F32", 1, 4, 0, NULL},
    {1, TENSOR_F16, "F16", 1, 2, 0, NULL},
    {2, TENSOR_Q4_0, "Q4_0", 32, 18, 0, NULL},
    {3, TENSOR_OTHER, "Q4_1", 32, 20, 0, NULL},
    {6, TENSOR_OTHER, "Q5_0", 32, 22, 0, NULL},
    {7, TENSOR_OTHER, "Q5_1", 32, 24, 0, NULL},
    {8, TENSOR_Q8_0, "Q8_0", 32, 34, 0, NULL},
    {9, TENSOR_OTHER, "Q8_1", 32, 36, 0, NULL},
    {10, TENSOR_OTHER, "Q2_K", 256, 84, 0, NULL},
    {11, TENSOR_OTHER, "Q3_K", 256, 110, 0, NULL},
    {12, TENSOR_Q4_K, "Q4_K", 256, 144, 0, NULL},
    {13, TENSOR_Q5_K, "Q5_K", 256, 176, 0, NULL},
    {14, TENSOR_Q6_K, "Q6_K", 256, 210, 0, NULL},
    {15, TENSOR_OTHER, "Q8_K", 256, 292, 0, NULL},
    {16, TENSOR_OTHER, "IQ2_XXS", 0, 0, 0, NULL},
    {17, TENSOR_OTHER, "IQ2_XS", 0, 0, 0, NULL},
    {18, TENSOR_OTHER, "IQ3_XXS", 0, 0, 0, NULL},
    {19, TENSOR_OTHER, "IQ1_S", 0, 0, 0, NULL},
    {20, TENSOR_OTHER, "IQ4_NL", 0, 0, 0, NULL},
    {21, TENSOR_OTHER, "IQ3_S", 0, 0, 0, NULL},
    {22, TENSOR_OTHER, "IQ2_S", 0, 0, 0, NULL},
    {23, TENSOR_OTHER, "IQ4_XS", 0, 0, 0, NULL},
    {24, TENSOR_OTHER, "I8", 1, 1, 0, NULL},
    {25, TENSOR_OTHER, "I16", 1, 2, 0, NULL},
    {26, TENSOR_OTHER, "I32", 1, 4, 0, NULL},
    {27, TENSOR_OTHER, "I64", 1, 8, 0, NULL},
    {28, TENSOR_OTHER, "F64", 1, 8, 0, NULL},
    {29, TENSOR_OTHER, "IQ1_M", 0, 0, 0, NULL},
    {30, TENSOR_BF16, "BF16", 1, 2, 0, NULL},
    {34, TENSOR_TQ1_0, "TQ1_0", 256, 54, 0, NULL},
    {35, TENSOR_TQ2_0, "TQ2_0", 256, 66, 0, NULL},
    {36, TENSOR_I2_S, "I2_S", 1, 0, 0, NULL}, // n/4 + 32 bytes: see gguf_tensor_bytes
    {37, TENSOR_OTHER, "I8_S (id 37)", 0, 0, 0, USE_OTHER_FILE},
    {38, TENSOR_OTHER, "TL1 (id 38)", 0, 0, 0,
     "its layout depends on the machine it was made for, which is not in the file; " USE_OTHER_FILE},
    {39, TENSOR_OTHER, "TL2 or MXFP4 (id 39)", 0, 0, 0,
     "TL2's layout depends on the machine it was made for, which is not in the file; " USE_OTHER_FILE},
    {40, TENSOR_OTHER, "NVFP4 or Q1_0 (id 40)", 0, 0, 0, "neither is ternary; " USE_OTHER_FILE},
    {41, TENSOR_OTHER, "Q1_0 (id 41)", 128, 18, 0, "it is binary, not ternary; use the *-Q2_0 or *-PQ2_0 file"},
    {42, TENSOR_Q2_0_64, "Q2_0", 0, 0, 0, NULL}, // groups of 64 or of 128: see gguf_resolve_types
    {134, TENSOR_IQ1_BN, "IQ1_BN", 64, 13, 2, NULL},
    {135, TENSOR_IQ2_BN, "IQ2_BN", 64, 16, 4, NULL},
    {142, TENSOR_Q2_0_128, "PQ2_0", 128, 34, 0, NULL},
    {143, TENSOR_PTQ1_0, "PTQ1_0", 128, 28, 0, NULL},
    {335, TENSOR_IQ2_BN_R4, "IQ2_BN_R4", 64, 16, 4, NULL}, // the scales of four rows stand together
};

const gguf_tensor_type *gguf_tensor_type_find(uint32_t id)
{
    for (size_t i = 0; i < sizeof tensor_types / sizeof *tensor_types; i++)
        if (tensor_types[i].id == id) return &tensor_types[i];
    return NULL;
}

const char *gguf_tensor_type_advice(const char *type_name)
{
    for (size_t i = 0; i < sizeof tensor_types / sizeof *tensor_types; i++)
        if (strcmp(tensor_types[i].name, type_name) == 0 && tensor_types[i].advice != NULL)
            return tensor_types[i].advice;
    return "";
}

// Rows of blocks; the elements are known not to overflow.
static tern_status block_bytes(const tensor *t, const char *type, uint32_t block, uint32_t n_block_bytes,
                               uint32_t n_row_bytes, uint64_t *out, tern_error *err)
{
    uint64_t rows = t->dims[1] * t->dims[2] * t->dims[3], n_bytes;
    if (t->dims[0] % block != 0)
        return error_set(err, TERN_MALFORMED, "tensor %s: rows of %llu elements, type %s has blocks of %u", t->name,
                         (unsigned long long)t->dims[0], type, block);
    if (!check_mul(t->dims[0] / block, n_block_bytes, &n_bytes) || !check_add(n_bytes, n_row_bytes, &n_bytes) ||
        !check_mul(n_bytes, rows, &n_bytes))
        return error_set(err, TERN_MALFORMED, "tensor %s: its size in bytes overflows", t->name);
    *out = n_bytes;
    return TERN_OK;
}

tern_status gguf_tensor_bytes(const tensor *t, const gguf_tensor_type *info, uint64_t *out, tern_error *err)
{
    uint64_t n = 1;
    bool fits = true;
    for (uint32_t i = 0; i < 4; i++) fits = fits && check_mul(n, t->dims[i], &n);
    if (!fits || n > INT64_MAX)
        return error_set(err, TERN_MALFORMED, "tensor %s: the product of its dimensions overflows", t->name);
    if (info->type == TENSOR_I2_S) { // n/4 bytes of codes, then a tail of 32 with the scale
        if (n % 4 != 0)
            return error_set(err, TERN_MALFORMED, "tensor %s: I2_S with %llu elements, expected a multiple of 4",
                             t->name, (unsigned long long)n);
        *out = n / 4 + 32;
        return TERN_OK;
    }
    if (info->type == TENSOR_IQ2_BN_R4 && t->dims[1] % 4 != 0)
        return error_set(err, TERN_MALFORMED, "tensor %s: IQ2_BN_R4 with %llu rows, expected a multiple of 4", t->name,
                         (unsigned long long)t->dims[1]);
    if (info->block == 0) {
        *out = 0;
        return TERN_OK;
    }
    return block_bytes(t, info->name, info->block, info->block_bytes, info->row_bytes, out, err);
}

// Writers pad each tensor to the alignment and leave no other gaps; the last may lack its padding.
static bool fills_room(uint64_t n_bytes, uint64_t room, uint64_t alignment)
{
    uint64_t padded;
    return n_bytes <= room && check_align(n_bytes, alignment, &padded) && room <= padded;
}

static bool is_q2_0_of(const tensor *t, uint32_t group, const gguf_extent *e, uint64_t alignment, uint64_t *n_bytes)
{
    return block_bytes(t, "Q2_0", group, group / 4 + 2, 0, n_bytes, NULL) == TERN_OK &&
           fills_room(*n_bytes, e->room, alignment);
}

// One meaning for all tensors of id 42: the one that explains every room.
static tern_status resolve_q2_0(tensor_set *set, gguf_extent *extents, uint64_t alignment, tern_error *err)
{
    bool fits[2] = {true, true};
    const tensor *first = NULL;
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < set->n; i++) {
        const tensor *t = &set->items[extents[i].index];
        if (extents[i].id != 42) continue;
        if (first == NULL) first = t;
        for (uint32_t k = 0; k < 2; k++) fits[k] = fits[k] && is_q2_0_of(t, 64u << k, &extents[i], alignment, &n_bytes);
    }
    if (first == NULL) return TERN_OK;
    if (fits[0] == fits[1])
        return error_set(err, TERN_UNSUPPORTED,
                         "tensor %s: type Q2_0 (id 42) comes with groups of 64 or of 128 columns, and the sizes of the "
                         "tensors agree with %s; use the *-PQ2_0 file of the same model",
                         first->name, fits[0] ? "both" : "neither");
    for (size_t i = 0; i < set->n; i++) {
        tensor *t = &set->items[extents[i].index];
        if (extents[i].id != 42) continue;
        (void)is_q2_0_of(t, fits[0] ? 64 : 128, &extents[i], alignment, &extents[i].n_bytes);
        t->type = fits[0] ? TENSOR_Q2_0_64 : TENSOR_Q2_0_128;
        t->type_name = fits[0] ? "Q2_0" : "Q2_0 g128";
    }
    return TERN_OK;
}

// Ids whose other meaning is out of use: accepted when the room is what the type at hand needs.
static tern_status check_room(const tensor *t, const gguf_extent *e, uint64_t alignment, tern_error *err)
{
    const char *other = e->id == 142 ? "IQ2_TN" : e->id == 143 ? "IQ1_TN" : NULL;
    if (other != NULL && !fills_room(e->n_bytes, e->room, alignment))
        return error_set(
            err, TERN_UNSUPPORTED,
            "tensor %s: type id %u with %llu bytes; %s needs %llu, and the withdrawn %s of the same id is not "
            "supported",
            t->name, e->id, (unsigned long long)e->room, t->type_name, (unsigned long long)e->n_bytes, other);
    uint64_t n = t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    if (e->id == 36 && !fills_room(e->n_bytes, e->room, alignment) && n % 32 == 0 &&
        fills_room(n / 32 * 18, e->room, alignment))
        return error_set(err, TERN_UNSUPPORTED,
                         "tensor %s: type id 36 with the size of IQ4_NL_4_4, not of I2_S; " USE_OTHER_FILE, t->name);
    return TERN_OK;
}

tern_status gguf_resolve_types(tensor_set *set, gguf_extent *extents, uint64_t alignment, tern_error *err)
{
    tern_status status = resolve_q2_0(set, extents, alignment, err);
    for (size_t i = 0; i < set->n && status == TERN_OK; i++)
        status = check_room(&set->items[extents[i].index], &extents[i], alignment, err);
    return status;
}
