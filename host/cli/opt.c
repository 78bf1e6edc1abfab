#include "opt.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *opt_item(const char **cursor, char separator, size_t *n)
{
    const char *start = *cursor;
    if (!start || !*start) return NULL;
    const char *end = strchr(start, separator);
    *n = end ? (size_t)(end - start) : strlen(start);
    *cursor = end ? end + 1 : start + *n;
    return start;
}

static bool has_item(const char *list, char separator, const char *item, size_t n_item)
{
    const char *at;
    size_t n;
    while ((at = opt_item(&list, separator, &n)))
        if (n == n_item && memcmp(at, item, n) == 0) return true;
    return false;
}

const opt_spec *opt_find(command_id command, const char *name, size_t n_name)
{
    for (size_t i = 0; i < opt_table_size; i++)
        if ((opt_table[i].commands >> command & 1) && has_item(opt_table[i].names, ' ', name, n_name))
            return &opt_table[i];
    return NULL;
}

// ------------------------------------------------------------------------------------------------- nearest names

// Edits (insertion, deletion, replacement, exchange of neighbours) that turn a into b; names longer than the table
// count as far away.
static size_t edit_distance(const char *a, size_t n_a, const char *b, size_t n_b)
{
    enum { LONGEST = 40 };
    size_t row[3][LONGEST + 1] = {{0}};
    if (n_a > LONGEST || n_b > LONGEST) return LONGEST;
    for (size_t j = 0; j <= n_b; j++) row[0][j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t *now = row[i % 3], *before = row[(i + 2) % 3], *earlier = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            size_t best = before[j - 1] + (a[i - 1] != b[j - 1]);
            if (before[j] + 1 < best) best = before[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && earlier[j - 2] + 1 < best)
                best = earlier[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n_a % 3][n_b];
}

// How many edits still count as a slip: about a third of the name.
static bool is_near(size_t distance, size_t n_name) { return distance <= 1 + n_name / 4 && distance < n_name; }

static size_t dashes(const char *name, size_t n)
{
    size_t count = 0;
    while (count < n && count < 2 && name[count] == '-') count++;
    return count;
}

// Fills the hint for an option nobody knows: the nearest name of this command, or the commands that do take it.
static void hint_for_option(command_id command, const char *name, size_t n_name, opt_hint *hint)
{
    size_t best = SIZE_MAX, n_best = 0;
    const char *nearest = NULL;
    size_t skip = dashes(name, n_name);
    for (size_t i = 0; i < opt_table_size; i++) {
        if (!(opt_table[i].commands >> command & 1)) continue;
        const char *names = opt_table[i].names, *at;
        size_t n;
        while ((at = opt_item(&names, ' ', &n))) {
            size_t own = dashes(at, n); // the wrong number of dashes costs nothing
            size_t distance = edit_distance(name + skip, n_name - skip, at + own, n - own);
            if (distance < best) best = distance, nearest = at, n_best = n;
        }
    }
    const char *command_name = opt_commands[command].name;
    for (int other = 0; other < COMMAND_N; other++)
        if (opt_find((command_id)other, name, n_name)) {
            snprintf(hint->text, sizeof hint->text, "%.*s belongs to `tern %s`; see `tern help %s`", (int)n_name, name,
                     opt_commands[other].name, command_name);
            return;
        }
    if (nearest && is_near(best, n_name - skip))
        snprintf(hint->text, sizeof hint->text, "did you mean %.*s?", (int)n_best, nearest);
    else
        snprintf(hint->text, sizeof hint->text, "see `tern help %s`", command_name);
}

bool opt_find_command(const char *name, command_id *out, opt_hint *hint)
{
    size_t best = SIZE_MAX;
    int nearest = 0;
    for (int i = 0; i < COMMAND_N; i++) {
        if (strcmp(opt_commands[i].name, name) == 0) {
            *out = (command_id)i;
            return true;
        }
        size_t distance = edit_distance(name, strlen(name), opt_commands[i].name, strlen(opt_commands[i].name));
        if (distance < best) best = distance, nearest = i;
    }
    if (is_near(best, strlen(name)))
        snprintf(hint->text, sizeof hint->text, "did you mean `tern %s`?", opt_commands[nearest].name);
    else
        snprintf(hint->text, sizeof hint->text, "`tern help` lists the commands");
    return false;
}

// ---------------------------------------------------------------------------------------------------------- values

// "f32, f16 or int8", other programs' names left out.
static void list_choices(const char *choices, char *out, size_t n_bytes)
{
    const char *at;
    size_t n, length = 0;
    while ((at = opt_item(&choices, '|', &n)) && length < n_bytes) {
        if (memchr(at, '=', n)) continue;
        const char *rest = choices;
        size_t n_next;
        const char *next = opt_item(&rest, '|', &n_next);
        bool is_last = !next || memchr(next, '=', n_next) != NULL;
        length += (size_t)snprintf(out + length, n_bytes - length, "%s%.*s",
                                   length == 0 ? ""
                                   : is_last   ? " or "
                                               : ", ",
                                   (int)n, at);
    }
}

void opt_describe_values(const opt_spec *spec, char *out, size_t n_bytes)
{
    out[0] = 0;
    switch (spec->kind) {
    case OPT_SWITCH: break;
    case OPT_TEXT: snprintf(out, n_bytes, "text"); break;
    case OPT_PATH: snprintf(out, n_bytes, "a path"); break;
    case OPT_INTEGER: {
        int n = snprintf(out, n_bytes, "a whole number from %.0f to %.0f", spec->min, spec->max);
        if (spec->choices == NULL || n < 0 || (size_t)n + 5 > n_bytes) break;
        n += snprintf(out + n, n_bytes - (size_t)n, ", %s", strchr(spec->choices, '|') ? "" : "or ");
        list_choices(spec->choices, out + n, n_bytes - (size_t)n);
        break;
    }
    case OPT_REAL: snprintf(out, n_bytes, "a number from %g to %g", spec->min, spec->max); break;
    case OPT_SIZE: snprintf(out, n_bytes, "bytes, such as 800MiB, 24G or 90%%"); break;
    case OPT_LIST: snprintf(out, n_bytes, "whole numbers from 0 to %.0f with commas between", spec->max); break;
    case OPT_SWEEP:
        snprintf(out, n_bytes, "numbers up to %.0f or ranges such as 128-1024*2, with commas between", spec->max);
        break;
    case OPT_CHOICE: list_choices(spec->choices, out, n_bytes);
    }
}

// A value in a message: cut, so that an endless argument cannot push the range out of sight.
#define SHOWN 60

static tern_status refuse_value(const opt_spec *spec, const char *name, const char *text, tern_error *err)
{
    char accepted[128];
    opt_describe_values(spec, accepted, sizeof accepted);
    return error_set(err, TERN_INVALID_ARGUMENT, "%s takes %s, not '%.*s'", name, accepted, SHOWN, text);
}

static bool parse_integer(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || isspace((unsigned char)*text)) return false;
    *out = value;
    return true;
}

