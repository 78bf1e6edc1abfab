// What the parts of the claims report share: facts, measured rows and outcomes of one run.
#ifndef TERN_BENCH_VERIFY_RUN_H
#define TERN_BENCH_VERIFY_RUN_H

#include "selftest.h"
#include "verify.h"

// One configuration of the model benchmark that was measured.
typedef struct verify_row {
    size_t device; // index
    char shape[16];
    bool is_twin;
    bench_row row;
} verify_row;

typedef struct verify_device {
    tern_device_info info;
    selftest_result selftest;
    char skipped[1200];    // shapes that were not or not fully measured, and why: "7b: ...; 13b: ..."; "" if none
    char largest[16];      // largest shape with both twins measured; "" if none
    uint32_t n_ternary;    // sequences of the ternary model in the experiment at equal memory; 0: not run
    uint64_t budget_bytes; // of that experiment
} verify_device;

// What was found with the models and the text that the user gave.
typedef struct verify_quality {
    bool has_divergence, has_bits, has_conversion, has_ternary_ppl, has_float_ppl;
    char why_not[200]; // for what is missing of the first two
    char why_no_conversion[200];
    double kl, kl_error, same_top, same_top_error; // same_top 0..1
    size_t n_scored, n_chunks;
    uint32_t n_ctx;
    uint64_t n_different, n_compared; // logits of two packings
    double ppl_ternary, ppl_ternary_error, ppl_float, ppl_float_error, ppl_converted, ppl_converted_error;
    double conversion_ratio, conversion_error;
} verify_quality;

typedef struct verify {
    const verify_options *options;
    claims claims;
    verify_device devices[VERIFY_MAX_DEVICES];
    verify_row *rows;
    size_t n_rows;
    verify_quality quality;
    claim_outcome *outcomes; // [dev][part], parts of all claims in order
    size_t n_parts;
    json_t *environment;
    char *folder; // temporary, complete when renamed
    uint64_t ns_start;
    double share; // of the work done, for progress
} verify;

// ---- verify_measure.c
tern_status verify_measure(verify *v, tern_error *err);
// The row of a configuration, NULL if it was not measured. `test` compares prompt, generation and depth.
const verify_row *verify_find_row(const verify *v, size_t dev, const char *shape, bool is_twin, uint32_t n_seq,
                                  const bench_test *test);
bench_test verify_decode_test(const verify *v, size_t dev, uint32_t depth);
bench_test verify_batch_test(const verify *v, size_t dev);
tern_status verify_step(verify *v, double share, const char *what, tern_error *err); // progress; CANCELLED
// A folder of files, and the files in it but hidden ones; what cannot be removed stays.
void verify_remove_folder(const char *folder);

// ---- verify_quality.c
tern_status verify_measure_quality(verify *v, tern_error *err);

// ---- verify_judge.c
// Outcomes of all parts on all devices from what was measured and computed.
tern_status verify_judge(verify *v, tern_error *err);
const claim_outcome *verify_outcomes(const verify *v, size_t dev, size_t claim_index); // of the claim's parts
const char *verify_shape_of(const verify *v, size_t dev, const claim_part *part);      // "largest" resolved; "" if none

// ---- verify_compute.c: from plans and counts
// Everything of a model on the device, whether or not it fits: what a claim about its memory compares.
void verify_keep_resident(tern_plan_options *o);
// Bytes of a synthetic shape by plan. `card` NULL: a card with memory to spare. `kv` "f16" or "int8".
tern_status verify_plan_bytes(const verify *v, const char *shape, tern_weights kind, uint32_t n_ctx,
                              uint32_t n_sequences, const char *kv, const char *card, uint64_t *out, tern_error *err);
// Sequences of n_ctx positions that fit `budget` bytes; 0 if none does.
tern_status verify_largest_batch(const verify *v, const char *shape, tern_weights kind, uint32_t n_ctx, uint64_t budget,
                                 uint32_t limit, uint32_t *out, tern_error *err);
claim_outcome verify_compute(const verify *v, const claim_part *part, bool *is_known);

// ---- verify_environment.c
json_t *verify_environment(const verify *v);

// ---- verify_files.c
tern_status verify_write(verify *v, tern_error *err); // all files of the folder

#endif
