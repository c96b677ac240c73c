/* Linear: every output is a weighted sum of all of a sample's values, taken in the order H,W,C.
 * Weights O,I as "<name>.weight", and "<name>.bias" on request. Runs as a 1x1 convolution. */
#include "autograd/op.h"
#include "core/dnn.h"

struct linear {
    int64_t out_features;
};

static enum bg_status infer(struct bg_node *node)
{
    const struct linear *linear = node->attributes;

    if (linear->out_features < 1)
        return bg_fail(BG_E_SHAPE, "%lld output features: at least 1 is needed",
                       (long long)linear->out_features);
    node->shape = (struct bg_shape){3, {1, 1, linear->out_features}};
    return BG_OK;
}

static int64_t macs(const struct bg_node *node)
{
    return bg_tensor_count(&node->param[0]->value);
}

struct bg_conv_shape bg_linear_shape(const struct bg_node *node, int64_t batch)
{
    const struct bg_shape *weight = &node->param[0]->value.shape;

    return (struct bg_conv_shape){.batch = batch,
                                  .in_height = 1,
                                  .in_width = 1,
                                  .in_channels = weight->dims[1],
                                  .out_channels = weight->dims[0],
                                  .kernel_height = 1,
                                  .kernel_width = 1,
                                  .stride = {1, 1},
                                  .dilation = {1, 1},
                                  .groups = 1};
}

static enum bg_status compile(const struct bg_compile *compile, struct bg_step *step)
{
    enum bg_status rc = BG_OK;
    struct bg_conv_shape shape = bg_linear_shape(step->node, compile->batch);

    TRY(bg_conv_shape_infer(&shape));
    TRY(bg_weighted_compile(compile, step, &shape));
out:
    return rc;
}

extern const struct bg_op bg_op_linear;
const struct bg_op bg_op_linear = {
    .name = "linear",
    .flags = BG_OP_LAYER | BG_OP_READS_INPUT,
    .inputs = 1,
    .infer = infer,
    .macs = macs,
    .compile = compile,
    .forward = bg_weighted_forward,
    .backward = bg_weighted_backward,
    .destroy = bg_weighted_destroy,
    .implementation = bg_weighted_implementation,
};

enum bg_status bg_node_linear(struct bg_graph *graph, const char *name, struct bg_node *x,
                              int64_t out_features, bool bias, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    const struct linear attributes = {.out_features = out_features};
    const struct bg_node_spec spec = {.op = &bg_op_linear,
                                      .name = name,
                                      .input = {x},
                                      .attributes = &attributes,
                                      .attributes_size = sizeof attributes};
    struct bg_node *node = NULL;

    *out = NULL;
    TRY(bg_node_begin(graph, &spec, &node));
    TRY(bg_node_param(node, "weight", BG_PARAM_WEIGHT,
                      &(struct bg_shape){2, {out_features, bg_shape_count(&x->shape)}}, 0.0f));
    if (bias)
        TRY(bg_node_param(node, "bias", BG_PARAM_BIAS, &(struct bg_shape){1, {out_features}},
                          0.0f));
    TRY(bg_node_end(node, out));
out:
    return rc;
}
