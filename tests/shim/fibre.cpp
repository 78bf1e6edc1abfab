// Switching stacks; see fibre.h.
#include "fibre.h"

#include <cstdint>
#include <cstdlib>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define HAS_ASAN 1
#else
#define HAS_ASAN 0
#endif

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

static const size_t stack_bytes = 256 << 10; // touched pages only are used
static const size_t guard_bytes = 64 << 10;

struct fibre {
    void *sp; // where the registers of a fibre that is not running are saved
    char *stack, *top;
    void *fake_stack; // AddressSanitizer's
    const void *bottom;
    size_t size;
#if !defined(__x86_64__) && !defined(__aarch64__)
    ucontext_t context;
#endif
};

static fibre *came_from;

fibre *fibre_main()
{
    static fibre self;
    return &self;
}

fibre *fibre_create()
{
    fibre *f = new fibre();
    void *p = mmap(nullptr, stack_bytes + guard_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p, guard_bytes, PROT_NONE) != 0) std::abort();
    static size_t n;
    f->stack = static_cast<char *>(p) + guard_bytes;
    f->top = f->stack + stack_bytes - n++ % 64 * 320; // stacks start at different offsets, in different cache sets
    f->bottom = f->stack;
    f->size = (size_t)(f->top - f->stack);
    return f;
}

void fibre_destroy(fibre *f)
{
#if HAS_ASAN
    __asan_unpoison_memory_region(f->stack, stack_bytes);
#endif
    munmap(f->stack - guard_bytes, stack_bytes + guard_bytes);
    delete f;
}

// ---- the switch: saves the preserved registers on the old stack, takes the new one, restores

#if defined(__x86_64__)
extern "C" void shim_switch_stack(void **save, void *load);
asm(R"(
.text
.type shim_switch_stack, @function
shim_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size shim_switch_stack, .-shim_switch_stack
)");

static void prepare(fibre *f, void (*entry)())
{
    void **top = reinterpret_cast<void **>(f->top);
    *--top = nullptr; // keeps the stack 16-byte aligned as after a call, and ends back traces
    *--top = reinterpret_cast<void *>(entry);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    f->sp = top;
}
#elif defined(__aarch64__)
extern "C" void shim_switch_stack(void **save, void *load);
asm(R"(
.text
.type shim_switch_stack, %function
shim_switch_stack:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size shim_switch_stack, .-shim_switch_stack
)");

static void prepare(fibre *f, void (*entry)())
{
    void **top = reinterpret_cast<void **>(f->top) - 20;
    for (int i = 0; i < 20; i++) top[i] = nullptr;
    top[11] = reinterpret_cast<void *>(entry); // x30
    f->sp = top;
}
#else
static void prepare(fibre *f, void (*entry)())
{
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = f->size;
    f->context.uc_link = nullptr;
    makecontext(&f->context, entry, 0);
}
#endif

void fibre_start(fibre *f, void (*entry)())
{
    f->fake_stack = nullptr;
    prepare(f, entry);
}

void fibre_entered()
{
#if HAS_ASAN
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
    if (came_from == fibre_main()) {
        came_from->bottom = bottom;
        came_from->size = size;
    }
#endif
}

void fibre_switch(fibre *from, fibre *to)
{
    came_from = from;
#if HAS_ASAN
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->size);
#endif
#if defined(__x86_64__) || defined(__aarch64__)
    shim_switch_stack(&from->sp, to->sp);
#else
    swapcontext(&from->context, &to->context);
#endif
#if HAS_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#endif
}
