// The command line of `tern`: one table of options and one of commands drive parsing, help, the man page and shell
// completion, so that none of them can disagree.
//
// An option is written with its value as the next argument or after '=' (`-n 5`, `--predict=5`); names with one dash
// may have several letters (`-ctk`), as llama.cpp's users type them. `--` ends the options. The last occurrence wins,
// except for options marked `repeats`.
#ifndef TERN_CLI_OPT_H
#define TERN_CLI_OPT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"

typedef enum command_id {
    COMMAND_RUN,
    COMMAND_CHAT,
    COMMAND_INFO,
    COMMAND_DEVICES,
    COMMAND_PLAN,
    COMMAND_CONVERT,
    COMMAND_SYNTH,
    COMMAND_TOKENIZE,
    COMMAND_LOGITS,
    COMMAND_PPL,
    COMMAND_EVAL,
    COMMAND_VERIFY,
    COMMAND_SELFTEST,
    COMMAND_BENCH,
    COMMAND_HELP,
    COMMAND_N
} command_id;

typedef struct command_spec {
    const char *name;
    const char *operands; // "[MODEL]"
    unsigned max_operands;
    const char *summary;     // one line
    const char *description; // paragraphs, separated by empty lines
    const char *example;
} command_spec;

extern const command_spec opt_commands[COMMAND_N];

typedef enum opt_id {
    OPT_MODEL,
    OPT_ACT,
    OPT_I2S_LAYOUT,
    OPT_PROMPT,
    OPT_FILE,
    OPT_CHAT_FORMAT,
    OPT_SYSTEM,
    OPT_SYSTEM_FILE,
    OPT_SINGLE_TURN,
    OPT_REVERSE_PROMPT,
    OPT_PREDICT,
    OPT_CTX,
    OPT_BATCH,
    OPT_THREADS,
    OPT_DEVICE,
    OPT_KV_K,
    OPT_KV_V,
    OPT_VRAM,
    OPT_GPU_LAYERS,
    OPT_STREAM,
    OPT_LAYOUT,
    OPT_EMBEDDING,
    OPT_WEIGHTS,
    OPT_EAGER,
    OPT_FAST_ATTENTION,
    OPT_HEAD,
    OPT_CACHE_DIR,
    OPT_NO_PACK_CACHE,
    OPT_CARD,
    OPT_BANDWIDTH,
    OPT_LINK,
    OPT_PARALLEL,
    OPT_SEED,
    OPT_TEMP,
    OPT_TOP_K,
    OPT_TOP_P,
    OPT_MIN_P,
    OPT_REPEAT_PENALTY,
    OPT_REPEAT_LAST_N,
    OPT_PRESENCE_PENALTY,
    OPT_FREQUENCY_PENALTY,
    OPT_LOGIT_BIAS,
    OPT_IGNORE_EOS,
    OPT_SPECIAL,
    OPT_IDS,
    OPT_DISPLAY_PROMPT,
    OPT_ADD_BOS,
    OPT_TOKENS,
    OPT_CHUNKS,
    OPT_KL_BASE,
    OPT_KL,
    OPT_LIMIT,
    OPT_QUICK,
    OPT_SHAPES,
    OPT_FLOAT_MODEL,
    OPT_TYPE,
    OPT_HEAD_TYPE,
    OPT_VERIFY,
    OPT_BENCH_PROMPT,
    OPT_BENCH_GEN,
    OPT_BENCH_BOTH,
    OPT_DEPTH,
    OPT_REPEATS,
    OPT_NO_WARMUP,
    OPT_NO_CHECK,
    OPT_ENERGY_WINDOW,
    OPT_KERNELS,
    OPT_KERNELS_FILTER,
    OPT_PROBE,
    OPT_UBATCH,
    OPT_FULL,
    OPT_OUTPUT,
    OPT_OUT,
    OPT_FLASH_ATTENTION,
    OPT_CONVERSATION,
    OPT_NO_CONVERSATION,
    OPT_NO_DISPLAY_PROMPT,
    OPT_MAN,
    OPT_COMPLETION,
    OPT_LIST_DEVICES,
    OPT_QUIET,
    OPT_VERBOSE,
    OPT_HELP,
    OPT_N
} opt_id;

typedef enum opt_kind {
    OPT_SWITCH, // no value
    OPT_TEXT,
    OPT_PATH,    // text that is a file name: completion offers files
    OPT_CHOICE,  // one of `choices`
    OPT_INTEGER, // within [min, max], or a word of `choices`: the first is -1, the second -2, ...
    OPT_REAL,    // finite and within [min, max]
    OPT_SIZE,    // bytes with an optional unit (K, M, G, T: powers of 1024, also KiB, KB, ...), or a percentage
    OPT_LIST,    // comma-separated whole numbers from 0 to `max`
    OPT_SWEEP    // the same, also with ranges and the unit k: "0,2k", "128-1024*2", "1-9+2"
} opt_kind;

