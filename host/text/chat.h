// Chat formats: which one a model wants, and where a reply ends. Encoding is the tern_chat_* functions of tern.h.
#ifndef TERN_TEXT_CHAT_H
#define TERN_TEXT_CHAT_H

#include "tern.h"

// The first rule that holds, over what tern_model_info says and the vocabulary (tokenizer may be NULL):
//   1. no tokenizer                                                                   plain
//   2. "base" is a word of the name (Falcon3-7B-Base-1.58bit)                         plain
//   3. architecture bitnet*, Llama 3 vocabulary (128000 <|begin_of_text|>, 128009 <|eot_id|>)   bitnet
//   4. special tokens <|im_start|> and <|im_end|> (Qwen 3: Bonsai; Falcon-E)          chatml
//   5. Llama 3 vocabulary with 128006 <|start_header_id|>, 128007 <|end_header_id|>   llama3
//   6. architecture llama, stop token 11 <|endoftext|> (Falcon 3)                     falcon3
//   7. else (1bitLLM, TriLM, the stories model)                                       plain
// *reason (may be NULL) becomes a clause for the user.
tern_chat_format chat_format_guess(const char *architecture, const char *name, const tern_tokenizer *tokenizer,
                                   const char **reason);

// Finds stop texts in a reply that comes piece by piece: lets text through, keeps back what may be the beginning of a
// stop text.
typedef struct chat_stopper {
    const char *const *texts; // borrowed; none empty
    size_t n_texts;
    char *held; // text kept back, then what the last push let through
    size_t n_held, n_out, capacity;
    bool is_stopped;
} chat_stopper;

void chat_stopper_init(chat_stopper *stopper, const char *const *texts, size_t n_texts);
void chat_stopper_free(chat_stopper *stopper);
// *out: text that is certainly part of the reply, valid until the next call. After a stop text was seen is_stopped is
// set and nothing more comes.
tern_status chat_stopper_push(chat_stopper *stopper, const char *text, size_t n, const char **out, size_t *n_out,
                              tern_error *err);
// What is still kept back, up to a stop text in it: then is_stopped is set.
void chat_stopper_finish(chat_stopper *stopper, const char **out, size_t *n_out);

#endif
