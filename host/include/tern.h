// Tern: ternary (BitNet b1.58) language models. This header is the whole public interface of libtern.
//
// Life of a program:
//     engine   what this machine offers                          tern_engine_open
//     model    an opened file: facts, tokenizer; later weights   tern_model_open, tern_model_load
//     plan     what would go where and whether it fits           tern_plan_make
//     session  sequences of tokens sharing one KV cache          tern_session_create, _sync, _eval
//     sampler  how the next token is chosen                      tern_sampler_create, _sample
//
// Rules that hold everywhere:
//   - A function that can fail returns tern_status and takes a tern_error (may be NULL) as its last parameter.
//     On failure results are untouched (created objects: NULL). No function exits, aborts or prints.
//   - Who creates, frees. Every *_free / *_close accepts NULL. A session keeps its model alive, a model its engine.
//   - Engine, loaded model and tokenizer may be shared by threads; a session or sampler belongs to one thread at a
//   time,
//     except tern_session_cancel, which any thread or signal handler may call.
//   - Option structs are filled by their *_init function first; fields may be added at their end in later versions.
//   - Results are bit for bit the same for every device, thread count, batch size and prefill chunk, unless a plan asks
//     for a float twin's BLAS or for fast attention.
#ifndef TERN_H
#define TERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tern_status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tern_engine tern_engine;
typedef struct tern_model tern_model;
typedef struct tern_tokenizer tern_tokenizer;
typedef struct tern_detokenizer tern_detokenizer;
typedef struct tern_session tern_session;
typedef struct tern_sampler tern_sampler;
typedef int32_t tern_token;

// "0.1.0", and the commit it was built from ("unknown" outside a checkout).
TERN_API const char *tern_version(void);
TERN_API const char *tern_build_commit(void);

// ------------------------------------------------------------------------------------------------------------ engine

// NOTICE: nothing is wrong, but users want to know without asking, as that disk space was taken.
enum { TERN_LOG_DEBUG = 0, TERN_LOG_INFO = 1, TERN_LOG_NOTICE = 2, TERN_LOG_WARN = 3 };

typedef struct tern_engine_options {
    size_t size;                                             // set by tern_engine_options_init
    void (*log)(void *user, int level, const char *message); // NULL: silent
    void *log_user;
    const char *cache_dir; // where compiled device programs and packed weights may be kept between runs; NULL: nowhere
    // Weights that were packed for the CPU are kept in cache_dir for the next start, if a model has at least
    // pack_cache_from bytes of them (64 MiB; UINT64_MAX: never). Those of all models together take at most
    // pack_cache_limit bytes (32 GiB); what was unused for longest goes.
    uint64_t pack_cache_from, pack_cache_limit;
} tern_engine_options;

typedef struct tern_device_info {
    char name[32];               // what -dev takes: "cpu", later "cuda0", "opencl0"
    char backend[16];            // "cpu"
    char description[128];       // "AMD EPYC, 2 threads, AVX2"
    uint64_t memory_total;       // bytes
    uint64_t memory_free;        // bytes that an allocation could get now
    bool is_reference;           // slow and obvious by design
    bool is_chosen_only_by_name; // "auto" passes it over: the reference, and CPUs behind OpenCL
    char note[256];              // what limits it, or empty
} tern_device_info;

TERN_API void tern_engine_options_init(tern_engine_options *options);
TERN_API tern_status tern_engine_open(const tern_engine_options *options, tern_engine **out, tern_error *err);
TERN_API void tern_engine_close(tern_engine *engine);

// Devices in order of preference; index < tern_engine_device_count.
TERN_API size_t tern_engine_device_count(const tern_engine *engine);
TERN_API tern_status tern_engine_device_info(const tern_engine *engine, size_t index, tern_device_info *out,
                                             tern_error *err);
