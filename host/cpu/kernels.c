// Run-time choice of the inner loops.
#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>

// __builtin_cpu_supports also asks whether the system saves the wide registers; not every compiler lets it be asked for
// F16C.
static bool has_avx2_fma_f16c(void)
{
    unsigned eax, ebx, ecx, edx;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

const cpu_kernels *cpu_kernels_select(void)
{
#if defined(__x86_64__)
    if (has_avx2_fma_f16c()) return &cpu_kernels_avx2;
#endif
    return &cpu_kernels_portable;
}
