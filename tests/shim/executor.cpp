// Executes kernels: blocks one after the other, the threads of a block as fibres. A fibre runs until it must wait for
// others (a barrier, a warp operation); then the next one continues. Warps of even blocks run in ascending order, those
// of odd blocks in descending order, so that a result that depends on the order of warps differs between blocks. Every
// second launch runs its blocks in descending order: whatever the last block to arrive does is then done by the first.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "fibre.h"
#include "shim.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace
{

const unsigned max_threads = 1024, warp = 32;

enum fibre_state { READY, AT_BARRIER, TOGETHER, ENDED };

// Threads that meet: a warp, or a group of warps.
struct meeting {
    unsigned n, n_here;
    const char *what;
    void *arguments[128];
};

struct async_copy {
    void *to;
    const void *from;
    size_t n_bytes;
    unsigned group;
};

struct block_thread {
    shim_thread self;
    fibre *stack;
    fibre_state state;
    const char *file; // of the barrier it waits at
    int line;
    std::vector<async_copy> copies;
    unsigned n_groups; // committed
};

struct static_array {
    unsigned char *data;
    size_t n_bytes;
    bool is_used; // by the current block
};

block_thread threads[max_threads];
meeting warps[max_threads / warp], warp_groups[max_threads / 128];
std::map<const void *, static_array> static_arrays;
unsigned char *dynamic_shared;
size_t dynamic_bytes;
unsigned n_threads, n_ended, n_at_barrier;
block_thread *current, *first_at_barrier;
const std::function<void()> *body;
std::string fault;
uint64_t n_switches;

void note_fault(const char *format, va_list arguments)
{
    if (!fault.empty()) return;
    char text[400];
    std::vsnprintf(text, sizeof text, format, arguments);
    char where[200];
    std::snprintf(where, sizeof where, " (block %u,%u,%u, thread %u)", shim_block_index.x, shim_block_index.y,
                  shim_block_index.z, current == nullptr ? 0 : current->self.index);
    fault = std::string(text) + where;
    std::fprintf(stderr, "shim: %s\n", fault.c_str());
}

void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    note_fault(format, arguments);
    va_end(arguments);
}

void leave() { fibre_switch(current->stack, fibre_main()); }

// What each fibre runs: one thread of one block, again and again.
void thread_main()
{
    fibre_entered();
    for (;;) {
        (*body)();
        if (!current->copies.empty()) note("a thread ends with asynchronous copies that it did not wait for");
        current->state = ENDED;
        n_ended++;
        leave();
    }
}

void release_barrier()
{
    for (unsigned i = 0; i < n_threads; i++)
        if (threads[i].state == AT_BARRIER) threads[i].state = READY;
    n_at_barrier = 0;
}

void enter(block_thread *t)
{
    current = t;
    shim_self = &t->self;
    n_switches++;
    fibre_switch(fibre_main(), t->stack);
}

// Runs the lanes of a warp until none can go on.
bool run_warp(unsigned w)
{
    bool moved = false, any = true;
    while (any && fault.empty()) {
        any = false;
        for (unsigned i = w * warp; i < (w + 1) * warp && fault.empty(); i++)
            if (threads[i].state == READY) {
                enter(&threads[i]);
                any = moved = true;
            }
    }
    return moved;
}

void report_standstill()
{
    for (unsigned i = 0; i < n_threads; i++) {
        current = &threads[i];
        if (threads[i].state == TOGETHER) {
            meeting &m = warps[i / warp].n_here > 0 ? warps[i / warp] : warp_groups[i / 128];
            note("%s that not all %u threads reach: the others are at a barrier or have returned", m.what, m.n);
            return;
        }
    }
    for (unsigned i = 0; i < n_threads; i++)
        if (threads[i].state == AT_BARRIER) {
            current = &threads[i];
            note("__syncthreads at %s:%d is not reached by all threads", threads[i].file, threads[i].line);
            return;
        }
}

void poison_shared()
{
    if (dynamic_bytes > 0) std::memset(dynamic_shared, 0xff, dynamic_bytes);
    for (auto &entry : static_arrays) entry.second.is_used = false;
}

void make_fibres()
{
    for (unsigned i = 0; i < n_threads; i++)
        if (threads[i].stack == nullptr) {
            threads[i].stack = fibre_create();
            fibre_start(threads[i].stack, thread_main);
        }
}

// After a fault the stacks are in the middle of something: they start again.
void restart_fibres()
{
    for (auto &t : threads)
        if (t.stack != nullptr) {
            fibre_destroy(t.stack);
            t.stack = nullptr;
        }
}

