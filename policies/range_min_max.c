/* Running extremes: the range is the smallest and largest value of all batches seen. Never clips
 * what it has seen; one outlier costs resolution for ever. */
#include "core/method.h"
#include "policies/observe.h"

static enum bg_status observe(const void *options, struct bg_quantizer *quantizer, int64_t channel,
                              const float *x, int64_t n)
{
    (void)options;
    enum bg_status rc = BG_OK;
    float lo = 0, hi = 0;
    TRY(bg_observe_extremes(quantizer, channel, x, n, &lo, &hi));
    if (quantizer->observed > 0) {
        lo = quantizer->lo[channel] < lo ? quantizer->lo[channel] : lo;
        hi = quantizer->hi[channel] > hi ? quantizer->hi[channel] : hi;
    }
    quantizer->lo[channel] = lo;
    quantizer->hi[channel] = hi;
out:
    return rc;
}

static const struct bg_option table[] = {{.key = NULL}};

extern const struct bg_range_method bg_range_min_max;
const struct bg_range_method bg_range_min_max = {.name = "min-max",
                                                 .help = "smallest and largest value seen",
                                                 .source = "common practice",
                                                 .options = table,
                                                 .options_size = 0,
                                                 .extremes = true,
                                                 .observe = observe};
