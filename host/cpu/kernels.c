// Run-time choice of the inner loops.
#include "kernels.h"

#include <pthread.h>

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

static bool has_avx512_vnni(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}

static bool has_avx_vnni(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & 1u << 4) != 0;
}

static cpu_kernels avx_vnni, avx512;
#elif defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>

static bool has_dot_products(void) { return (getauxval(AT_HWCAP) & 1ul << 20) != 0; }     // HWCAP_ASIMDDP
static bool has_matrix_products(void) { return (getauxval(AT_HWCAP2) & 1ul << 13) != 0; } // HWCAP2_I8MM
#else
static bool has_dot_products(void) { return false; }
static bool has_matrix_products(void) { return false; }
#endif

static cpu_kernels neon, neon_dot, neon_i8mm;
#endif

static const cpu_kernels *tables[CPU_MAX_KERNELS] = {&cpu_kernels_portable};
static size_t n_tables = 1;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_tables(void)
{
#if defined(__x86_64__)
    if (!has_avx2_fma_f16c()) return;
    tables[n_tables++] = &cpu_kernels_avx2;
    if (has_avx_vnni()) {
        avx_vnni = cpu_kernels_avx2;
        cpu_kernels_refine_avx_vnni(&avx_vnni);
        tables[n_tables++] = &avx_vnni;
    }
    if (!has_avx512_vnni()) return;
    avx512 = cpu_kernels_avx2;
    cpu_kernels_refine_avx512(&avx512);
    tables[n_tables++] = &avx512;
#elif defined(__aarch64__)
    neon = cpu_kernels_portable;
    cpu_kernels_refine_neon(&neon);
    tables[n_tables++] = &neon;
    if (!has_dot_products()) return;
    neon_dot = neon;
    cpu_kernels_refine_neon_dot(&neon_dot);
    tables[n_tables++] = &neon_dot;
    if (!has_matrix_products()) return;
    neon_i8mm = neon_dot;
    cpu_kernels_refine_neon_i8mm(&neon_i8mm);
    tables[n_tables++] = &neon_i8mm;
#endif
}

size_t cpu_kernels_list(const cpu_kernels *out[CPU_MAX_KERNELS])
{
    pthread_once(&once, find_tables);
    for (size_t i = 0; i < n_tables; i++) out[i] = tables[i];
    return n_tables;
}

const cpu_kernels *cpu_kernels_select(void)
{
    pthread_once(&once, find_tables);
    return tables[n_tables - 1];
}
