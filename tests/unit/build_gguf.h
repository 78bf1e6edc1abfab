// Test files built in memory: raw GGUF records, a tiny complete bitnet model, safetensors, and temporary files to open.
#ifndef TERN_TESTS_BUILD_GGUF_H
#define TERN_TESTS_BUILD_GGUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "write_file.h"

typedef struct bytes {
    uint8_t *data;
    size_t n, capacity;
} bytes;

static inline void put(bytes *b, const void *data, size_t n)
{
    if (b->n + n > b->capacity) {
        b->capacity = (b->n + n) * 2;
        b->data = realloc(b->data, b->capacity);
        if (b->data == NULL) abort();
    }
    if (n > 0) memcpy(b->data + b->n, data, n);
    b->n += n;
}

static inline void put_u32(bytes *b, uint32_t v) { put(b, &v, 4); }
static inline void put_u64(bytes *b, uint64_t v) { put(b, &v, 8); }
static inline void put_string(bytes *b, const char *s)
{
    put_u64(b, strlen(s));
    put(b, s, strlen(s));
}
static inline void put_fill(bytes *b, uint8_t byte, size_t n)
{
    for (size_t i = 0; i < n; i++) put(b, &byte, 1);
}
static inline void put_align(bytes *b, size_t unit)
{
    while (b->n % unit != 0) put_fill(b, 0, 1);
}

static inline void put_header(bytes *b, uint32_t version, uint64_t n_tensors, uint64_t n_values)
{
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_values);
}

static inline void put_key(bytes *b, const char *key, uint32_t type)
{
    put_string(b, key);
    put_u32(b, type);
}

static inline void put_key_u32(bytes *b, const char *key, uint32_t v)
{
    put_key(b, key, 4);
    put_u32(b, v);
}

static inline void put_tensor(bytes *b, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                              uint64_t offset)
{
    put_string(b, name);
    put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) put_u64(b, dims[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

#define TINY_FILL 0x94 // I2_S codes 2 1 1 0

// A model as a list of keys and tensors that a test changes before it is written.
typedef struct tiny_value {
    char key[80];
    uint32_t type; // GGUF value type id: 4 u32, 6 f32, 7 bool, 8 string, others raw u32
    uint32_t u;
    float f;
    const char *s;
} tiny_value;

typedef struct tiny_tensor {
    char name[64];
    uint32_t n_dims;
    uint64_t dims[4];
    uint32_t type;
    uint8_t fill; // of I2_S codes
    float value;  // of floats, and the I2_S scale
} tiny_tensor;

typedef struct tiny_model {
    tiny_value values[40];
    tiny_tensor tensors[40];
    size_t n_values, n_tensors;
} tiny_model;

enum {
    TINY_F32 = 0,
    TINY_F16 = 1,
    TINY_Q5_K = 13,
    TINY_I2S = 36,
    TINY_Q2_0 = 42,
    TINY_Q2_0_OLD = 10042
}; // OLD: groups of 128

static inline tiny_value *tiny_find(tiny_model *m, const char *key)
{
    for (size_t i = 0; i < m->n_values; i++)
        if (strcmp(m->values[i].key, key) == 0) return &m->values[i];
    tiny_value *v = &m->values[m->n_values++];
    memset(v, 0, sizeof *v);
    snprintf(v->key, sizeof v->key, "%s", key);
    return v;
}

static inline void tiny_u32(tiny_model *m, const char *key, uint32_t u)
{
    tiny_value *v = tiny_find(m, key);
    v->type = 4;
    v->u = u;
}

static inline void tiny_f32(tiny_model *m, const char *key, float f)
{
    tiny_value *v = tiny_find(m, key);
    v->type = 6;
    v->f = f;
}

static inline void tiny_string(tiny_model *m, const char *key, const char *s)
{
    tiny_value *v = tiny_find(m, key);
    v->type = 8;
    v->s = s;
}

static inline void tiny_drop_key(tiny_model *m, const char *key)
{
    tiny_value *v = tiny_find(m, key);
    *v = m->values[--m->n_values];
}

static inline tiny_tensor *tiny_get(tiny_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i].name, name) == 0) return &m->tensors[i];
    tiny_tensor *t = &m->tensors[m->n_tensors++];
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}

