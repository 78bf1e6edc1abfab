// Ternary products: the choice of a kernel and the sharing out of its work; see tmm.h.
#include "tmm.h"

#define MAX_SPANS  32u        // row groups a block of the stream kernels touches; their sums stand in shared memory
#define SPAN_BYTES 512u       // sums of a row group for 8 columns
#define MAX_STEPS  (1u << 31) // steps are counted in 32 bits
#define MAX_TOKENS ((1u << 20) - 32u) // of one launch, by the limits of a grid

// PREDICTIONS, from data sheets (memory bandwidth, tensor rate, clock, shared memory; bench/NOTES.md has the
// arithmetic); none is measured. In order: 2080 Ti, A100, 3090, 4090, H100, 5090. That wgmma is faster is such a
// prediction, too, so it is not chosen until a measurement says from how many columns on (scripts/gpu_check.sh).
static const tmm_tuning tunings[] = {
    {75, 2, 226, {0}, {0}, 2000, 0},
    {80, 2, 108, {2, 2, 2, 1}, {868, 1040, 2075, 2075}, 2000, 0},
    {86, 2, 179, {2, 1, 1, 1}, {1435, 805, 1610, 3220}, 2000, 0},
    {89, 2, 260, {2, 1, 1, 1}, {2080, 1040, 1085, 2170}, 2000, 0},
    {90, 2, 81, {2, 2, 2, 1, 1}, {645, 785, 1570, 1570, 900}, 2000, 0},
    {120, 2, 194, {2, 1, 1, 1}, {1554, 777, 1135, 2270}, 2000, 0},
};

const tmm_tuning *tmm_tuning_for(int capability)
{
    size_t i = sizeof tunings / sizeof tunings[0] - 1;
    while (i > 0 && tunings[i].capability > capability) i--;
    return &tunings[i];
}

static uint32_t count_tiles(ternary_layout layout, uint32_t n_cols)
{
    return (n_cols + tmm_tile_columns(layout) - 1) / tmm_tile_columns(layout);
}

// Shared memory of a block of the stream kernels, at the most.
static size_t staged_bytes(ternary_layout layout, uint32_t n_cols, uint32_t n_columns)
{
    size_t row = tmm_column_stride(layout, count_tiles(layout, n_cols));
    return n_columns * row + 16 + MAX_SPANS * SPAN_BYTES;
}

// ---- sharing out

// Items of n_tiles steps each, over `slots` blocks that run at once: whole items, or equal shares of all steps where
// that is sooner done. Shares of whole items are as many as slots (or `n_whole`, if that is more).
static tmm_split share_out(const device *d, const tmm_tuning *tuning, uint32_t n_items, uint32_t n_tiles,
                           uint32_t n_whole, uint32_t n_shared, uint32_t slots, uint32_t step_ns, size_t slot_bytes)
{
    uint64_t n_steps = (uint64_t)n_items * n_tiles;
    uint64_t whole_ns = (uint64_t)((n_items + slots - 1) / slots) * n_tiles * step_ns;
    uint64_t shared_ns = (n_steps + slots - 1) / slots * step_ns + tuning->combine_ns;
    bool fits = n_shared <= CUDA_COUNTERS && 2 * slot_bytes * n_shared <= d->scratch_bytes;
    if (whole_ns <= shared_ns || !fits) return tmm_split_make(n_items, n_tiles, n_whole);
    return tmm_split_make((uint32_t)n_steps, 1, n_shared);
}

static tmm_split stream_split(const device *d, const tmm_args *a, const tmm_tuning *tuning)
{
    // Blocks that fit on an SM by their activations; each takes 1 KiB more than it asks for, the largest takes all.
    size_t fit = ((size_t)d->shared_per_block + 1024) / (staged_bytes(a->layout, a->n_cols, a->n_columns) + 1024);
    uint32_t per_sm = fit == 1 ? 1 : tuning->stream_blocks_per_sm; // 0: they stay in global memory
    uint32_t slots = (uint32_t)d->n_sms * per_sm;
    uint32_t n_groups = (a->n_rows + TMM_TILE_ROWS - 1) / TMM_TILE_ROWS;
    // A share that begins within a row group touches up to two more than it has whole ones.
    uint32_t n_least = (n_groups + MAX_SPANS - 3) / (MAX_SPANS - 2), n = slots > n_least ? slots : n_least;
    return share_out(d, tuning, n_groups, a->n_tiles, n, n, slots, tuning->stream_step_ns, SPAN_BYTES);
}