static bool parse_real(const char *text, double *out)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || isspace((unsigned char)*text)) return false;
    *out = value;
    return true;
}

tern_status opt_parse_size(const char *name, const char *text, opt_value *out, tern_error *err)
{
    char *end;
    double number = strtod(text, &end);
    static const char units[] = "KMGT";
    bool is_number = end != text && isfinite(number) && number > 0 && !isspace((unsigned char)*text);
    if (is_number && strcmp(end, "%") == 0 && number <= 100) {
        out->is_percent = true;
        out->real = number;
        return TERN_OK;
    }
    double factor = 1;
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        end++;
        factor = ldexp(1, 10 * (int)(unit - units + 1));
        if (*end == 'i') end++;
    }
    if (*end == 'B' || *end == 'b') end++;
    // 2^63 bytes: everything below converts to uint64_t without surprises.
    if (!is_number || *end || number * factor >= 0x1p63 || number * factor < 1)
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "%s takes a size such as 800MiB, 24G (powers of 1024) or a percentage up to 100%%, not '%.*s'",
                         name, SHOWN, text);
    out->is_percent = false;
    out->bytes = (uint64_t)(number * factor);
    return TERN_OK;
}

tern_status opt_parse_list(const char *name, const char *text, double max, int32_t **out, size_t *n, tern_error *err)
{
    size_t n_items = 1, i = 0;
    for (const char *c = text; *c; c++) n_items += *c == ',';
    int32_t *items = malloc(n_items * sizeof *items);
    if (!items) return error_set(err, TERN_HOST_MEMORY, "%s: no memory for %zu numbers", name, n_items);
    const char *at = text;
    for (; i < n_items; i++) {
        char *end;
        errno = 0;
        long long value = strtoll(at, &end, 10);
        bool is_number = end != at && !errno;
        while (*end == ' ') end++;
        if (!is_number || (*end && *end != ',') || value < 0 || (double)value > max || value > INT32_MAX) {
            free(items);
            return error_set(err, TERN_INVALID_ARGUMENT,
                             "%s takes whole numbers from 0 to %.0f with commas between; entry %zu is '%.*s'", name,
                             max, i + 1, (int)(strcspn(at, ",") < SHOWN ? strcspn(at, ",") : SHOWN), at);
        }
        items[i] = (int32_t)value;
        at = *end ? end + 1 : end;
    }
    *out = items;
    *n = n_items;
    return TERN_OK;
}

