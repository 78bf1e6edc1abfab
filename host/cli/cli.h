// What the subcommands share: errors and exit codes, standard output, interrupts, progress, opening and loading a model
// from the options, reading texts, writing files.
#ifndef TERN_CLI_CLI_H
#define TERN_CLI_CLI_H

#include "error.h"
#include "opt.h"
#include "tern.h"

// ---- commands, one file each; they return the exit code
int cmd_run(const opt_values *options);
int cmd_chat(const opt_values *options);
int cmd_info(const opt_values *options);
int cmd_devices(const opt_values *options);
int cmd_plan(const opt_values *options);
int cmd_convert(const opt_values *options);
int cmd_synth(const opt_values *options);
int cmd_tokenize(const opt_values *options);
int cmd_logits(const opt_values *options);
int cmd_ppl(const opt_values *options);
int cmd_eval(const opt_values *options);
int cmd_verify(const opt_values *options);
int cmd_selftest(const opt_values *options);
int cmd_bench(const opt_values *options);
int cmd_help(const opt_values *options);

// ---- messages (console.c)

// Prints `tern: error: MESSAGE` and, when there is one, the hint; returns the exit code of the status.
int cli_fail(const tern_error *err, const char *hint);
int cli_exit_code(tern_status status);
// A line on standard error unless -q: "tern: ...".
void cli_note(const opt_values *options, const char *format, ...) TERN_PRINTF(2, 3);
// The same for what must be seen although nothing failed: "tern: warning: ...", also suppressed by -q.
void cli_warn(const opt_values *options, const char *format, ...) TERN_PRINTF(2, 3);

// Writes and flushes. CANCELLED when the reader went away (see cli_stdout_closed), IO otherwise.
tern_status cli_write(const char *text, size_t n_bytes, tern_error *err);
// The reader of standard output went away: the command ends, and quietly with EXIT_CODE_OK.
bool cli_stdout_closed(void);
bool cli_stdout_is_terminal(void);
// Standard error is a terminal that shows colour, and NO_COLOR is not set.
bool cli_uses_colour(void);
// Flushes standard output at the end of a command that printed with stdio; returns the command's exit code, or that of
// the failure to write.
int cli_finish(int exit_code);

// One line on a terminal that is written over; nothing elsewhere or with -q.
typedef struct cli_progress {
    const char *what; // "loading"
    bool is_shown;
    uint64_t ns_last;
    uint64_t ns_start;
} cli_progress;
void cli_progress_begin(cli_progress *progress, const opt_values *options, const char *what);
void cli_progress_show(cli_progress *progress, double share, const char *detail);
void cli_progress_end(cli_progress *progress);
// A tern_progress over a cli_progress: shows bytes, and cancels after Ctrl-C.
bool cli_progress_bytes(void *progress, uint64_t bytes_done, uint64_t bytes_total);

// "1.23 GiB"
typedef struct cli_text {
    char text[64];
} cli_text;
cli_text cli_bytes(uint64_t n_bytes);
// "embedding and head held as int8", for a head that is not as stored.
cli_text cli_head(tern_head head);

// ---- Ctrl-C (interrupt.c)

// From now on the first SIGINT only asks: interrupt_seen becomes true and the watched session is cancelled; the second
// ends the program with EXIT_CODE_INTERRUPTED. Commands that cannot stop in the middle do not call this.
void interrupt_install(void);
bool interrupt_seen(void);
void interrupt_watch(tern_session *session); // NULL before the session is freed
// While held, no number of interrupts ends the program: the caller looks at interrupt_seen and forgets.
void interrupt_hold(bool is_held);
void interrupt_forget(void);

// ---- input and output files (file.c)

// The text of -p (with "-": standard input) or -f. `trim_newline` drops one line break at the end of a file or standard
// input. INVALID_ARGUMENT when both or none are given.
tern_status cli_read_text(const opt_values *options, bool trim_newline, char **out, size_t *n_bytes, tern_error *err);
// All of a file, or of standard input for "-"; NUL-terminated. IO, HOST_MEMORY.
tern_status cli_read_file(const char *path, char **out, size_t *n_bytes, tern_error *err);

// A file that gets its name only when it is complete: written beside it under a temporary name.
typedef struct cli_out_file {
    FILE *file;
    char *path, *temporary;
} cli_out_file;
tern_status cli_out_open(cli_out_file *out, const char *path, tern_error *err);
tern_status cli_out_commit(cli_out_file *out, tern_error *err); // closes in every case
void cli_out_discard(cli_out_file *out);                        // after a failure; does nothing after a commit

// ---- engine, model, session (session.c)

typedef struct cli_session {
    tern_engine *engine;
    tern_model *model;
    tern_plan plan;
    tern_session *session;
    tern_device_info device;
    uint64_t ns_open, ns_load; // wall time of opening the file and of putting the weights on the device
} cli_session;

// The model named by the operand or -m. INVALID_ARGUMENT when there is none or two.
tern_status cli_model_path(const opt_values *options, const char **out, tern_error *err);
tern_status cli_engine_open(const opt_values *options, tern_engine **out, tern_error *err);
// The device -dev names, or the first that is not a reference.
tern_status cli_device_find(const tern_engine *engine, const char *name, tern_device_info *out, tern_error *err);
// Says which device is used and why others are not.
void cli_announce_device(const opt_values *options, const tern_engine *engine, const tern_device_info *device);
// What --vram allows on a device of so much memory, in bytes; 0: the option is not given.
uint64_t cli_vram_budget(const opt_values *options, uint64_t memory_total);
// -ngl, --stream, --layout and --embedding.
void cli_placement(const opt_values *options, tern_plan_options *out);
// A plan's options that do not depend on the device: KV types, weights, head, attention, placement.
void cli_plan_options(const opt_values *options, tern_plan_options *out);
// Says so when layers are not simply on the device.
void cli_note_placement(const opt_values *options, const tern_plan *plan);
// Says how attention is computed when --fast-attention is given.
void cli_note_attention(const opt_values *options, const tern_plan *plan);
// --act and --i2s-layout.
void cli_model_options(const opt_values *options, tern_model_options *out);
// Engine and model, nothing loaded. On failure what was opened is closed by cli_session_close.
tern_status cli_model_open(cli_session *s, const opt_values *options, const char *path, tern_error *err);
// Plans (n_ctx positions; 0: the model's own), announces the device, loads with progress, creates the session and
// watches it.
tern_status cli_session_load(cli_session *s, const opt_values *options, uint32_t n_ctx, uint32_t n_batch,
                             tern_error *err);
void cli_session_close(cli_session *s);
bool cli_wants_json(const opt_values *options);

// ---- sampling (sampling.c)

typedef struct cli_sampling {
    tern_sampler_options options;
    tern_logit_bias *bias; // what options.bias points to
    size_t n_bias;
} cli_sampling;

// Reads the sampling options; a seed of -1 becomes a fresh one. Free after a failure too.
tern_status cli_sampling_prepare(cli_sampling *s, const opt_values *options, const tern_tokenizer *tokenizer,
                                 tern_error *err);
void cli_sampling_free(cli_sampling *s);

#endif
