/* Making and freeing quantizers. Each owns its scales, its range state, the memory of a quantized
 * weight and, with a learned range, the step parameter "<name>.step". */
#include "autograd/op.h"
#include "core/method.h"

void bg_quantizer_free(struct bg_quantizer *quantizer)
{
    if (quantizer == NULL)
        return;
    if (quantizer->step != NULL)
        bg_free(quantizer->step->value.data); /* one block: value, gradient, state */
    bg_free(quantizer->step);
    bg_free(((struct bg_model_quantizer *)(void *)quantizer)->forward);
    bg_free(quantizer->grid.scale); /* one block: scale, lo, hi */
    bg_free(quantizer);
}

static enum bg_status make_step(const struct bg_quantizer_spec *spec, struct bg_quantizer *out)
{
    enum bg_status rc = BG_OK;
    struct bg_model_param *model = NULL;
    struct bg_param *step = NULL;
    float *block = NULL;
    const struct bg_shape shape = {1, {spec->channels}};

    TRY(bg_alloc(&model, 1, sizeof *model));
    step = &model->param;
    out->step = step;
    TRY(bg_alloc(&block, 3 * spec->channels, sizeof *block));
    step->value.data = block;
    step->grad.data = block + spec->channels;
    step->state.data = block + 2 * spec->channels;
    step->layer = spec->layer;
    TRY(bg_model_param_set(model, spec->name, "step", BG_PARAM_STEP, &shape));
out:
    return rc;
}

/* Weights: signed, narrow, symmetric. Activations: unsigned; the zero point comes with the range, 0
 * where no value is negative. */
static enum bg_status set_grid(const struct bg_quantizer_spec *spec, struct bg_quantizer *out)
{
    enum bg_status rc = BG_OK;
    bool weight = spec->target == BG_TARGET_WEIGHT;

    TRY(bg_grid_limits(&out->grid, spec->spec.bits, weight, true));
    out->grid.rounding = spec->rounding;
    out->grid.channels = spec->channels;
    out->symmetric = weight;
    for (int64_t c = 0; c < spec->channels; c++)
        out->grid.scale[c] = 1.0f;
out:
    return rc;
}

enum bg_status bg_quantizer_make(const struct bg_quantizer_spec *spec, struct bg_quantizer **out)
{
    enum bg_status rc = BG_OK;
    struct bg_model_quantizer *model = NULL;
    struct bg_quantizer *quantizer = NULL;
    float *block = NULL;

    *out = NULL;
    TRY(bg_alloc(&model, 1, sizeof *model));
    quantizer = &model->quantizer;
    TRY(bg_text_copy(quantizer->name, sizeof quantizer->name, spec->name));
    quantizer->target = spec->target;
    quantizer->spec = spec->spec;
    quantizer->range = spec->range;
    quantizer->range_options = spec->range_options;
    quantizer->n = spec->n;
    model->non_negative = spec->non_negative;
    TRY(bg_alloc(&block, 3 * spec->channels, sizeof *block));
    quantizer->grid.scale = block;
    quantizer->lo = block + spec->channels;
    quantizer->hi = block + 2 * spec->channels;
    TRY(set_grid(spec, quantizer));
    if (spec->target == BG_TARGET_WEIGHT)
        TRY(bg_alloc(&model->forward, spec->channels * spec->n, sizeof(float)));
    if (spec->range->learned)
        TRY(make_step(spec, quantizer));
    *out = quantizer;
    quantizer = NULL;
out:
    bg_quantizer_free(quantizer);
    return rc;
}
