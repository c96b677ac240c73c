/* What max and average pooling share: the shape, oneDNN's primitive or the naive references.
 * Average means over the elements inside the image (padding excluded). On a tie the first maximum
 * in row order takes the gradient. */
#include "autograd/op.h"
#include "core/dnn.h"
#include "core/ref.h"

struct pooled {
    struct bg_pool_shape shape;
    struct bg_dnn_pool *pool; /* NULL in the reference compute */
    bool max;
};

struct bg_pool_shape bg_pooled_shape(const struct bg_node *node, int64_t batch)
{
    const struct bg_pool2d *pool = node->attributes;
    const int64_t *in = node->input[0]->shape.dims;

    return (struct bg_pool_shape){.batch = batch,
                                  .in_height = in[0],
                                  .in_width = in[1],
                                  .channels = in[2],
                                  .kernel = {pool->kernel[0], pool->kernel[1]},
                                  .stride = {pool->stride[0], pool->stride[1]},
                                  .padding = {pool->padding[0], pool->padding[1]}};
}

enum bg_status bg_pooled_infer(struct bg_node *node)
{
    enum bg_status rc = BG_OK;
    struct bg_pool_shape shape = bg_pooled_shape(node, 1);

    TRY(bg_pool_shape_infer(&shape));
    node->shape = (struct bg_shape){3, {shape.out_height, shape.out_width, shape.channels}};
out:
    return rc;
}

enum bg_status bg_pooled_compile(const struct bg_compile *compile, struct bg_step *step, bool max)
{
    enum bg_status rc = BG_OK;
    struct pooled *state = NULL;

    TRY(bg_arena_alloc(compile->arena, &state, 1, sizeof *state));
    step->state = state;
    state->max = max;
    state->shape = bg_pooled_shape(step->node, compile->batch);
    TRY(bg_pool_shape_infer(&state->shape));
    if (compile->compute == BG_COMPUTE_EXACT)
        TRY(bg_dnn_pool_create(&state->pool, &state->shape, max, compile->train));
    else if (max)
        step->flags |= BG_OP_READS_INPUT; /* the reference looks for the maxima again */
out:
    return rc;
}

enum bg_status bg_pooled_forward(struct bg_step *step, const struct bg_run *run)
{
    const struct pooled *state = step->state;
    const float *src = bg_f32(&step->in[0]);
    float *dst = bg_f32(&step->out);

    (void)run;
    if (state->pool != NULL)
        return bg_dnn_pool_forward(state->pool, src, dst);
    if (state->max)
        bg_ref_max_pool_forward(&state->shape, src, dst);
    else
        bg_ref_avg_pool_forward(&state->shape, src, dst);
    return BG_OK;
}

enum bg_status bg_pooled_backward(struct bg_step *step, const struct bg_run *run)
{
    const struct pooled *state = step->state;
    const float *ddst = bg_f32(&step->d_out);
    float *dsrc = bg_f32(&step->d_in[0]);

    (void)run;
    if (state->pool != NULL)
        return bg_dnn_pool_backward(state->pool, ddst, dsrc);
    if (state->max)
        bg_ref_max_pool_backward(&state->shape, bg_f32(&step->in[0]), ddst, dsrc);
    else
        bg_ref_avg_pool_backward(&state->shape, ddst, dsrc);
    return BG_OK;
}

void bg_pooled_destroy(struct bg_step *step)
{
    struct pooled *state = step->state;

    if (state != NULL)
        bg_dnn_pool_destroy(state->pool);
}

void bg_pooled_implementation(const struct bg_step *step, struct bg_implementation *out)
{
    const struct pooled *state = step->state;

    out->forward = state->pool == NULL ? "reference" : bg_dnn_pool_implementation(state->pool);
}
