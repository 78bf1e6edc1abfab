// What kind of tokenizer a tokenizer.json describes: byte-level BPE behind one of the known splitters, or BPE over the
// pieces of SentencePiece with bytes to fall back on.
#include "tokenizer_json.h"

static tern_status check_model(const json_t *model, tern_error *err)
{
    if (!json_is_object(model)) return error_set(err, TERN_MALFORMED, "\"model\" is missing");
    // Old files leave the type out.
    if (!is_absent(json_object_get(model, "type")) && !is_type(model, "BPE"))
        return error_set(err, TERN_UNSUPPORTED, "model type \"%.64s\" is not supported, only BPE", type_of(model));
    if (!json_is_object(json_object_get(model, "vocab")))
        return error_set(err, TERN_MALFORMED, "\"model.vocab\" is missing");
    if (!json_is_array(json_object_get(model, "merges")))
        return error_set(err, TERN_MALFORMED, "\"model.merges\" is missing");
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *affix = json_object_get(model, affixes[i]);
        if (!is_absent(affix) && json_string_length(affix) != 0)
            return error_set(err, TERN_UNSUPPORTED, "\"model.%s\" is not supported", affixes[i]);
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (!is_absent(dropout) && !(json_is_real(dropout) && json_real_value(dropout) == 0.0))
        return error_set(err, TERN_UNSUPPORTED, "\"model.dropout\" makes the tokens random");
    return TERN_OK;
}

static tern_status read_split(const json_t *split, const splitter_family **out, tern_error *err)
{
    const char *regex = json_string_value(json_object_get(json_object_get(split, "pattern"), "Regex"));
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    if (regex == NULL)
        return error_set(err, TERN_UNSUPPORTED, "a Split pre_tokenizer without a Regex is not supported");
    if (behavior == NULL || strcmp(behavior, "Isolated") != 0 || json_is_true(json_object_get(split, "invert")))
        return error_set(err, TERN_UNSUPPORTED, "a Split pre_tokenizer must be \"Isolated\" and not inverted");
    *out = splitter_by_regex(regex);
    if (*out == NULL) return error_set(err, TERN_UNSUPPORTED, "the pre_tokenizer's regex is not known: %.300s", regex);
    return TERN_OK;
}

// ByteLevel alone, or behind a Split. Sets the family.
static tern_status read_byte_level(tern_tokenizer *tokenizer, const json_t *value, tern_error *err)
{
    const json_t *steps = is_type(value, "Sequence") ? json_object_get(value, "pretokenizers") : NULL;
    const json_t *split = json_array_size(steps) == 2 ? json_array_get(steps, 0) : NULL;
    const json_t *last = json_array_size(steps) == 0 ? value : json_array_get(steps, json_array_size(steps) - 1);
    // ByteLevel alone splits by the GPT-2 expression; after a Split it only maps bytes.
    const json_t *use_regex = json_object_get(last, "use_regex");
    bool splits_itself = is_absent(use_regex) || json_is_true(use_regex);
    if (!is_type(last, "ByteLevel") || json_array_size(steps) > 2 || (split != NULL && !is_type(split, "Split")) ||
        splits_itself == (split != NULL))
        return error_set(err, TERN_UNSUPPORTED, "pre_tokenizer %.64s (%.64s, %zu steps) is not supported",
                         type_of(value), type_of(split != NULL ? split : last), json_array_size(steps));
    if (json_is_true(json_object_get(last, "add_prefix_space")))
        return error_set(err, TERN_UNSUPPORTED, "pre_tokenizer ByteLevel with add_prefix_space is not supported");
    if (split != NULL) return read_split(split, &tokenizer->family, err);
    tokenizer->family = &splitter_gpt2;
    return TERN_OK;
}

static bool says(const json_t *object, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value != NULL && strcmp(value, text) == 0;
}

static tern_status read_metaspace(tern_tokenizer *tokenizer, const json_t *value, tern_error *err)
{
    metaspace *m = &tokenizer->metaspace;
    const json_t *scheme = json_object_get(value, "prepend_scheme"), *add = json_object_get(value, "add_prefix_space");
    const json_t *split = json_object_get(value, "split");
    if (!says(value, "replacement", VOCAB_SPACE))
        return error_set(err, TERN_UNSUPPORTED, "a Metaspace pre_tokenizer must replace by U+2581");
    m->is_used = true;
    m->splits = is_absent(split) || json_is_true(split);
    // Older files say add_prefix_space instead of the scheme.
    if (is_absent(scheme))
        m->prefix = is_absent(add) || json_is_true(add) ? PREFIX_MISSING : PREFIX_NONE;
    else if (says(value, "prepend_scheme", "always"))
        m->prefix = PREFIX_MISSING;
    else if (says(value, "prepend_scheme", "first"))
        m->prefix = PREFIX_FIRST;
    else if (says(value, "prepend_scheme", "never"))
        m->prefix = PREFIX_NONE;
    else
        return error_set(err, TERN_UNSUPPORTED, "the prepend_scheme of the Metaspace pre_tokenizer is not known");
    return TERN_OK;
}