// Opens the device and computes a fingerprint of its arithmetic: true if it gives the bits that every backend is
// defined to give. tern_model_load does the same and warns.
TERN_API tern_status tern_engine_device_probe(const tern_engine *engine, size_t index, bool *is_reproducible,
                                              tern_error *err);
// One sentence for each kind of device that was looked for and cannot be used, and why ("cuda: ..."); "" if none.
// Valid while the engine lives.
TERN_API const char *tern_engine_unused_devices(const tern_engine *engine);

// ------------------------------------------------------------------------------------------------------------- model

typedef struct tern_model_info {
    char name[128];        // general.name, or the last part of the path
    char architecture[32]; // "bitnet-b1.58", "bitnet", "llama"
    char container[32];    // "gguf v3", "safetensors", "synthetic"
    char activation[16];   // "relu2" or "silu"
    char act_quant[16]; // how activations enter ternary products: "int8", "int8x2", "f32", or "none" in a dense model
    char act_quant_reason[128];
    char rope[96];      // "half-split, theta 500000"
    char formats[256];  // tensor types and their count: "I2_S x210, F16 x1, F32 x121"
    char tokenizer[96]; // "byte-level BPE (llama3), 128256 tokens"
    uint32_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab, n_ctx_train;
    float norm_eps;
    bool is_tied, has_sub_norm, has_qk_norm, is_ternary, is_synthetic;
    uint64_t n_params; // all weights
    // Weights and their bytes in the file by class, which add up: ternary matrices wherever they stand, then dense ones
    // (a tied head counts in the embedding), then norms.
    uint64_t n_params_ternary, n_params_embedding, n_params_head, n_params_dense, n_params_norms;
    uint64_t bytes_ternary, bytes_embedding, bytes_head, bytes_dense, bytes_norms;
    uint64_t bytes_file;
} tern_model_info;

// How activations enter ternary products. AUTO: as the model was trained, int8 for BitNet models, int8x2 for
// weight-only ones (TriLM, Bonsai); tern_model_info says which and why.
typedef enum tern_act { TERN_ACT_AUTO = 0, TERN_ACT_INT8 = 1, TERN_ACT_INT8X2 = 2, TERN_ACT_F32 = 3 } tern_act;

// I2_S files come in three packings that nothing in the file tells apart: 128 (x86 builds, the official files), 64 (ARM
// builds after November 2025), row4 (x86 builds without ACT_PARALLEL).
typedef enum tern_i2s_layout { TERN_I2S_128 = 0, TERN_I2S_64 = 1, TERN_I2S_ROW4 = 2 } tern_i2s_layout;

typedef struct tern_model_options {
    size_t size; // set by tern_model_options_init
    tern_act act;
    tern_i2s_layout i2s_layout;
} tern_model_options;

TERN_API void tern_model_options_init(tern_model_options *options);

// Opens and validates a model without loading weights. `path`: a .gguf file, a Hugging Face directory, or
// "synthetic:SHAPE[,seed=N]". `options` may be NULL. Reads only headers, config and tokenizer; the weights stay mapped
// until the model is closed.
TERN_API tern_status tern_model_open(tern_engine *engine, const char *path, const tern_model_options *options,
                                     tern_model **out, tern_error *err);
TERN_API void tern_model_close(tern_model *model);
TERN_API void tern_model_get_info(const tern_model *model, tern_model_info *out);
// Share of zeros among the ternary weights, 0..1, by reading them all; 0 for a dense model.
TERN_API tern_status tern_model_zero_share(const tern_model *model, double *out, tern_error *err);
// NULL for models without a tokenizer (synthetic ones). Borrowed from the model.
TERN_API const tern_tokenizer *tern_model_tokenizer(const tern_model *model);

// -------------------------------------------------------------------------------------------------------------- plan

// INT4: groups of 32 values of a head share a scale; 4.5 bits a value.
typedef enum tern_kv_type { TERN_KV_F32 = 0, TERN_KV_F16 = 1, TERN_KV_INT8 = 2, TERN_KV_INT4 = 3 } tern_kv_type;
// "int8"; "unknown" for a number that is no type.
TERN_API const char *tern_kv_type_name(tern_kv_type type);

