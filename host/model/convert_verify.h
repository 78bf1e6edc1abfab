// A written file against the model it was made from.
#ifndef TERN_MODEL_CONVERT_VERIFY_H
#define TERN_MODEL_CONVERT_VERIFY_H

#include "convert_plan.h"

// What was compared, in numbers.
typedef struct convert_comparison {
    size_t n_matrices, n_vectors;
    uint64_t n_weights;
    double scale_rounding;  // largest relative difference of a scale that is kept as fp16
    double error2, source2; // sums of squares over matrices in a type of less precision: differences, source values
} convert_comparison;

// Called after each piece with its bytes; what it returns other than OK ends the call.
typedef struct convert_watch {
    tern_status (*advance)(void *user, uint64_t n_bytes, tern_error *err);
    void *user;
} convert_watch;

// Compares hyper-parameters, tokenizer and every tensor of the plan, whose scales have been read, with the opened file
// `to`: canonical rows and fp32 scales exactly, fp16 scales as the rounded ones, F16, Q8_0 and Q6_K rows byte for byte
// with what their encoder gives, everything else as stored. INTERNAL names the first difference. `watch` may be NULL.
tern_status convert_verify(const model_source *from, const convert_plan *plan, const model_source *to,
                           const convert_watch *watch, convert_comparison *out, tern_error *err);

#endif
