/* Two-dimensional convolution with stride, padding, dilation and groups, N,H,W,C. Weights
 * O,H,W,I (I = input channels of one group), as "<name>.weight", and "<name>.bias" on request. */
#include "autograd/op.h"
#include "core/dnn.h"

struct bg_conv_shape bg_conv2d_shape(const struct bg_node *node, int64_t batch)
{
    const struct bg_conv2d *conv = node->attributes;
    const int64_t *in = node->input[0]->shape.dims;

    return (struct bg_conv_shape){
        .batch = batch,
        .in_height = in[0],
        .in_width = in[1],
        .in_channels = in[2],
        .out_channels = conv->out_channels,
        .kernel_height = conv->kernel[0],
        .kernel_width = conv->kernel[1],
        .stride = {conv->stride[0], conv->stride[1]},
        .padding = {conv->padding[0], conv->padding[1]},
        .dilation = {conv->dilation[0], conv->dilation[1]},
        .groups = conv->groups,
    };
}

static enum bg_status infer(struct bg_node *node)
{
    enum bg_status rc = BG_OK;
    struct bg_conv_shape shape = bg_conv2d_shape(node, 1);

    TRY(bg_conv_shape_infer(&shape));
    node->shape = (struct bg_shape){3, {shape.out_height, shape.out_width, shape.out_channels}};
out:
    return rc;
}

static int64_t macs(const struct bg_node *node)
{
    return node->shape.dims[0] * node->shape.dims[1] * bg_tensor_count(&node->param[0]->value);
}

static enum bg_status compile(const struct bg_compile *compile, struct bg_step *step)
{
    enum bg_status rc = BG_OK;
    struct bg_conv_shape shape = bg_conv2d_shape(step->node, compile->batch);

    TRY(bg_conv_shape_infer(&shape));
    TRY(bg_weighted_compile(compile, step, &shape));
out:
    return rc;
}

const struct bg_op bg_op_conv2d = {
    .name = "conv2d",
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

enum bg_status bg_node_conv2d(struct bg_graph *graph, const char *name, struct bg_node *x,
                              const struct bg_conv2d *options, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    const struct bg_node_spec spec = {.op = &bg_op_conv2d,
                                      .name = name,
                                      .input = {x},
                                      .attributes = options,
                                      .attributes_size = sizeof *options};
    struct bg_shape weight = {4, {0}}, bias = {1, {options->out_channels}};
    struct bg_node *node = NULL;

    *out = NULL;
    TRY(bg_node_begin(graph, &spec, &node));
    weight.dims[0] = options->out_channels;
    weight.dims[1] = options->kernel[0];
    weight.dims[2] = options->kernel[1];
    weight.dims[3] = x->shape.dims[2] / options->groups;
    TRY(bg_node_param(node, "weight", BG_PARAM_WEIGHT, &weight, 0.0f));
    if (options->bias)
        TRY(bg_node_param(node, "bias", BG_PARAM_BIAS, &bias, 0.0f));
    TRY(bg_node_end(node, out));
out:
    return rc;
}
