// Inner loops for AVX2 processors that have the dot products of VNNI on 256-bit registers: the ternary products; the
// rest stays with the AVX2 loops. Compiled with -mavx2 -mfma -mf16c -mavxvnni and entered only through
// cpu_kernels_select. A test compiles it with TERN_EMULATE_VNNI, so that all but the instruction itself runs on any
// AVX2 processor.
#if defined(__x86_64__)
#include <immintrin.h>

#define TERNARY_BY_VNNI
#if defined(TERN_EMULATE_VNNI)
// The same for codes 0..2, whose pairs of products fit 16 bits.
#define ADD_PRODUCTS_VNNI(acc, code, x)                                                                                \
    _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(code, x), _mm256_set1_epi16(1)))
#else
#define ADD_PRODUCTS_VNNI(acc, code, x) _mm256_dpbusd_avx_epi32(acc, code, x)
#endif
#include "kernels_avx2_ternary.h"

void cpu_kernels_refine_avx_vnni(cpu_kernels *k)
{
    k->name = "avx-vnni";
    k->ternary_sums[TERNARY_T64] = ternary_sums_t64;
    k->ternary_sums[TERNARY_T80] = ternary_sums_t80;
}
#else
typedef int kernels_avx_vnni_empty; // ISO C wants a declaration in every file
#endif