// A whole number with an optional unit k, at *at, which is advanced.
static bool parse_count(const char **at, double max, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = isdigit((unsigned char)**at) ? strtoll(*at, &end, 10) : -1;
    if (value < 0 || errno || value > INT32_MAX) return false;
    if (*end == 'k' || *end == 'K') value *= 1024, end++;
    if ((double)value > max || value > INT32_MAX) return false;
    *at = end;
    *out = value;
    return true;
}

#define SWEEP_MAX 4096 // entries: more is a slip

// One item, "N", "A-B", "A-B+STEP" or "A-B*FACTOR", appended to items, which has room for SWEEP_MAX.
static bool parse_range(const char **at, double max, int32_t *items, size_t *n)
{
    int64_t first, last, step = 1;
    bool multiplies = false;
    if (!parse_count(at, max, &first)) return false;
    last = first;
    if (**at == '-') {
        ++*at;
        if (!parse_count(at, max, &last) || last < first) return false;
        if (**at == '+' || **at == '*') {
            multiplies = *(*at)++ == '*';
            if (!parse_count(at, max, &step) || step < (multiplies ? 2 : 1) || (multiplies && first == 0)) return false;
        }
    }
    for (int64_t value = first; value <= last; value = multiplies ? value * step : value + step) {
        if (*n == SWEEP_MAX) return false;
        items[(*n)++] = (int32_t)value;
    }
    return true;
}

tern_status opt_parse_sweep(const char *name, const char *text, double max, int32_t **out, size_t *n, tern_error *err)
{
    int32_t *items = malloc(SWEEP_MAX * sizeof *items);
    if (!items) return error_set(err, TERN_HOST_MEMORY, "%s: no memory for a list", name);
    size_t n_items = 0, n_parsed = 0;
    const char *at = text;
    for (bool more = true; more; n_parsed++) {
        const char *item = at;
        while (*at == ' ') at++;
        bool is_range = parse_range(&at, max, items, &n_items);
        while (*at == ' ') at++;
        if (!is_range || (*at && *at != ',')) {
            free(items);
            return error_set(err, TERN_INVALID_ARGUMENT,
                             "%s takes whole numbers from 0 to %.0f, or ranges such as 128-1024*2 and 1-9+2, with "
                             "commas between; entry %zu is '%.*s'",
                             name, max, n_parsed + 1, (int)(strcspn(item, ",") < SHOWN ? strcspn(item, ",") : SHOWN),
                             item);
        }
        more = *at == ',';
        at += more;
    }
    *out = items;
    *n = n_items;
    return TERN_OK;
}

tern_status opt_parse_bias(const char *name, const char *text, int32_t *id, float *bias, tern_error *err)
{
    char *sign, *end;
    errno = 0;
    long long value = strtoll(text, &sign, 10);
    bool has_id = sign != text && !errno && value >= 0 && value <= INT32_MAX && isdigit((unsigned char)*text);
    if (!has_id || (*sign != '+' && *sign != '-'))
        return error_set(err, TERN_INVALID_ARGUMENT,
                         "%s takes ID+BIAS or ID-BIAS, such as 15043+1 or 15043-inf, not '%.*s'", name, SHOWN, text);
    float x = strtof(sign, &end);
    if (end == sign || *end || isnan(x) || x == INFINITY)
        return error_set(err, TERN_INVALID_ARGUMENT, "%s: the bias of token %lld must be a number or -inf, not '%.*s'",
                         name, value, SHOWN, sign);
    *id = (int32_t)value;
    *bias = x;
    return TERN_OK;
}