static inline void tiny_drop(tiny_model *m, const char *name)
{
    tiny_tensor *t = tiny_get(m, name);
    *t = m->tensors[--m->n_tensors];
}

static inline void tiny_add(tiny_model *m, const char *name, uint64_t cols, uint64_t rows, uint32_t type)
{
    tiny_tensor *t = tiny_get(m, name);
    t->n_dims = rows == 0 ? 1 : 2;
    t->dims[0] = cols;
    t->dims[1] = rows == 0 ? 1 : rows;
    t->dims[2] = t->dims[3] = 1;
    t->type = type;
    t->fill = TINY_FILL;
    t->value = 0.5f;
}

// One bitnet-b1.58 layer: width 16, feed-forward 32, 2 heads of 8, 1 KV head, vocabulary 8; I2_S linears, F16
// embedding.
static inline void tiny_default(tiny_model *m)
{
    memset(m, 0, sizeof *m);
    tiny_string(m, "general.architecture", "bitnet-b1.58");
    tiny_u32(m, "bitnet-b1.58.block_count", 1);
    tiny_u32(m, "bitnet-b1.58.context_length", 64);
    tiny_u32(m, "bitnet-b1.58.embedding_length", 16);
    tiny_u32(m, "bitnet-b1.58.feed_forward_length", 32);
    tiny_u32(m, "bitnet-b1.58.attention.head_count", 2);
    tiny_u32(m, "bitnet-b1.58.attention.head_count_kv", 1);
    tiny_f32(m, "bitnet-b1.58.attention.layer_norm_rms_epsilon", 1e-5f);
    tiny_f32(m, "bitnet-b1.58.rope.freq_base", 10000.0f);
    tiny_u32(m, "bitnet-b1.58.vocab_size", 8);
    tiny_add(m, "token_embd.weight", 16, 8, TINY_F16);
    tiny_add(m, "blk.0.attn_norm.weight", 16, 0, TINY_F32);
    tiny_add(m, "blk.0.attn_sub_norm.weight", 16, 0, TINY_F32);
    tiny_add(m, "blk.0.ffn_norm.weight", 16, 0, TINY_F32);
    tiny_add(m, "blk.0.ffn_sub_norm.weight", 32, 0, TINY_F32);
    tiny_add(m, "blk.0.attn_q.weight", 16, 16, TINY_I2S);
    tiny_add(m, "blk.0.attn_k.weight", 16, 8, TINY_I2S);
    tiny_add(m, "blk.0.attn_v.weight", 16, 8, TINY_I2S);
    tiny_add(m, "blk.0.attn_output.weight", 16, 16, TINY_I2S);
    tiny_add(m, "blk.0.ffn_gate.weight", 16, 32, TINY_I2S);
    tiny_add(m, "blk.0.ffn_up.weight", 16, 32, TINY_I2S);
    tiny_add(m, "blk.0.ffn_down.weight", 32, 16, TINY_I2S);
    tiny_add(m, "output_norm.weight", 16, 0, TINY_F32);
}

