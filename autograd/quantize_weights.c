/* Weights on their grid. The range of a weight is a function of the present weights alone: after a
 * change it is found anew (range methods see observed = 0) and the grid is fitted symmetrically,
 * row by row by the update itself where a fast program reads codes, else before the first forward.
 * The projection is stored in param->forward for all exact programs of the graph when one asks.
 * 1-bit weights: scale = mean|w| per channel (core/NUMERICS.md, "Codes and grids"). A learned step
 * starts from the scale found so.
 *
 * Surrogate: straight-through with clip mask, dw = dforward inside the grid's clip limits, else 0;
 * 1-bit weights pass all of it (no mask: a weight outside the limits could never change its sign
 * again). Learned steps have LSQ's gradient (quantize_range.c). */
#include "autograd/op.h"

#include <math.h>

#include "core/kernel.h"
#include "core/method.h"
#include "core/store.h"

/* Fewer values than this are encoded on the calling thread: waking others costs more. */
#define ENCODE_SMALL 32768

/* Values of one channel: rows of the first dimension, contiguous. */
static int64_t channel_size(const struct bg_param *param)
{
    return bg_tensor_count(&param->value) / param->quantizer->grid.channels;
}

static double mean_abs(const float *x, int64_t n)
{
    double sum = 0.0;

    for (int64_t i = 0; i < n; i++)
        sum += fabs((double)x[i]);
    return sum / (double)n;
}

static enum bg_status fit_binary(struct bg_quantizer *quantizer, int64_t channel, const float *w,
                                 int64_t n)
{
    double mean = mean_abs(w, n);

    if (!isfinite(mean))
        return bg_fail(BG_E_NUMERIC, "weights are not finite");
    quantizer->grid.scale[channel] = (float)fmax(mean, 0x1p-126);
    quantizer->hi[channel] = (float)mean;
    quantizer->lo[channel] = -quantizer->hi[channel];
    return BG_OK;
}

static enum bg_status fit_channel(struct bg_param *param, int64_t channel)
{
    enum bg_status rc = BG_OK;
    struct bg_quantizer *quantizer = param->quantizer;
    int64_t n = channel_size(param);
    const float *w = bg_f32(&param->value) + channel * n;

    if (quantizer->grid.binary)
        return fit_binary(quantizer, channel, w, n);
    TRY(quantizer->range->observe(quantizer->range_options, quantizer, channel, w, n));
    TRY(bg_grid_fit(&quantizer->grid, channel, quantizer->lo[channel], quantizer->hi[channel],
                    quantizer->symmetric));
out:
    return rc;
}

static enum bg_status fit_learned(struct bg_param *param)
{
    enum bg_status rc = BG_OK;
    struct bg_quantizer *quantizer = param->quantizer;

    if (quantizer->observed == 0) {
        for (int64_t c = 0; c < quantizer->grid.channels; c++) {
            TRY(fit_channel(param, c));
            bg_f32(&quantizer->step->value)[c] = quantizer->grid.scale[c];
        }
        quantizer->step->version++;
    } else if (!bg_kernel_all_finite(bg_f32(&param->value), bg_tensor_count(&param->value))) {
        FAIL(BG_E_NUMERIC, "weights are not finite"); /* the grid would hide it: NaN becomes 0 */
    }
    TRY(bg_quantizer_take_steps(quantizer));
out:
    return rc;
}

static enum bg_status fit_weights(struct bg_param *param)
{
    enum bg_status rc = BG_OK;
    struct bg_quantizer *quantizer = param->quantizer;

    if (param->store != NULL) /* its grid moves by powers of two, with it */
        goto out;
    if (quantizer->step != NULL) {
        TRY(fit_learned(param));
    } else {
        quantizer->observed = 0;
        for (int64_t c = 0; c < quantizer->grid.channels; c++)
            TRY(fit_channel(param, c));
    }
    quantizer->observed = 1;
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "%s: ", param->name);
    return rc;
}

static void project_store(struct bg_param *param)
{
    const struct bg_grid *grid = &param->quantizer->grid;
    float *forward = bg_f32(&param->forward);
    int64_t n = channel_size(param), count = bg_tensor_count(&param->value);

    for (int64_t i = 0; forward != NULL && i < count; i++)
        forward[i] = (float)bg_store_code(param->store, i) * grid->scale[i / n];
}

static void project_weights(struct bg_param *param)
{
    struct bg_quantizer *quantizer = param->quantizer;
    int64_t n = channel_size(param);

    quantizer->clipped = 0;
    quantizer->seen = bg_tensor_count(&param->value);
    if (param->store != NULL) {
        project_store(param);
        return;
    }
    for (int64_t c = 0; c < quantizer->grid.channels; c++) {
        int64_t clipped = 0;
        bg_kernel_project(&quantizer->grid, c, bg_f32(&param->value) + c * n, n,
                          bg_f32(&param->forward) + c * n, &clipped);
        quantizer->clipped += clipped;
    }
}

