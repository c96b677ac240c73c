/* Network `resnet`: residual network for small images (He et al., "Deep Residual Learning for Image
 * Recognition", CVPR 2016, section 4.2): a 3x3 stem, three stages of (depth - 2) / 6 blocks with
 * 1, 2 and 4 times `width` channels, global pooling, one linear layer. Departure from section 4.2:
 * where the shape changes, the shortcut is a 1x1 convolution with batch norm (the paper's option
 * B), not a padded identity. Names: conv1, s1b1.conv1, s1b1.conv2, s2b1.shortcut, fc; each has a
 * ".bn".
 */
#include <stdio.h>

#include "layers/build.h"
#include "layers/net.h"

struct resnet_options {
    int64_t depth, width;
};

static const struct bg_option table[] = {
    {.key = "depth",
     .type = BG_OPT_INT,
     .offset = offsetof(struct resnet_options, depth),
     .fallback = "20",
     .min = 8,
     .max = 110,
     .help = "layers without the shortcuts: 6n + 2 (8, 14, 20, 26, 32, ...)"},
    {.key = "width",
     .type = BG_OPT_INT,
     .offset = offsetof(struct resnet_options, width),
     .fallback = "16",
     .min = 1,
     .max = 4096,
     .help = "channels of the first stage; the next have twice and four times as many"},
    {.key = NULL}};

static struct bg_conv2d conv_of(int64_t out_channels, int64_t kernel, int64_t stride)
{
    int64_t padding = kernel / 2;
    return (struct bg_conv2d){.out_channels = out_channels,
                              .kernel = {kernel, kernel},
                              .stride = {stride, stride},
                              .padding = {padding, padding},
                              .dilation = {1, 1},
                              .groups = 1};
}

/* x -> conv, norm, relu, conv, norm -> + shortcut(x) -> relu */
static enum bg_status build_block(struct bg_graph *graph, const char *prefix, struct bg_node *x,
                                  int64_t channels, int64_t stride, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    char name[BG_NAME_MAX], relu[BG_NAME_MAX];
    struct bg_node *branch = NULL, *shortcut = x;
    struct bg_unit unit = {.name = name, .relu = relu, .batch_norm = true};
    struct bg_conv2d conv = conv_of(channels, 3, stride);
    TRY(bg_build_name(name, prefix, ".conv1"));
    TRY(bg_build_name(relu, prefix, ".relu1"));
    TRY(bg_build_conv(graph, &unit, x, &conv, &branch));
    conv = conv_of(channels, 3, 1);
    unit.relu = NULL;
    TRY(bg_build_name(name, prefix, ".conv2"));
    TRY(bg_build_conv(graph, &unit, branch, &conv, &branch));
    if (stride != 1 || bg_node_shape(x)->dims[2] != channels) {
        conv = conv_of(channels, 1, stride);
        TRY(bg_build_name(name, prefix, ".shortcut"));
        TRY(bg_build_conv(graph, &unit, x, &conv, &shortcut));
    }
    TRY(bg_build_name(name, prefix, ".add"));
    TRY(bg_node_add(graph, name, branch, shortcut, &x));
    TRY(bg_build_name(name, prefix, ".relu2"));
    TRY(bg_node_relu(graph, name, x, out));
out:
    return rc;
}

static enum bg_status build(struct bg_graph *graph, const void *options, struct bg_node *input,
                            int classes, struct bg_node **out, char title[BG_NAME_MAX])
{
    enum bg_status rc = BG_OK;
    const struct resnet_options *o = options;
    struct bg_node *x = input;
    const struct bg_conv2d stem = conv_of(o->width, 3, 1);
    const struct bg_unit unit = {.name = "conv1", .relu = "relu1", .batch_norm = true};
    if ((o->depth - 2) % 6 != 0)
        FAIL(BG_E_DATA, "resnet: depth %lld is not 6n + 2 (8, 14, 20, 26, 32, ...)",
             (long long)o->depth);
    TRY(bg_build_conv(graph, &unit, x, &stem, &x));
    for (int stage = 0; stage < 3; stage++) {
        for (int block = 0; block < (int)((o->depth - 2) / 6); block++) {
            char prefix[BG_NAME_MAX];
            snprintf(prefix, sizeof prefix, "s%db%d", stage + 1, block + 1);
            int64_t stride = stage > 0 && block == 0 ? 2 : 1;
            TRY(build_block(graph, prefix, x, o->width << stage, stride, &x));
        }
    }
    TRY(bg_node_global_pool(graph, "pool", x, &x));
    TRY(bg_node_linear(graph, "fc", x, classes, true, out));
    snprintf(title, BG_NAME_MAX, "resnet%d", (int)o->depth);
out:
    return rc;
}

extern const struct bg_net_type bg_net_resnet;
const struct bg_net_type bg_net_resnet = {.name = "resnet",
                                          .help = "residual network for small images",
                                          .source = "He et al. 2016, section 4.2",
                                          .options = table,
                                          .options_size = sizeof(struct resnet_options),
                                          .build = build};
