// Fibres: several stacks on one thread of the host, switched by hand. On x86-64 and aarch64 a switch saves the
// registers that a call preserves (a few nanoseconds); elsewhere it is swapcontext. AddressSanitizer is told about each
// switch.
#ifndef TERN_SHIM_FIBRE_H
#define TERN_SHIM_FIBRE_H

#include <cstddef>

struct fibre;

// The fibre of the calling thread itself, from which others are entered.
fibre *fibre_main();
// A fibre with a stack of its own, kept for reuse: fibre_start makes it begin `entry` at the next switch to it.
fibre *fibre_create();
void fibre_start(fibre *f, void (*entry)());
void fibre_destroy(fibre *f);
// Leaves `from`, which must be running, and continues `to`.
void fibre_switch(fibre *from, fibre *to);
// First statement of an entry: completes the switch that got there.
void fibre_entered();

#endif
