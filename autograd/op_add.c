/* Add: the sum of two tensors of one shape. Both gradients are the output's, passed on without a
 * copy where memory allows (program_gradient.c). Both inputs may be the same node. */
#include "autograd/op.h"

#include "core/kernel.h"

static enum bg_status infer(struct bg_node *node)
{
    char a[64], b[64];

    if (!bg_shape_equal(&node->input[0]->shape, &node->input[1]->shape))
        return bg_fail(BG_E_SHAPE, "%s is %s, %s is %s: both must have one shape",
                       node->input[0]->name, bg_shape_text(&node->input[0]->shape, a),
                       node->input[1]->name, bg_shape_text(&node->input[1]->shape, b));
    node->shape = node->input[0]->shape;
    return BG_OK;
}

static enum bg_status forward(struct bg_step *step, const struct bg_run *run)
{
    int64_t n = bg_tensor_count(&step->out);
    const float *a = bg_f32(&step->in[0]), *b = bg_f32(&step->in[1]);
    float *y = bg_f32(&step->out);

    if (run->compute == BG_COMPUTE_EXACT) {
        bg_kernel_add(a, b, n, y);
        return BG_OK;
    }
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
    return BG_OK;
}

extern const struct bg_op bg_op_add;
const struct bg_op bg_op_add = {
    .name = "add",
    .flags = BG_OP_PASSES_GRADIENT | BG_OP_FORWARD_IN_PLACE | BG_OP_KEEPS_SIGN,
    .inputs = 2,
    .infer = infer,
    .forward = forward,
};

enum bg_status bg_node_add(struct bg_graph *graph, const char *name, struct bg_node *a,
                           struct bg_node *b, struct bg_node **out)
{
    const struct bg_node_spec spec = {.op = &bg_op_add, .name = name, .input = {a, b}};

    return bg_node_add_plain(graph, &spec, out);
}