// How matrices are held on the device. F16: the float twin of a model, the same graph over weights turned into fp16
// (fp32 where the device's BLAS takes nothing shorter), multiplied by the device's BLAS library where it has one, with
// float activations. For comparison: its results are not those of the model, and with BLAS not the same bits
// everywhere.
typedef enum tern_weights { TERN_WEIGHTS_STORED = 0, TERN_WEIGHTS_F16 = 1 } tern_weights;

// How the embedding and the head are held. INT8 and INT4 are made when the model is loaded, take 1 and about 1/2 byte a
// weight, and are multiplied as exact integers (common/dense.h); a tied model shares the rows.
// SCREEN holds the embedding as stored and the head twice: int4 rows give all logits, then the stored rows those of the
// 256 best tokens, with the bits that STORED gives them; the other logits keep their int4 values. The stored rows are
// the embedding of a tied model; otherwise they lie where the embedding lies, or in pinned host memory if that is the
// CPU's. A token reads 256 of them.
typedef enum tern_head {
    TERN_HEAD_STORED = 0,
    TERN_HEAD_F16 = 1,
    TERN_HEAD_INT8 = 2,
    TERN_HEAD_INT4 = 3,
    TERN_HEAD_SCREEN = 4
} tern_head;
// "stored", "int8", "screen"; "unknown" for a number that is none.
TERN_API const char *tern_head_name(tern_head head);

// How ternary matrices with one scale along their columns are packed on the device: two bits a weight, or 1.6. AUTO:
// T64 unless only T80 fits. Matrices with scales per group are always T64. The bits of results do not depend on it.
typedef enum tern_layout { TERN_LAYOUT_AUTO = 0, TERN_LAYOUT_T64 = 1, TERN_LAYOUT_T80 = 2 } tern_layout;

// Where the table of token embeddings lies, of which a token reads one row. AUTO: in host memory, unless the head is
// the same table or the device is the CPU.
typedef enum tern_embedding {
    TERN_EMBEDDING_AUTO = 0,
    TERN_EMBEDDING_DEVICE = 1,
    TERN_EMBEDDING_HOST = 2
} tern_embedding;

enum { TERN_LAYERS_AUTO = -1, TERN_LAYERS_ALL = -2 };

typedef struct tern_plan_options {
    size_t size;              // set by tern_plan_options_init
    const char *device;       // "auto" (default) or a device name
    uint32_t n_ctx;           // positions of KV cache in all, shared by the sequences; 0: the model's own context
    uint32_t n_sequences;     // 1
    uint32_t n_batch;         // rows evaluated at once at the most (prefill chunk); 512
    tern_kv_type kv_k, kv_v;  // int8
    uint32_t n_threads;       // CPU threads; 0: all this process may use
    uint64_t memory_budget;   // bytes the plan may use; 0: what the device has free
    tern_weights weights;     // stored
    const char *card;         // plan for this card (tern_card_find) instead of a device that is here; NULL: not
    bool is_estimate;         // give the plan also when it does not fit: bytes_total then exceeds memory_budget
    tern_layout layout;       // auto
    tern_embedding embedding; // auto
    int32_t n_gpu_layers;     // the last so many layers, and the head, go to the device, the others to the CPU, as in
                              // llama.cpp; 0: everything to the CPU; AUTO, ALL (auto): all to the device
    int32_t n_streamed; // of the device's layers, the last so many stay in pinned host memory and visit the device
                        // for each step; AUTO (default): none if all fit, else as many as must
    tern_head head;     // stored
    bool is_eager;      // enqueue the ops of every step, even where a device could replay a recorded step
    // Attention of prompts in fp16 on tensor cores: not bit-equal, within the error of OP_FAST_ATTENTION
    // (common/ops.h). Needs f16 K and V and an NVIDIA GPU of sm_80 or later; heads of other sizes than multiples of 8
    // up to 128 keep the defined attention, which the plan then says.
    bool fast_attention;
} tern_plan_options;

