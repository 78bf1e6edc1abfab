// Ternary products for processors with NEON 8-bit matrix products. Compiled with -march=armv8.2-a+dotprod+i8mm and
// entered only through cpu_kernels_select.
#if defined(__aarch64__)
#include "kernels_neon_ternary.h"

void cpu_kernels_refine_neon_i8mm(cpu_kernels *k)
{
    k->name = "neon-i8mm";
    put_ternary_loops(k);
}
#else
typedef int kernels_neon_i8mm_empty; // ISO C wants a declaration in every file
#endif
