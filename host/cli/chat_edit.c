// The line editor of chat: libedit with a reader of our own, which sees signals and pastes.
//
// libedit's own signal handlers send what they get to the whole process group and return errors we could not tell
// apart; with EL_SIGNAL off and this reader, Ctrl-C, a resized window and a continued process are flags looked at
// between characters. Everything is drawn on standard error, so that standard output carries replies only.
#ifdef TERN_HAS_LIBEDIT

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "chat_input.h"

#define PASTE_ON     "\033[?2004h" // the terminal puts a paste between ESC[200~ and ESC[201~
#define PASTE_OFF    "\033[?2004l"
#define PASTE_END    L"\033[201~"
#define PROMPT_WIDTH 2
#define SEND_KEY     "\033[9000~" // no terminal sends it: what on_enter pushes to have libedit end the line
#define HISTORY_SIZE 1000
#define MAX_PASTE    ((size_t)4 << 20) // characters

struct chat_editor {
    EditLine *el;
    History *history;
    bool was_interrupted, was_empty;
    bool has_failed; // reading the terminal failed
};

static volatile sig_atomic_t was_resized, was_continued;

static void on_signal(int number)
{
    if (number == SIGWINCH)
        was_resized = 1;
    else
        was_continued = 1;
}

static char *prompt(EditLine *el)
{
    (void)el;
    static char plain[] = "> ", coloured[] = "\1\033[1;32m\1> \1\033[0m\1";
    return cli_uses_colour() ? coloured : plain;
}

// ------------------------------------------------------------------------------------------------------------ reading

// Rows between the prompt and the cursor on a terminal this wide.
static int rows_above_cursor(EditLine *el, int n_columns)
{
    const LineInfoW *line = el_wline(el);
    int row = 0, column = PROMPT_WIDTH;
    for (const wchar_t *c = line->buffer; c < line->cursor; c++) {
        int width = *c == L'\n' ? 0 : wcwidth(*c);
        if (width < 0) width = 2; // shown as ^X
        column += width;
        if (*c == L'\n' || column > n_columns) {
            row++;
            column = *c == L'\n' ? 0 : width;
        }
    }
    return row;
}

// Terminals wrap their lines anew when the window changes, which libedit does not know: it would draw the line a second
// time. So what is there is cleared first, from the prompt on, and libedit draws on empty ground.
static void redraw_resized(EditLine *el)
{
    struct winsize window;
    int rows = 0;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
        rows = rows_above_cursor(el, window.ws_col);
    fputc('\r', stderr);
    if (rows > 0) fprintf(stderr, "\033[%dA", rows);
    fputs("\033[J", stderr);
    fflush(stderr);
    el_resize(el);
    el_set(el, EL_REFRESH);
}

static void handle_terminal_signals(EditLine *el)
{
    if (was_continued) { // back from Ctrl-Z: the shell has set its own terminal modes
        was_continued = 0;
        el_set(el, EL_PREP_TERM, 0);
        el_set(el, EL_PREP_TERM, 1);
        fputs(PASTE_ON, stderr);
        el_set(el, EL_REFRESH);
    }
    if (was_resized) {
        was_resized = 0;
        redraw_resized(el);
    }
}

