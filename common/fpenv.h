// The floating-point environment every op runs in: round to nearest even, subnormals kept, exceptions masked. Host
// programs change it (flush to zero is common in audio and numeric code), and it is per thread: every library entry
// that computes, and every worker thread, enters first and leaves at its end.
#ifndef TERN_COMMON_FPENV_H
#define TERN_COMMON_FPENV_H

#include <float.h>
#include <stdint.h>

#if FLT_EVAL_METHOD != 0
#error "fp32 arithmetic must round to fp32 after every operation (on 32-bit x86: -msse2 -mfpmath=sse)"
#endif

#if defined(__x86_64__) || defined(__i386__)
#include <xmmintrin.h>

typedef uint32_t fp_env; // MXCSR

static inline fp_env fp_env_enter(void)
{
    fp_env old = _mm_getcsr();
    _mm_setcsr(0x1f80);
    return old;
}

static inline void fp_env_leave(fp_env old) { _mm_setcsr(old); }

#elif defined(__aarch64__)

typedef uint64_t fp_env; // FPCR

static inline fp_env fp_env_enter(void)
{
    fp_env old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0) : "memory");
    return old;
}

static inline void fp_env_leave(fp_env old) { __asm__ volatile("msr fpcr, %0" : : "r"(old) : "memory"); }

#else
#include <fenv.h>

typedef fenv_t fp_env;

static inline fp_env fp_env_enter(void)
{
    fp_env old;
    fegetenv(&old);
    fesetenv(FE_DFL_ENV);
    return old;
}

static inline void fp_env_leave(fp_env old) { fesetenv(&old); }

#endif
#endif