// What one place holds, by class.
typedef struct tern_place_bytes {
    uint64_t ternary, dense, embedding, head, norms, rope, kv, workspace, total;
} tern_place_bytes;

// Plain data: may be copied and compared. Every size in bytes.
typedef struct tern_plan {
    char device[32];
    uint32_t n_ctx, n_sequences, n_batch, n_threads;
    tern_kv_type kv_k, kv_v;
    tern_weights weights;
    bool uses_blas;           // products of matrices by a BLAS library
    char products[64];        // how, for reports: "as defined", "CLBlast Sgemm, F32 weights"
    tern_layout layout;       // T64 or T80
    bool is_layout_mixed;     // T80, but some matrices have scales per group and are T64
    tern_embedding embedding; // DEVICE or HOST; of the CPU's layers, if it has some: in their memory
    // Layers in order: first the CPU's, then those resident on the device, then those streamed to it.
    uint32_t n_layers_cpu, n_layers_device, n_layers_streamed;
    // On the device:
    uint64_t bytes_ternary; // packed ternary matrices with their scales
    uint64_t bytes_dense;   // dense matrices of the layers
    uint64_t bytes_embedding, bytes_head, bytes_norms, bytes_rope, bytes_kv, bytes_workspace;
    uint64_t bytes_slots;   // where streamed layers are put in turn
    uint64_t bytes_device;  // what opening the device takes: scratch, staging
    uint64_t bytes_context; // what its driver takes beside: an allowance
    uint64_t bytes_total;
    tern_place_bytes pinned; // host memory that the device reads: streamed layers, embedding, stored rows of a head
    tern_place_bytes cpu;    // the CPU's layers and what they work in
    // Read to decode one token at an empty context: all weights, wherever they are; of these the head's, which only
    // rows with logits read; those that the CPU reads; and what comes over the link to the device first.
    uint64_t bytes_per_token, bytes_head_per_token, bytes_cpu_per_token, bytes_link_per_token;
    uint64_t memory_budget; // what it had to fit
    uint32_t n_ctx_max;     // the largest context that fits with this placement
    char reasons[512];      // sentences on what was decided and why, for people
    tern_head head;
    bool is_eager;
    bool gates_apart; // products of gate and up are stored before they are gated, in some layer at least
    bool fast_attention; // attention of prompts has no defined bits
    char attention[96];  // how it is computed, for reports: "as defined", "fast: not bit-equal, ..."
} tern_plan;

// A graphics card that can be planned for without having one; figures from its maker.
typedef struct tern_card {
    const char *name;        // "rtx4090"
    const char *title;       // "NVIDIA GeForce RTX 4090"
    uint64_t memory;         // bytes
    double gbps;             // memory bandwidth, 1e9 bytes per second
    double int8_tops;        // dense int8 rate of its tensor cores, 1e12 operations per second; 0: not stated
    bool has_fast_attention; // an NVIDIA GPU of sm_80 or later
} tern_card;

TERN_API size_t tern_card_count(void);
TERN_API const tern_card *tern_card_at(size_t i);           // NULL past the end
TERN_API const tern_card *tern_card_find(const char *name); // NULL: not known

TERN_API void tern_plan_options_init(tern_plan_options *options);
// Pure: reads the model's header and the device's facts, allocates nothing. BUDGET if it does not fit; the message
// says the bytes needed, the bytes free and the flags that would fit.
TERN_API tern_status tern_plan_make(const tern_model *model, const tern_plan_options *options, tern_plan *out,
                                    tern_error *err);

// Called now and then while weights move, by the thread that loads; return false to cancel. May be NULL.
typedef bool (*tern_progress)(void *user, uint64_t bytes_done, uint64_t bytes_total);

