// The integer inner loops for processors with NEON dot products. Compiled with -march=armv8.2-a+dotprod and entered
// only through cpu_kernels_select.
#if defined(__aarch64__)
#include "kernels_neon.h"

void cpu_kernels_refine_neon_dot(cpu_kernels *k)
{
    k->name = "neon-dotprod";
    put_integer_loops(k);
}
#else
typedef int kernels_neon_dot_empty; // ISO C wants a declaration in every file
#endif
