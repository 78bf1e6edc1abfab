// Ctrl-C: the first asks, the second ends the program.
#include <signal.h>
#include <unistd.h>

#include "cli.h"

static volatile sig_atomic_t n_interrupts, is_held_back;
static tern_session *volatile watched;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    n_interrupts = n_interrupts + 1;
    if (n_interrupts > 1 && !is_held_back) _exit(EXIT_CODE_INTERRUPTED);
    tern_session *session = watched;
    if (session) tern_session_cancel(session);
}

void interrupt_install(void)
{
    struct sigaction action = {.sa_handler = on_interrupt}; // no SA_RESTART: a read that waits for input must end
    struct sigaction inherited;
    if (sigaction(SIGINT, NULL, &inherited) == 0 && inherited.sa_handler == SIG_IGN) return; // in a shell's background
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

bool interrupt_seen(void) { return n_interrupts > 0; }

void interrupt_hold(bool is_held) { is_held_back = is_held; }

void interrupt_forget(void) { n_interrupts = 0; }

void interrupt_watch(tern_session *session)
{
    watched = session;
    if (session && n_interrupts > 0) tern_session_cancel(session); // it came before there was anything to cancel
}
