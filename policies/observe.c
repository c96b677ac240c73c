/* Pieces of the range methods. The order statistic is a radix selection over the ordered bits of
 * f32 in three rounds of 2^11, 2^11 and 2^10 bins: exact, without scratch memory, and counts are
 * integers, so threads cannot change a result. */
#include <math.h>
#include <string.h>

#include "core/kernel.h"
#include "policies/observe.h"

#define BINS     2048
#define PARALLEL 65536 /* below this many values one thread is faster */

enum bg_status bg_observe_extremes(const struct bg_quantizer *quantizer, int64_t channel,
                                   const float *x, int64_t n, float *lo, float *hi)
{
    *lo = *hi = 0;
    if (n <= 0)
        return BG_OK;
    float min = 0, max = 0;
    bg_kernel_min_max(x, n, &min, &max);
    if (!isfinite(min) || !isfinite(max))
        return bg_fail(BG_E_NUMERIC, "range of %s, channel %lld: values are not finite",
                       quantizer->name, (long long)channel);
    *lo = min < 0 ? min : 0;
    *hi = max > 0 ? max : 0;
    return BG_OK;
}

/* Unsigned keys in the order of the values; -0 sorts just below 0. */
static inline uint32_t key_of(float value, uint32_t mask)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    bits &= mask;
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static float value_of(uint32_t key)
{
    uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    float value = 0;
    memcpy(&value, &bits, sizeof value);
    return value;
}

struct round {
    uint32_t mask;          /* clears the sign for |x| */
    uint32_t known, prefix; /* keys with (key & known) == prefix take part */
    int shift;
    uint32_t bins;
};

static void count_bins(const float *x, int64_t n, const struct round *round, int64_t *count)
{
    memset(count, 0, BINS * sizeof *count);
#pragma omp parallel if (n >= PARALLEL)
    {
        int64_t mine[BINS] = {0};
#pragma omp for schedule(static) nowait
        for (int64_t i = 0; i < n; i++) {
            uint32_t key = key_of(x[i], round->mask);
            if ((key & round->known) == round->prefix)
                mine[(key >> round->shift) & (round->bins - 1)]++;
        }
#pragma omp critical(bg_observe_count)
        for (int i = 0; i < BINS; i++)
            count[i] += mine[i];
    }
}

float bg_observe_kth(const float *x, int64_t n, int64_t k, bool absolute)
{
    static const int shifts[] = {21, 10, 0};
    static const uint32_t bins[] = {2048, 2048, 1024};
    struct round round = {.mask = absolute ? 0x7fffffffu : 0xffffffffu};
    for (int i = 0; i < 3; i++) {
        int64_t count[BINS];
        round.shift = shifts[i];
        round.bins = bins[i];
        count_bins(x, n, &round, count);
        uint32_t bin = 0;
        while (bin < bins[i] - 1 && k >= count[bin])
            k -= count[bin++];
        round.prefix |= bin << shifts[i];
        round.known |= (bins[i] - 1) << shifts[i];
    }
    return value_of(round.prefix);
}

void bg_observe_blend(struct bg_quantizer *quantizer, int64_t channel, float lo, float hi,
                      double momentum)
{
    if (quantizer->observed > 0) {
        lo = (float)(momentum * (double)quantizer->lo[channel] + (1 - momentum) * (double)lo);
        hi = (float)(momentum * (double)quantizer->hi[channel] + (1 - momentum) * (double)hi);
    }
    quantizer->lo[channel] = lo;
    quantizer->hi[channel] = hi;
}
