// An opened model, whatever it was read from, written as one GGUF v3 file that Tern and the llama.cpp family open.
#ifndef TERN_MODEL_CONVERT_H
#define TERN_MODEL_CONVERT_H

#include "encode.h"
#include "model.h"

// Encoding of token_embd and output.
typedef enum convert_head {
    CONVERT_HEAD_AS_STORED,
    CONVERT_HEAD_F16,
    CONVERT_HEAD_Q8_0, // encode_dense.h
    CONVERT_HEAD_Q6_K,
} convert_head;

typedef struct convert_options {
    encode_type type; // of the ternary matrices
    convert_head head;
    bool verify; // read the finished file back and compare it with the model before it gets its name
    // Keep what was written when the call fails, as OUT.part, and go on from there in a later call. Only for synthetic
    // models, whose weights follow from the keys of the file; ignored otherwise.
    bool is_resumable;
    // May be NULL. Gets bytes of tensor data written (with `verify`, and compared) and in all; returning false ends the
    // call with CANCELLED.
    tern_progress progress;
    void *user;
} convert_options;

typedef struct convert_report {
    char warnings[2][256]; // what the file does not say and the model does, each a sentence; "" if there is none
    char verified[400];    // what was compared and how far apart it is; "" without `verify`
} convert_report;

// Writes `out_path`. `report` may be NULL.
//
// Architecture. The name decides which engines open the file and which graph they build (FORMATS.md 1.6, 5.3):
//   sub-norms, relu^2   I2_S: "bitnet-b1.58", as in the official file; engines that know I2_S know that name.
//                       TQ1_0, TQ2_0, F16: "bitnet", the only BitNet name known to engines without I2_S.
//   sub-norms, SiLU     "bitnet"
//   norms of q and k    "qwen3"
//   none of these       "llama"; Q and K rows of a half-split source are put into the adjacent-pair order which that
//                       name implies (FORMATS.md 5.1), so attention is unchanged.
// Both BitNet names come with ARCH.hidden_activation, since "bitnet" alone does not tell the activation. A model with a
// norm inside each linear (use_rms_norm) is UNSUPPORTED: GGUF has no name for it.
//
// Types. Each ternary linear must fit `type` (encode.h), or the call ends with UNSUPPORTED naming the matrix, the
// reason and the types that can hold it; nothing falls back by itself. Dense matrices keep their stored blocks, bit for
// bit (all their types are GGUF types); only with F16 are dense linears converted to it, rounding to nearest even.
// Embedding and head keep their blocks unless `head` says otherwise; where they are ternary they become F16. Norms
// become F32, exactly. A tied head is not written. A model without ternary linears can only become F16. Such a file,
// and the F16 form of a ternary model, does not say that activations are to be quantised: an engine that runs it as a
// dense model computes with float activations.
//
// Llama-3 frequency scaling becomes the tensor rope_freqs.weight of divisors; linear and yarn scaling are keys. Where
// the model has more rows than the tokenizer ids, tokens "[PADn]" of type 5 (unused) fill the list, as llama.cpp
// demands.
//
// On any failure no new file remains and an existing `out_path` is as it was. INVALID_ARGUMENT if `out_path` is a file
// of the model itself; IO with the system's reason if it cannot be written; INTERNAL if the file, read back, is not
// what was to be written.
tern_status model_convert(const model_source *model, const char *out_path, const convert_options *options,
                          convert_report *report, tern_error *err);

#endif
