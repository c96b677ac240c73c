/* Percentile range: a share of the largest values is clipped, so outliers do not cost resolution.
 * Symmetric grids take the percentile of |x|; values that are never negative that of x; others cut
 * half of the share from each end. The order statistic is exact (nearest rank: the smallest value
 * with at least that percentage of values at or below it). Batches are averaged. */
#include <math.h>
#include <stddef.h>

#include "core/method.h"
#include "policies/observe.h"

struct percentile_options {
    double percentile, momentum;
};

static const struct bg_option table[] = {
    {.key = "percentile",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct percentile_options, percentile),
     .fallback = "99.9",
     .min = 50,
     .max = 100,
     .help = "percentage of values inside the range"},
    {.key = "momentum",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct percentile_options, momentum),
     .fallback = "0.9",
     .min = 0,
     .max = 1,
     .help = "share of the old range that stays: new = m * old + (1 - m) * batch"},
    {.key = NULL}};

/* Nearest rank, 0-based: ceil(percent / 100 * n) - 1, inside the array. A percentage such as 99.9
 * is no number of f64: it and the operations (five at most) are each off by up to 2^-53 of the
 * value. What that puts above a whole number must not raise the rank. */
#define RANK_SLACK 0x1p-50

static int64_t rank_of(double percent, int64_t n)
{
    int64_t k = (int64_t)ceil(percent / 100 * (double)n * (1 - RANK_SLACK)) - 1;
    return k < 0 ? 0 : k >= n ? n - 1 : k;
}

static enum bg_status observe(const void *options, struct bg_quantizer *quantizer, int64_t channel,
                              const float *x, int64_t n)
{
    const struct percentile_options *o = options;
    enum bg_status rc = BG_OK;
    float lo = 0, hi = 0;
    TRY(bg_observe_extremes(quantizer, channel, x, n, &lo, &hi));
    if (n > 0 && quantizer->symmetric) {
        hi = bg_observe_kth(x, n, rank_of(o->percentile, n), true);
        lo = -hi;
    } else if (n > 0 && lo >= 0) {
        hi = bg_observe_kth(x, n, rank_of(o->percentile, n), false);
    } else if (n > 0) {
        int64_t cut = n - 1 - rank_of(50 + o->percentile / 2, n);
        lo = fminf(bg_observe_kth(x, n, cut, false), 0);
        hi = fmaxf(bg_observe_kth(x, n, n - 1 - cut, false), 0);
    }
    bg_observe_blend(quantizer, channel, lo, hi, o->momentum);
out:
    return rc;
}

extern const struct bg_range_method bg_range_percentile;
const struct bg_range_method bg_range_percentile = {
    .name = "percentile",
    .help = "the range that holds a percentage of the values; the rest is clipped",
    .source = "common practice",
    .options = table,
    .options_size = sizeof(struct percentile_options),
    .observe = observe};
