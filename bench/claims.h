// The claims that `tern verify` checks: a versioned data file (bench/claims/claims.json, in the program as text) with
// every threshold in it, set before anything is measured, and the arithmetic of verdicts.
//
// A claim has parts, each with one threshold. A measured part comes with a 95 % interval: it is confirmed if the whole
// interval lies on the claim's side of the threshold, refuted if all of it lies on the other, and not decided if the
// threshold lies inside. A computed part has no interval and is always decided. A claim is refuted if any of its parts
// is, else not decided if any is, else confirmed if all parts are, and confirmed in part if some could not be tested.
#ifndef TERN_BENCH_CLAIMS_H
#define TERN_BENCH_CLAIMS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"

typedef enum verdict {
    CLAIM_NOT_TESTABLE, // here: something is missing, and the outcome says what
    CLAIM_CONFIRMED,
    CLAIM_CONFIRMED_IN_PART, // of a claim: what was tested is confirmed, some parts were not tested
    CLAIM_NOT_DECIDED,       // the threshold lies inside the interval
    CLAIM_REFUTED,
    CLAIM_INVALID, // measured without a passing self-test, or by a run that broke a check
} verdict;

// "confirmed", "confirmed in part", "not decided", "refuted", "not testable here", "invalid".
const char *claim_verdict_name(verdict v);

typedef struct claim_part {
    const char *label, *measure, *unit;
    double threshold;
    bool is_at_most; // the value must not exceed the threshold; else it must reach it
    // Parameters of the measure; NULL or 0 where it has none.
    const char *shape, *card, *kv, *node, *add, *reason;
    unsigned n_ctx, depth;
    double gbps, budget_gb;
} claim_part;

typedef struct claim {
    const char *id, *source, *topic, *statement, *how, *remark; // remark: NULL if there is none
    claim_part *parts;
    size_t n_parts;
} claim;

typedef struct claims {
    int version;
    claim *items;
    size_t n;
    json_t *json; // owns all texts
} claims;

// Text of the data file, NUL-terminated.
extern const unsigned char claims_json[];

// MALFORMED says what is missing in which claim.
tern_status claims_load(const char *text, claims *out, tern_error *err);
void claims_free(claims *c);
// Picojoules of an operation ("int8_add") at a node ("45"); NAN if the file does not have it.
double claims_picojoules(const claims *c, const char *node, const char *operation);
// A text of the "energy" or "sources" object; "" if there is none.
const char *claims_text(const claims *c, const char *object, const char *key);

// What one part came to on one device.
typedef struct claim_outcome {
    verdict verdict;
    bool has_value, is_computed;
    double value, low, high; // low = high = value without an interval
    char detail[240];        // what the value is made of, or why there is none
} claim_outcome;

claim_outcome claim_computed(const claim_part *part, double value);
claim_outcome claim_measured(const claim_part *part, double value, double low, double high);
claim_outcome claim_untestable(const char *format, ...) TERN_PRINTF(1, 2);
claim_outcome claim_invalid(const char *format, ...) TERN_PRINTF(1, 2);
// Of a claim from its parts'.
verdict claim_verdict(const claim_outcome *outcomes, size_t n);

// The ratio a / b of paired positive samples: the exponential of the mean of ln(a_i / b_i) and of its Student's t
// interval. n >= 1; with one pair the interval is (0, infinity).
typedef struct claim_ratio {
    double value, low, high;
} claim_ratio;
claim_ratio claim_ratio_of(const double *a, const double *b, size_t n);

#endif