// Position of a choice in its list, -1 if it is not there; for another program's name, that of the one it stands for.
static int choice_index(const char *choices, const char *text, size_t n_text)
{
    const char *cursor = choices, *at;
    size_t n;
    for (int i = 0; (at = opt_item(&cursor, '|', &n)); i++) {
        const char *stands_for = memchr(at, '=', n);
        size_t n_name = stands_for ? (size_t)(stands_for - at) : n;
        if (n_name != n_text || memcmp(at, text, n_text) != 0) continue;
        return stands_for ? choice_index(choices, stands_for + 1, n - n_name - 1) : i;
    }
    return -1;
}

static tern_status parse_choice(const opt_spec *spec, const char *name, const char *text, opt_value *out,
                                tern_error *err)
{
    size_t n_text = strlen(text);
    int index = choice_index(spec->choices, text, n_text);
    if (index >= 0) {
        out->integer = index;
        return TERN_OK;
    }
    if (has_item(spec->refused, '|', text, n_text)) {
        char accepted[128];
        opt_describe_values(spec, accepted, sizeof accepted);
        return error_set(err, TERN_INVALID_ARGUMENT, "%s: %s is not supported yet; there are %s", name, text, accepted);
    }
    return refuse_value(spec, name, text, err);
}

tern_status opt_parse_choices(const opt_spec *spec, const char *name, const char *text, int32_t **out, size_t *n,
                              tern_error *err)
{
    size_t n_items = 1;
    for (const char *c = text; *c; c++) n_items += *c == ',';
    int32_t *items = malloc(n_items * sizeof *items);
    char *copy = strdup(text), *at = copy;
    tern_status status = TERN_OK;
    if (!items || !copy) status = error_set(err, TERN_HOST_MEMORY, "%s: no memory for a list", name);
    for (size_t i = 0; i < n_items && status == TERN_OK; i++) {
        opt_value value = {0};
        char *item = strsep(&at, ",");
        status = parse_choice(spec, name, item, &value, err);
        items[i] = (int32_t)value.integer;
    }
    free(copy);
    if (status != TERN_OK) {
        free(items);
        return status;
    }
    *out = items;
    *n = n_items;
    return TERN_OK;
}

// Lists are read again by the command; here they are checked, and the first entry is kept.
static tern_status parse_list(const opt_spec *spec, const char *name, const char *text, opt_value *out, tern_error *err)
{
    int32_t *items;
    size_t n;
    tern_status status = spec->kind == OPT_LIST    ? opt_parse_list(name, text, spec->max, &items, &n, err)
                         : spec->kind == OPT_SWEEP ? opt_parse_sweep(name, text, spec->max, &items, &n, err)
                                                   : opt_parse_choices(spec, name, text, &items, &n, err);
    if (status != TERN_OK) return status;
    out->integer = items[0];
    free(items);
    return TERN_OK;
}

static tern_status parse_value(const opt_spec *spec, const char *name, const char *text, opt_value *out,
                               tern_error *err)
{
    out->text = text;
    switch (spec->kind) {
    case OPT_SWITCH:
    case OPT_TEXT: return TERN_OK;
    case OPT_PATH:
        return *text ? TERN_OK : error_set(err, TERN_INVALID_ARGUMENT, "%s takes a path, not an empty text", name);
    case OPT_CHOICE:
        return spec->is_list ? parse_list(spec, name, text, out, err) : parse_choice(spec, name, text, out, err);
    case OPT_SIZE: return opt_parse_size(name, text, out, err);
    case OPT_INTEGER:
        if (spec->choices != NULL && choice_index(spec->choices, text, strlen(text)) >= 0) {
            out->integer = -1 - choice_index(spec->choices, text, strlen(text));
            return TERN_OK;
        }
        if (!parse_integer(text, &out->integer) || (double)out->integer < spec->min || (double)out->integer > spec->max)
            return refuse_value(spec, name, text, err);
        return TERN_OK;
    case OPT_REAL:
        if (!parse_real(text, &out->real) || !(out->real >= spec->min && out->real <= spec->max))
            return refuse_value(spec, name, text, err);
        return TERN_OK;
    case OPT_LIST:
    case OPT_SWEEP: return parse_list(spec, name, text, out, err);
    }
    return error_set(err, TERN_INTERNAL, "%s: kind of option %d", name, (int)spec->kind);
}