// Puts the weights where the plan says. Once per model; afterwards the model is immutable. BUDGET if the device's free
// memory no longer covers the plan.
TERN_API tern_status tern_model_load(tern_model *model, const tern_plan *plan, tern_progress progress, void *user,
                                     tern_error *err);
// Bytes on the plan's device (the CPU if all layers are there): planned, without the driver's allowance; held now; and
// held at most so far, both as the backend counts its allocations. All 0 before the model is loaded. Pointers may be
// NULL.
TERN_API void tern_model_memory(const tern_model *model, uint64_t *planned, uint64_t *now, uint64_t *peak);

// --------------------------------------------------------------------------------------------------------- tokenizer

typedef struct tern_tokens {
    tern_token *ids; // owned by this struct
    size_t n, capacity;
} tern_tokens;

enum {
    TERN_TOKENIZE_ADD_BOS = 1,       // begin with BOS if the model wants one
    TERN_TOKENIZE_PARSE_SPECIAL = 2, // text like "<|eot_id|>" becomes that special token; otherwise it is plain text
};

// Appends the tokens of `text` (UTF-8; MALFORMED if not) to `out`, which starts as {0}.
TERN_API tern_status tern_tokenizer_encode(const tern_tokenizer *tokenizer, const char *text, size_t n_bytes, int flags,
                                           tern_tokens *out, tern_error *err);
TERN_API void tern_tokens_free(tern_tokens *tokens);
TERN_API tern_status tern_tokens_append(tern_tokens *tokens, tern_token id, tern_error *err);
// Number of ids the tokenizer knows; a model may have more rows (padding), which are never sampled.
TERN_API uint32_t tern_tokenizer_n_tokens(const tern_tokenizer *tokenizer);
TERN_API tern_token tern_tokenizer_bos(const tern_tokenizer *tokenizer); // -1 if none
TERN_API bool tern_tokenizer_adds_bos(const tern_tokenizer *tokenizer);
TERN_API bool tern_tokenizer_is_stop(const tern_tokenizer *tokenizer, tern_token id); // ends a reply

// Turns ids into text piece by piece, never emitting half a UTF-8 sequence. Tokenizers that put a space before a text
// drop it from the first piece: to continue a text, push its tokens first and discard what they give.
TERN_API tern_status tern_detokenizer_create(const tern_tokenizer *tokenizer, bool show_special, tern_detokenizer **out,
                                             tern_error *err);
TERN_API void tern_detokenizer_free(tern_detokenizer *detokenizer);
// *text is valid until the next call on this object and may be empty; not NUL-terminated.
TERN_API tern_status tern_detokenizer_push(tern_detokenizer *detokenizer, tern_token id, const char **text,
                                           size_t *n_bytes, tern_error *err);
// What is still held back (an incomplete sequence becomes U+FFFD); then ready for a new text.
TERN_API tern_status tern_detokenizer_finish(tern_detokenizer *detokenizer, const char **text, size_t *n_bytes,
                                             tern_error *err);

// -------------------------------------------------------------------------------------------------------------- chat

// How a conversation is written as one token sequence. The template text inside model files is never interpreted: what
// a model expects is one of these.
typedef enum tern_chat_format {
    TERN_CHAT_PLAIN = 0,   // base models: the texts as they are, one after the other
    TERN_CHAT_BITNET = 1,  // "User: ...<|eot_id|>Assistant: "
    TERN_CHAT_LLAMA3 = 2,  // "<|start_header_id|>user<|end_header_id|>\n\n...<|eot_id|>"
    TERN_CHAT_FALCON3 = 3, // "<|user|>\n...\n<|assistant|>\n"
    TERN_CHAT_CHATML = 4,  // "<|im_start|>user\n...<|im_end|>\n"
} tern_chat_format;

