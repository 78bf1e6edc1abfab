// Fast op: dense_top_k. Rows of floats are read at the speed of memory, so their products are made as dense_mm makes
// them and the best kept. Rows of Q6_K are bound by the instructions of dot64, and almost none of them is one of the
// best: an upper bound of the product, from integer sums, is compared with the worst of the best so far, and only rows
// that pass are multiplied as defined, while they are in the cache.
//
// The bound. x of each block of 256 becomes int8 codes with a scale, x_i = scale * code_i + rest_i. So the exact sum
// of w_i * x_i is the sum of w_i * scale * code_i, which comes from integers, and of w_i * rest_i, at most |w| times
// the magnitude of the rest; in a sub-block of 16 |w| is at most 32 * |d * scale of the sub-block|. dot64 rounds each
// product n / 64 times as it goes to its accumulator and six times in the tree, and the bound's own float operations
// round their values n / 256 + 6 times, values up to three times larger (codes count from -32): in all less than
// (n / 32 + 32) * 2^-24 of |w| * (|x| + |rest|), which is added to the rest. 2^-10 of the margin covers the operations
// on the margin itself, n * 2^-120 whatever underflows.
//
// As long as |x| < 2^60, a product is finite unless a d is not, and such a row's bound is never below anything: it is
// +infinity or NaN. So no product that must lower the flag is left out.
#include <math.h>
#include <pthread.h>

#include "fast.h"

#define GRAIN       8u // rows
#define X_LIMIT     0x1p60f
#define CODED_FROM  0x1p-100f // a block of smaller values has codes 0
#define MOST_MARGIN 32000.0f

// ---- the operand

// Codes of sub-block s of block b, and what margin they leave.
static float code_sub_block(const cpu_kernels *k, const float *x, float share, uint32_t b, uint32_t s, q6k_screen *out)
{
    const float scale = out->scale[b][0];
    int8_t *codes = out->codes[b] + 32 * (s % 8) + 16 * (s / 8);
    float size = 0.0f, rest = 0.0f;
    out->less[b][s] = (int16_t)-k->codes(x, scale > 0.0f ? 1.0f / scale : 0.0f, 16, codes);
    for (uint32_t i = 0; i < 16; i++) {
        size += fabsf(x[i]);
        rest += fabsf(scalar_fma(-(float)codes[i], scale, x[i]));
    }
    return rest + share * (size + rest);
}

bool fast_screen_operand(const cpu_kernels *k, const float *x, uint32_t n, q6k_screen *out)
{
    const float share = ((float)n / 32.0f + 32.0f) * 0x1p-24f;
    float margin[16 * SCREEN_BLOCKS], most = 0.0f;
    for (uint32_t b = 0; b < n / 256; b++) {
        const float top = scalar_as_float(k->absmax(x + 256 * b, 256));
        if (!(top < X_LIMIT)) return false; // or a NaN
        for (uint32_t i = 0; i < 8; i++) out->scale[b][i] = top < CODED_FROM ? 0.0f : top / 127.0f;
        for (uint32_t s = 0; s < 16; s++) {
            float m = margin[16 * b + s] = code_sub_block(k, x + 256 * b + 16 * s, share, b, s, out);
            most = m > most ? m : most;
        }
    }
    const float unit = most / MOST_MARGIN > 0x1p-126f ? most / MOST_MARGIN : 0x1p-126f;
    for (uint32_t i = 0; i < n / 16; i++) out->margin[i / 16][i % 16] = (int16_t)((int)(margin[i] / unit) + 1);
    out->margin_unit = 32.0f * unit * (1.0f + 0x1p-10f);
    out->slack = (float)n * 0x1p-120f;
    return true;
}

// ---- the best

typedef struct search {
    dense_token token;
    const op *o;
    const q6k_screen *screen; // NULL: every row is multiplied
    uint32_t kept;
    int32_t *ids; // [k], like values
    float *values;
    float worst; // of the k best so far, atomic; -infinity before there are k
    pthread_mutex_t mutex;
} search;

static float worst_of(search *s)
{
    float worst;
    __atomic_load(&s->worst, &worst, __ATOMIC_RELAXED);
    return worst;
}

static void offer(void *context, uint32_t row, float value)
{
    search *s = context;
    const op_dense_top_k *a = &s->o->dense_top_k;
    if (!scalar_is_finite(value)) cpu_flag(s->o);
    if (row >= a->n || value < worst_of(s)) return;
    pthread_mutex_lock(&s->mutex);
    fast_keep_best(value, row, a->k, &s->kept, s->ids, s->values);
    if (s->kept == a->k) __atomic_store(&s->worst, &s->values[a->k - 1], __ATOMIC_RELAXED);
    pthread_mutex_unlock(&s->mutex);
}

static void search_rows(void *context, uint32_t begin, uint32_t end)
{
    search *s = context;
    const dense_token *t = &s->token;
    if (s->screen == NULL) {
        fast_dense_token(t, begin, end);
        return;
    }
    const uint32_t n = (end - begin) / DENSE_ROWS;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *rows[DENSE_ROWS];
        float upper[DENSE_ROWS];
        for (uint32_t r = 0; r < DENSE_ROWS; r++) rows[r] = t->w->data + (begin + r * n + i) * t->w->row_bytes;
        t->kernels->q6k_upper(rows, s->screen, t->w->n_cols, upper);
        for (uint32_t r = 0; r < DENSE_ROWS; r++)
            if (!(upper[r] < worst_of(s))) fast_dense_token(t, begin + r * n + i, begin + r * n + i + 1);
    }
    fast_dense_token(t, begin + DENSE_ROWS * n, end);
}

void fast_dense_top_k(const device *d, const op *o)
{
    const op_dense_top_k *a = &o->dense_top_k;
    for (uint32_t m = 0; m < o->m; m++) {
        const float *x = fast_row(a->x, a->ld_x, m);
        float operand[DENSE_OPERAND];
        q6k_screen screen;
        search s = {.o = o,
                    .ids = (int32_t *)cpu_at(a->ids) + (size_t)m * a->k,
                    .values = fast_row_out(a->values, a->k, m),
                    .worst = -INFINITY,
                    .mutex = PTHREAD_MUTEX_INITIALIZER};
        s.token = (dense_token){d->kernels, a->w, x, fast_dense_operand(d->kernels, a->w, x, operand), offer, &s};
        bool is_screened = s.token.operand != NULL && d->kernels->q6k_upper != NULL &&
                           fast_screen_operand(d->kernels, x, a->w->n_cols, &screen);
        if (is_screened) s.screen = &screen;
        team_run(d->team, a->w->n_rows, GRAIN, search_rows, &s);
        pthread_mutex_destroy(&s.mutex);
    }
}
