// See kernels_avx_vnni.c. A part of test_cpu_fast.
#define TERN_EMULATE_VNNI
#define cpu_kernels_refine_avx_vnni refine_emulated_avx_vnni
#include "../../host/cpu/kernels_avx_vnni.c"
