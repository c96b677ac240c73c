/* What convolution and linear layers share: a bg_conv_shape (linear is 1x1 on a 1x1 image), weight
 * and bias as params[0] and [1], the oneDNN primitives, the naive references, or codes (coded.h).
 *
 * Packed weights are per program: they are packed anew whenever the serial of the weight is not the
 * one that was packed. Backward fills the gradients of weight and bias; the straight-through
 * estimator of a quantized weight is applied behind it (program_run.c).
 *
 * Where the plan puts the output's gradient on a grid, backward reads a copy: the gradient itself
 * may lie in memory that others read. The bias takes what was before the grid. */
#include "autograd/coded.h"
#include "core/dnn.h"
#include "core/ref.h"

enum { WEIGHT, BIAS };

#define ALIGNMENT 64

/* The output's gradient on its grid. */
struct rounded {
    int64_t rows, outputs;
    float *scale;             /* of the weights, per output; 1 without a grid */
    double *sum;              /* of the gradient before, per output */
    int64_t sums_at, room_at; /* bytes into the step's scratch; the copy at 0 */
    struct bg_tensor copy;
};

struct weighted {
    struct bg_conv_shape shape;
    struct bg_coded *coded;   /* runs everything, when there is one */
    struct rounded *rounded;  /* NULL: the gradient is read as it is */
    struct bg_dnn_conv *conv; /* NULL then and in the reference compute */
    uint64_t packed;          /* serial of the packed content */
};

