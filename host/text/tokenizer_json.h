// tokenizer.json, as its readers share it: jansson values whose integers were read as doubles.
#ifndef TERN_TEXT_TOKENIZER_JSON_H
#define TERN_TEXT_TOKENIZER_JSON_H

#include <jansson.h>
#include <string.h>

#include "tokenizer_build.h"

static inline bool is_absent(const json_t *value) { return value == NULL || json_is_null(value); }

static inline const char *type_of(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return type == NULL ? "?" : type;
}

static inline bool is_type(const json_t *object, const char *type) { return strcmp(type_of(object), type) == 0; }

// Checks model, normalizer, pre_tokenizer and decoder, which together say what kind of tokenizer this is: sets the
// vocabulary's spelling, family, normalizer, metaspace and strips_space. UNSUPPORTED names what it does not know.
tern_status tokenizer_json_read_kind(tern_tokenizer *tokenizer, const json_t *root, tern_error *err);

#endif
