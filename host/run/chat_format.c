// The chat format of an opened model.
#include "chat.h"
#include "loaded.h"

tern_chat_format tern_model_chat_format(const tern_model *model, const char **reason)
{
    const model_source *source = model->source;
    return chat_format_guess(source->hp.architecture, source->name, source->tokenizer, reason);
}
