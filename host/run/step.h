// One evaluation of the transformer as a list of ops: the only place that knows the order of a layer.
#ifndef TERN_RUN_STEP_H
#define TERN_RUN_STEP_H

#include "resident.h"

#define STEP_LOG 8 // steps whose best id is kept: more than are under way before the host looks

typedef struct step_shape {
    uint32_t n_batch;   // rows at the most
    uint32_t n_tables;  // sequences
    uint32_t table_ld;  // blocks of the longest sequence
    uint32_t n_logits;  // rows of logits computed together at the most; 0: another device has the head
    uint32_t n_best;    // of a screened head: ids a row that are rescored; 0: not screened
    bool gates_apart;   // some layer's gate and up are stored and then gated; else products gate by themselves
    int k_type, v_type; // KV_*
    uint32_t n_blocks;  // of each layer's KV cache
} step_shape;

// Everything a step works in, as views of one workspace buffer. The row inputs stand together so that one write sends
// them.
typedef struct step_buffers {
    view inputs; // start of the row inputs
    size_t input_bytes;
    view ids, row_table, row_position, out_index, tables; // int32
    // What comes back to the host after a step stands together, so that one read brings it: the flag word (uint32), and
    // the best ids and logits of one row [TOP_K_MAX].
    view flag, top_ids, top_values;
    size_t result_bytes;             // from flag on
    view log;                        // int32 [STEP_LOG][2] of steps that advance: best id, flag word
    view hidden;                     // [n_batch, n_embd] residual stream
    view normed;                     // [n_batch, widest input] fp32 input of dense products
    view own_normed;                 // the same after a linear's own norm; empty unless the model has such norms
    view codes, scale, sum;          // the quantised input of ternary products
    view lo_codes, lo_scale, lo_sum; // its second term
    view qkv, attention, gated, projected;
    view gate_up;               // [n_batch, 2 n_ff]; empty unless gates_apart
    view out_hidden;            // [n_batch, n_embd] rows whose logits are wanted; empty without logits
    view logits;                // [n_logits, n_vocab]
    view best_ids, best_values; // [n_logits, n_best]
    uint32_t codes_ld;
    size_t n_bytes; // of the whole workspace
} step_buffers;

// Lays the workspace out in `workspace` (NULL while planning). LIMIT when a size overflows.
tern_status step_layout(const hparams *hp, const step_shape *shape, buffer *workspace, step_buffers *out,
                        tern_error *err);

// Rows of logits worth computing together: a block that stays small beside the model, at least one.
uint32_t step_logit_rows(const hparams *hp, uint32_t n_batch);

typedef struct step {
    const hparams *hp;
    const resident *r; // whose layers the step is over
    step_shape shape;
    step_buffers buffers;
    uint32_t n_valid;    // ids that may be chosen: those behind pad the vocabulary
    buffer *const *kv;   // one buffer per layer of the resident
    const bool *cancel;  // looked at between layers (atomic load); may be NULL
    bool fast_attention; // of steps with a whole window of rows
} step;

// That the device runs what the step is to enqueue by name: fast attention. DEVICE_UNSUPPORTED.
tern_status step_check(const step *s, tern_error *err);

// Enqueues the embedding, where the resident has it (else `hidden` was written), and all its layers for `m` rows whose
// inputs were written, then gathers the `n_out` rows named by out_index into out_hidden. CANCELLED between layers.
tern_status step_layers(const step *s, uint32_t m, uint32_t n_out, tern_error *err);

// Final norm and head for rows [first, first + n) of out_hidden, into logits; of a screened head, the stored rows of
// the best of them too. n <= n_logits.
tern_status step_head(const step *s, uint32_t first, uint32_t n, tern_error *err);

// Whether the device finds the best ids of a row without its logits (step_best).
bool step_has_best(const step *s);

// What step_head and step_top give of row 0 of out_hidden, but no logits. Only where step_has_best.
tern_status step_best(const step *s, uint32_t k, tern_error *err);

// Top k of row `row` of logits among the valid ids.
tern_status step_top(const step *s, uint32_t row, uint32_t k, tern_error *err);

// The best id that step_top found becomes the input of the next step, at the next position; for steps of one row.
tern_status step_advance(const step *s, tern_error *err);

// Words for a NUMERIC flag: "layer 3, ffn_sub_norm".
void step_place_name(const hparams *hp, uint32_t place, char *out, size_t n);

#endif
