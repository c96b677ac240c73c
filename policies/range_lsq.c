/* Learned step size (Esser et al., "Learned Step Size Quantization", ICLR 2020): the grid's step is
 * a parameter trained by gradient. Here stands only where it starts, section 2.1: step = 2 *
 * mean|x| / sqrt(qmax). Later batches change nothing; the gradient (eq. 3) is core/kernel's, its
 * use autograd's. Grids with a zero point (ours) spread the same step over the values' two sides.
 */
#include <math.h>

#include "core/method.h"
#include "core/stats.h"
#include "policies/observe.h"

static enum bg_status observe(const void *options, struct bg_quantizer *quantizer, int64_t channel,
                              const float *x, int64_t n)
{
    (void)options;
    enum bg_status rc = BG_OK;
    float lo = 0, hi = 0;
    struct bg_stats stats = {0};
    if (quantizer->observed > 0)
        return BG_OK;
    TRY(bg_observe_extremes(quantizer, channel, x, n, &lo, &hi));
    bg_stats_clear(&stats);
    bg_stats_add(&stats, x, n, 1);
    double qmax = quantizer->grid.qmax, qmin = quantizer->grid.qmin;
    double step = n > 0 ? 2 * bg_stats_mean_abs(&stats) / sqrt(qmax) : 0;
    double above = 1; /* share of the range above 0 */
    if (!quantizer->symmetric && lo < 0)
        above = (double)hi / ((double)hi - (double)lo);
    double span = quantizer->symmetric ? qmax : qmax - qmin;
    quantizer->hi[channel] = (float)(step * span * above);
    quantizer->lo[channel] =
        quantizer->symmetric ? -quantizer->hi[channel] : (float)(-step * span * (1 - above));
out:
    return rc;
}

static const struct bg_option table[] = {{.key = NULL}};

extern const struct bg_range_method bg_range_lsq;
const struct bg_range_method bg_range_lsq = {
    .name = "lsq",
    .help = "the step is learned by gradient; starts at 2 * mean |x| / sqrt(qmax)",
    .source = "Esser et al., ICLR 2020",
    .options = table,
    .options_size = 0,
    .learned = true,
    .observe = observe};