// --------------------------------------------------------------------------------------------------- command line

static tern_status set_defaults(command_id command, opt_values *out, tern_error *err)
{
    for (size_t i = 0; i < opt_table_size; i++) {
        const opt_spec *spec = &opt_table[i];
        if (!(spec->commands >> command & 1) || !spec->default_text) continue;
        tern_status status = parse_value(spec, spec->names, spec->default_text, &out->values[spec->id], err);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

// One argument that begins with a dash. *used counts the arguments taken.
static tern_status parse_option(command_id command, int argc, const char *const *argv, int *used, opt_values *out,
                                opt_hint *hint, tern_error *err)
{
    const char *argument = argv[0];
    size_t n_name = strcspn(argument, "=");
    const char *value = argument[n_name] ? argument + n_name + 1 : NULL;
    const opt_spec *spec = opt_find(command, argument, n_name);
    *used = 1;
    if (!spec) {
        hint_for_option(command, argument, n_name, hint);
        return error_set(err, TERN_INVALID_ARGUMENT, "unknown option '%.*s' for `tern %s`",
                         (int)(n_name < SHOWN ? n_name : SHOWN), argument, opt_commands[command].name);
    }
    char name[SHOWN];
    snprintf(name, sizeof name, "%.*s", (int)n_name, argument);
    opt_value *slot = &out->values[spec->id];
    if (spec->kind == OPT_SWITCH) {
        if (value)
            return error_set(err, TERN_INVALID_ARGUMENT, "%s takes no value, but '%.*s' was given", name, SHOWN, value);
        slot->given = true;
        return TERN_OK;
    }
    if (!value) {
        if (argc < 2) {
            char accepted[128];
            opt_describe_values(spec, accepted, sizeof accepted);
            return error_set(err, TERN_INVALID_ARGUMENT, "%s needs a value: %s", name, accepted);
        }
        value = argv[1];
        *used = 2;
    }
    tern_status status = parse_value(spec, name, value, slot, err);
    if (status != TERN_OK) return status;
    slot->given = true;
    out->occurrences[out->n_occurrences++] = (opt_occurrence){spec->id, value};
    return TERN_OK;
}

tern_status opt_parse(command_id command, int argc, const char *const *argv, opt_values *out, opt_hint *hint,
                      tern_error *err)
{
    *out = (opt_values){.command = command};
    hint->text[0] = 0;
    tern_status status = set_defaults(command, out, err);
    if (status != TERN_OK) return status;
    out->occurrences = calloc((size_t)argc + 1, sizeof *out->occurrences);
    out->operands = calloc((size_t)argc + 1, sizeof *out->operands);
    if (!out->occurrences || !out->operands)
        return error_set(err, TERN_HOST_MEMORY, "no memory for %d arguments", argc);

    bool options_ended = false;
    for (int i = 0, used; i < argc; i += used) {
        used = 1;
        if (!options_ended && strcmp(argv[i], "--") == 0) {
            options_ended = true;
        } else if (!options_ended && argv[i][0] == '-' && argv[i][1]) {
            status = parse_option(command, argc - i, argv + i, &used, out, hint, err);
            if (status != TERN_OK) return status;
        } else if (out->n_operands == opt_commands[command].max_operands) {
            snprintf(hint->text, sizeof hint->text, "usage: tern %s %s [options]; a text goes after -p",
                     opt_commands[command].name, opt_commands[command].operands);
            return error_set(err, TERN_INVALID_ARGUMENT, "unexpected argument '%.*s'", SHOWN, argv[i]);
        } else {
            out->operands[out->n_operands++] = argv[i];
        }
    }
    if (!out->values[OPT_KV_V].given) {
        out->values[OPT_KV_V] = out->values[OPT_KV_K];
        out->values[OPT_KV_V].given = false;
    }
    return TERN_OK;
}

void opt_free(opt_values *values)
{
    free(values->occurrences);
    free(values->operands);
    *values = (opt_values){0};
}

const char *opt_nth(const opt_values *values, opt_id id, size_t n)
{
    for (size_t i = 0; i < values->n_occurrences; i++)
        if (values->occurrences[i].id == id && n-- == 0) return values->occurrences[i].text;
    return NULL;
}
