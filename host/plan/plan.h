// The memory plan: where every part of a model would go and what it takes there, from headers and device facts alone.
// Nothing is allocated on a device and none is opened. The public struct and entry point are in tern.h.
#ifndef TERN_PLAN_PLAN_H
#define TERN_PLAN_PLAN_H

#include "model.h"
#include "registry.h"
#include "step.h"

// What a plan is made for: a device, and the CPU beside it, which takes the layers that the user keeps off the device
// and whose memory is pinned for what the device reads over its link.
typedef struct plan_places {
    const backend *backend; // lays the device's weights out
    const device_facts *facts;
    const backend *cpu;
    const device_facts *host; // NULL: not known (a card that is not here)
} plan_places;

tern_status plan_make(const model_source *model, const plan_places *where, const tern_plan_options *options,
                      tern_plan *out, tern_error *err);

// The facts of a card that is not here.
void plan_card_facts(const tern_card *card, device_facts *out);

// The devices of a plan in the order of their layers, at least one; the CPU's share comes first.
#define PLAN_MAX_SPANS 2
typedef struct plan_span {
    model_span span;
    bool is_on_cpu; // its backend is the plan's CPU, else the plan's device
} plan_span;
uint32_t plan_spans(const hparams *hp, const tern_plan *plan, plan_span out[PLAN_MAX_SPANS]);

// The step's shape under a plan, on the device with the head or another: the same arithmetic for planning and running.
step_shape plan_step_shape(const hparams *hp, const tern_plan *plan, bool has_head);

// The dense type that all matrices are turned into on such a device; DENSE_N_TYPES: held as stored.
dense_type plan_held_type(const device_facts *facts, tern_weights kind);
ternary_layout plan_layout(tern_layout layout);

// The same of the embedding and the head; a head that is screened has int4 rows beside them.
dense_type plan_head_type(const device_facts *facts, tern_weights kind, tern_head head);

// How many rows of a screened head a token is rescored with.
uint32_t plan_best_rows(const hparams *hp);

// KV_* of the public type.
int plan_kv_type(tern_kv_type type);

// ---- inside the planner

#define PLAN_MAX_CONTEXT (1u << 24) // positions; keeps every index in 32 bits

// plan_bytes.c: all sizes of a plan whose decisions are made; or, when it has them, those that depend on the context.
tern_status plan_measure(const model_source *model, const plan_places *where, tern_plan *plan, tern_error *err);
tern_status plan_measure_context(const hparams *hp, tern_plan *plan, tern_error *err);
// Bytes of this machine's memory that a plan takes in all.
uint64_t plan_host_bytes(const plan_places *where, const tern_plan *plan);
bool plan_fits(const plan_places *where, const tern_plan *plan);
// The largest multiple of 64 positions with which a measured plan fits, 0 if not even one block does.
uint32_t plan_largest_context(const hparams *hp, const plan_places *where, const tern_plan *plan);

// plan.c: the plan for these options, fitting or not, and whether it fits.
tern_status plan_decide(const model_source *model, const plan_places *where, const tern_plan_options *options,
                        tern_plan *out, bool *fits, tern_error *err);

// plan_words.c: the reasons of a plan; and BUDGET for one that does not fit, naming what would.
void plan_explain(const model_source *model, const tern_plan_options *options, bool is_t64_too_large,
                  bool is_resident_too_large, tern_plan *plan);
tern_status plan_refuse(const model_source *model, const plan_places *where, const tern_plan_options *options,
                        const tern_plan *plan, tern_error *err);

#endif