static uint64_t step_version(const struct bg_param *param)
{
    const struct bg_param *step = param->quantizer == NULL ? NULL : param->quantizer->step;

    return step == NULL ? 0 : step->version;
}

static bool is_fitted(struct bg_param *param)
{
    const struct bg_model_param *model = bg_model_param(param);

    return model->seen == param->version && model->seen_step == step_version(param);
}

static void note_fitted(struct bg_param *param, uint64_t version)
{
    struct bg_model_param *model = bg_model_param(param);

    model->seen = version;
    model->seen_step = step_version(param);
    model->serial++;
}

enum bg_status bg_param_refresh(struct bg_param *param)
{
    enum bg_status rc = BG_OK;
    struct bg_model_param *model = bg_model_param(param);

    if (!is_fitted(param)) {
        if (param->quantizer != NULL)
            TRY(fit_weights(param));
        note_fitted(param, param->version);
    }
    if (model->projected != model->serial && param->quantizer != NULL)
        project_weights(param);
    else if (model->projected != model->serial && param->store != NULL)
        bg_store_weights(param->store, 0, param->store->count, bg_f32(&param->forward));
    model->projected = model->serial;
out:
    return rc;
}

/* Codes of rows first to last - 1, with `fit` from the range that they have now. */
static bool encode_rows(struct bg_param *param, int64_t first, int64_t last, bool fit)
{
    const struct bg_grid *grid = &param->quantizer->grid;
    struct bg_sink *sink = param->sink;
    int64_t n = bg_tensor_count(&param->value) / param->value.shape.dims[0];

    if (param->store != NULL) {
        sink->pack(sink->self, first, last, bg_store_s8(param) + first * n);
        return true;
    }
    for (int64_t o = first; o < last; o++) {
        if (fit && fit_channel(param, o) != BG_OK)
            return false;
        bg_kernel_encode_s8(grid, grid->channels == 1 ? 0 : o, bg_f32(&param->value) + o * n, n,
                            sink->codes + o * n);
    }
    sink->pack(sink->self, first, last, sink->codes + first * n);
    return true;
}

/* A range of its own for each row, found from this row alone. */
static bool settle_begin(struct bg_param *param)
{
    struct bg_quantizer *quantizer = param->quantizer;

    if (param->store != NULL)
        return bg_store_s8(param) != NULL;
    if (quantizer == NULL || quantizer->step != NULL ||
        quantizer->grid.channels != param->value.shape.dims[0])
        return false;
    quantizer->observed = 0;
    return true;
}

static bool settle_rows(struct bg_param *param, int64_t first, int64_t last)
{
    return encode_rows(param, first, last, true);
}

static void settle(struct bg_param *param, uint64_t version)
{
    param->quantizer->observed = 1;
    note_fitted(param, version);
    param->sink->packed = bg_model_param(param)->serial;
}

static void settle_end(struct bg_param *param, bool good)
{
    if (good)
        settle(param, param->version + 1);
    else
        bg_error_clear();
}

static bool encode_all(struct bg_param *param, bool fit)
{
    int64_t count = bg_tensor_count(&param->value), rows = param->value.shape.dims[0];
    int bad = 0;

#pragma omp parallel for schedule(static) reduction(| : bad) if (count >= ENCODE_SMALL)
    for (int64_t first = 0; first < rows; first += BG_SINK_ROWS) {
        int64_t last = first + BG_SINK_ROWS < rows ? first + BG_SINK_ROWS : rows;
        bad |= !encode_rows(param, first, last, fit);
    }
    return bad == 0;
}

enum bg_status bg_param_encode(struct bg_param *param, struct bg_sink *sink)
{
    enum bg_status rc = BG_OK;

    sink->begin = settle_begin;
    sink->rows = settle_rows;
    sink->end = settle_end;
    param->sink = sink;
    if (!is_fitted(param) && settle_begin(param) && encode_all(param, true))
        settle(param, param->version);
    if (!is_fitted(param)) { /* not by rows; or a range failed, and will again */
        TRY(fit_weights(param));
        note_fitted(param, param->version);
    }
    if (sink->packed != bg_model_param(param)->serial)
        (void)encode_all(param, false);
    sink->packed = bg_model_param(param)->serial;
out:
    return rc;
}

void bg_param_straight_through(struct bg_param *param)
{
    const struct bg_quantizer *quantizer = param->quantizer;
    int64_t n = 0;

    if (quantizer == NULL || param->store != NULL) /* codes are inside their grid */
        return;
    n = channel_size(param);
    for (int64_t c = 0; c < quantizer->grid.channels; c++) {
        const float *w = bg_f32(&param->value) + c * n;
        float *dw = bg_f32(&param->grad) + c * n;
        if (quantizer->step != NULL)
            bg_f32(&quantizer->step->grad)[c] =
                (float)(bg_kernel_step_gradient(&quantizer->grid, c, w, dw, n) *
                        bg_quantizer_step_scale(quantizer));
        if (!quantizer->grid.binary)
            bg_kernel_project_backward(&quantizer->grid, c, w, dw, n, dw);
    }
}
