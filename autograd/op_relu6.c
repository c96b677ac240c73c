/* Rectifier with a ceiling: y = min(max(x, 0), 6) (Krizhevsky, "Convolutional Deep Belief Networks
 * on CIFAR-10", 2010). Backward: dx = dy where 0 < y < 6, else 0; so the gradient is 0 at 0 and at
 * 6, as in PyTorch's hardtanh. A NaN passes forward; its gradient is 0. Backward reads the output,
 * which says as much as the input, so the input's memory may be written over. */
#include "autograd/op.h"

#include "core/kernel.h"

static enum bg_status infer(struct bg_node *node)
{
    node->shape = node->input[0]->shape;
    return BG_OK;
}

static enum bg_status forward(struct bg_step *step, const struct bg_run *run)
{
    int64_t n = bg_tensor_count(&step->out);
    const float *x = bg_f32(&step->in[0]);
    float *y = bg_f32(&step->out);

    if (run->compute == BG_COMPUTE_EXACT) {
        bg_kernel_relu6(x, n, y);
        return BG_OK;
    }
    for (int64_t i = 0; i < n; i++) {
        if (x[i] <= 0.0f)
            y[i] = 0.0f;
        else
            y[i] = x[i] > 6.0f ? 6.0f : x[i];
    }
    return BG_OK;
}

static enum bg_status backward(struct bg_step *step, const struct bg_run *run)
{
    int64_t n = bg_tensor_count(&step->out);
    const float *y = bg_f32(&step->out), *dy = bg_f32(&step->d_out);
    float *dx = bg_f32(&step->d_in[0]);

    if (run->compute == BG_COMPUTE_EXACT) {
        bg_kernel_relu6_backward(y, dy, n, dx);
        return BG_OK;
    }
    for (int64_t i = 0; i < n; i++)
        dx[i] = y[i] > 0.0f && y[i] < 6.0f ? dy[i] : 0.0f;
    return BG_OK;
}

const struct bg_op bg_op_relu6 = {
    .name = "relu6",
    .flags =
        BG_OP_READS_OUTPUT | BG_OP_FORWARD_IN_PLACE | BG_OP_BACKWARD_IN_PLACE | BG_OP_NON_NEGATIVE,
    .inputs = 1,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};

enum bg_status bg_node_relu6(struct bg_graph *graph, const char *name, struct bg_node *x,
                             struct bg_node **out)
{
    const struct bg_node_spec spec = {.op = &bg_op_relu6, .name = name, .input = {x}};

    return bg_node_add_plain(graph, &spec, out);
}
