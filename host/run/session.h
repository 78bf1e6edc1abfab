// Inside a session: what the sampler needs beyond tern.h.
#ifndef TERN_RUN_SESSION_H
#define TERN_RUN_SESSION_H

#include "loaded.h"

uint32_t session_n_vocab(const tern_session *session);
// Ids below this may be sampled: what the tokenizer knows, or all rows without a tokenizer.
uint32_t session_n_valid(const tern_session *session);
tern_model *session_model(const tern_session *session);

#endif