static tern_status read_normalizer(tern_tokenizer *tokenizer, const json_t *value, bool is_step, tern_error *err)
{
    text_normalizer *n = &tokenizer->normalizer;
    if (is_absent(value)) return TERN_OK;
    if (is_type(value, "NFC")) {
        n->nfc = true;
        return TERN_OK;
    }
    // A space that is prepended must be one that has been, or will be, replaced.
    if (is_type(value, "Prepend") && says(value, "prepend", VOCAB_SPACE) && !n->prepends_space) {
        n->prepends_space = true;
        return TERN_OK;
    }
    if (is_type(value, "Replace") && says(json_object_get(value, "pattern"), "String", " ") &&
        says(value, "content", VOCAB_SPACE)) {
        n->maps_spaces = true;
        return TERN_OK;
    }
    if (!is_type(value, "Sequence") || is_step)
        return error_set(err, TERN_UNSUPPORTED, "normalizer \"%.64s\" is not supported%s", type_of(value),
                         is_type(value, "Prepend") || is_type(value, "Replace") ? " in this form" : "");
    size_t i;
    json_t *step;
    json_array_foreach(json_object_get(value, "normalizers"), i, step)
    {
        tern_status status = read_normalizer(tokenizer, step, true, err);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

// The decoder of a byte-level vocabulary, also as the only kind of step of a Sequence.
static tern_status check_byte_decoder(const json_t *decoder, tern_error *err)
{
    if (is_absent(decoder) || is_type(decoder, "ByteLevel")) return TERN_OK;
    size_t i;
    json_t *step;
    bool is_sequence = is_type(decoder, "Sequence");
    json_array_foreach(json_object_get(decoder, "decoders"), i, step)
    {
        if (is_sequence && !is_type(step, "ByteLevel"))
            return error_set(err, TERN_UNSUPPORTED, "decoder \"%.64s\" is not supported", type_of(step));
    }
    return is_sequence ? TERN_OK
                       : error_set(err, TERN_UNSUPPORTED, "decoder \"%.64s\" is not supported", type_of(decoder));
}

// Replace U+2581 by a space (or Metaspace), ByteFallback, Fuse, and perhaps Strip one space in front.
static tern_status read_piece_decoder(tern_tokenizer *tokenizer, const json_t *decoder, tern_error *err)
{
    bool has_spaces = false, has_bytes = false;
    size_t i;
    json_t *step;
    json_array_foreach(json_object_get(decoder, "decoders"), i, step)
    {
        const json_t *start = json_object_get(step, "start"), *stop = json_object_get(step, "stop");
        if (is_type(step, "Replace") && says(json_object_get(step, "pattern"), "String", VOCAB_SPACE) &&
            says(step, "content", " ")) {
            has_spaces = true;
        } else if (is_type(step, "Metaspace") && says(step, "replacement", VOCAB_SPACE)) {
            has_spaces = true;
            if (!says(step, "prepend_scheme", "never")) tokenizer->strips_space = true;
        } else if (is_type(step, "Strip") && says(step, "content", " ") && json_real_value(stop) == 0.0 &&
                   (json_real_value(start) == 0.0 || json_real_value(start) == 1.0)) {
            if (json_real_value(start) == 1.0) tokenizer->strips_space = true;
        } else if (is_type(step, "ByteFallback")) {
            has_bytes = true;
        } else if (!is_type(step, "Fuse")) {
            return error_set(err, TERN_UNSUPPORTED, "decoder step \"%.64s\" is not supported in this form",
                             type_of(step));
        }
    }
    if (!is_type(decoder, "Sequence") || !has_spaces || !has_bytes)
        return error_set(err, TERN_UNSUPPORTED,
                         "decoder \"%.64s\" is not supported: pieces need one of Replace, ByteFallback, Fuse and Strip",
                         type_of(decoder));
    return TERN_OK;
}

tern_status tokenizer_json_read_kind(tern_tokenizer *tokenizer, const json_t *root, tern_error *err)
{
    const json_t *model = json_object_get(root, "model"), *pre = json_object_get(root, "pre_tokenizer");
    const json_t *decoder = json_object_get(root, "decoder");
    const text_normalizer *normalizer = &tokenizer->normalizer;
    tern_status status = check_model(model, err);
    if (status == TERN_OK) status = read_normalizer(tokenizer, json_object_get(root, "normalizer"), false, err);
    if (status != TERN_OK) return status;
    if (!is_absent(pre) && !is_type(pre, "Metaspace")) {
        if (normalizer->prepends_space || normalizer->maps_spaces)
            return error_set(err, TERN_UNSUPPORTED,
                             "pre_tokenizer %.64s behind a normalizer of spaces is not supported", type_of(pre));
        status = read_byte_level(tokenizer, pre, err);
        return status == TERN_OK ? check_byte_decoder(decoder, err) : status;
    }
    tokenizer->vocab.spelling = VOCAB_PIECES;
    if (!json_is_true(json_object_get(model, "byte_fallback")))
        return error_set(err, TERN_UNSUPPORTED, "a vocabulary of pieces without byte_fallback is not supported");
    if (!is_absent(pre)) status = read_metaspace(tokenizer, pre, err);
    if (status == TERN_OK && (normalizer->prepends_space ? !normalizer->maps_spaces || tokenizer->metaspace.is_used
                                                         : !normalizer->maps_spaces && !tokenizer->metaspace.is_used))
        status = error_set(err, TERN_UNSUPPORTED,
                           "pieces need their spaces replaced, by the normalizer (Prepend, Replace) or by Metaspace");
    return status == TERN_OK ? read_piece_decoder(tokenizer, decoder, err) : status;
}
