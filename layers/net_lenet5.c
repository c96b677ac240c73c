/* Network `lenet5`: the layer sizes of LeNet-5 (LeCun et al., "Gradient-Based Learning Applied to
 * Document Recognition", Proc. IEEE 1998, section II.B) in the form used today: relu instead of
 * scaled tanh, max pooling instead of trained averages, full connections from S2 to C3, a softmax
 * output. 28x28 images are padded to 32x32 by the first convolution. */
#include <stdio.h>

#include "layers/build.h"
#include "layers/net.h"

struct lenet_options {
    int64_t padding;
    bool batch_norm;
};

static const struct bg_option table[] = {
    {.key = "padding",
     .type = BG_OPT_INT,
     .offset = offsetof(struct lenet_options, padding),
     .fallback = "2",
     .min = 0,
     .max = 64,
     .help = "padding of the first convolution: 2 for 28x28 images, 0 for 32x32"},
    {.key = "batch_norm",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct lenet_options, batch_norm),
     .fallback = "false",
     .help = "batch norm after each layer but the last"},
    {.key = NULL}};

static enum bg_status build_stage(struct bg_graph *graph, const struct bg_unit *unit,
                                  struct bg_node *x, const struct bg_conv2d *conv,
                                  const char *pool_name, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    const struct bg_pool2d pool = {.kernel = {2, 2}, .stride = {2, 2}};
    TRY(bg_build_conv(graph, unit, x, conv, &x));
    TRY(bg_node_max_pool(graph, pool_name, x, &pool, out));
out:
    return rc;
}

static enum bg_status build(struct bg_graph *graph, const void *options, struct bg_node *input,
                            int classes, struct bg_node **out, char title[BG_NAME_MAX])
{
    enum bg_status rc = BG_OK;
    const struct lenet_options *o = options;
    struct bg_node *x = input;
    struct bg_conv2d conv = {.out_channels = 6,
                             .kernel = {5, 5},
                             .stride = {1, 1},
                             .padding = {o->padding, o->padding},
                             .dilation = {1, 1},
                             .groups = 1};
    struct bg_unit unit = {.name = "conv1", .relu = "relu1", .batch_norm = o->batch_norm};
    TRY(build_stage(graph, &unit, x, &conv, "pool1", &x));
    conv.out_channels = 16;
    conv.padding[0] = conv.padding[1] = 0;
    unit.name = "conv2";
    unit.relu = "relu2";
    TRY(build_stage(graph, &unit, x, &conv, "pool2", &x));
    unit.name = "fc1";
    unit.relu = "relu3";
    TRY(bg_build_linear(graph, &unit, x, 120, &x));
    unit.name = "fc2";
    unit.relu = "relu4";
    TRY(bg_build_linear(graph, &unit, x, 84, &x));
    TRY(bg_node_linear(graph, "fc3", x, classes, true, out));
    snprintf(title, BG_NAME_MAX, "lenet5");
out:
    return rc;
}

extern const struct bg_net_type bg_net_lenet5;
const struct bg_net_type bg_net_lenet5 = {.name = "lenet5",
                                          .help = "two convolutions and three linear layers",
                                          .source = "LeCun et al. 1998, section II.B",
                                          .options = table,
                                          .options_size = sizeof(struct lenet_options),
                                          .build = build};