// Waits for a byte. Signals are let in only while waiting, so that none is missed between looking and reading.
// 1: *byte is read; 0: end of input; -1: interrupted or failed.
static int read_byte(chat_editor *editor, char *byte)
{
    sigset_t held, before;
    sigemptyset(&held);
    sigaddset(&held, SIGINT);
    sigaddset(&held, SIGWINCH);
    sigaddset(&held, SIGCONT);
    sigprocmask(SIG_BLOCK, &held, &before);
    int result = -2;
    while (result == -2) {
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        handle_terminal_signals(editor->el);
        if (interrupt_seen()) {
            const LineInfo *line = el_line(editor->el);
            editor->was_interrupted = true;
            editor->was_empty = line->lastchar == line->buffer;
            result = -1;
        } else if (ppoll(&in, 1, NULL, &before) == 1) {
            ssize_t n = read(STDIN_FILENO, byte, 1);
            result = n == 1 ? 1 : n == 0 ? 0 : errno == EAGAIN || errno == EINTR ? -2 : -1;
            if (result == -1) editor->has_failed = true;
        } else if (errno != EINTR) {
            editor->has_failed = true;
            result = -1;
        }
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return result;
}

// libedit's reader of characters: 1, 0 at the end, -1 to give up on the line.
static int read_character(EditLine *el, wchar_t *out)
{
    chat_editor *editor = NULL;
    el_get(el, EL_CLIENTDATA, &editor);
    mbstate_t state = {0};
    for (;;) {
        char byte;
        int got = read_byte(editor, &byte);
        if (got != 1) return got;
        size_t n = mbrtowc(out, &byte, 1, &state);
        if (n == (size_t)-2) continue;
        if (n != (size_t)-1) return 1;   // n is 0 for NUL, which is a character (Ctrl-@)
        memset(&state, 0, sizeof state); // not UTF-8: the byte is dropped
    }
}

// --------------------------------------------------------------------------------------------------------------- keys

static void go_to_end(EditLine *el)
{
    const LineInfo *line = el_line(el);
    el_cursor(el, (int)(line->lastchar - line->cursor)); // bytes, at least as many as characters; libedit clamps
}

static unsigned char on_newline(EditLine *el, wint_t c)
{
    (void)c;
    return el_insertstr(el, "\n") == 0 ? CC_REFRESH : CC_ERROR;
}

static unsigned char on_enter(EditLine *el, wint_t c)
{
    const LineInfo *line = el_line(el);
    if (line->lastchar > line->buffer && line->lastchar[-1] == '\\') {
        go_to_end(el);
        el_deletestr(el, 1);
        return on_newline(el, c);
    }
    // A paste from a terminal that does not mark it: the next line is there already.
    if (chat_input_is_waiting(CHAT_PASTE_MS)) return on_newline(el, c);
    el_push(el, SEND_KEY);
    return CC_NORM;
}

typedef struct pasted {
    wchar_t *text;
    size_t n, capacity;
    wchar_t before; // the character before, kept or not
    bool is_cut;
} pasted;

// Line ends become '\n'; other control characters but tab are dropped.
static void keep(pasted *p, wchar_t c)
{
    bool is_line_feed = c == L'\n' && p->before == L'\r';
    p->before = c;
    if (c == L'\r') c = L'\n';
    if (is_line_feed || c == 127 || (c < 32 && c != L'\n' && c != L'\t')) return;
    if (p->n + 1 >= p->capacity) {
        size_t capacity = p->capacity * 2 + 256;
        wchar_t *larger = capacity < MAX_PASTE ? realloc(p->text, capacity * sizeof *larger) : NULL;
        p->is_cut = !larger;
        if (!larger) return;
        p->text = larger;
        p->capacity = capacity;
    }
    p->text[p->n++] = c;
}

// Reads up to the end mark, in every case: what is too long must not be taken for keys.
static bool read_paste(EditLine *el, pasted *p)
{
    static const wchar_t mark[] = PASTE_END;
    const size_t n_mark = sizeof mark / sizeof *mark - 1;
    size_t n_matched = 0;
    while (n_matched < n_mark) {
        wchar_t c;
        if (el_wgetc(el, &c) != 1) return false;
        if (c == mark[n_matched]) {
            n_matched++;
            continue;
        }
        for (size_t i = 0; i < n_matched; i++) keep(p, mark[i]);
        n_matched = c == mark[0];
        if (n_matched == 0) keep(p, c);
    }
    while (p->n > 0 && p->text[p->n - 1] == L'\n') p->n--;
    return !p->is_cut;
}

static unsigned char on_paste(EditLine *el, wint_t c)
{
    (void)c;
    pasted p = {0};
    bool ok = read_paste(el, &p);
    if (ok && p.n > 0) {
        p.text[p.n] = 0; // there is room: keep() grows one character early
        ok = el_winsertstr(el, p.text) == 0;
    }
    free(p.text);
    return ok ? CC_REFRESH : CC_REFRESH_BEEP;
}

// ------------------------------------------------------------------------------------------------------------- editor

static void set_keys(EditLine *el)
{
    // The wide form keeps these strings; the narrow one would keep copies that libedit never frees.
    el_wset(el, EL_ADDFN, L"tern-enter", L"Send the message, or begin a new line of it", on_enter);
    el_wset(el, EL_ADDFN, L"tern-newline", L"Begin a new line of the message", on_newline);
    el_wset(el, EL_ADDFN, L"tern-paste", L"Insert pasted text", on_paste);
    el_set(el, EL_BIND, "^M", "tern-enter", NULL);
    el_set(el, EL_BIND, "^J", "tern-enter", NULL);
    el_set(el, EL_BIND, "\\e^M", "tern-newline", NULL);
    el_set(el, EL_BIND, "\\e^J", "tern-newline", NULL);
    el_set(el, EL_BIND, "\\e[200~", "tern-paste", NULL);
    el_set(el, EL_BIND, "\\e[9000~", "ed-newline", NULL);
    el_set(el, EL_BIND, "^R", "em-inc-search-prev", NULL);
}

chat_editor *chat_editor_create(void)
{
    const char *term = getenv("TERM");
    if (!isatty(STDERR_FILENO) || !term || !*term || strcmp(term, "dumb") == 0) return NULL;
    // Only the encoding is taken from the locale; where that is not UTF-8, messages must be all the same.
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
    chat_editor *editor = calloc(1, sizeof *editor);
    if (!editor) return NULL;
    HistEvent event;
    editor->history = history_init();
    editor->el = el_init("tern", stdin, stderr, stderr);
    if (!editor->history || !editor->el) {
        chat_editor_free(editor);
        return NULL;
    }
    history(editor->history, &event, H_SETSIZE, HISTORY_SIZE);
    history(editor->history, &event, H_SETUNIQUE, 1);
    el_set(editor->el, EL_CLIENTDATA, editor);
    el_set(editor->el, EL_SIGNAL, 0);
    el_set(editor->el, EL_GETCFN, read_character);
    el_set(editor->el, EL_PROMPT_ESC, prompt, '\1');
    el_set(editor->el, EL_HIST, history, editor->history);
    el_set(editor->el, EL_EDITOR, "emacs");
    el_source(editor->el, NULL); // the user's ~/.editrc
    set_keys(editor->el);
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGWINCH, &action, NULL);
    sigaction(SIGCONT, &action, NULL);
    return editor;
}

