/* What convolution and linear layers share: a bg_conv_shape (linear is 1x1 on a 1x1 image), weight
 * and bias as params[0] and [1], the oneDNN primitives, the naive references, or codes (coded.h).
 *
 * Packed weights are per program: they are packed anew whenever the serial of the weight is not the
 * one that was packed. Backward fills the gradients of weight and bias; the straight-through
 * estimator of a quantized weight is applied behind it (program_run.c). */
#include "autograd/coded.h"
#include "core/dnn.h"
#include "core/ref.h"

struct weighted {
    struct bg_conv_shape shape;
    struct bg_coded *coded;   /* runs everything, when there is one */
    struct bg_dnn_conv *conv; /* NULL then and in the reference compute */
    uint64_t packed;          /* serial of the packed content */
};

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
    TRY(bg_param_make_forward(step->node->param[0]));
    if (compile->compute == BG_COMPUTE_EXACT)
        TRY(bg_dnn_conv_create(&state->conv, shape, step->node->params > 1, compile->train,
                               compile->train && compile->need_dx));
out:
    return rc;
}

static const float *bias_of(const struct bg_node *node)
{
    return node->params > 1 ? bg_f32(&node->param[1]->value) : NULL;
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

enum bg_status bg_weighted_backward(struct bg_step *step, const struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    struct weighted *state = step->state;
    const struct bg_node *node = step->node;
    const float *w = bg_f32(&node->param[0]->forward);
    const float *src = bg_f32(&step->in[0]), *ddst = bg_f32(&step->d_out);
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
        goto out;
    }
    TRY(bg_dnn_conv_backward_weights(state->conv, src, ddst, dw, dbias));
    if (dsrc != NULL)
        TRY(bg_dnn_conv_backward_data(state->conv, ddst, dsrc));
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
