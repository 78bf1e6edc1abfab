// Multiple-choice tasks from their published JSON-lines files, as contexts and continuations. What is a context, what a
// continuation and how a choice's length counts follows the EleutherAI evaluation harness, whose numbers people
// compare (tasks arc_easy, arc_challenge, winogrande, hellaswag, piqa; zero-shot). Lines as the data sets are
// published, or as the Hugging Face hub turns them into JSON lines:
//     arc-easy, arc-challenge  {"question": {"stem": ..., "choices": [{"text": ..., "label": ...}]}, "answerKey": ...}
//                              {"question": ..., "choices": {"text": [...], "label": [...]}, "answerKey": ...}
//     winogrande               {"sentence": "... _ ...", "option1": ..., "option2": ..., "answer": "1" or "2"}
//     hellaswag                {"activity_label": ..., "ctx_a": ..., "ctx_b": ..., "endings": [...], "label": ...}
//     piqa                     {"goal": ..., "sol1": ..., "sol2": ..., "label": ...}, or labels in a second file
#ifndef TERN_BENCH_EVAL_TASK_H
#define TERN_BENCH_EVAL_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tern_status.h"

#define EVAL_MAX_CHOICES 8

typedef struct eval_choice {
    char *context, *continuation; // UTF-8, owned; the continuation begins with its space
    uint32_t length;              // code points of the choice's text, which acc_norm divides by
} eval_choice;

typedef struct eval_item {
    eval_choice choices[EVAL_MAX_CHOICES];
    uint32_t n_choices, answer;
    size_t line; // in the file, from 1
} eval_item;

typedef struct eval_items {
    eval_item *items;
    size_t n;
} eval_items;

typedef struct eval_task {
    const char *name, *title;
    bool has_norm; // accuracy by length-normalised scores is customary
    // Fills an item from a line's object; on failure what it filled is freed by the caller.
    tern_status (*parse)(const void *json, const char *label, eval_item *out, tern_error *err);
} eval_task;

extern const eval_task eval_tasks[];
extern const size_t eval_n_tasks;

// INVALID_ARGUMENT names the tasks there are.
tern_status eval_task_find(const char *name, const eval_task **out, tern_error *err);

// The items of a file's text; empty lines do not count. `labels` (may be NULL): one answer a line for the lines of the
// file. limit 0: all. MALFORMED names `file` and the line.
tern_status eval_items_parse(const eval_task *task, const char *file, const char *text, size_t n_bytes,
                             const char *labels, size_t limit, eval_items *out, tern_error *err);
void eval_items_free(eval_items *items);

// HellaSwag's text without the marks its sources left in it.
char *eval_clean_hellaswag(const char *text);

#endif