void chat_editor_free(chat_editor *editor)
{
    if (!editor) return;
    if (editor->el) el_end(editor->el);
    if (editor->history) history_end(editor->history);
    free(editor);
}

tern_status chat_editor_read(chat_editor *editor, chat_message_read *out, tern_error *err)
{
    int n = 0;
    editor->was_interrupted = false;
    was_continued = 0;
    was_resized = 0;
    el_resize(editor->el); // the window may have changed during a reply
    fputs(PASTE_ON, stderr);
    fflush(stderr);
    el_set(editor->el, EL_PREP_TERM, 1); // libedit would do it after the prompt, and keys typed in between be misread
    const char *text = el_gets(editor->el, &n);
    fputs(PASTE_OFF, stderr);
    if (editor->was_interrupted) {
        fputs("^C\n", stderr);
        *out = (chat_message_read){.kind = CHAT_INPUT_INTERRUPTED, .was_empty = editor->was_empty};
        return TERN_OK;
    }
    if (editor->has_failed) return error_set(err, TERN_IO, "reading the terminal: %s", strerror(errno));
    if (!text || n <= 0) {
        fputc('\n', stderr);
        *out = (chat_message_read){.kind = CHAT_INPUT_END};
        return TERN_OK;
    }
    size_t length = (size_t)n;
    while (length > 0 && text[length - 1] == '\n') length--;
    HistEvent event;
    if (length > 0) history(editor->history, &event, H_ENTER, text);
    *out = (chat_message_read){CHAT_INPUT_MESSAGE, text, length, false};
    return TERN_OK;
}

#endif
