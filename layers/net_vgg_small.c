/* Network `vgg-small`: a plain convolutional network in the manner of Simonyan & Zisserman, "Very
 * Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015: stages of 3x3
 * convolutions of one width with max pooling behind each, the width doubling from stage to stage.
 * "Small" is ours, for images of 28x28 and 32x32: three stages, batch norm behind each convolution,
 * and one linear layer instead of the paper's three. Names: s1.conv1, s1.relu1, s1.pool, ..., fc;
 * each convolution has a ".bn". */
#include <stdio.h>

#include "layers/build.h"
#include "layers/net.h"

#define STAGES 3

struct vgg_options {
    int64_t width, convs;
};

static const struct bg_option table[] = {
    {.key = "width",
     .type = BG_OPT_INT,
     .offset = offsetof(struct vgg_options, width),
     .fallback = "32",
     .min = 1,
     .max = 1024,
     .help = "channels of the first stage; the next have twice and four times as many"},
    {.key = "convs",
     .type = BG_OPT_INT,
     .offset = offsetof(struct vgg_options, convs),
     .fallback = "2",
     .min = 1,
     .max = 16,
     .help = "convolutions of each of the three stages"},
    {.key = NULL}};

static enum bg_status build_stage(struct bg_graph *graph, int stage, const struct vgg_options *o,
                                  struct bg_node *x, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    char name[BG_NAME_MAX], relu[BG_NAME_MAX];
    const struct bg_unit unit = {.name = name, .relu = relu, .batch_norm = true};
    const struct bg_pool2d pool = {.kernel = {2, 2}, .stride = {2, 2}};
    const struct bg_conv2d conv = {.out_channels = o->width << stage,
                                   .kernel = {3, 3},
                                   .stride = {1, 1},
                                   .padding = {1, 1},
                                   .dilation = {1, 1},
                                   .groups = 1};
    for (int i = 1; i <= (int)o->convs; i++) {
        snprintf(name, sizeof name, "s%d.conv%d", stage + 1, i);
        snprintf(relu, sizeof relu, "s%d.relu%d", stage + 1, i);
        TRY(bg_build_conv(graph, &unit, x, &conv, &x));
    }
    snprintf(name, sizeof name, "s%d.pool", stage + 1);
    TRY(bg_node_max_pool(graph, name, x, &pool, out));
out:
    return rc;
}

static enum bg_status build(struct bg_graph *graph, const void *options, struct bg_node *input,
                            int classes, struct bg_node **out, char title[BG_NAME_MAX])
{
    enum bg_status rc = BG_OK;
    const struct vgg_options *o = options;
    struct bg_node *x = input;
    for (int stage = 0; stage < STAGES; stage++)
        TRY(build_stage(graph, stage, o, x, &x));
    TRY(bg_node_linear(graph, "fc", x, classes, true, out));
    snprintf(title, BG_NAME_MAX, "vgg-small");
out:
    return rc;
}

extern const struct bg_net_type bg_net_vgg_small;
const struct bg_net_type bg_net_vgg_small = {
    .name = "vgg-small",
    .help = "three stages of 3x3 convolutions with max pooling, after VGG",
    .source = "Simonyan & Zisserman 2015; the small form is ours",
    .options = table,
    .options_size = sizeof(struct vgg_options),
    .build = build};
