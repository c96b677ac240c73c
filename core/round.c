/* The rounding modes by name. Every mode is exact: the result is an integer next to x (or x).
 * Stochastic: x - floor(x) is exact but for x in (-1/2, 0), where it is rounded by at most 2^-25.
 */
#include "core/round.h"

#include <assert.h>

const char *const bg_rounding_names[BG_ROUNDINGS] = {
    [BG_ROUND_NEAREST] = "nearest",
    [BG_ROUND_STOCHASTIC] = "stochastic",
    [BG_ROUND_ZERO] = "zero",
    [BG_ROUND_FLOOR] = "floor",
};
static_assert(BG_ROUNDINGS == 4, "one name and one case per rounding");

float bg_round(float x, enum bg_rounding rounding, uint32_t random)
{
    float down;

    switch (rounding) {
    case BG_ROUND_STOCHASTIC:
        down = floorf(x);
        return (float)(random >> 8) * 0x1p-24f < x - down ? down + 1.0f : down;
    case BG_ROUND_ZERO:
        return truncf(x);
    case BG_ROUND_FLOOR:
        return floorf(x);
    case BG_ROUND_NEAREST:
    case BG_ROUNDINGS:
    default:
        return bg_rne(x);
    }
}
