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

// A product of a warp group, until it is made.
struct group_product {
    uint64_t b;
    uint32_t first, last; // where B stands
    unsigned group;
    shim_wgmma_function *multiply;
    const unsigned *a[128];
};

struct block_thread {
    shim_thread self;
    fibre *stack;
    fibre_state state;
    const char *file; // of the barrier it waits at
    int line;
    std::vector<async_copy> copies;
    unsigned n_groups; // committed

    // Products of its warp group: how many it joined, in how many closed groups; whether a fence came since the last.
    unsigned n_products, n_product_groups;
    bool is_fenced;
    int *sums; // rubbish while products are under way, NULL else; the real ones:
    std::vector<int> real_sums;
    unsigned n_proxy_fences;
};

// The copy that last landed in 16 bytes of dynamic shared memory.
struct landing {
    unsigned thread, n_proxy_fences; // 1 + its index, 0 for none; how many fences it had made then
};

struct static_array {
    unsigned char *data;
    size_t n_bytes;
    bool is_used; // by the current block
};

block_thread threads[max_threads];
meeting warps[max_threads / warp], warp_groups[max_threads / 128];
std::vector<group_product> products[max_threads / 128]; // under way
unsigned n_products_made[max_threads / 128];
std::vector<landing> landings;
const uint32_t shared_window = 0x410; // address of dynamic shared memory
const int rubbish = 0x5a5a5a5a;
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
        if (current->sums != nullptr) note("a thread ends with wgmma that it did not wait for");
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
        threads[i].n_products = threads[i].n_product_groups = threads[i].n_proxy_fences = 0;
        threads[i].is_fenced = false;
        threads[i].sums = nullptr;
    }
    for (auto &p : products) p.clear();
    for (auto &n : n_products_made) n = 0;
    landings.assign(dynamic_bytes / 16 + 1, landing());
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
    if (m.n_here > 0 && m.what != what && std::strcmp(m.what, what) != 0)
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

// Where a pointer stands in dynamic shared memory; its size for any other.
static size_t dynamic_offset(const void *p)
{
    uintptr_t at = reinterpret_cast<uintptr_t>(p), begin = reinterpret_cast<uintptr_t>(dynamic_shared);
    return at >= begin && at - begin < dynamic_bytes ? at - begin : dynamic_bytes;
}

void shim_copy_async(void *to, const void *from, size_t n_bytes)
{
    size_t offset = dynamic_offset(to);
    for (const auto &of_group : products)
        for (const group_product &p : of_group)
            if (offset < dynamic_bytes && shared_window + offset < p.last && shared_window + offset + n_bytes > p.first)
                shim_stop("an asynchronous copy to shared memory that a wgmma under way reads");
    current->copies.push_back({to, from, n_bytes, current->n_groups});
}

void shim_commit_async() { current->n_groups++; }

void shim_wait_async(unsigned n_newest)
{
    auto &copies = current->copies;
    size_t n_done = 0;
    while (n_done < copies.size() && copies[n_done].group + n_newest < current->n_groups) {
        std::memcpy(copies[n_done].to, copies[n_done].from, copies[n_done].n_bytes);
        landings[dynamic_offset(copies[n_done].to) / 16] = {1 + current->self.index, current->n_proxy_fences};
        n_done++;
    }
    copies.erase(copies.begin(), copies.begin() + (std::ptrdiff_t)n_done);
}

uint32_t shim_shared_address(const void *shared)
{
    size_t offset = dynamic_offset(shared);
    if (offset == dynamic_bytes) shim_stop("shared_address of %p, which is not in dynamic shared memory", shared);
    return shared_window + (uint32_t)offset;
}

const void *shim_read_async(uint32_t address, size_t n_bytes)
{
    size_t offset = (size_t)address - shared_window;
    if (address < shared_window || offset + n_bytes > dynamic_bytes)
        shim_stop("shared memory at %u is read for a wgmma; there are %zu bytes from %u on", address, dynamic_bytes,
                  shared_window);
    const landing &l = landings[offset / 16];
    if (l.thread != 0 && threads[l.thread - 1].n_proxy_fences == l.n_proxy_fences)
        shim_stop("a wgmma reads what thread %u copied to shared memory without fence.proxy.async", l.thread - 1);
    return dynamic_shared + offset;
}

void shim_fence_proxy() { current->n_proxy_fences++; }

void shim_wgmma(uint64_t b, uint32_t first, uint32_t last, const unsigned *a, int *sums, unsigned n_sums,
                shim_wgmma_function *multiply)
{
    block_thread &t = *current;
    unsigned group = t.self.index / 128, at = t.n_products++ - n_products_made[group];
    auto &under_way = products[group];
    if (!t.is_fenced) shim_stop("wgmma without wgmma.fence since the last one: its fragments are new");
    t.is_fenced = false;
    if (at == under_way.size()) under_way.push_back({b, first, last, t.n_product_groups, multiply, {}});
    group_product &p = under_way[at];
    if (p.b != b || p.group != t.n_product_groups || p.multiply != multiply)
        shim_stop("wgmma that is not the same for all threads of its warp group");
    p.a[t.self.index % 128] = a;
    if (t.sums != nullptr && t.sums != sums) shim_stop("wgmma with other sums than the one under way has");
    if (t.sums == nullptr) t.real_sums.assign(sums, sums + n_sums);
    t.sums = sums;
    std::fill(sums, sums + n_sums, rubbish);
}

void shim_wgmma_fence() { current->is_fenced = true; }
void shim_wgmma_commit() { current->n_product_groups++; }

namespace
{

struct product_wait {
    block_thread *thread;
    unsigned n_newest;
};

void make_products(void *const *arguments)
{
    auto lane = [&](int i) { return static_cast<product_wait *>(arguments[i]); };
    int *sums[128];
    const block_thread *first = lane(0)->thread;
    for (int i = 0; i < 128; i++) {
        const block_thread *t = lane(i)->thread;
        if (t->n_products != first->n_products || t->n_product_groups != first->n_product_groups ||
            lane(i)->n_newest != lane(0)->n_newest)
            shim_stop("wgmma.wait_group that is not the same for all threads of its warp group");
        sums[i] = lane(i)->thread->real_sums.data();
    }
    unsigned group = first->self.index / 128, n_done = 0;
    auto &under_way = products[group];
    while (n_done < under_way.size() && under_way[n_done].group + lane(0)->n_newest < first->n_product_groups) {
        under_way[n_done].multiply(under_way[n_done].b, under_way[n_done].a, sums);
        n_done++;
    }
    under_way.erase(under_way.begin(), under_way.begin() + (std::ptrdiff_t)n_done);
    n_products_made[group] += n_done;
}

} // namespace

void shim_wgmma_wait(unsigned n_newest)
{
    block_thread &t = *current;
    product_wait wait = {&t, n_newest};
    shim_together(128, &wait, make_products, "wgmma.wait_group");
    if (t.sums == nullptr || t.n_products != n_products_made[t.self.index / 128]) return;
    for (size_t i = 0; i < t.real_sums.size(); i++)
        if (t.sums[i] != rubbish) shim_stop("sums of a wgmma were written while it was under way");
    std::copy(t.real_sums.begin(), t.real_sums.end(), t.sums);
    t.sums = nullptr;
}