// One layer of any architecture, 256 wide with 2 heads of 128 and 1 KV head: linears of one type, F16 embedding, tied.
static inline void tiny_wide(tiny_model *m, const char *arch, uint32_t type)
{
    static const struct {
        const char *name;
        uint64_t cols, rows;
    } linears[] = {{"attn_q", 256, 256},   {"attn_k", 256, 128}, {"attn_v", 256, 128},  {"attn_output", 256, 256},
                   {"ffn_gate", 256, 512}, {"ffn_up", 256, 512}, {"ffn_down", 512, 256}};
    static const char *const sizes[] = {"block_count",         "context_length",       "embedding_length",
                                        "feed_forward_length", "attention.head_count", "attention.head_count_kv",
                                        "vocab_size"};
    static const uint32_t values[] = {1, 64, 256, 512, 2, 1, 64};
    char name[64];
    memset(m, 0, sizeof *m);
    tiny_string(m, "general.architecture", arch);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        snprintf(name, sizeof name, "%s.%s", arch, sizes[i]);
        tiny_u32(m, name, values[i]);
    }
    snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", arch);
    tiny_f32(m, name, 1e-5f);
    tiny_add(m, "token_embd.weight", 256, 64, TINY_F16);
    tiny_add(m, "output_norm.weight", 256, 0, TINY_F32);
    tiny_add(m, "blk.0.attn_norm.weight", 256, 0, TINY_F32);
    tiny_add(m, "blk.0.ffn_norm.weight", 256, 0, TINY_F32);
    if (strncmp(arch, "bitnet", 6) == 0) {
        tiny_add(m, "blk.0.attn_sub_norm.weight", 256, 0, TINY_F32);
        tiny_add(m, "blk.0.ffn_sub_norm.weight", 512, 0, TINY_F32);
    }
    if (strcmp(arch, "qwen3") == 0) {
        tiny_add(m, "blk.0.attn_q_norm.weight", 128, 0, TINY_F32);
        tiny_add(m, "blk.0.attn_k_norm.weight", 128, 0, TINY_F32);
    }
    for (size_t i = 0; i < sizeof linears / sizeof *linears; i++) {
        snprintf(name, sizeof name, "blk.0.%s.weight", linears[i].name);
        tiny_add(m, name, linears[i].cols, linears[i].rows, type);
    }
}

static inline uint64_t tiny_tensor_bytes(const tiny_tensor *t)
{
    uint64_t n = t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3], rows = n / t->dims[0];
    switch (t->type) {
    case TINY_F32: return n * 4;
    case TINY_F16:
    case 30: return n * 2;
    case 8: return n / 32 * 34;
    case 34: return n / 256 * 54;
    case 35: return n / 256 * 66;
    case TINY_I2S:
    case 38:
    case 39: return n / 4 + 32;
    case 41:
    case TINY_Q2_0: return n / 64 * 18;
    case TINY_Q2_0_OLD:
    case 142: return n / 128 * 34;
    case 134: return rows * 2 + n / 64 * 13;
    case 135:
    case 335: return rows * 4 + n / 4;
    case 143: return n / 128 * 28;
    default: return n;
    }
}

static inline void tiny_put_data(bytes *b, const tiny_tensor *t)
{
    uint64_t n = t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    if (t->type == TINY_I2S) {
        put_fill(b, t->fill, n / 4);
        put(b, &t->value, 4);
        put_fill(b, 0, 28);
    } else if (t->type == TINY_F32) {
        for (uint64_t i = 0; i < n; i++) put(b, &t->value, 4);
    } else if (t->type == TINY_F16) {
        for (uint64_t i = 0; i < n; i++) put(b, "\x00\x38", 2); // 0.5
    } else {
        put_fill(b, 0, tiny_tensor_bytes(t));
    }
}

// Writes the file; returns the size of its header, up to the end of the last tensor info.
static inline size_t tiny_write(const tiny_model *m, bytes *b)
{
    put_header(b, 3, m->n_tensors, m->n_values);
    for (size_t i = 0; i < m->n_values; i++) {
        const tiny_value *v = &m->values[i];
        put_key(b, v->key, v->type);
        if (v->type == 8)
            put_string(b, v->s);
        else if (v->type == 6)
            put(b, &v->f, 4);
        else if (v->type == 7)
            put_fill(b, (uint8_t)v->u, 1);
        else
            put_u32(b, v->u);
    }
    uint64_t offset = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const tiny_tensor *t = &m->tensors[i];
        put_tensor(b, t->name, t->n_dims, t->dims, t->type % 10000, offset);
        offset = (offset + tiny_tensor_bytes(t) + 31) / 32 * 32;
    }
    size_t header = b->n;
    for (size_t i = 0; i < m->n_tensors; i++) {
        put_align(b, 32);
        tiny_put_data(b, &m->tensors[i]);
    }
    return header;
}

// A safetensors file from its JSON header and zeroed (or filled) data.
static inline void put_safetensors(bytes *b, const char *json, uint8_t fill, size_t n_data)
{
    put_string(b, json);
    put_fill(b, fill, n_data);
}

#endif
