// The way of rows from a model's files to a device, by several threads at once.
//
// A matrix goes in blocks of rows that stay in a core's cache while they are read, checked, converted and packed. Any
// thread takes any block; a device whose memory is not this process's is handed them by one thread at a time. What
// fails is told as if blocks were done in order: the first failure of the file.
#ifndef TERN_RUN_UPLOAD_H
#define TERN_RUN_UPLOAD_H

#include "model.h"
#include "registry.h"
#include "team.h"

typedef struct load_progress {
    tern_progress report; // may be NULL; called by the loading thread alone
    void *user;
    uint64_t done, total; // bytes of the sources, of all devices
} load_progress;

typedef struct uploader uploader;

// `is_in_memory`: of the device. Rows of the model are at most max_columns wide.
tern_status uploader_create(const backend *b, bool is_in_memory, uint32_t n_threads, uint32_t max_columns,
                            load_progress *progress, uploader **out, tern_error *err);
void uploader_free(uploader *u); // NULL: nothing to do
team *uploader_team(uploader *u);

typedef struct upload_source {
    const matrix_source *matrix;
    const ternary_scale *scale; // of a ternary one
} upload_source;

// All rows of a matrix to rows [first_row, ...) of `to`, held as `held` (DENSE_N_TYPES: as they are stored); or those
// of n_sources = 2 ternary ones of a shape, gate and up by turns (gated_row in ops.h). `to` NULL: a dense matrix that
// is used where the file is mapped; its pages are made present.
tern_status upload_rows(uploader *u, const upload_source *sources, uint32_t n_sources, dense_type held, weights *to,
                        uint32_t first_row, tern_error *err);

// Says that n_bytes more of the sources are done. CANCELLED where the receiver wants no more.
tern_status uploader_advance(uploader *u, uint64_t n_bytes, tern_error *err);

#endif
