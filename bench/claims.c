// Claims and verdicts; see claims.h.
#include "claims.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stats.h"

// ------------------------------------------------------------------------------------------------------------- file

static tern_status get_text(const json_t *object, const char *key, const char **out, tern_error *err)
{
    *out = json_string_value(json_object_get(object, key));
    return *out != NULL ? TERN_OK : error_set(err, TERN_MALFORMED, "\"%s\" is missing or not a text", key);
}

static double get_number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key)); // 0 if there is none
}

static unsigned get_count(const json_t *object, const char *key)
{
    return (unsigned)json_integer_value(json_object_get(object, key));
}

static const char *get_optional(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static tern_status load_part(const json_t *json, claim_part *out, tern_error *err)
{
    tern_status status = get_text(json, "label", &out->label, err);
    if (status == TERN_OK) status = get_text(json, "measure", &out->measure, err);
    if (status != TERN_OK) return status;
    out->unit = get_optional(json, "unit");
    out->shape = get_optional(json, "shape");
    out->card = get_optional(json, "card");
    out->kv = get_optional(json, "kv");
    out->node = get_optional(json, "node");
    out->add = get_optional(json, "add");
    out->reason = get_optional(json, "reason");
    out->n_ctx = get_count(json, "n_ctx");
    out->depth = get_count(json, "depth");
    out->gbps = get_number(json, "gbps");
    out->budget_gb = get_number(json, "budget_gb");
    const json_t *least = json_object_get(json, "at_least"), *most = json_object_get(json, "at_most");
    out->is_at_most = most != NULL;
    out->threshold = json_number_value(most != NULL ? most : least);
    bool is_judged = strcmp(out->measure, "untestable") != 0;
    if (is_judged && (!json_is_number(most != NULL ? most : least) || (most != NULL && least != NULL)))
        return error_set(err, TERN_MALFORMED, "part \"%s\" needs one threshold, at_least or at_most", out->label);
    if (is_judged && out->unit == NULL) return error_set(err, TERN_MALFORMED, "part \"%s\" has no unit", out->label);
    if (!is_judged && out->reason == NULL)
        return error_set(err, TERN_MALFORMED, "part \"%s\" is not testable and gives no reason", out->label);
    return TERN_OK;
}

static tern_status load_claim(const json_t *json, claim *out, tern_error *err)
{
    tern_status status = get_text(json, "id", &out->id, err);
    if (status == TERN_OK) status = get_text(json, "source", &out->source, err);
    if (status == TERN_OK) status = get_text(json, "topic", &out->topic, err);
    if (status == TERN_OK) status = get_text(json, "statement", &out->statement, err);
    if (status == TERN_OK) status = get_text(json, "how", &out->how, err);
    if (status != TERN_OK) return status;
    out->remark = get_optional(json, "remark");
    const json_t *parts = json_object_get(json, "parts");
    out->n_parts = json_array_size(parts);
    if (out->n_parts == 0) return error_set(err, TERN_MALFORMED, "it has no parts");
    out->parts = calloc(out->n_parts, sizeof *out->parts);
    if (out->parts == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu parts", out->n_parts);
    for (size_t i = 0; i < out->n_parts && status == TERN_OK; i++)
        status = load_part(json_array_get(parts, i), &out->parts[i], err);
    return status;
}

static tern_status load_all(claims *c, tern_error *err)
{
    const json_t *list = json_object_get(c->json, "claims");
    c->version = (int)get_count(c->json, "version");
    if (c->version != 1)
        return error_set(err, TERN_MALFORMED, "claims of version %d; this program reads version 1", c->version);
    c->n = json_array_size(list);
    if (c->n == 0) return error_set(err, TERN_MALFORMED, "there are no claims");
    c->items = calloc(c->n, sizeof *c->items);
    if (c->items == NULL) return error_set(err, TERN_HOST_MEMORY, "no memory for %zu claims", c->n);
    for (size_t i = 0; i < c->n; i++) {
        tern_status status = load_claim(json_array_get(list, i), &c->items[i], err);
        if (status == TERN_OK) continue;
        error_prefix(err, "claim %zu (%s)", i + 1, c->items[i].id != NULL ? c->items[i].id : "no id");
        return status;
    }
    return TERN_OK;
}

tern_status claims_load(const char *text, claims *out, tern_error *err)
{
    json_error_t at;
    claims c = {.json = json_loads(text, JSON_REJECT_DUPLICATES, &at)};
    tern_status status = c.json != NULL ? load_all(&c, err)
                                        : error_set(err, TERN_MALFORMED, "claims, line %d: %s", at.line, at.text);
    if (status != TERN_OK) {
        claims_free(&c);
        return status;
    }
    *out = c;
    return TERN_OK;
}

void claims_free(claims *c)
{
    for (size_t i = 0; c->items != NULL && i < c->n; i++) free(c->items[i].parts);
    free(c->items);
    json_decref(c->json);
    *c = (claims){0};
}

double claims_picojoules(const claims *c, const char *node, const char *operation)
{
    const json_t *table = json_object_get(json_object_get(c->json, "energy"), "pj");
    const json_t *value = json_object_get(json_object_get(table, node), operation);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

const char *claims_text(const claims *c, const char *object, const char *key)
{
    const char *text = get_optional(json_object_get(c->json, object), key);
    return text != NULL ? text : "";
}

// --------------------------------------------------------------------------------------------------------- verdicts

const char *claim_verdict_name(verdict v)
{
    switch (v) {
    case CLAIM_CONFIRMED: return "confirmed";
    case CLAIM_CONFIRMED_IN_PART: return "confirmed in part";
    case CLAIM_REFUTED: return "refuted";
    case CLAIM_NOT_DECIDED: return "not decided";
    case CLAIM_INVALID: return "invalid";
    case CLAIM_NOT_TESTABLE: break;
    }
    return "not testable here";
}

// low <= high. NaN decides nothing. Rounding of what was computed must not: thresholds have few digits.
static verdict decide(const claim_part *part, double low, double high)
{
    double slack = 1e-9 * fabs(part->threshold);
    double t = part->is_at_most ? part->threshold + slack : part->threshold - slack;
    if (part->is_at_most ? high <= t : low >= t) return CLAIM_CONFIRMED;
    if (part->is_at_most ? low > t : high < t) return CLAIM_REFUTED;
    return CLAIM_NOT_DECIDED;
}

claim_outcome claim_measured(const claim_part *part, double value, double low, double high)
{
    return (claim_outcome){
        .verdict = decide(part, low, high), .has_value = true, .value = value, .low = low, .high = high};
}

claim_outcome claim_computed(const claim_part *part, double value)
{
    claim_outcome outcome = claim_measured(part, value, value, value);
    outcome.is_computed = true;
    return outcome;
}

static claim_outcome without_value(verdict v, const char *format, va_list args)
{
    claim_outcome outcome = {.verdict = v};
    vsnprintf(outcome.detail, sizeof outcome.detail, format, args);
    return outcome;
}

claim_outcome claim_untestable(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    claim_outcome outcome = without_value(CLAIM_NOT_TESTABLE, format, args);
    va_end(args);
    return outcome;
}

claim_outcome claim_invalid(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    claim_outcome outcome = without_value(CLAIM_INVALID, format, args);
    va_end(args);
    return outcome;
}

verdict claim_verdict(const claim_outcome *outcomes, size_t n)
{
    size_t counts[CLAIM_INVALID + 1] = {0};
    for (size_t i = 0; i < n; i++) counts[outcomes[i].verdict]++;
    if (counts[CLAIM_REFUTED] > 0) return CLAIM_REFUTED;
    if (counts[CLAIM_NOT_DECIDED] > 0) return CLAIM_NOT_DECIDED;
    if (counts[CLAIM_CONFIRMED] == n) return CLAIM_CONFIRMED;
    if (counts[CLAIM_CONFIRMED] > 0) return CLAIM_CONFIRMED_IN_PART;
    return counts[CLAIM_INVALID] > 0 ? CLAIM_INVALID : CLAIM_NOT_TESTABLE;
}

claim_ratio claim_ratio_of(const double *a, const double *b, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += log(a[i] / b[i]);
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += (log(a[i] / b[i]) - mean) * (log(a[i] / b[i]) - mean);
    if (n < 2) return (claim_ratio){exp(mean), 0, INFINITY};
    double half = stats_t95(n - 1) * sqrt(squares / (double)(n - 1) / (double)n);
    return (claim_ratio){exp(mean), exp(mean - half), exp(mean + half)};
}
