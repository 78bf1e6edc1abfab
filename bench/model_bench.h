// Speed of a loaded model, in llama-bench's terms: "pp N" evaluates N tokens of prompt in batches, "tg N" decodes N
// tokens one by one; tokenising and sampling are not part of either. Rows carry llama-bench's JSON field names, so that
// its users' scripts read them, plus what a memory-bound engine must be judged by: GB/s and the share of the measured
// read bandwidth. Works on models without a tokenizer: the tokens are random ids.
#ifndef TERN_BENCH_MODEL_BENCH_H
#define TERN_BENCH_MODEL_BENCH_H

#include "tern.h"

typedef struct model_bench_test {
    uint32_t n_prompt; // tokens evaluated in batches; 0: none
    uint32_t n_gen;    // tokens decoded one by one after them; 0: none
    uint32_t n_depth;  // tokens already in the context (not timed)
} model_bench_test;

typedef struct model_bench_options {
    uint32_t n_repeats;         // timed samples; >= 1
    uint32_t n_warmup;          // runs before them; llama-bench: 1
    uint64_t seed;              // of the random token ids
    const char *model_filename; // as the user gave it
} model_bench_options;

typedef struct model_bench_row {
    model_bench_test test;
    char model_filename[256], model_type[160], backend[16], device[32], cpu_info[128], gpu_info[128];
    char test_time[32];                  // UTC, "2026-01-31T12:00:00Z"
    uint64_t model_size, model_n_params; // bytes as loaded; weights
    uint32_t n_batch, n_threads, n_gpu_layers;
    tern_kv_type type_k, type_v;
    char weights[8];   // "t64"; "dense": a float model as stored; "f16", "f32": a float twin as the device holds it
    char products[64]; // how matrices are multiplied: "as defined", or the plan's words for a twin
    bool is_synthetic;
    uint64_t *samples_ns; // n_samples, owned
    uint32_t n_samples;
    double avg_ns, stddev_ns, avg_ts, stddev_ts; // ts: tokens (prompt and generated) per second
    uint64_t bytes_weights;                      // weight bytes read per sample
    double gbps;                                 // those over the mean time, 1e9 bytes per second
    double peak_gbps, pct_peak_bw;               // measured read bandwidth and the share of it, 0..100; 0: not known
} model_bench_row;

void model_bench_options_init(model_bench_options *options); // 5 repeats, 1 warm-up run, seed 0, no file name
// Sets the read bandwidth (bandwidth.h) that the row's share refers to.
void model_bench_set_peak(model_bench_row *row, double peak_gbps);

// "pp512", "tg128", "pp512+tg128", "tg128 @ d4096".
void model_bench_test_name(const model_bench_test *test, char *out, size_t n_bytes);
// Positions of context the test needs.
uint64_t model_bench_test_context(const model_bench_test *test);

// Runs one test on sequence 0 of a session of `model`, which was loaded by `plan`; the sequence is empty afterwards.
// INVALID_ARGUMENT if the test does not fit the plan's context. Free the row with model_bench_row_free.
tern_status model_bench_run(const tern_engine *engine, const tern_model *model, const tern_plan *plan,
                            tern_session *session, const model_bench_test *test, const model_bench_options *options,
                            model_bench_row *out, tern_error *err);
void model_bench_row_free(model_bench_row *row);

// Rows as a JSON array, as one JSON object per line, as CSV with a header, and as a markdown table ending with
// "build: COMMIT". malloc'd text.
tern_status model_bench_json(const model_bench_row *rows, size_t n, char **out, tern_error *err);
tern_status model_bench_jsonl(const model_bench_row *rows, size_t n, char **out, tern_error *err);
tern_status model_bench_csv(const model_bench_row *rows, size_t n, char **out, tern_error *err);
tern_status model_bench_markdown(const model_bench_row *rows, size_t n, char **out, tern_error *err);

#endif
