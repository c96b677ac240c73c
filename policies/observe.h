/* Shared pieces of the range methods: finite extremes, exact order statistics and running averages.
 * Nothing here allocates; results do not depend on the
 * thread count. */
#ifndef BG_POLICIES_OBSERVE_H
#define BG_POLICIES_OBSERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/param.h"
#include "core/status.h"

/* Smallest and largest value, widened to include 0. NaN or infinity: BG_E_NUMERIC with the
 * quantizer's name and the channel. n = 0 gives 0, 0. */
BG_MUST enum bg_status bg_observe_extremes(const struct bg_quantizer *quantizer, int64_t channel,
                                           const float *x, int64_t n, float *lo, float *hi);
/* The k-th smallest (0-based, k < n) of x, or of |x|, exactly; x must be finite and n > 0. */
float bg_observe_kth(const float *x, int64_t n, int64_t k, bool absolute);
/* Sets lo and hi of the channel to the new values at the first batch, later to old * momentum +
 * new * (1 - momentum), computed in f64. */
void bg_observe_blend(struct bg_quantizer *quantizer, int64_t channel, float lo, float hi,
                      double momentum);

#endif