// "plain", "bitnet", ...; NULL for a number that is no format.
TERN_API const char *tern_chat_format_name(tern_chat_format format);
// NOT_FOUND names the formats there are.
TERN_API tern_status tern_chat_format_find(const char *name, tern_chat_format *out, tern_error *err);
// The format a model was trained with, judged by architecture, vocabulary and name. *reason (may be NULL): one clause,
// valid forever.
TERN_API tern_chat_format tern_model_chat_format(const tern_model *model, const char **reason);

typedef enum tern_chat_role { TERN_CHAT_SYSTEM = 0, TERN_CHAT_USER = 1, TERN_CHAT_ASSISTANT = 2 } tern_chat_role;

typedef struct tern_chat_message {
    tern_chat_role role;
    const char *content; // UTF-8; special tokens spelled in it are plain text
    size_t n_bytes;
    // The ids the model generated for this content, used instead of it, so that a session's KV cache keeps its prefix.
    // NULL: none. Only for replies.
    const tern_token *ids;
    size_t n_ids;
} tern_chat_message;

typedef struct tern_chat tern_chat;

// A format over a vocabulary. The tokenizer must outlive it.
TERN_API tern_status tern_chat_create(const tern_tokenizer *tokenizer, tern_chat_format format, tern_chat **out,
                                      tern_error *err);
TERN_API void tern_chat_free(tern_chat *chat);
// Appends the whole conversation to `out`: BOS once where the format has one, the messages, and if asked the beginning
// of a reply. INVALID_ARGUMENT names a message with an unknown role, or one with ids that is not a reply; MALFORMED one
// that is not UTF-8.
TERN_API tern_status tern_chat_encode(const tern_chat *chat, const tern_chat_message *messages, size_t n_messages,
                                      bool begin_reply, tern_tokens *out, tern_error *err);
// The id ends a reply: a stop token of the model or a marker of the format.
TERN_API bool tern_chat_is_stop(const tern_chat *chat, tern_token id);
// Markers of the format that this vocabulary has no token for: they are written as plain text, and a reply ends where
// one appears in its text. *n is usually 0. Valid while the object lives.
TERN_API const char *const *tern_chat_stop_texts(const tern_chat *chat, size_t *n);

// ----------------------------------------------------------------------------------------------------------- session

typedef struct tern_row {
    uint32_t sequence; // < the plan's n_sequences
    tern_token token;  // appended at the sequence's current end
    bool wants_logits;
} tern_row;

typedef struct tern_session_stats {
    uint64_t n_rows; // evaluated so far
    uint64_t n_evals;
    uint64_t ns_eval;       // wall time inside evaluation
    uint64_t bytes_weights; // weight bytes read so far, as planned
} tern_session_stats;

// KV cache and workspace as the loaded plan says. The model must be loaded.
TERN_API tern_status tern_session_create(tern_model *model, tern_session **out, tern_error *err);
TERN_API void tern_session_free(tern_session *session);

// Evaluates rows of any sequences; rows of one sequence take consecutive positions in the order given. Sequences hold
// their previous tokens. n_rows <= n_batch. On failure no sequence has grown. CONTEXT_FULL when KV blocks run out.
TERN_API tern_status tern_session_eval(tern_session *session, const tern_row *rows, size_t n_rows, tern_error *err);

// Makes `sequence` hold exactly `tokens`: keeps the common prefix, drops the rest, evaluates what is missing in chunks.
// The logits of the last token are ready afterwards as row 0 (at least that token is evaluated again). *n_reused
// (may be NULL): tokens kept. Cancelled or failed: the sequence holds the chunks that were complete.
TERN_API tern_status tern_session_sync(tern_session *session, uint32_t sequence, const tern_token *tokens, size_t n,
                                       size_t *n_reused, tern_error *err);
TERN_API size_t tern_session_length(const tern_session *session, uint32_t sequence);
// Drops everything from position `length` on.
TERN_API tern_status tern_session_trim(tern_session *session, uint32_t sequence, size_t length, tern_error *err);

