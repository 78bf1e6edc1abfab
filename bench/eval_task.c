// The tasks' files; see eval_task.h.
#include "eval_task.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "report.h"

// ------------------------------------------------------------------------------------------------------------ texts

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void trim(const char **text, size_t *n)
{
    while (*n > 0 && is_space(**text)) ++*text, --*n;
    while (*n > 0 && is_space((*text)[*n - 1])) --*n;
}

static uint32_t code_points(const char *text)
{
    uint32_t n = 0;
    for (const char *p = text; *p != 0; p++) n += ((unsigned char)*p & 0xc0) != 0x80;
    return n;
}

// All places where `what` stands, found from the left, become `with`, which is not longer.
static void replace(char *text, const char *what, const char *with)
{
    size_t n_what = strlen(what), n_with = strlen(with);
    char *to = text;
    for (const char *from = text; *from != 0;) {
        if (strncmp(from, what, n_what) == 0) {
            memcpy(to, with, n_with);
            to += n_with;
            from += n_what;
        } else {
            *to++ = *from++;
        }
    }
    *to = 0;
}

static void remove_brackets(char *text)
{
    char *to = text;
    for (const char *from = text; *from != 0;) {
        const char *end = *from == '[' ? from + strcspn(from, "]\n") : NULL;
        if (end != NULL && *end == ']')
            from = end + 1;
        else
            *to++ = *from++;
    }
    *to = 0;
}

char *eval_clean_hellaswag(const char *text)
{
    size_t n = strlen(text);
    trim(&text, &n);
    char *clean = strndup(text, n);
    if (clean == NULL) return NULL;
    replace(clean, " [title]", ". ");
    remove_brackets(clean);
    replace(clean, "  ", " ");
    return clean;
}

// ------------------------------------------------------------------------------------------------------------- JSON

static tern_status get_text(const json_t *object, const char *key, const char **out, tern_error *err)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value))
        return error_set(err, TERN_MALFORMED, value == NULL ? "\"%s\" is missing" : "\"%s\" is not a text", key);
    *out = json_string_value(value);
    return TERN_OK;
}

// A label that counts choices from `first`, as a text or a number, or from the file of labels.
static tern_status get_label(const json_t *object, const char *key, const char *label, uint32_t first,
                             uint32_t n_choices, uint32_t *out, tern_error *err)
{
    char number[24];
    const json_t *value = json_object_get(object, key);
    if (json_is_string(value)) label = json_string_value(value);
    if (json_is_integer(value)) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
        label = number;
    }
    if (label == NULL)
        return error_set(err, TERN_MALFORMED, "\"%s\" is missing: the answers of this part are not published", key);
    if (strlen(label) != 1 || label[0] < '0' + (int)first || label[0] >= '0' + (int)(first + n_choices))
        return error_set(err, TERN_MALFORMED, "\"%s\" is '%.20s', expected %u to %u", key, label, first,
                         first + n_choices - 1);
    *out = (uint32_t)(label[0] - '0') - first;
    return TERN_OK;
}