typedef struct opt_spec {
    opt_id id; // entries for different commands may share an id: same meaning, other range or default
    opt_kind kind;
    uint32_t commands; // bit 1 << command_id for each command that takes it
    const char *names; // "-n --predict --n-predict"
    const char *value; // "N" in help; NULL for a switch
    double min, max;
    const char *choices;      // "f32|f16|int8|q8_0=int8": "a=b" accepts a as another name of b
    const char *refused;      // "q4_0|int4": values that are known elsewhere and get a message of their own
    const char *default_text; // parsed like a given value; NULL: none
    const char *help;
    bool repeats;    // every occurrence counts
    bool is_list;    // a choice: several with commas between; `integer` is then the first one's
    bool is_ignored; // accepted because it changes nothing here, and announced
} opt_spec;

// What the program's exit codes mean, for help and the man page.
enum {
    EXIT_CODE_OK = 0,
    EXIT_CODE_RUN = 1,
    EXIT_CODE_USAGE = 2,
    EXIT_CODE_INPUT = 3,
    EXIT_CODE_DEVICE = 4,
    EXIT_CODE_INTERRUPTED = 130
};

typedef struct exit_meaning {
    int code;
    const char *meaning;
} exit_meaning;

extern const exit_meaning opt_exit_codes[];
extern const size_t opt_n_exit_codes;

extern const opt_spec opt_table[];
extern const size_t opt_table_size;

typedef struct opt_value {
    bool given;
    const char *text; // as written; points into argv or the tables
    int64_t integer;  // of a choice: its position in the list
    double real;
    uint64_t bytes; // of a size; of a percentage: `real` holds 0 to 100 and is_percent is set
    bool is_percent;
} opt_value;

typedef struct opt_occurrence {
    opt_id id;
    const char *text;
} opt_occurrence;

// A parsed command line. Holds pointers into argv.
typedef struct opt_values {
    command_id command;
    opt_value values[OPT_N];     // defaults where not given
    opt_occurrence *occurrences; // every option with a value, in order
    size_t n_occurrences;
    const char **operands;
    size_t n_operands;
} opt_values;

// A second line for the user, "" if there is nothing to say.
typedef struct opt_hint {
    char text[200];
} opt_hint;

// Parses argv[0..argc), the arguments after the command's name. INVALID_ARGUMENT names the option, the accepted range
// and the value given. *out is to be freed in every case.
tern_status opt_parse(command_id command, int argc, const char *const *argv, opt_values *out, opt_hint *hint,
                      tern_error *err);
void opt_free(opt_values *values);

// The n-th text given for an option that repeats, or NULL.
const char *opt_nth(const opt_values *values, opt_id id, size_t n);

// The command of that name; false when there is none, and then *hint names the nearest.
bool opt_find_command(const char *name, command_id *out, opt_hint *hint);
// The option of a command by one of its names ("--temp"), or NULL.
const opt_spec *opt_find(command_id command, const char *name, size_t n_name);

// Value syntax, shared with the parser's users and the tests. `name` is the option for messages.
tern_status opt_parse_size(const char *name, const char *text, opt_value *out, tern_error *err);
// Reads "1,2,3" (spaces allowed), whole numbers from 0 to `max`; *n >= 1 entries, malloc'ed. INVALID_ARGUMENT,
// HOST_MEMORY.
tern_status opt_parse_list(const char *name, const char *text, double max, int32_t **out, size_t *n, tern_error *err);
// Reads a list whose items may be ranges, as llama-bench writes them: "first-last", "first-last+step",
// "first-last*factor"; and numbers with the unit k (1024). *n >= 1 entries, malloc'ed.
tern_status opt_parse_sweep(const char *name, const char *text, double max, int32_t **out, size_t *n, tern_error *err);
// Reads the choices of a list, as positions in the option's choices. *n >= 1 entries, malloc'ed.
tern_status opt_parse_choices(const opt_spec *spec, const char *name, const char *text, int32_t **out, size_t *n,
                              tern_error *err);
// Reads "ID+BIAS" or "ID-BIAS" ("15043+1.5", "15043-inf").
tern_status opt_parse_bias(const char *name, const char *text, int32_t *id, float *bias, tern_error *err);

// Walks the names or choices of a table entry: returns the next item's start and length, NULL at the end.
const char *opt_item(const char **cursor, char separator, size_t *n);

// help.c, man.c, completion.c
void opt_print_overview(FILE *to);
void opt_print_help(FILE *to, command_id command);
void opt_print_man(FILE *to, const char *version);
bool opt_print_completion(FILE *to, const char *shell);
// "integer from 1 to 8", "f32, f16 or int8"; what the option accepts.
void opt_describe_values(const opt_spec *spec, char *out, size_t n_bytes);

#endif
