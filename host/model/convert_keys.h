// The keys of a converted file: what it is, its hyper-parameters, its tokenizer.
#ifndef TERN_MODEL_CONVERT_KEYS_H
#define TERN_MODEL_CONVERT_KEYS_H

#include "encode.h"
#include "gguf_write.h"
#include "model.h"

// Adds every key of the file to the writer. UNSUPPORTED when the model's tokenizer cannot be written.
//
// Tokenizer: from a GGUF source, keys of tokenizer.* that the reader does not interpret (templates, further special
// ids) are carried over as they are, and all of them when the tokenizer is of a kind that this build cannot run. A
// synthetic model, or a GGUF source without a tokenizer, gets the kind "no_vocab".
tern_status convert_add_keys(const model_source *model, encode_type type, const char *architecture, gguf_writer *w,
                             tern_error *err);

#endif