// Spaces at the context's end belong to the continuation, because tokens begin with their space.
static tern_status add_choice(eval_item *item, const char *context, size_t n_context, const char *continuation,
                              uint32_t length, tern_error *err)
{
    if (item->n_choices == EVAL_MAX_CHOICES)
        return error_set(err, TERN_LIMIT, "more than %d choices", EVAL_MAX_CHOICES);
    size_t n = n_context;
    while (n > 0 && is_space(context[n - 1])) n--;
    if (n == 0) return error_set(err, TERN_MALFORMED, "the context before the choices is empty");
    report text = {0};
    report_add(&text, "%s %s", context + n, continuation);
    eval_choice *choice = &item->choices[item->n_choices];
    *choice = (eval_choice){.context = strndup(context, n), .length = length > 0 ? length : 1};
    item->n_choices++; // from here on freed with the item
    if (choice->context == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a choice");
    return report_take(&text, &choice->continuation, err);
}

// "Question: ...\nAnswer:" and one choice.
static tern_status add_answer(eval_item *item, const char *question, const char *answer, tern_error *err)
{
    report context = {0};
    report_add(&context, "Question: %s\nAnswer:", question);
    char *text = NULL;
    tern_status status = report_take(&context, &text, err);
    if (status == TERN_OK) status = add_choice(item, text, strlen(text), answer, code_points(answer), err);
    free(text);
    return status;
}

// ------------------------------------------------------------------------------------------------------------ tasks

static tern_status parse_arc(const void *json, const char *label, eval_item *out, tern_error *err)
{
    (void)label;
    const json_t *question = json_object_get(json, "question"), *choices = json_object_get(json, "choices");
    bool is_hub = json_is_object(choices);
    const json_t *holder = is_hub ? json : question;
    const char *stem = NULL, *key = NULL;
    tern_status status = get_text(holder, is_hub ? "question" : "stem", &stem, err);
    if (status == TERN_OK) status = get_text(json, "answerKey", &key, err);
    if (status != TERN_OK) return status;
    const json_t *list = is_hub ? json_object_get(choices, "text") : json_object_get(question, "choices");
    const json_t *labels = json_object_get(choices, "label");
    if (!json_is_array(list) || json_array_size(list) < 2 ||
        (is_hub && json_array_size(labels) != json_array_size(list)))
        return error_set(err, TERN_MALFORMED, "\"choices\" is no list of two or more texts with labels");
    bool has_answer = false;
    for (size_t i = 0; i < json_array_size(list) && status == TERN_OK; i++) {
        const json_t *choice = json_array_get(list, i);
        const char *text = json_string_value(is_hub ? choice : json_object_get(choice, "text"));
        const char *name = json_string_value(is_hub ? json_array_get(labels, i) : json_object_get(choice, "label"));
        if (text == NULL || name == NULL)
            return error_set(err, TERN_MALFORMED, "choice %zu lacks its text or label", i + 1);
        if (strcmp(name, key) == 0) {
            out->answer = (uint32_t)i;
            has_answer = true;
        }
        status = add_answer(out, stem, text, err);
    }
    if (status == TERN_OK && !has_answer)
        status = error_set(err, TERN_MALFORMED, "\"answerKey\" is '%.20s', which no choice has for its label", key);
    return status;
}

static tern_status parse_piqa(const void *json, const char *label, eval_item *out, tern_error *err)
{
    const char *goal = NULL, *solutions[2];
    tern_status status = get_text(json, "goal", &goal, err);
    if (status == TERN_OK) status = get_text(json, "sol1", &solutions[0], err);
    if (status == TERN_OK) status = get_text(json, "sol2", &solutions[1], err);
    if (status == TERN_OK) status = get_label(json, "label", label, 0, 2, &out->answer, err);
    for (int i = 0; i < 2 && status == TERN_OK; i++) status = add_answer(out, goal, solutions[i], err);
    return status;
}

// The option stands in the context and what follows the gap is scored: the same text for both.
static tern_status parse_winogrande(const void *json, const char *label, eval_item *out, tern_error *err)
{
    const char *sentence = NULL, *options[2];
    tern_status status = get_text(json, "sentence", &sentence, err);
    if (status == TERN_OK) status = get_text(json, "option1", &options[0], err);
    if (status == TERN_OK) status = get_text(json, "option2", &options[1], err);
    if (status == TERN_OK) status = get_label(json, "answer", label, 1, 2, &out->answer, err);
    if (status != TERN_OK) return status;
    const char *gap = strchr(sentence, '_');
    if (gap == NULL) return error_set(err, TERN_MALFORMED, "\"sentence\" has no gap (_)");
    const char *rest = gap + 1;
    size_t n_rest = strlen(rest);
    trim(&rest, &n_rest);
    char *target = strndup(rest, n_rest);
    if (target == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for a sentence");
    for (int i = 0; i < 2 && status == TERN_OK; i++) {
        report context = {0};
        report_add(&context, "%.*s%s", (int)(gap - sentence), sentence, options[i]);
        char *text = NULL;
        status = report_take(&context, &text, err);
        if (status == TERN_OK) status = add_choice(out, text, strlen(text), target, code_points(target), err);
        free(text);
    }
    free(target);
    return status;
}

// The first letter a capital, the others small, as Python's capitalize; letters of ASCII, which is what the data has.
static void capitalize(char *text)
{
    for (char *p = text; *p != 0; p++)
        if ((unsigned char)*p < 0x80) *p = (char)(p == text ? toupper(*p) : tolower(*p));
}

static tern_status parse_hellaswag(const void *json, const char *label, eval_item *out, tern_error *err)
{
    const char *activity = NULL, *first = NULL, *second = NULL;
    tern_status status = get_text(json, "activity_label", &activity, err);
    if (status == TERN_OK) status = get_text(json, "ctx_a", &first, err);
    if (status == TERN_OK) status = get_text(json, "ctx_b", &second, err);
    if (status != TERN_OK) return status;
    const json_t *endings = json_object_get(json, "endings");
    if (!json_is_array(endings) || json_array_size(endings) < 2 || json_array_size(endings) > EVAL_MAX_CHOICES)
        return error_set(err, TERN_MALFORMED, "\"endings\" is no list of 2 to %d texts", EVAL_MAX_CHOICES);
    status = get_label(json, "label", label, 0, (uint32_t)json_array_size(endings), &out->answer, err);
    if (status != TERN_OK) return status;
    char *capital = strdup(second);
    if (capital != NULL) capitalize(capital);
    report query = {0};
    report_add(&query, "%s: %s %s", activity, first, capital != NULL ? capital : "");
    free(capital);
    char *text = NULL, *context = NULL;
    status = capital == NULL ? error_set(err, TERN_HOST_MEMORY, "no memory for a context")
                             : report_take(&query, &text, err);
    report_free(&query);
    if (status == TERN_OK && (context = eval_clean_hellaswag(text)) == NULL)
        status = error_set(err, TERN_HOST_MEMORY, "no memory for a context");
    for (size_t i = 0; i < json_array_size(endings) && status == TERN_OK; i++) {
        const char *ending = json_string_value(json_array_get(endings, i));
        char *clean = ending != NULL ? eval_clean_hellaswag(ending) : NULL;
        if (ending == NULL)
            status = error_set(err, TERN_MALFORMED, "ending %zu is not a text", i + 1);
        else if (clean == NULL)
            status = error_set(err, TERN_HOST_MEMORY, "no memory for an ending");
        else
            status = add_choice(out, context, strlen(context), clean, code_points(clean), err);
        free(clean);
    }
    free(text);
    free(context);
    return status;
}

const eval_task eval_tasks[] = {
    {"arc-easy", "ARC-Easy", true, parse_arc},
    {"arc-challenge", "ARC-Challenge", true, parse_arc},
    {"winogrande", "Winogrande", false, parse_winogrande},
    {"hellaswag", "HellaSwag", true, parse_hellaswag},
    {"piqa", "PIQA", true, parse_piqa},
};
const size_t eval_n_tasks = sizeof eval_tasks / sizeof eval_tasks[0];

tern_status eval_task_find(const char *name, const eval_task **out, tern_error *err)
{
    char names[128] = "";
    for (size_t i = 0; i < eval_n_tasks; i++) {
        if (strcmp(eval_tasks[i].name, name) == 0) {
            *out = &eval_tasks[i];
            return TERN_OK;
        }
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i > 0 ? ", " : "", eval_tasks[i].name);
    }
    return error_set(err, TERN_INVALID_ARGUMENT, "no task '%.40s'; there are %s", name, names);
}

// ------------------------------------------------------------------------------------------------------------ files

static void free_item(eval_item *item)
{
    for (uint32_t i = 0; i < item->n_choices; i++) {
        free(item->choices[i].context);
        free(item->choices[i].continuation);
    }
}

// Cuts the next line off; false at the end.
static bool next_line(const char **at, const char *end, const char **line, size_t *n)
{
    if (*at >= end) return false;
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    *line = *at;
    *n = (size_t)((stop != NULL ? stop : end) - *at);
    *at = stop != NULL ? stop + 1 : end;
    trim(line, n);
    return true;
}

static tern_status parse_line(const eval_task *task, const char *line, size_t n, const char *label, eval_item *out,
                              tern_error *err)
{
    json_error_t at;
    json_t *object = json_loadb(line, n, JSON_REJECT_DUPLICATES, &at);
    if (object == NULL) return error_set(err, TERN_MALFORMED, "not JSON: %s", at.text);
    tern_status status = json_is_object(object) ? task->parse(object, label, out, err)
                                                : error_set(err, TERN_MALFORMED, "not a JSON object");
    json_decref(object);
    return status;
}

static tern_status add_item(eval_items *items, const eval_item *item, tern_error *err)
{
    if ((items->n & (items->n - 1)) == 0) { // room for a power of two
        size_t capacity = items->n > 0 ? 2 * items->n : 1;
        eval_item *larger = capacity <= SIZE_MAX / 2 / sizeof *larger ? realloc(items->items, capacity * sizeof *larger)
                                                                      : NULL;
        if (larger == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu items", capacity);
        items->items = larger;
    }
    items->items[items->n++] = *item;
    return TERN_OK;
}

tern_status eval_items_parse(const eval_task *task, const char *file, const char *text, size_t n_bytes,
                             const char *labels, size_t limit, eval_items *out, tern_error *err)
{
    eval_items items = {0};
    const char *at = text, *line, *at_label = labels, *label_line,
               *end_labels = labels ? labels + strlen(labels) : NULL;
    size_t n, n_label, number = 0;
    tern_status status = TERN_OK;
    while (status == TERN_OK && (limit == 0 || items.n < limit) && next_line(&at, text + n_bytes, &line, &n)) {
        number++;
        if (n == 0) continue;
        char label[16] = "";
        eval_item item = {.line = number};
        if (labels != NULL) {
            if (!next_line(&at_label, end_labels, &label_line, &n_label) || n_label >= sizeof label)
                status = error_set(err, TERN_MALFORMED, "there is no answer for it in the file of labels");
            else
                memcpy(label, label_line, n_label);
        }
        if (status == TERN_OK) status = parse_line(task, line, n, labels != NULL ? label : NULL, &item, err);
        if (status == TERN_OK) status = add_item(&items, &item, err);
        if (status != TERN_OK) free_item(&item);
    }
    if (status != TERN_OK) error_prefix(err, "%s, line %zu", file, number);
    if (status == TERN_OK && items.n == 0) status = error_set(err, TERN_MALFORMED, "%s holds no line", file);
    if (status != TERN_OK) {
        eval_items_free(&items);
        return status;
    }
    *out = items;
    return TERN_OK;
}

void eval_items_free(eval_items *items)
{
    for (size_t i = 0; i < items->n; i++) free_item(&items->items[i]);
    free(items->items);
    *items = (eval_items){0};
}
