// What the readers of GGUF keys and of config.json share.
#ifndef TERN_MODEL_HPARAMS_COMMON_H
#define TERN_MODEL_HPARAMS_COMMON_H

#include "hparams.h"

// UNSUPPORTED, listing what is supported. `what`: "architecture" or "model_type".
tern_status hparams_unsupported_architecture(const char *what, const char *name, tern_error *err);

#endif
