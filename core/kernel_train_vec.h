/* Private: vectors of 16 floats for core/kernel_train_*.c, with intrinsics where AVX-512 is and as
 * plain loops elsewhere. Both give the same bits: comparisons and choices follow the order of
 * arguments of the CPU's own (of two values one of which is NaN, min and max take the second).
 *
 * bf16 is rounded to nearest even; every NaN becomes 0xffc0, because which of two NaNs a sum takes
 * is the compiler's choice; subnormal numbers are kept (the CPU's bf16 instructions would drop
 * them). Functions with `n` touch n elements, 1 to 16: lanes behind them are 0. */
#ifndef BG_CORE_KERNEL_TRAIN_VEC_H
#define BG_CORE_KERNEL_TRAIN_VEC_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define BG_TRAIN_AVX512 1
#else
#define BG_TRAIN_AVX512 0
#endif

#define VEC 16

/* Templates: with intrinsics the compiler has to see constants and registers everywhere. Plain
 * loops are left to its judgement; under a sanitizer it would take them minutes in one function. */
#if BG_TRAIN_AVX512
#define INLINE      static inline __attribute__((always_inline))
#define UNROLL_FOUR _Pragma("GCC unroll 4")
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INLINE static __attribute__((noinline, unused))
#define UNROLL_FOUR
#else
#define INLINE static inline
#define UNROLL_FOUR
#endif

/* Code zero + rne(x), held in [lo, hi], all within 0 to 255; NaN becomes lo. */
struct code_limits {
    int32_t zero, lo, hi;
};

INLINE uint16_t first_lanes(int64_t n)
{
    return n >= VEC ? 0xffff : (uint16_t)((1u << n) - 1);
}

#if BG_TRAIN_AVX512
#include "core/kernel_train_avx512.h"
#else
#include "core/kernel_train_plain.h"
#endif

#endif
