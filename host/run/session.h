// Inside a session: what sampling and generation need beyond tern.h.
#ifndef TERN_RUN_SESSION_H
#define TERN_RUN_SESSION_H

#include "loaded.h"

uint32_t session_n_vocab(const tern_session *session);
// Ids below this may be sampled: what the tokenizer knows, or all rows without a tokenizer.
uint32_t session_n_valid(const tern_session *session);
tern_model *session_model(const tern_session *session);

// Evaluates `first` at the end of the sequence, then the best token of its logits, and so on, n evaluations in all;
// each best token goes to on_token, in order, until that returns false. The same tokens and errors as tern_session_eval
// and tern_session_top in turn, but the device goes on by itself: the next step is under way when on_token is called,
// and dropped if nobody wants it. The sequence then ends with the token whose successor was refused, and there are no
// logits unless all n were wanted.
tern_status session_decode_greedy(tern_session *session, uint32_t sequence, tern_token first, size_t n,
                                  tern_token_callback on_token, void *user, tern_error *err);

// The sampler takes the best logit, whatever was chosen before.
bool sampler_is_greedy(const tern_sampler *sampler);

#endif
