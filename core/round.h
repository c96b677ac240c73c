/* Rounding as data. Domain: finite f32; ties as named; -0 stays -0; NaN and infinity pass through
 * (callers clamp before converting to an integer, core/NUMERICS.md, "Codes and grids"). */
#ifndef BG_CORE_ROUND_H
#define BG_CORE_ROUND_H

#include <math.h>
#include <stdint.h>

enum bg_rounding {
    BG_ROUND_NEAREST,
    BG_ROUND_STOCHASTIC,
    BG_ROUND_ZERO,
    BG_ROUND_FLOOR,
    BG_ROUNDINGS
};

extern const char
    *const bg_rounding_names[BG_ROUNDINGS]; /* "nearest", "stochastic", "zero", "floor" */

/* To nearest, ties to even; exact; needs the default rounding mode. */
static inline float bg_rne(float x)
{
    return nearbyintf(x);
}

/* Rounds x; `random` is 32 random bits, read by BG_ROUND_STOCHASTIC alone: up with the probability
 * of the fraction (to 2^-24). */
float bg_round(float x, enum bg_rounding rounding, uint32_t random);

#endif
