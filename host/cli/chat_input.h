// Where chat's messages come from: a line editor (chat_edit.c, with libedit) or lines of standard input.
//
// One message may have several lines: pasted text, lines that end with a backslash, Alt-Enter in the editor.
#ifndef TERN_CLI_CHAT_INPUT_H
#define TERN_CLI_CHAT_INPUT_H

#include "cli.h"

typedef enum chat_input_kind {
    CHAT_INPUT_MESSAGE,
    CHAT_INPUT_END,        // end of input, or Ctrl-D at an empty prompt
    CHAT_INPUT_INTERRUPTED // Ctrl-C
} chat_input_kind;

typedef struct chat_message_read {
    chat_input_kind kind;
    const char *text; // of a message, without its last line end; valid until the next read
    size_t n_bytes;
    bool was_empty; // of an interrupt: nothing had been typed
} chat_message_read;

typedef struct chat_input chat_input;

tern_status chat_input_create(chat_input **out, tern_error *err);
void chat_input_free(chat_input *input);
// Standard input is a terminal: there is someone who can read messages and try again.
bool chat_input_is_interactive(const chat_input *input);
tern_status chat_input_read(chat_input *input, chat_message_read *out, tern_error *err);

// More input is waiting on standard input, or comes within `milliseconds`: a paste, faster than anyone types.
bool chat_input_is_waiting(int milliseconds);
#define CHAT_PASTE_MS 10

// The editor. NULL where it cannot be used: built without libedit, standard input or standard error no terminal, or a
// terminal without cursor control.
typedef struct chat_editor chat_editor;
chat_editor *chat_editor_create(void);
void chat_editor_free(chat_editor *editor);
tern_status chat_editor_read(chat_editor *editor, chat_message_read *out, tern_error *err);

#endif
