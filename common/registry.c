// Finding a device by name over a list of backends.
#include "registry.h"

#include <string.h>

#include "error.h"

// Appends to a NUL-terminated text of fixed size, cutting what does not fit.
static void append(char *text, size_t size, const char *separator, const char *more)
{
    size_t used = strlen(text);
    if (used != 0)
        for (; *separator != 0 && used + 1 < size; separator++) text[used++] = *separator;
    for (; *more != 0 && used + 1 < size; more++) text[used++] = *more;
    text[used] = 0;
}

tern_status registry_find(backend_list backends, const char *name, device_ref *out, tern_error *err)
{
    bool is_auto = strcmp(name, "auto") == 0;
    char names[400] = "", notes[400] = ""; // for the answer when nothing matches

    for (; *backends != NULL; backends++) {
        const backend *b = *backends;
        if (b->api_version != BACKEND_API_VERSION)
            return error_set(err, TERN_INTERNAL, "backend %s speaks interface version %u, expected %d: rebuild it",
                             b->name, b->api_version, BACKEND_API_VERSION);
        const char *note = "";
        size_t n_devices = b->device_count(&note);
        if (n_devices == 0 && note[0] != 0) append(notes, sizeof notes, "; ", note);
        for (size_t i = 0; i < n_devices; i++) {
            device_facts facts;
            tern_error why = {0};
            if (b->device_describe(i, &facts, &why) != TERN_OK) { // a device that cannot say what it is is not offered
                append(notes, sizeof notes, "; ", why.message);
                continue;
            }
            if (is_auto ? !facts.is_chosen_only_by_name : strcmp(facts.name, name) == 0) {
                *out = (device_ref){b, i};
                return TERN_OK;
            }
            append(names, sizeof names, ", ", facts.name);
        }
    }
    return error_set(err, TERN_NO_DEVICE, "no device \"%s\" here; there is: %s%s%s%s", name, names[0] ? names : "none",
                     notes[0] ? " (" : "", notes, notes[0] ? ")" : "");
}
