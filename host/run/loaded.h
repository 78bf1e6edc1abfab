// tern_model: an opened file, and its weights on a device once loaded.
#ifndef TERN_RUN_LOADED_H
#define TERN_RUN_LOADED_H

#include "engine.h"
#include "plan.h"
#include "resident.h"

struct tern_model {
    tern_engine *engine;
    model_source *source;
    resident *residents[PLAN_MAX_SPANS]; // one a device, in the order of layers
    uint32_t n_residents;                // 0 until tern_model_load
    tern_plan plan;                      // what it was loaded by
    int references;                      // sessions keep the model alive
};

void loaded_retain(tern_model *model);
void loaded_release(tern_model *model);

#endif
