// Speed of models, in llama-bench's terms, measured so that a sceptic accepts it.
//
// "pp N" evaluates N tokens of prompt in batches, "tg N" decodes N tokens one by one; tokenising and sampling are not
// part of either. With n_seq > 1 that many sequences are prompted one after the other and decoded together, a row each
// in one evaluation. The tokens are random ids, so models need no tokenizer.
//
// bench_run takes a list of configurations. Those that differ only in their test share a loaded model; the loaded
// models stand side by side as far as memory allows, and their repetitions are interleaved (A B C, A B C, ...), so that
// what the machine does meanwhile hits all alike. Configurations that do not fit beside each other are run one group
// after the other, and their rows say so.
//
// A row is valid only if in the same process the device gave the reference's bits for every op (or is a labelled
// exception), the model's logits were the same before and after the timing, and no physical bound was beaten.
#ifndef TERN_BENCH_MODEL_BENCH_H
#define TERN_BENCH_MODEL_BENCH_H

#include "registry.h"
#include "report.h"
#include "tern.h"

typedef struct bench_test {
    uint32_t n_prompt; // tokens evaluated in batches; 0: none
    uint32_t n_gen;    // tokens decoded one by one after them; 0: none
    uint32_t n_depth;  // tokens already in the context (not timed)
} bench_test;

// One thing to measure. Strings are borrowed.
typedef struct bench_config {
    const char *model;    // as tern_model_open takes it
    const char *device;   // "auto" or a device's name
    tern_weights weights; // as stored, or the float twin
    tern_act act;
    tern_i2s_layout i2s_layout;
    tern_layout layout; // of ternary weights, and where things go: as in tern_plan_options
    tern_head head;     // not for float twins, which have a float head
    tern_embedding embedding;
    int32_t n_gpu_layers, n_streamed;
    tern_kv_type kv_k, kv_v;
    bool fast_attention; // as in tern_plan_options
    uint32_t n_threads;  // CPU threads; 0: all this process may use
    uint32_t n_batch;    // rows of one evaluation at the most
    uint32_t n_seq;      // sequences decoded together; 1 to BENCH_MAX_SEQ
    bench_test test;     // of each sequence
} bench_config;

#define BENCH_MAX_SEQ 64 // the logits of so many rows are computed inside the evaluation for every vocabulary met

typedef struct bench_options {
    tern_engine *engine;    // of the caller; required
    uint32_t n_repeats;     // timed samples of each configuration; >= 1
    uint32_t n_warmup;      // discarded runs of each before any sample
    uint64_t seed;          // of the token ids
    uint64_t memory;        // bytes all models of a device may take together; 0: what the device has free
    double energy_window_s; // shortest window of an energy reading; 0: energy is not measured
    bool is_checked;        // run the validity checks (a self-test of each device); else rows are "not checked"
    bool is_eager;          // steps are enqueued op by op, never recorded and replayed
    bool has_peaks;         // measure read bandwidth and name it in the rows
    backend_list backends;  // whose devices the self-test opens; NULL: those of the engine (tests give others)
    const char *rapl_path, *nvml_path; // of other energy sensors than the machine's, for tests; NULL: the machine's
    // Called between samples with the share of the work done and what is being done; false cancels. May be NULL.
    bool (*progress)(void *user, double share, const char *what);
    // Told of the session about to be used, so that another thread or a signal can cancel it; NULL when it ends.
    void (*watch)(void *user, tern_session *session);
    void (*note)(void *user, const char *text); // sentences for the user: what was not measured and why. May be NULL.
    void *user;
} bench_options;

// Median and tail of the time between tokens.
typedef struct bench_latency {
    double p50, p90, p99; // nanoseconds; 0: nothing was decoded
} bench_latency;

// Energy of one sample, from a window that repeated the test. source "" : not measured.
typedef struct bench_energy {
    char source[64];   // what was read: "NVML total energy", "RAPL package"
    double window_s;   // length of the window
    double joules;     // gross, of one sample
    double joules_net; // without what the idle device takes in that time
    double idle_w;     // power of the idle device
    double sampled_w;  // mean of the power sensor over the window, as a cross-check; 0: there is none
    double j_per_token, net_j_per_token;
} bench_energy;

