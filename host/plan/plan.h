// The memory plan: what a model would take on a device, from headers and device facts alone. Nothing is allocated and
// no device is opened. The public struct and entry point are in tern.h.
#ifndef TERN_PLAN_PLAN_H
#define TERN_PLAN_PLAN_H

#include "model.h"
#include "registry.h"
#include "step.h"

// For a device of these facts, whose backend `b` lays the weights out.
tern_status plan_make(const model_source *model, const backend *b, const device_facts *facts,
                      const tern_plan_options *options, tern_plan *out, tern_error *err);

// The facts of a card that is not here.
void plan_card_facts(const tern_card *card, device_facts *out);

// The step's shape under a plan: the same arithmetic for planning and for running.
step_shape plan_step_shape(const hparams *hp, const tern_plan *plan);

// The dense type that all matrices are turned into on such a device; DENSE_N_TYPES: held as stored.
dense_type plan_held_type(const device_facts *facts, tern_weights kind);

// The same of the embedding and the head.
dense_type plan_head_type(const device_facts *facts, tern_weights kind, tern_head head);

// KV_* of the public type.
int plan_kv_type(tern_kv_type type);

#endif
