// Messages from lines of standard input.
#include "chat_input.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct chat_input {
    bool is_interactive;
    chat_editor *editor; // NULL: plain lines
    char *buffer;        // what was read and is not yet consumed: [at, n)
    size_t at, n, capacity;
    bool at_end;
    char *message;
    size_t n_message, message_capacity;
};

tern_status chat_input_create(chat_input **out, tern_error *err)
{
    chat_input *input = calloc(1, sizeof *input);
    if (!input) return error_set(err, TERN_HOST_MEMORY, "no memory for the input");
    input->is_interactive = isatty(STDIN_FILENO);
    input->editor = input->is_interactive ? chat_editor_create() : NULL;
    *out = input;
    return TERN_OK;
}

void chat_input_free(chat_input *input)
{
    if (!input) return;
    chat_editor_free(input->editor);
    free(input->buffer);
    free(input->message);
    free(input);
}

bool chat_input_is_interactive(const chat_input *input) { return input->is_interactive; }

bool chat_input_is_waiting(int milliseconds)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&in, 1, milliseconds) == 1 && (in.revents & POLLIN);
}

static bool grow(char **text, size_t *capacity, size_t wanted)
{
    if (wanted <= *capacity) return true;
    if (wanted > SIZE_MAX / 4) return false;
    char *larger = realloc(*text, wanted * 2);
    if (!larger) return false;
    *text = larger;
    *capacity = wanted * 2;
    return true;
}

static tern_status no_memory(tern_error *err, size_t n)
{
    return error_set(err, TERN_HOST_MEMORY, "no memory for a message of %zu bytes", n);
}

// Reads more. *interrupted: a signal came first.
static tern_status fill(chat_input *input, bool *interrupted, tern_error *err)
{
    if (input->at > 0) {
        memmove(input->buffer, input->buffer + input->at, input->n - input->at);
        input->n -= input->at;
        input->at = 0;
    }
    if (!grow(&input->buffer, &input->capacity, input->n + 4096)) return no_memory(err, input->n);
    for (;;) {
        ssize_t got = interrupt_seen() ? -1 : read(STDIN_FILENO, input->buffer + input->n, 4096);
        *interrupted = interrupt_seen();
        if (*interrupted) return TERN_OK;
        if (got >= 0) {
            input->n += (size_t)got;
            input->at_end = got == 0;
            return TERN_OK;
        }
        if (errno != EINTR) return error_set(err, TERN_IO, "reading standard input: %s", strerror(errno));
    }
}

// Appends the next line, without its end, to the message. *kind is MESSAGE, or what came instead.
static tern_status read_line(chat_input *input, chat_input_kind *kind, tern_error *err)
{
    size_t n;
    const char *end;
    for (;;) {
        n = input->n - input->at;
        end = n > 0 ? memchr(input->buffer + input->at, '\n', n) : NULL;
        if (end || input->at_end) break;
        bool interrupted = false;
        tern_status status = fill(input, &interrupted, err);
        if (status != TERN_OK) return status;
        if (interrupted) {
            *kind = CHAT_INPUT_INTERRUPTED;
            return TERN_OK;
        }
    }
    *kind = end || n > 0 ? CHAT_INPUT_MESSAGE : CHAT_INPUT_END;
    if (*kind == CHAT_INPUT_END) return TERN_OK;
    const char *line = input->buffer + input->at;
    size_t n_line = end ? (size_t)(end - line) : n;
    input->at += n_line + (end != NULL);
    if (n_line > 0 && line[n_line - 1] == '\r') n_line--;
    if (!grow(&input->message, &input->message_capacity, input->n_message + n_line + 2))
        return no_memory(err, input->n_message + n_line);
    memcpy(input->message + input->n_message, line, n_line);
    input->n_message += n_line;
    return TERN_OK;
}

static tern_status read_plain(chat_input *input, chat_message_read *out, tern_error *err)
{
    input->n_message = 0;
    if (input->is_interactive) fputs("> ", stderr);
    for (bool more = true, is_first = true; more; is_first = false) {
        chat_input_kind kind;
        tern_status status = read_line(input, &kind, err);
        if (status != TERN_OK) return status;
        if (kind == CHAT_INPUT_INTERRUPTED || (kind == CHAT_INPUT_END && is_first)) {
            // The terminal drops its unfinished line at Ctrl-C; whether there was one cannot be seen here.
            *out = (chat_message_read){.kind = kind, .was_empty = is_first};
            if (input->is_interactive) fputc('\n', stderr);
            input->at_end = false; // Ctrl-D on a terminal ends one read only
            return TERN_OK;
        }
        if (kind == CHAT_INPUT_END) break;
        bool continues = input->n_message > 0 && input->message[input->n_message - 1] == '\\';
        if (continues) input->n_message--;
        more = continues || (input->is_interactive && (input->at < input->n || chat_input_is_waiting(CHAT_PASTE_MS)));
        if (more) input->message[input->n_message++] = '\n'; // read_line leaves room for it
    }
    while (input->n_message > 0 && input->message[input->n_message - 1] == '\n') input->n_message--;
    *out = (chat_message_read){CHAT_INPUT_MESSAGE, input->message, input->n_message, false};
    return TERN_OK;
}

tern_status chat_input_read(chat_input *input, chat_message_read *out, tern_error *err)
{
    return input->editor ? chat_editor_read(input->editor, out, err) : read_plain(input, out, err);
}

#ifndef TERN_HAS_LIBEDIT
chat_editor *chat_editor_create(void) { return NULL; }
void chat_editor_free(chat_editor *editor) { (void)editor; }
tern_status chat_editor_read(chat_editor *editor, chat_message_read *out, tern_error *err)
{
    (void)editor, (void)out;
    return error_set(err, TERN_INTERNAL, "built without libedit");
}
#endif
