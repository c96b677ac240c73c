/* Ranges of activations, and learned steps (LSQ: Esser et al., "Learned Step Size Quantization",
 * ICLR 2020). A learned step starts from the range its method finds in the first values it sees;
 * its gradient is eq. 3 times 1 / sqrt(n * qmax) (section 2.2), where qmax is the largest code
 * above the zero point. The data's gradient is bitgrad's clip mask, which ends half a step outside
 * the paper's (eq. 5). Weight ranges are functions of the present weights: quantize_weights.c. */
#include "autograd/op.h"

#include <math.h>

#include "core/method.h"

double bg_quantizer_step_scale(const struct bg_quantizer *quantizer)
{
    const struct bg_grid *grid = &quantizer->grid;
    double largest = fmax((double)(grid->qmax - grid->zero_point), 1.0);

    return 1.0 / sqrt((double)quantizer->n * largest);
}

/* The grid that holds the range; tensors that cannot be negative have zero point 0. */
static enum bg_status fit(struct bg_quantizer *quantizer)
{
    const struct bg_model_quantizer *model = (const void *)quantizer;
    float lo = model->non_negative ? 0.0f : quantizer->lo[0];

    return bg_grid_fit(&quantizer->grid, 0, lo, quantizer->hi[0], quantizer->symmetric);
}

enum bg_status bg_quantizer_take_steps(struct bg_quantizer *quantizer)
{
    struct bg_grid *grid = &quantizer->grid;
    float *steps = bg_f32(&quantizer->step->value);

    for (int64_t c = 0; c < grid->channels; c++) {
        if (!isfinite(steps[c]))
            return bg_fail(BG_E_NUMERIC, "learned step %s is not finite in channel %lld",
                           quantizer->step->name, (long long)c);
        steps[c] = fmaxf(steps[c], BG_STEP_FLOOR);
        grid->scale[c] = steps[c];
        quantizer->lo[c] = (float)(grid->qmin - grid->zero_point) * steps[c];
        quantizer->hi[c] = (float)(grid->qmax - grid->zero_point) * steps[c];
    }
    return BG_OK;
}

enum bg_status bg_quantizer_refit(struct bg_quantizer *quantizer)
{
    enum bg_status rc = BG_OK;

    if (quantizer->fixed)
        return BG_OK;
    if (quantizer->observed == 0)
        return bg_fail(BG_E_USAGE, "the quantizer of %s has no range yet: calibrate first",
                       quantizer->name);
    if (quantizer->step != NULL)
        return bg_quantizer_take_steps(quantizer);
    rc = fit(quantizer);
    return rc == BG_OK ? rc : bg_fail_prefix(rc, "quantizer of %s: ", quantizer->name);
}

enum bg_status bg_quantizer_observe(struct bg_quantizer *quantizer, const float *x, int64_t n)
{
    enum bg_status rc = BG_OK;

    if (quantizer->fixed || (quantizer->step != NULL && quantizer->observed > 0))
        goto out;
    TRY(quantizer->range->observe(quantizer->range_options, quantizer, 0, x, n));
    if (!isfinite(quantizer->lo[0]) || !isfinite(quantizer->hi[0]))
        FAIL(BG_E_NUMERIC, "range [%g, %g] is not finite", (double)quantizer->lo[0],
             (double)quantizer->hi[0]);
    if (quantizer->step != NULL) {
        TRY(fit(quantizer));
        bg_f32(&quantizer->step->value)[0] = quantizer->grid.scale[0];
        quantizer->step->version++;
        TRY(bg_quantizer_take_steps(quantizer));
    }
    quantizer->observed++;
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "quantizer of %s: ", quantizer->name);
    return rc;
}
