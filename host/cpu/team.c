// The worker team over OpenMP; see team.h.
#include "team.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include "fpenv.h"

static void run_member(team_fn fn, void *context, team_member self)
{
    fp_env old = fp_env_enter();
    fn(context, self);
    fp_env_leave(old);
}

void team_run(const device *d, uint32_t n_items, team_fn fn, void *context)
{
#ifdef _OPENMP
    uint32_t size = d->n_threads > 1 ? (uint32_t)d->n_threads : 1;
    if (size > n_items) size = n_items;
    if (size > 1) {
#pragma omp parallel num_threads((int)size)
        {
            // The runtime may give fewer threads than asked for.
            team_member self = {(uint32_t)omp_get_thread_num(), (uint32_t)omp_get_num_threads()};
            run_member(fn, context, self);
        }
        return;
    }
#else
    (void)d;
    (void)n_items;
#endif
    run_member(fn, context, (team_member){0, 1});
}
