// Threads of the CPU backend. A region divides an op's items into chunks, several for each worker; workers claim
// chunks, first of their own share, then what others have left. So on a quiet machine every worker does its own
// contiguous share, and where another process holds a core the calling thread does what the missing worker does not: it
// waits for nothing but chunks that were begun. Who does a chunk changes no bit of a result.
//
// Workers spin for a moment after a region, because the next op follows within microseconds, and then sleep. They block
// all signals and compute in the environment of fpenv.h.
//
// Fork: the child has no workers. Regions there run on the calling thread and team_destroy only frees. As with every
// threaded library, forking while another thread is inside a region leaves that region unfinished in the child.
#ifndef TERN_CPU_TEAM_H
#define TERN_CPU_TEAM_H

#include <stdint.h>

#include "error.h"

typedef struct team team;

// Does items [first, end); called for disjoint ranges on several threads at once.
typedef void (*team_fn)(void *context, uint32_t first, uint32_t end);

// A team of n_threads workers, of which the thread that calls team_run is one: one worker starts no thread. HOST_MEMORY
// where the system gives no further thread.
tern_status team_create(uint32_t n_threads, team **out, tern_error *err);
void team_destroy(team *t); // NULL: nothing to do

// Does items [0, n_items) in chunks of whole multiples of `grain` items, the last one excepted, and returns when all
// are done. Without a team, and while another thread has a region on it, the calling thread does all of them.
void team_run(team *t, uint32_t n_items, uint32_t grain, team_fn fn, void *context);

#endif
