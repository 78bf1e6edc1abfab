// Packed weights kept between runs (common/cache.h): what a device that is_in_memory made of ternary matrices, and of
// an embedding and head held in another type, mapped at the next start instead of being made again.
//
// A file is keyed by the hash of all bytes of the model's files and by all that decides how they are packed. Hashing a
// large model takes longer than starting it should, so the hash is kept too, in a small file of its own: keyed by what
// the file system says about the model's files (device, inode, size, times of modification and of change). A model that
// was changed, replaced, copied or moved is hashed again.
#ifndef TERN_RUN_PACK_CACHE_H
#define TERN_RUN_PACK_CACHE_H

#include "log.h"
#include "model.h"
#include "registry.h"
#include "team.h"

// The shape of a ternary_scale; zeros for a dense matrix.
typedef struct scale_shape {
    uint32_t n_sets, n_groups, group, has_ranges;
} scale_shape;

// A matrix, in the order in which they are loaded.
typedef struct packed_matrix {
    weights_desc desc; // its form: no scale
    bool is_by_turns;  // gate and up
    // Known when it is loaded:
    const weights *w;
    scale_shape shape;
} packed_matrix;

typedef struct pack_cache_options {
    const char *dir;      // "": no cache
    uint64_t from, limit; // as in tern_engine_options
    const log_sink *log;
} pack_cache_options;

typedef struct pack_cache pack_cache;

// Looks for the file of these matrices, which take n_bytes as planned. `origin` says what of the model they are, beside
// their forms. *out is NULL where nothing is to be kept: a synthetic model, no directory, or too few bytes. HOST_MEMORY
// is the only error.
tern_status pack_cache_open(const model_source *model, const backend *b, const packed_matrix *matrices, uint32_t n,
                            uint64_t n_bytes, const char *origin, const pack_cache_options *options, team *t,
                            pack_cache **out, tern_error *err);
// The image of matrix i, every byte tested, in desc->image; *scale, to be freed, gets the shape of its scale and
// becomes desc->scale. False: it must be made.
bool pack_cache_find(pack_cache *c, uint32_t i, weights_desc *desc, ternary_scale *scale);
// Keeps the matrices, which are loaded now, unless all were found. Failure is a message in the log; so is a model that
// was changed meanwhile.
void pack_cache_keep(pack_cache *c, const packed_matrix *matrices);
// After the matrices that use its images. NULL: nothing to do.
void pack_cache_close(pack_cache *c);

#endif
