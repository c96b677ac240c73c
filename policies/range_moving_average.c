/* Exponential moving average of each batch's extremes: follows activations that drift during
 * training (Jacob et al., "Quantization and Training of Neural Networks for Efficient
 * Integer-Arithmetic-Only Inference", CVPR 2018, section 3.1). The first batch sets the range. */
#include <stddef.h>

#include "core/method.h"
#include "policies/observe.h"

struct average_options {
    double momentum;
};

static const struct bg_option table[] = {
    {.key = "momentum",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct average_options, momentum),
     .fallback = "0.9",
     .min = 0,
     .max = 1,
     .help = "share of the old range that stays: new = m * old + (1 - m) * batch"},
    {.key = NULL}};

static enum bg_status observe(const void *options, struct bg_quantizer *quantizer, int64_t channel,
                              const float *x, int64_t n)
{
    const struct average_options *o = options;
    enum bg_status rc = BG_OK;
    float lo = 0, hi = 0;
    TRY(bg_observe_extremes(quantizer, channel, x, n, &lo, &hi));
    bg_observe_blend(quantizer, channel, lo, hi, o->momentum);
out:
    return rc;
}

extern const struct bg_range_method bg_range_moving_average;
const struct bg_range_method bg_range_moving_average = {
    .name = "moving-average",
    .help = "moving average of each batch's smallest and largest value",
    .source = "Jacob et al., CVPR 2018, section 3.1",
    .options = table,
    .options_size = sizeof(struct average_options),
    .extremes = true,
    .observe = observe};
