// An opened model, whatever it was read from, written as one GGUF v3 file that Tern and the llama.cpp family open.
#ifndef TERN_MODEL_CONVERT_H
#define TERN_MODEL_CONVERT_H

#include "encode.h"
#include "model.h"

// Writes `out_path` with the ternary matrices as `type`.
//
// Architecture. The name decides which engines open the file and which graph they build (formats.md 1.6, 5.3):
//   sub-norms, relu^2   I2_S: "bitnet-b1.58", as in the official file; engines that know I2_S know that name.
//                       TQ1_0, TQ2_0, F16: "bitnet", the only BitNet name known to engines without I2_S.
//   sub-norms, SiLU     "bitnet"
//   neither             "llama"; Q and K rows of a half-split source are put into the adjacent-pair order which that
//                       name implies (formats.md 5.1), so attention is unchanged.
// Both BitNet names come with ARCH.hidden_activation, since "bitnet" alone does not tell the activation.
//
// Types. Each ternary matrix must fit `type` (encode.h), or the call ends with UNSUPPORTED naming the matrix, the
// reason and the types that can hold it; nothing falls back by itself. Embedding, head and any dense layer matrix
// keep their stored blocks, bit for bit (F32, F16, BF16, Q8_0, Q4_0, Q4_K and Q6_K are all GGUF types); only with F16
// are dense layer matrices converted to it, rounding to nearest even. Norms become F32, exactly. A tied head is not
// written. A model without ternary matrices can only become F16. Such a file, and the F16 form of a ternary model,
// does not say that activations are to be quantised: an engine that runs it as a dense model computes with float
// activations.
//
// Llama-3 frequency scaling becomes the tensor rope_freqs.weight of divisors; linear scaling stays a key. Where the
// model has more rows than the tokenizer ids, tokens "[PADn]" of type 5 (unused) fill the list, as llama.cpp demands.
//
// `progress` (may be NULL) gets bytes of tensor data written and in all; returning false ends the call with
// CANCELLED. On any failure no new file remains and an existing `out_path` is as it was. INVALID_ARGUMENT if
// `out_path` is a file of the model itself; IO with the system's reason if it cannot be written.
tern_status model_convert(const model_source *model, const char *out_path, encode_type type, tern_progress progress,
                          void *user, tern_error *err);

#endif
