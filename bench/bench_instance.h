// A loaded model with a session, which all configurations share that differ only in their test, and one run of a test
// on it. Internal to the model benchmark.
#ifndef TERN_BENCH_BENCH_INSTANCE_H
#define TERN_BENCH_BENCH_INSTANCE_H

#include "model_bench.h"

// Sequences that hold the same number of tokens between runs: depth is filled once, not once a repetition.
typedef struct bench_context {
    uint32_t n_depth;
    uint32_t n_seq, first; // sequences of the session
    uint64_t n_positions;  // of tests on top of the depth, for all sequences
} bench_context;

typedef struct bench_instance {
    const bench_config *config; // the first of those it serves
    uint32_t only_depth;        // with is_split: serves configurations of this depth alone
    bool is_split;
    bench_context *contexts; // owned
    size_t n_contexts;

    tern_device_info device;
    tern_model *model;
    tern_model_info info;
    tern_plan plan;
    tern_session *session; // NULL until loaded
    tern_row *rows;        // of one evaluation
    uint32_t n_valid;      // token ids to draw from
    uint64_t seed, n_drawn;

    uint32_t group;
    const char *memory_source; // what memory_used was read from; "" where it is not known
    uint64_t memory_used;      // taken by loading and by the first runs; 0: not known
    uint64_t planned, peak;    // on the device, as the backend counts its allocations
    uint64_t logits_hash;
    float *logits; // of the fixed prompt's last token, owned
} bench_instance;

bool bench_instance_serves(const bench_instance *b, const bench_config *config);
// Adds the configuration to what the session must hold. HOST_MEMORY.
tern_status bench_instance_add(bench_instance *b, const bench_config *config, tern_error *err);
// Opens the model and plans it: reads headers, loads nothing.
tern_status bench_instance_plan(bench_instance *b, const bench_options *options, tern_error *err);
// Loads weights, creates the session, runs the fixed prompt, and fills the depths.
tern_status bench_instance_load(bench_instance *b, const bench_options *options, tern_error *err);
// Frees session and weights; the logits stay.
void bench_instance_unload(bench_instance *b);
void bench_instance_free(bench_instance *b);

// Evaluates the fixed prompt on a sequence of its own and hashes its logits. `keep`: copy them into b->logits.
tern_status bench_instance_logits(bench_instance *b, bool keep, uint64_t *hash, tern_error *err);

// One run of the configuration's test. *token_ns: room for n_gen times, one for each decoding evaluation.
typedef struct bench_sample {
    uint64_t ns, prompt_ns;
    uint64_t bytes_weights, bytes_kv;
} bench_sample;
tern_status bench_instance_run(bench_instance *b, const bench_config *config, uint64_t *token_ns, bench_sample *out,
                               tern_error *err);

#endif
