/* Quantize: puts an activation on its grid (fake quantise: values stay f32). Not built by hand:
 * programs insert it behind every node that has a quantizer (program_build.c).
 *
 * Ranges are delayed (core/NUMERICS.md, "Ranges over time"): the batch is quantized with the range
 * of the batches before it and folded into the range afterwards; only a quantizer without any range
 * takes this batch's first. Surrogate: straight-through with clip mask, dx = dy inside the grid's
 * clip limits, else 0; a learned step has LSQ's gradient (Esser et al., ICLR 2020, eq. 3). The grid
 * is not moved between forward and backward, so both use the same one. */
#include "autograd/op.h"

#include <math.h>

#include "core/kernel.h"
#include "core/method.h"

static void reference_project(const struct bg_quantizer *quantizer, const float *x, int64_t n,
                              float *y, int64_t *clipped)
{
    float lo = 0.0f, hi = 0.0f;

    bg_grid_clip_limits(&quantizer->grid, 0, &lo, &hi);
    *clipped = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t code = 0;
        *clipped += x[i] < lo || x[i] > hi;
        bg_grid_encode(&quantizer->grid, 0, x + i, 1, NULL, &code);
        bg_grid_decode(&quantizer->grid, 0, &code, 1, y + i);
    }
}

static enum bg_status forward(struct bg_step *step, const struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    struct bg_quantizer *quantizer = step->node->quantizer;
    int64_t n = bg_tensor_count(&step->out);
    const float *x = bg_f32(&step->in[0]);
    float *y = bg_f32(&step->out);
    bool observe = run->train && (run->moment->flags & BG_RUN_OBSERVE) != 0;

    step->bypass = (run->moment->flags & BG_RUN_BYPASS) != 0;
    if (!step->bypass) {
        if (observe && quantizer->observed == 0) {
            TRY(bg_quantizer_observe(quantizer, x, n));
            observe = false;
        }
        TRY(bg_quantizer_refit(quantizer));
    }
    if (observe)
        TRY(bg_quantizer_observe(quantizer, x, n));
    if (step->bypass) {
        if (x != y)
            bg_kernel_copy(x, n, y);
        goto out;
    }
    quantizer->seen = n;
    if (run->compute == BG_COMPUTE_EXACT)
        bg_kernel_project(&quantizer->grid, 0, x, n, y, &quantizer->clipped);
    else
        reference_project(quantizer, x, n, y, &quantizer->clipped);
out:
    return rc;
}

static enum bg_status backward(struct bg_step *step, const struct bg_run *run)
{
    struct bg_quantizer *quantizer = step->node->quantizer;
    struct bg_param *learned = quantizer->step;
    int64_t n = bg_tensor_count(&step->out);
    const float *x = bg_f32(&step->in[0]), *dy = bg_f32(&step->d_out);
    float *dx = bg_f32(&step->d_in[0]), lo = 0.0f, hi = 0.0f;

    if (learned != NULL)
        bg_f32(&learned->grad)[0] =
            step->bypass ? 0.0f
                         : (float)(bg_kernel_step_gradient(&quantizer->grid, 0, x, dy, n) *
                                   bg_quantizer_step_scale(quantizer));
    if (dx == NULL)
        return BG_OK;
    if (step->bypass) {
        if (dx != dy)
            bg_kernel_copy(dy, n, dx);
        return BG_OK;
    }
    if (run->compute == BG_COMPUTE_EXACT) {
        bg_kernel_project_backward(&quantizer->grid, 0, x, dy, n, dx);
        return BG_OK;
    }
    bg_grid_clip_limits(&quantizer->grid, 0, &lo, &hi);
    for (int64_t i = 0; i < n; i++)
        dx[i] = x[i] >= lo && x[i] <= hi ? dy[i] : 0.0f;
    return BG_OK;
}

const struct bg_op bg_op_quantize = {
    .name = "quantize",
    .flags = BG_OP_READS_INPUT | BG_OP_FORWARD_IN_PLACE | BG_OP_BACKWARD_IN_PLACE,
    .inputs = 1,
    .forward = forward,
    .backward = backward,
};