static int64_t aligned(int64_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static enum bg_status make_rounded(const struct bg_compile *compile, struct bg_step *step,
                                   const struct bg_conv_shape *shape, struct rounded **out)
{
    enum bg_status rc = BG_OK;
    struct rounded *rounded = NULL;

    if (!compile->train || step->node->out_gradient.format == BG_FORMAT_F32)
        return BG_OK;
    TRY(bg_arena_alloc(compile->arena, &rounded, 1, sizeof *rounded));
    rounded->outputs = shape->out_channels;
    rounded->rows = shape->batch * shape->out_height * shape->out_width;
    TRY(bg_arena_alloc(compile->arena, &rounded->scale, rounded->outputs, sizeof(float)));
    TRY(bg_arena_alloc(compile->arena, &rounded->sum, rounded->outputs, sizeof(double)));
    rounded->sums_at = aligned(rounded->rows * rounded->outputs * (int64_t)sizeof(float));
    rounded->room_at =
        rounded->sums_at +
        aligned(bg_train_scratch(rounded->rows, rounded->outputs, 1) * (int64_t)sizeof(double));
    step->scratch_bytes = rounded->room_at + bg_gradient_scratch(rounded->outputs);
    *out = rounded;
out:
    return rc;
}

enum bg_status bg_weighted_compile(const struct bg_compile *compile, struct bg_step *step,
                                   const struct bg_conv_shape *shape)
{
    enum bg_status rc = BG_OK;
    struct weighted *state = NULL;

    TRY(bg_arena_alloc(compile->arena, &state, 1, sizeof *state));
    step->state = state;
    state->shape = *shape;
    if (compile->codes) {
        rc = bg_coded_create(&state->coded, compile, step, shape);
        if (rc != BG_E_UNSUPPORTED)
            goto out;
    }
    TRY(make_rounded(compile, step, shape, &state->rounded));
    TRY(bg_param_make_forward(step->node->param[WEIGHT]));
    if (compile->compute == BG_COMPUTE_EXACT)
        TRY(bg_dnn_conv_create(&state->conv, shape, step->node->params > 1, compile->train,
                               compile->train && compile->need_dx));
out:
    return rc;
}

static const float *bias_of(const struct bg_node *node)
{
    return node->params > BIAS ? bg_f32(&node->param[BIAS]->value) : NULL;
}

enum bg_status bg_weighted_forward(struct bg_step *step, const struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    struct weighted *state = step->state;
    const struct bg_model_param *weight = bg_model_param(step->node->param[0]);
    const float *w = bg_f32(&weight->param.forward), *bias = bias_of(step->node);
    const float *src = bg_f32(&step->in[0]);
    float *dst = bg_f32(&step->out);

    if (state->coded != NULL) {
        TRY(bg_coded_forward(state->coded, step));
        goto out;
    }
    if (w == NULL) { /* a program older than the store */
        TRY(bg_param_make_forward(step->node->param[0]));
        w = bg_f32(&weight->param.forward);
    }
    if (run->compute == BG_COMPUTE_REFERENCE) {
        bg_ref_conv_forward(&state->shape, src, w, bias, dst);
        goto out;
    }
    if (state->packed != weight->serial) {
        TRY(bg_dnn_conv_pack(state->conv, w));
        state->packed = weight->serial;
    }
    TRY(bg_dnn_conv_forward(state->conv, src, bias, dst));
out:
    return rc;
}

struct bg_rng bg_gradient_rng(const char *name, const struct bg_run *run)
{
    return (struct bg_rng){.seed = bg_rng_hash(run->moment->seed, name),
                           .stream = BG_STREAM_GRADIENT,
                           .step = (uint32_t)run->moment->step};
}

void bg_round_weight_gradient(const struct bg_node *layer, const struct bg_run *run)
{
    const struct bg_tensor *grad = &layer->param[WEIGHT]->grad;

    if (layer->weight_gradient.format == BG_FORMAT_F32)
        return;
    bg_gradient_round_weights(
        &(struct bg_gradient_weights){.grid = layer->weight_gradient,
                                      .dw = bg_f32(grad),
                                      .outputs = grad->shape.dims[0],
                                      .each = bg_tensor_count(grad) / grad->shape.dims[0],
                                      .rng = bg_gradient_rng(layer->param[WEIGHT]->name, run)});
}

static void take_scales(const struct bg_quantizer *quantizer, struct rounded *rounded)
{
    for (int64_t o = 0; o < rounded->outputs; o++)
        rounded->scale[o] =
            quantizer == NULL ? 1.0f : quantizer->grid.scale[quantizer->grid.channels == 1 ? 0 : o];
}

enum bg_status bg_weighted_take_gradient(struct bg_step *step, const struct bg_run *run,
                                         const struct bg_tensor **seen)
{
    enum bg_status rc = BG_OK;
    struct weighted *state = step->state;
    struct rounded *rounded = state->rounded;
    char *scratch = step->scratch;

    *seen = &step->d_out;
    if (state->coded != NULL) {
        TRY(bg_coded_take_gradient(state->coded, step, run, seen));
        goto out;
    }
    if (rounded == NULL)
        goto out;
    take_scales(step->node->param[WEIGHT]->quantizer, rounded);
    if (step->node->params > BIAS) /* the rounded values are not wanted: the copy goes over them */
        bg_train_scale_from_f32(bg_f32(&step->d_out), rounded->rows, rounded->outputs,
                                rounded->scale, step->scratch, rounded->sum,
                                (double *)(void *)(scratch + rounded->sums_at));
    rounded->copy = step->d_out;
    rounded->copy.data = step->scratch;
    TRY(bg_gradient_round(&(struct bg_gradient_pass){.grid = step->node->out_gradient,
                                                     .rows = rounded->rows,
                                                     .channels = rounded->outputs,
                                                     .x = bg_f32(&step->d_out),
                                                     .a = rounded->scale,
                                                     .rng = bg_gradient_rng(step->node->name, run),
                                                     .values = step->scratch,
                                                     .scratch = scratch + rounded->room_at}));
    *seen = &rounded->copy;
out:
    return rc;
}

enum bg_status bg_weighted_backward(struct bg_step *step, const struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    struct weighted *state = step->state;
    const struct bg_node *node = step->node;
    const struct rounded *rounded = state->rounded;
    const float *w = bg_f32(&node->param[0]->forward);
    const float *src = bg_f32(&step->in[0]);
    const float *ddst = bg_f32(rounded == NULL ? &step->d_out : &rounded->copy);
    float *dw = bg_f32(&node->param[0]->grad), *dsrc = bg_f32(&step->d_in[0]);
    float *dbias = node->params > 1 ? bg_f32(&node->param[1]->grad) : NULL;

    if (state->coded != NULL) {
        TRY(bg_coded_backward(state->coded, step));
        goto out;
    }
    if (run->compute == BG_COMPUTE_REFERENCE) {
        bg_ref_conv_backward_weights(&state->shape, src, ddst, dw, dbias);
        if (dsrc != NULL)
            bg_ref_conv_backward_data(&state->shape, ddst, w, dsrc);
    } else {
        TRY(bg_dnn_conv_backward_weights(state->conv, src, ddst, dw, dbias));
        if (dsrc != NULL)
            TRY(bg_dnn_conv_backward_data(state->conv, ddst, dsrc));
    }
    for (int64_t o = 0; rounded != NULL && dbias != NULL && o < rounded->outputs; o++)
        dbias[o] = (float)rounded->sum[o];
out:
    return rc;
}

void bg_weighted_destroy(struct bg_step *step)
{
    struct weighted *state = step->state;

    if (state == NULL)
        return;
    bg_coded_destroy(state->coded);
    bg_dnn_conv_destroy(state->conv);
}

bool bg_weighted_is_coded(const struct bg_step *step)
{
    const struct weighted *state = step->state;

    return state->coded != NULL;
}

void bg_weighted_implementation(const struct bg_step *step, struct bg_implementation *out)
{
    const struct weighted *state = step->state;

    if (state->coded != NULL)
        bg_coded_implementation(state->coded, out);
    else if (state->conv == NULL)
        out->forward = out->backward_data = out->backward_weights = "reference";
    else
        bg_dnn_conv_implementations(state->conv, &out->forward, &out->backward_data,
                                    &out->backward_weights);
}