typedef struct bench_row {
    size_t config; // index in the list
    bench_test test;
    uint32_t n_seq;
    char model_filename[256], model_type[192], backend[16], device[32], cpu_info[128], gpu_info[128];
    char test_time[32];                  // UTC, "2026-01-31T12:00:00Z"
    uint64_t model_size, model_n_params; // bytes as loaded; weights
    uint32_t n_batch, n_threads, n_gpu_layers;
    tern_kv_type type_k, type_v;
    char
        weights[8]; // "t64", "t80"; "dense": a float model as stored; "f16", "f32": a float twin as the device holds it
    char products[64]; // how matrices are multiplied: "as defined", or the plan's words for a twin
    bool fast_attention;
    char attention[96]; // how: "as defined", or the plan's words
    bool is_synthetic;
    char head[8]; // "stored", "f16", "int8", "int4"
    uint32_t n_layers_streamed;

    uint32_t group;      // rows of one group were interleaved
    bool is_eager;       // steps were enqueued op by op
    bool is_interleaved; // all configurations were in one group

    uint64_t *samples_ns, *prompt_ns; // n_samples, owned; prompt_ns: of that, the time of the prompt
    uint32_t n_samples;
    uint64_t *token_ns; // the time of every decoding evaluation of every sample, owned
    size_t n_token_ns;
    double avg_ns, stddev_ns, median_ns, min_ns, max_ns;
    double avg_ts, stddev_ts, median_ts, min_ts, max_ts; // tokens of all sequences, prompt and generated, per second
    double ttft_ns; // median time from the prompt's start to its logits; 0: no prompt, or several sequences
    bench_latency token;

    uint64_t bytes_weights, bytes_kv;    // weights and KV cache that must be read in one sample
    double gbps;                         // both over the mean time, 1e9 bytes per second
    double peak_gbps, pct_peak_bw;       // best read bandwidth measured and the share of it, 0..100; 0: not known
    double typical_gbps, pct_typical_bw; // median read, and what the bytes over the median evaluation's time are of it
    char peak_source[96];                // how that was measured
    // Prompts: multiply-adds of a sample with ternary matrices, every int8 term of an activation counted; 1e9 of them a
    // second in the mean. On a CPU the same two pairs for the int8 rates measured.
    uint64_t n_macs;
    double gmacs, peak_gmacs, pct_peak_int8, typical_gmacs, pct_typical_int8;
    char peak_int8_source[96];

    uint64_t vram_planned_bytes; // the loaded model's plan, which serves all tests of the model
    uint64_t vram_peak_bytes;    // held at most; 0: not known
    char vram_source[32];        // who says so: "backend", "process", "device"
    uint64_t memory_used_bytes;  // what loading and the first runs took as the system or the device sees it; 0: unknown
    char memory_source[32];
    bench_energy energy;
    uint32_t *clocks_mhz;      // after each sample, owned
    uint32_t clock_sm_mhz;     // median over the samples; 0: not known
    char throttle_reasons[96]; // "" none or not known
    char fallback_ops[96];     // layers that do not run on the device; "": none

    uint64_t logits_hash; // of a fixed prompt, before the timing
    bool is_stable;       // the same afterwards
    bool is_valid;
    char reason[256]; // why it is not valid, or a remark; "" else
} bench_row;

typedef struct bench_rows {
    bench_row *items; // in the order of the configurations
    size_t n;
} bench_rows;

// 5 repeats, 1 warm-up run, seed 0, checks and peaks on, energy windows of 5 seconds. The engine is to be set.
void bench_options_init(bench_options *options);
// int8 KV, stored weights, batches of 512, one sequence, "auto"; model and test are to be set.
void bench_config_init(bench_config *config);

// "pp512", "tg128", "pp512+tg128", "tg128 @ d4096".
void bench_test_name(const bench_test *test, char *out, size_t n_bytes);
// Positions of context the test needs, for all its sequences.
uint64_t bench_test_context(const bench_test *test, uint32_t n_seq);

// Runs the configurations. Free *out in every case: after a failure or a cancelled run it holds the rows with at least
// one sample, which are then not valid. INVALID_ARGUMENT for a test of no tokens or more sequences than a batch has
// rows; else what opening, planning and loading models says, with the model's name in front.
tern_status bench_run(const bench_config *configs, size_t n, const bench_options *options, bench_rows *out,
                      tern_error *err);
void bench_rows_free(bench_rows *rows);
void bench_row_free(bench_row *row);
double bench_row_tokens(const bench_row *row); // of one sample, all sequences

// Rows as a JSON array, as one JSON object per line, as CSV with a header, as SQL that creates and fills a table, and
// as a markdown table ending with "build: COMMIT". malloc'd text.
tern_status bench_rows_text(const bench_row *rows, size_t n, bench_format format, char **out, tern_error *err);

#endif