static tmm_split block_split(const device *d, const tmm_args *a, tmm_kernel kernel, const tmm_tuning *tuning)
{
    uint32_t columns = tmm_block_columns(kernel), form = (uint32_t)(kernel - TMM_BLOCK_8);
    uint32_t slots = (uint32_t)d->n_sms * tuning->block_blocks_per_sm[form];
    uint32_t n_items = ((a->n_rows - 1) / (8 * TMM_TILE_ROWS) + 1) * ((a->n_columns - 1) / columns + 1);
    uint32_t step_ns = tuning->block_step_ns[form] * tmm_tile_columns(a->layout) / 256; // of T64
    return share_out(d, tuning, n_items, a->n_tiles, n_items, slots, slots, step_ns,
                     (size_t)columns * 8 * TMM_TILE_ROWS * sizeof(int));
}

// ---- choice

bool tmm_has_wgmma(const device *d) { return d->capability == 90 && strstr(TERN_CUDA_CODE, "sm_90a") != NULL; }

tmm_kernel tmm_choose(const device *d, const tmm_tuning *tuning, const weights *w, uint32_t n_columns)
{
    bool has_mma = d->capability >= 80, may_wgmma = w->layout == TERNARY_T64 && tmm_has_wgmma(d);
    if (w->n_groups > 1) return has_mma && w->group % TERNARY_GRANULE == 0 ? TMM_GROUPS : TMM_RAGGED;
    if (!has_mma) return TMM_STREAM_DP4A;
    if (may_wgmma && tuning->wgmma_from > 0 && n_columns >= tuning->wgmma_from) return TMM_BLOCK_WGMMA;
    if (n_columns > 64) return TMM_BLOCK_128;
    if (n_columns > 32) return TMM_BLOCK_64;
    if (n_columns > 8) return TMM_BLOCK_32;
    bool fits = staged_bytes(w->layout, w->n_cols, n_columns) <= (size_t)d->shared_per_block;
    return fits ? TMM_STREAM_MMA : TMM_BLOCK_8;
}

// ---- one op

static void set_tokens(tmm_args *a, const op *o, uint32_t first, uint32_t n_tokens)
{
    const op_ternary_mm *p = &o->ternary_mm;
    const view codes[2] = {p->x.codes, p->x.lo_codes}, sums[2] = {p->x.sum, p->x.lo_sum};
    const view scales[2] = {p->x.scale, p->x.lo_scale};
    for (uint32_t term = 0; term < a->terms; term++) {
        a->codes[term] = (const int8_t *)cuda_at(codes[term]) + (size_t)first * p->x.ld;
        a->sums[term] = (const int32_t *)cuda_at(sums[term]) + first;
        a->scales[term] = (const float *)cuda_at(scales[term]) + first;
    }
    a->y = (float *)cuda_at(p->y) + (size_t)first * p->ld_y;
    a->n_tokens = n_tokens;
    a->n_columns = n_tokens * a->terms;
}

static tmm_args make_args(const device *d, const op *o)
{
    const op_ternary_mm *p = &o->ternary_mm;
    const weights *w = p->w;
    tmm_args a = {
        .w = w->data,
        .w_scale = w->scales,
        .scratch = (int *)d->scratch,
        .counters = d->counters,
        .ld_x = p->x.ld,
        .ld_y = p->ld_y,
        .n_rows = w->n_rows,
        .n_cols = w->n_cols,
        .terms = p->x.lo_codes.buffer != NULL ? 2 : 1,
        .n_granules = ternary_granules(w->layout, w->n_cols),
        .n_tiles = count_tiles(w->layout, w->n_cols),
        .group = w->group,
        .n_groups = w->n_groups,
        .layout = w->layout,
        .epilogue = p->epilogue,
    };
    return a;
}