void run_block()
{
    unsigned n_warps = n_threads / warp;
    n_ended = n_at_barrier = 0;
    for (unsigned i = 0; i < n_threads; i++) {
        threads[i].self.index = i;
        threads[i].self.thread = dim3(i % shim_block_dim.x, i / shim_block_dim.x % shim_block_dim.y,
                                      i / (shim_block_dim.x * shim_block_dim.y));
        threads[i].state = READY;
        threads[i].copies.clear();
        threads[i].n_groups = 0;
    }
    for (auto &m : warps) m.n_here = 0;
    for (auto &m : warp_groups) m.n_here = 0;
    poison_shared();
    bool is_reversed = (shim_block_index.x + shim_block_index.y + shim_block_index.z) % 2 == 1;
    while (n_ended < n_threads && fault.empty()) {
        bool moved = false;
        for (unsigned i = 0; i < n_warps && fault.empty(); i++) moved |= run_warp(is_reversed ? n_warps - 1 - i : i);
        if (n_at_barrier > 0 && n_at_barrier + n_ended == n_threads && fault.empty()) {
            release_barrier();
            moved = true;
        }
        if (!moved && fault.empty()) report_standstill();
    }
}

} // namespace

shim_thread *shim_self;
dim3 shim_block_index, shim_block_dim, shim_grid_dim;

bool shim_execute(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &thread)
{
    n_threads = block.x * block.y * block.z;
    shim_block_dim = block;
    shim_grid_dim = grid;
    body = &thread;
    fault.clear();
    dynamic_bytes = shared_bytes;
    dynamic_shared = nullptr;
    if (shared_bytes > 0 && posix_memalign(reinterpret_cast<void **>(&dynamic_shared), 128, shared_bytes) != 0)
        std::abort();
    make_fibres();
    static unsigned n_launches;
    bool is_descending = n_launches++ % 2 == 1;
    for (unsigned z = 0; z < grid.z && fault.empty(); z++)
        for (unsigned y = 0; y < grid.y && fault.empty(); y++)
            for (unsigned x = 0; x < grid.x && fault.empty(); x++) {
                shim_block_index = is_descending ? dim3(grid.x - 1 - x, grid.y - 1 - y, grid.z - 1 - z) : dim3(x, y, z);
                run_block();
            }
    std::free(dynamic_shared);
    for (auto &entry : static_arrays) std::free(entry.second.data);
    static_arrays.clear();
    shim_self = nullptr;
    if (!fault.empty()) restart_fibres();
    return fault.empty();
}

const char *shim_fault() { return fault.c_str(); }
uint64_t shim_switches() { return n_switches; }

void shim_stop(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    note_fault(format, arguments);
    va_end(arguments);
    leave(); // the block is given up; nobody comes back here
    std::abort();
}

void shim_barrier(const char *file, int line)
{
    if (n_at_barrier == 0) {
        first_at_barrier = current;
    } else {
        const block_thread *first = first_at_barrier;
        if (first->line != line || (first->file != file && std::strcmp(first->file, file) != 0))
            shim_stop("divergent barriers: %s:%d while thread %u waits at %s:%d", file, line, first->self.index,
                      first->file, first->line);
    }
    current->file = file;
    current->line = line;
    current->state = AT_BARRIER;
    n_at_barrier++;
    leave();
}

void shim_together(unsigned n, void *argument, void (*fn)(void *const *), const char *what)
{
    unsigned index = current->self.index;
    meeting &m = n == warp ? warps[index / warp] : warp_groups[index / 128];
    if (n != warp && n != 128) shim_stop("%s of %u threads; 32 and 128 are known", what, n);
    if (m.n_here > 0 && std::strcmp(m.what, what) != 0)
        shim_stop("%s while other threads of its %u are at %s", what, n, m.what);
    m.n = n;
    m.what = what;
    m.arguments[index % n] = argument;
    m.n_here++;
    if (m.n_here < n) {
        current->state = TOGETHER;
        leave();
        return;
    }
    m.n_here = 0;
    fn(m.arguments);
    for (unsigned i = index / n * n; i < index / n * n + n; i++)
        if (threads[i].state == TOGETHER) threads[i].state = READY;
}

void *shim_dynamic_shared()
{
    if (dynamic_bytes == 0) shim_stop("a kernel uses dynamic shared memory and was launched with none");
    return dynamic_shared;
}

void *shim_static_shared(const void *declaration, size_t n_bytes)
{
    static_array &a = static_arrays[declaration];
    if (a.data == nullptr) {
        if (posix_memalign(reinterpret_cast<void **>(&a.data), 128, n_bytes) != 0) std::abort();
        a.n_bytes = n_bytes;
    }
    if (!a.is_used) std::memset(a.data, 0xff, a.n_bytes);
    a.is_used = true;
    return a.data;
}

void shim_copy_async(void *to, const void *from, size_t n_bytes)
{
    current->copies.push_back({to, from, n_bytes, current->n_groups});
}

void shim_commit_async() { current->n_groups++; }

void shim_wait_async(unsigned n_newest)
{
    auto &copies = current->copies;
    size_t n_done = 0;
    while (n_done < copies.size() && copies[n_done].group + n_newest < current->n_groups) {
        std::memcpy(copies[n_done].to, copies[n_done].from, copies[n_done].n_bytes);
        n_done++;
    }
    copies.erase(copies.begin(), copies.begin() + (std::ptrdiff_t)n_done);
}
