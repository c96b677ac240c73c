/* Network `mobilenet-small`: depthwise separable blocks in the manner of Howard et al.,
 * "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017
 * (arXiv:1704.04861, section 3): a 3x3 convolution per channel (depthwise), then a 1x1 convolution
 * (pointwise), each with batch norm and activation; the width doubles where a depthwise convolution
 * halves the image. "Small" is ours, for images of 28x28 and 32x32: the stem and the first block
 * keep the size and two blocks halve it, to 7x7 or 8x8, at up to 8 times the stem's width. The
 * paper writes ReLU; the activation here is relu6, as in the authors' TensorFlow release. Names:
 * conv1, b1.dw, b1.pw, ..., fc; each convolution has a ".bn". */
#include <stdio.h>

#include "layers/build.h"
#include "layers/net.h"

#define BLOCKS 5

struct mobilenet_options {
    int64_t width, depth;
};

static const struct bg_option table[] = {
    {.key = "width",
     .type = BG_OPT_INT,
     .offset = offsetof(struct mobilenet_options, width),
     .fallback = "24",
     .min = 1,
     .max = 1024,
     .help = "channels of the stem; the last blocks have eight times as many"},
    {.key = "depth",
     .type = BG_OPT_INT,
     .offset = offsetof(struct mobilenet_options, depth),
     .fallback = "5",
     .min = BLOCKS,
     .max = 64,
     .help = "separable blocks; those above 5 stand at the end and keep size and width"},
    {.key = NULL}};

/* The first five blocks; more are like the last. */
static const struct {
    int64_t stride, times_width;
} plan[BLOCKS] = {{1, 2}, {2, 4}, {1, 4}, {2, 8}, {1, 8}};

static enum bg_status build_block(struct bg_graph *graph, int number, int64_t stride,
                                  int64_t channels, struct bg_node *x, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    char name[BG_NAME_MAX], relu[BG_NAME_MAX];
    const struct bg_unit unit = {.name = name, .relu = relu, .relu6 = true, .batch_norm = true};
    const int64_t in = bg_node_shape(x)->dims[2];
    const struct bg_conv2d depthwise = {.out_channels = in,
                                        .kernel = {3, 3},
                                        .stride = {stride, stride},
                                        .padding = {1, 1},
                                        .dilation = {1, 1},
                                        .groups = in};
    const struct bg_conv2d pointwise = {.out_channels = channels,
                                        .kernel = {1, 1},
                                        .stride = {1, 1},
                                        .dilation = {1, 1},
                                        .groups = 1};
    snprintf(name, sizeof name, "b%d.dw", number);
    snprintf(relu, sizeof relu, "b%d.relu1", number);
    TRY(bg_build_conv(graph, &unit, x, &depthwise, &x));
    snprintf(name, sizeof name, "b%d.pw", number);
    snprintf(relu, sizeof relu, "b%d.relu2", number);
    TRY(bg_build_conv(graph, &unit, x, &pointwise, out));
out:
    return rc;
}

static enum bg_status build(struct bg_graph *graph, const void *options, struct bg_node *input,
                            int classes, struct bg_node **out, char title[BG_NAME_MAX])
{
    enum bg_status rc = BG_OK;
    const struct mobilenet_options *o = options;
    struct bg_node *x = input;
    const struct bg_unit unit = {
        .name = "conv1", .relu = "relu1", .relu6 = true, .batch_norm = true};
    const struct bg_conv2d stem = {.out_channels = o->width,
                                   .kernel = {3, 3},
                                   .stride = {1, 1},
                                   .padding = {1, 1},
                                   .dilation = {1, 1},
                                   .groups = 1};
    TRY(bg_build_conv(graph, &unit, x, &stem, &x));
    for (int i = 0; i < (int)o->depth; i++) {
        int like = i < BLOCKS ? i : BLOCKS - 1;
        int64_t channels = o->width * plan[like].times_width;
        TRY(build_block(graph, i + 1, plan[like].stride, channels, x, &x));
    }
    TRY(bg_node_global_pool(graph, "pool", x, &x));
    TRY(bg_node_linear(graph, "fc", x, classes, true, out));
    snprintf(title, BG_NAME_MAX, "mobilenet-small");
out:
    return rc;
}

extern const struct bg_net_type bg_net_mobilenet_small;
const struct bg_net_type bg_net_mobilenet_small = {
    .name = "mobilenet-small",
    .help = "depthwise separable blocks with relu6, after MobileNet",
    .source = "Howard et al. 2017, arXiv:1704.04861; the small form is ours",
    .options = table,
    .options_size = sizeof(struct mobilenet_options),
    .build = build};