// Logits of the i-th row of the last evaluation that wanted them: float32 [n_vocab], valid until the next call that
// takes this session. Ask for rows in ascending order: heads of many rows are computed a block at a time.
TERN_API tern_status tern_session_logits(tern_session *session, size_t i, const float **out, tern_error *err);
TERN_API size_t tern_session_n_logits(const tern_session *session);
// The k largest logits of that row, larger first, ties to the lower id; k <= 256. Padding rows of the vocabulary are
// left out.
TERN_API tern_status tern_session_top(tern_session *session, size_t i, size_t k, tern_token *ids, float *logits,
                                      tern_error *err);

// Makes a running or the next evaluation end with CANCELLED. Safe from any thread and from signal handlers.
TERN_API void tern_session_cancel(tern_session *session);
// Withdraws a request that found nothing to cancel.
TERN_API void tern_session_clear_cancel(tern_session *session);
TERN_API void tern_session_get_stats(const tern_session *session, tern_session_stats *out);

// ----------------------------------------------------------------------------------------------------------- sampler

typedef struct tern_logit_bias {
    tern_token id;
    float bias; // added to the logit; -INFINITY forbids the token
} tern_logit_bias;

typedef struct tern_sampler_options {
    size_t size;                               // set by tern_sampler_options_init
    float temperature;                         // 0.8; 0: greedy
    uint32_t top_k;                            // 40; 0: all
    float top_p;                               // 0.95; 1: off
    float min_p;                               // 0.05; 0: off
    float repeat_penalty;                      // 1: off
    uint32_t repeat_last_n;                    // 64 tokens are looked back at; 0: none
    float presence_penalty, frequency_penalty; // 0: off
    uint64_t seed;                             // 0
    const tern_logit_bias *bias;
    size_t n_bias;
} tern_sampler_options;

TERN_API void tern_sampler_options_init(tern_sampler_options *options);
TERN_API tern_status tern_sampler_create(const tern_sampler_options *options, tern_sampler **out, tern_error *err);
TERN_API void tern_sampler_free(tern_sampler *sampler);
// Tells the penalties about a token that is now part of the text.
TERN_API tern_status tern_sampler_accept(tern_sampler *sampler, tern_token id, tern_error *err);
// Chooses from row i of the session's last evaluation. The same options, seed and rows give the same tokens everywhere.
TERN_API tern_status tern_sampler_sample(tern_sampler *sampler, tern_session *session, size_t i, tern_token *out,
                                         tern_error *err);

// -------------------------------------------------------------------------------------------------------- generation

// Receives a token when it is chosen; return false to stop.
typedef bool (*tern_token_callback)(void *user, tern_token id);

// Continues `sequence`, whose last token's logits are row 0 of the last evaluation, by up to n tokens: each is chosen
// by the sampler, given to on_token and, where that returns true, accepted by the sampler and evaluated; the last of n
// is not evaluated. A greedy sampler (temperature 0, no penalties, no bias) lets the device go on from token to token
// without waiting for the host; tokens and errors are the same. Afterwards there may be no logits. In on_token, nothing
// may be called that takes this session but tern_session_cancel.
TERN_API tern_status tern_generate_tokens(tern_session *session, tern_sampler *sampler, uint32_t sequence, size_t n,
                                          tern_token_callback on_token, void *user, tern_error *err);

// ------------------------------------------------------------------------------------------------------- convenience

// Receives text as it comes; return false to stop.
typedef bool (*tern_text_callback)(void *user, const char *text, size_t n_bytes);

// Continues `prompt` on sequence 0 by up to n_tokens (stops at a stop token). *n_generated may be NULL.
TERN_API tern_status tern_generate(tern_session *session, tern_sampler *sampler, const char *prompt, size_t n_tokens,
                                   tern_text_callback on_text, void *user, size_t *n_generated, tern_error *err);

#ifdef __cplusplus
}
#endif
#endif