// Tokens that one launch of the kernel takes at the most; 0: the kernel cannot take the product at all.
static uint32_t tokens_at_once(const device *d, const tmm_args *a, uint32_t n_tokens, tmm_kernel kernel)
{
    bool has_mma = d->capability >= 80;
    uint32_t at_once = 8 / a->terms;
    switch (kernel) {
    case TMM_RAGGED: return MAX_TOKENS;
    case TMM_GROUPS: return has_mma && a->group % TERNARY_GRANULE == 0 ? MAX_TOKENS : 0;
    case TMM_STREAM_MMA:
        if (!has_mma || n_tokens > at_once) return 0;
        return staged_bytes(a->layout, a->n_cols, n_tokens * a->terms) <= (size_t)d->shared_per_block ? at_once : 0;
    case TMM_STREAM_DP4A:
        if (n_tokens < at_once) at_once = n_tokens;
        while (at_once > 0 && staged_bytes(a->layout, a->n_cols, at_once * a->terms) > (size_t)d->shared_per_block)
            at_once--;
        return at_once > 0 ? at_once : 2 / a->terms; // not even one: straight from global memory
    default: break;
    }
    if (!has_mma || (kernel == TMM_BLOCK_WGMMA && (a->layout != TERNARY_T64 || !tmm_has_wgmma(d)))) return 0;
    uint64_t row_steps = (uint64_t)((a->n_rows - 1) / (8 * TMM_TILE_ROWS) + 1) * a->n_tiles;
    uint64_t tokens = MAX_STEPS / row_steps * tmm_block_columns(kernel) / a->terms;
    return tokens < MAX_TOKENS ? (uint32_t)tokens : MAX_TOKENS;
}

static tern_status launch(stream *s, tmm_args *a, tmm_kernel kernel, const tmm_tuning *tuning, tern_error *err)
{
    const device *d = s->device;
    bool is_staged = staged_bytes(a->layout, a->n_cols, a->n_columns) <= (size_t)d->shared_per_block;
    switch (kernel) {
    case TMM_STREAM_MMA: a->split = stream_split(d, a, tuning); return tmm_launch_mma(s, a, err);
    case TMM_STREAM_DP4A: a->split = stream_split(d, a, tuning); return tmm_launch_dp4a(s, a, is_staged, err);
    case TMM_GROUPS: return tmm_launch_groups(s, a, err);
    case TMM_RAGGED: return tmm_launch_ragged(s, a, err);
    default: a->split = block_split(d, a, kernel, tuning); return tmm_launch_block(s, a, kernel, err);
    }
}

tern_status tmm_enqueue(stream *s, const op *o, tmm_kernel kernel, const tmm_tuning *tuning, tern_error *err)
{
    const device *d = s->device;
    tmm_args a = make_args(d, o);
    bool takes_groups = kernel == TMM_GROUPS || kernel == TMM_RAGGED; // one scale along K is another definition
    uint32_t at_once = takes_groups == (a.n_groups > 1) ? tokens_at_once(d, &a, o->m, kernel) : 0;
    if (at_once == 0)
        return error_set(err, TERN_DEVICE_UNSUPPORTED, "ternary_mm on %s: kernel %d does not take this product",
                         d->name, (int)kernel);
    tern_status status = TERN_OK;
    for (uint32_t first = 0; first < o->m && status == TERN_OK; first += at_once) {
        set_tokens(&a, o, first, o->m - first < at_once ? o->m - first : at_once);
        status = launch(s, &a, kernel, tuning, err);
    }
    return status;
}

tern_status cuda_ternary_mm(stream *s, const op *o, tern_error *err)
{
    const device *d = s->device;
    uint32_t n_columns = o->m * (o->ternary_mm.x.lo_codes.buffer != NULL ? 2 : 1);
    const tmm_tuning *tuning = tmm_tuning_for(d->capability);
    return tmm_enqueue(s, o, tmm_choose(d, tuning, o->ternary_mm.w, n_columns), tuning, err);
}
